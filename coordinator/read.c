/* Reads: buckets, objects, listings, walks. They see rows as of a snapshot or the latest, and
 * change nothing. */
#include "coordinator/state_priv.h"

#include "base/banned.h"

/* ---- buckets ---- */

enum lilio_err coord_read_bucket(const struct coord_view *view, struct base_slice name,
                                 struct proto_bucket *ret, struct lilio_errinfo *info)
{
    if (name.size < 1 || name.size > COORD_BUCKET_NAME_MAX)
        return lilio_fail(info, LILIO_E_NO_BUCKET, "no such bucket");
    struct coord_key key = coord_key_text(name);
    struct base_buffer id = {0};
    enum lilio_err err =
        coord_view_bytes(view, COORD_BUCKET_NAMES, coord_key_slice(&key), &id, info);
    if (!err && id.size != 8)
        err = lilio_fail(info, LILIO_E_CORRUPT, "a bucket name has no id");
    if (!err) {
        key = coord_key_u64(base_be64_get(id.data));
        err = coord_view_get(view, COORD_BUCKETS, &key, &proto_type_bucket, ret, info);
    }
    base_buffer_release(&id);
    if (err == LILIO_E_NOT_FOUND)
        return lilio_fail(info, LILIO_E_NO_BUCKET, "no bucket %.*s", (int)name.size,
                          (const char *)name.data);
    return err;
}

static uint32_t page_limit(uint32_t asked)
{
    return asked == 0 || asked > COORD_PAGE_MAX ? COORD_PAGE_MAX : asked;
}

static void *take(const struct coord_view *view, size_t size, enum lilio_err *err,
                  struct lilio_errinfo *info)
{
    void *memory = proto_arena_take(view->arena, size);
    if (!memory)
        *err = lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    return memory;
}

enum lilio_err coord_read_buckets(const struct coord_view *view,
                                  const struct proto_bucket_list *ask, struct proto_buckets *ret,
                                  struct lilio_errinfo *info)
{
    uint32_t limit = page_limit(ask->limit);
    struct base_kv_iter *iter = NULL;
    enum lilio_err err = coord_view_iter(view, COORD_BUCKET_NAMES, &iter, info);
    if (err)
        return err;
    *ret = (struct proto_buckets){0};
    ret->buckets = take(view, limit * sizeof *ret->buckets, &err, info);
    base_kv_iter_seek(iter, ask->after);
    for (; base_kv_iter_valid(iter) && !err; base_kv_iter_next(iter)) {
        struct base_slice name = base_kv_iter_key(iter);
        if (ask->after.size > 0 && base_slice_equal(name, ask->after))
            continue;
        if (ret->buckets_count == limit) {
            ret->more = true;
            break;
        }
        err = coord_read_bucket(view, name, &ret->buckets[ret->buckets_count++], info);
    }
    if (!err)
        err = base_kv_iter_error(iter, info);
    base_kv_iter_free(&iter);
    return err;
}

/* ---- objects ---- */

enum lilio_err coord_read_data(const struct coord_view *view, struct base_oid oid,
                               struct proto_data_row *ret, struct lilio_errinfo *info)
{
    struct coord_key key = coord_key_oid(oid);
    enum lilio_err err = coord_view_get(view, COORD_DATA, &key, &proto_type_data_row, ret, info);
    return err == LILIO_E_NOT_FOUND ? lilio_fail(info, err, "no such run") : err;
}

