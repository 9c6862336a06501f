/* SPDX-License-Identifier: MPL-2.0 */
#include "query/query.h"

#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>

#include "rpc.pb.h"
#include "rpc/rpc_methods.h"
#include "state/state_alloc.h"
#include "state/state_config.h"
#include "wire/wire.h"

#define ALLOCS_GET_MAX 256

/* One query under way. */
struct query {
    struct store_txn *t;
    const steppe_Request *env;
    const char *id; /* of the object asked for */
    struct bytes body;
    struct strbuf *out;
    struct state_meta meta;
    struct state_page *page; /* NULL: all at once */
    struct query_watch *w;
    struct errtext e;
};

static void watch_row(struct query *q, enum state_table table, struct bytes key)
{
    if (q->w)
        q->w->keys[q->w->n++] = (struct watch_key){table, key};
}

static void watch_table(struct query *q, enum state_table table)
{
    watch_row(q, table, (struct bytes){0});
}

static void watch_job(struct query *q, enum state_table table)
{
    if (q->w)
        watch_row(q, table, state_key_job(q->env->namespace, q->id, q->w->buf));
}

static int job_get(struct query *q)
{
    watch_job(q, STATE_JOBS);
    return state_job_get(q->t, q->env->namespace, q->id, q->out, &q->meta);
}

static int job_list(struct query *q)
{
    watch_table(q, STATE_JOBS);
    watch_table(q, STATE_JOB_SUMMARIES);
    return state_job_list(q->t, q->env->namespace, q->env->prefix, q->page, q->out, &q->meta);
}

static int job_versions(struct query *q)
{
    watch_job(q, STATE_JOB_VERSIONS);
    return state_job_versions(q->t, q->env->namespace, q->id, q->out, &q->meta);
}

static int job_summary(struct query *q)
{
    watch_job(q, STATE_JOB_SUMMARIES);
    return state_job_summary(q->t, q->env->namespace, q->id, q->out, &q->meta);
}

static int job_evaluations(struct query *q)
{
    watch_job(q, STATE_JOB_EVALS);
    return state_job_evaluations(q->t, q->env->namespace, q->id, q->out, &q->meta);
}

static int eval_get(struct query *q)
{
    if (q->w)
        watch_row(q, STATE_EVALS, state_key_uuid(q->id, q->w->buf));
    return state_eval_get(q->t, q->id, q->out, &q->meta, &q->e);
}

static int eval_list(struct query *q)
{
    watch_table(q, STATE_EVALS);
    return state_eval_list(q->t, q->env->namespace, q->env->prefix, q->page, q->out, &q->meta,
                           &q->e);
}

static int node_get(struct query *q)
{
    if (q->w)
        watch_row(q, STATE_NODES, state_key_uuid(q->id, q->w->buf));
    return state_node_get(q->t, q->id, q->out, &q->meta, &q->e);
}

static int alloc_get(struct query *q)
{
    if (q->w)
        watch_row(q, STATE_ALLOCS, state_key_alloc(q->id, q->w->buf));
    return state_alloc_get(q->t, q->id, q->out, &q->meta, &q->e);
}

static int eval_allocations(struct query *q)
{
    if (q->w)
        watch_row(q, STATE_EVAL_ALLOCS, state_key_alloc(q->id, q->w->buf));
    return state_eval_allocations(q->t, q->id, q->page, q->out, &q->meta, &q->e);
}

static int node_allocs(struct query *q)
{
    if (q->w)
        watch_row(q, STATE_NODE_ALLOCS, state_key_node_allocs(q->id, q->w->buf));
    return state_node_allocations(q->t, q->id, q->out, &q->meta);
}

static int deployment_get(struct query *q)
{
    if (q->w)
        watch_row(q, STATE_DEPLOYMENTS, state_key_alloc(q->id, q->w->buf));
    return state_deployment_get(q->t, q->id, q->out, &q->meta, &q->e);
}

static int deployment_list(struct query *q)
{
    watch_table(q, STATE_DEPLOYMENTS);
    return state_deployment_list(q->t, q->env->namespace, q->env->prefix, q->page, q->out, &q->meta,
                                 &q->e);
}

static int job_latest_deployment(struct query *q)
{
    watch_job(q, STATE_JOB_DEPLOYMENTS);
    return state_job_latest_deployment(q->t, q->env->namespace, q->id, q->out, &q->meta);
}

static int deployment_allocations(struct query *q)
{
    watch_table(q, STATE_ALLOCS);
    return state_deployment_allocations(q->t, q->id, q->out, &q->meta, &q->e);
}

static int scheduler_config(struct query *q)
{
    steppe_SchedulerConfigurationResponse msg = {.has_scheduler_config = true};
    int r = state_scheduler_config(q->t, &msg.scheduler_config, &q->meta);

    watch_row(q, STATE_CONFIGS, bytes_text(STATE_CONFIG_SCHEDULER));
    if (r)
        return r;
    r = wire_encode(steppe_SchedulerConfigurationResponse_fields, &msg, q->out);
    pb_release(steppe_SchedulerConfigurationResponse_fields, &msg);
    return r;
}

