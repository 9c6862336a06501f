/* SPDX-License-Identifier: MPL-2.0 */
/* The state machine's commands, in both stores. */
#include <stdio.h>
#include <string.h>

#include <pb_decode.h>

#include "base/prng.h"
#include "job.pb.h"
#include "node.pb.h"
#include "rpc.pb.h"
#include "state/rows.h"
#include "state/state_test_both.h"

/* ---- reading back ---- */

static struct state_meta meta; /* of the last query */

static size_t list_count(const struct strbuf *body)
{
    pb_istream_t s = pb_istream_from_buffer((const uint8_t *)body->data, body->len);
    pb_wire_type_t wt;
    uint32_t tag;
    bool eof;
    size_t n = 0;

    while (pb_decode_tag(&s, &wt, &tag, &eof)) {
        ck_assert_uint_eq(tag, 1);
        ck_assert(pb_skip_field(&s, wt));
        n++;
    }
    ck_assert(eof);
    return n;
}

static steppe_JobRegisterResponse registered(void)
{
    steppe_JobRegisterResponse rep;

    ck_assert_uint_eq(ts.result.code, 0);
    ck_assert_int_eq(
        row_decode(steppe_JobRegisterResponse_fields, strbuf_bytes(&ts.body), &rep, sizeof(rep)),
        0);
    return rep;
}

static steppe_Job job_read(const char *ns, const char *id)
{
    struct strbuf body = STRBUF_INIT;
    struct store_txn *t;
    steppe_Job job = steppe_Job_init_zero;

    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(state_job_get(t, ns, id, &body, &meta), 0);
    store_abort(t);
    if (meta.found)
        ck_assert_int_eq(row_decode(steppe_Job_fields, strbuf_bytes(&body), &job, sizeof(job)), 0);
    else
        ck_assert_uint_eq(body.len, 0);
    strbuf_fini(&body);
    return job;
}

/* "status version modify job_modify stop" of a job, and that its stub says the same. */
static const char *job_line(const char *id)
{
    static char line[128];
    steppe_Job job = job_read("default", id);
    struct strbuf body = STRBUF_INIT;
    steppe_JobListResponse list;
    struct store_txn *t;
    bool seen = false;

    if (!meta.found)
        return "(none)";
    ck_assert_uint_eq(meta.index, job.modify_index);
    ck_assert_str_eq(job.id, id);
    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(state_job_list(t, "default", id, NULL, &body, &meta), 0);
    store_abort(t);
    ck_assert_int_eq(
        row_decode(steppe_JobListResponse_fields, strbuf_bytes(&body), &list, sizeof(list)), 0);
    for (size_t i = 0; i < list.jobs_count; i++) {
        const steppe_JobListStub *s = &list.jobs[i];

        if (strcmp(s->id, id) != 0)
            continue;
        seen = true;
        ck_assert_str_eq(s->status, job.status);
        ck_assert(s->stop == job.stop);
        ck_assert_uint_eq(s->create_index, job.create_index);
        ck_assert_uint_eq(s->modify_index, job.modify_index);
        ck_assert_uint_eq(s->job_modify_index, job.job_modify_index);
        ck_assert_int_eq(s->submit_time, job.submit_time);
        ck_assert(s->has_job_summary && s->job_summary.has_children);
        ck_assert_str_eq(s->job_summary.job_id, id);
        ck_assert_str_eq(s->datacenters[0], "dc1");
    }
    ck_assert(seen);
    snprintf(line, sizeof(line), "%s v%llu m%llu j%llu%s", job.status,
             (unsigned long long)job.version, (unsigned long long)job.modify_index,
             (unsigned long long)job.job_modify_index, job.stop ? " stop" : "");
    row_release(steppe_JobListResponse_fields, &list);
    row_release(steppe_Job_fields, &job);
    strbuf_fini(&body);
    return line;
}

/* "status triggered c<create> m<modify>" */
static const char *eval_line(const char *id)
{
    static char line[256];
    struct strbuf body = STRBUF_INIT;
    struct store_txn *t;
    steppe_Evaluation e;
    struct errtext text;

    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(state_eval_get(t, id, &body, &meta, &text), 0);
    store_abort(t);
    if (!meta.found)
        return "(none)";
    ck_assert_int_eq(row_decode(steppe_Evaluation_fields, strbuf_bytes(&body), &e, sizeof(e)), 0);
    ck_assert_str_eq(e.id, id);
    snprintf(line, sizeof(line), "%s %s c%llu m%llu%s%s", e.status,
             e.triggered_by ? e.triggered_by : "-", (unsigned long long)e.create_index,
             (unsigned long long)e.modify_index, e.status_description ? " " : "",
             e.status_description ? e.status_description : "");
    row_release(steppe_Evaluation_fields, &e);
    strbuf_fini(&body);
    return line;
}

static size_t job_evals(const char *id)
{
    struct strbuf body = STRBUF_INIT;
    struct store_txn *t;
    size_t n;

    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(state_job_evaluations(t, "", id, &body, &meta), 0);
    store_abort(t);
    n = list_count(&body);
    strbuf_fini(&body);
    return n;
}

