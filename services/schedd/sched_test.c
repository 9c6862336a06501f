/* SPDX-License-Identifier: MPL-2.0 */
#include "sched_test.h"

#include <check.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "sched_match.h"
#include "wire/wire.h"

#define TEXT(s) ((char *)(s))

const char *test_uuid(unsigned n)
{
    static char bufs[16][37];
    static unsigned at;
    char *b = bufs[at++ % 16];

    (void)snprintf(b, 37, "%08x-0000-4000-8000-%012x", n, n);
    return b;
}

static char *lasting_uuid(struct world *w, unsigned n)
{
    return sched_arena_printf(&w->arena, "%s", test_uuid(n));
}

void world_init(struct world *w)
{
    memset(w, 0, sizeof(*w));
    w->im = image_new(IMAGE_NODES);
    w->re = sched_regexps_new();
    prng_seed(&w->prng, 42);
    w->dcs[0] = TEXT("dc1");
    w->job = (steppe_Job){.namespace = TEXT("default"),
                          .id = TEXT("job"),
                          .name = TEXT("job"),
                          .type = TEXT("service"),
                          .priority = 50,
                          .datacenters = w->dcs,
                          .datacenters_count = 1,
                          .task_groups = w->groups,
                          .version = 3,
                          .create_index = 10,
                          .modify_index = 20,
                          .job_modify_index = 20};
    w->eval = (steppe_Evaluation){.id = TEXT("eeeeeeee-0000-4000-8000-000000000001"),
                                  .namespace = TEXT("default"),
                                  .priority = 50,
                                  .type = TEXT("service"),
                                  .triggered_by = TEXT("job-register"),
                                  .job_id = TEXT("job"),
                                  .status = TEXT("pending")};
    w->in = (struct sched_in){.eval = &w->eval,
                              .job = &w->job,
                              .image = w->im,
                              .config = SCHED_CONFIG_DEFAULT,
                              .regexps = w->re,
                              .prng = &w->prng,
                              .now = SCHED_TEST_NOW,
                              .snapshot_index = 100,
                              .token = "token",
                              .region = "global"};
}

static void drop_plan(struct world *w)
{
    if (w->has_plan)
        pb_release(steppe_Plan_fields, &w->plan);
    if (w->has_update)
        pb_release(steppe_EvalEnd_fields, &w->update);
    w->has_plan = w->has_update = false;
    memset(&w->plan, 0, sizeof(w->plan));
}

void world_fini(struct world *w)
{
    drop_plan(w);
    for (size_t i = 0; i < w->allocs_n; i++)
        strbuf_fini(&w->alloc_bytes[i]);
    strbuf_fini(&w->plan_bytes);
    strbuf_fini(&w->body);
    sched_arena_fini(&w->arena);
    w->re = sched_regexps_free(w->re);
    w->im = image_free(w->im);
}

void world_node(struct world *w, const struct test_node *n)
{
    steppe_Node_AttributesEntry attr[8];
    steppe_Node_MetaEntry meta[8];
    uint32_t cores[16];
    char driver[64];
    steppe_Node node = {.id = TEXT(test_uuid(n->n)),
                        .name = TEXT("node"),
                        .datacenter = TEXT(n->dc ? n->dc : "dc1"),
                        .node_class = TEXT(n->class ? n->class : ""),
                        .computed_class = TEXT(n->computed_class ? n->computed_class : "v1:1"),
                        .status = TEXT(n->status ? n->status : "ready"),
                        .scheduling_eligibility = TEXT(n->ineligible ? "ineligible" : "eligible"),
                        .attributes = attr,
                        .meta = meta,
                        .has_node_resources = true,
                        .modify_index = 5};

    (void)snprintf(driver, sizeof(driver), "driver.%s", n->driver ? n->driver : "raw_exec");
    attr[node.attributes_count++] = (steppe_Node_AttributesEntry){driver, TEXT("1")};
    attr[node.attributes_count++] =
        (steppe_Node_AttributesEntry){TEXT("unique.network.ip-address"), TEXT("10.0.0.1")};
    for (size_t i = 0; i < 8 && n->attr[i]; i += 2)
        attr[node.attributes_count++] =
            (steppe_Node_AttributesEntry){TEXT(n->attr[i]), TEXT(n->attr[i + 1])};
    for (size_t i = 0; i < 8 && n->meta[i]; i += 2)
        meta[node.meta_count++] = (steppe_Node_MetaEntry){TEXT(n->meta[i]), TEXT(n->meta[i + 1])};
    node.node_resources.has_cpu = node.node_resources.has_memory = true;
    node.node_resources.has_disk = true;
    node.node_resources.cpu.cpu_shares = n->cpu ? n->cpu : 4000;
    node.node_resources.memory.memory_mb = n->memory ? n->memory : 8192;
    node.node_resources.disk.disk_mb = n->disk ? n->disk : 100000;
    for (uint32_t i = 0; i < n->cores; i++)
        cores[i] = i;
    node.node_resources.cpu.total_cpu_cores = n->cores;
    node.node_resources.cpu.reservable_cpu_cores = cores;
    node.node_resources.cpu.reservable_cpu_cores_count = (pb_size_t)n->cores;
    image_apply_node(w->im, &node);
}

