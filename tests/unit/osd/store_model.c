#include "store_model.h"

#include "base/banned.h"

enum { PAYLOAD_ROOM = 128 * 1024, BATCH = 6 };

void model_init(struct model *model, struct fixture *fixture, uint64_t seed)
{
    *model = (struct model){.fixture = fixture, .seed = seed};
}

static uint32_t draw(struct model *model, uint32_t limit)
{
    return (uint32_t)(fixture_random(&model->seed) % limit);
}

static uint32_t draw_length(struct model *model)
{
    static const uint32_t lengths[] = {64,    448,   1024,  4032,  4096,  10048,
                                       30016, 65472, 65536, 65600, 98304, 131072 - 64};
    return lengths[draw(model, sizeof lengths / sizeof *lengths)];
}

/* Some keys, each once. */
static size_t draw_keys(struct model *model, uint32_t *ret_numbers)
{
    size_t count = 1 + draw(model, BATCH), found = 0;
    uint32_t first = draw(model, MODEL_KEYS),
             stride = 1 + 2 * draw(model, 3); /* prime to 24 or a part of it */
    for (size_t i = 0; i < count && i < MODEL_KEYS / 5; i++)
        ret_numbers[found++] = (first + (uint32_t)i * stride) % MODEL_KEYS;
    return found;
}

static void put_batch(struct model *model)
{
    static uint8_t memory[BATCH][PAYLOAD_ROOM] __attribute__((aligned(BASE_DISK_BLOCK)));
    struct osd_put puts[BATCH];
    uint32_t numbers[BATCH];
    size_t count = draw_keys(model, numbers);
    for (size_t i = 0; i < count; i++) {
        struct model_key *key = &model->keys[numbers[i]];
        if (!key->present && !key->unknown)
            key->length = draw_length(model);
        fixture_put_make(&puts[i], numbers[i], key->variant, key->length,
                         memory[i] + (draw(model, 2) ? 0 : 64));
    }
    model->fixture->store->ops->put(model->fixture->store, puts, count);
    for (size_t i = 0; i < count; i++) {
        struct model_key *key = &model->keys[numbers[i]];
        if (puts[i].ret_err == LILIO_OK) {
            key->present = true;
            model->put_count++;
        } else if (puts[i].ret_err == LILIO_E_NO_SPACE) {
            model->no_space_count++;
        } else {
            assert_true(puts[i].ret_err == LILIO_E_IO || puts[i].ret_err == LILIO_E_READ_ONLY);
            key->unknown |= !key->present;
        }
    }
}

static void remove_batch(struct model *model)
{
    struct base_fragment_key keys[BATCH];
    uint32_t numbers[BATCH];
    size_t count = draw_keys(model, numbers);
    struct osd_store *store = model->fixture->store;
    for (size_t i = 0; i < count; i++)
        keys[i] = fixture_key(numbers[i]);
    enum lilio_err err = store->ops->remove(store, keys, count, NULL);
    for (size_t i = 0; i < count; i++) {
        struct model_key *key = &model->keys[numbers[i]];
        if (err == LILIO_OK) {
            key->variant += key->present;
            key->present = false;
            model->remove_count++;
        } else {
            assert_true(err == LILIO_E_IO || err == LILIO_E_READ_ONLY || err == LILIO_E_NO_SPACE);
            key->unknown |= key->present && err != LILIO_E_NO_SPACE;
        }
    }
}

/* A key whose last operation had an answer. Reads may fail once the disk does. */
static void check_key(struct model *model, uint32_t number, bool sound)
{
    const struct model_key *key = &model->keys[number];
    enum lilio_err err = fixture_get(model->fixture, number, key->variant, key->length, true);
    if (!sound && err == LILIO_E_IO)
        return;
    if (err != (key->present ? LILIO_OK : LILIO_E_MISSING))
        fail_msg("key %u variant %u length %u: %s", number, key->variant, key->length,
                 lilio_err_name(err));
}

static void housekeeping(struct model *model)
{
    bool more = false;
    struct osd_store *store = model->fixture->store;
    model->fixture->now_ns += UINT64_C(700000000);
    int steps = (int)draw(model, 12);
    do {
        enum lilio_err err = store->ops->tick(store, &more, NULL);
        assert_true(err == LILIO_OK || err == LILIO_E_IO ||
                    store->ops->health(store) == LILIO_E_READ_ONLY);
    } while (more && steps-- > 0);
}

bool model_step(struct model *model)
{
    uint32_t what = draw(model, 100);
    struct osd_store *store = model->fixture->store;
    if (what < 45)
        put_batch(model);
    else if (what < 65)
        remove_batch(model);
    else if (what < 80)
        housekeeping(model);
    uint32_t number = draw(model, MODEL_KEYS);
    if (!model->keys[number].unknown)
        check_key(model, number, !model->failing);
    return store->ops->health(store) == LILIO_OK;
}

static void settle(struct model *model, uint32_t number)
{
    struct model_key *key = &model->keys[number];
    enum lilio_err err = fixture_get(model->fixture, number, key->variant, key->length, true);
    assert_true(err == LILIO_OK || err == LILIO_E_MISSING);
    key->variant += key->present && err == LILIO_E_MISSING; /* the removal had happened */
    key->present = err == LILIO_OK;
    key->unknown = false;
}

void model_check(struct model *model)
{
    struct osd_store *store = model->fixture->store;
    struct base_fragment_key keys[MODEL_KEYS + 1];
    size_t count, present = 0;
    for (uint32_t i = 0; i < MODEL_KEYS; i++) {
        if (model->keys[i].unknown)
            settle(model, i);
        check_key(model, i, true);
        present += model->keys[i].present;
    }
    assert_int_equal(store->ops->list(store, NULL, keys, MODEL_KEYS + 1, &count, NULL), LILIO_OK);
    assert_int_equal(count, present);
    assert_int_equal(fixture_space(model->fixture).fragment_count, present);
}
