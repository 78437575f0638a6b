/* Sessions and leases at the one who leads: when each was heard last. Losing this with a restart is
 * harmless: every session gets its full time again, and collection waits for one lease time. */
#include "coordinator/service_priv.h"

#include "base/banned.h"

static struct coord_table_key session_key(uint64_t id)
{
    return (struct coord_table_key){id, 0};
}

static struct coord_table_key lease_key(struct proto_version version)
{
    return (struct coord_table_key){version.index, version.ordinal};
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
    struct live_session *live = coord_table_find(&service->sessions, session_key(id));
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

void service_session_closed(struct coord_service *service, uint64_t id)
{
    coord_table_remove(&service->sessions, session_key(id));
}

void service_renew(struct coord_service *service, const struct coord_request *request)
{
    struct proto_session_renew renew;
    if (!service_body(service, request, &renew))
        return;
    if (!service_session_touch(service, request->header.session)) {
        service_refuse(service, request, LILIO_E_SESSION_CLOSED, NULL);
        return;
    }
    uint64_t until = service_now_ms(service) + service->options.lease_ms;
    for (size_t i = 0; i < renew.reading_count; i++) {
        uint64_t *lease = coord_table_add(&service->leases, lease_key(renew.reading[i]));
        if (!lease) {
            service_refuse(service, request, LILIO_E_BUSY, "too many versions are being read");
            return;
        }
        *lease = until;
    }
    struct proto_ok ok = {.index = coord_state_row(service->state)->applied_index};
    service_reply(service, request, &proto_type_ok, &ok);
}

bool service_leased(const struct coord_service *service, struct proto_version version)
{
    const uint64_t *until = coord_table_find(&service->leases, lease_key(version));
    return until && *until > service_now_ms(service);
}

/* ---- time ---- */

static void leases_tick(struct coord_service *service, uint64_t now)
{
    struct coord_table_key key;
    size_t cursor = 0;
    for (const uint64_t *until; (until = coord_table_next(&service->leases, &cursor, &key));) {
        if (*until > now)
            continue;
        coord_table_remove(&service->leases, key);
        cursor--;
    }
}

void service_sessions_tick(struct coord_service *service)
{
    uint64_t now = service_now_ms(service);
    leases_tick(service, now);
    uint64_t ids[1024];
    struct proto_session_expire expire = {.ids = ids};
    struct coord_table_key key;
    size_t cursor = 0;
    for (const struct live_session *live;
         (live = coord_table_next(&service->sessions, &cursor, &key));)
        if (now - live->heard_ms >= live->timeout_ms && expire.ids_count < sizeof ids / sizeof *ids)
            ids[expire.ids_count++] = key.a;
    if (expire.ids_count == 0 || !service_propose(service, &proto_type_session_expire, &expire))
        return;
    for (size_t i = 0; i < expire.ids_count; i++)
        service_session_closed(service, ids[i]);
    base_log_write(service->options.log, BASE_LOG_INFO, "sessions", "expired", "count=%zu",
                   expire.ids_count);
}
