/* SPDX-License-Identifier: MPL-2.0 */
#pragma once

#include "svc/svc.h"

int schedd_init(struct svc_ctx *ctx, struct errtext *e);
void schedd_stop(struct svc_ctx *ctx);
void schedd_fini(struct svc_ctx *ctx);
