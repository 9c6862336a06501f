/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Our region's place in the federation. Its servers agree by a number in their tags, the epoch:
 * even, the region is in; odd, it has left and its servers keep to themselves. The highest epoch
 * seen at a server of the region counts, so one order reaches all, and those that slept learn it.
 *
 *   in --order--> waiting (all of the region shall know) --goodbye to the others--> out
 *    ^                                                                               |
 *    +----------------------------- server join -------------------------------------+
 *
 * The goodbye is Serf's own (a leave intent, then "dead" in our own words, then a leave intent with
 * prune), so every peer forgets us in peace. It may come back to the region by way of others: its
 * intents are marked, and the region's servers do not believe it of each other. Whoever still pings
 * us hears it again.
 */
#include "serfd_core_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WAIT_STEP    (50 * NS_PER_MS)
#define WAIT_MAX     (5 * NS_PER_SEC) /* for servers of the region that do not answer */
#define BYE_INTERVAL (200 * NS_PER_MS)
#define BYE_MAX      256 /* members that hear it from us, in large pools; gossip does the rest */
#define BYE_DOWN_MAX 16  /* servers of the region that are down and forgotten with it */

/*
 * One thing at a time: a Serf peer reads what comes together in an order of its own, and sleeps for
 * seconds when it is to prune a member that has not left yet. Each twice, for some are lost.
 */
enum bye { BYE_LEAVE, BYE_DEAD, BYE_PRUNE };
static const enum bye byes[] = {BYE_LEAVE, BYE_LEAVE, BYE_DEAD, BYE_DEAD, BYE_PRUNE, BYE_PRUNE};

/* ---- tags ---- */

static uint32_t epoch_of(struct span meta)
{
    struct span v;
    uint64_t n = 0;

    if (!tags_find(meta, TAG_EPOCH, &v) || v.len == 0 || v.len > 9)
        return 0;
    for (size_t i = 0; i < v.len; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return 0;
        n = n * 10 + (v.p[i] - '0');
    }
    return (uint32_t)n;
}

static bool region_is_own(const struct serf *s, struct span meta)
{
    struct span theirs, ours;

    return tags_find(meta, "region", &theirs) && tags_find(member_meta(s->self), "region", &ours) &&
           span_eq(theirs, ours);
}

bool region_has_left(struct span meta)
{
    return epoch_of(meta) % 2 == 1;
}

static bool is_out(const struct serf *s)
{
    return s->region_out;
}

bool region_detached(const struct serf *s)
{
    return s->epoch % 2 == 1;
}

int region_set_tags(struct serf *s, struct span meta)
{
    struct strbuf out = STRBUF_INIT;
    struct tags_iter it;
    struct span k, v;
    char text[16];
    size_t n = 0;
    int r;

    for (tags_begin(&it, meta); tags_next(&it, &k, &v);)
        n += !span_is(k, TAG_EPOCH);
    strbuf_addc(&out, (char)TAGS_MARK);
    mp_put_map(&out, n + (s->epoch > 0));
    for (tags_begin(&it, meta); tags_next(&it, &k, &v);) {
        if (span_is(k, TAG_EPOCH))
            continue;
        mp_put_raw(&out, k);
        mp_put_raw(&out, v);
    }
    if (s->epoch > 0) {
        (void)snprintf(text, sizeof(text), "%u", s->epoch);
        mp_put_str(&out, TAG_EPOCH);
        mp_put_str(&out, text);
    }
    r = nodes_set_meta(s, span_of(&out));
    strbuf_fini(&out);
    return r;
}

/* ---- the epoch ---- */

static void prepare(struct serf *s)
{
    if (!s->byes)
        s->byes = xcalloc(BYE_MAX, sizeof(*s->byes));
}

/*
 * Do all of the region know? Those that do not hear it from us: gossip may spend all of its few
 * copies on members of other regions, who do not pass it on.
 */
static bool tell_region(struct serf *s)
{
    bool all = true;

    for (size_t i = 0; i < s->n; i++) {
        const struct member *m = s->tab[i];

        if (m == s->self || !member_usable(m) || !region_is_own(s, member_meta(m)) ||
            epoch_of(member_meta(m)) >= s->epoch)
            continue;
        nodes_tell_self(s, member_reach(m));
        all = false;
    }
    return all;
}

