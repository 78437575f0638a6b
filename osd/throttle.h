/* How fast an OSD may mend while it serves clients: a share of the rate it reaches while nobody
 * asks it anything. Pure, time comes in; one thread.
 *
 * The idle rate is measured in windows in which no client was served and the engine never ran dry.
 * A faster window counts for more than a slower one: while work gets going it is slow, and repair
 * shall not have its share of a rate that it has outgrown.
 * While clients are served, each task that begins sets back the next one by the time its bytes take
 * at the share of that rate. What has begun goes on, so no more is under way at a time than keeps
 * the engine busy: clients that come shall not wait until hundreds of fragments are mended.
 */
#ifndef OSD_THROTTLE_H
#define OSD_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    OSD_THROTTLE_SHARE = 15,              /* percent, until orders say otherwise */
    OSD_THROTTLE_CLIENTS_MS = 1000,       /* after the last request clients count as served */
    OSD_THROTTLE_CREDIT_MS = 1000,        /* so late a task may be without losing its turn */
    OSD_THROTTLE_WINDOW_MS = 500,         /* of one measurement */
    OSD_THROTTLE_IDLE_DEFAULT = 64 << 20, /* bytes a second, before anything was measured */
    OSD_THROTTLE_IDLE_MIN = 8 << 20,      /* a slower measurement is not believed */
    OSD_THROTTLE_OPEN_BYTES = 16 << 20,   /* of fragments under way at a time */
};

/* Zero-initialise. */
struct osd_throttle {
    uint32_t share;     /* percent; 0 = OSD_THROTTLE_SHARE, 100 = never held back */
    uint64_t idle_rate; /* bytes a second; 0 = not measured yet */
    bool served;        /* clients were, ever */
    uint64_t served_ns; /* when last */
    uint64_t next_ns;   /* while clients are served nothing begins before */
    bool measuring;
    uint64_t window_ns, window_bytes;
    uint64_t open_bytes; /* of tasks that have begun and not ended */
};

/* A client was served. */
void osd_throttle_served(struct osd_throttle *throttle, uint64_t now_ns);
/* Whether clients are served these days. */
bool osd_throttle_clients(const struct osd_throttle *throttle, uint64_t now_ns);
/* How long the next task has to wait. */
uint64_t osd_throttle_wait_ns(const struct osd_throttle *throttle, uint64_t now_ns);
/* Whether a task of so many bytes may be under way beside the others. One always may. */
bool osd_throttle_has_room(const struct osd_throttle *throttle, uint64_t bytes);
/* A task of so many bytes begins. */
void osd_throttle_begin(struct osd_throttle *throttle, uint64_t bytes, uint64_t now_ns);
/* It ended, in whatever way; after osd_throttle_done if it was mended. The last one leaves the
 * engine dry. */
void osd_throttle_end(struct osd_throttle *throttle, uint64_t bytes);
/* So much was mended by one. */
void osd_throttle_done(struct osd_throttle *throttle, uint64_t bytes, uint64_t now_ns);
/* There is nothing to do, or it is held back: no rate is measured. */
void osd_throttle_dry(struct osd_throttle *throttle);

#endif
