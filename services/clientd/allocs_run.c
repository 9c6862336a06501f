/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <pwd.h>
#include <unistd.h>

#include "alloc_dir.h"
#include "allocs.h"
#include "base/log.h"
#include "base/prng.h"

char *alloc_run_folder(const struct alloc *al, size_t task)
{
    const struct task_core *t = &al->core.tasks[task];

    return xasprintf("%s/tasks/%s/%u", al->state_dir, t->rules.name, t->runs);
}

/* ---- events of drivers ---- */

static void on_driver(void *user, const struct driver_event *d)
{
    struct alloc_run *run = user;
    struct driver_task *dt = run->dt;
    const struct driver *driver = run->driver;
    struct task_ev ev = {.type = TASK_EV_STARTED,
                         .text = d->text,
                         .code = d->code,
                         .signal = d->signal,
                         .oom = d->oom,
                         .retry = d->retry,
                         .ran = d->ran,
                         .at_ns = d->at_ns};
    _cleanup_(freep) char *text = NULL;

    if (d->type == DRIVER_FAILED) {
        text = xasprintf("failed to launch command with executor: %s", d->text ? d->text : "");
        ev.type = TASK_EV_START_FAILED;
        ev.text = run->driver == &driver_mock ? d->text : text;
    } else if (d->type == DRIVER_EXITED) {
        ev.type = TASK_EV_EXITED;
    } else if (d->type == DRIVER_UNBEGUN) {
        ev.type = TASK_EV_UNBEGUN;
    }
    if (d->type != DRIVER_STARTED)
        run->dt = NULL; /* its place is free for the next run */
    alloc_feed(run->al, run->task, &ev);
    if (d->type != DRIVER_STARTED && dt)
        driver->release(dt); /* after the end was written down */
}

/* ---- effects ---- */

static void on_soon(uv_timer_t *timer)
{
    struct allocs *a = timer->data;

    for (size_t i = 0; i < a->n; i++)
        for (size_t k = 0; k < a->items[i]->core.n; k++) {
            struct alloc_run *run = &a->items[i]->runs[k];
            _cleanup_(freep) char *text = TAKE_PTR(run->failure);
            struct task_ev ev = {
                .type = run->failure_type, .text = text, .retry = run->failure_retry};

            if (text)
                alloc_feed(run->al, k, &ev);
        }
}

static void fail_soon(struct alloc_run *run, enum task_ev_type type, bool retry, const char *text)
{
    free(run->failure);
    run->failure = xstrdup(text);
    run->failure_type = type;
    run->failure_retry = retry;
    uv_timer_start(&run->al->owner->soon, on_soon, 0, 0);
}

/* What this release cannot do, said before anything runs. */
static const char *unsupported(const steppe_TaskGroup *g, const steppe_Task *t)
{
    if (t->artifacts_count > 0)
        return "artifacts are not supported yet";
    if (t->templates_count > 0)
        return "templates are not supported yet";
    if (t->has_vault)
        return "vault is not supported yet";
    if (t->volume_mounts_count > 0 || g->volumes_count > 0)
        return "volumes are not supported yet";
    if (t->has_dispatch_payload)
        return "dispatch payloads are not supported yet";
    for (pb_size_t i = 0; i < g->networks_count; i++)
        if (g->networks[i].mode && g->networks[i].mode[0] &&
            strcmp(g->networks[i].mode, "host") != 0 && strcmp(g->networks[i].mode, "none") != 0)
            return "network modes other than host are not supported yet";
    return NULL;
}

/* Is `word` in the comma separated list of an option? */
static bool listed(const struct conf *conf, const char *option, const char *list, const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; i < conf->client.options.n; i++)
        if (strcmp(conf->client.options.keys[i], option) == 0)
            list = conf->client.options.values[i];
    for (const char *p = list; *p; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", ");

        if (len == n && memcmp(p, word, n) == 0)
            return true;
        p += len;
    }
    return false;
}

/* Users that a fenced task may not be, unless the node's options say otherwise. */
static bool user_denied(const struct conf *conf, const steppe_Task *t)
{
    return t->user && t->user[0] &&
           listed(conf, "user.checked_drivers", "exec,qemu,java", t->driver ? t->driver : "") &&
           listed(conf, "user.denylist", "root,Administrator", t->user);
}

