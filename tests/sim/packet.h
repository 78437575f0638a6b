/* A message on its way: the bytes of its frames, shared by all who hold one of them. */
#ifndef TESTS_SIM_PACKET_H
#define TESTS_SIM_PACKET_H

#include "base/types.h"

enum { SIM_PACKET_FRAMES_MAX = 8 };

struct sim_packet {
    unsigned refs;
    int count;
    size_t total;
    struct base_slice frames[SIM_PACKET_FRAMES_MAX];
    void *apart; /* the last frame, page-aligned, if it is a payload */
    uint8_t bytes[];
};
/* Copies the frames; the third of three is a payload, which starts on a page. NULL without memory.
 */
struct sim_packet *sim_packet_new(const struct base_slice *frames, int count);
struct sim_packet *sim_packet_ref(struct sim_packet *packet);
void sim_packet_unref(struct sim_packet *packet); /* NULL is fine */

#endif
