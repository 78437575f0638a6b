/* The stores of RocksDB: stores in memory that lose at a crash what was not durable.
 *
 * A store belongs to a folder of a simulated disk. Its content is an immutable tree (base/
 * kv_memory.c), so some of the states it went through since it was durable last are kept as
 * snapshots, the durable one first, and the present one is known; a crash goes back to one of them.
 *
 *   options        kill              power loss          durable by
 *   with a log     nothing is lost   some last commits   a commit with sync, a flush
 *   no_log         some last commits                     a flush
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/kv_priv.h"
#include "base/mark.h"
#include "tests/sim/disk_priv.h"
#include "tests/sim/fiber.h"
#include "tests/sim/nodes_priv.h"
#include "tests/support/crash_disk.h"

#include "base/banned.h"

enum { STATES_MAX = 16, STORES_MAX = 512, NOTED_PPM = 300000 };

struct store {
    struct base_kv *kv; /* in memory, with our operations */
    struct sim_disk *disk;
    uint64_t folder; /* the number of its folder on the crash disk */
    bool no_log, open;
    bool failed; /* a write failed: takes no more until it is opened anew */
    struct base_kv_snapshot *states[STATES_MAX];
    size_t state_count;
};

static struct {
    struct store list[STORES_MAX];
    size_t count;
    struct base_kv_ops ops;
    const struct base_kv_ops *memory; /* those of the store in memory */
} stores;

/* ---- states ---- */

static struct store *store_of(const struct base_kv *kv)
{
    for (size_t i = stores.count; i-- > 0;)
        if (stores.list[i].kv == kv)
            return &stores.list[i];
    SIM_ASSERT(!"a store that is none of ours");
    return NULL;
}

static struct store *store_at(struct sim_disk *disk, uint64_t folder)
{
    for (size_t i = 0; i < stores.count; i++)
        if (stores.list[i].disk == disk && stores.list[i].folder == folder)
            return &stores.list[i];
    return NULL;
}

static void state_forget(struct store *store, size_t i)
{
    base_kv_snapshot_free(&store->states[i]);
    store->state_count--;
    memmove(&store->states[i], &store->states[i + 1],
            (store->state_count - i) * sizeof(struct base_kv_snapshot *));
}

/* Notes the present state; returns its snapshot. Others run until the snapshot is taken, and not
 * from then on until it is in the list. */
static struct base_kv_snapshot *state_note(struct store *store)
{
    struct base_kv_snapshot *state = NULL;
    enum lilio_err err = base_kv_snapshot_new(store->kv, &state);
    SIM_ASSERT(!err);
    if (store->state_count == STATES_MAX)
        state_forget(store, (size_t)sim_between(sim_disk_stream(store->disk), 1, STATES_MAX - 2));
    store->states[store->state_count++] = state;
    return state;
}

/* This state is durable now, unless a later one already is. */
static void state_durable(struct store *store, const struct base_kv_snapshot *state)
{
    size_t i = 0;
    while (i < store->state_count && store->states[i] != state)
        i++;
    for (; i > 0 && i < store->state_count; i--)
        state_forget(store, 0);
}

static void store_crash(struct store *store, bool power_lost)
{
    struct sim_stream *stream = sim_disk_stream(store->disk);
    store->open = store->failed = false;
    if (!power_lost && !store->no_log)
        return;
    (void)state_note(store); /* the present one may be what is left, too */
    size_t to = sim_below(stream, 2) ? 0 : (size_t)sim_below(stream, store->state_count);
    if (to + 1 < store->state_count)
        LILIO_MARK("fault/kv_commits_lost");
    base_kv_memory_restore(store->kv, store->states[to]);
    while (store->state_count > to + 1)
        state_forget(store, store->state_count - 1);
    while (store->state_count > 1)
        state_forget(store, 0);
}

void sim_kv_process_died(struct sim_disk *disk, bool power_lost)
{
    for (size_t i = 0; i < stores.count; i++)
        if (stores.list[i].disk == disk)
            store_crash(&stores.list[i], power_lost);
}

void sim_kv_disk_gone(struct sim_disk *disk)
{
    for (size_t i = 0; i < stores.count; i++)
        if (stores.list[i].disk == disk)
            stores.list[i].disk = NULL;
}

/* ---- copies ---- */

/* A store that is gone from its disk keeps its place in the list, so it can come back. */
struct sim_kv_copy {
    struct kept {
        char folder[64];
        struct store *store;
        struct base_kv_snapshot *state;
    } list[8];
    size_t count;
};

