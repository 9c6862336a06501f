/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Any bytes as a plan: taken, in part or not at all. No node ever takes more than it has, what was
 * taken can be undone without a trace, and what was kept adds up.
 */
#include <string.h>

#include "plan_core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const nodes[] = {"00000000-0000-4000-8000-000000000001",
                                    "00000000-0000-4000-8000-000000000002"};

static struct image *make_image(void)
{
    steppe_AllocatedResources_TasksEntry task = {
        .key = (char *)"t",
        .has_value = true,
        .value = {.has_cpu = true, .cpu = {.cpu_shares = 400}}};
    steppe_Allocation a = {
        .id = (char *)"00000000-0000-4000-8000-0000000000a1",
        .namespace = (char *)"default",
        .job_id = (char *)"old",
        .task_group = (char *)"g",
        .node_id = (char *)nodes[0],
        .has_allocated_resources = true,
        .allocated_resources = {.tasks = &task, .tasks_count = 1},
    };
    struct image *im = image_new(0);

    for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
        steppe_Node n = {.id = (char *)nodes[i],
                         .status = (char *)"ready",
                         .has_node_resources = true,
                         .node_resources = {.has_cpu = true,
                                            .cpu = {.cpu_shares = 1000},
                                            .has_memory = true,
                                            .memory = {1000}}};

        image_apply_node(im, &n);
    }
    image_apply_alloc(im, &a, 50);
    return im;
}

static void check(const struct image *im)
{
    for (uint32_t i = 0; i < image_node_slots(im); i++) {
        const struct image_node *n = image_node_at(im, i);
        int64_t cpu = 0;

        for (const struct image_alloc *a = image_first_on_node(im, n); a;
             a = image_next_on_node(im, a))
            cpu += a->cpu;
        assert(cpu == n->cpu_used && cpu <= 1000 && n->memory_used <= 1000);
    }
}

static void on_id(void *user, const char *id)
{
    struct image_id key;

    (void)user;
    (void)image_id_parse(id, &key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image *im = make_image();
    struct bytes plan = bytes_of(data, size);
    struct plan_verdict v;
    struct plan_head head;
    struct errtext e;

    (void)plan_head_read(plan, &head);
    plan_each_id(plan, on_id, NULL);
    if (plan_verify(im, plan, &v, &e) == 0) {
        check(im);
        image_undo(im, 0);
    }
    plan_verdict_fini(&v);
    assert(image_allocs_n(im) == 1);
    check(im);
    if (plan_verify(im, plan, &v, &e) == 0)
        image_keep(im, 1);
    plan_verdict_fini(&v);
    check(im);
    image_free(im);
    return 0;
}
