/* SPDX-License-Identifier: MPL-2.0 */
/* Life of the machine, dispatch of events, timers, effects, views. */
#include "serfd_core_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define STALL (400 * NS_PER_MS)

/* ---- addresses and names ---- */

bool gossip_addr_eq(const struct gossip_addr *a, const struct gossip_addr *b)
{
    return a->ip_len == b->ip_len && a->port == b->port && memcmp(a->ip, b->ip, a->ip_len) == 0;
}

bool gossip_addr_from(struct gossip_addr *ret, struct span ip, uint16_t port)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    *ret = (struct gossip_addr){.port = port};
    if (ip.len == 16 && memcmp(ip.p, mapped, sizeof(mapped)) == 0)
        ip = (struct span){ip.p + 12, 4};
    if (ip.len != 4 && ip.len != 16)
        return false;
    memcpy(ret->ip, ip.p, ip.len);
    ret->ip_len = (uint8_t)ip.len;
    return true;
}

const char *gossip_addr_text(const struct gossip_addr *a, char buf[static GOSSIP_ADDR_TEXT_MAX])
{
    char ip[INET6_ADDRSTRLEN] = "?";

    if (a->ip_len)
        (void)inet_ntop(a->ip_len == 4 ? AF_INET : AF_INET6, a->ip, ip, sizeof(ip));
    (void)snprintf(buf, GOSSIP_ADDR_TEXT_MAX, a->ip_len == 16 ? "[%s]:%u" : "%s:%u", ip, a->port);
    return buf;
}

bool gossip_addr_parse(struct gossip_addr *ret, struct span text)
{
    char buf[GOSSIP_ADDR_TEXT_MAX], *host = buf, *port, *end;
    uint8_t ip[16];
    long n;

    if (text.len == 0 || text.len >= sizeof(buf))
        return false;
    memcpy(buf, text.p, text.len);
    buf[text.len] = 0;
    port = strrchr(buf, ':');
    if (!port || port == buf)
        return false;
    *port++ = 0;
    n = strtol(port, &end, 10);
    if (*port < '0' || *port > '9' || *end || n < 1 || n > UINT16_MAX)
        return false;
    if (inet_pton(AF_INET, host, ip) == 1)
        return gossip_addr_from(ret, (struct span){ip, 4}, (uint16_t)n);
    if (*host++ != '[' || port[-2] != ']')
        return false;
    port[-2] = 0;
    return inet_pton(AF_INET6, host, ip) == 1 &&
           gossip_addr_from(ret, (struct span){ip, 16}, (uint16_t)n);
}

const char *serf_status_name(enum serf_status status)
{
    static const char *const names[] = {
#define X(id, text) [id] = (text),
        SERF_STATUSES(X)
#undef X
    };

    return names[status];
}

/* ---- effects ---- */

void serf_out_reset(struct serf_out *out)
{
    out->n = 0;
    out->dropped = 0;
    strbuf_reset(&out->bytes);
}

void serf_out_fini(struct serf_out *out)
{
    strbuf_fini(&out->bytes);
}

struct span serf_out_data(const struct serf_out *out, const struct serf_effect *fx)
{
    return (struct span){(const uint8_t *)out->bytes.data + fx->offset, fx->len};
}

/* Datagrams and notes leave room for the effects that somebody waits for. */
struct serf_effect *core_effect(struct serf *s, enum serf_effect_type type, struct span data)
{
    struct serf_out *out = s->out;
    bool droppable = type == SERF_FX_SEND || type == SERF_FX_NOTE || type == SERF_FX_REPLY;
    struct serf_effect *fx;

    if (droppable && out->n >= SERF_EFFECTS_MAX - SERF_DIALS_MAX - ASKS_MAX - 8) {
        out->dropped++;
        return NULL;
    }
    assert(out->n < SERF_EFFECTS_MAX);
    fx = &out->effects[out->n++];
    *fx = (struct serf_effect){.type = type, .offset = out->bytes.len, .len = data.len};
    strbuf_add(&out->bytes, data.p, data.len);
    return fx;
}

struct span core_compress(const struct serf *s, struct strbuf *room, struct span msg)
{
    if (!s->o.compress || !packet_put_compressed(room, msg))
        return msg;
    return span_of(room);
}

