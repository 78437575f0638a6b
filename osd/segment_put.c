/* put and remove: what is asked for is checked, decided, appended with one sync, and only then
 * indexed and acknowledged.
 *
 * put decides by what is stored under the key already:
 *   nothing                      it is written
 *   the same, and it verifies    done
 *   others that verify           CONFLICT
 *   what does not verify         it is written: that is how a rebuild mends
 *
 * remove appends tombstones. A tombstone buries every record of the key up to the sequence of the
 * one it found, and says in which segments they may lie: it is needed until those are gone.
 */
#include "osd/segment_priv.h"

#include <inttypes.h>

#include "base/banned.h"

enum { DELETE_HELP_STEPS = 4 };

/* What becomes of one put of a batch. */
struct plan {
    bool write;
    const struct osd_put *same_as; /* an earlier one of the batch: its outcome is ours */
    bool replaces;                 /* old is superseded */
    struct osd_entry old;
    uint32_t checksum;
    struct osd_entry placed;
};

static struct osd_record record_of(const struct osd_put *put)
{
    return (struct osd_record){.type = OSD_RECORD_DATA,
                               .payload_length = put->fragment.payload_length,
                               .fragment = put->fragment};
}

/* ---- deciding ---- */

/* What is stored under the key, if anything; a put that need not or must not be written gets its
 * answer here. */
static enum lilio_err decide_by_stored(struct osd_segment_store *store, const struct osd_put *put,
                                       struct plan *plan)
{
    const struct base_fragment_key *key = &put->fragment.key;
    enum lilio_err err = osd_index_get(store, key, &plan->old, NULL);
    if ((err == LILIO_E_CORRUPT || err == LILIO_E_IO) && osd_recover_index(store, NULL) == LILIO_OK)
        err = osd_index_get(store, key, &plan->old, NULL);
    if (err == LILIO_E_MISSING) {
        plan->write = true;
        return LILIO_OK;
    }
    if (err)
        return err == LILIO_E_NOMEM ? err : LILIO_E_IO;
    bool same = plan->old.checksum == plan->checksum &&
                plan->old.payload_length == put->fragment.payload_length;
    err = osd_entry_verify(store, key, &plan->old, NULL);
    if (err == LILIO_OK)
        return same ? LILIO_OK : LILIO_E_CONFLICT;
    /* What could not be read this once may still be good: other bytes do not take its place. */
    if (err != LILIO_E_CORRUPT && err != LILIO_E_MISSING && !same)
        return LILIO_E_IO;
    plan->write = plan->replaces = true;
    return LILIO_OK;
}

/* A put of the batch before it with the same key that was not refused decides. */
static bool decide_by_batch(const struct osd_put *puts, const struct plan *plans, size_t at,
                            struct plan *plan, enum lilio_err *ret_err)
{
    for (size_t i = 0; i < at; i++) {
        if (puts[i].ret_err || !osd_key_equal(&puts[i].fragment.key, &puts[at].fragment.key))
            continue;
        bool same = plans[i].checksum == plan->checksum &&
                    puts[i].fragment.payload_length == puts[at].fragment.payload_length;
        plan->same_as = same ? &puts[i] : NULL;
        *ret_err = same ? LILIO_OK : LILIO_E_CONFLICT;
        return true;
    }
    return false;
}

static enum lilio_err decide(struct osd_segment_store *store, const struct osd_put *puts,
                             const struct plan *plans, size_t at, struct plan *plan)
{
    const struct osd_put *put = &puts[at];
    enum lilio_err err = osd_put_check(put);
    if (err)
        return err;
    plan->checksum =
        codec_fragment_checksum(put->fragment.block_checksums, put->fragment.block_count);
    if (decide_by_batch(puts, plans, at, plan, &err))
        return err;
    return decide_by_stored(store, put, plan);
}

/* Bytes that puts may use: the reserve is not for them (design rule 7). */
static uint64_t put_budget(struct osd_segment_store *store)
{
    uint64_t available = osd_free_bytes(store);
    return available > store->reserve_bytes ? available - store->reserve_bytes : 0;
}

