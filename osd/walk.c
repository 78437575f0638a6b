#include "osd/walk.h"

#include <inttypes.h>
#include <stdlib.h>

#include "osd/limits.h"

#include "base/banned.h"

enum { WAIT_STEP_MS = 100, MAP_WAIT_MS = 30000 };

static uint64_t now_ms(const struct osd_walk *walk)
{
    return base_now_ms(osd_node_clock(walk->worker->node));
}

enum lilio_err osd_walk_open(struct osd_walk *walk, struct lilio_errinfo *info)
{
    struct proto_scan_open open = {.bucket_id = 0};
    struct proto_scan scan;
    enum lilio_err err = osd_worker_call(walk->worker, &proto_type_scan_open, &open,
                                         &proto_type_scan, walk->worker->arena, &scan, info);
    if (err)
        return lilio_prefix(info, err, "pinning the maps");
    walk->id = scan.id;
    walk->index = scan.index;
    walk->epoch = scan.epoch;
    walk->stripes_ever = scan.stripes_ever;
    walk->rows = scan.row_count;
    walk->bytes = scan.stored_bytes;
    walk->asked_ms = now_ms(walk);
    walk->lapsed = false;
    return LILIO_OK;
}

void osd_walk_close(struct osd_walk *walk)
{
    struct osd_worker *worker = walk->worker;
    struct proto_scan_close close = {.id = walk->id};
    struct lilio_errinfo info = {0};
    enum lilio_err err = LILIO_OK;
    if (walk->id)
        err = osd_link_call(worker->link, 0, &proto_type_scan_close, &close, NULL, worker->arena,
                            NULL, OSD_COORDINATOR_TIMEOUT_MS, &info);
    if (err)
        base_log_write(osd_node_log(worker->node), BASE_LOG_DEBUG, worker->name, "scan_not_closed",
                       "reason=%s", info.text);
    walk->id = 0;
}

enum lilio_err osd_walk_page(struct osd_walk *walk, struct base_oid after,
                             struct osd_page **ret_page, struct lilio_errinfo *info)
{
    struct proto_scan_next next = {.id = walk->id, .after = after};
    struct osd_page *page = calloc(1, sizeof *page);
    enum lilio_err err = page ? proto_arena_new(&page->arena) : LILIO_E_NOMEM;
    if (err) {
        free(page);
        return lilio_fail(info, err, "no memory for a page");
    }
    page->references = 1;
    err = osd_worker_call(walk->worker, &proto_type_scan_next, &next, &proto_type_scan_page,
                          page->arena, &page->page, info);
    walk->asked_ms = now_ms(walk);
    if (err) {
        walk->lapsed = err == LILIO_E_NOT_FOUND;
        walk->id = walk->lapsed ? 0 : walk->id;
        osd_page_drop(&page);
        return lilio_prefix(info, err, "walking the maps");
    }
    page->reply = osd_link_reply_take(walk->worker->link);
    *ret_page = page;
    return LILIO_OK;
}

enum lilio_err osd_walk_keep_alive(struct osd_walk *walk, struct base_oid last,
                                   struct lilio_errinfo *info)
{
    struct osd_page *page = NULL;
    if (now_ms(walk) - walk->asked_ms < OSD_REBUILD_KEEP_ALIVE_MS)
        return LILIO_OK;
    enum lilio_err err = osd_walk_page(walk, last, &page, info);
    osd_page_drop(&page);
    return err;
}

enum lilio_err osd_walk_map_wait(struct osd_walk *walk, struct lilio_errinfo *info)
{
    struct osd_node *node = walk->worker->node;
    uint64_t until = now_ms(walk) + MAP_WAIT_MS;
    while (osd_node_epoch(node) < walk->epoch) {
        if (now_ms(walk) >= until)
            return lilio_fail(info, LILIO_E_UNAVAILABLE, "no map of epoch %" PRIu64 " arrived",
                              walk->epoch);
        osd_node_member_wake(node, /* again */ false);
        if (!osd_link_sleep(walk->worker->link, -1, WAIT_STEP_MS))
            return lilio_fail(info, LILIO_E_CANCELLED, "stopped");
    }
    return LILIO_OK;
}
