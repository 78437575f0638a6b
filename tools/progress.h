/* A line that says how far a long command is: bar, bytes, rate, time to go. Drawn on standard error
 * a few times a second, only when that is a terminal and --json was not given. One thread. */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include "base/eta.h"
#include "client/lilio.h"

struct tools_progress {
    bool enabled;
    bool drawn;
    const char *label; /* borrowed */
    uint64_t started_ms, last_ms;
    uint64_t done_bytes;
    struct base_eta eta;
};
void tools_progress_start(struct tools_progress *progress, const char *label, bool json);
/* total UINT64_MAX = unknown. */
void tools_progress_show(struct tools_progress *progress, uint64_t done, uint64_t total);
/* Wipes the line. Any number of times. */
void tools_progress_end(struct tools_progress *progress);
uint64_t tools_progress_elapsed_ms(const struct tools_progress *progress);
/* For the library's calls. */
struct lilio_progress tools_progress_callback(struct tools_progress *progress);

enum { TOOLS_PROGRESS_LINE = 160 };
/* The line itself, pure: "label [=====>    ]  45 %  300.0 MB  950 MB/s  3-4 s to go". ret_line is
 * cut at its room. */
void tools_progress_line(const char *label, uint64_t done, uint64_t total,
                         const struct base_eta *eta, char ret_line[TOOLS_PROGRESS_LINE]);

#endif
