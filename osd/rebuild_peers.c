#include "osd/rebuild_peers.h"

#include <stdio.h>
#include <stdlib.h>

#include "osd/limits.h"
#include "osd/rebuild.h"

#include "base/banned.h"

enum {
    ENDPOINT_BYTES_MAX = 256,
    CONNECT_MS = 1500, /* a connection that takes longer is none */
    PROBE_MS = 1000,   /* how often a silent OSD is asked something */
    /* One that is not up is waited for as long as a stripe tries; then it is away. */
    AWAY_MS = CONNECT_MS + OSD_REBUILD_ROUNDS * OSD_REBUILD_RETRY_MS,
};

struct peer {
    uint32_t osd;
    char endpoint[ENDPOINT_BYTES_MAX];
    struct proto_channel *channel;
    uint64_t ready_ms; /* when it was last connected, or when connecting began */
    uint64_t probe_ms; /* when it was last asked while silent */
    size_t open;       /* questions without an answer */
    bool silent;
};

struct osd_peers {
    struct osd_node *node;
    struct proto_context *context;
    struct proto_map_ref *map;
    struct peer *list;
    size_t count, capacity;
    size_t turn; /* whose answers are looked at first */
};

enum lilio_err osd_peers_new(struct osd_node *node, struct proto_context *context,
                             struct osd_peers **ret_peers)
{
    struct osd_peers *peers = calloc(1, sizeof *peers);
    if (!peers)
        return LILIO_E_NOMEM;
    peers->node = node;
    peers->context = context;
    peers->map = osd_node_map_take(node);
    *ret_peers = peers;
    return LILIO_OK;
}

void osd_peers_free(struct osd_peers **peers)
{
    if (!*peers)
        return;
    for (size_t i = 0; i < (*peers)->count; i++)
        proto_channel_free(&(*peers)->list[i].channel);
    proto_map_ref_drop(&(*peers)->map);
    free((*peers)->list);
    free(*peers);
    *peers = NULL;
}

static uint64_t now_ms(const struct osd_peers *peers)
{
    return base_now_ms(osd_node_clock(peers->node));
}

static struct peer *peer_find(struct osd_peers *peers, uint32_t osd)
{
    for (size_t i = 0; i < peers->count; i++)
        if (peers->list[i].osd == osd)
            return &peers->list[i];
    return NULL;
}

static struct peer *peer_add(struct osd_peers *peers, uint32_t osd)
{
    if (peers->count == peers->capacity) {
        size_t capacity = peers->capacity ? 2 * peers->capacity : 16;
        struct peer *list = realloc(peers->list, capacity * sizeof *list);
        if (!list)
            return NULL;
        peers->list = list;
        peers->capacity = capacity;
    }
    struct peer *peer = &peers->list[peers->count++];
    *peer = (struct peer){.osd = osd};
    return peer;
}

/* Empty if the map knows none. */
static struct base_slice address_of(const struct osd_peers *peers, uint32_t osd)
{
    const struct proto_osd *row =
        peers->map ? proto_map_osd(proto_map_ref_get(peers->map), osd) : NULL;
    return row && row->address.size < ENDPOINT_BYTES_MAX ? row->address : (struct base_slice){0};
}

static enum lilio_err peer_connect(struct osd_peers *peers, struct peer *peer)
{
    struct base_slice address = address_of(peers, peer->osd);
    if (address.size == 0)
        return LILIO_E_UNAVAILABLE;
    (void)snprintf(peer->endpoint, sizeof peer->endpoint, "%.*s", (int)address.size,
                   (const char *)address.data);
    peer->ready_ms = now_ms(peers);
    enum lilio_err err = proto_channel_new(peers->context, peer->endpoint, &peer->channel, NULL);
    return err == LILIO_E_NOMEM ? err : err ? LILIO_E_UNAVAILABLE : LILIO_OK;
}

/* Whether a question may go to it now. A break with questions under way is osd_peers_broken's to
 * tell. */
