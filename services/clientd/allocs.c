/* SPDX-License-Identifier: MPL-2.0 */
#include "allocs.h"

#include <ctype.h>
#include <errno.h>
#include <pb_decode.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/prng.h"
#include "client_store.h"
#include "task_proc.h"

#define KILL_TIMEOUT_NS (5 * NS_PER_SEC)
#define TASK_NAME_MAX   200  /* bytes: names of files and groups are made from it */
#define SILENCE_MS      1000 /* between two looks at who wants to be stopped without servers */

/* ---- rules out of a job ---- */

/* "SIGHUP", "hup" or a number; what is none of them is SIGINT, as for Nomad's drivers. */
static int signal_number(const char *text)
{
    char name[32];
    char *end;
    long n;

    if (!text || !*text)
        return SIGINT;
    n = strtol(text, &end, 10);
    if (!*end)
        return n > 0 && n < NSIG ? (int)n : SIGINT;
    (void)snprintf(name, sizeof(name), "%s", strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text);
    if (strcasecmp(name, "IO") == 0 || strcasecmp(name, "IOT") == 0)
        return name[2] ? SIGIOT : SIGIO;
    for (int s = 1; s < NSIG; s++)
        if (sigabbrev_np(s) && strcasecmp(sigabbrev_np(s), name) == 0)
            return s;
    return SIGINT;
}

static enum task_hook hook_of(const steppe_Task *t)
{
    static const char *const names[] = {[TASK_HOOK_PRESTART] = "prestart",
                                        [TASK_HOOK_POSTSTART] = "poststart",
                                        [TASK_HOOK_POSTSTOP] = "poststop"};

    if (t->has_lifecycle && t->lifecycle.hook)
        for (size_t i = TASK_HOOK_PRESTART; i < ARRAY_LEN(names); i++)
            if (strcmp(t->lifecycle.hook, names[i]) == 0)
                return (enum task_hook)i;
    return TASK_HOOK_MAIN;
}

static struct task_rules rules_of(const struct alloc *al, const steppe_TaskGroup *g,
                                  const steppe_Task *t)
{
    const steppe_Job *j = &al->alloc.job;
    const steppe_RestartPolicy *p = t->has_restart_policy ? &t->restart_policy : &g->restart_policy;
    int64_t max = al->owner->ctx->conf->client.max_kill_timeout;
    struct task_rules r = {.name = t->name,
                           .hook = hook_of(t),
                           .sidecar = t->has_lifecycle && t->lifecycle.sidecar,
                           .leader = t->leader,
                           .batch = j->type && strcmp(j->type, "batch") == 0,
                           .attempts = p->has_attempts ? MAX(p->attempts, 0) : 0,
                           .interval_ns = p->has_interval ? p->interval : 0,
                           .delay_ns = p->has_delay ? MAX(p->delay, INT64_C(0)) : 0,
                           .mode_delay = p->mode && strcmp(p->mode, "delay") == 0,
                           .kill_signal = signal_number(t->kill_signal),
                           .shutdown_delay_ns = MAX(t->shutdown_delay, INT64_C(0))};

    r.kill_timeout_ns = t->has_kill_timeout ? MAX(t->kill_timeout, INT64_C(0)) : KILL_TIMEOUT_NS;
    r.kill_timeout_ns = MIN(r.kill_timeout_ns, max);
    return r;
}

static void set_health_rules(struct alloc *al, const steppe_TaskGroup *g)
{
    const steppe_Allocation *m = &al->alloc;
    struct alloc_health *h = &al->core.health;
    bool deploy = m->deployment_id && m->deployment_id[0];
    const char *check = deploy ? g->update.health_check : g->migrate.health_check;

    al->core.shutdown_delay_ns = g->has_shutdown_delay ? MAX(g->shutdown_delay, INT64_C(0)) : 0;
    h->deploy = deploy;
    h->watch = m->job.type && strcmp(m->job.type, "service") == 0 &&
               (deploy ? g->has_update : g->has_migrate) &&
               (!check || strcmp(check, "manual") != 0);
    h->min_healthy_ns = deploy ? g->update.min_healthy_time : g->migrate.min_healthy_time;
    h->healthy_deadline_ns = deploy ? g->update.healthy_deadline : g->migrate.healthy_deadline;
    if (m->has_deployment_status && m->deployment_status.has_healthy && !h->known) {
        h->known = true;
        h->healthy = m->deployment_status.healthy;
        h->at_ns = m->deployment_status.timestamp;
    }
}