/* ---- with requests of their own ---- */

static int decode(struct query *q, const pb_msgdesc_t *fields, void *msg, size_t size)
{
    return wire_decode(fields, q->body.data, q->body.len, msg, size, &q->e) < 0 ? STATE_E_INVALID
                                                                                : 0;
}

static int alloc_list(struct query *q)
{
    steppe_AllocListRequest req;
    int r = decode(q, steppe_AllocListRequest_fields, &req, sizeof(req));

    if (r)
        return r;
    watch_table(q, STATE_ALLOCS);
    r = state_alloc_list(q->t, q->env->namespace, q->env->prefix, req.resources, q->page, q->out,
                         &q->meta, &q->e);
    pb_release(steppe_AllocListRequest_fields, &req);
    return r;
}

static int node_list(struct query *q)
{
    steppe_NodeListRequest req;
    int r = decode(q, steppe_NodeListRequest_fields, &req, sizeof(req));

    if (r)
        return r;
    watch_table(q, STATE_NODES);
    return state_node_list(q->t, q->env->prefix, req.resources, q->page, q->out, &q->meta, &q->e);
}

static int job_allocations(struct query *q)
{
    steppe_JobAllocationsRequest req;
    int r = decode(q, steppe_JobAllocationsRequest_fields, &req, sizeof(req));

    if (r)
        return r;
    q->id = req.job_id ? req.job_id : "";
    watch_job(q, STATE_JOB_ALLOCS);
    r = state_job_allocations(q->t, q->env->namespace, q->id, req.all, q->page, q->out, &q->meta);
    pb_release(steppe_JobAllocationsRequest_fields, &req);
    return r;
}

static int job_deployments(struct query *q)
{
    steppe_JobAllocationsRequest req;
    int r = decode(q, steppe_JobAllocationsRequest_fields, &req, sizeof(req));

    if (r)
        return r;
    q->id = req.job_id ? req.job_id : "";
    watch_job(q, STATE_JOB_DEPLOYMENTS);
    r = state_job_deployments(q->t, q->env->namespace, q->id, req.all, q->out, &q->meta);
    pb_release(steppe_JobAllocationsRequest_fields, &req);
    return r;
}

static int allocs_get(struct query *q)
{
    steppe_AllocsGetRequest req;
    int r = decode(q, steppe_AllocsGetRequest_fields, &req, sizeof(req));

    if (r)
        return r;
    watch_table(q, STATE_ALLOCS);
    if (req.alloc_ids_count > ALLOCS_GET_MAX)
        r = err_set(&q->e, STATE_E_INVALID, "more than %d allocations asked for", ALLOCS_GET_MAX);
    else
        r = state_allocs_get(q->t, req.alloc_ids, req.alloc_ids_count, q->out, &q->meta);
    pb_release(steppe_AllocsGetRequest_fields, &req);
    return r;
}

static int node_client_allocs(struct query *q)
{
    steppe_ClientAllocsRequest req;
    int r = decode(q, steppe_ClientAllocsRequest_fields, &req, sizeof(req));

    if (r)
        return r;
    q->id = req.node_id ? req.node_id : "";
    if (q->w)
        watch_row(q, STATE_NODE_ALLOCS, state_key_alloc(q->id, q->w->buf));
    r = state_node_client_allocs(q->t, q->id, req.secret_id ? req.secret_id : "", q->out, &q->meta,
                                 &q->e);
    pb_release(steppe_ClientAllocsRequest_fields, &req);
    return r;
}

/* The object's id is field 1 of each *SpecificRequest. */
enum query_request { QUERY_NO_BODY, QUERY_ID, QUERY_OWN, QUERY_SEARCH };

