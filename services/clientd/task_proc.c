/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The link to a taskd is a SEQPACKET socket: one end of a pair when we started it, a connection to
 * its folder's socket when we found it. When it breaks without a last word, the holder is dead:
 * then its `state` file may hold the word, otherwise what is left of the task is killed, and its
 * end told when nothing is left: the next run never meets the one before.
 */
#include "task_proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "task_left.h"

#define SIGNAL_BASE      128 /* exit code of what a signal ended: this and its number, as Nomad says */
#define LOCK_FD_IN_CHILD 4
#define CONNECT_STEP_MS  50
#define CONNECT_TRIES    200 /* a taskd that lives but does not listen for 10 s is broken */
#define LEFT_STEP_MS     20
#define LEFT_TRIES       1500 /* 30 s: what the kernel does not let die is given up, as taskd does */

struct proc {
    uv_loop_t *loop;
    const struct cgroup_host *cgroups;
    driver_event_fn *fn;
    void *user;
    char *folder, *group, *alloc_id, *task;
    int fd; /* -1 = not connected */
    unsigned tries, left_tries;
    struct task_status status; /* the last heard */
    bool told_started, ended;
    bool attached;   /* found, not started */
    bool kill_waits; /* for a taskd to be found: what it is */
    int kill_signal;
    int64_t kill_timeout_ns;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned open_handles;
    bool poll_open, closing;
    struct driver_usage sample;
};

static struct proc *proc_of(struct driver_task *t)
{
    return (struct proc *)(void *)t;
}

static void hang_up(struct proc *p);

/* ---- events ---- */

static void end(struct proc *p, const struct driver_event *ev)
{
    if (p->ended)
        return;
    p->ended = true;
    p->fn(p->user, ev);
}

static void kill_left(uv_timer_t *timer)
{
    struct proc *p = timer->data;
    struct driver_event ev = {.type = DRIVER_EXITED,
                              .text = "the process that held the task (taskd) was killed",
                              .code = SIGNAL_BASE + SIGKILL,
                              .signal = SIGKILL,
                              .ran = p->status.started_ns != 0,
                              .at_ns = p->status.started_ns};

    if (task_left_kill(p->cgroups, p->group, p->alloc_id, p->task) > 0 &&
        p->left_tries++ < LEFT_TRIES) {
        uv_timer_start(timer, kill_left, LEFT_STEP_MS, 0);
        return;
    }
    if (p->group[0])
        (void)cgroup_remove_tree(p->cgroups, p->group);
    end(p, &ev);
}

static void lost(struct proc *p)
{
    uv_timer_start(&p->timer, kill_left, 0, 0);
}

static void send_kill(struct proc *p);

static void heard(struct proc *p, const struct task_status *s)
{
    struct driver_event ev = {.at_ns = s->started_ns};

    p->status = *s;
    if (p->kill_waits && !s->killing)
        send_kill(p);
    p->kill_waits = false;
    switch (s->phase) {
    case TASK_STARTING:
        return;
    case TASK_RUNNING:
        if (p->told_started)
            return;
        p->told_started = true;
        ev.type = DRIVER_STARTED;
        p->fn(p->user, &ev);
        return;
    case TASK_FAILED:
        ev.type = DRIVER_FAILED;
        ev.text = s->error;
        ev.retry = s->retry;
        break;
    case TASK_EXITED:
        ev.type = DRIVER_EXITED;
        ev.text = s->oom ? "OOM Killed" : "";
        ev.code = (int)(s->signal ? SIGNAL_BASE + s->signal : s->code);
        ev.signal = (int)s->signal;
        ev.oom = s->oom;
        ev.ran = true;
        break;
    }
    end(p, &ev);
}

