/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What the files of common/conf share: the table of options and the loader's state. Nobody else
 * includes this, except the tests.
 */
#pragma once

#include "base/base.h"
#include "base/err.h"
#include "conf/conf.h"

#define CONF_FILE_MAX   (1u << 20) /* bytes of one configuration file */
#define CONF_FILES_MAX  256        /* files of one node */
#define CONF_DEPTH_MAX  16         /* nested blocks */
#define CONF_STRING_MAX 65536      /* bytes of one value */
#define CONF_NO_EFFECT  SIZE_MAX   /* offset of a row that is accepted without a meaning yet */

enum conf_type {
    CONF_STR,
    CONF_BOOL,
    CONF_INT,       /* int, within min..max */
    CONF_U64,       /* uint64_t, within min..max */
    CONF_I64,       /* int64_t, within min..max */
    CONF_FLOAT,     /* double, within min..max */
    CONF_DUR,       /* int64_t nanoseconds, within min..max (given in milliseconds) */
    CONF_IP,        /* IP address, or a {{ GetPrivateIP }} template: to listen on */
    CONF_ADVERTISE, /* the same, or a host name, with or without a port */
    CONF_PATH,      /* absolute path */
    CONF_KEY,       /* base64 of 16, 24 or 32 bytes */
    CONF_LEVEL,     /* log level */
    CONF_NAME,      /* region, datacenter, node name */
    CONF_ID,        /* the same, shorter, may be empty */
    CONF_LIST,      /* strings */
    CONF_HOSTS,     /* list of host[:port] */
    CONF_SOURCES,   /* the same, or exec=COMMAND */
    CONF_CIDRS,     /* list of IP or IP/BITS */
    CONF_MAP,       /* block of free keys, strings as values */
    CONF_BLOCK,     /* block with rows of its own */
    CONF_TITLED,    /* block with a title and rows of its own, repeatable */
    CONF_OPAQUE,    /* block whose inside is not looked at */
    CONF_OPAQUE_TITLED,
    CONF_PLUGINS, /* the same, but its scalars go into a map: "TITLE.LAST_NAME" -> value */
};

enum {
    CONF_F_RELOAD = 1 << 0,  /* takes effect on SIGHUP */
    CONF_F_STICKY = 1 << 1,  /* a bool that later sources can only switch on, as in Nomad */
    CONF_F_ALIAS = 1 << 2,   /* shares its field with another row */
    CONF_F_SECRET = 1 << 3,  /* not shown in conf_dump() */
    CONF_F_DERIVED = 1 << 4, /* resolved after loading: what differs may just be the network */
};

struct conf_row {
    const char *path; /* "server.bootstrap_expect" */
    enum conf_type type;
    const char *def; /* as it would stand in a file, NULL: empty, 0, false */
    int64_t min, max;
    unsigned flags;
    size_t offset; /* in struct conf, or CONF_NO_EFFECT */
};

#define CONF_ROWS_MAX 320
extern const struct conf_row conf_rows[];
extern const size_t conf_rows_n;

const struct conf_row *conf_row_find(const char *path);
/* The last part of the row's path. */
const char *conf_row_name(const struct conf_row *row);
static inline bool conf_row_is_block(const struct conf_row *row)
{
    return row->type >= CONF_BLOCK;
}
static inline bool conf_row_is_list(const struct conf_row *row)
{
    return row->type >= CONF_LIST && row->type <= CONF_CIDRS;
}

/* State while the sources of one configuration are read. */
struct conf_loader {
    struct conf *conf;
    const char *file;              /* being read, NULL: a flag */
    unsigned line;                 /* 0: unknown (JSON) */
    char *origin[CONF_ROWS_MAX];   /* "FILE:LINE" of the last value from a file, owned */
    bool from_file[CONF_ROWS_MAX]; /* some file has set it */
    struct errtext *e;
};

/* ---- values ---- */

/* Checks and stores. What is wrong with it goes into e, without place and key. */
int conf_value_set(struct conf *c, const struct conf_row *row, const char *text, struct errtext *e);
int conf_value_set_list(struct conf *c, const struct conf_row *row, const char *const *items,
                        size_t n, struct errtext *e);
int conf_value_map_put(struct conf *c, const struct conf_row *row, const char *key,
                       const char *value, struct errtext *e);
void conf_list_add(struct conf_list *l, const char *item);
void conf_list_fini(struct conf_list *l);
bool conf_list_has(const struct conf_list *l, const char *item);
void conf_map_fini(struct conf_map *m);
void conf_set_defaults(struct conf *c);

/* ---- files ---- */

/*
 * HCL-like text -> what libconfuse reads, line for line: comments blanked, bracket lists to braces,
 * `key = {` to `key {`, heredocs and escapes to plain strings, blocks whose inside is free emptied.
 * Checks tokens, nesting and balance. -EINVAL with "FILE:LINE: text".
 */
int conf_prepass(const char *file, const char *text, size_t len, char **ret_text,
                 struct errtext *e);

/* Reads one file's text into the loader's struct. */
int conf_parse_text(struct conf_loader *l, const char *file, const char *text, size_t len);
int conf_parse_json(struct conf_loader *l, const char *file, const char *text, size_t len);
/* Reads a file, or the *.hcl and *.json of a folder. */
int conf_parse_path(struct conf_loader *l, const char *path);

/* Records that row was given (l->file, l->line). */
void conf_loader_seen(struct conf_loader *l, const struct conf_row *row);
/* Puts "FILE:LINE: path: " before e's text; returns r. */
int conf_loader_error(struct conf_loader *l, const struct conf_row *row, int r);

/* ---- addresses ---- */

/* NULL when text is fine for the row's type, else what is wrong. */
const char *conf_addr_problem(const char *text, bool advertise);
const char *conf_host_problem(const char *text);
const char *conf_source_problem(const char *text);
const char *conf_cidr_problem(const char *text);
int conf_addr_resolve(struct conf *c, struct errtext *e);

/* ---- flags ---- */

struct conf_args {
    struct conf_list configs;
    bool dev, help, check;
};

/* First pass: what must be known before the files; second: values over the files. */
int conf_flags_scan(int argc, char **argv, struct conf_args *ret_args, struct errtext *e);
int conf_flags_apply(struct conf_loader *l, int argc, char **argv);
