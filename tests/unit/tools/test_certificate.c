/* Aim: a certificate says "proven" only when every count agrees. Method: a proven state, then each
 * single field made wrong; the kept file is read back. */
#include "tools/certificate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

static struct lilio_rebuild proven(void)
{
    return (struct lilio_rebuild){
        .phase = LILIO_REBUILD_PROVEN,
        .osd = 3,
        .index = 40,
        .expected = 10,
        .present = 4,
        .rebuilt = 6,
        .verified = 10,
    };
}

static void test_every_count_must_agree(void **state)
{
    (void)state;
    struct lilio_rebuild rebuild = proven();
    assert_true(tools_certificate_proven(&rebuild));
    for (int phase = LILIO_REBUILD_NONE; phase <= LILIO_REBUILD_ERROR; phase++) {
        rebuild = proven();
        rebuild.phase = (enum lilio_rebuild_phase)phase;
        assert_int_equal(tools_certificate_proven(&rebuild), phase == LILIO_REBUILD_PROVEN);
    }
    uint64_t *const fields[] = {&rebuild.expected, &rebuild.present, &rebuild.rebuilt,
                                &rebuild.verified, &rebuild.failed,  &rebuild.gone};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        rebuild = proven();
        ++*fields[i];
        assert_false(tools_certificate_proven(&rebuild));
    }
    rebuild = proven();
    rebuild.expected++, rebuild.gone++; /* deleted meanwhile */
    assert_true(tools_certificate_proven(&rebuild));
    rebuild = proven();
    rebuild.failure_count = 1;
    assert_false(tools_certificate_proven(&rebuild));
}

static void test_the_kept_file(void **state)
{
    (void)state;
    struct lilio_rebuild rebuild = proven();
    char names[] = "b/one, b/two", reason[] = "3 of 4 sources missing", text[8192];
    struct lilio_rebuild_failure failure = {
        .names = names, .reason = reason, .stripe = 5, .index = 2, .err = LILIO_E_LOST};
    char *folder = temp_dir_new(), *path = NULL;
    rebuild.failures = &failure;
    rebuild.failure_count = rebuild.failed = 1;
    cJSON *json = tools_certificate_json(&rebuild, NULL);
    assert_int_equal(tools_certificate_save(folder, "osd.3-40", json, &path, NULL), LILIO_OK);
    assert_string_equal(path + strlen(folder), "/certificates/osd.3-40.json");
    cJSON_Delete(json);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    (void)fclose(file);
    json = cJSON_Parse(text);
    assert_non_null(json);
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(json, "proven")));
    assert_int_equal(cJSON_GetObjectItem(json, "expected")->valueint, 10);
    cJSON *first = cJSON_GetArrayItem(cJSON_GetObjectItem(json, "failures"), 0);
    assert_string_equal(cJSON_GetObjectItem(first, "names")->valuestring, names);
    assert_string_equal(cJSON_GetObjectItem(first, "error")->valuestring, "LOST");
    cJSON_Delete(json);
    free(path);
    temp_dir_free(folder);
}

/* As an outsider does it: take the digest out, print the rest compactly, compare. */
static void test_the_digest_covers_everything_before_it(void **state)
{
    (void)state;
    struct lilio_rebuild rebuild = proven();
    char digest[BASE_SHA256_TEXT];
    cJSON *json = tools_certificate_json(&rebuild, NULL);
    cJSON *kept = cJSON_DetachItemFromObject(json, "sha256");
    assert_non_null(kept);
    char *text = cJSON_PrintUnformatted(json);
    assert_int_equal(base_sha256_text(base_slice_str(text), digest), LILIO_OK);
    assert_string_equal(kept->valuestring, digest);
    *strstr(text, "\"verified\":10") = 'x';
    assert_int_equal(base_sha256_text(base_slice_str(text), digest), LILIO_OK);
    assert_string_not_equal(kept->valuestring, digest);
    cJSON_free(text);
    cJSON_Delete(kept);
    cJSON_Delete(json);
}

/* A kept one is read back as it is; whatever byte of it is changed, it is refused or says the same.
 */
