/* Aim: with --json exactly one well-formed object goes to standard output, also after an error in
 * the midst of a list; hostile names reach neither terminal nor parser raw; figures read well.
 * Method: standard output is a file while a function writes, then the file is parsed. */
#include "tools/out.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

static char *folder;
static int kept_stdout;
static char text[65536];

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

static void capture_begin(void)
{
    (void)fflush(stdout);
    kept_stdout = dup(STDOUT_FILENO);
    int fd = open(temp_dir_path(folder, "out"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    (void)dup2(fd, STDOUT_FILENO);
    close(fd);
}

static void capture_end(void)
{
    (void)fflush(stdout);
    off_t size = lseek(STDOUT_FILENO, 0, SEEK_END);
    ssize_t got = pread(STDOUT_FILENO, text, sizeof text - 1, 0);
    (void)dup2(kept_stdout, STDOUT_FILENO);
    close(kept_stdout);
    assert_true(got >= 0 && got == size);
    text[got] = '\0';
}

/* The text is one object and nothing more. */
static cJSON *parsed(void)
{
    const char *end = NULL;
    cJSON *object = cJSON_ParseWithOpts(text, &end, false);
    assert_non_null(object);
    assert_true(cJSON_IsObject(object));
    assert_string_equal(end, "\n");
    return object;
}

static void test_values(void **state)
{
    (void)state;
    struct tools_out out = {.json = true};
    cJSON *object = tools_json_new();
    tools_json_u64(object, "large", UINT64_MAX);
    tools_json_u64(object, "odd", 9007199254740993u);
    tools_json_real(object, "real", 1234.5678);
    tools_json_text(object, "none", NULL);
    tools_json_text(object, "bytes", "a\xff\"\n\x1b");
    tools_json_version(object, "version", (struct lilio_version){12, 3});
    tools_json_profile(object, "profile", (struct lilio_profile){4, 2, 0});
    tools_json_time(object, "never", 0);
    capture_begin();
    tools_out_object(&out, object);
    capture_end();
    assert_non_null(strstr(text, "\"large\":18446744073709551615"));
    assert_non_null(strstr(text, "\"odd\":9007199254740993"));
    assert_non_null(strstr(text, "\"real\":1234.568"));
    assert_non_null(strstr(text, "\"version\":\"12.3\""));
    assert_non_null(strstr(text, "\"profile\":\"4+2\""));
    cJSON *back = parsed();
    assert_string_equal(cJSON_GetObjectItem(back, "bytes")->valuestring, "a\xef\xbf\xbd\"\n\x1b");
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(back, "none")));
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(back, "never")));
    cJSON_Delete(back);
}

static void list_print(struct tools_out *out, int count)
{
    tools_out_list_begin(out, "entries");
    for (int i = 0; i < count; i++) {
        cJSON *element = tools_json_new();
        tools_json_u64(element, "i", (uint64_t)i);
        tools_out_list_add(out, element);
    }
}

static void test_lists(void **state)
{
    (void)state;
    for (int count = 0; count < 3; count++) {
        struct tools_out out = {.json = true};
        cJSON *rest = tools_json_new();
        tools_json_u64(rest, "count", (uint64_t)count);
        capture_begin();
        list_print(&out, count);
        tools_out_object(&out, count == 1 ? tools_json_new() : rest);
        capture_end();
        cJSON *back = parsed();
        assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(back, "entries")), count);
        assert_int_equal(cJSON_HasObjectItem(back, "count"), count != 1);
        cJSON_Delete(back);
        if (count == 1)
            cJSON_Delete(rest);
    }
}

static void test_an_error_ends_the_same_object(void **state)
{
    (void)state;
    struct tools_out out = {.json = true};
    capture_begin();
    list_print(&out, 2);
    tools_out_error(&out, false, LILIO_E_NO_KEY, "no such key: \x01\xfe");
    capture_end();
    cJSON *back = parsed(), *error = cJSON_GetObjectItem(back, "error");
    assert_non_null(error);
    assert_int_equal(cJSON_GetObjectItem(error, "code")->valueint, LILIO_E_NO_KEY);
    assert_int_equal(cJSON_GetObjectItem(error, "exit")->valueint, 3);
    assert_string_equal(cJSON_GetObjectItem(error, "name")->valuestring, "NO_KEY");
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(back, "entries")), 2);
    cJSON_Delete(back);
}

static void test_people_see_no_json_and_json_no_lines(void **state)
{
    (void)state;
    static const char *const columns[] = {"NAME", ">SIZE", NULL};
    struct tools_out people = {0}, json = {.json = true};
    capture_begin();
    tools_out_line(&json, "not for %s", "machines");
    tools_out_object(&people, tools_json_new());
    list_print(&people, 2);
    struct tools_table *table = tools_table_new(columns);
    tools_table_add(table, "a");
    tools_table_add(table, "1");
    tools_table_add(table, "longer");
    tools_table_add(table, "%d", 12345);
    tools_table_print(&table, &people);
    capture_end();
    assert_string_equal(text, "NAME     SIZE\na           1\nlonger  12345\n");
}

static void test_names_for_a_terminal(void **state)
{
    (void)state;
    assert_string_equal(tools_text_name("plain \xc3\xbc", 0), "plain \xc3\xbc");
    assert_string_equal(tools_text_name("\x1b[2J\n", 1), "\\x1b[2J\\x0a");
    assert_string_equal(tools_text_name("\xc2\x9b", 2), "\\xc2\\x9b");
    assert_string_equal(tools_text_name("\xff\xc3", 3), "\\xff\\xc3");
    assert_string_equal(tools_text_name("", 0), "");
}

static void test_figures(void **state)
{
    (void)state;
    char room[TOOLS_TEXT];
    assert_string_equal(tools_text_bytes(0, room), "0 B");
    assert_string_equal(tools_text_bytes(999, room), "999 B");
    assert_string_equal(tools_text_bytes(1000, room), "1.0 kB");
    assert_string_equal(tools_text_bytes(999960, room), "1.0 MB");
    assert_string_equal(tools_text_bytes(300000000, room), "300.0 MB");
    assert_string_equal(tools_text_bytes(UINT64_MAX, room), "18.4 EB");
    assert_string_equal(tools_text_rate(300000000, 1000, room), "300 MB/s");
    assert_string_equal(tools_text_rate(1500, 0, room), "1.50 MB/s");
    assert_string_equal(tools_text_time(1767323045000, room), "2026-01-02T03:04:05Z");
    assert_string_equal(tools_text_duration(1500, room), "1.5 s");
    assert_string_equal(tools_text_duration(59000, room), "59 s");
    assert_string_equal(tools_text_duration(192000, room), "3 min 12 s");
    assert_string_equal(tools_text_duration(3720000, room), "1 h 2 min");
    assert_string_equal(tools_text_duration(180000000, room), "2 d 2 h");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_an_error_ends_the_same_object),
        cmocka_unit_test(test_people_see_no_json_and_json_no_lines),
        cmocka_unit_test(test_names_for_a_terminal),
        cmocka_unit_test(test_figures),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
