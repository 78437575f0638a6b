/* Aim: a rebuild picks what belongs here, the most endangered first, and gives a stripe up only
 * when no set of its fragments decodes. Method: maps and rows made by hand; every pattern of failed
 * sources of 4+2 for every fragment, each source failing in every way it can. */
#include "osd/rebuild.h"

#include <stdio.h>

#include "osd/limits.h"
#include "tests/unit/osd/osd_parts.h"

#include "base/banned.h"

struct fixture {
    struct proto_map_ref *map_ref;
    struct proto_cluster_map map; /* a copy that may be changed */
    struct proto_osd osds[PARTS_OSDS];
    struct codec_coder *coder;
    struct proto_exception exceptions[4];
    struct proto_data_row row;
};

static void fixture_init(struct fixture *f)
{
    struct codec_profile profile = parts_profile();
    *f = (struct fixture){.map_ref = parts_map(5)};
    f->map = *proto_map_ref_get(f->map_ref);
    memcpy(f->osds, f->map.osds, sizeof f->osds);
    f->map.osds = f->osds;
    assert_int_equal(codec_coder_new(&profile, &f->coder, NULL), LILIO_OK);
    f->row = (struct proto_data_row){
        .oid = {7, 1},
        .profile = {.data_count = PARTS_DATA,
                    .parity_count = PARTS_PARITY,
                    .fragment_size = PARTS_FRAGMENT,
                    .generator = CODEC_CAUCHY1},
        .placement = PARTS_PLACEMENT,
        .stored_length = (uint64_t)PARTS_DATA * PARTS_FRAGMENT * 3,
        .exceptions = f->exceptions,
    };
}

static void fixture_release(struct fixture *f)
{
    codec_coder_free(&f->coder);
    proto_map_ref_drop(&f->map_ref);
}

static void except(struct fixture *f, uint32_t stripe, uint32_t index, uint8_t kind, uint32_t osd)
{
    f->exceptions[f->row.exceptions_count++] = (struct proto_exception){
        .first_stripe = stripe,
        .stripe_count = 1,
        .index = (uint8_t)index,
        .kind = kind,
        .osd = osd,
    };
}

static void test_what_belongs_here(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    for (uint32_t stripe = 0; stripe < 3; stripe++) {
        uint64_t all = 0;
        for (uint32_t osd = 0; osd < PARTS_OSDS; osd++) {
            uint64_t own = osd_rebuild_own(&f.map, &f.row, stripe, osd);
            assert_int_equal(__builtin_popcountll(own), 1);
            assert_int_equal(parts_owner(f.row.oid, stripe, (uint32_t)__builtin_ctzll(own)), osd);
            all |= own;
        }
        assert_int_equal(all, (1 << PARTS_OSDS) - 1);
    }
    uint32_t owner = parts_owner(f.row.oid, 1, 2), other = parts_owner(f.row.oid, 1, 3);
    except(&f, 1, 2, 2, other); /* fragment 2 is at another OSD */
    assert_int_equal(osd_rebuild_own(&f.map, &f.row, 1, owner), 0);
    assert_int_equal(osd_rebuild_own(&f.map, &f.row, 1, other), 1 << 2 | 1 << 3);
    fixture_release(&f);
}

static void test_levels(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    uint64_t own = osd_rebuild_own(&f.map, &f.row, 0, 0);
    assert_int_equal(osd_rebuild_level(&f.map, &f.row, 0, own), 1); /* 5 others, 4 needed */
    f.osds[1].state = PROTO_OSD_SUSPECT;
    f.osds[2].state = PROTO_OSD_FAILED; /* still reads */
    assert_int_equal(osd_rebuild_level(&f.map, &f.row, 0, own), 1);
    f.osds[3].state = PROTO_OSD_DOWN;
    assert_int_equal(osd_rebuild_level(&f.map, &f.row, 0, own), 0);
    uint32_t index = (uint32_t)__builtin_ctzll(osd_rebuild_own(&f.map, &f.row, 0, 4));
    except(&f, 0, index, 1, 0);
    assert_int_equal(osd_rebuild_level(&f.map, &f.row, 0, own), OSD_LEVEL_LOST);
    assert_int_equal(osd_rebuild_level(&f.map, &f.row, 1, osd_rebuild_own(&f.map, &f.row, 1, 0)),
                     0);
    fixture_release(&f);
}

static void mend_init(struct fixture *f, struct osd_mend *mend, uint32_t index)
{
    osd_mend_init(mend, f->coder, &f->map, &f->row, 0, index, ~(UINT64_C(1) << index));
}

/* Runs a mend where the sources of the mask fail with err; never asks twice, never itself, and not
 * more than needed. */
