/* Aim: slot tables keep their promises for any set of OSDs, and a partition is what every other
 * program computes. Method: properties over seeded clusters (order, ids, weights, domains, rules),
 * each checked in every partition; refusals with their counts; known hash values. */
#include "proto/placement.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "proto/ring_priv.h"
#include "tests/support/cmocka_all.h"

#include "base/banned.h"

enum { OSDS_MAX = 64, BITS = PROTO_PARTITION_BITS, PARTITIONS = 1 << BITS, WIDTH_MAX = 48 };

struct cluster {
    struct proto_osd osds[OSDS_MAX];
    char domains[OSDS_MAX][32];
    size_t count;
    uint8_t width;
    uint8_t slots[2 * WIDTH_MAX * PARTITIONS];
    struct lilio_errinfo info;
};

static struct cluster *cluster_new(size_t count, uint8_t width)
{
    struct cluster *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->count = count;
    c->width = width;
    for (size_t i = 0; i < count; i++)
        c->osds[i] = (struct proto_osd){.id = (uint32_t)i, .weight = 1000};
    return c;
}

static void set_domain(struct cluster *c, size_t i, unsigned zone, unsigned rack, unsigned host)
{
    int size = snprintf(c->domains[i], sizeof c->domains[i], "z%u/r%u/h%u", zone, rack, host);
    c->osds[i].domain = base_slice(c->domains[i], (size_t)size);
}

static enum lilio_err compute(struct cluster *c, const char *rule)
{
    c->info = (struct lilio_errinfo){0};
    return proto_placement_compute(c->osds, c->count, c->width, base_slice_str(rule), BITS,
                                   c->slots, &c->info);
}

static uint32_t slot(const struct cluster *c, uint32_t partition, uint32_t index)
{
    return base_le16_get(c->slots + 2 * (partition * c->width + index));
}

/* The labels of an OSD down to the level; the OSD itself where it has fewer. Told apart by text
 * here, not by number. */
static void domain_name(const struct cluster *c, uint32_t id, unsigned level, char ret[48])
{
    const struct proto_osd *osd = NULL;
    for (size_t i = 0; i < c->count; i++)
        if (c->osds[i].id == id)
            osd = &c->osds[i];
    assert_non_null(osd);
    size_t end = 0;
    unsigned labels = 0;
    for (; end < osd->domain.size && labels <= level; end++)
        if (osd->domain.data[end] == '/' && labels++ == level)
            break;
    if (osd->domain.size == 0 || (end == osd->domain.size && labels < level))
        (void)snprintf(ret, 48, "osd.%u", id);
    else
        (void)snprintf(ret, 48, "label %.*s", (int)end, (const char *)osd->domain.data);
}

/* No OSD twice, none without weight, no domain over its limit. */
static void check_partitions(const struct cluster *c, unsigned level, unsigned limit)
{
    for (uint32_t partition = 0; partition < PARTITIONS; partition++)
        for (uint32_t i = 0; i < c->width; i++) {
            unsigned same_domain = 1;
            char mine[48], other[48];
            domain_name(c, slot(c, partition, i), level, mine);
            for (uint32_t j = 0; j < i; j++) {
                assert_int_not_equal(slot(c, partition, i), slot(c, partition, j));
                domain_name(c, slot(c, partition, j), level, other);
                same_domain += strcmp(mine, other) == 0;
            }
            assert_true(same_domain <= limit);
        }
    for (size_t i = 0; i < c->count; i++)
        for (uint32_t at = 0; at < (uint32_t)PARTITIONS * c->width && c->osds[i].weight == 0; at++)
            assert_int_not_equal(base_le16_get(c->slots + 2 * at), c->osds[i].id);
}

static unsigned slot_count(const struct cluster *c, uint32_t id, uint32_t index_below)
{
    unsigned count = 0;
    for (uint32_t partition = 0; partition < PARTITIONS; partition++)
        for (uint32_t i = 0; i < index_below; i++)
            count += slot(c, partition, i) == id;
    return count;
}

