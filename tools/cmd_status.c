/* status, df and osd ls: what the coordinator knows, told without promising more.
 *
 * "Healthy" would be a statement about bytes that were read and checked. So status says what is up,
 * what is known to be missing, what was proven when, and what is newer than that proof. */
#include "tools/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/env.h"
#include "proto/cluster_file.h"
#include "tools/capacity.h"
#include "tools/config_path.h"
#include "tools/formers.h"
#include "tools/quorum.h"
#include "tools/rebuilds.h"
#include "tools/redundancy.h"
#include "tools/scrub.h"

#include "base/banned.h"

enum { PING_MS = 300, OUT_TEXT = 128 };

static error_t no_words_parse(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    (void)state;
    return key == ARGP_KEY_END ? 0 : ARGP_ERR_UNKNOWN;
}

static bool is_up(const struct lilio_osd *osd)
{
    return strcmp(osd->state, "up") == 0;
}

/* A blank disk holds nothing, whatever was proven of the one before it. */
static bool is_complete(const struct lilio_osd *osd)
{
    return osd->complete && strcmp(osd->state, "blank") != 0;
}

/* ---- the one word ---- */

static void degraded_print(struct tools_out *out, const struct lilio_redundancy *redundancy)
{
    if (redundancy->stranded)
        tools_out_line(out,
                       "DEGRADED: see above; %llu stripes stay hurt until an OSD comes back, or "
                       "its disk is replaced and `lilio-ec osd rebuild ID' is run",
                       (unsigned long long)redundancy->stranded);
    else if (redundancy->hurt == 0)
        tools_out_line(out, "DEGRADED: see above; no stripe is hurt, but not every OSD serves with "
                            "proven content");
    else
        tools_out_line(out,
                       "DEGRADED: see above; known faults mend themselves (`lilio-ec repair'), "
                       "`lilio-ec osd rebuild ID' mends an OSD");
}

static void verdict_print(struct tools_context *context, const struct lilio_status *status,
                          const struct lilio_redundancy *redundancy)
{
    struct tools_out *out = &context->out;
    const char *word = tools_redundancy_verdict(redundancy, status);
    if (strcmp(word, "lost") == 0)
        tools_out_line(out, "LOST: %llu stripes cannot be restored; `lilio-ec damage' names them",
                       (unsigned long long)redundancy->lost);
    else if (strcmp(word, "unknown") == 0)
        tools_out_line(out, "UNKNOWN: no coordinator could say how redundant the objects are");
    else if (strcmp(word, "unreadable") == 0)
        tools_out_line(out,
                       "UNREADABLE: %llu stripes have too few fragments within reach; they need "
                       "OSDs back, `lilio-ec damage' names their objects",
                       (unsigned long long)redundancy->unreadable);
    else if (strcmp(word, "degraded") == 0)
        degraded_print(out, redundancy);
    else
        tools_redundancy_proof_print(out, redundancy, status);
}

/* ---- OSDs ---- */

