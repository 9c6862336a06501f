/* SPDX-License-Identifier: MPL-2.0 */
/* HTTP exchanges over libcurl, with errors worded as Go's net/http words them. */
#include <curl/curl.h>
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "client.h"
#include "jsontext.h"
#include "text.h"

struct transfer {
    CURL *easy;
    struct strbuf body;
    struct curl_slist *headers, *connect_to;
    const char *method;
    char *url;
    char dialed[NI_MAXHOST + NI_MAXSERV]; /* first address that was tried */
    bool too_large;
    char detail[CURL_ERROR_SIZE]; /* libcurl's own words */
};

static size_t transfer_on_body(char *data, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;

    strbuf_add(&t->body, data, size * n);
    if (!strbuf_failed(&t->body))
        return size * n;
    t->too_large = true;
    return 0;
}

static curl_socket_t transfer_on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct transfer *t = arg;
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (t->dialed[0] == '\0' && getnameinfo(&a->addr, a->addrlen, host, sizeof(host), port,
                                            sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(t->dialed, sizeof(t->dialed),
                 strchr(host, ':') ? "[%.1000s]:%.30s" : "%.1000s:%.30s", host, port);
    return socket(a->family, a->socktype, a->protocol);
}

static void transfer_tls(struct transfer *t, const struct client *c)
{
    const struct client_conf *conf = &c->conf;

    /* -ca-cert wins over -ca-path. */
    if (*conf->ca_cert)
        curl_easy_setopt(t->easy, CURLOPT_CAINFO, conf->ca_cert);
    else if (*conf->ca_path)
        curl_easy_setopt(t->easy, CURLOPT_CAPATH, conf->ca_path);
    if (*conf->client_cert)
        curl_easy_setopt(t->easy, CURLOPT_SSLCERT, conf->client_cert);
    if (*conf->client_key)
        curl_easy_setopt(t->easy, CURLOPT_SSLKEY, conf->client_key);
    if (conf->insecure) {
        curl_easy_setopt(t->easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(t->easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

/*
 * The name for TLS differs from the address: curl takes it from the URL, so the URL gets that name
 * and the connection is redirected to the real address.
 */
static char *transfer_sni_url(struct transfer *t, const struct client *c, const char *rest)
{
    const char *colon = strrchr(c->host, ':');
    bool port = colon && !strchr(colon, ']');
    _cleanup_(freep) char *to = xasprintf("::%s%s", c->host, port ? "" : ":443");
    _cleanup_(freep) char *host = xasprintf("Host: %s", c->host);

    t->connect_to = curl_slist_append(NULL, to);
    t->headers = curl_slist_append(t->headers, host);
    curl_easy_setopt(t->easy, CURLOPT_CONNECT_TO, t->connect_to);
    return xasprintf("%s://%s%s%s", c->scheme, c->conf.tls_server_name, port ? colon : "", rest);
}

/* t->easy may be a handle of an earlier exchange: its connection is used again. */
static void transfer_init(struct transfer *t, const struct client *c, const char *method,
                          const char *path, const struct client_params *params, const char *body)
{
    _cleanup_(freep) char *query = client_params_text(params);
    _cleanup_(freep) char *rest = xasprintf("%s%s%s", path, *query ? "?" : "", query);
    _cleanup_(freep) char *dial = NULL;
    _cleanup_(freep) char *token = xasprintf("X-Nomad-Token: %s", c->conf.token);

    t->body = STRBUF_BOUND(CLIENT_RESPONSE_MAX);
    t->method = method;
    t->url = xasprintf("%s%s%s%s", c->scheme, *c->scheme ? "://" : "", c->host, rest);
    curl_easy_reset(t->easy);
    t->headers = curl_slist_append(NULL, "Content-Type:");
    t->headers = curl_slist_append(t->headers, "Expect:");
    if (*c->conf.token)
        t->headers = curl_slist_append(t->headers, token);
    if (*c->conf.tls_server_name && strcmp(c->scheme, "https") == 0)
        dial = transfer_sni_url(t, c, rest);

    curl_easy_setopt(t->easy, CURLOPT_URL, dial ? dial : t->url);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->detail);
    curl_easy_setopt(t->easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(t->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(t->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
    curl_easy_setopt(t->easy, CURLOPT_ACCEPT_ENCODING, "gzip");
    curl_easy_setopt(t->easy, CURLOPT_USERAGENT, "steppe/" STEPPE_VERSION);
    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, transfer_on_body);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_OPENSOCKETFUNCTION, transfer_on_socket);
    curl_easy_setopt(t->easy, CURLOPT_OPENSOCKETDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, CLIENT_CONNECT_MAX_MS);
    curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, CLIENT_TOTAL_MAX_MS);
    if (c->user)
        curl_easy_setopt(t->easy, CURLOPT_USERPWD, c->user);
    if (body) {
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, body);
    } else if (strcmp(method, "PUT") == 0) {
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)0);
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, "");
    }
    transfer_tls(t, c);
}

