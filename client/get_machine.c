#include "client/get_machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/mark.h"
#include "base/planted.h"
#include "client/limits.h"
#include "client/search.h"
#include "proto/placement.h"

#include "base/banned.h"

enum {
    LATENCY_COUNT = 32,  /* recent answers whose median is the measure of "late" */
    ATTEMPT_MAX = 200,   /* requests of one fragment, whatever the reason */
    MAP_RETRIES_MAX = 4, /* answers "newer map" for one fragment */
    SCRATCH_ALIGN = 4096,
    REPORT_MISSING = 1,
    REPORT_CORRUPT = 3,
};
enum fragment_state { IDLE, QUEUED, PENDING, GOOD, BAD, LOOKING };

struct fragment {
    enum fragment_state state;
    struct client_place place;
    uint32_t home;      /* the OSD that the map names; place.osd may be another one */
    enum lilio_err err; /* BAD: why. IDLE: what the last attempt met */
    bool late;          /* PENDING for too long: others were asked */
    uint32_t attempt, silent_count, busy_count, map_count;
    uint64_t at_ms;                    /* IDLE, LOOKING: not before. PENDING: since */
    uint64_t busy_ms;                  /* since when its OSD is busy; 0 = not */
    uint32_t want_offset, want_length; /* wanted bytes of a data fragment */
    uint32_t first_block, block_count; /* asked for, or held */
    struct base_slice payload;         /* GOOD: the blocks */
    void *token;
    /* Of a fragment that is searched for; BAD then means that the search is over. */
    bool searched;
    struct client_search search;
    uint32_t told_osd; /* what the last OSD said that the maps name */
    enum lilio_err told_err;
    bool told_known; /* the maps say that it is missing there */
};
struct slot {
    uint32_t stripe, fragment_size;
    uint64_t want;                     /* mask of the data fragments with wanted bytes */
    uint32_t first_block, block_count; /* that cover all wanted bytes */
    bool decoding, prepared;
    uint32_t deliver; /* next data fragment to hand out */
    struct fragment *fragments;
};
struct client_get_machine {
    struct client_get_config config;
    struct codec_profile profile;
    uint32_t total_count;
    struct client_peers peers;
    struct slot *slots; /* of stripe: stripe % window */
    struct fragment *fragments;
    uint32_t head, next, end;          /* stripes: being delivered, to be opened, behind the last */
    uint8_t *scratch;                  /* decoded fragments of the head */
    uint32_t scratch_count;            /* fragments it has room for */
    uint8_t *decoded[CODEC_TOTAL_MAX]; /* of the head; NULL if not decoded */
    uint64_t latency_ms[LATENCY_COUNT], latency_seen, late_after_ms;
    struct client_get_counts counts;
    struct proto_fragment_report *reports; /* made with the first one */
    size_t report_count;
    uint64_t jitter;
    bool want_map;
    bool want_search, searching; /* the list is wanted, or as new as the map */
    struct client_search_list list;
    enum lilio_err err;
    struct lilio_errinfo info;
};

/* ---- life ---- */

enum lilio_err client_get_machine_new(const struct client_get_config *config,
                                      struct client_get_machine **ret_machine)
{
    LILIO_ASSERT(config->window > 0 && config->length > 0);
    LILIO_ASSERT(config->offset + config->length <= config->row->stored_length);
    struct client_get_machine *machine = calloc(1, sizeof *machine);
    if (!machine)
        return LILIO_E_NOMEM;
    machine->config = *config;
    machine->profile = *codec_coder_profile(config->coder);
    machine->total_count = codec_profile_total(&machine->profile);
    machine->late_after_ms = config->hedge_ms;
    machine->jitter = config->seed;
    uint64_t width = (uint64_t)machine->profile.data_count * machine->profile.fragment_size;
    machine->head = machine->next = (uint32_t)(config->offset / width);
    machine->end = (uint32_t)((config->offset + config->length - 1) / width) + 1;
    machine->slots = calloc(config->window, sizeof *machine->slots);
    machine->fragments =
        calloc((size_t)config->window * machine->total_count, sizeof *machine->fragments);
    if (!machine->slots || !machine->fragments) {
        client_get_machine_free(&machine);
        return LILIO_E_NOMEM;
    }
    for (uint32_t i = 0; i < config->window; i++)
        machine->slots[i].fragments = machine->fragments + (size_t)i * machine->total_count;
    *ret_machine = machine;
    return LILIO_OK;
}

static struct slot *slot_of(const struct client_get_machine *machine, uint32_t stripe)
{
    if (stripe < machine->head || stripe >= machine->next)
        return NULL;
    return &machine->slots[stripe % machine->config.window];
}

static void release(const struct client_get_machine *machine, struct fragment *fragment)
{
    if (fragment->token)
        machine->config.release(machine->config.release_context, fragment->token);
    fragment->token = NULL;
    fragment->payload = (struct base_slice){0};
}

/* Gives back what the fragments of a stripe hold. */
static void let_go(const struct client_get_machine *machine, struct slot *slot)
{
    for (uint32_t i = 0; i < machine->total_count; i++) {
        release(machine, &slot->fragments[i]);
        client_search_end(&slot->fragments[i].search);
    }
}

void client_get_machine_free(struct client_get_machine **machine)
{
    if (!*machine)
        return;
    for (uint32_t s = (*machine)->head; s < (*machine)->next; s++)
        let_go(*machine, slot_of(*machine, s));
    client_peers_release(&(*machine)->peers);
    free((*machine)->slots);
    free((*machine)->fragments);
    free((*machine)->scratch);
    free((*machine)->reports);
    free((*machine)->list.osds);
    free(*machine);
    *machine = NULL;
}

