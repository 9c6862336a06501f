/* SPDX-License-Identifier: MPL-2.0 */
/*
 * memberlist's rules about who is alive (section 6):
 *
 *              alive                    suspect              suspicion timer, dead
 *   unknown ----------> ALIVE <-------------------> SUSPECT -----------------------> DEAD
 *                         ^  \        refutation                                      |
 *                         |   \---- dead from itself ----> LEFT                       |
 *                         +---------------------------------+---- alive, higher inc --+
 */
#include "serfd_core_int.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define LOOKERS 24

/* Every change of a node's state passes here. */
static void node_set_state(struct serf *s, struct member *m, enum node_state state)
{
    static const bool allowed[4][4] = {
        [NODE_ALIVE] =
            {[NODE_ALIVE] = true, [NODE_SUSPECT] = true, [NODE_DEAD] = true, [NODE_LEFT] = true},
        [NODE_SUSPECT] = {[NODE_ALIVE] = true, [NODE_DEAD] = true, [NODE_LEFT] = true},
        [NODE_DEAD] = {[NODE_ALIVE] = true},
        [NODE_LEFT] = {[NODE_ALIVE] = true},
    };

    assert(allowed[m->state][state]);
    if (m->state != state)
        m->changed = s->now;
    m->state = state;
}

/* ---- messages about a node ---- */

static void queue_accusation(struct serf *s, enum ml_type type, const struct member *m,
                             uint32_t inc, struct span from)
{
    struct msg_accuse msg = {inc, SPAN_STR(m->name), from};
    struct strbuf b = STRBUF_INIT;

    msg_put(&b, type, &msg_accuse_schema, &msg);
    (void)gossip_queue(s, &s->nodes_q, m->name, span_of(&b));
    strbuf_fini(&b);
}

static void put_alive(struct strbuf *out, const struct member *m)
{
    struct msg_alive msg = {
        .inc = m->inc,
        .node = SPAN_STR(m->name),
        .addr = {m->addr.ip, m->addr.ip_len},
        .meta = member_meta(m),
        .vsn = {m->vsn, sizeof(m->vsn)},
        .port = m->addr.port,
    };

    msg_put(out, ML_ALIVE, &msg_alive_schema, &msg);
}

static void nodes_announce(struct serf *s, struct member *m)
{
    struct strbuf b = STRBUF_INIT;

    put_alive(&b, m);
    (void)gossip_queue(s, &s->nodes_q, m->name, span_of(&b));
    strbuf_fini(&b);
}

void nodes_tell_self(struct serf *s, const struct gossip_addr *to)
{
    struct strbuf b = STRBUF_INIT;
    struct span msg;

    put_alive(&b, s->self);
    msg = span_of(&b);
    gossip_send_plain(s, to, NULL, &msg, 1);
    strbuf_fini(&b);
}

uint64_t nodes_say_goodbye(struct serf *s)
{
    queue_accusation(s, ML_DEAD, s->self, s->self->inc, SPAN_STR(s->self->name));
    node_set_state(s, s->self, NODE_LEFT);
    return s->nodes_q.next_id - 1;
}

/* 6.4: somebody says something wrong about us. */
static void refute(struct serf *s, uint32_t accused_inc)
{
    uint32_t next = s->self->inc + 1;

    if (accused_inc >= next)
        next = accused_inc == UINT32_MAX ? UINT32_MAX : accused_inc + 1;
    s->self->inc = next;
    probe_score(s, 1);
    nodes_announce(s, s->self);
    core_note(s, LOG_DEBUG, "refuting a claim about this node claimed_inc=%u inc=%u", accused_inc,
              next);
}

/* One message to one member, by its name. */
static void tell(struct serf *s, struct span name, const struct strbuf *b)
{
    const struct member *m = table_find(s, name);
    struct span msg = span_of(b);

    if (m && m != s->self && member_usable(m))
        gossip_send_plain(s, member_reach(m), m, &msg, 1);
}

/*
 * Who still accuses us with an incarnation that we have refuted has missed the refutation: gossip
 * reaches nearly all, not all. He gets it straight from us, or he will call us failed.
 */
static void tell_alive(struct serf *s, struct span accuser)
{
    struct strbuf b = STRBUF_INIT;

    if (core_leaving(s))
        return;
    put_alive(&b, s->self);
    tell(s, accuser, &b);
    strbuf_fini(&b);
}

/*
 * Who still suspects a member that is dead here has missed that word, and nobody confirms his
 * suspicion any more. In large pools only some tell him, as with look_out_of_turn().
 */
