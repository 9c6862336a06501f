/* SPDX-License-Identifier: MPL-2.0 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_STEP 16384

int file_write_all(int fd, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int file_sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    /* "/x" lies in "/", "x" in "." */
    _cleanup_(freep) char *dir =
        slash ? xstrndup(path, MAX((size_t)(slash - path), (size_t)1)) : xstrdup(".");
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

    if (fd < 0)
        return -errno;
    r = fsync(fd) < 0 ? -errno : 0;
    (void)close(fd);
    return r;
}

/* A fresh file at `tmp`; nothing is left of it when that fails. */
static int write_new(const char *tmp, const void *data, size_t len, mode_t mode, bool sync)
{
    int fd, r;

    (void)unlink(tmp); /* of a life before: its mode and its links are not ours */
    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode & 0600);
    if (fd < 0)
        return -errno;
    r = file_write_all(fd, data, len);
    if (r == 0 && fchmod(fd, mode) < 0)
        r = -errno;
    if (r == 0 && sync && fsync(fd) < 0)
        r = -errno;
    if (close(fd) < 0 && r == 0) /* some file systems tell only now that there is no room */
        r = -errno;
    if (r < 0)
        (void)unlink(tmp);
    return r;
}

int file_replace(const char *path, const void *data, size_t len, mode_t mode, bool sync)
{
    _cleanup_(freep) char *tmp = xasprintf("%s.tmp", path);
    int r = write_new(tmp, data, len, mode, sync);

    if (r < 0)
        return r;
    if (rename(tmp, path) < 0) {
        r = -errno;
        (void)unlink(tmp);
        return r;
    }
    return sync ? file_sync_folder(path) : 0;
}

/* link(2) is the atom: of several makers one wins. */
int file_create(const char *path, const void *data, size_t len, mode_t mode)
{
    _cleanup_(freep) char *tmp = xasprintf("%s.%ld.tmp", path, (long)getpid());
    int r = write_new(tmp, data, len, mode, true);

    if (r < 0)
        return r;
    if (link(tmp, path) < 0)
        r = -errno;
    (void)unlink(tmp);
    return r == 0 ? file_sync_folder(path) : r;
}

int file_read(const char *path, struct strbuf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
    ssize_t n = 1;

    if (fd < 0)
        return -errno;
    while (r == 0 && n != 0) {
        size_t room = out->len_max ? MIN(out->len_max - out->len, (size_t)READ_STEP) : READ_STEP;
        char one, *p = room ? strbuf_reserve(out, room) : &one;

        n = read(fd, p, room ? room : 1); /* at the bound: is there more? */
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            r = -errno;
        else if (room)
            out->len += (size_t)n;
        else if (n > 0)
            r = -EFBIG;
    }
    (void)close(fd);
    strbuf_add(out, "", 0); /* NUL terminated, empty files too */
    return r;
}

int file_make_folders(const char *path, mode_t parents, mode_t mode)
{
    _cleanup_(freep) char *part = xstrdup(path);

    for (char *p = *part ? strchr(part + 1, '/') : NULL; p; p = strchr(p + 1, '/')) {
        *p = 0;
        if (mkdir(part, parents) < 0 && errno != EEXIST)
            return -errno;
        *p = '/';
    }
    return mkdir(path, mode) < 0 && errno != EEXIST ? -errno : 0;
}
