#include "tools/scrub.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/banned.h"

const char *tools_scrub_name(enum lilio_scrub_kind kind)
{
    return kind == LILIO_SCRUB_DEEP ? "deep" : "light";
}

bool tools_scrub_runs(const struct lilio_scrub *scrub)
{
    return scrub->known && (scrub->state == LILIO_SCRUB_RUNS || scrub->state == LILIO_SCRUB_STUCK);
}

static uint32_t permille(uint64_t part, uint64_t whole)
{
    uint64_t made = whole ? (uint64_t)((double)part * 1000 / (double)whole) : 0;
    return part < whole && made > 999 ? 999 : made > 1000 ? 1000 : (uint32_t)made;
}

uint32_t tools_scrub_permille(const struct lilio_scrub *scrub)
{
    return permille(scrub->good + scrub->bad, scrub->expected);
}

/* ---- all OSDs together ---- */

struct total {
    size_t members, unknown, running, waiting, never;
    uint64_t looked_at, expected; /* of the rounds under way */
    uint64_t bad, unread, stripes_bad, stripes_unread;
    uint64_t oldest_ms;
};

static void total_add(struct total *total, const struct lilio_scrub *scrub)
{
    bool running = tools_scrub_runs(scrub);
    total->members++;
    total->unknown += !scrub->known;
    if (!scrub->known)
        return;
    total->never += scrub->rounds == 0;
    total->running += running;
    total->waiting += scrub->state == LILIO_SCRUB_WAITS;
    if (running) {
        total->looked_at += scrub->good + scrub->bad;
        total->expected += scrub->expected;
    }
    total->bad += running ? scrub->bad : scrub->last_bad;
    total->unread += running ? scrub->unread : scrub->last_unread;
    total->stripes_unread += running ? scrub->stripes_unread : scrub->last_stripes_unread;
    /* Nothing mends it: what the last round found is there until this one has come by. */
    bool more = running && scrub->stripes_bad > scrub->last_stripes_bad;
    total->stripes_bad += more ? scrub->stripes_bad : scrub->last_stripes_bad;
    if (scrub->rounds > 0 && scrub->oldest_ms > total->oldest_ms)
        total->oldest_ms = scrub->oldest_ms;
}

struct text {
    char bytes[400];
    size_t used;
};

static void LILIO_PRINTF(2, 3) add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int wrote =
        vsnprintf(text->bytes + text->used, sizeof text->bytes - text->used, format, arguments);
    va_end(arguments);
    text->used += wrote > 0 ? (size_t)wrote : 0;
    if (text->used >= sizeof text->bytes)
        text->used = sizeof text->bytes - 1; /* cut */
}

/* How far, and how old. */
static void coverage_add(struct text *text, enum lilio_scrub_kind kind, const struct total *total)
{
    size_t told = total->members - total->unknown;
    char time[TOOLS_TEXT];
    if (total->running > 0)
        add(text, "%u %% %s in this round of %zu OSDs, ",
            permille(total->looked_at, total->expected) / 10,
            kind == LILIO_SCRUB_DEEP ? "read" : "looked at", total->running);
    if (told == 0)
        add(text, "not known yet");
    else if (total->never == told)
        add(text, total->running ? "the rest never" : "never scrubbed");
    else
        add(text, "the oldest verification %s ago", tools_text_duration(total->oldest_ms, time));
    if (total->never > 0 && total->never < told)
        add(text, ", %zu OSDs never", total->never);
    if (told > 0 && total->unknown > 0)
        add(text, ", %zu OSDs not heard", total->unknown);
}

