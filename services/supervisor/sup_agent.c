/* SPDX-License-Identifier: MPL-2.0 */
/*
 * From the arguments to a running node. Errors before the start go to stderr with "==> " before
 * them and end with status 1, as with Nomad's agent.
 */
#include "sup_agent.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sup.h"

static int complain(const char *text)
{
    (void)fprintf(stderr, "==> %s\n", text);
    return 1;
}

static void print_usage(FILE *f)
{
    (void)fprintf(f,
                  "Usage: steppe agent [options]\n\n"
                  "  Starts the Steppe agent and runs until an interrupt is received.\n"
                  "  The agent may be a client and/or server.\n\n"
                  "  The agent's configuration primarily comes from the config files used, but a\n"
                  "  subset of the options may also be passed directly as CLI arguments, listed\n"
                  "  below.\n\n%s",
                  conf_flags_help());
}

/* $STEPPE_LIBEXEC, else the folder of our own program. */
static char *find_libexec(void)
{
    const char *env = getenv("STEPPE_LIBEXEC");
    char self[PATH_MAX];
    ssize_t n;
    char *slash;

    if (env && *env)
        return xstrdup(env);
    n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0)
        return xstrdup(".");
    self[n] = 0;
    slash = strrchr(self, '/');
    if (slash)
        *slash = 0;
    return xstrdup(self);
}

/* The services' arguments: ours, and the data_dir that was made for -dev. */
static int prepare_args(struct sup *s, int argc, char **argv, struct errtext *e)
{
    const char *base = getenv("TMPDIR");
    char *dir;

    s->argv = xcalloc((size_t)argc + 2, sizeof(*s->argv));
    memcpy(s->argv, argv, (size_t)argc * sizeof(*argv));
    s->argc = argc;
    if (*s->conf->data_dir)
        return 0;
    assert(s->conf->dev);
    dir = xasprintf("%s/steppe-dev-XXXXXX", base && *base == '/' ? base : "/tmp");
    if (!mkdtemp(dir)) {
        int r = err_set(e, -errno, "cannot make a folder for -dev: %s: %s", dir, strerror(errno));

        free(dir);
        return r;
    }
    (void)chmod(dir, 0711); /* tasks of other users find their way through it */
    s->tmp_dir = dir;
    s->argv[s->argc++] = xasprintf("-data-dir=%s", dir);
    s->conf = conf_free(s->conf);
    return conf_load(s->argc, s->argv, &s->conf, e);
}

static void log_start(struct sup *s)
{
    const struct conf_list *l = &s->conf->no_effect;
    struct strbuf b = STRBUF_BOUND(2048);

    for (size_t i = 0; i < l->n; i++)
        strbuf_addf(&b, "%s%s", i ? "," : "", l->items[i]);
    if (l->n)
        sup_log(s, LOG_INFO, "configuration keys accepted, without effect yet keys=%s",
                b.data ? b.data : "");
    strbuf_fini(&b);
    if (s->conf->server.enabled && !*s->conf->server.encrypt)
        sup_log(s, LOG_INFO, "gossip is not encrypted: no server.encrypt key");
}

static void init(struct sup *s)
{
    unsigned roles = (s->conf->server.enabled ? SUP_ROLE_SERVER : 0) |
                     (s->conf->client.enabled ? SUP_ROLE_CLIENT : 0);

    sup_core_init(&s->core, roles);
    for (size_t i = 0; i < SUP_SERVICES_N; i++) {
        s->procs[i] = (struct sup_proc){.log_fd = -1, .ready_fd = -1};
        s->procs[i].lines.service = sup_services[i].name;
    }
    s->own.service = "supervisor";
    s->gate.len_max = SUP_GATE_MAX;
    (void)log_level_parse(s->conf->log_level, &s->level);
    s->libexec = find_libexec();
}

static int run_node(struct sup *s, int argc, char **argv)
{
    struct errtext e = {{0}};
    char *tmp_arg = NULL;
    int r = prepare_args(s, argc, argv, &e);

    if (s->tmp_dir)
        tmp_arg = s->argv[s->argc - 1];
    if (!r) {
        init(s);
        if (s->conf->server.bootstrap_expect == 1 && s->conf->server.enabled && !s->conf->dev)
            (void)complain("WARNING: Bootstrap mode enabled! Potentially unsafe operation.");
        sup_print_banner(s);
        r = sup_start(s, &e);
    }
    if (r) {
        r = complain(e.text);
        s->gate_open = true;
    } else {
        log_start(s);
        r = sup_run(s);
    }
    sup_finish(s);
    free(tmp_arg);
    return r;
}

int sup_agent_main(int argc, char **argv)
{
    struct errtext e = {{0}};
    struct sup *s;
    int r;

    if (conf_flags_check(argc, argv, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.text);
        print_usage(stderr);
        return 1;
    }
    s = xcalloc(1, sizeof(*s));
    for (size_t i = 0; i < SUP_CONNS_MAX; i++)
        s->conns[i] = (struct sup_conn){.fd = -1, .follow = -1, .wait_id = -1};
    s->signal_fd = s->listen_fd = s->lock_fds[0] = s->lock_fds[1] = -1;
    r = conf_load_agent(argc, argv, &s->conf, &e);
    if (r == CONF_E_HELP) {
        print_usage(stdout);
        r = 0;
    } else if (r) {
        r = complain(e.text);
    } else if (s->conf->check) {
        _cleanup_(freep) char *text = conf_dump(s->conf);

        (void)fputs(text, stdout);
        conf_free(s->conf);
    } else {
        r = run_node(s, argc, argv);
    }
    free(s);
    return r;
}
