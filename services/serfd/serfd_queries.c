/* SPDX-License-Identifier: MPL-2.0 */
/* Queries that others ask: once each, filters, acks, answers, relays (10.9). */
#include "serfd_core_int.h"

#include <regex.h>
#include <string.h>

#define RELAY_MAX       8
#define FILTER_EXPR_MAX 128

void queries_fini(struct serf *s)
{
    for (size_t i = 0; s->queries && i < SERF_BUFFER; i++)
        free(s->queries[i]);
    free(s->queries);
}

/* True when it is new. */
static bool query_remember(struct serf *s, uint64_t ltime, uint32_t id)
{
    struct query_slot **at, *slot;

    if (ltime < s->query_min ||
        (s->query_clock > SERF_BUFFER && ltime < s->query_clock - SERF_BUFFER))
        return false;
    if (!s->queries)
        s->queries = xcalloc(SERF_BUFFER, sizeof(*s->queries));
    at = &s->queries[ltime % SERF_BUFFER];
    if (!*at)
        *at = xcalloc(1, sizeof(**at));
    slot = *at;
    if (slot->ltime != ltime)
        *slot = (struct query_slot){.ltime = ltime};
    for (size_t i = 0; i < slot->n; i++) {
        if (slot->ids[i] == id)
            return false;
    }
    if (slot->n == SLOT_ITEMS_MAX)
        return false;
    slot->ids[slot->n++] = id;
    return true;
}

static bool filter_names(struct serf *s, struct span list)
{
    struct mp_reader r = mp_reader_of(list);
    struct span name;
    uint32_t n = 0;

    if (mp_get_list(&r, &n))
        return false;
    while (n-- > 0 && mp_get_raw(&r, &name) == 0) {
        if (span_is(name, s->self->name))
            return true;
    }
    return false;
}

/*
 * The peer's expression is RE2's; POSIX's extended ones are near enough for tags. Counted
 * repetition and back references are refused: they cost too much on a foreign order.
 */
static bool filter_tag(struct serf *s, struct span body)
{
    struct mp_scratch scratch = {.used = 0};
    char expr[FILTER_EXPR_MAX + 1], value[SERF_META_MAX + 1], tag[SERF_META_MAX + 1];
    struct msg_filter_tag f;
    struct span v = {NULL, 0};
    regex_t re;
    bool hit;

    if (!msg_get(body, &msg_filter_tag_schema, &f, &scratch) || f.expr.len > FILTER_EXPR_MAX ||
        f.tag.len > SERF_META_MAX)
        return false;
    memcpy(expr, f.expr.len ? (const char *)f.expr.p : "", f.expr.len);
    expr[f.expr.len] = 0;
    if (strpbrk(expr, "{\\"))
        return false;
    memcpy(tag, f.tag.len ? (const char *)f.tag.p : "", f.tag.len);
    tag[f.tag.len] = 0;
    (void)tags_find(member_meta(s->self), tag, &v);
    memcpy(value, v.len ? (const char *)v.p : "", v.len);
    value[v.len] = 0;
    if (regcomp(&re, expr, REG_EXTENDED | REG_NOSUB))
        return false;
    hit = regexec(&re, value, 0, NULL, 0) == 0;
    regfree(&re);
    return hit;
}

static bool filters_pass(struct serf *s, struct span filters)
{
    struct mp_reader r = mp_reader_of(filters);
    struct span f;
    uint32_t n = 0;

    if (!filters.p)
        return true;
    if (mp_get_list(&r, &n))
        return false;
    while (n-- > 0) {
        struct span body;

        if (mp_get_raw(&r, &f) || f.len < 2)
            return false;
        body = (struct span){f.p + 1, f.len - 1};
        if (f.p[0] == 0 ? !filter_names(s, body) : f.p[0] != 1 || !filter_tag(s, body))
            return false;
    }
    return true;
}

static bool can_relay(const struct serf *s, const struct member *m)
{
    return pick_alive(s, m) && m->vsn[1] >= 5;
}

/* Wraps a complete Serf message for `to` and sends it by way of r others. */
static void send_relays(struct serf *s, const struct gossip_addr *to, struct span to_name,
                        unsigned r, struct span msg)
{
    struct msg_udp_addr addr = {{to->ip, to->ip_len}, {NULL, 0}, to->port};
    struct strbuf addr_b = STRBUF_INIT, b = STRBUF_INIT;
    struct member *via[RELAY_MAX];
    struct msg_relay relay;
    struct span part;
    size_t n;

    mp_put_struct(&addr_b, &msg_udp_addr_schema, &addr);
    relay = (struct msg_relay){span_of(&addr_b), to_name};
    strbuf_addc(&b, ML_USER);
    msg_put(&b, SERF_MSG_RELAY, &msg_relay_schema, &relay);
    strbuf_add(&b, msg.p, msg.len);
    part = span_of(&b);
    n = table_pick(s, MIN(r, (unsigned)RELAY_MAX), can_relay, via);
    for (size_t i = 0; i < n; i++)
        gossip_send_plain(s, member_reach(via[i]), NULL, &part, 1);
    strbuf_fini(&addr_b);
    strbuf_fini(&b);
}

void queries_answer(struct serf *s, const struct query_origin *q, uint32_t flags,
                    struct span payload)
{
    struct msg_query_response resp = {q->ltime, q->id, flags, SPAN_STR(s->self->name), payload};
    struct strbuf b = STRBUF_INIT;
    struct span part;
    size_t members = 0;

