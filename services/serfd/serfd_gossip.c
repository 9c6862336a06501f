/* SPDX-License-Identifier: MPL-2.0 */
/* Dissemination (section 8): queues, piggybacking, the gossip tick, and reading datagrams. */
#include "serfd_core_int.h"

#include <math.h>
#include <string.h>

#define GOSSIP_TARGETS_MAX 16
#define QUEUE_WARN         128
#define ALL_MAX            12u /* in pools of so many others each message goes to each of them */

/* Messages collected for one datagram. */
struct parcel {
    struct strbuf bytes;
    size_t start[PACKET_PARTS_MAX], len[PACKET_PARTS_MAX];
    size_t n;
    bool serf; /* what comes now is a Serf message and gets the byte 8 in front */
};

static void parcel_add(void *user, struct span msg)
{
    struct parcel *p = user;

    assert(p->n < PACKET_PARTS_MAX);
    p->start[p->n] = p->bytes.len;
    if (p->serf)
        strbuf_addc(&p->bytes, ML_USER);
    strbuf_add(&p->bytes, msg.p, msg.len);
    p->len[p->n] = p->bytes.len - p->start[p->n];
    p->n++;
}

static unsigned retransmit_limit(const struct serf *s, size_t n)
{
    return s->o.retransmit_mult * (unsigned)ceil(log10((double)n + 1));
}

static bool wants_gossip(const struct serf *s, const struct member *m)
{
    return member_usable(m) ||
           (m->in_list && m->state == NODE_DEAD && s->now - m->changed <= s->o.gossip_to_dead);
}

/* An id of the address, never 0. */
static uint32_t addr_id(const struct gossip_addr *a)
{
    uint32_t h = 2166136261u; /* FNV-1a */

    for (size_t i = 0; i < a->ip_len; i++)
        h = (h ^ a->ip[i]) * 16777619u;
    h = (h ^ a->port) * 16777619u;
    return h ? h : 1;
}

/*
 * Aims Serf's queues at `to`. Returns how many may receive, 0 when it does not matter: in larger
 * pools every message is sent often enough to reach all by chance.
 */
static unsigned aim_queues(struct serf *s, struct bcast_queue *const *queues, size_t n,
                           const struct gossip_addr *to)
{
    unsigned receivers = 0;
    uint32_t id = 0;

    for (size_t i = 0; i < s->n && s->n_list <= BCAST_AIM_MAX; i++) {
        const struct member *m = s->tab[i];

        if (m == s->self || !wants_gossip(s, m))
            continue;
        receivers++;
        if (gossip_addr_eq(&m->addr, to) || gossip_addr_eq(member_reach(m), to))
            id = addr_id(&m->addr);
    }
    for (size_t i = 0; i < n; i++)
        bcast_aim(queues[i], id, receivers);
    return receivers;
}

static size_t queued(const struct serf *s)
{
    return s->nodes_q.n + s->intents_q.n + s->queries_q.n + s->events_q.n;
}

/* With what is to be told: memberlist's messages first, then Serf's. */
static void parcel_fill(struct serf *s, struct parcel *p, size_t room, const struct gossip_addr *to)
{
    struct bcast_queue *const queues[] = {&s->nodes_q, &s->intents_q, &s->queries_q, &s->events_q};
    unsigned limit = MAX(retransmit_limit(s, s->n_list), 1u);

    if (queued(s) == 0)
        return;
    limit = MAX(limit, MIN(aim_queues(s, queues, ARRAY_LEN(queues), to), ALL_MAX));
    for (size_t i = 0; i < ARRAY_LEN(queues) && p->n < PACKET_PARTS_MAX; i++) {
        p->serf = queues[i] != &s->nodes_q;
        (void)bcast_pick(queues[i], p->serf ? 3 : 2, &room, limit, PACKET_PARTS_MAX - p->n,
                         parcel_add, p);
    }
}

static void parcel_send(struct serf *s, struct parcel *p, const struct gossip_addr *to, bool crc)
{
    struct span parts[PACKET_PARTS_MAX];
    struct strbuf plain = STRBUF_INIT, packed = STRBUF_INIT, sealed = STRBUF_INIT;
    struct serf_effect *fx;
    struct span msg;

    for (size_t i = 0; i < p->n; i++)
        parts[i] = (struct span){(const uint8_t *)p->bytes.data + p->start[i], p->len[i]};
    packet_put_compound(&plain, parts, p->n);
    msg = core_compress(s, &packed, span_of(&plain));
    if (crc) {
        packet_put_crc(&sealed, msg);
        msg = span_of(&sealed);
    }
    fx = core_effect(s, SERF_FX_SEND, msg);
    if (fx)
        fx->addr = *to;
    strbuf_fini(&plain);
    strbuf_fini(&packed);
    strbuf_fini(&sealed);
}

static size_t packet_room(const struct serf *s)
{
    return PACKET_BUDGET - 2 - (s->o.keyring && s->o.keyring->n ? SEAL_OVERHEAD : 0);
}

/* CRC is only for those whose protocol maximum knows it (section 3). */
static bool peer_takes_crc(const struct member *m)
{
    return m && m->vsn[1] >= 5;
}

