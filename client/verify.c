/* lilio_verify: every fragment of the chosen objects is read on its OSD and held against the data
 * rows.
 *
 * Everything, or a bucket, is walked by a scan pinned at one applied index; one object is looked
 * up. What turns out bad is looked up again before anybody is told: an object that was deleted
 * meanwhile is no damage. What was not read is called unread, never clean.
 */
#include "client/client_priv.h"

#include <stdlib.h>

#include "client/check.h"
#include "client/reports.h"
#include "client/object.h"
#include "client/scan.h"

#include "base/banned.h"

enum { CHUNK_FRAGMENTS = 8192 };

struct verify {
    struct lilio_client *client;
    struct client_lane *lane;
    struct proto_map_ref *map_ref;
    uint64_t bucket_id; /* 0 = all */
    bool all;
    void (*each)(void *context, const struct lilio_verify_object *object);
    void *context;
    const struct lilio_progress *progress;
    uint64_t done_bytes, total_bytes;
    uint64_t stripes_ever; /* as the walk was pinned */
    struct lilio_verify_result result;
    struct client_reports reports;
    struct lilio_errinfo *info;
};

static void note_progress(void *context, uint64_t bytes)
{
    struct verify *verify = context;
    verify->done_bytes += bytes;
    if (verify->progress && verify->progress->report)
        verify->progress->report(verify->progress->context, verify->done_bytes,
                                 verify->total_bytes);
}

/* ---- one object ---- */

static void list_bad(const struct client_check_row *row, uint64_t first_stripe,
                     struct lilio_verify_object *object)
{
    for (uint32_t s = 0; s < row->stripe_count; s++)
        for (uint32_t i = 0; i < row->total_count; i++)
            if (!(row->stripes[s].good >> i & 1))
                object->bad[object->bad_count++] = (struct lilio_fragment){
                    .stripe = first_stripe + s,
                    .index = i,
                    .osd = row->stripes[s].osds[i],
                    .err = (enum lilio_err)row->stripes[s].errs[i],
                    .known_missing = row->stripes[s].known >> i & 1,
                    .filling = row->stripes[s].filling >> i & 1,
                };
}

/* Adds up the rows of one object (several only if it has several extents). */
static enum lilio_err sum_rows(struct verify *verify, const struct client_check_row *rows,
                               size_t row_count, struct lilio_verify_object *ret_object,
                               struct client_check_sum *ret_sum)
{
    struct client_check_sum total = {0};
    struct lilio_verify_object object = {0};
    for (size_t r = 0; r < row_count; r++) {
        struct client_check_sum sum;
        client_check_sum_get(&rows[r], &sum);
        total.fragments += sum.fragments;
        total.good += sum.good;
        total.good_bytes += sum.good_bytes;
        total.missing += sum.missing;
        total.corrupt += sum.corrupt;
        total.unread += sum.unread;
        client_judgement_merge(&total.judgement, &sum.judgement);
        object.stripe_count += rows[r].stripe_count;
    }
    object.fragments = total.fragments;
    object.good = total.good;
    object.survives = client_judgement_survives(&total.judgement);
    object.lost = total.judgement.lost > 0;
    object.unread = total.unread > 0;
    size_t bad_count = (size_t)(total.fragments - total.good);
    object.bad = calloc(bad_count + 1, sizeof *object.bad);
    if (!object.bad)
        return lilio_fail(verify->info, LILIO_E_NOMEM, "no memory for %zu fragments", bad_count);
    uint64_t first_stripe = 0;
    for (size_t r = 0; r < row_count; r++) {
        list_bad(&rows[r], first_stripe, &object);
        first_stripe += rows[r].stripe_count;
    }
    *ret_object = object;
    *ret_sum = total;
    return LILIO_OK;
}

