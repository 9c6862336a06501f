/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Loading: flags name files, files fill rows, flags go over them, then what hangs together is
 * checked and derived.
 */
#include "conf/conf_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strbuf.h"

static bool is_text(const struct conf_row *row)
{
    return row->type == CONF_STR || (row->type >= CONF_IP && row->type <= CONF_ID);
}

static const void *field(const struct conf *c, const struct conf_row *row)
{
    return (const char *)c + row->offset;
}

static bool owns_field(const struct conf_row *row)
{
    return row->offset != CONF_NO_EFFECT && !(row->flags & CONF_F_ALIAS);
}

struct conf *conf_free(struct conf *c)
{
    if (!c)
        return NULL;
    for (size_t i = 0; i < conf_rows_n; i++) {
        const struct conf_row *row = &conf_rows[i];
        void *at;

        if (!owns_field(row))
            continue;
        at = (char *)c + row->offset;
        if (is_text(row))
            free(*(char **)at);
        else if (conf_row_is_list(row))
            conf_list_fini(at);
        else if (row->type == CONF_MAP || row->type == CONF_PLUGINS)
            conf_map_fini(at);
    }
    conf_list_fini(&c->files);
    conf_list_fini(&c->no_effect);
    free(c);
    return NULL;
}

/* ---- after the sources ---- */

static void set_text(char **at, char *owned)
{
    free(*at);
    *at = owned;
}

/* What -dev changes before the files are read, as in Nomad. */
static void apply_dev(struct conf *c)
{
    c->dev = true;
    c->server.enabled = true;
    c->client.enabled = true;
    c->server.bootstrap_expect = 1;
    c->enable_debug = true;
    set_text(&c->bind_addr, xstrdup("127.0.0.1"));
    set_text(&c->log_level, xstrdup("DEBUG"));
}

/* The old and the new way to say whom to join exclude each other. */
static int check_joins(const struct conf_loader *l, struct errtext *e)
{
    static const char *const keys[] = {"start_join", "retry_join", "retry_max", "retry_interval"};
    bool block = l->from_file[conf_row_find("server.server_join") - conf_rows];

    for (size_t i = 0; block && i < ARRAY_LEN(keys); i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "server.%s", keys[i]);
        if (l->from_file[conf_row_find(path) - conf_rows])
            return err_set(e, -EINVAL,
                           "server_join and %s cannot both be defined; prefer setting the "
                           "server_join stanza",
                           keys[i]);
    }
    return 0;
}

/* Nomad's order and texts (command/agent, 1.1). */
static int check_whole(const struct conf_loader *l, bool for_agent, struct errtext *e)
{
    const struct conf *c = l->conf;

    if (!c->server.enabled && !c->client.enabled)
        return err_set(e, -EINVAL, "Must specify either server, client or dev mode for the agent.");
    if (!*c->data_dir && !c->dev)
        return err_set(e, -EINVAL, "Must specify data directory");
    if (!*c->data_dir && !for_agent)
        return err_set(e, -EINVAL,
                       "Must specify data directory: only the agent makes one for -dev");
    if (c->server.raft_heartbeat_interval * 2 > c->server.raft_election_timeout)
        return err_set(e, -EINVAL,
                       "server.raft_election_timeout must be at least twice "
                       "server.raft_heartbeat_interval");
    if (c->ports.http == c->ports.rpc || c->ports.http == c->ports.serf ||
        c->ports.rpc == c->ports.serf)
        return err_set(e, -EINVAL, "ports: http, rpc and serf must differ (%d, %d, %d)",
                       c->ports.http, c->ports.rpc, c->ports.serf);
    return check_joins(l, e);
}

static void derive_path(char **at, const char *dir, const char *name)
{
    if (!**at && *dir)
        set_text(at, xasprintf("%s/%s", dir, name));
}

/* "/a//b/" -> "/a/b", so that paths made from it are the same however it was written. */
static void tidy_path(char *p)
{
    char *to = p, *from = p;

    while (*from) {
        *to++ = *from++;
        while (to[-1] == '/' && *from == '/')
            from++;
    }
    *to = 0;
    if (to > p + 1 && to[-1] == '/')
        to[-1] = 0;
}

static int derive(struct conf *c, struct errtext *e)
{
    char host[256];

    tidy_path(c->data_dir);
    tidy_path(c->run_dir);
    derive_path(&c->run_dir, c->data_dir, "run");
    derive_path(&c->server.data_dir, c->data_dir, "server");
    derive_path(&c->client.state_dir, c->data_dir, "client");
    derive_path(&c->client.alloc_dir, c->data_dir, "alloc");
    if (strlen(c->run_dir) > CONF_RUN_DIR_MAX)
        return err_set(e, -ENAMETOOLONG,
                       "run_dir is too long for the sockets in it (%zu bytes, at most %d): set a "
                       "shorter one: %s",
                       strlen(c->run_dir), CONF_RUN_DIR_MAX, c->run_dir);
    for (char *p = c->log_level; *p; p++) {
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
    }
    if (!*c->name) {
        if (gethostname(host, sizeof(host)) != 0)
            return err_set(e, -errno, "no host name: %s", strerror(errno));
        host[sizeof(host) - 1] = 0;
        set_text(&c->name, xstrdup(host));
    }
    return conf_addr_resolve(c, e);
}

/* "Error loading configuration from PATH: text", with PATH once when the text begins with it. */
static int name_source(struct errtext *e, int r, const char *path)
{
    struct errtext text = *e;
    size_t n = strlen(path);

    if (strncmp(text.text, path, n) == 0 && (text.text[n] == ':' || text.text[n] == '/'))
        return err_set(e, r, "Error loading configuration from %s", text.text);
    return err_prefix(e, r, "Error loading configuration from %s", path);
}

