#include "tests/sim/faults.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mark.h"
#include "tests/sim/disk.h"
#include "tests/sim/intruder.h"
#include "tests/sim/net.h"
#include "tests/sim/watch.h"

#include "base/banned.h"

#define TICK_NS (50 * SIM_MS)

/* What the supervisor knows of a node; times are true ones, 0 = nothing planned. */
struct ward {
    uint64_t start_at, resume_at, disk_well_at, cut_until, harm_until;
    uint64_t dead_until; /* its disk answers with errors only, and is replaced then */
    bool hurt, lost;     /* lost: a coordinator without its disk */
    bool leaves;         /* a coordinator that is well and to be taken out of the quorum */
    bool soiled;         /* calls of its disk failed: a process that saw it wants to be restarted */
    uint64_t mark;       /* counts harms */
    struct sim_disk_copy *copy; /* of an OSD's disk */
    char join[24]; /* a coordinator that came in the place of another: as which member */
    uint64_t ended_at;
};

struct sim_faults {
    struct sim_faults_options options;
    const struct sim_swarm *swarm;
    struct sim_stream random;
    struct ward wards[SIM_NODES_MAX];
    struct fault_timer {
        struct sim_faults *faults;
        size_t kind;
        struct sim_timer timer;
    } timers[40];
    struct sim_timer tick, turn;
    struct sim_node *copied; /* whose disk was copied, in which life */
    struct sim_disk_copy *copy;
    unsigned copied_life;
    struct sim_node *deposed, *next; /* a leader that is cut off, and the one that came after it */
    uint64_t net_well_at;
    bool active, was_beyond;
    enum sim_wish wish;
    unsigned wish_coordinator;
};

/* ---- who ---- */

static struct ward *ward(struct sim_faults *f, const struct sim_node *node)
{
    return &f->wards[sim_node_index(node)];
}

static struct sim_node *any_osd(struct sim_faults *f)
{
    return sim_osd((unsigned)sim_below(&f->random, f->swarm->osds));
}

static struct sim_node *any_coordinator(struct sim_faults *f)
{
    int leader = f->options.leader ? f->options.leader(f->options.context) : -1;
    if (leader >= 0 && sim_below(&f->random, 100) < f->swarm->leader_percent)
        return sim_coordinator((unsigned)leader);
    return sim_coordinator((unsigned)sim_below(&f->random, f->swarm->coordinators));
}

static struct sim_node *any_server(struct sim_faults *f)
{
    return sim_below(&f->random, 2) ? any_coordinator(f) : any_osd(f);
}

static struct sim_node *any_node(struct sim_faults *f)
{
    uint64_t kind = sim_below(&f->random, 5);
    return kind < 2   ? any_coordinator(f)
           : kind < 4 ? any_osd(f)
                      : sim_client((unsigned)sim_below(&f->random, f->swarm->clients));
}

/* ---- the budget ---- */

static uint64_t hurt_count(const struct sim_faults *f, enum sim_kind kind)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < sim_node_count(); i++)
        count += f->wards[i].hurt && sim_node_kind(sim_node_at(i)) == kind;
    return count;
}

/* Enters that a node does not count for a while; false when that would be too much. */
static bool spend(struct sim_faults *f, struct sim_node *node)
{
    struct ward *w = ward(f, node);
    enum sim_kind kind = sim_node_kind(node);
    uint64_t budget =
        kind == SIM_OSD ? sim_swarm_budget(f->swarm) : (f->swarm->coordinators - 1) / 2;
    uint64_t most = kind == SIM_OSD && f->swarm->beyond ? 2 * budget + 1 : budget;
    if (!w->hurt && hurt_count(f, kind) >= most)
        return false;
    w->hurt = true;
    w->mark++;
    if (hurt_count(f, kind) > budget)
        f->was_beyond = true;
    return true;
}

/* Likewise harm to its data. */
static bool harm(struct sim_faults *f, struct sim_node *node)
{
    if (!spend(f, node))
        return false;
    if (sim_node_kind(node) == SIM_COORDINATOR)
        sim_watch_damaged(sim_node_id(node));
    return true;
}

/* ---- network ---- */

