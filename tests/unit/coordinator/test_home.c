/* Aim: a data directory is made only when asked, opened only by its own member and by one process,
 * and one whose parts do not fit together is refused with the reason. Method: real directories,
 * with files removed, damaged, put back from an earlier time or belonging elsewhere. */
#include "coord_fixture.h"

#include <dirent.h>
#include <ftw.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "coordinator/alone.h"
#include "coordinator/entry.h"
#include "coordinator/home.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

struct place {
    char *folder;
    char dir[128];
    struct proto_cluster_file file;
    struct proto_cluster_node osds[2], coordinators[3];
    uint32_t id;
    uint64_t join;
    struct lilio_errinfo info;
};

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static void place_init(struct place *place)
{
    static char zero[] = "inproc://0", one[] = "inproc://1", yaml[] = "lilio.yaml";
    static char peers[3][16] = {"inproc://p0", "inproc://p1", "inproc://p2"};
    memset(place, 0, sizeof *place);
    place->folder = temp_dir_new();
    (void)snprintf(place->dir, sizeof place->dir, "%s/coordinator", place->folder);
    place->osds[0] = (struct proto_cluster_node){.id = 0, .endpoint = zero};
    place->osds[1] = (struct proto_cluster_node){.id = 1, .endpoint = one};
    for (uint32_t i = 0; i < 3; i++)
        place->coordinators[i] =
            (struct proto_cluster_node){.id = i, .endpoint = zero, .peer = peers[i]};
    place->file = (struct proto_cluster_file){
        .path = yaml,
        .cluster_id = fx_uuid(1),
        .default_profile = {.data_count = 1,
                            .parity_count = 1,
                            .fragment_size = 1 << 20,
                            .generator = CODEC_COPY1},
        .osds = place->osds,
        .osd_count = 2,
        .coordinators = place->coordinators,
        .coordinator_count = 1,
    };
}

static void place_release(struct place *place)
{
    temp_dir_free(place->folder);
}

static enum lilio_err open_home(struct place *place, bool init, struct coord_home *ret)
{
    struct coord_home_options options = {
        .path = place->dir,
        .file = &place->file,
        .id = place->id,
        .init = init,
        .join = place->join,
    };
    place->info = (struct lilio_errinfo){0};
    return coord_home_open(&options, ret, &place->info);
}

static const char *path_of(const struct place *place, const char *name)
{
    static char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", place->dir, name);
    return path;
}