static bool underway(const struct fragment *fragment)
{
    return fragment->state == QUEUED || fragment->state == PENDING;
}

/* ---- failure ---- */

/* Whether that answer of an OSD says that it does not have the fragment, and never will. */
static bool is_gone(enum lilio_err err)
{
    return err == LILIO_E_MISSING || err == LILIO_E_CORRUPT || err == LILIO_E_BLANK;
}

/* The fragments that nobody has: each OSD said so. */
static uint64_t gone_mask(const struct client_get_machine *machine, const struct slot *slot)
{
    uint64_t gone = 0;
    for (uint32_t i = 0; i < machine->total_count; i++) {
        const struct fragment *fragment = &slot->fragments[i];
        if (fragment->state == BAD && fragment->searched &&
            client_search_all_told(&fragment->search, &machine->list))
            gone |= UINT64_C(1) << i;
    }
    return gone;
}

static bool is_lost(const struct client_get_machine *machine, const struct slot *slot)
{
    uint64_t all = (UINT64_C(1) << machine->total_count) - 1;
    return !codec_can_decode(machine->config.coder, all & ~gone_mask(machine, slot));
}

static size_t append(char *text, size_t room, size_t used, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static size_t append(char *text, size_t room, size_t used, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(text + used, room - used, format, arguments);
    va_end(arguments);
    return more > 0 && used + (size_t)more < room ? used + (size_t)more : room - 1;
}

/* Names who may have what is missing and did not tell. */
static size_t append_unheard(const struct client_get_machine *machine, const struct slot *slot,
                             char *text, size_t room, size_t used)
{
    const char *before = "; not heard, and may have them: ";
    for (size_t place = 0; place < machine->list.count; place++) {
        bool unheard = false;
        for (uint32_t i = 0; i < machine->total_count; i++) {
            const struct fragment *fragment = &slot->fragments[i];
            unheard |= fragment->state == BAD && fragment->searched &&
                       !client_search_told(&fragment->search, place);
        }
        if (!unheard)
            continue;
        used = append(text, room, used, "%sosd.%u", before, machine->list.osds[place]);
        before = ", ";
    }
    return used;
}

/* Names what is wrong with a stripe that cannot be completed. */
static void fail(struct client_get_machine *machine, const struct slot *slot)
{
    char text[400] = "";
    size_t used = 0;
    bool lost = is_lost(machine, slot);
    for (uint32_t i = 0; i < machine->total_count; i++) {
        const struct fragment *fragment = &slot->fragments[i];
        if (fragment->state == GOOD)
            continue;
        bool searched = fragment->searched;
        uint32_t osd = searched ? fragment->told_osd : fragment->place.osd;
        enum lilio_err told = searched ? fragment->told_err : fragment->err;
        bool known_bad = searched ? fragment->told_known : fragment->place.known_bad;
        enum lilio_err err = told                 ? told
                             : underway(fragment) ? LILIO_E_TIMEOUT
                                                  : LILIO_E_UNAVAILABLE;
        if (known_bad && !is_gone(err))
            err = LILIO_E_MISSING; /* so the maps say; its OSD may know better */
        char where[32] = "no OSD";
        if (osd != PROTO_OSD_NONE)
            snprintf(where, sizeof where, "osd.%u", osd);
        const char *what = err == LILIO_E_TIMEOUT && !told ? "no answer yet" : lilio_err_text(err);
        used = append(text, sizeof text, used, "%sfragment %u at %s: %s", used ? "; " : "", i,
                      where, what);
    }
    if (!lost) {
        LILIO_MARK("client/get_unheard");
        (void)append_unheard(machine, slot, text, sizeof text, used);
    }
    machine->err = lilio_fail(&machine->info, lost ? LILIO_E_LOST : LILIO_E_UNAVAILABLE,
                              "stripe %u needs %u of %u fragments: %s", slot->stripe,
                              machine->profile.data_count, machine->total_count, text);
}

/* ---- what to ask for ---- */

static bool covers(const struct slot *slot, const struct fragment *fragment)
{
    return fragment->first_block <= slot->first_block &&
           fragment->first_block + fragment->block_count >= slot->first_block + slot->block_count;
}

/* How gladly a fragment is asked for now: 0, 1, 2, or 3 = not possible now. */
static uint32_t rank_of(const struct client_get_machine *machine, const struct fragment *fragment,
                        uint64_t now_ms)
{
    const struct client_peer *peer = client_peers_find(&machine->peers, fragment->place.osd);
    if (!peer || !peer->connected || fragment->at_ms > now_ms)
        return 3;
    uint32_t rank = fragment->place.rank + peer->slow;
    return rank < 2 ? rank : 2;
}

static void ask(struct client_get_machine *machine, struct fragment *fragment, uint32_t first_block,
                uint32_t block_count)
{
    release(machine, fragment);
    fragment->state = QUEUED;
    fragment->late = false;
    fragment->first_block = first_block;
    fragment->block_count = block_count;
    if (++fragment->attempt >= (fragment->searched ? CLIENT_ATTEMPT_END : ATTEMPT_MAX)) {
        fragment->state = BAD;
        fragment->err = fragment->err ? fragment->err : LILIO_E_UNAVAILABLE;
    }
}

/* The fragment is asked for at an OSD that it does not belong to. */
static void turn_to(struct fragment *fragment, uint32_t osd)
{
    fragment->place.osd = osd;
    fragment->place.has_other = false;
    fragment->place.known_bad = true; /* it is not where it belongs, and that is known */
    fragment->state = IDLE;
    fragment->err = LILIO_OK;
    fragment->at_ms = 0;
    fragment->silent_count = fragment->map_count = fragment->busy_count = 0;
    fragment->busy_ms = 0;
}

/* The fragment is asked for where it may be besides. False if there is no such place. */
static bool turn_to_other(const struct client_get_machine *machine, struct fragment *fragment)
{
    if (!fragment->place.has_other || !client_peers_find(&machine->peers, fragment->place.other))
        return false;
    LILIO_MARK("client/get_from_previous");
    turn_to(fragment, fragment->place.other);
    return true;
}

/* Whether what the stripe needs of it is here, or can be asked for, or its OSD may still connect.
 */
static bool is_hope(const struct client_get_machine *machine, const struct slot *slot,
                    const struct fragment *fragment, uint64_t now_ms)
{
    if (fragment->state == BAD || fragment->state == LOOKING)
        return fragment->state == LOOKING;
    if (fragment->state == GOOD && covers(slot, fragment))
        return true;
    const struct client_peer *peer = client_peers_find(&machine->peers, fragment->place.osd);
    return peer->connected || now_ms < peer->lost_ms + machine->config.patience_ms;
}

/* A stripe whose wanted fragments are all with good OSDs is read directly; false if one is not. */
static bool plan_direct(struct client_get_machine *machine, struct slot *slot, uint64_t now_ms)
{
    for (uint32_t i = 0; i < machine->profile.data_count; i++) {
        const struct fragment *fragment = &slot->fragments[i];
        if (fragment->want_length == 0 || fragment->state == GOOD ||
            (underway(fragment) && !fragment->late))
            continue;
        if (fragment->state != IDLE || rank_of(machine, fragment, now_ms) > 0)
            return false;
    }
    for (uint32_t i = 0; i < machine->profile.data_count; i++) {
        struct fragment *fragment = &slot->fragments[i];
        if (fragment->want_length == 0 || fragment->state != IDLE)
            continue;
        uint32_t first = fragment->want_offset / CODEC_BLOCK;
        uint32_t last = (fragment->want_offset + fragment->want_length - 1) / CODEC_BLOCK;
        ask(machine, fragment, first, last - first + 1);
    }
    return true;
}

/* Wanted fragments that are good, and fragments good for decoding. */
static void good_masks(const struct client_get_machine *machine, const struct slot *slot,
                       uint64_t *ret_wanted, uint64_t *ret_decoding)
{
    *ret_wanted = *ret_decoding = 0;
    for (uint32_t i = 0; i < machine->total_count; i++) {
        const struct fragment *fragment = &slot->fragments[i];
        if (fragment->state != GOOD)
            continue;
        if (fragment->want_length > 0)
            *ret_wanted |= UINT64_C(1) << i;
        if (covers(slot, fragment))
            *ret_decoding |= UINT64_C(1) << i;
    }
}

static bool enough(const struct client_get_machine *machine, uint64_t mask)
{
    return (uint32_t)__builtin_popcountll(mask) >= machine->profile.data_count &&
           codec_can_decode(machine->config.coder, mask);
}

static bool complete(const struct client_get_machine *machine, const struct slot *slot)
{
    uint64_t wanted, decoding;
    good_masks(machine, slot, &wanted, &decoding);
    return wanted == slot->want || enough(machine, decoding);
}

/* Begins to search for a fragment, or again with another list. */
static void search_begin(struct client_get_machine *machine, struct fragment *fragment)
{
    if (!fragment->searched) {
        fragment->searched = true;
        fragment->told_osd = fragment->place.osd;
        fragment->told_known = fragment->place.known_bad;
        fragment->told_err = fragment->err ? fragment->err : LILIO_E_UNAVAILABLE;
    }
    if (client_search_begin(&fragment->search, &machine->list) != LILIO_OK)
        machine->err = lilio_fail(&machine->info, LILIO_E_NOMEM, "no memory for a search");
    else if (is_gone(fragment->told_err))
        client_search_tell(&fragment->search, &machine->list, fragment->told_osd);
    if (!underway(fragment)) {
        fragment->state = LOOKING;
        fragment->at_ms = 0;
    }
}

/* Turns to who is next. True if that one is there to be asked. */
static bool search_go_on(struct client_get_machine *machine, struct fragment *fragment,
                         uint64_t now_ms)
{
    uint32_t osd;
    switch (client_search_next(&fragment->search, &machine->list, &machine->peers, now_ms,
                               machine->config.patience_ms, &osd, &fragment->at_ms)) {
    case CLIENT_SEARCH_ASK: turn_to(fragment, osd); return true;
    case CLIENT_SEARCH_WAIT: break;
    case CLIENT_SEARCH_OVER: fragment->state = BAD; break;
    }
    return false;
}

/* The OSD that was asked for the fragment does not give it. */
static void not_there(struct client_get_machine *machine, struct fragment *fragment,
                      enum lilio_err err)
{
    fragment->err = err;
    if (fragment->searched) {
        if (is_gone(err))
            client_search_tell(&fragment->search, &machine->list, fragment->place.osd);
        fragment->state = LOOKING;
        fragment->at_ms = 0;
    } else if (!turn_to_other(machine, fragment)) {
        fragment->state = BAD;
    }
}

/* Slots that moved more than once leave fragments at OSDs that the maps do not name any more, and
 * those are asked before a stripe is given up. True if that opened a way. */
static bool search(struct client_get_machine *machine, struct slot *slot, uint64_t now_ms)
{
    bool began = false;
    for (uint32_t i = 0; i < machine->total_count; i++) {
        struct fragment *fragment = &slot->fragments[i];
        if (fragment->searched || fragment->state == GOOD ||
            is_hope(machine, slot, fragment, now_ms))
            continue;
        search_begin(machine, fragment);
        began = true;
    }
    return began;
}

/* Blocks that were good for reading directly are too few to decode, and their OSD is gone: the last
 * resort is to search for the whole. True if there are any. */
static bool drop_narrow(struct client_get_machine *machine, struct slot *slot, uint64_t now_ms)
{
    bool dropped = false;
    for (uint32_t i = 0; i < machine->total_count; i++) {
        struct fragment *fragment = &slot->fragments[i];
        if (fragment->state != GOOD || is_hope(machine, slot, fragment, now_ms))
            continue;
        release(machine, fragment);
        fragment->state = BAD;
        fragment->err = LILIO_E_UNAVAILABLE;
        search_begin(machine, fragment);
        dropped = true;
    }
    return dropped;
}

/* Nothing more can be asked now: wait for what may still come, or search. That ends: an OSD that
 * answers is heard, or busy for a bounded time; one that does not is silent, since a window that
 * stands still asks for nothing else; connections are awaited for patience_ms, and so are the last
 * OSDs of a search. True if a search made more OSDs to ask. */
static bool plan_stuck(struct client_get_machine *machine, struct slot *slot, uint64_t now_ms)
{
    uint64_t hope = 0;
    for (uint32_t i = 0; i < machine->total_count; i++)
        hope |= (uint64_t)is_hope(machine, slot, &slot->fragments[i], now_ms) << i;
    if (enough(machine, hope))
        return false;
    if (!machine->searching) {
        machine->want_search = true;
        return false;
    }
    if (search(machine, slot, now_ms) || drop_narrow(machine, slot, now_ms))
        return true;
    fail(machine, slot);
    return false;
}

/* Asks for what a stripe needs besides what is there and under way. True if that opened a way to
 * ask for more. */
static bool plan_step(struct client_get_machine *machine, struct slot *slot, uint64_t now_ms)
{
    if (machine->err != LILIO_OK || complete(machine, slot))
        return false;
    if (!slot->decoding && plan_direct(machine, slot, now_ms))
        return false;
    slot->decoding = true;
    uint64_t wanted, mask;
    good_masks(machine, slot, &wanted, &mask);
    for (uint32_t i = 0; i < machine->total_count; i++)
        if (underway(&slot->fragments[i]) && !slot->fragments[i].late &&
            covers(slot, &slot->fragments[i]))
            mask |= UINT64_C(1) << i;
    for (uint32_t rank = 0; rank < 3; rank++)
        for (uint32_t i = 0; i < machine->total_count && !enough(machine, mask); i++) {
            struct fragment *fragment = &slot->fragments[i];
            bool idle = fragment->state == IDLE;
            bool narrow =
                (fragment->state == GOOD || underway(fragment)) && !covers(slot, fragment);
            if ((!idle && !narrow) || rank_of(machine, fragment, now_ms) != rank)
                continue;
            ask(machine, fragment, slot->first_block, slot->block_count);
            if (fragment->state == QUEUED)
                mask |= UINT64_C(1) << i;
        }
    for (uint32_t i = 0; i < machine->total_count && !enough(machine, mask); i++) {
        struct fragment *fragment = &slot->fragments[i];
        if (fragment->state != LOOKING || fragment->at_ms > now_ms ||
            !search_go_on(machine, fragment, now_ms))
            continue;
        ask(machine, fragment, slot->first_block, slot->block_count);
        if (fragment->state == QUEUED)
            mask |= UINT64_C(1) << i;
    }
    return !enough(machine, mask) && plan_stuck(machine, slot, now_ms);
}

static void plan(struct client_get_machine *machine, struct slot *slot, uint64_t now_ms)
{
    while (plan_step(machine, slot, now_ms))
        ;
}

/* ---- events ---- */

enum lilio_err client_get_peer_add(struct client_get_machine *machine, uint32_t osd,
                                   uint64_t since_ms)
{
    struct client_peer *peer;
    return client_peers_add(&machine->peers, osd, since_ms, &peer);
}

void client_get_peer_set(struct client_get_machine *machine, uint32_t osd, bool connected,
                         uint64_t now_ms)
{
    struct client_peer *peer = client_peers_find(&machine->peers, osd);
    if (!peer || peer->connected == connected)
        return;
    peer->connected = connected;
    if (connected) {
        peer->heard_ms = now_ms;
        peer->slow = false;
    } else {
        peer->lost_ms = now_ms;
    }
    for (uint32_t s = machine->head; s < machine->next; s++) {
        struct slot *slot = slot_of(machine, s);
        for (uint32_t i = 0; i < machine->total_count; i++) {
            struct fragment *fragment = &slot->fragments[i];
            if (connected && fragment->state == LOOKING)
                fragment->at_ms = 0; /* it may be there */
            if (connected || fragment->place.osd != osd || !underway(fragment))
                continue;
            fragment->state = fragment->searched ? LOOKING : IDLE;
            fragment->err = LILIO_E_UNAVAILABLE;
            fragment->at_ms = fragment->searched ? 0 : fragment->at_ms;
        }
        plan(machine, slot, now_ms);
    }
}

/* The searches that are under way begin again, with the new list. */
static void search_anew(struct client_get_machine *machine)
{
    for (uint32_t s = machine->head; s < machine->next; s++)
        for (uint32_t i = 0; i < machine->total_count; i++) {
            struct fragment *fragment = &slot_of(machine, s)->fragments[i];
            if (fragment->searched && fragment->state != GOOD)
                search_begin(machine, fragment);
        }
}

enum lilio_err client_get_search(struct client_get_machine *machine, const uint32_t *osds,
                                 size_t count, uint64_t now_ms)
{
    LILIO_MARK("client/get_searched");
    struct client_search_list *list = &machine->list;
    machine->searching = true;
    machine->want_search = false;
    bool same =
        count == list->count && (count == 0 || memcmp(osds, list->osds, count * sizeof *osds) == 0);
    if (!same) {
        uint32_t *copy = calloc(count + 1, sizeof *copy);
        if (!copy)
            return LILIO_E_NOMEM;
        memcpy(copy, osds, count * sizeof *copy);
        free(list->osds);
        *list = (struct client_search_list){.osds = copy, .count = count};
        search_anew(machine);
    }
    for (uint32_t s = machine->head; s < machine->next; s++)
        plan(machine, slot_of(machine, s), now_ms);
    return LILIO_OK;
}

bool client_get_room(const struct client_get_machine *machine, uint32_t *ret_stripe)
{
    if (machine->err != LILIO_OK || machine->next >= machine->end ||
        machine->next - machine->head >= machine->config.window)
        return false;
    *ret_stripe = machine->next;
    return true;
}

/* Notes which bytes of each data fragment are wanted, and the blocks that cover all of them. */
static void set_wanted(const struct client_get_machine *machine, struct slot *slot)
{
    const struct proto_data_row *row = machine->config.row;
    uint64_t width = (uint64_t)machine->profile.data_count * machine->profile.fragment_size;
    uint64_t start = slot->stripe * width, end = start + width;
    uint64_t wanted_end = machine->config.offset + machine->config.length;
    if (start < machine->config.offset)
        start = machine->config.offset;
    if (end > wanted_end)
        end = wanted_end;
    uint32_t first_block = UINT32_MAX, end_block = 0;
    uint64_t cursor = 0;
    struct codec_piece piece;
    while (codec_range_next(&machine->profile, row->stored_length, start, end - start, &cursor,
                            &piece)) {
        struct fragment *fragment = &slot->fragments[piece.index];
        fragment->want_offset = piece.offset;
        fragment->want_length = piece.length;
        slot->want |= UINT64_C(1) << piece.index;
        if (piece.first_block < first_block)
            first_block = piece.first_block;
        if (piece.first_block + piece.block_count > end_block)
            end_block = piece.first_block + piece.block_count;
    }
    slot->first_block = first_block;
    slot->block_count = end_block - first_block;
}

static void set_place(struct client_get_machine *machine, struct fragment *fragment,
                      const struct client_place *place)
{
    fragment->place = *place;
    fragment->home = place->osd;
    if ((place->err != LILIO_OK || !client_peers_find(&machine->peers, place->osd)) &&
        !turn_to_other(machine, fragment)) {
        fragment->state = BAD;
        fragment->err = place->err ? place->err : LILIO_E_UNAVAILABLE;
    }
}

void client_get_open(struct client_get_machine *machine, const struct client_place *places,
                     uint64_t now_ms)
{
    uint32_t stripe;
    bool room = client_get_room(machine, &stripe);
    LILIO_ASSERT(room);
    struct slot *slot = &machine->slots[stripe % machine->config.window];
    struct fragment *fragments = slot->fragments;
    memset(fragments, 0, machine->total_count * sizeof *fragments);
    uint64_t length =
        codec_stripe_length(&machine->profile, machine->config.row->stored_length, stripe);
    *slot = (struct slot){.stripe = stripe,
                          .fragment_size = codec_fragment_size(&machine->profile, length),
                          .fragments = fragments};
    set_wanted(machine, slot);
    for (uint32_t i = 0; i < machine->total_count; i++)
        set_place(machine, &fragments[i], &places[i]);
    machine->next++;
    plan(machine, slot, now_ms);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Takes the time an answer took into the measure of "late"; the median is renewed now and then. */
static void note_latency(struct client_get_machine *machine, uint64_t latency_ms)
{
    machine->latency_ms[machine->latency_seen++ % LATENCY_COUNT] = latency_ms;
    if (machine->latency_seen % 8 != 0)
        return;
    uint64_t sorted[LATENCY_COUNT];
    size_t count =
        machine->latency_seen < LATENCY_COUNT ? (size_t)machine->latency_seen : LATENCY_COUNT;
    memcpy(sorted, machine->latency_ms, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_u64);
    uint64_t late = 3 * sorted[count / 2];
    machine->late_after_ms = late > machine->config.hedge_ms ? late : machine->config.hedge_ms;
}

/* The fragment a reply belongs to, or NULL if nobody waits for it. The OSD counts as heard. */
static struct fragment *answered(struct client_get_machine *machine, uint32_t stripe,
                                 uint32_t index, uint32_t osd, uint32_t attempt, uint64_t now_ms)
{
    struct client_peer *peer = client_peers_find(&machine->peers, osd);
    if (peer) {
        peer->heard_ms = now_ms;
        peer->slow = false;
    }
    struct slot *slot = slot_of(machine, stripe);
    if (!peer || !slot || index >= machine->total_count || machine->err != LILIO_OK)
        return NULL;
    struct fragment *fragment = &slot->fragments[index];
    if (fragment->state != PENDING || fragment->place.osd != osd || fragment->attempt != attempt)
        return NULL;
    note_latency(machine, now_ms - fragment->at_ms);
    return fragment;
}

/* True if the reply is what the data row says: the block list, and each received block. */
static bool verified(const struct client_get_machine *machine, const struct slot *slot,
                     uint32_t index, const struct proto_fragment *reply, struct base_slice payload)
{
    const struct fragment *fragment = &slot->fragments[index];
    uint32_t block_count = codec_block_count(slot->fragment_size);
    uint32_t sums[CODEC_BLOCKS_MAX], row_sum;
    if (reply->payload_length != slot->fragment_size ||
        reply->first_block != fragment->first_block ||
        reply->block_checksums.size != (size_t)block_count * 4 ||
        !proto_row_checksum(machine->config.row, slot->stripe, index, &row_sum))
        return false;
    for (uint32_t i = 0; i < block_count; i++)
        sums[i] = base_le32_get(reply->block_checksums.data + (size_t)i * 4);
    if (codec_fragment_checksum(sums, block_count) != row_sum)
        return false;
    uint32_t start = fragment->first_block * CODEC_BLOCK;
    uint32_t end = (fragment->first_block + fragment->block_count) * CODEC_BLOCK;
    end = end < slot->fragment_size ? end : slot->fragment_size;
    if (payload.size != end - start)
        return false;
    for (uint32_t i = 0, at = 0; at < payload.size; i++, at += CODEC_BLOCK) {
        size_t size = payload.size - at < CODEC_BLOCK ? payload.size - at : CODEC_BLOCK;
        if (codec_crc32c(0, payload.data + at, size) != sums[fragment->first_block + i] &&
            !LILIO_PLANTED("block_checksum_not_verified"))
            return false;
    }
    return true;
}

/* A fragment is of no use any more; missing and corrupt ones are remembered for repair. */
static void set_bad(struct client_get_machine *machine, const struct slot *slot, uint32_t index,
                    enum lilio_err err)
{
    struct fragment *fragment = &slot->fragments[index];
    bool known = fragment->place.known_bad || (fragment->place.filling && err == LILIO_E_MISSING);
    machine->counts.missing_answers += err == LILIO_E_MISSING && !fragment->searched;
    bool searched = fragment->searched;
    not_there(machine, fragment, err);
    if (searched || fragment->state != BAD || (err != LILIO_E_MISSING && err != LILIO_E_CORRUPT))
        return;
    machine->counts.bad_fragments++;
    if (known || machine->report_count == CLIENT_REPORTS_MAX)
        return;
    if (!machine->reports &&
        !(machine->reports = calloc(CLIENT_REPORTS_MAX, sizeof *machine->reports)))
        return; /* the read goes on; another one or a verification will tell */
    machine->reports[machine->report_count++] = (struct proto_fragment_report){
        .oid = machine->config.row->oid,
        .stripe = slot->stripe,
        .index = (uint8_t)index,
        .kind = err == LILIO_E_MISSING ? REPORT_MISSING : REPORT_CORRUPT,
        .osd = fragment->place.osd,
    };
}

bool client_get_fragment(struct client_get_machine *machine, uint32_t stripe, uint32_t index,
                         uint32_t osd, uint32_t attempt, const struct proto_fragment *reply,
                         struct base_slice payload, void *token, uint64_t now_ms)
{
    struct fragment *fragment = answered(machine, stripe, index, osd, attempt, now_ms);
    if (!fragment)
        return false;
    struct slot *slot = slot_of(machine, stripe);
    if (!verified(machine, slot, index, reply, payload)) {
        set_bad(machine, slot, index, LILIO_E_CORRUPT);
        plan(machine, slot, now_ms);
        return false;
    }
    if (fragment->searched) {
        LILIO_MARK("client/get_found_elsewhere");
        client_search_found(&machine->list, osd);
    }
    fragment->state = GOOD;
    fragment->payload = payload;
    fragment->token = token;
    plan(machine, slot, now_ms);
    return true;
}

void client_get_refused(struct client_get_machine *machine, uint32_t stripe, uint32_t index,
                        uint32_t osd, uint32_t attempt, enum lilio_err err, uint64_t now_ms)
{
    struct fragment *fragment = answered(machine, stripe, index, osd, attempt, now_ms);
    if (!fragment)
        return;
    struct slot *slot = slot_of(machine, stripe);
    if (fragment->searched) {
        set_bad(machine, slot, index, err);
        plan(machine, slot, now_ms);
        return;
    }
    fragment->err = err;
    switch (err) {
    case LILIO_E_BUSY:
    case LILIO_E_EXHAUSTED:
    case LILIO_E_NOMEM:
        if (fragment->busy_ms == 0)
            fragment->busy_ms = now_ms;
        fragment->state = now_ms < fragment->busy_ms + machine->config.busy_ms ? IDLE : BAD;
        fragment->at_ms = now_ms + client_backoff_ms(fragment->busy_count++, &machine->jitter);
        break;
    case LILIO_E_STALE_EPOCH:
    case LILIO_E_WRONG_OSD:
        LILIO_MARK("client/get_stale_epoch");
        machine->want_map = true;
        fragment->state = IDLE;
        fragment->at_ms = now_ms + client_backoff_ms(fragment->map_count, &machine->jitter);
        if (fragment->map_count++ == MAP_RETRIES_MAX)
            not_there(machine, fragment, err);
        break;
    default: set_bad(machine, slot, index, err);
    }
    plan(machine, slot, now_ms);
}

void client_get_stripes(const struct client_get_machine *machine, uint32_t *ret_first,
                        uint32_t *ret_end)
{
    *ret_first = machine->head;
    *ret_end = machine->next;
}

void client_get_moved(struct client_get_machine *machine, uint32_t stripe,
                      const struct client_place *places, uint64_t now_ms)
{
    machine->searching = false; /* who may have anything is asked for anew */
    struct slot *slot = slot_of(machine, stripe);
    if (!slot)
        return;
    for (uint32_t i = 0; i < machine->total_count; i++) {
        struct fragment *fragment = &slot->fragments[i];
        if (fragment->state == GOOD || fragment->home == places[i].osd)
            continue;
        client_search_end(&fragment->search);
        fragment->searched = false;
        fragment->state = IDLE;
        fragment->err = LILIO_OK;
        fragment->at_ms = fragment->busy_ms = 0;
        fragment->silent_count = fragment->map_count = fragment->busy_count = 0;
        set_place(machine, fragment, &places[i]);
    }
    plan(machine, slot, now_ms);
}

/* ---- time ---- */

static uint64_t silent_at_ms(const struct client_get_machine *machine,
                             const struct fragment *fragment)
{
    if (fragment->searched && !fragment->search.again) /* others may have it */
        return fragment->at_ms + machine->late_after_ms;
    const struct client_peer *peer = client_peers_find(&machine->peers, fragment->place.osd);
    uint64_t since_ms = fragment->at_ms > peer->heard_ms ? fragment->at_ms : peer->heard_ms;
    return since_ms + machine->config.silent_ms;
}

static void tick_fragment(struct client_get_machine *machine, struct fragment *fragment,
                          uint64_t now_ms, uint32_t *late_count)
{
    if (fragment->state != PENDING)
        return;
    if (now_ms >= silent_at_ms(machine, fragment)) {
        client_peers_find(&machine->peers, fragment->place.osd)->slow = true;
        fragment->err = LILIO_E_TIMEOUT;
        fragment->state = IDLE;
        if (fragment->searched || ++fragment->silent_count == CLIENT_ATTEMPTS_GET)
            not_there(machine, fragment, LILIO_E_TIMEOUT);
    } else if (!fragment->late && now_ms >= fragment->at_ms + machine->late_after_ms) {
        LILIO_MARK("client/get_hedged");
        fragment->late = true;
        *late_count += 1;
    }
}

static uint32_t queued_count(const struct client_get_machine *machine, const struct slot *slot)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < machine->total_count; i++)
        count += slot->fragments[i].state == QUEUED;
    return count;
}

