/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Values without a schema, and the errors of turning a tree into them. A block decodes as
 * HashiCorp's library decodes it into a Go map: a block within is a list of maps, a repeated list
 * grows, a repeated literal is replaced within the type of the first.
 */
#pragma once

#include "hcl/hcl_tree.h"

enum hcl_kind {
    HCL_V_BOOL,
    HCL_V_INT,
    HCL_V_FLOAT,
    HCL_V_STRING,
    HCL_V_LIST,
    HCL_V_MAPS, /* blocks: a list in which all are maps */
    HCL_V_MAP,
};

struct hcl_member;

struct hcl_value {
    enum hcl_kind kind;
    unsigned line, column;
    union {
        bool b;
        int64_t i;
        double f;
        struct {
            const char *s; /* NUL terminated */
            size_t len;
        } str;
        struct {
            struct hcl_value **v;
            size_t n, cap;
        } list; /* LIST and MAPS */
        struct {
            struct hcl_member *v;
            size_t n, cap;
        } map;
    };
};

struct hcl_member {
    const char *key;
    uint32_t hash;
    struct hcl_value *val;
};

/*
 * What a step of the mapping works with, and the error that it ended with: one text, or several as
 * a list (go-multierror) whose members are prefixed one by one.
 */
struct hcl_ctx {
    struct hcl_arena arena;
    bool hcl2; /* literals mean what they mean in HCL 2 */
    bool many;
    const char **errs;
    size_t n_errs, cap_errs;
    unsigned line, column; /* of the first */
};

/* All return -EINVAL, so that a caller can return them. */
int hcl_ctx_fail(struct hcl_ctx *c, unsigned line, unsigned column, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* "At 1:2: ..." with the position in front. */
int hcl_ctx_fail_at(struct hcl_ctx *c, const struct hcl_node *n, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* One more of a list. */
void hcl_ctx_append(struct hcl_ctx *c, unsigned line, unsigned column, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* "PREFIX " before each text. */
int hcl_ctx_prefix(struct hcl_ctx *c, const char *prefix);
/* The error as one text. */
const char *hcl_ctx_text(struct hcl_ctx *c);

struct hcl_value *hcl_value_new(struct hcl_ctx *c, enum hcl_kind kind);
struct hcl_value *hcl_value_string(struct hcl_ctx *c, const char *s); /* borrows */
struct hcl_value *hcl_value_bool(struct hcl_ctx *c, bool b);
struct hcl_value *hcl_value_int(struct hcl_ctx *c, int64_t i);
void hcl_value_append(struct hcl_ctx *c, struct hcl_value *list, struct hcl_value *v);
struct hcl_value *hcl_value_get(const struct hcl_value *map, const char *key);
void hcl_value_set(struct hcl_ctx *c, struct hcl_value *map, const char *key, struct hcl_value *v);

/* An object, or a list of filtered items, as a map. */
int hcl_value_decode(struct hcl_ctx *c, const struct hcl_items *items, struct hcl_value **ret);
int hcl_value_decode_node(struct hcl_ctx *c, const struct hcl_node *n, struct hcl_value **ret);
/* Blocks within blocks become maps, later ones over earlier ones; lists stay. */
struct hcl_value *hcl_value_flatten(struct hcl_ctx *c, const struct hcl_value *map);

/* Compact JSON, members of maps in the order of their names. */
void hcl_value_json(struct strbuf *b, const struct hcl_value *v);

/* The type's name in messages, as Go writes it: "[]interface {}". */
const char *hcl_kind_name(enum hcl_kind k);
const char *hcl_node_name(enum hcl_type t);

/* Go's number syntaxes. 0, -EINVAL, or -ERANGE for more than `bits`. */
int hcl_int_parse(const char *s, size_t len, unsigned bits, int64_t *ret);
int hcl_float_parse(const char *s, size_t len, double *ret);
/* The shortest text that reads back as the same number, without an exponent. */
const char *hcl_float_text(struct hcl_ctx *c, double f);
/* As Go's %q, for messages. */
const char *hcl_quote(struct hcl_ctx *c, const char *s, size_t len);
