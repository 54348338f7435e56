/*
 * pam_sso: log in with the credential that the guest agent received from the client of this console.
 *
 * auth     optional                       pam_sso.so early   names the user if no name is known yet
 * auth     [success=done default=ignore]  pam_sso.so         decides
 * account  CONTROL                        pam_sso.so check   first line: may the login go on?
 * session  CONTROL                        pam_sso.so check   first line: the same, and store the ticket
 * session  CONTROL                        pam_sso.so         last line: the session is open; or closed
 *
 * where CONTROL is [success=ignore ignore=ignore module_unknown=ignore default=die].
 * Arguments: socket=PATH  agent_uid=N  ccache_dir=/DIR  token (ask the greeter for a token)  early  check
 *
 * Without an agent, without an answer in time, or with an answer for another user, the module has no effect:
 * PAM_AUTHINFO_UNAVAIL, and no failure is counted. It never shows a message (PAM_SILENT).
 *
 * After the module has granted a login, each later call asks the agent whether the login may go on. After one
 * no every call refuses, whatever the order of the program's calls (Debian's login opens the session before
 * it sets the credentials) and whatever the stack does with the result (libpam drops the result of setcred
 * when another module has checked the password).
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <security/pam_modutil.h>

#include "login.h"

#define EXPORT __attribute__((visibility("default")))

/* Arguments */

struct options {
    const char *socket, *ccache_dir;
    uid_t agent_uid;
    bool token, early, check;
};

static bool read_uid(const char *text, uid_t *uid)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    *uid = (uid_t)number;
    return isdigit((unsigned char)text[0]) && *end == '\0' && errno == 0 && number < (uid_t)-1;
}

static bool read_options(pam_handle_t *pamh, struct options *options, int argc, const char **argv)
{
    *options = (struct options){.socket = "/run/console-sso/pam.sock", .ccache_dir = "/tmp"};
    bool good = true;
    for (int i = 0; i < argc; i++) {
        const char *value = strchr(argv[i], '=');
        size_t length = value ? (size_t)(++value - argv[i]) : 0;
        if (value && strncmp(argv[i], "socket=", length) == 0)
            options->socket = value;
        else if (value && strncmp(argv[i], "ccache_dir=", length) == 0)
            options->ccache_dir = value;
        else if (value && strncmp(argv[i], "agent_uid=", length) == 0)
            good = good && read_uid(value, &options->agent_uid);
        else if (strcmp(argv[i], "token") == 0)
            options->token = true;
        else if (strcmp(argv[i], "early") == 0)
            options->early = true;
        else if (strcmp(argv[i], "check") == 0)
            options->check = true;
        else
            good = false;
    }
    if (!good)
        pam_syslog(pamh, LOG_ERR, "an argument is not understood");
    return good;
}

/* Items */

static const char *item(pam_handle_t *pamh, int type)
{
    const void *text;
    return pam_get_item(pamh, type, &text) == PAM_SUCCESS && text ? text : "";
}

static struct subject describe(pam_handle_t *pamh)
{
    static const char dev[] = "/dev/";
    const char *tty = item(pamh, PAM_TTY);
    if (strncmp(tty, dev, sizeof dev - 1) == 0)
        tty += sizeof dev - 1;
    return (struct subject){.service = item(pamh, PAM_SERVICE), .tty = tty, .user = item(pamh, PAM_USER)};
}

/* Asking and deciding */

static bool is_token(const char *text)
{
    size_t length = strnlen(text, TOKEN_SIZE);
    for (size_t i = 0; i < length; i++)
        if (!isxdigit((unsigned char)text[i]))
            return false;
    return 0 < length && length < TOKEN_SIZE;
}

static const char *ask(pam_handle_t *pamh, const struct options *options, struct login *login)
{
    struct subject subject = describe(pamh);
    const char *problem = NULL;
    char *token = NULL;
    /* Without echo, since greeters answer only such a prompt without the user. */
    if (options->token && (pam_prompt(pamh, PAM_PROMPT_ECHO_OFF, &token, "%s", "Token: ") != PAM_SUCCESS ||
                           !token || !is_token(token)))
        problem = "the greeter gave no token";
    subject.token = token;
    if (!problem)
        problem = agent_get(options->socket, options->agent_uid, &subject,
                            &login->answer, &login->connection);
    if (token)
        explicit_bzero(token, strlen(token));
    free(token);
    return problem;
}

static const char *name_user(pam_handle_t *pamh, const struct login *login)
{
    const char *user = item(pamh, PAM_USER);
    if (user[0] != '\0')
        return strcmp(user, login->answer.user) == 0 ? NULL : "the credential is for another user";
    bool named = pam_set_item(pamh, PAM_USER, login->answer.user) == PAM_SUCCESS;
    return named ? NULL : "the user cannot be named";
}

