#include "ccache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RANDOM_LETTERS = 12 /* 60 bits */, TRIES = 4 };
enum { NAME_SIZE = sizeof "krb5cc_4294967295_" + RANDOM_LETTERS };

/* Become the user for the file system. These calls return the old id, and report no error. */

struct ids {
    uid_t uid;
    gid_t gid;
};

static bool switch_ids(struct ids to, struct ids *before)
{
    gid_t gid = (gid_t)setfsgid(to.gid);
    uid_t uid = (uid_t)setfsuid(to.uid);
    if (before)
        *before = (struct ids){.uid = uid, .gid = gid};
    return (uid_t)setfsuid((uid_t)-1) == to.uid && (gid_t)setfsgid((gid_t)-1) == to.gid;
}

/* The folder */

static int open_folder(const char *path, uid_t uid)
{
    size_t length = strlen(path);
    /* With a slash at the end, open() would follow a link in spite of O_NOFOLLOW. */
    if (path[0] != '/' || path[length - 1] == '/')
        return -1;
    int folder = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        return -1;
    struct stat found;
    bool safe = fstat(folder, &found) == 0 && (found.st_uid == 0 || found.st_uid == uid) &&
                (!(found.st_mode & (S_IWGRP | S_IWOTH)) || found.st_mode & S_ISVTX);
    if (safe)
        return folder;
    (void)close(folder);
    return -1;
}

/* Split "/folder/name"; `folder` has room for PATH_SIZE. Returns the name. */
static const char *split(const char *path, char *folder)
{
    const char *slash = strrchr(path, '/');
    memcpy(folder, path, (size_t)(slash - path));
    folder[slash - path] = '\0';
    return slash + 1;
}

/* The file */

static bool make_name(char *name, uid_t uid)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint8_t random[RANDOM_LETTERS];
    if (getrandom(random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
        return false;
    int length = snprintf(name, NAME_SIZE, "krb5cc_%lu_", (unsigned long)uid);
    for (int i = 0; i < RANDOM_LETTERS; i++)
        name[length + i] = letters[random[i] % 32];
    name[length + RANDOM_LETTERS] = '\0';
    return true;
}

static bool is_private(const struct stat *found, uid_t uid)
{
    return S_ISREG(found->st_mode) && found->st_uid == uid && found->st_nlink == 1;
}

static bool write_all(int file, const struct secret *content)
{
    size_t done = 0;
    while (done < content->length) {
        ssize_t put = write(file, content->octets + done, content->length - done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        done += (size_t)put;
    }
    return true;
}

static int open_new(int folder, uid_t uid, char *name)
{
    for (int i = 0; i < TRIES && make_name(name, uid); i++) {
        /* O_EXCL refuses anything that exists under this name, links too. */
        int file = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (file >= 0 || (errno != EEXIST && errno != EINTR))
            return file;
    }
    return -1;
}

/* Write a new file with a random name; on failure `name` is empty. */
static bool write_new(int folder, uid_t uid, char *name, const struct secret *content)
{
    struct stat found;
    bool written = false;
    int file = open_new(folder, uid, name);
    if (file >= 0) {
        /* The caller's umask may have removed some of these bits. */
        written = fstat(file, &found) == 0 && is_private(&found, uid) && fchmod(file, 0600) == 0 &&
                  write_all(file, content);
        written = close(file) == 0 && written;
        if (!written)
            (void)unlinkat(folder, name, 0);
    }
    if (!written)
        name[0] = '\0';
    return written;
}

/* A function that runs as the user, in the open folder; `name` is the cache's name there. */
typedef bool deed(int folder, const struct ccache *cache, char *name, const struct secret *content);

static bool as_user(deed *act, const char *path, const struct ccache *cache, char *name,
                    const struct secret *content)
{
    struct ids root;
    bool done = false;
    if (switch_ids((struct ids){.uid = cache->uid, .gid = cache->gid}, &root)) {
        int folder = open_folder(path, cache->uid);
        if (folder >= 0) {
            done = act(folder, cache, name, content);
            (void)close(folder);
        }
    }
    return switch_ids(root, NULL) && done;
}

static bool create(int folder, const struct ccache *cache, char *name, const struct secret *content)
{
    return write_new(folder, cache->uid, name, content);
}

static bool replace(int folder, const struct ccache *cache, char *name, const struct secret *content)
{
    struct stat found;
    char fresh[NAME_SIZE];
    if (fstatat(folder, name, &found, AT_SYMLINK_NOFOLLOW) != 0 || !is_private(&found, cache->uid) ||
        !write_new(folder, cache->uid, fresh, content))
        return false;
    if (renameat(folder, fresh, folder, name) == 0)
        return true;
    (void)unlinkat(folder, fresh, 0);
    return false;
}

static bool discard(int folder, const struct ccache *cache, char *name, const struct secret *content)
{
    (void)cache;
    (void)content;
    return unlinkat(folder, name, 0) == 0;
}

bool ccache_create(struct ccache *cache, const char *folder, const struct secret *content)
{
    char name[NAME_SIZE] = "";
    if (strlen(folder) + 1 + sizeof name > sizeof cache->path)
        return false;
    bool done = as_user(create, folder, cache, name, content);
    /* Even if the switch back to root failed: the file exists, and ccache_remove has to find it. */
    if (name[0] != '\0')
        (void)snprintf(cache->path, sizeof cache->path, "%s/%s", folder, name);
    return done;
}

bool ccache_replace(const struct ccache *cache, const struct secret *content)
{
    char folder[PATH_SIZE], name[PATH_SIZE];
    (void)snprintf(name, sizeof name, "%s", split(cache->path, folder));
    return as_user(replace, folder, cache, name, content);
}

void ccache_remove(struct ccache *cache)
{
    char folder[PATH_SIZE], name[PATH_SIZE];
    if (cache->path[0] == '\0')
        return;
    (void)snprintf(name, sizeof name, "%s", split(cache->path, folder));
    (void)as_user(discard, folder, cache, name, NULL);
    cache->path[0] = '\0';
}
