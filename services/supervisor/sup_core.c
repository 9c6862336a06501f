/* SPDX-License-Identifier: MPL-2.0 */
#include "sup_core.h"

#include <string.h>

const struct sup_service sup_services[SUP_SERVICES_N] = {
#define X(id, name, roles, needs, ready) [SUP_##id] = {name, roles, needs, ready},
    SUP_SERVICES(X)
#undef X
};

static const char *const state_names[SUP_STATES_N] = {
#define X(id, name) [SUP_##id] = name,
    SUP_STATES(X)
#undef X
};

/* ---- the table ---- */

#define ACTIONS(X)                                                                                 \
    X(NONE)  /* nothing changes */                                                                 \
    X(START) /* begin, or wait for what it needs */                                                \
    X(SPAWN)                                                                                       \
    X(UP) X(DIED) X(STOP) X(RESTART) X(KILL) X(KILL_AGAIN) X(GONE) X(CANCEL) X(AGAIN) X(ONCE)

enum action {
#define X(id) A_##id,
    ACTIONS(X)
#undef X
        ACTIONS_N
};

/* clang-format off */
static const enum action table[SUP_STATES_N][SUP_EVENTS_N] = {
    /*                START    STOP      RESTART    NEEDS_UP  READY   EXIT    TIMEOUT */
    [SUP_IDLE]     = {A_START, A_NONE,   A_START,   A_NONE,   A_NONE, A_NONE, A_NONE},
    [SUP_WAIT]     = {A_NONE,  A_CANCEL, A_NONE,    A_SPAWN,  A_NONE, A_NONE, A_SPAWN},
    [SUP_STARTING] = {A_NONE,  A_STOP,   A_RESTART, A_NONE,   A_UP,   A_DIED, A_KILL_AGAIN},
    [SUP_UP]       = {A_NONE,  A_STOP,   A_RESTART, A_NONE,   A_NONE, A_DIED, A_NONE},
    [SUP_BACKOFF]  = {A_SPAWN, A_CANCEL, A_SPAWN,   A_NONE,   A_NONE, A_NONE, A_SPAWN},
    [SUP_STOPPING] = {A_AGAIN, A_ONCE,   A_AGAIN,   A_NONE,   A_NONE, A_GONE, A_KILL},
    [SUP_KILLING]  = {A_AGAIN, A_ONCE,   A_AGAIN,   A_NONE,   A_NONE, A_GONE, A_KILL},
};
/* clang-format on */

typedef void action_fn(struct sup_core *c, enum sup_service_id id, struct mono_ns now,
                       struct sup_out *out);

/* ---- pieces ---- */

static void effect(struct sup_out *out, enum sup_effect_kind kind, enum sup_service_id id)
{
    assert(out->n < SUP_EFFECTS_MAX);
    out->effects[out->n++] = (struct sup_effect){kind, id};
}

/* The one place where a state changes. wait: nanoseconds until SUP_EV_TIMEOUT, 0: none. */
static void set_state(struct sup_unit *u, enum sup_state state, int64_t wait, struct mono_ns now)
{
    u->state = state;
    u->since = now;
    u->deadline = wait ? now.ns + wait : 0;
}

bool sup_unit_has_process(const struct sup_unit *u)
{
    return u->state == SUP_STARTING || u->state == SUP_UP || u->state == SUP_STOPPING ||
           u->state == SUP_KILLING;
}

static bool needs_up(const struct sup_core *c, enum sup_service_id id)
{
    for (size_t i = 0; i < SUP_SERVICES_N; i++) {
        if ((sup_services[id].needs & 1u << i) && c->units[i].present &&
            c->units[i].state != SUP_UP)
            return false;
    }
    return true;
}

/* ---- actions ---- */

static void act_none(struct sup_core *c, enum sup_service_id id, struct mono_ns now,
                     struct sup_out *out)
{
    (void)c, (void)id, (void)now, (void)out;
}

static void act_spawn(struct sup_core *c, enum sup_service_id id, struct mono_ns now,
                      struct sup_out *out)
{
    struct sup_unit *u = &c->units[id];

    assert(!sup_unit_has_process(u));
    u->again = u->asked = u->warm = false;
    set_state(u, SUP_STARTING, sup_services[id].ready_max_s * NS_PER_SEC, now);
    effect(out, SUP_DO_SPAWN, id);
}

