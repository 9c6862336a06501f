/* SPDX-License-Identifier: MPL-2.0 */
/* From a handler to the rest of the cluster, or to this node's own state. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "apid.h"
#include "base/log.h"
#include "base/prng.h"
#include "query/query.h"
#include "rpc.pb.h"
#include "wire/wire.h"

#define READ_BYTES     4096       /* of an answer from this node's state, usually */
#define STORE_RETRY_NS NS_PER_SEC /* between two attempts to open it */
#define WAIT_SLACK_MS                                                                              \
    2000u /* beyond the wait of a blocking query: jitter is added to it separately */

static bool copy_param(struct apid_req *r, const char *key, char *to, size_t cap)
{
    const char *v = apid_param(r, key);

    if (!v || !*v)
        return true;
    if (strlen(v) >= cap)
        return apid_error(r, 400, "query parameter %s is longer than %zu bytes", key, cap - 1);
    (void)snprintf(to, cap, "%s", v);
    return true;
}

static bool parse_wait(struct apid_req *r, steppe_Request *env)
{
    const char *wait = apid_param(r, "wait"), *index = apid_param(r, "index");
    int64_t ns = 0;
    char *end;

    if (wait && *wait && duration_parse(wait, &ns) != 0)
        return apid_error(r, 400, "Invalid wait time");
    if (index && *index) {
        errno = 0;
        env->min_index = strtoull(index, &end, 10);
        if (*end || errno || *index == '-' || *index == '+')
            return apid_error(r, 400, "Invalid index");
    }
    if (env->min_index > 0) {
        env->wait_ms =
            ns > 0 ? (uint32_t)MIN(ns / NS_PER_MS, (int64_t)APID_WAIT_MAX_MS) : APID_WAIT_MAX_MS;
        env->wait_ms = MAX(env->wait_ms, 1u);
        env->timeout_ms = env->wait_ms + env->wait_ms / 16 + WAIT_SLACK_MS;
        env->timeout_ms = MAX(env->timeout_ms, APID_CALL_MS);
    }
    return true;
}

bool apid_env(struct apid_req *r, unsigned method, steppe_Request *env)
{
    const char *token = mg_get_header(r->conn, "X-Nomad-Token");
    const struct rpc_method_info *info = rpc_method_info(method);

    memset(env, 0, sizeof(*env));
    env->method = method;
    env->timeout_ms = APID_CALL_MS;
    (void)snprintf(env->region, sizeof(env->region), "%s", r->a->ctx->conf->region);
    if (token && strlen(token) < sizeof(env->token))
        (void)snprintf(env->token, sizeof(env->token), "%s", token);
    if (!copy_param(r, "region", env->region, sizeof(env->region)) ||
        !copy_param(r, "namespace", env->namespace, sizeof(env->namespace)) ||
        !copy_param(r, "prefix", env->prefix, sizeof(env->prefix)))
        return false;
    env->stale = r->method == APID_GET && apid_param(r, "stale");
    if (info->flags & RPC_WRITE) /* lets whoever forwards it try again without doing it twice */
        uuid_make(env->idempotency_key);
    return info->flags & RPC_WRITE ? true : parse_wait(r, env);
}

/* What a failed exchange with routerd itself looks like from outside. */
static bool call_failed(struct apid_req *r, int err)
{
    r->reply = (steppe_Reply){.retryable = true};
    switch (err) {
    case -ETIMEDOUT:
        return apid_error(r, 500, "rpc error: no answer in time");
    case -ECONNREFUSED:
        return apid_error(r, 500, "rpc error: the node's router is not running");
    case -ECANCELED:
        return apid_error(r, 503, "the HTTP gateway is stopping");
    default:
        return apid_error(r, 500, "rpc error: the connection to the node's router was lost");
    }
}

/* May others have the answer to this, and it theirs? */
static enum bus_share share_of(const steppe_Request *env, const struct rpc_method_info *info)
{
    if (!(info->flags & RPC_READ) || env->min_index > 0)
        return BUS_SHARE_NOT;
    return env->stale ? BUS_SHARE_ANY : BUS_SHARE_NEXT;
}

