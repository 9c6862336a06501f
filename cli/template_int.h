/* SPDX-License-Identifier: MPL-2.0 */
/* Shared by the parts of the template engine: blocks, expressions, functions. */
#pragma once

#include "base/strbuf.h"
#include "template.h"

/*
 * A value: `json` is owned, NULL when there is none (an absent member). Numbers of the template's
 * own text and results of functions are JSON values, too.
 */
struct tmpl_value {
    json_t *json;
};

struct tmpl_var {
    char name[32];
    json_t *value;
};

struct tmpl {
    const json_t *root;
    struct strbuf out;
    struct tmpl_var vars[TEMPLATE_VARS_MAX];
    size_t n_vars;
    unsigned line; /* of the action that is being done */
    struct errtext *e;
};

/* Sets "template: format:LINE: ..." and returns -EINVAL. */
int tmpl_fail(struct tmpl *t, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* template_expr.c: a pipeline; what it declares stays in t->vars. *declared says whether it did. */
int tmpl_eval(struct tmpl *t, const char *s, size_t len, json_t *dot, json_t **ret, bool *declared);
/* Sets a variable (new, or the innermost one of that name). */
int tmpl_set_var(struct tmpl *t, const char *name, size_t len, json_t *value, bool is_new);

#define TMPL_ARGS_MAX 32
/* template_func.c: -ENOENT when there is no such function. args are borrowed. */
int tmpl_call(struct tmpl *t, const char *name, size_t len, json_t **args, size_t n, json_t **ret);
bool tmpl_is_function(const char *name, size_t len);
bool tmpl_truth(const json_t *v);
/* As Go prints a value. */
void tmpl_print(struct strbuf *b, const json_t *v);
