/* Aim: a get hands out exactly the wanted bytes, in order, or fails and says why; it never hands
 * out what was not verified, gives every receive buffer back exactly once, always ends, and soon;
 * slow OSDs are read around. Method: the machine in virtual time against OSDs that hold real coded
 * stripes and misbehave by script: every subset of OSDs of 4+2 in every way of failing, many
 * ranges, then scripts drawn from seeds (a failing seed is printed). */
#include "client/get_machine.h"
#include "base/bytes.h"
#include "client/limits.h"
#include "proto/placement.h"
#include "tests/support/cmocka_all.h"
#include "tests/unit/client/agenda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

enum { OSDS_MAX = 16, TOKENS_MAX = 4096 };
/* A search lasts no longer: its patience, and the silence of the OSD that is asked last. */
enum { SEARCH_MS = CLIENT_PATIENCE_MS + CLIENT_GET_SILENT_MS };
enum event_kind { ANSWER, LOSE, CONNECT };
enum way { FINE, AWAY, SILENT, MISSING, FLIPPED, LIST_FLIPPED, SHORT, BROKEN, BLANK, WAYS };

struct osd {
    enum way way;
    uint64_t latency_ms, jitter_ms;
    uint32_t busy, stale;
    bool twice;
    uint32_t rank;
    bool known_bad;
    uint64_t left; /* mask of the fragments that it has of stripes whose slots it lost */
    uint64_t lose_ms, return_ms;
    uint64_t mended_ms; /* from then on it is fine */
    bool connected;
};
/* A stored run as it lies on the OSDs. */
struct run {
    struct codec_profile profile;
    struct codec_coder *coder;
    uint32_t stripe_count, total_count;
    uint8_t *content;
    uint64_t length;
    uint8_t **fragments; /* stripe by stripe, index by index */
    uint8_t *row_sums;
    struct proto_data_row row;
};
struct world {
    const struct run *run;
    struct client_get_config config;
    struct osd osds[OSDS_MAX]; /* those that the maps name, then others */
    uint32_t other_count, searches;
    uint64_t homeless; /* mask of the fragments whose slots nobody has */
    struct client_plans plans;
    struct client_get_machine *machine;
    struct agenda agenda;
    uint64_t now_ms, random;
    uint64_t delivered;
    uint32_t requests, requests_after_slow;
    uint8_t *tokens[TOKENS_MAX]; /* buffers the machine holds */
    enum lilio_err err;
    struct lilio_errinfo info;
    struct client_get_counts counts;
};

/* ---- the run ---- */

static uint32_t fragment_size(const struct run *run, uint32_t stripe)
{
    return codec_fragment_size(&run->profile,
                               codec_stripe_length(&run->profile, run->length, stripe));
}

static void store_stripe(struct run *run, uint32_t stripe)
{
    uint64_t width = (uint64_t)run->profile.data_count * run->profile.fragment_size;
    uint64_t start = stripe * width, left = run->length - start;
    uint64_t used = left < width ? left : width;
    uint32_t size = fragment_size(run, stripe), block_count = codec_block_count(size);
    uint32_t sums[CODEC_TOTAL_MAX][CODEC_BLOCKS_MAX], *lists[CODEC_TOTAL_MAX];
    uint8_t **fragments = run->fragments + (size_t)stripe * run->total_count;
    for (uint32_t i = 0; i < run->total_count; i++) {
        fragments[i] = aligned_alloc(64, size);
        assert_non_null(fragments[i]);
        memset(fragments[i], 0, size);
        lists[i] = sums[i];
    }
    for (uint64_t b = 0; b < used; b++)
        fragments[b / size][b % size] = run->content[start + b];
    codec_encode_checksum(run->coder, size, fragments, fragments + run->profile.data_count, lists);
    for (uint32_t i = 0; i < run->total_count; i++)
        base_le32_put(run->row_sums + ((size_t)stripe * run->total_count + i) * 4,
                      codec_fragment_checksum(sums[i], block_count));
}

static struct run run_make(uint32_t data_count, uint32_t parity_count, uint32_t size,
                           uint64_t length)
{
    struct run run = {.length = length};
    char text[16];
    snprintf(text, sizeof text, "%u+%u", data_count, parity_count);
    assert_int_equal(codec_profile_parse(text, &run.profile, NULL), LILIO_OK);
    run.profile.fragment_size = size;
    assert_int_equal(codec_coder_new(&run.profile, &run.coder, NULL), LILIO_OK);
    run.total_count = data_count + parity_count;
    run.stripe_count = (uint32_t)codec_stripe_count(&run.profile, length);
    run.content = malloc(length);
    run.fragments = calloc((size_t)run.stripe_count * run.total_count, sizeof *run.fragments);
    run.row_sums = malloc((size_t)run.stripe_count * run.total_count * 4);
    assert_true(run.content && run.fragments && run.row_sums);
    uint64_t random = length;
    for (uint64_t b = 0; b < length; b++)
        run.content[b] = (uint8_t)agenda_random(&random);
    for (uint32_t s = 0; s < run.stripe_count; s++)
        store_stripe(&run, s);
    run.row = (struct proto_data_row){
        .oid = {1, 2},
        .profile = {.data_count = (uint8_t)data_count,
                    .parity_count = (uint8_t)parity_count,
                    .fragment_size = size,
                    .generator = (uint8_t)run.profile.generator},
        .stored_length = length,
        .state = 2,
        .checksums = base_slice(run.row_sums, (size_t)run.stripe_count * run.total_count * 4),
    };
    assert_int_equal(proto_row_check(&run.row, NULL), LILIO_OK);
    return run;
}

