/* SPDX-License-Identifier: MPL-2.0 */
/*
 * HCL's grammar, by recursive descent with one token of look-ahead. The order of reads follows
 * HashiCorp's parser, since the position in a message about the end of the file depends on it.
 */
#include "hcl/hcl_lex.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PARSE_EOF 1 /* the document ended where an item could have begun */

struct parser {
    struct hcl_lexer lex;
    struct hcl_token tok; /* the last one read */
    bool pushed;          /* read it again */
    unsigned depth;
    struct hcl_doc *doc;
    struct hcl_error *err;
};

static int object_body(struct parser *p, struct hcl_node **ret);
static int list_body(struct parser *p, struct hcl_node **ret);

static int fail(struct parser *p, struct hcl_pos pos, const char *fmt, ...) PRINTF_LIKE(3, 4);

static int fail(struct parser *p, struct hcl_pos pos, const char *fmt, ...)
{
    char text[HCL_ERROR_MAX - 64];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return hcl_fail(p->err, -EINVAL, pos.line, pos.column, "At %u:%u: %s", pos.line, pos.column,
                    text);
}

static int fail_bound(struct parser *p, struct hcl_pos pos, const char *what)
{
    return hcl_fail(p->err, -E2BIG, pos.line, pos.column, "At %u:%u: %s", pos.line, pos.column,
                    what);
}

static enum hcl_tok scan(struct parser *p)
{
    if (p->pushed) {
        p->pushed = false;
        return p->tok.type;
    }
    do
        p->tok = hcl_lex_next(&p->lex);
    while (p->tok.type == HCL_TOK_COMMENT);
    return p->tok.type;
}

static void unscan(struct parser *p)
{
    p->pushed = true;
}

/* "2:11 IDENT var.x", as a token is shown in messages. */
static int fail_token(struct parser *p)
{
    const struct hcl_token *t = &p->tok;

    return fail(p, t->pos, "Unknown token: %u:%u %s %.*s%s", t->pos.line, t->pos.column,
                hcl_tok_name(t->type), (int)MIN(t->len, (size_t)256), t->text,
                t->type == HCL_TOK_IDENT ? " (HCL2 expressions are not supported)" : "");
}

/* Is this, behind "${", what only HCL2 would evaluate: var.x, local.x, or a call of a function? */
static bool is_hcl2(const char *s, const char *end)
{
    size_t n = 0;

    while (s < end && *s == ' ')
        s++;
    while (s + n < end &&
           ((s[n] >= 'a' && s[n] <= 'z') || s[n] == '_' || (n > 0 && s[n] >= '0' && s[n] <= '9')))
        n++;
    if (n == 0 || s + n >= end)
        return false;
    if (s[n] == '(')
        return true;
    return s[n] == '.' &&
           ((n == 3 && memcmp(s, "var", 3) == 0) || (n == 5 && memcmp(s, "local", 5) == 0));
}

static int check_hcl2(struct parser *p, const struct hcl_token *t)
{
    const char *end = t->text + t->len;
    struct hcl_pos pos = t->pos;

    for (const char *s = t->text; s + 2 < end; s++) {
        if (s[0] == '$' && s[1] == '{' && (s == t->text || s[-1] != '$') && is_hcl2(s + 2, end)) {
            const char *close = memchr(s, '}', (size_t)(end - s));
            size_t n = close ? (size_t)(close - s) + 1 : (size_t)(end - s);

            return fail(p, pos, "HCL2 expressions are not supported: %.*s",
                        (int)MIN(n, (size_t)256), s);
        }
        if (*s == '\n')
            pos = (struct hcl_pos){.line = pos.line + 1};
        if (((unsigned char)s[1] & 0xC0) != 0x80)
            pos.column++;
    }
    return 0;
}

