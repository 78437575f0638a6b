#include "client/reports.h"

#include "client/control.h"

#include "base/banned.h"

enum { REPORT_GOOD = 0, REPORT_MISSING = 1, REPORT_CORRUPT = 3 };

void client_reports_send(struct client_reports *reports)
{
    if (reports->count == 0)
        return;
    struct proto_report message = {.items = reports->items, .items_count = reports->count};
    struct client_call call = {
        .type = &proto_type_report, .value = &message, .reply_type = &proto_type_ok};
    reports->untold |= !client_control_tell(reports->control, &call);
    reports->count = 0;
}

void client_reports_row(struct client_reports *reports, const struct client_check_row *row)
{
    for (uint32_t s = 0; s < row->stripe_count; s++) {
        const struct client_check_stripe *stripe = &row->stripes[s];
        for (uint32_t i = 0; i < row->total_count; i++) {
            bool known = stripe->known >> i & 1, good = stripe->good >> i & 1;
            bool corrupt = stripe->corrupt >> i & 1;
            bool missing = stripe->errs[i] == LILIO_E_MISSING;
            bool filling = stripe->filling >> i & 1;
            if (filling ? !corrupt : known ? !good : !missing && !corrupt)
                continue;
            if (reports->count == CLIENT_REPORTS_MAX)
                client_reports_send(reports);
            reports->items[reports->count++] = (struct proto_fragment_report){
                .oid = row->row.oid,
                .stripe = s,
                .index = (uint8_t)i,
                .kind = good      ? REPORT_GOOD
                        : corrupt ? REPORT_CORRUPT
                                  : REPORT_MISSING,
                .osd = stripe->osds[i],
            };
        }
    }
}
