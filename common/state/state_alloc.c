/* SPDX-License-Identifier: MPL-2.0 */
/* Queries on allocations; see state_alloc.h. */
#include "state/state_alloc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "job.pb.h"
#include "node.pb.h"
#include "rpc.pb.h"
#include "state/rows.h"
#include "state/state_list.h"

#define T(field) steppe_Allocation_##field##_tag
#define S(field) steppe_AllocListStub_##field##_tag

/* ---- one ---- */

int state_alloc_read16(struct store_txn *t, const uint8_t id[static 16], struct state_alloc *ret)
{
    struct row_key pair;
    struct bytes row;
    uint8_t node[16];
    int r = store_get(t, STATE_ALLOCS, bytes_of(id, 16), &ret->placed);

    if (r)
        return r;
    memset(&ret->view, 0, sizeof(ret->view));
    if (!alloc_view_add(&ret->view, ret->placed) ||
        !row_uuid_read(ret->view.text[T(node_id)], node))
        return err_trace(-EBADMSG);
    row_key_pair(&pair, node, id);
    r = store_get(t, STATE_NODE_ALLOCS, row_key_bytes(&pair), &row);
    if (r == 0)
        r = row_node_alloc(row, &ret->changed);
    if (r || !alloc_view_add(&ret->view, ret->changed))
        return err_trace(r < 0 ? r : -EBADMSG);
    row_uuid_text(id, ret->id);
    return 0;
}

int state_alloc_read(struct store_txn *t, const char *id, struct state_alloc *ret)
{
    uint8_t key[16];

    return row_uuid_read(bytes_text(id), key) ? state_alloc_read16(t, key, ret) : STORE_E_NOT_FOUND;
}

struct bytes state_key_alloc(const char *id, uint8_t buf[static STATE_KEY_MAX])
{
    uint8_t text[STATE_KEY_MAX];
    struct bytes canonical = state_key_uuid(id, text);

    return canonical.data && row_uuid_read(canonical, buf) ? bytes_of(buf, 16) : (struct bytes){0};
}

struct bytes state_key_node_allocs(const char *id, uint8_t buf[static STATE_KEY_MAX])
{
    struct bytes key = state_key_alloc(id, buf);

    if (key.data) {
        buf[16] = STATE_NODE_ALLOCS_ANY;
        key.len = STATE_NODE_ALLOCS_ANY_LEN;
    }
    return key;
}

/* ---- its job ---- */

static int job_version(struct store_txn *t, struct bytes nsid, uint64_t create_index,
                       uint64_t version, struct bytes *ret_spec, struct bytes *ret_server)
{
    struct row_version row;
    struct row_key key;
    struct bytes v;
    int r;

    row_key_spec(&key, nsid, create_index, version);
    r = key.failed ? STORE_E_NOT_FOUND : store_get(t, STATE_JOB_SPECS, row_key_bytes(&key), &v);
    if (r == 0 && v.len > 8) {
        v = bytes_of(v.data + 8, v.len - 8);
    } else if (r >= 0) {
        row_key_version(&key, nsid, version);
        r = key.failed ? STORE_E_NOT_FOUND
                       : store_get(t, STATE_JOB_VERSIONS, row_key_bytes(&key), &v);
    }
    if (r == 0)
        r = row_version_read(v, &row);
    if (r)
        return r;
    *ret_spec = row.spec;
    *ret_server = row.server;
    return 0;
}

int state_job_version(struct store_txn *t, const char *ns, const char *id, uint64_t create_index,
                      uint64_t version, struct bytes *ret_spec, struct bytes *ret_server)
{
    struct row_key nsid;

    row_key_job(&nsid, *ns ? ns : "default", id);
    if (nsid.failed)
        return STORE_E_NOT_FOUND;
    return job_version(t, row_key_bytes(&nsid), create_index, version, ret_spec, ret_server);
}

/* The job of the last allocation: those of a list mostly share it. */
struct job_cache {
    struct store_txn *t;
    struct row_key nsid;
    uint64_t create_index, version;
    bool known, found;
    struct bytes spec, server, type;
};

