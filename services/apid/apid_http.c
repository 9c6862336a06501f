/* SPDX-License-Identifier: MPL-2.0 */
/* One HTTP request in, one answer out. What Nomad's server does on the wire is in the reference. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#include "apid.h"
#include "json/json.h"

#define GZIP_MIN      1024 /* smaller answers are not worth a compression */
#define GZIP_LEVEL    1
#define READ_STEP     65536
#define LARGE_BODY    (1 << 20)
#define LARGE_MAX     16  /* at a time: 256 threads with 16 MiB each would be all memory */
#define HEADERS_BYTES 512 /* of an answer, usually */

static const struct {
    const char *name;
    enum apid_method method;
} methods[] = {
    {"GET", APID_GET},
    {"PUT", APID_PUT},
    {"POST", APID_POST},
    {"DELETE", APID_DELETE},
};

bool apid_error(struct apid_req *r, int status, const char *fmt, ...)
{
    char text[2048];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    r->status = status;
    strbuf_reset(&r->out);
    strbuf_adds(&r->out, text);
    r->content_type = "text/plain; charset=utf-8";
    return false;
}

/* Percent-decodes n bytes of s into to; false for a broken escape or a NUL. plus: '+' is a space.
 */
static bool decode(const char *s, size_t n, bool plus, char *to)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '%') {
            char hex[3] = {0}, *end;

            if (i + 2 >= n || !isxdigit((unsigned char)s[i + 1]) ||
                !isxdigit((unsigned char)s[i + 2]))
                return false;
            hex[0] = s[i + 1];
            hex[1] = s[i + 2];
            *to = (char)strtol(hex, &end, 16);
            if (!*to++)
                return false;
            i += 2;
        } else {
            *to++ = plus && s[i] == '+' ? ' ' : s[i];
        }
    }
    *to = 0;
    return true;
}

static bool parse_query(struct apid_req *r, const char *query)
{
    char *to;

    r->arena = xmalloc(strlen(query) + 2 * APID_PARAMS_MAX + 2);
    to = r->arena;
    while (*query) {
        size_t n = strcspn(query, "&"), key = strcspn(query, "=");
        struct apid_param *p = &r->params[r->params_n];

        key = MIN(key, n);
        if (n > 0) {
            if (r->params_n == APID_PARAMS_MAX)
                return apid_error(r, 400, "more than %d query parameters", APID_PARAMS_MAX);
            p->key = to;
            if (!decode(query, key, true, to))
                return apid_error(r, 400, "broken escape in the query");
            to += strlen(to) + 1;
            p->value = to;
            if (!decode(query + key + (key < n), n - key - (key < n), true, to))
                return apid_error(r, 400, "broken escape in query parameter %s", p->key);
            to += strlen(to) + 1;
            r->params_n++;
        }
        query += n + (query[n] == '&');
    }
    return true;
}

/* Go's path.Clean, keeping a final slash. True when the path was clean already. */
static bool clean_path(const char *path, struct strbuf *out)
{
    const char *p = path;

    while (*p) {
        size_t n;

        while (*p == '/')
            p++;
        n = strcspn(p, "/");
        if (n == 0)
            break;
        if (n == 2 && memcmp(p, "..", 2) == 0) {
            while (out->len > 0 && out->data[out->len - 1] != '/')
                out->len--;
            if (out->len > 0)
                out->len--;
        } else if (!(n == 1 && *p == '.')) {
            strbuf_addc(out, '/');
            strbuf_add(out, p, n);
        }
        p += n;
    }
    if (out->len == 0 || (p > path && p[-1] == '/'))
        strbuf_addc(out, '/');
    out->data[out->len] = 0;
    return strcmp(out->data, path) == 0;
}

/* The path as it may stand in a header: what is no plain path character is escaped again. */
static void add_escaped(struct strbuf *out, const char *path)
{
    for (; *path; path++) {
        if (isalnum((unsigned char)*path) || strchr("/-._~!$&'()*+,;=:@", *path))
            strbuf_addc(out, *path);
        else
            strbuf_addf(out, "%%%02X", (unsigned char)*path);
    }
}

bool apid_req_parse(struct apid_req *r)
{
    const char *uri = r->info->request_uri, *query = r->info->query_string;
    _cleanup_(strbuf_fini) struct strbuf clean = STRBUF_INIT;
    size_t n = strcspn(uri, "?");

    r->method = APID_OTHER;
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if (strcmp(r->info->request_method, methods[i].name) == 0)
            r->method = methods[i].method;
    }
    if (n > APID_PATH_MAX)
        return apid_error(r, 414, "path is longer than %d bytes", APID_PATH_MAX);
    r->path = xmalloc(n + 1);
    if (!decode(uri, n, false, r->path)) {
        r->path[0] = 0; /* not ended yet, and the log shows it */
        return apid_error(r, 400, "broken escape in the path");
    }
    if (r->path[0] != '/')
        return apid_error(r, 400, "not a path: %s", r->path);
    if (query && !parse_query(r, query))
        return false;
    if ((strstr(r->path, "//") || strstr(r->path, "/.")) && !clean_path(r->path, &clean)) {
        r->status = 301;
        add_escaped(&r->out, clean.data);
        if (query)
            strbuf_addf(&r->out, "?%s", query);
        r->location = strbuf_take(&r->out);
        return false;
    }
    return true;
}

