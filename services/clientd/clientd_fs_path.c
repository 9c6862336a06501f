/* SPDX-License-Identifier: MPL-2.0 */
#include "clientd_fs_path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

#define HEAD_BYTES 512 /* looked at for the content type */
#define LOG_DIR    "alloc/logs"

bool fs_path_clean(const char *path, char out[static FS_PATH_MAX])
{
    size_t len = 0;

    out[0] = 0;
    while (*path) {
        size_t n;

        path += strspn(path, "/");
        n = strcspn(path, "/");
        if (n == 0)
            break;
        if (n == 2 && memcmp(path, "..", 2) == 0) {
            if (len == 0)
                return false;
            while (len > 0 && out[len - 1] != '/')
                len--;
            len -= len > 0;
        } else if (!(n == 1 && *path == '.')) {
            if (len + 1 + n >= FS_PATH_MAX)
                return false;
            if (len > 0)
                out[len++] = '/';
            memcpy(out + len, path, n);
            len += n;
        }
        out[len] = 0;
        path += n;
    }
    return true;
}

/* For kernels and sandboxes without openat2(2): step by step, and no link is followed at all. */
static int open_steps(int root, const char *path, int flags)
{
    int fd = fcntl(root, F_DUPFD_CLOEXEC, 0);

    while (fd >= 0 && *path) {
        char name[FS_PATH_MAX];
        size_t n = strcspn(path, "/");
        bool last = !path[n];
        int next;

        (void)snprintf(name, sizeof(name), "%.*s", (int)n, path);
        next = openat(fd, name,
                      last ? flags | O_NOFOLLOW : O_PATH | O_NOFOLLOW | O_CLOEXEC | O_DIRECTORY);
        if (next < 0 && (errno == ELOOP || errno == ENOTDIR))
            errno = errno == ELOOP ? EXDEV : ENOTDIR;
        (void)close(fd);
        fd = next;
        path += n + !last;
    }
    return fd;
}

static int open_beneath(int root, const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)flags,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    int fd;

    if (!*path)
        return openat(root, ".", flags);
    fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        fd = open_steps(root, path, flags);
    return fd;
}

int fs_open(const char *root, const char *path, const char *what, int flags, int *ret_fd,
            struct errtext *e)
{
    char clean[FS_PATH_MAX];
    int dir, fd, err;

    if (!fs_path_clean(path, clean))
        return err_set(e, -EXDEV, "%s", FS_ESCAPES);
    dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_set(e, -errno, "%s %s: %s", what, root, strerror(errno));
    if (!(flags & O_PATH)) /* openat2(2) takes only flags that mean something */
        flags |= O_NONBLOCK | O_NOCTTY;
    fd = open_beneath(dir, clean, flags | O_CLOEXEC);
    err = -errno;
    (void)close(dir);
    if (fd < 0 && err == -EXDEV)
        return err_set(e, -EXDEV, "%s", FS_ESCAPES);
    if (fd < 0) {
        char text[64];
        const char *why = strerror_r(-err, text, sizeof(text));

        /* Go writes these in lower case. */
        if (err == -ENOENT)
            why = "no such file or directory";
        else if (err == -ENOTDIR)
            why = "not a directory";
        else if (err == -EACCES)
            why = "permission denied";
        return err_set(e, err, "%s %s%s%s: %s", what, root, *clean ? "/" : "", clean, why);
    }
    *ret_fd = fd;
    return 0;
}

/* Does the open file lie in a task's secrets directory, whatever way led there? */
static bool is_secret(const char *root, int fd)
{
    char link[64], real[FS_PATH_MAX], base[FS_PATH_MAX];
    const char *p;
    ssize_t n;
    int dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

    /* Both by the kernel's word: the root itself may be reached over links. */
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
    n = dir < 0 ? -1 : readlink(link, base, sizeof(base) - 1);
    if (dir >= 0)
        (void)close(dir);
    if (n < 0)
        return true; /* not known: not shown */
    base[n] = 0;
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, real, sizeof(real) - 1);
    if (n < 0)
        return true;
    real[n] = 0;
    n = (ssize_t)strlen(base);
    if (strncmp(real, base, (size_t)n) != 0 || real[n] != '/')
        return false;
    p = strchr(real + n + 1, '/'); /* behind the task's name */
    return p && strncmp(p, "/secrets", 8) == 0 && (p[8] == '/' || !p[8]);
}

