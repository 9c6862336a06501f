/* SPDX-License-Identifier: MPL-2.0 */
/* Allocations in the state: plans, clients' updates, wishes, what jobs make of them. Both stores.
 */
#include <stdio.h>
#include <string.h>

#include <pb_decode.h>

#include "base/prng.h"
#include "job.pb.h"
#include "node.pb.h"
#include "rpc.pb.h"
#include "state/rows.h"
#include "state/state_alloc.h"
#include "state/state_test_both.h"

static struct state_meta meta; /* of the last query */
static struct errtext error;

#define NODE  test_uuid(0x100)
#define NODE2 test_uuid(0x101)
#define EVAL  test_uuid(1)
#define EVAL2 test_uuid(2)
#define A     test_uuid(0xa1)
#define B     test_uuid(0xa2)
#define C     test_uuid(0xa3)

/* Job "web" (create index 1) and node NODE (index 2). */
static void begin(void)
{
    test_job_register(&ts, &(struct test_job){.id = "web", .groups = "gh", .eval_id = EVAL});
    test_node_register(&ts, &(struct test_node){.id = NODE, .status = "ready"});
}

static unsigned place(const char *id)
{
    return test_plan(
        &ts,
        &(struct test_plan){
            .place = {{.id = id, .node = NODE, .eval = EVAL, .job = "web", .create_index = 1}}});
}

/* ---- reading back ---- */

/* Runs a query's body: begins, decodes. */
#define QUERY(fields, msg, call)                                                                   \
    do {                                                                                           \
        struct strbuf body = STRBUF_INIT;                                                          \
        struct store_txn *t;                                                                       \
        ck_assert_int_eq(store_begin(ts.store, false, &t), 0);                                     \
        ck_assert_int_eq(call, 0);                                                                 \
        store_abort(t);                                                                            \
        ck_assert_int_eq(row_decode(fields, strbuf_bytes(&body), msg, sizeof(*(msg))), 0);         \
        strbuf_fini(&body);                                                                        \
    } while (0)

static steppe_Allocation alloc_of(const char *id)
{
    steppe_Allocation a;

    QUERY(steppe_Allocation_fields, &a, state_alloc_get(t, id, &body, &meta, &error));
    return a;
}

/* "desired client m<modify> a<alloc modify>" */
static const char *alloc_line(const char *id)
{
    static char line[160];
    steppe_Allocation a = alloc_of(id);

    if (!meta.found)
        return "(none)";
    ck_assert_uint_eq(meta.index, a.modify_index);
    ck_assert_str_eq(a.id, id);
    snprintf(line, sizeof(line), "%s %s m%llu a%llu", a.desired_status, a.client_status,
             (unsigned long long)a.modify_index, (unsigned long long)a.alloc_modify_index);
    row_release(steppe_Allocation_fields, &a);
    return line;
}

/* "status: group queued starting running complete failed lost; ..." */
static const char *job_line(const char *id)
{
    static char line[200];
    steppe_JobSummary s;
    steppe_Job job;
    int n;

    QUERY(steppe_Job_fields, &job, state_job_get(t, "default", id, &body, &meta));
    if (!meta.found)
        return "(none)";
    QUERY(steppe_JobSummary_fields, &s, state_job_summary(t, "default", id, &body, &meta));
    n = snprintf(line, sizeof(line), "%s:", job.status);
    for (size_t i = 0; i < s.summary_count; i++) {
        const steppe_TaskGroupSummary *g = &s.summary[i].value;

        n +=
            snprintf(line + n, sizeof(line) - (size_t)n, " %s %d %d %d %d %d %d;", s.summary[i].key,
                     g->queued, g->starting, g->running, g->complete, g->failed, g->lost);
    }
    row_release(steppe_Job_fields, &job);
    row_release(steppe_JobSummary_fields, &s);
    return line;
}

static size_t job_allocs(const char *id, bool all)
{
    steppe_AllocListResponse list;
    size_t n;

    QUERY(steppe_AllocListResponse_fields, &list,
          state_job_allocations(t, "", id, all, NULL, &body, &meta));
    n = list.allocs_count;
    row_release(steppe_AllocListResponse_fields, &list);
    return n;
}

static size_t eval_allocs(const char *id)
{
    steppe_AllocListResponse list;
    size_t n;

    QUERY(steppe_AllocListResponse_fields, &list,
          state_eval_allocations(t, id, NULL, &body, &meta, &error));
    n = list.allocs_count;
    row_release(steppe_AllocListResponse_fields, &list);
    return n;
}

/* "index: id@index ..." with ids by their last two digits. */
static const char *client_line(const char *node)
{
    static char line[200];
    steppe_ClientAllocsResponse list;
    int n;

    QUERY(steppe_ClientAllocsResponse_fields, &list,
          state_node_client_allocs(t, node, "s3cret", &body, &meta, &error));
    n = snprintf(line, sizeof(line), "%llu:", (unsigned long long)meta.index);
    for (size_t i = 0; i < list.allocs_count; i++)
        n += snprintf(line + n, sizeof(line) - (size_t)n, " %s@%llu", list.allocs[i].alloc_id + 34,
                      (unsigned long long)list.allocs[i].alloc_modify_index);
    row_release(steppe_ClientAllocsResponse_fields, &list);
    return line;
}

/* ---- placements ---- */

