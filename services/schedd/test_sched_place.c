/* SPDX-License-Identifier: MPL-2.0 */
/* Where placements go and what is said about it: scores to nine digits, filters, ports, preemption.
 */
#include <math.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "check_run.h"
#include "sched_match.h"
#include "sched_test.h"

static struct world w;

static void setup(void)
{
    world_init(&w);
}

static void teardown(void)
{
    world_fini(&w);
}

#define NINE_DIGITS(got, want) ck_assert_double_eq_tol(got, want, 5e-10)

static void nodes(unsigned n)
{
    for (unsigned i = 1; i <= n; i++)
        world_node(&w, &(struct test_node){.n = i});
}

/* A real Nomad's figures (reference: golden/v1_allocation_ID, v1_node_ID_allocations). */
START_TEST(test_golden_scores)
{
    steppe_TaskGroup *g = world_group(&w, "g", 4);
    const steppe_Allocation *third;

    g->tasks[0].resources.cpu = 50;
    g->tasks[0].resources.memory_mb = 32;
    for (unsigned i = 1; i <= 2; i++)
        world_node(&w, &(struct test_node){.n = i, .cpu = 4890, .memory = 24103, .disk = 77775});
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 4);
    ck_assert_uint_eq(placed_on(&w, 1), 2);
    ck_assert_uint_eq(placed_on(&w, 2), 2);
    for (unsigned i = 1; i <= 2; i++) {
        NINE_DIGITS(score_on(&w, i, "binpack"), 0.01462285978672442);
        NINE_DIGITS(score_on(&w, i, "norm"), 0.01462285978672442);
        ck_assert_double_eq(score_on(&w, i, "job-anti-affinity"), 0);
        ck_assert_double_eq(score_on(&w, i, "node-affinity"), 0);
        ck_assert_double_eq(score_on(&w, i, "node-reschedule-penalty"), 0);
        ck_assert_double_eq(score_on(&w, i, "allocation-spread"), -100); /* abstains */
    }
    third = &w.plan.place[2];
    ck_assert_str_eq(third->name, "job.g[2]");
    ck_assert_uint_eq(third->metrics.score_meta_data_count, 2);
    NINE_DIGITS(third->metrics.score_meta_data[0].norm_score, -0.23553012764465878);
    ck_assert_int_eq(third->metrics.nodes_evaluated, 2);
    ck_assert_int_eq(
        count_in(third->metrics.nodes_available, third->metrics.nodes_available_count, "dc1"), 2);
}
END_TEST

/* Two of a count of 2 on one node (reference: http-api 7.3). */
START_TEST(test_anti_affinity)
{
    steppe_TaskGroup *g = world_group(&w, "g", 2);

    g->tasks[0].resources.cpu = 100;
    world_node(&w, &(struct test_node){.n = 1});
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 2);
    NINE_DIGITS(w.plan.place[1].metrics.score_meta_data[0].norm_score,
                (-1.0 + (20 - pow(10, 1 - 200.0 / 4000) - pow(10, 1 - 512.0 / 8192)) / 18) / 2);
}
END_TEST

START_TEST(test_spread_algorithm)
{
    (void)world_group(&w, "g", 1);
    w.in.config.spread = true;
    world_node(&w, &(struct test_node){.n = 1});
    world_other(&w, 900, 1, 50, (struct image_use){.cpu = 2000, .memory = 4096});
    world_node(&w, &(struct test_node){.n = 2});
    world_run(&w);
    ck_assert_uint_eq(placed_on(&w, 2), 1); /* the emptier one */
    NINE_DIGITS(score_on(&w, 2, "binpack"),
                (pow(10, 1 - 500.0 / 4000) + pow(10, 1 - 256.0 / 8192) - 2) / 18);
    w.in.config.spread = false;
    world_run(&w);
    ck_assert_uint_eq(placed_on(&w, 1), 1); /* the fuller one */
    NINE_DIGITS(score_on(&w, 1, "binpack"),
                (20 - pow(10, 1 - 2500.0 / 4000) - pow(10, 1 - 4352.0 / 8192)) / 18);
}
END_TEST