static void test_seeded_clusters(void **state)
{
    (void)state;
    static const char *const levels[] = {"zone", "rack", "host", "osd"};
    uint64_t seed = 11;
    struct base_random random = base_random_seeded(&seed);
    unsigned granted = 0, refused = 0;
    for (int round = 0; round < 150; round++) {
        struct cluster *c = cluster_new(1 + base_random_u64(&random) % OSDS_MAX,
                                        (uint8_t)(1 + base_random_u64(&random) % 14));
        unsigned level = base_random_u64(&random) % 4,
                 limit = level == 3 ? 1 : 1 + base_random_u64(&random) % 4;
        char rule[16];
        (void)snprintf(rule, sizeof rule, "%s:%u", levels[level], limit);
        for (size_t i = 0; i < c->count; i++) {
            uint64_t v = base_random_u64(&random);
            c->osds[i].id = (uint32_t)(i * 7 + v % 7);
            c->osds[i].weight = v >> 8 & 7 ? (uint32_t)(100 + (v >> 16) % 3000) : 0;
            if (v >> 32 & 7)
                set_domain(c, i, v >> 40 & 3, v >> 44 & 3, v >> 48 & 3);
        }
        if (compute(c, rule) == LILIO_OK) {
            check_partitions(c, level, limit);
            granted++;
        } else {
            assert_true(c->info.err == LILIO_E_INVALID && c->info.text[0]);
            refused++;
        }
        free(c);
    }
    assert_true(granted > 50 && refused > 5);
}

static void test_order_does_not_matter(void **state)
{
    (void)state;
    struct cluster *c = cluster_new(20, 6), *again = cluster_new(20, 6);
    for (size_t i = 0; i < c->count; i++) {
        c->osds[i].weight = (uint32_t)(500 + 100 * i);
        set_domain(c, i, 0, (unsigned)i % 5, (unsigned)i);
    }
    assert_int_equal(compute(c, "rack:2"), LILIO_OK);
    uint64_t seed = 5;
    struct base_random random = base_random_seeded(&seed);
    for (int round = 0; round < 20; round++) {
        memcpy(again->osds, c->osds, sizeof c->osds);
        for (size_t i = c->count - 1; i > 0; i--) {
            size_t j = base_random_u64(&random) % (i + 1);
            struct proto_osd swap = again->osds[i];
            again->osds[i] = again->osds[j];
            again->osds[j] = swap;
        }
        assert_int_equal(compute(again, "rack:2"), LILIO_OK);
        assert_memory_equal(c->slots, again->slots, 2 * 6 * PARTITIONS);
    }
    free(c);
    free(again);
}

/* As many OSDs as fragments: each holds one slot of every partition, and every index about equally
 * often. */
static void test_roles_are_spread(void **state)
{
    (void)state;
    struct cluster *c = cluster_new(6, 6);
    assert_int_equal(compute(c, "osd:1"), LILIO_OK);
    check_partitions(c, 3, 1);
    for (uint32_t id = 0; id < 6; id++) {
        assert_int_equal(slot_count(c, id, 6), PARTITIONS);
        unsigned data = slot_count(c, id, 4);
        assert_in_range(data, PARTITIONS * 4 / 6 - 10, PARTITIONS * 4 / 6 + 10);
    }
    free(c);
}

static void test_weights(void **state)
{
    (void)state;
    struct cluster *c = cluster_new(40, 6);
    for (size_t i = 0; i < c->count; i++)
        c->osds[i].weight = i < 10 ? 0 : i < 25 ? 1000 : 2000;
    assert_int_equal(compute(c, "osd:1"), LILIO_OK);
    unsigned light = 0, heavy = 0;
    for (uint32_t id = 0; id < 40; id++) {
        unsigned count = slot_count(c, id, 6);
        assert_true(id < 10 ? count == 0 : count > 0); /* all are used that may be */
        if (id >= 10)
            *(id < 25 ? &light : &heavy) += count;
    }
    assert_in_range(100 * heavy / light, 160, 240);
    c->osds[39].weight = 1; /* less than one virtual node's worth is still one */
    assert_int_equal(compute(c, "osd:1"), LILIO_OK);
    free(c);
}

