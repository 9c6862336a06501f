/* SPDX-License-Identifier: MPL-2.0 */
/*
 * "Could we join there?", without joining: pings by UDP, and a push/pull that tells of nobody by
 * TCP, whose answer shows who is there. Nothing of it changes what either side knows.
 */
#include "serfd_core_int.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PING_EVERY (500 * NS_PER_MS)
#define CLOCK_MAX  (5 * NS_PER_SEC) /* clocks that differ by more are a finding */

/* ---- the report ---- */

static void line(struct strbuf *out, const char *check, const char *status, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

static void line(struct strbuf *out, const char *check, const char *status, const char *fmt, ...)
{
    char text[ERRTEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++) { /* names come from strangers */
        if ((unsigned char)*p < ' ')
            *p = '?';
    }
    strbuf_addf(out, "%s\t%s\t%s\n", check, status, text);
}

static void report_tcp(struct serf *s, struct strbuf *out, const struct check *c, struct span error)
{
    int err = c->err;

    if (err == 0 || err == -EKEYREJECTED || err == -EREMOTEIO || err == -EBADMSG)
        line(out, "tcp", "ok", "answers in %.1f ms", (double)c->tcp_rtt / NS_PER_MS);
    else
        line(out, "tcp", "fail", "%s", strerror(-err));
    if (err == 0 || err == -EREMOTEIO || err == -EBADMSG)
        line(out, "key", "ok", "%s",
             s->o.keyring && s->o.keyring->n ? "one of ours" : "not encrypted on either side");
    else if (err == -EKEYREJECTED)
        line(out, "key", "fail", "%.*s", (int)error.len, (const char *)error.p);
    else if (err == -ECONNRESET)
        line(out, "key", "skip", "it hung up without an answer, as with a wrong key");
    else
        line(out, "key", "skip", "no answer by TCP");
    if (err == -EREMOTEIO || err == -EBADMSG)
        line(out, "join", "fail", "%.*s", (int)error.len, (const char *)error.p);
}

static void report_clock(struct serf *s, struct strbuf *out, const struct check *c, int64_t theirs)
{
    int64_t half = c->tcp_rtt / 2, ahead = theirs - (s->wall - half);
    int64_t off = ahead < 0 ? -ahead : ahead;

    if (theirs == 0 || s->wall == 0)
        line(out, "clock", "skip", "it does not tell its clock, as Nomad does not");
    else
        line(out, "clock", off > CLOCK_MAX + half ? "fail" : "ok", "%.0f ms %s ours (+-%.0f ms)",
             (double)off / NS_PER_MS, ahead < 0 ? "behind" : "ahead of",
             (double)half / NS_PER_MS + 1);
}

/* The regions there with the number of their servers. */
static void report_regions(struct strbuf *out, const struct msg_state_node *nodes, size_t n)
{
    struct {
        struct span name;
        size_t servers;
    } regions[32];
    struct strbuf text = STRBUF_INIT;
    size_t count = 0, more = 0;

    for (size_t i = 0; i < n; i++) {
        struct span region = {NULL, 0};
        size_t k = 0;

        if (!state_node_lives(&nodes[i]) || !tags_find(nodes[i].meta, "region", &region))
            continue;
        while (k < count && !span_eq(regions[k].name, region))
            k++;
        if (k == ARRAY_LEN(regions)) {
            more++;
            continue;
        }
        if (k == count) {
            regions[count].name = region;
            regions[count++].servers = 0;
        }
        regions[k].servers++;
    }
    for (size_t k = 0; k < count; k++)
        strbuf_addf(&text, "%s%.*s (%zu)", k ? ", " : "", (int)MIN(regions[k].name.len, (size_t)64),
                    (const char *)regions[k].name.p, regions[k].servers);
    line(out, "region", count ? "ok" : "fail", "%s%s", count ? text.data : "no server there",
         more ? " and more" : "");
    strbuf_fini(&text);
}

static void report_name(const struct serf *s, struct strbuf *out,
                        const struct msg_state_node *nodes, size_t n)
{
    char text[GOSSIP_ADDR_TEXT_MAX];
    struct gossip_addr addr;

    for (size_t i = 0; i < n; i++) {
        if (!state_node_lives(&nodes[i]) || !span_is(nodes[i].name, s->self->name) ||
            !gossip_addr_from(&addr, nodes[i].addr, nodes[i].port) ||
            gossip_addr_eq(&addr, &s->self->addr))
            continue;
        line(out, "name", "fail", "'%s' is in use there by %s", s->self->name,
             gossip_addr_text(&addr, text));
        return;
    }
    line(out, "name", "ok", "'%s' is free or ours", s->self->name);
}

/* The first of them that a guard has something against, by what it is. */
static void report_guards(struct serf *s, struct strbuf *out, const struct msg_state_node *nodes,
                          size_t n)
{
    struct guard_subject self = nodes_subject(s->self);
    struct errtext stranger = {""}, group = {""};
    const char *own = s->o.guard ? s->o.guard->federation : "";

    for (size_t i = 0; i < n; i++) {
        struct guard_subject m = {nodes[i].name, nodes[i].meta, {.ip_len = 0}};
        struct errtext e;
        int r;

        if (!state_node_lives(&nodes[i]) || span_is(m.name, s->self->name) ||
            !gossip_addr_from(&m.addr, nodes[i].addr, nodes[i].port))
            continue;
        r = guard_check(s->o.guard, &self, &m, &e);
        if ((r == -EPERM || r == -ESTALE) && !stranger.text[0])
            stranger = e;
        if (r == -EXDEV && !group.text[0])
            group = e;
    }
    line(out, "federation", stranger.text[0] ? "fail" : "ok", "%s",
         stranger.text[0] ? stranger.text : (*own ? own : "open on this side"));
    line(out, "raft group", group.text[0] ? "fail" : "ok", "%s",
         group.text[0] ? group.text : "no other group under our region's name");
}

static void report_version(struct serf *s, struct strbuf *out, const struct check_view *v)
{
    struct span build = {NULL, 0};

    for (size_t i = 0; i < v->n && !build.len; i++)
        (void)tags_find(v->nodes[i].meta, "build", &build);
    if (v->misfit.len)
        line(out, "version", "fail", "member '%.*s' speaks no common protocol version",
             (int)v->misfit.len, (const char *)v->misfit.p);
    else if (v->stranger[0] && s->o.nomad_filter)
        line(out, "version", "fail", "%s", v->stranger);
    else
        line(out, "version", "ok", "build %.*s, protocols fit", (int)MIN(build.len, (size_t)64),
             build.len ? (const char *)build.p : "");
}

/* ---- life ---- */

static void check_end(struct serf *s, size_t i)
{
    struct check *c = &s->checks[i];
    struct serf_effect *fx;

    if (c->udp_rtt >= 0)
        strbuf_addf(&c->head, "udp\tok\tanswers in %.1f ms\n", (double)c->udp_rtt / NS_PER_MS);
    else
        strbuf_adds(&c->head, "udp\tfail\tno answer; a wrong key looks the same\n");
    strbuf_add(&c->head, c->tail.data, c->tail.len);
    strbuf_addc(&c->head, 0);
    fx = core_effect(s, SERF_FX_CHECKED, (struct span){(const uint8_t *)c->head.data, c->head.len});
    fx->id = c->user_id;
    fx->addr = c->addr;
    strbuf_fini(&c->head);
    strbuf_fini(&c->tail);
    s->checks[i] = s->checks[--s->n_checks];
}

static void send_ping(struct serf *s, struct check *c)
{
    struct strbuf b = STRBUF_INIT;
    struct span msg;

    c->seq = ++s->seq;
    probe_put_ping(s, &b, c->seq, (struct span){NULL, 0});
    msg = span_of(&b);
    gossip_send_plain(s, &c->addr, NULL, &msg, 1);
    strbuf_fini(&b);
    c->pinged_at = s->now;
}

int check_begin(struct serf *s, const struct serf_event *ev)
{
    struct check *c;

    if (s->n_checks == CHECKS_MAX)
        return -EBUSY;
    c = &s->checks[s->n_checks];
    *c = (struct check){.user_id = ev->id, .addr = ev->addr, .start = s->now, .udp_rtt = -1};
    c->dial = exchange_look(s, &ev->addr);
    if (!c->dial)
        return -EBUSY;
    s->n_checks++;
    send_ping(s, c);
    core_arm(s, T_CHECK, s->now + PING_EVERY);
    return 0;
}

void check_due(struct serf *s)
{
    for (size_t i = s->n_checks; i-- > 0;) {
        struct check *c = &s->checks[i];

        if (!c->dial && (c->udp_rtt >= 0 || s->now - c->start >= CHECK_UDP)) {
            check_end(s, i);
            continue;
        }
        if (c->udp_rtt < 0 && s->now - c->start < CHECK_UDP)
            send_ping(s, c);
        core_arm(s, T_CHECK, s->now + PING_EVERY);
    }
}

bool check_on_ack(struct serf *s, uint32_t seq)
{
    for (size_t i = 0; i < s->n_checks; i++) {
        struct check *c = &s->checks[i];

        if (c->seq != seq || c->udp_rtt >= 0)
            continue;
        c->udp_rtt = s->now - c->pinged_at;
        if (!c->dial)
            check_end(s, i);
        return true;
    }
    return false;
}

/* What only those can say who show who is there. */
static const char *const view_lines[] = {"clock", "version",    "region",
                                         "name",  "federation", "raft group"};

void check_on_answer(struct serf *s, uint64_t dial, const struct check_view *v)
{
    struct strbuf *out;
    struct check *c;
    size_t i = 0;

    while (i < s->n_checks && s->checks[i].dial != dial)
        i++;
    if (i == s->n_checks)
        return;
    c = &s->checks[i];
    out = &c->tail;
    c->dial = 0;
    c->err = v->err;
    c->tcp_rtt = s->now - c->start;
    report_tcp(s, out, c, v->error);
    if (!guard_allows(s->o.guard, &c->addr))
        line(out, "address", "fail", "our join_allow leaves it out");
    if (gossip_addr_eq(&c->addr, &s->self->addr) || gossip_addr_eq(&c->addr, member_reach(s->self)))
        line(out, "address", "skip", "this is the server that asks");
    if (v->err == 0) {
        report_clock(s, out, c, v->wall);
        report_version(s, out, v);
        report_regions(out, v->nodes, v->n);
        report_name(s, out, v->nodes, v->n);
        report_guards(s, out, v->nodes, v->n);
    } else {
        for (size_t k = 0; k < ARRAY_LEN(view_lines); k++)
            line(out, view_lines[k], "skip", "it did not show its pool");
    }
    if (c->udp_rtt >= 0 || s->now - c->start >= CHECK_UDP)
        check_end(s, i);
}

void check_fini(struct serf *s)
{
    for (size_t i = 0; i < s->n_checks; i++) {
        strbuf_fini(&s->checks[i].head);
        strbuf_fini(&s->checks[i].tail);
    }
}
