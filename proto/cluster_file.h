/* lilio.yaml: addresses, default profile and local paths of a cluster
 * (docs/decisions/0001-shapes.md shows one). Read by clients and daemons, written by `lilio-ec up`.
 * Any thread; no state. */
#ifndef PROTO_CLUSTER_FILE_H
#define PROTO_CLUSTER_FILE_H

#include "base/err.h"
#include "base/types.h"
#include "codec/codec.h"

/* Where the file says nothing. */
enum {
    PROTO_SUSPECT_MS = 3000, /* or down_ms, if that is less */
    PROTO_DOWN_MS = 10000,
    PROTO_OUT_MS = 600000,
    PROTO_ORPHAN_RETENTION_MS = 86400000,
    PROTO_SCRUB_LIGHT_MS = 86400000,
    PROTO_SCRUB_DEEP_MS = 14 * 86400000,
};

struct proto_cluster_node {
    uint32_t id;
    char *endpoint; /* ZeroMQ endpoint, ipc paths made absolute */
    char *peer; /* coordinators: endpoint for each other, ipc paths made absolute. Not in the file:
                   for ipc "NAME.peer.sock" beside "NAME.sock", for tcp NULL, as for OSDs. */
    char *dir;  /* absolute; NULL if the file names none (a node on another host) */
};
struct proto_cluster_file {
    char *path, *folder; /* absolute */
    struct base_uuid cluster_id;
    struct codec_profile default_profile;
    uint64_t gc_grace_ms;
    /* An OSD silent for so long is suspect, down and out; each at least the one before; 0 =
     * default.
     */
    uint64_t suspect_ms, down_ms, out_ms;
    uint64_t orphan_retention_ms;           /* how long fragments of dead puts stay in quarantine */
    uint64_t scrub_light_ms, scrub_deep_ms; /* a round once in so long; 0 = only when asked for */
    bool insecure;                          /* addresses beyond loopback were asked for */
    char *run_dir, *log_dir;                /* absolute */
    struct proto_cluster_node *coordinators, *osds;
    size_t coordinator_count, osd_count;
};
/* Errors: NOT_FOUND, IO, CONFIG (says line and what is wrong), NOMEM. *ret is zeroed on failure. */
LILIO_MUST_USE enum lilio_err proto_cluster_file_load(const char *path,
                                                      struct proto_cluster_file *ret,
                                                      struct lilio_errinfo *info);
/* Replaces the file at file->path durably; paths below the folder are written relative to it. */
LILIO_MUST_USE enum lilio_err proto_cluster_file_save(const struct proto_cluster_file *file,
                                                      struct lilio_errinfo *info);
void proto_cluster_file_release(struct proto_cluster_file *file);
/* NULL if there is none. */
const struct proto_cluster_node *proto_cluster_osd(const struct proto_cluster_file *file,
                                                   uint32_t id);
const struct proto_cluster_node *proto_cluster_coordinator(const struct proto_cluster_file *file,
                                                           uint32_t id);

#endif
