/* The buffer of the line that is being received, and the grammar of its bytes (PROTOCOL.md section 2). */
#ifndef SSO_LINE_H
#define SSO_LINE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LINE_VERB "credentials " /* the verb of a line with a secret, and the space after it */
#define LINE_VERB_SIZE 12
#define LINE_WORD_MAX 32                               /* bytes of a verb, and of a credential's type */
#define LINE_ENDS 32
#define LINE_HEAD (LINE_VERB_SIZE + LINE_WORD_MAX + 1) /* a secret begins at or before this byte */

/* The line so far. realloc() could leave a copy behind, so growing copies the bytes and wipes the old buffer. */
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
        for (size_t i = 0; i < l->size; i++) /* memcpy could leave parts in registers: see base64_scalar.h */
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

enum { LINE_OTHER, LINE_SPACE, LINE_WORD, LINE_NAME, LINE_TYPE }; /* TYPE is within NAME, NAME within WORD */

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

/* Whether `head`, which ends in a space, is the complete text before a secret. */
static inline int line_starts_secret(const uint8_t *head, size_t size)
{
    if (size < LINE_VERB_SIZE + 2 || size > LINE_HEAD || memcmp(head, LINE_VERB, LINE_VERB_SIZE) != 0)
        return 0;
    for (size_t i = LINE_VERB_SIZE; i < size - 1; i++)
        if (line_kind(head[i]) != LINE_TYPE)
            return 0;
    return 1;
}

/* Return how many bytes come before the secret of a line, if all of them are here; else 0. */
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

/* Return how many bytes come before the LF; -1 if there is no LF yet or the line may hold a secret. */
static inline ptrdiff_t line_plain(const uint8_t *data, size_t size)
{
    const uint8_t *end;
    if (size >= LINE_VERB_SIZE && data[0] == 'c' && memcmp(data, LINE_VERB, LINE_VERB_SIZE) == 0)
        return -1;
    end = memchr(data, '\n', size);
    return end ? end - data : -1;
}

/* Count the words of a line that is not empty: a verb, then words with one space before each. Returns 0 if the line
 * is malformed. `ends` gets the ends of the first LINE_ENDS words. */
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
        if (kind != LINE_SPACE || i == begin) /* a byte outside the grammar, or an empty word */
            return 0;
        if (count < LINE_ENDS)
            ends[count] = (uint32_t)i;
        count++;
        if (i == size)
            return count;
        begin = i + 1;
    }
}

/* Whether the verb of a line is the one for secrets. */
static inline int line_verb_is_secret(const uint8_t *data, size_t size)
{
    return size >= LINE_VERB_SIZE - 1 && memcmp(data, LINE_VERB, LINE_VERB_SIZE - 1) == 0
           && (size == LINE_VERB_SIZE - 1 || data[LINE_VERB_SIZE - 1] == ' ');
}

#endif
