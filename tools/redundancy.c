#include "tools/redundancy.h"

#include <stdio.h>
#include <string.h>

#include "base/env.h"

#include "base/banned.h"

enum { WITHIN_TEXT = 96 };

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
    bool proven = redundancy->verify_index > 0 || tools_redundancy_scrubbed(redundancy);
    return proven && !redundancy->unverified ? "verified" : "unverified";
}

uint64_t tools_redundancy_short(const struct lilio_redundancy *redundancy)
{
    return redundancy->hurt + redundancy->unreadable + redundancy->lost;
}

/* ---- when everything was read ---- */

bool tools_redundancy_scrubbed(const struct lilio_redundancy *redundancy)
{
    const struct lilio_scrubbed *scrubbed = &redundancy->scrubbed;
    return scrubbed->osds > 0 && scrubbed->not_read == 0 && scrubbed->not_told == 0;
}

static uint64_t verify_age_ms(const struct lilio_redundancy *redundancy, uint64_t now_wall_ms)
{
    return now_wall_ms > redundancy->verify_wall_ms ? now_wall_ms - redundancy->verify_wall_ms : 0;
}

enum tools_proof tools_redundancy_proof(const struct lilio_redundancy *redundancy,
                                        uint64_t now_wall_ms)
{
    const struct lilio_scrubbed *scrubbed = &redundancy->scrubbed;
    if (!tools_redundancy_scrubbed(redundancy))
        return redundancy->verify_index ? TOOLS_PROOF_VERIFY : TOOLS_PROOF_NONE;
    uint64_t verify = redundancy->since_verify + scrubbed->stripes_bad; /* it computes no parity */
    verify = verify < redundancy->stripes ? verify : redundancy->stripes;
    if (!redundancy->verify_index || scrubbed->unverified < verify)
        return TOOLS_PROOF_SCRUBS;
    bool older = scrubbed->unverified > verify ||
                 scrubbed->oldest_ms > verify_age_ms(redundancy, now_wall_ms);
    return older ? TOOLS_PROOF_VERIFY : TOOLS_PROOF_SCRUBS;
}

static uint64_t now_wall_ms(void)
{
    const struct base_clock *clock = base_clock_system();
    return clock->wall_ms(clock->context);
}

/* "within 3 d by deep scrubs (oldest: osd.4)" */
static const char *within_text(const struct lilio_redundancy *redundancy, char ret[WITHIN_TEXT])
{
    char time[TOOLS_TEXT];
    (void)snprintf(ret, WITHIN_TEXT, "within %s by deep scrubs (oldest: osd.%u)",
                   tools_text_duration(redundancy->scrubbed.oldest_ms, time),
                   redundancy->scrubbed.oldest_osd); /* fits */
    return ret;
}

void tools_redundancy_scrubbed_print(struct tools_out *out,
                                     const struct lilio_redundancy *redundancy)
{
    const struct lilio_scrubbed *scrubbed = &redundancy->scrubbed;
    char text[WITHIN_TEXT];
    if (tools_redundancy_scrubbed(redundancy)) {
        tools_out_line(out, "              every fragment there was at index %llu was read %s",
                       (unsigned long long)scrubbed->index, within_text(redundancy, text));
        return;
    }
    (void)snprintf(text, sizeof text, ", %u of %u not heard yet", scrubbed->not_told,
                   scrubbed->osds); /* fits */
    if (scrubbed->not_read)
        tools_out_line(out,
                       "              not by deep scrubs: %u of %u OSDs not read through yet%s; "
                       "`lilio-ec scrub start --deep' reads them now",
                       scrubbed->not_read, scrubbed->osds, scrubbed->not_told ? text : "");
    else if (scrubbed->not_told)
        tools_out_line(out, "              by deep scrubs: not known%s", text);
}

/* The last complete deep scrub of an OSD met something that was not good. */
static bool scrubs_met_bad(const struct lilio_status *status)
{
    for (size_t i = 0; i < status->osd_count; i++) {
        const struct lilio_scrub *deep = &status->osds[i].scrubs[LILIO_SCRUB_DEEP - 1];
        if (deep->last_bad + deep->last_unread > 0)
            return true;
    }
    return false;
}

static void verified_print(struct tools_out *out, const struct lilio_redundancy *redundancy,
                           const struct lilio_status *status, enum tools_proof proof)
{
    char time[TOOLS_TEXT], age[TOOLS_TEXT], within[WITHIN_TEXT];
    static const char mended[] = "; what was not good was mended or deleted since then";
    if (proof == TOOLS_PROOF_SCRUBS)
        tools_out_line(out, "every fragment there was at index %llu was read %s%s",
                       (unsigned long long)redundancy->scrubbed.index,
                       within_text(redundancy, within), scrubs_met_bad(status) ? mended : "");
    else
        tools_out_line(out,
                       "every fragment there was at index %llu was verified at %s, %s ago by "
                       "`lilio-ec verify'%s",
                       (unsigned long long)redundancy->verify_index,
                       tools_text_time(redundancy->verify_wall_ms, time),
                       tools_text_duration(verify_age_ms(redundancy, now_wall_ms()), age),
                       status->verify_damaged ? mended : "; not verified since then");
}

