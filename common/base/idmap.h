/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A hash map from a non-zero uint64 id to a pointer: open addressing, grows, never holds NULL.
 */
#pragma once

#include "base/base.h"

struct idmap_slot {
    uint64_t id; /* 0 = free */
    void *value;
};

struct idmap {
    struct idmap_slot *slots;
    size_t cap; /* power of two, or 0 */
    size_t n;
};

/* Values are the caller's: nothing frees them. */
void idmap_fini(struct idmap *m);
void *idmap_get(const struct idmap *m, uint64_t id);       /* NULL when absent */
void idmap_put(struct idmap *m, uint64_t id, void *value); /* id must be new */
void *idmap_remove(struct idmap *m, uint64_t id);          /* returns what was there, or NULL */

/* Walks the slots: for (size_t i = 0; (v = idmap_next(m, &i));). Do not put or remove meanwhile. */
void *idmap_next(const struct idmap *m, size_t *i);
