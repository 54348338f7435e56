/*
 * Runs the module's sources behind a PAM and an agent of its own, and makes every call fail in turn.
 *
 * One run is a whole life of a handle: authenticate twice (early line, deciding line), set the credentials,
 * open the session, authenticate again and refresh, close. Run N of a series makes the N-th call fail: a
 * system call, or a function of libpam. Whatever happens, the module must return a code that its caller
 * knows, grant nothing that it did not get, and leave no descriptor, no mapping and no file. The sanitizers
 * watch the memory. Then the agent misbehaves: every octet of its reply is altered, files are missing or too
 * many. Then a hostile user attacks the cache. Prints one line with the number of runs; any breach aborts.
 */
#include "world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* One run */

static int count_entries(const char *path, const char *prefix)
{
    int count = 0;
    DIR *entries = opendir(path);
    CHECK(entries);
    for (struct dirent *entry; (entry = readdir(entries));)
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    closedir(entries);
    return count;
}

static void check_cache(const pam_handle_t *pamh)
{
    char content[sizeof agent.content];
    struct stat found;
    const char *path = pamh->setting + strlen("KRB5CCNAME=FILE:");
    CHECK(strncmp(pamh->setting, "KRB5CCNAME=FILE:", 16) == 0 && count_entries(folder, "krb5cc_") == 1);
    CHECK(lstat(path, &found) == 0 && S_ISREG(found.st_mode) && (found.st_mode & 07777) == 0600);
    CHECK(found.st_uid == user_id && found.st_size == (off_t)strlen(agent.content));
    int file = open(path, O_RDONLY);
    CHECK(file >= 0 && pread(file, content, sizeof content, 0) == found.st_size);
    CHECK(memcmp(content, agent.content, strlen(agent.content)) == 0);
    (void)close(file);
}

typedef int service_function(pam_handle_t *, int, int, const char **);

static int call(service_function *function, pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    inside = true;
    int code = function(pamh, flags, argc, argv);
    inside = false;
    /* The one failure that it cannot mend is that it may not become root again. */
    (void)setfsuid(geteuid());
    (void)setfsgid(getegid());
    return code;
}

/* Authenticate by both lines as libpam would; true = the user is let in. */
static bool authenticate(pam_handle_t *pamh, int argc, const char **argv)
{
    argv[argc] = "early";
    CHECK(call(pam_sm_authenticate, pamh, 0, argc + 1, argv) != PAM_SUCCESS);
    int code = call(pam_sm_authenticate, pamh, PAM_SILENT, argc, argv);
    CHECK(code == PAM_SUCCESS || code == PAM_IGNORE || code == PAM_AUTHINFO_UNAVAIL || code == PAM_BUF_ERR);
    CHECK((code == PAM_IGNORE) == (pamh->authtok != NULL));
    CHECK(code != PAM_SUCCESS || strcmp(pamh->user, "alice") == 0);
    CHECK(code != PAM_SUCCESS || agent.kind >= 2 || agent.altered >= 0);
    bool right = pamh->authtok && strcmp(pamh->authtok, agent.content) == 0;
    CHECK(!pamh->authtok || right || agent.altered >= 0);
    free(pamh->authtok);
    pamh->authtok = NULL;
    return code == PAM_SUCCESS || right;
}

static bool failing_at_the_end; /* a fault there may leave the file: nothing is tried twice */

/* What a hostile user does to the cache while the session is open; then it must be left alone. */
static void (*meddle)(const char *path);

