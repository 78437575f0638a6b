/* Sessions at the one who leads: when each was heard last and which versions it reads. A lease
 * lives as long as its session names it. Losing this with the leadership is harmless: every session
 * gets its full time again at the next leader, and collection waits there until each has renewed or
 * expired.
 *
 * A session whose end is proposed stays until the end is applied: its leases hold, what it asks for
 * is decided by apply, behind the end. Only its renewals are put off: they promise something. */
#include "coordinator/service_priv.h"

#include <stdlib.h>

#include "base/mark.h"

#include "base/banned.h"

static struct coord_table_key session_key(uint64_t id)
{
    return (struct coord_table_key){id, 0};
}

static struct coord_table_key lease_key(struct proto_version version)
{
    return (struct coord_table_key){version.index, version.ordinal};
}

static struct live_session *session_find(const struct coord_service *service, uint64_t id)
{
    return coord_table_find(&service->sessions, session_key(id));
}

static void session_add(struct coord_service *service, uint64_t id, uint32_t timeout_ms)
{
    struct live_session *live = coord_table_add(&service->sessions, session_key(id));
    if (live)
        *live =
            (struct live_session){.heard_ms = service_now_ms(service), .timeout_ms = timeout_ms};
    else
        base_log_write(service->options.log, BASE_LOG_ERROR, "sessions", "not_kept", "session=%llu",
                       (unsigned long long)id);
}

enum lilio_err service_sessions_load(struct coord_service *service, struct lilio_errinfo *info)
{
    struct coord_view view = service_view(service, NULL);
    struct proto_session_row row = {0};
    bool found = true;
    for (uint64_t from = 0; found; from = row.id + 1) {
        proto_arena_clear(service->arena);
        enum lilio_err err = coord_read_session(&view, from, &row, &found, info);
        if (err)
            return err;
        if (found)
            session_add(service, row.id, row.timeout_ms);
    }
    return LILIO_OK;
}

bool service_session_touch(struct coord_service *service, uint64_t id)
{
    struct live_session *live = session_find(service, id);
    if (live)
        live->heard_ms = service_now_ms(service);
    return live != NULL;
}

void service_session_opened(struct coord_service *service, const struct coord_result *result)
{
    struct proto_session session;
    proto_arena_clear(service->arena);
    if (result->err ||
        proto_session_unpack(base_buffer_slice(&result->reply), service->arena, &session, NULL))
        return;
    session_add(service, session.id, session.timeout_ms);
}

/* ---- leases ---- */

static void leases_drop(struct coord_service *service, struct proto_version *reading, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t *holders = coord_table_find(&service->leases, lease_key(reading[i]));
        if (--*holders == 0)
            coord_table_remove(&service->leases, lease_key(reading[i]));
    }
    service->lease_count -= count;
    free(reading);
}

/* All of them or none; *ret_reading is NULL without any. */
static bool leases_take(struct coord_service *service, const struct proto_session_renew *renew,
                        struct proto_version **ret_reading)
{
    *ret_reading = NULL;
    if (renew->reading_count == 0)
        return true;
    struct proto_version *reading = calloc(renew->reading_count, sizeof *reading);
    for (size_t i = 0; i < renew->reading_count && reading; i++) {
        uint32_t *holders = coord_table_add(&service->leases, lease_key(renew->reading[i]));
        if (!holders) {
            leases_drop(service, reading, i);
            return false;
        }
        ++*holders;
        service->lease_count++;
        reading[i] = renew->reading[i];
    }
    *ret_reading = reading;
    return reading != NULL;
}

/* A renewal names everything its session reads: what it does not name is let go. One that was
 * overtaken on its way changes nothing. */
void service_renew(struct coord_service *service, const struct coord_request *request)
{
    struct proto_session_renew renew;
    if (!service_body(service, request, &renew))
        return;
    struct live_session *live = session_find(service, request->header.session);
    if (!live) {
        service_refuse(service, request, LILIO_E_SESSION_CLOSED, NULL);
        return;
    }
    if (live->expiring) {
        LILIO_MARK("coordinator/renewal_of_expiring");
        service_refuse(service, request, LILIO_E_BUSY, "the session is about to end");
        return;
    }
    live->heard_ms = service_now_ms(service);
    struct proto_version *reading;
    if (request->header.sequence < live->renewal)
        LILIO_MARK("coordinator/renewal_overtaken");
    if (request->header.sequence >= live->renewal) {
        size_t others = service->lease_count - live->reading_count;
        if (others + renew.reading_count > COORD_LEASES_MAX ||
            !leases_take(service, &renew, &reading)) {
            service_refuse(service, request, LILIO_E_BUSY, "too many versions are being read");
            return;
        }
        leases_drop(service, live->reading, live->reading_count);
        live->reading = reading;
        live->reading_count = (uint32_t)renew.reading_count;
        live->renewal = request->header.sequence;
    }
    struct proto_ok ok = {.index = coord_state_row(service->state)->applied_index};
    service_reply(service, request, &proto_type_ok, &ok);
}

bool service_leased(const struct coord_service *service, struct proto_version version)
{
    return coord_table_find(&service->leases, lease_key(version)) != NULL;
}

/* ---- ends ---- */

void service_session_closed(struct coord_service *service, uint64_t id)
{
    struct live_session *live = session_find(service, id);
    if (!live)
        return;
    leases_drop(service, live->reading, live->reading_count);
    coord_table_remove(&service->sessions, session_key(id));
}

void service_sessions_expired(struct coord_service *service, const struct proto_entry *entry)
{
    struct proto_session_expire expire;
    if (proto_session_expire_unpack(entry->body, service->arena, &expire, NULL))
        return;
    for (size_t i = 0; i < expire.ids_count; i++)
        service_session_closed(service, expire.ids[i]);
}

void service_sessions_drop(struct coord_service *service)
{
    struct coord_table_key key;
    size_t cursor = 0;
    for (struct live_session *live; (live = coord_table_next(&service->sessions, &cursor, &key));)
        free(live->reading);
    coord_table_release(&service->sessions);
    coord_table_release(&service->leases);
    service->lease_count = 0;
}

uint32_t service_sessions_silence_ms(const struct coord_service *service)
{
    struct coord_table_key key;
    size_t cursor = 0;
    uint32_t longest = 0;
    for (const struct live_session *live;
         (live = coord_table_next(&service->sessions, &cursor, &key));)
        longest = live->timeout_ms > longest ? live->timeout_ms : longest;
    return longest;
}

/* ---- time ---- */

void service_sessions_tick(struct coord_service *service)
{
    uint64_t now = service_now_ms(service);
    uint64_t ids[1024];
    struct proto_session_expire expire = {.ids = ids};
    struct coord_table_key key;
    size_t cursor = 0;
    for (const struct live_session *live;
         (live = coord_table_next(&service->sessions, &cursor, &key));)
        if (!live->expiring && now - live->heard_ms >= live->timeout_ms &&
            expire.ids_count < sizeof ids / sizeof *ids)
            ids[expire.ids_count++] = key.a;
    if (expire.ids_count == 0 || !service_propose(service, &proto_type_session_expire, &expire))
        return;
    for (size_t i = 0; i < expire.ids_count; i++)
        session_find(service, ids[i])->expiring = true;
    base_log_write(service->options.log, BASE_LOG_INFO, "sessions", "expired", "count=%zu",
                   expire.ids_count);
}
