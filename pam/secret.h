/* Octets that must not stay behind: pages of their own, locked if the limits allow it, not dumped. */
#ifndef SSO_SECRET_H
#define SSO_SECRET_H

#include <stdbool.h>
#include <stddef.h>

struct secret {
    char *octets; /* NULL = none; a NUL stands behind the last octet */
    size_t length;
};

/* Read exactly `length` octets from the start of a regular file; false = none was kept. */
bool secret_read(struct secret *secret, int file, size_t length);

/* Overwrite and give back; harmless on an empty secret. */
void secret_wipe(struct secret *secret);

#endif
