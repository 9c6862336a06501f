/* SPDX-License-Identifier: MPL-2.0 */
/* Queries on jobs and evaluations, and what the servers themselves ask. */
#include "state/state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/prng.h"
#include "job.pb.h"
#include "rpc.pb.h"
#include "state/rows.h"
#include "state/state_list.h"

int state_table_index(struct store_txn *t, enum state_table table, uint64_t *ret)
{
    uint8_t key = (uint8_t)table;
    struct bytes v;
    int r = store_get(t, STATE_INDEXES, bytes_of(&key, 1), &v);

    *ret = 0;
    if (r < 0 || (r == 0 && v.len != 8))
        return err_trace(r ? r : -EBADMSG);
    if (r == 0)
        *ret = be64_read(v.data);
    return 0;
}

int state_applied(struct store_txn *t, uint64_t *ret_index, uint64_t *ret_term)
{
    struct bytes v;
    int r = store_get(t, STATE_META, bytes_text("applied"), &v);

    *ret_index = *ret_term = 0;
    if (r < 0 || (r == 0 && v.len != 16))
        return err_trace(r ? r : -EBADMSG);
    if (r == 0) {
        *ret_index = be64_read(v.data);
        *ret_term = be64_read(v.data + 8);
    }
    return 0;
}

int state_configuration(struct store_txn *t, uint64_t *ret_index, struct bytes *ret)
{
    struct bytes v;
    int r = store_get(t, STATE_META, bytes_text("configuration"), &v);

    *ret_index = 0;
    *ret = (struct bytes){0};
    if (r < 0 || (r == 0 && v.len < 8))
        return err_trace(r ? r : -EBADMSG);
    if (r == 0) {
        *ret_index = be64_read(v.data);
        *ret = bytes_of(v.data + 8, v.len - 8);
    }
    return 0;
}

struct bytes state_key_job(const char *ns, const char *id, uint8_t buf[static STATE_KEY_MAX])
{
    struct row_key k;

    row_key_job(&k, *ns ? ns : "default", id);
    if (k.failed)
        return (struct bytes){0};
    memcpy(buf, k.data, k.len);
    return bytes_of(buf, k.len);
}

/* ---- lists ---- */

int state_list_end(int r, const struct strbuf *body)
{
    if (r == 0 || r == STORE_E_NOT_FOUND)
        return strbuf_failed(body) ? err_trace(-EMSGSIZE) : 0;
    return err_trace(r);
}

int state_uuid_list(struct store_txn *t, const struct state_uuid_list *l, struct state_meta *m,
                    struct errtext *e)
{
    size_t len_before = l->body->len;
    struct bytes key, value;
    struct store_cursor c;
    struct uuid_prefix p;
    uint8_t buf[16];
    int r = uuid_prefix_parse(l->prefix, false, &p, e);

    if (l->page)
        l->page->more = false;
    if (r)
        return r;
    m->found = true;
    r = state_table_index(t, l->table, &m->index);
    if (r || strcmp(p.text, "none") == 0)
        return r;
    r = store_scan(t, l->table, uuid_prefix_bytes(&p, buf), &c);
    if (r == 0)
        r = state_list_start(&c, l->page, &key, &value);
    for (; r == 0; r = store_next(&c, &key, &value)) {
        if (state_list_full(l->page, len_before, l->body, key))
            break;
        r = l->fn(l->user, key, value);
        if (r)
            break;
    }
    store_scan_end(&c);
    return state_list_end(r, l->body);
}

int state_list_start(struct store_cursor *c, const struct state_page *page, struct bytes *key,
                     struct bytes *value)
{
    if (page && page->next_len)
        return store_seek(c, bytes_of(page->next, page->next_len), key, value);
    return store_next(c, key, value);
}

bool state_list_full(struct state_page *page, size_t len_before, const struct strbuf *body,
                     struct bytes key)
{
    if (!page || body->len == len_before || body->len - len_before < page->bytes_max)
        return false;
    memcpy(page->next, key.data, key.len);
    page->next_len = key.len;
    page->more = true;
    return true;
}