struct sim_kv_copy *sim_kv_copy_new(struct sim_disk *disk)
{
    struct base_disk *inner = sim_disk_inner(disk);
    struct sim_kv_copy *copy = calloc(1, sizeof *copy);
    const char *name;
    SIM_ASSERT(copy);
    for (size_t i = 0; (name = crash_disk_name(inner, i)); i++) {
        struct kept *kept = &copy->list[copy->count];
        struct store *store = store_at(disk, crash_disk_number(inner, name));
        if (!store || !crash_disk_is_folder(inner, name))
            continue;
        SIM_ASSERT(copy->count < sizeof copy->list / sizeof *copy->list);
        copy->count++;
        kept->store = store;
        enum lilio_err err = base_kv_snapshot_new(store->kv, &kept->state);
        SIM_ASSERT(!err && strlen(name) < sizeof kept->folder);
        memcpy(kept->folder, name, strlen(name) + 1);
    }
    return copy;
}

void sim_kv_put_back(struct sim_disk *disk, const struct sim_kv_copy *copy)
{
    for (size_t i = 0; i < copy->count; i++) {
        const struct kept *kept = &copy->list[i];
        struct store *store = kept->store;
        store->disk = disk;
        store->folder = crash_disk_number(sim_disk_inner(disk), kept->folder);
        store->open = store->failed = false;
        base_kv_memory_restore(store->kv, kept->state);
        while (store->state_count > 0)
            state_forget(store, 0);
        (void)state_note(store);
    }
}

void sim_kv_copy_free(struct sim_kv_copy **copy)
{
    for (size_t i = 0; *copy && i < (*copy)->count; i++)
        base_kv_snapshot_free(&(*copy)->list[i].state);
    free(*copy);
    *copy = NULL;
}

/* ---- writing ---- */

static enum lilio_err write_failed(struct store *store, struct lilio_errinfo *info)
{
    store->failed = true;
    return lilio_fail(info, LILIO_E_IO, "the store took a write error");
}

/* Whether the disk has room: RocksDB would write what is committed. */
static enum lilio_err room_check(struct store *store, struct lilio_errinfo *info)
{
    struct base_disk_space space;
    struct base_disk *inner = sim_disk_inner(store->disk);
    if (inner->ops->space(inner, &space, NULL) || space.free_bytes >= BASE_DISK_BLOCK)
        return LILIO_OK;
    store->failed = true;
    return lilio_fail(info, LILIO_E_NO_SPACE, "the store has no room");
}

static enum lilio_err sim_commit(struct base_kv_batch *batch, bool sync, struct lilio_errinfo *info)
{
    struct store *store = store_of(batch->kv);
    bool waits = sync && !store->no_log;
    enum lilio_err err = store->failed ? write_failed(store, info) : room_check(store, info);
    if (err) {
        stores.memory->batch_clear(batch);
        return err;
    }
    err = stores.memory->batch_commit(batch, sync, info);
    if (err || !waits) {
        if (!err && sim_chance(sim_disk_stream(store->disk), NOTED_PPM))
            (void)state_note(store);
        return err;
    }
    const struct base_kv_snapshot *state = state_note(store);
    if (sim_disk_enter(store->disk, SIM_SYNC, 0, NULL))
        return write_failed(store, info); /* it may be there after the next opening */
    state_durable(store, state);
    sim_hash(store->folder);
    return LILIO_OK;
}

static enum lilio_err sim_flush(struct base_kv *kv, struct lilio_errinfo *info)
{
    struct store *store = store_of(kv);
    enum lilio_err err = store->failed ? write_failed(store, info) : room_check(store, info);
    if (err)
        return err;
    const struct base_kv_snapshot *state = state_note(store);
    if (sim_disk_enter(store->disk, SIM_SYNC, 0, NULL))
        return write_failed(store, info);
    state_durable(store, state);
    sim_hash(store->folder);
    return LILIO_OK;
}

/* Writes what is not durable yet to the store's own files, too. */
static enum lilio_err sim_checkpoint(struct base_kv *kv, const char *path,
                                     struct lilio_errinfo *info)
{
    struct store *store = store_of(kv);
    const char *folder = "";
    if (sim_disk_of_path(path, &folder) != store->disk || !folder[0])
        return lilio_fail(info, LILIO_E_IO, "%s: not on the store's disk", path);
    enum lilio_err err = sim_flush(kv, info);
    struct base_kv_snapshot *snapshot = NULL;
    if (!err)
        err = base_kv_snapshot_new(kv, &snapshot);
    if (!err)
        err = sim_kv_save(kv, snapshot, store->disk, folder, info);
    base_kv_snapshot_free(&snapshot);
    return err;
}

