/* SPDX-License-Identifier: MPL-2.0 */
/* Joining: many addresses at a time, start_join, retry_join, and back into the pool of old. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "serfd_shell.h"
#include "serfd_sources.h"

#define TARGETS_MAX      64   /* addresses of one order, resolved */
#define ERRORS_MAX       4096 /* bytes of text about failures */
#define START_TIMEOUT_MS 15000
#define RETRY_TIMEOUT_MS 12000
#define REJOIN_BATCH     3    /* old members asked at a time */
#define REJOIN_WAIT_MS   5000 /* between rounds while nobody answers */
#define OPEN_WAIT_MAX_MS 1500 /* for the pool of old, before the other services may ask */

/* One order to join. Lives until all of its targets have ended, fn is called earlier if need be. */
struct join_op {
    struct serfd *sd; /* NULL: the daemon stops */
    struct join_op *next;
    serfd_join_fn *fn; /* NULL once called */
    void *user;
    uv_timer_t timer;
    bool own;      /* commands may be run */
    unsigned refs; /* the timer's handle and lookups under way */
    unsigned pending, joined, failed;
    uint64_t ids[TARGETS_MAX]; /* of joins under way; 0 = free */
    struct strbuf errors;
};

/* A command that prints addresses. */
struct command {
    struct command *next;
    struct join_op *op;
    char *source; /* as it was given */
    struct serfd_exec *exec;
};

struct serfd_joiner {
    struct serfd *sd;
    struct join_op *ops;
    uint64_t next_id;
    uv_timer_t retry_timer, rejoin_timer, open_timer;
    unsigned open_handles; /* while they close */
    bool opened;           /* the other services may ask */
    struct command *commands;
    struct retry_plan plan;
    struct snapshot old;
    size_t old_next;
    bool gone; /* the daemon stops */
};

/* ---- orders ---- */

static void op_unref(struct join_op *op)
{
    if (--op->refs > 0)
        return;
    strbuf_fini(&op->errors);
    free(op);
}

static void op_closed(uv_handle_t *h)
{
    op_unref(h->data);
}

static void op_unlink(struct join_op *op)
{
    struct join_op **at = &op->sd->joiner->ops;

    while (*at != op)
        at = &(*at)->next;
    *at = op->next;
}

/* Nomad's text: "1 error occurred:\n\t* ...\n\n". */
static void op_tell(struct join_op *op)
{
    struct strbuf text = STRBUF_INIT;
    serfd_join_fn *fn = op->fn;

    if (!fn)
        return;
    op->fn = NULL;
    if (op->joined == 0 && op->failed > 0)
        strbuf_addf(&text, "%u error%s occurred:\n%s\n", op->failed, op->failed == 1 ? "" : "s",
                    op->errors.data ? op->errors.data : "");
    fn(op->user, op->joined, text.data ? text.data : "");
    strbuf_fini(&text);
}

static void op_check(struct join_op *op)
{
    if (op->pending > 0)
        return;
    op_tell(op);
    op_unlink(op);
    uv_close((uv_handle_t *)&op->timer, op_closed);
}

static void op_fail(struct join_op *op, const char *addr, const char *text)
{
    op->failed++;
    if (op->errors.len + strlen(addr) + strlen(text) + 32 < ERRORS_MAX)
        strbuf_addf(&op->errors, "\t* Failed to join %s: %s\n", addr, text);
}

/* One address; counts as pending until serfd_joined(). */
static void op_dial(struct join_op *op, const struct gossip_addr *addr)
{
    struct serf_event ev = {.type = SERF_EV_JOIN, .addr = *addr, .attach = !op->own};
    char text[GOSSIP_ADDR_TEXT_MAX];
    size_t i = 0;
    int r;

    while (i < TARGETS_MAX && op->ids[i])
        i++;
    if (i == TARGETS_MAX) {
        op_fail(op, gossip_addr_text(addr, text), "too many addresses");
        return;
    }
    ev.id = op->ids[i] = ++op->sd->joiner->next_id;
    op->pending++;
    r = serfd_step(op->sd, &ev);
    if (r) {
        op->ids[i] = 0;
        op->pending--;
        op_fail(op, gossip_addr_text(addr, text),
                r == -ESHUTDOWN ? "this node is leaving"
                : r == -EACCES  ? "it is not in join_allow of this server"
                                : "too many joins at a time");
    }
}

