/* SPDX-License-Identifier: MPL-2.0 */
/* One stream message: the scanner on every cut of it, then the core as answerer and as asker. */
#include <string.h>

#include "packet.h"
#include "serfd_core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void scan(const uint8_t *data, size_t size)
{
    struct stream_scanner whole = {0}, pieces = {0};
    enum stream_scan w = stream_scan(&whole, data, size), p = STREAM_NEED_MORE;

    for (size_t len = 1; len <= size && p == STREAM_NEED_MORE; len += 1 + size / 64)
        p = stream_scan(&pieces, data, len);
    if (p == STREAM_NEED_MORE)
        p = stream_scan(&pieces, data, size);
    /* Pieces give the same verdict; the message's end is the same. */
    if (p != w || (p == STREAM_COMPLETE && pieces.offset != whole.offset))
        abort();
    if (w == STREAM_COMPLETE && whole.offset > size)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct serf_out out;
    struct serf_options o = {.name = "alpha", .addr = {{127, 0, 77, 1}, 4, 7946}, .seed = 1};
    struct serf_event ev = {.type = SERF_EV_STREAM,
                            .now = {NS_PER_SEC},
                            .id = 1,
                            .addr = {{127, 0, 77, 9}, 4, 7946},
                            .data = {data, size}};
    struct serf_event join = {.type = SERF_EV_JOIN, .now = {NS_PER_SEC}, .addr = ev.addr};
    struct seal_keyring ring = {.n = 0};
    struct strbuf plain = STRBUF_INIT;
    struct serf *s;

    if (size == 0 || size > STREAM_MAX)
        return 0;
    scan(data, size);
    serf_options_default(&o);
    o.nomad_filter = false;
    s = serf_new(&o, (struct mono_ns){NS_PER_SEC});
    serf_out_reset(&out);
    (void)serf_step(s, &ev, &out);
    serf_out_reset(&out);
    (void)serf_step(s, &join, &out);
    for (size_t i = 0; i < out.n; i++) {
        if (out.effects[i].type == SERF_FX_DIAL)
            ev.id = out.effects[i].id;
    }
    ev.type = SERF_EV_DIALED;
    serf_out_reset(&out);
    (void)serf_step(s, &ev, &out);
    serf_free(s);
    (void)seal_add_base64(&ring, "AAECAwQFBgcICQoLDA0ODw==", NULL);
    (void)seal_open_frame(&ring, (struct span){data, size}, &plain);
    strbuf_fini(&plain);
    return 0;
}
