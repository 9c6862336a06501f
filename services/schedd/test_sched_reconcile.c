/* SPDX-License-Identifier: MPL-2.0 */
/* What has to happen to a job: counts, names, changes, lost nodes, failures; by table and by run.
 */
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "check_run.h"
#include "sched_internal.h"
#include "sched_match.h"
#include "sched_test.h"
#include "wire/field.h"

#define SEC INT64_C(1000000000)

static struct world w;

static void setup(void)
{
    world_init(&w);
    for (unsigned i = 1; i <= 8; i++)
        world_node(&w, &(struct test_node){.n = i});
}

static void teardown(void)
{
    world_fini(&w);
}

/* Stops with a description. */
static unsigned stops(const char *description)
{
    unsigned n = 0;

    for (pb_size_t i = 0; i < w.plan.stop_count; i++)
        n += strcmp(sched_text(w.plan.stop[i].desired_description), description) == 0;
    return n;
}

static const steppe_PlanStop *stop_of(unsigned id)
{
    for (pb_size_t i = 0; i < w.plan.stop_count; i++)
        if (strcmp(w.plan.stop[i].alloc_id, test_uuid(id)) == 0)
            return &w.plan.stop[i];
    return NULL;
}

static const steppe_Allocation *place_named(const char *name)
{
    for (pb_size_t i = 0; i < w.plan.place_count; i++)
        if (strcmp(w.plan.place[i].name, name) == 0)
            return &w.plan.place[i];
    return NULL;
}

static void running(const char *group, int n)
{
    for (int i = 0; i < n; i++)
        (void)world_alloc(&w, (unsigned)i + 1, group, i, (unsigned)i % 8 + 1);
}

/* ---- counts and names ---- */

START_TEST(test_nothing_to_do)
{
    (void)world_group(&w, "g", 3);
    running("g", 3);
    world_load(&w);
    world_run(&w);
    ck_assert(w.out.noop);
    ck_assert_int_eq(w.out.desired[0].ignore, 3);
    world_finish(&w, false);
    ck_assert_uint_eq(w.update.evals_count, 1);
    ck_assert_str_eq(w.update.evals[0].status, "complete");
    ck_assert_int_eq(w.update.evals[0].queued_allocations[0].value, 0);
}
END_TEST

START_TEST(test_grow_fills_gaps)
{
    (void)world_group(&w, "g", 5);
    (void)world_alloc(&w, 1, "g", 1, 1);
    (void)world_alloc(&w, 2, "g", 3, 2);
    world_load(&w);
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 3);
    ck_assert_ptr_nonnull(place_named("job.g[0]"));
    ck_assert_ptr_nonnull(place_named("job.g[2]"));
    ck_assert_ptr_nonnull(place_named("job.g[4]"));
    ck_assert_uint_eq(w.plan.stop_count, 0);
}
END_TEST

START_TEST(test_shrink_from_the_top)
{
    (void)world_group(&w, "g", 2);
    running("g", 5);
    world_load(&w);
    world_run(&w);
    ck_assert_uint_eq(w.plan.stop_count, 3);
    ck_assert_uint_eq(stops("alloc not needed due to job update"), 3);
    for (unsigned id = 3; id <= 5; id++)
        ck_assert_ptr_nonnull(stop_of(id));
    ck_assert_str_eq(stop_of(3)->desired_status, "stop");
    ck_assert_uint_eq(w.plan.place_count, 0);
}
END_TEST

/* Several with one name: one stays, of the newest version and the youngest; the names that are
 * missing are placed. */
START_TEST(test_twins)
{
    (void)world_group(&w, "g", 3);
    for (unsigned i = 1; i <= 3; i++)
        (void)world_alloc(&w, i, "g", 0, i);
    (void)world_alloc(&w, 4, "g", 1, 4);
    w.alloc_msgs[2].job_version--; /* the youngest, but an old version */
    world_load(&w);
    world_run(&w);
    ck_assert_uint_eq(stops("alloc not needed due to job update"), 2);
    ck_assert_ptr_nonnull(stop_of(1));
    ck_assert_ptr_nonnull(stop_of(3));
    ck_assert_uint_eq(w.plan.place_count, 1);
    ck_assert_str_eq(w.plan.place[0].name, "job.g[2]");
}
END_TEST