/* Whether the credentials could be set. */
static bool use(pam_handle_t *pamh, int argc, const char **argv)
{
    int code = call(pam_sm_setcred, pamh, PAM_ESTABLISH_CRED, argc, argv);
    CHECK(code == PAM_SUCCESS || code == PAM_CRED_ERR);
    if (code != PAM_SUCCESS)
        return false;
    if (agent.kind == 2 && agent.altered < 0)
        check_cache(pamh);
    code = call(pam_sm_open_session, pamh, 0, argc, argv);
    CHECK(code == PAM_SUCCESS || code == PAM_SESSION_ERR);
    if (code != PAM_SUCCESS)
        return true;
    if (meddle)
        meddle(pamh->setting + strlen("KRB5CCNAME=FILE:"));
    if (authenticate(pamh, argc, argv)) {
        code = call(pam_sm_setcred, pamh, PAM_REFRESH_CRED, argc, argv);
        CHECK(code == PAM_CRED_ERR || (code == PAM_SUCCESS && !meddle));
    }
    if (agent.kind == 2 && agent.altered < 0 && !meddle)
        check_cache(pamh);
    bool before = fail_at > calls;
    CHECK(call(pam_sm_close_session, pamh, 0, argc, argv) == PAM_SUCCESS);
    CHECK(call(pam_sm_setcred, pamh, PAM_DELETE_CRED, argc, argv) == PAM_SUCCESS);
    failing_at_the_end = before && fail_at <= calls;
    return true;
}

static void sweep(void)
{
    char command[100];
    (void)snprintf(command, sizeof command, "rm -rf %s/krb5cc_*", folder);
    CHECK(system(command) == 0);
}

/* Returns whether the user was let in. `token` NULL = the greeter gives none. */
static bool run(const char *user, const char *token)
{
    char where[100], into[100], whose[40];
    (void)snprintf(where, sizeof where, "socket=%s", socket_path);
    (void)snprintf(into, sizeof into, "ccache_dir=%s", folder);
    (void)snprintf(whose, sizeof whose, "agent_uid=%u", geteuid());
    const char *argv[] = {where, into, whose, "token", NULL /* room for "early" */};
    int argc = 4, descriptors = count_entries("/proc/self/fd", "");
    pam_handle_t pamh = {.user = user ? strdup(user) : NULL, .token = token};
    calls = 0;
    failed_call = "none";
    agent.told[0] = '\0';
    failing_at_the_end = false;
    bool granted = authenticate(&pamh, argc, argv);
    granted = granted && use(&pamh, argc, argv);
    if (pamh.data) {
        inside = true;
        pamh.cleanup(&pamh, pamh.data, PAM_SUCCESS);
        inside = false;
    }
    hang_up_agent();
    CHECK(mappings == 0 && count_entries("/proc/self/fd", "") == descriptors);
    int left = count_entries(folder, "krb5cc_");
    CHECK(left == 0 || meddle || failing_at_the_end || strcmp(failed_call, "unlinkat") == 0);
    if (left > 0 && !meddle)
        sweep();
    free(pamh.user);
    free(pamh.authtok);
    return granted;
}

/* The series */

static bool is_mended(void)
{
    static const char *const names[] = {"pread", "write", "connect", "poll", "send", "recvmsg", "openat"};
    size_t count = fail_short ? 2 : fail_errno == EINTR ? sizeof names / sizeof *names : 0;
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], failed_call) == 0)
            return true;
    return false;
}

static long fail_each_call(void)
{
    static const int errors[] = {EINTR, EAGAIN, EIO, ENOMEM, EEXIST};
    long runs = 0;
    for (agent.kind = 0; agent.kind <= 3; agent.kind++)
        for (size_t i = 0; i <= sizeof errors / sizeof *errors; i++) {
            fail_short = i == sizeof errors / sizeof *errors;
            fail_errno = fail_short ? EAGAIN : errors[i];
            for (fail_at = 1;; fail_at++, runs++) {
                bool granted = run(fail_at % 2 ? "alice" : NULL, "0123abcd");
                CHECK(agent.kind != 0 || !granted);
                /* A signal or a slow file is no failure. */
                if (agent.kind != 0 && is_mended())
                    CHECK(granted);
                if (calls < fail_at)
                    break;
            }
        }
    fail_at = 0;
    fail_short = false;
    return runs;
}

static long alter_the_reply(void)
{
    static const unsigned char changes[] = {0, 1, 2, '/', 0x7f, 0x80, 0xff};
    long runs = 0;
    for (agent.kind = 0; agent.kind <= 3; agent.kind++)
        for (agent.altered = 0; agent.altered < 128; agent.altered++)
            for (size_t i = 0; i < sizeof changes; i++, runs++) {
                agent.change = changes[i];
                (void)run("alice", "0123abcd");
            }
    agent.altered = -1;
    return runs;
}

