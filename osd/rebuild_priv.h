/* Between the control of a rebuild (osd/rebuild_run.c), its run (osd/rebuild_worker.c) and the
 * pipeline that mends stripes (osd/rebuild_engine.c). */
#ifndef OSD_REBUILD_PRIV_H
#define OSD_REBUILD_PRIV_H

#include "osd/link.h"
#include "osd/rebuild.h"
#include "osd/rebuild_run.h"

enum osd_rebuild_phase {
    OSD_PHASE_NONE = 0,
    OSD_PHASE_COUNTING = 1,
    OSD_PHASE_REBUILDING = 2,
    OSD_PHASE_VERIFYING = 3,
    OSD_PHASE_PROVEN = 4,
    OSD_PHASE_FAILURES = 5,
    OSD_PHASE_STOPPED = 6,
    OSD_PHASE_ERROR = 7,
};

/* ---- control, seen from the worker thread ---- */

const struct osd_rebuild_options *osd_rebuild_options(const struct osd_rebuild *rebuild);
/* Readable once the rebuild shall stop. */
int osd_rebuild_cancel_fd(const struct osd_rebuild *rebuild);
bool osd_rebuild_cancelled(const struct osd_rebuild *rebuild);
/* Makes the numbers visible; text, failures and times are kept by the control. */
void osd_rebuild_publish(struct osd_rebuild *rebuild, const struct proto_rebuild *state);
/* Keeps a failure by name, as long as there is room. */
void osd_rebuild_add_failure(struct osd_rebuild *rebuild,
                             const struct proto_rebuild_failure *failure);
void osd_rebuild_forget_failures(struct osd_rebuild *rebuild);
/* The run: returns how it ended in *state (phase, err) and *ret_info. */
void osd_rebuild_worker(struct osd_rebuild *rebuild, struct proto_rebuild *state,
                        struct lilio_errinfo *ret_info);

/* ---- pages of the pinned walk ---- */

/* Shared by the stripes under way that came from it; one thread. */
struct osd_page {
    unsigned references;
    struct proto_reply *reply;
    struct proto_arena *arena;
    struct proto_scan_page page;
};
void osd_page_drop(struct osd_page **page);

/* ---- the pipeline ---- */

/* One fragment that must be here. */
struct osd_task {
    struct osd_page *page; /* a reference is held while it is under way */
    const struct proto_scan_row *row;
    uint32_t stripe, index;
    bool again; /* of the last walk: not counted as expected */
    bool fill;  /* of a slot that fills, not of a repair job */
};
enum osd_task_outcome { OSD_TASK_PRESENT, OSD_TASK_REBUILT, OSD_TASK_GONE, OSD_TASK_FAILED };

/* Called on the worker thread, from inside the engine's calls. */
struct osd_engine_events {
    void *context;
    void (*done)(void *context, const struct osd_task *task, enum osd_task_outcome outcome,
                 uint32_t bytes, enum lilio_err err, const char *reason);
    /* Too few sources. True if the run was deleted meanwhile. */
    bool (*gone)(void *context, const struct osd_task *task);
    /* A source was refused: missing or corrupt at an OSD that should have it. */
    void (*bad_source)(void *context, const struct osd_task *task, uint32_t index,
                       enum lilio_err err);
    void (*source_read)(void *context, uint64_t bytes);
};
struct osd_engine_options {
    struct osd_node *node;
    struct proto_context *context;
    const char *own_endpoint;
    struct proto_map_ref *map; /* pinned: placements and slots; borrowed */
    int stop_fds[2];
    struct osd_engine_events events;
};
struct osd_engine;
LILIO_MUST_USE enum lilio_err osd_engine_new(const struct osd_engine_options *options,
                                             struct osd_engine **ret_engine,
                                             struct lilio_errinfo *info);
/* Tasks under way are forgotten. */
void osd_engine_free(struct osd_engine **engine);
/* Takes a task in; works on others until there is room. Errors: CANCELLED, and what keeps this OSD
 * from storing anything (NO_SPACE, READ_ONLY, IO, UNAVAILABLE): then the rebuild is over. */
LILIO_MUST_USE enum lilio_err osd_engine_add(struct osd_engine *engine, const struct osd_task *task,
                                             struct lilio_errinfo *info);
/* One turn: what can go on does, then waits for an answer while there is anything under way. Errors
 * as above. */
LILIO_MUST_USE enum lilio_err osd_engine_step(struct osd_engine *engine,
                                              struct lilio_errinfo *info);
/* Whether any task is under way. */
bool osd_engine_busy(const struct osd_engine *engine);
/* Works until every task is done. Errors as above. */
LILIO_MUST_USE enum lilio_err osd_engine_drain(struct osd_engine *engine,
                                               struct lilio_errinfo *info);

#endif
