/* Aim: a server listens where it may and nowhere else, never takes a socket away from a living one,
 * and cleans up after dead ones; what is wrong with an address is said. Method: folders and files
 * of every kind at the place of the socket; addresses of every wrong form. */
#include "proto/endpoint_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/transport.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/proto/wire.h"

#include "base/banned.h"

static enum lilio_err serve(struct wire *w, const char *endpoint, bool insecure)
{
    const struct proto_server_options options = {.endpoint = endpoint, .insecure = insecure};
    w->info = (struct lilio_errinfo){0};
    enum lilio_err err = proto_server_new(w->context, &options, &w->server, &w->info);
    if (err)
        assert_true(w->server == NULL && w->info.err == err && w->info.text[0]);
    return err;
}

static void test_addresses(void **state)
{
    (void)state;
    char long_path[200] = "ipc:///";
    memset(long_path + 7, 'x', 150);
    static const struct {
        const char *endpoint;
        enum lilio_err err;
    } cases[] = {
        {"", LILIO_E_ADDRESS},
        {"nonsense", LILIO_E_ADDRESS},
        {"ipc://", LILIO_E_ADDRESS},
        {"ipc://*", LILIO_E_ADDRESS},
        {"ipc://@abstract", LILIO_E_ADDRESS},
        {"ipc:///no/such/folder/s", LILIO_E_ADDRESS},
        {"tcp://", LILIO_E_ADDRESS},
        {"tcp://127.0.0.1", LILIO_E_ADDRESS},
        {"tcp://127.0.0.1:99999", LILIO_E_ADDRESS},
        {"tcp://127.0.0.1:x", LILIO_E_ADDRESS},
        {"tcp://0.0.0.0:0", LILIO_E_DENIED},
        {"tcp://*:0", LILIO_E_DENIED},
        {"tcp://[::]:0", LILIO_E_DENIED},
        {"tcp://192.0.2.1:0", LILIO_E_DENIED},
        {"tcp://example.invalid:0", LILIO_E_DENIED},
        {"tcp://1270.0.0.1:0", LILIO_E_DENIED},
        {"tcp://127.0.0.1.example.invalid:0", LILIO_E_DENIED},
        {"pgm://127.0.0.1:1", LILIO_E_ADDRESS},
        {"udp://127.0.0.1:1", LILIO_E_ADDRESS},
        {"ws://127.0.0.1:1", LILIO_E_ADDRESS},
    };
    struct wire w;
    wire_init(&w, WIRE_INPROC);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(serve(&w, cases[i].endpoint, false), cases[i].err);
    assert_int_equal(serve(&w, long_path, false), LILIO_E_ADDRESS);
    assert_non_null(strstr(w.info.text, "107"));
    assert_int_equal(proto_channel_new(w.context, long_path, &w.channel, &w.info), LILIO_E_ADDRESS);
    assert_int_equal(proto_channel_new(w.context, "tcp://127.0.0.1", &w.channel, &w.info),
                     LILIO_E_ADDRESS);
    assert_int_equal(proto_channel_new(w.context, "tcp://127.0.0.1:x", &w.channel, &w.info),
                     LILIO_E_ADDRESS);
    assert_null(w.channel);
    wire_release(&w);
}

static void test_tcp(void **state)
{
    (void)state;
    struct wire w, other;
    wire_init(&w, WIRE_TCP);
    wire_init(&other, WIRE_TCP);
    assert_int_equal(serve(&w, "tcp://127.0.0.1:*", false), LILIO_OK);
    assert_null(strchr(proto_server_endpoint(w.server), '*'));
    assert_int_equal(serve(&other, proto_server_endpoint(w.server), false), LILIO_E_ADDRESS);
    assert_non_null(strstr(other.info.text, "in use"));
    proto_server_free(&w.server);
    assert_int_equal(serve(&w, "tcp://0.0.0.0:0", true), LILIO_OK); /* asked for */
    proto_server_free(&w.server);
    assert_int_equal(serve(&w, "tcp://localhost:0", false), LILIO_OK);
    wire_connect(&w);
    wire_check_alive(w.server, w.channel, 1);
    wire_release(&w);
    wire_release(&other);
}

static void test_loopback(void **state)
{
    (void)state;
    assert_true(proto_endpoint_is_loopback("tcp://127.0.0.1:5"));
    assert_true(proto_endpoint_is_loopback("tcp://127.9.8.7:5"));
    assert_true(proto_endpoint_is_loopback("tcp://[::1]:5"));
    assert_true(proto_endpoint_is_loopback("tcp://localhost:5"));
    assert_false(proto_endpoint_is_loopback("tcp://10.0.0.1:5"));
    assert_false(proto_endpoint_is_loopback("tcp://*:5"));
    assert_false(proto_endpoint_is_loopback("tcp://localhost.example:5"));
    assert_false(proto_endpoint_is_loopback("tcp://127.1:5"));
    assert_false(proto_endpoint_is_loopback("tcp://127.0.0.1"));
}

