/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What a constraint or an affinity says about a node: its targets looked up, its operand applied
 * (reference: http-api 7.5).
 */
#pragma once

#include "base/base.h"
#include "job.pb.h"
#include "node.pb.h"
#include "sched_regexp.h"

/*
 * A target: a literal, or `${node.datacenter}`, `${attr.x}` ... NULL when the node has no such
 * thing; borrowed from the target or the node.
 */
const char *sched_target(const char *target, const steppe_Node *n);

/* One operand over two values, NULL = not found. An unknown operand is false. */
bool sched_operand(struct sched_regexps *re, const char *operand, const char *l, const char *r);

/* distinct_hosts and distinct_property are true here: they are not about one node. */
bool sched_constraint_met(struct sched_regexps *re, const steppe_Constraint *c,
                          const steppe_Node *n);
bool sched_affinity_met(struct sched_regexps *re, const steppe_Affinity *a, const steppe_Node *n);

/* Does the constraint look at something that differs within a computed class (`unique.`)? */
bool sched_constraint_escapes(const steppe_Constraint *c);

/* Does the node run the driver? By its health report, or the attribute `driver.NAME`. */
bool sched_driver_there(const steppe_Node *n, const char *driver);

static inline const char *sched_text(const char *s)
{
    return s ? s : "";
}