/* Version numbers, newest first. */
static const char *job_versions(const char *id)
{
    static char line[128];
    struct strbuf body = STRBUF_INIT;
    steppe_JobVersionsResponse list;
    struct store_txn *t;
    size_t n = 0;

    line[0] = 0;
    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(state_job_versions(t, "", id, &body, &meta), 0);
    store_abort(t);
    ck_assert_int_eq(
        row_decode(steppe_JobVersionsResponse_fields, strbuf_bytes(&body), &list, sizeof(list)), 0);
    for (size_t i = 0; i < list.versions_count; i++)
        n += (size_t)snprintf(line + n, sizeof(line) - n, "%llu ",
                              (unsigned long long)list.versions[i].version);
    ck_assert(meta.found == (list.versions_count > 0));
    row_release(steppe_JobVersionsResponse_fields, &list);
    strbuf_fini(&body);
    return line;
}

/* "g=queued ..." and the modify index. */
static const char *job_summary(const char *id)
{
    static char line[128];
    struct strbuf body = STRBUF_INIT;
    struct store_txn *t;
    steppe_JobSummary s;
    size_t n = 0;

    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(state_job_summary(t, "", id, &body, &meta), 0);
    store_abort(t);
    if (!meta.found)
        return "(none)";
    ck_assert_int_eq(row_decode(steppe_JobSummary_fields, strbuf_bytes(&body), &s, sizeof(s)), 0);
    for (size_t i = 0; i < s.summary_count; i++)
        n += (size_t)snprintf(line + n, sizeof(line) - n, "%s=%d ", s.summary[i].key,
                              s.summary[i].value.queued);
    snprintf(line + n, sizeof(line) - n, "c%llu m%llu", (unsigned long long)s.create_index,
             (unsigned long long)s.modify_index);
    row_release(steppe_JobSummary_fields, &s);
    strbuf_fini(&body);
    return line;
}

/* ---- jobs ---- */

START_TEST(test_register)
{
    struct test_job j = {.id = "web", .eval_id = test_uuid(1)};
    steppe_JobRegisterResponse rep;
    steppe_Job job;

    ck_assert_uint_eq(test_job_register(&ts, &j), 0);
    rep = registered();
    ck_assert_str_eq(rep.eval_id, j.eval_id);
    ck_assert_uint_eq(rep.eval_create_index, 1);
    ck_assert_uint_eq(rep.job_modify_index, 1);
    ck_assert_uint_eq(rep.index, 1);
    row_release(steppe_JobRegisterResponse_fields, &rep);
    ck_assert_str_eq(job_line("web"), "pending v0 m1 j1");
    ck_assert_str_eq(eval_line(j.eval_id), "pending job-register c1 m1");
    ck_assert_str_eq(job_summary("web"), "g=0 c1 m1");
    ck_assert_str_eq(job_versions("web"), "0 ");

    job = job_read("", "web");
    ck_assert_str_eq(job.region, "global");
    ck_assert_int_eq(job.submit_time, ts.now);
    row_release(steppe_Job_fields, &job);
    job_read("other", "web");
    ck_assert(!meta.found);
    ck_assert_uint_eq(meta.index, 1); /* the table's */
}
END_TEST

/* The same spec: no new version, but an evaluation; a dead job is pending again. */
START_TEST(test_register_same)
{
    struct test_job j = {.id = "web", .eval_id = test_uuid(1)};
    steppe_JobRegisterResponse rep;

    test_job_register(&ts, &j);
    j.eval_id = test_uuid(2);
    ck_assert_uint_eq(test_job_register(&ts, &j), 0);
    rep = registered();
    ck_assert_uint_eq(rep.job_modify_index, 1);
    ck_assert_uint_eq(rep.eval_create_index, 2);
    row_release(steppe_JobRegisterResponse_fields, &rep);
    ck_assert_str_eq(job_line("web"), "pending v0 m1 j1");
    ck_assert_uint_eq(job_evals("web"), 2);
    ck_assert_str_eq(job_versions("web"), "0 ");

    test_eval_status(&ts, test_uuid(1), "web", "complete", NULL, 0);
    ck_assert_str_eq(job_line("web"), "pending v0 m1 j1");
    test_eval_status(&ts, test_uuid(2), "web", "complete", NULL, 0);
    ck_assert_str_eq(job_line("web"), "dead v0 m4 j1");
    j.eval_id = test_uuid(3);
    test_job_register(&ts, &j);
    ck_assert_str_eq(job_line("web"), "pending v0 m5 j1");
}
END_TEST

START_TEST(test_register_changed)
{
    struct test_job j = {.id = "web", .eval_id = test_uuid(1)};
    char region[8];

    for (int i = 0; i < 9; i++) {
        snprintf(region, sizeof(region), "r%d", i);
        j.extra = region;
        j.eval_id = test_uuid((unsigned)i + 1);
        ck_assert_uint_eq(test_job_register(&ts, &j), 0);
    }
    ck_assert_str_eq(job_line("web"), "pending v8 m9 j9");
    ck_assert_str_eq(job_versions("web"), "8 7 6 5 4 3 ");
    ck_assert_str_eq(job_summary("web"), "g=0 c1 m1");
    j.groups = "hg";
    j.extra = "more groups";
    j.eval_id = test_uuid(10);
    test_job_register(&ts, &j);
    ck_assert_str_eq(job_summary("web"), "g=0 h=0 c1 m10");
}
END_TEST

