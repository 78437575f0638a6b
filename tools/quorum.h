/* What a status says about the coordinators as a quorum: who counts, who lives, what one more loss
 * would do. One thread. */
#ifndef TOOLS_QUORUM_H
#define TOOLS_QUORUM_H

#include "client/lilio.h"
#include "tools/out.h"

/* A coordinator that the leader has not heard for so long is not counted on. */
enum { TOOLS_QUORUM_SILENT_MS = 3000, TOOLS_QUORUM_NAMES = 200 };

bool tools_quorum_leads(const struct lilio_coordinator *coordinator);
bool tools_quorum_votes(const struct lilio_coordinator *coordinator);
bool tools_quorum_lives(const struct lilio_coordinator *coordinator);
/* The leader is too new to say whether it lives. */
bool tools_quorum_unheard(const struct lilio_coordinator *coordinator);
/* "leader", "follower" or "learner". */
const char *tools_quorum_role(const struct lilio_coordinator *coordinator);
/* NULL: nobody leads. */
const struct lilio_coordinator *tools_quorum_leader(const struct lilio_status *status);
/* The newest incarnation of that number among the voters, or among the learners; NULL = none. */
const struct lilio_coordinator *tools_quorum_voter(const struct lilio_status *status, uint32_t id);
const struct lilio_coordinator *tools_quorum_learner(const struct lilio_status *status,
                                                     uint32_t id);

/* Asks a coordinator itself for what the leader does not know of it (applied, commit, uptime, log,
 * trouble) and fills that in. False: it does not answer. */
bool tools_quorum_ask(struct lilio_client *client, struct lilio_coordinator *coordinator);

struct tools_quorum {
    size_t voters, living;
};
/* Those of the status without coordinator `without` (UINT32_MAX = with all). */
struct tools_quorum tools_quorum_count(const struct lilio_status *status, uint32_t without);
/* Likewise, but who counts as living is asked, too: the leader notices a death only later. Names
 * those that do not live in ret_silent. */
struct tools_quorum tools_quorum_count_asked(struct lilio_client *client,
                                             const struct lilio_status *status, uint32_t without,
                                             char ret_silent[TOOLS_QUORUM_NAMES]);
bool tools_quorum_decides(struct tools_quorum quorum);

/* One line per coordinator that is silent, and one when a single loss more stops the cluster. */
void tools_quorum_warn(struct tools_out *out, const struct lilio_status *status);
cJSON *tools_quorum_json(const struct lilio_coordinator *coordinator);

#endif
