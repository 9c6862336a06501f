/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Serf's tags inside memberlist's Meta (gossip-wire.md 10.1), and the question whether they are
 * those of a Nomad server (section 12). Pure.
 */
#pragma once

#include "base/err.h"
#include "msgpack.h"

#define TAGS_META_MAX 512
#define TAGS_MAX      64         /* pairs that are looked at */
#define TAG_SERF_LAN  "serf_lan" /* our own: gossip address for the own region, IP:PORT */
#define TAG_EPOCH     "epoch"    /* our own: has the region left? see serfd_region.c */
#define TAGS_MARK     0xff       /* the first byte of a Meta with tags */
#define TAG_RPC_WAN   "rpc_wan"  /* our own: RPC address for other regions */

struct tag {
    const char *key, *value;
};

/* Writes ff and the map. -E2BIG when Meta would exceed TAGS_META_MAX. */
int tags_put(struct strbuf *out, const struct tag *tags, size_t n);

/* Walks a Meta. A Meta without ff is a bare role. */
struct tags_iter {
    struct mp_reader r;
    uint32_t left;
    struct span bare;
};
void tags_begin(struct tags_iter *it, struct span meta);
bool tags_next(struct tags_iter *it, struct span *ret_key, struct span *ret_value);

/* The value of a tag; false when it is absent. */
bool tags_find(struct span meta, const char *key, struct span *ret_value);

/* 0, or -EINVAL with the reason why this Meta is not a Nomad server's. */
int tags_check_nomad(struct span meta, struct errtext *e);
