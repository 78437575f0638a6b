/* What the maps count of damage is what their rows say: histogram, repair rows, queue, levels. */
#ifndef TESTS_SIM_CHECK_COUNTS_H
#define TESTS_SIM_CHECK_COUNTS_H

#include "coordinator/state.h"

/* Of a state that is committed. False, with a sentence, when they differ; what cannot be read is
 * not compared. */
bool check_counts_agree(struct base_kv *kv, struct coord_state *state, char ret_text[256]);

#endif