/* Does this node's raftd lead the region that is asked? */
static bool leads_here(const struct apid_req *r, const steppe_Request *env)
{
    struct state_status st;

    return r->a->raftd && strcmp(env->region, r->a->ctx->conf->region) == 0 &&
           state_status_read(r->a->status, clock_mono(), &st) == 0 &&
           st.role == STATE_STATUS_LEADER;
}

/*
 * A write straight to the own leading raftd: there is nothing to route, and a hop less is half of
 * the rate. False: it was lost or refused for now, and its key lets routerd send it again.
 */
static bool call_leader(struct apid_req *r, const steppe_Request *env, const void *body, size_t len,
                        uint8_t **ret_body, size_t *ret_len, int *ret_err)
{
    *ret_err =
        bus_gate_call(r->a->raftd, env, body, len, 0, BUS_SHARE_NOT, &r->reply, ret_body, ret_len);
    if (*ret_err == 0 && r->reply.code != 0 && r->reply.retryable) {
        free(*ret_body);
        *ret_body = NULL;
        return false;
    }
    return *ret_err != -ECONNREFUSED && *ret_err != -ECONNRESET;
}

bool apid_call(struct apid_req *r, const steppe_Request *env, const void *body, size_t len,
               uint8_t **ret_body, size_t *ret_len)
{
    const struct rpc_method_info *info = rpc_method_info(env->method);
    bool repeatable = (info->flags & RPC_READ) || env->idempotency_key[0];
    bool done = (info->flags & RPC_WRITE) && env->idempotency_key[0] && leads_here(r, env);
    int err = -ECONNRESET;

    if (done)
        done = call_leader(r, env, body, len, ret_body, ret_len, &err);
    /* routerd died under the call: asked once more of the next one. */
    for (int tries = 0; !done && tries < 2; tries++) {
        err = bus_gate_call(r->a->gate, env, body, len, APID_DIAL_MS, share_of(env, info),
                            &r->reply, ret_body, ret_len);
        done = err != -ECONNRESET || !repeatable;
    }
    if (err != 0)
        return call_failed(r, err);
    if (r->reply.code != 0) {
        free(*ret_body);
        *ret_body = NULL;
        /* A missing object has an index too. */
        r->meta = r->reply.code == 404 && query_known(env->method);
        return apid_error(r, (int)r->reply.code, "%s", r->reply.error);
    }
    return true;
}

void apid_uncoded(struct apid_req *r, const steppe_Request *env)
{
    bool far = !r->a->status || strcmp(env->region, r->a->ctx->conf->region) != 0;
    _cleanup_(freep) char *text = NULL;

    r->meta = false;
    if (r->status < 400 || r->status > 499 || r->status == 429)
        return;
    text = xstrdup(r->out.data ? r->out.data : "");
    apid_error(r, 500, "%s%s", far ? "rpc error: " : "", text);
}

bool apid_call_msg(struct apid_req *r, const steppe_Request *env, const pb_msgdesc_t *fields,
                   const void *msg, uint8_t **ret_body, size_t *ret_len)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_BOUND(BUS_BODY_MAX);
    int err = wire_encode(fields, msg, &body);

    if (err < 0)
        return apid_error(r, 413, "the request is too large");
    return apid_call(r, env, body.data, body.len, ret_body, ret_len);
}

void apid_id_body(const char *id, struct strbuf *out)
{
    steppe_JobSpecificRequest msg = {.job_id = (char *)id};

    (void)wire_encode(steppe_JobSpecificRequest_fields, &msg, out);
}

/* ---- this node's state ---- */

/* Opens (again) when there is none, or raftd has started a new file. Takes the read lock on true.
 */
