/* SPDX-License-Identifier: MPL-2.0 */
/* Streams: push/pull as asker and as answerer, joins, TCP pings (section 5). */
#include "serfd_core_int.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SYNC_ROUNDS      3
#define SYNC_WAIT_MIN    (50 * NS_PER_MS)
#define SYNC_WAIT_SPREAD (250 * NS_PER_MS)

/* ---- writing ---- */

static void put_node(struct strbuf *out, const struct member *m)
{
    struct msg_state_node node = {
        .name = SPAN_STR(m->name),
        .addr = {m->addr.ip, m->addr.ip_len},
        .meta = member_meta(m),
        .vsn = {m->vsn, sizeof(m->vsn)},
        .inc = m->inc,
        .state = (int64_t)m->state,
        .port = m->addr.port,
    };

    mp_put_struct(out, &msg_state_node_schema, &node);
}

/* wall: told as well, 0 = not. */
static void put_state(struct serf *s, struct strbuf *out, bool join, int64_t wall)
{
    struct msg_state_head head = {.nodes = (int64_t)s->n_list, .join = join};
    struct strbuf user = STRBUF_INIT;

    serf_put_state(s, &user, wall);
    head.user_len = (int64_t)user.len;
    msg_put(out, ML_PUSH_PULL, &msg_state_head_schema, &head);
    for (size_t i = 0; i < s->n; i++) {
        if (s->tab[i]->in_list)
            put_node(out, s->tab[i]);
    }
    strbuf_add(out, user.data, user.len);
    strbuf_fini(&user);
}

/* ---- dialling ---- */

uint64_t exchange_dial(struct serf *s, enum dial_kind kind, const struct gossip_addr *addr,
                       uint64_t user_id, struct span msg, int64_t timeout_ns)
{
    struct strbuf packed = STRBUF_INIT;
    struct serf_effect *fx;
    struct dial *d;

    if (s->n_dials == SERF_DIALS_MAX)
        return 0;
    d = &s->dials[s->n_dials++];
    *d = (struct dial){.id = s->next_dial++, .user_id = user_id, .kind = kind, .addr = *addr};
    fx = core_effect(s, SERF_FX_DIAL, core_compress(s, &packed, msg));
    fx->id = d->id;
    fx->addr = *addr;
    fx->timeout_ns = timeout_ns;
    strbuf_fini(&packed);
    return d->id;
}

static uint64_t dial_state(struct serf *s, enum dial_kind kind, const struct gossip_addr *addr,
                           uint64_t user_id)
{
    struct strbuf b = STRBUF_INIT;
    bool join = kind != DIAL_SYNC;
    uint64_t id;

    put_state(s, &b, join, 0);
    id = exchange_dial(s, kind, addr, user_id, span_of(&b), s->o.tcp_timeout);
    strbuf_fini(&b);
    return id;
}

/* A push/pull that tells of nobody: the answer shows who is there. */
static uint64_t dial_look(struct serf *s, enum dial_kind kind, const struct gossip_addr *addr,
                          uint64_t user_id, bool attach)
{
    struct msg_state_head head = {.join = true};
    struct strbuf b = STRBUF_INIT;
    uint64_t id;

    msg_put(&b, ML_PUSH_PULL, &msg_state_head_schema, &head);
    id = exchange_dial(s, kind, addr, user_id, span_of(&b), s->o.tcp_timeout);
    if (id) {
        s->dials[s->n_dials - 1].look = true;
        s->dials[s->n_dials - 1].attach = attach;
    }
    strbuf_fini(&b);
    return id;
}

uint64_t exchange_look(struct serf *s, const struct gossip_addr *addr)
{
    return dial_look(s, DIAL_CHECK, addr, 0, false);
}

/*
 * Whoever must not mix looks before it speaks: a pool without our rules (Nomad's) takes in whatever
 * comes, and would have us for a member that we are not.
 */
static uint64_t dial_join(struct serf *s, enum dial_kind kind, const struct gossip_addr *addr,
                          uint64_t user_id, bool attach)
{
    if (region_detached(s) || (s->o.guard && s->o.guard->federation[0]))
        return dial_look(s, kind, addr, user_id, attach);
    return dial_state(s, kind, addr, user_id);
}

bool exchange_joining(const struct serf *s)
{
    for (size_t i = 0; i < s->n_dials; i++) {
        if (s->dials[i].kind == DIAL_JOIN)
            return true;
    }
    return false;
}

