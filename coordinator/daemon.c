/* The loop: wait, take the requests that are there, let the replica do what there is to do.
 *
 * Clients' requests are taken only while the service has room, and only then waited for; messages
 * of other coordinators are always taken. A disk error ends the loop with nothing answered for what
 * was under way: the next start finds out what is durable.
 */
#include "coordinator/daemon.h"

#include <stdlib.h>

#include "coordinator/replica.h"
#include "coordinator/reserve.h"

#include "base/banned.h"

enum {
    PEER_MESSAGES = 64,
    REQUESTS_PER_TURN = 1024,
    MAP_BYTES_MS = 5000,
    SPACE_MS = 50,
};

struct daemon {
    const struct coord_daemon_options *options;
    const struct proto_cluster_node *node;
    struct coord_home home;
    struct coord_reserve reserve;
    struct proto_context *context;
    struct proto_server *server;
    struct coord_peers *peers;
    struct coord_replica *replica;
    uint64_t map_bytes, map_bytes_ms, reserve_ms;
    bool asked; /* requests wait */
};

/* ---- the service's port ---- */

static void port_reply(void *context, void *token, const struct proto_type *type, const void *value,
                       uint64_t epoch)
{
    struct daemon *daemon = context;
    struct proto_request *request = token;
    proto_server_reply(daemon->server, &request, type, value, NULL /* no payload */, epoch);
}

static void port_reply_packed(void *context, void *token, uint16_t type, struct base_slice body,
                              uint64_t epoch)
{
    struct daemon *daemon = context;
    struct proto_request *request = token;
    proto_server_reply_packed(daemon->server, &request, type, body, epoch);
}

static uint64_t port_map_bytes(void *context)
{
    struct daemon *daemon = context;
    uint64_t now = base_now_ms(base_clock_system());
    if (daemon->map_bytes_ms == 0 || now - daemon->map_bytes_ms >= MAP_BYTES_MS) {
        daemon->map_bytes = coord_home_map_bytes(&daemon->home);
        daemon->map_bytes_ms = now;
    }
    return daemon->map_bytes;
}

static bool port_space(void *context, struct base_disk_space *ret)
{
    return coord_home_space(&((struct daemon *)context)->home, ret);
}

static size_t port_coordinators(void *context, struct proto_coordinator *ret, size_t room)
{
    return coord_replica_coordinators(((struct daemon *)context)->replica, ret, room);
}

static void port_quorum(void *context, const struct coord_request *request)
{
    coord_replica_quorum(((struct daemon *)context)->replica, request);
}

/* Where lilio.yaml says that a coordinator's peers reach it. */
static const char *find_peer(void *context, uint32_t number)
{
    const struct proto_cluster_node *node = proto_cluster_coordinator(context, number);
    return node ? node->peer : NULL;
}

/* ---- start ---- */

static enum lilio_err find_node(struct daemon *daemon, struct lilio_errinfo *info)
{
    const struct coord_daemon_options *options = daemon->options;
    daemon->node = proto_cluster_coordinator(options->file, options->id);
    if (!daemon->node)
        return lilio_fail(info, LILIO_E_CONFIG, "%s names no coordinator %u", options->file->path,
                          options->id);
    if (!daemon->node->dir)
        return lilio_fail(info, LILIO_E_CONFIG, "%s names no dir for coordinator %u",
                          options->file->path, options->id);
    return LILIO_OK;
}

/* Opening the maps writes, too. */
static void make_room(const char *path, struct base_log *log)
{
    struct base_disk *disk;
    struct coord_reserve reserve;
    if (base_disk_posix_new(path, &disk, NULL))
        return; /* opening the home says why */
    coord_reserve_init(&reserve, disk, log);
    base_disk_free(&disk);
}

static enum lilio_err start_home(struct daemon *daemon, struct lilio_errinfo *info)
{
    const struct coord_daemon_options *options = daemon->options;
    const struct coord_home_options home = {
        .path = daemon->node->dir,
        .file = options->file,
        .id = options->id,
        .init = options->init,
        .join = options->join,
        .log = options->log,
        .log_segment_bytes = options->log_segment_bytes,
        .log_cache_bytes = options->log_cache_bytes,
    };
    make_room(daemon->node->dir, options->log);
    enum lilio_err err = coord_home_open(&home, &daemon->home, info);
    if (!err)
        coord_reserve_init(&daemon->reserve, daemon->home.disk, options->log);
    return err;
}

static enum lilio_err start_sockets(struct daemon *daemon, struct lilio_errinfo *info)
{
    const struct coord_daemon_options *options = daemon->options;
    const struct proto_server_options server = {
        .endpoint = daemon->node->endpoint,
        .insecure = options->file->insecure,
        .peer_messages = PEER_MESSAGES,
    };
    const struct coord_peers_options peers = {
        .endpoint = daemon->node->peer,
        .insecure = options->file->insecure,
        .cluster_id = options->file->cluster_id,
        .member = daemon->home.member,
        .clock = base_clock_system(),
        .log = options->log,
        .find = find_peer,
        .find_context = (void *)options->file,
    };
    enum lilio_err err = proto_context_new(1, &daemon->context);
    if (err)
        return lilio_fail(info, err, "out of memory");
    struct coord_peers_options with_context = peers;
    with_context.context = daemon->context;
    err = coord_peers_new(&with_context, &daemon->peers, info);
    return err ? lilio_prefix(info, err, "the address for other coordinators")
               : proto_server_new(daemon->context, &server, &daemon->server, info);
}

