/* SPDX-License-Identifier: MPL-2.0 */
#include "messages.h"

/* clang-format off */
#define F(key, type, st, member, place)      {key, type, offsetof(struct st, member), place, false}
#define F_OMIT(key, type, st, member, place) {key, type, offsetof(struct st, member), place, true}
#define SCHEMA(name, st, ...)                                                  \
    static const struct mp_field name##_fields[] = {__VA_ARGS__};              \
    const struct mp_schema name##_schema = {name##_fields, ARRAY_LEN(name##_fields), \
                                            sizeof(struct st)};

SCHEMA(msg_ping, msg_ping,
    F("Node", MP_STR, msg_ping, node, 1),
    F("SeqNo", MP_U32, msg_ping, seq, 0),
    F_OMIT("SourceAddr", MP_BYTES, msg_ping, source_addr, 2),
    F_OMIT("SourceNode", MP_STR, msg_ping, source_node, 4),
    F_OMIT("SourcePort", MP_U16, msg_ping, source_port, 3))

SCHEMA(msg_indirect_ping, msg_indirect_ping,
    F("Nack", MP_BOOL, msg_indirect_ping, nack, 4),
    F("Node", MP_STR, msg_indirect_ping, node, 3),
    F("Port", MP_U16, msg_indirect_ping, port, 2),
    F("SeqNo", MP_U32, msg_indirect_ping, seq, 0),
    F_OMIT("SourceAddr", MP_BYTES, msg_indirect_ping, source_addr, 5),
    F_OMIT("SourceNode", MP_STR, msg_indirect_ping, source_node, 7),
    F_OMIT("SourcePort", MP_U16, msg_indirect_ping, source_port, 6),
    F("Target", MP_BYTES, msg_indirect_ping, target, 1))

SCHEMA(msg_ack, msg_ack,
    F("Payload", MP_BYTES, msg_ack, payload, 1),
    F("SeqNo", MP_U32, msg_ack, seq, 0))

SCHEMA(msg_nack, msg_nack,
    F("SeqNo", MP_U32, msg_nack, seq, 0))

SCHEMA(msg_accuse, msg_accuse,
    F("From", MP_STR, msg_accuse, from, 2),
    F("Incarnation", MP_U32, msg_accuse, inc, 0),
    F("Node", MP_STR, msg_accuse, node, 1))

SCHEMA(msg_alive, msg_alive,
    F("Addr", MP_BYTES, msg_alive, addr, 2),
    F("Incarnation", MP_U32, msg_alive, inc, 0),
    F("Meta", MP_BYTES, msg_alive, meta, 4),
    F("Node", MP_STR, msg_alive, node, 1),
    F("Port", MP_U16, msg_alive, port, 3),
    F("Vsn", MP_BYTES, msg_alive, vsn, 5))

SCHEMA(msg_err, msg_err,
    F("Error", MP_STR, msg_err, error, 0))

SCHEMA(msg_compress, msg_compress,
    F("Algo", MP_U8, msg_compress, algo, 0),
    F("Buf", MP_BYTES, msg_compress, buf, 1))

SCHEMA(msg_user_head, msg_user_head,
    F("UserMsgLen", MP_INT, msg_user_head, len, 0))

SCHEMA(msg_state_head, msg_state_head,
    F("Join", MP_BOOL, msg_state_head, join, 2),
    F("Nodes", MP_INT, msg_state_head, nodes, 0),
    F("UserStateLen", MP_INT, msg_state_head, user_len, 1))

SCHEMA(msg_state_node, msg_state_node,
    F("Addr", MP_BYTES, msg_state_node, addr, 1),
    F("Incarnation", MP_U32, msg_state_node, inc, 4),
    F("Meta", MP_BYTES, msg_state_node, meta, 3),
    F("Name", MP_STR, msg_state_node, name, 0),
    F("Port", MP_U16, msg_state_node, port, 2),
    F("State", MP_INT, msg_state_node, state, 5),
    F("Vsn", MP_BYTES, msg_state_node, vsn, 6))

SCHEMA(msg_leave, msg_leave,
    F_OMIT("Abroad", MP_BOOL, msg_leave, abroad, 3),
    F("LTime", MP_U64, msg_leave, ltime, 0),
    F("Node", MP_STR, msg_leave, node, 1),
    F("Prune", MP_BOOL, msg_leave, prune, 2))

SCHEMA(msg_join, msg_join,
    F("LTime", MP_U64, msg_join, ltime, 0),
    F("Node", MP_STR, msg_join, node, 1))

SCHEMA(msg_user_event, msg_user_event,
    F("CC", MP_BOOL, msg_user_event, coalesce, 3),
    F("LTime", MP_U64, msg_user_event, ltime, 0),
    F("Name", MP_STR, msg_user_event, name, 1),
    F("Payload", MP_BYTES, msg_user_event, payload, 2))

