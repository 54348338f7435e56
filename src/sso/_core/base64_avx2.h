/* Base64, 32 characters at a time, for x86-64 with AVX2. All look-ups are in registers. */
#ifndef SSO_BASE64_AVX2_H
#define SSO_BASE64_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define B64_AVX2 __attribute__((target("avx2,bmi")))

/* One bit for each group of upper nibbles with the same valid lower nibbles: 2 (+ and /), 3 (digits),
 * 4 and 6 (letters from A on), 5 and 7 (letters up to Z), and the nibbles without any character. */
enum { B64_SIGNS = 1, B64_DIGITS = 2, B64_FIRST = 4, B64_LAST = 8, B64_NONE = 16 };

static inline B64_AVX2 __m256i b64_both(__m128i half) { return _mm256_broadcastsi128_si256(half); }

/* Return the values of 32 characters; `odd` is not zero where one is outside the alphabet. */
static inline B64_AVX2 __m256i b64_values_avx2(__m256i c, __m256i *odd)
{
    enum { N = B64_NONE, D = N | B64_LAST | B64_DIGITS };
    const __m256i kinds = b64_both(_mm_setr_epi8(N, N, B64_SIGNS, B64_DIGITS, B64_FIRST, B64_LAST, B64_FIRST,
                                                 B64_LAST, N, N, N, N, N, N, N, N));
    /* for each lower nibble: the groups that do not contain it */
    const __m256i lacking = b64_both(_mm_setr_epi8(
        N | B64_SIGNS | B64_FIRST, N | B64_SIGNS, N | B64_SIGNS, N | B64_SIGNS, N | B64_SIGNS, N | B64_SIGNS,
        N | B64_SIGNS, N | B64_SIGNS, N | B64_SIGNS, N | B64_SIGNS, N | B64_SIGNS | B64_DIGITS, D, D | B64_SIGNS,
        D | B64_SIGNS, D | B64_SIGNS, D));
    /* what to add, by upper nibble; the entry of "/" is one before that of "+" */
    const __m256i shifts = b64_both(_mm_setr_epi8(0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0));
    /* a look-up uses the low four bits if the highest bit is clear, so the mask 0x2F works like 0x0F */
    const __m256i slash = _mm256_set1_epi8(0x2F);
    __m256i upper = _mm256_and_si256(_mm256_srli_epi32(c, 4), slash), lower = _mm256_and_si256(c, slash);
    *odd = _mm256_and_si256(_mm256_shuffle_epi8(kinds, upper), _mm256_shuffle_epi8(lacking, lower));
    return _mm256_add_epi8(
        c, _mm256_shuffle_epi8(shifts, _mm256_add_epi8(upper, _mm256_cmpeq_epi8(c, slash))));
}

/* Pack 32 values of 6 bits into 24 bytes; the 8 bytes after them are zero. */
static inline B64_AVX2 __m256i b64_pack_avx2(__m256i values)
{
    const __m256i order
        = b64_both(_mm_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1));
    __m256i pairs = _mm256_maddubs_epi16(values, _mm256_set1_epi32(0x01400140));
    __m256i groups = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00011000));
    groups = _mm256_shuffle_epi8(groups, order);
    return _mm256_permutevar8x32_epi32(groups, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7));
}

static B64_AVX2 size_t b64_decode_avx2(const uint8_t *in, size_t size, uint8_t *out)
{
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    size_t at;
    for (at = 0; at + 4 <= size; at += 32) {
        size_t left = size - at;
        __m256i c, odd;
        if (left >= 32) {
            c = _mm256_loadu_si256((const __m256i *)(in + at));
        } else { /* whole groups only; masked bytes are zero, which is outside the alphabet */
            __m256i there = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(left / 4)), lanes);
            c = _mm256_maskload_epi32((const int *)(in + at), there);
        }
        _mm256_storeu_si256((__m256i *)(out + at / 4 * 3), b64_pack_avx2(b64_values_avx2(c, &odd)));
        if (!_mm256_testz_si256(odd, odd)) {
            odd = _mm256_cmpeq_epi8(odd, _mm256_setzero_si256());
            at += _tzcnt_u32(~(uint32_t)_mm256_movemask_epi8(odd)) & ~3u;
            break;
        }
    }
    return at;
}

/* Return the characters of 32 values: saturated subtraction finds the range, which decides what to add. */
static inline B64_AVX2 __m256i b64_characters_avx2(__m256i values)
{
    const __m256i shifts = b64_both(_mm_setr_epi8(65, 71, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -19, -16, 0, 0));
    __m256i range = _mm256_subs_epu8(values, _mm256_set1_epi8(51));
    __m256i lower = _mm256_cmpgt_epi8(values, _mm256_set1_epi8(25));
    return _mm256_add_epi8(values, _mm256_shuffle_epi8(shifts, _mm256_sub_epi8(range, lower)));
}

static B64_AVX2 size_t b64_encode_avx2(const uint8_t *in, size_t size, uint8_t *out)
{
    const __m256i order = b64_both(_mm_setr_epi8(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10));
    size_t at;
    for (at = 0; at + 28 <= size; at += 24) {
        __m128i first = _mm_loadu_si128((const __m128i *)(in + at));
        __m128i second = _mm_loadu_si128((const __m128i *)(in + at + 12));
        __m256i groups = _mm256_shuffle_epi8(_mm256_set_m128i(second, first), order);
        __m256i odd = _mm256_mulhi_epu16(_mm256_and_si256(groups, _mm256_set1_epi32(0x0FC0FC00)),
                                         _mm256_set1_epi32(0x04000040));
        __m256i even = _mm256_mullo_epi16(_mm256_and_si256(groups, _mm256_set1_epi32(0x003F03F0)),
                                          _mm256_set1_epi32(0x01000010));
        _mm256_storeu_si256((__m256i *)(out + at / 3 * 4), b64_characters_avx2(_mm256_or_si256(odd, even)));
    }
    return at + b64_encode_scalar(in + at, size - at, out + at / 3 * 4);
}

#endif
