/* How a slot table is made. A partition starts at its arc's first position and walks the ring
 * clockwise. It takes every OSD it meets for the first time whose domain still has room, until it
 * has width of them. A walk never gets stuck when the domains have room for width fragments at all,
 * because each OSD taken uses up exactly one place. Which fragment index an OSD of the set gets is
 * then chosen so that every OSD holds every index about equally often: data fragments are what
 * reads go to. Callers choose which OSDs take part (for example only those that ever had a disk).
 */
#include "proto/placement.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "codec/codec.h"
#include "proto/ring_priv.h"
#include "proto/rule_priv.h"

#include "base/banned.h"

enum { PARTITION_BITS_MAX = 16, WIDTH_MAX = CODEC_TOTAL_MAX };

const char *proto_osd_state_name(uint8_t state)
{
    static const char *const names[] = {NULL,  "up",     "suspect", "down",
                                        "out", "failed", "new",     "blank"};
    return state >= 1 && state < sizeof names / sizeof names[0] ? names[state] : "unknown";
}

static uint64_t stripe_hash(struct base_oid oid, uint32_t stripe, uint64_t seed)
{
    uint8_t bytes[20];
    base_be64_put(bytes, oid.high);
    base_be64_put(bytes + 8, oid.low);
    base_be32_put(bytes + 16, stripe);
    return XXH64(bytes, sizeof bytes, seed);
}

uint32_t proto_partition(uint8_t partition_bits, struct base_oid oid, uint32_t stripe)
{
    if (partition_bits == 0)
        return 0;
    return (uint32_t)(stripe_hash(oid, stripe, 0) >> (64 - (partition_bits & 31)));
}

uint64_t proto_stripe_hash(struct base_oid oid, uint32_t stripe)
{
    return stripe_hash(oid, stripe, 1);
}

/* ---- the domains ---- */

struct member {
    const struct proto_osd *osd;
    uint32_t domain;   /* number of its domain */
    uint32_t presence; /* partitions it is in so far */
    bool taken;        /* in the partition at hand */
};
struct table {
    struct proto_rule rule;
    uint8_t width;
    struct member *members; /* OSDs of weight > 0, by id */
    const struct proto_osd **osds;
    size_t member_count;
    uint32_t *room; /* per domain: fragments it may still take in the partition at hand */
    size_t domain_count;
    uint32_t *role_count; /* member x index: how often */
    struct proto_ring ring;
};

static int osd_compare(const void *a, const void *b)
{
    const struct proto_osd *const *x = a, *const *y = b;
    return (*x)->id < (*y)->id ? -1 : (*x)->id > (*y)->id;
}

static enum lilio_err collect_members(struct table *table, const struct proto_osd *osds,
                                      size_t osd_count, struct lilio_errinfo *info)
{
    for (size_t i = 0; i < osd_count; i++) {
        if (osds[i].id >= PROTO_OSD_NONE)
            return lilio_fail(info, LILIO_E_INVALID, "OSD id %u is out of range", osds[i].id);
        if (osds[i].weight > 0)
            table->osds[table->member_count++] = &osds[i];
    }
    qsort(table->osds, table->member_count, sizeof table->osds[0], osd_compare);
    for (size_t i = 0; i < table->member_count; i++) {
        if (i > 0 && table->osds[i]->id == table->osds[i - 1]->id)
            return lilio_fail(info, LILIO_E_INVALID, "osd.%u is there twice", table->osds[i]->id);
        table->members[i].osd = table->osds[i];
    }
    return LILIO_OK;
}

/* Numbers the domains, and checks that together they have room for width fragments. */
static enum lilio_err count_domains(struct table *table, struct lilio_errinfo *info)
{
    size_t place_count = 0;
    for (size_t i = 0; i < table->member_count; i++) {
        struct member *member = &table->members[i];
        struct base_slice label, other;
        bool labelled = proto_rule_label(&table->rule, member->osd, &label);
        member->domain = (uint32_t)table->domain_count;
        for (size_t j = 0; labelled && j < i && member->domain == table->domain_count; j++)
            if (proto_rule_label(&table->rule, table->members[j].osd, &other) &&
                base_slice_equal(label, other))
                member->domain = table->members[j].domain;
        if (member->domain == table->domain_count)
            table->domain_count++;
        if (++table->room[member->domain] <= table->rule.limit)
            place_count++;
    }
    if (place_count < table->width)
        return lilio_fail(info, LILIO_E_INVALID,
                          "%u fragments need %u %ss at %u each, there are %zu with room for %zu",
                          table->width, (table->width + table->rule.limit - 1) / table->rule.limit,
                          proto_rule_level_name(&table->rule), table->rule.limit,
                          table->domain_count, place_count);
    return LILIO_OK;
}

static enum lilio_err table_init(struct table *table, const struct proto_osd *osds,
                                 size_t osd_count, uint8_t width, struct base_slice rule,
                                 struct lilio_errinfo *info)
{
    *table = (struct table){.width = width};
    enum lilio_err err = proto_rule_parse(rule, &table->rule, info);
    if (err)
        return err;
    size_t room = osd_count ? osd_count : 1;
    table->members = calloc(room, sizeof table->members[0]);
    table->osds = calloc(room, sizeof table->osds[0]);
    table->room = calloc(room, sizeof table->room[0]);
    table->role_count = calloc(room * width, sizeof table->role_count[0]);
    if (!table->members || !table->osds || !table->room || !table->role_count)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a slot table");
    err = collect_members(table, osds, osd_count, info);
    if (!err)
        err = count_domains(table, info);
    if (!err)
        err = proto_ring_init(table->osds, table->member_count, &table->ring, info);
    return err;
}