/* The last words of a taskd that is gone. */
static bool read_state(struct proc *p)
{
    _cleanup_(freep) char *path = xasprintf("%s/state", p->folder);
    char line[TASK_MESSAGE_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
    struct task_status s;

    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return false;
    line[n] = 0;
    if (task_status_decode(line, &s) < 0)
        return false;
    p->status = s;
    if (s.phase != TASK_EXITED && s.phase != TASK_FAILED)
        return false;
    heard(p, &s);
    return true;
}

static void gone(struct proc *p)
{
    hang_up(p);
    if (!p->ended && !read_state(p))
        lost(p);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct proc *p = poll->data;
    char line[TASK_MESSAGE_MAX];
    struct task_status s;

    for (int i = 0; i < 16 && p->fd >= 0 && !p->closing; i++) {
        ssize_t n = recv(p->fd, line, sizeof(line) - 1, MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            gone(p);
            return;
        }
        line[n] = 0;
        if (task_status_decode(line, &s) == 0)
            heard(p, &s);
    }
}

/* ---- the link ---- */

static void free_if_closed(struct proc *p)
{
    if (p->open_handles > 0 || !p->closing)
        return;
    if (p->fd >= 0)
        close(p->fd);
    free(p->folder);
    free(p->group);
    free(p->alloc_id);
    free(p->task);
    free(p);
}

static void on_closed(uv_handle_t *h)
{
    struct proc *p = h->data;

    p->open_handles--;
    free_if_closed(p);
}

static void hang_up(struct proc *p)
{
    if (!p->poll_open)
        return;
    p->poll_open = false;
    (void)uv_poll_stop(&p->poll);
    uv_close((uv_handle_t *)&p->poll, on_closed);
    close(p->fd);
    p->fd = -1;
}

static void hold_link(struct proc *p, int fd)
{
    p->fd = fd;
    if (uv_poll_init(p->loop, &p->poll, fd) < 0)
        abort(); /* a socket of ours, not yet watched */
    p->poll.data = p;
    p->open_handles++;
    p->poll_open = true;
    (void)uv_poll_start(&p->poll, UV_READABLE, on_readable);
}

static void say(struct proc *p, const char *text)
{
    if (p->fd >= 0)
        (void)send(p->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static struct proc *new_proc(const struct driver *d, const struct driver_request *rq)
{
    struct proc *p = xcalloc(1, sizeof(*p));

    p->loop = rq->ctx->loop;
    p->cgroups = rq->ctx->cgroups;
    p->fn = rq->fn;
    p->user = rq->user;
    p->folder = xstrdup(rq->folder);
    p->group = driver_group(d, rq);
    p->alloc_id = xstrdup(rq->alloc->id);
    p->task = xstrdup(rq->task->name);
    p->fd = -1;
    uv_timer_init(p->loop, &p->timer);
    p->timer.data = p;
    p->open_handles = 1;
    return p;
}

static void close_proc(struct proc *p)
{
    hang_up(p);
    p->closing = true;
    uv_close((uv_handle_t *)&p->timer, on_closed);
}

/* ---- starting ---- */

static int write_spec(const char *folder, const struct task_spec *spec)
{
    _cleanup_(strbuf_fini) struct strbuf text = STRBUF_BOUND(TASK_SPEC_MAX);
    _cleanup_(freep) char *path = xasprintf("%s/spec", folder);
    int r = task_spec_encode(spec, &text);

    return r < 0 ? r : file_replace(path, text.data, text.len, 0600, false);
}

/* The lock's file, -EWOULDBLOCK while a taskd holds it. */
static int open_lock(const char *folder, bool make)
{
    _cleanup_(freep) char *path = xasprintf("%s/lock", folder);
    int fd = open(path, O_RDWR | (make ? O_CREAT : 0) | O_CLOEXEC, 0600), r;

    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

void task_proc_child_closed(uv_handle_t *h)
{
    free(h);
}

static void on_child_exit(uv_process_t *child, int64_t status, int sig)
{
    uv_close((uv_handle_t *)child,
             task_proc_child_closed); /* its link has said what there is to say */
}

/* Gives it the link as 3 and the lock as 4. */
static int spawn(const struct driver_request *rq, int link, int lock)
{
    char *argv[] = {rq->ctx->taskd, (char *)rq->folder, NULL};
    uv_stdio_container_t stdio[LOCK_FD_IN_CHILD + 1] = {
        {.flags = UV_IGNORE},
        {.flags = UV_IGNORE},
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = link},
        {.flags = UV_INHERIT_FD, .data.fd = lock},
    };
    char *no_env[] = {NULL}; /* what the task gets is in its spec */
    uv_process_options_t o = {.file = rq->ctx->taskd,
                              .env = no_env,
                              .args = argv,
                              .flags = UV_PROCESS_DETACHED,
                              .stdio = stdio,
                              .stdio_count = LOCK_FD_IN_CHILD + 1,
                              .exit_cb = on_child_exit};
    uv_process_t *child = xcalloc(1, sizeof(*child));
    int r = uv_spawn(rq->ctx->loop, child, &o);

    if (r < 0)
        uv_close((uv_handle_t *)child, task_proc_child_closed);
    else
        uv_unref((uv_handle_t *)child);
    return r;
}

static int prepare(const struct driver_request *rq, const struct task_spec *spec, int *ret_lock,
                   struct errtext *e)
{
    int r = file_make_folders(rq->folder, 0700, 0700);

    if (r == 0)
        r = write_spec(rq->folder, spec);
    if (r < 0)
        return err_set(e, r, "cannot write %s/spec: %s", rq->folder, strerror(-r));
    r = open_lock(rq->folder, true);
    if (r < 0)
        return err_set(e, r, "cannot lock %s: %s", rq->folder, strerror(-r));
    *ret_lock = r;
    return 0;
}

int task_proc_start(const struct driver *d, const struct driver_request *rq, struct task_spec *spec,
                    struct driver_task **ret, struct errtext *e)
{
    int pair[2], lock = -1, r = prepare(rq, spec, &lock, e);
    struct proc *p;

    task_spec_fini(spec);
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        r = -errno;
        close(lock);
        return err_set(e, r, "cannot make a socket for its taskd: %s", strerror(-r));
    }
    r = spawn(rq, pair[1], lock);
    close(pair[1]);
    close(lock);
    if (r < 0) {
        close(pair[0]);
        return err_set(e, r, "cannot start %s: %s", rq->ctx->taskd, uv_strerror(r));
    }
    p = new_proc(d, rq);
    hold_link(p, pair[0]);
    *ret = (struct driver_task *)(void *)p;
    return 0;
}

/* ---- finding again ---- */

/* A socket's path has 107 bytes; the way by the folder's descriptor is always short. */
static int connect_to(const char *folder)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd, r = 0;

    if (dir < 0)
        return -errno;
    (void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/%s", dir, TASK_SOCKET);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        r = -errno;
    close(dir);
    if (r < 0 && fd >= 0)
        close(fd);
    return r < 0 ? r : fd;
}

/* Nobody holds the lock. taskd writes `state` as soon as there may be a process: without one, and
 * with nothing left of it, the run was not begun. */
static void found_nobody(struct proc *p)
{
    struct driver_event ev = {.type = DRIVER_UNBEGUN};
    _cleanup_(freep) char *state = xasprintf("%s/state", p->folder);

    if (read_state(p))
        return;
    if (!p->told_started && access(state, F_OK) < 0 && errno == ENOENT &&
        task_left_kill(p->cgroups, p->group, p->alloc_id, p->task) <= 0)
        end(p, &ev);
    else
        lost(p);
}

static void try_attach(uv_timer_t *timer)
{
    struct proc *p = timer->data;
    int lock = open_lock(p->folder, false), fd;

    if (lock != -EWOULDBLOCK) { /* nobody holds it */
        found_nobody(p);
        if (lock >= 0)
            close(lock);
        return;
    }
    fd = connect_to(p->folder);
    if (fd >= 0) {
        hold_link(p, fd);
    } else if (++p->tries > CONNECT_TRIES) {
        log_warn("a task does not answer: killing it folder=%s", p->folder);
        task_proc_force((struct driver_task *)(void *)p);
    } else {
        uv_timer_start(&p->timer, try_attach, CONNECT_STEP_MS, 0);
    }
}

int task_proc_attach(const struct driver *d, const struct driver_request *rq,
                     struct driver_task **ret, struct errtext *e)
{
    struct proc *p = new_proc(d, rq);

    p->attached = true;
    p->told_started = rq->running;
    uv_timer_start(&p->timer, try_attach, 0, 0);
    *ret = (struct driver_task *)(void *)p;
    return 0;
}

/* ---- the rest ---- */

void task_proc_signal(struct driver_task *t, int sig)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "signal %d", sig);
    say(proc_of(t), text);
}

