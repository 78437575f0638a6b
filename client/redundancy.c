/* The histogram of redundancy, page by page. */
#include "client/client_priv.h"

#include <stdlib.h>

#include "client/control.h"
#include "client/lane.h"

#include "base/banned.h"

void lilio_redundancy_release(struct lilio_redundancy *redundancy)
{
    free(redundancy->lines);
    free(redundancy->osds);
    *redundancy = (struct lilio_redundancy){0};
}

static void levels_add(uint64_t into[LILIO_LEVELS], const uint64_t *levels, size_t count)
{
    for (size_t i = 0; i < count && i < LILIO_LEVELS; i++)
        into[i] += levels[i];
}

/* The line of stripes like these; a bucket's lines follow each other. */
static struct lilio_redundancy_line *line_of(struct lilio_redundancy *redundancy,
                                             const struct proto_redundancy_line *line)
{
    struct lilio_redundancy_line *lines = redundancy->lines;
    for (size_t i = redundancy->line_count; i > 0 && lines[i - 1].bucket_id == line->bucket_id; i--)
        if (lines[i - 1].data_count == line->data_count &&
            lines[i - 1].total_count == line->total_count)
            return &lines[i - 1];
    lines = reallocarray(lines, redundancy->line_count + 1, sizeof *lines);
    if (!lines)
        return NULL;
    redundancy->lines = lines;
    struct lilio_redundancy_line *made = &lines[redundancy->line_count++];
    *made = (struct lilio_redundancy_line){
        .bucket_id = line->bucket_id,
        .data_count = line->data_count,
        .total_count = line->total_count,
    };
    client_text_put(made->bucket, sizeof made->bucket, line->bucket);
    return made;
}

/* All pages name the same OSDs; one that joined between two pages is in the later ones. */
static bool osds_add(struct lilio_redundancy *redundancy, const struct proto_redundancy *page)
{
    for (size_t p = 0; p < page->osds_count; p++) {
        const struct proto_redundancy_osd *osd = &page->osds[p];
        size_t i = 0;
        while (i < redundancy->osd_count && redundancy->osds[i].id != osd->osd)
            i++;
        if (i == redundancy->osd_count) {
            struct lilio_redundancy_osd *osds =
                reallocarray(redundancy->osds, redundancy->osd_count + 1, sizeof *osds);
            if (!osds)
                return false;
            redundancy->osds = osds;
            osds[redundancy->osd_count++] = (struct lilio_redundancy_osd){.id = osd->osd};
        }
        levels_add(redundancy->osds[i].levels, osd->levels, osd->levels_count);
        redundancy->osds[i].filling += osd->filling;
        redundancy->osds[i].drain_left += osd->drain_left;
    }
    return true;
}

static struct lilio_scrubbed public_scrubbed(const struct proto_scrubbed *scrubbed)
{
    return (struct lilio_scrubbed){
        .osds = scrubbed->osds,
        .not_read = scrubbed->not_read,
        .not_told = scrubbed->not_told,
        .index = scrubbed->index,
        .unverified = scrubbed->unverified,
        .stripes_bad = scrubbed->stripes_bad,
        .oldest_ms = scrubbed->oldest_ms,
        .oldest_osd = scrubbed->oldest_osd,
    };
}

static bool page_add(struct lilio_redundancy *redundancy, const struct proto_redundancy *page)
{
    redundancy->index = page->index;
    redundancy->unverified = page->unverified;
    redundancy->since_verify = page->since_verify;
    redundancy->scrubbed = public_scrubbed(&page->scrubbed);
    redundancy->stranded += page->stranded;
    redundancy->verify_index = page->last_verify.index;
    redundancy->verify_wall_ms = page->last_verify.wall_ms;
    for (size_t i = 0; i < page->lines_count; i++) {
        struct lilio_redundancy_line *line = line_of(redundancy, &page->lines[i]);
        if (!line)
            return false;
        levels_add(line->levels, page->lines[i].levels, page->lines[i].levels_count);
        line->lost += page->lines[i].lost;
    }
    return osds_add(redundancy, page);
}

static void sum_up(struct lilio_redundancy *redundancy)
{
    for (size_t i = 0; i < redundancy->line_count; i++) {
        const struct lilio_redundancy_line *line = &redundancy->lines[i];
        uint64_t below = line->levels[LILIO_LEVEL_BELOW];
        uint64_t lost = line->lost < below ? line->lost : below;
        for (size_t level = 0; level < LILIO_LEVEL_BELOW; level++)
            *(line->data_count + level >= line->total_count ? &redundancy->whole
                                                            : &redundancy->hurt) +=
                line->levels[level];
        redundancy->unreadable += below - lost;
        redundancy->lost += lost;
    }
    redundancy->stripes =
        redundancy->whole + redundancy->hurt + redundancy->unreadable + redundancy->lost;
}

enum lilio_err lilio_redundancy_get(struct lilio_client *client,
                                    struct lilio_redundancy *ret_redundancy,
                                    struct lilio_errinfo *info)
{
    struct client_lane *lane;
    struct lilio_redundancy made = {0};
    uint8_t after[64];
    struct proto_redundancy_get request = {0};
    enum lilio_err err = client_lane_take(client, &lane, info);
    if (err != LILIO_OK)
        return err;
    for (bool more = true; more && err == LILIO_OK;) {
        struct client_call call = {.type = &proto_type_redundancy_get,
                                   .value = &request,
                                   .reply_type = &proto_type_redundancy};
        struct proto_redundancy page;
        struct client_answer answer = {0};
        err = client_control_call(&lane->control, &call, &page, &answer, info);
        if (err == LILIO_OK && !page_add(&made, &page))
            err = lilio_fail(info, LILIO_E_NOMEM, "no memory for the histogram");
        more = err == LILIO_OK && page.more && page.next.size > 0;
        if (more) {
            memcpy(after, page.next.data, page.next.size); /* at most 64, says the schema */
            request.after = base_slice(after, page.next.size);
        }
        client_answer_release(&answer);
    }
    client_lane_give(&lane);
    if (err != LILIO_OK) {
        lilio_redundancy_release(&made);
        return err;
    }
    sum_up(&made);
    *ret_redundancy = made;
    return LILIO_OK;
}