static void table_release(struct table *table)
{
    proto_ring_release(&table->ring);
    free(table->members);
    free(table->osds);
    free(table->room);
    free(table->role_count);
}

/* ---- one partition ---- */

static void choose_members(struct table *table, uint64_t position, uint32_t *ret_members)
{
    for (size_t i = 0; i < table->member_count; i++)
        table->members[i].taken = false;
    for (size_t i = 0; i < table->domain_count; i++)
        table->room[i] = table->rule.limit;
    size_t at = proto_ring_find(&table->ring, position);
    for (uint8_t count = 0; count < table->width; at = (at + 1) % table->ring.count) {
        uint32_t m = table->ring.points[at].osd;
        struct member *member = &table->members[m];
        if (member->taken || table->room[member->domain] == 0)
            continue;
        member->taken = true;
        member->presence++;
        table->room[member->domain]--;
        ret_members[count++] = m;
    }
}

/* Each index goes to the member that is owed it most; equally owed ones keep the order of the ring.
 */
static void choose_roles(struct table *table, uint32_t *members)
{
    for (uint8_t index = 0; index < table->width; index++) {
        uint8_t best = index;
        int64_t best_owed = INT64_MIN;
        for (uint8_t i = index; i < table->width; i++) {
            const struct member *member = &table->members[members[i]];
            int64_t held = table->role_count[(size_t)members[i] * table->width + index];
            int64_t owed = (int64_t)member->presence - held * table->width;
            if (owed > best_owed) {
                best = i;
                best_owed = owed;
            }
        }
        uint32_t chosen = members[best];
        memmove(&members[index + 1], &members[index], (size_t)(best - index) * sizeof members[0]);
        members[index] = chosen;
        table->role_count[(size_t)chosen * table->width + index]++;
    }
}

enum lilio_err proto_placement_compute(const struct proto_osd *osds, size_t osd_count,
                                       uint8_t width, struct base_slice rule,
                                       uint8_t partition_bits, uint8_t *ret_slots,
                                       struct lilio_errinfo *info)
{
    if (width < 1 || width > WIDTH_MAX || partition_bits > PARTITION_BITS_MAX)
        return lilio_fail(info, LILIO_E_INVALID, "placement: width is 1..%d, partition bits 0..%d",
                          WIDTH_MAX, PARTITION_BITS_MAX);
    struct table table;
    enum lilio_err err = table_init(&table, osds, osd_count, width, rule, info);
    if (err)
        goto out;
    for (uint32_t partition = 0; partition < 1u << partition_bits; partition++) {
        uint32_t members[WIDTH_MAX];
        uint64_t position = partition_bits ? (uint64_t)partition << (64 - partition_bits) : 0;
        choose_members(&table, position, members);
        choose_roles(&table, members);
        for (uint8_t index = 0; index < width; index++)
            base_le16_put(ret_slots + 2 * ((size_t)partition * width + index),
                          (uint16_t)table.members[members[index]].osd->id);
    }
out:
    table_release(&table);
    return err;
}

/* ---- reading the tables ---- */

static uint32_t osd_at(struct base_slice table, const struct proto_placement *placement,
                       uint32_t partition, uint32_t index)
{
    uint64_t at = 2 * ((uint64_t)partition * placement->width + index);
    if (index >= placement->width || at + 2 > table.size)
        return PROTO_OSD_NONE;
    return base_le16_get(table.data + at);
}

uint32_t proto_slot_osd(const struct proto_placement *placement, uint32_t partition, uint32_t index)
{
    return osd_at(placement->slots, placement, partition, index);
}

uint32_t proto_slot_previous(const struct proto_placement *placement, uint32_t partition,
                             uint32_t index)
{
    return osd_at(placement->previous, placement, partition, index);
}

/* The partition's part of a bit per slot. */
static uint64_t bits_at(struct base_slice table, const struct proto_placement *placement,
                        uint32_t partition)
{
    uint64_t mask = 0;
    for (uint32_t index = 0; index < placement->width && index < 64; index++) {
        uint64_t at = (uint64_t)partition * placement->width + index;
        if (at / 8 < table.size)
            mask |= (uint64_t)(table.data[at / 8] >> at % 8 & 1) << index;
    }
    return mask;
}

uint64_t proto_slots_filling(const struct proto_placement *placement, uint32_t partition)
{
    return placement->filling.size == 0 ? 0 : bits_at(placement->filling, placement, partition);
}

/* Of a table with an epoch per partition; UINT64_MAX where it is not known. */
static uint64_t epoch_at(struct base_slice table, uint32_t partition)
{
    uint64_t at = 8 * (uint64_t)partition;
    return at + 8 > table.size ? UINT64_MAX : base_le64_get(table.data + at);
}

/* Whether the partition changed once since then, and which slots that was is known. */
static bool changed_once(const struct proto_placement *placement, uint32_t partition,
                         uint64_t epoch)
{
    return placement->moved_last.size > 0 &&
           epoch_at(placement->changed_before, partition) <= epoch;
}

uint64_t proto_slots_moved(const struct proto_placement *placement, uint32_t partition,
                           uint64_t epoch)
{
    if (placement->changed.size == 0 || epoch_at(placement->changed, partition) <= epoch)
        return 0;
    bool once = changed_once(placement, partition, epoch);
    return bits_at(once ? placement->moved_last : placement->moved, placement, partition);
}

uint64_t proto_slots_handed(const struct proto_placement *placement, uint32_t partition,
                            uint64_t epoch)
{
    return changed_once(placement, partition, epoch)
               ? proto_slots_moved(placement, partition, epoch)
               : 0;
}
