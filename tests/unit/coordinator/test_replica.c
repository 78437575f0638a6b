/* Aim: several replicas elect, commit, lose members, take them back and change their membership
 * without losing or doubling what was acknowledged, and their rows stay equal byte by byte. Method:
 * coord_quorum.h; what was acknowledged is looked for after each fault. */
#include "coord_quorum.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/banned.h"

static void start_all(struct quorum *quorum, bool init)
{
    for (uint32_t i = 0; i < quorum->first; i++) {
        struct lilio_errinfo info = {0};
        if (!quorum->nodes[i].up && quorum_start(quorum, i, init, &info))
            fail_msg("coordinator.%u: %s", i, info.text);
    }
}

/* Binds the OSDs, which makes buckets possible, too. */
static uint64_t session_open(struct quorum *quorum)
{
    struct quorum_call call = {0};
    for (uint32_t i = 0; i < 2; i++) {
        struct proto_osd_bind bind = {.osd = i, .disk_uuid = fx_uuid(10 + i)};
        assert_int_equal(
            quorum_call(quorum_leader(quorum), &call, 0, 0, &proto_type_osd_bind, &bind), LILIO_OK);
    }
    struct proto_session_open open = {.label = fx_text("test"), .timeout_ms = 60000};
    struct proto_session session;
    assert_int_equal(
        quorum_call(quorum_leader(quorum), &call, 0, 0, &proto_type_session_open, &open), LILIO_OK);
    quorum_reply(quorum, &call, &proto_type_session, &session);
    quorum_call_release(&call);
    return session.id;
}

/* As a client does it: the same request id again, to whoever leads, until there is an answer. */
static void bucket_create(struct quorum *quorum, uint64_t session, uint64_t sequence,
                          const char *name)
{
    struct quorum_call call = {0};
    struct proto_bucket_create create = {.name = fx_text(name)};
    enum lilio_err err;
    do {
        err = quorum_call(quorum_leader(quorum), &call, session, sequence,
                          &proto_type_bucket_create, &create);
    } while (err == LILIO_E_NOT_LEADER);
    if (err) {
        struct proto_error error;
        quorum_reply(quorum, &call, &proto_type_error, &error);
        fail_msg("bucket %s: %.*s", name, (int)error.text.size, (const char *)error.text.data);
    }
    quorum_call_release(&call);
}

static enum lilio_err bucket_get(struct quorum_node *node, const char *name)
{
    struct quorum_call call = {0};
    struct proto_bucket_get get = {.name = fx_text(name)};
    enum lilio_err err = quorum_call(node, &call, 0, 0, &proto_type_bucket_get, &get);
    quorum_call_release(&call);
    return err;
}

static void elects_commits_and_agrees(void **unused)
{
    (void)unused;
    for (uint32_t count = 1; count <= 5; count += 2) {
        struct quorum *quorum = quorum_new(count);
        start_all(quorum, true);
        uint64_t session = session_open(quorum);
        bucket_create(quorum, session, 1, "first");
        bucket_create(quorum, session, 2, "second");
        quorum_agree(quorum);
        for (uint32_t i = 0; i < count; i++) {
            assert_true(coord_state_initialised(quorum->nodes[i].home.state));
            assert_int_equal(coord_state_osd_count(quorum->nodes[i].home.state), 2);
            assert_int_equal(coord_state_row(quorum->nodes[i].home.state)->bucket_count, 2);
            assert_int_equal(coord_state_voters(quorum->nodes[i].home.state), count);
        }
        quorum_free(quorum);
    }
}

static void followers_answer_reads_and_redirect_changes(void **unused)
{
    (void)unused;
    struct quorum *quorum = quorum_new(3);
    start_all(quorum, true);
    uint64_t session = session_open(quorum);
    bucket_create(quorum, session, 1, "first");
    struct quorum_node *leader = quorum_leader(quorum);
    for (uint32_t i = 0; i < 3; i++) { /* what was acknowledged is seen everywhere at once */
        char name[16];
        (void)snprintf(name, sizeof name, "n%u", i);
        bucket_create(quorum, session, 2 + i, name);
        assert_int_equal(bucket_get(&quorum->nodes[i], name), LILIO_OK);
        if (&quorum->nodes[i] == leader)
            continue;
        struct quorum_call call = {0};
        struct proto_bucket_create create = {.name = fx_text("elsewhere")};
        struct proto_error error;
        assert_int_equal(
            quorum_call(&quorum->nodes[i], &call, session, 9, &proto_type_bucket_create, &create),
            LILIO_E_NOT_LEADER);
        quorum_reply(quorum, &call, &proto_type_error, &error);
        assert_true(base_slice_equal(error.leader, fx_text(leader->endpoint)));
        quorum_call_release(&call);
    }
    quorum_free(quorum);
}