static void run_release(struct run *run)
{
    for (uint32_t f = 0; f < run->stripe_count * run->total_count; f++)
        free(run->fragments[f]);
    free(run->fragments);
    free(run->content);
    free(run->row_sums);
    codec_coder_free(&run->coder);
}

/* ---- the world ---- */

static void release_token(void *context, void *token)
{
    struct world *world = context;
    uint8_t **slot = token;
    assert_true(slot >= world->tokens && slot < world->tokens + TOKENS_MAX);
    assert_non_null(*slot); /* exactly once */
    free(*slot);
    *slot = NULL;
}

static struct world world_make(const struct run *run)
{
    struct world world = {
        .run = run,
        .config = {.coder = run->coder,
                   .row = &run->row,
                   .offset = 0,
                   .length = run->length,
                   .window = 4,
                   .hedge_ms = CLIENT_HEDGE_MS,
                   .silent_ms = CLIENT_GET_SILENT_MS,
                   .patience_ms = CLIENT_PATIENCE_MS,
                   .busy_ms = CLIENT_TIMEOUT_MS,
                   .seed = 1,
                   .release = release_token},
        .now_ms = 1000,
    };
    for (uint32_t i = 0; i < OSDS_MAX; i++)
        world.osds[i] = (struct osd){.latency_ms = 2, .connected = true};
    return world;
}

static uint32_t osd_of(const struct world *world, uint32_t stripe, uint32_t index)
{
    return (stripe + index) % world->run->total_count;
}

static void places_of(const struct world *world, uint32_t stripe, struct client_place *places)
{
    for (uint32_t i = 0; i < world->run->total_count; i++) {
        uint32_t id = osd_of(world, stripe, i);
        const struct osd *osd = &world->osds[id];
        places[i] = (struct client_place){
            .osd = id,
            .rank = osd->known_bad ? 2 : osd->rank,
            .known_bad = osd->known_bad,
            .err = osd->way == BLANK ? LILIO_E_BLANK : LILIO_OK,
        };
        if (world->homeless >> i & 1)
            places[i] = (struct client_place){.osd = PROTO_OSD_NONE, .err = LILIO_E_UNAVAILABLE};
    }
}

static bool is_home(const struct world *world, const struct client_get_action *action)
{
    return action->osd == osd_of(world, action->stripe, action->index) &&
           !(world->homeless >> action->index & 1);
}

/* Whether the OSD has the fragment, be it its own or left behind. */
static bool has(const struct world *world, const struct client_get_action *action)
{
    return is_home(world, action) || world->osds[action->osd].left >> action->index & 1;
}

static void answer(struct world *world, const struct client_get_action *action)
{
    struct osd *osd = &world->osds[action->osd];
    struct agenda_event event = {.at_ms = world->now_ms + osd->latency_ms,
                                 .kind = ANSWER,
                                 .stripe = action->stripe,
                                 .index = action->index,
                                 .osd = action->osd,
                                 .attempt = action->attempt,
                                 .first_block = action->first_block,
                                 .block_count = action->block_count};
    if (osd->jitter_ms)
        event.at_ms += agenda_random(&world->random) % osd->jitter_ms;
    world->requests++;
    if (osd->mended_ms && world->now_ms >= osd->mended_ms)
        osd->way = FINE;
    if (osd->way == SILENT)
        return;
    if (osd->busy > 0) {
        osd->busy--;
        event.err = LILIO_E_BUSY;
    } else if (osd->stale > 0) {
        osd->stale--;
        event.err = LILIO_E_WRONG_OSD;
    } else if (osd->way == MISSING) {
        event.err = LILIO_E_MISSING;
    } else if (!has(world, action)) {
        assert_true(action->elsewhere);
        event.err = LILIO_E_MISSING;
    } else if (osd->way == BROKEN) {
        event.err = LILIO_E_IO;
    }
    agenda_add(&world->agenda, event);
    if (osd->twice)
        agenda_add(&world->agenda, event);
}

/* An OSD's blocks arrive, spoilt as its script says. */
static void arrive(struct world *world, const struct agenda_event *event)
{
    const struct run *run = world->run;
    enum way way = world->osds[event->osd].way;
    const uint8_t *stored = run->fragments[event->stripe * run->total_count + event->index];
    uint32_t size = fragment_size(run, event->stripe), block_count = codec_block_count(size);
    uint32_t start = event->first_block * CODEC_BLOCK, sums[CODEC_BLOCKS_MAX];
    uint32_t end = start + event->block_count * CODEC_BLOCK;
    uint8_t list[CODEC_BLOCKS_MAX * 4];
    end = end < size ? end : size;
    assert_true(event->block_count > 0 && start < size);
    codec_block_checksums(stored, size, sums);
    for (uint32_t b = 0; b < block_count; b++)
        base_le32_put(list + b * 4, sums[b]);
    uint32_t length = end - start;
    uint8_t **token = world->tokens;
    while (*token)
        token++;
    assert_true(token < world->tokens + TOKENS_MAX);
    *token = malloc(length);
    assert_non_null(*token);
    memcpy(*token, stored + start, length);
    if (way == FLIPPED)
        (*token)[agenda_random(&world->random) % length] ^= (uint8_t)(1 << event->stripe % 8);
    if (way == LIST_FLIPPED)
        list[agenda_random(&world->random) % (block_count * 4)] ^= 1;
    if (way == SHORT)
        length -= length > 64 ? 64 : 1;
    struct proto_fragment fragment = {.payload_length = size,
                                      .first_block = event->first_block,
                                      .block_checksums = base_slice(list, block_count * 4)};
    if (!client_get_fragment(world->machine, event->stripe, event->index, event->osd,
                             event->attempt, &fragment, base_slice(*token, length), token,
                             world->now_ms))
        release_token(world, token);
}