START_TEST(test_register_enforce)
{
    struct test_job j = {.id = "web", .eval_id = test_uuid(1), .enforce_index = true};

    j.job_modify_index = 7;
    ck_assert_uint_eq(test_job_register(&ts, &j), 500);
    ck_assert_str_eq(ts.body.data, "Enforcing job modify index 7: job does not exist");
    j.job_modify_index = 0;
    ck_assert_uint_eq(test_job_register(&ts, &j), 0);
    ck_assert_uint_eq(test_job_register(&ts, &j), 500);
    ck_assert_str_eq(ts.body.data, "Enforcing job modify index 0: job already exists");
    j.job_modify_index = 9;
    ck_assert_uint_eq(test_job_register(&ts, &j), 500);
    ck_assert_str_eq(
        ts.body.data,
        "Enforcing job modify index 9: job exists with conflicting job modify index: 2");
    j.job_modify_index = 2;
    j.extra = "changed";
    j.eval_id = test_uuid(2);
    ck_assert_uint_eq(test_job_register(&ts, &j), 0);
    ck_assert_str_eq(job_line("web"), "pending v1 m5 j5");
    ck_assert_uint_eq(job_evals("web"), 2);
}
END_TEST

START_TEST(test_register_forbidden)
{
    struct test_job j = {.id = "web", .eval_id = test_uuid(1)};

    test_job_register(&ts, &j);
    j.type = "batch";
    ck_assert_uint_eq(test_job_register(&ts, &j), 500);
    ck_assert_str_eq(ts.body.data, "cannot update job from type \"service\" to \"batch\"");
    j.type = NULL;
    j.periodic = true;
    ck_assert_uint_eq(test_job_register(&ts, &j), 500);
    ck_assert_str_eq(ts.body.data, "cannot update non-periodic job to being periodic");
    j.periodic = false;
    j.parameterized = true;
    ck_assert_uint_eq(test_job_register(&ts, &j), 500);
    ck_assert_str_eq(ts.body.data, "cannot update non-parameterized job to being parameterized");
    j.parameterized = false;
    j.eval_id = "no-uuid";
    ck_assert_uint_eq(test_job_register(&ts, &j), 400);
    j.eval_id = test_uuid(1);
    ck_assert_uint_eq(test_job_register(&ts, &j), 400);
    ck_assert_str_eq(ts.body.data, "evaluation 00000000-0000-4000-8000-000000000001 exists");
    ck_assert_uint_eq(test_job_deregister(&ts, "default", "web", true, test_uuid(1)), 400);
    ck_assert_str_eq(job_line("web"), "pending v0 m1 j1");
    ck_assert_uint_eq(fsm_applied_index(ts.fsm), 7);
}
END_TEST

START_TEST(test_register_kinds)
{
    struct test_job periodic = {.id = "cron", .type = "batch", .periodic = true};
    struct test_job system = {.id = "sys", .type = "system", .eval_id = test_uuid(1)};
    steppe_JobRegisterResponse rep;

    test_job_register(&ts, &periodic);
    rep = registered();
    ck_assert_ptr_null(rep.eval_id);
    ck_assert_uint_eq(rep.eval_create_index, 0);
    row_release(steppe_JobRegisterResponse_fields, &rep);
    ck_assert_str_eq(job_line("cron"), "running v0 m1 j1");
    ck_assert_uint_eq(job_evals("cron"), 0);
    test_job_register(&ts, &system);
    ck_assert_str_eq(job_line("sys"), "running v0 m2 j2");
    ck_assert_uint_eq(job_evals("sys"), 1);
    ck_assert_uint_eq(test_job_deregister(&ts, "default", "cron", false, test_uuid(2)), 0);
    ck_assert_str_eq(job_line("cron"), "dead v1 m3 j3 stop");
    ck_assert_uint_eq(job_evals("cron"), 0);
}
END_TEST

START_TEST(test_stop_and_purge)
{
    struct test_job j = {.id = "web", .eval_id = test_uuid(1)};
    steppe_JobDeregisterResponse rep;

    test_job_register(&ts, &j);
    ck_assert_uint_eq(test_job_deregister(&ts, "default", "web", false, test_uuid(2)), 0);
    ck_assert_int_eq(
        row_decode(steppe_JobDeregisterResponse_fields, strbuf_bytes(&ts.body), &rep, sizeof(rep)),
        0);
    ck_assert_str_eq(rep.eval_id, test_uuid(2));
    ck_assert_uint_eq(rep.eval_create_index, 2);
    ck_assert_uint_eq(rep.job_modify_index, 2);
    ck_assert_uint_eq(rep.index, 2);
    row_release(steppe_JobDeregisterResponse_fields, &rep);
    ck_assert_str_eq(job_line("web"), "dead v1 m2 j2 stop");
    ck_assert_str_eq(job_versions("web"), "1 0 ");
    ck_assert_str_eq(eval_line(test_uuid(2)), "pending job-deregister c2 m2");

    /* Back with the same spec: that is a change, for it was stopped. */
    j.eval_id = test_uuid(3);
    test_job_register(&ts, &j);
    ck_assert_str_eq(job_line("web"), "pending v2 m3 j3");

    ck_assert_uint_eq(test_job_deregister(&ts, "default", "web", true, test_uuid(4)), 0);
    ck_assert_str_eq(job_line("web"), "(none)");
    ck_assert_str_eq(job_versions("web"), "");
    ck_assert_str_eq(job_summary("web"), "(none)");
    ck_assert_str_eq(eval_line(test_uuid(1)), "(none)");
    ck_assert_uint_eq(job_evals("web"), 1);
    ck_assert_str_eq(eval_line(test_uuid(4)), "pending job-deregister c4 m4");

    /* Nobody knows it: fine. */
    ck_assert_uint_eq(test_job_deregister(&ts, "default", "ghost", false, test_uuid(5)), 0);
    ck_assert_str_eq(eval_line(test_uuid(5)), "pending job-deregister c5 m5");
    ck_assert_uint_eq(test_job_deregister(&ts, "", "", false, test_uuid(6)), 400);
    ck_assert_uint_eq(test_job_deregister(&ts, "default", "ghost", false, ""), 400);
}
END_TEST