START_TEST(test_placement_is_whole)
{
    const steppe_Allocation *a;

    (void)world_group(&w, "g", 1);
    nodes(1);
    world_run(&w);
    ck_assert_str_eq(w.plan.eval_id, w.eval.id);
    ck_assert_str_eq(w.plan.eval_token, "token");
    ck_assert_uint_eq(w.plan.snapshot_index, 100);
    ck_assert_int_eq(w.plan.priority, 50);
    a = &w.plan.place[0];
    ck_assert(uuid_valid(a->id));
    ck_assert_str_eq(a->name, "job.g[0]");
    ck_assert_str_eq(a->namespace, "default");
    ck_assert_str_eq(a->eval_id, w.eval.id);
    ck_assert_str_eq(a->job_id, "job");
    ck_assert_str_eq(a->task_group, "g");
    ck_assert_str_eq(a->node_name, "node");
    ck_assert_str_eq(a->desired_status, "run");
    ck_assert_str_eq(a->client_status, "pending");
    ck_assert_uint_eq(a->job_version, 3);
    ck_assert_uint_eq(a->job_create_index, 10);
    ck_assert_int_eq(a->create_time, SCHED_TEST_NOW);
    ck_assert_uint_eq(a->allocated_resources.tasks_count, 1);
    ck_assert_int_eq(a->allocated_resources.tasks[0].value.cpu.cpu_shares, 500);
    ck_assert_int_eq(a->allocated_resources.tasks[0].value.memory.memory_mb, 256);
    ck_assert_int_eq(a->allocated_resources.shared.disk_mb, 300);
    ck_assert(!a->has_reschedule_tracker);
    ck_assert_uint_eq(w.out.groups[0].queued, 1);
    ck_assert(sched_taken(&w.out, &(steppe_PlanResult){.index = 101, .placed = 1}));
    ck_assert_uint_eq(w.out.groups[0].queued, 0);
}
END_TEST

/* ---- how many candidates ---- */

START_TEST(test_limits)
{
    static const struct {
        const char *type;
        int candidates;
    } cases[] = {{"service", 7}, {"batch", 2}};

    (void)world_group(&w, "g", 1);
    nodes(100);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        w.job.type = (char *)cases[i].type;
        world_run(&w);
        ck_assert_int_eq(w.plan.place[0].metrics.nodes_evaluated, cases[i].candidates);
        ck_assert_uint_eq(w.plan.place[0].metrics.score_meta_data_count,
                          MIN(cases[i].candidates, SCHED_TOP));
    }
}
END_TEST

/* Nodes with a bad score are put aside for at most three better ones. */
START_TEST(test_skips_bad_scores)
{
    steppe_TaskGroup *g = world_group(&w, "g", 8);

    g->tasks[0].resources.cpu = 100;
    nodes(8);
    for (unsigned i = 1; i <= 3; i++)
        (void)world_alloc(&w, i, "g", (int)i - 1, i);
    world_load(&w);
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 5);
    for (unsigned i = 1; i <= 3; i++)
        ck_assert_uint_eq(placed_on(&w, i), 0);
    /* One on each of the others: none had two. */
    for (unsigned i = 4; i <= 8; i++)
        ck_assert_uint_eq(placed_on(&w, i), 1);
}
END_TEST

/* ---- why not ---- */