static void happen(struct world *world, const struct agenda_event *event)
{
    struct osd *osd = &world->osds[event->osd];
    switch ((enum event_kind)event->kind) {
    case ANSWER:
        if (event->err == LILIO_OK)
            arrive(world, event);
        else
            client_get_refused(world->machine, event->stripe, event->index, event->osd,
                               event->attempt, event->err, world->now_ms);
        break;
    case LOSE:
    case CONNECT:
        osd->connected = event->kind == CONNECT;
        if (!osd->connected)
            agenda_drop(&world->agenda, ANSWER, event->osd);
        client_get_peer_set(world->machine, event->osd, osd->connected, world->now_ms);
        break;
    }
}

static void add_peer(struct world *world, uint32_t id)
{
    struct osd *osd = &world->osds[id];
    osd->connected &= osd->way != AWAY;
    assert_int_equal(client_get_peer_add(world->machine, id, world->now_ms), LILIO_OK);
    client_get_peer_set(world->machine, id, osd->connected, world->now_ms);
}

/* All that are not blank. */
static void make_list(struct world *world)
{
    uint32_t osds[OSDS_MAX], count = 0, total_count = world->run->total_count;
    for (uint32_t i = 0; i < total_count + world->other_count; i++) {
        if (i < total_count && world->osds[i].way == BLANK)
            continue;
        if (i >= total_count)
            add_peer(world, i);
        osds[count++] = i;
    }
    assert_int_equal(client_get_search(world->machine, osds, count, world->now_ms), LILIO_OK);
}

static void act(struct world *world)
{
    struct client_get_action action;
    struct client_place places[CODEC_TOTAL_MAX];
    uint32_t stripe, end;
    for (;;) {
        while (client_get_room(world->machine, &stripe)) {
            places_of(world, stripe, places);
            client_get_open(world->machine, places, world->now_ms);
        }
        if (!client_get_next(world->machine, world->now_ms, &action)) {
            if (client_get_room(world->machine, &stripe))
                continue;
            return;
        }
        switch (action.kind) {
        case CLIENT_GET_REQUEST:
            assert_true(world->osds[action.osd].connected);
            assert_int_equal(action.elsewhere, !is_home(world, &action));
            assert_true(!action.elsewhere || world->searches > 0);
            answer(world, &action);
            break;
        case CLIENT_GET_DELIVER:
            assert_true(action.size > 0);
            assert_true(world->delivered + action.size <= world->config.length);
            assert_memory_equal(action.data,
                                world->run->content + world->config.offset + world->delivered,
                                action.size);
            world->delivered += action.size;
            break;
        case CLIENT_GET_SEARCH:
            world->searches++;
            make_list(world);
            break;
        case CLIENT_GET_MAP:
            client_get_stripes(world->machine, &stripe, &end);
            for (; stripe < end; stripe++) {
                places_of(world, stripe, places);
                client_get_moved(world->machine, stripe, places, world->now_ms);
            }
            break;
        }
    }
}

static void begin(struct world *world)
{
    world->config.plans = &world->plans;
    world->config.release_context = world;
    assert_int_equal(client_get_machine_new(&world->config, &world->machine), LILIO_OK);
    for (uint32_t i = 0; i < world->run->total_count + world->other_count; i++) {
        const struct osd *osd = &world->osds[i];
        if (i < world->run->total_count)
            add_peer(world, i);
        if (osd->lose_ms)
            agenda_add(&world->agenda,
                       (struct agenda_event){.at_ms = osd->lose_ms, .kind = LOSE, .osd = i});
        if (osd->return_ms)
            agenda_add(&world->agenda,
                       (struct agenda_event){.at_ms = osd->return_ms, .kind = CONNECT, .osd = i});
    }
}

/* Runs to the end; returns how long it took. */
static uint64_t run_world(struct world *world)
{
    uint64_t start_ms = world->now_ms;
    begin(world);
    for (uint32_t steps = 0;; steps++) {
        assert_true(steps < 100000);
        act(world);
        world->err = client_get_error(world->machine, &world->info);
        if (world->err != LILIO_OK || client_get_done(world->machine))
            break;
        uint64_t next_ms = client_get_deadline(world->machine, world->now_ms);
        uint64_t event_ms = agenda_time(&world->agenda);
        next_ms = event_ms < next_ms ? event_ms : next_ms;
        assert_true(next_ms != UINT64_MAX); /* something will happen */
        if (next_ms > world->now_ms)
            world->now_ms = next_ms;
        struct agenda_event event;
        while (agenda_take(&world->agenda, world->now_ms, &event))
            happen(world, &event);
        client_get_tick(world->machine, world->now_ms);
    }
    if (world->err == LILIO_OK)
        assert_int_equal(world->delivered, world->config.length);
    client_get_counts_get(world->machine, &world->counts);
    return world->now_ms - start_ms;
}

