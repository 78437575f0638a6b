/* Nodes, disks and the network; carries out what the core asks for. */
#include "raft_net.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

uint64_t net_random(struct net *net, uint64_t below)
{
    uint64_t z = net->seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % below;
}

struct net_node *net_node(struct net *net, uint64_t id)
{
    return &net->nodes[id - 1];
}

/* ---- logs ---- */

uint64_t net_log_last(const struct net_log *log)
{
    return log->base + log->count;
}

const struct net_entry *net_log_at(const struct net_log *log, uint64_t index)
{
    if (index <= log->base || index > net_log_last(log))
        return NULL;
    return &log->entries[index - log->base - 1];
}

bool net_log_chain(const struct net_log *log, uint64_t index, uint64_t *ret_chain)
{
    const struct net_entry *entry = net_log_at(log, index);
    if (!entry && index != log->base)
        return false;
    *ret_chain = entry ? entry->chain : log->base_chain;
    return true;
}

static void push(struct net_log *log, const struct net_entry *entry)
{
    if (log->count == log->room) {
        log->room = log->room ? 2 * log->room : 64;
        log->entries = realloc(log->entries, log->room * sizeof *log->entries);
        assert_non_null(log->entries);
    }
    log->entries[log->count++] = *entry;
}

/* Entry by entry, the later one wins. */
static void put(struct net_log *log, const struct net_entry *entry)
{
    assert_true(entry->index > log->base && entry->index <= net_log_last(log) + 1);
    log->count = (size_t)(entry->index - log->base - 1);
    push(log, entry);
}

static void drop_front(struct net_log *log, size_t count)
{
    memmove(log->entries, log->entries + count, (log->count - count) * sizeof *log->entries);
    log->count -= count;
}

static void cut(struct net_log *log, uint64_t index)
{
    const struct net_entry *entry = net_log_at(log, index);
    if (!entry)
        return;
    uint64_t term = entry->term, chain = entry->chain;
    drop_front(log, (size_t)(index - log->base));
    log->base = index;
    log->base_term = term;
    log->base_chain = chain;
}

static void reset(struct net_log *log, const struct net_state *state)
{
    log->count = 0;
    log->base = state->applied;
    log->base_term = state->term;
    log->base_chain = state->chain;
}

static void copy(struct net_log *to, const struct net_log *from)
{
    to->count = 0;
    to->base = from->base;
    to->base_term = from->base_term;
    to->base_chain = from->base_chain;
    for (size_t i = 0; i < from->count; i++)
        push(to, &from->entries[i]);
}

static uint64_t view_first(void *context)
{
    return ((struct net_node *)context)->log.base + 1;
}

static uint64_t view_last(void *context)
{
    return net_log_last(&((struct net_node *)context)->log);
}

static enum lilio_err view_term(void *context, uint64_t index, uint64_t *ret_term)
{
    struct net_node *node = context;
    const struct net_entry *entry = net_log_at(&node->log, index);
    if (node->log_error)
        return node->log_error;
    if (!entry && index != node->log.base)
        return LILIO_E_NOT_FOUND;
    *ret_term = entry ? entry->term : node->log.base_term;
    return LILIO_OK;
}

static enum lilio_err view_read(void *context, uint64_t index, size_t count_max, size_t bytes_max,
                                struct raft_entry *ret_entries, size_t *ret_count)
{
    struct net_node *node = context;
    if (node->log_error)
        return node->log_error;
    if (!net_log_at(&node->log, index))
        return LILIO_E_NOT_FOUND;
    if (node->net->read_max && count_max > node->net->read_max)
        count_max = node->net->read_max;
    size_t count = 0, bytes = 0;
    for (const struct net_entry *entry; count < count_max; count++) {
        entry = net_log_at(&node->log, index + count);
        if (!entry || (count && bytes + entry->size > bytes_max))
            break;
        bytes += entry->size;
        ret_entries[count] = (struct raft_entry){.index = entry->index,
                                                 .term = entry->term,
                                                 .type = entry->type,
                                                 .data = base_slice(entry->data, entry->size)};
    }
    *ret_count = count;
    return LILIO_OK;
}

