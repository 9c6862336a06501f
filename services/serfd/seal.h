/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Gossip encryption: AES-GCM with a keyring (gossip-wire.md 4.4). The first key seals, all keys are
 * tried to open. Pure apart from libcrypto and the kernel's random bytes for nonces.
 */
#pragma once

#include "base/err.h"
#include "msgpack.h"

#define SEAL_KEYS_MAX 16
#define SEAL_OVERHEAD 29 /* version 1: version, nonce, tag */

struct seal_key {
    uint8_t bytes[32];
    uint8_t len; /* 16, 24 or 32 */
};

struct seal_keyring {
    struct seal_key keys[SEAL_KEYS_MAX]; /* the first is the primary */
    size_t n;                            /* 0: encryption is off */
};

/* Adds a key in standard base64 at the end. -EINVAL with a text. */
int seal_add_base64(struct seal_keyring *ring, const char *text, struct errtext *e);

/* Appends version 1 (or 0) of the block. `nonce` NULL: a random one. Needs a key. */
void seal_close(const struct seal_keyring *ring, unsigned version, struct span aad,
                const uint8_t *nonce, struct span plain, struct strbuf *out);
/* Appends the plaintext of a block. -EBADMSG when no key fits or it is broken. */
int seal_open(const struct seal_keyring *ring, struct span aad, struct span block,
              struct strbuf *out);

/* The same in a stream frame: 0a, length, block; the frame's head is the additional data. */
void seal_close_frame(const struct seal_keyring *ring, unsigned version, const uint8_t *nonce,
                      struct span plain, struct strbuf *out);
int seal_open_frame(const struct seal_keyring *ring, struct span frame, struct strbuf *out);
