/* Aim: what the log and the vote reported durable survives the loss of power at any moment, nothing
 * is there by halves, and damage is told from a torn end. Method: a random user on a disk that
 * keeps, drops, tears and garbles unsynced sectors, beside a list of entries; the power fails in
 * the middle of the n-th change; afterwards the log is what it was at the last good write, or what
 * it should have become by the one under way. Bits are flipped one by one. */
#include "coordinator/raft/log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec/codec.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/crash_disk.h"

#include "base/banned.h"

enum {
    SEEDS = LILIO_SANITIZED ? 60 : 200,
    LIVES = 6,
    STEPS = 40,
    ENTRIES_MAX = 8192,
    BYTES_MAX = 20000,
    READ_MAX = 64,
};

/* An entry's content follows from this. */
struct item {
    uint64_t term;
    uint32_t size, salt;
};
struct state {
    uint64_t base, base_term, last;
    struct item items[ENTRIES_MAX];
};
struct fixture {
    struct base_disk *disk;
    struct raft_log *log;
    struct raft_log_options options;
    struct raft_log_recovery recovery;
    struct base_random random;
    uint64_t random_state;
    uint64_t term;
    struct state now;  /* what the log should show */
    struct state safe; /* what it showed at the last good write */
};

static const struct base_uuid cluster = {{1, 2, 3}};

static uint64_t draw(struct fixture *f, uint64_t below)
{
    return base_random_u64(&f->random) % below;
}

static struct fixture *fixture_new(uint64_t seed)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->random_state = seed;
    f->random = base_random_seeded(&f->random_state);
    assert_int_equal(crash_disk_new(seed, &f->disk), LILIO_OK);
    f->options = (struct raft_log_options){.disk = f->disk,
                                           .cluster_id = cluster,
                                           .member = 7,
                                           .create = true,
                                           .segment_bytes = 128 << 10,
                                           .cache_bytes = 1 + draw(f, 30000),
                                           .random = &f->random};
    f->term = 1;
    return f;
}

static enum lilio_err try_open(struct fixture *f)
{
    struct lilio_errinfo info = {0};
    enum lilio_err err = raft_log_open(&f->options, &f->log, &f->recovery, &info);
    if (!err)
        f->options.create = false;
    else if (crash_disk_powered(f->disk))
        print_message("open: %s\n", info.text);
    return err;
}

static void fixture_free(struct fixture *f)
{
    raft_log_free(&f->log);
    assert_int_equal(crash_disk_misuse_count(f->disk), 0);
    base_disk_free(&f->disk);
    free(f);
}

static void fill(uint64_t index, const struct item *item, uint8_t *to)
{
    uint64_t state = index << 32 ^ item->term << 16 ^ item->salt;
    struct base_random random = base_random_seeded(&state);
    random.fill(random.context, to, item->size);
}

/* ---- the user ---- */

static enum lilio_err append(struct fixture *f, uint64_t index, size_t count, uint32_t bytes_max)
{
    static uint8_t bytes[16][BYTES_MAX];
    struct raft_entry entries[16];
    struct item items[16];
    assert_true(count <= 16 && index + count < ENTRIES_MAX);
    for (size_t i = 0; i < count; i++) {
        items[i] =
            (struct item){f->term, (uint32_t)draw(f, bytes_max + 1), (uint32_t)draw(f, 1u << 30)};
        fill(index + i, &items[i], bytes[i]);
        entries[i] = (struct raft_entry){.index = index + i,
                                         .term = f->term,
                                         .type = RAFT_ENTRY_COMMANDS,
                                         .data = base_slice(bytes[i], items[i].size)};
    }
    enum lilio_err err = raft_log_append(f->log, entries, count, NULL);
    if (err)
        return err;
    for (size_t i = 0; i < count; i++)
        f->now.items[index + i] = items[i];
    f->now.last = index + count - 1;
    return LILIO_OK;
}

static enum lilio_err write_all(struct fixture *f)
{
    uint64_t index, term;
    enum lilio_err err = raft_log_write(f->log, NULL);
    if (err)
        return err;
    f->safe = f->now;
    raft_log_durable(f->log, &index, &term);
    assert_int_equal(index, f->now.last);
    assert_int_equal(raft_log_waiting_bytes(f->log), 0);
    return LILIO_OK;
}

