/* SPDX-License-Identifier: MPL-2.0 */
#include "task_events.h"

#include <pb_decode.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[TASK_EVENT_N] = {
#define X(id, name) [TASK_EVENT_##id] = name,
    TASK_EVENT_TYPES(X)
#undef X
};

/* The reason that says nothing new: a restart that the policy foresees. */
#define WITHIN_POLICY "Restart within policy"

static void detail(steppe_TaskEvent *e, const char *key, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void detail(steppe_TaskEvent *e, const char *key, const char *fmt, ...)
{
    char value[1024];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(value, sizeof(value), fmt, ap);
    va_end(ap);
    e->details = xrealloc(e->details, (e->details_count + 1u) * sizeof(*e->details));
    e->details[e->details_count++] = (steppe_TaskEvent_DetailsEntry){xstrdup(key), xstrdup(value)};
}

/* A field, and the detail of the same meaning. */
static void set_text(steppe_TaskEvent *e, char **field, const char *key, const char *text)
{
    if (!text)
        return;
    *field = xstrdup(text);
    detail(e, key, "%s", text);
}

static char *terminated(steppe_TaskEvent *e, const struct task_event_facts *f)
{
    char signal[32] = "";

    e->exit_code = f->code;
    e->signal = f->number;
    detail(e, "exit_code", "%d", f->code);
    if (f->text && f->text[0]) {
        e->message = xstrdup(f->text);
        detail(e, "exit_message", "%s", f->text);
    }
    detail(e, "oom_killed", "%s", f->oom ? "true" : "false");
    detail(e, "signal", "%d", f->number);
    if (f->number)
        (void)snprintf(signal, sizeof(signal), ", Signal: %d", f->number);
    if (e->message)
        return xasprintf("Exit Code: %d%s, Exit Message: \"%s\"", f->code, signal, e->message);
    return xasprintf("Exit Code: %d%s", f->code, signal);
}

static char *killing(steppe_TaskEvent *e, const struct task_event_facts *f)
{
    char timeout[DURATION_TEXT_MAX];

    set_text(e, &e->kill_reason, "kill_reason", f->text);
    e->kill_timeout = f->delay_ns;
    detail(e, "kill_timeout", "%s", duration_format(f->delay_ns, timeout));
    if (f->text)
        return xstrdup(f->text);
    if (f->delay_ns == 0)
        return xstrdup("Sent interrupt");
    return xasprintf("Sent interrupt. Waiting %s before force killing", timeout);
}

static char *restarting(steppe_TaskEvent *e, const struct task_event_facts *f)
{
    char delay[DURATION_TEXT_MAX];

    e->start_delay = f->delay_ns;
    set_text(e, &e->restart_reason, "restart_reason", f->text);
    detail(e, "start_delay", "%lld", (long long)f->delay_ns);
    (void)duration_format(f->delay_ns, delay);
    if (f->text && f->text[0] && strcmp(f->text, WITHIN_POLICY) != 0)
        return xasprintf("%s - Task restarting in %s", f->text, delay);
    return xasprintf("Task restarting in %s", delay);
}

static char *signaling(steppe_TaskEvent *e, const struct task_event_facts *f)
{
    set_text(e, &e->task_signal, "task_signal", f->signal);
    set_text(e, &e->task_signal_reason, "task_signal_reason", f->text);
    if (f->text)
        return xasprintf("Task being sent signal %s: %s", f->signal ? f->signal : "", f->text);
    return xasprintf("Task being sent signal %s", f->signal ? f->signal : "");
}

/* Fills what the type has and returns the text for people. */
static char *describe(steppe_TaskEvent *e, enum task_event_type type,
                      const struct task_event_facts *f)
{
    switch (type) {
    case TASK_EVENT_RECEIVED:
        return xstrdup("Task received by client");
    case TASK_EVENT_STARTED:
        return xstrdup("Task started by client");
    case TASK_EVENT_KILLED:
        return xstrdup("Task successfully killed");
    case TASK_EVENT_LEADER_DEAD:
        return xstrdup("Leader Task in Group dead");
    case TASK_EVENT_MAIN_DEAD:
        return xstrdup("Main tasks in the group died");
    case TASK_EVENT_TERMINATED:
        return terminated(e, f);
    case TASK_EVENT_KILLING:
        return killing(e, f);
    case TASK_EVENT_RESTARTING:
        return restarting(e, f);
    case TASK_EVENT_SIGNALING:
        return signaling(e, f);
    case TASK_EVENT_SETUP_FAILURE:
        set_text(e, &e->setup_error, "setup_error", f->text);
        return xstrdup(f->text ? f->text : "Task setup failed");
    case TASK_EVENT_FAILED_VALIDATION:
        set_text(e, &e->validation_error, "validation_error", f->text);
        return xstrdup(f->text ? f->text : "Validation of task failed");
    case TASK_EVENT_DRIVER_FAILURE:
        set_text(e, &e->driver_error, "driver_error", f->text);
        return xstrdup(f->text ? f->text : "Failed to start task");
    case TASK_EVENT_DRIVER_MESSAGE:
        set_text(e, &e->driver_message, "driver_message", f->text);
        return xstrdup(f->text ? f->text : "");
    case TASK_EVENT_NOT_RESTARTING:
        set_text(e, &e->restart_reason, "restart_reason", f->text);
        return xstrdup(f->text ? f->text : "Task exceeded restart policy");
    case TASK_EVENT_RESTART_SIGNALED:
        set_text(e, &e->restart_reason, "restart_reason", f->text);
        return xstrdup(f->text ? f->text : "Task signaled to restart");
    case TASK_EVENT_SIBLING_FAILED:
        set_text(e, &e->failed_sibling, "failed_sibling", f->text);
        return xasprintf("Task's sibling \"%s\" failed", f->text ? f->text : "");
    case TASK_EVENT_SETUP:
    case TASK_EVENT_SHUTDOWN_DELAY:
    case TASK_EVENT_ALLOC_UNHEALTHY:
        set_text(e, &e->message, "message", f->text);
        return xstrdup(f->text ? f->text : "");
    case TASK_EVENT_N:
        break;
    }
    return xstrdup("");
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const steppe_TaskEvent_DetailsEntry *)a)->key,
                  ((const steppe_TaskEvent_DetailsEntry *)b)->key);
}

void task_event_add(steppe_TaskState *ts, enum task_event_type type,
                    const struct task_event_facts *f, struct wall_ns now)
{
    static const struct task_event_facts none;
    steppe_TaskEvent *e;

    if (ts->events_count >= TASK_EVENTS_MAX) {
        pb_release(steppe_TaskEvent_fields, &ts->events[0]);
        ts->events_count--;
        memmove(ts->events, ts->events + 1, ts->events_count * sizeof(*ts->events));
    }
    ts->events = xrealloc(ts->events, (ts->events_count + 1u) * sizeof(*ts->events));
    e = &ts->events[ts->events_count++];
    *e = (steppe_TaskEvent){.type = xstrdup(names[type]), .time = now.ns};
    e->display_message = describe(e, type, f ? f : &none);
    if (f && f->fails) {
        e->fails_task = true;
        detail(e, "fails_task", "true");
        ts->failed = true;
    }
    if (e->details_count > 1)
        qsort(e->details, e->details_count, sizeof(*e->details), by_key);
}
