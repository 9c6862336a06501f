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

#define SEAL_TEXT_MAX 45 /* a key in base64 with its NUL */

struct seal_key {
    uint8_t bytes[32];
    uint8_t len; /* 16, 24 or 32 */
};

struct seal_keyring {
    struct seal_key keys[SEAL_KEYS_MAX]; /* the first is the primary */
    size_t n;                            /* 0: encryption is off */
};

/* Adds a key in standard base64 at the end; one that is there stays where it is. -EINVAL with a
 * text.
 */
int seal_add_base64(struct seal_keyring *ring, const char *text, struct errtext *e);

/* ---- orders of an operator; errors are worded as Serf's ---- */

/* From raw bytes. -EINVAL: their number is wrong; then ret->len is 0. */
int seal_key_from(struct seal_key *ret, struct span raw, struct errtext *e);
/* At the end; nothing happens when it is there. -ENOSPC. */
int seal_install(struct seal_keyring *ring, const struct seal_key *key, struct errtext *e);
/* Makes it the primary; the others keep their order. -ENOENT. */
int seal_use(struct seal_keyring *ring, const struct seal_key *key, struct errtext *e);
/* Nothing happens when it is not there. -EPERM for the primary. */
int seal_remove(struct seal_keyring *ring, const struct seal_key *key, struct errtext *e);
/* Standard base64. Returns buf. */
const char *seal_key_text(const struct seal_key *key, char buf[static SEAL_TEXT_MAX]);
/*
 * Decodes at most `cap` bytes of standard base64; line ends in it are skipped. -EINVAL worded as
 * Go's ("illegal base64 data at input byte 4").
 */
int seal_base64_decode(struct span text, uint8_t *buf, size_t cap, size_t *ret_len,
                       struct errtext *e);

/* ---- the file of the keyring: a JSON list of base64 keys, the primary first ---- */

#define SEAL_FILE_MAX 4096
void seal_file_format(const struct seal_keyring *ring, struct strbuf *out);
/* Replaces *ring. -EINVAL with a text: no such list, no key in it, a bad key. */
int seal_file_parse(const char *text, size_t len, struct seal_keyring *ring, struct errtext *e);

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
