/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The shell around sup_core: one thread, one poll(2). It links neither ZeroMQ nor LMDB and parses
 * nothing but its own control lines and the configuration.
 */
#pragma once

#include <signal.h>
#include <sys/types.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "conf/conf.h"
#include "sup_core.h"
#include "sup_lines.h"

#define SUP_CONNS_MAX     16
#define SUP_REQUEST_MAX   256          /* bytes of a control request */
#define SUP_FOLLOW_MAX    (256u << 10) /* bytes that wait for a slow reader, then it is cut off */
#define SUP_CONN_IDLE     (10 * NS_PER_SEC)
#define SUP_CONN_WAIT     (60 * NS_PER_SEC)
#define SUP_GATE_MAX      65536 /* log bytes held back until the banner is complete */
#define SUP_GATE_WAIT     (3 * NS_PER_SEC)
#define SUP_EXIT_TEXT_MAX 48

struct sup_proc {
    pid_t pid;            /* 0: none */
    int log_fd, ready_fd; /* -1: none */
    bool hup_due;         /* a reload came while it was starting */
    bool refused;         /* its last exit was status 1: it has said why it cannot run */
    struct sup_lines lines;
    char last_exit[SUP_EXIT_TEXT_MAX]; /* "" never, "exit 1", "signal 9 (Killed)" */
};

/* One connection of the control socket. */
struct sup_conn {
    int fd; /* -1: free */
    char request[SUP_REQUEST_MAX];
    size_t request_len;
    bool asked; /* the request has been read */
    struct strbuf out;
    size_t sent;
    bool close_after; /* when out is sent */
    int follow;       /* service whose lines it gets, -1: none */
    int wait_id;      /* its answer waits for this service, -1: none */
    bool wait_up;     /* to be up, else to be stopped */
    int64_t deadline;
};

struct sup {
    struct sup_core core;
    struct sup_proc procs[SUP_SERVICES_N];
    struct sup_conn conns[SUP_CONNS_MAX];
    struct conf *conf;
    int argc; /* what the services get: our own arguments, and -data-dir with -dev */
    char **argv;
    char *libexec; /* folder of the services' programs */
    char *tmp_dir; /* made for -dev, removed at the end; NULL: none */
    char *socket_path;
    int signal_fd, listen_fd, lock_fds[2];
    sigset_t old_mask;
    struct sup_lines own; /* the supervisor's own lines */
    struct strbuf gate;   /* log lines before the banner is complete */
    bool gate_open, announced;
    struct mono_ns started;
    unsigned long dropped; /* lines that stderr did not take */
    bool leaving, ending;
    int exit_code;
    enum log_level level;
};

/* ---- start (sup_start.c) ---- */
int sup_start(struct sup *s, struct errtext *e); /* folders, locks, socket, signals */
void sup_print_banner(const struct sup *s);
void sup_finish(struct sup *s);
void sup_notify(const char *state); /* tells systemd, when it asked */

/* ---- output (sup_output.c) ---- */
void sup_say(const char *fmt, ...) PRINTF_LIKE(1, 2); /* "==> text" on stdout */
void sup_log(struct sup *s, enum log_level level, const char *fmt, ...) PRINTF_LIKE(3, 4);
void sup_output_line(struct sup *s, const char *line, size_t len);
void sup_gate_open(struct sup *s);

/* ---- processes (sup_proc.c) ---- */
void sup_step(struct sup *s, enum sup_service_id id, enum sup_event ev);
void sup_perform(struct sup *s, const struct sup_out *out);
void sup_proc_read_log(struct sup *s, enum sup_service_id id);
void sup_proc_read_ready(struct sup *s, enum sup_service_id id);
void sup_proc_reap(struct sup *s);

/* ---- control socket (sup_control.c) ---- */
int sup_control_open(struct sup *s, struct errtext *e);
void sup_control_accept(struct sup *s);
void sup_control_event(struct sup *s, struct sup_conn *c, short revents);
void sup_control_follow(struct sup *s, int id, const char *line, size_t len);
void sup_control_settle(struct sup *s); /* answers what has been waited for */
int64_t sup_control_deadline(const struct sup *s);
void sup_control_close(struct sup *s);

/* ---- loop (sup_loop.c) ---- */
int sup_run(struct sup *s);
