#include "tools/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/env.h"
#include "tools/out.h"

#include "base/banned.h"

enum { BAR = 24, REDRAW_MS = 100, QUIET_MS = 300 };

uint64_t tools_progress_remaining_ms(uint64_t done, uint64_t total, uint64_t elapsed_ms)
{
    if (total == UINT64_MAX || done == 0 || done > total)
        return UINT64_MAX;
    double remaining = (double)elapsed_ms * ((double)(total - done) / (double)done);
    return remaining < 1e15 ? (uint64_t)remaining : UINT64_MAX;
}

void tools_progress_line(const char *label, uint64_t done, uint64_t total, uint64_t elapsed_ms,
                         char ret_line[TOOLS_PROGRESS_LINE])
{
    char bytes[TOOLS_TEXT], rate[TOOLS_TEXT], left[TOOLS_TEXT], bar[BAR + 1];
    tools_text_bytes(done, bytes);
    tools_text_rate(done, elapsed_ms, rate);
    if (total == UINT64_MAX || total == 0) {
        (void)snprintf(ret_line, TOOLS_PROGRESS_LINE, "%s  %s  %s", label, bytes, rate);
        return;
    }
    double part = done >= total ? 1.0 : (double)done / (double)total;
    size_t filled = (size_t)(part * BAR);
    memset(bar, ' ', BAR);
    memset(bar, '=', filled);
    if (filled < BAR)
        bar[filled] = '>';
    bar[BAR] = '\0';
    uint64_t remaining = tools_progress_remaining_ms(done, total, elapsed_ms);
    if (remaining == UINT64_MAX)
        (void)snprintf(left, sizeof left, "?");
    else if (remaining < 60000)
        (void)snprintf(left, sizeof left, "%llu s", (unsigned long long)((remaining + 999) / 1000));
    else
        tools_text_duration(remaining, left);
    (void)snprintf(ret_line, TOOLS_PROGRESS_LINE, "%s [%s] %3d %%  %s  %s  %s to go", label, bar,
                   (int)(part * 100), bytes, rate, left);
}

void tools_progress_start(struct tools_progress *progress, const char *label, bool json)
{
    *progress = (struct tools_progress){
        .enabled = !json && isatty(STDERR_FILENO) == 1,
        .label = label,
        .started_ms = base_now_ms(base_clock_system()),
    };
}

uint64_t tools_progress_elapsed_ms(const struct tools_progress *progress)
{
    return base_now_ms(base_clock_system()) - progress->started_ms;
}

void tools_progress_show(struct tools_progress *progress, uint64_t done, uint64_t total)
{
    progress->done_bytes = done;
    if (!progress->enabled)
        return;
    uint64_t now_ms = tools_progress_elapsed_ms(progress);
    if (now_ms < QUIET_MS || (progress->drawn && now_ms - progress->last_ms < REDRAW_MS))
        return;
    char line[TOOLS_PROGRESS_LINE];
    tools_progress_line(progress->label, done, total, now_ms, line);
    (void)fprintf(stderr, "\r%s\033[K", line);
    (void)fflush(stderr);
    progress->last_ms = now_ms;
    progress->drawn = true;
}

void tools_progress_end(struct tools_progress *progress)
{
    if (progress->drawn)
        (void)fputs("\r\033[K", stderr);
    progress->drawn = false;
}

static void report(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
    tools_progress_show(context, done_bytes, total_bytes);
}

struct lilio_progress tools_progress_callback(struct tools_progress *progress)
{
    return (struct lilio_progress){.report = report, .context = progress};
}
