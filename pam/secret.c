#include "secret.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool read_all(char *octets, int file, size_t length)
{
    size_t done = 0;
    while (done < length) {
        ssize_t got = pread(file, octets + done, length - done, (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

bool secret_read(struct secret *secret, int file, size_t length)
{
    /* Only a regular file (such as a memfd) can be read at once; a pipe or a device could block. */
    struct stat found;
    if (fstat(file, &found) != 0 || !S_ISREG(found.st_mode))
        return false;
    char *octets = mmap(NULL, length + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (octets == MAP_FAILED)
        return false;
    *secret = (struct secret){.octets = octets, .length = length};
    /* Both may fail because of limits; then the secret is still read. */
    (void)mlock(octets, length + 1);
    (void)madvise(octets, length + 1, MADV_DONTDUMP);
    if (read_all(octets, file, length))
        return true;
    secret_wipe(secret);
    return false;
}

void secret_wipe(struct secret *secret)
{
    if (secret->octets) {
        explicit_bzero(secret->octets, secret->length + 1);
        (void)munmap(secret->octets, secret->length + 1);
    }
    *secret = (struct secret){0};
}
