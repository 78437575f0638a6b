/* The file is read into a YAML tree by base/config.c, which bounds its size, and taken over field
 * by field here. Every complaint names the file and the line. Paths are kept absolute in memory and
 * relative in the file, so that a cluster's folder can be moved. */
#include "proto/cluster_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/config.h"
#include "base/env.h"
#include "proto/endpoint_priv.h"

#include "base/banned.h"

enum {
    FILE_FORMAT = 1,
    NODE_ID_MAX = 1023,
    COORDINATORS_MAX = 16,
    OSDS_MAX = 1024,
    ENDPOINT_BYTES_MAX = 255, /* as in the cluster map */
    GC_GRACE_MS_DEFAULT = 3600000,
    FILE_MODE = 0644,
};
static const char ipc_prefix[] = "ipc://";

struct loader {
    struct proto_cluster_file *file;
    struct lilio_errinfo *info;
};

static enum lilio_err complain(const struct loader *loader, const struct base_yaml_node *node,
                               const char *key, const char *what)
{
    if (!node)
        return lilio_fail(loader->info, LILIO_E_CONFIG, "%.200s: %s: %.200s", loader->file->path,
                          key, what);
    return lilio_fail(loader->info, LILIO_E_CONFIG, "%.200s:%zu: %s: %.200s", loader->file->path,
                      base_yaml_line(node), key, what);
}

static enum lilio_err no_memory(const struct loader *loader)
{
    return lilio_fail(loader->info, LILIO_E_NOMEM, "%.200s: out of memory", loader->file->path);
}

/* ---- paths ---- */

/* folder/path, or path if it is absolute. NULL when out of memory. */
static char *join(const char *folder, const char *path)
{
    char *joined;
    if (path[0] == '/')
        return strdup(path);
    int size = asprintf(&joined, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, path);
    return size < 0 ? NULL : joined;
}

static char *resolve_endpoint(const char *folder, const char *endpoint)
{
    size_t length = strlen(ipc_prefix);
    if (strncmp(endpoint, ipc_prefix, length) != 0)
        return strdup(endpoint);
    char *path = join(folder, endpoint + length);
    char *resolved = NULL;
    if (path && asprintf(&resolved, "%s%s", ipc_prefix, path) < 0)
        resolved = NULL;
    free(path);
    return resolved;
}

/* The part of an absolute path below folder, or the path itself. */
static const char *below(const char *folder, const char *path)
{
    size_t length = strlen(folder);
    if (strncmp(path, folder, length) != 0)
        return path;
    if (length > 0 && folder[length - 1] == '/')
        length--;
    return path[length] == '/' && path[length + 1] ? path + length + 1 : path;
}

/* Fills path and folder. The folder's symbolic links are resolved, the file's own name is kept. */
static enum lilio_err set_path(struct proto_cluster_file *file, const char *path,
                               struct lilio_errinfo *info)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    enum lilio_err err = LILIO_OK;
    if (!folder) {
        err = lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    } else if (!(file->folder = realpath(folder, NULL))) {
        err = lilio_fail(info, lilio_err_from_errno(errno), "%.200s: %s", folder, strerror(errno));
    } else if (!(file->path = join(file->folder, name))) {
        err = lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    }
    free(folder);
    return err;
}

/* ---- fields ---- */

/* A path of the file made absolute; standard NULL = may be left out, then *ret stays NULL. */
static enum lilio_err load_path(const struct loader *loader, const struct base_yaml_node *parent,
                                const char *key, const char *standard, char **ret)
{
    const struct base_yaml_node *node = base_yaml_get(parent, key);
    const char *text = node ? base_yaml_text(node) : standard;
    if (!node && !standard)
        return LILIO_OK;
    if (!text || !text[0] || strlen(text) >= PATH_MAX)
        return complain(loader, node, key, "want a path");
    *ret = join(loader->file->folder, text);
    return *ret ? LILIO_OK : no_memory(loader);
}

/* A number between least and most; left out means standard. */
static enum lilio_err load_number(const struct loader *loader, const struct base_yaml_node *parent,
                                  const char *key, uint64_t most, uint64_t standard, uint64_t *ret)
{
    const struct base_yaml_node *node = base_yaml_get(parent, key);
    uint64_t value = standard;
    if (node && (!base_yaml_u64(node, &value) || value > most)) {
        char what[64];
        (void)snprintf(what, sizeof what, "want a number up to %llu", (unsigned long long)most);
        return complain(loader, node, key, what);
    }
    *ret = value;
    return LILIO_OK;
}

