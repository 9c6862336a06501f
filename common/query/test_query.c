/* SPDX-License-Identifier: MPL-2.0 */
/* Every read method: what it watches, and that a list in parts is the list in one. */
#include <stdio.h>
#include <string.h>

#include "base/prng.h"
#include "check_run.h"
#include "query/query.h"
#include "rpc.pb.h"
#include "rpc/rpc_methods.h"
#include "state/rows.h"
#include "state/state_test.h"

static struct test_state ts;

#define NODE test_uuid(0x100)
#define EVAL test_uuid(1)

/* 40 jobs, 40 nodes, 120 allocations, most of them of "web". */
static void setup(void)
{
    test_state_init(&ts, TEST_LMDB);
    test_job_register(&ts, &(struct test_job){.id = "web", .eval_id = EVAL});
    for (unsigned i = 1; i < 40; i++) {
        char id[16];

        snprintf(id, sizeof(id), "job-%u", i);
        test_job_register(&ts, &(struct test_job){.id = id, .eval_id = test_uuid(1 + i)});
    }
    for (unsigned i = 0; i < 40; i++)
        test_node_register(&ts, &(struct test_node){.id = test_uuid(0x100 + i)});
    for (unsigned i = 0; i < 120; i++)
        test_plan(&ts, &(struct test_plan){.place = {{.id = test_uuid(0x1000 + i),
                                                      .node = i % 2 ? test_uuid(0x101) : NODE,
                                                      .eval = EVAL,
                                                      .job = i % 10 ? "web" : "job-1"}}});
    test_plan(&ts, &(struct test_plan){.deployment = test_uuid(0xd1), .deployment_job = "web"});
    test_plan(&ts, &(struct test_plan){.deployment = test_uuid(0xd2), .deployment_job = "web"});
}

static void teardown(void)
{
    test_state_fini(&ts);
}

/* field 1: an id */
static void body_of(const char *id, const char *field2, struct strbuf *out)
{
    row_text(out, 1, id);
    row_text(out, 2, field2);
}

static const struct method_case {
    enum rpc_method method;
    const char *id, *field2; /* of the request */
    bool not_found;
    size_t watches;
    size_t items_min; /* of a list */
    bool in_parts;
} cases[] = {
    /* clang-format off */
    {RPC_JOB_GET,            "web",  NULL, false, 1, 0, false},
    {RPC_JOB_GET,            "none", NULL, true,  1, 0, false},
    {RPC_JOB_LIST,           NULL,   NULL, false, 2, 40, true},
    {RPC_JOB_VERSIONS,       "web",  NULL, false, 1, 1, false},
    {RPC_JOB_SUMMARY,        "web",  NULL, false, 1, 0, false},
    {RPC_JOB_EVALUATIONS,    "web",  NULL, false, 1, 1, false},
    {RPC_JOB_ALLOCATIONS,    "web",  NULL, false, 1, 108, true},
    {RPC_JOB_DEPLOYMENTS,    "web",  NULL, false, 1, 2, false},
    {RPC_JOB_LATEST_DEPLOYMENT, "web", NULL, false, 1, 0, false},
    {RPC_EVAL_GET,           "00000000-0000-4000-8000-000000000001", NULL, false, 1, 0, false},
    {RPC_EVAL_LIST,          NULL,   NULL, false, 1, 40, true},
    {RPC_EVAL_ALLOCATIONS,   "00000000-0000-4000-8000-000000000001", NULL, false, 1, 120, true},
    {RPC_NODE_GET,           "00000000-0000-4000-8000-000000000100", NULL, false, 1, 0, false},
    {RPC_NODE_LIST,          NULL,   NULL, false, 1, 40, true},
    {RPC_NODE_ALLOCS,        "00000000-0000-4000-8000-000000000100", NULL, false, 1, 60, false},
    {RPC_NODE_CLIENT_ALLOCS, "00000000-0000-4000-8000-000000000100", "s3cret", false, 1, 60, false},
    {RPC_NODE_CLIENT_ALLOCS, "00000000-0000-4000-8000-0000000000ff", "s3cret", true, 1, 0, false},
    {RPC_ALLOC_LIST,         NULL,   NULL, false, 1, 120, true},
    {RPC_ALLOC_GET,          "00000000-0000-4000-8000-000000001000", NULL, false, 1, 0, false},
    {RPC_ALLOC_GET,          "00000000-0000-4000-8000-00000000ffff", NULL, true, 1, 0, false},
    {RPC_ALLOCS_GET,         "00000000-0000-4000-8000-000000001000", NULL, false, 1, 1, false},
    {RPC_DEPLOYMENT_LIST,    NULL,   NULL, false, 1, 2, false},
    {RPC_DEPLOYMENT_GET,     "00000000-0000-4000-8000-0000000000d1", NULL, false, 1, 0, false},
    {RPC_DEPLOYMENT_ALLOCATIONS, "00000000-0000-4000-8000-0000000000d1", NULL, false, 1, 0, false},
    /* clang-format on */
};