/* Opens for reading what an O_PATH descriptor stands for. */
static int reopen(int fd)
{
    char link[64];

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    return open(link, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* Looked at before it is opened, by one descriptor: to open a device or a pipe is to do something.
 */
int fs_open_file(const char *root, const char *path, int *ret_fd, struct errtext *e)
{
    struct stat st;
    int fd = -1, r = fs_open(root, path, "stat", O_PATH, &fd, e);

    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        r = err_set(e, -errno, "stat %s: %s", path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        r = err_set(e, -EISDIR, "file \"%s\" is a directory", path);
    else if (!S_ISREG(st.st_mode))
        r = err_set(e, -EINVAL, "file \"%s\" is not a regular file", path);
    else if (is_secret(root, fd))
        r = err_set(e, -EACCES, "Reading secret file prohibited: %s", path);
    else if ((*ret_fd = reopen(fd)) < 0)
        r = err_set(e, -errno, "open %s: %s", path, strerror(errno));
    (void)close(fd);
    return r;
}

void fs_mode_text(mode_t mode, char out[static 32])
{
    static const char rwx[] = "rwxrwxrwx";
    char *p = out;

    if (S_ISDIR(mode))
        *p++ = 'd';
    if (S_ISLNK(mode))
        *p++ = 'L';
    if (S_ISBLK(mode) || S_ISCHR(mode))
        *p++ = 'D';
    if (S_ISFIFO(mode))
        *p++ = 'p';
    if (S_ISSOCK(mode))
        *p++ = 'S';
    if (mode & S_ISUID)
        *p++ = 'u';
    if (mode & S_ISGID)
        *p++ = 'g';
    if (S_ISCHR(mode))
        *p++ = 'c';
    if (mode & S_ISVTX)
        *p++ = 't';
    if (p == out)
        *p++ = '-';
    for (int i = 0; i < 9; i++)
        *p++ = mode & (mode_t)(1u << (8 - i)) ? rwx[i] : '-';
    *p = 0;
}

static const struct {
    const char *ending, *type;
} types_by_ending[] = {
    {".css", "text/css; charset=utf-8"},
    {".gif", "image/gif"},
    {".htm", "text/html; charset=utf-8"},
    {".html", "text/html; charset=utf-8"},
    {".jpeg", "image/jpeg"},
    {".jpg", "image/jpeg"},
    {".js", "text/javascript; charset=utf-8"},
    {".json", "application/json"},
    {".pdf", "application/pdf"},
    {".png", "image/png"},
    {".svg", "image/svg+xml"},
    {".wasm", "application/wasm"},
    {".webp", "image/webp"},
    {".xml", "text/xml; charset=utf-8"},
};

static const struct {
    const char *head;
    size_t len;
    const char *type;
} types_by_head[] = {
    {"%PDF-", 5, "application/pdf"},           {"\x89PNG\r\n\x1a\n", 8, "image/png"},
    {"\xff\xd8\xff", 3, "image/jpeg"},         {"GIF8", 4, "image/gif"},
    {"\x1f\x8b\x08", 3, "application/x-gzip"}, {"PK\x03\x04", 4, "application/zip"},
    {"<?xml", 5, "text/xml; charset=utf-8"},
};

const char *fs_content_type(const char *name, const void *head, size_t len)
{
    const char *dot = strrchr(name, '.');
    const unsigned char *p = head;

    for (size_t i = 0; dot && i < ARRAY_LEN(types_by_ending); i++) {
        if (strcasecmp(dot, types_by_ending[i].ending) == 0)
            return types_by_ending[i].type;
    }
    if (len == 0)
        return "application/octet-stream";
    for (size_t i = 0; i < ARRAY_LEN(types_by_head); i++) {
        if (len >= types_by_head[i].len &&
            memcmp(head, types_by_head[i].head, types_by_head[i].len) == 0)
            return types_by_head[i].type;
    }
    for (size_t i = 0; i < len; i++) {
        /* What no text holds, by the rule that Go's sniffing follows (WHATWG). */
        if (p[i] <= 8 || p[i] == 0x0b || (p[i] >= 0x0e && p[i] <= 0x1a) ||
            (p[i] >= 0x1c && p[i] <= 0x1f))
            return "application/octet-stream";
    }
    return "text/plain; charset=utf-8";
}

static void fill_info(steppe_FileInfo *info, const char *name, const struct stat *st)
{
    char mode[32];

    fs_mode_text(st->st_mode, mode);
    info->name = xstrdup(name);
    info->is_dir = S_ISDIR(st->st_mode);
    info->size = st->st_size;
    info->file_mode = xstrdup(mode);
    info->mod_time = (int64_t)st->st_mtim.tv_sec * NS_PER_SEC + st->st_mtim.tv_nsec;
}

int fs_stat(const char *root, const char *path, steppe_FileInfo *ret, struct errtext *e)
{
    char clean[FS_PATH_MAX], head[HEAD_BYTES];
    const char *name;
    struct stat st;
    ssize_t n = -1;
    int content, fd = -1, r = fs_open(root, path, "stat", O_PATH, &fd, e);

    if (r < 0)
        return r;
    (void)fs_path_clean(path, clean);
    if (fstat(fd, &st) < 0) {
        r = err_set(e, -errno, "stat %s/%s: %s", root, clean, strerror(errno));
        (void)close(fd);
        return r;
    }
    content = S_ISREG(st.st_mode) ? reopen(fd) : -1;
    (void)close(fd);
    name = strrchr(clean, '/') ? strrchr(clean, '/') + 1 : clean;
    if (!*name)
        name = strrchr(root, '/') ? strrchr(root, '/') + 1 : root;
    fill_info(ret, name, &st);
    if (content >= 0) {
        n = pread(content, head, sizeof(head), 0);
        (void)close(content);
        ret->content_type = xstrdup(fs_content_type(name, head, n > 0 ? (size_t)n : 0));
    } else {
        ret->content_type = xstrdup("application/octet-stream");
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const steppe_FileInfo *)a)->name, ((const steppe_FileInfo *)b)->name);
}

int fs_list(const char *root, const char *path, steppe_FileInfoList *ret, struct errtext *e)
{
    int fd = -1, r = fs_open(root, path, "open", O_RDONLY | O_DIRECTORY, &fd, e);
    const struct dirent *d;
    char clean[FS_PATH_MAX];
    size_t cap = 0;
    DIR *dir;

    if (r == -ENOTDIR && fs_open(root, path, "open", O_PATH, &fd, NULL) == 0) {
        (void)close(fd); /* it is there, but no directory */
        (void)fs_path_clean(path, clean);
        return err_set(e, r, "readdirent %s/%s: not a directory", root, clean);
    }
    if (r < 0)
        return r;
    dir = fdopendir(fd);
    if (!dir) {
        (void)close(fd);
        return err_set(e, -errno, "open %s: %s", path, strerror(errno));
    }
    while ((d = readdir(dir))) {
        struct stat st;

        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0 ||
            fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (ret->files_count == FS_ENTRIES_MAX) {
            r = err_set(e, -E2BIG, "directory has more than %d entries", FS_ENTRIES_MAX);
            break;
        }
        if (ret->files_count == cap) {
            cap = cap ? cap * 2 : 16;
            ret->files = xrealloc(ret->files, cap * sizeof(*ret->files));
        }
        ret->files[ret->files_count] = (steppe_FileInfo){0};
        fill_info(&ret->files[ret->files_count++], d->d_name, &st);
    }
    (void)closedir(dir);
    if (ret->files_count)
        qsort(ret->files, ret->files_count, sizeof(*ret->files), by_name);
    return r;
}

/* ---- logs ---- */

bool fs_log_number(const char *name, const char *task, const char *type, uint64_t *ret)
{
    size_t n = strlen(task), k = strlen(type);
    char *end;

    if (strncmp(name, task, n) != 0 || name[n] != '.' || strncmp(name + n + 1, type, k) != 0 ||
        name[n + 1 + k] != '.')
        return false;
    name += n + k + 2;
    if (!*name || strspn(name, "0123456789") != strlen(name) || strlen(name) > 18)
        return false;
    *ret = strtoull(name, &end, 10);
    return true;
}

size_t fs_log_begin(const struct fs_log *logs, size_t n, bool from_end, int64_t offset,
                    int64_t *ret_offset)
{
    size_t i = from_end ? n - 1 : 0;

    assert(n > 0);
    if (from_end && offset <= 0) { /* as Nomad has it: 0 is the whole last file */
        *ret_offset = MIN(-offset, logs[i].size);
        return i;
    }
    if (from_end) {
        while (i > 0 && offset > logs[i].size)
            offset -= logs[i--].size;
        *ret_offset = MAX(logs[i].size - offset, (int64_t)0);
        return i;
    }
    while (i + 1 < n && offset > logs[i].size)
        offset -= logs[i++].size;
    *ret_offset = MIN(offset, logs[i].size);
    return i;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = ((const struct fs_log *)a)->number, y = ((const struct fs_log *)b)->number;

    return x < y ? -1 : x > y;
}

int fs_logs(const char *root, const char *task, const char *type, struct fs_log **ret,
            size_t *ret_n, struct errtext *e)
{
    steppe_FileInfoList list = {0};
    struct fs_log *logs;
    size_t n = 0;
    int r = fs_list(root, LOG_DIR, &list, e);

    logs = xcalloc(list.files_count + 1u, sizeof(*logs));
    for (pb_size_t i = 0; i < list.files_count; i++) {
        if (!list.files[i].is_dir && fs_log_number(list.files[i].name, task, type, &logs[n].number))
            logs[n++].size = list.files[i].size;
    }
    pb_release(steppe_FileInfoList_fields, &list);
    qsort(logs, n, sizeof(*logs), by_number);
    *ret = logs;
    *ret_n = n;
    return r;
}
