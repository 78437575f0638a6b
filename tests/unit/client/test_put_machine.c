/* Aim: a put never counts a fragment as durable that no OSD acknowledged, never ends well below its
 * quorum, always ends, and soon; slow and broken OSDs cost what they may cost and no more. Method:
 * the machine in virtual time against OSDs with scripted behaviour: every subset of failing OSDs of
 * 4+2 in every way of failing, then scripts drawn from seeds (a failing seed is printed). */
#include "client/put_machine.h"
#include "client/limits.h"
#include "codec/codec.h"
#include "proto/placement.h"
#include "tests/support/cmocka_all.h"
#include "tests/unit/client/agenda.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

enum { OSDS_MAX = 12, STRIPES_MAX = 64, EPOCH = 7 };
enum event_kind { ANSWER, LOSE, CONNECT };
enum way { FINE, AWAY, SILENT, FULL, BROKEN, DOWN, WAYS };

struct osd {
    enum way way;
    uint64_t latency_ms, jitter_ms;
    uint32_t busy, stale;        /* answers BUSY, STALE_EPOCH so often first */
    bool twice;                  /* acknowledges everything twice */
    uint64_t lose_ms, return_ms; /* connection breaks and comes back; 0 = never */
    bool connected;
};
struct world {
    struct client_put_config config;
    uint32_t stripe_count;
    struct osd osds[OSDS_MAX];
    struct client_put_machine *machine;
    struct agenda agenda;
    uint64_t now_ms, random;
    uint64_t stored[STRIPES_MAX]; /* mask of fragments an OSD has stored */
    uint64_t closed;              /* mask of closed stripes */
    uint32_t sends, resets, maps;
    enum lilio_err err;
    struct lilio_errinfo info;
};

static struct world world_make(uint32_t data_count, uint32_t parity_count, uint32_t required)
{
    struct world world = {
        .config = {.data_count = data_count,
                   .total_count = data_count + parity_count,
                   .required = required,
                   .window = 5,
                   .stripe_max = STRIPES_MAX,
                   .grace_ms = CLIENT_GRACE_MS,
                   .patience_ms = CLIENT_PATIENCE_MS,
                   .silent_ms = CLIENT_PUT_SILENT_MS,
                   .busy_ms = CLIENT_TIMEOUT_MS,
                   .seed = 1},
        .stripe_count = 12,
        .now_ms = 1000,
    };
    for (uint32_t i = 0; i < OSDS_MAX; i++)
        world.osds[i] = (struct osd){.latency_ms = 3, .connected = true};
    return world;
}

/* Stripe s puts fragment i on OSD (s + i) % total, so that every OSD holds every index. */
static uint32_t osd_of(const struct world *world, uint32_t stripe, uint32_t index)
{
    return (stripe + index) % world->config.total_count;
}

static void places_of(const struct world *world, uint32_t stripe, struct client_place *places)
{
    for (uint32_t i = 0; i < world->config.total_count; i++) {
        uint32_t osd = osd_of(world, stripe, i);
        bool down = world->osds[osd].way == DOWN;
        places[i] = (struct client_place){.osd = osd, .err = down ? LILIO_E_UNAVAILABLE : LILIO_OK};
    }
}

/* The OSD's answer to a fragment. */
static void answer(struct world *world, const struct client_put_action *action)
{
    struct osd *osd = &world->osds[action->osd];
    struct agenda_event event = {.at_ms = world->now_ms + osd->latency_ms,
                                 .kind = ANSWER,
                                 .stripe = action->stripe,
                                 .index = action->index,
                                 .osd = action->osd,
                                 .attempt = action->attempt,
                                 .epoch = EPOCH + action->osd};
    if (osd->jitter_ms)
        event.at_ms += agenda_random(&world->random) % osd->jitter_ms;
    if (osd->way == SILENT)
        return;
    if (osd->busy > 0) {
        osd->busy--;
        event.err = LILIO_E_BUSY;
    } else if (osd->stale > 0) {
        osd->stale--;
        event.err = LILIO_E_STALE_EPOCH;
    } else if (osd->way == FULL) {
        event.err = LILIO_E_NO_SPACE;
    } else if (osd->way == BROKEN) {
        event.err = LILIO_E_IO;
    } else {
        world->stored[action->stripe] |= UINT64_C(1) << action->index;
    }
    agenda_add(&world->agenda, event);
    if (osd->twice)
        agenda_add(&world->agenda, event);
}