static void test_a_kept_one_is_read(void **state)
{
    (void)state;
    struct lilio_rebuild rebuild = proven();
    struct tools_certificate certificate;
    rebuild.incarnation = 2;
    rebuild.expected_bytes = UINT64_MAX - 1; /* beyond what a double holds */
    memset(rebuild.cluster_id, 'c', 36);
    memset(rebuild.disk_uuid, 'd', 36);
    cJSON *json = tools_certificate_json(&rebuild, NULL);
    char *text = cJSON_Print(json);
    size_t size = strlen(text);
    assert_int_equal(tools_certificate_read(base_slice_str(text), &certificate, NULL), LILIO_OK);
    assert_true(certificate.proven);
    assert_false(certificate.drain);
    assert_int_equal(certificate.osd, 3);
    assert_int_equal(certificate.incarnation, 2);
    assert_int_equal(certificate.index, 40);
    assert_int_equal(certificate.expected, 10);
    assert_string_equal(certificate.disk_uuid, rebuild.disk_uuid);
    for (size_t i = 0; i < size; i++) {
        if (strchr(" \t\n", text[i]))
            continue;
        text[i]++;
        assert_int_not_equal(tools_certificate_read(base_slice_str(text), &certificate, NULL),
                             LILIO_OK);
        text[i]--;
        assert_int_not_equal(
            tools_certificate_read(base_slice((uint8_t *)text, i), &certificate, NULL), LILIO_OK);
    }
    cJSON_free(text);
    cJSON_Delete(json);
}

/* Which slots it is about comes back as it was; one without is an older one. */
static void test_the_slots_are_read(void **state)
{
    (void)state;
    struct tools_certificate certificate;
    struct lilio_rebuild rebuild = proven();
    uint8_t bits[3] = {0x01, 0xa5, 0x0f};
    struct lilio_slots slots = {.placement = 7, .partition_bits = 2, .width = 5, .bits = bits};
    struct lilio_slot_set set = {.list = &slots, .count = 1, .unsure = 9};
    memset(rebuild.cluster_id, 'c', 36);
    memset(rebuild.disk_uuid, 'd', 36);
    for (int known = 0; known <= 1; known++) {
        cJSON *json = tools_certificate_json(&rebuild, known ? &set : NULL);
        char *text = cJSON_Print(json);
        assert_int_equal(tools_certificate_read(base_slice_str(text), &certificate, NULL),
                         LILIO_OK);
        assert_int_equal(certificate.has_slots, known);
        assert_int_equal(certificate.slots.count, known);
        if (known) {
            assert_int_equal(certificate.slots.unsure, 9);
            assert_int_equal(certificate.slots.list[0].placement, 7);
            assert_int_equal(lilio_slots_size(&certificate.slots.list[0]), 3);
            assert_memory_equal(certificate.slots.list[0].bits, bits, 3);
        }
        tools_certificate_release(&certificate);
        cJSON_free(text);
        cJSON_Delete(json);
    }
}

static void test_a_drain(void **state)
{
    (void)state;
    struct tools_certificate certificate;
    struct tools_drain drain = {
        .osd = 3, .incarnation = 1, .index = 40, .held = {.expected = 10, .good = 10}};
    memset(drain.cluster_id, 'c', 36);
    memset(drain.disk_uuid, 'd', 36);
    assert_true(tools_drain_proven(&drain));
    for (int good = 9; good <= 10; good++) {
        drain.held.good = (uint64_t)good;
        cJSON *json = tools_drain_json(&drain);
        char *text = cJSON_Print(json);
        assert_int_equal(tools_certificate_read(base_slice_str(text), &certificate, NULL),
                         LILIO_OK);
        assert_int_equal(certificate.proven, good == 10);
        assert_true(certificate.drain);
        assert_int_equal(certificate.osd, 3);
        assert_int_equal(certificate.expected, 10);
        assert_true(certificate.has_slots);
        tools_certificate_release(&certificate);
        cJSON_free(text);
        cJSON_Delete(json);
    }
    drain.index = 0; /* the maps never said that nothing needs it */
    assert_false(tools_drain_proven(&drain));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_count_must_agree),
        cmocka_unit_test(test_the_kept_file),
        cmocka_unit_test(test_the_slots_are_read),
        cmocka_unit_test(test_a_drain),
        cmocka_unit_test(test_the_digest_covers_everything_before_it),
        cmocka_unit_test(test_a_kept_one_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
