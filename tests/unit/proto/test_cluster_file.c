/* Aim: lilio.yaml is read as it was written, a folder that moved keeps working, and whatever is
 * wrong in it is named with its line. Method: round trips through a real folder; one good file with
 * one line changed at a time. */
#include "proto/cluster_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"
#include "base/env.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

static const char good[] = "format: 1\n"                                              /* line 1 */
                           "cluster_id: 5b1c0000-0000-0000-0000-000000000001\n"       /* line 2 */
                           "default_profile: 4+2\n"                                   /* line 3 */
                           "gc_grace_ms: 1234\n"                                      /* line 4 */
                           "run_dir: run\n"                                           /* line 5 */
                           "log_dir: /var/log/lilio\n"                                /* line 6 */
                           "coordinators:\n"                                          /* line 7 */
                           "- {id: 0, address: 'ipc://run/c0', dir: coordinator.0}\n" /* line 8 */
                           "osds:\n"                                                  /* line 9 */
                           "- {id: 0, address: 'ipc://run/o0', dir: osd.0}\n"         /* line 10 */
                           "- {id: 7, address: 'tcp://10.0.0.7:7107'}\n";             /* line 11 */

static void put_file(const char *path, const char *text)
{
    assert_int_equal(base_file_replace(path, base_slice_str(text), 0600, NULL), LILIO_OK);
}

/* The good file with one line replaced. */
static char *with_line(int line, const char *replacement)
{
    char *text = calloc(1, sizeof good + strlen(replacement) + 2);
    const char *from = good;
    for (int i = 1; *from; i++) {
        size_t length = (size_t)(strchr(from, '\n') + 1 - from);
        if (i == line)
            memcpy(text + strlen(text), replacement, strlen(replacement) + 1);
        else
            memcpy(text + strlen(text), from, length);
        from += length;
    }
    return text;
}

static bool is_path(const char *path, const char *folder, const char *rest)
{
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && strcmp(path + length, rest) == 0;
}

static void test_load(void **state)
{
    (void)state;
    char *temporary = temp_dir_new(), *folder = realpath(temporary, NULL), endpoint[300];
    const char *path = temp_dir_path(temporary, "lilio.yaml");
    struct proto_cluster_file file;
    put_file(path, good);
    assert_int_equal(proto_cluster_file_load(path, &file, NULL), LILIO_OK);
    assert_string_equal(file.folder, folder);
    assert_true(is_path(file.path, folder, "/lilio.yaml"));
    assert_true(is_path(file.run_dir, folder, "/run"));
    assert_string_equal(file.log_dir, "/var/log/lilio");
    assert_int_equal(file.cluster_id.bytes[15], 1);
    assert_true(file.default_profile.data_count == 4 && file.default_profile.parity_count == 2);
    assert_int_equal(file.default_profile.fragment_size, CODEC_FRAGMENT_DEFAULT);
    assert_int_equal(file.gc_grace_ms, 1234);
    assert_false(file.insecure);
    assert_true(file.coordinator_count == 1 && file.osd_count == 2);
    assert_true(is_path(proto_cluster_coordinator(&file, 0)->dir, folder, "/coordinator.0"));
    assert_null(proto_cluster_coordinator(&file, 1));
    (void)snprintf(endpoint, sizeof endpoint, "ipc://%s/run/o0", folder);
    assert_string_equal(proto_cluster_osd(&file, 0)->endpoint, endpoint);
    assert_string_equal(proto_cluster_osd(&file, 7)->endpoint, "tcp://10.0.0.7:7107");
    assert_null(proto_cluster_osd(&file, 7)->dir);
    assert_null(proto_cluster_osd(&file, 1));
    proto_cluster_file_release(&file);
    proto_cluster_file_release(&file);

    /* By a relative path, and by the bare name inside its folder. */
    char *before = getcwd(NULL, 0);
    assert_int_equal(mkdir(temp_dir_path(temporary, "run"), 0700), 0);
    assert_int_equal(chdir(temp_dir_path(temporary, "run")), 0);
    assert_int_equal(proto_cluster_file_load("../lilio.yaml", &file, NULL), LILIO_OK);
    assert_string_equal(file.folder, folder);
    proto_cluster_file_release(&file);
    assert_int_equal(chdir(temporary), 0);
    assert_int_equal(proto_cluster_file_load("lilio.yaml", &file, NULL), LILIO_OK);
    assert_string_equal(file.folder, folder);
    proto_cluster_file_release(&file);
    assert_int_equal(chdir(before), 0);
    free(before);
    free(folder);
    temp_dir_free(temporary);
}

