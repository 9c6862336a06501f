/* SPDX-License-Identifier: MPL-2.0 */
#include "taskd_child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define GROUPS_MAX   256
#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static void fail(const struct taskd_child *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void fail(const struct taskd_child *c, const char *fmt, ...)
{
    char text[320];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (write(c->report, text, strlen(text)) < 0)
        _exit(126);
    _exit(127);
}

static void join(const struct taskd_child *c, char out[static PATH_MAX], const char *dir,
                 const char *name)
{
    int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);

    if (n < 0 || n >= PATH_MAX)
        fail(c, "%s: path too long", name);
}

static void reset_signals(void)
{
    sigset_t none;

    sigemptyset(&none);
    for (int s = 1; s < NSIG; s++)
        (void)signal(s, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void enter_group(const struct taskd_child *c)
{
    int r;

    if (!c->spec->cgroup[0])
        return;
    r = cgroup_enter(c->host, c->spec->cgroup, c->spec->limits);
    if (r < 0)
        fail(c, "cannot enter the control group %s: %s", c->spec->cgroup, strerror(-r));
}

/* ---- root folder ---- */

/*
 * Nothing is made or mounted over a link: a task that was root may have left one in its folder, and
 * until the root is changed it leads into the machine's tree. The first `root` bytes are not ours.
 */
static void refuse_links(const struct taskd_child *c, char *path, size_t root)
{
    struct stat st;

    for (char *p = path + root; *p;) {
        char end;

        p += strcspn(p + 1, "/") + 1;
        end = *p;
        *p = 0;
        if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
            fail(c, "%s is a link that the task made: remove it", path);
        *p = end;
    }
}

/* Makes ROOT/TO as a folder or an empty file, as `from` is one. */
static void make_target(const struct taskd_child *c, const char *from, char *target, size_t root)
{
    struct stat st;
    int fd;

    if (stat(from, &st) < 0)
        fail(c, "cannot bind %s: %s", from, strerror(errno));
    for (char *p = strchr(target + root + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = 0;
        (void)mkdir(target, 0755);
        *p = '/';
    }
    if (S_ISDIR(st.st_mode)) {
        if (mkdir(target, 0755) < 0 && errno != EEXIST)
            fail(c, "cannot make %s: %s", target, strerror(errno));
        return;
    }
    fd = open(target, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0644);
    if (fd < 0)
        fail(c, "cannot make %s: %s", target, strerror(errno));
    close(fd);
}

static void bind_one(const struct taskd_child *c, const char *bind)
{
    char from[PATH_MAX], target[PATH_MAX];
    const char *tab = strchr(bind, '\t');
    bool ro = strncmp(bind, "ro ", 3) == 0;

    if (!tab || strlen(bind) < 4 || strstr(tab, "/../"))
        fail(c, "bad folder to bind: %s", bind);
    (void)snprintf(from, sizeof(from), "%.*s", (int)(tab - bind - 3), bind + 3);
    join(c, target, c->spec->root, tab + 1);
    refuse_links(c, target, strlen(c->spec->root));
    make_target(c, from, target, strlen(c->spec->root));
    if (mount(from, target, NULL, MS_BIND | (ro ? 0 : MS_REC), NULL) < 0)
        fail(c, "cannot bind %s: %s", from, strerror(errno));
    if (mount(NULL, target, NULL,
              MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV | (ro ? MS_RDONLY : 0), NULL) < 0)
        fail(c, "cannot protect %s: %s", target, strerror(errno));
}

static void make_devices(const struct taskd_child *c, const char *dev)
{
    static const struct {
        const char *name;
        unsigned major, minor;
    } nodes[] = {{"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
                 {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
    static const char *const links[][2] = {{"fd", "/proc/self/fd"},
                                           {"stdin", "/proc/self/fd/0"},
                                           {"stdout", "/proc/self/fd/1"},
                                           {"stderr", "/proc/self/fd/2"}};
    char path[PATH_MAX];

    (void)mkdir(dev, 0755);
    if (mount("tmpfs", dev, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k,nr_inodes=64") < 0)
        fail(c, "cannot mount %s: %s", dev, strerror(errno));
    for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
        join(c, path, dev, nodes[i].name);
        if (mknod(path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) < 0 ||
            chmod(path, 0666) < 0)
            fail(c, "cannot make %s: %s", path, strerror(errno));
    }
    for (size_t i = 0; i < ARRAY_LEN(links); i++) {
        join(c, path, dev, links[i][0]);
        (void)symlink(links[i][1], path);
    }
    join(c, path, dev, "shm");
    (void)mkdir(path, 01777);
    if (mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=64m") < 0)
        fail(c, "cannot mount %s: %s", path, strerror(errno));
    /* Its devices can be used, but no others made: a task that is root may still have mknod. */
    if (mount(NULL, dev, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL) < 0)
        fail(c, "cannot protect %s: %s", dev, strerror(errno));
}

/* What of /proc is the machine's, not the task's, cannot be written: user root would need no
 * capability for it. As Nomad has it. */
static void mount_proc(const struct taskd_child *c, const char *proc, const char *null)
{
    static const char *const fixed[] = {"bus", "fs", "irq", "sys", "sysrq-trigger"};
    const unsigned long flags = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    char path[PATH_MAX];

    (void)mkdir(proc, 0555);
    if (mount("proc", proc, "proc", flags, NULL) < 0)
        fail(c, "cannot mount %s: %s", proc, strerror(errno));
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        join(c, path, proc, fixed[i]);
        if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0 && errno == ENOENT)
            continue; /* this kernel has none */
        if (mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | flags, NULL) < 0)
            fail(c, "cannot protect %s: %s", path, strerror(errno));
    }
    join(c, path, proc, "kcore");
    if (mount(null, path, NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
        fail(c, "cannot hide %s: %s", path, strerror(errno));
}

/* pivot_root(2) with the new root over the old one, which is then taken away: nothing of the
 * machine's tree can be reached but what was bound. */
static void change_root(const struct taskd_child *c)
{
    const char *root = c->spec->root;
    char dev[PATH_MAX], null[PATH_MAX], path[PATH_MAX];

    if (mount(root, root, NULL, MS_BIND, NULL) < 0 ||
        mount(NULL, root, NULL, MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV, NULL) < 0)
        fail(c, "cannot bind %s: %s", root, strerror(errno));
    for (size_t i = 0; i < c->spec->binds.n; i++)
        bind_one(c, c->spec->binds.items[i]);
    join(c, dev, root, "dev");
    refuse_links(c, dev, strlen(root));
    make_devices(c, dev);
    join(c, path, root, "proc");
    refuse_links(c, path, strlen(root));
    join(c, null, dev, "null");
    mount_proc(c, path, null);
    if (chdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
        chdir("/") < 0)
        fail(c, "cannot make %s the root: %s", root, strerror(errno));
}

static void isolate(const struct taskd_child *c)
{
    if (unshare(CLONE_NEWNS | CLONE_NEWIPC) < 0)
        fail(c, "cannot make namespaces: %s", strerror(errno));
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        fail(c, "cannot make mounts private: %s", strerror(errno));
    if (c->spec->root[0])
        change_root(c);
}

/* ---- privileges ---- */

/* What a task of the exec driver may keep, even as root: the list of Nomad 1.1. */
static bool kept(int cap)
{
    static const int list[] = {CAP_AUDIT_WRITE, CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,
                               CAP_FSETID,      CAP_KILL,   CAP_MKNOD,        CAP_NET_BIND_SERVICE,
                               CAP_SETFCAP,     CAP_SETGID, CAP_SETPCAP,      CAP_SETUID,
                               CAP_SYS_CHROOT};

    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        if (list[i] == cap)
            return true;
    return false;
}

static void drop_privileges(const struct taskd_child *c)
{
    gid_t groups[GROUPS_MAX];
    size_t n = MIN(c->spec->groups.n, (size_t)GROUPS_MAX);

    if (c->spec->isolate)
        for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
            if (!kept(cap) && prctl(PR_CAPBSET_DROP, cap) < 0)
                fail(c, "cannot drop capability %d: %s", cap, strerror(errno));
    if (c->spec->set_user) {
        for (size_t i = 0; i < n; i++)
            groups[i] = (gid_t)strtoul(c->spec->groups.items[i], NULL, 10);
        if (setgroups(n, groups) < 0 || setgid((gid_t)c->spec->gid) < 0 ||
            setuid((uid_t)c->spec->uid) < 0)
            fail(c, "cannot become user %llu: %s", (unsigned long long)c->spec->uid,
                 strerror(errno));
    }
    if (c->spec->isolate && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        fail(c, "cannot forbid new privileges: %s", strerror(errno));
}

/* Dies with taskd: without it nobody would watch. A fork of it is found by its control group. */
static void die_with_parent(const struct taskd_child *c)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!c->spec->isolate && getppid() != c->parent)
        _exit(127);
}

/* ---- the program ---- */

static const char *path_of(const struct task_spec *s)
{
    for (size_t i = 0; i < s->env.n; i++)
        if (strncmp(s->env.items[i], "PATH=", 5) == 0)
            return s->env.items[i] + 5;
    return PATH_DEFAULT;
}

static bool runnable(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* As Nomad: the task's own folder first, then a path as it is, then PATH. */
static bool find_program(const struct task_spec *s, char out[static PATH_MAX])
{
    const char *dirs = path_of(s);

    if (s->command[0] == '/') {
        (void)snprintf(out, PATH_MAX, "%s", s->command);
        return runnable(out);
    }
    (void)snprintf(out, PATH_MAX, "local/%s", s->command);
    if (runnable(out))
        return true;
    (void)snprintf(out, PATH_MAX, "%s", s->command);
    if (runnable(out) || strchr(s->command, '/'))
        return runnable(out);
    for (const char *p = dirs; *p; p += strspn(p, ":")) {
        size_t n = strcspn(p, ":");

        (void)snprintf(out, PATH_MAX, "%.*s/%s", (int)n, p, s->command);
        if (runnable(out))
            return true;
        p += n;
    }
    return false;
}

static void run_program(const struct taskd_child *c)
{
    const struct task_spec *s = c->spec;
    char **argv = xcalloc(s->args.n + 2, sizeof(*argv));
    char **envp = xcalloc(s->env.n + 1, sizeof(*envp));
    char path[PATH_MAX];
    struct stat st;

    if (s->cwd[0] && chdir(s->cwd) < 0)
        fail(c, "chdir %s: %s", s->cwd, strerror(errno));
    if (!find_program(s, path)) {
        if (s->command[0] != '/')
            fail(c, "exec: \"%s\": executable file not found in $PATH", s->command);
        if (stat(s->command, &st) < 0)
            fail(c, "exec: \"%s\": stat %s: %s", s->command, s->command,
                 errno == ENOENT ? "no such file or directory" : strerror(errno));
        fail(c, "exec: \"%s\": permission denied", s->command);
    }
    argv[0] = s->command;
    for (size_t i = 0; i < s->args.n; i++)
        argv[i + 1] = s->args.items[i];
    for (size_t i = 0; i < s->env.n; i++)
        envp[i] = s->env.items[i];
    execve(path, argv, envp);
    if (errno == ENOENT || errno == ENOEXEC)
        fail(c, "fork/exec %s: %s", s->command,
             errno == ENOENT ? "no such file or directory" : "exec format error");
    fail(c, "fork/exec %s: %s", s->command, strerror(errno));
}

static void set_output(const struct taskd_child *c)
{
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);

    if (in < 0 || dup2(in, 0) < 0 || dup2(c->out, 1) < 0 || dup2(c->err, 2) < 0)
        fail(c, "cannot set up its output: %s", strerror(errno));
}

void taskd_child_run(const struct taskd_child *c)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, "0", 1) > 0)
        close(fd);
    reset_signals();
    (void)setsid();
    (void)umask(022);
    set_output(c);
    enter_group(c);
    if (c->spec->isolate)
        isolate(c);
    drop_privileges(c);
    die_with_parent(c); /* after the change of user, which clears it */
    run_program(c);
    _exit(127);
}

void taskd_child_init(const struct taskd_child *c)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_NAME, "taskd-init");
    (void)setsid();
    if (c->spec->cgroup[0])
        (void)cgroup_enter(c->host, c->spec->cgroup, c->spec->limits);
    (void)chdir("/");
    (void)close_range(0, ~0U, 0);
    for (int s = 1; s < NSIG; s++)
        (void)signal(s, SIG_DFL); /* the first of a namespace gets none of them by default */
    for (;;)
        if (waitpid(-1, NULL, 0) < 0) {
            sigset_t chld;
            int sig;

            sigemptyset(&chld);
            sigaddset(&chld, SIGCHLD);
            (void)sigwait(&chld, &sig); /* blocked since taskd's start */
        }
}
