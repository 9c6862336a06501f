/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The loop: signals, pipes, control socket, deadlines. And what signals mean.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "sup.h"

#define FDS_MAX (2 + 2 * SUP_SERVICES_N + SUP_CONNS_MAX)

/* ---- signals ---- */

static char *join(const struct conf_list *l)
{
    struct strbuf b = STRBUF_BOUND(1024);

    for (size_t i = 0; i < l->n; i++)
        strbuf_addf(&b, "%s%s", i ? "," : "", l->items[i]);
    return strbuf_take(&b);
}

static void report_changes(struct sup *s, const struct conf *fresh)
{
    struct conf_list applied, fixed;
    char *names;

    conf_compare(s->conf, fresh, &applied, &fixed);
    names = join(&applied);
    sup_log(s, LOG_INFO, "configuration reloaded changed=\"%s\"", names);
    free(names);
    if (fixed.n) {
        names = join(&fixed);
        sup_log(s, LOG_WARN, "these changes need a restart keys=\"%s\"", names);
        free(names);
    }
    conf_list_free(&applied);
    conf_list_free(&fixed);
}

/* A bad file changes nothing: the services are not even told. */
static void reload(struct sup *s)
{
    struct conf *fresh = NULL;
    struct errtext e = {{0}};

    sup_say("Reloading configuration...");
    if (conf_load(s->argc, s->argv, &fresh, &e) != 0) {
        sup_log(s, LOG_ERROR, "configuration not reloaded, the running one stays: %s", e.text);
        return;
    }
    report_changes(s, fresh);
    (void)log_level_parse(fresh->log_level, &s->level);
    conf_free(s->conf);
    s->conf = fresh;
    for (size_t i = 0; i < SUP_SERVICES_N; i++) {
        if (s->core.units[i].state == SUP_UP)
            (void)kill(s->procs[i].pid, SIGHUP);
        else if (s->core.units[i].state == SUP_STARTING)
            s->procs[i].hup_due = true; /* no handler yet: SIGHUP would end it */
    }
}

static void stop(struct sup *s, int sig)
{
    struct sup_out out = {.n = 0};

    sup_say("Caught signal: %s", sig == SIGINT ? "interrupt" : "terminated");
    if (s->core.stopping) { /* the second one: no more patience */
        s->exit_code = 1;
        for (size_t i = 0; i < SUP_SERVICES_N; i++) {
            if (s->procs[i].pid > 0)
                (void)kill(s->procs[i].pid, SIGKILL);
        }
        return;
    }
    s->leaving = sig == SIGINT ? s->conf->leave_on_interrupt : s->conf->leave_on_terminate;
    s->exit_code = s->leaving ? 0 : 1; /* as Nomad's agent */
    if (s->leaving)
        sup_say("Gracefully shutting down agent...");
    sup_notify("STOPPING=1");
    sup_gate_open(s);
    sup_core_stop(&s->core, clock_mono(), &out);
    sup_perform(s, &out);
}

