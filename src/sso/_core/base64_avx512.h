/* Base64, 64 characters at a time, for x86-64 with AVX-512 VBMI: one look-up in two registers covers the
 * whole alphabet, and masks limit loads and stores at the end. */
#ifndef SSO_BASE64_AVX512_H
#define SSO_BASE64_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define B64_AVX512 __attribute__((target("avx512f,avx512bw,avx512vbmi,bmi")))

/* Positions of the groups' bytes, in order, in a block (0 to 63) and in the block after it (from 64 on). Loads
 * from index 0, 16 and 32 fill three registers from four blocks; the one at 0 also packs a single block. */
static const uint8_t b64_order_avx512[96] = {
    2,   1,   0,   6,   5,   4,   10,  9,   8,   14,  13,  12,  18,  17,  16,  22,  21,  20,  26,  25,  24,  30,  29,  28,
    34,  33,  32,  38,  37,  36,  42,  41,  40,  46,  45,  44,  50,  49,  48,  54,  53,  52,  58,  57,  56,  62,  61,  60,
    66,  65,  64,  70,  69,  68,  74,  73,  72,  78,  77,  76,  82,  81,  80,  86,  85,  84,  90,  89,  88,  94,  93,  92,
    98,  97,  96,  102, 101, 100, 106, 105, 104, 110, 109, 108, 114, 113, 112, 118, 117, 116, 122, 121, 120, 126, 125, 124,
};
static const uint8_t b64_spread_avx512[64] = {
    1,  0,  2,  1,  4,  3,  5,  4,  7,  6,  8,  7,  10, 9,  11, 10, 13, 12, 14, 13, 16, 15,
    17, 16, 19, 18, 20, 19, 22, 21, 23, 22, 25, 24, 26, 25, 28, 27, 29, 28, 31, 30, 32, 31,
    34, 33, 35, 34, 37, 36, 38, 37, 40, 39, 41, 40, 43, 42, 44, 43, 46, 45, 47, 46,
};

/* Turn 64 characters into 16 groups of 24 bits; `odd` gets the highest bit of each that is not in the alphabet. */
static inline B64_AVX512 __m512i b64_groups_avx512(__m512i c, __m512i low, __m512i high, __m512i *odd)
{
    __m512i values;
    __asm__("" : "+v"(c)); /* keep it in its register: loading it again costs more than all the rest */
    values = _mm512_permutex2var_epi8(low, c, high);
    *odd = _mm512_ternarylogic_epi64(*odd, values, c, 0xFE); /* the bitwise OR of all three */
    values = _mm512_maddubs_epi16(values, _mm512_set1_epi32(0x01400140));
    return _mm512_madd_epi16(values, _mm512_set1_epi32(0x00011000));
}

static B64_AVX512 size_t b64_decode_avx512(const uint8_t *in, size_t size, uint8_t *out)
{
    const __m512i low = _mm512_loadu_si512(b64_values), high = _mm512_loadu_si512(b64_values + 64);
    const __m512i first = _mm512_loadu_si512(b64_order_avx512), second = _mm512_loadu_si512(b64_order_avx512 + 16),
                  third = _mm512_loadu_si512(b64_order_avx512 + 32);
    const __mmask64 all = ~(__mmask64)0;
    __m512i odd = _mm512_setzero_si512(), a, b, c, d;
    size_t at = 0;
    for (; at + 256 <= size; at += 256) {
        uint8_t *to = out + at / 4 * 3;
        a = b64_groups_avx512(_mm512_loadu_si512(in + at), low, high, &odd);
        b = b64_groups_avx512(_mm512_loadu_si512(in + at + 64), low, high, &odd);
        c = b64_groups_avx512(_mm512_loadu_si512(in + at + 128), low, high, &odd);
        d = b64_groups_avx512(_mm512_loadu_si512(in + at + 192), low, high, &odd);
        if (_mm512_movepi8_mask(odd))
            break; /* the loop below finds its place */
        _mm512_storeu_si512(to, _mm512_permutex2var_epi8(a, first, b));
        _mm512_storeu_si512(to + 64, _mm512_permutex2var_epi8(b, second, c));
        _mm512_storeu_si512(to + 128, _mm512_permutex2var_epi8(c, third, d));
    }
    while (at + 4 <= size) { /* masked bytes are zero, which is outside the alphabet */
        size_t left = size - at, good;
        odd = _mm512_setzero_si512();
        a = _mm512_maskz_loadu_epi8(left >= 64 ? all : all >> (64 - left), in + at);
        a = b64_groups_avx512(a, low, high, &odd);
        good = _tzcnt_u64(_mm512_movepi8_mask(odd)) & ~(size_t)3;
        _mm512_mask_storeu_epi8(out + at / 4 * 3, ((__mmask64)1 << good / 4 * 3) - 1, _mm512_permutexvar_epi8(first, a));
        at += good;
        if (good < 64)
            break;
    }
    return at;
}

static B64_AVX512 size_t b64_encode_avx512(const uint8_t *in, size_t size, uint8_t *out)
{
    const __m512i spread = _mm512_loadu_si512(b64_spread_avx512), letters = _mm512_loadu_si512(b64_letters);
    const __m512i shifts = _mm512_set1_epi64(0x3036242A1016040A); /* where the 6 bits begin, for each byte */
    size_t at;
    for (at = 0; at + 3 <= size; at += 48) {
        size_t left = size - at, groups = left >= 48 ? 16 : left / 3;
        __mmask64 there = ((__mmask64)1 << 3 * groups) - 1;
        __m512i octets = _mm512_permutexvar_epi8(spread, _mm512_maskz_loadu_epi8(there, in + at));
        /* VPERMB uses only the lowest six bits of an index, so the others need not be cleared */
        octets = _mm512_permutexvar_epi8(_mm512_multishift_epi64_epi8(shifts, octets), letters);
        _mm512_mask_storeu_epi8(out + at / 3 * 4, ~(__mmask64)0 >> (64 - 4 * groups), octets);
        if (groups < 16)
            return at + 3 * groups;
    }
    return at;
}

#endif