/* One job's id is the beginning of another's. */
START_TEST(test_neighbours)
{
    struct test_job a = {.id = "web", .eval_id = test_uuid(1)};
    struct test_job b = {.id = "web-2", .eval_id = test_uuid(2)};
    struct test_job c = {.id = "web", .ns = "default-2", .eval_id = test_uuid(3)};

    test_job_register(&ts, &a);
    test_job_register(&ts, &b);
    test_job_register(&ts, &c);
    test_job_deregister(&ts, "default", "web", true, test_uuid(4));
    ck_assert_str_eq(job_line("web-2"), "pending v0 m2 j2");
    ck_assert_str_eq(eval_line(test_uuid(2)), "pending job-register c2 m2");
    ck_assert_str_eq(eval_line(test_uuid(3)), "pending job-register c3 m3");
    steppe_Job job = job_read("default-2", "web");

    ck_assert(meta.found);
    row_release(steppe_Job_fields, &job);
}
END_TEST

/* ---- evaluations ---- */

START_TEST(test_eval_update)
{
    struct test_job j = {.id = "web", .eval_id = test_uuid(1)};

    test_job_register(&ts, &j);
    ck_assert_uint_eq(test_eval_status(&ts, test_uuid(2), "web", "blocked", NULL, 0), 0);
    ck_assert_str_eq(eval_line(test_uuid(2)), "blocked - c2 m2");
    ck_assert_uint_eq(test_eval_status(&ts, test_uuid(1), "web", "pending", "g", 4), 0);
    ck_assert_str_eq(job_summary("web"), "g=4 c1 m3");
    ck_assert_uint_eq(test_eval_status(&ts, test_uuid(1), "web", "complete", "g", 0), 0);
    ck_assert_str_eq(job_summary("web"), "g=0 c1 m4");
    ck_assert_str_eq(eval_line(test_uuid(1)), "complete - c1 m4");
    ck_assert_str_eq(
        eval_line(test_uuid(2)),
        "canceled - c2 m4 evaluation \"00000000-0000-4000-8000-000000000002\" successful");
    ck_assert_str_eq(job_line("web"), "dead v0 m4 j1");

    ck_assert_uint_eq(test_eval_status(&ts, test_uuid(1), "other", "complete", NULL, 0), 400);
    ck_assert_uint_eq(test_eval_status(&ts, "short", "web", "complete", NULL, 0), 400);
    ck_assert_uint_eq(test_eval_status(&ts, test_uuid(9), "web", "undecided", NULL, 0), 400);
    ck_assert_uint_eq(test_eval_status(&ts, test_uuid(9), "", "complete", NULL, 0), 400);
    /* Of a job that is gone. */
    ck_assert_uint_eq(test_eval_status(&ts, test_uuid(9), "gone", "complete", "g", 1), 0);
    ck_assert_str_eq(eval_line(test_uuid(9)), "complete - c9 m9");
}
END_TEST

/* Their number stays bounded: those that are done go first, then the oldest. */
START_TEST(test_eval_bound)
{
    struct test_job j = {.id = "web"};

    for (unsigned i = 1; i <= STATE_JOB_EVALS_MAX; i++) {
        j.eval_id = test_uuid(i);
        test_job_register(&ts, &j);
    }
    test_eval_status(&ts, test_uuid(5), "web", "complete", NULL, 0);
    ck_assert_uint_eq(job_evals("web"), STATE_JOB_EVALS_MAX);
    j.eval_id = test_uuid(2000);
    test_job_register(&ts, &j);
    ck_assert_uint_eq(job_evals("web"), STATE_JOB_EVALS_MAX);
    ck_assert_str_eq(eval_line(test_uuid(5)), "(none)");
    /* one that waits is dropped when there are absurdly many only */
    for (unsigned i = STATE_JOB_EVALS_MAX; i < STATE_JOB_EVALS_OPEN_MAX; i++) {
        j.eval_id = test_uuid(2001 + i);
        test_job_register(&ts, &j);
    }
    ck_assert_str_eq(eval_line(test_uuid(1)), "pending job-register c1 m1");
    j.eval_id = test_uuid(4000);
    test_job_register(&ts, &j);
    ck_assert_str_eq(eval_line(test_uuid(1)), "(none)");
    ck_assert_uint_eq(job_evals("web"), STATE_JOB_EVALS_OPEN_MAX);
}
END_TEST