/* ---- carrying out ---- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static void append(struct net_node *node, const struct raft_entry *entries, size_t count)
{
    node->appends++;
    for (size_t i = 0; i < count; i++) {
        const struct raft_entry *from = &entries[i];
        if (from->index <= node->log.base || from->index > net_log_last(&node->log) + 1) {
            net_violate(node->net, "%lu appends %lu behind %lu", node->id, from->index,
                        net_log_last(&node->log));
            return;
        }
        struct net_entry entry = {.index = from->index,
                                  .term = from->term,
                                  .type = from->type,
                                  .size = (uint16_t)from->data.size};
        assert_true(from->data.size <= NET_DATA_MAX);
        if (entry.size)
            memcpy(entry.data, from->data.data, entry.size);
        uint64_t chain = 0;
        assert_true(net_log_chain(&node->log, entry.index - 1, &chain));
        chain = mix(mix(mix(chain, entry.index), entry.term), entry.type);
        for (size_t b = 0; b < entry.size; b++)
            chain = mix(chain, entry.data[b]);
        entry.chain = chain;
        net_check_append(node, &entry, entry.index <= net_log_last(&node->log));
        put(&node->log, &entry);
        push(&node->waiting, &entry);
    }
}

static void post(struct net *net, const struct raft_message *m, uint64_t at_ms)
{
    size_t bytes = 0;
    for (size_t i = 0; i < m->count; i++)
        bytes += m->entries[i].data.size;
    struct net_message *message =
        malloc(sizeof *message + m->count * sizeof *message->entries + bytes);
    assert_non_null(message);
    *message = (struct net_message){.at_ms = at_ms, .m = *m};
    message->entries = (struct raft_entry *)(message + 1);
    message->m.entries = message->entries;
    if (m->start_count)
        memcpy(message->starts, m->starts, m->start_count * sizeof *m->starts);
    message->m.starts = message->starts;
    uint8_t *data = (uint8_t *)(message->entries + m->count);
    for (size_t i = 0; i < m->count; i++) {
        message->entries[i] = m->entries[i];
        message->entries[i].data.data = data;
        if (m->entries[i].data.size)
            memcpy(data, m->entries[i].data.data, m->entries[i].data.size);
        data += m->entries[i].data.size;
    }
    struct net_message **at = &net->messages;
    while (*at && (*at)->at_ms <= at_ms)
        at = &(*at)->next;
    message->next = *at;
    *at = message;
    net->message_count++;
}

static void unpost(struct net *net, struct net_message **at)
{
    struct net_message *message = *at;
    *at = message->next;
    net->message_count--;
    free(message);
}

static void send(struct net_node *node, const struct raft_message *m)
{
    struct net *net = node->net;
    node->sends++;
    if (m->count > net->entries_most)
        net->entries_most = m->count;
    net_check_send(node, m);
    if (net->cut[m->from][m->to] || net_random(net, 100) < net->drop_percent)
        return;
    do
        post(net, m, net->now_ms + (net->delay_ms ? net_random(net, net->delay_ms) + 1 : 0));
    while (net_random(net, 100) < net->dup_percent);
}

static void apply(struct net_node *node, uint64_t index)
{
    struct net_state *state = &node->state;
    while (state->applied < index) {
        const struct net_entry *entry = net_log_at(&node->log, state->applied + 1);
        if (!entry) {
            net_violate(node->net, "%lu may apply %lu, which it does not hold", node->id,
                        state->applied + 1);
            return;
        }
        net_check_apply(node, entry);
        state->applied++;
        state->term = entry->term;
        state->chain = entry->chain;
        if (entry->type == RAFT_ENTRY_CONFIG) {
            state->config_index = entry->index;
            state->config_size = entry->size;
            memcpy(state->config, entry->data, entry->size);
        }
    }
    raft_applied(node->raft, index);
}

static void start_pull(struct net_node *node, uint64_t from)
{
    const struct net_node *source = net_node(node->net, from);
    node->pull = (struct net_pull){
        .under_way = true,
        .at_ms = node->net->now_ms + 1 + net_random(node->net, 100),
        .state = source->up ? source->state : (struct net_state){0},
    };
}

static void carry_out(struct net_node *node, const struct raft_action *action)
{
    switch (action->type) {
    case RAFT_DO_SAVE:
        if (action->save->term < node->saved.term ||
            (action->save->term == node->saved.term && node->saved.vote &&
             node->saved.vote != action->save->vote))
            net_violate(node->net, "%lu votes twice in term %lu", node->id, node->saved.term);
        node->saved = *action->save;
        break;
    case RAFT_DO_APPEND: append(node, action->entries, action->count); break;
    case RAFT_DO_SEND: send(node, &action->message); break;
    case RAFT_DO_COMMIT: apply(node, action->index); break;
    case RAFT_DO_READ: net_check_read(node, action); break;
    case RAFT_DO_ROLE: break;
    case RAFT_DO_SNAPSHOT: start_pull(node, action->from); break;
    case RAFT_DO_LEARN: node->learns++; break;
    case RAFT_DO_STOP:
        if (!node->older)
            net_violate(node->net, "%lu stops, and is no older copy", node->id);
        node->stopped = true;
        break;
    }
}

static void drain(struct net_node *node)
{
    struct raft_action action;
    for (;;) {
        while (node->up && raft_action_next(node->raft, &action)) {
            carry_out(node, &action);
            if (action.type == RAFT_DO_STOP)
                net_crash(node, 0);
            else if (node->crash_in && --node->crash_in == 0)
                net_crash(node, net_random(node->net, node->waiting.count + 1));
        }
        if (!node->up || node->net->lazy_disk || !node->waiting.count)
            break;
        net_persist(node, SIZE_MAX);
    }
    if (node->up)
        net_check_node(node);
}

void net_persist(struct net_node *node, size_t count)
{
    if (count > node->waiting.count)
        count = node->waiting.count;
    if (!node->up || !count)
        return;
    for (size_t i = 0; i < count; i++)
        put(&node->disk, &node->waiting.entries[i]);
    struct net_entry last = node->waiting.entries[count - 1];
    drop_front(&node->waiting, count);
    raft_persisted(node->raft, last.index, last.term);
    if (node->net->lazy_disk)
        drain(node);
}

/* ---- life ---- */

