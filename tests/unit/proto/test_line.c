/* Aim: a line gets its answer from whichever coordinator gives one: behind redirects, with a leader
 * that is silent, gone, or comes back; with the same request id each time; it says who was tried,
 * ends when told to stop, and does not call a request lost that may have been done. Method: three
 * coordinators in a thread, over inproc, each told how to behave; limits on time only where the
 * point is not to wait. */
#include "proto/line.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/env.h"
#include "tests/support/cmocka_all.h"

#include "base/banned.h"

enum { NODES = 3, EPOCH = 9, PATIENCE = 20000 };
enum manner {
    LEADS,
    FOLLOWS,
    KNOWS_NOBODY,
    SILENT,
    BUSY,
    DEAD,
    REFUSES,
    LATE,
    FULL,
    DEPOSED,
    DAMAGED
};

static char names[NODES][64];

struct fixture {
    struct proto_context *context;
    struct proto_server *servers[NODES];
    pthread_t thread;
    _Atomic bool stop, up[NODES];
    _Atomic int manner[NODES], leader;
    _Atomic int
        turns_after; /* so many requests from now on, the leader is the next one; 0 = never */
    _Atomic int asked[NODES];
    _Atomic uint64_t last_sequence, last_session;
    struct proto_request *late; /* to be answered as the last thing before death */
    _Atomic int waits;          /* of a line that counts them */
    struct proto_coordinators coordinators;
    struct proto_line line;
    struct proto_arena *arena;
};

static void serve(struct fixture *f, int node, struct proto_request *request)
{
    struct proto_server *server = f->servers[node];
    struct proto_ok ok = {.index = 42 + (uint64_t)node};
    struct proto_error error = {.code = LILIO_E_NOT_LEADER};
    atomic_fetch_add(&f->asked[node], 1);
    atomic_store(&f->last_sequence, request->header.sequence);
    atomic_store(&f->last_session, request->header.session);
    if (atomic_load(&f->turns_after) > 0 && atomic_fetch_sub(&f->turns_after, 1) == 1) {
        atomic_store(&f->manner[node], FOLLOWS);
        atomic_store(&f->leader, (node + 1) % NODES);
        atomic_store(&f->manner[(node + 1) % NODES], LEADS);
    }
    switch (atomic_load(&f->manner[node])) {
    case LEADS: proto_server_reply(server, &request, &proto_type_ok, &ok, NULL, EPOCH); break;
    case FOLLOWS:
        error.leader = base_slice_str(names[atomic_load(&f->leader)]);
        proto_server_reply_error_full(server, &request, &error, EPOCH);
        break;
    case KNOWS_NOBODY: proto_server_reply_error_full(server, &request, &error, EPOCH); break;
    case LATE: f->late = request; break;
    case BUSY: proto_server_reply_error(server, &request, LILIO_E_BUSY, "later", EPOCH); break;
    case FULL: proto_server_reply_error(server, &request, LILIO_E_NO_SPACE, "full", EPOCH); break;
    case DEPOSED:
        error.taken = true;
        proto_server_reply_error_full(server, &request, &error, EPOCH);
        break;
    case DAMAGED:
        proto_server_reply_error(server, &request, LILIO_E_CORRUPT, "column versions", EPOCH);
        break;
    case REFUSES: proto_server_reply_error(server, &request, LILIO_E_EXISTS, "there", EPOCH); break;
    default: proto_request_drop(&request);
    }
}

/* A dead one has no server; it comes back when its manner changes. */
static void live(struct fixture *f, int node)
{
    bool dead = atomic_load(&f->manner[node]) == DEAD;
    if (dead && f->servers[node] && f->late)
        proto_server_reply_error(f->servers[node], &f->late, LILIO_E_EXISTS, "at last", EPOCH);
    if (dead && f->servers[node])
        proto_server_free(&f->servers[node]);
    struct proto_server_options options = {.endpoint = names[node]};
    if (!dead && !f->servers[node])
        LILIO_ASSERT(proto_server_new(f->context, &options, &f->servers[node], NULL) == LILIO_OK);
    atomic_store(&f->up[node], !dead);
}

static void *run(void *context)
{
    struct fixture *f = context;
    while (!atomic_load(&f->stop)) {
        struct proto_wait_item items[NODES];
        size_t count = 0;
        for (int i = 0; i < NODES; i++) {
            live(f, i);
            if (f->servers[i])
                items[count++] = (struct proto_wait_item){.server = f->servers[i]};
        }
        (void)proto_wait(items, count, 5);
        for (int i = 0; i < NODES; i++) {
            struct proto_request *request;
            while (f->servers[i] && (request = proto_server_receive(f->servers[i])) != NULL)
                serve(f, i, request);
        }
    }
    return NULL;
}

