/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What clientd and taskd say to each other. Both are text, so that an old taskd and a new clientd
 * (or the other way round) understand each other: unknown keys are skipped, missing ones have the
 * default 0 or "".
 *
 * A folder for each task, readable by the node's user only, holds
 *     spec        how to run it: lines "key value" (struct task_spec), written by clientd
 *     lock        flock'ed by taskd as long as it lives, from before it was started
 *     state       the last line that taskd would say (struct task_status), replaced by rename
 *     taskd.sock  SEQPACKET: one datagram a message
 *
 * taskd sends its status to whoever connects, and again at each change. It takes
 *     signal N             to the task's first process
 *     kill N MILLISECONDS  signal N now (0: none), everything SIGKILLed at the timeout, or sooner
 *                          when an earlier kill's timeout ends sooner
 *     bye                  the end of the task is known: taskd ends, too (unless it still runs)
 */
#pragma once

#include "base/base.h"
#include "base/err.h"
#include "base/strbuf.h"

#define TASK_SPEC_MAX    (4u << 20) /* bytes of an encoded spec */
#define TASK_LIST_MAX    65536u     /* entries of a list in it */
#define TASK_MESSAGE_MAX 1024u      /* bytes of a datagram */
#define TASK_SOCKET      "taskd.sock"

struct task_list {
    char **items;
    size_t n;
};
/* Adds a copy of text. */
void task_list_add(struct task_list *l, const char *text);
void task_list_fini(struct task_list *l);

/* Strings are never NULL after decoding; an empty one is "not wanted". */
struct task_spec {
    char *id;              /* ALLOC_ID/TASK, for people */
    char *command;         /* a path, or a name looked up in cwd/local, cwd and PATH */
    struct task_list args; /* without argv[0] */
    struct task_list env;  /* NAME=VALUE */
    char *cwd;             /* working directory; seen from inside root */
    char *log_dir;         /* where NAME.stdout.N and NAME.stderr.N go */
    char *log_name;
    uint64_t log_max_files, log_max_bytes;
    char *stdout_path, *stderr_path; /* instead of rotated files: appended to as they are */

    bool set_user; /* become uid, gid, groups */
    uint64_t uid, gid;
    struct task_list groups; /* numbers */

    char *cgroup;         /* path of its own group below each hierarchy; "" = none */
    bool limits;          /* what follows is set; otherwise the group only holds the processes */
    uint64_t memory_max;  /* bytes; 0 = none */
    uint64_t memory_soft; /* bytes; 0 = none */
    uint64_t cpu_shares;  /* as in cgroup v1: MHz; 0 = none */
    uint64_t pids_max;    /* 0 = none */

    bool isolate;           /* own mount, pid and ipc namespaces, no new privileges */
    char *root;             /* new root folder; "" = stays */
    struct task_list binds; /* "ro FROM\tTO" or "rw FROM\tTO", TO inside root, without leading / */
};

/* Appends to out. -EMSGSIZE when its bound is hit. */
int task_spec_encode(const struct task_spec *s, struct strbuf *out);
/* Fills a zeroed struct. -EBADMSG with a text; then there is nothing to free. */
int task_spec_decode(const char *text, size_t len, struct task_spec *ret, struct errtext *e);
void task_spec_fini(struct task_spec *s);

enum task_phase { TASK_STARTING, TASK_RUNNING, TASK_EXITED, TASK_FAILED };

struct task_status {
    enum task_phase phase;        /* FAILED: it could not be started */
    int64_t taskd;                /* pid of taskd */
    int64_t pid;                  /* of the first process; 0 = none yet */
    int64_t started_ns, ended_ns; /* wall clock */
    int64_t code, signal;         /* how it ended */
    bool oom;                     /* killed for its memory limit */
    bool killing;                 /* a `kill` was taken */
    bool retry;                   /* FAILED: might work another time */
    uint64_t dropped;             /* bytes of output that could not be written */
    char error[400];              /* FAILED or odd: why */
};

/* One line without a newline at its end. */
void task_status_encode(const struct task_status *s, char out[static TASK_MESSAGE_MAX]);
/* -EBADMSG for what has no state in it. */
int task_status_decode(const char *line, struct task_status *ret);
