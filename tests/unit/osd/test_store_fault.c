/* Aim: a failing or full disk costs nothing that was acknowledged, is answered with the right code,
 * and never ends in a crash. Method: a random user whose n-th read, write, sync or change of names
 * fails, for n = 1, 2, ... until a run meets no fault, once and for ever; then the fault goes, the
 * store is opened again and compared with the model. Full disks by the crash disk's capacity. */
#include "store_model.h"

#include <stdlib.h>

#include "base/banned.h"

enum { STEPS = 60, POINTS_MAX = 400 };

/* Returns false when the n-th call did not come. */
static bool run_with_fault(enum crash_call call, uint64_t n, bool for_ever, enum lilio_err err)
{
    struct fixture *fixture = fixture_new(STORE_CRASH, 5);
    struct model model;
    model_init(&model, fixture, 900 + n % 7);
    fixture->options.segment_bytes = 160 * 1024;
    uint64_t before = crash_disk_calls(fixture->disk, call);
    crash_disk_fail(fixture->disk, call, n, for_ever, err);
    model.failing = true;
    enum lilio_err opened = fixture_try_open(fixture);
    if (opened == LILIO_OK) {
        bool healthy = true;
        for (int i = 0; i < STEPS && healthy; i++)
            healthy = model_step(&model);
        if (!healthy) { /* final: no more writes, and reads go on where the disk lets them */
            assert_int_equal(fixture_put(fixture, 40, 0, 4096), LILIO_E_READ_ONLY);
            assert_int_equal(fixture_remove(fixture, 1), LILIO_E_READ_ONLY);
            fixture_tick(fixture, 5);
            for (int i = 0; i < STEPS; i++)
                assert_false(model_step(&model));
        }
    } else {
        assert_int_equal(opened, err);
    }
    bool met = crash_disk_calls(fixture->disk, call) >= before + n;
    crash_disk_fail(fixture->disk, call, 0, false, LILIO_OK);
    fixture_close(fixture);
    fixture_open(fixture);
    assert_int_equal(fixture_stats(fixture).corrupt_record_count, 0);
    model_check(&model);
    fixture_free(fixture);
    return met;
}

static void loop(enum crash_call call, enum lilio_err err)
{
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        uint64_t n = 1;
        while (run_with_fault(call, n, for_ever, err) && n < POINTS_MAX)
            n += n < 40 ? 1 : 7;
        assert_true(n > 10);
    }
}

static void reads_fail(void **state)
{
    (void)state;
    loop(CRASH_READ, LILIO_E_IO);
}
static void writes_fail(void **state)
{
    (void)state;
    loop(CRASH_WRITE, LILIO_E_IO);
}
static void syncs_fail(void **state)
{
    (void)state;
    loop(CRASH_SYNC, LILIO_E_IO);
}
static void names_fail(void **state)
{
    (void)state;
    loop(CRASH_META, LILIO_E_IO);
}
static void names_find_no_space(void **state)
{
    (void)state;
    loop(CRASH_META, LILIO_E_NO_SPACE);
}
static void filesystem_turns_read_only(void **state)
{
    (void)state;
    loop(CRASH_META, LILIO_E_READ_ONLY);
}

/* Design rule 6, one call at a time: no later success makes up for a failed write or sync. */
static void failure_is_final(void **state)
{
    (void)state;
    for (int what = 0; what < 4; what++) {
        struct fixture *fixture = fixture_new(STORE_CRASH, 1);
        fixture_open(fixture);
        assert_int_equal(fixture_put(fixture, 0, 0, 65536), LILIO_OK);
        crash_disk_fail(fixture->disk, what % 2 ? CRASH_SYNC : CRASH_WRITE, 1, false, LILIO_E_IO);
        if (what < 2)
            assert_int_equal(fixture_put(fixture, 1, 0, 65536), LILIO_E_IO);
        else
            assert_int_equal(fixture_remove(fixture, 0), LILIO_E_IO);
        assert_int_equal(fixture->store->ops->health(fixture->store), LILIO_E_READ_ONLY);
        assert_int_equal(fixture_put(fixture, 2, 0, 65536), LILIO_E_READ_ONLY);
        assert_int_equal(fixture_remove(fixture, 0), LILIO_E_READ_ONLY);
        assert_int_equal(fixture->store->ops->set_complete(fixture->store, NULL),
                         LILIO_E_READ_ONLY);
        assert_int_equal(fixture_get(fixture, 0, 0, 65536, true), LILIO_OK);
        assert_int_equal(fixture_get(fixture, 1, 0, 65536, true), LILIO_E_MISSING);
        fixture_reopen(fixture);
        assert_int_equal(fixture->store->ops->health(fixture->store), LILIO_OK);
        assert_int_equal(fixture_put(fixture, 2, 0, 65536), LILIO_OK);
        fixture_free(fixture);
    }
}