static void act(struct world *world)
{
    struct client_put_action action;
    while (client_put_next(world->machine, world->now_ms, &action)) {
        struct client_place places[CODEC_TOTAL_MAX];
        uint32_t stripe;
        switch (action.kind) {
        case CLIENT_PUT_SEND:
            assert_true(world->osds[action.osd].connected);
            assert_false(world->closed >> action.stripe & 1);
            assert_int_equal(action.osd, osd_of(world, action.stripe, action.index));
            world->sends++;
            answer(world, &action);
            break;
        case CLIENT_PUT_CLOSED: world->closed |= UINT64_C(1) << action.stripe; break;
        case CLIENT_PUT_RESET:
            world->resets++;
            agenda_drop(&world->agenda, ANSWER, action.osd);
            client_put_peer_set(world->machine, action.osd, false, world->now_ms);
            client_put_peer_set(world->machine, action.osd, true, world->now_ms);
            break;
        case CLIENT_PUT_MAP:
            world->maps++;
            for (uint32_t slot = 0; slot < world->config.window; slot++)
                if (client_put_slot(world->machine, slot, &stripe)) {
                    places_of(world, stripe, places);
                    client_put_moved(world->machine, slot, places, world->now_ms);
                }
            break;
        }
    }
}

static void happen(struct world *world, const struct agenda_event *event)
{
    struct osd *osd = &world->osds[event->osd];
    switch ((enum event_kind)event->kind) {
    case ANSWER:
        if (event->err == LILIO_OK)
            client_put_stored(world->machine, event->stripe, event->index, event->osd, event->epoch,
                              world->now_ms);
        else
            client_put_refused(world->machine, event->stripe, event->index, event->osd,
                               event->attempt, event->err, world->now_ms);
        break;
    case LOSE:
        agenda_drop(&world->agenda, ANSWER, event->osd);
        osd->connected = false;
        client_put_peer_set(world->machine, event->osd, false, world->now_ms);
        break;
    case CONNECT:
        osd->connected = true;
        client_put_peer_set(world->machine, event->osd, true, world->now_ms);
        break;
    }
}

static void begin(struct world *world)
{
    assert_int_equal(client_put_machine_new(&world->config, &world->machine), LILIO_OK);
    for (uint32_t i = 0; i < world->config.total_count; i++) {
        struct osd *osd = &world->osds[i];
        if (osd->way == DOWN)
            continue;
        osd->connected &= osd->way != AWAY;
        assert_int_equal(client_put_peer_add(world->machine, i, world->now_ms), LILIO_OK);
        client_put_peer_set(world->machine, i, osd->connected, world->now_ms);
        if (osd->lose_ms)
            agenda_add(&world->agenda,
                       (struct agenda_event){.at_ms = osd->lose_ms, .kind = LOSE, .osd = i});
        if (osd->return_ms)
            agenda_add(&world->agenda,
                       (struct agenda_event){.at_ms = osd->return_ms, .kind = CONNECT, .osd = i});
    }
}

/* What holds at the end of every run. */
static void check(const struct world *world)
{
    uint32_t least = world->config.total_count;
    if (world->err != LILIO_OK || world->stripe_count == 0)
        return;
    assert_int_equal(client_put_stripe_count(world->machine), world->stripe_count);
    for (uint32_t s = 0; s < world->stripe_count; s++) {
        uint64_t durable = client_put_durable(world->machine, s);
        assert_int_equal(durable & ~world->stored[s], 0);
        uint32_t count = (uint32_t)__builtin_popcountll(durable);
        assert_true(count >= world->config.required);
        assert_true(world->closed >> s & 1);
        least = count < least ? count : least;
    }
    assert_int_equal(client_put_durable_min(world->machine), least);
    assert_true(client_put_lowest_epoch(world->machine) >= EPOCH);
    assert_true(client_put_lowest_epoch(world->machine) < EPOCH + OSDS_MAX);
}

