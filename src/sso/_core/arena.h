/* Memory for secrets: locked, excluded from core dumps and forked children, and wiped when it is freed.
 *
 * Each process has one arena, made for the first secret, so that no message needs an mlock() of its own. It has
 * blocks of 4 KiB. A secret that does not fit gets a separate mapping; one such mapping is kept for reuse. If the
 * kernel refuses to lock memory (RLIMIT_MEMLOCK), we go on without, because a login matters more. Not thread-safe:
 * the caller holds Python's global lock.
 */
#ifndef SSO_ARENA_H
#define SSO_ARENA_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_BLOCK 4096u
#define ARENA_BLOCKS 64u

static uint8_t *arena;
static uint64_t arena_free = ~(uint64_t)0; /* one bit per block: 1 if it is free */
static uint8_t *arena_spare;               /* an unused mapping outside the arena */
static size_t arena_spare_size;

static inline size_t arena_blocks(size_t size) { return (size + ARENA_BLOCK - 1) / ARENA_BLOCK; }

static inline int arena_owns(const uint8_t *data)
{
    return arena && (uintptr_t)data - (uintptr_t)arena < ARENA_BLOCKS * ARENA_BLOCK;
}

static inline uint64_t arena_bits(size_t first, size_t count)
{
    return count == 0 ? 0 : ~(uint64_t)0 >> (64 - count) << first;
}

static uint8_t *arena_map(size_t size)
{
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return NULL;
    (void)mlock(data, size);
#ifdef MADV_DONTDUMP
    (void)madvise(data, size, MADV_DONTDUMP);
#endif
#ifdef MADV_WIPEONFORK /* not MADV_DONTFORK: objects in the child still point here */
    (void)madvise(data, size, MADV_WIPEONFORK);
#endif
    return data;
}

/* Allocate `size` bytes (at least one), not initialized; NULL when there is no memory. */
static inline uint8_t *arena_take(size_t size)
{
    size_t count = arena_blocks(size), length = 1;
    uint64_t starts = count <= ARENA_BLOCKS ? arena_free : 0;
    if (!arena)
        arena = arena_map(ARENA_BLOCKS * ARENA_BLOCK);
    while (length < count && starts) { /* each set bit begins a run of `length` free blocks */
        size_t step = count - length < length ? count - length : length;
        starts &= starts >> step;
        length += step;
    }
    if (arena && starts) {
        size_t first = (size_t)__builtin_ctzll(starts);
        arena_free &= ~arena_bits(first, count);
        return arena + first * ARENA_BLOCK;
    }
    if (arena_spare && arena_spare_size == size) {
        uint8_t *data = arena_spare;
        arena_spare = NULL;
        return data;
    }
    return arena_map(size);
}

/* Keep the first `kept` bytes of `size` and free the whole blocks after them, which were never written. Returns
 * how many bytes are held now. */
static inline size_t arena_keep(uint8_t *data, size_t size, size_t kept)
{
    size_t first, before = arena_blocks(size), after = arena_blocks(kept);
    if (!arena_owns(data) || after >= before)
        return size;
    first = (size_t)(data - arena) / ARENA_BLOCK;
    arena_free |= arena_bits(first + after, before - after);
    return after * ARENA_BLOCK;
}

/* Free all `size` bytes; the first `written` of them are wiped. */
static inline void arena_give(uint8_t *data, size_t size, size_t written)
{
    explicit_bzero(data, written);
    if (arena_owns(data))
        arena_free |= arena_bits((size_t)(data - arena) / ARENA_BLOCK, arena_blocks(size));
    else if (!arena_spare) {
        arena_spare = data;
        arena_spare_size = size;
    } else
        (void)munmap(data, size);
}

#endif
