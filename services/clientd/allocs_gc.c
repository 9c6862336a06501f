/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The folders of ended allocations stay for people to look at, until there are too many or the disk
 * is full: the oldest go first. Removing runs on a worker thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc_dir.h"
#include "allocs.h"
#include "base/log.h"
#include "base/prng.h"

#define GONE ".gone" /* behind the name of a state folder whose allocation is being removed */

struct removal {
    uv_work_t work; /* first */
    struct allocs *owner;
    char *dir, *state_dir;
    int result;
};

static void remove_folders(uv_work_t *work)
{
    struct removal *r = (struct removal *)(void *)work;

    r->result = alloc_dir_remove(r->dir);
    if (r->result == 0)
        r->result = alloc_dir_remove(r->state_dir);
}

static void removed(uv_work_t *work, int status)
{
    struct removal *r = (struct removal *)(void *)work;
    struct allocs *a = r->owner;

    if (r->result < 0)
        log_warn("cannot remove %s: %s", r->dir, strerror(-r->result));
    free(r->dir);
    free(r->state_dir);
    free(r);
    a->removing--;
    if (!a->stopping)
        allocs_gc(a); /* is there room now? */
    allocs_unref(a);
}

static void remove_soon(struct allocs *a, const char *dir, const char *state_dir)
{
    struct removal *r = xcalloc(1, sizeof(*r));

    r->owner = a;
    r->dir = xstrdup(dir);
    r->state_dir = xstrdup(state_dir);
    a->open++;
    a->removing++;
    if (uv_queue_work(a->ctx->loop, &r->work, remove_folders, removed) < 0)
        abort(); /* only for a missing function */
}

/* The state gets another name first: it is there as a whole, or not at all, whenever clientd dies.
 */
void alloc_collect(struct alloc *al)
{
    _cleanup_(freep) char *gone = xasprintf("%s" GONE, al->state_dir);
    struct allocs *a = al->owner;

    if (!alloc_terminal(al))
        return;
    log_info("allocation collected id=%s", al->alloc.id);
    remove_soon(a, al->dir, rename(al->state_dir, gone) == 0 ? gone : al->state_dir);
    allocs_remove(a, al);
}

bool alloc_go_on_collecting(struct allocs *a, const char *entry)
{
    _cleanup_(freep) char *id = xstrdup(entry), *dir = NULL, *state = NULL;
    char *dot = strrchr(id, '.');

    if (!dot || strcmp(dot, GONE) != 0)
        return false;
    *dot = 0;
    if (!uuid_valid(id))
        return false;
    dir = xasprintf("%s/%s", a->ctx->conf->client.alloc_dir, id);
    state = xasprintf("%s/allocs/%s", a->ctx->conf->client.state_dir, entry);
    remove_soon(a, dir, state);
    return true;
}

/* May it go? Its end must be known to the servers, and nobody may wait for its disk. */
static bool may_collect(const struct allocs *a, const struct alloc *al)
{
    if (!alloc_terminal(al) || !al->told_end || al->dirty || al->sending)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const char *before = a->items[i]->alloc.previous_allocation;

        if (a->items[i]->core.hold && before && strcmp(before, al->alloc.id) == 0)
            return false;
    }
    return true;
}

static struct alloc *oldest(const struct allocs *a)
{
    struct alloc *best = NULL;

    for (size_t i = 0; i < a->n; i++)
        if (may_collect(a, a->items[i]) && (!best || a->items[i]->ended_at < best->ended_at))
            best = a->items[i];
    return best;
}

void allocs_gc(struct allocs *a)
{
    const struct conf_client *c = &a->ctx->conf->client;
    double bytes = 0, inodes = 0;
    struct alloc *al;

    for (size_t i = a->n; i-- > 0;)
        if (a->items[i]->forgotten && alloc_terminal(a->items[i]))
            alloc_collect(a->items[i]);
    while (a->n > (size_t)c->gc_max_allocs && (al = oldest(a)))
        alloc_collect(al);
    if (alloc_dir_usage(c->alloc_dir, &bytes, &inodes) < 0)
        return;
    /* One at a time: the disk has to show what it brought. removed() comes back here. */
    if (a->removing == 0 &&
        (bytes > c->gc_disk_usage_threshold || inodes > c->gc_inode_usage_threshold) &&
        (al = oldest(a)))
        alloc_collect(al);
}

int allocs_collect(struct allocs *a, const char *id, struct errtext *e)
{
    struct alloc *al = allocs_find(a, id);

    if (!al)
        return err_set(e, ALLOC_E_UNKNOWN, "Unknown allocation \"%s\"", id);
    if (!alloc_terminal(al))
        return err_set(e, ALLOC_E_NOT_TERMINAL, "allocation \"%s\" is still running", id);
    alloc_collect(al);
    return 0;
}

void allocs_collect_all(struct allocs *a)
{
    for (size_t i = a->n; i-- > 0;)
        if (may_collect(a, a->items[i]))
            alloc_collect(a->items[i]);
}