static void a_minority_may_die_and_come_back(void **unused)
{
    (void)unused;
    struct quorum *quorum = quorum_new(3);
    start_all(quorum, true);
    uint64_t session = session_open(quorum);
    bucket_create(quorum, session, 1, "b1");
    for (uint64_t n = 2; n < 8; n++) {
        char name[16];
        (void)snprintf(name, sizeof name, "b%llu", (unsigned long long)n);
        struct quorum_node *victim = quorum_leader(quorum);
        if (n % 2) /* a follower */
            victim = &quorum->nodes[(victim->id + 1) % 3];
        struct quorum_call lost = {0}; /* under way when it dies: retried below */
        struct proto_bucket_create create = {.name = fx_text(name)};
        quorum_ask(quorum_leader(quorum), &lost, session, n, &proto_type_bucket_create, &create);
        (void)quorum_run(quorum, (int)n - 2, NULL, NULL);
        quorum_kill(quorum, victim->id);
        bucket_create(quorum, session, n, name); /* answered behind the lost one, if that is */
        quorum_call_release(&lost);
        assert_int_equal(bucket_get(quorum_leader(quorum), name), LILIO_OK);
        start_all(quorum, false);
        quorum_agree(quorum);
        assert_int_equal(coord_state_row(quorum_leader(quorum)->home.state)->bucket_count, n);
    }
    quorum_free(quorum);
}

static void nothing_is_decided_without_a_majority(void **unused)
{
    (void)unused;
    struct quorum *quorum = quorum_new(3);
    start_all(quorum, true);
    uint64_t session = session_open(quorum);
    bucket_create(quorum, session, 1, "b1");
    struct quorum_node *leader = quorum_leader(quorum);
    for (uint32_t i = 0; i < 3; i++)
        if (i != leader->id)
            quorum_kill(quorum, i);
    struct quorum_call change = {0}, read = {0};
    struct proto_bucket_create create = {.name = fx_text("b2")};
    struct proto_bucket_get get = {.name = fx_text("b1")};
    quorum_ask(leader, &change, session, 2, &proto_type_bucket_create, &create);
    quorum_ask(leader, &read, 0, 0, &proto_type_bucket_get, &get);
    (void)quorum_run(quorum, 2000, NULL, NULL);
    assert_true(change.done); /* deposed by its own silence, it says so */
    assert_int_equal(change.type, PROTO_MSG_error);
    assert_true(read.done);
    assert_int_equal(read.type, PROTO_MSG_error);
    assert_false(coord_replica_leads(leader->replica));
    quorum_call_release(&change);
    quorum_call_release(&read);
    start_all(quorum, false);
    bucket_create(quorum, session, 2, "b2"); /* whether it had happened or not: once */
    quorum_agree(quorum);
    assert_int_equal(coord_state_row(quorum_leader(quorum)->home.state)->bucket_count, 2);
    quorum_free(quorum);
}

static void all_stop_and_start_again(void **unused)
{
    (void)unused;
    for (int flushed = 0; flushed < 2; flushed++) {
        struct quorum *quorum = quorum_new(3);
        quorum->flush_bytes = flushed ? 1 : 0; /* flushed and cut at every occasion, or never */
        start_all(quorum, true);
        uint64_t session = session_open(quorum);
        for (uint64_t n = 1; n <= 20; n++) {
            char name[16];
            (void)snprintf(name, sizeof name, "b%llu", (unsigned long long)n);
            bucket_create(quorum, session, n, name);
        }
        for (uint32_t i = 0; i < 3; i++)
            quorum_kill(quorum, i);
        start_all(quorum, false);
        bucket_create(quorum, session, 20, "b20"); /* remembered: no second bucket, no error */
        quorum_agree(quorum);
        assert_int_equal(coord_state_row(quorum->nodes[0].home.state)->bucket_count, 20);
        quorum_free(quorum);
    }
}

