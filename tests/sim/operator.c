/* Who mends things: makes the bucket, rebuilds hurt OSDs, replaces coordinators and moves
 * leadership while faults go on, and looks at everything at the end. */
#include <string.h>

#include "tests/sim/plot_priv.h"

#include "base/banned.h"

static void open_client(void)
{
    struct lilio_options options = {
        .config_path = sim_cluster_config(), .label = "operator", .timeout_ms = 10000};
    struct lilio_errinfo info = {0};
    if (lilio_open(&options, &plot.lilio, &info) != LILIO_OK)
        sim_fail(SIM_WRONG, "the operator cannot open: %s", info.text);
}

static void make_bucket(void)
{
    const struct sim_swarm *w = &plot.swarm;
    struct lilio_profile profile = {(uint32_t)w->data, (uint32_t)w->parity,
                                    (uint32_t)w->fragment_bytes};
    for (;;) {
        struct lilio_errinfo info = {0};
        enum lilio_err err =
            lilio_bucket_create(plot.lilio, SIM_BUCKET, &profile, (uint32_t)w->quorum, NULL, &info);
        if (err == LILIO_OK || err == LILIO_E_EXISTS)
            return;
        sim_event("operator: no bucket yet: %s", info.text);
        sim_sleep(200 * SIM_MS);
    }
}

/* ---- rebuild ---- */

static bool rebuild_ended(const struct lilio_rebuild *rebuild)
{
    return rebuild->phase == LILIO_REBUILD_PROVEN || rebuild->phase == LILIO_REBUILD_FAILURES ||
           rebuild->phase == LILIO_REBUILD_STOPPED || rebuild->phase == LILIO_REBUILD_ERROR;
}

/* Where slots move, what an OSD lost may be in slots that others have now. */
static bool is_settled(void)
{
    struct lilio_errinfo info = {0};
    struct lilio_status status = {0};
    if (plot.swarm.out_ms >= SIM_NEVER_OUT_MS && plot.swarm.drain_percent == 0)
        return true;
    if (lilio_status_get(plot.lilio, &status, &info) != LILIO_OK)
        return false;
    bool settled = status.repair_rows == 0;
    for (size_t i = 0; i < status.osd_count; i++)
        settled = settled && status.osds[i].filling == 0;
    lilio_status_release(&status);
    return settled;
}

bool operator_rebuild(unsigned osd)
{
    struct lilio_errinfo info = {0};
    enum lilio_err err = lilio_rebuild_start(plot.lilio, osd, &info);
    if (err != LILIO_OK) {
        sim_event("operator: rebuild of osd.%u does not begin: %s", osd, info.text);
        return false;
    }
    for (uint64_t end = sim_now() + 120 * SIM_S; sim_now() < end;) {
        sim_sleep(300 * SIM_MS);
        struct lilio_rebuild rebuild = {0};
        err = lilio_rebuild_get(plot.lilio, osd, &rebuild, &info);
        if (err != LILIO_OK) {
            sim_event("operator: rebuild of osd.%u cannot be asked for: %s", osd, info.text);
            return false;
        }
        bool ended = rebuild_ended(&rebuild), proven = rebuild.phase == LILIO_REBUILD_PROVEN;
        bool none = rebuild.phase == LILIO_REBUILD_NONE; /* its process died meanwhile */
        if (ended)
            sim_event("operator: rebuild of osd.%u %s: %llu expected, %llu rebuilt, %llu failed %s"
                      " %s",
                      osd, proven ? "is proven" : "failed", (unsigned long long)rebuild.expected,
                      (unsigned long long)rebuild.rebuilt, (unsigned long long)rebuild.failed,
                      rebuild.text, rebuild.failure_count ? rebuild.failures[0].reason : "");
        lilio_rebuild_release(&rebuild);
        if (ended) {
            plot.rebuilds += proven;
            return proven;
        }
        if (none)
            return false;
    }
    return false;
}