START_TEST(test_exhausted)
{
    const steppe_AllocMetric *m;
    const steppe_Evaluation *e;

    (void)world_group(&w, "g", 5);
    world_node(&w, &(struct test_node){.n = 1, .cpu = 700, .class = "small"});
    world_node(&w, &(struct test_node){.n = 2, .memory = 200});
    world_node(&w, &(struct test_node){.n = 3, .disk = 100});
    world_node(&w, &(struct test_node){.n = 4, .dc = "dc2"});
    world_node(&w, &(struct test_node){.n = 5, .status = "down"});
    world_node(&w, &(struct test_node){.n = 6, .ineligible = true});
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 1);
    ck_assert_int_eq(w.out.groups[0].queued, 5);
    ck_assert(sched_taken(&w.out, &(steppe_PlanResult){.placed = 1}));
    world_finish(&w, false);
    ck_assert_uint_eq(w.update.evals_count, 2);
    e = &w.update.evals[1];
    ck_assert_str_eq(e->status, "complete");
    ck_assert_str_eq(e->blocked_eval, w.update.evals[0].id);
    ck_assert_int_eq(e->queued_allocations[0].value, 4);
    m = failed_metric(&w, "g");
    ck_assert_int_eq(m->nodes_evaluated, 3);
    ck_assert_int_eq(m->nodes_exhausted, 3);
    ck_assert_int_eq(m->coalesced_failures, 3);
    ck_assert_int_eq(count_in(m->dimension_exhausted, m->dimension_exhausted_count, "cpu"), 1);
    ck_assert_int_eq(count_in(m->dimension_exhausted, m->dimension_exhausted_count, "memory"), 1);
    ck_assert_int_eq(count_in(m->dimension_exhausted, m->dimension_exhausted_count, "disk"), 1);
    ck_assert_int_eq(count_in(m->class_exhausted, m->class_exhausted_count, "small"), 1);
    ck_assert_int_eq(m->resources_exhausted[0].value.cpu, 4 * 500);
    ck_assert_int_eq(m->resources_exhausted[0].value.memory_mb, 4 * 256);
    e = &w.update.evals[0];
    ck_assert_str_eq(e->status, "blocked");
    ck_assert_str_eq(e->triggered_by, "queued-allocs");
    ck_assert_str_eq(e->status_description, "created to place remaining allocations");
    ck_assert_str_eq(e->previous_eval, w.eval.id);
    ck_assert_uint_eq(e->snapshot_index, 100);
    ck_assert_uint_eq(e->class_eligibility_count, 1);
    ck_assert_str_eq(e->class_eligibility[0].key, "v1:1");
    ck_assert(e->class_eligibility[0].value);
    ck_assert(!e->escaped_computed_class);
}
END_TEST

static void constrain(steppe_Constraint *c, const char *l, const char *op, const char *r)
{
    *c = (steppe_Constraint){(char *)l, (char *)r, (char *)op};
}

START_TEST(test_filtered)
{
    steppe_TaskGroup *g = world_group(&w, "g", 1);
    steppe_Constraint c[2];
    const steppe_AllocMetric *m;

    constrain(&c[0], "${attr.os}", "=", "linux");
    constrain(&c[1], "${meta.rack}", "regexp", "^r[0-9]$");
    w.job.constraints = &c[0];
    w.job.constraints_count = 1;
    g->constraints = &c[1];
    g->constraints_count = 1;
    world_node(&w, &(struct test_node){.n = 1, .computed_class = "a", .attr = {"os", "bsd"}});
    world_node(&w, &(struct test_node){.n = 2, .computed_class = "a", .attr = {"os", "bsd"}});
    world_node(&w, &(struct test_node){.n = 3, .computed_class = "b", .attr = {"os", "linux"}});
    world_node(&w, &(struct test_node){.n = 4,
                                       .computed_class = "c",
                                       .driver = "docker",
                                       .attr = {"os", "linux"},
                                       .class = "k"});
    world_run(&w);
    ck_assert(w.out.noop);
    world_finish(&w, false);
    m = failed_metric(&w, "g");
    ck_assert_int_eq(m->nodes_filtered, 4);
#define FILTERED(text) count_in(m->constraint_filtered, m->constraint_filtered_count, text)
    ck_assert_int_eq(FILTERED("${attr.os} = linux"), 1);
    ck_assert_int_eq(FILTERED("computed class ineligible"), 1);
    ck_assert_int_eq(FILTERED("${meta.rack} regexp ^r[0-9]$"), 1);
    ck_assert_int_eq(FILTERED("missing drivers"), 1);
    ck_assert_int_eq(count_in(m->class_filtered, m->class_filtered_count, "k"), 1);
    ck_assert_uint_eq(w.update.evals[0].class_eligibility_count, 3);
    for (int i = 0; i < 3; i++)
        ck_assert(!w.update.evals[0].class_eligibility[i].value);
    /* What differs within a class makes the evaluation escape. */
    constrain(&c[1], "${node.unique.name}", "!=", "node");
    world_run(&w);
    world_finish(&w, false);
    ck_assert(w.update.evals[0].escaped_computed_class);
    ck_assert_uint_eq(w.update.evals[0].class_eligibility_count, 0);
}
END_TEST

