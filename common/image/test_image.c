/* SPDX-License-Identifier: MPL-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/prng.h"
#include "check_run.h"
#include "image/image.h"

static struct image *im;

static void setup(void)
{
    im = image_new(IMAGE_NODES);
}

static void teardown(void)
{
    im = image_free(im);
}

static const char *uuid(unsigned n)
{
    static char bufs[8][37];
    static unsigned at;
    char *b = bufs[at++ % 8];

    (void)snprintf(b, 37, "%08x-0000-4000-8000-00000000000%x", n, n & 15);
    return b;
}

static struct image_id id_of(unsigned n)
{
    struct image_id id;

    ck_assert(image_id_parse(uuid(n), &id));
    return id;
}

/* ---- building blocks ---- */

static void put_node(unsigned n, int64_t cpu, int64_t memory, const char *status)
{
    uint32_t cores[4] = {0, 1, 2, 3}, kept_cores[1] = {3};
    steppe_NodeCpuResources c = {.cpu_shares = cpu,
                                 .total_cpu_cores = 4,
                                 .reservable_cpu_cores = cores,
                                 .reservable_cpu_cores_count = 4};
    steppe_NodeMemoryResources m = {memory};
    steppe_NodeDiskResources d = {1000};
    steppe_NodeNetworkAddress address = {.address = (char *)"10.0.0.1",
                                         .reserved_ports = (char *)"9000"};
    steppe_NodeNetworkResource net = {.addresses = &address, .addresses_count = 1};
    steppe_NodeResources r = {.has_cpu = true,
                              .cpu = c,
                              .has_memory = true,
                              .memory = m,
                              .has_disk = true,
                              .disk = d,
                              .node_networks = &net,
                              .node_networks_count = 1};
    steppe_NodeReservedCpuResources kept_cpu = {
        .cpu_shares = 100, .reserved_cpu_cores = kept_cores, .reserved_cpu_cores_count = 1};
    steppe_NodeReservedNetworkResources kept_net = {.reserved_host_ports = (char *)"22, 80-81"};
    steppe_NodeReservedResources kept = {
        .has_cpu = true, .cpu = kept_cpu, .has_networks = true, .networks = kept_net};
    steppe_Node node = {
        .id = (char *)uuid(n),
        .name = (char *)"n",
        .datacenter = (char *)"dc1",
        .computed_class = (char *)"v1:7",
        .status = (char *)status,
        .scheduling_eligibility = (char *)"eligible",
        .has_node_resources = true,
        .node_resources = r,
        .has_reserved_resources = true,
        .reserved_resources = kept,
        .modify_index = n,
    };

    image_apply_node(im, &node);
}

static void put_alloc(unsigned n, unsigned node, const char *job, int64_t cpu, const char *desired,
                      const char *client, uint64_t index)
{
    steppe_AllocatedCpuResources c = {.cpu_shares = cpu};
    steppe_AllocatedMemoryResources m = {.memory_mb = 10};
    steppe_AllocatedTaskResources t = {.has_cpu = true, .cpu = c, .has_memory = true, .memory = m};
    steppe_AllocatedResources_TasksEntry e = {.key = (char *)"t", .has_value = true, .value = t};
    steppe_AllocatedSharedResources shared = {.disk_mb = 30};
    steppe_AllocatedResources r = {
        .tasks = &e, .tasks_count = 1, .has_shared = true, .shared = shared};
    char name[64];
    steppe_Allocation a = {
        .id = (char *)uuid(n),
        .namespace = (char *)"default",
        .node_id = (char *)uuid(node),
        .job_id = (char *)job,
        .task_group = (char *)"web",
        .name = name,
        .has_allocated_resources = true,
        .allocated_resources = r,
        .desired_status = (char *)desired,
        .client_status = (char *)client,
        .alloc_modify_index = index,
        .job_version = 2,
    };

    (void)snprintf(name, sizeof(name), "%s.web[%u]", job, n);
    image_apply_alloc(im, &a, 60);
}

static const struct image_node *node(unsigned n)
{
    const struct image_node *found = image_node_find(im, uuid(n));

    ck_assert_ptr_nonnull(found);
    return found;
}

static struct image_alloc *alloc_of(unsigned n)
{
    struct image_id id = id_of(n);

    return image_alloc_find(im, &id);
}

static struct image_alloc *place(unsigned n, unsigned on, const struct image_use *use)
{
    struct image_who who = {.id = id_of(n),
                            .namespace = "default",
                            .job_id = "j",
                            .group = "web",
                            .name = "j.web[4]",
                            .priority = 50};

