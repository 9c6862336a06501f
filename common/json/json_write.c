/* SPDX-License-Identifier: MPL-2.0 */
/* The writer: room in the strbuf, strings with their escapes, indentation. */
#include "json/json_impl.h"

#include <errno.h>
#include <string.h>

enum { SAFE, ESCAPE, HTML, HIGH };

static const uint8_t char_class[256] = {
    [0 ... 0x1f] = ESCAPE, ['"'] = ESCAPE, ['\\'] = ESCAPE,        ['<'] = HTML,
    ['>'] = HTML,          ['&'] = HTML,   [0x80 ... 0xff] = HIGH,
};

void json_writer_init(struct json_writer *w, unsigned flags, struct strbuf *out)
{
    *w = (struct json_writer){.out = out, .flags = flags};
    (void)json_writer_grow(w, 1);
}

bool json_writer_grow(struct json_writer *w, size_t n)
{
    struct strbuf *b = w->out;
    size_t limit;

    if (w->failed)
        return false;
    if (w->p)
        b->len = (size_t)(w->p - b->data);
    if (!strbuf_reserve(b, n)) {
        w->failed = true;
        w->p = w->end = NULL;
        return false;
    }
    limit = b->cap - 1;
    if (b->len_max)
        limit = MIN(limit, b->len_max);
    w->p = b->data + b->len;
    w->end = b->data + limit;
    return true;
}

int json_writer_fini(struct json_writer *w)
{
    struct strbuf *b = w->out;

    if (w->failed)
        return -EMSGSIZE;
    b->len = (size_t)(w->p - b->data);
    b->data[b->len] = 0;
    return 0;
}

void json_write_newline(struct json_writer *w)
{
    size_t n = 1 + (size_t)w->depth * 4;

    if (!(w->flags & JSON_PRETTY) || !json_writer_room(w, n))
        return;
    *w->p = '\n';
    memset(w->p + 1, ' ', n - 1);
    w->p += n;
}

static void write_escape(struct json_writer *w, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char u[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

    switch (c) {
    case '"':
        json_write_lit(w, "\\\"");
        break;
    case '\\':
        json_write_lit(w, "\\\\");
        break;
    case '\n':
        json_write_lit(w, "\\n");
        break;
    case '\r':
        json_write_lit(w, "\\r");
        break;
    case '\t':
        json_write_lit(w, "\\t");
        break;
    default:
        json_write(w, u, sizeof(u));
    }
}

/* One sequence above ASCII: U+2028 and U+2029 are escaped as Go does (they end a JavaScript line).
 */
static const char *write_high(struct json_writer *w, const char *p, const char *end)
{
    size_t n = json_utf8_len(p, end);

    if (n == 0) {
        json_write_lit(w, "\\ufffd");
        return p + 1;
    }
    if (n == 3 && memcmp(p, "\xe2\x80\xa8", 3) == 0)
        json_write_lit(w, "\\u2028");
    else if (n == 3 && memcmp(p, "\xe2\x80\xa9", 3) == 0)
        json_write_lit(w, "\\u2029");
    else
        json_write(w, p, n);
    return p + n;
}

void json_write_string(struct json_writer *w, const char *s, size_t len)
{
    bool html = w->flags & JSON_ESCAPE_HTML;
    const char *end = s + len;

    json_write_char(w, '"');
    while (s < end) {
        const char *run = s;
        uint8_t class = SAFE;

        while (s < end) {
            class = char_class[(unsigned char)*s];
            if (class != SAFE && (class != HTML || html))
                break;
            s++;
        }
        if (s > run)
            json_write(w, run, (size_t)(s - run));
        if (s == end)
            break;
        if (class == HIGH)
            s = write_high(w, s, end);
        else
            write_escape(w, (unsigned char)*s++);
    }
    json_write_char(w, '"');
}

void json_string_encode(const char *s, size_t len, unsigned flags, struct strbuf *out)
{
    struct json_writer w;

    json_writer_init(&w, flags, out);
    json_write_string(&w, s, len);
    (void)json_writer_fini(&w);
}

/*
 * The text is canonical already (json_raw_compact() made it), so layout only needs the brackets,
 * commas, colons and string borders; nothing here can run past the NUL.
 */
void json_write_raw(struct json_writer *w, const char *text)
{
    bool in_string = false;
    bool html = w->flags & JSON_ESCAPE_HTML;
    const char *p;

    if (!(w->flags & (JSON_PRETTY | JSON_ESCAPE_HTML))) {
        json_write(w, text, strlen(text));
        return;
    }
    for (p = text; *p; p++) {
        if (in_string) {
            if (html && char_class[(unsigned char)*p] == HTML)
                write_escape(w, (unsigned char)*p);
            else
                json_write_char(w, *p);
            if (*p == '\\' && p[1])
                json_write_char(w, *++p);
            else if (*p == '"')
                in_string = false;
            continue;
        }
        if (*p == '}' || *p == ']') {
            w->depth -= w->depth > 0;
            json_write_newline(w);
        }
        json_write_char(w, *p);
        if (*p == '"') {
            in_string = true;
        } else if ((*p == '{' || *p == '[') && (p[1] == '}' || p[1] == ']')) {
            json_write_char(w, *++p);
        } else if (*p == '{' || *p == '[') {
            w->depth++;
            json_write_newline(w);
        } else if (*p == ',') {
            json_write_newline(w);
        } else if (*p == ':' && (w->flags & JSON_PRETTY)) {
            json_write_char(w, ' ');
        }
    }
}
