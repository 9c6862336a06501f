/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The keyring by order of the pool: _serf_install-key, _serf_use-key, _serf_remove-key and
 * _serf_list-keys (10.9). A change is written to disk first, then it counts, then it is answered;
 * one at a time, in the order in which they came.
 */
#include "serfd_core_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* X(ID, query, how the log names it done) */
#define KEY_OPS(X)                                                                                 \
    X(KEY_INSTALL, "_serf_install-key", "installed")                                               \
    X(KEY_USE, "_serf_use-key", "made the primary")                                                \
    X(KEY_REMOVE, "_serf_remove-key", "removed")                                                   \
    X(KEY_LIST, "_serf_list-keys", "listed")

static const struct {
    enum key_op op;
    const char *query, *done;
} key_ops[] = {
#define X(id, query, done) {id, query, done},
    KEY_OPS(X)
#undef X
};

static void answer(struct serf *s, const struct query_origin *q, const struct msg_key_response *a)
{
    struct strbuf b = STRBUF_INIT;

    msg_put(&b, SERF_MSG_KEY_RESPONSE, &msg_key_response_schema, a);
    queries_answer(s, q, 0, span_of(&b));
    strbuf_fini(&b);
}

/* r 0: done. Otherwise the text says why not. */
static void answer_change(struct serf *s, const struct key_job *job, int r, const char *text)
{
    struct msg_key_response a = {.result = r == 0};

    if (r) {
        a.message = SPAN_STR(text);
        core_note(s, LOG_WARN, "gossip key not %s: %s by=%s", key_ops[job->op].done, text,
                  job->origin.source);
    } else {
        a.message = SPAN_STR("");
        core_note(s, LOG_INFO, "gossip key %s by=%s keys=%zu", key_ops[job->op].done,
                  job->origin.source, s->o.keyring->n);
    }
    a.primary = SPAN_STR("");
    answer(s, &job->origin, &a);
}

/* As many keys as fit into an answer; the text says when some are left out. */
static void answer_list(struct serf *s, const struct query_origin *q)
{
    const struct seal_keyring *ring = s->o.keyring;
    size_t room = queries_answer_room(s, q);
    char texts[SEAL_KEYS_MAX][SEAL_TEXT_MAX], message[96];

    for (size_t i = 0; i < ring->n; i++)
        (void)seal_key_text(&ring->keys[i], texts[i]);
    for (size_t n = ring->n + 1; n-- > 0;) {
        struct msg_key_response a = {.result = true, .message = SPAN_STR("")};
        struct strbuf keys = STRBUF_INIT, b = STRBUF_INIT;
        bool fits;

        mp_put_list(&keys, n);
        for (size_t i = 0; i < n; i++)
            mp_put_str(&keys, texts[i]);
        a.keys = span_of(&keys);
        a.primary = SPAN_STR(texts[0]);
        if (n < ring->n) {
            (void)snprintf(message, sizeof(message),
                           "truncated key list response, showing first %zu of %zu keys", n,
                           ring->n);
            a.message = SPAN_STR(message);
        }
        msg_put(&b, SERF_MSG_KEY_RESPONSE, &msg_key_response_schema, &a);
        fits = b.len <= room;
        if (fits)
            queries_answer(s, q, 0, span_of(&b));
        strbuf_fini(&keys);
        strbuf_fini(&b);
        if (fits)
            return;
    }
}

/* The keyring as the job wants it, in s->keys_next. */
static int change(struct serf *s, const struct key_job *job, struct errtext *e)
{
    s->keys_next = *s->o.keyring;
    switch (job->op) {
    case KEY_INSTALL:
        if (job->key.len == 0)
            return err_set(e, -EINVAL, "key size must be 16, 24 or 32 bytes");
        return seal_install(&s->keys_next, &job->key, e);
    case KEY_USE:
        return seal_use(&s->keys_next, &job->key, e);
    case KEY_REMOVE:
        return seal_remove(&s->keys_next, &job->key, e);
    case KEY_LIST:
        break;
    }
    return 0;
}

static void drop_first(struct serf *s)
{
    s->n_key_jobs--;
    memmove(&s->key_jobs[0], &s->key_jobs[1], s->n_key_jobs * sizeof(s->key_jobs[0]));
}

static void run(struct serf *s)
{
    struct strbuf file = STRBUF_INIT;
    struct errtext e;

    while (s->n_key_jobs > 0 && !s->keys_saving) {
        const struct key_job *job = &s->key_jobs[0];
        int r = change(s, job, &e);

        if (r == 0 && memcmp(&s->keys_next, s->o.keyring, sizeof(s->keys_next)) != 0) {
            strbuf_reset(&file);
            seal_file_format(&s->keys_next, &file);
            (void)core_effect(s, SERF_FX_SAVE_KEYS, span_of(&file));
            s->keys_saving = true;
            break;
        }
        answer_change(s, job, r, e.text);
        drop_first(s);
    }
    strbuf_fini(&file);
}

void keys_saved(struct serf *s, int err)
{
    struct errtext e;

    if (!s->keys_saving)
        return;
    s->keys_saving = false;
    if (err == 0)
        *s->o.keyring = s->keys_next;
    else
        (void)err_set(&e, err, "the keyring's file cannot be written: %s", strerror(-err));
    answer_change(s, &s->key_jobs[0], err, e.text);
    drop_first(s);
    run(s);
}

static void begin(struct serf *s, enum key_op op, const struct msg_query *q,
                  const struct query_origin *origin)
{
    struct key_job job = {.origin = *origin, .op = op};
    struct mp_scratch scratch = {.used = 0};
    struct msg_key_request req;

    if (q->payload.len < 1 || q->payload.p[0] != SERF_MSG_KEY_REQUEST ||
        !msg_get((struct span){q->payload.p + 1, q->payload.len - 1}, &msg_key_request_schema, &req,
                 &scratch)) {
        core_note(s, LOG_WARN, "gossip key order dropped: it is broken by=%s", origin->source);
        return;
    }
    (void)seal_key_from(&job.key, req.key, NULL);
    if (q->ltime < s->key_ltime) { /* a copy of an older order that was long on its way */
        answer_change(s, &job, -ESTALE, "a later order about keys came before");
        return;
    }
    s->key_ltime = q->ltime;
    if (s->n_key_jobs == KEY_JOBS_MAX) {
        answer_change(s, &job, -EBUSY, "too many key changes at a time");
        return;
    }
    s->key_jobs[s->n_key_jobs++] = job;
    run(s);
}

bool keys_on_query(struct serf *s, const struct msg_query *q, const struct query_origin *origin)
{
    bool on = s->o.keyring && s->o.keyring->n > 0;
    size_t i = 0;

    while (i < ARRAY_LEN(key_ops) && !span_is(q->name, key_ops[i].query))
        i++;
    if (i == ARRAY_LEN(key_ops))
        return false;
    if (on && key_ops[i].op == KEY_LIST) {
        answer_list(s, origin);
    } else if (on) {
        begin(s, key_ops[i].op, q, origin);
    } else {
        struct msg_key_response a = {
            .message = key_ops[i].op == KEY_LIST
                           ? SPAN_STR("Keyring is empty (encryption not enabled)")
                           : SPAN_STR("No keyring to modify (encryption not enabled)"),
            .primary = SPAN_STR("")};

        answer(s, origin, &a);
    }
    return true;
}