static void open_line(struct fixture *f, size_t count, const int *stop_fds,
                      bool (*stopped)(void *context))
{
    const char *const endpoints[NODES] = {names[0], names[1], names[2]};
    proto_coordinators_init(&f->coordinators, endpoints, count);
    struct proto_line_options options = {.context = f->context,
                                         .coordinators = &f->coordinators,
                                         .stop_fds = stop_fds,
                                         .stopped = stopped,
                                         .stop_context = f};
    proto_line_init(&f->line, &options);
}

static void close_line(struct fixture *f)
{
    proto_line_release(&f->line);
    proto_coordinators_release(&f->coordinators);
}

static int setup(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){0};
    assert_int_equal(proto_context_new(1, &fixture.context), LILIO_OK);
    assert_int_equal(proto_arena_new(&fixture.arena), LILIO_OK);
    for (int i = 0; i < NODES; i++) {
        snprintf(names[i], sizeof names[i], "inproc://coordinator.%d", i);
        atomic_store(&fixture.manner[i], i == 0 ? LEADS : FOLLOWS);
        live(&fixture, i);
    }
    assert_int_equal(pthread_create(&fixture.thread, NULL, run, &fixture), 0);
    open_line(&fixture, NODES, NULL, NULL);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close_line(f);
    atomic_store(&f->stop, true);
    pthread_join(f->thread, NULL);
    for (int i = 0; i < NODES; i++)
        proto_server_free(&f->servers[i]);
    proto_arena_free(&f->arena);
    proto_context_free(&f->context);
    return 0;
}

/* Waits until a coordinator has died, or come back. */
static void await_up(struct fixture *f, int node, bool up)
{
    struct proto_wait_item never = {.fd = -1};
    while (atomic_load(&f->up[node]) != up)
        (void)proto_wait(&never, 1, 1);
}

static void set(struct fixture *f, int a, int b, int c, int leader)
{
    atomic_store(&f->leader, leader);
    atomic_store(&f->manner[0], a);
    atomic_store(&f->manner[1], b);
    atomic_store(&f->manner[2], c);
    for (int i = 0; i < NODES; i++)
        await_up(f, i, atomic_load(&f->manner[i]) != DEAD);
}

/* Asks; *ret_index is 42 + the number of who answered. */
static enum lilio_err ask(struct fixture *f, uint64_t sequence, uint32_t timeout_ms,
                          uint64_t *ret_index, struct proto_line_outcome *ret_outcome,
                          struct lilio_errinfo *info)
{
    struct proto_session_close value = {0};
    struct proto_line_call call = {.header = {.session = 5, .sequence = sequence},
                                   .type = &proto_type_session_close,
                                   .value = &value,
                                   .reply_type = &proto_type_ok,
                                   .timeout_ms = timeout_ms};
    struct proto_ok ok;
    proto_arena_clear(f->arena);
    enum lilio_err err = proto_line_ask(&f->line, &call, f->arena, &ok, ret_outcome, info);
    if (err == LILIO_OK)
        *ret_index = ok.index;
    proto_reply_free(&ret_outcome->reply);
    return err;
}

static uint64_t expect(struct fixture *f, uint64_t sequence, int node)
{
    uint64_t index, start_ms = base_now_ms(base_clock_system());
    struct proto_line_outcome outcome;
    struct lilio_errinfo info = {0};
    if (ask(f, sequence, PATIENCE, &index, &outcome, &info) != LILIO_OK)
        fail_msg("%s", info.text);
    assert_int_equal(index, 42 + node);
    assert_int_equal(atomic_load(&f->last_sequence), sequence);
    assert_int_equal(atomic_load(&f->last_session), 5);
    return base_now_ms(base_clock_system()) - start_ms;
}

/* Waits until coordinator 0 was asked so often in all. */
static void await_asked(struct fixture *f, int least)
{
    struct proto_wait_item never = {.fd = -1};
    while (atomic_load(&f->asked[0]) < least)
        (void)proto_wait(&never, 1, 1);
}

static void *kill_first(void *context)
{
    struct fixture *f = context;
    await_asked(f, 1);
    atomic_store(&f->manner[0], DEAD);
    return NULL;
}

