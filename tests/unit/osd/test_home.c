/* Aim: the directory decides what an OSD may do, and a crash at any step of joining leaves a disk
 * that can go on with the same identity. Method: homes on a crash disk whose power fails at each
 * change in turn, with the real segment store; homes in real folders for what users do to them. */
#include "osd/home.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/config.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/osd/osd_parts.h"

#include "base/banned.h"

/* ---- on the crash disk ---- */

struct crash {
    struct base_disk *disk;
    struct osd_node *node;
    uint64_t random_state;
    struct base_random random;
};

static enum lilio_err crash_open_disk(void *context, struct base_disk **ret_disk,
                                      struct lilio_errinfo *info)
{
    (void)info;
    *ret_disk = kill_disk_new(((struct crash *)context)->disk);
    return LILIO_OK;
}

static enum lilio_err crash_open_store(void *context, struct base_disk *disk, struct base_uuid uuid,
                                       struct osd_store **ret_store, struct lilio_errinfo *info)
{
    struct crash *crash = context;
    struct osd_store_options options = {
        .disk = disk,
        .cluster_id = parts_cluster(),
        .disk_uuid = uuid,
        .segment_bytes = 1 << 20,
        .clock = base_clock_system(),
        .random = &crash->random,
    };
    return osd_segment_store_open(&options, ret_store, info);
}

static void crash_init(struct crash *crash, uint64_t seed)
{
    *crash = (struct crash){.random_state = seed};
    crash->random = base_random_seeded(&crash->random_state);
    assert_int_equal(crash_disk_new(seed, &crash->disk), LILIO_OK);
    assert_int_equal(osd_node_new(3, parts_cluster(), base_clock_system(), NULL, &crash->node),
                     LILIO_OK);
}

static void crash_release(struct crash *crash)
{
    assert_int_equal(crash_disk_misuse_count(crash->disk), 0);
    base_disk_free(&crash->disk);
    osd_node_free(&crash->node);
}

static struct osd_home *crash_home(struct crash *crash)
{
    struct osd_home *home;
    struct osd_home_options options = {
        .node = crash->node,
        .random = &crash->random,
        .open_disk = crash_open_disk,
        .open_store = crash_open_store,
        .context = crash,
    };
    assert_int_equal(osd_home_open(&options, &home, NULL), LILIO_OK);
    return home;
}

static struct osd_node_view view_of(struct osd_node *node)
{
    struct osd_node_view view;
    osd_node_view(node, &view);
    return view;
}

/* Joins and is welcomed until the power fails. What the coordinator may have bound is in *ret_uuid.
 */
static void join_until_crash(struct crash *crash, bool *ret_joined, bool *ret_welcomed,
                             struct base_uuid *ret_uuid)
{
    struct osd_home *home = crash_home(crash);
    *ret_joined = osd_home_join(home, ret_uuid, NULL) == LILIO_OK;
    *ret_welcomed = *ret_joined && osd_home_welcome(home, 9, NULL) == LILIO_OK;
    osd_home_free(&home);
}

static void test_crash_at_every_step_of_joining(void **state)
{
    (void)state;
    bool completed = false;
    for (uint64_t step = 1; !completed; step++) {
        assert_true(step < 200);
        for (uint64_t seed = 1; seed <= 8; seed++) {
            struct crash crash;
            struct base_uuid before, after;
            bool joined, welcomed;
            crash_init(&crash, 100 * step + seed);
            crash_disk_power_off_at(crash.disk, step);
            join_until_crash(&crash, &joined, &welcomed, &before);
            completed = crash_disk_powered(crash.disk);
            crash_disk_power_off(crash.disk);
            crash_disk_power_on(crash.disk);

            struct osd_home *home = crash_home(&crash);
            struct osd_node_view view = view_of(crash.node);
            assert_false(view.broken);
            assert_int_not_equal(view.state, OSD_NODE_SERVING); /* not without a new welcome */
            if (welcomed)
                assert_int_equal(view.disk, OSD_DISK_MEMBER);
            if (view.disk != OSD_DISK_MEMBER)
                assert_int_equal(osd_home_join(home, &after, NULL), LILIO_OK);
            else
                after = view.disk_uuid;
            if (joined) /* it may be bound: it must be the same disk */
                assert_memory_equal(&before, &after, sizeof before);
            assert_int_equal(osd_home_welcome(home, 9, NULL), LILIO_OK);
            view = view_of(crash.node);
            assert_int_equal(view.state, OSD_NODE_SERVING);
            assert_int_equal(view.incarnation, 9);
            assert_true(osd_home_intact(home, /* full */ true));
            osd_home_free(&home);
            crash_release(&crash);
        }
    }
}

