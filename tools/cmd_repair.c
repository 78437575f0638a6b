/* repair: how far the mending of known faults and the filling of moved slots is, what could not be
 * mended, what is left and waits for whom, and how much all that may take from clients. */
#include "tools/cmd.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/rebuilds.h"
#include "tools/redundancy.h"

#include "base/banned.h"

enum { BAR = 24, POLL_MS = 500, QUIET = 6 /* looks at which nothing went on */ };

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
    [LILIO_DEADLINE_MET] = "met",
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
    {"watch", 'w', NULL, 0,
     "Show how it goes on until nothing more can be done now; the exit code says whether anything "
     "is left: 5 it waits for OSDs, 7 it could not be mended and is tried again, 8 it is lost",
     0},
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
        "most endangered objects first, and slots that moved from an OSD that is out fill. Tells "
        "how many stored runs (an object is one or more) and slots wait, how fast it goes, which "
        "objects could not be mended and why (these are tried again), and what is left. An empty "
        "or replaced disk is filled by `lilio-ec osd rebuild', which shows here. Exit "
        "code without "
        "--watch: "
        "0 when it could be told, whatever it is; `lilio-ec damage' judges. With --watch: 0 when "
        "nothing is left, 5 when it waits for OSDs, 7 when something failed and is tried again, 8 "
        "when objects are lost."
        "\vExamples:\n"
        "  lilio-ec repair\n"
        "  lilio-ec repair --watch\n"
        "  lilio-ec repair --priority high\n"
        "  lilio-ec repair --deadline 4h\n",
};

/* Nothing waits but for its next attempt or for OSDs. */
static bool is_over(const struct lilio_repair *repair)
{
    return repair->rows <= repair->failed + repair->away && repair->running == 0 &&
           repair->fill_slots <= repair->fill_waiting;
}

/* What is not whole, as the maps and the OSDs say. */
struct left {
    struct lilio_repair repair;
    struct lilio_redundancy redundancy;
    struct lilio_status status;
    struct tools_rebuilds rebuilds;
    bool known; /* all but the first were had */
};

static void left_release(struct left *left)
{
    lilio_repair_release(&left->repair);
    lilio_redundancy_release(&left->redundancy);
    lilio_status_release(&left->status);
    *left = (struct left){0};
}

static enum lilio_err left_get(struct tools_context *context, struct left *ret)
{
    left_release(ret);
    enum lilio_err err = lilio_repair_get(context->client, &ret->repair, &context->info);
    if (err)
        return err;
    ret->known = lilio_redundancy_get(context->client, &ret->redundancy, NULL) == LILIO_OK &&
                 lilio_status_get(context->client, &ret->status, NULL) == LILIO_OK;
    if (ret->known)
        tools_rebuilds_get(context, &ret->status, &ret->rebuilds);
    return LILIO_OK;
}

static bool goes_on(const struct left *left)
{
    return !is_over(&left->repair) || left->rebuilds.count > 0;
}

static bool is_whole(const struct left *left)
{
    return left->known && left->repair.rows == 0 && left->repair.fill_slots == 0 &&
           tools_redundancy_short(&left->redundancy) == 0;
}

/* The worst that is left, for those who waited until nothing more could be done. */
static int left_code(const struct left *left)
{
    if (is_whole(left))
        return TOOLS_EXIT_OK;
    if (left->known && left->redundancy.lost)
        return TOOLS_EXIT_LOST;
    return left->repair.failed ? TOOLS_EXIT_DAMAGED : TOOLS_EXIT_UNAVAILABLE;
}

/* ---- what is shown ---- */

static void levels_print(struct tools_out *out, const struct lilio_repair *repair)
{
    const size_t below = LILIO_REPAIR_LEVELS - 1;
    for (size_t i = 0; i < below; i++)
        if (repair->levels[i])
            tools_out_line(out, "  %8llu with %zu %s to lose%s",
                           (unsigned long long)repair->levels[i], i,
                           i == 1 ? "fragment" : "fragments",
                           i == 0 ? " once all OSDs are back: the next loss loses bytes"
                                  : " once all OSDs are back");
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
    bool any = repair->rows || repair->fill_slots;
    if (repair->deadline == LILIO_DEADLINE_NONE)
        return;
    tools_text_duration(repair->deadline < LILIO_DEADLINE_PASSED ? repair->deadline_ms
                                                                 : repair->deadline_ago_ms,
                        time);
    if (repair->deadline == LILIO_DEADLINE_MET)
        tools_out_line(out, "deadline      was kept; it was %s ago", time);
    else if (repair->deadline == LILIO_DEADLINE_PASSED)
        tools_out_line(out, "deadline      passed %s ago; %s", time,
                       any ? "what is left goes at the priority" : "nothing is left now");
    else
        tools_out_line(out, "deadline      in %s%s", time,
                       repair->deadline <= LILIO_DEADLINE_FAILS ? texts[repair->deadline] : "");
}

