/* lilio_verify_osd: does an OSD still hold what was committed up to an index, or do others hold
 * what it gave up? For certificates.
 *
 * The runs are walked as of now; what was committed later is left out, what was deleted since is
 * not met. A fragment that is not good is looked up again before anybody is told; then the
 * coordinators are, too, so that it is mended and counted. */
#include "client/client_priv.h"

#include <stdlib.h>

#include "client/check.h"
#include "client/reports.h"
#include "client/scan.h"

#include "base/banned.h"

struct verify {
    struct client_lane *lane;
    struct proto_map_ref *map_ref;
    const struct lilio_verify_osd_ask *ask;
    void (*each)(void *context, const struct lilio_verify_object *object);
    void *context;
    const struct lilio_progress *progress;
    uint64_t done_bytes;
    struct lilio_verify_osd_result result;
    struct client_reports reports;
    struct lilio_errinfo *info;
};

static void note_progress(void *context, uint64_t bytes)
{
    struct verify *verify = context;
    verify->done_bytes += bytes;
    if (verify->progress && verify->progress->report)
        verify->progress->report(verify->progress->context, verify->done_bytes, UINT64_MAX);
}

/* ---- one run ---- */

/* Whether a name uses the run. When that cannot be learnt it counts as used. */
static bool is_used(struct verify *verify, struct base_oid oid)
{
    struct proto_data_get request = {.oid = oid, .names = true};
    struct client_call call = {
        .type = &proto_type_data_get, .value = &request, .reply_type = &proto_type_data};
    struct proto_data data = {0};
    struct client_answer answer = {0};
    enum lilio_err err = client_control_call(&verify->lane->control, &call, &data, &answer, NULL);
    bool used = err ? err != LILIO_E_NOT_FOUND : data.names_count > 0;
    client_answer_release(&answer);
    return used;
}

static void count_row(struct verify *verify, const struct client_check_row *row,
                      struct lilio_verify_object *object)
{
    for (uint32_t s = 0; s < row->stripe_count; s++)
        for (uint32_t i = 0; i < row->total_count; i++) {
            const struct client_check_stripe *stripe = &row->stripes[s];
            if (stripe->left_out >> i & 1)
                continue;
            object->fragments++;
            if (stripe->good >> i & 1) {
                object->good++;
                continue;
            }
            object->bad[object->bad_count++] = (struct lilio_fragment){
                .stripe = s,
                .index = i,
                .osd = stripe->osds[i],
                .err = (enum lilio_err)stripe->errs[i],
                .known_missing = stripe->known >> i & 1,
                .filling = stripe->filling >> i & 1,
            };
            verify->result.missing += stripe->missing >> i & 1;
            verify->result.corrupt += stripe->corrupt >> i & 1;
            verify->result.unread += !((stripe->missing | stripe->corrupt) >> i & 1);
        }
    verify->result.expected += object->fragments;
    verify->result.good += object->good;
}

static bool all_good(const struct client_check_row *row)
{
    for (uint32_t s = 0; s < row->stripe_count; s++)
        for (uint32_t i = 0; i < row->total_count; i++)
            if (!((row->stripes[s].left_out | row->stripes[s].good) >> i & 1))
                return false;
    return true;
}

static enum lilio_err judge_row(struct verify *verify, const struct proto_scan_row *scanned,
                                const struct client_check_row *row)
{
    struct lilio_verify_object object = {.stripe_count = row->stripe_count};
    if (!all_good(row) && !is_used(verify, row->row.oid))
        return LILIO_OK; /* deleted while it was read */
    object.bad = calloc((size_t)row->stripe_count * row->total_count + 1, sizeof *object.bad);
    char *bucket =
        client_text(scanned->names_count ? scanned->names[0].bucket : base_slice(NULL, 0));
    char *key = client_text(scanned->names_count ? scanned->names[0].key : base_slice(NULL, 0));
    enum lilio_err err = LILIO_OK;
    if (!object.bad || !bucket || !key) {
        err = lilio_fail(verify->info, LILIO_E_NOMEM, "no memory for an object");
    } else {
        count_row(verify, row, &object);
        client_reports_row(&verify->reports, row);
        object.bucket = bucket;
        object.key = key;
        if (verify->each && object.bad_count > 0)
            verify->each(verify->context, &object);
    }
    free(bucket);
    free(key);
    free(object.bad);
    return err;
}