static bool shows(struct fixture *f, const struct state *state)
{
    static uint8_t expected[BYTES_MAX];
    struct raft_log_view view = raft_log_view(f->log);
    uint64_t first = view.first(view.context), last = view.last(view.context), term;
    if (last != state->last || first <= state->base)
        return false;
    uint64_t before = first - 1;
    if (view.term(view.context, before, &term) ||
        term != (before == state->base ? state->base_term : state->items[before].term))
        return false;
    assert_int_equal(view.term(view.context, last + 1, &term), LILIO_E_NOT_FOUND);
    for (uint64_t index = first; index <= last;) {
        struct raft_entry entries[READ_MAX];
        size_t count = 0;
        if (view.read(view.context, index, READ_MAX, 50000, entries, &count) || count == 0)
            return false;
        for (size_t i = 0; i < count; i++, index++) {
            const struct item *item = &state->items[index];
            fill(index, item, expected);
            if (view.term(view.context, index, &term) || term != item->term ||
                entries[i].term != term || entries[i].index != index ||
                entries[i].type != RAFT_ENTRY_COMMANDS ||
                !base_slice_equal(entries[i].data, base_slice(expected, item->size)))
                return false;
        }
    }
    return true;
}

static uint64_t floor_of(const struct fixture *f)
{
    struct raft_log_view view = raft_log_view(f->log);
    uint64_t first = view.first(view.context);
    return first > f->safe.base + 1 ? first : f->safe.base + 1;
}

/* One step; false when the disk failed. */
static bool step(struct fixture *f)
{
    uint64_t what = draw(f, 20), last = f->now.last;
    uint64_t first = floor_of(f);
    if (what < 9)
        return append(f, last + 1, 1 + draw(f, 8), draw(f, 4) ? 300 : BYTES_MAX) == LILIO_OK;
    if (what < 11 && last > first) { /* a suffix is replaced */
        f->term++;
        uint64_t index = last - draw(f, last - first < 12 ? last - first : 12);
        return append(f, index, 1 + draw(f, 4), 1000) == LILIO_OK;
    }
    if (what < 18)
        return write_all(f) == LILIO_OK;
    if (what == 18 && f->safe.last > first) {
        raft_log_cut(f->log, first + draw(f, f->safe.last - first));
        return true;
    }
    if (draw(f, 6))
        return true;
    struct state next = {.base = f->now.last + 10, .base_term = ++f->term};
    next.last = next.base;
    f->now = next;
    if (raft_log_reset(f->log, next.base, next.base_term, NULL))
        return false;
    f->safe = f->now;
    return true;
}

static void adopt(struct fixture *f)
{
    bool old = shows(f, &f->safe), new = shows(f, &f->now);
    if (!old && !new) {
        struct raft_log_view view = raft_log_view(f->log);
        fail_msg("first %llu last %llu, safe %llu..%llu, now %llu..%llu",
                 (unsigned long long)view.first(view.context),
                 (unsigned long long)view.last(view.context), (unsigned long long)f->safe.base,
                 (unsigned long long)f->safe.last, (unsigned long long)f->now.base,
                 (unsigned long long)f->now.last);
    }
    if (new)
        f->safe = f->now;
    else
        f->now = f->safe;
}

static void power_cycle(struct fixture *f)
{
    crash_disk_power_off(f->disk);
    raft_log_free(&f->log);
    crash_disk_power_on(f->disk);
}