START_TEST(test_place)
{
    steppe_Allocation a;
    steppe_PlanResult result;
    steppe_AllocListResponse list;
    steppe_AllocsResponse whole;

    begin();
    ck_assert_str_eq(job_line("web"), "pending: g 0 0 0 0 0 0; h 0 0 0 0 0 0;");
    ck_assert_uint_eq(
        test_plan(
            &ts,
            &(struct test_plan){
                .place = {{.id = A,
                           .node = NODE,
                           .eval = EVAL,
                           .job = "web",
                           .create_index = 1,
                           .cpu = 500,
                           .metrics = "dc1"},
                          {.id = B, .node = NODE2, .eval = EVAL, .job = "web", .group = "h"}}}),
        0);
    ck_assert_int_eq(
        row_decode(steppe_PlanResult_fields, strbuf_bytes(&ts.body), &result, sizeof(result)), 0);
    ck_assert_uint_eq(result.index, 3);
    ck_assert_uint_eq(result.placed, 2);
    ck_assert_str_eq(job_line("web"), "running: g 0 1 0 0 0 0; h 0 1 0 0 0 0;");
    ck_assert_str_eq(alloc_line(A), "run pending m3 a3");
    a = alloc_of(A);
    ck_assert_uint_eq(a.create_index, 3);
    ck_assert_int_eq(a.create_time, ts.now);
    ck_assert_uint_eq(a.job_create_index, 1);
    ck_assert(a.has_job && a.has_metrics && a.has_resources && a.has_shared_resources);
    ck_assert_str_eq(a.job.id, "web");
    ck_assert_uint_eq(a.job.create_index, 1);
    ck_assert_int_eq(a.metrics.nodes_evaluated, 1);
    ck_assert_int_eq(a.resources.cpu, 500);
    ck_assert_int_eq(a.resources.disk_mb, 300);
    ck_assert_uint_eq(a.task_resources_count, 1);
    ck_assert_int_eq(a.task_resources[0].value.cpu, 500);
    ck_assert_int_eq(a.task_resources[0].value.disk_mb, 0);
    row_release(steppe_Allocation_fields, &a);
    a = alloc_of(B); /* no create index was said: of the job that is there */
    ck_assert_uint_eq(a.job_create_index, 1);
    row_release(steppe_Allocation_fields, &a);

    QUERY(steppe_AllocListResponse_fields, &list,
          state_alloc_list(t, "", "00000000", true, NULL, &body, &meta, &error));
    ck_assert_uint_eq(meta.index, 3);
    ck_assert_uint_eq(list.allocs_count, 2);
    ck_assert_str_eq(list.allocs[0].id, A);
    ck_assert_str_eq(list.allocs[0].job_type, "service");
    ck_assert_str_eq(list.allocs[0].task_group, "g");
    ck_assert(list.allocs[0].has_allocated_resources);
    row_release(steppe_AllocListResponse_fields, &list);
    QUERY(steppe_AllocListResponse_fields, &list,
          state_alloc_list(t, "other", "", false, NULL, &body, &meta, &error));
    ck_assert_uint_eq(list.allocs_count, 0);
    QUERY(steppe_AllocListResponse_fields, &list,
          state_alloc_list(t, "*", "01", false, NULL, &body, &meta, &error));
    ck_assert_uint_eq(list.allocs_count, 0);

    ck_assert_uint_eq(job_allocs("web", false), 2);
    ck_assert_uint_eq(eval_allocs(EVAL), 2);
    ck_assert_uint_eq(eval_allocs(EVAL2), 0);
    QUERY(steppe_AllocsResponse_fields, &whole, state_node_allocations(t, NODE, &body, &meta));
    ck_assert_uint_eq(whole.allocs_count, 1);
    ck_assert(whole.allocs[0].has_job);
    row_release(steppe_AllocsResponse_fields, &whole);
    ck_assert_str_eq(client_line(NODE), "3: a1@3");
    ck_assert_str_eq(alloc_line(C), "(none)");
    ck_assert_uint_eq(meta.index, 3);
}
END_TEST

START_TEST(test_get_many)
{
    char *ids[] = {(char *)A, (char *)C, (char *)"nonsense", (char *)B};
    steppe_AllocsResponse whole;

    begin();
    place(A);
    place(B);
    QUERY(steppe_AllocsResponse_fields, &whole,
          state_allocs_get(t, ids, ARRAY_LEN(ids), &body, &meta));
    ck_assert_uint_eq(whole.allocs_count, 2);
    ck_assert_str_eq(whole.allocs[1].id, B);
    row_release(steppe_AllocsResponse_fields, &whole);
}
END_TEST

