#include "osd/member.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "osd/inventory.h"
#include "osd/limits.h"
#include "osd/link.h"
#include "osd/orphans.h"
#include "osd/repair.h"
#include "osd/scrub.h"

#include "base/banned.h"

enum { VERDICT_SERVE = 1, VERDICT_BLANK = 2, VERDICT_REFUSED = 3, VERDICT_FIRST = 4 };
enum { HELLOS_MAX = 4, REFUSED_RETRY_MS = 5000, BEATS_MISSED = 5 };
enum { BEAT_SERVING = 1, BEAT_FAILED = 5, BEAT_BLANK = 7 };

struct osd_member {
    struct osd_member_options options;
    pthread_t thread;
    struct osd_link *link;
    struct proto_arena *arena;
    bool announced_blank; /* what the coordinator thinks of us */
    bool lost;            /* the coordinator is gone, and that was logged */
    bool served;          /* it was welcomed once */
    uint64_t heard_ms;    /* when the coordinator last answered */
    char told[512];       /* why the last introduction led to nothing, as logged */
    uint32_t heartbeat_ms, backoff_ms;
    struct proto_collect_job done[OSD_COLLECT_REPORT_MAX];
    struct osd_repair_news news;
};

enum osd_member_action osd_member_decide(const struct osd_member_case *facts,
                                         const char **ret_reason)
{
    *ret_reason = NULL;
    if (!facts->same_cluster) {
        *ret_reason = "the coordinator belongs to another cluster";
        return OSD_MEMBER_REFUSE;
    }
    bool has_disk = facts->disk != OSD_DISK_BLANK && !facts->announced_blank;
    switch (facts->verdict) {
    case VERDICT_SERVE:
        if (has_disk)
            return OSD_MEMBER_SERVE;
        *ret_reason = "the coordinator takes a blank disk for a member";
        return OSD_MEMBER_REFUSE;
    case VERDICT_BLANK:
        return has_disk && facts->disk == OSD_DISK_MEMBER ? OSD_MEMBER_REFUSE
                                                          : OSD_MEMBER_STAY_BLANK;
    case VERDICT_REFUSED:
        return has_disk && facts->disk == OSD_DISK_JOINING ? OSD_MEMBER_ANNOUNCE_BLANK
                                                           : OSD_MEMBER_REFUSE;
    case VERDICT_FIRST:
        if (facts->disk == OSD_DISK_MEMBER) {
            *ret_reason = "this disk was a member, but the coordinator never had one for this id";
            return OSD_MEMBER_REFUSE;
        }
        if (facts->init || has_disk)
            return OSD_MEMBER_BIND;
        *ret_reason = "this id never had a disk: start the OSD once with --init";
        return OSD_MEMBER_STAY_BLANK;
    default: *ret_reason = "the coordinator gave a verdict this version does not know";
    }
    return OSD_MEMBER_REFUSE;
}

/* ---- on the owner thread ---- */

struct life_call {
    struct osd_home *home;
    uint32_t incarnation;
    bool blank;
    const char *reason;
    struct base_uuid uuid;
};

static enum lilio_err run_welcome(void *context, struct lilio_errinfo *info)
{
    struct life_call *call = context;
    return osd_home_welcome(call->home, call->incarnation, info);
}

static enum lilio_err run_turn_away(void *context, struct lilio_errinfo *info)
{
    struct life_call *call = context;
    (void)info;
    osd_home_turn_away(call->home, call->blank, call->reason);
    return LILIO_OK;
}

static enum lilio_err run_join(void *context, struct lilio_errinfo *info)
{
    struct life_call *call = context;
    return osd_home_join(call->home, &call->uuid, info);
}

/* ---- speaking with the coordinator ---- */

static struct base_log *log_of(const struct osd_member *member)
{
    return osd_node_log(member->options.node);
}

/* An answer of the coordinator to one that serves: the first, or the first for a long time. What it
 * has is compared with the maps then. */
static void note_answer(struct osd_member *member)
{
    uint64_t now = base_now_ms(osd_node_clock(member->options.node));
    bool back =
        !member->served || now - member->heard_ms >= (uint64_t)BEATS_MISSED * member->heartbeat_ms;
    member->served = true;
    member->heard_ms = now;
    if (back && member->options.inventory)
        osd_inventory_order(member->options.inventory);
}

/* Says once that the coordinator is gone, and once that it is back. */
static void tell_contact(struct osd_member *member, enum lilio_err err, const char *text)
{
    if (err == LILIO_E_CANCELLED)
        return;
    if (err && !member->lost)
        base_log_write(log_of(member), BASE_LOG_WARN, "member", "coordinator_lost",
                       "reason=%s serving=on_with_last_map", text);
    if (!err && member->lost)
        base_log_write(log_of(member), BASE_LOG_INFO, "member", "coordinator_found", "endpoint=%s",
                       osd_link_endpoint(member->link));
    member->lost = err != LILIO_OK;
}

