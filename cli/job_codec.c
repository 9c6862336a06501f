/* SPDX-License-Identifier: MPL-2.0 */
/* The job codec behind texts. */
#include "job_codec.h"

#include <errno.h>

#include "base/strbuf.h"
#include "base/zone.h"
#include "job.json.h"
#include "job.pb.h"
#include "job/job.h"
#include "json/json.h"

int job_codec_complete(const char *text, size_t len, char **ret, struct errtext *e)
{
    _cleanup_(strbuf_fini) struct strbuf full = STRBUF_INIT;
    steppe_Job job = steppe_Job_init_zero;
    int r;

    if (json_decode(&steppe_Job_json, text, len, &job, e) < 0)
        return -EINVAL;
    r = json_encode(&steppe_Job_json, &job, JSON_VIEW_API, &full);
    json_release(&steppe_Job_json, &job);
    if (r < 0)
        return err_set(e, -EINVAL, "the job is too large");
    *ret = strbuf_take(&full);
    return 0;
}

int job_codec_check(const char *text, size_t len, char **ret_error, char **ret_warnings,
                    struct errtext *e)
{
    struct strbuf error = STRBUF_INIT, warnings = STRBUF_INIT;
    steppe_Job job = steppe_Job_init_zero;

    if (json_decode(&steppe_Job_json, text, len, &job, e) < 0)
        return -EINVAL;
    job_canonicalize(&job);
    if (!job_validate(&job, zone_check, &error))
        assert(error.len > 0);
    job_warnings(&job, true, &warnings);
    *ret_error = strbuf_take(&error);
    *ret_warnings = strbuf_take(&warnings);
    json_release(&steppe_Job_json, &job);
    return 0;
}
