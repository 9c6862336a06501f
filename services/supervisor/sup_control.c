/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The control socket, RUN_DIR/supervisor.sock, 0600. One request line in, one line of JSON out;
 * `logs` and `follow` send the log lines behind it. Requests:
 *     status | list | start NAME | stop NAME | restart NAME | logs NAME | follow NAME
 * start, stop and restart answer when the service is where it should be, or has failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sup.h"

#define OWN_NAME "supervisor"

/* ---- connections ---- */

/* What it still wants to say is read first: a close over unread bytes would reset the reader. */
static void conn_close(struct sup_conn *c)
{
    char scrap[1024];

    for (unsigned i = 0; i < 64 && recv(c->fd, scrap, sizeof(scrap), MSG_DONTWAIT) > 0; i++)
        ;
    close(c->fd);
    strbuf_fini(&c->out);
    *c = (struct sup_conn){.fd = -1, .follow = -1, .wait_id = -1};
}

static void conn_flush(struct sup_conn *c)
{
    while (c->fd >= 0 && c->sent < c->out.len) {
        ssize_t n =
            send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n > 0) {
            c->sent += (size_t)n;
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        conn_close(c);
        return;
    }
    if (c->fd < 0)
        return;
    strbuf_reset(&c->out);
    c->sent = 0;
    if (c->close_after)
        conn_close(c);
}

/* Appends a line of JSON; obj is released. */
static void answer(struct sup_conn *c, json_t *obj)
{
    char *text = json_dumps(obj, JSON_COMPACT);

    assert(text);
    strbuf_adds(&c->out, text);
    strbuf_addc(&c->out, '\n');
    free(text);
    json_decref(obj);
    c->wait_id = -1;
}