START_TEST(test_group_gone_and_job_stopped)
{
    (void)world_group(&w, "g", 2);
    running("g", 2);
    (void)world_alloc(&w, 11, "old", 0, 3);
    world_alloc(&w, 12, "old", 1, 3)->client_status = (char *)"complete";
    world_load(&w);
    world_run(&w);
    ck_assert_uint_eq(w.plan.stop_count, 2); /* also the one that has ended, as Nomad */
    ck_assert_ptr_nonnull(stop_of(11));
    ck_assert_ptr_nonnull(stop_of(12));
    w.job.stop = true;
    world_run(&w);
    ck_assert_uint_eq(stops("alloc not needed due to job update"), 3);
    ck_assert_uint_eq(w.out.groups_n, 1);
    ck_assert_int_eq(w.out.groups[0].queued, 0);
    w.in.job = NULL; /* purged */
    world_run(&w);
    ck_assert_uint_eq(stops("alloc not needed due to job update"), 3);
    world_finish(&w, false);
    ck_assert_uint_eq(w.update.evals[0].queued_allocations_count, 0);
}
END_TEST

START_TEST(test_huge_count)
{
    (void)world_group(&w, "g", INT32_MAX);
    world_run(&w);
    /* 8 nodes of 4000 MHz take 8 of 500 each. */
    ck_assert_uint_eq(w.plan.place_count, 64);
    ck_assert_int_eq(w.out.groups[0].queued, INT32_MAX);
    ck_assert(!w.out.more); /* the rest has failed with them */
    world_finish(&w, false);
    ck_assert_int_gt(failed_metric(&w, "g")->coalesced_failures, 1000000);
}
END_TEST

START_TEST(test_more_than_a_plan_holds)
{
    steppe_TaskGroup *g = world_group(&w, "g", SCHED_PLACE_MAX + 100);

    g->tasks[0].resources.cpu = 1;
    g->tasks[0].resources.memory_mb = 1;
    g->ephemeral_disk.size_mb = 1;
    world_run(&w);
    ck_assert_uint_eq(w.out.placed_n, SCHED_PLACE_MAX);
    ck_assert(w.out.more);
    ck_assert_int_eq(w.out.groups[0].queued, SCHED_PLACE_MAX + 100);
}
END_TEST

/* Groups share a plan's bound; one that has failed keeps no other from its turn. */
START_TEST(test_more_groups_than_a_plan_holds)
{
    steppe_TaskGroup *g;

    (void)world_group(&w, "a", 5000);
    w.tasks[0][0].resources.cpu = 5000; /* fits nowhere */
    for (int i = 0; i < 2; i++) {
        g = world_group(&w, i ? "c" : "b", 3000);
        g->tasks[0].resources.cpu = g->tasks[0].resources.memory_mb = 1;
        g->ephemeral_disk.size_mb = 1;
    }
    world_run(&w);
    ck_assert_uint_eq(w.out.placed_n, SCHED_PLACE_MAX);
    for (size_t i = 0; i < w.out.placed_n; i++)
        ck_assert_uint_eq(w.out.placed[i].group, i < 3000 ? 1 : 2);
    ck_assert(w.out.more);
    world_finish(&w, false);
    ck_assert_int_eq(failed_metric(&w, "a")->coalesced_failures, 4999);
}
END_TEST

/* More allocations than a world has; all failed on node 1, with room for others in `w.in`. */
static struct sched_alloc *many_failed(size_t n)
{
    struct sched_alloc *list = xcalloc(n, sizeof(*list));

    for (size_t i = 0; i < n; i++)
        list[i] = (struct sched_alloc){
            .id = sched_arena_printf(&w.arena, "%s", test_uuid(1000 + (unsigned)i)),
            .name = sched_arena_printf(&w.arena, "job.g[%zu]", i),
            .node_id = sched_arena_printf(&w.arena, "%s", test_uuid(1)),
            .group = "g",
            .deployment_id = "",
            .next_allocation = "",
            .followup_eval_id = "",
            .index = (int32_t)i,
            .client = SCHED_FAILED,
            .modify_time = SCHED_TEST_NOW - 3600 * SEC,
            .job_version = w.job.version,
            .job_create_index = w.job.create_index,
            .job = &w.job,
            .tg = &w.groups[0],
        };
    w.in.allocs = list;
    w.in.allocs_n = n;
    return list;
}