static cJSON *osd_json(const struct lilio_osd *osd)
{
    cJSON *object = tools_json_new();
    tools_json_u64(object, "id", osd->id);
    tools_json_text(object, "state", osd->state);
    tools_json_bool(object, "complete", is_complete(osd));
    tools_json_bool(object, "draining", osd->draining);
    tools_json_bool(object, "drained", osd->drained);
    tools_json_u64(object, "incarnation", osd->incarnation);
    tools_json_text(object, "disk_uuid", osd->disk_uuid);
    tools_json_text(object, "address", osd->address);
    tools_json_u64(object, "capacity_bytes", osd->capacity_bytes);
    tools_json_u64(object, "free_bytes", osd->free_bytes);
    tools_json_u64(object, "used_bytes", osd->used_bytes);
    tools_json_u64(object, "fragments", osd->fragment_count);
    tools_json_u64(object, "silent_ms", osd->silent_ms);
    tools_json_u64(object, "filling_slots", osd->filling);
    if (osd->filling) {
        cJSON *fill = tools_json_object(object, "fill");
        tools_json_bool(fill, "running", osd->fill_running);
        tools_json_u64(fill, "permille", osd->fill_permille);
        tools_json_u64(fill, "eta_ms", osd->fill_eta_ms);
        tools_json_u64(fill, "eta_low_ms", osd->fill_eta_low_ms);
        tools_json_u64(fill, "eta_high_ms", osd->fill_eta_high_ms);
        tools_json_u64(fill, "tries", osd->fill_tries);
        tools_json_text(fill, "reason", osd->fill_reason[0] ? osd->fill_reason : NULL);
    }
    tools_json_u64(object, "held_ms", osd->held_ms);
    if (osd->goes_out) {
        cJSON *out = tools_json_object(object, "goes_out");
        tools_json_u64(out, "in_ms", osd->out_in_ms);
        if (osd->out_waits)
            tools_json_u64(out, "behind_osd", osd->out_behind);
        else
            tools_json_text(out, "behind_osd", NULL);
    } else {
        tools_json_text(object, "goes_out", NULL);
    }
    cJSON *inventory = tools_json_object(object, "inventory");
    tools_json_text(inventory, "phase", osd->inventory[0] ? osd->inventory : NULL);
    tools_json_u64(inventory, "index", osd->inventory_index);
    tools_json_u64(inventory, "slots", osd->inventory_slots);
    tools_json_u64(inventory, "differed", osd->inventory_differed);
    tools_json_u64(inventory, "missing", osd->inventory_missing);
    tools_json_u64(inventory, "rounds", osd->inventory_rounds);
    tools_json_text(inventory, "reason", osd->inventory_reason[0] ? osd->inventory_reason : NULL);
    tools_scrub_json(object, osd->scrubs, true /* of the leader */);
    return object;
}

static void osds_json(cJSON *object, const struct lilio_status *status)
{
    cJSON *list = tools_json_list(object, "osds");
    for (size_t i = 0; i < status->osd_count; i++)
        tools_json_add(list, osd_json(&status->osds[i]));
}

/* What an OSD that is up has of slots that went to others; all zeros where it does not say. */
static struct lilio_orphans formers_ask(struct tools_context *context, const struct lilio_osd *osd)
{
    struct lilio_orphans orphans = {0};
    if (is_up(osd) && lilio_orphans_get(context->client, osd->id, &orphans, NULL) != LILIO_OK)
        orphans = (struct lilio_orphans){0};
    return orphans;
}

/* What an OSD that is not up says itself, if it says anything. */
static void osd_detail(struct tools_context *context, const struct lilio_osd *osd,
                       char ret_text[600])
{
    char node[64], state[32], detail[512], time[TOOLS_TEXT];
    if (osd->address[0] &&
        lilio_ping(context->client, osd->address, PING_MS, node, state, detail, NULL) == LILIO_OK)
        (void)snprintf(ret_text, 600, "says it is %s%s%s", state, detail[0] ? ": " : "", detail);
    else
        (void)snprintf(ret_text, 600, "silent for %s", tools_text_duration(osd->silent_ms, time));
}

static const char *content_of(const struct lilio_osd *osd, char text[TOOLS_TEXT])
{
    if (strcmp(osd->state, "blank") == 0)
        return "empty";
    if (!is_complete(osd))
        return "not proven";
    if (osd->draining)
        return osd->drained ? "drained" : "drains";
    if (osd->filling == 0)
        return "complete";
    (void)snprintf(text, TOOLS_TEXT, "fills %llu slots", (unsigned long long)osd->filling);
    return text;
}

/* How long ago the last complete deep scrub began, and whether that was all the OSD has now. */
static const char *deep_text(const struct lilio_osd *osd, char ret[TOOLS_TEXT])
{
    const struct lilio_scrub *deep = &osd->scrubs[LILIO_SCRUB_DEEP - 1];
    char time[TOOLS_TEXT];
    if (!deep->known)
        return "-";
    if (deep->rounds == 0)
        return "never";
    (void)snprintf(ret, TOOLS_TEXT, "%.32s ago%s", tools_text_duration(deep->oldest_ms, time),
                   deep->counts ? "" : ", not all");
    return ret;
}

