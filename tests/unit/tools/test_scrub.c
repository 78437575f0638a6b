/* Aim: what `status' says of scrubs hides nothing that was found and is there still. Method:
 * made-up lines of two OSDs, the sentence read from standard output, which is a file meanwhile. */
#include "tools/scrub.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

static const char *summary(const struct lilio_osd *osds, size_t count)
{
    static char text[4096];
    struct tools_out out = {.json = false};
    char *folder = temp_dir_new();
    (void)fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    int fd = open(temp_dir_path(folder, "out"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    (void)dup2(fd, STDOUT_FILENO);
    tools_scrub_summary(&out, osds, count);
    (void)fflush(stdout);
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    (void)dup2(kept, STDOUT_FILENO);
    close(kept);
    close(fd);
    temp_dir_free(folder);
    assert_true(got > 0);
    text[got] = '\0';
    return text;
}

/* A new round begins with nothing found; the last one's parity is as bad as it was. */
static void parity_is_told_until_it_was_looked_at_again(void **state)
{
    (void)state;
    struct lilio_osd osds[2] = {{.incarnation = 1}, {.incarnation = 1}};
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < LILIO_SCRUB_KINDS; k++)
            osds[i].scrubs[k] = (struct lilio_scrub){
                .kind = (enum lilio_scrub_kind)(k + 1), .known = true, .rounds = 1};
    struct lilio_scrub *deep = &osds[1].scrubs[LILIO_SCRUB_DEEP - 1];
    assert_null(strstr(summary(osds, 2), "parity"));
    deep->last_stripes_bad = 3;
    assert_non_null(strstr(summary(osds, 2), "; 3 stripes whose parity does not fit"));
    deep->state = LILIO_SCRUB_RUNS;
    deep->expected = 100;
    assert_non_null(strstr(summary(osds, 2), "; 3 stripes whose parity does not fit"));
    deep->stripes_bad = 4;
    assert_non_null(strstr(summary(osds, 2), "; 4 stripes whose parity does not fit"));
    deep->state = LILIO_SCRUB_RESTS;
    deep->last_stripes_bad = 0; /* that round ended, and they were written anew */
    assert_null(strstr(summary(osds, 2), "parity"));
}

/* It is no round that runs, so it says nothing of coverage. */
static void light_that_waits_for_deep_is_told(void **state)
{
    (void)state;
    struct lilio_osd osd = {.incarnation = 1};
    osd.scrubs[0] = (struct lilio_scrub){
        .kind = LILIO_SCRUB_LIGHT, .known = true, .rounds = 1, .state = LILIO_SCRUB_WAITS};
    assert_non_null(strstr(summary(&osd, 1), "; due on 1 OSDs that read for a deep scrub first"));
    assert_null(strstr(summary(&osd, 1), "in this round"));
    assert_false(tools_scrub_runs(&osd.scrubs[0]));
    osd.scrubs[0].state = LILIO_SCRUB_RESTS;
    assert_null(strstr(summary(&osd, 1), "due on"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(parity_is_told_until_it_was_looked_at_again),
        cmocka_unit_test(light_that_waits_for_deep_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
