/* SPDX-License-Identifier: MPL-2.0 */
/* Queries: lists, namespaces, prefixes, pages, UUID rules, search; in both stores. */
#include <stdio.h>
#include <string.h>

#include "rpc.pb.h"
#include "state/rows.h"
#include "state/state_test_both.h"

static struct store_txn *txn;
static struct strbuf body;
static struct state_meta meta;
static struct errtext text;

/* Jobs a, a-b, b in default, a in other; evaluations 1-4, nodes 0x10 and 0x20. */
static void fill(void)
{
    static const struct {
        const char *ns, *id;
    } jobs[] = {{"default", "b"}, {"default", "a-b"}, {"default", "a"}, {"other", "a"}};
    struct test_node node = {.id = test_uuid(0x10)};

    for (unsigned i = 0; i < ARRAY_LEN(jobs); i++) {
        struct test_job j = {.id = jobs[i].id, .ns = jobs[i].ns, .eval_id = test_uuid(i + 1)};

        ck_assert_uint_eq(test_job_register(&ts, &j), 0);
    }
    ck_assert_uint_eq(test_node_register(&ts, &node), 0);
    node.id = test_uuid(0x20);
    ck_assert_uint_eq(test_node_register(&ts, &node), 0);
    ck_assert_int_eq(store_begin(ts.store, false, &txn), 0);
}

static void release(void)
{
    store_abort(txn);
    strbuf_fini(&body);
}

static const char *jobs(const char *ns, const char *prefix, struct state_page *page)
{
    static char line[256];
    steppe_JobListResponse list;
    size_t n = 0;

    line[0] = 0;
    strbuf_reset(&body);
    ck_assert_int_eq(state_job_list(txn, ns, prefix, page, &body, &meta), 0);
    ck_assert(meta.found);
    ck_assert_uint_eq(meta.index, 4);
    ck_assert_int_eq(
        row_decode(steppe_JobListResponse_fields, strbuf_bytes(&body), &list, sizeof(list)), 0);
    for (size_t i = 0; i < list.jobs_count; i++)
        n += (size_t)snprintf(line + n, sizeof(line) - n, "%s/%s ", list.jobs[i].namespace,
                              list.jobs[i].id);
    row_release(steppe_JobListResponse_fields, &list);
    return line;
}

START_TEST(test_job_list)
{
    struct state_page page = {.bytes_max = 1};
    char all[128] = "";

    ck_assert_str_eq(jobs("default", "", NULL), "default/a default/a-b default/b ");
    ck_assert_str_eq(jobs("", "", NULL), "default/a default/a-b default/b ");
    ck_assert_str_eq(jobs("other", "", NULL), "other/a ");
    ck_assert_str_eq(jobs("*", "", NULL), "default/a default/a-b default/b other/a ");
    ck_assert_str_eq(jobs("*", "a", NULL), "default/a default/a-b other/a ");
    ck_assert_str_eq(jobs("default", "a-", NULL), "default/a-b ");
    ck_assert_str_eq(jobs("def", "", NULL), "");
    ck_assert_str_eq(jobs("default", "zz", NULL), "");
    for (int i = 0; i < 4; i++) {
        snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s", jobs("*", "", &page));
        ck_assert(page.more == (i < 3));
    }
    ck_assert_str_eq(all, "default/a default/a-b default/b other/a ");
}
END_TEST

/* Bounds of keys are answered, not crashed on. */
START_TEST(test_long_names)
{
    char longest[2000];

    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = 0;
    ck_assert_str_eq(jobs(longest, "", NULL), "");
    ck_assert_str_eq(jobs("default", longest, NULL), "");
    ck_assert_str_eq(jobs("*", longest, NULL), "");
    strbuf_reset(&body);
    ck_assert_int_eq(state_job_get(txn, "default", longest, &body, &meta), 0);
    ck_assert(!meta.found);
    ck_assert_uint_eq(meta.index, 4);
    ck_assert_int_eq(state_job_versions(txn, longest, "a", &body, &meta), 0);
    ck_assert(!meta.found);
    ck_assert_int_eq(state_job_evaluations(txn, "default", "", &body, &meta), 0);
    ck_assert_int_eq(state_search(txn, longest, longest, "all", &body, &meta, &text), 0);
}
END_TEST