static void take_map(struct osd_member *member, const struct proto_cluster_map *map)
{
    struct lilio_errinfo info = {0};
    struct proto_map_ref *ref = NULL;
    enum lilio_err err = proto_map_check(map, &info);
    if (!err)
        err = proto_map_ref_new(map, &ref);
    if (err) {
        base_log_write(log_of(member), BASE_LOG_ERROR, "member", "map_refused", "reason=%s",
                       info.text);
        return;
    }
    osd_node_map_set(member->options.node, ref);
    osd_node_owner_wake(member->options.node);
}

static enum lilio_err call(struct osd_member *member, const struct proto_type *type,
                           const void *value, const struct proto_type *reply_type, void *ret_value,
                           struct lilio_errinfo *info)
{
    proto_arena_clear(member->arena);
    return osd_link_call(member->link, osd_node_epoch(member->options.node), type, value,
                         reply_type, member->arena, ret_value, OSD_COORDINATOR_TIMEOUT_MS, info);
}

static enum lilio_err hello(struct osd_member *member, const struct osd_node_view *view,
                            struct proto_osd_welcome *ret, struct lilio_errinfo *info)
{
    struct proto_osd_hello hello = {
        .osd = osd_node_id(member->options.node),
        .address = base_slice_str(member->options.address),
        .incomplete = view->incomplete,
        .software = base_slice_str(LILIO_VERSION),
    };
    if (!member->announced_blank && view->disk != OSD_DISK_BLANK) {
        hello.disk_uuid = view->disk_uuid;
        hello.cluster_id = osd_node_cluster(member->options.node);
    }
    return call(member, &proto_type_osd_hello, &hello, &proto_type_osd_welcome, ret, info);
}

/* Step 3 of joining (osd/home.h). */
static enum lilio_err join_and_bind(struct osd_member *member, struct lilio_errinfo *info)
{
    struct life_call join = {.home = member->options.home};
    enum lilio_err err = osd_node_call(member->options.node, run_join, &join, info);
    if (err)
        return err;
    struct proto_osd_bind bind = {
        .osd = osd_node_id(member->options.node),
        .disk_uuid = join.uuid,
        .rebuild = false,
    };
    member->announced_blank = false;
    return call(member, &proto_type_osd_bind, &bind, NULL, NULL, info);
}

/* The coordinator's own words, or ours if it has none. */
static void reason_text(const struct proto_osd_welcome *welcome, const char *reason,
                        char ret_text[512])
{
    if (reason || welcome->reason.size == 0)
        (void)snprintf(ret_text, 512, "%s", reason ? reason : "the coordinator did not say why");
    else
        (void)snprintf(ret_text, 512, "%.*s", (int)welcome->reason.size,
                       (const char *)welcome->reason.data);
}

static uint32_t bounded_heartbeat(uint32_t wanted)
{
    if (wanted == 0)
        return OSD_HEARTBEAT_MS_DEFAULT;
    if (wanted < OSD_HEARTBEAT_MS_MIN)
        return OSD_HEARTBEAT_MS_MIN;
    return wanted > OSD_HEARTBEAT_MS_MAX ? OSD_HEARTBEAT_MS_MAX : wanted;
}

enum outcome { BEAT, HELLO_AGAIN, WAIT_REFUSED, RETRY };

static enum outcome act(struct osd_member *member, const struct osd_node_view *view,
                        const struct proto_osd_welcome *welcome, struct lilio_errinfo *info)
{
    char reason[512];
    const char *own_reason;
    struct osd_member_case facts = {
        .disk = view->disk,
        .announced_blank = member->announced_blank,
        .init = member->options.init,
        .same_cluster =
            base_uuid_equal(welcome->cluster_id, osd_node_cluster(member->options.node)),
        .verdict = welcome->verdict,
    };
    enum osd_member_action action = osd_member_decide(&facts, &own_reason);
    struct life_call life = {
        .home = member->options.home,
        .incarnation = welcome->incarnation,
        .reason = reason,
        .blank = action == OSD_MEMBER_STAY_BLANK,
    };
    reason_text(welcome, own_reason, reason);
    member->heartbeat_ms = bounded_heartbeat(welcome->heartbeat_ms);
    if (view->gone)
        return BEAT; /* says so with each heartbeat; only a rebuild or a restart changes that */
    if (facts.same_cluster && welcome->map.epoch > 0)
        take_map(member, &welcome->map);
    enum lilio_err err = LILIO_OK;
    switch (action) {
    case OSD_MEMBER_SERVE:
        err = osd_node_call(member->options.node, run_welcome, &life, info);
        if (!err)
            note_answer(member);
        return err ? RETRY : BEAT;
    case OSD_MEMBER_STAY_BLANK:
    case OSD_MEMBER_REFUSE:
        err = osd_node_call(member->options.node, run_turn_away, &life, info);
        return err ? RETRY : action == OSD_MEMBER_REFUSE ? WAIT_REFUSED : BEAT;
    case OSD_MEMBER_BIND: err = join_and_bind(member, info); return err ? RETRY : HELLO_AGAIN;
    case OSD_MEMBER_ANNOUNCE_BLANK: member->announced_blank = true; return HELLO_AGAIN;
    }
    return RETRY;
}

