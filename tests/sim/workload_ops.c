#include "tests/sim/workload.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "tests/sim/grow.h"
#include "tests/sim/workload_priv.h"

#include "base/banned.h"

enum { PAGE_KEYS = 1000, READ_BYTES_MAX = 64 << 20 };

/* ---- values ---- */

static uint64_t stripe_bytes(const struct sim_swarm *swarm)
{
    return swarm->data * swarm->fragment_bytes;
}

/* Sizes where something changes: fragments, stripes, blocks, what travels inside COMMIT. */
static uint64_t edge(const struct sim_swarm *swarm, struct sim_stream *random)
{
    const uint64_t edges[] = {
        64,         swarm->fragment_bytes, stripe_bytes(swarm), 2 * stripe_bytes(swarm), 16384,
        CODEC_BLOCK};
    return edges[sim_below(random, sizeof edges / sizeof *edges)] + sim_below(random, 5) - 2;
}

static uint64_t draw_size(const struct sim_swarm *swarm, struct sim_stream *random)
{
    uint64_t drawn = sim_below(random, swarm->size_empty + swarm->size_tiny + swarm->size_edge +
                                           swarm->size_stripes);
    if (drawn < swarm->size_empty)
        return 0;
    drawn -= swarm->size_empty;
    if (drawn < swarm->size_tiny)
        return sim_between(random, SIM_VALUE_BYTES_MIN, 300);
    drawn -= swarm->size_tiny;
    if (drawn < swarm->size_edge)
        return edge(swarm, random);
    return sim_between(random, stripe_bytes(swarm), swarm->stripes_max * stripe_bytes(swarm));
}

static uint64_t new_value(struct workload_life *life, uint32_t key)
{
    struct sim_workload *workload = life->workload;
    uint64_t size = draw_size(workload->swarm, &life->random);
    workload->values = sim_grow(workload->values, &workload->value_room, workload->value_count + 1,
                                sizeof *workload->values);
    uint64_t id = sim_value_id(key, life->writer, (uint32_t)workload->value_count + 1, size == 0);
    workload->values[workload->value_count++] = (struct workload_value){id, size};
    return id;
}

/* NULL if no put was ever given this value. */
static const struct workload_value *find_value(const struct sim_workload *workload, uint64_t id)
{
    uint32_t counter = (uint32_t)id;
    return counter >= 1 && counter <= workload->value_count &&
                   workload->values[counter - 1].id == id
               ? &workload->values[counter - 1]
               : NULL;
}

static void name_key(uint32_t key, char ret_name[16])
{
    snprintf(ret_name, 16, "k%04u", key);
}

static _Noreturn void wrong(const struct sim_workload *workload, size_t place, const char *format,
                            ...) LILIO_PRINTF(3, 4);
static _Noreturn void wrong(const struct sim_workload *workload, size_t place, const char *format,
                            ...)
{
    char line[256], what[512];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    sim_op_format(&workload->history, place, line, sizeof line);
    sim_fail(SIM_WRONG, "%s: %s", what, line);
}

/* ---- the record ---- */

static size_t begin(struct sim_workload *workload, struct sim_op op)
{
    return sim_history_begin(&workload->history, op, sim_now());
}

/* What no fault explains: the call was good, its bucket is there, nobody else writes these bytes.
 */
static bool explainable(const struct sim_workload *workload, enum lilio_err err)
{
    switch (err) {
    case LILIO_E_LOST: return workload->swarm->beyond; /* else no more is hurt than redundancy */
    case LILIO_E_NO_BUCKET:
    case LILIO_E_INVALID:
    case LILIO_E_INTERNAL:
    case LILIO_E_TOO_BIG:
    case LILIO_E_UNSUPPORTED:
    case LILIO_E_MALFORMED:
    case LILIO_E_CONFLICT:
    case LILIO_E_CONFIG:
    case LILIO_E_ADDRESS:
    case LILIO_E_SINGULAR:
    case LILIO_E_DENIED:
    case LILIO_E_CANCELLED:
    case LILIO_E_LOCKED:
    case LILIO_E_FORMAT: return false;
    default: return true;
    }
}

