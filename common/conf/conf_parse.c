/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Files -> option rows. libconfuse gets every option as a string (a list of strings, a section);
 * conf_value.c checks types, so that both kinds of file and the flags behave alike. Values are
 * taken in libconfuse's validation callback, the only moment when the line number is known.
 */
#include "conf/conf_internal.h"

#include <confuse.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/strbuf.h"

/*
 * libconfuse's lexer is global and its callbacks carry no user pointer: one parse at a time in a
 * process, which is what a configuration needs.
 */
static struct conf_loader *active;
static bool active_failed; /* e holds the first error of this parse */

/* ---- the loader ---- */

void conf_loader_seen(struct conf_loader *l, const struct conf_row *row)
{
    size_t id = (size_t)(row - conf_rows);

    if (row->offset == CONF_NO_EFFECT && !conf_row_is_block(row) &&
        !conf_list_has(&l->conf->no_effect, row->path))
        conf_list_add(&l->conf->no_effect, row->path);
    if (row->type >= CONF_OPAQUE && row->offset == CONF_NO_EFFECT &&
        !conf_list_has(&l->conf->no_effect, row->path))
        conf_list_add(&l->conf->no_effect, row->path);
    if (!l->file)
        return;
    l->from_file[id] = true;
    free(l->origin[id]);
    l->origin[id] = l->line ? xasprintf("%s:%u", l->file, l->line) : xstrdup(l->file);
}

int conf_loader_error(struct conf_loader *l, const struct conf_row *row, int r)
{
    /* Nomad's own texts name the key themselves and stand alone. */
    bool plain = row->type == CONF_NAME || row->type == CONF_PATH || row->type == CONF_KEY ||
                 row->type == CONF_LEVEL;

    if (!plain)
        err_prefix(l->e, r, "%s", row->path);
    if (l->file && l->line)
        return err_prefix(l->e, r, "%s:%u", l->file, l->line);
    return l->file ? err_prefix(l->e, r, "%s", l->file) : r;
}

/* ---- rows -> libconfuse options ---- */

/* Is path "BLOCK.name" for the given block ("" is the top)? */
static bool is_child(const char *path, const char *block)
{
    size_t n = strlen(block);

    if (n && (strncmp(path, block, n) != 0 || path[n] != '.'))
        return false;
    return !strchr(path + n + (n > 0), '.');
}

static int on_value(cfg_t *cfg, cfg_opt_t *opt);

static cfg_opt_t *build_opts(const char *block)
{
    cfg_opt_t *opts;
    size_t n = 0;

    for (size_t i = 0; i < conf_rows_n; i++)
        n += is_child(conf_rows[i].path, block);
    opts = xcalloc(n + 1, sizeof(*opts)); /* the zeroed last one ends the table */
    n = 0;
    for (size_t i = 0; i < conf_rows_n; i++) {
        const struct conf_row *row = &conf_rows[i];
        cfg_opt_t *o = &opts[n];

        if (!is_child(row->path, block))
            continue;
        n++;
        o->name = conf_row_name(row);
        o->type = CFGT_STR;
        o->flags = CFGF_NODEFAULT;
        o->validcb = on_value;
        o->def.number = (long)i; /* unused by a string without default: tells on_value() the row */
        if (conf_row_is_list(row))
            o->flags |= CFGF_LIST;
        if (row->type != CONF_MAP && !conf_row_is_block(row))
            continue;
        o->type = CFGT_SEC;
        o->subopts = build_opts(row->path);
        if (row->type == CONF_MAP || row->type == CONF_PLUGINS)
            o->flags |= CFGF_KEYSTRVAL;
        if (row->type == CONF_TITLED || row->type == CONF_OPAQUE_TITLED ||
            row->type == CONF_PLUGINS)
            o->flags |= CFGF_MULTI | CFGF_TITLE;
    }
    return opts;
}

static void free_opts(cfg_opt_t *opts)
{
    for (cfg_opt_t *o = opts; o->name; o++) {
        if (o->subopts)
            free_opts(o->subopts);
    }
    free(opts);
}

/* ---- libconfuse's callbacks ---- */