static void end(struct world *world)
{
    client_get_machine_free(&world->machine);
    for (uint32_t t = 0; t < TOKENS_MAX; t++)
        assert_null(world->tokens[t]);
    agenda_release(&world->agenda);
    client_plans_release(&world->plans);
}

/* ---- tests ---- */

enum { SMALL = 4096, BLOCKS = 192 * 1024 }; /* fragment sizes: one block, three blocks */

static void all_fine(void **state)
{
    (void)state;
    struct run run = run_make(4, 2, BLOCKS, 3 * 4 * BLOCKS + 5000);
    struct world world = world_make(&run);
    run_world(&world);
    assert_int_equal(world.err, LILIO_OK);
    assert_int_equal(world.requests, 4 * 4); /* no parity is touched */
    assert_int_equal(world.counts.degraded_stripes, 0);
    end(&world);
    run_release(&run);
}

/* Every subset of the OSDs fails in one way. */
static void every_subset(void **state)
{
    (void)state;
    struct run run = run_make(4, 2, SMALL, 5 * 4 * SMALL + 777);
    for (int way = AWAY; way < WAYS; way++)
        for (uint32_t mask = 0; mask < 64; mask++) {
            struct world world = world_make(&run);
            for (uint32_t i = 0; i < 6; i++)
                world.osds[i].way = mask >> i & 1 ? (enum way)way : FINE;
            uint64_t took_ms = run_world(&world);
            int bad = __builtin_popcount(mask);
            bool gone = way != AWAY && way != SILENT && way != BROKEN;
            assert_int_equal(world.err, bad <= 2 ? LILIO_OK
                                        : gone   ? LILIO_E_LOST
                                                 : LILIO_E_UNAVAILABLE);
            if (bad > 0 && bad <= 2)
                assert_true(world.counts.degraded_stripes >= 4);
            if (bad <= 2 && way != SILENT)
                assert_true(took_ms < 50);
            assert_true(took_ms <= 2 * CLIENT_GET_SILENT_MS + CLIENT_PATIENCE_MS + SEARCH_MS);
            size_t reports;
            (void)client_get_reports(world.machine, &reports);
            bool told = way >= MISSING && way <= SHORT;
            assert_true(told && bad > 0 && bad <= 2 ? reports >= 4 : told || reports == 0);
            end(&world);
        }
    run_release(&run);
}

static void failure_names_fragments(void **state)
{
    (void)state;
    struct run run = run_make(4, 2, SMALL, 4 * SMALL);
    struct world world = world_make(&run);
    world.osds[0].way = MISSING;
    world.osds[2].way = FLIPPED;
    world.osds[5].way = AWAY;
    run_world(&world);
    assert_int_equal(world.err, LILIO_E_UNAVAILABLE); /* osd.5 may have a good one */
    assert_non_null(strstr(world.info.text, "fragment 0 at osd.0: fragment missing"));
    assert_non_null(strstr(world.info.text, "fragment 2 at osd.2: checksum mismatch"));
    assert_non_null(strstr(world.info.text, "fragment 5 at osd.5: unavailable"));
    size_t count;
    const struct proto_fragment_report *reports = client_get_reports(world.machine, &count);
    assert_int_equal(count, 2);
    assert_int_equal(reports[0].kind + reports[1].kind, 4);
    assert_int_equal(world.counts.missing_answers, 1);
    end(&world);
    run_release(&run);
}

/* What the maps call missing is asked last, and told nobody again. */
static void known_missing(void **state)
{
    (void)state;
    struct run run = run_make(4, 2, SMALL, 4 * SMALL);
    struct world world = world_make(&run);
    world.osds[1].known_bad = true;
    world.osds[1].way = MISSING;
    run_world(&world);
    assert_int_equal(world.err, LILIO_OK);
    assert_int_equal(world.requests, 4);
    assert_int_equal(world.counts.bad_fragments, 0);
    end(&world);
    world = world_make(&run);
    for (uint32_t i = 0; i < 3; i++) { /* the maps are wrong: they are there */
        world.osds[i].known_bad = true;
    }
    run_world(&world);
    assert_int_equal(world.err, LILIO_OK);
    end(&world);
    world = world_make(&run);
    for (uint32_t i = 0; i < 3; i++) { /* nobody can be asked whether they are */
        world.osds[i].known_bad = true;
        world.osds[i].way = AWAY;
    }
    run_world(&world);
    assert_int_equal(world.err, LILIO_E_UNAVAILABLE);
    assert_non_null(strstr(world.info.text, "fragment missing"));
    end(&world);
    run_release(&run);
}