static struct sim_op *end(struct sim_workload *workload, size_t place, enum sim_outcome outcome,
                          enum lilio_err err, const struct lilio_errinfo *info)
{
    struct sim_op *op = sim_history_end(&workload->history, place, outcome, sim_now());
    op->err = err;
    workload->counts.calls++;
    workload->counts.commits += outcome == SIM_DONE && op->kind != SIM_GET;
    workload->counts.unknown += outcome == SIM_UNKNOWN && op->kind != SIM_GET;
    workload->counts.failed += outcome == SIM_FAILED;
    if (err != LILIO_OK && -err < 64)
        workload->counts.errors[-err]++;
    /* Another one may be hurt since: a call that stood still meanwhile met both. */
    bool explained =
        explainable(workload, err) || (err == LILIO_E_LOST && op->begin_ns < workload->mended_ns);
    if (sim_tracing() || !explained) {
        char line[256];
        sim_op_format(&workload->history, place, line, sizeof line);
        if (!explained)
            sim_fail(SIM_WRONG, "no fault explains %s: %s", line, info ? info->text : "");
        sim_event("%s%s%s", line, err ? ": " : "", err && info ? info->text : "");
    }
    return op;
}

static enum sim_outcome outcome_of(enum sim_op_kind kind, enum lilio_err err)
{
    if (err == LILIO_OK)
        return SIM_DONE;
    if (err == LILIO_E_OUTCOME_UNKNOWN)
        return SIM_UNKNOWN;
    bool version = kind == SIM_PUT_VERSION || kind == SIM_DELETE_VERSION;
    if ((kind == SIM_PUT_ABSENT && err == LILIO_E_EXISTS) ||
        (version && (err == LILIO_E_PRECONDITION || err == LILIO_E_NO_KEY)) ||
        (kind == SIM_DELETE && err == LILIO_E_NO_KEY))
        return SIM_REFUSED;
    return SIM_FAILED;
}

static struct sim_version version_of(struct lilio_version version)
{
    return (struct sim_version){version.index, version.ordinal};
}

static void learn(struct workload_life *life, uint32_t key, struct sim_version version,
                  uint64_t value)
{
    if (life && key < 1024)
        life->known[key] = (struct workload_known){version, value};
}

/* ---- put ---- */

struct source {
    uint64_t id, size, at;
    uint32_t crc;
};

static enum lilio_err give(void *context, void *buffer, size_t size, size_t *ret_size,
                           struct lilio_errinfo *info)
{
    (void)info;
    struct source *source = context;
    if (size > source->size - source->at)
        size = source->size - source->at;
    sim_value_fill(source->id, source->at, buffer, size);
    source->crc = codec_crc32c(source->crc, buffer, size);
    source->at += size;
    *ret_size = size;
    return LILIO_OK;
}

static void call_put(struct workload_life *life, enum sim_op_kind kind, uint32_t key)
{
    struct sim_workload *workload = life->workload;
    struct sim_op op = {.kind = (uint8_t)kind, .client = life->writer, .key = key};
    struct lilio_put_options options = {.if_absent = kind == SIM_PUT_ABSENT};
    if (kind == SIM_PUT_VERSION) {
        op.expect = life->known[key].value;
        op.expect_version = life->known[key].version;
        options.if_version =
            (struct lilio_version){op.expect_version.index, op.expect_version.ordinal};
    }
    op.value = new_value(life, key);
    struct source from = {.id = op.value, .size = find_value(workload, op.value)->size};
    struct lilio_source source = {give, &from,
                                  sim_below(&life->random, 4) ? from.size : UINT64_MAX};
    char name[16], text[24];
    name_key(key, name);
    snprintf(text, sizeof text, "%llx", (unsigned long long)op.value);
    struct lilio_attribute attribute = {"content-type", text};
    options.attributes = &attribute;
    options.attribute_count = 1;
    struct lilio_put_result result = {0};
    struct lilio_errinfo info = {0};
    size_t place = begin(workload, op);
    enum lilio_err err =
        lilio_put(life->lilio, SIM_BUCKET, name, &source, &options, &result, &info);
    if (err == LILIO_OK) {
        workload->history.ops[place].version = version_of(result.version);
        if (result.size != from.size || result.crc32c != from.crc)
            wrong(workload, place, "a put answers size %llu crc %08x, not %llu %08x",
                  (unsigned long long)result.size, result.crc32c, (unsigned long long)from.size,
                  from.crc);
        learn(life, key, version_of(result.version), op.value);
    }
    end(workload, place, outcome_of(kind, err), err, &info);
}

