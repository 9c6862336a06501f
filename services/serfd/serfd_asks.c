/* SPDX-License-Identifier: MPL-2.0 */
/* Queries of our own (10.9): sent by gossip, heard and answered by ourselves too. */
#include "serfd_core_int.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define TIMEOUT_MULT 16
#define AGAIN_RELAY  2u  /* members who pass on what those answer who are asked again */
#define AGAIN_MAX    256 /* members asked again at a time */
#define NAMES_ROOM   600 /* bytes of names in a log line */

/* ---- sets of names ---- */

static size_t set_find(const struct name_set *set, struct span name, bool *ret_found)
{
    size_t lo = 0, hi = set->n;

    *ret_found = false;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = span_cmp(SPAN_STR(set->names[mid]), name);

        if (c == 0) {
            *ret_found = true;
            return mid;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void set_add(struct name_set *set, struct span name)
{
    bool found;
    size_t at = set_find(set, name, &found);

    if (found)
        return;
    if (set->n == set->cap) {
        set->cap = MAX(set->cap * 2, (size_t)16);
        set->names = xrealloc(set->names, set->cap * sizeof(*set->names));
    }
    memmove(&set->names[at + 1], &set->names[at], (set->n - at) * sizeof(*set->names));
    set->names[at] = xstrndup((const char *)name.p, name.len);
    set->n++;
}

static void set_fini(struct name_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        free(set->names[i]);
    free(set->names);
}

/* ---- asking ---- */

static size_t count_living(const struct serf *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++)
        n += member_usable(s->tab[i]);
    return n;
}

static int64_t default_timeout(const struct serf *s)
{
    return s->o.gossip_interval * TIMEOUT_MULT * (int64_t)ceil(log10((double)count_living(s) + 1));
}

/* The question, once more with a new clock value and id, which belong to the ask from now on. */
static struct msg_query next_round(struct serf *s, struct ask *a)
{
    struct msg_query q = {
        .ltime = s->query_clock++,
        .id = (uint32_t)prng_below(&s->prng, (uint64_t)INT32_MAX) + 1,
        .addr = {s->self->addr.ip, s->self->addr.ip_len},
        .port = s->self->addr.port,
        .source_node = SPAN_STR(s->self->name),
        .name = SPAN_STR(a->q.name),
        .payload = a->q.payload,
        .flags = a->q.acks ? QUERY_FLAG_ACK : 0,
        .relay_factor = (uint8_t)a->q.relay,
        .timeout_ns = MAX(a->deadline - s->now, (int64_t)1),
    };

    assert(a->rounds < ARRAY_LEN(a->ltime));
    a->ltime[a->rounds] = q.ltime;
    a->qid[a->rounds] = q.id;
    a->rounds++;
    return q;
}

/* By gossip, to all and to ourselves. */
static int say(struct serf *s, struct ask *a, struct span filters)
{
    struct msg_query q = next_round(s, a);
    struct strbuf b = STRBUF_INIT;
    int r = 0;

    q.filters = filters;
    msg_put(&b, SERF_MSG_QUERY, &msg_query_schema, &q);
    if (b.len > QUERY_MSG_MAX)
        r = -EMSGSIZE;
    else
        queries_on_query(s, &q, span_of(&b));
    strbuf_fini(&b);
    return r;
}

static void ask_fini(struct ask *a)
{
    free((void *)a->q.name);
    set_fini(&a->asked);
    set_fini(&a->acked);
    set_fini(&a->answered);
}

static bool is_silent(const struct ask *a, const char *name)
{
    bool found;

    (void)set_find(&a->answered, SPAN_STR(name), &found);
    return !found;
}

/* Those who lived at the start, whatever became of them meanwhile. */
static void note_silent(struct serf *s, const struct ask *a)
{
    struct strbuf names = STRBUF_BOUND(NAMES_ROOM);

    for (size_t i = 0; i < a->asked.n; i++) {
        if (is_silent(a, a->asked.names[i]))
            strbuf_addf(&names, "%s%s", names.len ? "," : "", a->asked.names[i]);
    }
    core_note(s, LOG_WARN, "query not answered by all name=%s answers=%zu of=%zu silent=%s",
              a->q.name, a->answered.n, a->expected, names.data ? names.data : "");
    strbuf_fini(&names);
}

static void ask_end(struct serf *s, struct ask *a)
{
    struct serf_effect *fx;

    if (a->q.insist && a->answered.n < a->expected)
        note_silent(s, a);
    if (a->id == VOTE_ID) {
        vote_end(s);
    } else {
        fx = core_effect(s, SERF_FX_REPLIED, (struct span){NULL, 0});
        fx->id = a->id;
        fx->number = a->expected;
    }
    ask_fini(a);
    *a = s->asks[--s->n_asks];
}

static bool ask_complete(const struct ask *a)
{
    return a->q.insist && a->answered.n >= a->expected;
}

static void arm(struct serf *s)
{
    for (size_t i = 0; i < s->n_asks; i++)
        core_arm(s, T_ASKS, MIN(s->asks[i].again_at, s->asks[i].deadline));
}

int asks_begin(struct serf *s, uint64_t id, const struct serf_query *q)
{
    size_t name_len = strlen(q->name);
    struct ask *a = &s->asks[s->n_asks];
    char *copy;
    int r;

    if (name_len == 0 || q->relay > UINT8_MAX || (q->insist && q->filters.p))
        return -EINVAL;
    if (name_len + q->payload.len > QUERY_MSG_MAX)
        return -EMSGSIZE;
    if (s->n_asks == ASKS_MAX)
        return -EBUSY;
    copy = xcalloc(1, name_len + 1 + q->payload.len);
    memcpy(copy, q->name, name_len);
    if (q->payload.len)
        memcpy(copy + name_len + 1, q->payload.p, q->payload.len);
    *a = (struct ask){.id = id, .q = *q, .expected = count_living(s)};
    a->q.name = copy;
    if (q->payload.p)
        a->q.payload.p = (const uint8_t *)copy + name_len + 1;
    a->q.filters = (struct span){NULL, 0};
    a->deadline = s->now + (q->timeout_ns > 0 ? q->timeout_ns : default_timeout(s));
    a->pause = (a->deadline - s->now) / ASK_ROUNDS_MAX;
    a->again_at = q->insist ? s->now + a->pause : NEVER;
    for (size_t i = 0; i < s->n && q->insist; i++) {
        if (member_usable(s->tab[i]))
            set_add(&a->asked, SPAN_STR(s->tab[i]->name));
    }
    s->n_asks++; /* before our own answer comes, which is at once */
    r = say(s, a, q->filters);
    if (r) {
        s->n_asks--;
        ask_fini(a);
        return r;
    }
    arm(s);
    return 0;
}

/*
 * The question once more, for those who have not answered: it or the answer was lost. Straight to
 * each and not to be passed on: a copy on its way by gossip could arrive after the next order, and
 * would undo that.
 */
static void ask_again(struct serf *s, struct ask *a)
{
    struct msg_query q = next_round(s, a);
    struct strbuf b = STRBUF_INIT;
    struct span part;
    size_t n = 0;

    q.flags |= QUERY_FLAG_NO_BROADCAST;
    q.relay_factor = (uint8_t)MAX(a->q.relay, AGAIN_RELAY);
    strbuf_addc(&b, ML_USER);
    msg_put(&b, SERF_MSG_QUERY, &msg_query_schema, &q);
    part = span_of(&b);
    for (size_t i = 0; i < s->n && n < AGAIN_MAX; i++) {
        struct member *m = s->tab[i];

        if (m == s->self || !member_usable(m) || !is_silent(a, m->name))
            continue;
        gossip_send_plain(s, member_reach(m), m, &part, 1);
        n++;
    }
    core_note(s, LOG_DEBUG, "query asked again name=%s silent=%zu", a->q.name, n);
    strbuf_fini(&b);
}

void asks_due(struct serf *s)
{
    for (size_t i = s->n_asks; i-- > 0;) {
        struct ask *a = &s->asks[i];

        if (a->deadline <= s->now) {
            ask_end(s, a);
        } else if (a->again_at <= s->now) {
            a->again_at = a->rounds + 1 < ASK_ROUNDS_MAX ? s->now + a->pause : NEVER;
            ask_again(s, a);
        }
    }
    arm(s);
}

/* ---- answers ---- */

static struct ask *ask_find(struct serf *s, const struct msg_query_response *resp)
{
    for (size_t i = 0; i < s->n_asks; i++) {
        for (unsigned k = 0; k < s->asks[i].rounds; k++) {
            if (s->asks[i].ltime[k] == resp->ltime && s->asks[i].qid[k] == resp->id)
                return &s->asks[i];
        }
    }
    return NULL;
}

void asks_on_response(struct serf *s, const struct msg_query_response *resp)
{
    const struct member *from = table_find(s, resp->from);
    struct ask *a = ask_find(s, resp);
    bool ack = resp->flags & QUERY_FLAG_ACK, found;
    struct strbuf b = STRBUF_INIT;
    struct serf_effect *fx;

    if (!a || !from || !from->in_serf || resp->payload.len > QUERY_MSG_MAX)
        return;
    (void)set_find(ack ? &a->acked : &a->answered, resp->from, &found);
    if (found)
        return;
    if (a->id == VOTE_ID) {
        set_add(ack ? &a->acked : &a->answered, resp->from);
        vote_count(s, resp->payload);
        return;
    }
    strbuf_add(&b, from->name, strlen(from->name) + 1);
    strbuf_add(&b, resp->payload.p, resp->payload.len);
    fx = core_effect(s, SERF_FX_REPLY, span_of(&b));
    strbuf_fini(&b);
    if (!fx)
        return; /* too much at a time: as if it was lost on the way */
    fx->id = a->id;
    fx->ack = ack;
    set_add(ack ? &a->acked : &a->answered, resp->from);
    if (ask_complete(a)) { /* by the next tick: it may still be in the making */
        a->deadline = s->now;
        core_arm(s, T_ASKS, s->now);
    }
}

void asks_fini(struct serf *s)
{
    for (size_t i = 0; i < s->n_asks; i++)
        ask_fini(&s->asks[i]);
}
