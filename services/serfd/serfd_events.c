/* SPDX-License-Identifier: MPL-2.0 */
/* Serf's messages: dispatch, user events (10.5), queries and their answers (10.9). */
#include "serfd_core_int.h"

#include <errno.h>
#include <regex.h>
#include <string.h>

#define RELAY_MAX       8
#define FILTER_EXPR_MAX 128

static struct span span_of(const struct strbuf *b)
{
    return (struct span){(const uint8_t *)b->data, b->len};
}

/* ---- user events ---- */

static void slot_clear(struct serf *s, struct event_slot *slot)
{
    for (size_t i = 0; i < slot->n; i++) {
        s->event_bytes -= slot->items[i].name.len + slot->items[i].payload.len;
        free((void *)slot->items[i].name.p);
    }
    free(slot->items);
    *slot = (struct event_slot){0};
}

void serf_events_fini(struct serf *s)
{
    for (size_t i = 0; s->events && i < SERF_BUFFER; i++)
        slot_clear(s, &s->events[i]);
    free(s->events);
    for (size_t i = 0; s->queries && i < SERF_BUFFER; i++)
        free(s->queries[i]);
    free(s->queries);
}

static void events_make_room(struct serf *s, size_t len)
{
    while (s->event_bytes + len > EVENT_BYTES_MAX) {
        struct event_slot *oldest = NULL;

        for (size_t i = 0; i < SERF_BUFFER; i++) {
            struct event_slot *slot = &s->events[i];

            if (slot->n > 0 && (!oldest || slot->ltime < oldest->ltime))
                oldest = slot;
        }
        assert(oldest); /* one event is far smaller than all the room */
        slot_clear(s, oldest);
    }
}

static bool slot_has(const struct event_slot *slot, struct span name, struct span payload)
{
    for (size_t i = 0; i < slot->n; i++) {
        if (span_eq(slot->items[i].name, name) && span_eq(slot->items[i].payload, payload))
            return true;
    }
    return false;
}

/* True when it is new. */
static bool event_remember(struct serf *s, uint64_t ltime, struct span name, struct span payload)
{
    struct event_slot *slot;
    uint8_t *copy;

    if (ltime < s->event_min ||
        (s->event_clock > SERF_BUFFER && ltime < s->event_clock - SERF_BUFFER) ||
        name.len + payload.len > EVENT_MSG_MAX)
        return false;
    if (!s->events)
        s->events = xcalloc(SERF_BUFFER, sizeof(*s->events));
    slot = &s->events[ltime % SERF_BUFFER];
    if (slot->n > 0 && slot->ltime == ltime &&
        (slot_has(slot, name, payload) || slot->n == SLOT_ITEMS_MAX))
        return false;
    if (slot->ltime != ltime)
        slot_clear(s, slot);
    events_make_room(s, name.len + payload.len);
    copy = xmalloc(name.len + payload.len + 1);
    if (name.len)
        memcpy(copy, name.p, name.len);
    if (payload.len)
        memcpy(copy + name.len, payload.p, payload.len);
    slot->ltime = ltime;
    slot->items = xrealloc(slot->items, (slot->n + 1) * sizeof(*slot->items));
    slot->items[slot->n++] =
        (struct event_item){{copy, name.len}, {payload.p ? copy + name.len : NULL, payload.len}};
    s->event_bytes += name.len + payload.len;
    return true;
}

static void on_user_event(struct serf *s, const struct msg_user_event *ev, struct span raw)
{
    (void)lamport_witness(&s->event_clock, ev->ltime);
    if (!event_remember(s, ev->ltime, ev->name, ev->payload))
        return;
    core_note(s, LOG_DEBUG, "user event name=%.*s bytes=%zu", (int)ev->name.len,
              (const char *)ev->name.p, ev->payload.len);
    if (raw.len && raw.len <= EVENT_MSG_MAX)
        (void)gossip_queue(s, &s->events_q, NULL, raw);
}

