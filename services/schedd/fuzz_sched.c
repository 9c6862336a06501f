/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What comes from jobs and from the state: stored allocations, operands with versions and regular
 * expressions. First byte: what; texts are split at NULs.
 */
#include <string.h>

#include "sched_alloc.h"
#include "sched_match.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void allocation(const uint8_t *data, size_t size)
{
    struct sched_arena arena = {0};
    struct sched_alloc a;
    size_t half = size / 2, n;

    if (sched_alloc_read(&arena, bytes_of(data, half), bytes_of(data + half, size - half), &a) ==
        0) {
        (void)sched_alloc_terminal(&a);
        (void)sched_alloc_tracker(&arena, &a, INT64_C(1) << 60, &n);
        assert(n >= 1 && n <= a.events_n + 1);
    }
    sched_arena_fini(&arena);
}

/* operand NUL left NUL right */
static void operand(const uint8_t *data, size_t size)
{
    char *copy = xmalloc(size + 1);
    struct sched_regexps *re = sched_regexps_new();
    const char *parts[3] = {"", "", ""};
    size_t n = 1;

    if (size > 0)
        memcpy(copy, data, size);
    copy[size] = 0;
    parts[0] = copy;
    for (size_t i = 0; i < size && n < 3; i++)
        if (copy[i] == 0)
            parts[n++] = copy + i + 1;
    (void)sched_operand(re, parts[0], parts[1], parts[2]);
    sched_regexps_free(re);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] & 1)
        operand(data + 1, size - 1);
    else
        allocation(data + 1, size - 1);
    return 0;
}
