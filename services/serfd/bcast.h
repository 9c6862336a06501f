/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The queue of messages to be gossiped (gossip-wire.md 8.1): those sent least come first, then the
 * longer, then the newer; each is sent a limited number of times. A queue that is aimed gives each
 * receiver another message before one gets the same again: in small pools the few transmissions
 * would else miss a member now and then. Pure.
 */
#pragma once

#include "msgpack.h"

#define BCAST_AIM_MAX 24 /* receivers that an item remembers */

/* Who got an item. */
struct bcast_sent_to {
    uint32_t ids[BCAST_AIM_MAX];
    unsigned n;
};

struct bcast_item {
    uint64_t id; /* rises with each put */
    char *key;   /* a later message with the same key replaces this one; NULL: never */
    uint8_t *msg;
    uint16_t len;
    uint16_t sent;
    struct bcast_sent_to *to; /* NULL: it was never aimed */
};

struct bcast_queue {
    struct bcast_item *items; /* in the order of picking */
    size_t n, cap;
    size_t n_max; /* when full the item that was sent most often goes */
    uint64_t next_id;
    uint64_t dropped;
    uint32_t aim; /* the receiver of what is picked next, 0: not known */
    unsigned receivers;
};

void bcast_init(struct bcast_queue *q, size_t n_max);
void bcast_fini(struct bcast_queue *q);
/* Copies msg (at most 64 KiB - 1). Returns its id. */
uint64_t bcast_put(struct bcast_queue *q, const char *key, struct span msg);
/* Is it still being sent? */
bool bcast_has(const struct bcast_queue *q, uint64_t id);
void bcast_remove_key(struct bcast_queue *q, const char *key);

/*
 * What is picked next goes to the receiver `id` (not 0) of `receivers` (at most BCAST_AIM_MAX) in
 * all: items that it has had are passed over as long as others have not. id 0: to anybody.
 */
void bcast_aim(struct bcast_queue *q, uint32_t id, unsigned receivers);

/* Gets one picked message; its bytes are valid within the call only. */
typedef void bcast_pick_fn(void *user, struct span msg);
/*
 * Picks messages of at most *room bytes in all, each costing its length + overhead, at most n_max;
 * one pick is one transmission, at `limit` a message is done. Returns how many.
 */
size_t bcast_pick(struct bcast_queue *q, size_t overhead, size_t *room, unsigned limit,
                  size_t n_max, bcast_pick_fn *fn, void *user);
