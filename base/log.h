/* Structured log lines: `2026-01-02T03:04:05.678Z level node component event key=value ...`.
 *
 * One line is one write(2), so lines of several threads never mix. Control bytes and bytes that are
 * not ASCII are escaped wherever they stand, so nothing can forge a line; values from outside go
 * through base_log_quote first, so that they cannot forge a field either. A line is cut at 4 KiB.
 * Only the daemons and tools log above DEBUG; libraries return errors. The sink is an interface, so
 * that tests compare traces.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/env.h"
#include "base/err.h"

enum base_log_level { BASE_LOG_DEBUG, BASE_LOG_INFO, BASE_LOG_WARN, BASE_LOG_ERROR };

struct base_log;

/* path NULL logs to standard error. node ("osd.3") and path are copied; clock is borrowed. Errors:
 * IO, NOMEM. */
LILIO_MUST_USE enum lilio_err base_log_new(const char *path, const char *node,
                                           enum base_log_level least,
                                           const struct base_clock *clock,
                                           struct base_log **ret_log, struct lilio_errinfo *info);
/* Lines go to the callback, one at a time and without the newline. */
LILIO_MUST_USE enum lilio_err base_log_new_sink(void (*sink)(void *context, const char *line),
                                                void *context, const char *node,
                                                enum base_log_level least,
                                                const struct base_clock *clock,
                                                struct base_log **ret_log);
void base_log_free(struct base_log **log);
/* Opens the file anew after it was renamed (rotation). The daemons call it on SIGHUP. Any thread.
 */
void base_log_reopen(struct base_log *log);
/* Any thread; errno is kept. log may be NULL (nothing happens). component and event are plain
 * words; fields is a printf format of `key=%s` pairs, may be "". */
void base_log_write(struct base_log *log, enum base_log_level level, const char *component,
                    const char *event, const char *fields, ...) LILIO_PRINTF(5, 6);

enum { BASE_LOG_QUOTE_ROOM_MIN = 8 };
/* Writes text into ret (always NUL-terminated), as it is if that is one plain word, else between
 * quotes and escaped. Text that does not fit is cut and ends in `..."`. room >=
 * BASE_LOG_QUOTE_ROOM_MIN. Returns ret. */
char *base_log_quote(const void *text, size_t size, char *ret, size_t room);

#endif