static void set_epoch(struct serf *s, uint32_t epoch)
{
    bool before = region_detached(s);

    s->epoch = epoch;
    s->region_out = false;
    s->at[T_REGION] = NEVER;
    (void)region_set_tags(s, member_meta(s->self));
    core_changed(s);
    (void)tell_region(s);
    if (region_detached(s)) {
        prepare(s);
        core_note(s, LOG_WARN, "this region leaves the federation: epoch=%u", epoch);
        s->region_until = s->now + WAIT_MAX;
        core_arm(s, T_REGION, s->now + WAIT_STEP);
    } else if (before) {
        core_note(s, LOG_WARN, "this region is back in the federation: epoch=%u", epoch);
        if (!core_leaving(s))
            serf_announce_join(s);
        exchange_sync_soon(s);
    }
}

void region_restore(struct serf *s, uint32_t epoch)
{
    s->epoch = epoch;
    s->region_out = region_detached(s);
    prepare(s);
    s->bye_round = ARRAY_LEN(byes);
    (void)region_set_tags(s, member_meta(s->self));
}

int region_leave(struct serf *s)
{
    if (core_leaving(s))
        return -ESHUTDOWN;
    if (region_detached(s))
        return -EALREADY;
    set_epoch(s, s->epoch + 1);
    return 0;
}

/* A server of our region knows more than we do. Those of another raft group have no say. */
void region_learn(struct serf *s, struct span meta)
{
    uint32_t epoch = epoch_of(meta);
    struct span theirs, ours;

    if (epoch <= s->epoch || !region_is_own(s, meta))
        return;
    if (tags_find(meta, GUARD_TAG_GROUP, &theirs) &&
        tags_find(member_meta(s->self), GUARD_TAG_GROUP, &ours) && !span_eq(theirs, ours))
        return;
    set_epoch(s, epoch);
}

/* ---- the goodbye ---- */

static void tell_all(struct serf *s, const struct strbuf *b)
{
    struct span msg = span_of(b);

    for (size_t i = 0; i < s->n_byes; i++)
        gossip_send_plain(s, &s->byes[i], NULL, &msg, 1);
}

static void say_leave(struct serf *s, const struct member *m, bool prune)
{
    struct msg_leave leave = {
        .ltime = s->bye_ltime, .node = SPAN_STR(m->name), .prune = prune, .abroad = true};
    struct strbuf b = STRBUF_INIT;

    strbuf_addc(&b, ML_USER);
    msg_put(&b, SERF_MSG_LEAVE, &msg_leave_schema, &leave);
    tell_all(s, &b);
    strbuf_fini(&b);
}

static void say_dead(struct serf *s)
{
    struct msg_accuse dead = {s->self->inc, SPAN_STR(s->self->name), SPAN_STR(s->self->name)};
    struct strbuf b = STRBUF_INIT;

    msg_put(&b, ML_DEAD, &msg_accuse_schema, &dead);
    tell_all(s, &b);
    strbuf_fini(&b);
}

/* Each says it for itself, and for those of the region that are down. */
static void say_goodbye(struct serf *s)
{
    enum bye what = byes[s->bye_round];
    size_t n = 0;

    if (s->bye_round == 0 || what != byes[s->bye_round - 1])
        s->bye_ltime = s->clock++;
    if (what == BYE_DEAD) {
        say_dead(s);
        return;
    }
    say_leave(s, s->self, what == BYE_PRUNE);
    for (size_t i = 0; i < s->n && n < BYE_DOWN_MAX; i++) {
        const struct member *m = s->tab[i];

        if (m == s->self || member_usable(m) || !region_is_own(s, member_meta(m)))
            continue;
        say_leave(s, m, what == BYE_PRUNE);
        n++;
    }
}

/* It hears a round of goodbyes, this one or the next. */
static void add_bye(struct serf *s, const struct gossip_addr *to)
{
    if (s->bye_round == ARRAY_LEN(byes)) {
        s->bye_round = 0;
        s->n_byes = 0;
        core_arm(s, T_REGION, s->now);
    }
    for (size_t i = 0; i < s->n_byes; i++) {
        if (gossip_addr_eq(&s->byes[i], to))
            return;
    }
    if (s->n_byes < BYE_MAX)
        s->byes[s->n_byes++] = *to;
}

/* Somebody still thinks that we are there. */
void region_on_ping(struct serf *s, struct span source, const struct gossip_addr *to)
{
    const struct member *m = table_find(s, source);

    if (is_out(s) && !core_leaving(s) && (!m || !member_usable(m)))
        add_bye(s, to);
}

static bool is_foreign(const struct serf *s, const struct member *m)
{
    return m->in_list && !region_is_own(s, member_meta(m));
}

static bool hears_goodbye(const struct serf *s, const struct member *m)
{
    return member_usable(m) && is_foreign(s, m);
}