/* Another OSD takes slots, but most stay where they are: that is what the ring is for. */
static void test_growth_moves_little(void **state)
{
    (void)state;
    struct cluster *before = cluster_new(20, 6), *after = cluster_new(21, 6);
    assert_int_equal(compute(before, "osd:1"), LILIO_OK);
    assert_int_equal(compute(after, "osd:1"), LILIO_OK);
    unsigned left = 0;
    for (uint32_t partition = 0; partition < PARTITIONS; partition++)
        for (uint32_t i = 0; i < 6; i++) {
            bool stays = false;
            for (uint32_t j = 0; j < 6; j++)
                stays |= slot(before, partition, i) == slot(after, partition, j);
            left += !stays;
        }
    assert_in_range(left, 1, 6 * PARTITIONS / 21 * 3 / 2);
    free(before);
    free(after);
}

static void test_refusals(void **state)
{
    (void)state;
    struct cluster *c = cluster_new(5, 6);
    assert_int_equal(compute(c, "osd:1"), LILIO_E_INVALID);
    assert_non_null(strstr(c->info.text, "6"));
    assert_non_null(strstr(c->info.text, "5"));
    c->count = 6;
    c->osds[5] = (struct proto_osd){.id = 5, .weight = 0};
    assert_int_equal(compute(c, "osd:1"), LILIO_E_INVALID); /* it may not be used */
    c->osds[5].weight = 1000;
    assert_int_equal(compute(c, "osd:1"), LILIO_OK);
    for (size_t i = 0; i < 6; i++)
        set_domain(c, i, 0, (unsigned)i / 3, (unsigned)i);
    assert_int_equal(compute(c, "rack:2"), LILIO_E_INVALID);
    assert_non_null(strstr(c->info.text, "room for 4"));
    assert_int_equal(compute(c, "rack:3"), LILIO_OK);
    check_partitions(c, 1, 3);
    assert_int_equal(compute(c, "zone:5"), LILIO_E_INVALID);
    assert_int_equal(compute(c, "host:1"), LILIO_OK);
    c->osds[4].id = 2;
    assert_int_equal(compute(c, "osd:1"), LILIO_E_INVALID);
    c->osds[4].id = PROTO_OSD_NONE;
    assert_int_equal(compute(c, "osd:1"), LILIO_E_INVALID);
    c->osds[4].id = 4;
    c->osds[4].weight = UINT32_MAX;
    assert_int_equal(compute(c, "osd:1"), LILIO_E_INVALID);
    c->osds[4].weight = 1000;
    static const char *const rules[] = {
        "",        "osd",     "osd:",    "osd:0",
        "osd:2",   "rack:0",  "rack:49", "rack:x",
        "rack:1 ", "pod:1",   "rack:-1", "rack",
        ":1",      "osd:1:1", "Rack:1",  "rack:99999999999999999999"};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        assert_int_equal(compute(c, rules[i]), LILIO_E_INVALID);
    c->width = 0;
    assert_int_equal(compute(c, "osd:1"), LILIO_E_INVALID);
    c->width = 49;
    assert_int_equal(compute(c, "osd:1"), LILIO_E_INVALID);
    c->width = 1;
    assert_int_equal(
        proto_placement_compute(c->osds, c->count, 1, base_slice_str("osd:1"), 17, c->slots, NULL),
        LILIO_E_INVALID);
    assert_int_equal(
        proto_placement_compute(NULL, 0, 1, base_slice_str("osd:1"), 0, c->slots, NULL),
        LILIO_E_INVALID);
    assert_int_equal(
        proto_placement_compute(c->osds, 1, 1, base_slice_str("osd:1"), 0, c->slots, NULL),
        LILIO_OK);
    assert_int_equal(base_le16_get(c->slots), 0);
    free(c);
}

/* ---- the ring ---- */

/* All points collide at first, some also at the second attempt. */
static uint64_t bad_hash(uint32_t osd_id, uint32_t vnode, uint32_t attempt)
{
    if (attempt == 0)
        return 7;
    return attempt == 1 ? vnode % 3 : (uint64_t)osd_id << 32 | vnode << 8 | attempt;
}