/* Once for each reason. */
static void tell_failure(struct osd_member *member, enum outcome outcome,
                         const struct lilio_errinfo *info)
{
    if (outcome != RETRY) {
        member->told[0] = '\0';
        return;
    }
    if (info->err == LILIO_E_CANCELLED || strcmp(member->told, info->text) == 0)
        return;
    (void)snprintf(member->told, sizeof member->told, "%s", info->text);
    base_log_write(log_of(member), BASE_LOG_ERROR, "member", "introduction_failed",
                   "reason=%s next=tried_again", info->text);
}

/* Hello until it leads to something. */
static enum outcome introduce(struct osd_member *member)
{
    struct lilio_errinfo info = {0};
    enum outcome outcome = HELLO_AGAIN;
    member->announced_blank = false;
    for (int i = 0; i < HELLOS_MAX && outcome == HELLO_AGAIN; i++) {
        struct osd_node_view view;
        struct proto_osd_welcome welcome;
        osd_node_view(member->options.node, &view);
        enum lilio_err err = hello(member, &view, &welcome, &info);
        tell_contact(member, err, info.text);
        if (err)
            return RETRY;
        outcome = act(member, &view, &welcome, &info);
    }
    tell_failure(member, outcome, &info);
    return outcome;
}

/* ---- heartbeats ---- */

static uint8_t beat_state(const struct osd_node_view *view)
{
    switch (view->state) {
    case OSD_NODE_SERVING: return BEAT_SERVING;
    case OSD_NODE_WAITING:
    case OSD_NODE_BLANK: return BEAT_BLANK;
    case OSD_NODE_FAILED:
    case OSD_NODE_REFUSED: break;
    }
    return BEAT_FAILED;
}

static void take_orders(struct osd_member *member, const struct proto_osd_orders *orders)
{
    if (orders->changed)
        take_map(member, &orders->map);
    for (size_t i = 0; i < orders->collect_count; i++)
        (void)osd_collector_add(member->options.collector, &orders->collect[i]); /* or again */
    if (orders->collect_count > 0)
        osd_node_owner_wake(member->options.node);
    if (member->options.repair)
        osd_repair_orders(member->options.repair, orders);
}

static void repair_tell(struct osd_member *member, struct proto_osd_heartbeat *heartbeat)
{
    struct osd_repair_news *news = &member->news;
    osd_repair_news(member->options.repair, news);
    heartbeat->repairing = news->repairing;
    heartbeat->repairing_count = news->repairing_count;
    heartbeat->repaired = news->repaired;
    heartbeat->repaired_count = news->repaired_count;
    heartbeat->repair_bytes = news->bytes;
    heartbeat->clients = news->clients;
    heartbeat->fills = &news->fill;
    heartbeat->fills_count = news->fill_count;
}

/* One heartbeat. *ret_more: there is more to report at once. */
static enum outcome beat(struct osd_member *member, bool *ret_more)
{
    struct lilio_errinfo info = {0};
    struct osd_node_view view;
    struct proto_osd_orders orders;
    struct proto_scrub_line scrubs[OSD_SCRUB_KINDS];
    uint64_t maps_index = 0; /* before it asks */
    osd_node_view(member->options.node, &view);
    struct proto_osd_heartbeat heartbeat = {
        .osd = osd_node_id(member->options.node),
        .known_epoch = osd_node_epoch(member->options.node),
        .state = beat_state(&view),
        .capacity_bytes = view.space.total_bytes,
        .free_bytes = view.space.free_bytes,
        .used_bytes = view.space.used_bytes,
        .fragment_count = view.space.fragment_count,
        .collected = member->done,
        .collected_count = osd_collector_done(member->options.collector, member->done),
    };
    if (member->options.repair)
        repair_tell(member, &heartbeat);
    struct proto_inventory_report inventory;
    char inventory_reason[256];
    if (member->options.inventory) {
        osd_inventory_get(member->options.inventory, &inventory, inventory_reason);
        heartbeat.inventory = &inventory;
        heartbeat.inventory_count = 1;
    }
    if (member->options.orphans)
        heartbeat.orphans = osd_orphans_waiting(member->options.orphans);
    if (member->options.scrub) {
        heartbeat.scrubs = scrubs;
        heartbeat.scrubs_count = osd_scrub_lines(member->options.scrub, scrubs);
        maps_index = osd_scrub_maps_index(member->options.scrub);
    }
    if (!member->announced_blank) {
        heartbeat.disk_uuid = view.disk_uuid;
        heartbeat.incarnation = view.incarnation;
    }
    enum lilio_err err =
        call(member, &proto_type_osd_heartbeat, &heartbeat, &proto_type_osd_orders, &orders, &info);
    tell_contact(member, err, info.text);
    if (err)
        return RETRY;
    if (!orders.known)
        return HELLO_AGAIN; /* these may be the maps of another cluster */
    if (member->options.scrub)
        osd_scrub_maps_are(member->options.scrub, maps_index, orders.index);
    if (view.state == OSD_NODE_SERVING)
        note_answer(member);
    osd_collector_confirmed(member->options.collector, member->done, heartbeat.collected_count);
    if (member->options.repair)
        osd_repair_confirmed(member->options.repair, &member->news);
    take_orders(member, &orders);
    *ret_more = heartbeat.collected_count == OSD_COLLECT_REPORT_MAX;
    return BEAT;
}