static void tell_dead(struct serf *s, const struct member *m, struct span accuser)
{
    struct msg_accuse msg = {m->inc, SPAN_STR(m->name), SPAN_STR(s->self->name)};
    struct strbuf b = STRBUF_INIT;

    if (prng_below(&s->prng, MAX(s->n_list, (size_t)1)) >= LOOKERS)
        return;
    msg_put(&b, ML_DEAD, &msg_accuse_schema, &msg);
    tell(s, accuser, &b);
    strbuf_fini(&b);
}

/* ---- suspicion (7.3) ---- */

static void suspicion_cancel(struct member *m)
{
    struct suspicion *sus = m->suspicion;

    if (!sus)
        return;
    for (unsigned i = 0; i <= sus->n; i++)
        free(sus->from[i]);
    free(sus);
    m->suspicion = NULL;
}

static int64_t suspicion_end(const struct suspicion *sus)
{
    double frac, t;

    if (sus->refused || sus->k < 1)
        return sus->start + sus->min;
    frac = log((double)sus->n + 1) / log((double)sus->k + 1);
    t = (double)sus->max - (double)(sus->max - sus->min) * frac;
    t = floor(t / NS_PER_MS) * NS_PER_MS;
    return sus->start + MAX(sus->min, (int64_t)t);
}

static void suspicion_arm(struct serf *s, const struct suspicion *sus)
{
    core_arm(s, T_SUSPICION, MAX(s->now, MIN(sus->ask_at, suspicion_end(sus))));
}

static bool suspicion_has(const struct suspicion *sus, struct span from)
{
    for (unsigned i = 0; i <= sus->n; i++) {
        if (span_is(from, sus->from[i]))
            return true;
    }
    return false;
}

static void suspicion_start(struct serf *s, struct member *m, struct span from)
{
    struct suspicion *sus = xcalloc(1, sizeof(*sus));
    double scale = fmax(1, log10((double)MAX(s->n_list, (size_t)1)));
    unsigned k = s->o.suspicion_mult > 2 ? s->o.suspicion_mult - 2 : 0;

    scale = floor(scale * 1000) / 1000;
    k = MIN(k, (unsigned)CONFIRMERS_MAX);
    if (s->n_list < 2 + (size_t)k)
        k = 0;
    sus->start = s->now;
    sus->min = (int64_t)(s->o.suspicion_mult * scale * (double)s->o.probe_interval) +
               (int64_t)(4e9 * (double)m->rtt); /* the word goes there and back, twice */
    sus->max = s->o.suspicion_max_mult * sus->min;
    sus->k = k;
    sus->from[0] = xstrndup((const char *)from.p, from.len);
    m->suspicion = sus;
    sus->ask_at = sus->start + sus->min;
    suspicion_arm(s, sus);
}

/*
 * Our own probe was refused by the host and all helpers had no answer either: there is no process
 * that could refute. It only gets the time that a restart takes to come back.
 */
void nodes_refused(struct serf *s, struct member *m)
{
    if (!m->suspicion)
        return;
    m->suspicion->refused = true;
    m->suspicion->min = MIN(m->suspicion->min, s->o.probe_interval * 7 / 4);
    suspicion_arm(s, m->suspicion);
}

/* Is `from` a new confirmation that counts? */
static bool suspicion_confirm(struct serf *s, struct member *m, struct span from)
{
    struct suspicion *sus = m->suspicion;

    if (sus->n >= sus->k)
        return false;
    if (suspicion_has(sus, from))
        return false;
    sus->from[++sus->n] = xstrndup((const char *)from.p, from.len);
    suspicion_arm(s, sus);
    return true;
}

/*
 * The time that confirmed suspicions take is over, and this one is not confirmed: others know it is
 * dead and tell who still suspects, or they have missed that we do. So we say it again.
 */
static void suspicion_ask(struct serf *s, const struct member *m)
{
    struct suspicion *sus = m->suspicion;
    struct span me = SPAN_STR(s->self->name);

    if (sus->ask_at > s->now)
        return;
    sus->ask_at = s->now + s->o.probe_interval / 2;
    if (suspicion_has(sus, me))
        queue_accusation(s, ML_SUSPECT, m, m->inc, me);
}

void nodes_suspicion_due(struct serf *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct member *m = s->tab[i];

        if (!m->suspicion)
            continue;
        if (suspicion_end(m->suspicion) > s->now) {
            suspicion_ask(s, m);
            suspicion_arm(s, m->suspicion);
            continue;
        }
        core_note(s, LOG_INFO, "suspect member did not answer member=%s confirmations=%u", m->name,
                  m->suspicion->n);
        nodes_dead(s, SPAN_STR(m->name), m->inc, SPAN_STR(s->self->name));
    }
}

void nodes_postpone(struct serf *s, int64_t late)
{
    s->at[T_SUSPICION] = NEVER;
    for (size_t i = 0; i < s->n; i++) {
        struct suspicion *sus = s->tab[i]->suspicion;

        if (!sus)
            continue;
        sus->start += late;
        sus->ask_at += late;
        suspicion_arm(s, sus);
    }
}