static void test_defaults(void **state)
{
    (void)state;
    char *temporary = temp_dir_new();
    const char *path = temp_dir_path(temporary, "lilio.yaml");
    struct proto_cluster_file file;
    put_file(path,
             "format: 1\ncluster_id: 5b1c0000-0000-0000-0000-000000000001\ndefault_profile: 2+1\n"
             "default_fragment_size: 65536\ninsecure: true\n"
             "coordinators: [{id: 3, address: 'tcp://[::1]:1'}]\nosds: [{id: 1023, address: "
             "'tcp://host.example:65535'}]\n");
    assert_int_equal(proto_cluster_file_load(path, &file, NULL), LILIO_OK);
    assert_int_equal(file.gc_grace_ms, 3600000);
    assert_int_equal(file.orphan_retention_ms, 24 * 3600000);
    assert_int_equal(file.scrub_light_ms, 24 * 3600000);
    assert_int_equal(file.scrub_deep_ms, 14 * 24 * 3600000);
    assert_non_null(strstr(file.run_dir, "/run"));
    assert_non_null(strstr(file.log_dir, "/log"));
    assert_true(file.insecure);
    assert_int_equal(file.default_profile.fragment_size, 65536);
    proto_cluster_file_release(&file);
    temp_dir_free(temporary);
}

/* An OSD is suspect before it is down, and down before it is out. */
static void test_silences(void **state)
{
    static const struct {
        const char *lines, *complaint;
    } cases[] = {
        {"suspect_ms: 10000\n", NULL},
        {"suspect_ms: 10001\n", "suspect_ms"},
        {"down_ms: 50\n", NULL},
        {"down_ms: 50\nsuspect_ms: 51\n", "suspect_ms"},
        {"down_ms: 600000\n", NULL},
        {"down_ms: 600001\n", "down_ms"},
        {"down_ms: 600001\nout_ms: 600001\n", NULL},
        {"out_ms: 9999\n", "out_ms"},
        {"suspect_ms: 1\ndown_ms: 2\nout_ms: 3\n", NULL},
    };
    (void)state;
    char *temporary = temp_dir_new();
    const char *path = temp_dir_path(temporary, "lilio.yaml");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[4096];
        struct proto_cluster_file file;
        struct lilio_errinfo info = {0};
        (void)snprintf(text, sizeof text, "%s%s", good, cases[i].lines);
        put_file(path, text);
        enum lilio_err err = proto_cluster_file_load(path, &file, &info);
        if (!cases[i].complaint && err)
            fail_msg("%s: %s", cases[i].lines, info.text);
        if (cases[i].complaint) {
            assert_int_not_equal(err, LILIO_OK);
            assert_non_null(strstr(info.text, cases[i].complaint));
        } else {
            proto_cluster_file_release(&file);
        }
    }
    temp_dir_free(temporary);
}

