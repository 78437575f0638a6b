/* A coordinator in a thread, as far as OSDs speak with one: members, the pinned walk, reports. What
 * it answers is set, and what it heard is read, under its lock. */
#ifndef TESTS_FAKE_COORDINATOR_H
#define TESTS_FAKE_COORDINATOR_H

#include <pthread.h>
#include <stdatomic.h>

#include "tests/unit/osd/osd_parts.h"

/* parts_endpoint("coordinator", 0), as the options of OSDs want it. */
const char *const *fake_endpoints(void);
/* Does something under the coordinator's lock. */
#define FAKE_LOCKED(fake, ...)               \
    do {                                     \
        pthread_mutex_lock(&(fake)->lock);   \
        __VA_ARGS__;                         \
        pthread_mutex_unlock(&(fake)->lock); \
    } while (0)

enum { FAKE_ROWS_MAX = 64, FAKE_REPORTS_MAX = 4096, FAKE_JOBS_MAX = 8 };
enum { FAKE_REPAIRS_MAX = 64 };

/* A repair job and what became of it. */
struct fake_repair {
    struct proto_repair_job job;
    bool named; /* in the last heartbeat */
    unsigned ended;
    struct proto_repair_result result;
    char reason[257];
};

struct fake_row {
    struct base_oid oid;
    uint64_t stored_length, commit_index;
    char key[32];
    bool deleted; /* data_get answers NOT_FOUND */
    uint8_t checksums[4 * PARTS_OSDS * 64];
    uint32_t stripes;
    struct proto_exception exceptions[8];
    size_t exception_count;
    bool reported_later; /* the exceptions are there from later_index on */
};

struct fake {
    pthread_t thread;
    struct proto_context *context;
    struct proto_server *server;
    atomic_bool stop;

    pthread_mutex_t lock; /* guards what follows */
    /* members */
    struct base_uuid cluster;
    uint32_t incarnation; /* of osd.0; 0: never bound */
    struct base_uuid disk_uuid;
    bool had_disk; /* another disk than any that introduces itself */
    unsigned hellos, beats, binds;
    unsigned afresh, pinned_afresh; /* binds of the disk it has; those before the last scan_open */
    struct base_uuid last_hello_uuid;
    uint8_t last_state;
    bool forget; /* the next heartbeat is answered with known = false */
    struct proto_map_ref *map;
    struct proto_collect_job jobs[FAKE_JOBS_MAX];
    size_t job_count, collected;
    /* the walk */
    struct fake_row rows[FAKE_ROWS_MAX];
    size_t row_count, page_rows;
    uint64_t index;               /* pinned by the next scan_open */
    uint64_t later_index;         /* what it becomes once a page was asked for; 0 = as it is */
    bool busy_scans;              /* scan_open answers BUSY */
    uint64_t pinned;              /* by the last scan_open */
    bool lose_scans;              /* scan_next answers NOT_FOUND */
    struct base_oid delete_after; /* when this row was handed out, it and its data are deleted */
    unsigned pages, completes;
    struct proto_osd_complete complete;
    struct proto_fragment_report reports[FAKE_REPORTS_MAX];
    size_t report_count;
    bool refuse_reports;
    /* repair: what has no result is in the orders of each heartbeat that does not name it */
    struct fake_repair repairs[FAKE_REPAIRS_MAX];
    size_t repair_count;
    unsigned repair_orders; /* jobs ever handed out */
    /* fill: the job is in the orders of each heartbeat that does not name it, until it ended */
    struct proto_fill_job fill; /* id 0: none */
    unsigned fill_ended;
    struct proto_fill_report filled_report; /* the last one */
    unsigned lost_scans;                    /* so many more times scan_next answers NOT_FOUND */
    unsigned lost_page;                     /* and once when it is asked for the n-th time */
    struct proto_slots_filled filled;
    struct proto_filled_slot filled_slots[1 << PARTS_BITS];
    unsigned fills;
    /* inventory: the sums of the rows and their exceptions */
    unsigned inventory_asks, inventory_differs; /* the first ones so often say that all differs */
    bool inventory_short;                       /* too few verdicts */
    /* formers: what it grants, and what happens before it answers */
    unsigned formers_asked; /* fragments */
    bool formers_keep;      /* those of stripe 0 */
    void (*formers_hook)(void *context);
    void *formers_context;
    /* orphans: a run is named by a row, or its session says */
    uint64_t open_session, next_session, cluster_ms;
    enum lilio_err orphans_fail; /* what is answered instead, from the ask number fail_at on */
    unsigned orphans_fail_at;
    uint8_t orphans_verdict;             /* instead of its own; 0 = none */
    bool orphans_foreign;                /* it says that it belongs to another cluster */
    unsigned orphan_asks, orphan_sweeps; /* messages */
    uint64_t orphans_index_seen;         /* of the last one */
};

/* Serves at fake_endpoints()[0] with a map of epoch 5. */
void fake_start(struct fake *fake, struct proto_context *context);
void fake_stop(struct fake *fake);
/* Starts and ends serving while its state stays: a coordinator that is restarted. */
void fake_serve(struct fake *fake);
void fake_silence(struct fake *fake);

/* A row of `stripes` full stripes, coded; the checksums go into the row, the fragments to put. */
struct fake_row *fake_row_add(struct fake *fake, uint64_t counter, uint32_t stripes,
                              void (*put)(void *context, const struct parts_stripe *stripe),
                              void *put_context);
/* How many reports there were of that fragment and kind. */
size_t fake_reports(struct fake *fake, struct base_oid oid, uint32_t stripe, uint32_t index,
                    uint8_t kind);

#endif
