#include "client/scan.h"

#include "base/mark.h"

#include "base/banned.h"

static enum lilio_err pin(struct client_scan *scan, struct proto_scan *ret,
                          struct lilio_errinfo *info)
{
    struct proto_scan_open request = {.bucket_id = scan->bucket_id};
    struct client_call call = {
        .type = &proto_type_scan_open, .value = &request, .reply_type = &proto_type_scan};
    struct client_answer answer = {0};
    enum lilio_err err = client_control_call(scan->control, &call, ret, &answer, info);
    client_answer_release(&answer);
    if (err == LILIO_OK)
        scan->id = ret->id;
    return err;
}

enum lilio_err client_scan_open(struct client_scan *scan, struct client_control *control,
                                uint64_t bucket_id, struct lilio_errinfo *info)
{
    *scan = (struct client_scan){.control = control, .bucket_id = bucket_id};
    return pin(scan, &scan->opened, info);
}

static bool is_behind(struct base_oid a, struct base_oid b)
{
    return a.high != b.high ? a.high > b.high : a.low > b.low;
}

enum lilio_err client_scan_page(struct client_scan *scan, struct base_oid after,
                                struct proto_scan_page *ret_page, struct client_answer *answer,
                                struct lilio_errinfo *info)
{
    for (int round = 0;;) {
        struct proto_scan_next request = {.id = scan->id, .after = after};
        struct client_call call = {
            .type = &proto_type_scan_next, .value = &request, .reply_type = &proto_type_scan_page};
        struct proto_scan again;
        enum lilio_err err = client_control_call(scan->control, &call, ret_page, answer, info);
        if (err == LILIO_OK && ret_page->more && ret_page->rows_count == 0) {
            if (!is_behind(ret_page->next, after))
                return lilio_fail(info, LILIO_E_MALFORMED, "a walk over the maps does not go on");
            after = ret_page->next; /* so many runs in a row are other buckets' */
            client_answer_release(answer);
            continue;
        }
        if (err != LILIO_E_NOT_FOUND || round++ == CLIENT_SCANS_MAX)
            return err;
        LILIO_MARK("client/scan_opened_again");
        err = pin(scan, &again, info);
        if (err != LILIO_OK)
            return err;
    }
}

enum lilio_err client_scan_walk(struct client_scan *scan,
                                enum lilio_err (*each)(void *context,
                                                       const struct proto_scan_page *page),
                                void *context, struct lilio_errinfo *info)
{
    struct base_oid after = {0};
    enum lilio_err err = LILIO_OK;
    for (bool more = true; more && err == LILIO_OK;) {
        struct proto_scan_page page;
        struct client_answer answer = {0};
        err = client_scan_page(scan, after, &page, &answer, info);
        if (err == LILIO_OK)
            err = each(context, &page);
        more = err == LILIO_OK && page.more;
        if (more)
            after = page.rows[page.rows_count - 1].data.oid;
        client_answer_release(&answer);
    }
    return err;
}

void client_scan_close(struct client_scan *scan)
{
    struct proto_scan_close request = {.id = scan->id};
    struct client_call call = {.type = &proto_type_scan_close,
                               .value = &request,
                               .reply_type = &proto_type_ok,
                               .timeout_ms = CLIENT_CLOSE_MS,
                               .ignore_cancel = true};
    if (scan->id)
        client_control_tell(scan->control, &call);
    scan->id = 0;
}
