#include "coord_fixture.h"

#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/env.h"
#include "coordinator/raft/raft.h"

#include "base/banned.h"

/* ---- stores ---- */

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static void open_store(struct fx *fx)
{
    struct base_kv_options options = coord_kv_options();
    struct lilio_errinfo info = {0};
    enum lilio_err err;
    if (fx->rocksdb) {
        char maps[80];
        (void)snprintf(maps, sizeof maps, "%s/maps", fx->path);
        err = base_kv_open_rocksdb(maps, &options, &fx->kv, &info);
    } else {
        err = base_kv_open_memory(&options, &fx->kv, &info);
    }
    assert_int_equal(err, LILIO_OK);
    assert_int_equal(coord_state_open(fx->kv, &fx->state, &info), LILIO_OK);
}

struct fx *fx_new(bool rocksdb)
{
    struct fx *fx = calloc(1, sizeof *fx);
    assert_non_null(fx);
    fx->rocksdb = rocksdb;
    if (rocksdb) {
        const char *tmp = getenv("TMPDIR");
        (void)snprintf(fx->path, sizeof fx->path, "%s/coord-XXXXXX",
                       tmp && strlen(tmp) < 40 ? tmp : "/tmp");
        assert_non_null(mkdtemp(fx->path));
    }
    assert_int_equal(proto_arena_new(&fx->arena), LILIO_OK);
    fx->wall_ms = FX_WALL_MS;
    open_store(fx);
    return fx;
}

void fx_reopen(struct fx *fx)
{
    assert_true(fx->rocksdb);
    coord_state_free(&fx->state);
    base_kv_free(&fx->kv);
    open_store(fx);
}

void fx_free(struct fx *fx)
{
    for (size_t i = 0; i < fx->history_count; i++)
        for (size_t k = 0; k < sizeof fx->history[i].commands / sizeof(struct base_buffer); k++)
            base_buffer_release(&fx->history[i].commands[k]);
    free(fx->history);
    coord_result_release(&fx->result);
    coord_state_free(&fx->state);
    base_kv_free(&fx->kv);
    proto_arena_free(&fx->arena);
    if (fx->rocksdb)
        (void)nftw(fx->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(fx);
}

/* ---- commands ---- */

void fx_pack_entry(struct fx *fx, uint64_t session, uint64_t sequence, uint64_t answered_below,
                   uint16_t type, struct base_slice body, struct base_buffer *ret)
{
    struct proto_entry entry = {
        .cluster_ms = fx->cluster_ms,
        .wall_ms = fx->wall_ms,
        .session = session,
        .sequence = sequence,
        .answered_below = answered_below,
        .type = type,
        .body = body,
    };
    assert_int_equal(proto_entry_pack(&entry, ret), LILIO_OK);
}

static struct fx_entry *history_add(struct fx *fx)
{
    if (fx->history_count == fx->history_room) {
        fx->history_room = fx->history_room ? 2 * fx->history_room : 64;
        fx->history = realloc(fx->history, fx->history_room * sizeof *fx->history);
        assert_non_null(fx->history);
    }
    struct fx_entry *entry = &fx->history[fx->history_count++];
    memset(entry, 0, sizeof *entry);
    return entry;
}

enum lilio_err fx_apply(struct fx *fx, uint64_t session, uint64_t sequence, uint64_t answered_below,
                        const struct proto_type *type, const void *value)
{
    struct lilio_errinfo info = {0};
    struct base_buffer body = {0};
    assert_int_equal(proto_pack(type, value, &body), LILIO_OK);
    struct fx_entry *entry = history_add(fx);
    entry->index = fx_row(fx)->applied_index + 1;
    entry->count = 1;
    fx_pack_entry(fx, session, sequence, answered_below, type->number, base_buffer_slice(&body),
                  &entry->commands[0]);
    base_buffer_release(&body);
    struct base_slice command = base_buffer_slice(&entry->commands[0]);
    enum lilio_err err =
        coord_state_apply(fx->state, entry->index, FX_TERM, &command, 1, &fx->result, &info);
    if (err)
        print_message("apply failed: %s\n", info.text);
    assert_int_equal(err, LILIO_OK);
    assert_int_equal(coord_state_commit(fx->state, false, &info), LILIO_OK);
    return fx->result.err;
}

void fx_config(struct fx *fx, uint32_t voters)
{
    static const char *const addresses[] = {"inproc://c0", "inproc://c1", "inproc://c2",
                                            "inproc://c3", "inproc://c4"};
    struct proto_raft_member members[5] = {0};
    for (uint32_t i = 0; i <= voters; i++) /* and a learner, who does not count */
        members[i] = (struct proto_raft_member){.id = UINT64_C(1) << 32 | i,
                                                .kind = i < voters ? RAFT_VOTER : RAFT_LEARNER,
                                                .address = fx_text(addresses[i]),
                                                .peer = fx_text("inproc://peer")};
    struct proto_raft_config config = {.members = members, .members_count = voters + 1};
    struct fx_entry *entry = history_add(fx);
    entry->index = fx_row(fx)->applied_index + 1;
    assert_int_equal(proto_raft_config_pack(&config, &entry->commands[0]), LILIO_OK);
    assert_int_equal(coord_state_advance(fx->state, entry->index, FX_TERM, &config, NULL),
                     LILIO_OK);
    assert_int_equal(coord_state_commit(fx->state, false, NULL), LILIO_OK);
}

enum lilio_err fx_do(struct fx *fx, const struct proto_type *type, const void *value)
{
    uint64_t sequence = ++fx->sequence;
    return fx_apply(fx, fx->session, sequence, sequence, type, value);
}

enum lilio_err fx_internal(struct fx *fx, const struct proto_type *type, const void *value)
{
    return fx_apply(fx, 0, 0, 0, type, value);
}

void fx_reply(struct fx *fx, const struct proto_type *type, void *ret)
{
    struct lilio_errinfo info = {0};
    assert_int_equal(fx->result.type, type->number);
    enum lilio_err err =
        proto_unpack(type, base_buffer_slice(&fx->result.reply), fx->arena, ret, &info);
    assert_int_equal(err, LILIO_OK);
}

const struct proto_state_row *fx_row(struct fx *fx)
{
    return coord_state_row(fx->state);
}

uint64_t fx_digest(struct fx *fx)
{
    uint64_t digest = 0;
    assert_int_equal(coord_state_digest(fx->state, &digest, NULL), LILIO_OK);
    return digest;
}

size_t fx_column_count(struct fx *fx, enum coord_column column)
{
    struct base_kv_iter *iter = NULL;
    size_t count = 0;
    assert_int_equal(base_kv_iter_new(fx->kv, NULL, NULL, column, &iter), LILIO_OK);
    for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter);
         base_kv_iter_next(iter))
        count++;
    base_kv_iter_free(&iter);
    return count;
}

