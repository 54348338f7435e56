/* Base64 without vector instructions and without tables: values are computed, so that no address and no
 * branch depends on a secret. */
#ifndef SSO_BASE64_SCALAR_H
#define SSO_BASE64_SCALAR_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define B64_CLASSIFIED 32 /* characters that are classified at once */

/* Clear the registers that a function used, if the compiler can: code that saves registers later would write parts
 * of a secret to the stack. */
#if defined(__has_attribute) && __has_attribute(zero_call_used_regs)
#define B64_FORGETS __attribute__((noinline, zero_call_used_regs("used")))
#else
#define B64_FORGETS __attribute__((noinline))
#endif

/* Return 0-63 for a character of the alphabet, else a negative value: a mask per range selects what to add. */
static inline int b64_value(int c)
{
    int v = -1;
    v += (((0x40 - c) & (c - 0x5B)) >> 8) & (c - 0x40);
    v += (((0x60 - c) & (c - 0x7B)) >> 8) & (c - 0x46);
    v += (((0x2F - c) & (c - 0x3A)) >> 8) & (c + 5);
    v += (((0x2A - c) & (c - 0x2C)) >> 8) & 63;
    v += (((0x2E - c) & (c - 0x30)) >> 8) & 64;
    return v;
}

/* Return the character for 0-63; the inverse of b64_value. */
static inline uint8_t b64_character(int v)
{
    int c = v + 0x41;
    c += ((25 - v) >> 8) & 6;
    c -= ((51 - v) >> 8) & 75;
    c -= ((61 - v) >> 8) & 15;
    c += ((62 - v) >> 8) & 3;
    return (uint8_t)c;
}

/* Decode groups of four, one at a time, up to the first that is incomplete or outside the alphabet. */
static inline size_t b64_decode_groups(const uint8_t *in, size_t size, uint8_t *out)
{
    size_t at;
    for (at = 0; at + 4 <= size; at += 4, out += 3) {
        int a = b64_value(in[at]), b = b64_value(in[at + 1]), c = b64_value(in[at + 2]), d = b64_value(in[at + 3]);
        uint32_t bits;
        if ((a | b | c | d) < 0)
            break;
        bits = (uint32_t)(a << 18 | b << 12 | c << 6 | d);
        out[0] = (uint8_t)(bits >> 16);
        out[1] = (uint8_t)(bits >> 8);
        out[2] = (uint8_t)bits;
    }
    return at;
}

/* Compute the values of a block; return 0 if one is outside the alphabet. Compilers vectorize this loop. */
static inline int b64_classify(const uint8_t *in, uint8_t *values)
{
    uint8_t bad = 0;
    for (int i = 0; i < B64_CLASSIFIED; i++) {
        uint8_t c = in[i];
        uint8_t upper = (uint8_t)-((uint8_t)(c - 0x41) < 26), lower = (uint8_t)-((uint8_t)(c - 0x61) < 26);
        uint8_t digit = (uint8_t)-((uint8_t)(c - 0x30) < 10);
        uint8_t plus = (uint8_t)-(c == 0x2B), slash = (uint8_t)-(c == 0x2F);
        values[i] = (uint8_t)((upper & (c - 0x41)) | (lower & (c - 0x47)) | (digit & (c + 4)) | (plus & 62)
                              | (slash & 63));
        bad |= (uint8_t)~(upper | lower | digit | plus | slash);
    }
    return bad == 0;
}

/* Pack four values of 6 bits into 3 bytes; eight values at a time in one 64-bit number. */
static inline void b64_pack(const uint8_t *values, uint8_t *out)
{
    for (int i = 0; i < B64_CLASSIFIED / 8; i++) {
        uint64_t v;
        memcpy(&v, values + 8 * i, 8);
        v = be64toh(v);
        v = ((v >> 2) & 0x0FC00FC00FC00FC0u) | (v & 0x003F003F003F003Fu);
        v = ((v >> 4) & 0x00FFF00000FFF000u) | (v & 0x00000FFF00000FFFu);
        v = ((v >> 8) & 0x0000FFFFFF000000u) | (v & 0x0000000000FFFFFFu);
        v = htobe64(v << 16);
        memcpy(out + 6 * i, &v, 8);
    }
}

static B64_FORGETS size_t b64_decode_blocks(const uint8_t *in, size_t size, uint8_t *out, uint8_t *values)
{
    size_t at = 0;
    while (at + B64_CLASSIFIED <= size && b64_classify(in + at, values)) {
        b64_pack(values, out + at / 4 * 3);
        at += B64_CLASSIFIED;
    }
    return at + b64_decode_groups(in + at, size - at, out + at / 4 * 3);
}

static size_t b64_decode_scalar(const uint8_t *in, size_t size, uint8_t *out)
{
    uint8_t values[B64_CLASSIFIED];
    size_t taken = b64_decode_blocks(in, size, out, values);
    explicit_bzero(values, sizeof values);
    return taken;
}

static size_t b64_encode_scalar(const uint8_t *in, size_t size, uint8_t *out)
{
    size_t at;
    for (at = 0; at + 3 <= size; at += 3, out += 4) {
        uint32_t bits = (uint32_t)in[at] << 16 | (uint32_t)in[at + 1] << 8 | in[at + 2];
        for (int i = 0; i < 4; i++)
            out[i] = b64_character((int)(bits >> (18 - 6 * i) & 63));
    }
    return at;
}

#endif
