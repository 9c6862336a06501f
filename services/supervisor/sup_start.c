/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What must be right before the first service starts: folders, locks, the control socket, signals.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sup.h"

#define LOCK_STEP_MS         10
#define AGENT_LOCK_WAIT_MS   500  /* an agent that is just ending */
#define SERVICE_LOCK_WAIT_MS 5000 /* services of an agent that was killed */

/* ---- locks ---- */

/* Takes the lock of FILE, waiting at most wait_ms. The fd, or -EBUSY with the holder's pid. */
static int lock_file(const char *file, int wait_ms, char holder[static 32])
{
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600), n;

    if (fd < 0)
        return -errno;
    for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += LOCK_STEP_MS) {
        if (errno != EWOULDBLOCK || waited >= wait_ms) {
            n = errno == EWOULDBLOCK ? -EBUSY : -errno;
            ssize_t len = pread(fd, holder, 31, 0);

            holder[len > 0 ? len : 0] = 0;
            holder[strcspn(holder, "\n")] = 0;
            close(fd);
            return n;
        }
        (void)poll(NULL, 0, LOCK_STEP_MS);
    }
    return fd;
}

static int lock_dir(const char *key, const char *dir, int *ret_fd, struct errtext *e)
{
    char *file = xasprintf("%s/supervisor.pid", dir);
    char holder[32] = "", text[32];
    int fd = lock_file(file, AGENT_LOCK_WAIT_MS, holder), n;

    if (fd == -EBUSY) {
        fd = err_set(e, fd, "%s %s is in use by another agent (pid %s)", key, dir, holder);
    } else if (fd < 0) {
        fd = err_set(e, fd, "%s %s is not writable: %s", key, dir, strerror(-fd));
    } else {
        n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
        if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n) {
            n = errno ? errno : ENOSPC;
            close(fd);
            fd = err_set(e, -n, "%s %s is not writable: %s", key, dir, strerror(n));
        }
    }
    free(file);
    if (fd < 0)
        return fd;
    *ret_fd = fd;
    return 0;
}

/* Services of a killed supervisor are told by the kernel to stop; wait until they are gone. */
static void wait_for_old_services(struct sup *s)
{
    for (size_t i = 0; i < SUP_SERVICES_N; i++) {
        char *file = xasprintf("%s/%s.pid", s->conf->run_dir, sup_services[i].name);
        char holder[32] = "";
        int fd = access(file, F_OK) == 0 ? lock_file(file, SERVICE_LOCK_WAIT_MS, holder) : -ENOENT;

        if (fd == -EBUSY)
            sup_log(s, LOG_WARN, "an old process still runs service=%s pid=%s",
                    sup_services[i].name, holder);
        if (fd >= 0)
            close(fd);
        free(file);
    }
}

/* ---- start ---- */

static int open_signals(struct sup *s, struct errtext *e)
{
    static const int wanted[] = {SIGCHLD, SIGHUP, SIGTERM, SIGINT};
    sigset_t mask;

    sigemptyset(&mask);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        sigaddset(&mask, wanted[i]);
    (void)signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &mask, &s->old_mask) < 0)
        return err_set(e, -errno, "cannot take signals: %s", strerror(errno));
    s->signal_fd = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
    return s->signal_fd < 0 ? err_set(e, -errno, "cannot take signals: %s", strerror(errno)) : 0;
}

int sup_start(struct sup *s, struct errtext *e)
{
    int r = conf_make_dirs(s->conf, e);

    if (!r)
        r = lock_dir("data_dir", s->conf->data_dir, &s->lock_fds[0], e);
    if (!r && strcmp(s->conf->data_dir, s->conf->run_dir) != 0)
        r = lock_dir("run_dir", s->conf->run_dir, &s->lock_fds[1], e);
    if (!r)
        r = open_signals(s, e);
    if (!r)
        r = sup_control_open(s, e);
    if (!r)
        wait_for_old_services(s);
    return r;
}

/* ---- the banner ---- */

static void print_row(const char *key, const char *value)
{
    /* Nomad's: four blanks, then the key right-aligned in 18 columns. */
    (void)printf("    %18s: %s\n", key, value);
}

static char *three(const struct conf *c, const char *http, const char *rpc, const char *serf)
{
    if (!c->server.enabled)
        return xasprintf("HTTP: %s", http);
    return xasprintf("HTTP: %s; RPC: %s; Serf: %s", http, rpc, serf);
}

static char *with_port(const char *host, int port)
{
    return strchr(host, ':') ? xasprintf("[%s]:%d", host, port) : xasprintf("%s:%d", host, port);
}

void sup_print_banner(const struct sup *s)
{
    const struct conf *c = s->conf;
    _cleanup_(freep) char *http = with_port(c->addresses.http, c->ports.http);
    _cleanup_(freep) char *rpc = with_port(c->addresses.rpc, c->ports.rpc);
    _cleanup_(freep) char *serf = with_port(c->addresses.serf, c->ports.serf);
    _cleanup_(freep) char *bind = three(c, http, rpc, serf);
    _cleanup_(freep) char *adv = three(c, c->advertise.http, c->advertise.rpc, c->advertise.serf);
    _cleanup_(freep) char *region = xasprintf("%s (DC: %s)", c->region, c->datacenter);
    struct strbuf files = STRBUF_INIT;

    for (size_t i = 0; i < c->files.n; i++)
        strbuf_addf(&files, "%s%s", i ? ", " : "", c->files.items[i]);
    if (c->files.n)
        sup_say("Loaded configuration from %s", files.data);
    else
        sup_say("No configuration files loaded");
    strbuf_fini(&files);
    sup_say("Starting Steppe agent...");
    sup_say("Steppe agent configuration:\n");
    print_row("Advertise Addrs", adv);
    print_row("Bind Addrs", bind);
    print_row("Client", c->client.enabled ? "true" : "false");
    print_row("Log Level", c->log_level);
    print_row("Region", region);
    print_row("Server", c->server.enabled ? "true" : "false");
    print_row("Version", STEPPE_VERSION);
    (void)putchar('\n');
    (void)fflush(stdout);
}

/* ---- the end ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    (void)remove(path);
    return 0;
}

void sup_finish(struct sup *s)
{
    sup_control_close(s);
    for (size_t i = 0; i < SUP_SERVICES_N; i++)
        sup_lines_fini(&s->procs[i].lines);
    sup_gate_open(s);
    sup_lines_fini(&s->own);
    if (s->tmp_dir)
        (void)nftw(s->tmp_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    for (size_t i = 0; i < ARRAY_LEN(s->lock_fds); i++) {
        if (s->lock_fds[i] >= 0)
            close(s->lock_fds[i]);
    }
    if (s->signal_fd >= 0)
        close(s->signal_fd);
    free(s->tmp_dir);
    free(s->libexec);
    free(s->argv);
    conf_free(s->conf);
}

/* sd_notify(3)'s protocol: a datagram to $NOTIFY_SOCKET; '@' stands for an abstract name. */
void sup_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t len = path ? strlen(path) : 0;
    int fd;

    if (len < 2 || len >= sizeof(un.sun_path))
        return;
    memcpy(un.sun_path, path, len);
    if (*path == '@')
        un.sun_path[0] = 0;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    /* Best effort: systemd falls back to its own timeout. */
    (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&un,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    close(fd);
}
