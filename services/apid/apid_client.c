/* SPDX-License-Identifier: MPL-2.0 */
/* /v1/client/...: parameters checked with Nomad's texts; the node answers by apid_stream.c. */
#include <ctype.h>
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "apid.h"
#include "client.json.h"
#include "rpc.json.h"
#include "rpc.pb.h"

#define NO_ALLOC "must provide a valid alloc id"
#define NO_FILE  "must provide a file name"

/* Names of headers as they are usually written; what is none in between is left out. */
static void add_header_names(struct strbuf *b, const char *names)
{
    size_t n = 0;

    for (const char *p = names; *p; p++) {
        bool part = isalnum((unsigned char)*p) || strchr("-_.", *p);
        bool starts = p == names || p[-1] == '-' || p[-1] == ',' || p[-1] == ' ';

        if (!part)
            continue;
        if (n++ > 0 && (p[-1] == ',' || p[-1] == ' '))
            strbuf_adds(b, ", ");
        strbuf_addc(b, (char)(starts ? toupper((unsigned char)*p) : tolower((unsigned char)*p)));
    }
}

/*
 * Browsers may ask from any page (reference 1.7), with any header. True: it was only the question
 * whether, and the answer's headers say so.
 */
static bool cors(struct apid_req *r)
{
    const char *origin = mg_get_header(r->conn, "Origin");
    const char *want = mg_get_header(r->conn, "Access-Control-Request-Method");
    const char *names = mg_get_header(r->conn, "Access-Control-Request-Headers");
    bool preflight = want && strcmp(r->info->request_method, "OPTIONS") == 0;

    strbuf_adds(&r->headers, "Vary: Origin\r\n");
    if (preflight)
        strbuf_adds(&r->headers, "Vary: Access-Control-Request-Method\r\n"
                                 "Vary: Access-Control-Request-Headers\r\n");
    if (!origin || (preflight && strcmp(want, "GET") != 0 && strcmp(want, "HEAD") != 0))
        return preflight;
    strbuf_adds(&r->headers, "Access-Control-Allow-Origin: *\r\n"
                             "Access-Control-Allow-Credentials: true\r\n");
    if (preflight)
        strbuf_addf(&r->headers, "Access-Control-Allow-Methods: %s\r\n", want);
    if (preflight && names && *names) {
        strbuf_adds(&r->headers, "Access-Control-Allow-Headers: ");
        add_header_names(&r->headers, names);
        strbuf_adds(&r->headers, "\r\n");
    }
    return preflight;
}

/* ---- parameters ---- */

/* A count of bytes; absent: 0. False: the answer is set. */
static bool param_bytes(struct apid_req *r, const char *key, bool required, int64_t *ret)
{
    const char *v = apid_param(r, key);
    long long n;
    char *end;

    *ret = 0;
    if ((!v || !*v) && !required)
        return true;
    if (!v)
        v = "";
    errno = 0;
    n = strtoll(v, &end, 10);
    if (!*v || *end || *v == ' ')
        return apid_error(
            r, 400, "error parsing %s: strconv.ParseInt: parsing \"%s\": invalid syntax", key, v);
    if (errno == ERANGE)
        return apid_error(r, 400,
                          "error parsing %s: strconv.ParseInt: parsing \"%s\": value out of range",
                          key, v);
    *ret = n;
    return true;
}

static bool param_flag(struct apid_req *r, const char *key, bool otherwise, bool *ret)
{
    const char *v = apid_param(r, key);
    bool bad;

    *ret = otherwise;
    if (!v || !*v)
        return true;
    *ret = apid_param_bool(r, key, &bad);
    if (bad)
        return apid_error(r, 400,
                          "failed to parse %s field to boolean: strconv.ParseBool: parsing \"%s\": "
                          "invalid syntax",
                          key, v);
    return true;
}

static bool param_origin(struct apid_req *r, steppe_ClientCall *call)
{
    const char *v = apid_param(r, "origin");

    if (v && *v && strcmp(v, "start") != 0 && strcmp(v, "end") != 0)
        return apid_error(r, 400, "origin must be start or end");
    call->origin = (char *)v;
    return true;
}

static bool param_path(struct apid_req *r, steppe_ClientCall *call)
{
    call->path = (char *)apid_param(r, "path");
    if (!call->path || !call->path[0])
        return apid_error(r, 400, NO_FILE);
    return true;
}

/* ---- files ---- */

