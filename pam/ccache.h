/* Writes, replaces and removes a credential cache file of Kerberos, as its user, never as root. */
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

/* Replace the content in one step; a cache that was removed is not created again. */
bool ccache_replace(const struct ccache *cache, const struct secret *content);

/* Remove the file; does nothing if there is none. */
void ccache_remove(struct ccache *cache);

#endif