void client_get_tick(struct client_get_machine *machine, uint64_t now_ms)
{
    for (uint32_t s = machine->head; s < machine->next; s++) {
        struct slot *slot = slot_of(machine, s);
        uint32_t late_count = 0, queued = queued_count(machine, slot);
        for (uint32_t i = 0; i < machine->total_count; i++)
            tick_fragment(machine, &slot->fragments[i], now_ms, &late_count);
        plan(machine, slot, now_ms);
        if (queued_count(machine, slot) > queued)
            machine->counts.slow_fragments += late_count;
    }
}

/* The earlier of least and at, if at lies ahead. */
static uint64_t sooner(uint64_t least, uint64_t at, uint64_t now_ms)
{
    return at > now_ms && at < least ? at : least;
}

uint64_t client_get_deadline(const struct client_get_machine *machine, uint64_t now_ms)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t s = machine->head; s < machine->next; s++) {
        const struct slot *slot = slot_of(machine, s);
        if (complete(machine, slot))
            continue;
        for (uint32_t i = 0; i < machine->total_count; i++) {
            const struct fragment *fragment = &slot->fragments[i];
            if (fragment->state == PENDING) {
                least = sooner(least, silent_at_ms(machine, fragment), now_ms);
                least = sooner(least, fragment->at_ms + machine->late_after_ms, now_ms);
            } else if (fragment->state == LOOKING) {
                least = sooner(least, fragment->at_ms, now_ms);
            } else if (fragment->state == IDLE || fragment->state == GOOD) {
                const struct client_peer *peer =
                    client_peers_find(&machine->peers, fragment->place.osd);
                least = sooner(least, fragment->at_ms, now_ms);
                if (!peer->connected)
                    least = sooner(least, peer->lost_ms + machine->config.patience_ms, now_ms);
            }
        }
    }
    return least;
}

