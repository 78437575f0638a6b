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

#include "base/banned.h"

enum { PARTITION_BITS_MAX = 16, WIDTH_MAX = CODEC_TOTAL_MAX, LEVEL_OSD = 3, LIMIT_MAX = WIDTH_MAX };

const char *proto_osd_state_name(uint8_t state)
{
    static const char *const names[] = {NULL,  "up",     "suspect", "down",
                                        "out", "failed", "new",     "blank"};
    return state >= 1 && state < sizeof names / sizeof names[0] ? names[state] : "unknown";
}

uint32_t proto_partition(uint8_t partition_bits, struct base_oid oid, uint32_t stripe)
{
    if (partition_bits == 0)
        return 0;
    uint8_t bytes[20];
    base_be64_put(bytes, oid.high);
    base_be64_put(bytes + 8, oid.low);
    base_be32_put(bytes + 16, stripe);
    return (uint32_t)(XXH64(bytes, sizeof bytes, 0) >> (64 - (partition_bits & 31)));
}

/* ---- the rule and the domains ---- */

struct rule {
    unsigned level; /* 0 zone, 1 rack, 2 host, 3 osd */
    unsigned limit; /* fragments one domain of that level may hold */
};
static const char *const level_names[] = {"zone", "rack", "host", "osd"};

static enum lilio_err parse_rule(struct base_slice text, struct rule *ret,
                                 struct lilio_errinfo *info)
{
    for (unsigned level = 0; level <= LEVEL_OSD; level++) {
        size_t length = strlen(level_names[level]);
        if (text.size <= length + 1 || memcmp(text.data, level_names[level], length) != 0 ||
            text.data[length] != ':')
            continue;
        unsigned limit = 0;
        for (size_t i = length + 1; i < text.size; i++) {
            if (text.data[i] < '0' || text.data[i] > '9' || limit > LIMIT_MAX)
                return lilio_fail(info, LILIO_E_INVALID, "placement rule: the limit is 1..%d",
                                  LIMIT_MAX);
            limit = limit * 10 + (text.data[i] - '0');
        }
        if (limit < 1 || limit > LIMIT_MAX || (level == LEVEL_OSD && limit != 1))
            return lilio_fail(info, LILIO_E_INVALID,
                              "placement rule: the limit is 1..%d, and 1 on level osd", LIMIT_MAX);
        *ret = (struct rule){level, limit};
        return LILIO_OK;
    }
    return lilio_fail(info, LILIO_E_INVALID,
                      "placement rule: want zone, rack, host or osd, a colon and a limit");
}

/* The labels down to the level ("z1/r2" for rack). False when the OSD has fewer: then it is a
 * domain by itself. */
static bool domain_label(const struct proto_osd *osd, unsigned level, struct base_slice *ret)
{
    unsigned slashes = 0;
    for (size_t i = 0; i < osd->domain.size; i++)
        if (osd->domain.data[i] == '/' && slashes++ == level) {
            *ret = base_slice(osd->domain.data, i);
            return true;
        }
    *ret = osd->domain;
    return osd->domain.size > 0 && slashes == level;
}

struct member {
    const struct proto_osd *osd;
    uint32_t domain;   /* number of its domain */
    uint32_t presence; /* partitions it is in so far */
    bool taken;        /* in the partition at hand */
};
struct table {
    struct rule rule;
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
        bool labelled = domain_label(member->osd, table->rule.level, &label);
        member->domain = (uint32_t)table->domain_count;
        for (size_t j = 0; labelled && j < i && member->domain == table->domain_count; j++)
            if (domain_label(table->members[j].osd, table->rule.level, &other) &&
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
                          level_names[table->rule.level], table->rule.limit, table->domain_count,
                          place_count);
    return LILIO_OK;
}

static enum lilio_err table_init(struct table *table, const struct proto_osd *osds,
                                 size_t osd_count, uint8_t width, struct base_slice rule,
                                 struct lilio_errinfo *info)
{
    *table = (struct table){.width = width};
    enum lilio_err err = parse_rule(rule, &table->rule, info);
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

uint32_t proto_slot_osd(const struct proto_placement *placement, uint32_t partition, uint32_t index)
{
    uint64_t at = 2 * ((uint64_t)partition * placement->width + index);
    if (index >= placement->width || at + 2 > placement->slots.size)
        return PROTO_OSD_NONE;
    return base_le16_get(placement->slots.data + at);
}
