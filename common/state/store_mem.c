/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The store in memory: one treap a table, persistent by path copying. A snapshot is a reference to
 * a root; a writer copies only the nodes that somebody else can still see. Priorities are a hash of
 * the key, so that the same contents have the same shape whatever the order of writes was.
 */
#include "state/store.h"

#include <errno.h>
#include <string.h>

#define STORE_MEM_DEPTH_MAX 128 /* of a treap: some 2.5 log2 n in practice */

/* A row; immutable, shared by the node's copies. */
struct mem_pair {
    unsigned refs;
    uint32_t prio;
    size_t key_len, value_len;
    uint8_t data[]; /* key, value */
};

struct mem_node {
    unsigned refs;
    struct mem_pair *pair;
    struct mem_node *left, *right;
};

struct mem_txn {
    struct store_txn txn;
    struct mem_node *roots[STATE_TABLE_COUNT];
};

struct mem_store {
    struct store store;
    struct mem_node *roots[STATE_TABLE_COUNT];
    unsigned txns; /* open ones */
    bool writing;
};

/* The path from the root to the current node: its ancestors to the right, and itself. */
struct mem_cursor {
    struct mem_node *stack[STORE_MEM_DEPTH_MAX];
    unsigned depth;
};

static struct bytes mem_key(const struct mem_pair *p)
{
    return bytes_of(p->data, p->key_len);
}

static struct bytes mem_value(const struct mem_pair *p)
{
    return bytes_of(p->data + p->key_len, p->value_len);
}

static struct mem_pair *mem_pair_new(struct bytes key, struct bytes value)
{
    struct mem_pair *p = xmalloc(sizeof(*p) + key.len + value.len);
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a, then mixed */

    p->refs = 1;
    p->key_len = key.len;
    p->value_len = value.len;
    memcpy(p->data, key.data, key.len);
    if (value.len)
        memcpy(p->data + key.len, value.data, value.len);
    for (size_t i = 0; i < key.len; i++)
        h = (h ^ key.data[i]) * UINT64_C(0x100000001b3);
    h ^= h >> 32;
    h *= UINT64_C(0xd6e8feb86659fd93);
    p->prio = (uint32_t)(h >> 32);
    return p;
}

static void mem_pair_unref(struct mem_pair *p)
{
    if (--p->refs == 0)
        free(p);
}

static struct mem_node *mem_ref(struct mem_node *n)
{
    if (n)
        n->refs++;
    return n;
}

static void mem_unref(struct mem_node *n)
{
    while (n && --n->refs == 0) {
        struct mem_node *right = n->right;

        mem_unref(n->left);
        mem_pair_unref(n->pair);
        free(n);
        n = right;
    }
}

/* Trades a reference to a node for one to a node that nobody else sees. */
static struct mem_node *mem_own(struct mem_node *n)
{
    struct mem_node *copy;

    if (n->refs == 1)
        return n;
    copy = xmalloc(sizeof(*copy));
    *copy = (struct mem_node){1, n->pair, mem_ref(n->left), mem_ref(n->right)};
    copy->pair->refs++;
    mem_unref(n);
    return copy;
}

static struct mem_node *mem_rotate_right(struct mem_node *n)
{
    struct mem_node *l = mem_own(n->left);

    n->left = l->right;
    l->right = n;
    return l;
}

static struct mem_node *mem_rotate_left(struct mem_node *n)
{
    struct mem_node *r = mem_own(n->right);

    n->right = r->left;
    r->left = n;
    return r;
}

/* Consumes both references, returns the new tree's. */
static struct mem_node *mem_insert(struct mem_node *n, struct mem_pair *pair)
{
    int c;

    if (!n) {
        n = xmalloc(sizeof(*n));
        *n = (struct mem_node){1, pair, NULL, NULL};
        return n;
    }
    n = mem_own(n);
    c = bytes_cmp(mem_key(pair), mem_key(n->pair));
    if (c == 0) {
        mem_pair_unref(n->pair);
        n->pair = pair;
    } else if (c < 0) {
        n->left = mem_insert(n->left, pair);
        if (n->left->pair->prio > n->pair->prio)
            n = mem_rotate_right(n);
    } else {
        n->right = mem_insert(n->right, pair);
        if (n->right->pair->prio > n->pair->prio)
            n = mem_rotate_left(n);
    }
    return n;
}

/* All of a before all of b. Consumes both. */
static struct mem_node *mem_join(struct mem_node *a, struct mem_node *b)
{
    if (!a)
        return b;
    if (!b)
        return a;
    if (a->pair->prio >= b->pair->prio) {
        a = mem_own(a);
        a->right = mem_join(a->right, b);
        return a;
    }
    b = mem_own(b);
    b->left = mem_join(a, b->left);
    return b;
}

/* The key is there. */
static struct mem_node *mem_remove(struct mem_node *n, struct bytes key)
{
    struct mem_node *joined;
    int c;

    assert(n);
    n = mem_own(n);
    c = bytes_cmp(key, mem_key(n->pair));
    if (c < 0) {
        n->left = mem_remove(n->left, key);
        return n;
    }
    if (c > 0) {
        n->right = mem_remove(n->right, key);
        return n;
    }
    joined = mem_join(TAKE_PTR(n->left), TAKE_PTR(n->right));
    mem_unref(n);
    return joined;
}

static struct mem_pair *mem_find(struct mem_node *n, struct bytes key)
{
    while (n) {
        int c = bytes_cmp(key, mem_key(n->pair));

        if (c == 0)
            return n->pair;
        n = c < 0 ? n->left : n->right;
    }
    return NULL;
}

/* ---- store_ops ---- */

