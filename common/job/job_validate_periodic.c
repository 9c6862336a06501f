/* SPDX-License-Identifier: MPL-2.0 */
/* Validation of periodic launches. */
#include "job.h"
#include "job_cron.h"
#include "job_validate.h"

void job_periodic_validate(const steppe_PeriodicConfig *p, job_zone_fn *zone, struct job_errors *e)
{
    struct errtext why;

    if (job_text_empty(p->spec))
        job_errors_add(e, "Must specify a spec");
    if (zone && !job_text_empty(p->time_zone) && zone(p->time_zone, &why) < 0)
        job_errors_add(e, "Invalid time zone %s: %s", JOB_QUOTE(p->time_zone), why.text);
    if (job_text_is(p->spec_type, "cron")) {
        if (job_cron_check(job_text(p->spec), &why) < 0)
            job_errors_add(e, "Invalid cron spec %s: %s", JOB_QUOTE(p->spec), why.text);
    } else if (!job_text_is(p->spec_type, "_internal_test")) {
        job_errors_add(e, "Unknown periodic specification type %s", JOB_QUOTE(p->spec_type));
    }
}
