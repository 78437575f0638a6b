#include "tests/sim/check_raft.h"

#include <string.h>

#include "tests/sim/grow.h"

#include "base/banned.h"

enum { MEMBERS_MAX = 256 };

struct slot {
    uint64_t term; /* 0 = not known */
    uint8_t type;  /* likewise */
};
struct read {
    uint64_t token, committed; /* when it was asked for */
};
struct member {
    uint64_t id, term, commit, persisted;
    bool leads;
    uint64_t durable;                /* as persisted, but what harm to the disk took still counts */
    uint64_t saved_term, saved_vote; /* said to be durable */
    uint64_t counted, counted_term;  /* as leader: committed last, in which term */
    struct read *reads;              /* under way */
    size_t read_count, read_room;
    struct slot *slots; /* the log by index */
    size_t room;
    uint64_t last;
};

/* All entries that ever were, by (index, term): a chain per index. */
struct entry {
    uint64_t term, before, digest; /* before: term of the predecessor */
    struct entry *next;
};

/* What is known of an index from its commitment on. */
struct place {
    struct entry *entries;
    uint64_t term;    /* committed; 0 = not yet */
    uint64_t applied; /* digest of the commands */
    uint64_t maps;    /* digest of the maps after it */
    bool has_applied, has_maps;
};

struct check_raft {
    struct member *members;
    size_t member_count, member_room;
    struct place *places;
    size_t place_room;
    uint64_t committed; /* highest */
    uint64_t *leaders;  /* member by term */
    size_t leader_room;
    uint64_t terms_led;
    char text[512];
};

/* ---- memory ---- */

static void *grow_zero(void *array, size_t *room, size_t count, size_t size)
{
    size_t before = *room;
    array = sim_grow(array, room, count, size);
    if (*room > before)
        memset((char *)array + before * size, 0, (*room - before) * size);
    return array;
}

struct check_raft *check_raft_new(void)
{
    size_t room = 0;
    return grow_zero(NULL, &room, 1, sizeof(struct check_raft));
}

void check_raft_free(struct check_raft **check)
{
    struct check_raft *mine = *check;
    if (!mine)
        return;
    for (size_t i = 0; i < mine->member_count; i++) {
        free(mine->members[i].slots);
        free(mine->members[i].reads);
    }
    for (size_t i = 0; i < mine->place_room; i++)
        while (mine->places[i].entries) {
            struct entry *entry = mine->places[i].entries;
            mine->places[i].entries = entry->next;
            free(entry);
        }
    free(mine->members);
    free(mine->places);
    free(mine->leaders);
    free(mine);
    *check = NULL;
}

const char *check_raft_text(const struct check_raft *check)
{
    return check->text;
}

static bool bad(struct check_raft *check, const char *format, ...) LILIO_PRINTF(2, 3);
static bool bad(struct check_raft *check, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(check->text, sizeof check->text, format, args);
    va_end(args);
    return false;
}

static struct member *member_of(struct check_raft *check, uint64_t id)
{
    for (size_t i = 0; i < check->member_count; i++)
        if (check->members[i].id == id)
            return &check->members[i];
    check->members = grow_zero(check->members, &check->member_room, check->member_count + 1,
                               sizeof *check->members);
    struct member *member = &check->members[check->member_count++];
    *member = (struct member){.id = id};
    return member;
}

static struct place *place_at(struct check_raft *check, uint64_t index)
{
    check->places =
        grow_zero(check->places, &check->place_room, (size_t)index + 1, sizeof *check->places);
    return &check->places[index];
}

static uint64_t term_at(const struct member *member, uint64_t index)
{
    return index <= member->last && index < member->room ? member->slots[index].term : 0;
}

static void set_slot(struct member *member, uint64_t index, uint64_t term, uint8_t type)
{
    member->slots =
        grow_zero(member->slots, &member->room, (size_t)index + 1, sizeof *member->slots);
    member->slots[index] = (struct slot){term, type};
    member->last = index;
}

#define U(x) ((unsigned long long)(x))
#define M(id) \
    (unsigned)(id) /* coordinator number; the incarnation follows */, (unsigned)((id) >> 32)

/* ---- log matching ---- */

static uint64_t digest_of(const struct raft_entry *entry)
{
    uint64_t h = entry->type * UINT64_C(0x9e3779b97f4a7c15) + entry->data.size;
    for (size_t i = 0; i < entry->data.size; i += 8) {
        uint64_t word = 0;
        size_t n = entry->data.size - i < 8 ? entry->data.size - i : 8;
        memcpy(&word, entry->data.data + i, n);
        h = (h ^ word) * UINT64_C(0xbf58476d1ce4e5b9);
        h ^= h >> 31;
    }
    return h;
}

