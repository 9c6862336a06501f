/* SPDX-License-Identifier: MPL-2.0 */
/* Queries on deployments; see state_alloc.h. */
#include <errno.h>
#include <string.h>

#include "job.pb.h"
#include "rpc.pb.h"
#include "state/rows.h"
#include "state/state_alloc.h"
#include "state/state_list.h"

/* The modify index, namespace and job incarnation of a row. */
struct deployment_row {
    uint64_t modify_index, job_create_index;
    struct bytes namespace;
};

static int row_read(struct bytes row, struct deployment_row *ret)
{
    struct wire_field f;

    *ret = (struct deployment_row){0};
    while (wire_field_next(&row, &f)) {
        if (f.tag == steppe_Deployment_modify_index_tag)
            ret->modify_index = f.num;
        else if (f.tag == steppe_Deployment_job_create_index_tag)
            ret->job_create_index = f.num;
        else if (f.tag == steppe_Deployment_namespace_tag)
            ret->namespace = f.data;
    }
    return row.len ? err_trace(-EBADMSG) : 0;
}

int state_deployment_get(struct store_txn *t, const char *id, struct strbuf *body,
                         struct state_meta *m, struct errtext *e)
{
    uint8_t buf[STATE_KEY_MAX];
    struct bytes key = state_key_alloc(id, buf), row;
    struct deployment_row d;
    struct uuid_prefix p;
    int r = uuid_prefix_parse(id, true, &p, e);

    *m = (struct state_meta){0};
    if (r)
        return err_prefix(e, r, "deployment lookup failed: index error");
    r = key.data ? store_get(t, STATE_DEPLOYMENTS, key, &row) : STORE_E_NOT_FOUND;
    if (r == STORE_E_NOT_FOUND)
        return state_table_index(t, STATE_DEPLOYMENTS, &m->index);
    if (r == 0)
        r = row_read(row, &d);
    if (r)
        return err_trace(r);
    *m = (struct state_meta){.index = d.modify_index, .found = true};
    strbuf_add(body, row.data, row.len);
    return state_list_end(0, body);
}

/* A list of one namespace or (data NULL) of all. */
struct ns_list {
    struct strbuf *body;
    struct bytes ns;
};

static int add_ns_row(void *user, struct bytes key, struct bytes value)
{
    struct ns_list *l = user;
    struct deployment_row d;
    int r = row_read(value, &d);

    (void)key;
    if (r == 0 && (!l->ns.data || bytes_eq(d.namespace, l->ns)))
        row_bytes(l->body, steppe_DeploymentListResponse_deployments_tag, value);
    return r;
}

int state_deployment_list(struct store_txn *t, const char *ns, const char *prefix,
                          struct state_page *page, struct strbuf *body, struct state_meta *m,
                          struct errtext *e)
{
    struct ns_list l = {body, state_list_ns(ns)};
    const struct state_uuid_list list = {STATE_DEPLOYMENTS, prefix, page, body, add_ns_row, &l};
    int r = state_uuid_list(t, &list, m, e);

    return r == STATE_E_INVALID ? err_prefix(e, r, "index error") : r;
}

/* Calls fn for each deployment of the job, the oldest first. */
static int each_of_job(struct store_txn *t, const char *ns, const char *id,
                       int (*fn)(void *user, struct bytes row, const struct deployment_row *d),
                       void *user)
{
    struct row_key nsid, prefix;
    struct bytes key, value, row;
    struct store_cursor c;
    int r;

    row_key_job(&nsid, *ns ? ns : "default", id);
    if (nsid.failed)
        return 0;
    row_key_of_job(&prefix, row_key_bytes(&nsid));
    r = store_scan(t, STATE_JOB_DEPLOYMENTS, row_key_bytes(&prefix), &c);
    while (r == 0 && (r = store_next(&c, &key, &value)) == 0) {
        struct deployment_row d;

        if (key.len != prefix.len + 24) {
            r = -EBADMSG;
            break;
        }
        r = store_get(t, STATE_DEPLOYMENTS, bytes_of(key.data + key.len - 16, 16), &row);
        if (r == 0)
            r = row_read(row, &d);
        if (r == 0)
            r = fn(user, row, &d);
    }
    store_scan_end(&c);
    return r == STORE_E_NOT_FOUND ? 0 : err_trace(r);
}

struct of_job {
    struct strbuf *body;
    uint64_t create_index; /* 0: of any job that had this id */
    struct bytes latest;
    uint64_t index;
};

static int add_one(void *user, struct bytes row, const struct deployment_row *d)
{
    struct of_job *oj = user;

    if (!oj->create_index || d->job_create_index == oj->create_index)
        row_bytes(oj->body, steppe_DeploymentListResponse_deployments_tag, row);
    return 0;
}

static int keep_latest(void *user, struct bytes row, const struct deployment_row *d)
{
    struct of_job *oj = user;

    if (!oj->create_index || d->job_create_index == oj->create_index) {
        oj->latest = row;
        oj->index = d->modify_index;
    }
    return 0;
}

static int job_create_index(struct store_txn *t, const char *ns, const char *id, uint64_t *ret)
{
    struct state_meta m = {0};
    struct state_job job;
    int r = state_job_row(t, ns, id, &job, &m);

    *ret = r == 0 && m.found ? job.create_index : 0;
    return r;
}

int state_job_deployments(struct store_txn *t, const char *ns, const char *id, bool all,
                          struct strbuf *body, struct state_meta *m)
{
    struct of_job oj = {.body = body};
    int r = state_table_index(t, STATE_DEPLOYMENTS, &m->index);

    m->found = true;
    if (r == 0 && !all)
        r = job_create_index(t, ns, id, &oj.create_index);
    if (r == 0)
        r = each_of_job(t, ns, id, add_one, &oj);
    return r ? r : state_list_end(0, body);
}

int state_job_latest_deployment(struct store_txn *t, const char *ns, const char *id,
                                struct strbuf *body, struct state_meta *m)
{
    struct of_job oj = {.body = body};
    int r = state_table_index(t, STATE_DEPLOYMENTS, &m->index);

    m->found = true;
    if (r == 0)
        r = job_create_index(t, ns, id, &oj.create_index);
    if (r == 0)
        r = each_of_job(t, ns, id, keep_latest, &oj);
    if (r)
        return r;
    if (oj.latest.len) {
        m->index = oj.index;
        strbuf_add(body, oj.latest.data, oj.latest.len);
    }
    return state_list_end(0, body);
}