START_TEST(test_host_volumes_devices)
{
    steppe_TaskGroup *g = world_group(&w, "g", 1);
    steppe_TaskGroup_VolumesEntry v = {
        (char *)"v", true, {.type = (char *)"host", .source = (char *)"data"}};
    steppe_RequestedDevice dev = {.name = (char *)"gpu"};

    nodes(1);
    g->volumes = &v;
    g->volumes_count = 1;
    world_run(&w);
    world_finish(&w, false);
    ck_assert_str_eq(failed_metric(&w, "g")->constraint_filtered[0].key,
                     "missing compatible host volumes");
    g->volumes_count = 0;
    g->tasks[0].resources.devices = &dev;
    g->tasks[0].resources.devices_count = 1;
    world_run(&w);
    world_finish(&w, false);
    ck_assert_str_eq(failed_metric(&w, "g")->constraint_filtered[0].key, "missing devices");
}
END_TEST

START_TEST(test_distinct_hosts)
{
    steppe_TaskGroup *g = world_group(&w, "g", 3);
    steppe_Constraint c;
    const steppe_AllocMetric *m;

    constrain(&c, "", "distinct_hosts", "true");
    nodes(2);
    g->constraints = &c;
    g->constraints_count = 1;
    world_run(&w);
    ck_assert_uint_eq(placed_on(&w, 1), 1);
    ck_assert_uint_eq(placed_on(&w, 2), 1);
    world_finish(&w, false);
    m = failed_metric(&w, "g");
    ck_assert_int_eq(FILTERED("distinct_hosts"), 2);
    /* Of the whole job: another group counts, too. */
    g->constraints_count = 0;
    g->count = 1;
    (void)world_group(&w, "h", 2);
    w.job.constraints = &c;
    w.job.constraints_count = 1;
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 2);
    ck_assert_uint_eq(placed_on(&w, 1), 1);
}
END_TEST

START_TEST(test_distinct_property)
{
    steppe_TaskGroup *g = world_group(&w, "g", 6);
    steppe_Constraint c;
    const steppe_AllocMetric *m;

    constrain(&c, "${meta.rack}", "distinct_property", "2");
    g->constraints = &c;
    g->constraints_count = 1;
    world_node(&w, &(struct test_node){.n = 1, .meta = {"rack", "r1"}});
    world_node(&w, &(struct test_node){.n = 2, .meta = {"rack", "r1"}});
    world_node(&w, &(struct test_node){.n = 3, .meta = {"rack", "r2"}, .computed_class = "c"});
    world_node(&w, &(struct test_node){.n = 4, .computed_class = "d"});
    (void)world_alloc(&w, 1, "g", 0, 1);
    world_load(&w);
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 3);
    ck_assert_uint_eq(placed_on(&w, 1) + placed_on(&w, 2), 1);
    ck_assert_uint_eq(placed_on(&w, 3), 2);
    world_finish(&w, false);
    m = failed_metric(&w, "g");
    ck_assert_int_eq(FILTERED("distinct_property: ${meta.rack}=r1 used by 2 allocs"), 2);
    ck_assert_int_eq(FILTERED("distinct_property: ${meta.rack}=r2 used by 2 allocs"), 1);
    ck_assert_int_eq(FILTERED("missing property \"${meta.rack}\""), 1);
}
END_TEST

/* ---- affinities and spreads ---- */

START_TEST(test_affinity)
{
    steppe_TaskGroup *g = world_group(&w, "g", 1);
    steppe_Affinity job = {(char *)"${meta.rack}", (char *)"r1", (char *)"=", true, 100},
                    group = {(char *)"${meta.disk}", (char *)"ssd", (char *)"=", true, -50};

    w.job.affinities = &job;
    w.job.affinities_count = 1;
    g->affinities = &group;
    g->affinities_count = 1;
    nodes(20);
    world_node(&w, &(struct test_node){.n = 21, .meta = {"rack", "r1"}});
    world_node(&w, &(struct test_node){.n = 22, .meta = {"disk", "ssd"}});
    world_node(&w, &(struct test_node){.n = 23, .meta = {"disk", "ssd", "rack", "r1"}});
    world_run(&w);
    ck_assert_int_eq(w.plan.place[0].metrics.nodes_evaluated, 23); /* all of them */
    ck_assert_uint_eq(placed_on(&w, 21), 1);
    NINE_DIGITS(score_on(&w, 21, "node-affinity"), 100.0 / 150);
    NINE_DIGITS(score_on(&w, 23, "node-affinity"), 50.0 / 150);
    NINE_DIGITS(score_on(&w, 21, "norm"), (100.0 / 150 + score_on(&w, 21, "binpack")) / 2);
}
END_TEST