static void test_turned_away(void **state)
{
    struct crash crash;
    struct base_uuid first, second;
    (void)state;
    crash_init(&crash, 1);
    struct osd_home *home = crash_home(&crash);
    assert_int_equal(osd_home_join(home, &first, NULL), LILIO_OK);
    osd_home_turn_away(home, /* blank */ true, "another disk is bound");
    assert_int_equal(view_of(crash.node).state, OSD_NODE_BLANK);
    assert_null(osd_home_store(home));
    assert_int_equal(osd_home_join(home, &second, NULL),
                     LILIO_OK); /* the rebuild goes on with it */
    assert_memory_equal(&first, &second, sizeof first);
    assert_int_equal(osd_home_welcome(home, 2, NULL), LILIO_OK);
    assert_non_null(osd_home_store(home));
    assert_int_equal(osd_home_join(home, &second, NULL), LILIO_E_EXISTS);
    osd_home_turn_away(home, /* blank */ false, "replaced while it was away");
    struct osd_node_view view = view_of(crash.node);
    assert_int_equal(view.state, OSD_NODE_REFUSED);
    assert_string_equal(view.detail, "replaced while it was away");
    assert_null(osd_home_store(home));
    osd_home_free(&home);
    crash_release(&crash);
}

static void expect_broken(struct crash *crash, const char *word)
{
    struct base_uuid uuid;
    struct osd_home *home = crash_home(crash);
    struct osd_node_view view = view_of(crash->node);
    assert_int_equal(view.state, OSD_NODE_REFUSED);
    assert_true(view.broken);
    assert_non_null(strstr(view.detail, word));
    assert_null(osd_home_store(home));
    assert_int_equal(osd_home_join(home, &uuid, NULL), LILIO_E_FOREIGN);
    assert_int_not_equal(osd_home_welcome(home, 1, NULL), LILIO_OK);
    osd_home_free(&home);
}

static void test_disks_that_must_not_be_used(void **state)
{
    struct crash crash;
    struct osd_superblock superblock = {
        .cluster_id = parts_cluster(), .disk_uuid = {{5}}, .osd_id = 3, .state = OSD_DISK_MEMBER};
    (void)state;
    crash_init(&crash, 1);
    superblock.cluster_id.bytes[0] ^= 1;
    assert_int_equal(osd_superblock_write(crash.disk, &superblock, NULL), LILIO_OK);
    expect_broken(&crash, "belongs to cluster");
    superblock.cluster_id = parts_cluster();
    superblock.osd_id = 4;
    assert_int_equal(osd_superblock_write(crash.disk, &superblock, NULL), LILIO_OK);
    expect_broken(&crash, "belongs to osd.4");
    for (uint64_t at = 0; at < 4096; at += 4) /* both copies */
        (void)crash_disk_flip(crash.disk, "superblock", at, 0xff);
    expect_broken(&crash, "superblock");
    crash_release(&crash);
}

static void test_segments_without_a_superblock(void **state)
{
    struct crash crash;
    struct base_uuid uuid;
    (void)state;
    crash_init(&crash, 1);
    struct osd_home *home = crash_home(&crash);
    assert_int_equal(osd_home_join(home, &uuid, NULL), LILIO_OK);
    assert_int_equal(osd_home_welcome(home, 1, NULL), LILIO_OK);
    struct parts_stripe stripe;
    parts_stripe_make(&stripe, (struct base_oid){1, 1}, 0, 5000);
    parts_store_put(osd_home_store(home), &stripe, 0); /* makes a segment */
    parts_stripe_release(&stripe);
    osd_home_free(&home);
    assert_int_equal(crash.disk->ops->unlink(crash.disk, "superblock", NULL), LILIO_OK);
    expect_broken(&crash, "no superblock");
    crash_release(&crash);
}

/* ---- in a real folder ---- */