static void run_seed(uint64_t seed, uint64_t *torn)
{
    struct fixture *f = fixture_new(seed);
    for (int life = 0; life < LIVES && f->now.last < ENTRIES_MAX - 1000; life++) {
        if (draw(f, 6) == 0)
            crash_disk_power_off_at(f->disk, 1 + draw(f, 12)); /* during the opening, too */
        enum lilio_err err = try_open(f);
        if (err) {
            assert_false(crash_disk_powered(f->disk));
            power_cycle(f);
            continue;
        }
        *torn += f->recovery.torn;
        adopt(f);
        if (draw(f, 4))
            crash_disk_power_off_at(f->disk, 1 + draw(f, 60));
        else if (draw(f, 3) == 0)
            crash_disk_fail(f->disk, draw(f, 2) ? CRASH_SYNC : CRASH_WRITE, 1 + draw(f, 10), false,
                            LILIO_E_IO);
        bool good = true;
        for (int i = 0; i < STEPS && (good = step(f)); i++)
            if (draw(f, 8) == 0)
                assert_true(shows(f, &f->now));
        if (!good && crash_disk_powered(f->disk)) { /* a failure is final */
            struct raft_log_view view = raft_log_view(f->log);
            assert_int_equal(append(f, view.last(view.context) + 1, 1, 10), LILIO_E_IO);
            assert_int_not_equal(raft_log_write(f->log, NULL), LILIO_OK);
            assert_false(raft_log_waiting(f->log));
        }
        crash_disk_fail(f->disk, CRASH_SYNC, 0, false, LILIO_OK);
        crash_disk_fail(f->disk, CRASH_WRITE, 0, false, LILIO_OK);
        if (crash_disk_powered(f->disk) && draw(f, 2))
            raft_log_free(&f->log); /* the process ended, the machine did not */
        else
            power_cycle(f);
    }
    fixture_free(f);
}

static uint64_t seed_base(void)
{
    const char *text = getenv("LILIO_SEED");
    return text ? strtoull(text, NULL, 0) : 1;
}

static void test_crashes(void **state)
{
    (void)state;
    uint64_t torn = 0;
    for (uint64_t seed = seed_base(); seed < seed_base() + SEEDS; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        run_seed(seed, &torn);
    }
    assert_true(torn > 10);
}

/* ---- a short history, each change of it as the last one ---- */

static bool short_history(struct fixture *f)
{
    bool good = append(f, 1, 8, 300) == LILIO_OK && write_all(f) == LILIO_OK;
    good = good && write_all(f) == LILIO_OK; /* the mark */
    for (int i = 0; i < 6 && good; i++)
        good = append(f, f->now.last + 1, 3, BYTES_MAX) == LILIO_OK && write_all(f) == LILIO_OK;
    f->term++;
    good = good && append(f, f->now.last - 1, 1, 100) == LILIO_OK && write_all(f) == LILIO_OK;
    if (good)
        raft_log_cut(f->log, f->now.last - 2);
    for (int i = 0; i < 6 && good; i++)
        good = append(f, f->now.last + 1, 3, BYTES_MAX) == LILIO_OK && write_all(f) == LILIO_OK &&
               write_all(f) == LILIO_OK;
    return good;
}

static void test_every_point(void **state)
{
    (void)state;
    for (uint64_t point = 1; point < 90; point++) {
        for (uint64_t seed = 0; seed < 3; seed++) {
            struct fixture *f = fixture_new(seed + 100);
            crash_disk_power_off_at(f->disk, point);
            if (try_open(f) == LILIO_OK)
                (void)!short_history(f);
            power_cycle(f);
            assert_int_equal(try_open(f), LILIO_OK);
            adopt(f);
            /* What is seen stays, though nobody writes in between. */
            power_cycle(f);
            assert_int_equal(try_open(f), LILIO_OK);
            assert_true(shows(f, &f->safe));
            assert_int_equal(append(f, f->now.last + 1, 2, 100), LILIO_OK);
            assert_int_equal(write_all(f), LILIO_OK);
            power_cycle(f);
            assert_int_equal(try_open(f), LILIO_OK);
            assert_true(shows(f, &f->safe));
            fixture_free(f);
        }
    }
}

/* ---- reading, cutting, using again ---- */

