/* SPDX-License-Identifier: MPL-2.0 */
#include "broker_core.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum where { AT_NOWHERE, AT_DELAYED, AT_READY, AT_PENDING, AT_OUT, AT_FAILED };

struct item {
    struct item *next_same; /* hash chain */
    struct job *job;
    uint64_t hash;
    char id[37];
    enum where where;
    enum broker_type type;
    int priority;
    uint64_t create_index, modify_index, wait_index;
    int64_t at_ns;     /* DELAYED: when it is over; OUT: end of the lease */
    struct heap *heap; /* that it is in */
    size_t pos;
    unsigned deliveries; /* that ended badly */
    unsigned returns;
    bool first;     /* it is its job's one that is not PENDING */
    bool forgotten; /* OUT, but ended in the state */
    bool told;      /* FAILED: the caller knows */
    bool again;     /* OUT: to be enqueued once more after the acknowledgement */
    uint64_t again_index;
    char token[BROKER_TOKEN_LEN + 1];
    char worker[BROKER_WORKER_MAX + 1];
};

typedef bool before_fn(const struct item *a, const struct item *b);
struct heap {
    struct item **v;
    size_t n, cap;
    before_fn *before;
};

struct job {
    struct job *next_same;
    uint64_t hash;
    char *namespace, *id;
    struct item *first; /* the one that is not PENDING, or NULL */
    struct heap pending;
    size_t refs; /* items */
};

struct table {
    void **v; /* chains */
    size_t cap, n;
};

struct broker {
    struct table items, jobs;
    struct heap ready[BROKER_TYPES], delayed, out, failed;
};

/* ---- heaps ---- */

static bool better(const struct item *a, const struct item *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    if (a->create_index != b->create_index)
        return a->create_index < b->create_index;
    return strcmp(a->id, b->id) < 0;
}

static bool earlier(const struct item *a, const struct item *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : better(a, b);
}

static bool untold(const struct item *a, const struct item *b)
{
    return a->told != b->told ? !a->told : better(a, b);
}

static void put_at(struct heap *h, size_t i, struct item *it)
{
    h->v[i] = it;
    it->pos = i;
}

static void sift_up(struct heap *h, size_t i)
{
    struct item *it = h->v[i];

    for (; i && h->before(it, h->v[(i - 1) / 2]); i = (i - 1) / 2)
        put_at(h, i, h->v[(i - 1) / 2]);
    put_at(h, i, it);
}

static void sift_down(struct heap *h, size_t i)
{
    struct item *it = h->v[i];

    for (size_t c; (c = 2 * i + 1) < h->n; i = c) {
        if (c + 1 < h->n && h->before(h->v[c + 1], h->v[c]))
            c++;
        if (!h->before(h->v[c], it))
            break;
        put_at(h, i, h->v[c]);
    }
    put_at(h, i, it);
}

static void heap_push(struct heap *h, struct item *it)
{
    if (h->n == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 8;
        h->v = xrealloc(h->v, h->cap * sizeof(struct item *));
    }
    it->heap = h;
    put_at(h, h->n++, it);
    sift_up(h, h->n - 1);
}

static void heap_remove(struct item *it)
{
    struct heap *h = it->heap;
    size_t i = it->pos;
    struct item *last = h->v[--h->n];

    it->heap = NULL;
    if (last == it)
        return;
    put_at(h, i, last);
    sift_up(h, i);
    sift_down(h, last->pos);
}

/* ---- tables ---- */