static int mem_begin(struct store *store, bool write, struct store_txn **ret)
{
    struct mem_store *s = CONTAINER_OF(store, struct mem_store, store);
    struct mem_txn *t;

    assert(!write || !s->writing);
    t = xmalloc(sizeof(*t));
    t->txn = (struct store_txn){.store = store, .write = write};
    for (unsigned i = 0; i < STATE_TABLE_COUNT; i++)
        t->roots[i] = mem_ref(s->roots[i]);
    s->txns++;
    s->writing |= write;
    *ret = &t->txn;
    return 0;
}

static void mem_abort(struct store_txn *txn)
{
    struct mem_txn *t = CONTAINER_OF(txn, struct mem_txn, txn);
    struct mem_store *s = CONTAINER_OF(txn->store, struct mem_store, store);

    for (unsigned i = 0; i < STATE_TABLE_COUNT; i++)
        mem_unref(t->roots[i]);
    s->txns--;
    if (txn->write)
        s->writing = false;
    free(t);
}

/* The roots change hands: what the transaction then drops is the state before. */
static int mem_commit(struct store_txn *txn)
{
    struct mem_txn *t = CONTAINER_OF(txn, struct mem_txn, txn);
    struct mem_store *s = CONTAINER_OF(txn->store, struct mem_store, store);

    for (unsigned i = 0; i < STATE_TABLE_COUNT; i++) {
        struct mem_node *before = s->roots[i];

        s->roots[i] = t->roots[i];
        t->roots[i] = before;
    }
    mem_abort(txn);
    return 0;
}

static int mem_get(struct store_txn *txn, enum state_table table, struct bytes key,
                   struct bytes *ret)
{
    struct mem_txn *t = CONTAINER_OF(txn, struct mem_txn, txn);
    struct mem_pair *p = mem_find(t->roots[table], key);

    if (!p)
        return STORE_E_NOT_FOUND;
    *ret = mem_value(p);
    return 0;
}

static int mem_put(struct store_txn *txn, enum state_table table, struct bytes key,
                   struct bytes value)
{
    struct mem_txn *t = CONTAINER_OF(txn, struct mem_txn, txn);

    t->roots[table] = mem_insert(t->roots[table], mem_pair_new(key, value));
    return 0;
}

static int mem_del(struct store_txn *txn, enum state_table table, struct bytes key)
{
    struct mem_txn *t = CONTAINER_OF(txn, struct mem_txn, txn);

    if (!mem_find(t->roots[table], key))
        return STORE_E_NOT_FOUND;
    t->roots[table] = mem_remove(t->roots[table], key);
    return 0;
}

static int mem_begin_replace(struct store *store, struct store_txn **ret)
{
    int r = mem_begin(store, true, ret);

    for (unsigned i = 0; r == 0 && i < STATE_TABLE_COUNT; i++) {
        struct mem_txn *t = CONTAINER_OF(*ret, struct mem_txn, txn);

        if (!state_table_replicated((enum state_table)i))
            continue;
        mem_unref(t->roots[i]);
        t->roots[i] = NULL;
    }
    return r;
}

static int mem_cursor_open(struct store_cursor *c)
{
    c->impl = xcalloc(1, sizeof(struct mem_cursor));
    return 0;
}

static void mem_cursor_close(struct store_cursor *c)
{
    free(c->impl);
}

static int mem_cursor_top(struct mem_cursor *mc, struct bytes *key, struct bytes *value)
{
    *key = *value = (struct bytes){0};
    if (mc->depth == 0)
        return STORE_E_NOT_FOUND;
    *key = mem_key(mc->stack[mc->depth - 1]->pair);
    *value = mem_value(mc->stack[mc->depth - 1]->pair);
    return 0;
}

static int mem_cursor_seek(struct store_cursor *c, struct bytes at, struct bytes *key,
                           struct bytes *value)
{
    struct mem_txn *t = CONTAINER_OF(c->txn, struct mem_txn, txn);
    struct mem_cursor *mc = c->impl;

    mc->depth = 0;
    for (struct mem_node *n = t->roots[c->table]; n;) {
        if (bytes_cmp(mem_key(n->pair), at) >= 0) {
            assert(mc->depth < STORE_MEM_DEPTH_MAX);
            mc->stack[mc->depth++] = n;
            n = n->left;
        } else {
            n = n->right;
        }
    }
    return mem_cursor_top(mc, key, value);
}

static int mem_cursor_next(struct store_cursor *c, struct bytes *key, struct bytes *value)
{
    struct mem_cursor *mc = c->impl;

    if (mc->depth > 0) {
        struct mem_node *n = mc->stack[--mc->depth]->right;

        for (; n; n = n->left) {
            assert(mc->depth < STORE_MEM_DEPTH_MAX);
            mc->stack[mc->depth++] = n;
        }
    }
    return mem_cursor_top(mc, key, value);
}

static int mem_maintain(struct store *store)
{
    (void)store;
    return 0;
}

static struct store *mem_free(struct store *store)
{
    struct mem_store *s = CONTAINER_OF(store, struct mem_store, store);

    assert(s->txns == 0);
    for (unsigned i = 0; i < STATE_TABLE_COUNT; i++)
        mem_unref(s->roots[i]);
    free(s);
    return NULL;
}

struct store *store_mem_new(void)
{
    static const struct store_ops ops = {
        .begin = mem_begin,
        .begin_replace = mem_begin_replace,
        .commit = mem_commit,
        .abort = mem_abort,
        .get = mem_get,
        .put = mem_put,
        .del = mem_del,
        .cursor_open = mem_cursor_open,
        .cursor_seek = mem_cursor_seek,
        .cursor_next = mem_cursor_next,
        .cursor_close = mem_cursor_close,
        .maintain = mem_maintain,
        .free = mem_free,
    };
    struct mem_store *s = xcalloc(1, sizeof(*s));

    s->store.ops = &ops;
    return &s->store;
}