enum lilio_err coord_read_object(const struct coord_view *view, const struct proto_lookup *ask,
                                 struct proto_object *ret, struct lilio_errinfo *info)
{
    *ret = (struct proto_object){0};
    enum lilio_err err = coord_read_bucket(view, ask->bucket, &ret->bucket, info);
    if (!err)
        err = coord_key_check(info, ask->key);
    if (!err)
        err = coord_current(view, ret->bucket.id, ask->key, &ret->row, info);
    bool asked = ask->version.index != 0;
    if (asked &&
        (err == LILIO_E_NO_KEY || (!err && !coord_version_equal(ask->version, ret->row.version))))
        return lilio_fail(info, LILIO_E_VERSION_GONE, "this version was replaced or deleted");
    if (err || ret->row.extents_count != 1)
        return err;
    ret->data = take(view, sizeof *ret->data, &err, info);
    if (!err)
        err = coord_read_data(view, ret->row.extents[0].oid, ret->data, info);
    if (err == LILIO_E_NOT_FOUND)
        return lilio_fail(info, LILIO_E_CORRUPT,
                          "the object maps are damaged: a version names a run that is not there");
    ret->data_count = err ? 0 : 1;
    return err;
}

/* ---- listings ---- */

/* The token is the bucket id, then what the page ended with: 0 and a key, or 1 and a common prefix.
 */
enum { TOKEN_HEAD = 9, TOKEN_KEY = 0, TOKEN_PREFIX = 1 };

struct walk {
    const struct coord_view *view;
    const struct proto_list *ask;
    struct proto_bucket bucket;
    struct base_kv_iter *iter;
    struct coord_key prefix; /* keys in the listing start with this */
    struct proto_listing *page;
    uint32_t limit;
    struct lilio_errinfo *info;
};

static enum lilio_err token_seek(struct walk *walk)
{
    struct base_slice token = walk->ask->token;
    if (token.size == 0) {
        base_kv_iter_seek(walk->iter, coord_key_slice(&walk->prefix));
        return LILIO_OK;
    }
    bool valid = token.size > TOKEN_HEAD && token.size <= TOKEN_HEAD + COORD_KEY_MAX &&
                 token.data[8] <= TOKEN_PREFIX;
    if (!valid || base_be64_get(token.data) != walk->bucket.id)
        return lilio_fail(walk->info, LILIO_E_INVALID, "the token is not one of this bucket");
    struct base_slice text = base_slice(token.data + TOKEN_HEAD, token.size - TOKEN_HEAD);
    struct coord_key at = token.data[8] == TOKEN_PREFIX ? coord_key_names(walk->bucket.id, text)
                                                        : coord_key_version(walk->bucket.id, text);
    if (!coord_key_after_prefix(&at))
        return lilio_fail(walk->info, LILIO_E_INVALID, "the token is not one of this bucket");
    if (memcmp(at.bytes, walk->prefix.bytes,
               at.size < walk->prefix.size ? at.size : walk->prefix.size) < 0)
        at = walk->prefix; /* a token of another prefix */
    base_kv_iter_seek(walk->iter, coord_key_slice(&at));
    return LILIO_OK;
}

/* Length of the common prefix a name falls under, delimiter included; 0 if it is a line of its own.
 */
static size_t common_length(const struct proto_list *ask, struct base_slice name)
{
    if (ask->delimiter.size == 0 || name.size <= ask->prefix.size)
        return 0;
    const uint8_t *from = name.data + ask->prefix.size;
    const uint8_t *at =
        memmem(from, name.size - ask->prefix.size, ask->delimiter.data, ask->delimiter.size);
    return at ? (size_t)(at - name.data) + ask->delimiter.size : 0;
}

static struct base_slice content_type(const struct proto_version_row *row)
{
    for (size_t i = 0; i < row->attributes_count; i++) {
        const struct proto_attribute *attribute = &row->attributes[i];
        if (base_slice_equal(attribute->name, base_slice_str("content-type")) &&
            attribute->value.size <= 256 && proto_utf8_valid(attribute->value))
            return attribute->value;
    }
    return base_slice(NULL, 0);
}

static enum lilio_err copy_text(const struct walk *walk, struct base_slice text,
                                struct base_slice *ret)
{
    enum lilio_err err = LILIO_OK;
    *ret = base_slice(NULL, 0);
    if (text.size == 0)
        return LILIO_OK;
    uint8_t *copy = take(walk->view, text.size, &err, walk->info);
    if (!err) {
        memcpy(copy, text.data, text.size);
        *ret = base_slice(copy, text.size);
    }
    return err;
}

