/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The output of a task: read from its pipe, appended to DIR/NAME.N. A file that would grow over
 * max_bytes is closed (at the end of a line when one ends in it) and N+1 begun; the oldest beyond
 * max_files are removed. The folder belongs to the task, which may put anything there: links,
 * pipes and devices in the place of a log are never opened.
 */
#pragma once

#include "base/base.h"
#include "base/err.h"

#define TASKD_LOG_BUF 8192

struct taskd_log {
    int in;  /* read end of the task's pipe; -1 = closed */
    int dir; /* -1: no rotation, `out` is all there is */
    int out; /* -1 = cannot be written, what comes is dropped and counted */
    char name[320];
    uint64_t index, size, dropped;
    uint64_t max_files, max_bytes; /* both > 0 */
};

/* Goes on with the newest file that is there. `name` without its number. -errno with a text. */
int taskd_log_open(struct taskd_log *l, const char *dir, const char *name, struct errtext *e);
/* Appends to one file that may be anything (a pipe), for callers with log files of their own. */
int taskd_log_open_path(struct taskd_log *l, const char *path, struct errtext *e);
/* Writes n bytes; never blocks on the task, never fails: see dropped. */
void taskd_log_write(struct taskd_log *l, const char *data, size_t n);
/* Moves at most one buffer from the pipe. False when there is nothing to read now; closes `in` at
 * its end. */
bool taskd_log_pump(struct taskd_log *l);