/* Takes over what the one before it left on its ephemeral disk. */
static int move_disk(struct alloc *al, const steppe_TaskGroup *g, struct errtext *e)
{
    const char *before = al->alloc.previous_allocation;
    const struct alloc *other = before && before[0] ? allocs_find(al->owner, before) : NULL;
    const char *names[ALLOC_TASKS_MAX];
    int r;

    if (al->moved || !other || !g->has_ephemeral_disk || !g->ephemeral_disk.has_sticky ||
        !g->ephemeral_disk.sticky)
        return 0;
    for (size_t i = 0; i < al->core.n; i++) {
        struct alloc_dir_task t = {.name = al->core.tasks[i].rules.name};

        names[i] = t.name;
        r = alloc_dir_make_task(al->dir, &t, e);
        if (r < 0)
            return r;
    }
    r = alloc_dir_move(other->dir, al->dir, names, al->core.n, e);
    al->moved = r == 0;
    return r;
}

static int make_folders(struct alloc *al, const steppe_TaskGroup *g, const steppe_Task *task,
                        const struct driver *driver, struct errtext *e)
{
    struct alloc_dir_task t = {.name = task->name, .root = driver->isolates};
    const char *user = task->user && task->user[0] ? task->user : driver->isolates ? "nobody" : "";
    const struct passwd *pw = user[0] && geteuid() == 0 ? getpwnam(user) : NULL;
    int r = alloc_dir_make(al->dir, e);

    if (pw) {
        t.set_user = true;
        t.uid = pw->pw_uid;
        t.gid = pw->pw_gid;
    }
    if (r == 0)
        r = move_disk(al, g, e);
    return r == 0 ? alloc_dir_make_task(al->dir, &t, e) : r;
}

static struct driver_request request(struct alloc *al, size_t i, const char *folder)
{
    const steppe_TaskGroup *g = alloc_group(&al->alloc);

    return (struct driver_request){.ctx = &al->owner->drivers,
                                   .alloc = &al->alloc,
                                   .group = g,
                                   .task = g ? &g->tasks[i] : NULL,
                                   .node = al->owner->node,
                                   .alloc_dir = al->dir,
                                   .folder = folder,
                                   .run = al->core.tasks[i].runs,
                                   .running = al->core.tasks[i].run == TASK_UP,
                                   .fn = on_driver,
                                   .user = &al->runs[i]};
}

/* What the machine is short of now, it may have later. */
static bool is_passing(int r)
{
    return r == -EAGAIN || r == -ENOMEM || r == -ENOSPC || r == -EMFILE || r == -ENFILE ||
           r == -EIO || r == -EDQUOT;
}

static void start(struct alloc *al, size_t i)
{
    struct alloc_run *run = &al->runs[i];
    _cleanup_(freep) char *folder = alloc_run_folder(al, i);
    struct driver_request rq = request(al, i, folder);
    struct errtext e = {{0}};
    const char *why = unsupported(rq.group, rq.task);
    int r;

    run->driver = driver_find(rq.task->driver ? rq.task->driver : "");
    run->sampled = 0;
    if (why) {
        fail_soon(run, TASK_EV_SETUP_FAILED, false, why);
    } else if (user_denied(al->owner->ctx->conf, rq.task)) {
        (void)err_set(&e, 0, "running as user \"%s\" is disallowed", rq.task->user);
        fail_soon(run, TASK_EV_INVALID, false, e.text);
    } else if (!run->driver) {
        (void)err_set(&e, 0, "failed to find driver \"%s\"", rq.task->driver);
        fail_soon(run, TASK_EV_START_FAILED, false, e.text);
    } else if (make_folders(al, rq.group, rq.task, run->driver, &e) < 0) {
        fail_soon(run, TASK_EV_SETUP_FAILED, true, e.text);
    } else if (alloc_save(al, al->unsynced, true) <
               0) { /* before it runs, it must be known on disk */
        fail_soon(run, TASK_EV_SETUP_FAILED, true, "the client's state cannot be written");
    } else {
        r = run->driver->start(&rq, &run->dt, &e);
        if (r < 0)
            fail_soon(run, TASK_EV_START_FAILED, is_passing(r), e.text);
    }
}

