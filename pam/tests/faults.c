/*
 * Runs the module's sources behind a PAM and an agent of its own, and makes every call fail in turn.
 *
 * One run is a whole life of a handle: authenticate twice (early line, deciding line), set the credentials,
 * open the session, authenticate again and refresh, close. Run N of a series makes the N-th call fail: a system
 * call, or a function of libpam. Whatever happens, the module must return a code that its caller knows, grant
 * nothing that it did not get, leave no descriptor, no mapping and no file, and become root again. The
 * sanitizers watch the memory. Then the agent misbehaves: every octet of its reply is altered, files are
 * missing or too many. Prints one line with the number of runs; any breach aborts.
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

static void use(pam_handle_t *pamh, int argc, const char **argv)
{
    int code = call(pam_sm_setcred, pamh, PAM_ESTABLISH_CRED, argc, argv);
    CHECK(code == PAM_SUCCESS || code == PAM_CRED_ERR);
    if (code != PAM_SUCCESS)
        return;
    if (agent.kind == 2 && agent.altered < 0)
        check_cache(pamh);
    code = call(pam_sm_open_session, pamh, 0, argc, argv);
    CHECK(code == PAM_SUCCESS || code == PAM_SESSION_ERR);
    if (code != PAM_SUCCESS)
        return;
    if (authenticate(pamh, argc, argv)) {
        code = call(pam_sm_setcred, pamh, PAM_REFRESH_CRED, argc, argv);
        CHECK(code == PAM_SUCCESS || code == PAM_CRED_ERR);
    }
    if (agent.kind == 2 && agent.altered < 0)
        check_cache(pamh);
    bool before = fail_at > calls;
    CHECK(call(pam_sm_close_session, pamh, 0, argc, argv) == PAM_SUCCESS);
    CHECK(call(pam_sm_setcred, pamh, PAM_DELETE_CRED, argc, argv) == PAM_SUCCESS);
    failing_at_the_end = before && fail_at <= calls;
}

/* Returns whether the user was let in. `token` NULL = the greeter gives none. */
static bool run(const char *user, const char *token)
{
    const char *argv[6] = {socket_path, folder, "agent_uid=0", "token"};
    char socket_argument[100], folder_argument[100], owner[40];
    pam_handle_t pamh = {.user = user ? strdup(user) : NULL, .token = token};
    snprintf(socket_argument, sizeof socket_argument, "socket=%s", socket_path);
    snprintf(folder_argument, sizeof folder_argument, "ccache_dir=%s", folder);
    snprintf(owner, sizeof owner, "agent_uid=%u", geteuid());
    argv[0] = socket_argument;
    argv[1] = folder_argument;
    argv[2] = owner;
    calls = 0;
    failed_call = "none";
    agent.told[0] = '\0';
    failing_at_the_end = false;
    int descriptors = count_entries("/proc/self/fd", "");
    bool granted = authenticate(&pamh, 4, argv);
    if (granted)
        use(&pamh, 4, argv);
    if (pamh.data) {
        inside = true;
        pamh.cleanup(&pamh, pamh.data, PAM_SUCCESS);
        inside = false;
    }
    if (strcmp(failed_call, "unlinkat") != 0 && !failing_at_the_end)
        CHECK(count_entries(folder, "krb5cc_") == 0);
    hang_up_agent();
    CHECK(mappings == 0 && count_entries("/proc/self/fd", "") == descriptors);
    free(pamh.user);
    free(pamh.authtok);
    char command[100];
    if (count_entries(folder, "krb5cc_") > 0) {
        snprintf(command, sizeof command, "rm -f %s/krb5cc_*", folder);
        CHECK(system(command) == 0);
    }
    return granted;
}

/* The series */

static long fail_each_call(void)
{
    static const int errors[] = {EINTR, EAGAIN, EIO, ENOMEM, EEXIST};
    long runs = 0;
    for (agent.kind = 0; agent.kind <= 3; agent.kind++)
        for (size_t i = 0; i <= sizeof errors / sizeof *errors; i++) {
            fail_short = i == sizeof errors / sizeof *errors;
            fail_errno = fail_short ? EAGAIN : errors[i];
            for (fail_at = 1;; fail_at++, runs++) {
                (void)run(fail_at % 2 ? "alice" : NULL, "0123abcd");
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
            /* Without a secret "no file" and a pipe that is not sent are the honest reply. */
            bool honest = agent.kind == 3 && (agent.trick == NO_FILE || agent.trick == PIPE);
            CHECK(run("alice", "0123abcd") == honest);
        }
    agent.trick = HONEST;
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
    (void)unlink(socket_path);
    CHECK(rmdir(folder) == 0);
    printf("%ld runs\n", runs);
    return 0;
}
