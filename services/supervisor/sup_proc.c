/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Processes: the core's effects done, exits and pipes turned into its events.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sup.h"

#define READY_FD      3 /* in the service; all else of ours is closed there */
#define READ_CHUNK    4096
#define READ_PER_TURN 16 /* chunks of one service in one turn of the loop: a flood must wait */
#define DRAIN_MAX     64 /* chunks taken from a pipe whose writer has ended */

/* ---- in the child ---- */

static void child_fail(const char *what, const char *path)
{
    char text[512];
    int n = snprintf(text, sizeof(text), "cannot %s %s: %s\n", what, path, strerror(errno));

    if (n > 0 && write(STDERR_FILENO, text, MIN((size_t)n, sizeof(text) - 1)) < 0)
        _exit(126);
    _exit(127);
}

static void child_main(struct sup *s, const struct sup_service *service, int log_fd, int ready_fd,
                       pid_t parent)
{
    char *path = xasprintf("%s/%s", s->libexec, service->name);
    char **argv = xcalloc((size_t)s->argc + 1, sizeof(*argv));
    char number[16];
    int null;

    /* A group of its own: Ctrl-C at the terminal is for us alone, services stop in their order. */
    (void)setpgid(0, 0);
    for (int sig = 1; sig < NSIG; sig++) /* whoever started us may ignore some: nohup does */
        (void)signal(sig, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
    null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(log_fd, STDOUT_FILENO) < 0 ||
        dup2(log_fd, STDERR_FILENO) < 0)
        _exit(126);
    if (ready_fd == READY_FD ? fcntl(ready_fd, F_SETFD, 0) < 0 : dup2(ready_fd, READY_FD) < 0)
        child_fail("prepare", path);
    (void)snprintf(number, sizeof(number), "%d", READY_FD);
    (void)setenv("STEPPE_READY_FD", number, 1);
    (void)unsetenv("NOTIFY_SOCKET"); /* ours */
    /* Survives the exec: without supervisor no service. */
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
        _exit(126);
    memcpy(argv, s->argv, (size_t)s->argc * sizeof(*argv));
    argv[0] = path;
    (void)execv(path, argv);
    child_fail("start", path);
}

/* ---- starting ---- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int spawn(struct sup *s, enum sup_service_id id)
{
    struct sup_proc *p = &s->procs[id];
    int log[2] = {-1, -1}, ready[2] = {-1, -1}, r;
    pid_t parent = getpid(), pid;

    assert(p->pid == 0 && p->log_fd < 0 && p->ready_fd < 0);
    if (pipe2(log, O_CLOEXEC) < 0 || pipe2(ready, O_CLOEXEC) < 0)
        goto fail;
    if (fcntl(log[0], F_SETFL, O_NONBLOCK) < 0 || fcntl(ready[0], F_SETFL, O_NONBLOCK) < 0)
        goto fail;
    pid = fork();
    if (pid < 0)
        goto fail;
    if (pid == 0)
        child_main(s, &sup_services[id], log[1], ready[1], parent);
    close(log[1]);
    close(ready[1]);
    p->pid = pid;
    p->log_fd = log[0];
    p->ready_fd = ready[0];
    p->hup_due = false;
    sup_log(s, LOG_DEBUG, "starting service=%s pid=%d", sup_services[id].name, (int)pid);
    return 0;
fail:
    r = -errno;
    close_fd(&log[0]);
    close_fd(&log[1]);
    close_fd(&ready[0]);
    close_fd(&ready[1]);
    (void)snprintf(p->last_exit, sizeof(p->last_exit), "not started");
    sup_log(s, LOG_ERROR, "cannot start service=%s error=\"%s\"", sup_services[id].name,
            strerror(-r));
    return r;
}

/* ---- the core's effects ---- */

static void send_signal(struct sup *s, enum sup_service_id id, int sig)
{
    if (s->procs[id].pid > 0 && kill(s->procs[id].pid, sig) < 0 && errno != ESRCH)
        sup_log(s, LOG_WARN, "cannot signal service=%s error=\"%s\"", sup_services[id].name,
                strerror(errno));
}

static void report_death(struct sup *s, enum sup_service_id id)
{
    const struct sup_unit *u = &s->core.units[id];
    bool bad = u->failures >= SUP_FAILURES_BAD;
    char delay[DURATION_TEXT_MAX];

    sup_log(s, bad ? LOG_ERROR : LOG_WARN,
            "service %s%s service=%s last=\"%s\" failures=%u next_try=%s",
            u->died_up ? "died" : "failed to start", bad ? ", again and again" : "",
            sup_services[id].name, s->procs[id].last_exit, u->failures,
            duration_format(u->delay, delay));
    sup_gate_open(s);
}