void serfd_joined(struct serfd *sd, const struct serf_effect *fx, const char *text)
{
    char addr[GOSSIP_ADDR_TEXT_MAX], line[ERRTEXT_MAX];
    struct join_op *op;
    size_t i = 0;

    for (op = sd->joiner->ops; op; op = op->next) {
        for (i = 0; i < TARGETS_MAX && op->ids[i] != fx->id; i++)
            continue;
        if (i < TARGETS_MAX)
            break;
    }
    if (!op)
        return;
    op->ids[i] = 0;
    op->pending--;
    if (fx->err == 0) {
        op->joined++;
    } else {
        (void)snprintf(line, sizeof(line), "%s: %s", gossip_addr_text(&fx->addr, addr), text);
        *strrchr(addr, ':') = 0;
        op_fail(op, addr, line);
    }
    op_check(op);
}

static void on_found(void *user, const char *host, const char *error,
                     const struct gossip_addr *addrs, size_t n)
{
    struct join_op *op = user;

    for (size_t i = 0; i < n && op->sd; i++)
        op_dial(op, &addrs[i]);
    if (op->sd) {
        if (error)
            op_fail(op, host, error);
        serfd_settle(op->sd);
        op->pending--;
        op_check(op);
    }
    op_unref(op);
}

static void op_add(struct join_op *op, const char *text);

static void on_command(void *user, const char *error, const char *out, size_t len)
{
    struct command *c = user, **at = &c->op->sd->joiner->commands;
    struct join_op *op = c->op;
    char *addrs[TARGETS_MAX];
    struct errtext e = {""};
    size_t n = 0;

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    if (error)
        (void)err_set(&e, -EIO, "%s", error);
    else if (sources_parse(out, len, addrs, ARRAY_LEN(addrs), &n, &e) == 0 && n == 0)
        (void)err_set(&e, -ENOENT, "it prints no address");
    for (size_t i = 0; i < n; i++) {
        if (!e.text[0] && source_command(addrs[i]))
            (void)err_set(&e, -EINVAL, "it prints another command");
        if (!e.text[0])
            op_add(op, addrs[i]);
        free(addrs[i]);
    }
    if (e.text[0])
        op_fail(op, c->source, e.text);
    free(c->source);
    free(c);
    serfd_settle(op->sd);
    op->pending--;
    op_check(op);
}

static void op_run(struct join_op *op, const char *text)
{
    struct command *c = xcalloc(1, sizeof(*c));
    struct errtext e;

    c->op = op;
    c->source = xstrdup(text);
    c->exec = serfd_exec_start(op->sd, source_command(text), on_command, c, &e);
    if (!c->exec) {
        op_fail(op, text, e.text);
        free(c->source);
        free(c);
        return;
    }
    c->next = op->sd->joiner->commands;
    op->sd->joiner->commands = c;
    op->pending++;
}

static void op_add(struct join_op *op, const char *text)
{
    if (!source_command(text)) {
        op->pending++;
        op->refs++;
        serfd_lookup(op->sd, text, on_found, op);
    } else if (op->own) {
        op_run(op, text);
    } else {
        op_fail(op, text, "a command can only stand in a server's own configuration");
    }
}

static void on_op_timer(uv_timer_t *t)
{
    struct join_op *op = t->data;

    if (op->joined == 0)
        op_fail(op, "the others", "no answer in time");
    op_tell(op); /* the rest goes on in the background */
}

void serfd_join(struct serfd *sd, const struct serfd_join_order *order, serfd_join_fn *fn,
                void *user)
{
    struct join_op *op = xcalloc(1, sizeof(*op));

    op->sd = sd;
    op->own = order->own;
    op->fn = fn;
    op->user = user;
    op->next = sd->joiner->ops;
    sd->joiner->ops = op;
    uv_timer_init(sd->ctx->loop, &op->timer);
    op->timer.data = op;
    op->refs = 1;
    uv_timer_start(&op->timer, on_op_timer, order->timeout_ms, 0);
    op->pending = 1; /* holds it while addresses are added */
    for (size_t i = 0; i < order->n; i++)
        op_add(op, order->addrs[i]);
    op->pending--;
    op_check(op);
    serfd_settle(sd);
}

