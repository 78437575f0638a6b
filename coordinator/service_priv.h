/* Inside the service. For coordinator/service*.c only. */
#ifndef COORDINATOR_SERVICE_PRIV_H
#define COORDINATOR_SERVICE_PRIV_H

#include "base/eta.h"
#include "coordinator/damping.h"
#include "coordinator/dial.h"
#include "coordinator/service.h"
#include "coordinator/state_priv.h"
#include "coordinator/table.h"
#include "proto/redundancy.h"

enum {
    TICK_MS = 250,       /* time is looked at this often */
    PROPOSALS_KEPT = 16, /* places in an entry for the service's own commands */
    OSD_WORDS = COORD_OSDS_MAX / 64,
};

/* A command of a round, and who asked for it (type NULL: nobody). */
struct proposal {
    struct coord_request request;
    uint16_t type;
    struct base_buffer bytes;
};

/* The commands of a round. */
struct batch {
    uint64_t round, cluster_ms, clock_ms; /* of its newest command */
    size_t count, bytes;
    struct proposal proposals[COORD_ENTRY_COMMANDS_MAX];
    struct base_slice commands[COORD_ENTRY_COMMANDS_MAX];
};

/* A request that waits until its round is confirmed. */
struct waiting_read {
    uint64_t round;
    struct coord_request request;
};

struct live_session {
    uint64_t heard_ms;
    uint64_t renewal; /* sequence of the renewal that named what it reads */
    uint32_t timeout_ms, reading_count;
    struct proto_version *reading; /* its leases, owned */
    bool expiring;                 /* its end is proposed */
};

enum { COORD_SCRUB_KINDS = 2 }; /* as in the schema */

/* What is known about an OSD beside its row; same place as in the state. */
struct live_osd {
    uint64_t heard_ms; /* last heartbeat of the disk that is bound, or the start */
    uint64_t blank_ms; /* last heartbeat of an empty disk, or the start */
    bool heard;        /* there was one, and nothing says that it is gone */
    uint64_t well_ms;  /* when its row was last neither blank nor failed nor out, or the start */
    bool given_up;     /* out, or blank or failed for so long: its slots go to others */
    bool parked;       /* gc rows may be filed under it */
    uint64_t asked_ms; /* when handing out jobs to it began anew */
    uint64_t proposed_round;
    uint8_t proposed_state; /* what that round brings it to */
    uint64_t capacity_bytes, free_bytes, used_bytes, fragment_count;
    bool repairs;          /* repair_bytes is known */
    bool clients;          /* it serves clients, so its repair holds back */
    uint64_t repair_bytes; /* as its last heartbeat said */
    uint64_t orphans;      /* runs in its quarantine, likewise */
    bool has_inventory;    /* it told how its comparison with the maps is */
    bool compares;         /* that has not ended, or it said hello since */
    struct proto_inventory_report inventory;
    uint8_t inventory_reason[256]; /* what inventory.reason points to */
    struct coord_damping damping;
    struct proto_scrub_line scrubs[COORD_SCRUB_KINDS]; /* likewise */
    size_t scrub_count;
};

struct walk_pin {
    uint64_t id; /* 0 = free */
    struct base_kv_snapshot *snapshot;
    uint64_t index, bucket_id, used_ms;
};

/* A run being collected. */
struct gc_job {
    bool used, proposed;
    struct proto_gc_key key;
    struct proto_collect_job job;
    uint64_t waiting[OSD_WORDS]; /* OSDs that have not confirmed, by place */
    uint64_t handed[OSD_WORDS];  /* of those, the ones that were asked */
    uint32_t under;              /* when proposed: the OSD its row will be filed under, or nobody */
};

struct gc {
    struct coord_table places; /* oid -> place in jobs (uint32_t) */
    struct gc_job *jobs;       /* COORD_COLLECTING_MAX */
    size_t count, next_free;
    struct proto_gc_key cursor;
    uint64_t walk_ms;   /* next look at the queue */
    uint64_t parked_ms; /* next look at what was filed under OSDs that are up again */
    uint64_t hold_ms;   /* before this nothing a reader may hold is collected */
    bool undue;         /* rows wait for cluster time to go on */
    bool under_way;     /* a gc_done is proposed */
};

