/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "raftd_build.h"
#include "wire/wire.h"

#define EVENT_MISSED "Node heartbeat missed"
#define BAD_NODE_ID  "node lookup failed: index error: UUID must be 36 characters"
#define EVENT_BACK   "Node reregistered by heartbeat"

enum built raftd_build_error(struct building *b, unsigned code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(b->e.text, sizeof(b->e.text), fmt, ap);
    va_end(ap);
    b->code = code;
    return BUILT_ERROR;
}

enum built raftd_build_command(struct building *b, enum command_type type, const void *body,
                               const struct bytes *blobs, size_t n)
{
    int r =
        command_encode(&b->p->command, type, clock_wall(), b->env->idempotency_key, body, blobs, n);

    if (r == -EMSGSIZE)
        return raftd_build_error(b, 413, "the request is too large to be stored");
    if (r < 0)
        return raftd_build_error(b, 500, "the request cannot be stored: %s", strerror(-r));
    return BUILT_COMMAND;
}

void raftd_copy_text(char *to, size_t cap, const char *from)
{
    (void)snprintf(to, cap, "%s", from ? from : "");
}

int raftd_encode_node_down(struct strbuf *out, const char *node_id)
{
    steppe_NodeStatusCommand cmd = {
        .status = "down", .event = EVENT_MISSED, .eval_seed = random_u64() | 1};

    COPY_TEXT(cmd.node_id, node_id);
    return command_encode(out, COMMAND_NODE_STATUS, clock_wall(), NULL, &cmd, NULL, 0);
}

static bool status_known(const char *status)
{
    return strcmp(status, "initializing") == 0 || strcmp(status, "ready") == 0 ||
           strcmp(status, "down") == 0;
}

/* The node's row as the state has it. 0, or -ENOENT, or another error with its text in b. */
static int read_node(struct building *b, const char *id, struct state_node *ret)
{
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    struct state_meta meta = {0};
    int r = store_begin(b->rd->store, false, &t);

    if (r == 0)
        r = state_node_row(t, id, ret, &meta, &b->e);
    if (r != 0) {
        if (r < 0)
            (void)err_set(&b->e, r, "cannot read the state: %s", strerror(-r));
        b->code = 500;
        return r;
    }
    return meta.found ? 0 : -ENOENT;
}

static const char *attribute(const steppe_Node *n, const char *key)
{
    for (pb_size_t i = 0; i < n->attributes_count; i++) {
        if (strcmp(n->attributes[i].key, key) == 0)
            return n->attributes[i].value;
    }
    return NULL;
}

/* The list's row: what does not change with the node's status. Borrows from n. */
static int encode_stub(const steppe_Node *n, struct strbuf *out)
{
    char address[256];
    steppe_NodeListStub stub = {
        .id = n->id,
        .datacenter = n->datacenter,
        .name = n->name,
        .node_class = n->node_class,
        .version = (char *)attribute(n, "nomad.version"),
        .address = address,
        .has_node_resources = n->has_node_resources,
        .node_resources = n->node_resources,
        .has_reserved_resources = n->has_reserved_resources,
        .reserved_resources = n->reserved_resources,
    };
    _cleanup_(freep) steppe_NodeListStub_DriversEntry *drivers =
        xcalloc((size_t)n->drivers_count + 1, sizeof(*drivers));
    char *colon;

    COPY_TEXT(address, n->http_addr);
    colon = strrchr(address, ':');
    if (colon)
        *colon = 0;
    for (pb_size_t i = 0; i < n->drivers_count; i++)
        drivers[i] = (steppe_NodeListStub_DriversEntry){n->drivers[i].key, n->drivers[i].has_value,
                                                        n->drivers[i].value};
    stub.drivers = drivers;
    stub.drivers_count = n->drivers_count;
    return wire_encode(steppe_NodeListStub_fields, &stub, out);
}

enum built raftd_build_node_register(struct building *b, void *msg)
{
    steppe_NodeRegisterRequest *req = msg;
    steppe_Node *n = &req->node;
    _cleanup_(strbuf_fini) struct strbuf spec = STRBUF_BOUND(COMMAND_LEN_MAX);
    _cleanup_(strbuf_fini) struct strbuf stub = STRBUF_BOUND(COMMAND_LEN_MAX);
    steppe_NodeRegisterCommand cmd = {.eval_seed = random_u64() | 1};
    struct state_node row;
    struct bytes blobs[2];
    steppe_Node clean;
    int r;

