/* gc status, gc run: what waits to be deleted, and fragments of puts that died. */
#include "tools/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/formers.h"

#include "base/banned.h"

enum { POLL_MS = 100, ROUND_MS = 600000 };

/* What is known of one OSD. */
struct line {
    uint32_t osd;
    enum lilio_err err; /* it was not asked, or its round was void */
    bool told;          /* what follows, if only that its round was void */
    char why[512];
    struct lilio_orphans orphans;
};
struct report {
    struct lilio_status status;
    struct line *lines;
    size_t count;
};

static void report_release(struct report *report)
{
    lilio_status_release(&report->status);
    free(report->lines);
}

static void line_fail(struct tools_context *context, struct line *line, enum lilio_err err)
{
    line->err = err;
    (void)snprintf(line->why, sizeof line->why, "%s", context->info.text); /* cutting is fine */
    context->info = (struct lilio_errinfo){0};
}

/* Those that are known to be gone are not asked: each would be waited for. */
static void line_begin(struct tools_context *context, struct line *line,
                       const struct lilio_osd *osd)
{
    line->osd = osd->id;
    if (strcmp(osd->state, "down") == 0 || strcmp(osd->state, "out") == 0)
        line_fail(context, line,
                  lilio_fail(&context->info, LILIO_E_UNAVAILABLE, "it is %s", osd->state));
}

static enum lilio_err report_begin(struct tools_context *context, struct report *report)
{
    *report = (struct report){0};
    enum lilio_err err = lilio_status_get(context->client, &report->status, &context->info);
    if (err)
        return err;
    report->lines = calloc(report->status.osd_count + 1, sizeof *report->lines);
    if (!report->lines)
        return tools_no_memory(&context->info);
    for (size_t i = 0; i < report->status.osd_count; i++)
        if (report->status.osds[i].incarnation > 0)
            line_begin(context, &report->lines[report->count++], &report->status.osds[i]);
    return LILIO_OK;
}

/* ---- what is shown ---- */

struct total {
    uint64_t runs, fragments, bytes, due, unknown, swept, formers, former_bytes;
};

static struct total total_of(const struct report *report)
{
    struct total total = {0};
    for (size_t i = 0; i < report->count; i++) {
        const struct lilio_orphans *orphans = &report->lines[i].orphans;
        total.runs += orphans->runs;
        total.fragments += orphans->run_fragments;
        total.bytes += orphans->run_bytes;
        total.due += orphans->due;
        total.unknown += orphans->unknown_runs;
        total.swept += orphans->swept_bytes;
        total.formers += orphans->former_fragments;
        total.former_bytes += orphans->former_bytes;
    }
    return total;
}

static void numbers_add(struct tools_table *table, const struct lilio_orphans *orphans)
{
    char bytes[TOOLS_TEXT], swept[TOOLS_TEXT];
    tools_table_add(table, "%llu", (unsigned long long)orphans->runs);
    tools_table_add(table, "%llu", (unsigned long long)orphans->run_fragments);
    tools_table_add(table, "%s", tools_text_bytes(orphans->run_bytes, bytes));
    tools_table_add(table, "%llu", (unsigned long long)orphans->due);
    tools_table_add(table, "%llu", (unsigned long long)orphans->unknown_runs);
    tools_table_add(table, "%s", tools_text_bytes(orphans->swept_bytes, swept));
}

static void lines_print(struct tools_out *out, const struct report *report)
{
    enum { NUMBERS = 6 };
    static const char *const columns[] = {"OSD",      ">ORPHANS", ">FRAGMENTS", ">BYTES", ">DUE",
                                          ">UNKNOWN", ">DELETED", "LAST LOOK",  NULL};
    struct tools_table *table = tools_table_new(columns);
    for (size_t i = 0; i < report->count; i++) {
        const struct line *line = &report->lines[i];
        const struct lilio_orphans *orphans = &line->orphans;
        tools_table_add(table, "osd.%u", line->osd);
        if (line->told)
            numbers_add(table, orphans);
        for (int k = 0; k < NUMBERS && !line->told; k++)
            tools_table_add(table, "-");
        if (line->err)
            tools_table_add(table, "%s", tools_text_name(line->why, 0));
        else if (orphans->index == 0)
            tools_table_add(table, "not yet");
        else
            tools_table_add(table, "index %llu", (unsigned long long)orphans->index);
    }
    tools_table_print(&table, out);
}

