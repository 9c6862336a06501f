/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_run.h"
#include "task/cgroup.h"
#include "task/task_spec.h"

START_TEST(test_spec_round_trip)
{
    struct task_spec a = {0}, b = {0};
    struct strbuf text = STRBUF_INIT, again = STRBUF_INIT;
    struct errtext e;

    a.id = xstrdup("0000/web");
    a.command = xstrdup("/bin/sh");
    task_list_add(&a.args, "-c");
    task_list_add(&a.args, "echo 100%25\nsecond line % %0A");
    task_list_add(&a.args, "");
    task_list_add(&a.env, "A=b c");
    a.memory_max = UINT64_MAX;
    a.isolate = true;
    ck_assert_int_eq(task_spec_encode(&a, &text), 0);
    ck_assert_int_eq(task_spec_decode(text.data, text.len, &b, &e), 0);
    ck_assert_str_eq(b.args.items[1], a.args.items[1]);
    ck_assert_str_eq(b.args.items[2], "");
    ck_assert_str_eq(b.cgroup, "");
    ck_assert_uint_eq(b.memory_max, UINT64_MAX);
    ck_assert(b.isolate && !b.limits);
    ck_assert_int_eq(task_spec_encode(&b, &again), 0);
    task_spec_fini(&a);
    task_spec_fini(&b);
    strbuf_fini(&text);
    strbuf_fini(&again);
}
END_TEST

START_TEST(test_spec_bad)
{
    static const char *const bad[] = {"command", "command /bin/sh", "uid x\n", "uid \n",
                                      "uid 1\ncgroup\n"};
    struct task_spec s = {0};
    struct errtext e;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_int_eq(task_spec_decode(bad[i], strlen(bad[i]), &s, &e), -EBADMSG);
    ck_assert_int_eq(task_spec_decode("a\0b c\n", 6, &s, &e), -EBADMSG);
    ck_assert_int_eq(task_spec_decode("new_key of a newer clientd\n", 27, &s, &e), 0);
    task_spec_fini(&s);
}
END_TEST

START_TEST(test_status)
{
    struct task_status a = {.phase = TASK_EXITED,
                            .taskd = 1,
                            .pid = 77,
                            .started_ns = INT64_C(1700000000000000000),
                            .code = 3,
                            .signal = 9,
                            .oom = true,
                            .dropped = 5,
                            .error = "code=9 pid=1\nx"};
    struct task_status b;
    char line[TASK_MESSAGE_MAX];

    task_status_encode(&a, line);
    ck_assert_ptr_null(strchr(line, '\n'));
    ck_assert_int_eq(task_status_decode(line, &b), 0);
    ck_assert_int_eq(b.phase, TASK_EXITED);
    ck_assert_int_eq(b.pid, 77);
    ck_assert_int_eq(b.code, 3);
    ck_assert_int_eq(b.signal, 9);
    ck_assert_int_eq(b.started_ns, a.started_ns);
    ck_assert(b.oom && !b.retry);
    ck_assert_str_eq(b.error, "code=9 pid=1 x");
    memset(a.error, 'x', sizeof(a.error) - 1);
    task_status_encode(&a, line);
    ck_assert_int_eq(task_status_decode(line, &b), 0);
    ck_assert_uint_eq(strlen(b.error), sizeof(a.error) - 1);
    ck_assert_int_eq(task_status_decode("state=odd pid=1", &b), -EBADMSG);
    ck_assert_int_eq(task_status_decode("", &b), -EBADMSG);
    ck_assert_int_eq(task_status_decode("state=running", &b), 0);
}
END_TEST

START_TEST(test_cgroup_mounts)
{
    struct cgroup_host h;

    cgroup_parse("25 1 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n"
                 "26 25 0:23 / /sys/fs/cgroup/unified rw shared:1 - cgroup2 cgroup2 rw\n"
                 "27 25 0:24 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
                 "28 25 0:25 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n"
                 "28 25 0:25 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n",
                 &h);
    ck_assert_int_eq(h.version, CGROUP_V1);
    ck_assert_str_eq(h.mount[CGROUP_FREEZER], "/sys/fs/cgroup/freezer");
    ck_assert_str_eq(h.mount[CGROUP_CPU], "/sys/fs/cgroup/cpu,cpuacct");
    ck_assert_str_eq(h.mount[CGROUP_CPUACCT], "/sys/fs/cgroup/cpu,cpuacct");
    ck_assert_str_eq(h.mount[CGROUP_PIDS], "");
    cgroup_parse("26 25 0:23 / /sys/fs/cgroup rw shared:1 - cgroup2 cgroup2 rw,nsdelegate\n", &h);
    ck_assert_int_eq(h.version, CGROUP_V2);
    ck_assert_str_eq(h.mount[CGROUP_MEMORY], "/sys/fs/cgroup");
    cgroup_parse("broken line\n1 2 3\n - \n", &h);
    ck_assert_int_eq(h.version, CGROUP_NONE);
    ck_assert_uint_eq(cgroup_field("a 1\noom_kill 7\n", "oom_kill"), 7);
    ck_assert_uint_eq(cgroup_field("oom_killer 7", "oom_kill"), 0);
}
END_TEST

