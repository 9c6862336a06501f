/* SPDX-License-Identifier: MPL-2.0 */
/*
 * How fast the state machine takes placements, clients' updates and stops, per second of this
 * thread's processor time, and what an allocation costs:
 *     bench_alloc [mem|lmdb] [allocations] [placements a plan] [nodes]
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/prng.h"
#include "job.pb.h"
#include "rpc.pb.h"
#include "state/rows.h"
#include "state/state_alloc.h"
#include "state/state_test.h"

struct bench {
    struct test_state ts;
    size_t allocs, per_plan, nodes;
    char (*ids)[37];
    char (*node_ids)[37];
    size_t plan_bytes;
};

static void encode(const struct bench *b, size_t i, struct strbuf *out)
{
    char job[32], name[64];
    steppe_AllocatedResources_TasksEntry task = {.key = (char *)"t", .has_value = true};
    steppe_NodeScoreMeta_ScoresEntry scores[2] = {{(char *)"binpack", 0.5},
                                                  {(char *)"job-anti-affinity", 0}};
    steppe_NodeScoreMeta meta = {.scores = scores, .scores_count = 2, .norm_score = 0.5};
    steppe_AllocMetric_NodesAvailableEntry available = {(char *)"dc1", (int32_t)b->nodes};
    steppe_Allocation a = steppe_Allocation_init_zero;

    snprintf(job, sizeof(job), "bench-%zu", i / 1000);
    snprintf(name, sizeof(name), "%s.g[%zu]", job, i % 1000);
    meta.node_id = (char *)b->node_ids[i % b->nodes];
    a.id = (char *)b->ids[i];
    a.namespace = (char *)"default";
    a.eval_id = (char *)b->ids[i / 1000];
    a.name = name;
    a.node_id = meta.node_id;
    a.node_name = (char *)"node-0001";
    a.job_id = job;
    a.task_group = (char *)"g";
    a.job_create_index = 1 + i / 1000;
    task.value.has_cpu = task.value.has_memory = true;
    task.value.cpu.cpu_shares = 10;
    task.value.memory.memory_mb = 10;
    a.has_allocated_resources = true;
    a.allocated_resources.tasks = &task;
    a.allocated_resources.tasks_count = 1;
    a.allocated_resources.has_shared = true;
    a.allocated_resources.shared.disk_mb = 10;
    a.has_metrics = true;
    a.metrics.nodes_evaluated = 10;
    a.metrics.nodes_available = &available;
    a.metrics.nodes_available_count = 1;
    a.metrics.score_meta_data = &meta;
    a.metrics.score_meta_data_count = 1;
    a.metrics.allocation_time = 12345;
    if (row_encode(steppe_Allocation_fields, &a, out))
        abort();
}

/* Applies one command that was made before; returns the seconds. */
static double apply(struct bench *b, enum command_type type, const void *body,
                    const struct bytes *blobs, size_t blobs_n)
{
    struct strbuf text = STRBUF_INIT;
    struct fsm_entry e = {++b->ts.index, 1, FSM_ENTRY_COMMAND, {0}};
    struct fsm_result res;
    struct mono_ns from;
    double spent;

    b->ts.now += NS_PER_SEC;
    if (command_encode(&text, type, (struct wall_ns){b->ts.now}, NULL, body, blobs, blobs_n))
        abort();
    e.data = strbuf_bytes(&text);
    from = test_cpu_now();
    if (fsm_apply_batch(b->ts.fsm, &e, 1, &res) || res.code)
        abort();
    spent = test_cpu_since(from);
    strbuf_fini(&text);
    return spent;
}