/* ---- a cluster ---- */

struct base_slice fx_text(const char *text)
{
    return base_slice_str(text);
}

struct base_uuid fx_uuid(uint32_t number)
{
    struct base_uuid uuid = {{0x40}};
    base_be32_put(uuid.bytes + 12, number + 1);
    return uuid;
}

uint64_t fx_random(uint64_t *state, uint64_t below)
{
    struct base_random random = base_random_seeded(state);
    return base_random_u64(&random) % below;
}

static void init_cluster(struct fx *fx)
{
    struct proto_osd osds[FX_OSDS] = {0};
    static const char *const addresses[FX_OSDS] = {"inproc://0", "inproc://1", "inproc://2",
                                                   "inproc://3", "inproc://4", "inproc://5"};
    for (uint32_t i = 0; i < FX_OSDS; i++) {
        osds[i].id = i;
        osds[i].address = fx_text(addresses[i]);
    }
    struct proto_cluster_init init = {
        .cluster_id = fx_uuid(1000),
        .default_profile = {.data_count = 4,
                            .parity_count = 2,
                            .fragment_size = 4096,
                            .generator = CODEC_CAUCHY1},
        .osds = osds,
        .osds_count = FX_OSDS,
    };
    assert_int_equal(fx_internal(fx, &proto_type_cluster_init, &init), LILIO_OK);
}

struct fx *fx_cluster(bool rocksdb)
{
    struct fx *fx = fx_new(rocksdb);
    init_cluster(fx);
    for (uint32_t i = 0; i < FX_OSDS; i++) {
        struct proto_osd_bind bind = {.osd = i, .disk_uuid = fx_uuid(i)};
        assert_int_equal(fx_internal(fx, &proto_type_osd_bind, &bind), LILIO_OK);
    }
    fx->session = fx_session(fx);
    return fx;
}

void fx_rebind(struct fx *fx, uint32_t osd)
{
    const struct proto_osd *row =
        coord_state_osd_at(fx->state, coord_state_osd_find(fx->state, osd));
    struct proto_osd_bind bind = {
        .osd = osd, .disk_uuid = fx_uuid(100 + osd * 10 + row->incarnation), .rebuild = true};
    assert_int_equal(fx_internal(fx, &proto_type_osd_bind, &bind), LILIO_OK);
}

uint64_t fx_session(struct fx *fx)
{
    struct proto_session_open open = {.label = fx_text("test")};
    struct proto_session session;
    assert_int_equal(fx_internal(fx, &proto_type_session_open, &open), LILIO_OK);
    fx_reply(fx, &proto_type_session, &session);
    return session.id;
}