static int state_index_max(struct store_txn *t, enum state_table a, enum state_table b,
                           struct state_meta *m)
{
    uint64_t ia = 0, ib = 0;
    int r = state_table_index(t, a, &ia);

    if (r == 0)
        r = state_table_index(t, b, &ib);
    *m = (struct state_meta){.index = MAX(ia, ib), .found = true};
    return r;
}

/* The id within "NS NUL ID". */
static struct bytes state_nsid_id(struct bytes key)
{
    const uint8_t *nul = memchr(key.data, 0, key.len);
    size_t skip = nul ? (size_t)(nul - key.data) + 1 : key.len;

    return bytes_of(key.data + skip, key.len - skip);
}

int state_job_list(struct store_txn *t, const char *ns, const char *prefix, struct state_page *page,
                   struct strbuf *body, struct state_meta *m)
{
    bool all = strcmp(ns, "*") == 0;
    struct row_key scan = {0};
    struct bytes key, value;
    struct store_cursor c;
    size_t len_before = body->len;
    int r = state_index_max(t, STATE_JOBS, STATE_JOB_SUMMARIES, m);

    if (r)
        return r;
    if (page)
        page->more = false;
    if (!all) {
        ns = *ns ? ns : "default";
        row_key_add(&scan, ns, strlen(ns) + 1);
        row_key_add(&scan, prefix, strlen(prefix));
    }
    if (scan.failed || strlen(ns) > STATE_NAMESPACE_LEN_MAX)
        return 0; /* longer than any key */
    r = store_scan(t, STATE_JOB_STUBS, row_key_bytes(&scan), &c);
    if (r == 0)
        r = state_list_start(&c, page, &key, &value);
    for (; r == 0; r = store_next(&c, &key, &value)) {
        if (all && !bytes_starts_with(state_nsid_id(key), bytes_text(prefix)))
            continue;
        if (state_list_full(page, len_before, body, key))
            break;
        if (value.len < 4) {
            r = -EBADMSG;
            break;
        }
        strbuf_add(body, value.data + 4, value.len - 4);
    }
    store_scan_end(&c);
    return state_list_end(r, body);
}

/* ---- one job ---- */

/* Row of a job, or m with the table's index. STORE_E_NOT_FOUND. */
static int state_job_find(struct store_txn *t, enum state_table table, const char *ns,
                          const char *id, struct row_key *key, struct bytes *ret,
                          struct state_meta *m)
{
    int r = STORE_E_NOT_FOUND;

    *m = (struct state_meta){0};
    row_key_job(key, *ns ? ns : "default", id);
    if (!key->failed)
        r = store_get(t, table, row_key_bytes(key), ret);
    if (r == STORE_E_NOT_FOUND && state_table_index(t, table, &m->index) < 0)
        return err_trace(-EBADMSG);
    m->found = r == 0;
    return r;
}

static int state_job_decode(struct store_txn *t, const char *ns, const char *id,
                            struct row_key *key, steppe_JobRow *row, struct state_meta *m)
{
    struct bytes v;
    int r = state_job_find(t, STATE_JOBS, ns, id, key, &v, m);

    if (r == 0)
        r = row_decode(steppe_JobRow_fields, v, row, sizeof(*row));
    if (r == 0)
        m->index = row->modify_index;
    return r;
}

int state_job_get(struct store_txn *t, const char *ns, const char *id, struct strbuf *body,
                  struct state_meta *m)
{
    struct row_key key, version_key;
    struct row_version version;
    steppe_JobRow row;
    struct bytes v;
    int r = state_job_decode(t, ns, id, &key, &row, m);

    if (r)
        return r == STORE_E_NOT_FOUND ? 0 : r;
    row_key_version(&version_key, row_key_bytes(&key), row.version);
    r = store_get(t, STATE_JOB_VERSIONS, row_key_bytes(&version_key), &v);
    if (r == 0)
        r = row_version_read(v, &version);
    if (r)
        return err_trace(r > 0 ? -EBADMSG : r);
    strbuf_add(body, version.spec.data, version.spec.len);
    row_job_server(body, &row);
    return state_list_end(0, body);
}