/* The entry is the same wherever it is; before 0 = not known. */
static bool matches(struct check_raft *check, const struct member *member,
                    const struct raft_entry *entry, uint64_t before)
{
    struct place *place = place_at(check, entry->index);
    uint64_t digest = digest_of(entry);
    struct entry *known = place->entries;
    while (known && known->term != entry->term)
        known = known->next;
    if (!known) {
        size_t room = 0;
        known = sim_grow(NULL, &room, 1, sizeof *known);
        *known = (struct entry){entry->term, before, digest, place->entries};
        place->entries = known;
        return true;
    }
    if (known->digest != digest)
        return bad(check,
                   "log matching: coordinator.%u (%u) has another content at %llu of term %llu",
                   M(member->id), U(entry->index), U(entry->term));
    if (known->before && before && known->before != before)
        return bad(check,
                   "log matching: coordinator.%u (%u) has term %llu before %llu of term %llu, "
                   "another has %llu",
                   M(member->id), U(before), U(entry->index), U(entry->term), U(known->before));
    if (!known->before)
        known->before = before;
    return true;
}

bool check_raft_appended(struct check_raft *check, uint64_t id, const struct raft_entry *entries,
                         size_t count)
{
    struct member *member = member_of(check, id);
    for (size_t i = 0; i < count; i++) {
        const struct raft_entry *entry = &entries[i];
        if (entry->index > member->last + 1)
            return bad(check, "coordinator.%u (%u) appends %llu behind %llu", M(id),
                       U(entry->index), U(member->last));
        if (entry->index <= member->last) {
            if (member->leads)
                return bad(check, "leader append-only: coordinator.%u (%u) replaces %llu", M(id),
                           U(entry->index));
            if (entry->index <= member->commit && term_at(member, entry->index) != entry->term)
                return bad(check, "coordinator.%u (%u) replaces %llu, which is committed", M(id),
                           U(entry->index));
            if (term_at(member, entry->index) == entry->term)
                return bad(check, "coordinator.%u (%u) writes %llu again in term %llu", M(id),
                           U(entry->index), U(entry->term));
            if (entry->index <= member->persisted)
                member->persisted = entry->index - 1;
            if (entry->index <= member->durable)
                member->durable = entry->index - 1;
        }
        if (!matches(check, member, entry, term_at(member, entry->index - 1)))
            return false;
        set_slot(member, entry->index, entry->term, entry->type);
    }
    return true;
}

bool check_raft_reset(struct check_raft *check, uint64_t id, uint64_t index, uint64_t term)
{
    struct member *member = member_of(check, id);
    const struct place *place = place_at(check, index);
    if (place->term && place->term != term)
        return bad(check, "coordinator.%u (%u) installs a state at %llu of term %llu, not %llu",
                   M(id), U(index), U(term), U(place->term));
    if (index < member->commit)
        return bad(check, "coordinator.%u (%u) installs a state at %llu, older than its own %llu",
                   M(id), U(index), U(member->commit));
    if (member->room)
        memset(member->slots, 0, member->room * sizeof *member->slots);
    set_slot(member, index, term, 0);
    member->persisted = member->durable = index;
    return true;
}

bool check_raft_persisted(struct check_raft *check, uint64_t id, uint64_t index, uint64_t term)
{
    struct member *member = member_of(check, id);
    if (index == 0 || term_at(member, index) != term || index <= member->persisted)
        return true; /* replaced meanwhile, or nothing new */
    member->persisted = index;
    if (index > member->durable)
        member->durable = index;
    return true;
}

static bool read_back(struct check_raft *check, struct member *member,
                      const struct raft_log_view *log, uint64_t first, uint64_t last)
{
    for (uint64_t index = first; index <= last;) {
        struct raft_entry entries[16];
        size_t count = 0;
        if (log->read(log->context, index, 16, 1 << 20, entries, &count) != LILIO_OK || !count) {
            for (; index <= last; index++) /* the disk fails; what is there is not known */
                set_slot(member, index, 0, 0);
            return true;
        }
        for (size_t i = 0; i < count; i++) {
            uint64_t before = 0;
            if (log->term(log->context, entries[i].index - 1, &before) != LILIO_OK)
                before = 0; /* cut off */
            if (!matches(check, member, &entries[i], before))
                return false;
            set_slot(member, entries[i].index, entries[i].term, entries[i].type);
        }
        index += count;
    }
    return true;
}