/* Placements of the plan that name a predecessor. */
static size_t linked(void)
{
    struct bytes plan = bytes_of(w.plan_bytes.data, w.plan_bytes.len);
    struct wire_field f, in;
    size_t n = 0;

    while (wire_field_next(&plan, &f))
        while (f.tag == steppe_Plan_place_tag && wire_field_next(&f.data, &in))
            n += in.tag == steppe_Allocation_previous_allocation_tag;
    return n;
}

/* What no plan has room for is not stopped without its replacement either: the link would be lost,
 * and with it how often it was tried. */
START_TEST(test_more_replacements_than_a_plan_holds)
{
    const size_t n = (size_t)5 * SCHED_PLACE_MAX;
    steppe_TaskGroup *g = world_group(&w, "g", (int)n);
    struct sched_alloc *list;

    g->has_reschedule_policy = true;
    g->reschedule_policy = (steppe_ReschedulePolicy){.unlimited = true, .delay = SEC};
    g->tasks[0].resources.cpu = g->tasks[0].resources.memory_mb = 1;
    g->ephemeral_disk.size_mb = 1;
    list = many_failed(n);
    world_run(&w);
    ck_assert(w.out.more);
    ck_assert_uint_gt(w.out.placed_n, SCHED_PLACE_MAX / 2);
    ck_assert_uint_le(w.out.placed_n, SCHED_PLACE_MAX);
    ck_assert_uint_eq(w.out.stops_n, w.out.placed_n);
    ck_assert_uint_eq(linked(), w.out.placed_n);
    ck_assert_int_eq(w.out.groups[0].queued, (int)n);
    /* No place for any: all are stopped, as many as a plan takes. */
    g->tasks[0].resources.cpu = 5000;
    free(list);
    list = many_failed(n);
    world_run(&w);
    ck_assert(w.out.more);
    ck_assert_uint_eq(w.out.placed_n, 0);
    ck_assert_uint_gt(w.out.stops_n, SCHED_PLACE_MAX / 2);
    ck_assert_uint_le(w.out.stops_n, SCHED_PLACE_MAX);
    free(list);
}
END_TEST

/* ---- nodes ---- */

START_TEST(test_lost)
{
    (void)world_group(&w, "g", 4);
    running("g", 4);
    world_alloc(&w, 20, "g", 9, 1)->desired_status = (char *)"stop"; /* its client is gone, too */
    world_load(&w);
    world_node(&w, &(struct test_node){.n = 1, .status = "down"});
    image_remove_node(w.im, test_uuid(2));
    world_run(&w);
    ck_assert_uint_eq(stops("alloc is lost since its node is down"), 3);
    for (unsigned id = 1; id <= 2; id++) {
        char name[16];

        ck_assert_str_eq(stop_of(id)->client_status, "lost");
        (void)snprintf(name, sizeof(name), "job.g[%u]", id - 1);
        ck_assert_str_eq(place_named(name)->previous_allocation, test_uuid(id));
        ck_assert(!place_named(name)->has_reschedule_tracker);
    }
    ck_assert_str_eq(stop_of(20)->client_status, "lost");
    ck_assert_uint_eq(w.plan.place_count, 2);
    ck_assert_uint_eq(placed_on(&w, 1), 0);
}
END_TEST

START_TEST(test_lost_after_a_while)
{
    steppe_TaskGroup *g = world_group(&w, "g", 2);

    g->has_stop_after_client_disconnect = true;
    g->stop_after_client_disconnect = 60 * SEC;
    running("g", 2);
    world_load(&w);
    world_node(&w, &(struct test_node){.n = 1, .status = "down"});
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 0); /* it may live on */
    ck_assert_uint_eq(w.plan.evals_count, 1);
    ck_assert_int_eq(w.plan.evals[0].wait_until, SCHED_TEST_NOW + 65 * SEC);
    ck_assert_str_eq(stop_of(1)->followup_eval_id, w.plan.evals[0].id);
    /* All that wait for the same time share one evaluation. */
    world_node(&w, &(struct test_node){.n = 2, .status = "down"});
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 0);
    ck_assert_uint_eq(w.plan.evals_count, 1);
    for (unsigned id = 1; id <= 2; id++) {
        ck_assert_str_eq(stop_of(id)->client_status, "lost");
        ck_assert_str_eq(stop_of(id)->followup_eval_id, w.plan.evals[0].id);
    }
}
END_TEST

