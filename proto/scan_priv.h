/* The pre-scan of packed bytes, before msgpack-c may see them. Pure; any thread. For proto/pack.c
 * and its tests. */
#ifndef PROTO_SCAN_PRIV_H
#define PROTO_SCAN_PRIV_H

#include "base/err.h"
#include "base/types.h"

/* True when bytes are exactly one msgpack value made of unsigned and signed integers, booleans,
 * strings, binaries and arrays, nested at most PROTO_DEPTH_MAX deep, of at most PROTO_ELEMENTS_MAX
 * objects, every length covered by bytes that are there. Errors: MALFORMED, TOO_BIG (too many
 * objects). */
LILIO_MUST_USE enum lilio_err proto_scan(struct base_slice bytes, struct lilio_errinfo *info);

#endif
