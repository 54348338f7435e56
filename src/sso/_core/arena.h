/* Memory for secrets: locked, in no core dump, in no forked child, and wiped when it is given back.
 *
 * One arena a process, made when the first secret comes, so that nothing is locked per message. It is handed
 * out by blocks of 4 KiB. Who needs more than there is gets a mapping of its own, and one such is kept for the
 * next. What the kernel refuses (RLIMIT_MEMLOCK) is done without: a login matters more. Not for threads of their own:
 * the caller holds Python's lock.
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
static uint64_t arena_free = ~(uint64_t)0; /* a bit for each block */
static uint8_t *arena_spare;               /* a mapping outside that nobody uses now */
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
#ifdef MADV_WIPEONFORK /* not DONTFORK: the child still has the objects that point here */
    (void)madvise(data, size, MADV_WIPEONFORK);
#endif
    return data;
}

/* `size` octets, at least one, whose content is whatever; NULL when there is no memory at all. */
static inline uint8_t *arena_take(size_t size)
{
    size_t count = arena_blocks(size), length = 1;
    uint64_t starts = count <= ARENA_BLOCKS ? arena_free : 0;
    if (!arena)
        arena = arena_map(ARENA_BLOCKS * ARENA_BLOCK);
    while (length < count && starts) { /* bits that begin `length` free ones */
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

/* Keep the first `kept` octets of `size` and give back whole blocks behind them, where nothing was written;
 * returns how many are held now. */
static inline size_t arena_keep(uint8_t *data, size_t size, size_t kept)
{
    size_t first, before = arena_blocks(size), after = arena_blocks(kept);
    if (!arena_owns(data) || after >= before)
        return size;
    first = (size_t)(data - arena) / ARENA_BLOCK;
    arena_free |= arena_bits(first + after, before - after);
    return after * ARENA_BLOCK;
}

/* Give all of `size` octets back; the first `written` of them are wiped. */
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