static void apply(struct alloc *al, const struct alloc_effect *f)
{
    struct alloc_run *run = &al->runs[f->task];
    const struct task_rules *r = &al->core.tasks[f->task].rules;

    switch (f->action) {
    case TASK_DO_NOTHING:
        break;
    case TASK_DO_START:
        start(al, f->task);
        break;
    case TASK_DO_KILL:
        if (run->dt)
            run->driver->kill(run->dt, r->kill_signal, r->kill_timeout_ns);
        break;
    case TASK_DO_SIGNAL:
        if (run->dt)
            run->driver->signal(run->dt, f->signal);
        break;
    case TASK_DO_FORCE:
        log_warn("a task does not end: killing its holder alloc=%s task=%s", al->alloc.id, r->name);
        if (run->dt)
            run->driver->force(run->dt);
        break;
    }
}

/* Those that wait for this one's end. */
static void release_followers(struct allocs *a, const struct alloc *ended)
{
    for (size_t i = 0; i < a->n; i++) {
        struct alloc *al = a->items[i];
        const char *before = al->alloc.previous_allocation;

        if (!al->core.hold || al->waits_for_servers || !before ||
            strcmp(before, ended->alloc.id) != 0)
            continue;
        al->core.hold = false;
        alloc_look(al);
    }
}

static void check_quiet(struct allocs *a)
{
    void (*fn)(void *user) = a->on_quiet;

    for (size_t i = 0; i < a->n && fn; i++)
        if (!alloc_terminal(a->items[i]))
            return;
    if (!fn)
        return;
    a->on_quiet = NULL;
    fn(a->on_quiet_user);
}

static void on_end(struct alloc *al)
{
    const char *text;

    al->ended_at = clock_wall().ns;
    log_info("allocation ended id=%s status=%s", al->alloc.id, alloc_core_status(&al->core, &text));
    (void)alloc_save(al, false, false);
    release_followers(al->owner, al);
    check_quiet(al->owner);
}

static void settle(struct alloc *al, struct alloc_out *out)
{
    if (out->changed) {
        al->dirty = true;
        (void)alloc_save(al, false, false);
    }
    for (size_t i = 0; i < out->n; i++)
        apply(al, &out->effects[i]);
    if (out->changed)
        allocs_tell(al->owner);
    alloc_out_fini(out);
    if (al->ended_at == 0 && alloc_terminal(al))
        on_end(al);
    allocs_arm(al->owner);
}

void alloc_feed(struct alloc *al, size_t task, struct task_ev *ev)
{
    struct alloc_out out;

    ev->now = clock_mono();
    ev->wall = clock_wall();
    ev->random = random_u64();
    alloc_step_task(&al->core, task, ev, &out);
    settle(al, &out);
}

void alloc_look(struct alloc *al)
{
    struct task_ev ev = {
        .type = TASK_EV_TICK, .now = clock_mono(), .wall = clock_wall(), .random = random_u64()};
    struct alloc_out out;

    alloc_step(&al->core, &ev, &out);
    settle(al, &out);
}

void alloc_attach(struct alloc *al)
{
    for (size_t i = 0; i < al->core.n; i++) {
        struct alloc_run *run = &al->runs[i];
        _cleanup_(freep) char *folder = alloc_run_folder(al, i);
        struct driver_request rq = request(al, i, folder);
        struct errtext e = {{0}};

        if (al->core.tasks[i].run != TASK_UP && al->core.tasks[i].run != TASK_STARTING_UP)
            continue;
        run->driver = rq.task ? driver_find(rq.task->driver) : NULL;
        if (!run->driver)
            fail_soon(run, TASK_EV_START_FAILED, false, "its driver is not there any more");
        else if (run->driver->attach(&rq, &run->dt, &e) < 0)
            fail_soon(run, TASK_EV_START_FAILED, false, e.text);
        else if (al->core.tasks[i].kill_sent) /* written down; did it get there? */
            run->driver->kill(run->dt, al->core.tasks[i].rules.kill_signal,
                              al->core.tasks[i].rules.kill_timeout_ns);
    }
}