int exchange_join(struct serf *s, const struct gossip_addr *addr, uint64_t user_id, bool attach)
{
    if (core_leaving(s))
        return -ESHUTDOWN;
    if (!guard_allows(s->o.guard, addr))
        return -EACCES;
    return dial_join(s, DIAL_JOIN, addr, user_id, attach) ? 0 : -EBUSY;
}

void exchange_periodic(struct serf *s)
{
    int64_t mult = s->n_list <= 32 ? 1 : (int64_t)ceil(log2((double)s->n_list) - 5) + 1;
    struct member *m;

    core_arm(s, T_PUSH_PULL, s->now + s->o.push_pull_interval * mult);
    if (!core_leaving(s) && table_pick(s, 1, pick_alive, &m) == 1)
        (void)dial_state(s, DIAL_SYNC, member_reach(m), 0);
}

/*
 * New members were learned: compare notes with a few others soon, gossip alone may lose some. The
 * first is the next in the order of names: so nobody is left out, chance does not matter.
 */
void exchange_sync(struct serf *s)
{
    struct member *m = s->self;

    if (s->sync_rounds == 0 || core_leaving(s))
        return;
    if (s->sync_rounds == SYNC_ROUNDS)
        m = table_next_usable(s, s->self);
    if (m != s->self || table_pick(s, 1, pick_alive, &m) == 1)
        (void)dial_state(s, DIAL_SYNC, member_reach(m), 0);
    if (--s->sync_rounds > 0)
        core_arm(s, T_SYNC, s->now + SYNC_WAIT_MIN + core_random_part(s, 2 * SYNC_WAIT_SPREAD));
}

void exchange_sync_soon(struct serf *s)
{
    /* In large pools only some do: the amount of exchanges must not grow with n * n. */
    if (!s->o.sync_on_join || prng_below(&s->prng, MAX(s->n_list, (size_t)1)) >= 128)
        return;
    s->sync_rounds = SYNC_ROUNDS;
    core_arm(s, T_SYNC, s->now + SYNC_WAIT_MIN + core_random_part(s, SYNC_WAIT_SPREAD));
}

static bool is_failed(const struct serf *s, const struct member *m)
{
    (void)s;
    return m->in_serf && m->status == SERF_FAILED;
}

/* 10.8 */
void exchange_reconnect(struct serf *s)
{
    size_t failed = 0, left = 0, all = 0;
    struct member *m;

    core_arm(s, T_RECONNECT, s->now + s->o.reconnect_interval);
    for (size_t i = 0; i < s->n; i++) {
        all += s->tab[i]->in_serf;
        failed += is_failed(s, s->tab[i]);
        left += s->tab[i]->in_serf && s->tab[i]->status == SERF_LEFT;
    }
    if (failed == 0 || core_leaving(s))
        return;
    if (prng_double(&s->prng) > (double)failed / (double)MAX(all - failed - left, (size_t)1))
        return;
    if (table_pick(s, 1, is_failed, &m) == 1)
        (void)dial_join(s, DIAL_RECONNECT, member_reach(m), 0, false);
}

/* ---- merging (5.4) ---- */

struct remote_state {
    struct msg_state_node *nodes;
    size_t n;
    struct mp_scratch *scratch; /* one for all nodes */
    struct span user;
    bool join;
};

static void remote_state_fini(struct remote_state *st)
{
    free(st->nodes);
    free(st->scratch);
}

static bool remote_state_read(struct span msg, struct remote_state *ret)
{
    struct mp_reader r = {msg.p + 1, msg.p + msg.len};
    struct msg_state_head head;

    *ret = (struct remote_state){.scratch = xcalloc(1, sizeof(*ret->scratch))};
    if (mp_get_struct(&r, &msg_state_head_schema, &head, ret->scratch) || head.nodes < 0 ||
        head.nodes > STREAM_NODES_MAX || head.user_len < 0)
        return false;
    ret->join = head.join;
    /* Each node takes more than one byte: a short message cannot ask for a large array. */
    if (head.nodes > r.end - r.p)
        return false;
    ret->nodes = xcalloc((size_t)head.nodes + 1, sizeof(*ret->nodes));
    for (int64_t i = 0; i < head.nodes; i++) {
        if (mp_get_struct(&r, &msg_state_node_schema, &ret->nodes[i], ret->scratch))
            return false;
        ret->n++;
    }
    if (head.user_len > r.end - r.p)
        return false;
    ret->user = (struct span){r.p, (size_t)head.user_len};
    return true;
}