static void *restart_first(void *context)
{
    struct fixture *f = context;
    await_asked(f, 2);
    atomic_store(&f->manner[0], DEAD);
    await_up(f, 0, false);
    atomic_store(&f->manner[0], LEADS);
    return NULL;
}

static void redirects_are_followed_and_remembered(void **state)
{
    struct fixture *f = *state;
    set(f, FOLLOWS, FOLLOWS, LEADS, 2);
    (void)expect(f, 1, 2);
    assert_int_equal(atomic_load(&f->asked[0]), 1);
    (void)expect(f, 2, 2);
    assert_int_equal(atomic_load(&f->asked[0]), 1);
    assert_int_equal(atomic_load(&f->asked[1]), 0);
    assert_int_equal(f->line.seen_epoch, EPOCH);
}

static void another_line_begins_with_the_leader_that_was_found(void **state)
{
    struct fixture *f = *state;
    set(f, FOLLOWS, LEADS, FOLLOWS, 1);
    (void)expect(f, 1, 1);
    proto_line_release(&f->line);
    struct proto_line_options options = {.context = f->context, .coordinators = &f->coordinators};
    proto_line_init(&f->line, &options);
    (void)expect(f, 2, 1);
    assert_int_equal(atomic_load(&f->asked[0]), 1);
}

static void an_unknown_leader_is_learnt(void **state)
{
    struct fixture *f = *state;
    close_line(f);
    open_line(f, 1, NULL, NULL); /* knows coordinator 0 only */
    set(f, FOLLOWS, FOLLOWS, LEADS, 2);
    (void)expect(f, 1, 2);
    assert_true(proto_coordinators_several(&f->coordinators));
}

static void silent_leader_costs_at_most_a_second(void **state)
{
    struct fixture *f = *state;
    set(f, SILENT, LEADS, FOLLOWS, 1);
    uint64_t ms = expect(f, 1, 1);
    assert_in_range(ms, PROTO_LEADER_ATTEMPT_MS, PATIENCE / 2); /* the rest is the machine's */
    assert_int_equal(atomic_load(&f->asked[0]), 1);
    assert_int_equal(atomic_load(&f->asked[1]), 1); /* the same request id, checked by expect */
}

static void silent_leader_that_still_leads_gets_to_answer(void **state)
{
    struct fixture *f = *state;
    set(f, SILENT, FOLLOWS, FOLLOWS, 0);
    atomic_store(&f->turns_after, 0);
    uint64_t index, start_ms = base_now_ms(base_clock_system());
    struct proto_line_outcome outcome;
    assert_int_equal(ask(f, 1, 300, &index, &outcome, NULL), LILIO_E_TIMEOUT);
    assert_true(outcome.maybe_done);
    assert_true(base_now_ms(base_clock_system()) - start_ms < PATIENCE / 2);
    set(f, LEADS, FOLLOWS, FOLLOWS, 0);
    (void)expect(f, 1, 0);
}

static void dead_leader_is_left_at_once(void **state)
{
    struct fixture *f = *state;
    (void)expect(f, 1, 0);
    set(f, DEAD, FOLLOWS, LEADS, 2);
    uint64_t ms = expect(f, 2, 2);
    assert_true(ms < 5000); /* no attempt's length is waited for; generous for sanitizers */
    set(f, LEADS, DEAD, DEAD, 0);
    (void)expect(f, 3, 0);
}

static void leader_that_dies_with_the_request(void **state)
{
    struct fixture *f = *state;
    set(f, SILENT, LEADS, FOLLOWS, 1);
    uint64_t index;
    struct proto_line_outcome outcome;
    pthread_t killer;
    assert_int_equal(pthread_create(&killer, NULL, kill_first, f), 0);
    assert_int_equal(ask(f, 7, PATIENCE, &index, &outcome, NULL), LILIO_OK);
    pthread_join(killer, NULL);
    assert_int_equal(index, 43);
}

static bool count_waits(void *context)
{
    struct fixture *f = context;
    (void)atomic_fetch_add(&f->waits, 1);
    return false;
}

static void answer_that_came_too_late_does_not_keep_the_line_awake(void **state)
{
    enum { LINGER_MS = 300, WAITS_MAX = 3 * LINGER_MS };
    struct fixture *f = *state;
    close_line(f);
    open_line(f, 1, NULL, count_waits);
    set(f, LATE, DEAD, DEAD, 0);
    uint64_t index;
    struct proto_line_outcome outcome;
    assert_int_equal(ask(f, 1, LINGER_MS, &index, &outcome, NULL), LILIO_E_TIMEOUT);
    set(f, DEAD, DEAD, DEAD, 0);
    atomic_store(&f->waits, 0);
    assert_int_equal(ask(f, 2, LINGER_MS, &index, &outcome, NULL), LILIO_E_UNAVAILABLE);
    assert_in_range(atomic_load(&f->waits), 1, WAITS_MAX);
}