/* A run whose bad fragments in its slots an OSD mends. */
struct repair_lease {
    uint64_t id; /* 0 = none */
    struct base_oid oid;
    uint8_t margin;
    uint64_t work;         /* of the run, in bytes */
    uint64_t index, epoch; /* of the maps when it was given */
    bool handed;           /* it is in the OSD's orders */
    uint64_t heard_ms;     /* when it was given, or a heartbeat last named it */
};

/* A run whose repair failed: it waits. */
struct repair_failure {
    uint64_t due_ms, work;
    uint64_t index;            /* of the maps: what was bad then had its attempt */
    uint32_t tries, osd, walk; /* 0 tries: the next is due; the walk that met its row last */
    enum lilio_err err;
    char reason[256];
};

struct repair {
    struct repair_lease (*leases)[COORD_REPAIR_OPEN_MAX]; /* by place of the OSD */
    size_t lease_count;
    struct coord_table leased;            /* oid -> uint32_t: its leases */
    struct coord_table failures;          /* oid -> repair_failure */
    uint64_t next_id, epoch;              /* of the map when failures were looked at */
    struct coord_repair_key cursor;       /* of the walk */
    struct coord_repair_key front;        /* crowded: the first row whose OSD had no room */
    bool crowded, freed;                  /* freed: a lease ended since that was looked at */
    uint64_t walk_ms, step_ms;            /* the next walk, its next step */
    uint32_t walk;                        /* its number */
    bool moved;                           /* leases came or went in it */
    uint64_t levels[COORD_REPAIR_LEVELS]; /* of the state row when it was last looked at */
    uint64_t fragments;                   /* the same */
    uint64_t stuck, walk_stuck;           /* runs whose OSDs are away: of the last walk, of this */
    uint64_t mended, mended_bytes, runs_done;
    /* In bytes of work (coord_bad_work): of runs that failed and wait, of those whose OSDs are
     * away. */
    uint64_t failed_work, stuck_work, walk_stuck_work;
    struct base_eta eta, rate; /* of that work; of mended_bytes */
    struct coord_dial dial;
    uint64_t dial_ms;     /* before it the share is too new to measure by */
    uint64_t clear_round; /* of the entry that takes back a deadline */
};

/* Moves of slots are planned when the map changed. */
struct moves {
    uint64_t round;         /* of the entry under way */
    uint64_t planned_epoch; /* at this one there is nothing left to move */
    uint64_t holdings_epoch;
    uint8_t holdings[PROTO_OSD_NONE + 1]; /* at that one, by OSD: what it has in slot tables */
};

/* The job an OSD fills slots by; same place as in the state. Work: see service_fill_eta.c. */
struct fill {
    uint64_t id;                /* 0 = none */
    bool handed;                /* it is in the OSD's orders */
    uint64_t due_ms;            /* before it there is none, the last one failed */
    uint64_t heard_ms;          /* when it was given, or a heartbeat last named it */
    uint64_t bytes, bytes_done; /* stored, of the maps it walks over; 0: it has not begun */
    uint64_t job_slots;         /* of the job, that fill yet */
    uint32_t job_placement;
    struct base_eta eta; /* of bytes_done */
    uint32_t good;       /* slots of its partitions that are */
    uint32_t least_good; /* those with less failed last, others have their turn */
    uint32_t tries;
    bool full;           /* the last one failed for want of room */
    uint64_t full_room;  /* what the OSD told of its room then */
    uint64_t no_room_ms; /* when one last failed for want of it; 0: none did */
    char reason[256];
    uint64_t slots, work, left; /* of the OSD that fill; in work; of that, not done yet */
    uint64_t epoch, weighed;    /* counted at this epoch of the map, by these weights */
};

/* How much work a slot is, by placement: stripes are counted page by page while slots fill. */
struct fill_weights {
    uint64_t stripes[COORD_PLACEMENTS_MAX]; /* by place in the state */
    uint64_t gathering[COORD_PLACEMENTS_MAX];
    struct coord_key after; /* of the counters, as far as they are read */
    uint64_t due_ms;        /* the next page */
    uint64_t weighed;       /* how often all were counted; 0 = nothing is known yet */
};

