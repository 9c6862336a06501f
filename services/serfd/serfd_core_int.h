/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What the files of the core share. serfd_core.c: life, dispatch, timers. serfd_table.c: the
 * members. serfd_nodes.c: alive, suspect, dead. serfd_probe.c: failure detection.
 * serfd_gossip.c: queues and datagrams. serfd_exchange.c: push/pull. serfd_intents.c: Serf's
 * statuses. serfd_events.c: user events. serfd_queries.c: queries of others. serfd_asks.c: our own.
 * serfd_keys.c: the keyring. serfd_vote.c: who is right about a name.
 */
#pragma once

#include "bcast.h"
#include "messages.h"
#include "packet.h"
#include "serfd_core.h"
#include "serfd_guard.h"
#include "tags.h"

#define NEVER           INT64_MAX
#define CONFIRMERS_MAX  8                /* confirmations that a suspicion can count */
#define RELAYS_MAX      256              /* indirect pings that we carry out at a time */
#define RECENT_MAX      4096             /* intents about unknown names */
#define SERF_QUEUE_MAX  4096             /* messages in each Serf queue */
#define CHECKS_MAX      32               /* "could we join?" at a time */
#define CHECK_UDP       (3 * NS_PER_SEC) /* until a check gives pings up */
#define SLOT_ITEMS_MAX  64               /* events or queries with one clock value */
#define EVENT_BYTES_MAX (2u << 20)       /* all remembered user events */
#define EVENT_MSG_MAX   9216             /* bytes of a user event */
#define USER_EVENT_MAX  512              /* bytes of one of our own, type byte included */
#define QUERY_MSG_MAX   1024             /* bytes of a query and of an answer, type byte included */
#define ASK_ROUNDS_MAX  5                /* of a query of our own that insists on all answers */
#define ASKS_MAX        32               /* queries of our own under way */
#define KEY_JOBS_MAX    16               /* key queries that wait for the disk */

enum node_state { NODE_ALIVE = 0, NODE_SUSPECT = 1, NODE_DEAD = 2, NODE_LEFT = 3 };

/* A running suspicion (7.3). */
struct suspicion {
    int64_t start, min, max;
    int64_t ask_at; /* when to say again that we suspect it, as it is not confirmed */
    unsigned k, n;  /* confirmations wanted and had */
    bool refused;   /* its host refuses connections and nobody else reaches it */
    char *from[CONFIRMERS_MAX + 1]; /* the accuser, then the confirmers */
};

/*
 * One record for both layers: memberlist's node (in_list) and Serf's member (in_serf). There may be
 * 10,000 of them: what is small stands together at the end.
 */
struct member {
    char *name;
    uint8_t *meta;
    struct suspicion *suspicion;
    struct coord_peer *coord;
    uint64_t ltime;
    int64_t changed;         /* last change of state */
    int64_t gone_at;         /* since when leaving, left or failed */
    struct gossip_addr addr; /* as its claim says, the same for everybody */
    struct gossip_addr lan;  /* of a member of our region with a nearer one; ip_len 0: none */
    uint32_t inc;
    float rtt, rtt_dev; /* seconds, smoothed round trip of its acks and deviation; 0: not known */
    uint8_t vsn[6];
    uint16_t meta_len;
    enum node_state state : 8;
    enum serf_status status : 8;
    uint8_t rtt_backoff; /* its timeout is doubled so often: probes failed since the last ack */
    uint8_t pings;       /* that came from it */
    bool in_list, in_serf;
    bool prune;  /* to be forgotten as soon as it has left */
    bool abroad; /* of our region, and has said goodbye to the others */
};

enum timer {
    T_PROBE,       /* start of the next probe */
    T_PROBE_STAGE, /* timeout, then deadline of the one under way */
    T_RELAY,
    T_SUSPICION,
    T_GOSSIP,
    T_PUSH_PULL,
    T_SYNC,
    T_REAP,
    T_RECONNECT,
    T_QUEUES,
    T_LEAVE,
    T_REGION,
    T_ASKS,
    T_CHECK,
    T_COUNT,
};

