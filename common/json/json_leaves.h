/* SPDX-License-Identifier: MPL-2.0 */
#pragma once

/*
 * Calls fn for each string, number, true, false and null ("nil") of a canonical JSON text, in
 * order, with its path ("a", "a[b]", "a[b][0]") and its value as Go prints it; both are the
 * callee's for the time of the call. 0; -EBADMSG or -EMSGSIZE for a text that is none or too deep,
 * after what stands before that place.
 */
typedef void json_leaf_fn(void *ctx, const char *path, const char *value);
int json_leaves(const char *text, json_leaf_fn *fn, void *ctx);