static void cut_ends_at(struct sim_faults *f, uint64_t at)
{
    if (at > f->net_well_at)
        f->net_well_at = at;
}

static uint64_t cut_time(struct sim_faults *f)
{
    return sim_now() + sim_about(&f->random, f->swarm->cut_for_ms * SIM_MS);
}

/* The one that was cut off hears the next leader, but not what that one sent it at first. */
static void turn_back(struct sim_timer *timer)
{
    struct sim_faults *f = timer->context;
    sim_net_isolate(f->deposed, false);
    sim_net_break(f->next, f->deposed);
    f->deposed = f->next = NULL;
}

/* Another leads, and has just appended its first entry: those who elected it are gone, and it finds
 * no majority without the one that led before. */
static void turn(struct sim_faults *f, struct sim_node *next)
{
    LILIO_MARK("fault/turn");
    uint64_t stay = f->swarm->coordinators / 2 - 1;
    for (unsigned i = 0; i < f->swarm->coordinators; i++) {
        struct sim_node *other = sim_coordinator(i);
        if (other == next || other == f->deposed)
            continue;
        if (stay > 0)
            stay--;
        else
            sim_net_isolate(other, true);
    }
    f->next = next;
    sim_timer_set(&f->turn, sim_now() + sim_between(&f->random, 1, 300) * SIM_MS, turn_back, f);
    cut_ends_at(f, sim_now() + sim_between(&f->random, 500, 3000) * SIM_MS);
}

/* A leader that is cut off will be heard again by the next one. Some are still writing then. */
static void depose(struct sim_faults *f, struct sim_node *leader)
{
    f->deposed = leader;
    cut_ends_at(f, sim_now() + 5 * SIM_S);
    if (sim_below(&f->random, 2))
        return;
    sim_disk_slow(sim_node_disk(leader), (uint32_t)sim_between(&f->random, 200, 3000));
    ward(f, leader)->disk_well_at = sim_now() + 4 * SIM_S;
}

/* The moment that tells most: a leader has appended an entry and sent it to nobody yet. */
static void leader_appended(void *context, struct sim_node *node, bool members)
{
    struct sim_faults *f = context;
    if (f->active && f->deposed && f->deposed != node && !f->next)
        turn(f, node);
    if (!f->active || f->deposed ||
        !sim_chance(&f->random, members ? f->swarm->cut_members_ppm : f->swarm->cut_append_ppm))
        return;
    if (members)
        LILIO_MARK("fault/cut_members");
    else
        LILIO_MARK("fault/cut_append");
    sim_net_isolate(node, true);
    cut_ends_at(f, cut_time(f));
    if (f->swarm->coordinators > 1 && sim_below(&f->random, 100) < f->swarm->turn_percent)
        depose(f, node);
}

/* One two-way cut at a time ends all blocks at once: they do not nest. */
static void partition(struct sim_faults *f)
{
    uint8_t group[SIM_NODES_MAX];
    for (unsigned i = 0; i < sim_node_count(); i++)
        group[i] = (uint8_t)sim_below(&f->random, 2);
    LILIO_MARK("fault/partition");
    sim_net_split(group);
    cut_ends_at(f, cut_time(f));
}

static void one_way(struct sim_faults *f)
{
    struct sim_node *from = any_node(f), *to = any_server(f);
    if (from == to)
        return;
    LILIO_MARK("fault/one_way");
    sim_net_block(from, to, true);
    cut_ends_at(f, cut_time(f));
}

static void isolate(struct sim_faults *f)
{
    LILIO_MARK("fault/isolate");
    sim_net_isolate(any_node(f), true);
    cut_ends_at(f, cut_time(f));
}

static void clog_link(struct sim_faults *f)
{
    struct sim_node *from = any_node(f), *to = any_server(f);
    if (from == to)
        return;
    LILIO_MARK("fault/clog");
    sim_net_clog(from, to, cut_time(f));
}

static void break_link(struct sim_faults *f)
{
    sim_net_break(any_node(f), any_server(f));
}

static void intrude(struct sim_faults *f)
{
    sim_intrude(&f->random, any_server(f));
}

/* ---- processes ---- */

