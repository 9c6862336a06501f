/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Ending process trees without a control group: all descendants of a process, found in /proc. What
 * forks away is reparented to the nearest subreaper, so it stays a descendant.
 */
#pragma once

#include <sys/types.h>

/* Stops, then SIGKILLs all descendants of `of`. Returns how many there were. */
int taskd_tree_kill(pid_t of);