/* ---- actions ---- */

static bool next_request(struct client_get_machine *machine, uint64_t now_ms,
                         struct client_get_action *ret_action)
{
    for (uint32_t s = machine->head; s < machine->next; s++) {
        struct slot *slot = slot_of(machine, s);
        for (uint32_t i = 0; i < machine->total_count; i++) {
            struct fragment *fragment = &slot->fragments[i];
            if (fragment->state != QUEUED)
                continue;
            fragment->state = PENDING;
            fragment->at_ms = now_ms;
            *ret_action = (struct client_get_action){
                .kind = CLIENT_GET_REQUEST,
                .stripe = s,
                .index = i,
                .osd = fragment->place.osd,
                .attempt = fragment->attempt,
                .elsewhere = fragment->place.osd != fragment->home,
                .first_block = fragment->first_block,
                .block_count = fragment->block_count,
            };
            return true;
        }
    }
    return false;
}

/* Room for count decoded fragments. */
static bool scratch_reserve(struct client_get_machine *machine, uint32_t count)
{
    if (machine->scratch_count >= count)
        return true;
    size_t unit = machine->profile.fragment_size; /* a multiple of 4096 */
    uint8_t *scratch = aligned_alloc(SCRATCH_ALIGN, unit * count);
    if (!scratch)
        return false;
    free(machine->scratch);
    machine->scratch = scratch;
    machine->scratch_count = count;
    return true;
}