START_TEST(test_place_refused)
{
    struct test_placement good = {.id = A, .node = NODE, .eval = EVAL, .job = "web"}, p;
    char long_name[400] = {0};

    memset(long_name, 'x', sizeof(long_name) - 1);
    begin();
#define BAD(field, value)                                                                          \
    do {                                                                                           \
        p = good;                                                                                  \
        p.field = value;                                                                           \
        ck_assert_uint_eq(                                                                         \
            test_plan(&ts,                                                                         \
                      &(struct test_plan){                                                         \
                          .place = {{.id = B, .node = NODE, .eval = EVAL, .job = "web"}, p}}),     \
            400);                                                                                  \
        ck_assert_str_eq(alloc_line(B), "(none)"); /* nothing was written */                       \
    } while (0)
    BAD(id, "nonsense");
    BAD(node, "0100");
    BAD(eval, "");
    BAD(job, "");
    BAD(job, long_name);
    BAD(group, long_name);
    BAD(client, "odd");
#undef BAD
    place(A);
    ck_assert_uint_eq(
        test_plan(
            &ts,
            &(struct test_plan){.place = {{.id = A, .node = NODE2, .eval = EVAL, .job = "web"}}}),
        400);
    /* twice in one plan, and the second one elsewhere: the first counts */
    ck_assert_uint_eq(
        test_plan(
            &ts,
            &(struct test_plan){.place = {{.id = B, .node = NODE, .eval = EVAL, .job = "web"},
                                          {.id = B, .node = NODE2, .eval = EVAL, .job = "web"}}}),
        0);
    test_allocs_check(&ts);
}
END_TEST

START_TEST(test_rejected_nodes)
{
    begin();
    place(A);
    ck_assert_uint_eq(test_plan(&ts,
                                &(struct test_plan){
                                    .place = {{.id = B, .node = NODE, .eval = EVAL, .job = "web"},
                                              {.id = C, .node = NODE2, .eval = EVAL, .job = "web"}},
                                    .stop = {{.id = A, .node = NODE, .desired = "stop"}},
                                    .rejected = {NODE},
                                }),
                      0);
    ck_assert_str_eq(alloc_line(A), "run pending m3 a3");
    ck_assert_str_eq(alloc_line(B), "(none)");
    ck_assert_str_eq(alloc_line(C), "run pending m4 a4");
    test_allocs_check(&ts);
}
END_TEST

/* ---- clients ---- */

START_TEST(test_client)
{
    steppe_Allocation a;

    begin();
    place(A);
    place(B); /* index 4 */
    ck_assert_str_eq(client_line(NODE), "4: a1@3 a2@4");
    ck_assert_uint_eq(test_client_update(&ts, NODE, A, "running", "Tasks are running"), 0);
    ck_assert_str_eq(alloc_line(A), "run running m5 a3");
    ck_assert_str_eq(client_line(NODE), "4: a1@3 a2@4"); /* nothing new for the client */
    ck_assert_str_eq(job_line("web"), "running: g 0 1 1 0 0 0; h 0 0 0 0 0 0;");
    a = alloc_of(A);
    ck_assert_str_eq(a.client_description, "Tasks are running");
    ck_assert_uint_eq(a.task_states_count, 1);
    ck_assert_str_eq(a.task_states[0].value.state, "running");
    ck_assert_int_eq(a.modify_time, ts.now);
    row_release(steppe_Allocation_fields, &a);
    ck_assert_uint_eq(test_client_update(&ts, NODE, A, "complete", ""), 0);
    a = alloc_of(A);
    ck_assert(!a.client_description || !*a.client_description);
    ck_assert_uint_eq(a.task_states_count, 1);
    row_release(steppe_Allocation_fields, &a);
    ck_assert_str_eq(job_line("web"), "running: g 0 1 0 1 0 0; h 0 0 0 0 0 0;");
    test_client_update(&ts, NODE, B, "failed", "Failed tasks");
    test_eval_status(&ts, EVAL, "web", "complete", NULL, 0);
    ck_assert_str_eq(job_line("web"), "dead: g 0 0 0 1 1 0; h 0 0 0 0 0 0;");
    /* not its node, not there, no status that we know */
    test_client_update(&ts, NODE2, B, "running", "");
    ck_assert_str_eq(alloc_line(B), "run failed m7 a4");
    ck_assert_uint_eq(test_client_update(&ts, NODE, C, "running", ""), 0);
    ck_assert_uint_eq(test_client_update(&ts, NODE, B, "odd", ""), 400);
    /* complete and failed never decrease */
    test_client_update(&ts, NODE, B, "running", "");
    ck_assert_str_eq(job_line("web"), "running: g 0 0 1 1 1 0; h 0 0 0 0 0 0;");
    test_allocs_check(&ts);
}
END_TEST

START_TEST(test_client_secret)
{
    struct strbuf body = STRBUF_INIT;
    struct store_txn *t;

    begin();
    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(state_node_client_allocs(t, NODE, "wrong", &body, &meta, &error),
                     STATE_E_INVALID);
    ck_assert_str_eq(error.text, "node secret ID does not match");
    ck_assert_int_eq(state_node_client_allocs(t, NODE2, "s3cret", &body, &meta, &error), 0);
    ck_assert(!meta.found);
    ck_assert_int_eq(state_node_client_allocs(t, NODE, "s3cret", &body, &meta, &error), 0);
    ck_assert(meta.found && meta.index > 0 && body.len == 0);
    store_abort(t);
    strbuf_fini(&body);
}
END_TEST

/* ---- stops, in-place updates ---- */