/* ---- nodes ---- */

/* "status eligibility m<modify>: event, event" */
static const char *node_line(const char *id)
{
    static char line[1024];
    struct strbuf body = STRBUF_INIT;
    struct store_txn *t;
    struct errtext text;
    struct state_node row;
    steppe_NodeListResponse list;
    steppe_Node node;
    size_t n;

    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(state_node_get(t, id, &body, &meta, &text), 0);
    if (!meta.found) {
        store_abort(t);
        return "(none)";
    }
    ck_assert_int_eq(state_node_row(t, id, &row, &meta, &text), 0);
    ck_assert_int_eq(row_decode(steppe_Node_fields, strbuf_bytes(&body), &node, sizeof(node)), 0);
    ck_assert_ptr_null(node.secret_id);
    ck_assert_str_eq(row.secret_id, "s3cret");
    ck_assert_str_eq(row.status, node.status);
    n = (size_t)snprintf(line, sizeof(line), "%s %s c%llu m%llu:", node.status,
                         node.scheduling_eligibility, (unsigned long long)node.create_index,
                         (unsigned long long)node.modify_index);
    for (size_t i = 0; i < node.events_count; i++) {
        n += (size_t)snprintf(line + n, sizeof(line) - n, " %s,", node.events[i].message);
        ck_assert_str_eq(node.events[i].subsystem, "Cluster");
        ck_assert_int_eq(node.events[i].timestamp % NS_PER_SEC, 0);
    }
    strbuf_reset(&body);
    ck_assert_int_eq(state_node_list(t, "", false, NULL, &body, &meta, &text), 0);
    ck_assert_uint_eq(list_count(&body), 1);
    strbuf_reset(&body);
    ck_assert_int_eq(state_node_list(t, "", true, NULL, &body, &meta, &text), 0);
    ck_assert_int_eq(
        row_decode(steppe_NodeListResponse_fields, strbuf_bytes(&body), &list, sizeof(list)), 0);
    ck_assert_str_eq(list.nodes[0].id, id);
    ck_assert_str_eq(list.nodes[0].status, node.status);
    ck_assert(list.nodes[0].has_node_resources && list.nodes[0].has_reserved_resources);
    ck_assert_int_eq(list.nodes[0].node_resources.memory.memory_mb, 512);
    row_release(steppe_NodeListResponse_fields, &list);
    strbuf_reset(&body);
    ck_assert_int_eq(state_node_list(t, "", false, NULL, &body, &meta, &text), 0);
    ck_assert_int_eq(
        row_decode(steppe_NodeListResponse_fields, strbuf_bytes(&body), &list, sizeof(list)), 0);
    ck_assert_str_eq(list.nodes[0].id, id);
    ck_assert(!list.nodes[0].has_node_resources && !list.nodes[0].has_reserved_resources);
    store_abort(t);
    row_release(steppe_NodeListResponse_fields, &list);
    row_release(steppe_Node_fields, &node);
    strbuf_fini(&body);
    return line;
}

START_TEST(test_node)
{
    struct test_node n = {.id = test_uuid(1)};
    steppe_NodeUpdateResponse rep;

    ck_assert_uint_eq(test_node_register(&ts, &n), 0);
    ck_assert_int_eq(
        row_decode(steppe_NodeUpdateResponse_fields, strbuf_bytes(&ts.body), &rep, sizeof(rep)), 0);
    ck_assert_uint_eq(rep.index, 1);
    ck_assert_uint_eq(rep.node_modify_index, 1);
    ck_assert_str_eq(node_line(n.id), "initializing eligible c1 m1: Node registered,");
    ck_assert_uint_eq(test_node_status(&ts, n.id, "ready", ""), 0);
    ck_assert_str_eq(node_line(n.id), "ready eligible c1 m2: Node registered,");
    ck_assert_uint_eq(test_node_status(&ts, n.id, "ready", "no change, no event"), 0);
    ck_assert_str_eq(node_line(n.id), "ready eligible c1 m2: Node registered,");
    test_node_status(&ts, n.id, "down", "Node heartbeat missed");
    ck_assert_str_eq(node_line(n.id),
                     "down eligible c1 m4: Node registered, Node heartbeat missed,");
    test_node_status(&ts, n.id, "ready", "");
    ck_assert_str_eq(node_line(n.id), "ready eligible c1 m5: Node registered, Node heartbeat "
                                      "missed, Node reregistered by heartbeat,");
    test_node_status(&ts, n.id, "down", "Node heartbeat missed");
    n.status = "ready";
    ck_assert_uint_eq(test_node_register(&ts, &n), 0);
    ck_assert_str_eq(node_line(n.id),
                     "ready eligible c1 m7: Node registered, Node heartbeat missed, Node "
                     "reregistered by heartbeat, Node heartbeat missed, Node re-registered,");
    for (int i = 0; i < 6; i++) {
        test_node_status(&ts, n.id, "down", "Node heartbeat missed");
        test_node_status(&ts, n.id, "ready", "");
    }
    ck_assert_ptr_null(strstr(node_line(n.id), "Node registered"));
}
END_TEST

