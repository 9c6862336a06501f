/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Inside common/hcl: the arena that a document and all that is derived from it lives in, and how a
 * list of items is narrowed down (as HCL's Filter and Elem do).
 */
#pragma once

#include "hcl/hcl.h"

struct hcl_chunk;

/* Grows by chunks; freed as a whole. */
struct hcl_arena {
    struct hcl_chunk *chunks;
    size_t used; /* of the newest chunk */
};

void *hcl_alloc(struct hcl_arena *a, size_t n); /* zeroed */
void *hcl_grow(struct hcl_arena *a, const void *old, size_t n_old, size_t n_new);
char *hcl_dup(struct hcl_arena *a, const char *s, size_t n); /* adds a NUL */
char *hcl_printf(struct hcl_arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3)
    __attribute__((nonnull(1, 2)));
void hcl_arena_fini(struct hcl_arena *a);

/* The root comes first, so that its address is the document's. */
struct hcl_doc {
    struct hcl_node root;
    struct hcl_arena arena;
    unsigned n_nodes;
};

struct hcl_node *hcl_node_new(struct hcl_doc *d, enum hcl_type type, unsigned line,
                              unsigned column);
/* False when one of the bounds is reached. */
bool hcl_items_add(struct hcl_doc *d, struct hcl_items *items, const struct hcl_item *item);
bool hcl_list_add(struct hcl_doc *d, struct hcl_node *list, struct hcl_node *elem);

/* Drops the first key. */
void hcl_item_strip(struct hcl_item *it);

/* The same for texts that differ only in the case of ASCII letters. */
uint32_t hcl_hash(const char *text);

/* Items whose first key is `key` in any case, without that key. */
struct hcl_items hcl_filter(struct hcl_arena *a, const struct hcl_items *items, const char *key);
/* Of filtered items: those with no label left. */
struct hcl_items hcl_elems(struct hcl_arena *a, const struct hcl_items *items);

int hcl_fail(struct hcl_error *err, int r, unsigned line, unsigned column, const char *fmt, ...)
    PRINTF_LIKE(5, 6);

/* The two front ends; both fill d->root.items. */
int hcl_parse_text(struct hcl_doc *d, const char *src, size_t len, struct hcl_error *err);
int hcl_parse_json(struct hcl_doc *d, const char *src, size_t len, struct hcl_error *err);
