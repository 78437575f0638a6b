/* Small files of the disk directory that are replaced as a whole: after a crash there is the old
 * content or the new one. Owner thread.
 */
#ifndef OSD_FILE_H
#define OSD_FILE_H

#include "base/bytes.h"
#include "base/disk.h"

/* Appends the content. Errors: NOT_FOUND, CORRUPT (longer than most), IO, NOMEM. */
LILIO_MUST_USE enum lilio_err osd_file_load(struct base_disk *disk, const char *name, uint64_t most,
                                            struct base_buffer *ret, struct lilio_errinfo *info);
/* Durable when it returns. It passes through the file "NAME.new". Errors: IO, NO_SPACE, READ_ONLY,
 * NOMEM. */
LILIO_MUST_USE enum lilio_err osd_file_replace(struct base_disk *disk, const char *name,
                                               struct base_slice bytes, struct lilio_errinfo *info);

#endif