/* What is where nobody names it is found, and nothing is called lost before everybody was heard. */
static void left_behind(void **state)
{
    (void)state;
    struct run run = run_make(2, 1, SMALL, 5 * 2 * SMALL);
    for (int way = FINE; way < BLANK; way++)
        for (uint32_t named = MISSING; named <= BLANK; named++) {
            struct world world = world_make(&run);
            world.osds[0].way = world.osds[1].way = (enum way)named;
            world.other_count = 3;
            world.osds[4].way = (enum way)way;
            world.osds[4].left = 7;
            uint64_t took_ms = run_world(&world);
            bool silent = way == AWAY || way == SILENT || way == BROKEN;
            bool named_silent = named == BROKEN;
            assert_int_equal(world.err, way == FINE              ? LILIO_OK
                                        : silent || named_silent ? LILIO_E_UNAVAILABLE
                                                                 : LILIO_E_LOST);
            assert_int_equal(world.searches, 1);
            assert_true(took_ms <= 2 * CLIENT_GET_SILENT_MS + CLIENT_PATIENCE_MS + SEARCH_MS);
            size_t reports;
            const struct proto_fragment_report *report =
                client_get_reports(world.machine, &reports);
            for (size_t i = 0; i < reports; i++) /* of who should have it, and nobody else */
                assert_int_equal(report[i].osd, osd_of(&world, report[i].stripe, report[i].index));
            assert_true(named == BLANK || named == BROKEN ? reports == 0 : reports >= 2);
            if (way == AWAY && !named_silent)
                assert_non_null(strstr(world.info.text, "not heard, and may have them: osd.4"));
            end(&world);
        }
    run_release(&run);
}

/* Who should have them cannot be reached; others have them still. */
static void left_behind_while_away(void **state)
{
    (void)state;
    struct run run = run_make(2, 1, SMALL, 5 * 2 * SMALL);
    struct world world = world_make(&run);
    world.osds[0].way = world.osds[1].way = AWAY;
    world.other_count = 2;
    world.osds[3].left = 4 | 2; /* each stripe has one of them there, and one at the other */
    world.osds[4].left = 1;
    uint64_t took_ms = run_world(&world);
    assert_int_equal(world.err, LILIO_OK);
    assert_true(took_ms < CLIENT_PATIENCE_MS + 100);
    end(&world);
    run_release(&run);
}

/* That the search of one fragment is over says nothing of another one. */
static void search_goes_on_for_others(void **state)
{
    (void)state;
    struct run run = run_make(4, 2, SMALL, 4 * SMALL);
    for (uint32_t has_count = 0; has_count <= 3; has_count++) {
        struct world world = world_make(&run);
        for (uint32_t i = 0; i < 6; i++)
            world.osds[i].way = i < 3 ? BROKEN : MISSING;
        world.other_count = 1;
        world.osds[6].left = ((UINT64_C(1) << has_count) - 1) << 3;
        run_world(&world);
        assert_int_equal(world.err, has_count == 0 ? LILIO_E_LOST : LILIO_E_UNAVAILABLE);
        end(&world);
    }
    run_release(&run);
}

/* Busy ones are not waited for while others may have it, and are asked again in the end. */
static void search_passes_the_busy(void **state)
{
    (void)state;
    struct run run = run_make(4, 2, SMALL, 12 * 4 * SMALL);
    for (uint32_t busy = 0; busy < 100; busy += 8) {
        struct world world = world_make(&run);
        for (uint32_t i = 0; i < 3; i++)
            world.osds[i].way = MISSING;
        world.other_count = 2;
        world.osds[6].busy = 1000000;
        world.osds[7].left = 63;
        world.osds[7].busy = busy;
        uint64_t took_ms = run_world(&world);
        assert_int_equal(world.err, LILIO_OK);
        assert_true(took_ms < (busy ? CLIENT_PATIENCE_MS : 200));
        end(&world);
    }
    run_release(&run);
}

/* Who does not answer is not waited for while others may have it; who is slow is, in the end. */
static void search_passes_the_silent(void **state)
{
    (void)state;
    struct run run = run_make(2, 1, SMALL, 2 * SMALL);
    for (uint32_t slow = 0; slow <= 1; slow++) {
        struct world world = world_make(&run);
        world.osds[0].way = world.osds[1].way = MISSING;
        world.other_count = 9;
        for (uint32_t i = 3; i < 11; i++)
            world.osds[i].way = slow ? MISSING : SILENT;
        world.osds[11].left = 7;
        world.osds[11].latency_ms = slow ? 500 : 2;
        uint64_t took_ms = run_world(&world);
        assert_int_equal(world.err, LILIO_OK);
        assert_true(took_ms < CLIENT_GET_SILENT_MS);
        end(&world);
    }
    run_release(&run);
}

/* Blocks that were enough for reading directly are not enough for decoding, and their OSD went. */
static void search_for_the_rest_of_a_fragment(void **state)
{
    (void)state;
    struct run run = run_make(2, 1, BLOCKS, 2 * BLOCKS);
    for (uint32_t left = 1; left <= 2; left++) {
        struct world world = world_make(&run);
        world.config.offset = BLOCKS - 10; /* the last block of 0, the first one of 1 */
        world.config.length = 20;
        world.osds[0].lose_ms = 1003;
        world.osds[1].way = MISSING;
        world.osds[1].latency_ms = 10;
        world.other_count = 1;
        world.osds[3].left = left;
        if (left == 2)
            world.osds[2].way = MISSING; /* what came of 0 is needed, then */
        run_world(&world);
        assert_int_equal(world.err, LILIO_OK);
        end(&world);
    }
    run_release(&run);
}