bool check_raft_opened(struct check_raft *check, uint64_t id, const struct raft_log_view *log,
                       bool damaged)
{
    struct member *member = member_of(check, id);
    uint64_t first = log->first(log->context), last = log->last(log->context);
    for (uint64_t index = first; index <= member->persisted && !damaged; index++) {
        uint64_t term = 0;
        if (index > last || log->term(log->context, index, &term) != LILIO_OK ||
            (term_at(member, index) && term != term_at(member, index)))
            return bad(check,
                       "coordinator.%u (%u) forgot %llu of term %llu, which it had said is durable "
                       "(up to %llu; its log ends at %llu)",
                       M(id), U(index), U(term_at(member, index)), U(member->persisted), U(last));
    }
    member->leads = false;
    member->commit = 0; /* found out anew */
    member->last = first ? first - 1 : 0;
    if (first > 1) {
        uint64_t term = 0;
        if (log->term(log->context, first - 1, &term) == LILIO_OK)
            set_slot(member, first - 1, term, 0);
    }
    bool good = read_back(check, member, log, first ? first : 1, last);
    member->last = last;
    member->persisted = last;
    if (!damaged || member->durable < last)
        member->durable = last;
    return good;
}

/* ---- votes ---- */

bool check_raft_saved(struct check_raft *check, uint64_t id, uint64_t term, uint64_t vote)
{
    struct member *member = member_of(check, id);
    if (term == member->saved_term && member->saved_vote && vote != member->saved_vote)
        return bad(check, "coordinator.%u (%u) votes twice in term %llu", M(id), U(term));
    member->saved_term = term;
    member->saved_vote = vote;
    return true;
}

bool check_raft_started(struct check_raft *check, uint64_t id, uint64_t term, uint64_t vote,
                        bool damaged)
{
    struct member *member = member_of(check, id);
    bool forgot_vote =
        term == member->saved_term && member->saved_vote != 0 && vote != member->saved_vote;
    if (!damaged && (term < member->saved_term || forgot_vote))
        return bad(check,
                   "coordinator.%u (%u) forgot that it voted for coordinator.%u (%u) in term "
                   "%llu: it starts in term %llu with a vote for %llu",
                   M(id), M(member->saved_vote), U(member->saved_term), U(term), U(vote));
    member->term = member->saved_term = term;
    member->saved_vote = vote;
    member->read_count = 0;
    return true;
}

/* ---- reads ---- */

void check_raft_read_asked(struct check_raft *check, uint64_t id, uint64_t token)
{
    struct member *member = member_of(check, id);
    member->reads =
        sim_grow(member->reads, &member->read_room, member->read_count + 1, sizeof *member->reads);
    member->reads[member->read_count++] = (struct read){token, check->committed};
}

bool check_raft_read_decided(struct check_raft *check, uint64_t id, uint64_t token, uint64_t index,
                             bool ok)
{
    struct member *member = member_of(check, id);
    for (size_t i = 0; i < member->read_count; i++) {
        struct read read = member->reads[i];
        if (read.token != token)
            continue;
        member->reads[i] = member->reads[--member->read_count];
        if (ok && index < read.committed)
            return bad(check,
                       "coordinator.%u (%u) reads at %llu, but %llu was committed before that",
                       M(id), U(index), U(read.committed));
        return true;
    }
    return true;
}

/* ---- the configuration in use ---- */

bool check_raft_configured(struct check_raft *check, uint64_t id, uint64_t index)
{
    const struct member *member = member_of(check, id);
    uint8_t type = index <= member->last && index < member->room ? member->slots[index].type : 0;
    if (index <= member->last && (type == 0 || type == RAFT_ENTRY_CONFIG))
        return true;
    return bad(check,
               "coordinator.%u (%u) goes by the members of %llu, which its log does not "
               "have (any more)",
               M(id), U(index));
}

/* ---- terms, leaders, commitment ---- */

static bool is_complete(struct check_raft *check, const struct member *leader, uint64_t from)
{
    for (uint64_t index = from; index <= check->committed; index++) {
        uint64_t term = check->places[index].term, mine = term_at(leader, index);
        bool cut = mine == 0 && index <= leader->last; /* part of an installed state */
        if (term && term < leader->term && mine != term && !cut)
            return bad(check,
                       "leader completeness: coordinator.%u (%u) leads term %llu without %llu of "
                       "term %llu",
                       M(leader->id), U(leader->term), U(index), U(term));
    }
    return true;
}

static bool leads_now(struct check_raft *check, struct member *member)
{
    check->leaders = grow_zero(check->leaders, &check->leader_room, (size_t)member->term + 1,
                               sizeof *check->leaders);
    uint64_t *leader = &check->leaders[member->term];
    if (*leader && *leader != member->id)
        return bad(check,
                   "election safety: coordinator.%u (%u) and coordinator.%u (%u) lead term %llu",
                   M(*leader), M(member->id), U(member->term));
    check->terms_led += *leader == 0;
    *leader = member->id;
    return is_complete(check, member, 1);
}