int serf_user_event(struct serf *s, const char *name, struct span payload)
{
    struct msg_user_event ev = {s->event_clock, SPAN_STR(name), payload, false};
    struct strbuf b = STRBUF_INIT;
    int r = 0;

    msg_put(&b, SERF_MSG_USER_EVENT, &msg_user_event_schema, &ev);
    if (name[0] == 0 || b.len > SERF_META_MAX) {
        r = -EINVAL;
    } else {
        s->event_clock++;
        on_user_event(s, &ev, span_of(&b));
    }
    strbuf_fini(&b);
    return r;
}

void serf_event_put_slots(struct serf *s, struct strbuf *out)
{
    size_t n = 0;

    for (size_t i = 0; s->events && i < SERF_BUFFER; i++)
        n += s->events[i].n > 0;
    mp_put_list(out, n);
    for (size_t i = 0; s->events && i < SERF_BUFFER; i++) {
        const struct event_slot *slot = &s->events[i];
        struct msg_event_slot msg = {.ltime = slot->ltime};
        struct strbuf items = STRBUF_INIT;

        if (slot->n == 0)
            continue;
        mp_put_list(&items, slot->n);
        for (size_t k = 0; k < slot->n; k++) {
            struct msg_event_item item = {slot->items[k].name, slot->items[k].payload};

            mp_put_struct(&items, &msg_event_item_schema, &item);
        }
        msg.events = span_of(&items);
        mp_put_struct(out, &msg_event_slot_schema, &msg);
        strbuf_fini(&items);
    }
}

static void merge_slot(struct serf *s, const struct msg_event_slot *slot)
{
    struct mp_reader r = mp_reader_of(slot->events);
    struct mp_scratch scratch = {.used = 0};
    struct msg_event_item item;
    uint32_t n = 0;

    if (!slot->events.p || mp_get_list(&r, &n))
        return;
    n = MIN(n, (uint32_t)SLOT_ITEMS_MAX);
    while (n-- > 0 && mp_get_struct(&r, &msg_event_item_schema, &item, &scratch) == 0) {
        struct msg_user_event ev = {slot->ltime, item.name, item.payload, false};

        on_user_event(s, &ev, (struct span){NULL, 0});
    }
}

void serf_event_merge_slots(struct serf *s, struct span events)
{
    struct mp_reader r = mp_reader_of(events);
    struct mp_scratch scratch = {.used = 0};
    struct msg_event_slot slot;
    uint32_t n = 0;

    if (mp_get_list(&r, &n))
        return;
    n = MIN(n, 2u * SERF_BUFFER);
    while (n-- > 0) {
        if (r.p < r.end && *r.p == 0xc0) { /* an empty slot of the peer's ring */
            r.p++;
            continue;
        }
        if (mp_get_struct(&r, &msg_event_slot_schema, &slot, &scratch))
            return;
        merge_slot(s, &slot);
    }
}

/* ---- queries ---- */

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

static void answer_query(struct serf *s, const struct msg_query *q, uint32_t flags,
                         struct span payload)
{
    struct msg_query_response resp = {q->ltime, q->id, flags, SPAN_STR(s->self->name), payload};
    struct strbuf b = STRBUF_INIT;
    struct gossip_addr to;
    struct span part;
    size_t members = 0;

