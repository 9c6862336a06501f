/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Any bytes as log entries (each le16 length, bytes): the state machine takes them all, its lists
 * stay readable, and a snapshot of what came of it is taken back whole.
 */
#include <stdio.h>
#include <string.h>

#include "job.pb.h"
#include "rpc.pb.h"
#include "state/fsm.h"
#include "state/rows.h"
#include "state/snapshot.h"
#include "state/state.h"
#include "state/state_alloc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(cond)                                                                              \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static int see(void *user, const struct state_alloc *a)
{
    (void)user;
    REQUIRE(strlen(a->id) == 36);
    return 0;
}

static int see_change(void *user, const struct state_alloc_change *c)
{
    struct state_alloc a;

    REQUIRE(state_alloc_read16(user, c->id, &a) == 0);
    REQUIRE(alloc_view_live(&a.view) == c->live);
    return 0;
}

static void check_allocs(struct store_txn *t, struct strbuf *body)
{
    static const char node[] = "00000000-0000-4000-8000-000000000100";
    struct state_meta m;
    struct errtext e;

    strbuf_reset(body);
    REQUIRE(state_alloc_list(t, "*", "", true, NULL, body, &m, &e) == 0);
    REQUIRE(row_is_fields(strbuf_bytes(body)));
    strbuf_reset(body);
    REQUIRE(state_deployment_list(t, "*", "", NULL, body, &m, &e) == 0);
    REQUIRE(row_is_fields(strbuf_bytes(body)));
    REQUIRE(state_job_allocations(t, "default", "web", true, NULL, body, &m) == 0);
    REQUIRE(state_job_deployments(t, "default", "web", true, body, &m) == 0);
    REQUIRE(state_node_allocations(t, node, body, &m) == 0);
    REQUIRE(state_alloc_get(t, "00000000-0000-4000-8000-000000000a01", body, &m, &e) == 0);
    REQUIRE(state_allocs_changed(t, 0, see, NULL) == 0);
    REQUIRE(state_alloc_changes(t, 0, see_change, t) == 0);
}

static void check_queries(struct store *store)
{
    struct strbuf body = STRBUF_INIT;
    struct store_txn *t;
    struct state_meta m;
    struct errtext e;

    REQUIRE(store_begin(store, false, &t) == 0);
    REQUIRE(state_job_list(t, "*", "", NULL, &body, &m) == 0);
    REQUIRE(row_is_fields(strbuf_bytes(&body)));
    strbuf_reset(&body);
    REQUIRE(state_eval_list(t, "*", "", NULL, &body, &m, &e) == 0);
    REQUIRE(row_is_fields(strbuf_bytes(&body)));
    strbuf_reset(&body);
    REQUIRE(state_node_list(t, "", false, NULL, &body, &m, &e) == 0);
    REQUIRE(row_is_fields(strbuf_bytes(&body)));
    strbuf_reset(&body);
    REQUIRE(state_search(t, "*", "", "all", &body, &m, &e) == 0);
    REQUIRE(state_job_get(t, "default", "web", &body, &m) == 0);
    REQUIRE(state_job_versions(t, "default", "web", &body, &m) == 0);
    REQUIRE(state_job_summary(t, "default", "web", &body, &m) == 0);
    REQUIRE(state_job_evaluations(t, "default", "web", &body, &m) == 0);
    check_allocs(t, &body);
    store_abort(t);
    strbuf_fini(&body);
}

static void check_snapshot(struct store *store)
{
    struct state_snapshot *sn;
    struct state_restore *r;
    struct bytes block;
    struct errtext e;

    REQUIRE(state_snapshot_begin(store, &sn, NULL) == 0);
    REQUIRE(state_restore_begin(NULL, &r) == 0);
    do {
        REQUIRE(state_snapshot_next(sn, &block) == 0);
        REQUIRE(state_restore_chunk(r, block.data, block.len, &e) == 0);
    } while (block.len);
    state_snapshot_end(sn);
    REQUIRE(state_restore_commit(r, &e) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store *store = store_mem_new();
    struct fsm_entry e = {.term = 1, .kind = FSM_ENTRY_COMMAND};
    struct fsm_result res;
    struct fsm *f;

    REQUIRE(fsm_new(store, NULL, &f) == 0);
    while (size >= 2) {
        size_t len = data[0] | (size_t)data[1] << 8;

        len = MIN(len, size - 2);
        e.index++;
        e.data = bytes_of(data + 2, len);
        REQUIRE(fsm_apply_batch(f, &e, 1, &res) == 0);
        REQUIRE(res.code == 0 || *res.error);
        data += 2 + len;
        size -= 2 + len;
    }
    check_queries(store);
    check_snapshot(store);
    fsm_free(f);
    store_free(store);
    return 0;
}