static long play_tricks(void)
{
    long runs = 0;
    for (agent.kind = 0; agent.kind <= 3; agent.kind++)
        for (agent.trick = NO_FILE; agent.trick < TRICKS; agent.trick++, runs++) {
            /* Without a secret "no file" is honest, and so is a device that is not sent. */
            bool honest = agent.kind == 3 && (agent.trick == NO_FILE || agent.trick == DEVICE);
            CHECK(run("alice", "0123abcd") == honest);
        }
    agent.trick = HONEST;
    return runs;
}

/* Attacks on the cache: something waits under its name, or takes its place while the session is open. */

static char victim[80];

static void put_link(const char *path)
{
    (void)unlink(path);
    CHECK(symlink(victim, path) == 0);
}

static void put_second_name(const char *path)
{
    (void)unlink(path);
    CHECK(link(victim, path) == 0);
}

static void put_file(const char *path)
{
    (void)unlink(path);
    int file = creat(path, 0666);
    CHECK(file >= 0 && close(file) == 0);
}

static void put_folder(const char *path)
{
    (void)unlink(path);
    CHECK(mkdir(path, 0755) == 0);
}

static void put_nothing(const char *path)
{
    CHECK(unlink(path) == 0);
}

static long attack_the_cache(void)
{
    static void (*const attacks[])(const char *) = {put_link, put_second_name, put_file, put_folder,
                                                    put_nothing};
    char name[100];
    struct stat found;
    long runs = 0;
    agent.kind = 2;
    (void)snprintf(victim, sizeof victim, "%s/victim", folder);
    put_file(victim);
    CHECK(chown(victim, user_id, (gid_t)-1) == 0); /* the user's own, so that only the second name tells */
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++, runs += 2) {
        meddle = attacks[i];
        if (meddle == put_file && geteuid() != 0)
            continue; /* a file of the user's own in that place is as good as the cache */
        CHECK(run("alice", "0123abcd"));
        sweep();
        if (meddle != put_nothing) {
            known_name = true;
            (void)snprintf(name, sizeof name, "%s/krb5cc_%u_aaaaaaaaaaaa", folder, user_id);
            meddle(name);
            CHECK(!run("alice", "0123abcd") && lstat(name, &found) == 0);
            known_name = false;
            sweep();
        }
        CHECK(lstat(victim, &found) == 0 && S_ISREG(found.st_mode) && found.st_size == 0);
    }
    meddle = NULL;
    CHECK(unlink(victim) == 0);
    return runs;
}

/* The order of the records: GET, ESTABLISHED, OPENED, then the second GET, ESTABLISHED, then CLOSED. */
static long hear_the_order(void)
{
    static const char *const told[] = {"11", "123" "12" "4", "123" "12" "4", "123" "12" "4"};
    for (agent.kind = 0; agent.kind <= 3; agent.kind++) {
        CHECK(run(NULL, "0123abcd") == (agent.kind != 0));
        CHECK(strcmp(agent.told, told[agent.kind]) == 0);
    }
    agent.kind = 3;
    CHECK(!run("bob", "0123abcd") && !run("alice", NULL) && !run("alice", "not hex") && !run("alice", ""));
    return agent.kind + 5;
}

int main(void)
{
    user_id = geteuid() == 0 ? 4001 : geteuid();
    strcpy(folder, "/tmp/sso-faults-XXXXXX");
    CHECK(mkdtemp(folder) && chmod(folder, 01777) == 0);
    (void)snprintf(socket_path, sizeof socket_path, "%s/agent.sock", folder);
    open_agent();
    long runs = hear_the_order();
    runs += fail_each_call();
    runs += alter_the_reply();
    runs += play_tricks();
    runs += attack_the_cache();
    (void)unlink(socket_path);
    CHECK(rmdir(folder) == 0);
    printf("%ld runs\n", runs);
    return 0;
}