static void osds_print(struct tools_context *context, const struct lilio_status *status)
{
    static const char *const columns[] = {"OSD",   "STATE", "CONTENT",    ">FRAGMENTS", ">USED",
                                          ">FREE", "DISK",  "DEEP SCRUB", "ADDRESS",    NULL};
    struct tools_table *table = tools_table_new(columns);
    for (size_t i = 0; i < status->osd_count; i++) {
        const struct lilio_osd *osd = &status->osds[i];
        char used[TOOLS_TEXT], left[TOOLS_TEXT], content[TOOLS_TEXT];
        tools_table_add(table, "osd.%u", osd->id);
        tools_table_add(table, "%s", tools_text_name(osd->state, 0));
        tools_table_add(table, "%s", content_of(osd, content));
        bool told = osd->capacity_bytes > 0; /* no heartbeat has reached this leader otherwise */
        if (told)
            tools_table_add(table, "%llu", (unsigned long long)osd->fragment_count);
        else
            tools_table_add(table, "-");
        tools_table_add(table, "%s", told ? tools_text_bytes(osd->used_bytes, used) : "-");
        tools_table_add(table, "%s", told ? tools_text_bytes(osd->free_bytes, left) : "-");
        tools_table_add(table, "%.8s", osd->disk_uuid);
        tools_table_add(table, "%s", deep_text(osd, used));
        tools_table_add(table, "%s", tools_text_name(osd->address, 0));
    }
    tools_table_print(&table, &context->out);
}

static const struct argp osd_ls_argp = {
    .parser = no_words_parse,
    .doc =
        "Lists the OSDs. \"not proven\": no rebuild has proven that this disk holds all it should. "
        "\"fills\": it took over slots of an OSD that is out or drains, and their content comes by "
        "itself. \"drains\": others take over what it has (`lilio-ec osd drain'). "
        "What an OSD has yet of slots that others took over is counted in FRAGMENTS, and told "
        "below. DEEP SCRUB: when the last complete one began; all that was there then was read "
        "since. \"not all\": some of what the OSD has now was not, so it does not count as "
        "verified "
        "until the next one (`lilio-ec scrub start --deep --osd ID'). "
        "\"-\": it has told this leader nothing yet."
        "\vExamples:\n"
        "  lilio-ec osd ls\n"
        "  lilio-ec osd ls --json\n",
};

/* Opens the client and asks. 0 or the exit code. */
static int status_ask(struct tools_context *context, struct lilio_status *ret)
{
    int code = tools_open(context);
    if (code)
        return code;
    enum lilio_err err = lilio_status_get(context->client, ret, &context->info);
    return err ? tools_fail(context, err) : TOOLS_EXIT_OK;
}

int tools_cmd_osd_ls(struct tools_context *context, int argc, char **argv)
{
    struct lilio_status status;
    tools_args_parse(context, &osd_ls_argp, argc, argv, NULL);
    int code = status_ask(context, &status);
    if (code)
        return code;
    osds_print(context, &status);
    cJSON *object = tools_json_new(), *list = tools_json_list(object, "osds");
    for (size_t i = 0; i < status.osd_count; i++) {
        struct lilio_orphans orphans = formers_ask(context, &status.osds[i]);
        cJSON *osd = osd_json(&status.osds[i]);
        tools_formers_print(&context->out, "", &orphans);
        tools_formers_json(osd, &orphans);
        tools_json_add(list, osd);
    }
    tools_out_object(&context->out, object);
    lilio_status_release(&status);
    return TOOLS_EXIT_OK;
}

/* ---- status ---- */

static const struct argp status_argp = {
    .parser = no_words_parse,
    .doc = "Tells what is up, what is known to be missing, and when everything was last verified. "
           "Exit codes: 0 it could be told, whatever it is (`lilio-ec damage' and `lilio-ec "
           "verify' judge), 5 no coordinator answers."
           "\vExamples:\n"
           "  lilio-ec status\n"
           "  lilio-ec status --json\n",
};

