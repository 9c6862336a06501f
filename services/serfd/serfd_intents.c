/* SPDX-License-Identifier: MPL-2.0 */
/* Serf's view of members: Lamport clocks, intents, leave, force-leave, reaping (section 10). */
#include "serfd_core_int.h"

#include <errno.h>
#include <string.h>

/* Nobody takes longer to go: peers wait 5 s for each of two broadcasts and 1 s more. */
#define LEAVING_MAX          (15 * NS_PER_SEC)
#define JOIN_REPEAT_INTERVAL (5 * NS_PER_SEC)

/* True when the clock rose. */
bool lamport_witness(uint64_t *clock, uint64_t seen)
{
    if (seen < *clock || seen == UINT64_MAX)
        return false;
    *clock = seen + 1;
    return true;
}

/* Every change of a member's status passes here. */
static void member_set_status(struct serf *s, struct member *m, enum serf_status status)
{
    static const enum log_level levels[] = {[SERF_NONE] = LOG_DEBUG,
                                            [SERF_ALIVE] = LOG_INFO,
                                            [SERF_LEAVING] = LOG_DEBUG,
                                            [SERF_LEFT] = LOG_INFO,
                                            [SERF_FAILED] = LOG_WARN};
    char addr[GOSSIP_ADDR_TEXT_MAX];

    if (m->status == status)
        return;
    m->status = status;
    if (status != SERF_ALIVE)
        m->gone_at = s->now;
    core_changed(s);
    core_note(s, levels[status], "member %s member=%s addr=%s", serf_status_name(status), m->name,
              gossip_addr_text(&m->addr, addr));
}

static void member_erase(struct serf *s, struct member *m)
{
    core_note(s, LOG_INFO, "member reaped member=%s status=%s", m->name,
              serf_status_name(m->status));
    m->in_serf = false;
    m->status = SERF_NONE;
    m->ltime = 0;
    core_changed(s);
    table_drop_unused(s, m);
}

void serf_drop(struct serf *s, struct member *m)
{
    m->in_serf = false;
    m->status = SERF_NONE;
    core_changed(s);
    table_drop_unused(s, m);
}

/* ---- intents about names that are not known yet ---- */

void serf_recent_fini(struct serf *s)
{
    for (size_t i = 0; i < s->n_recent; i++)
        free(s->recent[i].name);
    free(s->recent);
}

static struct recent_intent *recent_find(struct serf *s, struct span name)
{
    for (size_t i = 0; i < s->n_recent; i++) {
        if (span_is(name, s->recent[i].name))
            return &s->recent[i];
    }
    return NULL;
}

static void recent_remove(struct serf *s, size_t i)
{
    free(s->recent[i].name);
    s->n_recent--;
    memmove(&s->recent[i], &s->recent[i + 1], (s->n_recent - i) * sizeof(*s->recent));
}

/* True when it is newer than what was remembered. When full the oldest goes. */
static bool recent_remember(struct serf *s, struct span name, bool leave, uint64_t ltime)
{
    struct recent_intent *ri;

    if (name.len == 0 || name.len > SERF_NAME_MAX || memchr(name.p, 0, name.len))
        return false;
    ri = recent_find(s, name);
    if (ri) {
        if (ltime <= ri->ltime)
            return false;
        ri->leave = leave;
        ri->ltime = ltime;
        ri->at = s->now;
        return true;
    }
    if (s->n_recent == RECENT_MAX)
        recent_remove(s, 0);
    s->recent = xrealloc(s->recent, (s->n_recent + 1) * sizeof(*s->recent));
    s->recent[s->n_recent++] =
        (struct recent_intent){xstrndup((const char *)name.p, name.len), leave, ltime, s->now};
    return true;
}

/* ---- events of the layer below ---- */

void serf_node_joined(struct serf *s, struct member *m)
{
    struct recent_intent *ri;

    if (!m->in_serf) {
        m->in_serf = true;
        m->ltime = 0;
        m->status = SERF_NONE;
        ri = recent_find(s, SPAN_STR(m->name));
        if (ri)
            m->ltime = ri->ltime;
        member_set_status(s, m, ri && ri->leave ? SERF_LEAVING : SERF_ALIVE);
        exchange_sync_soon(s);
    } else {
        member_set_status(s, m, SERF_ALIVE);
    }
    core_changed(s);
}

/*
 * Who says goodbye himself has left, though his leave intent has not come here (yet): Serf would
 * show him as failed until it does, and somebody would act on that.
 */