/* ---- alive ---- */

static bool claim_vsn_valid(struct span vsn)
{
    return vsn.len < 3 || (vsn.p[0] != 0 && vsn.p[1] != 0 && vsn.p[0] <= vsn.p[1]);
}

static bool name_valid(struct span name)
{
    return name.len > 0 && name.len <= SERF_NAME_MAX && !memchr(name.p, 0, name.len);
}

struct guard_subject nodes_subject(const struct member *m)
{
    return (struct guard_subject){SPAN_STR(m->name), member_meta(m), m->addr};
}

/* Strangers are turned away here, however their claim came; what others say of us is not judged. */
static bool claim_is_strange(struct serf *s, const struct node_claim *c,
                             const struct gossip_addr *addr)
{
    struct guard_subject self = nodes_subject(s->self), m = {c->name, c->meta, *addr};
    struct errtext e;
    int r;

    if (span_is(c->name, s->self->name))
        return false;
    if (region_refuses(s, c->meta))
        return true; /* those we left may not have heard of it yet */
    r = guard_check(s->o.guard, &self, &m, &e);
    if (r)
        core_note(s, r == -ESTALE ? LOG_DEBUG : LOG_WARN, "member refused: %s", e.text);
    return r != 0;
}

/* Steps 2 and 3, and the bounds of every field. */
static bool claim_acceptable(struct serf *s, const struct node_claim *c, struct gossip_addr *ret)
{
    struct errtext e;

    if (!name_valid(c->name) || !claim_vsn_valid(c->vsn) || c->meta.len > SERF_META_MAX ||
        !gossip_addr_from(ret, c->addr, c->port ? c->port : s->self->addr.port))
        return false;
    if (claim_is_strange(s, c, ret))
        return false;
    if (!s->o.nomad_filter)
        return true;
    if (c->vsn.len >= 6 && tags_check_nomad(c->meta, &e) == 0)
        return true;
    core_note(s, LOG_WARN, "member refused: '%.*s' %s", (int)c->name.len, (const char *)c->name.p,
              c->vsn.len < 6 ? "sends no protocol versions" : e.text);
    return false;
}

/* Short version lists are never passed on: they crash old peers (pitfall 1). */
static void claim_vsn(const struct node_claim *c, uint8_t vsn[static 6])
{
    static const uint8_t fallback[6] = {1, 5, 2, 2, 5, 4};

    memcpy(vsn, fallback, sizeof(fallback));
    if (c->vsn.len)
        memcpy(vsn, c->vsn.p, MIN(c->vsn.len, (size_t)6));
}

/* Step 5: another address for a known name. True when the claim must be dropped. */
static bool claim_conflicts(struct serf *s, const struct member *m, const struct gossip_addr *addr)
{
    char ours[GOSSIP_ADDR_TEXT_MAX], theirs[GOSSIP_ADDR_TEXT_MAX];

    if (gossip_addr_eq(&m->addr, addr) || m->state == NODE_LEFT)
        return false;
    core_note(s, LOG_WARN, "%s: member=%s known=%s claimed=%s",
              m == s->self ? "another node uses the name of this one"
                           : "two nodes use one name; keeping the known address",
              m->name, gossip_addr_text(&m->addr, ours), gossip_addr_text(addr, theirs));
    if (m == s->self)
        vote_begin(s);
    return true;
}

static void alive_about_self(struct serf *s, const struct node_claim *c)
{
    uint8_t vsn[6];

    claim_vsn(c, vsn);
    if (c->inc < s->self->inc)
        return;
    if (c->inc == s->self->inc && span_eq(c->meta, member_meta(s->self)) &&
        memcmp(vsn, s->self->vsn, sizeof(vsn)) == 0)
        return;
    refute(s, c->inc);
}

int nodes_set_meta(struct serf *s, struct span meta)
{
    if (meta.len > SERF_META_MAX)
        return -E2BIG;
    if (span_eq(meta, member_meta(s->self)))
        return 0;
    member_set_meta(s, s->self, meta);
    s->o.meta = member_meta(s->self);
    core_changed(s);
    if (core_leaving(s))
        return 0;
    if (s->self->inc < UINT32_MAX)
        s->self->inc++;
    nodes_announce(s, s->self);
    return 0;
}

static struct member *claim_member(struct serf *s, const struct node_claim *c,
                                   const struct gossip_addr *addr)
{
    struct member *m = table_find(s, c->name);

    if (m && m->in_list)
        return m;
    if (c->inc == 0) /* no member says so of itself */
        return NULL;
    if (!m)
        m = table_add(s, c->name);
    if (!m) {
        core_note(s, LOG_WARN, "member refused: more than %d members", SERF_MEMBERS_MAX);
        return NULL;
    }
    m->in_list = true;
    m->state = NODE_DEAD;
    m->inc = 0;
    m->addr = *addr;
    m->changed = s->now;
    s->n_list++;
    probe_learn(s, m);
    return m;
}

