/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A driver without processes, for tests (Nomad's mock_driver): a run is a timer. It is there with
 * client.options "driver.mock_driver.enable" = "1". A restart of clientd ends its tasks.
 */
#include <fcntl.h>
#include <pb_decode.h>
#include <string.h>
#include <unistd.h>

#include "client_state.json.h"
#include "client_state.pb.h"
#include "driver.h"
#include "json/json.h"

struct mock {
    driver_event_fn *fn;
    void *user;
    uv_timer_t timer;
    steppe_DriverConfig conf;
    bool started, ended;
    int signal; /* it was killed with */
    int64_t run_for, block_for, kill_after;
};

static struct mock *mock_of(struct driver_task *t)
{
    return (struct mock *)(void *)t;
}

static bool mock_fingerprint(const struct driver_ctx *ctx, steppe_Node *node,
                             const char **ret_health)
{
    return driver_option(ctx->conf, "driver.mock_driver.enable") ||
           driver_option(ctx->conf, "mock_driver.enabled");
}

static void on_end(uv_timer_t *timer)
{
    struct mock *m = timer->data;
    struct driver_event ev = {.type = DRIVER_EXITED, .ran = true, .signal = m->signal};

    if (m->ended)
        return;
    m->ended = true;
    if (m->signal)
        ev.code = 128 + m->signal;
    if (!m->signal) {
        ev.code = m->conf.exit_code;
        ev.signal = m->conf.exit_signal;
        ev.text = m->conf.exit_err_msg;
    }
    m->fn(m->user, &ev);
}

static void on_start(uv_timer_t *timer)
{
    struct mock *m = timer->data;
    struct driver_event ev = {.type = DRIVER_STARTED};

    if (m->conf.start_error && m->conf.start_error[0]) {
        ev = (struct driver_event){.type = DRIVER_FAILED,
                                   .text = m->conf.start_error,
                                   .retry = m->conf.start_error_recoverable};
        m->ended = true;
        m->fn(m->user, &ev);
        return;
    }
    m->started = true;
    uv_timer_start(&m->timer, on_end, (uint64_t)(m->run_for / NS_PER_MS), 0);
    m->fn(m->user, &ev);
}

static void take_duration(const char *text, int64_t *ret)
{
    if (text && text[0])
        (void)duration_parse(text, ret);
    *ret = MAX(*ret, INT64_C(0));
}

static void write_output(const struct driver_request *rq, const char *text)
{
    _cleanup_(freep) char *path =
        xasprintf("%s/alloc/logs/%s.stdout.0", rq->alloc_dir, rq->task->name);
    int fd = text ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644) : -1;

    if (fd >= 0 && write(fd, text, strlen(text)) < 0)
        unlink(path);
    if (fd >= 0)
        close(fd);
}

static struct mock *new_mock(const struct driver_request *rq)
{
    struct mock *m = xcalloc(1, sizeof(*m));

    m->fn = rq->fn;
    m->user = rq->user;
    uv_timer_init(rq->ctx->loop, &m->timer);
    m->timer.data = m;
    return m;
}

static int mock_start(const struct driver_request *rq, struct driver_task **ret, struct errtext *e)
{
    const char *text = rq->task->config ? rq->task->config : "{}";
    steppe_DriverConfig conf = {0};
    struct mock *m;
    int r = json_decode(&steppe_DriverConfig_json, text, strlen(text), &conf, e);

    if (r < 0)
        return err_prefix(e, r, "invalid config");
    m = new_mock(rq);
    m->conf = conf;
    take_duration(conf.run_for, &m->run_for);
    take_duration(conf.start_block_for, &m->block_for);
    take_duration(conf.kill_after, &m->kill_after);
    write_output(rq, conf.stdout_string);
    uv_timer_start(&m->timer, on_start, (uint64_t)(m->block_for / NS_PER_MS), 0);
    *ret = (struct driver_task *)(void *)m;
    return 0;
}

static int mock_attach(const struct driver_request *rq, struct driver_task **ret, struct errtext *e)
{
    struct mock *m = new_mock(rq);

    m->signal = 9;
    uv_timer_start(&m->timer, on_end, 0, 0);
    *ret = (struct driver_task *)(void *)m;
    return 0;
}

static void mock_signal(struct driver_task *t, int sig)
{
}

static void mock_kill(struct driver_task *t, int sig, int64_t timeout_ns)
{
    struct mock *m = mock_of(t);
    int64_t delay = MIN(m->kill_after, timeout_ns);

    if (m->ended)
        return;
    m->signal = m->kill_after > timeout_ns ? 9 : sig;
    uv_timer_start(&m->timer, on_end, (uint64_t)(delay / NS_PER_MS), 0);
}

static void mock_force(struct driver_task *t)
{
    mock_kill(t, 9, 0);
}

static int mock_usage(struct driver_task *t, struct driver_usage *ret)
{
    *ret = (struct driver_usage){0};
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    struct mock *m = h->data;

    pb_release(steppe_DriverConfig_fields, &m->conf);
    free(m);
}

static void mock_release(struct driver_task *t)
{
    uv_close((uv_handle_t *)&mock_of(t)->timer, on_closed);
}

const struct driver driver_mock = {
    .name = "mock_driver",
    .fingerprint = mock_fingerprint,
    .start = mock_start,
    .attach = mock_attach,
    .signal = mock_signal,
    .kill = mock_kill,
    .force = mock_force,
    .usage = mock_usage,
    .release = mock_release,
    .detach = mock_release,
};
