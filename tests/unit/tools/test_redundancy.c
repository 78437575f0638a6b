/* Aim: the word of `status' comes from what the histogram says, the worst first, and never says
 * more than is known. Method: histograms with one stripe of each kind. */
#include "tools/redundancy.h"

#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/banned.h"

static void test_the_worst_decides(void **state)
{
    (void)state;
    struct lilio_osd osd = {.state = "up", .complete = true};
    struct lilio_status status = {.osds = &osd, .osd_count = 1};
    struct lilio_redundancy redundancy = {.stripes = 4, .whole = 4};
    assert_string_equal(tools_redundancy_verdict(&redundancy, &status), "unverified");
    assert_string_equal(tools_redundancy_verdict(NULL, &status), "unknown");
    redundancy.verify_index = 7;
    assert_string_equal(tools_redundancy_verdict(&redundancy, &status), "verified");
    redundancy.unverified = 1; /* stored since then: one is enough */
    assert_string_equal(tools_redundancy_verdict(&redundancy, &status), "unverified");
    redundancy.unverified = 0;
    osd.complete = false;
    assert_string_equal(tools_redundancy_verdict(&redundancy, &status), "degraded");
    osd.complete = true;
    redundancy.hurt = 1;
    status.repair_rows = 0; /* an empty queue says nothing */
    assert_string_equal(tools_redundancy_verdict(&redundancy, &status), "degraded");
    redundancy.unreadable = 1;
    assert_string_equal(tools_redundancy_verdict(&redundancy, &status), "unreadable");
    redundancy.lost = 1;
    assert_string_equal(tools_redundancy_verdict(&redundancy, &status), "lost");
    /* What a verification found is of then; the histogram is of now. */
    redundancy = (struct lilio_redundancy){.verify_index = 1};
    status.verify_index = status.verify_lost = 1;
    assert_string_equal(tools_redundancy_verdict(&redundancy, &status), "verified");
    redundancy.unreadable = 405;
    assert_string_equal(tools_redundancy_verdict(&redundancy, &status), "unreadable");
    assert_string_equal(tools_redundancy_verdict(NULL, &status), "unknown");
}

/* Deep scrubs of all OSDs count like a verification; what covers more is told, or what is younger.
 */
static void test_scrubs_are_a_proof(void **state)
{
    (void)state;
    struct lilio_osd osd = {.state = "up", .complete = true};
    struct lilio_status status = {.osds = &osd, .osd_count = 1};
    struct lilio_redundancy redundancy = {.stripes = 4, .whole = 4, .since_verify = 4};
    assert_int_equal(tools_redundancy_proof(&redundancy, 1000000), TOOLS_PROOF_NONE);
    redundancy.scrubbed = (struct lilio_scrubbed){.osds = 6, .index = 9, .oldest_ms = 5000};
    assert_int_equal(tools_redundancy_proof(&redundancy, 1000000), TOOLS_PROOF_SCRUBS);
    assert_string_equal(tools_redundancy_verdict(&redundancy, &status), "verified");
    redundancy.unverified = redundancy.scrubbed.unverified = 1;
    assert_string_equal(tools_redundancy_verdict(&redundancy, &status), "unverified");
    redundancy.unverified = redundancy.scrubbed.unverified = 0;
    redundancy.scrubbed.not_read = 1;
    assert_string_equal(tools_redundancy_verdict(&redundancy, &status), "unverified");
    redundancy.scrubbed.not_read = 0;
    redundancy.scrubbed.not_told = 1;
    assert_string_equal(tools_redundancy_verdict(&redundancy, &status), "unverified");
    assert_int_equal(tools_redundancy_proof(&redundancy, 1000000), TOOLS_PROOF_NONE);
    redundancy.verify_index = 7;
    redundancy.verify_wall_ms = 990000;
    assert_int_equal(tools_redundancy_proof(&redundancy, 1000000), TOOLS_PROOF_VERIFY);
    redundancy.scrubbed.not_told = 0;
    assert_int_equal(tools_redundancy_proof(&redundancy, 1000000), TOOLS_PROOF_SCRUBS);
    redundancy.since_verify = 0; /* the same, but 10 s ago */
    assert_int_equal(tools_redundancy_proof(&redundancy, 1000000), TOOLS_PROOF_SCRUBS);
    redundancy.verify_wall_ms = 996000;
    assert_int_equal(tools_redundancy_proof(&redundancy, 1000000), TOOLS_PROOF_VERIFY);
    redundancy.scrubbed.oldest_ms = 10;
    redundancy.scrubbed.unverified = 1;
    assert_int_equal(tools_redundancy_proof(&redundancy, 1000000), TOOLS_PROOF_VERIFY);
}

