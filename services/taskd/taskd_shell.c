/* SPDX-License-Identifier: MPL-2.0 */
/*
 * One poll(2) over: the death of children (signalfd), the socket for clientd and up to CLIENTS_MAX
 * connections, the task's two output pipes, and the pipe that tells whether exec worked. It never
 * waits for anything else: not for the task, not for clientd.
 */
#include "taskd_shell.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "task/cgroup.h"
#include "task/task_spec.h"
#include "taskd_child.h"
#include "taskd_core.h"
#include "taskd_logs.h"
#include "taskd_tree.h"

#define LINK_FD        3 /* from clientd: a connection that is there already */
#define LOCK_FD        4 /* from clientd: `lock`, held */
#define CLIENTS_MAX    8
#define PUMPS_PER_TURN 16   /* buffers of output between two looks at the rest */
#define DRAIN_MAX      4096 /* buffers of output read after the end */

enum {
    FD_SIGNAL,
    FD_LISTEN,
    FD_EXEC,
    FD_OUT,
    FD_ERR,
    FD_CLIENTS,
    FD_COUNT = FD_CLIENTS + CLIENTS_MAX
};

struct taskd {
    struct taskd_core core;
    struct task_spec spec;
    struct task_status status;
    struct cgroup_host host;
    struct taskd_log logs[2];
    int signals, listener, exec_pipe;
    int clients[CLIENTS_MAX]; /* -1 = free */
    pid_t init;               /* of the pid namespace; 0 = none */
    bool leaving;             /* told to stop: quits with the task */
    bool quit;
};

/* ---- telling ---- */

/* `state` is for a clientd that finds no taskd any more: what was the last that it would have said?
 */
static void write_state(const char *line)
{
    int fd = open("state.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t n = strlen(line);

    if (fd < 0)
        return;
    if (write(fd, line, n) == (ssize_t)n)
        (void)rename("state.tmp", "state");
    close(fd);
}

static void drop_client(struct taskd *t, int i)
{
    close(t->clients[i]);
    t->clients[i] = -1;
}

static void tell(struct taskd *t, int i, const char *line)
{
    if (send(t->clients[i], line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        drop_client(t, i);
}

static void report(struct taskd *t)
{
    char line[TASK_MESSAGE_MAX];

    t->status.dropped = t->logs[0].dropped + t->logs[1].dropped;
    t->status.killing = t->core.kill_at != 0;
    task_status_encode(&t->status, line);
    write_state(line);
    for (int i = 0; i < CLIENTS_MAX; i++)
        if (t->clients[i] >= 0)
            tell(t, i, line);
}

static void add_client(struct taskd *t, int fd)
{
    char line[TASK_MESSAGE_MAX];

    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (t->clients[i] < 0) {
            t->clients[i] = fd;
            t->status.killing = t->core.kill_at != 0;
            task_status_encode(&t->status, line);
            tell(t, i, line);
            return;
        }
    }
    close(fd);
}

/* ---- doing ---- */

static void finish_output(struct taskd *t)
{
    for (int i = 0; i < 2; i++)
        for (int n = 0; n < DRAIN_MAX && taskd_log_pump(&t->logs[i]); n++)
            ;
}

static void done(struct taskd *t)
{
    finish_output(t);
    if (t->spec.cgroup[0]) {
        t->status.oom = t->status.oom || cgroup_oom(&t->host, t->spec.cgroup);
        (void)cgroup_remove_tree(&t->host, t->spec.cgroup);
    }
    if (t->status.phase != TASK_FAILED)
        t->status.phase = TASK_EXITED;
    if (t->status.ended_ns == 0)
        t->status.ended_ns = clock_wall().ns;
}

/* As their subreaper it has children as long as there is anything below it. */
static bool has_children(void)
{
    siginfo_t info;

    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* By the group, which is quick; the search in /proc is for those that left it, or when there is
 * none. */
static void kill_all(struct taskd *t)
{
    int seen = t->spec.cgroup[0] ? cgroup_kill(&t->host, t->spec.cgroup) : 0;

    if (t->init > 0)
        (void)kill(t->init, SIGKILL);
    if (seen <= 0 && has_children())
        (void)taskd_tree_kill(getpid());
}

static void step(struct taskd *t, enum taskd_event_type type, int sig, int64_t timeout_ns)
{
    struct taskd_event ev = {type, clock_mono(), sig, timeout_ns};
    struct taskd_out out;

    taskd_step(&t->core, &ev, &out);
    if (out.signal && t->status.pid > 0)
        (void)kill((pid_t)t->status.pid, out.signal);
    if (out.kill_all)
        kill_all(t);
    if (out.report) {
        if (t->core.state == TASKD_DONE)
            done(t);
        else
            t->status.phase = TASK_RUNNING;
        report(t);
    }
    t->quit = t->quit || out.quit || (t->leaving && t->core.state == TASKD_DONE);
}

static void fail(struct taskd *t, const char *text)
{
    (void)snprintf(t->status.error, sizeof(t->status.error), "%.390s", text);
    t->status.phase = TASK_FAILED;
    step(t, TASKD_EV_FAILED, 0, 0);
}

/* ---- children ---- */

static void reap(struct taskd *t)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == t->init)
            t->init = 0;
        if (pid != (pid_t)t->status.pid || t->core.state == TASKD_ENDING)
            continue;
        t->status.ended_ns = clock_wall().ns;
        t->status.code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
        t->status.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        if (t->core.state == TASKD_RUNNING)
            step(t, TASKD_EV_EXITED, 0, 0);
    }
    if (pid < 0 && errno == ECHILD && t->core.state == TASKD_ENDING &&
        (!t->spec.cgroup[0] || cgroup_pids(&t->host, t->spec.cgroup, NULL, 0) <= 0))
        step(t, TASKD_EV_GONE, 0, 0);
}

