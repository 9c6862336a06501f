/* SPDX-License-Identifier: MPL-2.0 */
#include "taskd_logs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char buf[TASKD_LOG_BUF]; /* of pipes, for both logs: there is one thread */

static void file_name(const struct taskd_log *l, uint64_t index, char out[static 352])
{
    (void)snprintf(out, 352, "%s.%" PRIu64, l->name, index);
}

/* The number at the end of "NAME.N", or false. */
static bool index_of(const struct taskd_log *l, const char *file, uint64_t *ret)
{
    size_t n = strlen(l->name);
    char *end;

    if (strncmp(file, l->name, n) != 0 || file[n] != '.' || file[n + 1] < '0' || file[n + 1] > '9')
        return false;
    *ret = strtoull(file + n + 1, &end, 10);
    return *end == 0 && *ret < UINT64_MAX / 2;
}

/* Calls fn for each file of the log. The C library's readdir would keep 32 KiB. */
static void each_file(struct taskd_log *l, void (*fn)(struct taskd_log *l, uint64_t index))
{
    char names[2048] __attribute__((aligned(8)));
    long n;

    (void)lseek(l->dir, 0, SEEK_SET);
    while ((n = syscall(SYS_getdents64, l->dir, names, sizeof(names))) > 0) {
        for (long at = 0; at < n;) {
            const struct dirent64 *d = (const void *)(names + at);
            uint64_t index;

            if (index_of(l, d->d_name, &index))
                fn(l, index);
            at += d->d_reclen;
        }
    }
}

static void newest(struct taskd_log *l, uint64_t index)
{
    l->index = MAX(l->index, index);
}

static void drop_old(struct taskd_log *l, uint64_t index)
{
    char name[352];

    if (index + l->max_files <= l->index) {
        file_name(l, index, name);
        (void)unlinkat(l->dir, name, 0);
    }
}

static void open_file(struct taskd_log *l)
{
    char name[352];
    struct stat st;

    if (l->out >= 0)
        close(l->out);
    file_name(l, l->index, name);
    l->out = openat(l->dir, name,
                    O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
    /* A second name of the file may be one that the task must not write to. */
    if (l->out >= 0 && (fstat(l->out, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1)) {
        close(l->out);
        l->out = -1;
    }
    l->size = l->out >= 0 ? (uint64_t)st.st_size : 0;
}

static void rotate(struct taskd_log *l)
{
    l->index++;
    open_file(l);
    each_file(l, drop_old);
}

int taskd_log_open(struct taskd_log *l, const char *dir, const char *name, struct errtext *e)
{
    l->in = l->out = -1;
    l->max_files = MAX(l->max_files, (uint64_t)1);
    l->max_bytes = MAX(l->max_bytes, (uint64_t)1);
    if ((size_t)snprintf(l->name, sizeof(l->name), "%s", name) >= sizeof(l->name))
        return err_set(e, -ENAMETOOLONG, "the task's name is too long for its logs");
    l->dir = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (l->dir < 0)
        return err_set(e, -errno, "cannot open %s: %s", dir, strerror(errno));
    each_file(l, newest);
    open_file(l);
    if (l->out < 0) { /* something else stands in its place */
        rotate(l);
        if (l->out < 0)
            return err_set(e, -errno, "cannot open a log in %s: %s", dir, strerror(errno));
    }
    each_file(l, drop_old);
    return 0;
}

int taskd_log_open_path(struct taskd_log *l, const char *path, struct errtext *e)
{
    l->in = l->dir = -1;
    l->out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0644);
    return l->out < 0 ? err_set(e, -errno, "cannot open %s: %s", path, strerror(errno)) : 0;
}

static void put(struct taskd_log *l, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t w = l->out < 0 ? -1 : write(l->out, data, n);

        if (w < 0 && errno == EINTR && l->out >= 0)
            continue;
        if (w <= 0) { /* a full disk must not stop the task */
            l->dropped += n;
            return;
        }
        l->size += (uint64_t)w;
        data += w;
        n -= (size_t)w;
    }
}

void taskd_log_write(struct taskd_log *l, const char *data, size_t n)
{
    if (l->out < 0 && l->dir >= 0)
        open_file(l); /* there was no room for a new file */
    while (l->dir >= 0 && n > 0 && l->size + n > l->max_bytes) {
        size_t room = l->size < l->max_bytes ? (size_t)(l->max_bytes - l->size) : 0;
        const char *nl = room ? memrchr(data, '\n', room) : NULL;
        size_t part = nl ? (size_t)(nl - data) + 1 : room;
        uint64_t before = l->dropped;

        put(l, data, part);
        if (l->dropped > before) { /* more files would not help */
            l->dropped += n - part;
            return;
        }
        rotate(l);
        data += part;
        n -= part;
    }
    put(l, data, n);
}

bool taskd_log_pump(struct taskd_log *l)
{
    ssize_t n;

    if (l->in < 0)
        return false;
    n = read(l->in, buf, sizeof(buf));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        close(l->in);
        l->in = -1;
        return false;
    }
    taskd_log_write(l, buf, (size_t)n);
    return true;
}