static enum lilio_err load_flag(const struct loader *loader, const struct base_yaml_node *parent,
                                const char *key, bool *ret)
{
    const struct base_yaml_node *node = base_yaml_get(parent, key);
    const char *text = base_yaml_text(node);
    if (node && (!text || (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)))
        return complain(loader, node, key, "want true or false");
    *ret = node && strcmp(text, "true") == 0;
    return LILIO_OK;
}

static enum lilio_err load_format(const struct loader *loader, const struct base_yaml_node *root)
{
    const struct base_yaml_node *node = base_yaml_get(root, "format");
    uint64_t format;
    if (!base_yaml_u64(node, &format))
        return complain(loader, node ? node : root, "format", "want a number");
    if (format != FILE_FORMAT)
        return complain(loader, node, "format",
                        format > FILE_FORMAT ? "newer than this program" : "not known");
    return LILIO_OK;
}

static enum lilio_err load_profile(const struct loader *loader, const struct base_yaml_node *root)
{
    const struct base_yaml_node *node = base_yaml_get(root, "default_profile");
    const char *text = base_yaml_text(node);
    struct codec_profile *profile = &loader->file->default_profile;
    struct lilio_errinfo why = {0};
    if (!text)
        return complain(loader, node ? node : root, "default_profile",
                        "want DATA+PARITY, such as 4+2");
    if (codec_profile_parse(text, profile, &why))
        return complain(loader, node, "default_profile", why.text);
    uint64_t size = 0;
    enum lilio_err err = load_number(loader, root, "default_fragment_size", CODEC_FRAGMENT_MAX,
                                     profile->fragment_size, &size);
    if (err)
        return err;
    profile->fragment_size = (uint32_t)size;
    if (codec_profile_check(profile, &why))
        return complain(loader, base_yaml_get(root, "default_fragment_size"),
                        "default_fragment_size", why.text);
    return LILIO_OK;
}

/* How long an OSD is silent until it is suspect, down, out. */
static enum lilio_err load_silences(const struct loader *loader, const struct base_yaml_node *root)
{
    struct proto_cluster_file *file = loader->file;
    enum lilio_err err = load_number(loader, root, "suspect_ms", UINT32_MAX, 0, &file->suspect_ms);
    if (!err)
        err = load_number(loader, root, "down_ms", UINT32_MAX, 0, &file->down_ms);
    if (!err)
        err = load_number(loader, root, "out_ms", UINT32_MAX, 0, &file->out_ms);
    if (err)
        return err;
    uint64_t down_ms = file->down_ms ? file->down_ms : PROTO_DOWN_MS;
    if (file->suspect_ms > down_ms)
        return complain(loader, base_yaml_get(root, "suspect_ms"), "suspect_ms",
                        "an OSD is suspect before it is down: want at most down_ms");
    if ((file->out_ms ? file->out_ms : PROTO_OUT_MS) < down_ms)
        return complain(loader, base_yaml_get(root, file->out_ms ? "out_ms" : "down_ms"),
                        file->out_ms ? "out_ms" : "down_ms",
                        "an OSD is down before it is out: want out_ms not below down_ms");
    return LILIO_OK;
}

static enum lilio_err load_head(const struct loader *loader, const struct base_yaml_node *root)
{
    struct proto_cluster_file *file = loader->file;
    enum lilio_err err = load_format(loader, root);
    if (err)
        return err;
    const struct base_yaml_node *node = base_yaml_get(root, "cluster_id");
    const char *text = base_yaml_text(node);
    if (!text || !base_uuid_parse(text, &file->cluster_id) || base_uuid_is_zero(file->cluster_id))
        return complain(loader, node ? node : root, "cluster_id", "want a uuid");
    err = load_profile(loader, root);
    if (!err)
        err = load_number(loader, root, "gc_grace_ms", UINT32_MAX, GC_GRACE_MS_DEFAULT,
                          &file->gc_grace_ms);
    if (!err)
        err = load_silences(loader, root);
    if (!err)
        err = load_number(loader, root, "orphan_retention_ms", UINT32_MAX,
                          PROTO_ORPHAN_RETENTION_MS, &file->orphan_retention_ms);
    if (!err)
        err = load_number(loader, root, "scrub_light_ms", UINT32_MAX, PROTO_SCRUB_LIGHT_MS,
                          &file->scrub_light_ms);
    if (!err)
        err = load_number(loader, root, "scrub_deep_ms", UINT32_MAX, PROTO_SCRUB_DEEP_MS,
                          &file->scrub_deep_ms);
    if (!err)
        err = load_flag(loader, root, "insecure", &file->insecure);
    if (!err)
        err = load_path(loader, root, "run_dir", "run", &file->run_dir);
    if (!err)
        err = load_path(loader, root, "log_dir", "log", &file->log_dir);
    return err;
}

