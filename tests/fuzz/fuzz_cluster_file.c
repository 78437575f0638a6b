/* lilio.yaml: any text is refused with a reason or loads; what loads can be saved and loads again
 * as the same. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/cluster_file.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64], path[80];

static void remove_folder(void)
{
    (void)unlink(path);
    (void)rmdir(folder);
}

static void make_folder(void)
{
    (void)snprintf(folder, sizeof folder, "/tmp/lilio-fuzz-XXXXXX");
    LILIO_ASSERT(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/lilio.yaml", folder);
    LILIO_ASSERT(atexit(remove_folder) == 0);
}

static void check_nodes(const struct proto_cluster_node *a, const struct proto_cluster_node *b,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        LILIO_ASSERT(a[i].id == b[i].id);
        LILIO_ASSERT(strcmp(a[i].endpoint, b[i].endpoint) == 0);
        LILIO_ASSERT(!a[i].peer == !b[i].peer);
        LILIO_ASSERT(!a[i].peer || strcmp(a[i].peer, b[i].peer) == 0);
        LILIO_ASSERT(!a[i].dir == !b[i].dir);
        LILIO_ASSERT(!a[i].dir || strcmp(a[i].dir, b[i].dir) == 0);
    }
}

static void check_round_trip(const struct proto_cluster_file *file)
{
    struct proto_cluster_file again;
    struct lilio_errinfo info;
    LILIO_ASSERT(proto_cluster_file_save(file, &info) == LILIO_OK);
    LILIO_ASSERT(proto_cluster_file_load(path, &again, &info) == LILIO_OK);
    LILIO_ASSERT(base_uuid_equal(file->cluster_id, again.cluster_id));
    LILIO_ASSERT(
        memcmp(&file->default_profile, &again.default_profile, sizeof again.default_profile) == 0);
    LILIO_ASSERT(file->gc_grace_ms == again.gc_grace_ms &&
                 file->orphan_retention_ms == again.orphan_retention_ms &&
                 file->scrub_light_ms == again.scrub_light_ms &&
                 file->scrub_deep_ms == again.scrub_deep_ms && file->insecure == again.insecure);
    LILIO_ASSERT(strcmp(file->run_dir, again.run_dir) == 0 &&
                 strcmp(file->log_dir, again.log_dir) == 0);
    LILIO_ASSERT(file->coordinator_count == again.coordinator_count &&
                 file->osd_count == again.osd_count);
    check_nodes(file->coordinators, again.coordinators, file->coordinator_count);
    check_nodes(file->osds, again.osds, file->osd_count);
    proto_cluster_file_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proto_cluster_file file;
    struct lilio_errinfo info = {0};
    if (!folder[0])
        make_folder();
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    LILIO_ASSERT(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)close(fd);
    if (proto_cluster_file_load(path, &file, &info) == LILIO_OK) {
        check_round_trip(&file);
        proto_cluster_file_release(&file);
    } else {
        LILIO_ASSERT(info.text[0]);
    }
    return 0;
}