START_TEST(test_node_refused)
{
    struct test_node n = {.id = test_uuid(1)};

    test_node_register(&ts, &n);
    n.secret = "another";
    ck_assert_uint_eq(test_node_register(&ts, &n), 500);
    ck_assert_str_eq(ts.body.data, "node secret ID does not match. Not registering node.");
    n.secret = NULL;
    n.status = "confused";
    ck_assert_uint_eq(test_node_register(&ts, &n), 400);
    n.status = NULL;
    n.id = "not a uuid";
    ck_assert_uint_eq(test_node_register(&ts, &n), 400);
    ck_assert_uint_eq(test_node_status(&ts, test_uuid(2), "ready", ""), 404);
    ck_assert_str_eq(ts.body.data, "node not found");
    ck_assert_str_eq(node_line(test_uuid(1)), "initializing eligible c1 m1: Node registered,");
}
END_TEST

START_TEST(test_node_eligibility)
{
    steppe_NodeEligibilityCommand m = steppe_NodeEligibilityCommand_init_zero;
    steppe_NodeDeregisterCommand gone = steppe_NodeDeregisterCommand_init_zero;
    struct test_node n = {.id = test_uuid(1)};

    test_node_register(&ts, &n);
    snprintf(m.node_id, sizeof(m.node_id), "%s", n.id);
    snprintf(m.eligibility, sizeof(m.eligibility), "eligible");
    ck_assert_uint_eq(test_apply(&ts, COMMAND_NODE_ELIGIBILITY, &m, NULL, 0), 0);
    ck_assert_uint_eq(ts.body.len, 0);
    snprintf(m.eligibility, sizeof(m.eligibility), "ineligible");
    ck_assert_uint_eq(test_apply(&ts, COMMAND_NODE_ELIGIBILITY, &m, NULL, 0), 0);
    ck_assert_uint_gt(ts.body.len, 0);
    ck_assert_str_eq(node_line(n.id), "initializing ineligible c1 m3: Node registered, Node "
                                      "marked as ineligible for scheduling,");
    /* It stays so when the node comes back. */
    test_node_register(&ts, &n);
    ck_assert_ptr_nonnull(strstr(node_line(n.id), " ineligible c1 m4"));
    snprintf(m.eligibility, sizeof(m.eligibility), "maybe");
    ck_assert_uint_eq(test_apply(&ts, COMMAND_NODE_ELIGIBILITY, &m, NULL, 0), 500);
    ck_assert_str_eq(ts.body.data, "invalid scheduling eligibility \"maybe\"");

    snprintf(gone.node_id, sizeof(gone.node_id), "%s", n.id);
    ck_assert_uint_eq(test_apply(&ts, COMMAND_NODE_DEREGISTER, &gone, NULL, 0), 0);
    ck_assert_str_eq(node_line(n.id), "(none)");
    ck_assert_uint_eq(meta.index, 6);
    ck_assert_uint_eq(test_apply(&ts, COMMAND_NODE_DEREGISTER, &gone, NULL, 0), 404);
}
END_TEST

/* ---- the rest ---- */

/* Each job once, however many allocations it has there; of those where all have ended not more than
 * a bounded number, of the others all. */
START_TEST(test_node_evals_of_many)
{
    steppe_NodeEvaluateCommand ev = {.node_id = "00000000-0000-4000-8000-000000000100",
                                     .eval_seed = 9};
    steppe_NodeEvaluateResponse rep;
    unsigned id = 0x10000;

    test_node_register(&ts, &(struct test_node){.id = ev.node_id, .status = "ready"});
    for (unsigned i = 0; i < 1100; i++) {
        char job[16];

        snprintf(job, sizeof(job), "short-%u", i);
        test_plan(&ts, &(struct test_plan){.place = {{.id = test_uuid(id),
                                                      .node = ev.node_id,
                                                      .job = job,
                                                      .eval = test_uuid(1)},
                                                     {.id = test_uuid(id + 1),
                                                      .node = ev.node_id,
                                                      .job = job,
                                                      .eval = test_uuid(1)}}});
        for (unsigned k = 0; k < 2 && i >= 3; k++)
            test_client_update(&ts, ev.node_id, test_uuid(id + k), "complete", "");
        id += 2;
    }
    test_apply(&ts, COMMAND_NODE_EVALUATE, &ev, NULL, 0);
    ck_assert_int_eq(
        row_decode(steppe_NodeEvaluateResponse_fields, strbuf_bytes(&ts.body), &rep, sizeof(rep)),
        0);
    ck_assert_uint_eq(rep.eval_ids_count, 3 + 1024);
    row_release(steppe_NodeEvaluateResponse_fields, &rep);
}
END_TEST

/* "CREATE_INDEX MODIFY_INDEX VALUE" */
static const char *config_line(const char *name)
{
    static char line[64];
    struct store_txn *t;
    struct bytes v;

    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(store_get(t, STATE_CONFIGS, bytes_text(name), &v), 0);
    ck_assert_uint_ge(v.len, 16);
    (void)snprintf(line, sizeof(line), "%d %d %.*s", (int)be64_read(v.data),
                   (int)be64_read(v.data + 8), (int)v.len - 16, (const char *)v.data + 16);
    store_abort(t);
    return line;
}

