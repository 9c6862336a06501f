/* SPDX-License-Identifier: MPL-2.0 */
/* The frame of the state machine: batches, results, table indexes, idempotency keys. */
#include "state/fsm_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "rpc.pb.h"

typedef int fsm_command_fn(struct fsm_ctx *c);

static int fsm_noop(struct fsm_ctx *c)
{
    (void)c;
    return 0;
}

static fsm_command_fn *fsm_command(unsigned type)
{
    switch (type) {
    case COMMAND_NOOP:
        return fsm_noop;
    case COMMAND_JOB_REGISTER:
        return fsm_job_register;
    case COMMAND_JOB_DEREGISTER:
        return fsm_job_deregister;
    case COMMAND_NODE_REGISTER:
        return fsm_node_register;
    case COMMAND_NODE_STATUS:
        return fsm_node_status;
    case COMMAND_NODE_ELIGIBILITY:
        return fsm_node_eligibility;
    case COMMAND_NODE_DEREGISTER:
        return fsm_node_deregister;
    case COMMAND_EVAL_UPDATE:
        return fsm_eval_update;
    case COMMAND_CONFIG_PUT:
        return fsm_config_put;
    case COMMAND_PLAN_APPLY:
        return fsm_plan_apply;
    case COMMAND_ALLOC_CLIENT_UPDATE:
        return fsm_alloc_client_update;
    case COMMAND_ALLOC_TRANSITION:
        return fsm_alloc_transition;
    case COMMAND_NODE_EVALUATE:
        return fsm_node_evaluate;
    case COMMAND_REAP:
        return fsm_reap;
    }
    return NULL;
}

/* ---- for the commands ---- */

int fsm_refuse(struct fsm_ctx *c, unsigned code, const char *fmt, ...)
{
    char text[ERRTEXT_MAX];
    va_list ap;

    assert(code != 0);
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    c->body->len = c->f->reply->at; /* nothing of a reply begun */
    strbuf_adds(c->body, text);
    c->f->reply->code = code;
    return FSM_E_REFUSED;
}

void fsm_touch(struct fsm_ctx *c, enum state_table table, struct bytes key)
{
    c->f->table_index[table] = c->index;
    c->f->table_dirty[table] = true;
    if (c->f->watches)
        watch_note(c->f->watches, table, key);
}

struct bytes fsm_nsid_ns(struct bytes nsid)
{
    const uint8_t *nul = memchr(nsid.data, 0, nsid.len);

    return bytes_of(nsid.data, nul ? (size_t)(nul - nsid.data) : nsid.len);
}

struct bytes fsm_nsid_id(struct bytes nsid)
{
    size_t skip = MIN(fsm_nsid_ns(nsid).len + 1, nsid.len);

    return bytes_of(nsid.data + skip, nsid.len - skip);
}

void fsm_note(struct fsm_ctx *c, const struct fsm_change *change)
{
    struct fsm *f = c->f;
    struct fsm_noted *n;

    if (!f->observer)
        return;
    if (f->noted_n == f->noted_cap) {
        f->noted_cap = f->noted_cap ? f->noted_cap * 2 : 64;
        f->noted = xrealloc(f->noted, f->noted_cap * sizeof(*f->noted));
    }
    n = &f->noted[f->noted_n++];
    *n = (struct fsm_noted){*change, f->noted_text.len};
    n->change.index = c->index;
    strbuf_add(&f->noted_text, change->namespace.data, change->namespace.len);
    strbuf_add(&f->noted_text, change->job_id.data, change->job_id.len);
    strbuf_add(&f->noted_text, change->text.data, change->text.len);
}