struct version_range {
    unsigned pmin, pmax, dmin, dmax;
};

static void range_cut(struct version_range *v, const uint8_t *vsn, size_t len)
{
    if (len < 5)
        return;
    v->pmin = MAX(v->pmin, vsn[0]);
    v->pmax = MIN(v->pmax, vsn[1]);
    v->dmin = MAX(v->dmin, vsn[3]);
    v->dmax = MIN(v->dmax, vsn[4]);
}

static bool range_holds(const struct version_range *v, const uint8_t *vsn, size_t len)
{
    unsigned p = len >= 6 ? vsn[2] : 0, d = len >= 6 ? vsn[5] : 0;

    return p >= v->pmin && p <= v->pmax && d >= v->dmin && d <= v->dmax;
}

/* Step 1: is there a common version? NULL, or the name of the one that does not fit. */
static bool versions_fit(const struct serf *s, const struct remote_state *st, struct span *ret_who)
{
    struct version_range v = {0, UINT8_MAX, 0, UINT8_MAX};

    for (size_t i = 0; i < st->n; i++) {
        if (st->nodes[i].state == NODE_ALIVE)
            range_cut(&v, st->nodes[i].vsn.p, st->nodes[i].vsn.len);
    }
    for (size_t i = 0; i < s->n; i++) {
        if (s->tab[i]->in_list && s->tab[i]->state == NODE_ALIVE)
            range_cut(&v, s->tab[i]->vsn, 6);
    }
    for (size_t i = 0; i < st->n; i++) {
        *ret_who = st->nodes[i].name;
        if (!range_holds(&v, st->nodes[i].vsn.p, st->nodes[i].vsn.len))
            return false;
    }
    for (size_t i = 0; i < s->n; i++) {
        *ret_who = SPAN_STR(s->tab[i]->name);
        if (s->tab[i]->in_list && !range_holds(&v, s->tab[i]->vsn, 6))
            return false;
    }
    return true;
}

/* Before a join: is anybody there whom we refuse, or do two raft groups use one region's name? */
static int guard_merge(const struct serf *s, const struct remote_state *st, struct errtext *e)
{
    struct guard_subject self = nodes_subject(s->self);
    struct guard_groups known = {.n = 0};
    int r = 0;

    guard_groups_add(&known, &self);
    for (size_t i = 0; i < s->n; i++) {
        struct guard_subject m = nodes_subject(s->tab[i]);

        if (member_usable(s->tab[i]))
            guard_groups_add(&known, &m);
    }
    for (size_t i = 0; r == 0 && i < st->n; i++) {
        const struct msg_state_node *n = &st->nodes[i];
        struct guard_subject m = {n->name, n->meta, {.port = n->port}};

        if (!state_node_lives(n) || span_is(n->name, s->self->name) ||
            !gossip_addr_from(&m.addr, n->addr, n->port))
            continue;
        r = guard_check(s->o.guard, &self, &m, e);
        if (r == -ESTALE) /* left out by nodes_alive() */
            r = 0;
        else if (r == 0)
            r = guard_groups_check(&known, &m, e);
    }
    return r;
}

static int merge_check(const struct serf *s, const struct remote_state *st, struct errtext *e)
{
    struct errtext why;
    struct span who;

    if (!versions_fit(s, st, &who))
        return err_set(e, -EPROTONOSUPPORT, "member '%.*s' speaks no common protocol version",
                       (int)who.len, (const char *)who.p);
    for (size_t i = 0; st->join && s->o.nomad_filter && i < st->n; i++) {
        who = st->nodes[i].name;
        if (tags_check_nomad(st->nodes[i].meta, &why))
            return err_set(e, -EINVAL, "member '%.*s' %s", (int)who.len, (const char *)who.p,
                           why.text);
    }
    return st->join ? guard_merge(s, st, e) : 0;
}

static int merge_state(struct serf *s, const struct remote_state *st, struct errtext *e)
{
    struct span me = SPAN_STR(s->self->name);
    int r = merge_check(s, st, e);

    if (r)
        return r;
    for (size_t i = 0; i < st->n; i++) /* before those who left are taken for gone */
        region_learn(s, st->nodes[i].meta);
    for (size_t i = 0; i < st->n; i++) {
        const struct msg_state_node *n = &st->nodes[i];
        struct node_claim c = {n->name, n->meta, n->vsn, n->addr, n->port, n->inc};

        if (n->state == NODE_ALIVE)
            nodes_alive(s, &c);
        else if (n->state == NODE_LEFT)
            nodes_dead(s, n->name, n->inc, n->name);
        else
            nodes_suspect(s, n->name, n->inc, me); /* never believed at once */
    }
    if (st->user.len)
        serf_merge_state(s, st->user, st->join);
    return 0;
}

