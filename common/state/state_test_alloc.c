/* SPDX-License-Identifier: MPL-2.0 */
/* Fixture of the tests of common/state, allocations; see state_test.h. */
#include <stdio.h>
#include <string.h>

#include "base/prng.h"
#include "job.pb.h"
#include "rpc.pb.h"
#include "state/rows.h"
#include "state/state_alloc.h"
#include "state/state_test.h"

#define T(field) steppe_Allocation_##field##_tag

/* ---- commands ---- */

static void with_resources(steppe_Allocation *a, steppe_AllocatedResources_TasksEntry *task,
                           int cpu)
{
    *task = (steppe_AllocatedResources_TasksEntry){.key = (char *)"t", .has_value = true};
    task->value.has_cpu = task->value.has_memory = true;
    task->value.cpu.cpu_shares = cpu;
    task->value.memory.memory_mb = 64;
    a->has_allocated_resources = true;
    a->allocated_resources.tasks = task;
    a->allocated_resources.tasks_count = 1;
    a->allocated_resources.has_shared = true;
    a->allocated_resources.shared.disk_mb = 300;
}

void test_place_encode(const struct test_placement *p, struct strbuf *out)
{
    steppe_Allocation a = steppe_Allocation_init_zero;
    steppe_AllocatedResources_TasksEntry task;
    steppe_AllocMetric_NodesAvailableEntry available = {(char *)p->metrics, 1};
    char name[1024];

    snprintf(name, sizeof(name), "%s.%s[0]", p->job, p->group ? p->group : "g");
    a.id = (char *)p->id;
    a.namespace = (char *)"default";
    a.eval_id = (char *)p->eval;
    a.name = name;
    a.node_id = (char *)p->node;
    a.node_name = (char *)"node";
    a.job_id = (char *)p->job;
    a.task_group = (char *)(p->group ? p->group : "g");
    a.client_status = (char *)p->client;
    a.desired_status = (char *)p->desired;
    a.previous_allocation = (char *)p->previous;
    a.deployment_id = (char *)p->deployment;
    a.job_create_index = p->create_index;
    a.job_version = p->version;
    a.has_deployment_status = a.deployment_status.canary = p->canary;
    a.modify_index = 77; /* not the plan's to say */
    if (p->cpu)
        with_resources(&a, &task, p->cpu);
    if (p->metrics) {
        a.has_metrics = true;
        a.metrics.nodes_evaluated = 1;
        a.metrics.nodes_available = &available;
        a.metrics.nodes_available_count = 1;
    }
    REQUIRE(row_encode(steppe_Allocation_fields, &a, out) == 0);
}

static void stop_encode(const struct test_stop *s, struct strbuf *out)
{
    steppe_PlanStop stop = {
        .alloc_id = (char *)s->id,
        .node_id = (char *)s->node,
        .desired_status = (char *)s->desired,
        .desired_description = (char *)s->description,
        .client_status = (char *)s->client,
        .followup_eval_id = (char *)s->followup,
    };

    REQUIRE(row_encode(steppe_PlanStop_fields, &stop, out) == 0);
}

static void eval_encode(const char *id, const char *job, struct strbuf *out)
{
    steppe_Evaluation e = steppe_Evaluation_init_zero;

    e.id = (char *)id;
    e.namespace = (char *)"default";
    e.job_id = (char *)job;
    e.type = (char *)"service";
    e.triggered_by = (char *)"test";
    e.status = (char *)"pending";
    REQUIRE(row_encode(steppe_Evaluation_fields, &e, out) == 0);
}

