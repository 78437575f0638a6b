#include "coordinator/peers.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mark.h"
#include "coordinator/replays.h"

#include "base/banned.h"

enum {
    PEERS_MAX = 2 * RAFT_MEMBERS_MAX, /* members, and some that may become members */
    RECEIVE_QUEUE = 64,
    SILENCE_MS = 10000, /* between two log lines about what was refused */
    DRAIN_MS = 1000,
};

/* Bytes handed to ZeroMQ and not sent. They may outlive the peer. */
struct outbox {
    atomic_size_t bytes;
    atomic_uint references;
};
struct parcel {
    struct outbox *outbox;
    size_t size;
    uint8_t bytes[];
};
struct peer {
    uint64_t member;
    bool listed; /* in the configuration */
    char *endpoint;
    struct proto_channel *channel; /* NULL: its endpoint is unusable */
    bool down;                     /* it did not take the last message */
    struct outbox *outbox;
};

struct coord_peers {
    struct coord_peers_options options;
    struct proto_server *server;
    struct peer peers[PEERS_MAX];
    size_t count;
    uint64_t members[RAFT_MEMBERS_MAX]; /* of the configuration, this one too */
    size_t member_count;
    uint64_t refused, said_ms, drained_ms;
    uint64_t run, sent; /* random, of this process; messages that were numbered */
    struct coord_replays replays;
    struct proto_arena *arena;     /* of the message received last */
    struct proto_request *request; /* likewise */
    struct raft_entry entries[RAFT_SEND_ENTRIES_MAX];
    struct proto_raft_entry heads[RAFT_SEND_ENTRIES_MAX]; /* of the one being sent */
};

/* ---- life ---- */

enum lilio_err coord_peers_new(const struct coord_peers_options *options,
                               struct coord_peers **ret_peers, struct lilio_errinfo *info)
{
    struct coord_peers *peers = calloc(1, sizeof *peers);
    if (!peers)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    peers->options = *options;
    peers->run = base_random_u64(base_random_system()) | 1;
    enum lilio_err err = proto_arena_new(&peers->arena);
    if (err)
        (void)lilio_fail(info, err, "out of memory"); /* err goes on below */
    struct proto_server_options server = {
        .endpoint = options->endpoint,
        .insecure = options->insecure,
        .peer_messages = RECEIVE_QUEUE,
    };
    if (!err && options->endpoint)
        err = proto_server_new(options->context, &server, &peers->server, info);
    if (err)
        coord_peers_free(&peers);
    else
        *ret_peers = peers;
    return err;
}

static void outbox_let_go(struct outbox *outbox)
{
    if (outbox && atomic_fetch_sub(&outbox->references, 1) == 1)
        free(outbox);
}

static void peer_release(struct peer *peer)
{
    proto_channel_free(&peer->channel);
    outbox_let_go(peer->outbox);
    free(peer->endpoint);
    *peer = (struct peer){0};
}

void coord_peers_free(struct coord_peers **peers)
{
    struct coord_peers *mine = *peers;
    *peers = NULL;
    if (!mine)
        return;
    proto_request_drop(&mine->request);
    for (size_t i = 0; i < mine->count; i++)
        peer_release(&mine->peers[i]);
    proto_server_free(&mine->server);
    proto_arena_free(&mine->arena);
    free(mine);
}

struct proto_server *coord_peers_server(struct coord_peers *peers)
{
    return peers->server;
}

uint64_t coord_peers_refused(const struct coord_peers *peers)
{
    struct proto_server_counters counters = {0};
    if (peers->server)
        proto_server_counters_get(peers->server, &counters);
    return peers->refused + counters.refused;
}

/* ---- who is there ---- */

static struct peer *peer_find(const struct coord_peers *peers, uint64_t member)
{
    for (size_t i = 0; i < peers->count; i++)
        if (peers->peers[i].member == member)
            return (struct peer *)&peers->peers[i];
    return NULL;
}

static void peer_remove(struct coord_peers *peers, size_t i)
{
    peer_release(&peers->peers[i]);
    peers->peers[i] = peers->peers[--peers->count];
    peers->peers[peers->count] = (struct peer){0};
}