static void goes_down(struct sim_faults *f, struct sim_node *node)
{
    struct ward *w = ward(f, node);
    w->start_at = sim_now() + sim_about(&f->random, f->swarm->down_for_ms * SIM_MS) + SIM_MS;
    w->resume_at = 0;
}

static void kill_one(struct sim_faults *f)
{
    struct sim_node *node = any_server(f);
    if (sim_node_state(node) != SIM_UP)
        return;
    LILIO_MARK("fault/kill");
    sim_node_kill(node);
    goes_down(f, node);
}

/* One at a time: two would be too many for slots to move. */
static void go_away(struct sim_faults *f)
{
    struct sim_node *node = sim_osd((unsigned)sim_below(&f->random, f->swarm->osds));
    for (unsigned i = 0; i < f->swarm->osds; i++)
        if (sim_node_state(sim_osd(i)) != SIM_UP)
            return;
    LILIO_MARK("fault/away");
    sim_node_kill(node);
    ward(f, node)->start_at =
        sim_now() + sim_about(&f->random, f->swarm->away_for_ms * SIM_MS) + SIM_MS;
    ward(f, node)->resume_at = 0;
}

static void power_off(struct sim_faults *f)
{
    struct sim_node *node = any_server(f);
    if (sim_node_state(node) != SIM_UP)
        return;
    LILIO_MARK("fault/power");
    sim_node_power_off(node);
    goes_down(f, node);
}

static void power_off_in_write(struct sim_faults *f)
{
    struct sim_node *node = any_server(f);
    if (sim_node_state(node) != SIM_UP)
        return;
    LILIO_MARK("fault/power_in_write");
    sim_node_power_off_at(node, sim_between(&f->random, 1, 20));
}

static void blackout(struct sim_faults *f)
{
    LILIO_MARK("fault/blackout");
    for (unsigned i = 0; i < sim_node_count(); i++) {
        struct sim_node *node = sim_node_at(i);
        enum sim_kind kind = sim_node_kind(node);
        if ((kind == SIM_COORDINATOR || kind == SIM_OSD) && sim_node_state(node) == SIM_UP) {
            sim_node_power_off(node);
            goes_down(f, node);
        }
    }
}

static void terminate(struct sim_faults *f)
{
    struct sim_node *node = any_server(f);
    if (sim_node_state(node) != SIM_UP || sim_node_paused(node))
        return;
    LILIO_MARK("fault/terminate");
    sim_node_terminate(node);
}

static void kill_client(struct sim_faults *f)
{
    struct sim_node *node = sim_client((unsigned)sim_below(&f->random, f->swarm->clients));
    if (sim_node_state(node) != SIM_UP)
        return;
    LILIO_MARK("fault/client_kill");
    sim_node_kill(node);
    goes_down(f, node);
}

static void pause_one(struct sim_faults *f)
{
    struct sim_node *node = any_node(f);
    if (sim_node_state(node) != SIM_UP || sim_node_paused(node))
        return;
    LILIO_MARK("fault/pause");
    sim_node_pause(node);
    ward(f, node)->resume_at =
        sim_now() + sim_about(&f->random, f->swarm->pause_for_ms * SIM_MS) + SIM_MS;
}

static void wall_jump(struct sim_faults *f)
{
    static const int64_t jumps[] = {1000, -1000, 60000, -60000, 86400000, -86400000, 31536000000};
    LILIO_MARK("fault/wall_jump");
    sim_node_wall_jump(any_server(f), jumps[sim_below(&f->random, sizeof jumps / sizeof *jumps)]);
}

static void transfer(struct sim_faults *f)
{
    if (f->wish != SIM_WISH_NONE || f->swarm->coordinators == 1)
        return;
    f->wish = SIM_WISH_TRANSFER;
    f->wish_coordinator = sim_node_id(any_coordinator(f));
}

/* ---- disks ---- */

static uint64_t disk_time(struct sim_faults *f)
{
    return sim_now() + sim_about(&f->random, f->swarm->disk_for_ms * SIM_MS) + SIM_MS;
}

static void disk_faults(struct sim_faults *f, struct sim_node *node,
                        const struct sim_disk_faults *faults)
{
    struct ward *w = ward(f, node);
    sim_disk_faults_set(sim_node_disk(node), faults);
    w->soiled = true;
    w->disk_well_at = disk_time(f);
}