static void home_returns_during_the_search(void **state)
{
    (void)state;
    struct run run = run_make(2, 1, SMALL, 2 * SMALL);
    struct world world = world_make(&run);
    world.osds[0].lose_ms = 1001;
    world.osds[0].return_ms = 1001 + CLIENT_PATIENCE_MS + 300;
    world.osds[0].latency_ms = 50;
    world.osds[1].way = MISSING;
    world.other_count = 1;
    world.osds[3].way = SILENT;
    run_world(&world);
    assert_int_equal(world.err, LILIO_OK);
    end(&world);
    run_release(&run);
}

/* One OSD that was silent is asked again once its connection was made anew. */
static void silence_ends_with_the_connection(void **state)
{
    (void)state;
    struct run run = run_make(2, 1, SMALL, 2 * SMALL);
    struct world world = world_make(&run);
    world.osds[0].way = world.osds[1].way = MISSING;
    world.other_count = 1;
    world.osds[3].left = 7;
    world.osds[3].way = SILENT;
    world.osds[3].lose_ms = 4000;
    world.osds[3].return_ms = 4100;
    world.osds[3].mended_ms = 4100;
    run_world(&world);
    assert_int_equal(world.err, LILIO_OK);
    end(&world);
    run_release(&run);
}

/* More OSDs than any cluster has: each is asked once, and every attempt has a number. */
static void search_of_many(void **state)
{
    (void)state;
    enum { MANY = 1024 };
    struct run run = run_make(2, 0, SMALL, 2 * SMALL);
    struct world world = world_make(&run);
    uint32_t osds[MANY], most = 0, asked[MANY] = {0};
    struct client_place places[CODEC_TOTAL_MAX];
    struct client_get_action action;
    begin(&world);
    places_of(&world, 0, places);
    client_get_open(world.machine, places, world.now_ms);
    while (client_get_next(world.machine, world.now_ms, &action)) {
        if (action.kind == CLIENT_GET_REQUEST) {
            most = action.attempt > most ? action.attempt : most;
            asked[action.osd] += action.index == 0;
            client_get_refused(world.machine, 0, action.index, action.osd, action.attempt,
                               LILIO_E_MISSING, world.now_ms);
            continue;
        }
        assert_int_equal(action.kind, CLIENT_GET_SEARCH);
        for (uint32_t i = 0; i < MANY; i++) {
            osds[i] = i;
            assert_int_equal(client_get_peer_add(world.machine, i, world.now_ms), LILIO_OK);
            client_get_peer_set(world.machine, i, true, world.now_ms);
        }
        assert_int_equal(client_get_search(world.machine, osds, MANY, world.now_ms), LILIO_OK);
    }
    assert_int_equal(client_get_error(world.machine, NULL), LILIO_E_LOST);
    assert_in_range(most, 1, CLIENT_ATTEMPT_END - 1);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(asked[i], 1);
    end(&world);
    run_release(&run);
}

/* A newer map comes while a search is on: what the old home said is not said of the new one, and
 * OSDs that the new map knows are asked, too. */
static void map_changes_during_the_search(void **state)
{
    (void)state;
    struct run run = run_make(2, 0, SMALL, 2 * SMALL);
    for (uint32_t variant = 0; variant < 4; variant++) {
        struct world world = world_make(&run);
        struct client_place places[CODEC_TOTAL_MAX];
        struct client_get_action action;
        bool left = variant & 1, moves = variant & 2;
        world.osds[0].way = MISSING;
        begin(&world);
        places_of(&world, 0, places);
        client_get_open(world.machine, places, world.now_ms);
        while (client_get_next(world.machine, world.now_ms, &action))
            answer(&world, &action);
        world.now_ms += 10;
        for (struct agenda_event event; agenda_take(&world.agenda, world.now_ms, &event);)
            happen(&world, &event);
        assert_true(client_get_next(world.machine, world.now_ms, &action));
        assert_int_equal(action.kind, CLIENT_GET_SEARCH);
        make_list(&world);
        assert_true(client_get_next(world.machine, world.now_ms, &action));
        assert_int_equal(action.osd, 1);
        answer(&world, &action);
        places[0].osd = moves ? 9 : 0; /* which cannot be reached */
        world.other_count = 9;
        world.osds[9].way = AWAY;
        world.osds[10].left = left;
        add_peer(&world, 9);
        client_get_moved(world.machine, 0, places, world.now_ms);
        while (!client_get_error(world.machine, &world.info) && !client_get_done(world.machine)) {
            while (client_get_next(world.machine, world.now_ms, &action))
                if (action.kind == CLIENT_GET_SEARCH)
                    make_list(&world);
                else if (action.kind == CLIENT_GET_REQUEST)
                    answer(&world, &action);
            world.now_ms += 10;
            for (struct agenda_event event; agenda_take(&world.agenda, world.now_ms, &event);)
                happen(&world, &event);
            client_get_tick(world.machine, world.now_ms);
        }
        assert_int_equal(client_get_error(world.machine, &world.info),
                         left ? LILIO_OK : LILIO_E_UNAVAILABLE);
        if (!left)
            assert_non_null(strstr(world.info.text, moves
                                                        ? "fragment 0 at osd.9: unavailable"
                                                        : "fragment 0 at osd.0: fragment missing"));
        end(&world);
    }
    run_release(&run);
}

