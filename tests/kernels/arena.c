/* The arena beside a plain account of who holds what: no block twice, none lost, all of it wiped.
 *
 * Usage: arena SEED ROUNDS; exit code 1 when it is wrong, with the line of the check.
 */
#define _GNU_SOURCE
#include "arena.h"

#include <stdio.h>
#include <stdlib.h>

#define HOLDERS 24

static struct {
    uint8_t *data;
    size_t size, written;
    uint8_t mark;
} held[HOLDERS];
static uint64_t state;

static size_t number(size_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(state >> 33) % below;
}

#define CHECK(right)                                                                                                  \
    do                                                                                                                \
        if (!(right)) {                                                                                               \
            printf("line %d: not so: %s\n", __LINE__, #right);                                                        \
            exit(1);                                                                                                  \
        }                                                                                                             \
    while (0)

/* Sizes at the borders of blocks and of the arena, some of them the same again and again. */
static size_t some_size(void)
{
    static const size_t counts[] = { 1, 1, 2, 17, 31, 32, 33, 63, 64, 65, 96, 128, 129, 200, 257 };
    size_t size = counts[number(sizeof counts / sizeof *counts)] * ARENA_BLOCK;
    return number(3) ? size - number(ARENA_BLOCK) : size;
}

static void take(int i)
{
    size_t size = some_size();
    held[i].data = arena_take(size);
    CHECK(held[i].data);
    held[i].size = size;
    held[i].written = number(4) ? 1 + number(size) : size;
    held[i].mark = (uint8_t)(1 + number(255));
    memset(held[i].data, held[i].mark, held[i].written);
    if (number(2))
        held[i].size = arena_keep(held[i].data, size, held[i].written);
    CHECK(held[i].size >= held[i].written);
}

static void give(int i)
{
    uint8_t *data = held[i].data;
    int stays = arena_owns(data) || !arena_spare; /* else it is no memory any more */
    for (size_t at = 0; at < held[i].written; at++)
        CHECK(data[at] == held[i].mark);
    arena_give(data, held[i].size, held[i].written);
    for (size_t at = 0; stays && at < held[i].written; at++)
        CHECK(data[at] == 0);
    held[i].data = NULL;
}

static void account(void)
{
    uint64_t taken = 0;
    for (int i = 0; i < HOLDERS; i++) {
        if (!held[i].data || !arena_owns(held[i].data))
            continue;
        for (size_t block = 0; block < arena_blocks(held[i].size); block++) {
            uint64_t bit = (uint64_t)1 << ((size_t)(held[i].data - arena) / ARENA_BLOCK + block);
            CHECK(!(taken & bit));
            taken |= bit;
        }
    }
    CHECK(arena_free == ~taken);
}

int main(int argc, char **argv)
{
    state = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    for (long round = argc > 2 ? atol(argv[2]) : 0; round > 0; round--) {
        int i = (int)number(HOLDERS);
        if (held[i].data)
            give(i);
        else
            take(i);
        account();
    }
    puts("arena: right");
    return 0;
}
