/* SPDX-License-Identifier: MPL-2.0 */
#include "serfd_guard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "serfd_core_int.h"
#include "tags.h"

/* ---- addresses ---- */

#define MAPPED_BITS 96 /* in front of an IPv4 address that is written as one of IPv6 */

int guard_cidr_parse(const char *text, struct guard_cidr *ret)
{
    const char *slash = strchr(text, '/');
    char ip[INET6_ADDRSTRLEN];
    struct gossip_addr mapped;
    int n = slash ? (int)(slash - text) : (int)strlen(text);
    char *end = NULL;
    long bits;

    if (n >= (int)sizeof(ip))
        return -EINVAL;
    (void)snprintf(ip, sizeof(ip), "%.*s", n, text);
    *ret = (struct guard_cidr){.ip_len = 4};
    if (inet_pton(AF_INET, ip, ret->ip) != 1) {
        ret->ip_len = 16;
        if (inet_pton(AF_INET6, ip, ret->ip) != 1)
            return -EINVAL;
    }
    bits = slash ? strtol(slash + 1, &end, 10) : ret->ip_len * 8L;
    if (slash && (end == slash + 1 || *end))
        return -EINVAL;
    if (bits < 0 || bits > ret->ip_len * 8L)
        return -EINVAL;
    ret->bits = (uint8_t)bits;
    if (ret->ip_len == 16 && bits >= MAPPED_BITS &&
        gossip_addr_from(&mapped, (struct span){ret->ip, 16}, 1) && mapped.ip_len == 4) {
        memcpy(ret->ip, mapped.ip, 4); /* ::ffff:10.0.0.0/104: addresses are compared as 10.0.0.0 */
        ret->ip_len = 4;
        ret->bits = (uint8_t)(bits - MAPPED_BITS);
    }
    return 0;
}

static bool cidr_has(const struct guard_cidr *c, const struct gossip_addr *a)
{
    unsigned whole = c->bits / 8, rest = c->bits % 8;
    uint8_t mask = (uint8_t)(0xff00u >> rest);

    if (a->ip_len != c->ip_len || memcmp(a->ip, c->ip, whole) != 0)
        return false;
    return rest == 0 || (a->ip[whole] & mask) == (c->ip[whole] & mask);
}

bool guard_allows(const struct guard_rules *g, const struct gossip_addr *addr)
{
    if (!g || g->allow_n == 0)
        return true;
    for (size_t i = 0; i < g->allow_n; i++) {
        if (cidr_has(&g->allow[i], addr))
            return true;
    }
    return false;
}

/* ---- federation ---- */

static bool id_accepted(struct span id, const char *const *accept, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (id.len == 0 ? strcmp(accept[i], GUARD_NONE) == 0 : span_is(id, accept[i]))
            return true;
    }
    return false;
}

static struct span tag_of(struct span meta, const char *key)
{
    struct span v = {NULL, 0};

    return tags_find(meta, key, &v) ? v : (struct span){NULL, 0};
}

/* What comes from peers is cut to what a log line can bear. */
#define TEXT(s) (int)MIN((s).len, (size_t)SERF_NAME_MAX), (const char *)(s).p

static int check_federation(const struct guard_rules *g, const struct guard_subject *self,
                            const struct guard_subject *m, struct errtext *e)
{
    struct span id = tag_of(m->meta, GUARD_TAG_FEDERATION);

    if (!g->federation[0] || (id.len > 0 && span_is(id, g->federation)) ||
        id_accepted(id, g->accept, g->accept_n))
        return 0;
    if (id.len == 0)
        return err_set(e, -EPERM, "member '%.*s' is of no federation, '%.*s' is of \"%s\"",
                       TEXT(m->name), TEXT(self->name), g->federation);
    return err_set(e, -EPERM, "member '%.*s' is of federation \"%.*s\", '%.*s' is of \"%s\"",
                   TEXT(m->name), (int)MIN(id.len, (size_t)GUARD_ID_MAX), (const char *)id.p,
                   TEXT(self->name), g->federation);
}

/* ---- raft groups ---- */