static cJSON *status_json(const struct lilio_status *status,
                          const struct lilio_redundancy *redundancy)
{
    cJSON *object = tools_json_new();
    tools_json_text(object, "cluster_id", status->cluster_id);
    tools_json_text(object, "state", tools_redundancy_verdict(redundancy, status));
    tools_json_u64(object, "epoch", status->epoch);
    tools_json_profile(object, "default_profile", status->default_profile);
    tools_json_u64(object, "gc_grace_ms", status->gc_grace_ms);
    cJSON *list = tools_json_list(object, "coordinators");
    for (size_t i = 0; i < status->coordinator_count; i++)
        tools_json_add(list, tools_quorum_json(&status->coordinators[i]));
    osds_json(object, status);
    tools_json_bool(object, "many_osds_away", status->many_away);
    tools_json_u64(object, "buckets", status->bucket_count);
    tools_json_u64(object, "objects", status->object_count);
    tools_json_u64(object, "object_bytes", status->object_bytes);
    tools_json_u64(object, "repair_rows", status->repair_rows);
    tools_json_u64(object, "repair_running", status->repair_running);
    tools_json_u64(object, "repair_failed", status->repair_failed);
    tools_json_u64(object, "repair_eta_ms", status->repair_eta_ms);
    tools_json_u64(object, "repair_eta_low_ms", status->repair_eta_low_ms);
    tools_json_u64(object, "repair_eta_high_ms", status->repair_eta_high_ms);
    tools_json_u64(object, "fill_eta_ms", status->fill_eta_ms);
    tools_json_u64(object, "fill_eta_low_ms", status->fill_eta_low_ms);
    tools_json_u64(object, "fill_eta_high_ms", status->fill_eta_high_ms);
    tools_json_u64(object, "gc_rows", status->gc_rows);
    tools_json_u64(object, "gc_bytes", status->gc_bytes);
    tools_json_u64(object, "sessions", status->session_count);
    tools_json_u64(object, "map_bytes", status->map_bytes);
    cJSON *verified = tools_json_object(object, "last_verify");
    tools_json_u64(verified, "index", status->verify_index);
    tools_json_time(verified, "time", status->verify_wall_ms);
    tools_json_u64(verified, "fragments", status->verify_fragments);
    tools_json_u64(verified, "objects_damaged", status->verify_damaged);
    tools_json_u64(verified, "objects_lost", status->verify_lost);
    if (redundancy)
        tools_redundancy_json(object, redundancy);
    return object;
}

/* "osd.4 fills 120 slots, 40 % of the first job, 3 min to go" */
static void filling_print(struct tools_out *out, const struct lilio_osd *osd)
{
    char time[TOOLS_ETA];
    if (osd->fill_running)
        tools_out_line(
            out, "              osd.%u fills %llu slots, at %u %%, to go: %s", osd->id,
            (unsigned long long)osd->filling, osd->fill_permille / 10,
            tools_text_eta(osd->fill_eta_ms, osd->fill_eta_low_ms, osd->fill_eta_high_ms, time));
    else if (osd->fill_tries)
        tools_out_line(out, "              osd.%u fills %llu slots, failed %u times: %s", osd->id,
                       (unsigned long long)osd->filling, osd->fill_tries,
                       tools_text_name(osd->fill_reason, 0));
    else
        tools_out_line(out, "              osd.%u has %llu slots to fill", osd->id,
                       (unsigned long long)osd->filling);
}

/* What it has, against the maps: said while there is something to say. One that went away again
 * compares nothing, and what was missing is mended when nothing is known to be missing anywhere. */
static void inventory_print(struct tools_out *out, const struct lilio_osd *osd,
                            const struct lilio_status *status)
{
    if (!is_up(osd) && strcmp(osd->state, "suspect") != 0)
        return;
    if (osd->inventory_reason[0] && strcmp(osd->inventory, "wanted") == 0)
        tools_out_line(out,
                       "              osd.%u came back and tries again to compare what it has with "
                       "the maps: %s",
                       osd->id, tools_text_name(osd->inventory_reason, 0));
    else if (osd->inventory_reason[0])
        tools_out_line(out, "              osd.%u could not compare what it has with the maps: %s",
                       osd->id, tools_text_name(osd->inventory_reason, 0));
    else if (strcmp(osd->inventory, "wanted") == 0 || strcmp(osd->inventory, "sums") == 0 ||
             strcmp(osd->inventory, "walk") == 0)
        tools_out_line(out, "              osd.%u came back and compares what it has with the maps",
                       osd->id);
    else if (osd->inventory_missing && status->repair_rows)
        tools_out_line(out,
                       "              osd.%u came back without %llu fragments the maps said it has "
                       "(%llu of %llu slots differed): reported, so that they are mended",
                       osd->id, (unsigned long long)osd->inventory_missing,
                       (unsigned long long)osd->inventory_differed,
                       (unsigned long long)osd->inventory_slots);
}

