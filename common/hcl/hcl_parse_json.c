/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A JSON document as HCL: objects within objects become labels, lists of objects become repeated
 * blocks. {"job": {"a": {"type": "batch"}}} gives what `job "a" { type = "batch" }` gives.
 */
#include "hcl/hcl_lex.h"

#include <errno.h>
#include <string.h>

struct parser {
    struct hcl_lexer lex;
    struct hcl_token tok;
    unsigned depth;
    struct hcl_doc *doc;
    struct hcl_error *err;
};

static int value(struct parser *p, struct hcl_node **ret);

static enum hcl_tok scan(struct parser *p)
{
    p->tok = hcl_lex_next(&p->lex);
    return p->tok.type;
}

static int fail_expected(struct parser *p, const char *what)
{
    return hcl_fail(p->err, -EINVAL, p->tok.pos.line, p->tok.pos.column,
                    "At %u:%u: expected: %s got: %s", p->tok.pos.line, p->tok.pos.column, what,
                    hcl_tok_name(p->tok.type));
}

static int fail_bound(struct parser *p, const char *what)
{
    return hcl_fail(p->err, -E2BIG, p->tok.pos.line, p->tok.pos.column, "At %u:%u: %s",
                    p->tok.pos.line, p->tok.pos.column, what);
}

static int string_text(struct parser *p, const char **ret, size_t *ret_len)
{
    *ret = "";
    *ret_len = 0;
    if (p->lex.failed)
        return 0;
    *ret = hcl_unquote(&p->doc->arena, &p->tok, true, ret_len);
    if (!*ret)
        return hcl_fail(p->err, -EINVAL, p->tok.pos.line, p->tok.pos.column,
                        "invalid string literal");
    return 0;
}

static int literal(struct parser *p, enum hcl_type type, struct hcl_node **ret)
{
    struct hcl_node *n = hcl_node_new(p->doc, type, p->tok.pos.line, p->tok.pos.column);

    *ret = n;
    if (p->tok.type == HCL_TOK_STRING)
        return string_text(p, &n->lit.text, &n->lit.len);
    /* Nomad takes null for the empty string. */
    n->lit.len = p->tok.type == HCL_TOK_NULL ? 0 : p->tok.len;
    n->lit.text = hcl_dup(&p->doc->arena, p->tok.text, n->lit.len);
    return 0;
}

/* A name, the colon and the value; the name's token has been read. */
static int member(struct parser *p, struct hcl_item *it)
{
    struct hcl_key *key = hcl_alloc(&p->doc->arena, sizeof(*key));
    size_t len;
    int r;

    if (p->tok.type != HCL_TOK_STRING)
        return fail_expected(p, "STRING");
    *key = (struct hcl_key){NULL, 0, p->tok.pos.line, p->tok.pos.column, true};
    r = string_text(p, &key->text, &len);
    if (r < 0)
        return r;
    if (strlen(key->text) != len)
        return hcl_fail(p->err, -EINVAL, key->line, key->column, "invalid string literal");
    key->hash = hcl_hash(key->text);
    if (scan(p) != HCL_TOK_COLON)
        return fail_expected(p, "COLON");
    it->keys = key;
    it->n_keys = 1;
    it->hash = key->hash;
    it->line = key->line;
    it->column = key->column;
    (void)scan(p);
    return value(p, &it->val);
}

static int object_body(struct parser *p, struct hcl_items *items)
{
    enum hcl_tok t = scan(p);

    while (t != HCL_TOK_RBRACE) {
        struct hcl_item it = {0};
        int r = member(p, &it);

        if (r < 0)
            return r;
        if (!hcl_items_add(p->doc, items, &it))
            return fail_bound(p, "too many items");
        t = scan(p);
        if (t == HCL_TOK_COMMA)
            t = scan(p);
        else if (t != HCL_TOK_RBRACE)
            return fail_expected(p, "COMMA | RBRACE");
    }
    return 0;
}

static int list_body(struct parser *p, struct hcl_node *list)
{
    enum hcl_tok t = scan(p);

    while (t != HCL_TOK_RBRACK) {
        struct hcl_node *elem = NULL;
        int r = value(p, &elem);

        if (r < 0)
            return r;
        if (!hcl_list_add(p->doc, list, elem))
            return fail_bound(p, "too many items");
        t = scan(p);
        if (t == HCL_TOK_COMMA)
            t = scan(p);
        else if (t != HCL_TOK_RBRACK)
            return fail_expected(p, "COMMA | RBRACK");
    }
    return 0;
}