static int group_error(const struct guard_subject *m, struct span group, struct span other,
                       struct span other_group, struct errtext *e)
{
    return err_set(e, -EXDEV,
                   "two raft groups under one region's name: member '%.*s' has data of group "
                   "%.*s, '%.*s' of group %.*s",
                   TEXT(m->name), TEXT(group), TEXT(other), TEXT(other_group));
}

void guard_groups_add(struct guard_groups *gs, const struct guard_subject *m)
{
    struct span group = tag_of(m->meta, GUARD_TAG_GROUP);
    struct span region = tag_of(m->meta, "region");

    if (group.len == 0 || region.len == 0 || gs->n == GUARD_GROUPS)
        return;
    for (size_t i = 0; i < gs->n; i++) {
        if (span_eq(gs->rows[i].region, region))
            return;
    }
    gs->rows[gs->n].region = region;
    gs->rows[gs->n].group = group;
    gs->rows[gs->n++].name = m->name;
}

int guard_groups_check(const struct guard_groups *gs, const struct guard_subject *m,
                       struct errtext *e)
{
    struct span group = tag_of(m->meta, GUARD_TAG_GROUP), region;

    if (group.len == 0)
        return 0;
    region = tag_of(m->meta, "region");
    for (size_t i = 0; i < gs->n; i++) {
        if (!span_eq(gs->rows[i].region, region))
            continue;
        if (span_eq(gs->rows[i].group, group) || span_eq(gs->rows[i].name, m->name))
            return 0;
        return group_error(m, group, gs->rows[i].name, gs->rows[i].group, e);
    }
    return 0;
}

static int check_own_group(const struct guard_subject *self, const struct guard_subject *m,
                           struct errtext *e)
{
    struct span theirs = tag_of(m->meta, GUARD_TAG_GROUP), ours;

    if (theirs.len == 0)
        return 0;
    ours = tag_of(self->meta, GUARD_TAG_GROUP);
    if (ours.len == 0 || span_eq(ours, theirs) ||
        !span_eq(tag_of(self->meta, "region"), tag_of(m->meta, "region")))
        return 0;
    return group_error(m, theirs, self->name, ours, e);
}

/* Its region has left the federation: what we hear of it is old, or went astray. */
static int check_has_left(const struct guard_subject *self, const struct guard_subject *m,
                          struct errtext *e)
{
    struct span region = tag_of(m->meta, "region");

    if (!region_has_left(m->meta) || span_eq(region, tag_of(self->meta, "region")))
        return 0;
    return err_set(e, -ESTALE, "member '%.*s': region %.*s has left the federation", TEXT(m->name),
                   TEXT(region));
}

int guard_check(const struct guard_rules *g, const struct guard_subject *self,
                const struct guard_subject *m, struct errtext *e)
{
    char addr[GOSSIP_ADDR_TEXT_MAX];
    int r = 0;

    if (!guard_allows(g, &m->addr))
        return err_set(e, -EPERM, "member '%.*s' at %s is left out by join_allow of '%.*s'",
                       TEXT(m->name), gossip_addr_text(&m->addr, addr), TEXT(self->name));
    if (g)
        r = check_federation(g, self, m, e);
    if (r == 0)
        r = check_has_left(self, m, e);
    return r ? r : check_own_group(self, m, e);
}

/* ---- the stamp ---- */

int guard_stamp(const char *conf_id, const char *stamp, const char *const *accept, size_t accept_n,
                char ret[static GUARD_ID_MAX + 1], bool *ret_write, struct errtext *e)
{
    bool change = conf_id[0] && strcmp(conf_id, stamp) != 0;

    *ret_write = false;
    if (change && stamp[0] && !id_accepted(SPAN_STR(stamp), accept, accept_n))
        return err_set(e, -EPERM,
                       "server.federation_id is \"%s\", but the data of this server are of "
                       "federation \"%s\"; to change it, name the old id in federation_accept",
                       conf_id, stamp);
    (void)snprintf(ret, GUARD_ID_MAX + 1, "%s", conf_id[0] ? conf_id : stamp);
    *ret_write = change;
    return 0;
}