static void add_to_result(struct verify *verify, const struct client_check_sum *sum,
                          uint64_t object_count)
{
    struct lilio_verify_result *result = &verify->result;
    result->objects += object_count;
    if (sum->missing + sum->corrupt > 0)
        result->objects_damaged += object_count;
    if (sum->judgement.lost > 0)
        result->objects_lost += object_count;
    if (sum->unread > 0)
        result->objects_unread += object_count;
    result->fragments += sum->fragments;
    result->fragments_good += sum->good;
    result->fragments_missing += sum->missing;
    result->fragments_corrupt += sum->corrupt;
    result->fragments_unread += sum->unread;
    result->bytes += sum->good_bytes;
}

static void tell_caller(struct verify *verify, struct lilio_verify_object *object, char *bucket,
                        char *key)
{
    if (!verify->each || (!verify->all && object->good == object->fragments))
        return;
    object->bucket = bucket;
    object->key = key;
    verify->each(verify->context, object);
}

/* ---- scans ---- */

static int compare_oids(struct base_oid a, struct base_oid b)
{
    if (a.high != b.high)
        return a.high < b.high ? -1 : 1;
    return a.low < b.low ? -1 : a.low > b.low;
}

/* ---- a page of runs ---- */

/* The greatest oid below. */
static struct base_oid before(struct base_oid oid)
{
    return (struct base_oid){oid.high - (oid.low == 0), oid.low - 1};
}

/* Marks the rows that a scan from now on still has: whatever else was deleted since the first scan.
 */
static enum lilio_err mark_alive(struct verify *verify, struct client_scan *scan,
                                 const struct client_check_row *rows, size_t count, bool *alive)
{
    struct base_oid after = before(rows[0].row.oid);
    size_t r = 0;
    for (bool more = true; more && r < count;) {
        struct proto_scan_page page;
        struct client_answer answer = {0};
        enum lilio_err err = client_scan_page(scan, after, &page, &answer, verify->info);
        for (size_t i = 0; err == LILIO_OK && i < page.rows_count; i++) {
            after = page.rows[i].data.oid;
            while (r < count && compare_oids(rows[r].row.oid, after) < 0)
                r++;
            if (r < count && compare_oids(rows[r].row.oid, after) == 0)
                alive[r++] = true;
        }
        more = err == LILIO_OK && page.more && page.rows_count > 0;
        client_answer_release(&answer);
        if (err != LILIO_OK)
            return err;
    }
    return LILIO_OK;
}

/* True if a row has bad fragments that the maps do not know of. */
static bool has_news(const struct client_check_row *row)
{
    for (uint32_t s = 0; s < row->stripe_count; s++)
        if ((row->stripes[s].missing | row->stripes[s].corrupt) & ~row->stripes[s].known)
            return true;
    return false;
}

/* Looks again whether the rows are still there, if anything bad was found among them. */
static enum lilio_err look_again(struct verify *verify, const struct client_check_row *rows,
                                 size_t count, bool *alive)
{
    bool news = false;
    for (size_t r = 0; r < count; r++)
        news |= has_news(&rows[r]);
    memset(alive, !news, count * sizeof *alive);
    if (!news)
        return LILIO_OK;
    struct client_scan scan;
    enum lilio_err err =
        client_scan_open(&scan, &verify->lane->control, verify->bucket_id, verify->info);
    if (err != LILIO_OK)
        return err;
    err = mark_alive(verify, &scan, rows, count, alive);
    client_scan_close(&scan);
    return err;
}

/* Names of a run, as far as the scan told them. */
static enum lilio_err tell_names(struct verify *verify, const struct proto_scan_row *row,
                                 struct lilio_verify_object *object)
{
    for (size_t n = 0; n < row->names_count; n++) {
        char *bucket = client_text(row->names[n].bucket), *key = client_text(row->names[n].key);
        if (bucket && key)
            tell_caller(verify, object, bucket, key);
        free(key);
        free(bucket);
        if (!bucket || !key)
            return lilio_fail(verify->info, LILIO_E_NOMEM, "no memory for a name");
    }
    return LILIO_OK;
}

static enum lilio_err judge_row(struct verify *verify, const struct proto_scan_row *scanned,
                                const struct client_check_row *row)
{
    struct lilio_verify_object object;
    struct client_check_sum sum = {0};
    enum lilio_err err = sum_rows(verify, row, 1, &object, &sum);
    if (err != LILIO_OK)
        return err;
    add_to_result(verify, &sum, scanned->name_count ? scanned->name_count : 1);
    client_reports_row(&verify->reports, row);
    err = tell_names(verify, scanned, &object);
    free(object.bad);
    return err;
}

