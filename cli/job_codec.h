/* SPDX-License-Identifier: MPL-2.0 */
/* The codecs of the API's objects behind texts: jansson's and common/json's names exclude each
 * other in one file. */
#pragma once

#include "base/base.h"
#include "base/err.h"

/*
 * A job's JSON with only what was set to the JSON with all fields, in the order and with the nulls
 * of Nomad's client. *ret is malloc'ed. -EINVAL with a text in e.
 */
int job_codec_complete(const char *text, size_t len, char **ret, struct errtext *e);

/* An object of the API. */
enum api_object { API_JOB, API_ALLOC, API_EVAL };

/* As Nomad's client prints what a server answered: with all fields, empty ones too. As above. */
int api_codec_view(enum api_object what, const char *text, size_t len, char **ret,
                   struct errtext *e);

/*
 * Validates a job as a server would, without one. *ret_error is "" when the job is good,
 * *ret_warnings when there is nothing to warn of; both are malloc'ed. -EINVAL with a text in e when
 * text is no job.
 */
int job_codec_check(const char *text, size_t len, char **ret_error, char **ret_warnings,
                    struct errtext *e);
