/* SPDX-License-Identifier: MPL-2.0 */
#include "allocs_core.h"

#include <stdio.h>
#include <string.h>

void alloc_core_init(struct alloc_core *a, const struct task_rules *rules, size_t n,
                     struct mono_ns now, struct wall_ns wall)
{
    struct task_ev ev = {.type = TASK_EV_RECEIVE, .now = now, .wall = wall};
    struct task_out out;

    assert(n >= 1 && n <= ALLOC_TASKS_MAX);
    *a = (struct alloc_core){.tasks = xcalloc(n, sizeof(*a->tasks)), .n = n};
    for (size_t i = 0; i < n; i++) {
        task_core_init(&a->tasks[i], &rules[i]);
        task_step(&a->tasks[i], &ev, &out);
    }
}

void alloc_core_fini(struct alloc_core *a)
{
    for (size_t i = 0; i < a->n; i++)
        task_core_fini(&a->tasks[i]);
    free(a->tasks);
    *a = (struct alloc_core){0};
}

void alloc_out_fini(struct alloc_out *out)
{
    free(out->effects);
    *out = (struct alloc_out){0};
}

static void feed(struct alloc_core *a, size_t i, const struct task_ev *ev, struct alloc_out *out)
{
    struct task_out t;

    task_step(&a->tasks[i], ev, &t);
    out->changed = out->changed || t.changed;
    if (t.action == TASK_DO_NOTHING)
        return;
    out->effects = xrealloc(out->effects, (out->n + 1) * sizeof(*out->effects));
    out->effects[out->n++] = (struct alloc_effect){i, t.action, t.signal};
}

static struct task_ev like(const struct task_ev *ev, enum task_ev_type type)
{
    return (struct task_ev){
        .type = type, .now = ev->now, .wall = ev->wall, .random = ev->random ^ (uint64_t)type};
}

/* ---- who may start ---- */

static bool is_running(const struct task_core *t)
{
    return t->run == TASK_UP;
}

/* Main tasks wait for prestart ones: until those with an end have ended well, and sidecars run. */
static bool prestart_done(const struct alloc_core *a)
{
    for (size_t i = 0; i < a->n; i++) {
        const struct task_core *t = &a->tasks[i];

        if (t->rules.hook != TASK_HOOK_PRESTART)
            continue;
        if (t->rules.sidecar ? !is_running(t) : !task_core_dead(t) || t->state.failed)
            return false;
    }
    return true;
}

static bool main_all(const struct alloc_core *a, bool (*is)(const struct task_core *t))
{
    for (size_t i = 0; i < a->n; i++)
        if (a->tasks[i].rules.hook == TASK_HOOK_MAIN && !is(&a->tasks[i]))
            return false;
    return true;
}

static bool may_start(const struct alloc_core *a, const struct task_core *t)
{
    if (t->run != TASK_WAITING || a->hold)
        return false;
    switch (t->rules.hook) {
    case TASK_HOOK_PRESTART:
        return !a->killing && !a->stopped;
    case TASK_HOOK_MAIN:
        return !a->killing && !a->stopped && prestart_done(a);
    case TASK_HOOK_POSTSTART:
        return !a->killing && !a->stopped && main_all(a, is_running);
    case TASK_HOOK_POSTSTOP:
        return main_all(a, task_core_dead);
    }
    return false;
}

/* ---- who is ended ---- */

static void kill_one(struct alloc_core *a, size_t i, const struct task_ev *ev,
                     struct alloc_out *out)
{
    struct task_event_facts f = {.delay_ns = a->tasks[i].rules.kill_timeout_ns};
    struct task_ev kill = like(ev, TASK_EV_KILL);

    if (a->tasks[i].killed || task_core_dead(&a->tasks[i]))
        return;
    task_core_event(&a->tasks[i], TASK_EVENT_KILLING, &f, ev->wall);
    feed(a, i, &kill, out);
}

enum stage { STAGE_LEADER, STAGE_OTHERS, STAGE_SIDECARS, STAGES };

static bool in_stage(const struct task_rules *r, enum stage s)
{
    if (r->hook == TASK_HOOK_POSTSTOP)
        return false;
    if (r->leader)
        return s == STAGE_LEADER;
    return s == (r->sidecar ? STAGE_SIDECARS : STAGE_OTHERS);
}