/* ---- members ---- */

static enum lilio_err change(struct quorum *quorum, uint8_t kind, uint32_t id, uint64_t member,
                             uint64_t *ret_member)
{
    struct quorum_call call = {0};
    struct proto_coordinator_change ask = {
        .change = kind,
        .id = id,
        .member = member,
        .address = fx_text(kind == 1 ? quorum->nodes[id].endpoint : ""),
        .peer = fx_text(kind == 1 ? quorum->nodes[id].peer : ""),
    };
    struct proto_coordinator_changed changed = {0};
    enum lilio_err err =
        quorum_call(quorum_leader(quorum), &call, 0, 0, &proto_type_coordinator_change, &ask);
    if (!err)
        quorum_reply(quorum, &call, &proto_type_coordinator_changed, &changed);
    if (ret_member)
        *ret_member = changed.member;
    quorum_call_release(&call);
    return err;
}

static void members_come_and_go(void **unused)
{
    (void)unused;
    struct quorum *quorum = quorum_new(3);
    start_all(quorum, true);
    uint64_t session = session_open(quorum), member, again;
    bucket_create(quorum, session, 1, "b1");
    assert_int_equal(change(quorum, 1, 3, 0, &member), LILIO_OK);
    assert_int_equal((uint32_t)member, 3);
    assert_int_equal(change(quorum, 1, 3, 0, &again), LILIO_OK); /* asked again: the same one */
    assert_int_equal(again, member);
    quorum->nodes[3].join = member;
    struct lilio_errinfo info = {0};
    assert_int_equal(quorum_start(quorum, 3, false, &info), LILIO_OK);
    assert_int_equal(change(quorum, 2, 3, 0, &again), LILIO_OK); /* waits until it caught up */
    assert_int_equal(again, member);
    quorum_agree(quorum);
    assert_int_equal(coord_state_voters(quorum->nodes[3].home.state), 4);
    struct quorum_node *leader = quorum_leader(quorum);
    uint32_t follower = (leader->id + 1) % 3;
    assert_int_equal(change(quorum, 3, follower, 0, NULL), LILIO_OK);
    quorum_kill(quorum, follower);
    bucket_create(quorum, session, 2, "b2");
    quorum_agree(quorum);
    assert_int_equal(change(quorum, 3, follower, 0, NULL), LILIO_E_NOT_FOUND);
    assert_int_equal(change(quorum, 1, follower, 0, &again), LILIO_OK);
    assert_true(again >> 32 > 1); /* not who it was */
    quorum_free(quorum);
}

/* Else the group grows by a member that is dead already. */
static void a_number_votes_once(void **unused)
{
    (void)unused;
    struct quorum *quorum = quorum_new(3);
    start_all(quorum, true);
    (void)session_open(quorum);
    uint64_t before = quorum->nodes[2].home.member, member;
    uint32_t follower = 2;
    if (quorum_leader(quorum)->id == follower)
        follower = 1, before = quorum->nodes[1].home.member;
    quorum_kill(quorum, follower);
    assert_int_equal(change(quorum, 1, follower, 0, &member), LILIO_OK);
    assert_int_not_equal(member, before);
    assert_int_equal(change(quorum, 2, follower, member, NULL), LILIO_E_PRECONDITION);
    assert_int_equal(change(quorum, 3, follower, before, NULL), LILIO_OK);
    assert_int_equal(change(quorum, 2, follower, member, NULL), LILIO_E_BUSY); /* not caught up */
    assert_int_equal(change(quorum, 3, follower, member, NULL), LILIO_OK);
    quorum_free(quorum);
}

static void a_leader_that_is_removed_hands_over(void **unused)
{
    (void)unused;
    struct quorum *quorum = quorum_new(3);
    start_all(quorum, true);
    uint64_t session = session_open(quorum);
    quorum_agree(quorum);
    struct quorum_node *leader = quorum_leader(quorum);
    assert_int_equal(change(quorum, 3, leader->id, 0, NULL), LILIO_OK);
    (void)quorum_run(quorum, 500, NULL, NULL);
    struct quorum_node *next = quorum_leader(quorum);
    assert_int_not_equal(next->id, leader->id);
    bucket_create(quorum, session, 1, "b1"); /* of two, with the one that is not asked any more */
    assert_int_equal(coord_state_voters(next->home.state), 2);
    assert_false(coord_replica_leads(leader->replica));
    quorum_kill(quorum, leader->id);
    bucket_create(quorum, session, 2, "b2");
    quorum_agree(quorum);
    quorum_free(quorum);
}