/* A new one takes the room of one that moves, though that stands behind it. */
START_TEST(test_room_of_those_that_move)
{
    steppe_Allocation *a;

    (void)world_group(&w, "g", 65); /* one more than fits */
    (void)world_alloc(&w, 1, "g", 64, 1);
    a = &w.alloc_msgs[0];
    a->has_desired_transition = a->desired_transition.has_migrate = true;
    a->desired_transition.migrate = true;
    world_load(&w);
    world_run(&w);
    ck_assert_uint_eq(stops("alloc is being migrated"), 1);
    ck_assert_uint_eq(w.plan.place_count, 64);
}
END_TEST

/* Nothing overflows: not times, not the room for placements, not sums. */
START_TEST(test_absurd_values)
{
    steppe_TaskGroup *g = world_group(&w, "g", 2);

    g->has_stop_after_client_disconnect = true;
    g->stop_after_client_disconnect = INT64_MAX;
    running("g", 2);
    world_load(&w);
    world_node(&w, &(struct test_node){.n = 1, .status = "down"});
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 0);
    ck_assert_int_eq(w.plan.evals[0].wait_until, INT64_MAX);
    /* Two groups of one name, which validation lets nobody have, and more cores than fit a number.
     */
    g->has_stop_after_client_disconnect = false;
    g->count = INT32_MAX;
    g->tasks[0].resources.cpu = 1;
    g->tasks[0].resources.memory_mb = 1;
    g->ephemeral_disk.size_mb = 1;
    (void)world_group(&w, "g", 1);
    world_run(&w);
    ck_assert_uint_le(w.out.placed_n, SCHED_PLACE_MAX + 1);
    w.tasks[0][0].resources.cores = w.tasks[0][1].resources.cores = INT32_MAX;
    w.tasks[0][1].driver = w.tasks[0][0].driver;
    w.tasks[0][1].name = (char *)"u";
    g->tasks_count = 2;
    world_run(&w);
    world_finish(&w, false);
    ck_assert_str_eq(failed_metric(&w, "g")->dimension_exhausted[0].key, "cores");
}
END_TEST

START_TEST(test_migrate)
{
    steppe_Allocation *a;

    (void)world_group(&w, "g", 2);
    running("g", 2);
    a = &w.alloc_msgs[1];
    a->has_desired_transition = a->desired_transition.has_migrate = true;
    a->desired_transition.migrate = true;
    world_load(&w);
    world_run(&w);
    ck_assert_uint_eq(stops("alloc is being migrated"), 1);
    ck_assert_uint_eq(w.plan.place_count, 1);
    ck_assert_str_eq(w.plan.place[0].name, "job.g[1]");
    ck_assert_str_eq(w.plan.place[0].previous_allocation, test_uuid(2));
    /* Too many anyway: those that have to move go first, and for good. */
    w.groups[0].count = 1;
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 0);
    ck_assert_uint_eq(w.plan.stop_count, 1);
    ck_assert_str_eq(stop_of(2)->desired_description, "alloc not needed due to job update");
}
END_TEST

/* ---- changes ---- */

START_TEST(test_in_place)
{
    static steppe_Constraint c = {(char *)"${node.datacenter}", (char *)"dc1", (char *)"="};
    const steppe_Allocation *a;

    (void)world_group(&w, "g", 3);
    running("g", 2);
    world_load(&w);
    world_new_version(&w);
    w.groups[0].constraints = &c; /* a constraint that its node meets: needs no new task */
    w.groups[0].constraints_count = 1;
    world_run(&w);
    ck_assert_uint_eq(w.plan.stop_count, 0);
    ck_assert_uint_eq(w.plan.place_count, 3);
    for (unsigned i = 0; i < 2; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "job.g[%u]", i);
        a = place_named(name);
        ck_assert_str_eq(a->id, test_uuid(i + 1));
        ck_assert_str_eq(a->eval_id, w.eval.id);
        ck_assert_uint_eq(a->job_version, 4);
        ck_assert_str_eq(a->node_id, test_uuid(i + 1));
        ck_assert_uint_eq(a->allocated_resources.tasks_count, 1);
        ck_assert_int_eq(a->allocated_resources.shared.disk_mb, 300);
    }
    ck_assert_int_eq(w.out.groups[0].queued, 1);
    ck_assert(sched_taken(&w.out, &(steppe_PlanResult){.placed = 3}));
    ck_assert_int_eq(w.out.groups[0].queued, 0);
    /* One that its node does not meet: elsewhere, or not at all. */
    c.r_target = (char *)"dc9";
    world_run(&w);
    ck_assert(w.out.noop);
    c.r_target = (char *)"dc1";
}
END_TEST

