/* SPDX-License-Identifier: MPL-2.0 */
/*
 * libconfuse reads a close relative of HCL. This pass turns the one into the other, line for line,
 * so that libconfuse's line numbers stay right, and is strict where libconfuse is lax: it accepts
 * an unterminated block, skips characters that it does not know and expands ${VARIABLES}.
 */
#include "conf/conf_internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"

struct prepass {
    const char *file;
    const char *p, *end;
    unsigned line;
    unsigned depth;
    bool plugin; /* the block at the top is one of a plugin */
    bool quiet;  /* inside a block that is not looked at: only its newlines come out */
    struct strbuf out;
    struct errtext *e;
};

static int parse_body(struct prepass *s, unsigned open_line, const char *block);

/* ---- characters ---- */

static int peek(const struct prepass *s)
{
    return s->p < s->end ? (unsigned char)*s->p : -1;
}

static int peek2(const struct prepass *s)
{
    return s->p + 1 < s->end ? (unsigned char)s->p[1] : -1;
}

static int fail(struct prepass *s, const char *what)
{
    return err_set(s->e, -EINVAL, "%s:%u: %s", s->file, s->line, what);
}

static int fail_char(struct prepass *s, const char *wanted)
{
    int c = peek(s);

    if (c < 0)
        return err_set(s->e, -EINVAL, "%s:%u: expected %s, found the end of the file", s->file,
                       s->line, wanted);
    if (c < 0x20 || c >= 0x7f)
        return err_set(s->e, -EINVAL, "%s:%u: expected %s, found byte 0x%02x", s->file, s->line,
                       wanted, c);
    return err_set(s->e, -EINVAL, "%s:%u: expected %s, found \"%c\"", s->file, s->line, wanted, c);
}

static void emit(struct prepass *s, const char *text)
{
    if (!s->quiet)
        strbuf_adds(&s->out, text);
}

static void newline(struct prepass *s)
{
    s->line++;
    strbuf_addc(&s->out, '\n');
}

/* Skips blanks and comments; newlines come out. */
static int skip(struct prepass *s)
{
    for (;;) {
        int c = peek(s);

        if (c == '\n') {
            newline(s);
            s->p++;
        } else if (c == ' ' || c == '\t' || c == '\r') {
            s->p++;
        } else if (c == '#' || (c == '/' && peek2(s) == '/')) {
            while (s->p < s->end && *s->p != '\n')
                s->p++;
        } else if (c == '/' && peek2(s) == '*') {
            unsigned open_line = s->line;

            for (s->p += 2; !(peek(s) == '*' && peek2(s) == '/'); s->p++) {
                if (s->p >= s->end)
                    return err_set(s->e, -EINVAL, "%s:%u: comment is not closed", s->file,
                                   open_line);
                if (*s->p == '\n')
                    newline(s);
            }
            s->p += 2;
        } else {
            emit(s, " ");
            return 0;
        }
    }
}

/* ---- strings ---- */

/* One byte of a value, as libconfuse wants it inside double quotes. */
static int emit_byte(struct prepass *s, unsigned char c)
{
    if (c == 0)
        return fail(s, "a NUL byte in a string");
    if (s->quiet)
        return 0;
    if (c == '\n') {
        strbuf_adds(&s->out, "\\n");
        return 0;
    }
    if (c == '"' || c == '\\' || c == '$')
        strbuf_addc(&s->out, '\\');
    strbuf_addc(&s->out, (char)c);
    return 0;
}