static void learner_that_is_not_there_is_not_promoted(void **unused)
{
    (void)unused;
    struct quorum *quorum = quorum_new(1);
    start_all(quorum, true);
    uint64_t member;
    (void)session_open(quorum);
    assert_int_equal(change(quorum, 1, 4, 0, &member), LILIO_OK);
    struct quorum_call call = {0};
    struct proto_coordinator_change ask = {.change = 2, .id = 4};
    struct proto_error error;
    assert_int_equal(
        quorum_call(quorum_leader(quorum), &call, 0, 0, &proto_type_coordinator_change, &ask),
        LILIO_E_BUSY);
    quorum_reply(quorum, &call, &proto_type_error, &error);
    assert_non_null(memmem(error.text.data, error.text.size, "has not caught up", 17));
    quorum_call_release(&call);
    assert_int_equal(change(quorum, 3, 0, 0, NULL), LILIO_E_INVALID); /* the last voter */
    assert_int_equal(change(quorum, 3, 4, 0, NULL), LILIO_OK);
    quorum_free(quorum);
}

static void leadership_is_handed_over(void **unused)
{
    (void)unused;
    struct quorum *quorum = quorum_new(3);
    start_all(quorum, true);
    uint64_t session = session_open(quorum);
    quorum_agree(quorum);
    for (uint64_t n = 1; n <= 3; n++) {
        struct quorum_node *leader = quorum_leader(quorum);
        uint32_t heir = (leader->id + 1) % 3;
        struct quorum_call call = {0};
        struct proto_coordinator_transfer ask = {.id = heir};
        assert_int_equal(quorum_call(leader, &call, 0, 0, &proto_type_coordinator_transfer, &ask),
                         LILIO_OK);
        quorum_call_release(&call);
        assert_int_equal(quorum_leader(quorum)->id, heir);
        char name[16];
        (void)snprintf(name, sizeof name, "b%llu", (unsigned long long)n);
        bucket_create(quorum, session, n, name);
    }
    quorum_agree(quorum);
    quorum_free(quorum);
}

static void a_full_disk_gives_way_to_one_with_room(void **unused)
{
    (void)unused;
    struct quorum *quorum = quorum_new(3);
    start_all(quorum, true);
    uint64_t session = session_open(quorum);
    quorum_agree(quorum);
    for (uint64_t n = 1; n <= 2; n++) {
        struct quorum_node *leader = quorum_leader(quorum);
        leader->full = true;
        (void)quorum_run(quorum, 1000, NULL, NULL);
        assert_false(quorum_leader(quorum)->full);
        char name[16];
        (void)snprintf(name, sizeof name, "b%llu", (unsigned long long)n);
        bucket_create(quorum, session, n, name);
    }
    quorum_leader(quorum)->full = true; /* now all are: they do not pass it around for ever */
    (void)quorum_run(quorum, 10000, NULL, NULL);
    uint64_t term = raft_term(coord_replica_raft(quorum_leader(quorum)->replica));
    (void)quorum_run(quorum, 10000, NULL, NULL);
    struct quorum_node *leader = quorum_leader(quorum);
    assert_int_equal(raft_term(coord_replica_raft(leader->replica)), term);
    struct quorum_call call = {0};
    struct proto_bucket_create create = {.name = fx_text("more")};
    assert_int_equal(quorum_call(leader, &call, session, 3, &proto_type_bucket_create, &create),
                     LILIO_E_NO_SPACE);
    quorum_call_release(&call);
    for (uint32_t i = 0; i < 3; i++)
        quorum->nodes[i].full = false;
    (void)quorum_run(quorum, 1000, NULL, NULL);
    bucket_create(quorum, session, 3, "more");
    quorum_agree(quorum);
    quorum_free(quorum);
}