/* Reads rules out of the (new) job into the core's tasks. */
static int set_rules(struct alloc *al, struct errtext *e)
{
    const steppe_TaskGroup *g = alloc_group(&al->alloc);

    if (!g)
        return err_set(e, -EINVAL, "its job has no group \"%s\"", al->alloc.task_group);
    if (al->core.n != g->tasks_count)
        return err_set(e, -EINVAL, "its group has %u tasks, not %zu", g->tasks_count, al->core.n);
    for (pb_size_t i = 0; i < g->tasks_count; i++)
        al->core.tasks[i].rules = rules_of(al, g, &g->tasks[i]);
    set_health_rules(al, g);
    return 0;
}

int alloc_set_up(struct alloc *al, struct errtext *e)
{
    const steppe_TaskGroup *g = alloc_group(&al->alloc);
    struct task_rules rules[ALLOC_TASKS_MAX];

    if (!g || g->tasks_count == 0 || g->tasks_count > ALLOC_TASKS_MAX)
        return err_set(e, -EINVAL, "its job has no group \"%s\" of 1 to %d tasks",
                       al->alloc.task_group ? al->alloc.task_group : "", ALLOC_TASKS_MAX);
    for (pb_size_t i = 0; i < g->tasks_count; i++) {
        if (!g->tasks[i].name || !g->tasks[i].name[0] || strchr(g->tasks[i].name, '/') ||
            strcmp(g->tasks[i].name, "..") == 0 || strcmp(g->tasks[i].name, ".") == 0 ||
            strcmp(g->tasks[i].name, "alloc") == 0 || strlen(g->tasks[i].name) > TASK_NAME_MAX)
            return err_set(e, -EINVAL,
                           "\"%s\" cannot be the name of a task: its folder is made from it",
                           g->tasks[i].name ? g->tasks[i].name : "");
        rules[i] = rules_of(al, g, &g->tasks[i]);
    }
    alloc_core_init(&al->core, rules, g->tasks_count, clock_mono(), clock_wall());
    al->runs = xcalloc(al->core.n, sizeof(*al->runs));
    for (size_t i = 0; i < al->core.n; i++)
        al->runs[i] = (struct alloc_run){.al = al, .task = i};
    set_health_rules(al, g);
    return 0;
}

/* ---- the set ---- */

struct alloc *alloc_new(struct allocs *a, const char *id)
{
    struct alloc *al = xcalloc(1, sizeof(*al));

    al->owner = a;
    al->dir = xasprintf("%s/%s", a->ctx->conf->client.alloc_dir, id);
    al->state_dir = xasprintf("%s/allocs/%s", a->ctx->conf->client.state_dir, id);
    if ((a->n & (a->n - 1)) == 0)
        a->items = xrealloc(a->items, (a->n ? a->n * 2 : 1) * sizeof(struct alloc *));
    a->items[a->n++] = al;
    return al;
}

static void alloc_free(struct alloc *al)
{
    for (size_t i = 0; i < al->core.n; i++) {
        if (al->runs[i].dt)
            al->runs[i].driver->detach(al->runs[i].dt);
        free(al->runs[i].failure);
    }
    free(al->runs);
    alloc_core_fini(&al->core);
    pb_release(steppe_Allocation_fields, &al->alloc);
    free(al->dir);
    free(al->state_dir);
    free(al->refused);
    free(al);
}

void allocs_remove(struct allocs *a, struct alloc *al)
{
    for (size_t i = 0; i < a->n; i++) {
        if (a->items[i] != al)
            continue;
        a->items[i] = a->items[--a->n];
        break;
    }
    alloc_free(al);
}

/* The one before it on this node must have ended first, with its disk free to be taken. */
static bool must_wait(const struct alloc *al)
{
    const char *before = al->alloc.previous_allocation;
    const struct alloc *other = before && before[0] ? allocs_find(al->owner, before) : NULL;

    return al->waits_for_servers || (other && !alloc_terminal(other));
}

