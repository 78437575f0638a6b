/* coordinator ls and transfer: who forms the quorum, and who leads it. */
#include "tools/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/env.h"
#include "proto/cluster_file.h"
#include "tools/config_path.h"
#include "tools/quorum.h"

#include "base/banned.h"

enum { PING_MS = 500, ELECTION_MS = 2000 };

/* ---- ls ---- */

static error_t no_words_parse(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    (void)state;
    return key == ARGP_KEY_END ? 0 : ARGP_ERR_UNKNOWN;
}

static const struct argp ls_argp = {
    .parser = no_words_parse,
    .doc =
        "Lists the coordinators: who leads, what each has applied, how many entries of the leader "
        "it still lacks, when the leader heard it last. Any of them can be asked; without a "
        "majority it tells which do not answer, what the others have, and ends with exit code 5. "
        "\"absent\": lilio.yaml "
        "names it, but it is no member of the quorum."
        "\vExamples:\n"
        "  lilio-ec coordinator ls\n"
        "  lilio-ec coordinator ls --json\n",
};

/* One line of the list: a member of the quorum, or a node that only lilio.yaml knows. */
struct line {
    struct lilio_coordinator coordinator;
    const char *role;
    bool member, answers;
    bool alone; /* it says so itself: nobody leads who would know how far behind it is */
};

static void number_add(struct tools_table *table, bool known, uint64_t number)
{
    if (known)
        tools_table_add(table, "%llu", (unsigned long long)number);
    else
        tools_table_add(table, "-");
}

static void lines_print(struct tools_context *context, const struct line *lines, size_t count)
{
    static const char *const columns[] = {"COORDINATOR", "ROLE",   ">TERM",   ">APPLIED", ">COMMIT",
                                          ">LAG",        ">HEARD", "ANSWERS", "ADDRESS",  NULL};
    struct tools_table *table = tools_table_new(columns);
    for (size_t i = 0; i < count; i++) {
        const struct line *line = &lines[i];
        const struct lilio_coordinator *at = &line->coordinator;
        bool member = line->member, leader = tools_quorum_leads(at);
        char time[TOOLS_TEXT];
        tools_table_add(table, "coordinator.%u", at->id);
        tools_table_add(table, "%s", line->role);
        number_add(table, member && line->answers, at->term);
        number_add(table, member && line->answers, at->applied_index);
        number_add(table, member && line->answers, at->commit_index);
        number_add(table, member && !line->alone, at->lag);
        tools_table_add(table, "%s",
                        !member || line->alone     ? "-"
                        : leader                   ? "leads"
                        : tools_quorum_unheard(at) ? "not yet"
                                                   : tools_text_duration(at->silent_ms, time));
        tools_table_add(table, "%s", line->answers ? "yes" : "NO");
        tools_table_add(table, "%s", tools_text_name(at->address, 0));
    }
    tools_table_print(&table, &context->out);
    for (size_t i = 0; i < count; i++)
        if (lines[i].coordinator.trouble[0])
            tools_out_line(&context->out, "WARNING: coordinator.%u: %s", lines[i].coordinator.id,
                           tools_text_name(lines[i].coordinator.trouble, 0));
}

static cJSON *lines_json(const struct line *lines, size_t count)
{
    cJSON *object = tools_json_new();
    cJSON *list = tools_json_list(object, "coordinators");
    for (size_t i = 0; i < count; i++) {
        cJSON *element = tools_quorum_json(&lines[i].coordinator);
        cJSON_DeleteItemFromObject(element, "role");
        cJSON_DeleteItemFromObject(element, "alive");
        tools_json_text(element, "role", lines[i].role);
        tools_json_bool(element, "alive",
                        lines[i].answers ||
                            (lines[i].member && tools_quorum_lives(&lines[i].coordinator)));
        tools_json_bool(element, "answers", lines[i].answers);
        tools_json_add(list, element);
    }
    return object;
}

static bool listed(const struct line *lines, size_t count, uint32_t id)
{
    for (size_t i = 0; i < count; i++)
        if (lines[i].coordinator.id == id)
            return true;
    return false;
}

static bool answers(struct tools_context *context, const char *endpoint, bool *ret_serves)
{
    char node[64], state[32], detail[512];
    bool ok = lilio_ping(context->client, endpoint, PING_MS, node, state, detail, NULL) == LILIO_OK;
    *ret_serves = ok && strcmp(state, "serving") == 0;
    return ok;
}

/* Does anybody know a leader? No longer than an election takes: what each says of itself is wanted
 * most when there is none. */
static bool leader_known(struct tools_context *context, const struct proto_cluster_file *file)
{
    uint64_t end_ms = base_now_ms(base_clock_system()) + ELECTION_MS;
    bool serves = false;
    for (;;) {
        for (size_t i = 0; i < file->coordinator_count && !serves; i++)
            (void)answers(context, file->coordinators[i].endpoint, &serves); /* serves is asked */
        if (serves || base_now_ms(base_clock_system()) >= end_ms)
            return serves;
        (void)nanosleep(&(struct timespec){.tv_nsec = 100000000L}, NULL);
    }
}

/* What a coordinator without a leader says of itself. */
static void lone_fill(struct tools_context *context, struct line *line)
{
    struct lilio_status status;
    if (lilio_status_self(context->client, line->coordinator.address, PING_MS, &status, NULL) !=
        LILIO_OK)
        return;
    for (size_t i = 0; i < status.coordinator_count; i++)
        if (status.coordinators[i].id == line->coordinator.id && status.coordinators[i].member) {
            line->coordinator = status.coordinators[i];
            line->coordinator.silent_ms = LILIO_COORDINATOR_UNHEARD;
            line->role = tools_quorum_role(&line->coordinator);
            line->member = line->alone = true;
        }
    lilio_status_release(&status);
}

