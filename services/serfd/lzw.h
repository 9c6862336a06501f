/* SPDX-License-Identifier: MPL-2.0 */
/*
 * LZW as memberlist's "compress" wrapper has it (gossip-wire.md 4.2): least significant bit first,
 * literal width 8, codes of 9 to 12 bits.
 */
#pragma once

#include "base/base.h"
#include "base/strbuf.h"

/* Appends the decoded bytes to out. -EBADMSG on broken input, -E2BIG over out_max bytes. */
int lzw_decode(const uint8_t *in, size_t len, size_t out_max, struct strbuf *out);
/* Appends the code of `in`, the same bytes as Go's encoder makes. It may be longer than `in`. */
void lzw_encode(const uint8_t *in, size_t len, struct strbuf *out);
