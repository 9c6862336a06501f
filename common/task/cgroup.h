/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Control groups: one for each task, in version 2 (the unified hierarchy at /sys/fs/cgroup), or in
 * version 1 with its freezer, memory, cpu, cpuacct and pids hierarchies. Which one is there is
 * found in /proc/self/mountinfo. A group's path is the same below each hierarchy.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"
#include "base/err.h"

#define CGROUP_PATH_MAX 512

enum cgroup_version { CGROUP_NONE, CGROUP_V1, CGROUP_V2 };

/* The hierarchies of version 1; in version 2 all are the same. */
enum cgroup_kind {
    CGROUP_FREEZER,
    CGROUP_MEMORY,
    CGROUP_CPU,
    CGROUP_CPUACCT,
    CGROUP_PIDS,
    CGROUP_KINDS,
};

struct cgroup_host {
    enum cgroup_version version;
    char mount[CGROUP_KINDS][96]; /* where each is mounted; "" = not there */
};

struct cgroup_limits {
    uint64_t memory_max, memory_soft; /* bytes; 0 = none */
    uint64_t cpu_shares;              /* as in version 1; 0 = none */
    uint64_t pids_max;                /* 0 = none */
};

/* From the text of /proc/self/mountinfo. */
void cgroup_parse(const char *mountinfo, struct cgroup_host *ret);
/* Of this machine. Version NONE when there is nothing that can be used. */
void cgroup_detect(struct cgroup_host *ret);

/*
 * Makes the group (its parents, too). Without limits only what holds processes together: the
 * freezer in version 1. An existing group is taken over. -errno with a text; then nothing is left.
 */
int cgroup_create(const struct cgroup_host *h, const char *path, const struct cgroup_limits *limits,
                  struct errtext *e);
/* Puts the calling process into it. Async-signal-safe: for a child before exec. -errno. */
int cgroup_enter(const struct cgroup_host *h, const char *path, bool limits);
/* Its processes, at most max; the number of all. -errno when there is no such group. */
int cgroup_pids(const struct cgroup_host *h, const char *path, pid_t *ret, int max);
/*
 * SIGKILLs all of it and of the groups below it at once, however fast they fork. The number of
 * processes seen, or -errno.
 */
int cgroup_kill(const struct cgroup_host *h, const char *path);
/*
 * Removes it everywhere; _tree: with the groups below it, which a task may have made. 0 also when
 * it was not there, -EBUSY while it has processes (or, without _tree, groups).
 */
int cgroup_remove(const struct cgroup_host *h, const char *path);
int cgroup_remove_tree(const struct cgroup_host *h, const char *path);
/* Something in it was killed for its memory limit. */
bool cgroup_oom(const struct cgroup_host *h, const char *path);

/*
 * A file of the group, NUL terminated, cut at size. -errno when it is not there. cgroup_field()
 * finds the number behind a word at a line's start ("total_rss 123"), 0 when absent.
 */
int cgroup_read(const struct cgroup_host *h, enum cgroup_kind kind, const char *path,
                const char *file, char *buf, size_t size);
uint64_t cgroup_field(const char *text, const char *word);
