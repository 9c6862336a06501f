/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <pb_encode.h>

#include "alloc.pb.h"
#include "sim_raft.h"
#include "state/fsm.h"
#include "state/snapshot.h"

#define MACHINE_HEADER 16
#define MACHINE_FILLER 700 /* the snapshot of a chain takes several chunks, too */
#define MACHINE_IDS    6

static uint64_t mix(uint64_t h, uint64_t v)
{
    h ^= v + UINT64_C(0x9e3779b97f4a7c15) + (h << 6) + (h >> 2);
    return h * UINT64_C(0xff51afd7ed558ccd);
}

static uint64_t mix_bytes(uint64_t h, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        h = mix(h, p[i]);
    return h;
}

void machine_init(struct machine *m, bool real)
{
    int err;

    *m = (struct machine){0};
    if (!real)
        return;
    m->store = store_mem_new();
    err = fsm_new(m->store, NULL, &m->fsm);
    assert(err == 0);
}

void machine_fini(struct machine *m)
{
    m->fsm = fsm_free(m->fsm);
    m->store = store_free(m->store);
}

void machine_reset(struct machine *m)
{
    bool real = m->store != NULL;

    machine_fini(m);
    machine_init(m, real);
}

static int machine_apply_real(struct machine *m, const struct raft_entry *entries, unsigned n)
{
    struct fsm_entry e[64];

    assert(n <= ARRAY_LEN(e));
    for (unsigned i = 0; i < n; i++) {
        e[i] = (struct fsm_entry){.index = entries[i].index,
                                  .term = entries[i].term,
                                  .kind = FSM_ENTRY_COMMAND,
                                  .data = bytes_of(entries[i].data, entries[i].len)};
        if (entries[i].type == RAFT_ENTRY_NOOP)
            e[i].kind = FSM_ENTRY_NOOP;
        if (entries[i].type == RAFT_ENTRY_CONFIG)
            e[i].kind = FSM_ENTRY_CONFIGURATION;
    }
    return fsm_apply_batch(m->fsm, e, n, NULL);
}

/* Entries of all types count: the hash at an index says the whole history. */
int machine_apply(struct machine *m, const struct raft_entry *entries, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const struct raft_entry *e = &entries[i];

        assert(e->index == m->applied + 1);
        m->hash = mix_bytes(mix(mix(m->hash, e->index), e->type), e->data, e->len) | 1;
        m->applied = e->index;
    }
    return m->fsm ? machine_apply_real(m, entries, n) : 0;
}

void machine_snapshot(struct machine *m, struct strbuf *out)
{
    struct state_snapshot *sn;
    struct bytes block;
    int err;

    strbuf_add(out, &m->applied, sizeof(m->applied));
    strbuf_add(out, &m->hash, sizeof(m->hash));
    if (!m->store) {
        memset(strbuf_reserve(out, MACHINE_FILLER), (int)(m->hash & 0xff), MACHINE_FILLER);
        out->len += MACHINE_FILLER;
        return;
    }
    err = state_snapshot_begin(m->store, &sn, NULL);
    assert(err == 0);
    while ((err = state_snapshot_next(sn, &block)) == 0 && block.len > 0)
        strbuf_add(out, block.data, block.len);
    assert(err == 0);
    state_snapshot_end(sn);
}

int machine_restore(struct machine *m, const uint8_t *buf, size_t len)
{
    struct state_restore *r;
    struct errtext e;
    int err;

    if (len < MACHINE_HEADER)
        return -EBADMSG;
    memcpy(&m->applied, buf, sizeof(m->applied));
    memcpy(&m->hash, buf + 8, sizeof(m->hash));
    if (!m->store)
        return len == MACHINE_HEADER + MACHINE_FILLER ? 0 : -EBADMSG;
    err = state_restore_begin(m->store, &r);
    assert(err == 0);
    if (state_restore_chunk(r, buf + MACHINE_HEADER, len - MACHINE_HEADER, &e) != 0) {
        state_restore_abort(r);
        return -EBADMSG;
    }
    if (state_restore_commit(r, &e) != 0 || fsm_reload(m->fsm) != 0)
        return -EBADMSG;
    return fsm_applied_index(m->fsm) == m->applied ? 0 : -EBADMSG;
}

uint64_t machine_digest(struct machine *m)
{
    struct strbuf b = STRBUF_INIT;
    uint64_t h;

    machine_snapshot(m, &b);
    h = mix_bytes(1, (const uint8_t *)b.data, b.len) | 1;
    strbuf_fini(&b);
    return h;
}

/* ---- commands ---- */

static void random_id(struct sim *s, const char *group, uint64_t n, char buf[static 37])
{
    snprintf(buf, 37, "00000000-0000-4000-%s-%012lu", group,
             (unsigned long)prng_below(&s->prng, n));
}