static bool commits(struct check_raft *check, struct member *member, uint64_t commit)
{
    if (commit > member->last)
        return bad(check, "coordinator.%u (%u) commits %llu, its log ends at %llu", M(member->id),
                   U(commit), U(member->last));
    uint64_t from = check->committed + 1;
    for (uint64_t index = member->commit + 1; index <= commit; index++) {
        struct place *place = place_at(check, index);
        uint64_t term = term_at(member, index);
        if (term && place->term && place->term != term)
            return bad(check,
                       "state machine safety: coordinator.%u (%u) commits %llu of term %llu, "
                       "another committed term %llu",
                       M(member->id), U(index), U(term), U(place->term));
        if (term)
            place->term = term;
        if (index > check->committed)
            check->committed = index;
    }
    member->commit = commit;
    for (size_t i = 0; i < check->member_count; i++)
        if (check->members[i].leads && check->members[i].term > member->term &&
            !is_complete(check, &check->members[i], from))
            return false;
    return true;
}

bool check_raft_looked(struct check_raft *check, uint64_t id, uint64_t term, bool leads,
                       uint64_t commit)
{
    struct member *member = member_of(check, id);
    if (member->term == term && member->leads == leads && member->commit == commit)
        return true;
    if (term < member->term)
        return bad(check, "coordinator.%u (%u) goes back from term %llu to %llu", M(id),
                   U(member->term), U(term));
    bool news = leads && (!member->leads || member->term != term);
    member->term = term;
    member->leads = leads;
    if (commit < member->commit)
        return bad(check, "coordinator.%u (%u) goes back from commit %llu to %llu", M(id),
                   U(member->commit), U(commit));
    if (commit > member->commit && !commits(check, member, commit))
        return false;
    return !news || leads_now(check, member);
}

static bool has_durable(struct check_raft *check, uint64_t id, uint64_t index, uint64_t term)
{
    const struct member *member = member_of(check, id);
    uint64_t there = term_at(member, index);
    return index <= member->durable && (there == term || there == 0);
}

bool check_raft_counted(struct check_raft *check, uint64_t id, uint64_t term, uint64_t commit,
                        const uint64_t *voters, size_t count)
{
    struct member *leader = member_of(check, id);
    bool news = leader->counted_term == term && commit > leader->counted;
    leader->counted_term = term;
    leader->counted = commit;
    uint64_t of = term_at(leader, commit);
    if (!news || of == 0)
        return true;
    if (of != term)
        return bad(check,
                   "coordinator.%u (%u) leads term %llu and commits %llu of term %llu by "
                   "counting",
                   M(id), U(term), U(commit), U(of));
    size_t durable = 0;
    for (size_t i = 0; i < count; i++)
        durable += has_durable(check, voters[i], commit, of);
    if (count && durable <= count / 2)
        return bad(check,
                   "coordinator.%u (%u) commits %llu of term %llu, which is durable on %zu "
                   "of %zu voters",
                   M(id), U(commit), U(of), durable, count);
    return true;
}

void check_raft_stopped(struct check_raft *check, uint64_t id)
{
    member_of(check, id)->leads = false;
}

/* ---- the state machine ---- */

bool check_raft_applied(struct check_raft *check, uint64_t id, uint64_t index, uint64_t term,
                        uint64_t digest)
{
    struct member *member = member_of(check, id);
    struct place *place = place_at(check, index);
    if (index > check->committed)
        return bad(check, "coordinator.%u (%u) applies %llu, nobody committed more than %llu",
                   M(member->id), U(index), U(check->committed));
    if (place->term && place->term != term)
        return bad(check, "coordinator.%u (%u) applies %llu of term %llu, committed is %llu", M(id),
                   U(index), U(term), U(place->term));
    if (place->has_applied && place->applied != digest)
        return bad(check,
                   "state machine safety: coordinator.%u (%u) applies something else at %llu",
                   M(id), U(index));
    place->applied = digest;
    place->has_applied = true;
    return true;
}

bool check_raft_maps(struct check_raft *check, uint64_t id, uint64_t index, uint64_t digest)
{
    struct place *place = place_at(check, index);
    if (place->has_maps && place->maps != digest)
        return bad(check, "the maps of coordinator.%u (%u) differ at %llu: %016llx, not %016llx",
                   M(id), U(index), U(digest), U(place->maps));
    place->maps = digest;
    place->has_maps = true;
    return true;
}

uint64_t check_raft_committed(const struct check_raft *check)
{
    return check->committed;
}

uint64_t check_raft_leaders(const struct check_raft *check)
{
    return check->terms_led;
}
