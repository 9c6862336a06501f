/* SPDX-License-Identifier: MPL-2.0 */
#include "taskd_core.h"

static void end(struct taskd_core *c, const struct taskd_event *ev, struct taskd_out *out)
{
    c->state = TASKD_ENDING;
    c->give_up_at = ev->now.ns + TASKD_GIVE_UP_NS;
    out->kill_all = true;
}

static void on_kill(struct taskd_core *c, const struct taskd_event *ev, struct taskd_out *out)
{
    int64_t at = ev->now.ns + MAX(ev->timeout_ns, (int64_t)0);

    if (c->state != TASKD_STARTING && c->state != TASKD_RUNNING)
        return;
    if (c->kill_at == 0 || at < c->kill_at) /* a later, kinder kill does not give it more time */
        c->kill_at = at;
    out->signal = ev->signal;
    out->kill_all = ev->now.ns >= c->kill_at;
}

static void on_tick(struct taskd_core *c, const struct taskd_event *ev, struct taskd_out *out)
{
    if (c->state == TASKD_DONE)
        return;
    if (c->state == TASKD_ENDING) {
        out->kill_all = true;
        if (ev->now.ns >= c->give_up_at) {
            c->state = TASKD_DONE;
            out->report = true;
        }
    } else if (c->kill_at != 0 && ev->now.ns >= c->kill_at) {
        out->kill_all = true;
    }
}

void taskd_step(struct taskd_core *c, const struct taskd_event *ev, struct taskd_out *out)
{
    *out = (struct taskd_out){0};
    switch (ev->type) {
    case TASKD_EV_STARTED:
        if (c->state == TASKD_STARTING) {
            c->state = TASKD_RUNNING;
            out->report = true;
        }
        break;
    case TASKD_EV_FAILED:
    case TASKD_EV_EXITED:
        if (c->state == TASKD_STARTING || c->state == TASKD_RUNNING)
            end(c, ev, out);
        break;
    case TASKD_EV_GONE:
        if (c->state == TASKD_ENDING) {
            c->state = TASKD_DONE;
            out->report = true;
        }
        break;
    case TASKD_EV_SIGNAL:
        if (c->state == TASKD_RUNNING)
            out->signal = ev->signal;
        break;
    case TASKD_EV_KILL:
        on_kill(c, ev, out);
        break;
    case TASKD_EV_BYE:
        out->quit = c->state == TASKD_DONE;
        break;
    case TASKD_EV_TICK:
        on_tick(c, ev, out);
        break;
    }
}

int64_t taskd_wait_ns(const struct taskd_core *c, struct mono_ns now)
{
    switch (c->state) {
    case TASKD_DONE:
        return -1;
    case TASKD_ENDING:
        return TASKD_TICK_NS;
    case TASKD_STARTING:
    case TASKD_RUNNING:
        if (c->kill_at == 0)
            return -1;
        return c->kill_at > now.ns ? c->kill_at - now.ns : TASKD_TICK_NS;
    }
    return -1;
}