static void spread_world(steppe_TaskGroup *g, steppe_Spread *s)
{
    s->attribute = (char *)"${node.datacenter}";
    s->weight = 100;
    g->spreads = s;
    g->spreads_count = 1;
    w.dcs[1] = (char *)"dc2";
    w.job.datacenters_count = 2;
    for (unsigned i = 1; i <= 4; i++) {
        world_node(&w, &(struct test_node){.n = i, .dc = "dc1"});
        world_node(&w, &(struct test_node){.n = i + 10, .dc = "dc2", .computed_class = "x"});
    }
}

static unsigned placed_in(unsigned first)
{
    unsigned n = 0;

    for (unsigned i = first; i < first + 4; i++)
        n += placed_on(&w, i);
    return n;
}

START_TEST(test_spread_targets)
{
    steppe_TaskGroup *g = world_group(&w, "g", 10);
    steppe_SpreadTarget t[] = {{(char *)"dc1", 70}};
    steppe_Spread s = {.spread_target = t, .spread_target_count = 1};

    spread_world(g, &s);
    world_run(&w);
    /* desired: dc1 7, * 3 */
    ck_assert_uint_eq(placed_in(1), 7);
    ck_assert_uint_eq(placed_in(11), 3);
    NINE_DIGITS(score_on(&w, 1, "allocation-spread"), (7.0 - 1) / 7);
}
END_TEST

START_TEST(test_spread_even)
{
    steppe_TaskGroup *g = world_group(&w, "g", 8);
    steppe_Spread s = {0};

    spread_world(g, &s);
    world_run(&w);
    ck_assert_uint_eq(placed_in(1), 4);
    ck_assert_uint_eq(placed_in(11), 4);
    /* Nothing is there yet: it abstains. Then: the other datacenter. */
    ck_assert_double_eq(score_on(&w, 1, "allocation-spread"), -100);
}
END_TEST

/* (min, max, mine) -> score, by allocations that are there (reference: http-api 7.4). */
START_TEST(test_spread_even_scores)
{
    static const struct {
        int dc1, dc2;
        double on_dc1, on_dc2;
    } cases[] = {
        {1, 1, -1, -1},    /* even: no more of them, please */
        {2, 1, -1, 1},     /* (1-2)/1; (2-1)/1 */
        {4, 2, -1, 1},     /* (2-4)/2; (4-2)/2 */
        {3, 2, -0.5, 0.5}, /* (2-3)/2; (3-2)/2 */
        {2, 0, -1, 1},     /* dc2 was not met yet: the fewest is dc1's 2 */
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        steppe_TaskGroup *g;
        steppe_Spread s = {0};
        unsigned id = 1;

        teardown();
        setup();
        g = world_group(&w, "g", cases[i].dc1 + cases[i].dc2 + 1);
        spread_world(g, &s);
        for (int k = 0; k < cases[i].dc1; k++, id++)
            (void)world_alloc(&w, id, "g", (int)id, 4);
        for (int k = 0; k < cases[i].dc2; k++, id++)
            (void)world_alloc(&w, id, "g", (int)id, 14);
        world_load(&w);
        world_run(&w);
        if (cases[i].dc2)
            NINE_DIGITS(score_on(&w, 11, "allocation-spread"), cases[i].on_dc2);
        ck_assert_uint_eq(w.plan.place_count, 1);
    }
}
END_TEST

/* ---- rescheduling ---- */

