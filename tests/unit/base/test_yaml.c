/* Aim: a good file is read as it is written, a hostile one is refused within limits and with its
 * place. Method: documents on both sides of each limit; what the writer makes is read back, for all
 * kinds of text. */
#include "base/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

static enum lilio_err parse(const char *text, struct base_yaml **ret, struct lilio_errinfo *info)
{
    *ret = NULL;
    return base_yaml_parse(base_slice_str(text), ret, info);
}

static void test_reads(void **state)
{
    (void)state;
    struct base_yaml *yaml;
    enum lilio_err err = parse("# a comment\n"
                               "version: 1\n"
                               "name: \"two\\nlines\"\n"
                               "osds:\n"
                               "  - id: 0\n"
                               "    address: 'ipc:///x y'\n"
                               "  - {id: 1, address: tcp}\n"
                               "empty:\n"
                               "none: []\n",
                               &yaml, NULL);
    assert_int_equal(err, LILIO_OK);
    const struct base_yaml_node *root = base_yaml_root(yaml), *osds = base_yaml_get(root, "osds");
    uint64_t number = 77;
    assert_true(base_yaml_u64(base_yaml_get(root, "version"), &number) && number == 1);
    assert_string_equal(base_yaml_text(base_yaml_get(root, "name")), "two\nlines");
    assert_int_equal(base_yaml_count(osds), 2);
    const struct base_yaml_node *second = base_yaml_at(osds, 1);
    assert_int_equal(base_yaml_line(second), 7);
    assert_string_equal(base_yaml_text(base_yaml_get(base_yaml_at(osds, 0), "address")),
                        "ipc:///x y");
    assert_true(base_yaml_u64(base_yaml_get(second, "id"), &number) && number == 1);
    assert_string_equal(base_yaml_text(base_yaml_get(root, "empty")), "");
    assert_int_equal(base_yaml_count(base_yaml_get(root, "none")), 0);
    /* Asking for what is not there, or is something else, is no crash. */
    assert_null(base_yaml_at(osds, 2));
    assert_null(base_yaml_get(osds, "x"));
    assert_null(base_yaml_get(NULL, "x"));
    assert_null(base_yaml_at(NULL, 0));
    assert_null(base_yaml_text(osds));
    assert_null(base_yaml_text(NULL));
    assert_int_equal(base_yaml_count(root), 0);
    assert_int_equal(base_yaml_line(NULL), 0);
    base_yaml_free(&yaml);
    assert_null(yaml);
    base_yaml_free(&yaml);
}

