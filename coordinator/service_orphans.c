/* Orphans: what OSDs ask before they mark, and cluster time for those that wait in quarantine. */
#include "base/mark.h"
#include "coordinator/service_priv.h"

#include "base/banned.h"

/* NULL, or why the sender gets no answer. */
static const char *refusal(const struct coord_service *service, const struct proto_orphans_ask *ask)
{
    size_t place = coord_state_osd_find(service->state, ask->osd);
    if (place == SIZE_MAX ||
        coord_state_osd_at(service->state, place)->incarnation != ask->incarnation)
        return "the cluster has no such incarnation of this OSD";
    if (ask->index > coord_state_row(service->state)->applied_index)
        return "these maps are behind what the OSD was answered before";
    return NULL;
}

void service_orphans_read(struct coord_service *service, const struct coord_request *request)
{
    struct proto_orphans_ask ask;
    struct lilio_errinfo info = {0};
    const struct proto_state_row *row = coord_state_row(service->state);
    if (!service_body(service, request, &ask))
        return;
    const char *why = refusal(service, &ask);
    if (why) {
        service_refuse(service, request, LILIO_E_INVALID, why);
        return;
    }
    struct coord_view view = service_view(service, NULL);
    uint8_t *verdicts = proto_arena_take(service->arena, ask.runs_count + 1);
    enum lilio_err err = verdicts ? LILIO_OK : LILIO_E_NOMEM;
    for (size_t i = 0; i < ask.runs_count && !err; i++) {
        err = coord_orphan_judge(&view, row, ask.runs[i].oid, ask.osd, &verdicts[i], &info);
        if (!err && verdicts[i] == COORD_ORPHAN_OPEN)
            LILIO_MARK("coordinator/orphan_session_open");
    }
    if (err) {
        service_refuse(service, request, err, info.text);
        return;
    }
    struct proto_orphans_answer answer = {
        .cluster_id = coord_state_cluster(service->state)->cluster_id,
        .index = row->applied_index,
        .cluster_ms = row->cluster_ms,
        .verdicts = base_slice(verdicts, ask.runs_count),
    };
    service_reply(service, request, &proto_type_orphans_answer, &answer);
}

void service_orphans_tick(struct coord_service *service)
{
    bool waits = false;
    for (size_t i = 0; i < coord_state_osd_count(service->state); i++)
        waits |= service->osds[i].heard && service->osds[i].orphans > 0;
    if (waits)
        service_time_go_on(service, service->options.orphan_retention_ms);
}
