/* SPDX-License-Identifier: MPL-2.0 */
#include <string.h>

#include "test_raft_lib.h"

static const struct raft_group group = {"scenario group 1"};

void tg_init(struct tgroup *g, unsigned voters, unsigned n)
{
    struct raft_config c = {0};
    uint8_t bytes[RAFT_CONFIG_BYTES_MAX];
    uint32_t len;

    assert(n <= TG_MAX && voters <= n);
    memset(g, 0, sizeof(*g));
    g->n = n;
    g->now_ns = NS_PER_SEC;
    for (unsigned id = 1; id <= voters; id++) {
        struct raft_server s = {.id = id, .voter = true};

        raft_config_add(&c, &s);
    }
    len = (uint32_t)raft_config_encode(&c, bytes);
    for (unsigned id = 1; id <= voters; id++) {
        struct tg_server *s = &g->s[id];

        s->term = 1;
        s->log[0] = (struct tg_entry){1, RAFT_ENTRY_CONFIG, raft_buf_copy(bytes, len)};
        s->log_n = 1;
    }
}

static void server_cut(struct tg_server *s, unsigned n)
{
    while (s->log_n > n)
        raft_buf_unref(s->log[--s->log_n].buf);
}

void tg_fini(struct tgroup *g)
{
    tg_drop(g, 0, 0);
    for (unsigned id = 1; id <= g->n; id++) {
        tg_stop(g, id);
        server_cut(&g->s[id], 0);
    }
    strbuf_fini(&g->trace);
}

void tg_log(struct tgroup *g, unsigned id, uint64_t term, const uint64_t *terms)
{
    struct tg_server *s = &g->s[id];

    s->term = term;
    for (; *terms; terms++)
        s->log[s->log_n++] = (struct tg_entry){*terms, RAFT_ENTRY_COMMAND, raft_buf_copy("x", 1)};
}

void tg_start(struct tgroup *g, unsigned id)
{
    struct tg_server *s = &g->s[id];
    struct raft_options opt = g->opt;
    struct raft_event ev = {.type = RAFT_EV_START, .start = {s->applied}};

    opt.id = id;
    opt.seed = id;
    s->r = raft_new(&opt);
    raft_load_hard(s->r, s->term, s->vote);
    if (s->snap.index) {
        raft_load_snapshot(s->r, &s->snap);
        s->applied = MAX(s->applied, s->snap.index);
        ev.start.applied = s->applied;
    }
    for (unsigned i = (unsigned)s->snap.index; i < s->log_n; i++) {
        struct raft_entry e = {.index = i + 1,
                               .term = s->log[i].term,
                               .type = s->log[i].type,
                               .buf = s->log[i].buf,
                               .data = s->log[i].buf ? s->log[i].buf->data : NULL,
                               .len = s->log[i].buf ? s->log[i].buf->len : 0};
        int err = raft_load_entry(s->r, &e);

        assert(err == 0);
    }
    s->up = true;
    tg_step(g, id, &ev);
}

void tg_start_all(struct tgroup *g)
{
    for (unsigned id = 1; id <= g->n; id++)
        tg_start(g, id);
}

void tg_stop(struct tgroup *g, unsigned id)
{
    struct tg_server *s = &g->s[id];

    s->r = raft_free(s->r);
    s->up = false;
    s->out = NULL;
}

/* Mirrors on the "disk" what the core holds in memory: the harness keeps all entries there. */
void tg_persist(struct tgroup *g, unsigned id)
{
    struct tg_server *s = &g->s[id];
    struct raft_event ev = {.type = RAFT_EV_PERSISTED, .persisted = {s->seq}};
    uint64_t last = raft_last_index(s->r);

    s->term = raft_term(s->r);
    s->vote = raft_vote(s->r);
    for (unsigned i = 0; i < s->log_n; i++) {
        if (i + 1 > last || raft_term_at(s->r, i + 1) != s->log[i].term) {
            if (i >= s->snap.index)
                server_cut(s, i);
            break;
        }
    }
    for (uint64_t i = s->log_n + 1; i <= last; i++) {
        const struct raft_entry *e = raft_entry_at(s->r, i);

        assert(s->log_n < TG_LOG);
        if (!e) {
            /* in a snapshot that was installed */
            s->log[s->log_n++] = (struct tg_entry){0};
            continue;
        }
        s->log[s->log_n++] = (struct tg_entry){e->term, e->type, raft_buf_copy(e->data, e->len)};
    }
    tg_step(g, id, &ev);
}

static void group_send(struct tgroup *g, const struct raft_msg *m)
{
    struct strbuf b = STRBUF_INIT;
    int err = raft_wire_encode(m, &group, &b);

    assert(err == 0 && g->msgs_n < TG_MSGS);
    g->msgs[g->msgs_n++] =
        (struct tg_msg){(unsigned)m->from, (unsigned)m->to, raft_buf_copy(b.data, (uint32_t)b.len)};
    strbuf_fini(&b);
}

