#include "osd/worker.h"

#include "base/banned.h"

static uint64_t now_ms(const struct osd_worker *worker)
{
    return base_now_ms(osd_node_clock(worker->node));
}

enum lilio_err osd_worker_init(struct osd_worker *worker, struct osd_node *node, const char *name,
                               const struct osd_link_options *link)
{
    worker->node = node;
    worker->name = name;
    enum lilio_err err = osd_link_new(link, &worker->link);
    return err ? err : proto_arena_new(&worker->arena);
}

void osd_worker_release(struct osd_worker *worker)
{
    osd_link_free(&worker->link);
    proto_arena_free(&worker->arena);
}

enum lilio_err osd_worker_call(struct osd_worker *worker, const struct proto_type *type,
                               const void *value, const struct proto_type *reply_type,
                               struct proto_arena *arena, void *ret_value,
                               struct lilio_errinfo *info)
{
    uint64_t until = now_ms(worker) + OSD_REBUILD_COORDINATOR_MS;
    if (arena == worker->arena)
        proto_arena_clear(arena);
    while (true) {
        enum lilio_err err =
            osd_link_call(worker->link, osd_node_epoch(worker->node), type, value, reply_type,
                          arena, ret_value, OSD_COORDINATOR_TIMEOUT_MS, info);
        if (osd_link_epoch(worker->link) > osd_node_epoch(worker->node))
            osd_node_member_wake(worker->node, false); /* there is a newer map: fetch it */
        if ((err != LILIO_E_UNAVAILABLE && err != LILIO_E_BUSY) || now_ms(worker) >= until)
            return err;
        if (!osd_link_sleep(worker->link, -1, OSD_BACKOFF_MS_MIN))
            return lilio_fail(info, LILIO_E_CANCELLED, "stopped");
    }
}

void osd_worker_reports_send(struct osd_worker *worker)
{
    struct lilio_errinfo info = {0};
    struct proto_report report = {.items = worker->reports, .items_count = worker->report_count};
    if (worker->report_count == 0)
        return;
    enum lilio_err err =
        osd_worker_call(worker, &proto_type_report, &report, NULL, worker->arena, NULL, &info);
    if (err) {
        base_log_write(osd_node_log(worker->node), BASE_LOG_WARN, worker->name, "report_failed",
                       "reason=%s", info.text);
        worker->reports_lost = true;
    }
    worker->report_count = 0;
}

void osd_worker_report(struct osd_worker *worker, const struct proto_cluster_map *map,
                       const struct proto_data_row *row, uint32_t stripe, uint32_t index,
                       uint8_t kind)
{
    if (worker->report_count == OSD_REBUILD_REPORTS)
        osd_worker_reports_send(worker);
    worker->reports[worker->report_count++] = (struct proto_fragment_report){
        .oid = row->oid,
        .stripe = stripe,
        .index = (uint8_t)index,
        .kind = kind,
        .osd = proto_fragment_osd(map, row, stripe, index),
    };
}

bool osd_worker_gone(struct osd_worker *worker, struct base_oid oid)
{
    struct proto_data_get get = {.oid = oid};
    if (base_oid_equal(worker->asked_oid, oid))
        return worker->asked_gone;
    struct lilio_errinfo info = {0};
    enum lilio_err err =
        osd_worker_call(worker, &proto_type_data_get, &get, NULL, worker->arena, NULL, &info);
    if (err && err != LILIO_E_NOT_FOUND)
        return false; /* nobody knows */
    worker->asked_oid = oid;
    worker->asked_gone = err == LILIO_E_NOT_FOUND;
    return worker->asked_gone;
}