void serf_node_gone(struct serf *s, struct member *m)
{
    if (!m->in_serf)
        return;
    if (m->status == SERF_LEAVING || (m->status == SERF_ALIVE && m->state == NODE_LEFT))
        member_set_status(s, m, SERF_LEFT);
    else if (m->status == SERF_ALIVE)
        member_set_status(s, m, SERF_FAILED);
    if (m->status == SERF_LEFT && m->prune)
        member_erase(s, m);
}

void serf_node_updated(struct serf *s, struct member *m)
{
    core_note(s, LOG_INFO, "member updated member=%s", m->name);
    core_changed(s);
}

/* ---- intents ---- */

static void intent_queue(struct serf *s, struct span raw)
{
    (void)gossip_queue(s, &s->intents_q, NULL, raw);
}

void serf_on_join_intent(struct serf *s, const struct msg_join *msg, struct span raw)
{
    struct member *m = table_find(s, msg->node);

    (void)lamport_witness(&s->clock, msg->ltime);
    if (!m || !m->in_serf) {
        if (recent_remember(s, msg->node, false, msg->ltime) && raw.len)
            intent_queue(s, raw);
        return;
    }
    if (msg->ltime <= m->ltime)
        return;
    if (m == s->self && msg->ltime > s->join_ltime && !core_leaving(s)) {
        /*
         * Somebody holds an intent about us that we did not utter in this life, maybe a leave
         * intent: he shows us as leaving until he hears a newer word (pitfall 15).
         */
        serf_announce_join(s);
        return;
    }
    m->ltime = msg->ltime;
    m->prune = false;
    if (m->status == SERF_LEAVING)
        member_set_status(s, m, SERF_ALIVE);
    if (raw.len)
        intent_queue(s, raw);
}

/* Says "I am here" with the current clock; peers hold it against older leave intents. */
void serf_announce_join(struct serf *s)
{
    struct msg_join msg = {s->clock, SPAN_STR(s->self->name)};
    struct strbuf b = STRBUF_INIT;
    struct span raw;

    msg_put(&b, SERF_MSG_JOIN, &msg_join_schema, &msg);
    raw = span_of(&b);
    s->join_ltime = s->clock;
    serf_on_join_intent(s, &msg, (struct span){NULL, 0});
    intent_queue(s, raw);
    strbuf_fini(&b);
}

void serf_on_leave_intent(struct serf *s, const struct msg_leave *msg, struct span raw)
{
    struct member *m = table_find(s, msg->node);

    (void)lamport_witness(&s->clock, msg->ltime);
    if (!m || !m->in_serf) {
        if (recent_remember(s, msg->node, true, msg->ltime) && raw.len)
            intent_queue(s, raw);
        return;
    }
    if (msg->ltime <= m->ltime || region_on_leave(s, msg))
        return;
    if (m == s->self && !core_leaving(s)) {
        core_note(s, LOG_WARN, "refuting a leave intent about this node");
        serf_announce_join(s);
        return;
    }
    m->ltime = msg->ltime;
    if (m->status == SERF_ALIVE)
        member_set_status(s, m, SERF_LEAVING);
    else if (m->status == SERF_FAILED)
        member_set_status(s, m, SERF_LEFT);
    if (raw.len)
        intent_queue(s, raw);
    if (msg->prune && m != s->self) {
        if (m->status == SERF_LEFT)
            member_erase(s, m);
        else
            m->prune = true; /* once it has gone; should it be alive it will refute */
    }
}

void serf_reap(struct serf *s)
{
    for (size_t i = s->n; i-- > 0;) {
        struct member *m = s->tab[i];
        int64_t age = s->now - m->gone_at;

        if (!m->in_serf || m == s->self)
            continue;
        if ((m->status == SERF_FAILED && age > s->o.reconnect_timeout) ||
            (m->status == SERF_LEFT && age > s->o.tombstone_timeout))
            member_erase(s, m);
        else if (m->status == SERF_LEAVING && age > LEAVING_MAX && member_usable(m))
            member_set_status(s, m, SERF_ALIVE); /* it never went: an old intent, or a lie */
    }
    for (size_t i = s->n_recent; i-- > 0;) {
        if (s->now - s->recent[i].at > s->o.recent_intent_timeout)
            recent_remove(s, i);
    }
}

/* ---- leaving ---- */

static uint64_t queue_leave_intent(struct serf *s, const struct msg_leave *msg)
{
    struct strbuf b = STRBUF_INIT;
    uint64_t id;

    msg_put(&b, SERF_MSG_LEAVE, &msg_leave_schema, msg);
    id = gossip_queue(s, &s->intents_q, NULL, span_of(&b));
    strbuf_fini(&b);
    return id;
}