int tg_step(struct tgroup *g, unsigned id, struct raft_event *ev)
{
    struct tg_server *s = &g->s[id];
    uint64_t seq;
    int err;

    ev->now.ns = g->now_ns;
    err = raft_step(s->r, ev, &s->out);
    s->notice |= s->out->notice;
    seq = s->out->seq;
    if (seq)
        s->seq = seq;
    for (unsigned i = 0; i < s->out->msgs_n; i++)
        group_send(g, &s->out->msgs[i]);
    for (unsigned i = 0; i < s->out->reads_n; i++) {
        s->reads_id = s->out->reads[i].id;
        s->reads_index = s->out->reads[i].index;
        s->reads_err = s->out->reads[i].err;
        s->reads_n++;
    }
    if (s->out->apply_first) {
        ck_assert_uint_eq(s->out->apply_first, s->applied + 1);
        s->applied = s->out->apply_last;
    }
    if (seq && !s->slow_disk)
        tg_persist(g, id);
    return err;
}

int tg_propose(struct tgroup *g, unsigned id, const char *text)
{
    struct raft_buf *b = raft_buf_copy(text, (uint32_t)strlen(text));
    struct raft_payload p = {b, b->data, b->len};
    struct raft_event ev = {.type = RAFT_EV_PROPOSE, .propose = {&p, 1}};
    int err = tg_step(g, id, &ev);

    raft_buf_unref(b);
    return err;
}

int tg_change(struct tgroup *g, unsigned id, enum raft_change change, unsigned server)
{
    struct raft_event ev = {.type = RAFT_EV_CHANGE};

    ev.change.change = change;
    ev.change.server.id = server;
    return tg_step(g, id, &ev);
}

int tg_read(struct tgroup *g, unsigned id, uint64_t read)
{
    struct raft_event ev = {.type = RAFT_EV_READ, .read = {read}};

    return tg_step(g, id, &ev);
}

int tg_transfer(struct tgroup *g, unsigned id, unsigned to)
{
    struct raft_event ev = {.type = RAFT_EV_TRANSFER, .transfer = {to}};

    return tg_step(g, id, &ev);
}

int tg_receive(struct tgroup *g, unsigned id, const struct raft_msg *m)
{
    struct raft_event ev = {.type = RAFT_EV_MESSAGE, .msg = m};

    return tg_step(g, id, &ev);
}

void tg_tick(struct tgroup *g, unsigned id, int64_t ms)
{
    struct raft_event ev = {.type = RAFT_EV_TICK};

    g->now_ns += TG_MS(ms);
    tg_step(g, id, &ev);
}

static void group_take(struct tgroup *g, unsigned i, struct tg_msg *ret)
{
    *ret = g->msgs[i];
    memmove(&g->msgs[i], &g->msgs[i + 1], (g->msgs_n - i - 1) * sizeof(g->msgs[0]));
    g->msgs_n--;
}

static void group_hand_over(struct tgroup *g, const struct tg_msg *m)
{
    struct raft_wire_in in = {0};
    int err = raft_wire_decode(m->frame, &group, &in);

    assert(err == 0);
    if (g->s[m->to].up && !g->cut[m->from][m->to])
        tg_receive(g, m->to, &in.msg);
    raft_wire_in_fini(&in);
    raft_buf_unref(m->frame);
}

void tg_deliver(struct tgroup *g)
{
    for (unsigned i = 0; g->msgs_n > 0; i++) {
        struct tg_msg m;

        ck_assert_msg(i < 100000, "the group never stops talking");
        group_take(g, 0, &m);
        group_hand_over(g, &m);
    }
}

unsigned tg_deliver_some(struct tgroup *g, unsigned from, unsigned to)
{
    unsigned end = g->msgs_n, n = 0;

    for (unsigned i = 0; i < end;) {
        struct tg_msg m = g->msgs[i];

        if ((from && m.from != from) || (to && m.to != to)) {
            i++;
            continue;
        }
        group_take(g, i, &m);
        end--;
        group_hand_over(g, &m);
        n++;
    }
    return n;
}

void tg_drop(struct tgroup *g, unsigned from, unsigned to)
{
    for (unsigned i = 0; i < g->msgs_n;) {
        struct tg_msg m = g->msgs[i];

        if ((from && m.from != from) || (to && m.to != to)) {
            i++;
            continue;
        }
        group_take(g, i, &m);
        raft_buf_unref(m.frame);
    }
}