static void fills_print(struct tools_out *out, const struct lilio_repair *repair)
{
    char time[TOOLS_ETA];
    if (repair->fill_slots > repair->fill_waiting)
        tools_out_line(out, "filling       %llu slots that moved from OSDs that are out; to go: %s",
                       (unsigned long long)(repair->fill_slots - repair->fill_waiting),
                       tools_text_eta(repair->fill_eta_ms, repair->fill_eta_low_ms,
                                      repair->fill_eta_high_ms, time));
    if (repair->fill_waiting)
        tools_out_line(out, "waiting       %llu slots to fill, for OSDs or another attempt",
                       (unsigned long long)repair->fill_waiting);
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
    if (repair->rows > repair->failed + repair->away || repair->running)
        tools_out_line(
            out, "to go         %s",
            tools_text_eta(repair->eta_ms, repair->eta_low_ms, repair->eta_high_ms, time));
    fills_print(out, repair);
    tools_out_line(out,
                   "priority      %s: %u %% of the idle rate beside clients; %u OSDs serve some",
                   priority_name(repair->priority), repair->share, repair->held);
    deadline_print(out, repair);
    tools_out_line(out, "mended        %llu fragments, since this coordinator leads",
                   (unsigned long long)repair->mended);
    tools_out_line(out, "written       %s, for these and for slots that fill; now %s",
                   tools_text_bytes(repair->written_bytes, bytes),
                   tools_text_rate(repair->bytes_per_s, 1000, rate));
}

/* ---- what is left ---- */

/* It has slots with something in them; those of an OSD that is out may have gone to others. */
static bool is_needed(const struct left *left, uint32_t osd)
{
    uint64_t stripes = 0;
    for (size_t i = 0; i < left->redundancy.osd_count; i++)
        for (size_t k = 0; k < LILIO_LEVELS && left->redundancy.osds[i].id == osd; k++)
            stripes += left->redundancy.osds[i].levels[k];
    return stripes > 0;
}

/* Why an OSD is waited for; NULL: it is not. */
static const char *waits_for(const struct left *left, const struct lilio_osd *osd)
{
    if (!osd->filling && !is_needed(left, osd->id))
        return NULL;
    if (strcmp(osd->state, "up") != 0)
        return osd->state;
    for (size_t i = 0; i < left->rebuilds.count; i++)
        if (left->rebuilds.list[i].osd == osd->id)
            return NULL; /* that goes on */
    if (!osd->complete)
        return "not proven";
    return osd->filling && osd->fill_tries ? "could not fill its slots yet" : NULL;
}

static void waits_print(struct tools_out *out, const struct left *left)
{
    for (size_t i = 0; i < left->status.osd_count; i++) {
        const struct lilio_osd *osd = &left->status.osds[i];
        const char *why = waits_for(left, osd);
        bool blank = why && strcmp(why, "blank") == 0;
        if (why && blank)
            tools_out_line(out, "              for osd.%u: blank; `lilio-ec osd rebuild %u'",
                           osd->id, osd->id);
        else if (why)
            tools_out_line(out, "              for osd.%u: %s", osd->id, tools_text_name(why, 0));
    }
}

/* Those that are lost wait for nothing. */
static uint64_t mendable(const struct left *left)
{
    return tools_redundancy_short(&left->redundancy) - left->redundancy.lost;
}

/* "12 stripes lack fragments". */
static const char *short_text(const struct left *left, char ret[TOOLS_ETA])
{
    uint64_t count = mendable(left);
    if (count == 0)
        (void)snprintf(ret, TOOLS_ETA, "only slots without stripes are to be filled");
    else
        (void)snprintf(ret, TOOLS_ETA, "%llu stripes lack fragments", (unsigned long long)count);
    return ret;
}

