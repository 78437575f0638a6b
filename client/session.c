/* The keeper thread renews the session every third of its timeout, or sooner when a lease was
 * taken. If the coordinators cannot be reached it tries again until they say that the session is
 * closed; then the next change opens a new one and the thread goes on with that. It also brings the
 * map up to date when an answer names a newer epoch. */
#include "client/session.h"

#include <stdlib.h>
#include <time.h>

#include "base/banned.h"

struct client_session {
    _Atomic uint32_t references;
    uint64_t id;
    uint32_t timeout_ms;
    _Atomic uint32_t inline_max;
    _Atomic uint64_t oid_count;
    pthread_mutex_t lock; /* guards the tickets */
    uint64_t next_sequence;
    uint64_t *open_tickets; /* sequences without an answer */
    size_t open_count, open_capacity;
};

static struct client_session *session_new(const struct proto_session *opened)
{
    struct client_session *session = calloc(1, sizeof *session);
    if (!session)
        return NULL;
    session->references = 1;
    session->id = opened->id;
    session->timeout_ms = opened->timeout_ms;
    session->inline_max =
        opened->inline_max < CLIENT_INLINE_MAX ? opened->inline_max : CLIENT_INLINE_MAX;
    session->next_sequence = 1;
    pthread_mutex_init(&session->lock, NULL);
    return session;
}

static struct client_session *session_share(struct client_session *session)
{
    atomic_fetch_add(&session->references, 1);
    return session;
}

void client_session_drop(struct client_session **session)
{
    struct client_session *mine = *session;
    *session = NULL;
    if (!mine || atomic_fetch_sub(&mine->references, 1) > 1)
        return;
    pthread_mutex_destroy(&mine->lock);
    free(mine->open_tickets);
    free(mine);
}

uint64_t client_session_id(const struct client_session *session)
{
    return session->id;
}

uint32_t client_session_inline_max(const struct client_session *session)
{
    return atomic_load(&session->inline_max);
}

void client_session_inline_refused(struct client_session *session)
{
    atomic_store(&session->inline_max, 0);
}

struct base_oid client_session_oid(struct client_session *session)
{
    return base_oid_make(0, session->id, atomic_fetch_add(&session->oid_count, 1) + 1);
}

/* ---- tickets ---- */

enum lilio_err client_session_ticket(struct client_session *session,
                                     struct client_ticket *ret_ticket)
{
    enum lilio_err err = LILIO_OK;
    pthread_mutex_lock(&session->lock);
    if (session->open_count == session->open_capacity) {
        size_t capacity = session->open_capacity ? 2 * session->open_capacity : 8;
        uint64_t *tickets = reallocarray(session->open_tickets, capacity, sizeof *tickets);
        if (tickets) {
            session->open_tickets = tickets;
            session->open_capacity = capacity;
        } else {
            err = LILIO_E_NOMEM;
        }
    }
    if (err == LILIO_OK) {
        uint64_t sequence = session->next_sequence++;
        session->open_tickets[session->open_count++] = sequence;
        uint64_t least = sequence;
        for (size_t i = 0; i < session->open_count; i++)
            least = session->open_tickets[i] < least ? session->open_tickets[i] : least;
        *ret_ticket = (struct client_ticket){
            .session = session->id, .sequence = sequence, .answered_below = least};
    }
    pthread_mutex_unlock(&session->lock);
    return err;
}

void client_session_ticket_done(struct client_session *session, const struct client_ticket *ticket)
{
    pthread_mutex_lock(&session->lock);
    for (size_t i = 0; i < session->open_count; i++)
        if (session->open_tickets[i] == ticket->sequence) {
            session->open_tickets[i] = session->open_tickets[--session->open_count];
            break;
        }
    pthread_mutex_unlock(&session->lock);
}

/* ---- the keeper ---- */

/* Sends one renewal with the leases; true if it was answered, whatever the answer was. */
static bool renew(struct lilio_client *client, struct client_control *control,
                  struct client_session *session)
{
    struct proto_version reading[CLIENT_LEASES_MAX];
    struct proto_session_renew renewal = {.reading = reading};
    pthread_mutex_lock(&client->lock);
    for (size_t i = 0; i < client->lease_count; i++)
        reading[renewal.reading_count++] = client_version_to_proto(client->leases[i].version);
    pthread_mutex_unlock(&client->lock);