static void test_long_life(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(3);
    f->options.cache_bytes = 1;
    assert_int_equal(try_open(f), LILIO_OK);
    uint64_t bytes_max = 0;
    for (int i = 0; i < 600; i++) {
        assert_int_equal(append(f, f->now.last + 1, 1 + draw(f, 8), 3000), LILIO_OK);
        assert_int_equal(write_all(f), LILIO_OK);
        while (raft_log_waiting(f->log))
            assert_int_equal(raft_log_write(f->log, NULL), LILIO_OK);
        raft_log_cut(f->log, f->now.last > 40 ? f->now.last - 40 : 0);
        if (raft_log_bytes(f->log) > bytes_max)
            bytes_max = raft_log_bytes(f->log);
        if (i % 20 == 0)
            assert_true(shows(f, &f->now));
    }
    assert_true(bytes_max <= 8 * f->options.segment_bytes); /* 40 entries, the pool, one ahead */
    raft_log_free(&f->log);
    assert_int_equal(try_open(f), LILIO_OK);
    assert_false(f->recovery.torn);
    assert_true(shows(f, &f->now));
    struct raft_log_view view = raft_log_view(f->log);
    uint64_t term;
    assert_true(view.first(view.context) > 1);
    assert_int_equal(view.term(view.context, 1, &term), LILIO_E_NOT_FOUND);
    fixture_free(f);
}

static void test_whose(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(4);
    f->options.create = false;
    assert_int_equal(try_open(f), LILIO_E_NOT_FOUND);
    f->options.create = true;
    assert_int_equal(try_open(f), LILIO_OK);
    raft_log_free(&f->log);
    f->options.create = true; /* made, but nothing is in it: as good as new */
    assert_int_equal(try_open(f), LILIO_OK);
    assert_int_equal(append(f, 1, 1, 10), LILIO_OK);
    assert_int_equal(write_all(f), LILIO_OK);
    raft_log_free(&f->log);
    f->options.create = true;
    assert_int_equal(try_open(f), LILIO_E_EXISTS);
    f->options.create = false;
    f->options.member = 8;
    assert_int_equal(try_open(f), LILIO_E_FOREIGN);
    f->options.member = 7;
    f->options.cluster_id.bytes[0]++;
    assert_int_equal(try_open(f), LILIO_E_FOREIGN);
    fixture_free(f);
}

/* A full disk is noticed before anything is promised. */
static void test_full_disk(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(5);
    crash_disk_set_capacity(f->disk, 200 << 10);
    assert_int_equal(try_open(f), LILIO_OK);
    enum lilio_err err = LILIO_OK;
    for (int i = 0; i < 400 && !err; i++) {
        err = append(f, f->now.last + 1, 1, 3000);
        while (!err && raft_log_waiting(f->log))
            assert_int_equal(raft_log_write(f->log, NULL), LILIO_OK);
        if (!err)
            f->safe = f->now;
    }
    assert_int_equal(err, LILIO_E_NO_SPACE);
    assert_true(f->now.last > 10);
    assert_true(shows(f, &f->safe));
    crash_disk_set_capacity(f->disk, 0); /* room again: it goes on */
    while (raft_log_waiting(f->log))
        assert_int_equal(raft_log_write(f->log, NULL), LILIO_OK);
    assert_int_equal(append(f, f->now.last + 1, 1, 3000), LILIO_OK);
    assert_int_equal(write_all(f), LILIO_OK);
    fixture_free(f);
}

/* ---- damage ---- */

/* A log with a mark behind its last batch; a byte at a time is damaged. */
static void test_flipped_bits(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(6);
    const char *name = "log/0000000000000001.log";
    assert_int_equal(try_open(f), LILIO_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(append(f, f->now.last + 1, 3, 500), LILIO_OK);
        assert_int_equal(write_all(f), LILIO_OK);
    }
    while (raft_log_waiting(f->log))
        assert_int_equal(raft_log_write(f->log, NULL), LILIO_OK);
    raft_log_free(&f->log);
    unsigned corrupt = 0, whole = 0;
    for (uint64_t at = 0; at < (4 + 5) * 4096; at += at % 4096 < 160 ? 1 : 97) {
        if (!crash_disk_flip(f->disk, name, at, 0x10))
            continue;
        enum lilio_err err = try_open(f);
        assert_true(err == LILIO_OK || err == LILIO_E_CORRUPT);
        if (err)
            corrupt++;
        else
            assert_true(shows(f, &f->now)); /* the other copy of it, or nobody needs it */
        whole += !err;
        raft_log_free(&f->log);
        assert_true(crash_disk_flip(f->disk, name, at, 0x10));
    }
    assert_true(corrupt > 300 && whole > 300);
    assert_int_equal(try_open(f), LILIO_OK);
    assert_true(shows(f, &f->now));
    fixture_free(f);
}

