/* The owner's side of the log: appending into memory, reading, cutting. The disk is the writer's
 * (log_write.c), but for reading back and for a reset. */
#include "coordinator/raft/log.h"

#include <stdlib.h>

#include "base/planted.h"
#include "coordinator/raft/log_priv.h"

#include "base/banned.h"

enum {
    SEGMENT_BYTES = 64 << 20,
    CACHE_BYTES = 16 << 20,
    CACHE_ROOM = 64,     /* entries, at first */
    READ_PLACES_MAX = 64 /* batches read back at a time */
};

/* ---- buffers ---- */

enum lilio_err log_buffer_reserve(struct log_buffer *buffer, size_t size)
{
    if (size <= buffer->size)
        return LILIO_OK;
    size = (size + LOG_BLOCK - 1) / LOG_BLOCK * LOG_BLOCK;
    uint8_t *data = aligned_alloc(LOG_BLOCK, size);
    if (!data)
        return LILIO_E_NOMEM;
    free(buffer->data);
    *buffer = (struct log_buffer){data, size};
    return LILIO_OK;
}

/* ---- the cache: everything that is not durable, and the newest of the rest ---- */

static struct raft_entry *cache_at(const struct raft_log *log, uint64_t index)
{
    return &log->cache[index & (log->cache_room - 1)];
}

static void cache_free(struct raft_log *log, uint64_t index)
{
    struct raft_entry *entry = cache_at(log, index);
    log->cached_bytes -= sizeof *entry + entry->data.size;
    free((void *)(uintptr_t)entry->data.data);
}

/* The entries are those up to table.last, which may have shrunk already. */
static void cache_drop(struct raft_log *log, uint64_t from, uint64_t end)
{
    for (uint64_t index = from; index < end; index++)
        cache_free(log, index);
}

void log_cache_truncate(struct raft_log *log, uint64_t index)
{
    uint64_t from = index > log->cache_first ? index : log->cache_first;
    cache_drop(log, from, log->cache_end);
    log->cache_end = from < log->cache_end ? from : log->cache_end;
    if (index < log->cache_first)
        log->cache_first = log->cache_end = index;
}

static void cache_evict(struct raft_log *log, size_t limit)
{
    if (LILIO_PLANTED("log_cache_kept"))
        return;
    while (log->cached_bytes > limit && log->cache_first <= log->durable &&
           log->cache_first < log->cache_end)
        cache_free(log, log->cache_first++);
}

/* Room for `count` more. */
static enum lilio_err cache_grow(struct raft_log *log, size_t count)
{
    size_t need = (size_t)(log->cache_end - log->cache_first) + count;
    size_t room = log->cache_room ? log->cache_room : CACHE_ROOM;
    while (room < need)
        room *= 2;
    if (room == log->cache_room)
        return LILIO_OK;
    struct raft_entry *cache = calloc(room, sizeof *cache);
    if (!cache)
        return LILIO_E_NOMEM;
    for (uint64_t index = log->cache_first; index < log->cache_end; index++)
        cache[index & (room - 1)] = *cache_at(log, index);
    free(log->cache);
    log->cache = cache;
    log->cache_room = room;
    return LILIO_OK;
}

/* ---- life ---- */

enum lilio_err log_fail(struct raft_log *log, enum lilio_err err)
{
    pthread_mutex_lock(&log->lock);
    if (!log->failed)
        log->failed = err;
    pthread_mutex_unlock(&log->lock);
    return err;
}

static uint64_t segment_size(uint64_t wanted)
{
    uint64_t size = (wanted ? wanted : SEGMENT_BYTES) / LOG_BLOCK * LOG_BLOCK;
    return size < LOG_SEGMENT_MIN ? LOG_SEGMENT_MIN : size;
}

enum lilio_err raft_log_open(const struct raft_log_options *options, struct raft_log **ret_log,
                             struct raft_log_recovery *ret_recovery, struct lilio_errinfo *info)
{
    struct raft_log_recovery recovery = {0};
    struct raft_log *log = calloc(1, sizeof *log);
    if (!log)
        return lilio_fail(info, LILIO_E_NOMEM, "log: out of memory");
    *log = (struct raft_log){
        .disk = options->disk,
        .owner = {options->cluster_id, options->member},
        .random = options->random ? options->random : base_random_system(),
        .segment_bytes = segment_size(options->segment_bytes),
        .cache_bytes = options->cache_bytes ? options->cache_bytes : CACHE_BYTES,
    };
    pthread_mutex_init(&log->lock, NULL);
    enum lilio_err err = log_recover(log, options->create, &recovery, info);
    if (err) {
        raft_log_free(&log);
        return lilio_prefix(info, err, "log");
    }
    log->durable = log->table.last;
    log->unwritten = log->cache_first = log->cache_end = log->table.last + 1;
    *ret_log = log;
    *ret_recovery = recovery;
    return LILIO_OK;
}

