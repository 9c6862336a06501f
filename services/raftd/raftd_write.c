/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Writes: request -> checked command -> log -> applied -> reply. Runs on the leader only. The
 * state machine decides what depends on the state (raftd_write_request() does not read it, but for
 * a heartbeat that changes nothing); here stands what can be judged from the request alone.
 */
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "raftd.h"
#include "raftd_build.h"
#include "rpc.pb.h"
#include "wire/member.h"
#include "wire/wire.h"

struct raftd_proposal *raftd_proposal_new(struct bus_req *req, raftd_applied_fn *fn)
{
    struct raftd_proposal *p = xcalloc(1, sizeof(*p));

    p->req = req;
    p->fn = fn;
    p->command.len_max = COMMAND_LEN_MAX;
    return p;
}

static void proposal_free(struct raftd_proposal *p)
{
    strbuf_fini(&p->command);
    free(p->warnings);
    free(p);
}

static void proposal_dropped(struct raftd *rd, struct raftd_proposal *p)
{
    if (p->dropped)
        p->dropped(rd, p);
}

void raftd_proposal_fail(struct raftd *rd, struct raftd_proposal *p, unsigned code, bool retryable,
                         const char *text)
{
    proposal_dropped(rd, p);
    if (p->req)
        bus_req_error(p->req, code, retryable, "%s", text);
    proposal_free(p);
}

void raftd_propose(struct raftd *rd, struct raftd_proposal *p)
{
    *rd->queued_end = p;
    rd->queued_end = &p->next;
    rd->queued_n++;
    raftd_wake(rd);
}

/* Commands that the core did not take: back to their requests. */
static void refused(struct raftd *rd, struct raftd_proposal *list, int r)
{
    struct raftd_proposal *p;

    while ((p = list)) {
        list = p->next;
        if (p->req && (r == RAFT_E_NOT_LEADER || r == RAFT_E_TRANSFERRING)) {
            proposal_dropped(rd, p);
            raftd_rpc_hold(rd, p->req);
            proposal_free(p);
        } else {
            raftd_proposal_fail(rd, p, r == RAFT_E_TOO_LARGE ? 413 : 429, r != RAFT_E_TOO_LARGE,
                                r > 0 ? raft_error_text(r) : strerror(-r));
        }
    }
}

void raftd_write_flush(struct raftd *rd)
{
    struct raft_payload payloads[RAFTD_PROPOSE_MAX];
    struct raft_event ev = {.type = RAFT_EV_PROPOSE, .propose = {.payloads = payloads}};
    struct raftd_proposal *list = rd->queued, *p;
    const struct raft_out *out = NULL;
    uint64_t index;
    unsigned n = 0;
    int r;

    if (!list)
        return;
    for (p = list; n < RAFTD_PROPOSE_MAX; p = p->next) {
        struct raft_buf *buf = raft_buf_copy(p->command.data, (uint32_t)p->command.len);

        payloads[n++] = (struct raft_payload){buf, buf->data, buf->len};
        strbuf_fini(&p->command);
        if (!p->next || n == RAFTD_PROPOSE_MAX)
            break;
    }
    rd->queued = p->next;
    if (!rd->queued)
        rd->queued_end = &rd->queued;
    p->next = NULL;
    rd->queued_n -= n;
    ev.propose.n = n;
    r = raftd_step_result(rd, &ev, &out);
    index = out->proposed_first;
    for (unsigned i = 0; i < n; i++)
        raft_buf_unref(payloads[i].buf);
    for (p = list; r == 0 && p; p = p->next) {
        p->index = index++;
        p->term = out->proposed_term;
        idmap_put(&rd->proposed, p->index, p);
    }
    if (r != 0)
        refused(rd, list, r);
    raftd_effects(rd, out);
}

void raftd_write_applied(struct raftd *rd, uint64_t index, uint64_t term,
                         const struct fsm_result *result)
{
    struct raftd_proposal *p = idmap_remove(&rd->proposed, index);

    if (!p)
        return;
    if (p->term != term) { /* another leader's entry took the place: ours was never applied */
        raftd_proposal_fail(rd, p, 500, true, "leadership lost before the write was committed");
        return;
    }
    p->fn(rd, p, result);
    proposal_free(p);
}

void raftd_write_leadership_lost(struct raftd *rd)
{
    uint64_t commit = raft_commit_index(rd->raft);
    struct idmap all = rd->proposed;
    struct raftd_proposal *p;

    memset(&rd->proposed, 0, sizeof(rd->proposed));
    for (size_t i = 0; (p = idmap_next(&all, &i));) {
        if (p->index <= commit) { /* certain, though not applied yet: answered then */
            idmap_put(&rd->proposed, p->index, p);
            continue;
        }
        proposal_dropped(rd, p);
        /* With a key it can safely be asked of the next leader. */
        if (p->req && p->req->env.idempotency_key[0])
            raftd_rpc_hold(rd, p->req);
        else if (p->req)
            bus_req_error(p->req, 500, false, "leadership lost while committing log");
        proposal_free(p);
    }
    idmap_fini(&all);
}