static void sim_kv_free(struct base_kv *kv)
{
    store_of(kv)->open =
        false; /* the content stays; what was committed goes to the disk sometime */
}

/* ---- opening ---- */

bool sim_kv_is_at(struct sim_disk *disk, const char *folder)
{
    uint64_t number = crash_disk_number(sim_disk_inner(disk), folder);
    return number && store_at(disk, number);
}

static void ops_init(const struct base_kv *kv)
{
    stores.memory = kv->ops;
    stores.ops = *kv->ops;
    stores.ops.free = sim_kv_free;
    stores.ops.batch_commit = sim_commit;
    stores.ops.flush = sim_flush;
    stores.ops.checkpoint = sim_checkpoint;
}

static enum lilio_err store_make(struct sim_disk *disk, const char *name,
                                 const struct base_kv_options *options, struct store **ret_store,
                                 struct lilio_errinfo *info)
{
    struct base_disk *inner = sim_disk_inner(disk);
    enum lilio_err err =
        crash_disk_is_folder(inner, name) ? LILIO_OK : inner->ops->make_dir(inner, name, info);
    if (!err)
        err = inner->ops->sync_dir(inner, "", info);
    if (err)
        return err;
    SIM_ASSERT(stores.count < STORES_MAX);
    struct store *store = &stores.list[stores.count];
    *store = (struct store){
        .disk = disk, .folder = crash_disk_number(inner, name), .no_log = options->no_log};
    struct base_kv_options in_memory = *options;
    in_memory.must_exist = false; /* what has to exist are the files it is loaded from */
    err = base_kv_open_memory(&in_memory, &store->kv, info);
    if (err)
        return err;
    if (!stores.memory)
        ops_init(store->kv);
    err = sim_kv_load(store->kv, disk, name, info);
    if (err == LILIO_E_NOT_FOUND && !options->must_exist)
        err = LILIO_OK; /* a new store */
    if (err) {
        base_kv_free(&store->kv);
        return err;
    }
    store->kv->ops = &stores.ops;
    stores.count++;
    (void)state_note(store); /* the empty store is its first state */
    *ret_store = store;
    return LILIO_OK;
}

enum lilio_err base_kv_open_rocksdb(const char *path, const struct base_kv_options *options,
                                    struct base_kv **ret_kv, struct lilio_errinfo *info)
{
    const char *name = "";
    struct sim_disk *disk = sim_disk_of_path(path, &name);
    if (!disk || !name[0])
        return lilio_fail(info, LILIO_E_IO, "%s: no such directory", path);
    enum lilio_err err = sim_disk_enter(disk, SIM_META, 0, info);
    if (err)
        return err;
    struct store *store = store_at(disk, crash_disk_number(sim_disk_inner(disk), name));
    if (store && store->open)
        return lilio_fail(info, LILIO_E_LOCKED, "%s is open already", path);
    if (store && options->must_not_exist)
        return lilio_fail(info, LILIO_E_EXISTS, "%s: there is a store", path);
    if (!store)
        err = store_make(disk, name, options, &store, info);
    sim_disk_leave(disk);
    if (err)
        return err;
    store->open = true;
    store->no_log = options->no_log;
    *ret_kv = store->kv;
    return LILIO_OK;
}

enum lilio_err base_kv_destroy_rocksdb(const char *path, struct lilio_errinfo *info)
{
    const char *name = "";
    struct sim_disk *disk = sim_disk_of_path(path, &name);
    if (!disk || !name[0])
        return LILIO_OK;
    struct base_disk *inner = sim_disk_inner(disk);
    enum lilio_err err = sim_disk_enter(disk, SIM_META, 0, info);
    if (err || !crash_disk_is_folder(inner, name))
        return err;
    const struct store *store = store_at(disk, crash_disk_number(inner, name));
    SIM_ASSERT(!store || !store->open);
    const char *file;
    size_t size = strlen(name);
    for (size_t i = 0; !err && (file = crash_disk_name(inner, i));)
        if (strncmp(file, name, size) == 0 && file[size] == '/')
            err = inner->ops->unlink(inner, file, info); /* another takes its place */
        else
            i++;
    if (!err)
        err = crash_disk_remove_folder(inner, name, info);
    sim_disk_leave(disk);
    return err;
}
