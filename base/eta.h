/* How long work takes on, and how sure that is. Pure: time and progress come in, one thread.
 *
 * Progress is cut into intervals. The rate is that of all of them, since the first progress was
 * seen: what came before is preparation. When the newest ones are too far from the others to be
 * chance, the work goes at another rate now and the others are forgotten. The band follows from how
 * much the rates of the intervals vary: it is narrow when work goes evenly. While it is wider than
 * the answer is worth nothing is known, but no longer than until a tenth of the work is done.
 */
#ifndef BASE_ETA_H
#define BASE_ETA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BASE_ETA_INTERVALS = 32, /* kept; when there are more, neighbours are joined */
    BASE_ETA_SPAN_MS = 250,  /* of an interval at first */
    BASE_ETA_LEAST = 4,      /* intervals before anything is known */
    BASE_ETA_SEEN_MS = 1000, /* likewise */
};

struct base_eta_interval {
    uint64_t ms;
    double work;
};

/* Zero-initialise; zero again where other work begins. */
struct base_eta {
    uint64_t least_ms; /* of an interval; 0 = BASE_ETA_SPAN_MS. What comes in lumps, as heartbeats
                          do, is best cut at least as coarse */
    bool seen, begun;  /* there was a note; there was progress */
    uint64_t first;    /* done when there was */
    uint64_t ms, done, span_ms; /* end of the newest interval; least length of the next */
    size_t count;
    struct base_eta_interval intervals[BASE_ETA_INTERVALS]; /* oldest first */
};

/* So much is done at a time. Less than before: it began anew, and so does the estimate. */
void base_eta_note(struct base_eta *eta, uint64_t now_ms, uint64_t done);

struct base_eta_told {
    bool known;
    uint64_t ms, low_ms, high_ms; /* until the rest is done */
    uint64_t per_s;               /* rate; also while the rest is not known, 0 = no idea */
    uint64_t per_s_error;         /* standard error of it; all of it while little was seen */
};
/* left is in the unit of done. */
struct base_eta_told base_eta_tell(const struct base_eta *eta, uint64_t left);

#endif
