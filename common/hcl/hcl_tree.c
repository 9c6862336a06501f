/* SPDX-License-Identifier: MPL-2.0 */
#include "hcl/hcl_tree.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define CHUNK_SIZE  ((size_t)8192)
#define ALIGN_UP(n) (((n) + 15) & ~(size_t)15)

struct hcl_chunk {
    struct hcl_chunk *next;
    size_t size;
    _Alignas(16) char data[];
};

void *hcl_alloc(struct hcl_arena *a, size_t n)
{
    void *p;

    n = ALIGN_UP(n);
    if (!a->chunks || a->chunks->size - a->used < n) {
        size_t size = MAX(n, CHUNK_SIZE);
        struct hcl_chunk *c = xmalloc(sizeof(*c) + size);

        c->next = a->chunks;
        c->size = size;
        a->chunks = c;
        a->used = 0;
    }
    p = a->chunks->data + a->used;
    a->used += n;
    memset(p, 0, n);
    return p;
}

void *hcl_grow(struct hcl_arena *a, const void *old, size_t n_old, size_t n_new)
{
    void *p = hcl_alloc(a, n_new);

    assert(n_old <= n_new);
    if (n_old)
        memcpy(p, old, n_old);
    return p;
}

char *hcl_dup(struct hcl_arena *a, const char *s, size_t n)
{
    char *p = hcl_alloc(a, n + 1);

    if (n)
        memcpy(p, s, n);
    return p;
}

char *hcl_printf(struct hcl_arena *a, const char *fmt, ...)
{
    char buf[256], *p;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(buf, sizeof(buf), fmt, ap);
    va_end(ap);
    assert(n >= 0);
    p = hcl_alloc(a, (size_t)n + 1);
    va_start(ap, fmt);
    (void)vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

void hcl_arena_fini(struct hcl_arena *a)
{
    while (a->chunks) {
        struct hcl_chunk *c = a->chunks;

        a->chunks = c->next;
        free(c);
    }
    a->used = 0;
}

struct hcl_node *hcl_node_new(struct hcl_doc *d, enum hcl_type type, unsigned line, unsigned column)
{
    struct hcl_node *n = hcl_alloc(&d->arena, sizeof(*n));

    n->type = type;
    n->line = line;
    n->column = column;
    return n;
}

/* Room for one more; the arrays double, and start with four. */
static bool room_needed(size_t n)
{
    return n == 0 || (n >= 4 && (n & (n - 1)) == 0);
}

bool hcl_items_add(struct hcl_doc *d, struct hcl_items *items, const struct hcl_item *item)
{
    size_t n = items->n;

    if (n >= HCL_ITEMS_MAX || d->n_nodes >= HCL_NODES_MAX)
        return false;
    d->n_nodes++;
    if (room_needed(n))
        items->v =
            hcl_grow(&d->arena, items->v, n * sizeof(*item), MAX(2 * n, (size_t)4) * sizeof(*item));
    items->v[items->n++] = *item;
    return true;
}

bool hcl_list_add(struct hcl_doc *d, struct hcl_node *list, struct hcl_node *elem)
{
    size_t n = list->list.n;

    assert(list->type == HCL_LIST);
    if (d->n_nodes >= HCL_NODES_MAX)
        return false;
    d->n_nodes++;
    if (room_needed(n))
        list->list.v = hcl_grow(&d->arena, list->list.v, n * sizeof(elem),
                                MAX(2 * n, (size_t)4) * sizeof(elem));
    list->list.v[list->list.n++] = elem;
    return true;
}

/* FNV-1a. */
uint32_t hcl_hash(const char *text)
{
    uint32_t h = 2166136261u;

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        h = (h ^ (c >= 'A' && c <= 'Z' ? c + 32u : c)) * 16777619u;
    }
    return h;
}

void hcl_item_strip(struct hcl_item *it)
{
    assert(it->n_keys > 0);
    it->keys++;
    it->n_keys--;
    it->hash = it->n_keys ? it->keys[0].hash : 0;
}

static bool first_key_is(const struct hcl_item *it, const char *key, uint32_t hash)
{
    return it->hash == hash && it->n_keys > 0 && strcasecmp(it->keys[0].text, key) == 0;
}

/* Without a key: items that have none. */
static struct hcl_items narrow(struct hcl_arena *a, const struct hcl_items *items, const char *key)
{
    struct hcl_items out = {0};
    uint32_t hash = key ? hcl_hash(key) : 0;

    for (size_t i = 0; i < items->n; i++) {
        const struct hcl_item *it = &items->v[i];

        if (key ? !first_key_is(it, key, hash) : it->n_keys > 0)
            continue;
        if (room_needed(out.n))
            out.v =
                hcl_grow(a, out.v, out.n * sizeof(*it), MAX(2 * out.n, (size_t)4) * sizeof(*it));
        out.v[out.n] = *it;
        if (key)
            hcl_item_strip(&out.v[out.n]);
        out.n++;
    }
    return out;
}

struct hcl_items hcl_filter(struct hcl_arena *a, const struct hcl_items *items, const char *key)
{
    return narrow(a, items, key);
}

struct hcl_items hcl_elems(struct hcl_arena *a, const struct hcl_items *items)
{
    return narrow(a, items, NULL);
}

int hcl_fail(struct hcl_error *err, int r, unsigned line, unsigned column, const char *fmt, ...)
{
    va_list ap;

    err->line = line;
    err->column = column;
    va_start(ap, fmt);
    (void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    return r;
}

/* As HCL decides: a document whose first character is a brace is JSON. */
static bool is_json(const char *src, size_t len)
{
    size_t i = 0;

    while (i < len && src[i] != 0 && strchr(" \t\n\v\f\r", src[i]))
        i++;
    return i < len && src[i] == '{';
}

int hcl_parse_max(const char *src, size_t len, size_t len_max, struct hcl_node **ret,
                  struct hcl_error *err)
{
    struct hcl_doc *d;
    int r;

    if (len > len_max)
        return hcl_fail(err, -E2BIG, 0, 0, "document larger than %zu bytes", len_max);
    d = xcalloc(1, sizeof(*d));
    d->root.type = HCL_OBJECT;
    d->root.line = d->root.column = 1;
    r = is_json(src, len) ? hcl_parse_json(d, src, len, err) : hcl_parse_text(d, src, len, err);
    if (r < 0) {
        (void)hcl_free(&d->root);
        return r;
    }
    *ret = &d->root;
    return 0;
}

int hcl_parse(const char *src, size_t len, struct hcl_node **ret, struct hcl_error *err)
{
    return hcl_parse_max(src, len, HCL_SIZE_MAX, ret, err);
}

struct hcl_node *hcl_free(struct hcl_node *root)
{
    struct hcl_doc *d;

    if (!root)
        return NULL;
    d = CONTAINER_OF(root, struct hcl_doc, root);
    hcl_arena_fini(&d->arena);
    free(d);
    return NULL;
}

const struct hcl_item *hcl_find(const struct hcl_node *object, const char *key)
{
    assert(object->type == HCL_OBJECT);
    for (size_t i = 0; i < object->items.n; i++)
        if (object->items.v[i].n_keys && strcmp(object->items.v[i].keys[0].text, key) == 0)
            return &object->items.v[i];
    return NULL;
}
