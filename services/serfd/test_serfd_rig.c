/* SPDX-License-Identifier: MPL-2.0 */
#include "test_serfd_rig.h"

#include <errno.h>

struct span rig_meta(const char *key, const char *value)
{
    static struct strbuf meta;
    struct tag tags[] = {{"role", "nomad"}, {"region", "west"}, {"dc", "dc1"},
                         {"vsn", "1"},      {"build", "1.1.0"}, {"port", "4647"}};

    for (size_t i = 0; key && i < ARRAY_LEN(tags); i++) {
        if (strcmp(tags[i].key, key) == 0)
            tags[i].value = value;
    }
    strbuf_reset(&meta);
    ck_assert_int_eq(tags_put(&meta, tags, ARRAY_LEN(tags)), 0);
    return span_of(&meta);
}

struct gossip_addr rig_addr(unsigned host)
{
    return (struct gossip_addr){{127, 0, (uint8_t)host, 1}, 4, 4648};
}

void rig_init(struct rig *rig, void (*change)(struct serf_options *o))
{
    struct serf_options o = {.name = "me.west", .addr = rig_addr(1), .seed = 42};

    memset(rig, 0, sizeof(*rig));
    serf_options_default(&o);
    o.meta = rig_meta(NULL, NULL);
    o.sync_on_join = false;
    if (change)
        change(&o);
    rig->now = RIG_T0;
    rig->auto_ack = true;
    rig->seen = xcalloc(RIG_SEEN_MAX, sizeof(*rig->seen));
    rig->s = serf_new(&o, (struct mono_ns){rig->now});
}

void rig_fini(struct rig *rig)
{
    serf_free(rig->s);
    serf_out_fini(&rig->out);
    strbuf_fini(&rig->answer);
    strbuf_fini(&rig->reply);
    strbuf_fini(&rig->saved);
    free(rig->seen);
}

/* ---- what it sends ---- */

static void decode_ml(struct rig_seen *m, struct span body)
{
    struct mp_scratch scratch = {.used = 0};
    struct msg_indirect_ping ind;
    struct msg_accuse acc;
    struct msg_alive alive;
    struct msg_ping ping;
    struct msg_ack ack;
    struct span node = {NULL, 0}, from = {NULL, 0};

    if (m->type == ML_PING && msg_get(body, &msg_ping_schema, &ping, &scratch)) {
        m->seq = ping.seq;
        node = ping.node;
    } else if (m->type == ML_INDIRECT_PING &&
               msg_get(body, &msg_indirect_ping_schema, &ind, &scratch)) {
        m->seq = ind.seq;
        m->nack = ind.nack;
        node = ind.node;
    } else if ((m->type == ML_ACK || m->type == ML_NACK) &&
               msg_get(body, &msg_ack_schema, &ack, &scratch)) {
        m->seq = ack.seq;
    } else if ((m->type == ML_SUSPECT || m->type == ML_DEAD) &&
               msg_get(body, &msg_accuse_schema, &acc, &scratch)) {
        m->inc = acc.inc;
        node = acc.node;
        from = acc.from;
    } else if (m->type == ML_ALIVE && msg_get(body, &msg_alive_schema, &alive, &scratch)) {
        m->inc = alive.inc;
        node = alive.node;
        ck_assert_uint_eq(alive.vsn.len, 6);
    }
    (void)snprintf(m->node, sizeof(m->node), "%.*s", (int)node.len, (const char *)node.p);
    (void)snprintf(m->from, sizeof(m->from), "%.*s", (int)from.len, (const char *)from.p);
}

static void decode_serf(struct rig_seen *m, struct span body)
{
    struct mp_scratch scratch = {.used = 0};
    struct msg_leave leave;

    m->serf = body.p[0];
    body = (struct span){body.p + 1, body.len - 1};
    if ((m->serf == SERF_MSG_LEAVE || m->serf == SERF_MSG_JOIN) &&
        msg_get(body, &msg_leave_schema, &leave, &scratch)) {
        m->ltime = leave.ltime;
        (void)snprintf(m->node, sizeof(m->node), "%.*s", (int)leave.node.len,
                       (const char *)leave.node.p);
    }
}

