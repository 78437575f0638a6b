/* Sets of slots: what an OSD had at some time. */
#ifndef CLIENT_SLOTS_H
#define CLIENT_SLOTS_H

#include "client/lilio.h"
#include "proto/placement.h"

/* Whether fragment index of a stripe of the run is in one of them. */
bool client_slots_have(const struct lilio_slot_set *set, const struct proto_data_row *row,
                       uint32_t stripe, uint32_t index);

#endif
