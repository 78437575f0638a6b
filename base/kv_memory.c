/* The store in memory: per column an immutable (path-copying) treap with counted references.
 *
 * A change makes new nodes along one path and swaps the root, so a snapshot is a reference to the
 * roots and an iterator one to its root: both see what was there and block nobody. Priorities are a
 * hash of the key: the shape of a tree depends on its keys alone. A batch is a tree of rows,
 * deletions included, laid over the store's tree when it is committed, or iterated over for the
 * first time: from then on both trees are kept.
 */
#include "base/kv_priv.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/banned.h"

struct row {
    atomic_uint refs;
    bool deleted; /* in a batch's tree only */
    uint64_t priority;
    size_t key_size, value_size;
    uint8_t bytes[]; /* key, then value */
};

struct node {
    atomic_uint refs;
    uint64_t head; /* of the key: decides most comparisons without a look at the row */
    struct row *row;
    struct node *left, *right;
};

struct memory_kv {
    struct base_kv head;
    pthread_mutex_t lock; /* guards roots */
    struct node *roots[BASE_KV_COLUMNS_MAX];
};

struct memory_batch {
    struct base_kv_batch head;
    struct node *roots[BASE_KV_COLUMNS_MAX], *mark_roots[BASE_KV_COLUMNS_MAX];
    /* A column as it will be, and the store's tree it was made from; NULL: not made yet. */
    struct node *laid[BASE_KV_COLUMNS_MAX], *below[BASE_KV_COLUMNS_MAX];
    size_t count, mark_count;
    bool marked, failed; /* failed: memory ran out; commit says so */
};

struct memory_snapshot {
    struct base_kv_snapshot head;
    struct node *roots[BASE_KV_COLUMNS_MAX];
};

enum { PATH_ROOM = 64 };

struct memory_iter {
    struct base_kv_iter head;
    struct node *root;
    const struct node *at;              /* kept alive by root; NULL when not valid */
    const struct node *path[PATH_ROOM]; /* from the root to the parent of `at`, as far as it fits */
    size_t depth;                       /* how long it is */
};

static const struct base_kv_ops memory_ops;

/* ---- rows and nodes ---- */

static struct base_slice row_key(const struct row *row)
{
    return base_slice(row->bytes, row->key_size);
}

static struct base_slice row_value(const struct row *row)
{
    return base_slice(row->bytes + row->key_size, row->value_size);
}

