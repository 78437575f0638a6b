/* Aim: making one coordinator the only voter may be interrupted by a loss of power, a full disk or
 * a failed sync at each of its changes: the folder is as before, or votes alone with all that it
 * had; a second run always ends well, and no configuration with one voter is without the mark that
 * lets ids be left out. A folder that knows nothing of the cluster is refused. Method: the disk
 * behind the folder is the crash disk, the maps are in memory (the linker sees to both); the
 * folder's log ends with commands and a change of the members that are not applied. */
#include "coord_fixture.h"

#include "coordinator/alone.h"
#include "coordinator/entry.h"
#include "coordinator/home.h"
#include "coordinator/identity.h"
#include "tests/support/crash_disk.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

enum { LAST = 3, TERM = 5, STALE = 7, SEEDS = 2, CHANGES_MAX = 200, SEGMENT = 1 << 20 };

struct place {
    char *folder;
    struct proto_cluster_file file;
    struct proto_cluster_node osd, coordinators[3];
    struct lilio_errinfo info;
};

/* ---- the disk ---- */

static struct base_disk *disk;

enum lilio_err __wrap_base_kv_open_rocksdb(const char *path, const struct base_kv_options *options,
                                           struct base_kv **ret_kv, struct lilio_errinfo *info);
enum lilio_err __wrap_base_disk_posix_new(const char *path, struct base_disk **ret_disk,
                                          struct lilio_errinfo *info);
void __wrap_base_disk_free(struct base_disk **old);
void __real_base_disk_free(struct base_disk **old);

enum lilio_err __wrap_base_disk_posix_new(const char *path, struct base_disk **ret_disk,
                                          struct lilio_errinfo *info)
{
    (void)path, (void)info;
    *ret_disk = disk;
    return LILIO_OK;
}

/* The maps are empty in all tests: nothing was applied yet. */
enum lilio_err __wrap_base_kv_open_rocksdb(const char *path, const struct base_kv_options *options,
                                           struct base_kv **ret_kv, struct lilio_errinfo *info)
{
    struct base_kv_options empty = *options;
    (void)path;
    empty.must_exist = false;
    return base_kv_open_memory(&empty, ret_kv, info);
}

void __wrap_base_disk_free(struct base_disk **old)
{
    if (*old != disk)
        __real_base_disk_free(old);
    *old = NULL;
}

static void disk_free(void)
{
    assert_int_equal(crash_disk_misuse_count(disk), 0);
    __real_base_disk_free(&disk);
}

/* ---- the folder ---- */

static void place_init(struct place *place)
{
    static char endpoint[] = "inproc://0", yaml[] = "lilio.yaml";
    static char peers[3][16] = {"inproc://p0", "inproc://p1", "inproc://p2"};
    memset(place, 0, sizeof *place);
    place->folder = temp_dir_new();
    place->osd = (struct proto_cluster_node){.id = 0, .endpoint = endpoint};
    for (uint32_t i = 0; i < 3; i++)
        place->coordinators[i] =
            (struct proto_cluster_node){.id = i, .endpoint = endpoint, .peer = peers[i]};
    place->coordinators[0].dir = place->folder;
    place->file = (struct proto_cluster_file){
        .path = yaml,
        .cluster_id = fx_uuid(1),
        .default_profile = {.data_count = 1,
                            .parity_count = 0,
                            .fragment_size = 1 << 20,
                            .generator = CODEC_COPY1},
        .osds = &place->osd,
        .osd_count = 1,
        .coordinators = place->coordinators,
        .coordinator_count = 3,
    };
}

static enum lilio_err open_home(struct place *place, bool init, uint64_t join,
                                struct coord_home *ret)
{
    const struct coord_home_options options = {
        .path = place->folder, .file = &place->file, .init = init, .join = join};
    place->info = (struct lilio_errinfo){0};
    return coord_home_open(&options, ret, &place->info);
}

static enum lilio_err alone(struct place *place)
{
    place->info = (struct lilio_errinfo){0};
    return coord_alone(&place->file, 0, NULL, &place->info);
}

static void append(struct coord_home *home, uint64_t index, enum raft_entry_type type,
                   struct base_slice data)
{
    const struct raft_entry entry = {.index = index, .term = TERM, .type = type, .data = data};
    assert_int_equal(raft_log_append(home->log, &entry, 1, NULL), LILIO_OK);
}

