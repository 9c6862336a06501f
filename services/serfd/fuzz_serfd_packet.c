/* SPDX-License-Identifier: MPL-2.0 */
/*
 * One datagram, plain and as ciphertext, into a core that has a key and a question under way (clock
 * value 1, so that the input can be an order about keys or an answer).
 */
#include <string.h>

#include "serfd_core.h"
#include "tags.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct serf_out out;

/* One step; the disk takes what it is given. */
static void step(struct serf *s, struct serf_event *ev)
{
    bool save = true;

    while (save) {
        serf_out_reset(&out);
        (void)serf_step(s, ev, &out);
        save = false;
        for (size_t i = 0; i < out.n; i++)
            save = save || out.effects[i].type == SERF_FX_SAVE_KEYS;
        *ev = (struct serf_event){.type = SERF_EV_KEYS_SAVED, .now = ev->now};
    }
}

static struct serf *small_pool(struct seal_keyring *ring)
{
    static const struct tag tags[] = {
        {"role", "nomad"}, {"vsn", "1"}, {"build", "1.1.0"}, {"port", "4647"}};
    struct serf_options o = {.name = "alpha", .addr = {{127, 0, 77, 1}, 4, 7946}, .seed = 1};
    struct serf_query query = {.name = "q", .acks = true, .insist = true};
    struct serf_event ask = {.type = SERF_EV_QUERY, .now = {NS_PER_SEC}, .query = &query};
    struct strbuf meta = STRBUF_INIT;
    struct serf *s;

    serf_options_default(&o);
    o.nomad_filter = false;
    o.keyring = ring;
    o.compress = true;
    if (tags_put(&meta, tags, ARRAY_LEN(tags)))
        abort();
    o.meta = span_of(&meta);
    s = serf_new(&o, (struct mono_ns){NS_PER_SEC});
    strbuf_fini(&meta);
    step(s, &ask);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seal_keyring ring = {.n = 0}, same = {.n = 0};
    struct strbuf plain = STRBUF_INIT;
    struct serf_event ev = {.type = SERF_EV_PACKET,
                            .now = {NS_PER_SEC},
                            .addr = {{127, 0, 77, 9}, 4, 7946},
                            .data = {data, size}};
    struct serf *s;

    if (size == 0 || size > 65536)
        return 0;
    (void)seal_add_base64(&ring, "AAECAwQFBgcICQoLDA0ODw==", NULL);
    same = ring;
    s = small_pool(&ring);
    step(s, &ev);
    /* What it has learned must survive use: probes, gossip, suspicions. */
    for (int i = 0; i < 50; i++) {
        struct serf_event tick = {.type = SERF_EV_TICK, .now = serf_deadline(s)};

        tick.now.ns = MAX(tick.now.ns, NS_PER_SEC);
        step(s, &tick);
    }
    serf_free(s);
    if (ring.n == 0 || ring.n > SEAL_KEYS_MAX)
        abort();
    (void)seal_file_parse((const char *)data, size, &ring, NULL);
    (void)seal_open(&same, (struct span){NULL, 0}, (struct span){data, size}, &plain);
    strbuf_fini(&plain);
    return 0;
}
