/* SPDX-License-Identifier: MPL-2.0 */
#include "base/prng.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

void prng_seed(struct prng *p, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        p->s[i] = z ^ (z >> 31);
    }
}

uint64_t prng_u64(struct prng *p)
{
    uint64_t *s = p->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t prng_below(struct prng *p, uint64_t n)
{
    assert(n > 0);
    return (uint64_t)(((unsigned __int128)prng_u64(p) * n) >> 64);
}

double prng_double(struct prng *p)
{
    return (double)(prng_u64(p) >> 11) * 0x1.0p-53;
}

void random_bytes(void *buf, size_t n)
{
    char *p = buf;

    while (n > 0) {
        ssize_t r = getrandom(p, n, 0);

        if (r <= 0)
            abort();
        p += r;
        n -= (size_t)r;
    }
}

uint64_t random_u64(void)
{
    uint64_t v;

    random_bytes(&v, sizeof(v));
    return v;
}

static void uuid_format(const uint8_t raw[static 16], char out[static UUID_TEXT_LEN + 1])
{
    static const char hex[] = "0123456789abcdef";
    char *p = out;

    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = hex[raw[i] >> 4];
        *p++ = hex[raw[i] & 15];
    }
    *p = 0;
}

static void uuid_stamp(uint8_t raw[static 16])
{
    raw[6] = (uint8_t)((raw[6] & 0x0f) | 0x40);
    raw[8] = (uint8_t)((raw[8] & 0x3f) | 0x80);
}

void uuid_make(char out[static UUID_TEXT_LEN + 1])
{
    uint8_t raw[16];

    random_bytes(raw, sizeof(raw));
    uuid_stamp(raw);
    uuid_format(raw, out);
}

void uuid_from_prng(struct prng *p, char out[static UUID_TEXT_LEN + 1])
{
    uint64_t v[2] = {prng_u64(p), prng_u64(p)};
    uint8_t raw[16];

    memcpy(raw, v, sizeof(raw));
    uuid_stamp(raw);
    uuid_format(raw, out);
}

bool uuid_valid(const char *s)
{
    for (int i = 0; i < UUID_TEXT_LEN; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        char c = s[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');

        if (dash ? c != '-' : !hex)
            return false;
    }
    return s[UUID_TEXT_LEN] == 0;
}
