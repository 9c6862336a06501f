/* SPDX-License-Identifier: MPL-2.0 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "allocs_core.h"
#include "check_run.h"

#define S NS_PER_SEC

static int64_t now; /* of both clocks */

static struct task_ev ev_of(enum task_ev_type type)
{
    return (struct task_ev){.type = type, .now = {now}, .wall = {now}};
}

static struct task_rules service(const char *name)
{
    return (struct task_rules){.name = name,
                               .attempts = 2,
                               .interval_ns = 1800 * S,
                               .delay_ns = 15 * S,
                               .kill_signal = SIGINT,
                               .kill_timeout_ns = 5 * S};
}

/* The events' types, separated by commas. */
static const char *story(const struct task_core *t)
{
    static char text[512];

    text[0] = 0;
    for (pb_size_t i = 0; i < t->state.events_count; i++)
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? "," : "",
                       t->state.events[i].type);
    return text;
}

static const char *last_text(const struct task_core *t)
{
    return t->state.events[t->state.events_count - 1].display_message;
}

/* ---- one task ---- */

static struct task_out feed(struct task_core *t, const struct task_ev *ev)
{
    struct task_out out;

    task_step(t, ev, &out);
    return out;
}

static enum task_do give(struct task_core *t, enum task_ev_type type)
{
    struct task_ev ev = ev_of(type);

    return feed(t, &ev).action;
}

static enum task_do ends(struct task_core *t, int code, int sig)
{
    struct task_ev ev = ev_of(TASK_EV_EXITED);

    ev.code = code;
    ev.signal = sig;
    ev.ran = true;
    return feed(t, &ev).action;
}

static struct task_core begin(const struct task_rules *r)
{
    struct task_core t;

    now = 1000 * S;
    task_core_init(&t, r);
    (void)give(&t, TASK_EV_RECEIVE);
    ck_assert_int_eq(give(&t, TASK_EV_GO), TASK_DO_START);
    return t;
}

START_TEST(test_fails_after_attempts)
{
    struct task_rules r = service("web");
    struct task_core t = begin(&r);

    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(give(&t, TASK_EV_STARTED), TASK_DO_NOTHING);
        ck_assert_str_eq(t.state.state, "running");
        now += S;
        ck_assert_int_eq(ends(&t, 1, 0), TASK_DO_NOTHING);
        if (i == 2)
            break;
        ck_assert_str_eq(t.state.state, "pending");
        ck_assert_str_eq(last_text(&t), "Task restarting in 15s");
        ck_assert_int_eq(task_core_next(&t), now + 15 * S);
        now += 14 * S;
        ck_assert_int_eq(give(&t, TASK_EV_TICK), TASK_DO_NOTHING);
        now += S;
        ck_assert_int_eq(give(&t, TASK_EV_TICK), TASK_DO_START);
    }
    ck_assert_int_eq(t.run, TASK_DEAD);
    ck_assert(t.state.failed);
    ck_assert_str_eq(last_text(&t),
                     "Exceeded allowed attempts 2 in interval 30m0s and mode is \"fail\"");
    ck_assert_uint_eq(t.state.restarts, 2);
    ck_assert_uint_eq(t.state.events_count, TASK_EVENTS_MAX);
    task_core_fini(&t);
}
END_TEST

START_TEST(test_interval_begins_anew)
{
    struct task_rules r = service("web");
    struct task_core t = begin(&r);

    for (int i = 0; i < 10; i++) {
        (void)give(&t, TASK_EV_STARTED);
        now += 1000 * S;
        (void)ends(&t, 0, 0); /* a service restarts even then */
        ck_assert_int_eq(t.run, TASK_BACKOFF);
        now += 20 * S;
        ck_assert_int_eq(give(&t, TASK_EV_TICK), TASK_DO_START);
    }
    task_core_fini(&t);
}
END_TEST

