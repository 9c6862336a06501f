/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The lexer. Positions, and which character an error points at, follow HashiCorp's scanner, so that
 * the same file gives the same message.
 */
#include "hcl/hcl_lex.h"

#include <string.h>

#define RUNE_EOF   0
#define RUNE_ERROR 0xFFFDu

const char *hcl_tok_name(enum hcl_tok t)
{
    static const char *const names[] = {
#define X(name) #name,
        HCL_TOKENS(X)
#undef X
    };

    return names[t];
}

void hcl_lex_init(struct hcl_lexer *l, const char *src, size_t len, bool json)
{
    *l = (struct hcl_lexer){.src = src, .len = len, .json = json, .pos = {.line = 1}};
}

static void lex_err(struct hcl_lexer *l, const char *msg)
{
    l->failed = true;
    l->err = msg;
    l->err_pos = l->pos;
    if (l->pos.column == 0) {
        l->err_pos.line = l->line_len ? l->pos.line - 1 : 1;
        l->err_pos.column = l->line_len ? l->line_len : 1;
    }
}

static uint32_t next(struct hcl_lexer *l)
{
    uint32_t c;

    if (l->off >= l->len) {
        l->pos.column++;
        l->last_len = 0;
        return RUNE_EOF;
    }
    l->prev = l->pos;
    c = hcl_utf8_get(l->src + l->off, l->len - l->off, &l->last_len);
    l->pos.column++;
    l->off += l->last_len;
    if (c == RUNE_ERROR && l->last_len == 1) {
        lex_err(l, "illegal UTF-8 encoding");
        return c;
    }
    if (c == '\n') {
        l->pos.line++;
        l->line_len = l->pos.column;
        l->pos.column = 0;
    }
    if (c == 0)
        lex_err(l, "unexpected null character (0x00)");
    return c;
}

/* Puts the last character back; at most once after each next(), and not at the end. */
static void unread(struct hcl_lexer *l)
{
    assert(l->off >= l->last_len);
    l->off -= l->last_len;
    l->pos = l->prev;
}

static uint32_t peek(const struct hcl_lexer *l)
{
    unsigned n;

    return l->off < l->len ? hcl_utf8_get(l->src + l->off, l->len - l->off, &n) : RUNE_EOF;
}

/* The error is said to be at the character to come. */
static void lex_err_next(struct hcl_lexer *l, const char *msg)
{
    bool at_end = next(l) == RUNE_EOF;

    lex_err(l, msg);
    if (!at_end)
        unread(l);
}

/* HashiCorp's scanner has read beyond a word that ends the document; positions show it. */
static void read_end(struct hcl_lexer *l)
{
    if (l->off >= l->len)
        (void)next(l);
}

static bool is_decimal(uint32_t c)
{
    return c >= '0' && c <= '9';
}