START_TEST(test_stops)
{
    steppe_Allocation a;

    begin();
    place(A);
    place(B);
    test_client_update(&ts, NODE, A, "running", "");
    test_eval_status(&ts, EVAL, "web", "complete", NULL, 0);
    ck_assert_uint_eq(
        test_plan(&ts,
                  &(struct test_plan){
                      .stop = {{.id = A,
                                .node = NODE,
                                .desired = "stop",
                                .description = "alloc not needed due to job update"},
                               {.id = B, .node = NODE, .desired = "stop", .client = "lost"},
                               {.id = C, .node = NODE, .desired = "stop"}}}),
        0);
    ck_assert_str_eq(alloc_line(A), "stop running m7 a7");
    ck_assert_str_eq(alloc_line(B), "stop lost m7 a7");
    ck_assert_str_eq(client_line(NODE), "7: a1@7 a2@7");
    ck_assert_str_eq(job_line("web"), "dead: g 0 0 1 0 0 1; h 0 0 0 0 0 0;");
    a = alloc_of(A);
    ck_assert_str_eq(a.desired_description, "alloc not needed due to job update");
    ck_assert_uint_eq(a.task_states_count, 1); /* the client's word stays */
    row_release(steppe_Allocation_fields, &a);
    test_client_update(&ts, NODE, A, "complete", "");
    ck_assert_str_eq(alloc_line(A), "stop complete m8 a7");
    test_allocs_check(&ts);
}
END_TEST

START_TEST(test_replace)
{
    steppe_Allocation a;

    begin();
    place(A);
    ck_assert_uint_eq(
        test_plan(
            &ts,
            &(struct test_plan){
                .place = {{.id = B, .node = NODE, .eval = EVAL2, .job = "web", .previous = A}},
                .stop = {{.id = A, .node = NODE, .desired = "stop"}}}),
        0);
    a = alloc_of(A);
    ck_assert_str_eq(a.next_allocation, B);
    row_release(steppe_Allocation_fields, &a);
    a = alloc_of(B);
    ck_assert_str_eq(a.previous_allocation, A);
    row_release(steppe_Allocation_fields, &a);
    ck_assert_uint_eq(eval_allocs(EVAL2), 1);
    test_allocs_check(&ts);
}
END_TEST

START_TEST(test_in_place)
{
    steppe_Allocation a;

    begin();
    place(A);
    test_client_update(&ts, NODE, A, "running", "Tasks are running");
    test_job_register(&ts, &(struct test_job){.id = "web", .extra = "v1", .groups = "gh"});
    ck_assert_uint_eq(test_plan(&ts, &(struct test_plan){.place = {{.id = A,
                                                                    .node = NODE,
                                                                    .eval = EVAL2,
                                                                    .job = "web",
                                                                    .client = "running",
                                                                    .version = 1,
                                                                    .cpu = 700}}}),
                      0);
    ck_assert_str_eq(alloc_line(A), "run running m6 a6");
    ck_assert_str_eq(client_line(NODE), "6: a1@6");
    ck_assert_str_eq(job_line("web"), "running: g 0 0 1 0 0 0; h 0 0 0 0 0 0;");
    a = alloc_of(A);
    ck_assert_uint_eq(a.create_index, 3);
    ck_assert_uint_eq(a.job_version, 1);
    ck_assert_uint_eq(a.job.version, 1);
    ck_assert_str_eq(a.job.region, "v1");
    ck_assert_str_eq(a.client_description, "Tasks are running");
    ck_assert_int_eq(a.resources.cpu, 700);
    ck_assert_int_eq(a.create_time, ts.now - 3 * NS_PER_SEC);
    ck_assert_uint_eq(a.task_states_count, 1);
    row_release(steppe_Allocation_fields, &a);
    ck_assert_uint_eq(eval_allocs(EVAL), 0);
    ck_assert_uint_eq(eval_allocs(EVAL2), 1);
    test_allocs_check(&ts);
}
END_TEST

/* ---- specs outlive versions and jobs ---- */

START_TEST(test_spec_is_kept)
{
    steppe_Allocation a;

    begin();
    place(A);
    for (int i = 1; i < 9; i++) {
        char region[8];

        snprintf(region, sizeof(region), "v%d", i);
        test_job_register(&ts, &(struct test_job){.id = "web", .extra = region, .groups = "gh"});
    }
    a = alloc_of(A); /* its version is no more */
    ck_assert(a.has_job);
    ck_assert_str_eq(a.job.region, "global");
    ck_assert_uint_eq(a.job.version, 0);
    row_release(steppe_Allocation_fields, &a);
    ck_assert_uint_eq(
        test_plan(
            &ts,
            &(struct test_plan){
                .place = {{.id = B, .node = NODE, .eval = EVAL, .job = "web", .version = 8}}}),
        0);
    test_job_deregister(&ts, "default", "web", true, EVAL2);
    ck_assert_str_eq(job_line("web"), "(none)");
    a = alloc_of(B);
    ck_assert(a.has_job);
    ck_assert_str_eq(a.job.region, "v8");
    row_release(steppe_Allocation_fields, &a);
    /* another job of that name: its allocations are its own */
    test_job_register(&ts, &(struct test_job){.id = "web", .groups = "g"});
    ck_assert_uint_eq(job_allocs("web", false), 0);
    ck_assert_uint_eq(job_allocs("web", true), 2);
    ck_assert_str_eq(job_line("web"), "running: g 0 0 0 0 0 0;");
    test_client_update(&ts, NODE, B, "complete", "");
    ck_assert_str_eq(job_line("web"), "running: g 0 0 0 0 0 0;"); /* A still */
    test_plan(&ts, &(struct test_plan){.stop = {{.id = A, .node = NODE, .desired = "stop"}}});
    a = alloc_of(B);
    ck_assert_str_eq(a.job.region, "v8");
    row_release(steppe_Allocation_fields, &a);
    test_allocs_check(&ts);
}
END_TEST