static void act_start(struct sup_core *c, enum sup_service_id id, struct mono_ns now,
                      struct sup_out *out)
{
    c->units[id].failures = 0;
    if (needs_up(c, id))
        act_spawn(c, id, now, out);
    else
        set_state(&c->units[id], SUP_WAIT, SUP_WAIT_MAX, now);
}

static void act_up(struct sup_core *c, enum sup_service_id id, struct mono_ns now,
                   struct sup_out *out)
{
    (void)out;
    c->units[id].warm = true;
    set_state(&c->units[id], SUP_UP, 0, now);
}

/* An exit that nobody asked for. */
static void act_died(struct sup_core *c, enum sup_service_id id, struct mono_ns now,
                     struct sup_out *out)
{
    struct sup_unit *u = &c->units[id];
    bool steady = u->state == SUP_UP && now.ns - u->since.ns >= SUP_STEADY;

    if (c->stopping) { /* it went before its turn */
        set_state(u, SUP_IDLE, 0, now);
        return;
    }
    u->restarts++;
    u->died_up = u->warm;
    effect(out, SUP_DO_REPORT, id);
    if (steady) {
        u->failures = 0;
        u->delay = 0;
        set_state(u, SUP_BACKOFF, 0, now);
        act_spawn(c, id, now, out);
        return;
    }
    u->failures++;
    u->delay = SUP_BACKOFF_MIN;
    for (unsigned i = 1; i < u->failures && u->delay < SUP_BACKOFF_MAX; i++)
        u->delay *= 2;
    u->delay = MIN(u->delay, SUP_BACKOFF_MAX);
    set_state(u, SUP_BACKOFF, u->delay, now);
}

static void act_stop(struct sup_core *c, enum sup_service_id id, struct mono_ns now,
                     struct sup_out *out)
{
    struct sup_unit *u = &c->units[id];

    u->again = false;
    u->asked = true;
    set_state(u, SUP_STOPPING, SUP_STOP_MAX, now);
    effect(out, SUP_DO_TERM, id);
}

static void act_restart(struct sup_core *c, enum sup_service_id id, struct mono_ns now,
                        struct sup_out *out)
{
    act_stop(c, id, now, out);
    c->units[id].again = true;
}

static void act_kill(struct sup_core *c, enum sup_service_id id, struct mono_ns now,
                     struct sup_out *out)
{
    set_state(&c->units[id], SUP_KILLING, SUP_STOP_MAX, now);
    effect(out, SUP_DO_KILL, id);
}

/* Not ready in time: counts as a failure when it is gone. */
static void act_kill_again(struct sup_core *c, enum sup_service_id id, struct mono_ns now,
                           struct sup_out *out)
{
    c->units[id].again = true;
    c->units[id].asked = false;
    act_kill(c, id, now, out);
}

static void act_gone(struct sup_core *c, enum sup_service_id id, struct mono_ns now,
                     struct sup_out *out)
{
    struct sup_unit *u = &c->units[id];

    if (!u->again) {
        u->failures = 0;
        set_state(u, SUP_IDLE, 0, now);
        return;
    }
    if (!u->asked) {
        act_died(c, id, now, out);
        return;
    }
    u->restarts++;
    set_state(u, SUP_IDLE, 0, now);
    act_start(c, id, now, out);
}

static void act_cancel(struct sup_core *c, enum sup_service_id id, struct mono_ns now,
                       struct sup_out *out)
{
    (void)out;
    c->units[id].failures = 0;
    set_state(&c->units[id], SUP_IDLE, 0, now);
}

static void act_again(struct sup_core *c, enum sup_service_id id, struct mono_ns now,
                      struct sup_out *out)
{
    (void)now, (void)out;
    c->units[id].again = c->units[id].asked = true;
}

static void act_once(struct sup_core *c, enum sup_service_id id, struct mono_ns now,
                     struct sup_out *out)
{
    (void)now, (void)out;
    c->units[id].again = false;
}

static action_fn *const actions[ACTIONS_N] = {
    [A_NONE] = act_none,       [A_START] = act_start,   [A_SPAWN] = act_spawn,
    [A_UP] = act_up,           [A_DIED] = act_died,     [A_STOP] = act_stop,
    [A_RESTART] = act_restart, [A_KILL] = act_kill,     [A_KILL_AGAIN] = act_kill_again,
    [A_GONE] = act_gone,       [A_CANCEL] = act_cancel, [A_AGAIN] = act_again,
    [A_ONCE] = act_once,
};