static void held_print(struct tools_out *out, const struct lilio_osd *osd)
{
    char time[TOOLS_TEXT];
    if (osd->held_ms)
        tools_out_line(out,
                       "              osd.%u went down again and again: it serves, but gets no "
                       "repair work for %s yet",
                       osd->id, tools_text_duration(osd->held_ms, time));
}

/* ", goes out in 9 min 18 s". One that is blank or failed answers, and goes out all the same. Said
 * of all at once while too many are away. */
static const char *out_text(const struct lilio_status *status, const struct lilio_osd *osd,
                            char ret[OUT_TEXT])
{
    const char *what = strcmp(osd->state, "down") == 0 ? "goes out" : "its slots go to others";
    char time[TOOLS_TEXT];
    ret[0] = '\0';
    if (!osd->goes_out || status->many_away)
        return ret;
    if (osd->out_in_ms)
        (void)snprintf(ret, OUT_TEXT, ", %s in %s", what,
                       tools_text_duration(osd->out_in_ms, time));
    else if (osd->out_waits)
        (void)snprintf(ret, OUT_TEXT, ", %s when the slots of osd.%u have moved", what,
                       osd->out_behind);
    else
        (void)snprintf(ret, OUT_TEXT, ", %s now", what);
    return ret;
}

static void draining_print(struct tools_out *out, const struct lilio_osd *osd,
                           const struct lilio_redundancy *redundancy)
{
    if (osd->draining && tools_redundancy_drained(redundancy, osd))
        tools_out_line(out, "              osd.%u is drained: nothing needs it", osd->id);
    else if (osd->drained && redundancy)
        tools_out_line(
            out,
            "              osd.%u is drained, but %llu stripes are not whole now and may "
            "want what it has",
            osd->id, (unsigned long long)tools_redundancy_drain_left(redundancy, osd->id));
    else if (osd->draining && redundancy && tools_redundancy_drain_left(redundancy, osd->id) == 0)
        tools_out_line(
            out, "              osd.%u has given everything; `lilio-ec osd drain %u' proves it",
            osd->id, osd->id);
    else if (osd->draining && redundancy)
        tools_out_line(out, "              osd.%u drains, %llu stripes may still need it", osd->id,
                       (unsigned long long)tools_redundancy_drain_left(redundancy, osd->id));
    else if (osd->draining)
        tools_out_line(out, "              osd.%u drains", osd->id);
}

static void status_osds_print(struct tools_context *context, const struct lilio_status *status,
                              const struct lilio_redundancy *redundancy)
{
    struct tools_out *out = &context->out;
    char time[TOOLS_ETA];
    bool fills = false;
    size_t up = 0;
    for (size_t i = 0; i < status->osd_count; i++)
        up += is_up(&status->osds[i]);
    tools_out_line(out, "OSDs          %zu of %zu up", up, status->osd_count);
    for (size_t i = 0; i < status->osd_count; i++) {
        const struct lilio_osd *osd = &status->osds[i];
        char detail[600], leaves[OUT_TEXT];
        if (!is_up(osd)) {
            osd_detail(context, osd, detail);
            tools_out_line(out, "              osd.%u is %s, %s%s", osd->id,
                           tools_text_name(osd->state, 0), tools_text_name(detail, 1),
                           out_text(status, osd, leaves));
        } else if (!is_complete(osd)) {
            tools_out_line(out, "              osd.%u is up, but no rebuild has proven its content",
                           osd->id);
        }
        if (osd->filling)
            filling_print(out, osd);
        draining_print(out, osd, redundancy);
        held_print(out, osd);
        inventory_print(out, osd, status);
        fills |= osd->filling > 0;
    }
    if (status->many_away)
        tools_out_line(out,
                       "              over a third of the OSDs are away: no other goes out, and "
                       "nothing moves to others, until some are back");
    if (fills)
        tools_out_line(out, "              until all slots are filled: %s",
                       tools_text_eta(status->fill_eta_ms, status->fill_eta_low_ms,
                                      status->fill_eta_high_ms, time));
}

