/* scrub start, scrub status: looking for damage before somebody meets it. */
#include "tools/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/scrub.h"

#include "base/banned.h"

enum { POLL_MS = 500, BAR = 24, RATE_TEXT = 64 };

/* What is known of one OSD. */
struct line {
    uint32_t osd;
    enum lilio_err err; /* it did not answer: what the leader knows is shown */
    char why[512];
    struct lilio_scrub_report report;
};
struct lines {
    struct lilio_status status;
    struct line *list;
    size_t count;
};

static void lines_release(struct lines *lines)
{
    for (size_t i = 0; i < lines->count; i++)
        lilio_scrub_release(&lines->list[i].report);
    free(lines->list);
    lilio_status_release(&lines->status);
    *lines = (struct lines){0};
}

static void line_fail(struct tools_context *context, struct line *line, enum lilio_err err)
{
    line->err = err;
    (void)snprintf(line->why, sizeof line->why, "%s", context->info.text); /* cutting is fine */
    context->info = (struct lilio_errinfo){0};
}

/* The members, with what the leader knows of them. */
static enum lilio_err lines_begin(struct tools_context *context, struct lines *lines)
{
    *lines = (struct lines){0};
    enum lilio_err err = lilio_status_get(context->client, &lines->status, &context->info);
    if (err)
        return err;
    lines->list = calloc(lines->status.osd_count + 1, sizeof *lines->list);
    if (!lines->list)
        return tools_no_memory(&context->info);
    for (size_t i = 0; i < lines->status.osd_count; i++) {
        const struct lilio_osd *osd = &lines->status.osds[i];
        if (osd->incarnation == 0)
            continue;
        struct line *line = &lines->list[lines->count++];
        line->osd = osd->id;
        memcpy(line->report.scrubs, osd->scrubs, sizeof osd->scrubs);
        if (strcmp(osd->state, "up") != 0)
            line_fail(context, line,
                      lilio_fail(&context->info, LILIO_E_UNAVAILABLE, "it is %s",
                                 tools_text_name(osd->state, 0)));
    }
    return LILIO_OK;
}

static void lines_ask(struct tools_context *context, struct lines *lines)
{
    for (size_t i = 0; i < lines->count; i++) {
        struct line *line = &lines->list[i];
        struct lilio_scrub_report report = {0};
        if (line->err)
            continue;
        enum lilio_err err = lilio_scrub_get(context->client, line->osd, &report, &context->info);
        if (err)
            line_fail(context, line, err);
        else
            line->report = report;
    }
}

/* ---- what is shown ---- */

static void round_cells(struct tools_table *table, const struct lilio_scrub *scrub,
                        const struct lilio_scrub *deep)
{
    char rate[TOOLS_TEXT], left[TOOLS_TEXT];
    bool runs = tools_scrub_runs(scrub);
    if (!scrub->known)
        tools_table_add(table, "not known");
    else if (scrub->state == LILIO_SCRUB_WAITS)
        tools_table_add(table, "due, waits for deep (%u %%)", tools_scrub_permille(deep) / 10);
    else if (!runs)
        tools_table_add(table, "rests");
    else
        tools_table_add(table, "%s%s", scrub->state == LILIO_SCRUB_STUCK ? "waits" : "runs",
                        scrub->ordered ? ", asked for" : "");
    tools_table_add(table, runs ? "%u %%" : "-", tools_scrub_permille(scrub) / 10);
    tools_table_add(table, "%llu", (unsigned long long)(runs ? scrub->bad : scrub->last_bad));
    tools_table_add(table, "%llu", (unsigned long long)(runs ? scrub->unread : scrub->last_unread));
    tools_table_add(table, "%s",
                    runs && scrub->kind == LILIO_SCRUB_DEEP
                        ? tools_text_rate(scrub->bytes_per_s, 1000, rate)
                        : "-");
    tools_table_add(table, "%s",
                    !runs            ? "-"
                    : !scrub->eta_ms ? "?"
                                     : tools_text_duration(scrub->eta_ms, left));
    if (scrub->rounds == 0) {
        const char *when = scrub->known ? "never" : "-";
        tools_table_add(table, "%s", when);
        tools_table_add(table, "%s", when);
        return;
    }
    tools_table_add(table, "%s ago", tools_text_duration(scrub->ended_ms, rate));
    tools_table_add(table, "%s ago", tools_text_duration(scrub->oldest_ms, left));
}

