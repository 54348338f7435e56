/* A secret in separate pages: wiped after use, locked if the limits allow it, not in core dumps. */
#ifndef SSO_SECRET_H
#define SSO_SECRET_H

#include <stdbool.h>
#include <stddef.h>

struct secret {
    char *octets; /* NULL = none; a NUL follows the last byte */
    size_t length;
};

/* Read exactly `length` bytes from the start of a regular file; false = nothing was kept. */
bool secret_read(struct secret *secret, int file, size_t length);

/* Overwrite and free; does nothing for an empty secret. */
void secret_wipe(struct secret *secret);

#endif
