/*
 * Runs the module's sources behind a PAM and an agent of its own, and makes every call fail in turn.
 *
 * One run is a whole life of a handle: authenticate twice (early line, deciding line), ask for the account,
 * set the credentials and open the session in one of three orders, authenticate again and refresh, close. Run
 * N of a series makes the N-th call fail: a system call, or a function of libpam. Whatever happens, the module
 * must return a code that its caller knows, grant nothing that it did not get, refuse every call after the
 * first refusal, and leave no descriptor, no mapping and no file. The sanitizers watch the memory. Then the
 * agent misbehaves: every byte of its replies is altered, files are missing or too many, it hangs up at each
 * question. Then a hostile user attacks the cache. Prints one line with the number of runs; any breach aborts.
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

/* The orders in which programs call: a = account, s = set the credentials, o = both lines of the session,
 * r = set them once more. */
static const char *const orders[] = {"aso", "aos", "asor"};
static const char *order = "aso";

static int step(char name, pam_handle_t *pamh, int argc, const char **argv)
{
    if (name == 's')
        return call(pam_sm_setcred, pamh, PAM_ESTABLISH_CRED, argc, argv);
    if (name == 'r')
        return call(pam_sm_setcred, pamh, PAM_REINITIALIZE_CRED, argc, argv);
    argv[argc] = "check";
    if (name == 'a')
        return call(pam_sm_acct_mgmt, pamh, 0, argc + 1, argv);
    int code = call(pam_sm_open_session, pamh, 0, argc + 1, argv);
    return code == PAM_IGNORE ? call(pam_sm_open_session, pamh, 0, argc, argv) : code;
}

/* Whether every step of the order was allowed; from the first refusal on none is. */
static bool take_steps(pam_handle_t *pamh, int argc, const char **argv)
{
    bool good = true;
    for (const char *name = order; *name; name++) {
        int code = step(*name, pamh, argc, argv);
        bool credentials = *name == 's' || *name == 'r';
        bool allowed = code == (credentials ? PAM_SUCCESS : PAM_IGNORE);
        CHECK(allowed || code == (*name == 'a' ? PAM_PERM_DENIED : credentials ? PAM_CRED_ERR : PAM_SESSION_ERR));
        CHECK(good || !allowed);
        good = allowed;
        bool stored = good && *name != 'a' && agent.kind == 2 && agent.altered < 0;
        if (stored)
            check_cache(pamh);
        if (!good && fail_at == 0)
            CHECK(count_entries(folder, "krb5cc_") == (known_name ? 1 : 0) && pamh->setting[0] == '\0');
    }
    return good;
}

/* Whether the session was opened. */
static bool use(pam_handle_t *pamh, int argc, const char **argv)
{
    if (!take_steps(pamh, argc, argv))
        return false;
    if (meddle)
        meddle(pamh->setting + strlen("KRB5CCNAME=FILE:"));
    if (authenticate(pamh, argc, argv)) {
        int code = call(pam_sm_setcred, pamh, PAM_REFRESH_CRED, argc, argv);
        CHECK(code == PAM_CRED_ERR || (code == PAM_SUCCESS && !meddle));
    }
    if (agent.kind == 2 && agent.altered < 0 && !meddle)
        check_cache(pamh);
    bool before = fail_at > calls;
    argv[argc] = "check";
    CHECK(call(pam_sm_close_session, pamh, 0, argc + 1, argv) == PAM_IGNORE);
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

/* A life in each order, with each call failing in turn. */
static long fail_each_call_in_each_order(void)
{
    long runs = 0;
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        order = orders[i];
        runs += fail_each_call();
    }
    order = orders[0];
    return runs;
}

/* The agent hangs up instead of saying yes: no session, no cache, and every later call refuses. */
static long refuse_each_question(void)
{
    static const int questions[] = {1, 2, 3, 5, 6, 7};
    long runs = 0;
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        for (agent.kind = 1; agent.kind <= 3; agent.kind++)
            for (size_t j = 0; j < sizeof questions / sizeof *questions; j++, runs++) {
                order = orders[i];
                agent.no = questions[j];
                bool unasked = agent.kind != 1 && (agent.no == 5 || agent.no == 6);
                CHECK(run("alice", "0123abcd") == unasked);
            }
    agent.no = 0;
    order = orders[0];
    return runs;
}

static long alter_the_reply(void)
{
    static const unsigned char changes[] = {0, 1, 2, 3, '/', 0x7f, 0x80, 0xff};
    long runs = 0;
    for (agent.kind = 0; agent.kind <= 3; agent.kind++)
        for (agent.altered = 0; agent.altered < 320; agent.altered++)
            for (size_t i = 0; i < sizeof changes; i++, runs++) {
                agent.change = changes[i];
                agent.late = false;
                (void)run("alice", "0123abcd");
                agent.late = true;
                bool named = agent.altered == 4 || agent.altered == 5; /* the version and the kind of a yes */
                bool same = changes[i] == (named ? 3 : 0);
                same = same && (agent.altered >= 17 || named || (agent.altered >= 6 && agent.altered < 12));
                CHECK(run("alice", "0123abcd") == (same && agent.kind != 0));
            }
    agent.altered = -1;
    agent.late = false;
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

/* The order of the records: GET, then TRIED and PASSED for a password, ESTABLISHED, OPENED, each after HELD or
 * as good as that; the second GET with its own; CLOSED. */
static long hear_the_order(void)
{
    static const char *const told[] = {"11", "15" "6" "72" "73" "15" "62" "4", "17" "7" "72" "73" "17" "72" "4",
                                       "17" "7" "72" "73" "17" "72" "4"};
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
    runs += fail_each_call_in_each_order();
    runs += refuse_each_question();
    runs += alter_the_reply();
    runs += play_tricks();
    runs += attack_the_cache();
    (void)unlink(socket_path);
    CHECK(rmdir(folder) == 0);
    printf("%ld runs\n", runs);
    return 0;
}
