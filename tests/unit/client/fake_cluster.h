/* Two coordinators and six OSDs in one thread of the test, on sockets in a folder of their own:
 * enough of a cluster for the calls of liblilio, with knobs for what real ones cannot be made to do
 * on command (an answer that is lost, a redirect, a session that ends). Fragments, rows and
 * sessions are kept in memory without any of the real daemons' care. */
#ifndef TESTS_CLIENT_FAKE_CLUSTER_H
#define TESTS_CLIENT_FAKE_CLUSTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/lilio.h"

enum { FAKE_OSDS = 6, FAKE_COORDINATORS = 2 };

/* Set by the test at any time, read by the cluster's thread. */
struct fake_knobs {
    _Atomic int lose_answers;    /* swallow so many answers to changes, after they were done */
    _Atomic int busy_when_lost;  /* with each of them, BUSY is answered so often afterwards */
    _Atomic int lose_scans;      /* do not know the walk, so often */
    _Atomic int busy;            /* answer BUSY so often */
    _Atomic bool redirect;       /* coordinator 0 names coordinator 1 as the leader */
    _Atomic bool dead[2];        /* this coordinator is gone */
    _Atomic uint32_t inline_max; /* told with the next session */
    _Atomic bool inline_refused; /* content in COMMIT is INVALID */
    _Atomic bool inline_flips;   /* a bit of the content looked up is wrong */
    _Atomic bool silent;         /* coordinators answer nothing */
    _Atomic bool end_sessions;   /* every session that is open now is closed */
    _Atomic int collect_on_get;  /* this many fragment_gets from now the object is overwritten and
                                    collected */
    _Atomic int osd_busy;        /* OSDs answer BUSY so often */
    _Atomic int osd_unready;     /* OSDs answer UNAVAILABLE so often */
    _Atomic int osd_stale;       /* OSDs answer STALE_EPOCH so often; the map gets a new epoch */
    _Atomic bool swap_slots;     /* with the next of these, slots 0 and 1 of "wide" change places */
    _Atomic bool osd_silent[FAKE_OSDS];
    _Atomic bool osd_forgets[FAKE_OSDS]; /* says MISSING */
    _Atomic bool osd_flips[FAKE_OSDS];   /* flips a bit of what it sends */
    _Atomic bool osd_full[FAKE_OSDS];
    _Atomic int slow_osd_ms; /* osd.0 answers that late */
};
struct fake_counters {
    _Atomic int sessions, commits, discards, renewals, leases, reports, good_again, verified,
        stages, inlines, fragments, changes, misplaced;
};
struct fake_cluster {
    struct fake_knobs knobs;
    struct fake_counters counters;
    char *config_path;
    struct fake_state *state;
};
/* Started, or the test fails. */
struct fake_cluster *fake_cluster_new(void);
void fake_cluster_free(struct fake_cluster **cluster);
/* A client of it. */
struct lilio_client *fake_cluster_open(const struct fake_cluster *cluster, uint32_t timeout_ms,
                                       uint64_t window_bytes);

#endif