/* ---- many puts over one connection: to keys of their own, as they have no content type ---- */

enum { MANY_MAX = 48 };

struct many {
    struct workload_life *life;
    size_t count, given;
    struct one {
        size_t place;
        uint64_t value;
        uint32_t key;
        char name[16];
        uint8_t *data;
    } puts[MANY_MAX];
};

static bool next_of_many(void *context, struct lilio_small *ret)
{
    struct many *many = context;
    if (many->given == many->count)
        return false;
    struct workload_life *life = many->life;
    struct one *one = &many->puts[many->given++];
    one->key = (uint32_t)sim_between(&life->random, SIM_MANY_KEY, SIM_COPY_KEY - 1);
    name_key(one->key, one->name);
    one->value = new_value(life, one->key);
    uint64_t size = find_value(life->workload, one->value)->size;
    one->data = malloc(size ? size : 1);
    SIM_ASSERT(one->data);
    sim_value_fill(one->value, 0, one->data, size);
    one->place =
        begin(life->workload,
              (struct sim_op){
                  .kind = SIM_PUT, .client = life->writer, .key = one->key, .value = one->value});
    *ret = (struct lilio_small){.key = one->name, .data = one->data, .size = size, .tag = one};
    return true;
}

static void one_of_many(void *context, const struct lilio_small *object, enum lilio_err err,
                        const struct lilio_put_result *result, const struct lilio_errinfo *info)
{
    const struct many *many = context;
    struct one *one = object->tag;
    struct sim_workload *workload = many->life->workload;
    if (err == LILIO_OK) {
        workload->history.ops[one->place].version = version_of(result->version);
        if (result->size != object->size)
            wrong(workload, one->place, "a put answers size %llu, not %zu",
                  (unsigned long long)result->size, object->size);
        learn(many->life, one->key, version_of(result->version), one->value);
    }
    end(workload, one->place, outcome_of(SIM_PUT, err), err, info);
    free(one->data);
}

static void call_put_many(struct workload_life *life)
{
    struct many *many = calloc(1, sizeof *many);
    SIM_ASSERT(many);
    many->life = life;
    many->count = sim_between(&life->random, 2, MANY_MAX);
    struct lilio_put_stream stream = {.next = next_of_many,
                                      .done = one_of_many,
                                      .context = many,
                                      .in_flight = (uint32_t)sim_between(&life->random, 1, 16)};
    struct lilio_errinfo info = {0};
    enum lilio_err err = lilio_put_many(life->lilio, SIM_BUCKET, &stream, &info);
    if (!explainable(life->workload, err))
        sim_fail(SIM_WRONG, "no fault explains many puts' %s: %s", lilio_err_name(err), info.text);
    free(many);
}

/* ---- get ---- */

struct received {
    uint8_t *bytes;
    size_t size, room;
};

static enum lilio_err take(void *context, const void *data, size_t size, struct lilio_errinfo *info)
{
    struct received *got = context;
    if (got->size + size > READ_BYTES_MAX)
        return lilio_fail(info, LILIO_E_TOO_BIG, "more bytes than were ever written");
    got->bytes = sim_grow(got->bytes, &got->room, got->size + size, 1);
    if (size)
        memcpy(got->bytes + got->size, data, size);
    got->size += size;
    return LILIO_OK;
}

static enum lilio_err forget(void *context, struct lilio_errinfo *info)
{
    (void)info;
    ((struct received *)context)->size = 0;
    return LILIO_OK;
}

/* Whose the bytes are; 0 when there are too few to tell. Ends the run if they are nobody's. */
static uint64_t judge(struct sim_workload *workload, size_t place, const struct received *got,
                      uint64_t first)
{
    uint64_t id = sim_value_identify(first, got->bytes, got->size);
    if (id == 0)
        return 0;
    const struct workload_value *value = find_value(workload, id);
    if (!value)
        wrong(workload, place, "bytes that nobody wrote (%zu from %llu)", got->size,
              (unsigned long long)first);
    size_t at = 0;
    if (!sim_value_matches(id, first, got->bytes, got->size, &at))
        wrong(workload, place, "byte %llu is not that of value %llx",
              (unsigned long long)first + at, (unsigned long long)id);
    if (first + got->size > value->size)
        wrong(workload, place, "more bytes than value %llx has", (unsigned long long)id);
    return id;
}

