/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <pb_decode.h>
#include <pb_encode.h>
#include <stdio.h>
#include <string.h>

#include "base/prng.h"
#include "check_run.h"
#include "plan_core.h"

static struct image *im;
static struct plan_verdict v;
static struct errtext error;
static uint8_t bytes[65536];
static size_t bytes_len;

/* ---- building blocks ---- */

#define ITEMS_MAX 80
static steppe_Allocation placed[ITEMS_MAX];
static steppe_AllocatedResources_TasksEntry tasks[ITEMS_MAX];
static steppe_PlanStop stopped[ITEMS_MAX], evicted[ITEMS_MAX];
static steppe_Plan plan;
static char ids[512][37];
static unsigned ids_n;

static char *uuid(unsigned n)
{
    char *b = ids[ids_n++ % 512];

    (void)snprintf(b, 37, "%08x-0000-4000-8000-000000000000", n);
    return b;
}

static void begin(void)
{
    plan = (steppe_Plan){.eval_id = uuid(1),
                         .eval_token = (char *)"token",
                         .place = placed,
                         .stop = stopped,
                         .preempt = evicted,
                         .priority = 70};
}

static void setup(void)
{
    im = image_new(0);
    v = (struct plan_verdict){0};
    begin();
}

static void teardown(void)
{
    plan_verdict_fini(&v);
    im = image_free(im);
}

static void put_node(unsigned n, int64_t cpu, const char *status)
{
    steppe_Node node = {
        .id = uuid(n),
        .status = (char *)status,
        .has_node_resources = true,
        .node_resources = {
            .has_cpu = true, .cpu = {.cpu_shares = cpu}, .has_memory = true, .memory = {1000}}};

    image_apply_node(im, &node);
}

static steppe_Allocation alloc_of(unsigned id, unsigned node, const char *job, int64_t cpu,
                                  steppe_AllocatedResources_TasksEntry *task)
{
    *task = (steppe_AllocatedResources_TasksEntry){
        .key = (char *)"t",
        .has_value = true,
        .value = {.has_cpu = true, .cpu = {.cpu_shares = cpu}}};
    return (steppe_Allocation){
        .id = uuid(id),
        .namespace = (char *)"default",
        .job_id = (char *)job,
        .name = (char *)"j.g[0]",
        .task_group = (char *)"g",
        .node_id = uuid(node),
        .has_allocated_resources = true,
        .allocated_resources = {.tasks = task, .tasks_count = 1},
    };
}

static void live(unsigned id, unsigned node, const char *job, int64_t cpu)
{
    steppe_AllocatedResources_TasksEntry task;
    steppe_Allocation a = alloc_of(id, node, job, cpu, &task);

    image_apply_alloc(im, &a, 50);
}

static void want(unsigned id, unsigned node, int64_t cpu)
{
    pb_size_t i = plan.place_count++;

    placed[i] = alloc_of(id, node, "j", cpu, &tasks[i]);
}

static void want_stop(unsigned id, unsigned node)
{
    stopped[plan.stop_count++] = (steppe_PlanStop){
        .alloc_id = uuid(id), .node_id = uuid(node), .desired_status = (char *)"stop"};
}

static void want_evicted(unsigned id, unsigned node)
{
    evicted[plan.preempt_count++] = (steppe_PlanStop){
        .alloc_id = uuid(id), .node_id = uuid(node), .desired_status = (char *)"evict"};
}

static int verify(void)
{
    pb_ostream_t out = pb_ostream_from_buffer(bytes, sizeof(bytes));

    ck_assert(pb_encode(&out, steppe_Plan_fields, &plan));
    bytes_len = out.bytes_written;
    plan_verdict_fini(&v);
    return plan_verify(im, bytes_of(bytes, bytes_len), &v, &error);
}

static void accepted(unsigned n_placed, unsigned n_stopped, unsigned n_rejected)
{
    ck_assert_int_eq(verify(), 0);
    ck_assert_uint_eq(v.placed, n_placed);
    ck_assert_uint_eq(v.stopped, n_stopped);
    ck_assert_uint_eq(v.rejected, n_rejected);
}

static int64_t used(unsigned n)
{
    return image_node_find(im, uuid(n))->cpu_used;
}

/* ---- tests ---- */