/* The leader first; when it is dead the others; sidecars last. Called again at each change. */
static void go_on_killing(struct alloc_core *a, const struct task_ev *ev, struct alloc_out *out)
{
    for (enum stage s = STAGE_LEADER; s < STAGES; s++) {
        bool dead = true;

        for (size_t i = 0; i < a->n; i++) {
            if (!in_stage(&a->tasks[i].rules, s))
                continue;
            kill_one(a, i, ev, out);
            dead = dead && task_core_dead(&a->tasks[i]);
        }
        if (!dead)
            return;
    }
}

/* Is there a reason in the tasks' states to end all others? */
static bool reason_to_kill(const struct alloc_core *a, enum task_event_type *ret_type,
                           struct task_event_facts *ret)
{
    bool failed = false, sidecars = false, live_main = false;

    for (size_t i = 0; i < a->n; i++) {
        const struct task_core *t = &a->tasks[i];

        if (t->rules.hook == TASK_HOOK_POSTSTOP)
            continue;
        sidecars = sidecars || (t->rules.sidecar && !task_core_dead(t));
        live_main = live_main || (!t->rules.sidecar && !task_core_dead(t));
        if (!task_core_dead(t))
            continue;
        if (t->state.failed && !failed) {
            failed = true;
            *ret_type = TASK_EVENT_SIBLING_FAILED;
            ret->text = t->rules.name;
        } else if (t->rules.leader && !t->state.failed) {
            *ret_type = TASK_EVENT_LEADER_DEAD;
            return true;
        }
    }
    if (!failed && sidecars && !live_main) {
        *ret_type = TASK_EVENT_MAIN_DEAD;
        return true;
    }
    return failed;
}

static void look_for_reasons(struct alloc_core *a, const struct task_ev *ev, struct alloc_out *out)
{
    struct task_event_facts f = {0};
    enum task_event_type type;

    if (a->killing || !reason_to_kill(a, &type, &f))
        return;
    a->killing = true;
    for (size_t i = 0; i < a->n; i++) {
        if (task_core_dead(&a->tasks[i]) || a->tasks[i].rules.hook == TASK_HOOK_POSTSTOP)
            continue;
        task_core_event(&a->tasks[i], type, &f, ev->wall);
        out->changed = true;
    }
}

/* A poststop task that will never come: its main tasks died before the machine did. */
static void open_gates(struct alloc_core *a, const struct task_ev *ev, struct alloc_out *out)
{
    struct task_ev go = like(ev, TASK_EV_GO);

    for (size_t i = 0; i < a->n; i++)
        if (may_start(a, &a->tasks[i]))
            feed(a, i, &go, out);
}

/* ---- health ---- */

static void set_health(struct alloc_core *a, bool healthy, const struct task_ev *ev,
                       struct alloc_out *out)
{
    a->health.known = true;
    a->health.healthy = healthy;
    a->health.at_ns = ev->wall.ns;
    out->changed = true;
}

/* Does this task stand in the way of health? A task with an end must have ended well. */
static bool counts_as_healthy(const struct task_core *t)
{
    if (t->rules.hook == TASK_HOOK_POSTSTOP)
        return true;
    if (t->rules.hook != TASK_HOOK_MAIN && !t->rules.sidecar)
        return task_core_dead(t) ? !t->state.failed : t->rules.hook == TASK_HOOK_POSTSTART;
    return is_running(t);
}

/* Since when all are fine; 0 = they are not. */
static int64_t healthy_since(const struct alloc_core *a)
{
    int64_t since = 1;

    for (size_t i = 0; i < a->n; i++) {
        if (!counts_as_healthy(&a->tasks[i]))
            return 0;
        since = MAX(since, a->tasks[i].up_since);
    }
    return since;
}

static void unhealthy(struct alloc_core *a, const struct task_ev *ev, bool deadline,
                      struct alloc_out *out)
{
    char text[160], d1[DURATION_TEXT_MAX], d2[DURATION_TEXT_MAX];
    struct task_event_facts f = {.text = text};

    for (size_t i = 0; i < a->n && a->health.deploy; i++) {
        const struct task_core *t = &a->tasks[i];

        text[0] = 0;
        if (t->state.failed)
            (void)snprintf(text, sizeof(text), "Unhealthy because of failed task");
        else if (deadline && task_core_dead(t) && t->rules.hook == TASK_HOOK_MAIN)
            (void)snprintf(text, sizeof(text), "Unhealthy because of dead task");
        else if (deadline && !is_running(t) && !counts_as_healthy(t))
            (void)snprintf(text, sizeof(text), "Task not running by healthy_deadline of %s",
                           duration_format(a->health.healthy_deadline_ns, d1));
        else if (deadline && is_running(t))
            (void)snprintf(text, sizeof(text),
                           "Task not running for min_healthy_time of %s by healthy_deadline of %s",
                           duration_format(a->health.min_healthy_ns, d1),
                           duration_format(a->health.healthy_deadline_ns, d2));
        if (text[0])
            task_core_event(&a->tasks[i], TASK_EVENT_ALLOC_UNHEALTHY, &f, ev->wall);
    }
    set_health(a, false, ev, out);
}