/* ---- public ---- */

const char *sup_state_name(enum sup_state s)
{
    assert((unsigned)s < SUP_STATES_N);
    return state_names[s];
}

int sup_service_find(const char *name)
{
    for (int i = 0; i < SUP_SERVICES_N; i++) {
        if (strcmp(sup_services[i].name, name) == 0)
            return i;
    }
    return -1;
}

void sup_core_init(struct sup_core *c, unsigned roles)
{
    *c = (struct sup_core){0};
    for (size_t i = 0; i < SUP_SERVICES_N; i++) {
        c->units[i].present = (sup_services[i].roles & roles) != 0;
        assert((sup_services[i].needs >> i) == 0); /* needs stand above: no circles */
    }
}

static void apply(struct sup_core *c, enum sup_service_id id, enum sup_event ev, struct mono_ns now,
                  struct sup_out *out)
{
    assert((unsigned)ev < SUP_EVENTS_N && (unsigned)c->units[id].state < SUP_STATES_N);
    actions[table[c->units[id].state][ev]](c, id, now, out);
}

/* While the node stops: the last service that is still there gets its stop. */
static void follow_stop(struct sup_core *c, struct mono_ns now, struct sup_out *out)
{
    for (int i = SUP_SERVICES_N - 1; i >= 0; i--) {
        struct sup_unit *u = &c->units[i];

        if (!u->present || u->state == SUP_IDLE)
            continue;
        if (u->state != SUP_STOPPING && u->state != SUP_KILLING)
            apply(c, (enum sup_service_id)i, SUP_EV_STOP, now, out);
        if (u->state != SUP_IDLE)
            return;
    }
}

void sup_core_step(struct sup_core *c, enum sup_service_id id, enum sup_event ev,
                   struct mono_ns now, struct sup_out *out)
{
    assert((unsigned)id < SUP_SERVICES_N);
    if (!c->units[id].present)
        return;
    if (c->stopping && (ev == SUP_EV_START || ev == SUP_EV_RESTART))
        return;
    apply(c, id, ev, now, out);
    if (c->stopping) {
        follow_stop(c, now, out);
        return;
    }
    for (size_t i = 0; ev == SUP_EV_READY && i < SUP_SERVICES_N; i++) {
        if (c->units[i].state == SUP_WAIT && needs_up(c, (enum sup_service_id)i))
            apply(c, (enum sup_service_id)i, SUP_EV_NEEDS_UP, now, out);
    }
}

void sup_core_start(struct sup_core *c, struct mono_ns now, struct sup_out *out)
{
    for (size_t i = 0; i < SUP_SERVICES_N; i++)
        sup_core_step(c, (enum sup_service_id)i, SUP_EV_START, now, out);
}

void sup_core_tick(struct sup_core *c, struct mono_ns now, struct sup_out *out)
{
    for (size_t i = 0; i < SUP_SERVICES_N; i++) {
        if (c->units[i].deadline && c->units[i].deadline <= now.ns) {
            c->units[i].deadline = 0;
            sup_core_step(c, (enum sup_service_id)i, SUP_EV_TIMEOUT, now, out);
        }
    }
}

void sup_core_stop(struct sup_core *c, struct mono_ns now, struct sup_out *out)
{
    c->stopping = true;
    for (size_t i = 0; i < SUP_SERVICES_N; i++) {
        struct sup_unit *u = &c->units[i];

        u->again = false; /* a restart under way becomes a stop */
        if (u->present && (u->state == SUP_WAIT || u->state == SUP_BACKOFF))
            apply(c, (enum sup_service_id)i, SUP_EV_STOP, now, out);
    }
    follow_stop(c, now, out);
}

bool sup_core_done(const struct sup_core *c)
{
    for (size_t i = 0; i < SUP_SERVICES_N; i++) {
        if (sup_unit_has_process(&c->units[i]))
            return false;
    }
    return c->stopping;
}

bool sup_core_all_up(const struct sup_core *c)
{
    for (size_t i = 0; i < SUP_SERVICES_N; i++) {
        if (c->units[i].present && c->units[i].state != SUP_UP)
            return false;
    }
    return true;
}

int64_t sup_core_deadline(const struct sup_core *c)
{
    int64_t next = -1;

    for (size_t i = 0; i < SUP_SERVICES_N; i++) {
        int64_t d = c->units[i].deadline;

        if (d && (next < 0 || d < next))
            next = d;
    }
    return next;
}