static void test_save(void **state)
{
    (void)state;
    char *first = temp_dir_new(), *second = temp_dir_new(), *real_second = realpath(second, NULL);
    const char *path = temp_dir_path(first, "lilio.yaml"),
               *moved = temp_dir_path(second, "lilio.yaml");
    struct proto_cluster_file file, back;
    put_file(path, good);
    assert_int_equal(proto_cluster_file_load(path, &file, NULL), LILIO_OK);
    file.default_profile.fragment_size = 8192;
    file.insecure = true;
    file.gc_grace_ms = 5;
    file.suspect_ms = 4000;
    file.out_ms = 77000;
    file.orphan_retention_ms = 6;
    file.scrub_light_ms = 0;
    file.scrub_deep_ms = 4000000000;
    assert_int_equal(proto_cluster_file_save(&file, NULL), LILIO_OK);
    proto_cluster_file_release(&file);

    /* Moved to another folder, what lay below the old one lies below the new one. */
    assert_int_equal(rename(path, moved), 0);
    struct lilio_errinfo info = {0};
    if (proto_cluster_file_load(moved, &back, &info))
        fail_msg("%s", info.text);
    assert_true(back.insecure && back.gc_grace_ms == 5 && back.suspect_ms == 4000 &&
                back.down_ms == 0 && back.out_ms == 77000 && back.orphan_retention_ms == 6 &&
                back.scrub_light_ms == 0 && back.scrub_deep_ms == 4000000000 &&
                back.default_profile.fragment_size == 8192);
    assert_true(back.coordinator_count == 1 && back.osd_count == 2);
    assert_true(is_path(back.osds[0].dir, real_second, "/osd.0"));
    assert_true(is_path(back.osds[0].endpoint + strlen("ipc://"), real_second, "/run/o0"));
    assert_string_equal(back.osds[1].endpoint, "tcp://10.0.0.7:7107");
    assert_null(back.osds[1].dir);
    assert_string_equal(back.log_dir, "/var/log/lilio");
    /* Saving what was loaded changes nothing. */
    struct base_yaml *yaml;
    assert_int_equal(proto_cluster_file_save(&back, NULL), LILIO_OK);
    assert_int_equal(base_yaml_load(moved, &yaml, NULL), LILIO_OK);
    assert_string_equal(base_yaml_text(base_yaml_get(base_yaml_root(yaml), "run_dir")), "run");
    assert_string_equal(base_yaml_text(base_yaml_get(base_yaml_root(yaml), "cluster_id")),
                        "5b1c0000-0000-0000-0000-000000000001");
    base_yaml_free(&yaml);
    /* A folder that is gone. */
    temp_dir_free(second);
    assert_int_not_equal(proto_cluster_file_save(&back, &info), LILIO_OK);
    proto_cluster_file_release(&back);
    free(real_second);
    temp_dir_free(first);
}

/* What a coordinator is called by the others: as written, derived, or nothing. */
static void test_peer(void **state)
{
    (void)state;
    char *temporary = temp_dir_new(), *folder = realpath(temporary, NULL), long_name[200];
    const char *path = temp_dir_path(temporary, "lilio.yaml");
    struct proto_cluster_file file;
    /* "ipc://" + path has room for 107 bytes of path; the suffix ".peer.sock" has none left. */
    (void)snprintf(long_name, sizeof long_name, "/%0*d", 103, 0);
    char text[1024];
    (void)snprintf(
        text, sizeof text,
        "format: 1\ncluster_id: 5b1c0000-0000-0000-0000-000000000001\ndefault_profile: 2+1\n"
        "coordinators:\n- {id: 0, address: 'ipc://run/c.sock'}\n- {id: 1, address: 'ipc://run/b'}\n"
        "- {id: 2, address: 'tcp://h:1'}\n- {id: 3, address: 'tcp://h:2', peer: 'tcp://h:3'}\n"
        "- {id: 4, address: 'ipc://run/d.sock', peer: 'ipc://run/peer/d'}\n"
        "- {id: 5, address: 'ipc://%s'}\nosds: [{id: 0, address: 'ipc://run/o', peer: 'x'}]\n",
        long_name);
    put_file(path, text);
    for (int round = 0; round < 2; round++) { /* the same after it was saved */
        struct lilio_errinfo info = {0};
        if (proto_cluster_file_load(path, &file, &info))
            fail_msg("%s", info.text);
        const struct proto_cluster_node *nodes = file.coordinators;
        size_t prefix = strlen("ipc://");
        assert_true(is_path(nodes[0].peer + prefix, folder, "/run/c.peer.sock"));
        assert_true(is_path(nodes[1].peer + prefix, folder, "/run/b.peer.sock"));
        assert_null(nodes[2].peer);
        assert_string_equal(nodes[3].peer, "tcp://h:3");
        assert_true(is_path(nodes[4].peer + prefix, folder, "/run/peer/d"));
        assert_null(nodes[5].peer);
        assert_null(file.osds[0].peer);
        assert_int_equal(proto_cluster_file_save(&file, NULL), LILIO_OK);
        proto_cluster_file_release(&file);
    }
    free(folder);
    temp_dir_free(temporary);
}

