/* SPDX-License-Identifier: MPL-2.0 */
#include "blocked_core.h"

#include <stdio.h>
#include <string.h>

struct kept {
    struct kept *next_id, *next_key; /* hash chains */
    struct kept *prev, *next;        /* all */
    uint64_t id_hash, key_hash;
    char id[37];
    char *namespace, *job_id;
    bool escaped, failed_plans;
    uint64_t snapshot_index; /* the state that it was made from */
    uint64_t age_index;      /* of two, the one with the larger is the newer */
    char **unfit;            /* classes, sorted */
    size_t unfit_n;
};

struct class_index {
    char *name;
    uint64_t index;
    int64_t at_ns;
};

struct chains {
    struct kept **v;
    size_t cap;
};

struct blocked {
    blocked_wake_fn *wake;
    void *user;
    struct chains by_id, by_key;
    struct kept *first;
    size_t n, escaped_n;
    struct class_index *classes; /* sorted by name */
    size_t classes_n, classes_cap;
    uint64_t last_index;      /* of any unblock */
    uint64_t forgotten_index; /* unblocks of classes that are not remembered, up to here */
};

static uint64_t hash_text(uint64_t h, const char *s)
{
    for (; *s; s++)
        h = (h ^ (uint8_t)*s) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

static uint64_t key_hash(const char *ns, const char *job)
{
    return hash_text(hash_text(7, ns), job);
}

/* ---- the set ---- */

static void kept_free(struct kept *k)
{
    for (size_t i = 0; i < k->unfit_n; i++)
        free(k->unfit[i]);
    free(k->unfit);
    free(k->namespace);
    free(k->job_id);
    free(k);
}

static void chain_in(struct blocked *b, struct kept *k)
{
    size_t mask = b->by_id.cap - 1;

    k->next_id = b->by_id.v[k->id_hash & mask];
    b->by_id.v[k->id_hash & mask] = k;
    k->next_key = b->by_key.v[k->key_hash & mask];
    b->by_key.v[k->key_hash & mask] = k;
}

static void grow(struct blocked *b)
{
    size_t cap = b->by_id.cap ? b->by_id.cap * 2 : 64;

    if (b->n < b->by_id.cap)
        return;
    free(b->by_id.v);
    free(b->by_key.v);
    b->by_id = (struct chains){xcalloc(cap, sizeof(struct kept *)), cap};
    b->by_key = (struct chains){xcalloc(cap, sizeof(struct kept *)), cap};
    for (struct kept *k = b->first; k; k = k->next)
        chain_in(b, k);
}

static struct kept *find_id(const struct blocked *b, const char *id)
{
    uint64_t hash = hash_text(1, id);
    struct kept *k = b->by_id.cap ? b->by_id.v[hash & (b->by_id.cap - 1)] : NULL;

    while (k && strcmp(k->id, id) != 0)
        k = k->next_id;
    return k;
}

static struct kept *find_key(const struct blocked *b, const char *ns, const char *job)
{
    uint64_t hash = key_hash(ns, job);
    struct kept *k = b->by_key.cap ? b->by_key.v[hash & (b->by_key.cap - 1)] : NULL;

    while (k &&
           (k->key_hash != hash || strcmp(k->job_id, job) != 0 || strcmp(k->namespace, ns) != 0))
        k = k->next_key;
    return k;
}

static void unlink_kept(struct blocked *b, struct kept *k)
{
    size_t mask = b->by_id.cap - 1;
    struct kept **at = &b->by_id.v[k->id_hash & mask];

    while (*at != k)
        at = &(*at)->next_id;
    *at = k->next_id;
    for (at = &b->by_key.v[k->key_hash & mask]; *at != k; at = &(*at)->next_key)
        ;
    *at = k->next_key;
    if (k->prev)
        k->prev->next = k->next;
    else
        b->first = k->next;
    if (k->next)
        k->next->prev = k->prev;
    b->n--;
    b->escaped_n -= k->escaped;
}

static void drop(struct blocked *b, struct kept *k)
{
    unlink_kept(b, k);
    kept_free(k);
}

static void wake(struct blocked *b, struct kept *k)
{
    unlink_kept(b, k);
    b->wake(b->user, k->id);
    kept_free(k);
}

struct blocked *blocked_new(blocked_wake_fn *fn, void *user)
{
    struct blocked *b = xcalloc(1, sizeof(*b));

    b->wake = fn;
    b->user = user;
    return b;
}

void blocked_flush(struct blocked *b)
{
    blocked_wake_fn *fn = b->wake;
    void *user = b->user;

    while (b->first)
        drop(b, b->first);
    for (size_t i = 0; i < b->classes_n; i++)
        free(b->classes[i].name);
    free(b->classes);
    free(b->by_id.v);
    free(b->by_key.v);
    *b = (struct blocked){.wake = fn, .user = user};
}

void blocked_start(struct blocked *b, uint64_t index)
{
    b->last_index = b->forgotten_index = index;
}

struct blocked *blocked_free(struct blocked *b)
{
    if (b) {
        blocked_flush(b);
        free(b);
    }
    return NULL;
}

size_t blocked_count(const struct blocked *b)
{
    return b->n;
}

size_t blocked_escaped_count(const struct blocked *b)
{
    return b->escaped_n;
}

/* ---- classes ---- */

static int cmp_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool has_class(char *const *v, size_t n, const char *name)
{
    return n && bsearch(&name, v, n, sizeof(*v), cmp_text) != NULL;
}

static void copy_unfit(struct kept *k, const steppe_Evaluation *ev)
{
    k->unfit = xcalloc((size_t)ev->class_eligibility_count + 1, sizeof(char *));
    for (pb_size_t i = 0; i < ev->class_eligibility_count; i++) {
        const char *name = ev->class_eligibility[i].key;

        if (!ev->class_eligibility[i].value)
            k->unfit[k->unfit_n++] = xstrdup(name ? name : "");
    }
    qsort(k->unfit, k->unfit_n, sizeof(char *), cmp_text);
}

static size_t class_at(const struct blocked *b, const char *name, bool *ret_found)
{
    size_t lo = 0, hi = b->classes_n;

    *ret_found = false;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int cmp = strcmp(b->classes[mid].name, name);

        if (cmp == 0) {
            *ret_found = true;
            return mid;
        }
        if (cmp < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void class_forget(struct blocked *b, size_t i)
{
    b->forgotten_index = MAX(b->forgotten_index, b->classes[i].index);
    free(b->classes[i].name);
    b->classes_n--;
    memmove(&b->classes[i], &b->classes[i + 1], (b->classes_n - i) * sizeof(*b->classes));
}

static void class_note(struct blocked *b, const char *name, uint64_t index, int64_t now_ns)
{
    bool found;
    size_t i = class_at(b, name, &found);

    if (!found && b->classes_n == BLOCKED_CLASSES_MAX) {
        b->forgotten_index = MAX(b->forgotten_index, index);
        return;
    }
    if (!found) {
        if (b->classes_n == b->classes_cap) {
            b->classes_cap = b->classes_cap ? b->classes_cap * 2 : 16;
            b->classes = xrealloc(b->classes, b->classes_cap * sizeof(*b->classes));
        }
        memmove(&b->classes[i + 1], &b->classes[i], (b->classes_n - i) * sizeof(*b->classes));
        b->classes[i] = (struct class_index){.name = xstrdup(name)};
        b->classes_n++;
    }
    b->classes[i].index = MAX(b->classes[i].index, index);
    b->classes[i].at_ns = now_ns;
}

/* A class that it could use was woken after the state that it was made from. */
static bool missed(const struct blocked *b, const struct kept *k)
{
    if (b->last_index <= k->snapshot_index)
        return false;
    if (k->escaped || b->forgotten_index > k->snapshot_index)
        return true;
    for (size_t i = 0; i < b->classes_n; i++) {
        if (b->classes[i].index > k->snapshot_index &&
            !has_class(k->unfit, k->unfit_n, b->classes[i].name))
            return true;
    }
    return false;
}

/* ---- in and out ---- */

static struct kept *kept_new(const steppe_Evaluation *ev)
{
    struct kept *k = xcalloc(1, sizeof(*k));

    (void)snprintf(k->id, sizeof(k->id), "%s", ev->id ? ev->id : "");
    k->namespace = xstrdup(ev->namespace ? ev->namespace : "");
    k->job_id = xstrdup(ev->job_id ? ev->job_id : "");
    k->id_hash = hash_text(1, k->id);
    k->key_hash = key_hash(k->namespace, k->job_id);
    k->escaped = ev->escaped_computed_class;
    k->failed_plans = ev->triggered_by && strcmp(ev->triggered_by, "max-plan-attempts") == 0;
    k->snapshot_index = ev->snapshot_index;
    k->age_index = MAX(ev->snapshot_index, ev->create_index);
    copy_unfit(k, ev);
    return k;
}

enum blocked_result blocked_add(struct blocked *b, const steppe_Evaluation *ev, char ret_dup[37])
{
    struct kept *k, *other;

    ret_dup[0] = 0;
    if (ev->id && find_id(b, ev->id))
        return BLOCKED_KEPT;
    k = kept_new(ev);
    other = find_key(b, k->namespace, k->job_id);
    if (other && other->age_index > k->age_index) {
        memcpy(ret_dup, k->id, sizeof(k->id));
        kept_free(k);
        return BLOCKED_DUPLICATE;
    }
    if (other) {
        memcpy(ret_dup, other->id, sizeof(other->id));
        drop(b, other);
    }
    if (b->n >= BLOCKED_MAX || missed(b, k)) {
        b->wake(b->user, k->id);
        kept_free(k);
        return BLOCKED_WOKEN;
    }
    grow(b);
    k->next = b->first;
    if (k->next)
        k->next->prev = k;
    b->first = k;
    chain_in(b, k);
    b->n++;
    b->escaped_n += k->escaped;
    return BLOCKED_KEPT;
}

void blocked_remove(struct blocked *b, const char *eval_id)
{
    struct kept *k = find_id(b, eval_id);

    if (k)
        drop(b, k);
}

void blocked_untrack(struct blocked *b, const char *ns, const char *job_id)
{
    struct kept *k = find_key(b, ns, job_id);

    if (k)
        drop(b, k);
}

/* ---- waking ---- */

void blocked_unblock(struct blocked *b, const char *computed_class, uint64_t index, int64_t now_ns)
{
    struct kept *k, *next;

    class_note(b, computed_class, index, now_ns);
    b->last_index = MAX(b->last_index, index);
    for (k = b->first; k; k = next) {
        next = k->next;
        if (k->escaped || !has_class(k->unfit, k->unfit_n, computed_class))
            wake(b, k);
    }
}

void blocked_unblock_failed(struct blocked *b)
{
    struct kept *k, *next;

    for (k = b->first; k; k = next) {
        next = k->next;
        if (k->failed_plans)
            wake(b, k);
    }
}

void blocked_prune(struct blocked *b, int64_t now_ns)
{
    for (size_t i = b->classes_n; i-- > 0;) {
        if (b->classes[i].at_ns < now_ns - BLOCKED_FORGET_NS)
            class_forget(b, i);
    }
}