START_TEST(test_job_stopped)
{
    begin();
    place(A);
    test_job_deregister(&ts, "default", "web", false, EVAL2);
    ck_assert_str_eq(job_line("web"), "running: g 0 1 0 0 0 0; h 0 0 0 0 0 0;");
    test_plan(&ts, &(struct test_plan){.stop = {{.id = A, .node = NODE, .desired = "stop"}}});
    ck_assert_str_eq(job_line("web"), "dead: g 0 1 0 0 0 0; h 0 0 0 0 0 0;");
}
END_TEST

/* ---- wishes ---- */

START_TEST(test_wish)
{
    steppe_Allocation a;

    begin();
    place(A);
    ck_assert_uint_eq(test_transition(&ts, A, "web", EVAL2), 0);
    a = alloc_of(A);
    ck_assert(a.has_desired_transition && a.desired_transition.has_migrate &&
              a.desired_transition.migrate);
    ck_assert_uint_eq(a.modify_index, 4);
    ck_assert_uint_eq(a.alloc_modify_index, 3);
    row_release(steppe_Allocation_fields, &a);
    ck_assert_uint_eq(test_transition(&ts, A, "web", NULL), 0);
    ck_assert_uint_eq(test_transition(&ts, C, "web", NULL), 0);
    ck_assert_uint_eq(test_transition(&ts, "nonsense", "web", NULL), 400);
    test_allocs_check(&ts);
}
END_TEST

/* ---- who is woken ---- */

static unsigned woken;

static void on_watch(struct watch *w)
{
    (void)w;
    woken++;
}

START_TEST(test_watches)
{
    struct watch client = {0}, all = {0};
    uint8_t one[STATE_KEY_MAX], any[STATE_KEY_MAX];
    struct watch_key ck = {STATE_NODE_ALLOCS, state_key_alloc(NODE, one)};
    struct watch_key ak = {STATE_NODE_ALLOCS, state_key_node_allocs(NODE, any)};

#define ARM()                                                                                      \
    do {                                                                                           \
        woken = 0;                                                                                 \
        watch_disarm(&client);                                                                     \
        watch_disarm(&all);                                                                        \
        ck_assert_int_eq(watch_arm(ts.watches, &client, &ck, 1, ts.index, on_watch), 0);           \
        ck_assert_int_eq(watch_arm(ts.watches, &all, &ak, 1, ts.index, on_watch), 0);              \
    } while (0)
    begin();
    ARM();
    place(A);
    ck_assert_uint_eq(woken, 2);
    ARM();
    test_client_update(&ts, NODE, A, "running", "");
    ck_assert_uint_eq(woken, 1);
    ARM();
    test_transition(&ts, A, "web", NULL);
    ck_assert_uint_eq(woken, 1);
    ARM();
    test_plan(&ts,
              &(struct test_plan){.place = {{.id = B, .node = NODE2, .eval = EVAL, .job = "web"}}});
    ck_assert_uint_eq(woken, 0);
    test_plan(&ts, &(struct test_plan){.stop = {{.id = A, .node = NODE, .desired = "stop"}}});
    ck_assert_uint_eq(woken, 2);
    watch_disarm(&client);
    watch_disarm(&all);
#undef ARM
}
END_TEST

/* ---- what changed ---- */

static struct strbuf heard;

static int on_alloc(void *user, const struct state_alloc *a)
{
    (void)user;
    strbuf_addf(&heard, "%s ", a->id + 34);
    return 0;
}

static int on_node(void *user, const struct state_node *n, struct bytes spec)
{
    (void)user;
    ck_assert_uint_gt(spec.len, 0);
    strbuf_addf(&heard, "%s=%s ", n->id + 34, n->status);
    return 0;
}

static const char *changed(uint64_t after)
{
    struct store_txn *t;

    strbuf_reset(&heard);
    strbuf_adds(&heard, "");
    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(state_nodes_changed(t, after, on_node, NULL), 0);
    ck_assert_int_eq(state_allocs_changed(t, after, on_alloc, NULL), 0);
    store_abort(t);
    return heard.data;
}

START_TEST(test_changes)
{
    struct store_txn *t;
    uint64_t gone;

    begin();
    test_node_register(&ts, &(struct test_node){.id = NODE2, .status = "ready"});
    place(A);
    place(B); /* 5 */
    ck_assert_str_eq(changed(0), "00=ready 01=ready a1 a2 ");
    ck_assert_str_eq(changed(4), "a2 ");
    test_client_update(&ts, NODE, A, "running", "");
    test_node_status(&ts, NODE, "down", "");
    ck_assert_str_eq(changed(5), "00=down a1 ");
    ck_assert_str_eq(changed(0), "01=ready 00=down a2 a1 ");
    ck_assert_str_eq(changed(UINT64_MAX), "");
    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(state_deleted_index(t, STATE_NODES, &gone), 0);
    ck_assert_uint_eq(gone, 0);
    store_abort(t);
    test_apply(&ts, COMMAND_NODE_DEREGISTER,
               &(steppe_NodeDeregisterCommand){.node_id = "00000000-0000-4000-8000-000000000101"},
               NULL, 0);
    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(state_deleted_index(t, STATE_NODES, &gone), 0);
    ck_assert_uint_eq(gone, ts.index);
    store_abort(t);
    ck_assert_str_eq(changed(0), "00=down a2 a1 ");
    strbuf_fini(&heard);
}
END_TEST

