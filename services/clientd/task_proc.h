/* SPDX-License-Identifier: MPL-2.0 */
/*
 * clientd's side of one taskd: starts it, hears it, finds it again. The functions are those of
 * struct driver; raw_exec and exec only differ in the spec.
 */
#pragma once

#include "driver.h"
#include "task/task_spec.h"

/* Takes the spec over: it is written to rq->folder. */
int task_proc_start(const struct driver *d, const struct driver_request *rq, struct task_spec *spec,
                    struct driver_task **ret, struct errtext *e);
int task_proc_attach(const struct driver *d, const struct driver_request *rq,
                     struct driver_task **ret, struct errtext *e);
void task_proc_signal(struct driver_task *t, int sig);
void task_proc_kill(struct driver_task *t, int sig, int64_t timeout_ns);
void task_proc_force(struct driver_task *t);
int task_proc_usage(struct driver_task *t, struct driver_usage *ret);
void task_proc_release(struct driver_task *t);
void task_proc_detach(struct driver_task *t);
/* Frees a closed uv_process_t of a taskd that we started. */
void task_proc_child_closed(uv_handle_t *h);
