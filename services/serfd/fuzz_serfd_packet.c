/* SPDX-License-Identifier: MPL-2.0 */
/* One datagram, plain and as ciphertext, into a core that knows a few members. */
#include <string.h>

#include "serfd_core.h"
#include "tags.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct serf *small_pool(void)
{
    static const struct tag tags[] = {
        {"role", "nomad"}, {"vsn", "1"}, {"build", "1.1.0"}, {"port", "4647"}};
    struct serf_options o = {.name = "alpha", .addr = {{127, 0, 77, 1}, 4, 7946}, .seed = 1};
    struct strbuf meta = STRBUF_INIT;
    struct serf *s;

    serf_options_default(&o);
    o.nomad_filter = false;
    if (tags_put(&meta, tags, ARRAY_LEN(tags)))
        abort();
    o.meta = (struct span){(const uint8_t *)meta.data, meta.len};
    s = serf_new(&o, (struct mono_ns){NS_PER_SEC});
    strbuf_fini(&meta);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct serf_out out;
    struct seal_keyring ring = {.n = 0};
    struct strbuf plain = STRBUF_INIT;
    struct serf_event ev = {.type = SERF_EV_PACKET,
                            .now = {NS_PER_SEC},
                            .addr = {{127, 0, 77, 9}, 4, 7946},
                            .data = {data, size}};
    struct serf *s;

    if (size == 0 || size > 65536)
        return 0;
    s = small_pool();
    serf_out_reset(&out);
    (void)serf_step(s, &ev, &out);
    /* What it has learned must survive use: probes, gossip, suspicions. */
    for (int i = 0; i < 50; i++) {
        struct serf_event tick = {.type = SERF_EV_TICK, .now = serf_deadline(s)};

        tick.now.ns = MAX(tick.now.ns, NS_PER_SEC);
        serf_out_reset(&out);
        (void)serf_step(s, &tick, &out);
    }
    serf_free(s);
    (void)seal_add_base64(&ring, "AAECAwQFBgcICQoLDA0ODw==", NULL);
    (void)seal_open(&ring, (struct span){NULL, 0}, (struct span){data, size}, &plain);
    strbuf_fini(&plain);
    return 0;
}
