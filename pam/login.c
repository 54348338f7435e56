#include "login.h"

#include <stdlib.h>
#include <syslog.h>
#include <unistd.h>

#include <security/pam_ext.h>

static const char KEY[] = "console-sso";
const char CCACHE_NAME[] = "KRB5CCNAME";

void hang_up(int *connection)
{
    if (*connection >= 0)
        (void)close(*connection);
    *connection = -1;
}

void login_drop_answer(pam_handle_t *pamh, struct login *login)
{
    secret_wipe(&login->answer.secret);
    hang_up(&login->connection);
    login->answer = (struct answer){.kind = NONE};
    login->early = NOT_ASKED;
    login->state = NOT_OURS;
    login->unproved = login->established = false;
    if (login->session < 0 && login->cache.path[0] != '\0') {
        ccache_remove(&login->cache);
        (void)pam_putenv(pamh, CCACHE_NAME);
    }
}

bool login_spoil(pam_handle_t *pamh, struct login *login, const char *problem)
{
    login_drop_answer(pamh, login);
    login->state = SPOILED;
    pam_syslog(pamh, LOG_ERR, "%s: the login is refused", problem);
    return false;
}

static void end_login(pam_handle_t *pamh, void *data, int status)
{
    struct login *login = data;
    /* A forked child that calls pam_end() frees only its copy; session and cache belong to its parent. */
    if (status & PAM_DATA_SILENT) {
        login->cache.path[0] = '\0';
    } else if (login->session >= 0) {
        agent_close(login->session, &(struct subject){.user = login->answer.user});
    }
    login_drop_answer(pamh, login);
    hang_up(&login->session);
    free(login);
}

struct login *login_find(pam_handle_t *pamh)
{
    const void *data;
    return pam_get_data(pamh, KEY, &data) == PAM_SUCCESS ? (struct login *)data : NULL;
}

struct login *login_make(pam_handle_t *pamh)
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
