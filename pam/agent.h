/* Talks to the guest agent: records of fixed size on a SOCK_SEQPACKET socket. */
#ifndef SSO_AGENT_H
#define SSO_AGENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "secret.h"

enum { SERVICE_SIZE = 64, TTY_SIZE = 64, USER_SIZE = 256, TOKEN_SIZE = 72, PATH_SIZE = 240 };

/* src/sso/guest/agent/pam_socket.py says what they mean, and their order. */
enum operation { GET = 1, ESTABLISHED = 2, OPENED = 3, CLOSED = 4, TRIED = 5, PASSED = 6, HELD = 7 };
enum kind { NONE = 0, PASSWORD = 1, KERBEROS = 2, IDENTITY = 3 };

/* The content of a request; NULL and "" are the same. */
struct subject {
    const char *service, *tty, *user, *token, *path;
};

struct answer {
    enum kind kind;
    char user[USER_SIZE];
    struct secret secret; /* the password, or the bytes of a credential cache */
};

/* Functions that return text: NULL = success, else what went wrong, for the log, without any data. */

/* The one of these texts that holds for every login until an upgrade; log it only once. */
extern const char OTHER_VERSION[];

/* Ask the agent that runs as `owner`. On success *connection stays open, for agent_ask and agent_close. */
const char *agent_get(const char *path, uid_t owner, const struct subject *subject, struct answer *answer,
                      int *connection);

/* Ask whether the login may take this next step; anything but a yes for subject->user is a no. */
const char *agent_ask(int connection, enum operation operation, const struct subject *subject);

/* Tell the agent that the session is over. There is no answer, and nothing depends on it. */
void agent_close(int connection, const struct subject *subject);

#endif
