/* SPDX-License-Identifier: MPL-2.0 */
#include "task_core.h"

#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#define FORCE_AFTER_NS (45 * NS_PER_SEC) /* over the kill timeout: taskd gives up after 30 s */

static void set_state(struct task_core *t, const char *name)
{
    free(t->state.state);
    t->state.state = xstrdup(name);
}

void task_core_init(struct task_core *t, const struct task_rules *rules)
{
    *t = (struct task_core){.rules = *rules};
    set_state(t, "pending");
}

void task_core_fini(struct task_core *t)
{
    pb_release(steppe_TaskState_fields, &t->state);
    *t = (struct task_core){0};
}

void task_core_event(struct task_core *t, enum task_event_type type,
                     const struct task_event_facts *f, struct wall_ns now)
{
    task_event_add(&t->state, type, f, now);
}

static void say(struct task_core *t, const struct task_ev *ev, enum task_event_type type,
                const struct task_event_facts *f, struct task_out *out)
{
    task_event_add(&t->state, type, f, ev->wall);
    out->changed = true;
}

static void start(struct task_core *t, struct task_out *out)
{
    t->run = TASK_STARTING_UP;
    t->runs++;
    t->timer = 0;
    t->restarting = t->kill_sent = false;
    t->force_at = 0;
    out->action = TASK_DO_START;
    out->changed = true;
}

static void die(struct task_core *t, const struct task_ev *ev, struct task_out *out)
{
    t->run = TASK_DEAD;
    t->timer = t->force_at = t->up_since = 0;
    set_state(t, "dead");
    t->state.finished_at = ev->wall.ns;
    out->changed = true;
}

/* ---- restart policy ---- */

static void restart_in(struct task_core *t, const struct task_ev *ev, const char *reason,
                       int64_t delay, struct task_out *out)
{
    struct task_event_facts f = {.text = reason, .delay_ns = delay};

    set_state(t, "pending");
    t->state.restarts++;
    t->state.last_restart = ev->wall.ns;
    say(t, ev, TASK_EVENT_RESTARTING, &f, out);
    t->up_since = 0;
    if (delay <= 0) {
        start(t, out);
        return;
    }
    t->run = TASK_BACKOFF;
    t->timer = ev->now.ns + delay;
    t->kill_sent = false;
    t->force_at = 0;
}

static void give_up(struct task_core *t, const struct task_ev *ev, const char *reason,
                    struct task_out *out)
{
    struct task_event_facts f = {.text = reason, .fails = true};

    say(t, ev, TASK_EVENT_NOT_RESTARTING, &f, out);
    die(t, ev, out);
}

/* A service runs for ever, what has an end (batch, prestart, poststop) is done when it ends well.
 */
static bool restarts_on_success(const struct task_rules *r)
{
    if (r->hook == TASK_HOOK_PRESTART || r->hook == TASK_HOOK_POSTSTART)
        return r->sidecar;
    return r->hook != TASK_HOOK_POSTSTOP && !r->batch;
}

static void again_or_not(struct task_core *t, const struct task_ev *ev, bool success,
                         struct task_out *out)
{
    const struct task_rules *r = &t->rules;
    char reason[128], interval[DURATION_TEXT_MAX];
    int64_t end;

    if (success && !restarts_on_success(r)) {
        die(t, ev, out);
        return;
    }
    if (r->attempts == 0) {
        give_up(t, ev, "Policy allows no restarts", out);
        return;
    }
    if (t->interval_start == 0 || ev->now.ns > t->interval_start + r->interval_ns) {
        t->interval_start = ev->now.ns;
        t->count = 0;
    }
    t->count++;
    if (t->count <= (uint32_t)r->attempts) {
        restart_in(t, ev, "Restart within policy",
                   r->delay_ns + (int64_t)(ev->random % (uint64_t)(r->delay_ns / 4 + 1)), out);
        return;
    }
    if (r->mode_delay) {
        end = t->interval_start + r->interval_ns;
        restart_in(t, ev, "Exceeded allowed attempts, applying a delay",
                   MAX(end - ev->now.ns, (int64_t)1), out);
        return;
    }
    (void)snprintf(reason, sizeof(reason),
                   "Exceeded allowed attempts %d in interval %s and mode is \"fail\"", r->attempts,
                   duration_format(r->interval_ns, interval));
    give_up(t, ev, reason, out);
}