/* Refuses what does not fit; returns the bytes the batch will take. A batch starts on a block
 * boundary, so places relative to 0 are as good as the real ones. */
static uint64_t fit(struct osd_segment_store *store, struct osd_put *puts, struct plan *plans,
                    size_t count)
{
    uint64_t position = 0, budget = put_budget(store);
    for (size_t i = 0; i < count; i++) {
        if (!plans[i].write)
            continue;
        struct osd_record record = record_of(&puts[i]);
        uint32_t gap, header_length;
        uint64_t end = osd_record_place(position, osd_record_covered(&record),
                                        record.payload_length, &gap, &header_length);
        if (osd_round_up(end, BASE_DISK_BLOCK) <= budget) {
            position = end;
            continue;
        }
        plans[i].write = false;
        puts[i].ret_err = LILIO_E_NO_SPACE;
    }
    return position;
}

/* ---- writing ---- */

static enum lilio_err write_batch(struct osd_segment_store *store, struct osd_put *puts,
                                  struct plan *plans, size_t count, uint64_t need)
{
    enum lilio_err err = osd_writer_begin(store, need, NULL);
    if (err)
        return err;
    for (size_t i = 0; i < count; i++) {
        if (!plans[i].write)
            continue;
        struct osd_record record = record_of(&puts[i]);
        plans[i].placed.offset = osd_writer_append(store, &record, puts[i].payload);
        plans[i].placed.sequence = record.sequence;
        plans[i].placed.header_length = record.header_length;
        plans[i].placed.payload_length = record.payload_length;
        plans[i].placed.checksum = plans[i].checksum;
        plans[i].placed.segment = plans[i].placed.first_segment = store->active->id;
        if (plans[i].replaces && plans[i].old.first_segment < plans[i].placed.first_segment)
            plans[i].placed.first_segment = plans[i].old.first_segment;
    }
    return osd_writer_finish(store, NULL);
}

static enum lilio_err index_batch(struct osd_segment_store *store, const struct osd_put *puts,
                                  const struct plan *plans, size_t count)
{
    uint64_t written = 0;
    for (size_t i = 0; i < count; i++) {
        if (!plans[i].write)
            continue;
        if (plans[i].replaces)
            osd_account_dead(store, &plans[i].old);
        osd_account_live(store, &plans[i].placed);
        osd_index_put(store, &puts[i].fragment.key, &plans[i].placed);
        written++;
    }
    enum lilio_err err = osd_index_commit(store, false, NULL);
    if (!err)
        osd_segment_store_count(store, &store->stats.put_count, written);
    return err;
}

void osd_segment_store_put(struct osd_store *head, struct osd_put *puts, size_t count)
{
    struct osd_segment_store *store = (struct osd_segment_store *)head;
    struct plan plans[OSD_BATCH_MAX];
    for (size_t i = 0; i < count; i++)
        puts[i].ret_err = count > OSD_BATCH_MAX ? LILIO_E_INVALID
                          : store->failed       ? LILIO_E_READ_ONLY
                                                : LILIO_OK;
    if (count > OSD_BATCH_MAX || store->failed)
        return;
    for (size_t i = 0; i < count; i++) {
        plans[i] = (struct plan){0};
        puts[i].ret_err = decide(store, puts, plans, i, &plans[i]);
    }
    uint64_t need = fit(store, puts, plans, count);
    enum lilio_err err = LILIO_OK;
    if (need)
        err = write_batch(store, puts, plans, count, need);
    if (!err && need)
        err = index_batch(store, puts, plans, count);
    for (size_t i = 0; i < count; i++) {
        if (err && plans[i].write)
            puts[i].ret_err = err;
        if (plans[i].same_as)
            puts[i].ret_err = plans[i].same_as->ret_err;
    }
}

/* ---- remove ---- */

