/* SPDX-License-Identifier: MPL-2.0 */
#include "svc/svc.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "bus/bus.h"

#define STOP_MAX_MS    10000
#define LOCK_WAIT_MS   5000 /* an earlier process of this name may be on its way out */
#define LOCK_STEP_MS   20
#define END_WAIT       (3 * NS_PER_SEC)
#define END_STEP_MS    10
#define FILES_MAX      16384
#define MALLOC_ARENAS  2
#define MALLOC_TOP_PAD (512 * 1024)      /* grows in larger steps: untouched, they cost nothing */
#define MALLOC_TRIM    (4 * 1024 * 1024) /* giving pages back stops every thread for a moment */

/* One process is one service: what svc_ready() and the signal handlers need beside the ctx. */
struct runner {
    struct svc_ctx ctx; /* first */
    const struct svc *svc;
    int argc;
    char **argv;
    struct conf *conf;
    uv_loop_t loop;
    uv_signal_t signals[4];
    uv_timer_t stop_timer;
    bool stopping, stopped, failed;
    bool ending; /* fini has begun: it may turn the loop, but no hook is called any more */
    int lock_fd;
};

static struct runner *runner_of(struct svc_ctx *ctx)
{
    return CONTAINER_OF(ctx, struct runner, ctx);
}

/* RUN_DIR/NAME.pid, locked for life: a second process must not steal our ipc sockets. */
static int take_lock(struct runner *r, struct errtext *e)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s.pid", r->conf->run_dir, r->svc->name);
    char text[32];
    int fd, n;

    n = conf_make_dirs(r->conf, e); /* a service may be started alone on a fresh machine */
    if (n < 0)
        return n;
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(e, -errno, "cannot open %s: %s", path, strerror(errno));
    for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += LOCK_STEP_MS) {
        if (errno != EWOULDBLOCK || waited >= LOCK_WAIT_MS) {
            n = (int)pread(fd, text, sizeof(text) - 1, 0);
            text[n > 0 ? n : 0] = 0;
            text[strcspn(text, "\n")] = 0;
            close(fd);
            return err_set(e, -EBUSY, "%s is already running on %s (pid %s)", r->svc->name,
                           r->conf->run_dir, text);
        }
        (void)poll(NULL, 0, LOCK_STEP_MS);
    }
    n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n) {
        n = err_set(e, -errno, "cannot write %s: %s", path, strerror(errno));
        close(fd);
        return n;
    }
    r->lock_fd = fd;
    return 0;
}

void svc_ready(struct svc_ctx *ctx)
{
    const char *fd_text = getenv("STEPPE_READY_FD");
    char *end = NULL;
    long fd = fd_text ? strtol(fd_text, &end, 10) : -1;

    log_info("ready");
    if (fd < 0 || (end && *end))
        return;
    if (write((int)fd, "READY\n", 6) != 6)
        log_warn("cannot tell the supervisor that we are ready error=%s", strerror(errno));
    close((int)fd);
    unsetenv("STEPPE_READY_FD");
}

void svc_stopped(struct svc_ctx *ctx)
{
    struct runner *r = runner_of(ctx);

    r->stopped = true;
    uv_stop(&r->loop);
}

void svc_fatal(struct svc_ctx *ctx, const char *fmt, ...)
{
    struct runner *r = runner_of(ctx);
    char text[ERRTEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (!r->failed)
        log_error("%s", text);
    r->failed = true;
    uv_stop(&r->loop);
}

static void on_stop_timeout(uv_timer_t *t)
{
    struct runner *r = t->data;

    log_warn("stop took longer than %d ms: ending now", STOP_MAX_MS);
    svc_stopped(&r->ctx);
}

static void begin_stop(struct runner *r, bool leaving)
{
    if (r->stopping || r->ending)
        return;
    r->stopping = true;
    r->ctx.leaving = leaving;
    log_info("%s", leaving ? "leaving" : "stopping");
    if (!r->svc->stop) {
        svc_stopped(&r->ctx);
        return;
    }
    uv_timer_start(&r->stop_timer, on_stop_timeout, STOP_MAX_MS, 0);
    r->svc->stop(&r->ctx);
}

static void reload(struct runner *r)
{
    struct errtext e = {{0}};
    struct conf *fresh = NULL;
    enum log_level level;

    if (r->ending)
        return;
    if (conf_load(r->argc, r->argv, &fresh, &e) != 0) {
        log_error("configuration not reloaded: %s", e.text);
        return;
    }
    if (log_level_parse(fresh->log_level, &level))
        log_set_level(level);
    if (r->svc->reload)
        r->svc->reload(&r->ctx, fresh);
    conf_free(fresh);
    log_info("configuration reloaded log_level=%s", log_level_name(log_get_level()));
}

static void on_signal(uv_signal_t *h, int signum)
{
    struct runner *r = h->data;

    switch (signum) {
    case SIGHUP:
        reload(r);
        break;
    case SIGUSR2: /* leave the cluster, then stop */
        begin_stop(r, true);
        break;
    default:
        begin_stop(r, false);
    }
}

static void watch_signals(struct runner *r)
{
    static const int wanted[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2};

    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit on files is an error of the write, not our end */
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        uv_signal_init(&r->loop, &r->signals[i]);
        r->signals[i].data = r;
        uv_signal_start(&r->signals[i], on_signal, wanted[i]); /* keeps the loop alive */
    }
    uv_timer_init(&r->loop, &r->stop_timer);
    r->stop_timer.data = r;
    uv_unref((uv_handle_t *)&r->stop_timer);
}

