#include "tests/unit/osd/osd_parts.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "proto/moves.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

/* ---- map and data ---- */

static void placement_fill(struct proto_cluster_map *map, struct proto_placement *placement,
                           uint8_t *slots)
{
    *placement = (struct proto_placement){
        .id = PARTS_PLACEMENT,
        .width = PARTS_OSDS,
        .rule = base_slice_str("osd:1"),
        .partition_bits = PARTS_BITS,
        .slots = base_slice(slots, (size_t)2 * PARTS_OSDS << PARTS_BITS),
    };
    assert_int_equal(proto_placement_compute(map->osds, map->osds_count, PARTS_OSDS,
                                             placement->rule, PARTS_BITS, slots, NULL),
                     LILIO_OK);
    map->placements = placement;
    map->placements_count = 1;
}

static char *folder;

static void folder_remove(void)
{
    temp_dir_free(folder);
}

static void folder_make(void)
{
    folder = temp_dir_new();
    LILIO_ASSERT(atexit(folder_remove) == 0);
}

void parts_endpoint(const char *name, uint32_t id, char ret[128])
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, folder_make);
    (void)snprintf(ret, 128, "ipc://%s/%s.%u", folder, name, id);
}

struct proto_map_ref *parts_map(uint64_t epoch)
{
    struct proto_osd osds[PARTS_OSDS];
    char addresses[PARTS_OSDS][128];
    uint8_t slots[2 * PARTS_OSDS << PARTS_BITS];
    struct proto_placement placement;
    for (uint32_t i = 0; i < PARTS_OSDS; i++) {
        parts_endpoint("osd", i, addresses[i]);
        osds[i] = (struct proto_osd){
            .id = i,
            .incarnation = 1,
            .state = PROTO_OSD_UP,
            .complete = true,
            .weight = 1000,
            .address = base_slice_str(addresses[i]),
        };
    }
    struct proto_cluster_map map = {
        .cluster_id = parts_cluster(),
        .epoch = epoch,
        .osds = osds,
        .osds_count = PARTS_OSDS,
    };
    struct proto_map_ref *ref;
    placement_fill(&map, &placement, slots);
    assert_int_equal(proto_map_ref_new(&map, &ref), LILIO_OK);
    return ref;
}

static void slot_move(struct proto_placement *placement, uint32_t partition, uint32_t slot,
                      const struct parts_move *move)
{
    uint32_t owner = proto_slot_osd(placement, partition, slot);
    if (owner > move->others_fill)
        return;
    proto_placement_move(placement, partition, slot, 5, move->epoch);
    if (owner == 0 && !move->fills)
        proto_placement_filled(placement, partition, slot);
    if (owner == 0 && move->back)
        proto_placement_move(placement, partition, slot, 0, move->epoch + 1);
}

struct proto_map_ref *parts_map_moved(const struct parts_move *move)
{
    struct proto_map_ref *plain = parts_map(move->epoch + move->back), *ret;
    struct proto_cluster_map map = *proto_map_ref_get(plain);
    struct proto_placement placement;
    struct proto_arena *arena;
    assert_int_equal(proto_arena_new(&arena), LILIO_OK);
    assert_true(proto_placement_unfold(&map.placements[0], arena, &placement));
    for (uint32_t partition = 0; partition < 1 << PARTS_BITS; partition++)
        for (uint32_t slot = 0; slot < PARTS_OSDS; slot++)
            slot_move(&placement, partition, slot, move);
    proto_placement_fold(&placement);
    map.placements = &placement;
    for (size_t i = 0; i < map.osds_count; i++)
        if (move->away && map.osds[i].id == move->away) {
            map.osds[i].state = move->away_state;
            map.osds[i].complete = move->away_complete;
        }
    assert_int_equal(proto_map_ref_new(&map, &ret), LILIO_OK);
    proto_map_ref_drop(&plain);
    proto_arena_free(&arena);
    return ret;
}