    struct client_ticket ticket;
    if (client_session_ticket(session, &ticket) != LILIO_OK)
        return false;
    struct client_call call = {
        .type = &proto_type_session_renew,
        .value = &renewal,
        .reply_type = &proto_type_ok,
        .ticket = &ticket,
        .timeout_ms = session->timeout_ms / 3 + 1,
        .ignore_cancel = true,
    };
    struct proto_ok ok;
    struct client_answer answer = {0};
    enum lilio_err err = client_control_call(control, &call, &ok, &answer, NULL);
    client_answer_release(&answer);
    client_session_ticket_done(session, &ticket);
    if (err == LILIO_E_SESSION_CLOSED)
        client_session_closed(client, session);
    return err == LILIO_OK || err == LILIO_E_SESSION_CLOSED;
}

static void follow_map(struct lilio_client *client, struct client_control *control)
{
    struct proto_map_ref *map;
    if (client_map_get(client, control, /* min_epoch */ 0, &map, NULL) == LILIO_OK)
        proto_map_ref_drop(&map);
}

static struct timespec clock_time(uint64_t ms)
{
    return (struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
}

static void *keeper_main(void *argument)
{
    struct lilio_client *client = argument;
    struct client_control control;
    client_control_init(&control, client);
    control.stop = &client->keeper_stops;
    uint64_t due_ms = client_now_ms(client);
    pthread_mutex_lock(&client->lock);
    while (!client->keeper_stops) {
        uint64_t now_ms = client_now_ms(client);
        if (!client->session) {
            pthread_cond_wait(&client->changed, &client->lock);
            due_ms = client_now_ms(client);
            continue;
        }
        if (now_ms < due_ms && !client->keeper_wanted) {
            struct timespec until = clock_time(due_ms);
            pthread_cond_timedwait(&client->changed, &client->lock, &until);
            continue;
        }
        client->keeper_wanted = false;
        struct client_session *session = session_share(client->session);
        pthread_mutex_unlock(&client->lock);
        bool answered = renew(client, &control, session);
        follow_map(client, &control);
        uint64_t pause_ms = answered ? session->timeout_ms / 3 : CLIENT_BACKOFF_MS_MAX;
        client_session_drop(&session);
        due_ms = client_now_ms(client) + pause_ms;
        pthread_mutex_lock(&client->lock);
    }
    pthread_mutex_unlock(&client->lock);
    client_control_release(&control);
    return NULL;
}

/* ---- opening and closing ---- */

static enum lilio_err open_session(struct lilio_client *client, struct client_control *control,
                                   uint64_t end_ms, struct client_session **ret_session,
                                   struct lilio_errinfo *info)
{
    struct proto_session_open request = {.label = base_slice_str(client->label)};
    uint64_t now_ms = client_now_ms(client);
    struct client_call call = {.type = &proto_type_session_open,
                               .value = &request,
                               .reply_type = &proto_type_session,
                               .timeout_ms = end_ms > now_ms ? (uint32_t)(end_ms - now_ms) : 1};
    struct proto_session opened;
    struct client_answer answer = {0};
    enum lilio_err err = client_control_call(control, &call, &opened, &answer, info);
    if (err == LILIO_OK && !base_uuid_equal(opened.cluster_id, client->file.cluster_id))
        err = lilio_fail(info, LILIO_E_FOREIGN, "the coordinator at %s serves another cluster",
                         control->line.endpoint);
    if (err == LILIO_OK && !(*ret_session = session_new(&opened)))
        err = lilio_fail(info, LILIO_E_NOMEM, "no memory for a session");
    client_answer_release(&answer);
    return err;
}

/* Makes an opened session the client's; starts the keeper with the first one. Called with the lock.
 */
static enum lilio_err adopt(struct lilio_client *client, struct client_session *session,
                            struct lilio_errinfo *info)
{
    if (!client->keeper_runs) {
        if (pthread_create(&client->keeper, NULL, keeper_main, client) != 0)
            return lilio_fail(info, LILIO_E_NOMEM, "no thread for the session");
        client->keeper_runs = true;
    }
    client->session = session_share(session);
    return LILIO_OK;
}

/* While another call opens one. Called with the lock. Errors: CANCELLED, UNAVAILABLE (the patience
 * is over; more than one call may have tried meanwhile). */
static enum lilio_err await_session(struct lilio_client *client, uint64_t end_ms,
                                    struct lilio_errinfo *info)
{
    while (!client->session && client->session_opening) {
        uint64_t now_ms = client_now_ms(client);
        if (client_cancelled(client))
            return lilio_fail(info, LILIO_E_CANCELLED, "cancelled");
        if (now_ms >= end_ms)
            return lilio_fail(info, LILIO_E_UNAVAILABLE,
                              "no coordinator opened a session within %.1f s",
                              client->timeout_ms / 1e3);
        uint64_t left_ms = end_ms - now_ms;
        struct timespec until =
            clock_time(now_ms + (left_ms < CLIENT_TICK_MS ? left_ms : CLIENT_TICK_MS));
        pthread_cond_timedwait(&client->changed, &client->lock, &until);
    }
    return LILIO_OK;
}

enum lilio_err client_session_take(struct lilio_client *client, struct client_control *control,
                                   struct client_session **ret_session, struct lilio_errinfo *info)
{
    uint64_t end_ms = client_now_ms(client) + client_control_left_ms(control);
    pthread_mutex_lock(&client->lock);
    enum lilio_err err = await_session(client, end_ms, info);
    if (err != LILIO_OK || client->session) {
        if (err == LILIO_OK)
            *ret_session = session_share(client->session);
        pthread_mutex_unlock(&client->lock);
        return err;
    }
    client->session_opening = true;
    pthread_mutex_unlock(&client->lock);

