/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Answers of node clients, in parts. A thread of civetweb's stays with each: it waits for the next
 * part and for the reader's end of the connection at the same time, and writes when the reader
 * takes it. What was written is told to the server that holds the node's connection (credit), so
 * that never more than a window is on its way; told every few seconds in any case, so that it knows
 * that there still is a reader. When that server dies, the rest is asked for again, from where it
 * stopped.
 */
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <pb_decode.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "apid.h"
#include "base/log.h"
#include "wire/wire.h"

#define STREAM_MS        UINT32_C(2000000000) /* 23 days */
#define PART_COST        256u                 /* as the node counts, beside the data */
#define CREDIT_STEP      (64u * 1024)
#define TELL_NS          (5 * NS_PER_SEC)
#define SILENT_NS        (60 * NS_PER_SEC) /* without a part: given up */
#define SILENT_FOLLOW_NS (20 * NS_PER_SEC) /* there, a heartbeat comes each second */
#define AGAIN_NS         (10 * NS_PER_SEC) /* tries to find the node again ... */
#define AGAIN_HEADED_NS  (30 * NS_PER_SEC) /* ... when the reader has a part already */
#define AGAIN_MS         100
#define MESSAGE_MAX      (8u << 20) /* of an answer that is no file */
#define SLICE            8192       /* what a socket that says that it is writable takes at once */
#define LOOK_MS          500
#define GREETING_MS      2000
#define CODE_NOT_OURS    421

struct client_stream {
    struct apid_req *r;
    steppe_ClientCall call; /* borrowed texts; resume_* move on */
    char resume_file[4096];
    struct bus_gate *gate;
    struct bus_stream *bus;
    steppe_Request env;
    uint64_t number; /* at the server that holds the node's connection; 0: not heard yet */
    char server[256];
    uint64_t consumed, told;
    int64_t told_ns, part_ns;
    int fd; /* the reader's socket, -1: not found */
    bool chunked, headed;
    bool over;
};

/* ---- the reader's socket ---- */

/* civetweb does not tell it: the one whose far end is our reader's. */
static bool is_ours(int fd, const struct mg_request_info *info)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    char ip[INET6_ADDRSTRLEN] = "";
    int port = 0;

    if (getpeername(fd, (struct sockaddr *)&ss, &len) < 0)
        return false;
    if (ss.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&ss;

        (void)inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip));
        port = ntohs(in->sin_port);
    } else if (ss.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&ss;

        (void)inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip));
        port = ntohs(in6->sin6_port);
    }
    return port == info->remote_port && strcmp(ip, info->remote_addr) == 0;
}

static int find_socket(const struct mg_request_info *info)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *d;
    int found = -1;

    while (dir && found < 0 && (d = readdir(dir))) {
        char *end;
        long fd = strtol(d->d_name, &end, 10);

        if (end != d->d_name && !*end && is_ours((int)fd, info))
            found = (int)fd;
    }
    if (dir)
        (void)closedir(dir);
    return found;
}

/* ---- to the server that holds the connection ---- */

static void tell(struct client_stream *st, bool cancel)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    steppe_ClientControl m = {.stream = st->number, .consumed = st->consumed, .cancel = cancel};
    steppe_Request env = {.method = RPC_CLIENT_CONTROL};

    if (!st->number || !st->bus)
        return;
    (void)snprintf(env.region, sizeof(env.region), "%s", st->env.region);
    (void)snprintf(env.server, sizeof(env.server), "%s", st->server);
    (void)wire_encode(steppe_ClientControl_fields, &m, &body);
    bus_gate_send(st->gate, &env, body.data, body.len);
    st->told = st->consumed;
    st->told_ns = clock_mono().ns;
}

static void tell_if_due(struct client_stream *st)
{
    if (st->consumed - st->told >= CREDIT_STEP || clock_mono().ns - st->told_ns >= TELL_NS)
        tell(st, false);
}