/* It cannot even be set up: that is told, or the servers would wait for it for ever. */
static void refuse(struct alloc *al, const char *why)
{
    log_error("cannot run an allocation id=%s: %s", al->alloc.id, why);
    al->refused = xstrdup(why);
    al->unsaved = true;
    al->ended_at = clock_wall().ns;
    al->dirty = true;
    allocs_tell(al->owner);
}

/* Its state was lost, but not its folders: an earlier run of the same number may still be ending.
 */
static void skip_old_runs(struct alloc *al)
{
    _cleanup_(freep) char *old = xasprintf("%s/tasks", al->state_dir);

    for (size_t i = 0; i < al->core.n && access(old, F_OK) == 0; i++)
        al->core.tasks[i].runs = (uint32_t)(clock_wall().ns / NS_PER_SEC);
}

static void add(struct allocs *a, steppe_Allocation *msg)
{
    struct errtext e = {{0}};
    struct alloc *al;

    if (a->n >= ALLOCS_MAX) {
        log_error("more than %d allocations: not taking %s", ALLOCS_MAX, msg->id);
        pb_release(steppe_Allocation_fields, msg);
        return;
    }
    al = alloc_new(a, msg->id);
    al->alloc = *msg;
    if (alloc_set_up(al, &e) < 0) {
        refuse(al, e.text);
        return;
    }
    al->core.stopped = strcmp(msg->desired_status ? msg->desired_status : "", "run") != 0;
    al->core.hold = must_wait(al);
    al->dirty = al->unsynced = true;
    skip_old_runs(al);
    (void)snprintf(al->told_status, sizeof(al->told_status), "%s",
                   msg->client_status ? msg->client_status : "");
    log_info("allocation received id=%s name=%s", al->alloc.id, al->alloc.name);
    (void)alloc_save(al, true, false); /* synced when a task starts */
    alloc_look(al);
}

/* The server's part is new, what this client says of it stays. */
static void update(struct alloc *al, steppe_Allocation *msg)
{
    bool other_deployment = strcmp(msg->deployment_id ? msg->deployment_id : "",
                                   al->alloc.deployment_id ? al->alloc.deployment_id : "") != 0;
    steppe_Allocation old = al->alloc;
    struct errtext e = {{0}};

    if (!msg->has_job && old.has_job) { /* told without what did not change */
        msg->job = old.job;
        msg->has_job = true;
        old.has_job = false;
        old.job = (steppe_Job){0};
    }
    al->alloc = *msg;
    if (other_deployment) { /* an update in place: healthy must be found anew */
        al->core.health = (struct alloc_health){0};
        al->alloc.has_deployment_status = msg->has_deployment_status;
    }
    if (!al->refused && set_rules(al, &e) < 0) {
        log_error("ignoring an update of an allocation id=%s: %s", al->alloc.id, e.text);
        al->alloc = old;
        (void)set_rules(al, &e);
        pb_release(steppe_Allocation_fields, msg);
        return;
    }
    pb_release(steppe_Allocation_fields, &old);
    if (strcmp(al->alloc.desired_status ? al->alloc.desired_status : "", "run") != 0 &&
        !al->core.stopped) {
        al->core.stopped = true;
        log_info("allocation is to stop id=%s: %s", al->alloc.id,
                 al->alloc.desired_description ? al->alloc.desired_description : "");
    }
    al->waits_for_servers = false;
    al->core.hold = must_wait(al);
    (void)alloc_save(al, true, false);
    alloc_look(al);
}

static bool is_terminal(const char *client_status)
{
    return client_status &&
           (strcmp(client_status, "complete") == 0 || strcmp(client_status, "failed") == 0 ||
            strcmp(client_status, "lost") == 0);
}

void allocs_take(struct allocs *a, steppe_Allocation *msg)
{
    struct alloc *al = msg->id ? allocs_find(a, msg->id) : NULL;

    if (!msg->id || !uuid_valid(msg->id) || !msg->node_id ||
        strcmp(msg->node_id, a->node_id) != 0) {
        pb_release(steppe_Allocation_fields, msg);
        return;
    }
    if (al) {
        update(al, msg);
        /* It was given up on while this node was cut off: somebody else runs it now. */
        if (is_terminal(al->alloc.client_status) && !alloc_terminal(al) && !al->core.stopped &&
            strcmp(al->alloc.client_status, "lost") == 0) {
            al->core.stopped = true;
            alloc_look(al);
        }
    } else if (is_terminal(msg->client_status)) {
        pb_release(steppe_Allocation_fields, msg); /* ended and collected long ago */
    } else {
        add(a, msg);
    }
}