START_TEST(test_destructive)
{
    (void)world_group(&w, "g", 2);
    running("g", 2);
    world_load(&w);
    world_new_version(&w);
    w.tasks[0][0].resources.cpu = 600;
    world_run(&w);
    ck_assert_uint_eq(stops("alloc is being updated due to job update"), 2);
    ck_assert_uint_eq(w.plan.place_count, 2);
    ck_assert_str_eq(place_named("job.g[0]")->previous_allocation, test_uuid(1));
    ck_assert_str_ne(place_named("job.g[0]")->id, test_uuid(1));
    /* What does not fit anywhere does not stop what runs. */
    w.tasks[0][0].resources.cpu = 5000;
    world_run(&w);
    ck_assert(w.out.noop);
    world_finish(&w, false);
    ck_assert_int_eq(failed_metric(&w, "g")->coalesced_failures, 1);
    ck_assert_int_eq(w.update.evals[1].queued_allocations[0].value, 2);
}
END_TEST

/* The room of what is replaced counts as free. */
START_TEST(test_destructive_on_a_full_node)
{
    (void)world_group(&w, "g", 8);
    for (unsigned i = 1; i <= 8; i++) {
        if (i > 1)
            image_remove_node(w.im, test_uuid(i));
        (void)world_alloc(&w, i, "g", (int)i - 1, 1);
    }
    world_load(&w);
    world_new_version(&w);
    w.tasks[0][0].user = (char *)"somebody";
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 8);
    ck_assert_uint_eq(w.plan.stop_count, 8);
}
END_TEST