/* The value of a literal. After a lexer error the text may be cut off: then nothing is read. */
static int literal(struct parser *p, struct hcl_node **ret)
{
    const struct hcl_token *t = &p->tok;
    struct hcl_arena *a = &p->doc->arena;
    struct hcl_node *n;
    enum hcl_type type = HCL_STRING;

    if (t->type == HCL_TOK_NUMBER)
        type = HCL_NUMBER;
    else if (t->type == HCL_TOK_FLOAT)
        type = HCL_FLOAT;
    else if (t->type == HCL_TOK_BOOL)
        type = HCL_BOOL;
    n = hcl_node_new(p->doc, type, t->pos.line, t->pos.column);
    *ret = n;
    n->lit.text = "";
    if (p->lex.failed)
        return 0;
    if (t->type == HCL_TOK_STRING) {
        n->lit.text = hcl_unquote(a, t, false, &n->lit.len);
    } else if (t->type == HCL_TOK_HEREDOC) {
        n->lit.text = hcl_heredoc_text(a, t, &n->lit.len);
    } else {
        n->lit.len = t->len;
        n->lit.text = hcl_dup(a, t->text, t->len);
    }
    if (!n->lit.text)
        return fail(p, t->pos, "invalid string literal");
    return type == HCL_STRING ? check_hcl2(p, t) : 0;
}

static int value(struct parser *p, struct hcl_node **ret)
{
    switch (scan(p)) {
    case HCL_TOK_NUMBER:
    case HCL_TOK_FLOAT:
    case HCL_TOK_BOOL:
    case HCL_TOK_STRING:
    case HCL_TOK_HEREDOC:
        return literal(p, ret);
    case HCL_TOK_LBRACE:
        return object_body(p, ret);
    case HCL_TOK_LBRACK:
        return list_body(p, ret);
    case HCL_TOK_EOF:
        return p->depth ? PARSE_EOF : fail_token(p);
    case HCL_TOK_ILLEGAL:
    case HCL_TOK_COMMENT:
    case HCL_TOK_IDENT:
    case HCL_TOK_NULL:
    case HCL_TOK_COMMA:
    case HCL_TOK_PERIOD:
    case HCL_TOK_COLON:
    case HCL_TOK_RBRACK:
    case HCL_TOK_RBRACE:
    case HCL_TOK_ASSIGN:
    case HCL_TOK_ADD:
    case HCL_TOK_SUB:
        break;
    }
    return fail_token(p);
}

static int key_add(struct parser *p, struct hcl_item *it, unsigned *cap)
{
    const struct hcl_token *t = &p->tok;
    struct hcl_arena *a = &p->doc->arena;
    struct hcl_key *keys;
    size_t len = t->len;
    const char *text;

    if (it->n_keys >= HCL_DEPTH_MAX)
        return fail_bound(p, t->pos, "too many labels");
    if (p->lex.failed)
        text = "";
    else if (t->type == HCL_TOK_STRING)
        text = hcl_unquote(a, t, false, &len);
    else
        text = hcl_dup(a, t->text, len);
    if (!text || (!p->lex.failed && strlen(text) != len))
        return fail(p, t->pos, "invalid string literal");
    if (it->n_keys == *cap) {
        *cap = *cap ? 2 * *cap : 2;
        it->keys = hcl_grow(a, it->keys, it->n_keys * sizeof(*keys), *cap * sizeof(*keys));
    }
    keys = (struct hcl_key *)it->keys;
    keys[it->n_keys++] = (struct hcl_key){text, hcl_hash(text), t->pos.line, t->pos.column,
                                          t->type == HCL_TOK_STRING};
    return 0;
}