static void check_health(struct alloc_core *a, const struct task_ev *ev, struct alloc_out *out)
{
    struct alloc_health *h = &a->health;
    int64_t since = healthy_since(a);
    bool failed = false;

    if (!h->watch || h->known || a->stopped || a->hold)
        return;
    if (h->deadline == 0)
        h->deadline = ev->now.ns + h->healthy_deadline_ns;
    for (size_t i = 0; i < a->n; i++)
        failed = failed || a->tasks[i].state.failed;
    if (failed)
        unhealthy(a, ev, false, out);
    else if (since && ev->now.ns >= since + h->min_healthy_ns)
        set_health(a, true, ev, out);
    else if (ev->now.ns >= h->deadline)
        unhealthy(a, ev, true, out);
}

/* ---- steps ---- */

static bool any_running(const struct alloc_core *a)
{
    for (size_t i = 0; i < a->n; i++)
        if (is_running(&a->tasks[i]))
            return true;
    return false;
}

/* A stop waits for the group's delay, so that nobody sends it work any more; a failure does not. */
static void heed_stop(struct alloc_core *a, const struct task_ev *ev)
{
    if (!a->stopped || a->killing)
        return;
    if (a->shutdown_delay_ns > 0 && a->stop_at == 0 && any_running(a))
        a->stop_at = ev->now.ns + a->shutdown_delay_ns;
    a->killing = ev->now.ns >= a->stop_at;
}

static void settle(struct alloc_core *a, const struct task_ev *ev, struct alloc_out *out)
{
    look_for_reasons(a, ev, out);
    heed_stop(a, ev);
    if (a->killing)
        go_on_killing(a, ev, out);
    open_gates(a, ev, out);
    check_health(a, ev, out);
}

void alloc_step_task(struct alloc_core *a, size_t task, const struct task_ev *ev,
                     struct alloc_out *out)
{
    assert(task < a->n);
    *out = (struct alloc_out){0};
    feed(a, task, ev, out);
    settle(a, ev, out);
}

void alloc_step(struct alloc_core *a, const struct task_ev *tick, struct alloc_out *out)
{
    struct task_ev ev = like(tick, TASK_EV_TICK);

    *out = (struct alloc_out){0};
    for (size_t i = 0; i < a->n; i++)
        feed(a, i, &ev, out);
    settle(a, &ev, out);
}

static int64_t sooner(int64_t a, int64_t b)
{
    if (a == 0 || b == 0)
        return a ? a : b;
    return MIN(a, b);
}

int64_t alloc_core_next(const struct alloc_core *a)
{
    const struct alloc_health *h = &a->health;
    int64_t next = 0, since;

    for (size_t i = 0; i < a->n; i++)
        next = sooner(next, task_core_next(&a->tasks[i]));
    if (a->stopped && !a->killing)
        next = sooner(next, a->stop_at);
    if (h->watch && !h->known && !a->stopped && !a->hold) {
        since = healthy_since(a);
        next = sooner(next, h->deadline);
        if (since)
            next = sooner(next, since + h->min_healthy_ns);
    }
    return next;
}

bool alloc_core_terminal(const struct alloc_core *a)
{
    for (size_t i = 0; i < a->n; i++)
        if (!task_core_dead(&a->tasks[i]))
            return false;
    return true;
}

const char *alloc_core_status(const struct alloc_core *a, const char **ret_description)
{
    bool pending = false, running = false, failed = false;

    for (size_t i = 0; i < a->n; i++) {
        const struct task_core *t = &a->tasks[i];

        running = running || t->run == TASK_UP;
        pending = pending || (t->run != TASK_UP && !task_core_dead(t));
        failed = failed || (task_core_dead(t) && t->state.failed);
    }
    if (failed) {
        *ret_description = "Failed tasks";
        return "failed";
    }
    if (running) {
        *ret_description = "Tasks are running";
        return "running";
    }
    *ret_description = pending ? "No tasks have started" : "All tasks have completed";
    return pending ? "pending" : "complete";
}