void tools_redundancy_proof_print(struct tools_out *out, const struct lilio_redundancy *redundancy,
                                  const struct lilio_status *status)
{
    enum tools_proof proof = tools_redundancy_proof(redundancy, now_wall_ms());
    if (proof == TOOLS_PROOF_NONE)
        tools_out_line(out, "nothing is known to be missing; never verified, so no more can be "
                            "said: `lilio-ec verify' reads everything");
    else if (!redundancy->unverified)
        verified_print(out, redundancy, status, proof);
    else if (proof == TOOLS_PROOF_SCRUBS)
        tools_out_line(out,
                       "nothing is known to be missing; at most %llu stripes were not verified, "
                       "stored since index %llu or with parity that does not fit or could not be "
                       "checked: `lilio-ec verify' reads everything",
                       (unsigned long long)redundancy->unverified,
                       (unsigned long long)redundancy->scrubbed.index);
    else if (redundancy->unverified > redundancy->since_verify)
        tools_out_line(out,
                       "nothing is known to be missing; at most %llu stripes were not verified, "
                       "stored since index %llu or with parity that deep scrubs found not to fit: "
                       "`lilio-ec scrub status' names them",
                       (unsigned long long)redundancy->unverified,
                       (unsigned long long)redundancy->verify_index);
    else
        tools_out_line(out,
                       "nothing is known to be missing; what was stored since index %llu was not "
                       "verified: `lilio-ec verify' reads everything",
                       (unsigned long long)redundancy->verify_index);
}

/* ---- for people ---- */

/* Stripes of the buckets that are coded alike. */
struct coding {
    uint32_t data_count, total_count;
    uint64_t levels[LILIO_LEVELS], lost;
};
enum { CODINGS_MAX = 64, PROOF_TEXT = 256 };

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

/* "12 not verified yet, the others at 2026-11-22 ..." */
static void proof_text(const struct lilio_redundancy *redundancy, char ret[PROOF_TEXT])
{
    enum tools_proof proof = tools_redundancy_proof(redundancy, now_wall_ms());
    char time[TOOLS_TEXT], within[WITHIN_TEXT], when[PROOF_TEXT / 2];
    if (proof == TOOLS_PROOF_SCRUBS)
        (void)snprintf(when, sizeof when, "read %s", within_text(redundancy, within));
    else
        (void)snprintf(when, sizeof when, "at %s",
                       tools_text_time(redundancy->verify_wall_ms, time));
    if (proof == TOOLS_PROOF_NONE)
        (void)snprintf(ret, PROOF_TEXT, "never verified");
    else if (redundancy->unverified >= redundancy->stripes && redundancy->stripes > 0)
        (void)snprintf(ret, PROOF_TEXT, "at most %llu not verified yet",
                       (unsigned long long)redundancy->stripes);
    else if (redundancy->unverified)
        (void)snprintf(ret, PROOF_TEXT, "%llu not verified yet, the others %s",
                       (unsigned long long)redundancy->unverified, when);
    else
        (void)snprintf(ret, PROOF_TEXT, "all %s%s", proof == TOOLS_PROOF_SCRUBS ? "" : "verified ",
                       when);
}

void tools_redundancy_print(struct tools_out *out, const struct lilio_redundancy *redundancy)
{
    struct coding codings[CODINGS_MAX];
    size_t count = codings_gather(redundancy, codings);
    char text[512], proof[PROOF_TEXT];
    proof_text(redundancy, proof);
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

static const char *const proof_names[] = {
    [TOOLS_PROOF_NONE] = NULL,
    [TOOLS_PROOF_VERIFY] = "verify",
    [TOOLS_PROOF_SCRUBS] = "scrubs",
};

static void scrubbed_json(cJSON *parent, const struct lilio_redundancy *redundancy)
{
    const struct lilio_scrubbed *scrubbed = &redundancy->scrubbed;
    cJSON *json = tools_json_object(parent, "scrubbed");
    tools_json_u64(json, "osds", scrubbed->osds);
    tools_json_u64(json, "osds_not_read", scrubbed->not_read);
    tools_json_u64(json, "osds_not_heard", scrubbed->not_told);
    if (!tools_redundancy_scrubbed(redundancy))
        return;
    tools_json_u64(json, "index", scrubbed->index);
    tools_json_u64(json, "unverified", scrubbed->unverified);
    tools_json_u64(json, "stripes_bad", scrubbed->stripes_bad);
    tools_json_u64(json, "oldest_ms", scrubbed->oldest_ms);
    tools_json_u64(json, "oldest_osd", scrubbed->oldest_osd);
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
    tools_json_text(json, "verified_by",
                    proof_names[tools_redundancy_proof(redundancy, now_wall_ms())]);
    tools_json_time(json, "verified", redundancy->verify_wall_ms);
    scrubbed_json(json, redundancy);
    cJSON *lines = tools_json_list(json, "buckets");
    for (size_t i = 0; i < redundancy->line_count; i++)
        line_json(lines, &redundancy->lines[i]);
    cJSON *osds = tools_json_list(json, "osds");
    for (size_t i = 0; i < redundancy->osd_count; i++)
        osd_json(osds, &redundancy->osds[i]);
}
