/* SPDX-License-Identifier: MPL-2.0 */
/* Queries on nodes and settings, search, UUIDs. */
#include "state/state.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "alloc.pb.h"
#include "rpc.pb.h"
#include "state/rows.h"
#include "state/state_list.h"

#define SEARCH_MATCHES_MAX 20

/* ---- UUIDs ---- */

static int uuid_bad_byte(struct errtext *e, unsigned char ch)
{
#define BAD_BYTE "Invalid UUID: encoding/hex: invalid byte: U+%04X"
    if (ch < 0x20 || ch == 0x7f || (ch >= 0x80 && ch < 0xa1) || ch == 0xad)
        return err_set(e, STATE_E_INVALID, BAD_BYTE, ch);
    if (ch < 0x80)
        return err_set(e, STATE_E_INVALID, BAD_BYTE " '%c'", ch, ch);
    return err_set(e, STATE_E_INVALID, BAD_BYTE " '%c%c'", ch, 0xc0 | ch >> 6, 0x80 | (ch & 0x3f));
#undef BAD_BYTE
}

int uuid_prefix_parse(const char *text, bool whole, struct uuid_prefix *ret, struct errtext *e)
{
    size_t len = strlen(text), dashes = 0, n = 0;

    if (whole && len != UUID_TEXT_LEN)
        return err_set(e, STATE_E_INVALID, "UUID must be 36 characters");
    if (len > UUID_TEXT_LEN)
        return err_set(e, STATE_E_INVALID, "Invalid UUID length. UUID have 36 characters; got %zu",
                       len);
    for (size_t i = 0; i < len; i++)
        dashes += text[i] == '-';
    if (dashes > 4)
        return err_set(e, STATE_E_INVALID, "UUID should have maximum of 4 \"-\"; got %zu", dashes);
    if ((len - dashes) % 2)
        return err_set(e, STATE_E_INVALID, "Input (without hyphens) must be even length");
    for (size_t i = 0; i < len; i++) {
        unsigned char ch = (unsigned char)text[i];

        if (ch == '-')
            continue;
        if (!isxdigit(ch))
            return uuid_bad_byte(e, ch);
        if ((n == 8 || n == 13 || n == 18 || n == 23) && n < UUID_TEXT_LEN)
            ret->text[n++] = '-';
        if (n < UUID_TEXT_LEN)
            ret->text[n++] = (char)tolower(ch);
    }
    ret->text[n] = 0;
    /* More than 32 digits: a fine number of bytes for go-memdb, but no row has such a key. */
    if (len - dashes > 32)
        snprintf(ret->text, sizeof(ret->text), "%s", "none");
    return 0;
}

struct bytes uuid_prefix_bytes(const struct uuid_prefix *p, uint8_t buf[static 16])
{
    char text[UUID_TEXT_LEN + 1] = "00000000-0000-0000-0000-000000000000";
    size_t n = 0, len = strlen(p->text);

    memcpy(text, p->text, len);
    for (size_t i = 0; i < len; i++)
        n += p->text[i] != '-';
    return row_uuid_read(bytes_text(text), buf) ? bytes_of(buf, n / 2) : (struct bytes){0};
}

struct bytes state_key_uuid(const char *id, uint8_t buf[static STATE_KEY_MAX])
{
    struct uuid_prefix p;

    if (uuid_prefix_parse(id, true, &p, NULL) || strlen(p.text) != UUID_TEXT_LEN)
        return (struct bytes){0};
    memcpy(buf, p.text, UUID_TEXT_LEN);
    return bytes_of(buf, UUID_TEXT_LEN);
}

/* ---- nodes ---- */

static int state_node_find(struct store_txn *t, const char *id, struct uuid_prefix *p,
                           steppe_NodeRow *row, struct state_meta *m, struct errtext *e)
{
    struct bytes v;
    int r = uuid_prefix_parse(id, true, p, e);

    *m = (struct state_meta){0};
    if (r)
        return err_prefix(e, r, "node lookup failed: index error");
    r = store_get(t, STATE_NODES, bytes_text(p->text), &v);
    if (r == STORE_E_NOT_FOUND)
        return state_table_index(t, STATE_NODES, &m->index);
    if (r == 0)
        r = row_decode(steppe_NodeRow_fields, v, row, sizeof(*row));
    if (r)
        return err_trace(r);
    *m = (struct state_meta){.index = row->modify_index, .found = true};
    return 0;
}

