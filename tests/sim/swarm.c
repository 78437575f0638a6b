#include "tests/sim/swarm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

static const struct entry {
    const char *name;
    size_t offset;
    uint64_t least, most;
} table[] = {
#define X(name, least, most) {#name, offsetof(struct sim_swarm, name), least, most},
    SIM_SWARM_TABLE(X)
#undef X
};
enum { ENTRIES = sizeof table / sizeof *table };

static uint64_t *field(struct sim_swarm *swarm, const struct entry *entry)
{
    return (uint64_t *)((char *)swarm + entry->offset);
}

/* ---- drawing ---- */

static uint64_t one_of(struct sim_stream *s, const uint64_t *numbers, size_t count)
{
    return numbers[sim_below(s, count)];
}
#define ONE_OF(s, ...)                         \
    one_of(s, (const uint64_t[]){__VA_ARGS__}, \
           sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

/* A mean distance: never in some of the runs, else between the bounds. */
static uint64_t distance(struct sim_stream *s, uint64_t percent, uint64_t least, uint64_t most)
{
    uint64_t drawn = sim_between(s, least, most);
    return sim_below(s, 100) < percent ? drawn : 0;
}

static void draw_topology(struct sim_swarm *w, struct sim_stream *s)
{
    static const uint64_t profiles[][2] = {{2, 1}, {4, 2}, {3, 2}, {1, 2}, {2, 2}, {1, 1},
                                           {4, 2}, {2, 1}, {5, 1}, {6, 3}, {3, 1}};
    size_t profile = sim_below(s, sizeof profiles / sizeof *profiles);
    w->data = profiles[profile][0];
    w->parity = profiles[profile][1];
    w->coordinators = ONE_OF(s, 3, 3, 3, 4, 5, 5, 1);
    uint64_t least = w->data + w->parity > 6 ? w->data + w->parity : 6;
    w->osds = sim_below(s, 4) ? sim_between(s, least, least + 3) : sim_between(s, least, 20);
    w->clients = sim_between(s, 1, 10);
    w->workers = sim_between(s, 20, 50) / w->clients;
    /* Mostly data + 1; all fragments; just the data. */
    uint64_t kind = sim_below(s, 10);
    w->quorum = kind < 7 ? 0 : kind < 9 ? w->data + w->parity : w->data;
    w->fragment_bytes = ONE_OF(s, 4096, 4096, 8192, 16384, 65536);
}

static void draw_times(struct sim_swarm *w, struct sim_stream *s)
{
    w->faults_s = sim_between(s, 60, 75);
    w->heal_s = 600;
    w->gc_grace_ms = ONE_OF(s, 1000, 3000, 10000, 30000, 3600000);
    w->suspect_ms = ONE_OF(s, 3000, 3000, 1500);
    w->down_ms = ONE_OF(s, 10000, 5000, 3000);
    w->out_ms = 600000;
    w->timeout_ms = ONE_OF(s, 10000, 5000, 3000, 20000);
    w->latency_us = ONE_OF(s, 50, 100, 300, 1000);
    w->spread_us = ONE_OF(s, 20, 100, 500, 3000);
    w->disk_us = ONE_OF(s, 50, 100, 500);
    w->sync_us = ONE_OF(s, 200, 500, 1000, 4000);
    w->preempt_ppm = ONE_OF(s, 0, 1000, 10000, 100000);
    w->drift_ppm = ONE_OF(s, 0, 100, 1000, 20000);
    w->log_kib = ONE_OF(s, 0, 128, 128, 128, 1024);
    w->flush_ms = ONE_OF(s, 0, 1000, 5000);
}

static void draw_workload(struct sim_swarm *w, struct sim_stream *s)
{
    w->rate = sim_between(s, 65, 105);
    w->keys = ONE_OF(s, 5, 20, 60, 150, 600);
    w->hot_percent = ONE_OF(s, 0, 20, 60);
    w->put = sim_between(s, 20, 60);
    w->put_absent = sim_between(s, 0, 15);
    w->put_version = sim_between(s, 0, 20);
    w->get = sim_between(s, 20, 80);
    w->range = sim_between(s, 0, 15);
    w->stat = sim_between(s, 0, 10);
    w->list = w->keys <= 60 ? sim_between(s, 0, 4) : 1;
    w->delete = sim_between(s, 0, 20);
    w->delete_version = sim_between(s, 0, 10);
    w->copy = sim_between(s, 0, 4);
    w->put_many = ONE_OF(s, 0, 0, 1);
    w->size_empty = sim_between(s, 0, 5);
    w->size_tiny = sim_between(s, 5, 50);
    w->size_edge = sim_between(s, 5, 30);
    w->size_stripes = sim_between(s, 1, 10);
    w->stripes_max = w->fragment_bytes > 16384 ? 3 : ONE_OF(s, 3, 6, 12);
}

static void draw_network(struct sim_swarm *w, struct sim_stream *s)
{
    w->net_break_ppm = ONE_OF(s, 0, 0, 100, 1000, 5000);
    w->net_drop_ppm = ONE_OF(s, 0, 0, 1000, 20000, 100000);
    w->net_duplicate_ppm = ONE_OF(s, 0, 0, 1000, 20000);
    w->net_reorder_ppm = ONE_OF(s, 0, 0, 1000, 20000, 100000);
    w->partition_ms = distance(s, 40, 5000, 30000);
    w->one_way_ms = distance(s, 40, 3000, 30000);
    w->isolate_ms = distance(s, 50, 2000, 20000);
    w->clog_ms = distance(s, 30, 2000, 20000);
    w->cut_for_ms = ONE_OF(s, 300, 1000, 3000, 8000, 15000);
    w->intruder_ms = distance(s, 15, 1000, 10000);
    w->break_ms = distance(s, 20, 1000, 10000);
    w->cut_append_ppm = ONE_OF(s, 0, 2000, 2000, 10000);
    w->cut_members_ppm = ONE_OF(s, 0, 200000, 500000);
    w->turn_percent = ONE_OF(s, 0, 30, 100);
}

static void draw_processes(struct sim_swarm *w, struct sim_stream *s)
{
    w->kill_ms = distance(s, 50, 2000, 20000);
    w->power_ms = distance(s, 50, 3000, 20000);
    w->power_in_write_ms = distance(s, 40, 3000, 20000);
    w->blackout_ms = distance(s, 15, 20000, 50000);
    w->terminate_ms = distance(s, 20, 5000, 40000);
    w->client_kill_ms = distance(s, 30, 5000, 30000);
    w->down_for_ms = ONE_OF(s, 100, 1000, 3000, 8000, 20000);
    w->pause_ms = distance(s, 40, 1000, 20000);
    w->pause_for_ms = ONE_OF(s, 100, 400, 800, 2000, 6000, 20000);
    w->wall_jump_ms = distance(s, 20, 2000, 20000);
    w->leader_percent = ONE_OF(s, 0, 30, 60);
    w->transfer_ms = distance(s, 30, 2000, 20000);
    w->member_ms = distance(s, 25, 8000, 30000);
}

static void draw_disks(struct sim_swarm *w, struct sim_stream *s)
{
    w->disk_error_ms = distance(s, 45, 2000, 20000);
    w->disk_full_ms = distance(s, 15, 10000, 40000);
    w->disk_slow_ms = distance(s, 30, 3000, 20000);
    w->disk_stall_ppm = ONE_OF(s, 0, 0, 0, 100, 2000);
    w->disk_for_ms = ONE_OF(s, 300, 2000, 8000);
    w->flip_ms = distance(s, 30, 2000, 20000);
    w->read_flip_ms = distance(s, 25, 3000, 30000);
    w->write_flip_ms = distance(s, 15, 10000, 40000);
    w->misdirect_ms = distance(s, 15, 10000, 40000);
    w->disk_replace_ms = distance(s, 30, 5000, 30000);
    w->freeze_percent = ONE_OF(s, 0, 30, 60);
    w->coordinator_replace_ms = distance(s, 15, 20000, 50000);
    w->rebuild_percent = ONE_OF(s, 0, 50, 100, 100);
    w->verify_percent = ONE_OF(s, 5, 5, 5, 40);
    w->beyond = 0;
    w->disk_older_ms = distance(s, 25, 2000, 15000);
}

/* Some runs forget orphans soon, the others only at their end. */
static void draw_garbage(struct sim_swarm *w, struct sim_stream *s)
{
    w->orphan_ms = ONE_OF(s, 500, 1000, 3000, 86400000);
}

/* Some leaders have what a member lacks on their disk alone. */
static void draw_memory(struct sim_swarm *w, struct sim_stream *s)
{
    w->log_cache_kib = ONE_OF(s, 0, 64, 256, 256);
}

/* What the network brings twice is seen in front of raft, or raft has to see it. */
static void draw_replays(struct sim_swarm *w, struct sim_stream *s)
{
    w->replays_pass = sim_below(s, 2);
}

/* Periods of seconds, so that rounds come and damage is found that nobody reads. */
static void draw_scrub(struct sim_swarm *w, struct sim_stream *s)
{
    w->scrub_light_ms = ONE_OF(s, 0, 2000, 5000, 20000);
    w->scrub_deep_ms = ONE_OF(s, 0, 3000, 10000, 60000);
    w->scrub_percent = ONE_OF(s, 0, 0, 3, 20);
}

/* ---- what needs several things at once ---- */

/* Leaders stand still until others have taken over, and go on. */
static void focus_on_pauses(struct sim_swarm *w)
{
    w->coordinators = 3;
    w->pause_ms = 1500;
    w->pause_for_ms = 2000;
    w->leader_percent = 60;
}

/* Leaders are cut off with an entry nobody has, and come back to a next one that is alone. */
static void focus_on_turns(struct sim_swarm *w)
{
    w->coordinators = w->coordinators > 3 ? 5 : 3;
    w->cut_append_ppm = 10000;
    w->turn_percent = 100;
    w->cut_for_ms = 3000;
}

/* States are pulled from disks and links that are slow, while leaders change. */
static void focus_on_pulls(struct sim_swarm *w)
{
    focus_on_turns(w);
    w->log_kib = 128;
    w->flush_ms = 1000;
    w->member_ms = 8000;
    w->disk_slow_ms = 1500;
    w->disk_for_ms = 8000;
}

/* Long logs are applied again after power losses, from disks that fail. */
static void focus_on_replays(struct sim_swarm *w)
{
    w->coordinators = w->coordinators > 3 ? 5 : 3;
    w->flush_ms = 0;
    w->power_ms = 3000;
    w->down_for_ms = 1000;
    w->disk_error_ms = 1500;
    w->disk_for_ms = 8000;
}

/* Disks come and go while puts are under way, and what was put stays. */
static void focus_on_disks(struct sim_swarm *w)
{
    if (w->parity == 0 || w->quorum == w->data)
        w->quorum = 0;
    w->disk_replace_ms = 3000;
    w->freeze_percent = 100;
    w->down_for_ms = 100;
    w->rebuild_percent = 100;
    w->disk_for_ms = 300;
    w->keys = 600;
    w->hot_percent = 0;
    w->size_stripes = 30;
    w->rebuild_well_percent = 20; /* it must not make worse what the others lack */
}

static void draw_focus(struct sim_swarm *w, struct sim_stream *s)
{
    switch (sim_below(s, 16)) {
    case 0:
    case 1: focus_on_pauses(w); break;
    case 2: focus_on_turns(w); break;
    case 3: focus_on_pulls(w); break;
    case 4:
    case 5: focus_on_disks(w); break;
    case 6: focus_on_replays(w); break;
    default: break;
    }
}

/* What brings a new leader, which gives every OSD its full time again, happens seldom. */
static void leaders_stay(struct sim_swarm *w, struct sim_stream *s)
{
    w->leader_percent = w->turn_percent = 0;
    w->cut_append_ppm = w->cut_members_ppm = 0;
    w->blackout_ms = w->pause_ms = w->partition_ms = w->one_way_ms = 0;
    w->isolate_ms = w->isolate_ms ? 30000 : 0;
    w->transfer_ms = ONE_OF(s, 0, 0, 20000);
    w->member_ms = w->coordinator_replace_ms = 0;
    w->kill_ms = w->kill_ms ? 15000 : 0;
    w->power_ms = w->power_ms ? 20000 : 0;
    w->power_in_write_ms = w->power_in_write_ms ? 20000 : 0;
    w->down_for_ms = w->down_for_ms < 1000 ? w->down_for_ms : 1000;
}

/* OSDs are out after some seconds, are away for longer than that, and there are others. */
static void draw_moves(struct sim_swarm *w, struct sim_stream *s)
{
    uint64_t more = sim_between(s, 1, 4), out_ms = sim_between(s, 1000, 4000);
    uint64_t away_ms = sim_between(s, 4000, 12000), calm = sim_below(s, 3);
    if (sim_below(s, 4) != 0)
        return;
    uint64_t least = w->data + w->parity + more;
    w->osds = w->osds < least ? least : w->osds;
    w->suspect_ms = 1500;
    w->down_ms = 3000;
    w->out_ms = w->down_ms + out_ms;
    w->away_ms = away_ms;
    w->away_for_ms = 2 * w->out_ms;
    if (calm > 0)
        leaders_stay(w, s);
}

/* An OSD gives what it has to others, while there are more than a stripe is wide. */
static void draw_drains(struct sim_swarm *w, struct sim_stream *s)
{
    uint64_t percent = ONE_OF(s, 0, 0, 5, 30);
    w->drain_percent = w->osds > w->data + w->parity ? percent : 0;
    if (w->drain_percent == 30)
        leaders_stay(w, s); /* what moves waits for the leader's first seconds */
}

/* An older copy of an OSD's disk is put back. */
static void draw_copies(struct sim_swarm *w, struct sim_stream *s)
{
    w->old_copy_ms = distance(s, 30, 3000, 15000);
}

void sim_swarm_draw(struct sim_swarm *ret)
{
    memset(ret, 0, sizeof *ret);
    struct {
        const char *name;
        void (*draw)(struct sim_swarm *w, struct sim_stream *s);
    } parts[] = {{"swarm/topology", draw_topology},   {"swarm/times", draw_times},
                 {"swarm/workload", draw_workload},   {"swarm/network", draw_network},
                 {"swarm/processes", draw_processes}, {"swarm/disks", draw_disks},
                 {"swarm/focus", draw_focus},         {"swarm/moves", draw_moves},
                 {"swarm/drains", draw_drains},       {"swarm/garbage", draw_garbage},
                 {"swarm/copies", draw_copies},       {"swarm/scrub", draw_scrub},
                 {"swarm/memory", draw_memory},       {"swarm/replays", draw_replays}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        struct sim_stream stream = sim_stream_new(parts[i].name);
        parts[i].draw(ret, &stream);
    }
}

/* ---- settings ---- */

bool sim_swarm_set(struct sim_swarm *swarm, const char *assignment)
{
    const char *equals = strchr(assignment, '=');
    if (!equals || equals[1] < '0' || equals[1] > '9')
        return false;
    char *end;
    errno = 0;
    uint64_t value = strtoull(equals + 1, &end, 10);
    if (*end || errno)
        return false;
    size_t length = (size_t)(equals - assignment);
    for (size_t i = 0; i < ENTRIES; i++)
        if (strlen(table[i].name) == length && memcmp(table[i].name, assignment, length) == 0) {
            *field(swarm, &table[i]) = value;
            return value >= table[i].least && value <= table[i].most;
        }
    return false;
}

bool sim_swarm_valid(const struct sim_swarm *swarm, char ret_reason[128])
{
    uint64_t total = swarm->data + swarm->parity;
    const char *reason = NULL;
    if (total > swarm->osds)
        reason = "more fragments than OSDs";
    else if (swarm->quorum && (swarm->quorum < swarm->data || swarm->quorum > total))
        reason = "the quorum is not between data and data + parity";
    else if (swarm->put + swarm->put_absent == 0)
        reason = "nothing is ever put";
    else if (swarm->size_empty + swarm->size_tiny + swarm->size_edge + swarm->size_stripes == 0)
        reason = "no sizes";
    if (reason)
        snprintf(ret_reason, 128, "%s", reason);
    return reason == NULL;
}

uint64_t sim_swarm_budget(const struct sim_swarm *swarm)
{
    uint64_t quorum = swarm->quorum ? swarm->quorum : swarm->data + (swarm->parity > 0);
    return quorum - swarm->data;
}

void sim_swarm_print(const struct sim_swarm *swarm, FILE *to)
{
    struct sim_swarm copy = *swarm;
    size_t column = 0;
    for (size_t i = 0; i < ENTRIES; i++) {
        char text[64];
        int length = snprintf(text, sizeof text, "%s=%llu", table[i].name,
                              (unsigned long long)*field(&copy, &table[i]));
        if (column && column + 1 + (size_t)length > 100) {
            fputc('\n', to);
            column = 0;
        }
        fprintf(to, "%s%s", column ? " " : "", text);
        column += (size_t)length + (column > 0);
    }
    fputc('\n', to);
}
