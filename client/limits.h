/* Every bound of the client, and what happens at it (client/README.md says more). Times in
 * milliseconds. */
#ifndef CLIENT_LIMITS_H
#define CLIENT_LIMITS_H

enum {
    CLIENT_TIMEOUT_MS = 10000, /* longest silence of a call, unless the caller says otherwise */
    CLIENT_WINDOW_BYTES = 32 << 20,     /* fragment bytes in flight per call, likewise */
    CLIENT_WINDOW_STRIPES_MAX = 64,     /* stripes in flight, however small */
    CLIENT_EXTENTS_MAX = 64,            /* runs of one object; more is TOO_BIG */
    CLIENT_EXTENT_STRIPES_MAX = 4096,   /* stripes of one run ... */
    CLIENT_CHECKSUM_BYTES_MAX = 262144, /* ... whose fragment checksums fit this */
    CLIENT_INLINE_MAX = 16384,          /* bytes in COMMIT at most, whatever the session allows */
    CLIENT_GRACE_MS = 200,              /* how long a stripe with quorum waits for its stragglers */
    CLIENT_PATIENCE_MS = 3000,          /* how long needed OSDs may be without connection */
    CLIENT_PUT_SILENT_MS = 5000, /* an OSD with work that says nothing for so long is given up */
    CLIENT_GET_SILENT_MS = 2000, /* likewise; a get asks it twice */
    CLIENT_HEDGE_MS = 100,       /* least age of a request before parity is asked, too */
    CLIENT_CONNECT_MS = 200,     /* how long a new lane waits for the rest of its connections */
    CLIENT_LOOK_MS = 20,         /* how often connections are looked at while answers keep coming */
    CLIENT_BACKOFF_MS = 10,      /* first pause after BUSY; doubles */
    CLIENT_BACKOFF_MS_MAX = 500,
    CLIENT_TICK_MS = 100,      /* longest wait before clocks and cancellation are looked at */
    CLIENT_ATTEMPTS_PUT = 4,   /* sends of one fragment that met a lost connection or a newer map */
    CLIENT_ATTEMPTS_GET = 2,   /* requests of one fragment to an OSD that was silent */
    CLIENT_ATTEMPT_END = 2048, /* requests of one fragment, all in all: attempts are below */
    CLIENT_SCANS_MAX = 16,     /* leaders a page of a verification may see go */
    CLIENT_RESTARTS_MAX = 16,  /* versions a get may see collected under it */
    CLIENT_LANES_IDLE_MAX = 16,    /* lanes kept for the next call; more are closed */
    CLIENT_BUCKET_CACHE_MS = 1000, /* how old a bucket's profile may be */
    CLIENT_BUCKET_CACHE_COUNT = 16,
    CLIENT_PLAN_CACHE_COUNT = 32, /* 16 KiB each */
    CLIENT_REPORTS_MAX =
        1024, /* bad fragments told to the coordinators per call; the rest is counted */
    CLIENT_LEASES_MAX = 256,          /* versions kept from collection by one client */
    CLIENT_CLOSE_MS = 500,            /* patience with the coordinators when the session ends */
    CLIENT_VERIFY_BATCHES = 2,        /* verification requests under way per OSD */
    CLIENT_COPY_PIPE_BYTES = 4 << 20, /* between the get and the put of a copy across profiles */
    CLIENT_KEY_BYTES_MAX = 1024,
};

#endif