int state_node_get(struct store_txn *t, const char *id, struct strbuf *body, struct state_meta *m,
                   struct errtext *e)
{
    struct uuid_prefix p;
    steppe_NodeRow row;
    struct bytes spec;
    int r = state_node_find(t, id, &p, &row, m, e);

    if (r || !m->found)
        return r;
    r = store_get(t, STATE_NODE_SPECS, bytes_text(p.text), &spec);
    if (r)
        return err_trace(r > 0 ? -EBADMSG : r);
    strbuf_add(body, spec.data, spec.len);
    row_node_server(body, &row);
    return state_list_end(0, body);
}

static void state_node_from_row(struct state_node *n, struct bytes id, const steppe_NodeRow *row)
{
    *n = (struct state_node){
        .create_index = row->create_index,
        .modify_index = row->modify_index,
    };
    snprintf(n->id, sizeof(n->id), "%.*s", (int)id.len, (const char *)id.data);
    memcpy(n->secret_id, row->secret_id, sizeof(n->secret_id));
    memcpy(n->status, row->status, sizeof(n->status));
    memcpy(n->eligibility, row->eligibility, sizeof(n->eligibility));
}

int state_node_row(struct store_txn *t, const char *id, struct state_node *ret,
                   struct state_meta *m, struct errtext *e)
{
    struct uuid_prefix p;
    steppe_NodeRow row;
    int r = state_node_find(t, id, &p, &row, m, e);

    if (r == 0 && m->found)
        state_node_from_row(ret, bytes_text(p.text), &row);
    return r;
}

int state_nodes_each(struct store_txn *t, int (*fn)(void *user, const struct state_node *node),
                     void *user)
{
    struct bytes key, value;
    struct store_cursor c;
    int r = store_scan(t, STATE_NODES, (struct bytes){0}, &c);
    int stop = 0;

    while (r == 0 && stop == 0 && (r = store_next(&c, &key, &value)) == 0) {
        struct state_node node;
        steppe_NodeRow row;

        r = row_decode(steppe_NodeRow_fields, value, &row, sizeof(row));
        if (r)
            break;
        state_node_from_row(&node, key, &row);
        stop = fn(user, &node);
    }
    store_scan_end(&c);
    if (stop)
        return stop;
    return r == STORE_E_NOT_FOUND ? 0 : err_trace(r);
}

/* The stub without what its node has and keeps for itself. */
static int add_without_resources(struct bytes row, struct strbuf *kept, struct strbuf *body)
{
    struct bytes stub;
    int r = row_list_content(row, 4, &stub);

    if (r)
        return r;
    strbuf_reset(kept);
    row_copy_fields(kept, stub,
                    ~(ROW_TAG(steppe_NodeListStub_node_resources_tag) |
                      ROW_TAG(steppe_NodeListStub_reserved_resources_tag)));
    row_bytes(body, 1, strbuf_bytes(kept));
    return 0;
}

int state_node_list(struct store_txn *t, const char *prefix, bool resources,
                    struct state_page *page, struct strbuf *body, struct state_meta *m,
                    struct errtext *e)
{
    _cleanup_(strbuf_fini) struct strbuf kept = STRBUF_INIT;
    size_t len_before = body->len;
    struct bytes key, value;
    struct store_cursor c;
    struct uuid_prefix p;
    int r = uuid_prefix_parse(prefix, false, &p, e);