static void judge_whole(struct sim_workload *workload, size_t place, const struct received *got,
                        const struct lilio_get_result *result, uint64_t id)
{
    if (result->length != got->size)
        wrong(workload, place, "%zu bytes came, %llu were announced", got->size,
              (unsigned long long)result->length);
    const struct workload_value *value = find_value(workload, id);
    if (value && value->size != result->size)
        wrong(workload, place, "value %llx has %llu bytes, not %llu", (unsigned long long)id,
              (unsigned long long)value->size, (unsigned long long)result->size);
}

static enum lilio_err get(struct sim_workload *workload, struct workload_life *life,
                          struct lilio_client *client, uint32_t who, uint32_t key,
                          const struct lilio_range *range, struct lilio_errinfo *info)
{
    char name[16];
    name_key(key, name);
    struct received got = {0};
    struct lilio_sink sink = {take, forget, &got};
    struct lilio_get_options options = {.range = *range};
    struct lilio_get_result result = {0};
    size_t place = begin(workload, (struct sim_op){.kind = SIM_GET, .client = who, .key = key});
    enum lilio_err err = lilio_get(client, SIM_BUCKET, name, &sink, &options, &result, info);
    if (err == LILIO_E_INVALID && range->kind != LILIO_RANGE_ALL) {
        /* Beyond the end of what is there now: nothing is learned. */
        free(got.bytes);
        end(workload, place, SIM_UNKNOWN, LILIO_OK, NULL);
        return err;
    }
    uint64_t first = err == LILIO_OK                      ? result.first
                     : range->kind == LILIO_RANGE_FROM_TO ? range->first
                                                          : 0;
    uint64_t id = judge(workload, place, &got, first);
    struct sim_op *op = &workload->history.ops[place];
    if (err == LILIO_OK) {
        op->version = version_of(result.version);
        op->value = result.size == 0 ? SIM_ANY_EMPTY : id;
        judge_whole(workload, place, &got, &result, id);
        if (op->value)
            learn(life, key, op->version, op->value);
        end(workload, place, op->value ? SIM_DONE : SIM_UNKNOWN, err, info);
    } else {
        bool absent = err == LILIO_E_NO_KEY;
        end(workload, place, absent ? SIM_DONE : SIM_UNKNOWN, err, info);
    }
    free(got.bytes);
    return err;
}

enum lilio_err sim_workload_read(struct sim_workload *workload, struct lilio_client *client,
                                 uint32_t who, uint32_t key, struct lilio_errinfo *info)
{
    struct lilio_range all = {.kind = LILIO_RANGE_ALL};
    return get(workload, NULL, client, who, key, &all, info);
}

static void call_get(struct workload_life *life, uint32_t key)
{
    struct lilio_range all = {.kind = LILIO_RANGE_ALL};
    struct lilio_errinfo info = {0};
    (void)get(life->workload, life, life->lilio, life->writer, key, &all, &info);
}

static void call_range(struct workload_life *life, uint32_t key)
{
    uint64_t stripe = stripe_bytes(life->workload->swarm);
    uint64_t first = sim_below(&life->random, 3) ? sim_below(&life->random, 2 * stripe)
                                                 : sim_below(&life->random, 300);
    struct lilio_range range = {LILIO_RANGE_FROM_TO, first,
                                first + sim_between(&life->random, 15, stripe)};
    struct lilio_errinfo info = {0};
    (void)get(life->workload, life, life->lilio, life->writer, key, &range, &info);
}

/* ---- what the maps alone answer ---- */

/* The value that a content type names; ends the run unless size and checksum are its own. */
static uint64_t named(struct sim_workload *workload, size_t place, const char *type, uint64_t size)
{
    uint64_t id = type ? strtoull(type, NULL, 16) : 0;
    const struct workload_value *value = find_value(workload, id);
    if (!value)
        wrong(workload, place, "a content type that nobody wrote: %.40s", type ? type : "(none)");
    if (value->size != size)
        wrong(workload, place, "value %llx is said to have %llu bytes, not %llu",
              (unsigned long long)id, (unsigned long long)size, (unsigned long long)value->size);
    return id;
}

