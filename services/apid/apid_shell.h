/* SPDX-License-Identifier: MPL-2.0 */
#pragma once

#include "svc/svc.h"

int apid_init(struct svc_ctx *ctx, struct errtext *e);
void apid_fini(struct svc_ctx *ctx);