static void stream_open(struct client_stream *st, struct bus_gate *gate)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_BOUND(BUS_BODY_MAX);

    (void)wire_encode(steppe_ClientCall_fields, &st->call, &body);
    st->gate = gate;
    st->number = st->consumed = st->told = 0;
    st->over = false;
    st->server[0] = 0;
    st->told_ns = st->part_ns = clock_mono().ns;
    st->bus = bus_stream_open(gate, &st->env, body.data, body.len, APID_DIAL_MS);
}

/* 1: *ret_part (to be released) or, with *ret_rep set to the end's envelope, the end; 0: not yet;
 * below 0: lost. */
static int take(struct client_stream *st, steppe_Reply *ret_rep, steppe_ClientPart *ret_part)
{
    _cleanup_(freep) uint8_t *body = NULL;
    struct errtext e;
    size_t len;
    int r = bus_stream_next(st->bus, ret_rep, &body, &len);

    if (r <= 0)
        return r;
    *ret_part = (steppe_ClientPart){0};
    if (len > 0 &&
        wire_decode(steppe_ClientPart_fields, body, len, ret_part, sizeof(*ret_part), &e) < 0)
        return -EBADMSG;
    st->part_ns = clock_mono().ns;
    st->over = !ret_rep->more;
    if (ret_part->stream) {
        st->number = ret_part->stream;
        (void)snprintf(st->server, sizeof(st->server), "%s",
                       ret_part->server ? ret_part->server : "");
    }
    return 1;
}

/* Whoever answers is told that nobody listens; before the greeting there is nobody to tell. */
static void stream_close(struct client_stream *st)
{
    int64_t until = clock_mono().ns + GREETING_MS * NS_PER_MS;
    struct pollfd p = {.events = POLLIN};

    if (!st->bus)
        return;
    p.fd = bus_stream_fd(st->bus);
    while (!st->number && !st->over && clock_mono().ns < until &&
           !atomic_load(&st->r->a->stopping)) {
        steppe_ClientPart part;
        steppe_Reply rep;
        int r = take(st, &rep, &part);

        if (r < 0)
            break;
        if (r > 0)
            pb_release(steppe_ClientPart_fields, &part);
        else
            (void)poll(&p, 1, LOOK_MS);
    }
    if (!st->over)
        tell(st, true);
    st->bus = bus_stream_free(st->bus);
}

/* Has the same effect twice. */
static bool repeatable(const struct client_stream *st)
{
    return st->call.op != steppe_ClientCall_Op_ALLOC_RESTART &&
           st->call.op != steppe_ClientCall_Op_ALLOC_SIGNAL;
}

/* ---- waiting ---- */

enum wait_result { WAIT_PART, WAIT_LOST, WAIT_GONE, WAIT_STOPPING };

/* Until a part is there, the reader is gone, or nothing came for too long. */
static enum wait_result wait_part(struct client_stream *st, steppe_Reply *rep,
                                  steppe_ClientPart *part)
{
    struct pollfd p[2] = {{.fd = bus_stream_fd(st->bus), .events = POLLIN},
                          {.fd = st->fd, .events = POLLRDHUP}};
    int64_t silent = st->call.follow ? SILENT_FOLLOW_NS : SILENT_NS;

    for (;;) {
        int r = take(st, rep, part);

        if (r > 0)
            return WAIT_PART;
        if (r == -ECANCELED)
            return WAIT_STOPPING;
        if (r < 0 || clock_mono().ns - st->part_ns > silent)
            return WAIT_LOST;
        (void)poll(p, 2, (int)(TELL_NS / NS_PER_MS));
        if (p[1].revents & (POLLRDHUP | POLLHUP | POLLERR))
            return WAIT_GONE;
        tell_if_due(st);
    }
}