/* ---- what others ask ---- */

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
    return alloc_core_terminal(&al->core);
}

size_t alloc_task_count(const struct alloc *al)
{
    return al->core.n;
}

const char *alloc_task_name(const struct alloc *al, size_t i)
{
    return al->core.tasks[i].rules.name;
}

int alloc_task_find(const struct alloc *al, const char *name)
{
    for (size_t i = 0; i < al->core.n; i++)
        if (strcmp(alloc_task_name(al, i), name) == 0)
            return (int)i;
    return -1;
}

const steppe_TaskState *alloc_task_state(const struct alloc *al, size_t i)
{
    return &al->core.tasks[i].state;
}

static int find_task(struct allocs *a, const char *id, const char *task, struct alloc **ret,
                     int *ret_task, struct errtext *e)
{
    *ret = allocs_find(a, id);
    *ret_task = -1;
    if (!*ret)
        return err_set(e, ALLOC_E_UNKNOWN, "Unknown allocation \"%s\"", id);
    if (!task[0])
        return 0;
    *ret_task = alloc_task_find(*ret, task);
    if (*ret_task < 0)
        return err_set(e, ALLOC_E_TASK, "Could not find task runner for task: %s", task);
    if ((*ret)->core.tasks[*ret_task].run != TASK_UP)
        return err_set(e, ALLOC_E_NOT_RUNNING, "Task not running");
    return 0;
}

/* One task, or with -1 all that run; the rest is counted in the error, as Nomad's multierror. */
static int feed_tasks(struct alloc *al, int task, const struct task_ev *what, struct errtext *e)
{
    unsigned bad = 0;
    char text[sizeof(e->text)] = "", line[256];

    for (size_t i = 0; i < al->core.n; i++) {
        struct task_ev ev = *what;

        if (task >= 0 && (size_t)task != i)
            continue;
        if (al->core.tasks[i].run == TASK_UP) {
            alloc_feed(al, i, &ev);
            continue;
        }
        bad++;
        if (what->type == TASK_EV_SIGNAL)
            (void)snprintf(line, sizeof(line),
                           "\t* Failed to signal task: %s, err: Task not running\n",
                           al->core.tasks[i].rules.name);
        else
            (void)snprintf(line, sizeof(line), "\t* Task not running\n");
        (void)strncat(text, line, sizeof(text) - strlen(text) - 1);
    }
    if (bad == 0)
        return 0;
    return err_set(e, ALLOC_E_NOT_RUNNING, "%u error%s occurred:\n%s\n", bad, bad == 1 ? "" : "s",
                   text);
}

int allocs_restart(struct allocs *a, const char *id, const char *task, struct errtext *e)
{
    struct task_ev ev = {.type = TASK_EV_RESTART, .text = "User requested restart"};
    struct alloc *al;
    int i, r = find_task(a, id, task, &al, &i, e);

    return r ? r : feed_tasks(al, i, &ev, e);
}

int allocs_signal(struct allocs *a, const char *id, const char *task, const char *signal,
                  struct errtext *e)
{
    struct task_ev ev = {.type = TASK_EV_SIGNAL, .signal = signal_number(signal), .text = signal};
    struct alloc *al;
    int i, r = find_task(a, id, task, &al, &i, e);

    return r ? r : feed_tasks(al, i, &ev, e);
}

static double mhz_of(const steppe_Node *n)
{
    for (pb_size_t i = 0; n && i < n->attributes_count; i++)
        if (strcmp(n->attributes[i].key, "cpu.frequency") == 0)
            return strtod(n->attributes[i].value, NULL);
    return 1000;
}

