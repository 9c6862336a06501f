/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Failure detection (section 7; SWIM, Das et al. 2002, with Lifeguard, Dadgar et al. 2018): one
 * member after the other in a shuffled order is pinged, then through others and by TCP.
 */
#include "serfd_core_int.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define HELPERS_MAX 8
#define COORD_EVERY 4 /* acks to one member, of which one tells our coordinate: 130 bytes */

/* ---- the list to go through ---- */

void probe_learn(struct serf *s, struct member *m)
{
    size_t at;

    if (s->n_probe == s->cap_probe) {
        s->cap_probe = MAX(s->cap_probe * 2, (size_t)16);
        s->probe_list = xrealloc(s->probe_list, s->cap_probe * sizeof(struct member *));
    }
    at = (size_t)prng_below(&s->prng, s->n_probe + 1);
    s->probe_list[s->n_probe++] = s->probe_list[at];
    s->probe_list[at] = m;
}

void probe_forget(struct serf *s, struct member *m)
{
    if (s->probe.target == m)
        s->probe.target = NULL;
    if (s->missed.target == m)
        s->missed.target = NULL;
    if (s->probe_urgent == m)
        s->probe_urgent = NULL;
    for (size_t i = 0; i < s->n_probe; i++) {
        if (s->probe_list[i] != m)
            continue;
        s->n_probe--;
        memmove(&s->probe_list[i], &s->probe_list[i + 1],
                (s->n_probe - i) * sizeof(struct member *));
        if (i < s->probe_next)
            s->probe_next--;
        return;
    }
}

static void probe_shuffle(struct serf *s)
{
    for (size_t i = s->n_probe; i > 1; i--) {
        size_t j = (size_t)prng_below(&s->prng, i);
        struct member *t = s->probe_list[i - 1];

        s->probe_list[i - 1] = s->probe_list[j];
        s->probe_list[j] = t;
    }
    s->probe_next = 0;
}

/*
 * Random orders leave a member alone for many intervals now and then, which is the tail of the
 * detection time. So every second probe goes to the member whose name follows ours: as all do so,
 * each member is looked at in every second interval, however large the pool.
 */
static struct member *probe_neighbour(struct serf *s)
{
    struct member *m;

    s->probe_ring = !s->probe_ring;
    if (!s->probe_ring)
        return NULL;
    m = table_next_usable(s, s->self);
    return m == s->self ? NULL : m;
}

static struct member *probe_choose(struct serf *s)
{
    struct member *urgent = s->probe_urgent, *neighbour;

    s->probe_urgent = NULL;
    if (urgent && urgent->in_list && urgent->state == NODE_SUSPECT)
        return urgent;
    neighbour = probe_neighbour(s);
    if (neighbour)
        return neighbour;
    for (size_t tries = 0; tries <= s->n_probe + 1; tries++) {
        if (s->probe_next >= s->n_probe) {
            nodes_forget(s);
            probe_shuffle(s);
            if (s->n_probe == 0)
                return NULL;
            continue;
        }
        if (member_usable(s->probe_list[s->probe_next]))
            return s->probe_list[s->probe_next++];
        s->probe_next++;
    }
    return NULL;
}

/* ---- awareness (7.4) ---- */

void probe_score(struct serf *s, int change)
{
    int score = (int)s->score + change;

    s->score = (unsigned)MAX(0, MIN(score, (int)s->o.awareness_max - 1));
}

/* ---- round trips ---- */

#define RTT_GAIN       0.25f
#define RTT_JUMP       0.05f /* s by which one sample may exceed twice the average */
#define BACKOFF_MAX    2
#define DOUBT_MAX      4u /* times an interval is stretched at most */
#define TIMEOUT_SPREAD 4  /* the timeout stays within probe_timeout / and * this */

/*
 * As TCP smooths its round trips (Jacobson 1988), but one sample raises the average only so far: a
 * member that was stopped for seconds is not far away.
 */
static void rtt_sample(struct member *m, int64_t ns)
{
    float rtt = (float)ns / 1e9f, off;

    m->rtt_backoff = 0;
    rtt = fmaxf(rtt, 1e-6f);
    if (m->rtt <= 0) {
        m->rtt = rtt;
        m->rtt_dev = rtt / 2;
        return;
    }
    rtt = fminf(rtt, 2 * m->rtt + RTT_JUMP);
    off = rtt - m->rtt;
    m->rtt += RTT_GAIN * off;
    m->rtt_dev += RTT_GAIN * (fabsf(off) - m->rtt_dev);
}

/* How long to wait for its ack before others are asked. */
static int64_t timeout_of(const struct serf *s, const struct member *m)
{
    int64_t base = s->o.probe_timeout, t = base;

    if (m->rtt > 0)
        t = base / 5 + (int64_t)((double)(m->rtt + 4 * m->rtt_dev) * 1e9);
    t = MIN(t << m->rtt_backoff, base * TIMEOUT_SPREAD);
    return MAX(t, base / TIMEOUT_SPREAD);
}

