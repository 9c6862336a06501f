/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Virtual time: a queue of things to happen. Everything in a simulation happens here, in the order
 * of time and, at the same time, in the order it was asked for, so that a seed says it all.
 */
#pragma once

#include "base/base.h"
#include "base/clock.h"
#include "base/prng.h"

/* `a` and `b` are the caller's. */
typedef void sim_fn(void *arg, uint64_t a, uint64_t b);

struct sim_event {
    int64_t at_ns;
    uint64_t order;
    sim_fn *fn;
    void *arg;
    uint64_t a, b;
};

struct sim {
    int64_t now_ns;
    uint64_t order;
    uint64_t events; /* run so far */
    struct sim_event *heap;
    size_t heap_n, heap_cap;
    struct prng prng;
};

void sim_init(struct sim *s, uint64_t seed);
void sim_fini(struct sim *s); /* what has not happened yet never does */
/* In delay_ns from now (>= 0). */
void sim_after(struct sim *s, int64_t delay_ns, sim_fn *fn, void *arg, uint64_t a, uint64_t b);
/* Runs what is due until then; false when the queue is empty before. */
bool sim_run_until(struct sim *s, int64_t t_ns);
/* The next one; false when there is none. */
bool sim_run_one(struct sim *s);

/* Uniform in [lo, hi]. */
int64_t sim_range(struct sim *s, int64_t lo, int64_t hi);
/* True in `permille` of 1000 cases. */
bool sim_chance(struct sim *s, unsigned permille);
