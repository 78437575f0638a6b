/* Aim: every object is judged as its fragments are, the worst of a walk are listed and none is
 * forgotten or counted twice, in the room that was given. Method: random rows, maps and lists
 * against judgements made fragment by fragment and sorted lists. */
#include "client/damage_list.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/support/cmocka_all.h"

#include "base/banned.h"

enum { OSDS = 8, DATA = 3, TOTAL = 5, STRIPES_MAX = 40, EXCEPTIONS = 6, FRAGMENT = 4096 };

static uint64_t random_below(uint64_t *seed, uint64_t below)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (*seed >> 33) % below;
}

/* ---- a row against its fragments ---- */

struct sample {
    struct proto_osd osds[OSDS];
    uint8_t slots[(2 * TOTAL) << 4];
    struct proto_placement placement;
    struct proto_cluster_map map;
    struct proto_exception exceptions[EXCEPTIONS];
    uint8_t checksums[4 * STRIPES_MAX * TOTAL];
    struct proto_data_row row;
    uint32_t stripes;
};

static void sample_make(struct sample *sample, uint64_t *seed)
{
    *sample = (struct sample){.stripes = (uint32_t)(1 + random_below(seed, STRIPES_MAX))};
    for (uint32_t i = 0; i < OSDS; i++)
        sample->osds[i] = (struct proto_osd){
            .id = 3 * i,
            .state = random_below(seed, 8) ? PROTO_OSD_UP : (uint8_t)(1 + random_below(seed, 7)),
            .complete = random_below(seed, 12) > 0,
        };
    for (uint32_t partition = 0; partition < 16; partition++) {
        uint32_t first = (uint32_t)random_below(seed, OSDS);
        for (uint32_t i = 0; i < TOTAL; i++)
            base_le16_put(sample->slots + 2 * (partition * TOTAL + i),
                          (uint16_t)(3 * ((first + i) % OSDS)));
    }
    sample->placement = (struct proto_placement){
        .id = 4,
        .width = TOTAL,
        .partition_bits = 4,
        .slots = base_slice(sample->slots, sizeof sample->slots),
    };
    sample->map = (struct proto_cluster_map){.osds = sample->osds,
                                             .osds_count = OSDS,
                                             .placements = &sample->placement,
                                             .placements_count = 1};
    size_t count = random_below(seed, EXCEPTIONS + 1);
    for (size_t i = 0; i < count; i++) {
        uint32_t first = (uint32_t)random_below(seed, sample->stripes);
        sample->exceptions[i] = (struct proto_exception){
            .first_stripe = first,
            .stripe_count = (uint32_t)(1 + random_below(seed, sample->stripes - first)),
            .index = (uint8_t)random_below(seed, TOTAL),
            .kind = random_below(seed, 2) ? 1 : 3,
        };
    }
    sample->row = (struct proto_data_row){
        .oid = base_oid_make(0, 7, *seed >> 20),
        .bucket_id = 1,
        .profile = {.data_count = DATA,
                    .parity_count = TOTAL - DATA,
                    .fragment_size = FRAGMENT,
                    .generator = 2},
        .placement = 4,
        .stored_length = (uint64_t)DATA * FRAGMENT * sample->stripes,
        .state = 2,
        .checksums = base_slice(sample->checksums, 4 * (size_t)sample->stripes * TOTAL),
        .exceptions = sample->exceptions,
        .exceptions_count = count,
    };
    assert_int_equal(proto_row_check(&sample->row, NULL), LILIO_OK);
}

/* 0 gone, 1 away, 2 at a disk that failed, 3 good */
static int fragment_state(const struct sample *sample, uint32_t stripe, uint32_t index)
{
    uint32_t partition = proto_partition(4, sample->row.oid, stripe);
    uint16_t id = base_le16_get(sample->slots + 2 * (partition * TOTAL + index));
    const struct proto_osd *osd = &sample->osds[id / 3];
    if (proto_row_missing(&sample->row, stripe) >> index & 1)
        return 0;
    switch (osd->state) {
    case PROTO_OSD_NEW:
    case PROTO_OSD_BLANK: return 0;
    case PROTO_OSD_UP:
    case PROTO_OSD_SUSPECT: return osd->complete ? 3 : 1;
    case PROTO_OSD_FAILED: return osd->complete ? 2 : 1;
    default: return 1;
    }
}

