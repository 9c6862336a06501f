/* SPDX-License-Identifier: MPL-2.0 */
/* Looking at members as serfd tells them (proto/member.proto). */
#pragma once

#include "base/base.h"
#include "member.pb.h"

/* The value of a tag, "" when the member has none of this name. Borrowed from m. */
const char *member_tag(const steppe_Member *m, const char *key);

/* Is its status this word ("alive", "leaving", "left", "failed")? */
bool member_has_status(const steppe_Member *m, const char *status);
