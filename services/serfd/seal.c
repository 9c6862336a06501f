/* SPDX-License-Identifier: MPL-2.0 */
#include "seal.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/prng.h"
#include "messages.h"

enum { NONCE_LEN = 12, TAG_LEN = 16, FRAME_HEAD = 5, PAD_BLOCK = 16 };

static const EVP_CIPHER *cipher_of(const struct seal_key *key)
{
    return key->len == 16   ? EVP_aes_128_gcm()
           : key->len == 24 ? EVP_aes_192_gcm()
                            : EVP_aes_256_gcm();
}

/* libcrypto fails here only for want of memory: that ends the process like any such want. */
static void must(int ok)
{
    if (ok != 1)
        abort();
}

void seal_close(const struct seal_keyring *ring, unsigned version, struct span aad,
                const uint8_t *nonce, struct span plain, struct strbuf *out)
{
    size_t pad = version == 0 ? PAD_BLOCK - plain.len % PAD_BLOCK : 0;
    size_t total = 1 + NONCE_LEN + plain.len + pad + TAG_LEN;
    uint8_t padding[PAD_BLOCK], *at;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;

    assert(ring->n > 0);
    assert(version <= 1);
    at = (uint8_t *)strbuf_reserve(out, total);
    if (!at || !ctx)
        abort();
    *at++ = (uint8_t)version;
    if (nonce)
        memcpy(at, nonce, NONCE_LEN);
    else
        random_bytes(at, NONCE_LEN);
    must(EVP_EncryptInit_ex(ctx, cipher_of(&ring->keys[0]), NULL, ring->keys[0].bytes, at));
    at += NONCE_LEN;
    if (aad.len)
        must(EVP_EncryptUpdate(ctx, NULL, &n, aad.p, (int)aad.len));
    if (plain.len)
        must(EVP_EncryptUpdate(ctx, at, &n, plain.p, (int)plain.len));
    at += plain.len;
    memset(padding, (int)pad, sizeof(padding));
    if (pad)
        must(EVP_EncryptUpdate(ctx, at, &n, padding, (int)pad));
    at += pad;
    must(EVP_EncryptFinal_ex(ctx, at, &n));
    must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_LEN, at));
    EVP_CIPHER_CTX_free(ctx);
    out->len += total;
}

static bool open_with(const struct seal_key *key, struct span aad, struct span block,
                      uint8_t *plain)
{
    size_t len = block.len - 1 - NONCE_LEN - TAG_LEN;
    const uint8_t *text = block.p + 1 + NONCE_LEN;
    uint8_t tag[TAG_LEN];
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;
    bool ok;

    if (!ctx)
        abort();
    memcpy(tag, text + len, TAG_LEN);
    must(EVP_DecryptInit_ex(ctx, cipher_of(key), NULL, key->bytes, block.p + 1));
    if (aad.len)
        must(EVP_DecryptUpdate(ctx, NULL, &n, aad.p, (int)aad.len));
    if (len)
        must(EVP_DecryptUpdate(ctx, plain, &n, text, (int)len));
    must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG_LEN, tag));
    ok = EVP_DecryptFinal_ex(ctx, plain + len, &n) == 1;
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

int seal_open(const struct seal_keyring *ring, struct span aad, struct span block,
              struct strbuf *out)
{
    size_t len;
    uint8_t *plain;

    if (block.len < 1 + NONCE_LEN + TAG_LEN || block.p[0] > 1)
        return -EBADMSG;
    len = block.len - 1 - NONCE_LEN - TAG_LEN;
    plain = (uint8_t *)strbuf_reserve(out, len + 1);
    if (!plain)
        return -E2BIG;
    for (size_t i = 0; i < ring->n; i++) {
        if (!open_with(&ring->keys[i], aad, block, plain))
            continue;
        if (block.p[0] == 0) {
            if (len == 0 || plain[len - 1] == 0 || plain[len - 1] > PAD_BLOCK ||
                plain[len - 1] > len)
                return -EBADMSG;
            len -= plain[len - 1];
        }
        out->len += len;
        return 0;
    }
    return -EBADMSG;
}

void seal_close_frame(const struct seal_keyring *ring, unsigned version, const uint8_t *nonce,
                      struct span plain, struct strbuf *out)
{
    size_t pad = version == 0 ? PAD_BLOCK - plain.len % PAD_BLOCK : 0;
    size_t len = SEAL_OVERHEAD + plain.len + pad;
    uint8_t head[FRAME_HEAD] = {ML_ENCRYPT, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
                                (uint8_t)(len >> 8), (uint8_t)len};

    strbuf_add(out, head, sizeof(head));
    seal_close(ring, version, (struct span){head, sizeof(head)}, nonce, plain, out);
}

int seal_open_frame(const struct seal_keyring *ring, struct span frame, struct strbuf *out)
{
    if (frame.len < FRAME_HEAD || frame.p[0] != ML_ENCRYPT)
        return -EBADMSG;
    return seal_open(ring, (struct span){frame.p, FRAME_HEAD},
                     (struct span){frame.p + FRAME_HEAD, frame.len - FRAME_HEAD}, out);
}
