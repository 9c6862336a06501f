/* SPDX-License-Identifier: MPL-2.0 */
/* What the files of canonicalization share. Inside common/job only. */
#pragma once

#include "base/base.h"
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

/*
 * An unset string becomes value. Where value is "", set and unset are the same, and unset is the
 * canonical one; else an explicit "" stays, so that a second pass does not replace it.
 */
void job_string_default(char **s, const char *value);
void job_string_clear(char **s);

void job_resources_defaults(steppe_Resources *r);
void job_log_defaults(steppe_LogConfig *l);

/* task is NULL for a group's service. */
struct job_service_owner {
    const steppe_Job *job;
    const steppe_TaskGroup *group;
    const steppe_Task *task;
};
void job_service_canonicalize(steppe_Service *s, const struct job_service_owner *owner);
