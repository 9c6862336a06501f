/* SPDX-License-Identifier: MPL-2.0 */
#include "task/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_MAX    65536
#define KILL_ROUNDS 8
#define DEPTH_MAX   32 /* groups below a task's, which a root task may make */

static const char *const kind_names[CGROUP_KINDS] = {[CGROUP_FREEZER] = "freezer",
                                                     [CGROUP_MEMORY] = "memory",
                                                     [CGROUP_CPU] = "cpu",
                                                     [CGROUP_CPUACCT] = "cpuacct",
                                                     [CGROUP_PIDS] = "pids"};

/* ---- what is mounted ---- */

/* Is `word` one of the comma separated words up to `end`? */
static bool has_word(const char *list, const char *end, const char *word)
{
    size_t n = strlen(word);

    while (list < end) {
        size_t len = strcspn(list, ",\n");

        if (len == n && memcmp(list, word, n) == 0)
            return true;
        list += len + 1;
    }
    return false;
}

/* "ID PARENT DEV ROOT MOUNTPOINT OPTIONS... - TYPE SOURCE SUPEROPTIONS" */
static void take_mount(const char *line, const char *end, struct cgroup_host *ret)
{
    const char *point = line, *dash = memmem(line, (size_t)(end - line), " - ", 3), *super;
    size_t len;

    for (int i = 0; i < 4 && point; i++) {
        point = memchr(point, ' ', (size_t)(end - point));
        point = point ? point + 1 : NULL;
    }
    if (!point || !dash)
        return;
    len = strcspn(point, " ");
    if (len >= sizeof(ret->mount[0]))
        return;
    if (strncmp(dash + 3, "cgroup2 ", 8) == 0 && len == strlen("/sys/fs/cgroup")) {
        ret->version = CGROUP_V2;
        for (int k = 0; k < CGROUP_KINDS; k++)
            (void)snprintf(ret->mount[k], sizeof(ret->mount[k]), "%.*s", (int)len, point);
    }
    if (strncmp(dash + 3, "cgroup ", 7) != 0)
        return;
    super = memchr(dash + 3 + 7, ' ', (size_t)(end - dash - 10));
    for (int k = 0; k < CGROUP_KINDS && super; k++)
        if (has_word(super + 1, end, kind_names[k]) && !ret->mount[k][0])
            (void)snprintf(ret->mount[k], sizeof(ret->mount[k]), "%.*s", (int)len, point);
}

void cgroup_parse(const char *mountinfo, struct cgroup_host *ret)
{
    *ret = (struct cgroup_host){0};
    while (*mountinfo) {
        const char *end = mountinfo + strcspn(mountinfo, "\n");

        take_mount(mountinfo, end, ret);
        mountinfo = *end ? end + 1 : end;
    }
    if (ret->version == CGROUP_NONE && ret->mount[CGROUP_FREEZER][0])
        ret->version = CGROUP_V1;
}

static int read_at(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n = 0;

    if (fd < 0)
        return -errno;
    while (len + 1 < size && (n = read(fd, buf + len, size - 1 - len)) > 0)
        len += (size_t)n;
    n = n < 0 ? -errno : 0;
    close(fd);
    buf[len] = 0;
    return (int)n;
}

void cgroup_detect(struct cgroup_host *ret)
{
    _cleanup_(freep) char *text = xmalloc(READ_MAX);

    *ret = (struct cgroup_host){0};
    if (read_at("/proc/self/mountinfo", text, READ_MAX) == 0)
        cgroup_parse(text, ret);
    if (ret->version != CGROUP_NONE && access(ret->mount[CGROUP_FREEZER], W_OK) < 0)
        ret->version = CGROUP_NONE; /* not ours to use: no root, or mounted read-only */
}

/* ---- files ---- */

static int file_path(const struct cgroup_host *h, enum cgroup_kind k, const char *path,
                     const char *file, char out[static CGROUP_PATH_MAX])
{
    int n = snprintf(out, CGROUP_PATH_MAX, "%s%s%s%s", h->mount[k], path, *file ? "/" : "", file);

    if (!h->mount[k][0] || h->version == CGROUP_NONE)
        return -ENOENT;
    return n < 0 || n >= CGROUP_PATH_MAX ? -ENAMETOOLONG : 0;
}

static int write_file(const struct cgroup_host *h, enum cgroup_kind k, const char *path,
                      const char *file, const char *text)
{
    char name[CGROUP_PATH_MAX];
    int r = file_path(h, k, path, file, name), fd;

    if (r < 0)
        return r;
    fd = open(name, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = write(fd, text, strlen(text)) < 0 ? -errno : 0;
    close(fd);
    return r;
}

static int write_number(const struct cgroup_host *h, enum cgroup_kind k, const char *path,
                        const char *file, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    return write_file(h, k, path, file, text);
}

int cgroup_read(const struct cgroup_host *h, enum cgroup_kind kind, const char *path,
                const char *file, char *buf, size_t size)
{
    char name[CGROUP_PATH_MAX];
    int r = file_path(h, kind, path, file, name);

    return r < 0 ? r : read_at(name, buf, size);
}

uint64_t cgroup_field(const char *text, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = text; *p; p += strcspn(p, "\n") + (strchr(p, '\n') != NULL))
        if (strncmp(p, word, n) == 0 && p[n] == ' ')
            return strtoull(p + n + 1, NULL, 10);
    return 0;
}

