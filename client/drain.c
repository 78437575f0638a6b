/* Draining: an OSD that is to go gives its slots to others. */
#include "client/client_priv.h"

#include "client/control.h"
#include "client/lane.h"

#include "base/banned.h"

enum lilio_err lilio_drain(struct lilio_client *client, uint32_t osd, enum lilio_drain_step step,
                           struct lilio_errinfo *info)
{
    struct client_lane *lane;
    enum lilio_err err = client_lane_take(client, &lane, info);
    if (err != LILIO_OK)
        return err;
    struct proto_osd_drain request = {.osd = osd, .step = (uint8_t)step};
    struct client_call call = {
        .type = &proto_type_osd_drain, .value = &request, .reply_type = &proto_type_ok};
    struct proto_ok ok;
    struct client_answer answer = {0};
    err = client_control_call(&lane->control, &call, &ok, &answer, info);
    client_answer_release(&answer);
    client_lane_give(&lane);
    return err;
}
