/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Who waits for which table or row. Pure data: no clock, no I/O; one thread (the one that applies).
 * A watch is armed, fires once and is then idle. A change costs a look at the table's list and at
 * one hash bucket, an idle watch costs nothing.
 */
#pragma once

#include "base/base.h"
#include "state/store.h"

#define WATCH_KEYS_MAX 4

enum {
    WATCH_E_STALE = 1, /* something was applied since `seen`: run the query again, do not wait */
    WATCH_E_FULL = 2,  /* too many watches: answer now, or 429 */
};

struct watch_set;
struct watch;

/* Called when something watched changed or everything was replaced; w is idle again and may be
 * armed anew or freed from here. Other watches may be disarmed from here as well. */
typedef void watch_fn(struct watch *w);

struct watch_link {
    struct watch_link *next, **prev_next;
    struct watch *watch;
    uint64_t hash; /* 0 = the whole table */
    enum state_table table;
};

/* Embedded by the waiter; zero it once. */
struct watch {
    watch_fn *fn;
    struct watch_set *set; /* NULL while idle */
    struct watch_link links[WATCH_KEYS_MAX];
    unsigned links_n;
    struct watch *fired_next, **fired_prev_next;
};

/* What to wait for: a row, or with key.data NULL the whole table. */
struct watch_key {
    enum state_table table;
    struct bytes key; /* as stored; used during watch_arm() only */
};

/* max: watches armed at one time. */
struct watch_set *watch_set_new(size_t max);
/* Disarms what is armed, without calling it. NULL is fine. */
struct watch_set *watch_set_free(struct watch_set *s);
DEFINE_CLEANUP(struct watch_set, watch_set_free)

/*
 * Arms an idle watch on n keys (1..WATCH_KEYS_MAX); any of them fires it. `seen` is the applied
 * index of the transaction that the waiter read (state_applied()): when the set has been notified
 * of a later one, that may have been missed, hence WATCH_E_STALE.
 */
int watch_arm(struct watch_set *s, struct watch *w, const struct watch_key *keys, size_t n,
              uint64_t seen, watch_fn *fn);
/* No effect on an idle watch. */
void watch_disarm(struct watch *w);
size_t watch_set_count(const struct watch_set *s);

/* ---- for the state machine ---- */

/* Notes a change; fires nothing yet. A table's waiters are noted with each of its rows. */
void watch_note(struct watch_set *s, enum state_table table, struct bytes key);
/* After the commit up to `applied`: fires all noted. */
void watch_fire(struct watch_set *s, uint64_t applied);
/* The transaction failed: forgets what was noted. */
void watch_forget(struct watch_set *s);
/* Everything may have changed (restore): fires all. */
void watch_fire_all(struct watch_set *s, uint64_t applied);
