#include "tools/redundancy.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

uint64_t tools_redundancy_drain_left(const struct lilio_redundancy *redundancy, uint32_t osd)
{
    for (size_t i = 0; i < redundancy->osd_count; i++)
        if (redundancy->osds[i].id == osd)
            return redundancy->osds[i].drain_left;
    return 0;
}

bool tools_redundancy_drained(const struct lilio_redundancy *redundancy,
                              const struct lilio_osd *osd)
{
    return osd->drained && redundancy && tools_redundancy_drain_left(redundancy, osd->id) == 0;
}

const char *tools_redundancy_verdict(const struct lilio_redundancy *redundancy,
                                     const struct lilio_status *status)
{
    bool degraded = false;
    for (size_t i = 0; i < status->osd_count; i++)
        degraded = degraded || (!tools_redundancy_drained(redundancy, &status->osds[i]) &&
                                (strcmp(status->osds[i].state, "up") != 0 ||
                                 !status->osds[i].complete || status->osds[i].filling > 0));
    if (!redundancy)
        return "unknown";
    if (redundancy->lost)
        return "lost";
    if (redundancy->unreadable)
        return "unreadable";
    if (degraded || redundancy->hurt)
        return "degraded";
    return redundancy->verify_index && !redundancy->unverified ? "verified" : "unverified";
}

uint64_t tools_redundancy_short(const struct lilio_redundancy *redundancy)
{
    return redundancy->hurt + redundancy->unreadable + redundancy->lost;
}

/* ---- for people ---- */

/* Stripes of the buckets that are coded alike. */
struct coding {
    uint32_t data_count, total_count;
    uint64_t levels[LILIO_LEVELS], lost;
};
enum { CODINGS_MAX = 64 };

static size_t codings_gather(const struct lilio_redundancy *redundancy,
                             struct coding ret[CODINGS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < redundancy->line_count; i++) {
        const struct lilio_redundancy_line *line = &redundancy->lines[i];
        size_t at = 0;
        while (at < count &&
               (ret[at].data_count != line->data_count || ret[at].total_count != line->total_count))
            at++;
        if (at == CODINGS_MAX)
            continue; /* a cluster has at most 64 placements; --json has them all */
        if (at == count)
            ret[count++] = (struct coding){line->data_count, line->total_count, {0}, 0};
        for (size_t level = 0; level < LILIO_LEVELS; level++)
            ret[at].levels[level] += line->levels[level];
        ret[at].lost += line->lost;
    }
    return count;
}

/* "40 with 6/6, 2 with 5/6, 1 with fewer than 4/6, 0 lost" */
static void coding_text(const struct coding *coding, char ret[512])
{
    size_t used = 0;
    uint64_t below = coding->levels[LILIO_LEVEL_BELOW] - coding->lost;
    ret[0] = 0;
    for (size_t level = LILIO_LEVEL_BELOW; level-- > 0;) {
        uint64_t good = coding->data_count + level;
        if (used < 512 && (coding->levels[level] || good == coding->total_count))
            used += (size_t)snprintf(ret + used, 512 - used, "%llu with %llu/%u, ",
                                     (unsigned long long)coding->levels[level],
                                     (unsigned long long)good, coding->total_count);
    }
    if (below && used < 512)
        used +=
            (size_t)snprintf(ret + used, 512 - used, "%llu unreadable with fewer than %u/%u, ",
                             (unsigned long long)below, coding->data_count, coding->total_count);
    if (used < 512)
        (void)snprintf(ret + used, 512 - used, "%llu lost", (unsigned long long)coding->lost);
}