/* What a failed sync left readable may be gone when the power goes: what a start shows of it is
 * there for good, puts and deletes alike, wherever the start itself is cut off. */
static void seen_after_a_failed_sync_is_durable(void **state)
{
    enum { OLD = 3, NEW = 6, LENGTH = 20480 };
    uint64_t kept = 0, whole = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct fixture *fixture = fixture_new(STORE_CRASH, seed);
        fixture_open(fixture);
        for (uint32_t i = 0; i < OLD; i++)
            assert_int_equal(fixture_put(fixture, i, 0, LENGTH), LILIO_OK);
        crash_disk_fail(fixture->disk, CRASH_SYNC, 1, false, LILIO_E_IO);
        if (seed % 2)
            assert_int_equal(fixture_remove(fixture, 0), LILIO_E_IO);
        else
            assert_int_equal(fixture_put(fixture, NEW, 0, LENGTH), LILIO_E_IO);
        fixture_close(fixture);
        if (seed % 4 > 1) { /* a start that is cut off */
            crash_disk_power_off_at(fixture->disk, 1 + seed / 4 % 16);
            whole += fixture_try_open(fixture) == LILIO_OK;
            crash_disk_power_off(fixture->disk);
            fixture_close(fixture);
            crash_disk_power_on(fixture->disk);
        }
        fixture_open(fixture);
        enum lilio_err seen[NEW + 1];
        for (uint32_t i = 0; i <= NEW; i++)
            seen[i] = fixture_get(fixture, i, 0, LENGTH, true);
        assert_true(seen[1] == LILIO_OK && seen[2] == LILIO_OK);
        assert_true(seen[0] == LILIO_OK || (seed % 2 && seen[0] == LILIO_E_MISSING));
        kept += seen[NEW] == LILIO_OK || seen[0] == LILIO_E_MISSING;
        for (int life = 0; life < 2; life++) {
            crash_disk_power_off(fixture->disk);
            fixture_close(fixture);
            crash_disk_power_on(fixture->disk);
            fixture_open(fixture);
            for (uint32_t i = 0; i <= NEW; i++)
                assert_int_equal(fixture_get(fixture, i, 0, LENGTH, true), seen[i]);
            assert_int_equal(fixture_stats(fixture).corrupt_record_count, 0);
        }
        fixture_free(fixture);
    }
    assert_true(kept > 50 && whole > 5 && whole < 60); /* of 200 and 100 */
}

static void power_fails_during_a_start(struct fixture *fixture, uint64_t n)
{
    crash_disk_power_off_at(fixture->disk, n);
    (void)fixture_try_open(fixture); /* it may have been through */
    crash_disk_power_off(fixture->disk);
    fixture_close(fixture);
    crash_disk_power_on(fixture->disk);
}

/* A start without an index writes the last batch again. What it wrote in vain, because a sync
 * failed, is nothing for which the next one may cut off the first copy. */
static void acknowledged_outlives_starts_that_fail(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 8; n++) {
        for (uint64_t point = 1; point <= 20; point++) {
            struct fixture *fixture = fixture_new(STORE_CRASH, 100 * n + point);
            fixture_open(fixture);
            assert_int_equal(fixture_put(fixture, 0, 0, 65536), LILIO_OK);
            fixture_close(fixture);
            crash_disk_fail(fixture->disk, CRASH_SYNC, n, false, LILIO_E_IO);
            (void)fixture_try_open(fixture); /* n may be past its end */
            crash_disk_fail(fixture->disk, CRASH_SYNC, 0, false, LILIO_OK);
            fixture_close(fixture);
            power_fails_during_a_start(fixture, point);
            fixture_open(fixture);
            assert_int_equal(fixture_get(fixture, 0, 0, 65536, true), LILIO_OK);
            assert_int_equal(fixture_stats(fixture).corrupt_record_count, 0);
            fixture_free(fixture);
        }
    }
}

/* A start that was cut off has begun the next segment, the torn end of the one before it is no
 * longer the log's: it is nobody's damage when that next segment is gone. */
static void torn_end_of_an_older_segment(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 160; seed++) {
        struct fixture *fixture = fixture_new(STORE_CRASH, seed);
        fixture_open(fixture);
        assert_int_equal(fixture_put(fixture, 0, 0, 20480), LILIO_OK);
        assert_int_equal(fixture_put(fixture, 1, 0, 20480), LILIO_OK);
        crash_disk_fail(fixture->disk, CRASH_SYNC, 1, false, LILIO_E_IO);
        assert_int_equal(fixture_put(fixture, 2, 0, 20480), LILIO_E_IO);
        fixture_close(fixture);
        power_fails_during_a_start(fixture, 1 + seed % 16);
        fixture_open(fixture);
        assert_int_equal(fixture_put(fixture, 3, 0, 20480), LILIO_OK);
        fixture_tick(fixture, 2);
        for (int life = 0; life < 2; life++) {
            fixture_reopen(fixture);
            fixture_tick(fixture, 2);
            assert_int_equal(fixture_stats(fixture).corrupt_record_count, 0);
            assert_int_equal(fixture_get(fixture, 3, 0, 20480, true), LILIO_OK);
        }
        fixture_free(fixture);
    }
}