static void forget(const struct place *place, const char *name)
{
    (void)nftw(path_of(place, name), remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* What the log holds at an index. */
static struct raft_entry entry_at(struct coord_home *home, uint64_t index)
{
    struct raft_log_view view = raft_log_view(home->log);
    struct raft_entry entry;
    size_t count;
    assert_int_equal(view.read(view.context, index, 1, 1 << 20, &entry, &count), LILIO_OK);
    return entry;
}

/* Applies no-ops of a term up to an index to the maps, durably. */
static void apply_to(struct coord_home *home, uint64_t index, uint64_t term)
{
    for (uint64_t i = coord_state_row(home->state)->applied_index + 1; i <= index; i++)
        assert_int_equal(coord_state_advance(home->state, i, term, NULL, NULL), LILIO_OK);
    assert_int_equal(coord_state_commit(home->state, true, NULL), LILIO_OK);
    assert_int_equal(base_kv_flush(home->kv, NULL), LILIO_OK);
}

/* Puts no-ops of a term into the log up to an index, durably. */
static void log_to(struct coord_home *home, uint64_t index, uint64_t term)
{
    struct raft_log_view view = raft_log_view(home->log);
    for (uint64_t i = view.last(view.context) + 1; i <= index; i++) {
        struct raft_entry entry = {.index = i, .term = term, .type = RAFT_ENTRY_NOOP};
        assert_int_equal(raft_log_append(home->log, &entry, 1, NULL), LILIO_OK);
    }
    assert_int_equal(raft_log_write(home->log, NULL), LILIO_OK);
}

static void initialised_once_and_kept(void **unused)
{
    (void)unused;
    struct place place;
    struct coord_home home;
    place_init(&place);
    assert_int_equal(open_home(&place, false, &home), LILIO_E_NOT_FOUND);
    assert_non_null(strstr(place.info.text, "the object maps are gone"));
    assert_int_equal(open_home(&place, true, &home), LILIO_OK);
    assert_true(home.fresh);
    assert_int_equal(home.member, (uint64_t)1 << 32);
    assert_int_equal(home.vote.term, 1);
    assert_int_equal(home.vote.vote, 0);
    assert_int_equal(coord_state_row(home.state)->applied_index, 0);
    assert_int_equal(entry_at(&home, 1).type, RAFT_ENTRY_CONFIG);
    assert_int_equal(entry_at(&home, 1).term, 1);
    assert_true(coord_home_map_bytes(&home) > 0);
    assert_true(coord_home_map_bytes(&home) < 320 << 10); /* an empty cluster takes little */
    apply_to(&home, 1, 1);
    coord_home_release(&home);
    for (int init = 0; init < 2; init++) { /* init on a member that is there keeps it */
        assert_int_equal(open_home(&place, init, &home), LILIO_OK);
        assert_int_equal(coord_state_row(home.state)->applied_index, 1);
        coord_home_release(&home);
    }
    place_release(&place);
}

/* All first members begin with the same entry. */
static void first_members_agree(void **unused)
{
    (void)unused;
    struct base_buffer first = {0};
    for (uint32_t id = 0; id < 3; id++) {
        struct place place;
        struct coord_home home;
        struct proto_raft_config config;
        struct proto_arena *arena = NULL;
        place_init(&place);
        place.id = id;
        place.file.coordinator_count = 3;
        assert_int_equal(open_home(&place, true, &home), LILIO_OK);
        assert_int_equal(home.member, (uint64_t)1 << 32 | id);
        struct base_slice data = entry_at(&home, 1).data;
        if (id == 0)
            assert_int_equal(base_buffer_append(&first, data.data, data.size), LILIO_OK);
        assert_true(base_slice_equal(data, base_buffer_slice(&first)));
        assert_int_equal(proto_arena_new(&arena), LILIO_OK);
        assert_int_equal(proto_raft_config_unpack(data, arena, &config, NULL), LILIO_OK);
        assert_int_equal(config.members_count, 3);
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(config.members[i].id, (uint64_t)1 << 32 | i);
            assert_int_equal(config.members[i].kind, RAFT_VOTER);
        }
        proto_arena_free(&arena);
        coord_home_release(&home);
        place_release(&place);
    }
    base_buffer_release(&first);
}

static void one_of_several_needs_a_peer_address(void **unused)
{
    (void)unused;
    struct place place;
    struct coord_home home;
    place_init(&place);
    place.file.coordinator_count = 3;
    place.coordinators[2].peer = NULL;
    assert_int_equal(open_home(&place, true, &home), LILIO_E_CONFIG);
    assert_non_null(strstr(place.info.text, "peer address of coordinator 2"));
    place_release(&place);
}

/* A crash while a member is made: everything but the identity may be there. */
static void half_made_member_is_made_anew(void **unused)
{
    (void)unused;
    struct place place;
    struct coord_home home;
    place_init(&place);
    assert_int_equal(open_home(&place, true, &home), LILIO_OK);
    log_to(&home, 5, 1);
    coord_home_release(&home);
    forget(&place, "identity");
    assert_int_equal(open_home(&place, false, &home), LILIO_E_NOT_FOUND);
    assert_int_equal(open_home(&place, true, &home), LILIO_OK);
    struct raft_log_view view = raft_log_view(home.log);
    assert_int_equal(view.last(view.context), 1);
    coord_home_release(&home);
    place_release(&place);
}

static void joins_empty_and_only_as_told(void **unused)
{
    (void)unused;
    struct place place;
    struct coord_home home;
    place_init(&place);
    place.id = 2;
    place.join = (uint64_t)7 << 32 | 1;
    assert_int_equal(open_home(&place, false, &home), LILIO_E_CONFIG); /* another number's */
    place.join = (uint64_t)7 << 32 | 2;
    assert_int_equal(open_home(&place, false, &home), LILIO_OK);
    struct raft_log_view view = raft_log_view(home.log);
    assert_int_equal(view.last(view.context), 0);
    assert_int_equal(home.vote.term, 0);
    assert_int_equal(home.member, place.join);
    coord_home_release(&home);
    assert_int_equal(open_home(&place, false, &home), LILIO_OK); /* the same arguments again */
    coord_home_release(&home);
    place.join = (uint64_t)8 << 32 | 2;
    assert_int_equal(open_home(&place, false, &home), LILIO_E_FOREIGN);
    place.join = 0;
    assert_int_equal(open_home(&place, false, &home), LILIO_OK);
    coord_home_release(&home);
    place.id = 1;
    assert_int_equal(open_home(&place, false, &home), LILIO_E_FOREIGN);
    place_release(&place);
}

/* What a version without quorum left: maps with a log of their own, and nothing else. */
static void make_old_maps(struct place *place, uint64_t entries)
{
    struct base_kv_options options = coord_kv_options();
    struct base_kv *kv = NULL;
    struct coord_state *state = NULL;
    struct base_buffer command = {0};
    options.no_log = false;
    options.log_is_truth = true;
    assert_int_equal(mkdir(place->dir, 0700), 0);
    assert_int_equal(base_kv_open_rocksdb(path_of(place, "maps"), &options, &kv, NULL), LILIO_OK);
    assert_int_equal(coord_state_open(kv, &state, NULL), LILIO_OK);
    assert_int_equal(coord_home_first_command(&place->file, base_clock_system(), &command),
                     LILIO_OK);
    struct base_slice slice = base_buffer_slice(&command);
    for (uint64_t i = 1; i <= entries; i++)
        assert_int_equal(coord_state_apply(state, i, 0 /* no term */, &slice, 1, NULL, NULL),
                         LILIO_OK);
    assert_int_equal(coord_state_commit(state, true, NULL), LILIO_OK);
    base_buffer_release(&command);
    coord_state_free(&state);
    base_kv_free(&kv);
}

static void old_maps_become_a_quorum_of_one(void **unused)
{
    (void)unused;
    struct place place;
    struct coord_home home;
    place_init(&place);
    place.file.coordinator_count = 3; /* the others never had these maps */
    make_old_maps(&place, 9);
    place.file.cluster_id = fx_uuid(2);
    assert_int_equal(open_home(&place, false, &home), LILIO_E_FOREIGN);
    place.file.cluster_id = fx_uuid(1);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(open_home(&place, false, &home), LILIO_OK);
        assert_false(home.fresh);
        assert_int_equal(coord_state_osd_count(home.state), 2);
        assert_int_equal(coord_state_row(home.state)->applied_index, 9);
        struct raft_log_view view = raft_log_view(home.log);
        assert_int_equal(view.first(view.context), 10);
        assert_int_equal(view.last(view.context), 10);
        assert_int_equal(entry_at(&home, 10).type, RAFT_ENTRY_CONFIG);
        struct proto_raft_config config;
        struct proto_arena *arena = NULL;
        assert_int_equal(proto_arena_new(&arena), LILIO_OK);
        assert_int_equal(proto_raft_config_unpack(entry_at(&home, 10).data, arena, &config, NULL),
                         LILIO_OK);
        assert_int_equal(config.members_count, 1);
        proto_arena_free(&arena);
        coord_home_release(&home);
        if (again == 0)
            forget(&place, "identity"); /* as if the conversion had not come that far */
    }
    place_release(&place);
}

