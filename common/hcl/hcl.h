/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Job files: HashiCorp's configuration language, version 1 (or a JSON document of the same shape),
 * to a tree with a line and column on every node, and from there to the JSON of Nomad's HTTP API.
 * Lexis, grammar, weak typing and error texts are those of Nomad 1.1.0's `job run -hcl1`. No I/O.
 */
#pragma once

#include "base/base.h"
#include "base/strbuf.h"

#define HCL_SIZE_MAX  ((size_t)1 << 20) /* bytes of one document */
#define HCL_DEPTH_MAX 64                /* blocks and lists within each other */
#define HCL_NODES_MAX 65536             /* items and list elements of one document */
#define HCL_ITEMS_MAX 2048              /* items of one object: look-ups in it are linear */
#define HCL_ERROR_MAX 2048

/* Where and what; filled on failure only. The text alone is what Nomad prints, newlines included.
 */
struct hcl_error {
    unsigned line;   /* from 1; 0 when the document as a whole is meant */
    unsigned column; /* from 1, in characters */
    char text[HCL_ERROR_MAX];
};

enum hcl_type {
    HCL_OBJECT,
    HCL_LIST,
    HCL_STRING,
    HCL_NUMBER, /* a whole number in any base: text as written */
    HCL_FLOAT,  /* text as written */
    HCL_BOOL,   /* text is "true" or "false" */
};

struct hcl_key {
    const char *text; /* never NULL; holds no NUL */
    uint32_t hash;    /* of the text, the same in any case */
    unsigned line, column;
    bool quoted;
};

/* `a = 1` has one key; `a "b" "c" { }` has three. */
struct hcl_item {
    const struct hcl_key *keys;
    unsigned n_keys;
    uint32_t hash;         /* of the first key, to find it without following `keys` */
    unsigned line, column; /* of the first key as written, also when keys were stripped */
    struct hcl_node *val;
};

struct hcl_items {
    struct hcl_item *v;
    size_t n;
};

struct hcl_node {
    enum hcl_type type;
    unsigned line, column;
    union {
        struct hcl_items items; /* HCL_OBJECT, in the order of the document */
        struct {
            struct hcl_node **v;
            size_t n;
        } list; /* HCL_LIST */
        struct {
            const char *text; /* NUL terminated; a string's escapes are resolved */
            size_t len;
        } lit; /* all others */
    };
};

/*
 * Parses a document. The tree is the caller's, to be released with hcl_free(); it borrows nothing
 * from `src`. -E2BIG: larger than HCL_SIZE_MAX or one of the other bounds; -EINVAL: not HCL. In
 * both cases *err says why ("At 2:2: object expected closing RBRACE got: EOF").
 */
int hcl_parse(const char *src, size_t len, struct hcl_node **ret, struct hcl_error *err);
/* The same with another bound on the document's size. */
int hcl_parse_max(const char *src, size_t len, size_t len_max, struct hcl_node **ret,
                  struct hcl_error *err);
/* Takes the root that hcl_parse() gave, or NULL. Returns NULL. */
struct hcl_node *hcl_free(struct hcl_node *root);

/* The first item of an object with this first key, exactly; NULL when there is none. */
const struct hcl_item *hcl_find(const struct hcl_node *object, const char *key);

/*
 * What literals mean. In HCL 2, true is the text "true" where one is wanted, not "1"; "$${" and
 * "%%{" stand for "${" and "%{"; 010 is ten. The grammar is the same for both: HCL 1, and
 * expressions that only HCL 2 knows are refused.
 */
enum hcl_version { HCL_1, HCL_2 };

/*
 * A job file to the job object of the HTTP API, as compact JSON without a newline: Nomad's field
 * names, only the fields that were set, plus the ones that Nomad's client fills in itself (names,
 * operands, `restart` of templates ...). Times are in nanoseconds. Appends to `out`.
 * Errors as hcl_parse(); -E2BIG also when `out` is full.
 *
 * Where Nomad 1.1.0's HCL1 parser drops something without a word or crashes, this is an error: a
 * label that a block does not take, a group or volume without one, unknown keys of volume,
 * csi_plugin and sidecar_task, numbers that do not fit, `b = }`. Expressions of HCL2 are refused
 * by name. Accepted beyond it are the keys that only HCL2 has (cores, on_update, body, headers,
 * consul, terminating, datacenter and local_bind_address of upstreams, id of
 * services and checks, a gateway without proxy), a heredoc whose `<<-`
 * anchor ends in the first column, and all JSON documents that mean a job.
 */
int hcl_job_to_json(const char *src, size_t len, enum hcl_version version, struct strbuf *out,
                    struct hcl_error *err);