/* ---- events ---- */

static void on_started(struct task_core *t, const struct task_ev *ev, struct task_out *out)
{
    if (t->run != TASK_STARTING_UP)
        return;
    t->run = TASK_UP;
    t->up_since = ev->now.ns;
    if (t->interval_start == 0)
        t->interval_start = ev->now.ns;
    set_state(t, "running");
    t->state.started_at = ev->at_ns ? ev->at_ns : ev->wall.ns;
    say(t, ev, TASK_EVENT_STARTED, NULL, out);
}

static void on_exited(struct task_core *t, const struct task_ev *ev, struct task_out *out)
{
    struct task_event_facts f = {
        .text = ev->text, .code = ev->code, .number = ev->signal, .oom = ev->oom};

    if (t->run != TASK_UP && t->run != TASK_STARTING_UP)
        return;
    if (t->run == TASK_STARTING_UP && ev->ran)
        on_started(t, ev, out); /* so short that its end is heard first */
    say(t, ev, TASK_EVENT_TERMINATED, &f, out);
    t->force_at = 0;
    if (t->killed) {
        say(t, ev, TASK_EVENT_KILLED, NULL, out);
        die(t, ev, out);
    } else if (t->restarting) {
        restart_in(t, ev, "", 0, out);
    } else {
        again_or_not(t, ev, ev->code == 0 && ev->signal == 0 && !(ev->text && ev->text[0]), out);
    }
}

static void on_failed(struct task_core *t, const struct task_ev *ev, struct task_out *out)
{
    struct task_event_facts f = {.text = ev->text};
    enum task_event_type type = TASK_EVENT_DRIVER_FAILURE;

    if (t->run != TASK_STARTING_UP)
        return;
    if (ev->type == TASK_EV_SETUP_FAILED)
        type = TASK_EVENT_SETUP_FAILURE;
    else if (ev->type == TASK_EV_INVALID)
        type = TASK_EVENT_FAILED_VALIDATION;
    say(t, ev, type, &f, out);
    if (t->killed)
        die(t, ev, out);
    else if (!ev->retry && t->rules.attempts > 0)
        give_up(t, ev, "Error was unrecoverable", out);
    else
        again_or_not(t, ev, false, out);
}

/* That is nobody's failure, so the restart policy does not count it. */
static void on_unbegun(struct task_core *t, const struct task_ev *ev, struct task_out *out)
{
    if (t->run != TASK_STARTING_UP)
        return;
    if (t->killed)
        die(t, ev, out);
    else
        start(t, out);
}

static void kill_now(struct task_core *t, const struct task_ev *ev, struct task_out *out)
{
    t->timer = 0;
    t->kill_sent = true;
    t->force_at = ev->now.ns + t->rules.kill_timeout_ns + FORCE_AFTER_NS;
    out->action = TASK_DO_KILL;
    out->changed = true;
}

static void end_run(struct task_core *t, const struct task_ev *ev, struct task_out *out)
{
    struct task_event_facts f = {0};
    char text[96], delay[DURATION_TEXT_MAX];

    if (t->kill_sent || t->timer)
        return;
    if (t->rules.shutdown_delay_ns > 0 && t->run == TASK_UP) {
        (void)snprintf(text, sizeof(text),
                       "Waiting for shutdown_delay of %s before killing the task.",
                       duration_format(t->rules.shutdown_delay_ns, delay));
        f.text = text;
        say(t, ev, TASK_EVENT_SHUTDOWN_DELAY, &f, out);
        t->timer = ev->now.ns + t->rules.shutdown_delay_ns;
        return;
    }
    kill_now(t, ev, out);
}