static int compare(struct base_slice a, struct base_slice b)
{
    size_t least = a.size < b.size ? a.size : b.size;
    int order = least ? memcmp(a.data, b.data, least) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* The first bytes as a number: keys are in the order of their heads, where these differ. */
static uint64_t head_of(struct base_slice key)
{
    uint8_t bytes[8] = {0};
    if (key.size)
        memcpy(bytes, key.data, key.size < sizeof bytes ? key.size : sizeof bytes);
    return base_be64_get(bytes);
}

static uint64_t hash(struct base_slice key)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a, then mixed so that the high bits depend on all */
    for (size_t i = 0; i < key.size; i++)
        h = (h ^ key.data[i]) * 0x100000001b3u;
    h = (h ^ h >> 32) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static struct row *row_new(struct base_slice key, struct base_slice value, bool deleted)
{
    struct row *row = malloc(sizeof *row + key.size + value.size);
    if (!row)
        return NULL;
    *row = (struct row){1, deleted, hash(key), key.size, value.size};
    if (key.size)
        memcpy(row->bytes, key.data, key.size);
    if (value.size)
        memcpy(row->bytes + key.size, value.data, value.size);
    return row;
}

static struct row *row_ref(struct row *row)
{
    atomic_fetch_add(&row->refs, 1);
    return row;
}

static void row_unref(struct row *row)
{
    if (atomic_fetch_sub(&row->refs, 1) == 1)
        free(row);
}

static struct node *tree_ref(struct node *tree)
{
    if (tree)
        atomic_fetch_add(&tree->refs, 1);
    return tree;
}

static void tree_unref(struct node *tree)
{
    if (!tree || atomic_fetch_sub(&tree->refs, 1) != 1)
        return;
    tree_unref(tree->left);
    tree_unref(tree->right);
    row_unref(tree->row);
    free(tree);
}

/* Takes the references to both subtrees, also when memory runs out; then it sets *failed and
 * answers NULL. */
static struct node *node_new(struct row *row, struct node *left, struct node *right, bool *failed)
{
    struct node *node = *failed ? NULL : malloc(sizeof *node);
    if (!node) {
        *failed = true;
        tree_unref(left);
        tree_unref(right);
        return NULL;
    }
    *node = (struct node){1, head_of(row_key(row)), row_ref(row), left, right};
    return node;
}

/* The order of the node's key and this one, whose head is given. */
static int compare_at(const struct node *node, struct base_slice key, uint64_t head)
{
    if (node->head != head)
        return node->head < head ? -1 : 1;
    return compare(row_key(node->row), key);
}

/* ---- trees: each function gives a new tree and leaves the old one as it is ---- */

/* Lifts the fresh child `up` over the row that was its parent; the other child of the parent is
 * taken. */
static struct node *lift_left(struct row *parent, struct node *up, struct node *right, bool *failed)
{
    up->right = node_new(parent, up->right, right, failed);
    return up;
}

static struct node *lift_right(struct row *parent, struct node *left, struct node *up, bool *failed)
{
    up->left = node_new(parent, left, up->left, failed);
    return up;
}

static struct node *tree_put(struct node *tree, struct row *row, bool *failed)
{
    if (!tree)
        return node_new(row, NULL, NULL, failed);
    int order = -compare_at(tree, row_key(row), head_of(row_key(row)));
    if (order == 0)
        return node_new(row, tree_ref(tree->left), tree_ref(tree->right), failed);
    struct node *child = tree_put(order < 0 ? tree->left : tree->right, row, failed);
    if (*failed) {
        tree_unref(child);
        return NULL;
    }
    struct node *other = tree_ref(order < 0 ? tree->right : tree->left);
    bool lift = child->row->priority > tree->row->priority;
    if (order < 0)
        return lift ? lift_left(tree->row, child, other, failed)
                    : node_new(tree->row, child, other, failed);
    return lift ? lift_right(tree->row, other, child, failed)
                : node_new(tree->row, other, child, failed);
}

/* Every key of a is less than every key of b. */
static struct node *tree_join(struct node *a, struct node *b, bool *failed)
{
    if (!a || !b)
        return tree_ref(a ? a : b);
    if (a->row->priority > b->row->priority) {
        struct node *right = tree_join(a->right, b, failed);
        return node_new(a->row, tree_ref(a->left), right, failed);
    }
    struct node *left = tree_join(a, b->left, failed);
    return node_new(b->row, left, tree_ref(b->right), failed);
}

static struct node *tree_remove(struct node *tree, struct base_slice key, bool *failed)
{
    if (!tree)
        return NULL;
    int order = -compare_at(tree, key, head_of(key));
    if (order == 0)
        return tree_join(tree->left, tree->right, failed);
    struct node *child = tree_remove(order < 0 ? tree->left : tree->right, key, failed);
    struct node *other = tree_ref(order < 0 ? tree->right : tree->left);
    return order < 0 ? node_new(tree->row, child, other, failed)
                     : node_new(tree->row, other, child, failed);
}

static struct row *tree_find(const struct node *tree, struct base_slice key)
{
    uint64_t head = head_of(key);
    for (int order; tree; tree = order > 0 ? tree->left : tree->right)
        if ((order = compare_at(tree, key, head)) == 0)
            return tree->row;
    return NULL;
}

/* Changes *tree, which is replaced, as the row says. */
static void tree_change(struct node **tree, struct row *row, bool *failed)
{
    struct node *next =
        row->deleted ? tree_remove(*tree, row_key(row), failed) : tree_put(*tree, row, failed);
    tree_unref(*tree);
    *tree = next;
}

/* Lays the rows of `over` over *tree. */
static void tree_lay(struct node **tree, const struct node *over, bool *failed)
{
    if (!over || *failed)
        return;
    tree_lay(tree, over->left, failed);
    tree_change(tree, over->row, failed);
    tree_lay(tree, over->right, failed);
}

/* ---- the store ---- */

static void roots_unref(struct node **roots)
{
    for (unsigned i = 0; i < BASE_KV_COLUMNS_MAX; i++) {
        tree_unref(roots[i]);
        roots[i] = NULL;
    }
}

static void roots_copy(struct node **to, struct node *const *from)
{
    for (unsigned i = 0; i < BASE_KV_COLUMNS_MAX; i++)
        to[i] = tree_ref(from[i]);
}

/* A reference to the column's tree as it is now. */
static struct node *current_root(struct base_kv *base, unsigned column)
{
    struct memory_kv *kv = (struct memory_kv *)base;
    pthread_mutex_lock(&kv->lock);
    struct node *root = tree_ref(kv->roots[column]);
    pthread_mutex_unlock(&kv->lock);
    return root;
}

enum lilio_err base_kv_open_memory(const struct base_kv_options *options, struct base_kv **ret_kv,
                                   struct lilio_errinfo *info)
{
    LILIO_ASSERT(options->column_count <= BASE_KV_COLUMNS_MAX);
    if (options->must_exist)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "a store in memory is always a new one");
    struct memory_kv *kv = calloc(1, sizeof *kv);
    if (!kv)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    base_kv_head_init(&kv->head, &memory_ops, options);
    pthread_mutex_init(&kv->lock, NULL);
    *ret_kv = &kv->head;
    return LILIO_OK;
}