/* ---- sockets in the filesystem ---- */

static const char *path_of(const struct wire *w)
{
    return proto_endpoint_rest(w->endpoint);
}

static void test_ipc_life(void **state)
{
    (void)state;
    struct wire w, other;
    struct stat st;
    wire_init(&w, WIRE_IPC);
    wire_init(&other, WIRE_IPC);
    assert_int_equal(serve(&w, w.endpoint, false), LILIO_OK);
    assert_int_equal(stat(path_of(&w), &st), 0);
    assert_true(S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0600);
    assert_int_equal(serve(&other, w.endpoint, false), LILIO_E_ADDRESS);
    assert_non_null(strstr(other.info.text, "in use"));
    wire_connect(&w);
    wire_check_alive(w.server, w.channel, 1); /* the probe did no harm */
    proto_server_free(&w.server);
    assert_int_equal(stat(path_of(&w), &st), -1);
    /* Closed and opened again at once, many times: the late end of one never hits the next. */
    for (uint64_t i = 0; i < 20; i++) {
        assert_int_equal(serve(&w, w.endpoint, false), LILIO_OK);
        assert_int_equal(stat(path_of(&w), &st), 0);
        if (i % 5 == 0)
            wire_check_alive(w.server, w.channel, 10 + i);
        proto_server_free(&w.server);
    }
    wire_release(&w);
    wire_release(&other);
}

static void test_ipc_stale_socket(void **state)
{
    (void)state;
    struct wire w;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    wire_init(&w, WIRE_IPC);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path_of(&w));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    (void)close(fd); /* what a killed process leaves behind */
    assert_int_equal(serve(&w, w.endpoint, false), LILIO_OK);
    wire_connect(&w);
    wire_check_alive(w.server, w.channel, 1);
    wire_release(&w);
}

static void test_ipc_place_taken(void **state)
{
    (void)state;
    struct wire w;
    struct stat st;
    wire_init(&w, WIRE_IPC);
    int fd = open(path_of(&w), O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0 && write(fd, "precious", 8) == 8);
    (void)close(fd);
    assert_int_equal(serve(&w, w.endpoint, false), LILIO_E_ADDRESS);
    assert_true(stat(path_of(&w), &st) == 0 && st.st_size == 8);
    assert_int_equal(unlink(path_of(&w)), 0);
    assert_int_equal(symlink("/dev/null", path_of(&w)), 0);
    assert_int_equal(serve(&w, w.endpoint, false), LILIO_E_ADDRESS);
    assert_int_equal(unlink(path_of(&w)), 0);
    assert_int_equal(mkdir(path_of(&w), 0700), 0);
    assert_int_equal(serve(&w, w.endpoint, false), LILIO_E_ADDRESS);
    assert_int_equal(rmdir(path_of(&w)), 0);
    /* A file that took the name while we served is not ours to remove. */
    assert_int_equal(serve(&w, w.endpoint, false), LILIO_OK);
    assert_int_equal(unlink(path_of(&w)), 0);
    fd = open(path_of(&w), O_CREAT | O_WRONLY, 0600);
    (void)close(fd);
    proto_server_free(&w.server);
    assert_int_equal(stat(path_of(&w), &st), 0);
    wire_release(&w);
}

static void test_ipc_folder(void **state)
{
    (void)state;
    static const struct {
        mode_t mode;
        enum lilio_err err;
    } cases[] = {{0700, LILIO_OK},
                 {0755, LILIO_OK},
                 {0770, LILIO_E_DENIED},
                 {0777, LILIO_E_DENIED},
                 {01777, LILIO_OK}};
    struct wire w;
    wire_init(&w, WIRE_IPC);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(chmod(w.folder, cases[i].mode), 0);
        assert_int_equal(serve(&w, w.endpoint, false), cases[i].err);
        proto_server_free(&w.server);
        assert_int_equal(serve(&w, w.endpoint, true), LILIO_OK);
        proto_server_free(&w.server);
    }
    assert_int_equal(chmod(w.folder, 0700), 0);
    /* A relative path is relative to the working directory. */
    char *before = getcwd(NULL, 0);
    assert_int_equal(chdir(w.folder), 0);
    assert_int_equal(serve(&w, "ipc://here", false), LILIO_OK);
    assert_int_equal(access("here", F_OK), 0);
    proto_server_free(&w.server);
    assert_int_equal(chdir(before), 0);
    free(before);
    wire_release(&w);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),        cmocka_unit_test(test_tcp),
        cmocka_unit_test(test_loopback),         cmocka_unit_test(test_ipc_life),
        cmocka_unit_test(test_ipc_stale_socket), cmocka_unit_test(test_ipc_place_taken),
        cmocka_unit_test(test_ipc_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