static void first_print(struct tools_out *out, const struct report *report)
{
    char bytes[TOOLS_TEXT], time[TOOLS_TEXT];
    for (size_t i = 0; i < report->count; i++)
        for (size_t k = 0; k < report->lines[i].orphans.first_count; k++) {
            const struct lilio_orphan *orphan = &report->lines[i].orphans.first[k];
            tools_out_line(
                out, "osd.%u %s  %llu fragments, %s, %s %s", report->lines[i].osd, orphan->oid,
                (unsigned long long)orphan->fragments, tools_text_bytes(orphan->bytes, bytes),
                orphan->unknown ? "kept: no session had this id; seen for" : "marked for",
                tools_text_duration(orphan->waited_ms, time));
        }
}

/* The first one that told; all OSDs have the same retention. NULL: none did. */
static const struct lilio_orphans *first_told(const struct report *report)
{
    for (size_t i = 0; i < report->count; i++)
        if (report->lines[i].told)
            return &report->lines[i].orphans;
    return NULL;
}

static void report_print(struct tools_out *out, const struct report *report, bool with_first)
{
    const struct lilio_status *status = &report->status;
    struct total total = total_of(report);
    const struct lilio_orphans *first = first_told(report);
    char bytes[TOOLS_TEXT], time[TOOLS_TEXT];
    tools_out_line(out,
                   "deleted       %llu runs, %s of deleted and replaced objects wait for the "
                   "grace of %s, then for the OSDs they are on",
                   (unsigned long long)status->gc_rows, tools_text_bytes(status->gc_bytes, bytes),
                   tools_text_duration(status->gc_grace_ms, time));
    if (first)
        tools_out_line(out,
                       "orphans       %llu fragments, %s of puts that died, in quarantine for %s",
                       (unsigned long long)total.fragments, tools_text_bytes(total.bytes, bytes),
                       tools_text_duration(first->retention_ms, time));
    else
        tools_out_line(out, "orphans       not known: no OSD told");
    if (total.unknown)
        tools_out_line(out,
                       "unknown       %llu runs of sessions these maps never handed out are kept: "
                       "are the maps older than the disks?",
                       (unsigned long long)total.unknown);
    for (size_t i = 0; i < report->count; i++)
        tools_formers_print(out, "moved away    ", &report->lines[i].orphans);
    lines_print(out, report);
    if (with_first)
        first_print(out, report);
}

static cJSON *line_json(const struct line *line)
{
    const struct lilio_orphans *orphans = &line->orphans;
    cJSON *object = tools_json_new();
    tools_json_u64(object, "osd", line->osd);
    tools_json_u64(object, "orphans", orphans->runs);
    tools_json_u64(object, "fragments", orphans->run_fragments);
    tools_json_u64(object, "bytes", orphans->run_bytes);
    tools_json_u64(object, "due", orphans->due);
    tools_json_u64(object, "unknown", orphans->unknown_runs);
    tools_json_u64(object, "unknown_bytes", orphans->unknown_bytes);
    tools_json_u64(object, "open_fragments", orphans->open);
    tools_json_u64(object, "looked_at", orphans->fragments);
    tools_json_u64(object, "index", orphans->index);
    tools_json_u64(object, "deleted", orphans->swept_runs);
    tools_json_u64(object, "deleted_fragments", orphans->swept_fragments);
    tools_json_u64(object, "deleted_bytes", orphans->swept_bytes);
    tools_json_u64(object, "deleted_former_fragments", orphans->former_swept);
    tools_formers_json(object, orphans);
    tools_json_u64(object, "retention_ms", orphans->retention_ms);
    tools_json_text(object, "error", line->err ? lilio_err_name(line->err) : NULL);
    tools_json_text(object, "reason", line->err ? line->why : NULL);
    cJSON *list = tools_json_list(object, "first");
    for (size_t i = 0; i < orphans->first_count; i++) {
        cJSON *first = tools_json_new();
        tools_json_text(first, "oid", orphans->first[i].oid);
        tools_json_u64(first, "fragments", orphans->first[i].fragments);
        tools_json_u64(first, "bytes", orphans->first[i].bytes);
        tools_json_u64(first, "waited_ms", orphans->first[i].waited_ms);
        tools_json_bool(first, "unknown", orphans->first[i].unknown);
        tools_json_add(list, first);
    }
    return object;
}