static void disk_error(struct sim_faults *f)
{
    LILIO_MARK("fault/disk_error");
    struct sim_disk_faults faults = {.stall_ppm = (uint32_t)f->swarm->disk_stall_ppm};
    uint32_t *which[] = {&faults.write_error_ppm, &faults.sync_error_ppm, &faults.meta_error_ppm,
                         &faults.read_error_ppm};
    *which[sim_below(&f->random, 4)] = (uint32_t)sim_between(&f->random, 1000, 300000);
    disk_faults(f, any_server(f), &faults);
}

static void disk_full(struct sim_faults *f)
{
    struct sim_node *node = any_server(f);
    LILIO_MARK("fault/disk_full");
    sim_disk_full(sim_node_disk(node), true);
    ward(f, node)->soiled = true;
    ward(f, node)->disk_well_at = disk_time(f);
}

static void disk_slow(struct sim_faults *f)
{
    struct sim_node *node = any_server(f);
    LILIO_MARK("fault/disk_slow");
    sim_disk_slow(sim_node_disk(node), (uint32_t)sim_between(&f->random, 2, 200));
    ward(f, node)->disk_well_at = disk_time(f);
}

static struct sim_node *any_to_harm(struct sim_faults *f)
{
    struct sim_node *node = f->swarm->coordinators > 1 && sim_below(&f->random, 3) == 0
                                ? any_coordinator(f)
                                : any_osd(f);
    return harm(f, node) ? node : NULL;
}

static void flip(struct sim_faults *f)
{
    struct sim_node *node = any_to_harm(f);
    if (!node)
        return;
    LILIO_MARK("fault/flip");
    const char *prefix =
        sim_node_kind(node) == SIM_OSD && sim_below(&f->random, 4) ? "segments/" : "";
    for (uint64_t n = sim_between(&f->random, 1, 5); n; n--)
        (void)sim_disk_flip(sim_node_disk(node), prefix);
}

static bool wrong_for_a_while(struct sim_faults *f, struct sim_disk_faults faults)
{
    struct sim_node *node = any_to_harm(f);
    if (!node)
        return false;
    disk_faults(f, node, &faults);
    ward(f, node)->harm_until = ward(f, node)->disk_well_at;
    return true;
}

static void read_flip(struct sim_faults *f)
{
    uint32_t ppm = (uint32_t)sim_between(&f->random, 1000, 200000);
    if (wrong_for_a_while(f, (struct sim_disk_faults){.read_flip_ppm = ppm}))
        LILIO_MARK("fault/read_flip");
}

static void write_flip(struct sim_faults *f)
{
    uint32_t ppm = (uint32_t)sim_between(&f->random, 1000, 200000);
    if (wrong_for_a_while(f, (struct sim_disk_faults){.write_flip_ppm = ppm}))
        LILIO_MARK("fault/write_flip");
}

static void misdirect(struct sim_faults *f)
{
    uint32_t ppm = (uint32_t)sim_between(&f->random, 1000, 200000);
    if (wrong_for_a_while(f, (struct sim_disk_faults){.misdirect_ppm = ppm}))
        LILIO_MARK("fault/misdirect");
}

static void replace_disk(struct sim_faults *f, struct sim_node *node)
{
    sim_disk_copy_free(&ward(f, node)->copy); /* it is another disk's */
    if (sim_node_state(node) == SIM_UP)
        sim_node_kill(node);
    sim_disk_replace(sim_node_disk(node));
    sim_disk_heal(sim_node_disk(node)); /* the new one is well */
    ward(f, node)->disk_well_at = 0;
    ward(f, node)->harm_until = ward(f, node)->dead_until = 0;
    goes_down(f, node);
}

/* Everything that is under way stands still for a while, and goes on in another world. */
static void freeze_clients(struct sim_faults *f)
{
    LILIO_MARK("fault/freeze");
    for (unsigned i = 0; i < f->swarm->clients; i++) {
        struct sim_node *node = sim_client(i);
        if (sim_node_state(node) != SIM_UP || sim_node_paused(node))
            continue;
        sim_node_pause(node);
        ward(f, node)->resume_at = sim_now() + sim_between(&f->random, 1000, 5000) * SIM_MS;
    }
}

