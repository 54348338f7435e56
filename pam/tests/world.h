/*
 * A PAM and an agent for the module's sources, and a fault in the middle of them: the N-th call out of the
 * module fails, be it a system call or a function of libpam. The agent answers within send(), so that no
 * second process and no clock is needed.
 */
#ifndef SSO_WORLD_H
#define SSO_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <security/pam_modutil.h>

#define CHECK(condition)                                                                                    \
    do {                                                                                                    \
        if (!(condition)) {                                                                                 \
            fprintf(stderr, "%s:%d: %s (failing call %ld: %s, errno %d, kind %d)\n", __FILE__, __LINE__,    \
                    #condition, fail_at, failed_call, fail_errno, agent.kind);                              \
            abort();                                                                                        \
        }                                                                                                   \
    } while (0)

extern long calls, fail_at; /* calls made, and which of them fails; 0 = none */
extern int fail_errno;
extern bool fail_short; /* it does a part only instead of failing */
extern const char *failed_call;
extern bool known_name; /* the random name of a cache is krb5cc_UID_aaaaaaaaaaaa */
extern bool inside; /* the module runs, not the test program */
extern int mappings;

enum trick { HONEST, NO_FILE, TWO_FILES, MANY_FILES, DEVICE, LONG_RECORD, SHORT_RECORD, HANG_UP, TRICKS };
enum { CONNECTIONS = 4 };

struct agent {
    int kind, altered; /* altered = the byte of a reply that becomes `change`; -1 = none */
    bool late;         /* not of the reply to the first question, but of those to all later ones */
    int no;            /* the operation that it answers by hanging up; 0 = none */
    enum trick trick;
    unsigned char change;
    int listener, connections[CONNECTIONS]; /* 0 = none */
    char told[64];                          /* the operations heard, as digits */
    char content[1024];
};
extern struct agent agent;

extern char folder[64], socket_path[80];
extern uid_t user_id; /* of alice */

struct pam_handle {
    const char *rhost, *token;
    char *user, *authtok;
    char setting[320];
    void *data;
    void (*cleanup)(pam_handle_t *, void *, int);
};

void open_agent(void);
void hang_up_agent(void);

#endif