static unsigned digit_val(uint32_t c)
{
    if (is_decimal(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

/*
 * Which characters beyond ASCII are letters: all but the blocks of punctuation, symbols, private
 * use and pictures. Unicode's full table is not worth its size for names in job files.
 */
static const struct {
    uint32_t first, last;
} not_letters[] = {
    {0x80, 0xA9},     {0xAB, 0xB4},     {0xB6, 0xB9},     {0xBB, 0xBF},
    {0xD7, 0xD7},     {0xF7, 0xF7},     {0x2000, 0x206F}, {0x20A0, 0x20FF},
    {0x2190, 0x2BFF}, {0x3000, 0x3004}, {0x3008, 0x3030}, {0xE000, 0xF8FF},
    {0xFE00, 0xFE6F}, {0xFEFF, 0xFF20}, {0xFFF0, 0xFFFF}, {0x1F000, 0x1FAFF},
};

static bool is_letter(uint32_t c)
{
    if (c < 0x80)
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    for (size_t i = 0; i < ARRAY_LEN(not_letters); i++)
        if (c >= not_letters[i].first && c <= not_letters[i].last)
            return false;
    return true;
}

static void scan_comment(struct hcl_lexer *l, uint32_t c)
{
    uint32_t before;

    if (c == '#' || peek(l) != '*') {
        if (c == '/' && peek(l) != '/') {
            lex_err(l, "expected '/' for comment");
            return;
        }
        do
            c = next(l);
        while (c != '\n' && c != RUNE_EOF);
        if (c == '\n')
            unread(l);
        return;
    }
    (void)next(l);
    c = next(l);
    do {
        if (c == RUNE_EOF) {
            lex_err(l, "comment not terminated");
            return;
        }
        before = c;
        c = next(l);
    } while (before != '*' || c != '/');
}

/* Digits; `c` is the first, already read. Leaves the character behind them unread. */
static void scan_digits_rest(struct hcl_lexer *l)
{
    while (is_decimal(peek(l)))
        (void)next(l);
}

static void scan_exponent(struct hcl_lexer *l)
{
    (void)next(l); /* the 'e' */
    if (peek(l) == '-' || peek(l) == '+')
        (void)next(l);
    if (!is_decimal(peek(l)))
        lex_err(l, "illegal exponent");
    scan_digits_rest(l);
}

static enum hcl_tok scan_fraction(struct hcl_lexer *l, enum hcl_tok tok)
{
    if (peek(l) == '.') {
        (void)next(l);
        scan_digits_rest(l);
        tok = HCL_TOK_FLOAT;
    }
    if (peek(l) == 'e' || peek(l) == 'E') {
        scan_exponent(l);
        tok = HCL_TOK_FLOAT;
    }
    return tok;
}

static enum hcl_tok scan_number(struct hcl_lexer *l, uint32_t c)
{
    bool zero = c == '0', bad_octal = false, more = false;
    enum hcl_tok tok;

    if (zero && !l->json && (peek(l) == 'x' || peek(l) == 'X')) {
        (void)next(l);
        if (digit_val(peek(l)) >= 16)
            lex_err_next(l, "illegal hexadecimal number");
        while (digit_val(peek(l)) < 16)
            (void)next(l);
        return HCL_TOK_NUMBER;
    }
    while (is_decimal(peek(l))) {
        c = next(l);
        more = true;
        bad_octal |= c > '7';
    }
    tok = scan_fraction(l, HCL_TOK_NUMBER);
    if (zero && tok == HCL_TOK_NUMBER) {
        if (l->json && more)
            lex_err(l, "numbers cannot start with 0");
        else if (bad_octal)
            lex_err_next(l, "illegal octal number");
    }
    read_end(l);
    return tok;
}

static void scan_escape_digits(struct hcl_lexer *l, uint32_t c, unsigned base, unsigned n)
{
    unsigned start = n;

    while (n > 0 && digit_val(c) < base) {
        c = next(l);
        if (c == RUNE_EOF)
            break;
        n--;
    }
    if (n > 0)
        lex_err(l, "illegal char escape");
    if (n != start && c != RUNE_EOF)
        unread(l);
}

static void scan_escape(struct hcl_lexer *l)
{
    uint32_t c = next(l);

    if (c == RUNE_EOF)
        lex_err(l, "illegal char escape");
    else if (c >= '0' && c <= '7')
        scan_escape_digits(l, c, 8, 3);
    else if (c == 'x')
        scan_escape_digits(l, next(l), 16, 2);
    else if (c == 'u')
        scan_escape_digits(l, next(l), 16, 4);
    else if (c == 'U')
        scan_escape_digits(l, next(l), 16, 8);
    else if (c > 0x7F || !strchr(l->json ? "abfnrtv\\\"/" : "abfnrtv\\\"", (int)c))
        lex_err(l, "illegal char escape");
}

static void scan_string(struct hcl_lexer *l)
{
    unsigned braces = 0;

    for (;;) {
        uint32_t c = next(l);

        if ((c == '\n' && (braces == 0 || l->json)) || c == RUNE_EOF) {
            lex_err(l, "literal not terminated");
            return;
        }
        if (c == '"' && (braces == 0 || l->json))
            return;
        if (braces == 0 && c == '$' && peek(l) == '{') {
            braces++;
            (void)next(l);
        } else if (braces > 0 && c == '{') {
            braces++;
        }
        if (braces > 0 && c == '}')
            braces--;
        if (c == '\\')
            scan_escape(l);
    }
}

/* Is the line [s, s+n) blanks, then the anchor, then carriage returns? */
static bool is_anchor(const char *s, size_t n, const char *id, size_t id_len)
{
    while (n && strchr(" \t\n\v\f\r", *s) && *s) {
        s++;
        n--;
    }
    while (n && s[n - 1] == '\r')
        n--;
    return n == id_len && memcmp(s, id, n) == 0;
}

static void scan_heredoc(struct hcl_lexer *l)
{
    size_t id, id_len, line;
    uint32_t c;

    if (next(l) != '<') {
        lex_err(l, "heredoc expected second '<', didn't see it");
        return;
    }
    id = l->off;
    c = next(l);
    if (c == '-') {
        id = l->off;
        c = next(l);
    }
    while (is_letter(c) || is_decimal(c))
        c = next(l);
    if (c == RUNE_EOF) {
        lex_err(l, "heredoc not terminated");
        return;
    }
    if (c != '\n') {
        lex_err(l, "invalid characters in heredoc anchor");
        return;
    }
    id_len = l->off - 1 - id;
    if (id_len == 0) {
        lex_err(l, "zero-length heredoc anchor");
        return;
    }
    line = l->off;
    for (;;) {
        c = next(l);
        if (c == RUNE_EOF) {
            lex_err(l, "heredoc not terminated");
            return;
        }
        if (c != '\n')
            continue;
        if (is_anchor(l->src + line, l->off - 1 - line, l->src + id, id_len))
            return;
        line = l->off;
    }
}

static enum hcl_tok scan_ident(struct hcl_lexer *l, const char *start)
{
    size_t n;

    while (is_letter(peek(l)) || is_decimal(peek(l)) || peek(l) == '-' ||
           (peek(l) == '.' && !l->json))
        (void)next(l);
    read_end(l);
    n = (size_t)(l->src + l->off - start);
    if ((n == 4 && memcmp(start, "true", 4) == 0) || (n == 5 && memcmp(start, "false", 5) == 0))
        return HCL_TOK_BOOL;
    if (!l->json)
        return HCL_TOK_IDENT;
    if (n == 4 && memcmp(start, "null", 4) == 0)
        return HCL_TOK_NULL;
    lex_err(l, "illegal char");
    return HCL_TOK_ILLEGAL;
}

static const struct {
    char c;
    bool hcl, json;
    enum hcl_tok tok;
} marks[] = {
    {'[', true, true, HCL_TOK_LBRACK}, {']', true, true, HCL_TOK_RBRACK},
    {'{', true, true, HCL_TOK_LBRACE}, {'}', true, true, HCL_TOK_RBRACE},
    {',', true, true, HCL_TOK_COMMA},  {'=', true, false, HCL_TOK_ASSIGN},
    {'+', true, false, HCL_TOK_ADD},   {':', false, true, HCL_TOK_COLON},
};

static enum hcl_tok scan_mark(struct hcl_lexer *l, uint32_t c)
{
    for (size_t i = 0; i < ARRAY_LEN(marks); i++)
        if (c == (unsigned char)marks[i].c && (l->json ? marks[i].json : marks[i].hcl))
            return marks[i].tok;
    if (c == '.')
        return is_decimal(peek(l)) ? (scan_digits_rest(l), scan_fraction(l, HCL_TOK_FLOAT))
                                   : HCL_TOK_PERIOD;
    if (c == '-' && is_decimal(peek(l)))
        return scan_number(l, next(l));
    if (c == '-' && !l->json)
        return HCL_TOK_SUB;
    lex_err(l, "illegal char");
    return HCL_TOK_ILLEGAL;
}

struct hcl_token hcl_lex_next(struct hcl_lexer *l)
{
    struct hcl_token t;
    uint32_t c;

    do
        c = next(l);
    while (c == ' ' || c == '\t' || c == '\n' || c == '\r');
    t.text = l->src + l->off - l->last_len;
    t.pos = l->pos;
    if (is_letter(c)) {
        t.type = scan_ident(l, t.text);
    } else if (is_decimal(c)) {
        t.type = scan_number(l, c);
    } else if (c == RUNE_EOF) {
        t.type = HCL_TOK_EOF;
    } else if (c == '"') {
        t.type = HCL_TOK_STRING;
        scan_string(l);
    } else if ((c == '#' || c == '/') && !l->json) {
        t.type = HCL_TOK_COMMENT;
        scan_comment(l, c);
    } else if (c == '<' && !l->json) {
        t.type = HCL_TOK_HEREDOC;
        scan_heredoc(l);
    } else {
        t.type = scan_mark(l, c);
    }
    t.len = (size_t)(l->src + l->off - t.text);
    return t;
}