/* Runs to the end; returns how long it took. */
static uint64_t run(struct world *world)
{
    uint64_t start_ms = world->now_ms;
    begin(world);
    for (uint32_t opened = 0, steps = 0;; steps++) {
        struct client_place places[CODEC_TOTAL_MAX];
        assert_true(steps < 100000);
        while (opened < world->stripe_count && client_put_room(world->machine)) {
            places_of(world, opened++, places);
            client_put_open(world->machine, places, world->now_ms);
        }
        if (opened == world->stripe_count)
            client_put_finish(world->machine, world->now_ms);
        act(world);
        world->err = client_put_error(world->machine, &world->info);
        if (world->err != LILIO_OK || client_put_done(world->machine, world->now_ms))
            break;
        if (opened < world->stripe_count && client_put_room(world->machine))
            continue;
        uint64_t next_ms = client_put_deadline(world->machine);
        uint64_t event_ms = agenda_time(&world->agenda);
        next_ms = event_ms < next_ms ? event_ms : next_ms;
        assert_true(next_ms != UINT64_MAX); /* something will happen */
        if (next_ms > world->now_ms)
            world->now_ms = next_ms;
        struct agenda_event event;
        while (agenda_take(&world->agenda, world->now_ms, &event))
            happen(world, &event);
        client_put_tick(world->machine, world->now_ms);
    }
    check(world);
    return world->now_ms - start_ms;
}

static void end(struct world *world)
{
    client_put_machine_free(&world->machine);
    agenda_release(&world->agenda);
}

static void all_fine(void **state)
{
    (void)state;
    struct world world = world_make(4, 2, 5);
    uint64_t took_ms = run(&world);
    assert_int_equal(world.err, LILIO_OK);
    assert_int_equal(client_put_durable_min(world.machine), 6);
    assert_int_equal(world.sends, 12 * 6);
    assert_int_equal(client_put_lowest_epoch(world.machine), EPOCH);
    assert_true(took_ms <= 3 * 3); /* three windows of one latency each, no grace */
    end(&world);
}

/* Every subset of the OSDs fails in one way. */
static void every_subset(void **state)
{
    (void)state;
    for (uint32_t required = 4; required <= 6; required++)
        for (int way = AWAY; way < WAYS; way++)
            for (uint32_t mask = 0; mask < 64; mask++) {
                struct world world = world_make(4, 2, required);
                for (uint32_t i = 0; i < 6; i++)
                    world.osds[i].way = mask >> i & 1 ? (enum way)way : FINE;
                uint64_t took_ms = run(&world);
                uint32_t good = 6 - (uint32_t)__builtin_popcount(mask);
                enum lilio_err expected = good >= required ? LILIO_OK
                                          : way == FULL    ? LILIO_E_NO_SPACE
                                                           : LILIO_E_NO_QUORUM;
                assert_int_equal(world.err, expected);
                if (expected == LILIO_OK)
                    assert_int_equal(client_put_durable_min(world.machine), good);
                assert_true(took_ms <= CLIENT_PUT_SILENT_MS + 100);
                if (way != SILENT && expected == LILIO_OK)
                    assert_true(took_ms <= 2 * CLIENT_GRACE_MS);
                end(&world);
            }
}

static void failure_names_osds(void **state)
{
    (void)state;
    struct world world = world_make(4, 2, 5);
    world.osds[1].way = BROKEN;
    world.osds[4].way = AWAY;
    run(&world);
    assert_int_equal(world.err, LILIO_E_NO_QUORUM);
    assert_non_null(strstr(world.info.text, "osd.1: input/output error"));
    assert_non_null(strstr(world.info.text, "osd.4: unavailable"));
    assert_non_null(strstr(world.info.text, "5 are needed"));
    end(&world);
}

/* One OSD is slower than the grace: it costs one grace, not one per stripe, and its late answers
 * count. */
