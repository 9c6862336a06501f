/* SPDX-License-Identifier: MPL-2.0 */
/* The members: one array sorted by name, so that iteration is the same in every run. */
#include "serfd_core_int.h"

#include <string.h>

/* Where the name stands or would stand. */
static size_t table_place(const struct serf *s, struct span name, bool *ret_found)
{
    size_t lo = 0, hi = s->n;

    *ret_found = false;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = span_cmp(name, SPAN_STR(s->tab[mid]->name));

        if (c == 0) {
            *ret_found = true;
            return mid;
        }
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

struct member *table_find(const struct serf *s, struct span name)
{
    bool found;
    size_t at;

    if (name.len == 0)
        return NULL;
    at = table_place(s, name, &found);
    return found ? s->tab[at] : NULL;
}

struct member *table_add(struct serf *s, struct span name)
{
    struct member *m;
    bool found;
    size_t at = table_place(s, name, &found);

    assert(!found);
    if (s->n == SERF_MEMBERS_MAX)
        return NULL;
    if (s->n == s->cap) {
        s->cap = MAX(s->cap * 2, (size_t)16);
        s->tab = xrealloc(s->tab, s->cap * sizeof(struct member *));
    }
    m = xcalloc(1, sizeof(*m));
    m->name = xstrndup((const char *)name.p, name.len);
    memmove(&s->tab[at + 1], &s->tab[at], (s->n - at) * sizeof(struct member *));
    s->tab[at] = m;
    s->n++;
    return m;
}

struct member *table_free_member(struct member *m)
{
    assert(!m->suspicion || m->suspicion->n <= m->suspicion->k);
    for (unsigned i = 0; m->suspicion && i <= m->suspicion->n; i++)
        free(m->suspicion->from[i]);
    free(m->suspicion);
    free(m->coord);
    free(m->meta);
    free(m->name);
    free(m);
    return NULL;
}

void table_drop_unused(struct serf *s, struct member *m)
{
    bool found;
    size_t at = table_place(s, SPAN_STR(m->name), &found);

    assert(found && s->tab[at] == m);
    if (m->in_list || m->in_serf)
        return;
    assert(m != s->self);
    s->n--;
    memmove(&s->tab[at], &s->tab[at + 1], (s->n - at) * sizeof(struct member *));
    (void)table_free_member(m);
}

/* In the own region a member may have a second address, of a network that others cannot reach. */
static void learn_lan(struct serf *s, struct member *m)
{
    struct span text, region, own;

    m->lan.ip_len = 0;
    if (!tags_find(member_meta(m), TAG_SERF_LAN, &text) ||
        !tags_find(member_meta(m), "region", &region) ||
        !tags_find(member_meta(s->self), "region", &own) || !span_eq(region, own))
        return;
    if (!gossip_addr_parse(&m->lan, text))
        m->lan.ip_len = 0;
}

const struct gossip_addr *member_reach(const struct member *m)
{
    return m->lan.ip_len ? &m->lan : &m->addr;
}

const struct gossip_addr *member_source(const struct serf *s, const struct member *m)
{
    return m && m->lan.ip_len ? member_reach(s->self) : &s->self->addr;
}

void member_set_meta(struct serf *s, struct member *m, struct span meta)
{
    uint8_t *copy = xmalloc(meta.len + 1);

    if (meta.len)
        memcpy(copy, meta.p, meta.len);
    free(m->meta);
    m->meta = copy;
    assert(meta.len <= SERF_META_MAX);
    m->meta_len = (uint16_t)meta.len;
    learn_lan(s, m);
}

struct span member_meta(const struct member *m)
{
    return (struct span){m->meta, m->meta_len};
}

bool member_usable(const struct member *m)
{
    return m->in_list && (m->state == NODE_ALIVE || m->state == NODE_SUSPECT);
}

struct member *table_next_usable(const struct serf *s, struct member *m)
{
    bool found;
    size_t at = table_place(s, SPAN_STR(m->name), &found);

    assert(found);
    for (size_t i = 1; i < s->n; i++) {
        struct member *next = s->tab[(at + i) % s->n];

        if (member_usable(next))
            return next;
    }
    return m;
}

bool pick_alive(const struct serf *s, const struct member *m)
{
    (void)s;
    return m->in_list && m->state == NODE_ALIVE;
}

#define GUESS_FROM 64 /* members; from here on a few guesses find what is wanted */
#define GUESSES    4  /* for each wanted one */

static bool picked(struct member *const *ret, size_t n, const struct member *m)
{
    for (size_t i = 0; i < n; i++) {
        if (ret[i] == m)
            return true;
    }
    return false;
}

/* Reservoir sampling: each that fits is equally likely. Looks at all, so large pools guess first.
 */
size_t table_pick(struct serf *s, size_t k, member_pred_fn *pred, struct member **ret)
{
    size_t seen = 0, hit = 0;

    for (size_t i = 0; s->n >= GUESS_FROM && hit < k && i < k * GUESSES; i++) {
        struct member *m = s->tab[prng_below(&s->prng, s->n)];

        if (m != s->self && pred(s, m) && !picked(ret, hit, m))
            ret[hit++] = m;
    }
    for (size_t i = 0; hit < k && i < s->n; i++) {
        struct member *m = s->tab[i];
        uint64_t at;

        if (m == s->self || !pred(s, m))
            continue;
        seen++;
        if (seen <= k) {
            ret[seen - 1] = m;
            continue;
        }
        at = prng_below(&s->prng, seen);
        if (at < k)
            ret[at] = m;
    }
    return hit == k ? k : MIN(seen, k);
}