static void coordinators_print(struct tools_out *out, const struct lilio_status *status)
{
    const struct lilio_coordinator *leader = tools_quorum_leader(status);
    char time[TOOLS_TEXT];
    for (size_t i = 0; i < status->coordinator_count; i++) {
        const struct lilio_coordinator *at = &status->coordinators[i];
        const char *role = tools_quorum_role(at);
        if (at->commit_index == 0) /* it did not answer */
            tools_out_line(out, "coordinator.%u %s, %s%s, lag %llu", at->id, role,
                           tools_quorum_unheard(at) ? "not heard yet" : "silent for ",
                           tools_quorum_unheard(at) ? "" : tools_text_duration(at->silent_ms, time),
                           (unsigned long long)at->lag);
        else
            tools_out_line(
                out,
                "coordinator.%u %s, term %llu, applied %llu of %llu committed, lag %llu, "
                "up for %s",
                at->id, role, (unsigned long long)at->term, (unsigned long long)at->applied_index,
                (unsigned long long)at->commit_index, (unsigned long long)at->lag,
                tools_text_duration(at->uptime_ms, time));
        if (at->trouble[0])
            tools_out_line(out, "              %s", tools_text_name(at->trouble, 0));
    }
    if (leader && status->coordinator_count > 1)
        tools_out_line(out, "leader        coordinator.%u", leader->id);
}

static void repair_print(struct tools_out *out, const struct lilio_status *status,
                         const struct lilio_redundancy *redundancy)
{
    char time[TOOLS_ETA];
    uint64_t short_of = redundancy ? tools_redundancy_short(redundancy) : 0;
    if (status->repair_rows == 0 && short_of) {
        tools_out_line(out,
                       "repair        nothing waits for it: what %llu stripes lack belongs on OSDs "
                       "that are away, not proven or being filled",
                       (unsigned long long)short_of);
        return;
    }
    if (status->repair_rows == 0) {
        tools_out_line(out, "repair        no fragments are known to be missing or corrupt");
        return;
    }
    tools_out_line(out,
                   "repair        %llu stored runs with fragments known to be missing or corrupt; "
                   "%llu under way, %llu failed, to go: %s (`lilio-ec repair' tells more)",
                   (unsigned long long)status->repair_rows,
                   (unsigned long long)status->repair_running,
                   (unsigned long long)status->repair_failed,
                   tools_text_eta(status->repair_eta_ms, status->repair_eta_low_ms,
                                  status->repair_eta_high_ms, time));
}

/* What the last verification found and the histogram of now does not say: those objects were
 * deleted, or came back with their OSDs. */
static void verify_lost_print(struct tools_out *out, const struct lilio_status *status,
                              const struct lilio_redundancy *redundancy)
{
    const struct base_clock *clock = base_clock_system();
    uint64_t now_ms = clock->wall_ms(clock->context);
    uint64_t age_ms = now_ms > status->verify_wall_ms ? now_ms - status->verify_wall_ms : 0;
    char time[TOOLS_TEXT];
    if (!status->verify_index || !status->verify_lost || (redundancy && redundancy->lost))
        return;
    tools_out_line(out, "              %s ago it found %llu objects that could not be restored; %s",
                   tools_text_duration(age_ms, time), (unsigned long long)status->verify_lost,
                   redundancy ? "no stripe is known to be lost now"
                              : "what is lost now is not known");
}

static void status_print(struct tools_context *context, const struct lilio_status *status,
                         const struct lilio_redundancy *redundancy,
                         const struct tools_rebuilds *rebuilds)
{
    struct tools_out *out = &context->out;
    char bytes[TOOLS_TEXT], time[TOOLS_TEXT];
    tools_out_line(out, "cluster       %s, epoch %llu, default profile %u+%u", status->cluster_id,
                   (unsigned long long)status->epoch, status->default_profile.data_count,
                   status->default_profile.parity_count);
    coordinators_print(out, status);
    status_osds_print(context, status, redundancy);
    tools_out_line(
        out, "objects       %llu in %llu buckets, %s", (unsigned long long)status->object_count,
        (unsigned long long)status->bucket_count, tools_text_bytes(status->object_bytes, bytes));
    if (status->gc_rows)
        tools_out_line(out,
                       "collection    %s of deleted and replaced objects wait for the grace of %s, "
                       "then for the OSDs they are on",
                       tools_text_bytes(status->gc_bytes, bytes),
                       tools_text_duration(status->gc_grace_ms, time));
    if (redundancy)
        tools_redundancy_print(out, redundancy);
    else
        tools_out_line(out, "stripes       not known: %s", tools_text_name(context->info.text, 0));
    if (redundancy && redundancy->stranded)
        tools_out_line(out,
                       "replacement   %llu stripes have no OSD to go to: replace one that is away",
                       (unsigned long long)redundancy->stranded);
    tools_rebuilds_print(out, rebuilds);
    repair_print(out, status, redundancy);
    if (!status->verify_index)
        tools_out_line(out, "verified      never by `lilio-ec verify'");
    else
        tools_out_line(
            out,
            "verified      %s at index %llu: %llu good fragments, %llu objects damaged, "
            "%llu lost",
            tools_text_time(status->verify_wall_ms, time), (unsigned long long)status->verify_index,
            (unsigned long long)status->verify_fragments,
            (unsigned long long)status->verify_damaged, (unsigned long long)status->verify_lost);
    verify_lost_print(out, status, redundancy);
    if (redundancy)
        tools_redundancy_scrubbed_print(out, redundancy);
    tools_scrub_summary(out, status->osds, status->osd_count);
    verdict_print(context, status, redundancy);
    tools_quorum_warn(out, status);
}

