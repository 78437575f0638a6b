#include "client/put_machine.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mark.h"
#include "client/limits.h"
#include "codec/codec.h"
#include "proto/placement.h"

#include "base/banned.h"

enum fragment_state { QUEUED, SENT, DURABLE, MISSING };

struct fragment {
    enum fragment_state state;
    enum lilio_err err; /* MISSING: why. QUEUED: what the last attempt met */
    uint32_t osd, attempt, busy_count;
    uint64_t at_ms; /* QUEUED: not before. SENT: since */
};
struct slot {
    bool open, closed; /* closed: to be handed out as an action */
    bool quorum;
    uint32_t stripe;
    uint64_t opened_ms, quorum_ms;
    struct fragment *fragments; /* total_count */
};
struct client_put_machine {
    struct client_put_config config;
    struct client_peers peers;
    struct slot *slots;
    struct fragment *fragments; /* of all slots */
    uint64_t *durable;          /* per stripe: mask of durable fragments */
    uint32_t stripe_count, open_count;
    uint64_t lowest_epoch, last_quorum_ms, jitter;
    bool finished, want_map;
    bool want_reset; /* some peer is marked for it */
    enum lilio_err err;
    struct slot *failed;
};

enum lilio_err client_put_machine_new(const struct client_put_config *config,
                                      struct client_put_machine **ret_machine)
{
    LILIO_ASSERT(config->total_count <= CODEC_TOTAL_MAX && config->required <= config->total_count);
    LILIO_ASSERT(config->window > 0 && config->required > 0);
    struct client_put_machine *machine = calloc(1, sizeof *machine);
    if (!machine)
        return LILIO_E_NOMEM;
    machine->config = *config;
    machine->jitter = config->seed;
    machine->lowest_epoch = UINT64_MAX;
    machine->slots = calloc(config->window, sizeof *machine->slots);
    machine->fragments =
        calloc((size_t)config->window * config->total_count, sizeof *machine->fragments);
    machine->durable = calloc(config->stripe_max, sizeof *machine->durable);
    if (!machine->slots || !machine->fragments || !machine->durable) {
        client_put_machine_free(&machine);
        return LILIO_E_NOMEM;
    }
    for (uint32_t i = 0; i < config->window; i++)
        machine->slots[i].fragments = machine->fragments + (size_t)i * config->total_count;
    *ret_machine = machine;
    return LILIO_OK;
}

void client_put_machine_free(struct client_put_machine **machine)
{
    if (!*machine)
        return;
    client_peers_release(&(*machine)->peers);
    free((*machine)->slots);
    free((*machine)->fragments);
    free((*machine)->durable);
    free(*machine);
    *machine = NULL;
}

static struct slot *slot_of(struct client_put_machine *machine, uint32_t stripe)
{
    for (uint32_t i = 0; i < machine->config.window; i++)
        if (machine->slots[i].open && machine->slots[i].stripe == stripe)
            return &machine->slots[i];
    return NULL;
}

static uint32_t durable_count(const struct client_put_machine *machine, const struct slot *slot)
{
    return (uint32_t)__builtin_popcountll(machine->durable[slot->stripe]);
}

static void close_slot(struct client_put_machine *machine, struct slot *slot)
{
    slot->open = false;
    slot->closed = true;
    machine->open_count--;
}