/* Writes all; false when the reader is gone. */
static bool write_all(struct client_stream *st, const char *data, size_t len)
{
    struct pollfd p = {.fd = st->fd, .events = POLLOUT | POLLRDHUP};

    while (len > 0) {
        size_t n = MIN(len, (size_t)SLICE);

        if (st->fd >= 0) {
            p.revents = 0;
            (void)poll(&p, 1, LOOK_MS);
            if ((p.revents & (POLLRDHUP | POLLHUP | POLLERR)) || atomic_load(&st->r->a->stopping))
                return false;
            tell_if_due(st);
            if (!(p.revents & POLLOUT))
                continue; /* a slow reader has all the time that it wants */
        }
        if (mg_write(st->r->conn, data, n) != (int)n)
            return false;
        data += n;
        len -= n;
    }
    return true;
}

static bool write_body(struct client_stream *st, const struct strbuf *out)
{
    _cleanup_(strbuf_fini) struct strbuf chunk = STRBUF_INIT;

    if (out->len == 0)
        return true;
    if (!st->chunked)
        return write_all(st, out->data, out->len);
    strbuf_addf(&chunk, "%zx\r\n", out->len);
    strbuf_add(&chunk, out->data, out->len);
    strbuf_add(&chunk, "\r\n", 2);
    return write_all(st, chunk.data, chunk.len);
}

/* ---- the answer ---- */

void apid_frame(const steppe_ClientPart *part, struct strbuf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = part->data ? part->data->size : 0;
    const uint8_t *p = part->data ? part->data->bytes : NULL;
    const char *sep = "";

    strbuf_addc(out, '{');
    if (n > 0) {
        strbuf_adds(out, "\"Data\":\"");
        for (size_t i = 0; i < n; i += 3) {
            uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) |
                         (i + 2 < n ? p[i + 2] : 0);

            strbuf_addc(out, digits[v >> 18]);
            strbuf_addc(out, digits[v >> 12 & 63]);
            strbuf_addc(out, i + 1 < n ? digits[v >> 6 & 63] : '=');
            strbuf_addc(out, i + 2 < n ? digits[v & 63] : '=');
        }
        strbuf_addc(out, '"');
        sep = ",";
    }
    if (part->file && *part->file) {
        strbuf_addf(out, "%s\"File\":", sep);
        json_string_encode(part->file, strlen(part->file), 0, out);
        sep = ",";
    }
    if (part->file_event && *part->file_event) {
        strbuf_addf(out, "%s\"FileEvent\":", sep);
        json_string_encode(part->file_event, strlen(part->file_event), 0, out);
        sep = ",";
    }
    if (part->offset)
        strbuf_addf(out, "%s\"Offset\":%lld", sep, (long long)part->offset);
    strbuf_addc(out, '}');
}

/* Where the rest would begin, should the answer be cut off here. */
static void note_place(struct client_stream *st, const steppe_ClientPart *part)
{
    int64_t n = part->data ? part->data->size : 0;

    if (st->call.op == steppe_ClientCall_Op_FS_READ) {
        st->call.offset += n;
        if (st->call.limit > 0)
            st->call.limit -= n; /* 0 would mean all: the end comes with its last part */
    } else if (part->file && *part->file) {
        (void)snprintf(st->resume_file, sizeof(st->resume_file), "%s", part->file);
        st->call.resume_file = st->resume_file;
        st->call.resume_offset = part->offset;
    }
}

/* What Go's server says of bytes without a type, but never a type that a browser would run. */
static const char *sniff(const steppe_ClientPart *part)
{
    const uint8_t *p = part->data ? part->data->bytes : NULL;
    size_t n = part->data ? MIN(part->data->size, (pb_size_t)512) : 0;

    for (size_t i = 0; i < n; i++) {
        if (p[i] <= 8 || p[i] == 0x0b || (p[i] >= 0x0e && p[i] <= 0x1a) ||
            (p[i] >= 0x1c && p[i] <= 0x1f))
            return "application/octet-stream";
    }
    return n > 0 && p[0] == '<' ? "text/plain" : "text/plain; charset=utf-8";
}