/* ---- answering ---- */

static void answer_err(struct serf *s, struct strbuf *out, const char *text)
{
    struct msg_err err = {SPAN_STR(text)};

    (void)s;
    msg_put(out, ML_ERR, &msg_err_schema, &err);
}

static void stream_ping(struct serf *s, struct span body, struct strbuf *answer)
{
    struct mp_scratch scratch = {.used = 0};
    struct msg_ping ping;
    struct msg_ack ack;

    if (!msg_get(body, &msg_ping_schema, &ping, &scratch))
        return;
    if (ping.node.len && !span_is(ping.node, s->self->name))
        return;
    ack = (struct msg_ack){ping.seq, {NULL, 0}};
    msg_put(answer, ML_ACK, &msg_ack_schema, &ack);
}

static void stream_user(struct serf *s, const struct serf_event *ev, struct span body)
{
    struct mp_reader r = mp_reader_of(body);
    struct mp_scratch scratch = {.used = 0};
    struct msg_user_head head;

    if (mp_get_struct(&r, &msg_user_head_schema, &head, &scratch) || head.len < 0 ||
        head.len > r.end - r.p)
        return;
    serf_on_message(s, &ev->addr, (struct span){r.p, (size_t)head.len});
}

static void stream_push_pull(struct serf *s, const struct serf_event *ev, struct span msg,
                             struct strbuf *answer)
{
    char from[GOSSIP_ADDR_TEXT_MAX];
    struct remote_state st;
    struct errtext e;
    int r;

    if (!remote_state_read(msg, &st)) {
        core_note(s, LOG_WARN, "state exchange dropped: it is broken from=%s",
                  gossip_addr_text(&ev->addr, from));
    } else if (!region_takes(s, st.nodes, st.n, &e)) {
        answer_err(s, answer, e.text);
    } else {
        /* Before any check, as every peer does (5.3). Who tells of nobody only looks. */
        put_state(s, answer, st.join, st.n == 0 ? s->wall : 0);
        r = merge_state(s, &st, &e);
        if (r)
            core_note(s, LOG_WARN, "state exchange refused: %s from=%s", e.text,
                      gossip_addr_text(&ev->addr, from));
        if (r == -EPERM) { /* who does not know our rules would take us in, and never be a member */
            strbuf_reset(answer);
            answer_err(s, answer, e.text);
        }
    }
    remote_state_fini(&st);
}

/* Somebody looked at us and will not have us. */
static void stream_err(struct serf *s, const struct serf_event *ev, struct span body)
{
    struct mp_scratch scratch = {.used = 0};
    char from[GOSSIP_ADDR_TEXT_MAX];
    struct msg_err err;

    if (msg_get(body, &msg_err_schema, &err, &scratch))
        core_note(s, LOG_WARN, "refused by a peer: %.*s from=%s",
                  (int)MIN(err.error.len, (size_t)ERRTEXT_MAX), (const char *)err.error.p,
                  gossip_addr_text(&ev->addr, from));
}

static void refuse_address(struct serf *s, const struct gossip_addr *from, struct strbuf *answer)
{
    char text[GOSSIP_ADDR_TEXT_MAX];
    struct errtext e;

    (void)err_set(&e, 0, "join_allow of '%s' leaves %s out", s->self->name,
                  gossip_addr_text(from, text));
    core_note(s, LOG_WARN, "stream refused: %s", e.text);
    answer_err(s, answer, e.text);
}