void nodes_alive(struct serf *s, const struct node_claim *c)
{
    struct gossip_addr addr;
    struct member *m;
    bool moved, was_gone, meta_changed;

    if (core_leaving(s) && span_is(c->name, s->self->name))
        return;
    if (!claim_acceptable(s, c, &addr))
        return;
    m = claim_member(s, c, &addr);
    if (!m || claim_conflicts(s, m, &addr))
        return;
    if (m == s->self) {
        alive_about_self(s, c);
        return;
    }
    moved = !gossip_addr_eq(&m->addr, &addr);
    if (c->inc <= m->inc && !moved)
        return;
    suspicion_cancel(m);
    was_gone = !member_usable(m);
    meta_changed = !span_eq(c->meta, member_meta(m));
    m->inc = c->inc;
    m->addr = addr;
    if (meta_changed || !m->meta)
        member_set_meta(s, m, c->meta);
    claim_vsn(c, m->vsn);
    node_set_state(s, m, NODE_ALIVE);
    nodes_announce(s, m);
    region_learn(s, c->meta);
    if (!region_has_left(c->meta))
        m->abroad = false;
    if (was_gone)
        serf_node_joined(s, m);
    else if (meta_changed)
        serf_node_updated(s, m);
}

/* ---- suspect and dead ---- */

/*
 * In small pools everybody looks at a suspect out of turn, in large ones so many: confirmations
 * come at once, and so does a refutation, for the ping tells the suspect.
 */
static void look_out_of_turn(struct serf *s, struct member *m)
{
    if (prng_below(&s->prng, MAX(s->n_list, (size_t)1)) < LOOKERS)
        probe_now(s, m);
}

void nodes_suspect(struct serf *s, struct span name, uint32_t inc, struct span from)
{
    struct member *m = table_find(s, name);

    if (!m || !m->in_list || from.len > SERF_NAME_MAX)
        return;
    if (inc < m->inc) {
        if (m == s->self)
            tell_alive(s, from);
        return;
    }
    if (m->suspicion) {
        if (suspicion_confirm(s, m, from))
            queue_accusation(s, ML_SUSPECT, m, inc, from);
        return;
    }
    if (m->state == NODE_DEAD)
        tell_dead(s, m, from);
    if (m->state != NODE_ALIVE)
        return;
    if (m == s->self) {
        refute(s, inc);
        return;
    }
    m->inc = inc;
    queue_accusation(s, ML_SUSPECT, m, inc, from);
    node_set_state(s, m, NODE_SUSPECT);
    suspicion_start(s, m, from);
    look_out_of_turn(s, m);
}

void nodes_dead(struct serf *s, struct span name, uint32_t inc, struct span from)
{
    struct member *m = table_find(s, name);
    bool own_word;

    if (!m || !m->in_list || inc < m->inc || from.len > SERF_NAME_MAX)
        return;
    if (m->state == NODE_DEAD || m->state == NODE_LEFT)
        return;
    if (m == s->self) {
        if (!core_leaving(s))
            refute(s, inc);
        return;
    }
    own_word = span_is(from, m->name);
    if (own_word && m->status != SERF_LEAVING && region_protects(s, m)) {
        /* The region's goodbye to others, maybe; maybe it really goes: it can say so itself. */
        nodes_suspect(s, name, inc, SPAN_STR(s->self->name));
        return;
    }
    suspicion_cancel(m);
    queue_accusation(s, ML_DEAD, m, inc, from);
    m->inc = inc;
    node_set_state(s, m, own_word ? NODE_LEFT : NODE_DEAD);
    serf_node_gone(s, m);
}

static void leave_list(struct serf *s, struct member *m)
{
    suspicion_cancel(m);
    m->in_list = false;
    s->n_list--;
    probe_forget(s, m);
    bcast_remove_key(&s->nodes_q, m->name);
}

void nodes_drop(struct serf *s, struct member *m)
{
    assert(m != s->self && m->in_list);
    leave_list(s, m);
    if (m->in_serf)
        serf_drop(s, m);
    else
        table_drop_unused(s, m);
}

/* 6.6: at the wrap of the probe list. */
void nodes_forget(struct serf *s)
{
    for (size_t i = s->n; i-- > 0;) {
        struct member *m = s->tab[i];

        if (!m->in_list || member_usable(m) || m == s->self ||
            s->now - m->changed <= s->o.gossip_to_dead)
            continue;
        leave_list(s, m);
        table_drop_unused(s, m);
    }
}
