/* SPDX-License-Identifier: MPL-2.0 */
/* Requests about allocations -> commands -> state: the builders, without any process around. */
#include <stdio.h>
#include <string.h>

#include "check_run.h"
#include "raftd_build.h"
#include "state/rows.h"
#include "state/state_alloc.h"
#include "state/state_test.h"

static struct test_state ts;
static struct raftd rd;
static struct raftd_proposal proposal;
static steppe_Request env;
static struct building b;

#define NODE test_uuid(0x100)
#define A    test_uuid(0xa1)
#define B    test_uuid(0xa2)

static void setup(void)
{
    test_state_init(&ts, TEST_MEM);
    memset(&rd, 0, sizeof(rd));
    rd.store = ts.store;
}

static void teardown(void)
{
    strbuf_fini(&proposal.command);
    test_state_fini(&ts);
}

/* Job "web", whose groups may be placed again `reschedule` times, two allocations on NODE. */
static void begin(int reschedule)
{
    test_job_register(&ts, &(struct test_job){.id = "web", .reschedule = reschedule});
    test_node_register(&ts, &(struct test_node){.id = NODE, .status = "ready"});
    test_plan(&ts, &(struct test_plan){
                       .place = {{.id = A, .node = NODE, .eval = test_uuid(1), .job = "web"},
                                 {.id = B, .node = NODE, .eval = test_uuid(1), .job = "web"}}});
}

/* Builds a command and applies it; the builder's code, or the state machine's. */
static unsigned run(raftd_build_fn *build, const pb_msgdesc_t *fields, void *msg)
{
    struct strbuf raw = STRBUF_INIT;
    struct fsm_entry e = {.index = ++ts.index, .term = 1, .kind = FSM_ENTRY_COMMAND};

    strbuf_fini(&proposal.command);
    b = (struct building){.rd = &rd, .p = &proposal, .env = &env, .namespace = "default"};
    ck_assert_int_eq(row_encode(fields, msg, &raw), 0);
    b.raw = bytes_of(raw.data, raw.len);
    if (build(&b, msg) == BUILT_ERROR) {
        strbuf_fini(&raw);
        return b.code;
    }
    e.data = bytes_of(proposal.command.data, proposal.command.len);
    ck_assert_int_eq(fsm_apply_batch(ts.fsm, &e, 1, &ts.result), 0);
    strbuf_fini(&raw);
    return ts.result.code;
}

static unsigned update(const char *secret, const char *status, const char *id, const char *id2)
{
    steppe_Allocation allocs[2] = {0};
    steppe_NodeUpdateAllocRequest req = {
        .node_id = (char *)NODE,
        .secret_id = (char *)secret,
        .allocs = allocs,
        .allocs_count = id2  ? 2
                        : id ? 1
                             : 0,
    };

    allocs[0].id = (char *)id;
    allocs[1].id = (char *)id2;
    allocs[0].client_status = allocs[1].client_status = (char *)status;
    return run(raftd_build_node_update_alloc, steppe_NodeUpdateAllocRequest_fields, &req);
}

/* "trigger type; ..." of the job's evaluations. */
static const char *evals(void)
{
    static char line[400];
    struct strbuf body = STRBUF_INIT;
    steppe_EvalListResponse list;
    struct state_meta m;
    struct store_txn *t;
    int n = 0;

    line[0] = 0;
    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(state_job_evaluations(t, "", "web", &body, &m), 0);
    store_abort(t);
    ck_assert_int_eq(
        row_decode(steppe_EvalListResponse_fields, strbuf_bytes(&body), &list, sizeof(list)), 0);
    for (size_t i = 0; i < list.evaluations_count; i++)
        n += snprintf(line + n, sizeof(line) - (size_t)n, "%s %s; ",
                      list.evaluations[i].triggered_by, list.evaluations[i].type);
    row_release(steppe_EvalListResponse_fields, &list);
    strbuf_fini(&body);
    return line;
}

static struct state_alloc alloc_of(struct store_txn *t, const char *id)
{
    struct state_alloc a;

    ck_assert_int_eq(state_alloc_read(t, id, &a), 0);
    return a;
}

static bool client_is(const char *id, enum alloc_client_status status)
{
    struct store_txn *t;
    struct state_alloc a;
    bool is;

    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    a = alloc_of(t, id);
    is = alloc_view_client(&a.view) == status;
    store_abort(t);
    return is;
}

START_TEST(test_update)
{
    begin(-1);
    ck_assert_uint_eq(update("wrong", "running", A, NULL), 403);
    ck_assert_uint_eq(update("s3cret", "running", NULL, NULL), 400);
    ck_assert_uint_eq(update("s3cret", "odd", A, NULL), 400);
    ck_assert_uint_eq(update("s3cret", "running", A, B), 0);
    ck_assert(client_is(A, ALLOC_CLIENT_RUNNING) && client_is(B, ALLOC_CLIENT_RUNNING));
    ck_assert_str_eq(evals(), "");
}
END_TEST

START_TEST(test_failed)
{
    begin(-1);
    ck_assert_uint_eq(update("s3cret", "failed", A, B), 0);
    ck_assert(client_is(B, ALLOC_CLIENT_FAILED));
    ck_assert_str_eq(evals(), "alloc-failure service; "); /* one for both */
}
END_TEST