void core_note(struct serf *s, enum log_level level, const char *fmt, ...)
{
    char text[1024];
    struct serf_effect *fx;
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fx = core_effect(s, SERF_FX_NOTE, (struct span){(const uint8_t *)text, strlen(text) + 1});
    if (fx)
        fx->level = level;
}

void core_changed(struct serf *s)
{
    s->version++;
}

bool core_leaving(const struct serf *s)
{
    return s->leave != LEAVE_NO;
}

/* ---- timers ---- */

void core_arm(struct serf *s, enum timer t, int64_t at)
{
    s->at[t] = MIN(s->at[t], at);
}

/* Uniform in [0, interval). */
int64_t core_random_part(struct serf *s, int64_t interval)
{
    return (int64_t)prng_below(&s->prng, (uint64_t)MAX(interval, (int64_t)1));
}

static void on_reap(struct serf *s)
{
    core_arm(s, T_REAP, s->now + s->o.reap_interval);
    serf_reap(s);
}

static void on_queues(struct serf *s)
{
    core_arm(s, T_QUEUES, s->now + s->o.queue_interval);
    gossip_queues_check(s);
}

/* A due timer is switched off before its function runs, which arms it again if need be. */
static void (*const timer_fns[T_COUNT])(struct serf *) = {
    [T_PROBE] = probe_start,
    [T_PROBE_STAGE] = probe_stage,
    [T_RELAY] = probe_relay_due,
    [T_SUSPICION] = nodes_suspicion_due,
    [T_GOSSIP] = gossip_tick,
    [T_PUSH_PULL] = exchange_periodic,
    [T_SYNC] = exchange_sync,
    [T_REAP] = on_reap,
    [T_RECONNECT] = exchange_reconnect,
    [T_QUEUES] = on_queues,
    [T_LEAVE] = serf_leave_stage,
    [T_REGION] = region_due,
    [T_ASKS] = asks_due,
    [T_CHECK] = check_due,
};

/*
 * A tick that comes much too late means that this process (or machine) stood still: what the others
 * said meanwhile is still on its way to us, so nobody is accused for that time.
 */
static void forgive_stall(struct serf *s)
{
    int64_t late = s->now - serf_deadline(s).ns;

    if (serf_deadline(s).ns == NEVER || late < STALL)
        return;
    core_note(s, LOG_WARN, "this process stood still: ms=%lld", (long long)(late / NS_PER_MS));
    late += s->o.probe_timeout;
    nodes_postpone(s, late);
    probe_postpone(s, late);
}

static void run_timers(struct serf *s)
{
    for (int t = 0; t < T_COUNT; t++) {
        if (s->at[t] > s->now)
            continue;
        s->at[t] = NEVER;
        timer_fns[t](s);
    }
}

struct mono_ns serf_deadline(const struct serf *s)
{
    int64_t first = NEVER;

    for (int t = 0; t < T_COUNT; t++)
        first = MIN(first, s->at[t]);
    return (struct mono_ns){first};
}

/* ---- life ---- */

void serf_options_default(struct serf_options *o)
{
    /*
     * memberlist's LAN profile: section 9, with probes a little closer: a silent member of a small
     * pool is failed at all within 5 s, and one that stands still for 3 s has time to refute.
     * Leave waits are cut so that a node stops in 4 s.
     */
    o->probe_interval = 850 * NS_PER_MS;
    o->probe_timeout = 500 * NS_PER_MS;
    o->probe_pace = 400 * NS_PER_MS;
    o->gossip_interval = 200 * NS_PER_MS;
    o->push_pull_interval = 30 * NS_PER_SEC;
    o->gossip_to_dead = 30 * NS_PER_SEC;
    o->tcp_timeout = 10 * NS_PER_SEC;
    o->suspicion_mult = 4;
    o->suspicion_max_mult = 6;
    o->indirect_checks = 3;
    o->retransmit_mult = 4;
    o->gossip_nodes = 3;
    o->awareness_max = 8;
    o->reap_interval = 15 * NS_PER_SEC;
    o->reconnect_interval = 30 * NS_PER_SEC;
    o->reconnect_timeout = 72 * 3600 * NS_PER_SEC;
    o->tombstone_timeout = 24 * 3600 * NS_PER_SEC;
    o->recent_intent_timeout = 300 * NS_PER_SEC;
    o->broadcast_timeout = 1250 * NS_PER_MS;
    o->leave_linger = NS_PER_SEC;
    o->queue_interval = 30 * NS_PER_SEC;
    o->nomad_filter = true;
    o->sync_on_join = true;
}

