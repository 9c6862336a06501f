/* SPDX-License-Identifier: MPL-2.0 */
/* What the files of validation share. Inside common/job only. Each adds what is wrong to e. */
#pragma once

#include "job.h"
#include "job.pb.h"
#include "job_errors.h"

bool job_text_is(const char *a, const char *b); /* NULL is "" */
static inline bool job_text_empty(const char *s)
{
    return !s || !*s;
}
static inline const char *job_text(const char *s)
{
    return s ? s : "";
}

/* job_validate_rules.c: objects that stand by themselves */
void job_constraint_validate(const steppe_Constraint *c, struct job_errors *e);
void job_affinity_validate(const steppe_Affinity *a, struct job_errors *e);
void job_spread_validate(const steppe_Spread *s, struct job_errors *e);
void job_update_validate(const steppe_UpdateStrategy *u, struct job_errors *e);
void job_restart_validate(const steppe_RestartPolicy *r, struct job_errors *e);
void job_migrate_validate(const steppe_MigrateStrategy *m, struct job_errors *e);
void job_volume_validate(const steppe_VolumeRequest *v, int canaries, struct job_errors *e);
/* job_validate_reschedule.c */
void job_reschedule_validate(const steppe_ReschedulePolicy *r, struct job_errors *e);
/* job_validate_periodic.c */
void job_periodic_validate(const steppe_PeriodicConfig *p, job_zone_fn *zone, struct job_errors *e);

/* The lists that jobs, groups, tasks and devices all have, each error as "Constraint N ...". */
void job_constraints_validate(const steppe_Constraint *c, size_t n, struct job_errors *e);
void job_affinities_validate(const steppe_Affinity *a, size_t n, bool system, struct job_errors *e);
void job_spreads_validate(const steppe_Spread *s, size_t n, bool system, struct job_errors *e);

/* job_validate_service.c */
void job_service_validate(const steppe_Service *s, struct job_errors *e);
void job_group_services_validate(const steppe_TaskGroup *g, struct job_errors *e);
void job_script_checks_validate(const steppe_TaskGroup *g, struct job_errors *e);
void job_task_services_validate(const steppe_Task *t, const steppe_TaskGroup *g,
                                struct job_errors *e);
/* job_validate_gateway.c */
void job_gateway_validate(const steppe_ConsulGateway *g, struct job_errors *e);
/* job_validate_task.c */
void job_task_validate(const steppe_Task *t, const steppe_TaskGroup *g, bool system,
                       struct job_errors *e);
/* job_validate_group.c */
void job_group_validate(const steppe_TaskGroup *g, const steppe_Job *job, struct job_errors *e);
