/* SPDX-License-Identifier: MPL-2.0 */
#include "sim_pool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "packet.h"
#include "tags.h"

#define SIM_TURNS_MAX 8 /* ticks in a row after which the next one is due at once */

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

static int64_t draw_delay(struct sim *sim, unsigned from, unsigned to)
{
    int64_t far = 0;

    if (sim->far_group && from / sim->far_group != to / sim->far_group)
        far = sim->far_delay;
    return far + sim->delay_min +
           (int64_t)prng_below(&sim->prng, (uint64_t)(sim->delay_max - sim->delay_min) + 1);
}

static bool reachable(const struct sim *sim, unsigned from, unsigned to)
{
    return sim->side[from] == sim->side[to] &&
           !(sim->cut && sim->cut[(size_t)from * sim->n_nodes + to]);
}

/* Both ways, as a connection needs it. */
static bool connected(const struct sim *sim, unsigned a, unsigned b)
{
    return reachable(sim, a, b) && reachable(sim, b, a);
}

static int node_by_addr(const struct sim *sim, const struct gossip_addr *addr)
{
    unsigned i = (unsigned)addr->ip[1] * 256 + addr->ip[2] - 1;

    return i < sim->n_nodes && gossip_addr_eq(&sim->nodes[i].addr, addr) ? (int)i : -1;
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
    assert(data.len <= PACKET_BUDGET + 5); /* and the checksum's five */
    if (to < 0)
        return;
    for (unsigned i = 0; i < copies; i++) {
        if (prng_double(&sim->prng) < sim->loss)
            continue;
        put_event(sim,
                  (struct sim_event){.at = sim->now + draw_delay(sim, from, (unsigned)to),
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
    if (to >= 0 && sim->nodes[to].serf && connected(sim, from, (unsigned)to)) {
        ev.at = sim->now + 2 * draw_delay(sim, from, (unsigned)to);
        ev.to = (unsigned)to;
        ev.life = sim->nodes[to].life;
        put_event(sim, ev, data);
        return;
    }
    ev.type = SIM_DIALED;
    ev.to = from;
    ev.life = sim->nodes[from].life;
    ev.err = to >= 0 && connected(sim, from, (unsigned)to) ? -ECONNREFUSED : -ETIMEDOUT;
    ev.at = sim->now + (ev.err == -ETIMEDOUT ? fx->timeout_ns : 2 * draw_delay(sim, from, from));
    put_event(sim, ev, (struct span){NULL, 0});
}

static void note(struct sim *sim, unsigned node, const char *text)
{
    sim->nodes[node].events += strncmp(text, "user event ", 11) == 0;
    sim->failed_notes += strncmp(text, "member failed", 13) == 0;
    if (sim->on_note)
        sim->on_note(sim, node, text);
    if (sim->verbose)
        printf("%9.3f %s: %s\n", (double)sim->now / 1e9, sim->nodes[node].name, text);
}

/* Carries out what the step of `node` wants; `ev` is what it answered, if a stream. */
static void carry_out(struct sim *sim, unsigned node, const struct sim_event *ev)
{
    for (size_t i = 0; i < sim_out.n; i++) {
        const struct serf_effect *fx = &sim_out.effects[i];
        struct span data = serf_out_data(&sim_out, fx);
        struct sim_event back = {.type = SIM_DIALED, .at = sim->now + draw_delay(sim, node, node)};

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
            back.at = sim->now + draw_delay(sim, node, ev->from);
            back.err = data.len == 0 || !connected(sim, node, ev->from) ||
                               prng_double(&sim->prng) < sim->stream_loss
                           ? -ECONNRESET
                           : 0;
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

struct watcher {
    struct sim *sim;
    unsigned node;
    size_t members;
};

/* An incarnation only goes back when the member was gone and forgotten meanwhile. */
static void check_view(void *user, const struct serf_member_info *m)
{
    struct watcher *w = user;
    int k = node_by_addr(w->sim, &m->addr);
    struct sim_view *v;

    w->members++;
    assert(k >= 0 && strcmp(w->sim->nodes[k].name, m->name) == 0); /* nobody invents members */
    v = &w->sim->views[(size_t)w->node * w->sim->n_nodes + (unsigned)k];
    assert(m->inc >= v->inc || v->status == SERF_FAILED || v->status == SERF_LEFT ||
           v->check + 1 < w->sim->nodes[w->node].checks);
    assert(m->inc <= w->sim->nodes[k].inc_max); /* and nobody outruns the member itself */
    *v = (struct sim_view){m->inc, m->status, w->sim->nodes[w->node].checks};
}

static void check_node(struct sim *sim, unsigned node)
{
    struct sim_node *nd = &sim->nodes[node];
    struct watcher w = {sim, node, 0};
    struct serf_member_info self;
    struct serf_stats st;

    assert(serf_member_find(nd->serf, nd->name, &self) == 0 && self.self);
    assert(self.inc >= nd->inc); /* an incarnation never goes back within a life */
    nd->inc = self.inc;
    nd->inc_max = MAX(nd->inc_max, self.inc);
    if (!sim->views && sim->steps % 1000)
        return; /* large pools: now and then */
    serf_stats_get(nd->serf, &st);
    assert(st.member_time >= nd->clocks[0] && st.event_time >= nd->clocks[1] &&
           st.query_time >= nd->clocks[2]);
    nd->clocks[0] = st.member_time;
    nd->clocks[1] = st.event_time;
    nd->clocks[2] = st.query_time;
    assert(st.member_queue <= (size_t)sim->n_nodes); /* one message a name */
    assert(st.intent_queue <= 4096 && st.event_queue <= 4096 && st.query_queue <= 4096);
    assert(st.members <= (size_t)sim->n_nodes);
    if (!sim->views)
        return;
    nd->checks++;
    serf_members_each(nd->serf, check_view, &w);
    assert(w.members == st.members);
}

static void arm(struct sim *sim, unsigned node)
{
    struct sim_node *nd = &sim->nodes[node];
    int64_t at = MAX(serf_deadline(nd->serf).ns - nd->clock_ahead, sim->now);

    if (at == nd->tick_at)
        return;
    nd->tick_at = at;
    heap_put(sim, (struct sim_event){.at = at, .type = SIM_TICK, .to = node, .life = nd->life});
}

static int step(struct sim *sim, unsigned node, struct serf_event *ev, const struct sim_event *why)
{
    struct sim_node *nd = &sim->nodes[node];
    int r;

    ev->now.ns = sim->now + nd->clock_ahead;
    serf_out_reset(&sim_out);
    r = serf_step(nd->serf, ev, &sim_out);
    sim->steps++;
    assert(sim_out.dropped == 0);
    if (ev->type == SERF_EV_TICK)
        nd->turns = serf_deadline(nd->serf).ns > ev->now.ns ? 0 : nd->turns + 1;
    assert(nd->turns <= SIM_TURNS_MAX); /* it does not spin */
    check_node(sim, node);
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
        nd->addr =
            (struct gossip_addr){{127, (uint8_t)((i + 1) / 256), (uint8_t)(i + 1), 1}, 4, 4648};
    }
    if (n_nodes <= SIM_VIEWS_MAX)
        sim->views = xcalloc((size_t)n_nodes * n_nodes, sizeof(*sim->views));
}

static void put_meta(const struct sim_node *nd, struct strbuf *out)
{
    char version[16];
    const struct tag tags[] = {{"role", "nomad"}, {"region", "west"}, {"dc", "dc1"},
                               {"vsn", "1"},      {"build", "0.1.0"}, {"port", "4647"},
                               {"tags", version}};
    int r;

    (void)snprintf(version, sizeof(version), "%u", nd->tags);
    r = tags_put(out, tags, ARRAY_LEN(tags));
    assert(r == 0);
}

void sim_retag(struct sim *sim, unsigned node)
{
    struct serf_event ev = {.type = SERF_EV_TAGS};
    struct strbuf meta = STRBUF_INIT;
    int r;

    sim->nodes[node].tags++;
    put_meta(&sim->nodes[node], &meta);
    ev.data = span_of(&meta);
    r = sim_order(sim, node, &ev);
    assert(r == 0);
    strbuf_fini(&meta);
}

void sim_start(struct sim *sim, unsigned node)
{
    struct sim_node *nd = &sim->nodes[node];
    struct strbuf meta = STRBUF_INIT;
    struct serf_options o = {.name = nd->name, .addr = nd->addr, .seed = prng_u64(&sim->prng)};

    assert(!nd->serf);
    put_meta(nd, &meta);
    serf_options_default(&o);
    o.meta = span_of(&meta);
    if (sim->options)
        sim->options(&o);
    nd->life++;
    nd->inc = 0;
    nd->left = false;
    nd->stalled_until = 0;
    nd->tick_at = -1;
    nd->joins_ok = nd->joins_failed = 0;
    nd->serf = serf_new(&o, (struct mono_ns){sim->now + nd->clock_ahead});
    memset(nd->clocks, 0, sizeof(nd->clocks));
    if (sim->views)
        memset(&sim->views[(size_t)node * sim->n_nodes], 0, sim->n_nodes * sizeof(*sim->views));
    check_node(sim, node);
    arm(sim, node);
    strbuf_fini(&meta);
}

void sim_start_again(struct sim *sim, unsigned node)
{
    struct serf_event ev = {.type = SERF_EV_CLOCKS};

    memcpy(ev.clocks, sim->nodes[node].clocks, sizeof(ev.clocks));
    sim_start(sim, node);
    (void)sim_order(sim, node, &ev);
}

void sim_cut(struct sim *sim, unsigned from, unsigned to)
{
    assert(sim->n_nodes <= SIM_VIEWS_MAX);
    if (!sim->cut)
        sim->cut = xcalloc((size_t)sim->n_nodes * sim->n_nodes, 1);
    sim->cut[(size_t)from * sim->n_nodes + to] = 1;
}

void sim_heal(struct sim *sim)
{
    memset(sim->side, 0, sizeof(sim->side));
    free(sim->cut);
    sim->cut = NULL;
}

void sim_step_clock(struct sim *sim, unsigned node, int64_t ns)
{
    assert(ns >= 0);
    sim->nodes[node].clock_ahead += ns;
    if (sim->nodes[node].serf)
        arm(sim, node);
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
    free(sim->views);
    free(sim->cut);
    serf_out_fini(&sim_out);
}

enum serf_status sim_status(const struct sim *sim, unsigned node, unsigned other)
{
    struct serf_member_info m;

    if (serf_member_find(sim->nodes[node].serf, sim->nodes[other].name, &m))
        return SERF_NONE;
    return m.status;
}

static void count_alive(void *user, const struct serf_member_info *m)
{
    struct watcher *w = user;
    int k = node_by_addr(w->sim, &m->addr);
    bool up = k >= 0 && w->sim->nodes[k].serf && !w->sim->nodes[k].left;
    struct span tags = {NULL, 0};
    char want[16];

    (void)tags_find(m->meta, "tags", &tags);
    (void)snprintf(want, sizeof(want), "%u", k >= 0 ? w->sim->nodes[k].tags : 0);
    if ((m->status == SERF_ALIVE) != up || (up && !span_is(tags, want)))
        w->members = w->sim->n_nodes + 1; /* one wrong view is enough */
    else if (up)
        w->members++;
}

bool sim_converged(const struct sim *sim)
{
    size_t up = 0;

    for (unsigned i = 0; i < sim->n_nodes; i++)
        up += sim->nodes[i].serf && !sim->nodes[i].left;
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        struct watcher w = {(struct sim *)sim, i, 0};

        if (!sim->nodes[i].serf || sim->nodes[i].left)
            continue;
        serf_members_each(sim->nodes[i].serf, count_alive, &w);
        if (w.members != up)
            return false;
    }
    return true;
}