    if (page)
        page->more = false;
    if (r)
        return err_prefix(e, r, "node lookup failed: index error");
    m->found = true;
    r = state_table_index(t, STATE_NODES, &m->index);
    if (r)
        return r;
    r = store_scan(t, STATE_NODE_STUBS, bytes_text(p.text), &c);
    if (r == 0)
        r = state_list_start(&c, page, &key, &value);
    for (; r == 0; r = store_next(&c, &key, &value)) {
        if (state_list_full(page, len_before, body, key))
            break;
        if (value.len < 4) {
            r = -EBADMSG;
            break;
        }
        if (!resources && (r = add_without_resources(value, &kept, body)))
            break;
        if (resources)
            strbuf_add(body, value.data + 4, value.len - 4);
    }
    store_scan_end(&c);
    return state_list_end(r, body);
}

/* ---- search ---- */

/* What is searched, by Nomad's names; those without a table have no matches yet. */
struct search_context {
    const char *name;
    bool has_table;
    enum state_table table;
};

static const struct search_context search_contexts[] = {
    {"allocs", true, STATE_ALLOCS},
    {"jobs", true, STATE_JOBS},
    {"nodes", true, STATE_NODES},
    {"evals", true, STATE_EVALS},
    {"deployment", true, STATE_DEPLOYMENTS},
    {"plugins", false, 0},
    {"volumes", false, 0},
    {"scaling_policy", false, 0},
    {"namespaces", false, 0},
};

struct search {
    struct store_txn *t;
    const char *ns, *prefix;
    struct strbuf list; /* a StringList */
    size_t n;
    bool truncated;
};

/* false: enough. */
static bool search_add(struct search *s, struct bytes id)
{
    if (s->n == SEARCH_MATCHES_MAX) {
        s->truncated = true;
        return false;
    }
    row_bytes(&s->list, steppe_StringList_values_tag, id);
    s->n++;
    return true;
}

/* Tables whose keys are the 16 bytes of a UUID. */
static bool search_by_bytes(const struct search_context *ctx)
{
    return ctx->table == STATE_ALLOCS || ctx->table == STATE_DEPLOYMENTS;
}

static bool search_in_namespace(const struct search *s, const struct search_context *ctx,
                                struct bytes key, struct bytes value)
{
    struct bytes ns = {0};
    const uint8_t *nul;
    size_t head;

    if (ctx->table == STATE_NODES || strcmp(s->ns, "*") == 0)
        return true;
    if (ctx->table == STATE_EVALS) {
        if (row_eval_head(value, &ns, &head))
            return false;
    } else if (search_by_bytes(ctx)) {
        struct wire_field f;

        /* of Allocation and of Deployment, field 2 */
        while (wire_field_next(&value, &f)) {
            if (f.tag == steppe_Allocation_namespace_tag && f.wire == WIRE_BYTES)
                ns = f.data;
        }
    } else {
        nul = memchr(key.data, 0, key.len);
        ns = bytes_of(key.data, nul ? (size_t)(nul - key.data) : 0);
    }
    return bytes_eq(ns, bytes_text(s->ns));
}

/* For jobs in one namespace the scan is narrow, for all namespaces it goes over all jobs. */
static int search_table(struct search *s, const struct search_context *ctx, struct bytes from)
{
    struct bytes key, value;
    struct store_cursor c;
    int r = store_scan(s->t, ctx->table, from, &c);

    while (r == 0 && (r = store_next(&c, &key, &value)) == 0) {
        struct bytes id = key;
        char text[37];

        if (search_by_bytes(ctx) && key.len == 16) {
            row_uuid_text(key.data, text);
            id = bytes_text(text);
        } else if (ctx->table == STATE_JOBS) {
            const uint8_t *nul = memchr(key.data, 0, key.len);
            size_t skip = nul ? (size_t)(nul - key.data) + 1 : 0;

            id = bytes_of(key.data + skip, key.len - skip);
        }
        if (bytes_starts_with(id, bytes_text(s->prefix)) &&
            search_in_namespace(s, ctx, key, value) && !search_add(s, id))
            break;
    }
    store_scan_end(&c);
    return r == STORE_E_NOT_FOUND ? 0 : err_trace(r);
}