/* ---- nodes ---- */

/* A port that the kernel chooses is of no use to those who read the file. */
static bool has_port(const char *endpoint)
{
    const char *port = strrchr(endpoint, ':') + 1;
    return strcmp(port, "*") != 0 && strtoul(port, NULL, 10) != 0;
}

static enum lilio_err load_endpoint(const struct loader *loader,
                                    const struct base_yaml_node *parent, const char *key,
                                    char **ret)
{
    const struct base_yaml_node *node = base_yaml_get(parent, key);
    const char *text = base_yaml_text(node);
    enum proto_endpoint_kind kind;
    struct lilio_errinfo why = {0};
    if (!text)
        return complain(loader, node ? node : parent, key, "want ipc://PATH or tcp://HOST:PORT");
    if (proto_endpoint_parse(text, &kind, &why))
        return complain(loader, node, key, why.text);
    *ret = resolve_endpoint(loader->file->folder, text);
    if (!*ret)
        return no_memory(loader);
    if (proto_endpoint_parse(*ret, &kind,
                             &why)) /* the absolute path may be too long for a socket */
        return complain(loader, node, key, why.text);
    if (strlen(*ret) > ENDPOINT_BYTES_MAX)
        return complain(loader, node, key, "too long");
    if (kind == PROTO_ENDPOINT_INPROC || (kind == PROTO_ENDPOINT_TCP && !has_port(*ret)))
        return complain(loader, node, key,
                        "want ipc://PATH or tcp://HOST:PORT with a port of 1 to 65535");
    return LILIO_OK;
}

/* For a coordinator without a peer endpoint in the file, as 0.1 wrote it. One whose socket's name
 * leaves no room for more has none and stands alone. */
static enum lilio_err derive_peer(const struct loader *loader, struct proto_cluster_node *node)
{
    static const char suffix[] = ".sock";
    size_t length = strlen(node->endpoint), cut = strlen(suffix);
    enum proto_endpoint_kind kind;
    if (strncmp(node->endpoint, ipc_prefix, strlen(ipc_prefix)) != 0)
        return LILIO_OK;
    if (length > cut && strcmp(node->endpoint + length - cut, suffix) == 0)
        length -= cut;
    char *peer = NULL;
    if (asprintf(&peer, "%.*s.peer%s", (int)length, node->endpoint, suffix) < 0)
        return no_memory(loader);
    if (proto_endpoint_parse(peer, &kind, NULL) == LILIO_OK)
        node->peer = peer;
    else
        free(peer);
    return LILIO_OK;
}

static enum lilio_err load_node(const struct loader *loader, const struct base_yaml_node *parent,
                                bool is_coordinator, struct proto_cluster_node *ret)
{
    const struct base_yaml_node *node = base_yaml_get(parent, "id");
    uint64_t id = 0;
    if (!base_yaml_u64(node, &id) || id > NODE_ID_MAX)
        return complain(loader, node ? node : parent, "id", "want a number from 0 to 1023");
    ret->id = (uint32_t)id;
    enum lilio_err err = load_endpoint(loader, parent, "address", &ret->endpoint);
    if (!err && is_coordinator)
        err = base_yaml_get(parent, "peer") ? load_endpoint(loader, parent, "peer", &ret->peer)
                                            : derive_peer(loader, ret);
    if (!err)
        err = load_path(loader, parent, "dir", NULL, &ret->dir);
    return err;
}

static bool is_same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

static bool shares_endpoint(const struct proto_cluster_node *a, const struct proto_cluster_node *b)
{
    return is_same(a->endpoint, b->endpoint) || is_same(a->endpoint, b->peer) ||
           is_same(a->peer, b->endpoint) || is_same(a->peer, b->peer);
}

