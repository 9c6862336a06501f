/* SPDX-License-Identifier: MPL-2.0 */
#include "apid_shell.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "apid.h"
#include "base/log.h"

#define KEEP_ALIVE_MS "1000"  /* an idle connection holds a worker: not for long */
#define REQUEST_MS    "30000" /* to send a request's head */
#define HEADERS_BYTES "16384"
#define KNOCK_MS      10
#define CLIENTS_MAX   1024 /* addresses counted at one time */

/* Connections per client address (limits.http_max_conns_per_client). */
struct apid_limits {
    pthread_mutex_t lock;
    struct {
        char addr[48];
        int n;
    } clients[CLIENTS_MAX];
};

/* The client's slot, or a free one, or -1. */
static int find_client(const struct apid_limits *l, const char *addr)
{
    int free_slot = -1;

    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (l->clients[i].n == 0)
            free_slot = free_slot < 0 ? i : free_slot;
        else if (strcmp(l->clients[i].addr, addr) == 0)
            return i;
        if (l->clients[i].n == 0 && !l->clients[i].addr[0])
            break; /* slots are used from the front: nothing behind a virgin one */
    }
    return free_slot;
}

/* Counts a connection at its first request: before, civetweb does not tell whose it is. */
static bool admit(struct apid *a, struct mg_connection *conn, const struct mg_request_info *info)
{
    int max = a->ctx->conf->limits.http_max_conns_per_client, i;
    bool ok = false;

    if (max == 0 || info->conn_data)
        return true;
    pthread_mutex_lock(&a->limits->lock);
    i = find_client(a->limits, info->remote_addr);
    if (i >= 0 && a->limits->clients[i].n < max) {
        (void)snprintf(a->limits->clients[i].addr, sizeof(a->limits->clients[i].addr), "%s",
                       info->remote_addr);
        a->limits->clients[i].n++;
        mg_set_user_connection_data(conn, (void *)(intptr_t)(i + 1));
        ok = true;
    }
    pthread_mutex_unlock(&a->limits->lock);
    return ok;
}

static void on_close(const struct mg_connection *conn)
{
    struct apid *a = mg_get_user_data(mg_get_context(conn));
    intptr_t i = (intptr_t)mg_get_user_connection_data(conn);

    if (i == 0)
        return;
    pthread_mutex_lock(&a->limits->lock);
    a->limits->clients[i - 1].n--;
    pthread_mutex_unlock(&a->limits->lock);
}

static int on_message(const struct mg_connection *conn, const char *text)
{
    struct apid *a = mg_get_user_data(mg_get_context(conn));

    if (!a->http && !a->start_error[0]) /* the first one is the cause */
        (void)snprintf(a->start_error, sizeof(a->start_error), "%s", text);
    log_debug("civetweb: %s", text);
    return 1;
}

static int on_http_error(struct mg_connection *conn, int status, const char *text)
{
    const struct mg_request_info *info = mg_get_request_info(conn);
    size_t n = strlen(text);

    log_debug("request refused peer=%s status=%d error=\"%s\"", info->remote_addr, status, text);
    mg_printf(conn,
              "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
              "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
              status, mg_get_response_code_text(conn, status), n, text);
    return 0;
}

/* civetweb's hook before its own handling: a registered handler would come a moment after the port
 * is open, and until then civetweb would answer 404 and 405 by itself. */
static int on_request(struct mg_connection *conn)
{
    struct apid *a = mg_get_user_data(mg_get_context(conn));
    struct apid_req r = {.a = a, .conn = conn, .info = mg_get_request_info(conn)};
    struct mono_ns start = clock_mono();
    int status;

    if (!admit(a, conn, r.info)) {
        r.close = true;
        apid_error(&r, 429,
                   "Your IP is issuing too many concurrent connections, please rate limit "
                   "your calls\n");
    } else if (apid_req_parse(&r)) {
        apid_route(&r);
    }
    if (!r.streamed)
        apid_send(&r);
    status = r.status ? r.status : 200;
    atomic_fetch_add_explicit(&a->requests, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&a->request_ns, (unsigned long long)(clock_mono().ns - start.ns),
                              memory_order_relaxed);
    if (status >= 500)
        atomic_fetch_add_explicit(&a->errors, 1, memory_order_relaxed);
    log_debug("request method=%s path=\"%s\" status=%d us=%lld", r.info->request_method,
              r.path ? r.path : "", status, (long long)((clock_mono().ns - start.ns) / NS_PER_US));
    apid_req_fini(&r);
    return status;
}

/* civetweb's threads are not those that should gather work, see struct svc. */
static void *on_thread(const struct mg_context *http, int type)
{
    struct sched_param param = {0};

    (void)http;
    (void)type;
    if (sched_setscheduler(0, SCHED_OTHER, &param) < 0)
        log_debug("scheduling policy not set error=%s", strerror(errno));
    return NULL;
}

/* As civetweb wants it: IPv6 in brackets, and a plus for all addresses of both families. */
static void listen_spec(const struct conf *conf, char *buf, size_t size)
{
    const char *ip = conf->addresses.http;

    if (strcmp(ip, "::") == 0)
        (void)snprintf(buf, size, "+%d", conf->ports.http);
    else
        (void)snprintf(buf, size, strchr(ip, ':') ? "[%s]:%d" : "%s:%d", ip, conf->ports.http);
}