void raftd_write_fini(struct raftd *rd)
{
    struct raftd_proposal *p;

    while ((p = rd->queued)) {
        rd->queued = p->next;
        if (p->req)
            raftd_rpc_stopping(p->req);
        proposal_dropped(rd, p);
        proposal_free(p);
    }
    for (size_t i = 0; (p = idmap_next(&rd->proposed, &i));) {
        if (p->req)
            raftd_rpc_stopping(p->req);
        proposal_dropped(rd, p);
        proposal_free(p);
    }
    idmap_fini(&rd->proposed);
}

/* ---- replies ---- */

void raftd_proposal_reply(struct raftd *rd, struct raftd_proposal *p,
                          const struct fsm_result *result, const struct strbuf *more)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    steppe_Reply rep = {.code = result->code, .index = result->index};

    if (!p->req)
        return;
    if (result->code)
        (void)snprintf(rep.error, sizeof(rep.error), "%s", result->error);
    strbuf_add(&body, result->body.data, result->body.len);
    if (more && more->len)
        strbuf_add(&body, more->data, more->len);
    raftd_rpc_meta(rd, &rep);
    bus_req_reply(p->req, &rep, body.data, body.len);
}

static void plain_applied(struct raftd *rd, struct raftd_proposal *p,
                          const struct fsm_result *result)
{
    raftd_proposal_reply(rd, p, result, NULL);
}

static void job_applied(struct raftd *rd, struct raftd_proposal *p, const struct fsm_result *result)
{
    _cleanup_(strbuf_fini) struct strbuf more = STRBUF_INIT;
    steppe_JobRegisterResponse extra = {.warnings = p->warnings};

    if (result->code == 0 && p->warnings)
        (void)wire_encode(steppe_JobRegisterResponse_fields, &extra, &more);
    raftd_proposal_reply(rd, p, result, &more);
}

/* What a node is told with each answer: when to come again, and whom to ask. */
static void encode_node_extra(struct raftd *rd, int64_t ttl, struct strbuf *out)
{
    const steppe_MemberList *members = raftd_members_list(rd);
    _cleanup_(freep) steppe_NodeServerInfo *servers =
        xcalloc((size_t)members->members_count + 1, sizeof(*servers));
    const struct raftd_peer *leader = raftd_peer_find(rd, rd->leader);
    steppe_NodeUpdateResponse extra = {
        .heartbeat_ttl = ttl,
        .num_nodes = (uint32_t)raftd_nodes_count(rd),
        .leader_rpc_addr = raftd_is_leader(rd) ? rd->address
                           : leader            ? (char *)leader->address
                                               : NULL,
        .servers = servers,
    };

    for (pb_size_t i = 0; i < members->members_count; i++) {
        const steppe_Member *m = &members->members[i];

        if (!member_has_status(m, "alive") ||
            strcmp(member_tag(m, "region"), rd->ctx->conf->region) != 0)
            continue;
        servers[extra.servers_count++] = (steppe_NodeServerInfo){
            .rpc_advertise_addr =
                xasprintf("%s:%s", member_tag(m, "rpc_addr"), member_tag(m, "port")),
            .datacenter = (char *)member_tag(m, "dc"),
            .id = (char *)member_tag(m, "id"),
        };
    }
    (void)wire_encode(steppe_NodeUpdateResponse_fields, &extra, out);
    for (pb_size_t i = 0; i < extra.servers_count; i++)
        free(servers[i].rpc_advertise_addr);
}

static void node_applied(struct raftd *rd, struct raftd_proposal *p,
                         const struct fsm_result *result)
{
    _cleanup_(strbuf_fini) struct strbuf more = STRBUF_INIT;

    if (result->code == 0 && p->req)
        encode_node_extra(rd, raftd_nodes_beat(rd, p->node_id), &more);
    raftd_proposal_reply(rd, p, result, &more);
}

static void node_gone(struct raftd *rd, struct raftd_proposal *p, const struct fsm_result *result)
{
    if (result->code == 0)
        raftd_nodes_forget(rd, p->node_id);
    raftd_proposal_reply(rd, p, result, NULL);
}

static void change_applied(struct raftd *rd, struct raftd_proposal *p,
                           const struct fsm_result *result)
{
    steppe_GenericResponse done = {.index = p->index};

    (void)result;
    raftd_rpc_answer(rd, p->req, p->index, steppe_GenericResponse_fields, &done);
}

void raftd_write_await_change(struct raftd *rd, struct bus_req *req, uint64_t index, uint64_t term)
{
    struct raftd_proposal *p = raftd_proposal_new(req, change_applied);

    p->index = index;
    p->term = term;
    idmap_put(&rd->proposed, index, p);
}

/* ---- requests -> commands ---- */