void apid_req_fini(struct apid_req *r)
{
    if (r->large_body)
        atomic_fetch_sub(&r->a->large_bodies, 1);
    free(r->path);
    free(r->arena);
    free((char *)r->location);
    strbuf_fini(&r->body);
    strbuf_fini(&r->out);
    strbuf_fini(&r->headers);
}

const char *apid_param(const struct apid_req *r, const char *key)
{
    for (size_t i = 0; i < r->params_n; i++) {
        if (strcmp(r->params[i].key, key) == 0)
            return r->params[i].value;
    }
    return NULL;
}

bool apid_param_bool(struct apid_req *r, const char *key, bool *ret_bad)
{
    static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
    static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};
    const char *v = apid_param(r, key);

    *ret_bad = false;
    if (!v || !*v)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (strcmp(v, yes[i]) == 0)
            return true;
        if (strcmp(v, no[i]) == 0)
            return false;
    }
    *ret_bad = true;
    return apid_error(r, 500,
                      "Failed to parse value of \"%s\" (%s) as a bool: strconv.ParseBool: parsing "
                      "\"%s\": invalid syntax",
                      key, v, v);
}

bool apid_pretty(const struct apid_req *r)
{
    const char *v = apid_param(r, "pretty");

    return v && strcmp(v, "0") != 0;
}

/* Counts a body that grew large. False: there are too many. */
static bool may_be_large(struct apid_req *r)
{
    if (r->large_body || r->body.len <= LARGE_BODY)
        return true;
    r->large_body = true;
    return atomic_fetch_add(&r->a->large_bodies, 1) < LARGE_MAX;
}

bool apid_read_body(struct apid_req *r, bool required)
{
    int64_t max = r->a->ctx->conf->limits.http_body_max;

    if (r->info->content_length > max)
        goto too_large;
    for (;;) {
        char *p = strbuf_reserve(&r->body, READ_STEP);
        int n = mg_read(r->conn, p, READ_STEP);

        if (n < 0)
            return apid_error(r, 400, "unexpected EOF");
        if (n == 0)
            break;
        r->body.len += (size_t)n;
        if ((int64_t)r->body.len > max)
            goto too_large;
        if (!may_be_large(r)) {
            r->close = true;
            return apid_error(r, 429, "too many large request bodies at a time");
        }
        if (r->info->content_length >= 0 && (int64_t)r->body.len >= r->info->content_length)
            break;
    }
    if (r->info->content_length > (int64_t)r->body.len)
        return apid_error(r, 400, "unexpected EOF");
    if (r->body.len == 0 && required)
        return apid_error(r, 400, "Request body is empty");
    return true;
too_large:
    r->close = true; /* the rest is not read */
    return apid_error(r, 413, "request body is larger than %lld bytes", (long long)max);
}

/* The list has this coding, and not as one that is refused: with q=0 (RFC 9110, 12.5.3). */
static bool accepts(const char *list, const char *coding)
{
    for (const char *p = list; *p; p += strcspn(p, ",") + (p[strcspn(p, ",")] == ',')) {
        const char *name = p + strspn(p, " \t"), *q;
        size_t item = strcspn(p, ","), len = strcspn(name, " \t;,");

        if (len != strlen(coding) || strncasecmp(name, coding, len) != 0)
            continue;
        q = memmem(p, item, "q=", 2);
        return !q || isdigit((unsigned char)q[2 + strspn(q + 2, "0.")]);
    }
    return false;
}

static bool wants_gzip(const struct apid_req *r)
{
    const char *v = mg_get_header(r->conn, "Accept-Encoding");

    return r->out.len >= GZIP_MIN && v && accepts(v, "gzip");
}

/* Replaces out by its gzip form; false leaves it as it is. */
static bool gzip(struct strbuf *out)
{
    z_stream z = {0};
    struct strbuf packed = STRBUF_INIT;
    size_t bound;

    if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    bound = deflateBound(&z, out->len);
    z.next_in = (Bytef *)out->data;
    z.avail_in = (uInt)out->len;
    z.next_out = (Bytef *)strbuf_reserve(&packed, bound);
    z.avail_out = (uInt)bound;
    if (deflate(&z, Z_FINISH) != Z_STREAM_END) {
        deflateEnd(&z);
        strbuf_fini(&packed);
        return false;
    }
    packed.len = z.total_out;
    deflateEnd(&z);
    strbuf_fini(out);
    *out = packed;
    return true;
}