int state_job_row(struct store_txn *t, const char *ns, const char *id, struct state_job *ret,
                  struct state_meta *m)
{
    struct row_key key;
    steppe_JobRow row;
    int r = state_job_decode(t, ns, id, &key, &row, m);

    if (r)
        return r == STORE_E_NOT_FOUND ? 0 : r;
    *ret = (struct state_job){
        .version = row.version,
        .create_index = row.create_index,
        .modify_index = row.modify_index,
        .job_modify_index = row.job_modify_index,
        .priority = row.priority,
        .stop = row.stop,
        .stable = row.stable,
        .periodic = row.periodic,
        .parameterized = row.parameterized,
        .dispatched = row.dispatched,
        .dead = row.status == STATE_JOB_DEAD,
        .submit_time = row.submit_time,
    };
    memcpy(ret->type, row.type, sizeof(ret->type));
    return 0;
}

/* The modify index within a Job's server-set fields. */
static int state_version_index(struct bytes server, uint64_t *ret)
{
    steppe_Job job;
    int r = row_decode(steppe_Job_fields, server, &job, sizeof(job));

    if (r)
        return r;
    *ret = job.modify_index;
    row_release(steppe_Job_fields, &job);
    return 0;
}

int state_job_versions(struct store_txn *t, const char *ns, const char *id, struct strbuf *body,
                       struct state_meta *m)
{
    struct row_key nsid, prefix;
    struct bytes key, value;
    struct store_cursor c;
    int r = state_table_index(t, STATE_JOB_VERSIONS, &m->index);

    m->found = false;
    row_key_job(&nsid, *ns ? ns : "default", id);
    if (r || nsid.failed)
        return r;
    row_key_of_job(&prefix, row_key_bytes(&nsid));
    r = store_scan(t, STATE_JOB_VERSIONS, row_key_bytes(&prefix), &c);
    while (r == 0 && (r = store_next(&c, &key, &value)) == 0) {
        struct row_version v;

        r = row_version_read(value, &v);
        if (r == 0 && !m->found)
            r = state_version_index(v.server, &m->index);
        if (r)
            break;
        m->found = true;
        row_bytes_head(body, steppe_JobVersionsResponse_versions_tag, v.spec.len + v.server.len);
        strbuf_add(body, v.spec.data, v.spec.len);
        strbuf_add(body, v.server.data, v.server.len);
    }
    store_scan_end(&c);
    return state_list_end(r, body);
}

int state_job_summary(struct store_txn *t, const char *ns, const char *id, struct strbuf *body,
                      struct state_meta *m)
{
    steppe_JobSummary s;
    struct row_key key;
    struct bytes v;
    int r = state_job_find(t, STATE_JOB_SUMMARIES, ns, id, &key, &v, m);

    if (r == 0)
        r = row_decode(steppe_JobSummary_fields, v, &s, sizeof(s));
    if (r)
        return r == STORE_E_NOT_FOUND ? 0 : r;
    m->index = s.modify_index;
    row_release(steppe_JobSummary_fields, &s);
    strbuf_add(body, v.data, v.len);
    return state_list_end(0, body);
}

/* ---- evaluations ---- */

static int state_eval_append(struct store_txn *t, const char *id, struct strbuf *body)
{
    struct bytes row, ns;
    size_t head;
    int r = store_get(t, STATE_EVALS, bytes_text(id), &row);

    if (r == 0)
        r = row_eval_head(row, &ns, &head);
    if (r)
        return err_trace(r > 0 ? -EBADMSG : r);
    strbuf_add(body, row.data + head, row.len - head);
    return 0;
}

static int state_id_cmp(const void *a, const void *b)
{
    return strcmp(a, b);
}