/* An interval while we doubt our own health (7.4), no longer than DOUBT_MAX of them. */
static int64_t doubtful(const struct serf *s, int64_t interval)
{
    return interval * (int64_t)MIN(s->score + 1, DOUBT_MAX);
}

/*
 * How long until the probe has failed: time for the others' and TCP's answers, more when we doubt
 * our own health, but a node that is cut off has to find out one day, too.
 */
static int64_t patience(const struct serf *s, int64_t timeout)
{
    int64_t t = MIN(timeout * 5 / 2, MAX(s->o.probe_interval, timeout * 3 / 2));

    return MAX(t, MIN(t * (int64_t)(s->score + 1), s->o.probe_interval * DOUBT_MAX));
}

/* ---- our own probe ---- */

/*
 * Without our address, as Nomad's 0.10.1 does it: the ack goes where the ping came from. This is
 * the most frequent message of all, and that is a third of it.
 */
void probe_put_ping(struct serf *s, struct strbuf *out, uint32_t seq, struct span node)
{
    struct msg_ping ping = {.seq = seq, .node = node, .source_node = SPAN_STR(s->self->name)};

    msg_put(out, ML_PING, &msg_ping_schema, &ping);
}

static void send_first_ping(struct serf *s, struct member *m)
{
    struct strbuf ping = STRBUF_INIT, suspect = STRBUF_INIT;
    struct span msgs[2];

    probe_put_ping(s, &ping, s->probe.seq, SPAN_STR(m->name));
    msgs[0] = span_of(&ping);
    if (m->state == NODE_ALIVE) {
        gossip_send(s, member_reach(m), msgs[0]);
    } else {
        /* Lifeguard's buddy system: a suspect hears of it in the ping itself. */
        struct msg_accuse acc = {m->inc, SPAN_STR(m->name), SPAN_STR(s->self->name)};

        msg_put(&suspect, ML_SUSPECT, &msg_accuse_schema, &acc);
        msgs[1] = span_of(&suspect);
        gossip_send_plain(s, member_reach(m), m, msgs, 2);
    }
    strbuf_fini(&ping);
    strbuf_fini(&suspect);
}

void probe_start(struct serf *s)
{
    struct member *m;
    int64_t timeout;

    if (s->probe.target)
        return; /* its end arms the timer again */
    m = probe_choose(s);
    core_arm(s, T_PROBE, s->now + doubtful(s, s->o.probe_interval));
    if (!m)
        return;
    timeout = timeout_of(s, m);
    s->probe = (struct probe){
        .target = m,
        .seq = ++s->seq,
        .start = s->now,
        .timeout = timeout,
        .deadline = s->now + patience(s, timeout),
    };
    s->at[T_PROBE_STAGE] = NEVER;
    core_arm(s, T_PROBE_STAGE, MIN(s->now + timeout, s->probe.deadline));
    send_first_ping(s, m);
}

void probe_postpone(struct serf *s, int64_t late)
{
    if (!s->probe.target)
        return;
    s->probe.deadline += late;
    s->at[T_PROBE_STAGE] += late;
}

static void probe_end(struct serf *s, int64_t interval)
{
    int64_t next = s->probe_urgent ? s->now : s->probe.start + doubtful(s, interval);

    s->probe.target = NULL;
    s->at[T_PROBE_STAGE] = NEVER;
    s->at[T_PROBE] = MAX(next, s->now);
}

static void probe_succeed(struct serf *s)
{
    probe_score(s, -1);
    probe_end(s, s->o.probe_pace);
}

void probe_now(struct serf *s, struct member *m)
{
    s->probe_urgent = m; /* again if it is the one: that ping did not tell it of the suspicion */
    if (!s->probe.target)
        core_arm(s, T_PROBE, s->now);
}

static void probe_fail(struct serf *s)
{
    struct member *m = s->probe.target;
    bool refused = s->probe.refused && s->probe.nacks >= s->probe.nacks_expected;

    if (s->probe.nacks_expected > 0)
        probe_score(s, (int)(s->probe.nacks_expected - s->probe.nacks));
    else
        probe_score(s, 1);
    s->missed = s->probe;
    m->rtt_backoff = MIN(m->rtt_backoff + 1, BACKOFF_MAX);
    probe_end(s, s->o.probe_interval);
    core_note(s, LOG_DEBUG, "no answer to probe member=%s", m->name);
    nodes_suspect(s, SPAN_STR(m->name), m->inc, SPAN_STR(s->self->name));
    if (refused)
        nodes_refused(s, m);
}

static bool may_help(const struct serf *s, const struct member *m)
{
    return pick_alive(s, m) && m != s->probe.target;
}