/* An index that outlives the loss of power does not name what a failed sync lost. */
static void index_names_only_what_is_durable(void **state)
{
    (void)state;
    for (uint64_t point = 1; point <= 16; point++) {
        struct fixture *fixture = fixture_new(STORE_CRASH, point);
        char *dir = temp_dir_new();
        fixture->options.index_path = fixture->index_path = strdup(temp_dir_path(dir, "index"));
        fixture_open(fixture);
        assert_int_equal(fixture_put(fixture, 0, 0, 65536), LILIO_OK);
        crash_disk_fail(fixture->disk, CRASH_SYNC, 1, false, LILIO_E_IO);
        assert_int_equal(fixture_put(fixture, 1, 0, 65536), LILIO_E_IO);
        fixture_close(fixture);
        power_fails_during_a_start(fixture, point);
        fixture_open(fixture);
        assert_int_equal(fixture_get(fixture, 0, 0, 65536, true), LILIO_OK);
        enum lilio_err err = fixture_get(fixture, 1, 0, 65536, true);
        assert_true(err == LILIO_OK || err == LILIO_E_MISSING);
        fixture_free(fixture);
        temp_dir_free(dir);
    }
}

/* The disk was full in the middle of a write although blocks had been reserved: the batch goes, the
 * store stays. */
static void write_finds_no_space(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 12; n++) {
        struct fixture *fixture = fixture_new(STORE_CRASH, n);
        fixture_open(fixture);
        assert_int_equal(fixture_put(fixture, 0, 0, 65536), LILIO_OK);
        crash_disk_fail(fixture->disk, CRASH_WRITE, n, false, LILIO_E_NO_SPACE);
        int refused = 0;
        for (uint32_t i = 1; i < 12; i++) {
            enum lilio_err err = fixture_put(fixture, i, 0, 65536);
            assert_true(err == LILIO_OK || err == LILIO_E_NO_SPACE);
            if (err) {
                refused++;
                assert_int_equal(fixture_get(fixture, i, 0, 65536, true), LILIO_E_MISSING);
                assert_int_equal(fixture_put(fixture, i, 0, 65536), LILIO_OK);
            }
        }
        assert_int_equal(refused, n < 12);
        assert_int_equal(fixture->store->ops->health(fixture->store), LILIO_OK);
        crash_disk_power_off(fixture->disk);
        fixture_close(fixture);
        crash_disk_power_on(fixture->disk);
        fixture_open(fixture);
        for (uint32_t i = 0; i < 12; i++)
            assert_int_equal(fixture_get(fixture, i, 0, 65536, true), LILIO_OK);
        fixture_free(fixture);
    }
}

/* Fills until NO_SPACE, deletes inside the reserve, and gets the space back. */
static void full_disk(void **state)
{
    (void)state;
    enum { CAPACITY = 24 << 20, LENGTH = 512 * 1024, MANY = 64 };
    struct fixture *fixture = fixture_new(STORE_CRASH, 3);
    crash_disk_set_capacity(fixture->disk, CAPACITY);
    fixture->options.reserve_bytes = 0;
    fixture->options.segment_bytes = 4 << 20;
    fixture_open(fixture);
    assert_int_equal(fixture_space(fixture).reserve_bytes, 8 << 20);
    for (int round = 0; round < 4; round++) {
        uint32_t count = 0;
        enum lilio_err err;
        while ((err = fixture_put(fixture, count, (uint32_t)round, LENGTH)) == LILIO_OK)
            count++;
        assert_int_equal(err, LILIO_E_NO_SPACE);
        assert_true(count >= 24 && count < 32); /* 16 MiB outside the reserve, give or take */
        assert_true(fixture_space(fixture).free_bytes + (2 << 20) >
                    fixture_space(fixture).reserve_bytes);
        assert_int_equal(fixture->store->ops->health(fixture->store), LILIO_OK);
        if (round % 2)
            fixture_reopen(fixture); /* deletes need a new segment then */
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(fixture_get(fixture, i, (uint32_t)round, LENGTH, true), LILIO_OK);
            assert_int_equal(fixture_remove(fixture, i), LILIO_OK);
        }
        fixture_tick(fixture, 2);
        assert_int_equal(fixture_space(fixture).fragment_count, 0);
        assert_true(fixture_space(fixture).free_bytes > CAPACITY - (256 << 10));
    }
    fixture_free(fixture);
}