static int search_uuids(struct search *s, const struct search_context *ctx, struct strbuf *digits)
{
    struct uuid_prefix p;
    const char *prefix = s->prefix;
    uint8_t buf[16];

    /* An odd number of digits: the pairs find the rows, the whole prefix chooses among them. */
    for (const char *ch = prefix; *ch; ch++)
        strbuf_addc(digits, *ch);
    if (uuid_prefix_parse(prefix, false, &p, NULL) && digits->len) {
        digits->data[--digits->len] = 0;
        if (uuid_prefix_parse(digits->data, false, &p, NULL))
            return STATE_E_INVALID;
    }
    if (search_by_bytes(ctx) && strcmp(p.text, "none") == 0)
        return 0;
    return search_table(s, ctx,
                        search_by_bytes(ctx) ? uuid_prefix_bytes(&p, buf) : bytes_text(p.text));
}

/* One context into the reply; one whose ids cannot have the prefix is left out, as in Nomad. */
static int search_context(struct search *s, const struct search_context *ctx, struct strbuf *body)
{
    struct strbuf entry = STRBUF_INIT, digits = STRBUF_INIT;
    struct row_key from = {0};
    int r = 0;

    strbuf_reset(&s->list);
    s->n = 0;
    s->truncated = false;
    if (ctx->has_table && ctx->table == STATE_JOBS) {
        if (strcmp(s->ns, "*") != 0) {
            row_key_add(&from, s->ns, strlen(s->ns) + 1);
            row_key_add(&from, s->prefix, strlen(s->prefix));
        }
        if (!from.failed)
            r = search_table(s, ctx, row_key_bytes(&from));
    } else if (ctx->has_table) {
        r = search_uuids(s, ctx, &digits);
    } else if (strcmp(ctx->name, "namespaces") == 0 &&
               bytes_starts_with(bytes_text("default"), bytes_text(s->prefix))) {
        (void)search_add(s, bytes_text("default"));
    }
    if (r == 0) {
        row_text(&entry, steppe_SearchResponse_MatchesEntry_key_tag, ctx->name);
        row_bytes(&entry, steppe_SearchResponse_MatchesEntry_value_tag, strbuf_bytes(&s->list));
        row_bytes(body, steppe_SearchResponse_matches_tag, strbuf_bytes(&entry));
        strbuf_reset(&entry);
        row_text(&entry, steppe_SearchResponse_TruncationsEntry_key_tag, ctx->name);
        row_u64(&entry, steppe_SearchResponse_TruncationsEntry_value_tag, s->truncated);
        row_bytes(body, steppe_SearchResponse_truncations_tag, strbuf_bytes(&entry));
    }
    strbuf_fini(&entry);
    strbuf_fini(&digits);
    return r == STATE_E_INVALID ? 0 : r;
}

static int search_unknown(const char *context, struct errtext *e)
{
    struct strbuf names = STRBUF_INIT;

    for (size_t i = 0; i < ARRAY_LEN(search_contexts); i++)
        strbuf_addf(&names, "%s%s", i ? " " : "", search_contexts[i].name);
    err_set(e, STATE_E_INVALID, "context must be one of [%s] or 'all' for all contexts; got \"%s\"",
            names.data, context);
    strbuf_fini(&names);
    return STATE_E_INVALID;
}

int state_search(struct store_txn *t, const char *ns, const char *prefix, const char *context,
                 struct strbuf *body, struct state_meta *m, struct errtext *e)
{
    struct search s = {.t = t, .ns = *ns ? ns : "default", .prefix = prefix};
    bool all = !*context || strcmp(context, "all") == 0, known = all;
    int r = 0;

    *m = (struct state_meta){.found = true};
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(search_contexts); i++) {
        const struct search_context *ctx = &search_contexts[i];
        uint64_t index = 0;

        if (!all && strcmp(context, ctx->name) != 0)
            continue;
        known = true;
        if (ctx->has_table)
            r = state_table_index(t, ctx->table, &index);
        m->index = MAX(m->index, index);
        if (r == 0)
            r = search_context(&s, ctx, body);
    }
    strbuf_fini(&s.list);
    if (!known)
        return search_unknown(context, e);
    row_u64(body, steppe_SearchResponse_index_tag, m->index);
    return r ? r : state_list_end(0, body);
}
