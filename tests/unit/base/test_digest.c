/* Aim: digests are the standard ones. Method: the published values of FIPS 180-2 for SHA-256. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/digest.h"

static void known_values(void **unused)
{
    (void)unused;
    char text[BASE_SHA256_TEXT];
    assert_int_equal(base_sha256_text(base_slice_str("abc"), text), LILIO_OK);
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(base_sha256_text(base_slice_str(""), text), LILIO_OK);
    assert_string_equal(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_values)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
