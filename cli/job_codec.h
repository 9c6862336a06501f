/* SPDX-License-Identifier: MPL-2.0 */
/* The job codec behind texts: jansson's and common/json's names exclude each other in one file. */
#pragma once

#include "base/base.h"
#include "base/err.h"

/*
 * A job's JSON with only what was set to the JSON with all fields, in the order and with the nulls
 * of Nomad's client. *ret is malloc'ed. -EINVAL with a text in e.
 */
int job_codec_complete(const char *text, size_t len, char **ret, struct errtext *e);