/* 7.1 step 3: through others, and by TCP. */
static void probe_ask_others(struct serf *s)
{
    struct member *target = s->probe.target, *helpers[HELPERS_MAX];
    size_t n = table_pick(s, MIN(s->o.indirect_checks, (unsigned)HELPERS_MAX), may_help, helpers);
    struct strbuf b = STRBUF_INIT;

    s->probe.asked_others = true;
    for (size_t i = 0; i < n; i++) {
        const struct gossip_addr *source = member_source(s, helpers[i]);
        struct msg_indirect_ping msg = {
            .seq = s->probe.seq,
            .target = {target->addr.ip, target->addr.ip_len},
            .port = target->addr.port,
            .node = SPAN_STR(target->name),
            .nack = helpers[i]->vsn[1] >= 4,
            .source_addr = {source->ip, source->ip_len},
            .source_port = source->port,
            .source_node = SPAN_STR(s->self->name),
        };

        s->probe.nacks_expected += msg.nack;
        strbuf_reset(&b);
        msg_put(&b, ML_INDIRECT_PING, &msg_indirect_ping_schema, &msg);
        gossip_send(s, member_reach(helpers[i]), span_of(&b));
    }
    if (target->vsn[1] >= 3) {
        strbuf_reset(&b);
        probe_put_ping(s, &b, s->probe.seq, SPAN_STR(target->name));
        s->probe.dial = exchange_dial(s, DIAL_PING, member_reach(target), 0, span_of(&b),
                                      MAX(s->probe.deadline - s->now, NS_PER_MS));
    }
    strbuf_fini(&b);
}

void probe_stage(struct serf *s)
{
    if (!s->probe.target)
        return;
    if (s->now >= s->probe.deadline) {
        probe_fail(s);
        return;
    }
    if (!s->probe.asked_others)
        probe_ask_others(s);
    core_arm(s, T_PROBE_STAGE, s->probe.deadline);
}

/* When all helpers said no and TCP failed too, there is nothing left to wait for. */
static void probe_check_hopeless(struct serf *s)
{
    if (s->probe.target && s->probe.asked_others && s->probe.dial == 0 &&
        s->probe.nacks_expected > 0 && s->probe.nacks >= s->probe.nacks_expected)
        probe_fail(s);
}

void probe_on_dialed(struct serf *s, const struct dial *d, int err, struct span answer)
{
    struct mp_scratch scratch = {.used = 0};
    struct msg_ack ack;

    if (!s->probe.target || s->probe.dial != d->id)
        return;
    s->probe.dial = 0;
    s->probe.refused = err == -ECONNREFUSED;
    if (err == 0 && answer.len > 0 && answer.p[0] == ML_ACK &&
        msg_get((struct span){answer.p + 1, answer.len - 1}, &msg_ack_schema, &ack, &scratch) &&
        ack.seq == s->probe.seq) {
        core_note(s, LOG_WARN, "member answers by TCP only: is UDP blocked? member=%s",
                  s->probe.target->name);
        probe_succeed(s);
        return;
    }
    probe_check_hopeless(s);
}

/* ---- answers ---- */

static void learn_coordinate(struct serf *s, struct member *m, struct span payload, int64_t rtt_ns)
{
    struct coord theirs;

    if (!coord_get(payload, &theirs))
        return;
    if (!m->coord)
        m->coord = xcalloc(1, sizeof(*m->coord));
    (void)coord_update(&s->coord, m->coord, &theirs, (double)rtt_ns / 1e9, &s->prng);
}

static void relay_remove(struct serf *s, size_t i)
{
    s->relays[i] = s->relays[--s->n_relays];
}

/* Only a direct ack says how long the way is. */
static bool is_direct(const struct member *m, const struct gossip_addr *from,
                      const struct msg_ack *ack)
{
    return ack->payload.len > 0 || gossip_addr_eq(from, member_reach(m)) ||
           gossip_addr_eq(from, &m->addr);
}

void probe_on_ack(struct serf *s, const struct gossip_addr *from, struct span body)
{
    struct mp_scratch scratch = {.used = 0};
    struct msg_ack ack;
    struct strbuf b = STRBUF_INIT;

    if (!msg_get(body, &msg_ack_schema, &ack, &scratch) || check_on_ack(s, ack.seq))
        return;
    if (s->probe.target && ack.seq == s->probe.seq) {
        bool timely = s->now - s->probe.start <= s->probe.timeout;

        if (timely)
            learn_coordinate(s, s->probe.target, ack.payload, s->now - s->probe.start);
        if (timely || is_direct(s->probe.target, from, &ack))
            rtt_sample(s->probe.target, s->now - s->probe.start);
        probe_succeed(s);
        return;
    }
    if (s->missed.target && ack.seq == s->missed.seq) {
        if (is_direct(s->missed.target, from, &ack))
            rtt_sample(s->missed.target, s->now - s->missed.start);
        s->missed.target = NULL;
        return;
    }
    for (size_t i = 0; i < s->n_relays; i++) {
        struct msg_ack answer = {s->relays[i].asker_seq, {NULL, 0}};

        if (s->relays[i].seq != ack.seq)
            continue;
        msg_put(&b, ML_ACK, &msg_ack_schema, &answer);
        gossip_send(s, &s->relays[i].asker, span_of(&b));
        strbuf_fini(&b);
        relay_remove(s, i);
        return;
    }
}