/* Ids' last characters. */
static const char *evals(const char *ns, const char *prefix)
{
    static char line[64];
    steppe_EvalListResponse list;
    size_t n = 0;

    line[0] = 0;
    strbuf_reset(&body);
    ck_assert_int_eq(state_eval_list(txn, ns, prefix, NULL, &body, &meta, &text), 0);
    ck_assert_int_eq(
        row_decode(steppe_EvalListResponse_fields, strbuf_bytes(&body), &list, sizeof(list)), 0);
    for (size_t i = 0; i < list.evaluations_count; i++)
        n += (size_t)snprintf(line + n, sizeof(line) - n, "%s ", list.evaluations[i].id + 35);
    row_release(steppe_EvalListResponse_fields, &list);
    return line;
}

START_TEST(test_eval_list)
{
    ck_assert_str_eq(evals("default", ""), "1 2 3 ");
    ck_assert_str_eq(evals("*", ""), "1 2 3 4 ");
    ck_assert_str_eq(evals("*", "00000000-0000-4000-8000-000000000003"), "3 ");
    ck_assert_str_eq(evals("*", "000000000000"), "1 2 3 4 ");
    ck_assert_str_eq(evals("*", "0000000000004000-8000"), "1 2 3 4 ");
    ck_assert_str_eq(evals("*", "01"), "");
    ck_assert_uint_eq(meta.index, 4);
}
END_TEST

static const char *node_error(const char *id, bool whole)
{
    strbuf_reset(&body);
    ck_assert_int_eq(whole ? state_node_get(txn, id, &body, &meta, &text)
                           : state_node_list(txn, id, false, NULL, &body, &meta, &text),
                     STATE_E_INVALID);
    return text.text;
}

START_TEST(test_uuid_rules)
{
#define LOOKUP "node lookup failed: index error: "
    ck_assert_str_eq(node_error("abc", true), LOOKUP "UUID must be 36 characters");
    ck_assert_str_eq(node_error("abc", false),
                     LOOKUP "Input (without hyphens) must be even length");
    ck_assert_str_eq(node_error("zz", false),
                     LOOKUP "Invalid UUID: encoding/hex: invalid byte: U+007A 'z'");
    ck_assert_str_eq(node_error("\xe9\xe9", false),
                     LOOKUP "Invalid UUID: encoding/hex: invalid byte: U+00E9 'é'");
    ck_assert_str_eq(node_error("-a-b-c-d-e-", false),
                     LOOKUP "UUID should have maximum of 4 \"-\"; got 6");
    ck_assert_str_eq(node_error("00000000-0000-4000-8000-0000000000100", false),
                     LOOKUP "Invalid UUID length. UUID have 36 characters; got 37");
#undef LOOKUP
    /* 36 hex digits are well formed and nobody's. */
    ck_assert_int_eq(
        state_node_get(txn, "000000000000000000000000000000000000", &body, &meta, &text), 0);
    ck_assert(!meta.found);
    ck_assert_uint_eq(meta.index, 6);
    ck_assert_int_eq(state_eval_get(txn, "x", &body, &meta, &text), STATE_E_INVALID);
    ck_assert_str_eq(text.text, "eval lookup failed: index error: UUID must be 36 characters");
}
END_TEST

static int count_nodes(void *user, const struct state_node *node)
{
    (void)node;
    return ++*(int *)user == 1 ? 0 : 77;
}

START_TEST(test_nodes)
{
    steppe_NodeListResponse list;
    int n = 0;

    strbuf_reset(&body);
    ck_assert_int_eq(state_node_list(txn, "00000000", false, NULL, &body, &meta, &text), 0);
    ck_assert_uint_eq(meta.index, 6);
    ck_assert_int_eq(
        row_decode(steppe_NodeListResponse_fields, strbuf_bytes(&body), &list, sizeof(list)), 0);
    ck_assert_uint_eq(list.nodes_count, 2);
    ck_assert_str_eq(list.nodes[0].id, test_uuid(0x10));
    ck_assert_str_eq(list.nodes[0].status, "initializing");
    ck_assert_str_eq(list.nodes[1].scheduling_eligibility, "eligible");
    ck_assert_uint_eq(list.nodes[1].create_index, 6);
    row_release(steppe_NodeListResponse_fields, &list);
    ck_assert_int_eq(state_nodes_each(txn, count_nodes, &n), 77);
    ck_assert_int_eq(n, 2);
}
END_TEST