static void call_stat(struct workload_life *life, uint32_t key)
{
    struct sim_workload *workload = life->workload;
    char name[16];
    name_key(key, name);
    struct lilio_object object = {0};
    struct lilio_errinfo info = {0};
    size_t place =
        begin(workload, (struct sim_op){.kind = SIM_GET, .client = life->writer, .key = key});
    enum lilio_err err = lilio_stat(life->lilio, SIM_BUCKET, name, &object, &info);
    struct sim_op *op = &workload->history.ops[place];
    if (err == LILIO_OK) {
        const char *type = NULL;
        for (size_t i = 0; i < object.attribute_count; i++)
            if (strcmp(object.attribute_names[i], "content-type") == 0)
                type = object.attribute_values[i];
        op->value = named(workload, place, type, object.size);
        op->version = version_of(object.version);
        learn(life, key, op->version, op->value);
        lilio_object_release(&object);
    }
    end(workload, place, err == LILIO_OK || err == LILIO_E_NO_KEY ? SIM_DONE : SIM_UNKNOWN, err,
        &info);
}

static uint32_t key_of(const struct sim_workload *workload, const char *name)
{
    char again[16];
    uint32_t key = name[0] == 'k' ? (uint32_t)strtoul(name + 1, NULL, 10) : UINT32_MAX;
    name_key(key, again);
    if (strcmp(again, name) != 0 || key >= workload->swarm->keys)
        sim_fail(SIM_WRONG, "a listing has a key that nobody wrote: %.40s", name);
    return key;
}

/* The keys up to where the page ends count as read, each with what the page says of it. */
static void enter_page(struct sim_workload *workload, size_t first,
                       const struct lilio_listing *listing)
{
    uint32_t below = (uint32_t)workload->swarm->keys, next = 0;
    if (listing->more)
        sim_fail(SIM_WRONG, "a page of %zu keys is said not to be all", listing->count);
    for (size_t i = 0; i < listing->count; i++) {
        const struct lilio_list_entry *entry = &listing->entries[i];
        uint32_t key = key_of(workload, entry->key);
        if (i && key < next)
            sim_fail(SIM_WRONG, "a listing is not in order at %.40s", entry->key);
        next = key + 1;
        struct sim_op *op = &workload->history.ops[first + key];
        op->value = named(workload, first + key, entry->content_type, entry->size);
        op->version = version_of(entry->version);
    }
    for (uint32_t key = 0; key < below; key++)
        sim_history_end(&workload->history, first + key, SIM_DONE, sim_now());
}

enum lilio_err sim_workload_list(struct sim_workload *workload, struct lilio_client *client,
                                 uint32_t who, struct lilio_errinfo *info)
{
    uint32_t below = (uint32_t)workload->swarm->keys;
    size_t first = workload->history.count;
    for (uint32_t key = 0; key < below; key++)
        begin(workload, (struct sim_op){.kind = SIM_GET, .client = who, .key = key});
    struct lilio_listing listing = {0};
    enum lilio_err err =
        lilio_list(client, SIM_BUCKET, "k0", "", NULL, 0, PAGE_KEYS, &listing, info);
    if (err == LILIO_OK)
        enter_page(workload, first, &listing);
    for (uint32_t key = 0; key < below && err != LILIO_OK; key++)
        sim_history_end(&workload->history, first + key, SIM_UNKNOWN, sim_now());
    workload->counts.calls++;
    if (err != LILIO_OK && !explainable(workload, err))
        sim_fail(SIM_WRONG, "no fault explains a listing's %s: %s", lilio_err_name(err),
                 info->text);
    if (err != LILIO_OK && -err < 64)
        workload->counts.errors[-err]++;
    lilio_listing_release(&listing);
    return err;
}

/* ---- delete, copy ---- */

static void call_delete(struct workload_life *life, enum sim_op_kind kind, uint32_t key)
{
    struct sim_op op = {.kind = (uint8_t)kind, .client = life->writer, .key = key};
    struct lilio_version version = {0};
    if (kind == SIM_DELETE_VERSION) {
        op.expect = life->known[key].value;
        op.expect_version = life->known[key].version;
        version = (struct lilio_version){op.expect_version.index, op.expect_version.ordinal};
    }
    char name[16];
    name_key(key, name);
    struct lilio_errinfo info = {0};
    size_t place = begin(life->workload, op);
    enum lilio_err err = lilio_delete(life->lilio, SIM_BUCKET, name, version, &info);
    end(life->workload, place, outcome_of(kind, err), err, &info);
}