struct proto_bucket fx_coded_bucket(struct fx *fx, const char *name, uint8_t data, uint8_t parity)
{
    struct proto_bucket_create create = {
        .name = fx_text(name),
        .quorum = data,
        .profile = {.data_count = data,
                    .parity_count = parity,
                    .fragment_size = 4096,
                    .generator = data == 1 ? CODEC_COPY1 : CODEC_CAUCHY1},
    };
    struct proto_bucket_reply reply;
    assert_int_equal(fx_do(fx, &proto_type_bucket_create, &create), LILIO_OK);
    fx_reply(fx, &proto_type_bucket_reply, &reply);
    reply.bucket.name = fx_text(name);
    return reply.bucket;
}

struct proto_bucket fx_narrow_bucket(struct fx *fx, const char *name)
{
    return fx_coded_bucket(fx, name, 2, 1);
}

struct proto_bucket fx_bucket(struct fx *fx, const char *name)
{
    struct proto_bucket_create create = {.name = fx_text(name)};
    struct proto_bucket_reply reply;
    assert_int_equal(fx_do(fx, &proto_type_bucket_create, &create), LILIO_OK);
    fx_reply(fx, &proto_type_bucket_reply, &reply);
    reply.bucket.name = fx_text(name);
    return reply.bucket;
}

/* ---- objects ---- */

struct proto_data_row fx_run(struct fx *fx, const struct proto_bucket *bucket, uint64_t counter,
                             uint64_t length)
{
    struct codec_profile profile = coord_codec_profile(&bucket->profile);
    size_t size = codec_stripe_count(&profile, length) * codec_profile_total(&profile) * 4;
    uint8_t *checksums = proto_arena_take(fx->arena, size + 1);
    assert_non_null(checksums);
    for (size_t i = 0; i < size; i++)
        checksums[i] = (uint8_t)(counter * 31 + i);
    return (struct proto_data_row){
        .oid = base_oid_make(0, fx->session, counter),
        .bucket_id = bucket->id,
        .profile = bucket->profile,
        .placement = bucket->placement,
        .stored_length = length,
        .state = 1,
        .checksums = base_slice(checksums, size),
    };
}

struct proto_commit fx_commit(struct fx *fx, const struct proto_bucket *bucket, const char *key,
                              uint64_t counter, uint64_t length)
{
    struct proto_commit commit = {
        .bucket_id = bucket->id,
        .key = fx_text(key),
        .row = {.kind = 1, .logical_size = length, .crc32c = 7, .has_crc32c = true},
        .lowest_epoch = fx_row(fx)->epoch,
    };
    if (length == 0)
        return commit;
    commit.data = proto_arena_take(fx->arena, sizeof *commit.data);
    commit.row.extents = proto_arena_take(fx->arena, sizeof *commit.row.extents);
    assert_non_null(commit.data);
    assert_non_null(commit.row.extents);
    commit.data[0] = fx_run(fx, bucket, counter, length);
    commit.data_count = commit.row.extents_count = 1;
    commit.row.extents[0] = (struct proto_extent){
        .oid = commit.data[0].oid, .stored_length = length, .logical_length = length};
    return commit;
}

struct proto_commit fx_commit_inline(struct fx *fx, const struct proto_bucket *bucket,
                                     const char *key, uint32_t length, uint8_t fill)
{
    uint8_t *bytes = proto_arena_take(fx->arena, length + 1);
    assert_non_null(bytes);
    memset(bytes, fill, length);
    return (struct proto_commit){
        .bucket_id = bucket->id,
        .key = fx_text(key),
        .row = {.kind = 1,
                .logical_size = length,
                .inline_bytes = base_slice(bytes, length),
                .crc32c = codec_crc32c(0, bytes, length),
                .has_crc32c = true},
    };
}

struct proto_version fx_put(struct fx *fx, const struct proto_bucket *bucket, const char *key,
                            uint64_t counter, uint64_t length)
{
    struct proto_commit commit = fx_commit(fx, bucket, key, counter, length);
    struct proto_committed committed;
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
    fx_reply(fx, &proto_type_committed, &committed);
    return committed.version;
}

enum lilio_err fx_delete(struct fx *fx, const struct proto_bucket *bucket, const char *key)
{
    struct proto_delete ask = {.bucket_id = bucket->id, .key = fx_text(key)};
    return fx_do(fx, &proto_type_delete, &ask);
}

enum lilio_err fx_lookup(struct fx *fx, const char *bucket, const char *key,
                         struct proto_object *ret)
{
    struct proto_lookup ask = {.bucket = fx_text(bucket), .key = fx_text(key)};
    struct coord_view view = coord_state_view(fx->state, NULL, fx->arena);
    return coord_read_object(&view, &ask, ret, NULL);
}