void raft_log_free(struct raft_log **log_)
{
    struct raft_log *log = *log_;
    if (!log)
        return;
    cache_drop(log, log->cache_first, log->cache_end);
    log_segments_release(log);
    log_table_release(&log->table);
    free(log->cache);
    free(log->staging.data);
    free(log->read.data);
    pthread_mutex_destroy(&log->lock);
    free(log);
    *log_ = NULL;
}

/* ---- appending ---- */

/* While the disk had no room for more zeros: what waits has to fit into blocks that were written
 * before, even if each entry becomes a batch of its own. */
static bool fits(const struct raft_log *log, size_t count, size_t bytes)
{
    const struct log_segment *active = log->segments.list[log->segments.active];
    uint64_t entries = log->table.last - log->durable + count;
    return log->waiting_bytes + bytes + entries * (LOG_BATCH_HEADER + LOG_BLOCK) <=
           active->written - active->end;
}

static enum lilio_err check(const struct raft_log *log, const struct raft_entry *entries,
                            size_t count, size_t *ret_bytes, struct lilio_errinfo *info)
{
    LILIO_ASSERT(entries[0].index > log->table.base_index &&
                 entries[0].index <= log->table.last + 1);
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        LILIO_ASSERT(entries[i].index == entries[0].index + i);
        if (entries[i].data.size > LOG_ENTRY_MAX)
            return lilio_fail(info, LILIO_E_INVALID, "log: an entry of %zu bytes",
                              entries[i].data.size);
        bytes += LOG_ENTRY_HEADER + entries[i].data.size;
    }
    *ret_bytes = bytes;
    return LILIO_OK;
}

static void copies_free(struct raft_entry *copies, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free((void *)(uintptr_t)copies[i].data.data);
    free(copies);
}

static enum lilio_err copies_new(const struct raft_entry *entries, size_t count,
                                 struct raft_entry **ret_copies)
{
    struct raft_entry *copies = calloc(count, sizeof *copies);
    if (!copies)
        return LILIO_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        size_t size = entries[i].data.size;
        uint8_t *data = malloc(size ? size : 1);
        if (!data) {
            copies_free(copies, i);
            return LILIO_E_NOMEM;
        }
        if (size)
            memcpy(data, entries[i].data.data, size);
        copies[i] = entries[i];
        copies[i].data.data = data;
    }
    *ret_copies = copies;
    return LILIO_OK;
}

/* The entries from index on are replaced; what the writer has of them at the moment does not count
 * any more. */
static void replace_from(struct raft_log *log, uint64_t index)
{
    for (uint64_t i = index > log->durable ? index : log->durable + 1; i <= log->table.last; i++)
        log->waiting_bytes -= LOG_ENTRY_HEADER + cache_at(log, i)->data.size;
    log_cache_truncate(log, index);
    log_table_truncate(&log->table, index);
    if (log->durable >= index)
        log->durable = index - 1;
    if (log->unwritten > index)
        log->unwritten = index;
    if (log->flight_end > index)
        log->flight_end = index;
}

static enum lilio_err append_locked(struct raft_log *log, struct raft_entry *copies, size_t count,
                                    size_t bytes, struct lilio_errinfo *info)
{
    if (log->failed)
        return lilio_fail(info, LILIO_E_IO, "an earlier write of the log failed");
    if (log->full && !fits(log, count, bytes)) {
        log->full = false; /* the writer tries once more */
        return lilio_fail(info, LILIO_E_NO_SPACE, "log: the disk is full");
    }
    if (log_table_reserve(&log->table, count, 0) || cache_grow(log, count))
        return lilio_fail(info, LILIO_E_NOMEM, "log: out of memory");
    replace_from(log, copies[0].index);
    for (size_t i = 0; i < count; i++) {
        log_table_add(&log->table, copies[i].term);
        *cache_at(log, copies[i].index) = copies[i];
        log->cached_bytes += sizeof copies[i] + copies[i].data.size;
    }
    log->cache_end = log->table.last + 1;
    log->waiting_bytes += bytes;
    return LILIO_OK;
}

