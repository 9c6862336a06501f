/* SPDX-License-Identifier: MPL-2.0 */
#include <string.h>

#include "alloc_api.h"

struct allocs {
    struct alloc **items;
    size_t n;
};

struct alloc {
    char *dir;
    steppe_Allocation alloc;
};

struct alloc *allocs_find(const struct allocs *a, const char *id)
{
    for (size_t i = 0; a && i < a->n; i++)
        if (strcmp(a->items[i]->alloc.id, id) == 0)
            return a->items[i];
    return NULL;
}

const char *alloc_dir(const struct alloc *al)
{
    return al->dir;
}

const steppe_Allocation *alloc_get(const struct alloc *al)
{
    return &al->alloc;
}

bool alloc_terminal(const struct alloc *al)
{
    return true;
}

size_t alloc_task_count(const struct alloc *al)
{
    return al->alloc.task_states_count;
}

const char *alloc_task_name(const struct alloc *al, size_t i)
{
    return al->alloc.task_states[i].key;
}

int alloc_task_find(const struct alloc *al, const char *name)
{
    for (size_t i = 0; i < alloc_task_count(al); i++)
        if (strcmp(alloc_task_name(al, i), name) == 0)
            return (int)i;
    return -1;
}

const steppe_TaskState *alloc_task_state(const struct alloc *al, size_t i)
{
    return &al->alloc.task_states[i].value;
}

static int unknown(const char *id, struct errtext *e)
{
    return err_set(e, ALLOC_E_UNKNOWN, "Unknown allocation \"%s\"", id);
}

int allocs_restart(struct allocs *a, const char *id, const char *task, struct errtext *e)
{
    return unknown(id, e);
}

int allocs_signal(struct allocs *a, const char *id, const char *task, const char *signal,
                  struct errtext *e)
{
    return unknown(id, e);
}

int alloc_task_usage(struct alloc *al, size_t i, struct alloc_usage *ret)
{
    return ALLOC_E_NOT_RUNNING;
}

int allocs_collect(struct allocs *a, const char *id, struct errtext *e)
{
    return unknown(id, e);
}

void allocs_collect_all(struct allocs *a)
{
}
