/* Aim: a cluster's folder is made once, found again, and never quietly changed or made anew; socket
 * paths fit. Method: real folders of the test's own; nothing is started. */
#include "tools/local.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

static char *folder;

static int setup(void **state)
{
    (void)state;
    folder = temp_dir_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    temp_dir_free(folder);
    return 0;
}

static void test_made_once_and_found_again(void **state)
{
    (void)state;
    struct tools_local_wish wish = {.dir = folder};
    struct proto_cluster_file first, second;
    assert_int_equal(tools_local_open(&wish, &first, NULL), LILIO_OK);
    assert_int_equal(first.osd_count, TOOLS_LOCAL_OSDS_DEFAULT);
    assert_int_equal(first.coordinator_count, 1);
    assert_true(first.default_profile.data_count == 4 && first.default_profile.parity_count == 2);
    assert_true(first.gc_grace_ms == 3600000);
    assert_true(first.orphan_retention_ms == PROTO_ORPHAN_RETENTION_MS);
    assert_int_equal(tools_local_open(&wish, &second, NULL), LILIO_OK);
    assert_true(base_uuid_equal(first.cluster_id, second.cluster_id));
    assert_string_equal(first.osds[5].endpoint, second.osds[5].endpoint);
    assert_string_equal(first.osds[5].dir, second.osds[5].dir);
    proto_cluster_file_release(&first);
    proto_cluster_file_release(&second);
}