static bool keep_alive(const struct apid_req *r)
{
    const char *v = mg_get_header(r->conn, "Connection");

    if (r->close || (v && strcasestr(v, "close")))
        return false;
    return strcmp(r->info->http_version, "1.1") == 0 || (v && strcasestr(v, "keep-alive"));
}

/* Decimal digits without a format: the hot path of every answer. */
static void add_u64(struct strbuf *h, uint64_t v)
{
    char digits[20];
    int n = sizeof(digits);

    do
        digits[--n] = (char)('0' + v % 10);
    while (v /= 10);
    strbuf_add(h, digits + n, sizeof(digits) - (size_t)n);
}

static void add_header(struct strbuf *h, const char *name, const char *value)
{
    strbuf_adds(h, name);
    strbuf_add(h, ": ", 2);
    strbuf_adds(h, value);
    strbuf_add(h, "\r\n", 2);
}

static void add_meta(const struct apid_req *r, struct strbuf *h)
{
    if (r->meta || r->index_only) {
        strbuf_adds(h, "X-Nomad-Index: ");
        add_u64(h, r->reply.index);
        strbuf_add(h, "\r\n", 2);
    }
    if (r->meta) {
        add_header(h, "X-Nomad-KnownLeader", r->reply.known_leader ? "true" : "false");
        strbuf_adds(h, "X-Nomad-LastContact: ");
        add_u64(h, r->reply.last_contact_ms);
        strbuf_add(h, "\r\n", 2);
    }
}

bool apid_send_head(struct apid_req *r, const char *content_type, bool chunked)
{
    const struct conf_map *extra = &r->a->ctx->conf->http_api_response_headers;
    _cleanup_(strbuf_fini) struct strbuf h = STRBUF_INIT;

    strbuf_adds(&h, "HTTP/1.1 200 OK\r\n");
    for (size_t i = 0; i < extra->n; i++)
        add_header(&h, extra->keys[i], extra->values[i]);
    strbuf_add(&h, r->headers.data ? r->headers.data : "", r->headers.len);
    add_header(&h, "Content-Type", content_type);
    add_header(&h, "Vary", "Accept-Encoding");
    add_header(&h, chunked ? "Transfer-Encoding" : "Connection", chunked ? "chunked" : "close");
    if (chunked && !keep_alive(r))
        add_header(&h, "Connection", "close");
    strbuf_add(&h, "\r\n", 2);
    return mg_write(r->conn, h.data, h.len) == (int)h.len;
}

/* What a handler wrote as one line, in several, if that was asked for. */
static void lay_out(struct apid_req *r)
{
    struct strbuf wide = STRBUF_INIT;

    if (r->out.len == 0 || r->content_type || r->status >= 400 ||
        r->out.data[r->out.len - 1] == '\n' || !apid_pretty(r))
        return;
    if (json_raw_compact(r->out.data, r->out.len, JSON_PRETTY, &wide, NULL) < 0) {
        strbuf_fini(&wide);
        return;
    }
    strbuf_addc(&wide, '\n');
    strbuf_fini(&r->out);
    r->out = wide;
}

void apid_send(struct apid_req *r)
{
    const struct conf_map *extra = &r->a->ctx->conf->http_api_response_headers;
    struct strbuf h = STRBUF_INIT;
    int status = r->status ? r->status : 200;
    bool packed;

    lay_out(r);
    packed = wants_gzip(r) && gzip(&r->out);
    (void)strbuf_reserve(&h, HEADERS_BYTES + r->out.len); /* one allocation */
    strbuf_adds(&h, "HTTP/1.1 ");
    add_u64(&h, (uint64_t)status);
    strbuf_addc(&h, ' ');
    strbuf_adds(&h, mg_get_response_code_text(r->conn, status));
    strbuf_add(&h, "\r\n", 2);
    for (size_t i = 0; i < extra->n; i++)
        add_header(&h, extra->keys[i], extra->values[i]);
    strbuf_add(&h, r->headers.data ? r->headers.data : "", r->headers.len);
    add_meta(r, &h);
    if (r->out.len > 0 || (r->content_type && status < 400))
        add_header(&h, "Content-Type", r->content_type ? r->content_type : "application/json");
    if (r->location)
        add_header(&h, "Location", r->location);
    if (packed)
        add_header(&h, "Content-Encoding", "gzip");
    if (status == 429 || r->reply.retryable)
        add_header(&h, "Retry-After", "1");
    if (!keep_alive(r))
        add_header(&h, "Connection", "close");
    strbuf_adds(&h, "Vary: Accept-Encoding\r\nContent-Length: ");
    add_u64(&h, r->out.len);
    strbuf_add(&h, "\r\n\r\n", 4);
    if (strcmp(r->info->request_method, "HEAD") != 0)
        strbuf_add(&h, r->out.data, r->out.len); /* one write for both */
    (void)mg_write(r->conn, h.data, h.len);
    strbuf_fini(&h);
}
