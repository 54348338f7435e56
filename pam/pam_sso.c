/*
 * pam_sso: log in with what the guest agent has received from the client of this console.
 *
 * auth     optional                       pam_sso.so early   names the user if no name is known yet
 * auth     [success=done default=ignore]  pam_sso.so         decides
 * session  optional                       pam_sso.so         removes the ticket at the end
 *
 * Arguments: socket=PATH  agent_uid=N  ccache_dir=/DIR  token (ask the greeter for a token)  early
 *
 * Without an agent, without an answer in time, or with an answer for another user it is as if the module
 * were not there: PAM_AUTHINFO_UNAVAIL, and no failure is counted. No message is ever shown (PAM_SILENT).
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <security/pam_modutil.h>

#include "agent.h"
#include "ccache.h"

#define EXPORT __attribute__((visibility("default")))

static const char KEY[] = "console-sso";
static const char CCACHE_NAME[] = "KRB5CCNAME";

/* Arguments */

struct options {
    const char *socket, *ccache_dir;
    uid_t agent_uid;
    bool token, early;
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
        else
            good = false;
    }
    if (!good)
        pam_syslog(pamh, LOG_ERR, "an argument is not understood");
    return good;
}

/* What one handle knows. A credential has its own connection until a session takes that over. */

enum early { NOT_ASKED, ANSWERED, IN_VAIN };

struct login {
    struct answer answer;
    int connection;   /* of the answer; -1 = there is no answer */
    enum early early; /* what the early line has left to the line that decides */
    bool established; /* the agent knows that the answer was used */
    int session;      /* the connection of the open session; -1 = no session is open */
    struct ccache cache;
};

static void hang_up(int *connection)
{
    if (*connection >= 0)
        (void)close(*connection);
    *connection = -1;
}

/* Drop the answer, and its cache unless a session lives on it. */
static void drop_answer(pam_handle_t *pamh, struct login *login)
{
    secret_wipe(&login->answer.secret);
    hang_up(&login->connection);
    login->answer = (struct answer){.kind = NONE};
    login->early = NOT_ASKED;
    login->established = false;
    if (login->session < 0 && login->cache.path[0] != '\0') {
        ccache_remove(&login->cache);
        (void)pam_putenv(pamh, CCACHE_NAME);
    }
}

static void end_login(pam_handle_t *pamh, void *data, int status)
{
    struct login *login = data;
    /* A forked child that calls pam_end() gives back its copy; session and cache are its parent's. */
    if (status & PAM_DATA_SILENT) {
        login->cache.path[0] = '\0';
    } else if (login->session >= 0) {
        (void)agent_tell(login->session, CLOSED, &(struct subject){.user = login->answer.user});
    }
    drop_answer(pamh, login);
    hang_up(&login->session);
    free(login);
}

static struct login *find_login(pam_handle_t *pamh)
{
    const void *data;
    return pam_get_data(pamh, KEY, &data) == PAM_SUCCESS ? (struct login *)data : NULL;
}

static struct login *make_login(pam_handle_t *pamh)
{
    struct login *login = calloc(1, sizeof *login);
    if (!login)
        return NULL;
    login->connection = login->session = -1;
    if (pam_set_data(pamh, KEY, login, end_login) == PAM_SUCCESS)
        return login;
    free(login);
    return NULL;
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
    /* Without echo: greeters answer only such a prompt by themselves. */
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
    const char *problem = name_user(pamh, login);
    if (problem)
        return problem;
    if (!agent_holds(login->connection))
        return "the agent has taken its answer back";
    *verdict = PAM_SUCCESS;
    if (login->answer.kind != PASSWORD)
        return NULL;
    /* The next module tries the password, once; it finds it where a prompt would have put it. */
    *verdict = PAM_IGNORE;
    if (memchr(secret->octets, '\0', secret->length))
        problem = "the password is not a text";
    else if (pam_set_item(pamh, PAM_AUTHTOK, secret->octets) != PAM_SUCCESS)
        problem = "the password cannot be handed on";
    secret_wipe(secret);
    return problem;
}

/* The line that decides. It asks for itself unless the early line has done so. */
static int decide(pam_handle_t *pamh, const struct options *options, struct login *login)
{
    enum early early = login->early;
    login->early = NOT_ASKED;
    if (early == IN_VAIN)
        return PAM_AUTHINFO_UNAVAIL;
    const char *problem = NULL;
    int verdict = PAM_AUTHINFO_UNAVAIL;
    if (early == NOT_ASKED) {
        drop_answer(pamh, login);
        problem = ask(pamh, options, login);
    }
    if (!problem && login->answer.kind != NONE)
        problem = use_answer(pamh, login, &verdict);
    if (!problem)
        return verdict;
    drop_answer(pamh, login);
    pam_syslog(pamh, LOG_NOTICE, "%s", problem);
    return PAM_AUTHINFO_UNAVAIL;
}

