/* Which inproc names are served in a context. ZeroMQ lets a socket connect to a name that nobody
 * serves, reports it writable, and never reconnects it; with this table a channel connects when
 * there is a server, and again when there is another one. For proto/transport.c. */
#ifndef PROTO_INPROC_PRIV_H
#define PROTO_INPROC_PRIV_H

#include <pthread.h>

#include "base/err.h"
#include "base/types.h"

struct proto_inproc_name;
struct proto_inproc {
    pthread_mutex_t
        lock; /* guards names, and the binds and connects of inproc endpoints against each other */
    struct proto_inproc_name *names;
    uint64_t last_generation;
};
void proto_inproc_init(struct proto_inproc *table);
void proto_inproc_release(struct proto_inproc *table);
/* The caller holds the lock for all three. add answers NOMEM; find 0 when nobody serves the name.
 */
LILIO_MUST_USE enum lilio_err proto_inproc_add(struct proto_inproc *table, const char *endpoint);
void proto_inproc_remove(struct proto_inproc *table, const char *endpoint);
uint64_t proto_inproc_find(const struct proto_inproc *table, const char *endpoint);

#endif
