/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Versions as the operands `version` and `semver` compare them: the rules of the Go library
 * go-version that Nomad uses, so `~>` and pre-releases mean the same here.
 */
#pragma once

#include "base/base.h"

enum sched_version_kind {
    SCHED_VERSION_LENIENT, /* `version`: pre-releases match only their own version; has ~> */
    SCHED_VERSION_SEMVER,  /* `semver`: pre-releases are ordered before their version; no ~> */
};

/*
 * Does a version satisfy a list of constraints like ">= 1.2, < 2"? Also false when one of the two
 * is malformed.
 */
bool sched_version_matches(enum sched_version_kind kind, const char *version,
                           const char *constraints);
