/* SPDX-License-Identifier: MPL-2.0 */
/* Paths that requests name, what may be read, which log file to begin with, /proc's numbers. */
#include <errno.h>
#include <fcntl.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_run.h"
#include "clientd_fs_path.h"
#include "clientd_stats.h"

static char root[64];

static void put(const char *path, const char *text)
{
    char full[256];
    int fd;

    (void)snprintf(full, sizeof(full), "%s/%s", root, path);
    fd = open(full, O_CREAT | O_WRONLY | O_TRUNC, 0644);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

static void folder(const char *path)
{
    char full[256];

    (void)snprintf(full, sizeof(full), "%s/%s", root, path);
    ck_assert_int_eq(mkdir(full, 0755), 0);
}

static void link_to(const char *target, const char *path)
{
    char full[256];

    (void)snprintf(full, sizeof(full), "%s/%s", root, path);
    ck_assert_int_eq(symlink(target, full), 0);
}

static void setup(void)
{
    char outside[128];

    (void)snprintf(root, sizeof(root), "/tmp/steppe-fs-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    (void)snprintf(outside, sizeof(outside), "%s", root);
    (void)snprintf(root + strlen(root), sizeof(root) - strlen(root), "/id");
    ck_assert_int_eq(mkdir(root, 0755), 0);
    folder("alloc");
    folder("alloc/logs");
    folder("t");
    folder("t/local");
    folder("t/secrets");
    put("t/local/file", "hello");
    put("t/secrets/key", "secret");
    put("../outside", "outside");
}

static void teardown(void)
{
    char command[128];

    *strrchr(root, '/') = 0;
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
    ck_assert_int_eq(system(command), 0); /* tidy: a test's own folder */
}

START_TEST(test_clean)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"/", ""},
        {"//a///b/", "a/b"},
        {"./a/./b", "a/b"},
        {"a/../b", "b"},
        {"a/b/../..", ""},
        {"..", NULL},
        {"/../x", NULL},
        {"a/../../x", NULL},
        {"a/..b/c..", "a/..b/c.."},
    };
    char out[FS_PATH_MAX], longest[FS_PATH_MAX + 2];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ck_assert_int_eq(fs_path_clean(cases[i][0], out), cases[i][1] != NULL);
        if (cases[i][1])
            ck_assert_str_eq(out, cases[i][1]);
    }
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = 0;
    ck_assert(!fs_path_clean(longest, out));
}
END_TEST

static int try_open(const char *path, struct errtext *e)
{
    int fd = -1, r = fs_open_file(root, path, &fd, e);

    if (r == 0)
        (void)close(fd);
    return r;
}

START_TEST(test_nothing_escapes)
{
    char absolute[128];
    struct errtext e;

    ck_assert_int_eq(try_open("/t/local/file", &e), 0);
    ck_assert_int_eq(try_open("t/local/../local/file", &e), 0);
    ck_assert_int_eq(try_open("../outside", &e), -EXDEV);
    ck_assert_str_eq(e.text, FS_ESCAPES);
    link_to("../../../outside", "t/local/up");
    (void)snprintf(absolute, sizeof(absolute), "%s/../outside", root);
    link_to(absolute, "t/local/abs");
    link_to("/", "t/local/slash");
    ck_assert_int_eq(try_open("t/local/up", &e), -EXDEV);
    ck_assert_int_eq(try_open("t/local/abs", &e), -EXDEV);
    ck_assert_int_eq(try_open("t/local/slash/etc/passwd", &e), -EXDEV);
    ck_assert_str_eq(e.text, FS_ESCAPES);
    link_to("/proc/self/root", "t/local/magic");
    ck_assert_int_lt(try_open("t/local/magic/etc/passwd", &e), 0);
    link_to("file", "t/local/same"); /* within: followed */
    ck_assert_int_eq(try_open("t/local/same", &e), 0);
}
END_TEST

