/* A memory store that tells what was asked of it and lies on demand. Any thread. */
#ifndef TESTS_SPY_STORE_H
#define TESTS_SPY_STORE_H

#include "osd/store.h"

enum spy_lie {
    SPY_MISSING,     /* the fragment is not there */
    SPY_FLIPPED,     /* one bit of its bytes is wrong, and verification is fooled */
    SPY_OTHER_BYTES, /* other bytes with checksums that fit them */
    SPY_CORRUPT,     /* the store itself notices */
    SPY_LOSES_PUTS,  /* a put is acknowledged and forgotten */
};
enum { SPY_LIES_MAX = 64, SPY_BATCHES_MAX = 64 };

struct osd_store *spy_store_new(void);
/* About every stripe of oid with this index.. */
void spy_store_lie(struct osd_store *store, struct base_oid oid, uint32_t index, enum spy_lie lie);
void spy_store_honest(struct osd_store *store);
/* From now on puts and removes fail with err and the store's health is READ_ONLY. */
void spy_store_fail(struct osd_store *store, enum lilio_err err);
/* It says that acknowledged fragments may be missing, until it is told that none are. */
void spy_store_incomplete(struct osd_store *store);
/* Batches given to put so far; sizes of the first SPY_BATCHES_MAX of them. */
unsigned spy_store_batches(struct osd_store *store, unsigned ret_sizes[SPY_BATCHES_MAX]);
/* Called inside each put before it is done: what is acknowledged now was acknowledged too early. */
void spy_store_on_put(struct osd_store *store, void (*call)(void *context), void *context);
/* From now on a tick does nothing, says that there is more to do, and returns err. Before the loop
 * runs, or on its thread. */
void spy_store_restless(struct osd_store *store, enum lilio_err err);
/* Ticks so far. On the loop's thread. */
unsigned spy_store_ticks(struct osd_store *store);

#endif
