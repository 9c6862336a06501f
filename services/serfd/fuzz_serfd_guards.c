/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Strangers: the input as the answer to "could we join?" and to a join that looks first, as stream
 * and packet at a core whose region has left the federation, as text that a command printed.
 */
#include <string.h>

#include "packet.h"
#include "serfd_core.h"
#include "serfd_guard.h"
#include "serfd_sources.h"
#include "tags.h"

#define ADDRS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct serf_out out;

static void step(struct serf *s, struct serf_event ev)
{
    ev.now.ns = NS_PER_SEC;
    ev.wall = NS_PER_SEC;
    ev.addr = (struct gossip_addr){{127, 0, 77, 9}, 4, 7946};
    serf_out_reset(&out);
    (void)serf_step(s, &ev, &out);
}

/* Whatever was dialled last is answered with the input, and what is dialled for it, too. */
static void answer(struct serf *s, struct span data)
{
    for (int turn = 0; turn < 3; turn++) {
        struct serf_event ev = {.type = SERF_EV_DIALED, .data = data};
        bool dialled = false;

        for (size_t i = 0; i < out.n; i++) {
            if (out.effects[i].type == SERF_FX_DIAL) {
                ev.id = out.effects[i].id;
                dialled = true;
            }
        }
        if (!dialled)
            return;
        step(s, ev);
    }
}

static void run_core(const struct guard_rules *rules, uint64_t epoch, struct span data)
{
    static const struct tag tags[] = {
        {"role", "nomad"}, {"region", "west"},
        {"vsn", "1"},      {"build", "1.1.0"},
        {"port", "4647"},  {GUARD_TAG_GROUP, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}};
    struct serf_options o = {.name = "alpha", .addr = {{127, 0, 77, 1}, 4, 7946}, .seed = 1};
    struct strbuf meta = STRBUF_INIT;
    struct serf *s;

    if (tags_put(&meta, tags, ARRAY_LEN(tags)))
        abort();
    serf_options_default(&o);
    o.nomad_filter = false;
    o.meta = span_of(&meta);
    o.guard = rules;
    s = serf_new(&o, (struct mono_ns){NS_PER_SEC});
    step(s, (struct serf_event){.type = SERF_EV_REGION_EPOCH, .id = epoch});
    step(s, (struct serf_event){.type = SERF_EV_CHECK, .id = 1});
    answer(s, data);
    step(s, (struct serf_event){.type = SERF_EV_JOIN, .id = 2, .attach = data.len % 2});
    answer(s, data);
    step(s, (struct serf_event){.type = SERF_EV_STREAM, .id = 3, .data = data});
    step(s, (struct serf_event){.type = SERF_EV_PACKET, .data = data});
    step(s, (struct serf_event){.type = SERF_EV_REGION_LEAVE});
    step(s, (struct serf_event){.type = SERF_EV_PACKET, .data = data});
    serf_free(s);
    strbuf_fini(&meta);
}

static void read_text(const uint8_t *data, size_t size)
{
    char *text = xstrndup((const char *)data, size), *addrs[ADDRS_MAX];
    struct guard_cidr cidr;
    struct gossip_addr a;
    struct errtext e;
    size_t n = 0;

    (void)sources_parse(text, strlen(text), addrs, ADDRS_MAX, &n, &e);
    if (n > ADDRS_MAX)
        abort();
    for (size_t i = 0; i < n; i++) {
        if (guard_cidr_parse(addrs[i], &cidr) == 0 && cidr.bits > 8 * cidr.ip_len)
            abort();
        (void)gossip_addr_parse(&a, SPAN_STR(addrs[i]));
        free(addrs[i]);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct guard_rules closed = {.federation = "blue"};

    if (size == 0 || size > STREAM_MAX)
        return 0;
    run_core(&closed, 0, (struct span){data, size});
    run_core(NULL, 1, (struct span){data, size});
    read_text(data, size);
    return 0;
}