static bool lock_store(struct apid *a, uint64_t generation)
{
    _cleanup_(freep) char *dir = NULL;
    struct store_lmdb_options opt = {.read_only = true};
    struct store *fresh = NULL;
    struct errtext e = {{0}};

    pthread_rwlock_rdlock(&a->store_lock);
    if (a->store && a->store_generation == generation)
        return true;
    pthread_rwlock_unlock(&a->store_lock);
    if (clock_mono().ns < atomic_load(&a->store_retry_ns))
        return false;
    pthread_rwlock_wrlock(&a->store_lock);
    if (!a->store || a->store_generation != generation) {
        atomic_store(&a->store_retry_ns, clock_mono().ns + STORE_RETRY_NS);
        a->store = store_free(a->store);
        dir = xasprintf("%s/state", a->ctx->conf->server.data_dir);
        opt.path = dir;
        if (store_lmdb_open(&opt, &fresh, NULL, &e) == 0) {
            a->store = fresh;
            (void)store_generation(fresh, &a->store_generation);
        } else {
            log_warn(
                "this node's state cannot be read here: stale reads go through raftd error=\"%s\"",
                e.text);
        }
    }
    pthread_rwlock_unlock(&a->store_lock);
    pthread_rwlock_rdlock(&a->store_lock);
    if (a->store && a->store_generation == generation)
        return true;
    pthread_rwlock_unlock(&a->store_lock);
    return false;
}

/* True when the answer is in *ret_body: rep says what it is. False: ask by message. */
static bool read_local(struct apid_req *r, const steppe_Request *env, const void *body, size_t len,
                       struct strbuf *out)
{
    struct apid *a = r->a;
    struct mono_ns now = clock_mono();
    struct store_txn *t = NULL;
    struct state_status st;
    int err;

    if (!a->status || !env->stale || strcmp(env->region, a->ctx->conf->region) != 0 ||
        !query_known(env->method) || state_status_read(a->status, now, &st) != 0)
        return false;
    if (!lock_store(a, st.generation))
        return false;
    (void)strbuf_reserve(out, READ_BYTES);
    err = store_begin(a->store, false, &t);
    if (err == 0)
        err = query_run(t, env, body, len, out, &r->reply, NULL);
    store_abort(t);
    pthread_rwlock_unlock(&a->store_lock);
    if (err < 0 || strbuf_failed(out) || (env->min_index > 0 && r->reply.index <= env->min_index))
        return false; /* a blocking query waits in raftd */
    r->reply.known_leader = st.leader_known;
    r->reply.last_contact_ms = state_status_last_contact_ms(&st, now);
    atomic_fetch_add_explicit(&a->local_reads, 1, memory_order_relaxed);
    return true;
}

bool apid_read(struct apid_req *r, const steppe_Request *env, const void *body, size_t len,
               uint8_t **ret_body, size_t *ret_len)
{
    struct strbuf out = STRBUF_BOUND(BUS_BODY_MAX);

    *ret_body = NULL;
    *ret_len = 0;
    if (!read_local(r, env, body, len, &out)) {
        strbuf_fini(&out);
        r->reply = (steppe_Reply){0};
        return apid_call(r, env, body, len, ret_body, ret_len);
    }
    if (r->reply.code != 0) {
        strbuf_fini(&out);
        r->meta = r->reply.code == 404;
        return apid_error(r, (int)r->reply.code, "%s", r->reply.error);
    }
    *ret_len = out.len;
    *ret_body = (uint8_t *)out.data;
    return true;
}

bool apid_render(struct apid_req *r, const struct json_type *type, bool list, const void *body,
                 size_t len)
{
    unsigned flags = apid_pretty(r) ? JSON_PRETTY : 0;
    unsigned how = flags << 1 | list;
    int err;

    if (apid_cache_get(r->a->cache, type, how, body, len, &r->out)) {
        atomic_fetch_add_explicit(&r->a->cache_hits, 1, memory_order_relaxed);
        return true;
    }
    err = list ? json_encode_list(type, body, len, flags, &r->out)
               : json_encode_pb(type, body, len, flags, &r->out);
    if (err < 0)
        return apid_error(r, 500, "the answer cannot be read: %s", strerror(-err));
    if (flags & JSON_PRETTY)
        strbuf_addc(&r->out, '\n');
    apid_cache_put(r->a->cache, type, how, body, len, r->out.data, r->out.len);
    return true;
}
