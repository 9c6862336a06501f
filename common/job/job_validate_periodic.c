/* SPDX-License-Identifier: MPL-2.0 */
/* Validation of periodic launches: the shape of a cron line. */
#include <ctype.h>
#include <string.h>

#include "job_validate.h"

static const char *cron_error(const char *spec)
{
    static const char *const names[] = {"@annually", "@yearly", "@monthly", "@weekly",
                                        "@daily",    "@hourly", NULL};
    size_t fields = 0, n, i;
    const char *const *name;

    for (name = names; *name; name++)
        if (strcmp(spec, *name) == 0)
            return NULL;
    while (*spec) {
        spec += strspn(spec, " \t");
        n = strcspn(spec, " \t");
        if (n)
            fields++;
        for (i = 0; i < n; i++)
            if (!isalnum((unsigned char)spec[i]) && !strchr("*,-/?#", spec[i]))
                return "syntax error in field";
        spec += n;
    }
    return fields < 5 ? "missing field(s)" : fields > 7 ? "too many fields" : NULL;
}

void job_periodic_validate(const steppe_PeriodicConfig *p, struct job_errors *e)
{
    const char *why;

    if (job_text_empty(p->spec))
        job_errors_add(e, "Must specify a spec");
    if (job_text_is(p->spec_type, "cron")) {
        why = cron_error(job_text(p->spec));
        if (why)
            job_errors_add(e, "Invalid cron spec %s: %s", JOB_QUOTE(p->spec), why);
    } else if (!job_text_is(p->spec_type, "_internal_test")) {
        job_errors_add(e, "Unknown periodic specification type %s", JOB_QUOTE(p->spec_type));
    }
}