static uint64_t hash_text(uint64_t h, const char *s)
{
    for (; *s; s++)
        h = (h ^ (uint8_t)*s) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

#define CHAIN_NEXT(p) (*(void **)(p)) /* next_same stands first in items and jobs */

static void table_put(struct table *t, void *p, uint64_t hash, uint64_t (*hash_of)(const void *))
{
    if (t->n >= t->cap) {
        struct table old = *t;

        t->cap = old.cap ? old.cap * 2 : 64;
        t->v = xcalloc(t->cap, sizeof(void *));
        t->n = 0;
        for (size_t i = 0; i < old.cap; i++) {
            for (void *q = old.v[i], *next; q; q = next) {
                next = CHAIN_NEXT(q);
                table_put(t, q, hash_of(q), hash_of);
            }
        }
        free(old.v);
    }
    CHAIN_NEXT(p) = t->v[hash & (t->cap - 1)];
    t->v[hash & (t->cap - 1)] = p;
    t->n++;
}

static void table_remove(struct table *t, void *p, uint64_t hash)
{
    void **at = &t->v[hash & (t->cap - 1)];

    while (*at != p)
        at = (void **)*at;
    *at = CHAIN_NEXT(p);
    t->n--;
}

static uint64_t item_hash(const void *p)
{
    return ((const struct item *)p)->hash;
}

static uint64_t job_hash(const void *p)
{
    return ((const struct job *)p)->hash;
}

static struct item *item_find(const struct broker *b, const char *id)
{
    uint64_t hash = hash_text(1, id);
    struct item *it = b->items.cap ? b->items.v[hash & (b->items.cap - 1)] : NULL;

    while (it && strcmp(it->id, id) != 0)
        it = it->next_same;
    return it;
}

static struct job *job_get(struct broker *b, const char *ns, const char *id)
{
    uint64_t hash = hash_text(hash_text(7, ns), id);
    struct job *j = b->jobs.cap ? b->jobs.v[hash & (b->jobs.cap - 1)] : NULL;

    while (j && (strcmp(j->id, id) != 0 || strcmp(j->namespace, ns) != 0))
        j = j->next_same;
    if (j)
        return j;
    j = xcalloc(1, sizeof(*j));
    j->hash = hash;
    j->namespace = xstrdup(ns);
    j->id = xstrdup(id);
    j->pending.before = better;
    table_put(&b->jobs, j, hash, job_hash);
    return j;
}

static void job_free(struct job *j)
{
    free(j->pending.v);
    free(j->namespace);
    free(j->id);
    free(j);
}

static void job_unref(struct broker *b, struct job *j)
{
    if (--j->refs)
        return;
    table_remove(&b->jobs, j, j->hash);
    job_free(j);
}

/* ---- life ---- */

int64_t broker_delay(int64_t wait, int64_t wait_until, int64_t create, int64_t now)
{
    int64_t meant = wait > 0 ? wait : wait_until, until, left;

    if (meant <= 0)
        return 0;
    if (create <= 0)
        return wait > 0 ? wait : MAX(wait_until - now, 0);
    if (wait <= 0)
        meant = MAX(wait_until - create, 0);
    if (__builtin_add_overflow(create, meant, &until) || __builtin_sub_overflow(until, now, &left))
        return meant;
    return left < 0 ? 0 : MIN(left, meant);
}

struct broker *broker_new(void)
{
    struct broker *b = xcalloc(1, sizeof(*b));

    for (unsigned i = 0; i < BROKER_TYPES; i++)
        b->ready[i].before = better;
    b->delayed.before = b->out.before = earlier;
    b->failed.before = untold;
    return b;
}

void broker_flush(struct broker *b)
{
    for (size_t i = 0; i < b->items.cap; i++) {
        for (struct item *it = b->items.v[i], *next; it; it = next) {
            next = it->next_same;
            free(it);
        }
    }
    for (size_t i = 0; i < b->jobs.cap; i++) {
        for (struct job *j = b->jobs.v[i], *next; j; j = next) {
            next = j->next_same;
            job_free(j);
        }
    }
    free(b->items.v);
    free(b->jobs.v);
    b->items = b->jobs = (struct table){0};
    for (unsigned i = 0; i < BROKER_TYPES; i++)
        b->ready[i].n = 0;
    b->delayed.n = b->out.n = b->failed.n = 0;
}

struct broker *broker_free(struct broker *b)
{
    if (!b)
        return NULL;
    broker_flush(b);
    for (unsigned i = 0; i < BROKER_TYPES; i++)
        free(b->ready[i].v);
    free(b->delayed.v);
    free(b->out.v);
    free(b->failed.v);
    free(b);
    return NULL;
}

bool broker_type_parse(const char *word, enum broker_type *ret)
{
    static const char *const words[BROKER_TYPES] = {"service", "batch", "system"};

    for (unsigned i = 0; word && i < BROKER_TYPES; i++) {
        if (strcmp(word, words[i]) == 0) {
            *ret = (enum broker_type)i;
            return true;
        }
    }
    return false;
}

/* ---- moves ---- */

static void move(struct broker *b, struct item *it, enum where to)
{
    struct heap *h = NULL;

    if (it->heap)
        heap_remove(it);
    it->where = to;
    switch (to) {
    case AT_DELAYED:
        h = &b->delayed;
        break;
    case AT_READY:
        h = &b->ready[it->type];
        break;
    case AT_PENDING:
        h = &it->job->pending;
        break;
    case AT_OUT:
        h = &b->out;
        break;
    case AT_FAILED:
        h = &b->failed;
        break;
    case AT_NOWHERE:
        break;
    }
    if (h)
        heap_push(h, it);
}

/* To the schedulers, or behind the job's other one. */
static void offer(struct broker *b, struct item *it)
{
    struct job *j = it->job;

    if (j->first && j->first != it) {
        move(b, it, AT_PENDING);
        return;
    }
    j->first = it;
    it->first = true;
    move(b, it, AT_READY);
}

/* The job's next one may go; it must see what the one before did. */
static void release_job(struct broker *b, struct item *it, uint64_t index)
{
    struct job *j = it->job;
    struct item *next;

    if (j->first != it)
        return;
    j->first = NULL;
    it->first = false;
    if (j->pending.n == 0)
        return;
    next = j->pending.v[0];
    next->wait_index = MAX(next->wait_index, index);
    offer(b, next);
}

static void drop(struct broker *b, struct item *it, uint64_t index)
{
    struct job *j = it->job;

    move(b, it, AT_NOWHERE);
    release_job(b, it, index);
    table_remove(&b->items, it, it->hash);
    free(it);
    job_unref(b, j);
}

int broker_enqueue(struct broker *b, const struct broker_eval *e, bool again, int64_t now_ns)
{
    struct item *it = item_find(b, e->id);

    if (it) {
        if (again && it->where == AT_OUT) {
            it->again = true;
            it->again_index = e->modify_index;
        }
        return 0;
    }
    if (b->items.n >= BROKER_EVALS_MAX)
        return -ENOBUFS;
    it = xcalloc(1, sizeof(*it));
    (void)snprintf(it->id, sizeof(it->id), "%s", e->id);
    it->hash = hash_text(1, it->id);
    it->type = e->type;
    it->priority = e->priority;
    it->create_index = e->create_index;
    it->modify_index = it->wait_index = e->modify_index;
    it->job = job_get(b, e->namespace, e->job_id);
    it->job->refs++;
    table_put(&b->items, it, it->hash, item_hash);
    if (e->delay_ns > 0) {
        it->at_ns = now_ns > INT64_MAX - e->delay_ns ? INT64_MAX : now_ns + e->delay_ns;
        move(b, it, AT_DELAYED);
    } else {
        offer(b, it);
    }
    return 0;
}

void broker_forget(struct broker *b, const char *id)
{
    struct item *it = item_find(b, id);

    if (!it)
        return;
    if (it->where == AT_OUT)
        it->forgotten = true;
    else
        drop(b, it, 0);
}

/* ---- deliveries ---- */

static struct item *best(const struct broker *b, unsigned types)
{
    struct item *found = NULL;

    for (unsigned i = 0; i < BROKER_TYPES; i++) {
        if (!(types & 1u << i) || b->ready[i].n == 0)
            continue;
        if (!found || better(b->ready[i].v[0], found))
            found = b->ready[i].v[0];
    }
    return found;
}

bool broker_any_ready(const struct broker *b, unsigned types)
{
    return best(b, types) != NULL;
}

bool broker_dequeue(struct broker *b, unsigned types, const char *worker,
                    const char token[static BROKER_TOKEN_LEN + 1], int64_t now_ns,
                    struct broker_delivery *ret)
{
    struct item *it = best(b, types);

    if (!it)
        return false;
    (void)snprintf(it->token, sizeof(it->token), "%s", token);
    (void)snprintf(it->worker, sizeof(it->worker), "%s", worker ? worker : "");
    it->at_ns = now_ns + BROKER_LEASE_NS;
    move(b, it, AT_OUT);
    memcpy(ret->id, it->id, sizeof(ret->id));
    memcpy(ret->token, it->token, sizeof(ret->token));
    ret->wait_index = it->wait_index;
    return true;
}

static struct item *delivery(const struct broker *b, const char *id, const char *token)
{
    struct item *it = id && token ? item_find(b, id) : NULL;

    return it && it->where == AT_OUT && strcmp(it->token, token) == 0 ? it : NULL;
}

bool broker_holds(const struct broker *b, const char *id, const char *token)
{
    return delivery(b, id, token) != NULL;
}

void broker_renew(struct broker *b, const char *id, int64_t now_ns)
{
    struct item *it = item_find(b, id);

    if (!it || it->where != AT_OUT)
        return;
    it->at_ns = now_ns + BROKER_LEASE_NS;
    move(b, it, AT_OUT);
}

int broker_ack(struct broker *b, const char *id, const char *token, uint64_t index, int64_t now_ns)
{
    struct item *it = delivery(b, id, token);

    (void)now_ns;
    if (!it)
        return -ENOENT;
    if (!it->again) {
        drop(b, it, index);
        return 0;
    }
    it->again = it->forgotten = false;
    it->deliveries = it->returns = 0;
    it->wait_index = MAX(it->again_index, index);
    it->token[0] = it->worker[0] = 0;
    /* Others of the job that waited may be better. */
    move(b, it, AT_PENDING);
    release_job(b, it, index);
    return 0;
}

static void fail_delivery(struct broker *b, struct item *it, bool lost, int64_t now_ns)
{
    it->token[0] = it->worker[0] = 0;
    if (it->forgotten) {
        drop(b, it, 0);
        return;
    }
    it->again = false;
    if (lost && it->returns < BROKER_RETURNS_MAX) {
        it->returns++;
        move(b, it, AT_READY);
        return;
    }
    if (++it->deliveries >= BROKER_DELIVERIES_MAX) {
        move(b, it, AT_FAILED);
        return;
    }
    it->at_ns = now_ns + (it->deliveries == 1 ? BROKER_NACK_FIRST_NS : BROKER_NACK_LATER_NS);
    move(b, it, AT_DELAYED);
}

int broker_nack(struct broker *b, const char *id, const char *token, int64_t now_ns)
{
    struct item *it = delivery(b, id, token);

    if (!it)
        return -ENOENT;
    fail_delivery(b, it, false, now_ns);
    return 0;
}

static bool is_held(const struct item *it, const char *const *holding, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (holding[i] && strcmp(holding[i], it->id) == 0)
            return true;
    }
    return false;
}