static const char *use_answer(pam_handle_t *pamh, struct login *login, int *verdict)
{
    struct secret *secret = &login->answer.secret;
    bool password = login->answer.kind == PASSWORD;
    const char *problem = name_user(pamh, login);
    if (!problem && password && memchr(secret->octets, '\0', secret->length))
        problem = "the password is not a text";
    if (!problem) {
        struct subject subject = describe(pamh);
        problem = agent_ask(login->connection, password ? TRIED : HELD, &subject);
    }
    /* The next module tries the password, once; it finds it in PAM_AUTHTOK, as after a prompt. */
    if (!problem && password && pam_set_item(pamh, PAM_AUTHTOK, secret->octets) != PAM_SUCCESS)
        problem = "the password cannot be handed on";
    if (password)
        secret_wipe(secret);
    login->unproved = password;
    *verdict = password ? PAM_IGNORE : PAM_SUCCESS;
    return problem;
}

/* Log why a question failed; a problem that holds for every login is logged once. */
static void log_problem(pam_handle_t *pamh, const char *problem)
{
    static bool said;
    if (problem == OTHER_VERSION && said)
        return;
    said = said || problem == OTHER_VERSION;
    pam_syslog(pamh, problem == OTHER_VERSION ? LOG_ERR : LOG_NOTICE, "%s", problem);
}

/* The line that decides. It asks the agent, unless the early line has asked. */
static int decide(pam_handle_t *pamh, const struct options *options, struct login *login)
{
    enum early early = login->early;
    const char *problem = NULL;
    int verdict = PAM_AUTHINFO_UNAVAIL;
    if (early == NOT_ASKED) {
        login_drop_answer(pamh, login);
        problem = ask(pamh, options, login);
    }
    login->early = NOT_ASKED;
    if (!problem && login->answer.kind == NONE)
        return PAM_AUTHINFO_UNAVAIL;
    if (!problem)
        problem = use_answer(pamh, login, &verdict);
    if (!problem) {
        login->state = GOOD;
        return verdict;
    }
    login_drop_answer(pamh, login);
    log_problem(pamh, problem);
    return PAM_AUTHINFO_UNAVAIL;
}

/* The early line. It only names the user, so that the modules between the two lines check this user. */
static int name_early(pam_handle_t *pamh, const struct options *options, struct login *login)
{
    login_drop_answer(pamh, login);
    if (item(pamh, PAM_USER)[0] != '\0')
        return PAM_IGNORE;
    const char *problem = ask(pamh, options, login);
    if (!problem && login->answer.kind == NONE)
        return PAM_IGNORE;
    if (!problem)
        problem = name_user(pamh, login);
    if (problem) {
        login_drop_answer(pamh, login);
        log_problem(pamh, problem);
    }
    login->early = problem ? IN_VAIN : ANSWERED;
    return PAM_IGNORE;
}

EXPORT int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    (void)flags;
    struct options options;
    struct login *login = login_find(pamh);
    /* A login from another machine never gets a credential of this console. */
    if (!read_options(pamh, &options, argc, argv) || options.check || item(pamh, PAM_RHOST)[0] != '\0') {
        if (login)
            login_drop_answer(pamh, login);
        return PAM_AUTHINFO_UNAVAIL;
    }
    if (!login && !(login = login_make(pamh)))
        return PAM_BUF_ERR;
    return options.early ? name_early(pamh, &options, login) : decide(pamh, &options, login);
}

/* After the authentication */

/* Return the state of the login. A malformed line refuses a login of ours, and leaves other logins alone. */
static enum state stand(pam_handle_t *pamh, struct login *login, bool understood)
{
    /* The line that decides never ran: another module has let the user in. */
    if (login->early == ANSWERED)
        login_drop_answer(pamh, login);
    if (login->state == GOOD && !understood)
        (void)login_spoil(pamh, login, "a line of the service is not understood");
    return login->state;
}

/* Ask whether a good login may take this next step; a no spoils it. */
static bool go_on(pam_handle_t *pamh, struct login *login, enum operation operation)
{
    struct subject subject = describe(pamh);
    if (strcmp(subject.user, login->answer.user) != 0)
        return login_spoil(pamh, login, "the user has changed after the authentication");
    subject.path = login->cache.path;
    const char *problem = NULL;
    bool passed = login->unproved;
    if (passed)
        problem = agent_ask(login->connection, PASSED, &subject);
    /* A yes to PASSED is also a yes to HELD. */
    if (!problem && !(passed && operation == HELD))
        problem = agent_ask(login->connection, operation, &subject);
    if (problem)
        return login_spoil(pamh, login, problem);
    login->unproved = false;
    return true;
}

