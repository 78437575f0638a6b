/* Raft's five properties (Ongaro figure 3.2), and what lilio adds, checked at every event:
 * election safety, a leader's log only grows, logs that agree in an entry agree in all before it,
 * a leader holds what earlier terms committed, one entry is applied at an index; reads see what was
 * committed before they were asked; nothing is sent that was not saved, nothing committed that is
 * not durable on a majority; the configuration is the newest one in the log. */
#include "raft_net.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

enum { KNOWN = 1 << 16 };

void net_violate(struct net *net, const char *format, ...)
{
    va_list args;
    if (net->violation[0])
        return;
    va_start(args, format);
    vsnprintf(net->violation, sizeof net->violation, format, args);
    va_end(args);
}

void net_check_append(struct net_node *node, const struct net_entry *entry, bool replaces)
{
    struct net *net = node->net;
    if (replaces && raft_role(node->raft) == RAFT_LEADER)
        net_violate(net, "leader %lu replaces its entry %lu", node->id, entry->index);
    net->truncations += replaces;
    /* Log matching: the same (index, term) has the same history everywhere, for ever. */
    size_t at = (entry->index * 0x9e3779b1u ^ entry->term * 0x85ebca6bu) % KNOWN;
    while (net->known[at].index &&
           (net->known[at].index != entry->index || net->known[at].term != entry->term))
        at = (at + 1) % KNOWN;
    if (!net->known[at].index)
        net->known[at] = (struct net_known){entry->index, entry->term, entry->chain};
    else if (net->known[at].chain != entry->chain)
        net_violate(net, "entry %lu of term %lu has two histories", entry->index, entry->term);
}

void net_check_send(struct net_node *node, const struct raft_message *m)
{
    const struct raft_vote *saved = &node->saved;
    /* What is only asked, or answered to such a question, names a term nobody took yet (9.6). */
    bool asked = m->type == RAFT_PRE_VOTE || (m->type == RAFT_PRE_VOTE_REPLY && m->ok);
    if (m->term > saved->term && !asked)
        net_violate(node->net, "%lu sends in term %lu, saved is %lu", node->id, m->term,
                    saved->term);
    if (m->type == RAFT_VOTE_REPLY && m->ok && (m->term != saved->term || m->to != saved->vote))
        net_violate(node->net, "%lu sends a vote that is not saved", node->id);
    if (m->type == RAFT_HELLO &&
        (m->index != saved->start || m->sequence != saved->start_id || (m->commit && !saved->told)))
        net_violate(node->net, "%lu sends a start that is not saved", node->id);
    bool promises = ((m->type == RAFT_VOTE_REPLY || m->type == RAFT_PRE_VOTE_REPLY) && m->ok) ||
                    m->type == RAFT_VOTE || m->type == RAFT_PRE_VOTE || m->type == RAFT_APPEND ||
                    (m->type == RAFT_APPEND_REPLY && !m->uncounted);
    if (promises && (node->older || !saved->told))
        net_violate(node->net, "%lu makes a promise before its start is known", node->id);
    if (m->count > RAFT_SEND_ENTRIES_MAX || m->from != node->id || !m->to || m->to == node->id ||
        m->to > NET_NODES_MAX)
        net_violate(node->net, "%lu sends nonsense", node->id);
}

static void truth_extend(struct net_node *node, uint64_t index)
{
    struct net *net = node->net;
    const struct net_entry *entry = net_log_at(&node->log, index);
    if (!entry) {
        if (index > node->log.base)
            net_violate(net, "%lu commits %lu, which it does not hold", node->id, index);
        return;
    }
    if (index > net->truth_last) {
        if (index >= net->truth_room) {
            net->truth_room *= 2;
            net->truth = realloc(net->truth, net->truth_room * sizeof *net->truth);
            assert_non_null(net->truth);
        }
        net->truth_last = index;
        net->truth[index] = (struct net_truth){entry->term, entry->chain, raft_term(node->raft)};
    }
    if (net->truth[index].chain != entry->chain)
        net_violate(net, "%lu commits another entry at %lu", node->id, index);
}

