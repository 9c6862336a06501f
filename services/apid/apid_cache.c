/* SPDX-License-Identifier: MPL-2.0 */
/*
 * JSON that was rendered before. The key is the encoded body itself: equal bytes give equal JSON,
 * so nothing is ever out of date. Each hash has one slot; a new body takes it over.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <xxhash.h>

#include "apid.h"

#define SLOTS    32
#define BODY_MAX (64u << 10)

struct entry {
    atomic_uint refs;
    const struct json_type *type;
    unsigned how;
    size_t len, json_len;
    char data[]; /* body, JSON */
};

struct apid_cache {
    pthread_rwlock_t lock[SLOTS]; /* read to look, or all threads would queue at one slot */
    struct entry *slots[SLOTS];
};

struct apid_cache *apid_cache_new(void)
{
    struct apid_cache *c = xcalloc(1, sizeof(*c));

    for (int i = 0; i < SLOTS; i++)
        pthread_rwlock_init(&c->lock[i], NULL);
    return c;
}

static void unref(struct entry *e)
{
    if (e && atomic_fetch_sub(&e->refs, 1) == 1)
        free(e);
}

struct apid_cache *apid_cache_free(struct apid_cache *c)
{
    if (!c)
        return NULL;
    for (int i = 0; i < SLOTS; i++) {
        unref(c->slots[i]);
        pthread_rwlock_destroy(&c->lock[i]);
    }
    free(c);
    return NULL;
}

static size_t slot_of(const struct json_type *type, unsigned how, const void *body, size_t len)
{
    return (size_t)(XXH3_64bits_withSeed(body, len, (XXH64_hash_t)(uintptr_t)type + how) % SLOTS);
}

static bool is(const struct entry *e, const struct json_type *type, unsigned how, const void *body,
               size_t len)
{
    return e && e->type == type && e->how == how && e->len == len &&
           memcmp(e->data, body, len) == 0;
}

bool apid_cache_get(struct apid_cache *c, const struct json_type *type, unsigned how,
                    const void *body, size_t len, struct strbuf *out)
{
    struct entry *e;
    size_t i;

    if (len == 0 || len > BODY_MAX)
        return false;
    i = slot_of(type, how, body, len);
    pthread_rwlock_rdlock(&c->lock[i]);
    e = c->slots[i];
    if (e)
        atomic_fetch_add(&e->refs, 1);
    pthread_rwlock_unlock(&c->lock[i]);
    if (!is(e, type, how, body, len)) {
        unref(e);
        return false;
    }
    strbuf_add(out, e->data + e->len, e->json_len);
    unref(e);
    return true;
}

void apid_cache_put(struct apid_cache *c, const struct json_type *type, unsigned how,
                    const void *body, size_t len, const char *json, size_t json_len)
{
    struct entry *e, *old;
    size_t i;

    if (len == 0 || len > BODY_MAX || json_len > 4 * BODY_MAX)
        return;
    e = xmalloc(sizeof(*e) + len + json_len);
    atomic_init(&e->refs, 1);
    e->type = type;
    e->how = how;
    e->len = len;
    e->json_len = json_len;
    memcpy(e->data, body, len);
    memcpy(e->data + len, json, json_len);
    i = slot_of(type, how, body, len);
    pthread_rwlock_wrlock(&c->lock[i]);
    old = c->slots[i];
    c->slots[i] = e;
    pthread_rwlock_unlock(&c->lock[i]);
    unref(old);
}