static void deployment_encode(const struct test_plan *p, struct strbuf *out)
{
    steppe_Deployment_TaskGroupsEntry group = {.key = (char *)"g", .has_value = true};
    steppe_Deployment d = steppe_Deployment_init_zero;

    group.value.desired_total = 3;
    group.value.progress_deadline = 600 * NS_PER_SEC;
    d.id = (char *)p->deployment;
    d.namespace = (char *)"default";
    d.job_id = (char *)p->deployment_job;
    d.job_create_index = 1;
    d.status = (char *)(p->deployment_status ? p->deployment_status : "running");
    d.task_groups = &group;
    d.task_groups_count = 1;
    REQUIRE(row_encode(steppe_Deployment_fields, &d, out) == 0);
}

unsigned test_plan(struct test_state *ts, const struct test_plan *p)
{
    steppe_PlanApplyCommand m = steppe_PlanApplyCommand_init_zero;
    struct strbuf plan = STRBUF_INIT, one = STRBUF_INIT, result = STRBUF_INIT;
    struct bytes blobs[2];
    unsigned code;

    for (size_t i = 0; i < ARRAY_LEN(p->place) && p->place[i].id; i++) {
        strbuf_reset(&one);
        test_place_encode(&p->place[i], &one);
        row_bytes(&plan, steppe_Plan_place_tag, strbuf_bytes(&one));
    }
    for (size_t i = 0; i < ARRAY_LEN(p->stop) && p->stop[i].id; i++) {
        strbuf_reset(&one);
        stop_encode(&p->stop[i], &one);
        row_bytes(&plan, steppe_Plan_stop_tag, strbuf_bytes(&one));
    }
    if (p->deployment) {
        strbuf_reset(&one);
        deployment_encode(p, &one);
        row_bytes(&plan, steppe_Plan_deployment_tag, strbuf_bytes(&one));
    }
    if (p->eval_id) {
        strbuf_reset(&one);
        eval_encode(p->eval_id, p->eval_job, &one);
        row_bytes(&plan, steppe_Plan_evals_tag, strbuf_bytes(&one));
    }
    for (size_t i = 0; i < ARRAY_LEN(p->rejected) && p->rejected[i]; i++)
        row_text(&result, steppe_PlanResult_rejected_nodes_tag, p->rejected[i]);
    blobs[0] = strbuf_bytes(&plan);
    blobs[1] = strbuf_bytes(&result);
    code = test_apply(ts, COMMAND_PLAN_APPLY, &m, blobs, result.len ? 2 : 1);
    strbuf_fini(&plan);
    strbuf_fini(&one);
    strbuf_fini(&result);
    return code;
}

static unsigned client_update(struct test_state *ts, const char *node, const char *id,
                              const char *status, const char *description, struct bytes evals)
{
    steppe_AllocClientUpdateCommand m = steppe_AllocClientUpdateCommand_init_zero;
    steppe_Allocation a = steppe_Allocation_init_zero;
    steppe_NodeUpdateAllocRequest req = {.allocs = &a, .allocs_count = 1};
    steppe_Allocation_TaskStatesEntry state = {.key = (char *)"t", .has_value = true};
    struct strbuf text = STRBUF_INIT;
    struct bytes blobs[2] = {{0}, evals};
    unsigned code;

    snprintf(m.node_id, sizeof(m.node_id), "%s", node);
    a.id = (char *)id;
    a.client_status = (char *)status;
    a.client_description = (char *)description;
    state.value.state = (char *)(strcmp(status, "running") == 0 ? "running" : "dead");
    a.task_states = &state;
    a.task_states_count = 1;
    REQUIRE(row_encode(steppe_NodeUpdateAllocRequest_fields, &req, &text) == 0);
    blobs[0] = strbuf_bytes(&text);
    code = test_apply(ts, COMMAND_ALLOC_CLIENT_UPDATE, &m, blobs, evals.len ? 2 : 1);
    strbuf_fini(&text);
    return code;
}

unsigned test_client_update(struct test_state *ts, const char *node, const char *id,
                            const char *status, const char *description)
{
    return client_update(ts, node, id, status, description, (struct bytes){0});
}

