/* Reply buffers: what a fragment is read into and sent from, without a copy. Three size classes, so
 * that small objects do not take the memory of large ones.
 *
 * A buffer is given back by ZeroMQ when its bytes have left, from any thread, so the buffers
 * outlive the proto_context they are sent through. */
#ifndef OSD_BUFFERS_H
#define OSD_BUFFERS_H

#include "osd/limits.h"

struct osd_buffers;

LILIO_MUST_USE enum lilio_err osd_buffers_new(struct osd_buffers **ret_buffers);
/* All buffers must be back: free the proto_context first. */
void osd_buffers_free(struct osd_buffers **buffers);

/* Room for payload_bytes as osd_store's get wants it, 4096-aligned; *ret_room says how much. NULL
 * if none is free (any thread). */
uint8_t *osd_buffers_take(struct osd_buffers *buffers, size_t payload_bytes, size_t *ret_room,
                          void **ret_hint);
/* A proto_payload release: data is ignored, hint is the buffer's. Any thread. */
void osd_buffers_release(void *data, void *hint);

#endif
