/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What changed between two versions of a job: Nomad's JobDiff, field by field. Which fields and
 * objects are compared, and how, is said by the tables of job_diff_rules.c; names and values come
 * from the JSON tables of proto/. Pure.
 */
#pragma once

#include "base/base.h"
#include "job.pb.h"
#include "job_diff.pb.h"

#define JOB_DIFF_MAX (32u << 20) /* bytes that a difference may take in memory */

/*
 * From old to new, both canonical; one may be NULL: the job is added or deleted. contextual:
 * objects that changed show their unchanged fields, too (Type "None"). Updates and Annotations stay
 * empty: only a scheduler knows them.
 *
 * 0, and the caller does pb_release(steppe_JobDiff_fields, ret); -EMSGSIZE when the difference were
 * larger than JOB_DIFF_MAX or a list longer than 65,535; -EINVAL when the ids differ. On failure
 * *ret is empty.
 */
int job_diff(const steppe_Job *old, const steppe_Job *new, bool contextual, steppe_JobDiff *ret);