static bool send_head(struct client_stream *st, const steppe_ClientPart *part,
                      enum apid_stream_form form, const char *content_type)
{
    st->headed = st->r->streamed = true;
    if (form == APID_STREAM_UNTRUSTED) {
        strbuf_adds(&st->r->headers,
                    "X-Content-Type-Options: nosniff\r\nX-XSS-Protection: 1; mode=block\r\n"
                    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; "
                    "sandbox\r\n");
        content_type = sniff(part);
    }
    return apid_send_head(st->r, content_type, st->chunked);
}

/* A part of a file to the reader. False: it is gone. */
static bool pass_on(struct client_stream *st, const steppe_ClientPart *part,
                    enum apid_stream_form form, const char *content_type)
{
    _cleanup_(strbuf_fini) struct strbuf out = STRBUF_INIT;

    if (part->stream) /* the greeting */
        return true;
    if (!st->headed && !send_head(st, part, form, content_type))
        return false;
    if (form == APID_STREAM_FRAMES)
        apid_frame(part, &out);
    else if (part->data)
        strbuf_add(&out, part->data->bytes, part->data->size);
    if (!write_body(st, &out))
        return false;
    note_place(st, part);
    st->consumed += (part->data ? part->data->size : 0) + PART_COST;
    tell_if_due(st);
    return true;
}

static void finish(struct client_stream *st, enum apid_stream_form form, const char *content_type)
{
    const steppe_ClientPart nothing = {0};
    struct apid_req *r = st->r;

    if (!st->headed && !send_head(st, &nothing, form, content_type))
        return;
    if (st->chunked)
        (void)write_all(st, "0\r\n\r\n", 5);
    else
        r->close = true;
}

/* Cut off in the middle: the reader must see that it is not the end. */
static void break_off(struct client_stream *st)
{
    if (st->fd >= 0)
        (void)shutdown(st->fd, SHUT_RDWR);
}

static void stream_init(struct client_stream *st, struct apid_req *r, const steppe_ClientCall *call)
{
    st->r = r;
    st->call = *call;
    st->fd = find_socket(r->info);
    st->chunked = strcmp(r->info->http_version, "1.1") == 0;
}

/* Asks this node's own clientd first, then the region's servers. Waits for the first part. */
static enum wait_result ask_first(struct client_stream *st, steppe_Reply *rep,
                                  steppe_ClientPart *part)
{
    struct apid *a = st->r->a;
    enum wait_result w;

    if (a->client_gate) {
        stream_open(st, a->client_gate);
        w = wait_part(st, rep, part);
        if (w == WAIT_GONE || w == WAIT_STOPPING || (w == WAIT_PART && rep->code != CODE_NOT_OURS))
            return w;
        if (w == WAIT_PART)
            pb_release(steppe_ClientPart_fields, part);
        st->bus = bus_stream_free(st->bus);
    }
    stream_open(st, a->gate);
    return wait_part(st, rep, part);
}

/*
 * The next part, or the end, whatever happens between here and the node: what was lost is asked for
 * again for a while. WAIT_LOST leaves the last error in *rep.
 */
static enum wait_result next_part(struct client_stream *st, steppe_Reply *rep,
                                  steppe_ClientPart *part, int64_t *again_until)
{
    for (;;) {
        enum wait_result w = st->bus ? wait_part(st, rep, part) : ask_first(st, rep, part);
        bool answered = w == WAIT_PART && (rep->more || rep->code == 0 || !rep->retryable);

        if (answered) {
            if (part->stream == 0)
                *again_until = 0;
            return w;
        }
        if (w == WAIT_GONE || w == WAIT_STOPPING)
            return w;
        if (w == WAIT_PART)
            pb_release(steppe_ClientPart_fields, part);
        else
            *rep = (steppe_Reply){.code = 500,
                                  .retryable = true,
                                  .error = "rpc error: the connection to the node was lost"};
        stream_close(st);
        log_debug("a node's answer was lost code=%u error=\"%s\"", rep->code, rep->error);
        /* Known to be out of reach from the start: the servers have waited already. */
        if (!repeatable(st) || (rep->code != 500 && !st->headed) || rep->code == 429)
            return WAIT_LOST;
        if (*again_until == 0)
            *again_until = clock_mono().ns + (st->headed ? AGAIN_HEADED_NS : AGAIN_NS);
        if (clock_mono().ns >= *again_until || atomic_load(&st->r->a->stopping))
            return WAIT_LOST;
        (void)poll(NULL, 0, AGAIN_MS);
    }
}