/* Adds the line the iterator stands at and moves past all that it covers. */
static enum lilio_err line_add(struct walk *walk, struct base_slice name)
{
    struct proto_list_entry *line = &walk->page->entries[walk->page->entries_count];
    size_t common = common_length(walk->ask, name);
    *line = (struct proto_list_entry){.is_prefix = common > 0};
    enum lilio_err err =
        copy_text(walk, base_slice(name.data, common ? common : name.size), &line->key);
    if (!err && !line->is_prefix) {
        struct proto_version_row row; /* not copied: it may hold the content of a small object */
        err = coord_view_unpack_here(walk->view, &proto_type_version_row,
                                     base_kv_iter_value(walk->iter), &row, walk->info);
        if (!err) {
            line->size = row.logical_size;
            line->version = row.version;
            line->modified_ms = row.modified_ms;
            line->crc32c = row.crc32c;
            line->is_inline = row.inline_bytes.size > 0;
            err = copy_text(walk, content_type(&row), &line->content_type);
        }
    }
    if (err)
        return err;
    walk->page->entries_count++;
    if (!line->is_prefix) {
        base_kv_iter_next(walk->iter);
        return LILIO_OK;
    }
    struct coord_key next = coord_key_names(walk->bucket.id, line->key);
    (void)coord_key_after_prefix(&next); /* no bucket id is all ones */
    base_kv_iter_seek(walk->iter, coord_key_slice(&next));
    return LILIO_OK;
}

static enum lilio_err token_make(struct walk *walk)
{
    const struct proto_list_entry *last = &walk->page->entries[walk->page->entries_count - 1];
    enum lilio_err err = LILIO_OK;
    uint8_t *token = take(walk->view, TOKEN_HEAD + last->key.size, &err, walk->info);
    if (err)
        return err;
    base_be64_put(token, walk->bucket.id);
    token[8] = last->is_prefix ? TOKEN_PREFIX : TOKEN_KEY;
    memcpy(token + TOKEN_HEAD, last->key.data, last->key.size);
    walk->page->token = base_slice(token, TOKEN_HEAD + last->key.size);
    walk->page->more = true;
    return LILIO_OK;
}

static enum lilio_err walk_page(struct walk *walk)
{
    enum lilio_err err = token_seek(walk);
    while (!err && base_kv_iter_valid(walk->iter)) {
        uint64_t bucket_id;
        struct base_slice key = base_kv_iter_key(walk->iter), name;
        if (!coord_key_has_prefix(key, &walk->prefix))
            break;
        if (!coord_key_version_parse(key, &bucket_id, &name))
            return lilio_fail(walk->info, LILIO_E_CORRUPT, "a version has an impossible key");
        if (walk->page->entries_count == walk->limit)
            return token_make(walk);
        err = line_add(walk, name);
    }
    return err ? err : base_kv_iter_error(walk->iter, walk->info);
}

enum lilio_err coord_read_listing(const struct coord_view *view, const struct proto_list *ask,
                                  struct proto_listing *ret, struct lilio_errinfo *info)
{
    *ret = (struct proto_listing){0};
    struct walk walk = {
        .view = view, .ask = ask, .page = ret, .limit = page_limit(ask->limit), .info = info};
    enum lilio_err err = coord_read_bucket(view, ask->bucket, &walk.bucket, info);
    if (err)
        return err;
    walk.prefix = coord_key_names(walk.bucket.id, ask->prefix);
    ret->entries = take(view, walk.limit * sizeof *ret->entries, &err, info);
    if (!err)
        err = coord_view_iter(view, COORD_VERSIONS, &walk.iter, info);
    if (!err)
        err = walk_page(&walk);
    base_kv_iter_free(&walk.iter);
    return err;
}

/* ---- walks over the runs ---- */