struct probe {
    struct member *target; /* NULL: none under way */
    uint32_t seq;
    int64_t start, timeout, deadline; /* timeout: a duration, after it others are asked */
    bool asked_others;
    unsigned nacks_expected, nacks;
    uint64_t dial; /* TCP fallback; 0: none */
    bool refused;  /* TCP was refused: the host lives, the process does not */
};

/* A ping that we make for somebody else. */
struct relay {
    uint32_t seq, asker_seq;
    struct gossip_addr asker;
    int64_t nack_at; /* NEVER: no nack wanted, or sent */
    int64_t expires;
};

/* TELL: says why we refuse, no answer wanted. */
enum dial_kind { DIAL_PING, DIAL_SYNC, DIAL_JOIN, DIAL_RECONNECT, DIAL_TELL, DIAL_CHECK };

struct dial {
    uint64_t id, user_id;
    enum dial_kind kind;
    bool attach; /* it may bring our region back into the federation */
    bool look;   /* a join's first half: who is there? Nothing was said of us */
    struct gossip_addr addr;
};

/* A "could we join?" under way. */
struct check {
    uint64_t user_id, dial; /* dial 0: TCP is done */
    struct gossip_addr addr;
    uint32_t seq; /* of the last ping */
    int64_t start, pinged_at;
    int64_t udp_rtt; /* -1: no ack yet */
    int64_t tcp_rtt;
    int err;
    struct strbuf head, tail; /* the report: what UDP said, what TCP did */
};

/* What the push/pull of a check showed. */
struct check_view {
    int err;           /* -errno */
    struct span error; /* its text */
    int64_t wall;
    const struct msg_state_node *nodes;
    size_t n;
    struct span misfit;   /* a member without a common protocol version */
    const char *stranger; /* why one of them is no server; "" = all are */
};

struct recent_intent {
    char *name;
    bool leave;
    uint64_t ltime;
    int64_t at;
};

struct event_item {
    struct span name, payload; /* owned, one block at name.p */
};
struct event_slot {
    uint64_t ltime;
    struct event_item *items;
    size_t n;
};
struct query_slot {
    uint64_t ltime;
    uint32_t ids[SLOT_ITEMS_MAX];
    size_t n;
};

/* Where the answers to a query go. */
struct query_origin {
    uint64_t ltime;
    uint32_t id;
    struct gossip_addr to;
    bool own; /* we have asked ourselves */
    unsigned relay;
    char source[SERF_NAME_MAX + 1];
};

/* Names, each once, sorted. */
struct name_set {
    char **names;
    size_t n, cap;
};

/* A query of our own under way. One that insists is asked again of those who are silent. */
struct ask {
    uint64_t id; /* the caller's */
    uint64_t ltime[ASK_ROUNDS_MAX];
    uint32_t qid[ASK_ROUNDS_MAX];
    unsigned rounds;
    int64_t pause, again_at, deadline;
    struct serf_query q;   /* copies, one block at q.name */
    size_t expected;       /* members that lived at the start */
    struct name_set asked; /* they, if it insists */
    struct name_set acked, answered;
};

enum key_op { KEY_INSTALL, KEY_USE, KEY_REMOVE, KEY_LIST };

struct key_job {
    struct query_origin origin;
    enum key_op op;
    struct seal_key key; /* len 0: not a key */
};

enum leave_stage { LEAVE_NO, LEAVE_INTENT, LEAVE_DEAD, LEAVE_LINGER, LEAVE_DONE };

struct serf {
    struct serf_options o;
    struct prng prng;
    int64_t now, wall; /* of the step under way */
    struct serf_out *out;

    struct member **tab; /* sorted by name */
    size_t n, cap;
    struct member *self;
    size_t n_list; /* in_list */
    uint64_t version;
    int64_t at[T_COUNT]; /* NEVER = off */