/* ---- back into the pool of old (10.10) ---- */

static bool is_alone(const struct serfd *sd)
{
    struct serf_stats st;

    serf_stats_get(sd->serf, &st);
    return st.alive <= 1;
}

static void on_rejoin_timer(uv_timer_t *t);
static void open_soon(struct serfd_joiner *j);

static void on_rejoined(void *user, unsigned num_joined, const char *error)
{
    struct serfd_joiner *j = user;

    (void)error;
    if (j->gone)
        return;
    if (num_joined > 0) {
        log_info("rejoined the pool that the snapshot knows");
        open_soon(j);
        return;
    }
    if (j->old_next >= j->old.n)
        open_soon(j);
    uv_timer_start(&j->rejoin_timer, on_rejoin_timer, j->old_next < j->old.n ? 1 : REJOIN_WAIT_MS,
                   0);
}

static void on_rejoin_timer(uv_timer_t *t)
{
    struct serfd_joiner *j = t->data;
    size_t n;

    if (!is_alone(j->sd) || j->sd->has_left || j->sd->stopping)
        return;
    if (j->old_next >= j->old.n)
        j->old_next = 0;
    n = MIN((size_t)REJOIN_BATCH, j->old.n - j->old_next);
    j->old_next += n;
    serfd_join(
        j->sd,
        &(struct serfd_join_order){j->old.addrs + j->old_next - n, n, RETRY_TIMEOUT_MS, true},
        on_rejoined, j);
}

static void shuffle(char **addrs, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t k = random_u64() % i;
        char *t = addrs[i - 1];

        addrs[i - 1] = addrs[k];
        addrs[k] = t;
    }
}

static void load_snapshot(struct serfd_joiner *j)
{
    struct serf_event ev = {.type = SERF_EV_CLOCKS};
    struct errtext e;

    if (snapshot_read(j->sd->snapshot_path, &j->old, &e)) {
        log_warn("membership snapshot not read error=\"%s\"", e.text);
        return;
    }
    if (j->old.left && !j->sd->ctx->conf->server.rejoin_after_leave) {
        snapshot_fini(&j->old);
        return;
    }
    memcpy(ev.clocks, j->old.clocks, sizeof(ev.clocks));
    (void)serfd_step(j->sd, &ev);
    shuffle(j->old.addrs, j->old.n);
    if (j->old.n > 0)
        uv_timer_start(&j->rejoin_timer, on_rejoin_timer, 0, 0);
}

/* ---- start_join and retry_join ---- */

static void retry_later(struct serfd_joiner *j, const char *error);

static void on_retried(void *user, unsigned num_joined, const char *error)
{
    struct serfd_joiner *j = user;

    if (j->gone)
        return;
    if (num_joined > 0)
        log_info("retry_join joined servers=%u", num_joined);
    else
        retry_later(j, error);
}

static void on_retry_timer(uv_timer_t *t)
{
    struct serfd_joiner *j = t->data;
    const struct conf_list *l = &j->sd->ctx->conf->server.join.retry_join;

    if (!j->sd->has_left && !j->sd->stopping)
        serfd_join(j->sd, &(struct serfd_join_order){l->items, l->n, RETRY_TIMEOUT_MS, true},
                   on_retried, j);
}

static void retry_later(struct serfd_joiner *j, const char *error)
{
    bool out = serfd_regions_out(j->sd);
    int64_t wait = out ? j->plan.interval_ns : retry_failed(&j->plan, random_u64());

    if (out) { /* it may find servers of the own region; those of others it leaves alone */
        log_info("retry_join: the region has left the federation error=\"%s\"", error);
        uv_timer_start(&j->retry_timer, on_retry_timer, (uint64_t)(wait / NS_PER_MS), 0);
        return;
    }
    if (wait < 0) {
        svc_fatal(j->sd->ctx, "retry_join: no server joined after %u attempts: %s", j->plan.tries,
                  error);
        return;
    }
    log_warn("retry_join: no server joined yet, next attempt in %lld ms error=\"%s\"",
             (long long)(wait / NS_PER_MS), error);
    uv_timer_start(&j->retry_timer, on_retry_timer, (uint64_t)(wait / NS_PER_MS), 0);
}