START_TEST(test_mode_delay)
{
    struct task_rules r = service("web");
    struct task_core t;

    r.mode_delay = true;
    r.attempts = 1;
    t = begin(&r);
    (void)give(&t, TASK_EV_STARTED);
    (void)ends(&t, 1, 0);
    now += 16 * S;
    (void)give(&t, TASK_EV_TICK);
    (void)give(&t, TASK_EV_STARTED);
    (void)ends(&t, 1, 0);
    ck_assert_int_eq(t.run, TASK_BACKOFF);
    ck_assert_int_eq(task_core_next(&t), 1000 * S + 1800 * S);
    ck_assert_int_eq(
        strncmp(last_text(&t), "Exceeded allowed attempts, applying a delay - Task restarting", 61),
        0);
    task_core_fini(&t);
}
END_TEST

START_TEST(test_batch)
{
    struct task_rules r = service("work");
    struct task_core t;

    r.batch = true;
    r.attempts = 0;
    t = begin(&r);
    (void)ends(&t, 0, 0); /* its end is heard before its start */
    ck_assert_str_eq(story(&t), "Received,Task Setup,Started,Terminated");
    ck_assert_int_eq(t.run, TASK_DEAD);
    ck_assert(!t.state.failed && t.state.started_at && t.state.finished_at);
    task_core_fini(&t);
    t = begin(&r);
    (void)give(&t, TASK_EV_STARTED);
    (void)ends(&t, 3, 0);
    ck_assert_str_eq(last_text(&t), "Policy allows no restarts");
    ck_assert_str_eq(t.state.events[3].display_message, "Exit Code: 3");
    ck_assert(t.state.failed);
    task_core_fini(&t);
}
END_TEST

START_TEST(test_kill)
{
    struct task_rules r = service("web");
    struct task_core t;

    r.shutdown_delay_ns = 2 * S;
    t = begin(&r);
    (void)give(&t, TASK_EV_STARTED);
    ck_assert_int_eq(give(&t, TASK_EV_KILL), TASK_DO_NOTHING);
    now += 2 * S;
    ck_assert_int_eq(give(&t, TASK_EV_TICK), TASK_DO_KILL);
    ck_assert_int_eq(give(&t, TASK_EV_KILL), TASK_DO_NOTHING); /* once */
    now += 10 * S;
    (void)ends(&t, 0, SIGKILL);
    ck_assert_str_eq(story(&t),
                     "Received,Task Setup,Started,Waiting for shutdown delay,Terminated,Killed");
    ck_assert_str_eq(t.state.events[4].display_message, "Exit Code: 0, Signal: 9");
    ck_assert(!t.state.failed);
    ck_assert_int_eq(task_core_next(&t), 0);
    task_core_fini(&t);
}
END_TEST

/* Its holder does not answer any more. */
START_TEST(test_kill_hangs)
{
    struct task_rules r = service("web");
    struct task_core t = begin(&r);

    ck_assert_int_eq(give(&t, TASK_EV_KILL), TASK_DO_KILL); /* while it starts */
    now = task_core_next(&t);
    ck_assert_int_eq(give(&t, TASK_EV_TICK), TASK_DO_FORCE);
    (void)ends(&t, 0, SIGKILL);
    ck_assert_int_eq(t.run, TASK_DEAD);
    task_core_fini(&t);
}
END_TEST

START_TEST(test_restart_by_hand)
{
    struct task_rules r = service("web");
    struct task_core t = begin(&r);
    struct task_ev ev = ev_of(TASK_EV_RESTART);

    ev.text = "User requested restart";
    ck_assert_int_eq(feed(&t, &ev).action, TASK_DO_NOTHING); /* does not run yet */
    (void)give(&t, TASK_EV_STARTED);
    ck_assert_int_eq(feed(&t, &ev).action, TASK_DO_KILL);
    ck_assert_int_eq(ends(&t, 0, SIGINT), TASK_DO_START);
    ck_assert_str_eq(story(&t),
                     "Received,Task Setup,Started,Restart Signaled,Terminated,Restarting");
    ck_assert_str_eq(last_text(&t), "Task restarting in 0s");
    ck_assert_uint_eq(t.count, 0); /* not held against it */
    task_core_fini(&t);
}
END_TEST