static int job_of(struct job_cache *jc, const struct alloc_view *v)
{
    struct bytes ns = v->text[T(namespace)], job = v->text[T(job_id)];
    uint64_t create = v->num[T(job_create_index)], version = v->num[T(job_version)];
    struct row_key nsid = {.len = 0};
    struct wire_field f;
    struct bytes rest;
    int r;

    row_key_add(&nsid, ns.data, ns.len);
    row_key_add(&nsid, "", 1);
    row_key_add(&nsid, job.data, job.len);
    if (jc->known && jc->create_index == create && jc->version == version &&
        bytes_eq(row_key_bytes(&nsid), row_key_bytes(&jc->nsid)))
        return 0;
    jc->known = true;
    jc->nsid.len = 0;
    row_key_add(&jc->nsid, nsid.data, nsid.len);
    jc->create_index = create;
    jc->version = version;
    jc->type = (struct bytes){0};
    r = job_version(jc->t, row_key_bytes(&nsid), create, version, &jc->spec, &jc->server);
    jc->found = r == 0;
    if (r)
        return r < 0 ? err_trace(r) : 0;
    for (rest = jc->spec; wire_field_next(&rest, &f);) {
        if (f.tag == steppe_Job_type_tag && f.wire == WIRE_BYTES)
            jc->type = f.data;
    }
    return 0;
}

/* ---- legacy resources, as Nomad makes them ---- */

static void sum_resources(const steppe_AllocatedTaskResources *tr, steppe_Resources *sum)
{
    sum->cpu += (int32_t)(tr->has_cpu ? tr->cpu.cpu_shares : 0);
    sum->memory_mb += (int32_t)(tr->has_memory ? tr->memory.memory_mb : 0);
    sum->memory_max_mb += (int32_t)(tr->has_memory ? tr->memory.memory_max_mb : 0);
}

static steppe_Resources no_resources(void)
{
    return (steppe_Resources){
        .has_cpu = true, .has_memory_mb = true, .has_disk_mb = true, .has_iops = true};
}

/* Appends the encoded Resources under a field; networks are borrowed. */
static void add_resources(struct strbuf *body, uint32_t tag, const steppe_Resources *res,
                          struct strbuf *scratch)
{
    strbuf_reset(scratch);
    if (row_encode(steppe_Resources_fields, res, scratch) == 0)
        row_bytes(body, tag, strbuf_bytes(scratch));
}

static void add_task_resources(struct strbuf *body, const char *task,
                               const steppe_AllocatedTaskResources *tr, struct strbuf *scratch)
{
    steppe_Allocation_TaskResourcesEntry entry = {
        .key = (char *)task, .has_value = true, .value = no_resources()};

    sum_resources(tr, &entry.value);
    entry.value.has_memory_max_mb = entry.value.memory_max_mb > 0;
    entry.value.networks = tr->networks;
    entry.value.networks_count = tr->networks_count;
    strbuf_reset(scratch);
    if (row_encode(steppe_Allocation_TaskResourcesEntry_fields, &entry, scratch) == 0)
        row_bytes(body, T(task_resources), strbuf_bytes(scratch));
}

/* Bytes that cannot be read have none. */
static void add_legacy(struct bytes allocated, struct strbuf *body, struct strbuf *scratch)
{
    steppe_Resources sum = no_resources(), shared = no_resources();
    steppe_AllocatedResources res;
    steppe_NetworkResource *networks = NULL;
    size_t n = 0;

    if (row_decode(steppe_AllocatedResources_fields, allocated, &res, sizeof(res)))
        return;
    for (size_t i = 0; i < res.tasks_count; i++)
        n += res.tasks[i].value.networks_count;
    networks = xcalloc(n + res.shared.networks_count + 1, sizeof(*networks));
    n = 0;
    for (size_t i = 0; i < res.tasks_count; i++) {
        const steppe_AllocatedTaskResources *tr = &res.tasks[i].value;

        add_task_resources(body, res.tasks[i].key, tr, scratch);
        sum_resources(tr, &sum);
        if (tr->has_memory && !tr->memory.memory_max_mb) /* what is asked for is the limit */
            sum.memory_max_mb += (int32_t)tr->memory.memory_mb;
        for (size_t k = 0; k < tr->networks_count; k++)
            networks[n++] = tr->networks[k];
    }
    sum.disk_mb = shared.disk_mb = (int32_t)res.shared.disk_mb;
    sum.has_memory_max_mb = sum.memory_max_mb > 0;
    for (size_t k = 0; k < res.shared.networks_count; k++)
        networks[n++] = res.shared.networks[k];
    sum.networks = networks;
    sum.networks_count = (pb_size_t)n;
    shared.networks = res.shared.networks;
    shared.networks_count = res.shared.networks_count;
    add_resources(body, T(resources), &sum, scratch);
    add_resources(body, T(shared_resources), &shared, scratch);
    free(networks);
    row_release(steppe_AllocatedResources_fields, &res);
}