static struct peer *peer_add(struct coord_peers *peers, uint64_t member, const char *endpoint,
                             size_t size, bool listed)
{
    for (size_t i = 0; i < peers->count && peers->count == PEERS_MAX; i++)
        if (!peers->peers[i].listed)
            peer_remove(peers, i);
    if (peers->count == PEERS_MAX)
        return NULL; /* cannot be: members and one more fit */
    struct lilio_errinfo info = {0};
    struct peer peer = {.member = member, .listed = listed, .endpoint = strndup(endpoint, size)};
    peer.outbox = calloc(1, sizeof *peer.outbox);
    if (peer.outbox)
        atomic_init(&peer.outbox->references, 1);
    enum lilio_err err =
        peer.endpoint && peer.outbox
            ? proto_channel_new(peers->options.context, peer.endpoint, &peer.channel, &info)
            : LILIO_E_NOMEM;
    if (err)
        base_log_write(peers->options.log, BASE_LOG_WARN, "peers", "not_connected",
                       "member=%llx err=%s", (unsigned long long)member, lilio_err_name(err));
    if (!peer.endpoint || !peer.outbox) {
        peer_release(&peer);
        return NULL;
    }
    if (peer.channel)
        proto_channel_one_way(peer.channel);
    peers->peers[peers->count] = peer;
    return &peers->peers[peers->count++];
}

static const struct proto_raft_member *listed_in(const struct proto_raft_config *config,
                                                 uint64_t member)
{
    for (size_t i = 0; i < config->members_count; i++)
        if (config->members[i].id == member)
            return &config->members[i];
    return NULL;
}

void coord_peers_learn(struct coord_peers *peers, const struct proto_raft_config *config)
{
    for (size_t i = peers->count; i-- > 0;) {
        struct peer *peer = &peers->peers[i];
        const struct proto_raft_member *member = listed_in(config, peer->member);
        if (!member || !base_slice_equal(member->peer, base_slice_str(peer->endpoint)))
            peer_remove(peers, i);
        else
            peer->listed = true;
    }
    peers->member_count = 0;
    for (size_t i = 0; i < config->members_count && i < RAFT_MEMBERS_MAX; i++) {
        const struct proto_raft_member *member = &config->members[i];
        peers->members[peers->member_count++] = member->id;
        if (member->id != peers->options.member && !peer_find(peers, member->id))
            (void)peer_add(peers, member->id, (const char *)member->peer.data, member->peer.size,
                           true /* listed */); /* without one, what is sent there is lost */
    }
}

const char *coord_peers_endpoint(const struct coord_peers *peers, uint64_t member)
{
    const struct peer *peer = peer_find(peers, member);
    if (peer)
        return peer->endpoint;
    return peers->options.find ? peers->options.find(peers->options.find_context, (uint32_t)member)
                               : NULL;
}

/* A member, or one that may become one: a coordinator of lilio.yaml, and no earlier incarnation of
 * it than we know. Whoever waits to be told who the members are listens to all of those. */
static bool may_speak(const struct coord_peers *peers, uint64_t member)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < peers->member_count; i++) {
        if (peers->members[i] == member)
            return true;
        if ((uint32_t)peers->members[i] == (uint32_t)member && peers->members[i] > newest)
            newest = peers->members[i];
    }
    return member > newest && peers->options.find &&
           peers->options.find(peers->options.find_context, (uint32_t)member);
}

/* ---- sending ---- */

static void parcel_release(void *data, void *hint)
{
    struct parcel *parcel = hint;
    (void)data; /* its bytes */
    (void)atomic_fetch_sub(&parcel->outbox->bytes, parcel->size);
    outbox_let_go(parcel->outbox);
    free(parcel);
}

