#include "tools/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/env.h"
#include "tools/out.h"

#include "base/banned.h"

enum { BAR = 24, REDRAW_MS = 100, QUIET_MS = 300 };

void tools_progress_line(const char *label, uint64_t done, uint64_t total,
                         const struct base_eta *eta, char ret_line[TOOLS_PROGRESS_LINE])
{
    char bytes[TOOLS_TEXT], rate[TOOLS_TEXT], left[TOOLS_TEXT], bar[BAR + 1];
    struct base_eta_told told = base_eta_tell(eta, total > done ? total - done : 0);
    tools_text_bytes(done, bytes);
    tools_text_rate(told.per_s, 1000, rate);
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
    if (!told.known)
        (void)snprintf(left, sizeof left, "?");
    else if (told.high_ms < 60000) /* the band, in whole seconds */
        (void)snprintf(left, sizeof left, "%llu-%llu s", (unsigned long long)(told.low_ms / 1000),
                       (unsigned long long)((told.high_ms + 999) / 1000));
    else
        tools_text_duration(told.ms, left);
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
    base_eta_note(&progress->eta, now_ms, done);
    if (now_ms < QUIET_MS || (progress->drawn && now_ms - progress->last_ms < REDRAW_MS))
        return;
    char line[TOOLS_PROGRESS_LINE];
    tools_progress_line(progress->label, done, total, &progress->eta, line);
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
