#include "tools/certificate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/digest.h"
#include "tools/file_io.h"

#include "base/banned.h"

enum { FORMAT = 1, BYTES_MAX = 256 << 20, PARTITION_BITS_MAX = 20, WIDTH_MAX = 64 };

static const char rebuild_kind[] = "osd rebuild", drain_kind[] = "osd drain";

bool tools_certificate_proven(const struct lilio_rebuild *rebuild)
{
    return rebuild->phase == LILIO_REBUILD_PROVEN && rebuild->failed == 0 &&
           rebuild->failure_count == 0 &&
           rebuild->expected == rebuild->present + rebuild->rebuilt + rebuild->gone &&
           rebuild->expected == rebuild->verified + rebuild->gone;
}

static const char *proof(const struct lilio_rebuild *rebuild)
{
    return rebuild->gone ? "expected = present + rebuilt + gone, present + rebuilt = verified"
                         : "expected = present + rebuilt = verified";
}

/* What came of it, when it is not proven. */
static const char *outcome(const struct lilio_rebuild *rebuild)
{
    switch (rebuild->phase) {
    case LILIO_REBUILD_STOPPED: return "stopped before it was done; run it again to go on";
    case LILIO_REBUILD_ERROR: return "it could not go on; run it again to go on from there";
    case LILIO_REBUILD_FAILURES:
    case LILIO_REBUILD_PROVEN: return "some fragments could not be brought back";
    case LILIO_REBUILD_NONE:
    case LILIO_REBUILD_COUNTING:
    case LILIO_REBUILD_RUNNING:
    case LILIO_REBUILD_VERIFYING: break;
    }
    return "not done yet";
}

void tools_certificate_print(struct tools_out *out, const struct lilio_rebuild *rebuild)
{
    char bytes[TOOLS_TEXT], time[TOOLS_TEXT], took[TOOLS_TEXT];
    tools_out_line(out, "Certificate of the rebuild of osd.%u", rebuild->osd);
    tools_out_line(out, "cluster   %s, object map at index %llu", rebuild->cluster_id,
                   (unsigned long long)rebuild->index);
    tools_out_line(out, "disk      %s, incarnation %u", rebuild->disk_uuid, rebuild->incarnation);
    tools_out_line(out, "started   %s, took %s", tools_text_time(rebuild->started_ms, time),
                   tools_text_duration(rebuild->elapsed_ms, took));
    tools_out_line(out, "expected  %llu fragments, %s", (unsigned long long)rebuild->expected,
                   tools_text_bytes(rebuild->expected_bytes, bytes));
    tools_out_line(out, "present   %llu, verified as they were",
                   (unsigned long long)rebuild->present);
    tools_out_line(out, "rebuilt   %llu, %s, decoded from verified fragments",
                   (unsigned long long)rebuild->rebuilt,
                   tools_text_bytes(rebuild->rebuilt_bytes, bytes));
    tools_out_line(out, "verified  %llu, read back from the disk and equal to the maps",
                   (unsigned long long)rebuild->verified);
    if (rebuild->gone || rebuild->newer)
        tools_out_line(out, "apart     %llu gone, deleted meanwhile, %llu stored after that index",
                       (unsigned long long)rebuild->gone, (unsigned long long)rebuild->newer);
    if (rebuild->bad_sources)
        tools_out_line(out, "sources   %llu bad ones were refused and others used",
                       (unsigned long long)rebuild->bad_sources);
    if (tools_certificate_proven(rebuild)) {
        tools_out_line(out, "PROVEN: %s", proof(rebuild));
        return;
    }
    tools_out_line(out, "NOT PROVEN: %s%s%s", outcome(rebuild), rebuild->text[0] ? ": " : "",
                   tools_text_name(rebuild->text, 0));
    for (size_t i = 0; i < rebuild->failure_count; i++) {
        const struct lilio_rebuild_failure *failure = &rebuild->failures[i];
        tools_out_line(out, "  %s stripe %llu fragment %u: %s", tools_text_name(failure->names, 0),
                       (unsigned long long)failure->stripe, failure->index,
                       tools_text_name(failure->reason, 1));
    }
}

/* The digest of the compact JSON text of all that stands before it: a changed certificate shows. */
static void seal(cJSON *json)
{
    char digest[BASE_SHA256_TEXT] = "";
    char *text = cJSON_PrintUnformatted(json);
    if (text && base_sha256_text(base_slice_str(text), digest) == LILIO_OK)
        tools_json_text(json, "sha256", digest);
    cJSON_free(text);
}

static cJSON *begin(const char *kind)
{
    cJSON *json = tools_json_new();
    tools_json_text(json, "certificate", kind);
    tools_json_u64(json, "format", FORMAT);
    tools_json_text(json, "software", "lilio-ec " LILIO_VERSION);
    return json;
}

