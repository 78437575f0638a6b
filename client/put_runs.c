/* The runs of a put, and what the maps shall say of each. */
#include "client/put_priv.h"

#include <stdlib.h>

#include "base/banned.h"

enum { EXCEPTION_MISSING = 1 };

/* ---- runs ---- */

static enum lilio_err begin_run(struct client_putter *put)
{
    client_lane_forget(put->lane);
    struct client_put_config config = {
        .data_count = put->bucket.profile.data_count,
        .total_count = put->total_count,
        .required = put->required,
        .window = put->window,
        .stripe_max = put->stripe_max,
        .grace_ms = CLIENT_GRACE_MS,
        .patience_ms = CLIENT_PATIENCE_MS,
        .silent_ms = put->client->timeout_ms < CLIENT_PUT_SILENT_MS ? put->client->timeout_ms
                                                                    : CLIENT_PUT_SILENT_MS,
        .busy_ms = put->client->timeout_ms,
        .seed = put->client->trace_base + put->lane->tag,
    };
    client_put_machine_free(&put->machine);
    base_buffer_clear(&put->row_sums);
    put->run_length = 0;
    if (client_put_machine_new(&config, &put->machine) != LILIO_OK)
        return lilio_fail(put->info, LILIO_E_NOMEM, "no memory for a put");
    return LILIO_OK;
}

/* A list of the fragments of the run that are not durable, as runs of stripes. *ret_list is freed
 * with free(). */
static enum lilio_err list_missing(const struct client_putter *put,
                                   struct proto_exception **ret_list, size_t *ret_count)
{
    uint32_t stripe_count = client_put_stripe_count(put->machine);
    uint64_t all = (UINT64_C(1) << put->total_count) - 1;
    struct proto_exception *list = NULL;
    size_t count = 0, capacity = 0;
    for (uint32_t i = 0; i < put->total_count; i++)
        for (uint32_t s = 0; s < stripe_count; s++) {
            if (!((all & ~client_put_durable(put->machine, s)) >> i & 1))
                continue;
            struct proto_exception *last = count > 0 ? &list[count - 1] : NULL;
            if (last && last->index == i && last->first_stripe + last->stripe_count == s) {
                last->stripe_count++;
                continue;
            }
            if (count == capacity) {
                capacity = capacity ? 2 * capacity : 16;
                struct proto_exception *grown = reallocarray(list, capacity, sizeof *list);
                if (!grown) {
                    free(list);
                    return LILIO_E_NOMEM;
                }
                list = grown;
            }
            list[count++] = (struct proto_exception){.first_stripe = s,
                                                     .stripe_count = 1,
                                                     .index = (uint8_t)i,
                                                     .kind = EXCEPTION_MISSING};
        }
    *ret_list = list;
    *ret_count = count;
    return LILIO_OK;
}

/* The data row of the run at hand; row->exceptions is freed with free(). */
enum lilio_err client_putter_run_describe(struct client_putter *put, uint8_t state,
                                          struct proto_data_row *ret_row)
{
    *ret_row = (struct proto_data_row){
        .oid = put->oid,
        .bucket_id = put->bucket.id,
        .profile = client_profile_to_proto(&put->bucket.profile),
        .placement = put->bucket.placement,
        .stored_length = put->run_length,
        .state = state,
        .checksums = base_buffer_slice(&put->row_sums),
    };
    if (list_missing(put, &ret_row->exceptions, &ret_row->exceptions_count) != LILIO_OK)
        return lilio_fail(put->info, LILIO_E_NOMEM, "no memory for the list of missing fragments");
    uint64_t epoch = client_put_lowest_epoch(put->machine);
    uint32_t durable = client_put_durable_min(put->machine);
    put->lowest_epoch = epoch < put->lowest_epoch ? epoch : put->lowest_epoch;
    put->durable_min = durable < put->durable_min ? durable : put->durable_min;
    return LILIO_OK;
}

/* Registers a full run ahead of COMMIT and begins the next one. */
enum lilio_err client_putter_run_stage(struct client_putter *put)
{
    struct proto_stage stage = {.quorum = (uint8_t)put->required};
    enum lilio_err err = client_putter_run_describe(put, CLIENT_ROW_STAGED, &stage.data);
    if (err != LILIO_OK)
        return err;
    stage.lowest_epoch = client_put_lowest_epoch(put->machine);
    struct proto_ok ok;
    err =
        client_putter_change(put, &proto_type_stage, &stage, &proto_type_ok, &ok, false, put->info);
    free(stage.data.exceptions);
    return err;
}

/* Notes the run at hand as an extent of the object, from which failure discards it. */
enum lilio_err client_putter_run_begin(struct client_putter *put)
{
    if (put->extent_count == CLIENT_EXTENTS_MAX)
        return lilio_fail(put->info, LILIO_E_TOO_BIG,
                          "an object has at most %d runs of %u stripes in this profile",
                          CLIENT_EXTENTS_MAX, put->stripe_max);
    put->oid = client_session_oid(put->session);
    put->extents[put->extent_count] = (struct proto_extent){.oid = put->oid};
    put->stripe_counts[put->extent_count++] = 0;
    return begin_run(put);
}
