/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The rules of SWIM, Lifeguard, memberlist and Serf as one pure state machine: events with their
 * time go in, datagrams, dials, answers and notes come out. No sockets, no clock, no logging: it
 * runs unchanged in serfd and in the simulator. Rules: gossip-wire.md (cited by section).
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/prng.h"
#include "coord.h"
#include "msgpack.h"
#include "seal.h"

#define SERF_NAME_MAX    255 /* bytes of a member's name */
#define SERF_META_MAX    512
#define SERF_MEMBERS_MAX 10000 /* remembered members, dead ones included */
#define SERF_DIALS_MAX   256   /* dials under way */
#define SERF_EFFECTS_MAX 1024  /* of one step; further datagrams are dropped, as UDP may */
#define SERF_BUFFER      512   /* slots of the event and the query ring */

struct gossip_addr {
    uint8_t ip[16];
    uint8_t ip_len; /* 4 or 16; 0 = none */
    uint16_t port;
};

bool gossip_addr_eq(const struct gossip_addr *a, const struct gossip_addr *b);
/* From the bytes of a message; an IPv4-mapped address becomes IPv4. */
bool gossip_addr_from(struct gossip_addr *ret, struct span ip, uint16_t port);
/* From "1.2.3.4:5" or "[::1]:5". */
bool gossip_addr_parse(struct gossip_addr *ret, struct span text);
#define GOSSIP_ADDR_TEXT_MAX 64
/* "1.2.3.4:5" or "[::1]:5". Returns buf. */
const char *gossip_addr_text(const struct gossip_addr *a, char buf[static GOSSIP_ADDR_TEXT_MAX]);

/* X(ID, text): the status that people see. */
#define SERF_STATUSES(X)                                                                           \
    X(SERF_NONE, "none")                                                                           \
    X(SERF_ALIVE, "alive")                                                                         \
    X(SERF_LEAVING, "leaving")                                                                     \
    X(SERF_LEFT, "left")                                                                           \
    X(SERF_FAILED, "failed")
enum serf_status {
#define X(id, text) id,
    SERF_STATUSES(X)
#undef X
};
const char *serf_status_name(enum serf_status status);

struct guard_rules;

/* Durations in ns. serf_options_default() fills what follows the identity. */
struct serf_options {
    const char *name;        /* borrowed for serf_new() only, like meta and keyring->n at start */
    struct gossip_addr addr; /* advertised */
    struct span meta;        /* tags, encoded */
    uint64_t seed;
    struct seal_keyring *keyring;    /* kept; key queries change it. NULL or empty: not encrypted */
    const struct guard_rules *guard; /* who may be a member; borrowed; NULL: nobody is refused */

    /*
     * probe_timeout: of members whose round trip is not known yet; of others it follows the round
     * trip, between a quarter and four times of this. probe_pace: between probes that succeed.
     */
    int64_t probe_interval, probe_timeout, probe_pace;
    int64_t gossip_interval, push_pull_interval;
    int64_t gossip_to_dead, tcp_timeout;
    int64_t reap_interval, reconnect_interval, reconnect_timeout, tombstone_timeout;
    int64_t recent_intent_timeout, broadcast_timeout, leave_linger, queue_interval;
    unsigned suspicion_mult, suspicion_max_mult, indirect_checks, retransmit_mult, gossip_nodes;
    unsigned awareness_max;
    bool nomad_filter; /* only Nomad servers may be members (section 12) */
    bool compress;     /* what is sent, where that makes it shorter */
    bool sync_on_join; /* push/pull with a few members soon after new ones were learned */
};
void serf_options_default(struct serf_options *o);

/* A query of our own (10.9). All is borrowed within the step. */
struct serf_query {
    const char *name;
    struct span payload;
    struct span filters; /* an encoded list of byte strings; NULL: everybody */
    int64_t timeout_ns;  /* 0: as Serf has it, by the size of the pool */
    unsigned relay;      /* members who pass each answer on, 0..255 */
    bool acks;           /* everybody who passes the filters says so at once */
    /* Ends when all members have answered; the silent are asked again before. Not with filters. */
    bool insist;
};

/* ---- events and effects ---- */

enum serf_event_type {
    SERF_EV_TICK,         /* serf_deadline() has come */
    SERF_EV_PACKET,       /* data (decrypted) came from addr */
    SERF_EV_STREAM,       /* a peer's whole stream message: id, addr, data */
    SERF_EV_DIALED,       /* a dial ended: id, err, data = the whole answer when err is 0 */
    SERF_EV_JOIN,         /* push/pull with addr, attach; id comes back in SERF_FX_JOINED */
    SERF_EV_FORCE_LEAVE,  /* name, prune */
    SERF_EV_LEAVE,        /* leave in order; ends with SERF_FX_LEFT */
    SERF_EV_USER_EVENT,   /* name, data, coalesce */
    SERF_EV_QUERY,        /* query; id comes back in its effects */
    SERF_EV_KEYS_SAVED,   /* the answer to SERF_FX_SAVE_KEYS: err */
    SERF_EV_TAGS,         /* data: our new meta */
    SERF_EV_REGION_LEAVE, /* our region leaves the federation */
    SERF_EV_REGION_EPOCH, /* restore: id = the epoch of an earlier life */
    SERF_EV_CHECK,        /* could we join at addr? id comes back in SERF_FX_CHECKED */
    SERF_EV_CLOCKS,       /* restore: clocks of an earlier life, as of serf_clocks() */
};