void operator_revive(unsigned osd)
{
    char address[256] = "", node[64], state[32], detail[512];
    struct lilio_errinfo info = {0};
    struct lilio_status status = {0};
    uint64_t mark;
    if (!sim_faults_osd_mendable(plot.faults, osd, &mark) ||
        lilio_status_get(plot.lilio, &status, &info) != LILIO_OK)
        return;
    for (size_t i = 0; i < status.osd_count; i++)
        if (status.osds[i].id == osd)
            memcpy(address, status.osds[i].address, sizeof address);
    lilio_status_release(&status);
    if (address[0] &&
        lilio_ping(plot.lilio, address, 1000, node, state, detail, &info) == LILIO_OK &&
        strcmp(state, "refused") == 0) {
        sim_event("operator: osd.%u gets an empty disk: %s", osd, detail);
        sim_faults_osd_empty(plot.faults, osd);
    }
}

static void rebuild_some(struct sim_stream *random, uint64_t percent)
{
    for (unsigned i = 0; i < plot.swarm.osds && plot.phase < PLOT_CONVERGE; i++) {
        uint64_t mark, well = plot.swarm.rebuild_well_percent;
        if (sim_faults_osd_mendable(plot.faults, i, &mark) && sim_below(random, 100) < percent) {
            operator_revive(i);
            if (operator_rebuild(i) && is_settled())
                sim_faults_osd_mended(plot.faults, i, mark);
        } else if (well > 0 && !sim_faults_osd_hurt(plot.faults, i) &&
                   sim_below(random, 100) < well) {
            (void)operator_rebuild(i);
        }
    }
}

/* Now and then, whatever goes on. What it finds is told to the coordinators. */
static void verify_all(struct sim_stream *random)
{
    struct lilio_verify_result result = {0};
    struct lilio_errinfo info = {0};
    if (sim_below(random, 100) < plot.swarm.verify_percent &&
        lilio_verify(plot.lilio, NULL, NULL, false, NULL, NULL, NULL, &result, &info) != LILIO_OK)
        sim_event("operator: verify: %s", info.text);
}

/* ---- coordinators ---- */

/* Each one as it was when it last was a member. */
static struct lilio_coordinator last_seen[SIM_NODES_MAX];

/* What the leader says of coordinator i: who came last, and who was there before (0 = nobody). */
struct seat {
    bool taken;
    struct lilio_coordinator last;
    uint64_t before;
};

/* False: no leader says. A follower's list may be an old one. */
static bool find_seat(unsigned i, struct seat *ret)
{
    struct lilio_status status = {0};
    struct lilio_errinfo info = {0};
    bool led = false;
    *ret = (struct seat){0};
    if (lilio_status_get(plot.lilio, &status, &info) != LILIO_OK)
        return false;
    for (size_t n = 0; n < status.coordinator_count; n++) {
        const struct lilio_coordinator *one = &status.coordinators[n];
        led |= strcmp(one->role, "leader") == 0;
        if (one->id != i || !one->member)
            continue;
        if (one->member > ret->last.member) {
            ret->before = ret->last.member;
            ret->last = *one;
            ret->taken = true;
        } else {
            ret->before = one->member;
        }
    }
    lilio_status_release(&status);
    if (led && ret->taken)
        last_seen[i] = ret->last;
    return led;
}

static bool change(enum lilio_coordinator_change_kind kind, unsigned i, uint64_t member,
                   const struct lilio_coordinator *where, uint64_t *ret_member)
{
    struct lilio_errinfo info = {0};
    enum lilio_err err =
        lilio_coordinator_change(plot.lilio, kind, i, member, where ? where->address : NULL,
                                 where ? where->peer : NULL, ret_member, &info);
    sim_event("operator: change %d of coordinator.%u: %s", (int)kind, i, err ? info.text : "done");
    return err == LILIO_OK;
}

/* What was begun in the place of a coordinator: which member, and at which mark of its disk. */
static struct {
    uint64_t member, mark;
} joined[SIM_NODES_MAX];

/* A member whose disk is gone is never started again under its id. */
static bool join(unsigned i, uint64_t mark)
{
    struct seat seat;
    uint64_t member;
    if (!find_seat(i, &seat) || !last_seen[i].member)
        return false;
    if (seat.taken && strcmp(seat.last.kind, "learner") == 0 &&
        !change(LILIO_COORDINATOR_REMOVE, i, seat.last.member, NULL, NULL))
        return false;
    /* Also where an earlier attempt removed it, and was not told. */
    if (!change(LILIO_COORDINATOR_ADD, i, 0, &last_seen[i], &member))
        return false;
    joined[i].member = member;
    joined[i].mark = mark;
    sim_faults_coordinator_join(plot.faults, i, member);
    return true;
}