START_TEST(test_config)
{
    steppe_ConfigPutCommand m = {.name = "scheduler", .cas = true};
    struct bytes blob = bytes_text("one");

    ck_assert_uint_eq(test_apply(&ts, COMMAND_CONFIG_PUT, &m, &blob, 1), 0);
    blob = bytes_text("two");
    ck_assert_uint_eq(test_apply(&ts, COMMAND_CONFIG_PUT, &m, &blob, 1), 0); /* cas 0: too late */
    ck_assert_str_eq(config_line("scheduler"), "1 1 one");
    m.cas_index = 1;
    ck_assert_uint_eq(test_apply(&ts, COMMAND_CONFIG_PUT, &m, &blob, 1), 0);
    ck_assert_str_eq(config_line("scheduler"), "1 3 two");
}
END_TEST

/* A repeated key has no effect and the first one's answer; keys are forgotten after a while. */
START_TEST(test_idempotency)
{
    struct test_job j = {.id = "web", .eval_id = test_uuid(1)};
    steppe_JobRegisterResponse rep;
    struct store_txn *t;
    struct bytes v;

    ts.key = "retry-1";
    test_job_register(&ts, &j);
    j.eval_id = test_uuid(2);
    j.extra = "changed";
    ck_assert_uint_eq(test_job_register(&ts, &j), 0);
    rep = registered();
    ck_assert_str_eq(rep.eval_id, test_uuid(1));
    ck_assert_uint_eq(ts.result.index, 1);
    row_release(steppe_JobRegisterResponse_fields, &rep);
    ck_assert_str_eq(job_line("web"), "pending v0 m1 j1");
    ck_assert_str_eq(eval_line(test_uuid(2)), "(none)");

    ts.index += STATE_RETRIES_SPAN;
    ts.key = "retry-2";
    test_job_register(&ts, &j);
    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(store_get(t, STATE_RETRIES, bytes_text("retry-1"), &v), STORE_E_NOT_FOUND);
    ck_assert_int_eq(store_get(t, STATE_RETRIES, bytes_text("retry-2"), &v), 0);
    store_abort(t);
}
END_TEST

/* Nothing that stands in the log can stop the machine. */
START_TEST(test_broken_commands)
{
    struct test_job j = {.id = "web", .eval_id = test_uuid(1)};
    struct strbuf good = STRBUF_INIT;
    struct fsm_result res;
    struct prng rng;

    prng_seed(&rng, 11);
    test_job_command(&good, &j, TEST_NOW_S);
    for (int i = 0; i < 3000; i++) {
        struct fsm_entry e = {.index = ++ts.index, .term = 1, .kind = FSM_ENTRY_COMMAND};
        size_t len = (size_t)prng_below(&rng, good.len + 1);
        uint8_t *copy = xmalloc(len + 1);

        memcpy(copy, good.data, len);
        for (uint64_t n = prng_below(&rng, 4); len && n > 0; n--)
            copy[prng_below(&rng, len)] = (uint8_t)prng_u64(&rng);
        e.data = bytes_of(copy, len);
        ck_assert_int_eq(fsm_apply_batch(ts.fsm, &e, 1, &res), 0);
        if (len < good.len)
            ck_assert_uint_ne(res.code, 0);
        free(copy);
    }
    ck_assert_uint_eq(fsm_applied_index(ts.fsm), 3000);
    strbuf_fini(&good);
}
END_TEST

START_TEST(test_batch)
{
    struct strbuf text[3] = {STRBUF_INIT, STRBUF_INIT, STRBUF_INIT};
    struct test_job j = {.id = "a", .eval_id = test_uuid(1)};
    struct fsm_entry e[5] = {
        {1, 1, FSM_ENTRY_CONFIGURATION, bytes_of("conf", 4)},
        {2, 1, FSM_ENTRY_NOOP, {0}},
        {3, 1, FSM_ENTRY_COMMAND, {0}},
        {4, 2, FSM_ENTRY_COMMAND, {0}},
        {5, 2, FSM_ENTRY_COMMAND, {0}},
    };
    struct fsm_result res[5];
    struct store_txn *t;
    struct bytes conf;
    uint64_t index, term;

    test_job_command(&text[0], &j, 1);
    j = (struct test_job){.id = "a", .enforce_index = true};
    test_job_command(&text[1], &j, 2);
    j = (struct test_job){.id = "b", .eval_id = test_uuid(3)};
    test_job_command(&text[2], &j, 3);
    for (int i = 0; i < 3; i++)
        e[2 + i].data = strbuf_bytes(&text[i]);
    ck_assert_int_eq(fsm_apply_batch(ts.fsm, e, 5, res), 0);
    ck_assert_uint_eq(res[0].code + res[1].code + res[2].code + res[4].code, 0);
    ck_assert_uint_eq(res[1].body.len, 0);
    ck_assert_uint_gt(res[2].body.len, 0);
    ck_assert_uint_eq(res[3].code, 500);
    ck_assert_str_eq(res[3].error, "Enforcing job modify index 0: job already exists");
    ck_assert_uint_gt(res[4].body.len, 0);
    ck_assert_str_eq(job_line("b"), "pending v0 m5 j5");
    /* Once more, as after a restart: passed over. */
    ck_assert_int_eq(fsm_apply_batch(ts.fsm, e, 5, res), 0);
    ck_assert_str_eq(job_line("b"), "pending v0 m5 j5");

    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(state_applied(t, &index, &term), 0);
    ck_assert_uint_eq(index, 5);
    ck_assert_uint_eq(term, 2);
    ck_assert_int_eq(state_configuration(t, &index, &conf), 0);
    ck_assert_uint_eq(index, 1);
    ck_assert(bytes_eq(conf, bytes_text("conf")));
    store_abort(t);
    for (int i = 0; i < 3; i++)
        strbuf_fini(&text[i]);
}
END_TEST

