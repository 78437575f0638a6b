/* Start, loop and end of an OSD.
 *
 * Order of start: self-test of the codec, lilio.yaml, log and pid file, directory (lock,
 * superblock, store), sockets, rebuild, repair, heartbeat. The end is the reverse; the worker
 * threads go first, because they talk to the owner thread and over its context, and the reply
 * buffers last, because ZeroMQ gives them back when the context ends.
 */
#include "osd/daemon.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/daemon.h"
#include "base/pool.h"
#include "codec/codec.h"
#include "osd/inventory.h"
#include "osd/limits.h"
#include "osd/member.h"
#include "osd/orphans.h"
#include "osd/rebuild_run.h"
#include "osd/repair.h"
#include "osd/scrub.h"
#include "osd/service.h"
#include "proto/cluster_file.h"

#include "base/banned.h"

enum {
    ROUND_MS = 1000,
    /* Messages that found no room in the pool go to malloc: given back to the system when freed. */
    MMAP_THRESHOLD_BYTES = 256 * 1024,
    IO_THREADS = 1,
};

struct parts {
    const struct osd_daemon_options *options;
    struct proto_cluster_file file;
    bool has_file, has_daemon;
    struct base_daemon daemon;
    char name[32], own_endpoint[64];
    const char **coordinators;
    struct osd_node *node;
    struct osd_home *home;
    struct osd_collector *collector;
    struct osd_buffers *buffers;
    struct proto_context *context;
    struct proto_server *server, *own_server;
    struct osd_rebuild *rebuild;
    struct osd_orphans *orphans;
    struct osd_scrub *scrub;
    struct osd_service *service;
    struct osd_repair *repair;
    struct osd_inventory *inventory;
    struct osd_member *member;
};

static enum lilio_err no_memory(enum lilio_err err, struct lilio_errinfo *info)
{
    return err ? lilio_fail(info, err, "%s", lilio_err_text(err)) : LILIO_OK;
}

static enum lilio_err config_read(struct parts *parts, const struct proto_cluster_node **ret_self,
                                  struct lilio_errinfo *info)
{
    enum lilio_err err = proto_cluster_file_load(parts->options->config, &parts->file, info);
    if (err)
        return err;
    parts->has_file = true;
    const struct proto_cluster_node *self = proto_cluster_osd(&parts->file, parts->options->id);
    if (!self)
        return lilio_fail(info, LILIO_E_CONFIG, "%s names no osd %u", parts->options->config,
                          parts->options->id);
    if (!self->dir)
        return lilio_fail(info, LILIO_E_CONFIG, "%s names no directory for osd %u",
                          parts->options->config, parts->options->id);
    if (parts->file.coordinator_count == 0)
        return lilio_fail(info, LILIO_E_CONFIG, "%s names no coordinator", parts->options->config);
    parts->coordinators = calloc(parts->file.coordinator_count, sizeof *parts->coordinators);
    if (!parts->coordinators)
        return no_memory(LILIO_E_NOMEM, info);
    for (size_t i = 0; i < parts->file.coordinator_count; i++)
        parts->coordinators[i] = parts->file.coordinators[i].endpoint;
    *ret_self = self;
    return LILIO_OK;
}

static enum lilio_err log_start(struct parts *parts, struct lilio_errinfo *info)
{
    (void)snprintf(parts->name, sizeof parts->name, "osd.%u", parts->options->id);
    struct base_daemon_options options = {
        .node = parts->name,
        .run_dir = parts->file.run_dir,
        .log_dir = parts->file.log_dir,
    };
    enum lilio_err err = base_daemon_init(&options, &parts->daemon, info);
    parts->has_daemon = !err;
    return err;
}

static enum lilio_err home_start(struct parts *parts, const struct proto_cluster_node *self,
                                 struct lilio_errinfo *info)
{
    enum lilio_err err =
        no_memory(osd_node_new(parts->options->id, parts->file.cluster_id, base_clock_system(),
                               parts->daemon.log, &parts->node),
                  info);
    if (err)
        return err;
    struct osd_home_options options = {
        .node = parts->node,
        .path = self->dir,
        .random = base_random_system(),
    };
    return osd_home_open(&options, &parts->home, info);
}

/* One server for everybody, one inside the process for the rebuild worker. */
static enum lilio_err servers_start(struct parts *parts, const struct proto_cluster_node *self,
                                    struct lilio_errinfo *info)
{
    (void)snprintf(parts->own_endpoint, sizeof parts->own_endpoint, "inproc://%s", parts->name);
    struct proto_server_options outside = {
        .endpoint = self->endpoint,
        .insecure = parts->file.insecure,
        .peer_messages = OSD_PEER_MESSAGES,
    };
    struct proto_server_options inside = {
        .endpoint = parts->own_endpoint,
        .peer_messages = OSD_PEER_MESSAGES,
    };
    enum lilio_err err = no_memory(proto_context_new(IO_THREADS, &parts->context), info);
    if (!err)
        err = proto_server_new(parts->context, &outside, &parts->server, info);
    if (!err)
        err = proto_server_new(parts->context, &inside, &parts->own_server, info);
    return err;
}

