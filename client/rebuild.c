/* Calls to one daemon: how it is, and the rebuild of an OSD. */
#include "client/client_priv.h"

#include <stdio.h>
#include <stdlib.h>

#include "client/control.h"
#include "client/lane.h"

#include "base/banned.h"

/* ---- ping ---- */

enum lilio_err lilio_ping(struct lilio_client *client, const char *endpoint, uint32_t timeout_ms,
                          char ret_node[64], char ret_state[32], char ret_detail[512],
                          struct lilio_errinfo *info)
{
    struct client_control control;
    client_control_init_daemon(&control, client, "the daemon", endpoint);
    struct proto_ping request = {0};
    struct client_call call = {.type = &proto_type_ping,
                               .value = &request,
                               .reply_type = &proto_type_pong,
                               .timeout_ms = timeout_ms};
    struct proto_pong pong;
    struct client_answer answer = {0};
    enum lilio_err err = client_control_call(&control, &call, &pong, &answer, info);
    if (err == LILIO_OK) {
        client_text_put(ret_node, 64, pong.node);
        client_text_put(ret_state, 32, pong.state);
        client_text_put(ret_detail, 512, pong.detail);
    }
    client_answer_release(&answer);
    client_control_release(&control);
    return err;
}

/* ---- rebuild ---- */

enum lilio_err client_control_osd(struct lilio_client *client, uint32_t osd,
                                  struct client_control *ret_control, struct lilio_errinfo *info)
{
    struct client_lane *lane;
    struct proto_map_ref *map;
    char endpoint[256] = "", who[32];
    const struct proto_cluster_node *node = proto_cluster_osd(&client->file, osd);
    if (node)
        snprintf(endpoint, sizeof endpoint, "%s", node->endpoint);
    enum lilio_err err = client_lane_take(client, &lane, info);
    if (err != LILIO_OK)
        return err;
    err = client_map_get(client, &lane->control, /* min_epoch */ 0, &map, info);
    client_lane_give(&lane);
    if (err != LILIO_OK)
        return err;
    const struct proto_osd *known = proto_map_osd(proto_map_ref_get(map), osd);
    if (known && known->address.size > 0)
        client_text_put(endpoint, sizeof endpoint, known->address);
    proto_map_ref_drop(&map);
    if (!endpoint[0])
        return lilio_fail(info, LILIO_E_NOT_FOUND, "the cluster has no osd.%u", osd);
    snprintf(who, sizeof who, "osd.%u", osd);
    client_control_init_daemon(ret_control, client, who, endpoint);
    return LILIO_OK;
}

/* One request whose answer is the state of the rebuild. */
static enum lilio_err ask_rebuild(struct client_control *control, const struct proto_type *type,
                                  const void *value, struct proto_rebuild *ret,
                                  struct client_answer *answer, struct lilio_errinfo *info)
{
    struct client_call call = {.type = type, .value = value, .reply_type = &proto_type_rebuild};
    return client_control_call(control, &call, ret, answer, info);
}

enum lilio_err lilio_rebuild_start(struct lilio_client *client, uint32_t osd,
                                   struct lilio_errinfo *info)
{
    struct client_control control;
    enum lilio_err err = client_control_osd(client, osd, &control, info);
    if (err != LILIO_OK)
        return err;
    struct proto_rebuild_start request = {0};
    struct proto_rebuild state;
    struct client_answer answer = {0};
    err = ask_rebuild(&control, &proto_type_rebuild_start, &request, &state, &answer, info);
    client_answer_release(&answer);
    client_control_release(&control);
    return err;
}

enum lilio_err lilio_rebuild_cancel(struct lilio_client *client, uint32_t osd,
                                    struct lilio_errinfo *info)
{
    struct client_control control;
    enum lilio_err err = client_control_osd(client, osd, &control, info);
    if (err != LILIO_OK)
        return err;
    struct proto_rebuild_cancel request = {0};
    struct proto_rebuild state;
    struct client_answer answer = {0};
    err = ask_rebuild(&control, &proto_type_rebuild_cancel, &request, &state, &answer, info);
    client_answer_release(&answer);
    client_control_release(&control);
    return err;
}

void lilio_rebuild_release(struct lilio_rebuild *rebuild)
{
    for (size_t i = 0; i < rebuild->failure_count; i++) {
        free(rebuild->failures[i].names);
        free(rebuild->failures[i].reason);
    }
    free(rebuild->failures);
    *rebuild = (struct lilio_rebuild){0};
}