/* Reads keys up to and with the '=' or '{'. PARSE_EOF: the document ended before one of them. */
static int item_keys(struct parser *p, struct hcl_item *it)
{
    unsigned cap = 0;
    int r;

    for (;;) {
        enum hcl_tok t = scan(p);

        if (t == HCL_TOK_EOF)
            return PARSE_EOF;
        if (t == HCL_TOK_ASSIGN) {
            if (it->n_keys > 1)
                return fail(p, p->tok.pos, "nested object expected: LBRACE got: ASSIGN");
            return it->n_keys ? 0 : fail(p, p->tok.pos, "no object keys found!");
        }
        if (t == HCL_TOK_LBRACE)
            return it->n_keys ? 0 : fail(p, p->tok.pos, "expected: IDENT | STRING got: LBRACE");
        if (t == HCL_TOK_ILLEGAL)
            return fail(p, p->tok.pos, "illegal character");
        if (t != HCL_TOK_IDENT && t != HCL_TOK_STRING)
            return fail(p, p->tok.pos, "expected: IDENT | STRING | ASSIGN | LBRACE got: %s",
                        hcl_tok_name(t));
        r = key_add(p, it, &cap);
        if (r < 0)
            return r;
    }
}

/* Keys without a value. They are named as written. */
static int fail_no_value(struct parser *p, const struct hcl_item *it)
{
    struct strbuf b = STRBUF_BOUND(256);
    int r;

    for (unsigned i = 0; i < it->n_keys; i++)
        strbuf_addf(&b, it->keys[i].quoted ? "%s\"%s\"" : "%s%s", i ? " " : "", it->keys[i].text);
    r = fail(p, p->tok.pos, "key '%s' expected start of object ('{') or assignment ('=')",
             b.data ? b.data : "");
    strbuf_fini(&b);
    return r;
}

static int item(struct parser *p, struct hcl_item *it)
{
    int r = item_keys(p, it);

    if (it->n_keys && (r == PARSE_EOF || (r < 0 && p->tok.type == HCL_TOK_RBRACE))) {
        p->tok.type = HCL_TOK_EOF;
        return fail_no_value(p, it);
    }
    if (r != 0)
        return r;
    it->hash = it->keys[0].hash;
    it->line = it->keys[0].line;
    it->column = it->keys[0].column;
    r = p->tok.type == HCL_TOK_ASSIGN ? value(p, &it->val) : object_body(p, &it->val);
    if (r != 0)
        return r;
    (void)scan(p);
    unscan(p);
    return 0;
}

static int item_list(struct parser *p, struct hcl_items *items, bool in_object)
{
    for (;;) {
        struct hcl_item it = {0};
        int r;

        if (in_object) {
            enum hcl_tok t = scan(p);

            unscan(p);
            if (t == HCL_TOK_RBRACE)
                return 0;
        }
        r = item(p, &it);
        if (r == PARSE_EOF)
            return 0;
        if (r < 0)
            return r;
        if (!hcl_items_add(p->doc, items, &it))
            return fail_bound(p, (struct hcl_pos){it.line, it.column}, "too many items");
        if (scan(p) != HCL_TOK_COMMA)
            unscan(p);
    }
}

static int enter(struct parser *p)
{
    if (++p->depth > HCL_DEPTH_MAX)
        return fail_bound(p, p->tok.pos, "nested too deeply");
    return 0;
}

/* The '{' has been read. */
static int object_body(struct parser *p, struct hcl_node **ret)
{
    struct hcl_node *n = hcl_node_new(p->doc, HCL_OBJECT, p->tok.pos.line, p->tok.pos.column);
    int r = enter(p);

    if (r < 0)
        return r;
    r = item_list(p, &n->items, true);
    if (r < 0 && (r != -EINVAL || p->tok.type != HCL_TOK_RBRACE))
        return r;
    if (scan(p) != HCL_TOK_RBRACE)
        return fail(p, p->tok.pos, "object expected closing RBRACE got: %s",
                    hcl_tok_name(p->tok.type));
    p->depth--;
    *ret = n;
    /* HashiCorp's parser forgets an error here when braces happen to match: `b { c = } }`. */
    return r;
}

static int fail_inner(struct parser *p, struct hcl_pos pos, int r, const char *what)
{
    char text[HCL_ERROR_MAX];
    struct hcl_pos inner = {p->err->line, p->err->column};

    if (r == -E2BIG)
        return r;
    if (r == PARSE_EOF)
        (void)snprintf(p->err->text, sizeof(p->err->text), "EOF token found");
    (void)snprintf(text, sizeof(text),
                   "At %u:%u: error while trying to parse %s within list: %.1900s", pos.line,
                   pos.column, what, p->err->text);
    if (r < 0)
        pos = inner;
    return hcl_fail(p->err, -EINVAL, pos.line, pos.column, "%s", text);
}

