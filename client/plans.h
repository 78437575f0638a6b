/* Decode plans by erasure pattern: making one inverts a matrix, a degraded get needs the same few
 * over and over. Belongs to one thread at a time. */
#ifndef CLIENT_PLANS_H
#define CLIENT_PLANS_H

#include "client/limits.h"
#include "codec/codec.h"

struct client_plans {
    struct client_plan_entry {
        const struct codec_coder *coder;
        uint64_t have, wanted, used;
        struct codec_plan *plan;
    } entries[CLIENT_PLAN_CACHE_COUNT];
    uint64_t clock;
};
/* As codec_plan_make; *ret_plan is borrowed until the next call. The coder must outlive the cache.
 */
LILIO_MUST_USE enum lilio_err client_plans_get(struct client_plans *plans,
                                               const struct codec_coder *coder, uint64_t have,
                                               uint64_t wanted, const struct codec_plan **ret_plan,
                                               struct lilio_errinfo *info);
void client_plans_release(struct client_plans *plans);

#endif