static void slow_osd(void **state)
{
    (void)state;
    struct world world = world_make(4, 2, 5);
    world.stripe_count = 40;
    world.osds[2].latency_ms = 350;
    uint64_t took_ms = run(&world);
    assert_int_equal(world.err, LILIO_OK);
    assert_true(took_ms < 3 * CLIENT_GRACE_MS);
    assert_int_equal(client_put_durable_min(world.machine), 5);
    assert_int_equal(world.resets, 0);
    assert_int_equal(client_put_durable(world.machine, 0), 0x3f); /* came after the stripe closed */
    end(&world);
}

static void slightly_slow_osd_is_awaited(void **state)
{
    (void)state;
    struct world world = world_make(4, 2, 5);
    world.osds[2].latency_ms = CLIENT_GRACE_MS - 10;
    run(&world);
    assert_int_equal(client_put_durable_min(world.machine), 6);
    end(&world);
}

/* A slow OSD never owes more than a window of fragments. */
static void backlog_is_bounded(void **state)
{
    (void)state;
    struct world world = world_make(4, 2, 5);
    world.stripe_count = 60;
    world.osds[0].way = SILENT;
    run(&world);
    assert_int_equal(world.err, LILIO_OK);
    assert_true(world.sends <= 60 * 5 + 5);
    end(&world);
}

static void connection_lost_and_back(void **state)
{
    (void)state;
    struct world world = world_make(4, 2, 6);
    world.osds[3].latency_ms = 20;
    world.osds[3].lose_ms = 1010; /* with fragments under way */
    world.osds[3].return_ms = 2500;
    uint64_t took_ms = run(&world);
    assert_int_equal(world.err, LILIO_OK);
    assert_int_equal(client_put_durable_min(world.machine), 6);
    assert_true(took_ms >= 1500 && took_ms < 2000);
    end(&world);
}

static void too_many_gone_midway(void **state)
{
    (void)state;
    struct world world = world_make(4, 2, 5);
    world.stripe_count = 50;
    world.osds[1].lose_ms = world.osds[2].lose_ms = 1010;
    uint64_t took_ms = run(&world);
    assert_int_equal(world.err, LILIO_E_NO_QUORUM);
    assert_true(took_ms <= CLIENT_PATIENCE_MS + 100);
    end(&world);
}

static void busy_and_stale_are_tried_again(void **state)
{
    (void)state;
    struct world world = world_make(4, 2, 6);
    world.osds[0].busy = 20;
    world.osds[5].stale = 6;
    run(&world);
    assert_int_equal(world.err, LILIO_OK);
    assert_int_equal(client_put_durable_min(world.machine), 6);
    assert_true(world.maps > 0);
    end(&world);
    world = world_make(4, 2, 6);
    world.osds[0].busy = 1000000;
    uint64_t took_ms = run(&world);
    assert_int_equal(world.err, LILIO_E_NO_QUORUM);
    assert_true(took_ms <= CLIENT_TIMEOUT_MS + 1000);
    end(&world);
}

static void no_parity(void **state)
{
    (void)state;
    struct world world = world_make(4, 0, 4);
    run(&world);
    assert_int_equal(world.err, LILIO_OK);
    end(&world);
    world = world_make(1, 0, 1);
    run(&world);
    assert_int_equal(world.err, LILIO_OK);
    end(&world);
}

static void nothing_to_write(void **state)
{
    (void)state;
    struct world world = world_make(4, 2, 5);
    world.stripe_count = 0;
    assert_int_equal(run(&world), 0);
    end(&world);
}