    if (!req->has_node)
        return raftd_build_error(b, 400, "missing node for client registration");
    if (!n->id || !uuid_valid(n->id))
        return raftd_build_error(b, 400, "missing node ID for client registration");
    if (!n->datacenter || !n->name)
        return raftd_build_error(b, 400, "missing %s for client registration",
                                 n->datacenter ? "node name" : "datacenter");
    if (!n->secret_id || strlen(n->secret_id) >= sizeof(cmd.secret_id))
        return raftd_build_error(b, 400, "missing node secret ID for client registration");
    if (n->status && !status_known(n->status))
        return raftd_build_error(b, 400, "invalid status for node");
    r = read_node(b, n->id, &row);
    if (r == 0 && strcmp(row.secret_id, n->secret_id) != 0)
        return raftd_build_error(b, 403, "node secret ID does not match. Not registering node.");
    if (r != 0 && r != -ENOENT)
        return BUILT_ERROR;
    COPY_TEXT(cmd.node_id, n->id);
    COPY_TEXT(b->p->node_id, n->id);
    COPY_TEXT(cmd.secret_id, n->secret_id);
    COPY_TEXT(cmd.status, n->status);
    clean = *n; /* borrows: only n is released */
    clean.secret_id = clean.status = clean.status_description = clean.scheduling_eligibility = NULL;
    clean.events = NULL;
    clean.events_count = 0;
    clean.drain = clean.has_drain_strategy = clean.has_last_drain = false;
    clean.status_updated_at = 0;
    clean.create_index = clean.modify_index = 0;
    if (wire_encode(steppe_Node_fields, &clean, &spec) < 0 || encode_stub(n, &stub) < 0)
        return raftd_build_error(b, 413, "the node's description is too large");
    blobs[0] = bytes_of(spec.data, spec.len);
    blobs[1] = bytes_of(stub.data, stub.len);
    return raftd_build_command(b, COMMAND_NODE_REGISTER, &cmd, blobs, ARRAY_LEN(blobs));
}

enum built raftd_build_node_status(struct building *b, void *msg)
{
    steppe_NodeUpdateStatusRequest *req = msg;
    steppe_NodeStatusCommand cmd = {.event = EVENT_BACK, .eval_seed = random_u64() | 1};
    struct state_node row;
    int r;

    if (!req->node_id || !uuid_valid(req->node_id))
        return raftd_build_error(b, 400, "missing node ID for client status update");
    if (!req->status || !status_known(req->status))
        return raftd_build_error(b, 400, "invalid status for node");
    r = read_node(b, req->node_id, &row);
    if (r == -ENOENT)
        return raftd_build_error(b, 404, "node not found");
    if (r != 0)
        return BUILT_ERROR;
    if (!req->secret_id || strcmp(req->secret_id, row.secret_id) != 0)
        return raftd_build_error(b, 403, "node secret ID does not match");
    COPY_TEXT(b->p->node_id, req->node_id);
    if (strcmp(row.status, req->status) == 0) {
        b->index = row.modify_index;
        return BUILT_BEAT;
    }
    COPY_TEXT(cmd.node_id, req->node_id);
    COPY_TEXT(cmd.status, req->status);
    return raftd_build_command(b, COMMAND_NODE_STATUS, &cmd, NULL, 0);
}

enum built raftd_build_node_eligibility(struct building *b, void *msg)
{
    steppe_NodeEligibilityRequest *req = msg;
    steppe_NodeEligibilityCommand cmd = {.eval_seed = random_u64() | 1};

    if (!req->node_id || !req->node_id[0])
        return raftd_build_error(b, 400, "missing node ID for setting scheduling eligibility");
    if (!req->eligibility ||
        (strcmp(req->eligibility, "eligible") != 0 && strcmp(req->eligibility, "ineligible") != 0))
        return raftd_build_error(b, 400, "invalid scheduling eligibility \"%s\"",
                                 req->eligibility ? req->eligibility : "");
    if (!uuid_valid(req->node_id))
        return raftd_build_error(b, 500, BAD_NODE_ID);
    COPY_TEXT(cmd.node_id, req->node_id);
    COPY_TEXT(cmd.eligibility, req->eligibility);
    return raftd_build_command(b, COMMAND_NODE_ELIGIBILITY, &cmd, NULL, 0);
}

enum built raftd_build_node_deregister(struct building *b, void *msg)
{
    steppe_NodeSpecificRequest *req = msg;
    steppe_NodeDeregisterCommand cmd = {.eval_seed = random_u64() | 1};

    if (!req->node_id || !req->node_id[0])
        return raftd_build_error(b, 400, "missing node ID for client deregistration");
    if (!uuid_valid(req->node_id))
        return raftd_build_error(b, 500, BAD_NODE_ID);
    COPY_TEXT(cmd.node_id, req->node_id);
    COPY_TEXT(b->p->node_id, req->node_id);
    return raftd_build_command(b, COMMAND_NODE_DEREGISTER, &cmd, NULL, 0);
}