/* ---- which slots it is about ---- */

static char *hex_of(const uint8_t *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    char *text = malloc(2 * size + 1);
    for (size_t i = 0; text && i < size; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    if (text)
        text[2 * size] = '\0';
    return text;
}

static void slots_json(cJSON *json, const struct lilio_slot_set *set)
{
    tools_json_u64(json, "slots_unsure", set->unsure);
    cJSON *list = tools_json_list(json, "slots");
    for (size_t i = 0; i < set->count; i++) {
        const struct lilio_slots *slots = &set->list[i];
        char *bits = hex_of(slots->bits, lilio_slots_size(slots));
        cJSON *element = tools_json_new();
        tools_json_u64(element, "placement", slots->placement);
        tools_json_u64(element, "partition_bits", slots->partition_bits);
        tools_json_u64(element, "width", slots->width);
        tools_json_text(element, "bits", bits);
        tools_json_add(list, element);
        free(bits);
    }
}

/* -1: no hexadecimal digit. */
static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_read(const char *text, uint8_t *ret, size_t size)
{
    if (strlen(text) != 2 * size)
        return false;
    for (size_t i = 0; i < size; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

cJSON *tools_certificate_json(const struct lilio_rebuild *rebuild,
                              const struct lilio_slot_set *slots)
{
    cJSON *json = begin(rebuild_kind);
    tools_json_bool(json, "proven", tools_certificate_proven(rebuild));
    tools_json_text(json, "outcome",
                    tools_certificate_proven(rebuild) ? proof(rebuild) : outcome(rebuild));
    tools_json_text(json, "text", rebuild->text);
    tools_json_text(json, "cluster_id", rebuild->cluster_id);
    tools_json_u64(json, "osd", rebuild->osd);
    tools_json_u64(json, "incarnation", rebuild->incarnation);
    tools_json_text(json, "disk_uuid", rebuild->disk_uuid);
    tools_json_u64(json, "index", rebuild->index);
    tools_json_time(json, "started", rebuild->started_ms);
    tools_json_u64(json, "elapsed_ms", rebuild->elapsed_ms);
    tools_json_u64(json, "expected", rebuild->expected);
    tools_json_u64(json, "expected_bytes", rebuild->expected_bytes);
    tools_json_u64(json, "present", rebuild->present);
    tools_json_u64(json, "rebuilt", rebuild->rebuilt);
    tools_json_u64(json, "rebuilt_bytes", rebuild->rebuilt_bytes);
    tools_json_u64(json, "verified", rebuild->verified);
    tools_json_u64(json, "gone", rebuild->gone);
    tools_json_u64(json, "newer", rebuild->newer);
    tools_json_u64(json, "failed", rebuild->failed);
    tools_json_u64(json, "source_bytes", rebuild->source_bytes);
    tools_json_u64(json, "bad_sources", rebuild->bad_sources);
    cJSON *list = tools_json_list(json, "failures");
    for (size_t i = 0; i < rebuild->failure_count; i++) {
        const struct lilio_rebuild_failure *failure = &rebuild->failures[i];
        cJSON *element = tools_json_new();
        tools_json_text(element, "names", failure->names);
        tools_json_u64(element, "stripe", failure->stripe);
        tools_json_u64(element, "index", failure->index);
        tools_json_text(element, "error", lilio_err_name(failure->err));
        tools_json_text(element, "reason", failure->reason);
        tools_json_add(list, element);
    }
    if (slots)
        slots_json(json, slots);
    seal(json);
    return json;
}

/* ---- of a drain ---- */

void tools_drain_release(struct tools_drain *drain)
{
    cJSON_Delete(drain->bad);
    lilio_slot_set_release(&drain->slots);
    *drain = (struct tools_drain){0};
}

bool tools_drain_proven(const struct tools_drain *drain)
{
    return drain->index > 0 && drain->held.good == drain->held.expected && drain->left == 0;
}

static const char *drain_outcome(const struct tools_drain *drain)
{
    return tools_drain_proven(drain) ? "expected = verified"
           : drain->left > 0 ? "others went away meanwhile, and stripes may want what it has"
                             : "some fragments are not good where they are now";
}

void tools_drain_print(struct tools_out *out, const struct tools_drain *drain)
{
    char time[TOOLS_TEXT];
    tools_out_line(out, "Certificate of the drain of osd.%u", drain->osd);
    tools_out_line(out, "cluster   %s, object map at index %llu", drain->cluster_id,
                   (unsigned long long)drain->index);
    tools_out_line(out, "disk      %s, incarnation %u", drain->disk_uuid, drain->incarnation);
    tools_out_line(out, "made      %s", tools_text_time(drain->made_ms, time));
    tools_out_line(out, "expected  %llu fragments that other OSDs have in its place",
                   (unsigned long long)drain->held.expected);
    if (drain->slots.unsure)
        tools_out_line(out,
                       "          where slots moved on since it began all that ever moved counts: "
                       "which of it was its own is not known any more");
    tools_out_line(out, "verified  %llu, read there and equal to the maps",
                   (unsigned long long)drain->held.good);
    if (drain->held.newer)
        tools_out_line(out, "apart     %llu stored after that index",
                       (unsigned long long)drain->held.newer);
    tools_out_line(out, "%s: %s", tools_drain_proven(drain) ? "PROVEN" : "NOT PROVEN",
                   drain_outcome(drain));
}

cJSON *tools_drain_json(const struct tools_drain *drain)
{
    cJSON *json = begin(drain_kind);
    tools_json_bool(json, "proven", tools_drain_proven(drain));
    tools_json_text(json, "outcome", drain_outcome(drain));
    tools_json_text(json, "cluster_id", drain->cluster_id);
    tools_json_u64(json, "osd", drain->osd);
    tools_json_u64(json, "incarnation", drain->incarnation);
    tools_json_text(json, "disk_uuid", drain->disk_uuid);
    tools_json_u64(json, "index", drain->index);
    tools_json_time(json, "made", drain->made_ms);
    tools_json_u64(json, "expected", drain->held.expected);
    tools_json_u64(json, "verified", drain->held.good);
    tools_json_u64(json, "missing", drain->held.missing);
    tools_json_u64(json, "corrupt", drain->held.corrupt);
    tools_json_u64(json, "unread", drain->held.unread);
    tools_json_u64(json, "newer", drain->held.newer);
    tools_json_u64(json, "left", drain->left);
    cJSON_AddItemToObject(json, "failures",
                          drain->bad ? cJSON_Duplicate(drain->bad, 1) : cJSON_CreateArray());
    slots_json(json, &drain->slots);
    seal(json);
    return json;
}

/* ---- keeping one ---- */

enum lilio_err tools_certificate_save(const char *folder, const char *name,
                                      const cJSON *certificate, char **ret_path,
                                      struct lilio_errinfo *info)
{
    char *certificates = NULL, *path = NULL, *text = cJSON_Print(certificate);
    enum lilio_err err = LILIO_E_NOMEM;
    if (!text || asprintf(&certificates, "%s/certificates", folder) < 0) {
        certificates = NULL;
        goto out;
    }
    if (asprintf(&path, "%s/%s.json", certificates, name) < 0) {
        path = NULL;
        goto out;
    }
    err = tools_folder_make(certificates, info);
    if (!err)
        err = base_file_replace(path, base_slice_str(text), 0644, info);
    if (!err) {
        *ret_path = path;
        path = NULL;
    }
out:
    free(path);
    free(certificates);
    cJSON_free(text);
    return err;
}

/* ---- reading one ---- */

/* The text without blanks is what was sealed, the digest behind it: numbers stay as they were
 * written. Changes text. */
static bool is_sealed(char *text)
{
    static const char mark[] = ",\"sha256\":\"";
    char digest[BASE_SHA256_TEXT], *at = NULL;
    cJSON_Minify(text);
    for (char *next = strstr(text, mark); next; next = strstr(next + 1, mark))
        at = next;
    if (!at)
        return false;
    const char *said = at + sizeof mark - 1;
    if (strlen(said) != BASE_SHA256_TEXT - 1 + 2 || strcmp(said + BASE_SHA256_TEXT - 1, "\"}") != 0)
        return false;
    char first = at[0], second = at[1];
    at[0] = '}';
    at[1] = 0;
    bool same = base_sha256_text(base_slice_str(text), digest) == LILIO_OK &&
                memcmp(said, digest, BASE_SHA256_TEXT - 1) == 0;
    at[0] = first;
    at[1] = second;
    return same;
}

static const char *text_of(const cJSON *json, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, name));
    return text ? text : "";
}

static bool read_u64(const cJSON *json, const char *name, uint64_t most, uint64_t *ret)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);
    if (!cJSON_IsNumber(item) || item->valuedouble < 0 || item->valuedouble > (double)most)
        return false;
    *ret = (uint64_t)item->valuedouble;
    return true;
}