/* The early line. It only names the user, so that what stands between the lines is asked about that user. */
static int name_early(pam_handle_t *pamh, const struct options *options, struct login *login)
{
    drop_answer(pamh, login);
    if (item(pamh, PAM_USER)[0] != '\0')
        return PAM_IGNORE;
    const char *problem = ask(pamh, options, login);
    if (!problem && login->answer.kind == NONE)
        return PAM_IGNORE;
    if (!problem)
        problem = name_user(pamh, login);
    if (problem) {
        drop_answer(pamh, login);
        pam_syslog(pamh, LOG_NOTICE, "%s", problem);
    }
    login->early = problem ? IN_VAIN : ANSWERED;
    return PAM_IGNORE;
}

EXPORT int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    (void)flags;
    struct options options;
    struct login *login = find_login(pamh);
    /* A login from elsewhere never takes what came by this console. */
    if (!read_options(pamh, &options, argc, argv) || item(pamh, PAM_RHOST)[0] != '\0') {
        if (login)
            drop_answer(pamh, login);
        return PAM_AUTHINFO_UNAVAIL;
    }
    if (!login && !(login = make_login(pamh)))
        return PAM_BUF_ERR;
    return options.early ? name_early(pamh, &options, login) : decide(pamh, &options, login);
}

/* Credentials and session */

static bool store_ticket(pam_handle_t *pamh, const struct options *options, struct login *login, bool refresh)
{
    struct ccache *cache = &login->cache;
    const struct passwd *user = pam_modutil_getpwnam(pamh, login->answer.user);
    bool known = cache->path[0] != '\0';
    if (!user || (known && cache->uid != user->pw_uid))
        return false;
    /* A locker knows no cache and must not make a second one: it leaves the ticket to the agent. */
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

/* Put the answer to use, and tell the agent: what it does not hear of does not happen. */
static bool establish(pam_handle_t *pamh, const struct options *options, struct login *login, bool refresh)
{
    struct subject subject = describe(pamh);
    if (login->connection < 0)
        return true;
    if (strcmp(subject.user, login->answer.user) != 0) {
        pam_syslog(pamh, LOG_ERR, "the user has changed after the authentication");
        return false;
    }
    if (login->answer.secret.octets && !store_ticket(pamh, options, login, refresh)) {
        pam_syslog(pamh, LOG_ERR, "the ticket cannot be stored");
        return false;
    }
    subject.path = login->cache.path;
    if (!login->established && !agent_tell(login->connection, ESTABLISHED, &subject)) {
        pam_syslog(pamh, LOG_ERR, "the agent does not hear of the login");
        return false;
    }
    login->established = true;
    return true;
}

EXPORT int pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    struct options options;
    struct login *login = find_login(pamh);
    if (!login || !read_options(pamh, &options, argc, argv) || options.early)
        return PAM_IGNORE;
    if (flags & PAM_DELETE_CRED) {
        ccache_remove(&login->cache);
        (void)pam_putenv(pamh, CCACHE_NAME);
        return PAM_SUCCESS;
    }
    if (establish(pamh, &options, login, flags & (PAM_REFRESH_CRED | PAM_REINITIALIZE_CRED)))
        return PAM_SUCCESS;
    drop_answer(pamh, login);
    return PAM_CRED_ERR;
}

EXPORT int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    (void)flags;
    struct options options;
    struct login *login = find_login(pamh);
    if (!login || login->connection < 0 || !read_options(pamh, &options, argc, argv))
        return PAM_IGNORE;
    /* Some programs open the session first and set the credentials later, or never. */
    if (!establish(pamh, &options, login, false)) {
        drop_answer(pamh, login);
        return PAM_SESSION_ERR;
    }
    hang_up(&login->session);
    login->session = login->connection;
    login->connection = -1;
    struct subject subject = describe(pamh);
    subject.path = login->cache.path;
    if (!agent_tell(login->session, OPENED, &subject))
        pam_syslog(pamh, LOG_NOTICE, "the agent does not hear of the session");
    return PAM_SUCCESS;
}

EXPORT int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    (void)flags;
    (void)argc;
    (void)argv;
    struct login *login = find_login(pamh);
    if (!login || login->session < 0)
        return PAM_IGNORE;
    struct subject subject = describe(pamh);
    subject.path = login->cache.path;
    (void)agent_tell(login->session, CLOSED, &subject);
    ccache_remove(&login->cache);
    (void)pam_putenv(pamh, CCACHE_NAME);
    hang_up(&login->session);
    return PAM_SUCCESS;
}