static void test_ring_rehashes(void **state)
{
    (void)state;
    struct proto_osd osds[4] = {{.id = 1, .weight = 100},
                                {.id = 2, .weight = 100},
                                {.id = 3, .weight = 50},
                                {.id = 9, .weight = 100}};
    const struct proto_osd *sorted[] = {&osds[0], &osds[1], &osds[2], &osds[3]};
    struct proto_ring ring;
    assert_int_equal(proto_ring_init(sorted, 4, &ring, NULL), LILIO_OK);
    assert_int_equal(ring.count, 15 + 15 + 8 + 15);
    for (int hash = 0; hash < 2; hash++) {
        for (size_t i = 1; i < ring.count; i++)
            assert_true(ring.points[i].at > ring.points[i - 1].at);
        proto_ring_place(&ring, sorted, bad_hash);
    }
    assert_int_equal(proto_ring_find(&ring, 0), 0);
    assert_int_equal(proto_ring_find(&ring, ring.points[5].at), 5);
    assert_int_equal(proto_ring_find(&ring, ring.points[5].at + 1), 6);
    assert_int_equal(proto_ring_find(&ring, UINT64_MAX), 0); /* around the end */
    proto_ring_release(&ring);
}

/* ---- partitions and slots ---- */

static void test_partition(void **state)
{
    (void)state;
    /* Top bits of XXH64, seed 0, of the oid and the stripe, big endian, as computed by the
     * reference implementation. */
    static const struct {
        struct base_oid oid;
        uint32_t stripe, partition;
    } cases[] = {{{0, 0}, 0, 369},
                 {{1, 2}, 3, 310},
                 {{0x0123456789abcdef, 0xfedcba9876543210}, 0xffffffff, 695}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(proto_partition(10, cases[i].oid, cases[i].stripe), cases[i].partition);
        assert_int_equal(proto_partition(0, cases[i].oid, cases[i].stripe), 0);
        for (uint8_t bits = 1; bits <= 16; bits++) /* growing p splits a partition in two */
            assert_int_equal(proto_partition(bits, cases[i].oid, cases[i].stripe) >> 1,
                             proto_partition((uint8_t)(bits - 1), cases[i].oid, cases[i].stripe));
    }
    unsigned hits[16] = {0};
    for (uint32_t stripe = 0; stripe < 16000; stripe++)
        hits[proto_partition(4, base_oid_make(0, 5, stripe / 10), stripe % 10)]++;
    for (int i = 0; i < 16; i++)
        assert_in_range(hits[i], 850, 1150);
}

static void test_slot(void **state)
{
    (void)state;
    static const uint8_t slots[] = {1, 0, 2, 0, 3, 0, 0xff, 0xff};
    struct proto_placement placement = {
        .width = 2, .partition_bits = 1, .slots = base_slice(slots, sizeof slots)};
    assert_int_equal(proto_slot_osd(&placement, 0, 0), 1);
    assert_int_equal(proto_slot_osd(&placement, 0, 1), 2);
    assert_int_equal(proto_slot_osd(&placement, 1, 0), 3);
    assert_int_equal(proto_slot_osd(&placement, 1, 1), PROTO_OSD_NONE);
    assert_int_equal(proto_slot_osd(&placement, 0, 2), PROTO_OSD_NONE);
    assert_int_equal(proto_slot_osd(&placement, 2, 0), PROTO_OSD_NONE);
    assert_int_equal(proto_slot_osd(&placement, UINT32_MAX, UINT32_MAX), PROTO_OSD_NONE);
    placement.slots.size = 7;
    assert_int_equal(proto_slot_osd(&placement, 1, 1), PROTO_OSD_NONE);
}

static void test_state_names(void **state)
{
    (void)state;
    static const char *const names[] = {"unknown", "up",  "suspect", "down",   "out",
                                        "failed",  "new", "blank",   "unknown"};
    for (uint8_t i = 0; i < 9; i++)
        assert_string_equal(proto_osd_state_name(i), names[i]);
    assert_string_equal(proto_osd_state_name(255), "unknown");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seeded_clusters),
        cmocka_unit_test(test_order_does_not_matter),
        cmocka_unit_test(test_roles_are_spread),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_growth_moves_little),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_ring_rehashes),
        cmocka_unit_test(test_partition),
        cmocka_unit_test(test_slot),
        cmocka_unit_test(test_state_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