/* An empty queue is not to be taken for whole stripes. */
static void left_print(struct tools_out *out, const struct left *left)
{
    const struct lilio_redundancy *redundancy = &left->redundancy;
    char text[TOOLS_ETA];
    tools_rebuilds_print(out, &left->rebuilds);
    if (!left->known)
        tools_out_line(out, "left          not known: no coordinator could say it");
    else if (is_whole(left))
        tools_out_line(out, "left          nothing: no stripe is known to lack a fragment");
    if (!left->known || is_whole(left))
        return;
    if (redundancy->lost)
        tools_out_line(
            out, "left          %llu stripes cannot be restored; `lilio-ec damage' names them",
            (unsigned long long)redundancy->lost);
    if (redundancy->stranded)
        tools_out_line(out,
                       "left          %llu stripes have no OSD to go to: replace one that is away",
                       (unsigned long long)redundancy->stranded);
    if (mendable(left) == 0 && left->repair.fill_slots == 0)
        return;
    if (goes_on(left)) {
        tools_out_line(out, "left          %s now", short_text(left, text));
        return;
    }
    tools_out_line(out, "left          %s, and nothing goes on; they wait", short_text(left, text));
    if (left->repair.failed)
        tools_out_line(out, "              for another attempt: %llu stored runs, see above",
                       (unsigned long long)left->repair.failed);
    waits_print(out, left);
}

static void left_json(cJSON *object, const struct left *left)
{
    if (!left->known)
        return;
    cJSON *json = tools_json_object(object, "left");
    tools_json_u64(json, "stripes", tools_redundancy_short(&left->redundancy));
    tools_json_u64(json, "lost", left->redundancy.lost);
    tools_json_u64(json, "stranded", left->redundancy.stranded);
    tools_json_bool(json, "goes_on", goes_on(left));
    tools_rebuilds_json(json, &left->rebuilds);
    cJSON *list = tools_json_list(json, "waits_for");
    for (size_t i = 0; i < left->status.osd_count && !is_whole(left); i++) {
        const char *why = waits_for(left, &left->status.osds[i]);
        if (!why)
            continue;
        cJSON *osd = tools_json_new();
        tools_json_u64(osd, "osd", left->status.osds[i].id);
        tools_json_text(osd, "reason", why);
        tools_json_add(list, osd);
    }
}

/* 0 = not known is null while there is work: a time to go of 0 is that of what is done. */
static void eta_json(cJSON *object, bool works, uint64_t ms, uint64_t low_ms, uint64_t high_ms)
{
    const char *const names[] = {"eta_ms", "eta_low_ms", "eta_high_ms"};
    const uint64_t values[] = {ms, low_ms, high_ms};
    for (size_t i = 0; i < 3; i++)
        if (works && ms == 0)
            tools_json_text(object, names[i], NULL);
        else
            tools_json_u64(object, names[i], values[i]);
}

