/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Drivers: how a task is run. A driver is one row of drivers[]; it is asynchronous, and one run of
 * a task is a struct driver_task whose events come from the loop, never from within a call.
 */
#pragma once

#include <uv.h>

#include "alloc.pb.h"
#include "base/base.h"
#include "base/clock.h"
#include "base/err.h"
#include "conf/conf.h"
#include "node.pb.h"
#include "task/cgroup.h"
#include "task_env.h"

/* Of the process: what drivers share. */
struct driver_ctx {
    uv_loop_t *loop;
    const struct conf *conf;
    const struct cgroup_host *cgroups;
    const char *node_id;
    char *taskd; /* path of the program */
};

enum driver_event_type {
    DRIVER_STARTED, /* at_ns */
    DRIVER_FAILED,  /* could not be started: text, retry */
    DRIVER_UNBEGUN, /* attached: clientd died before it was begun */
    DRIVER_EXITED,  /* code, signal, oom, text; ran: it was started, at_ns */
};

struct driver_event {
    enum driver_event_type type;
    const char *text;
    int code, signal;
    bool oom, retry, ran;
    int64_t at_ns; /* wall clock of the start; 0 = now */
};

typedef void driver_event_fn(void *user, const struct driver_event *ev);

/* One run. Everything is borrowed for the time of the call. */
struct driver_request {
    const struct driver_ctx *ctx;
    const steppe_Allocation *alloc;
    const steppe_TaskGroup *group;
    const steppe_Task *task;
    const steppe_Node *node;
    const char *alloc_dir; /* ALLOC_DIR/ID */
    const char *folder;    /* of this run, below the state folder */
    uint32_t run;
    bool running;        /* attach: it is known to have been started */
    driver_event_fn *fn; /* all but STARTED are the last, and come once */
    void *user;
};

struct driver_usage {
    uint64_t cpu_user_ns, cpu_system_ns, throttled_periods, throttled_ns;
    uint64_t rss, cache, swap, usage, max_usage, kernel_usage, kernel_max_usage;
    unsigned pids_n;
};

struct driver_task; /* the driver's own */

struct driver {
    const char *name;
    bool isolates; /* the task's folder becomes its root; default user nobody */
    /* Attributes, and what DriverInfo says. False: not there. */
    bool (*fingerprint)(const struct driver_ctx *ctx, steppe_Node *node, const char **ret_health);
    /* Begins a run. < 0 with a text: it cannot (no event comes); it would not another time either.
     */
    int (*start)(const struct driver_request *rq, struct driver_task **ret, struct errtext *e);
    /* Takes a run over that an earlier clientd began; what became of it comes as events. */
    int (*attach)(const struct driver_request *rq, struct driver_task **ret, struct errtext *e);
    void (*signal)(struct driver_task *t, int sig);
    /* Once more after attach() does no harm: what took a kill already is not signalled again. */
    void (*kill)(struct driver_task *t, int sig, int64_t timeout_ns);
    void (*force)(struct driver_task *t); /* everything SIGKILLed, its holder too; EXITED follows */
    int (*usage)(struct driver_task *t, struct driver_usage *ret); /* -ENOTSUP: not known */
    void (*release)(struct driver_task *t); /* its end is known: forget it. Frees. */
    void (*detach)(struct driver_task *t);  /* clientd ends: it goes on by itself. Frees. */
};

extern const struct driver driver_raw_exec, driver_exec, driver_mock;
/* NULL when there is none of that name. */
const struct driver *driver_find(const char *name);
/* Adds the attributes and the Drivers map to the node. */
void driver_fingerprint(const struct driver_ctx *ctx, steppe_Node *node);
/* A switch in client.options, as Nomad reads it ("1", "true"). */
bool driver_option(const struct conf *conf, const char *name);

/* Kills what is left of tasks whose allocation nobody knows: runs of `state_dir` not in keep(). */
void driver_kill_strays(const struct driver_ctx *ctx, const char *state_dir,
                        bool (*keep)(void *user, const char *folder), void *user);

/* The control group of a run; "" = none. */
char *driver_group(const struct driver *d, const struct driver_request *rq);
/* Its last part, which no other run has. */
char *driver_group_name(const char *alloc_id, const char *task, uint32_t run);