/* What every Nomad server says of itself: memberlist 1 to 5 speaking 2, Serf 2 to 5 speaking 4. */
static const uint8_t own_vsn[6] = {1, 5, 2, 2, 5, 4};

struct serf *serf_new(const struct serf_options *options, struct mono_ns now)
{
    struct serf *s = xcalloc(1, sizeof(*s));

    assert(options->name[0] && strlen(options->name) <= SERF_NAME_MAX);
    assert(options->meta.len <= SERF_META_MAX);
    assert(options->addr.ip_len && options->addr.port);
    s->o = *options;
    s->now = now.ns;
    s->version = 1;
    s->next_dial = 1;
    s->clock = s->event_clock = s->query_clock = 1;
    prng_seed(&s->prng, options->seed);
    coord_self_init(&s->coord);
    bcast_init(&s->nodes_q, SERF_MEMBERS_MAX);
    bcast_init(&s->intents_q, SERF_QUEUE_MAX);
    bcast_init(&s->queries_q, SERF_QUEUE_MAX);
    bcast_init(&s->events_q, SERF_QUEUE_MAX);
    s->self = table_add(s, SPAN_STR(options->name));
    s->self->addr = options->addr;
    member_set_meta(s, s->self, options->meta);
    memcpy(s->self->vsn, own_vsn, sizeof(own_vsn));
    s->self->in_list = true;
    s->self->inc = 1;
    s->self->changed = now.ns;
    s->self->in_serf = true;
    s->self->status = SERF_ALIVE;
    s->n_list = 1;
    s->o.name = s->self->name;
    s->o.meta = member_meta(s->self);
    for (int t = 0; t < T_COUNT; t++)
        s->at[t] = NEVER;
    core_arm(s, T_PROBE, now.ns + core_random_part(s, s->o.probe_interval));
    core_arm(s, T_PUSH_PULL, now.ns + core_random_part(s, s->o.push_pull_interval));
    core_arm(s, T_REAP, now.ns + s->o.reap_interval);
    core_arm(s, T_RECONNECT, now.ns + core_random_part(s, s->o.reconnect_interval));
    core_arm(s, T_QUEUES, now.ns + s->o.queue_interval);
    return s;
}

struct serf *serf_free(struct serf *s)
{
    if (!s)
        return NULL;
    for (size_t i = 0; i < s->n; i++)
        (void)table_free_member(s->tab[i]);
    free(s->tab);
    free(s->probe_list);
    bcast_fini(&s->nodes_q);
    bcast_fini(&s->intents_q);
    bcast_fini(&s->queries_q);
    bcast_fini(&s->events_q);
    check_fini(s);
    free(s->byes);
    serf_recent_fini(s);
    serf_events_fini(s);
    queries_fini(s);
    asks_fini(s);
    free(s);
    return NULL;
}

static void restore_clocks(struct serf *s, const uint64_t clocks[static 3])
{
    s->clock = MAX(s->clock, clocks[0]);
    s->event_clock = MAX(s->event_clock, clocks[1]);
    s->query_clock = MAX(s->query_clock, clocks[2]);
    /*
     * What was delivered in the earlier life is not delivered again (10.10). All of it is below the
     * clocks of then, which are one above the last value seen (Serf's file holds that one).
     */
    s->event_min = clocks[1];
    s->query_min = clocks[2];
}