/* ---- whole and as a stub ---- */

static int add_whole(struct job_cache *jc, const struct state_alloc *a, bool legacy,
                     struct strbuf *body)
{
    struct strbuf scratch = STRBUF_INIT;
    int r = job_of(jc, &a->view);

    if (r)
        return r;
    strbuf_add(body, a->placed.data, a->placed.len);
    strbuf_add(body, a->changed.data, a->changed.len);
    if (jc->found) {
        row_bytes_head(body, T(job), jc->spec.len + jc->server.len);
        strbuf_add(body, jc->spec.data, jc->spec.len);
        strbuf_add(body, jc->server.data, jc->server.len);
    }
    if (legacy) {
        add_legacy(a->view.text[T(allocated_resources)], body, &scratch);
        if (a->view.text[T(task_states)].len) /* the client has told something */
            row_bytes(body, T(network_status), (struct bytes){0});
    }
    strbuf_fini(&scratch);
    return 0;
}

/* Allocation's fields -> AllocListStub's; 0: not in it. */
static const uint8_t stub_tags[ALLOC_VIEW_TAGS] = {
    [T(id)] = S(id),
    [T(eval_id)] = S(eval_id),
    [T(name)] = S(name),
    [T(namespace)] = S(namespace),
    [T(node_id)] = S(node_id),
    [T(node_name)] = S(node_name),
    [T(job_id)] = S(job_id),
    [T(job_version)] = S(job_version),
    [T(task_group)] = S(task_group),
    [T(allocated_resources)] = S(allocated_resources),
    [T(desired_status)] = S(desired_status),
    [T(desired_description)] = S(desired_description),
    [T(desired_transition)] = S(desired_transition),
    [T(client_status)] = S(client_status),
    [T(client_description)] = S(client_description),
    [T(task_states)] = S(task_states),
    [T(deployment_status)] = S(deployment_status),
    [T(followup_eval_id)] = S(followup_eval_id),
    [T(reschedule_tracker)] = S(reschedule_tracker),
    [T(preempted_allocations)] = S(preempted_allocations),
    [T(preempted_by_allocation)] = S(preempted_by_allocation),
    [T(create_index)] = S(create_index),
    [T(modify_index)] = S(modify_index),
    [T(create_time)] = S(create_time),
    [T(modify_time)] = S(modify_time),
};

static void add_stub_fields(struct strbuf *out, struct bytes in, bool resources)
{
    struct wire_field f;

    while (wire_field_next(&in, &f)) {
        uint32_t tag = f.tag < ALLOC_VIEW_TAGS ? stub_tags[f.tag] : 0;

        if (!tag || (f.tag == T(allocated_resources) && !resources))
            continue;
        if (f.wire == WIRE_BYTES)
            row_bytes(out, tag, f.data);
        else
            row_u64(out, tag, f.num);
    }
}

struct stub_list {
    struct job_cache jobs;
    struct strbuf *body, one;
    bool resources;
};

static int add_stub(struct stub_list *l, const struct state_alloc *a)
{
    int r = job_of(&l->jobs, &a->view);

    if (r)
        return r;
    strbuf_reset(&l->one);
    add_stub_fields(&l->one, a->placed, l->resources);
    add_stub_fields(&l->one, a->changed, false);
    if (l->jobs.type.len)
        row_bytes(&l->one, S(job_type), l->jobs.type);
    row_bytes(l->body, steppe_AllocListResponse_allocs_tag, strbuf_bytes(&l->one));
    return 0;
}

/* ---- the queries ---- */

int state_alloc_node(struct store_txn *t, const char *id, char ret_node_id[static 37],
                     struct state_meta *m, struct errtext *e)
{
    struct state_alloc a;
    struct uuid_prefix p;
    struct bytes node;
    int r = uuid_prefix_parse(id, true, &p, e);