void net_check_apply(struct net_node *node, const struct net_entry *entry)
{
    struct net *net = node->net;
    if (entry->index > raft_commit(node->raft))
        net_violate(net, "%lu applies %lu uncommitted", node->id, entry->index);
    if (entry->index > net_log_last(&node->disk))
        net_violate(net, "%lu applies %lu, which is not durable", node->id, entry->index);
    truth_extend(node, entry->index);
}

void net_check_read(struct net_node *node, const struct raft_action *action)
{
    struct net *net = node->net;
    if (!action->token || action->token > net->read_count) {
        net_violate(net, "%lu answers a read that nobody asked", node->id);
        return;
    }
    struct net_read *read = &net->reads[action->token - 1];
    if (read->answer)
        net_violate(net, "%lu answers a read twice", node->id);
    read->answer = action->ok ? 1 : 2;
    read->index = action->index;
    if (action->ok && action->index < read->committed)
        net_violate(net, "%lu reads at %lu, but %lu was committed before", node->id, action->index,
                    read->committed);
}

static void check_leader(struct net_node *node)
{
    struct net *net = node->net;
    uint64_t term = raft_term(node->raft), chain = 0;
    if (term >= NET_TERMS_MAX) {
        if (!net->far_terms)
            net_violate(net, "terms run away");
        return;
    }
    if (node->leader_term == term)
        return;
    node->leader_term = term;
    net->elections++;
    if (net->leaders[term] && net->leaders[term] != node->id)
        net_violate(net, "%lu and %lu lead in term %lu", net->leaders[term], node->id, term);
    net->leaders[term] = node->id;
    uint64_t index = net->truth_last;
    while (index && net->truth[index].commit_term >= term)
        index--;
    if (index > node->log.base &&
        (!net_log_chain(&node->log, index, &chain) || chain != net->truth[index].chain))
        net_violate(net, "leader %lu of term %lu misses committed entry %lu", node->id, term,
                    index);
}

/* What a leader commits is durable on a majority of its voters, itself included only if it is. */
static void check_durable(struct net_node *node, uint64_t index)
{
    const struct proto_raft_config *config = raft_config(node->raft, NULL, NULL);
    size_t voters = 0, durable = 0;
    uint64_t expected, chain;
    if (!net_log_chain(&node->log, index, &expected))
        return;
    for (size_t i = 0; i < config->members_count; i++) {
        if (config->members[i].kind != RAFT_VOTER)
            continue;
        const struct net_log *disk = &net_node(node->net, config->members[i].id)->disk;
        voters++;
        durable += disk->base > index || (net_log_chain(disk, index, &chain) && chain == expected);
    }
    if (durable <= voters / 2)
        net_violate(node->net, "leader %lu commits %lu, durable on %lu of %lu", node->id, index,
                    durable, voters);
}

/* The newest configuration of the log, else that of the state machine. */
static void check_config(struct net_node *node)
{
    uint64_t index, expected = node->state.config_index;
    for (size_t i = node->log.count; i > 0; i--)
        if (node->log.entries[i - 1].type == RAFT_ENTRY_CONFIG) {
            if (node->log.entries[i - 1].index > expected)
                expected = node->log.entries[i - 1].index;
            break;
        }
    (void)raft_config(node->raft, &index, NULL);
    if (index != expected)
        net_violate(node->net, "%lu uses configuration %lu, its log says %lu", node->id, index,
                    expected);
}

void net_check_node(struct net_node *node)
{
    uint64_t commit = raft_commit(node->raft);
    if (commit < node->checked_commit)
        net_violate(node->net, "%lu takes its commit index back", node->id);
    for (uint64_t i = node->checked_commit + 1; i <= commit; i++)
        truth_extend(node, i);
    if (raft_role(node->raft) == RAFT_LEADER && commit > node->checked_commit)
        check_durable(node, commit);
    node->checked_commit = commit;
    if (raft_role(node->raft) == RAFT_LEADER)
        check_leader(node);
    check_config(node);
}