/* Why node may not stand beside the others, or NULL. */
static const char *clash(const struct proto_cluster_node *node,
                         const struct proto_cluster_node *others, size_t count, bool same_kind)
{
    for (size_t i = 0; i < count; i++) {
        if (same_kind && node->id == others[i].id)
            return "this id is there twice";
        if (shares_endpoint(node, &others[i]))
            return "this address is there twice";
        if (is_same(node->dir, others[i].dir))
            return "this dir is there twice";
    }
    return NULL;
}

static enum lilio_err load_nodes(const struct loader *loader, const struct base_yaml_node *root,
                                 const char *key, size_t count_max,
                                 struct proto_cluster_node **nodes, size_t *count)
{
    const struct proto_cluster_file *file = loader->file;
    const struct base_yaml_node *list = base_yaml_get(root, key);
    size_t wanted = base_yaml_count(list);
    if (!list || wanted == 0 || wanted > count_max)
        return complain(loader, list ? list : root, key,
                        "want a list of nodes, neither empty nor too long");
    *nodes = calloc(wanted, sizeof **nodes);
    if (!*nodes)
        return no_memory(loader);
    for (size_t i = 0; i < wanted; i++) {
        struct proto_cluster_node *node = &(*nodes)[i];
        *count = i + 1; /* so that a half-loaded node is released */
        bool is_coordinator = *nodes == file->coordinators;
        enum lilio_err err = load_node(loader, base_yaml_at(list, i), is_coordinator, node);
        if (err)
            return err;
        const char *why = is_same(node->endpoint, node->peer) ? "address and peer are the same"
                                                              : clash(node, *nodes, i, true);
        if (!why && !is_coordinator)
            why = clash(node, file->coordinators, file->coordinator_count, false);
        if (why)
            return complain(loader, base_yaml_at(list, i), key, why);
    }
    return LILIO_OK;
}

enum lilio_err proto_cluster_file_load(const char *path, struct proto_cluster_file *ret,
                                       struct lilio_errinfo *info)
{
    *ret = (struct proto_cluster_file){0};
    struct loader loader = {ret, info};
    struct base_yaml *yaml = NULL;
    enum lilio_err err = set_path(ret, path, info);
    if (!err)
        err = base_yaml_load(ret->path, &yaml, info);
    if (err)
        goto out;
    const struct base_yaml_node *root = base_yaml_root(yaml);
    err = load_head(&loader, root);
    if (!err)
        err = load_nodes(&loader, root, "coordinators", COORDINATORS_MAX, &ret->coordinators,
                         &ret->coordinator_count);
    if (!err)
        err = load_nodes(&loader, root, "osds", OSDS_MAX, &ret->osds, &ret->osd_count);
out:
    base_yaml_free(&yaml);
    if (err)
        proto_cluster_file_release(ret);
    return err;
}

/* ---- writing ---- */

/* An ipc path is written relative to the folder where it lies below it. */
static enum lilio_err save_endpoint(struct base_yaml_writer *writer, const char *folder,
                                    const char *key, const char *endpoint)
{
    size_t length = strlen(ipc_prefix);
    char *text = NULL;
    if (strncmp(endpoint, ipc_prefix, length) != 0)
        text = strdup(endpoint);
    else if (asprintf(&text, "%s%s", ipc_prefix, below(folder, endpoint + length)) < 0)
        text = NULL;
    if (!text)
        return LILIO_E_NOMEM;
    base_yaml_text_put(writer, key, text);
    free(text);
    return LILIO_OK;
}

static enum lilio_err save_nodes(struct base_yaml_writer *writer, const char *folder,
                                 const char *key, const struct proto_cluster_node *nodes,
                                 size_t count)
{
    base_yaml_list_begin(writer, key);
    for (size_t i = 0; i < count; i++) {
        const struct proto_cluster_node *node = &nodes[i];
        base_yaml_map_begin(writer, NULL);
        base_yaml_u64_put(writer, "id", node->id);
        enum lilio_err err = save_endpoint(writer, folder, "address", node->endpoint);
        if (!err && node->peer)
            err = save_endpoint(writer, folder, "peer", node->peer);
        if (err)
            return err;
        if (node->dir)
            base_yaml_text_put(writer, "dir", below(folder, node->dir));
        base_yaml_map_end(writer);
    }
    base_yaml_list_end(writer);
    return LILIO_OK;
}

