/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Messages between the servers of the group, as one-way Raft.Message requests on :4647. They may be
 * lost, the core sends again. Those of a step that must first be durable wait here.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "raft_wire.h"
#include "raftd.h"

#define HELD_MAX     4096
#define FRAME_MAX    (32u << 20)
#define LOG_EVERY_NS (10 * NS_PER_SEC) /* of messages refused */

struct held_message {
    struct held_message *next;
    uint64_t to;
    size_t len;
    uint8_t data[];
};

struct raftd_peer *raftd_peer_find(struct raftd *rd, uint64_t id)
{
    struct raftd_peer *p = rd->peers;

    while (p && p->id != id)
        p = p->next;
    return p;
}

static void peer_free(struct raftd_peer *p)
{
    bus_client_free(p->client);
    free(p);
}

/* True unless the server is in the configuration at this very address. */
static bool is_stale(const struct raftd_peer *p, const struct raft_config *config)
{
    const struct raft_server *s = raft_config_find(config, p->id);

    return !s || strcmp(s->address, p->address) != 0;
}

static struct raftd_peer *peer_add(struct raftd *rd, uint64_t id, const char *address)
{
    _cleanup_(freep) char *endpoint = xasprintf("tcp://%s", address);
    struct raftd_peer *p = xcalloc(1, sizeof(*p));
    struct errtext e = {{0}};

    p->id = id;
    (void)snprintf(p->address, sizeof(p->address), "%s", address);
    if (bus_client_new(rd->ctx->bus, endpoint, &p->client, &e) < 0)
        log_warn("no connection to a server of the group address=%s error=\"%s\"", address, e.text);
    p->next = rd->peers;
    rd->peers = p;
    return p;
}

/*
 * Who speaks to us without being in our configuration: ours is older than his. A blank server, or
 * one that was away while others came, must answer him to get the newer one; gossip knows where.
 */
static struct raftd_peer *peer_guest(struct raftd *rd, uint64_t id)
{
    char address[RAFT_ADDRESS_MAX];
    unsigned n = 0;

    for (struct raftd_peer *p = rd->peers; p; p = p->next)
        n++;
    if (n >= 2 * RAFT_SERVERS_MAX || !raftd_members_address(rd, id, address))
        return NULL;
    return peer_add(rd, id, address);
}

void raftd_peers_update(struct raftd *rd)
{
    const struct raft_config *config = raft_config_latest(rd->raft, NULL);
    struct raftd_peer **at = &rd->peers, *p;

    while ((p = *at)) {
        if (!is_stale(p, config)) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        p->next = rd->stale_peers; /* freed outside of callbacks of its own client */
        rd->stale_peers = p;
        raftd_wake(rd);
    }
    for (unsigned i = 0; i < config->n; i++) {
        const struct raft_server *s = &config->servers[i];

        if (s->id != rd->id && !raftd_peer_find(rd, s->id))
            peer_add(rd, s->id, s->address);
    }
}

void raftd_peers_sweep(struct raftd *rd)
{
    struct raftd_peer *p;

    while ((p = rd->stale_peers)) {
        rd->stale_peers = p->next;
        peer_free(p);
    }
}

void raftd_peers_free(struct raftd *rd)
{
    struct raftd_peer *p;
    struct held_message *m;

    raftd_peers_sweep(rd);
    while ((p = rd->peers)) {
        rd->peers = p->next;
        peer_free(p);
    }
    while ((m = rd->held)) {
        rd->held = m->next;
        free(m);
    }
}

static void send_bytes(struct raftd *rd, uint64_t to, const void *data, size_t len)
{
    struct raftd_peer *p = raftd_peer_find(rd, to);
    steppe_Request env = {.method = RPC_RAFT_MESSAGE, .timeout_ms = 1000};

    if (!p)
        p = peer_guest(rd, to);
    if (p && p->client)
        (void)bus_client_send(p->client, &env, data, len);
}

