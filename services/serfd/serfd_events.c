/* SPDX-License-Identifier: MPL-2.0 */
/* Serf's messages: dispatch and user events (10.5). */
#include "serfd_core_int.h"

#include <errno.h>
#include <string.h>

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

int serf_user_event(struct serf *s, const char *name, struct span payload, bool coalesce)
{
    struct msg_user_event ev = {s->event_clock, SPAN_STR(name), payload, coalesce};
    struct strbuf b = STRBUF_INIT;
    int r = 0;

    msg_put(&b, SERF_MSG_USER_EVENT, &msg_user_event_schema, &ev);
    if (name[0] == 0) {
        r = -EINVAL;
    } else if (b.len > USER_EVENT_MAX) {
        r = -EMSGSIZE;
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
    struct msg_query_response resp;
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
        queries_on_query(s, &query, msg);
        return true;
    case SERF_MSG_RELAY:
        queries_on_relay(s, body);
        return true;
    case SERF_MSG_QUERY_RESPONSE:
        if (!msg_get(body, &msg_query_response_schema, &resp, &scratch))
            return false;
        asks_on_response(s, &resp);
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