struct folder {
    char *base, path[300], aside[300];
    struct osd_node *node;
    struct osd_home *home;
};

static enum lilio_err folder_open(struct folder *f, struct osd_home **ret,
                                  struct lilio_errinfo *info)
{
    struct osd_home_options options = {
        .node = f->node, .path = f->path, .random = base_random_system()};
    return osd_home_open(&options, ret, info);
}

static void folder_init(struct folder *f)
{
    struct base_uuid uuid;
    *f = (struct folder){.base = temp_dir_new()};
    (void)snprintf(f->path, sizeof f->path, "%s/osd.3", f->base);
    (void)snprintf(f->aside, sizeof f->aside, "%s/aside", f->base);
    assert_int_equal(osd_node_new(3, parts_cluster(), base_clock_system(), NULL, &f->node),
                     LILIO_OK);
    assert_int_equal(folder_open(f, &f->home, NULL), LILIO_OK);
    assert_int_equal(osd_home_join(f->home, &uuid, NULL), LILIO_OK);
    assert_int_equal(osd_home_welcome(f->home, 1, NULL), LILIO_OK);
    assert_true(osd_home_intact(f->home, /* full */ true));
}

static void folder_release(struct folder *f)
{
    osd_home_free(&f->home);
    osd_node_free(&f->node);
    temp_dir_free(f->base);
}

static void test_one_daemon_for_one_folder(void **state)
{
    struct folder f;
    struct osd_home *second = NULL;
    struct lilio_errinfo info = {0};
    (void)state;
    folder_init(&f);
    assert_int_equal(folder_open(&f, &second, &info), LILIO_E_LOCKED);
    assert_non_null(strstr(info.text, f.path));
    osd_home_free(&f.home);
    assert_int_equal(folder_open(&f, &f.home, NULL), LILIO_OK);
    assert_int_equal(view_of(f.node).state, OSD_NODE_WAITING);
    folder_release(&f);
}

static void expect_gone(struct folder *f, bool full)
{
    assert_false(osd_home_intact(f->home, full));
    struct osd_node_view view = view_of(f->node);
    assert_int_equal(view.state, OSD_NODE_REFUSED);
    assert_true(view.gone);
    assert_null(osd_home_store(f->home));
    assert_int_not_equal(osd_home_welcome(f->home, 1, NULL), LILIO_OK);
    assert_false(osd_home_intact(f->home, /* full */ false)); /* it stays so */
}

/* A rebuild may start over on what is at the path now. */
static void expect_fresh_join(struct folder *f, struct base_uuid old)
{
    struct base_uuid uuid;
    assert_int_equal(osd_home_join(f->home, &uuid, NULL), LILIO_OK);
    assert_memory_not_equal(&uuid, &old, sizeof uuid);
    assert_int_equal(osd_home_welcome(f->home, 2, NULL), LILIO_OK);
    assert_int_equal(view_of(f->node).state, OSD_NODE_SERVING);
    assert_true(osd_home_intact(f->home, /* full */ true));
}

static void test_folder_removed(void **state)
{
    struct folder f;
    char command[700];
    (void)state;
    folder_init(&f);
    struct base_uuid old = view_of(f.node).disk_uuid;
    (void)snprintf(command, sizeof command, "rm -rf '%s'", f.path);
    assert_int_equal(system(command), 0);
    expect_gone(&f, /* full */ false);
    expect_fresh_join(&f, old);
    folder_release(&f);
}

static void test_folder_replaced_by_an_empty_one(void **state)
{
    struct folder f;
    char command[1400];
    (void)state;
    folder_init(&f);
    struct base_uuid old = view_of(f.node).disk_uuid;
    (void)snprintf(command, sizeof command, "mv '%s' '%s' && mkdir '%s'", f.path, f.aside, f.path);
    assert_int_equal(system(command), 0);
    expect_gone(&f, /* full */ false);
    expect_fresh_join(&f, old);
    folder_release(&f);
}