static void call_copy(struct workload_life *life, uint32_t key)
{
    struct sim_workload *workload = life->workload;
    if (workload->copy_count == SIM_COPIES_MAX)
        return;
    struct workload_copy copy = {.key = workload->copy_key++};
    char name[16], to[16];
    name_key(key, name);
    name_key(copy.key, to);
    struct lilio_put_result result = {0};
    struct lilio_errinfo info = {0};
    copy.from =
        begin(workload, (struct sim_op){.kind = SIM_GET, .client = life->writer, .key = key});
    copy.to =
        begin(workload, (struct sim_op){.kind = SIM_PUT, .client = life->writer, .key = copy.key});
    workload->copies = sim_grow(workload->copies, &workload->copy_room, workload->copy_count + 1,
                                sizeof *workload->copies);
    size_t place = workload->copy_count++;
    workload->copies[place] = copy;
    enum lilio_err err =
        lilio_copy(life->lilio, SIM_BUCKET, name, SIM_BUCKET, to, false, false, &result, &info);
    bool absent = err == LILIO_E_NO_KEY;
    if (err == LILIO_OK)
        workload->history.ops[copy.to].version = version_of(result.version);
    end(workload, copy.to, absent ? SIM_FAILED : outcome_of(SIM_PUT, err), err, &info);
    sim_history_end(&workload->history, copy.from, absent ? SIM_DONE : SIM_UNKNOWN, sim_now());
}

void sim_workload_settle_copies(struct sim_workload *workload)
{
    struct sim_history *history = &workload->history;
    for (size_t i = 0; i < workload->copy_count; i++) {
        const struct workload_copy *copy = &workload->copies[i];
        struct sim_op *from = &history->ops[copy->from], *to = &history->ops[copy->to];
        uint64_t value = SIM_NOTHING;
        for (size_t j = copy->to + 1; j < history->count; j++)
            if (history->ops[j].key == copy->key && history->ops[j].kind == SIM_GET &&
                history->ops[j].outcome == SIM_DONE && history->ops[j].value)
                value = history->ops[j].value;
        if (value == SIM_NOTHING)
            continue;
        to->value = value;
        from->value = value;
        /* Its client died, or gave up: it was done later, by whatever end. */
        if (from->end == UINT64_MAX || to->outcome == SIM_UNKNOWN)
            from->end = history->order;
        from->outcome = SIM_DONE;
    }
}

/* ---- the choice ---- */

static uint32_t draw_key(struct workload_life *life)
{
    const struct sim_swarm *swarm = life->workload->swarm;
    if (sim_below(&life->random, 100) < swarm->hot_percent)
        return (uint32_t)sim_below(&life->random, swarm->keys < 3 ? swarm->keys : 3);
    return (uint32_t)sim_below(&life->random, swarm->keys);
}

static uint32_t draw_many_key(struct workload_life *life)
{
    return (uint32_t)sim_between(&life->random, SIM_MANY_KEY, SIM_COPY_KEY - 1);
}

void workload_call(struct workload_life *life)
{
    const struct sim_swarm *w = life->workload->swarm;
    uint32_t key = draw_key(life);
    bool of_many = w->put_many && sim_below(&life->random, 4) == 0;
    bool known = life->known[key].version.index != 0;
    const uint64_t weights[] = {w->put,   w->put_absent, known ? w->put_version : 0,
                                w->get,   w->delete,     known ? w->delete_version : 0,
                                w->range, w->stat,       w->list,
                                w->copy,  w->put_many};
    uint64_t all = 0;
    size_t which = 0;
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        all += weights[i];
    uint64_t drawn = sim_below(&life->random, all);
    while (drawn >= weights[which])
        drawn -= weights[which++];
    struct lilio_errinfo info = {0};
    switch (which) {
    case 0:
    case 1:
    case 2: call_put(life, (enum sim_op_kind)(SIM_PUT + which), key); break;
    case 3: call_get(life, of_many ? draw_many_key(life) : key); break;
    case 4:
    case 5: call_delete(life, (enum sim_op_kind)(SIM_DELETE + which - 4), key); break;
    case 6: call_range(life, key); break;
    case 7: call_stat(life, key); break;
    case 8: (void)sim_workload_list(life->workload, life->lilio, life->writer, &info); break;
    case 9: call_copy(life, key); break;
    default: call_put_many(life); break;
    }
}