/* Entries of the keys that are there, each once. */
static enum lilio_err collect(struct osd_segment_store *store, const struct base_fragment_key *keys,
                              size_t count, const struct base_fragment_key **ret_keys,
                              struct osd_entry *ret_entries, size_t *ret_count,
                              struct lilio_errinfo *info)
{
    *ret_count = 0;
    for (size_t i = 0; i < count; i++) {
        bool seen = false;
        for (size_t j = 0; j < *ret_count && !seen; j++)
            seen = osd_key_equal(ret_keys[j], &keys[i]);
        if (seen)
            continue;
        enum lilio_err err = osd_index_get(store, &keys[i], &ret_entries[*ret_count], info);
        if (err == LILIO_OK)
            ret_keys[(*ret_count)++] = &keys[i];
        else if (err != LILIO_E_MISSING)
            return err;
    }
    return LILIO_OK;
}

/* On a full disk tombstones would eat up the reserve before the owner is idle: the space of earlier
 * deletes is collected first. */
static void collect_space(struct osd_segment_store *store)
{
    bool more = true;
    for (int i = 0; i < DELETE_HELP_STEPS && more; i++) {
        if (osd_free_bytes(store) >= store->reserve_bytes / 2)
            return;
        /* What goes wrong is met again by the owner's own tick. */
        if (osd_segment_store_tick(&store->head, &more, NULL) != LILIO_OK)
            return;
    }
}

static enum lilio_err write_tombstones(struct osd_segment_store *store,
                                       const struct base_fragment_key **keys,
                                       const struct osd_entry *entries, size_t count,
                                       struct lilio_errinfo *info)
{
    uint64_t need = osd_round_up(count * OSD_RECORD_UNIT, BASE_DISK_BLOCK);
    if (osd_free_bytes(store) < need + store->reserve_bytes / 8)
        return lilio_fail(info, LILIO_E_NO_SPACE, "the rest of the disk is kept for the index");
    enum lilio_err err = osd_writer_begin(store, need, info);
    if (err)
        return err;
    for (size_t i = 0; i < count; i++) {
        struct osd_record record = {
            .type = OSD_RECORD_TOMBSTONE,
            .fragment.key = *keys[i],
            .target_sequence = entries[i].sequence,
            .first_segment = entries[i].first_segment,
            .last_segment = entries[i].segment,
        };
        (void)osd_writer_append(store, &record, NULL); /* where it lies is nobody's concern */
    }
    return osd_writer_finish(store, info);
}

enum lilio_err osd_segment_store_remove(struct osd_store *head,
                                        const struct base_fragment_key *keys, size_t count,
                                        struct lilio_errinfo *info)
{
    struct osd_segment_store *store = (struct osd_segment_store *)head;
    const struct base_fragment_key *found[OSD_BATCH_MAX];
    struct osd_entry entries[OSD_BATCH_MAX];
    size_t found_count;
    if (count > OSD_BATCH_MAX)
        return lilio_fail(info, LILIO_E_INVALID, "%zu keys in a batch of at most %d", count,
                          OSD_BATCH_MAX);
    if (!store->failed)
        collect_space(store); /* moves fragments: before they are looked up */
    if (store->failed)
        return lilio_fail(info, LILIO_E_READ_ONLY, "the store is read-only after a failed write");
    enum lilio_err err = collect(store, keys, count, found, entries, &found_count, info);
    if ((err == LILIO_E_CORRUPT || err == LILIO_E_IO) && osd_recover_index(store, info) == LILIO_OK)
        err = collect(store, keys, count, found, entries, &found_count, info);
    if (err || found_count == 0)
        return err;
    err = write_tombstones(store, found, entries, found_count, info);
    if (err)
        return err;
    for (size_t i = 0; i < found_count; i++) {
        osd_account_tombstone(store, store->active, entries[i].first_segment, entries[i].segment);
        osd_account_dead(store, &entries[i]);
        osd_index_delete(store, found[i]);
    }
    for (size_t i = 0; i < found_count; i++)
        osd_entry_punch(store, &entries[i]);
    err = osd_index_commit(store, false, info);
    if (!err)
        osd_segment_store_count(store, &store->stats.delete_count, found_count);
    return err;
}