/* Verifies some rows of a page together. */
static enum lilio_err verify_rows(struct verify *verify, const struct proto_scan_row *scanned,
                                  size_t count)
{
    struct client_check_row *rows = calloc(count, sizeof *rows);
    bool *alive = calloc(count, sizeof *alive);
    size_t made = 0;
    enum lilio_err err = LILIO_OK;
    if (!rows || !alive)
        err = lilio_fail(verify->info, LILIO_E_NOMEM, "no memory for a page of runs");
    for (; err == LILIO_OK && made < count; made += err == LILIO_OK) {
        err = proto_row_check(&scanned[made].data, verify->info);
        if (err == LILIO_OK)
            err = client_check_row_init(&rows[made], proto_map_ref_get(verify->map_ref),
                                        &scanned[made].data, verify->info);
    }
    if (err == LILIO_OK)
        err = client_check_run(verify->lane, &verify->map_ref, rows, count, note_progress, verify,
                               verify->info);
    if (err == LILIO_OK)
        err = look_again(verify, rows, count, alive);
    for (size_t r = 0; err == LILIO_OK && r < count; r++)
        if (alive[r])
            err = judge_row(verify, &scanned[r], &rows[r]);
    for (size_t r = 0; r < made; r++)
        client_check_row_release(&rows[r]);
    free(alive);
    free(rows);
    return err;
}

/* A page in chunks of a bounded number of fragments. */
static enum lilio_err verify_page(void *context, const struct proto_scan_page *page)
{
    struct verify *verify = context;
    enum lilio_err err = LILIO_OK;
    for (size_t first = 0; err == LILIO_OK && first < page->rows_count;) {
        size_t end = first, fragments = 0;
        while (end < page->rows_count && (end == first || fragments < CHUNK_FRAGMENTS))
            fragments += page->rows[end++].data.checksums.size / 4;
        err = verify_rows(verify, page->rows + first, end - first);
        first = end;
    }
    return err;
}

/* ---- the walk ---- */

/* Counts the objects of a bucket that have nothing on any OSD. */
static enum lilio_err count_bucket(struct verify *verify, const char *bucket)
{
    struct lilio_listing page = {0};
    for (bool more = true; more;) {
        struct lilio_listing next;
        enum lilio_err err = lilio_list(verify->client, bucket, "", "", page.token, page.token_size,
                                        0, &next, verify->info);
        lilio_listing_release(&page);
        if (err != LILIO_OK)
            return err == LILIO_E_NO_BUCKET ? LILIO_OK : err;
        page = next;
        for (size_t i = 0; i < page.count; i++) {
            verify->result.objects_inline += page.entries[i].is_inline;
            verify->result.objects_empty += page.entries[i].size == 0;
        }
        more = page.more && page.count > 0;
    }
    lilio_listing_release(&page);
    return LILIO_OK;
}

static enum lilio_err count_without_runs(struct verify *verify, const char *bucket)
{
    struct lilio_bucket *buckets;
    size_t count;
    enum lilio_err err;
    if (bucket) {
        err = count_bucket(verify, bucket);
    } else {
        err = lilio_bucket_list(verify->client, &buckets, &count, verify->info);
        if (err != LILIO_OK)
            return err;
        for (size_t i = 0; err == LILIO_OK && i < count; i++)
            err = count_bucket(verify, buckets[i].name);
        free(buckets);
    }
    verify->result.objects += verify->result.objects_inline + verify->result.objects_empty;
    return err;
}

/* Everything was read, and the maps know what of it is bad: they remember when that was, too. */
static void send_verified(struct verify *verify)
{
    const struct lilio_verify_result *result = &verify->result;
    struct proto_verified message = {.index = result->index,
                                     .fragments = result->fragments_good,
                                     .bytes = result->bytes,
                                     .damaged = result->objects_damaged,
                                     .lost = result->objects_lost,
                                     .stripes_ever = verify->stripes_ever};
    struct client_call call = {
        .type = &proto_type_verified, .value = &message, .reply_type = &proto_type_ok};
    /* Without it the status says that the last verification is older. */
    client_control_tell(&verify->lane->control, &call);
}

