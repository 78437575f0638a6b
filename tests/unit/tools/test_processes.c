/* Aim: a daemon is recognised by its command line, and nothing else is. Method: command lines as
 * /proc gives them; real processes that only look like daemons. */
#include "tools/processes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/config.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

/* Words with '|' between them. */
static bool parse(const char *words, struct tools_process *ret, const char **ret_config)
{
    static char text[300];
    size_t size = strlen(words) + 1;
    memcpy(text, words, size);
    for (size_t i = 0; i < size; i++)
        if (text[i] == '|')
            text[i] = '\0';
    return tools_process_parse(text, size, ret, ret_config);
}

static void test_command_lines(void **state)
{
    (void)state;
    struct tools_process process = {0};
    const char *config = NULL;
    assert_true(parse("/usr/bin/lilio-osd|--config|/c/lilio.yaml|--id|3", &process, &config));
    assert_true(!process.is_coordinator && process.id == 3);
    assert_string_equal(config, "/c/lilio.yaml");
    assert_true(
        parse("lilio-coordinator|--id=12|--config=c.yaml|--join|4294967297", &process, &config));
    assert_true(process.is_coordinator && process.id == 12);
    assert_string_equal(config, "c.yaml");
    assert_true(parse("lilio-osd|-c|a|-i0|--init", &process, &config));
    assert_true(process.id == 0 && strcmp(config, "a") == 0);
    static const char *const bad[] = {"",
                                      "lilio-osd",
                                      "lilio-osd|--config|a",
                                      "lilio-osd|--id|1",
                                      "lilio-osd|--config|a|--id",
                                      "lilio-osd|--config|a|--id|x",
                                      "lilio-osd|--config|a|--id|1024",
                                      "vim|lilio-osd|--config|a|--id|1",
                                      "lilio-osds|--config|a|--id|1",
                                      "lilio-ec|--config|a|--id|1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (parse(bad[i], &process, &config))
            fail_msg("%s", bad[i]);
    assert_false(tools_process_parse("lilio-osd\0--config\0a\0--id\0001", 25, &process, &config));
    assert_false(tools_process_parse("", 0, &process, &config));
}

/* A process whose command line is that of a daemon; ends when its standard input does. */
static pid_t pretend(const char *folder, const char *config, int *ret_hold)
{
    int ends[2], started[2];
    char byte;
    assert_true(pipe(ends) == 0 && pipe(started) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[0], STDIN_FILENO);
        dup2(started[1], STDOUT_FILENO);
        close(ends[1]);
        if (chdir(folder) == 0)
            execl("/bin/sh", "lilio-osd", "-c", "echo; read line", "--config", config, "--id", "5",
                  (char *)NULL);
        _exit(1);
    }
    close(ends[0]);
    close(started[1]);
    assert_int_equal(read(started[0], &byte, 1), 1);
    close(started[0]);
    *ret_hold = ends[1];
    return pid;
}

static void test_living_processes(void **state)
{
    (void)state;
    char *folder = temp_dir_new(), *other = temp_dir_new();
    char ours[4096], theirs[4096];
    (void)snprintf(ours, sizeof ours, "%s/lilio.yaml", folder);
    (void)snprintf(theirs, sizeof theirs, "%s/lilio.yaml", other);
    assert_int_equal(base_file_replace(ours, base_slice_str("x"), 0600, NULL), LILIO_OK);
    assert_int_equal(base_file_replace(theirs, base_slice_str("x"), 0600, NULL), LILIO_OK);
    int hold[2];
    pid_t near = pretend(folder, "lilio.yaml", &hold[0]); /* relative to where it stands */
    pid_t far = pretend(folder, theirs, &hold[1]);
    struct tools_process process, *list = NULL;
    size_t count = 0;
    assert_true(tools_process_look(near, ours, &process));
    assert_true(process.pid == near && process.id == 5 && !process.is_coordinator);
    assert_false(tools_process_look(far, ours, &process));
    assert_true(tools_process_look(far, theirs, &process));
    assert_int_equal(tools_processes_list(ours, &list, &count, NULL), LILIO_OK);
    assert_int_equal(count, 1);
    assert_int_equal(list[0].pid, near);
    free(list);
    for (int i = 0; i < 2; i++)
        close(hold[i]);
    assert_int_equal(waitpid(near, NULL, 0), near);
    assert_int_equal(waitpid(far, NULL, 0), far);
    assert_false(tools_process_look(near, ours, &process));
    temp_dir_free(folder);
    temp_dir_free(other);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_command_lines),
        cmocka_unit_test(test_living_processes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