    return image_place(im, node(on)->slot, &who, use);
}

/* Each linked list, each sum and each count against one another. */
static void check_whole(void)
{
    uint32_t present = 0, allocs = 0;

    for (uint32_t i = 0; i < image_node_slots(im); i++) {
        const struct image_node *n = image_node_at(im, i);
        int64_t cpu = 0, memory = 0;
        uint32_t count = 0, ports = 0;

        for (const struct image_alloc *a = image_first_on_node(im, n); a;
             a = image_next_on_node(im, a)) {
            const struct image_job *j = image_job_at(im, a->job);
            bool found = false;

            ck_assert_uint_eq(a->node, i);
            ck_assert_ptr_eq(image_alloc_find(im, &a->id), a);
            ck_assert_ptr_nonnull(j);
            for (const struct image_alloc *o = image_first_of_job(im, j); o;
                 o = image_next_of_job(im, o))
                found = found || o == a;
            ck_assert(found);
            cpu += a->cpu;
            memory += a->memory;
            ports += a->ports_n;
            count++;
        }
        ck_assert_int_eq(n->cpu_used, cpu);
        ck_assert_int_eq(n->memory_used, memory);
        ck_assert_uint_eq(n->allocs, count);
        ck_assert_uint_eq(n->ports_used.n, ports);
        present += n->present;
        allocs += count;
    }
    ck_assert_uint_eq(present, image_nodes_n(im));
    ck_assert_uint_eq(allocs, image_allocs_n(im));
}

/* ---- tests ---- */

START_TEST(ids)
{
    struct image_id id;
    char text[37];

    ck_assert(image_id_parse("0123ABcd-0000-4000-8000-0000000000ff", &id));
    image_id_text(&id, text);
    ck_assert_str_eq(text, "0123abcd-0000-4000-8000-0000000000ff");
    ck_assert(!image_id_parse(NULL, &id));
    ck_assert(!image_id_parse("", &id));
    ck_assert(!image_id_parse("0123abcd-0000-4000-8000-0000000000fg", &id));
    ck_assert(!image_id_parse("0123abcd-0000-4000-8000-0000000000ff0", &id));
}
END_TEST

START_TEST(node_totals)
{
    const struct image_node *n;
    uint64_t version;

    put_node(1, 1000, 500, "ready");
    n = node(1);
    ck_assert_int_eq(n->cpu, 900);
    ck_assert_int_eq(n->memory, 500);
    ck_assert_int_eq(n->disk, 1000);
    ck_assert_uint_eq(n->cores.n, 3);
    ck_assert_str_eq(n->datacenter, "dc1");
    ck_assert_str_eq(n->node->computed_class, "v1:7");
    ck_assert(image_node_ready(n));
    ck_assert(!image_port_free(im, n, "10.0.0.1", 80));
    ck_assert(!image_port_free(im, n, NULL, 81));
    ck_assert(image_port_free(im, n, "10.0.0.1", 82));
    ck_assert(!image_port_free(im, n, "10.0.0.1", 9000));
    ck_assert(image_port_free(im, n, "10.0.0.2", 9000));
    version = n->version;
    put_node(1, 50, 500, "down");
    n = node(1);
    ck_assert_int_eq(n->cpu, 0); /* keeps more than it has */
    ck_assert(!image_node_ready(n));
    ck_assert_uint_gt(n->version, version);
    image_remove_node(im, uuid(1));
    ck_assert_ptr_null(image_node_find(im, uuid(1)));
    check_whole();
}
END_TEST

START_TEST(allocs_come_and_go)
{
    put_node(1, 1000, 500, "ready");
    put_alloc(10, 1, "a", 100, "run", "pending", 5);
    put_alloc(11, 1, "a", 200, "run", "running", 6);
    put_alloc(12, 2, "b", 300, "run", "running", 7); /* its node is not known yet */
    check_whole();
    ck_assert_int_eq(node(1)->cpu_used, 300);
    ck_assert_int_eq(node(1)->disk_used, 60);
    ck_assert_uint_eq(image_job_find(im, "default", "a")->allocs, 2);
    ck_assert_int_eq(alloc_of(11)->index, 11);
    ck_assert_str_eq(image_text_of(im, alloc_of(11)->group), "web");
    put_alloc(10, 1, "a", 100, "stop", "running", 8);
    ck_assert_ptr_null(alloc_of(10));
    put_alloc(11, 1, "a", 200, "run", "failed", 6);
    ck_assert_ptr_null(image_job_find(im, "default", "a"));
    ck_assert_int_eq(node(1)->cpu_used, 0);
    put_node(2, 1000, 500, "ready");
    ck_assert_int_eq(node(2)->cpu_used, 300);
    image_remove_node(im, uuid(2)); /* its allocation is still there */
    check_whole();
    put_alloc(12, 2, "b", 300, "run", "lost", 9);
    check_whole();
    ck_assert_uint_eq(image_allocs_n(im), 0);
}
END_TEST