/* As `coordinator rm`: false as long as it is a member. */
static bool leave(unsigned i)
{
    struct seat seat;
    if (!find_seat(i, &seat))
        return false;
    if (seat.taken)
        (void)change(LILIO_COORDINATOR_REMOVE, i, seat.last.member, NULL, NULL); /* seen later */
    else
        sim_faults_coordinator_left(plot.faults, i);
    return !seat.taken;
}

/* When one that left comes again, as by `coordinator add`. */
static uint64_t away_until[SIM_NODES_MAX];

static bool is_away(struct sim_stream *random, unsigned i)
{
    if (sim_faults_coordinator_leaves(plot.faults, i)) {
        if (!leave(i))
            return true;
        away_until[i] = sim_now() + sim_between(random, 0, 10000) * SIM_MS;
    }
    return sim_now() < away_until[i];
}

/* As `coordinator replace`: the new incarnation learns, the old one leaves, the new one votes. */
bool operator_replace(unsigned i)
{
    uint64_t mark;
    static struct sim_stream random;
    if (random.state == 0)
        random = sim_stream_new("operator/members");
    if (!sim_faults_coordinator_hurt(plot.faults, i, &mark))
        return true;
    if (is_away(&random, i))
        return false;
    if ((!joined[i].member || joined[i].mark != mark) && !join(i, mark))
        return false;
    for (uint64_t end = sim_now() + 60 * SIM_S; sim_now() < end; sim_sleep(500 * SIM_MS)) {
        struct seat seat;
        uint64_t is;
        if (sim_faults_coordinator_hurt(plot.faults, i, &is) && is != mark)
            return false; /* hurt again */
        if (!find_seat(i, &seat))
            continue;
        if (strcmp(seat.last.kind, "voter") == 0 && seat.last.member == joined[i].member) {
            plot.replaced++;
            sim_faults_coordinator_mended(plot.faults, i, mark);
            return true;
        }
        if (seat.before)
            (void)change(LILIO_COORDINATOR_REMOVE, i, seat.before, NULL, NULL);
        else
            (void)change(LILIO_COORDINATOR_PROMOTE, i, joined[i].member, NULL, NULL);
    }
    return false;
}

static void fulfil_wish(void)
{
    unsigned i;
    struct lilio_errinfo info = {0};
    switch (sim_faults_wish(plot.faults, &i)) {
    case SIM_WISH_TRANSFER:
        if (lilio_coordinator_transfer(plot.lilio, i, &info) == LILIO_OK)
            plot.transferred++;
        break;
    default: break;
    }
    for (i = 0; i < plot.swarm.coordinators && plot.phase == PLOT_FAULTS; i++)
        (void)operator_replace(i);
}

static void finish(void)
{
    check_end_converged();
    check_end_readable("before the rebuilds");
    check_end_known();
    check_end_redundant();
    check_end_readable("after the rebuilds");
    check_end_leased();
    check_end_collected();
    check_end_orphans();
    check_end_readable("after the collection");
    check_end_scrubbed();
    check_end_redundant();
    plot.stage = "the operator's end";
    lilio_close(&plot.lilio);
    plot.phase = PLOT_OVER;
}

void operator_main(void *unused)
{
    (void)unused;
    struct sim_stream random = sim_stream_new("operator"),
                      scrubs = sim_stream_new("operator/scrub"),
                      drains = sim_stream_new("operator/drain");
    open_client();
    make_bucket();
    plot.phase = PLOT_FAULTS;
    while (plot.phase == PLOT_FAULTS) {
        fulfil_wish();
        rebuild_some(&random, plot.swarm.rebuild_percent);
        verify_all(&random);
        operator_scrub(&scrubs);
        operator_drain(&drains);
        sim_sleep(500 * SIM_MS);
    }
    operator_drain_stop();
    while (plot.phase != PLOT_CONVERGE) {
        for (unsigned i = 0; i < plot.swarm.coordinators && plot.phase != PLOT_CONVERGE; i++)
            (void)operator_replace(i);
        if (plot.puts_wait) /* else rebuilds wait for those who look at what is missing */
            rebuild_some(&random, 100);
        sim_sleep(100 * SIM_MS);
    }
    finish();
}