static int load(struct conf_loader *l, const struct conf_args *args, int argc, char **argv,
                bool for_agent)
{
    int r = 0;

    conf_set_defaults(l->conf);
    l->conf->check = args->check;
    if (args->dev)
        apply_dev(l->conf);
    for (size_t i = 0; !r && i < args->configs.n; i++) {
        r = conf_parse_path(l, args->configs.items[i]);
        if (r)
            r = name_source(l->e, r, args->configs.items[i]);
    }
    if (!r)
        r = conf_flags_apply(l, argc, argv);
    if (!r)
        r = check_whole(l, for_agent, l->e);
    if (!r)
        r = derive(l->conf, l->e);
    return r;
}

static int load_conf(int argc, char **argv, bool for_agent, struct conf **ret, struct errtext *e)
{
    struct conf_loader *l;
    struct conf_args args;
    struct errtext own;
    int r;

    e = e ? e : &own;
    r = conf_flags_scan(argc, argv, &args, e);
    if (r)
        return r;
    if (args.help) {
        conf_list_fini(&args.configs);
        return CONF_E_HELP;
    }
    l = xcalloc(1, sizeof(*l));
    l->e = e;
    l->conf = xcalloc(1, sizeof(*l->conf));
    r = load(l, &args, argc, argv, for_agent);
    conf_list_fini(&args.configs);
    for (size_t i = 0; i < ARRAY_LEN(l->origin); i++)
        free(l->origin[i]);
    if (r)
        conf_free(l->conf);
    else
        *ret = l->conf;
    free(l);
    return r;
}

int conf_load(int argc, char **argv, struct conf **ret_conf, struct errtext *e)
{
    return load_conf(argc, argv, false, ret_conf, e);
}

int conf_load_agent(int argc, char **argv, struct conf **ret_conf, struct errtext *e)
{
    return load_conf(argc, argv, true, ret_conf, e);
}

/* ---- looking at one, comparing two ---- */

static void dump_quoted(struct strbuf *b, const char *s)
{
    strbuf_addc(b, '"');
    for (; *s; s++) {
        unsigned char ch = (unsigned char)*s;

        if (ch == '"' || ch == '\\')
            strbuf_addf(b, "\\%c", ch);
        else if (ch < 0x20 || ch == 0x7f)
            strbuf_addf(b, "\\x%02x", ch);
        else
            strbuf_addc(b, (char)ch);
    }
    strbuf_addc(b, '"');
}

static void dump_value(struct strbuf *b, const struct conf *c, const struct conf_row *row)
{
    const void *at = field(c, row);
    char dur[DURATION_TEXT_MAX];
    const struct conf_list *l = at;
    const struct conf_map *m = at;

    if (is_text(row)) {
        dump_quoted(b, (row->flags & CONF_F_SECRET) && **(char *const *)at ? "(secret)"
                                                                           : *(char *const *)at);
    } else if (conf_row_is_list(row)) {
        strbuf_addc(b, '[');
        for (size_t i = 0; i < l->n; i++) {
            strbuf_adds(b, i ? ", " : "");
            dump_quoted(b, l->items[i]);
        }
        strbuf_addc(b, ']');
    } else if (row->type == CONF_MAP) {
        strbuf_adds(b, "{");
        for (size_t i = 0; i < m->n; i++) {
            strbuf_addc(b, ' ');
            dump_quoted(b, m->keys[i]);
            strbuf_adds(b, " = ");
            dump_quoted(b, m->values[i]);
        }
        strbuf_adds(b, m->n ? " }" : "}");
    } else if (row->type == CONF_BOOL) {
        strbuf_adds(b, *(const bool *)at ? "true" : "false");
    } else if (row->type == CONF_INT) {
        strbuf_addf(b, "%d", *(const int *)at);
    } else if (row->type == CONF_FLOAT) {
        strbuf_addf(b, "%g", *(const double *)at);
    } else if (row->type == CONF_DUR) {
        strbuf_addf(b, "\"%s\"", duration_format(*(const int64_t *)at, dur));
    } else {
        strbuf_addf(b, "%lld", *(const long long *)at);
    }
}

char *conf_dump(const struct conf *c)
{
    struct strbuf b = STRBUF_INIT;

    for (size_t i = 0; i < conf_rows_n; i++) {
        if (!owns_field(&conf_rows[i]))
            continue;
        strbuf_addf(&b, "%s = ", conf_rows[i].path);
        dump_value(&b, c, &conf_rows[i]);
        strbuf_addc(&b, '\n');
    }
    for (size_t i = 0; i < c->no_effect.n; i++)
        strbuf_addf(&b, "# accepted, without effect yet: %s\n", c->no_effect.items[i]);
    return strbuf_take(&b);
}

void conf_compare(const struct conf *from, const struct conf *to, struct conf_list *ret_applied,
                  struct conf_list *ret_fixed)
{
    *ret_applied = *ret_fixed = (struct conf_list){0};
    for (size_t i = 0; i < conf_rows_n; i++) {
        const struct conf_row *row = &conf_rows[i];
        struct strbuf a = STRBUF_INIT, b = STRBUF_INIT;

        if (!owns_field(row))
            continue;
        dump_value(&a, from, row);
        dump_value(&b, to, row);
        /* A secret shows the same text whatever it is. */
        if (a.len != b.len || memcmp(a.data, b.data, a.len) != 0 ||
            (is_text(row) &&
             strcmp(*(char *const *)field(from, row), *(char *const *)field(to, row)) != 0))
            conf_list_add(row->flags & CONF_F_RELOAD ? ret_applied : ret_fixed, row->path);
        strbuf_fini(&a);
        strbuf_fini(&b);
    }
}

void conf_list_free(struct conf_list *l)
{
    conf_list_fini(l);
}
