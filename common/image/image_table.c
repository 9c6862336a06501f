/* SPDX-License-Identifier: MPL-2.0 */
/* Hash table of slots, sorted sets, texts, UUIDs. */
#include <string.h>

#include "image/image_internal.h"

/* ---- UUIDs ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool image_id_parse(const char *text, struct image_id *ret)
{
    static const uint8_t at[16] = {0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};

    if (!text || strnlen(text, 37) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' ||
        text[23] != '-')
        return false;
    for (unsigned i = 0; i < 16; i++) {
        int hi = hex_value(text[at[i]]), lo = hex_value(text[at[i] + 1]);

        if (hi < 0 || lo < 0)
            return false;
        ret->b[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

void image_id_text(const struct image_id *id, char out[static 37])
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;

    for (unsigned i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[n++] = '-';
        out[n++] = hex[id->b[i] >> 4];
        out[n++] = hex[id->b[i] & 15];
    }
    out[n] = 0;
}

/* ---- hash table ---- */

uint32_t image_hash(uint32_t seed, const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed;

    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return (uint32_t)(h ^ h >> 32);
}

void slot_table_fini(struct slot_table *t)
{
    free(t->entries);
    *t = (struct slot_table){0};
}

static void insert(struct slot_table *t, struct slot_entry e)
{
    uint32_t i = e.hash & (t->cap - 1);

    while (t->entries[i].slot != IMAGE_NONE)
        i = (i + 1) & (t->cap - 1);
    t->entries[i] = e;
}

void slot_table_put(struct slot_table *t, uint32_t hash, uint32_t slot)
{
    if ((t->n + 1) * UINT64_C(4) > t->cap * UINT64_C(3)) {
        struct slot_entry *old = t->entries;
        uint32_t old_cap = t->cap;

        t->cap = old_cap ? old_cap * 2 : 64;
        t->entries = xmalloc(t->cap * sizeof(*t->entries));
        memset(t->entries, 0xff, t->cap * sizeof(*t->entries));
        for (uint32_t i = 0; i < old_cap; i++) {
            if (old[i].slot != IMAGE_NONE)
                insert(t, old[i]);
        }
        free(old);
    }
    insert(t, (struct slot_entry){slot, hash});
    t->n++;
}

uint32_t slot_table_walk(const struct slot_table *t, uint32_t hash, uint32_t *pos)
{
    while (*pos < t->cap) {
        const struct slot_entry *e = &t->entries[(hash + (*pos)++) & (t->cap - 1)];

        if (e->slot == IMAGE_NONE)
            return IMAGE_NONE;
        if (e->hash == hash)
            return e->slot;
    }
    return IMAGE_NONE;
}

void slot_table_remove(struct slot_table *t, uint32_t hash, uint32_t slot)
{
    uint32_t mask = t->cap - 1, hole = hash & mask, i;

    assert(t->cap);
    while (t->entries[hole].slot != slot) {
        assert(t->entries[hole].slot != IMAGE_NONE);
        hole = (hole + 1) & mask;
    }
    t->n--;
    /* What stands behind the hole and may not be found past it moves into it. */
    for (i = (hole + 1) & mask; t->entries[i].slot != IMAGE_NONE; i = (i + 1) & mask) {
        uint32_t home = t->entries[i].hash & mask;

        if (((i - home) & mask) < ((i - hole) & mask))
            continue;
        t->entries[hole] = t->entries[i];
        hole = i;
    }
    t->entries[hole].slot = IMAGE_NONE;
}

/* ---- sets ---- */

static uint32_t lower_bound(const struct image_set *s, uint64_t value)
{
    uint32_t lo = 0, hi = s->n;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (s->v[mid] < value)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool image_set_has(const struct image_set *s, uint64_t value)
{
    uint32_t i = lower_bound(s, value);

    return i < s->n && s->v[i] == value;
}

void image_set_add(struct image_set *s, uint64_t value)
{
    uint32_t i = lower_bound(s, value);

    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 8;
        s->v = xrealloc(s->v, s->cap * sizeof(*s->v));
    }
    memmove(&s->v[i + 1], &s->v[i], (s->n - i) * sizeof(*s->v));
    s->v[i] = value;
    s->n++;
}

void image_set_remove(struct image_set *s, uint64_t value)
{
    uint32_t i = lower_bound(s, value);

    if (i == s->n || s->v[i] != value)
        return;
    s->n--;
    memmove(&s->v[i], &s->v[i + 1], (s->n - i) * sizeof(*s->v));
}

void image_set_fini(struct image_set *s)
{
    free(s->v);
    *s = (struct image_set){0};
}

/* ---- texts ---- */

uint32_t image_text_find(const struct image *im, const char *text)
{
    uint32_t hash, pos = 0, i;

    if (!text || !text[0])
        return 0;
    hash = image_hash(0, text, strlen(text));
    while ((i = slot_table_walk(&im->text_table, hash, &pos)) != IMAGE_NONE) {
        if (strcmp(im->texts[i], text) == 0)
            return i;
    }
    return IMAGE_NONE;
}

uint32_t image_text(struct image *im, const char *text)
{
    uint32_t i = image_text_find(im, text);

    if (i != IMAGE_NONE)
        return i;
    if (im->texts_n == im->texts_cap) {
        im->texts_cap = im->texts_cap ? im->texts_cap * 2 : 64;
        im->texts = xrealloc(im->texts, im->texts_cap * sizeof(*im->texts));
    }
    if (im->texts_n == 0)
        im->texts[im->texts_n++] = xstrdup("");
    i = im->texts_n++;
    im->texts[i] = xstrdup(text);
    slot_table_put(&im->text_table, image_hash(0, text, strlen(text)), i);
    return i;
}

const char *image_text_of(const struct image *im, uint32_t number)
{
    return number && number < im->texts_n ? im->texts[number] : "";
}