static void election_is_waited_for(void **state)
{
    struct fixture *f = *state;
    set(f, KNOWS_NOBODY, KNOWS_NOBODY, KNOWS_NOBODY, 0);
    atomic_store(&f->turns_after, 7);
    uint64_t index;
    struct proto_line_outcome outcome;
    assert_int_equal(ask(f, 3, PATIENCE, &index, &outcome, NULL), LILIO_OK);
    assert_int_equal(atomic_load(&f->last_sequence), 3);
    int asked = atomic_load(&f->asked[0]) + atomic_load(&f->asked[1]) + atomic_load(&f->asked[2]);
    assert_in_range(asked, 8, 9);
}

static void patience_ends_and_says_who_was_tried(void **state)
{
    struct fixture *f = *state;
    uint64_t index;
    struct proto_line_outcome outcome;
    struct lilio_errinfo info;
    set(f, SILENT, KNOWS_NOBODY, DEAD, 0);
    assert_int_equal(ask(f, 1, 1500, &index, &outcome, &info), LILIO_E_TIMEOUT);
    assert_true(outcome.maybe_done);
    assert_non_null(strstr(info.text, "coordinator.0: no answer"));
    assert_non_null(strstr(info.text, "coordinator.1: not the leader"));
    assert_non_null(strstr(info.text, "coordinator.2: no connection"));
    assert_non_null(strstr(info.text, "within 1.5 s"));

    set(f, DEAD, DEAD, DEAD, 0);
    assert_int_equal(ask(f, 2, 700, &index, &outcome, &info), LILIO_E_UNAVAILABLE);
    assert_false(outcome.maybe_done);

    set(f, BUSY, DEAD, DEAD, 0);
    assert_int_equal(ask(f, 3, 1500, &index, &outcome, &info), LILIO_E_BUSY);
    assert_false(outcome.maybe_done); /* it said so itself */
    assert_string_equal(info.text, "later, for 1.5 s");
}

static void refusal_decides_only_what_it_knows(void **state)
{
    static const struct {
        int first, second;
        enum lilio_err err;
        bool maybe_done;
    } cases[] = {
        {SILENT, FULL, LILIO_E_NO_SPACE, true}, /* said before the request id was looked up */
        {DEPOSED, FULL, LILIO_E_NO_SPACE, true},
        {FOLLOWS, FULL, LILIO_E_NO_SPACE, false},
        {SILENT, REFUSES, LILIO_E_EXISTS, false},
        {SILENT, BUSY, LILIO_E_BUSY, true},
        {DEPOSED, KNOWS_NOBODY, LILIO_E_UNAVAILABLE, true},
        {KNOWS_NOBODY, KNOWS_NOBODY, LILIO_E_UNAVAILABLE, false},
        {SILENT, LEADS, LILIO_OK, false},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t index;
        struct proto_line_outcome outcome;
        f->coordinators.leader.first = 0;
        memset(f->coordinators.leader.failed_ms, 0, sizeof f->coordinators.leader.failed_ms);
        set(f, cases[i].first, cases[i].second, DEAD, 1);
        assert_int_equal(ask(f, 1, 1500, &index, &outcome, NULL), cases[i].err);
        assert_int_equal(outcome.maybe_done, cases[i].maybe_done);
    }
}

static void damaged_maps_are_read_elsewhere(void **state)
{
    struct fixture *f = *state;
    uint64_t index;
    struct proto_line_outcome outcome;
    struct lilio_errinfo info;
    set(f, DAMAGED, LEADS, FOLLOWS, 1);
    (void)expect(f, 1, 1);
    (void)expect(f, 2, 1); /* and it is remembered */
    assert_int_equal(atomic_load(&f->asked[0]), 1);
    set(f, DAMAGED, DAMAGED, DAMAGED, 0);
    assert_int_equal(ask(f, 3, PATIENCE, &index, &outcome, &info), LILIO_E_CORRUPT);
    assert_string_equal(info.text, "column versions");
    set(f, DAMAGED, DEAD, DEAD, 0);
    assert_int_equal(ask(f, 4, 1500, &index, &outcome, &info), LILIO_E_CORRUPT);
}

