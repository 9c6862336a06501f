/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The environment of a task as Nomad makes it, and what `${...}` in a job stands for on this node.
 */
#pragma once

#include "alloc.pb.h"
#include "base/base.h"
#include "base/strbuf.h"
#include "node.pb.h"

struct env_map {
    struct env_pair {
        char *key, *value;
    } * pairs; /* n, sorted by key; owned */
    size_t n;
};

struct task_env {
    struct env_map vars; /* what the task gets */
    struct env_map node; /* attr.NAME, meta.NAME, node.NAME */
};

struct task_env_input {
    const steppe_Allocation *alloc; /* with job */
    const steppe_TaskGroup *group;
    const steppe_Task *task;
    const steppe_Node *node;
    const char *alloc_dir, *task_dir, *secrets_dir; /* as the task sees them */
    const char *withheld; /* of those, separated by commas, instead of Nomad's list; NULL = that */
    char *const *host;    /* environment to inherit, NULL terminated; may be NULL */
};

void task_env_build(struct task_env *e, const struct task_env_input *in);
void task_env_fini(struct task_env *e);
/* NULL when it is not known. Takes NAME, env.NAME, attr.NAME, meta.NAME, node.NAME. */
const char *task_env_get(const struct task_env *e, const char *name);
/* With every known ${NAME} replaced; others stay as they are, as in Nomad. malloc'ed. */
char *task_env_replace(const struct task_env *e, const char *text);

/* The group of an allocation's job; NULL when it has none of that name. */
const steppe_TaskGroup *alloc_group(const steppe_Allocation *a);
const steppe_AllocatedTaskResources *alloc_resources(const steppe_Allocation *a, const char *task);
