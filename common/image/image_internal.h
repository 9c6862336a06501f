/* SPDX-License-Identifier: MPL-2.0 */
/* The image's insides. Internal to common/image. */
#pragma once

#include "image/image.h"

/* A hash table of slot numbers: who looks up walks the slots of equal hash and compares keys. */
struct slot_table {
    struct slot_entry {
        uint32_t slot, hash; /* slot IMAGE_NONE: free */
    } * entries;
    uint32_t cap, n;
};

void slot_table_fini(struct slot_table *t);
void slot_table_put(struct slot_table *t, uint32_t hash, uint32_t slot);
void slot_table_remove(struct slot_table *t, uint32_t hash, uint32_t slot);
/* Start with *pos = 0; IMAGE_NONE at the end. */
uint32_t slot_table_walk(const struct slot_table *t, uint32_t hash, uint32_t *pos);

/* A growing array with slots that are used again. */
struct slots {
    uint32_t n, cap;
    uint32_t *free;
    uint32_t free_n, free_cap;
};

enum undo_op { UNDO_PLACE, UNDO_STOP };
struct undo {
    enum undo_op op;
    uint32_t slot;
};

struct image {
    unsigned flags;
    uint64_t index;        /* the state that it shows */
    uint64_t node_seen;    /* NODE_LOG is read up to here */
    uint64_t alloc_seen;   /* ALLOC_LOG, as well */
    uint64_t node_deleted; /* deletions of nodes up to here were looked at */
    uint64_t nodes_version;
    uint32_t nodes_n, allocs_n;

    struct image_node *nodes;
    struct slots node_slots;
    struct slot_table node_table;

    struct image_alloc *allocs;
    struct slots alloc_slots;
    struct slot_table alloc_table;

    struct image_job *jobs;
    struct slots job_slots;
    struct slot_table job_table;

    char **texts;
    uint32_t texts_n, texts_cap;
    struct slot_table text_table;

    struct undo *undo;
    size_t undo_n, undo_cap;
};

uint32_t image_hash(uint32_t seed, const void *data, size_t len);

void image_set_add(struct image_set *s, uint64_t value);
void image_set_remove(struct image_set *s, uint64_t value); /* one of them */
void image_set_fini(struct image_set *s);

/* What a node has for allocations, from what it registered. */
void image_node_totals(struct image *im, struct image_node *n, const steppe_Node *node);

/* An allocation's slot, linked to its node and job; not yet in use of resources. */
struct image_alloc *image_alloc_add(struct image *im, uint32_t node, const struct image_who *who,
                                    const struct image_use *use);
void image_alloc_remove(struct image *im, struct image_alloc *a);
/* Slot of the node with this id, made when it is new. IMAGE_NONE: not a UUID. */
uint32_t image_node_slot(struct image *im, const char *id);