    *m = (struct state_meta){0};
    if (r)
        return err_prefix(e, r, "alloc lookup failed: index error");
    r = state_alloc_read(t, p.text, &a);
    if (r == STORE_E_NOT_FOUND)
        return 0;
    if (r)
        return r;
    node = a.view.text[T(node_id)];
    m->found = true;
    (void)snprintf(ret_node_id, 37, "%.*s", (int)MIN(node.len, (size_t)36),
                   (const char *)node.data);
    return 0;
}

int state_alloc_get(struct store_txn *t, const char *id, struct strbuf *body, struct state_meta *m,
                    struct errtext *e)
{
    struct job_cache jc = {.t = t};
    struct state_alloc a;
    struct uuid_prefix p;
    int r = uuid_prefix_parse(id, true, &p, e);

    *m = (struct state_meta){0};
    if (r)
        return err_prefix(e, r, "alloc lookup failed: index error");
    r = state_alloc_read(t, p.text, &a);
    if (r == STORE_E_NOT_FOUND)
        return state_table_index(t, STATE_ALLOCS, &m->index);
    if (r)
        return r;
    *m = (struct state_meta){.index = a.view.num[T(modify_index)], .found = true};
    r = add_whole(&jc, &a, true, body);
    return r ? r : state_list_end(0, body);
}

/* One item of an AllocsResponse. */
static int add_whole_item(struct job_cache *jc, const struct state_alloc *a, bool legacy,
                          struct strbuf *one, struct strbuf *body)
{
    int r;

    strbuf_reset(one);
    r = add_whole(jc, a, legacy, one);
    if (r == 0)
        row_bytes(body, steppe_AllocsResponse_allocs_tag, strbuf_bytes(one));
    return r;
}

int state_allocs_get(struct store_txn *t, char *const *ids, size_t n, struct strbuf *body,
                     struct state_meta *m)
{
    struct strbuf one = STRBUF_INIT;
    struct job_cache jc = {.t = t};
    int r = state_table_index(t, STATE_ALLOCS, &m->index);

    m->found = true;
    for (size_t i = 0; r == 0 && i < n; i++) {
        struct state_alloc a;

        r = state_alloc_read(t, ids[i] ? ids[i] : "", &a);
        if (r == 0)
            r = add_whole_item(&jc, &a, false, &one, body);
        if (r == STORE_E_NOT_FOUND)
            r = 0;
    }
    strbuf_fini(&one);
    return r ? r : state_list_end(0, body);
}

/* A list of stubs, of one namespace or (data NULL) of all. */
struct ns_stubs {
    struct stub_list list;
    struct store_txn *t;
    struct bytes ns;
};

static int add_ns_stub(void *user, struct bytes key, struct bytes value)
{
    struct ns_stubs *l = user;
    struct state_alloc a;
    int r = key.len == 16 ? state_alloc_read16(l->t, key.data, &a) : -EBADMSG;

    (void)value;
    if (r == 0 && (!l->ns.data || bytes_eq(a.view.text[T(namespace)], l->ns)))
        r = add_stub(&l->list, &a);
    return r;
}

int state_alloc_list(struct store_txn *t, const char *ns, const char *prefix, bool resources,
                     struct state_page *page, struct strbuf *body, struct state_meta *m,
                     struct errtext *e)
{
    struct ns_stubs l = {.list = {.jobs = {.t = t}, .body = body, .resources = resources},
                         .t = t,
                         .ns = state_list_ns(ns)};
    const struct state_uuid_list list = {STATE_ALLOCS, prefix, page, body, add_ns_stub, &l};
    int r = state_uuid_list(t, &list, m, e);

    strbuf_fini(&l.list.one);
    return r == STATE_E_INVALID ? err_prefix(e, r, "alloc lookup failed: index error") : r;
}

/* ---- by an index ---- */

typedef int alloc_fn(void *user, const struct state_alloc *a);

/* Part of a list that fn appends to body; page and body may be NULL. */
struct scan_part {
    struct state_page *page;
    const struct strbuf *body;
    size_t len_before;
};

