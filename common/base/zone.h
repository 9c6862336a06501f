/* SPDX-License-Identifier: MPL-2.0 */
/* Names of time zones. */
#pragma once

#include "base/err.h"

/*
 * Whether the system's database (Debian: package tzdata) has a zone of that name; "" and "UTC" are
 * always there, "Local" is the machine's own. Only files below the database's folder are looked at.
 * 0, or below 0 with the reason in the words of Go's time.LoadLocation().
 */
int zone_check(const char *name, struct errtext *e);