static enum lilio_err names_add(const struct coord_view *view, uint64_t bucket_id,
                                struct base_slice key, struct proto_scan_row *row,
                                struct lilio_errinfo *info)
{
    struct proto_bucket bucket;
    struct coord_key bucket_key = coord_key_u64(bucket_id);
    enum lilio_err err =
        coord_view_get(view, COORD_BUCKETS, &bucket_key, &proto_type_bucket, &bucket, info);
    uint8_t *copy = err ? NULL : take(view, key.size, &err, info);
    if (err)
        return err == LILIO_E_NOT_FOUND
                   ? lilio_fail(info, LILIO_E_CORRUPT, "a reference has no bucket")
                   : err;
    memcpy(copy, key.data, key.size);
    row->names[row->names_count++] =
        (struct proto_name){.bucket = bucket.name, .key = base_slice(copy, key.size)};
    return LILIO_OK;
}

/* Whether a name uses the run: of the bucket, or of any when bucket_id is 0. Runs that are only
 * staged, or wait for collection, have none. */
static enum lilio_err is_named(struct base_kv_iter *refs, struct base_oid oid, uint64_t bucket_id,
                               bool *ret, struct lilio_errinfo *info)
{
    struct coord_key first =
        bucket_id ? coord_key_ref(oid, bucket_id, base_slice(NULL, 0)) : coord_key_oid(oid);
    base_kv_iter_seek(refs, coord_key_slice(&first));
    *ret = base_kv_iter_valid(refs) && coord_key_has_prefix(base_kv_iter_key(refs), &first);
    return *ret ? LILIO_OK : base_kv_iter_error(refs, info);
}

/* Who uses the run: the first names, how many there are, the oldest entry among the first. */
static enum lilio_err names_read(const struct coord_view *view, struct base_kv_iter *refs,
                                 struct proto_scan_row *row, struct lilio_errinfo *info)
{
    struct coord_key first = coord_key_oid(row->data.oid);
    enum lilio_err err = LILIO_OK;
    row->names = take(view, COORD_SCAN_NAMES * sizeof *row->names, &err, info);
    base_kv_iter_seek(refs, coord_key_slice(&first));
    for (; base_kv_iter_valid(refs) && !err && row->name_count < COORD_SCAN_NAMES_COUNTED;
         base_kv_iter_next(refs)) {
        struct base_oid oid;
        uint64_t owner;
        struct base_slice key;
        if (!coord_key_has_prefix(base_kv_iter_key(refs), &first))
            break;
        row->name_count++;
        if (row->names_count == COORD_SCAN_NAMES)
            continue;
        struct proto_ref_row ref;
        if (!coord_key_ref_parse(base_kv_iter_key(refs), &oid, &owner, &key))
            return lilio_fail(info, LILIO_E_CORRUPT, "a reference has an impossible key");
        err = coord_view_unpack(view, &proto_type_ref_row, base_kv_iter_value(refs), &ref, info);
        if (!err && (row->names_count == 0 || ref.version.index < row->commit_index))
            row->commit_index = ref.version.index;
        if (!err)
            err = names_add(view, owner, key, row, info);
    }
    return err ? err : base_kv_iter_error(refs, info);
}

enum lilio_err coord_read_names(const struct coord_view *view, struct base_oid oid,
                                struct proto_name **ret_names, size_t *ret_count,
                                struct lilio_errinfo *info)
{
    struct base_kv_iter *refs = NULL;
    struct proto_scan_row row = {.data = {.oid = oid}};
    enum lilio_err err = coord_view_iter(view, COORD_REFS, &refs, info);
    if (!err)
        err = names_read(view, refs, &row, info);
    base_kv_iter_free(&refs);
    *ret_names = row.names;
    *ret_count = err ? 0 : row.names_count;
    return err;
}

static size_t row_bytes(const struct proto_scan_row *row, size_t packed)
{
    for (size_t i = 0; i < row->names_count; i++)
        packed += row->names[i].bucket.size + row->names[i].key.size;
    return packed;
}