unsigned test_client_failed(struct test_state *ts, const char *node, const char *id,
                            const char *job, const char *eval_id)
{
    struct strbuf eval = STRBUF_INIT, evals = STRBUF_INIT;
    unsigned code;

    eval_encode(eval_id, job, &eval);
    row_bytes(&evals, 1, strbuf_bytes(&eval));
    code = client_update(ts, node, id, "failed", "Failed tasks", strbuf_bytes(&evals));
    strbuf_fini(&eval);
    strbuf_fini(&evals);
    return code;
}

unsigned test_transition(struct test_state *ts, const char *id, const char *job,
                         const char *eval_id)
{
    steppe_AllocTransitionCommand m = steppe_AllocTransitionCommand_init_zero;
    steppe_Allocation a = steppe_Allocation_init_zero;
    steppe_AllocsResponse list = {.allocs = &a, .allocs_count = 1};
    struct strbuf text = STRBUF_INIT, eval = STRBUF_INIT, evals = STRBUF_INIT;
    struct bytes blobs[2];
    unsigned code;

    a.id = (char *)id;
    a.has_desired_transition = true;
    a.desired_transition.has_migrate = a.desired_transition.migrate = true;
    REQUIRE(row_encode(steppe_AllocsResponse_fields, &list, &text) == 0);
    if (eval_id) {
        eval_encode(eval_id, job, &eval);
        row_bytes(&evals, 1, strbuf_bytes(&eval));
    }
    blobs[0] = strbuf_bytes(&text);
    blobs[1] = strbuf_bytes(&evals);
    code = test_apply(ts, COMMAND_ALLOC_TRANSITION, &m, blobs, 2);
    strbuf_fini(&text);
    strbuf_fini(&eval);
    strbuf_fini(&evals);
    return code;
}

unsigned test_client_health(struct test_state *ts, const char *node, const char *id, bool healthy)
{
    steppe_AllocClientUpdateCommand m = steppe_AllocClientUpdateCommand_init_zero;
    steppe_Allocation a = steppe_Allocation_init_zero;
    steppe_NodeUpdateAllocRequest req = {.allocs = &a, .allocs_count = 1};
    struct strbuf text = STRBUF_INIT;
    struct bytes blob;
    unsigned code;

    snprintf(m.node_id, sizeof(m.node_id), "%s", node);
    a.id = (char *)id;
    a.client_status = (char *)"running";
    a.has_deployment_status = true;
    a.deployment_status.has_healthy = true;
    a.deployment_status.healthy = healthy;
    a.deployment_status.timestamp = ts->now;
    REQUIRE(row_encode(steppe_NodeUpdateAllocRequest_fields, &req, &text) == 0);
    blob = strbuf_bytes(&text);
    code = test_apply(ts, COMMAND_ALLOC_CLIENT_UPDATE, &m, &blob, 1);
    strbuf_fini(&text);
    return code;
}

unsigned test_reap(struct test_state *ts, const struct test_reap *what)
{
    steppe_ReapCommand m = steppe_ReapCommand_init_zero;
    steppe_ReapJob job = {(char *)"default", (char *)what->job};
    char *eval = (char *)what->eval, *alloc = (char *)what->alloc, *node = (char *)what->node,
         *deployment = (char *)what->deployment;
    steppe_ReapList list = {
        .eval_ids = &eval,
        .eval_ids_count = eval != NULL,
        .alloc_ids = &alloc,
        .alloc_ids_count = alloc != NULL,
        .jobs = &job,
        .jobs_count = what->job != NULL,
        .node_ids = &node,
        .node_ids_count = node != NULL,
        .deployment_ids = &deployment,
        .deployment_ids_count = deployment != NULL,
    };
    struct strbuf text = STRBUF_INIT;
    struct bytes blob;
    unsigned code;

    REQUIRE(row_encode(steppe_ReapList_fields, &list, &text) == 0);
    blob = strbuf_bytes(&text);
    code = test_apply(ts, COMMAND_REAP, &m, &blob, 1);
    strbuf_fini(&text);
    return code;
}

