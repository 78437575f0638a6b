/* The rule of failure domains ("host:1") and the domains of OSDs under it. For proto/placement.c
 * and proto/moves.c. */
#ifndef PROTO_RULE_PRIV_H
#define PROTO_RULE_PRIV_H

#include "proto/messages.h"

struct proto_rule {
    unsigned level; /* 0 zone, 1 rack, 2 host, 3 osd */
    unsigned limit; /* fragments one domain of that level may hold */
};
/* Errors: INVALID. */
LILIO_MUST_USE enum lilio_err proto_rule_parse(struct base_slice text, struct proto_rule *ret,
                                               struct lilio_errinfo *info);
const char *proto_rule_level_name(const struct proto_rule *rule);
/* The labels down to the level ("z1/r2" for rack). False when the OSD has fewer: then it is a
 * domain by itself. */
bool proto_rule_label(const struct proto_rule *rule, const struct proto_osd *osd,
                      struct base_slice *ret);
/* Whether both are in one domain. */
bool proto_rule_same_domain(const struct proto_rule *rule, const struct proto_osd *a,
                            const struct proto_osd *b);

#endif
