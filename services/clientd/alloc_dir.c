/* SPDX-License-Identifier: MPL-2.0 */
#include "alloc_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DEPTH_MAX 2000 /* folders in folders that are removed */

/* What is there already may only be a folder: a task might have put a link in its place. */
static int make(int at, const char *name, mode_t mode, const struct alloc_dir_task *owner)
{
    struct stat st;

    if (mkdirat(at, name, mode) < 0) {
        if (errno != EEXIST)
            return -errno;
        if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return -errno;
        return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
    }
    if (fchmodat(at, name, mode, 0) < 0) /* past the umask */
        return -errno;
    if (owner && owner->set_user &&
        fchownat(at, name, owner->uid, owner->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return 0;
}

static int open_dir(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

/* Makes NAME below `at`, and the given folders in it. */
static int make_with(int at, const char *name, mode_t mode, const char *const *inside, mode_t inner)
{
    int r = make(at, name, mode, NULL), fd;

    fd = r < 0 ? r : open_dir(at, name);
    if (fd < 0)
        return fd;
    for (; *inside && r == 0; inside++)
        r = make(fd, *inside, inner, NULL);
    close(fd);
    return r;
}

int alloc_dir_make(const char *dir, struct errtext *e)
{
    static const char *const inside[] = {"data", "logs", "tmp", NULL};
    int r = make(AT_FDCWD, dir, 0755, NULL), fd;

    fd = r < 0 ? r : open_dir(AT_FDCWD, dir);
    if (fd < 0)
        return err_set(e, fd, "failed to make the allocation's directory %s: %s", dir,
                       strerror(-fd));
    r = make_with(fd, "alloc", 0777, inside, 0777);
    close(fd);
    return r < 0 ? err_set(e, r, "failed to make %s/alloc: %s", dir, strerror(-r)) : 0;
}

int alloc_dir_make_task(const char *dir, const struct alloc_dir_task *t, struct errtext *e)
{
    static const char *const inside[] = {"local", "tmp", NULL};
    int fd = open_dir(AT_FDCWD, dir), task, r;

    if (fd < 0)
        return err_set(e, fd, "failed to open %s: %s", dir, strerror(-fd));
    r = make_with(fd, t->name, t->root ? 0755 : 0777, inside, 0777);
    task = r < 0 ? r : open_dir(fd, t->name);
    r = task;
    if (task >= 0) {
        r = make(task, "secrets", 0700, t);
        close(task);
    }
    close(fd);
    return r < 0 ? err_set(e, r, "failed to make task directory %s/%s: %s", dir, t->name,
                           strerror(-r))
                 : 0;
}

int alloc_dir_move(const char *from, const char *to, const char *const *tasks, size_t n,
                   struct errtext *e)
{
    for (size_t i = 0; i <= n; i++) {
        _cleanup_(freep) char *part =
            i == n ? xstrdup("alloc/data") : xasprintf("%s/local", tasks[i]);
        _cleanup_(freep) char *source = xasprintf("%s/%s", from, part);
        _cleanup_(freep) char *target = xasprintf("%s/%s", to, part);
        struct stat st;

        if (lstat(source, &st) < 0 || !S_ISDIR(st.st_mode))
            continue;
        (void)rmdir(target);
        if (rename(source, target) < 0)
            return err_set(e, -errno, "failed to move %s to %s: %s", source, target,
                           strerror(errno));
    }
    return 0;
}

/* Takes fd over. */
static int empty(int fd, unsigned depth)
{
    DIR *d = depth < DEPTH_MAX ? fdopendir(fd) : NULL;
    struct dirent *ent;
    int r = 0, sub;

    if (!d) {
        close(fd);
        return -ELOOP;
    }
    while ((ent = readdir(d))) {
        if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(d), ent->d_name, 0) == 0)
            continue;
        sub = openat(dirfd(d), ent->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub >= 0)
            (void)empty(sub, depth + 1);
        if (unlinkat(dirfd(d), ent->d_name, AT_REMOVEDIR) < 0)
            r = -errno;
    }
    closedir(d);
    return r;
}

int alloc_dir_remove(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r;

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    r = empty(fd, 0);
    if (rmdir(dir) < 0)
        return r < 0 ? r : -errno;
    return 0;
}

int alloc_dir_usage(const char *dir, double *ret_bytes, double *ret_inodes)
{
    struct statvfs st;

    if (statvfs(dir, &st) < 0)
        return -errno;
    *ret_bytes =
        st.f_blocks ? 100.0 * (double)(st.f_blocks - st.f_bavail) / (double)st.f_blocks : 0;
    *ret_inodes = st.f_files ? 100.0 * (double)(st.f_files - st.f_favail) / (double)st.f_files : 0;
    return 0;
}