static void perform_one(struct sup *s, const struct sup_effect *ef)
{
    const struct sup_unit *u = &s->core.units[ef->id];

    switch (ef->kind) {
    case SUP_DO_SPAWN:
        if (spawn(s, ef->id) < 0)
            sup_step(s, ef->id, SUP_EV_EXIT);
        return;
    case SUP_DO_TERM:
        /* One that is still starting has no handler for SIGUSR2 yet. */
        send_signal(s, ef->id, s->leaving && u->warm ? SIGUSR2 : SIGTERM);
        return;
    case SUP_DO_KILL:
        sup_log(s, LOG_ERROR, "killing service=%s reason=\"%s\"", sup_services[ef->id].name,
                u->again && !u->asked ? "not ready in time" : "did not stop in time");
        send_signal(s, ef->id, SIGKILL);
        return;
    case SUP_DO_REPORT:
        report_death(s, ef->id);
        return;
    }
}

void sup_perform(struct sup *s, const struct sup_out *out)
{
    for (size_t i = 0; i < out->n; i++)
        perform_one(s, &out->effects[i]);
}

void sup_step(struct sup *s, enum sup_service_id id, enum sup_event ev)
{
    struct sup_out out = {.n = 0};

    sup_core_step(&s->core, id, ev, clock_mono(), &out);
    sup_perform(s, &out);
}

/* ---- pipes ---- */

struct line_ctx {
    struct sup *s;
    enum sup_service_id id;
};

static void on_line(void *user, const char *line, size_t len)
{
    struct line_ctx *x = user;

    sup_output_line(x->s, line, len);
    sup_control_follow(x->s, (int)x->id, line, len);
}

/* Reads up to `chunks`; true when there may be more. */
static bool read_some(struct sup *s, enum sup_service_id id, unsigned chunks)
{
    struct line_ctx x = {s, id};
    struct sup_proc *p = &s->procs[id];

    while (chunks-- > 0 && p->log_fd >= 0) {
        char buf[READ_CHUNK];
        ssize_t n = read(p->log_fd, buf, sizeof(buf));

        if (n > 0) {
            sup_lines_feed(&p->lines, buf, (size_t)n, on_line, &x);
            continue;
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            close_fd(&p->log_fd);
        return false;
    }
    return p->log_fd >= 0;
}

void sup_proc_read_log(struct sup *s, enum sup_service_id id)
{
    (void)read_some(s, id, READ_PER_TURN);
}

void sup_proc_read_ready(struct sup *s, enum sup_service_id id)
{
    struct sup_proc *p = &s->procs[id];
    char buf[64];
    ssize_t n = read(p->ready_fd, buf, sizeof(buf));

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    close_fd(&p->ready_fd);
    if (n < 5 || memcmp(buf, "READY", 5) != 0)
        return;
    if (s->core.units[id].state == SUP_STARTING && p->hup_due)
        send_signal(s, id, SIGHUP);
    p->hup_due = false;
    sup_step(s, id, SUP_EV_READY);
}

/* ---- exits ---- */

static void describe_exit(int status, char out[static SUP_EXIT_TEXT_MAX])
{
    if (WIFSIGNALED(status))
        (void)snprintf(out, SUP_EXIT_TEXT_MAX, "signal %d (%.24s)", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    else
        (void)snprintf(out, SUP_EXIT_TEXT_MAX, "exit %d", WEXITSTATUS(status));
}

static void on_exit_of(struct sup *s, enum sup_service_id id, int status)
{
    struct sup_proc *p = &s->procs[id];
    struct line_ctx x = {s, id};

    describe_exit(status, p->last_exit);
    p->refused = WIFEXITED(status) && WEXITSTATUS(status) == 1;
    if (p->ready_fd >= 0)
        sup_proc_read_ready(s, id); /* it may have been ready for a moment */
    (void)read_some(s, id, DRAIN_MAX);
    sup_lines_end(&p->lines, on_line, &x);
    close_fd(&p->log_fd);
    close_fd(&p->ready_fd);
    p->pid = 0;
    sup_log(s, LOG_DEBUG, "ended service=%s last=\"%s\"", sup_services[id].name, p->last_exit);
    sup_step(s, id, SUP_EV_EXIT);
}

void sup_proc_reap(struct sup *s)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (size_t i = 0; i < SUP_SERVICES_N; i++) {
            if (s->procs[i].pid == pid) {
                on_exit_of(s, (enum sup_service_id)i, status);
                break;
            }
        }
    }
}