SCHEMA(msg_query, msg_query,
    F("Addr", MP_BYTES, msg_query, addr, 2),
    F("Filters", MP_VALUE, msg_query, filters, 5),
    F("Flags", MP_U32, msg_query, flags, 6),
    F("ID", MP_U32, msg_query, id, 1),
    F("LTime", MP_U64, msg_query, ltime, 0),
    F("Name", MP_STR, msg_query, name, 9),
    F("Payload", MP_BYTES, msg_query, payload, 10),
    F("Port", MP_U16, msg_query, port, 3),
    F("RelayFactor", MP_U8, msg_query, relay_factor, 7),
    F("SourceNode", MP_STR, msg_query, source_node, 4),
    F("Timeout", MP_INT, msg_query, timeout_ns, 8))

SCHEMA(msg_query_response, msg_query_response,
    F("Flags", MP_U32, msg_query_response, flags, 3),
    F("From", MP_STR, msg_query_response, from, 2),
    F("ID", MP_U32, msg_query_response, id, 1),
    F("LTime", MP_U64, msg_query_response, ltime, 0),
    F("Payload", MP_BYTES, msg_query_response, payload, 4))

SCHEMA(msg_relay, msg_relay,
    F("DestAddr", MP_VALUE, msg_relay, dest_addr, 0),
    F("DestName", MP_STR, msg_relay, dest_name, 1))

SCHEMA(msg_udp_addr, msg_udp_addr,
    F("IP", MP_BYTES, msg_udp_addr, ip, 0),
    F("Port", MP_INT, msg_udp_addr, port, 1),
    F("Zone", MP_STR, msg_udp_addr, zone, 2))

SCHEMA(msg_serf_state, msg_serf_state,
    F("EventLTime", MP_U64, msg_serf_state, event_ltime, 3),
    F("Events", MP_VALUE, msg_serf_state, events, 4),
    F("LTime", MP_U64, msg_serf_state, ltime, 0),
    F("LeftMembers", MP_VALUE, msg_serf_state, left_members, 2),
    F("QueryLTime", MP_U64, msg_serf_state, query_ltime, 5),
    F("StatusLTimes", MP_VALUE, msg_serf_state, status_ltimes, 1),
    F_OMIT("SteppeClock", MP_U64, msg_serf_state, wall, 6))

SCHEMA(msg_event_slot, msg_event_slot,
    F("Events", MP_VALUE, msg_event_slot, events, 1),
    F("LTime", MP_U64, msg_event_slot, ltime, 0))

SCHEMA(msg_event_item, msg_event_item,
    F("Name", MP_STR, msg_event_item, name, 0),
    F("Payload", MP_BYTES, msg_event_item, payload, 1))

SCHEMA(msg_member, msg_member,
    F("Addr", MP_BYTES, msg_member, addr, 1),
    F("DelegateCur", MP_U8, msg_member, delegate_cur, 10),
    F("DelegateMax", MP_U8, msg_member, delegate_max, 9),
    F("DelegateMin", MP_U8, msg_member, delegate_min, 8),
    F("Name", MP_STR, msg_member, name, 0),
    F("Port", MP_U16, msg_member, port, 2),
    F("ProtocolCur", MP_U8, msg_member, protocol_cur, 7),
    F("ProtocolMax", MP_U8, msg_member, protocol_max, 6),
    F("ProtocolMin", MP_U8, msg_member, protocol_min, 5),
    F("Status", MP_INT, msg_member, status, 4),
    F("Tags", MP_VALUE, msg_member, tags, 3))

SCHEMA(msg_key_request, msg_key_request,
    F("Key", MP_BYTES, msg_key_request, key, 0))

SCHEMA(msg_key_response, msg_key_response,
    F("Keys", MP_VALUE, msg_key_response, keys, 2),
    F("Message", MP_STR, msg_key_response, message, 1),
    F("PrimaryKey", MP_STR, msg_key_response, primary, 3),
    F("Result", MP_BOOL, msg_key_response, result, 0))

SCHEMA(msg_filter_tag, msg_filter_tag,
    F("Expr", MP_STR, msg_filter_tag, expr, 1),
    F("Tag", MP_STR, msg_filter_tag, tag, 0))

SCHEMA(msg_coordinate, msg_coordinate,
    F("Adjustment", MP_F64, msg_coordinate, adjustment, 2),
    F("Error", MP_F64, msg_coordinate, error, 1),
    F("Height", MP_F64, msg_coordinate, height, 3),
    F("Vec", MP_VALUE, msg_coordinate, vec, 0))
/* clang-format on */

bool msg_get(struct span body, const struct mp_schema *schema, void *obj,
             struct mp_scratch *scratch)
{
    struct mp_reader r = mp_reader_of(body);

    return mp_get_struct(&r, schema, obj, scratch) == 0;
}

void msg_put(struct strbuf *out, uint8_t type, const struct mp_schema *schema, const void *obj)
{
    strbuf_addc(out, (char)type);
    mp_put_struct(out, schema, obj);
}