static void set_error(struct apid_req *r, enum wait_result w, const steppe_Reply *rep)
{
    if (w == WAIT_STOPPING) {
        apid_error(r, 503, "the HTTP gateway is stopping");
    } else if (w == WAIT_GONE) {
        r->close = true; /* nobody reads it */
        apid_error(r, 499, "the client went away");
    } else {
        r->reply = (steppe_Reply){.retryable = rep->retryable};
        apid_error(r, rep->code ? (int)rep->code : 500, "%s", rep->error);
    }
}

void apid_client_stream(struct apid_req *r, const steppe_ClientCall *call,
                        enum apid_stream_form form, const char *content_type)
{
    struct client_stream *st = xcalloc(1, sizeof(*st));
    steppe_Reply rep = {0};
    steppe_ClientPart part = {0};
    int64_t again_until = 0;
    enum wait_result w = WAIT_PART;
    bool reader = true;

    stream_init(st, r, call);
    if (!apid_env(r, RPC_CLIENT_CALL, &st->env))
        goto out;
    st->env.timeout_ms = STREAM_MS;
    while (w == WAIT_PART && reader && !st->over) {
        w = next_part(st, &rep, &part, &again_until);
        if (w != WAIT_PART)
            break;
        if (rep.more)
            reader = pass_on(st, &part, form, content_type);
        pb_release(steppe_ClientPart_fields, &part);
    }
    stream_close(st);
    if (!reader || (w != WAIT_PART && st->headed) || (rep.code != 0 && st->headed)) {
        r->close = r->streamed = true;
        if (reader && w != WAIT_GONE)
            log_info("a node's answer was broken off path=\"%s\" error=\"%s\"", r->path,
                     w == WAIT_STOPPING ? "the HTTP gateway is stopping" : rep.error);
        break_off(st);
    } else if (w != WAIT_PART || rep.code != 0) {
        set_error(r, w, &rep);
    } else {
        finish(st, form, content_type);
    }
out:
    free(st);
}

bool apid_client_ask(struct apid_req *r, const steppe_ClientCall *call,
                     const struct json_type *type, bool list)
{
    struct client_stream *st = xcalloc(1, sizeof(*st));
    _cleanup_(strbuf_fini) struct strbuf data = STRBUF_BOUND(MESSAGE_MAX);
    steppe_Reply rep = {0};
    steppe_ClientPart part = {0};
    int64_t again_until = 0;
    enum wait_result w = WAIT_PART;
    bool ok = false;

    stream_init(st, r, call);
    if (!apid_env(r, RPC_CLIENT_CALL, &st->env))
        goto out;
    st->env.timeout_ms = STREAM_MS;
    while (w == WAIT_PART && !st->over) {
        w = next_part(st, &rep, &part, &again_until);
        if (w != WAIT_PART)
            break;
        if (part.stream) /* the greeting: asked again, it begins from the start */
            strbuf_reset(&data);
        if (part.data)
            strbuf_add(&data, part.data->bytes, part.data->size);
        pb_release(steppe_ClientPart_fields, &part);
    }
    stream_close(st);
    if (w != WAIT_PART || rep.code != 0)
        set_error(r, w, &rep);
    else if (strbuf_failed(&data))
        apid_error(r, 500, "the node's answer is too large");
    else
        ok = !type || apid_render(r, type, list, data.data, data.len);
out:
    free(st);
    return ok;
}
