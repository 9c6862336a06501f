/* SPDX-License-Identifier: MPL-2.0 */
/* System jobs: one on each node, rolling updates, preemption, what does not fit. */
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "check_run.h"
#include "sched_match.h"
#include "sched_test.h"

#define SEC INT64_C(1000000000)

static struct world w;

static void setup(void)
{
    world_init(&w);
    w.job.type = w.eval.type = (char *)"system";
    w.job.name = (char *)"sys";
    (void)world_group(&w, "g", 1);
    for (unsigned i = 1; i <= 4; i++)
        world_node(&w, &(struct test_node){.n = i});
}

static void teardown(void)
{
    world_fini(&w);
}

/* As the world's, but named as system jobs name them: by the job's name. */
static steppe_Allocation *there(unsigned id, unsigned node)
{
    steppe_Allocation *a = world_alloc(&w, id, "g", 0, node);

    a->name = (char *)"sys.g[0]";
    return a;
}

static const char *stop_reason(unsigned id)
{
    for (pb_size_t i = 0; i < w.plan.stop_count; i++)
        if (strcmp(w.plan.stop[i].alloc_id, test_uuid(id)) == 0)
            return sched_text(w.plan.stop[i].desired_description);
    return "-";
}

START_TEST(test_one_on_each)
{
    world_node(&w, &(struct test_node){.n = 5, .dc = "dc2"});
    world_node(&w, &(struct test_node){.n = 6, .ineligible = true});
    (void)there(1, 1);
    world_load(&w);
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 3);
    for (unsigned i = 2; i <= 4; i++)
        ck_assert_uint_eq(placed_on(&w, i), 1);
    for (pb_size_t i = 0; i < 3; i++)
        ck_assert_str_eq(w.plan.place[i].name, "sys.g[0]");
    ck_assert_int_eq(w.out.groups[0].queued, 3);
    ck_assert_double_eq(score_on(&w, 2, "job-anti-affinity"), -100); /* not for system jobs */
    ck_assert_int_eq(w.plan.place[0].metrics.nodes_evaluated, 1);
}
END_TEST

START_TEST(test_ended_ones_come_back)
{
    there(1, 1)->client_status = (char *)"failed";
    there(2, 2)->client_status = (char *)"complete";
    (void)there(3, 3);
    (void)there(4, 4);
    world_load(&w);
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 2);
    for (pb_size_t i = 0; i < 2; i++)
        ck_assert_str_eq(w.plan.place[i].previous_allocation,
                         test_uuid(placed_on(&w, 1) && i == 0 ? 1 : 2));
}
END_TEST

/* Its evaluation was under way when the job was purged. */
START_TEST(test_purged)
{
    (void)there(1, 1);
    (void)there(2, 2);
    w.job.has_update = true;
    w.job.update = (steppe_UpdateStrategy){.stagger = 30 * SEC, .max_parallel = 1};
    world_load(&w);
    w.in.job = NULL;
    world_run(&w);
    for (unsigned i = 1; i <= 2; i++)
        ck_assert_str_eq(stop_reason(i), "alloc not needed due to job update");
    ck_assert_uint_eq(w.plan.place_count, 0);
    world_finish(&w, false);
    ck_assert_str_eq(w.update.evals[0].status, "complete");
}
END_TEST

START_TEST(test_stops)
{
    steppe_Allocation *a;

    (void)there(1, 1);
    there(2, 2)->name = (char *)"sys.old[0]";
    a = there(3, 3);
    a->has_desired_transition = a->desired_transition.has_migrate = true;
    a->desired_transition.migrate = true;
    (void)there(4, 4);
    (void)there(5, 9); /* a node that is not there */
    world_load(&w);
    world_node(&w, &(struct test_node){.n = 4, .status = "down"});
    world_run(&w);
    ck_assert_str_eq(stop_reason(1), "-");
    ck_assert_str_eq(stop_reason(2), "alloc not needed due to job update");
    ck_assert_str_eq(stop_reason(3), "alloc not needed as node is tainted");
    ck_assert_str_eq(stop_reason(4), "alloc is lost since its node is down");
    ck_assert_str_eq(stop_reason(5), "alloc is lost since its node is down");
    ck_assert_uint_eq(w.plan.place_count, 1); /* of the group that took the old one's place */
    ck_assert_uint_eq(placed_on(&w, 2), 1);
    w.job.stop = true;
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 0);
    ck_assert_str_eq(stop_reason(1), "alloc not needed due to job update");
}
END_TEST

/* Nodes that it does not want are no failure. */
START_TEST(test_filtered)
{
    world_node(&w, &(struct test_node){.n = 2, .driver = "docker", .computed_class = "x"});
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 3);
    ck_assert_int_eq(w.out.groups[0].queued, 3);
    ck_assert(sched_taken(&w.out, &(steppe_PlanResult){.placed = 3}));
    world_finish(&w, false);
    ck_assert_uint_eq(w.update.evals_count, 1);
    ck_assert_int_eq(w.update.evals[0].queued_allocations[0].value, 0);
    ck_assert_uint_eq(w.update.evals[0].failed_tg_allocs_count, 0);
}
END_TEST

