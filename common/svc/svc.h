/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The skeleton of every service: arguments and configuration, log, signals, the lock on its run
 * file, readiness, the libuv loop, orderly stop. A service is a `struct svc` of hooks and
 * `int main(argc, argv) { return svc_main(argc, argv, &me); }`.
 *
 * Life: conf_load -> lock RUN_DIR/NAME.pid (exit 1 with a clear text when another one holds it) ->
 * init() -> the service calls svc_ready() when it can answer -> loop -> SIGTERM or SIGINT -> stop()
 * -> the service calls svc_stopped() when its goodbye is said (10 s at most) -> fini() -> exit 0.
 * SIGHUP -> configuration loaded again; when it is good, reload() (log_level is applied before).
 * When the supervisor that started it dies, it gets SIGTERM.
 *
 * Readiness: svc_ready() writes "READY\n" to the file descriptor named by STEPPE_READY_FD, if set.
 */
#pragma once

#include <uv.h>

#include "base/base.h"
#include "base/err.h"
#include "conf/conf.h"

struct bus;

struct svc_ctx {
    uv_loop_t *loop;
    const struct conf *conf;
    struct bus *bus;     /* this process's ZeroMQ context on the loop, see bus/bus.h */
    const char *node_id; /* UUID of the node: server id on servers, client id on pure clients */
    void *user;          /* the service's own */
    bool leaving;        /* set before stop(): leave the cluster in order, do not just stop */
};

struct svc {
    const char *name;
    const char *purpose; /* one line for -help */
    int malloc_arenas;   /* 0: 2, plenty for one busy thread and cheaper than more */
    /*
     * Runs under SCHED_BATCH: the loop and ZeroMQ's threads do not push others aside the moment one
     * message is there, but run when several are. For the HTTP gateway with its many workers;
     * what it gains varies, see CONTRIBUTING's decision log.
     */
    bool batch;
    bool many_files; /* strangers connect to it: it takes all descriptors that it may have */
    int (*init)(struct svc_ctx *ctx, struct errtext *e); /* < 0: exit 1 with e's text */
    void (*reload)(struct svc_ctx *ctx, const struct conf *new_conf); /* may be NULL */
    void (*stop)(struct svc_ctx *ctx); /* may be NULL: stopped at once */
    void (*fini)(struct svc_ctx *ctx);
};

/* Runs the whole life above. -> the exit status */
int svc_main(int argc, char **argv, const struct svc *svc);
/* Called by the service, once each, from the loop: it can answer; its goodbye is said. */
void svc_ready(struct svc_ctx *ctx);
void svc_stopped(struct svc_ctx *ctx);
/* Ends the process with status 1 after fini(): for what cannot go on (a full disk under the log).
 */
void svc_fatal(struct svc_ctx *ctx, const char *fmt, ...) PRINTF_LIKE(2, 3);