/* Decides whether a stripe is done, must wait, or can no longer be saved. */
static void evaluate(struct client_put_machine *machine, struct slot *slot, uint64_t now_ms)
{
    if (!slot->open || machine->err != LILIO_OK)
        return;
    uint32_t unresolved = 0, awaited = 0;
    for (uint32_t i = 0; i < machine->config.total_count; i++) {
        const struct fragment *fragment = &slot->fragments[i];
        if (fragment->state != QUEUED && fragment->state != SENT)
            continue;
        unresolved++;
        awaited += !client_peers_find(&machine->peers, fragment->osd)->slow;
    }
    uint32_t durable = durable_count(machine, slot);
    if (durable + unresolved < machine->config.required) {
        machine->err = LILIO_E_NO_QUORUM;
        machine->failed = slot;
        return;
    }
    if (durable < machine->config.required)
        return;
    if (!slot->quorum) {
        slot->quorum = true;
        slot->quorum_ms = now_ms;
        if (machine->last_quorum_ms < now_ms)
            machine->last_quorum_ms = now_ms;
    }
    if (awaited > 0 && now_ms < slot->quorum_ms + machine->config.grace_ms)
        return;
    for (uint32_t i = 0; awaited > 0 && i < machine->config.total_count; i++)
        if (slot->fragments[i].state == QUEUED || slot->fragments[i].state == SENT)
            client_peers_find(&machine->peers, slot->fragments[i].osd)->slow = true;
    close_slot(machine, slot);
}

static void set_missing(struct fragment *fragment, enum lilio_err err)
{
    fragment->state = MISSING;
    fragment->err = err;
}

/* Puts a fragment back into the queue after an attempt that may be repeated. */
static void requeue(struct fragment *fragment, enum lilio_err err, uint64_t at_ms)
{
    fragment->err = err;
    fragment->at_ms = at_ms;
    fragment->state = ++fragment->attempt < CLIENT_ATTEMPTS_PUT ? QUEUED : MISSING;
}

enum lilio_err client_put_peer_add(struct client_put_machine *machine, uint32_t osd,
                                   uint64_t now_ms)
{
    struct client_peer *peer;
    return client_peers_add(&machine->peers, osd, now_ms, &peer);
}

void client_put_peer_set(struct client_put_machine *machine, uint32_t osd, bool connected,
                         uint64_t now_ms)
{
    struct client_peer *peer = client_peers_find(&machine->peers, osd);
    if (!peer || peer->connected == connected)
        return;
    peer->connected = connected;
    if (connected) {
        peer->heard_ms = now_ms;
        return;
    }
    if (peer->outstanding > 0)
        LILIO_MARK("client/put_connection_broke");
    peer->lost_ms = now_ms;
    peer->outstanding = 0;
    for (uint32_t i = 0; i < machine->config.window; i++) {
        struct slot *slot = &machine->slots[i];
        for (uint32_t j = 0; slot->open && j < machine->config.total_count; j++)
            if (slot->fragments[j].osd == osd && slot->fragments[j].state == SENT)
                requeue(&slot->fragments[j], LILIO_E_UNAVAILABLE, now_ms);
        evaluate(machine, slot, now_ms);
    }
}

bool client_put_room(const struct client_put_machine *machine)
{
    if (machine->err != LILIO_OK || machine->finished ||
        machine->stripe_count >= machine->config.stripe_max)
        return false;
    for (uint32_t i = 0; i < machine->config.window; i++)
        if (!machine->slots[i].open && !machine->slots[i].closed)
            return true;
    return false;
}

/* A slow OSD that is away, or owes as much as it may, gets no further fragment. */
static bool overdue(const struct client_put_machine *machine, const struct client_peer *peer)
{
    return peer->slow && (!peer->connected || peer->outstanding >= machine->config.window);
}

uint32_t client_put_open(struct client_put_machine *machine, const struct client_place *places,
                         uint64_t now_ms)
{
    LILIO_ASSERT(client_put_room(machine));
    uint32_t number = 0;
    while (machine->slots[number].open || machine->slots[number].closed)
        number++;
    struct slot *slot = &machine->slots[number];
    struct fragment *fragments = slot->fragments;
    *slot = (struct slot){.open = true,
                          .stripe = machine->stripe_count++,
                          .opened_ms = now_ms,
                          .fragments = fragments};
    machine->open_count++;

    uint32_t sure = 0;
    for (uint32_t i = 0; i < machine->config.total_count; i++) {
        fragments[i] = (struct fragment){.osd = places[i].osd, .err = places[i].err};
        const struct client_peer *peer = client_peers_find(&machine->peers, places[i].osd);
        if (places[i].err != LILIO_OK || !peer)
            set_missing(&fragments[i], places[i].err ? places[i].err : LILIO_E_UNAVAILABLE);
        else
            sure += !overdue(machine, peer);
    }
    for (uint32_t i = 0; sure >= machine->config.required && i < machine->config.total_count; i++)
        if (fragments[i].state == QUEUED &&
            overdue(machine, client_peers_find(&machine->peers, fragments[i].osd)))
            set_missing(&fragments[i], LILIO_E_TIMEOUT);
    evaluate(machine, slot, now_ms);
    return number;
}