/* Damage that comes while it runs: said, not returned. */
static void test_damage_found_by_reading(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(7);
    f->options.cache_bytes = 1;
    assert_int_equal(try_open(f), LILIO_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(append(f, f->now.last + 1, 1, 500), LILIO_OK);
        assert_int_equal(write_all(f), LILIO_OK);
    }
    assert_true(crash_disk_flip(f->disk, "log/0000000000000001.log", 4 * 4096 + 64 + 16 + 0, 1));
    struct raft_log_view view = raft_log_view(f->log);
    struct raft_entry entries[4];
    size_t count;
    assert_int_equal(view.read(view.context, 1, 4, 1000, entries, &count), LILIO_E_CORRUPT);
    assert_int_equal(view.read(view.context, 2, 1, 1000, entries, &count), LILIO_OK);
    fixture_free(f);
}

/* A segment that is gone is no short log. */
static void test_missing_segment(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(8);
    assert_int_equal(try_open(f), LILIO_OK);
    while (raft_log_bytes(f->log) < 5 * f->options.segment_bytes) {
        assert_int_equal(append(f, f->now.last + 1, 4, BYTES_MAX), LILIO_OK);
        assert_int_equal(write_all(f), LILIO_OK);
    }
    raft_log_free(&f->log);
    assert_int_equal(f->disk->ops->unlink(f->disk, "log/0000000000000002.log", NULL), LILIO_OK);
    assert_int_equal(try_open(f), LILIO_E_CORRUPT);
    fixture_free(f);
}

/* ---- two threads ---- */

struct writing {
    struct raft_log *log;
    pthread_mutex_t lock;
    bool ending;
};

static void *write_for_ever(void *argument)
{
    struct writing *writing = argument;
    for (bool ending = false; !ending;) {
        if (raft_log_waiting(writing->log))
            assert_int_equal(raft_log_write(writing->log, NULL), LILIO_OK);
        (void)pthread_mutex_lock(&writing->lock);
        ending = writing->ending;
        (void)pthread_mutex_unlock(&writing->lock);
    }
    return NULL;
}

static void test_two_threads(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(9);
    f->options.random = NULL;
    f->options.cache_bytes = 5000;
    assert_int_equal(try_open(f), LILIO_OK);
    struct writing writing = {f->log, PTHREAD_MUTEX_INITIALIZER, false};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_for_ever, &writing), 0);
    for (int i = 0; i < 700; i++) {
        uint64_t durable, term;
        if (f->now.last > 30 && draw(f, 5) == 0) {
            f->term++;
            assert_int_equal(append(f, f->now.last - draw(f, 3), 2, 500), LILIO_OK);
        } else {
            assert_int_equal(append(f, f->now.last + 1, 1 + draw(f, 3), 500), LILIO_OK);
        }
        raft_log_durable(f->log, &durable, &term);
        assert_true(durable <= f->now.last);
        assert_int_equal(term, durable ? f->now.items[durable].term : 0);
        if (durable > 60)
            raft_log_cut(f->log, durable - 60);
        if (i % 50 == 0)
            assert_true(shows(f, &f->now));
    }
    (void)pthread_mutex_lock(&writing.lock);
    writing.ending = true;
    (void)pthread_mutex_unlock(&writing.lock);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(write_all(f), LILIO_OK);
    raft_log_free(&f->log);
    assert_int_equal(try_open(f), LILIO_OK);
    assert_true(shows(f, &f->now));
    fixture_free(f);
}

/* ---- the vote ---- */

static bool same_vote(const struct raft_vote *a, const struct raft_vote *b)
{
    bool same = a->term == b->term && a->vote == b->vote && a->start == b->start &&
                a->start_id == b->start_id && a->told == b->told && a->stale == b->stale &&
                a->known_count == b->known_count;
    for (size_t i = 0; same && i < a->known_count; i++)
        same = a->known[i].member == b->known[i].member && a->known[i].start == b->known[i].start &&
               a->known[i].id == b->known[i].id;
    return same;
}