struct seeing {
    struct rig *rig;
    struct gossip_addr to;
};

static void see(void *user, uint8_t type, struct span body)
{
    struct seeing *sg = user;
    struct rig *rig = sg->rig;
    struct rig_seen *m;

    ck_assert_uint_lt(rig->n_seen, RIG_SEEN_MAX);
    m = &rig->seen[rig->n_seen++];
    *m = (struct rig_seen){.at = rig->now, .to = sg->to, .type = type};
    ck_assert_uint_le(body.len, sizeof(m->raw));
    memcpy(m->raw, body.p, body.len);
    m->raw_len = body.len;
    if (type == ML_USER)
        decode_serf(m, body);
    else
        decode_ml(m, body);
}

static void take_reply(struct rig *rig, const struct serf_effect *fx, struct span data)
{
    size_t len = strlen((const char *)data.p);

    *(fx->ack ? &rig->acks : &rig->replies) += 1;
    (void)snprintf(rig->reply_from, sizeof(rig->reply_from), "%s", (const char *)data.p);
    strbuf_reset(&rig->reply);
    strbuf_add(&rig->reply, data.p + len + 1, data.len - len - 1);
}

static void take_effects(struct rig *rig)
{
    for (size_t i = 0; i < rig->out.n; i++) {
        const struct serf_effect *fx = &rig->out.effects[i];
        struct span data = serf_out_data(&rig->out, fx);
        struct seeing sg = {rig, fx->addr};

        switch (fx->type) {
        case SERF_FX_SEND:
            ck_assert_int_eq(packet_read(data, see, &sg), PACKET_OK);
            break;
        case SERF_FX_DIAL:
            rig->dials++;
            rig->last_dial = fx->id;
            rig->last_dial_addr = fx->addr;
            rig->last_dial_type = data.p[0];
            break;
        case SERF_FX_ANSWER:
            strbuf_reset(&rig->answer);
            strbuf_add(&rig->answer, data.p, data.len);
            break;
        case SERF_FX_NOTE:
            (void)snprintf(rig->last_note, sizeof(rig->last_note), "%s", (const char *)data.p);
            break;
        case SERF_FX_JOINED:
            *(fx->err ? &rig->join_errors : &rig->joined) += 1;
            break;
        case SERF_FX_CHECKED:
            rig->checked++;
            (void)snprintf(rig->report, sizeof(rig->report), "%s", (const char *)data.p);
            break;
        case SERF_FX_LEFT:
            rig->left++;
            break;
        case SERF_FX_REPLY:
            take_reply(rig, fx, data);
            break;
        case SERF_FX_REPLIED:
            rig->replied++;
            rig->replied_number = fx->number;
            break;
        case SERF_FX_SAVE_KEYS:
            rig->saves++;
            strbuf_reset(&rig->saved);
            strbuf_add(&rig->saved, data.p, data.len);
            break;
        }
    }
}

int rig_event(struct rig *rig, struct serf_event *ev)
{
    size_t before = rig->n_seen;
    unsigned saves = rig->saves;
    int r;

    ev->now.ns = rig->now;
    serf_out_reset(&rig->out);
    r = serf_step(rig->s, ev, &rig->out);
    take_effects(rig);
    for (size_t i = before; rig->auto_ack && i < rig->n_seen; i++) {
        if (rig->seen[i].type == ML_PING)
            rig_ack(rig, rig->seen[i].seq);
    }
    if (rig->saves > saves && rig->save_err <= 0) {
        struct serf_event saved = {.type = SERF_EV_KEYS_SAVED, .err = rig->save_err};

        (void)rig_event(rig, &saved);
    }
    return r;
}

void rig_run(struct rig *rig, int64_t until)
{
    while (serf_deadline(rig->s).ns <= until) {
        struct serf_event ev = {.type = SERF_EV_TICK};

        rig->now = MAX(rig->now, serf_deadline(rig->s).ns);
        (void)rig_event(rig, &ev);
    }
    rig->now = until;
}