static void transfer_fini(struct transfer *t)
{
    strbuf_fini(&t->body);
    curl_slist_free_all(t->headers);
    curl_slist_free_all(t->connect_to);
    free(t->url);
}

/* Go's words for an errno of connect() or of a read. */
static const char *transfer_errno_text(long err)
{
    switch (err) {
    case ECONNREFUSED:
        return "connection refused";
    case ECONNRESET:
        return "connection reset by peer";
    case EHOSTUNREACH:
        return "no route to host";
    case ENETUNREACH:
        return "network is unreachable";
    case ETIMEDOUT:
        return "connection timed out";
    case EACCES:
        return "permission denied";
    case EINVAL:
        return "invalid argument";
    case EADDRNOTAVAIL:
        return "cannot assign requested address";
    default:
        return strerror((int)err);
    }
}

/* Both ends of the connection as Go writes them: "127.0.0.1:50996->127.0.0.1:4647". malloc'ed. */
static char *transfer_ends(const struct transfer *t)
{
    const char *ip = NULL;
    long port = 0;

    curl_easy_getinfo(t->easy, CURLINFO_LOCAL_IP, &ip);
    curl_easy_getinfo(t->easy, CURLINFO_LOCAL_PORT, &port);
    return ip && *ip
               ? xasprintf(strchr(ip, ':') ? "[%s]:%ld->%s" : "%s:%ld->%s", ip, port, t->dialed)
               : xstrdup(t->dialed);
}

static char *transfer_broken(const struct transfer *t, long err)
{
    _cleanup_(freep) char *ends = transfer_ends(t);

    return xasprintf("read tcp %s: read: %s", ends,
                     err ? transfer_errno_text(err) : "connection broken");
}

/* What went wrong below HTTP. malloc'ed. */
static char *transfer_fault(const struct transfer *t, const struct client *c, CURLcode code)
{
    long err = 0;
    double connect_s = 0;

    curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &err);
    curl_easy_getinfo(t->easy, CURLINFO_CONNECT_TIME, &connect_s);
    switch (code) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        if (strcmp(c->scheme, "http") == 0 || strcmp(c->scheme, "https") == 0)
            return xstrdup("http: no Host in request URL");
        return xasprintf("unsupported protocol scheme \"%s\"", c->scheme);
    case CURLE_COULDNT_RESOLVE_HOST:
        return xasprintf("dial tcp: lookup %.*s: no such host", (int)strcspn(c->host, ":"),
                         c->host);
    case CURLE_COULDNT_CONNECT:
        return err ? xasprintf("dial tcp %s: connect: %s", t->dialed, transfer_errno_text(err))
                   : xasprintf("dial tcp %s: %s", t->dialed, curl_easy_strerror(code));
    case CURLE_OPERATION_TIMEDOUT:
        return connect_s > 0
                   ? xstrdup("context deadline exceeded (Client.Timeout exceeded while awaiting "
                             "headers)")
                   : xasprintf("dial tcp %s: i/o timeout", t->dialed);
    case CURLE_GOT_NOTHING:
        return xstrdup("EOF");
    case CURLE_PARTIAL_FILE:
        return xstrdup("unexpected EOF");
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        return transfer_broken(t, err);
    case CURLE_SSL_CONNECT_ERROR:
        if (strstr(t->detail, "wrong version number"))
            return xstrdup("http: server gave HTTP response to HTTPS client");
        return xstrdup(*t->detail ? t->detail : curl_easy_strerror(code));
    case CURLE_PEER_FAILED_VERIFICATION:
        return xstrdup("x509: certificate signed by unknown authority");
    case CURLE_WRITE_ERROR:
        if (t->too_large)
            return xasprintf("answer larger than %zu MiB", CLIENT_RESPONSE_MAX >> 20);
        return xstrdup(curl_easy_strerror(code));
    default:
        return xstrdup(*t->detail ? t->detail : curl_easy_strerror(code));
    }
}

/* 0 and the body in t, or negative and *ret_error (malloc'ed). */
static int transfer_result(struct transfer *t, const struct client *c, CURLcode code,
                           char **ret_error)
{
    long status = 0;

    if (code != CURLE_OK) {
        _cleanup_(freep) char *fault = transfer_fault(t, c, code);
        _cleanup_(freep) char *quoted = text_quote(t->url);

        *ret_error = xasprintf("%c%s %s: %s", t->method[0],
                               strcmp(t->method, "GET") == 0   ? "et"
                               : strcmp(t->method, "PUT") == 0 ? "ut"
                                                               : "elete",
                               quoted, fault);
        return -EIO;
    }
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        *ret_error = xasprintf("Unexpected response code: %ld (%s)", status,
                               t->body.data ? t->body.data : "");
        return -EPROTO;
    }
    return 0;
}