void probe_on_nack(struct serf *s, struct span body)
{
    struct mp_scratch scratch = {.used = 0};
    struct msg_nack nack;

    if (!msg_get(body, &msg_nack_schema, &nack, &scratch))
        return;
    if (!s->probe.target || nack.seq != s->probe.seq || s->probe.nacks >= s->probe.nacks_expected)
        return;
    s->probe.nacks++;
    probe_check_hopeless(s);
}

/* ---- being asked ---- */

static void source_or_from(struct gossip_addr *ret, struct span addr, uint16_t port,
                           const struct gossip_addr *from)
{
    if (port == 0 || !gossip_addr_from(ret, addr, port))
        *ret = *from;
}

void probe_on_ping(struct serf *s, const struct gossip_addr *from, struct span body)
{
    struct mp_scratch scratch = {.used = 0};
    struct strbuf payload = STRBUF_INIT, b = STRBUF_INIT;
    struct gossip_addr to;
    struct msg_ping ping;
    struct msg_ack ack;
    struct member *m;

    if (!msg_get(body, &msg_ping_schema, &ping, &scratch))
        return;
    if (ping.node.len && !span_is(ping.node, s->self->name))
        return;
    m = table_find(s, ping.source_node);
    source_or_from(&to, ping.source_addr, ping.source_port, from);
    if (!m || m->pings++ % COORD_EVERY == 0)
        coord_put(&payload, &s->coord.at);
    ack = (struct msg_ack){ping.seq, span_of(&payload)};
    msg_put(&b, ML_ACK, &msg_ack_schema, &ack);
    gossip_send(s, &to, span_of(&b));
    if (ping.node.len)
        region_on_ping(s, ping.source_node, &to);
    strbuf_fini(&payload);
    strbuf_fini(&b);
}

void probe_on_indirect(struct serf *s, const struct gossip_addr *from, struct span body)
{
    struct mp_scratch scratch = {.used = 0};
    struct msg_indirect_ping msg;
    struct gossip_addr target;
    struct strbuf b = STRBUF_INIT;
    const struct member *m;
    struct relay *r;
    int64_t wait;

    if (!msg_get(body, &msg_indirect_ping_schema, &msg, &scratch) || s->n_relays == RELAYS_MAX ||
        !gossip_addr_from(&target, msg.target, msg.port ? msg.port : s->self->addr.port))
        return;
    r = &s->relays[s->n_relays++];
    *r = (struct relay){.seq = ++s->seq, .asker_seq = msg.seq};
    source_or_from(&r->asker, msg.source_addr, msg.source_port, from);
    /*
     * A little before our own timeout, so that the nack is not too late (7.5): the asker may know
     * a shorter way than we do, and an ack that comes after the nack is passed on all the same.
     */
    m = table_find(s, msg.node);
    if (m && gossip_addr_eq(&m->addr, &target)) /* maybe we reach it another way than the asker */
        target = *member_reach(m);
    wait = m && m->rtt > 0 ? timeout_of(s, m) : s->o.probe_timeout / TIMEOUT_SPREAD;
    r->nack_at = msg.nack ? s->now + wait * 4 / 5 : NEVER;
    r->expires = s->now + s->o.probe_timeout + s->o.probe_interval;
    core_arm(s, T_RELAY, MIN(r->nack_at, r->expires));
    probe_put_ping(s, &b, r->seq, msg.node);
    gossip_send(s, &target, span_of(&b));
    strbuf_fini(&b);
}

static void relay_send_nack(struct serf *s, struct relay *r)
{
    struct msg_nack nack = {r->asker_seq};
    struct strbuf b = STRBUF_INIT;

    msg_put(&b, ML_NACK, &msg_nack_schema, &nack);
    gossip_send(s, &r->asker, span_of(&b));
    strbuf_fini(&b);
    r->nack_at = NEVER;
}

void probe_relay_due(struct serf *s)
{
    for (size_t i = s->n_relays; i-- > 0;) {
        struct relay *r = &s->relays[i];

        if (r->nack_at <= s->now)
            relay_send_nack(s, r);
        if (r->expires <= s->now)
            relay_remove(s, i);
        else
            core_arm(s, T_RELAY, MIN(r->nack_at, r->expires));
    }
}