/* The first of three voters: its log has a command and a fourth member, both not applied. */
static void make_folder(struct place *place, uint64_t seed, uint64_t stale)
{
    struct coord_home home = {.cluster_id = place->file.cluster_id, .member = (uint64_t)1 << 32};
    const struct coord_identity identity = {home.cluster_id, home.member};
    struct raft_log_recovery recovery;
    struct base_buffer command = {0}, entry = {0}, three = {0}, four = {0};
    assert_int_equal(crash_disk_new(seed, &disk), LILIO_OK);
    const struct raft_log_options options = {.disk = disk,
                                             .cluster_id = home.cluster_id,
                                             .member = home.member,
                                             .create = true,
                                             .segment_bytes = SEGMENT};
    assert_int_equal(raft_log_open(&options, &home.log, &recovery, NULL), LILIO_OK);
    assert_int_equal(coord_home_first_command(&place->file, base_clock_system(), &command),
                     LILIO_OK);
    const struct base_slice slice = base_buffer_slice(&command);
    assert_int_equal(coord_entry_pack(&slice, 1, &entry), LILIO_OK);
    struct proto_raft_member members[4];
    for (uint32_t i = 0; i < 4; i++)
        members[i] = (struct proto_raft_member){.id = (uint64_t)1 << 32 | i,
                                                .kind = i == 3 ? RAFT_LEARNER : RAFT_VOTER};
    const struct proto_raft_config before = {.members = members, .members_count = 3},
                                   after = {.members = members, .members_count = 4};
    assert_int_equal(proto_raft_config_pack(&before, &three), LILIO_OK);
    assert_int_equal(proto_raft_config_pack(&after, &four), LILIO_OK);
    append(&home, 1, RAFT_ENTRY_CONFIG, base_buffer_slice(&three));
    append(&home, 2, RAFT_ENTRY_COMMANDS, base_buffer_slice(&entry));
    append(&home, LAST, RAFT_ENTRY_CONFIG, base_buffer_slice(&four));
    assert_int_equal(raft_log_write(home.log, NULL), LILIO_OK);
    raft_log_free(&home.log);
    assert_int_equal(
        raft_vote_load(disk, home.cluster_id, home.member, true /* create */, &home.vote, NULL),
        LILIO_OK);
    home.vote = (struct raft_vote){
        .saves = home.vote.saves, .term = TERM, .vote = 9, .start = STALE - 1, .stale = stale};
    assert_int_equal(raft_vote_save(disk, home.cluster_id, home.member, &home.vote, NULL),
                     LILIO_OK);
    assert_int_equal(coord_identity_save(disk, &identity, NULL), LILIO_OK);
    base_buffer_release(&command);
    base_buffer_release(&entry);
    base_buffer_release(&three);
    base_buffer_release(&four);
}

/* ---- what is in it ---- */

/* A configuration of one is marked and names this member, at its address. */
static bool is_alone(const struct place *place, const struct raft_entry *entry)
{
    struct proto_raft_config config;
    struct proto_arena *arena = NULL;
    if (entry->type != RAFT_ENTRY_CONFIG)
        return false;
    assert_int_equal(proto_arena_new(&arena), LILIO_OK);
    assert_int_equal(proto_raft_config_unpack(entry->data, arena, &config, NULL), LILIO_OK);
    bool one = config.members_count == 1;
    assert_int_equal(config.restored, one);
    if (one) {
        assert_int_equal(config.members[0].id, (uint64_t)1 << 32);
        assert_int_equal(config.members[0].kind, RAFT_VOTER);
        assert_true(
            base_slice_equal(config.members[0].peer, base_slice_str(place->coordinators[0].peer)));
    }
    proto_arena_free(&arena);
    return one;
}

/* What was in the log still is, and behind it only configurations of one, each in a term that no
 * other may have been in. Returns how many. */
static uint64_t check_log(const struct place *place, const struct coord_home *home)
{
    struct raft_log_view view = raft_log_view(home->log);
    uint64_t last = view.last(view.context), term = TERM;
    assert_true(last >= LAST);
    for (uint64_t index = 1; index <= last; index++) {
        struct raft_entry entry;
        size_t count;
        assert_int_equal(view.read(view.context, index, 1, 1 << 20, &entry, &count), LILIO_OK);
        assert_int_equal(is_alone(place, &entry), index > LAST);
        if (index == 2)
            assert_int_equal(entry.type, RAFT_ENTRY_COMMANDS);
        if (index <= LAST)
            continue;
        assert_true(entry.term > term + 1000000);
        assert_true(entry.term <= home->vote.term);
        term = entry.term;
    }
    return last - LAST;
}