static int start_http(struct apid *a, struct errtext *e)
{
    const struct conf *conf = a->ctx->conf;
    struct mg_callbacks callbacks = {.init_thread = on_thread,
                                     .begin_request = on_request,
                                     .connection_close = on_close,
                                     .log_message = on_message,
                                     .http_error = on_http_error};
    char listen[128], threads[16];
    const char *options[] = {"listening_ports",
                             listen,
                             "num_threads",
                             threads,
                             "enable_keep_alive",
                             "yes",
                             "keep_alive_timeout_ms",
                             KEEP_ALIVE_MS,
                             "request_timeout_ms",
                             REQUEST_MS,
                             "max_request_size",
                             HEADERS_BYTES,
                             "tcp_nodelay",
                             "1",
                             "decode_url",
                             "no",
                             "enable_auth_domain_check",
                             "no",
                             NULL};

    if (strchr(conf->addresses.http, ':') && !mg_check_feature(MG_FEATURES_IPV6))
        return err_set(e, -EAFNOSUPPORT,
                       "addresses.http is %s, but the HTTP library of this machine is built "
                       "without IPv6: set it to an address of IPv4",
                       conf->addresses.http);
    listen_spec(conf, listen, sizeof(listen));
    (void)snprintf(threads, sizeof(threads), "%d", conf->limits.http_threads);
    a->http = mg_start(&callbacks, a, options);
    if (!a->http)
        return err_set(e, -EADDRINUSE, "cannot listen for HTTP on %s: %s", listen,
                       a->start_error[0] ? a->start_error : strerror(errno));
    return 0;
}

/* On a client node: its files and tasks need no way over a server. */
static int open_client_gate(struct apid *a, struct errtext *e)
{
    _cleanup_(freep) char *clientd = conf_run_ipc(a->ctx->conf, "clientd.sock");
    struct bus_client *client;
    int r;

    if (!a->ctx->conf->client.enabled)
        return 0;
    r = bus_client_new(a->ctx->bus, clientd, &client, e);
    if (r == 0)
        a->client_gate = bus_gate_new(a->ctx->bus, client, 0);
    return r;
}

int apid_init(struct svc_ctx *ctx, struct errtext *e)
{
    _cleanup_(freep) char *routerd = conf_run_ipc(ctx->conf, "routerd.sock");
    _cleanup_(freep) char *raftd = conf_run_ipc(ctx->conf, "raftd.sock");
    _cleanup_(freep) char *page = conf_run_path(ctx->conf, "raftd.status");
    struct apid *a = xcalloc(1, sizeof(*a));
    struct bus_client *client;
    int r;

    ctx->user = a;
    a->ctx = ctx;
    a->cache = apid_cache_new();
    a->limits = xcalloc(1, sizeof(*a->limits));
    pthread_mutex_init(&a->limits->lock, NULL);
    pthread_rwlock_init(&a->store_lock, NULL);
    if (ctx->conf->server.enabled)
        a->status = state_status_reader_new(page);
    r = bus_client_new(ctx->bus, routerd, &client, e);
    if (r < 0)
        return r;
    a->gate = bus_gate_new(ctx->bus, client, APID_SHARE_MS);
    if (ctx->conf->server.enabled) {
        r = bus_client_new(ctx->bus, raftd, &client, e);
        if (r < 0)
            return r;
        a->raftd = bus_gate_new(ctx->bus, client, APID_SHARE_MS);
    }
    r = open_client_gate(a, e);
    if (r < 0)
        return r;
    r = start_http(a, e);
    if (r < 0)
        return r;
    svc_ready(ctx);
    return 0;
}

/*
 * civetweb looks whether it should stop only when its listener wakes up, every two seconds: until
 * mg_stop() is done, a thread knocks at the door.
 */
struct knocker {
    struct sockaddr_storage to;
    atomic_bool done;
};

static void *knock(void *arg)
{
    struct knocker *k = arg;

    while (!atomic_load(&k->done)) {
        int fd = socket(k->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd >= 0) {
            (void)connect(fd, (struct sockaddr *)&k->to, sizeof(k->to));
            close(fd);
        }
        (void)poll(NULL, 0, KNOCK_MS);
    }
    return NULL;
}

static void stop_http(struct apid *a)
{
    const struct conf *conf = a->ctx->conf;
    struct knocker k = {.done = false};
    struct sockaddr_in *in = (struct sockaddr_in *)&k.to;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&k.to;
    pthread_t thread;
    bool knocking;

    if (inet_pton(AF_INET6, conf->addresses.http, &in6->sin6_addr) == 1 &&
        !IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr)) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)conf->ports.http);
    } else {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)conf->ports.http);
        if (inet_pton(AF_INET, conf->addresses.http, &in->sin_addr) != 1 ||
            in->sin_addr.s_addr == 0)
            in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    knocking = pthread_create(&thread, NULL, knock, &k) == 0;
    mg_stop(a->http);
    atomic_store(&k.done, true);
    if (knocking)
        pthread_join(thread, NULL);
}

void apid_fini(struct svc_ctx *ctx)
{
    struct apid *a = ctx->user;

    if (!a)
        return;
    ctx->user = NULL;
    atomic_store(&a->stopping, true); /* those that wait for slow readers look at it */
    /* Handlers that wait get an answer first, or civetweb would wait for them. */
    if (a->raftd)
        bus_gate_close(a->raftd);
    if (a->gate)
        bus_gate_close(a->gate);
    if (a->client_gate)
        bus_gate_close(a->client_gate);
    if (a->http)
        stop_http(a);
    a->raftd = bus_gate_free(a->raftd);
    a->gate = bus_gate_free(a->gate);
    a->client_gate = bus_gate_free(a->client_gate);
    apid_cache_free(a->cache);
    store_free(a->store);
    state_status_reader_free(a->status);
    pthread_rwlock_destroy(&a->store_lock);
    pthread_mutex_destroy(&a->limits->lock);
    free(a->limits);
    free(a);
}
