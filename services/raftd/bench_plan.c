/* SPDX-License-Identifier: MPL-2.0 */
/* Speed of the plan check: plans of 1000 placements each on 1000 (or argv[1]) nodes, until 100
 * (argv[2]) are through; prints placements a second and bytes an allocation in the image. */
#include <malloc.h>
#include <pb_encode.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "plan_core.h"

#define PLACEMENTS 1000

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void uuid(char *out, unsigned a, unsigned b)
{
    (void)snprintf(out, 37, "%08x-%04x-4000-8000-000000000000", a * 2654435761u, b);
}

static size_t make_plan(unsigned no, unsigned nodes, uint8_t *buf, size_t cap)
{
    static steppe_Allocation place[PLACEMENTS];
    static char ids[PLACEMENTS][37], on[PLACEMENTS][37], names[PLACEMENTS][32];
    static steppe_AllocatedResources_TasksEntry task = {
        .key = (char *)"task",
        .has_value = true,
        .value = {
            .has_cpu = true, .cpu = {.cpu_shares = 10}, .has_memory = true, .memory = {10, 0}}};
    steppe_Plan plan = {
        .eval_id = (char *)"e", .priority = 50, .place = place, .place_count = PLACEMENTS};
    pb_ostream_t out = pb_ostream_from_buffer(buf, cap);

    for (unsigned i = 0; i < PLACEMENTS; i++) {
        uuid(ids[i], no * PLACEMENTS + i + 1, 1);
        uuid(on[i], (no * 7 + i) % nodes, 2);
        (void)snprintf(names[i], sizeof(names[i]), "job%u.group[%u]", no, i);
        place[i] = (steppe_Allocation){
            .id = ids[i],
            .namespace = (char *)"default",
            .eval_id = (char *)"11111111-0000-4000-8000-000000000000",
            .name = names[i],
            .node_id = on[i],
            .node_name = (char *)"some-node",
            .job_id = (char *)"job",
            .task_group = (char *)"group",
            .desired_status = (char *)"run",
            .client_status = (char *)"pending",
            .has_allocated_resources = true,
            .allocated_resources = {.tasks = &task, .tasks_count = 1},
        };
    }
    return pb_encode(&out, steppe_Plan_fields, &plan) ? out.bytes_written : 0;
}

int main(int argc, char **argv)
{
    unsigned nodes = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000;
    unsigned plans = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 100;
    struct image *im = image_new(0);
    static uint8_t buf[4 << 20];
    double spent = 0;
    size_t before, placed = 0;

    for (unsigned i = 0; i < nodes; i++) {
        char id[37];
        steppe_Node n = {.id = id,
                         .status = (char *)"ready",
                         .has_node_resources = true,
                         .node_resources = {.has_cpu = true,
                                            .cpu = {.cpu_shares = 1000000},
                                            .has_memory = true,
                                            .memory = {1000000}}};

        uuid(id, i, 2);
        image_apply_node(im, &n);
    }
    before = mallinfo2().uordblks + mallinfo2().hblkhd;
    for (unsigned i = 0; i < plans; i++) {
        size_t len = make_plan(i, nodes, buf, sizeof(buf));
        struct plan_verdict v;
        struct errtext e;
        double t = now();

        if (len == 0 || plan_verify(im, bytes_of(buf, len), &v, &e) != 0)
            return 1;
        image_keep(im, i + 1);
        spent += now() - t;
        placed += v.placed;
        plan_verdict_fini(&v);
    }
    printf(
        "%zu placements checked on %u nodes: %.0f/s, %.2f ms a plan, %zu bytes each in the image\n",
        placed, nodes, (double)placed / spent, spent * 1e3 / plans,
        (mallinfo2().uordblks + mallinfo2().hblkhd - before) / placed);
    image_free(im);
    return 0;
}