START_TEST(test_penalty)
{
    steppe_TaskGroup *g = world_group(&w, "g", 1);
    steppe_Allocation *a;
    steppe_RescheduleEvent ev = {.prev_node_id = (char *)test_uuid(2), .delay = 1};

    g->has_reschedule_policy = true;
    g->reschedule_policy.unlimited = true;
    nodes(3);
    a = world_alloc(&w, 1, "g", 0, 1);
    a->client_status = (char *)"failed";
    a->has_reschedule_tracker = true;
    a->reschedule_tracker.events = &ev;
    a->reschedule_tracker.events_count = 1;
    world_load(&w);
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 1);
    ck_assert_uint_eq(placed_on(&w, 3), 1);
    ck_assert_str_eq(w.plan.place[0].previous_allocation, test_uuid(1));
    ck_assert_uint_eq(w.plan.place[0].reschedule_tracker.events_count, 2);
    ck_assert_str_eq(w.plan.place[0].reschedule_tracker.events[1].prev_alloc_id, test_uuid(1));
    ck_assert_double_eq(score_on(&w, 1, "node-reschedule-penalty"), -1);
    ck_assert_double_eq(score_on(&w, 2, "node-reschedule-penalty"), -1);
    ck_assert_double_eq(score_on(&w, 3, "node-reschedule-penalty"), 0);
    ck_assert_uint_eq(w.plan.stop_count, 1);
    ck_assert_str_eq(w.plan.stop[0].desired_description, "alloc was rescheduled because it failed");
}
END_TEST

START_TEST(test_sticky)
{
    steppe_TaskGroup *g = world_group(&w, "g", 1);
    steppe_Allocation *a;

    g->ephemeral_disk.sticky = true;
    nodes(30);
    a = world_alloc(&w, 1, "g", 0, 17);
    a->has_desired_transition = a->desired_transition.has_migrate = true;
    a->desired_transition.migrate = true;
    world_load(&w);
    world_run(&w);
    ck_assert_uint_eq(placed_on(&w, 17), 1); /* where its disk is */
}
END_TEST

/* ---- ports and cores ---- */

START_TEST(test_ports)
{
    steppe_TaskGroup *g = world_group(&w, "g", 2);
    steppe_Port fixed = {(char *)"http", 8080, 80, (char *)"default"},
                dyn[] = {{(char *)"a", 0, -1, (char *)"default"},
                         {(char *)"b", 0, 0, (char *)"default"}};
    steppe_NetworkResource net = {.mode = (char *)"host",
                                  .reserved_ports = &fixed,
                                  .reserved_ports_count = 1,
                                  .dynamic_ports = dyn,
                                  .dynamic_ports_count = 2};
    const steppe_AllocatedSharedResources *s;
    const steppe_AllocMetric *m;

    g->networks = &net;
    g->networks_count = 1;
    nodes(1);
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 1);
    s = &w.plan.place[0].allocated_resources.shared;
    ck_assert_uint_eq(s->ports_count, 3);
    ck_assert_int_eq(s->ports[0].value, 8080);
    ck_assert_int_eq(s->ports[0].to, 80);
    ck_assert_str_eq(s->ports[0].host_ip, "10.0.0.1");
    ck_assert_int_ge(s->ports[1].value, 20000);
    ck_assert_int_lt(s->ports[1].value, 32000);
    ck_assert_int_eq(s->ports[1].to, s->ports[1].value);
    ck_assert_int_eq(s->ports[2].to, 0);
    ck_assert_int_ne(s->ports[1].value, s->ports[2].value);
    ck_assert_uint_eq(s->networks_count, 1);
    ck_assert_int_eq(s->networks[0].dynamic_ports[0].value, s->ports[1].value);
    world_finish(&w, false);
    m = failed_metric(&w, "g");
    ck_assert_str_eq(m->dimension_exhausted[0].key, "network: reserved port collision http=8080");
    /* A network that the node does not have. */
    fixed.host_network = (char *)"public";
    world_run(&w);
    world_finish(&w, false);
    ck_assert_str_eq(failed_metric(&w, "g")->constraint_filtered[0].key,
                     "missing host network \"public\" for port \"http\"");
    net.mode = (char *)"bridge";
    world_run(&w);
    world_finish(&w, false);
    ck_assert_str_eq(failed_metric(&w, "g")->constraint_filtered[0].key, "missing network");
}
END_TEST