/* The entries' bytes, one behind the other. */
static struct parcel *parcel_make(struct peer *peer, const struct raft_message *message)
{
    size_t size = 0;
    for (size_t i = 0; i < message->count; i++)
        size += message->entries[i].data.size;
    if (size > PROTO_PAYLOAD_BYTES_MAX ||
        atomic_load(&peer->outbox->bytes) + size > COORD_PEERS_QUEUED_MAX)
        return NULL;
    struct parcel *parcel = malloc(sizeof *parcel + size);
    if (!parcel)
        return NULL;
    uint8_t *at = parcel->bytes;
    for (size_t i = 0; i < message->count; i++) {
        struct base_slice data = message->entries[i].data;
        if (data.size > 0)
            memcpy(at, data.data, data.size);
        at += data.size;
    }
    parcel->size = size;
    parcel->outbox = peer->outbox;
    (void)atomic_fetch_add(&peer->outbox->references, 1);
    (void)atomic_fetch_add(&peer->outbox->bytes, size);
    return parcel;
}

static struct peer *receiver(struct coord_peers *peers, uint64_t member)
{
    struct peer *peer = peer_find(peers, member);
    const char *endpoint = peer ? NULL : coord_peers_endpoint(peers, member);
    if (endpoint)
        peer = peer_add(peers, member, endpoint, strlen(endpoint), false /* not listed */);
    return peer;
}

void coord_peers_send(struct coord_peers *peers, const struct raft_message *message)
{
    struct peer *peer = receiver(peers, message->to);
    if (!peer || !peer->channel || message->count > RAFT_SEND_ENTRIES_MAX ||
        (peer->down && !proto_channel_ready(peer->channel)))
        return;
    struct parcel *parcel = NULL;
    if (message->count > 0) {
        parcel = parcel_make(peer, message);
        if (!parcel)
            return;
    }
    for (size_t i = 0; i < message->count; i++)
        peers->heads[i] = (struct proto_raft_entry){
            .term = message->entries[i].term,
            .type = message->entries[i].type,
            .size = (uint32_t)message->entries[i].data.size,
        };
    struct proto_raft wire = {
        .cluster_id = peers->options.cluster_id,
        .kind = message->type,
        .from = message->from,
        .to = message->to,
        .term = message->term,
        .index = message->index,
        .log_term = message->log_term,
        .commit = message->commit,
        .sequence = message->sequence,
        .ok = message->ok,
        .transfer = message->transfer,
        .entries = peers->heads,
        .entries_count = message->count,
        .uncounted = message->uncounted,
        .starts = (struct proto_raft_start *)(uintptr_t)message->starts,
        .starts_count = message->start_count,
        .config = message->config,
        .voters = message->voters,
        .run = peers->run,
        .number = ++peers->sent,
    };
    struct proto_payload payload = {0};
    if (parcel)
        payload = (struct proto_payload){
            .data = parcel->bytes, .size = parcel->size, .release = parcel_release, .hint = parcel};
    struct proto_header header = {0};
    peer->down = proto_channel_send(peer->channel, &header, &proto_type_raft, &wire,
                                    parcel ? &payload : NULL) != LILIO_OK;
    if (peer->down)
        LILIO_MARK("peers/not_sent"); /* raft sends again what gets lost */
}

/* ---- receiving ---- */

void coord_peers_refuse(struct coord_peers *peers, const char *why)
{
    LILIO_MARK("peers/refused");
    peers->refused++;
    uint64_t now = base_now_ms(peers->options.clock);
    if (peers->said_ms != 0 && now - peers->said_ms < SILENCE_MS)
        return;
    peers->said_ms = now;
    char text[256];
    base_log_write(peers->options.log, BASE_LOG_WARN, "peers", "refused", "why=%s total=%llu",
                   base_log_quote(why, strlen(why), text, sizeof text),
                   (unsigned long long)peers->refused);
}