void client_put_finish(struct client_put_machine *machine, uint64_t now_ms)
{
    machine->finished = true;
    if (machine->last_quorum_ms == 0)
        machine->last_quorum_ms = now_ms;
}

/* An OSD spoke: returns the peer with its books updated. */
static struct client_peer *hear(struct client_put_machine *machine, uint32_t osd, uint64_t now_ms)
{
    struct client_peer *peer = client_peers_find(&machine->peers, osd);
    if (!peer)
        return NULL;
    peer->heard_ms = now_ms;
    if (peer->outstanding > 0)
        peer->outstanding--;
    return peer;
}

void client_put_stored(struct client_put_machine *machine, uint32_t stripe, uint32_t index,
                       uint32_t osd, uint64_t epoch, uint64_t now_ms)
{
    if (!hear(machine, osd, now_ms) || stripe >= machine->stripe_count ||
        index >= machine->config.total_count)
        return;
    struct slot *slot = slot_of(machine, stripe);
    if (slot && slot->fragments[index].osd != osd)
        return; /* it moved meanwhile; the copy at the old place is none of ours */
    machine->durable[stripe] |= (uint64_t)1 << index;
    if (epoch < machine->lowest_epoch)
        machine->lowest_epoch = epoch;
    if (slot) {
        slot->fragments[index].state = DURABLE;
        evaluate(machine, slot, now_ms);
    }
}

void client_put_refused(struct client_put_machine *machine, uint32_t stripe, uint32_t index,
                        uint32_t osd, uint32_t attempt, enum lilio_err err, uint64_t now_ms)
{
    struct client_peer *peer = hear(machine, osd, now_ms);
    struct slot *slot = slot_of(machine, stripe);
    if (!peer || !slot || index >= machine->config.total_count)
        return;
    struct fragment *fragment = &slot->fragments[index];
    if (fragment->osd != osd || fragment->attempt != attempt || fragment->state != SENT)
        return;
    switch (err) {
    case LILIO_E_BUSY:
    case LILIO_E_EXHAUSTED:
    case LILIO_E_NOMEM:
        fragment->state = QUEUED;
        fragment->err = err;
        fragment->at_ms = now_ms + client_backoff_ms(fragment->busy_count++, &machine->jitter);
        break;
    case LILIO_E_UNAVAILABLE: requeue(fragment, err, now_ms); break;
    case LILIO_E_STALE_EPOCH:
    case LILIO_E_WRONG_OSD:
        LILIO_MARK("client/put_stale_epoch");
        machine->want_map = true;
        requeue(fragment, err, now_ms + client_backoff_ms(fragment->attempt, &machine->jitter));
        break;
    default: set_missing(fragment, err);
    }
    evaluate(machine, slot, now_ms);
}

bool client_put_slot(const struct client_put_machine *machine, uint32_t slot, uint32_t *ret_stripe)
{
    if (slot >= machine->config.window || !machine->slots[slot].open)
        return false;
    *ret_stripe = machine->slots[slot].stripe;
    return true;
}