struct coord_service {
    struct coord_service_options options;
    struct coord_state *state;
    struct proto_arena *arena; /* of the request under way */
    uint64_t clock_ms;         /* the clock when it was last read */
    uint64_t now_ms;           /* goes on with it, in capped steps */
    uint64_t started_ms, tick_ms;
    char leader[256]; /* where it is reached; "" = not known, or here */

    /* rounds (service_rounds.c) */
    uint64_t round;      /* the one that gathers; numbers never come back */
    uint64_t done_round; /* commands of rounds up to it are applied */
    struct batch
        batches[COORD_ROUNDS_MAX + 1]; /* a ring: under way, oldest first, then gathering */
    size_t gathering, under_way;
    struct waiting_read *reads; /* a ring, oldest first */
    size_t read_first, read_count;
    size_t held_bytes;     /* bodies of all requests that are not answered */
    uint64_t cluster_ms;   /* newest cluster time of the rounds that were closed */
    uint64_t time_base_ms; /* our time when it was that */

    /* of the leader only */
    bool leads;
    uint64_t led_ms;             /* since */
    struct coord_table sessions; /* id -> live_session */
    struct coord_table leases;   /* version -> uint32_t: how often sessions name it */
    size_t lease_count;          /* of all sessions */
    struct live_osd *osds;       /* COORD_OSDS_MAX */
    struct walk_pin walks[COORD_SCANS_MAX];
    struct gc gc;
    struct repair repair;
    struct moves moves;
    struct fill *fills; /* COORD_OSDS_MAX */
    struct fill_weights weights;
    struct base_eta pace;          /* of paced */
    uint64_t paced;                /* work an OSD with a job has done, on average */
    uint64_t fill_id, fill_states; /* states of all OSDs when they were last looked at */
    uint64_t space_ms;             /* when space was last looked at */
    bool space_left;
};

uint64_t service_now_ms(const struct coord_service *service);
void service_clock_read(struct coord_service *service);
struct coord_view service_view(const struct coord_service *service,
                               const struct base_kv_snapshot *snapshot);
void service_reply(struct coord_service *service, const struct coord_request *request,
                   const struct proto_type *type, const void *value);
void service_refuse(struct coord_service *service, const struct coord_request *request,
                    enum lilio_err err, const char *text);
/* NOT_LEADER, with the leader's address when it is known. taken: it may be in the log. */
void service_redirect(struct coord_service *service, const struct coord_request *request,
                      bool taken);
/* Unpacks the request's body; answers and returns false if it is malformed. */
bool service_body(struct coord_service *service, const struct coord_request *request, void *ret);

/* ---- rounds (service_rounds.c) ---- */

enum lilio_err service_rounds_init(struct coord_service *service);
void service_rounds_release(struct coord_service *service);
/* Cluster time goes on from what the rows say; reads that wait are asked again. */
void service_rounds_lead(struct coord_service *service);
/* Answers all that gathers or is under way with NOT_LEADER. */
void service_rounds_redirect(struct coord_service *service);
/* A command of our own; false when there is no room: it is tried again at the next tick. */
bool service_propose(struct coord_service *service, const struct proto_type *type,
                     const void *value);
/* The request itself becomes a command. */
void service_propose_request(struct coord_service *service, const struct coord_request *request);
/* The request is a read of this round. */
void service_defer(struct coord_service *service, const struct coord_request *request);
/* Cluster time as the next round would have it. */
uint64_t service_cluster_ms(const struct coord_service *service);
/* Whether a command waits for its round to be closed. */
bool service_gathers(const struct coord_service *service);

/* ---- sessions and leases (service_sessions.c) ---- */

enum lilio_err service_sessions_load(struct coord_service *service, struct lilio_errinfo *info);
/* Keeps the session alive; false if it is not open. */
bool service_session_touch(struct coord_service *service, uint64_t id);
void service_session_opened(struct coord_service *service, const struct coord_result *result);
void service_session_closed(struct coord_service *service, uint64_t id);
void service_sessions_expired(struct coord_service *service, const struct proto_entry *entry);
void service_sessions_drop(struct coord_service *service);
/* The longest silence any open session is granted; 0 without sessions. */
uint32_t service_sessions_silence_ms(const struct coord_service *service);
void service_renew(struct coord_service *service, const struct coord_request *request);
bool service_leased(const struct coord_service *service, struct proto_version version);
void service_sessions_tick(struct coord_service *service);

/* ---- OSDs and the map (service_osds.c) ---- */