static void test_rows_are_judged_by_their_fragments(void **state)
{
    (void)state;
    uint64_t seed = 11, seen_lost = 0, seen_unreadable = 0, seen_whole = 0;
    struct sample *sample = malloc(sizeof *sample);
    struct proto_trusts *trusts = malloc(sizeof *trusts);
    assert_non_null(sample);
    assert_non_null(trusts);
    for (int round = 0; round < 3000; round++) {
        struct client_judgement judgement = {0};
        uint64_t hurt = 0, unreadable = 0, lost = 0;
        int least = TOTAL;
        sample_make(sample, &seed);
        memset(trusts, 0, sizeof *trusts);
        for (size_t i = 0; i < OSDS; i++)
            proto_trusts_set(trusts, &sample->osds[i]);
        for (uint32_t s = 0; s < sample->stripes; s++) {
            int good = 0, readable = 0, kept = 0;
            for (uint32_t i = 0; i < TOTAL; i++) {
                good += fragment_state(sample, s, i) == 3;
                readable += fragment_state(sample, s, i) >= 2;
                kept += fragment_state(sample, s, i) > 0;
            }
            if (good < DATA)
                good = readable < DATA ? readable : DATA;
            hurt += good < TOTAL;
            unreadable += good < DATA;
            lost += kept < DATA;
            least = good < least ? good : least;
        }
        assert_int_equal(client_judge_row(trusts, &sample->map, &sample->row, &judgement, NULL),
                         LILIO_OK);
        assert_int_equal(judgement.stripes, sample->stripes);
        assert_int_equal(judgement.hurt, hurt);
        assert_int_equal(judgement.unreadable, unreadable);
        assert_int_equal(judgement.lost, lost);
        assert_int_equal(judgement.kept<DATA, lost> 0);
        if (lost == 0)
            assert_int_equal(judgement.good, least);
        if (unreadable == 0)
            assert_int_equal(client_judgement_survives(&judgement), least - DATA);
        seen_lost += lost > 0;
        seen_unreadable += unreadable > lost;
        seen_whole += hurt == 0;
    }
    assert_true(seen_lost > 20 && seen_unreadable > 20 && seen_whole > 20);
    sample->row.placement = 5;
    struct client_judgement judgement = {0};
    assert_int_equal(client_judge_row(trusts, &sample->map, &sample->row, &judgement, NULL),
                     LILIO_E_MALFORMED);
    free(trusts);
    free(sample);
}

/* ---- the list ---- */

struct wanted {
    char key[16];
    struct client_judgement judgement;
};

static int worse_first(const void *a, const void *b)
{
    const struct wanted *x = a, *y = b;
    int order = client_judgement_compare(&y->judgement, &x->judgement);
    return order ? order : strcmp(x->key, y->key);
}

static void list_round(uint64_t *seed, size_t count, size_t limit)
{
    struct client_damage_list list = {.limit = limit};
    struct wanted *wanted = calloc(count, sizeof *wanted);
    assert_non_null(wanted);
    for (size_t i = 0; i < count; i++) {
        struct client_judgement *judgement = &wanted[i].judgement;
        uint64_t stripes = 1 + random_below(seed, 4);
        (void)snprintf(wanted[i].key, sizeof wanted[i].key, "%06u",
                       (unsigned)(i * 7919 % count)); /* each once where count is no multiple */
        for (uint64_t s = 0; s < stripes; s++) {
            uint64_t kept = random_below(seed, 1u << TOTAL);
            client_judgement_add(judgement, DATA, TOTAL, kept & random_below(seed, 1u << TOTAL),
                                 kept);
        }
        assert_int_equal(client_damage_list_add(&list, base_slice_str("b"),
                                                base_slice_str(wanted[i].key), i, judgement),
                         LILIO_OK);
        assert_true(list.room <= 2 * limit + 64);
    }
    qsort(wanted, count, sizeof *wanted, worse_first);
    client_damage_list_finish(&list);
    assert_int_equal(list.count, count < limit ? count : limit);
    assert_int_equal(list.omitted, count < limit ? 0 : count - limit);
    for (size_t i = 0; i < list.count; i++)
        assert_string_equal(list.items[i].key, wanted[i].key);
    client_damage_list_release(&list);
    free(wanted);
}

static void test_the_worst_are_listed(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (size_t limit = 1; limit < 400; limit = 2 * limit + 1)
        for (size_t count = 1; count < 3000; count = 5 * count + 3)
            list_round(&seed, count, limit);
}

static void test_runs_of_one_object_are_one_item(void **state)
{
    (void)state;
    struct client_damage_list list = {.limit = 10};
    struct client_judgement mild = {0}, bad = {0};
    client_judgement_add(&mild, DATA, TOTAL, 0xf, 0xf);
    client_judgement_add(&bad, DATA, TOTAL, 1, 1);
    static const char *const keys[] = {"x", "a", "x", "b"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(client_damage_list_add(&list, base_slice_str("b"), base_slice_str(keys[i]),
                                                i, i == 2 ? &bad : &mild),
                         LILIO_OK);
    client_damage_list_finish(&list);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.items[0].key, "x");
    assert_int_equal(list.items[0].judgement.stripes, 2);
    assert_int_equal(list.items[0].judgement.lost, 1);
    assert_int_equal(list.items[0].more_names, 2);
    assert_string_equal(list.items[1].key, "a");
    client_damage_list_release(&list);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_judged_by_their_fragments),
        cmocka_unit_test(test_the_worst_are_listed),
        cmocka_unit_test(test_runs_of_one_object_are_one_item),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
