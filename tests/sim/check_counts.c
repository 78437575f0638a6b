/* Everything is counted anew from the data rows of runs that a name uses. Rows are compared as
 * sums of hashes, so it takes no memory: a kind of stripe that is counted n times adds n times its
 * hash. */
#include "tests/sim/check_counts.h"

#include <stdio.h>
#include <string.h>

#include "coordinator/state_priv.h"

#include "base/banned.h"

struct sums {
    uint64_t stripes, kinds; /* how many, and their hashes */
    uint64_t runs, endangered, queued;
    uint64_t bad_bytes, bytes; /* of bad fragments; stored in all */
    uint64_t levels[COORD_REPAIR_LEVELS];
};

static uint64_t hash(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ at[i]) * 0x100000001b3u;
    return (h ^ h >> 29) * 0xbf58476d1ce4e5b9u;
}

static uint64_t key_hash(const struct coord_key *key)
{
    return hash(key->bytes, key->size);
}

static uint64_t run_hash(struct base_oid oid, uint8_t least_good)
{
    uint64_t words[3] = {oid.high, oid.low, least_good};
    return hash(words, sizeof words);
}

/* ---- from the data rows ---- */

static void run_add(struct coord_state *state, const struct proto_data_row *row, struct sums *sums)
{
    const struct proto_placement *placement = coord_state_placement(state, row->placement);
    uint8_t total = (uint8_t)(row->profile.data_count + row->profile.parity_count), least = total;
    uint8_t data = row->profile.data_count, margin = COORD_MARGIN_BELOW;
    for (uint32_t stripe = 0; placement && stripe < coord_run_stripes(row); stripe++) {
        struct coord_stripes_key kind = {
            .bucket_id = row->bucket_id,
            .placement = row->placement,
            .data_count = row->profile.data_count,
            .partition = proto_partition(placement->partition_bits, row->oid, stripe),
            .bad = proto_row_missing(row, stripe),
        };
        struct coord_key key = coord_key_stripes(&kind);
        uint8_t good = (uint8_t)(total - __builtin_popcountll(kind.bad));
        least = good < least ? good : least;
        if (good < total && good >= data && good - data < margin)
            margin = (uint8_t)(good - data);
        sums->stripes++;
        sums->kinds += key_hash(&key);
        struct codec_profile profile = coord_codec_profile(&row->profile);
        uint64_t length = codec_stripe_length(&profile, row->stored_length, stripe);
        sums->bytes += length;
        sums->bad_bytes +=
            (uint64_t)__builtin_popcountll(kind.bad) * codec_fragment_size(&profile, length);
    }
    if (least == total)
        return;
    sums->runs++;
    sums->endangered += run_hash(row->oid, least);
    sums->levels[coord_repair_level(margin)]++;
}

static enum lilio_err runs_sum(struct coord_state *state, struct proto_arena *arena,
                               struct sums *sums)
{
    struct base_oid after = {0};
    enum lilio_err err = LILIO_OK;
    for (bool more = true; more && !err;) {
        struct proto_scan_page page;
        proto_arena_clear(arena);
        struct coord_view view = coord_state_view(state, NULL, arena);
        err = coord_read_scan(&view, /* all buckets */ 0, after, &page, NULL);
        for (size_t i = 0; !err && i < page.rows_count; i++) {
            run_add(state, &page.rows[i].data, sums);
            after = page.rows[i].data.oid;
        }
        more = !err && page.more;
    }
    return err;
}

/* ---- what OSDs have to have ---- */

/* The sum over all partitions and slots of what is in them times their hash. */
static uint64_t slot_hash(uint32_t placement, uint32_t partition, uint32_t index)
{
    uint64_t words[3] = {placement, partition, index};
    return hash(words, sizeof words) | 1;
}

