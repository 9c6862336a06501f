/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The client side of the supervisor's control socket, for `steppe service ...`. Blocking, each
 * call one connection; 0 or -errno with a text. socket_path is RUN_DIR/supervisor.sock.
 */
#pragma once

#include "base/base.h"
#include "base/err.h"

#define SUP_CONTROL_SERVICES_MAX 32

struct sup_control_service {
    char name[32];
    int pid;           /* 0: no process */
    char state[16];    /* stopped waiting starting running backoff stopping killing */
    int64_t uptime_ms; /* 0 unless running */
    int restarts, failures;
    char last_exit[64]; /* "" never */
};

/* The node's services in the order of their start, at most max of them. -errno with a text. */
int sup_control_list(const char *socket_path, struct sup_control_service *ret, size_t max,
                     size_t *ret_n, struct errtext *e);

/* verb: "start", "stop", "restart". Returns when it is done, or why it failed. */
int sup_control_change(const char *socket_path, const char *verb, const char *name,
                       struct errtext *e);

/*
 * The last lines of a service, with follow also those that come, until fn returns false or the
 * supervisor ends. fn gets lines with their newline.
 */
typedef bool sup_control_line_fn(void *user, const char *line, size_t len);
int sup_control_logs(const char *socket_path, const char *name, bool follow,
                     sup_control_line_fn *fn, void *user, struct errtext *e);

/* The answer to "list" or "status" as JSON text (malloc'ed), for -json. */
int sup_control_json(const char *socket_path, const char *request, char **ret_json,
                     struct errtext *e);