static enum lilio_err service_start(struct parts *parts, struct lilio_errinfo *info)
{
    struct osd_rebuild_options rebuild = {
        .node = parts->node,
        .home = parts->home,
        .context = parts->context,
        .coordinators = parts->coordinators,
        .coordinator_count = parts->file.coordinator_count,
        .own_endpoint = parts->own_endpoint,
    };
    enum lilio_err err = osd_collector_new(&parts->collector);
    if (!err)
        err = osd_buffers_new(&parts->buffers);
    if (!err)
        err = osd_rebuild_new(&rebuild, &parts->rebuild);
    struct osd_orphans_options orphans = {
        .node = parts->node,
        .home = parts->home,
        .collector = parts->collector,
        .context = parts->context,
        .coordinators = parts->coordinators,
        .coordinator_count = parts->file.coordinator_count,
        .retention_ms = parts->file.orphan_retention_ms,
    };
    if (!err)
        err = osd_orphans_start(&orphans, &parts->orphans);
    struct osd_scrub_options scrub = {
        .node = parts->node,
        .home = parts->home,
        .rebuild = parts->rebuild,
        .context = parts->context,
        .coordinators = parts->coordinators,
        .coordinator_count = parts->file.coordinator_count,
        .period_ms = {parts->file.scrub_light_ms, parts->file.scrub_deep_ms},
    };
    if (!err)
        err = osd_scrub_start(&scrub, &parts->scrub);
    struct osd_service_options service = {
        .node = parts->node,
        .home = parts->home,
        .collector = parts->collector,
        .buffers = parts->buffers,
        .rebuild = parts->rebuild,
        .orphans = parts->orphans,
        .scrub = parts->scrub,
        .servers = {parts->server, parts->own_server},
        .server_count = 2,
        .signal_fd = parts->daemon.signal_fd,
    };
    if (!err)
        err = osd_service_new(&service, &parts->service);
    return no_memory(err, info);
}

static enum lilio_err member_start(struct parts *parts, struct lilio_errinfo *info)
{
    struct osd_repair_options repair = {
        .node = parts->node,
        .rebuild = parts->rebuild,
        .context = parts->context,
        .coordinators = parts->coordinators,
        .coordinator_count = parts->file.coordinator_count,
        .own_endpoint = parts->own_endpoint,
    };
    struct osd_inventory_options inventory = {
        .node = parts->node,
        .home = parts->home,
        .context = parts->context,
        .coordinators = parts->coordinators,
        .coordinator_count = parts->file.coordinator_count,
    };
    enum lilio_err err = osd_repair_start(&repair, &parts->repair);
    if (!err)
        err = osd_inventory_start(&inventory, &parts->inventory);
    if (err)
        return no_memory(err, info);
    struct osd_member_options options = {
        .node = parts->node,
        .home = parts->home,
        .collector = parts->collector,
        .repair = parts->repair,
        .orphans = parts->orphans,
        .inventory = parts->inventory,
        .scrub = parts->scrub,
        .context = parts->context,
        .coordinators = parts->coordinators,
        .coordinator_count = parts->file.coordinator_count,
        .address = proto_server_endpoint(parts->server),
        .init = parts->options->init,
    };
    return no_memory(osd_member_start(&options, &parts->member), info);
}

static enum lilio_err start(struct parts *parts, struct lilio_errinfo *info)
{
    const struct proto_cluster_node *self = NULL;
    enum lilio_err err = codec_self_test(info);
    if (err)
        return lilio_prefix(info, err, "self-test of the codec failed, this machine must not code");
    err = config_read(parts, &self, info);
    if (!err)
        err = log_start(parts, info);
    if (!err)
        err = home_start(parts, self, info);
    if (!err)
        err = servers_start(parts, self, info);
    if (!err)
        err = service_start(parts, info);
    if (!err)
        err = member_start(parts, info);
    return err;
}

static void tell_start(const struct parts *parts)
{
    struct osd_node_view view;
    struct osd_store_stats stats;
    osd_node_view(parts->node, &view);
    osd_home_stats(parts->home, &stats);
    base_log_write(parts->daemon.log, BASE_LOG_INFO, "osd", "started",
                   "version=%s endpoint=%s state=%s fragments=%" PRIu64 " incomplete=%d "
                   "torn_tail_bytes=%" PRIu64 " corrupt_records=%" PRIu64 " index_rebuilt=%d",
                   LILIO_VERSION, proto_server_endpoint(parts->server),
                   osd_node_state_name(view.state), view.space.fragment_count, stats.incomplete,
                   stats.torn_tail_bytes, stats.corrupt_record_count, stats.index_rebuilt);
}

static void stop(struct parts *parts)
{
    if (parts->node)
        osd_node_stop(parts->node);
    osd_member_stop(&parts->member);
    osd_inventory_stop(&parts->inventory);
    osd_repair_stop(&parts->repair);
    osd_scrub_stop(&parts->scrub);
    osd_orphans_stop(&parts->orphans);
    osd_rebuild_free(&parts->rebuild);
    osd_service_free(&parts->service);
    proto_server_free(&parts->own_server);
    proto_server_free(&parts->server);
    proto_context_free(&parts->context);
    osd_buffers_free(&parts->buffers);
    osd_collector_free(&parts->collector);
    osd_home_free(&parts->home);
    osd_node_free(&parts->node);
    free(parts->coordinators);
    if (parts->has_daemon)
        base_daemon_release(&parts->daemon);
    if (parts->has_file)
        proto_cluster_file_release(&parts->file);
}

enum lilio_err osd_daemon_run(const struct osd_daemon_options *options, struct lilio_errinfo *info)
{
    struct parts parts = {.options = options};
    (void)mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES); /* advice */
    base_frag_malloc_reserve(CODEC_FRAGMENT_MAX, OSD_RECEIVE_BUFFERS);
    enum lilio_err err = start(&parts, info);
    if (!err) {
        tell_start(&parts);
        while (!base_daemon_signal(&parts.daemon))
            osd_service_round(parts.service, ROUND_MS);
        base_log_write(parts.daemon.log, BASE_LOG_INFO, "osd", "stopped", "reason=signal");
    } else if (parts.has_daemon) {
        base_log_write(parts.daemon.log, BASE_LOG_ERROR, "osd", "not_started", "err=%s reason=%s",
                       lilio_err_name(err), info->text);
    }
    stop(&parts);
    return err;
}