struct serf_event {
    enum serf_event_type type;
    struct mono_ns now;
    int64_t wall; /* ns since 1970; 0 = not told. Only passed on and compared, never decided by */
    struct gossip_addr addr;
    struct span data; /* of a dial that failed: why, or empty */
    uint64_t id;
    int err; /* -errno */
    const char *name;
    bool prune, coalesce;
    bool attach; /* a join by hand: it brings a region back that has left the federation */
    const struct serf_query *query;
    uint64_t clocks[3]; /* member, event, query */
};

enum serf_effect_type {
    SERF_FX_SEND,    /* datagram `data` to addr */
    SERF_FX_DIAL,    /* TCP to addr, write data, read one answer; then SERF_EV_DIALED with id */
    SERF_FX_ANSWER,  /* for the stream id: write data (empty: nothing) and close */
    SERF_FX_NOTE,    /* a log line: level and text in data */
    SERF_FX_JOINED,  /* a SERF_EV_JOIN ended: id, err, text in data */
    SERF_FX_CHECKED, /* a SERF_EV_CHECK ended: id, addr; data: lines "check TAB result TAB text" */
    SERF_FX_LEFT,    /* the leave is over: stop */
    SERF_FX_REPLY,   /* to query id; data: who, NUL, payload; ack: it only says that it heard us */
    SERF_FX_REPLIED, /* query id is over; number = members that should have answered */
    /*
     * The keyring's file shall read as data says, and be safe on disk before SERF_EV_KEYS_SAVED is
     * told; there is never more than one under way.
     */
    SERF_FX_SAVE_KEYS,
};

struct serf_effect {
    enum serf_effect_type type;
    struct gossip_addr addr;
    uint64_t id;
    int64_t timeout_ns; /* of a dial, all of it */
    int err;
    bool ack;
    size_t number;
    enum log_level level;
    size_t offset, len; /* of the data, see serf_out_data() */
};

/* Reused from step to step; serf_out_reset() before each. */
struct serf_out {
    struct serf_effect effects[SERF_EFFECTS_MAX];
    size_t n;
    size_t dropped;
    struct strbuf bytes;
};

void serf_out_reset(struct serf_out *out);
void serf_out_fini(struct serf_out *out);
struct span serf_out_data(const struct serf_out *out, const struct serf_effect *fx);

/* ---- the machine ---- */

struct serf;

struct serf *serf_new(const struct serf_options *options, struct mono_ns now);
struct serf *serf_free(struct serf *s);
DEFINE_CLEANUP(struct serf, serf_free)

/*
 * 0, or -errno of a local order: -ENOENT unknown member, -EINVAL bad argument, -EALREADY, -EMSGSIZE
 * too long for gossip, -EBUSY too many queries under way.
 */
int serf_step(struct serf *s, const struct serf_event *ev, struct serf_out *out);
/* When the next SERF_EV_TICK is due. */
struct mono_ns serf_deadline(const struct serf *s);

/* ---- looking in ---- */

struct serf_member_info {
    const char *name;
    struct gossip_addr addr; /* where this node reaches it */
    struct span meta;
    const uint8_t *vsn; /* six: protocol min max cur, delegate min max cur */
    enum serf_status status;
    uint32_t inc;
    uint64_t ltime;
    bool self;
    double rtt_ms; /* by coordinates; 0 = not known */
};

/* Rises with each change of what serf_member_at() shows (round trips excepted). */
uint64_t serf_version(const struct serf *s);
/* Members sorted by name. False at the end. */
bool serf_member_at(const struct serf *s, size_t i, struct serf_member_info *ret);
/* All of them in that order, without round trips, which take time to compute. */
typedef void serf_member_fn(void *user, const struct serf_member_info *m);
void serf_members_each(const struct serf *s, serf_member_fn *fn, void *user);
/* The place of a name for serf_member_at(), or -ENOENT. */
int serf_member_find(const struct serf *s, const char *name, struct serf_member_info *ret);

/* The present values (one above the last seen) of the member, event and query clocks. */
void serf_clocks(const struct serf *s, uint64_t ret[static 3]);
/* Of our region; it rises with each leave of the federation and each return. */
uint32_t serf_epoch(const struct serf *s);

/* Counted at each call: for people and tests. */
struct serf_stats {
    size_t members, alive, failed, left;
    size_t nodes; /* that memberlist holds: less than members once the dead are forgotten */
    unsigned health_score;
    uint64_t member_time, event_time, query_time;
    size_t suspects;  /* members that are suspected now: alive to people */
    size_t exchanges; /* of states that are due as members are new, or under way */
    size_t member_queue, intent_queue, event_queue, query_queue;
    unsigned coordinate_resets;
    bool encrypted, leaving, left_done;
    uint32_t epoch;
    bool region_out;            /* it has left, and the others know */
    const char *group_conflict; /* why a join was refused for the raft group's sake; NULL: no */
};
void serf_stats_get(const struct serf *s, struct serf_stats *ret);