static int load_node_id(struct runner *r, char *id, struct errtext *e)
{
    const struct conf *c = r->conf;
    _cleanup_(freep) char *file = c->server.enabled
                                      ? xasprintf("%s/node-id", c->server.data_dir)
                                      : xasprintf("%s/client-id", c->client.state_dir);

    return conf_node_id(file, id, e);
}

static void close_handle(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

/* Shells and systemd give 1024 descriptors and let a process take more. */
static void take_files(void)
{
    struct rlimit rl;

    if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < MIN(rl.rlim_max, FILES_MAX)) {
        rl.rlim_cur = MIN(rl.rlim_max, FILES_MAX);
        if (setrlimit(RLIMIT_NOFILE, &rl) < 0)
            log_debug("limit of open files not raised error=%s", strerror(errno));
    }
}

/* From a loaded configuration to the end of the loop. */
static int run(struct runner *r, char *node_id, struct errtext *e)
{
    int err = take_lock(r, e);

    if (err == 0)
        err = load_node_id(r, node_id, e);
    if (err == 0)
        err = bus_new(&r->loop, &r->ctx.bus);
    if (err < 0)
        return err;
    r->ctx.loop = &r->loop;
    r->ctx.conf = r->conf;
    r->ctx.node_id = node_id;
    watch_signals(r);
    if (r->svc->many_files)
        take_files();
    if (r->svc->batch && sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0}) < 0)
        log_debug("scheduling policy not set error=%s", strerror(errno));
    err = r->svc->init(&r->ctx, e);
    if (err == 0) {
        if (!r->failed)
            uv_run(&r->loop, UV_RUN_DEFAULT); /* until svc_stopped() or svc_fatal() */
    }
    r->ending = true;
    if (r->svc->fini)
        r->svc->fini(&r->ctx);
    r->ctx.bus = bus_free(r->ctx.bus);
    return err;
}

/*
 * Closes what is open and lets what is under way on libuv's threads come to an end. False: it does
 * not, like a lookup whose name server is silent, which libuv would wait for even in exit(3).
 */
static bool close_loop(struct runner *r)
{
    int64_t end = clock_mono().ns + END_WAIT;
    int busy;

    uv_walk(&r->loop, close_handle, NULL);
    while ((busy = uv_run(&r->loop, UV_RUN_NOWAIT)) && clock_mono().ns < end)
        (void)poll(NULL, 0, END_STEP_MS);
    (void)uv_loop_close(&r->loop);
    return !busy;
}

int svc_main(int argc, char **argv, const struct svc *svc)
{
    struct runner *r = xcalloc(1, sizeof(*r));
    struct errtext e = {{0}};
    char node_id[37] = "";
    enum log_level level = LOG_INFO;
    bool hangs = false;
    int err;

    mallopt(M_TOP_PAD, MALLOC_TOP_PAD);
    mallopt(M_TRIM_THRESHOLD, MALLOC_TRIM);
    mallopt(M_ARENA_MAX, svc->malloc_arenas ? svc->malloc_arenas : MALLOC_ARENAS);
    log_init(svc->name, LOG_INFO);
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
        log_warn("the supervisor's death will go unnoticed error=%s", strerror(errno));
    r->svc = svc;
    r->argc = argc;
    r->argv = argv;
    r->lock_fd = -1;
    err = conf_load(argc, argv, &r->conf, &e);
    if (err == CONF_E_HELP) {
        printf("Usage: %s [options]\n\n  %s\n\nOptions:\n%s", svc->name, svc->purpose,
               conf_flags_help());
        free(r);
        return 0;
    }
    if (err == 0) {
        if (log_level_parse(r->conf->log_level, &level))
            log_set_level(level);
        uv_loop_init(&r->loop);
        err = run(r, node_id, &e);
        hangs = !close_loop(r);
    }
    if (err < 0)
        log_error("%s", e.text[0] ? e.text : strerror(-err));
    else
        log_info("stopped");
    err = err < 0 || r->failed;
    if (hangs)
        _exit(err); /* its thread still uses what would be freed now */
    if (r->lock_fd >= 0)
        close(r->lock_fd);
    conf_free(r->conf);
    free(r);
    return err;
}