static void table_print(struct tools_out *out, const struct lines *lines)
{
    static const char *const columns[] = {"OSD",           "SCRUB",   "ROUND", ">LOOKED AT",
                                          ">BAD",          ">UNREAD", ">RATE", ">TO GO",
                                          "LAST COMPLETE", "OLDEST",  NULL};
    struct tools_table *table = tools_table_new(columns);
    for (size_t i = 0; i < lines->count; i++)
        for (size_t k = 0; k < LILIO_SCRUB_KINDS; k++) {
            const struct lilio_scrub *scrub = &lines->list[i].report.scrubs[k];
            tools_table_add(table, "osd.%u", lines->list[i].osd);
            tools_table_add(table, "%s", tools_scrub_name(scrub->kind));
            round_cells(table, scrub, &lines->list[i].report.scrubs[LILIO_SCRUB_DEEP - 1]);
        }
    tools_table_print(&table, out);
}

static const char *what_text(const struct lilio_scrub_finding *finding)
{
    return finding->what == LILIO_SCRUB_MISSING ? "missing"
           : finding->what == LILIO_SCRUB_PARITY
               ? "does not fit its data; a copy of the object will"
               : "corrupt";
}

static const char *what_name(const struct lilio_scrub_finding *finding)
{
    return finding->what == LILIO_SCRUB_MISSING  ? "missing"
           : finding->what == LILIO_SCRUB_PARITY ? "parity"
                                                 : "corrupt";
}

static void findings_print(struct tools_out *out, const struct line *line)
{
    for (size_t i = 0; i < line->report.finding_count; i++) {
        const struct lilio_scrub_finding *finding = &line->report.findings[i];
        tools_out_line(out, "osd.%u, %s: %s stripe %llu fragment %u %s", line->osd,
                       tools_scrub_name(finding->scrub),
                       tools_text_name(finding->names[0] ? finding->names : finding->oid, 0),
                       (unsigned long long)finding->stripe, finding->index, what_text(finding));
    }
    if (line->report.findings_more)
        tools_out_line(out, "osd.%u: %llu more", line->osd,
                       (unsigned long long)line->report.findings_more);
}

static void lines_print(struct tools_out *out, const struct lines *lines)
{
    table_print(out, lines);
    for (size_t i = 0; i < lines->count; i++) {
        const struct line *line = &lines->list[i];
        findings_print(out, line);
        if (line->err == LILIO_E_CANCELLED)
            continue; /* it was not waited for; what the leader knows is shown */
        if (line->err)
            tools_out_line(out, "osd.%u did not answer: %s", line->osd,
                           tools_text_name(line->why, 0));
        else if (line->report.text[0])
            tools_out_line(out, "osd.%u waits: %s", line->osd,
                           tools_text_name(line->report.text, 0));
    }
}

static cJSON *line_json(const struct line *line)
{
    cJSON *object = tools_json_new();
    tools_json_u64(object, "osd", line->osd);
    tools_scrub_json(object, line->report.scrubs, false /* of the OSD */);
    tools_json_text(object, "waits", line->report.text[0] ? line->report.text : NULL);
    tools_json_text(object, "error", line->err ? lilio_err_name(line->err) : NULL);
    tools_json_text(object, "reason", line->err ? line->why : NULL);
    cJSON *list = tools_json_list(object, "found");
    for (size_t i = 0; i < line->report.finding_count; i++) {
        const struct lilio_scrub_finding *finding = &line->report.findings[i];
        cJSON *entry = tools_json_new();
        tools_json_text(entry, "objects", finding->names);
        tools_json_text(entry, "oid", finding->oid);
        tools_json_u64(entry, "stripe", finding->stripe);
        tools_json_u64(entry, "index", finding->index);
        tools_json_text(entry, "what", what_name(finding));
        tools_json_text(entry, "scrub", tools_scrub_name(finding->scrub));
        tools_json_add(list, entry);
    }
    tools_json_u64(object, "found_more", line->report.findings_more);
    return object;
}

/* The first OSD that did not answer is what the shell gets to know. */
static int lines_end(struct tools_context *context, struct lines *lines)
{
    int code = TOOLS_EXIT_OK;
    cJSON *object = tools_json_new();
    cJSON *list = tools_json_list(object, "osds");
    for (size_t i = 0; i < lines->count; i++) {
        code = code == TOOLS_EXIT_OK ? tools_exit_code(lines->list[i].err) : code;
        tools_json_add(list, line_json(&lines->list[i]));
    }
    lines_print(&context->out, lines);
    tools_out_object(&context->out, object);
    lines_release(lines);
    return code;
}

static int lines_fail(struct tools_context *context, struct lines *lines, enum lilio_err err)
{
    lines_release(lines);
    return tools_fail(context, err);
}