/* status: the leader's, or NULL. Those of lilio.yaml come behind the members. */
static size_t lines_fill(struct tools_context *context, const struct lilio_status *status,
                         const struct proto_cluster_file *file, struct line *lines)
{
    size_t count = 0;
    for (size_t i = 0; status && i < status->coordinator_count; i++) {
        struct line *line = &lines[count++];
        line->coordinator = status->coordinators[i];
        line->role = tools_quorum_role(&line->coordinator);
        line->member = true;
        line->answers = tools_quorum_ask(context->client, &line->coordinator);
    }
    for (size_t i = 0; i < file->coordinator_count; i++) {
        const struct proto_cluster_node *node = &file->coordinators[i];
        if (listed(lines, count, node->id))
            continue;
        struct line *line = &lines[count++];
        *line = (struct line){.coordinator.id = node->id, .role = status ? "absent" : "unknown"};
        (void)snprintf(line->coordinator.address, sizeof line->coordinator.address, "%s",
                       node->endpoint);
        bool serves;
        line->answers = answers(context, node->endpoint, &serves);
        if (!status && line->answers)
            lone_fill(context, line);
    }
    return count;
}

static int by_id(const void *left, const void *right)
{
    const struct line *a = left, *b = right;
    if (a->coordinator.id != b->coordinator.id)
        return a->coordinator.id < b->coordinator.id ? -1 : 1;
    return a->coordinator.member < b->coordinator.member ? -1 : 1;
}

static int ls(struct tools_context *context, const struct proto_cluster_file *file)
{
    struct lilio_status status = {0};
    enum lilio_err err = leader_known(context, file)
                             ? lilio_status_get(context->client, &status, &context->info)
                             : LILIO_E_UNAVAILABLE;
    if (err && lilio_err_class(err) != LILIO_CLASS_RETRY)
        return tools_fail(context, err);
    bool led = !err && tools_quorum_leader(&status);
    struct line *lines =
        calloc(status.coordinator_count + file->coordinator_count + 1, sizeof *lines);
    int code = TOOLS_EXIT_OK;
    if (lines) {
        size_t count = lines_fill(context, led ? &status : NULL, file, lines);
        qsort(lines, count, sizeof *lines, by_id);
        lines_print(context, lines, count);
        if (led)
            tools_quorum_warn(&context->out, &status);
        else
            (void)fprintf(stderr, "lilio-ec: the coordinators have no leader\n");
        cJSON *object = lines_json(lines, count);
        if (led)
            tools_json_u64(object, "leader", tools_quorum_leader(&status)->id);
        else
            tools_json_text(object, "leader", NULL);
        tools_out_object(&context->out, object);
        code = led ? TOOLS_EXIT_OK : TOOLS_EXIT_UNAVAILABLE;
    } else {
        code = tools_fail(context, LILIO_E_NOMEM);
    }
    free(lines);
    lilio_status_release(&status);
    return code;
}

int tools_cmd_coordinator_ls(struct tools_context *context, int argc, char **argv)
{
    struct proto_cluster_file file;
    tools_args_parse(context, &ls_argp, argc, argv, NULL);
    int code = tools_open(context);
    if (code)
        return code;
    enum lilio_err err = proto_cluster_file_load(tools_config_path(context), &file, &context->info);
    if (err)
        return tools_fail(context, err);
    code = ls(context, &file);
    proto_cluster_file_release(&file);
    return code;
}

/* ---- transfer ---- */

static error_t transfer_parse(int key, char *arg, struct argp_state *state)
{
    uint32_t *id = state->input;
    struct lilio_errinfo info = {0};
    switch (key) {
    case ARGP_KEY_ARG:
        if (state->arg_num > 0)
            return ARGP_ERR_UNKNOWN;
        tools_args_check(state, tools_parse_coordinator(arg, id, &info), &info);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp transfer_argp = {
    .parser = transfer_parse,
    .args_doc = "[ID]",
    .doc = "Has the leader hand over to coordinator ID, or to the one that is furthest: before its "
           "machine is stopped, so that nobody waits for an election. Returns when the other leads."
           "\vExamples:\n"
           "  lilio-ec coordinator transfer\n"
           "  lilio-ec coordinator transfer 2\n",
};

int tools_cmd_coordinator_transfer(struct tools_context *context, int argc, char **argv)
{
    uint32_t id = LILIO_COORDINATOR_ANY;
    struct lilio_status status;
    tools_args_parse(context, &transfer_argp, argc, argv, &id);
    int code = tools_open(context);
    if (code)
        return code;
    enum lilio_err err = lilio_coordinator_transfer(context->client, id, &context->info);
    if (!err)
        err = lilio_status_get(context->client, &status, &context->info);
    if (err)
        return tools_fail(context, err);
    const struct lilio_coordinator *leader = tools_quorum_leader(&status);
    cJSON *object = tools_json_new();
    if (leader) {
        tools_out_line(&context->out, "coordinator.%u leads in term %llu", leader->id,
                       (unsigned long long)leader->term);
        tools_json_u64(object, "leader", leader->id);
        tools_json_u64(object, "term", leader->term);
    } else {
        tools_out_line(&context->out, "handed over");
        tools_json_text(object, "leader", NULL);
    }
    tools_out_object(&context->out, object);
    lilio_status_release(&status);
    return TOOLS_EXIT_OK;
}
