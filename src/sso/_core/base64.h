/* Base64 (RFC 4648 section 4), strict and canonical: kernels for whole groups, and one choice among them.
 *
 * A kernel takes whole groups from `in` and stops at the first incomplete group or, when it decodes, at the first
 * group with a byte outside the alphabet; so the caller need not search for the end of the line. It returns how
 * many bytes it took. A decoder may write up to B64_SLACK bytes after its result, with parts of the result in
 * them: wipe them too.
 */
#ifndef SSO_BASE64_H
#define SSO_BASE64_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define B64_SLACK 64

typedef struct {
    const char *name;
    size_t (*decode)(const uint8_t *in, size_t size, uint8_t *out);
    size_t (*encode)(const uint8_t *in, size_t size, uint8_t *out);
} b64_kernel;

static const uint8_t b64_letters[64] __attribute__((unused))
    = { 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P', 'Q', 'R', 'S', 'T', 'U', 'V',
        'W', 'X', 'Y', 'Z', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r',
        's', 't', 'u', 'v', 'w', 'x', 'y', 'z', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '+', '/' };
/* The value of each ASCII byte, or N outside the alphabet. Only for look-ups inside registers. */
#define N 0x80
static const uint8_t b64_values[128] __attribute__((unused)) = {
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    N, N, N, N, N, N, N, N, N, N, N, 62, N, N, N, 63,
    52, 53, 54, 55, 56, 57, 58, 59, 60, 61, N, N, N, N, N, N,
    N, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
    15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, N, N, N, N, N,
    N, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
    41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, N, N, N, N, N,
};
#undef N

#include "base64_scalar.h"
#include "registers.h"
#if defined(__x86_64__)
#include "base64_avx2.h"
#include "base64_avx512.h"
#elif defined(__aarch64__)
#include "base64_neon.h"
#endif

static b64_kernel b64_kernels[4]; /* those that run on this CPU, best first; then one without a name */

/* Fill b64_kernels; call this once, before any other function. */
static void b64_find_kernels(void)
{
    b64_kernel *next = b64_kernels;
    registers_find();
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("bmi"))
        *next++ = (b64_kernel){ "avx512", b64_decode_avx512, b64_encode_avx512 };
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"))
        *next++ = (b64_kernel){ "avx2", b64_decode_avx2, b64_encode_avx2 };
#elif defined(__aarch64__)
    *next++ = (b64_kernel){ "neon", b64_decode_neon, b64_encode_neon };
#endif
    *next = (b64_kernel){ "scalar", b64_decode_scalar, b64_encode_scalar };
}

/* The decoder's state between the pieces of a secret: it carries at most three characters. */
typedef struct {
    uint32_t carry; /* the bits of the carried characters */
    int count;      /* how many characters are carried */
    int pads;
    int bad;
} b64_decoder;

/* Decode one character; return 0 if it is outside the alphabet. */
static inline int b64_take(b64_decoder *d, uint8_t c, uint8_t *out, size_t *written)
{
    int value = b64_value(c);
    if (value < 0)
        return 0;
    d->carry = d->carry << 6 | (uint32_t)value;
    if (++d->count == 4) {
        out += *written;
        out[0] = (uint8_t)(d->carry >> 16);
        out[1] = (uint8_t)(d->carry >> 8);
        out[2] = (uint8_t)d->carry;
        *written += 3;
        d->carry = 0;
        d->count = 0;
    }
    return 1;
}

/* Decode up to the first byte outside the alphabet; return how many characters were decoded. `out` needs room
 * for the result and B64_SLACK bytes more. */
static inline size_t b64_decode(const b64_kernel *kernel, b64_decoder *d, const uint8_t *in, size_t size,
                                uint8_t *out, size_t *written)
{
    size_t at = 0;
    while (d->count && at < size) {
        if (!b64_take(d, in[at], out, written))
            return at;
        at++;
    }
    if (size - at >= 4) {
        size_t taken = kernel->decode(in + at, size - at, out + *written);
        *written += taken / 4 * 3;
        at += taken;
    }
    while (at < size && b64_take(d, in[at], out, written))
        at++;
    registers_clear();
    return at;
}

/* Decode the last group: it must be complete with its padding, and its unused bits must be zero. */
static inline void b64_finish(b64_decoder *d, uint8_t *out, size_t *written)
{
    int spare = d->count == 2 ? 4 : 2;
    if (d->count == 0) {
        d->bad |= d->pads != 0;
    } else if (d->count == 1 || d->count + d->pads != 4 || d->carry & ((1u << spare) - 1)) {
        d->bad = 1;
    } else {
        d->carry >>= spare;
        if (d->count == 3)
            out[(*written)++] = (uint8_t)(d->carry >> 8);
        out[(*written)++] = (uint8_t)d->carry;
    }
    d->carry = 0;
}

/* Encode all of `in`, with padding, as (size + 2) / 3 * 4 characters. */
static inline void b64_encode(const b64_kernel *kernel, const uint8_t *in, size_t size, uint8_t *out)
{
    size_t at = kernel->encode(in, size, out);
    uint32_t bits;
    registers_clear();
    if (at == size)
        return;
    out += at / 3 * 4;
    bits = (uint32_t)in[at] << 16 | (size - at == 2 ? (uint32_t)in[at + 1] << 8 : 0);
    out[0] = b64_character((int)(bits >> 18 & 63));
    out[1] = b64_character((int)(bits >> 12 & 63));
    out[2] = size - at == 2 ? b64_character((int)(bits >> 6 & 63)) : '=';
    out[3] = '=';
}

#endif
