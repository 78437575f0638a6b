#include "proto/leader.h"

#include <stdio.h>

#include "base/mark.h"
#include "proto/endpoint_priv.h"

#include "base/banned.h"

/* ---- what is known ---- */

void proto_leader_init(struct proto_leader *leader, const char *const *endpoints, size_t count)
{
    *leader = (struct proto_leader){0};
    for (size_t i = 0; i < count && leader->count < PROTO_LEADER_COORDINATORS_MAX; i++) {
        size_t size = strlen(endpoints[i]);
        if (size < PROTO_LEADER_ENDPOINT_BYTES)
            memcpy(leader->endpoints[leader->count++], endpoints[i], size + 1);
    }
    leader->configured = leader->count;
}

static size_t find(const struct proto_leader *leader, const char *endpoint)
{
    for (size_t i = 0; i < leader->count; i++)
        if (strcmp(leader->endpoints[i], endpoint) == 0)
            return i;
    return SIZE_MAX;
}

size_t proto_leader_learn(struct proto_leader *leader, struct base_slice endpoint)
{
    char text[PROTO_LEADER_ENDPOINT_BYTES];
    enum proto_endpoint_kind kind;
    if (endpoint.size == 0 || endpoint.size >= sizeof text)
        return SIZE_MAX;
    memcpy(text, endpoint.data, endpoint.size);
    text[endpoint.size] = '\0';
    if (strlen(text) != endpoint.size || proto_endpoint_parse(text, &kind, NULL) != LILIO_OK)
        return SIZE_MAX;
    size_t at = find(leader, text);
    if (at != SIZE_MAX)
        return at;
    size_t learnt = PROTO_LEADER_COORDINATORS_MAX - leader->configured;
    if (leader->count < PROTO_LEADER_COORDINATORS_MAX)
        at = leader->count++;
    else if (learnt > 0)
        at = leader->configured + leader->replaced++ % learnt;
    else
        return SIZE_MAX;
    memcpy(leader->endpoints[at], text, endpoint.size + 1);
    leader->failed_ms[at] = 0;
    return at;
}

static bool shunned(const struct proto_leader *leader, size_t at, uint64_t now_ms)
{
    return leader->failed_ms[at] != 0 && now_ms < leader->failed_ms[at] + PROTO_LEADER_SHUN_MS;
}

/* The first from start on that did not fail lately, or else the one whose failure is the oldest. */
static size_t pick(const struct proto_leader *leader, size_t start, uint64_t now_ms)
{
    size_t best = start % leader->count;
    for (size_t i = 0; i < leader->count; i++) {
        size_t at = (start + i) % leader->count;
        if (!shunned(leader, at, now_ms))
            return at;
        if (leader->failed_ms[at] < leader->failed_ms[best])
            best = at;
    }
    return best;
}

/* ---- one request ---- */

uint64_t proto_ask_pause_ms(uint64_t first_ms, uint64_t max_ms, uint32_t times, uint64_t *jitter)
{
    uint64_t pause_ms = first_ms;
    for (uint32_t i = 0; i < times && pause_ms < max_ms; i++)
        pause_ms *= 2;
    if (pause_ms > max_ms)
        pause_ms = max_ms;
    *jitter = *jitter * 6364136223846793005u + 1442695040888963407u;
    return pause_ms / 2 + (*jitter >> 33) % (pause_ms / 2 + 1);
}

static uint32_t doubled(uint32_t first_ms, uint32_t times)
{
    uint32_t ms = first_ms;
    for (uint32_t i = 0; i < times && ms < PROTO_LEADER_ATTEMPT_MS_MAX; i++)
        ms *= 2;
    return ms < PROTO_LEADER_ATTEMPT_MS_MAX ? ms : PROTO_LEADER_ATTEMPT_MS_MAX;
}

static void turn_to(struct proto_ask *ask, const struct proto_leader *leader, size_t at)
{
    ask->at = at;
    ask->several = leader->count > 1;
    memcpy(ask->endpoint, leader->endpoints[at], sizeof ask->endpoint);
    ask->connect_ms =
        ask->several ? doubled(PROTO_LEADER_CONNECT_MS, ask->unreachables) : UINT32_MAX;
    ask->attempt_ms = ask->several ? doubled(PROTO_LEADER_ATTEMPT_MS, ask->silences) : UINT32_MAX;
}

void proto_ask_begin(struct proto_ask *ask, const struct proto_leader *leader, uint32_t timeout_ms,
                     uint64_t seed, uint64_t now_ms)
{
    LILIO_ASSERT(leader->count > 0);
    *ask =
        (struct proto_ask){.end_ms = now_ms + timeout_ms, .not_before_ms = now_ms, .jitter = seed};
    turn_to(ask, leader, pick(leader, leader->first, now_ms));
}

