/* SPDX-License-Identifier: MPL-2.0 */
#include <dirent.h>
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "alloc_dir.h"
#include "allocs.h"
#include "base/log.h"
#include "base/prng.h"
#include "client_state.pb.h"
#include "client_store.h"

/* ---- out ---- */

static steppe_ClientTaskRecord task_record(const struct task_core *t)
{
    return (steppe_ClientTaskRecord){.name = (char *)t->rules.name,
                                     .run = (uint32_t)t->run,
                                     .runs = t->runs,
                                     .count = t->count,
                                     .interval_start = t->interval_start,
                                     .timer = t->timer,
                                     .up_since = t->up_since,
                                     .killed = t->killed,
                                     .restarting = t->restarting,
                                     .kill_sent = t->kill_sent,
                                     .force_at = t->force_at,
                                     .has_state = true,
                                     .state = t->state};
}

static int save_state(struct alloc *al, bool sync, struct errtext *e)
{
    const struct alloc_core *c = &al->core;
    steppe_ClientTaskRecord *tasks = xcalloc(c->n, sizeof(*tasks));
    steppe_ClientAllocRecord m = {.boot_id = al->owner->boot_id,
                                  .stopped = c->stopped,
                                  .killing = c->killing,
                                  .tasks = tasks,
                                  .tasks_count = (pb_size_t)c->n,
                                  .health_known = c->health.known,
                                  .healthy = c->health.healthy,
                                  .health_at = c->health.at_ns,
                                  .health_deadline = c->health.deadline,
                                  .told = al->told_end,
                                  .ended_at = al->ended_at,
                                  .moved = al->moved};
    int r;

    for (size_t i = 0; i < c->n; i++)
        tasks[i] = task_record(&c->tasks[i]);
    r = client_store_write(al->state_dir, "state", steppe_ClientAllocRecord_fields, &m, sync, e);
    free(tasks);
    return r;
}

int alloc_save(struct alloc *al, bool whole, bool sync)
{
    struct errtext e = {{0}};
    bool to_disk = sync && !al->owner->ctx->conf->dev; /* that is a throw-away node */
    int r = 0;

    whole |= al->unsaved;

    if (whole)
        r = client_store_write(al->state_dir, "alloc", steppe_Allocation_fields, &al->alloc,
                               to_disk, &e);
    if (r == 0)
        r = save_state(al, to_disk, &e);
    al->unsaved = r < 0;
    if (r < 0)
        log_error("%s", e.text);
    else if (whole && sync)
        al->unsynced = false;
    return r;
}

/* ---- in ---- */

static void take_task(struct task_core *t, steppe_ClientTaskRecord *rec)
{
    if (rec->run > TASK_DEAD)
        return;
    t->run = (enum task_run)rec->run;
    t->runs = rec->runs;
    t->count = rec->count;
    t->interval_start = rec->interval_start;
    t->timer = rec->timer;
    t->up_since = rec->up_since;
    t->killed = rec->killed;
    t->restarting = rec->restarting;
    t->kill_sent = rec->kill_sent;
    t->force_at = rec->force_at;
    if (!rec->has_state || !rec->state.state)
        return;
    pb_release(steppe_TaskState_fields, &t->state);
    t->state = rec->state; /* handed over */
    rec->has_state = false;
    rec->state = (steppe_TaskState){0};
}

static void take_record(struct alloc *al, steppe_ClientAllocRecord *m)
{
    struct alloc_core *c = &al->core;
    bool other_boot = strcmp(m->boot_id ? m->boot_id : "", al->owner->boot_id) != 0;

    c->stopped = m->stopped;
    c->killing = m->killing;
    if (m->health_known) {
        c->health.known = true;
        c->health.healthy = m->healthy;
        c->health.at_ns = m->health_at;
    }
    c->health.deadline = other_boot ? 0 : m->health_deadline;
    al->told_end = m->told;
    al->ended_at = m->ended_at;
    al->moved = m->moved;
    for (size_t i = 0; i < c->n; i++)
        for (pb_size_t k = 0; k < m->tasks_count; k++)
            if (m->tasks[k].name && strcmp(m->tasks[k].name, c->tasks[i].rules.name) == 0)
                take_task(&c->tasks[i], &m->tasks[k]);
    if (!other_boot)
        return;
    /* All processes are gone. The servers may have given the work to another node meanwhile: what
     * ran starts again when they say that it is still wanted here, as in Nomad. */
    for (size_t i = 0; i < c->n; i++)
        task_core_reboot(&c->tasks[i]);
    al->waits_for_servers = !alloc_terminal(al);
}

static int restore_one(struct allocs *a, const char *id, struct errtext *e)
{
    _cleanup_(freep) char *dir = xasprintf("%s/allocs/%s", a->ctx->conf->client.state_dir, id);
    steppe_Allocation alloc = {0};
    steppe_ClientAllocRecord rec = {0};
    struct alloc *al;
    int r = client_store_read(dir, "alloc", steppe_Allocation_fields, &alloc, sizeof(alloc), e);

    if (r < 0)
        return r;
    if (!alloc.id || strcmp(alloc.id, id) != 0) {
        pb_release(steppe_Allocation_fields, &alloc);
        return err_set(e, -EBADMSG, "%s/alloc is of another allocation", dir);
    }
    r = client_store_read(dir, "state", steppe_ClientAllocRecord_fields, &rec, sizeof(rec), e);
    if (r < 0) {
        pb_release(steppe_Allocation_fields, &alloc);
        return r;
    }
    al = alloc_new(a, id);
    al->alloc = alloc;
    if (alloc_set_up(al, e) < 0)
        al->refused = xstrdup(e->text);
    take_record(al, &rec);
    pb_release(steppe_ClientAllocRecord_fields, &rec);
    al->dirty = !al->told_end;
    return 0;
}

/* What cannot be read is forgotten: its tasks are ended as strays, the servers tell of it again. */
void allocs_restore(struct allocs *a)
{
    _cleanup_(freep) char *path = xasprintf("%s/allocs", a->ctx->conf->client.state_dir);
    DIR *d = opendir(path);
    struct dirent *ent;
    struct errtext e;
    size_t bad = 0;

    while (d && (ent = readdir(d))) {
        if (alloc_go_on_collecting(a, ent->d_name))
            continue;
        if (!uuid_valid(ent->d_name) || a->n >= ALLOCS_MAX)
            continue;
        e.text[0] = 0;
        if (restore_one(a, ent->d_name, &e) < 0) {
            log_error("forgetting an allocation whose state is lost: %s", e.text);
            bad++;
        }
    }
    if (d)
        closedir(d);
    if (a->n > 0 || bad > 0)
        log_info("allocations restored: %zu, lost: %zu", a->n, bad);
}