/* Some change of what is saved; also one that keeps the term. */
static void draw_vote(struct base_random *random, struct raft_vote *vote)
{
    if (base_random_u64(random) % 2)
        vote->term++;
    vote->vote = base_random_u64(random) % 3;
    vote->start += base_random_u64(random) % 2;
    vote->start_id = base_random_u64(random);
    vote->told = base_random_u64(random) % 2;
    vote->stale = base_random_u64(random) % 4;
    vote->known_count = base_random_u64(random) % (RAFT_KNOWN_MAX + 1);
    for (size_t i = 0; i < vote->known_count; i++)
        vote->known[i] = (struct proto_raft_start){.member = base_random_u64(random),
                                                   .start = base_random_u64(random),
                                                   .id = base_random_u64(random)};
}

static void test_vote(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct base_disk *disk;
        struct raft_vote safe = {0}, next = {0}, got;
        uint64_t random_state = seed;
        struct base_random random = base_random_seeded(&random_state);
        assert_int_equal(crash_disk_new(seed, &disk), LILIO_OK);
        assert_int_equal(raft_vote_load(disk, cluster, 7, false, &got, NULL), LILIO_E_NOT_FOUND);
        bool made = false;
        for (int life = 0; life < 5; life++) {
            crash_disk_power_off_at(disk, 1 + base_random_u64(&random) % 12);
            enum lilio_err err = raft_vote_load(disk, cluster, 7, !made, &got, NULL);
            if (!err) {
                made = true;
                assert_true(same_vote(&got, &safe) || same_vote(&got, &next));
                safe = next = got;
            }
            while (!err) {
                next = safe;
                draw_vote(&random, &next);
                err = raft_vote_save(disk, cluster, 7, &next, NULL);
                if (!err)
                    safe = next;
            }
            crash_disk_power_off(disk);
            crash_disk_power_on(disk);
            if (made && base_random_u64(&random) % 4 == 0 && same_vote(&next, &safe))
                (void)!crash_disk_flip(disk, "vote", base_random_u64(&random) % 8192, 1);
        }
        base_disk_free(&disk);
    }
}

static void test_damaged_vote(void **state)
{
    (void)state;
    struct base_disk *disk;
    struct raft_vote got, vote = {.term = 5, .vote = 3};
    assert_int_equal(crash_disk_new(1, &disk), LILIO_OK);
    assert_int_equal(raft_vote_load(disk, cluster, 7, true, &got, NULL), LILIO_OK);
    assert_int_equal(raft_vote_save(disk, cluster, 7, &vote, NULL), LILIO_OK);
    for (uint64_t copy = 0; copy < 2; copy++) { /* each heals the other */
        assert_true(crash_disk_flip(disk, "vote", copy * 4096 + 48, 1));
        assert_int_equal(raft_vote_load(disk, cluster, 7, false, &got, NULL), LILIO_OK);
        assert_int_equal(got.term, 5);
        assert_int_equal(got.vote, 3);
    }
    assert_int_equal(raft_vote_load(disk, cluster, 8, false, &got, NULL), LILIO_E_FOREIGN);
    assert_true(crash_disk_flip(disk, "vote", 48, 1));
    assert_true(crash_disk_flip(disk, "vote", 4096 + 300, 1));
    assert_int_equal(raft_vote_load(disk, cluster, 7, false, &got, NULL), LILIO_E_CORRUPT);
    base_disk_free(&disk);
}

static void write_block(struct base_disk *disk, uint8_t *block, uint64_t copy, size_t covered)
{
    static const uint8_t zeros[4];
    struct base_file *file;
    base_le16_put(block + 10, (uint16_t)covered);
    uint32_t crc = codec_crc32c(codec_crc32c(0, block, 16), zeros, 4);
    base_le32_put(block + 16, codec_crc32c(crc, block + 20, covered - 20));
    assert_int_equal(disk->ops->open(disk, "vote", BASE_OPEN_CREATE, &file, NULL), LILIO_OK);
    assert_int_equal(file->ops->write(file, &(struct iovec){block, 4096}, 1, copy * 4096, NULL),
                     LILIO_OK);
    base_file_close(&file);
}