struct codec_profile parts_profile(void)
{
    return (struct codec_profile){PARTS_DATA, PARTS_PARITY, PARTS_FRAGMENT, CODEC_CAUCHY1};
}

void parts_stripe_make(struct parts_stripe *ret, struct base_oid oid, uint32_t stripe,
                       uint64_t length)
{
    struct codec_profile profile = parts_profile();
    struct codec_coder *coder;
    uint64_t seed = oid.low * 1000 + stripe;
    struct base_random random = base_random_seeded(&seed);
    uint32_t *lists[PARTS_OSDS];
    *ret = (struct parts_stripe){.oid = oid, .stripe = stripe, .length = length};
    ret->fragment_size = codec_fragment_size(&profile, length);
    for (uint32_t i = 0; i < PARTS_OSDS; i++) {
        ret->bytes[i] = aligned_alloc(4096, (ret->fragment_size + 4095) / 4096 * 4096);
        lists[i] = ret->block_checksums[i];
        if (i < PARTS_DATA)
            random.fill(random.context, ret->bytes[i], ret->fragment_size);
    }
    assert_int_equal(codec_coder_new(&profile, &coder, NULL), LILIO_OK);
    codec_encode_checksum(coder, ret->fragment_size, ret->bytes, ret->bytes + PARTS_DATA, lists);
    codec_coder_free(&coder);
    for (uint32_t i = 0; i < PARTS_OSDS; i++)
        ret->checksums[i] =
            codec_fragment_checksum(lists[i], codec_block_count(ret->fragment_size));
}

void parts_stripe_release(struct parts_stripe *stripe)
{
    for (uint32_t i = 0; i < PARTS_OSDS; i++)
        free(stripe->bytes[i]);
}

struct base_fragment_key parts_key(struct base_oid oid, uint32_t stripe, uint32_t index)
{
    return (struct base_fragment_key){
        .placement = PARTS_PLACEMENT,
        .partition = proto_partition(PARTS_BITS, oid, stripe),
        .oid = oid,
        .stripe = stripe,
        .index = index,
    };
}

struct proto_fragment_key parts_wire_key(struct base_oid oid, uint32_t stripe, uint32_t index)
{
    struct base_fragment_key key = parts_key(oid, stripe, index);
    return (struct proto_fragment_key){
        .placement = key.placement,
        .partition = key.partition,
        .oid = oid,
        .stripe = stripe,
        .index = (uint8_t)index,
    };
}

uint32_t parts_owner(struct base_oid oid, uint32_t stripe, uint32_t index)
{
    struct proto_map_ref *map = parts_map(1);
    const struct proto_placement *placement =
        proto_map_placement(proto_map_ref_get(map), PARTS_PLACEMENT);
    uint32_t owner = proto_slot_osd(placement, proto_partition(PARTS_BITS, oid, stripe), index);
    proto_map_ref_drop(&map);
    return owner;
}

struct proto_fragment_put parts_put(const struct parts_stripe *stripe, uint32_t index,
                                    uint8_t *checksums)
{
    uint32_t blocks = codec_block_count(stripe->fragment_size);
    for (uint32_t i = 0; i < blocks; i++)
        base_le32_put(checksums + 4 * (size_t)i, stripe->block_checksums[index][i]);
    return (struct proto_fragment_put){
        .key = parts_wire_key(stripe->oid, stripe->stripe, index),
        .bucket_id = 7,
        .object_key = base_slice_str("a key"),
        .profile = {.data_count = PARTS_DATA,
                    .parity_count = PARTS_PARITY,
                    .fragment_size = PARTS_FRAGMENT,
                    .generator = CODEC_CAUCHY1},
        .stripe_length = stripe->length,
        .payload_length = stripe->fragment_size,
        .block_checksums = base_slice(checksums, 4 * (size_t)blocks),
    };
}

