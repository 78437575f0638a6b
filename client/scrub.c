/* Scrubs as an OSD, or the leader, knows them. */
#include "client/client_priv.h"

#include <stdio.h>
#include <stdlib.h>

#include "client/control.h"

#include "base/banned.h"

void lilio_scrub_release(struct lilio_scrub_report *report)
{
    for (size_t i = 0; i < report->finding_count; i++)
        free(report->findings[i].names);
    free(report->findings);
    *report = (struct lilio_scrub_report){0};
}

static struct lilio_scrub public_scrub(const struct proto_scrub_line *line)
{
    return (struct lilio_scrub){
        .kind = (enum lilio_scrub_kind)line->kind,
        .known = true,
        .period_ms = line->period_ms,
        .state = line->state > LILIO_SCRUB_WAITS ? LILIO_SCRUB_STUCK
                                                 : (enum lilio_scrub_state)line->state,
        .ordered = line->ordered,
        .round_ms = line->round_ms,
        .expected = line->expected,
        .good = line->good,
        .bad = line->bad,
        .unread = line->unread,
        .bytes = line->bytes,
        .bytes_per_s = line->bytes_per_s,
        .eta_ms = line->eta_ms,
        .stripes = line->stripes,
        .stripes_bad = line->stripes_bad,
        .stripes_unread = line->stripes_unread,
        .rounds = line->rounds,
        .ended_ms = line->ended_ms,
        .oldest_ms = line->oldest_ms,
        .last_index = line->last_index,
        .last_good = line->last_good,
        .last_bad = line->last_bad,
        .last_unread = line->last_unread,
        .last_stripes_bad = line->last_stripes_bad,
        .last_stripes_unread = line->last_stripes_unread,
        .counts = line->counts,
    };
}

void client_scrubs_put(struct lilio_scrub ret[LILIO_SCRUB_KINDS], uint32_t osd,
                       const struct proto_scrub_line *lines, size_t count)
{
    for (size_t i = 0; i < LILIO_SCRUB_KINDS; i++)
        ret[i].kind = (enum lilio_scrub_kind)(i + 1);
    for (size_t i = 0; i < count; i++)
        if (lines[i].osd == osd && lines[i].kind >= 1 && lines[i].kind <= LILIO_SCRUB_KINDS)
            ret[lines[i].kind - 1] = public_scrub(&lines[i]);
}

static bool finding_copy(const struct proto_scrub_finding *finding, struct lilio_scrub_finding *ret)
{
    *ret = (struct lilio_scrub_finding){
        .names = client_names_join(finding->names, finding->names_count),
        .stripe = finding->stripe,
        .index = finding->index,
        .scrub = (enum lilio_scrub_kind)finding->scrub,
        .what = finding->kind,
    };
    (void)snprintf(ret->oid, sizeof ret->oid, "%016llx%016llx",
                   (unsigned long long)finding->oid.high,
                   (unsigned long long)finding->oid.low); /* fits */
    return ret->names != NULL;
}

static enum lilio_err copy_report(uint32_t osd, const struct proto_scrub *state,
                                  struct lilio_scrub_report *ret, struct lilio_errinfo *info)
{
    bool made = true;
    *ret = (struct lilio_scrub_report){
        .findings = calloc(state->findings_count + 1, sizeof *ret->findings),
        .findings_more = state->findings_more,
    };
    client_scrubs_put(ret->scrubs, osd, state->lines, state->lines_count);
    client_text_put(ret->text, sizeof ret->text, state->text);
    for (size_t i = 0; ret->findings && i < state->findings_count; i++)
        made &= finding_copy(&state->findings[i], &ret->findings[ret->finding_count++]);
    if (ret->findings && made)
        return LILIO_OK;
    lilio_scrub_release(ret);
    return lilio_fail(info, LILIO_E_NOMEM, "no memory for what a scrub found");
}

static enum lilio_err ask(struct lilio_client *client, uint32_t osd, const struct proto_type *type,
                          const void *value, struct lilio_scrub_report *ret,
                          struct lilio_errinfo *info)
{
    struct client_control control;
    enum lilio_err err = client_control_osd(client, osd, &control, info);
    if (err != LILIO_OK)
        return err;
    struct client_call call = {.type = type, .value = value, .reply_type = &proto_type_scrub};
    struct proto_scrub state;
    struct client_answer answer = {0};
    err = client_control_call(&control, &call, &state, &answer, info);
    if (err == LILIO_OK)
        err = copy_report(osd, &state, ret, info);
    client_answer_release(&answer);
    client_control_release(&control);
    return err;
}

enum lilio_err lilio_scrub_get(struct lilio_client *client, uint32_t osd,
                               struct lilio_scrub_report *ret, struct lilio_errinfo *info)
{
    struct proto_scrub_get request = {0};
    return ask(client, osd, &proto_type_scrub_get, &request, ret, info);
}

enum lilio_err lilio_scrub_start(struct lilio_client *client, uint32_t osd,
                                 enum lilio_scrub_kind kind, uint64_t rate,
                                 struct lilio_scrub_report *ret, struct lilio_errinfo *info)
{
    struct proto_scrub_start request = {.kind = (uint8_t)kind, .rate = rate};
    return ask(client, osd, &proto_type_scrub_start, &request, ret, info);
}