static void on_signal(struct taskd *t)
{
    struct signalfd_siginfo info;
    bool stop = false;

    while (read(t->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
        stop = stop || info.ssi_signo != SIGCHLD;
    if (stop) { /* somebody ends taskd: its task must not outlive it */
        t->leaving = true;
        step(t, TASKD_EV_KILL, SIGKILL, 0);
    }
}

/* EOF: exec worked. Text: why it did not. */
static void on_exec(struct taskd *t)
{
    char text[320];
    ssize_t n = read(t->exec_pipe, text, sizeof(text) - 1);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    close(t->exec_pipe);
    t->exec_pipe = -1;
    if (n > 0) {
        text[n] = 0;
        fail(t, text);
        return;
    }
    t->status.started_ns = clock_wall().ns;
    step(t, TASKD_EV_STARTED, 0, 0);
    if (t->status.ended_ns) /* it was so short that its end was seen first */
        step(t, TASKD_EV_EXITED, 0, 0);
}

static pid_t fork_child(struct taskd *t, struct taskd_child *c, bool init)
{
    pid_t pid = fork();

    if (pid == 0) {
        if (init)
            taskd_child_init(c);
        taskd_child_run(c);
    }
    if (pid < 0)
        (void)snprintf(t->status.error, sizeof(t->status.error), "fork: %s", strerror(errno));
    return pid;
}

static int open_logs(struct taskd *t, struct errtext *e)
{
    const char *paths[2] = {t->spec.stdout_path, t->spec.stderr_path};
    char name[320];
    int r = 0;

    for (int i = 0; i < 2 && r == 0; i++) {
        t->logs[i] = (struct taskd_log){.in = -1,
                                        .dir = -1,
                                        .out = -1,
                                        .max_files = t->spec.log_max_files,
                                        .max_bytes = t->spec.log_max_bytes};
        (void)snprintf(name, sizeof(name), "%.300s.%s", t->spec.log_name, i ? "stderr" : "stdout");
        if (paths[i][0])
            r = taskd_log_open_path(&t->logs[i], paths[i], e);
        else
            r = taskd_log_open(&t->logs[i], t->spec.log_dir, name, e);
    }
    return r;
}

static int make_group(struct taskd *t, struct errtext *e)
{
    struct cgroup_limits limits = {t->spec.memory_max, t->spec.memory_soft, t->spec.cpu_shares,
                                   t->spec.pids_max};

    if (!t->spec.cgroup[0])
        return 0;
    cgroup_detect(&t->host);
    return cgroup_create(&t->host, t->spec.cgroup, t->spec.limits ? &limits : NULL, e);
}

static int start(struct taskd *t, struct errtext *e)
{
    struct taskd_child c = {.spec = &t->spec, .host = &t->host, .parent = getpid()};
    int out[2], err[2], exec_pipe[2], r;

    r = open_logs(t, e);
    if (r == 0)
        r = make_group(t, e);
    if (r < 0)
        return r;
    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 || pipe2(exec_pipe, O_CLOEXEC) < 0)
        return err_set(e, -errno, "cannot make a pipe for its output: %s", strerror(errno));
    c.out = out[1];
    c.err = err[1];
    c.report = exec_pipe[1];
    if (t->spec.isolate) {
        if (unshare(CLONE_NEWPID) < 0)
            return err_set(e, -errno, "cannot make a pid namespace: %s", strerror(errno));
        t->init = fork_child(t, &c, true);
        if (t->init < 0)
            return err_set(e, -EAGAIN, "%s", t->status.error);
    }
    t->status.pid = fork_child(t, &c, false);
    close(out[1]);
    close(err[1]);
    close(exec_pipe[1]);
    t->exec_pipe = exec_pipe[0];
    t->logs[0].in = out[0];
    t->logs[1].in = err[0];
    (void)fcntl(out[0], F_SETFL, O_NONBLOCK);
    (void)fcntl(err[0], F_SETFL, O_NONBLOCK);
    (void)fcntl(exec_pipe[0], F_SETFL, O_NONBLOCK);
    return t->status.pid < 0 ? err_set(e, -EAGAIN, "%s", t->status.error) : 0;
}

/* ---- the loop ---- */

static void on_message(struct taskd *t, int i)
{
    char text[TASK_MESSAGE_MAX];
    ssize_t n = recv(t->clients[i], text, sizeof(text) - 1, MSG_DONTWAIT);
    long sig = 0;
    long long ms = 0;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        drop_client(t, i);
        return;
    }
    text[n] = 0;
    if (sscanf(text, "kill %ld %lld", &sig, &ms) == 2 && sig >= 0 && sig < NSIG)
        step(t, TASKD_EV_KILL, (int)sig, MIN(MAX(ms, 0LL), 1000000000LL) * NS_PER_MS);
    else if (sscanf(text, "signal %ld", &sig) == 1 && sig > 0 && sig < NSIG)
        step(t, TASKD_EV_SIGNAL, (int)sig, 0);
    else if (strcmp(text, "bye") == 0)
        step(t, TASKD_EV_BYE, 0, 0);
}