/* Small fragments leave nothing to punch, and each delete writes a block: all of them must go all
 * the same, in any order, while the owner finds no idle moment. */
static void full_disk_of_small_fragments(void **state)
{
    (void)state;
    enum { CAPACITY = 24 << 20, LENGTH = 4096, STRIDE = 769 };
    struct fixture *fixture = fixture_new(STORE_CRASH, 3);
    crash_disk_set_capacity(fixture->disk, CAPACITY);
    fixture->options.reserve_bytes = 0;
    for (int in_order = 0; in_order < 2; in_order++) {
        fixture_open(fixture);
        uint32_t count = 0;
        while (fixture_put(fixture, count, 0, LENGTH) == LILIO_OK)
            count++;
        assert_true(count > 1500);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t number = in_order ? i : (uint32_t)((uint64_t)i * STRIDE % count);
            assert_true(count % STRIDE);
            assert_int_equal(fixture_remove(fixture, number), LILIO_OK);
            assert_true(fixture_space(fixture).free_bytes > 1 << 20);
        }
        assert_int_equal(fixture_space(fixture).fragment_count, 0);
        fixture_tick(fixture, 2);
        fixture_close(fixture);
    }
    fixture_free(fixture);
}

/* Somebody else filled the disk to the last block: nothing breaks, and with a little space
 * everything works again. */
static void disk_without_any_space(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(STORE_CRASH, 3);
    fixture_open(fixture);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(fixture_put(fixture, i, 0, 65536), LILIO_OK);
    fixture_reopen(fixture);
    fixture_tick(fixture, 2); /* nothing is reserved ahead */
    crash_disk_set_capacity(fixture->disk, 4096);
    assert_int_equal(fixture_put(fixture, 9, 0, 65536), LILIO_E_NO_SPACE);
    assert_int_equal(fixture_remove(fixture, 0), LILIO_E_NO_SPACE);
    assert_int_equal(fixture->store->ops->health(fixture->store), LILIO_OK);
    assert_int_equal(fixture_get(fixture, 0, 0, 65536, true), LILIO_OK);
    crash_disk_set_capacity(fixture->disk, 1 << 20);
    assert_int_equal(fixture_remove(fixture, 0), LILIO_OK);
    assert_int_equal(fixture_put(fixture, 9, 0, 65536), LILIO_OK);
    fixture_free(fixture);
}

/* A batch of which only a part fits. */
static void part_of_a_batch_fits(void **state)
{
    (void)state;
    enum { COUNT = 8, LENGTH = 65536 };
    struct fixture *fixture = fixture_new(STORE_CRASH, 3);
    struct osd_put puts[COUNT];
    static uint8_t memory[COUNT][LENGTH] __attribute__((aligned(BASE_DISK_BLOCK)));
    crash_disk_set_capacity(fixture->disk, 8192 + 4 * (LENGTH + 4096) + 4096 + 64 * 1024);
    fixture_open(fixture);
    for (uint32_t i = 0; i < COUNT; i++)
        fixture_put_make(&puts[i], i, 0, i == COUNT - 1 ? 1024 : LENGTH, memory[i]);
    fixture->store->ops->put(fixture->store, puts, COUNT);
    int stored = 0;
    for (uint32_t i = 0; i < COUNT - 1; i++) {
        assert_int_equal(puts[i].ret_err, i < 4 ? LILIO_OK : LILIO_E_NO_SPACE);
        stored += puts[i].ret_err == LILIO_OK;
    }
    assert_int_equal(puts[COUNT - 1].ret_err, LILIO_OK); /* small enough */
    fixture_reopen(fixture);
    assert_int_equal(fixture_space(fixture).fragment_count, stored + 1);
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_fail),
        cmocka_unit_test(writes_fail),
        cmocka_unit_test(syncs_fail),
        cmocka_unit_test(names_fail),
        cmocka_unit_test(names_find_no_space),
        cmocka_unit_test(filesystem_turns_read_only),
        cmocka_unit_test(failure_is_final),
        cmocka_unit_test(seen_after_a_failed_sync_is_durable),
        cmocka_unit_test(acknowledged_outlives_starts_that_fail),
        cmocka_unit_test(torn_end_of_an_older_segment),
        cmocka_unit_test(index_names_only_what_is_durable),
        cmocka_unit_test(write_finds_no_space),
        cmocka_unit_test(full_disk),
        cmocka_unit_test(full_disk_of_small_fragments),
        cmocka_unit_test(disk_without_any_space),
        cmocka_unit_test(part_of_a_batch_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
