/* What users write on the command line, checked before anything is contacted: sizes, durations,
 * ranges, versions, names, profiles, OSD ids. Pure code; any thread. Every function answers INVALID
 * with a sentence that says what is allowed. */
#ifndef TOOLS_PARSE_H
#define TOOLS_PARSE_H

#include "client/lilio.h"

enum {
    TOOLS_BUCKET_MAX = 63, /* bytes of a bucket name */
    TOOLS_KEY_MAX = 1024,  /* bytes of a key */
    TOOLS_OSDS_MAX = 1024, /* OSDs of one local cluster */
};

/* "4096", "64KiB", "4MiB", "1GiB", "2TiB", and powers of ten: "1KB", "1MB", "1GB", "1TB". */
LILIO_MUST_USE enum lilio_err tools_parse_size(const char *text, uint64_t *ret,
                                               struct lilio_errinfo *info);
/* "250ms", "10s", "5m", "1h", "2d", or a plain number of seconds -> milliseconds. */
LILIO_MUST_USE enum lilio_err tools_parse_duration(const char *text, uint64_t *ret_ms,
                                                   struct lilio_errinfo *info);
/* "FIRST-LAST", "FIRST-" or "-COUNT"; bytes count from 0, LAST is included. */
LILIO_MUST_USE enum lilio_err tools_parse_range(const char *text, struct lilio_range *ret,
                                                struct lilio_errinfo *info);
/* "INDEX.ORDINAL", as put and stat print it. */
LILIO_MUST_USE enum lilio_err tools_parse_version(const char *text, struct lilio_version *ret,
                                                  struct lilio_errinfo *info);
/* A decimal number within least..most; what names it in the error. */
LILIO_MUST_USE enum lilio_err tools_parse_number(const char *text, const char *what, uint64_t least,
                                                 uint64_t most, uint64_t *ret,
                                                 struct lilio_errinfo *info);
/* "3" or "osd.3". */
LILIO_MUST_USE enum lilio_err tools_parse_osd(const char *text, uint32_t *ret,
                                              struct lilio_errinfo *info);
/* "1" or "coordinator.1". */
LILIO_MUST_USE enum lilio_err tools_parse_coordinator(const char *text, uint32_t *ret,
                                                      struct lilio_errinfo *info);
/* "4+2"; fragment_size stays 0, the default. */
LILIO_MUST_USE enum lilio_err tools_parse_profile(const char *text, struct lilio_profile *ret,
                                                  struct lilio_errinfo *info);
/* "HOST:PORT"; an address of IPv6 stands in brackets, which are left off. */
LILIO_MUST_USE enum lilio_err tools_parse_listen(const char *text, char ret_host[256],
                                                 uint32_t *ret_port, struct lilio_errinfo *info);

/* A name in the store: borrowed key, copied bucket. */
struct tools_name {
    char bucket[TOOLS_BUCKET_MAX + 1];
    const char *key; /* "" when only a bucket was given */
};
LILIO_MUST_USE enum lilio_err tools_parse_bucket(const char *text, struct tools_name *ret,
                                                 struct lilio_errinfo *info);
/* "BUCKET/KEY": the first slash ends the bucket, everything behind it is the key. */
LILIO_MUST_USE enum lilio_err tools_parse_object(const char *text, struct tools_name *ret,
                                                 struct lilio_errinfo *info);
/* "BUCKET" or "BUCKET/PREFIX"; the prefix may be empty. */
LILIO_MUST_USE enum lilio_err tools_parse_prefix(const char *text, struct tools_name *ret,
                                                 struct lilio_errinfo *info);

#endif