static enum lilio_err start_replica(struct daemon *daemon, struct lilio_errinfo *info)
{
    const struct coord_daemon_options *options = daemon->options;
    const struct coord_replica_options replica = {
        .home = &daemon->home,
        .peers = daemon->peers,
        .context = daemon->context,
        .file = options->file,
        .service =
            {
                .port = {port_reply, port_reply_packed, port_map_bytes, port_space,
                         port_coordinators, port_quorum, daemon},
                .clock = base_clock_system(),
                .random = base_random_system(),
                .log = options->log,
                .id = options->id,
                .address = daemon->node->endpoint,
                .software = LILIO_VERSION,
                .gc_grace_ms = options->file->gc_grace_ms,
                .orphan_retention_ms = options->file->orphan_retention_ms,
                .suspect_ms =
                    options->suspect_ms ? options->suspect_ms : (uint32_t)options->file->suspect_ms,
                .down_ms = options->down_ms ? options->down_ms : (uint32_t)options->file->down_ms,
                .out_ms = options->out_ms ? options->out_ms : (uint32_t)options->file->out_ms,
            },
        .election_ms = options->election_ms,
        .heartbeat_ms = options->heartbeat_ms,
        .flush_bytes = options->flush_bytes,
        .flush_ms = options->flush_ms,
    };
    return coord_replica_new(&replica, &daemon->replica, info);
}

static enum lilio_err start(struct daemon *daemon, struct lilio_errinfo *info)
{
    enum lilio_err err = find_node(daemon, info);
    if (!err)
        err = start_home(daemon, info);
    if (!err)
        err = start_sockets(daemon, info);
    if (!err)
        err = start_replica(daemon, info);
    if (!err)
        base_log_write(daemon->options->log, BASE_LOG_INFO, "main", "serving",
                       "version=%s endpoint=%s member=%llx applied=%llu", LILIO_VERSION,
                       proto_server_endpoint(daemon->server),
                       (unsigned long long)daemon->home.member,
                       (unsigned long long)coord_replica_applied(daemon->replica));
    return err;
}

/* ---- the loop ---- */

static void take_requests(struct daemon *daemon)
{
    struct coord_service *service = coord_replica_service(daemon->replica);
    struct proto_request *request;
    for (int i = 0; i < REQUESTS_PER_TURN && !coord_service_full(service) &&
                    (request = proto_server_receive(daemon->server));
         i++) {
        struct coord_request ask = {
            .token = request,
            .header = request->header,
            .type = request->type,
            .body = request->body,
        };
        coord_service_receive(service, &ask);
    }
}

/* True when the daemon shall stop. */
static bool wait_for_work(struct daemon *daemon)
{
    const struct coord_daemon_options *options = daemon->options;
    struct proto_wait_item items[COORD_REPLICA_ITEMS + 2] = {{.fd = options->stop_fd}};
    size_t count = 1 + coord_replica_items(daemon->replica, items + 1);
    bool takes = !coord_service_full(coord_replica_service(daemon->replica));
    if (takes)
        items[count++] = (struct proto_wait_item){.server = daemon->server, .fd = -1};
    (void)proto_wait(items, count,
                     coord_replica_wait_ms(daemon->replica)); /* the items say what came */
    daemon->asked = takes && items[count - 1].ret_readable;
    return items[0].ret_readable && (!options->stop || options->stop(options->stop_context));
}

static void look_at_reserve(struct daemon *daemon)
{
    uint64_t now = base_now_ms(base_clock_system());
    if (now - daemon->reserve_ms < SPACE_MS)
        return;
    daemon->reserve_ms = now;
    coord_reserve_look(&daemon->reserve);
}

static enum lilio_err serve(struct daemon *daemon, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    while (!err && !wait_for_work(daemon)) {
        if (daemon->asked)
            take_requests(daemon);
        look_at_reserve(daemon);
        err = coord_replica_step(daemon->replica, info);
    }
    if (err && !daemon->home.vote.stale)
        err = lilio_prefix(info, err, "nothing of the last requests was answered");
    return err;
}

static void stop(struct daemon *daemon)
{
    coord_replica_free(&daemon->replica);
    coord_peers_free(&daemon->peers);
    proto_server_free(&daemon->server);
    proto_context_free(&daemon->context);
    coord_home_release(&daemon->home);
}

enum lilio_err coord_daemon_run(const struct coord_daemon_options *options, bool *ret_failed,
                                struct lilio_errinfo *info)
{
    *ret_failed = false;
    struct daemon *daemon = calloc(1, sizeof *daemon);
    if (!daemon)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    daemon->options = options;
    enum lilio_err err = start(daemon, info);
    if (!err) {
        err = serve(daemon, info);
        *ret_failed = err && !daemon->home.vote.stale;
    }
    if (*ret_failed)
        return err; /* its threads work on it until the process ends: it is not given back */
    stop(daemon);
    free(daemon);
    return err;
}