static void on_signals(struct sup *s)
{
    struct signalfd_siginfo si;

    while (read(s->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
        switch (si.ssi_signo) {
        case SIGCHLD:
            sup_proc_reap(s);
            break;
        case SIGHUP:
            if (!s->core.stopping)
                reload(s);
            break;
        default:
            stop(s, (int)si.ssi_signo);
            break;
        }
    }
}

/* ---- one turn ---- */

static int poll_timeout(const struct sup *s)
{
    int64_t core = sup_core_deadline(&s->core), conn = sup_control_deadline(s);
    int64_t next = core < 0 ? conn : conn < 0 ? core : MIN(core, conn);

    if (!s->gate_open)
        next = next < 0 ? s->started.ns + SUP_GATE_WAIT : MIN(next, s->started.ns + SUP_GATE_WAIT);
    if (next < 0)
        return -1;
    next -= clock_mono().ns;
    return next <= 0 ? 0 : (int)MIN(next / NS_PER_MS + 1, (int64_t)60000);
}

static size_t add_fd(struct pollfd *fds, size_t n, int fd, short events)
{
    fds[n] = (struct pollfd){.fd = fd, .events = events};
    return n + 1;
}

static void announce(struct sup *s)
{
    if (!s->announced && sup_core_all_up(&s->core)) {
        s->announced = true;
        sup_say("Steppe agent started! Log data will stream in below:\n");
        sup_notify("READY=1");
        sup_gate_open(s);
    }
    if (!s->gate_open && clock_mono().ns - s->started.ns >= SUP_GATE_WAIT)
        sup_gate_open(s);
}

/*
 * A service that refuses to start on a node that was never up (a port in use, a bad address, a join
 * that fails) will not change its mind: the agent ends, as Nomad's does. Later the same service is
 * tried for ever: then the node has something to lose.
 */
static void give_up(struct sup *s)
{
    struct sup_out out = {.n = 0};

    if (s->announced || s->core.stopping)
        return;
    for (size_t i = 0; i < SUP_SERVICES_N; i++) {
        if (s->core.units[i].failures < SUP_START_TRIES || !s->procs[i].refused)
            continue;
        sup_log(s, LOG_ERROR, "the node cannot start: service %s says why above, giving up",
                sup_services[i].name);
        s->exit_code = 1;
        sup_gate_open(s);
        sup_core_stop(&s->core, clock_mono(), &out);
        sup_perform(s, &out);
        return;
    }
}

static int turn(struct sup *s)
{
    struct pollfd fds[FDS_MAX];
    struct sup_out out = {.n = 0};
    size_t n = 0, conns_at;

    n = add_fd(fds, n, s->signal_fd, POLLIN);
    n = add_fd(fds, n, s->listen_fd, POLLIN);
    for (size_t i = 0; i < SUP_SERVICES_N; i++) {
        n = add_fd(fds, n, s->procs[i].log_fd, POLLIN); /* -1 is skipped by poll */
        n = add_fd(fds, n, s->procs[i].ready_fd, POLLIN);
    }
    conns_at = n;
    for (size_t i = 0; i < SUP_CONNS_MAX; i++) {
        const struct sup_conn *c = &s->conns[i];

        n = add_fd(fds, n, c->fd, (short)(POLLIN | (c->out.len > c->sent ? POLLOUT : 0)));
    }
    assert(n == FDS_MAX);
    if (poll(fds, n, poll_timeout(s)) < 0 && errno != EINTR)
        return -errno;
    for (size_t i = 0; i < SUP_CONNS_MAX; i++) {
        if (fds[conns_at + i].fd >= 0 && fds[conns_at + i].revents)
            sup_control_event(s, &s->conns[i], fds[conns_at + i].revents);
    }
    for (size_t i = 0; i < SUP_SERVICES_N; i++) {
        if (fds[2 + 2 * i].fd >= 0 && fds[2 + 2 * i].revents)
            sup_proc_read_log(s, (enum sup_service_id)i);
        if (fds[3 + 2 * i].fd >= 0 && fds[3 + 2 * i].revents)
            sup_proc_read_ready(s, (enum sup_service_id)i);
    }
    if (fds[0].revents)
        on_signals(s);
    if (fds[1].revents)
        sup_control_accept(s);
    sup_core_tick(&s->core, clock_mono(), &out);
    sup_perform(s, &out);
    announce(s);
    give_up(s);
    sup_control_settle(s);
    return 0;
}

int sup_run(struct sup *s)
{
    struct sup_out out = {.n = 0};

    s->started = clock_mono();
    sup_core_start(&s->core, s->started, &out);
    sup_perform(s, &out);
    while (!sup_core_done(&s->core)) {
        int r = turn(s);

        if (r < 0) {
            sup_log(s, LOG_ERROR, "the loop failed error=\"%s\"", strerror(-r));
            return 1;
        }
    }
    sup_log(s, LOG_INFO, "stopped");
    return s->exit_code;
}