static enum lilio_err scan_rows(const struct coord_view *view, uint64_t bucket_id,
                                struct base_kv_iter *data, struct base_kv_iter *refs,
                                struct proto_scan_page *ret, struct lilio_errinfo *info)
{
    size_t bytes = 0, looked = 0;
    enum lilio_err err = LILIO_OK;
    for (; base_kv_iter_valid(data) && !err; base_kv_iter_next(data)) {
        if (ret->rows_count == COORD_SCAN_ROWS_MAX ||
            (bucket_id && looked++ == COORD_SCAN_LOOKED_MAX)) {
            ret->more = true;
            break;
        }
        if (!coord_key_oid_parse(base_kv_iter_key(data), &ret->next))
            return lilio_fail(info, LILIO_E_CORRUPT, "a run has an impossible key");
        bool named = false;
        err = is_named(refs, ret->next, bucket_id, &named, info);
        if (err || !named)
            continue;
        struct proto_scan_row *row = &ret->rows[ret->rows_count];
        *row = (struct proto_scan_row){0};
        err = coord_view_unpack(view, &proto_type_data_row, base_kv_iter_value(data), &row->data,
                                info);
        if (!err)
            err = names_read(view, refs, row, info);
        if (err)
            break;
        bytes += row_bytes(row, base_kv_iter_value(data).size);
        if (ret->rows_count > 0 && bytes > COORD_SCAN_PAGE_BYTES) {
            ret->more = true;
            break;
        }
        ret->rows_count++;
    }
    return err ? err : base_kv_iter_error(data, info);
}

enum lilio_err coord_read_scan(const struct coord_view *view, uint64_t bucket_id,
                               struct base_oid after, struct proto_scan_page *ret,
                               struct lilio_errinfo *info)
{
    *ret = (struct proto_scan_page){0};
    struct base_kv_iter *data = NULL, *refs = NULL;
    enum lilio_err err = coord_view_iter(view, COORD_DATA, &data, info);
    if (!err)
        err = coord_view_iter(view, COORD_REFS, &refs, info);
    if (!err)
        ret->rows = take(view, COORD_SCAN_ROWS_MAX * sizeof *ret->rows, &err, info);
    if (!err) {
        struct coord_key key = coord_key_oid(after);
        base_kv_iter_seek(data, coord_key_slice(&key));
        if (base_kv_iter_valid(data) &&
            base_slice_equal(base_kv_iter_key(data), coord_key_slice(&key)))
            base_kv_iter_next(data);
        err = scan_rows(view, bucket_id, data, refs, ret, info);
    }
    base_kv_iter_free(&refs);
    base_kv_iter_free(&data);
    return err;
}

/* ---- what the service keeps up with ---- */

enum lilio_err coord_read_session(const struct coord_view *view, uint64_t from_id,
                                  struct proto_session_row *ret, bool *ret_found,
                                  struct lilio_errinfo *info)
{
    struct base_kv_iter *iter = NULL;
    enum lilio_err err = coord_view_iter(view, COORD_SESSIONS, &iter, info);
    if (err)
        return err;
    *ret_found = false;
    struct coord_key key = coord_key_u64(from_id);
    base_kv_iter_seek(iter, coord_key_slice(&key));
    while (base_kv_iter_valid(iter)) {
        struct base_slice at = base_kv_iter_key(iter);
        if (at.size == 8) {
            err = coord_view_unpack(view, &proto_type_session_row, base_kv_iter_value(iter), ret,
                                    info);
            *ret_found = !err;
            break;
        }
        if (at.size < 8) { /* none of ours */
            err = lilio_fail(info, LILIO_E_CORRUPT, "a session has an impossible key");
            break;
        }
        key = coord_key_u64(base_be64_get(at.data) + 1); /* past the runs of a session */
        base_kv_iter_seek(iter, coord_key_slice(&key));
    }
    if (!err)
        err = base_kv_iter_error(iter, info);
    base_kv_iter_free(&iter);
    return err;
}

