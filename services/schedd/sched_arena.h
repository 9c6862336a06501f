/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Memory of one evaluation: taken in pieces, given back all at once. A reset keeps the blocks, so
 * that the next evaluation costs no malloc.
 */
#pragma once

#include "base/base.h"

#define SCHED_ARENA_KEEP (4u << 20) /* bytes that a reset keeps at most */

struct sched_arena_block;
struct sched_arena {
    struct sched_arena_block *blocks; /* the one being filled first */
    struct sched_arena_block *spare;
};

void sched_arena_fini(struct sched_arena *a);
/* All that was taken is void. */
void sched_arena_reset(struct sched_arena *a);
/* Zeroed, aligned for anything. n may be 0. Out of memory ends the process. */
void *sched_arena_take(struct sched_arena *a, size_t n);
#define SCHED_NEW(a, type)      ((type *)sched_arena_take((a), sizeof(type)))
#define SCHED_NEW_N(a, type, n) ((type *)sched_arena_take((a), sizeof(type) * (n)))
/* A copy with a NUL behind it. */
char *sched_arena_text(struct sched_arena *a, const void *data, size_t len);
char *sched_arena_printf(struct sched_arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