void parts_store_put(struct osd_store *store, const struct parts_stripe *stripe, uint32_t index)
{
    struct osd_put put = {
        .fragment = {.key = parts_key(stripe->oid, stripe->stripe, index),
                     .bucket_id = 7,
                     .profile = parts_profile(),
                     .stripe_length = stripe->length,
                     .payload_length = stripe->fragment_size,
                     .block_count = codec_block_count(stripe->fragment_size)},
        .payload = stripe->bytes[index],
    };
    memcpy(put.fragment.block_checksums, stripe->block_checksums[index],
           sizeof put.fragment.block_checksums);
    store->ops->put(store, &put, 1);
    assert_int_equal(put.ret_err, LILIO_OK);
}

/* ---- an OSD ---- */

struct base_uuid parts_cluster(void)
{
    return (struct base_uuid){{0xc1, 2, 3}};
}

/* The disk outlives the homes on it: each frees only what stands between. */
static enum lilio_err open_disk(void *context, struct base_disk **ret_disk,
                                struct lilio_errinfo *info)
{
    struct parts *parts = context;
    (void)info;
    *ret_disk = parts->kill_disk = kill_disk_new(parts->disk);
    return LILIO_OK;
}

static enum lilio_err open_store(void *context, struct base_disk *disk, struct base_uuid uuid,
                                 struct osd_store **ret_store, struct lilio_errinfo *info)
{
    struct parts *parts = context;
    (void)disk, (void)info;
    parts->opened_uuid = uuid;
    *ret_store = parts->store = spy_store_new();
    return LILIO_OK;
}

struct osd_home_options parts_home_options(struct parts *parts)
{
    return (struct osd_home_options){
        .node = parts->node,
        .random = &parts->random,
        .open_disk = open_disk,
        .open_store = open_store,
        .context = parts,
    };
}

void parts_init(struct parts *parts, uint32_t id, struct proto_context *context)
{
    *parts = (struct parts){.id = id, .random_state = id + 1, .context = context};
    parts->random = base_random_seeded(&parts->random_state);
    if (!context) {
        parts->own_context = true;
        assert_int_equal(proto_context_new(1, &parts->context), LILIO_OK);
    }
    assert_int_equal(crash_disk_new(id + 1, &parts->disk), LILIO_OK);
    assert_int_equal(osd_node_new(id, parts_cluster(), base_clock_system(), NULL, &parts->node),
                     LILIO_OK);
    struct osd_home_options home = parts_home_options(parts);
    assert_int_equal(osd_home_open(&home, &parts->home, NULL), LILIO_OK);
    assert_int_equal(osd_collector_new(&parts->collector), LILIO_OK);
    assert_int_equal(osd_buffers_new(&parts->buffers), LILIO_OK);
}

static void server_start(struct parts *parts, const char *name, struct proto_server **ret)
{
    char endpoint[128];
    if (parts->own_context)
        (void)snprintf(endpoint, sizeof endpoint, "inproc://%s.%u", name, parts->id);
    else
        parts_endpoint(name, parts->id, endpoint);
    struct proto_server_options options = {.endpoint = endpoint};
    assert_int_equal(proto_server_new(parts->context, &options, ret, NULL), LILIO_OK);
}

void parts_serve(struct parts *parts)
{
    server_start(parts, "osd", &parts->server);
    server_start(parts, "own", &parts->own_server);
    parts_service(parts);
}

void parts_service(struct parts *parts)
{
    struct osd_service_options options = {
        .node = parts->node,
        .home = parts->home,
        .collector = parts->collector,
        .buffers = parts->buffers,
        .rebuild = parts->rebuild,
        .servers = {parts->server, parts->own_server},
        .server_count = 2,
        .signal_fd = -1,
    };
    assert_int_equal(osd_service_new(&options, &parts->service), LILIO_OK);
}