START_TEST(test_secrets_and_odd_files)
{
    char fifo[128], events[512];
    struct errtext e;
    int watch;

    ck_assert_int_eq(try_open("t/secrets/key", &e), -EACCES);
    ck_assert_str_eq(e.text, "Reading secret file prohibited: t/secrets/key");
    link_to("../secrets/key", "t/local/way");
    link_to("../secrets", "t/local/dir");
    ck_assert_int_eq(try_open("t/local/way", &e), -EACCES);
    ck_assert_int_eq(try_open("t/local/dir/key", &e), -EACCES);
    ck_assert_int_eq(try_open("t/local", &e), -EISDIR);
    ck_assert_str_eq(e.text, "file \"t/local\" is a directory");
    (void)snprintf(fifo, sizeof(fifo), "%s/t/local/fifo", root);
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    ck_assert_int_ge(inotify_add_watch(watch, fifo, IN_OPEN), 0);
    ck_assert_int_eq(try_open("t/local/fifo", &e), -EINVAL);
    ck_assert_int_eq(read(watch, events, sizeof(events)), -1); /* it was not even opened */
    ck_assert_int_eq(errno, EAGAIN);
    (void)close(watch);
    ck_assert_int_eq(try_open("t/nothing", &e), -ENOENT);
    ck_assert_ptr_nonnull(strstr(e.text, "/id/t/nothing: no such file or directory"));
    ck_assert_int_eq(strncmp(e.text, "stat ", 5), 0);
    ck_assert_int_lt(try_open("t/local/file/x", &e), 0);
}
END_TEST

START_TEST(test_list_and_stat)
{
    steppe_FileInfoList list = {0};
    steppe_FileInfo info = {0};
    struct errtext e;

    ck_assert_int_eq(fs_list(root, "/", &list, &e), 0);
    ck_assert_uint_eq(list.files_count, 2);
    ck_assert_str_eq(list.files[0].name, "alloc");
    ck_assert_str_eq(list.files[1].name, "t");
    ck_assert(list.files[1].is_dir);
    ck_assert_str_eq(list.files[1].file_mode, "drwxr-xr-x");
    pb_release(steppe_FileInfoList_fields, &list);
    memset(&list, 0, sizeof(list));
    ck_assert_int_eq(fs_list(root, "t/local/file", &list, &e), -ENOTDIR);
    ck_assert_int_eq(strncmp(e.text, "readdirent /", 12), 0);
    ck_assert_int_lt(fs_list(root, "../", &list, &e), 0);
    ck_assert_int_eq(fs_stat(root, "t/local/file", &info, &e), 0);
    ck_assert_str_eq(info.name, "file");
    ck_assert_int_eq(info.size, 5);
    ck_assert_str_eq(info.file_mode, "-rw-r--r--");
    ck_assert_str_eq(info.content_type, "text/plain; charset=utf-8");
    pb_release(steppe_FileInfo_fields, &info);
    memset(&info, 0, sizeof(info));
    ck_assert_int_eq(fs_stat(root, "/", &info, &e), 0);
    ck_assert_str_eq(info.name, "id");
    ck_assert_str_eq(info.content_type, "application/octet-stream");
    pb_release(steppe_FileInfo_fields, &info);
    ck_assert_int_eq(fs_stat(root, "no", &info, &e), -ENOENT);
    ck_assert_int_eq(strncmp(e.text, "stat /", 6), 0);
}
END_TEST

START_TEST(test_modes_and_types)
{
    static const struct {
        mode_t mode;
        const char *text;
    } modes[] = {{S_IFREG | 0640, "-rw-r-----"},  {S_IFDIR | S_ISVTX | 0777, "dtrwxrwxrwx"},
                 {S_IFLNK | 0777, "Lrwxrwxrwx"},  {S_IFREG | S_ISUID | 0755, "urwxr-xr-x"},
                 {S_IFCHR | 0600, "Dcrw-------"}, {S_IFIFO | 0600, "prw-------"},
                 {S_IFSOCK | 0755, "Srwxr-xr-x"}};
    char out[32];

    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        fs_mode_text(modes[i].mode, out);
        ck_assert_str_eq(out, modes[i].text);
    }
    ck_assert_str_eq(fs_content_type("a.json", "", 0), "application/json");
    ck_assert_str_eq(fs_content_type("a", "", 0), "application/octet-stream");
    ck_assert_str_eq(fs_content_type("a", "x", 1), "text/plain; charset=utf-8");
    ck_assert_str_eq(fs_content_type("a",
                                     "\x7f"
                                     "ELF\0\1",
                                     6),
                     "application/octet-stream");
    ck_assert_str_eq(fs_content_type("a", "\x1f\x8b\x08", 3), "application/x-gzip");
}
END_TEST

