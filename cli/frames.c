/* SPDX-License-Identifier: MPL-2.0 */
#include "frames.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "jsontext.h"

/* Gives the data of one whole frame to fn. */
static int frame_take(const char *text, size_t len, frames_data_fn *fn, void *user)
{
    _cleanup_(json_decrefp) json_t *frame = json_loadb(text, len, 0, NULL);
    const char *data = js_str(frame, "Data");
    size_t n = strlen(data), pad = 0;
    _cleanup_(freep) char *raw = NULL;
    int got;

    if (!frame)
        return -EPROTO;
    if (n == 0)
        return 0;
    raw = xmalloc(n / 4 * 3 + 3);
    got = n % 4 == 0 ? EVP_DecodeBlock((unsigned char *)raw, (const unsigned char *)data, (int)n)
                     : -1;
    while (pad < 2 && pad < n && data[n - 1 - pad] == '=')
        pad++;
    if (got < (int)pad)
        return -EPROTO;
    fn(user, raw, (size_t)got - pad);
    return 0;
}

/* Does the frame end with this byte? */
static bool frame_ends(struct frames *f, char ch)
{
    if (f->in_string) {
        if (f->escaped)
            f->escaped = false;
        else if (ch == '\\')
            f->escaped = true;
        else if (ch == '"')
            f->in_string = false;
        return false;
    }
    switch (ch) {
    case '"':
        f->in_string = true;
        return false;
    case '{':
        f->depth++;
        return false;
    case '}':
        return --f->depth == 0;
    default:
        return false;
    }
}

int frames_feed(struct frames *f, const char *bytes, size_t len, frames_data_fn *fn, void *user)
{
    for (size_t i = 0; i < len; i++) {
        char ch = bytes[i];
        int r;

        if (f->depth == 0 && ch != '{') {
            if (strchr(" \t\r\n", ch) && ch)
                continue;
            return -EPROTO;
        }
        strbuf_addc(&f->pending, ch);
        if (strbuf_failed(&f->pending))
            return -EPROTO;
        if (!frame_ends(f, ch))
            continue;
        r = frame_take(f->pending.data, f->pending.len, fn, user);
        strbuf_reset(&f->pending);
        if (r < 0)
            return r;
    }
    return 0;
}

bool frames_cut(const struct frames *f)
{
    return f->depth > 0;
}

void frames_fini(struct frames *f)
{
    strbuf_fini(&f->pending);
}

size_t tail_start(const char *text, size_t len, size_t n)
{
    size_t at = len;

    if (n == 0)
        return len;
    if (at > 0 && text[at - 1] == '\n')
        at--; /* ends the last line, begins none */
    while (at > 0 && (text[at - 1] != '\n' || --n > 0))
        at--;
    return at;
}