static void send_kill(struct proc *p)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "kill %d %lld", p->kill_signal,
                   (long long)(p->kill_timeout_ns / NS_PER_MS));
    say(p, text);
}

void task_proc_kill(struct driver_task *t, int sig, int64_t timeout_ns)
{
    struct proc *p = proc_of(t);

    p->kill_signal = sig;
    p->kill_timeout_ns = timeout_ns;
    if (p->fd >= 0 && (!p->attached || p->status.taskd))
        send_kill(p);
    else
        p->kill_waits = true;
}

static void on_forced(uv_timer_t *timer)
{
    struct proc *p = timer->data;

    hang_up(p);
    lost(p);
}

void task_proc_force(struct driver_task *t)
{
    struct proc *p = proc_of(t);
    int lock = open_lock(p->folder, false); /* held: it lives, the number is still its own */

    if (lock >= 0)
        close(lock);
    if (p->status.taskd == 0)
        (void)read_state(p);
    if (p->status.taskd > 1 && lock == -EWOULDBLOCK)
        (void)kill((pid_t)p->status.taskd, SIGKILL);
    uv_timer_start(&p->timer, on_forced, 0, 0);
}

void task_proc_release(struct driver_task *t)
{
    struct proc *p = proc_of(t);
    static const char *const files[] = {"spec", "state", "state.tmp", "lock", TASK_SOCKET};

    say(p, "bye");
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", p->folder, files[i]);

        (void)unlink(path);
    }
    (void)rmdir(p->folder);
    close_proc(p);
}

