/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Between fork and exec: user, control group, namespaces, root folder of a task.
 */
#pragma once

#include "task/cgroup.h"
#include "task/task_spec.h"

struct taskd_child {
    const struct task_spec *spec;
    const struct cgroup_host *host;
    int out, err; /* write ends of the pipes to the logs */
    int report;   /* CLOEXEC: closed by exec, or gets a text why there was none */
    int parent;   /* pid of taskd */
};

/* In the child; does not return. What fails is written to `report` as text. */
void taskd_child_run(const struct taskd_child *c) __attribute__((noreturn));

/*
 * The first process of a new pid namespace: takes in orphans, dies with taskd; when it dies, the
 * kernel kills all others of the namespace. Does not return.
 */
void taskd_child_init(const struct taskd_child *c) __attribute__((noreturn));