START_TEST(all_fits)
{
    struct plan_head head;

    put_node(1, 1000, "ready");
    put_node(2, 1000, "ready");
    want(10, 1, 400);
    want(11, 1, 600);
    want(12, 2, 1000);
    accepted(3, 0, 0);
    ck_assert(!v.nothing);
    ck_assert_int_eq(used(1), 1000);
    ck_assert(plan_head_read(bytes_of(bytes, bytes_len), &head));
    ck_assert_str_eq(head.eval_id, uuid(1));
    ck_assert_str_eq(head.token, "token");
    ck_assert_int_eq(head.priority, 70);
}
END_TEST

START_TEST(a_node_is_full)
{
    put_node(1, 1000, "ready");
    put_node(2, 1000, "ready");
    live(5, 1, "other", 700);
    want(10, 1, 300);
    want(11, 2, 300);
    want(12, 1, 1); /* too much: nothing goes to the node */
    accepted(1, 0, 1);
    ck_assert_int_eq(used(1), 700);
    ck_assert_int_eq(used(2), 300);
    ck_assert_uint_eq(v.rejected_nodes.len, 38);
    ck_assert_int_eq(memcmp(v.rejected_nodes.data + 2, uuid(1), 36), 0);
}
END_TEST

/* Two schedulers that did not see one another. */
START_TEST(the_next_plan_sees_the_last)
{
    put_node(1, 1000, "ready");
    want(10, 1, 600);
    accepted(1, 0, 0);
    image_keep(im, 7);
    begin();
    want(20, 1, 600);
    accepted(0, 0, 1);
    ck_assert(v.nothing);
    ck_assert_int_eq(used(1), 600);
}
END_TEST

START_TEST(stops_make_room)
{
    put_node(1, 1000, "ready");
    live(5, 1, "j", 700);
    live(6, 1, "low", 200);
    want(10, 1, 1000);
    want_stop(5, 1);
    accepted(0, 0, 1); /* not enough: and what was to be stopped runs on */
    ck_assert_int_eq(used(1), 900);
    want_evicted(6, 1);
    accepted(1, 2, 0);
    ck_assert_int_eq(used(1), 1000);
    ck_assert_uint_eq(v.preempted_n, 1);
    ck_assert_str_eq(v.preempted[0].id, "low");
}
END_TEST

START_TEST(rejected_preemptions_are_none)
{
    put_node(1, 1000, "ready");
    live(6, 1, "low", 200);
    want(10, 1, 2000);
    want_evicted(6, 1);
    accepted(0, 0, 1);
    ck_assert_uint_eq(v.preempted_n, 0);
}
END_TEST

/* Each job that is preempted needs its evaluation: what would be of too many waits. */
START_TEST(preempted_jobs_have_a_bound)
{
    char job[16];

    for (unsigned i = 0; i < PLAN_PREEMPTED_MAX + 9; i++) {
        (void)snprintf(job, sizeof(job), "low-%u", i);
        put_node(1000 + i, 1000, "ready");
        live(2000 + i, 1000 + i, job, 900);
        want(3000 + i, 1000 + i, 900);
        want_evicted(2000 + i, 1000 + i);
    }
    accepted(PLAN_PREEMPTED_MAX, PLAN_PREEMPTED_MAX, 9);
    ck_assert_uint_eq(v.preempted_n, PLAN_PREEMPTED_MAX);
}
END_TEST

START_TEST(all_at_once)
{
    put_node(1, 1000, "ready");
    put_node(2, 1000, "ready");
    plan.all_at_once = true;
    want(10, 1, 300);
    want(11, 2, 3000);
    accepted(0, 0, 1);
    ck_assert(v.nothing);
    ck_assert_int_eq(used(1), 0);
}
END_TEST

START_TEST(nodes_that_are_not_ready)
{
    put_node(1, 1000, "down");
    live(5, 1, "j", 100);
    want(10, 1, 1);
    accepted(0, 0, 1);
    begin();
    want_stop(5, 1);
    accepted(0, 1, 0);
    image_undo(im, 0);
    begin();
    want(5, 1, 100); /* in place */
    accepted(1, 0, 0);
    begin();
    want(10, 9, 1); /* no such node */
    want(11, 9, 1);
    want(12, 8, 1);
    accepted(0, 0, 2);
}
END_TEST