static bool is_missing(const struct proto_data_row *row, uint32_t stripe, uint32_t index)
{
    for (size_t i = 0; i < row->exceptions_count; i++)
        if (row->exceptions[i].kind == 1 && row->exceptions[i].index == index &&
            row->exceptions[i].first_stripe <= stripe &&
            row->exceptions[i].first_stripe + row->exceptions[i].stripe_count > stripe)
            return true;
    return false;
}

static uint64_t run_inventory(struct coord_state *state, const struct proto_data_row *row)
{
    const struct proto_placement *placement = coord_state_placement(state, row->placement);
    uint64_t sum = 0;
    for (uint32_t stripe = 0; placement && stripe < coord_run_stripes(row); stripe++) {
        uint32_t partition = proto_partition(placement->partition_bits, row->oid, stripe);
        for (uint32_t index = 0; index < placement->width; index++)
            if (!is_missing(row, stripe, index))
                sum += proto_stripe_hash(row->oid, stripe) *
                       slot_hash(row->placement, partition, index);
    }
    return sum;
}

/* Committed runs, but for those that are parked in the column of collection. */
static enum lilio_err inventory_by_rows(struct base_kv *kv, struct coord_state *state,
                                        struct proto_arena *arena, uint64_t *ret)
{
    struct coord_view view = coord_state_view(state, NULL, arena);
    *ret = 0;
    for (int column = 0; column < 2; column++) {
        struct base_kv_iter *iter = NULL;
        enum lilio_err err =
            base_kv_iter_new(kv, NULL, NULL, column ? COORD_GC : COORD_DATA, &iter);
        if (err)
            return err;
        for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter);
             base_kv_iter_next(iter)) {
            struct proto_data_row row;
            struct proto_gc_key gc;
            proto_arena_clear(arena);
            struct coord_key key = {0};
            if (column == 0)
                key = coord_key_text(base_kv_iter_key(iter));
            else if (coord_key_gc_parse(base_kv_iter_key(iter), &gc) && gc.osd != COORD_GC_NOBODY)
                key = coord_key_oid(gc.oid);
            if (key.size == 0 ||
                coord_view_get(&view, COORD_DATA, &key, &proto_type_data_row, &row, NULL) ||
                row.state != COORD_RUN_COMMITTED)
                continue;
            uint64_t sum = run_inventory(state, &row);
            *ret += column ? -sum : sum;
        }
        base_kv_iter_free(&iter);
    }
    return LILIO_OK;
}

static enum lilio_err inventory_by_sums(struct coord_state *state, uint64_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < coord_state_placement_count(state); i++) {
        const struct proto_placement *placement = coord_state_placement_at(state, i);
        for (uint32_t partition = 0; partition < 1u << placement->partition_bits; partition++)
            for (uint32_t index = 0; index < placement->width; index++) {
                uint64_t sum = 0;
                enum lilio_err err =
                    coord_inventory_sum(state, placement->id, partition, index, &sum, NULL);
                if (err)
                    return err;
                *ret += sum * slot_hash(placement->id, partition, index);
            }
    }
    return LILIO_OK;
}

/* ---- from what is counted ---- */

static enum lilio_err kinds_sum(struct coord_state *state, struct proto_arena *arena,
                                struct sums *sums)
{
    enum { ROOM = 64 };
    static struct coord_stripes_item items[ROOM];
    struct coord_key after = {0};
    size_t count = ROOM;
    enum lilio_err err = LILIO_OK;
    while (count == ROOM && !err) {
        proto_arena_clear(arena);
        struct coord_view view = coord_state_view(state, NULL, arena);
        err = coord_read_stripes(&view, coord_key_slice(&after), items, ROOM, &count, NULL);
        for (size_t i = 0; !err && i < count; i++) {
            after = coord_key_stripes(&items[i].key);
            for (uint32_t n = 0; n < COORD_STRIPES_GROUP; n++) {
                struct coord_stripes_key kind = items[i].key;
                kind.partition += n;
                struct coord_key key = coord_key_stripes(&kind);
                sums->stripes += items[i].counts[n];
                sums->kinds += items[i].counts[n] * key_hash(&key);
            }
        }
    }
    return err;
}