static enum osd_mend_state run(struct osd_mend *mend, uint32_t index, uint64_t failing,
                               enum lilio_err err)
{
    uint64_t asked = 0;
    for (int next; (next = osd_mend_next(mend)) >= 0;) {
        assert_int_not_equal(next, index);
        assert_false(asked >> next & 1);
        asked |= 1ull << next;
        assert_true(__builtin_popcountll(mend->good | mend->asked) <= PARTS_DATA);
        assert_int_equal(osd_mend_state(mend), OSD_MEND_READING);
        osd_mend_result(mend, (uint32_t)next, (uint32_t)next + 10,
                        failing >> next & 1 ? err : LILIO_OK);
    }
    return osd_mend_state(mend);
}

static void test_every_pattern_of_failures(void **state)
{
    const enum lilio_err errs[] = {LILIO_E_MISSING,     LILIO_E_CORRUPT, LILIO_E_TIMEOUT,
                                   LILIO_E_UNAVAILABLE, LILIO_E_IO,      LILIO_E_WRONG_OSD};
    struct fixture f;
    (void)state;
    fixture_init(&f);
    for (size_t e = 0; e < sizeof errs / sizeof errs[0]; e++)
        for (uint32_t index = 0; index < PARTS_OSDS; index++)
            for (uint64_t failing = 0; failing < 1 << PARTS_OSDS; failing++) {
                struct osd_mend mend;
                char text[512];
                int left = PARTS_OSDS - 1 - __builtin_popcountll(failing & ~(1ull << index));
                mend_init(&f, &mend, index);
                enum osd_mend_state end = run(&mend, index, failing, errs[e]);
                assert_int_equal(end, left >= PARTS_DATA ? OSD_MEND_READY : OSD_MEND_STUCK);
                if (end == OSD_MEND_READY) {
                    struct codec_plan plan;
                    assert_int_equal(codec_plan_make(f.coder, mend.good, mend.wanted, &plan, NULL),
                                     LILIO_OK);
                    continue;
                }
                osd_mend_explain(&mend, text, sizeof text);
                for (uint32_t i = 0; i < PARTS_OSDS; i++) {
                    char name[32];
                    (void)snprintf(name, sizeof name, "fragment %u at osd.%u", i, i + 10);
                    assert_int_equal(strstr(text, name) != NULL,
                                     (failing & ~(1ull << index)) >> i & 1);
                }
                osd_mend_explain(&mend, text, 20); /* cut, behind a word */
                assert_in_range(strlen(text), 4, 19);
                assert_string_equal(text + strlen(text) - 4, " ...");
            }
    fixture_release(&f);
}

static void test_likely_sources_first(void **state)
{
    struct fixture f;
    struct osd_mend mend;
    (void)state;
    fixture_init(&f);
    f.osds[parts_owner(f.row.oid, 0, 0)].state = PROTO_OSD_DOWN;
    except(&f, 0, 2, 1, 0);
    mend_init(&f, &mend, 5);
    const int order[] = {1, 3, 4, 0}; /* data that is up, parity, then the others */
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(osd_mend_next(&mend), order[i]);
    assert_int_equal(osd_mend_next(&mend), -1);
    osd_mend_result(&mend, 0, parts_owner(f.row.oid, 0, 0), LILIO_E_UNAVAILABLE);
    assert_int_equal(osd_mend_next(&mend), 2); /* even what is said to be missing */
    assert_int_equal(osd_mend_next(&mend), -1);
    fixture_release(&f);
}

static void test_tries_again_what_may_come_back(void **state)
{
    struct fixture f;
    struct osd_mend mend;
    uint32_t wait_ms;
    unsigned rounds = 0;
    (void)state;
    fixture_init(&f);
    mend_init(&f, &mend, 0);
    assert_int_equal(run(&mend, 0, 0x3f, LILIO_E_UNAVAILABLE), OSD_MEND_STUCK);
    for (; osd_mend_may_again(&mend, &wait_ms); rounds++) {
        assert_int_equal(wait_ms, OSD_REBUILD_RETRY_MS);
        osd_mend_again(&mend);
        assert_int_equal(run(&mend, 0, 0x3f, LILIO_E_UNAVAILABLE), OSD_MEND_STUCK);
    }
    assert_int_equal(rounds, OSD_REBUILD_ROUNDS);

    mend_init(&f, &mend, 0); /* what is missing does not come back */
    assert_int_equal(run(&mend, 0, 0x06, LILIO_E_MISSING), OSD_MEND_STUCK);
    assert_false(osd_mend_may_again(&mend, &wait_ms));

    mend_init(&f, &mend, 0); /* busy ones do, and soon; the good ones are kept */
    assert_int_equal(run(&mend, 0, 0x06, LILIO_E_BUSY), OSD_MEND_STUCK);
    assert_true(osd_mend_may_again(&mend, &wait_ms));
    assert_int_equal(wait_ms, OSD_REBUILD_BUSY_MS);
    uint64_t good = mend.good;
    osd_mend_again(&mend);
    assert_int_equal(run(&mend, 0, 0, LILIO_OK), OSD_MEND_READY);
    assert_int_equal(mend.good & good, good);
    fixture_release(&f);
}

