/* SPDX-License-Identifier: MPL-2.0 */
/* Compressed input, which may grow without bound if nobody watches; and what we compress comes
 * back. */
#include <stdlib.h>
#include <string.h>

#include "lzw.h"
#include "packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUT_MAX (64u << 10)

static void ignore(void *user, uint8_t type, struct span body)
{
    (void)type;
    *(size_t *)user += body.len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strbuf out = STRBUF_INIT, packed = STRBUF_INIT;
    size_t seen = 0;

    if (size > 65536)
        return 0;
    (void)lzw_decode(data, size, OUT_MAX, &out);
    if (out.len > OUT_MAX)
        abort();
    strbuf_reset(&out);
    lzw_encode(data, size, &packed);
    if (lzw_decode((const uint8_t *)packed.data, packed.len, size, &out) || out.len != size ||
        (size && memcmp(out.data, data, size) != 0))
        abort();
    strbuf_reset(&packed);
    /* As a datagram that says it is compressed: map of two, Algo 0, Buf with a 16 bit length. */
    if (size < 65536) {
        strbuf_add(&packed,
                   "\x09\x82\xa4"
                   "Algo\x00\xa3"
                   "Buf\xda",
                   13);
        strbuf_addc(&packed, (char)(size >> 8));
        strbuf_addc(&packed, (char)size);
        strbuf_add(&packed, data, size);
        (void)packet_read(span_of(&packed), ignore, &seen);
    }
    strbuf_fini(&out);
    strbuf_fini(&packed);
    return 0;
}