static void client_fail(struct client *c, char *error)
{
    free(c->error);
    c->error = error;
}

int client_call_text(struct client *c, const char *method, const char *path, const char *body,
                     struct client_params *params, char **ret)
{
    struct transfer t = {0};
    char *error = NULL;
    int r;

    if (!c->curl)
        c->curl = curl_easy_init();
    t.easy = c->curl;
    if (!t.easy) {
        client_fail(c, xstrdup("cannot start libcurl"));
        return -ENOMEM;
    }
    transfer_init(&t, c, method, path, params, body);
    r = transfer_result(&t, c, curl_easy_perform(t.easy), &error);
    if (r < 0)
        client_fail(c, error);
    else
        *ret = strbuf_take(&t.body);
    transfer_fini(&t);
    return r;
}

int client_download(const char *url, struct strbuf *out, char **ret_error)
{
    const struct client_conf conf = {.address = url,
                                     .region = "",
                                     .namespace = "",
                                     .token = "",
                                     .http_auth = "",
                                     .ca_cert = "",
                                     .ca_path = "",
                                     .client_cert = "",
                                     .client_key = "",
                                     .tls_server_name = ""};
    const char *host = strstr(url, "://");
    struct client_params none = {0};
    struct transfer t = {0};
    struct client c;
    struct errtext e;
    long status = 0;
    CURLcode code;
    int r;

    if (!host || client_init(&c, &conf, &e) < 0) {
        *ret_error = xstrdup(host ? e.text : "no address");
        return -EINVAL;
    }
    t.easy = c.curl = curl_easy_init();
    if (!t.easy) {
        *ret_error = xstrdup("cannot start libcurl");
        client_fini(&c);
        return -ENOMEM;
    }
    host += strlen("://");
    transfer_init(&t, &c, "GET", host + strcspn(host, "/?#"), &none, NULL);
    curl_easy_setopt(t.easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(t.easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(t.easy, CURLOPT_MAXREDIRS, 10L);
    strbuf_fini(&t.body);
    t.body = *out; /* with its bound */
    code = curl_easy_perform(t.easy);
    *out = t.body;
    t.body = STRBUF_INIT;
    curl_easy_getinfo(t.easy, CURLINFO_RESPONSE_CODE, &status);
    r = code != CURLE_OK ? transfer_result(&t, &c, code, ret_error) : 0;
    if (t.too_large) {
        r = -EFBIG;
    } else if (r == 0 && status != 200) {
        *ret_error = xasprintf("bad response code: %ld", status);
        r = -EPROTO;
    }
    transfer_fini(&t);
    client_fini(&c);
    return r;
}

/* A stream on its way to its reader. */
struct stream {
    struct transfer t;
    client_data_fn *data;
    client_idle_fn *idle;
    void *user;
    bool enough; /* the reader has said so */
};

static size_t stream_on_body(char *data, size_t size, size_t n, void *arg)
{
    struct stream *s = arg;
    long status = 0;

    curl_easy_getinfo(s->t.easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) /* the text of an error */
        return transfer_on_body(data, size, n, &s->t);
    if (s->data(s->user, data, size * n))
        return size * n;
    s->enough = true;
    return 0;
}

static int stream_on_progress(void *arg, curl_off_t dn, curl_off_t dnow, curl_off_t un,
                              curl_off_t unow)
{
    struct stream *s = arg;

    (void)dn, (void)dnow, (void)un, (void)unow;
    s->enough = s->enough || !s->idle(s->user);
    return s->enough;
}

int client_stream(struct client *c, const char *path, struct client_params *params,
                  client_data_fn *data, client_idle_fn *idle, void *user)
{
    struct stream s = {.data = data, .idle = idle, .user = user};
    char *error = NULL;
    CURLcode code;
    int r = 0;

    if (!c->curl)
        c->curl = curl_easy_init();
    s.t.easy = c->curl;
    if (!s.t.easy) {
        client_fail(c, xstrdup("cannot start libcurl"));
        return -ENOMEM;
    }
    transfer_init(&s.t, c, "GET", path, params, NULL);
    curl_easy_setopt(s.t.easy, CURLOPT_WRITEFUNCTION, stream_on_body);
    curl_easy_setopt(s.t.easy, CURLOPT_WRITEDATA, &s);
    curl_easy_setopt(s.t.easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(s.t.easy, CURLOPT_XFERINFOFUNCTION, stream_on_progress);
    curl_easy_setopt(s.t.easy, CURLOPT_XFERINFODATA, &s);
    curl_easy_setopt(s.t.easy, CURLOPT_TIMEOUT_MS, 0L);
    curl_easy_setopt(s.t.easy, CURLOPT_ACCEPT_ENCODING, NULL);
    code = curl_easy_perform(s.t.easy);
    if (!s.enough)
        r = transfer_result(&s.t, c, code, &error);
    if (r < 0)
        client_fail(c, error);
    transfer_fini(&s.t);
    return r;
}

void client_default_params(const struct client *c, struct client_params *params)
{
    if (*c->conf.region)
        client_params_set(params, "region", c->conf.region);
    if (*c->conf.namespace)
        client_params_set(params, "namespace", c->conf.namespace);
}

static int client_parse(const char *text, json_t **ret, char **ret_error)
{
    json_error_t je;
    json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);

    /* Counters of 64 bits without sign may be larger than what jansson holds as a whole number. */
    if (!json && json_error_code(&je) == json_error_numeric_overflow)
        json = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &je);
    if (!json) {
        *ret_error = *text ? xasprintf("invalid JSON in the answer: %s", je.text) : xstrdup("EOF");
        return -EPROTO;
    }
    *ret = json;
    return 0;
}

int client_call_params(struct client *c, const char *method, const char *path, const json_t *body,
                       struct client_params *params, json_t **ret)
{
    _cleanup_(freep) char *sent = NULL, *got = NULL;
    char *error;
    int r;

    if (body) {
        _cleanup_(freep) char *text = js_text(body, JS_COMPACT);

        sent = xasprintf("%s\n", text);
    }
    r = client_call_text(c, method, path, sent, params, &got);
    if (r < 0 || !ret)
        return r;
    r = client_parse(got, ret, &error);
    if (r < 0)
        client_fail(c, error);
    return r;
}

int client_call(struct client *c, const char *method, const char *path, const json_t *body,
                json_t **ret, ...)
{
    _cleanup_(client_params_fini) struct client_params params = {0};
    const char *name;
    va_list ap;

    client_default_params(c, &params);
    va_start(ap, ret);
    while ((name = va_arg(ap, const char *)) != NULL) {
        const char *value = va_arg(ap, const char *);

        if (value)
            client_params_set(&params, name, value);
    }
    va_end(ap);
    return client_call_params(c, method, path, body, &params, ret);
}

/* The answer of one /v1/status/leader: a JSON string. */
static void client_leader_result(struct client *c, struct transfer *t, CURLcode code,
                                 char **ret_leader, char **ret_error)
{
    _cleanup_(json_decrefp) json_t *json = NULL;

    if (transfer_result(t, c, code, ret_error) < 0 ||
        client_parse(t->body.data ? t->body.data : "", &json, ret_error) < 0)
        return;
    *ret_leader = xstrdup(json_is_string(json) ? json_string_value(json) : "");
}

void client_leaders(struct client *c, const char *const *regions, size_t n, char **leaders,
                    char **errors)
{
    _cleanup_(freep) struct transfer *t = xcalloc(n + 1, sizeof(*t));
    CURLM *multi = curl_multi_init();
    int running = 0, queued;
    CURLMsg *msg;

    for (size_t i = 0; i < n; i++) {
        _cleanup_(client_params_fini) struct client_params params = {0};

        client_default_params(c, &params);
        client_params_set(&params, "region", regions[i]);
        t[i].easy = curl_easy_init();
        transfer_init(&t[i], c, "GET", "/v1/status/leader", &params, NULL);
        curl_easy_setopt(t[i].easy, CURLOPT_TIMEOUT_MS, CLIENT_LEADER_MAX_MS);
        curl_multi_add_handle(multi, t[i].easy);
    }
    /* Every transfer ends by its own deadline, so this loop does. */
    do {
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            break;
        if (running)
            curl_multi_poll(multi, NULL, 0, 1000, NULL);
    } while (running);

    while ((msg = curl_multi_info_read(multi, &queued)) != NULL) {
        for (size_t i = 0; msg->msg == CURLMSG_DONE && i < n; i++) {
            if (t[i].easy == msg->easy_handle)
                client_leader_result(c, &t[i], msg->data.result, &leaders[i], &errors[i]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (!leaders[i] && !errors[i])
            errors[i] = xstrdup("no answer");
        curl_multi_remove_handle(multi, t[i].easy);
        curl_easy_cleanup(t[i].easy);
        transfer_fini(&t[i]);
    }
    curl_multi_cleanup(multi);
}

void client_fini(struct client *c)
{
    if (c->curl)
        curl_easy_cleanup(c->curl);
    free(c->scheme);
    free(c->host);
    free(c->user);
    free(c->error);
    *c = (struct client){0};
}