void gossip_send(struct serf *s, const struct gossip_addr *to, struct span msg)
{
    struct parcel p = {.n = 0};

    parcel_add(&p, msg);
    if (packet_room(s) > msg.len)
        parcel_fill(s, &p, packet_room(s) - msg.len, to);
    parcel_send(s, &p, to, false);
    strbuf_fini(&p.bytes);
}

void gossip_send_plain(struct serf *s, const struct gossip_addr *to, const struct member *peer,
                       const struct span *msgs, size_t n)
{
    struct parcel p = {.n = 0};

    for (size_t i = 0; i < n; i++)
        parcel_add(&p, msgs[i]);
    parcel_send(s, &p, to, peer_takes_crc(peer));
    strbuf_fini(&p.bytes);
}

uint64_t gossip_queue(struct serf *s, struct bcast_queue *q, const char *key, struct span msg)
{
    /* The tick only runs while there is something to say; the first word goes out sooner. */
    core_arm(s, T_GOSSIP, s->now + s->o.gossip_interval / 4);
    return bcast_put(q, key, msg);
}

/* What is said to each member of a small pool anyhow is said to all at once. */
void gossip_tick(struct serf *s)
{
    unsigned some = MIN(s->o.gossip_nodes, (unsigned)GOSSIP_TARGETS_MAX);
    struct member *to[GOSSIP_TARGETS_MAX];
    size_t n = table_pick(s, s->n_list > ALL_MAX + 1 ? some : ALL_MAX, wants_gossip, to);

    for (size_t i = 0; i < n; i++) {
        struct parcel p = {.n = 0};

        parcel_fill(s, &p, packet_room(s), member_reach(to[i]));
        if (p.n > 0)
            parcel_send(s, &p, member_reach(to[i]), peer_takes_crc(to[i]));
        strbuf_fini(&p.bytes);
    }
    if (queued(s) > 0)
        core_arm(s, T_GOSSIP, s->now + s->o.gossip_interval);
}

void gossip_queues_check(struct serf *s)
{
    const struct {
        const char *name;
        const struct bcast_queue *q;
    } queues[] = {{"intent", &s->intents_q}, {"query", &s->queries_q}, {"event", &s->events_q}};

    for (size_t i = 0; i < ARRAY_LEN(queues); i++) {
        if (queues[i].q->n > QUEUE_WARN)
            core_note(s, LOG_WARN, "%s queue is long: messages=%zu dropped=%llu", queues[i].name,
                      queues[i].q->n, (unsigned long long)queues[i].q->dropped);
    }
}

/* ---- reading ---- */

struct reading {
    struct serf *s;
    const struct gossip_addr *from;
    unsigned broken;
};

static bool read_alive(struct serf *s, struct span body)
{
    struct mp_scratch scratch = {.used = 0};
    struct msg_alive m;
    struct node_claim c;

    if (!msg_get(body, &msg_alive_schema, &m, &scratch))
        return false;
    c = (struct node_claim){m.node, m.meta, m.vsn, m.addr, m.port, m.inc};
    nodes_alive(s, &c);
    return true;
}

static bool read_accusation(struct serf *s, uint8_t type, struct span body)
{
    struct mp_scratch scratch = {.used = 0};
    struct msg_accuse m;

    if (!msg_get(body, &msg_accuse_schema, &m, &scratch))
        return false;
    if (type == ML_SUSPECT)
        nodes_suspect(s, m.node, m.inc, m.from);
    else
        nodes_dead(s, m.node, m.inc, m.from);
    return true;
}

static void read_message(void *user, uint8_t type, struct span body)
{
    struct reading *rd = user;
    struct serf *s = rd->s;

    switch (type) {
    case ML_PING:
        probe_on_ping(s, rd->from, body);
        break;
    case ML_INDIRECT_PING:
        probe_on_indirect(s, rd->from, body);
        break;
    case ML_ACK:
        probe_on_ack(s, rd->from, body);
        break;
    case ML_NACK:
        probe_on_nack(s, body);
        break;
    case ML_ALIVE:
        rd->broken += !read_alive(s, body);
        break;
    case ML_SUSPECT:
    case ML_DEAD:
        rd->broken += !read_accusation(s, type, body);
        break;
    case ML_USER:
        serf_on_message(s, rd->from, body);
        break;
    default:
        rd->broken++;
        break;
    }
}

void gossip_on_packet(struct serf *s, const struct gossip_addr *from, struct span packet)
{
    struct reading rd = {s, from, 0};
    char text[GOSSIP_ADDR_TEXT_MAX];
    enum packet_result r;

    if (!guard_allows(s->o.guard, from)) {
        core_note(s, LOG_WARN, "packet dropped: join_allow leaves its sender out from=%s",
                  gossip_addr_text(from, text));
        return;
    }
    r = packet_read(packet, read_message, &rd);
    if (r == PACKET_BAD_CRC)
        core_note(s, LOG_WARN, "packet dropped: checksum is wrong from=%s",
                  gossip_addr_text(from, text));
    else if (r != PACKET_OK || rd.broken)
        core_note(s, LOG_WARN, "packet dropped: %s from=%s",
                  packet.len && packet.p[0] == ML_LABEL ? "labels are not supported"
                                                        : "it is broken or of an unknown kind",
                  gossip_addr_text(from, text));
}
