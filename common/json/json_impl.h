/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Shared by the codec's files only: the reader over a text and the writer over a strbuf.
 */
#pragma once

#include "json/json.h"

/* Where in the target a value stands, innermost first; lives on the C stack. */
struct json_path {
    const struct json_path *up;
    const struct json_type *owner;
    const struct json_field *field;
};

struct json_reader {
    const char *text;
    const char *p;
    const char *end;
    struct errtext *e;
    const struct json_path *path;
    const struct json_type *root;
    size_t budget; /* bytes that may still be allocated */
    unsigned depth;
};

/* A string in the text, checked, without its quotes. */
struct json_span {
    const char *p;
    size_t len;
    size_t decoded_len; /* bytes after json_span_decode() */
    bool plain;         /* decoding is copying */
    bool nul;           /* holds \u0000 */
};

/* Takes n bytes from what the text may allocate; -EMSGSIZE when it is used up. */
int json_charge(struct json_reader *r, size_t n);
/* Go's text for the value at r->p, which cannot be the field's (or, element, one of its items). */
int json_wrong_value(struct json_reader *r, bool element);
/* A malloc'ed copy of the string at r->p. */
int json_read_text(struct json_reader *r, char **ret);
/* Anything but a message into its place. */
int json_read_scalar(struct json_reader *r, const struct json_field *f, void *slot);

/* What one item of a list takes in its array. */
static inline size_t json_element_size(const struct json_field *f)
{
    switch ((enum json_kind)f->kind) {
    case JSON_BOOL:
        return sizeof(bool);
    case JSON_INT:
    case JSON_UINT:
        return f->bits / 8u;
    case JSON_DOUBLE:
        return sizeof(double);
    case JSON_STRING:
    case JSON_RAW:
    case JSON_BYTES:
        return sizeof(void *);
    case JSON_MESSAGE:
        return f->sub->size;
    case JSON_DURATION:
    case JSON_TIME:
        return sizeof(int64_t);
    }
    return 0;
}

static inline bool json_is_pointer(const struct json_field *f)
{
    return f->kind == JSON_STRING || f->kind == JSON_RAW || f->kind == JSON_BYTES;
}

static inline void json_skip_space(struct json_reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r'))
        r->p++;
}

/* Sets Go's text for the character at r->p, or "unexpected EOF"; -EBADMSG. */
int json_syntax_error(struct json_reader *r, const char *context);
/*
 * To the next element of an array (close is ']') or member of an object ('}'): `first` when r->p
 * stands at the opening bracket, else it stands behind an element. 1: at an element. 0: there is
 * none, r->p is behind the closing bracket. -EBADMSG, -EMSGSIZE (too deep).
 */
int json_next(struct json_reader *r, bool first, char close);
/* At the opening quote; ends behind the closing one. */
int json_read_string(struct json_reader *r, struct json_span *ret);
/* Writes s->decoded_len bytes. */
void json_span_decode(const struct json_span *s, char *out);
/* At the first character; the span of a number. */
int json_read_number(struct json_reader *r, const char **ret, size_t *ret_len);
/* "true", "false" or "null", whose first letter stands at r->p. */
int json_read_literal(struct json_reader *r, const char *word);
/* Any value, checked; canonical form appended to out unless NULL. */
int json_read_raw(struct json_reader *r, struct strbuf *out);
/* Bytes of the UTF-8 sequence at p (p < end), 0 when it is none. */
size_t json_utf8_len(const char *p, const char *end);

struct json_writer {
    struct strbuf *out;
    char *p;
    char *end;
    unsigned flags;
    unsigned depth;
    bool failed;
};

void json_writer_init(struct json_writer *w, unsigned flags, struct strbuf *out);
int json_writer_fini(struct json_writer *w);
bool json_writer_grow(struct json_writer *w, size_t n);
void json_write_string(struct json_writer *w, const char *s, size_t len);
/* Canonical JSON text; laid out anew when the flags ask for it. */
void json_write_raw(struct json_writer *w, const char *text);
void json_write_newline(struct json_writer *w); /* and the indent; when JSON_PRETTY */

static inline bool json_writer_room(struct json_writer *w, size_t n)
{
    return (size_t)(w->end - w->p) >= n || json_writer_grow(w, n);
}

static inline void json_write(struct json_writer *w, const char *s, size_t n)
{
    if (json_writer_room(w, n)) {
        __builtin_memcpy(w->p, s, n);
        w->p += n;
    }
}

static inline void json_write_char(struct json_writer *w, char c)
{
    if (json_writer_room(w, 1))
        *w->p++ = c;
}

#define json_write_lit(w, lit) json_write((w), (lit), sizeof(lit) - 1)