static void fs_ls(struct apid_req *r, steppe_ClientCall *call)
{
    call->op = steppe_ClientCall_Op_FS_LIST;
    call->path = (char *)apid_param(r, "path");
    if (!call->path || !call->path[0])
        call->path = (char *)"/";
    (void)apid_client_ask(r, call, &steppe_FileInfo_json, true);
}

static void fs_stat(struct apid_req *r, steppe_ClientCall *call)
{
    call->op = steppe_ClientCall_Op_FS_STAT;
    if (param_path(r, call))
        (void)apid_client_ask(r, call, &steppe_FileInfo_json, false);
}

/* What a task wrote must not be taken for a page of ours. Nomad's wrapper for that has sent the
 * head before an error is known: errors come with status 200. */
static void untrusted(struct apid_req *r, const steppe_ClientCall *call, bool good)
{
    if (good)
        apid_client_stream(r, call, APID_STREAM_UNTRUSTED, NULL);
    if (!r->streamed)
        r->status = 200;
}

static void fs_cat(struct apid_req *r, steppe_ClientCall *call)
{
    call->op = steppe_ClientCall_Op_FS_READ;
    untrusted(r, call, param_path(r, call));
}

static void fs_readat(struct apid_req *r, steppe_ClientCall *call)
{
    bool good = param_path(r, call) && param_bytes(r, "offset", true, &call->offset) &&
                param_bytes(r, "limit", false, &call->limit);

    call->op = steppe_ClientCall_Op_FS_READ;
    untrusted(r, call, good);
}

static void fs_stream(struct apid_req *r, steppe_ClientCall *call)
{
    call->op = steppe_ClientCall_Op_FS_STREAM;
    if (!param_path(r, call))
        return;
    if (!param_bytes(r, "offset", false, &call->offset) ||
        !param_flag(r, "follow", true, &call->follow))
        r->status = 500; /* not coded in Nomad, while those of logs are */
    else if (param_origin(r, call))
        apid_client_stream(r, call, APID_STREAM_FRAMES, "text/plain; charset=utf-8");
}

static void fs_logs(struct apid_req *r, steppe_ClientCall *call)
{
    const char *type = apid_param(r, "type");
    const char *as;
    bool plain;

    call->op = steppe_ClientCall_Op_FS_LOGS;
    call->task = (char *)apid_param(r, "task");
    call->log_type = (char *)type;
    if (!call->task || !call->task[0]) {
        apid_error(r, 400, "must provide task name");
        return;
    }
    if (!param_flag(r, "follow", false, &call->follow) || !param_flag(r, "plain", false, &plain))
        return;
    if (!type || (strcmp(type, "stdout") != 0 && strcmp(type, "stderr") != 0)) {
        apid_error(r, 400, "must provide log type (stdout/stderr)");
        return;
    }
    as = plain ? "text/plain" : "application/json";
    if (!param_bytes(r, "offset", false, &call->offset) || !param_origin(r, call))
        return;
    if (call->offset < 0 && !(call->origin && strcmp(call->origin, "end") == 0)) {
        call->origin = (char *)"end"; /* backwards, as in Nomad */
        call->offset = -MAX(call->offset, -INT64_MAX);
    }
    apid_client_stream(r, call, plain ? APID_STREAM_RAW : APID_STREAM_FRAMES, as);
    r->content_type = as; /* also of errors */
}

static const struct {
    const char *prefix;
    void (*fn)(struct apid_req *r, steppe_ClientCall *call);
    bool untrusted;
} fs_parts[] = {{"ls/", fs_ls, false},         {"stat/", fs_stat, false},
                {"cat/", fs_cat, true},        {"readat/", fs_readat, true},
                {"stream/", fs_stream, false}, {"logs/", fs_logs, false}};

void apid_client_fs(struct apid_req *r)
{
    const char *rest = apid_path_rest(r, "/v1/client/fs/");
    steppe_ClientCall call = {0};

    if (cors(r))
        return;
    for (size_t i = 0; i < ARRAY_LEN(fs_parts); i++) {
        size_t n = strlen(fs_parts[i].prefix);

        if (strncmp(rest, fs_parts[i].prefix, n) != 0)
            continue;
        call.alloc_id = (char *)rest + n;
        if (rest[n]) {
            fs_parts[i].fn(r, &call);
        } else {
            apid_error(r, 400, NO_ALLOC);
            if (fs_parts[i].untrusted)
                r->status = 200;
        }
        return;
    }
    apid_error(r, 404, "Invalid method");
}

/* ---- the machine ---- */

