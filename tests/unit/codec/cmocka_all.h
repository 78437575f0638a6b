/* cmocka with the headers it wants to see first. */
#ifndef TESTS_CODEC_CMOCKA_ALL_H
#define TESTS_CODEC_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