int state_job_evaluations(struct store_txn *t, const char *ns, const char *id, struct strbuf *body,
                          struct state_meta *m)
{
    char(*ids)[UUID_TEXT_LEN + 1] = NULL;
    struct row_key nsid, prefix;
    struct bytes key, value;
    struct store_cursor c;
    size_t n = 0, cap = 0;
    int r = state_table_index(t, STATE_EVALS, &m->index);

    m->found = true;
    row_key_job(&nsid, *ns ? ns : "default", id);
    if (r || nsid.failed)
        return r;
    row_key_of_job(&prefix, row_key_bytes(&nsid));
    r = store_scan(t, STATE_JOB_EVALS, row_key_bytes(&prefix), &c);
    while (r == 0 && (r = store_next(&c, &key, &value)) == 0) {
        size_t at = prefix.len + ROW_JOB_EVAL_TAIL;

        if (n == cap) {
            cap = cap ? cap * 2 : 16;
            ids = xrealloc(ids, cap * sizeof(*ids));
        }

        if (key.len != at + UUID_TEXT_LEN) {
            r = -EBADMSG;
            break;
        }
        memcpy(ids[n], key.data + at, UUID_TEXT_LEN);
        ids[n++][UUID_TEXT_LEN] = 0;
    }
    store_scan_end(&c);
    if (r == STORE_E_NOT_FOUND)
        r = 0;
    if (n)
        qsort(ids, n, sizeof(ids[0]), state_id_cmp);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = state_eval_append(t, ids[i], body);
    free(ids);
    return state_list_end(r, body);
}

int state_eval_get(struct store_txn *t, const char *id, struct strbuf *body, struct state_meta *m,
                   struct errtext *e)
{
    struct bytes key, row, ns, content;
    steppe_Evaluation eval;
    struct uuid_prefix p;
    size_t head;
    int r = uuid_prefix_parse(id, true, &p, e);

    *m = (struct state_meta){0};
    if (r)
        return err_prefix(e, r, "eval lookup failed: index error");
    key = bytes_text(p.text);
    r = store_get(t, STATE_EVALS, key, &row);
    if (r == STORE_E_NOT_FOUND)
        return state_table_index(t, STATE_EVALS, &m->index);
    if (r == 0)
        r = row_eval_head(row, &ns, &head);
    if (r == 0)
        r = row_list_content(row, head, &content);
    if (r == 0)
        r = row_decode(steppe_Evaluation_fields, content, &eval, sizeof(eval));
    if (r)
        return err_trace(r);
    *m = (struct state_meta){.index = eval.modify_index, .found = true};
    row_release(steppe_Evaluation_fields, &eval);
    strbuf_add(body, content.data, content.len);
    return state_list_end(0, body);
}

int state_eval_list(struct store_txn *t, const char *ns, const char *prefix,
                    struct state_page *page, struct strbuf *body, struct state_meta *m,
                    struct errtext *e)
{
    bool all = strcmp(ns, "*") == 0;
    struct bytes key, value, want = bytes_text(*ns ? ns : "default");
    size_t len_before = body->len;
    struct store_cursor c;
    struct uuid_prefix p;
    int r = uuid_prefix_parse(prefix, false, &p, e);

    if (page)
        page->more = false;
    if (r)
        return err_prefix(e, r, "eval lookup failed: index error");
    m->found = true;
    r = state_table_index(t, STATE_EVALS, &m->index);
    if (r)
        return r;
    r = store_scan(t, STATE_EVALS, bytes_text(p.text), &c);
    if (r == 0)
        r = state_list_start(&c, page, &key, &value);
    for (; r == 0; r = store_next(&c, &key, &value)) {
        struct bytes of;
        size_t head;

        r = row_eval_head(value, &of, &head);
        if (r)
            break;
        if (!all && !bytes_eq(of, want))
            continue;
        if (state_list_full(page, len_before, body, key))
            break;
        strbuf_add(body, value.data + head, value.len - head);
    }
    store_scan_end(&c);
    return state_list_end(r, body);
}