/* Tells what was noted, after the commit. */
static void fsm_tell(struct fsm *f)
{
    for (size_t i = 0; i < f->noted_n && f->observer; i++) {
        struct fsm_change *ch = &f->noted[i].change;
        const char *at = f->noted_text.data ? f->noted_text.data + f->noted[i].at : "";

        ch->namespace.data = (const uint8_t *)at;
        ch->job_id.data = ch->namespace.data + ch->namespace.len;
        ch->text.data = ch->job_id.data + ch->job_id.len;
        f->observer(f->observer_user, ch);
    }
    f->noted_n = 0;
    strbuf_reset(&f->noted_text);
}

void fsm_observe(struct fsm *f, fsm_observer_fn *fn, void *user)
{
    f->observer = fn;
    f->observer_user = user;
}

int fsm_body(struct fsm_ctx *c, const pb_msgdesc_t *fields, void *msg, size_t msg_size)
{
    if (row_decode(fields, c->cmd->body, msg, msg_size))
        return fsm_refuse(c, 400, "broken %s command", command_name(c->cmd->type));
    return 0;
}

/* ---- settings ---- */

int fsm_config_put(struct fsm_ctx *c)
{
    steppe_ConfigPutCommand m;
    uint64_t create = c->index, modify = 0;
    struct bytes old;
    uint8_t be[16];
    int r = fsm_body(c, steppe_ConfigPutCommand_fields, &m, sizeof(m));

    if (r)
        return r;
    if (!m.name[0])
        return fsm_refuse(c, 400, "a setting needs a name");
    r = store_get(c->t, STATE_CONFIGS, bytes_text(m.name), &old);
    if (r < 0)
        return err_trace(r);
    if (r == 0 && old.len >= sizeof(be)) {
        create = be64_read(old.data);
        modify = be64_read(old.data + 8);
    }
    if (!m.cas || m.cas_index == modify) {
        be64_write(be, create);
        be64_write(be + 8, c->index);
        strbuf_reset(&c->f->row);
        strbuf_add(&c->f->row, be, sizeof(be));
        strbuf_add(&c->f->row, c->cmd->blobs[0].data, c->cmd->blobs[0].len);
        r = store_put(c->t, STATE_CONFIGS, bytes_text(m.name), strbuf_bytes(&c->f->row));
        if (r)
            return err_trace(r);
        fsm_touch(c, STATE_CONFIGS, bytes_text(m.name));
        fsm_note(c, &(struct fsm_change){.kind = FSM_CHANGE_CONFIG, .text = bytes_text(m.name)});
        row_u64(c->body, steppe_ConfigPutResponse_updated_tag, true);
    }
    row_u64(c->body, steppe_ConfigPutResponse_index_tag, c->index);
    return 0;
}

/* ---- idempotency keys ---- */

/* Gives the reply of an earlier command with the same key: 0, STORE_E_NOT_FOUND or -errno. */
static int fsm_retry_lookup(struct fsm_ctx *c)
{
    struct bytes v;
    int r = store_get(c->t, STATE_RETRIES, bytes_text(c->cmd->key), &v);

    if (r)
        return r;
    if (v.len < 8)
        return err_trace(-EBADMSG);
    c->f->reply->index = be64_read(v.data);
    strbuf_add(c->body, v.data + 8, v.len - 8);
    return 0;
}

/* Forgets up to two keys that are too old: as at most one is added, the table stays bounded. */
static int fsm_retry_expire(struct fsm_ctx *c)
{
    for (int i = 0; i < 2; i++) {
        struct bytes key = {0}, value = {0};
        struct store_cursor cur;
        struct row_key order = {0}, name = {0};
        int r = store_scan(c->t, STATE_RETRY_ORDER, (struct bytes){0}, &cur);

        if (r == 0)
            r = store_next(&cur, &key, &value);
        if (r == 0) {
            row_key_add(&order, key.data, key.len);
            row_key_add(&name, value.data, value.len);
        }
        store_scan_end(&cur);
        if (r)
            return r < 0 ? err_trace(r) : 0;
        if (order.len != 8 || be64_read(order.data) + STATE_RETRIES_SPAN > c->index)
            return 0;
        r = store_del(c->t, STATE_RETRY_ORDER, row_key_bytes(&order));
        if (r == 0)
            r = store_del(c->t, STATE_RETRIES, row_key_bytes(&name));
        if (r < 0)
            return err_trace(r);
    }
    return 0;
}

