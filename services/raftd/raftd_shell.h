/* SPDX-License-Identifier: MPL-2.0 */
#pragma once

#include "svc/svc.h"

int raftd_init(struct svc_ctx *ctx, struct errtext *e);
void raftd_stop(struct svc_ctx *ctx);
void raftd_fini(struct svc_ctx *ctx);