void exchange_on_stream(struct serf *s, const struct serf_event *ev)
{
    struct strbuf room = STRBUF_INIT, answer = STRBUF_INIT, packed = STRBUF_INIT;
    struct span msg = {NULL, 0};
    struct serf_effect *fx;
    int r = stream_unwrap(ev->data, &room, &msg);

    if (!guard_allows(s->o.guard, &ev->addr)) {
        refuse_address(s, &ev->addr, &answer);
    } else if (r) {
        if (r == -EPROTONOSUPPORT)
            answer_err(s, &answer, "Unknown compression algorithm");
    } else if (msg.len == 0) {
        core_note(s, LOG_WARN, "empty stream message");
    } else {
        struct span body = {msg.p + 1, msg.len - 1};

        if (msg.p[0] == ML_PING)
            stream_ping(s, body, &answer);
        else if (msg.p[0] == ML_PUSH_PULL)
            stream_push_pull(s, ev, msg, &answer);
        else if (msg.p[0] == ML_USER)
            stream_user(s, ev, body);
        else if (msg.p[0] == ML_ERR)
            stream_err(s, ev, body);
    }
    msg = span_of(&answer);
    fx = core_effect(s, SERF_FX_ANSWER, core_compress(s, &packed, msg));
    fx->id = ev->id;
    strbuf_fini(&room);
    strbuf_fini(&packed);
    strbuf_fini(&answer);
}

/* ---- what came back from a dial ---- */

/* The state that was answered is merged, or (look) only judged. */
static int answer_take(struct serf *s, const struct dial *d, struct span data, struct errtext *e)
{
    struct strbuf room = STRBUF_INIT;
    struct mp_scratch scratch = {.used = 0};
    struct span msg = {NULL, 0};
    struct remote_state st;
    struct msg_err err;
    int r = stream_unwrap(data, &room, &msg);

    if (r || msg.len == 0) {
        r = err_set(e, -EBADMSG, "its answer is broken");
    } else if (msg.p[0] == ML_ERR &&
               msg_get((struct span){msg.p + 1, msg.len - 1}, &msg_err_schema, &err, &scratch)) {
        r = err_set(e, -EREMOTEIO, "remote error: %.*s", (int)MIN(err.error.len, (size_t)256),
                    (const char *)err.error.p);
    } else if (msg.p[0] != ML_PUSH_PULL) {
        r = err_set(e, -EBADMSG, "its answer is of an unknown kind");
    } else {
        if (!remote_state_read(msg, &st))
            r = err_set(e, -EBADMSG, "its answer is broken");
        else
            r = d->look ? merge_check(s, &st, e) : merge_state(s, &st, e);
        if (r == 0 && d->look)
            r = region_may_join(s, st.nodes, st.n, d->attach, e);
        remote_state_fini(&st);
    }
    strbuf_fini(&room);
    return r;
}

static void joined(struct serf *s, const struct dial *d, int r, const char *text)
{
    struct serf_effect *fx;

    if (r == 0 && !core_leaving(s)) /* it would take our leave intent back */
        serf_announce_join(s);
    fx = core_effect(s, SERF_FX_JOINED, (struct span){(const uint8_t *)text, strlen(text) + 1});
    fx->id = d->user_id;
    fx->addr = d->addr;
    fx->err = r;
}

/*
 * That our data belong to another group than those under our region's name is for an operator to
 * see until it is mended; whoever joins finds out, whoever is joined goes on undisturbed.
 */
static void note_conflict(struct serf *s, const struct dial *d, int r, const struct errtext *e)
{
    char addr[GOSSIP_ADDR_TEXT_MAX];

    if (r == -EXDEV) {
        (void)snprintf(s->conflict, sizeof(s->conflict), "%s", e->text);
        s->conflict_addr = d->addr;
    } else if (r == 0 && gossip_addr_eq(&s->conflict_addr, &d->addr)) {
        s->conflict[0] = 0;
    }
    if (d->kind == DIAL_JOIN && (r == -EXDEV || r == -EPERM || r == -EREMOTEIO))
        core_note(s, LOG_WARN, "join refused: %s to=%s", e->text, gossip_addr_text(&d->addr, addr));
}

/* So that the log there says it, too. */
static void tell_refusal(struct serf *s, const struct dial *d, const struct errtext *e)
{
    struct strbuf b = STRBUF_INIT;

    answer_err(s, &b, e->text);
    (void)exchange_dial(s, DIAL_TELL, &d->addr, 0, span_of(&b), s->o.tcp_timeout);
    strbuf_fini(&b);
}

/* A member that lives has this address: what we join is our own pool. */
static bool is_own_pool(const struct serf *s, const struct gossip_addr *addr)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct member *m = s->tab[i];

        if (m != s->self && member_usable(m) &&
            (gossip_addr_eq(&m->addr, addr) || gossip_addr_eq(member_reach(m), addr)))
            return true;
    }
    return false;
}

/* ---- a check ---- */