enum lilio_err raft_log_append(struct raft_log *log, const struct raft_entry *entries, size_t count,
                               struct lilio_errinfo *info)
{
    struct raft_entry *copies = NULL;
    size_t bytes = 0;
    if (count == 0)
        return LILIO_OK;
    enum lilio_err err = check(log, entries, count, &bytes, info);
    if (err)
        return err;
    if (copies_new(entries, count, &copies))
        return lilio_fail(info, LILIO_E_NOMEM, "log: out of memory");
    pthread_mutex_lock(&log->lock);
    cache_evict(log, log->cache_bytes);
    err = append_locked(log, copies, count, bytes, info);
    pthread_mutex_unlock(&log->lock);
    copies_free(copies, err ? count : 0); /* the cache has their data now */
    return err;
}

/* ---- reading ---- */

static uint64_t view_first(void *context)
{
    struct raft_log *log = context;
    return log->table.base_index + 1;
}

static uint64_t view_last(void *context)
{
    struct raft_log *log = context;
    return log->table.last;
}

static enum lilio_err view_term(void *context, uint64_t index, uint64_t *ret_term)
{
    struct raft_log *log = context;
    if (index < log->table.base_index || index > log->table.last)
        return LILIO_E_NOT_FOUND;
    *ret_term = log_table_term(&log->table, index);
    return LILIO_OK;
}

struct entries {
    struct raft_entry *list;
    size_t count, count_max, bytes, bytes_max;
};

/* False: it is one too many. */
static bool entries_add(struct entries *entries, struct raft_entry entry)
{
    if (entries->count > 0 && (entries->count == entries->count_max ||
                               entries->bytes + entry.data.size > entries->bytes_max))
        return false;
    entries->bytes += entry.data.size;
    entries->list[entries->count++] = entry;
    return true;
}

/* The entries of one batch that was read, from index on, as far as they count. */
static enum lilio_err parse_batch(const struct log_place *place, uint64_t nonce,
                                  const uint8_t *bytes, uint64_t index, struct entries *entries)
{
    struct log_batch_header header;
    struct raft_entry entry;
    uint32_t position = 0;
    if (log_batch_decode(bytes, place->offset, &header) || header.nonce != nonce ||
        header.sequence != place->sequence || header.first != place->first ||
        header.length != place->length || header.count < place->count ||
        !log_body_valid(&header, bytes + LOG_BATCH_HEADER))
        return LILIO_E_CORRUPT;
    for (uint32_t i = 0; i < place->count; i++) {
        if (!log_entry_next(bytes + LOG_BATCH_HEADER, header.length, &position, &entry))
            return LILIO_E_CORRUPT;
        entry.index = place->first + i;
        if (entry.index >= index && !entries_add(entries, entry))
            break;
    }
    return LILIO_OK;
}

/* Batches that lie one behind the other, from the one with index on. */
static size_t gather(const struct raft_log *log, uint64_t index, size_t bytes_max,
                     struct log_place *ret_places, uint64_t *ret_size)
{
    const struct log_place *place = log_table_find(&log->table, index);
    const struct log_place *end = log->table.places + log->table.place_count;
    LILIO_ASSERT(place);
    size_t count = 0;
    uint64_t size = 0;
    for (; place < end && count < READ_PLACES_MAX; place++) {
        uint64_t part = log_batch_size(place->length);
        bool next = count == 0 || (place->sequence == ret_places[0].sequence &&
                                   place->offset == ret_places[0].offset + size &&
                                   size + part <= LOG_READ_BYTES && size < bytes_max);
        if (!next)
            break;
        ret_places[count++] = *place;
        size += part;
    }
    *ret_size = size;
    return count;
}

static enum lilio_err read_back(struct raft_log *log, uint64_t index, struct entries *entries)
{
    struct log_place places[READ_PLACES_MAX] = {0};
    uint64_t size = 0;
    size_t got = 0;
    pthread_mutex_lock(&log->lock);
    size_t count = gather(log, index, entries->bytes_max, places, &size);
    const struct log_segment *segment = log_segment_get(log, places[0].sequence);
    struct base_file *file = segment->file; /* it is not cut: index is kept */
    uint64_t nonce = segment->nonce;
    pthread_mutex_unlock(&log->lock);
    enum lilio_err err = log_buffer_reserve(&log->read, size);
    err = err ? err : file->ops->read(file, log->read.data, size, places[0].offset, &got, NULL);
    if (!err && got < size)
        err = LILIO_E_CORRUPT;
    for (size_t i = 0; i < count && !err; i++)
        err = parse_batch(&places[i], nonce, log->read.data + (places[i].offset - places[0].offset),
                          index, entries);
    return err;
}

