/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The first process of a virtual machine that has control groups version 2, for test_cgroup2.py:
 * runs /taskd on each folder of /cases, ends the task after a while, and prints what it saw, a line
 * each: CASE NAME SAID state=...          what taskd said FILE NAME TEXT          of the control
 * group, while it ran OUT TEXT, ERR TEXT      the first line of its logs LEFT yes|no whether the
 * group is still there
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUN_MS  3000  /* then it is asked to end */
#define LAST_MS 60000 /* then we give up */

static void print_file(const char *what, const char *path)
{
    char text[4096];
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    text[strcspn(text, "\n")] = 0;
    printf("%s %s\n", what, text);
}

static int connect_to(const char *folder)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd;

    (void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%.80s/taskd.sock", folder);
    for (int i = 0; i < 600; i++) {
        fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
        if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
            return fd;
        close(fd);
        (void)poll(NULL, 0, 50);
    }
    return -1;
}

static void print_group(const char *name)
{
    static const char *const files[] = {"pids.current", "pids.max", "memory.max", "cpu.weight"};
    char path[256], what[64];

    for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        (void)snprintf(path, sizeof(path), "/sys/fs/cgroup/test/%s/%s", name, files[i]);
        (void)snprintf(what, sizeof(what), "FILE %s", files[i]);
        print_file(what, path);
    }
}

static void follow(int fd, const char *name)
{
    char text[1024];
    int wait = RUN_MS;

    for (;;) {
        struct pollfd p = {fd, POLLIN, 0};
        ssize_t n;

        if (poll(&p, 1, wait) == 0) {
            if (wait == LAST_MS)
                return;
            wait = LAST_MS;
            print_group(name);
            (void)!write(fd, "kill 15 200", 11);
            continue;
        }
        n = read(fd, text, sizeof(text) - 1);
        if (n <= 0)
            return;
        text[n] = 0;
        printf("SAID %s\n", text);
        if (strstr(text, "state=exited") || strstr(text, "state=failed")) {
            (void)!write(fd, "bye", 3);
            return;
        }
    }
}

static void run_case(const char *name)
{
    char folder[128], path[256];
    pid_t pid;
    int fd;

    (void)snprintf(folder, sizeof(folder), "/cases/%.64s", name);
    printf("CASE %s\n", name);
    (void)fflush(stdout);
    pid = fork();
    if (pid == 0) {
        (void)setsid();
        (void)execl("/taskd", "taskd", folder, NULL);
        _exit(1);
    }
    fd = connect_to(folder);
    follow(fd, name);
    close(fd);
    (void)waitpid(pid, NULL, 0);
    (void)snprintf(path, sizeof(path), "%s/logs/t.stdout.0", folder);
    print_file("OUT", path);
    (void)snprintf(path, sizeof(path), "%s/logs/t.stderr.0", folder);
    print_file("ERR", path);
    (void)snprintf(path, sizeof(path), "/sys/fs/cgroup/test/%.64s", name);
    printf("LEFT %s\n", access(path, F_OK) == 0 ? "yes" : "no");
    (void)fflush(stdout);
}

/* pivot_root(2) does not work on the kernel's first file system: everything moves to a tmpfs. */
static int move_in(void)
{
    (void)mkdir("/new", 0755);
    (void)mount("tmpfs", "/new", "tmpfs", 0, "");
    if (fork() == 0) {
        (void)execl("/bin/busybox", "cp", "-a", "/bin", "/cases", "/taskd", "/init", "/new/", NULL);
        _exit(1);
    }
    (void)wait(NULL);
    if (chdir("/new") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
        return 1;
    return execl("/init", "init", "moved", NULL);
}

static void mount_at(const char *type, const char *path)
{
    (void)mkdir(path, 0755);
    (void)mount(type, path, type, 0, "");
}

int main(int argc, char **argv)
{
    DIR *d;
    struct dirent *ent;

    if (argc < 2 || strcmp(argv[1], "moved") != 0)
        return move_in();
    mount_at("proc", "/proc");
    mount_at("sysfs", "/sys");
    mount_at("devtmpfs", "/dev");
    mount_at("cgroup2", "/sys/fs/cgroup");
    d = opendir("/cases");
    while (d && (ent = readdir(d)))
        if (ent->d_name[0] != '.')
            run_case(ent->d_name);
    printf("DONE\n");
    (void)fflush(stdout);
    return reboot(RB_POWER_OFF);
}