static void view_members(const struct serf *s, const struct remote_state *st, struct check_view *v,
                         struct errtext *why)
{
    struct mp_scratch scratch = {.used = 0};
    struct msg_serf_state user;

    if (versions_fit(s, st, &v->misfit))
        v->misfit = (struct span){NULL, 0};
    for (size_t i = 0; i < st->n && !why->text[0]; i++) {
        if (tags_check_nomad(st->nodes[i].meta, why))
            (void)err_prefix(why, -EINVAL, "member '%.*s'", (int)MIN(st->nodes[i].name.len, 64u),
                             (const char *)st->nodes[i].name.p);
    }
    if (st->user.len > 1 && msg_get((struct span){st->user.p + 1, st->user.len - 1},
                                    &msg_serf_state_schema, &user, &scratch))
        v->wall = (int64_t)MIN(user.wall, (uint64_t)INT64_MAX);
    v->nodes = st->nodes;
    v->n = st->n;
    v->stranger = why->text;
}

static void dialed_check(struct serf *s, const struct dial *d, const struct serf_event *ev)
{
    struct check_view v = {.err = ev->err, .error = ev->data, .stranger = ""};
    struct mp_scratch scratch = {.used = 0};
    struct strbuf room = STRBUF_INIT;
    struct remote_state st = {.n = 0};
    struct span msg = {NULL, 0};
    struct errtext why = {""};
    struct msg_err err;

    if (v.err == 0 && (stream_unwrap(ev->data, &room, &msg) || msg.len == 0))
        v.err = -EBADMSG;
    if (v.err == 0 && msg.p[0] == ML_ERR &&
        msg_get((struct span){msg.p + 1, msg.len - 1}, &msg_err_schema, &err, &scratch)) {
        v.err = -EREMOTEIO;
        v.error = err.error;
    } else if (v.err == 0 && (msg.p[0] != ML_PUSH_PULL || !remote_state_read(msg, &st))) {
        v.err = -EBADMSG;
    } else if (v.err == 0) {
        view_members(s, &st, &v, &why);
    }
    if (v.err == -EBADMSG)
        v.error = SPAN_STR("its answer is broken");
    check_on_answer(s, d->id, &v);
    remote_state_fini(&st);
    strbuf_fini(&room);
}

static void dialed_state(struct serf *s, const struct dial *d, const struct serf_event *ev)
{
    char addr[GOSSIP_ADDR_TEXT_MAX];
    struct errtext e = {""};
    int r = ev->err;

    if (r)
        (void)err_set(&e, r, "%s",
                      r == -EKEYREJECTED ? "the gossip keys of both sides do not match"
                                         : strerror(-r));
    /* In our own pool (retry_join found it by gossip meanwhile) events are on their way to us. */
    s->ignore_old_events = d->kind == DIAL_JOIN && !is_own_pool(s, &d->addr);
    if (r == 0)
        r = answer_take(s, d, ev->data, &e);
    s->ignore_old_events = false;
    if (d->look && r == 0) {
        if (dial_state(s, d->kind, &d->addr, d->user_id))
            return;
        r = err_set(&e, -EBUSY, "too many joins at a time");
    } else if (d->look && (r == -EPERM || r == -EXDEV)) {
        tell_refusal(s, d, &e);
    }
    if (d->kind != DIAL_SYNC)
        note_conflict(s, d, r, &e);
    if (d->kind == DIAL_JOIN)
        joined(s, d, r, e.text);
    else if (r)
        core_note(s, LOG_WARN, "state exchange failed: %s to=%s", e.text,
                  gossip_addr_text(&d->addr, addr));
}

void exchange_on_dialed(struct serf *s, const struct serf_event *ev)
{
    struct dial d;
    struct strbuf room = STRBUF_INIT;
    struct span msg = {NULL, 0};
    size_t i = 0;

    while (i < s->n_dials && s->dials[i].id != ev->id)
        i++;
    if (i == s->n_dials)
        return;
    d = s->dials[i];
    s->dials[i] = s->dials[--s->n_dials];
    if (d.kind == DIAL_TELL)
        return;
    if (d.kind == DIAL_CHECK) {
        dialed_check(s, &d, ev);
        return;
    }
    if (d.kind != DIAL_PING) {
        dialed_state(s, &d, ev);
        return;
    }
    if (ev->err == 0)
        (void)stream_unwrap(ev->data, &room, &msg);
    probe_on_dialed(s, &d, ev->err, msg);
    strbuf_fini(&room);
}