/* Which fields need a new task (reference: http-api 7.9). */
START_TEST(test_what_is_destructive)
{
    static steppe_Task_EnvEntry env = {(char *)"A", (char *)"1"};
    static steppe_Task_MetaEntry meta = {(char *)"a", (char *)"1"};
    static steppe_TaskGroup_MetaEntry group_meta = {(char *)"a", (char *)"1"};
    static steppe_Template template = {.dest_path = (char *)"x"};
    static steppe_TaskArtifact artifact = {.getter_source = (char *)"x"};
    static steppe_NetworkResource net = {.mode = (char *)"bridge"};
    static steppe_Affinity affinity = {(char *)"a", (char *)"b", (char *)"=", true, 50};
    static steppe_Spread spread = {.attribute = (char *)"x", .weight = 50};
    static steppe_Service service = {.name = (char *)"s"};
    steppe_TaskGroup *g = world_group(&w, "g", 1);
    steppe_Task *t = &g->tasks[0];

#define CASE(change, undo, want)                                                                   \
    do {                                                                                           \
        world_new_version(&w);                                                                     \
        change;                                                                                    \
        ck_assert_msg(sched_group_changed(&w.job, &w.before, "g") == (want), "%s", #change);       \
        ck_assert_msg(sched_group_changed(&w.before, &w.job, "g") == (want), "%s", #change);       \
        undo;                                                                                      \
    } while (0)

    CASE((void)0, (void)0, false);
    CASE(g->count = 5, g->count = 1, false);
    CASE(t->driver = (char *)"exec", t->driver = (char *)"raw_exec", true);
    CASE(t->user = (char *)"u", t->user = NULL, true);
    CASE(t->user = (char *)"", t->user = NULL, false);
    CASE(t->config = (char *)"{}", t->config = NULL, true);
    CASE((t->env = &env, t->env_count = 1), t->env_count = 0, true);
    CASE((t->meta = &meta, t->meta_count = 1), t->meta_count = 0, true);
    CASE((g->meta = &group_meta, g->meta_count = 1), g->meta_count = 0, true);
    CASE((t->templates = &template, t->templates_count = 1), t->templates_count = 0, true);
    CASE((t->artifacts = &artifact, t->artifacts_count = 1), t->artifacts_count = 0, true);
    CASE(t->has_vault = true, t->has_vault = false, true);
    CASE(t->resources.memory_mb = 300, t->resources.memory_mb = 256, true);
    CASE(t->resources.memory_max_mb = 300, t->resources.memory_max_mb = 0, true);
    CASE(t->resources.cores = 1, t->resources.cores = 0, true);
    CASE(t->kill_timeout = 5, t->kill_timeout = 0, false);
    CASE((g->networks = &net, g->networks_count = 1), g->networks_count = 0, true);
    CASE(g->ephemeral_disk.size_mb = 301, g->ephemeral_disk.size_mb = 300, true);
    CASE((g->affinities = &affinity, g->affinities_count = 1), g->affinities_count = 0, true);
    CASE((w.job.spreads = &spread, w.job.spreads_count = 1), w.job.spreads_count = 0, true);
    CASE((g->services = &service, g->services_count = 1), g->services_count = 0, false);
    CASE(g->has_restart_policy = true, g->has_restart_policy = false, false);
    CASE(g->has_update = true, g->has_update = false, false);
    CASE((g->has_consul = true, g->consul.namespace = (char *)"n"),
         (g->has_consul = false, g->consul.namespace = NULL), true);
    CASE(g->tasks_count = 2, g->tasks_count = 1, true);
}
END_TEST

/* ---- failures ---- */

static steppe_Allocation *fail_alloc(unsigned id, int index, int64_t ago)
{
    static steppe_Allocation_TaskStatesEntry st[8];
    static unsigned at;
    steppe_Allocation_TaskStatesEntry *e = &st[at++ % 8];
    steppe_Allocation *a = world_alloc(&w, id, "g", index, id);

    *e = (steppe_Allocation_TaskStatesEntry){
        (char *)"t",
        true,
        {.state = (char *)"dead", .failed = true, .finished_at = SCHED_TEST_NOW - ago}};
    a->client_status = (char *)"failed";
    a->task_states = e;
    a->task_states_count = 1;
    return a;
}

static void service_policy(steppe_TaskGroup *g)
{
    g->has_reschedule_policy = true;
    g->reschedule_policy = (steppe_ReschedulePolicy){.unlimited = true,
                                                     .delay = 30 * SEC,
                                                     .delay_function = (char *)"exponential",
                                                     .max_delay = 3600 * SEC};
}

START_TEST(test_reschedule_now)
{
    service_policy(world_group(&w, "g", 2));
    (void)world_alloc(&w, 1, "g", 0, 1);
    (void)fail_alloc(2, 1, 30 * SEC);
    world_load(&w);
    world_run(&w);
    ck_assert_uint_eq(stops("alloc was rescheduled because it failed"), 1);
    ck_assert_uint_eq(w.plan.place_count, 1);
    ck_assert_str_eq(w.plan.place[0].name, "job.g[1]");
    ck_assert_str_eq(w.plan.place[0].previous_allocation, test_uuid(2));
    ck_assert_uint_eq(w.plan.place[0].reschedule_tracker.events_count, 1);
    ck_assert_int_eq(w.plan.place[0].reschedule_tracker.events[0].delay, 30 * SEC);
    ck_assert_int_eq(w.plan.place[0].reschedule_tracker.events[0].reschedule_time, SCHED_TEST_NOW);
}
END_TEST

START_TEST(test_reschedule_later)
{
    const steppe_Evaluation *e;

    service_policy(world_group(&w, "g", 4));
    (void)fail_alloc(1, 0, 10 * SEC);
    (void)fail_alloc(2, 1, 8 * SEC); /* two seconds later: the same evaluation */
    (void)fail_alloc(3, 2, 3 * SEC); /* seven: another one */
    fail_alloc(4, 3, 2 * SEC)->followup_eval_id = (char *)"has one"; /* waits already */
    world_load(&w);
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 0);
    ck_assert_uint_eq(w.plan.evals_count, 2);
    e = &w.plan.evals[0];
    ck_assert_str_eq(e->triggered_by, "alloc-failure");
    ck_assert_str_eq(e->status, "pending");
    ck_assert_str_eq(e->status_description, "created for delayed rescheduling");
    ck_assert_int_eq(e->wait_until, SCHED_TEST_NOW + 20 * SEC);
    ck_assert_str_eq(e->previous_eval, w.eval.id);
    ck_assert_int_eq(w.plan.evals[1].wait_until, SCHED_TEST_NOW + 27 * SEC);
    ck_assert_uint_eq(w.plan.stop_count, 3);
    ck_assert_str_eq(stop_of(1)->followup_eval_id, e->id);
    ck_assert_str_eq(stop_of(2)->followup_eval_id, e->id);
    ck_assert_str_eq(stop_of(3)->followup_eval_id, w.plan.evals[1].id);
    ck_assert_str_eq(sched_text(stop_of(1)->desired_status), ""); /* not stopped */
    world_finish(&w, false);
    ck_assert_uint_eq(w.update.evals_count, 1); /* no blocked one */
}
END_TEST

/* The evaluation that it waited for has come. */
START_TEST(test_reschedule_by_followup)
{
    service_policy(world_group(&w, "g", 1));
    fail_alloc(1, 0, 0)->followup_eval_id = w.eval.id;
    world_load(&w);
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 1);
}
END_TEST