START_TEST(in_place)
{
    put_node(1, 1000, "ready");
    live(5, 1, "j", 600);
    live(6, 1, "k", 400);
    put_node(1, 500, "ready"); /* it shrank: too much runs there */
    want(5, 1, 500);
    accepted(1, 0, 0); /* less than before goes */
    ck_assert_int_eq(used(1), 900);
    begin();
    want(5, 1, 501);
    accepted(0, 0, 1);
    ck_assert_int_eq(used(1), 900);
    put_node(2, 1000, "ready");
    begin();
    want(5, 2, 1); /* an allocation does not move */
    accepted(0, 0, 1);
}
END_TEST

START_TEST(lost_ones)
{
    put_node(1, 1000, "down");
    live(5, 1, "j", 600);
    want(5, 1, 600);
    placed[0].client_status = (char *)"lost";
    accepted(1, 0, 0);
    ck_assert_int_eq(used(1), 0);
    begin();
    want_stop(77, 9); /* nobody knows it (any more): the state passes over it */
    accepted(0, 1, 0);
}
END_TEST

START_TEST(empty_and_broken)
{
    steppe_Evaluation ev = {.id = uuid(3)};

    accepted(0, 0, 0);
    ck_assert(v.nothing);
    plan.evals = &ev;
    plan.evals_count = 1;
    accepted(0, 0, 0);
    ck_assert(!v.nothing);
    put_node(1, 1000, "ready");
    want(10, 1, 1);
    ck_assert_int_eq(verify(), 0);
    image_undo(im, 0);
    for (size_t n = 1; n < bytes_len; n++) { /* whatever is missing: no crash, no trace */
        plan_verdict_fini(&v);
        if (plan_verify(im, bytes_of(bytes, n), &v, &error) == 0)
            image_undo(im, 0);
        ck_assert_int_eq(used(1), 0);
    }
    placed[0].id = (char *)"no uuid";
    ck_assert_int_eq(verify(), -EBADMSG);
    ck_assert_str_eq(error.text, "broken placement in a plan");
}
END_TEST

static void count(void *user, const char *id)
{
    (void)id;
    ++*(unsigned *)user;
}

START_TEST(ids_of_a_plan)
{
    unsigned n = 0;

    want(10, 1, 1);
    want_stop(5, 1);
    want_evicted(6, 1);
    (void)verify();
    plan_each_id(bytes_of(bytes, bytes_len), count, &n);
    ck_assert_uint_eq(n, 3);
}
END_TEST

/* ---- pieces ---- */

struct seen {
    unsigned pieces, placed, stopped, evals, deployments;
    unsigned items_max;
    bool place_before_stop, late_deployment, early_evals;
    bool whole;
};

static void look(void *user, struct bytes piece)
{
    steppe_Plan p = steppe_Plan_init_zero;
    pb_istream_t in = pb_istream_from_buffer(piece.data, piece.len);
    struct seen *s = user;

    ck_assert(pb_decode(&in, steppe_Plan_fields, &p));
    ck_assert_str_eq(p.eval_id, uuid(1));
    ck_assert_int_eq(p.priority, 70);
    s->early_evals |= s->evals > 0;
    s->place_before_stop |= p.stop_count && s->placed;
    s->late_deployment |= p.has_deployment && s->pieces;
    s->pieces++;
    s->placed += p.place_count;
    s->stopped += p.stop_count;
    s->evals += p.evals_count;
    s->deployments += p.has_deployment;
    s->items_max = MAX(s->items_max, (unsigned)(p.place_count + p.stop_count));
    s->whole = piece.data == bytes;
    pb_release(steppe_Plan_fields, &p);
}