static void leader_tells_of_all_a_follower_of_itself(void **unused)
{
    (void)unused;
    struct quorum *quorum = quorum_new(3);
    start_all(quorum, true);
    (void)session_open(quorum);
    quorum_agree(quorum);
    struct quorum_node *leader = quorum_leader(quorum);
    for (uint32_t i = 0; i < 3; i++) {
        struct quorum_call call = {0};
        struct proto_status_get get = {0};
        struct proto_status status;
        assert_int_equal(quorum_call(&quorum->nodes[i], &call, 0, 0, &proto_type_status_get, &get),
                         LILIO_OK);
        quorum_reply(quorum, &call, &proto_type_status, &status);
        assert_int_equal(status.coordinators_count, i == leader->id ? 3 : 1);
        for (size_t k = 0; k < status.coordinators_count; k++) {
            const struct proto_coordinator *it = &status.coordinators[k];
            assert_int_equal(it->kind, RAFT_VOTER);
            assert_true(base_slice_equal(it->peer, fx_text(quorum->nodes[it->id].peer)));
            assert_true(
                base_slice_equal(it->role, fx_text(it->id == leader->id ? "leader" : "follower")));
            assert_int_equal(it->lag, 0);
        }
        quorum_call_release(&call);
    }
    quorum_free(quorum);
}

/* ---- states ---- */

static uint64_t log_first(const struct quorum_node *node)
{
    struct raft_log_view view = raft_log_view(node->home.log);
    return view.first(view.context);
}

static uint64_t fill(struct quorum *quorum, uint64_t session, uint64_t from, uint64_t count)
{
    for (uint64_t n = from; n < from + count; n++) {
        char name[16];
        (void)snprintf(name, sizeof name, "b%llu", (unsigned long long)n);
        bucket_create(quorum, session, n, name);
    }
    return from + count;
}

/* One that was away so long that what it misses is cut off, and one that is new: both get the whole
 * state, while others go on. */
static void who_is_far_behind_gets_the_state(void **unused)
{
    (void)unused;
    struct quorum *quorum = quorum_new(3);
    quorum->flush_bytes = 1;
    quorum->log_segment_bytes = 16 << 10;
    start_all(quorum, true);
    uint64_t session = session_open(quorum), member;
    uint64_t next = fill(quorum, session, 1, 5);
    quorum_agree(quorum);
    uint32_t away = (quorum_leader(quorum)->id + 1) % 3;
    uint64_t had = coord_replica_applied(quorum->nodes[away].replica);
    quorum_kill(quorum, away);
    (void)quorum_run(quorum, 11000, NULL, NULL); /* until nobody waits for it any more */
    next = fill(quorum, session, next, 40);
    (void)quorum_run(quorum, 100, NULL, NULL);
    assert_true(log_first(quorum_leader(quorum)) > had + 1);
    start_all(quorum, false);
    quorum_agree(quorum);
    assert_true(log_first(&quorum->nodes[away]) > had + 1); /* it did not get entries */
    assert_int_equal(change(quorum, 1, 3, 0, &member), LILIO_OK);
    quorum->nodes[3].join = member;
    assert_int_equal(quorum_start(quorum, 3, false, NULL), LILIO_OK);
    assert_int_equal(change(quorum, 2, 3, 0, NULL), LILIO_OK);
    next = fill(quorum, session, next, 5);
    quorum_agree(quorum);
    for (uint32_t i = 0; i < 4; i++) { /* installed states survive a restart */
        quorum_kill(quorum, i);
        assert_int_equal(quorum_start(quorum, i, false, NULL), LILIO_OK);
    }
    (void)fill(quorum, session, next, 1);
    quorum_agree(quorum);
    quorum_free(quorum);
}