static void answer_error(struct sup_conn *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void answer_error(struct sup_conn *c, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    /* What a client sent may be no UTF-8: jansson would refuse it. */
    for (char *p = text; *p; p++) {
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
            *p = '?';
    }
    answer(c, json_pack("{s:b, s:s}", "ok", 0, "error", text));
    c->close_after = true;
}

static void answer_ok(struct sup_conn *c)
{
    answer(c, json_pack("{s:b}", "ok", 1));
    c->close_after = true;
}

/* ---- requests ---- */

static json_t *list_json(const struct sup *s)
{
    json_t *all = json_array();
    struct mono_ns now = clock_mono();

    for (size_t i = 0; i < SUP_SERVICES_N; i++) {
        const struct sup_unit *u = &s->core.units[i];
        const struct sup_proc *p = &s->procs[i];

        if (!u->present)
            continue;
        (void)json_array_append_new(
            all,
            json_pack("{s:s, s:i, s:s, s:I, s:i, s:i, s:s}", "name", sup_services[i].name, "pid",
                      (int)p->pid, "state", sup_state_name(u->state), "uptime_ms",
                      (json_int_t)(u->state == SUP_UP ? (now.ns - u->since.ns) / NS_PER_MS : 0),
                      "restarts", (int)u->restarts, "failures", (int)u->failures, "last_exit",
                      p->last_exit));
    }
    return all;
}

static void do_list(struct sup *s, struct sup_conn *c)
{
    answer(c, json_pack("{s:b, s:o}", "ok", 1, "services", list_json(s)));
    c->close_after = true;
}

static void do_status(struct sup *s, struct sup_conn *c)
{
    const struct conf *k = s->conf;

    answer(c, json_pack("{s:b, s:i, s:s, s:s, s:s, s:s, s:b, s:b, s:s, s:b, s:b, s:I, s:o}", "ok",
                        1, "pid", (int)getpid(), "version", STEPPE_VERSION, "node", k->name,
                        "region", k->region, "datacenter", k->datacenter, "server",
                        k->server.enabled, "client", k->client.enabled, "data_dir", k->data_dir,
                        "ready", sup_core_all_up(&s->core), "stopping", s->core.stopping,
                        "uptime_ms", (json_int_t)((clock_mono().ns - s->started.ns) / NS_PER_MS),
                        "services", list_json(s)));
    c->close_after = true;
}

static void do_logs(struct sup *s, struct sup_conn *c, int id, bool follow)
{
    const struct sup_lines *l = id < 0 ? &s->own : &s->procs[id].lines;

    answer(c, json_pack("{s:b}", "ok", 1));
    for (unsigned i = 0; i < l->n; i++)
        strbuf_adds(&c->out, l->kept[(l->first + i) % SUP_LINES_KEPT]);
    c->close_after = !follow;
    if (follow) {
        c->follow = id;
        c->deadline = 0;
    }
}

static void do_change(struct sup *s, struct sup_conn *c, int id, enum sup_event ev)
{
    if (s->core.stopping) {
        answer_error(c, "the agent is stopping");
        return;
    }
    c->wait_id = id;
    c->wait_up = ev != SUP_EV_STOP;
    c->deadline = clock_mono().ns + SUP_CONN_WAIT;
    sup_log(s, LOG_INFO, "asked by an operator action=%s service=%s",
            ev == SUP_EV_START  ? "start"
            : ev == SUP_EV_STOP ? "stop"
                                : "restart",
            sup_services[id].name);
    sup_step(s, (enum sup_service_id)id, ev);
}

enum verb { VERB_STATUS, VERB_LIST, VERB_START, VERB_STOP, VERB_RESTART, VERB_LOGS, VERB_FOLLOW };

static const struct {
    const char *word;
    bool named;
} verbs[] = {
    [VERB_STATUS] = {"status", false},  [VERB_LIST] = {"list", false},
    [VERB_START] = {"start", true},     [VERB_STOP] = {"stop", true},
    [VERB_RESTART] = {"restart", true}, [VERB_LOGS] = {"logs", true},
    [VERB_FOLLOW] = {"follow", true},
};

static void dispatch(struct sup *s, struct sup_conn *c, enum verb verb, int id)
{
    switch (verb) {
    case VERB_STATUS:
        do_status(s, c);
        return;
    case VERB_LIST:
        do_list(s, c);
        return;
    case VERB_START:
        do_change(s, c, id, SUP_EV_START);
        return;
    case VERB_STOP:
        do_change(s, c, id, SUP_EV_STOP);
        return;
    case VERB_RESTART:
        do_change(s, c, id, SUP_EV_RESTART);
        return;
    case VERB_LOGS:
        do_logs(s, c, id, false);
        return;
    case VERB_FOLLOW:
        do_logs(s, c, id, true);
        return;
    }
}

/* line: one request without its newline. */
static void handle_request(struct sup *s, struct sup_conn *c, char *line)
{
    char *name = strchr(line, ' ');
    size_t verb;
    int id = -1;

    if (name)
        *name++ = 0;
    for (verb = 0; verb < ARRAY_LEN(verbs); verb++) {
        if (strcmp(verbs[verb].word, line) == 0)
            break;
    }
    if (verb == ARRAY_LEN(verbs)) {
        answer_error(c, "unknown request \"%s\"", line);
        return;
    }
    if (verbs[verb].named) {
        bool own = name && strcmp(name, OWN_NAME) == 0 && verb == VERB_LOGS;

        id = name ? sup_service_find(name) : -1;
        if (!own && (id < 0 || !s->core.units[id].present)) {
            answer_error(c, "no service \"%s\" on this node", name ? name : "");
            return;
        }
    } else if (name) {
        answer_error(c, "\"%s\" takes no name", line);
        return;
    }
    dispatch(s, c, (enum verb)verb, id);
}

static void conn_read(struct sup *s, struct sup_conn *c)
{
    char scrap[256], *nl;
    ssize_t n;

    if (c->asked) {
        /* Nothing more is expected: data is thrown away, an end is a hang-up. */
        n = recv(c->fd, scrap, sizeof(scrap), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            conn_close(c);
        return;
    }
    n = recv(c->fd, c->request + c->request_len, sizeof(c->request) - 1 - c->request_len,
             MSG_DONTWAIT);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            conn_close(c);
        return;
    }
    c->request_len += (size_t)n;
    nl = memchr(c->request, '\n', c->request_len);
    if (!nl && c->request_len < sizeof(c->request) - 1)
        return;
    c->asked = true;
    if (!nl || memchr(c->request, 0, (size_t)(nl - c->request))) {
        answer_error(c, "the request is no line of at most %d bytes", SUP_REQUEST_MAX - 1);
        return;
    }
    *nl = 0;
    handle_request(s, c, c->request);
}

void sup_control_event(struct sup *s, struct sup_conn *c, short revents)
{
    if (c->fd >= 0 && (revents & (POLLIN | POLLHUP | POLLERR)))
        conn_read(s, c);
    if (c->fd >= 0)
        conn_flush(c);
}

void sup_control_accept(struct sup *s)
{
    static const char full[] = "{\"ok\":false,\"error\":\"too many control connections\"}\n";
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return;
    for (size_t i = 0; i < SUP_CONNS_MAX; i++) {
        struct sup_conn *c = &s->conns[i];

        if (c->fd >= 0)
            continue;
        *c = (struct sup_conn){.fd = fd, .follow = -1, .wait_id = -1};
        c->out.len_max = SUP_FOLLOW_MAX;
        c->deadline = clock_mono().ns + SUP_CONN_IDLE;
        return;
    }
    (void)send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

/* ---- what comes later ---- */

void sup_control_follow(struct sup *s, int id, const char *line, size_t len)
{
    for (size_t i = 0; i < SUP_CONNS_MAX; i++) {
        struct sup_conn *c = &s->conns[i];

        if (c->fd < 0 || c->follow != id)
            continue;
        strbuf_add(&c->out, line, len);
        if (strbuf_failed(&c->out))
            conn_close(c); /* it reads too slowly */
        else
            conn_flush(c);
    }
}

static void settle_one(struct sup *s, struct sup_conn *c)
{
    const struct sup_unit *u = &s->core.units[c->wait_id];
    const char *name = sup_services[c->wait_id].name;

    if (u->state == (c->wait_up ? SUP_UP : SUP_IDLE))
        answer_ok(c);
    else if (c->wait_up && u->state == SUP_BACKOFF)
        answer_error(c, "%s does not stay up: %s", name, s->procs[c->wait_id].last_exit);
    else if (c->wait_up && u->state == SUP_IDLE)
        answer_error(c, "%s was stopped meanwhile", name);
    else if (!c->wait_up && u->state == SUP_UP)
        answer_error(c, "%s was started meanwhile", name);
}

void sup_control_settle(struct sup *s)
{
    int64_t now = clock_mono().ns;

    for (size_t i = 0; i < SUP_CONNS_MAX; i++) {
        struct sup_conn *c = &s->conns[i];

        if (c->fd < 0)
            continue;
        if (c->wait_id >= 0)
            settle_one(s, c);
        if (c->deadline && c->deadline <= now && c->wait_id >= 0) {
            answer_error(c, "%s takes longer than %d s", sup_services[c->wait_id].name,
                         (int)(SUP_CONN_WAIT / NS_PER_SEC));
        } else if (c->deadline && c->deadline <= now) {
            conn_close(c);
            continue;
        }
        conn_flush(c);
    }
}

int64_t sup_control_deadline(const struct sup *s)
{
    int64_t next = -1;

    for (size_t i = 0; i < SUP_CONNS_MAX; i++) {
        int64_t d = s->conns[i].fd >= 0 ? s->conns[i].deadline : 0;

        if (d && (next < 0 || d < next))
            next = d;
    }
    return next;
}

/* ---- open and close ---- */

int sup_control_open(struct sup *s, struct errtext *e)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    mode_t mask;
    int r;

    s->socket_path = conf_run_path(s->conf, "supervisor.sock");
    assert(strlen(s->socket_path) < sizeof(un.sun_path)); /* conf_load() saw to it */
    memcpy(un.sun_path, s->socket_path, strlen(s->socket_path));
    s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->listen_fd < 0)
        return err_set(e, -errno, "cannot make the control socket: %s", strerror(errno));
    (void)unlink(s->socket_path); /* the run_dir is locked: it is an old one */
    mask = umask(0177);
    r = bind(s->listen_fd, (const struct sockaddr *)&un, sizeof(un));
    (void)umask(mask);
    if (r < 0 || listen(s->listen_fd, SUP_CONNS_MAX) < 0)
        return err_set(e, -errno, "cannot listen on the control socket %s: %s", s->socket_path, strerror(errno));
    return 0;
}

void sup_control_close(struct sup *s)
{
    for (size_t i = 0; i < SUP_CONNS_MAX; i++) {
        if (s->conns[i].fd >= 0) {
            conn_flush(&s->conns[i]);
            if (s->conns[i].fd >= 0)
                conn_close(&s->conns[i]);
        }
    }
    if (s->listen_fd >= 0) {
        close(s->listen_fd);
        (void)unlink(s->socket_path);
    }
    s->listen_fd = -1;
    free(s->socket_path);
    s->socket_path = NULL;
}