static int fsm_retry_note(struct fsm_ctx *c)
{
    struct strbuf *row = &c->f->row;
    uint8_t be[8];
    int r;

    be64_write(be, c->index);
    strbuf_reset(row);
    strbuf_add(row, be, sizeof(be));
    strbuf_add(row, c->body->data + c->f->reply->at, c->body->len - c->f->reply->at);
    r = store_put(c->t, STATE_RETRIES, bytes_text(c->cmd->key), strbuf_bytes(row));
    if (r == 0)
        r = store_put(c->t, STATE_RETRY_ORDER, bytes_of(be, sizeof(be)), bytes_text(c->cmd->key));
    return r ? err_trace(r) : fsm_retry_expire(c);
}

/* ---- entries ---- */

static int fsm_apply_command(struct fsm_ctx *c, struct bytes data, struct command *cmd)
{
    fsm_command_fn *fn;
    int r;

    c->cmd = cmd;
    if (command_decode(data, cmd))
        return fsm_refuse(c, 400, "broken command");
    fn = fsm_command(cmd->type);
    if (!fn)
        return fsm_refuse(c, 400, "unknown command type %u", cmd->type);
    if (!command_blobs_fit(cmd->type, cmd->blobs_n))
        return fsm_refuse(c, 400, "broken %s command", command_name(cmd->type));
    if (cmd->key[0]) {
        r = fsm_retry_lookup(c);
        if (r != STORE_E_NOT_FOUND)
            return r;
    }
    r = fn(c);
    fsm_works_reset(c->f);
    if (r == 0 && cmd->key[0])
        r = fsm_retry_note(c);
    return r;
}

static int fsm_apply_configuration(struct fsm_ctx *c, struct bytes data)
{
    uint8_t be[8];

    be64_write(be, c->index);
    strbuf_reset(&c->f->row);
    strbuf_add(&c->f->row, be, sizeof(be));
    strbuf_add(&c->f->row, data.data, data.len);
    return store_put(c->t, STATE_META, bytes_text("configuration"), strbuf_bytes(&c->f->row));
}

static int fsm_apply_entry(struct fsm *f, struct store_txn *t, const struct fsm_entry *e,
                           struct fsm_reply *reply)
{
    struct fsm_ctx c = {.f = f, .t = t, .index = e->index, .body = &f->replies};
    struct command cmd;
    int r = 0;

    *reply = (struct fsm_reply){.at = f->replies.len, .index = e->index};
    f->reply = reply;
    if (e->index <= f->applied_index)
        return 0;
    switch (e->kind) {
    case FSM_ENTRY_NOOP:
        break;
    case FSM_ENTRY_COMMAND:
        r = fsm_apply_command(&c, e->data, &cmd);
        break;
    case FSM_ENTRY_CONFIGURATION:
        r = fsm_apply_configuration(&c, e->data);
        break;
    }
    reply->len = f->replies.len - reply->at;
    strbuf_addc(&f->replies, 0);
    f->applied_index = e->index;
    f->applied_term = e->term;
    return r < 0 ? r : 0;
}

/* What every batch ends with: table indexes and the applied index. */
static int fsm_finish(struct fsm *f, struct store_txn *t)
{
    uint8_t be[16];
    int r = 0;

    for (unsigned i = 0; r == 0 && i < STATE_TABLE_COUNT; i++) {
        uint8_t key = (uint8_t)i;

        if (!f->table_dirty[i])
            continue;
        be64_write(be, f->table_index[i]);
        r = store_put(t, STATE_INDEXES, bytes_of(&key, 1), bytes_of(be, 8));
    }
    be64_write(be, f->applied_index);
    be64_write(be + 8, f->applied_term);
    if (r == 0)
        r = store_put(t, STATE_META, bytes_text("applied"), bytes_of(be, 16));
    return r;
}