/* The allocations whose ids end the keys with this prefix. */
static int scan_index(struct store_txn *t, enum state_table table, struct bytes prefix,
                      const struct scan_part *part, alloc_fn *fn, void *user)
{
    struct state_page *page = part ? part->page : NULL;
    struct bytes key, value;
    struct store_cursor c;
    int stop = 0, r = store_scan(t, table, prefix, &c);

    if (r == 0)
        r = state_list_start(&c, page, &key, &value);
    for (; r == 0 && stop == 0; r = stop ? r : store_next(&c, &key, &value)) {
        struct state_alloc a;

        if (key.len < prefix.len + 16)
            continue; /* a node's own row */
        if (page && state_list_full(page, part->len_before, part->body, key))
            break;
        r = state_alloc_read16(t, key.data + key.len - 16, &a);
        if (r)
            break;
        stop = fn(user, &a);
    }
    store_scan_end(&c);
    if (stop)
        return stop;
    return r == STORE_E_NOT_FOUND ? 0 : err_trace(r);
}

static int each_stub(void *user, const struct state_alloc *a)
{
    return add_stub(user, a);
}

static int scan_job(struct store_txn *t, const char *ns, const char *id,
                    const struct scan_part *part, alloc_fn *fn, void *user)
{
    struct row_key nsid, prefix;

    row_key_job(&nsid, *ns ? ns : "default", id);
    if (nsid.failed)
        return 0;
    row_key_of_job(&prefix, row_key_bytes(&nsid));
    return scan_index(t, STATE_JOB_ALLOCS, row_key_bytes(&prefix), part, fn, user);
}

int state_job_allocs_each(struct store_txn *t, const char *ns, const char *id, alloc_fn *fn,
                          void *user)
{
    return scan_job(t, ns, id, NULL, fn, user);
}

struct job_stubs {
    struct stub_list list;
    uint64_t create_index; /* 0: of any */
};

static int each_job_stub(void *user, const struct state_alloc *a)
{
    struct job_stubs *js = user;

    if (js->create_index && a->view.num[T(job_create_index)] != js->create_index)
        return 0;
    return add_stub(&js->list, a);
}

int state_job_allocations(struct store_txn *t, const char *ns, const char *id, bool all,
                          struct state_page *page, struct strbuf *body, struct state_meta *m)
{
    const struct scan_part part = {page, body, body->len};
    struct job_stubs js = {.list = {.jobs = {.t = t}, .body = body}};
    struct state_meta jm = {0};
    struct state_job job = {0};
    int r = state_table_index(t, STATE_ALLOCS, &m->index);

    m->found = true;
    if (r == 0)
        r = state_job_row(t, ns, id, &job, &jm);
    if (jm.found && !all)
        js.create_index = job.create_index;
    if (r == 0)
        r = scan_job(t, ns, id, &part, each_job_stub, &js);
    strbuf_fini(&js.list.one);
    return r ? r : state_list_end(0, body);
}

int state_eval_allocations(struct store_txn *t, const char *id, struct state_page *page,
                           struct strbuf *body, struct state_meta *m, struct errtext *e)
{
    const struct scan_part part = {page, body, body->len};
    struct stub_list l = {.jobs = {.t = t}, .body = body};
    uint8_t buf[STATE_KEY_MAX];
    struct bytes key = state_key_alloc(id, buf);
    struct uuid_prefix p;
    int r = uuid_prefix_parse(id, true, &p, e);

    if (r)
        return err_prefix(e, r, "index error");
    m->found = true;
    r = state_table_index(t, STATE_ALLOCS, &m->index);
    if (r == 0 && key.data)
        r = scan_index(t, STATE_EVAL_ALLOCS, key, &part, each_stub, &l);
    strbuf_fini(&l.one);
    return r ? r : state_list_end(0, body);
}

struct deployment_stubs {
    struct stub_list list;
    struct bytes id;
};

static int each_deployment_stub(void *user, const struct state_alloc *a)
{
    struct deployment_stubs *ds = user;

    return bytes_eq(a->view.text[T(deployment_id)], ds->id) ? add_stub(&ds->list, a) : 0;
}

int state_deployment_allocations(struct store_txn *t, const char *id, struct strbuf *body,
                                 struct state_meta *m, struct errtext *e)
{
    struct deployment_stubs ds = {.list = {.jobs = {.t = t}, .body = body}};
    uint8_t buf[STATE_KEY_MAX], text[STATE_KEY_MAX];
    struct bytes key = state_key_alloc(id, buf), row;
    struct uuid_prefix p;
    steppe_Deployment d;
    int r = uuid_prefix_parse(id, true, &p, e);