START_TEST(test_failed_without_a_policy)
{
    begin(0);
    ck_assert_uint_eq(update("s3cret", "failed", A, NULL), 0);
    ck_assert_str_eq(evals(), "");
}
END_TEST

START_TEST(test_failed_and_stopped)
{
    begin(1);
    test_plan(&ts, &(struct test_plan){.stop = {{.id = A, .node = NODE, .desired = "stop"}}});
    ck_assert_uint_eq(update("s3cret", "failed", A, NULL), 0);
    ck_assert_str_eq(evals(), "");
    ck_assert_uint_eq(update("s3cret", "failed", B, NULL), 0);
    ck_assert_str_eq(evals(), "alloc-failure service; ");
}
END_TEST

START_TEST(test_failed_with_a_follow_up)
{
    begin(-1);
    test_plan(&ts,
              &(struct test_plan){.stop = {{.id = A, .node = NODE, .followup = test_uuid(9)}}});
    ck_assert_uint_eq(update("s3cret", "failed", A, NULL), 0);
    ck_assert_str_eq(evals(), "");
}
END_TEST

START_TEST(test_stop)
{
    steppe_AllocSpecificRequest req = {.alloc_id = (char *)A};
    steppe_AllocStopResponse rep;
    struct store_txn *t;
    struct state_alloc a;

    begin(0);
    ck_assert_uint_eq(run(raftd_build_alloc_stop, steppe_AllocSpecificRequest_fields, &req), 0);
    ck_assert_int_eq(row_decode(steppe_AllocStopResponse_fields, ts.result.body, &rep, sizeof(rep)),
                     0);
    ck_assert_uint_eq(rep.index, ts.index);
    ck_assert_uint_eq(strlen(rep.eval_id), 36);
    row_release(steppe_AllocStopResponse_fields, &rep);
    ck_assert_str_eq(evals(), "alloc-stop service; ");
    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    a = alloc_of(t, A);
    ck_assert_uint_gt(a.view.text[steppe_Allocation_desired_transition_tag].len, 0);
    store_abort(t);
    req.alloc_id = (char *)test_uuid(77);
    ck_assert_uint_eq(run(raftd_build_alloc_stop, steppe_AllocSpecificRequest_fields, &req), 404);
    req.alloc_id = (char *)"a1";
    ck_assert_uint_eq(run(raftd_build_alloc_stop, steppe_AllocSpecificRequest_fields, &req), 500);
}
END_TEST

START_TEST(test_evaluate)
{
    steppe_JobEvaluateRequest req = {.job_id = (char *)"web"};
    steppe_JobRegisterResponse rep;
    struct store_txn *t;
    struct state_alloc a;

    begin(1);
    ck_assert_uint_eq(run(raftd_build_job_evaluate, steppe_JobEvaluateRequest_fields, &req), 0);
    ck_assert_int_eq(
        row_decode(steppe_JobRegisterResponse_fields, ts.result.body, &rep, sizeof(rep)), 0);
    ck_assert_uint_eq(rep.eval_create_index, ts.index);
    ck_assert_uint_eq(rep.job_modify_index, 1);
    ck_assert_uint_eq(rep.index, ts.index);
    row_release(steppe_JobRegisterResponse_fields, &rep);
    ck_assert_str_eq(evals(), "job-register service; ");
    update("s3cret", "failed", A, NULL);
    req.has_eval_options = req.eval_options.force_reschedule = true;
    ck_assert_uint_eq(run(raftd_build_job_evaluate, steppe_JobEvaluateRequest_fields, &req), 0);
    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    a = alloc_of(t, A);
    ck_assert_uint_gt(a.view.text[steppe_Allocation_desired_transition_tag].len, 0);
    a = alloc_of(t, B); /* did not fail */
    ck_assert_uint_eq(a.view.text[steppe_Allocation_desired_transition_tag].len, 0);
    store_abort(t);
    req.job_id = (char *)"none";
    ck_assert_uint_eq(run(raftd_build_job_evaluate, steppe_JobEvaluateRequest_fields, &req), 404);
    test_job_register(&ts, &(struct test_job){.id = "cron", .periodic = true});
    req.job_id = (char *)"cron";
    ck_assert_uint_eq(run(raftd_build_job_evaluate, steppe_JobEvaluateRequest_fields, &req), 500);
    ck_assert_str_eq(b.e.text, "can't evaluate periodic job");
}
END_TEST

START_TEST(test_evaluate_node)
{
    steppe_NodeSpecificRequest req = {.node_id = (char *)NODE};

    begin(0);
    ck_assert_uint_eq(run(raftd_build_node_evaluate, steppe_NodeSpecificRequest_fields, &req), 0);
    ck_assert_str_eq(evals(), "node-update service; ");
    req.node_id = (char *)test_uuid(0x101);
    ck_assert_uint_eq(run(raftd_build_node_evaluate, steppe_NodeSpecificRequest_fields, &req), 404);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("builders");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_update);
    tcase_add_test(tc, test_failed);
    tcase_add_test(tc, test_failed_without_a_policy);
    tcase_add_test(tc, test_failed_and_stopped);
    tcase_add_test(tc, test_failed_with_a_follow_up);
    tcase_add_test(tc, test_stop);
    tcase_add_test(tc, test_evaluate);
    tcase_add_test(tc, test_evaluate_node);
    return check_run("build_alloc", tc, NULL);
}
