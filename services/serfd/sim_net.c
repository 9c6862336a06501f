/* SPDX-License-Identifier: MPL-2.0 */
#include "sim_net.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tags.h"

#define SIM_TIMEOUT_MIN NS_PER_MS

/* One effect buffer for all nodes: it is large and its use never nests. */
static struct serf_out sim_out;

/* ---- the heap of what is to come ---- */

static bool sooner(const struct sim_event *a, const struct sim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void heap_put(struct sim *sim, struct sim_event ev)
{
    size_t i = sim->n;

    if (sim->n == sim->cap) {
        sim->cap = MAX(sim->cap * 2, (size_t)256);
        sim->heap = xrealloc(sim->heap, sim->cap * sizeof(*sim->heap));
    }
    ev.order = sim->order++;
    sim->n++;
    while (i > 0 && sooner(&ev, &sim->heap[(i - 1) / 2])) {
        sim->heap[i] = sim->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    sim->heap[i] = ev;
}

static struct sim_event heap_take(struct sim *sim)
{
    struct sim_event first = sim->heap[0], last = sim->heap[--sim->n];
    size_t i = 0;

    for (;;) {
        size_t k = 2 * i + 1;

        if (k >= sim->n)
            break;
        if (k + 1 < sim->n && sooner(&sim->heap[k + 1], &sim->heap[k]))
            k++;
        if (!sooner(&sim->heap[k], &last))
            break;
        sim->heap[i] = sim->heap[k];
        i = k;
    }
    if (sim->n)
        sim->heap[i] = last;
    return first;
}

/* ---- effects ---- */

static int64_t draw_delay(struct sim *sim)
{
    return sim->delay_min +
           (int64_t)prng_below(&sim->prng, (uint64_t)(sim->delay_max - sim->delay_min) + 1);
}

static bool reachable(const struct sim *sim, unsigned a, unsigned b)
{
    return sim->side[a] == sim->side[b];
}

static int node_by_addr(const struct sim *sim, const struct gossip_addr *addr)
{
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        if (gossip_addr_eq(&sim->nodes[i].addr, addr))
            return (int)i;
    }
    return -1;
}

static void put_event(struct sim *sim, struct sim_event ev, struct span data)
{
    ev.len = data.len;
    ev.data = xmalloc(data.len + 1);
    if (data.len)
        memcpy(ev.data, data.p, data.len);
    heap_put(sim, ev);
}

static void send_packet(struct sim *sim, unsigned from, const struct gossip_addr *addr,
                        struct span data)
{
    int to = node_by_addr(sim, addr);
    unsigned copies = 1 + (prng_double(&sim->prng) < sim->dup);

    sim->packets++;
    sim->bytes += data.len;
    if (to < 0)
        return;
    for (unsigned i = 0; i < copies; i++) {
        if (prng_double(&sim->prng) < sim->loss)
            continue;
        put_event(sim,
                  (struct sim_event){.at = sim->now + draw_delay(sim),
                                     .type = SIM_PACKET,
                                     .to = (unsigned)to,
                                     .from = from,
                                     .life = sim->nodes[to].life},
                  data);
    }
}

static void dial(struct sim *sim, unsigned from, const struct serf_effect *fx, struct span data)
{
    int to = node_by_addr(sim, &fx->addr);
    struct sim_event ev = {.type = SIM_STREAM, .from = from, .id = fx->id};

    sim->streams++;
    sim->bytes += data.len;
    sim->nodes[from].dials++;
    if (to >= 0 && sim->nodes[to].serf && reachable(sim, from, (unsigned)to)) {
        ev.at = sim->now + 2 * draw_delay(sim);
        ev.to = (unsigned)to;
        ev.life = sim->nodes[to].life;
        put_event(sim, ev, data);
        return;
    }
    ev.type = SIM_DIALED;
    ev.to = from;
    ev.life = sim->nodes[from].life;
    ev.err = to >= 0 && reachable(sim, from, (unsigned)to) ? -ECONNREFUSED : -ETIMEDOUT;
    ev.at = sim->now + (ev.err == -ETIMEDOUT ? fx->timeout_ns : 2 * draw_delay(sim));
    put_event(sim, ev, (struct span){NULL, 0});
}

static void note(struct sim *sim, unsigned node, const char *text)
{
    sim->nodes[node].events += strncmp(text, "user event ", 11) == 0;
    sim->failed_notes += strncmp(text, "member failed", 13) == 0;
    if (sim->verbose)
        printf("%9.3f %s: %s\n", (double)sim->now / 1e9, sim->nodes[node].name, text);
}

/* Carries out what the step of `node` wants; `ev` is what it answered, if a stream. */
static void carry_out(struct sim *sim, unsigned node, const struct sim_event *ev)
{
    for (size_t i = 0; i < sim_out.n; i++) {
        const struct serf_effect *fx = &sim_out.effects[i];
        struct span data = serf_out_data(&sim_out, fx);
        struct sim_event back = {.type = SIM_DIALED, .at = sim->now + draw_delay(sim)};

        switch (fx->type) {
        case SERF_FX_SEND:
            send_packet(sim, node, &fx->addr, data);
            break;
        case SERF_FX_DIAL:
            dial(sim, node, fx, data);
            break;
        case SERF_FX_ANSWER:
            assert(ev && ev->type == SIM_STREAM && fx->id == ev->id);
            back.to = ev->from;
            back.from = node;
            back.life = sim->nodes[ev->from].life;
            back.id = ev->id;
            back.err = data.len == 0 || !reachable(sim, node, ev->from) ? -ECONNRESET : 0;
            put_event(sim, back, data);
            break;
        case SERF_FX_NOTE:
            note(sim, node, (const char *)data.p);
            break;
        case SERF_FX_JOINED:
            *(fx->err ? &sim->nodes[node].joins_failed : &sim->nodes[node].joins_ok) += 1;
            break;
        case SERF_FX_CHECKED: /* nobody asks here */
            break;
        case SERF_FX_LEFT:
            sim->nodes[node].left = true;
            break;
        case SERF_FX_REPLY:
            sim->nodes[node].replies++;
            break;
        case SERF_FX_REPLIED:
            sim->nodes[node].asked++;
            break;
        case SERF_FX_SAVE_KEYS:
            back.type = SIM_SAVED;
            back.to = node;
            back.life = sim->nodes[node].life;
            put_event(sim, back, data);
            break;
        }
    }
}

/* ---- steps ---- */

static void check_node(const struct sim *sim, struct sim_node *nd)
{
    struct serf_member_info self;
    struct serf_stats st;

    (void)sim;
    assert(serf_member_find(nd->serf, nd->name, &self) == 0 && self.self);
    assert(self.inc >= nd->inc); /* an incarnation never goes back within a life */
    nd->inc = self.inc;
    serf_stats_get(nd->serf, &st);
    assert(st.member_queue <= SERF_MEMBERS_MAX);
    assert(st.member_queue <= (size_t)sim->n_nodes); /* one message a name */
    assert(st.intent_queue <= 4096 && st.event_queue <= 4096 && st.query_queue <= 4096);
    assert(st.members <= (size_t)sim->n_nodes);
}

static void arm(struct sim *sim, unsigned node)
{
    struct sim_node *nd = &sim->nodes[node];
    int64_t at = MAX(serf_deadline(nd->serf).ns, sim->now);

    if (at == nd->tick_at)
        return;
    nd->tick_at = at;
    heap_put(sim, (struct sim_event){.at = at, .type = SIM_TICK, .to = node, .life = nd->life});
}

static int step(struct sim *sim, unsigned node, struct serf_event *ev, const struct sim_event *why)
{
    struct sim_node *nd = &sim->nodes[node];
    int r;

    ev->now.ns = sim->now;
    serf_out_reset(&sim_out);
    r = serf_step(nd->serf, ev, &sim_out);
    check_node(sim, nd);
    carry_out(sim, node, why);
    arm(sim, node);
    return r;
}

int sim_order(struct sim *sim, unsigned node, struct serf_event *ev)
{
    return step(sim, node, ev, NULL);
}

static void handle(struct sim *sim, struct sim_event *ev)
{
    struct sim_node *nd = &sim->nodes[ev->to];
    struct serf_event sev = {.data = {ev->data, ev->len}, .id = ev->id, .err = ev->err};

    if (!nd->serf || nd->life != ev->life)
        return;
    if (nd->stalled_until > sim->now) { /* everything waits in the kernel's queues */
        ev->at = nd->stalled_until;
        if (ev->type == SIM_TICK) {
            ev->at++; /* first what has come, then the clock, as the daemon does it */
            nd->tick_at = ev->at;
        }
        heap_put(sim, *ev);
        ev->data = NULL;
        return;
    }
    switch (ev->type) {
    case SIM_TICK:
        if (ev->at != nd->tick_at)
            return;
        nd->tick_at = -1;
        sev.type = SERF_EV_TICK;
        break;
    case SIM_PACKET:
        if (!reachable(sim, ev->from, ev->to))
            return;
        sev.type = SERF_EV_PACKET;
        sev.addr = sim->nodes[ev->from].addr;
        break;
    case SIM_SAVED:
        sev.type = SERF_EV_KEYS_SAVED;
        break;
    case SIM_STREAM:
        sev.type = SERF_EV_STREAM;
        sev.addr = sim->nodes[ev->from].addr;
        break;
    case SIM_DIALED:
        sev.type = SERF_EV_DIALED;
        nd->answers++;
        break;
    }
    (void)step(sim, ev->to, &sev, ev);
}

void sim_run(struct sim *sim, int64_t ns)
{
    int64_t end = sim->now + ns;

    while (sim->n > 0 && sim->heap[0].at <= end) {
        struct sim_event ev = heap_take(sim);

        sim->now = MAX(sim->now, ev.at);
        handle(sim, &ev);
        free(ev.data);
    }
    sim->now = end;
}

/* ---- nodes ---- */

void sim_init(struct sim *sim, uint64_t seed, unsigned n_nodes)
{
    assert(n_nodes <= SIM_NODES_MAX);
    memset(sim, 0, sizeof(*sim));
    prng_seed(&sim->prng, seed);
    sim->n_nodes = n_nodes;
    sim->now = NS_PER_SEC;
    sim->delay_min = NS_PER_MS / 10;
    sim->delay_max = NS_PER_MS;
    for (unsigned i = 0; i < n_nodes; i++) {
        struct sim_node *nd = &sim->nodes[i];

        (void)snprintf(nd->name, sizeof(nd->name), "n%u.west", i);
        nd->addr = (struct gossip_addr){{127, 0, (uint8_t)(i + 1), 1}, 4, 4648};
    }
}

void sim_start(struct sim *sim, unsigned node)
{
    static const struct tag tags[] = {{"role", "nomad"}, {"region", "west"}, {"dc", "dc1"},
                                      {"vsn", "1"},      {"build", "0.1.0"}, {"port", "4647"}};
    struct sim_node *nd = &sim->nodes[node];
    struct strbuf meta = STRBUF_INIT;
    struct serf_options o = {.name = nd->name, .addr = nd->addr, .seed = prng_u64(&sim->prng)};
    int r = tags_put(&meta, tags, ARRAY_LEN(tags));

    assert(r == 0 && !nd->serf);
    serf_options_default(&o);
    o.meta = (struct span){(const uint8_t *)meta.data, meta.len};
    if (sim->options)
        sim->options(&o);
    nd->life++;
    nd->inc = 0;
    nd->left = false;
    nd->stalled_until = 0;
    nd->tick_at = -1;
    nd->joins_ok = nd->joins_failed = 0;
    nd->serf = serf_new(&o, (struct mono_ns){sim->now});
    arm(sim, node);
    strbuf_fini(&meta);
}

void sim_crash(struct sim *sim, unsigned node)
{
    sim->nodes[node].serf = serf_free(sim->nodes[node].serf);
}

void sim_stall(struct sim *sim, unsigned node, int64_t ns)
{
    sim->nodes[node].stalled_until = sim->now + ns;
}

void sim_join(struct sim *sim, unsigned node, unsigned to)
{
    struct serf_event ev = {.type = SERF_EV_JOIN, .addr = sim->nodes[to].addr, .id = to};
    int r = sim_order(sim, node, &ev);

    assert(r == 0);
}

void sim_fini(struct sim *sim)
{
    for (unsigned i = 0; i < sim->n_nodes; i++)
        sim_crash(sim, i);
    for (size_t i = 0; i < sim->n; i++)
        free(sim->heap[i].data);
    free(sim->heap);
    serf_out_fini(&sim_out);
}

enum serf_status sim_status(const struct sim *sim, unsigned node, unsigned other)
{
    struct serf_member_info m;

    if (serf_member_find(sim->nodes[node].serf, sim->nodes[other].name, &m))
        return SERF_NONE;
    return m.status;
}

bool sim_converged(const struct sim *sim)
{
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        if (!sim->nodes[i].serf || sim->nodes[i].left)
            continue;
        for (unsigned k = 0; k < sim->n_nodes; k++) {
            bool up = sim->nodes[k].serf && !sim->nodes[k].left;

            if ((sim_status(sim, i, k) == SERF_ALIVE) != up)
                return false;
        }
    }
    return true;
}
