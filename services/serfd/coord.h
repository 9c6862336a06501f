/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Vivaldi network coordinates as Serf computes them (gossip-wire.md section 11; Dabek et al. 2004,
 * Ledlie et al. 2007 for adjustment and gravity). Seconds. Pure.
 */
#pragma once

#include "base/prng.h"
#include "msgpack.h"

#define COORD_DIMENSIONS 8
#define COORD_WINDOW     20
#define COORD_FILTER     3

struct coord {
    double vec[COORD_DIMENSIONS];
    double error, adjustment, height;
};

/* The own coordinate and what its updates need. */
struct coord_self {
    struct coord at;
    double window[COORD_WINDOW];
    unsigned next;
    unsigned resets;
};

/* What is remembered of one peer. */
struct coord_peer {
    struct coord at;
    double rtt[COORD_FILTER];
    unsigned n_rtt;
};

void coord_init(struct coord *c);
void coord_self_init(struct coord_self *self);
/* Estimated round trip in seconds. */
double coord_distance(const struct coord *a, const struct coord *b);
/* A direct answer of `peer` took rtt seconds. False when the sample was of no use. */
bool coord_update(struct coord_self *self, struct coord_peer *peer, const struct coord *theirs,
                  double rtt, struct prng *prng);
/* The payload of an ack: format version and map. */
void coord_put(struct strbuf *out, const struct coord *c);
bool coord_get(struct span payload, struct coord *ret);
