/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Encrypted input: datagrams and stream frames of strangers, whose tag never fits, and of somebody
 * who has the key, so that what is inside is broken. Also the file of the keyring.
 */
#include <stdlib.h>
#include <string.h>

#include "seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Sealed as datagram and as frame, it opens to the same; one changed byte and it does not. */
static void round_trip(struct seal_keyring *ring, struct span plain, unsigned version)
{
    static const uint8_t nonce[12] = "fuzzer nonce";
    struct strbuf sealed = STRBUF_INIT, opened = STRBUF_INIT;
    struct span none = {NULL, 0};

    seal_close(ring, version, none, nonce, plain, &sealed);
    if (seal_open(ring, none, span_of(&sealed), &opened) || opened.len != plain.len ||
        (plain.len && memcmp(opened.data, plain.p, plain.len) != 0))
        abort();
    strbuf_reset(&opened);
    sealed.data[1 + plain.len % (sealed.len - 1)] ^= 1;
    if (seal_open(ring, none, span_of(&sealed), &opened) == 0)
        abort();
    strbuf_fini(&sealed);
    strbuf_fini(&opened);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seal_keyring ring = {.n = 0}, file = {.n = 0};
    struct strbuf plain = STRBUF_INIT, text = STRBUF_INIT;
    struct span in = {data, size};
    struct errtext e;

    if (size > 65536)
        return 0;
    (void)seal_add_base64(&ring, "HBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw=", NULL);
    (void)seal_add_base64(&ring, "AAECAwQFBgcICQoLDA0ODw==", NULL);
    (void)seal_open(&ring, (struct span){NULL, 0}, in, &plain);
    strbuf_reset(&plain);
    (void)seal_open(&ring, (struct span){(const uint8_t *)"pool-a", 6}, in, &plain);
    strbuf_reset(&plain);
    (void)seal_open_frame(&ring, in, &plain);
    strbuf_fini(&plain);
    round_trip(&ring, in, size % 2);
    if (size <= SEAL_FILE_MAX && seal_file_parse((const char *)data, size, &file, &e) == 0) {
        if (file.n == 0 || file.n > SEAL_KEYS_MAX)
            abort();
        seal_file_format(&file, &text);
        if (seal_file_parse(text.data, text.len, &ring, &e) || ring.n != file.n)
            abort();
    }
    strbuf_fini(&text);
    return 0;
}
