/* Whether one key's history could have happened on a register that does one thing at a time.
 *
 * Sound and complete: a history is refused exactly when no order of its operations that keeps real
 * time explains every answer. Operations whose outcome is unknown may take effect at any time after
 * they began, or never.
 *
 * Method (just-in-time linearization, Lowe 2017, after Wing and Gong 1993): the events are swept in
 * order with the set of all configurations that explain what was answered so far, a configuration
 * being the value that is there and which of the operations under way have had their effect. When
 * an operation ends, each configuration in which it had none is extended by the operations under
 * way, in all ways that end with it. What only looks (gets, refused conditions) is done as soon as
 * it is satisfied. Values are written once, so an unknown write that somebody saw is under way
 * until then; those that nobody saw can replace each other and are only counted, and a
 * configuration that used fewer of them makes those that used more superfluous.
 */
#ifndef TESTS_SIM_LINEAR_H
#define TESTS_SIM_LINEAR_H

#include "tests/sim/history.h"

enum sim_verdict {
    SIM_LINEAR,
    SIM_NOT_LINEAR,
    SIM_UNDECIDED, /* more than SIM_CONFIGS_MAX configurations, or too much under way */
};
enum {
    SIM_CONFIGS_MAX = 200000,
    SIM_UNDER_WAY_MAX = 64,
};
struct sim_linear_report {
    enum sim_verdict verdict;
    size_t place;        /* of the operation whose answer nothing explains */
    size_t configs_peak; /* how much there was to keep */
    char text[4096];     /* that operation, what could have been there, what was under way */
};
void sim_linear_check(const struct sim_history *history, uint32_t key,
                      struct sim_linear_report *ret);
/* All keys; the first one that is not linear, else the first undecided one. */
void sim_linear_check_all(const struct sim_history *history, struct sim_linear_report *ret);

#endif
