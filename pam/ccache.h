/* A Kerberos credential cache as a file: written, replaced and removed as its user, never as root. */
#ifndef SSO_CCACHE_H
#define SSO_CCACHE_H

#include <stdbool.h>
#include <sys/types.h>

#include "agent.h"

struct ccache {
    uid_t uid;
    gid_t gid;
    char path[PATH_SIZE]; /* "" = there is none */
};

/* Write a new cache with a random name into `folder`, an absolute path without a last slash. */
bool ccache_create(struct ccache *cache, const char *folder, const struct secret *content);

/* Put a new content in the place of the old one, all at once; a cache that is gone stays gone. */
bool ccache_replace(const struct ccache *cache, const struct secret *content);

/* Remove the file; harmless when there is none. */
void ccache_remove(struct ccache *cache);

#endif