void task_proc_detach(struct driver_task *t)
{
    close_proc(proc_of(t));
}

/* ---- use ---- */

static uint64_t ticks_ns(uint64_t ticks)
{
    return ticks * (uint64_t)(NS_PER_SEC / sysconf(_SC_CLK_TCK));
}

/* utime and stime are fields 14 and 15 of /proc/PID/stat, rss the 24th (in pages). */
static void add_process(pid_t pid, struct driver_usage *u)
{
    char path[64], text[1024];
    unsigned long long utime, stime;
    long long rss;
    const char *p;
    int fd;
    ssize_t n;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    p = strrchr(text, ')');
    if (!p || sscanf(p + 2,
                     "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d "
                     "%*d %*u %*u %lld",
                     &utime, &stime, &rss) != 3)
        return;
    u->cpu_user_ns += ticks_ns(utime);
    u->cpu_system_ns += ticks_ns(stime);
    u->rss += (uint64_t)MAX(rss, 0LL) * (uint64_t)sysconf(_SC_PAGESIZE);
    u->pids_n++;
}

static void read_group(const struct proc *p, struct driver_usage *u)
{
    bool v2 = p->cgroups->version == CGROUP_V2;
    char text[4096];

    if (cgroup_read(p->cgroups, CGROUP_MEMORY, p->group, "memory.stat", text, sizeof(text)) == 0) {
        u->rss = cgroup_field(text, v2 ? "anon" : "total_rss");
        u->cache = cgroup_field(text, v2 ? "file" : "total_cache");
        u->swap = cgroup_field(text, "total_swap");
        u->kernel_usage = v2 ? cgroup_field(text, "kernel_stack") + cgroup_field(text, "slab") : 0;
    }
    if (cgroup_read(p->cgroups, CGROUP_MEMORY, p->group,
                    v2 ? "memory.current" : "memory.usage_in_bytes", text, sizeof(text)) == 0)
        u->usage = strtoull(text, NULL, 10);
    if (v2 && cgroup_read(p->cgroups, CGROUP_MEMORY, p->group, "memory.swap.current", text,
                          sizeof(text)) == 0)
        u->swap = strtoull(text, NULL, 10);
    if (cgroup_read(p->cgroups, CGROUP_MEMORY, p->group,
                    v2 ? "memory.peak" : "memory.max_usage_in_bytes", text, sizeof(text)) == 0)
        u->max_usage = strtoull(text, NULL, 10);
    if (cgroup_read(p->cgroups, CGROUP_CPU, p->group, "cpu.stat", text, sizeof(text)) == 0) {
        u->throttled_periods = cgroup_field(text, "nr_throttled");
        u->throttled_ns =
            v2 ? cgroup_field(text, "throttled_usec") * 1000 : cgroup_field(text, "throttled_time");
        if (v2) {
            u->cpu_user_ns = cgroup_field(text, "user_usec") * 1000;
            u->cpu_system_ns = cgroup_field(text, "system_usec") * 1000;
        }
    }
    if (!v2 && cgroup_read(p->cgroups, CGROUP_CPUACCT, p->group, "cpuacct.stat", text,
                           sizeof(text)) == 0) {
        u->cpu_user_ns = ticks_ns(cgroup_field(text, "user"));
        u->cpu_system_ns = ticks_ns(cgroup_field(text, "system"));
    }
}

int task_proc_usage(struct driver_task *t, struct driver_usage *ret)
{
    const struct proc *p = proc_of(t);
    pid_t pids[512];
    int n = p->group[0] ? cgroup_pids(p->cgroups, p->group, pids, ARRAY_LEN(pids)) : -1;

    *ret = (struct driver_usage){0};
    if (p->status.pid <= 0)
        return -ENOTSUP;
    if (n <= 0) {
        pids[0] = (pid_t)p->status.pid;
        n = 1;
    }
    for (int i = 0; i < n && i < (int)ARRAY_LEN(pids); i++)
        add_process(pids[i], ret);
    if (p->group[0])
        read_group(p, ret);
    return 0;
}