static void memory_free(struct base_kv *base)
{
    struct memory_kv *kv = (struct memory_kv *)base;
    roots_unref(kv->roots);
    pthread_mutex_destroy(&kv->lock);
    free(kv);
}

static enum lilio_err copy_value(const struct row *row, struct base_buffer *ret_value,
                                 struct lilio_errinfo *info)
{
    if (!row || row->deleted)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "no such row");
    struct base_slice value = row_value(row);
    if (base_buffer_append(ret_value, value.data, value.size))
        return lilio_fail(info, LILIO_E_NOMEM, "get: out of memory");
    return LILIO_OK;
}

static enum lilio_err memory_get(struct base_kv *kv, const struct base_kv_snapshot *snapshot,
                                 unsigned column, struct base_slice key,
                                 struct base_buffer *ret_value, struct lilio_errinfo *info)
{
    struct node *root = snapshot
                            ? tree_ref(((const struct memory_snapshot *)snapshot)->roots[column])
                            : current_root(kv, column);
    enum lilio_err err = copy_value(tree_find(root, key), ret_value, info);
    tree_unref(root);
    return err;
}

/* ---- batches ---- */

static enum lilio_err memory_batch_new(struct base_kv *kv, struct base_kv_batch **ret_batch)
{
    struct memory_batch *batch = calloc(1, sizeof *batch);
    if (!batch)
        return LILIO_E_NOMEM;
    batch->head.kv = kv;
    *ret_batch = &batch->head;
    return LILIO_OK;
}

static void unlay(struct memory_batch *batch)
{
    roots_unref(batch->laid);
    roots_unref(batch->below);
}

/* The column with what the batch changes in it. Takes the reference to the store's tree. */
static struct node *lay(struct memory_batch *batch, unsigned column, struct node *below)
{
    struct node *at = batch->below[column];
    if (!at || at != below) {
        tree_unref(batch->laid[column]);
        batch->laid[column] = tree_ref(below);
        tree_lay(&batch->laid[column], batch->roots[column], &batch->failed);
        batch->below[column] = tree_ref(below);
        tree_unref(at);
    }
    tree_unref(below);
    return tree_ref(batch->laid[column]);
}

static void memory_batch_clear(struct base_kv_batch *base)
{
    struct memory_batch *batch = (struct memory_batch *)base;
    unlay(batch);
    roots_unref(batch->roots);
    roots_unref(batch->mark_roots);
    batch->count = batch->mark_count = 0;
    batch->marked = batch->failed = false;
}

static void memory_batch_free(struct base_kv_batch *batch)
{
    memory_batch_clear(batch);
    free(batch);
}

static size_t memory_batch_count(const struct base_kv_batch *base)
{
    return ((const struct memory_batch *)base)->count;
}

static void batch_add(struct base_kv_batch *base, unsigned column, struct base_slice key,
                      struct base_slice value, bool deleted)
{
    struct memory_batch *batch = (struct memory_batch *)base;
    struct row *row = batch->failed ? NULL : row_new(key, value, deleted);
    batch->count++;
    if (!row) {
        batch->failed = true;
        return;
    }
    struct node *next = tree_put(batch->roots[column], row, &batch->failed);
    tree_unref(batch->roots[column]);
    batch->roots[column] = next;
    if (batch->below[column])
        tree_change(&batch->laid[column], row, &batch->failed);
    row_unref(row);
}

static void memory_batch_put(struct base_kv_batch *batch, unsigned column, struct base_slice key,
                             struct base_slice value)
{
    batch_add(batch, column, key, value, false);
}

static void memory_batch_delete(struct base_kv_batch *batch, unsigned column, struct base_slice key)
{
    batch_add(batch, column, key, base_slice(NULL, 0), true);
}