enum lilio_err coord_peers_unpack(const struct proto_raft *wire, struct base_slice payload,
                                  struct raft_entry *entries, struct raft_message *ret,
                                  struct lilio_errinfo *info)
{
    if (wire->kind < RAFT_PRE_VOTE || wire->kind > RAFT_HELLO_REPLY)
        return lilio_fail(info, LILIO_E_MALFORMED, "a message of kind %u", wire->kind);
    if (wire->entries_count > RAFT_SEND_ENTRIES_MAX ||
        (wire->entries_count > 0 && wire->kind != RAFT_APPEND) ||
        wire->starts_count > RAFT_KNOWN_MAX ||
        (wire->starts_count > 0 && wire->kind != RAFT_HELLO_REPLY) ||
        wire->index > UINT64_MAX - RAFT_SEND_ENTRIES_MAX)
        return lilio_fail(info, LILIO_E_MALFORMED, "entries or starts where none belong");
    size_t at = 0;
    for (size_t i = 0; i < wire->entries_count; i++) {
        const struct proto_raft_entry *head = &wire->entries[i];
        if (head->size > payload.size - at || head->type < RAFT_ENTRY_NOOP ||
            head->type > RAFT_ENTRY_CONFIG)
            return lilio_fail(info, LILIO_E_MALFORMED, "entry %zu of type %u and %u bytes", i,
                              head->type, head->size);
        entries[i] = (struct raft_entry){
            .index = wire->index + 1 + i,
            .term = head->term,
            .type = head->type,
            .data = base_slice(payload.data + at, head->size),
        };
        at += head->size;
    }
    if (at != payload.size)
        return lilio_fail(info, LILIO_E_MALFORMED, "%zu bytes behind the last entry",
                          payload.size - at);
    *ret = (struct raft_message){
        .type = wire->kind,
        .from = wire->from,
        .to = wire->to,
        .term = wire->term,
        .index = wire->index,
        .log_term = wire->log_term,
        .commit = wire->commit,
        .sequence = wire->sequence,
        .ok = wire->ok,
        .transfer = wire->transfer,
        .entries = entries,
        .count = wire->entries_count,
        .uncounted = wire->uncounted,
        .starts = wire->starts,
        .start_count = wire->starts_count,
        .config = wire->config,
        .voters = wire->voters,
    };
    return LILIO_OK;
}

/* Errors: as coord_peers_unpack, FOREIGN, INVALID. */
static enum lilio_err check(struct coord_peers *peers, struct raft_message *ret,
                            struct lilio_errinfo *info)
{
    struct proto_raft wire;
    proto_arena_clear(peers->arena);
    enum lilio_err err = proto_raft_unpack(peers->request->body, peers->arena, &wire, info);
    if (err)
        return err;
    if (!base_uuid_equal(wire.cluster_id, peers->options.cluster_id))
        return lilio_fail(info, LILIO_E_FOREIGN, "another cluster's message");
    if (wire.to != peers->options.member)
        return lilio_fail(info, LILIO_E_INVALID, "a message to member %llx",
                          (unsigned long long)wire.to);
    if (wire.from == peers->options.member || !may_speak(peers, wire.from))
        return lilio_fail(info, LILIO_E_INVALID, "a message from %llx, which is no member",
                          (unsigned long long)wire.from);
    err = coord_peers_unpack(&wire, peers->request->payload, peers->entries, ret, info);
    if (!err && coord_replays_enter(&peers->replays, wire.from, wire.run, wire.number))
        return lilio_fail(info, LILIO_E_INVALID, "a message of %llx that came before",
                          (unsigned long long)wire.from);
    return err;
}

enum coord_peers_got coord_peers_receive(struct coord_peers *peers, struct raft_message *ret,
                                         struct proto_request **ret_request)
{
    proto_request_drop(&peers->request);
    while (peers->server && (peers->request = proto_server_receive(peers->server))) {
        struct lilio_errinfo info = {0};
        if (peers->request->type != &proto_type_raft) {
            *ret_request = peers->request;
            peers->request = NULL;
            return COORD_PEERS_REQUEST;
        }
        enum lilio_err err = check(peers, ret, &info);
        if (!err)
            return COORD_PEERS_MESSAGE;
        coord_peers_refuse(peers, info.text);
        proto_request_drop(&peers->request);
    }
    return COORD_PEERS_NOTHING;
}

void coord_peers_tick(struct coord_peers *peers)
{
    uint64_t now = base_now_ms(peers->options.clock);
    if (now - peers->drained_ms < DRAIN_MS)
        return;
    peers->drained_ms = now;
    for (size_t i = 0; i < peers->count; i++) {
        struct proto_reply *reply;
        while (peers->peers[i].channel && (reply = proto_channel_receive(peers->peers[i].channel)))
            proto_reply_free(&reply);
    }
}