static void maps_ahead_of_their_log_are_refused(void **unused)
{
    (void)unused;
    struct place place;
    struct coord_home home;
    place_init(&place);
    assert_int_equal(open_home(&place, true, &home), LILIO_OK);
    apply_to(&home, 2, 1); /* the log ends at 1: its end was lost */
    coord_home_release(&home);
    for (int init = 0; init < 2; init++) {
        assert_int_equal(open_home(&place, init, &home), LILIO_E_CORRUPT);
        assert_non_null(strstr(place.info.text, "the log lost entries that were applied"));
    }
    place_release(&place);
}

static void maps_behind_a_gap_are_refused(void **unused)
{
    (void)unused;
    struct place place;
    struct coord_home home;
    place_init(&place);
    assert_int_equal(open_home(&place, true, &home), LILIO_OK);
    apply_to(&home, 1, 1);
    assert_int_equal(raft_log_reset(home.log, 5, 1, NULL), LILIO_OK);
    coord_home_release(&home);
    assert_int_equal(open_home(&place, false, &home), LILIO_E_CORRUPT);
    assert_non_null(strstr(place.info.text, "entries are missing between the maps"));
    place_release(&place);
}

static void maps_of_another_history_are_refused(void **unused)
{
    (void)unused;
    struct place place;
    struct coord_home home;
    place_init(&place);
    assert_int_equal(open_home(&place, true, &home), LILIO_OK);
    log_to(&home, 3, 1);
    apply_to(&home, 3, 2); /* another entry was applied than is in the log */
    coord_home_release(&home);
    assert_int_equal(open_home(&place, false, &home), LILIO_E_CORRUPT);
    assert_non_null(strstr(place.info.text, "of term 2, the log has one of term 1"));
    place_release(&place);
}

