/* Base64, 64 characters at a time, for 64-bit ARM: NEON's own loads and stores interleave the groups. */
#ifndef SSO_BASE64_NEON_H
#define SSO_BASE64_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

static inline uint8x16x4_t b64_table_neon(const uint8_t *octets)
{
    uint8x16x4_t table;
    for (int i = 0; i < 4; i++)
        table.val[i] = vld1q_u8(octets + 16 * i);
    return table;
}

static B64_FORGETS size_t b64_decode_neon(const uint8_t *in, size_t size, uint8_t *out)
{
    const uint8x16x4_t low = b64_table_neon(b64_values), high = b64_table_neon(b64_values + 64);
    size_t at;
    for (at = 0; at + 64 <= size; at += 64) {
        uint8x16x4_t c = vld4q_u8(in + at), v;
        uint8x16_t bad = vdupq_n_u8(0);
        uint8x16x3_t octets;
        for (int i = 0; i < 4; i++) { /* an index outside a table yields zero */
            v.val[i] = vqtbx4q_u8(vqtbl4q_u8(low, c.val[i]), high, veorq_u8(c.val[i], vdupq_n_u8(0x40)));
            bad = vorrq_u8(bad, vorrq_u8(v.val[i], c.val[i]));
        }
        if (vmaxvq_u8(bad) & 0x80)
            break;
        octets.val[0] = vorrq_u8(vshlq_n_u8(v.val[0], 2), vshrq_n_u8(v.val[1], 4));
        octets.val[1] = vorrq_u8(vshlq_n_u8(v.val[1], 4), vshrq_n_u8(v.val[2], 2));
        octets.val[2] = vorrq_u8(vshlq_n_u8(v.val[2], 6), v.val[3]);
        vst3q_u8(out + at / 4 * 3, octets);
    }
    return at + b64_decode_scalar(in + at, size - at, out + at / 4 * 3);
}

static size_t b64_encode_neon(const uint8_t *in, size_t size, uint8_t *out)
{
    const uint8x16x4_t letters = b64_table_neon(b64_letters);
    const uint8x16_t six = vdupq_n_u8(63);
    size_t at;
    for (at = 0; at + 48 <= size; at += 48) {
        uint8x16x3_t o = vld3q_u8(in + at);
        uint8x16x4_t v;
        v.val[0] = vshrq_n_u8(o.val[0], 2);
        v.val[1] = vandq_u8(vorrq_u8(vshlq_n_u8(o.val[0], 4), vshrq_n_u8(o.val[1], 4)), six);
        v.val[2] = vandq_u8(vorrq_u8(vshlq_n_u8(o.val[1], 2), vshrq_n_u8(o.val[2], 6)), six);
        v.val[3] = vandq_u8(o.val[2], six);
        for (int i = 0; i < 4; i++)
            v.val[i] = vqtbl4q_u8(letters, v.val[i]);
        vst4q_u8(out + at / 3 * 4, v);
    }
    return at + b64_encode_scalar(in + at, size - at, out + at / 3 * 4);
}

#endif