static const struct write_method {
    enum rpc_method method;
    const pb_msgdesc_t *fields;
    raftd_build_fn *build;
    raftd_applied_fn *applied;
} write_methods[] = {
    /* clang-format off */
    {RPC_JOB_REGISTER,       steppe_JobRegisterRequest_fields,      raftd_build_job_register,   job_applied},
    {RPC_JOB_DEREGISTER,     steppe_JobDeregisterRequest_fields,    raftd_build_job_deregister, plain_applied},
    {RPC_SCHEDULER_SET_CONFIG, steppe_SchedulerSetConfigRequest_fields, raftd_build_scheduler_config, plain_applied},
    {RPC_NODE_REGISTER,      steppe_NodeRegisterRequest_fields,     raftd_build_node_register,  node_applied},
    {RPC_NODE_UPDATE_STATUS, steppe_NodeUpdateStatusRequest_fields, raftd_build_node_status,    node_applied},
    {RPC_NODE_ELIGIBILITY,   steppe_NodeEligibilityRequest_fields,  raftd_build_node_eligibility, plain_applied},
    {RPC_NODE_DEREGISTER,    steppe_NodeSpecificRequest_fields,     raftd_build_node_deregister, node_gone},
    {RPC_NODE_UPDATE_ALLOC,  steppe_NodeUpdateAllocRequest_fields,  raftd_build_node_update_alloc, plain_applied},
    {RPC_NODE_EVALUATE,      steppe_NodeSpecificRequest_fields,     raftd_build_node_evaluate,  plain_applied},
    {RPC_ALLOC_STOP,         steppe_AllocSpecificRequest_fields,    raftd_build_alloc_stop,     plain_applied},
    {RPC_JOB_EVALUATE,       steppe_JobEvaluateRequest_fields,      raftd_build_job_evaluate,   plain_applied},
    /* clang-format on */
};

/* Room for any of the messages above, decoded. */
union write_message {
    steppe_JobRegisterRequest job_register;
    steppe_JobDeregisterRequest job_deregister;
    steppe_SchedulerSetConfigRequest scheduler_config;
    steppe_NodeRegisterRequest node_register;
    steppe_NodeUpdateStatusRequest node_status;
    steppe_NodeEligibilityRequest node_eligibility;
    steppe_NodeSpecificRequest node_specific;
    steppe_NodeUpdateAllocRequest node_update_alloc;
    steppe_AllocSpecificRequest alloc_specific;
    steppe_JobEvaluateRequest job_evaluate;
};

static const struct write_method *find_method(unsigned method)
{
    for (size_t i = 0; i < ARRAY_LEN(write_methods); i++) {
        if (write_methods[i].method == method)
            return &write_methods[i];
    }
    return NULL;
}

/* A heartbeat that changes nothing: answered without the log. */
static void reply_beat(struct raftd *rd, struct raftd_proposal *p, uint64_t index)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    steppe_NodeUpdateResponse first = {.index = index};
    steppe_Reply rep = {.index = index};

    (void)wire_encode(steppe_NodeUpdateResponse_fields, &first, &body);
    encode_node_extra(rd, raftd_nodes_beat(rd, p->node_id), &body);
    raftd_rpc_meta(rd, &rep);
    bus_req_reply(p->req, &rep, body.data, body.len);
    proposal_free(p);
}

void raftd_write_request(struct raftd *rd, struct bus_req *req)
{
    const struct write_method *m = find_method(req->env.method);
    struct building b = {.rd = rd, .env = &req->env};
    union write_message msg;
    enum built built = BUILT_ERROR;

    if (!m) { /* from memory, or a change of the group */
        if (!raftd_sched_request(rd, req))
            raftd_operator_request(rd, req);
        return;
    }
    b.p = raftd_proposal_new(req, m->applied);
    b.raw = bytes_of(req->body, req->body_len);
    b.namespace = req->env.namespace[0] ? req->env.namespace : "default";
    b.code = 400;
    if (wire_decode(m->fields, req->body, req->body_len, &msg, sizeof(msg), &b.e) == 0) {
        built = m->build(&b, &msg);
        pb_release(m->fields, &msg);
    }
    switch (built) {
    case BUILT_COMMAND:
        raftd_propose(rd, b.p);
        break;
    case BUILT_BEAT:
        reply_beat(rd, b.p, b.index);
        break;
    case BUILT_ERROR:
        raftd_proposal_fail(rd, b.p, b.code, false, b.e.text);
        break;
    }
}

void raftd_write_node_down(struct raftd *rd, const char *node_id)
{
    struct raftd_proposal *p = raftd_proposal_new(NULL, node_applied);

    if (raftd_encode_node_down(&p->command, node_id) < 0)
        proposal_free(p);
    else
        raftd_propose(rd, p);
}

void raftd_write_own(struct raftd *rd, enum command_type type, const void *body,
                     const struct bytes *blobs, size_t n)
{
    struct raftd_proposal *p = raftd_proposal_new(NULL, plain_applied);
    int r = command_encode(&p->command, type, clock_wall(), NULL, body, blobs, n);

    if (r < 0) {
        log_error("cannot write a command of type %d: %s", (int)type, strerror(-r));
        proposal_free(p);
    } else {
        raftd_propose(rd, p);
    }
}