/* Somebody else waited for those: no reason to wait, but they are asked again with those that are
 * one. */
static void test_waits_for_none_that_is_away(void **state)
{
    struct fixture f;
    struct osd_mend mend;
    uint32_t wait_ms;
    (void)state;
    fixture_init(&f);
    mend_init(&f, &mend, 0);
    assert_int_equal(run(&mend, 0, 0x06, LILIO_E_UNAVAILABLE), OSD_MEND_STUCK);
    osd_mend_away(&mend, 1);
    assert_true(osd_mend_may_again(&mend, &wait_ms)); /* the other one may be enough */
    osd_mend_again(&mend);
    assert_int_equal(mend.first, 0x06);
    assert_int_equal(run(&mend, 0, 0x06, LILIO_E_UNAVAILABLE), OSD_MEND_STUCK);
    osd_mend_away(&mend, 1);
    osd_mend_away(&mend, 2);
    assert_false(osd_mend_may_again(&mend, &wait_ms));

    mend_init(&f, &mend, 0); /* what is missing is not away */
    assert_int_equal(run(&mend, 0, 0x06, LILIO_E_MISSING), OSD_MEND_STUCK);
    osd_mend_away(&mend, 1);
    assert_int_equal(mend.away, 0);
    fixture_release(&f);
}

static void test_search_keeps_what_was_told(void **state)
{
    struct fixture f;
    struct osd_mend mend;
    char text[512];
    (void)state;
    fixture_init(&f);
    mend_init(&f, &mend, 0);
    assert_int_equal(run(&mend, 0, 0x06, LILIO_E_MISSING), OSD_MEND_STUCK);
    osd_mend_search(&mend);
    uint64_t searched = 0;
    for (int next; (next = osd_mend_next(&mend)) >= 0;) { /* the wanted one now, too */
        searched |= UINT64_C(1) << next;
        osd_mend_result(&mend, (uint32_t)next, 99, LILIO_E_WRONG_OSD);
    }
    assert_int_equal(searched, 0x07);
    assert_int_equal(osd_mend_state(&mend), OSD_MEND_STUCK);
    osd_mend_explain(&mend, text, sizeof text);
    assert_string_equal(text, "fragment 1 at osd.11: fragment missing; "
                              "fragment 2 at osd.12: fragment missing");
    fixture_release(&f);
}

static void test_source_check(void **state)
{
    struct parts_stripe stripe;
    uint8_t list[4 * CODEC_BLOCKS_MAX];
    (void)state;
    parts_stripe_make(&stripe, (struct base_oid){7, 1}, 0, PARTS_DATA * PARTS_FRAGMENT);
    uint32_t length = stripe.fragment_size, sum = stripe.checksums[1];
    struct proto_fragment_put put = parts_put(&stripe, 1, list);
    struct base_slice bytes = base_slice(stripe.bytes[1], length);
    struct proto_fragment good = {.payload_length = length, .block_checksums = put.block_checksums};
    assert_int_equal(osd_source_check(&good, bytes, length, sum, NULL), LILIO_OK);
    assert_int_equal(osd_source_check(&good, bytes, length, sum ^ 1, NULL), LILIO_E_CORRUPT);
    assert_int_equal(osd_source_check(&good, bytes, length + 64, sum, NULL), LILIO_E_CORRUPT);
    assert_int_equal(osd_source_check(&good, base_slice(bytes.data, length - 1), length, sum, NULL),
                     LILIO_E_CORRUPT);
    struct proto_fragment bad = good;
    bad.first_block = 1;
    assert_int_equal(osd_source_check(&bad, bytes, length, sum, NULL), LILIO_E_CORRUPT);
    bad = good;
    bad.block_checksums.size -= 4;
    assert_int_equal(osd_source_check(&bad, bytes, length, sum, NULL), LILIO_E_CORRUPT);
    list[0] ^= 1;
    assert_int_equal(osd_source_check(&good, bytes, length, sum, NULL), LILIO_E_CORRUPT);
    list[0] ^= 1;
    for (uint32_t at = 0; at < length; at += 4099) { /* any byte, in any block */
        stripe.bytes[1][at] ^= 0x10;
        assert_int_equal(osd_source_check(&good, bytes, length, sum, NULL), LILIO_E_CORRUPT);
        stripe.bytes[1][at] ^= 0x10;
    }
    parts_stripe_release(&stripe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_belongs_here),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_every_pattern_of_failures),
        cmocka_unit_test(test_likely_sources_first),
        cmocka_unit_test(test_tries_again_what_may_come_back),
        cmocka_unit_test(test_waits_for_none_that_is_away),
        cmocka_unit_test(test_search_keeps_what_was_told),
        cmocka_unit_test(test_source_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