static void note(struct proto_ask *ask, enum proto_ask_event event)
{
    enum { LAST = sizeof ask->tried / sizeof ask->tried[0] - 1 };
    size_t at = 0;
    while (at < ask->tried_count && strcmp(ask->tried[at].endpoint, ask->endpoint) != 0)
        at++;
    if (at == ask->tried_count && ask->tried_count <= LAST)
        ask->tried_count++;
    if (at > LAST)
        at = 0;
    memmove(&ask->tried[at], &ask->tried[at + 1],
            (ask->tried_count - 1 - at) * sizeof ask->tried[0]);
    memcpy(ask->tried[ask->tried_count - 1].endpoint, ask->endpoint, sizeof ask->endpoint);
    ask->tried[ask->tried_count - 1].event = event;
}

static void pause_first(struct proto_ask *ask, uint64_t now_ms)
{
    ask->not_before_ms =
        now_ms + proto_ask_pause_ms(PROTO_LEADER_PAUSE_MS, PROTO_LEADER_PAUSE_MS_MAX,
                                    ask->pauses++ / 2, &ask->jitter);
}

static void not_leader(struct proto_ask *ask, struct proto_leader *leader, struct base_slice named,
                       uint64_t now_ms)
{
    size_t at = proto_leader_learn(leader, named);
    leader->failed_ms[ask->at] = 0;
    if (at == SIZE_MAX || at == ask->at || shunned(leader, at, now_ms)) {
        LILIO_MARK("proto/no_leader_named");
        pause_first(ask, now_ms);
        turn_to(ask, leader, pick(leader, ask->at + 1, now_ms));
        return;
    }
    LILIO_MARK("proto/redirect_followed");
    leader->first = at;
    if (ask->redirects++ >= PROTO_LEADER_REDIRECTS_MAX)
        pause_first(ask, now_ms);
    turn_to(ask, leader, at);
}

/* It is gone, or silent. */
static void gone(struct proto_ask *ask, struct proto_leader *leader, uint64_t now_ms)
{
    leader->failed_ms[ask->at] = now_ms > 0 ? now_ms : 1;
    size_t next = pick(leader, ask->at + 1, now_ms);
    if (leader->first == ask->at)
        leader->first = next;
    if (shunned(leader, next, now_ms))
        pause_first(ask, now_ms);
    turn_to(ask, leader, next);
}

void proto_ask_failed(struct proto_ask *ask, struct proto_leader *leader,
                      enum proto_ask_event event, struct base_slice named, uint64_t now_ms)
{
    note(ask, event);
    ask->not_before_ms = now_ms;
    switch (event) {
    case PROTO_ASK_NOT_LEADER: not_leader(ask, leader, named, now_ms); return;
    case PROTO_ASK_BUSY:
        leader->failed_ms[ask->at] = 0;
        ask->not_before_ms =
            now_ms + proto_ask_pause_ms(PROTO_LEADER_BUSY_MS, PROTO_LEADER_BUSY_MS_MAX,
                                        ask->busies++, &ask->jitter);
        return;
    case PROTO_ASK_BROKEN: LILIO_MARK("proto/connection_broke"); break;
    case PROTO_ASK_DAMAGED: break;
    case PROTO_ASK_UNREACHABLE: ask->unreachables++; break;
    case PROTO_ASK_SILENT:
        LILIO_MARK("proto/coordinator_silent");
        ask->silences++;
        break;
    }
    gone(ask, leader, now_ms);
}

void proto_ask_answered(struct proto_ask *ask, struct proto_leader *leader)
{
    leader->failed_ms[ask->at] = 0;
    leader->first = ask->at;
}

void proto_ask_describe(const struct proto_ask *ask, char *ret, size_t room)
{
    static const char *const texts[PROTO_ASK_EVENTS] = {
        [PROTO_ASK_NOT_LEADER] = "not the leader", [PROTO_ASK_BUSY] = "busy",
        [PROTO_ASK_BROKEN] = "connection broke",   [PROTO_ASK_UNREACHABLE] = "no connection",
        [PROTO_ASK_SILENT] = "no answer",          [PROTO_ASK_DAMAGED] = "its maps are damaged",
    };
    size_t used = 0;
    ret[0] = '\0';
    for (size_t i = 0; i < ask->tried_count && used < room; i++) {
        int more = snprintf(ret + used, room - used, "%s%.120s: %s", i > 0 ? "; " : "",
                            ask->tried[i].endpoint, texts[ask->tried[i].event]);
        used += more > 0 ? (size_t)more : 0;
    }
}
