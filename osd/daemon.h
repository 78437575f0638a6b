/* The OSD daemon: puts its parts together, runs the owner thread's loop, takes them apart.
 * One per process; main thread. */
#ifndef OSD_DAEMON_H
#define OSD_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct osd_daemon_options {
    const char *config; /* lilio.yaml */
    uint32_t id;
    bool init; /* a first disk may be initialised */
};
/* Serves until a signal asks it to stop. A disk that must not be used does not end it: the daemon
 * stays up and says why. Errors: SINGULAR or CORRUPT (the codec's self-test), CONFIG, NOT_FOUND,
 * LOCKED (another daemon has the directory), ADDRESS, IO, NOMEM. */
LILIO_MUST_USE enum lilio_err osd_daemon_run(const struct osd_daemon_options *options,
                                             struct lilio_errinfo *info);

#endif
