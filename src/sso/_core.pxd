# cython: language_level=3
# What the compiled core takes from its C headers, in the folder _core: lines, base64, memory for secrets.

from libc.stdint cimport uint8_t, uint32_t

cdef extern from *:
    """
    #include <string.h>
    """
    void explicit_bzero(void *s, size_t n)

cdef extern from "base64.h":
    enum:
        B64_SLACK
    ctypedef struct b64_kernel:
        const char *name
    ctypedef struct b64_decoder:
        uint32_t carry
        int count
        int pads
        int bad
    b64_kernel b64_kernels[4]
    void b64_find_kernels()
    size_t b64_decode(const b64_kernel *kernel, b64_decoder *d, const uint8_t *data, size_t size, uint8_t *out,
                      size_t *written)
    void b64_finish(b64_decoder *d, uint8_t *out, size_t *written)
    void b64_encode(const b64_kernel *kernel, const uint8_t *data, size_t size, uint8_t *out)

cdef extern from "registers.h":
    void registers_clear()

cdef extern from "arena.h":
    uint8_t *arena_take(size_t size)
    size_t arena_keep(uint8_t *data, size_t size, size_t kept)
    void arena_give(uint8_t *data, size_t size, size_t written)

cdef extern from "line.h":
    enum:
        LINE_ENDS
        LINE_HEAD
        LINE_VERB_SIZE
    ctypedef struct line:
        uint8_t *data
        size_t size
        size_t room
    bint line_reserve(line *l, size_t more)
    void line_clear(line *l)
    bint line_starts_secret(const uint8_t *head, size_t size)
    size_t line_head(const uint8_t *data, size_t size)
    Py_ssize_t line_plain(const uint8_t *data, size_t size)
    size_t line_words(const uint8_t *data, size_t size, uint32_t *ends)
    bint line_verb_is_secret(const uint8_t *data, size_t size)