START_TEST(test_failed_starts)
{
    struct task_rules r = service("web");
    struct task_core t = begin(&r);
    struct task_ev ev = ev_of(TASK_EV_START_FAILED);

    ev.text = "no such file";
    ev.retry = true;
    (void)feed(&t, &ev);
    ck_assert_int_eq(t.run, TASK_BACKOFF);
    now += 30 * S;
    (void)give(&t, TASK_EV_TICK);
    ev.retry = false;
    (void)feed(&t, &ev);
    ck_assert_int_eq(t.run, TASK_DEAD);
    ck_assert(t.state.failed);
    ck_assert_str_eq(last_text(&t), "Error was unrecoverable");
    task_core_fini(&t);
    r.attempts = 0;
    t = begin(&r);
    (void)feed(&t, &ev);
    ck_assert_str_eq(last_text(&t), "Policy allows no restarts");
    task_core_fini(&t);
}
END_TEST

/* clientd died between writing down that it starts and starting it: no failure of the task. */
START_TEST(test_unbegun)
{
    struct task_rules r = service("web");
    struct task_core t = begin(&r);

    ck_assert_int_eq(give(&t, TASK_EV_UNBEGUN), TASK_DO_START);
    ck_assert_uint_eq(t.runs, 2); /* a folder of its own */
    ck_assert_uint_eq(t.count, 0);
    ck_assert_uint_eq(t.state.restarts, 0);
    ck_assert_str_eq(story(&t), "Received,Task Setup");
    (void)give(&t, TASK_EV_KILL);
    ck_assert_int_eq(give(&t, TASK_EV_UNBEGUN), TASK_DO_NOTHING);
    ck_assert_int_eq(t.run, TASK_DEAD);
    task_core_fini(&t);
}
END_TEST

START_TEST(test_reboot)
{
    struct task_rules r = service("web");
    struct task_core t = begin(&r);

    (void)give(&t, TASK_EV_STARTED);
    task_core_reboot(&t);
    now = 5 * S; /* a new monotonic clock */
    ck_assert_str_eq(t.state.state, "pending");
    ck_assert_int_eq(give(&t, TASK_EV_GO), TASK_DO_START);
    ck_assert_uint_eq(t.runs, 2);
    task_core_fini(&t);
}
END_TEST

/* ---- allocations ---- */

static struct alloc_core a;
static char did[512]; /* what alloc_step_task() wants done: "start web, kill db(2)" */

static void note(struct alloc_out *out)
{
    static const char *const words[] = {"?", "start", "kill", "signal", "force"};

    did[0] = 0;
    for (size_t i = 0; i < out->n; i++)
        (void)snprintf(did + strlen(did), sizeof(did) - strlen(did), "%s%s %s", i ? ", " : "",
                       words[out->effects[i].action], a.tasks[out->effects[i].task].rules.name);
    alloc_out_fini(out);
}

static const char *look(void)
{
    struct task_ev ev = ev_of(TASK_EV_TICK);
    struct alloc_out out;

    alloc_step(&a, &ev, &out);
    note(&out);
    return did;
}

static const char *task(const char *name, enum task_ev_type type, int code)
{
    struct task_ev ev = ev_of(type);
    struct alloc_out out;
    size_t i = 0;

    while (strcmp(a.tasks[i].rules.name, name) != 0)
        i++;
    ev.code = code;
    ev.ran = true;
    alloc_step_task(&a, i, &ev, &out);
    note(&out);
    return did;
}

static const char *status(void)
{
    const char *text;

    return alloc_core_status(&a, &text);
}