static void forget_foreign(struct serf *s)
{
    for (size_t i = s->n; i-- > 0;) {
        struct member *m = s->tab[i];

        if (m == s->self || region_is_own(s, member_meta(m)))
            continue;
        if (m->in_list)
            nodes_drop(s, m);
        else
            serf_drop(s, m);
    }
}

static void go_out(struct serf *s)
{
    struct member **to = xcalloc(BYE_MAX, sizeof(struct member *));
    size_t n = table_pick(s, BYE_MAX, hears_goodbye, to);

    s->n_byes = n;
    for (size_t i = 0; i < n; i++)
        s->byes[i] = *member_reach(to[i]);
    free(to);
    forget_foreign(s);
    s->region_out = true;
    s->bye_round = 0;
    core_changed(s);
    core_note(s, LOG_WARN, "this region has left the federation: members told=%zu", n);
}

void region_due(struct serf *s)
{
    if (!region_detached(s) || core_leaving(s))
        return;
    if (!s->region_out) {
        if (!tell_region(s) && s->now < s->region_until) {
            core_arm(s, T_REGION, s->now + WAIT_STEP);
            return;
        }
        go_out(s);
    }
    if (s->bye_round == ARRAY_LEN(byes))
        return;
    say_goodbye(s);
    s->bye_round++;
    core_arm(s, T_REGION, s->now + BYE_INTERVAL);
}

/* ---- what others say ---- */

bool region_protects(const struct serf *s, const struct member *m)
{
    return (region_detached(s) || m->abroad) && m != s->self && member_usable(m) &&
           region_is_own(s, member_meta(m));
}

bool region_on_leave(struct serf *s, const struct msg_leave *msg)
{
    struct member *m = table_find(s, msg->node);

    if (!msg->abroad || !m || !region_is_own(s, member_meta(m)))
        return false;
    m->abroad = true; /* what it says next is for the others, too */
    return true;
}

bool region_refuses(const struct serf *s, struct span meta)
{
    return is_out(s) && !region_is_own(s, meta);
}

static enum region_view region_look(const struct serf *s, const struct msg_state_node *nodes,
                                    size_t n)
{
    bool own = false, foreign = false;

    for (size_t i = 0; i < n; i++) {
        if (!state_node_lives(&nodes[i]))
            continue;
        if (region_is_own(s, nodes[i].meta))
            own = true;
        else
            foreign = true;
    }
    return foreign ? (own ? REGION_MIXED : REGION_FOREIGN) : REGION_OWN;
}

/*
 * Those who could not hear our goodbye, behind a cut link, hold us for failed and come to look:
 * they hear it now.
 */
static void wake_foreign(struct serf *s, const struct msg_state_node *nodes, size_t n)
{
    struct gossip_addr to;

    if (core_leaving(s))
        return;
    for (size_t i = 0; i < n; i++) {
        if (state_node_lives(&nodes[i]) && !region_is_own(s, nodes[i].meta) &&
            gossip_addr_from(&to, nodes[i].addr, nodes[i].port))
            add_bye(s, &to);
    }
}

/* Servers of our region that are still among others: they learn from our tag. */
static void wake_own(struct serf *s, const struct msg_state_node *nodes, size_t n)
{
    struct gossip_addr to;

    for (size_t i = 0; i < n; i++) {
        if (state_node_lives(&nodes[i]) && region_is_own(s, nodes[i].meta) &&
            !span_is(nodes[i].name, s->self->name) &&
            gossip_addr_from(&to, nodes[i].addr, nodes[i].port))
            nodes_tell_self(s, &to);
    }
}

int region_may_join(struct serf *s, const struct msg_state_node *nodes, size_t n, bool attach,
                    struct errtext *e)
{
    enum region_view view = region_look(s, nodes, n);

    if (!region_detached(s) || view == REGION_OWN)
        return 0;
    if (attach) {
        set_epoch(s, s->epoch + 1);
        return 0;
    }
    if (view == REGION_MIXED)
        wake_own(s, nodes, n);
    return err_set(e, -ECANCELED,
                   "this region has left the federation, `server join` brings it back");
}

bool region_takes(struct serf *s, const struct msg_state_node *nodes, size_t n, struct errtext *e)
{
    enum region_view view = region_look(s, nodes, n);
    struct span region = {NULL, 0};

    if (!is_out(s) || view == REGION_OWN)
        return true;
    if (view == REGION_MIXED)
        wake_own(s, nodes, n);
    wake_foreign(s, nodes, n);
    (void)tags_find(member_meta(s->self), "region", &region);
    (void)err_set(e, -EPERM,
                  "region %.*s has left the federation, `server join` at one of its servers "
                  "brings it back",
                  (int)MIN(region.len, (size_t)128), (const char *)region.p);
    return false;
}