/* Decodes the targets of a plan block by block while the block is in the cache; when whole
 * fragments are made, they are held against the row. */
static bool decode_blocks(struct client_get_machine *machine, const struct slot *slot,
                          const struct codec_plan *decode)
{
    uint32_t sums[CODEC_PARITY_MAX][CODEC_BLOCKS_MAX];
    uint32_t start = slot->first_block * CODEC_BLOCK;
    uint32_t end = (slot->first_block + slot->block_count) * CODEC_BLOCK;
    end = end < slot->fragment_size ? end : slot->fragment_size;
    uint32_t block = 0;
    for (uint32_t at = start; at < end; at += CODEC_BLOCK, block++) {
        uint8_t *sources[CODEC_TOTAL_MAX], *targets[CODEC_TOTAL_MAX];
        uint32_t size = end - at < CODEC_BLOCK ? end - at : CODEC_BLOCK;
        for (uint32_t i = 0; i < decode->source_count; i++) {
            const struct fragment *fragment = &slot->fragments[decode->source[i]];
            sources[i] = (uint8_t *)(uintptr_t)(fragment->payload.data +
                                                (at - fragment->first_block * CODEC_BLOCK));
        }
        for (uint32_t i = 0; i < decode->target_count; i++)
            targets[i] = machine->decoded[decode->target[i]] + (at - start);
        codec_plan_run(decode, size, sources, targets);
        for (uint32_t i = 0; i < decode->target_count; i++)
            sums[i][block] = codec_crc32c(0, targets[i], size);
    }
    uint32_t row_sum;
    for (uint32_t i = 0; start == 0 && end == slot->fragment_size && i < decode->target_count; i++)
        if (!proto_row_checksum(machine->config.row, slot->stripe, decode->target[i], &row_sum) ||
            codec_fragment_checksum(sums[i], block) != row_sum)
            return false;
    return true;
}

