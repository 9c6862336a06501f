/* SPDX-License-Identifier: MPL-2.0 */
/*
 * "exec=COMMAND" as a source of addresses: /bin/sh runs it in a process group of its own, for
 * EXEC_TIMEOUT_MS at most; what it prints counts only if it ends with status 0.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "serfd_shell.h"

#define EXEC_TIMEOUT_MS 8000
#define OUTPUT_MAX      65536

struct serfd_exec {
    serfd_exec_fn *fn; /* NULL once called, or when nobody waits any more */
    void *user;
    uv_process_t process;
    uv_pipe_t pipe;
    uv_timer_t timer;
    unsigned open_handles;
    bool running, reading;
    struct strbuf out;
    char error[128]; /* "" so far so good */
};

static void on_closed(uv_handle_t *h)
{
    struct serfd_exec *x = h->data;

    if (--x->open_handles > 0)
        return;
    strbuf_fini(&x->out);
    free(x);
}

static void close_all(struct serfd_exec *x)
{
    uv_handle_t *const handles[] = {(uv_handle_t *)&x->process, (uv_handle_t *)&x->pipe,
                                    (uv_handle_t *)&x->timer};

    for (size_t i = 0; i < ARRAY_LEN(handles); i++) {
        if (!uv_is_closing(handles[i]))
            uv_close(handles[i], on_closed);
    }
}

static void kill_group(const struct serfd_exec *x)
{
    if (x->running)
        (void)kill(-x->process.pid, SIGKILL);
}

/* Its end and the end of what it prints come in any order. */
static void check_done(struct serfd_exec *x)
{
    serfd_exec_fn *fn = x->fn;

    if (x->running || x->reading || !fn)
        return;
    x->fn = NULL;
    fn(x->user, x->error[0] ? x->error : NULL, x->out.data ? x->out.data : "", x->out.len);
    close_all(x);
}

static void fail(struct serfd_exec *x, const char *why)
{
    if (!x->error[0])
        (void)snprintf(x->error, sizeof(x->error), "%s", why);
    kill_group(x);
    x->reading = false; /* a child of it may hold the pipe open for ever */
    check_done(x);
}

static void on_ended(uv_process_t *p, int64_t status, int signal)
{
    struct serfd_exec *x = p->data;

    x->running = false;
    if (!x->error[0] && signal)
        (void)snprintf(x->error, sizeof(x->error), "it was ended by signal %d", signal);
    else if (!x->error[0] && status)
        (void)snprintf(x->error, sizeof(x->error), "it ended with status %d", (int)status);
    check_done(x);
}

static void on_timer(uv_timer_t *t)
{
    fail(t->data, "it did not end in time");
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct serfd_exec *x = h->data;
    char *p = strbuf_reserve(&x->out, 4096);

    (void)suggested;
    *buf = p ? uv_buf_init(p, 4096) : uv_buf_init(NULL, 0);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct serfd_exec *x = s->data;

    (void)buf;
    if (n > 0)
        x->out.len += (size_t)n;
    if (n == UV_ENOBUFS) {
        fail(x, "it prints too much");
    } else if (n < 0) {
        x->reading = false;
        check_done(x);
    }
}

struct serfd_exec *serfd_exec_start(struct serfd *sd, const char *command, serfd_exec_fn *fn,
                                    void *user, struct errtext *e)
{
    struct serfd_exec *x = xcalloc(1, sizeof(*x));
    char *args[] = {(char *)"/bin/sh", (char *)"-c", (char *)command, NULL};
    uv_stdio_container_t io[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&x->pipe},
        {.flags = UV_INHERIT_FD, .data.fd = 2}, /* our own log */
    };
    uv_process_options_t o = {.exit_cb = on_ended,
                              .file = args[0],
                              .args = args,
                              .flags = UV_PROCESS_DETACHED,
                              .stdio_count = 3,
                              .stdio = io};
    int r;

    x->fn = fn;
    x->user = user;
    x->out.len_max = OUTPUT_MAX;
    uv_pipe_init(sd->ctx->loop, &x->pipe, 0);
    uv_timer_init(sd->ctx->loop, &x->timer);
    r = uv_spawn(sd->ctx->loop, &x->process, &o);
    x->process.data = x->pipe.data = x->timer.data = x;
    x->open_handles = 3;
    x->running = r == 0;
    if (r == 0)
        r = uv_read_start((uv_stream_t *)&x->pipe, on_alloc, on_read);
    if (r) {
        x->fn = NULL;
        kill_group(x);
        close_all(x);
        (void)err_set(e, r, "it cannot be started: %s", uv_strerror(r));
        return NULL;
    }
    x->reading = true;
    uv_timer_start(&x->timer, on_timer, EXEC_TIMEOUT_MS, 0);
    return x;
}

void serfd_exec_cancel(struct serfd_exec *x)
{
    if (!x->fn)
        return;
    x->fn = NULL;
    kill_group(x);
    close_all(x);
}