void parts_init_member(struct parts *parts, uint32_t id, struct proto_context *context)
{
    struct base_uuid uuid;
    parts_init(parts, id, context);
    assert_int_equal(osd_home_join(parts->home, &uuid, NULL), LILIO_OK);
    assert_int_equal(osd_home_welcome(parts->home, 1, NULL), LILIO_OK);
    osd_node_map_set(parts->node, parts_map(5));
    parts_serve(parts);
}

static void *rounds(void *context)
{
    struct parts *parts = context;
    struct proto_wait_item stop = {.fd = osd_node_stop_fd(parts->node)};
    while (proto_wait(&stop, 1, 0) == 0)
        osd_service_round(parts->service, 50);
    return NULL;
}

void parts_run(struct parts *parts)
{
    assert_int_equal(pthread_create(&parts->thread, NULL, rounds, parts), 0);
    parts->has_thread = true;
}

void parts_release(struct parts *parts)
{
    osd_node_stop(parts->node);
    osd_node_owner_wake(parts->node);
    if (parts->has_thread)
        pthread_join(parts->thread, NULL);
    osd_rebuild_free(&parts->rebuild);
    osd_service_free(&parts->service);
    proto_server_free(&parts->server);
    proto_server_free(&parts->own_server);
    if (parts->own_context) {
        proto_context_free(&parts->context);
        parts_release_context(parts);
    }
}

void parts_release_context(struct parts *parts)
{
    osd_buffers_free(&parts->buffers);
    osd_collector_free(&parts->collector);
    osd_home_free(&parts->home);
    osd_node_free(&parts->node);
    assert_int_equal(crash_disk_misuse_count(parts->disk), 0);
    base_disk_free(&parts->disk);
}

/* ---- asking ---- */

static void free_copy(void *data, void *hint)
{
    (void)hint;
    free(data);
}

void parts_send(struct proto_channel *channel, uint64_t sequence, uint64_t epoch,
                const struct proto_type *type, const void *value, struct base_slice bytes)
{
    struct proto_header header = {.sequence = sequence, .epoch = epoch};
    struct proto_payload payload = {.size = bytes.size, .release = free_copy};
    if (bytes.size > 0) {
        payload.data = aligned_alloc(4096, (bytes.size + 4095) / 4096 * 4096);
        memcpy(payload.data, bytes.data, bytes.size);
    }
    assert_int_equal(
        proto_channel_send(channel, &header, type, value, bytes.size ? &payload : NULL), LILIO_OK);
}

struct proto_reply *parts_await(struct parts *parts, struct proto_channel *channel)
{
    uint64_t until = base_now_ms(base_clock_system()) + PARTS_PATIENCE_MS;
    while (base_now_ms(base_clock_system()) < until) {
        struct proto_wait_item item = {.channel = channel};
        struct proto_reply *reply = proto_channel_receive(channel);
        if (reply)
            return reply;
        if (parts->has_thread)
            (void)proto_wait(&item, 1, 100);
        else
            osd_service_round(parts->service, 5);
    }
    fail_msg("osd.%u did not answer", parts->id);
    return NULL;
}

struct proto_reply *parts_ask(struct parts *parts, struct proto_channel *channel, uint64_t epoch,
                              const struct proto_type *type, const void *value,
                              struct base_slice payload)
{
    static uint64_t sequence = 1000000;
    parts_send(channel, ++sequence, epoch, type, value, payload);
    struct proto_reply *reply = parts_await(parts, channel);
    assert_int_equal(reply->header.sequence, sequence);
    return reply;
}

enum lilio_err parts_code(const struct proto_reply *reply, const struct proto_type *type)
{
    struct proto_error error;
    struct proto_arena *arena;
    if (reply->type == type)
        return LILIO_OK;
    assert_ptr_equal(reply->type, &proto_type_error);
    assert_int_equal(proto_arena_new(&arena), LILIO_OK);
    assert_int_equal(proto_error_unpack(reply->body, arena, &error, NULL), LILIO_OK);
    proto_arena_free(&arena);
    return error.code;
}