static enum lilio_err verify_scan(struct verify *verify, const char *bucket)
{
    struct client_scan scan;
    enum lilio_err err =
        client_scan_open(&scan, &verify->lane->control, verify->bucket_id, verify->info);
    if (err != LILIO_OK)
        return err;
    verify->result.index = scan.opened.index;
    verify->stripes_ever = scan.opened.stripes_ever;
    client_note_epoch(verify->client, scan.opened.epoch);
    err = client_map_get(verify->client, &verify->lane->control, scan.opened.epoch,
                         &verify->map_ref, verify->info);
    if (err == LILIO_OK)
        err = client_scan_walk(&scan, verify_page, verify, verify->info);
    if (err == LILIO_OK)
        client_reports_send(&verify->reports);
    if (err == LILIO_OK)
        err = count_without_runs(verify, bucket);
    bool all_read = verify->bucket_id == 0 && verify->result.fragments_unread == 0;
    if (err == LILIO_OK && all_read && !verify->reports.untold)
        send_verified(verify);
    client_scan_close(&scan);
    return err;
}

/* ---- one object by name ---- */

/* Content that the coordinators keep came with the answer. */
static enum lilio_err verify_inline(struct verify *verify, const struct client_object *object,
                                    char *bucket, char *key)
{
    const struct proto_version_row *row = &object->object.row;
    struct base_slice bytes = row->inline_bytes;
    struct lilio_verify_object told = {
        .lost = row->has_crc32c && codec_crc32c(0, bytes.data, bytes.size) != row->crc32c,
    };
    verify->result.index = row->version.index;
    verify->result.objects++;
    verify->result.objects_inline += bytes.size > 0;
    verify->result.objects_empty += bytes.size == 0;
    verify->result.objects_damaged += told.lost;
    verify->result.objects_lost += told.lost;
    verify->result.bytes += bytes.size;
    told.bucket = bucket;
    told.key = key;
    if (verify->each && (verify->all || told.lost))
        verify->each(verify->context, &told);
    return LILIO_OK;
}

/* True if the object is at that version still. When that cannot be learnt it counts as unchanged.
 */
static bool same_version(struct client_lane *lane, const char *bucket, const char *key,
                         struct proto_version version)
{
    struct client_object now;
    enum lilio_err err = client_object_lookup(&lane->control, bucket, key, &now, NULL);
    if (err != LILIO_OK)
        return err != LILIO_E_NO_KEY && err != LILIO_E_NO_BUCKET;
    bool same = now.object.row.version.index == version.index &&
                now.object.row.version.ordinal == version.ordinal;
    client_object_release(&now);
    return same;
}

static enum lilio_err judge_object(struct verify *verify, const struct client_object *object,
                                   const struct client_check_object *checked, char *bucket,
                                   char *key)
{
    struct lilio_verify_object told;
    struct client_check_sum sum = {0};
    enum lilio_err err = sum_rows(verify, checked->rows, checked->count, &told, &sum);
    if (err != LILIO_OK)
        return err;
    if (sum.good < sum.fragments &&
        !same_version(verify->lane, bucket, key, object->object.row.version)) {
        free(told.bad);
        return lilio_fail(verify->info, LILIO_E_VERSION_GONE,
                          "%s/%s was replaced or deleted while it was verified", bucket, key);
    }
    add_to_result(verify, &sum, 1);
    verify->result.index = object->object.row.version.index;
    for (size_t r = 0; r < checked->count; r++)
        client_reports_row(&verify->reports, &checked->rows[r]);
    client_reports_send(&verify->reports);
    tell_caller(verify, &told, bucket, key);
    free(told.bad);
    return LILIO_OK;
}

