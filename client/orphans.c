/* Orphans as one OSD knows them, and rounds over them. */
#include "client/client_priv.h"

#include <stdio.h>

#include "client/control.h"

#include "base/banned.h"

static void copy_first(const struct proto_orphans *state, struct lilio_orphans *ret)
{
    for (size_t i = 0; i < state->first_count && i < LILIO_ORPHANS_FIRST; i++) {
        const struct proto_orphan *orphan = &state->first[i];
        struct lilio_orphan *made = &ret->first[ret->first_count++];
        *made = (struct lilio_orphan){
            .fragments = orphan->fragments,
            .bytes = orphan->bytes,
            .waited_ms = orphan->waited_ms,
            .unknown = orphan->unknown,
        };
        (void)snprintf(made->oid, sizeof made->oid, "%016llx%016llx",
                       (unsigned long long)orphan->oid.high,
                       (unsigned long long)orphan->oid.low); /* fits */
    }
}

static struct lilio_orphans public_orphans(const struct proto_orphans *state)
{
    struct lilio_orphans made = {
        .osd = state->osd,
        .asked = state->asked,
        .ended = state->ended,
        .phase = (enum lilio_orphans_phase)state->phase,
        .err = (enum lilio_err)state->err,
        .index = state->index,
        .fragments = state->fragments,
        .open = state->open,
        .unknown_runs = state->unknown_runs,
        .unknown_fragments = state->unknown_fragments,
        .unknown_bytes = state->unknown_bytes,
        .runs = state->runs,
        .run_fragments = state->run_fragments,
        .run_bytes = state->run_bytes,
        .due = state->due,
        .swept_runs = state->swept_runs,
        .swept_fragments = state->swept_fragments,
        .swept_bytes = state->swept_bytes,
        .former_swept = state->formers,
        .former_fragments = state->former_fragments,
        .former_bytes = state->former_bytes,
        .former_fills = state->former_fills,
        .former_away = state->former_away,
        .former_fresh = state->former_fresh,
        .retention_ms = state->retention_ms,
    };
    client_text_put(made.text, sizeof made.text, state->text);
    copy_first(state, &made);
    return made;
}

static enum lilio_err ask(struct lilio_client *client, uint32_t osd, const struct proto_type *type,
                          const void *value, struct lilio_orphans *ret, struct lilio_errinfo *info)
{
    struct client_control control;
    enum lilio_err err = client_control_osd(client, osd, &control, info);
    if (err != LILIO_OK)
        return err;
    struct client_call call = {.type = type, .value = value, .reply_type = &proto_type_orphans};
    struct proto_orphans state;
    struct client_answer answer = {0};
    err = client_control_call(&control, &call, &state, &answer, info);
    if (err == LILIO_OK)
        *ret = public_orphans(&state);
    client_answer_release(&answer);
    client_control_release(&control);
    return err;
}

enum lilio_err lilio_orphans_get(struct lilio_client *client, uint32_t osd,
                                 struct lilio_orphans *ret, struct lilio_errinfo *info)
{
    struct proto_orphans_get request = {0};
    return ask(client, osd, &proto_type_orphans_get, &request, ret, info);
}

enum lilio_err lilio_orphans_run(struct lilio_client *client, uint32_t osd, bool dry, bool now,
                                 struct lilio_orphans *ret, struct lilio_errinfo *info)
{
    struct proto_orphans_run request = {.dry = dry, .now = now};
    return ask(client, osd, &proto_type_orphans_run, &request, ret, info);
}