static void bench_place(struct bench *b)
{
    steppe_PlanApplyCommand m = steppe_PlanApplyCommand_init_zero;
    struct strbuf plan = STRBUF_INIT, one = STRBUF_INIT;
    double spent = 0, worst = 0;

    for (size_t done = 0; done < b->allocs;) {
        struct bytes blob;
        double took;

        strbuf_reset(&plan);
        for (size_t k = 0; k < b->per_plan && done < b->allocs; k++, done++) {
            strbuf_reset(&one);
            encode(b, done, &one);
            row_bytes(&plan, steppe_Plan_place_tag, strbuf_bytes(&one));
        }
        b->plan_bytes += plan.len;
        blob = strbuf_bytes(&plan);
        took = apply(b, COMMAND_PLAN_APPLY, &m, &blob, 1);
        spent += took;
        worst = took > worst ? took : worst;
    }
    printf("place                %10.0f /s   %zu bytes each, slowest plan %.1f ms\n",
           (double)b->allocs / spent, b->plan_bytes / b->allocs, worst * 1e3);
    strbuf_fini(&plan);
    strbuf_fini(&one);
}

/* Each node says that all its allocations run, one command a node. */
static void bench_client(struct bench *b)
{
    steppe_AllocClientUpdateCommand m = steppe_AllocClientUpdateCommand_init_zero;
    steppe_Allocation_TaskStatesEntry state = {.key = (char *)"t", .has_value = true};
    steppe_TaskEvent events[3] = {{.type = (char *)"Received", .time = TEST_NOW_S},
                                  {.type = (char *)"Task Setup", .time = TEST_NOW_S},
                                  {.type = (char *)"Started", .time = TEST_NOW_S}};
    double spent = 0;

    state.value.state = (char *)"running";
    state.value.events = events;
    state.value.events_count = 3;
    for (size_t n = 0; n < b->nodes; n++) {
        struct strbuf text = STRBUF_INIT, one = STRBUF_INIT;
        struct bytes blob;

        for (size_t i = n; i < b->allocs; i += b->nodes) {
            steppe_Allocation a = steppe_Allocation_init_zero;

            a.id = b->ids[i];
            a.client_status = (char *)"running";
            a.client_description = (char *)"Tasks are running";
            a.task_states = &state;
            a.task_states_count = 1;
            strbuf_reset(&one);
            if (row_encode(steppe_Allocation_fields, &a, &one))
                abort();
            row_bytes(&text, steppe_NodeUpdateAllocRequest_allocs_tag, strbuf_bytes(&one));
        }
        memcpy(m.node_id, b->node_ids[n], sizeof(m.node_id));
        blob = strbuf_bytes(&text);
        spent += apply(b, COMMAND_ALLOC_CLIENT_UPDATE, &m, &blob, 1);
        strbuf_fini(&text);
        strbuf_fini(&one);
    }
    printf("client update        %10.0f /s\n", (double)b->allocs / spent);
}

/* All nodes at once: each has its jobs evaluated. */
static void bench_down(struct bench *b)
{
    steppe_NodeStatusCommand m = steppe_NodeStatusCommand_init_zero;
    double spent = 0, worst = 0;

    snprintf(m.status, sizeof(m.status), "down");
    for (size_t n = 0; n < b->nodes; n++) {
        double took;

        memcpy(m.node_id, b->node_ids[n], sizeof(m.node_id));
        m.eval_seed = n + 1;
        took = apply(b, COMMAND_NODE_STATUS, &m, NULL, 0);
        spent += took;
        worst = took > worst ? took : worst;
    }
    printf("nodes down           %10.0f /s   slowest %.1f ms\n", (double)b->nodes / spent,
           worst * 1e3);
}