static enum lilio_err memory_batch_get(struct base_kv_batch *base, unsigned column,
                                       struct base_slice key, struct base_buffer *ret_value,
                                       struct lilio_errinfo *info)
{
    struct memory_batch *batch = (struct memory_batch *)base;
    if (batch->failed)
        return lilio_fail(info, LILIO_E_NOMEM, "get: out of memory");
    const struct row *row = tree_find(batch->roots[column], key);
    return row ? copy_value(row, ret_value, info)
               : memory_get(base->kv, NULL, column, key, ret_value, info);
}

static void memory_batch_mark(struct base_kv_batch *base)
{
    struct memory_batch *batch = (struct memory_batch *)base;
    roots_unref(batch->mark_roots);
    roots_copy(batch->mark_roots, batch->roots);
    batch->mark_count = batch->count;
    batch->marked = true;
}

static void memory_batch_rollback(struct base_kv_batch *base)
{
    struct memory_batch *batch = (struct memory_batch *)base;
    LILIO_ASSERT(batch->marked);
    unlay(batch);
    roots_unref(batch->roots);
    memcpy(batch->roots, batch->mark_roots, sizeof batch->roots);
    memset(batch->mark_roots, 0, sizeof batch->mark_roots);
    batch->count = batch->mark_count;
    batch->marked = false;
}

static enum lilio_err memory_batch_commit(struct base_kv_batch *base, bool sync,
                                          struct lilio_errinfo *info)
{
    (void)sync; /* memory is as durable as it gets */
    struct memory_batch *batch = (struct memory_batch *)base;
    struct memory_kv *kv = (struct memory_kv *)base->kv;
    struct node *next[BASE_KV_COLUMNS_MAX] = {0};
    pthread_mutex_lock(&kv->lock);
    for (unsigned i = 0; i < kv->head.column_count; i++)
        next[i] = lay(batch, i, tree_ref(kv->roots[i]));
    bool failed = batch->failed;
    if (!failed) {
        struct node *old[BASE_KV_COLUMNS_MAX];
        memcpy(old, kv->roots, sizeof old);
        memcpy(kv->roots, next, sizeof next);
        memcpy(next, old, sizeof next);
    }
    pthread_mutex_unlock(&kv->lock);
    roots_unref(next);
    memory_batch_clear(base);
    return failed ? lilio_fail(info, LILIO_E_NOMEM, "commit: out of memory") : LILIO_OK;
}

static enum lilio_err memory_flush(struct base_kv *kv, struct lilio_errinfo *info)
{
    (void)kv, (void)info; /* as durable as memory gets */
    return LILIO_OK;
}

static enum lilio_err memory_checkpoint(struct base_kv *kv, const char *path,
                                        struct lilio_errinfo *info)
{
    (void)kv;
    return lilio_fail(info, LILIO_E_UNSUPPORTED, "%s: a store in memory has no files", path);
}

/* ---- snapshots and iterators ---- */

static enum lilio_err memory_snapshot_new(struct base_kv *base,
                                          struct base_kv_snapshot **ret_snapshot)
{
    struct memory_kv *kv = (struct memory_kv *)base;
    struct memory_snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (!snapshot)
        return LILIO_E_NOMEM;
    snapshot->head.kv = base;
    pthread_mutex_lock(&kv->lock);
    roots_copy(snapshot->roots, kv->roots);
    pthread_mutex_unlock(&kv->lock);
    *ret_snapshot = &snapshot->head;
    return LILIO_OK;
}

static void memory_snapshot_free(struct base_kv_snapshot *base)
{
    roots_unref(((struct memory_snapshot *)base)->roots);
    free(base);
}

void base_kv_memory_restore(struct base_kv *base, const struct base_kv_snapshot *snapshot)
{
    struct memory_kv *kv = (struct memory_kv *)base;
    struct node *old[BASE_KV_COLUMNS_MAX];
    pthread_mutex_lock(&kv->lock);
    memcpy(old, kv->roots, sizeof old);
    roots_copy(kv->roots, ((const struct memory_snapshot *)snapshot)->roots);
    pthread_mutex_unlock(&kv->lock);
    roots_unref(old);
}

static enum lilio_err memory_iter_new(struct base_kv *kv, const struct base_kv_snapshot *snapshot,
                                      struct base_kv_batch *batch, unsigned column,
                                      struct base_kv_iter **ret_iter)
{
    struct memory_iter *iter = calloc(1, sizeof *iter);
    if (!iter)
        return LILIO_E_NOMEM;
    iter->head.kv = kv;
    iter->root = snapshot ? tree_ref(((const struct memory_snapshot *)snapshot)->roots[column])
                          : current_root(kv, column);
    struct memory_batch *over = (struct memory_batch *)batch;
    if (over)
        iter->root = lay(over, column, iter->root);
    if (over && over->failed) {
        tree_unref(iter->root);
        free(iter);
        return LILIO_E_NOMEM;
    }
    *ret_iter = &iter->head;
    return LILIO_OK;
}