/* Replaced as `coordinator replace` does it: the old incarnation's disk is gone. */
static void a_lost_disk_comes_back_as_a_new_member(void **unused)
{
    (void)unused;
    struct quorum *quorum = quorum_new(3);
    start_all(quorum, true);
    uint64_t session = session_open(quorum), member;
    uint64_t next = fill(quorum, session, 1, 5);
    struct quorum_node *lost = &quorum->nodes[(quorum_leader(quorum)->id + 1) % 3];
    uint64_t before = lost->home.member;
    quorum_kill(quorum, lost->id);
    (void)snprintf(lost->dir, sizeof lost->dir, "%s/empty", quorum->folder);
    assert_int_equal(quorum_start(quorum, lost->id, false, NULL), LILIO_E_NOT_FOUND);
    assert_int_equal(change(quorum, 1, lost->id, 0, &member), LILIO_OK);
    assert_int_equal((uint32_t)member, lost->id);
    assert_true(member > before);
    lost->join = member;
    assert_int_equal(quorum_start(quorum, lost->id, false, NULL), LILIO_OK);
    next = fill(quorum, session, next, 5);
    assert_int_equal(change(quorum, 3, lost->id, before, NULL), LILIO_OK);
    assert_int_equal(change(quorum, 2, lost->id, member, NULL), LILIO_OK);
    quorum_kill(quorum, (lost->id + 1) % 3); /* it counts now */
    (void)fill(quorum, session, next, 2);
    quorum_agree(quorum);
    assert_int_equal(coord_state_voters(lost->home.state), 3);
    quorum_free(quorum);
}

/* Maps that could not be written when they were read end the process, though nothing is applied. */
static void failed_maps_end_it(void **unused)
{
    (void)unused;
    struct quorum *quorum = quorum_new(1);
    start_all(quorum, true);
    struct quorum_node *node = quorum_leader(quorum);
    struct lilio_errinfo info = {0};
    assert_int_equal(coord_replica_step(node->replica, &info), LILIO_OK);
    node->home.state->failed = LILIO_E_NO_SPACE;
    assert_int_equal(coord_replica_step(node->replica, &info), LILIO_E_NO_SPACE);
    assert_non_null(strstr(info.text, "the maps cannot be written"));
    quorum_kill(quorum, node->id);
    quorum_free(quorum);
}

/* Flips a byte in every table of the maps, at the first place where the text is. */
static void maps_damage(const char *dir, const char *text)
{
    char path[300], file[600];
    int damaged = 0;
    (void)snprintf(path, sizeof path, "%s/maps", dir);
    DIR *folder = opendir(path);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        (void)snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        if (!strstr(entry->d_name, ".sst"))
            continue;
        static char bytes[1 << 20];
        int fd = open(file, O_RDWR | O_CLOEXEC);
        ssize_t size = pread(fd, bytes, sizeof bytes, 0);
        assert_in_range(size, 1, sizeof bytes - 1);
        const char *at = memmem(bytes, (size_t)size, text, strlen(text));
        if (at) {
            assert_int_equal(pwrite(fd, "?", 1, at - bytes), 1);
            damaged++;
        }
        close(fd);
    }
    closedir(folder);
    assert_true(damaged > 0);
}

static struct quorum_node *with_damaged_maps(struct quorum *quorum, uint32_t id, const char *bucket)
{
    struct quorum_node *node = &quorum->nodes[id];
    quorum_agree(quorum);
    assert_int_equal(base_kv_flush(node->home.kv, NULL), LILIO_OK);
    quorum_kill(quorum, id);
    maps_damage(node->dir, bucket);
    assert_int_equal(quorum_start(quorum, id, false, NULL), LILIO_OK);
    return node;
}

static void damaged_maps_make_room_for_others(void **unused)
{
    (void)unused;
    struct quorum *quorum = quorum_new(3);
    start_all(quorum, true);
    bucket_create(quorum, session_open(quorum), 1, "to-be-damaged");
    struct quorum_node *node =
        with_damaged_maps(quorum, quorum_leader(quorum)->id, "to-be-damaged");
    struct lilio_errinfo info = {0};
    struct base_buffer id = {0};
    assert_int_equal(coord_replica_step(node->replica, &info), LILIO_OK);
    assert_int_equal(
        base_kv_get(node->home.kv, NULL, COORD_BUCKET_NAMES, fx_text("to-be-damaged"), &id, NULL),
        LILIO_E_CORRUPT);
    assert_int_equal(coord_replica_step(node->replica, &info), LILIO_E_CORRUPT);
    assert_non_null(strstr(info.text, "lilio-ec coordinator replace"));
    assert_non_null(strstr(info.text, "column bucket_names"));
    base_buffer_release(&id);
    quorum_kill(quorum, node->id);
    assert_int_equal(bucket_get(quorum_leader(quorum), "to-be-damaged"), LILIO_OK);
    quorum_free(quorum);
}