static void hold(struct raftd *rd, uint64_t to, const void *data, size_t len)
{
    struct held_message *m = xmalloc(sizeof(*m) + len);

    m->next = NULL;
    m->to = to;
    m->len = len;
    memcpy(m->data, data, len);
    *rd->held_end = m;
    rd->held_end = &m->next;
    rd->held_n++;
}

void raftd_peers_send(struct raftd *rd, const struct raft_out *out)
{
    struct raft_group group;

    if (out->sync_before_send)
        rd->held_seq = MAX(rd->held_seq, out->seq);
    memcpy(group.bytes, rd->group, sizeof(group.bytes));
    for (unsigned i = 0; i < out->msgs_n; i++) {
        const struct raft_msg *m = &out->msgs[i];

        strbuf_reset(&rd->frame);
        rd->frame.len_max = FRAME_MAX;
        if (raft_wire_encode(m, &group, &rd->frame) < 0) {
            log_warn("a raft message is too large type=%s", raft_msg_type_name(m->type));
            continue;
        }
        if (!rd->held_seq)
            send_bytes(rd, m->to, rd->frame.data, rd->frame.len);
        else if (rd->held_n < HELD_MAX) /* beyond: lost, like on a wire */
            hold(rd, m->to, rd->frame.data, rd->frame.len);
    }
}

void raftd_peers_release(struct raftd *rd, uint64_t durable_seq)
{
    struct held_message *m;

    if (!rd->held_seq || durable_seq < rd->held_seq)
        return;
    rd->held_seq = 0;
    while ((m = rd->held)) {
        rd->held = m->next;
        send_bytes(rd, m->to, m->data, m->len);
        free(m);
    }
    rd->held_end = &rd->held;
    rd->held_n = 0;
}

/* A server without a group is taken in by the first one that speaks to it. */
static bool join_group(struct raftd *rd, const struct raft_group *group)
{
    struct errtext e = {{0}};

    if (rd->started)
        return false;
    if (raftd_group_adopt(rd, group->bytes, &e) < 0) {
        svc_fatal(rd->ctx, "%s", e.text);
        return false;
    }
    raftd_start(rd);
    return true;
}

static void log_refused(const struct raftd *rd, const struct raft_buf *frame, int r)
{
    char own[2 * RAFTD_GROUP_ID_LEN + 1], theirs[2 * RAFTD_GROUP_ID_LEN + 1];
    struct raft_group group;

    if (r == -EPERM && raft_wire_group(frame, &group) == 0) {
        raftd_group_text(rd->group, own);
        raftd_group_text(group.bytes, theirs);
        log_warn("raft message refused: it is of another raft group group=%s own=%s", theirs, own);
        return;
    }
    log_warn("raft message refused: %s",
             r == -EPROTONOSUPPORT ? "it is of another version" : "it is damaged");
}

void raftd_peers_receive(struct raftd *rd, struct bus_req *req)
{
    struct raft_event ev = {.type = RAFT_EV_MESSAGE};
    _cleanup_(raft_buf_unrefp) struct raft_buf *frame = NULL;
    struct raft_group group;
    int r = -EBADMSG;

    if (req->body_len <= FRAME_MAX) {
        frame = raft_buf_copy(req->body, (uint32_t)req->body_len);
        memcpy(group.bytes, rd->group, sizeof(group.bytes));
        r = raft_wire_decode(frame, &group, &rd->wire_in);
        if (r == -EPERM && !rd->started && raft_wire_group(frame, &group) == 0 &&
            join_group(rd, &group))
            r = raft_wire_decode(frame, &group, &rd->wire_in);
    }
    bus_req_drop(req);
    if (r == 0 && rd->started) {
        ev.msg = &rd->wire_in.msg;
        raftd_step(rd, &ev);
        return;
    }
    if (r == 0 || clock_mono().ns < rd->refused_log_ns)
        return;
    rd->refused_log_ns = clock_mono().ns + LOG_EVERY_NS;
    log_refused(rd, frame, r);
}