static void fsm_results(struct fsm *f, size_t n, struct fsm_result *results)
{
    for (size_t i = 0; i < n; i++) {
        const struct fsm_reply *p = &f->replies_v[i];
        const char *at = f->replies.data ? f->replies.data + p->at : "";

        results[i] = (struct fsm_result){.code = p->code, .index = p->index, .error = ""};
        if (p->code)
            results[i].error = at;
        else if (p->len)
            results[i].body = bytes_of(at, p->len);
    }
}

static int fsm_load(struct fsm *f)
{
    struct store_txn *t = NULL;
    int r = store_begin(f->store, false, &t);

    if (r)
        return err_trace(r);
    r = state_applied(t, &f->applied_index, &f->applied_term);
    for (unsigned i = 0; r == 0 && i < STATE_TABLE_COUNT; i++)
        r = state_table_index(t, (enum state_table)i, &f->table_index[i]);
    store_abort(t);
    return r;
}

int fsm_apply_batch(struct fsm *f, const struct fsm_entry *entries, size_t n,
                    struct fsm_result *results)
{
    return fsm_apply_until(f, entries, n, results, NULL, NULL, &n);
}

int fsm_apply_until(struct fsm *f, const struct fsm_entry *entries, size_t n,
                    struct fsm_result *results, bool (*enough)(void *user), void *user,
                    size_t *ret_n)
{
    struct store_txn *t = NULL;
    int r;

    if (n > f->replies_cap) {
        f->replies_v = xrealloc(f->replies_v, n * sizeof(*f->replies_v));
        f->replies_cap = n;
    }
    strbuf_reset(&f->replies);
    memset(f->table_dirty, 0, sizeof(f->table_dirty));
    f->noted_n = 0;
    strbuf_reset(&f->noted_text);
    r = store_begin(f->store, true, &t);
    for (size_t i = 0; r == 0 && i < n; i++) {
        assert(i == 0 || entries[i].index > entries[i - 1].index);
        r = fsm_apply_entry(f, t, &entries[i], &f->replies_v[i]);
        if (enough && i + 1 < n && enough(user))
            n = i + 1;
    }
    if (r == 0)
        r = fsm_finish(f, t);
    if (r == 0)
        r = store_commit(TAKE_PTR(t));
    store_abort(t);
    if (r) {
        if (f->watches)
            watch_forget(f->watches);
        (void)fsm_load(f); /* what it had noted of the batch is void */
        return err_trace(r);
    }
    *ret_n = n;
    if (results)
        fsm_results(f, n, results);
    if (f->watches)
        watch_fire(f->watches, f->applied_index);
    fsm_tell(f);
    return 0;
}

uint64_t fsm_applied_index(const struct fsm *f)
{
    return f->applied_index;
}

uint64_t fsm_applied_term(const struct fsm *f)
{
    return f->applied_term;
}

int fsm_reload(struct fsm *f)
{
    int r = fsm_load(f);

    if (r == 0 && f->watches)
        watch_fire_all(f->watches, f->applied_index);
    return r;
}

int fsm_new(struct store *store, struct watch_set *watches, struct fsm **ret)
{
    struct fsm *f = xcalloc(1, sizeof(*f));
    int r;

    f->store = store;
    f->watches = watches;
    r = fsm_load(f);
    if (r) {
        fsm_free(f);
        return err_trace(r);
    }
    *ret = f;
    return 0;
}

struct fsm *fsm_free(struct fsm *f)
{
    if (!f)
        return NULL;
    strbuf_fini(&f->replies);
    strbuf_fini(&f->row);
    strbuf_fini(&f->a);
    strbuf_fini(&f->b);
    strbuf_fini(&f->noted_text);
    fsm_works_free(f);
    free(f->noted);
    free(f->replies_v);
    free(f);
    return NULL;
}
