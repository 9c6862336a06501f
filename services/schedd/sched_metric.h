/* SPDX-License-Identifier: MPL-2.0 */
/* Why nodes were taken or not: AllocMetric while a node is looked for, and its bytes. */
#pragma once

#include "base/base.h"
#include "base/strbuf.h"
#include "image/image.h"
#include "job.pb.h"
#include "sched_arena.h"

#define SCHED_TOP 5 /* nodes whose scores are kept */

enum sched_score {
    SCHED_SCORE_BINPACK,
    SCHED_SCORE_ANTI_AFFINITY,
    SCHED_SCORE_PENALTY,
    SCHED_SCORE_AFFINITY,
    SCHED_SCORE_SPREAD,
    SCHED_SCORE_PREEMPTION,
    SCHED_SCORES
};

/* shown: its metric has the score; counts: it is part of the mean. */
struct sched_scores {
    double value[SCHED_SCORES];
    unsigned shown, counts; /* bits of enum sched_score */
    double final;
};
static inline void sched_score_set(struct sched_scores *s, enum sched_score which, double v,
                                   bool counts)
{
    s->value[which] = v;
    s->shown |= 1u << which;
    s->counts |= (counts ? 1u : 0u) << which;
}
/* final = mean of those that count. */
void sched_scores_final(struct sched_scores *s);

struct sched_count {
    const char *text;
    int32_t n;
};
struct sched_counts {
    struct sched_count *v;
    size_t n, cap;
};

struct sched_metric {
    struct sched_arena *arena;
    int32_t evaluated, filtered, exhausted;
    int32_t coalesced; /* placements of the group that failed after this one, not tried any more */
    struct sched_counts class_filtered, constraint_filtered, class_exhausted, dimension_exhausted;
    struct {
        uint32_t node; /* slot */
        struct sched_scores scores;
    } top[SCHED_TOP];
    unsigned top_n;
    int64_t time_ns;
};

/* Empties it for the next placement. */
void sched_metric_reset(struct sched_metric *m);
/* text must live as long as the arena. */
void sched_metric_filter(struct sched_metric *m, const char *node_class, const char *text);
void sched_metric_exhaust(struct sched_metric *m, const char *node_class, const char *text);
void sched_metric_score(struct sched_metric *m, uint32_t node, const struct sched_scores *s);

/* Appends the AllocMetric's fields. available: encoded nodes_available. tg: of a failed one. */
void sched_metric_encode(const struct sched_metric *m, const struct image *im,
                         struct bytes available, const steppe_TaskGroup *tg, struct strbuf *out);
/* Appends one entry of nodes_available. */
void sched_metric_available(struct strbuf *out, const char *datacenter, int32_t n);