static bool read_uuid(const cJSON *json, const char *name, char ret[37])
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);
    if (!cJSON_IsString(item) || strlen(item->valuestring) != 36)
        return false;
    memcpy(ret, item->valuestring, 37);
    return true;
}

static bool read_slots(const cJSON *element, struct lilio_slots *ret)
{
    uint64_t placement, partition_bits, width;
    if (!read_u64(element, "placement", UINT32_MAX, &placement) ||
        !read_u64(element, "partition_bits", PARTITION_BITS_MAX, &partition_bits) ||
        !read_u64(element, "width", WIDTH_MAX, &width))
        return false;
    *ret = (struct lilio_slots){.placement = (uint32_t)placement,
                                .partition_bits = (uint32_t)partition_bits,
                                .width = (uint32_t)width};
    size_t size = lilio_slots_size(ret);
    ret->bits = malloc(size + 1);
    return ret->bits && hex_read(text_of(element, "bits"), ret->bits, size);
}

/* True also where there are none: an older one. */
static bool read_slot_set(const cJSON *json, struct tools_certificate *made)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "slots"), *element;
    struct lilio_slot_set *set = &made->slots;
    if (!list)
        return true;
    if (!cJSON_IsArray(list) || !read_u64(json, "slots_unsure", UINT32_MAX, &set->unsure))
        return false;
    set->list = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *set->list);
    if (!set->list)
        return false;
    cJSON_ArrayForEach(element, list)
    {
        if (!read_slots(element, &set->list[set->count++]))
            return false;
    }
    made->has_slots = true;
    return true;
}

