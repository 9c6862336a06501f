/* SPDX-License-Identifier: MPL-2.0 */
/* What both stores share: the checks at the border, deletion by prefix, byte strings, names. */
#include "state/store.h"

#include <errno.h>
#include <string.h>

const char *state_table_name(enum state_table table)
{
    static const char *const names[STATE_TABLE_COUNT] = {
#define X(id, name, replicated, key, value) [STATE_##id] = name,
        STATE_TABLES(X)
#undef X
    };

    assert((unsigned)table < STATE_TABLE_COUNT);
    return names[table];
}

bool state_table_replicated(enum state_table table)
{
    static const bool flags[STATE_TABLE_COUNT] = {
#define X(id, name, replicated, key, value) [STATE_##id] = replicated,
        STATE_TABLES(X)
#undef X
    };

    assert((unsigned)table < STATE_TABLE_COUNT);
    return flags[table];
}

static const char *const state_eval_status_names[STATE_EVAL_STATUS_COUNT] = {
#define X(id, text) [STATE_EVAL_##id] = text,
    STATE_EVAL_STATUSES(X)
#undef X
};

const char *state_eval_status_name(enum state_eval_status status)
{
    assert((unsigned)status < STATE_EVAL_STATUS_COUNT);
    return state_eval_status_names[status];
}

bool state_eval_status_parse(const char *word, enum state_eval_status *ret)
{
    for (unsigned i = 0; i < STATE_EVAL_STATUS_COUNT; i++) {
        if (strcmp(word, state_eval_status_names[i]) == 0) {
            *ret = (enum state_eval_status)i;
            return true;
        }
    }
    return false;
}

/* ---- bytes ---- */

/* ---- store ---- */

struct store *store_free(struct store *s)
{
    return s ? s->ops->free(s) : NULL;
}

int store_maintain(struct store *s)
{
    return s->ops->maintain(s);
}

int store_generation(struct store *s, uint64_t *ret)
{
    struct store_txn *t = NULL;
    struct bytes v;
    int r = store_begin(s, false, &t);

    if (r)
        return err_trace(r);
    *ret = 0;
    r = store_get(t, STATE_LOCAL, bytes_text("generation"), &v);
    if (r == 0 && v.len == sizeof(*ret))
        memcpy(ret, v.data, sizeof(*ret));
    store_abort(t);
    return r < 0 ? err_trace(r) : 0;
}

int store_begin(struct store *s, bool write, struct store_txn **ret)
{
    assert(s);
    return s->ops->begin(s, write, ret);
}

int store_begin_replace(struct store *s, struct store_txn **ret)
{
    assert(s);
    return s->ops->begin_replace(s, ret);
}

int store_commit(struct store_txn *t)
{
    assert(t && t->write);
    return t->store->ops->commit(t);
}

void store_abort(struct store_txn *t)
{
    if (t)
        t->store->ops->abort(t);
}

int store_get(struct store_txn *t, enum state_table table, struct bytes key, struct bytes *ret)
{
    assert((unsigned)table < STATE_TABLE_COUNT);
    *ret = (struct bytes){0};
    if (key.len == 0 || key.len > STATE_KEY_MAX)
        return STORE_E_NOT_FOUND;
    return t->store->ops->get(t, table, key, ret);
}

int store_put(struct store_txn *t, enum state_table table, struct bytes key, struct bytes value)
{
    assert(t->write);
    assert((unsigned)table < STATE_TABLE_COUNT);
    if (key.len == 0 || key.len > STATE_KEY_MAX || value.len > STATE_VALUE_MAX)
        return err_trace(-EMSGSIZE);
    return t->store->ops->put(t, table, key, value);
}

int store_del(struct store_txn *t, enum state_table table, struct bytes key)
{
    assert(t->write);
    assert((unsigned)table < STATE_TABLE_COUNT);
    if (key.len == 0 || key.len > STATE_KEY_MAX)
        return STORE_E_NOT_FOUND;
    return t->store->ops->del(t, table, key);
}

int store_scan(struct store_txn *t, enum state_table table, struct bytes prefix,
               struct store_cursor *ret)
{
    assert((unsigned)table < STATE_TABLE_COUNT);
    assert(prefix.len <= STATE_KEY_MAX);
    *ret = (struct store_cursor){.txn = t, .table = table, .prefix = prefix};
    return t->store->ops->cursor_open(ret);
}

/* A key that left the prefix is the end. */
static int store_cursor_check(struct store_cursor *c, int r, struct bytes key)
{
    if (r == 0 && !bytes_starts_with(key, c->prefix))
        return STORE_E_NOT_FOUND;
    return r;
}

int store_seek(struct store_cursor *c, struct bytes at, struct bytes *key, struct bytes *value)
{
    int r;

    assert(at.len <= STATE_KEY_MAX);
    c->started = true;
    if (bytes_cmp(at, c->prefix) < 0)
        at = c->prefix;
    r = c->txn->store->ops->cursor_seek(c, at, key, value);
    return store_cursor_check(c, r, *key);
}

int store_next(struct store_cursor *c, struct bytes *key, struct bytes *value)
{
    int r;

    if (!c->started)
        return store_seek(c, c->prefix, key, value);
    r = c->txn->store->ops->cursor_next(c, key, value);
    return store_cursor_check(c, r, *key);
}

void store_scan_end(struct store_cursor *c)
{
    if (c->impl)
        c->txn->store->ops->cursor_close(c);
    c->impl = NULL;
}

/* One key at a time, with a cursor for each: a cursor does not live through a write. */
int store_del_prefix(struct store_txn *t, enum state_table table, struct bytes prefix)
{
    for (;;) {
        uint8_t copy[STATE_KEY_MAX];
        struct store_cursor c;
        struct bytes key, value;
        int r = store_scan(t, table, prefix, &c);

        if (r == 0)
            r = store_next(&c, &key, &value);
        if (r == 0)
            memcpy(copy, key.data, key.len);
        store_scan_end(&c);
        if (r == STORE_E_NOT_FOUND)
            return 0;
        if (r == 0)
            r = store_del(t, table, bytes_of(copy, key.len));
        if (r)
            return err_trace(r);
    }
}
