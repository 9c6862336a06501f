/* SPDX-License-Identifier: MPL-2.0 */
/* Objects as names and texts, in the words of Go's fmt, and in pairs. Inside common/job only. */
#pragma once

#include "job_diff_rules.h"

struct flat_item {
    char *name, *text;
};

/* Sorted by name once a function below has filled it. */
struct flat {
    struct flat_item *v;
    size_t n, cap;
};
void flat_fini(struct flat *f);
bool flat_same(const struct flat *a, const struct flat *b);

/* The plain fields of msg, an object of the rule (NULL: none): no lists, no objects, no JSON. */
void flat_object(struct flat *ret, const struct diff_rule *rule, enum diff_nullable nullable,
                 const void *msg);

/* Fills ret from the member f of msg; false when it is not there. */
typedef bool flat_make_fn(struct flat *ret, const struct json_field *f, const void *msg);
flat_make_fn flat_raw;
flat_make_fn flat_joined;
flat_make_fn flat_headers;
flat_make_fn flat_bindings;

/* The member with that name in the server's JSON; there is one. */
const struct json_field *flat_field(const struct json_type *t, const char *name);
/* The member message f of msg; NULL when it is not set or msg is NULL. */
const void *flat_message(const struct json_field *f, const void *msg);
/* An order of all values of a type; 0: they are the same. */
int flat_cmp(const struct json_type *t, const void *a, const void *b);

/* ---- Two lists, or maps, as pairs of items ---- */

struct flat_entry {
    const void *item;
    const char *key; /* of a map */
};
struct flat_list {
    struct flat_entry *v;
    size_t n, next;
};
struct flat_pairs {
    const struct json_field *field;
    const char *const *key;
    struct flat_list old, new;
};

/*
 * Over the member `field` of both objects. Items belong together by the one or two fields of key,
 * or, NULL, when they are the same; maps by their keys. Of several with one key the last counts.
 */
void flat_pairs_init(struct flat_pairs *p, const struct diff_pair *of, const char *field,
                     const char *const *key);
void flat_pairs_fini(struct flat_pairs *p);
/* In order; NULL: only the other one is there. False at the end. */
bool flat_pairs_next(struct flat_pairs *p, const void **old, const void **new);
/* An item of a list of strings; NULL is "". */
const char *flat_string(const void *item);