int serf_force_leave(struct serf *s, const char *name, bool prune)
{
    struct msg_leave msg = {s->clock, SPAN_STR(name), prune};
    struct member *m = table_find(s, SPAN_STR(name));

    if (!m || !m->in_serf)
        return -ENOENT;
    s->clock++;
    serf_on_leave_intent(s, &msg, (struct span){NULL, 0});
    (void)queue_leave_intent(s, &msg);
    return 0;
}

int serf_leave_begin(struct serf *s)
{
    struct msg_leave msg = {s->clock, SPAN_STR(s->self->name), false};

    if (core_leaving(s))
        return -EALREADY;
    s->leave = LEAVE_INTENT;
    s->clock++;
    s->self->ltime = msg.ltime;
    member_set_status(s, s->self, SERF_LEAVING);
    s->leave_item = queue_leave_intent(s, &msg);
    s->leave_until = s->now + s->o.broadcast_timeout;
    core_arm(s, T_LEAVE, s->now);
    return 0;
}

/* Has everybody heard who can hear? */
static bool leave_word_is_out(struct serf *s, const struct bcast_queue *q)
{
    struct member *other;

    if (s->now >= s->leave_until || !bcast_has(q, s->leave_item))
        return true;
    return !exchange_joining(s) && table_pick(s, 1, pick_alive, &other) == 0;
}

/* 10.6: the intent, then the goodbye, then a while of answering probes. */
void serf_leave_stage(struct serf *s)
{
    switch (s->leave) {
    case LEAVE_NO:
    case LEAVE_DONE:
        return;
    case LEAVE_INTENT:
        if (!leave_word_is_out(s, &s->intents_q))
            break;
        s->leave = LEAVE_DEAD;
        s->leave_item = nodes_say_goodbye(s);
        s->leave_until = s->now + s->o.broadcast_timeout;
        break;
    case LEAVE_DEAD:
        if (!leave_word_is_out(s, &s->nodes_q))
            break;
        s->leave = LEAVE_LINGER;
        s->leave_until = s->now + s->o.leave_linger;
        break;
    case LEAVE_LINGER:
        if (s->now < s->leave_until)
            break;
        s->leave = LEAVE_DONE;
        member_set_status(s, s->self, SERF_LEFT);
        (void)core_effect(s, SERF_FX_LEFT, (struct span){NULL, 0});
        return;
    }
    core_arm(s, T_LEAVE,
             s->leave == LEAVE_LINGER ? s->leave_until : s->now + s->o.gossip_interval / 4);
}

/* ---- state in push/pull (10.4) ---- */

/*
 * A peer takes the time of a member that has not left for that of a join intent, and would then
 * ignore the leave intent with the same time. So who is leaving is told with one less.
 */
static uint64_t told_ltime(const struct member *m)
{
    return m->status == SERF_LEAVING && m->ltime > 0 ? m->ltime - 1 : m->ltime;
}

static void put_status_ltimes(struct serf *s, struct strbuf *out)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++)
        n += s->tab[i]->in_serf;
    mp_put_map(out, n);
    for (size_t i = 0; i < s->n; i++) {
        if (!s->tab[i]->in_serf)
            continue;
        mp_put_str(out, s->tab[i]->name);
        mp_put_uint(out, told_ltime(s->tab[i]));
    }
}

static bool is_left(const struct member *m)
{
    return m->in_serf && m->status == SERF_LEFT;
}

static void put_left_members(struct serf *s, struct strbuf *out)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++)
        n += is_left(s->tab[i]);
    mp_put_list(out, n);
    for (size_t i = 0; i < s->n; i++) {
        if (is_left(s->tab[i]))
            mp_put_str(out, s->tab[i]->name);
    }
}

void serf_put_state(struct serf *s, struct strbuf *out, int64_t wall)
{
    struct strbuf ltimes = STRBUF_INIT, left = STRBUF_INIT, events = STRBUF_INIT;
    struct msg_serf_state st = {s->clock, s->event_clock, s->query_clock};

    put_status_ltimes(s, &ltimes);
    put_left_members(s, &left);
    serf_event_put_slots(s, &events);
    st.status_ltimes = span_of(&ltimes);
    st.left_members = span_of(&left);
    st.events = span_of(&events);
    st.wall = (uint64_t)wall;
    msg_put(out, SERF_MSG_STATE, &msg_serf_state_schema, &st);
    strbuf_fini(&ltimes);
    strbuf_fini(&left);
    strbuf_fini(&events);
}