static void make(const struct task_rules *rules, size_t n)
{
    now = 1000 * S;
    alloc_core_init(&a, rules, n, (struct mono_ns){now}, (struct wall_ns){now});
}

START_TEST(test_lifecycle)
{
    struct task_rules r[] = {service("main"), service("init"), service("side"), service("post"),
                             service("stop")};

    r[1].hook = r[2].hook = TASK_HOOK_PRESTART;
    r[2].sidecar = true;
    r[3].hook = TASK_HOOK_POSTSTART;
    r[4].hook = TASK_HOOK_POSTSTOP;
    make(r, ARRAY_LEN(r));
    ck_assert_str_eq(look(), "start init, start side");
    ck_assert_str_eq(status(), "pending");
    ck_assert_str_eq(task("side", TASK_EV_STARTED, 0), "");
    ck_assert_str_eq(task("init", TASK_EV_STARTED, 0), "");
    ck_assert_str_eq(task("init", TASK_EV_EXITED, 0), "start main");
    ck_assert_str_eq(task("main", TASK_EV_STARTED, 0), "start post");
    ck_assert_str_eq(task("post", TASK_EV_EXITED, 0), "");
    ck_assert_str_eq(status(), "running");
    a.stopped = true;
    ck_assert_str_eq(look(), "kill main"); /* sidecars last */
    ck_assert_str_eq(task("main", TASK_EV_EXITED, 0), "kill side, start stop");
    ck_assert_str_eq(task("side", TASK_EV_EXITED, 0), "");
    ck_assert(!alloc_core_terminal(&a));
    ck_assert_str_eq(task("stop", TASK_EV_EXITED, 0), "");
    ck_assert(alloc_core_terminal(&a));
    ck_assert_str_eq(status(), "complete");
    alloc_core_fini(&a);
}
END_TEST

START_TEST(test_failed_sibling)
{
    struct task_rules r[] = {service("a"), service("b")};

    r[0].attempts = 0;
    make(r, 2);
    ck_assert_str_eq(look(), "start a, start b");
    (void)task("b", TASK_EV_STARTED, 0);
    ck_assert_str_eq(task("a", TASK_EV_EXITED, 7), "kill b");
    ck_assert_str_eq(story(&a.tasks[1]), "Received,Task Setup,Started,Sibling Task Failed,Killing");
    ck_assert_str_eq(a.tasks[1].state.events[3].display_message, "Task's sibling \"a\" failed");
    ck_assert_str_eq(last_text(&a.tasks[1]), "Sent interrupt. Waiting 5s before force killing");
    (void)task("b", TASK_EV_EXITED, 0);
    ck_assert(alloc_core_terminal(&a));
    ck_assert_str_eq(status(), "failed");
    ck_assert(!a.tasks[1].state.failed);
    alloc_core_fini(&a);
}
END_TEST

START_TEST(test_leader)
{
    struct task_rules r[] = {service("follower"), service("leader")};

    r[1].leader = true;
    r[0].batch = r[1].batch = true;
    make(r, 2);
    (void)look();
    (void)task("follower", TASK_EV_STARTED, 0);
    (void)task("leader", TASK_EV_STARTED, 0);
    a.stopped = true;
    ck_assert_str_eq(look(), "kill leader");
    ck_assert_str_eq(task("leader", TASK_EV_EXITED, 0), "kill follower");
    alloc_core_fini(&a);
    make(r, 2); /* the leader ends by itself */
    (void)look();
    (void)task("follower", TASK_EV_STARTED, 0);
    ck_assert_str_eq(task("leader", TASK_EV_EXITED, 0), "kill follower");
    ck_assert_str_eq(story(&a.tasks[0]), "Received,Task Setup,Started,Leader Task Dead,Killing");
    (void)task("follower", TASK_EV_EXITED, 0);
    ck_assert_str_eq(status(), "complete");
    alloc_core_fini(&a);
}
END_TEST

