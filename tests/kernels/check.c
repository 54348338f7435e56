/* Every kernel that runs here beside an own, plain decoder and encoder: random, at borders, and hostile.
 *
 * Input ends right before a page that nobody may read, output right before one that nobody may write, so that
 * each byte too far is a crash. Usage: check SEED ROUNDS; prints a line for each kernel; exit code 1 when one
 * is wrong, with the case.
 */
#define _GNU_SOURCE
#include "base64.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MOST 4096

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static uint64_t state;

static uint32_t number(uint32_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

/* An area whose end is the end of what may be touched. */
static uint8_t *area(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (size + page - 1) / page * page;
    uint8_t *begin = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (begin == MAP_FAILED || mprotect(begin + room, page, PROT_NONE))
        exit(2);
    return begin + room;
}

static int plain_value(uint8_t c)
{
    const char *found = c ? strchr(letters, c) : NULL;
    return found ? (int)(found - letters) : -1;
}

/* What a kernel has to do, byte by byte. */
static size_t plain_decode(const uint8_t *in, size_t size, uint8_t *out)
{
    size_t at;
    for (at = 0; at + 4 <= size; at += 4) {
        uint32_t bits = 0;
        for (int i = 0; i < 4; i++) {
            int value = plain_value(in[at + (size_t)i]);
            if (value < 0)
                return at;
            bits = bits << 6 | (uint32_t)value;
        }
        for (int i = 0; i < 3; i++)
            *out++ = (uint8_t)(bits >> (16 - 8 * i));
    }
    return at;
}

static int wrong(const b64_kernel *kernel, const char *what, size_t size, size_t taken, size_t wanted)
{
    printf("%s: %s of %zu octets took %zu, not %zu, or gave other octets\n", kernel->name, what, size, taken, wanted);
    return 1;
}

static int check_decode(const b64_kernel *kernel, uint8_t *in_end, uint8_t *out_end, size_t size, int odd)
{
    static uint8_t plain[MOST + 4];
    uint8_t *in = in_end - size, *out = out_end - size / 4 * 3 - B64_SLACK;
    size_t taken, wanted;
    for (size_t i = 0; i < size; i++)
        in[i] = (uint8_t)letters[number(64)];
    while (odd-- && size)
        in[number((uint32_t)size)] = (uint8_t)number(256);
    wanted = plain_decode(in, size, plain);
    taken = kernel->decode(in, size, out);
    return taken == wanted && !memcmp(out, plain, wanted / 4 * 3) ? 0 : wrong(kernel, "decoding", size, taken, wanted);
}

static int check_encode(const b64_kernel *kernel, uint8_t *in_end, uint8_t *out_end, size_t size)
{
    static uint8_t back[MOST + 4];
    size_t characters = (size + 2) / 3 * 4, pads = (3 - size % 3) % 3, taken;
    uint8_t *in = in_end - size, *out = out_end - characters;
    b64_decoder d = { 0, 0, (int)pads, 0 };
    size_t written = 0;
    for (size_t i = 0; i < size; i++)
        in[i] = (uint8_t)number(256);
    b64_encode(kernel, in, size, out);
    taken = plain_decode(out, characters - (pads ? 4 : 0), back);
    written = taken / 4 * 3;
    for (size_t i = taken; i < characters - pads; i++)
        b64_take(&d, out[i], back, &written);
    b64_finish(&d, back, &written);
    for (size_t i = characters - pads; i < characters; i++)
        d.bad |= out[i] != '=';
    return !d.bad && written == size && !memcmp(in, back, size) ? 0 : wrong(kernel, "encoding", size, taken, characters);
}

/* Each byte at each place of a short text: the first that is outside the alphabet has to be found. */
static int check_places(const b64_kernel *kernel, uint8_t *in_end, uint8_t *out_end)
{
    static uint8_t plain[MOST + 4];
    const size_t size = 576;
    uint8_t *in = in_end - size, *out = out_end - size / 4 * 3 - B64_SLACK;
    memset(in, 'Q', size);
    for (size_t place = 0; place < size; place++) {
        for (int octet = 0; octet < 256; octet++) {
            size_t wanted, taken;
            in[place] = (uint8_t)octet;
            wanted = plain_decode(in, size, plain);
            taken = kernel->decode(in, size, out);
            if (taken != wanted || memcmp(out, plain, wanted / 4 * 3))
                return wrong(kernel, "each octet at each place", size, taken, wanted);
        }
        in[place] = 'Q';
    }
    return 0;
}

int main(int argc, char **argv)
{
    uint8_t *in_end = area(MOST), *out_end = area(2 * MOST + B64_SLACK);
    long rounds = argc > 2 ? atol(argv[2]) : 0;
    b64_find_kernels();
    for (const b64_kernel *kernel = b64_kernels; kernel->name; kernel++) {
        state = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
        for (long round = 0; round < rounds; round++) {
            size_t size = number(round % 8 ? 400 : MOST);
            if (check_decode(kernel, in_end, out_end, size, (int)number(3)) || check_encode(kernel, in_end, out_end, size))
                return 1;
        }
        if (check_places(kernel, in_end, out_end))
            return 1;
        printf("%s: right\n", kernel->name);
    }
    return 0;
}