struct name_list {
    struct span *names; /* sorted; owned array, borrowed names */
    size_t n;
};

static int name_cmp(const void *a, const void *b)
{
    return span_cmp(*(const struct span *)a, *(const struct span *)b);
}

static void name_list_read(struct name_list *l, struct span list)
{
    struct mp_reader r = mp_reader_of(list);
    struct span item;
    uint32_t n = 0;

    *l = (struct name_list){NULL, 0};
    if (!list.p || mp_get_list(&r, &n))
        return;
    n = MIN(n, (uint32_t)MIN(list.len, (size_t)STREAM_NODES_MAX)); /* each takes a byte */
    l->names = xcalloc((size_t)n + 1, sizeof(*l->names));
    while (l->n < n && mp_get_raw(&r, &item) == 0)
        l->names[l->n++] = item;
    qsort(l->names, l->n, sizeof(*l->names), name_cmp);
}

static bool name_list_has(const struct name_list *l, struct span name)
{
    return l->n > 0 && bsearch(&name, l->names, l->n, sizeof(*l->names), name_cmp);
}

/*
 * The peer holds this time about a member that has not left. It may be the time of a leave intent
 * that has not reached us yet: so only what is older than it is closed out, or that intent would be
 * ignored and the member shown as failed when it goes.
 */
static void merge_status(struct serf *s, struct span name, uint64_t ltime)
{
    struct member *m = table_find(s, name);
    struct msg_join join = {ltime, name};

    if (m == s->self) {
        serf_on_join_intent(s, &join, (struct span){NULL, 0});
        return;
    }
    (void)lamport_witness(&s->clock, ltime);
    if (!m || !m->in_serf) {
        if (ltime > 0)
            (void)recent_remember(s, name, false, ltime - 1);
        return;
    }
    if (ltime <= m->ltime)
        return;
    m->ltime = ltime - 1;
    m->prune = false;
    if (m->status == SERF_LEAVING)
        member_set_status(s, m, SERF_ALIVE);
}

static void merge_statuses(struct serf *s, const struct msg_serf_state *st)
{
    struct mp_reader r = mp_reader_of(st->status_ltimes);
    struct name_list left;
    struct span name;
    uint64_t ltime;
    uint32_t n = 0;

    if (!st->status_ltimes.p || mp_get_map(&r, &n))
        return;
    n = MIN(n, (uint32_t)STREAM_NODES_MAX);
    name_list_read(&left, st->left_members);
    while (n-- > 0 && mp_get_raw(&r, &name) == 0 && mp_get_uint(&r, UINT64_MAX, &ltime) == 0) {
        const struct member *m = table_find(s, name);

        if (m && region_protects(s, m))
            continue; /* left those who tell it, not us */
        if (name_list_has(&left, name)) {
            struct msg_leave leave = {ltime + 1, name, false};

            serf_on_leave_intent(s, &leave, (struct span){NULL, 0});
        } else {
            merge_status(s, name, ltime);
        }
    }
    free(left.names);
}

void serf_merge_state(struct serf *s, struct span state, bool join)
{
    struct mp_scratch scratch = {.used = 0};
    struct msg_serf_state st;
    bool rose = false;

    if (state.len < 1 || state.p[0] != SERF_MSG_STATE ||
        !msg_get((struct span){state.p + 1, state.len - 1}, &msg_serf_state_schema, &st,
                 &scratch)) {
        core_note(s, LOG_WARN, "serf state dropped: it is broken");
        return;
    }
    if (st.ltime > 0)
        rose = lamport_witness(&s->clock, st.ltime - 1);
    if (st.event_ltime > 0)
        (void)lamport_witness(&s->event_clock, st.event_ltime - 1);
    if (st.query_ltime > 0)
        (void)lamport_witness(&s->query_clock, st.query_ltime - 1);
    merge_statuses(s, &st);
    if (s->ignore_old_events)
        s->event_min = MAX(s->event_min, st.event_ltime);
    if (st.events.p)
        serf_event_merge_slots(s, st.events);
    /*
     * Pitfall 15: somebody there may hold an old leave intent about us that is above our last join
     * intent. Who answered a join has not said anything yet: say it again, not too often.
     */
    if (join && rose && s->clock > s->join_ltime && s->now >= s->join_repeat_at &&
        !core_leaving(s)) {
        s->join_repeat_at = s->now + JOIN_REPEAT_INTERVAL;
        serf_announce_join(s);
    }
}