    struct member **probe_list;
    size_t n_probe, cap_probe, probe_next;
    struct member *probe_urgent; /* somebody suspects it: see for ourselves */
    bool probe_ring;             /* the next one is our neighbour's turn */
    struct probe probe, missed;  /* missed: failed last, its ack may still come */
    uint32_t seq;
    unsigned score; /* awareness (7.4) */
    struct relay relays[RELAYS_MAX];
    size_t n_relays;

    struct bcast_queue nodes_q, intents_q, queries_q, events_q;

    struct dial dials[SERF_DIALS_MAX];
    size_t n_dials;
    uint64_t next_dial;
    unsigned sync_rounds;
    bool ignore_old_events; /* while the answer to our own join is merged */

    uint64_t clock, event_clock, query_clock; /* Lamport */
    uint64_t event_min, query_min;            /* older ones are not delivered */
    uint64_t join_ltime;                      /* of our last join intent */
    int64_t join_repeat_at;                   /* earliest time of the next repeated one */
    struct recent_intent *recent;
    size_t n_recent;
    struct event_slot *events; /* SERF_BUFFER slots, made when first needed */
    struct query_slot **queries;
    size_t event_bytes;

    struct ask asks[ASKS_MAX];
    size_t n_asks;
    struct key_job key_jobs[KEY_JOBS_MAX]; /* the first one waits for the disk if keys_saving */
    size_t n_key_jobs;
    bool keys_saving;
    uint64_t key_ltime; /* of the newest order to change them: older ones come too late */
    struct seal_keyring keys_next; /* counts once it is on disk */

    struct {
        bool under_way;
        int64_t next_at; /* not sooner */
        unsigned answers, ours;
    } vote; /* about our name */

    enum leave_stage leave;
    uint64_t leave_item; /* what must be gossiped before the next stage */
    int64_t leave_until;
    struct coord_self coord;

    uint32_t epoch;       /* of our region: odd, it has left the federation */
    bool region_out;      /* and goodbye is said */
    int64_t region_until; /* latest time of the goodbye */
    struct gossip_addr *byes;
    size_t n_byes;
    unsigned bye_round; /* the next one */
    uint64_t bye_ltime;

    struct check checks[CHECKS_MAX];
    size_t n_checks;

    char conflict[ERRTEXT_MAX];       /* two raft groups, found when we joined; "" = none */
    struct gossip_addr conflict_addr; /* there */
};

/* serfd_core.c */
void core_note(struct serf *s, enum log_level level, const char *fmt, ...) PRINTF_LIKE(3, 4);
struct serf_effect *core_effect(struct serf *s, enum serf_effect_type type, struct span data);
/* msg as it goes out: in `room` (empty, the caller's), or as it is where that is not longer. */
struct span core_compress(const struct serf *s, struct strbuf *room, struct span msg);
void core_arm(struct serf *s, enum timer t, int64_t at); /* sooner of this and what was set */
void core_changed(struct serf *s);
bool core_leaving(const struct serf *s);
int64_t core_random_part(struct serf *s, int64_t interval);

/* serfd_table.c */
struct member *table_find(const struct serf *s, struct span name);
struct member *table_add(struct serf *s, struct span name); /* NULL when full */
void table_drop_unused(struct serf *s, struct member *m);   /* frees it when no layer holds it */
struct member *table_free_member(struct member *m);
void member_set_meta(struct serf *s, struct member *m, struct span meta);
/* Where we reach it, and the address of ours at which it reaches us (m NULL: anybody). */
const struct gossip_addr *member_reach(const struct member *m);
const struct gossip_addr *member_source(const struct serf *s, const struct member *m);
struct span member_meta(const struct member *m);
bool member_usable(const struct member *m); /* alive or suspect */
/* The next alive or suspect member in the order of names, round the end; m when there is none. */
struct member *table_next_usable(const struct serf *s, struct member *m);
typedef bool member_pred_fn(const struct serf *s, const struct member *m);
/* Up to k random members other than self for which pred holds. Returns how many. */
size_t table_pick(struct serf *s, size_t k, member_pred_fn *pred, struct member **ret);
bool pick_alive(const struct serf *s, const struct member *m);