/* All of many ports are given, and too many fit nowhere: none is left out silently. */
START_TEST(test_many_ports)
{
    static steppe_Port dyn[IMAGE_USE_PORTS_MAX + 1];
    static char labels[IMAGE_USE_PORTS_MAX + 1][8];
    steppe_TaskGroup *g = world_group(&w, "g", 1);
    steppe_NetworkResource net = {
        .mode = (char *)"host", .dynamic_ports = dyn, .dynamic_ports_count = IMAGE_USE_PORTS_MAX};

    for (unsigned i = 0; i <= IMAGE_USE_PORTS_MAX; i++) {
        (void)snprintf(labels[i], sizeof(labels[i]), "p%u", i);
        dyn[i] = (steppe_Port){labels[i], 0, 0, (char *)"default"};
    }
    g->networks = &net;
    g->networks_count = 1;
    nodes(1);
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 1);
    ck_assert_uint_eq(w.plan.place[0].allocated_resources.shared.ports_count, IMAGE_USE_PORTS_MAX);
    net.dynamic_ports_count++;
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 0);
    world_finish(&w, false);
    ck_assert_str_eq(failed_metric(&w, "g")->dimension_exhausted[0].key,
                     "network: more than 256 ports");
}
END_TEST

/* 12,000 on a node: all are found, no two alike, and then there are no more. */
START_TEST(test_dynamic_ports_run_out)
{
    static steppe_Port dyn[200];
    static char labels[200][8];
    static bool seen[65536];
    steppe_TaskGroup *g = world_group(&w, "g", 70);
    steppe_NetworkResource net = {
        .mode = (char *)"host", .dynamic_ports = dyn, .dynamic_ports_count = 200};

    for (unsigned i = 0; i < 200; i++) {
        (void)snprintf(labels[i], sizeof(labels[i]), "p%u", i);
        dyn[i] = (steppe_Port){labels[i], 0, 0, (char *)"default"};
    }
    g->networks = &net;
    g->networks_count = 1;
    g->tasks[0].resources.cpu = g->tasks[0].resources.memory_mb = 1;
    nodes(1);
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 60);
    for (pb_size_t i = 0; i < 60; i++) {
        const steppe_AllocatedSharedResources *s = &w.plan.place[i].allocated_resources.shared;

        for (pb_size_t k = 0; k < s->ports_count; k++) {
            ck_assert(s->ports[k].value >= 20000 && s->ports[k].value < 32000);
            ck_assert(!seen[s->ports[k].value]);
            seen[s->ports[k].value] = true;
        }
    }
    world_finish(&w, false);
    ck_assert_str_eq(failed_metric(&w, "g")->dimension_exhausted[0].key,
                     "network: dynamic port selection failed");
    ck_assert_int_eq(failed_metric(&w, "g")->coalesced_failures, 9);
}
END_TEST

START_TEST(test_cores)
{
    steppe_TaskGroup *g = world_group(&w, "g", 3);
    const steppe_AllocatedCpuResources *cpu;

    g->tasks[0].resources.cpu = 0;
    g->tasks[0].resources.cores = 2;
    world_node(&w, &(struct test_node){.n = 1, .cores = 5, .cpu = 5000});
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 2);
    cpu = &w.plan.place[0].allocated_resources.tasks[0].value.cpu;
    ck_assert_int_eq(cpu->cpu_shares, 2000);
    ck_assert_uint_eq(cpu->reserved_cores[0], 0);
    ck_assert_uint_eq(cpu->reserved_cores[1], 1);
    cpu = &w.plan.place[1].allocated_resources.tasks[0].value.cpu;
    ck_assert_uint_eq(cpu->reserved_cores[0], 2);
    world_finish(&w, false);
    ck_assert_str_eq(failed_metric(&w, "g")->dimension_exhausted[0].key, "cores");
}
END_TEST

/* ---- preemption ---- */