/* ---- scrub status ---- */

static error_t status_parse(int key, char *arg, struct argp_state *state)
{
    bool *watch = state->input;
    (void)arg;
    if (key != 'w')
        return ARGP_ERR_UNKNOWN;
    *watch = true;
    return 0;
}

static const struct argp_option status_options[] = {
    {"watch", 'w', NULL, 0, "Show how it goes on until no round runs that was asked for", 0},
    {0},
};

static const struct argp status_argp = {
    .options = status_options,
    .parser = status_parse,
    .doc =
        "How far the OSDs are in looking for damage. A light scrub asks each OSD's index for every "
        "fragment the maps name; a deep one reads every byte and codes parity anew. Both come by "
        "themselves (scrub_light_ms and scrub_deep_ms in lilio.yaml: a day, 14 days). OLDEST: no "
        "fragment that was there then was looked at longer ago. UNREAD: known to be bad already, "
        "or "
        "in a slot that fills. A light scrub that is due waits for a deep one that reads a large "
        "object. What is found missing or corrupt is reported and mended "
        "(`lilio-ec repair'). Exit codes: 0 all OSDs told, whatever was found, 5 one is not up or "
        "did not answer: what the leader knows of it is shown."
        "\vExamples:\n"
        "  lilio-ec scrub status\n"
        "  lilio-ec scrub status --watch\n"
        "  lilio-ec scrub status --json\n",
};

struct progress {
    uint64_t looked_at, expected, bad, bytes_per_s, eta_ms;
    size_t running;
};

/* Of the rounds somebody asked for. */
static struct progress progress_of(const struct lines *lines)
{
    struct progress sum = {0};
    for (size_t i = 0; i < lines->count; i++)
        for (size_t k = 0; k < LILIO_SCRUB_KINDS; k++) {
            const struct lilio_scrub *scrub = &lines->list[i].report.scrubs[k];
            if (lines->list[i].err || scrub->state == LILIO_SCRUB_RESTS || !scrub->ordered)
                continue;
            sum.running++;
            sum.looked_at += scrub->good + scrub->bad;
            sum.expected += scrub->expected;
            sum.bad += scrub->bad;
            sum.bytes_per_s += scrub->bytes_per_s;
            sum.eta_ms = scrub->eta_ms > sum.eta_ms ? scrub->eta_ms : sum.eta_ms;
        }
    return sum;
}

static void progress_draw(const struct progress *progress)
{
    char bar[BAR + 1], rate[TOOLS_TEXT], time[TOOLS_TEXT];
    size_t filled =
        progress->expected ? (size_t)(progress->looked_at * BAR / progress->expected) : 0;
    filled = filled > BAR ? BAR : filled;
    memset(bar, ' ', BAR);
    memset(bar, '=', filled);
    if (filled < BAR)
        bar[filled] = '>';
    bar[BAR] = '\0';
    (void)fprintf(stderr,
                  "\r\033[Kscrub [%s] %llu of %llu fragments, %zu rounds run, %llu bad  %s"
                  "  %s to go",
                  bar, (unsigned long long)progress->looked_at,
                  (unsigned long long)progress->expected, progress->running,
                  (unsigned long long)progress->bad,
                  tools_text_rate(progress->bytes_per_s, 1000, rate),
                  progress->eta_ms ? tools_text_duration(progress->eta_ms, time) : "?");
    (void)fflush(stderr);
}