/* The hierarchies that a group with or without limits lives in; in version 2 one stands for all. */
static bool uses(const struct cgroup_host *h, int k, bool limits)
{
    if (h->version == CGROUP_V2 || !limits)
        return k == CGROUP_FREEZER;
    return h->mount[k][0] && (k == CGROUP_FREEZER || strcmp(h->mount[k], h->mount[k - 1]) != 0);
}

/* ---- making ---- */

/* Version 2 gives a group only the controllers that its parents pass on. */
static void pass_on(const struct cgroup_host *h, const char *path)
{
    static const char *const words[] = {"+cpu", "+memory", "+pids"};

    if (h->version == CGROUP_V2)
        for (size_t i = 0; i < ARRAY_LEN(words); i++)
            (void)write_file(h, CGROUP_FREEZER, path, "cgroup.subtree_control", words[i]);
}

static int make_dirs(const struct cgroup_host *h, enum cgroup_kind k, const char *path)
{
    char part[CGROUP_PATH_MAX], name[CGROUP_PATH_MAX];
    int r;

    if (path[0] != '/' || strlen(path) >= sizeof(part))
        return -EINVAL;
    pass_on(h, "");
    for (const char *p = strchr(path + 1, '/');; p = strchr(p + 1, '/')) {
        (void)snprintf(part, sizeof(part), "%.*s", p ? (int)(p - path) : (int)strlen(path), path);
        r = file_path(h, k, part, "", name);
        if (r < 0)
            return r;
        if (mkdir(name, 0755) < 0 && errno != EEXIST)
            return -errno;
        if (!p)
            return 0;
        pass_on(h, part);
    }
}

static int set_limit(const struct cgroup_host *h, enum cgroup_kind k, const char *path,
                     const char *file, uint64_t value, struct errtext *e)
{
    int r = value ? write_number(h, k, path, file, value) : 0;

    if (r == -ENOENT)
        return err_set(
            e, r,
            "cannot make the control group %s: no %s: this machine does not give us its controller",
            path, file);
    return r < 0
               ? err_set(e, r, "cannot make the control group %s: %s: %s", path, file, strerror(-r))
               : 0;
}

static int limit(const struct cgroup_host *h, const char *path, const struct cgroup_limits *l,
                 struct errtext *e)
{
    bool v2 = h->version == CGROUP_V2;
    uint64_t shares = l->cpu_shares ? MIN(MAX(l->cpu_shares, (uint64_t)2), (uint64_t)262144) : 0;
    int r;

    r = set_limit(h, CGROUP_MEMORY, path, v2 ? "memory.max" : "memory.limit_in_bytes",
                  l->memory_max, e);
    if (r == 0 && l->memory_max) /* no swap on top; the file is not there without swap accounting */
        (void)write_number(h, CGROUP_MEMORY, path,
                           v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes",
                           v2 ? 0 : l->memory_max);
    if (r == 0)
        r = set_limit(h, CGROUP_MEMORY, path, v2 ? "memory.low" : "memory.soft_limit_in_bytes",
                      l->memory_soft, e);
    /* The mapping that runc and systemd use: 2..262144 to 1..10000. */
    if (v2 && shares)
        shares = 1 + (shares - 2) * 9999 / 262142;
    if (r == 0)
        r = set_limit(h, CGROUP_CPU, path, v2 ? "cpu.weight" : "cpu.shares", shares, e);
    if (r == 0)
        r = set_limit(h, CGROUP_PIDS, path, "pids.max", l->pids_max, e);
    return r;
}

int cgroup_create(const struct cgroup_host *h, const char *path, const struct cgroup_limits *limits,
                  struct errtext *e)
{
    int r = h->version == CGROUP_NONE ? -ENOTSUP : 0;

    for (int k = 0; k < CGROUP_KINDS && r == 0; k++)
        if (uses(h, k, limits != NULL))
            r = make_dirs(h, (enum cgroup_kind)k, path);
    if (r < 0)
        r = err_set(e, r, "cannot make the control group %s: %s", path, strerror(-r));
    else if (limits)
        r = limit(h, path, limits, e);
    if (r < 0)
        (void)cgroup_remove(h, path);
    return r;
}

int cgroup_enter(const struct cgroup_host *h, const char *path, bool limits)
{
    int r = 0;

    for (int k = 0; k < CGROUP_KINDS && r == 0; k++)
        if (uses(h, k, limits))
            r = write_file(h, (enum cgroup_kind)k, path, "cgroup.procs", "0");
    return r;
}