static void on_start_joined(void *user, unsigned num_joined, const char *error)
{
    struct serfd_joiner *j = user;

    if (j->gone)
        return;
    if (num_joined == 0 && !serfd_regions_out(j->sd)) {
        svc_fatal(j->sd->ctx, "start_join: no server joined: %s", error);
        return;
    }
    log_info("start_join joined servers=%u", num_joined);
    svc_ready(j->sd->ctx);
}

/* ---- the way in for the other services ---- */

static void open_up(struct serfd_joiner *j)
{
    const struct conf_join *c = &j->sd->ctx->conf->server.join;
    struct errtext e = {""};

    if (j->opened)
        return;
    j->opened = true;
    uv_timer_stop(&j->open_timer);
    if (serfd_rpc_init(j->sd, &e)) {
        svc_fatal(j->sd->ctx, "%s", e.text);
        return;
    }
    if (c->start_join.n > 0)
        serfd_join(j->sd,
                   &(struct serfd_join_order){c->start_join.items, c->start_join.n,
                                              START_TIMEOUT_MS, true},
                   on_start_joined, j);
    else
        svc_ready(j->sd->ctx);
}

static void on_open_timer(uv_timer_t *t)
{
    open_up(t->data);
}

/* Not at once: the end of a join is told within a step of the core. */
static void open_soon(struct serfd_joiner *j)
{
    if (!j->opened)
        uv_timer_start(&j->open_timer, on_open_timer, 0, 0);
}

void serfd_joiner_init(struct serfd *sd)
{
    struct serfd_joiner *j = xcalloc(1, sizeof(*j));

    j->sd = sd;
    sd->joiner = j;
    uv_timer_init(sd->ctx->loop, &j->retry_timer);
    uv_timer_init(sd->ctx->loop, &j->rejoin_timer);
    uv_timer_init(sd->ctx->loop, &j->open_timer);
    j->retry_timer.data = j->rejoin_timer.data = j->open_timer.data = j;
}

void serfd_joiner_start(struct serfd *sd)
{
    const struct conf_join *c = &sd->ctx->conf->server.join;
    struct serfd_joiner *j = sd->joiner;

    j->plan.interval_ns = MAX(c->retry_interval, 100 * NS_PER_MS);
    j->plan.max = c->retry_max;
    load_snapshot(j);
    if (c->retry_join.n > 0)
        uv_timer_start(&j->retry_timer, on_retry_timer, 0, 0);
    /*
     * A restarted serfd must not tell the node's router that there is nobody: first it asks the
     * pool of old, which takes milliseconds when somebody is there.
     */
    if (j->old.n > 0)
        uv_timer_start(&j->open_timer, on_open_timer, OPEN_WAIT_MAX_MS, 0);
    else
        open_up(j);
}

/* libuv ends handles in an order of its own: the last one takes the memory along. */
static void joiner_closed(uv_handle_t *h)
{
    struct serfd_joiner *j = h->data;

    if (--j->open_handles == 0)
        free(j);
}

void serfd_joiner_fini(struct serfd *sd)
{
    struct serfd_joiner *j = sd->joiner;

    if (!j)
        return;
    j->gone = true;
    for (struct command *c; (c = j->commands);) {
        j->commands = c->next;
        serfd_exec_cancel(c->exec);
        free(c->source);
        free(c);
    }
    for (struct join_op *op = j->ops, *next; op; op = next) {
        next = op->next;
        op->sd = NULL;
        uv_close((uv_handle_t *)&op->timer, op_closed);
    }
    snapshot_fini(&j->old);
    j->open_handles = 3;
    uv_close((uv_handle_t *)&j->retry_timer, joiner_closed);
    uv_close((uv_handle_t *)&j->open_timer, joiner_closed);
    uv_close((uv_handle_t *)&j->rejoin_timer, joiner_closed);
}
