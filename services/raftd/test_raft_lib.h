/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A small group of cores for named scenarios: every message is held until the test delivers it,
 * disks are as slow as the test wants, and all that leaves a server can be asserted as a trace.
 */
#pragma once

#include <check.h>

#include "raft_core.h"
#include "raft_wire.h"

#define TG_MAX   6
#define TG_MSGS  4096
#define TG_LOG   256
#define TG_MS(n) ((n)*NS_PER_MS)

struct tg_entry {
    uint64_t term;
    uint8_t type;
    struct raft_buf *buf;
};

struct tg_server {
    struct raft *r;
    bool up;
    bool slow_disk; /* nothing is durable until tg_persist() */
    const struct raft_out *out;
    /* disk */
    uint64_t term, vote;
    struct tg_entry log[TG_LOG]; /* [i] has index i + 1 */
    unsigned log_n;
    struct raft_snapshot_meta snap;
    /* written, not durable (slow_disk) */
    uint64_t seq;
    uint64_t applied;
    uint64_t reads_id, reads_index;
    int reads_err;
    unsigned reads_n, notice;
};

struct tg_msg {
    unsigned from, to;
    struct raft_buf *frame;
};

struct tgroup {
    struct tg_server s[TG_MAX + 1]; /* by id, from 1 */
    unsigned n;
    int64_t now_ns;
    struct tg_msg msgs[TG_MSGS];
    unsigned msgs_n;
    bool cut[TG_MAX + 1][TG_MAX + 1];
    struct raft_options opt; /* of all servers; id and seed are set */
    struct strbuf trace;
};

/* `voters` servers with ids from 1, all voters, up to `n` in all; none is started. */
void tg_init(struct tgroup *g, unsigned voters, unsigned n);
void tg_fini(struct tgroup *g);
/* Puts entries with these terms (0 ends) behind the configuration on a disk. */
void tg_log(struct tgroup *g, unsigned id, uint64_t term, const uint64_t *terms);
void tg_start(struct tgroup *g, unsigned id);
void tg_start_all(struct tgroup *g);
void tg_stop(struct tgroup *g, unsigned id); /* what was not durable is lost */

/* One event; writes are durable at once unless slow_disk. Messages are queued. */
int tg_step(struct tgroup *g, unsigned id, struct raft_event *ev);
void tg_persist(struct tgroup *g, unsigned id); /* all writes so far */
int tg_propose(struct tgroup *g, unsigned id, const char *text);
int tg_change(struct tgroup *g, unsigned id, enum raft_change change, unsigned server);
int tg_read(struct tgroup *g, unsigned id, uint64_t read);
int tg_transfer(struct tgroup *g, unsigned id, unsigned to);
int tg_receive(struct tgroup *g, unsigned id, const struct raft_msg *m);
/* Lets time pass and ticks this server. */
void tg_tick(struct tgroup *g, unsigned id, int64_t ms);
/* Makes `id` leader by letting its election timeout pass, all messages delivered. */
void tg_elect(struct tgroup *g, unsigned id);

/* Delivers everything, answers included, until nothing is under way; lost where cut. */
void tg_deliver(struct tgroup *g);
/* Only what is under way from one to another now; 0 is any. Returns how many. */
unsigned tg_deliver_some(struct tgroup *g, unsigned from, unsigned to);
void tg_drop(struct tgroup *g, unsigned from, unsigned to);
/* What is under way, as text, and forgets nothing: "1>2 append 5/2+1 c4; ..." */
const char *tg_trace(struct tgroup *g);
/* Runs with ticks of all servers for so long, everything delivered at once. */
void tg_run(struct tgroup *g, int64_t ms);
unsigned tg_leader(struct tgroup *g); /* 0 when there is not exactly one that is up */

/* Messages for white-box tests. */
struct raft_msg tg_append(unsigned from, unsigned to, uint64_t term, uint64_t prev_index,
                          uint64_t prev_term, const struct raft_entry *entries, unsigned n,
                          uint64_t commit);
struct raft_msg tg_vote(unsigned from, unsigned to, uint64_t term, uint64_t last_index,
                        uint64_t last_term, bool pre);
/* Entries with these terms from `first` on, contents "x". */
void tg_entries(struct raft_entry *e, uint64_t first, const uint64_t *terms, unsigned n);

#define TG_TEST(g, voters, n)                                                                      \
    static struct tgroup g;                                                                        \
    tg_init(&g, voters, n)