/* ---- evaluations of a node's jobs ---- */

/* "job type trigger; ..." of the evaluations that the last command made, by its reply. */
static const char *node_evals(void)
{
    static char line[300];
    steppe_NodeUpdateResponse rep;
    int n = 0;

    line[0] = 0;
    ck_assert_uint_eq(ts.result.code, 0);
    ck_assert_int_eq(
        row_decode(steppe_NodeUpdateResponse_fields, strbuf_bytes(&ts.body), &rep, sizeof(rep)), 0);
    ck_assert_uint_eq(rep.eval_create_index, rep.eval_ids_count ? ts.index : 0);
    for (size_t i = 0; i < rep.eval_ids_count; i++) {
        steppe_Evaluation e;

        QUERY(steppe_Evaluation_fields, &e,
              state_eval_get(t, rep.eval_ids[i], &body, &meta, &error));
        ck_assert(meta.found);
        ck_assert_str_eq(e.node_id, NODE);
        ck_assert_uint_eq(e.node_modify_index, ts.index);
        ck_assert_str_eq(e.status, "pending");
        n += snprintf(line + n, sizeof(line) - (size_t)n, "%s %s %s; ", e.job_id, e.type,
                      e.triggered_by);
        row_release(steppe_Evaluation_fields, &e);
    }
    row_release(steppe_NodeUpdateResponse_fields, &rep);
    return line;
}

START_TEST(test_node_evals)
{
    steppe_NodeEligibilityCommand el = {.node_id = "00000000-0000-4000-8000-000000000100",
                                        .eligibility = "ineligible",
                                        .eval_seed = 7};
    steppe_NodeEvaluateCommand ev = {.node_id = "00000000-0000-4000-8000-000000000100",
                                     .eval_seed = 9};
    steppe_NodeEvaluateResponse rep;

    begin();
    test_job_register(&ts, &(struct test_job){.id = "sys", .type = "system"});
    test_job_register(&ts, &(struct test_job){.id = "batch", .type = "batch"});
    place(A);
    test_plan(&ts,
              &(struct test_plan){.place = {{.id = B, .node = NODE, .eval = EVAL, .job = "batch"},
                                            {.id = C, .node = NODE2, .eval = EVAL, .job = "web"}}});
    test_client_update(&ts, NODE, B, "complete", "");
    test_node_turn(&ts, NODE, "down", 1);
    ck_assert_str_eq(node_evals(),
                     "web service node-update; batch batch node-update; sys system node-update; ");
    test_node_turn(&ts, NODE, "down", 2); /* no change */
    ck_assert_str_eq(node_evals(), "");
    test_node_turn(&ts, NODE, "initializing", 3);
    ck_assert_str_eq(node_evals(), "");
    test_node_turn(&ts, NODE, "ready", 4);
    ck_assert_str_eq(node_evals(),
                     "web service node-update; batch batch node-update; sys system node-update; ");
    test_node_register(&ts, &(struct test_node){.id = NODE, .status = "ready", .eval_seed = 5});
    ck_assert_str_eq(node_evals(), "");
    test_node_turn(&ts, NODE, "down", 0);
    ck_assert_str_eq(node_evals(), ""); /* nobody wants any */
    test_node_register(&ts, &(struct test_node){.id = NODE, .status = "ready", .eval_seed = 6});
    ck_assert_str_eq(node_evals(),
                     "web service node-update; batch batch node-update; sys system node-update; ");
    test_node_turn(&ts, NODE, "down", 6); /* the same ids once more: not again */
    ck_assert_str_eq(node_evals(), "");
    test_node_turn(&ts, NODE, "ready", 8);

    test_apply(&ts, COMMAND_NODE_ELIGIBILITY, &el, NULL, 0);
    test_apply(&ts, COMMAND_NODE_EVALUATE, &ev, NULL, 0);
    ck_assert_int_eq(
        row_decode(steppe_NodeEvaluateResponse_fields, strbuf_bytes(&ts.body), &rep, sizeof(rep)),
        0);
    ck_assert_uint_eq(rep.eval_ids_count,
                      3); /* also the job all of whose allocations there have ended */
    ck_assert_uint_eq(rep.index, ts.index);
    ck_assert_uint_eq(rep.node_modify_index, ts.index - 1);
    row_release(steppe_NodeEvaluateResponse_fields, &rep);
    snprintf(ev.node_id, sizeof(ev.node_id), "%s", NODE2);
    ck_assert_uint_eq(test_apply(&ts, COMMAND_NODE_EVALUATE, &ev, NULL, 0), 404);
    test_job_deregister(&ts, "default", "sys", true, EVAL2);
    test_job_deregister(&ts, "default", "web", true, test_uuid(3));
    test_node_turn(&ts, NODE, "down", 10);
    /* Their allocations are still there. */
    ck_assert_str_eq(node_evals(), "web service node-update; batch batch node-update; ");
    test_allocs_check(&ts);
}
END_TEST