/* The coordinator is silent: who of the others is there is all that can be said. */
static void daemons_ping(struct tools_context *context)
{
    struct proto_cluster_file file;
    if (context->out.json ||
        proto_cluster_file_load(tools_config_path(context), &file, NULL) != LILIO_OK)
        return;
    for (size_t i = 0; i < file.coordinator_count + file.osd_count; i++) {
        bool is_osd = i >= file.coordinator_count;
        const struct proto_cluster_node *node =
            is_osd ? &file.osds[i - file.coordinator_count] : &file.coordinators[i];
        char name[64], state[32], detail[512];
        bool there = lilio_ping(context->client, node->endpoint, PING_MS, name, state, detail,
                                NULL) == LILIO_OK;
        tools_out_line(&context->out, "%s.%u: %s", is_osd ? "osd" : "coordinator", node->id,
                       there ? tools_text_name(state, 0) : "no answer");
    }
    proto_cluster_file_release(&file);
}

/* Where nobody leads nobody could confirm an answer: that is said at once. */
static bool redundancy_ask(struct tools_context *context, const struct lilio_status *status,
                           struct lilio_redundancy *ret)
{
    if (tools_quorum_leader(status))
        return lilio_redundancy_get(context->client, ret, &context->info) == LILIO_OK;
    (void)lilio_fail(&context->info, LILIO_E_UNAVAILABLE,
                     "no coordinator leads"); /* shown by the caller */
    return false;
}

int tools_cmd_status(struct tools_context *context, int argc, char **argv)
{
    struct lilio_status status;
    struct lilio_redundancy redundancy = {0};
    struct tools_rebuilds rebuilds;
    tools_args_parse(context, &status_argp, argc, argv, NULL);
    int code = tools_open(context);
    if (code)
        return code;
    enum lilio_err err = lilio_status_get(context->client, &status, &context->info);
    if (err) {
        if (lilio_err_class(err) == LILIO_CLASS_RETRY)
            daemons_ping(context);
        return tools_fail(context, err);
    }
    for (size_t i = 0; i < status.coordinator_count; i++)
        (void)tools_quorum_ask(context->client, &status.coordinators[i]); /* silence is shown */
    bool known = redundancy_ask(context, &status, &redundancy);
    tools_rebuilds_get(context, &status, &rebuilds);
    status_print(context, &status, known ? &redundancy : NULL, &rebuilds);
    cJSON *object = status_json(&status, known ? &redundancy : NULL);
    tools_rebuilds_json(object, &rebuilds);
    tools_out_object(&context->out, object);
    lilio_redundancy_release(&redundancy);
    lilio_status_release(&status);
    return TOOLS_EXIT_OK;
}

/* ---- df ---- */

static const struct argp df_argp = {
    .parser = no_words_parse,
    .doc = "Tells how much room the OSDs have, use and leave. \"Room for\" is what still fits with "
           "the "
           "default profile; a reserve for deletes is not counted as free."
           "\vExamples:\n"
           "  lilio-ec df\n"
           "  lilio-ec df --json\n",
};

/* Free and capacity bytes of the OSDs that are up, by position in status; where several OSDs of
 * this machine share one disk, each gets its part of it. */