void tools_redundancy_print(struct tools_out *out, const struct lilio_redundancy *redundancy)
{
    struct coding codings[CODINGS_MAX];
    size_t count = codings_gather(redundancy, codings);
    char text[512], time[TOOLS_TEXT], proof[128];
    if (!redundancy->verify_index)
        (void)snprintf(proof, sizeof proof, "never verified");
    else if (redundancy->unverified >= redundancy->stripes && redundancy->stripes > 0)
        (void)snprintf(proof, sizeof proof, "at most %llu not verified yet",
                       (unsigned long long)redundancy->stripes);
    else if (redundancy->unverified)
        (void)snprintf(proof, sizeof proof, "%llu not verified yet, the others at %s",
                       (unsigned long long)redundancy->unverified,
                       tools_text_time(redundancy->verify_wall_ms, time));
    else
        (void)snprintf(proof, sizeof proof, "all verified at %s",
                       tools_text_time(redundancy->verify_wall_ms, time));
    if (count == 0)
        tools_out_line(out, "stripes       none");
    for (size_t i = 0; i < count; i++) {
        coding_text(&codings[i], text);
        tools_out_line(out, "%-13s %s%s%s", i == 0 ? "stripes" : "", text,
                       i + 1 == count ? "; " : "", i + 1 == count ? proof : "");
    }
}

/* ---- JSON ---- */

/* [{"good": 6, "stripes": 40}, ...] of a line; what is below data_count is apart. */
static void line_json(cJSON *list, const struct lilio_redundancy_line *line)
{
    cJSON *element = tools_json_new();
    tools_json_text(element, "bucket", line->bucket[0] ? line->bucket : NULL);
    tools_json_u64(element, "bucket_id", line->bucket_id);
    tools_json_u64(element, "data_count", line->data_count);
    tools_json_u64(element, "total_count", line->total_count);
    cJSON *levels = tools_json_list(element, "levels");
    for (size_t level = LILIO_LEVEL_BELOW; level-- > 0;) {
        if (!line->levels[level])
            continue;
        cJSON *at = tools_json_new();
        tools_json_u64(at, "good", line->data_count + level);
        tools_json_u64(at, "stripes", line->levels[level]);
        tools_json_add(levels, at);
    }
    tools_json_u64(element, "unreadable", line->levels[LILIO_LEVEL_BELOW] - line->lost);
    tools_json_u64(element, "lost", line->lost);
    tools_json_add(list, element);
}

/* By how many more fragments the stripe may lose: an OSD's stripes are coded in many ways. */
static void osd_json(cJSON *list, const struct lilio_redundancy_osd *osd)
{
    cJSON *element = tools_json_new();
    uint64_t stripes = 0;
    tools_json_u64(element, "id", osd->id);
    cJSON *levels = tools_json_list(element, "levels");
    for (size_t level = LILIO_LEVELS; level-- > 0;) {
        stripes += osd->levels[level];
        if (!osd->levels[level] || level == LILIO_LEVEL_BELOW)
            continue;
        cJSON *at = tools_json_new();
        tools_json_u64(at, "survives", level);
        tools_json_u64(at, "stripes", osd->levels[level]);
        tools_json_add(levels, at);
    }
    tools_json_u64(element, "below", osd->levels[LILIO_LEVEL_BELOW]);
    tools_json_u64(element, "stripes", stripes);
    tools_json_u64(element, "filling", osd->filling);
    tools_json_u64(element, "drain_left", osd->drain_left);
    tools_json_add(list, element);
}

void tools_redundancy_json(cJSON *object, const struct lilio_redundancy *redundancy)
{
    cJSON *json = tools_json_object(object, "redundancy");
    tools_json_u64(json, "index", redundancy->index);
    tools_json_u64(json, "stripes", redundancy->stripes);
    tools_json_u64(json, "whole", redundancy->whole);
    tools_json_u64(json, "hurt", redundancy->hurt);
    tools_json_u64(json, "unreadable", redundancy->unreadable);
    tools_json_u64(json, "lost", redundancy->lost);
    tools_json_u64(json, "unverified", redundancy->unverified);
    tools_json_u64(json, "stranded", redundancy->stranded);
    tools_json_time(json, "verified", redundancy->verify_wall_ms);
    cJSON *lines = tools_json_list(json, "buckets");
    for (size_t i = 0; i < redundancy->line_count; i++)
        line_json(lines, &redundancy->lines[i]);
    cJSON *osds = tools_json_list(json, "osds");
    for (size_t i = 0; i < redundancy->osd_count; i++)
        osd_json(osds, &redundancy->osds[i]);
}