static void test_conflicts_are_refused(void **state)
{
    (void)state;
    struct tools_local_wish made = {.dir = folder, .osd_count = 7, .has_gc_grace = true};
    struct proto_cluster_file file;
    assert_int_equal(tools_local_open(&made, &file, NULL), LILIO_OK);
    proto_cluster_file_release(&file);
    const struct tools_local_wish bad[] = {
        {.dir = folder, .osd_count = 6},
        {.dir = folder, .has_profile = true, .profile = {.data_count = 2, .parity_count = 1}},
        {.dir = folder, .has_gc_grace = true, .gc_grace_ms = 1},
        {.dir = folder, .has_orphan_retention = true, .orphan_retention_ms = 1},
        {.dir = folder, .has_listen = true, .host = "127.0.0.1"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct lilio_errinfo info = {0};
        assert_int_equal(tools_local_open(&bad[i], &file, &info), LILIO_E_INVALID);
        assert_true(info.text[0]);
    }
    assert_int_equal(tools_local_open(&made, &file, NULL), LILIO_OK);
    proto_cluster_file_release(&file);
}

static void test_a_profile_wider_than_the_osds_is_refused(void **state)
{
    (void)state;
    struct tools_local_wish wish = {.dir = folder, .osd_count = 5};
    struct proto_cluster_file file;
    struct lilio_errinfo info = {0};
    assert_int_equal(tools_local_open(&wish, &file, &info), LILIO_E_INVALID);
    assert_non_null(strstr(info.text, "4+2 needs 6"));
    assert_int_not_equal(access(temp_dir_path(folder, "lilio.yaml"), F_OK), 0);
}

static void test_ports(void **state)
{
    (void)state;
    struct tools_local_wish wish = {.dir = folder, .has_listen = true, .host = "127.0.0.1"};
    struct tools_local_wish other = {
        .dir = folder, .has_listen = true, .host = "127.0.0.1", .port = 1};
    struct proto_cluster_file file;
    assert_int_equal(tools_local_open(&wish, &file, NULL), LILIO_OK);
    for (size_t i = 0; i < file.osd_count; i++) {
        assert_int_equal(strncmp(file.osds[i].endpoint, "tcp://127.0.0.1:", 16), 0);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(file.osds[i].endpoint, file.osds[j].endpoint);
    }
    proto_cluster_file_release(&file);
    assert_int_equal(tools_local_open(&wish, &file, NULL), LILIO_OK);
    proto_cluster_file_release(&file);
    assert_int_equal(tools_local_open(&other, &file, NULL), LILIO_E_INVALID);
}

static void test_coordinators_and_their_peers(void **state)
{
    (void)state;
    struct tools_local_wish wish = {.dir = folder, .coordinator_count = 3};
    struct tools_local_wish five = {.dir = folder, .coordinator_count = 5};
    struct proto_cluster_file file, again;
    assert_int_equal(tools_local_open(&wish, &file, NULL), LILIO_OK);
    assert_int_equal(file.coordinator_count, 3);
    assert_non_null(strstr(file.coordinators[2].peer, "/coordinator.2.peer.sock"));
    assert_int_equal(tools_local_open(&five, &again, NULL), LILIO_E_INVALID);
    /* One more: what is saved is what can be read. */
    assert_int_equal(tools_local_coordinator_add(&file, 7, NULL, NULL), LILIO_OK);
    assert_int_equal(proto_cluster_file_save(&file, NULL), LILIO_OK);
    wish.coordinator_count = 4;
    assert_int_equal(tools_local_open(&wish, &again, NULL), LILIO_OK);
    assert_string_equal(proto_cluster_coordinator(&again, 7)->peer, file.coordinators[3].peer);
    assert_string_equal(proto_cluster_coordinator(&again, 7)->dir, file.coordinators[3].dir);
    proto_cluster_file_release(&again);
    /* One that is there cannot come a second time, and one that went can. */
    tools_local_coordinator_remove(&file, 1);
    assert_null(proto_cluster_coordinator(&file, 1));
    assert_int_equal(file.coordinator_count, 3);
    assert_int_equal(tools_local_coordinator_add(&file, 1, NULL, NULL), LILIO_OK);
    assert_int_equal(tools_local_coordinator_add(&file, 1, NULL, NULL), LILIO_E_ADDRESS);
    proto_cluster_file_release(&file);
}

static void test_ports_of_ipv6(void **state)
{
    (void)state;
    struct tools_local_wish wish = {
        .dir = folder, .coordinator_count = 3, .has_listen = true, .host = "::1"};
    struct proto_cluster_file file;
    struct lilio_errinfo info = {0};
    enum lilio_err err = tools_local_open(&wish, &file, &info);
    if (err == LILIO_E_ADDRESS) {
        print_message("no IPv6 here (%s)\n", info.text);
        skip();
    }
    assert_int_equal(err, LILIO_OK);
    assert_int_equal(strncmp(file.coordinators[0].endpoint, "tcp://[::1]:", 12), 0);
    assert_int_equal(strncmp(file.coordinators[2].peer, "tcp://[::1]:", 12), 0);
    assert_int_equal(tools_local_coordinator_add(&file, 3, NULL, NULL), LILIO_OK);
    assert_int_equal(strncmp(file.coordinators[3].peer, "tcp://[::1]:", 12), 0);
    proto_cluster_file_release(&file);
    assert_int_equal(tools_local_open(&wish, &file, NULL), LILIO_OK);
    proto_cluster_file_release(&file);
}

static void test_only_loopback_without_insecure(void **state)
{
    (void)state;
    struct proto_cluster_file file;
    static const char *const hosts[] = {"0.0.0.0", "192.0.2.1", "::", "2001:db8::1"};
    for (size_t i = 0; i < 4; i++) {
        struct tools_local_wish wish = {.dir = folder, .has_listen = true};
        struct lilio_errinfo info = {0};
        (void)snprintf(wish.host, sizeof wish.host, "%s", hosts[i]);
        assert_int_equal(tools_local_open(&wish, &file, &info), LILIO_E_INVALID);
        assert_non_null(strstr(info.text, "--insecure"));
    }
    assert_int_not_equal(access(temp_dir_path(folder, "lilio.yaml"), F_OK), 0);
}

static void test_no_cluster_on_top_of_the_rest_of_one(void **state)
{
    (void)state;
    struct tools_local_wish wish = {.dir = folder};
    struct proto_cluster_file file;
    assert_int_equal(mkdir(temp_dir_path(folder, "osd.3"), 0700), 0);
    assert_int_equal(mkdir(temp_dir_path(folder, "osd.3/index"), 0700), 0);
    assert_int_equal(tools_local_open(&wish, &file, NULL), LILIO_E_FOREIGN);
}

/* A disk is mounted before the first up. */
static void test_empty_folders_are_no_rest(void **state)
{
    (void)state;
    struct tools_local_wish wish = {.dir = folder};
    struct proto_cluster_file file;
    assert_int_equal(mkdir(temp_dir_path(folder, "osd.3"), 0700), 0);
    assert_int_equal(mkdir(temp_dir_path(folder, "osd.3/lost+found"), 0700), 0);
    assert_int_equal(tools_local_open(&wish, &file, NULL), LILIO_OK);
    proto_cluster_file_release(&file);
}

static void test_the_mark(void **state)
{
    (void)state;
    struct tools_local_wish wish = {.dir = folder};
    struct proto_cluster_file file;
    bool initialised = true;
    assert_int_equal(tools_local_open(&wish, &file, NULL), LILIO_OK);
    assert_int_equal(tools_local_initialised(&file, &initialised, NULL), LILIO_OK);
    assert_false(initialised);
    assert_int_equal(tools_local_initialised_set(&file, NULL), LILIO_OK);
    assert_int_equal(tools_local_initialised(&file, &initialised, NULL), LILIO_OK);
    assert_true(initialised);
    file.cluster_id.bytes[3] ^= 1;
    assert_int_equal(tools_local_initialised(&file, &initialised, NULL), LILIO_E_FOREIGN);
    proto_cluster_file_release(&file);
}

static void test_the_lock(void **state)
{
    (void)state;
    int first = -1, second = -1;
    bool made;
    const char *dir = temp_dir_path(folder, "new/cluster");
    assert_int_equal(tools_local_lock(dir, false, 0, &first, &made, NULL), LILIO_E_NOT_FOUND);
    assert_int_equal(tools_local_lock(dir, true, 0, &first, &made, NULL), LILIO_OK);
    assert_true(made);
    assert_int_equal(tools_local_lock(dir, true, 0, &second, &made, NULL), LILIO_E_LOCKED);
    close(first);
    assert_int_equal(tools_local_lock(dir, true, 0, &second, &made, NULL), LILIO_OK);
    assert_false(made);
    close(second);
}

static void test_socket_paths_fit(void **state)
{
    (void)state;
    char runtime[200];
    for (size_t size = 1; size < sizeof runtime; size++) {
        char run[200];
        memset(run, 'r', size);
        run[0] = '/';
        run[size] = '\0';
        memcpy(runtime, run, size + 1);
        const char *const bases[] = {NULL, "relative", "/run/user/1000", runtime};
        for (size_t i = 0; i < 4; i++) {
            char *path = tools_local_socket_folder(run, bases[i], 4294967295u);
            assert_non_null(path);
            assert_true(path[0] == '/');
            assert_true(strlen(path) + strlen("/coordinator.1023.peer.sock") < 104);
            free(path);
        }
    }
    char long_path[150];
    memset(long_path, 'x', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = '\0';
    char *one = tools_local_socket_folder(long_path, "/run/user/0", 0);
    long_path[0] = 'y';
    char *two = tools_local_socket_folder(long_path, "/run/user/0", 0);
    assert_int_equal(strncmp(one, "/run/user/0/lilio-", 18), 0);
    assert_string_not_equal(one, two);
    free(one);
    free(two);
}

static void test_a_shared_socket_folder_is_refused(void **state)
{
    (void)state;
    struct tools_local_wish wish = {.dir = folder};
    struct proto_cluster_file file;
    char *elsewhere = NULL;
    assert_int_equal(tools_local_open(&wish, &file, NULL), LILIO_OK);
    free(file.osds[0].endpoint);
    assert_true(asprintf(&file.osds[0].endpoint, "ipc://%s/shared/osd.0.sock", folder) > 0);
    assert_true(asprintf(&elsewhere, "%s/shared", folder) > 0);
    assert_int_equal(tools_local_folders_make(&file, NULL), LILIO_OK);
    assert_int_equal(chmod(elsewhere, 0777), 0);
    assert_int_equal(tools_local_folders_make(&file, NULL), LILIO_E_DENIED);
    assert_int_equal(rmdir(elsewhere), 0);
    assert_int_equal(symlink("/", elsewhere), 0);
    assert_int_equal(tools_local_folders_make(&file, NULL), LILIO_E_DENIED);
    free(elsewhere);
    proto_cluster_file_release(&file);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_made_once_and_found_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conflicts_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_profile_wider_than_the_osds_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_ports, setup, teardown),
        cmocka_unit_test_setup_teardown(test_coordinators_and_their_peers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ports_of_ipv6, setup, teardown),
        cmocka_unit_test_setup_teardown(test_only_loopback_without_insecure, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_cluster_on_top_of_the_rest_of_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_empty_folders_are_no_rest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_mark, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_socket_paths_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_shared_socket_folder_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