struct room {
    uint64_t *free_bytes, *capacity_bytes;
    size_t count;
    bool shared;
};

/* The device under each OSD's folder, 0 if it is not on this machine. */
static uint64_t device_of(const struct proto_cluster_file *file, uint32_t id)
{
    const struct proto_cluster_node *node = proto_cluster_osd(file, id);
    struct stat stat_buffer;
    return node && node->dir && stat(node->dir, &stat_buffer) == 0 ? stat_buffer.st_dev : 0;
}

static void room_fill(struct tools_context *context, const struct lilio_status *status,
                      struct room *room)
{
    struct proto_cluster_file file;
    bool known = proto_cluster_file_load(tools_config_path(context), &file, NULL) == LILIO_OK;
    for (size_t i = 0; i < status->osd_count; i++) {
        const struct lilio_osd *osd = &status->osds[i];
        uint64_t device = known ? device_of(&file, osd->id) : 0, sharers = 1;
        for (size_t j = 0; device && j < status->osd_count; j++)
            sharers += j != i && device_of(&file, status->osds[j].id) == device;
        room->shared = room->shared || sharers > 1;
        if (!is_up(osd))
            continue;
        room->free_bytes[room->count] = osd->free_bytes / sharers;
        room->capacity_bytes[room->count++] = osd->capacity_bytes / sharers;
    }
    if (known)
        proto_cluster_file_release(&file);
}

static void df_print(struct tools_context *context, const struct lilio_status *status,
                     const struct room *room)
{
    struct tools_out *out = &context->out;
    const struct lilio_profile *profile = &status->default_profile;
    uint64_t capacity = 0, used = 0, left = 0;
    for (size_t i = 0; i < status->osd_count; i++)
        used += status->osds[i].used_bytes;
    for (size_t i = 0; i < room->count; i++) {
        capacity += room->capacity_bytes[i];
        left += room->free_bytes[i];
    }
    uint64_t fits =
        profile->data_count * tools_capacity_per_slot(room->free_bytes, room->count,
                                                      profile->data_count + profile->parity_count);
    char a[TOOLS_TEXT], b[TOOLS_TEXT], c[TOOLS_TEXT];
    osds_print(context, status);
    tools_out_line(out, "disks     %s, %s used by fragments, %s free%s",
                   tools_text_bytes(capacity, a), tools_text_bytes(used, b),
                   tools_text_bytes(left, c),
                   room->shared ? " (a disk that several OSDs share is counted once)" : "");
    tools_out_line(out, "objects   %llu, %s; %s of deleted ones wait for collection",
                   (unsigned long long)status->object_count,
                   tools_text_bytes(status->object_bytes, a),
                   tools_text_bytes(status->gc_bytes, b));
    tools_out_line(out, "room for  about %s more with %u+%u", tools_text_bytes(fits, a),
                   profile->data_count, profile->parity_count);
    cJSON *object = tools_json_new();
    tools_json_u64(object, "capacity_bytes", capacity);
    tools_json_u64(object, "used_bytes", used);
    tools_json_u64(object, "free_bytes", left);
    tools_json_u64(object, "objects", status->object_count);
    tools_json_u64(object, "object_bytes", status->object_bytes);
    tools_json_u64(object, "gc_rows", status->gc_rows);
    tools_json_u64(object, "gc_bytes", status->gc_bytes);
    tools_json_u64(object, "map_bytes", status->map_bytes);
    tools_json_u64(object, "room_bytes", fits);
    osds_json(object, status);
    tools_out_object(out, object);
}

int tools_cmd_df(struct tools_context *context, int argc, char **argv)
{
    struct lilio_status status;
    tools_args_parse(context, &df_argp, argc, argv, NULL);
    int code = status_ask(context, &status);
    if (code)
        return code;
    struct room room = {
        .free_bytes = calloc(status.osd_count + 1, sizeof *room.free_bytes),
        .capacity_bytes = calloc(status.osd_count + 1, sizeof *room.capacity_bytes),
    };
    if (room.free_bytes && room.capacity_bytes) {
        room_fill(context, &status, &room);
        df_print(context, &status, &room);
    } else {
        code = tools_fail(context, LILIO_E_NOMEM);
    }
    free(room.free_bytes);
    free(room.capacity_bytes);
    lilio_status_release(&status);
    return code;
}
