/* How far from loss an object is: one judgement for damage, explain and verify. Pure. */
#ifndef CLIENT_JUDGE_H
#define CLIENT_JUDGE_H

#include "client/client_priv.h"
#include "proto/redundancy.h"

/* Of all stripes that were added. good: they can be read; kept: they may be read when what is away
 * comes back. */
struct client_judgement {
    uint8_t data_count, total_count; /* of the worst stripe, as good and kept */
    uint32_t good, kept;
    uint64_t stripes, hurt; /* hurt: with fewer than total_count good */
    uint64_t unreadable;    /* with fewer than data_count good */
    uint64_t lost;          /* with fewer than data_count kept */
};
void client_judgement_add(struct client_judgement *judgement, uint8_t data_count,
                          uint8_t total_count, uint64_t good, uint64_t kept);
void client_judgement_merge(struct client_judgement *into, const struct client_judgement *from);
/* Further losses that the worst stripe survives; 0 when it cannot be read, or there is none. */
uint32_t client_judgement_survives(const struct client_judgement *judgement);
/* Above 0 if a is worse than b. */
int client_judgement_compare(const struct client_judgement *a, const struct client_judgement *b);

/* All stripes of a checked row, by what the maps say. Errors: NOMEM, MALFORMED (no such placement).
 */
LILIO_MUST_USE enum lilio_err client_judge_row(const struct proto_trusts *trusts,
                                               const struct proto_cluster_map *map,
                                               const struct proto_data_row *row,
                                               struct client_judgement *judgement,
                                               struct lilio_errinfo *info);

#endif