/* The map as it is now, with what heartbeats told; lives in the arena. */
bool service_map(struct coord_service *service, bool with_slots, struct proto_cluster_map *ret);
/* What OSDs told of their scrubs; false: no memory. */
bool service_scrubs_status(struct coord_service *service, struct proto_status *ret);
/* What deep scrubs verified, as OSDs told this leader; false: no memory. */
bool service_scrubbed(struct coord_service *service, struct proto_scrubbed *ret);
/* When those that are down go out, and slots of those that are blank or failed to others; nothing
 * unless this one leads. False: no memory. */
bool service_leaving_status(struct coord_service *service, struct proto_status *ret);
/* It is out, or has been blank or failed for as long as that takes: its slots go to others. */
bool service_osd_given_up(const struct coord_service *service, size_t place);
/* The OSD's row with what heartbeats told of its disk. */
struct proto_osd service_osd_told(const struct coord_service *service, size_t place);
uint64_t service_osd_silent_ms(const struct coord_service *service, size_t place);
/* It went down again and again: for so long yet it gets no work. */
uint64_t service_osd_held_ms(const struct coord_service *service, size_t place);
void service_hello(struct coord_service *service, const struct coord_request *request);
void service_bind(struct coord_service *service, const struct coord_request *request);
void service_heartbeat(struct coord_service *service, const struct coord_request *request);
/* Their answers, once what they brought is applied. */
void service_welcome(struct coord_service *service, const struct coord_request *request);
void service_bound(struct coord_service *service, const struct coord_request *request);
void service_orders(struct coord_service *service, const struct coord_request *request);
void service_osds_tick(struct coord_service *service);
/* Everyone has its full time from now on. */
void service_osds_lead(struct coord_service *service);

/* ---- collection (service_gc.c) ---- */

enum lilio_err service_gc_init(struct coord_service *service);
/* Begins anew, once the sessions are loaded: collects nothing that one of them may read. */
void service_gc_lead(struct coord_service *service);
void service_gc_drop(struct coord_service *service);
void service_gc_release(struct coord_service *service);
void service_gc_confirm(struct coord_service *service, size_t place, struct base_oid oid);
/* Jobs for the OSD, at most COORD_COLLECT_MAX. */
size_t service_gc_hand(struct coord_service *service, size_t place, struct proto_collect_job *ret);
/* The OSD may have forgotten what it was asked. */
void service_gc_again(struct coord_service *service, size_t place);
void service_gc_applied(struct coord_service *service);
void service_gc_tick(struct coord_service *service);
/* Cluster time stands still while nothing happens; something that waits for a span of it makes it
 * go on. */
void service_time_go_on(struct coord_service *service, uint64_t span_ms);

/* ---- orphans (service_orphans.c) ---- */

void service_orphans_read(struct coord_service *service, const struct coord_request *request);
void service_orphans_tick(struct coord_service *service);

/* ---- what OSDs have (service_inventory.c) ---- */

void service_inventory_read(struct coord_service *service, const struct coord_request *request);
/* What a heartbeat of the disk that is bound says about it. */
void service_inventory_note(struct coord_service *service, size_t place,
                            const struct proto_osd_heartbeat *beat);
/* Decides about fragments in slots that moved away: nothing goes while somebody compares. */
void service_formers(struct coord_service *service, const struct coord_request *request);
/* What they told of it, and for how long OSDs are held; false: no memory. */
bool service_inventory_status(struct coord_service *service, struct proto_status *ret);

/* ---- repair (service_repair.c) ---- */

enum lilio_err service_repair_init(struct coord_service *service);
void service_repair_lead(struct coord_service *service);
void service_repair_drop(struct coord_service *service);
void service_repair_release(struct coord_service *service);
/* What a heartbeat of the disk that is bound says about its leases. */
void service_repair_note(struct coord_service *service, size_t place,
                         const struct proto_osd_heartbeat *beat);
/* Jobs for the OSD, at most COORD_REPAIR_OPEN_MAX. Uses the arena. */
size_t service_repair_hand(struct coord_service *service, size_t place,
                           struct proto_repair_job *ret);