static void vote_older_than_the_log_is_refused(void **unused)
{
    (void)unused;
    struct place place;
    struct coord_home home;
    place_init(&place);
    assert_int_equal(open_home(&place, true, &home), LILIO_OK);
    log_to(&home, 3, 4); /* the vote is still of term 1: it was put back */
    coord_home_release(&home);
    assert_int_equal(open_home(&place, false, &home), LILIO_E_CORRUPT);
    assert_non_null(strstr(place.info.text, "the vote"));
    place_release(&place);
}

/* Others said so once; it does not take any of them to be refused the next time. */
static void older_copy_is_refused(void **unused)
{
    (void)unused;
    struct place place;
    struct coord_home home;
    place_init(&place);
    assert_int_equal(open_home(&place, true, &home), LILIO_OK);
    home.vote.start = 5;
    home.vote.stale = 7;
    assert_int_equal(
        raft_vote_save(home.disk, home.cluster_id, home.member, &home.vote, &place.info), LILIO_OK);
    coord_home_release(&home);
    for (int init = 0; init < 2; init++) {
        assert_int_equal(open_home(&place, init, &home), LILIO_E_FOREIGN);
        assert_non_null(strstr(place.info.text, "(start 5 here, the others know of start 7)"));
        assert_non_null(strstr(place.info.text, "lilio-ec coordinator replace"));
    }
    place_release(&place);
}

