/* A login: what the module keeps on one PAM handle from one call to the next. A credential has its own connection
 * until a session takes it over. */
#ifndef SSO_LOGIN_H
#define SSO_LOGIN_H

#include <stdbool.h>

#include <security/pam_modules.h>

#include "agent.h"
#include "ccache.h"

enum early { NOT_ASKED, ANSWERED, IN_VAIN };

/* The result of the last pam_authenticate: not ours (for example typed by hand); ours, and good until the
 * agent says no; ours, and every later call refuses it. */
enum state { NOT_OURS, GOOD, SPOILED };

struct login {
    struct answer answer;
    int connection;   /* of the answer; -1 = none, or the session has it */
    enum early early; /* what the early line has done */
    enum state state;
    bool unproved;    /* the next module got the password, and no later call shows yet that it was right */
    bool established; /* the agent knows that the credentials are set */
    int session;      /* the connection of the open session; -1 = no session is open */
    struct ccache cache;
};

/* The variable of the session that names the cache. */
extern const char CCACHE_NAME[];

/* The login of this handle, NULL if there is none. */
struct login *login_find(pam_handle_t *pamh);

/* Make one; pam_end() ends it. NULL without memory. */
struct login *login_make(pam_handle_t *pamh);

/* Drop the answer, and its cache unless an open session uses it. */
void login_drop_answer(pam_handle_t *pamh, struct login *login);

/* Refuse the login in every later call, and log that once. Always returns false. */
bool login_spoil(pam_handle_t *pamh, struct login *login, const char *problem);

/* Close a connection, if there is one. */
void hang_up(int *connection);

#endif
