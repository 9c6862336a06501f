/* SPDX-License-Identifier: MPL-2.0 */
#include "base/idmap.h"

static size_t slot_of(const struct idmap *m, uint64_t id)
{
    return (size_t)((id * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (m->cap - 1);
}

void idmap_fini(struct idmap *m)
{
    free(m->slots);
    *m = (struct idmap){0};
}

/* Index of id, or of the free slot where it would go. cap must not be 0. */
static size_t find(const struct idmap *m, uint64_t id)
{
    size_t i = slot_of(m, id);

    while (m->slots[i].id && m->slots[i].id != id)
        i = (i + 1) & (m->cap - 1);
    return i;
}

void *idmap_get(const struct idmap *m, uint64_t id)
{
    return m->cap ? m->slots[find(m, id)].value : NULL;
}

static void grow(struct idmap *m)
{
    struct idmap old = *m;

    m->cap = old.cap ? old.cap * 2 : 64;
    m->slots = xcalloc(m->cap, sizeof(*m->slots));
    for (size_t i = 0; i < old.cap; i++) {
        if (old.slots[i].id)
            m->slots[find(m, old.slots[i].id)] = old.slots[i];
    }
    free(old.slots);
}

void idmap_put(struct idmap *m, uint64_t id, void *value)
{
    size_t i;

    assert(id && value);
    if ((m->n + 1) * 4 > m->cap * 3)
        grow(m);
    i = find(m, id);
    assert(!m->slots[i].id);
    m->slots[i] = (struct idmap_slot){id, value};
    m->n++;
}

void *idmap_remove(struct idmap *m, uint64_t id)
{
    size_t hole, i;
    void *value;

    if (!m->cap)
        return NULL;
    hole = find(m, id);
    value = m->slots[hole].value;
    if (!m->slots[hole].id)
        return NULL;
    m->n--;
    m->slots[hole] = (struct idmap_slot){0};
    /* Move back what the hole would hide (Knuth 6.4, algorithm R). */
    for (i = (hole + 1) & (m->cap - 1); m->slots[i].id; i = (i + 1) & (m->cap - 1)) {
        size_t home = slot_of(m, m->slots[i].id);

        if (((i - home) & (m->cap - 1)) >= ((i - hole) & (m->cap - 1))) {
            m->slots[hole] = m->slots[i];
            m->slots[i] = (struct idmap_slot){0};
            hole = i;
        }
    }
    return value;
}

void *idmap_next(const struct idmap *m, size_t *i)
{
    while (*i < m->cap) {
        struct idmap_slot *s = &m->slots[(*i)++];

        if (s->id)
            return s->value;
    }
    return NULL;
}