static void test_complaints(void **state)
{
    (void)state;
    static const struct {
        int line;
        const char *replacement, *place, *about;
    } cases[] = {
        {1, "", ".yaml:", "format"},
        {1, "format: 2\n", ":1:", "newer"},
        {1, "format: 0\n", ":1:", "format"},
        {1, "format: one\n", ":1:", "format"},
        {1, "format: [1]\n", ":1:", "format"},
        {2, "", ".yaml:", "cluster_id"},
        {2, "cluster_id: x\n", ":2:", "cluster_id"},
        {2, "cluster_id: 00000000-0000-0000-0000-000000000000\n", ":2:", "cluster_id"},
        {2, "cluster_id: {a: b}\n", ":2:", "cluster_id"},
        {3, "", ".yaml:", "default_profile"},
        {3, "default_profile: 0+2\n", ":3:", "default_profile"},
        {3, "default_profile: 33+1\n", ":3:", "default_profile"},
        {3, "default_profile: four\n", ":3:", "default_profile"},
        {3, "default_profile: 4+2\ndefault_fragment_size: 4097\n", ":4:", "default_fragment_size"},
        {3, "default_profile: 4+2\ndefault_fragment_size: 99999999\n",
         ":4:", "default_fragment_size"},
        {4, "gc_grace_ms: -1\n", ":4:", "gc_grace_ms"},
        {4, "gc_grace_ms: 4294967296\n", ":4:", "gc_grace_ms"},
        {4, "gc_grace_ms: 1h\n", ":4:", "gc_grace_ms"},
        {4, "gc_grace_ms: 1\norphan_retention_ms: -1\n", ":5:", "orphan_retention_ms"},
        {4, "gc_grace_ms: 1\nscrub_deep_ms: 4294967296\n", ":5:", "scrub_deep_ms"},
        {5, "run_dir: ''\n", ":5:", "run_dir"},
        {5, "run_dir: [run]\n", ":5:", "run_dir"},
        {5, "insecure: perhaps\n", ":5:", "insecure"},
        {5, "insecure: {}\n", ":5:", "insecure"},
        {7, "coordinators: []\ncoord:\n", ":7:", "coordinators"},
        {7, "coordinators: {}\ncoord:\n", ":7:", "coordinators"},
        {7, "coord:\n", ".yaml:", "coordinators"},
        {8, "- 5\n", ":8:", "id"},
        {8, "- {id: 0}\n", ":8:", "address"},
        {8, "- {id: 0, address: [x]}\n", ":8:", "address"},
        {8, "- {id: 0, address: 'ipc://run/c0', peer: [x]}\n", ":8:", "peer"},
        {8, "- {id: 0, address: 'ipc://run/c0', peer: 'tcp://10.0.0.1:0'}\n", ":8:", "peer"},
        {8, "- {id: 0, address: 'ipc://run/c0', peer: 'ipc://run/c0'}\n", ":8:", "same"},
        {8, "- {id: 0, address: 'ipc://run/c0', peer: 'ipc://run/o0'}\n", ":10:", "twice"},
        {8, "- {id: 0, address: 'tcp://h:1'}\n- {id: 1, address: 'tcp://h:2', peer: 'tcp://h:1'}\n",
         ":9:", "twice"},
        {8,
         "- {id: 0, address: 'ipc://run/c0'}\n- {id: 1, address: 'ipc://run/c1', peer: "
         "'ipc://run/c0.peer.sock'}\n",
         ":9:", "twice"},
        {9, "osd:\n", ".yaml:", "osds"},
        {10, "- {address: 'ipc://run/o0'}\n", ":10:", "id"},
        {10, "- {id: 1024, address: 'ipc://run/o0'}\n", ":10:", "id"},
        {10, "- {id: x, address: 'ipc://run/o0'}\n", ":10:", "id"},
        {10, "- {id: 7, address: 'ipc://run/o0'}\n", ":11:", "twice"},
        {10, "- {id: 1, address: 'tcp://10.0.0.7:7107'}\n", ":11:", "twice"},
        {10, "- {id: 1, address: 'ipc://run/c0'}\n", ":10:", "twice"},
        {10, "- {id: 1, address: 'ipc://run/o0', dir: coordinator.0}\n", ":10:", "twice"},
        {10, "- {id: 0, address: 'ipc://'}\n", ":10:", "address"},
        {10, "- {id: 0, address: 'inproc://x'}\n", ":10:", "address"},
        {10, "- {id: 0, address: 'udp://10.0.0.1:5'}\n", ":10:", "address"},
        {10, "- {id: 0, address: 'tcp://10.0.0.1'}\n", ":10:", "address"},
        {10, "- {id: 0, address: 'tcp://10.0.0.1:0'}\n", ":10:", "address"},
        {10, "- {id: 0, address: 'tcp://10.0.0.1:*'}\n", ":10:", "address"},
        {10, "- {id: 0, address: 'tcp://10.0.0.1:65536'}\n", ":10:", "address"},
        {10, "- {id: 0, address: 'tcp://10.0.0.1:5x'}\n", ":10:", "address"},
        {10, "- {id: 0, address: 'tcp://:5'}\n", ":10:", "address"},
        {10, "- {id: 0, address: 'tcp://a b:5'}\n", ":10:", "address"},
        {10, "- {id: 0, address: 'ipc://run/o0', dir: ''}\n", ":10:", "dir"},
        {11, "- {id: 7\n", "line", ""},
        {11, "\t- x\n", "line", ""},
    };
    char *temporary = temp_dir_new();
    const char *path = temp_dir_path(temporary, "lilio.yaml");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct proto_cluster_file file;
        struct lilio_errinfo info = {0};
        char *text = with_line(cases[i].line, cases[i].replacement);
        put_file(path, text);
        enum lilio_err err = proto_cluster_file_load(path, &file, &info);
        if (err != LILIO_E_CONFIG || !strstr(info.text, cases[i].place) ||
            !strstr(info.text, cases[i].about) || !strstr(info.text, "lilio.yaml"))
            fail_msg("%s: %s, %s", cases[i].replacement, lilio_err_name(err), info.text);
        static const struct proto_cluster_file zeros;
        assert_memory_equal(&file, &zeros, sizeof file);
        free(text);
    }
    temp_dir_free(temporary);
}