static void damaged_maps_of_one_alone_are_said(void **unused)
{
    (void)unused;
    struct quorum *quorum = quorum_new(1);
    start_all(quorum, true);
    bucket_create(quorum, session_open(quorum), 1, "to-be-damaged");
    struct quorum_node *node = with_damaged_maps(quorum, 0, "to-be-damaged");
    assert_int_equal(bucket_get(quorum_leader(quorum), "to-be-damaged"), LILIO_E_CORRUPT);
    (void)session_open(quorum); /* the rest goes on */
    struct proto_coordinator self;
    assert_int_equal(coord_replica_coordinators(node->replica, &self, 1), 1);
    assert_non_null(memmem(self.trouble.data, self.trouble.size, "bucket_names", 12));
    quorum_free(quorum);
}

/* ---- strangers ---- */

static void forged_terms_change_nothing(void **unused)
{
    (void)unused;
    struct quorum *quorum = quorum_new(3);
    start_all(quorum, true);
    uint64_t session = session_open(quorum);
    struct quorum_node *leader = quorum_leader(quorum);
    uint64_t term = raft_term(coord_replica_raft(leader->replica));
    for (uint32_t i = 0; i < 3; i++) {
        struct proto_channel *stranger = NULL;
        struct proto_header header = {0};
        assert_int_equal(proto_channel_new(quorum->context, quorum->nodes[i].peer, &stranger, NULL),
                         LILIO_OK);
        proto_channel_one_way(stranger);
        struct proto_wait_item item = {.channel = stranger, .fd = -1, .want_ready = true};
        assert_true(proto_wait(&item, 1, 10000) > 0);
        uint64_t refused = coord_peers_refused(quorum->nodes[i].peers);
        for (uint8_t kind = RAFT_PRE_VOTE; kind <= RAFT_SNAPSHOT; kind++) {
            struct proto_raft wire = {
                .cluster_id = fx_uuid(1),
                .kind = kind,
                .from = (uint64_t)1 << 32 | 77,
                .to = quorum->nodes[i].home.member,
                .term = term + 1000,
                .index = 1000,
                .log_term = term + 1000,
                .commit = 1000,
                .ok = true,
                .transfer = true,
            };
            assert_int_equal(proto_channel_send(stranger, &header, &proto_type_raft, &wire, NULL),
                             LILIO_OK);
            wire.from = quorum->nodes[(i + 1) % 3].home.member, wire.cluster_id = fx_uuid(9);
            assert_int_equal(proto_channel_send(stranger, &header, &proto_type_raft, &wire, NULL),
                             LILIO_OK);
        }
        (void)quorum_run(quorum, 100, NULL, NULL);
        assert_int_equal(coord_peers_refused(quorum->nodes[i].peers), refused + 20);
        proto_channel_free(&stranger);
    }
    assert_int_equal(raft_term(coord_replica_raft(quorum_leader(quorum)->replica)), term);
    bucket_create(quorum, session, 1, "b1");
    quorum_agree(quorum);
    quorum_free(quorum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elects_commits_and_agrees),
        cmocka_unit_test(followers_answer_reads_and_redirect_changes),
        cmocka_unit_test(a_minority_may_die_and_come_back),
        cmocka_unit_test(nothing_is_decided_without_a_majority),
        cmocka_unit_test(all_stop_and_start_again),
        cmocka_unit_test(members_come_and_go),
        cmocka_unit_test(a_leader_that_is_removed_hands_over),
        cmocka_unit_test(a_number_votes_once),
        cmocka_unit_test(learner_that_is_not_there_is_not_promoted),
        cmocka_unit_test(leadership_is_handed_over),
        cmocka_unit_test(a_full_disk_gives_way_to_one_with_room),
        cmocka_unit_test(leader_tells_of_all_a_follower_of_itself),
        cmocka_unit_test(who_is_far_behind_gets_the_state),
        cmocka_unit_test(a_lost_disk_comes_back_as_a_new_member),
        cmocka_unit_test(failed_maps_end_it),
        cmocka_unit_test(damaged_maps_make_room_for_others),
        cmocka_unit_test(damaged_maps_of_one_alone_are_said),
        cmocka_unit_test(forged_terms_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