/* serfd_nodes.c */
struct node_claim {
    struct span name, meta, vsn, addr;
    uint16_t port;
    uint32_t inc;
};
void nodes_alive(struct serf *s, const struct node_claim *c);
void nodes_suspect(struct serf *s, struct span name, uint32_t inc, struct span from);
void nodes_refused(struct serf *s, struct member *m);
void nodes_dead(struct serf *s, struct span name, uint32_t inc, struct span from);
void nodes_suspicion_due(struct serf *s);
void nodes_postpone(struct serf *s, int64_t late); /* all suspicions */
void nodes_forget(struct serf *s);                 /* those dead for long enough */
uint64_t nodes_say_goodbye(struct serf *s);
struct guard_subject nodes_subject(const struct member *m);
int nodes_set_meta(struct serf *s, struct span meta); /* of this node */
void nodes_drop(struct serf *s, struct member *m);    /* at once, whatever its state */
void nodes_tell_self(struct serf *s, const struct gossip_addr *to); /* our alive */

/* serfd_probe.c */
void probe_start(struct serf *s);
void probe_postpone(struct serf *s, int64_t late); /* the end of the one under way */
void probe_now(struct serf *s, struct member *m);  /* next, and soon */
void probe_stage(struct serf *s);
void probe_relay_due(struct serf *s);
void probe_on_ping(struct serf *s, const struct gossip_addr *from, struct span body);
void probe_on_indirect(struct serf *s, const struct gossip_addr *from, struct span body);
void probe_on_ack(struct serf *s, const struct gossip_addr *from, struct span body);
void probe_put_ping(struct serf *s, struct strbuf *out, uint32_t seq, struct span node);
void probe_on_nack(struct serf *s, struct span body);
void probe_on_dialed(struct serf *s, const struct dial *d, int err, struct span answer);
void probe_forget(struct serf *s, struct member *m);
void probe_learn(struct serf *s, struct member *m); /* into the list, at a random place */
void probe_score(struct serf *s, int change);

/* serfd_gossip.c */
void gossip_tick(struct serf *s);
void gossip_queues_check(struct serf *s);
/* One message with what else fits; crc: the peer is known to take it. */
void gossip_send(struct serf *s, const struct gossip_addr *to, struct span msg);
void gossip_send_plain(struct serf *s, const struct gossip_addr *to, const struct member *peer,
                       const struct span *msgs, size_t n);
uint64_t gossip_queue(struct serf *s, struct bcast_queue *q, const char *key, struct span msg);
void gossip_on_packet(struct serf *s, const struct gossip_addr *from, struct span packet);

/* serfd_exchange.c */
void exchange_on_stream(struct serf *s, const struct serf_event *ev);
void exchange_on_dialed(struct serf *s, const struct serf_event *ev);
int exchange_join(struct serf *s, const struct gossip_addr *addr, uint64_t user_id, bool attach);
bool exchange_joining(const struct serf *s); /* is one under way? */
uint64_t exchange_dial(struct serf *s, enum dial_kind kind, const struct gossip_addr *addr,
                       uint64_t user_id, struct span msg, int64_t timeout_ns);
void exchange_periodic(struct serf *s);
void exchange_sync(struct serf *s);
void exchange_sync_soon(struct serf *s); /* a new member was learned */
void exchange_reconnect(struct serf *s);

uint64_t exchange_look(struct serf *s, const struct gossip_addr *addr); /* for a check */

/* Does a state that was sent show it as alive, as far as can be known? */
static inline bool state_node_lives(const struct msg_state_node *n)
{
    return n->state == NODE_ALIVE || n->state == NODE_SUSPECT;
}

