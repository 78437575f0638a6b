/* Fragment buffers of puts: page-aligned, from huge pages, counted, because ZeroMQ still holds one
 * while it is on its way and the put may have to send it again. take belongs to one thread; share
 * and drop may be called from any. */
#ifndef CLIENT_FRAGS_H
#define CLIENT_FRAGS_H

#include "base/err.h"
#include "base/types.h"

struct client_frags;

/* count buffers of bytes each (a multiple of 64). Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err client_frags_new(size_t bytes, size_t count,
                                               struct client_frags **ret_frags);
/* The memory goes when the last buffer is back. */
void client_frags_free(struct client_frags **frags);
/* True if the pool has at least count buffers of at least bytes. */
bool client_frags_fit(const struct client_frags *frags, size_t bytes, size_t count);
/* NULL if all are in use. */
void *client_frags_take(struct client_frags *frags);
void client_frags_share(struct client_frags *frags, void *data);
void client_frags_drop(struct client_frags *frags, void *data);
/* As proto_payload.release; hint is the pool. */
void client_frags_release(void *data, void *hint);

#endif