/* A slot that nobody has: everybody was heard all the same. */
static void nobody_has_the_slot(void **state)
{
    (void)state;
    struct run run = run_make(2, 1, SMALL, 2 * SMALL);
    for (uint32_t left = 0; left <= 1; left++) {
        struct world world = world_make(&run);
        world.homeless = 3;
        world.osds[2].left = left;
        run_world(&world);
        assert_int_equal(world.err, left ? LILIO_OK : LILIO_E_LOST);
        end(&world);
    }
    run_release(&run);
}

static void slow_osd_is_read_around(void **state)
{
    (void)state;
    struct run run = run_make(4, 2, SMALL, 40 * 4 * SMALL);
    struct world world = world_make(&run);
    world.osds[2].latency_ms = 60000;
    uint64_t took_ms = run_world(&world);
    assert_int_equal(world.err, LILIO_OK);
    assert_true(world.counts.slow_fragments > 0);
    assert_true(took_ms < 40 / 4 * (CLIENT_HEDGE_MS + 20));
    assert_int_equal(world.counts.bad_fragments, 0);
    end(&world);
    run_release(&run);
}

/* Once everybody takes long, long is not late. */
static void lateness_follows_the_median(void **state)
{
    (void)state;
    struct run run = run_make(4, 2, SMALL, 60 * 4 * SMALL);
    struct world world = world_make(&run);
    for (uint32_t i = 0; i < 6; i++)
        world.osds[i].latency_ms = 90;
    world.osds[0].latency_ms = 150;
    run_world(&world);
    assert_int_equal(world.err, LILIO_OK);
    assert_true(world.counts.slow_fragments < 12);
    end(&world);
    run_release(&run);
}

static void doubtful_osds_are_avoided(void **state)
{
    (void)state;
    struct run run = run_make(4, 2, SMALL, 6 * 4 * SMALL);
    struct world world = world_make(&run);
    world.osds[0].rank = 1;
    world.osds[1].rank = 2;
    world.osds[0].way = world.osds[1].way = SILENT;
    uint64_t took_ms = run_world(&world);
    assert_int_equal(world.err, LILIO_OK);
    assert_true(took_ms < 20);
    assert_int_equal(world.counts.slow_fragments, 0);
    end(&world);
    run_release(&run);
}

static void connections_come_back(void **state)
{
    (void)state;
    struct run run = run_make(4, 2, SMALL, 40 * 4 * SMALL);
    struct world world = world_make(&run);
    for (uint32_t i = 0; i < 3; i++) {
        world.osds[i].lose_ms = 1005;
        world.osds[i].return_ms = 3000;
    }
    uint64_t took_ms = run_world(&world);
    assert_int_equal(world.err, LILIO_OK);
    assert_true(took_ms >= 1990 && took_ms < 2300);
    end(&world);
    run_release(&run);
}

static void busy_and_stale_are_tried_again(void **state)
{
    (void)state;
    struct run run = run_make(4, 2, SMALL, 4 * 4 * SMALL);
    struct world world = world_make(&run);
    for (uint32_t i = 0; i < 6; i++) {
        world.osds[i].busy = i < 3 ? 10 : 0;
        world.osds[i].stale = i >= 3 ? 2 : 0;
    }
    run_world(&world);
    assert_int_equal(world.err, LILIO_OK);
    end(&world);
    world = world_make(&run);
    for (uint32_t i = 0; i < 3; i++)
        world.osds[i].busy = 1000000;
    uint64_t took_ms = run_world(&world);
    assert_int_equal(world.err, LILIO_E_UNAVAILABLE);
    assert_true(took_ms <= CLIENT_TIMEOUT_MS + SEARCH_MS + 1000);
    end(&world);
    run_release(&run);
}

/* Ranges around every boundary, with and without losses: only the blocks that are needed are asked
 * for. */
static void ranges(void **state)
{
    (void)state;
    struct run run = run_make(3, 2, BLOCKS, 2 * 3 * BLOCKS + 100000);
    const uint64_t edges[] = {0,
                              1,
                              CODEC_BLOCK - 1,
                              CODEC_BLOCK,
                              CODEC_BLOCK + 1,
                              BLOCKS - 1,
                              BLOCKS,
                              BLOCKS + 70000,
                              3 * BLOCKS,
                              3 * BLOCKS + 1,
                              6 * BLOCKS,
                              run.length - 1,
                              run.length};
    size_t count = sizeof edges / sizeof edges[0];
    for (size_t a = 0; a < count; a++)
        for (size_t b = a + 1; b < count; b++)
            for (uint32_t lost = 0; lost < 6; lost++) {
                struct world world = world_make(&run);
                world.config.offset = edges[a];
                world.config.length = edges[b] - edges[a];
                world.osds[lost].way = lost < 5 ? MISSING : FINE;
                world.osds[(lost + 2) % 5].way = lost < 5 ? FLIPPED : FINE;
                run_world(&world);
                assert_int_equal(world.err, LILIO_OK);
                end(&world);
            }
    run_release(&run);
}

