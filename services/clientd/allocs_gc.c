/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The folders of ended allocations stay for people to look at, until there are too many or the disk
 * is full: the oldest go first. Removing runs on a worker thread.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc_dir.h"
#include "allocs.h"
#include "base/log.h"

struct removal {
    uv_work_t work; /* first */
    char *dir, *state_dir;
    int result;
};

static void remove_folders(uv_work_t *work)
{
    struct removal *r = (struct removal *)(void *)work;

    r->result = alloc_dir_remove(r->dir);
    (void)alloc_dir_remove(r->state_dir);
}

static void removed(uv_work_t *work, int status)
{
    struct removal *r = (struct removal *)(void *)work;

    if (r->result < 0)
        log_warn("cannot remove %s: %s", r->dir, strerror(-r->result));
    free(r->dir);
    free(r->state_dir);
    free(r);
}

void alloc_collect(struct alloc *al)
{
    struct removal *r;

    if (!alloc_terminal(al))
        return;
    r = xcalloc(1, sizeof(*r));
    r->dir = xstrdup(al->dir);
    r->state_dir = xstrdup(al->state_dir);
    log_info("allocation collected id=%s", al->alloc.id);
    if (uv_queue_work(al->owner->ctx->loop, &r->work, remove_folders, removed) < 0) {
        remove_folders(&r->work);
        removed(&r->work, 0);
    }
    allocs_remove(al->owner, al);
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
    /* One at a time: the disk has to show what it brought. */
    if ((bytes > c->gc_disk_usage_threshold || inodes > c->gc_inode_usage_threshold) &&
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