static void fragments_follow_the_map(void **state)
{
    (void)state;
    struct world world = world_make(2, 1, 3);
    world.osds[0].way = world.osds[1].way = world.osds[2].way = SILENT;
    begin(&world);
    struct client_place places[CODEC_TOTAL_MAX];
    struct client_put_action action;
    places_of(&world, 0, places);
    uint32_t slot = client_put_open(world.machine, places, 1000);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(client_put_next(world.machine, 1000, &action));
    assert_int_equal(client_put_peer_add(world.machine, 9, 1000), LILIO_OK);
    client_put_peer_set(world.machine, 9, true, 1000);
    client_put_stored(world.machine, 0, 0, 0, EPOCH, 1001);
    client_put_stored(world.machine, 0, 1, 1, EPOCH, 1001);
    places[0].osd = 9; /* acknowledged where it no longer belongs */
    client_put_moved(world.machine, slot, places, 1002);
    assert_int_equal(client_put_durable(world.machine, 0), 2);
    assert_true(client_put_next(world.machine, 1002, &action));
    assert_int_equal(action.osd, 9);
    assert_int_equal(action.index, 0);
    client_put_stored(world.machine, 0, 0, 0, EPOCH, 1003); /* the old place does not count */
    assert_int_equal(client_put_durable(world.machine, 0), 2);
    client_put_stored(world.machine, 0, 0, 9, EPOCH + 1, 1003);
    client_put_stored(world.machine, 0, 2, 2, EPOCH + 1, 1003);
    assert_int_equal(client_put_durable(world.machine, 0), 7);
    end(&world);
}

static uint64_t seed_at_hand;

static int tell_seed(void **state)
{
    (void)state;
    print_message("last seed: %llu\n", (unsigned long long)seed_at_hand);
    return 0;
}

static void scripts_from_seeds(void **state)
{
    (void)state;
    static const uint32_t profiles[][2] = {{1, 0}, {1, 2}, {2, 1}, {4, 2}, {5, 0}, {8, 4}};
    uint32_t good = 0, failed = 0;
    for (uint64_t seed = 1; seed <= 4000; seed++) {
        uint64_t random = seed_at_hand = seed;
        const uint32_t *profile = profiles[agenda_random(&random) % 6];
        uint32_t total = profile[0] + profile[1];
        struct world world =
            world_make(profile[0], profile[1],
                       profile[0] + (uint32_t)(agenda_random(&random) % (profile[1] + 1)));
        world.stripe_count = (uint32_t)(agenda_random(&random) % 30);
        world.config.window = 1 + (uint32_t)(agenda_random(&random) % 8);
        world.random = random;
        uint64_t trouble = agenda_random(&random) % 4;
        for (uint32_t i = 0; i < total; i++) {
            struct osd *osd = &world.osds[i];
            osd->jitter_ms = agenda_random(&random) % 100;
            osd->twice = agenda_random(&random) % 4 == 0;
            if (agenda_random(&random) % 4 >= trouble)
                continue;
            osd->way = (enum way)(agenda_random(&random) % WAYS);
            osd->latency_ms = agenda_random(&random) % 1500;
            osd->busy = (uint32_t)(agenda_random(&random) % 20);
            osd->stale = (uint32_t)(agenda_random(&random) % 3);
            osd->lose_ms = agenda_random(&random) % 2 ? 1000 + agenda_random(&random) % 1000 : 0;
            osd->return_ms = osd->lose_ms && agenda_random(&random) % 2
                                 ? osd->lose_ms + 1 + agenda_random(&random) % 5000
                                 : 0;
        }
        uint64_t took_ms = run(&world);
        if (took_ms > 60000)
            fail_msg("seed %llu took %llu ms", (unsigned long long)seed,
                     (unsigned long long)took_ms);
        world.err == LILIO_OK ? good++ : failed++;
        end(&world);
    }
    assert_true(good > 500 && failed > 500); /* the scripts are neither tame nor hopeless */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_fine),
        cmocka_unit_test(every_subset),
        cmocka_unit_test(failure_names_osds),
        cmocka_unit_test(slow_osd),
        cmocka_unit_test(slightly_slow_osd_is_awaited),
        cmocka_unit_test(backlog_is_bounded),
        cmocka_unit_test(connection_lost_and_back),
        cmocka_unit_test(too_many_gone_midway),
        cmocka_unit_test(busy_and_stale_are_tried_again),
        cmocka_unit_test(no_parity),
        cmocka_unit_test(nothing_to_write),
        cmocka_unit_test(fragments_follow_the_map),
        cmocka_unit_test_teardown(scripts_from_seeds, tell_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