static void save_head(struct base_yaml_writer *writer, const struct proto_cluster_file *file)
{
    char uuid[37], profile[32];
    base_uuid_format(file->cluster_id, uuid);
    (void)snprintf(profile, sizeof profile, "%u+%u", file->default_profile.data_count,
                   file->default_profile.parity_count);
    base_yaml_u64_put(writer, "format", FILE_FORMAT);
    base_yaml_text_put(writer, "cluster_id", uuid);
    base_yaml_text_put(writer, "default_profile", profile);
    if (file->default_profile.fragment_size != CODEC_FRAGMENT_DEFAULT)
        base_yaml_u64_put(writer, "default_fragment_size", file->default_profile.fragment_size);
    base_yaml_u64_put(writer, "gc_grace_ms", file->gc_grace_ms);
    if (file->suspect_ms)
        base_yaml_u64_put(writer, "suspect_ms", file->suspect_ms);
    if (file->down_ms)
        base_yaml_u64_put(writer, "down_ms", file->down_ms);
    if (file->out_ms)
        base_yaml_u64_put(writer, "out_ms", file->out_ms);
    if (file->orphan_retention_ms != PROTO_ORPHAN_RETENTION_MS)
        base_yaml_u64_put(writer, "orphan_retention_ms", file->orphan_retention_ms);
    if (file->scrub_light_ms != PROTO_SCRUB_LIGHT_MS)
        base_yaml_u64_put(writer, "scrub_light_ms", file->scrub_light_ms);
    if (file->scrub_deep_ms != PROTO_SCRUB_DEEP_MS)
        base_yaml_u64_put(writer, "scrub_deep_ms", file->scrub_deep_ms);
    if (file->insecure)
        base_yaml_text_put(writer, "insecure", "true");
    base_yaml_text_put(writer, "run_dir", below(file->folder, file->run_dir));
    base_yaml_text_put(writer, "log_dir", below(file->folder, file->log_dir));
}

enum lilio_err proto_cluster_file_save(const struct proto_cluster_file *file,
                                       struct lilio_errinfo *info)
{
    struct base_yaml_writer *writer = NULL;
    struct base_buffer text = {0};
    enum lilio_err err = base_yaml_writer_new(&writer);
    if (err)
        goto out;
    base_yaml_map_begin(writer, NULL); /* the root */
    save_head(writer, file);
    err = save_nodes(writer, file->folder, "coordinators", file->coordinators,
                     file->coordinator_count);
    if (!err)
        err = save_nodes(writer, file->folder, "osds", file->osds, file->osd_count);
    base_yaml_map_end(writer);
    if (!err)
        err = base_yaml_finish(writer, &text);
out:
    base_yaml_writer_free(&writer);
    if (err)
        lilio_fail(info, err, "%.200s: %s", file->path, lilio_err_text(err));
    else
        err = base_file_replace(file->path, base_buffer_slice(&text), FILE_MODE, info);
    base_buffer_release(&text);
    return err;
}

/* ---- the rest ---- */

static void release_nodes(struct proto_cluster_node *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(nodes[i].endpoint);
        free(nodes[i].peer);
        free(nodes[i].dir);
    }
    free(nodes);
}

void proto_cluster_file_release(struct proto_cluster_file *file)
{
    release_nodes(file->coordinators, file->coordinator_count);
    release_nodes(file->osds, file->osd_count);
    free(file->path);
    free(file->folder);
    free(file->run_dir);
    free(file->log_dir);
    *file = (struct proto_cluster_file){0};
}

static const struct proto_cluster_node *find(const struct proto_cluster_node *nodes, size_t count,
                                             uint32_t id)
{
    for (size_t i = 0; i < count; i++)
        if (nodes[i].id == id)
            return &nodes[i];
    return NULL;
}

const struct proto_cluster_node *proto_cluster_osd(const struct proto_cluster_file *file,
                                                   uint32_t id)
{
    return find(file->osds, file->osd_count, id);
}

const struct proto_cluster_node *proto_cluster_coordinator(const struct proto_cluster_file *file,
                                                           uint32_t id)
{
    return find(file->coordinators, file->coordinator_count, id);
}