static bool store_ticket(pam_handle_t *pamh, const struct options *options, struct login *login, bool refresh)
{
    struct ccache *cache = &login->cache;
    const struct passwd *user = pam_modutil_getpwnam(pamh, login->answer.user);
    bool known = cache->path[0] != '\0';
    if (!user || (known && cache->uid != user->pw_uid))
        return false;
    /* A screen locker has no cache and must not make a second one: the agent refreshes the ticket. */
    if (refresh && !known)
        return true;
    if (known) {
        if (!ccache_replace(cache, &login->answer.secret))
            return false;
    } else {
        char setting[sizeof "KRB5CCNAME=FILE:" + PATH_SIZE];
        *cache = (struct ccache){.uid = user->pw_uid, .gid = user->pw_gid};
        if (!ccache_create(cache, options->ccache_dir, &login->answer.secret))
            return false;
        (void)snprintf(setting, sizeof setting, "%s=FILE:%s", CCACHE_NAME, cache->path);
        if (pam_putenv(pamh, setting) != PAM_SUCCESS)
            return false;
    }
    secret_wipe(&login->answer.secret);
    return true;
}

/* Store the ticket; tell the agent before and after, so that it knows of everything. */
static bool establish(pam_handle_t *pamh, const struct options *options, struct login *login, bool refresh)
{
    if (login->connection < 0)
        return true; /* the session is open */
    if (!go_on(pamh, login, HELD))
        return false;
    if (login->established)
        return true;
    if (login->answer.secret.octets && !store_ticket(pamh, options, login, refresh))
        return login_spoil(pamh, login, "the ticket cannot be stored in its folder");
    login->established = go_on(pamh, login, ESTABLISHED);
    return login->established;
}

EXPORT int pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    struct options options;
    struct login *login = login_find(pamh);
    if (!login)
        return PAM_IGNORE;
    bool understood = read_options(pamh, &options, argc, argv);
    if (options.early)
        return PAM_IGNORE;
    if (flags & PAM_DELETE_CRED) {
        /* libpam would log the removal of a variable that is not set. */
        if (login->cache.path[0] != '\0')
            (void)pam_putenv(pamh, CCACHE_NAME);
        ccache_remove(&login->cache);
        return PAM_SUCCESS;
    }
    enum state state = stand(pamh, login, understood);
    if (state == NOT_OURS)
        return PAM_IGNORE;
    bool refresh = flags & (PAM_REFRESH_CRED | PAM_REINITIALIZE_CRED);
    return state == GOOD && establish(pamh, &options, login, refresh) ? PAM_SUCCESS : PAM_CRED_ERR;
}

EXPORT int pam_sm_acct_mgmt(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    (void)flags;
    struct options options;
    struct login *login = login_find(pamh);
    if (!login)
        return PAM_IGNORE;
    enum state state = stand(pamh, login, read_options(pamh, &options, argc, argv));
    if (state == GOOD && login->connection >= 0 && !go_on(pamh, login, HELD))
        state = SPOILED;
    return state == SPOILED ? PAM_PERM_DENIED : PAM_IGNORE;
}

/* The first session line, `check`, runs before all modules that set up the session. It stores the ticket if
 * it is not stored yet, so that a folder that cannot take it stops the login in time. */
EXPORT int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    (void)flags;
    struct options options;
    struct login *login = login_find(pamh);
    if (!login)
        return PAM_IGNORE;
    enum state state = stand(pamh, login, read_options(pamh, &options, argc, argv));
    if (state == NOT_OURS || (state == GOOD && login->connection < 0))
        return PAM_IGNORE;
    bool ask = options.check || !login->established;
    if (state == SPOILED || (ask && !establish(pamh, &options, login, false)))
        return PAM_SESSION_ERR;
    if (options.check)
        return PAM_IGNORE;
    if (!go_on(pamh, login, OPENED))
        return PAM_SESSION_ERR;
    hang_up(&login->session);
    login->session = login->connection;
    login->connection = -1;
    return PAM_IGNORE;
}

EXPORT int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    (void)flags;
    struct options options;
    struct login *login = login_find(pamh);
    if (!login || login->session < 0)
        return PAM_IGNORE;
    /* Close the session even if the line is malformed, but only once: the `check` line does not close it. */
    (void)read_options(pamh, &options, argc, argv);
    if (options.check)
        return PAM_IGNORE;
    struct subject subject = describe(pamh);
    subject.path = login->cache.path;
    agent_close(login->session, &subject);
    ccache_remove(&login->cache);
    (void)pam_putenv(pamh, CCACHE_NAME);
    hang_up(&login->session);
    /* The answer is used up: a second session needs a second answer. */
    if (login->state == GOOD && login->connection < 0)
        login->state = SPOILED;
    return PAM_SUCCESS;
}