static enum lilio_err view_read(void *context, uint64_t index, size_t count_max, size_t bytes_max,
                                struct raft_entry *ret_entries, size_t *ret_count)
{
    struct raft_log *log = context;
    struct entries entries = {ret_entries, 0, count_max, 0, bytes_max};
    enum lilio_err err = LILIO_OK;
    if (index <= log->table.base_index || index > log->table.last || count_max == 0)
        return LILIO_E_NOT_FOUND;
    if (index < log->cache_first)
        err = read_back(log, index, &entries);
    else
        while (index <= log->table.last && entries_add(&entries, *cache_at(log, index)))
            index++;
    if (!err)
        *ret_count = entries.count;
    return err;
}

struct raft_log_view raft_log_view(struct raft_log *log)
{
    return (struct raft_log_view){view_first, view_last, view_term, view_read, log};
}

/* ---- where it stands ---- */

void raft_log_durable(struct raft_log *log, uint64_t *ret_index, uint64_t *ret_term)
{
    pthread_mutex_lock(&log->lock);
    *ret_index = log->durable;
    *ret_term = log_table_term(&log->table, log->durable);
    pthread_mutex_unlock(&log->lock);
}

bool raft_log_due(struct raft_log *log)
{
    pthread_mutex_lock(&log->lock);
    bool due = !log->failed && (log->unwritten <= log->table.last || log_chores_due(log));
    pthread_mutex_unlock(&log->lock);
    return due;
}

bool raft_log_waiting(struct raft_log *log)
{
    pthread_mutex_lock(&log->lock);
    bool mark = !log->failed && log->mark_due;
    pthread_mutex_unlock(&log->lock);
    return mark || raft_log_due(log);
}

size_t raft_log_waiting_bytes(struct raft_log *log)
{
    pthread_mutex_lock(&log->lock);
    size_t bytes = log->waiting_bytes;
    pthread_mutex_unlock(&log->lock);
    return bytes;
}

uint64_t raft_log_bytes(struct raft_log *log)
{
    uint64_t bytes = 0;
    pthread_mutex_lock(&log->lock);
    for (size_t i = 0; i < log->segments.count; i++)
        bytes += log->segments.list[i]->written;
    pthread_mutex_unlock(&log->lock);
    return bytes;
}

/* ---- cutting ---- */

void raft_log_cut(struct raft_log *log, uint64_t index)
{
    struct log_table *table = &log->table;
    struct log_segments *segments = &log->segments;
    pthread_mutex_lock(&log->lock);
    size_t pool = segments->pool, place = 0;
    for (; pool < segments->active; pool++) {
        uint64_t sequence = segments->list[pool]->sequence;
        while (place < table->place_count && table->places[place].sequence == sequence &&
               table->places[place].first + table->places[place].count <= index + 1)
            place++;
        if (place < table->place_count && table->places[place].sequence == sequence)
            break; /* something in it is needed */
    }
    if (pool > segments->pool) {
        log_table_cut(table, segments->list[pool - 1]->sequence);
        segments->pool = pool;
        log->full = false;
        while (log->cache_first <= table->base_index && log->cache_first < log->cache_end)
            cache_free(log, log->cache_first++);
    }
    pthread_mutex_unlock(&log->lock);
}

enum lilio_err raft_log_reset(struct raft_log *log, uint64_t index, uint64_t term,
                              struct lilio_errinfo *info)
{
    struct log_segments *segments = &log->segments;
    const struct log_header start = {
        .reset = true, .base_index = index, .base_term = term, .number = log->number};
    if (log->failed)
        return lilio_fail(info, LILIO_E_IO, "an earlier write of the log failed");
    enum lilio_err err =
        segments->active + 1 < segments->count
            ? log_segment_birth(log, segments->list[segments->count - 1], &start, info)
            : log_segment_add(log, &start, info);
    if (err)
        return log_fail(log, lilio_prefix(info, err, "log"));
    pthread_mutex_lock(&log->lock);
    cache_drop(log, log->cache_first, log->cache_end);
    log_table_reset(&log->table, index, term);
    log->durable = index;
    log->unwritten = log->cache_first = log->cache_end = index + 1;
    log->flight_end = 0;
    log->waiting_bytes = 0;
    log->mark_due = false;
    segments->pool = segments->active = segments->count - 1;
    pthread_mutex_unlock(&log->lock);
    return LILIO_OK;
}