enum lilio_err coord_read_gc(const struct coord_view *view, const struct proto_gc_key *from,
                             struct coord_gc_item *ret_items, size_t room, size_t *ret_count,
                             struct lilio_errinfo *info)
{
    struct base_kv_iter *iter = NULL;
    enum lilio_err err = coord_view_iter(view, COORD_GC, &iter, info);
    if (err)
        return err;
    *ret_count = 0;
    struct coord_key key = coord_key_gc(from);
    base_kv_iter_seek(iter, coord_key_slice(&key));
    for (; base_kv_iter_valid(iter) && !err && *ret_count < room; base_kv_iter_next(iter)) {
        struct coord_gc_item *item = &ret_items[*ret_count];
        if (!coord_key_gc_parse(base_kv_iter_key(iter), &item->key))
            err = lilio_fail(info, LILIO_E_CORRUPT, "a gc row has an impossible key");
        else if (item->key.osd != from->osd)
            break;
        else
            err = coord_view_unpack(view, &proto_type_gc_row, base_kv_iter_value(iter), &item->row,
                                    info);
        *ret_count += err ? 0 : 1;
    }
    if (!err)
        err = base_kv_iter_error(iter, info);
    base_kv_iter_free(&iter);
    return err;
}

enum lilio_err coord_read_repair(const struct coord_view *view, const struct coord_repair_key *from,
                                 struct coord_repair_key *ret_keys, size_t room, size_t *ret_count,
                                 struct lilio_errinfo *info)
{
    struct base_kv_iter *iter = NULL;
    enum lilio_err err = coord_view_iter(view, COORD_REPAIR_QUEUE, &iter, info);
    if (err)
        return err;
    *ret_count = 0;
    struct coord_key key = coord_key_repair(from);
    base_kv_iter_seek(iter, coord_key_slice(&key));
    for (; base_kv_iter_valid(iter) && !err && *ret_count < room; base_kv_iter_next(iter)) {
        if (!coord_key_repair_parse(base_kv_iter_key(iter), &ret_keys[*ret_count]))
            err = lilio_fail(info, LILIO_E_CORRUPT, "the repair queue has an impossible key");
        *ret_count += err ? 0 : 1;
    }
    if (!err)
        err = base_kv_iter_error(iter, info);
    base_kv_iter_free(&iter);
    return err;
}

enum lilio_err coord_read_stripes(const struct coord_view *view, struct base_slice after,
                                  struct coord_stripes_item *ret_items, size_t room,
                                  size_t *ret_count, struct lilio_errinfo *info)
{
    struct base_kv_iter *iter = NULL;
    enum lilio_err err = coord_view_iter(view, COORD_STRIPES, &iter, info);
    if (err)
        return err;
    *ret_count = 0;
    base_kv_iter_seek(iter, after);
    if (base_kv_iter_valid(iter) && base_slice_equal(base_kv_iter_key(iter), after))
        base_kv_iter_next(iter);
    for (; base_kv_iter_valid(iter) && !err && *ret_count < room; base_kv_iter_next(iter)) {
        struct coord_stripes_item *item = &ret_items[*ret_count];
        struct proto_stripes_row row;
        err = coord_view_unpack_here(view, &proto_type_stripes_row, base_kv_iter_value(iter), &row,
                                     info);
        if (!err && !coord_key_stripes_parse(base_kv_iter_key(iter), &item->key))
            err = lilio_fail(info, LILIO_E_CORRUPT, "a counter of stripes has an impossible key");
        memset(item->counts, 0, sizeof item->counts);
        for (size_t i = 0; !err && i < row.counts_count; i++)
            item->counts[i] = row.counts[i];
        *ret_count += err ? 0 : 1;
    }
    if (!err)
        err = base_kv_iter_error(iter, info);
    base_kv_iter_free(&iter);
    return err;
}