START_TEST(test_update_with_evals)
{
    steppe_Allocation a;
    steppe_Evaluation e;

    begin();
    place(A);
    test_eval_status(&ts, EVAL, "web", "complete", NULL, 0);
    test_client_failed(&ts, NODE, A, "web", EVAL2);
    ck_assert_str_eq(job_line("web"), "pending: g 0 0 0 0 1 0; h 0 0 0 0 0 0;");
    QUERY(steppe_Evaluation_fields, &e, state_eval_get(t, EVAL2, &body, &meta, &error));
    ck_assert(meta.found);
    row_release(steppe_Evaluation_fields, &e);
    /* a plan brings its follow-up along */
    test_plan(&ts, &(struct test_plan){
                       .stop = {{.id = A, .node = NODE, .followup = test_uuid(9)}},
                       .eval_id = test_uuid(9),
                       .eval_job = "web",
                   });
    a = alloc_of(A);
    ck_assert_str_eq(a.followup_eval_id, test_uuid(9));
    ck_assert_str_eq(a.desired_status, "run");
    ck_assert_uint_eq(a.alloc_modify_index, 3); /* of no interest to the client */
    row_release(steppe_Allocation_fields, &a);
    QUERY(steppe_Evaluation_fields, &e, state_eval_get(t, test_uuid(9), &body, &meta, &error));
    ck_assert(meta.found);
    row_release(steppe_Evaluation_fields, &e);
}
END_TEST

/* ---- what is collected ---- */

START_TEST(test_reaping)
{
    steppe_Evaluation e;
    steppe_Node n;

    begin();
    place(A);
    place(B);
    test_reap(&ts, &(struct test_reap){EVAL, A, "web", NODE, NULL}); /* all in use */
    ck_assert_str_eq(alloc_line(A), "run pending m3 a3");
    QUERY(steppe_Evaluation_fields, &e, state_eval_get(t, EVAL, &body, &meta, &error));
    ck_assert(meta.found);
    row_release(steppe_Evaluation_fields, &e);
    test_client_update(&ts, NODE, A, "complete", "");
    test_client_update(&ts, NODE, B, "complete", "");
    test_eval_status(&ts, EVAL, "web", "complete", NULL, 0);
    ck_assert_str_eq(job_line("web"), "dead: g 0 0 0 2 0 0; h 0 0 0 0 0 0;");
    test_reap(&ts, &(struct test_reap){EVAL, A, NULL, NODE, NULL}); /* 9; NODE is not down */
    ck_assert_str_eq(alloc_line(A), "(none)");
    ck_assert_str_eq(client_line(NODE), "9: a2@4"); /* its client hears */
    QUERY(steppe_Evaluation_fields, &e, state_eval_get(t, EVAL, &body, &meta, &error));
    ck_assert(!meta.found);
    test_allocs_check(&ts);
    test_reap(&ts, &(struct test_reap){NULL, B, NULL, NULL, NULL});
    ck_assert_str_eq(job_line("web"), "dead: g 0 0 0 2 0 0; h 0 0 0 0 0 0;"); /* for good */
    test_reap(&ts, &(struct test_reap){NULL, NULL, "web", NULL, NULL});
    ck_assert_str_eq(job_line("web"), "(none)");
    test_node_turn(&ts, NODE, "down", 0);
    test_reap(&ts, &(struct test_reap){NULL, NULL, NULL, NODE, NULL});
    QUERY(steppe_Node_fields, &n, state_node_get(t, NODE, &body, &meta, &error));
    ck_assert(!meta.found);
    /* what is not there */
    ck_assert_uint_eq(test_reap(&ts, &(struct test_reap){EVAL, A, "web", NODE, C}), 0);
    ck_assert_uint_eq(test_reap(&ts, &(struct test_reap){"x", "x", "", "x", "x"}), 0);
    test_allocs_check(&ts);
}
END_TEST

/* ---- deployments ---- */

#define DEPLOYMENT test_uuid(0xd1)

/* "status placed healthy unhealthy canaries" */
static const char *deployment_line(void)
{
    static char line[100];
    const steppe_DeploymentState *g;
    steppe_Deployment d;

    QUERY(steppe_Deployment_fields, &d, state_deployment_get(t, DEPLOYMENT, &body, &meta, &error));
    if (!meta.found)
        return "(none)";
    ck_assert_uint_eq(meta.index, d.modify_index);
    g = &d.task_groups[0].value;
    snprintf(line, sizeof(line), "%s %d %d %d %d", d.status, g->placed_allocs, g->healthy_allocs,
             g->unhealthy_allocs, (int)g->placed_canaries_count);
    row_release(steppe_Deployment_fields, &d);
    return line;
}

static size_t deployments(const char *job, bool all)
{
    steppe_DeploymentListResponse list;
    size_t n;

    if (job)
        QUERY(steppe_DeploymentListResponse_fields, &list,
              state_job_deployments(t, "", job, all, &body, &meta));
    else
        QUERY(steppe_DeploymentListResponse_fields, &list,
              state_deployment_list(t, "", "", NULL, &body, &meta, &error));
    n = list.deployments_count;
    row_release(steppe_DeploymentListResponse_fields, &list);
    return n;
}