    struct client_session *session = NULL;
    err = open_session(client, control, end_ms, &session, info);
    pthread_mutex_lock(&client->lock);
    client->session_opening = false;
    if (err == LILIO_OK)
        err = adopt(client, session, info);
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->lock);
    if (err == LILIO_OK)
        *ret_session = session;
    else
        client_session_drop(&session);
    return err;
}

void client_session_closed(struct lilio_client *client, struct client_session *session)
{
    pthread_mutex_lock(&client->lock);
    if (client->session == session)
        client_session_drop(&client->session);
    pthread_mutex_unlock(&client->lock);
}

void client_session_end(struct lilio_client *client)
{
    if (client->keeper_runs) {
        pthread_mutex_lock(&client->lock);
        client->keeper_stops = true;
        pthread_cond_broadcast(&client->changed);
        pthread_mutex_unlock(&client->lock);
        pthread_join(client->keeper, NULL);
        client->keeper_runs = false;
    }
    if (!client->session)
        return;
    struct client_control control;
    client_control_init(&control, client);
    struct client_ticket ticket;
    if (client_session_ticket(client->session, &ticket) == LILIO_OK) {
        struct proto_session_close request = {0};
        struct client_call call = {
            .type = &proto_type_session_close,
            .value = &request,
            .reply_type = &proto_type_ok,
            .ticket = &ticket,
            .timeout_ms = CLIENT_CLOSE_MS,
            .ignore_cancel = true,
        };
        client_control_tell(&control, &call); /* it expires otherwise */
    }
    client_control_release(&control);
    client_session_drop(&client->session);
}

/* ---- leases ---- */

bool client_lease_take(struct lilio_client *client, struct lilio_version version)
{
    bool held = false;
    pthread_mutex_lock(&client->lock);
    for (size_t i = 0; !held && i < client->lease_count; i++) {
        struct client_lease *lease = &client->leases[i];
        if (lease->version.index == version.index && lease->version.ordinal == version.ordinal) {
            lease->count++;
            held = true;
        }
    }
    if (!held && client->lease_count < CLIENT_LEASES_MAX) {
        client->leases[client->lease_count++] = (struct client_lease){version, 1};
        client->keeper_wanted = true;
        pthread_cond_broadcast(&client->changed);
        held = true;
    }
    pthread_mutex_unlock(&client->lock);
    return held;
}

void client_lease_drop(struct lilio_client *client, struct lilio_version version)
{
    pthread_mutex_lock(&client->lock);
    for (size_t i = 0; i < client->lease_count; i++) {
        struct client_lease *lease = &client->leases[i];
        if (lease->version.index != version.index || lease->version.ordinal != version.ordinal)
            continue;
        if (--lease->count == 0)
            client->leases[i] = client->leases[--client->lease_count];
        break;
    }
    pthread_mutex_unlock(&client->lock);
}
