/* What is being read is not collected: a reader that is slower than the grace, of an object that is
 * deleted under its hands, gets all of it. */
#include <string.h>

#include "tests/sim/plot_priv.h"

#include "base/banned.h"

#define LATE_NS (10 * SIM_S) /* by then collectors have come by */
enum { STRIPES = 16, TRIES = 20, GRACE_MS_MAX = 10000 };
static const char key[] = "slow";

struct slow {
    struct lilio_client *lilio; /* reads with a window of one stripe, so most is still to come */
    uint64_t id, size, at;
    bool deleted;
};

static enum lilio_err give(void *context, void *buffer, size_t size, size_t *ret_size,
                           struct lilio_errinfo *info)
{
    (void)info;
    struct slow *slow = context;
    if (size > slow->size - slow->at)
        size = slow->size - slow->at;
    sim_value_fill(slow->id, slow->at, buffer, size);
    slow->at += size;
    *ret_size = size;
    return LILIO_OK;
}

static bool delete (void)
{
    struct lilio_errinfo info = {0};
    enum lilio_err err = LILIO_OK;
    for (int i = 0; i < TRIES; i++, sim_sleep(500 * SIM_MS)) {
        err = lilio_delete(plot.lilio, SIM_BUCKET, key, (struct lilio_version){0}, &info);
        if (err == LILIO_OK || err == LILIO_E_NO_KEY)
            return true;
    }
    sim_event("operator: the object that is read slowly is not deleted: %s", info.text);
    return false;
}

static enum lilio_err take(void *context, const void *data, size_t size, struct lilio_errinfo *info)
{
    struct slow *slow = context;
    if (!sim_value_matches(slow->id, slow->at, data, size, NULL))
        return lilio_fail(info, LILIO_E_CORRUPT, "wrong bytes");
    slow->at += size;
    if (!slow->deleted) {
        slow->deleted = delete ();
        sim_sleep(plot.swarm.gc_grace_ms * SIM_MS + LATE_NS);
    }
    return LILIO_OK;
}

static bool put(struct slow *slow)
{
    struct lilio_errinfo info = {0};
    for (int i = 0; i < TRIES; i++, sim_sleep(500 * SIM_MS)) {
        struct lilio_source source = {give, slow, slow->size};
        struct lilio_put_result result;
        slow->at = 0;
        if (lilio_put(plot.lilio, SIM_BUCKET, key, &source, NULL, &result, &info) == LILIO_OK)
            return true;
    }
    sim_event("operator: the object that is to be read slowly is not put: %s", info.text);
    return false;
}

static void read(struct slow *slow)
{
    const struct lilio_sink sink = {take, NULL, slow};
    struct lilio_get_options all = {.range.kind = LILIO_RANGE_ALL};
    struct lilio_get_result result = {0};
    struct lilio_errinfo info = {0};
    slow->at = 0;
    enum lilio_err err = lilio_get(slow->lilio, SIM_BUCKET, key, &sink, &all, &result, &info);
    if (err != LILIO_OK || slow->at != slow->size)
        sim_fail(err == LILIO_E_TIMEOUT || err == LILIO_E_UNAVAILABLE ? SIM_STUCK : SIM_WRONG,
                 "a slow reader got %llu of %llu bytes of a deleted object: %s: %s",
                 (unsigned long long)slow->at, (unsigned long long)slow->size, lilio_err_name(err),
                 info.text);
}

void check_end_leased(void)
{
    const struct sim_swarm *w = &plot.swarm;
    if (w->gc_grace_ms > GRACE_MS_MAX || sim_faults_beyond(plot.faults))
        return;
    plot.stage = "a slow reader";
    uint64_t stripe = w->data * w->fragment_bytes;
    struct slow slow = {.id = sim_value_id(0xffff, 0xfff, 1, false), .size = STRIPES * stripe};
    struct lilio_options options = {.config_path = sim_cluster_config(),
                                    .label = "slow",
                                    .timeout_ms = 10000,
                                    .window_bytes = stripe};
    struct lilio_errinfo info = {0};
    if (lilio_open(&options, &slow.lilio, &info) != LILIO_OK)
        sim_fail(SIM_WRONG, "a client cannot open: %s", info.text);
    if (put(&slow))
        read(&slow);
    lilio_close(&slow.lilio);
    (void)delete (); /* it was already, unless no coordinator answered */
}