static int take_map(struct conf_loader *l, const struct conf_row *row, cfg_t *sec)
{
    for (cfg_opt_t *o = sec->opts; o && o->name; o++) {
        const char *value = o->nvalues ? o->values[0]->string : NULL;
        int r = value ? conf_value_map_put(l->conf, row, o->name, value, l->e) : 0;

        if (r)
            return r;
    }
    return 0;
}

static int take_plugin(struct conf_loader *l, const struct conf_row *row, cfg_t *sec)
{
    for (cfg_opt_t *o = sec->opts; o && o->name; o++) {
        const char *value = o->nvalues ? o->values[0]->string : NULL;
        char *key = xasprintf("%s.%s", cfg_title(sec), o->name);
        int r = value ? conf_value_map_put(l->conf, row, key, value, l->e) : 0;

        free(key);
        if (r)
            return r;
    }
    return 0;
}

static int take_list(struct conf_loader *l, const struct conf_row *row, cfg_opt_t *opt)
{
    const char **items = xcalloc(opt->nvalues, sizeof(*items));
    int r;

    for (unsigned i = 0; i < opt->nvalues; i++)
        items[i] = opt->values[i]->string;
    r = conf_value_set_list(l->conf, row, items, opt->nvalues, l->e);
    free(items);
    return r;
}

static int on_value(cfg_t *cfg, cfg_opt_t *opt)
{
    struct conf_loader *l = active;
    const struct conf_row *row = &conf_rows[opt->def.number];
    int r = 0;

    l->line = (unsigned)cfg->line;
    if (row->type == CONF_MAP)
        r = take_map(l, row, cfg_opt_getnsec(opt, 0));
    else if (row->type == CONF_PLUGINS)
        r = take_plugin(l, row, cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1));
    else if (conf_row_is_list(row))
        r = take_list(l, row, opt);
    else if (!conf_row_is_block(row))
        r = conf_value_set(l->conf, row, opt->values[opt->nvalues - 1]->string, l->e);
    if (r) {
        active_failed = true;
        conf_loader_error(l, row, r);
        return -1;
    }
    conf_loader_seen(l, row);
    return 0;
}

/* libconfuse's texts that a user can meet after the pre-pass, in the words of this project. */
static const struct {
    const char *theirs, *ours;
} texts[] = {
    {"missing equal sign after option '%s'", "key \"%s\" needs a value: %s = ..."},
    {"missing opening brace for section '%s'", "\"%s\" is a block without a title: %s { ... }"},
    {"missing title for section '%s'", "block \"%s\" needs a title: %s \"NAME\" { ... }"},
    {"unexpected token '%s'", "a list where one plain value is expected"},
};

static void PRINTF_LIKE(1, 0) translate(const char *fmt, va_list ap, char *text, size_t cap)
{
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const char *name, *from = texts[i].ours;
        size_t n = 0;

        if (strcmp(fmt, texts[i].theirs) != 0)
            continue;
        name = va_arg(ap, const char *);
        for (; *from && n + 1 < cap; from++) {
            if (from[0] == '%' && from[1] == 's') {
                n += (size_t)snprintf(text + n, cap - n, "%.64s", name);
                n = MIN(n, cap - 1);
                from++;
            } else {
                text[n++] = *from;
            }
        }
        text[n] = 0;
        return;
    }
    (void)vsnprintf(text, cap, fmt, ap);
}

static void PRINTF_LIKE(2, 0) on_error(cfg_t *cfg, const char *fmt, va_list ap)
{
    struct conf_loader *l = active;
    bool unknown = strcmp(fmt, "no such option '%s'") == 0;
    char text[256];

    /* A block with free keys reports each of them here. */
    if (active_failed || (unknown && (cfg->flags & CFGF_KEYSTRVAL)))
        return;
    active_failed = true;
    if (!unknown) {
        translate(fmt, ap, text, sizeof(text));
        err_set(l->e, -EINVAL, "%s:%d: %s", l->file, cfg->line, text);
        return;
    }
    (void)snprintf(text, sizeof(text), "%s", va_arg(ap, const char *));
    if (strcmp(cfg->name, "root") == 0)
        err_set(l->e, -EINVAL, "%s:%d: unknown key \"%s\"", l->file, cfg->line, text);
    else
        err_set(l->e, -EINVAL, "%s:%d: unknown key \"%s\" in block \"%s\"", l->file, cfg->line,
                text, cfg->name);
}

