#include "tools/rebuilds.h"

#include <string.h>

#include "base/banned.h"

static const char *phase_name(enum lilio_rebuild_phase phase)
{
    return phase == LILIO_REBUILD_COUNTING    ? "counting"
           : phase == LILIO_REBUILD_VERIFYING ? "verifying"
                                              : "rebuilding";
}

static bool runs(const struct lilio_rebuild *rebuild)
{
    return rebuild->phase == LILIO_REBUILD_COUNTING || rebuild->phase == LILIO_REBUILD_RUNNING ||
           rebuild->phase == LILIO_REBUILD_VERIFYING;
}

void tools_rebuilds_get(struct tools_context *context, const struct lilio_status *status,
                        struct tools_rebuilds *ret)
{
    ret->count = 0;
    for (size_t i = 0; i < status->osd_count && ret->count < TOOLS_REBUILDS_MAX; i++) {
        const struct lilio_osd *osd = &status->osds[i];
        struct lilio_rebuild rebuild = {0};
        if (osd->complete || strcmp(osd->state, "up") != 0 ||
            lilio_rebuild_get(context->client, osd->id, &rebuild, NULL) != LILIO_OK)
            continue;
        if (runs(&rebuild)) {
            ret->list[ret->count] = rebuild;
            ret->list[ret->count].failures = NULL;
            ret->list[ret->count++].failure_count = 0;
        }
        lilio_rebuild_release(&rebuild);
    }
}

static uint32_t percent(const struct lilio_rebuild *rebuild)
{
    if (rebuild->phase == LILIO_REBUILD_COUNTING || rebuild->expected_bytes == 0)
        return 0;
    uint64_t done = rebuild->done_bytes < rebuild->expected_bytes ? rebuild->done_bytes
                                                                  : rebuild->expected_bytes;
    return (uint32_t)((double)done * 100 / (double)rebuild->expected_bytes);
}

void tools_rebuilds_print(struct tools_out *out, const struct tools_rebuilds *rebuilds)
{
    char bytes[TOOLS_TEXT], all[TOOLS_TEXT];
    for (size_t i = 0; i < rebuilds->count; i++) {
        const struct lilio_rebuild *rebuild = &rebuilds->list[i];
        tools_out_line(
            out, "rebuild       osd.%u: %s, %u %%, %s of %s; what it has counts when it is proven",
            rebuild->osd, phase_name(rebuild->phase), percent(rebuild),
            tools_text_bytes(rebuild->done_bytes, bytes),
            tools_text_bytes(rebuild->expected_bytes, all));
    }
}

void tools_rebuilds_json(cJSON *object, const struct tools_rebuilds *rebuilds)
{
    cJSON *list = tools_json_list(object, "rebuilds");
    for (size_t i = 0; i < rebuilds->count; i++) {
        const struct lilio_rebuild *rebuild = &rebuilds->list[i];
        cJSON *entry = tools_json_new();
        tools_json_u64(entry, "osd", rebuild->osd);
        tools_json_text(entry, "phase", phase_name(rebuild->phase));
        tools_json_u64(entry, "percent", percent(rebuild));
        tools_json_u64(entry, "done_bytes", rebuild->done_bytes);
        tools_json_u64(entry, "expected_bytes", rebuild->expected_bytes);
        tools_json_u64(entry, "failed", rebuild->failed);
        tools_json_add(list, entry);
    }
}