START_TEST(cut_into_pieces)
{
    steppe_Evaluation ev = {.id = uuid(3)};
    struct seen s = {0};

    for (unsigned i = 0; i < 50; i++)
        want(100 + i, 1, 1);
    for (unsigned i = 0; i < 14; i++)
        want_stop(200 + i, 1);
    plan.evals = &ev;
    plan.evals_count = 1;
    plan.has_deployment = true;
    (void)verify();
    plan_split(bytes_of(bytes, bytes_len), 10, look, &s);
    ck_assert_uint_eq(s.pieces, 7);
    ck_assert_uint_eq(s.placed, 50);
    ck_assert_uint_eq(s.stopped, 14);
    ck_assert_uint_eq(s.items_max, 10);
    ck_assert_uint_eq(s.evals, 1);
    ck_assert_uint_eq(s.deployments, 1);
    ck_assert(!s.place_before_stop && !s.late_deployment && !s.early_evals && !s.whole);
    s = (struct seen){0};
    plan_split(bytes_of(bytes, bytes_len), 64, look, &s);
    ck_assert(s.pieces == 1 && s.whole);
    plan.all_at_once = true;
    (void)verify();
    s = (struct seen){0};
    plan_split(bytes_of(bytes, bytes_len), 10, look, &s);
    ck_assert(s.pieces == 1 && s.whole);
    plan.all_at_once = false;
    want_evicted(300, 1);
    (void)verify();
    s = (struct seen){0};
    plan_split(bytes_of(bytes, bytes_len), 10, look, &s);
    ck_assert(s.pieces == 1 && s.whole);
}
END_TEST

/* Seeded: no node ever takes more than it has, whatever the plans say. */
START_TEST(never_too_much)
{
    struct prng p;

    prng_seed(&p, (uint64_t)_i + 1);
    for (unsigned i = 1; i < 9; i++)
        put_node(i, 1000, "ready");
    for (unsigned i = 0; i < 400; i++) {
        begin();
        for (unsigned k = 0, n = 1 + (unsigned)prng_below(&p, 20); k < n; k++) {
            unsigned id = 100 + (unsigned)prng_below(&p, 60), on = 1 + (unsigned)prng_below(&p, 9);

            switch (prng_below(&p, 5)) {
            case 0:
                want_stop(id, on);
                break;
            case 1:
                want_evicted(id, on);
                break;
            default:
                want(id, on, (int64_t)prng_below(&p, 400));
            }
        }
        plan.all_at_once = prng_below(&p, 4) == 0;
        ck_assert_int_eq(verify(), 0);
        if (prng_below(&p, 3))
            image_keep(im, i);
        else
            image_undo(im, 0);
        for (unsigned k = 1; k < 9; k++)
            ck_assert_int_le(used(k), 1000);
    }
}
END_TEST

START_TEST(load_has_bounds)
{
    const size_t large = (size_t)50 << 20;
    struct plan_load l = {0};

    ck_assert(plan_load_take(&l, PLAN_LOAD_BYTES_MAX + 1)); /* alone */
    ck_assert(!plan_load_take(&l, 1));
    plan_load_give(&l, PLAN_LOAD_BYTES_MAX + 1);
    ck_assert(plan_load_take(&l, large) && plan_load_take(&l, large));
    ck_assert(!plan_load_take(&l, large)); /* 150 MiB */
    ck_assert(plan_load_take(&l, PLAN_LOAD_BYTES_MAX - 2 * large));
    ck_assert(!plan_load_take(&l, 1));
    plan_load_give(&l, large);
    ck_assert(plan_load_take(&l, 1));
    l = (struct plan_load){0};
    for (unsigned i = 0; i < PLAN_LOAD_MAX; i++)
        ck_assert(plan_load_take(&l, 10));
    ck_assert(!plan_load_take(&l, 0));
    for (unsigned i = 0; i < PLAN_LOAD_MAX; i++)
        plan_load_give(&l, 10);
    ck_assert(l.plans == 0 && l.bytes == 0);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, all_fits);
    tcase_add_test(t, load_has_bounds);
    tcase_add_test(t, a_node_is_full);
    tcase_add_test(t, the_next_plan_sees_the_last);
    tcase_add_test(t, stops_make_room);
    tcase_add_test(t, rejected_preemptions_are_none);
    tcase_add_test(t, preempted_jobs_have_a_bound);
    tcase_add_test(t, all_at_once);
    tcase_add_test(t, nodes_that_are_not_ready);
    tcase_add_test(t, in_place);
    tcase_add_test(t, lost_ones);
    tcase_add_test(t, empty_and_broken);
    tcase_add_test(t, ids_of_a_plan);
    tcase_add_test(t, cut_into_pieces);
    tcase_add_loop_test(t, never_too_much, 0, 6);
    return check_run("plan_core", t, NULL);
}
