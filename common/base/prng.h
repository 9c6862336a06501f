/* SPDX-License-Identifier: MPL-2.0 */
/*
 * xoshiro256** 1.0 (Blackman and Vigna, public domain algorithm), seeded by splitmix64. Not for
 * secrets: random_bytes() is.
 */
#pragma once

#include "base/base.h"

struct prng {
    uint64_t s[4];
};

/* The same seed gives the same numbers, on every machine. */
void prng_seed(struct prng *p, uint64_t seed);
uint64_t prng_u64(struct prng *p);
/* Uniform in [0, n); n > 0. */
uint64_t prng_below(struct prng *p, uint64_t n);
/* Uniform in [0, 1). */
double prng_double(struct prng *p);

/* Fills from the kernel; ends the process when that fails. */
void random_bytes(void *buf, size_t n);
uint64_t random_u64(void);

#define UUID_TEXT_LEN 36
/* A random (version 4) UUID as text. */
void uuid_make(char out[static UUID_TEXT_LEN + 1]);
/* Same, from the generator: for deterministic runs. */
void uuid_from_prng(struct prng *p, char out[static UUID_TEXT_LEN + 1]);
/* 36 characters, hex and dashes in their places. */
bool uuid_valid(const char *s);
