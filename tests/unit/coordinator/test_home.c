/* Aim: a data directory is made only when asked, opened only by its own cluster and by one process,
 * and what is wrong with it is said. Method: real directories, with RocksDB files removed, damaged
 * or belonging elsewhere. */
#include "coord_fixture.h"

#include <dirent.h>
#include <ftw.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "coordinator/home.h"

#include "base/banned.h"

struct place {
    char folder[64], dir[96];
    struct proto_cluster_file file;
    struct proto_cluster_node osds[2];
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
    const char *tmp = getenv("TMPDIR");
    memset(place, 0, sizeof *place);
    (void)snprintf(place->folder, sizeof place->folder, "%s/home-XXXXXX",
                   tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    assert_non_null(mkdtemp(place->folder));
    (void)snprintf(place->dir, sizeof place->dir, "%s/coordinator.0", place->folder);
    place->osds[0] = (struct proto_cluster_node){.id = 0, .endpoint = zero};
    place->osds[1] = (struct proto_cluster_node){.id = 1, .endpoint = one};
    place->file = (struct proto_cluster_file){
        .path = yaml,
        .cluster_id = fx_uuid(1),
        .default_profile = {.data_count = 1,
                            .parity_count = 1,
                            .fragment_size = 1 << 20,
                            .generator = CODEC_COPY1},
        .osds = place->osds,
        .osd_count = 2,
    };
}

static void place_release(struct place *place)
{
    (void)nftw(place->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static enum lilio_err open_home(struct place *place, bool init, struct coord_home *ret)
{
    struct coord_home_options options = {
        .path = place->dir, .file = &place->file, .init = init, .clock = base_clock_system()};
    place->info = (struct lilio_errinfo){0};
    return coord_home_open(&options, ret, &place->info);
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
    assert_int_equal(coord_state_osd_count(home.state), 2);
    assert_true(
        base_slice_equal(coord_state_osd_at(home.state, 1)->address, fx_text("inproc://1")));
    assert_int_equal(coord_state_row(home.state)->applied_index, 1);
    assert_true(coord_home_map_bytes(&home) > 0);
    assert_true(coord_home_map_bytes(&home) < 256 << 10); /* an empty cluster takes little */
    coord_home_release(&home);
    for (int init = 0; init < 2; init++) { /* init on maps that are there keeps them */
        assert_int_equal(open_home(&place, init, &home), LILIO_OK);
        assert_false(home.fresh);
        assert_int_equal(coord_state_row(home.state)->applied_index, 1);
        coord_home_release(&home);
    }
    place_release(&place);
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
    assert_int_equal(open_home(&place, true, &home), LILIO_OK);
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
    coord_home_release(&home);
    assert_int_equal(open_home(&place, false, &home), LILIO_E_FORMAT);
    place_release(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(initialised_once_and_kept),
        cmocka_unit_test(empty_directory_is_no_empty_cluster),
        cmocka_unit_test(half_made_maps_are_finished_by_init_only),
        cmocka_unit_test(another_cluster_is_refused),
        cmocka_unit_test(second_process_is_locked_out),
        cmocka_unit_test(damaged_maps_are_said_to_be),
        cmocka_unit_test(newer_format_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