static int turn(struct taskd *t)
{
    struct pollfd fds[FD_COUNT] = {
        [FD_SIGNAL] = {t->signals, POLLIN, 0}, [FD_LISTEN] = {t->listener, POLLIN, 0},
        [FD_EXEC] = {t->exec_pipe, POLLIN, 0}, [FD_OUT] = {t->logs[0].in, POLLIN, 0},
        [FD_ERR] = {t->logs[1].in, POLLIN, 0},
    };
    int64_t wait = taskd_wait_ns(&t->core, clock_mono());
    struct timespec ts = {wait / NS_PER_SEC, wait % NS_PER_SEC};
    int fd;

    for (int i = 0; i < CLIENTS_MAX; i++)
        fds[FD_CLIENTS + i] = (struct pollfd){t->clients[i], POLLIN, 0};
    if (ppoll(fds, FD_COUNT, wait < 0 ? NULL : &ts, NULL) < 0 && errno != EINTR)
        return -errno;
    if (fds[FD_EXEC].revents)
        on_exec(t);
    if (fds[FD_SIGNAL].revents)
        on_signal(t);
    for (int i = 0; i < 2; i++)
        for (int n = 0; fds[FD_OUT + i].revents && n < PUMPS_PER_TURN; n++)
            if (!taskd_log_pump(&t->logs[i]))
                break;
    if (fds[FD_LISTEN].revents) {
        fd = accept4(t->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            add_client(t, fd);
    }
    for (int i = 0; i < CLIENTS_MAX; i++)
        if (fds[FD_CLIENTS + i].revents && t->clients[i] >= 0)
            on_message(t, i);
    reap(t);
    step(t, TASKD_EV_TICK, 0, 0);
    return 0;
}

/* ---- beginning ---- */

/* What clientd gave: a held lock, and a connection. Started by hand there is neither. */
static int take_given(struct taskd *t)
{
    struct stat st;
    int fd = LOCK_FD;

    if (fstat(LINK_FD, &st) == 0 && S_ISSOCK(st.st_mode)) {
        t->clients[0] = LINK_FD;
        (void)fcntl(LINK_FD, F_SETFD, FD_CLOEXEC);
        (void)fcntl(LINK_FD, F_SETFL, O_NONBLOCK);
    }
    if (fcntl(LOCK_FD, F_GETFD) < 0) {
        fd = open("lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || (fd != LOCK_FD && dup3(fd, LOCK_FD, O_CLOEXEC) < 0))
            return -errno;
        if (fd != LOCK_FD)
            close(fd);
    }
    if (flock(LOCK_FD, LOCK_EX | LOCK_NB) < 0)
        return -errno;
    return fcntl(LOCK_FD, F_SETFD, FD_CLOEXEC);
}

static int listen_here(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = TASK_SOCKET};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    (void)unlink(TASK_SOCKET);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        listen(fd, CLIENTS_MAX) < 0)
        return -errno;
    return fd;
}

