/* repair: how far the mending of known faults is, what it could not mend, and how much it may take
 * from clients. */
#include "tools/cmd.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/redundancy.h"

#include "base/banned.h"

enum { BAR = 24, POLL_MS = 500 };

struct repair {
    bool watch;
    struct lilio_repair_dial dial;
};

static const char *const priorities[] = {
    [LILIO_REPAIR_LOW] = "low",
    [LILIO_REPAIR_NORMAL] = "normal",
    [LILIO_REPAIR_HIGH] = "high",
    [LILIO_REPAIR_MAX] = "max",
};

static const char *const deadlines[] = {
    [LILIO_DEADLINE_NONE] = "none",      [LILIO_DEADLINE_OPEN] = "open",
    [LILIO_DEADLINE_KEPT] = "kept",      [LILIO_DEADLINE_RAISED] = "raised",
    [LILIO_DEADLINE_FAILS] = "not_kept", [LILIO_DEADLINE_PASSED] = "passed",
};

static const char *priority_name(enum lilio_repair_priority priority)
{
    return priority >= LILIO_REPAIR_LOW && priority <= LILIO_REPAIR_MAX ? priorities[priority]
                                                                        : "unknown";
}

static const struct argp_option options[] = {
    {"priority", 'p', "HOW", 0,
     "How much repair may take while clients are served: low (5 % of its idle rate), normal (15 "
     "%), "
     "high (50 %) or max",
     0},
    {"deadline", 'd', "TIME", 0,
     "All that is known to be missing shall be mended in this time from now (4h, 30m): repair "
     "takes "
     "more than the priority says, up to everything, while it would take longer. none: no deadline",
     0},
    {"watch", 'w', NULL, 0, "Show how it goes on until nothing more can be done", 0},
    {0},
};

