/* Raft's five properties (Ongaro14 figure 3.2) and what follows from them, checked event by event
 * over all members that ever were:
 *
 *  - election safety: one leader in a term
 *  - leader append-only: a leader's log only grows
 *  - log matching: an entry of one index and term has one content and one predecessor
 *  - leader completeness: a leader has all that was committed in earlier terms
 *  - state machine safety: every member applies the same at an index
 *  - a member's commit index and term never go back, what is committed is never replaced, nothing
 *    is applied that is not committed, and what was said to be durable is there after a restart,
 *    the vote too
 *  - what a leader commits is of its own term and durable on a majority of the voters (3.6.2)
 *  - the configuration in use is an entry of the log (4.1)
 *  - a read sees all that was committed anywhere before it was asked for (6.4)
 *
 * Pure: events go in; each answers false when something is wrong, with a sentence in text. Members
 * are named by their raft ids, so a member that lost its disk is another one.
 */
#ifndef TESTS_SIM_CHECK_RAFT_H
#define TESTS_SIM_CHECK_RAFT_H

#include "coordinator/raft/raft.h"

struct check_raft;

struct check_raft *check_raft_new(void);
void check_raft_free(struct check_raft **check);
const char *check_raft_text(const struct check_raft *check);

/* A process opened its log. damaged: its disk was harmed, so entries may be missing. */
bool check_raft_opened(struct check_raft *check, uint64_t member, const struct raft_log_view *log,
                       bool damaged);
bool check_raft_appended(struct check_raft *check, uint64_t member,
                         const struct raft_entry *entries, size_t count);
/* A read waits for its index; what was committed anywhere before it was asked for has to be seen.
 */
void check_raft_read_asked(struct check_raft *check, uint64_t member, uint64_t token);
/* ok: it may be answered once index is applied. */
bool check_raft_read_decided(struct check_raft *check, uint64_t member, uint64_t token,
                             uint64_t index, bool ok);
/* A pulled state was installed: the log is empty behind (index, term). */
bool check_raft_reset(struct check_raft *check, uint64_t member, uint64_t index, uint64_t term);
bool check_raft_persisted(struct check_raft *check, uint64_t member, uint64_t index, uint64_t term);
/* Its term and vote were saved; a process starts with them. */
bool check_raft_saved(struct check_raft *check, uint64_t member, uint64_t term, uint64_t vote);
bool check_raft_started(struct check_raft *check, uint64_t member, uint64_t term, uint64_t vote,
                        bool damaged);
/* The members that it goes by are those of this entry; asked when everything that the core wants
 * in the log is there. */
bool check_raft_configured(struct check_raft *check, uint64_t member, uint64_t index);
/* A leader counts everything up to commit as committed (which may be ahead of what it lets apply).
 * No voters: they are being changed, nothing is said of them. */
bool check_raft_counted(struct check_raft *check, uint64_t member, uint64_t term, uint64_t commit,
                        const uint64_t *voters, size_t count);
/* Where the member stands now; cheap when nothing changed. */
bool check_raft_looked(struct check_raft *check, uint64_t member, uint64_t term, bool leads,
                       uint64_t commit);
/* digest: of the commands; the same on every member. */
bool check_raft_applied(struct check_raft *check, uint64_t member, uint64_t index, uint64_t term,
                        uint64_t digest);
/* The maps of a member have this digest after index. */
bool check_raft_maps(struct check_raft *check, uint64_t member, uint64_t index, uint64_t digest);

/* The process is gone: it leads no more. */
void check_raft_stopped(struct check_raft *check, uint64_t member);
uint64_t check_raft_committed(const struct check_raft *check);
/* Terms that had a leader. */
uint64_t check_raft_leaders(const struct check_raft *check);

#endif
