/* SPDX-License-Identifier: MPL-2.0 */
/* The parts of sim_serfd. */
#pragma once

#include "sim_pool.h"

/* How long things take in a pool of nine; exits with 1 when that is longer than promised. */
void sim_figures(void);
/* One large pool: detection and cost beside the formulas of gossip-wire.md. */
void sim_large(unsigned members);