/* "context=id,id; ..." */
static const char *search(const char *ns, const char *prefix, const char *context)
{
    static char line[2048];
    steppe_SearchResponse rep;
    size_t n = 0;

    line[0] = 0;
    strbuf_reset(&body);
    ck_assert_int_eq(state_search(txn, ns, prefix, context, &body, &meta, &text), 0);
    ck_assert_int_eq(
        row_decode(steppe_SearchResponse_fields, strbuf_bytes(&body), &rep, sizeof(rep)), 0);
    ck_assert_uint_eq(rep.matches_count, rep.truncations_count);
    for (size_t i = 0; i < rep.matches_count; i++) {
        if (rep.matches[i].value.values_count == 0)
            continue;
        n += (size_t)snprintf(line + n, sizeof(line) - n, "%s%s=", rep.matches[i].key,
                              rep.truncations[i].value ? "+" : "");
        for (size_t k = 0; k < rep.matches[i].value.values_count; k++)
            n +=
                (size_t)snprintf(line + n, sizeof(line) - n, "%s,", rep.matches[i].value.values[k]);
    }
    row_release(steppe_SearchResponse_fields, &rep);
    return line;
}

START_TEST(test_search)
{
    struct test_job j = {.id = "many"};
    char id[8];

    ck_assert_str_eq(search("default", "a", "jobs"), "jobs=a,a-b,");
    ck_assert_uint_eq(meta.index, 4);
    ck_assert_str_eq(search("*", "a", "jobs"), "jobs=a,a-b,a,");
    ck_assert_str_eq(search("default", "00000000-0000-4000-8000-00000000001", "nodes"),
                     "nodes=00000000-0000-4000-8000-000000000010,");
    ck_assert_str_eq(search("default", "00000000-0000-4000-8000-000000000004", "all"), "");
    ck_assert_str_eq(search("other", "00000000-0000-4000-8000-000000000004", ""),
                     "evals=00000000-0000-4000-8000-000000000004,");
    ck_assert_str_eq(search("default", "b", "all"), "jobs=b,");
    ck_assert_str_eq(search("default", "def", "all"), "namespaces=default,");
    ck_assert_str_eq(search("default", "a", "deployment"), "");
    ck_assert_int_eq(state_search(txn, "", "a", "cats", &body, &meta, &text), STATE_E_INVALID);
    ck_assert_str_eq(text.text,
                     "context must be one of [allocs jobs nodes evals deployment plugins volumes "
                     "scaling_policy namespaces] or 'all' for all contexts; got \"cats\"");
    store_abort(txn);
    for (int i = 0; i < 21; i++) {
        snprintf(id, sizeof(id), "m%02d", i);
        j.id = id;
        test_job_register(&ts, &j);
    }
    ck_assert_int_eq(store_begin(ts.store, false, &txn), 0);
    ck_assert_str_eq(search("default", "m", "jobs"),
                     "jobs+=m00,m01,m02,m03,m04,m05,m06,m07,m08,m09,m10,m11,m12,m13,m14,m15,m16,"
                     "m17,m18,m19,");
}
END_TEST

START_TEST(test_rows)
{
    struct state_job job;

    ck_assert_int_eq(state_job_row(txn, "", "a", &job, &meta), 0);
    ck_assert(meta.found);
    ck_assert_uint_eq(job.job_modify_index, 3);
    ck_assert_str_eq(job.type, "service");
    ck_assert_int_eq(job.priority, 50);
    ck_assert_int_eq(state_job_row(txn, "", "none", &job, &meta), 0);
    ck_assert(!meta.found);
}
END_TEST

static void add_tests(TCase *tc)
{
    tcase_add_checked_fixture(tc, fill, release);
    tcase_add_test(tc, test_job_list);
    tcase_add_test(tc, test_long_names);
    tcase_add_test(tc, test_eval_list);
    tcase_add_test(tc, test_uuid_rules);
    tcase_add_test(tc, test_nodes);
    tcase_add_test(tc, test_search);
    tcase_add_test(tc, test_rows);
}

int main(void)
{
    return run_over_both("state", add_tests);
}
