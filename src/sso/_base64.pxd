# cython: language_level=3
# Base64 for the compiled core. Without tables: the value of a character is computed, so that no secret
# chooses an address. A faster kernel would replace `decode` alone.

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #include <endian.h>
    #include <string.h>
    #if !defined(__linux__) /* glibc and musl have it */
    static void explicit_bzero(void *s, size_t n) { volatile unsigned char *p = s; while (n--) *p++ = 0; }
    #endif
    """
    void explicit_bzero(void *s, size_t n) nogil
    uint64_t be64toh(uint64_t v) nogil
    uint64_t htobe64(uint64_t v) nogil


cdef inline int value_of(int c) noexcept nogil:
    """0-63 for a character of the alphabet, else negative: each range adds its share under a mask."""
    cdef int v = -1
    v += (((0x40 - c) & (c - 0x5B)) >> 8) & (c - 0x40)
    v += (((0x60 - c) & (c - 0x7B)) >> 8) & (c - 0x46)
    v += (((0x2F - c) & (c - 0x3A)) >> 8) & (c + 5)
    v += (((0x2A - c) & (c - 0x2C)) >> 8) & 63
    v += (((0x2E - c) & (c - 0x30)) >> 8) & 64
    return v


cdef inline unsigned char character(int v) noexcept nogil:
    """The character of 0-63; the twin of value_of."""
    cdef int c = v + 0x41
    c += ((25 - v) >> 8) & 6
    c -= ((51 - v) >> 8) & 75
    c -= ((61 - v) >> 8) & 15
    c += ((62 - v) >> 8) & 3
    return <unsigned char>c


cdef inline void encode(const unsigned char *data, Py_ssize_t size, unsigned char *out) noexcept nogil:
    """All of `data` as characters, padding included: (size + 2) // 3 * 4 of them."""
    cdef Py_ssize_t i = 0
    cdef unsigned int bits
    while i < size:
        bits = <unsigned int>data[i] << 16
        if i + 1 < size:
            bits |= <unsigned int>data[i + 1] << 8
        if i + 2 < size:
            bits |= data[i + 2]
        out[0] = character(<int>((bits >> 18) & 63))
        out[1] = character(<int>((bits >> 12) & 63))
        out[2] = character(<int>((bits >> 6) & 63)) if i + 1 < size else c'='
        out[3] = character(<int>(bits & 63)) if i + 2 < size else c'='
        i += 3
        out += 4


cdef enum:
    BLOCK = 32  # characters that are classified at once


cdef inline bint _classify(const unsigned char *data, unsigned char *values) noexcept nogil:
    """The values of a block, False if one is outside the alphabet; without a branch, so that the
    compiler makes vector code of it and no secret chooses a path."""
    cdef int i
    cdef unsigned char c, upper, lower, digit, plus, slash, bad = 0
    for i in range(BLOCK):
        c = data[i]
        upper = <unsigned char>(-(<unsigned char>(c - 0x41) < 26))
        lower = <unsigned char>(-(<unsigned char>(c - 0x61) < 26))
        digit = <unsigned char>(-(<unsigned char>(c - 0x30) < 10))
        plus = <unsigned char>(-(c == 0x2B))
        slash = <unsigned char>(-(c == 0x2F))
        values[i] = (
            (upper & <unsigned char>(c - 0x41))
            | (lower & <unsigned char>(c - 0x47))
            | (digit & <unsigned char>(c + 4))
            | (plus & 62)
            | (slash & 63)
        )
        bad |= <unsigned char>(~(upper | lower | digit | plus | slash))
    return bad == 0


cdef inline void _pack(const unsigned char *values, unsigned char *out) noexcept nogil:
    """Four values of 6 bits become 3 octets; eight at a time, side by side in one number."""
    cdef int i
    cdef uint64_t v
    for i in range(BLOCK // 8):
        memcpy(&v, values + 8 * i, 8)
        v = be64toh(v)
        v = ((v >> 2) & <uint64_t>0x0FC00FC00FC00FC0) | (v & <uint64_t>0x003F003F003F003F)
        v = ((v >> 4) & <uint64_t>0x00FFF00000FFF000) | (v & <uint64_t>0x00000FFF00000FFF)
        v = ((v >> 8) & <uint64_t>0x0000FFFFFF000000) | (v & <uint64_t>0x0000000000FFFFFF)
        v = htobe64(v << 16)
        memcpy(out + 6 * i, &v, 6)


cdef struct Decoder:
    unsigned int carry  # bits of an unfinished group
    int count  # characters in it
    int pads
    bint bad


cdef inline Py_ssize_t decode(Decoder *d, const unsigned char *data, Py_ssize_t size,
                              unsigned char *out, Py_ssize_t room, Py_ssize_t *written) noexcept nogil:
    """Decode until the first octet outside the alphabet; returns how many characters were taken.

    This is the one place that a faster kernel has to replace. Octets beyond `room` are counted, not
    written.
    """
    cdef Py_ssize_t i = 0, w = written[0]
    cdef int a, b, c, e
    cdef unsigned int bits
    cdef unsigned char values[BLOCK]
    cdef bint blocks = True  # until one holds something outside the alphabet
    while i < size:
        if blocks and d.count == 0 and i + BLOCK <= size and w + BLOCK // 4 * 3 <= room:
            blocks = _classify(data + i, values)
            if blocks:
                _pack(values, out + w)
                i += BLOCK
                w += BLOCK // 4 * 3
                continue
        if d.count == 0 and i + 4 <= size and w + 3 <= room:
            a = value_of(data[i])
            b = value_of(data[i + 1])
            c = value_of(data[i + 2])
            e = value_of(data[i + 3])
            if (a | b | c | e) >= 0:
                bits = <unsigned int>((a << 18) | (b << 12) | (c << 6) | e)
                out[w] = <unsigned char>(bits >> 16)
                out[w + 1] = <unsigned char>(bits >> 8)
                out[w + 2] = <unsigned char>bits
                w += 3
                i += 4
                continue
        a = value_of(data[i])
        if a < 0:
            break
        d.carry = (d.carry << 6) | <unsigned int>a
        d.count += 1
        i += 1
        if d.count == 4:
            for e in range(3):
                if w < room:
                    out[w] = <unsigned char>(d.carry >> (16 - 8 * e))
                w += 1
            d.carry = 0
            d.count = 0
    explicit_bzero(values, BLOCK)
    written[0] = w
    return i


cdef inline void finish(Decoder *d, unsigned char *out, Py_ssize_t room, Py_ssize_t *written) noexcept nogil:
    """The last group: its padding has to complete it, and its unused bits have to be zero."""
    cdef Py_ssize_t w = written[0]
    cdef int spare
    if d.count == 0:
        if d.pads:
            d.bad = True
    elif d.count == 1 or d.count + d.pads != 4:
        d.bad = True
    else:
        spare = 4 if d.count == 2 else 2
        if d.carry & ((1u << spare) - 1):
            d.bad = True
        d.carry >>= spare
        if d.count == 3:
            if w < room:
                out[w] = <unsigned char>(d.carry >> 8)
            w += 1
        if w < room:
            out[w] = <unsigned char>d.carry
        w += 1
    d.carry = 0
    written[0] = w
