/* SPDX-License-Identifier: MPL-2.0 */
/* The tables by which job_diff.c compares. Inside common/job only. */
#pragma once

#include "job.pb.h"
#include "job_diff.pb.h"
#include "json/json_type.h"

struct diff;
struct diff_child;

/* How scalars that may be absent ("nullable") are compared; only where both objects are there. */
enum diff_nullable {
    DIFF_NULLABLE_NOT,
    DIFF_NULLABLE_NUMBER,
    DIFF_NULLABLE_DURATION,
};

/* How the objects of one type are compared. */
struct diff_rule {
    const struct json_type *type;
    const char *const *skip;           /* fields that do not count; ends with NULL; may be NULL */
    const struct diff_child *children; /* ends with an empty row; may be NULL */
    const char *key[2]; /* what makes two objects of a list the same one; unused ones are NULL */
    enum diff_nullable nullable;
    bool brief; /* never shows unchanged fields */
};

/* Two objects of a type; one of them may be NULL. */
struct diff_pair {
    const struct json_type *type;
    const void *old, *new;
};

/* Adds to ret what changed in one member of two objects. */
typedef void diff_child_fn(struct diff *d, const struct diff_child *c, const struct diff_pair *of,
                           steppe_ObjectDiff *ret);

struct diff_child {
    const char *field; /* by its name in the server's JSON */
    const char *name;  /* of the objects that are made */
    diff_child_fn *compare;
    const struct diff_rule *rule; /* of a message */
    bool changed_only;            /* a set that is the same is not shown, whatever the context */
};

diff_child_fn diff_strings;       /* a list of strings as a set */
diff_child_fn diff_one;           /* a message: Added, Deleted or Edited by its presence */
diff_child_fn diff_flat;          /* a message: by its fields; nothing when they are the same */
diff_child_fn diff_list_set;      /* a list by whole values: Added and Deleted only */
diff_child_fn diff_list_set_flat; /* the same; an object without fields is not shown */
diff_child_fn diff_list_keyed;    /* a list by the rule's key, a map by its own */
diff_child_fn diff_list_keyed_flat;
diff_child_fn diff_raw;      /* JSON */
diff_child_fn diff_joined;   /* a message of lists of strings, each as one field */
diff_child_fn diff_headers;  /* a map of lists of strings */
diff_child_fn diff_bindings; /* a map of addresses and ports */

extern const struct diff_rule diff_job_rule;
extern const struct diff_rule diff_group_rule;
extern const struct diff_rule diff_task_rule;