/* A failed prestart task: the main task never starts. */
START_TEST(test_failed_prestart)
{
    struct task_rules r[] = {service("main"), service("init")};

    r[1].hook = TASK_HOOK_PRESTART;
    r[1].attempts = 0;
    make(r, 2);
    ck_assert_str_eq(look(), "start init");
    ck_assert_str_eq(task("init", TASK_EV_EXITED, 1), "");
    ck_assert(alloc_core_terminal(&a));
    ck_assert_str_eq(status(), "failed");
    alloc_core_fini(&a);
}
END_TEST

START_TEST(test_hold_and_stop)
{
    struct task_rules r = service("a");

    make(&r, 1);
    a.hold = true;
    ck_assert_str_eq(look(), "");
    a.stopped = true;
    ck_assert_str_eq(look(), "");
    ck_assert(alloc_core_terminal(&a));
    ck_assert_str_eq(status(), "complete");
    alloc_core_fini(&a);
}
END_TEST

START_TEST(test_group_delay)
{
    struct task_rules r = service("a");

    make(&r, 1);
    a.shutdown_delay_ns = 3 * S;
    (void)look();
    (void)task("a", TASK_EV_STARTED, 0);
    a.stopped = true;
    ck_assert_str_eq(look(), "");
    ck_assert_int_eq(alloc_core_next(&a), now + 3 * S);
    now += 3 * S;
    ck_assert_str_eq(look(), "kill a");
    alloc_core_fini(&a);
}
END_TEST

START_TEST(test_health)
{
    struct task_rules r = service("a");

    make(&r, 1);
    a.health = (struct alloc_health){
        .watch = true, .min_healthy_ns = 10 * S, .healthy_deadline_ns = 60 * S};
    (void)look();
    now += S;
    (void)task("a", TASK_EV_STARTED, 0);
    ck_assert_int_eq(alloc_core_next(&a), now + 10 * S);
    now += 5 * S;
    (void)task("a", TASK_EV_EXITED, 1); /* restarts: the time begins anew */
    now += 15 * S;
    ck_assert_str_eq(look(), "start a");
    (void)task("a", TASK_EV_STARTED, 0);
    now += 9 * S;
    (void)look();
    ck_assert(!a.health.known);
    now += S;
    (void)look();
    ck_assert(a.health.known && a.health.healthy);
    ck_assert_int_eq(alloc_core_next(&a), 0);
    alloc_core_fini(&a);
}
END_TEST

START_TEST(test_unhealthy)
{
    struct task_rules r = service("a");

    make(&r, 1);
    a.health = (struct alloc_health){
        .watch = true, .deploy = true, .min_healthy_ns = 10 * S, .healthy_deadline_ns = 60 * S};
    (void)look();
    now += 60 * S;
    (void)look();
    ck_assert(a.health.known && !a.health.healthy);
    ck_assert_str_eq(last_text(&a.tasks[0]), "Task not running by healthy_deadline of 1m0s");
    alloc_core_fini(&a);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("allocs_core");

    tcase_add_test(t, test_fails_after_attempts);
    tcase_add_test(t, test_interval_begins_anew);
    tcase_add_test(t, test_mode_delay);
    tcase_add_test(t, test_batch);
    tcase_add_test(t, test_kill);
    tcase_add_test(t, test_kill_hangs);
    tcase_add_test(t, test_restart_by_hand);
    tcase_add_test(t, test_failed_starts);
    tcase_add_test(t, test_unbegun);
    tcase_add_test(t, test_reboot);
    tcase_add_test(t, test_lifecycle);
    tcase_add_test(t, test_failed_sibling);
    tcase_add_test(t, test_leader);
    tcase_add_test(t, test_failed_prestart);
    tcase_add_test(t, test_hold_and_stop);
    tcase_add_test(t, test_group_delay);
    tcase_add_test(t, test_health);
    tcase_add_test(t, test_unhealthy);
    return check_run("allocs_core", t, NULL);
}