static enum lilio_err peer_may_ask(struct osd_peers *peers, struct peer *peer)
{
    uint64_t now = now_ms(peers);
    if (peer->open == 0) {
        if (!proto_channel_ready(peer->channel))
            return now - peer->ready_ms < CONNECT_MS ? LILIO_E_BUSY : LILIO_E_UNAVAILABLE;
        peer->ready_ms = now;
    }
    if (!peer->silent)
        return LILIO_OK;
    if (now - peer->probe_ms < PROBE_MS)
        return LILIO_E_UNAVAILABLE;
    peer->probe_ms = now;
    return LILIO_OK;
}

/* The OSD came back somewhere else. */
static void peer_move(struct osd_peers *peers, struct peer *peer)
{
    struct base_slice address = address_of(peers, peer->osd);
    if (peer->open == 0 && !base_slice_equal(address, base_slice_str(peer->endpoint)))
        proto_channel_free(&peer->channel);
}

enum lilio_err osd_peers_ask(struct osd_peers *peers, uint32_t osd,
                             const struct proto_header *header, const struct proto_type *type,
                             const void *value)
{
    struct peer *peer = peer_find(peers, osd);
    if (!peer && !(peer = peer_add(peers, osd)))
        return LILIO_E_NOMEM;
    peer_move(peers, peer);
    enum lilio_err err = peer->channel ? LILIO_OK : peer_connect(peers, peer);
    if (!err)
        err = peer_may_ask(peers, peer);
    if (!err)
        err = proto_channel_send(peer->channel, header, type, value, NULL);
    if (!err)
        peer->open++;
    return err;
}

void osd_peers_silent(struct osd_peers *peers, uint32_t osd)
{
    struct peer *peer = peer_find(peers, osd);
    if (!peer)
        return;
    peer->silent = true; /* its answer may still come, so the question stays open */
    peer->probe_ms = now_ms(peers);
}

bool osd_peers_away(struct osd_peers *peers, uint32_t osd)
{
    const struct peer *peer = peer_find(peers, osd);
    if (!peer || !peers->map || osd_rebuild_is_up(proto_map_ref_get(peers->map), osd))
        return false;
    if (peer->silent || !peer->channel)
        return true;
    return peer->open == 0 && !proto_channel_ready(peer->channel) &&
           now_ms(peers) - peer->ready_ms >= AWAY_MS;
}

size_t osd_peers_items(struct osd_peers *peers, struct proto_wait_item *ret_items, size_t room)
{
    size_t count = 0;
    for (size_t i = 0; i < peers->count && count < room; i++)
        if (peers->list[i].open > 0)
            ret_items[count++] = (struct proto_wait_item){.channel = peers->list[i].channel};
    return count;
}

struct proto_reply *osd_peers_receive(struct osd_peers *peers, uint32_t *ret_osd)
{
    for (size_t i = 0; i < peers->count; i++) {
        struct peer *peer = &peers->list[(peers->turn + i) % peers->count];
        struct proto_reply *reply = peer->channel ? proto_channel_receive(peer->channel) : NULL;
        if (!reply)
            continue;
        peers->turn = (peers->turn + i) % peers->count;
        peer->silent = false;
        if (peer->open > 0)
            peer->open--;
        *ret_osd = peer->osd;
        return reply;
    }
    return NULL;
}

bool osd_peers_broken(struct osd_peers *peers, uint32_t *ret_osd)
{
    for (size_t i = 0; i < peers->count; i++) {
        struct peer *peer = &peers->list[i];
        if (peer->open == 0 || proto_channel_ready(peer->channel))
            continue;
        peer->open = 0;
        peer->ready_ms = now_ms(peers);
        *ret_osd = peer->osd;
        return true;
    }
    return false;
}

void osd_peers_refresh(struct osd_peers *peers)
{
    uint64_t epoch = peers->map ? proto_map_ref_get(peers->map)->epoch : 0;
    if (osd_node_epoch(peers->node) == epoch)
        return;
    proto_map_ref_drop(&peers->map);
    peers->map = osd_node_map_take(peers->node);
}
