/* SPDX-License-Identifier: MPL-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check_run.h"
#include "taskd_core.h"
#include "taskd_logs.h"
#include "taskd_tree.h"

static struct taskd_out run(struct taskd_core *c, enum taskd_event_type type, int64_t now_ms,
                            int sig, int64_t timeout_ms)
{
    struct taskd_event ev = {type, {now_ms * NS_PER_MS}, sig, timeout_ms * NS_PER_MS};
    struct taskd_out out;

    taskd_step(c, &ev, &out);
    return out;
}

START_TEST(test_plain_life)
{
    struct taskd_core c = {0};

    ck_assert(!run(&c, TASKD_EV_BYE, 1, 0, 0).quit);
    ck_assert(run(&c, TASKD_EV_STARTED, 1, 0, 0).report);
    ck_assert_int_eq(run(&c, TASKD_EV_SIGNAL, 2, SIGHUP, 0).signal, SIGHUP);
    ck_assert_int_eq(taskd_wait_ns(&c, (struct mono_ns){0}), -1);
    ck_assert(!run(&c, TASKD_EV_TICK, 99, 0, 0).kill_all);
    ck_assert(run(&c, TASKD_EV_EXITED, 100, 0, 0).kill_all); /* what it left behind */
    ck_assert(!run(&c, TASKD_EV_BYE, 101, 0, 0).quit);
    ck_assert(run(&c, TASKD_EV_GONE, 120, 0, 0).report);
    ck_assert_int_eq(c.state, TASKD_DONE);
    ck_assert_int_eq(run(&c, TASKD_EV_KILL, 130, SIGINT, 0).signal, 0);
    ck_assert_int_eq(taskd_wait_ns(&c, (struct mono_ns){0}), -1);
    ck_assert(run(&c, TASKD_EV_BYE, 131, 0, 0).quit);
}
END_TEST

START_TEST(test_kill)
{
    struct taskd_core c = {0};
    struct taskd_out out;

    (void)run(&c, TASKD_EV_STARTED, 1, 0, 0);
    out = run(&c, TASKD_EV_KILL, 1000, SIGINT, 5000);
    ck_assert(out.signal == SIGINT && !out.kill_all);
    ck_assert_int_eq(taskd_wait_ns(&c, (struct mono_ns){2000 * NS_PER_MS}), 4000 * NS_PER_MS);
    /* A second, longer kill does not move the end; a shorter one does. */
    (void)run(&c, TASKD_EV_KILL, 2000, SIGINT, 60000);
    ck_assert_int_eq(taskd_wait_ns(&c, (struct mono_ns){2000 * NS_PER_MS}), 4000 * NS_PER_MS);
    (void)run(&c, TASKD_EV_KILL, 2000, SIGINT, 1000);
    ck_assert(!run(&c, TASKD_EV_TICK, 2999, 0, 0).kill_all);
    ck_assert(run(&c, TASKD_EV_TICK, 3000, 0, 0).kill_all);
    ck_assert(run(&c, TASKD_EV_TICK, 3020, 0, 0).kill_all); /* until it is gone */
    ck_assert(run(&c, TASKD_EV_KILL, 3030, 0, 0).kill_all);
}
END_TEST

/* Nothing can be done about a process that the kernel holds. */
START_TEST(test_give_up)
{
    struct taskd_core c = {0};

    (void)run(&c, TASKD_EV_FAILED, 0, 0, 0);
    ck_assert(!run(&c, TASKD_EV_TICK, TASKD_GIVE_UP_NS / NS_PER_MS - 1, 0, 0).report);
    ck_assert(run(&c, TASKD_EV_TICK, TASKD_GIVE_UP_NS / NS_PER_MS, 0, 0).report);
    ck_assert(!run(&c, TASKD_EV_GONE, 99999, 0, 0).report);
}
END_TEST

/* ---- logs ---- */

static char dir[] = "/tmp/test_taskd_XXXXXX";

static off_t size_of(const char *name)
{
    char path[256];
    struct stat st;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return lstat(path, &st) < 0 ? -1 : st.st_size;
}

static void remove_file(const char *name)
{
    char *path = xasprintf("%s/%s", dir, name);

    (void)unlink(path);
    free(path);
}

static struct taskd_log open_log(uint64_t files, uint64_t bytes)
{
    struct taskd_log l = {.max_files = files, .max_bytes = bytes};
    struct errtext e = {{0}};

    ck_assert_msg(taskd_log_open(&l, dir, "t.stdout", &e) == 0, "%s", e.text);
    return l;
}

static void close_log(struct taskd_log *l)
{
    close(l->out);
    close(l->dir);
}

