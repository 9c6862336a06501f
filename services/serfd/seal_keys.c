/* SPDX-License-Identifier: MPL-2.0 */
/* The keyring: what is in it, its text, its file. */
#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "seal.h"

/* ---- base64 ---- */

struct b64 {
    const char *text;
    size_t len, at; /* at: where it is wrong, when it is */
};

static int b64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static void b64_skip_line_ends(struct b64 *b)
{
    while (b->at < b->len && (b->text[b->at] == '\r' || b->text[b->at] == '\n'))
        b->at++;
}

/* Behind n digits of a group stands no further one: padding to the end of the text, or an error. */
static bool b64_padding(struct b64 *b, unsigned n)
{
    if (b->text[b->at] != '=' || n < 2)
        return false;
    b->at++;
    b64_skip_line_ends(b);
    if (n == 2) {
        if (b->at == b->len)
            return false;
        if (b->text[b->at] != '=') {
            b->at--;
            return false;
        }
        b->at++;
        b64_skip_line_ends(b);
    }
    return b->at == b->len;
}

/* Four characters to *ret_n bytes, 0 to 3; less than 3 at the end. False: it is wrong at b->at. */
static bool b64_group(struct b64 *b, uint8_t out[static 3], size_t *ret_n)
{
    uint32_t bits = 0;
    unsigned n = 0;

    *ret_n = 0;
    for (; n < 4; n++) {
        int v;

        b64_skip_line_ends(b);
        if (b->at == b->len) {
            b->at -= n; /* of a group that is cut off, its start */
            return n == 0;
        }
        v = b64_value(b->text[b->at]);
        if (v < 0)
            break;
        bits = bits << 6 | (uint32_t)v;
        b->at++;
    }
    if (n < 4 && !b64_padding(b, n))
        return false;
    bits <<= 6 * (4 - n);
    out[0] = (uint8_t)(bits >> 16);
    out[1] = (uint8_t)(bits >> 8);
    out[2] = (uint8_t)bits;
    *ret_n = n - 1;
    return true;
}

int seal_base64_decode(struct span text, uint8_t *buf, size_t cap, size_t *ret_len,
                       struct errtext *e)
{
    struct b64 b = {(const char *)text.p, text.len, 0};
    uint8_t group[3];
    size_t n;

    *ret_len = 0;
    do {
        if (!b64_group(&b, group, &n))
            return err_set(e, -EINVAL, "illegal base64 data at input byte %zu", b.at);
        if (*ret_len + n > cap)
            return err_set(e, -EINVAL, "base64 data of more than %zu bytes", cap);
        memcpy(buf + *ret_len, group, n);
        *ret_len += n;
    } while (n == 3);
    return 0;
}

const char *seal_key_text(const struct seal_key *key, char buf[static SEAL_TEXT_MAX])
{
    (void)EVP_EncodeBlock((uint8_t *)buf, key->bytes, key->len);
    return buf;
}

/* ---- keys ---- */

int seal_key_from(struct seal_key *ret, struct span raw, struct errtext *e)
{
    *ret = (struct seal_key){.len = 0};
    if (raw.len != 16 && raw.len != 24 && raw.len != 32)
        return err_set(e, -EINVAL, "key size must be 16, 24 or 32 bytes");
    memcpy(ret->bytes, raw.p, raw.len);
    ret->len = (uint8_t)raw.len;
    return 0;
}

static size_t find(const struct seal_keyring *ring, const struct seal_key *key)
{
    size_t i = 0;

    while (i < ring->n && (ring->keys[i].len != key->len ||
                           memcmp(ring->keys[i].bytes, key->bytes, key->len) != 0))
        i++;
    return i;
}

int seal_install(struct seal_keyring *ring, const struct seal_key *key, struct errtext *e)
{
    if (find(ring, key) < ring->n)
        return 0;
    if (ring->n == SEAL_KEYS_MAX)
        return err_set(e, -ENOSPC, "more than %d gossip keys", SEAL_KEYS_MAX);
    ring->keys[ring->n++] = *key;
    return 0;
}

int seal_use(struct seal_keyring *ring, const struct seal_key *key, struct errtext *e)
{
    size_t at = find(ring, key);

    if (at == ring->n)
        return err_set(e, -ENOENT, "Requested key is not in the keyring");
    memmove(&ring->keys[1], &ring->keys[0], at * sizeof(*ring->keys));
    ring->keys[0] = *key;
    return 0;
}

int seal_remove(struct seal_keyring *ring, const struct seal_key *key, struct errtext *e)
{
    size_t at = find(ring, key);

    if (at == ring->n)
        return 0;
    if (at == 0)
        return err_set(e, -EPERM, "Removing the primary key is not allowed");
    ring->n--;
    memmove(&ring->keys[at], &ring->keys[at + 1], (ring->n - at) * sizeof(*ring->keys));
    return 0;
}

static int add_base64(struct seal_keyring *ring, struct span text, struct errtext *e)
{
    uint8_t raw[48];
    struct seal_key key;
    size_t len;
    int r = seal_base64_decode(text, raw, sizeof(raw), &len, e);

    if (r == 0)
        r = seal_key_from(&key, (struct span){raw, len}, e);
    return r ? r : seal_install(ring, &key, e);
}

int seal_add_base64(struct seal_keyring *ring, const char *text, struct errtext *e)
{
    return add_base64(ring, SPAN_STR(text), e);
}

/* ---- file ---- */

void seal_file_format(const struct seal_keyring *ring, struct strbuf *out)
{
    char text[SEAL_TEXT_MAX];

    strbuf_addc(out, '[');
    for (size_t i = 0; i < ring->n; i++)
        strbuf_addf(out, "%s\n  \"%s\"", i ? "," : "", seal_key_text(&ring->keys[i], text));
    strbuf_adds(out, "\n]");
}

static void skip_space(const char **p, const char *end)
{
    while (*p < end && (**p == ' ' || **p == '\t' || **p == '\r' || **p == '\n'))
        (*p)++;
}

static bool take(const char **p, const char *end, char c)
{
    skip_space(p, end);
    if (*p == end || **p != c)
        return false;
    (*p)++;
    return true;
}

int seal_file_parse(const char *text, size_t len, struct seal_keyring *ring, struct errtext *e)
{
    const char *p = text, *end = text + len, *start;
    struct seal_keyring got = {.n = 0};

    if (!take(&p, end, '['))
        return err_set(e, -EINVAL, "it is not a list of keys");
    do {
        size_t before = got.n;
        int r;

        if (!take(&p, end, '"'))
            return err_set(e, -EINVAL, "a key in quotes is missing at byte %td", p - text);
        for (start = p; p < end && *p != '"';)
            p++;
        r = add_base64(&got, (struct span){(const uint8_t *)start, (size_t)(p - start)}, e);
        if (r)
            return err_prefix(e, r, "key %zu", before + 1);
        if (!take(&p, end, '"'))
            return err_set(e, -EINVAL, "it ends within a key");
    } while (take(&p, end, ','));
    if (!take(&p, end, ']'))
        return err_set(e, -EINVAL, "the end of the list is missing at byte %td", p - text);
    skip_space(&p, end);
    if (p != end)
        return err_set(e, -EINVAL, "something stands behind the list at byte %td", p - text);
    *ring = got;
    return 0;
}