/* A folder in the place of the kernel's: what is written, and to which files? */
static void fake_file(const struct cgroup_host *h, const char *file, bool there)
{
    char path[256];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/n/t/%s", h->mount[CGROUP_FREEZER], file);
    if (!there) {
        ck_assert_int_eq(unlink(path), 0);
        return;
    }
    f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    (void)fclose(f);
}

static void fake_group(struct cgroup_host *h, char dir[static 32])
{
    char path[256];

    (void)snprintf(dir, 32, "/tmp/steppe-cgroup-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    *h = (struct cgroup_host){.version = CGROUP_V2};
    for (int k = 0; k < CGROUP_KINDS; k++)
        (void)snprintf(h->mount[k], sizeof(h->mount[k]), "%s", dir);
    (void)snprintf(path, sizeof(path), "%s/n", dir);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/n/t", dir);
    ck_assert_int_eq(mkdir(path, 0700), 0);
}

START_TEST(test_cgroup_v2_limits)
{
    static const char *const files[] = {"memory.max", "memory.swap.max", "memory.low",
                                        "cpu.weight", "pids.max",        "memory.events"};
    static const char *const want[] = {"67108864", "0", "16777216", "39", "7", ""};
    struct cgroup_limits l = {64u << 20, 16u << 20, 1000, 7};
    struct cgroup_host h;
    struct errtext e = {{0}};
    char dir[32], text[64];

    fake_group(&h, dir);
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        fake_file(&h, files[i], true);
    ck_assert_int_eq(cgroup_create(&h, "/n/t", &l, &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        ck_assert_int_eq(cgroup_read(&h, CGROUP_MEMORY, "/n/t", files[i], text, sizeof(text)), 0);
        ck_assert_str_eq(text, want[i]);
    }
    ck_assert(!cgroup_oom(&h, "/n/t"));
    fake_file(&h, "pids.max", false);
    ck_assert_int_eq(cgroup_create(&h, "/n/t", &l, &e), -ENOENT);
    ck_assert_ptr_nonnull(strstr(e.text, "/n/t: no pids.max"));
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if (strcmp(files[i], "pids.max") != 0)
            fake_file(&h, files[i], false);
    ck_assert_int_eq(cgroup_remove(&h, "/n/t"), 0);
    ck_assert_int_eq(cgroup_remove(&h, "/n"), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(test_cgroup_remove_tree)
{
    static const char *const below[] = {"a", "a/b", "a/c", "d"};
    struct cgroup_host h;
    char dir[32], path[256];

    fake_group(&h, dir);
    for (size_t i = 0; i < ARRAY_LEN(below); i++) {
        (void)snprintf(path, sizeof(path), "%s/n/t/%s", dir, below[i]);
        ck_assert_int_eq(mkdir(path, 0700), 0);
    }
    ck_assert_int_lt(cgroup_remove(&h, "/n/t"), 0);
    ck_assert_int_eq(access(path, F_OK), 0);
    ck_assert_int_eq(cgroup_remove_tree(&h, "/n/t"), 0);
    ck_assert_int_eq(cgroup_remove_tree(&h, "/n/t"), 0);
    ck_assert_int_eq(cgroup_remove(&h, "/n"), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("task_spec");

    tcase_add_test(t, test_spec_round_trip);
    tcase_add_test(t, test_spec_bad);
    tcase_add_test(t, test_status);
    tcase_add_test(t, test_cgroup_mounts);
    tcase_add_test(t, test_cgroup_v2_limits);
    tcase_add_test(t, test_cgroup_remove_tree);
    return check_run("task_spec", t, NULL);
}