START_TEST(test_full_nodes_block)
{
    const steppe_AllocMetric *m;

    w.in.config.preempt_system = false;
    for (unsigned i = 1; i <= 2; i++)
        world_other(&w, 900 + i, i, 50, (struct image_use){.cpu = 4000});
    world_run(&w);
    ck_assert_uint_eq(w.plan.place_count, 2);
    ck_assert(sched_taken(&w.out, &(steppe_PlanResult){.placed = 2}));
    world_finish(&w, false);
    ck_assert_uint_eq(w.update.evals_count, 2);
    ck_assert_str_eq(w.update.evals[0].status, "blocked");
    ck_assert_str_eq(w.update.evals[0].type, "system");
    ck_assert_int_eq(w.update.evals[1].queued_allocations[0].value, 2);
    m = failed_metric(&w, "g");
    ck_assert_int_eq(m->coalesced_failures, 1);
    ck_assert_int_eq(count_in(m->dimension_exhausted, m->dimension_exhausted_count, "cpu"), 1);
}
END_TEST

START_TEST(test_preempts)
{
    w.job.priority = 70;
    world_other(&w, 901, 1, 50, (struct image_use){.cpu = 4000});
    world_other(&w, 902, 2, 61, (struct image_use){.cpu = 4000});
    world_run(&w);
    ck_assert_uint_eq(w.plan.preempt_count, 1);
    ck_assert_str_eq(w.plan.preempt[0].alloc_id, test_uuid(901));
    ck_assert_uint_eq(w.plan.place_count, 3);
}
END_TEST

/* ---- changes ---- */

static void four_of_the_old_version(void)
{
    for (unsigned i = 1; i <= 4; i++)
        (void)there(i, i);
    world_load(&w);
    world_new_version(&w);
}

START_TEST(test_rolling_update)
{
    const steppe_Evaluation *e;
    char id[37];

    four_of_the_old_version();
    w.tasks[0][0].user = (char *)"x";
    w.job.has_update = true;
    w.job.update.max_parallel = 2;
    w.job.update.stagger = 30 * SEC;
    world_run(&w);
    ck_assert_uint_eq(w.plan.stop_count, 2);
    ck_assert_str_eq(w.plan.stop[0].desired_description,
                     "alloc is being updated due to job update");
    ck_assert_uint_eq(w.plan.place_count, 2);
    ck_assert_ptr_nonnull(w.plan.place[0].previous_allocation);
    ck_assert_uint_eq(w.plan.evals_count, 1);
    e = &w.plan.evals[0];
    ck_assert_str_eq(e->triggered_by, "rolling-update");
    ck_assert_str_eq(e->status, "pending");
    ck_assert_int_eq(e->wait, 30 * SEC);
    ck_assert_str_eq(e->previous_eval, w.eval.id);
    (void)snprintf(id, sizeof(id), "%s", e->id);
    world_run(&w); /* a second attempt: the same evaluation */
    ck_assert_str_eq(w.plan.evals[0].id, id);
    world_finish(&w, false);
    ck_assert_str_eq(w.update.evals[0].next_eval, id);
    /* As many as there are: nothing is left for later. */
    w.job.update.max_parallel = 4;
    world_run(&w);
    ck_assert_uint_eq(w.plan.stop_count, 4);
    ck_assert_uint_eq(w.plan.evals_count, 0);
    w.job.has_update = false; /* no limit */
    world_run(&w);
    ck_assert_uint_eq(w.plan.stop_count, 4);
}
END_TEST

START_TEST(test_update_in_place)
{
    four_of_the_old_version();
    w.tasks[0][0].kill_timeout = 5;
    world_node(&w, &(struct test_node){.n = 4, .ineligible = true}); /* is left alone */
    world_run(&w);
    ck_assert_uint_eq(w.plan.stop_count, 0);
    ck_assert_uint_eq(w.plan.place_count, 3);
    ck_assert_uint_eq(w.plan.place[0].job_version, 4);
    ck_assert_uint_eq(placed_on(&w, 4), 0);
    ck_assert_int_eq(w.out.groups[0].queued, 0);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("system");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_one_on_each);
    tcase_add_test(t, test_ended_ones_come_back);
    tcase_add_test(t, test_purged);
    tcase_add_test(t, test_stops);
    tcase_add_test(t, test_filtered);
    tcase_add_test(t, test_full_nodes_block);
    tcase_add_test(t, test_preempts);
    tcase_add_test(t, test_rolling_update);
    tcase_add_test(t, test_update_in_place);
    return check_run("sched_system", t, NULL);
}