static cJSON *report_json(const struct report *report)
{
    struct total total = total_of(report);
    cJSON *object = tools_json_new();
    tools_json_u64(object, "gc_rows", report->status.gc_rows);
    tools_json_u64(object, "gc_bytes", report->status.gc_bytes);
    tools_json_u64(object, "gc_grace_ms", report->status.gc_grace_ms);
    tools_json_u64(object, "orphan_fragments", total.fragments);
    tools_json_u64(object, "orphan_bytes", total.bytes);
    tools_json_u64(object, "deleted_bytes", total.swept);
    tools_json_u64(object, "former_fragments", total.formers);
    tools_json_u64(object, "former_bytes", total.former_bytes);
    cJSON *list = tools_json_list(object, "osds");
    for (size_t i = 0; i < report->count; i++)
        tools_json_add(list, line_json(&report->lines[i]));
    return object;
}

/* The first OSD that could not be asked, or whose round was void, is what the shell gets to know.
 */
static int report_end(struct tools_context *context, struct report *report, bool with_first)
{
    int code = TOOLS_EXIT_OK;
    for (size_t i = 0; i < report->count && code == TOOLS_EXIT_OK; i++)
        code = tools_exit_code(report->lines[i].err);
    report_print(&context->out, report, with_first);
    tools_out_object(&context->out, report_json(report));
    report_release(report);
    return code;
}

static int report_fail(struct tools_context *context, struct report *report, enum lilio_err err)
{
    report_release(report);
    return tools_fail(context, err);
}

/* ---- gc status ---- */

static error_t status_parse(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    (void)state;
    return key == ARGP_KEY_ARG ? ARGP_ERR_UNKNOWN : 0;
}

static const struct argp status_argp = {
    .parser = status_parse,
    .doc =
        "What waits to be deleted: objects that were deleted or replaced, until their grace is "
        "over, and orphans, fragments of puts that died before they were committed. Orphans are "
        "marked once their writer's session is over and nothing names them, and deleted after the "
        "retention (orphan_retention_ms in lilio.yaml), when that is still so. \"moved away\": "
        "what "
        "an OSD has of slots that other OSDs took over; it goes when the stripes are full without "
        "it and the retention is over. All as each OSD's last look found it, `lilio-ec gc run "
        "--dry-run' has them look now. Exit codes: 0 all OSDs told, else that of the first one "
        "which did not, or whose last look was void (5: not up)."
        "\vExamples:\n"
        "  lilio-ec gc status\n"
        "  lilio-ec gc status --json\n",
};

int tools_cmd_gc_status(struct tools_context *context, int argc, char **argv)
{
    struct report report;
    tools_args_parse(context, &status_argp, argc, argv, NULL);
    int code = tools_open(context);
    if (code)
        return code;
    enum lilio_err err = report_begin(context, &report);
    if (err)
        return report_fail(context, &report, err);
    for (size_t i = 0; i < report.count; i++) {
        struct line *line = &report.lines[i];
        if (line->err)
            continue;
        err = lilio_orphans_get(context->client, line->osd, &line->orphans, &context->info);
        line->told = !err;
        if (!err && line->orphans.err)
            err = lilio_fail(&context->info, line->orphans.err, "the last look was void: %s",
                             line->orphans.text);
        if (err)
            line_fail(context, line, err);
    }
    return report_end(context, &report, false);
}