static void memory_iter_free(struct base_kv_iter *base)
{
    tree_unref(((struct memory_iter *)base)->root);
    free(base);
}

static const struct node *child(const struct node *node, bool forward)
{
    return forward ? node->right : node->left;
}

static void path_push(struct memory_iter *iter, const struct node *node)
{
    if (iter->depth < PATH_ROOM)
        iter->path[iter->depth] = node;
    iter->depth++;
}

/* To the row with this key (not if strict), else the next one in that direction. */
static void iter_find(struct memory_iter *iter, struct base_slice key, bool forward, bool strict)
{
    uint64_t head = head_of(key);
    size_t depth = 0;
    iter->at = NULL;
    iter->depth = 0;
    for (const struct node *node = iter->root; node;) {
        int order = forward ? compare_at(node, key, head) : -compare_at(node, key, head);
        bool fits = order > 0 || (order == 0 && !strict);
        if (fits) {
            iter->at = node;
            depth = iter->depth;
        }
        path_push(iter, node);
        node = child(node, fits ? !forward : forward);
    }
    iter->depth = depth;
}

static void iter_step(struct memory_iter *iter, bool forward)
{
    const struct node *at = iter->at, *below = child(at, forward);
    if (!below && iter->depth > PATH_ROOM) {
        iter_find(iter, row_key(at->row), forward, true);
        return;
    }
    for (; below; below = child(at, !forward)) {
        path_push(iter, at);
        at = below;
    }
    if (at == iter->at) { /* up, past all that lies behind */
        while (iter->depth > 0 && child(iter->path[iter->depth - 1], forward) == at)
            at = iter->path[--iter->depth];
        at = iter->depth > 0 ? iter->path[--iter->depth] : NULL;
    }
    iter->at = at;
}

static void memory_iter_seek(struct base_kv_iter *base, struct base_slice key)
{
    iter_find((struct memory_iter *)base, key, true, false);
}

static void memory_iter_seek_last(struct base_kv_iter *base, struct base_slice key)
{
    iter_find((struct memory_iter *)base, key, false, false);
}

static void memory_iter_next(struct base_kv_iter *base)
{
    iter_step((struct memory_iter *)base, true);
}

static void memory_iter_prev(struct base_kv_iter *base)
{
    iter_step((struct memory_iter *)base, false);
}

static bool memory_iter_valid(const struct base_kv_iter *base)
{
    return ((const struct memory_iter *)base)->at;
}

static struct base_slice memory_iter_key(const struct base_kv_iter *base)
{
    return row_key(((const struct memory_iter *)base)->at->row);
}

static struct base_slice memory_iter_value(const struct base_kv_iter *base)
{
    return row_value(((const struct memory_iter *)base)->at->row);
}

static enum lilio_err memory_iter_error(const struct base_kv_iter *iter, struct lilio_errinfo *info)
{
    (void)iter, (void)info; /* nothing can fail */
    return LILIO_OK;
}

static const struct base_kv_ops memory_ops = {
    .free = memory_free,
    .get = memory_get,
    .batch_new = memory_batch_new,
    .batch_free = memory_batch_free,
    .batch_clear = memory_batch_clear,
    .batch_count = memory_batch_count,
    .batch_put = memory_batch_put,
    .batch_delete = memory_batch_delete,
    .batch_get = memory_batch_get,
    .batch_mark = memory_batch_mark,
    .batch_rollback = memory_batch_rollback,
    .batch_commit = memory_batch_commit,
    .flush = memory_flush,
    .checkpoint = memory_checkpoint,
    .snapshot_new = memory_snapshot_new,
    .snapshot_free = memory_snapshot_free,
    .iter_new = memory_iter_new,
    .iter_free = memory_iter_free,
    .iter_seek = memory_iter_seek,
    .iter_seek_last = memory_iter_seek_last,
    .iter_next = memory_iter_next,
    .iter_prev = memory_iter_prev,
    .iter_valid = memory_iter_valid,
    .iter_key = memory_iter_key,
    .iter_value = memory_iter_value,
    .iter_error = memory_iter_error,
};
