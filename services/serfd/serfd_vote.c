/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The vote about a name that two nodes claim (10.9): all others are asked at which address they
 * know it. Serf's agent ends when it loses, Nomad does not ask; a server that ends by itself
 * because somebody took its name would be worse than the conflict, so here the log says who is
 * right.
 */
#include "serfd_core_int.h"

#include <string.h>

#define VOTE_INTERVAL (60 * NS_PER_SEC)

void vote_begin(struct serf *s)
{
    struct serf_query q = {.name = "_serf_conflict", .payload = SPAN_STR(s->self->name)};

    if (s->vote.under_way || s->now < s->vote.next_at)
        return;
    s->vote.next_at = s->now + VOTE_INTERVAL;
    s->vote.answers = s->vote.ours = 0;
    s->vote.under_way = asks_begin(s, VOTE_ID, &q) == 0;
}

void vote_count(struct serf *s, struct span payload)
{
    struct mp_scratch scratch = {.used = 0};
    struct gossip_addr addr;
    struct msg_member m;

    if (payload.len < 2 || payload.p[0] != SERF_MSG_CONFLICT)
        return;
    s->vote.answers++;
    /* An answer of nil: that member knows no such name. */
    if (msg_get((struct span){payload.p + 1, payload.len - 1}, &msg_member_schema, &m, &scratch) &&
        gossip_addr_from(&addr, m.addr, m.port) && gossip_addr_eq(&addr, &s->self->addr))
        s->vote.ours++;
}

void vote_end(struct serf *s)
{
    bool won = s->vote.ours >= s->vote.answers / 2 + 1;

    s->vote.under_way = false;
    core_note(s, won ? LOG_WARN : LOG_ERROR, "%s: member=%s answers=%u ours=%u",
              won ? "most members know the name of this node as ours"
                  : "most members do not know the name of this node as ours: give one of the two "
                    "another name",
              s->self->name, s->vote.answers, s->vote.ours);
}