/* Its log goes on with a configuration of its own, also when it is an older copy. */
static void one_goes_on_alone(void **unused)
{
    (void)unused;
    struct place place;
    struct coord_home home;
    place_init(&place);
    place.file.coordinator_count = 3;
    char others[2][160];
    for (uint32_t i = 0; i < 2; i++) {
        (void)snprintf(others[i], sizeof others[i], "%s/%u", place.folder, i);
        place.coordinators[1 + i].dir = others[i];
    }
    place.coordinators[0].dir = place.dir;
    assert_int_equal(coord_alone(&place.file, 0, NULL, &place.info), LILIO_E_NOT_FOUND);
    assert_int_equal(coord_alone(&place.file, 7, NULL, &place.info), LILIO_E_CONFIG);
    assert_int_equal(open_home(&place, true, &home), LILIO_OK);
    log_to(&home, 2, 1);
    apply_to(&home, 2, 1);
    const struct raft_entry commands = {.index = 3, .term = 1, .type = RAFT_ENTRY_COMMANDS};
    assert_int_equal(raft_log_append(home.log, &commands, 1, NULL), LILIO_OK);
    assert_int_equal(raft_log_write(home.log, NULL), LILIO_OK);
    home.vote.vote = home.member;
    home.vote.start = 5;
    home.vote.stale = 7;
    assert_int_equal(
        raft_vote_save(home.disk, home.cluster_id, home.member, &home.vote, &place.info), LILIO_OK);
    assert_int_equal(coord_alone(&place.file, 0, NULL, &place.info), LILIO_E_LOCKED);
    coord_home_release(&home);
    /* The others could go on without it. */
    assert_int_equal(mkdir(others[1], 0700), 0);
    char identity[176];
    (void)snprintf(identity, sizeof identity, "%s/identity", others[1]);
    int fd = open(identity, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(close(fd), 0);
    assert_int_equal(coord_alone(&place.file, 0, NULL, &place.info), LILIO_E_PRECONDITION);
    assert_non_null(strstr(place.info.text, others[1]));
    assert_int_equal(open_home(&place, false, &home), LILIO_E_FOREIGN);
    assert_int_equal(unlink(identity), 0);
    for (uint64_t again = 0; again < 2; again++) {
        assert_int_equal(coord_alone(&place.file, 0, NULL, &place.info), LILIO_OK);
        assert_int_equal(open_home(&place, false, &home), LILIO_OK);
        assert_int_equal(home.vote.stale, 0);
        assert_int_equal(home.vote.start, 5);
        assert_int_equal(home.vote.vote, 0);
        uint64_t term = 1 + ((again + 1) << 20); /* nobody came so far in the meantime */
        assert_int_equal(home.vote.term, term);
        const struct raft_entry entry = entry_at(&home, 4 + again);
        assert_int_equal(entry.term, term);
        assert_int_equal(entry.type, RAFT_ENTRY_CONFIG);
        struct proto_raft_config config;
        struct proto_arena *arena = NULL;
        assert_int_equal(proto_arena_new(&arena), LILIO_OK);
        assert_int_equal(proto_raft_config_unpack(entry.data, arena, &config, NULL), LILIO_OK);
        assert_int_equal(config.members_count, 1);
        assert_int_equal(config.members[0].id, home.member);
        assert_int_equal(config.members[0].kind, RAFT_VOTER);
        assert_true(config.restored);
        proto_arena_free(&arena);
        coord_home_release(&home);
    }
    place_release(&place);
}

static void member_without_one_of_its_parts_is_refused(void **unused)
{
    (void)unused;
    static const char *const parts[] = {"vote", "log", "maps", "identity"};
    for (size_t i = 0; i < 4; i++) {
        struct place place;
        struct coord_home home;
        place_init(&place);
        assert_int_equal(open_home(&place, true, &home), LILIO_OK);
        uint64_t index;
        assert_int_equal(
            coord_state_advance(
                home.state, 1, 1,
                &(struct proto_raft_config){
                    .members = &(struct proto_raft_member){.id = home.member, .kind = RAFT_VOTER},
                    .members_count = 1},
                NULL),
            LILIO_OK);
        (void)coord_state_config(home.state, &index);
        assert_int_equal(index, 1);
        apply_to(&home, 1, 1);
        coord_home_release(&home);
        forget(&place, parts[i]);
        for (int init = 0; init < 2; init++) { /* never made anew: it may have voted */
            enum lilio_err err = open_home(&place, init, &home);
            assert_int_equal(err, i == 2 ? LILIO_E_NOT_FOUND : LILIO_E_CORRUPT);
        }
        place_release(&place);
    }
}

static void empty_directory_is_no_empty_cluster(void **unused)
{
    (void)unused;
    struct place place;
    struct coord_home home;
    place_init(&place);
    assert_int_equal(mkdir(place.dir, 0700), 0);
    assert_int_equal(open_home(&place, false, &home), LILIO_E_NOT_FOUND);
    assert_non_null(strstr(place.info.text, "the object maps are gone"));
    char maps[128];
    (void)snprintf(maps, sizeof maps, "%s/maps", place.dir);
    assert_int_not_equal(access(maps, F_OK), 0); /* the refusal made none */
    place_release(&place);
}

/* A crash between the making of the store and the first entry. */
static void half_made_maps_are_finished_by_init_only(void **unused)
{
    (void)unused;
    struct place place;
    struct coord_home home;
    char maps[128];
    place_init(&place);
    assert_int_equal(mkdir(place.dir, 0700), 0);
    (void)snprintf(maps, sizeof maps, "%s/maps", place.dir);
    struct base_kv_options options = coord_kv_options();
    struct base_kv *kv = NULL;
    assert_int_equal(base_kv_open_rocksdb(maps, &options, &kv, NULL), LILIO_OK);
    base_kv_free(&kv);
    assert_int_equal(open_home(&place, false, &home), LILIO_E_NOT_FOUND);
    assert_int_equal(open_home(&place, true, &home), LILIO_OK);
    assert_true(home.fresh);
    coord_home_release(&home);
    place_release(&place);
}

/* It may have voted, and what was half made may have been whole. */
static void nothing_is_made_anew_in_a_cluster_that_exists(void **unused)
{
    (void)unused;
    struct place place;
    struct coord_home home;
    char mark[128];
    place_init(&place);
    place.file.folder = place.folder;
    place.file.coordinator_count = 3;
    assert_int_equal(open_home(&place, true, &home), LILIO_OK);
    coord_home_release(&home);
    (void)snprintf(mark, sizeof mark, "%s/initialised", place.folder);
    int fd = open(mark, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(open_home(&place, true, &home), LILIO_OK); /* what is whole is kept */
    coord_home_release(&home);
    forget(&place, "identity");
    assert_int_equal(open_home(&place, true, &home), LILIO_E_NOT_FOUND);
    assert_non_null(strstr(place.info.text, "`lilio-ec coordinator replace 0'"));
    assert_null(strstr(place.info.text, "--init"));
    forget(&place, "");
    for (int made = 0; made < 2; made++) {
        assert_int_equal(open_home(&place, true, &home), LILIO_E_NOT_FOUND);
        assert_non_null(strstr(place.info.text, "`lilio-ec coordinator replace 0'"));
        assert_int_not_equal(access(path_of(&place, "maps"), F_OK), 0);
        if (!made)
            assert_int_equal(mkdir(place.dir, 0700), 0);
    }
    place.join = (uint64_t)7 << 32;
    assert_int_equal(open_home(&place, false, &home), LILIO_OK); /* as `replace` does it */
    coord_home_release(&home);
    place_release(&place);
}

static void another_cluster_is_refused(void **unused)
{
    (void)unused;
    struct place place;
    struct coord_home home;
    place_init(&place);
    assert_int_equal(open_home(&place, true, &home), LILIO_OK);
    coord_home_release(&home);
    place.file.cluster_id = fx_uuid(2);
    assert_int_equal(open_home(&place, false, &home), LILIO_E_FOREIGN);
    assert_int_equal(open_home(&place, true, &home), LILIO_E_FOREIGN);
    assert_non_null(strstr(place.info.text, "belong to cluster"));
    place_release(&place);
}

static void second_process_is_locked_out(void **unused)
{
    (void)unused;
    struct place place;
    struct coord_home home, second;
    place_init(&place);
    assert_int_equal(open_home(&place, true, &home), LILIO_OK);
    assert_int_equal(open_home(&place, false, &second), LILIO_E_LOCKED);
    coord_home_release(&home);
    assert_int_equal(open_home(&place, false, &second), LILIO_OK);
    coord_home_release(&second);
    place_release(&place);
}

/* Flips bytes in the middle of every file whose name has the ending. */
static int damage(const struct place *place, const char *ending)
{
    char maps[128];
    (void)snprintf(maps, sizeof maps, "%s/maps", place->dir);
    DIR *dir = opendir(maps);
    assert_non_null(dir);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (!strstr(entry->d_name, ending))
            continue;
        int fd = openat(dirfd(dir), entry->d_name, O_RDWR | O_CLOEXEC);
        off_t size = lseek(fd, 0, SEEK_END);
        if (size > 64)
            count += pwrite(fd, "################", 16, size / 2) == 16;
        close(fd);
    }
    closedir(dir);
    return count;
}

static void damaged_maps_are_said_to_be(void **unused)
{
    (void)unused;
    static const char *const endings[] = {"MANIFEST", "CURRENT"};
    for (size_t i = 0; i < 2; i++) {
        struct place place;
        struct coord_home home;
        place_init(&place);
        assert_int_equal(open_home(&place, true, &home), LILIO_OK);
        coord_home_release(&home);
        char current[128];
        (void)snprintf(current, sizeof current, "%s/maps/CURRENT", place.dir);
        if (i == 0)
            assert_true(damage(&place, endings[i]) > 0);
        else
            assert_int_equal(unlink(current), 0);
        for (int init = 0; init < 2; init++) {
            enum lilio_err err = open_home(&place, init, &home);
            assert_int_equal(err, LILIO_E_CORRUPT);
            assert_true(place.info.text[0] != '\0');
        }
        place_release(&place);
    }
}

static void newer_format_is_refused(void **unused)
{
    (void)unused;
    struct place place;
    struct coord_home home;
    place_init(&place);
    make_old_maps(&place, 1);
    assert_int_equal(open_home(&place, false, &home), LILIO_OK);
    struct proto_cluster_row row = *coord_state_cluster(home.state);
    row.format = COORD_FORMAT + 1;
    struct base_buffer packed = {0};
    struct base_kv_batch *batch = NULL;
    assert_int_equal(proto_cluster_row_pack(&row, &packed), LILIO_OK);
    assert_int_equal(base_kv_batch_new(home.kv, &batch), LILIO_OK);
    base_kv_batch_put(batch, COORD_META, fx_text("cluster"), base_buffer_slice(&packed));
    assert_int_equal(base_kv_batch_commit(batch, true, NULL), LILIO_OK);
    base_kv_batch_free(&batch);
    base_buffer_release(&packed);
    assert_int_equal(base_kv_flush(home.kv, NULL), LILIO_OK);
    coord_home_release(&home);
    assert_int_equal(open_home(&place, false, &home), LILIO_E_FORMAT);
    place_release(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(initialised_once_and_kept),
        cmocka_unit_test(first_members_agree),
        cmocka_unit_test(one_of_several_needs_a_peer_address),
        cmocka_unit_test(half_made_member_is_made_anew),
        cmocka_unit_test(joins_empty_and_only_as_told),
        cmocka_unit_test(old_maps_become_a_quorum_of_one),
        cmocka_unit_test(maps_ahead_of_their_log_are_refused),
        cmocka_unit_test(maps_behind_a_gap_are_refused),
        cmocka_unit_test(maps_of_another_history_are_refused),
        cmocka_unit_test(vote_older_than_the_log_is_refused),
        cmocka_unit_test(older_copy_is_refused),
        cmocka_unit_test(one_goes_on_alone),
        cmocka_unit_test(member_without_one_of_its_parts_is_refused),
        cmocka_unit_test(empty_directory_is_no_empty_cluster),
        cmocka_unit_test(half_made_maps_are_finished_by_init_only),
        cmocka_unit_test(nothing_is_made_anew_in_a_cluster_that_exists),
        cmocka_unit_test(another_cluster_is_refused),
        cmocka_unit_test(second_process_is_locked_out),
        cmocka_unit_test(damaged_maps_are_said_to_be),
        cmocka_unit_test(newer_format_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