char *client_names_join(const struct proto_name *names, size_t count)
{
    size_t size = 1;
    for (size_t i = 0; i < count; i++)
        size += names[i].bucket.size + names[i].key.size + 3;
    char *text = malloc(size);
    size_t used = 0;
    if (text)
        text[0] = 0;
    for (size_t i = 0; text && i < count; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%.*s/%.*s", i ? ", " : "",
                                 (int)names[i].bucket.size, (const char *)names[i].bucket.data,
                                 (int)names[i].key.size, (const char *)names[i].key.data);
    return text;
}

static bool append_failures(struct lilio_rebuild *rebuild, const struct proto_rebuild *page)
{
    struct lilio_rebuild_failure *grown = reallocarray(
        rebuild->failures, rebuild->failure_count + page->failures_count + 1, sizeof *grown);
    if (!grown)
        return false;
    rebuild->failures = grown;
    for (size_t i = 0; i < page->failures_count; i++) {
        const struct proto_rebuild_failure *failure = &page->failures[i];
        struct lilio_rebuild_failure *made = &grown[rebuild->failure_count++];
        *made = (struct lilio_rebuild_failure){
            .names = client_names_join(failure->names, failure->names_count),
            .reason = client_text(failure->reason),
            .stripe = failure->stripe,
            .index = failure->index,
            .err = (enum lilio_err)failure->err,
        };
        if (!made->names || !made->reason)
            return false;
    }
    return true;
}

static struct lilio_rebuild public_rebuild(const struct proto_rebuild *state)
{
    struct lilio_rebuild made = {
        .phase = state->phase <= LILIO_REBUILD_ERROR ? (enum lilio_rebuild_phase)state->phase
                                                     : LILIO_REBUILD_ERROR,
        .err = (enum lilio_err)state->err,
        .osd = state->osd,
        .incarnation = state->incarnation,
        .index = state->index,
        .epoch = state->epoch,
        .started_ms = state->started_ms,
        .elapsed_ms = state->elapsed_ms,
        .expected = state->expected,
        .expected_bytes = state->expected_bytes,
        .present = state->present,
        .rebuilt = state->rebuilt,
        .rebuilt_bytes = state->rebuilt_bytes,
        .done_bytes = state->done_bytes,
        .verified = state->verified,
        .gone = state->gone,
        .newer = state->newer,
        .failed = state->failed,
        .source_bytes = state->source_bytes,
        .bad_sources = state->bad_sources,
    };
    client_text_put(made.text, sizeof made.text, state->text);
    base_uuid_format(state->disk_uuid, made.disk_uuid);
    base_uuid_format(state->cluster_id, made.cluster_id);
    return made;
}

/* The state with the failures from the first on, page by page. */
static enum lilio_err read_rebuild(struct client_control *control, struct lilio_rebuild *made,
                                   struct lilio_errinfo *info)
{
    for (bool more = true; more;) {
        struct proto_rebuild_get request = {.failures_from = (uint32_t)made->failure_count};
        struct proto_rebuild state;
        struct client_answer answer = {0};
        enum lilio_err err =
            ask_rebuild(control, &proto_type_rebuild_get, &request, &state, &answer, info);
        if (err == LILIO_OK) {
            struct lilio_rebuild_failure *failures = made->failures;
            size_t failure_count = made->failure_count;
            *made = public_rebuild(&state);
            made->failures = failures;
            made->failure_count = failure_count;
            if (!append_failures(made, &state))
                err = lilio_fail(info, LILIO_E_NOMEM, "no memory for the list of failures");
        }
        more = err == LILIO_OK && state.failures_count > 0 && made->failure_count < state.failed;
        client_answer_release(&answer);
        if (err != LILIO_OK)
            return err;
    }
    return LILIO_OK;
}

enum lilio_err lilio_rebuild_get(struct lilio_client *client, uint32_t osd,
                                 struct lilio_rebuild *ret_rebuild, struct lilio_errinfo *info)
{
    struct client_control control;
    struct lilio_rebuild made = {0};
    enum lilio_err err = client_control_osd(client, osd, &control, info);
    if (err != LILIO_OK)
        return err;
    err = read_rebuild(&control, &made, info);
    client_control_release(&control);
    if (err == LILIO_OK)
        *ret_rebuild = made;
    else
        lilio_rebuild_release(&made);
    return err;
}