static void lose_disk(struct sim_faults *f)
{
    struct sim_node *node = any_osd(f);
    if (!harm(f, node))
        return;
    LILIO_MARK("fault/disk_replace");
    if (sim_below(&f->random, 100) < f->swarm->freeze_percent)
        freeze_clients(f);
    if (sim_below(&f->random, 2)) {
        replace_disk(f, node);
        return;
    }
    sim_disk_kill(sim_node_disk(node));
    ward(f, node)->dead_until = ward(f, node)->harm_until = disk_time(f);
}

static void forget_copy(struct sim_faults *f)
{
    sim_disk_copy_free(&f->copy);
    f->copied = NULL;
}

static void copy_disk(struct sim_faults *f)
{
    struct sim_node *node = any_coordinator(f);
    if (ward(f, node)->hurt)
        return;
    sim_node_kill(node);
    f->copied = node;
    f->copied_life = sim_node_life(node);
    f->copy = sim_disk_copy_new(sim_node_disk(node));
    goes_down(f, node);
}

/* The disk of a coordinator goes back to a copy. That is found out if the others remember a later
 * start: all that are not lost themselves, because any of them may be away. */
static void disk_goes_back(struct sim_faults *f)
{
    bool hurt[SIM_NODES_MAX] = {false};
    if (f->swarm->coordinators == 1)
        return;
    if (f->copied && ward(f, f->copied)->hurt)
        forget_copy(f); /* somebody else comes in its place */
    if (!f->copied) {
        copy_disk(f);
        return;
    }
    struct sim_node *node = f->copied;
    for (unsigned i = 0; i < f->swarm->coordinators; i++)
        hurt[i] = ward(f, sim_coordinator(i))->hurt;
    if (!sim_watch_start_remembered(sim_node_id(node), f->copied_life, hurt) || !harm(f, node))
        return;
    sim_node_kill(node);
    sim_watch_older(sim_node_id(node));
    sim_disk_put_back(sim_node_disk(node), f->copy);
    forget_copy(f);
    goes_down(f, node);
}

/* A copy of the disk is made while the OSD is not up; the next time it is what comes back. */
static void old_copy(struct sim_faults *f)
{
    struct sim_node *node = any_osd(f);
    struct ward *w = ward(f, node);
    if (sim_node_state(node) != SIM_UP || w->dead_until || (w->copy && !harm(f, node)))
        return;
    sim_node_kill(node);
    if (w->copy) {
        LILIO_MARK("fault/old_copy");
        sim_disk_put_back(sim_node_disk(node), w->copy);
        sim_disk_copy_free(&w->copy);
    } else {
        w->copy = sim_disk_copy_new(sim_node_disk(node));
    }
    goes_down(f, node);
}

static void lose_coordinator(struct sim_faults *f)
{
    struct sim_node *node = any_coordinator(f);
    if (!harm(f, node))
        return;
    LILIO_MARK("fault/coordinator_replace");
    if (sim_node_state(node) == SIM_UP)
        sim_node_kill(node);
    sim_disk_replace(sim_node_disk(node));
    ward(f, node)->start_at = 0; /* the operator starts the new member */
    ward(f, node)->lost = true;
}

/* Though it is well: a new member comes in its place, or it leaves and comes again some time
 * later. The quorum is smaller until then, and what may be lost of it as well: the budget counts
 * who left. */
static void change_member(struct sim_faults *f)
{
    if (f->swarm->coordinators == 1)
        return;
    if (sim_below(&f->random, 2)) {
        lose_coordinator(f);
        return;
    }
    struct sim_node *node = any_coordinator(f);
    if (ward(f, node)->hurt || !spend(f, node))
        return;
    LILIO_MARK("fault/coordinator_leaves");
    ward(f, node)->leaves = true;
}

/* ---- the schedule ---- */

