/* SPDX-License-Identifier: MPL-2.0 */
#include <string.h>

#include "raft_msg.h"

struct raft_buf *raft_buf_new(uint32_t len)
{
    struct raft_buf *b = xmalloc(sizeof(*b) + len);

    b->refs = 1;
    b->len = len;
    return b;
}

struct raft_buf *raft_buf_copy(const void *data, uint32_t len)
{
    struct raft_buf *b = raft_buf_new(len);

    if (len > 0)
        memcpy(b->data, data, len);
    return b;
}

struct raft_buf *raft_buf_unref(struct raft_buf *b)
{
    if (b) {
        assert(b->refs > 0);
        if (--b->refs == 0)
            free(b);
    }
    return NULL;
}

const char *raft_msg_type_name(enum raft_msg_type type)
{
    switch (type) {
    case RAFT_MSG_VOTE:
        return "vote";
    case RAFT_MSG_VOTE_REPLY:
        return "vote-reply";
    case RAFT_MSG_APPEND:
        return "append";
    case RAFT_MSG_APPEND_REPLY:
        return "append-reply";
    case RAFT_MSG_HEARTBEAT:
        return "heartbeat";
    case RAFT_MSG_HEARTBEAT_REPLY:
        return "heartbeat-reply";
    case RAFT_MSG_SNAPSHOT:
        return "snapshot";
    case RAFT_MSG_SNAPSHOT_REPLY:
        return "snapshot-reply";
    case RAFT_MSG_TIMEOUT_NOW:
        return "timeout-now";
    }
    return "unknown";
}