/* Sends a request that must not be repeated. */
static enum lilio_err ask_once(struct fixture *f, struct proto_line_outcome *ret_outcome)
{
    struct proto_coordinator_transfer value = {.id = 1};
    struct proto_line_call call = {.header = {.sequence = 1},
                                   .type = &proto_type_coordinator_transfer,
                                   .value = &value,
                                   .reply_type = &proto_type_ok,
                                   .timeout_ms = PATIENCE,
                                   .once = true};
    struct proto_ok ok;
    proto_arena_clear(f->arena);
    enum lilio_err err = proto_line_ask(&f->line, &call, f->arena, &ok, ret_outcome, NULL);
    proto_reply_free(&ret_outcome->reply);
    return err;
}

static void what_must_not_be_repeated_is_not(void **state)
{
    struct fixture *f = *state;
    struct proto_line_outcome outcome;
    set(f, FOLLOWS, FOLLOWS, LEADS, 2);
    assert_int_equal(ask_once(f, &outcome), LILIO_OK); /* a redirect is followed */
    set(f, SILENT, LEADS, LEADS, 1);
    atomic_store(&f->asked[0], 0);
    atomic_store(&f->asked[1], 0);
    atomic_store(&f->asked[2], 0);
    f->coordinators.leader.first = 0;
    pthread_t killer;
    assert_int_equal(pthread_create(&killer, NULL, kill_first, f), 0);
    assert_int_equal(ask_once(f, &outcome), LILIO_E_TIMEOUT);
    pthread_join(killer, NULL);
    assert_true(outcome.maybe_done);
    assert_int_equal(atomic_load(&f->asked[0]), 1);
    assert_int_equal(atomic_load(&f->asked[1]) + atomic_load(&f->asked[2]), 0);
}

static void refusals_are_answers(void **state)
{
    struct fixture *f = *state;
    uint64_t index;
    struct proto_line_outcome outcome;
    struct lilio_errinfo info;
    set(f, REFUSES, FOLLOWS, FOLLOWS, 0);
    assert_int_equal(ask(f, 1, PATIENCE, &index, &outcome, &info), LILIO_E_EXISTS);
    assert_string_equal(info.text, "there");
    assert_false(outcome.maybe_done);
    assert_int_equal(atomic_load(&f->asked[0]), 1);
}

static bool stop_now(void *context)
{
    struct fixture *f = context;
    return atomic_load(&f->asked[0]) > 0;
}

static void stops_when_told(void **state)
{
    struct fixture *f = *state;
    uint64_t index;
    struct proto_line_outcome outcome;
    set(f, SILENT, SILENT, SILENT, 0);
    close_line(f);
    open_line(f, 1, NULL, stop_now);
    assert_int_equal(ask(f, 1, PATIENCE, &index, &outcome, NULL), LILIO_E_CANCELLED);
    assert_true(outcome.maybe_done);
    close_line(f);
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    int stop_fds[PROTO_LINE_STOP_FDS] = {-1, fds[0]};
    open_line(f, NODES, stop_fds, NULL);
    assert_int_equal(ask(f, 2, PATIENCE, &index, &outcome, NULL), LILIO_E_CANCELLED);
    close(fds[0]);
    close(fds[1]);
}

static void one_alone_is_waited_for(void **state)
{
    struct fixture *f = *state;
    close_line(f);
    open_line(f, 1, NULL, NULL);
    (void)expect(f, 1, 0);
    set(f, SILENT, DEAD, DEAD, 0);
    pthread_t killer;
    assert_int_equal(pthread_create(&killer, NULL, restart_first, f), 0);
    (void)expect(f, 2, 0); /* sent again over the new connection */
    pthread_join(killer, NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(redirects_are_followed_and_remembered),
        TEST(another_line_begins_with_the_leader_that_was_found),
        TEST(an_unknown_leader_is_learnt),
        TEST(silent_leader_costs_at_most_a_second),
        TEST(silent_leader_that_still_leads_gets_to_answer),
        TEST(dead_leader_is_left_at_once),
        TEST(leader_that_dies_with_the_request),
        TEST(answer_that_came_too_late_does_not_keep_the_line_awake),
        TEST(election_is_waited_for),
        TEST(patience_ends_and_says_who_was_tried),
        TEST(refusal_decides_only_what_it_knows),
        TEST(damaged_maps_are_read_elsewhere),
        TEST(what_must_not_be_repeated_is_not),
        TEST(refusals_are_answers),
        TEST(stops_when_told),
        TEST(one_alone_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
