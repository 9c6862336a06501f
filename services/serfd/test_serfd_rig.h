/* SPDX-License-Identifier: MPL-2.0 */
/* One core under a magnifying glass: feed messages, move time, look at what it sends. */
#pragma once

#include "packet.h"
#include "serfd_core.h"
#include "tags.h"
#include "test_serfd_util.h"

#define RIG_SEEN_MAX 4096
#define RIG_T0       (100 * NS_PER_SEC)

struct rig_seen { /* one message that it sent */
    int64_t at;
    struct gossip_addr to;
    uint8_t type; /* ml_type */
    uint8_t serf; /* serf_type when type is ML_USER */
    char node[64], from[64];
    uint32_t seq, inc;
    bool nack;
    uint64_t ltime;
    uint8_t raw[2048];
    size_t raw_len;
};

struct rig {
    struct serf *s;
    struct serf_out out;
    int64_t now;
    bool auto_ack; /* everybody answers pings */
    struct rig_seen *seen;
    size_t n_seen;
    uint64_t last_dial;
    struct gossip_addr last_dial_addr;
    uint8_t last_dial_type;
    unsigned dials, joined, join_errors, left;
    char last_note[256];
    unsigned acks, replies, replied, saves; /* of queries of its own; keyring files */
    size_t replied_number;
    char reply_from[64];
    struct strbuf reply, saved; /* the last ones */
    int save_err;               /* what the disk says; above 0: nothing */
    unsigned checked;
    char report[4096];    /* of the last check */
    struct strbuf answer; /* of the last stream */
};

void rig_init(struct rig *rig, void (*change)(struct serf_options *o));
void rig_fini(struct rig *rig);
int rig_event(struct rig *rig, struct serf_event *ev);
void rig_run(struct rig *rig, int64_t until); /* ticks as they are due */
void rig_run_for(struct rig *rig, int64_t ns);
void rig_message(struct rig *rig, uint8_t type, const struct mp_schema *schema, const void *msg);
void rig_serf_message(struct rig *rig, uint8_t type, const struct mp_schema *schema,
                      const void *msg);
struct gossip_addr rig_addr(unsigned host);
/* A server's alive; host is the last but one byte of its address. */
void rig_alive(struct rig *rig, const char *name, uint32_t inc, unsigned host);
void rig_suspect(struct rig *rig, const char *name, uint32_t inc, const char *from);
void rig_dead(struct rig *rig, const char *name, uint32_t inc, const char *from);
void rig_leave(struct rig *rig, const char *name, uint64_t ltime, bool prune);
void rig_join_intent(struct rig *rig, const char *name, uint64_t ltime);
void rig_ack(struct rig *rig, uint32_t seq);
enum serf_status rig_status(const struct rig *rig, const char *name);
uint32_t rig_inc(const struct rig *rig, const char *name);
struct serf_stats rig_stats(const struct rig *rig);
/* The last message of this type about that name (NULL: any); NULL if none since rig_forget(). */
const struct rig_seen *rig_last(const struct rig *rig, uint8_t type, const char *node);
unsigned rig_count(const struct rig *rig, uint8_t type, const char *node);
void rig_forget(struct rig *rig);
/* The Meta of a server with one tag changed (NULL: none). The same memory each time. */
struct span rig_meta(const char *key, const char *value);