static void range_within_a_block(void **state)
{
    (void)state;
    struct run run = run_make(4, 2, BLOCKS, 4 * BLOCKS);
    struct world world = world_make(&run);
    world.config.offset = BLOCKS + CODEC_BLOCK + 10;
    world.config.length = 20;
    begin(&world);
    struct client_place places[CODEC_TOTAL_MAX];
    struct client_get_action action;
    places_of(&world, 0, places);
    client_get_open(world.machine, places, 1000);
    assert_true(client_get_next(world.machine, 1000, &action));
    assert_int_equal(action.kind, CLIENT_GET_REQUEST);
    assert_int_equal(action.index, 1);
    assert_int_equal(action.first_block, 1);
    assert_int_equal(action.block_count, 1);
    assert_false(client_get_next(world.machine, 1000, &action));
    end(&world);
    run_release(&run);
}

/* Verified sources that do not fit together (a writer's fault) must not turn into bytes. */
static void decoded_bytes_are_held_against_the_row(void **state)
{
    (void)state;
    struct run run = run_make(4, 2, SMALL, 4 * SMALL);
    run.row_sums[1] ^= 1; /* of fragment 0, which is not there */
    struct world world = world_make(&run);
    world.osds[0].way = AWAY;
    run_world(&world);
    assert_int_equal(world.err, LILIO_E_CORRUPT);
    assert_int_equal(world.delivered, 0);
    end(&world);
    run_release(&run);
}

static uint64_t seed_at_hand;

static int tell_seed(void **state)
{
    (void)state;
    print_message("last seed: %llu\n", (unsigned long long)seed_at_hand);
    return 0;
}

static void draw_osd(struct osd *osd, uint64_t *random, uint64_t trouble)
{
    osd->jitter_ms = agenda_random(random) % 60;
    osd->twice = agenda_random(random) % 4 == 0;
    if (agenda_random(random) % 4 >= trouble)
        return;
    osd->way = (enum way)(agenda_random(random) % WAYS);
    osd->latency_ms = agenda_random(random) % 3000;
    osd->busy = (uint32_t)(agenda_random(random) % 10);
    osd->stale = (uint32_t)(agenda_random(random) % 4);
    osd->rank = (uint32_t)(agenda_random(random) % 3);
    osd->known_bad = agenda_random(random) % 8 == 0;
    osd->lose_ms = agenda_random(random) % 2 ? 1000 + agenda_random(random) % 500 : 0;
    if (osd->lose_ms && agenda_random(random) % 2)
        osd->return_ms = osd->lose_ms + 1 + agenda_random(random) % 4000;
}

static void scripts_from_seeds(void **state)
{
    (void)state;
    struct run runs[] = {run_make(4, 2, SMALL, 9 * 4 * SMALL + 100),
                         run_make(1, 2, SMALL, 5 * SMALL + 3), run_make(3, 0, SMALL, 7 * 3 * SMALL),
                         run_make(3, 2, BLOCKS, 3 * BLOCKS + 77777),
                         run_make(8, 4, SMALL, 6 * 8 * SMALL + 12345)};
    uint32_t good = 0, failed = 0;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        uint64_t random = seed_at_hand = seed;
        const struct run *run = &runs[agenda_random(&random) % 5];
        struct world world = world_make(run);
        world.config.window = 1 + (uint32_t)(agenda_random(&random) % 6);
        world.config.offset = agenda_random(&random) % run->length;
        world.config.length = 1 + agenda_random(&random) % (run->length - world.config.offset);
        uint64_t trouble = agenda_random(&random) % 4;
        world.other_count = (uint32_t)(agenda_random(&random) % (OSDS_MAX - run->total_count + 1));
        for (uint32_t i = 0; i < run->total_count + world.other_count; i++) {
            draw_osd(&world.osds[i], &random, trouble);
            world.osds[i].left = agenda_random(&random) % 4 ? 0 : agenda_random(&random);
        }
        world.random = random;
        uint64_t took_ms = run_world(&world);
        assert_true(took_ms < 240000); /* each of 15 slow OSDs is asked for a stripe */
        world.err == LILIO_OK ? good++ : failed++;
        end(&world);
    }
    assert_true(good > 500 && failed > 500); /* the scripts are neither tame nor hopeless */
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++)
        run_release(&runs[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_fine),
        cmocka_unit_test(every_subset),
        cmocka_unit_test(failure_names_fragments),
        cmocka_unit_test(known_missing),
        cmocka_unit_test(left_behind),
        cmocka_unit_test(left_behind_while_away),
        cmocka_unit_test(search_goes_on_for_others),
        cmocka_unit_test(search_passes_the_busy),
        cmocka_unit_test(search_passes_the_silent),
        cmocka_unit_test(search_for_the_rest_of_a_fragment),
        cmocka_unit_test(home_returns_during_the_search),
        cmocka_unit_test(silence_ends_with_the_connection),
        cmocka_unit_test(search_of_many),
        cmocka_unit_test(map_changes_during_the_search),
        cmocka_unit_test(nobody_has_the_slot),
        cmocka_unit_test(slow_osd_is_read_around),
        cmocka_unit_test(lateness_follows_the_median),
        cmocka_unit_test(doubtful_osds_are_avoided),
        cmocka_unit_test(connections_come_back),
        cmocka_unit_test(busy_and_stale_are_tried_again),
        cmocka_unit_test(ranges),
        cmocka_unit_test(range_within_a_block),
        cmocka_unit_test(decoded_bytes_are_held_against_the_row),
        cmocka_unit_test_teardown(scripts_from_seeds, tell_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
