/* Commands with any body against a small cluster with three coordinators: each is refused or
 * granted; none may crash the state machine or make it unusable. The first byte of the input
 * chooses the command (255: the rest is a whole entry), the rest is its body.
 *
 * The cluster (six OSDs, a bucket with an object and a staged run, an open session) is made once;
 * every input starts from its rows, and what an input did is never committed. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/state_priv.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OSDS = 6, SESSION = 1, FRAGMENT = 4096 };

static const uint16_t types[] = {
    PROTO_MSG_commit,         PROTO_MSG_stage,        PROTO_MSG_discard,
    PROTO_MSG_delete,         PROTO_MSG_copy,         PROTO_MSG_bucket_create,
    PROTO_MSG_bucket_delete,  PROTO_MSG_session_open, PROTO_MSG_session_close,
    PROTO_MSG_session_expire, PROTO_MSG_report,       PROTO_MSG_verified,
    PROTO_MSG_osd_hello,      PROTO_MSG_osd_bind,     PROTO_MSG_osd_change,
    PROTO_MSG_osd_complete,   PROTO_MSG_gc_done,      PROTO_MSG_tick,
    PROTO_MSG_cluster_init,   PROTO_MSG_slots_move,   PROTO_MSG_slots_filled,
    PROTO_MSG_osd_drain,
};

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void apply(struct coord_state *state, uint64_t sequence, uint16_t type,
                  struct base_slice body)
{
    struct proto_entry entry = {.cluster_ms = 1000,
                                .wall_ms = 1,
                                .session = SESSION,
                                .sequence = sequence,
                                .type = type,
                                .body = body};
    struct base_buffer packed = {0};
    if (!proto_entry_pack(&entry, &packed)) {
        struct base_slice command = base_buffer_slice(&packed);
        must(coord_state_apply(state, coord_state_row(state)->applied_index + 1, 1, &command, 1,
                               NULL, NULL) == LILIO_OK);
    }
    base_buffer_release(&packed);
}

static void grant(struct coord_state *state, uint64_t sequence, const struct proto_type *type,
                  const void *value)
{
    struct base_buffer body = {0};
    must(proto_pack(type, value, &body) == LILIO_OK);
    apply(state, sequence, type->number, base_buffer_slice(&body));
    base_buffer_release(&body);
}

static struct proto_data_row run(uint64_t counter, const uint8_t *checksums)
{
    return (struct proto_data_row){
        .oid = base_oid_make(0, SESSION, counter),
        .bucket_id = 1,
        .profile = {.data_count = 4,
                    .parity_count = 2,
                    .fragment_size = FRAGMENT,
                    .generator = CODEC_CAUCHY1},
        .placement = 1,
        .stored_length = 40000,
        .state = 1,
        .checksums = base_slice(checksums, 3 * 6 * 4),
    };
}

static struct base_kv *cluster_new(void)
{
    static const uint8_t checksums[3 * 6 * 4];
    struct base_kv_options options = coord_kv_options();
    struct base_kv *kv = NULL;
    struct coord_state *state = NULL;
    must(base_kv_open_memory(&options, &kv, NULL) == LILIO_OK &&
         coord_state_open(kv, &state, NULL) == LILIO_OK);
    struct proto_osd osds[OSDS] = {0};
    for (uint32_t i = 0; i < OSDS; i++)
        osds[i].id = i;
    struct proto_cluster_init init = {.cluster_id = {{1}},
                                      .default_profile = run(0, checksums).profile,
                                      .osds = osds,
                                      .osds_count = OSDS};
    grant(state, 0, &proto_type_cluster_init, &init);
    for (uint32_t i = 0; i < OSDS; i++) {
        struct proto_osd_bind bind = {.osd = i, .disk_uuid = {{2, (uint8_t)i}}};
        grant(state, 0, &proto_type_osd_bind, &bind);
    }
    struct proto_raft_member members[] = {
        {.id = 1, .kind = 1}, {.id = 2, .kind = 1}, {.id = 3, .kind = 1}};
    struct proto_raft_config config = {.members = members, .members_count = 3}; /* inline objects */
    must(coord_state_advance(state, coord_state_row(state)->applied_index + 1, 1, &config, NULL) ==
         LILIO_OK);
    struct proto_session_open open = {0};
    grant(state, 0, &proto_type_session_open, &open);
    struct proto_bucket_create create = {.name = base_slice_str("b")};
    grant(state, 1, &proto_type_bucket_create, &create);
    struct proto_data_row data = run(1, checksums);
    struct proto_extent extent = {.oid = data.oid, .stored_length = 40000, .logical_length = 40000};
    struct proto_commit commit = {
        .bucket_id = 1,
        .key = base_slice_str("k"),
        .row = {.kind = 1, .logical_size = 40000, .extents = &extent, .extents_count = 1},
        .data = &data,
        .data_count = 1,
        .lowest_epoch = coord_state_row(state)->epoch,
    };
    grant(state, 2, &proto_type_commit, &commit);
    struct proto_stage stage = {.data = run(2, checksums),
                                .lowest_epoch = coord_state_row(state)->epoch};
    grant(state, 3, &proto_type_stage, &stage);
    must(coord_state_row(state)->object_count == 1 && coord_state_row(state)->data_count == 2);
    must(coord_state_commit(state, false, NULL) == LILIO_OK);
    coord_state_free(&state);
    return kv;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct base_kv *kv;
    struct coord_state *state = NULL;
    if (size == 0)
        return 0;
    if (!kv)
        kv = cluster_new();
    must(coord_state_open(kv, &state, NULL) == LILIO_OK);
    struct base_slice rest = base_slice(data + 1, size - 1);
    if (data[0] == 255)
        must(coord_state_apply(state, coord_state_row(state)->applied_index + 1, 1, &rest, 1, NULL,
                               NULL) == LILIO_OK);
    else
        apply(state, 10, types[data[0] % (sizeof types / sizeof *types)], rest);
    coord_state_free(&state);
    return 0;
}