/* What deep scrubs found of parity a later verification does not make good. */
static void test_parity_outlives_a_verification(void **state)
{
    (void)state;
    struct lilio_redundancy redundancy = {
        .stripes = 9, .verify_index = 7, .verify_wall_ms = 999000};
    redundancy.scrubbed = (struct lilio_scrubbed){
        .osds = 6, .index = 5, .oldest_ms = 5000, .unverified = 2, .stripes_bad = 2};
    redundancy.unverified = 2;
    assert_int_equal(tools_redundancy_proof(&redundancy, 1000000), TOOLS_PROOF_VERIFY);
    redundancy.scrubbed.oldest_ms = 500; /* the younger one of two that say the same */
    assert_int_equal(tools_redundancy_proof(&redundancy, 1000000), TOOLS_PROOF_SCRUBS);
    redundancy.scrubbed.unverified = 4;
    assert_int_equal(tools_redundancy_proof(&redundancy, 1000000), TOOLS_PROOF_VERIFY);
    redundancy.since_verify = 3;
    assert_int_equal(tools_redundancy_proof(&redundancy, 1000000), TOOLS_PROOF_SCRUBS);
}

/* An OSD that drained may be away; one that drains may not. */
static void test_what_drained_is_not_missed(void **state)
{
    (void)state;
    struct lilio_osd osd = {
        .id = 4, .state = "down", .complete = true, .draining = true, .drained = true};
    struct lilio_status status = {.osds = &osd, .osd_count = 1};
    struct lilio_redundancy_osd line = {.id = 4, .drain_left = 1};
    struct lilio_redundancy redundancy = {.stripes = 4, .whole = 4, .osds = &line, .osd_count = 1};
    assert_string_equal(tools_redundancy_verdict(&redundancy, &status), "degraded");
    line.drain_left = 0;
    assert_string_equal(tools_redundancy_verdict(&redundancy, &status), "unverified");
    osd.drained = false; /* puts under way may count on it yet */
    assert_string_equal(tools_redundancy_verdict(&redundancy, &status), "degraded");
    assert_false(tools_redundancy_drained(NULL, &osd));
}

static void test_json_has_every_level(void **state)
{
    (void)state;
    struct lilio_redundancy_line line = {.bucket = "b", .data_count = 4, .total_count = 6};
    struct lilio_redundancy redundancy = {.lines = &line, .line_count = 1};
    line.levels[2] = 40;
    line.levels[1] = 2;
    line.levels[LILIO_LEVEL_BELOW] = 3;
    line.lost = 1;
    cJSON *json = tools_json_new();
    tools_redundancy_json(json, &redundancy);
    char *text = cJSON_PrintUnformatted(json);
    assert_non_null(strstr(text, "\"levels\":[{\"good\":6,\"stripes\":40},{\"good\":5,\"stripes\":"
                                 "2}],\"unreadable\":2,\"lost\":1"));
    cJSON_free(text);
    cJSON_Delete(json);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_worst_decides),
        cmocka_unit_test(test_scrubs_are_a_proof),
        cmocka_unit_test(test_parity_outlives_a_verification),
        cmocka_unit_test(test_what_drained_is_not_missed),
        cmocka_unit_test(test_json_has_every_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