/* Makes the wanted bytes of the head ready to be handed out. */
static enum lilio_err prepare(struct client_get_machine *machine, struct slot *slot)
{
    uint64_t wanted, decoding;
    good_masks(machine, slot, &wanted, &decoding);
    uint64_t targets = slot->want & ~wanted;
    slot->prepared = true;
    if (targets == 0)
        return LILIO_OK;
    const struct codec_plan *decode;
    enum lilio_err err = client_plans_get(machine->config.plans, machine->config.coder, decoding,
                                          targets, &decode, &machine->info);
    if (err != LILIO_OK)
        return lilio_prefix(&machine->info, err, "stripe %u", slot->stripe);
    LILIO_MARK("client/get_decoded");
    if (!scratch_reserve(machine, decode->target_count))
        return lilio_fail(&machine->info, LILIO_E_NOMEM, "no memory to decode stripe %u",
                          slot->stripe);
    for (uint32_t i = 0; i < decode->target_count; i++)
        machine->decoded[decode->target[i]] =
            machine->scratch + (size_t)i * machine->profile.fragment_size;
    machine->counts.degraded_stripes++;
    if (!decode_blocks(machine, slot, decode))
        return lilio_fail(&machine->info, LILIO_E_CORRUPT,
                          "stripe %u: what was decoded does not match the maps", slot->stripe);
    return LILIO_OK;
}

