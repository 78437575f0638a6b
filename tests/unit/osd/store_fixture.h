/* What the tests of the fragment stores share: stores of each kind on a disk of each kind,
 * fragments whose bytes follow from their number, and reading back with every check there is. */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include "osd/store.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/crash_disk.h"
#include "tests/support/temp_dir.h"

enum store_kind {
    STORE_MEMORY,
    STORE_CRASH, /* segments on a crash disk, index in memory */
    STORE_POSIX, /* segments in a real folder, index in RocksDB */
};

struct fixture {
    enum store_kind kind;
    struct base_disk *disk;
    char *dir, *index_path; /* STORE_POSIX */
    struct osd_store *store;
    uint64_t now_ns, random_state;
    struct base_clock clock;
    struct base_random random;
    struct osd_store_options options;
    uint8_t *payload; /* room for one fragment, page-aligned */
    uint8_t *buffer;  /* room for one get */
};

struct fixture *fixture_new(enum store_kind kind, uint64_t seed);
void fixture_free(struct fixture *fixture);
/* Opens the store with fixture->options; the test fails if it cannot. */
void fixture_open(struct fixture *fixture);
enum lilio_err fixture_try_open(struct fixture *fixture);
void fixture_close(struct fixture *fixture);
void fixture_reopen(struct fixture *fixture);

/* Fragment `number` with the bytes of `variant`; put->payload is filled, its alignment is the
 * caller's choice. */
struct base_fragment_key fixture_key(uint32_t number);
void fixture_put_make(struct osd_put *put, uint32_t number, uint32_t variant, uint32_t length,
                      uint8_t *payload);
enum lilio_err fixture_put(struct fixture *fixture, uint32_t number, uint32_t variant,
                           uint32_t length);
enum lilio_err fixture_remove(struct fixture *fixture, uint32_t number);
/* Gets the whole fragment. OK only if description and bytes are those of the variant; right bytes
 * or an error are the only other outcome, anything else fails the test. */
enum lilio_err fixture_get(struct fixture *fixture, uint32_t number, uint32_t variant,
                           uint32_t length, bool verify);
/* Calls tick until there is nothing more to do; the clock goes on by `seconds` first. */
void fixture_tick(struct fixture *fixture, unsigned seconds);
struct osd_store_stats fixture_stats(struct fixture *fixture);
struct osd_store_space fixture_space(struct fixture *fixture);

/* splitmix64 */
uint64_t fixture_random(uint64_t *state);

#endif
