/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The messages of memberlist and Serf as structs with their msgpack tables (gossip-wire.md
 * sections 3, 5, 10). Adding a message: type, struct, table, handler. Spans are borrowed.
 */
#pragma once

#include "msgpack.h"

enum ml_type {
    ML_PING = 0,
    ML_INDIRECT_PING = 1,
    ML_ACK = 2,
    ML_SUSPECT = 3,
    ML_ALIVE = 4,
    ML_DEAD = 5,
    ML_PUSH_PULL = 6,
    ML_COMPOUND = 7,
    ML_USER = 8,
    ML_COMPRESS = 9,
    ML_ENCRYPT = 10,
    ML_NACK = 11,
    ML_CRC = 12,
    ML_ERR = 13,
    ML_LABEL = 244,
};

enum serf_type {
    SERF_MSG_LEAVE = 0,
    SERF_MSG_JOIN = 1,
    SERF_MSG_STATE = 2,
    SERF_MSG_USER_EVENT = 3,
    SERF_MSG_QUERY = 4,
    SERF_MSG_QUERY_RESPONSE = 5,
    SERF_MSG_CONFLICT = 6,
    SERF_MSG_KEY_REQUEST = 7,
    SERF_MSG_KEY_RESPONSE = 8,
    SERF_MSG_RELAY = 9,
};

enum { QUERY_FLAG_ACK = 1, QUERY_FLAG_NO_BROADCAST = 2 };

struct msg_ping {
    uint32_t seq;
    struct span node, source_addr, source_node;
    uint16_t source_port;
};
struct msg_indirect_ping {
    uint32_t seq;
    struct span target, node, source_addr, source_node;
    uint16_t port, source_port;
    bool nack;
};
struct msg_ack {
    uint32_t seq;
    struct span payload;
};
struct msg_nack {
    uint32_t seq;
};
struct msg_accuse { /* suspect and dead */
    uint32_t inc;
    struct span node, from;
};
struct msg_alive {
    uint32_t inc;
    struct span node, addr, meta, vsn;
    uint16_t port;
};
struct msg_err {
    struct span error;
};
struct msg_compress {
    uint8_t algo;
    struct span buf;
};
struct msg_user_head {
    int64_t len;
};
struct msg_state_head { /* of a push/pull */
    int64_t nodes, user_len;
    bool join;
};
struct msg_state_node {
    struct span name, addr, meta, vsn;
    uint32_t inc;
    int64_t state;
    uint16_t port;
};

struct msg_leave {
    uint64_t ltime;
    struct span node;
    bool prune;
    bool abroad; /* ours alone: a region's goodbye to the others. Peers ignore it and pass it on */
};
struct msg_join {
    uint64_t ltime;
    struct span node;
};
struct msg_user_event {
    uint64_t ltime;
    struct span name, payload;
    bool coalesce;
};
struct msg_query {
    uint64_t ltime;
    uint32_t id, flags;
    struct span addr, source_node, filters, name, payload; /* filters: an encoded list */
    uint16_t port;
    uint8_t relay_factor;
    int64_t timeout_ns;
};
struct msg_query_response {
    uint64_t ltime;
    uint32_t id, flags;
    struct span from, payload;
};
struct msg_relay {
    struct span dest_addr, dest_name; /* dest_addr: an encoded msg_udp_addr */
};
struct msg_udp_addr {
    struct span ip, zone;
    int64_t port;
};
struct msg_serf_state {
    uint64_t ltime, event_ltime, query_ltime;
    struct span status_ltimes, left_members, events; /* encoded map, list, list */
    uint64_t wall; /* ours alone, in the answer to who looks before it joins; peers ignore it */
};
struct msg_event_slot {
    uint64_t ltime;
    struct span events; /* encoded list of msg_event_item */
};
struct msg_event_item {
    struct span name, payload;
};
struct msg_member {               /* the answer to _serf_conflict */
    struct span name, addr, tags; /* tags: an encoded map */
    uint16_t port;
    int64_t status;
    uint8_t protocol_min, protocol_max, protocol_cur;
    uint8_t delegate_min, delegate_max, delegate_cur;
};
struct msg_key_request {
    struct span key;
};
struct msg_key_response {
    bool result;
    struct span message, keys, primary; /* keys: an encoded list */
};
struct msg_filter_tag {
    struct span tag, expr;
};
struct msg_coordinate {
    double error, adjustment, height;
    struct span vec; /* an encoded list of doubles */
};

extern const struct mp_schema msg_ping_schema, msg_indirect_ping_schema, msg_ack_schema,
    msg_nack_schema, msg_accuse_schema, msg_alive_schema, msg_err_schema, msg_compress_schema,
    msg_user_head_schema, msg_state_head_schema, msg_state_node_schema, msg_leave_schema,
    msg_join_schema, msg_user_event_schema, msg_query_schema, msg_query_response_schema,
    msg_relay_schema, msg_udp_addr_schema, msg_serf_state_schema, msg_event_slot_schema,
    msg_event_item_schema, msg_member_schema, msg_key_request_schema, msg_key_response_schema,
    msg_filter_tag_schema, msg_coordinate_schema;

/* Reads the struct behind a message's type byte. False when it is broken. */
bool msg_get(struct span body, const struct mp_schema *schema, void *obj,
             struct mp_scratch *scratch);
/* Writes the type byte and the struct. */
void msg_put(struct strbuf *out, uint8_t type, const struct mp_schema *schema, const void *obj);