/* Asks until no ordered round runs, or just once. */
static enum lilio_err status_ask(struct tools_context *context, bool watch, struct lines *ret)
{
    bool draws = watch && !context->out.json && isatty(STDERR_FILENO) == 1;
    enum lilio_err err = LILIO_OK;
    if (watch)
        tools_cancel_catch();
    for (bool over = false; !over && !err;) {
        lines_release(ret);
        err = lines_begin(context, ret);
        if (err)
            break;
        lines_ask(context, ret);
        struct progress progress = progress_of(ret);
        over = !watch || progress.running == 0 || tools_cancelled();
        if (draws)
            progress_draw(&progress);
        if (!over)
            (void)nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
    if (draws)
        (void)fprintf(stderr, "\r\033[K");
    return err;
}

int tools_cmd_scrub_status(struct tools_context *context, int argc, char **argv)
{
    struct lines lines = {0};
    bool watch = false;
    tools_args_parse(context, &status_argp, argc, argv, &watch);
    int code = tools_open(context);
    if (code)
        return code;
    enum lilio_err err = status_ask(context, watch, &lines);
    return err ? lines_fail(context, &lines, err) : lines_end(context, &lines);
}

/* ---- scrub start ---- */

struct start {
    bool light, deep, one;
    uint32_t osd;
    uint64_t rate;
};
enum { OPTION_DEEP = 0x300, OPTION_LIGHT, OPTION_OSD, OPTION_RATE };
static const struct argp_option start_options[] = {
    {"deep", OPTION_DEEP, NULL, 0, "Read every byte, and code parity anew", 0},
    {"light", OPTION_LIGHT, NULL, 0, "Ask the index for every fragment (the default)", 0},
    {"osd", OPTION_OSD, "ID", 0, "Only this OSD", 0},
    {"rate", OPTION_RATE, "BYTES", 0,
     "With --deep: an OSD reads at most so many bytes a second, of its disk and of others, like "
     "50M",
     0},
    {0},
};

/* "50M" is 50 MB a second. */
static enum lilio_err rate_parse(const char *arg, uint64_t *ret, struct lilio_errinfo *info)
{
    char text[RATE_TEXT];
    size_t size = strlen(arg);
    bool is_short = size > 0 && strchr("kKMG", arg[size - 1]) != NULL;
    (void)snprintf(text, sizeof text, "%s%s", arg, is_short ? "B" : ""); /* cut is no size */
    enum lilio_err err = tools_parse_size(text, ret, info);
    if (!err && *ret == 0)
        err = lilio_fail(info, LILIO_E_INVALID, "a rate of 0 never ends");
    return err;
}

static error_t start_parse(int key, char *arg, struct argp_state *state)
{
    struct start *start = state->input;
    struct lilio_errinfo info = {0};
    switch (key) {
    case OPTION_DEEP: start->deep = true; return 0;
    case OPTION_LIGHT: start->light = true; return 0;
    case OPTION_OSD:
        tools_args_check(state, tools_parse_osd(arg, &start->osd, &info), &info);
        start->one = true;
        return 0;
    case OPTION_RATE:
        tools_args_check(state, rate_parse(arg, &start->rate, &info), &info);
        return 0;
    case ARGP_KEY_END:
        if (start->rate && !start->deep)
            tools_args_fail(state, "--rate is for --deep: a light scrub reads no fragments");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp start_argp = {
    .options = start_options,
    .parser = start_parse,
    .args_doc = "[--deep|--light] [--osd ID] [--rate BYTES]",
    .doc =
        "Has the OSDs look for damage now, from the start; a round that was asked for and runs "
        "goes on, at the new rate. It goes on without this command: `lilio-ec scrub status "
        "--watch' shows how far it is. Exit codes: 0 all of them took it, 5 one is not up or did "
        "not answer; it was asked of the others all the same."
        "\vExamples:\n"
        "  lilio-ec scrub start\n"
        "  lilio-ec scrub start --deep\n"
        "  lilio-ec scrub start --deep --osd 3 --rate 50M\n",
};

static enum lilio_err start_one(struct tools_context *context, const struct start *start,
                                struct line *line)
{
    enum lilio_err err = LILIO_OK;
    for (int kind = LILIO_SCRUB_LIGHT; kind <= LILIO_SCRUB_DEEP && !err; kind++) {
        bool deep = kind == LILIO_SCRUB_DEEP;
        struct lilio_scrub_report report = {0};
        if (deep ? !start->deep : !start->light && start->deep)
            continue;
        err = lilio_scrub_start(context->client, line->osd, (enum lilio_scrub_kind)kind,
                                deep ? start->rate : 0, &report, &context->info);
        if (err)
            continue;
        lilio_scrub_release(&line->report);
        line->report = report;
    }
    return err;
}

int tools_cmd_scrub_start(struct tools_context *context, int argc, char **argv)
{
    struct start start = {0};
    struct lines lines = {0};
    tools_args_parse(context, &start_argp, argc, argv, &start);
    int code = tools_open(context);
    if (code)
        return code;
    enum lilio_err err = lines_begin(context, &lines);
    size_t kept = 0;
    for (size_t i = 0; i < lines.count && !err; i++)
        if (!start.one || lines.list[i].osd == start.osd)
            lines.list[kept++] = lines.list[i];
    if (!err && start.one && kept == 0)
        err = lilio_fail(&context->info, LILIO_E_NOT_FOUND, "there is no osd.%u", start.osd);
    lines.count = kept; /* the others have no findings yet */
    if (err)
        return lines_fail(context, &lines, err);
    for (size_t i = 0; i < lines.count; i++) {
        struct line *line = &lines.list[i];
        if (!line->err && (err = start_one(context, &start, line)))
            line_fail(context, line, err);
    }
    return lines_end(context, &lines);
}