/* ---- pages ---- */

/* Rows of the page that were there at the index and have fragments that are meant. */
static enum lilio_err rows_choose(struct verify *verify, const struct proto_scan_page *page,
                                  struct client_check_row *rows, size_t *places, size_t *ret_count)
{
    for (size_t i = 0; i < page->rows_count; i++) {
        const struct proto_scan_row *scanned = &page->rows[i];
        enum lilio_err err = proto_row_check(&scanned->data, verify->info);
        if (err == LILIO_OK)
            err = client_check_row_init(&rows[*ret_count], proto_map_ref_get(verify->map_ref),
                                        &scanned->data, verify->info);
        if (err != LILIO_OK)
            return err;
        uint64_t elsewhere;
        uint64_t left = client_check_row_only(&rows[*ret_count], proto_map_ref_get(verify->map_ref),
                                              verify->ask, &elsewhere);
        bool newer = scanned->commit_index > verify->ask->index;
        verify->result.newer += newer ? left : 0;
        verify->result.elsewhere += newer ? 0 : elsewhere;
        if (left == 0 || newer)
            client_check_row_release(&rows[*ret_count]);
        else
            places[(*ret_count)++] = i;
    }
    return LILIO_OK;
}

static enum lilio_err verify_page(void *context, const struct proto_scan_page *page)
{
    struct verify *verify = context;
    size_t count = 0;
    struct client_check_row *rows = calloc(page->rows_count + 1, sizeof *rows);
    size_t *places = calloc(page->rows_count + 1, sizeof *places);
    enum lilio_err err = rows && places
                             ? rows_choose(verify, page, rows, places, &count)
                             : lilio_fail(verify->info, LILIO_E_NOMEM, "no memory for a page");
    if (err == LILIO_OK)
        err = client_check_run(verify->lane, &verify->map_ref, rows, count, note_progress, verify,
                               verify->info);
    for (size_t i = 0; i < count; i++) {
        if (err == LILIO_OK)
            err = judge_row(verify, &page->rows[places[i]], &rows[i]);
        client_check_row_release(&rows[i]);
    }
    free(rows);
    free(places);
    return err;
}

enum lilio_err
lilio_verify_osd(struct lilio_client *client, const struct lilio_verify_osd_ask *ask,
                 void (*each)(void *context, const struct lilio_verify_object *object),
                 void *context, const struct lilio_progress *progress,
                 struct lilio_verify_osd_result *ret_result, struct lilio_errinfo *info)
{
    struct verify verify = {
        .ask = ask, .each = each, .context = context, .progress = progress, .info = info};
    struct client_scan scan = {0};
    enum lilio_err err = client_lane_take(client, &verify.lane, info);
    if (err != LILIO_OK)
        return err;
    verify.reports.control = &verify.lane->control;
    err = client_scan_open(&scan, &verify.lane->control, /* all buckets */ 0, info);
    if (err == LILIO_OK) {
        client_note_epoch(client, scan.opened.epoch);
        err =
            client_map_get(client, &verify.lane->control, scan.opened.epoch, &verify.map_ref, info);
    }
    if (err == LILIO_OK)
        err = client_scan_walk(&scan, verify_page, &verify, info);
    client_reports_send(&verify.reports);
    verify.result.index = scan.opened.index;
    client_scan_close(&scan);
    if (err == LILIO_OK)
        *ret_result = verify.result;
    proto_map_ref_drop(&verify.map_ref);
    client_lane_give(&verify.lane);
    return err;
}