int serf_step(struct serf *s, const struct serf_event *ev, struct serf_out *out)
{
    int r = 0;

    assert(ev->now.ns >= s->now); /* a monotonic clock does not go back */
    s->now = ev->now.ns;
    s->wall = ev->wall;
    s->out = out;
    switch (ev->type) {
    case SERF_EV_TICK:
        forgive_stall(s);
        run_timers(s);
        break;
    case SERF_EV_PACKET:
        gossip_on_packet(s, &ev->addr, ev->data);
        break;
    case SERF_EV_STREAM:
        exchange_on_stream(s, ev);
        break;
    case SERF_EV_DIALED:
        exchange_on_dialed(s, ev);
        break;
    case SERF_EV_JOIN:
        r = exchange_join(s, &ev->addr, ev->id, ev->attach);
        break;
    case SERF_EV_FORCE_LEAVE:
        r = serf_force_leave(s, ev->name, ev->prune);
        break;
    case SERF_EV_LEAVE:
        r = serf_leave_begin(s);
        break;
    case SERF_EV_USER_EVENT:
        r = serf_user_event(s, ev->name, ev->data, ev->coalesce);
        break;
    case SERF_EV_QUERY:
        r = asks_begin(s, ev->id, ev->query);
        break;
    case SERF_EV_KEYS_SAVED:
        keys_saved(s, ev->err);
        break;
    case SERF_EV_CHECK:
        r = check_begin(s, ev);
        break;
    case SERF_EV_TAGS:
        r = region_set_tags(s, ev->data);
        break;
    case SERF_EV_REGION_LEAVE:
        r = region_leave(s);
        break;
    case SERF_EV_REGION_EPOCH:
        region_restore(s, (uint32_t)ev->id);
        break;
    case SERF_EV_CLOCKS:
        restore_clocks(s, ev->clocks);
        break;
    }
    s->out = NULL;
    assert(s->self->in_list && s->self->in_serf);
    return r;
}

/* ---- views ---- */

uint64_t serf_version(const struct serf *s)
{
    return s->version;
}

static void member_view(const struct serf *s, const struct member *m, struct serf_member_info *ret)
{
    *ret = (struct serf_member_info){
        .name = m->name,
        .addr = *member_reach(m),
        .meta = member_meta(m),
        .vsn = m->vsn,
        .status = m->status,
        .inc = m->inc,
        .ltime = m->ltime,
        .self = m == s->self,
    };
}

static double rtt_ms(const struct serf *s, const struct member *m)
{
    return m->coord ? coord_distance(&s->coord.at, &m->coord->at) * 1e3 : 0;
}

bool serf_member_at(const struct serf *s, size_t i, struct serf_member_info *ret)
{
    for (size_t at = 0; at < s->n; at++) {
        if (!s->tab[at]->in_serf)
            continue;
        if (i-- == 0) {
            member_view(s, s->tab[at], ret);
            ret->rtt_ms = rtt_ms(s, s->tab[at]);
            return true;
        }
    }
    return false;
}

void serf_members_each(const struct serf *s, serf_member_fn *fn, void *user)
{
    struct serf_member_info info;

    for (size_t i = 0; i < s->n; i++) {
        if (!s->tab[i]->in_serf)
            continue;
        member_view(s, s->tab[i], &info);
        fn(user, &info);
    }
}

int serf_member_find(const struct serf *s, const char *name, struct serf_member_info *ret)
{
    const struct member *m = table_find(s, SPAN_STR(name));

    if (!m || !m->in_serf)
        return -ENOENT;
    member_view(s, m, ret);
    ret->rtt_ms = rtt_ms(s, m);
    return 0;
}

void serf_clocks(const struct serf *s, uint64_t ret[static 3])
{
    ret[0] = s->clock;
    ret[1] = s->event_clock;
    ret[2] = s->query_clock;
}

uint32_t serf_epoch(const struct serf *s)
{
    return s->epoch;
}

void serf_stats_get(const struct serf *s, struct serf_stats *ret)
{
    *ret = (struct serf_stats){
        .nodes = s->n_list,
        .exchanges = s->sync_rounds + s->n_dials,
        .health_score = s->score,
        .member_time = s->clock,
        .event_time = s->event_clock,
        .query_time = s->query_clock,
        .member_queue = s->nodes_q.n,
        .intent_queue = s->intents_q.n,
        .event_queue = s->events_q.n,
        .query_queue = s->queries_q.n,
        .coordinate_resets = s->coord.resets,
        .encrypted = s->o.keyring && s->o.keyring->n > 0,
        .leaving = core_leaving(s),
        .left_done = s->leave == LEAVE_DONE,
        .epoch = s->epoch,
        .region_out = s->region_out,
        .group_conflict = s->conflict[0] ? s->conflict : NULL,
    };
    for (size_t i = 0; i < s->n; i++) {
        const struct member *m = s->tab[i];

        ret->members += m->in_serf;
        ret->alive += m->in_serf && m->status == SERF_ALIVE;
        ret->failed += m->in_serf && m->status == SERF_FAILED;
        ret->left += m->in_serf && m->status == SERF_LEFT;
        ret->suspects += m->suspicion != NULL;
    }
}