START_TEST(fit)
{
    struct image_port ports[2] = {{"10.0.0.1", "http", 8080}, {"10.0.0.1", "https", 8443}};
    uint16_t cores[2] = {0, 1};
    struct image_use use = {.cpu = 900, .memory = 500, .disk = 1000};
    const struct image_node *n;
    struct errtext e;

    put_node(1, 1000, 500, "ready");
    n = node(1);
    ck_assert(image_fits(im, n, &use, &e));
    use.cpu = 901;
    ck_assert(!image_fits(im, n, &use, &e));
    ck_assert_str_eq(e.text, "cpu");
    use = (struct image_use){.memory = 501};
    ck_assert(!image_fits(im, n, &use, &e));
    ck_assert_str_eq(e.text, "memory");
    use = (struct image_use){.disk = 1001};
    ck_assert(!image_fits(im, n, &use, &e));
    ck_assert_str_eq(e.text, "disk");
    use = (struct image_use){.ports = ports, .ports_n = 2, .cores = cores, .cores_n = 2};
    ck_assert(image_fits(im, n, &use, &e));
    place(20, 1, &use);
    n = node(1);
    ck_assert(!image_fits(im, n, &use, &e));
    ck_assert_str_eq(e.text, "cores");
    use.cores_n = 0;
    ck_assert(!image_fits(im, n, &use, &e));
    ck_assert_str_eq(e.text, "network: reserved port collision http=8080");
    ports[0].address = ports[1].address = "10.0.0.2";
    ck_assert(image_fits(im, n, &use, &e));
    ports[1] = ports[0]; /* collides with itself */
    ck_assert(!image_fits(im, n, &use, &e));
    cores[0] = 3; /* the node keeps it */
    use = (struct image_use){.cores = cores, .cores_n = 1};
    ck_assert(!image_fits(im, n, &use, &e));
    use = (struct image_use){.cpu = INT64_MAX};
    ck_assert(!image_fits(im, n, &use, &e));
    check_whole();
}
END_TEST

START_TEST(lifecycles)
{
    steppe_AllocatedCpuResources cpu[4] = {{100}, {50}, {300}, {1000}};
    steppe_AllocatedMemoryResources memory[4] = {{10}, {20}, {5}, {1000}};
    static const char *const names[4] = {"main", "side", "init", "post"};
    steppe_AllocatedResources_TasksEntry tasks[4];
    steppe_AllocatedResources_TaskLifecyclesEntry lc[3] = {
        {(char *)"side", true, {(char *)"prestart", true}},
        {(char *)"init", true, {(char *)"prestart", false}},
        {(char *)"post", true, {(char *)"poststart", false}}};
    steppe_AllocatedResources r = {
        .tasks = tasks, .tasks_count = 4, .task_lifecycles = lc, .task_lifecycles_count = 3};
    static struct image_use_buf buf;
    struct image_use use;

    for (unsigned i = 0; i < 4; i++)
        tasks[i] = (steppe_AllocatedResources_TasksEntry){
            (char *)names[i],
            true,
            {.has_cpu = true, .cpu = cpu[i], .has_memory = true, .memory = memory[i]}};
    image_use_of(&r, &buf, &use);
    ck_assert_int_eq(use.cpu, 50 + 300);   /* the init task wants more than main */
    ck_assert_int_eq(use.memory, 20 + 10); /* main wants more than the init task */
    image_use_of(NULL, &buf, &use);
    ck_assert_int_eq(use.cpu, 0);
}
END_TEST