    if (q->own) {
        asks_on_response(s, &resp);
        return;
    }
    strbuf_addc(&b, ML_USER);
    msg_put(&b, SERF_MSG_QUERY_RESPONSE, &msg_query_response_schema, &resp);
    part = span_of(&b);
    for (size_t i = 0; i < s->n; i++)
        members += s->tab[i]->in_serf;
    if (part.len <= QUERY_MSG_MAX + 1) {
        gossip_send_plain(s, &q->to, NULL, &part, 1);
        if (q->relay > 0 && members >= (size_t)q->relay + 1)
            send_relays(s, &q->to, SPAN_STR(q->source), q->relay,
                        (struct span){part.p + 1, part.len - 1});
    }
    strbuf_fini(&b);
}

size_t queries_answer_room(const struct serf *s, const struct query_origin *q)
{
    struct msg_query_response resp = {q->ltime, q->id, 0, SPAN_STR(s->self->name), {NULL, 0}};
    struct strbuf b = STRBUF_INIT;
    size_t used;

    msg_put(&b, SERF_MSG_QUERY_RESPONSE, &msg_query_response_schema, &resp);
    used = b.len + 3; /* a longer payload has three bytes of length instead of nil */
    strbuf_fini(&b);
    return used < QUERY_MSG_MAX ? QUERY_MSG_MAX - used : 0;
}

static void put_tags(struct strbuf *out, struct span meta)
{
    struct tags_iter it;
    struct span k, v;
    size_t n = 0;

    for (tags_begin(&it, meta); tags_next(&it, &k, &v);)
        n++;
    mp_put_map(out, n);
    for (tags_begin(&it, meta); tags_next(&it, &k, &v);) {
        mp_put_raw(out, k);
        mp_put_raw(out, v);
    }
}

static void answer_conflict(struct serf *s, const struct query_origin *q, struct span name)
{
    const struct member *m = table_find(s, name);
    struct strbuf b = STRBUF_INIT, tags = STRBUF_INIT;
    struct msg_member answer;

    if (m == s->self)
        return; /* ours is not to decide */
    if (!m || !m->in_serf) {
        strbuf_addc(&b, SERF_MSG_CONFLICT);
        mp_put_nil(&b);
    } else {
        put_tags(&tags, member_meta(m));
        answer = (struct msg_member){SPAN_STR(m->name),  {m->addr.ip, m->addr.ip_len},
                                     span_of(&tags),     m->addr.port,
                                     (int64_t)m->status, m->vsn[0],
                                     m->vsn[1],          m->vsn[2],
                                     m->vsn[3],          m->vsn[4],
                                     m->vsn[5]};
        msg_put(&b, SERF_MSG_CONFLICT, &msg_member_schema, &answer);
    }
    queries_answer(s, q, 0, span_of(&b));
    strbuf_fini(&b);
    strbuf_fini(&tags);
}

/* False: nobody can be answered at what it says. */
static bool origin_of(const struct serf *s, const struct msg_query *q, struct query_origin *ret)
{
    const struct member *m = table_find(s, q->source_node);
    size_t len = MIN(q->source_node.len, (size_t)SERF_NAME_MAX);

    *ret = (struct query_origin){.ltime = q->ltime, .id = q->id, .relay = q->relay_factor};
    if (len)
        memcpy(ret->source, q->source_node.p, len);
    if (q->port == 0 || !gossip_addr_from(&ret->to, q->addr, q->port))
        return false;
    ret->own = gossip_addr_eq(&ret->to, &s->self->addr);
    if (m && gossip_addr_eq(&ret->to, &m->addr)) /* maybe there is a shorter way than it says */
        ret->to = *member_reach(m);
    return true;
}

void queries_on_query(struct serf *s, const struct msg_query *q, struct span raw)
{
    struct query_origin origin;

    (void)lamport_witness(&s->query_clock, q->ltime);
    if (!query_remember(s, q->ltime, q->id))
        return;
    if (!(q->flags & QUERY_FLAG_NO_BROADCAST) && raw.len <= QUERY_MSG_MAX)
        (void)gossip_queue(s, &s->queries_q, NULL, raw);
    if (!filters_pass(s, q->filters) || !origin_of(s, q, &origin))
        return;
    if (q->flags & QUERY_FLAG_ACK)
        queries_answer(s, &origin, QUERY_FLAG_ACK, (struct span){NULL, 0});
    if (span_is(q->name, "_serf_conflict"))
        answer_conflict(s, &origin, q->payload);
    else if (!keys_on_query(s, q, &origin))
        core_note(s, LOG_DEBUG, "query name=%.*s from=%s bytes=%zu", (int)q->name.len,
                  (const char *)q->name.p, origin.source, q->payload.len);
}

/* We are asked to pass a message on to somebody. */
void queries_on_relay(struct serf *s, struct span body)
{
    struct mp_reader r = mp_reader_of(body), ar;
    struct mp_scratch scratch = {.used = 0};
    struct strbuf b = STRBUF_INIT;
    struct msg_udp_addr addr;
    struct msg_relay relay;
    struct gossip_addr to;
    struct span part;

    if (mp_get_struct(&r, &msg_relay_schema, &relay, &scratch) || !relay.dest_addr.p ||
        r.p == r.end)
        return;
    ar = mp_reader_of(relay.dest_addr);
    if (mp_get_struct(&ar, &msg_udp_addr_schema, &addr, &scratch) || addr.port < 1 ||
        addr.port > UINT16_MAX || !gossip_addr_from(&to, addr.ip, (uint16_t)addr.port) ||
        r.end - r.p > QUERY_MSG_MAX)
        return;
    strbuf_addc(&b, ML_USER);
    strbuf_add(&b, r.p, (size_t)(r.end - r.p));
    part = span_of(&b);
    gossip_send_plain(s, &to, NULL, &part, 1);
    strbuf_fini(&b);
}
