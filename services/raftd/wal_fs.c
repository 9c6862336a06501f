/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The file operations over a real directory.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wal_fs.h"

struct wal_dir {
    int fd;
};

struct wal_file {
    int fd;
};

static int posix_open(void *user, const char *name, bool create, struct wal_file **ret)
{
    struct wal_dir *d = user;
    int fd = openat(d->fd, name, O_RDWR | O_CLOEXEC | (create ? O_CREAT | O_TRUNC : 0), 0600);

    if (fd < 0)
        return -errno;
    *ret = xmalloc(sizeof(**ret));
    (*ret)->fd = fd;
    return 0;
}

static void posix_close(void *user, struct wal_file *f)
{
    close(f->fd);
    free(f);
}

static ssize_t posix_pread(void *user, struct wal_file *f, void *buf, size_t n, uint64_t off)
{
    size_t done = 0;

    while (done < n) {
        ssize_t k = pread(f->fd, (char *)buf + done, n - done, (off_t)(off + done));

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -errno;
        if (k == 0)
            break;
        done += (size_t)k;
    }
    return (ssize_t)done;
}

static int posix_pwrite(void *user, struct wal_file *f, const void *buf, size_t n, uint64_t off)
{
    size_t done = 0;

    while (done < n) {
        ssize_t k = pwrite(f->fd, (const char *)buf + done, n - done, (off_t)(off + done));

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -errno;
        if (k == 0)
            return -EIO;
        done += (size_t)k;
    }
    return 0;
}

static int posix_size(void *user, struct wal_file *f, uint64_t *ret)
{
    struct stat st;

    if (fstat(f->fd, &st) < 0)
        return -errno;
    *ret = (uint64_t)st.st_size;
    return 0;
}

static int posix_truncate(void *user, struct wal_file *f, uint64_t size)
{
    return ftruncate(f->fd, (off_t)size) < 0 ? -errno : 0;
}

static int posix_sync(void *user, struct wal_file *f)
{
    return fdatasync(f->fd) < 0 ? -errno : 0;
}

static int posix_sync_dir(void *user)
{
    struct wal_dir *d = user;

    return fsync(d->fd) < 0 ? -errno : 0;
}

static int posix_unlink(void *user, const char *name)
{
    struct wal_dir *d = user;

    return unlinkat(d->fd, name, 0) < 0 ? -errno : 0;
}

static int posix_rename(void *user, const char *from, const char *to)
{
    struct wal_dir *d = user;

    return renameat(d->fd, from, d->fd, to) < 0 ? -errno : 0;
}

static int posix_list(void *user, int (*fn)(void *arg, const char *name), void *arg)
{
    struct wal_dir *d = user;
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct dirent *e;
    int err = 0;
    DIR *dir;

    if (fd < 0)
        return -errno;
    dir = fdopendir(fd);
    if (!dir) {
        err = -errno;
        close(fd);
        return err;
    }
    errno = 0;
    while (err == 0 && (e = readdir(dir))) {
        struct stat st;

        if (fstatat(d->fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            err = fn(arg, e->d_name);
        errno = 0;
    }
    if (err == 0 && errno)
        err = -errno;
    closedir(dir);
    return err;
}

static const struct wal_fs_ops posix_ops = {
    .open = posix_open,
    .close = posix_close,
    .pread = posix_pread,
    .pwrite = posix_pwrite,
    .size = posix_size,
    .truncate = posix_truncate,
    .sync = posix_sync,
    .sync_dir = posix_sync_dir,
    .unlink = posix_unlink,
    .rename = posix_rename,
    .list = posix_list,
};

int wal_fs_posix_open(const char *path, struct wal_fs *ret)
{
    struct wal_dir *d;
    int fd;

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return -errno;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    d = xmalloc(sizeof(*d));
    d->fd = fd;
    *ret = (struct wal_fs){&posix_ops, d};
    return 0;
}

void wal_fs_posix_close(struct wal_fs *fs)
{
    struct wal_dir *d = fs->user;

    if (!d)
        return;
    close(d->fd);
    free(d);
    *fs = (struct wal_fs){0};
}