/* Two placements, or updates in place, of some job; one stop. */
static void machine_plan(struct sim *s, struct strbuf *out)
{
    steppe_Allocation place[2] = {0};
    steppe_PlanStop stop = {.desired_status = (char *)"stop"};
    steppe_Plan plan = {.place = place, .place_count = 2, .stop = &stop, .stop_count = 1};
    char ids[2][37], nodes[2][37], stopped[37], job[32];
    pb_ostream_t size = PB_OSTREAM_SIZING, to;
    char *at;
    bool ok;

    snprintf(job, sizeof(job), "job-%lu", (unsigned long)prng_below(&s->prng, MACHINE_IDS));
    random_id(s, "a000", 20, stopped);
    stop.alloc_id = stopped;
    for (int i = 0; i < 2; i++) {
        random_id(s, "a000", 20, ids[i]);
        random_id(s, "8000", MACHINE_IDS, nodes[i]);
        place[i] = (steppe_Allocation){.id = ids[i],
                                       .node_id = nodes[i],
                                       .eval_id = nodes[i],
                                       .namespace = (char *)"default",
                                       .job_id = job,
                                       .task_group = (char *)"g"};
    }
    ok = pb_encode(&size, steppe_Plan_fields, &plan);
    at = strbuf_reserve(out, size.bytes_written);
    to = pb_ostream_from_buffer((pb_byte_t *)at, size.bytes_written);
    ok = ok && pb_encode(&to, steppe_Plan_fields, &plan);
    assert(ok);
    out->len += to.bytes_written;
}

static void command_id(struct sim *s, char *buf, size_t size)
{
    snprintf(buf, size, "00000000-0000-4000-8000-%012lu",
             (unsigned long)prng_below(&s->prng, MACHINE_IDS));
}

void machine_command(struct sim *s, uint64_t no, struct strbuf *out)
{
    const struct bytes none[3] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    struct wall_ns now = {s->now_ns};
    char key[32];
    int err = 0;

    snprintf(key, sizeof(key), "key-%lu", (unsigned long)(no / 3)); /* some come again */
    switch (prng_below(&s->prng, 6)) {
    case 0: {
        steppe_NodeRegisterCommand c = steppe_NodeRegisterCommand_init_zero;

        command_id(s, c.node_id, sizeof(c.node_id));
        snprintf(c.secret_id, sizeof(c.secret_id), "%s", c.node_id);
        err = command_encode(out, COMMAND_NODE_REGISTER, now, NULL, &c, none, 2);
        break;
    }
    case 1: {
        steppe_NodeStatusCommand c = steppe_NodeStatusCommand_init_zero;

        command_id(s, c.node_id, sizeof(c.node_id));
        snprintf(c.status, sizeof(c.status), "%s", sim_chance(s, 500) ? "ready" : "down");
        c.eval_seed = no + 1;
        err = command_encode(out, COMMAND_NODE_STATUS, now, NULL, &c, NULL, 0);
        break;
    }
    case 2: {
        steppe_JobRegisterCommand c = steppe_JobRegisterCommand_init_zero;

        snprintf(c.namespace, sizeof(c.namespace), "default");
        snprintf(c.job_id, sizeof(c.job_id), "job-%lu",
                 (unsigned long)prng_below(&s->prng, MACHINE_IDS));
        snprintf(c.type, sizeof(c.type), "service");
        snprintf(c.eval_id, sizeof(c.eval_id), "00000000-0000-4000-9000-%012lu", (unsigned long)no);
        err = command_encode(out, COMMAND_JOB_REGISTER, now, key, &c, none, 3);
        break;
    }
    case 3: {
        steppe_JobDeregisterCommand c = steppe_JobDeregisterCommand_init_zero;

        snprintf(c.namespace, sizeof(c.namespace), "default");
        snprintf(c.job_id, sizeof(c.job_id), "job-%lu",
                 (unsigned long)prng_below(&s->prng, MACHINE_IDS));
        c.purge = sim_chance(s, 500);
        err = command_encode(out, COMMAND_JOB_DEREGISTER, now, key, &c, NULL, 0);
        break;
    }
    case 4: {
        steppe_PlanApplyCommand c = steppe_PlanApplyCommand_init_zero;
        struct strbuf plan = STRBUF_INIT;
        struct bytes blob;

        machine_plan(s, &plan);
        blob = bytes_of(plan.data, plan.len);
        err = command_encode(out, COMMAND_PLAN_APPLY, now, key, &c, &blob, 1);
        strbuf_fini(&plan);
        break;
    }
    default: {
        steppe_ConfigPutCommand c = steppe_ConfigPutCommand_init_zero;
        struct bytes value = {(const uint8_t *)&no, sizeof(no)};

        snprintf(c.name, sizeof(c.name), "autopilot");
        c.cas = sim_chance(s, 300);
        c.cas_index = prng_below(&s->prng, 50);
        err = command_encode(out, COMMAND_CONFIG_PUT, now, NULL, &c, &value, 1);
        break;
    }
    }
    assert(err == 0);
}