static bool next_delivery(struct client_get_machine *machine, struct client_get_action *ret_action)
{
    while (machine->head < machine->next) {
        struct slot *slot = slot_of(machine, machine->head);
        if (!slot->prepared) {
            if (!complete(machine, slot))
                return false;
            machine->err = prepare(machine, slot);
            if (machine->err != LILIO_OK)
                return false;
        }
        for (; slot->deliver < machine->profile.data_count; slot->deliver++) {
            const struct fragment *fragment = &slot->fragments[slot->deliver];
            if (fragment->want_length == 0)
                continue;
            bool good = fragment->state == GOOD;
            uint32_t first_block = good ? fragment->first_block : slot->first_block;
            const uint8_t *data = good ? fragment->payload.data : machine->decoded[slot->deliver];
            *ret_action = (struct client_get_action){
                .kind = CLIENT_GET_DELIVER,
                .stripe = slot->stripe,
                .index = slot->deliver++,
                .data = data + (fragment->want_offset - first_block * CODEC_BLOCK),
                .size = fragment->want_length,
            };
            return true;
        }
        let_go(machine, slot);
        machine->head++;
    }
    return false;
}

bool client_get_next(struct client_get_machine *machine, uint64_t now_ms,
                     struct client_get_action *ret_action)
{
    if (machine->err != LILIO_OK)
        return false;
    if (machine->want_map) {
        machine->want_map = false;
        *ret_action = (struct client_get_action){.kind = CLIENT_GET_MAP};
        return true;
    }
    if (machine->want_search) {
        machine->want_search = false;
        *ret_action = (struct client_get_action){.kind = CLIENT_GET_SEARCH};
        return true;
    }
    return next_request(machine, now_ms, ret_action) || next_delivery(machine, ret_action);
}

/* ---- results ---- */

enum lilio_err client_get_error(const struct client_get_machine *machine,
                                struct lilio_errinfo *info)
{
    if (machine->err != LILIO_OK && info)
        *info = machine->info;
    return machine->err;
}

bool client_get_done(const struct client_get_machine *machine)
{
    return machine->err == LILIO_OK && machine->head == machine->end;
}

void client_get_counts_get(const struct client_get_machine *machine, struct client_get_counts *ret)
{
    *ret = machine->counts;
}

const struct proto_fragment_report *client_get_reports(const struct client_get_machine *machine,
                                                       size_t *ret_count)
{
    *ret_count = machine->report_count;
    return machine->reports;
}