static void line_print(struct tools_out *out, enum lilio_scrub_kind kind, const struct total *total)
{
    struct text text = {.used = 0};
    coverage_add(&text, kind, total);
    if (total->waiting)
        add(&text, "; due on %zu OSDs that read for a deep scrub first", total->waiting);
    if (total->bad)
        add(&text, "; %llu bad, reported", (unsigned long long)total->bad);
    if (total->unread)
        add(&text, "; %llu not read: known to be bad, or filling",
            (unsigned long long)total->unread);
    if (total->stripes_bad)
        add(&text, "; %llu stripes whose parity does not fit (`lilio-ec scrub status')",
            (unsigned long long)total->stripes_bad);
    if (total->stripes_unread)
        add(&text, "; %llu stripes whose parity could not be checked",
            (unsigned long long)total->stripes_unread);
    tools_out_line(out, "%s%s", kind == LILIO_SCRUB_DEEP ? "deep scrub    " : "light scrub   ",
                   text.bytes);
}

void tools_scrub_summary(struct tools_out *out, const struct lilio_osd *osds, size_t count)
{
    for (size_t kind = 0; kind < LILIO_SCRUB_KINDS; kind++) {
        struct total total = {0};
        for (size_t i = 0; i < count; i++)
            if (osds[i].incarnation > 0)
                total_add(&total, &osds[i].scrubs[kind]);
        line_print(out, (enum lilio_scrub_kind)(kind + 1), &total);
    }
}

/* ---- JSON ---- */

static void scrub_json(cJSON *parent, const struct lilio_scrub *scrub, bool of_leader)
{
    static const char *const states[] = {"rests", "runs", "stuck", "waits"};
    if (!scrub->known) {
        tools_json_text(parent, tools_scrub_name(scrub->kind), NULL);
        return;
    }
    cJSON *object = tools_json_object(parent, tools_scrub_name(scrub->kind));
    tools_json_text(object, "state", states[scrub->state]);
    tools_json_u64(object, "period_ms", scrub->period_ms);
    tools_json_u64(object, "rounds", scrub->rounds);
    if (tools_scrub_runs(scrub)) {
        cJSON *round = tools_json_object(object, "round");
        tools_json_bool(round, "ordered", scrub->ordered);
        tools_json_u64(round, "age_ms", scrub->round_ms);
        tools_json_u64(round, "coverage_permille", tools_scrub_permille(scrub));
        tools_json_u64(round, "expected", scrub->expected);
        tools_json_u64(round, "good", scrub->good);
        tools_json_u64(round, "bad", scrub->bad);
        tools_json_u64(round, "not_read", scrub->unread);
        tools_json_u64(round, "bytes", scrub->bytes);
        tools_json_u64(round, "bytes_per_s", scrub->bytes_per_s);
        tools_json_u64(round, "eta_ms", scrub->eta_ms);
        tools_json_u64(round, "stripes", scrub->stripes);
        tools_json_u64(round, "stripes_bad", scrub->stripes_bad);
        tools_json_u64(round, "stripes_not_read", scrub->stripes_unread);
    }
    if (scrub->rounds == 0)
        return;
    cJSON *last = tools_json_object(object, "last");
    tools_json_u64(last, "ended_ms", scrub->ended_ms);
    tools_json_u64(last, "oldest_ms", scrub->oldest_ms);
    tools_json_u64(last, "index", scrub->last_index);
    tools_json_u64(last, "good", scrub->last_good);
    tools_json_u64(last, "bad", scrub->last_bad);
    tools_json_u64(last, "not_read", scrub->last_unread);
    tools_json_u64(last, "stripes_bad", scrub->last_stripes_bad);
    tools_json_u64(last, "stripes_not_read", scrub->last_stripes_unread);
    if (of_leader && scrub->kind == LILIO_SCRUB_DEEP)
        tools_json_bool(last, "counts", scrub->counts);
}

void tools_scrub_json(cJSON *object, const struct lilio_scrub scrubs[LILIO_SCRUB_KINDS],
                      bool of_leader)
{
    cJSON *both = tools_json_object(object, "scrub");
    for (size_t i = 0; i < LILIO_SCRUB_KINDS; i++)
        scrub_json(both, &scrubs[i], of_leader);
}