static cJSON *repair_json(const struct left *left)
{
    const struct lilio_repair *repair = &left->repair;
    cJSON *object = tools_json_new();
    tools_json_u64(object, "rows", repair->rows);
    tools_json_u64(object, "running", repair->running);
    tools_json_u64(object, "failed", repair->failed);
    tools_json_u64(object, "away", repair->away);
    tools_json_text(object, "priority", priority_name(repair->priority));
    tools_json_u64(object, "bytes_per_s", repair->bytes_per_s);
    eta_json(object, !is_whole(left), repair->eta_ms, repair->eta_low_ms, repair->eta_high_ms);
    tools_json_u64(object, "fragments", repair->fragments);
    tools_json_u64(object, "bytes", repair->bytes);
    tools_json_u64(object, "share", repair->share);
    tools_json_text(object, "deadline",
                    repair->deadline <= LILIO_DEADLINE_MET ? deadlines[repair->deadline]
                                                           : "unknown");
    tools_json_u64(object, "deadline_ms", repair->deadline_ms);
    tools_json_u64(object, "deadline_ago_ms", repair->deadline_ago_ms);
    tools_json_u64(object, "mended", repair->mended);
    tools_json_u64(object, "written_bytes", repair->written_bytes);
    tools_json_u64(object, "runs_done", repair->runs_done);
    tools_json_u64(object, "held", repair->held);
    cJSON *fill = tools_json_object(object, "fill");
    tools_json_u64(fill, "slots", repair->fill_slots);
    tools_json_u64(fill, "waiting", repair->fill_waiting);
    tools_json_u64(fill, "work_left", repair->fill_left);
    eta_json(fill, repair->fill_slots > 0, repair->fill_eta_ms, repair->fill_eta_low_ms,
             repair->fill_eta_high_ms);
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

/* The most there ever was. */
struct most {
    uint64_t rows, slots, work;
};

static void most_note(struct most *most, const struct lilio_repair *repair)
{
    most->rows = repair->rows > most->rows ? repair->rows : most->rows;
    most->slots = repair->fill_slots > most->slots ? repair->fill_slots : most->slots;
    most->work = repair->fill_left > most->work ? repair->fill_left : most->work;
}

/* Runs and slots count alike, where there are both. */
static size_t bar_filled(const struct lilio_repair *repair, const struct most *most)
{
    double part = 0;
    int kinds = (most->rows > 0) + (most->work > 0);
    if (most->rows)
        part += (double)(most->rows - repair->rows) / (double)most->rows;
    if (most->work)
        part += (double)(most->work - repair->fill_left) / (double)most->work;
    return kinds ? (size_t)(part * BAR / kinds) : BAR;
}

/* Of what ends last; 0 = not known. */
static uint64_t eta_of_both(const struct lilio_repair *repair)
{
    bool runs = repair->rows > repair->failed + repair->away || repair->running;
    bool fills = repair->fill_slots > repair->fill_waiting;
    if ((runs && !repair->eta_ms) || (fills && !repair->fill_eta_ms))
        return 0;
    return repair->eta_ms > repair->fill_eta_ms ? repair->eta_ms : repair->fill_eta_ms;
}

/* Only on a terminal. */
static void watch_draw(const struct lilio_repair *repair, const struct most *most)
{
    char bar[BAR + 1], rate[TOOLS_TEXT], time[TOOLS_TEXT];
    size_t filled = bar_filled(repair, most);
    uint64_t eta = eta_of_both(repair);
    memset(bar, ' ', BAR);
    memset(bar, '=', filled);
    if (filled < BAR)
        bar[filled] = '>';
    bar[BAR] = '\0';
    (void)fprintf(
        stderr,
        "\r\033[Krepair [%s] %llu of %llu runs, %llu of %llu slots, %llu not mended  %s  "
        "%s to go",
        bar, (unsigned long long)(most->rows - repair->rows), (unsigned long long)most->rows,
        (unsigned long long)(most->slots - repair->fill_slots), (unsigned long long)most->slots,
        (unsigned long long)repair->failed, tools_text_rate(repair->bytes_per_s, 1000, rate),
        eta ? tools_text_duration(eta, time) : "?");
    (void)fflush(stderr);
}

/* Until nothing more can be done now: an OSD that has just gone or come is given the time to be
 * noticed. *ret is the last state, to be released. */
static enum lilio_err watch(struct tools_context *context, struct left *ret)
{
    bool draws = !context->out.json && isatty(STDERR_FILENO) == 1;
    struct most most = {0};
    unsigned quiet = 0;
    enum lilio_err err = LILIO_OK;
    tools_cancel_catch();
    for (bool over = false; !over;) {
        err = left_get(context, ret);
        if (err)
            break;
        most_note(&most, &ret->repair);
        if (draws)
            watch_draw(&ret->repair, &most);
        quiet = goes_on(ret) ? 0 : quiet + 1;
        over = is_whole(ret) || quiet >= QUIET || tools_cancelled();
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
    struct left left = {0};
    tools_args_parse(context, &argp, argc, argv, &wanted);
    int code = tools_open(context);
    if (code)
        return code;
    enum lilio_err err = LILIO_OK;
    if (wanted.dial.priority || wanted.dial.set_deadline)
        err = lilio_repair_set(context->client, &wanted.dial, &context->info);
    if (!err)
        err = wanted.watch ? watch(context, &left) : left_get(context, &left);
    if (err) {
        left_release(&left);
        return tools_fail(context, err);
    }
    repair_print(&context->out, &left.repair);
    left_print(&context->out, &left);
    cJSON *object = repair_json(&left);
    left_json(object, &left);
    tools_out_object(&context->out, object);
    code = !wanted.watch       ? TOOLS_EXIT_OK
           : tools_cancelled() ? TOOLS_EXIT_INTERRUPTED
                               : left_code(&left);
    left_release(&left);
    return code;
}
