/* SPDX-License-Identifier: MPL-2.0 */
#include "bcast.h"

#include <string.h>

void bcast_init(struct bcast_queue *q, size_t n_max)
{
    *q = (struct bcast_queue){.n_max = n_max, .next_id = 1};
}

static void item_fini(struct bcast_item *it)
{
    free(it->key);
    free(it->msg);
    free(it->to);
}

void bcast_fini(struct bcast_queue *q)
{
    for (size_t i = 0; i < q->n; i++)
        item_fini(&q->items[i]);
    free(q->items);
    *q = (struct bcast_queue){.n = 0};
}

/* Is a picked before b? */
static bool item_before(const struct bcast_item *a, const struct bcast_item *b)
{
    if (a->sent != b->sent)
        return a->sent < b->sent;
    if (a->len != b->len)
        return a->len > b->len;
    return a->id > b->id;
}

static void item_insert(struct bcast_queue *q, struct bcast_item it)
{
    size_t lo = 0, hi = q->n;

    if (q->n == q->cap) {
        q->cap = MAX(q->cap * 2, (size_t)8);
        q->items = xrealloc(q->items, q->cap * sizeof(*q->items));
    }
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (item_before(&q->items[mid], &it))
            lo = mid + 1;
        else
            hi = mid;
    }
    memmove(&q->items[lo + 1], &q->items[lo], (q->n - lo) * sizeof(*q->items));
    q->items[lo] = it;
    q->n++;
}

static void item_remove(struct bcast_queue *q, size_t i)
{
    assert(i < q->n);
    q->n--;
    memmove(&q->items[i], &q->items[i + 1], (q->n - i) * sizeof(*q->items));
}

void bcast_remove_key(struct bcast_queue *q, const char *key)
{
    for (size_t i = q->n; i-- > 0;) {
        if (q->items[i].key && strcmp(q->items[i].key, key) == 0) {
            item_fini(&q->items[i]);
            item_remove(q, i);
        }
    }
}

uint64_t bcast_put(struct bcast_queue *q, const char *key, struct span msg)
{
    struct bcast_item it = {.id = q->next_id++, .len = (uint16_t)msg.len};

    assert(msg.len > 0 && msg.len <= UINT16_MAX);
    if (key)
        bcast_remove_key(q, key);
    if (q->n == q->n_max) {
        item_fini(&q->items[q->n - 1]);
        q->n--;
        q->dropped++;
    }
    it.key = key ? xstrdup(key) : NULL;
    it.msg = xmalloc(msg.len);
    memcpy(it.msg, msg.p, msg.len);
    item_insert(q, it);
    return it.id;
}

bool bcast_has(const struct bcast_queue *q, uint64_t id)
{
    for (size_t i = 0; i < q->n; i++) {
        if (q->items[i].id == id)
            return true;
    }
    return false;
}

void bcast_aim(struct bcast_queue *q, uint32_t id, unsigned receivers)
{
    assert(receivers <= BCAST_AIM_MAX);
    q->aim = id;
    q->receivers = receivers;
}

/* The receiver has it, and others have not. */
static bool better_for_others(const struct bcast_queue *q, const struct bcast_item *it)
{
    bool has = false;

    if (!q->aim || !it->to || it->to->n >= q->receivers)
        return false;
    for (unsigned i = 0; i < it->to->n && !has; i++)
        has = it->to->ids[i] == q->aim;
    return has;
}

static void remember_receiver(const struct bcast_queue *q, struct bcast_item *it)
{
    if (!q->aim)
        return;
    if (!it->to)
        it->to = xcalloc(1, sizeof(*it->to));
    for (unsigned i = 0; i < it->to->n; i++) {
        if (it->to->ids[i] == q->aim)
            return;
    }
    if (it->to->n < BCAST_AIM_MAX)
        it->to->ids[it->to->n++] = q->aim;
}

size_t bcast_pick(struct bcast_queue *q, size_t overhead, size_t *room, unsigned limit,
                  size_t n_max, bcast_pick_fn *fn, void *user)
{
    struct bcast_item picked[64];
    size_t n = 0, kept = 0, i;

    if (q->n == 0)
        return 0;
    n_max = MIN(n_max, ARRAY_LEN(picked));
    for (i = 0; i < q->n && n<n_max && * room> overhead; i++) {
        if (q->items[i].len + overhead > *room || better_for_others(q, &q->items[i])) {
            q->items[kept++] = q->items[i];
            continue;
        }
        *room -= q->items[i].len + overhead;
        fn(user, (struct span){q->items[i].msg, q->items[i].len});
        remember_receiver(q, &q->items[i]);
        picked[n++] = q->items[i];
    }
    memmove(&q->items[kept], &q->items[i], (q->n - i) * sizeof(*q->items));
    q->n -= n;
    for (i = 0; i < n; i++) {
        if (++picked[i].sent >= limit)
            item_fini(&picked[i]);
        else
            item_insert(q, picked[i]);
    }
    return n;
}
