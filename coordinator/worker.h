/* One thread that does one kind of work, a piece at a time, for an owner that must not block: syncs
 * of the log, flushes of the maps. The owner starts a piece, waits for the descriptor among its
 * others, takes the outcome, and only then starts the next one.
 */
#ifndef COORDINATOR_WORKER_H
#define COORDINATOR_WORKER_H

#include <stdbool.h>

#include "base/err.h"

struct coord_worker;

/* run is called in the thread, once per piece. Errors: NOMEM, IO (no descriptor or thread). */
LILIO_MUST_USE enum lilio_err
coord_worker_new(enum lilio_err (*run)(void *context, struct lilio_errinfo *info), void *context,
                 struct coord_worker **ret_worker, struct lilio_errinfo *info);
/* Waits for the piece under way. NULL is fine. */
void coord_worker_free(struct coord_worker **worker);
/* Readable when an outcome waits. */
int coord_worker_fd(const struct coord_worker *worker);
/* Between start and take. */
bool coord_worker_busy(const struct coord_worker *worker);
/* Must not be busy. */
void coord_worker_start(struct coord_worker *worker);
/* False: nothing is finished. */
bool coord_worker_take(struct coord_worker *worker, enum lilio_err *ret_err,
                       struct lilio_errinfo *info);

#endif
