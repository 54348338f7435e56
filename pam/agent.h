/* The conversation with the guest agent: records of fixed size on a SOCK_SEQPACKET socket. */
#ifndef SSO_AGENT_H
#define SSO_AGENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "secret.h"

enum { SERVICE_SIZE = 64, TTY_SIZE = 64, USER_SIZE = 256, TOKEN_SIZE = 72, PATH_SIZE = 240 };

/* What they mean, and which follows which: src/sso/guest/agent/pam_socket.py. */
enum operation { GET = 1, ESTABLISHED = 2, OPENED = 3, CLOSED = 4, TRIED = 5, PASSED = 6, HELD = 7 };
enum kind { NONE = 0, PASSWORD = 1, KERBEROS = 2, IDENTITY = 3 };

/* What a request tells; NULL and "" are the same. */
struct subject {
    const char *service, *tty, *user, *token, *path;
};

struct answer {
    enum kind kind;
    char user[USER_SIZE];
    struct secret secret; /* the password, or the octets of a credential cache */
};

/* All functions that return text: NULL = done, else what went wrong, for the log, without any data. */

/* The one of these texts that is true of each login until somebody upgrades; to be logged once. */
extern const char OTHER_VERSION[];

/* Ask the agent that runs as `owner`. On success *connection stays open: it carries what becomes of it. */
const char *agent_get(const char *path, uid_t owner, const struct subject *subject, struct answer *answer,
                      int *connection);

/* Ask whether the login may go this step further; anything but a yes for subject->user is a no. */
const char *agent_ask(int connection, enum operation operation, const struct subject *subject);

/* Say that it is over. Nobody answers, and nothing depends on it. */
void agent_close(int connection, const struct subject *subject);

#endif
