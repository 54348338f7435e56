/* One line while it comes, and what its octets may be (PROTOCOL.md section 2). */
#ifndef SSO_LINE_H
#define SSO_LINE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LINE_VERB "credentials " /* the verb of a line with a secret, with the space behind it */
#define LINE_VERB_SIZE 12
#define LINE_WORD_MAX 32                               /* octets of a verb, and of a credential's type */
#define LINE_ENDS 32
#define LINE_HEAD (LINE_VERB_SIZE + LINE_WORD_MAX + 1) /* where a secret has begun, if there is one */

/* The line so far. What grows in place may leave a copy behind, so it is moved and wiped here. */
typedef struct {
    uint8_t *data;
    size_t size, room;
} line;

static inline int line_reserve(line *l, size_t more)
{
    size_t room = l->room ? 2 * l->room : 256;
    uint8_t *larger;
    if (l->size + more <= l->room)
        return 1;
    if (room < l->size + more)
        room = l->size + more;
    larger = malloc(room);
    if (!larger)
        return 0;
    if (l->data) {
        for (size_t i = 0; i < l->size; i++) /* memcpy would leave some of it in registers: see base64_scalar.h */
            ((volatile uint8_t *)larger)[i] = l->data[i];
        explicit_bzero(l->data, l->room);
        free(l->data);
    }
    l->data = larger;
    l->room = room;
    return 1;
}

static inline void line_clear(line *l)
{
    if (l->data) {
        explicit_bzero(l->data, l->room);
        free(l->data);
    }
    *l = (line){ NULL, 0, 0 };
}

enum { LINE_OTHER, LINE_SPACE, LINE_WORD, LINE_NAME, LINE_TYPE }; /* each of the last three is part of the one before */

#define LINE_16(k) k, k, k, k, k, k, k, k, k, k, k, k, k, k, k, k
static inline int line_kind(uint8_t c)
{
    enum { W = LINE_WORD, N = LINE_NAME, T = LINE_TYPE };
    static const uint8_t kinds[256] = {
        LINE_16(LINE_OTHER), LINE_16(LINE_OTHER),
        LINE_SPACE, W, W, W, W, W, W, W, W, W, W, W, W, T, W, W, T, T, T, T, T, T, T, T, T, T, W, W, W, W, W, W,
        W, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, W, W, W, W, W,
        W, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, W, W, W, W, LINE_OTHER,
    };
    return kinds[c];
}

/* Whether `head`, which ends in a space, is all that stands before a secret. */
static inline int line_starts_secret(const uint8_t *head, size_t size)
{
    if (size < LINE_VERB_SIZE + 2 || size > LINE_HEAD || memcmp(head, LINE_VERB, LINE_VERB_SIZE) != 0)
        return 0;
    for (size_t i = LINE_VERB_SIZE; i < size - 1; i++)
        if (line_kind(head[i]) != LINE_TYPE)
            return 0;
    return 1;
}

/* How many octets of a line with a secret stand before it, if they are all there; else 0. */
static inline size_t line_head(const uint8_t *data, size_t size)
{
    const uint8_t *space;
    if (size < LINE_VERB_SIZE || data[0] != 'c' || memcmp(data, LINE_VERB, LINE_VERB_SIZE) != 0)
        return 0;
    size = size < LINE_HEAD ? size : LINE_HEAD;
    space = memchr(data + LINE_VERB_SIZE, ' ', size - LINE_VERB_SIZE);
    size = space ? (size_t)(space - data) + 1 : 0;
    return line_starts_secret(data, size) ? size : 0;
}

/* How many octets stand before the LF; -1 if it has not come, or if the line may hold a secret. */
static inline ptrdiff_t line_plain(const uint8_t *data, size_t size)
{
    const uint8_t *end;
    if (size >= LINE_VERB_SIZE && data[0] == 'c' && memcmp(data, LINE_VERB, LINE_VERB_SIZE) == 0)
        return -1;
    end = memchr(data, '\n', size);
    return end ? end - data : -1;
}

/* How many words a line has that is not empty: a verb, and each behind one space; 0 if it is not made so. Where the
 * first LINE_ENDS of them end, is noted. */
static inline size_t line_words(const uint8_t *data, size_t size, uint32_t ends[LINE_ENDS])
{
    size_t i = 0, begin = 0, count = 0;
    while (i < size && line_kind(data[i]) >= LINE_NAME)
        i++;
    if (i > LINE_WORD_MAX)
        return 0;
    for (;; i++) {
        int kind = i < size ? line_kind(data[i]) : LINE_SPACE;
        if (kind > LINE_SPACE && begin)
            continue;
        if (kind != LINE_SPACE || i == begin) /* what is behind the verb, or an empty word */
            return 0;
        if (count < LINE_ENDS)
            ends[count] = (uint32_t)i;
        count++;
        if (i == size)
            return count;
        begin = i + 1;
    }
}

/* Whether the verb of a line is that of a secret. */
static inline int line_verb_is_secret(const uint8_t *data, size_t size)
{
    return size >= LINE_VERB_SIZE - 1 && memcmp(data, LINE_VERB, LINE_VERB_SIZE - 1) == 0
           && (size == LINE_VERB_SIZE - 1 || data[LINE_VERB_SIZE - 1] == ' ');
}

#endif