static void test_long_things(void **state)
{
    (void)state;
    char *temporary = temp_dir_new();
    const char *path = temp_dir_path(temporary, "lilio.yaml");
    char replacement[6000], filler[5000];
    struct proto_cluster_file file;
    struct lilio_errinfo info = {0};
    memset(filler, 'x', sizeof filler);
    static const struct {
        const char *format;
        int length, line;
    } cases[] = {{"run_dir: %.*s\n", 4096, 5},
                 {"- {id: 0, address: 'ipc://%.*s'}\n", 108, 10},
                 {"- {id: 0, address: 'tcp://%.*s:5'}\n", 300, 10}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        (void)snprintf(replacement, sizeof replacement, cases[i].format, cases[i].length, filler);
#pragma GCC diagnostic pop
        char *text = with_line(cases[i].line, replacement);
        put_file(path, text);
        assert_int_equal(proto_cluster_file_load(path, &file, &info), LILIO_E_CONFIG);
        free(text);
    }
    /* More OSDs than there may be. */
    struct base_buffer many = {0};
    for (unsigned i = 0; i <= 1024; i++) {
        char line[64];
        int size = snprintf(line, sizeof line, "- {id: %u, address: 'tcp://h:%u'}\n", i, i + 1);
        assert_int_equal(base_buffer_append(&many, line, (size_t)size), LILIO_OK);
    }
    assert_int_equal(base_buffer_append(&many, "", 1), LILIO_OK);
    char *text = with_line(10, (const char *)many.data);
    put_file(path, text);
    assert_int_equal(proto_cluster_file_load(path, &file, &info), LILIO_E_CONFIG);
    free(text);
    base_buffer_release(&many);
    temp_dir_free(temporary);
}

static void test_not_there(void **state)
{
    (void)state;
    char *temporary = temp_dir_new();
    struct proto_cluster_file file;
    struct lilio_errinfo info = {0};
    assert_int_equal(proto_cluster_file_load(temp_dir_path(temporary, "none"), &file, &info),
                     LILIO_E_NOT_FOUND);
    assert_int_equal(proto_cluster_file_load(temp_dir_path(temporary, "no/none"), &file, &info),
                     LILIO_E_NOT_FOUND);
    assert_int_equal(proto_cluster_file_load(temporary, &file, &info), LILIO_E_IO); /* a folder */
    put_file(temp_dir_path(temporary, "empty"), "");
    assert_int_equal(proto_cluster_file_load(temp_dir_path(temporary, "empty"), &file, &info),
                     LILIO_E_CONFIG);
    temp_dir_free(temporary);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load),        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_silences),    cmocka_unit_test(test_save),
        cmocka_unit_test(test_peer),        cmocka_unit_test(test_complaints),
        cmocka_unit_test(test_long_things), cmocka_unit_test(test_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