START_TEST(test_preemption)
{
    (void)world_group(&w, "g", 1);
    w.job.priority = 70;
    world_node(&w, &(struct test_node){.n = 1, .cpu = 1000});
    world_other(&w, 901, 1, 61, (struct image_use){.cpu = 500, .memory = 256});
    world_other(&w, 902, 1, 30, (struct image_use){.cpu = 100, .memory = 100});
    world_other(&w, 903, 1, 20, (struct image_use){.cpu = 350, .memory = 100});
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 0); /* not unless it is switched on */
    w.in.config.preempt_service = true;
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 1);
    /* 61 is too close; 20 goes before 30, and both are needed. */
    ck_assert_uint_eq(w.plan.preempt_count, 2);
    for (pb_size_t i = 0; i < 2; i++) {
        char want[80];

        (void)snprintf(want, sizeof(want), "Preempted by alloc ID %s", w.plan.place[0].id);
        ck_assert_str_ne(w.plan.preempt[i].alloc_id, test_uuid(901));
        ck_assert_str_eq(w.plan.preempt[i].desired_status, "evict");
        ck_assert_str_eq(w.plan.preempt[i].desired_description, want);
        ck_assert_str_eq(w.plan.preempt[i].preempted_by, w.plan.place[0].id);
    }
    ck_assert_uint_eq(w.plan.place[0].preempted_allocations_count, 2);
    NINE_DIGITS(score_on(&w, 1, "preemption"), 1 / (1 + exp(0.0048 * (30 + 50.0 / 30 - 2048))));
    /* It is not switched on for what is too close. */
    w.job.priority = 39;
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 0);
}
END_TEST

/* One that covers it alone spares the others. */
START_TEST(test_preemption_spares)
{
    (void)world_group(&w, "g", 1);
    w.job.priority = 90;
    w.in.config.preempt_service = true;
    world_node(&w, &(struct test_node){.n = 1, .cpu = 3100});
    world_other(&w, 901, 1, 10, (struct image_use){.cpu = 100, .memory = 10});
    world_other(&w, 902, 1, 20, (struct image_use){.cpu = 3000, .memory = 3000});
    world_run(&w);
    ck_assert_uint_eq(w.plan.preempt_count, 1);
    ck_assert_str_eq(w.plan.preempt[0].alloc_id, test_uuid(902));
}
END_TEST

START_TEST(test_preemption_of_ports)
{
    steppe_TaskGroup *g = world_group(&w, "g", 1);
    steppe_Port fixed = {(char *)"http", 8080, 80, (char *)"default"};
    steppe_NetworkResource net = {
        .mode = (char *)"host", .reserved_ports = &fixed, .reserved_ports_count = 1};
    struct image_port held = {"10.0.0.1", "x", 8080};

    g->networks = &net;
    g->networks_count = 1;
    w.job.priority = 90;
    w.in.config.preempt_service = true;
    world_node(&w, &(struct test_node){.n = 1});
    world_other(&w, 901, 1, 10, (struct image_use){.cpu = 10, .memory = 10});
    world_other(&w, 902, 1, 20,
                (struct image_use){.cpu = 10, .memory = 10, .ports = &held, .ports_n = 1});
    world_run(&w);
    ck_assert_uint_eq(w.plan.preempt_count, 1);
    ck_assert_str_eq(w.plan.preempt[0].alloc_id, test_uuid(902));
    w.job.priority = 29;
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 0);
}
END_TEST

static TCase *cases(void)
{
    TCase *t = tcase_create("place");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_golden_scores);
    tcase_add_test(t, test_anti_affinity);
    tcase_add_test(t, test_spread_algorithm);
    tcase_add_test(t, test_placement_is_whole);
    tcase_add_test(t, test_limits);
    tcase_add_test(t, test_skips_bad_scores);
    tcase_add_test(t, test_exhausted);
    tcase_add_test(t, test_filtered);
    tcase_add_test(t, test_host_volumes_devices);
    tcase_add_test(t, test_distinct_hosts);
    tcase_add_test(t, test_distinct_property);
    tcase_add_test(t, test_affinity);
    tcase_add_test(t, test_spread_targets);
    tcase_add_test(t, test_spread_even);
    tcase_add_test(t, test_spread_even_scores);
    tcase_add_test(t, test_penalty);
    tcase_add_test(t, test_sticky);
    tcase_add_test(t, test_ports);
    tcase_add_test(t, test_many_ports);
    tcase_add_test(t, test_dynamic_ports_run_out);
    tcase_add_test(t, test_cores);
    tcase_add_test(t, test_preemption);
    tcase_add_test(t, test_preemption_spares);
    tcase_add_test(t, test_preemption_of_ports);
    return t;
}

int main(void)
{
    return check_run("sched_place", cases(), NULL);
}
