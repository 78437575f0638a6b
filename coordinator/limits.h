/* Every bound of the coordinator in one place. What happens at each one: README.md, "Failure
 * modes". */
#ifndef COORDINATOR_LIMITS_H
#define COORDINATOR_LIMITS_H

enum {
    COORD_FORMAT = 2, /* of the rows in the maps */

    /* one entry of the log; entries whose outcome is waited for, while the next one gathers */
    COORD_ROUNDS_MAX = 2,
    COORD_ENTRY_COMMANDS_MAX = 256,
    COORD_ENTRY_BYTES_MAX = 1 << 20, /* reached by one command alone at most */
    COORD_STEP_MS_MAX = 10000,       /* cluster time moves at most this far in one entry */

    /* sessions */
    COORD_SESSIONS_MAX = 65536,
    COORD_SESSIONS_LOST_MAX = 1 << 30, /* opened after a backup that is put back (alone.h) */
    COORD_EPOCHS_LOST_MAX = 1 << 30,   /* maps made after it */
    COORD_SESSION_TIMEOUT_MS = 30000,
    COORD_SESSION_TIMEOUT_MS_MIN = 1000,
    COORD_SESSION_TIMEOUT_MS_MAX = 600000,
    COORD_SESSION_RUNS_MAX = 65536,   /* runs one session staged or gave up */
    COORD_SESSION_RESULTS_MAX = 4096, /* results remembered for one session */
    COORD_LEASES_MAX = 65536,

    /* objects and buckets */
    COORD_KEY_MAX = 1024,
    COORD_BUCKET_NAME_MAX = 63,
    COORD_ATTRIBUTE_BYTES_MAX = 8192,
    COORD_EXTENTS_MAX = 64,
    COORD_STRIPES_MAX = 65536, /* of one run: its checksums fill 256 KiB at one fragment a stripe */
    COORD_PAGE_MAX = 1000,     /* lines of a listing */
    COORD_INLINE_MAX = 16384,  /* bytes of an object that travels in COMMIT */
    COORD_INLINE_VOTERS_MIN = 3,

    /* the cluster map */
    COORD_OSDS_MAX = 1024,
    COORD_OSD_ID_MAX = 65534, /* 65535 means nobody in a slot table */
    COORD_PLACEMENTS_MAX = 64,
    COORD_SLOT_BYTES_MAX = 3 << 20, /* all slot tables together: a map fits one message */

    /* walks and collection */
    COORD_SCANS_MAX = 16,
    COORD_SCAN_IDLE_MS = 300000,
    COORD_SCAN_YIELD_MS = 90000, /* idle for so long, a walk makes room when there are too many */
    COORD_SCAN_ROWS_MAX = 1024,
    COORD_SCAN_PAGE_BYTES = 1 << 20,
    COORD_SCAN_LOOKED_MAX = 4096, /* runs looked at for a page of a bucket */
    COORD_SCAN_NAMES = 4,
    COORD_SCAN_NAMES_COUNTED = 65536,
    COORD_COLLECT_MAX = 256,       /* jobs in one reply to an OSD, steps in one gc_done */
    COORD_COLLECT_OPEN_MAX = 512,  /* jobs an OSD has and has not confirmed */
    COORD_COLLECTING_MAX = 4096,   /* runs being collected at a time */
    COORD_COLLECT_WALK_MAX = 4096, /* gc rows looked at in one round */

    COORD_STRIPES_PAGE = 128, /* rows of counters looked at for one page of a histogram */

    /* repair */
    COORD_REPAIR_LEVELS = 18,          /* counters: margins 0 to 16, and too few known good */
    COORD_REPAIR_OPEN_MAX = 64,        /* runs leased to an OSD */
    COORD_REPAIR_LEASE_MS = 60000,     /* a lease no heartbeat names ends */
    COORD_REPAIR_FAILURES_MAX = 65536, /* runs that failed and wait; further ones do not wait */
    COORD_REPAIR_WALK_MAX = 1024,      /* rows of the queue looked at in one step */
    COORD_REPAIR_WALK_BYTES = 4 << 20, /* of checksums in the runs looked at in one step */
    COORD_REPAIR_WAIT_MS_MIN = 30000,  /* before a run that failed is tried again, doubling */
    COORD_REPAIR_WAIT_MS_MAX = 1800000,
    COORD_REPAIR_FRAGMENT_COST = 65536, /* mending one takes as long as so many bytes more */

    /* slots that move */
    COORD_MOVES_MAX = 1024, /* in one entry */
    COORD_FILL_MAX = 1024,  /* partitions in one job of an OSD */
    COORD_FILLS_MAX = 12,   /* OSDs with a job at a time: each of them walks over the maps */
};

#define COORD_DEADLINE_TOLD_MS UINT64_C(3600000) /* a deadline that has come is spoken of */
#define COORD_DEADLINE_MS_MAX  (UINT64_C(366) * 86400000) /* of repair, from when it is set */

#endif
