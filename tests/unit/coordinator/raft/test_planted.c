/* Aim: the randomized test is able to fail.
 * Method: the core compiled with its planted bugs; each is switched on alone, and some seed of
 * raft_chaos.c has to break a property within SEEDS_MAX.
 */
#include "raft_net.h"

#include "base/planted.h"

#include "base/banned.h"

enum { SEEDS_MAX = 2000 };

static const char *planted = "";

bool lilio_planted(const char *name)
{
    return strcmp(name, planted) == 0;
}

static void is_found(void **name)
{
    static struct net net;
    uint64_t seed = 1;
    planted = *name;
    for (bool found = false; !found; seed++) {
        assert_true(seed <= SEEDS_MAX);
        const char *violation = chaos_run(&net, seed);
        found = violation[0];
        if (found)
            print_message("%s: seed %lu: %s\n", planted, seed, violation);
        net_stop(&net);
    }
}

int main(void)
{
#define PLANTED(name)                    \
    {                                    \
        name, is_found, NULL, NULL, name \
    }
    const struct CMUnitTest tests[] = {
        PLANTED("commit_old_term"),
        PLANTED("ack_stale_suffix"),
        PLANTED("ack_before_sync"),
        PLANTED("stale_read_deposed"),
        PLANTED("config_kept_after_truncation"),
        PLANTED("vote_before_announced"),
        PLANTED("ack_before_announced"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