static enum lilio_err verify_object(struct verify *verify, const char *bucket, const char *key)
{
    struct client_object object;
    struct client_check_object checked = {0};
    enum lilio_err err =
        client_object_lookup(&verify->lane->control, bucket, key, &object, verify->info);
    if (err != LILIO_OK)
        return err;
    bool has_runs = object.object.row.extents_count > 0;
    if (has_runs)
        err = client_map_get(verify->client, &verify->lane->control, object.object.epoch,
                             &verify->map_ref, verify->info);
    if (err == LILIO_OK && has_runs)
        err = client_check_object_init(&checked, verify->lane, &object,
                                       proto_map_ref_get(verify->map_ref), verify->info);
    if (err == LILIO_OK && has_runs)
        err = client_check_run(verify->lane, &verify->map_ref, checked.rows, checked.count,
                               note_progress, verify, verify->info);
    char *names[2] = {client_text(base_slice_str(bucket)), client_text(base_slice_str(key))};
    if (err == LILIO_OK && (!names[0] || !names[1]))
        err = lilio_fail(verify->info, LILIO_E_NOMEM, "no memory for a name");
    if (err == LILIO_OK)
        err = has_runs ? judge_object(verify, &object, &checked, names[0], names[1])
                       : verify_inline(verify, &object, names[0], names[1]);
    free(names[0]);
    free(names[1]);
    client_check_object_release(&checked);
    client_object_release(&object);
    return err;
}

/* ---- the public face ---- */

static uint64_t with_parity(uint64_t bytes, const struct lilio_profile *profile)
{
    return bytes / profile->data_count * (profile->data_count + profile->parity_count);
}

/* Fragment bytes to come, for progress; an estimate, since objects come and go. Fails only where
 * nothing else will succeed either. */
static enum lilio_err estimate_bytes(struct verify *verify, const char *bucket, const char *key)
{
    struct lilio_bucket *buckets = NULL;
    struct lilio_object object;
    struct lilio_errinfo why = {0};
    size_t count = 0;
    uint64_t bytes = 0;
    enum lilio_err err = key ? lilio_stat(verify->client, bucket, key, &object, &why)
                             : lilio_bucket_list(verify->client, &buckets, &count, &why);
    if (err != LILIO_OK)
        return lilio_err_class(err) == LILIO_CLASS_RETRY
                   ? lilio_fail(verify->info, err, "%s", why.text)
                   : LILIO_OK;
    for (size_t i = 0; i < count; i++)
        if (!bucket || strcmp(bucket, buckets[i].name) == 0)
            bytes += with_parity(buckets[i].object_bytes, &buckets[i].profile);
    if (key) {
        bytes = with_parity(object.size, &object.profile);
        lilio_object_release(&object);
    }
    free(buckets);
    verify->total_bytes = bytes;
    return LILIO_OK;
}

enum lilio_err lilio_verify(struct lilio_client *client, const char *bucket, const char *key,
                            bool all,
                            void (*each)(void *context, const struct lilio_verify_object *object),
                            void *context, const struct lilio_progress *progress,
                            struct lilio_verify_result *ret_result, struct lilio_errinfo *info)
{
    struct verify *verify = calloc(1, sizeof *verify);
    if (!verify)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a verification");
    verify->client = client;
    verify->all = all;
    verify->each = each;
    verify->context = context;
    verify->progress = progress;
    verify->info = info;
    verify->total_bytes = UINT64_MAX;
    struct client_bucket found = {0};
    enum lilio_err err = progress ? estimate_bytes(verify, bucket, key) : LILIO_OK;
    if (err == LILIO_OK)
        err = client_lane_take(client, &verify->lane, info);
    if (err == LILIO_OK)
        verify->reports.control = &verify->lane->control;
    if (err == LILIO_OK && bucket)
        err = client_bucket_find(client, &verify->lane->control, bucket, /* cached */ false, &found,
                                 info);
    verify->bucket_id = found.id;
    if (err == LILIO_OK)
        err = key ? verify_object(verify, bucket, key) : verify_scan(verify, bucket);
    if (err == LILIO_OK && ret_result)
        *ret_result = verify->result;
    proto_map_ref_drop(&verify->map_ref);
    client_lane_give(&verify->lane);
    free(verify);
    return err;
}