START_TEST(undo)
{
    struct image_port port = {"10.0.0.1", "http", 8080};
    struct image_use use = {.cpu = 10, .memory = 5, .ports = &port, .ports_n = 1};
    size_t mark, inner;

    put_node(1, 1000, 500, "ready");
    put_node(2, 1000, 500, "ready");
    put_alloc(10, 1, "a", 100, "run", "pending", 5);
    mark = image_mark(im);
    image_stop(im, alloc_of(10));
    ck_assert_ptr_null(image_job_find(im, "default", "j"));
    place(20, 2, &use);
    inner = image_mark(im);
    place(20, 1, &use); /* moves */
    image_stop(im, alloc_of(20));
    ck_assert_ptr_null(alloc_of(20));
    image_undo(im, inner);
    ck_assert_uint_eq(alloc_of(20)->node, node(2)->slot);
    ck_assert(!image_port_free(im, node(2), "10.0.0.1", 8080));
    check_whole();
    image_undo(im, mark);
    check_whole();
    ck_assert_ptr_null(alloc_of(20));
    ck_assert_int_eq(node(1)->cpu_used, 100);
    ck_assert_int_eq(node(2)->cpu_used, 0);
    ck_assert(image_port_free(im, node(2), "10.0.0.1", 8080));
}
END_TEST

/* What was sent to the state is not undone by a row that is older than that. */
START_TEST(kept)
{
    struct image_use use = {.cpu = 500};

    put_node(1, 1000, 500, "ready");
    put_alloc(10, 1, "a", 100, "run", "pending", 5);
    put_alloc(11, 1, "a", 100, "run", "pending", 5);
    place(10, 1, &use); /* an update in place that wants more */
    image_stop(im, alloc_of(11));
    image_keep(im, 7);
    ck_assert_uint_eq(image_mark(im), 0);
    check_whole();
    ck_assert_int_eq(node(1)->cpu_used, 500);
    put_alloc(10, 1, "a", 100, "run", "running", 5); /* the client's word, about the old one */
    ck_assert_int_eq(node(1)->cpu_used, 500);
    put_alloc(10, 1, "a", 500, "run", "running", 8);
    ck_assert_int_eq(node(1)->cpu_used, 500);
    put_alloc(10, 1, "a", 400, "run", "running", 9);
    ck_assert_int_eq(node(1)->cpu_used, 400);
    check_whole();
}
END_TEST

/* Seeded: thousands of changes, each now and then against a full count. */
START_TEST(random_changes)
{
    struct image_port port = {"10.0.0.1", "p", 1};
    struct image_use use = {.ports = &port, .ports_n = 1};
    struct prng p;

    prng_seed(&p, (uint64_t)_i + 1);
    for (unsigned i = 0; i < 3000; i++) {
        unsigned n = (unsigned)prng_below(&p, 6), a = 100 + (unsigned)prng_below(&p, 60);
        size_t mark = image_mark(im);
        struct image_alloc *found = alloc_of(a);

        switch (prng_below(&p, 8)) {
        case 0:
            put_node(n, 1000, 1000, "ready");
            break;
        case 1:
            image_remove_node(im, uuid(n));
            break;
        case 2:
        case 3:
            put_alloc(a, n, a & 1 ? "a" : "b", (int64_t)prng_below(&p, 50), "run", "running", i);
            break;
        case 4:
            put_alloc(a, n, "a", 1, "stop", "running", i);
            break;
        default:
            for (unsigned k = 0; k < 10; k++) {
                port.port = 1 + (int)prng_below(&p, 30);
                use.cpu = (int64_t)prng_below(&p, 50);
                if (image_node_find(im, uuid(n)))
                    place(a + k, n, &use);
            }
            found = alloc_of(a);
            if (found)
                image_stop(im, found);
            if (prng_below(&p, 2))
                image_undo(im, mark);
            image_keep(im, i);
        }
        if (i % 50 == 0)
            check_whole();
    }
    check_whole();
}
END_TEST

START_TEST(start_again)
{
    put_node(1, 1000, 500, "ready");
    put_alloc(10, 1, "a", 100, "run", "pending", 5);
    image_reset(im);
    ck_assert_uint_eq(image_nodes_n(im), 0);
    ck_assert_uint_eq(image_allocs_n(im), 0);
    ck_assert_uint_eq(image_index(im), 0);
    put_node(1, 1000, 500, "ready");
    check_whole();
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, ids);
    tcase_add_test(t, node_totals);
    tcase_add_test(t, allocs_come_and_go);
    tcase_add_test(t, fit);
    tcase_add_test(t, lifecycles);
    tcase_add_test(t, undo);
    tcase_add_test(t, kept);
    tcase_add_loop_test(t, random_changes, 0, 8);
    tcase_add_test(t, start_again);
    return check_run("image", t, NULL);
}
