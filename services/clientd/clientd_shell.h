/* SPDX-License-Identifier: MPL-2.0 */
#pragma once

#include "svc/svc.h"

int clientd_init(struct svc_ctx *ctx, struct errtext *e);
void clientd_reload(struct svc_ctx *ctx, const struct conf *conf);
void clientd_stop(struct svc_ctx *ctx);
void clientd_fini(struct svc_ctx *ctx);