/* The node asked for, or this one. False: the answer is set. */
static bool choose_node(struct apid_req *r, steppe_ClientCall *call)
{
    call->node_id = (char *)apid_param(r, "node_id");
    if ((!call->node_id || !call->node_id[0]) && !r->a->client_gate)
        return apid_error(r, 400, "No local Node and node_id not provided");
    return true;
}

void apid_client_stats(struct apid_req *r)
{
    steppe_ClientCall call = {.op = steppe_ClientCall_Op_HOST_STATS};

    if (!cors(r) && choose_node(r, &call))
        (void)apid_client_ask(r, &call, &steppe_HostStats_json, false);
}

void apid_client_gc(struct apid_req *r)
{
    steppe_ClientCall call = {.op = steppe_ClientCall_Op_GC_ALL};

    if (cors(r) || !choose_node(r, &call))
        return;
    if (!apid_client_ask(r, &call, NULL, false) && r->status == 404)
        r->status = 500; /* not coded in Nomad */
}

/* ---- allocations ---- */

static void alloc_stats(struct apid_req *r, steppe_ClientCall *call)
{
    call->op = steppe_ClientCall_Op_ALLOC_STATS;
    call->task = (char *)apid_param(r, "task");
    (void)apid_client_ask(r, call, &steppe_AllocResourceUsage_json, false);
}

static void alloc_gc(struct apid_req *r, steppe_ClientCall *call)
{
    call->op = steppe_ClientCall_Op_ALLOC_GC;
    (void)apid_client_ask(r, call, NULL, false);
}

static void alloc_restart(struct apid_req *r, steppe_ClientCall *call)
{
    steppe_AllocRestartRequest m = {0};
    struct errtext e = {{0}};

    call->op = steppe_ClientCall_Op_ALLOC_RESTART;
    if (!apid_read_body(r, false))
        return;
    if (r->body.len > 0 &&
        json_decode(&steppe_AllocRestartRequest_json, r->body.data, r->body.len, &m, &e) < 0) {
        apid_error(r, 500, "%s", e.text);
        return;
    }
    call->task = m.task_name;
    if (apid_client_ask(r, call, NULL, false))
        strbuf_adds(&r->out, "{\"Index\":0}");
    pb_release(steppe_AllocRestartRequest_fields, &m);
}

static void alloc_signal(struct apid_req *r, steppe_ClientCall *call)
{
    steppe_AllocSignalRequest m = {0};
    struct errtext e = {{0}};

    call->op = steppe_ClientCall_Op_ALLOC_SIGNAL;
    if (!(r->method & (APID_PUT | APID_POST))) {
        apid_error(r, 405, "Invalid method");
        return;
    }
    if (!apid_read_body(r, false))
        return;
    if (r->body.len == 0) {
        apid_error(r, 400, "Failed to decode body: Request body is empty");
        return;
    }
    if (json_decode(&steppe_AllocSignalRequest_json, r->body.data, r->body.len, &m, &e) < 0) {
        apid_error(r, 400, "Failed to decode body: %s", e.text);
        return;
    }
    call->task = m.task;
    call->signal = m.signal;
    if (apid_client_ask(r, call, NULL, false))
        strbuf_adds(&r->out, "{\"Index\":0}");
    pb_release(steppe_AllocSignalRequest_fields, &m);
}

static void alloc_not_yet(struct apid_req *r, steppe_ClientCall *call)
{
    (void)call;
    apid_error(r, 501, "%s is not part of this release", strrchr(r->path, '/') + 1);
}

static const struct {
    const char *name;
    void (*fn)(struct apid_req *r, steppe_ClientCall *call);
} alloc_parts[] = {{"stats", alloc_stats}, {"restart", alloc_restart}, {"signal", alloc_signal},
                   {"gc", alloc_gc},       {"exec", alloc_not_yet},    {"snapshot", alloc_not_yet}};

void apid_client_allocation(struct apid_req *r)
{
    const char *rest = apid_path_rest(r, "/v1/client/allocation/");
    const char *slash = strchr(rest, '/');
    _cleanup_(freep) char *id = slash ? xstrndup(rest, (size_t)(slash - rest)) : NULL;
    steppe_ClientCall call = {.alloc_id = id};

    if (cors(r))
        return;
    for (size_t i = 0; slash && i < ARRAY_LEN(alloc_parts); i++) {
        if (strcmp(slash + 1, alloc_parts[i].name) == 0) {
            alloc_parts[i].fn(r, &call);
            return;
        }
    }
    apid_error(r, 404, "resource not found");
}