void tools_certificate_release(struct tools_certificate *certificate)
{
    lilio_slot_set_release(&certificate->slots);
}

static bool read_fields(const cJSON *json, struct tools_certificate *ret)
{
    const uint64_t exact = UINT64_C(1) << 53; /* beyond it a double is not */
    uint64_t osd, incarnation;
    struct tools_certificate made = {
        .drain = strcmp(text_of(json, "certificate"), drain_kind) == 0,
        .proven = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "proven"))};
    if (!read_u64(json, "osd", UINT32_MAX, &osd) ||
        !read_u64(json, "incarnation", UINT32_MAX, &incarnation) ||
        !read_u64(json, "index", exact, &made.index) ||
        !read_u64(json, "expected", exact, &made.expected) ||
        !read_uuid(json, "cluster_id", made.cluster_id) ||
        !read_uuid(json, "disk_uuid", made.disk_uuid) || !read_slot_set(json, &made)) {
        tools_certificate_release(&made);
        return false;
    }
    made.osd = (uint32_t)osd;
    made.incarnation = (uint32_t)incarnation;
    *ret = made;
    return true;
}

enum lilio_err tools_certificate_read(struct base_slice text, struct tools_certificate *ret,
                                      struct lilio_errinfo *info)
{
    char *copy = strndup((const char *)text.data, text.size);
    cJSON *json = copy ? cJSON_Parse(copy) : NULL;
    uint64_t format = 0;
    enum lilio_err err = LILIO_OK;
    const cJSON *kind = cJSON_GetObjectItemCaseSensitive(json, "certificate");
    if (!copy)
        err = lilio_fail(info, LILIO_E_NOMEM, "no memory for a certificate");
    else if (!json || !cJSON_IsString(kind))
        err = lilio_fail(info, LILIO_E_CORRUPT, "this is no certificate");
    else if ((strcmp(kind->valuestring, rebuild_kind) != 0 &&
              strcmp(kind->valuestring, drain_kind) != 0) ||
             !read_u64(json, "format", UINT32_MAX, &format) || format != FORMAT)
        err = lilio_fail(info, LILIO_E_UNSUPPORTED, "this program knows no such certificate");
    else if (!is_sealed(copy))
        err = lilio_fail(info, LILIO_E_CORRUPT,
                         "the certificate was changed: it is not what its digest is of");
    else if (!read_fields(json, ret))
        err = lilio_fail(info, LILIO_E_CORRUPT, "the certificate lacks fields");
    cJSON_Delete(json);
    free(copy);
    return err;
}

enum lilio_err tools_certificate_load(const char *path, struct tools_certificate *ret,
                                      struct lilio_errinfo *info)
{
    struct base_buffer text = {0};
    FILE *file = fopen(path, "re");
    if (!file)
        return tools_file_fail(info, "cannot open", path);
    enum lilio_err err = LILIO_OK;
    for (size_t got = 1; got > 0 && !err;) {
        char part[8192];
        got = fread(part, 1, sizeof part, file);
        if (text.size + got > BYTES_MAX)
            err = lilio_fail(info, LILIO_E_TOO_BIG, "%s is too big for a certificate", path);
        else
            err = base_buffer_append(&text, part, got);
    }
    if (!err && ferror(file))
        err = tools_file_fail(info, "cannot read", path);
    (void)fclose(file); /* it was only read */
    if (!err) {
        err = tools_certificate_read(base_buffer_slice(&text), ret, info);
        if (err)
            (void)lilio_prefix(info, err, "%s", path); /* err goes on below */
    }
    base_buffer_release(&text);
    return err;
}