static const struct query_method {
    enum rpc_method method;
    enum query_request request;
    int (*run)(struct query *q);
    const char *not_found; /* text of the 404 */
} query_methods[] = {
    /* clang-format off */
    {RPC_JOB_GET,         QUERY_ID,      job_get,         "job not found"},
    {RPC_JOB_LIST,        QUERY_NO_BODY, job_list,        NULL},
    {RPC_JOB_VERSIONS,    QUERY_ID,      job_versions,    "job versions not found"},
    {RPC_JOB_SUMMARY,     QUERY_ID,      job_summary,     "job not found"},
    {RPC_JOB_EVALUATIONS, QUERY_ID,      job_evaluations, NULL},
    {RPC_EVAL_GET,        QUERY_ID,      eval_get,        "eval not found"},
    {RPC_EVAL_LIST,       QUERY_NO_BODY, eval_list,       NULL},
    {RPC_NODE_GET,        QUERY_ID,      node_get,        "node not found"},
    {RPC_NODE_LIST,       QUERY_OWN,     node_list,       NULL},
    {RPC_JOB_ALLOCATIONS, QUERY_OWN,     job_allocations, NULL},
    {RPC_EVAL_ALLOCATIONS, QUERY_ID,     eval_allocations, NULL},
    {RPC_NODE_ALLOCS,     QUERY_ID,      node_allocs,     NULL},
    {RPC_NODE_CLIENT_ALLOCS, QUERY_OWN,  node_client_allocs, "node not found"},
    {RPC_ALLOC_LIST,      QUERY_OWN,     alloc_list,      NULL},
    {RPC_ALLOC_GET,       QUERY_ID,      alloc_get,       "alloc not found"},
    {RPC_ALLOCS_GET,      QUERY_OWN,     allocs_get,      NULL},
    {RPC_DEPLOYMENT_LIST, QUERY_NO_BODY, deployment_list, NULL},
    {RPC_DEPLOYMENT_GET,  QUERY_ID,      deployment_get,  "deployment not found"},
    {RPC_DEPLOYMENT_ALLOCATIONS, QUERY_ID, deployment_allocations, NULL},
    {RPC_JOB_DEPLOYMENTS, QUERY_OWN,     job_deployments, NULL},
    {RPC_JOB_LATEST_DEPLOYMENT, QUERY_ID, job_latest_deployment, NULL},
    {RPC_SCHEDULER_GET_CONFIG, QUERY_NO_BODY, scheduler_config, NULL},
    {RPC_SEARCH_PREFIX,   QUERY_SEARCH,  NULL,            NULL},
    /* clang-format on */
};

static const struct query_method *find_method(unsigned method)
{
    for (size_t i = 0; i < ARRAY_LEN(query_methods); i++) {
        if (query_methods[i].method == method)
            return &query_methods[i];
    }
    return NULL;
}

bool query_known(unsigned method)
{
    return find_method(method) != NULL;
}

static int run_search(struct query *q, const void *body, size_t len)
{
    steppe_SearchRequest req;
    int r = wire_decode(steppe_SearchRequest_fields, body, len, &req, sizeof(req), &q->e);

    if (r < 0)
        return STATE_E_INVALID;
    watch_table(q, STATE_JOBS);
    watch_table(q, STATE_EVALS);
    watch_table(q, STATE_NODES);
    watch_table(q, STATE_ALLOCS); /* deployments change with their allocations */
    r = state_search(q->t, q->env->namespace, req.prefix ? req.prefix : "",
                     req.context ? req.context : "", q->out, &q->meta, &q->e);
    pb_release(steppe_SearchRequest_fields, &req);
    return r;
}

/* All *SpecificRequest messages have the same shape: field 1, a string. */
static int run_by_id(struct query *q, const struct query_method *m, const void *body, size_t len)
{
    steppe_JobSpecificRequest req;
    int r = wire_decode(steppe_JobSpecificRequest_fields, body, len, &req, sizeof(req), &q->e);

    if (r < 0)
        return STATE_E_INVALID;
    q->id = req.job_id ? req.job_id : "";
    r = m->run(q);
    pb_release(steppe_JobSpecificRequest_fields, &req);
    return r;
}

int query_run(struct store_txn *t, const steppe_Request *env, const void *body, size_t len,
              struct strbuf *out, steppe_Reply *rep, struct query_watch *w)
{
    return query_run_part(t, env, body, len, out, rep, w, NULL);
}

int query_run_part(struct store_txn *t, const steppe_Request *env, const void *body, size_t len,
                   struct strbuf *out, steppe_Reply *rep, struct query_watch *w,
                   struct state_page *page)
{
    const struct query_method *m = find_method(env->method);
    struct query q = {
        .t = t, .env = env, .id = "", .out = out, .page = page, .w = w, .meta = {.found = true}};
    int r = STATE_E_INVALID; /* for a row of the table that is none of these */

    assert(m);
    if (page)
        page->more = false;
    q.body = bytes_of(body, len);
    if (w)
        w->n = 0;
    switch (m->request) {
    case QUERY_SEARCH:
        r = run_search(&q, body, len);
        break;
    case QUERY_ID:
        r = run_by_id(&q, m, body, len);
        break;
    case QUERY_NO_BODY:
    case QUERY_OWN:
        r = m->run(&q);
        break;
    }
    if (r < 0)
        return err_trace(r);
    rep->index = q.meta.index;
    rep->code = 0;
    if (r == STATE_E_INVALID) {
        rep->code = 500;
        (void)snprintf(rep->error, sizeof(rep->error), "%s", q.e.text);
    } else if (!q.meta.found && m->not_found) {
        rep->code = 404;
        (void)snprintf(rep->error, sizeof(rep->error), "%s", m->not_found);
    }
    return 0;
}
