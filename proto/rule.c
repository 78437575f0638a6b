#include "proto/rule_priv.h"

#include "codec/codec.h"

#include "base/banned.h"

enum { LEVEL_OSD = 3, LIMIT_MAX = CODEC_TOTAL_MAX };

static const char *const level_names[] = {"zone", "rack", "host", "osd"};

enum lilio_err proto_rule_parse(struct base_slice text, struct proto_rule *ret,
                                struct lilio_errinfo *info)
{
    for (unsigned level = 0; level <= LEVEL_OSD; level++) {
        size_t length = strlen(level_names[level]);
        if (text.size <= length + 1 || memcmp(text.data, level_names[level], length) != 0 ||
            text.data[length] != ':')
            continue;
        unsigned limit = 0;
        for (size_t i = length + 1; i < text.size; i++) {
            if (text.data[i] < '0' || text.data[i] > '9' || limit > LIMIT_MAX)
                return lilio_fail(info, LILIO_E_INVALID, "placement rule: the limit is 1..%d",
                                  LIMIT_MAX);
            limit = limit * 10 + (text.data[i] - '0');
        }
        if (limit < 1 || limit > LIMIT_MAX || (level == LEVEL_OSD && limit != 1))
            return lilio_fail(info, LILIO_E_INVALID,
                              "placement rule: the limit is 1..%d, and 1 on level osd", LIMIT_MAX);
        *ret = (struct proto_rule){level, limit};
        return LILIO_OK;
    }
    return lilio_fail(info, LILIO_E_INVALID,
                      "placement rule: want zone, rack, host or osd, a colon and a limit");
}

const char *proto_rule_level_name(const struct proto_rule *rule)
{
    return level_names[rule->level];
}

bool proto_rule_label(const struct proto_rule *rule, const struct proto_osd *osd,
                      struct base_slice *ret)
{
    unsigned slashes = 0;
    for (size_t i = 0; i < osd->domain.size; i++)
        if (osd->domain.data[i] == '/' && slashes++ == rule->level) {
            *ret = base_slice(osd->domain.data, i);
            return true;
        }
    *ret = osd->domain;
    return osd->domain.size > 0 && slashes == rule->level;
}

bool proto_rule_same_domain(const struct proto_rule *rule, const struct proto_osd *a,
                            const struct proto_osd *b)
{
    struct base_slice x, y;
    if (a->id == b->id)
        return true;
    return proto_rule_label(rule, a, &x) && proto_rule_label(rule, b, &y) && base_slice_equal(x, y);
}