static size_t give_back(struct broker *b, const char *worker, bool prefix,
                        const char *const *holding, size_t n, int64_t now_ns)
{
    size_t count = 0, len = strlen(worker);

    /* From the end: what is moved out is replaced by what stood behind it, or moved up before. */
    for (size_t i = b->out.n; i-- > 0;) {
        struct item *it = i < b->out.n ? b->out.v[i] : NULL;

        if (!it || !it->worker[0] || is_held(it, holding, n) ||
            (prefix ? strncmp(it->worker, worker, len) != 0 : strcmp(it->worker, worker) != 0))
            continue;
        fail_delivery(b, it, true, now_ns);
        count++;
        i = b->out.n; /* the order has changed */
    }
    return count;
}

size_t broker_give_back(struct broker *b, const char *worker, const char *const *holding, size_t n,
                        int64_t now_ns)
{
    return worker && worker[0] ? give_back(b, worker, false, holding, n, now_ns) : 0;
}

size_t broker_give_back_all(struct broker *b, const char *prefix, int64_t now_ns)
{
    return give_back(b, prefix, true, NULL, 0, now_ns);
}

void broker_tick(struct broker *b, int64_t now_ns)
{
    while (b->out.n && b->out.v[0]->at_ns <= now_ns)
        fail_delivery(b, b->out.v[0], false, now_ns);
    while (b->delayed.n && b->delayed.v[0]->at_ns <= now_ns)
        offer(b, b->delayed.v[0]);
}

const char *broker_failed(struct broker *b)
{
    struct item *it = b->failed.n ? b->failed.v[0] : NULL;

    if (!it || it->told)
        return NULL;
    heap_remove(it);
    it->told = true;
    heap_push(&b->failed, it);
    return it->id;
}

void broker_stats(const struct broker *b, struct broker_stats *ret)
{
    *ret = (struct broker_stats){.out = b->out.n, .delayed = b->delayed.n, .failed = b->failed.n};
    for (unsigned i = 0; i < BROKER_TYPES; i++) {
        ret->ready[i] = b->ready[i].n;
        ret->ready_all += b->ready[i].n;
    }
    ret->pending = b->items.n - ret->ready_all - ret->out - ret->delayed - ret->failed;
}
