/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What is wrapped around messages: CRC, compression and compound on packets (gossip-wire.md
 * section 4), and the shape of a stream message (section 5). Encryption is in seal.h. Pure.
 */
#pragma once

#include "messages.h"

#define PACKET_MAX       65536u      /* bytes of a datagram */
#define PACKET_BUDGET    1400u       /* bytes of a datagram that we send */
#define PACKET_PARTS_MAX 255u        /* of a compound */
#define PACKET_NEST_MAX  4u          /* compound in compress in compound ... */
#define PACKET_PLAIN_MAX (1u << 20)  /* after decompression, all of one packet */
#define COMPRESS_MIN     200u        /* bytes; below it hardly anything is gained */
#define STREAM_MAX       (16u << 20) /* bytes of a stream message, before and after decompression */
#define STREAM_VALUE_MAX (64u << 10) /* bytes of a header, a ping, one node's map */
#define STREAM_NODES_MAX 20000       /* of a push/pull */

typedef void packet_msg_fn(void *user, uint8_t type, struct span body);

enum packet_result { PACKET_OK, PACKET_BROKEN, PACKET_BAD_CRC };

/*
 * Calls fn for each plain message of a decrypted packet. What came before a broken part was
 * delivered.
 */
enum packet_result packet_read(struct span packet, packet_msg_fn *fn, void *user);

/* A compound of n (1..255) messages; a single one goes bare. */
void packet_put_compound(struct strbuf *out, const struct span *msgs, size_t n);
/*
 * Appends the compressed form of a packet or stream message when that is shorter; else false and
 * nothing is appended. Short ones are not tried.
 */
bool packet_put_compressed(struct strbuf *out, struct span msg);
/* Puts 0c and the checksum in front of what stands in `packet`. */
void packet_put_crc(struct strbuf *out, struct span packet);

/* ---- streams ---- */

enum stream_scan { STREAM_NEED_MORE, STREAM_COMPLETE, STREAM_BROKEN };

/* Progress over a stream message that arrives in pieces; zero to start. */
struct stream_scanner {
    size_t offset; /* up to here it is whole */
    bool head_seen;
    int64_t nodes_left, user_len;
};

/*
 * Looks at the len bytes that have come so far (always from the start) and says whether the message
 * is whole; then scanner->offset is its length.
 */
enum stream_scan stream_scan(struct stream_scanner *scanner, const uint8_t *buf, size_t len);

/*
 * Takes compression off a whole plain stream message. *ret_msg points into the input or into
 * `room`, which the caller owns. -errno when it cannot be read.
 */
int stream_unwrap(struct span in, struct strbuf *room, struct span *ret_msg);