START_TEST(test_reschedule_forced_done_or_off)
{
    steppe_Allocation *a;

    (void)world_group(&w, "g", 3);
    a = fail_alloc(1, 0, 0);
    a->has_desired_transition = a->desired_transition.has_force_reschedule = true;
    a->desired_transition.force_reschedule = true;
    fail_alloc(2, 1, 60 * SEC)->next_allocation = (char *)test_uuid(3); /* replaced before */
    (void)world_alloc(&w, 3, "g", 1, 3);
    (void)fail_alloc(4, 2, 60 * SEC); /* no policy: stays failed, keeps its place */
    world_load(&w);
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 1);
    ck_assert_str_eq(w.plan.place[0].previous_allocation, test_uuid(1));
}
END_TEST

/* ---- batch ---- */

static void end_alloc(steppe_Allocation *a, bool failed)
{
    static steppe_Allocation_TaskStatesEntry st[2];

    st[failed] = (steppe_Allocation_TaskStatesEntry){
        (char *)"t", true, {.state = (char *)"dead", .failed = failed, .finished_at = 5}};
    a->client_status = (char *)(failed ? "failed" : "complete");
    a->task_states = &st[failed];
    a->task_states_count = 1;
}

START_TEST(test_batch_done_stays_done)
{
    (void)world_group(&w, "g", 3);
    w.job.type = w.eval.type = (char *)"batch";
    running("g", 3);
    end_alloc(&w.alloc_msgs[0], false);
    end_alloc(&w.alloc_msgs[1], false);
    w.alloc_msgs[1].desired_status = (char *)"stop"; /* told to stop, but it had succeeded */
    end_alloc(&w.alloc_msgs[2], true);               /* no policy: fails for good */
    world_load(&w);
    world_run(&w);
    ck_assert(w.out.noop);
    /* On a lost node they stay done, too. */
    world_node(&w, &(struct test_node){.n = 1, .status = "down"});
    world_run(&w);
    ck_assert(w.out.noop);
    /* A service would run them again. */
    w.job.type = w.eval.type = (char *)"service";
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 2);
}
END_TEST

/* A new version runs again what the old one had done. */
START_TEST(test_batch_new_version)
{
    (void)world_group(&w, "g", 2);
    w.job.type = w.eval.type = (char *)"batch";
    running("g", 2);
    end_alloc(&w.alloc_msgs[0], false);
    end_alloc(&w.alloc_msgs[1], false);
    world_load(&w);
    world_new_version(&w);
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 2);
}
END_TEST

START_TEST(test_batch_reschedules_once)
{
    steppe_TaskGroup *g = world_group(&w, "g", 1);
    steppe_RescheduleEvent ev = {.reschedule_time = SCHED_TEST_NOW - 100 * SEC, .delay = 5 * SEC};
    steppe_Allocation *a;

    g->has_reschedule_policy = true;
    g->reschedule_policy = (steppe_ReschedulePolicy){.attempts = 1,
                                                     .interval = 86400 * SEC,
                                                     .delay = 5 * SEC,
                                                     .delay_function = (char *)"constant"};
    w.job.type = w.eval.type = (char *)"batch";
    a = fail_alloc(1, 0, 60 * SEC);
    world_load(&w);
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 1);
    a->has_reschedule_tracker = true;
    a->reschedule_tracker.events = &ev;
    a->reschedule_tracker.events_count = 1;
    world_load(&w);
    world_run(&w);
    ck_assert(w.out.noop);
}
END_TEST

/* ---- the end of an evaluation ---- */

START_TEST(test_reblock)
{
    (void)world_group(&w, "g", 100);
    w.eval.status = (char *)"blocked";
    world_run(&w);
    (void)sched_taken(&w.out, &(steppe_PlanResult){.placed = 64});
    world_finish(&w, false);
    ck_assert_uint_eq(w.update.evals_count, 1);
    ck_assert_str_eq(w.update.evals[0].id, w.eval.id);
    ck_assert_str_eq(w.update.evals[0].status, "blocked");
    ck_assert_int_eq(w.update.evals[0].queued_allocations[0].value, 36);
    ck_assert_uint_eq(w.update.evals[0].class_eligibility_count, 1);
    w.groups[0].count = 3;
    world_run(&w);
    world_finish(&w, false);
    ck_assert_str_eq(w.update.evals[0].status, "complete");
}
END_TEST

