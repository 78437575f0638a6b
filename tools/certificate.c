#include "tools/certificate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/digest.h"
#include "tools/file_io.h"

#include "base/banned.h"

enum { FORMAT = 1 };

bool tools_certificate_proven(const struct lilio_rebuild *rebuild)
{
    return rebuild->phase == LILIO_REBUILD_PROVEN && rebuild->failed == 0 &&
           rebuild->failure_count == 0 &&
           rebuild->expected == rebuild->present + rebuild->rebuilt &&
           rebuild->expected == rebuild->verified;
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
        tools_out_line(out, "apart     %llu deleted meanwhile, %llu stored after that index",
                       (unsigned long long)rebuild->gone, (unsigned long long)rebuild->newer);
    if (rebuild->bad_sources)
        tools_out_line(out, "sources   %llu bad ones were refused and others used",
                       (unsigned long long)rebuild->bad_sources);
    if (tools_certificate_proven(rebuild)) {
        tools_out_line(out, "PROVEN: expected = present + rebuilt = verified");
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

cJSON *tools_certificate_json(const struct lilio_rebuild *rebuild)
{
    cJSON *json = tools_json_new();
    tools_json_text(json, "certificate", "osd rebuild");
    tools_json_u64(json, "format", FORMAT);
    tools_json_text(json, "software", "lilio-ec " LILIO_VERSION);
    tools_json_bool(json, "proven", tools_certificate_proven(rebuild));
    tools_json_text(json, "outcome",
                    tools_certificate_proven(rebuild) ? "expected = present + rebuilt = verified"
                                                      : outcome(rebuild));
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
    seal(json);
    return json;
}

enum lilio_err tools_certificate_save(const char *folder, const struct lilio_rebuild *rebuild,
                                      char **ret_path, struct lilio_errinfo *info)
{
    char *certificates = NULL, *path = NULL, *text = NULL;
    cJSON *json = tools_certificate_json(rebuild);
    enum lilio_err err = LILIO_E_NOMEM;
    text = cJSON_Print(json);
    if (!text || asprintf(&certificates, "%s/certificates", folder) < 0) {
        certificates = NULL;
        goto out;
    }
    if (asprintf(&path, "%s/osd.%u-%llu.json", certificates, rebuild->osd,
                 (unsigned long long)rebuild->index) < 0) {
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
    cJSON_Delete(json);
    return err;
}