int alloc_task_usage(struct alloc *al, size_t i, struct alloc_usage *ret)
{
    struct alloc_run *run = &al->runs[i];
    struct driver_usage u;
    int64_t now = clock_mono().ns;
    double span;

    *ret = (struct alloc_usage){.timestamp = clock_wall().ns};
    if (!run->dt || run->driver->usage(run->dt, &u) < 0)
        return ALLOC_E_NOT_RUNNING;
    span = (double)(now - run->sampled);
    if (run->sampled && span > 0 && u.cpu_user_ns >= run->user_ns &&
        u.cpu_system_ns >= run->system_ns) {
        ret->cpu_user_percent = 100.0 * (double)(u.cpu_user_ns - run->user_ns) / span;
        ret->cpu_system_percent = 100.0 * (double)(u.cpu_system_ns - run->system_ns) / span;
        ret->cpu_percent = ret->cpu_user_percent + ret->cpu_system_percent;
        ret->cpu_ticks = ret->cpu_percent / 100.0 * mhz_of(al->owner->node);
    }
    run->sampled = now;
    run->user_ns = u.cpu_user_ns;
    run->system_ns = u.cpu_system_ns;
    ret->throttled_periods = u.throttled_periods;
    ret->throttled_ns = u.throttled_ns;
    ret->rss = u.rss;
    ret->cache = u.cache;
    ret->swap = u.swap;
    ret->usage = u.usage;
    ret->max_usage = u.max_usage;
    ret->kernel_usage = u.kernel_usage;
    ret->kernel_max_usage = u.kernel_max_usage;
    ret->pids_n = u.pids_n;
    return 0;
}

/* ---- life ---- */

static void on_tick(uv_timer_t *t)
{
    struct allocs *a = t->data;
    int64_t now = clock_mono().ns;

    for (size_t i = 0; i < a->n; i++) {
        int64_t next = alloc_core_next(&a->items[i]->core);

        if (next && next <= now)
            alloc_look(a->items[i]);
    }
    allocs_arm(a);
}

void allocs_arm(struct allocs *a)
{
    int64_t next = 0, now = clock_mono().ns;

    for (size_t i = 0; i < a->n; i++) {
        int64_t t = alloc_core_next(&a->items[i]->core);

        if (t && (next == 0 || t < next))
            next = t;
    }
    uv_timer_stop(&a->tick);
    if (next == 0 || a->stopping)
        return;
    uv_update_time(a->ctx->loop);
    uv_timer_start(&a->tick, on_tick,
                   (uint64_t)(MAX(next - now, INT64_C(0)) / NS_PER_MS + (next > now)), 0);
}

static bool keep(void *user, const char *folder)
{
    const struct allocs *a = user;

    for (size_t i = 0; i < a->n; i++) {
        const struct alloc *al = a->items[i];

        for (size_t k = 0; k < al->core.n; k++) {
            const struct task_core *t = &al->core.tasks[k];
            _cleanup_(freep) char *own = alloc_run_folder(al, k);
            _cleanup_(freep) char *name = driver_group_name(al->alloc.id, t->rules.name, t->runs);
            _cleanup_(freep) char *group = xasprintf("group:%s", name);

            if ((t->run == TASK_UP || t->run == TASK_STARTING_UP) &&
                (strcmp(folder, own) == 0 || strcmp(folder, group) == 0))
                return true;
        }
    }
    return false;
}

static char *program_beside(const char *name)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    char *slash;

    path[n > 0 ? n : 0] = 0;
    slash = strrchr(path, '/');
    if (slash)
        *slash = 0;
    return xasprintf("%s/%s", path, name);
}

static void init_timer(struct allocs *a, uv_timer_t *t)
{
    uv_timer_init(a->ctx->loop, t);
    t->data = a;
    a->open++;
}

void allocs_heard(struct allocs *a)
{
    a->heard_at = clock_mono().ns;
}

/* Groups that would rather be ended than run where no server sees them. */
static void on_silence(uv_timer_t *t)
{
    struct allocs *a = t->data;
    int64_t silent = clock_mono().ns - a->heard_at;

    for (size_t i = 0; i < a->n; i++) {
        struct alloc *al = a->items[i];
        const steppe_TaskGroup *g = alloc_group(&al->alloc);

        if (!g || !g->has_stop_after_client_disconnect || g->stop_after_client_disconnect <= 0 ||
            silent < g->stop_after_client_disconnect || al->core.stopped)
            continue;
        log_warn("stopping an allocation: no server was heard for too long id=%s", al->alloc.id);
        al->core.stopped = true;
        alloc_look(al);
    }
}