static void boot(struct net_node *node)
{
    struct net *net = node->net;
    struct proto_raft_config config = {0};
    struct lilio_errinfo info = {0};
    proto_arena_clear(net->arena);
    copy(&node->log, &node->disk);
    node->waiting.count = 0;
    node->state = node->flushed;
    node->pull.under_way = false;
    node->crash_in = 0;
    node->log_error = LILIO_OK;
    node->checked_commit = node->state.applied;
    node->leader_term = 0;
    if (node->state.config_size)
        assert_int_equal(
            proto_raft_config_unpack(base_slice(node->state.config, node->state.config_size),
                                     net->arena, &config, NULL),
            0);
    struct raft_options options = {
        .id = node->id,
        .log = {view_first, view_last, view_term, view_read, node},
        .saved = &node->saved,
        .commit = node->state.applied,
        .config = &config,
        .config_index = node->state.config_index,
        .seed = net_random(net, UINT64_MAX),
        .now_ms = net->now_ms,
    };
    if (raft_new(&options, &node->raft, &info)) {
        net_violate(net, "%lu does not start: %s", node->id, info.text);
        return;
    }
    node->started = node->up = true;
}

void net_crash(struct net_node *node, size_t kept)
{
    if (!node->up)
        return;
    for (size_t i = 0; i < kept; i++)
        put(&node->disk, &node->waiting.entries[i]);
    raft_free(&node->raft);
    node->up = false;
    for (size_t i = 0; i < node->net->read_count; i++) {
        struct net_read *read = &node->net->reads[i];
        if (read->node == node->id && !read->answer)
            read->answer = 3;
    }
}

void net_restart(struct net_node *node)
{
    net_crash(node, 0);
    boot(node);
}

void net_announce(struct net_node *node)
{
    const struct proto_raft_config *config = raft_config(node->raft, NULL, NULL);
    drain(node);
    for (int round = 0; round < 2 && !raft_announced(node->raft); round++)
        for (size_t i = 0; i < config->members_count; i++)
            if (config->members[i].id != node->id)
                assert_true(
                    net_receive(node, (struct raft_message){.type = RAFT_HELLO_REPLY,
                                                            .from = config->members[i].id,
                                                            .index = round ? node->saved.start : 0,
                                                            .commit = 1,
                                                            .sequence = node->saved.start_id,
                                                            .ok = true}));
    assert_true(raft_announced(node->raft));
}