static void read_block(struct base_disk *disk, uint8_t *block)
{
    struct base_file *file;
    size_t size;
    assert_int_equal(disk->ops->open(disk, "vote", BASE_OPEN_READ_ONLY, &file, NULL), LILIO_OK);
    assert_int_equal(file->ops->read(file, block, 4096, 0, &size, NULL), LILIO_OK);
    base_file_close(&file);
}

/* A write that the disk lost, of either copy, does not bring back what was saved before. */
static void test_lost_write_of_vote(void **state)
{
    (void)state;
    struct base_disk *disk;
    struct raft_vote got, vote = {.term = 5, .vote = 3, .start = 4};
    uint8_t before[4096];
    assert_int_equal(crash_disk_new(1, &disk), LILIO_OK);
    assert_int_equal(raft_vote_load(disk, cluster, 7, true, &got, NULL), LILIO_OK);
    for (uint64_t copy = 0; copy < 2; copy++) {
        assert_int_equal(raft_vote_save(disk, cluster, 7, &vote, NULL), LILIO_OK);
        read_block(disk, before);
        vote.start++;
        assert_int_equal(raft_vote_save(disk, cluster, 7, &vote, NULL), LILIO_OK);
        write_block(disk, before, copy, 512);
        assert_int_equal(raft_vote_load(disk, cluster, 7, false, &got, NULL), LILIO_OK);
        assert_int_equal(got.start, vote.start);
    }
    base_disk_free(&disk);
}

/* Version 1 knew term and vote. What is none of ours is refused although its checksum holds. */
static void test_versions_of_vote(void **state)
{
    (void)state;
    struct base_disk *disk;
    struct raft_vote got;
    uint8_t old[4096] = "LILIORVT", new[4096];
    assert_int_equal(crash_disk_new(1, &disk), LILIO_OK);
    base_le16_put(old + 8, 1);
    memcpy(old + 24, cluster.bytes, 16);
    base_le64_put(old + 40, 7);
    base_le64_put(old + 48, 5);
    write_block(disk, old, 0, 128);
    base_le64_put(old + 56, 3); /* the vote, given later */
    write_block(disk, old, 1, 128);
    assert_int_equal(raft_vote_load(disk, cluster, 7, false, &got, NULL), LILIO_OK);
    assert_true(same_vote(&got, &(struct raft_vote){.term = 5, .vote = 3}));
    got.start = 1;
    got.told = true;
    got.known_count = 1;
    got.known[0] = (struct proto_raft_start){.member = 8, .start = 9, .id = 10};
    struct raft_vote saved = got;
    assert_int_equal(raft_vote_save(disk, cluster, 7, &saved, NULL), LILIO_OK);
    /* A crash between the copies, as an earlier program left the second one. */
    write_block(disk, old, 1, 128);
    assert_int_equal(raft_vote_load(disk, cluster, 7, false, &got, NULL), LILIO_OK);
    assert_true(same_vote(&got, &saved));

    read_block(disk, new);
    new[89] = RAFT_KNOWN_MAX + 1; /* more starts than there is room for */
    write_block(disk, new, 0, 512);
    write_block(disk, new, 1, 512);
    assert_int_equal(raft_vote_load(disk, cluster, 7, false, &got, NULL), LILIO_E_CORRUPT);
    new[89] = 1;
    write_block(disk, new, 0, 128); /* fields that no checksum covers */
    write_block(disk, new, 1, 128);
    assert_int_equal(raft_vote_load(disk, cluster, 7, false, &got, NULL), LILIO_E_CORRUPT);
    new[8] = 3;
    write_block(disk, new, 0, 512);
    assert_int_equal(raft_vote_load(disk, cluster, 7, false, &got, NULL), LILIO_E_FORMAT);
    base_disk_free(&disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whose),
        cmocka_unit_test(test_long_life),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_damage_found_by_reading),
        cmocka_unit_test(test_missing_segment),
        cmocka_unit_test(test_two_threads),
        cmocka_unit_test(test_vote),
        cmocka_unit_test(test_damaged_vote),
        cmocka_unit_test(test_lost_write_of_vote),
        cmocka_unit_test(test_versions_of_vote),
        cmocka_unit_test(test_every_point),
        cmocka_unit_test(test_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
