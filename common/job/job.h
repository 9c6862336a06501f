/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Rules about jobs that need no state: defaults, validation, what a job implies. Texts and defaults
 * are those of Nomad 1.1.0.
 *
 * Registration: job_region_select(), job_canonicalize(), job_implied_constraints(),
 * job_validate(), job_warnings(), then, where the stored job is known, job_update_check() and
 * job_scaling_ids_set(), and job_spec_clear() before the spec is encoded and compared.
 */
#pragma once

#include "base/base.h"
#include "base/err.h"
#include "base/strbuf.h"
#include "job.pb.h"

/*
 * Sets every default, merges job level blocks into the groups, drops what the server does not
 * keep and sorts maps. Doing it twice changes nothing. Strings are malloc'ed: pb_release() frees.
 * Of what only the server sets, a registration's parent_id, dispatched and nomad_token_id are
 * dropped; the rest (see job_spec_clear()) keeps its value.
 */
void job_canonicalize(steppe_Job *job);

/*
 * Sets the defaults that Nomad's client library sets before it sends a job, and drops nothing: what
 * jobs/parse answers when asked to canonicalize. For JSON_VIEW_API.
 */
void job_api_canonicalize(steppe_Job *job);

/* On a canonical job: adds to each group the constraint on the signals that its tasks use. */
void job_implied_constraints(steppe_Job *job);

/* Is there a time zone of that name? 0, or below 0 with the reason. zone_check() is one. */
typedef int job_zone_fn(const char *name, struct errtext *e);

/*
 * On a canonical job: true, or false with the multi-error text appended to error. zone may be NULL:
 * all zones are right.
 */
bool job_validate(const steppe_Job *job, job_zone_fn *zone, struct strbuf *error);
/* The same; items (may be NULL) gets the errors one by one, each ended by a NUL. */
bool job_validate_items(const steppe_Job *job, job_zone_fn *zone, struct strbuf *error,
                        struct strbuf *items);

/* On a canonical job: appends "N warning(s):..." or nothing. */
void job_warnings(const steppe_Job *job, bool memory_oversubscription, struct strbuf *out);

/*
 * May `job` be stored over `old` (NULL: there is none)? 0, or -EINVAL with the reason. There is no
 * Vault here: a job that wants it is refused.
 */
int job_update_check(const steppe_Job *old, const steppe_Job *job, struct errtext *e);

/*
 * Where a registration goes: the body's Region, else ?region=, else the job's; the agent's own when
 * none or "global" is named. "" and NULL both mean none. A multi-region job keeps "global" and goes
 * to one of its own regions. Results point into the arguments.
 */
struct job_region_source {
    const char *body;
    const char *query;
    const char *agent;
};
struct job_region {
    const char *request; /* send it there */
    const char *job;     /* becomes Job.Region */
};
struct job_region job_region_select(const steppe_Job *job, const struct job_region_source *src);

/* Scaling policies keep the id that they have in old (may be NULL); new ones get one from make().
 */
typedef void job_id_make_fn(void *ctx, char out[static 37]);
void job_scaling_ids_set(const steppe_Job *old, steppe_Job *job, job_id_make_fn *make, void *ctx);

/* Clears what is not part of the spec: stop, status ... job_modify_index. */
void job_spec_clear(steppe_Job *job);

/* Its instances are made by the leader, by dispatch, or region by region: it is not scheduled. */
bool job_is_periodic(const steppe_Job *job);
bool job_is_parameterized(const steppe_Job *job);
bool job_is_multiregion(const steppe_Job *job);

/* *ret borrows from job and summary (may be NULL): never release it. */
void job_stub_make(const steppe_Job *job, const steppe_JobSummary *summary,
                   steppe_JobListStub *ret);

/* Zero counts for each group, sorted by name; pb_release() frees. */
void job_summary_init(const steppe_Job *job, steppe_JobSummary *ret);