/* A copy has the same superblock, but what is written goes to the original. */
static void test_folder_replaced_by_a_copy(void **state)
{
    struct folder f;
    char command[1800];
    struct base_uuid uuid;
    (void)state;
    folder_init(&f);
    (void)snprintf(command, sizeof command, "mv '%s' '%s' && cp -a '%s' '%s'", f.path, f.aside,
                   f.aside, f.path);
    assert_int_equal(system(command), 0);
    expect_gone(&f, /* full */ false);
    assert_int_equal(osd_home_join(f.home, &uuid, NULL), LILIO_E_EXISTS); /* a member: welcome it */
    assert_int_equal(osd_home_welcome(f.home, 1, NULL), LILIO_OK);
    folder_release(&f);
}

/* Written over in place: the same file, another disk. Only a look inside can tell. */
static void test_superblock_written_over(void **state)
{
    struct folder f;
    char command[1400];
    (void)state;
    folder_init(&f);
    (void)snprintf(command, sizeof command,
                   "head -c 8192 /dev/zero | dd of='%s/superblock' conv=notrunc status=none",
                   f.path);
    assert_int_equal(system(command), 0);
    assert_true(osd_home_intact(f.home, /* full */ false));
    expect_gone(&f, /* full */ true);
    folder_release(&f);
}

/* Below an intact superblock: handles go on working, but no restart finds what they write. */
static void expect_change_noticed(const char *change, bool quickly)
{
    struct folder f;
    struct parts_stripe stripe;
    char command[1400];
    folder_init(&f);
    parts_stripe_make(&stripe, (struct base_oid){1, 1}, 0, 5000);
    parts_store_put(osd_home_store(f.home), &stripe, 0);
    assert_true(osd_home_intact(f.home, /* full */ true));
    (void)snprintf(command, sizeof command, "cd '%s' && %s", f.path, change);
    assert_int_equal(system(command), 0);
    if (quickly) {
        expect_gone(&f, /* full */ false);
    } else {
        struct lilio_errinfo info = {0};
        assert_true(osd_home_intact(f.home, /* full */ false));
        assert_int_equal(osd_home_complete(f.home, &info), LILIO_E_BLANK); /* nothing is proven */
        assert_non_null(strstr(info.text, "changed under the running daemon"));
        expect_gone(&f, /* full */ true);
    }
    assert_non_null(strstr(view_of(f.node).detail, "changed under the running daemon"));
    parts_stripe_release(&stripe);
    folder_release(&f);
}

static void test_files_removed_under_the_daemon(void **state)
{
    (void)state;
    expect_change_noticed("rm -rf segments", /* quickly */ true);
    expect_change_noticed("rm segments/*", /* quickly */ true);
    expect_change_noticed("mv segments aside && cp -a aside segments", /* quickly */ true);
    expect_change_noticed("rm -rf index", /* quickly */ false);
}

/* An older segment, which puts do not go to. */
static void test_old_segment_removed_under_the_daemon(void **state)
{
    struct folder f;
    struct parts_stripe stripe;
    char command[700];
    (void)state;
    folder_init(&f);
    parts_stripe_make(&stripe, (struct base_oid){1, 1}, 0, 5000);
    parts_store_put(osd_home_store(f.home), &stripe, 0);
    osd_home_free(&f.home);
    assert_int_equal(folder_open(&f, &f.home, NULL), LILIO_OK);
    assert_int_equal(osd_home_welcome(f.home, 1, NULL), LILIO_OK);
    parts_store_put(osd_home_store(f.home), &stripe, 1); /* a start makes its own segment */
    (void)snprintf(command, sizeof command, "rm '%s/segments/0000000000000001.seg'", f.path);
    assert_int_equal(system(command), 0);
    assert_true(osd_home_intact(f.home, /* full */ false));
    expect_gone(&f, /* full */ true);
    parts_stripe_release(&stripe);
    folder_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash_at_every_step_of_joining),
        cmocka_unit_test(test_turned_away),
        cmocka_unit_test(test_disks_that_must_not_be_used),
        cmocka_unit_test(test_segments_without_a_superblock),
        cmocka_unit_test(test_one_daemon_for_one_folder),
        cmocka_unit_test(test_files_removed_under_the_daemon),
        cmocka_unit_test(test_old_segment_removed_under_the_daemon),
        cmocka_unit_test(test_folder_removed),
        cmocka_unit_test(test_folder_replaced_by_an_empty_one),
        cmocka_unit_test(test_folder_replaced_by_a_copy),
        cmocka_unit_test(test_superblock_written_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