/* Percent of its idle rate that an OSD may take for repair while it serves clients. */
uint32_t service_repair_share(const struct coord_service *service);
/* OSDs that hold back because they serve clients. */
uint32_t service_repair_held(const struct coord_service *service);
/* Looks at the deadline, after all other ticks. */
void service_repair_dial(struct coord_service *service);
/* The OSD began anew: it has no jobs. */
void service_repair_forget(struct coord_service *service, size_t place);
void service_repair_tick(struct coord_service *service);
/* The numbers of repair in a status; zeros unless this one leads. */
void service_repair_status(const struct coord_service *service, struct proto_status *ret);
void service_repair_read(struct coord_service *service, const struct coord_request *request);

/* ---- slots that move (service_moves.c) ---- */

void service_moves_lead(struct coord_service *service);
void service_moves_tick(struct coord_service *service);
/* Looks for what may move, and who waits for whom, although the map is the same. */
void service_moves_again(struct coord_service *service);
/* The OSD has slots, or others fill theirs from it. */
bool service_moves_concern(struct coord_service *service, uint32_t osd);
/* Slots of an OSD that was given up may move yet, or fill from it. */
bool service_moves_under_way(struct coord_service *service, uint32_t osd);
/* One OSD, or at most a third of those that matter, is down, out or blank; failed: or failed. One
 * that has nothing left matters no more. */
bool service_moves_few_away(struct coord_service *service, bool failed);
/* A drain begins: refused when there is too little room for what the OSD has. */
void service_drain(struct coord_service *service, const struct coord_request *request);
/* A bit per partition with a slot whose OSD is out, blank or failed, and which has nowhere to go,
 * in the arena; NULL: no memory. */
uint64_t *service_moves_stranded(struct coord_service *service,
                                 const struct proto_placement *placement);

/* ---- slots that fill (service_fill.c) ---- */

enum lilio_err service_fill_init(struct coord_service *service);
void service_fill_release(struct coord_service *service);
void service_fill_lead(struct coord_service *service);
/* What a heartbeat of the disk that is bound says about its job. */
void service_fill_note(struct coord_service *service, size_t place,
                       const struct proto_osd_heartbeat *beat);
/* A job for the OSD: how many, 0 or 1. Uses the arena. */
size_t service_fill_hand(struct coord_service *service, size_t place, struct proto_fill_job *ret);
/* The OSD began anew: it has no job. */
void service_fill_forget(struct coord_service *service, size_t place);
void service_fill_tick(struct coord_service *service);
/* Its last job failed for want of room, and there is no more of it. */
bool service_fill_full(const struct coord_service *service, size_t place);
/* Likewise, and it does not try again now. */
bool service_fill_waits_for_room(const struct coord_service *service, size_t place);
/* One failed for want of room not long ago, whatever the OSD tells of its disk. */
bool service_fill_no_room(const struct coord_service *service, size_t place);
/* The OSD's slot of the partition that fills; the placement's width if there is none. */
uint32_t service_fill_slot(const struct proto_placement *placement, uint32_t partition,
                           uint32_t osd);

/* ---- how far they are (service_fill_eta.c) ---- */

void service_fill_eta_lead(struct coord_service *service);
void service_fill_eta_tick(struct coord_service *service);
/* Counts the OSD's slots again if the map has changed, and notes what is done. */
void service_fill_look(struct coord_service *service, size_t place);
/* Its job is so far. */
void service_fill_progress(struct coord_service *service, size_t place,
                           const struct proto_fill_report *report);
/* The pace has changed: rates are measured anew. */
void service_fill_pace(struct coord_service *service);
/* All of them. */
struct fills_told {
    uint64_t slots, waiting;  /* of these, of OSDs that are away, or wait after a failure */
    uint64_t left;            /* work of the others */
    struct base_eta_told eta; /* of that work */
};
struct fills_told service_fills_tell(const struct coord_service *service);
/* OSDs with slots that fill; false: no memory. */
bool service_fill_status(struct coord_service *service, struct proto_status *ret);

/* ---- reads (service_reads.c) ---- */

/* Answers a request that changes nothing. */
void service_read(struct coord_service *service, const struct coord_request *request);
/* Answers a status_get that wants no more than this coordinator; false: it is another one. */
bool service_tells_of_itself(struct coord_service *service, const struct coord_request *request);
void service_walks_tick(struct coord_service *service);
void service_walks_drop(struct coord_service *service);

#endif