    if (r)
        return err_prefix(e, r, "index error");
    m->found = true;
    r = state_table_index(t, STATE_ALLOCS, &m->index);
    if (r == 0)
        r = key.data ? store_get(t, STATE_DEPLOYMENTS, key, &row) : STORE_E_NOT_FOUND;
    if (r == 0)
        r = row_decode(steppe_Deployment_fields, row, &d, sizeof(d));
    if (r)
        return r < 0 ? err_trace(r) : 0;
    ds.id = state_key_uuid(id, text);
    r = state_job_allocs_each(t, d.namespace ? d.namespace : "", d.job_id ? d.job_id : "",
                              each_deployment_stub, &ds);
    row_release(steppe_Deployment_fields, &d);
    strbuf_fini(&ds.list.one);
    return r ? r : state_list_end(0, body);
}

struct node_wholes {
    struct job_cache jobs;
    struct strbuf *body, one;
    uint64_t index;
};

static int each_whole(void *user, const struct state_alloc *a)
{
    struct node_wholes *nw = user;

    nw->index = MAX(nw->index, a->view.num[T(modify_index)]);
    return add_whole_item(&nw->jobs, a, true, &nw->one, nw->body);
}

int state_node_allocations(struct store_txn *t, const char *id, struct strbuf *body,
                           struct state_meta *m)
{
    struct node_wholes nw = {.jobs = {.t = t}, .body = body};
    uint8_t buf[STATE_KEY_MAX];
    struct bytes key = state_key_alloc(id, buf);
    int r = 0;

    m->found = true;
    if (key.data)
        r = scan_index(t, STATE_NODE_ALLOCS, key, NULL, each_whole, &nw);
    m->index = nw.index;
    if (r == 0 && nw.index == 0)
        r = state_table_index(t, STATE_ALLOCS, &m->index);
    strbuf_fini(&nw.one);
    return r ? r : state_list_end(0, body);
}

struct live_allocs {
    alloc_fn *fn;
    void *user;
};

static int each_live(void *user, const struct state_alloc *a)
{
    const struct live_allocs *l = user;

    return alloc_view_live(&a->view) ? l->fn(l->user, a) : 0;
}

int state_node_allocs_each(struct store_txn *t, const char *node_id, alloc_fn *fn, void *user)
{
    struct live_allocs l = {fn, user};
    uint8_t buf[STATE_KEY_MAX];
    struct bytes key = state_key_alloc(node_id, buf);

    return key.data ? scan_index(t, STATE_NODE_ALLOCS, key, NULL, each_live, &l) : 0;
}

/* ---- clients ---- */

/* The rows of the index are all that a client's list needs. */
static int client_list(struct store_txn *t, struct bytes node, struct strbuf *body,
                       struct state_meta *m)
{
    struct strbuf one = STRBUF_INIT;
    struct bytes key, value;
    struct store_cursor c;
    int r = store_scan(t, STATE_NODE_ALLOCS, node, &c);

    while (r == 0 && (r = store_next(&c, &key, &value)) == 0) {
        char id[37];

        if (value.len < ROW_NODE_ALLOC_HEAD) {
            r = -EBADMSG;
            break;
        }
        m->index = MAX(m->index, be64_read(value.data));
        if (key.len != 32)
            continue;
        row_uuid_text(key.data + 16, id);
        strbuf_reset(&one);
        row_text(&one, steppe_ClientAlloc_alloc_id_tag, id);
        row_u64(&one, steppe_ClientAlloc_alloc_modify_index_tag, be64_read(value.data));
        row_bytes(body, steppe_ClientAllocsResponse_allocs_tag, strbuf_bytes(&one));
    }
    store_scan_end(&c);
    strbuf_fini(&one);
    return state_list_end(r, body);
}

int state_node_client_allocs(struct store_txn *t, const char *id, const char *secret,
                             struct strbuf *body, struct state_meta *m, struct errtext *e)
{
    uint8_t buf[STATE_KEY_MAX];
    struct state_node node;
    int r = state_node_row(t, id, &node, m, e);

    if (r || !m->found)
        return r;
    if (!*secret)
        return err_set(e, STATE_E_INVALID, "missing node secret ID for client status update");
    if (strcmp(node.secret_id, secret) != 0)
        return err_set(e, STATE_E_INVALID, "node secret ID does not match");
    m->index = 0;
    r = client_list(t, state_key_alloc(id, buf), body, m);
    if (r == 0 && m->index == 0)
        r = state_table_index(t, STATE_ALLOCS, &m->index);
    m->index = MAX(m->index, 1);
    return r;
}