steppe_TaskGroup *world_group(struct world *w, const char *name, int count)
{
    unsigned n = w->job.task_groups_count++;
    steppe_TaskGroup *g = &w->groups[n];

    w->tasks[n][0] = (steppe_Task){
        .name = TEXT("t"),
        .driver = TEXT("raw_exec"),
        .has_resources = true,
        .resources = {.has_cpu = true, .cpu = 500, .has_memory_mb = true, .memory_mb = 256}};
    *g = (steppe_TaskGroup){.name = TEXT(name),
                            .has_count = true,
                            .count = count,
                            .tasks = w->tasks[n],
                            .tasks_count = 1,
                            .has_ephemeral_disk = true,
                            .ephemeral_disk = {.has_size_mb = true, .size_mb = 300}};
    return g;
}

steppe_Allocation *world_alloc(struct world *w, unsigned id, const char *group, int index,
                               unsigned node)
{
    steppe_Allocation *a = &w->alloc_msgs[w->allocs_n++];
    steppe_AllocatedResources_TasksEntry *t =
        SCHED_NEW(&w->arena, steppe_AllocatedResources_TasksEntry);

    *t = (steppe_AllocatedResources_TasksEntry){
        TEXT("t"), true, {.has_cpu = true, .has_memory = true}};
    t->value.cpu.cpu_shares = 500;
    t->value.memory.memory_mb = 256;
    *a = (steppe_Allocation){
        .id = lasting_uuid(w, id),
        .namespace = w->job.namespace,
        .job_id = w->job.id,
        .task_group = TEXT(group),
        .name = sched_arena_printf(&w->arena, "%s.%s[%d]", w->job.id, group, index),
        .node_id = lasting_uuid(w, node),
        .desired_status = TEXT("run"),
        .client_status = TEXT("running"),
        .create_index = 50 + id,
        .modify_index = 50 + id,
        .alloc_modify_index = 50 + id,
        .modify_time = SCHED_TEST_NOW - INT64_C(3600000000000),
        .job_version = w->job.version,
        .job_create_index = w->job.create_index,
        .has_allocated_resources = true,
        .allocated_resources = {.tasks = t,
                                .tasks_count = 1,
                                .has_shared = true,
                                .shared = {.disk_mb = 300}},
    };
    return a;
}

void world_load(struct world *w)
{
    for (size_t i = 0; i < w->allocs_n; i++) {
        struct strbuf *b = &w->alloc_bytes[i];

        strbuf_reset(b);
        ck_assert_int_eq(wire_encode(steppe_Allocation_fields, &w->alloc_msgs[i], b), 0);
        ck_assert_int_eq(sched_alloc_read(&w->arena, bytes_of(b->data, b->len), (struct bytes){0},
                                          &w->allocs[i]),
                         0);
        w->allocs[i].job = &w->job;
        w->allocs[i].tg = sched_job_group(&w->job, w->allocs[i].group);
        image_apply_alloc(w->im, &w->alloc_msgs[i], w->job.priority);
    }
    w->in.allocs = w->allocs;
    w->in.allocs_n = w->allocs_n;
}

