/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Founding a group. With bootstrap_expect = 1 a blank server founds a group of itself. With n > 1
 * it waits until gossip shows n alive servers of its region that expect n as well; the one with the
 * lowest id asks all others, and founds a group of all n when each of them answers that it has none
 * and will wait for this founder. They get the group from its messages.
 *
 * When more servers start than are expected, views of gossip may differ and two servers may think
 * that they are to found. A server promises itself to one founder at a time, so at most one of two
 * groups that share a server comes to be.
 */
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "raftd.h"
#include "rpc.pb.h"
#include "wire/member.h"
#include "wire/wire.h"

#define ASK_TIMEOUT_MS 1000
#define PROMISE_NS     (10 * NS_PER_SEC) /* longer than the founder's asking and its first messages */
#define FOUND_NS       (3 * NS_PER_SEC)  /* promises older than this are not built on */
#define AGAIN_NS       (500 * NS_PER_MS) /* until the next question after a refusal */

/* A blank server asking the others before it founds a group. */
struct raftd_founding {
    struct raftd *rd;
    struct raft_config config;
    struct bus_client *clients[RAFT_SERVERS_MAX];
    int64_t asked_ns;
    unsigned open; /* answers still missing */
    bool refused;  /* one is part of a group, waits for another founder, or did not answer */
};

bool raftd_found_promise(struct raftd *rd, const char *founder)
{
    int64_t now = clock_mono().ns;

    if (rd->started || (now < rd->promised_until_ns && strcmp(rd->promised, founder) != 0))
        return false;
    (void)snprintf(rd->promised, sizeof(rd->promised), "%s", founder);
    rd->promised_until_ns = now + PROMISE_NS;
    return true;
}

static void found(struct raftd *rd, const struct raft_config *config)
{
    struct errtext e = {{0}};

    log_info("founding the raft group of region %s servers=%u", rd->ctx->conf->region, config->n);
    if (raftd_bootstrap(rd, config, &e) < 0) {
        svc_fatal(rd->ctx, "%s", e.text);
        return;
    }
    raftd_start(rd);
}

static void on_asked(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct raftd_founding *f = user;
    struct raftd *rd = f->rd;
    steppe_ServerStatus st;
    struct errtext e;

    if (err != 0 || rep->code != 0 ||
        wire_decode(steppe_ServerStatus_fields, body, len, &st, sizeof(st), &e) < 0) {
        f->refused = true;
    } else {
        f->refused |= st.bootstrapped;
        pb_release(steppe_ServerStatus_fields, &st);
    }
    if (--f->open > 0 || rd->stopping)
        return; /* raftd_found_sweep() frees it: not from within a client's own callback */
    if (!f->refused && !rd->started && raftd_is_blank(rd) &&
        clock_mono().ns - f->asked_ns < FOUND_NS)
        found(rd, &f->config);
}

static void ask_others(struct raftd *rd, const struct raft_config *config)
{
    steppe_Request env = {.method = RPC_STATUS_SERVER, .timeout_ms = ASK_TIMEOUT_MS, .hops = 1};
    steppe_NodeSpecificRequest who = {.node_id = (char *)rd->ctx->node_id};
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    struct raftd_founding *f;

    if (!raftd_found_promise(rd, rd->ctx->node_id) ||
        wire_encode(steppe_NodeSpecificRequest_fields, &who, &body) < 0)
        return;
    f = xcalloc(1, sizeof(*f));
    f->rd = rd;
    f->config = *config;
    f->asked_ns = clock_mono().ns;
    rd->found_after_ns = f->asked_ns + AGAIN_NS;
    rd->founding = f;
    for (unsigned i = 0; i < config->n; i++) {
        _cleanup_(freep) char *endpoint = xasprintf("tcp://%s", config->servers[i].address);
        struct errtext e = {{0}};

        if (config->servers[i].id == rd->id)
            continue;
        if (bus_client_new(rd->ctx->bus, endpoint, &f->clients[i], &e) < 0) {
            log_warn("cannot ask a server error=\"%s\"", e.text);
            f->refused = true;
            continue;
        }
        f->open++;
        bus_client_call(f->clients[i], &env, body.data, body.len, ASK_TIMEOUT_MS, on_asked, f);
    }
}

static void founding_free(struct raftd *rd)
{
    struct raftd_founding *f = TAKE_PTR(rd->founding);

    if (!f)
        return;
    for (unsigned i = 0; i < ARRAY_LEN(f->clients); i++)
        bus_client_free(f->clients[i]);
    free(f);
}

void raftd_found_sweep(struct raftd *rd)
{
    if (rd->founding && rd->founding->open == 0)
        founding_free(rd);
}

void raftd_found_fini(struct raftd *rd)
{
    founding_free(rd);
}

/* The servers that wait to found a group with us. */
static void collect_waiting(struct raftd *rd, struct raft_config *config)
{
    const steppe_MemberList *list = raftd_members_list(rd);
    char expect[16];

    (void)snprintf(expect, sizeof(expect), "%d", rd->ctx->conf->server.bootstrap_expect);
    for (pb_size_t i = 0; i < list->members_count; i++) {
        const steppe_Member *m = &list->members[i];
        struct raft_server s;

        if (raftd_member_is(m, "alive") && raftd_member_server(rd, m, &s) && s.voter &&
            strcmp(member_tag(m, "expect"), expect) == 0)
            (void)raft_config_add(config, &s);
    }
}

void raftd_found_consider(struct raftd *rd)
{
    int expect = rd->ctx->conf->server.bootstrap_expect;
    struct raft_config config = {0};

    if (expect == 1) {
        struct raft_server self = {.id = rd->id, .voter = true};

        (void)snprintf(self.uuid, sizeof(self.uuid), "%s", rd->ctx->node_id);
        (void)snprintf(self.address, sizeof(self.address), "%s", rd->address);
        (void)raft_config_add(&config, &self);
        found(rd, &config);
        return;
    }
    if (expect == 0 || rd->founding || clock_mono().ns < rd->found_after_ns)
        return;
    collect_waiting(rd, &config);
    while (config.n > (unsigned)expect) /* ids are in order: the lowest found it */
        (void)raft_config_remove(&config, config.servers[config.n - 1].id);
    if (config.n == (unsigned)expect && config.servers[0].id == rd->id)
        ask_others(rd, &config);
}