static void bench_stop(struct bench *b)
{
    steppe_PlanApplyCommand m = steppe_PlanApplyCommand_init_zero;
    struct strbuf plan = STRBUF_INIT, one = STRBUF_INIT;
    double spent = 0;

    for (size_t done = 0; done < b->allocs;) {
        struct bytes blob;

        strbuf_reset(&plan);
        for (size_t k = 0; k < b->per_plan && done < b->allocs; k++, done++) {
            strbuf_reset(&one);
            row_text(&one, steppe_PlanStop_alloc_id_tag, b->ids[done]);
            row_text(&one, steppe_PlanStop_desired_status_tag, "stop");
            row_text(&one, steppe_PlanStop_desired_description_tag, "alloc not needed");
            row_bytes(&plan, steppe_Plan_stop_tag, strbuf_bytes(&one));
        }
        blob = strbuf_bytes(&plan);
        spent += apply(b, COMMAND_PLAN_APPLY, &m, &blob, 1);
    }
    printf("stop                 %10.0f /s\n", (double)b->allocs / spent);
    strbuf_fini(&plan);
    strbuf_fini(&one);
}

static int count(void *user, const struct state_alloc *a)
{
    (void)a;
    ++*(size_t *)user;
    return 0;
}

static void bench_read(struct bench *b, const char *what)
{
    struct mono_ns from = test_cpu_now();
    struct strbuf body = STRBUF_INIT;
    struct state_meta m;
    struct errtext e;
    struct store_txn *t;
    size_t n = 0;

    if (store_begin(b->ts.store, false, &t))
        abort();
    if (strcmp(what, "changed") == 0) {
        if (state_allocs_changed(t, 0, count, &n))
            abort();
    } else {
        if (state_alloc_list(t, "", "", false, NULL, &body, &m, &e))
            abort();
        n = b->allocs;
    }
    store_abort(t);
    printf("%-20s %10.0f /s\n", what, (double)n / test_cpu_since(from));
    strbuf_fini(&body);
}

static void bench_size(struct bench *b, const char *when)
{
    char path[256];
    struct stat st;

    if (!b->ts.path)
        return;
    snprintf(path, sizeof(path), "%s/data.mdb", b->ts.path);
    if (stat(path, &st) == 0)
        printf("file %-15s %10.0f bytes an allocation\n", when,
               (double)st.st_size / (double)b->allocs);
}

int main(int argc, char **argv)
{
    enum test_kind kind = argc > 1 && strcmp(argv[1], "mem") == 0 ? TEST_MEM : TEST_LMDB;
    struct bench b = {
        .allocs = argc > 2 ? strtoul(argv[2], NULL, 10) : 100000,
        .per_plan = argc > 3 ? strtoul(argv[3], NULL, 10) : 1000,
        .nodes = argc > 4 ? strtoul(argv[4], NULL, 10) : 1000,
    };
    struct prng prng;

    if (!b.allocs || !b.per_plan || !b.nodes)
        return EXIT_FAILURE;
    prng_seed(&prng, 1);
    test_state_init(&b.ts, kind);
    b.ids = xcalloc(b.allocs, sizeof(*b.ids));
    b.node_ids = xcalloc(b.nodes, sizeof(*b.node_ids));
    for (size_t i = 0; i < b.allocs; i++)
        uuid_from_prng(&prng, b.ids[i]);
    for (size_t i = 0; i * 1000 < b.allocs; i++) {
        char job[32];

        snprintf(job, sizeof(job), "bench-%zu", i);
        test_job_register(&b.ts, &(struct test_job){.id = job, .eval_id = b.ids[i]});
    }
    for (size_t i = 0; i < b.nodes; i++) {
        uuid_from_prng(&prng, b.node_ids[i]);
        test_node_register(&b.ts, &(struct test_node){.id = b.node_ids[i], .status = "ready"});
    }
    printf("%s, %zu allocations, %zu a plan, %zu nodes\n", kind == TEST_MEM ? "mem" : "lmdb",
           b.allocs, b.per_plan, b.nodes);
    bench_size(&b, "before");
    bench_place(&b);
    bench_size(&b, "placed");
    bench_client(&b);
    bench_size(&b, "running");
    bench_read(&b, "list");
    bench_read(&b, "changed");
    bench_down(&b);
    bench_stop(&b);
    test_state_fini(&b.ts);
    free(b.ids);
    free(b.node_ids);
    return EXIT_SUCCESS;
}