static int value(struct parser *p, struct hcl_node **ret)
{
    struct hcl_pos pos = p->tok.pos;
    int r;

    switch ((int)p->tok.type) {
    case HCL_TOK_NUMBER:
        return literal(p, HCL_NUMBER, ret);
    case HCL_TOK_FLOAT:
        return literal(p, HCL_FLOAT, ret);
    case HCL_TOK_BOOL:
        return literal(p, HCL_BOOL, ret);
    case HCL_TOK_STRING:
    case HCL_TOK_NULL:
        return literal(p, HCL_STRING, ret);
    case HCL_TOK_LBRACE:
    case HCL_TOK_LBRACK:
        break;
    default:
        return fail_expected(p, "value");
    }
    if (++p->depth > HCL_DEPTH_MAX)
        return fail_bound(p, "nested too deeply");
    if (p->tok.type == HCL_TOK_LBRACE) {
        *ret = hcl_node_new(p->doc, HCL_OBJECT, pos.line, pos.column);
        r = object_body(p, &(*ret)->items);
    } else {
        *ret = hcl_node_new(p->doc, HCL_LIST, pos.line, pos.column);
        r = list_body(p, *ret);
    }
    p->depth--;
    return r;
}

/* Does it hold nothing but objects, and at least one? */
static bool only_objects(const struct hcl_node *n)
{
    if (n->type == HCL_LIST) {
        for (size_t i = 0; i < n->list.n; i++)
            if (n->list.v[i]->type != HCL_OBJECT)
                return false;
        return n->list.n > 0;
    }
    if (n->type != HCL_OBJECT)
        return false;
    for (size_t i = 0; i < n->items.n; i++)
        if (n->items.v[i].val->type != HCL_OBJECT)
            return false;
    return n->items.n > 0;
}

/* Adds `it` to `out`, or in its place what it holds, with the keys put together. */
static bool flatten_item(struct hcl_doc *d, const struct hcl_item *it, struct hcl_items *out)
{
    const struct hcl_node *v = it->val;
    struct hcl_item sub = *it;

    if (!only_objects(v))
        return hcl_items_add(d, out, it);
    if (v->type == HCL_LIST) {
        for (size_t i = 0; i < v->list.n; i++) {
            sub.val = v->list.v[i];
            if (!flatten_item(d, &sub, out))
                return false;
        }
        return true;
    }
    for (size_t i = 0; i < v->items.n; i++) {
        struct hcl_key *keys = hcl_grow(&d->arena, it->keys, it->n_keys * sizeof(*keys),
                                        (it->n_keys + 1) * sizeof(*keys));

        keys[it->n_keys] = v->items.v[i].keys[0];
        sub.keys = keys;
        sub.n_keys = it->n_keys + 1;
        sub.val = v->items.v[i].val;
        if (!flatten_item(d, &sub, out))
            return false;
    }
    return true;
}

static bool flatten(struct hcl_doc *d, struct hcl_node *n)
{
    if (n->type == HCL_LIST) {
        for (size_t i = 0; i < n->list.n; i++)
            if (!flatten(d, n->list.v[i]))
                return false;
    } else if (n->type == HCL_OBJECT) {
        struct hcl_items out = {0};

        for (size_t i = 0; i < n->items.n; i++)
            if (!flatten_item(d, &n->items.v[i], &out))
                return false;
        n->items = out;
        for (size_t i = 0; i < out.n; i++)
            if (!flatten(d, out.v[i].val))
                return false;
    }
    return true;
}

int hcl_parse_json(struct hcl_doc *d, const char *src, size_t len, struct hcl_error *err)
{
    struct parser p = {.doc = d, .err = err};
    int r;

    hcl_lex_init(&p.lex, src, len, true);
    (void)scan(&p); /* the brace by which the document was taken for JSON */
    p.depth = 1;
    r = object_body(&p, &d->root.items);
    if (r == 0 && scan(&p) != HCL_TOK_EOF)
        r = fail_expected(&p, "EOF");
    if (r != -E2BIG && p.lex.failed)
        return hcl_fail(err, -EINVAL, p.lex.err_pos.line, p.lex.err_pos.column, "%u:%u: %s",
                        p.lex.err_pos.line, p.lex.err_pos.column, p.lex.err);
    if (r < 0)
        return r;
    return flatten(d, &d->root) ? 0 : fail_bound(&p, "too many items");
}
