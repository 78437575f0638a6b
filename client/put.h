/* What others need to know of puts. */
#ifndef CLIENT_PUT_H
#define CLIENT_PUT_H

#include "client/client_priv.h"

/* Durable fragments every stripe of a put needs: the bucket's own, else data_count + 1, without
 * parity data_count. */
uint32_t client_quorum(const struct codec_profile *profile, uint32_t bucket_quorum);

#endif