static void test_nothing(void **state)
{
    (void)state;
    const char *const empty[] = {"", "\n", "# only a comment\n", "---\n...\n"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        struct base_yaml *yaml;
        assert_int_equal(parse(empty[i], &yaml, NULL), LILIO_OK);
        assert_null(base_yaml_get(base_yaml_root(yaml), "x"));
        base_yaml_free(&yaml);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
        uint64_t value;
    } cases[] = {
        {"v: 0", true, 0},
        {"v: '00012'", true, 12},
        {"v: 18446744073709551615", true, UINT64_MAX},
        {"v: 18446744073709551616", false, 0},
        {"v: 99999999999999999999999", false, 0},
        {"v: -1", false, 0},
        {"v: +1", false, 0},
        {"v: 1 2", false, 0},
        {"v: 0x10", false, 0},
        {"v: 1.0", false, 0},
        {"v:", false, 0},
        {"v: []", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct base_yaml *yaml;
        uint64_t value = 77;
        assert_int_equal(parse(cases[i].text, &yaml, NULL), LILIO_OK);
        bool good = base_yaml_u64(base_yaml_get(base_yaml_root(yaml), "v"), &value);
        assert_int_equal(good, cases[i].good);
        assert_true(value == (good ? cases[i].value : 77));
        base_yaml_free(&yaml);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *place;
    } cases[] = {
        {"a: [1, 2\n", "line 2"},
        {"a: 1\na: 2\n", "line 2, column 1: the key is there twice"},
        {"a: &x 1\nb: *x\n", "line 2, column 4: aliases"},
        {"? [a, b]\n: 1\n", "line 1, column 3: a key"},
        {"a: 1\n---\nb: 2\n", "line 3, column 1: more than one"},
        {"a: \"x\\0y\"\n", "line 1, column 4: a NUL"},
        {"\"a\\0\": 1\n", "line 1, column 1: a NUL"},
        {"a: \xff\xfe\n", "line 1"},
        {"\tx: 1\n", "line 1"},
        {"a: 'open", "line 1"},
        {"a: 1\n b: 2\n", "line 2"},
        {"%YAML 9.9\n---\na: 1", "line 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct base_yaml *yaml;
        struct lilio_errinfo info = {0};
        assert_int_equal(parse(cases[i].text, &yaml, &info), LILIO_E_CONFIG);
        assert_null(yaml);
        if (!strstr(info.text, cases[i].place))
            fail_msg("\"%s\" does not say \"%s\"", info.text, cases[i].place);
    }
}

/* prefix, then `part` n times. */
static char *repeat(const char *prefix, const char *part, size_t n)
{
    size_t first = strlen(prefix), size = strlen(part);
    char *text = malloc(first + n * size + 1);
    assert_non_null(text);
    memcpy(text, prefix, first);
    for (size_t i = 0; i < n; i++)
        memcpy(text + first + i * size, part, size);
    text[first + n * size] = '\0';
    return text;
}

static enum lilio_err parse_repeated(const char *prefix, const char *part, size_t n,
                                     const char *end)
{
    char *text = repeat(prefix, part, n);
    char *whole = repeat(text, end, 1);
    struct base_yaml *yaml;
    struct lilio_errinfo info = {0};
    enum lilio_err err = parse(whole, &yaml, &info);
    if (err)
        assert_non_null(strstr(info.text, "l")); /* there is a text */
    base_yaml_free(&yaml);
    free(whole);
    free(text);
    return err;
}

static void test_limits(void **state)
{
    (void)state;
    assert_int_equal(parse_repeated("", "[", 16, "]]]]]]]]]]]]]]]]"), LILIO_OK);
    assert_int_equal(parse_repeated("", "[", 17, "]]]]]]]]]]]]]]]]]"), LILIO_E_CONFIG);
    assert_int_equal(parse_repeated("", "[", 500000, ""), LILIO_E_CONFIG);
    assert_int_equal(parse_repeated("", "{a: ", 200000, ""), LILIO_E_CONFIG);
    assert_int_equal(parse_repeated("", "- ", 200000, ""), LILIO_E_CONFIG);
    assert_int_equal(parse_repeated("[", "1,", 65535, "]"), LILIO_OK); /* and the list itself */
    assert_int_equal(parse_repeated("[", "1,", 65536, "]"), LILIO_E_CONFIG);
    assert_int_equal(parse_repeated("a: ", "x", (1 << 20) - 3, ""), LILIO_OK);
    assert_int_equal(parse_repeated("a: ", "x", (1 << 20) - 2, ""), LILIO_E_CONFIG);
}

static void test_many_keys(void **state)
{
    (void)state;
    char text[32 * 1100];
    for (unsigned count = 1024; count <= 1025; count++) {
        size_t used = 0;
        for (unsigned i = 0; i < count; i++)
            used += (size_t)snprintf(text + used, sizeof text - used, "k%u: 1\n", i);
        struct base_yaml *yaml;
        assert_int_equal(parse(text, &yaml, NULL), count == 1024 ? LILIO_OK : LILIO_E_CONFIG);
        base_yaml_free(&yaml);
    }
}

/* Aliases that would unfold to 10^9 values. */
static void test_bomb(void **state)
{
    (void)state;
    struct base_yaml *yaml;
    enum lilio_err err = parse("a: &a [x,x,x,x,x,x,x,x,x,x]\n"
                               "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
                               "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n",
                               &yaml, NULL);
    assert_int_equal(err, LILIO_E_CONFIG);
}

/* Any bytes: an answer, no crash (the sanitizers watch). */
static void test_garbage(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (unsigned round = 0; round < 3000; round++) {
        char text[200];
        static const char often[] = "a: \n-[]{},&*!|>'\"%@`#?\\\t\xc3\xff";
        for (size_t i = 0; i < sizeof text; i++) {
            seed = seed * 1664525 + 1013904223;
            text[i] = often[(seed >> 16) % (sizeof often - 1)];
        }
        struct base_yaml *yaml = NULL;
        (void)!base_yaml_parse(base_slice(text, round % sizeof text), &yaml, NULL);
        base_yaml_free(&yaml);
    }
}

static void test_load(void **state)
{
    (void)state;
    char *dir = temp_dir_new();
    const char *path = temp_dir_path(dir, "lilio.yaml");
    struct base_yaml *yaml = NULL;
    struct lilio_errinfo info = {0};
    assert_int_equal(base_yaml_load(path, &yaml, &info), LILIO_E_NOT_FOUND);
    assert_non_null(strstr(info.text, "lilio.yaml: No such file"));
    assert_int_equal(base_yaml_load(dir, &yaml, &info), LILIO_E_IO); /* a folder */
    assert_int_equal(base_file_replace(path, base_slice_str("a: b: c"), 0600, &info), LILIO_OK);
    assert_int_equal(base_yaml_load(path, &yaml, &info), LILIO_E_CONFIG);
    assert_non_null(strstr(info.text, "lilio.yaml: line 1"));
    assert_int_equal(base_file_replace(path, base_slice_str("a: b"), 0600, &info), LILIO_OK);
    assert_int_equal(base_yaml_load(path, &yaml, &info), LILIO_OK);
    assert_string_equal(base_yaml_text(base_yaml_get(base_yaml_root(yaml), "a")), "b");
    base_yaml_free(&yaml);
    assert_int_equal(base_yaml_load("/dev/zero", &yaml, &info), LILIO_E_CONFIG); /* has no end */
    temp_dir_free(dir);
}

/* ---- writing ---- */

static const char *const texts[] = {
    "plain",
    "",
    "12",
    "-1",
    "0x1f",
    "true",
    "No",
    "~",
    "null",
    "/a/b c",
    "a: b",
    "a #b",
    "- x",
    "[x]",
    "{",
    "'q'",
    "\"q\"",
    "\\",
    "two\nlines",
    " lead",
    "trail ",
    "\ttab",
    "@at",
    "%x",
    "&a",
    "*a",
    "!t",
    "|",
    ">",
    "?",
    "---",
    "...",
    "\xc3\xa4",
    "\x01",
    "\x7f",
    "1.5e3",
    "ipc:///tmp/x/run/osd.0.sock",
    "127.0.0.1:7100",
    "a:",
    "=",
    "<<",
    "\r\n",
    "y",
    "\xe2\x80\xa8line separator",
};
enum { TEXT_COUNT = sizeof texts / sizeof *texts };

static void test_writes_what_it_reads(void **state)
{
    (void)state;
    struct base_yaml_writer *writer = NULL;
    assert_int_equal(base_yaml_writer_new(&writer), LILIO_OK);
    base_yaml_map_begin(writer, NULL);
    base_yaml_u64_put(writer, "number", UINT64_MAX);
    base_yaml_list_begin(writer, "texts");
    for (size_t i = 0; i < TEXT_COUNT; i++)
        base_yaml_text_put(writer, NULL, texts[i]);
    base_yaml_list_end(writer);
    base_yaml_list_begin(writer, "maps");
    base_yaml_map_begin(writer, NULL);
    for (size_t i = 0; i < TEXT_COUNT; i++)
        base_yaml_u64_put(writer, texts[i], i);
    base_yaml_map_end(writer);
    base_yaml_list_end(writer);
    base_yaml_map_begin(writer, "empty");
    base_yaml_map_end(writer);
    base_yaml_map_end(writer);
    struct base_buffer text = {0};
    assert_int_equal(base_yaml_finish(writer, &text), LILIO_OK);
    base_yaml_writer_free(&writer);
    assert_null(writer);

    struct base_yaml *yaml = NULL;
    struct lilio_errinfo info = {0};
    uint64_t number;
    if (base_yaml_parse(base_buffer_slice(&text), &yaml, &info))
        fail_msg("%s in\n%.*s", info.text, (int)text.size, text.data);
    const struct base_yaml_node *root = base_yaml_root(yaml), *list = base_yaml_get(root, "texts");
    const struct base_yaml_node *map = base_yaml_at(base_yaml_get(root, "maps"), 0);
    assert_true(base_yaml_u64(base_yaml_get(root, "number"), &number) && number == UINT64_MAX);
    for (size_t i = 0; i < TEXT_COUNT; i++) {
        assert_string_equal(base_yaml_text(base_yaml_at(list, i)), texts[i]);
        assert_true(base_yaml_u64(base_yaml_get(map, texts[i]), &number) && number == i);
    }
    base_yaml_free(&yaml);
    base_buffer_release(&text);
}

static void test_form(void **state)
{
    (void)state;
    struct base_yaml_writer *writer = NULL;
    assert_int_equal(base_yaml_writer_new(&writer), LILIO_OK);
    base_yaml_map_begin(writer, NULL);
    base_yaml_u64_put(writer, "version", 1);
    base_yaml_text_put(writer, "host", "127.0.0.1:7000");
    base_yaml_text_put(writer, "answer", "yes");
    base_yaml_list_begin(writer, "osds");
    base_yaml_map_begin(writer, NULL);
    base_yaml_text_put(writer, "path", "/d/osd.0");
    base_yaml_map_end(writer);
    base_yaml_list_end(writer);
    base_yaml_map_end(writer);
    struct base_buffer text = {0};
    assert_int_equal(base_buffer_append(&text, "# head\n", 7), LILIO_OK);
    assert_int_equal(base_yaml_finish(writer, &text), LILIO_OK);
    assert_int_equal(base_buffer_append(&text, "", 1), LILIO_OK);
    assert_string_equal((char *)text.data, "# head\n"
                                           "version: 1\n"
                                           "host: \"127.0.0.1:7000\"\n"
                                           "answer: \"yes\"\n"
                                           "osds:\n"
                                           "- path: /d/osd.0\n");
    base_buffer_release(&text);
    base_yaml_writer_free(&writer);
}

static void test_writes_no_garbage(void **state)
{
    (void)state;
    struct base_yaml_writer *writer = NULL;
    struct base_buffer text = {0};
    assert_int_equal(base_yaml_writer_new(&writer), LILIO_OK);
    base_yaml_map_begin(writer, NULL);
    base_yaml_text_put(writer, "a", "\xff is no UTF-8");
    base_yaml_text_put(writer, "b", "fine");
    base_yaml_map_end(writer);
    assert_int_equal(base_yaml_finish(writer, &text), LILIO_E_INVALID);
    assert_int_equal(text.size, 0);
    base_yaml_writer_free(&writer);
    assert_int_equal(base_yaml_writer_new(&writer), LILIO_OK);
    base_yaml_writer_free(&writer); /* unfinished */
    base_yaml_writer_free(&writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),   cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_limits),  cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_bomb),    cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_load),    cmocka_unit_test(test_writes_what_it_reads),
        cmocka_unit_test(test_form),    cmocka_unit_test(test_writes_no_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