static int list_elem(struct parser *p, struct hcl_node **ret, bool *need_comma)
{
    struct hcl_pos pos = p->tok.pos;
    int r;

    switch (p->tok.type) {
    case HCL_TOK_BOOL:
    case HCL_TOK_NUMBER:
    case HCL_TOK_FLOAT:
    case HCL_TOK_STRING:
    case HCL_TOK_HEREDOC:
        *need_comma = true;
        return literal(p, ret);
    case HCL_TOK_LBRACE:
        *need_comma = true;
        r = object_body(p, ret);
        return r ? fail_inner(p, pos, r, "object") : 0;
    case HCL_TOK_LBRACK:
        r = list_body(p, ret);
        return r ? fail_inner(p, pos, r, "list") : 0;
    case HCL_TOK_IDENT:
        return fail(p, pos,
                    "unexpected token while parsing list: IDENT %.*s "
                    "(HCL2 expressions are not supported)",
                    (int)MIN(p->tok.len, (size_t)256), p->tok.text);
    case HCL_TOK_ILLEGAL:
    case HCL_TOK_EOF:
    case HCL_TOK_COMMENT:
    case HCL_TOK_NULL:
    case HCL_TOK_COMMA:
    case HCL_TOK_PERIOD:
    case HCL_TOK_COLON:
    case HCL_TOK_RBRACK:
    case HCL_TOK_RBRACE:
    case HCL_TOK_ASSIGN:
    case HCL_TOK_ADD:
    case HCL_TOK_SUB:
        break;
    }
    return fail(p, pos, "unexpected token while parsing list: %s", hcl_tok_name(p->tok.type));
}

/* The '[' has been read. */
static int list_body(struct parser *p, struct hcl_node **ret)
{
    struct hcl_node *n = hcl_node_new(p->doc, HCL_LIST, p->tok.pos.line, p->tok.pos.column);
    bool need_comma = false;
    int r = enter(p);

    if (r < 0)
        return r;
    for (;;) {
        struct hcl_node *elem = NULL;
        enum hcl_tok t = scan(p);

        if (t == HCL_TOK_RBRACK)
            break;
        if (t == HCL_TOK_COMMA) {
            (void)scan(p);
            unscan(p);
            need_comma = false;
            continue;
        }
        if (need_comma)
            return fail(p, p->tok.pos, "error parsing list, expected comma or list end, got: %s",
                        hcl_tok_name(t));
        r = list_elem(p, &elem, &need_comma);
        if (r != 0)
            return r;
        if (!hcl_list_add(p->doc, n, elem))
            return fail_bound(p, p->tok.pos, "too many items");
    }
    p->depth--;
    *ret = n;
    return 0;
}

/* Line ends become newlines, as HashiCorp's parser does first of all. */
static const char *unix_lines(struct hcl_doc *d, const char *src, size_t *len)
{
    char *out;
    size_t n = 0;

    if (!memmem(src, *len, "\r\n", 2))
        return src;
    out = hcl_alloc(&d->arena, *len);
    for (size_t i = 0; i < *len; i++)
        if (src[i] != '\r' || i + 1 == *len || src[i + 1] != '\n')
            out[n++] = src[i];
    *len = n;
    return out;
}

int hcl_parse_text(struct hcl_doc *d, const char *src, size_t len, struct hcl_error *err)
{
    struct parser p = {.doc = d, .err = err};
    int r;

    src = unix_lines(d, src, &len);
    hcl_lex_init(&p.lex, src, len, false);
    r = item_list(&p, &d->root.items, false);
    if (r != -E2BIG && p.lex.failed)
        return fail(&p, p.lex.err_pos, "%s", p.lex.err);
    return r;
}