static void deadline_parse(struct repair *repair, const char *arg, const struct argp_state *state)
{
    struct lilio_errinfo info = {0};
    repair->dial.set_deadline = true;
    repair->dial.deadline_ms = 0;
    if (strcmp(arg, "none") == 0)
        return;
    tools_args_check(state, tools_parse_duration(arg, &repair->dial.deadline_ms, &info), &info);
    if (repair->dial.deadline_ms == 0)
        tools_args_fail(state, "--deadline is a time from now, or none");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct repair *repair = state->input;
    switch (key) {
    case 'w': repair->watch = true; return 0;
    case 'p':
        for (int i = LILIO_REPAIR_LOW; i <= LILIO_REPAIR_MAX; i++)
            if (strcmp(arg, priorities[i]) == 0)
                repair->dial.priority = (enum lilio_repair_priority)i;
        if (!repair->dial.priority)
            tools_args_fail(state, "--priority is low, normal, high or max, not '%s'", arg);
        return 0;
    case 'd': deadline_parse(repair, arg, state); return 0;
    case ARGP_KEY_ARG:
        return state->arg_num == 0 && strcmp(arg, "status") == 0 ? 0 : ARGP_ERR_UNKNOWN;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "[status]",
    .doc =
        "Fragments that are known to be missing or corrupt are mended without being asked for, the "
        "most endangered objects first. Tells how many stored runs (an object is one or more) "
        "wait, how fast it goes, and which objects could not be mended and why; these are tried "
        "again. What went to other OSDs because one is out comes under the same priority, and "
        "`lilio-ec status' tells how far that is. An empty or replaced disk is not "
        "filled by this: `lilio-ec osd rebuild'. Exit code: 0 when it could be told, whatever it "
        "is; `lilio-ec damage' judges."
        "\vExamples:\n"
        "  lilio-ec repair\n"
        "  lilio-ec repair --watch\n"
        "  lilio-ec repair --priority high\n"
        "  lilio-ec repair --deadline 4h\n",
};

/* Nothing waits but for its next attempt or for OSDs. */
static bool is_over(const struct lilio_repair *repair)
{
    return repair->rows <= repair->failed + repair->away && repair->running == 0;
}

/* ---- what is shown ---- */

static void levels_print(struct tools_out *out, const struct lilio_repair *repair)
{
    const size_t below = LILIO_REPAIR_LEVELS - 1;
    for (size_t i = 0; i < below; i++)
        if (repair->levels[i])
            tools_out_line(
                out, "  %8llu with %zu %s to lose%s", (unsigned long long)repair->levels[i], i,
                i == 1 ? "fragment" : "fragments", i == 0 ? ": the next loss loses bytes" : "");
    if (repair->levels[below])
        tools_out_line(out, "  %8llu with too few fragments known good to be read",
                       (unsigned long long)repair->levels[below]);
}

static void failures_print(struct tools_out *out, const struct lilio_repair *repair)
{
    char time[TOOLS_TEXT];
    for (size_t i = 0; i < repair->failure_count; i++) {
        const struct lilio_repair_failure *failure = &repair->failures[i];
        tools_out_line(out, "not mended    %s: osd.%u: %s (tried %u times, again in %s)",
                       tools_text_name(failure->names, 0), failure->osd,
                       tools_text_name(failure->reason, 1), failure->tries,
                       tools_text_duration(failure->wait_ms, time));
    }
    if (repair->failed > repair->failure_count)
        tools_out_line(out, "not mended    %llu more",
                       (unsigned long long)(repair->failed - repair->failure_count));
}

static void deadline_print(struct tools_out *out, const struct lilio_repair *repair)
{
    static const char *const texts[] = {
        [LILIO_DEADLINE_OPEN] = "; whether it will be kept is not known yet",
        [LILIO_DEADLINE_KEPT] = "; it will be kept",
        [LILIO_DEADLINE_RAISED] = "; repair takes more from clients, to keep it",
        [LILIO_DEADLINE_FAILS] = "; it cannot be kept, though repair holds nothing back",
    };
    char time[TOOLS_TEXT];
    if (repair->deadline == LILIO_DEADLINE_NONE)
        return;
    if (repair->deadline == LILIO_DEADLINE_PASSED)
        tools_out_line(out, "deadline      has passed%s",
                       repair->rows ? "; what is left goes at the priority" : "");
    else
        tools_out_line(out, "deadline      in %s%s", tools_text_duration(repair->deadline_ms, time),
                       repair->deadline <= LILIO_DEADLINE_FAILS ? texts[repair->deadline] : "");
}

static void repair_print(struct tools_out *out, const struct lilio_repair *repair)
{
    char bytes[TOOLS_TEXT], rate[TOOLS_TEXT], time[TOOLS_ETA];
    tools_out_line(out,
                   "repair        %llu stored runs with fragments known to be missing or corrupt "
                   "(%s), %llu under way",
                   (unsigned long long)repair->rows, tools_text_bytes(repair->bytes, bytes),
                   (unsigned long long)repair->running);
    levels_print(out, repair);
    failures_print(out, repair);
    if (repair->away)
        tools_out_line(out, "waiting       %llu for OSDs that are not up",
                       (unsigned long long)repair->away);
    tools_out_line(out,
                   "priority      %s: %u %% of the idle rate beside clients; %u OSDs serve some",
                   priority_name(repair->priority), repair->share, repair->held);
    deadline_print(out, repair);
    tools_out_line(out, "mended        %llu fragments, %s, since this coordinator leads; now %s",
                   (unsigned long long)repair->mended,
                   tools_text_bytes(repair->mended_bytes, bytes),
                   tools_text_rate(repair->bytes_per_s, 1000, rate));
    if (!is_over(repair))
        tools_out_line(
            out, "to go         %s",
            tools_text_eta(repair->eta_ms, repair->eta_low_ms, repair->eta_high_ms, time));
}

/* An empty queue is not to be taken for whole stripes. */
static void hurt_print(struct tools_context *context)
{
    struct lilio_redundancy redundancy = {0};
    uint64_t short_of = 0;
    if (lilio_redundancy_get(context->client, &redundancy, NULL) == LILIO_OK)
        short_of = tools_redundancy_short(&redundancy);
    if (short_of)
        tools_out_line(&context->out,
                       "away          %llu stripes lack fragments of OSDs that are away, not "
                       "proven or being filled: `lilio-ec status' tells which",
                       (unsigned long long)short_of);
    lilio_redundancy_release(&redundancy);
}

static cJSON *repair_json(const struct lilio_repair *repair)
{
    cJSON *object = tools_json_new();
    tools_json_u64(object, "rows", repair->rows);
    tools_json_u64(object, "running", repair->running);
    tools_json_u64(object, "failed", repair->failed);
    tools_json_u64(object, "away", repair->away);
    tools_json_text(object, "priority", priority_name(repair->priority));
    tools_json_u64(object, "bytes_per_s", repair->bytes_per_s);
    tools_json_u64(object, "eta_ms", repair->eta_ms);
    tools_json_u64(object, "eta_low_ms", repair->eta_low_ms);
    tools_json_u64(object, "eta_high_ms", repair->eta_high_ms);
    tools_json_u64(object, "fragments", repair->fragments);
    tools_json_u64(object, "bytes", repair->bytes);
    tools_json_u64(object, "share", repair->share);
    tools_json_text(object, "deadline",
                    repair->deadline <= LILIO_DEADLINE_PASSED ? deadlines[repair->deadline]
                                                              : "unknown");
    tools_json_u64(object, "deadline_ms", repair->deadline_ms);
    tools_json_u64(object, "mended", repair->mended);
    tools_json_u64(object, "mended_bytes", repair->mended_bytes);
    tools_json_u64(object, "runs_done", repair->runs_done);
    tools_json_u64(object, "held", repair->held);
    cJSON *list = tools_json_list(object, "levels");
    for (size_t i = 0; i < LILIO_REPAIR_LEVELS; i++) {
        if (!repair->levels[i])
            continue;
        cJSON *level = tools_json_new();
        bool below = i == LILIO_REPAIR_LEVELS - 1;
        tools_json_bool(level, "readable", !below);
        tools_json_u64(level, "margin", below ? 0 : i);
        tools_json_u64(level, "runs", repair->levels[i]);
        tools_json_add(list, level);
    }
    list = tools_json_list(object, "failures");
    for (size_t i = 0; i < repair->failure_count; i++) {
        const struct lilio_repair_failure *failure = &repair->failures[i];
        cJSON *entry = tools_json_new();
        tools_json_text(entry, "objects", failure->names);
        tools_json_u64(entry, "osd", failure->osd);
        tools_json_text(entry, "error", lilio_err_name(failure->err));
        tools_json_text(entry, "reason", failure->reason);
        tools_json_u64(entry, "tries", failure->tries);
        tools_json_u64(entry, "wait_ms", failure->wait_ms);
        tools_json_add(list, entry);
    }
    return object;
}

/* ---- watching ---- */

/* Of the most there ever was. Only on a terminal. */
static void watch_draw(const struct lilio_repair *repair, uint64_t most)
{
    char bar[BAR + 1], rate[TOOLS_TEXT], time[TOOLS_TEXT];
    uint64_t done = most - repair->rows;
    size_t filled = most ? (size_t)(done * BAR / most) : BAR;
    memset(bar, ' ', BAR);
    memset(bar, '=', filled);
    if (filled < BAR)
        bar[filled] = '>';
    bar[BAR] = '\0';
    (void)fprintf(stderr, "\r\033[Krepair [%s] %llu of %llu runs, %llu not mended  %s  %s to go",
                  bar, (unsigned long long)done, (unsigned long long)most,
                  (unsigned long long)repair->failed,
                  tools_text_rate(repair->bytes_per_s, 1000, rate),
                  repair->eta_ms ? tools_text_duration(repair->eta_ms, time) : "?");
    (void)fflush(stderr);
}

/* Until nothing more can be done now. *ret is the last state, to be released. */
static enum lilio_err watch(struct tools_context *context, struct lilio_repair *ret)
{
    bool draws = !context->out.json && isatty(STDERR_FILENO) == 1;
    uint64_t most = 0;
    enum lilio_err err = LILIO_OK;
    tools_cancel_catch();
    for (bool over = false; !over;) {
        lilio_repair_release(ret);
        err = lilio_repair_get(context->client, ret, &context->info);
        if (err)
            break;
        most = ret->rows > most ? ret->rows : most;
        if (draws)
            watch_draw(ret, most);
        over = is_over(ret) || tools_cancelled();
        if (!over)
            (void)nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
    if (draws)
        (void)fprintf(stderr, "\r\033[K");
    return err;
}

int tools_cmd_repair(struct tools_context *context, int argc, char **argv)
{
    struct repair wanted = {0};
    struct lilio_repair repair = {0};
    tools_args_parse(context, &argp, argc, argv, &wanted);
    int code = tools_open(context);
    if (code)
        return code;
    enum lilio_err err = LILIO_OK;
    if (wanted.dial.priority || wanted.dial.set_deadline)
        err = lilio_repair_set(context->client, &wanted.dial, &context->info);
    if (!err)
        err = wanted.watch ? watch(context, &repair)
                           : lilio_repair_get(context->client, &repair, &context->info);
    if (err)
        return tools_fail(context, err);
    repair_print(&context->out, &repair);
    if (repair.rows == 0)
        hurt_print(context);
    tools_out_object(&context->out, repair_json(&repair));
    lilio_repair_release(&repair);
    return TOOLS_EXIT_OK;
}
