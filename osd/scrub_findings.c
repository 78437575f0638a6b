#include "osd/scrub_findings.h"

#include "base/banned.h"

void osd_scrub_findings_begin(struct osd_scrub_findings *findings, uint8_t scrub)
{
    size_t kept = 0;
    for (size_t i = 0; i < findings->count; i++) {
        struct osd_scrub_finding *finding = &findings->list[i];
        if (finding->at.scrub == scrub && finding->at.kind != OSD_SCRUB_FOUND_PARITY)
            continue;
        finding->old |= finding->at.scrub == scrub;
        findings->list[kept++] = *finding;
    }
    findings->count = kept;
    findings->more[scrub - 1] = 0;
}

static int oid_compare(struct base_oid a, struct base_oid b)
{
    if (a.high != b.high)
        return a.high < b.high ? -1 : 1;
    return a.low < b.low ? -1 : a.low > b.low;
}

void osd_scrub_findings_passed(struct osd_scrub_findings *findings, uint8_t scrub,
                               struct base_oid oid)
{
    size_t kept = 0;
    for (size_t i = 0; i < findings->count; i++) {
        const struct osd_scrub_finding *finding = &findings->list[i];
        if (!finding->old || finding->at.scrub != scrub || oid_compare(finding->at.oid, oid) > 0)
            findings->list[kept++] = *finding;
    }
    findings->count = kept;
}

static bool is_same(const struct proto_scrub_finding *a, const struct proto_scrub_finding *b)
{
    return base_oid_equal(a->oid, b->oid) && a->stripe == b->stripe && a->index == b->index &&
           a->kind == b->kind && a->scrub == b->scrub;
}

bool osd_scrub_findings_keep(struct osd_scrub_findings *findings,
                             const struct proto_scrub_finding *at, const struct proto_scan_row *row)
{
    for (size_t i = 0; i < findings->count; i++)
        if (is_same(&findings->list[i].at, at)) {
            findings->list[i].old = false;
            return false;
        }
    if (findings->count == OSD_SCRUB_FINDINGS) {
        findings->more[at->scrub - 1]++;
        return true;
    }
    struct osd_scrub_finding *made = &findings->list[findings->count++];
    *made = (struct osd_scrub_finding){.at = *at};
    if (row->names_count == 0)
        return true;
    const struct proto_name *name = &row->names[0];
    made->bucket_size = name->bucket.size;
    made->key_size = name->key.size;
    memcpy(made->bucket, name->bucket.data, name->bucket.size); /* the schema bounds both */
    memcpy(made->key, name->key.data, name->key.size);
    return true;
}

static bool copy(const struct osd_scrub_finding *finding, struct proto_arena *arena,
                 struct proto_scrub_finding *ret)
{
    *ret = finding->at;
    if (finding->bucket_size == 0)
        return true;
    ret->names = proto_arena_take(arena, sizeof *ret->names);
    uint8_t *bytes = proto_arena_take(arena, finding->bucket_size + finding->key_size);
    if (!ret->names || !bytes)
        return false;
    memcpy(bytes, finding->bucket, finding->bucket_size);
    memcpy(bytes + finding->bucket_size, finding->key, finding->key_size);
    ret->names[0] = (struct proto_name){
        .bucket = base_slice(bytes, finding->bucket_size),
        .key = base_slice(bytes + finding->bucket_size, finding->key_size),
    };
    ret->names_count = 1;
    return true;
}

enum lilio_err osd_scrub_findings_list(const struct osd_scrub_findings *findings,
                                       struct proto_arena *arena, struct proto_scrub *ret)
{
    ret->findings = proto_arena_take(arena, (findings->count + 1) * sizeof *ret->findings);
    ret->findings_more = findings->more[0] + findings->more[1];
    for (size_t i = 0; ret->findings && i < findings->count; i++)
        if (!copy(&findings->list[i], arena, &ret->findings[ret->findings_count++]))
            return LILIO_E_NOMEM;
    return ret->findings ? LILIO_OK : LILIO_E_NOMEM;
}