unsigned test_node_turn(struct test_state *ts, const char *id, const char *status, uint64_t seed)
{
    steppe_NodeStatusCommand m = steppe_NodeStatusCommand_init_zero;

    snprintf(m.node_id, sizeof(m.node_id), "%s", id);
    snprintf(m.status, sizeof(m.status), "%s", status);
    m.eval_seed = seed;
    return test_apply(ts, COMMAND_NODE_STATUS, &m, NULL, 0);
}

/* ---- the check ---- */

static size_t table_count(struct store_txn *t, enum state_table table, size_t key_min)
{
    struct bytes key, value;
    struct store_cursor c;
    size_t n = 0;
    int r = store_scan(t, table, (struct bytes){0}, &c);

    while (r == 0 && (r = store_next(&c, &key, &value)) == 0)
        n += key.len >= key_min;
    store_scan_end(&c);
    REQUIRE(r == STORE_E_NOT_FOUND);
    return n;
}

static void has(struct store_txn *t, enum state_table table, struct row_key *key, bool *ret)
{
    struct bytes v;

    REQUIRE(!key->failed);
    *ret = store_get(t, table, row_key_bytes(key), &v) == 0;
}

static void check_one(struct store_txn *t, const struct state_alloc *a, struct row_key *ret_nsid)
{
    const struct alloc_view *v = &a->view;
    uint8_t id[16], node[16], eval[16];
    char ns[STATE_KEY_MAX], job[STATE_KEY_MAX];
    struct row_key key;
    struct bytes be;
    bool there;

    REQUIRE(row_uuid_read(bytes_text(a->id), id));
    REQUIRE(bytes_eq(v->text[T(id)], bytes_text(a->id)));
    REQUIRE(row_uuid_read(v->text[T(node_id)], node) && row_uuid_read(v->text[T(eval_id)], eval));
    snprintf(ns, sizeof(ns), "%.*s", (int)v->text[T(namespace)].len, v->text[T(namespace)].data);
    snprintf(job, sizeof(job), "%.*s", (int)v->text[T(job_id)].len, v->text[T(job_id)].data);
    row_key_job(ret_nsid, ns, job);
    row_key_job_alloc(&key, row_key_bytes(ret_nsid), id);
    has(t, STATE_JOB_ALLOCS, &key, &there);
    REQUIRE(there);
    row_key_pair(&key, eval, id);
    has(t, STATE_EVAL_ALLOCS, &key, &there);
    REQUIRE(there);
    row_key_log(&key, v->num[T(modify_index)], id);
    REQUIRE(store_get(t, STATE_ALLOC_LOG, row_key_bytes(&key), &be) == 0 && be.len == 9);
    REQUIRE(be.data[0] == alloc_view_live(v));
    REQUIRE(be64_read(be.data + 1) == v->num[T(alloc_modify_index)]);
    row_key_pair(&key, node, id);
    REQUIRE(store_get(t, STATE_NODE_ALLOCS, row_key_bytes(&key), &be) == 0);
    REQUIRE(be.len >= 8 && be64_read(be.data) == v->num[T(alloc_modify_index)]);
    row_key_spec(&key, row_key_bytes(ret_nsid), v->num[T(job_create_index)],
                 v->num[T(job_version)]);
    has(t, STATE_JOB_SPECS, &key, &there);
    REQUIRE(there);
}