static int load(struct task_spec *spec, struct errtext *e)
{
    struct strbuf text = STRBUF_BOUND(TASK_SPEC_MAX);
    int fd = open("spec", O_RDONLY | O_CLOEXEC), r = fd < 0 ? -errno : 0;
    ssize_t n = 0;

    while (fd >= 0) {
        char *p = strbuf_reserve(&text, 4096);

        n = p ? read(fd, p, 4096) : -1;
        if (n <= 0)
            break;
        text.len += (size_t)n;
    }
    if (fd >= 0)
        close(fd);
    if (r == 0)
        r = n < 0 ? -EIO : task_spec_decode(text.data ? text.data : "", text.len, spec, e);
    strbuf_fini(&text);
    return r < 0 && !e->text[0] ? err_set(e, r, "cannot read its description: %s", strerror(-r))
                                : r;
}

static void set_up_process(struct taskd *t)
{
    sigset_t set;
    int fd;

    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_SETMASK, &set, NULL);
    t->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    (void)umask(022);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) { /* whoever eats the memory, it is not this process */
        (void)!write(fd, "-900", 4);
        close(fd);
    }
}

int taskd_main(const char *folder)
{
    static struct taskd t;
    struct errtext e = {{0}};

    for (int i = 0; i < CLIENTS_MAX; i++)
        t.clients[i] = -1;
    t.exec_pipe = t.logs[0].in = t.logs[1].in = t.listener = -1;
    if (chdir(folder) < 0 || take_given(&t) < 0)
        return 1;
    (void)close_range(LOCK_FD + 1, ~0U, 0);
    set_up_process(&t);
    t.status.taskd = getpid();
    t.listener = listen_here();
    if (load(&t.spec, &e) < 0 || t.listener < 0 || start(&t, &e) < 0) {
        t.status.retry = true; /* the machine's fault, not the task's */
        fail(&t, e.text[0] ? e.text : "cannot listen in its folder");
    } else {
        report(&t);
    }
    while (!t.quit)
        if (turn(&t) < 0)
            return 1;
    (void)unlink(TASK_SOCKET);
    return 0;
}