static void on_gc(uv_timer_t *t)
{
    struct allocs *a = t->data;

    allocs_gc(a);
    for (size_t i = 0; i < a->n; i++)
        if (a->items[i]->unsaved && alloc_save(a->items[i], true, false) < 0)
            break; /* no more room yet */
}

int allocs_new(struct svc_ctx *ctx, struct bus_client *routerd, const char *node_id,
               const char *secret, struct allocs **ret, struct errtext *e)
{
    struct allocs *a = xcalloc(1, sizeof(*a));
    uint64_t gc_ms = (uint64_t)(ctx->conf->client.gc_interval / NS_PER_MS);

    a->ctx = ctx;
    a->routerd = routerd;
    a->node_id = node_id;
    a->secret = secret;
    cgroup_detect(&a->cgroups);
    a->drivers = (struct driver_ctx){.loop = ctx->loop,
                                     .conf = ctx->conf,
                                     .cgroups = &a->cgroups,
                                     .node_id = node_id,
                                     .taskd = program_beside("taskd")};
    a->fetch_max = SIZE_MAX;
    (void)client_boot_id(a->boot_id);
    uv_timer_t *const timers[] = {&a->tick, &a->watch, &a->update, &a->gc, &a->soon, &a->silence};
    for (size_t i = 0; i < ARRAY_LEN(timers); i++)
        init_timer(a, timers[i]);
    uv_timer_start(&a->gc, on_gc, gc_ms, gc_ms);
    uv_timer_start(&a->silence, on_silence, SILENCE_MS, SILENCE_MS);
    allocs_heard(a);
    *ret = a;
    return 0;
}

void allocs_set_node(struct allocs *a, const steppe_Node *node)
{
    bool first = !a->node;

    a->node = node;
    if (!first)
        return;
    allocs_restore(a);
    driver_kill_strays(&a->drivers, a->ctx->conf->client.state_dir, keep, a);
    for (size_t i = 0; i < a->n; i++) {
        alloc_attach(a->items[i]);
        a->items[i]->core.hold = must_wait(a->items[i]);
    }
    for (size_t i = 0; i < a->n; i++)
        alloc_look(a->items[i]);
    allocs_arm(a);
}

void allocs_end_all(struct allocs *a, void (*fn)(void *user), void *user)
{
    a->on_quiet = fn;
    a->on_quiet_user = user;
    for (size_t i = 0; i < a->n; i++) {
        a->items[i]->core.stopped = true;
        alloc_look(a->items[i]);
    }
    for (size_t i = 0; i < a->n; i++)
        if (!alloc_terminal(a->items[i]))
            return;
    if (a->on_quiet) {
        a->on_quiet = NULL;
        fn(user);
    }
}

void allocs_unref(struct allocs *a)
{
    if (--a->open > 0)
        return;
    free(a->items);
    free(a->seen);
    free(a->drivers.taskd);
    free(a);
}

static void on_timer_closed(uv_handle_t *h)
{
    allocs_unref(h->data);
}

/* The loop would close them, but not free them. */
static void close_child(uv_handle_t *h, void *user)
{
    if (h->type == UV_PROCESS && !uv_is_closing(h))
        uv_close(h, task_proc_child_closed);
}

struct allocs *allocs_free(struct allocs *a)
{
    _cleanup_(freep) char *group = NULL;

    if (!a)
        return NULL;
    group = xasprintf("%s/%s", a->ctx->conf->client.cgroup_parent, a->node_id);
    (void)cgroup_remove(&a->cgroups, group); /* stays while tasks are in it */
    a->stopping = true;
    allocs_sync_stop(a);
    while (a->n > 0)
        alloc_free(a->items[--a->n]);
    uv_walk(a->ctx->loop, close_child, NULL);
    uv_timer_t *const timers[] = {&a->tick, &a->watch, &a->update, &a->gc, &a->soon, &a->silence};
    for (size_t i = 0; i < ARRAY_LEN(timers); i++)
        uv_close((uv_handle_t *)timers[i], on_timer_closed);
    return NULL;
}
