/* SPDX-License-Identifier: MPL-2.0 */
#include "sched_arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BLOCK_MIN (64u << 10)
#define ALIGN     16u

struct sched_arena_block {
    struct sched_arena_block *next;
    size_t used, size;
    _Alignas(ALIGN) uint8_t data[];
};

static void free_list(struct sched_arena_block *b)
{
    while (b) {
        struct sched_arena_block *next = b->next;

        free(b);
        b = next;
    }
}

void sched_arena_fini(struct sched_arena *a)
{
    free_list(a->blocks);
    free_list(a->spare);
    *a = (struct sched_arena){0};
}

void sched_arena_reset(struct sched_arena *a)
{
    size_t kept = 0;

    for (struct sched_arena_block *b = a->spare; b; b = b->next)
        kept += b->size;
    while (a->blocks) {
        struct sched_arena_block *b = a->blocks;

        a->blocks = b->next;
        if (kept + b->size > SCHED_ARENA_KEEP) {
            free(b);
            continue;
        }
        kept += b->size;
        b->used = 0;
        b->next = a->spare;
        a->spare = b;
    }
}

static void add_block(struct sched_arena *a, size_t n)
{
    struct sched_arena_block *b = a->spare;

    if (b && b->size >= n) {
        a->spare = b->next;
    } else {
        size_t size = MAX(n, (size_t)BLOCK_MIN);

        b = xmalloc(sizeof(*b) + size);
        b->size = size;
        b->used = 0;
    }
    b->next = a->blocks;
    a->blocks = b;
}

void *sched_arena_take(struct sched_arena *a, size_t n)
{
    struct sched_arena_block *b = a->blocks;
    void *p;

    assert(n < SIZE_MAX / 2);
    n = (n + ALIGN - 1) / ALIGN * ALIGN;
    if (!b || b->size - b->used < n) {
        add_block(a, n);
        b = a->blocks;
    }
    p = b->data + b->used;
    b->used += n;
    memset(p, 0, n);
    return p;
}

char *sched_arena_text(struct sched_arena *a, const void *data, size_t len)
{
    char *p = sched_arena_take(a, len + 1);

    if (len > 0)
        memcpy(p, data, len);
    return p;
}

char *sched_arena_printf(struct sched_arena *a, const char *fmt, ...)
{
    _cleanup_(freep) char *text = NULL;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0)
        abort();
    return sched_arena_text(a, text, (size_t)n);
}
