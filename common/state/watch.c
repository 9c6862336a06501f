/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Watches: per table a list of those who wait for any of its rows, and one hash table over (table,
 * key) for the rest. Two keys of the same hash wake each other's waiters, who then find nothing
 * new.
 */
#include "state/watch.h"

#include <string.h>

#define WATCH_BUCKETS_MIN 64u

struct watch_set {
    size_t max, count;
    uint64_t applied;
    bool notified; /* at least once: `applied` means something */
    struct watch_link *tables[STATE_TABLE_COUNT];
    bool noted[STATE_TABLE_COUNT]; /* its list is on `fired` already */
    struct watch_link **buckets;
    size_t buckets_n; /* power of two */
    struct watch *fired, **fired_tail;
};

static uint64_t watch_hash(enum state_table table, struct bytes key)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ ((uint64_t)table << 56);

    for (size_t i = 0; i < key.len; i++)
        h = (h ^ key.data[i]) * UINT64_C(0x100000001b3);
    h ^= h >> 32;
    return h ? h : 1; /* 0 stands for the whole table */
}

struct watch_set *watch_set_new(size_t max)
{
    struct watch_set *s = xcalloc(1, sizeof(*s));

    assert(max > 0);
    s->max = max;
    s->buckets_n = WATCH_BUCKETS_MIN;
    s->buckets = xcalloc(s->buckets_n, sizeof(*s->buckets));
    s->fired_tail = &s->fired;
    return s;
}

size_t watch_set_count(const struct watch_set *s)
{
    return s->count;
}

static void watch_link_add(struct watch_link **head, struct watch_link *l)
{
    l->next = *head;
    l->prev_next = head;
    if (l->next)
        l->next->prev_next = &l->next;
    *head = l;
}

static void watch_link_del(struct watch_link *l)
{
    *l->prev_next = l->next;
    if (l->next)
        l->next->prev_next = l->prev_next;
    l->prev_next = NULL;
}

static struct watch_link **watch_head(struct watch_set *s, const struct watch_link *l)
{
    return l->hash ? &s->buckets[l->hash & (s->buckets_n - 1)] : &s->tables[l->table];
}

static void watch_grow(struct watch_set *s)
{
    struct watch_link **old = s->buckets;
    size_t old_n = s->buckets_n;

    s->buckets_n *= 2;
    s->buckets = xcalloc(s->buckets_n, sizeof(*s->buckets));
    for (size_t i = 0; i < old_n; i++) {
        while (old[i]) {
            struct watch_link *l = old[i];

            watch_link_del(l);
            watch_link_add(watch_head(s, l), l);
        }
    }
    free(old);
}

int watch_arm(struct watch_set *s, struct watch *w, const struct watch_key *keys, size_t n,
              uint64_t seen, watch_fn *fn)
{
    assert(!w->set);
    assert(n > 0 && n <= WATCH_KEYS_MAX);
    if (s->notified && s->applied > seen)
        return WATCH_E_STALE;
    if (s->count == s->max)
        return WATCH_E_FULL;
    if (s->count >= s->buckets_n)
        watch_grow(s);
    w->set = s;
    w->fn = fn;
    w->links_n = (unsigned)n;
    w->fired_prev_next = NULL;
    for (size_t i = 0; i < n; i++) {
        struct watch_link *l = &w->links[i];

        l->watch = w;
        l->table = keys[i].table;
        l->hash = keys[i].key.data ? watch_hash(keys[i].table, keys[i].key) : 0;
        watch_link_add(watch_head(s, l), l);
    }
    s->count++;
    return 0;
}

/* Off the lists that find it; it may be on the list of the fired ones still. */
static void watch_unlink(struct watch *w)
{
    for (unsigned i = 0; i < w->links_n; i++)
        watch_link_del(&w->links[i]);
    w->links_n = 0;
    w->set->count--;
}

static void watch_fired_del(struct watch *w)
{
    *w->fired_prev_next = w->fired_next;
    if (w->fired_next)
        w->fired_next->fired_prev_next = w->fired_prev_next;
    else
        w->set->fired_tail = w->fired_prev_next;
    w->fired_prev_next = NULL;
}

void watch_disarm(struct watch *w)
{
    if (!w->set)
        return;
    if (w->fired_prev_next)
        watch_fired_del(w);
    watch_unlink(w);
    w->set = NULL;
}

static void watch_mark(struct watch *w)
{
    struct watch_set *s = w->set;

    if (w->fired_prev_next)
        return;
    w->fired_next = NULL;
    w->fired_prev_next = s->fired_tail;
    *s->fired_tail = w;
    s->fired_tail = &w->fired_next;
}

void watch_note(struct watch_set *s, enum state_table table, struct bytes key)
{
    uint64_t hash;

    for (struct watch_link *l = s->noted[table] ? NULL : s->tables[table]; l; l = l->next)
        watch_mark(l->watch);
    s->noted[table] = true;
    hash = watch_hash(table, key);
    for (struct watch_link *l = s->buckets[hash & (s->buckets_n - 1)]; l; l = l->next) {
        if (l->hash == hash)
            watch_mark(l->watch);
    }
}

/*
 * A callback may arm its watch again, which does not put it on the list of the fired, and may
 * disarm any other: the list is read anew each time.
 */
void watch_fire(struct watch_set *s, uint64_t applied)
{
    assert(!s->notified || applied >= s->applied);
    s->applied = applied;
    s->notified = true;
    memset(s->noted, 0, sizeof(s->noted));
    while (s->fired) {
        struct watch *w = s->fired;

        watch_disarm(w);
        w->fn(w);
    }
}

void watch_forget(struct watch_set *s)
{
    memset(s->noted, 0, sizeof(s->noted));
    while (s->fired)
        watch_fired_del(s->fired);
}

void watch_fire_all(struct watch_set *s, uint64_t applied)
{
    for (unsigned i = 0; i < STATE_TABLE_COUNT; i++) {
        for (struct watch_link *l = s->tables[i]; l; l = l->next)
            watch_mark(l->watch);
    }
    for (size_t i = 0; i < s->buckets_n; i++) {
        for (struct watch_link *l = s->buckets[i]; l; l = l->next)
            watch_mark(l->watch);
    }
    s->applied = 0; /* a restore may go back */
    watch_fire(s, applied);
}

struct watch_set *watch_set_free(struct watch_set *s)
{
    if (!s)
        return NULL;
    for (unsigned i = 0; i < STATE_TABLE_COUNT; i++) {
        while (s->tables[i])
            watch_disarm(s->tables[i]->watch);
    }
    for (size_t i = 0; i < s->buckets_n; i++) {
        while (s->buckets[i])
            watch_disarm(s->buckets[i]->watch);
    }
    free(s->buckets);
    free(s);
    return NULL;
}