static const struct kind {
    size_t distance; /* the field of the swarm */
    void (*strike)(struct sim_faults *f);
} kinds[] = {
#define K(name, fn)                          \
    {                                        \
        offsetof(struct sim_swarm, name), fn \
    }
    K(partition_ms, partition),
    K(one_way_ms, one_way),
    K(isolate_ms, isolate),
    K(clog_ms, clog_link),
    K(break_ms, break_link),
    K(intruder_ms, intrude),
    K(kill_ms, kill_one),
    K(power_ms, power_off),
    K(power_in_write_ms, power_off_in_write),
    K(blackout_ms, blackout),
    K(terminate_ms, terminate),
    K(away_ms, go_away),
    K(client_kill_ms, kill_client),
    K(pause_ms, pause_one),
    K(wall_jump_ms, wall_jump),
    K(transfer_ms, transfer),
    K(member_ms, change_member),
    K(disk_error_ms, disk_error),
    K(disk_full_ms, disk_full),
    K(disk_slow_ms, disk_slow),
    K(flip_ms, flip),
    K(read_flip_ms, read_flip),
    K(write_flip_ms, write_flip),
    K(misdirect_ms, misdirect),
    K(disk_replace_ms, lose_disk),
    K(old_copy_ms, old_copy),
    K(coordinator_replace_ms, lose_coordinator),
    K(disk_older_ms, disk_goes_back),
#undef K
};
enum { KINDS = sizeof kinds / sizeof *kinds };
_Static_assert(KINDS <= sizeof((struct sim_faults *)0)->timers / sizeof(struct fault_timer),
               "a timer for each kind");

static void due(struct sim_timer *timer);

static void plan(struct fault_timer *t)
{
    uint64_t mean_ms =
        *(const uint64_t *)((const char *)t->faults->swarm + kinds[t->kind].distance);
    if (mean_ms)
        sim_timer_set(&t->timer, sim_now() + sim_about(&t->faults->random, mean_ms * SIM_MS) + 1,
                      due, t);
}

static void due(struct sim_timer *timer)
{
    struct fault_timer *t = timer->context;
    if (!t->faults->active)
        return;
    kinds[t->kind].strike(t->faults);
    plan(t);
}

/* ---- the supervisor ---- */

static void start_again(struct sim_faults *f, struct sim_node *node)
{
    ward(f, node)->start_at = 0;
    ward(f, node)->ended_at = 0;
    ward(f, node)->soiled &= ward(f, node)->disk_well_at != 0; /* it sees the fault, too */
    ward(f, node)->resume_at = 0;
    if (sim_node_kind(node) == SIM_CLIENT)
        sim_workload_start(f->options.workload, sim_node_id(node));
    else
        sim_node_start(
            node, ward(f, node)->join[0] ? &(struct sim_start){.join = ward(f, node)->join} : NULL);
}

static bool is_operator(const struct sim_faults *f, const struct sim_node *node)
{
    return sim_node_kind(node) == SIM_CLIENT && sim_node_id(node) >= f->swarm->clients;
}

/* A coordinator that was lost is the operator's, who starts the new member. */
static bool left_to_operator(const struct sim_faults *f, const struct sim_node *node)
{
    return is_operator(f, node) || f->wards[sim_node_index(node)].lost;
}

/* What the administrator does after the disk was seen to. */
static void restart_soiled(struct sim_faults *f, struct sim_node *node)
{
    if (!ward(f, node)->soiled || sim_node_state(node) != SIM_UP)
        return;
    sim_node_kill(node);
    ward(f, node)->start_at = sim_now() + 100 * SIM_MS;
}

static void look_after(struct sim_faults *f, struct sim_node *node)
{
    struct ward *w = ward(f, node);
    uint64_t now = sim_now();
    if (w->resume_at && now >= w->resume_at) {
        w->resume_at = 0;
        sim_node_resume(node);
    }
    if (w->disk_well_at && now >= w->disk_well_at) {
        w->disk_well_at = 0;
        w->harm_until = 0;
        sim_disk_heal(sim_node_disk(node));
        restart_soiled(f, node);
    }
    if (w->dead_until && now >= w->dead_until)
        replace_disk(f, node);
    bool up = sim_node_state(node) == SIM_UP;
    bool never = sim_node_kind(node) == SIM_CLIENT && sim_node_life(node) == 0;
    if (up || never || left_to_operator(f, node))
        return;
    if (w->start_at == 0 && !w->ended_at) { /* ended by itself, or its power went in a write */
        w->ended_at = now;
        w->start_at = now + (f->active ? sim_between(&f->random, 50, 2000) : 50) * SIM_MS;
    }
    if (w->start_at && now >= w->start_at)
        start_again(f, node);
}