void client_put_moved(struct client_put_machine *machine, uint32_t number,
                      const struct client_place *places, uint64_t now_ms)
{
    struct slot *slot = &machine->slots[number];
    for (uint32_t i = 0; slot->open && i < machine->config.total_count; i++) {
        struct fragment *fragment = &slot->fragments[i];
        if (fragment->osd == places[i].osd || places[i].err != LILIO_OK ||
            !client_peers_find(&machine->peers, places[i].osd))
            continue;
        fragment->osd = places[i].osd;
        fragment->at_ms = now_ms;
        if (fragment->state == SENT)
            requeue(fragment, LILIO_E_WRONG_OSD, now_ms);
        else if (fragment->state != QUEUED)
            *fragment = (struct fragment){.osd = places[i].osd, .at_ms = now_ms};
        machine->durable[slot->stripe] &= ~((uint64_t)1 << i);
    }
    evaluate(machine, slot, now_ms);
}

/* When a fragment that is on its way is given up; UINT64_MAX while nothing speaks against it. */
static uint64_t give_up_ms(const struct client_put_machine *machine, const struct slot *slot,
                           const struct fragment *fragment)
{
    const struct client_peer *peer = client_peers_find(&machine->peers, fragment->osd);
    if (fragment->state == SENT)
        return (fragment->at_ms > peer->heard_ms ? fragment->at_ms : peer->heard_ms) +
               machine->config.silent_ms;
    if (fragment->state != QUEUED)
        return UINT64_MAX;
    if (!peer->connected)
        return peer->lost_ms + machine->config.patience_ms;
    return fragment->busy_count > 0 ? slot->opened_ms + machine->config.busy_ms : UINT64_MAX;
}

void client_put_tick(struct client_put_machine *machine, uint64_t now_ms)
{
    for (uint32_t n = 0; n < machine->config.window; n++) {
        struct slot *slot = &machine->slots[n];
        for (uint32_t i = 0; slot->open && i < machine->config.total_count; i++) {
            struct fragment *fragment = &slot->fragments[i];
            if (now_ms < give_up_ms(machine, slot, fragment))
                continue;
            struct client_peer *peer = client_peers_find(&machine->peers, fragment->osd);
            if (fragment->state == SENT) {
                peer->slow = true;
                peer->reset = machine->want_reset = true;
                set_missing(fragment, LILIO_E_TIMEOUT);
            } else {
                set_missing(fragment, peer->connected ? fragment->err : LILIO_E_UNAVAILABLE);
            }
        }
        evaluate(machine, slot, now_ms);
    }
}

uint64_t client_put_deadline(const struct client_put_machine *machine)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t n = 0; n < machine->config.window; n++) {
        const struct slot *slot = &machine->slots[n];
        if (!slot->open)
            continue;
        if (slot->quorum && slot->quorum_ms + machine->config.grace_ms < least)
            least = slot->quorum_ms + machine->config.grace_ms;
        for (uint32_t i = 0; i < machine->config.total_count; i++) {
            const struct fragment *fragment = &slot->fragments[i];
            uint64_t at = give_up_ms(machine, slot, fragment);
            if (fragment->state == QUEUED && fragment->at_ms < at &&
                client_peers_find(&machine->peers, fragment->osd)->connected)
                at = fragment->at_ms;
            if (at < least)
                least = at;
        }
    }
    if (machine->finished && machine->open_count == 0 &&
        machine->last_quorum_ms + machine->config.grace_ms < least)
        least = machine->last_quorum_ms + machine->config.grace_ms;
    return least;
}

/* A silent peer to be reset. */
static bool next_reset(struct client_put_machine *machine, struct client_put_action *ret_action)
{
    for (size_t i = 0; machine->want_reset && i < machine->peers.count; i++)
        if (machine->peers.list[i].reset) {
            machine->peers.list[i].reset = false;
            *ret_action = (struct client_put_action){.kind = CLIENT_PUT_RESET,
                                                     .osd = machine->peers.list[i].osd};
            return true;
        }
    machine->want_reset = false;
    return false;
}

