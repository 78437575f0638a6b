/* A model of what a fragment store must hold, and a random user that drives store and model
 * together. */
#ifndef TESTS_STORE_MODEL_H
#define TESTS_STORE_MODEL_H

#include "store_fixture.h"

enum { MODEL_KEYS = 24 };

struct model {
    struct fixture *fixture;
    uint64_t seed;
    struct model_key {
        bool present;     /* acknowledged */
        bool unknown;     /* an operation on it had no answer: `present` may be either */
        uint32_t variant; /* of the bytes; grows with each removal */
        uint32_t length;
    } keys[MODEL_KEYS];
    bool failing; /* the disk may fail at any time: reads may, too */
    uint64_t put_count, remove_count, no_space_count;
};

void model_init(struct model *model, struct fixture *fixture, uint64_t seed);
/* One random operation: a batch of puts or removals, a read, housekeeping. False once the store has
 * failed. */
bool model_step(struct model *model);
/* Compares everything the store says with the model; settles what was unknown. */
void model_check(struct model *model);

#endif
