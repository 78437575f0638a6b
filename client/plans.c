#include "client/plans.h"

#include <stdlib.h>

#include "base/banned.h"

enum lilio_err client_plans_get(struct client_plans *plans, const struct codec_coder *coder,
                                uint64_t have, uint64_t wanted, const struct codec_plan **ret_plan,
                                struct lilio_errinfo *info)
{
    struct client_plan_entry *oldest = &plans->entries[0];
    plans->clock++;
    for (size_t i = 0; i < CLIENT_PLAN_CACHE_COUNT; i++) {
        struct client_plan_entry *entry = &plans->entries[i];
        if (entry->used > 0 && entry->coder == coder && entry->have == have &&
            entry->wanted == wanted) {
            entry->used = plans->clock;
            *ret_plan = entry->plan;
            return LILIO_OK;
        }
        if (entry->used < oldest->used)
            oldest = entry;
    }
    if (!oldest->plan && !(oldest->plan = malloc(sizeof *oldest->plan)))
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a decode plan");
    oldest->used = 0;
    enum lilio_err err = codec_plan_make(coder, have, wanted, oldest->plan, info);
    if (err != LILIO_OK)
        return err;
    oldest->coder = coder;
    oldest->have = have;
    oldest->wanted = wanted;
    oldest->used = plans->clock;
    *ret_plan = oldest->plan;
    return LILIO_OK;
}

void client_plans_release(struct client_plans *plans)
{
    for (size_t i = 0; i < CLIENT_PLAN_CACHE_COUNT; i++)
        free(plans->entries[i].plan);
    *plans = (struct client_plans){0};
}
