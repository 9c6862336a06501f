/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The job grammar as tables: a block has fields (key, JSON name, type) and child blocks; one engine
 * walks them. Order matters where more than one thing is wrong: the first in Nomad's order is
 * reported, so children stand in the order in which Nomad's parser asks for them.
 */
#pragma once

#include "hcl/hcl_value.h"

enum hcl_field_kind {
    HCL_F_STRING,
    HCL_F_INT,
    HCL_F_INT8,
    HCL_F_INT64,
    HCL_F_UINT8,
    HCL_F_UINT64,
    HCL_F_BOOL,
    HCL_F_DURATION,   /* text such as "1h30m", or a number of nanoseconds */
    HCL_F_STRINGS,    /* a list; a single value is taken for a list of one */
    HCL_F_STRING_MAP, /* blocks, merged */
    HCL_F_CHECKED,    /* a valid key that the block's hooks look at */
};

struct hcl_field {
    const char *key; /* NULL ends the table */
    const char *json;
    enum hcl_field_kind kind;
    bool tagged; /* messages name the key; else the JSON name */
};

/* Rows: tagged fields are named by their key in messages, the others by their JSON name. */
/* clang-format off */
#define HCL_T(key, json, kind) {key, json, HCL_F_##kind, true}
#define HCL_U(key, json, kind) {key, json, HCL_F_##kind, false}
#define HCL_END                {NULL, NULL, HCL_F_CHECKED, false}
/* clang-format on */

struct hcl_block;

/* One block while it is being decoded. */
struct hcl_frame {
    const char *label;           /* what messages about it say; "" when it has no name */
    const struct hcl_node *node; /* an object */
    struct hcl_value *map;       /* the object, decoded without a schema */
    struct hcl_value *out;       /* the JSON object to fill */
    bool skip;                   /* set by a hook: the block counts for nothing */
};

/*
 * In the texts, "%s" stands for the label of the block that the child is in, "%d" for a number: how
 * many there are, or in item_prefix which one it is.
 */
struct hcl_child {
    const char *key, *json; /* key NULL ends the table */
    int (*decode)(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                  struct hcl_frame *parent);
    const struct hcl_block *block;
    const char *prefix;      /* before what is wrong in it */
    const char *item_prefix; /* before that, nearer to the text */
    const char *too_many;
    bool flat; /* the prefix makes one text of several */
};

struct hcl_block {
    const char *name; /* for "group 'g' defined more than once" */
    const struct hcl_field *fields;
    const struct hcl_child *children;
    const char *not_object;  /* "%s": its label; NULL: what checking the keys says */
    const char *key_prefix;  /* before "invalid key" */
    const char *type_prefix; /* before a field that has the wrong type; flat */
    bool strict;             /* no weak typing */
    bool raw;                /* nothing but children */
    bool whole;              /* decoded with all that is in it, before its keys are checked */
    bool named;              /* labelled by its field "Name" */
    int (*prepare)(struct hcl_ctx *c, struct hcl_frame *f); /* before the fields */
    int (*finish)(struct hcl_ctx *c, struct hcl_frame *f);  /* after the children */
};

/* hcl_weak.c: the fields of a block; like mapstructure, in its words. */
int hcl_fields_decode(struct hcl_ctx *c, const struct hcl_block *b, struct hcl_frame *f);
/* A decoded map's members as strings, over those that `out` has. */
int hcl_strings_merge(struct hcl_ctx *c, const struct hcl_value *map, struct hcl_value *out);
int hcl_bool_parse(struct hcl_ctx *c, const struct hcl_value *v, bool *ret, const char **why);

/* hcl_block.c: the engine. */
const char *hcl_subst(struct hcl_ctx *c, const char *fmt, const char *label, size_t n);
int hcl_block_decode(struct hcl_ctx *c, const struct hcl_block *b, const struct hcl_node *n,
                     struct hcl_frame *f);
/* out[json], an empty list or map when it was not there. */
struct hcl_value *hcl_member_list(struct hcl_ctx *c, struct hcl_value *out, const char *json);
struct hcl_value *hcl_member_map(struct hcl_ctx *c, struct hcl_value *out, const char *json);

/* What hcl_child.decode can be; one-offs stand beside their tables. */
typedef int hcl_child_fn(struct hcl_ctx *c, const struct hcl_child *ch, struct hcl_items *items,
                         struct hcl_frame *parent);
hcl_child_fn hcl_child_one;         /* at most one, without a label */
hcl_child_fn hcl_child_one_any;     /* at most one; a label is ignored */
hcl_child_fn hcl_child_many;        /* any number; labelled ones are ignored */
hcl_child_fn hcl_child_many_any;    /* any number; a label is ignored */
hcl_child_fn hcl_child_labelled;    /* named by their label, which must be unique; sets "Name" */
hcl_child_fn hcl_child_strings;     /* names and strings, merged */
hcl_child_fn hcl_child_one_strings; /* the same, but only one */
hcl_child_fn hcl_child_any;         /* free-form, merged */

extern const struct hcl_block hcl_task_block;
extern const struct hcl_block hcl_service_block;
extern const struct hcl_block hcl_network_block;
extern const struct hcl_block hcl_resources_block;
extern const struct hcl_block hcl_logs_block;
extern const struct hcl_block hcl_constraint_block;
extern const struct hcl_block hcl_affinity_block;
extern const struct hcl_block hcl_spread_block;
extern const struct hcl_block hcl_update_block;
extern const struct hcl_block hcl_migrate_block;
extern const struct hcl_block hcl_restart_block;
extern const struct hcl_block hcl_reschedule_block;
extern const struct hcl_block hcl_scaling_block;
extern const struct hcl_block hcl_vault_block;
hcl_child_fn hcl_child_network; /* a list of one */