/* Sleeps until the next heartbeat is due or wanted, but never beats faster than the least interval:
 * a sender with an invented epoch could ask for one with every message. */
static bool pause_between(struct osd_member *member, bool more, bool *ret_again)
{
    int wake = osd_node_member_fd(member->options.node);
    if (!osd_link_sleep(member->link, -1, more ? 0 : OSD_HEARTBEAT_MS_MIN))
        return false;
    uint32_t rest = member->heartbeat_ms - OSD_HEARTBEAT_MS_MIN;
    if (!more && rest > 0 && !osd_link_sleep(member->link, wake, rest))
        return false;
    osd_node_member_woken(member->options.node, ret_again);
    return true;
}

/* Heartbeats until the coordinator wants an introduction, is gone, or we stop. */
static void beat_on(struct osd_member *member)
{
    enum outcome outcome = BEAT;
    bool more = false, again = false;
    member->backoff_ms = OSD_BACKOFF_MS_MIN;
    while (outcome == BEAT && !again) {
        outcome = beat(member, &more);
        if (outcome == BEAT && !pause_between(member, more, &again))
            return;
    }
}

static bool retry_sleep(struct osd_member *member, uint32_t timeout_ms)
{
    bool again;
    if (!osd_link_sleep(member->link, osd_node_member_fd(member->options.node), timeout_ms))
        return false;
    osd_node_member_woken(member->options.node, &again);
    return true;
}

static bool backoff(struct osd_member *member)
{
    if (!osd_link_sleep(member->link, -1, member->backoff_ms))
        return false;
    member->backoff_ms *= 2;
    if (member->backoff_ms > OSD_BACKOFF_MS_MAX)
        member->backoff_ms = OSD_BACKOFF_MS_MAX;
    return true;
}

static void *run(void *context)
{
    struct osd_member *member = context;
    bool go_on = true;
    while (go_on) {
        struct osd_node_view view;
        osd_node_view(member->options.node, &view);
        enum outcome outcome = view.broken ? WAIT_REFUSED : introduce(member);
        if (outcome == BEAT)
            beat_on(member);
        if (outcome == WAIT_REFUSED)
            go_on = retry_sleep(member, REFUSED_RETRY_MS);
        else if (outcome != BEAT)
            go_on = backoff(member);
        else
            go_on = osd_link_sleep(member->link, -1, 0);
    }
    return NULL;
}

enum lilio_err osd_member_start(const struct osd_member_options *options,
                                struct osd_member **ret_member)
{
    struct osd_member *member = calloc(1, sizeof *member);
    if (!member)
        return LILIO_E_NOMEM;
    member->options = *options;
    member->heartbeat_ms = OSD_HEARTBEAT_MS_DEFAULT;
    member->backoff_ms = OSD_BACKOFF_MS_MIN;
    struct osd_link_options link = {
        .context = options->context,
        .endpoints = options->coordinators,
        .endpoint_count = options->coordinator_count,
        .stop_fds = {osd_node_stop_fd(options->node), -1},
    };
    enum lilio_err err = osd_link_new(&link, &member->link);
    if (!err)
        err = proto_arena_new(&member->arena);
    if (!err && pthread_create(&member->thread, NULL, run, member) != 0)
        err = LILIO_E_NOMEM;
    if (err) {
        proto_arena_free(&member->arena);
        osd_link_free(&member->link);
        free(member);
        return err;
    }
    *ret_member = member;
    return LILIO_OK;
}

void osd_member_stop(struct osd_member **member)
{
    if (!*member)
        return;
    pthread_join((*member)->thread, NULL);
    proto_arena_free(&(*member)->arena);
    osd_link_free(&(*member)->link);
    free(*member);
    *member = NULL;
}