void net_copy_make(const struct net_node *node, struct net_copy *ret)
{
    ret->saved = node->saved;
    ret->flushed = node->flushed;
    copy(&ret->disk, &node->disk);
}

void net_copy_put_back(struct net_node *node, const struct net_copy *from)
{
    assert_false(node->up);
    node->saved = from->saved;
    node->flushed = from->flushed;
    copy(&node->disk, &from->disk);
    node->older = true;
}

void net_copy_free(struct net_copy *copy)
{
    free(copy->disk.entries);
    *copy = (struct net_copy){0};
}

void net_start_blank(struct net *net, uint64_t id)
{
    boot(net_node(net, id));
}

void net_flush(struct net_node *node)
{
    if (node->up)
        node->flushed = node->state;
}

void net_cut_log(struct net_node *node, uint64_t index)
{
    if (index > node->flushed.applied)
        index = node->flushed.applied;
    cut(&node->log, index);
    cut(&node->disk, index);
    while (node->waiting.count && node->waiting.entries[0].index <= index)
        drop_front(&node->waiting, 1);
}

void net_start(struct net *net, size_t voters, uint64_t seed)
{
    *net = (struct net){.seed = seed, .now_ms = 1000, .truth_room = 1024, .read_room = 1024};
    assert_int_equal(proto_arena_new(&net->arena), 0);
    net->truth = calloc(net->truth_room, sizeof *net->truth);
    net->known = calloc(1u << 16, sizeof *net->known);
    net->reads = calloc(net->read_room, sizeof *net->reads);
    assert_true(net->truth && net->known && net->reads);
    struct proto_raft_member list[NET_NODES_MAX];
    for (size_t i = 0; i < voters; i++)
        list[i] = (struct proto_raft_member){.id = i + 1, .kind = RAFT_VOTER};
    struct proto_raft_config config = {.members = list, .members_count = voters};
    struct base_buffer packed = {0};
    assert_int_equal(proto_raft_config_pack(&config, &packed), 0);
    assert_true(packed.size <= NET_DATA_MAX);
    for (size_t i = 0; i < NET_NODES_MAX; i++) {
        struct net_node *node = &net->nodes[i];
        node->net = net;
        node->id = i + 1;
        if (i < voters) {
            node->flushed.config_size = (uint16_t)packed.size;
            memcpy(node->flushed.config, packed.data, packed.size);
            boot(node);
        }
    }
    base_buffer_release(&packed);
    net_step(net, 1);
}

void net_stop(struct net *net)
{
    net_forget(net);
    for (size_t i = 0; i < NET_NODES_MAX; i++) {
        struct net_node *node = &net->nodes[i];
        raft_free(&node->raft);
        free(node->log.entries);
        free(node->disk.entries);
        free(node->waiting.entries);
    }
    proto_arena_free(&net->arena);
    free(net->truth);
    free(net->known);
    free(net->reads);
}

void net_forget(struct net *net)
{
    while (net->messages)
        unpost(net, &net->messages);
}

bool net_take(struct net *net, enum raft_message_type type, uint64_t from, uint64_t to,
              struct raft_message *ret)
{
    for (struct net_message **at = &net->messages; *at; at = &(*at)->next) {
        const struct raft_message *m = &(*at)->m;
        if (m->type != type || (from && m->from != from) || (to && m->to != to))
            continue;
        *ret = *m;
        ret->entries = NULL;
        unpost(net, at);
        return true;
    }
    return false;
}

void net_isolate(struct net *net, uint64_t id, bool isolated)
{
    for (uint64_t other = 1; other <= NET_NODES_MAX; other++)
        net->cut[id][other] = net->cut[other][id] = isolated;
}

/* ---- time ---- */

static void deliver(struct net *net)
{
    struct net_message **at = &net->messages;
    while (*at && (*at)->at_ms <= net->now_ms) {
        struct net_message *message = *at;
        struct net_node *node = net_node(net, message->m.to);
        if (node->up && node->paused_until_ms > net->now_ms) {
            at = &message->next;
            continue;
        }
        *at = message->next;
        net->message_count--;
        if (node->up) {
            net->refused += !raft_receive(node->raft, &message->m);
            drain(node);
        }
        free(message);
        /* What follows may have been put before what is looked at. */
        at = &net->messages;
    }
}