START_TEST(test_rotation)
{
    struct taskd_log l;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    l = open_log(2, 10);
    taskd_log_write(&l, "12345\n", 6);
    taskd_log_write(&l, "abc\ndef\n", 8); /* the line that does not fit goes to the next */
    ck_assert_int_eq(size_of("t.stdout.0"), 10);
    ck_assert_int_eq(size_of("t.stdout.1"), 4);
    taskd_log_write(&l, "0123456789012345678901234", 25); /* no line at all: split */
    ck_assert_int_eq(size_of("t.stdout.0"), -1);
    ck_assert_int_eq(size_of("t.stdout.1"), -1);
    ck_assert_int_eq(size_of("t.stdout.2"), 10);
    ck_assert_int_eq(size_of("t.stdout.3"), 9);
    close_log(&l);
    l = open_log(2, 10); /* goes on where it was */
    ck_assert_uint_eq(l.index, 3);
    taskd_log_write(&l, "x", 1);
    ck_assert_int_eq(size_of("t.stdout.3"), 10);
    close_log(&l);
    l = open_log(1, 10);
    ck_assert_int_eq(size_of("t.stdout.2"), -1);
    close_log(&l);
    remove_file("t.stdout.3");
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

/* The task may put a link or a pipe in the way. */
START_TEST(test_traps)
{
    static char victim[] = "/tmp/test_taskd_victim_XXXXXX";
    char path[256], name[32];
    struct taskd_log l;
    struct stat st;

    (void)snprintf(dir, sizeof(dir), "/tmp/test_taskd_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    close(mkstemp(victim));
    (void)snprintf(path, sizeof(path), "%s/t.stdout.0", dir);
    ck_assert_int_eq(symlink(victim, path), 0);
    (void)snprintf(path, sizeof(path), "%s/t.stdout.2", dir);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    l = open_log(10, 5);
    ck_assert_uint_eq(l.index, 3); /* past the pipe */
    taskd_log_write(&l, "12345678", 8);
    ck_assert_int_eq(size_of("t.stdout.3"), 5);
    ck_assert_int_eq(stat(victim, &st), 0);
    ck_assert_int_eq(st.st_size, 0);
    ck_assert_uint_eq(l.dropped, 0);
    close_log(&l);
    (void)snprintf(path, sizeof(path), "%s/t.stdout.5", dir);
    ck_assert_int_eq(link(victim, path), 0);
    l = open_log(10, 5);
    ck_assert_uint_eq(l.index, 6); /* past another name of another file */
    taskd_log_write(&l, "1234", 4);
    ck_assert_int_eq(stat(victim, &st), 0);
    ck_assert_int_eq(st.st_size, 0);
    close_log(&l);
    for (int i = 0; i < 7; i++) {
        (void)snprintf(name, sizeof(name), "t.stdout.%d", i);
        remove_file(name);
    }
    (void)unlink(victim);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

/* There is no room for the next file, and later there is. */
START_TEST(test_no_next_file)
{
    char path[256];
    struct taskd_log l;

    (void)snprintf(dir, sizeof(dir), "/tmp/test_taskd_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/t.stdout.1", dir);
    l = open_log(10, 5);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    taskd_log_write(&l, "12345678", 8);
    ck_assert_uint_eq(l.dropped, 3);
    ck_assert_int_eq(rmdir(path), 0);
    taskd_log_write(&l, "abc", 3);
    ck_assert_int_eq(size_of("t.stdout.1"), 3);
    ck_assert_uint_eq(l.dropped, 3);
    close_log(&l);
    remove_file("t.stdout.0");
    remove_file("t.stdout.1");
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

/* ---- without a control group ---- */

static void fork_away(int n)
{
    for (int i = 0; i < n; i++)
        if (fork() == 0) { /* its own session, and no parent that knows it */
            (void)setsid();
            if (fork() == 0)
                for (;;)
                    (void)pause();
            _exit(0);
        }
    for (;;)
        (void)pause();
}

START_TEST(test_tree)
{
    enum { BRANCHES = 3, DAEMONS = 40 };
    int most = 0;
    pid_t pid;

    ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    for (int i = 0; i < BRANCHES; i++)
        if (fork() == 0)
            fork_away(DAEMONS);
    do {
        most = MAX(most, taskd_tree_kill(getpid()));
        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
            ;
    } while (pid == 0); /* until there is nothing below us */
    ck_assert_int_ge(most, BRANCHES);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("taskd_core");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_tree);
    tcase_add_test(t, test_plain_life);
    tcase_add_test(t, test_kill);
    tcase_add_test(t, test_give_up);
    tcase_add_test(t, test_rotation);
    tcase_add_test(t, test_traps);
    tcase_add_test(t, test_no_next_file);
    return check_run("taskd_core", t, NULL);
}
