/* SPDX-License-Identifier: MPL-2.0 */
#include "taskd_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"

#define PROCESSES_MAX 65536
#define ROUNDS_MAX    16

struct process {
    pid_t pid, parent;
    bool below; /* a descendant */
};

/* The parent in /proc/PID/stat: "PID (NAME) S PPID ..."; a name may hold anything, `)` included. */
static pid_t parent_of(const char *pid)
{
    char path[64], text[512];
    const char *close_paren;
    int fd;
    ssize_t n;

    (void)snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = 0;
    close_paren = strrchr(text, ')');
    return close_paren && strlen(close_paren) > 4 ? (pid_t)strtol(close_paren + 4, NULL, 10) : 0;
}

static int list_processes(struct process *all)
{
    char buf[4096] __attribute__((aligned(8)));
    int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), count = 0;
    long n;

    while (fd >= 0 && (n = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0) {
        for (long at = 0; at < n && count < PROCESSES_MAX;) {
            const struct dirent64 *d = (const void *)(buf + at);

            if (d->d_name[0] >= '0' && d->d_name[0] <= '9')
                all[count++] = (struct process){(pid_t)strtol(d->d_name, NULL, 10),
                                                parent_of(d->d_name), false};
            at += d->d_reclen;
        }
    }
    if (fd >= 0)
        close(fd);
    return count;
}

/* The kernel lists processes by number, so that looking one up is quick: of a fork bomb there are
 * tens of thousands. */
static bool is_below(const struct process *all, int n, pid_t parent, pid_t of)
{
    int low = 0, high = n;

    if (parent == of)
        return true;
    while (low < high) {
        int mid = low + (high - low) / 2;

        if (all[mid].pid == parent)
            return all[mid].below;
        if (all[mid].pid < parent)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

static int signal_descendants(struct process *all, pid_t of, int sig)
{
    int n = list_processes(all), count = 0;
    bool more = true;

    while (more) {
        more = false;
        for (int i = 0; i < n; i++) {
            if (!all[i].below && all[i].parent > 0 && is_below(all, n, all[i].parent, of)) {
                all[i].below = more = true;
                (void)kill(all[i].pid, sig);
                count++;
            }
        }
    }
    return count;
}

int taskd_tree_kill(pid_t of)
{
    size_t size = PROCESSES_MAX * sizeof(struct process);
    /* Only what is used of it becomes memory, and only for this moment. */
    struct process *all =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int last = -1, n = 0;

    if (all == MAP_FAILED)
        return 0;
    for (int round = 0; round < ROUNDS_MAX && n != last; round++) { /* until nobody forks */
        last = n;
        n = signal_descendants(all, of, SIGSTOP);
    }
    n = signal_descendants(all, of, SIGKILL);
    (void)munmap(all, size);
    return n;
}
