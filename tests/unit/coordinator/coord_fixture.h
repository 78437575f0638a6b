/* What the coordinator's tests share: a state machine on either key-value store, commands in one
 * line, a record of all entries for replaying, and objects that are valid unless a test makes them
 * otherwise. */
#ifndef TESTS_COORD_FIXTURE_H
#define TESTS_COORD_FIXTURE_H

#include "coordinator/state_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { FX_OSDS = 6, FX_TERM = 3 };
#define FX_WALL_MS UINT64_C(1700000000000)

struct fx_entry {
    uint64_t index;
    size_t count; /* of commands; 0: the first one is a packed configuration of the quorum */
    struct base_buffer commands[8];
};

struct fx {
    bool rocksdb;
    char path[64]; /* of the RocksDB store; "" in memory */
    struct base_kv *kv;
    struct coord_state *state;
    struct proto_arena *arena;
    struct coord_result result;   /* of the last command */
    uint64_t cluster_ms, wall_ms; /* of the next command */
    uint64_t session, sequence;   /* of fx_do */
    struct fx_entry *history;
    size_t history_count, history_room;
};

/* An empty store, nothing initialised. */
struct fx *fx_new(bool rocksdb);
void fx_free(struct fx *fx);
/* Closes and opens the store again (RocksDB only). */
void fx_reopen(struct fx *fx);
/* A cluster of FX_OSDS bound OSDs, default profile 4+2 with 4 KiB fragments, an open session. */
struct fx *fx_cluster(bool rocksdb);

/* Applies one command as one entry and commits it; the result is in fx->result. Returns its error.
 */
enum lilio_err fx_apply(struct fx *fx, uint64_t session, uint64_t sequence, uint64_t answered_below,
                        const struct proto_type *type, const void *value);
/* The same as the fixture's session with its next sequence. */
enum lilio_err fx_do(struct fx *fx, const struct proto_type *type, const void *value);
/* A command nobody's session asks for. */
enum lilio_err fx_internal(struct fx *fx, const struct proto_type *type, const void *value);
/* A configuration entry: so many voters (at most 4), and a learner. */
void fx_config(struct fx *fx, uint32_t voters);
void fx_pack_entry(struct fx *fx, uint64_t session, uint64_t sequence, uint64_t answered_below,
                   uint16_t type, struct base_slice body, struct base_buffer *ret);
/* The last reply, unpacked into the fixture's arena; it must be of this type. */
void fx_reply(struct fx *fx, const struct proto_type *type, void *ret);
uint64_t fx_digest(struct fx *fx);
const struct proto_state_row *fx_row(struct fx *fx);
size_t fx_column_count(struct fx *fx, enum coord_column column);

uint64_t fx_session(struct fx *fx);                             /* opens one */
struct proto_bucket fx_bucket(struct fx *fx, const char *name); /* 4+2, makes it */
/* Likewise; the quorum is the data fragments, a fragment has 4 KiB. */
struct proto_bucket fx_coded_bucket(struct fx *fx, const char *name, uint8_t data, uint8_t parity);
struct proto_bucket fx_narrow_bucket(struct fx *fx, const char *name); /* 2+1 */

/* A run of the fixture's session in this bucket, with made-up checksums. */
struct proto_data_row fx_run(struct fx *fx, const struct proto_bucket *bucket, uint64_t counter,
                             uint64_t length);
/* A commit of an object with that one run; 0 bytes: none. */
struct proto_commit fx_commit(struct fx *fx, const struct proto_bucket *bucket, const char *key,
                              uint64_t counter, uint64_t length);
/* A commit of an object that travels in it, all bytes alike. */
struct proto_commit fx_commit_inline(struct fx *fx, const struct proto_bucket *bucket,
                                     const char *key, uint32_t length, uint8_t fill);
/* Commits and returns the version. */
struct proto_version fx_put(struct fx *fx, const struct proto_bucket *bucket, const char *key,
                            uint64_t counter, uint64_t length);
enum lilio_err fx_delete(struct fx *fx, const struct proto_bucket *bucket, const char *key);
enum lilio_err fx_lookup(struct fx *fx, const char *bucket, const char *key,
                         struct proto_object *ret);
/* Binds the OSD anew, as its next incarnation. */
void fx_rebind(struct fx *fx, uint32_t osd);

struct base_slice fx_text(const char *text);
struct base_uuid fx_uuid(uint32_t number);
uint64_t fx_random(uint64_t *state, uint64_t below);

/* Runs the tests on the store in memory and on RocksDB. */
#define FX_BOTH(name)                         \
    static void name##_memory(void **unused)  \
    {                                         \
        (void)unused;                         \
        name(false);                          \
    }                                         \
    static void name##_rocksdb(void **unused) \
    {                                         \
        (void)unused;                         \
        name(true);                           \
    }
#define FX_TESTS(name) cmocka_unit_test(name##_memory), cmocka_unit_test(name##_rocksdb)

#endif