    if (q->port == 0 || !gossip_addr_from(&to, q->addr, q->port))
        return;
    strbuf_addc(&b, ML_USER);
    msg_put(&b, SERF_MSG_QUERY_RESPONSE, &msg_query_response_schema, &resp);
    part = span_of(&b);
    for (size_t i = 0; i < s->n; i++)
        members += s->tab[i]->in_serf;
    if (part.len <= QUERY_MSG_MAX + 1) {
        gossip_send_plain(s, &to, NULL, &part, 1);
        if (q->relay_factor > 0 && members >= (size_t)q->relay_factor + 1)
            send_relays(s, &to, q->source_node, q->relay_factor,
                        (struct span){part.p + 1, part.len - 1});
    }
    strbuf_fini(&b);
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

static void answer_conflict(struct serf *s, const struct msg_query *q)
{
    const struct member *m = table_find(s, q->payload);
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
    answer_query(s, q, 0, span_of(&b));
    strbuf_fini(&b);
    strbuf_fini(&tags);
}

/* Keys cannot be changed by gossip here, only by the configuration: say so. */
static void answer_keys(struct serf *s, const struct msg_query *q)
{
    bool on = s->o.keyring && s->o.keyring->n > 0;
    struct msg_key_response answer = {.result = false};
    struct strbuf b = STRBUF_INIT;

    answer.message = on ? SPAN_STR("this server takes its keys from its configuration only")
                        : SPAN_STR("Keyring is empty (encryption not enabled)");
    msg_put(&b, SERF_MSG_KEY_RESPONSE, &msg_key_response_schema, &answer);
    answer_query(s, q, 0, span_of(&b));
    strbuf_fini(&b);
}

static bool is_key_query(struct span name)
{
    return span_is(name, "_serf_install-key") || span_is(name, "_serf_use-key") ||
           span_is(name, "_serf_remove-key") || span_is(name, "_serf_list-keys");
}

static void on_query(struct serf *s, const struct msg_query *q, struct span raw)
{
    (void)lamport_witness(&s->query_clock, q->ltime);
    if (!query_remember(s, q->ltime, q->id))
        return;
    if (!(q->flags & QUERY_FLAG_NO_BROADCAST) && raw.len <= QUERY_MSG_MAX)
        (void)gossip_queue(s, &s->queries_q, NULL, raw);
    if (!filters_pass(s, q->filters))
        return;
    if (q->flags & QUERY_FLAG_ACK)
        answer_query(s, q, QUERY_FLAG_ACK, (struct span){NULL, 0});
    if (span_is(q->name, "_serf_conflict"))
        answer_conflict(s, q);
    else if (is_key_query(q->name))
        answer_keys(s, q);
}

/* We are asked to pass a message on to somebody. */
static void on_relay(struct serf *s, struct span body)
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

/* ---- dispatch ---- */

static bool on_intent(struct serf *s, struct span msg, struct span body)
{
    struct mp_scratch scratch = {.used = 0};
    struct msg_leave leave;
    struct msg_join join;

    if (msg.p[0] == SERF_MSG_LEAVE) {
        if (!msg_get(body, &msg_leave_schema, &leave, &scratch))
            return false;
        serf_on_leave_intent(s, &leave, msg);
        return true;
    }
    if (!msg_get(body, &msg_join_schema, &join, &scratch))
        return false;
    serf_on_join_intent(s, &join, msg);
    return true;
}

static bool dispatch(struct serf *s, struct span msg, struct span body)
{
    struct mp_scratch scratch = {.used = 0};
    struct msg_user_event event;
    struct msg_query query;

    switch (msg.p[0]) {
    case SERF_MSG_LEAVE:
    case SERF_MSG_JOIN:
        return on_intent(s, msg, body);
    case SERF_MSG_USER_EVENT:
        if (!msg_get(body, &msg_user_event_schema, &event, &scratch))
            return false;
        on_user_event(s, &event, msg);
        return true;
    case SERF_MSG_QUERY:
        if (!msg_get(body, &msg_query_schema, &query, &scratch))
            return false;
        on_query(s, &query, msg);
        return true;
    case SERF_MSG_RELAY:
        on_relay(s, body);
        return true;
    case SERF_MSG_QUERY_RESPONSE: /* we have no query of our own under way */
        return true;
    default:
        return false;
    }
}

void serf_on_message(struct serf *s, const struct gossip_addr *from, struct span msg)
{
    char text[GOSSIP_ADDR_TEXT_MAX];

    /* What is passed on by gossip must fit a queue item. */
    if (msg.len < 2 || msg.len > EVENT_MSG_MAX + 1024 ||
        !dispatch(s, msg, (struct span){msg.p + 1, msg.len - 1}))
        core_note(s, LOG_WARN, "serf message dropped: it is broken or of an unknown kind from=%s",
                  gossip_addr_text(from, text));
}