/* ---- ending ---- */

/* Calls kill or counts; the list is read in pieces, however long it is. */
static int each_pid(const struct cgroup_host *h, const char *path, int sig, pid_t *ret, int max)
{
    char name[CGROUP_PATH_MAX], buf[4096];
    int r = file_path(h, CGROUP_FREEZER, path, "cgroup.procs", name), fd, count = 0;
    pid_t pid = 0;
    ssize_t n;

    fd = r < 0 ? -1 : open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return r < 0 ? r : -errno;
    while ((n = read(fd, buf, sizeof(buf))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (buf[i] >= '0' && buf[i] <= '9') {
                pid = pid * 10 + (buf[i] - '0');
            } else if (pid > 0) {
                if (sig)
                    (void)kill(pid, sig);
                if (count < max)
                    ret[count] = pid;
                count++;
                pid = 0;
            }
        }
    }
    close(fd);
    return count;
}

int cgroup_pids(const struct cgroup_host *h, const char *path, pid_t *ret, int max)
{
    return each_pid(h, path, 0, ret, max);
}

/* Calls fn for each group below `path`, the deepest first. Adds up what it returns. */
static int each_below(const struct cgroup_host *h, enum cgroup_kind k, const char *path, int depth,
                      int (*fn)(const struct cgroup_host *h, enum cgroup_kind k, const char *path))
{
    char name[CGROUP_PATH_MAX], sub[CGROUP_PATH_MAX];
    DIR *d = file_path(h, k, path, "", name) < 0 ? NULL : opendir(name);
    struct dirent *ent;
    int sum = 0;

    while (d && (ent = readdir(d))) {
        int n = snprintf(sub, sizeof(sub), "%s/%s", path, ent->d_name);

        if (ent->d_type != DT_DIR || ent->d_name[0] == '.' || n >= (int)sizeof(sub))
            continue;
        if (depth < DEPTH_MAX)
            sum += each_below(h, k, sub, depth + 1, fn);
        sum += fn(h, k, sub);
    }
    if (d)
        closedir(d);
    return sum;
}

static int kill_one(const struct cgroup_host *h, enum cgroup_kind k, const char *path)
{
    (void)k;
    return MAX(each_pid(h, path, SIGKILL, NULL, 0), 0);
}

static int remove_one(const struct cgroup_host *h, enum cgroup_kind k, const char *path)
{
    char name[CGROUP_PATH_MAX];
    int r = file_path(h, k, path, "", name);

    if (r == 0 && rmdir(name) < 0 && errno != ENOENT)
        r = -errno;
    return r;
}

static void freeze(const struct cgroup_host *h, const char *path, bool on)
{
    if (h->version == CGROUP_V2)
        (void)write_file(h, CGROUP_FREEZER, path, "cgroup.freeze", on ? "1" : "0");
    else
        (void)write_file(h, CGROUP_FREEZER, path, "freezer.state", on ? "FROZEN" : "THAWED");
}

int cgroup_kill(const struct cgroup_host *h, const char *path)
{
    int seen = 0, n = 0;

    if (h->version == CGROUP_V2 && write_file(h, CGROUP_FREEZER, path, "cgroup.kill", "1") == 0)
        return each_pid(h, path, SIGKILL, NULL, 0);
    /* Frozen, nothing forks; but the freezing itself takes a moment: several rounds. */
    freeze(h, path, true);
    for (int round = 0; round < KILL_ROUNDS; round++) {
        n = each_pid(h, path, SIGKILL, NULL, 0);
        if (n >= 0)
            n += each_below(h, CGROUP_FREEZER, path, 0, kill_one);
        if (n == seen)
            break;
        seen = n;
    }
    freeze(h, path, false);
    return n;
}

static int remove_all(const struct cgroup_host *h, const char *path, bool below)
{
    int r = 0, one;

    for (int k = 0; k < CGROUP_KINDS; k++) {
        if (!uses(h, k, true) || !h->mount[k][0])
            continue;
        one = remove_one(h, (enum cgroup_kind)k, path);
        if (below && one < 0) {
            (void)each_below(h, (enum cgroup_kind)k, path, 0, remove_one);
            one = remove_one(h, (enum cgroup_kind)k, path);
        }
        r = one < 0 ? one : r;
    }
    return r;
}

int cgroup_remove(const struct cgroup_host *h, const char *path)
{
    return remove_all(h, path, false);
}

int cgroup_remove_tree(const struct cgroup_host *h, const char *path)
{
    return remove_all(h, path, true);
}

bool cgroup_oom(const struct cgroup_host *h, const char *path)
{
    char text[1024];

    if (cgroup_read(h, CGROUP_MEMORY, path,
                    h->version == CGROUP_V2 ? "memory.events" : "memory.oom_control", text,
                    sizeof(text)) < 0)
        return false;
    return cgroup_field(text, "oom_kill") > 0;
}
