/* Finding records in a segment: from the end of one to the start of the next, and behind a bad
 * place in steps of 512 bytes to the next header that verifies. Payload cannot pass for a header
 * (osd/record.c). */
#include "osd/segment_priv.h"

#include <inttypes.h>

#include "base/banned.h"

void osd_scan_init(struct osd_scan *scan, struct osd_segment_store *store,
                   struct osd_segment *segment, uint64_t size)
{
    *scan = (struct osd_scan){
        .store = store, .segment = segment, .size = size, .stride = OSD_SCAN_WINDOW};
}

/* Brings [offset, offset + a header) into the window as far as it is there. *ret_size: how many
 * bytes of it. */
static enum lilio_err see(struct osd_scan *scan, uint64_t offset, const uint8_t **ret_bytes,
                          size_t *ret_size, struct lilio_errinfo *info)
{
    uint64_t end = offset + OSD_RECORD_COVERED_LIMIT;
    if (end > scan->size)
        end = scan->size;
    if (offset < scan->window_at || end > scan->window_at + scan->window_size) {
        struct base_file *file;
        uint64_t at = osd_round_down(offset, BASE_DISK_BLOCK);
        size_t got = 0;
        scan->window_size = 0;
        enum lilio_err err = osd_segment_file(scan->store, scan->segment, &file, info);
        if (!err)
            err = file->ops->read(file, scan->store->scratch, scan->stride, at, &got, info);
        if (err)
            return err;
        scan->window_at = at;
        scan->window_size = at + got > scan->size ? scan->size - at : got;
    }
    uint64_t seen_end = scan->window_at + scan->window_size;
    *ret_bytes = scan->store->scratch + (offset - scan->window_at);
    *ret_size = seen_end <= offset ? 0 : (seen_end < end ? seen_end : end) - offset;
    return LILIO_OK;
}

enum lilio_err osd_scan_next(struct osd_scan *scan, uint64_t from, struct osd_record *ret,
                             uint64_t *ret_offset, struct lilio_errinfo *info)
{
    scan->stride = OSD_SCAN_WINDOW;
    for (uint64_t offset = osd_round_up(from, OSD_RECORD_UNIT);
         offset + OSD_RECORD_UNIT <= scan->size; offset += OSD_RECORD_UNIT) {
        const uint8_t *bytes;
        size_t size;
        enum lilio_err err = see(scan, offset, &bytes, &size, info);
        if (err)
            return lilio_prefix(info, err, "scan of segment %" PRIx64, scan->segment->id);
        err = osd_record_decode(bytes, size, scan->segment->nonce, offset, ret);
        if (err == LILIO_E_FORMAT)
            return lilio_fail(info, err,
                              "segment %" PRIx64 " offset %" PRIu64 ": written by a newer program",
                              scan->segment->id, offset);
        if (!err) {
            *ret_offset = offset;
            return LILIO_OK;
        }
        scan->stride = OSD_SEARCH_WINDOW;
    }
    return LILIO_E_NOT_FOUND;
}