START_TEST(test_given_up)
{
    static const struct {
        const char *type, *want;
    } cases[] = {{"service", "maximum attempts reached (5)"},
                 {"batch", "maximum attempts reached (2)"}};

    (void)world_group(&w, "g", 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        w.job.type = w.eval.type = (char *)cases[i].type;
        world_run(&w);
        world_finish(&w, true);
        ck_assert_str_eq(w.update.evals[1].status, "failed");
        ck_assert_str_eq(w.update.evals[1].status_description, cases[i].want);
        ck_assert_str_eq(w.update.evals[1].blocked_eval, w.update.evals[0].id);
        ck_assert_str_eq(w.update.evals[0].triggered_by, "max-plan-attempts");
        ck_assert_str_eq(w.update.evals[0].status_description,
                         "created due to placement conflicts");
        ck_assert_str_eq(w.update.evals[0].status, "blocked");
    }
}
END_TEST

START_TEST(test_retries)
{
    struct sched_retry r = {0};

    for (int i = 0; i < 4; i++)
        ck_assert(sched_retry_next(&r, "service", false));
    ck_assert(sched_retry_next(&r, "service", true)); /* progress: from the start */
    for (int i = 0; i < 4; i++)
        ck_assert(sched_retry_next(&r, "service", false));
    ck_assert(!sched_retry_next(&r, "service", false));
    r = (struct sched_retry){0};
    ck_assert(sched_retry_next(&r, "batch", false));
    ck_assert(!sched_retry_next(&r, "batch", false));
}
END_TEST

START_TEST(test_taken_in_part)
{
    char *rejected[1];
    unsigned there;

    (void)world_group(&w, "g", 8);
    world_run(&w);
    ck_assert_int_eq(w.out.groups[0].queued, 8);
    there = placed_on(&w, 1);
    rejected[0] = (char *)test_uuid(1);
    ck_assert(!sched_taken(&w.out, &(steppe_PlanResult){.placed = 8 - there,
                                                        .rejected_nodes = rejected,
                                                        .rejected_nodes_count = 1,
                                                        .refresh_index = 120}));
    ck_assert_int_eq(w.out.groups[0].queued, (int)there);
    world_run(&w);
    ck_assert(!sched_taken(&w.out, &(steppe_PlanResult){.refresh_index = 120})); /* nothing */
    ck_assert_int_eq(w.out.groups[0].queued, 8);
}
END_TEST

static TCase *cases(void)
{
    TCase *t = tcase_create("reconcile");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_nothing_to_do);
    tcase_add_test(t, test_grow_fills_gaps);
    tcase_add_test(t, test_shrink_from_the_top);
    tcase_add_test(t, test_twins);
    tcase_add_test(t, test_group_gone_and_job_stopped);
    tcase_add_test(t, test_huge_count);
    tcase_add_test(t, test_more_than_a_plan_holds);
    tcase_add_test(t, test_more_groups_than_a_plan_holds);
    tcase_add_test(t, test_more_replacements_than_a_plan_holds);
    tcase_add_test(t, test_lost);
    tcase_add_test(t, test_lost_after_a_while);
    tcase_add_test(t, test_room_of_those_that_move);
    tcase_add_test(t, test_absurd_values);
    tcase_add_test(t, test_migrate);
    tcase_add_test(t, test_in_place);
    tcase_add_test(t, test_destructive);
    tcase_add_test(t, test_destructive_on_a_full_node);
    tcase_add_test(t, test_what_is_destructive);
    tcase_add_test(t, test_reschedule_now);
    tcase_add_test(t, test_reschedule_later);
    tcase_add_test(t, test_reschedule_by_followup);
    tcase_add_test(t, test_reschedule_forced_done_or_off);
    tcase_add_test(t, test_batch_done_stays_done);
    tcase_add_test(t, test_batch_new_version);
    tcase_add_test(t, test_batch_reschedules_once);
    tcase_add_test(t, test_reblock);
    tcase_add_test(t, test_given_up);
    tcase_add_test(t, test_retries);
    tcase_add_test(t, test_taken_in_part);
    return t;
}

int main(void)
{
    return check_run("sched_reconcile", cases(), NULL);
}
