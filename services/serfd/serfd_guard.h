/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Who may be in our pool: the federation's id, the raft group behind a region's name, addresses.
 * Questions only: who refuses, and what is said to whom, is the business of those who ask. Pure.
 */
#pragma once

#include "serfd_core.h"

#define GUARD_ID_MAX    64  /* bytes of a federation's id */
#define GUARD_GROUPS    256 /* regions that are compared at a merge */
#define GUARD_ALLOW_MAX 256
#define GUARD_GROUP_LEN 32 /* digits of a raft group's id */

#define GUARD_TAG_FEDERATION "federation"
#define GUARD_TAG_GROUP      "raft_group"
#define GUARD_NONE           "none" /* in `accept`: members without an id */

struct guard_cidr {
    uint8_t ip[16];
    uint8_t ip_len, bits;
};

/* The configured rules; a core borrows them for its life. */
struct guard_rules {
    char federation[GUARD_ID_MAX + 1]; /* "" = open */
    const char *const *accept;         /* borrowed; further ids */
    size_t accept_n;
    struct guard_cidr allow[GUARD_ALLOW_MAX];
    size_t allow_n; /* 0 = every address */
};

/* One member, as its claim says. */
struct guard_subject {
    struct span name, meta;
    struct gossip_addr addr;
};

/* "10.0.0.0/8", "fd00::/8", "10.1.2.3". -EINVAL. */
int guard_cidr_parse(const char *text, struct guard_cidr *ret);
bool guard_allows(const struct guard_rules *g, const struct gossip_addr *addr);

/*
 * May m be in the pool of `self`? 0; -EPERM for its address or federation, -EXDEV for a region of
 * our name with another raft group, -ESTALE when its region has left the federation. The text names
 * both sides. g may be NULL: only groups count.
 */
int guard_check(const struct guard_rules *g, const struct guard_subject *self,
                const struct guard_subject *m, struct errtext *e);

/* Regions and their raft groups that are known, to find two groups under one region's name. */
struct guard_groups {
    struct {
        struct span region, group, name; /* borrowed; name: one of its members */
    } rows[GUARD_GROUPS];
    size_t n;
};
/* A member that counts. Further regions than GUARD_GROUPS are not compared. */
void guard_groups_add(struct guard_groups *gs, const struct guard_subject *m);
/* 0, or -EXDEV with both members, both groups and the region in the text. */
int guard_groups_check(const struct guard_groups *gs, const struct guard_subject *m,
                       struct errtext *e);

/*
 * The id that counts, of the one configured and the one stamped into the data ("" = none each):
 * into `ret`; *ret_write when the stamp must be written. -EPERM when the data are another
 * federation's and its id is not in `accept`.
 */
int guard_stamp(const char *conf_id, const char *stamp, const char *const *accept, size_t accept_n,
                char ret[static GUARD_ID_MAX + 1], bool *ret_write, struct errtext *e);