static void check_evals(struct store_txn *t, struct bytes nsid, struct bytes tally)
{
    struct bytes key, value;
    struct store_cursor c;
    struct row_key prefix;
    uint64_t all = 0, open = 0, blocked = 0;
    int r;

    row_key_of_job(&prefix, nsid);
    r = store_scan(t, STATE_JOB_EVALS, row_key_bytes(&prefix), &c);
    while (r == 0 && (r = store_next(&c, &key, &value)) == 0) {
        struct bytes row;
        char id[37];

        snprintf(id, sizeof(id), "%.36s", (const char *)key.data + key.len - 36);
        REQUIRE(store_get(t, STATE_EVALS, bytes_text(id), &row) == 0);
        all++;
        open += value.data[0] < STATE_EVAL_COMPLETE;
        blocked += value.data[0] == STATE_EVAL_BLOCKED;
    }
    store_scan_end(&c);
    REQUIRE(be64_read(tally.data + 16) == all);
    REQUIRE(be64_read(tally.data + 24) == open);
    REQUIRE(be64_read(tally.data + 32) == blocked);
}

/* Counts of the job's allocations, slowly. */
static void check_tally(struct store_txn *t, struct bytes nsid, struct bytes tally)
{
    struct bytes key, value;
    struct store_cursor c;
    struct row_key prefix;
    uint64_t live = 0, all = 0;
    int r;

    row_key_of_job(&prefix, nsid);
    r = store_scan(t, STATE_JOB_ALLOCS, row_key_bytes(&prefix), &c);
    while (r == 0 && (r = store_next(&c, &key, &value)) == 0) {
        struct state_alloc a;
        char id[37];

        row_uuid_text(key.data + key.len - 16, id);
        REQUIRE(state_alloc_read(t, id, &a) == 0);
        all++;
        live += alloc_view_live(&a.view);
    }
    store_scan_end(&c);
    REQUIRE(be64_read(tally.data) == live);
    REQUIRE(be64_read(tally.data + 8) == all);
    check_evals(t, nsid, tally);
}

/* Each tally is true, and together they are all allocations and evaluations. */
static void check_tallies(struct store_txn *t, size_t allocs)
{
    struct bytes key, value;
    struct store_cursor c;
    uint64_t all = 0, evals = 0;
    int r = store_scan(t, STATE_JOB_TALLIES, (struct bytes){0}, &c);

    while (r == 0 && (r = store_next(&c, &key, &value)) == 0) {
        REQUIRE(value.len == 40);
        check_tally(t, key, value);
        all += be64_read(value.data + 8);
        evals += be64_read(value.data + 16);
    }
    store_scan_end(&c);
    REQUIRE(all == allocs);
    REQUIRE(evals == table_count(t, STATE_EVALS, 0));
}

void test_allocs_check(struct test_state *ts)
{
    uint64_t uses = 0;
    struct bytes key, value;
    struct store_cursor c;
    struct store_txn *t;
    size_t n = 0;
    int r;

    REQUIRE(store_begin(ts->store, false, &t) == 0);
    r = store_scan(t, STATE_ALLOCS, (struct bytes){0}, &c);
    while (r == 0 && (r = store_next(&c, &key, &value)) == 0) {
        struct state_alloc a;
        struct row_key nsid;
        char id[37];

        REQUIRE(key.len == 16);
        row_uuid_text(key.data, id);
        REQUIRE(state_alloc_read(t, id, &a) == 0);
        check_one(t, &a, &nsid);
        n++;
    }
    store_scan_end(&c);
    check_tallies(t, n);
    REQUIRE(table_count(t, STATE_JOB_ALLOCS, 0) == n);
    REQUIRE(table_count(t, STATE_EVAL_ALLOCS, 0) == n);
    REQUIRE(table_count(t, STATE_ALLOC_LOG, 0) == n);
    REQUIRE(table_count(t, STATE_NODE_ALLOCS, 32) == n);
    r = store_scan(t, STATE_JOB_SPECS, (struct bytes){0}, &c);
    while (r == 0 && (r = store_next(&c, &key, &value)) == 0) {
        REQUIRE(value.len >= 8 && be64_read(value.data) > 0);
        uses += be64_read(value.data);
    }
    store_scan_end(&c);
    REQUIRE(uses == n);
    REQUIRE(table_count(t, STATE_NODE_LOG, 0) == table_count(t, STATE_NODES, 0));
    store_abort(t);
}