START_TEST(test_log_numbers)
{
    uint64_t n = 0;

    ck_assert(fs_log_number("t.stdout.12", "t", "stdout", &n));
    ck_assert_uint_eq(n, 12);
    ck_assert(!fs_log_number("t.stdout.", "t", "stdout", &n));
    ck_assert(!fs_log_number("t.stdout.1x", "t", "stdout", &n));
    ck_assert(!fs_log_number("t.stderr.1", "t", "stdout", &n));
    ck_assert(!fs_log_number("t.x.stdout.1", "t", "stdout", &n));
    ck_assert(fs_log_number("t.x.stdout.1", "t.x", "stdout", &n));
    ck_assert(!fs_log_number(".t.stdout.fifo", "t", "stdout", &n));
    ck_assert(!fs_log_number("t.stdout.9999999999999999999999", "t", "stdout", &n));
    ck_assert(!fs_log_number("t", "t", "stdout", &n));
}
END_TEST

START_TEST(test_log_begin)
{
    const struct fs_log logs[] = {{3, 10}, {4, 10}, {5, 4}};
    static const struct {
        bool end;
        int64_t offset;
        size_t i;
        int64_t at;
    } cases[] = {
        {false, 0, 0, 0},  {false, 10, 0, 10}, {false, 11, 1, 1}, {false, 24, 2, 4},
        {false, 99, 2, 4}, {true, 0, 2, 0},    {true, 4, 2, 0},   {true, 5, 1, 9},
        {true, 24, 0, 0},  {true, 99, 0, 0},   {true, -3, 2, 3},  {true, -9, 2, 4},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t at = -1;

        ck_assert_uint_eq(fs_log_begin(logs, 3, cases[i].end, cases[i].offset, &at), cases[i].i);
        ck_assert_int_eq(at, cases[i].at);
    }
}
END_TEST

START_TEST(test_logs_of_a_task)
{
    struct fs_log *logs = NULL;
    struct errtext e;
    size_t n = 0;

    put("alloc/logs/t.stdout.10", "abc");
    put("alloc/logs/t.stdout.9", "ab");
    put("alloc/logs/t.stderr.0", "x");
    put("alloc/logs/tt.stdout.0", "x");
    ck_assert_int_eq(fs_logs(root, "t", "stdout", &logs, &n, &e), 0);
    ck_assert_uint_eq(n, 2);
    ck_assert_uint_eq(logs[0].number, 9);
    ck_assert_int_eq(logs[0].size, 2);
    ck_assert_uint_eq(logs[1].number, 10);
    free(logs);
}
END_TEST

START_TEST(test_host)
{
    static const char stat[] = "cpu  100 0 100 810 0 0 0 0 0 0\ncpu0 100 0 100 800 0 0 0 0 0 0\n"
                               "cpu1 0 0 0 10 0 0 0 0\n"
                               "intr 5\n";
    struct host_cpus a, b;
    steppe_HostCpuStats c = {0};
    steppe_HostMemoryStats m = {0};

    host_cpus_parse(stat, &a);
    ck_assert_uint_eq(a.n, 2);
    b = a;
    b.cpus[0].user += 30;
    b.cpus[0].idle += 70;
    b.cpus[0].total += 100;
    host_cpu_percent(&a.cpus[0], &b.cpus[0], &c);
    ck_assert_double_eq(c.user, 30);
    ck_assert_double_eq(c.idle, 70);
    ck_assert_double_eq(c.total, 30);
    host_cpu_percent(&b.cpus[0], &a.cpus[0], &c); /* a counter that went back */
    ck_assert_double_eq(c.total, 0);
    host_cpus_parse("", &a);
    ck_assert_uint_eq(a.n, 0);
    host_memory_parse("MemTotal: 100 kB\nMemFree: 20 kB\nMemAvailable: 60 kB\nBuffers: 10 kB\n"
                      "Cached: 30 kB\n",
                      &m);
    ck_assert_uint_eq(m.total, 102400);
    ck_assert_uint_eq(m.used, 40 * 1024);
    ck_assert_uint_eq(m.available, 60 * 1024);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("fs"), *pure = tcase_create("pure");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_nothing_escapes);
    tcase_add_test(t, test_secrets_and_odd_files);
    tcase_add_test(t, test_list_and_stat);
    tcase_add_test(t, test_logs_of_a_task);
    tcase_add_test(pure, test_clean);
    tcase_add_test(pure, test_modes_and_types);
    tcase_add_test(pure, test_log_numbers);
    tcase_add_test(pure, test_log_begin);
    tcase_add_test(pure, test_host);
    return check_run("clientd_fs", t, pure, NULL);
}