static void trace_body(struct strbuf *b, const struct raft_msg *m)
{
    switch ((enum raft_msg_type)m->type) {
    case RAFT_MSG_VOTE:
        strbuf_addf(b, " for %lu last %lu/%lu%s", (unsigned long)m->vote.vote_term,
                    (unsigned long)m->vote.last_index, (unsigned long)m->vote.last_term,
                    m->vote.pre        ? " pre"
                    : m->vote.transfer ? " transfer"
                                       : "");
        return;
    case RAFT_MSG_VOTE_REPLY:
        strbuf_addf(b, " for %lu %s%s", (unsigned long)m->vote_reply.vote_term,
                    m->vote_reply.granted ? "yes" : "no", m->vote_reply.pre ? " pre" : "");
        return;
    case RAFT_MSG_APPEND:
        strbuf_addf(b, " %lu/%lu+%u c%lu", (unsigned long)m->append.prev_index,
                    (unsigned long)m->append.prev_term, m->append.n,
                    (unsigned long)m->append.commit);
        return;
    case RAFT_MSG_APPEND_REPLY:
        if (m->append_reply.rejected)
            strbuf_addf(b, " no %lu try %lu/%lu", (unsigned long)m->append_reply.reject_prev,
                        (unsigned long)m->append_reply.hint_index,
                        (unsigned long)m->append_reply.hint_term);
        else
            strbuf_addf(b, " %lu", (unsigned long)m->append_reply.match);
        return;
    case RAFT_MSG_HEARTBEAT:
        strbuf_addf(b, " c%lu", (unsigned long)m->heartbeat.commit);
        return;
    case RAFT_MSG_HEARTBEAT_REPLY:
        strbuf_addf(b, " %lu %lu", (unsigned long)m->heartbeat_reply.matched,
                    (unsigned long)m->heartbeat_reply.match);
        return;
    case RAFT_MSG_SNAPSHOT:
        strbuf_addf(b, " %lu/%lu at %lu+%u%s", (unsigned long)m->snapshot.meta->index,
                    (unsigned long)m->snapshot.meta->term, (unsigned long)m->snapshot.offset,
                    m->snapshot.len, m->snapshot.done ? " done" : "");
        return;
    case RAFT_MSG_SNAPSHOT_REPLY:
        strbuf_addf(b, " %lu at %lu%s", (unsigned long)m->snapshot_reply.index,
                    (unsigned long)m->snapshot_reply.offset, m->snapshot_reply.done ? " done" : "");
        return;
    case RAFT_MSG_TIMEOUT_NOW:
        return;
    }
}

const char *tg_trace(struct tgroup *g)
{
    struct raft_wire_in in = {0};

    strbuf_reset(&g->trace);
    strbuf_adds(&g->trace, "");
    for (unsigned i = 0; i < g->msgs_n; i++) {
        int err = raft_wire_decode(g->msgs[i].frame, &group, &in);

        assert(err == 0);
        strbuf_addf(&g->trace, "%s%u>%u t%lu %s", i ? "; " : "", g->msgs[i].from, g->msgs[i].to,
                    (unsigned long)in.msg.term, raft_msg_type_name(in.msg.type));
        trace_body(&g->trace, &in.msg);
    }
    raft_wire_in_fini(&in);
    return g->trace.data ? g->trace.data : "";
}

void tg_run(struct tgroup *g, int64_t ms)
{
    for (int64_t t = 0; t < ms; t += 5) {
        g->now_ns += TG_MS(5);
        for (unsigned id = 1; id <= g->n; id++) {
            if (g->s[id].up && g->s[id].out->deadline.ns <= g->now_ns)
                tg_tick(g, id, 0);
        }
        tg_deliver(g);
    }
}

unsigned tg_leader(struct tgroup *g)
{
    unsigned leader = 0;

    for (unsigned id = 1; id <= g->n; id++) {
        if (!g->s[id].up || raft_role(g->s[id].r) != RAFT_LEADER)
            continue;
        if (leader)
            return 0;
        leader = id;
    }
    return leader;
}

void tg_elect(struct tgroup *g, unsigned id)
{
    tg_deliver(g);
    tg_tick(g, id, 201); /* everybody's lease of an older leader is over, too */
    tg_deliver(g);
    ck_assert_int_eq(raft_role(g->s[id].r), RAFT_LEADER);
}

struct raft_msg tg_append(unsigned from, unsigned to, uint64_t term, uint64_t prev_index,
                          uint64_t prev_term, const struct raft_entry *entries, unsigned n,
                          uint64_t commit)
{
    struct raft_msg m = {.type = RAFT_MSG_APPEND, .from = from, .to = to, .term = term};

    m.append.prev_index = prev_index;
    m.append.prev_term = prev_term;
    m.append.entries = entries;
    m.append.n = n;
    m.append.commit = commit;
    return m;
}

struct raft_msg tg_vote(unsigned from, unsigned to, uint64_t term, uint64_t last_index,
                        uint64_t last_term, bool pre)
{
    struct raft_msg m = {.type = RAFT_MSG_VOTE, .from = from, .to = to, .term = term};

    m.vote.vote_term = term + (pre ? 1 : 0);
    m.vote.last_index = last_index;
    m.vote.last_term = last_term;
    m.vote.pre = pre;
    return m;
}

void tg_entries(struct raft_entry *e, uint64_t first, const uint64_t *terms, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        e[i] = (struct raft_entry){.index = first + i, .term = terms[i]};
}
