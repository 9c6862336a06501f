/* SPDX-License-Identifier: MPL-2.0 */
/* What the files of canonicalization share. Inside common/job only. */
#pragma once

#include "base/base.h"
#include "base/clock.h"
#include "job.pb.h"

/* Sets an `optional` scalar that is unset. */
#define JOB_DEFAULT(m, field, value)                                                               \
    do {                                                                                           \
        if (!(m)->has_##field) {                                                                   \
            (m)->has_##field = true;                                                               \
            (m)->field = (value);                                                                  \
        }                                                                                          \
    } while (0)

/* The same, from another message of the type, if it is set there. */
#define JOB_DEFAULT_FROM(m, other, name)                                                           \
    do {                                                                                           \
        if (!(m)->has_##name && (other)->has_##name) {                                             \
            (m)->has_##name = true;                                                                \
            (m)->name = (other)->name;                                                             \
        }                                                                                          \
    } while (0)

/* Map entries begin with their key. */
#define JOB_SORT_MAP(entries, n) job_map_sort((entries), (n), sizeof(*(entries)))
void job_map_sort(void *entries, size_t n, size_t size);

#define JOB_KILL_TIMEOUT (5 * NS_PER_SEC)

void job_string_default(char **s, const char *value); /* an unset string becomes a copy of value */
void job_string_plain(char **s); /* "" becomes unset: where both mean the same, one is stored */
void job_string_clear(char **s);
void job_upper(char *s);

/* ---- Defaults: what Nomad's client library sets ---- */

void job_defaults(steppe_Job *job);
void job_resources_defaults(steppe_Resources *r);
void job_log_defaults(steppe_LogConfig *l);
void job_scaling_defaults(steppe_ScalingPolicy *p, int64_t count);

/* task is NULL for a group's service. */
struct job_service_owner {
    const steppe_Job *job;
    const steppe_TaskGroup *group;
    const steppe_Task *task;
};
void job_service_defaults(steppe_Service *s, const struct job_service_owner *owner);

/* ---- What a server does beyond; after the defaults ---- */

void job_service_store(steppe_Service *s, const struct job_service_owner *owner);
void job_resources_store(steppe_Resources *r);
void job_config_store(char **config); /* an empty object is none */
