/* SPDX-License-Identifier: MPL-2.0 */
/* The parts of sim_serfd. */
#pragma once

#include "sim_pool.h"

/*
 * How long things take in pools of nine, and false alarms: so many runs on days of each kind. Exits
 * with 1 when it is worse than promised.
 */
void sim_figures(size_t runs);
/* One large pool: detection and cost beside the formulas of gossip-wire.md. */
void sim_large(unsigned members);
