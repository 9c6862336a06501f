/* SPDX-License-Identifier: MPL-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "check_run.h"

static char dir[] = "/tmp/test_file_XXXXXX";
static char path[128];

static void set_up(void)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/test_file_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/f", dir);
}

static unsigned entries(void)
{
    DIR *d = opendir(dir);
    unsigned n = 0;

    ck_assert_ptr_nonnull(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void tear_down(void)
{
    (void)unlink(path);
    ck_assert_int_eq(rmdir(dir), 0); /* nothing else was left behind */
}

static void expect(const char *text)
{
    _cleanup_(strbuf_fini) struct strbuf b = STRBUF_INIT;

    ck_assert_int_eq(file_read(path, &b), 0);
    ck_assert_str_eq(b.data, text);
}

START_TEST(test_replace)
{
    char tmp[160];
    struct stat st;

    (void)umask(077);
    ck_assert_int_eq(file_replace(path, "one", 3, 0640, true), 0);
    expect("one");
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0640);
    /* What a life before left in the way is neither written through nor kept. */
    (void)snprintf(tmp, sizeof(tmp), "%s.tmp", path);
    ck_assert_int_eq(symlink("/dev/full", tmp), 0);
    ck_assert_int_eq(file_replace(path, "two and more", 12, 0600, true), 0);
    expect("two and more");
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert_int_eq(file_replace(path, "", 0, 0600, false), 0);
    expect("");
}
END_TEST

START_TEST(test_create)
{
    ck_assert_int_eq(file_create(path, "one", 3, 0600), 0);
    ck_assert_int_eq(file_create(path, "two", 3, 0600), -EEXIST);
    expect("one");
    ck_assert_uint_eq(entries(), 1);
}
END_TEST

START_TEST(test_bad_paths)
{
    char bad[160];

    (void)snprintf(bad, sizeof(bad), "%s/no/f", dir);
    ck_assert_int_eq(file_replace(bad, "x", 1, 0600, true), -ENOENT);
    ck_assert_int_eq(file_create(bad, "x", 1, 0600), -ENOENT);
    ck_assert_int_eq(file_sync_folder(bad), -ENOENT);
    ck_assert_int_eq(file_replace(path, "x", 1, 0600, false), 0);
    (void)snprintf(bad, sizeof(bad), "%s/f/g", dir);
    ck_assert_int_eq(file_replace(bad, "x", 1, 0600, true), -ENOTDIR);
    ck_assert_int_eq(file_make_folders(bad, 0700, 0700), -ENOTDIR);
    /* A folder in its place is not replaced, and nothing stays beside it. */
    (void)snprintf(bad, sizeof(bad), "%s/d", dir);
    ck_assert_int_eq(mkdir(bad, 0700), 0);
    ck_assert_int_eq(file_replace(bad, "x", 1, 0600, true), -EISDIR);
    ck_assert_uint_eq(entries(), 2);
    ck_assert_int_eq(rmdir(bad), 0);
}
END_TEST

/* By a limit of the process, where a file system cannot be mounted. */
START_TEST(test_no_room)
{
    struct rlimit old, limit;
    static char much[4096];

    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(file_replace(path, "old", 3, 0600, true), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = (struct rlimit){1000, old.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(file_replace(path, much, sizeof(much), 0600, true), -EFBIG);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    expect("old");
    ck_assert_uint_eq(entries(), 1);
}
END_TEST

START_TEST(test_full_disk)
{
    static char much[1 << 20];
    struct stat st;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

    ck_assert_int_eq(file_write_all(full, "x", 1), -ENOSPC);
    close(full);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", dir, "tmpfs", 0, "size=64k,nr_inodes=8") < 0)
        return; /* not allowed to us */
    ck_assert_int_eq(file_replace(path, "old", 3, 0600, true), 0);
    ck_assert_int_eq(file_replace(path, much, sizeof(much), 0600, true), -ENOSPC);
    expect("old");
    ck_assert_uint_eq(entries(), 1);
    (void)unlink(path);
    ck_assert_int_eq(file_create(path, much, sizeof(much), 0600), -ENOSPC);
    ck_assert_uint_eq(entries(), 0);
    ck_assert_int_eq(file_replace(path, much, 32 << 10, 0600, true), 0); /* the room is back */
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, 32 << 10);
    ck_assert_int_eq(umount2(dir, MNT_DETACH), 0);
}
END_TEST

START_TEST(test_read)
{
    _cleanup_(strbuf_fini) struct strbuf three = STRBUF_BOUND(3), four = STRBUF_BOUND(4);

    ck_assert_int_eq(file_read(path, &four), -ENOENT);
    ck_assert_int_eq(file_read(dir, &four), -EISDIR);
    ck_assert_int_eq(file_replace(path, "four", 4, 0600, false), 0);
    ck_assert_int_eq(file_read(path, &four), 0);
    ck_assert_str_eq(four.data, "four");
    ck_assert_int_eq(file_read(path, &three), -EFBIG);
    ck_assert_str_eq(three.data, "fou");
}
END_TEST

START_TEST(test_folders)
{
    char deep[160];
    struct stat st;

    (void)snprintf(deep, sizeof(deep), "%s/a/b", dir);
    ck_assert_int_eq(file_make_folders(deep, 0755, 0700), 0);
    ck_assert_int_eq(file_make_folders(deep, 0755, 0700), 0);
    ck_assert_int_eq(stat(deep, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0700);
    ck_assert_int_eq(rmdir(deep), 0);
    (void)snprintf(deep, sizeof(deep), "%s/a", dir);
    ck_assert_int_eq(rmdir(deep), 0);
    ck_assert_int_eq(file_make_folders("", 0755, 0700), -ENOENT);
    ck_assert_int_eq(file_make_folders("/", 0755, 0700), 0);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("file");

    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, test_replace);
    tcase_add_test(t, test_create);
    tcase_add_test(t, test_bad_paths);
    tcase_add_test(t, test_no_room);
    tcase_add_test(t, test_full_disk);
    tcase_add_test(t, test_read);
    tcase_add_test(t, test_folders);
    return check_run("file", t, NULL);
}