/* ---- what changed ---- */

int state_deleted_index(struct store_txn *t, enum state_table table, uint64_t *ret)
{
    uint8_t key[2] = {(uint8_t)table, 'g'};
    struct bytes v;
    int r = store_get(t, STATE_INDEXES, bytes_of(key, sizeof(key)), &v);

    *ret = 0;
    if (r < 0 || (r == 0 && v.len != 8))
        return err_trace(r ? r : -EBADMSG);
    if (r == 0)
        *ret = be64_read(v.data);
    return 0;
}

/* Calls fn with the ids and values in a log after an index. */
static int scan_log(struct store_txn *t, enum state_table log, uint64_t after,
                    int (*fn)(struct store_txn *t, struct bytes key, struct bytes value,
                              void *user),
                    void *user)
{
    struct bytes key, value;
    struct store_cursor c;
    uint8_t from[8];
    int stop = 0, r;

    if (after == UINT64_MAX)
        return 0;
    be64_write(from, after + 1);
    r = store_scan(t, log, (struct bytes){0}, &c);
    if (r == 0)
        r = store_seek(&c, bytes_of(from, sizeof(from)), &key, &value);
    while (r == 0 && stop == 0) {
        stop = key.len == 24 ? fn(t, key, value, user) : -EBADMSG;
        if (stop == 0)
            r = store_next(&c, &key, &value);
    }
    store_scan_end(&c);
    if (stop)
        return stop;
    return r == STORE_E_NOT_FOUND ? 0 : err_trace(r);
}

static int changed_alloc(struct store_txn *t, struct bytes key, struct bytes value, void *user)
{
    const struct live_allocs *l = user;
    struct state_alloc a;
    int r = state_alloc_read16(t, key.data + 8, &a);

    (void)value;
    return r ? (r > 0 ? -EBADMSG : r) : l->fn(l->user, &a);
}

int state_allocs_changed(struct store_txn *t, uint64_t after, alloc_fn *fn, void *user)
{
    struct live_allocs l = {fn, user};

    return scan_log(t, STATE_ALLOC_LOG, after, changed_alloc, &l);
}

struct alloc_changes {
    int (*fn)(void *user, const struct state_alloc_change *c);
    void *user;
};

static int alloc_change(struct store_txn *t, struct bytes key, struct bytes value, void *user)
{
    const struct alloc_changes *ac = user;
    struct state_alloc_change c;

    (void)t;
    if (value.len != 9)
        return err_trace(-EBADMSG);
    memcpy(c.id, key.data + 8, sizeof(c.id));
    c.modify_index = be64_read(key.data);
    c.live = value.data[0];
    c.alloc_modify_index = be64_read(value.data + 1);
    return ac->fn(ac->user, &c);
}

int state_alloc_changes(struct store_txn *t, uint64_t after,
                        int (*fn)(void *user, const struct state_alloc_change *c), void *user)
{
    struct alloc_changes ac = {fn, user};

    return scan_log(t, STATE_ALLOC_LOG, after, alloc_change, &ac);
}

struct changed_nodes {
    int (*fn)(void *user, const struct state_node *n, struct bytes spec);
    void *user;
};

static int changed_node(struct store_txn *t, struct bytes key, struct bytes value, void *user)
{
    const struct changed_nodes *cn = user;
    struct state_node node;
    struct state_meta m;
    struct errtext e;
    struct bytes spec;
    char text[37];
    int r;

    (void)value;
    row_uuid_text(key.data + 8, text);
    r = state_node_row(t, text, &node, &m, &e);
    if (r == 0)
        r = store_get(t, STATE_NODE_SPECS, bytes_text(text), &spec);
    if (r || !m.found)
        return r < 0 ? r : -EBADMSG;
    return cn->fn(cn->user, &node, spec);
}

int state_nodes_changed(struct store_txn *t, uint64_t after,
                        int (*fn)(void *user, const struct state_node *n, struct bytes spec),
                        void *user)
{
    struct changed_nodes cn = {fn, user};

    return scan_log(t, STATE_NODE_LOG, after, changed_node, &cn);
}