void world_new_version(struct world *w)
{
    w->before = w->job;
    w->before.task_groups = w->groups_before;
    memcpy(w->groups_before, w->groups, sizeof(w->groups));
    memcpy(w->tasks_before, w->tasks, sizeof(w->tasks));
    for (size_t i = 0; i < ARRAY_LEN(w->groups); i++)
        w->groups_before[i].tasks = w->tasks_before[i];
    for (size_t i = 0; i < w->allocs_n; i++) {
        w->allocs[i].job = &w->before;
        w->allocs[i].tg = sched_job_group(&w->before, w->allocs[i].group);
    }
    w->job.version++;
    w->job.modify_index++;
}

void world_other(struct world *w, unsigned id, unsigned node, int priority, struct image_use use)
{
    struct image_who who = {.namespace = "default",
                            .job_id = "other",
                            .group = "g",
                            .name = "other.g[0]",
                            .priority = priority};

    ck_assert(image_id_parse(test_uuid(id), &who.id));
    (void)image_place(w->im, image_node_find(w->im, test_uuid(node))->slot, &who, &use);
    image_keep(w->im, 1);
}

void world_run(struct world *w)
{
    struct errtext e;

    drop_plan(w);
    strbuf_reset(&w->plan_bytes);
    sched_run(&w->in, &w->arena, &w->plan_bytes, &w->out);
    image_undo(w->im, 0);
    ck_assert(w->out.noop == (w->plan_bytes.len == 0));
    if (w->out.placed_n > 1000) /* decoding grows a list one by one: too slow with the sanitizers */
        return;
    ck_assert_msg(wire_decode(steppe_Plan_fields, w->plan_bytes.data, w->plan_bytes.len, &w->plan,
                              sizeof(w->plan), &e) == 0,
                  "%s", e.text);
    w->has_plan = true;
}

void world_finish(struct world *w, bool given_up)
{
    struct errtext e;

    if (w->has_update)
        pb_release(steppe_EvalEnd_fields, &w->update);
    strbuf_reset(&w->body);
    sched_finish(&w->in, &w->arena, &w->out, given_up, &w->body);
    ck_assert_msg(wire_decode(steppe_EvalEnd_fields, w->body.data, w->body.len, &w->update,
                              sizeof(w->update), &e) == 0,
                  "%s", e.text);
    w->has_update = true;
}

unsigned placed_on(const struct world *w, unsigned node)
{
    unsigned n = 0;

    for (pb_size_t i = 0; i < w->plan.place_count; i++)
        n += strcmp(w->plan.place[i].node_id, test_uuid(node)) == 0;
    return n;
}

double score_on(const struct world *w, unsigned node, const char *name)
{
    const steppe_AllocMetric *m = &w->plan.place[0].metrics;

    for (pb_size_t i = 0; i < m->score_meta_data_count; i++) {
        const steppe_NodeScoreMeta *s = &m->score_meta_data[i];

        if (strcmp(s->node_id, test_uuid(node)) != 0)
            continue;
        if (strcmp(name, "norm") == 0)
            return s->norm_score;
        for (pb_size_t k = 0; k < s->scores_count; k++)
            if (strcmp(s->scores[k].key, name) == 0)
                return s->scores[k].value;
    }
    return -100;
}

const steppe_AllocMetric *failed_metric(const struct world *w, const char *group)
{
    const steppe_Evaluation *e = &w->update.evals[w->update.evals_count - 1];

    for (pb_size_t i = 0; i < e->failed_tg_allocs_count; i++)
        if (strcmp(e->failed_tg_allocs[i].key, group) == 0)
            return &e->failed_tg_allocs[i].value;
    return NULL;
}

/* All maps of AllocMetric have entries of this shape. */
int count_in(const void *entries, size_t n, const char *key)
{
    const steppe_AllocMetric_ConstraintFilteredEntry *e = entries;

    for (size_t i = 0; i < n; i++)
        if (strcmp(sched_text(e[i].key), key) == 0)
            return e[i].value;
    return 0;
}
