/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What the rest of clientd (files, logs, statistics, requests from servers) may ask about the
 * allocations of this node. Everything runs on the loop's thread; what is returned as a pointer is
 * borrowed and good until the loop turns.
 */
#pragma once

#include "alloc.pb.h"
#include "base/base.h"
#include "base/clock.h"
#include "base/err.h"

struct allocs; /* all allocations of the node, one for each clientd */
struct alloc;  /* one of them, from its first sight until its folder is removed */

/* Answers of the calls below that return int; the text in e is Nomad's. */
enum alloc_api_error {
    ALLOC_E_UNKNOWN = 1,  /* no such allocation on this node */
    ALLOC_E_TASK,         /* the allocation has no task of that name */
    ALLOC_E_NOT_RUNNING,  /* the task does not run */
    ALLOC_E_NOT_TERMINAL, /* cannot be collected while it is to run */
};

/* By full id; NULL when this node does not have it (never had, or it was collected). */
struct alloc *allocs_find(const struct allocs *a, const char *id);

/* Its folder, absolute: ALLOC_DIR/ID with alloc/, TASK/ in it. It may not be there yet. */
const char *alloc_dir(const struct alloc *al);
/* As the servers gave it, with its job; the client's part is kept up to date in it. */
const steppe_Allocation *alloc_get(const struct alloc *al);
/* Nothing of it runs any more, or will. */
bool alloc_terminal(const struct alloc *al);

size_t alloc_task_count(const struct alloc *al);
const char *alloc_task_name(const struct alloc *al, size_t i);
/* Index of the task, or -1. */
int alloc_task_find(const struct alloc *al, const char *name);
/* Pending before anything happened to it; never NULL. */
const steppe_TaskState *alloc_task_state(const struct alloc *al, size_t i);

/*
 * Restarts one task, or every running one when task is "" (without counting as a failure). It
 * returns when the restart is under way. 0 or ALLOC_E_*.
 */
int allocs_restart(struct allocs *a, const char *id, const char *task, struct errtext *e);
/* Sends a signal ("SIGHUP", "hup" or a number, else SIGINT) to a task, or to all running ones with
 * "". */
int allocs_signal(struct allocs *a, const char *id, const char *task, const char *signal,
                  struct errtext *e);

/* Use of one task (its process tree) or the sum of an allocation. Bytes, ns, percent of one core.
 */
struct alloc_usage {
    int64_t timestamp; /* ns since 1970 */
    double cpu_percent, cpu_user_percent, cpu_system_percent;
    double cpu_ticks; /* MHz used */
    uint64_t throttled_periods, throttled_ns;
    uint64_t rss, cache, swap, usage, max_usage, kernel_usage, kernel_max_usage;
    unsigned pids_n; /* processes, threads not counted */
};
/* Samples now; percentages are since the sample before. ALLOC_E_NOT_RUNNING when it does not run.
 */
int alloc_task_usage(struct alloc *al, size_t i, struct alloc_usage *ret);

/* Removes the folder and state of a terminal allocation. 0 or ALLOC_E_*. */
int allocs_collect(struct allocs *a, const char *id, struct errtext *e);
/* The same for all terminal ones. */
void allocs_collect_all(struct allocs *a);
