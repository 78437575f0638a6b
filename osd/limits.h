/* Every bound of the OSD daemon's queues, batches and retries in one place. What happens at a bound
 * stands beside it. */
#ifndef OSD_LIMITS_H
#define OSD_LIMITS_H

#include "codec/codec.h"
#include "osd/store.h"

enum {
    /* ---- requests ---- */
    /* Messages per peer that wait in ZeroMQ; beyond it the peer's sends wait. */
    OSD_PEER_MESSAGES = 4,
    /* Requests taken in and not yet answered; beyond it BUSY. */
    OSD_REQUESTS_MAX = 2048,
    /* Payload bytes of those; beyond it BUSY. */
    OSD_RECEIVED_BYTES_MAX = 64 * 1024 * 1024,
    /* Messages taken in per round, so that a flood does not hold up those already taken. */
    OSD_RECEIVE_ROUND = 1024,
    /* Payload bytes behind one sync. */
    OSD_BATCH_BYTES = 32 * 1024 * 1024,
    OSD_GETS_ROUND = 32,      /* fragments read per round */
    OSD_VERIFIES_ROUND = 4,   /* fragments verified per round */
    OSD_VERIFY_KEYS_MAX = 16, /* of one request, as in the schema */
    /* A get waits this long for a reply buffer, then BUSY. */
    OSD_BUFFER_WAIT_MS = 500,
    /* Received fragments that lie in huge pages, of the largest size and as many of a quarter. */
    OSD_RECEIVE_BUFFERS = 80,
    /* Reply buffers by size class; all together 72 MiB when all were in use at once. */
    OSD_BUFFERS_SMALL = 128, /* one block */
    OSD_BUFFERS_MEDIUM = 48, /* a default fragment */
    OSD_BUFFERS_LARGE = 4,   /* the largest fragment */

    /* ---- membership ---- */
    OSD_HEARTBEAT_MS_MIN = 50,
    OSD_HEARTBEAT_MS_MAX = 10000,
    OSD_HEARTBEAT_MS_DEFAULT = 1000,
    OSD_COORDINATOR_TIMEOUT_MS = 3000,
    OSD_BACKOFF_MS_MIN = 100,
    OSD_BACKOFF_MS_MAX = 2000,
    /* Jobs known and not yet confirmed; further ones are ignored, the coordinator repeats them. */
    OSD_COLLECT_JOBS_MAX = 1024,
    OSD_COLLECT_REPORT_MAX = 256,  /* of one heartbeat, as in the schema */
    OSD_COLLECT_STRIPES_STEP = 64, /* looked at per round */
    /* Stored runs remembered as collected, so that a late put does not bring them back. */
    OSD_COLLECTED_MEMORY = 16384,
    OSD_ORPHANS_MAX = 65536, /* runs in quarantine; further ones wait for a later round */
    OSD_STRIPES_MAX = 65536, /* of one run, as the coordinators take it */

    /* ---- rebuild ---- */
    OSD_REBUILD_WINDOW_BYTES = 64 * 1024 * 1024, /* fragments in flight and in memory */
    OSD_REBUILD_JOBS = 256,                      /* stripes under way */
    OSD_REBUILD_FAILURES_MAX = 100000,           /* kept by name; further ones are counted */
    OSD_REBUILD_FAILURE_BYTES_MAX = 32 * 1024 * 1024,
    OSD_REBUILD_REPORTS = 256,          /* findings sent to the coordinator together */
    OSD_REBUILD_ROUNDS = 3,             /* attempts at a source that may come back */
    OSD_REBUILD_RETRY_MS = 500,         /* between them */
    OSD_REBUILD_BUSY_MS = 5,            /* before a busy OSD is asked again */
    OSD_REBUILD_BUSY_MAX = 2000,        /* how often */
    OSD_REBUILD_SILENCE_MS = 4000,      /* a source that says nothing this long is silent */
    OSD_REBUILD_OWN_TIMEOUT_MS = 60000, /* our own store may be slow, but not for ever */
    OSD_REBUILD_COORDINATOR_MS = 30000, /* patience with a coordinator that is gone */
    OSD_FILL_FAILURES_MAX = 1024,       /* of one job; it begins anew after a while then */
    OSD_REBUILD_KEEP_ALIVE_MS = 60000,  /* a pinned walk lapses when nobody asks */
};

#endif
