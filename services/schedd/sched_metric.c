/* SPDX-License-Identifier: MPL-2.0 */
#include "sched_metric.h"

#include <string.h>

#include "sched_match.h"
#include "sched_pb.h"

static const char *const score_names[SCHED_SCORES] = {
    [SCHED_SCORE_BINPACK] = "binpack",
    [SCHED_SCORE_ANTI_AFFINITY] = "job-anti-affinity",
    [SCHED_SCORE_PENALTY] = "node-reschedule-penalty",
    [SCHED_SCORE_AFFINITY] = "node-affinity",
    [SCHED_SCORE_SPREAD] = "allocation-spread",
    [SCHED_SCORE_PREEMPTION] = "preemption",
};

void sched_scores_final(struct sched_scores *s)
{
    double sum = 0;
    unsigned n = 0;

    for (unsigned i = 0; i < SCHED_SCORES; i++) {
        if (!(s->counts >> i & 1))
            continue;
        sum += s->value[i];
        n++;
    }
    s->final = n ? sum / n : 0;
}

void sched_metric_reset(struct sched_metric *m)
{
    m->evaluated = m->filtered = m->exhausted = m->coalesced = 0;
    m->class_filtered.n = m->constraint_filtered.n = 0;
    m->class_exhausted.n = m->dimension_exhausted.n = 0;
    m->top_n = 0;
    m->time_ns = 0;
}

static void count(struct sched_metric *m, struct sched_counts *c, const char *text)
{
    struct sched_count *grown;

    if (!text || !*text)
        return;
    for (size_t i = 0; i < c->n; i++) {
        if (c->v[i].text == text || strcmp(c->v[i].text, text) == 0) {
            c->v[i].n++;
            return;
        }
    }
    if (c->n == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 8;
        grown = SCHED_NEW_N(m->arena, struct sched_count, c->cap);
        if (c->n > 0)
            memcpy(grown, c->v, c->n * sizeof(*grown));
        c->v = grown;
    }
    c->v[c->n++] = (struct sched_count){text, 1};
}

void sched_metric_filter(struct sched_metric *m, const char *node_class, const char *text)
{
    m->filtered++;
    count(m, &m->class_filtered, node_class);
    count(m, &m->constraint_filtered, text);
}

void sched_metric_exhaust(struct sched_metric *m, const char *node_class, const char *text)
{
    m->exhausted++;
    count(m, &m->class_exhausted, node_class);
    count(m, &m->dimension_exhausted, text);
}

/* Best first. */
void sched_metric_score(struct sched_metric *m, uint32_t node, const struct sched_scores *s)
{
    unsigned at = m->top_n;

    while (at > 0 && m->top[at - 1].scores.final < s->final)
        at--;
    if (at == SCHED_TOP)
        return;
    m->top_n = MIN(m->top_n + 1, (unsigned)SCHED_TOP);
    for (unsigned i = m->top_n - 1; i > at; i--)
        m->top[i] = m->top[i - 1];
    m->top[at].node = node;
    m->top[at].scores = *s;
}

static int32_t count_of(const struct sched_counts *c, const char *text)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->v[i].text, text) == 0)
            return c->v[i].n;
    return 0;
}

/* ---- bytes ---- */

static void encode_counts(struct strbuf *out, uint32_t tag, const struct sched_counts *c)
{
    for (size_t i = 0; i < c->n; i++) {
        size_t at = sched_pb_begin(out, tag);

        sched_pb_text(out, 1, c->v[i].text);
        sched_pb_u64(out, 2, (uint64_t)c->v[i].n);
        sched_pb_end(out, at);
    }
}

void sched_metric_available(struct strbuf *out, const char *datacenter, int32_t n)
{
    size_t at = sched_pb_begin(out, steppe_AllocMetric_nodes_available_tag);

    sched_pb_text(out, 1, datacenter);
    sched_pb_u64(out, 2, (uint64_t)n);
    sched_pb_end(out, at);
}

/* One node's scores; their entries are short, so their lengths are known before. */
static void encode_scores(struct strbuf *out, const char *node_id, const struct sched_scores *s)
{
    size_t at = sched_pb_begin(out, steppe_AllocMetric_score_meta_data_tag);

    sched_pb_text(out, steppe_NodeScoreMeta_node_id_tag, node_id);
    for (unsigned i = 0; i < SCHED_SCORES; i++) {
        size_t len;

        if (!(s->shown >> i & 1))
            continue;
        len = 2 + strlen(score_names[i]) + (s->value[i] == 0 ? 0 : 9);
        sched_pb_head(out, steppe_NodeScoreMeta_scores_tag, len);
        sched_pb_text(out, 1, score_names[i]);
        if (s->value[i] != 0)
            sched_pb_double(out, 2, s->value[i]);
    }
    sched_pb_double(out, steppe_NodeScoreMeta_norm_score_tag, s->final);
    sched_pb_end(out, at);
}

/* What a task lacked in this dimension, of all placements that failed. */
static uint64_t lacked(const struct sched_metric *m, const char *dimension, int32_t amount)
{
    int64_t n = count_of(&m->dimension_exhausted, dimension) > 0 ? (int64_t)m->coalesced + 1 : 0;

    return (uint64_t)MIN(n * amount, (int64_t)INT32_MAX);
}

static void encode_short(const struct sched_metric *m, const steppe_TaskGroup *tg,
                         struct strbuf *out)
{
    if (m->dimension_exhausted.n == 0)
        return;
    for (pb_size_t i = 0; i < tg->tasks_count; i++) {
        const steppe_Resources *r = &tg->tasks[i].resources;
        size_t entry = sched_pb_begin(out, steppe_AllocMetric_resources_exhausted_tag), value;

        sched_pb_text(out, 1, tg->tasks[i].name);
        value = sched_pb_begin(out, 2);
        sched_pb_u64_always(out, steppe_Resources_cpu_tag, lacked(m, "cpu", r->cpu));
        sched_pb_u64_always(out, steppe_Resources_memory_mb_tag, lacked(m, "memory", r->memory_mb));
        sched_pb_end(out, value);
        sched_pb_end(out, entry);
    }
}

void sched_metric_encode(const struct sched_metric *m, const struct image *im,
                         struct bytes available, const steppe_TaskGroup *tg, struct strbuf *out)
{
    sched_pb_u64(out, steppe_AllocMetric_nodes_evaluated_tag, (uint64_t)m->evaluated);
    sched_pb_u64(out, steppe_AllocMetric_nodes_filtered_tag, (uint64_t)m->filtered);
    strbuf_add(out, available.data, available.len);
    encode_counts(out, steppe_AllocMetric_class_filtered_tag, &m->class_filtered);
    encode_counts(out, steppe_AllocMetric_constraint_filtered_tag, &m->constraint_filtered);
    sched_pb_u64(out, steppe_AllocMetric_nodes_exhausted_tag, (uint64_t)m->exhausted);
    encode_counts(out, steppe_AllocMetric_class_exhausted_tag, &m->class_exhausted);
    encode_counts(out, steppe_AllocMetric_dimension_exhausted_tag, &m->dimension_exhausted);
    if (tg)
        encode_short(m, tg, out);
    for (unsigned i = 0; i < m->top_n; i++)
        encode_scores(out, image_node_at(im, m->top[i].node)->id, &m->top[i].scores);
    sched_pb_u64(out, steppe_AllocMetric_allocation_time_tag, (uint64_t)m->time_ns);
    sched_pb_u64(out, steppe_AllocMetric_coalesced_failures_tag, (uint64_t)m->coalesced);
}