/* Each repair row has its place in the queue, and the queue has no other places. */
static enum lilio_err queue_sum(struct base_kv *kv, enum coord_column column,
                                struct proto_arena *arena, struct sums *sums)
{
    struct base_kv_iter *iter = NULL;
    enum lilio_err err = base_kv_iter_new(kv, NULL, NULL, column, &iter);
    if (err)
        return err;
    for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter) && !err;
         base_kv_iter_next(iter)) {
        struct proto_repair_row row;
        if (column == COORD_REPAIR_QUEUE) {
            struct base_slice at = base_kv_iter_key(iter);
            sums->queued += hash(at.data, at.size);
            continue;
        }
        proto_arena_clear(arena);
        err = proto_repair_row_unpack(base_kv_iter_value(iter), arena, &row, NULL);
        if (err)
            break;
        struct coord_repair_key place = {row.margin, row.since_ms, row.oid};
        struct coord_key key = coord_key_repair(&place);
        sums->runs++;
        sums->bad_bytes += row.bytes;
        sums->endangered += run_hash(row.oid, row.least_good);
        sums->queued += key_hash(&key);
        sums->levels[coord_repair_level(row.margin)]++;
    }
    base_kv_iter_free(&iter);
    return err;
}

static bool same(const char *what, uint64_t counted, uint64_t there, char ret_text[256])
{
    if (counted == there)
        return true;
    snprintf(ret_text, 256, "the maps count %llu %s, their rows say %llu",
             (unsigned long long)counted, what, (unsigned long long)there);
    return false;
}

bool check_counts_agree(struct base_kv *kv, struct coord_state *state, char ret_text[256])
{
    struct sums there = {0}, counted = {0}, queue = {0};
    struct proto_arena *arena = NULL;
    const struct proto_state_row *row = coord_state_row(state);
    bool read = proto_arena_new(&arena) == LILIO_OK && runs_sum(state, arena, &there) == LILIO_OK &&
                kinds_sum(state, arena, &counted) == LILIO_OK &&
                queue_sum(kv, COORD_REPAIR, arena, &counted) == LILIO_OK &&
                queue_sum(kv, COORD_REPAIR_QUEUE, arena, &queue) == LILIO_OK;
    uint64_t had = 0, summed = 0;
    read = read && inventory_by_rows(kv, state, arena, &had) == LILIO_OK &&
           inventory_by_sums(state, &summed) == LILIO_OK;
    proto_arena_free(&arena);
    if (!read)
        return true;
    bool levels = row->repair_levels_count == COORD_REPAIR_LEVELS &&
                  memcmp(row->repair_levels, there.levels, sizeof there.levels) == 0 &&
                  memcmp(counted.levels, there.levels, sizeof there.levels) == 0;
    return same("stripes", counted.stripes, there.stripes, ret_text) &&
           same("stripes in all", row->stripes, there.stripes, ret_text) &&
           same("(hash) kinds of stripes", counted.kinds, there.kinds, ret_text) &&
           same("stored bytes", row->stored_bytes, there.bytes, ret_text) &&
           same("bytes to mend", counted.bad_bytes, there.bad_bytes, ret_text) &&
           same("bytes to mend in all", row->repair_bytes, there.bad_bytes, ret_text) &&
           same("runs to mend", counted.runs, there.runs, ret_text) &&
           same("runs to mend in all", row->repair_count, there.runs, ret_text) &&
           same("(hash) runs to mend", counted.endangered, there.endangered, ret_text) &&
           same("(hash) places in the queue", counted.queued, queue.queued, ret_text) &&
           same("(hash) fragments OSDs have to have", summed, had, ret_text) &&
           same("of the levels right", levels, true, ret_text);
}