static void on_kill(struct task_core *t, const struct task_ev *ev, struct task_out *out)
{
    if (t->run == TASK_DEAD || t->killed)
        return;
    t->killed = true;
    out->changed = true;
    if (t->run == TASK_WAITING || t->run == TASK_BACKOFF)
        die(t, ev, out);
    else
        end_run(t, ev, out);
}

static void on_restart(struct task_core *t, const struct task_ev *ev, struct task_out *out)
{
    struct task_event_facts f = {.text = ev->text};

    if (t->run != TASK_UP || t->killed || t->restarting)
        return;
    t->restarting = true;
    say(t, ev, TASK_EVENT_RESTART_SIGNALED, &f, out);
    end_run(t, ev, out);
}

static void on_tick(struct task_core *t, const struct task_ev *ev, struct task_out *out)
{
    if (t->run == TASK_BACKOFF && ev->now.ns >= t->timer)
        start(t, out);
    else if (t->run == TASK_UP && t->timer && ev->now.ns >= t->timer)
        kill_now(t, ev, out);
    else if ((t->run == TASK_UP || t->run == TASK_STARTING_UP) && t->force_at &&
             ev->now.ns >= t->force_at) {
        t->force_at = ev->now.ns + FORCE_AFTER_NS;
        out->action = TASK_DO_FORCE;
    }
}

static void on_signal(struct task_core *t, const struct task_ev *ev, struct task_out *out)
{
    struct task_event_facts f = {.signal = ev->text};

    if (t->run != TASK_UP)
        return;
    say(t, ev, TASK_EVENT_SIGNALING, &f, out);
    out->action = TASK_DO_SIGNAL;
    out->signal = ev->signal;
}

static void on_go(struct task_core *t, const struct task_ev *ev, struct task_out *out)
{
    struct task_event_facts f = {.text = "Building Task Directory"};

    if (t->run != TASK_WAITING)
        return;
    if (t->runs == 0)
        say(t, ev, TASK_EVENT_SETUP, &f, out);
    start(t, out);
}

void task_step(struct task_core *t, const struct task_ev *ev, struct task_out *out)
{
    *out = (struct task_out){0};
    switch (ev->type) {
    case TASK_EV_RECEIVE:
        say(t, ev, TASK_EVENT_RECEIVED, NULL, out);
        break;
    case TASK_EV_GO:
        on_go(t, ev, out);
        break;
    case TASK_EV_STARTED:
        on_started(t, ev, out);
        break;
    case TASK_EV_START_FAILED:
    case TASK_EV_SETUP_FAILED:
    case TASK_EV_INVALID:
        on_failed(t, ev, out);
        break;
    case TASK_EV_UNBEGUN:
        on_unbegun(t, ev, out);
        break;
    case TASK_EV_EXITED:
        on_exited(t, ev, out);
        break;
    case TASK_EV_KILL:
        on_kill(t, ev, out);
        break;
    case TASK_EV_RESTART:
        on_restart(t, ev, out);
        break;
    case TASK_EV_SIGNAL:
        on_signal(t, ev, out);
        break;
    case TASK_EV_TICK:
        on_tick(t, ev, out);
        break;
    }
}

int64_t task_core_next(const struct task_core *t)
{
    if (t->run == TASK_DEAD)
        return 0;
    if (t->timer && t->force_at)
        return MIN(t->timer, t->force_at);
    return t->timer ? t->timer : t->force_at;
}

void task_core_reboot(struct task_core *t)
{
    t->interval_start = t->timer = t->force_at = t->up_since = 0;
    t->count = 0;
    t->kill_sent = t->restarting = false;
    if (t->run == TASK_DEAD)
        return;
    t->run = t->killed ? TASK_DEAD : TASK_WAITING; /* its gate opens again */
    set_state(t, t->killed ? "dead" : "pending");
}