static size_t items(struct bytes body)
{
    struct wire_field f;
    size_t n = 0;

    while (wire_field_next(&body, &f))
        n += f.tag == 1;
    return n;
}

/* The list in parts of a few hundred bytes; how many. */
static unsigned in_parts(struct store_txn *t, const steppe_Request *env, const struct strbuf *req,
                         struct strbuf *out, steppe_Reply *rep)
{
    struct state_page page = {.bytes_max = 500};
    unsigned n = 0;

    do {
        ck_assert_int_eq(query_run_part(t, env, req->data, req->len, out, rep, NULL, &page), 0);
        n++;
    } while (page.more);
    return n;
}

START_TEST(test_method)
{
    const struct method_case *mc = &cases[_i];
    struct strbuf req = STRBUF_INIT, whole = STRBUF_INIT, parts = STRBUF_INIT;
    steppe_Request env = {.method = mc->method};
    steppe_Reply rep = {0}, rep2 = {0};
    struct query_watch w;
    struct store_txn *t;
    unsigned n;

    body_of(mc->id, mc->field2, &req);
    ck_assert(query_known(mc->method));
    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(query_run(t, &env, req.data, req.len, &whole, &rep, &w), 0);
    ck_assert_uint_eq(rep.code, mc->not_found ? 404 : 0);
    ck_assert_uint_eq(w.n, mc->watches);
    ck_assert_uint_gt(rep.index, 0);
    if (mc->items_min)
        ck_assert_uint_ge(items(strbuf_bytes(&whole)), mc->items_min);
    n = in_parts(t, &env, &req, &parts, &rep2);
    ck_assert_uint_eq(whole.len, parts.len);
    if (whole.len)
        ck_assert_mem_eq(whole.data, parts.data, whole.len);
    ck_assert_uint_eq(rep.index, rep2.index);
    if (mc->in_parts)
        ck_assert_uint_gt(n, 4);
    store_abort(t);
    strbuf_fini(&req);
    strbuf_fini(&whole);
    strbuf_fini(&parts);
}
END_TEST

START_TEST(test_too_many)
{
    struct strbuf req = STRBUF_INIT, out = STRBUF_INIT;
    steppe_Request env = {.method = RPC_ALLOCS_GET};
    steppe_Reply rep = {0};
    struct store_txn *t;

    for (int i = 0; i < 257; i++)
        row_text(&req, 1, EVAL);
    ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
    ck_assert_int_eq(query_run(t, &env, req.data, req.len, &out, &rep, NULL), 0);
    ck_assert_uint_eq(rep.code, 500);
    ck_assert_uint_eq(out.len, 0);
    store_abort(t);
    strbuf_fini(&req);
    strbuf_fini(&out);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("methods");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_method, 0, (int)ARRAY_LEN(cases));
    tcase_add_test(tc, test_too_many);
    return check_run("query", tc, NULL);
}