/* ---- gc run ---- */

struct run {
    bool dry, now, yes;
};
enum { OPTION_NOW = 0x300 };
static const struct argp_option run_options[] = {
    {"dry-run", 'n', NULL, 0, "Tell what would be marked and deleted, and change nothing", 0},
    {"now", OPTION_NOW, NULL, 0, "Delete without waiting for the retention", 0},
    {"yes", 'y', NULL, 0, "Do not ask before --now", 0},
    {0},
};

static error_t run_parse(int key, char *arg, struct argp_state *state)
{
    struct run *run = state->input;
    (void)arg;
    switch (key) {
    case 'n': run->dry = true; return 0;
    case 'y': run->yes = true; return 0;
    case OPTION_NOW: run->now = true; return 0;
    case ARGP_KEY_END:
        if (run->now && !run->dry && !run->yes && isatty(STDIN_FILENO) != 1)
            tools_args_fail(state, "--now needs --yes where nobody can be asked");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp run_argp = {
    .options = run_options,
    .parser = run_parse,
    .args_doc = "[--dry-run] [--now]",
    .doc =
        "Has every OSD look for orphans now: marks what it finds, and deletes what was marked "
        "long enough; with it goes what other OSDs took over and nobody needs here any more. "
        "Nothing that an object uses, or that an open session may still commit, is ever deleted. "
        "Exit codes: 0 all OSDs looked, else that of the first one which did not (5: not up)."
        "\vExamples:\n"
        "  lilio-ec gc run --dry-run\n"
        "  lilio-ec gc run\n"
        "  lilio-ec gc run --now --yes\n",
};

static bool confirmed(void)
{
    char answer[16];
    (void)fprintf(stderr,
                  "Delete all orphans, and what other OSDs took over, without waiting for the "
                  "retention? [y/N] ");
    (void)fflush(stderr);
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* Until the round that was asked for has ended. */
static enum lilio_err line_await(struct tools_context *context, struct line *line)
{
    uint64_t asked = line->orphans.asked;
    for (int waited = 0; line->orphans.ended < asked; waited += POLL_MS) {
        if (tools_cancelled())
            return lilio_fail(&context->info, LILIO_E_CANCELLED, "interrupted");
        if (waited >= ROUND_MS)
            return lilio_fail(&context->info, LILIO_E_TIMEOUT, "it has not ended in %d minutes",
                              ROUND_MS / 60000);
        (void)nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
        enum lilio_err err =
            lilio_orphans_get(context->client, line->osd, &line->orphans, &context->info);
        if (err)
            return err;
        if (line->orphans.asked < asked)
            return lilio_fail(&context->info, LILIO_E_UNAVAILABLE, "it was restarted meanwhile");
    }
    return line->orphans.err
               ? lilio_fail(&context->info, line->orphans.err, "%s", line->orphans.text)
               : LILIO_OK;
}

int tools_cmd_gc_run(struct tools_context *context, int argc, char **argv)
{
    struct run run = {0};
    struct report report;
    tools_args_parse(context, &run_argp, argc, argv, &run);
    if (run.now && !run.dry && !run.yes && !confirmed())
        return TOOLS_EXIT_FAILURE;
    int code = tools_open(context);
    if (code)
        return code;
    enum lilio_err err = report_begin(context, &report);
    if (err)
        return report_fail(context, &report, err);
    tools_cancel_catch();
    for (size_t i = 0; i < report.count; i++) {
        struct line *line = &report.lines[i];
        if (line->err)
            continue;
        err = lilio_orphans_run(context->client, line->osd, run.dry, run.now, &line->orphans,
                                &context->info);
        line->told = !err;
        if (err)
            line_fail(context, line, err);
    }
    for (size_t i = 0; i < report.count; i++)
        if (!report.lines[i].err && (err = line_await(context, &report.lines[i])))
            line_fail(context, &report.lines[i], err);
    return report_end(context, &report, run.dry);
}