/* ---- what observers are told ---- */

static struct strbuf heard;

static void hear(void *user, const struct fsm_change *ch)
{
    static const char *const kinds[] = {"eval", "alloc", "node", "job", "config"};

    ck_assert_ptr_eq(user, &ts);
    strbuf_addf(&heard, "%s@%llu%s%s", kinds[ch->kind], (unsigned long long)ch->index,
                ch->created ? " new" : "", ch->deleted ? " gone" : "");
    if (ch->kind == FSM_CHANGE_JOB || ch->kind == FSM_CHANGE_EVAL)
        strbuf_addf(&heard, " %.*s/%.*s", (int)ch->namespace.len, ch->namespace.data,
                    (int)ch->job_id.len, ch->job_id.data);
    if (ch->kind == FSM_CHANGE_EVAL)
        strbuf_addf(&heard, " %s>%s", state_eval_status_name(ch->eval_was),
                    state_eval_status_name(ch->eval_is));
    if (ch->kind == FSM_CHANGE_EVAL && !ch->deleted) {
        steppe_Evaluation e;

        ck_assert_int_eq(row_decode(steppe_Evaluation_fields, ch->text, &e, sizeof(e)), 0);
        ck_assert_str_eq(e.id, ch->id);
        row_release(steppe_Evaluation_fields, &e);
    }
    if (ch->kind == FSM_CHANGE_NODE)
        strbuf_addf(&heard, "%s%s%s", ch->registered ? " registered" : "",
                    ch->was_ready ? " was" : "", ch->is_ready ? " is" : "");
    if (ch->kind == FSM_CHANGE_JOB && ch->stopped)
        strbuf_adds(&heard, " stopped");
    strbuf_adds(&heard, "; ");
}

static void heard_is(const char *want)
{
    ck_assert_str_eq(heard.data ? heard.data : "", want);
    strbuf_reset(&heard);
    if (heard.data)
        heard.data[0] = 0;
}

START_TEST(test_observer)
{
    const char *node = test_uuid(0x100);

    test_job_register(&ts, &(struct test_job){.id = "a", .eval_id = test_uuid(1)});
    fsm_observe(ts.fsm, hear, &ts);
    test_job_register(&ts, &(struct test_job){.id = "b", .eval_id = test_uuid(2)});
    heard_is("eval@2 new default/b pending>pending; job@2 new default/b; ");
    test_eval_status(&ts, test_uuid(2), "b", "blocked", NULL, 0);
    heard_is("eval@3 default/b pending>blocked; ");
    test_node_register(&ts, &(struct test_node){.id = node});
    heard_is("node@4 new registered; ");
    test_node_status(&ts, node, "ready", "");
    test_node_status(&ts, node, "ready", ""); /* no change */
    heard_is("node@5 is; ");
    test_node_register(&ts, &(struct test_node){.id = node, .status = "ready"});
    test_node_status(&ts, node, "down", "");
    heard_is("node@7 registered was is; node@8 was; ");
    test_job_deregister(&ts, "default", "b", true, test_uuid(3));
    heard_is("eval@9 gone default/b blocked>blocked; job@9 gone default/b stopped; "
             "eval@9 new default/b pending>pending; ");
    ck_assert_uint_ne(test_node_status(&ts, node, "odd", ""), 0);
    heard_is("");
    fsm_observe(ts.fsm, NULL, NULL);
    test_node_status(&ts, node, "ready", "");
    heard_is("");
    strbuf_fini(&heard);
}
END_TEST

static void add_tests(TCase *tc)
{
    tcase_add_test(tc, test_register);
    tcase_add_test(tc, test_register_same);
    tcase_add_test(tc, test_register_changed);
    tcase_add_test(tc, test_register_enforce);
    tcase_add_test(tc, test_register_forbidden);
    tcase_add_test(tc, test_register_kinds);
    tcase_add_test(tc, test_stop_and_purge);
    tcase_add_test(tc, test_observer);
    tcase_add_test(tc, test_neighbours);
    tcase_add_test(tc, test_eval_update);
    tcase_add_test(tc, test_eval_bound);
    tcase_add_test(tc, test_node);
    tcase_add_test(tc, test_node_refused);
    tcase_add_test(tc, test_node_eligibility);
    tcase_add_test(tc, test_node_evals_of_many);
    tcase_add_test(tc, test_config);
    tcase_add_test(tc, test_idempotency);
    tcase_add_test(tc, test_broken_commands);
    tcase_add_test(tc, test_batch);
}

int main(void)
{
    return run_over_both("fsm", add_tests);
}