START_TEST(test_deployment)
{
    steppe_AllocListResponse list;
    steppe_Allocation whole;
    steppe_Deployment d;

    begin();
    ck_assert_uint_eq(deployments(NULL, false), 0);
    QUERY(steppe_Deployment_fields, &d, state_job_latest_deployment(t, "", "web", &body, &meta));
    ck_assert_ptr_null(d.id);
    ck_assert_uint_eq(
        test_plan(
            &ts,
            &(struct test_plan){
                .deployment = DEPLOYMENT,
                .deployment_job = "web",
                .place =
                    {{.id = A, .node = NODE, .eval = EVAL, .job = "web", .deployment = DEPLOYMENT},
                     {.id = B,
                      .node = NODE,
                      .eval = EVAL,
                      .job = "web",
                      .deployment = DEPLOYMENT,
                      .canary = true}},
            }),
        0);
    ck_assert_str_eq(deployment_line(), "running 2 0 0 1");
    place(C);
    test_client_update(&ts, NODE, A, "running", "");
    test_client_health(&ts, NODE, A, true);
    test_client_health(&ts, NODE, A, true); /* said before */
    ck_assert_str_eq(deployment_line(), "running 2 1 0 1");
    test_client_health(&ts, NODE, B, false);
    test_client_health(&ts, NODE, A, false);
    test_client_health(&ts, NODE, C, true); /* of none */
    ck_assert_str_eq(deployment_line(), "running 2 0 2 1");
    ck_assert_uint_eq(deployments(NULL, false), 1);
    ck_assert_uint_eq(deployments("web", false), 1);
    ck_assert_uint_eq(deployments("other", true), 0);
    QUERY(steppe_Deployment_fields, &d, state_job_latest_deployment(t, "", "web", &body, &meta));
    ck_assert_str_eq(d.id, DEPLOYMENT);
    ck_assert_int_eq(d.task_groups[0].value.require_progress_by,
                     ts.now + (600 - 5) * NS_PER_SEC); /* the first healthy one's time */
    row_release(steppe_Deployment_fields, &d);
    whole = alloc_of(A);
    ck_assert_uint_eq(whole.task_states_count, 1); /* not said again: as they were */
    row_release(steppe_Allocation_fields, &whole);
    QUERY(steppe_AllocListResponse_fields, &list,
          state_deployment_allocations(t, DEPLOYMENT, &body, &meta, &error));
    ck_assert_uint_eq(list.allocs_count, 2);
    ck_assert(list.allocs[1].deployment_status.canary);
    row_release(steppe_AllocListResponse_fields, &list);
    test_reap(&ts, &(struct test_reap){.deployment = DEPLOYMENT});
    ck_assert_str_eq(deployment_line(), "running 2 0 2 1");
    test_plan(&ts, &(struct test_plan){.deployment = DEPLOYMENT,
                                       .deployment_job = "web",
                                       .deployment_status = "successful"});
    ck_assert_uint_eq(
        test_plan(&ts, &(struct test_plan){.deployment = DEPLOYMENT, .deployment_job = "other"}),
        400);
    test_reap(&ts, &(struct test_reap){.deployment = DEPLOYMENT});
    ck_assert_str_eq(deployment_line(), "(none)");
    ck_assert_uint_eq(deployments("web", true), 0);
}
END_TEST

START_TEST(test_search)
{
    steppe_SearchResponse rep;

    begin();
    place(A);
    place(B);
#define SEARCH(ns, prefix, context)                                                                \
    QUERY(steppe_SearchResponse_fields, &rep,                                                      \
          state_search(t, ns, prefix, context, &body, &meta, &error))
    SEARCH("", "00000000-0000-4000-8000-0000000000a", "allocs");
    ck_assert_uint_eq(rep.matches_count, 1);
    ck_assert_uint_eq(rep.matches[0].value.values_count, 2);
    ck_assert_str_eq(rep.matches[0].value.values[1], B);
    row_release(steppe_SearchResponse_fields, &rep);
    SEARCH("other", "0", "allocs");
    ck_assert_uint_eq(rep.matches[0].value.values_count, 0);
    row_release(steppe_SearchResponse_fields, &rep);
    SEARCH("*", "1", "allocs");
    ck_assert_uint_eq(rep.matches[0].value.values_count, 0);
    row_release(steppe_SearchResponse_fields, &rep);
    SEARCH("", "0", "deployment");
    ck_assert_uint_eq(rep.matches[0].value.values_count, 0);
    row_release(steppe_SearchResponse_fields, &rep);
#undef SEARCH
}
END_TEST

static void add_tests(TCase *tc)
{
    tcase_add_test(tc, test_reaping);
    tcase_add_test(tc, test_deployment);
    tcase_add_test(tc, test_search);
    tcase_add_test(tc, test_node_evals);
    tcase_add_test(tc, test_update_with_evals);
    tcase_add_test(tc, test_place);
    tcase_add_test(tc, test_get_many);
    tcase_add_test(tc, test_place_refused);
    tcase_add_test(tc, test_rejected_nodes);
    tcase_add_test(tc, test_client);
    tcase_add_test(tc, test_client_secret);
    tcase_add_test(tc, test_stops);
    tcase_add_test(tc, test_replace);
    tcase_add_test(tc, test_in_place);
    tcase_add_test(tc, test_spec_is_kept);
    tcase_add_test(tc, test_job_stopped);
    tcase_add_test(tc, test_wish);
    tcase_add_test(tc, test_watches);
    tcase_add_test(tc, test_changes);
}

int main(void)
{
    return run_over_both("alloc", add_tests);
}