static void net_heals(struct sim_faults *f)
{
    f->net_well_at = 0;
    f->deposed = f->next = NULL;
    sim_timer_cancel(&f->turn);
    sim_net_heal();
}

static void tick(struct sim_timer *timer)
{
    struct sim_faults *f = timer->context;
    if (f->net_well_at && sim_now() >= f->net_well_at)
        net_heals(f);
    for (unsigned i = 0; i < sim_node_count(); i++)
        if (sim_node_kind(sim_node_at(i)) != SIM_DRIVER)
            look_after(f, sim_node_at(i));
    sim_timer_set(timer, sim_now() + TICK_NS, tick, f);
}

static void set_links(const struct sim_faults *f, bool faulty)
{
    const struct sim_swarm *w = f->swarm;
    struct sim_link link = {
        .latency_ns = w->latency_us * SIM_US,
        .spread_ns = w->spread_us * SIM_US,
        .break_ppm = faulty ? (uint32_t)w->net_break_ppm : 0,
    };
    sim_net_default(&link);
    link.drop_ppm = (uint32_t)w->net_drop_ppm;
    link.duplicate_ppm = (uint32_t)w->net_duplicate_ppm;
    link.reorder_ppm = (uint32_t)w->net_reorder_ppm;
    for (unsigned i = 0; i < w->coordinators && faulty; i++)
        for (unsigned j = 0; j < w->coordinators; j++)
            if (i != j)
                sim_net_link(sim_coordinator(i), sim_coordinator(j), &link);
}

struct sim_faults *sim_faults_new(const struct sim_faults_options *options)
{
    struct sim_faults *f = calloc(1, sizeof *f);
    SIM_ASSERT(f != NULL);
    f->options = *options;
    f->swarm = options->swarm;
    f->random = sim_stream_new("faults");
    struct sim_disk_speed speed = {
        .read_ns = f->swarm->disk_us * SIM_US,
        .write_ns = f->swarm->disk_us * SIM_US,
        .sync_ns = f->swarm->sync_us * SIM_US,
        .meta_ns = f->swarm->disk_us * SIM_US,
    };
    for (unsigned i = 0; i < sim_node_count(); i++)
        if (sim_node_disk(sim_node_at(i)))
            sim_disk_speed_set(sim_node_disk(sim_node_at(i)), &speed);
    for (size_t i = 0; i < KINDS; i++) {
        f->timers[i].faults = f;
        f->timers[i].kind = i;
    }
    set_links(f, false);
    sim_timer_set(&f->tick, sim_now() + TICK_NS, tick, f);
    return f;
}

void sim_faults_free(struct sim_faults **faults)
{
    if (!*faults)
        return;
    for (size_t i = 0; i < KINDS; i++)
        sim_timer_cancel(&(*faults)->timers[i].timer);
    sim_timer_cancel(&(*faults)->tick);
    forget_copy(*faults);
    for (size_t i = 0; i < SIM_NODES_MAX; i++)
        sim_disk_copy_free(&(*faults)->wards[i].copy);
    free(*faults);
    *faults = NULL;
}

void sim_faults_start(struct sim_faults *f)
{
    f->active = true;
    sim_watch_on_append(leader_appended, f);
    set_links(f, true);
    sim_preempt_set(f->swarm->preempt_ppm);
    for (unsigned i = 0; i < sim_node_count() && f->swarm->drift_ppm; i++)
        sim_node_drift(sim_node_at(i), (int32_t)sim_below(&f->random, 2 * f->swarm->drift_ppm + 1) -
                                           (int32_t)f->swarm->drift_ppm);
    struct sim_disk_faults stalls = {.stall_ppm = (uint32_t)f->swarm->disk_stall_ppm};
    for (unsigned i = 0; i < sim_node_count() && stalls.stall_ppm; i++)
        if (sim_node_disk(sim_node_at(i)))
            sim_disk_faults_set(sim_node_disk(sim_node_at(i)), &stalls);
    for (size_t i = 0; i < KINDS; i++)
        plan(&f->timers[i]);
}