static void finish_pull(struct net_node *node)
{
    struct net_state *state = &node->pull.state;
    struct proto_raft_config config = {0};
    node->pull.under_way = false;
    bool ok = state->applied && state->config_size &&
              (!node->net->drop_percent || net_random(node->net, 4)) &&
              raft_install_wanted(node->raft, state->applied, state->term);
    if (!ok) {
        raft_not_installed(node->raft);
        return;
    }
    proto_arena_clear(node->net->arena);
    assert_int_equal(proto_raft_config_unpack(base_slice(state->config, state->config_size),
                                              node->net->arena, &config, NULL),
                     0);
    node->net->snapshots++;
    node->state = node->flushed = *state;
    reset(&node->log, state);
    reset(&node->disk, state);
    node->waiting.count = 0;
    node->checked_commit = state->applied;
    if (raft_installed(node->raft, state->applied, state->term, &config, state->config_index, NULL))
        net_violate(node->net, "%lu does not take the state it wanted", node->id);
}

void net_step(struct net *net, uint64_t ms)
{
    net->now_ms += ms;
    for (size_t i = 0; i < NET_NODES_MAX; i++) {
        struct net_node *node = &net->nodes[i];
        if (!node->up || node->paused_until_ms > net->now_ms)
            continue;
        raft_tick(node->raft, net->now_ms);
        drain(node);
        if (node->up && node->pull.under_way && node->pull.at_ms <= net->now_ms) {
            finish_pull(node);
            drain(node);
        }
    }
    if (!net->hold)
        deliver(net);
}

void net_run(struct net *net, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++)
        net_step(net, 1);
}

uint64_t net_leader(struct net *net)
{
    uint64_t leader = 0, term = 0;
    for (size_t i = 0; i < NET_NODES_MAX; i++) {
        const struct net_node *node = &net->nodes[i];
        if (node->up && raft_role(node->raft) == RAFT_LEADER && raft_term(node->raft) >= term) {
            term = raft_term(node->raft);
            leader = node->id;
        }
    }
    return leader;
}

static bool agreed(struct net *net)
{
    uint64_t leader = net_leader(net);
    if (!leader || !raft_ready(net_node(net, leader)->raft))
        return false;
    const struct proto_raft_config *config = raft_config(net_node(net, leader)->raft, NULL, NULL);
    for (size_t i = 0; i < config->members_count; i++) {
        const struct net_node *node = net_node(net, config->members[i].id);
        if (node->up && config->members[i].kind == RAFT_VOTER && !net->cut[leader][node->id] &&
            raft_leader(node->raft) != leader)
            return false;
    }
    return true;
}

uint64_t net_elect(struct net *net)
{
    for (int i = 0; i < 10000 && !agreed(net); i++)
        net_step(net, 1);
    return agreed(net) ? net_leader(net) : 0;
}

/* ---- events ---- */

enum lilio_err net_propose(struct net_node *node)
{
    uint64_t value = ++node->net->proposed, index = 0;
    enum lilio_err err = raft_propose(node->raft, base_slice(&value, sizeof value), &index);
    drain(node);
    return err;
}

size_t net_read(struct net_node *node)
{
    struct net *net = node->net;
    if (net->read_count == net->read_room) {
        net->read_room *= 2;
        net->reads = realloc(net->reads, net->read_room * sizeof *net->reads);
        assert_non_null(net->reads);
    }
    size_t place = net->read_count++;
    net->reads[place] = (struct net_read){.committed = net->truth_last, .node = node->id};
    enum lilio_err err = raft_read(node->raft, place + 1);
    if (err)
        net->reads[place].answer = 2;
    drain(node);
    return err ? SIZE_MAX : place;
}

enum lilio_err net_change(struct net_node *node, enum raft_change change, uint64_t id)
{
    struct proto_raft_member member = {.id = id};
    uint64_t index;
    enum lilio_err err = raft_change(node->raft, change, &member, &index, NULL);
    drain(node);
    return err;
}

enum lilio_err net_transfer(struct net_node *node, uint64_t to)
{
    enum lilio_err err = raft_transfer(node->raft, to);
    drain(node);
    return err;
}

bool net_receive(struct net_node *node, struct raft_message message)
{
    message.to = message.to ? message.to : node->id;
    bool ok = raft_receive(node->raft, &message);
    drain(node);
    return ok;
}
