/* SPDX-License-Identifier: MPL-2.0 */
/* The codecs of jobs, allocations and evaluations behind texts. */
#include "job_codec.h"

#include <errno.h>

#include "alloc.json.h"
#include "alloc.pb.h"
#include "base/strbuf.h"
#include "base/zone.h"
#include "job.json.h"
#include "job.pb.h"
#include "job/job.h"
#include "json/json.h"

/* Reads an object of the API and writes it anew. */
static int codec_view(const struct json_type *type, size_t size, unsigned flags, const char *text,
                      size_t len, char **ret, struct errtext *e)
{
    _cleanup_(strbuf_fini) struct strbuf full = STRBUF_INIT;
    _cleanup_(freep) void *msg = xcalloc(1, size);
    int r;

    if (json_decode(type, text, len, msg, e) < 0)
        return -EINVAL;
    r = json_encode(type, msg, JSON_VIEW_API | flags, &full);
    json_release(type, msg);
    if (r < 0)
        return err_set(e, -EINVAL, "the answer is too large");
    *ret = strbuf_take(&full);
    return 0;
}

int job_codec_complete(const char *text, size_t len, char **ret, struct errtext *e)
{
    return codec_view(&steppe_Job_json, sizeof(steppe_Job), 0, text, len, ret, e);
}

int api_codec_view(enum api_object what, const char *text, size_t len, char **ret,
                   struct errtext *e)
{
    static const struct {
        const struct json_type *type;
        size_t size;
        unsigned flags;
    } types[] = {
        [API_JOB] = {&steppe_Job_json, sizeof(steppe_Job), 0},
        [API_ALLOC] = {&steppe_Allocation_json, sizeof(steppe_Allocation), JSON_KEEP_EMPTY},
        [API_EVAL] = {&steppe_Evaluation_json, sizeof(steppe_Evaluation), JSON_KEEP_EMPTY},
    };

    return codec_view(types[what].type, types[what].size, types[what].flags, text, len, ret, e);
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
