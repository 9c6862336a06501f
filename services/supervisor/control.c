/* SPDX-License-Identifier: MPL-2.0 */
#include "control.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/strbuf.h"

#define ANSWER_MAX    (1u << 20)
#define ANSWER_WAIT_S 75 /* the supervisor gives up waiting after 60 s */

static int connect_to(const char *path, struct errtext *e)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct timeval tv = {.tv_sec = ANSWER_WAIT_S};
    int fd, r;

    if (strlen(path) >= sizeof(un.sun_path))
        return err_set(e, -ENAMETOOLONG, "the socket's path is too long: %s", path);
    memcpy(un.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(e, -errno, "cannot make a socket: %s", strerror(errno));
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    if (connect(fd, (const struct sockaddr *)&un, sizeof(un)) < 0) {
        r = -errno;
        close(fd);
        return err_set(e, r, "no agent answers at %s: %s", path, strerror(-r));
    }
    return fd;
}

static int ask(const char *path, const char *verb, const char *name, struct errtext *e)
{
    char line[256];
    int fd, r, n;

    n = snprintf(line, sizeof(line), "%s%s%s\n", verb, name ? " " : "", name ? name : "");
    if (n < 0 || (size_t)n >= sizeof(line) || memchr(line, '\n', (size_t)n - 1))
        return err_set(e, -EINVAL, "not a service name: %s", name ? name : verb);
    fd = connect_to(path, e);
    if (fd < 0)
        return fd;
    if (send(fd, line, (size_t)n, MSG_NOSIGNAL) == n)
        return fd;
    r = err_set(e, -errno, "%s: %s", path, strerror(errno));
    close(fd);
    return r;
}

/* Reads more into b; 1: something came, 0: the end. */
static int read_more(int fd, struct strbuf *b, struct errtext *e)
{
    char *room = strbuf_reserve(b, 4096);
    ssize_t n;

    if (!room)
        return err_set(e, -EMSGSIZE, "the agent's answer is too long");
    do {
        n = recv(fd, room, 4096, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_set(e, -errno, "the agent does not answer: %s", strerror(errno));
    b->len += (size_t)n;
    return n > 0;
}

/* The first line's length with its newline, read as far as needed. */
static int read_line(int fd, struct strbuf *b, size_t *ret_len, struct errtext *e)
{
    for (;;) {
        char *nl = b->len ? memchr(b->data, '\n', b->len) : NULL;
        int r;

        if (nl) {
            *ret_len = (size_t)(nl - b->data) + 1;
            return 0;
        }
        r = read_more(fd, b, e);
        if (r < 0)
            return r;
        if (r == 0)
            return err_set(e, -ECONNRESET, "the agent ended without an answer");
    }
}

/* Parses the answer's line; its "error" becomes e. */
static int parse_answer(const char *line, size_t len, json_t **ret, struct errtext *e)
{
    json_t *obj = json_loadb(line, len, 0, NULL);
    const char *text;
    int ok = 0;

    if (!obj || json_unpack(obj, "{s:b}", "ok", &ok) != 0) {
        json_decref(obj);
        return err_set(e, -EPROTO, "the agent's answer makes no sense");
    }
    if (!ok) {
        text = json_string_value(json_object_get(obj, "error"));
        err_set(e, -EREMOTEIO, "%s", text ? text : "refused");
        json_decref(obj);
        return -EREMOTEIO;
    }
    *ret = obj;
    return 0;
}

static int call(const char *path, const char *verb, const char *name, json_t **ret,
                struct errtext *e)
{
    struct strbuf b = STRBUF_BOUND(ANSWER_MAX);
    int fd = ask(path, verb, name, e), r;
    size_t len = 0;

    if (fd < 0)
        return fd;
    r = read_line(fd, &b, &len, e);
    if (!r)
        r = parse_answer(b.data, len, ret, e);
    strbuf_fini(&b);
    close(fd);
    return r;
}

static void copy_text(char *to, size_t cap, const json_t *obj, const char *key)
{
    const char *text = json_string_value(json_object_get(obj, key));

    (void)snprintf(to, cap, "%s", text ? text : "");
}

int sup_control_list(const char *path, struct sup_control_service *ret, size_t max, size_t *ret_n,
                     struct errtext *e)
{
    json_t *answer, *one;
    size_t i, n = 0;
    int r = call(path, "list", NULL, &answer, e);

    if (r)
        return r;
    json_array_foreach(json_object_get(answer, "services"), i, one)
    {
        struct sup_control_service *s = &ret[n];

        if (n == max)
            break;
        *s = (struct sup_control_service){0};
        copy_text(s->name, sizeof(s->name), one, "name");
        copy_text(s->state, sizeof(s->state), one, "state");
        copy_text(s->last_exit, sizeof(s->last_exit), one, "last_exit");
        s->pid = (int)json_integer_value(json_object_get(one, "pid"));
        s->uptime_ms = json_integer_value(json_object_get(one, "uptime_ms"));
        s->restarts = (int)json_integer_value(json_object_get(one, "restarts"));
        s->failures = (int)json_integer_value(json_object_get(one, "failures"));
        n++;
    }
    *ret_n = n;
    json_decref(answer);
    return 0;
}

int sup_control_change(const char *path, const char *verb, const char *name, struct errtext *e)
{
    json_t *answer;
    int r = call(path, verb, name, &answer, e);

    if (!r)
        json_decref(answer);
    return r;
}

int sup_control_json(const char *path, const char *request, char **ret_json, struct errtext *e)
{
    json_t *answer;
    int r = call(path, request, NULL, &answer, e);

    if (r)
        return r;
    *ret_json = json_dumps(answer, JSON_INDENT(4) | JSON_PRESERVE_ORDER);
    json_decref(answer);
    return *ret_json ? 0 : err_set(e, -ENOMEM, "out of memory");
}

int sup_control_logs(const char *path, const char *name, bool follow, sup_control_line_fn *fn,
                     void *user, struct errtext *e)
{
    struct strbuf b = STRBUF_BOUND(ANSWER_MAX);
    struct timeval for_ever = {0};
    json_t *answer;
    size_t len = 0;
    int fd = ask(path, follow ? "follow" : "logs", name, e), r;

    if (fd < 0)
        return fd;
    r = read_line(fd, &b, &len, e);
    if (!r)
        r = parse_answer(b.data, len, &answer, e);
    if (!r) {
        json_decref(answer);
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &for_ever, sizeof(for_ever));
        do {
            bool more = true;
            char *nl;

            memmove(b.data, b.data + len, b.len - len);
            b.len -= len;
            len = 0;
            while (more && (nl = memchr(b.data + len, '\n', b.len - len))) {
                more = fn(user, b.data + len, (size_t)(nl + 1 - (b.data + len)));
                len = (size_t)(nl + 1 - b.data);
            }
            r = more ? read_more(fd, &b, e) : 0;
        } while (r > 0);
    }
    strbuf_fini(&b);
    close(fd);
    return r;
}
