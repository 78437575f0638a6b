/* Repair as the leading coordinator knows it, and its dial. */
#include "client/client_priv.h"

#include <stdlib.h>

#include "client/control.h"
#include "client/lane.h"

#include "base/banned.h"

void lilio_repair_release(struct lilio_repair *repair)
{
    for (size_t i = 0; i < repair->failure_count; i++) {
        free(repair->failures[i].names);
        free(repair->failures[i].reason);
    }
    free(repair->failures);
    *repair = (struct lilio_repair){0};
}

static bool copy_failures(const struct proto_repair *repair, struct lilio_repair *ret)
{
    ret->failures = calloc(repair->failures_count + 1, sizeof *ret->failures);
    for (size_t i = 0; ret->failures && i < repair->failures_count; i++) {
        const struct proto_repair_failure *failure = &repair->failures[i];
        struct lilio_repair_failure *made = &ret->failures[ret->failure_count++];
        *made = (struct lilio_repair_failure){
            .names = client_names_join(failure->names, failure->names_count),
            .reason = client_text(failure->reason),
            .osd = failure->osd,
            .err = failure->err,
            .tries = failure->tries,
            .wait_ms = failure->wait_ms,
        };
        if (!made->names || !made->reason)
            return false;
    }
    return ret->failures != NULL;
}

static enum lilio_err copy_repair(const struct proto_repair *repair, struct lilio_repair *ret,
                                  struct lilio_errinfo *info)
{
    struct lilio_repair made = {
        .rows = repair->rows,
        .running = repair->running,
        .failed = repair->failed,
        .away = repair->away,
        .priority = (enum lilio_repair_priority)repair->priority,
        .bytes_per_s = repair->bytes_per_s,
        .eta_ms = repair->eta_ms,
        .eta_low_ms = repair->eta_low_ms,
        .eta_high_ms = repair->eta_high_ms,
        .fragments = repair->fragments,
        .bytes = repair->bytes,
        .share = repair->share,
        .deadline = (enum lilio_repair_deadline)repair->deadline,
        .deadline_ms = repair->deadline_ms,
        .mended = repair->mended,
        .written_bytes = repair->mended_bytes,
        .fill_slots = repair->fill_slots,
        .fill_waiting = repair->fill_waiting,
        .fill_left = repair->fill_left,
        .fill_eta_ms = repair->fill_eta_ms,
        .fill_eta_low_ms = repair->fill_eta_low_ms,
        .fill_eta_high_ms = repair->fill_eta_high_ms,
        .deadline_ago_ms = repair->deadline_ago_ms,
        .runs_done = repair->runs_done,
        .held = repair->held,
    };
    for (size_t i = 0; i < repair->levels_count && i < LILIO_REPAIR_LEVELS; i++)
        made.levels[i] = repair->levels[i];
    if (!copy_failures(repair, &made)) {
        lilio_repair_release(&made);
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for the state of repair");
    }
    *ret = made;
    return LILIO_OK;
}

enum lilio_err lilio_repair_get(struct lilio_client *client, struct lilio_repair *ret_repair,
                                struct lilio_errinfo *info)
{
    struct client_lane *lane;
    enum lilio_err err = client_lane_take(client, &lane, info);
    if (err != LILIO_OK)
        return err;
    struct proto_repair_get request = {0};
    struct client_call call = {
        .type = &proto_type_repair_get, .value = &request, .reply_type = &proto_type_repair};
    struct proto_repair repair;
    struct client_answer answer = {0};
    err = client_control_call(&lane->control, &call, &repair, &answer, info);
    if (err == LILIO_OK)
        err = copy_repair(&repair, ret_repair, info);
    client_answer_release(&answer);
    client_lane_give(&lane);
    return err;
}

enum lilio_err lilio_repair_set(struct lilio_client *client, const struct lilio_repair_dial *dial,
                                struct lilio_errinfo *info)
{
    struct client_lane *lane;
    enum lilio_err err = client_lane_take(client, &lane, info);
    if (err != LILIO_OK)
        return err;
    struct proto_repair_set request = {.priority = (uint8_t)dial->priority,
                                       .set_deadline = dial->set_deadline,
                                       .deadline_ms = dial->deadline_ms};
    struct client_call call = {
        .type = &proto_type_repair_set, .value = &request, .reply_type = &proto_type_ok};
    struct proto_ok ok;
    struct client_answer answer = {0};
    err = client_control_call(&lane->control, &call, &ok, &answer, info);
    client_answer_release(&answer);
    client_lane_give(&lane);
    return err;
}