/* After a run that was interrupted, or `ended`: as before, or alone; then another run. */
static void check_folder(struct place *place, uint64_t stale, bool ended)
{
    struct coord_home home;
    enum lilio_err err = open_home(place, false, 0, &home);
    if (err) {
        assert_int_equal(err, LILIO_E_FOREIGN);
        assert_true(stale && !ended);
    } else {
        uint64_t count = check_log(place, &home);
        assert_true(count == 1 || (count == 0 && !stale && !ended));
        assert_int_equal(home.vote.start, STALE - 1);
        coord_home_release(&home);
    }
    assert_int_equal(alone(place), LILIO_OK);
    assert_int_equal(open_home(place, false, 0, &home), LILIO_OK);
    assert_in_range(check_log(place, &home), 1, 2);
    assert_int_equal(home.vote.stale, 0);
    assert_int_equal(home.vote.vote, 0);
    coord_home_release(&home);
}

/* ---- tests ---- */

static void power_fails(struct place *place, uint64_t stale)
{
    uint64_t cuts = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        bool cut = true;
        for (uint64_t n = 1; cut && n < CHANGES_MAX; n++) {
            make_folder(place, seed * CHANGES_MAX + n, stale);
            crash_disk_power_off_at(disk, n);
            enum lilio_err err = alone(place);
            cut = !crash_disk_powered(disk);
            cuts += cut;
            assert_true(cut || !err);
            crash_disk_power_off_at(disk, 0);
            crash_disk_power_on(disk);
            check_folder(place, stale, !err);
            disk_free();
        }
        assert_false(cut);
    }
    assert_true(cuts > SEEDS * 10); /* two votes and an entry at least */
}

static void survives_power_failures(void **unused)
{
    (void)unused;
    struct place place;
    place_init(&place);
    power_fails(&place, 0);
    power_fails(&place, STALE);
    temp_dir_free(place.folder);
}

static void faults(struct place *place, enum crash_call call, bool for_ever, enum lilio_err fault)
{
    uint64_t failed = 0;
    bool struck = true;
    for (uint64_t n = 1; struck && n < CHANGES_MAX; n++) {
        make_folder(place, n, STALE);
        uint64_t before = crash_disk_calls(disk, call);
        crash_disk_fail(disk, call, n, for_ever, fault);
        enum lilio_err err = alone(place);
        struck = crash_disk_calls(disk, call) - before >= n;
        crash_disk_fail(disk, call, 0, false, LILIO_OK);
        assert_true(!err || (struck && err == fault));
        failed += err != LILIO_OK;
        crash_disk_power_off(disk); /* what failed may have been lost as well */
        crash_disk_power_on(disk);
        check_folder(place, STALE, !err);
        disk_free();
    }
    assert_false(struck);
    assert_true(failed >= 3 || call == CRASH_META);
}

static void survives_a_full_disk_and_failed_syncs(void **unused)
{
    (void)unused;
    struct place place;
    place_init(&place);
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        faults(&place, CRASH_WRITE, for_ever, LILIO_E_NO_SPACE);
        faults(&place, CRASH_META, for_ever, LILIO_E_NO_SPACE);
        faults(&place, CRASH_SYNC, for_ever, LILIO_E_IO);
    }
    make_folder(&place, 1, STALE);
    crash_disk_set_capacity(disk, 4096);
    uint64_t before = crash_disk_calls(disk, CRASH_WRITE);
    assert_int_equal(alone(&place), LILIO_E_NO_SPACE);
    assert_int_equal(crash_disk_calls(disk, CRASH_WRITE), before);
    crash_disk_set_capacity(disk, 0);
    check_folder(&place, STALE, false);
    disk_free();
    temp_dir_free(place.folder);
}

/* Alone it would make the cluster anew, without its objects. */
static void who_knows_nothing_is_refused(void **unused)
{
    (void)unused;
    for (uint64_t join = 0; join < 2; join++) {
        struct place place;
        struct coord_home home;
        place_init(&place);
        assert_int_equal(crash_disk_new(1, &disk), LILIO_OK);
        assert_int_equal(open_home(&place, join == 0, join << 34, &home), LILIO_OK);
        coord_home_release(&home);
        assert_int_equal(alone(&place), LILIO_E_PRECONDITION);
        assert_non_null(strstr(place.info.text, "never brought up to date"));
        assert_int_equal(open_home(&place, false, 0, &home), LILIO_OK);
        struct raft_log_view view = raft_log_view(home.log);
        assert_int_equal(view.last(view.context), join ? 0 : 1);
        coord_home_release(&home);
        disk_free();
        temp_dir_free(place.folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survives_power_failures),
        cmocka_unit_test(survives_a_full_disk_and_failed_syncs),
        cmocka_unit_test(who_knows_nothing_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