static int emit_rune(struct prepass *s, unsigned long c)
{
    unsigned char u[4];
    size_t n = 0;

    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return fail(s, "an escape that is no Unicode character");
    if (c < 0x80) {
        u[n++] = (unsigned char)c;
    } else if (c < 0x800) {
        u[n++] = (unsigned char)(0xc0 | c >> 6);
        u[n++] = (unsigned char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        u[n++] = (unsigned char)(0xe0 | c >> 12);
        u[n++] = (unsigned char)(0x80 | (c >> 6 & 63));
        u[n++] = (unsigned char)(0x80 | (c & 63));
    } else {
        u[n++] = (unsigned char)(0xf0 | c >> 18);
        u[n++] = (unsigned char)(0x80 | (c >> 12 & 63));
        u[n++] = (unsigned char)(0x80 | (c >> 6 & 63));
        u[n++] = (unsigned char)(0x80 | (c & 63));
    }
    for (size_t i = 0; i < n; i++) {
        int r = emit_byte(s, u[i]);

        if (r)
            return r;
    }
    return 0;
}

/* HCL's escapes: \a \b \f \n \r \t \v \\ \" \NNN \xHH \uHHHH \UHHHHHHHH. p stands after the \. */
static int escape(struct prepass *s)
{
    static const char from[] = "abfnrtv\\\"/", to[] = "\a\b\f\n\r\t\v\\\"/";
    int c = peek(s), digits, base = 16;
    const char *at = c > 0 ? strchr(from, c) : NULL;
    unsigned long v = 0;

    if (at) {
        s->p++;
        return emit_byte(s, (unsigned char)to[at - from]);
    }
    if (c >= '0' && c <= '7') {
        base = 8;
        digits = 3;
    } else {
        digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
        if (!digits)
            return fail_char(s, "an escape after \"\\\"");
        s->p++;
    }
    for (; digits > 0; digits--, s->p++) {
        int d = peek(s);
        int x = d >= 0 && isxdigit(d) ? (isdigit(d) ? d - '0' : tolower(d) - 'a' + 10) : 99;

        if (x >= base)
            return fail_char(s, "a digit of an escape");
        v = v * (unsigned long)base + (unsigned long)x;
    }
    if (c == 'u' || c == 'U')
        return emit_rune(s, v);
    return v > 255 ? fail(s, "an escape above 255") : emit_byte(s, (unsigned char)v);
}

static int parse_string(struct prepass *s)
{
    int r;

    assert(*s->p == '"');
    s->p++;
    emit(s, "\"");
    for (;;) {
        int c = peek(s);

        if (c == '"')
            break;
        if (c < 0 || c == '\n')
            return fail(s, "string is not closed on its line");
        s->p++;
        r = c == '\\' ? escape(s) : emit_byte(s, (unsigned char)c);
        if (r)
            return r;
    }
    s->p++;
    emit(s, "\"");
    return 0;
}

/* One line of a heredoc without its newline: is it the end mark? */
static bool is_mark(const char *line, size_t len, const char *mark, size_t mark_len)
{
    while (len && (*line == ' ' || *line == '\t')) {
        line++;
        len--;
    }
    if (len && line[len - 1] == '\r')
        len--;
    return len == mark_len && memcmp(line, mark, len) == 0;
}

/* Leading blanks that all lines up to the end mark share, for <<-. */
static size_t common_indent(const struct prepass *s, const char *mark, size_t mark_len)
{
    size_t indent = SIZE_MAX;

    for (const char *p = s->p; p < s->end;) {
        const char *nl = memchr(p, '\n', (size_t)(s->end - p));
        size_t len = nl ? (size_t)(nl - p) : (size_t)(s->end - p), n = 0;

        if (is_mark(p, len, mark, mark_len))
            break;
        while (n < len && (p[n] == ' ' || p[n] == '\t'))
            n++;
        if (n < len)
            indent = MIN(indent, n);
        p += len + (nl != NULL);
    }
    return indent == SIZE_MAX ? 0 : indent;
}

/* <<MARK or <<-MARK: the value begins on the next line and keeps its last newline, as in HCL. */
static int parse_heredoc(struct prepass *s)
{
    const char *mark;
    size_t mark_len, indent = 0;
    unsigned open_line = s->line;
    bool dash;

    s->p += 2;
    dash = peek(s) == '-';
    s->p += dash;
    mark = s->p;
    while (s->p < s->end && (isalnum((unsigned char)*s->p) || *s->p == '_'))
        s->p++;
    mark_len = (size_t)(s->p - mark);
    if (peek(s) == '\r')
        s->p++;
    if (!mark_len || peek(s) != '\n')
        return fail(s, "a heredoc needs a mark, alone at the end of its line");
    s->p++;
    newline(s);
    if (dash)
        indent = common_indent(s, mark, mark_len);
    emit(s, "\"");
    while (s->p < s->end) {
        const char *nl = memchr(s->p, '\n', (size_t)(s->end - s->p));
        size_t len = nl ? (size_t)(nl - s->p) : (size_t)(s->end - s->p);

        if (is_mark(s->p, len, mark, mark_len)) {
            s->p += len;
            emit(s, "\"");
            return 0;
        }
        for (size_t i = MIN(indent, len); i < len; i++) {
            int r = emit_byte(s, (unsigned char)s->p[i]);

            if (r)
                return r;
        }
        s->p += len;
        if (nl) {
            s->p++;
            newline(s); /* a raw newline inside the quotes: value and line count both want it */
        }
    }
    return err_set(s->e, -EINVAL, "%s:%u: heredoc is not closed", s->file, open_line);
}

/* ---- grammar ---- */

static bool is_word(int c)
{
    return c >= 0 && (isalnum(c) || strchr("_-.+", c));
}

/* A bare number, true or false (or, as a key, an identifier). */
static int parse_word(struct prepass *s, bool key)
{
    const char *from = s->p;
    size_t len;

    while (is_word(peek(s)))
        s->p++;
    len = (size_t)(s->p - from);
    if (!len)
        return fail_char(s, key ? "a key" : "a value");
    if (!key && !isdigit((unsigned char)*from) && *from != '-' && *from != '+' &&
        !(len == 4 && memcmp(from, "true", 4) == 0) && !(len == 5 && memcmp(from, "false", 5) == 0))
        return err_set(s->e, -EINVAL, "%s:%u: value %.*s needs quotes", s->file, s->line,
                       (int)MIN(len, (size_t)64), from);
    emit(s, "\""); /* quoted, so that no word is taken for libconfuse's syntax */
    if (!s->quiet)
        strbuf_add(&s->out, from, len);
    emit(s, "\"");
    return 0;
}

static int parse_scalar(struct prepass *s)
{
    if (peek(s) == '"')
        return parse_string(s);
    if (peek(s) == '<' && peek2(s) == '<')
        return parse_heredoc(s);
    return parse_word(s, false);
}

static int parse_list(struct prepass *s)
{
    unsigned open_line = s->line;
    int r;

    if (++s->depth > CONF_DEPTH_MAX)
        return fail(s, "nested too deeply");
    s->p++;
    emit(s, "{");
    for (;;) {
        r = skip(s);
        if (r)
            return r;
        if (peek(s) < 0)
            return err_set(s->e, -EINVAL, "%s:%u: list is not closed", s->file, open_line);
        if (peek(s) == ']')
            break;
        if (s->quiet && peek(s) == '[')
            r = parse_list(s);
        else if (s->quiet && peek(s) == '{')
            r = parse_body(s, s->line, "list");
        else if (peek(s) == '[' || peek(s) == '{')
            r = fail(s, "only strings and numbers may stand in a list here");
        else
            r = parse_scalar(s);
        if (!r)
            r = skip(s);
        if (r)
            return r;
        if (peek(s) == ',') {
            s->p++;
            emit(s, ",");
        } else if (peek(s) != ']') {
            return fail_char(s, "\",\" or \"]\"");
        }
    }
    s->p++;
    s->depth--;
    emit(s, "}");
    return 0;
}

/* Is the block of this name, at the top of the file, one whose inside is free? */
static bool is_opaque(const char *key)
{
    const struct conf_row *row = conf_row_find(key);

    return row && row->type >= CONF_OPAQUE;
}

/* The part after a key: titles and a block, or "=" and a value. */
static int parse_rest(struct prepass *s, const char *key)
{
    int r;

    if (peek(s) == '=') {
        s->p++;
        r = skip(s);
        if (r)
            return r;
        if (peek(s) == '{')
            return parse_body(s, s->line, key);
        emit(s, "=");
        if (peek(s) == '[')
            return parse_list(s);
        return parse_scalar(s);
    }
    for (unsigned titles = 0; peek(s) != '{'; titles++) {
        if (peek(s) != '"' && !is_word(peek(s)))
            return fail_char(s, "\"=\" or \"{\" after a key");
        if (titles >= 4)
            return fail(s, "too many titles before a block");
        r = peek(s) == '"' ? parse_string(s) : parse_word(s, true);
        if (!r)
            r = skip(s);
        if (r)
            return r;
    }
    return parse_body(s, s->line, key);
}

/* Inside of a plugin's block, however deep: what is a scalar comes out as KEY = VALUE. */
static int parse_plugin_item(struct prepass *s, const char *from, size_t len)
{
    int r = skip(s);

    if (r)
        return r;
    if (peek(s) != '=')
        return parse_rest(s, "config");
    s->p++;
    r = skip(s);
    if (r)
        return r;
    if (peek(s) == '{')
        return parse_body(s, s->line, "config");
    if (peek(s) == '[')
        return parse_list(s);
    s->quiet = false;
    emit(s, " ");
    strbuf_add(&s->out, from, len);
    emit(s, "=");
    r = parse_scalar(s);
    emit(s, " ");
    s->quiet = true;
    return r;
}

static int parse_item(struct prepass *s)
{
    char key[128];
    const char *from = s->p;
    size_t len;
    int r;

    r = peek(s) == '"' ? parse_string(s) : parse_word(s, true);
    if (r)
        return r;
    len = (size_t)(s->p - from);
    if (s->quiet && s->plugin && *from != '"')
        return parse_plugin_item(s, from, len);
    if (*from == '"' && len >= 2) {
        from++;
        len -= 2;
    }
    (void)snprintf(key, sizeof(key), "%.*s", (int)MIN(len, sizeof(key) - 1), from);
    r = skip(s);
    if (r)
        return r;
    return parse_rest(s, key);
}

/* "{ items }" when block is given, else the whole file. */
static int parse_body(struct prepass *s, unsigned open_line, const char *block)
{
    bool quiet = s->quiet;
    int r;

    if (block) {
        if (++s->depth > CONF_DEPTH_MAX)
            return fail(s, "nested too deeply");
        s->p++;
        emit(s, "{");
        s->quiet = quiet || (s->depth == 1 && is_opaque(block));
        if (s->depth == 1)
            s->plugin = strcmp(block, "plugin") == 0;
    }
    for (;;) {
        r = skip(s);
        if (r)
            return r;
        if (peek(s) < 0 || peek(s) == '}')
            break;
        r = parse_item(s);
        if (!r)
            r = skip(s);
        if (r)
            return r;
        if (peek(s) == ',')
            s->p++;
    }
    if (!block)
        return peek(s) < 0 ? 0 : fail(s, "unexpected \"}\"");
    if (peek(s) < 0)
        return err_set(s->e, -EINVAL, "%s:%u: block \"%s\" is not closed", s->file, open_line,
                       block);
    s->p++;
    s->depth--;
    s->quiet = quiet;
    emit(s, "}");
    return 0;
}

int conf_prepass(const char *file, const char *text, size_t len, char **ret_text, struct errtext *e)
{
    /* Each byte becomes at most two, plus quotes and a blank a token. */
    struct prepass s = {.file = file, .p = text, .end = text + len, .line = 1, .e = e};
    int r;

    if (len > CONF_FILE_MAX)
        return err_set(e, -EFBIG, "%s: larger than %u bytes", file, CONF_FILE_MAX);
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        s.p += 3;
    r = parse_body(&s, 1, NULL);
    if (r) {
        strbuf_fini(&s.out);
        return r;
    }
    *ret_text = strbuf_take(&s.out);
    return 0;
}