void sim_faults_stop(struct sim_faults *f)
{
    f->active = false;
    for (size_t i = 0; i < KINDS; i++)
        sim_timer_cancel(&f->timers[i].timer);
    set_links(f, false);
    net_heals(f);
    for (unsigned i = 0; i < sim_node_count(); i++) {
        struct sim_node *node = sim_node_at(i);
        struct ward *w = ward(f, node);
        if (sim_node_paused(node))
            sim_node_resume(node);
        if (sim_node_disk(node)) {
            sim_node_power_off_at(node, 0);
            sim_disk_heal(sim_node_disk(node));
            restart_soiled(f, node);
        }
        if (w->dead_until)
            replace_disk(f, node);
        w->resume_at = w->disk_well_at = w->harm_until = 0;
        if (w->start_at > sim_now() + 100 * SIM_MS)
            w->start_at = sim_now() + 100 * SIM_MS;
    }
}

/* ---- who is hurt ---- */

bool sim_faults_osd_hurt(const struct sim_faults *f, unsigned osd)
{
    return f->wards[sim_node_index(sim_osd(osd))].hurt;
}

bool sim_faults_osd_mendable(const struct sim_faults *f, unsigned osd, uint64_t *ret_mark)
{
    const struct ward *w = &f->wards[sim_node_index(sim_osd(osd))];
    *ret_mark = w->mark;
    return w->hurt && w->harm_until == 0 && sim_node_state(sim_osd(osd)) == SIM_UP;
}

void sim_faults_osd_mended(struct sim_faults *f, unsigned osd, uint64_t mark)
{
    struct ward *w = ward(f, sim_osd(osd));
    if (w->mark != mark)
        return;
    w->hurt = false;
    sim_workload_mended(f->options.workload);
}

void sim_faults_osd_empty(struct sim_faults *f, unsigned osd)
{
    struct sim_node *node = sim_osd(osd);
    replace_disk(f, node);
    ward(f, node)->mark++;
    start_again(f, node);
}

bool sim_faults_coordinator_hurt(const struct sim_faults *f, unsigned i, uint64_t *ret_mark)
{
    const struct ward *w = &f->wards[sim_node_index(sim_coordinator(i))];
    *ret_mark = w->mark;
    return w->hurt;
}

bool sim_faults_coordinator_leaves(const struct sim_faults *f, unsigned i)
{
    return f->wards[sim_node_index(sim_coordinator(i))].leaves;
}

void sim_faults_coordinator_left(struct sim_faults *f, unsigned i)
{
    struct sim_node *node = sim_coordinator(i);
    sim_node_kill(node);
    ward(f, node)->leaves = false;
    ward(f, node)->lost = true; /* the operator starts the new member */
}

void sim_faults_coordinator_join(struct sim_faults *f, unsigned i, uint64_t member)
{
    struct sim_node *node = sim_coordinator(i);
    struct ward *w = ward(f, node);
    if (sim_node_state(node) == SIM_UP)
        sim_node_kill(node);
    sim_disk_replace(sim_node_disk(node));
    sim_disk_heal(sim_node_disk(node));
    w->lost = false;
    w->disk_well_at = w->harm_until = 0;
    snprintf(w->join, sizeof w->join, "%llu", (unsigned long long)member);
    start_again(f, node);
}

void sim_faults_coordinator_mended(struct sim_faults *f, unsigned i, uint64_t mark)
{
    struct ward *w = ward(f, sim_coordinator(i));
    if (w->mark == mark)
        w->hurt = false;
}

bool sim_faults_beyond(const struct sim_faults *f)
{
    return f->was_beyond;
}

enum sim_wish sim_faults_wish(struct sim_faults *f, unsigned *ret_coordinator)
{
    enum sim_wish wish = f->wish;
    *ret_coordinator = f->wish_coordinator;
    f->wish = SIM_WISH_NONE;
    return wish;
}