/* serfd_region.c */
enum region_view { REGION_OWN, REGION_FOREIGN, REGION_MIXED }; /* of the living of a pool */
int region_set_tags(struct serf *s, struct span meta);         /* ours, with the epoch */
void region_restore(struct serf *s, uint32_t epoch);           /* at the start */
int region_leave(struct serf *s);
void region_learn(struct serf *s, struct span meta);
void region_due(struct serf *s);
void region_on_ping(struct serf *s, struct span source, const struct gossip_addr *to);
bool region_has_left(struct span meta); /* says so of itself */
bool region_detached(const struct serf *s);
bool region_protects(const struct serf *s, const struct member *m); /* its goodbye is not for us */
bool region_on_leave(struct serf *s, const struct msg_leave *msg);  /* is it such a goodbye? */
bool region_refuses(const struct serf *s, struct span meta);
/* Before a join there: 0, maybe with the region back in the federation, or -ECANCELED. */
int region_may_join(struct serf *s, const struct msg_state_node *nodes, size_t n, bool attach,
                    struct errtext *e);
/* A state came, maybe from those whom we left: false with the text of a refusal. */
bool region_takes(struct serf *s, const struct msg_state_node *nodes, size_t n, struct errtext *e);

/* serfd_check.c */
int check_begin(struct serf *s, const struct serf_event *ev);
void check_due(struct serf *s);
bool check_on_ack(struct serf *s, uint32_t seq); /* was it for a check? */
void check_on_answer(struct serf *s, uint64_t dial, const struct check_view *v);
void check_fini(struct serf *s);

/* serfd_intents.c */
void serf_drop(struct serf *s, struct member *m); /* forgets it without a word */
void serf_node_joined(struct serf *s, struct member *m);
void serf_node_gone(struct serf *s, struct member *m);
void serf_node_updated(struct serf *s, struct member *m);
void serf_on_join_intent(struct serf *s, const struct msg_join *msg, struct span raw);
void serf_on_leave_intent(struct serf *s, const struct msg_leave *msg, struct span raw);
void serf_announce_join(struct serf *s);
void serf_reap(struct serf *s);
int serf_force_leave(struct serf *s, const char *name, bool prune);
int serf_leave_begin(struct serf *s);
void serf_leave_stage(struct serf *s);
void serf_put_state(struct serf *s, struct strbuf *out, int64_t wall);
void serf_merge_state(struct serf *s, struct span state, bool join);
void serf_recent_fini(struct serf *s);
bool lamport_witness(uint64_t *clock, uint64_t seen);

/* serfd_events.c */
/* A Serf message (type byte first) that came by gossip or as a user message on a stream. */
void serf_on_message(struct serf *s, const struct gossip_addr *from, struct span msg);
int serf_user_event(struct serf *s, const char *name, struct span payload, bool coalesce);
void serf_event_put_slots(struct serf *s, struct strbuf *out);
void serf_event_merge_slots(struct serf *s, struct span events);
void serf_events_fini(struct serf *s);

/* serfd_queries.c */
void queries_on_query(struct serf *s, const struct msg_query *q, struct span raw);
void queries_on_relay(struct serf *s, struct span body);
void queries_answer(struct serf *s, const struct query_origin *q, uint32_t flags,
                    struct span payload);
/* Bytes of the largest payload that an answer takes. */
size_t queries_answer_room(const struct serf *s, const struct query_origin *q);
void queries_fini(struct serf *s);

/* serfd_asks.c */
int asks_begin(struct serf *s, uint64_t id, const struct serf_query *q);
void asks_on_response(struct serf *s, const struct msg_query_response *resp);
void asks_due(struct serf *s);
void asks_fini(struct serf *s);

/* serfd_vote.c */
#define VOTE_ID UINT64_MAX       /* of our own query; no caller's */
void vote_begin(struct serf *s); /* somebody else claims our name */
void vote_count(struct serf *s, struct span payload);
void vote_end(struct serf *s);

/* serfd_keys.c */
/* False: no query about keys. */
bool keys_on_query(struct serf *s, const struct msg_query *q, const struct query_origin *origin);
void keys_saved(struct serf *s, int err);