void rig_run_for(struct rig *rig, int64_t ns)
{
    rig_run(rig, rig->now + ns);
}

/* ---- what it is told ---- */

static void put_packet(struct rig *rig, const struct strbuf *b)
{
    struct serf_event ev = {.type = SERF_EV_PACKET, .addr = rig_addr(99), .data = span_of(b)};

    (void)rig_event(rig, &ev);
}

void rig_message(struct rig *rig, uint8_t type, const struct mp_schema *schema, const void *msg)
{
    struct strbuf b = STRBUF_INIT;

    msg_put(&b, type, schema, msg);
    put_packet(rig, &b);
    strbuf_fini(&b);
}

void rig_serf_message(struct rig *rig, uint8_t type, const struct mp_schema *schema,
                      const void *msg)
{
    struct strbuf b = STRBUF_INIT;

    strbuf_addc(&b, ML_USER);
    msg_put(&b, type, schema, msg);
    put_packet(rig, &b);
    strbuf_fini(&b);
}

void rig_alive(struct rig *rig, const char *name, uint32_t inc, unsigned host)
{
    static const uint8_t vsn[6] = {1, 5, 2, 2, 5, 4};
    struct gossip_addr a = rig_addr(host);
    struct msg_alive m = {inc, SPAN_STR(name), {a.ip, 4}, rig_meta(NULL, NULL), {vsn, 6}, a.port};

    rig_message(rig, ML_ALIVE, &msg_alive_schema, &m);
}

void rig_suspect(struct rig *rig, const char *name, uint32_t inc, const char *from)
{
    struct msg_accuse m = {inc, SPAN_STR(name), SPAN_STR(from)};

    rig_message(rig, ML_SUSPECT, &msg_accuse_schema, &m);
}

void rig_dead(struct rig *rig, const char *name, uint32_t inc, const char *from)
{
    struct msg_accuse m = {inc, SPAN_STR(name), SPAN_STR(from)};

    rig_message(rig, ML_DEAD, &msg_accuse_schema, &m);
}

void rig_leave(struct rig *rig, const char *name, uint64_t ltime, bool prune)
{
    struct msg_leave m = {ltime, SPAN_STR(name), prune};

    rig_serf_message(rig, SERF_MSG_LEAVE, &msg_leave_schema, &m);
}

void rig_join_intent(struct rig *rig, const char *name, uint64_t ltime)
{
    struct msg_join m = {ltime, SPAN_STR(name)};

    rig_serf_message(rig, SERF_MSG_JOIN, &msg_join_schema, &m);
}

void rig_ack(struct rig *rig, uint32_t seq)
{
    struct msg_ack m = {seq, {NULL, 0}};

    rig_message(rig, ML_ACK, &msg_ack_schema, &m);
}

/* ---- what it thinks ---- */

enum serf_status rig_status(const struct rig *rig, const char *name)
{
    struct serf_member_info m;

    return serf_member_find(rig->s, name, &m) ? SERF_NONE : m.status;
}

uint32_t rig_inc(const struct rig *rig, const char *name)
{
    struct serf_member_info m;

    return serf_member_find(rig->s, name, &m) ? 0 : m.inc;
}

struct serf_stats rig_stats(const struct rig *rig)
{
    struct serf_stats st;

    serf_stats_get(rig->s, &st);
    return st;
}

const struct rig_seen *rig_last(const struct rig *rig, uint8_t type, const char *node)
{
    for (size_t i = rig->n_seen; i-- > 0;) {
        const struct rig_seen *m = &rig->seen[i];

        if (m->type == type && (!node || strcmp(m->node, node) == 0))
            return m;
    }
    return NULL;
}

unsigned rig_count(const struct rig *rig, uint8_t type, const char *node)
{
    unsigned n = 0;

    for (size_t i = 0; i < rig->n_seen; i++)
        n += rig->seen[i].type == type && (!node || strcmp(rig->seen[i].node, node) == 0);
    return n;
}

void rig_forget(struct rig *rig)
{
    rig->n_seen = 0;
}
