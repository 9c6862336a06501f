/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Tokens of HCL and of the JSON that HCL accepts. The lexer does not stop at an error: it keeps the
 * last one, which the parsers report in preference to their own, as HashiCorp's do.
 */
#pragma once

#include "hcl/hcl_tree.h"

/* clang-format off */
#define HCL_TOKENS(X) \
    X(ILLEGAL) X(EOF) X(COMMENT) X(IDENT) X(NUMBER) X(FLOAT) X(BOOL) X(NULL) X(STRING) X(HEREDOC) \
    X(LBRACK) X(LBRACE) X(COMMA) X(PERIOD) X(COLON) X(RBRACK) X(RBRACE) X(ASSIGN) X(ADD) X(SUB)
/* clang-format on */

enum hcl_tok {
#define X(name) HCL_TOK_##name,
    HCL_TOKENS(X)
#undef X
};

const char *hcl_tok_name(enum hcl_tok t);

struct hcl_pos {
    unsigned line, column;
};

struct hcl_token {
    enum hcl_tok type;
    struct hcl_pos pos;
    const char *text; /* raw, within the source */
    size_t len;
};

struct hcl_lexer {
    const char *src;
    size_t len, off;
    struct hcl_pos pos, prev; /* of the last character read; column 0 after a newline */
    unsigned last_len;        /* bytes of the last character */
    unsigned line_len;        /* columns of the line before */
    bool json;
    bool failed;
    struct hcl_pos err_pos;
    const char *err; /* static text */
};

void hcl_lex_init(struct hcl_lexer *l, const char *src, size_t len, bool json);
struct hcl_token hcl_lex_next(struct hcl_lexer *l);

/*
 * The value of a STRING or HEREDOC token, from the arena. NULL when an escape has no meaning. In
 * HCL the inside of `${ }` is kept as written.
 */
char *hcl_unquote(struct hcl_arena *a, const struct hcl_token *t, bool json, size_t *ret_len);
char *hcl_heredoc_text(struct hcl_arena *a, const struct hcl_token *t, size_t *ret_len);

/* One character of UTF-8; U+FFFD and length 1 for a broken one. n > 0. */
uint32_t hcl_utf8_get(const char *s, size_t n, unsigned *ret_len);
/* U+FFFD for what is no character. */
void hcl_utf8_put(struct strbuf *b, uint32_t c);
