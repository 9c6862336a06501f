/* SPDX-License-Identifier: MPL-2.0 */
/* The simulated disk as the log's file operations. */
#pragma once

#include "sim/sim_disk.h"
#include "wal_fs.h"

struct wal_fs sim_wal_fs(struct sim_disk *d);
