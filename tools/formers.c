#include "tools/formers.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

/* Those that nothing holds but an answer of the coordinators. */
static uint64_t due_of(const struct lilio_orphans *orphans)
{
    uint64_t held = orphans->former_fills + orphans->former_away + orphans->former_fresh;
    return orphans->former_fragments > held ? orphans->former_fragments - held : 0;
}

static void part_add(char *text, size_t room, uint64_t count, const char *why)
{
    size_t used = strlen(text);
    if (count > 0)
        (void)snprintf(text + used, room - used, "%s%llu %s", used ? ", " : "",
                       (unsigned long long)count, why); /* the room is enough for all */
}

void tools_formers_print(struct tools_out *out, const char *title,
                         const struct lilio_orphans *orphans)
{
    char why[512] = "", retained[128], bytes[TOOLS_TEXT], time[TOOLS_TEXT];
    if (orphans->former_fragments == 0)
        return;
    (void)snprintf(retained, sizeof retained, "are kept for the retention of %s",
                   tools_text_duration(orphans->retention_ms, time));
    part_add(why, sizeof why, orphans->former_fills, "until their stripes are full without them");
    part_add(why, sizeof why, orphans->former_away, "until all OSDs of their stripes are up");
    part_add(why, sizeof why, orphans->former_fresh, retained);
    part_add(why, sizeof why, due_of(orphans), "go when nothing of their stripes is missing");
    tools_out_line(out, "%sosd.%u has %llu fragments, %s, of slots that other OSDs have now: %s",
                   title, orphans->osd, (unsigned long long)orphans->former_fragments,
                   tools_text_bytes(orphans->former_bytes, bytes), why);
}

void tools_formers_json(cJSON *object, const struct lilio_orphans *orphans)
{
    if (orphans->index == 0) {
        tools_json_text(object, "former", NULL);
        return;
    }
    cJSON *former = tools_json_object(object, "former");
    tools_json_u64(former, "fragments", orphans->former_fragments);
    tools_json_u64(former, "bytes", orphans->former_bytes);
    tools_json_u64(former, "stripes_not_full", orphans->former_fills);
    tools_json_u64(former, "osds_away", orphans->former_away);
    tools_json_u64(former, "retention", orphans->former_fresh);
    tools_json_u64(former, "due", due_of(orphans));
}