/* ---- files ---- */

int conf_parse_text(struct conf_loader *l, const char *file, const char *text, size_t len)
{
    cfg_opt_t *opts;
    cfg_t *cfg;
    char *ready;
    int r;

    r = conf_prepass(file, text, len, &ready, l->e);
    if (r)
        return r;
    opts = build_opts("");
    cfg = cfg_init(opts, CFGF_NONE);
    if (!cfg) {
        free_opts(opts);
        free(ready);
        return err_set(l->e, -ENOMEM, "%s: libconfuse does not start", file);
    }
    (void)cfg_set_error_function(cfg, on_error);
    l->file = file;
    l->line = 0;
    active = l;
    active_failed = false;
    if (cfg_parse_buf(cfg, ready) != CFG_SUCCESS) {
        r = -EINVAL;
        if (!active_failed)
            err_set(l->e, r, "%s: not a configuration file", file);
    }
    active = NULL;
    l->file = NULL;
    cfg_free(cfg);
    free_opts(opts);
    free(ready);
    return r;
}

static bool has_suffix(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);

    return n > m && strcmp(s + n - m, suffix) == 0;
}

static int parse_file(struct conf_loader *l, const char *path)
{
    struct strbuf text = STRBUF_BOUND(CONF_FILE_MAX + 1);
    int fd, r = 0;
    ssize_t n;

    if (l->conf->files.n >= CONF_FILES_MAX)
        return err_set(l->e, -E2BIG, "more than %d configuration files", CONF_FILES_MAX);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(l->e, -errno, "open %s: %s", path, strerror(errno));
    do {
        char *room = strbuf_reserve(&text, 16384);

        if (!room && text.len <= CONF_FILE_MAX)
            room = strbuf_reserve(&text, CONF_FILE_MAX + 1 - text.len);
        if (!room)
            break;
        n = read(fd, room, 16384);
        if (n < 0)
            r = err_set(l->e, -errno, "read %s: %s", path, strerror(errno));
        else
            text.len += (size_t)n;
    } while (n > 0);
    close(fd);
    if (!r && strbuf_failed(&text))
        r = err_set(l->e, -EFBIG, "%s: larger than %u bytes", path, CONF_FILE_MAX);
    if (!r)
        r = has_suffix(path, ".json") ? conf_parse_json(l, path, text.data, text.len)
                                      : conf_parse_text(l, path, text.data, text.len);
    strbuf_fini(&text);
    if (!r)
        conf_list_add(&l->conf->files, path);
    return r;
}

static int wanted(const struct dirent *d)
{
    const char *n = d->d_name;

    if (!has_suffix(n, ".hcl") && !has_suffix(n, ".json"))
        return 0;
    return strncmp(n, ".#", 2) != 0; /* an editor's lock; "x~" and "#x#" end otherwise */
}

int conf_parse_path(struct conf_loader *l, const char *path)
{
    struct dirent **names;
    struct stat st;
    int n, r = 0;

    if (stat(path, &st) != 0)
        return err_set(l->e, -errno, "stat %s: %s", path,
                       errno == ENOENT ? "no such file or directory" : strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return parse_file(l, path);
    n = scandir(path, &names, wanted, NULL);
    if (n < 0)
        return err_set(l->e, -errno, "open %s: %s", path, strerror(errno));
    /* strcmp order, not the locale's. */
    for (int i = 1; i < n; i++) {
        for (int j = i; j > 0 && strcmp(names[j - 1]->d_name, names[j]->d_name) > 0; j--) {
            struct dirent *swap = names[j];

            names[j] = names[j - 1];
            names[j - 1] = swap;
        }
    }
    for (int i = 0; i < n; i++) {
        char *file = xasprintf("%s/%s", path, names[i]->d_name);

        if (!r && stat(file, &st) == 0 && S_ISREG(st.st_mode))
            r = parse_file(l, file);
        free(file);
        free(names[i]);
    }
    free(names);
    return r;
}