/* A fragment of an open slot whose time has come. */
static bool next_send(struct client_put_machine *machine, uint32_t number, uint64_t now_ms,
                      struct client_put_action *ret_action)
{
    struct slot *slot = &machine->slots[number];
    for (uint32_t i = 0; slot->open && i < machine->config.total_count; i++) {
        struct fragment *fragment = &slot->fragments[i];
        if (fragment->state != QUEUED || fragment->at_ms > now_ms)
            continue;
        struct client_peer *peer = client_peers_find(&machine->peers, fragment->osd);
        if (!peer->connected)
            continue;
        fragment->state = SENT;
        fragment->at_ms = now_ms;
        peer->outstanding++;
        *ret_action = (struct client_put_action){CLIENT_PUT_SEND, number,           slot->stripe, i,
                                                 fragment->osd,   fragment->attempt};
        return true;
    }
    return false;
}

bool client_put_next(struct client_put_machine *machine, uint64_t now_ms,
                     struct client_put_action *ret_action)
{
    if (machine->err != LILIO_OK)
        return false;
    if (next_reset(machine, ret_action))
        return true;
    if (machine->want_map) {
        machine->want_map = false;
        *ret_action = (struct client_put_action){.kind = CLIENT_PUT_MAP};
        return true;
    }
    for (uint32_t n = 0; n < machine->config.window; n++) {
        struct slot *slot = &machine->slots[n];
        if (slot->closed) {
            slot->closed = false;
            *ret_action = (struct client_put_action){
                .kind = CLIENT_PUT_CLOSED, .slot = n, .stripe = slot->stripe};
            return true;
        }
        if (next_send(machine, n, now_ms, ret_action))
            return true;
    }
    return false;
}

enum lilio_err client_put_error(const struct client_put_machine *machine,
                                struct lilio_errinfo *info)
{
    if (machine->err == LILIO_OK)
        return LILIO_OK;
    const struct slot *slot = machine->failed;
    uint32_t missing_count = 0, full_count = 0;
    char text[400] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < machine->config.total_count; i++) {
        const struct fragment *fragment = &slot->fragments[i];
        if (fragment->state != MISSING)
            continue;
        missing_count++;
        full_count += fragment->err == LILIO_E_NO_SPACE;
        char where[32] = "no OSD";
        if (fragment->osd != PROTO_OSD_NONE)
            snprintf(where, sizeof where, "osd.%u", fragment->osd);
        int more = snprintf(text + used, sizeof text - used, "%sfragment %u at %s: %s",
                            used ? "; " : "", i, where, lilio_err_text(fragment->err));
        used = used + (size_t)more < sizeof text ? used + (size_t)more : sizeof text - 1;
    }
    uint32_t best_count = machine->config.total_count - missing_count;
    bool full = best_count + full_count >= machine->config.required;
    return lilio_fail(info, full ? LILIO_E_NO_SPACE : LILIO_E_NO_QUORUM,
                      "stripe %u: at most %u of %u fragments can be stored, %u are needed: %s",
                      slot->stripe, best_count, machine->config.total_count,
                      machine->config.required, text);
}

bool client_put_done(const struct client_put_machine *machine, uint64_t now_ms)
{
    if (machine->err != LILIO_OK || !machine->finished || machine->open_count > 0)
        return false;
    uint64_t outstanding = 0;
    for (size_t i = 0; i < machine->peers.count; i++)
        outstanding += machine->peers.list[i].outstanding;
    return outstanding == 0 || now_ms >= machine->last_quorum_ms + machine->config.grace_ms;
}

uint64_t client_put_durable(const struct client_put_machine *machine, uint32_t stripe)
{
    return stripe < machine->stripe_count ? machine->durable[stripe] : 0;
}

uint32_t client_put_durable_min(const struct client_put_machine *machine)
{
    uint32_t least = machine->config.total_count;
    for (uint32_t i = 0; i < machine->stripe_count; i++) {
        uint32_t count = (uint32_t)__builtin_popcountll(machine->durable[i]);
        least = count < least ? count : least;
    }
    return least;
}

uint64_t client_put_lowest_epoch(const struct client_put_machine *machine)
{
    return machine->lowest_epoch;
}

uint32_t client_put_stripe_count(const struct client_put_machine *machine)
{
    return machine->stripe_count;
}
