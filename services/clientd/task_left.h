/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What a dead taskd left of its task. Without it nobody is the ancestor of what forked away, so
 * this is found by its control group, or, where there is none, by the task's own environment (which
 * a process may have thrown away: then it is not found).
 */
#pragma once

#include "task/cgroup.h"

/* SIGKILLs what there is ("" = no group) and returns how many processes were seen; they may take a
 * moment to be gone. */
int task_left_kill(const struct cgroup_host *h, const char *group, const char *alloc_id,
                   const char *task);
