#include "agent.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { VERSION = 3, PATIENCE = 3000 /* ms, for one question and its answer */, FILES = 4 };
enum { PASSWORD_MAX = 511 /* PAM_MAX_RESP_SIZE less its NUL */, CACHE_MAX = 128 * 1024 };

/* All members are bytes, so there is no padding and no byte order. */
struct request {
    char magic[4];
    uint8_t version, operation, zero[2];
    char service[SERVICE_SIZE], tty[TTY_SIZE], user[USER_SIZE], token[TOKEN_SIZE], path[PATH_SIZE];
};
_Static_assert(sizeof(struct request) == 704, "the request record is 704 bytes");

struct reply {
    char magic[4];
    uint8_t version, kind, zero[2], length[4];
    char user[USER_SIZE];
    char rest[52];
};
_Static_assert(sizeof(struct reply) == 320, "the reply record is 320 bytes");

/* Time: milliseconds of the monotonic clock. If the clock fails, every deadline counts as passed. */

static int64_t now(void)
{
    struct timespec time;
    if (clock_gettime(CLOCK_MONOTONIC, &time) != 0)
        return -1;
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static int left(int64_t deadline)
{
    int64_t time = now();
    return time < 0 || deadline <= time ? 0 : (int)(deadline - time);
}

static bool await(int connection, short events, int64_t deadline)
{
    int rest;
    while ((rest = left(deadline)) > 0) {
        struct pollfd poller = {.fd = connection, .events = events};
        int ready = poll(&poller, 1, rest);
        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return false;
    }
    return false;
}

/* Connecting */

static bool put_text(char *field, size_t size, const char *text)
{
    size_t length = text ? strnlen(text, size) : 0;
    if (length == size)
        return false;
    if (length > 0)
        memcpy(field, text, length);
    return true;
}

static const char *reach(int connection, const struct sockaddr_un *address, int64_t deadline)
{
    int rest;
    /* A full backlog blocks connect(). poll() cannot limit that wait, but the socket's own time-out can. */
    while ((rest = left(deadline)) > 0) {
        struct timeval wait = {.tv_sec = rest / 1000, .tv_usec = rest % 1000 * 1000};
        if (setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) != 0)
            break;
        if (connect(connection, (const struct sockaddr *)address, sizeof *address) == 0)
            return NULL;
        if (errno != EINTR)
            break;
    }
    return "the agent does not answer";
}

static const char *dial(const char *path, uid_t owner, int64_t deadline, int *connection)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path[0] != '/' || !put_text(address.sun_path, sizeof address.sun_path, path))
        return "the path of the agent's socket is not usable";
    int opened = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (opened < 0)
        return "no socket can be made";
    const char *problem = reach(opened, &address, deadline);
    if (!problem) {
        struct ucred peer = {.uid = (uid_t)-1};
        socklen_t size = sizeof peer;
        if (getsockopt(opened, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || size != sizeof peer ||
            peer.uid != owner)
            problem = "the agent's socket belongs to somebody else";
    }
    if (problem)
        (void)close(opened);
    else
        *connection = opened;
    return problem;
}

/* Requests */

static bool say(int connection, enum operation operation, const struct subject *subject, int64_t deadline)
{
    struct request request = {.magic = "SSOP", .version = VERSION, .operation = (uint8_t)operation};
    /* Never cut a text that is too long: it would name something else. */
    bool said = put_text(request.service, sizeof request.service, subject->service) &&
                put_text(request.tty, sizeof request.tty, subject->tty) &&
                put_text(request.user, sizeof request.user, subject->user) &&
                put_text(request.token, sizeof request.token, subject->token) &&
                put_text(request.path, sizeof request.path, subject->path);
    while (said) {
        ssize_t sent = send(connection, &request, sizeof request, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent == (ssize_t)sizeof request)
            break;
        bool again = sent < 0 && (errno == EINTR || errno == EAGAIN);
        said = again && await(connection, POLLOUT, deadline);
    }
    explicit_bzero(&request, sizeof request);
    return said;
}

/* Replies */

/* Keep the first received file in *kept and close the others; return the number of files. */
static int collect(struct msghdr *message, int *kept)
{
    int count = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        const unsigned char *data = CMSG_DATA(part);
        for (size_t at = 0; at + sizeof(int) <= part->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
            int file;
            memcpy(&file, data + at, sizeof file);
            if (count++ == 0)
                *kept = file;
            else
                (void)close(file);
        }
    }
    return count;
}

const char OTHER_VERSION[] = "the agent is of another version than pam_sso";

/* Check this before the size: the records of another version may have another size. */
static bool is_of_other_version(const struct reply *reply, size_t got)
{
    return got > offsetof(struct reply, version) && memcmp(reply->magic, "SSOR", sizeof reply->magic) == 0 &&
           reply->version != VERSION;
}

static const char *hear(int connection, struct reply *reply, int *file, int64_t deadline)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(FILES * sizeof(int))];
    } control;
    struct iovec data = {.iov_base = reply, .iov_len = sizeof *reply};
    struct msghdr message;
    ssize_t got;
    do {
        if (!await(connection, POLLIN, deadline))
            return "the agent is silent";
        message = (struct msghdr){.msg_iov = &data,
                                  .msg_iovlen = 1,
                                  .msg_control = control.room,
                                  .msg_controllen = sizeof control.room};
        got = recvmsg(connection, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (got < 0 && (errno == EINTR || errno == EAGAIN));
    if (got < 0)
        return "the agent's reply cannot be read";
    int count = collect(&message, file);
    if (got == 0)
        return "the agent hung up";
    if (is_of_other_version(reply, (size_t)got))
        return OTHER_VERSION;
    if (got != sizeof *reply || message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || count > 1)
        return "the agent's reply is not a record";
    return NULL;
}

static bool all_zero(const void *octets, size_t length)
{
    const char *octet = octets;
    for (size_t i = 0; i < length; i++)
        if (octet[i] != 0)
            return false;
    return true;
}

/* Accept only a name that no program reads as an option, a path or a field separator. */
static bool is_name(const char *user, size_t size)
{
    size_t length = strnlen(user, size);
    if (length == 0 || length == size || user[0] == '-')
        return false;
    for (size_t i = 0; i < length; i++) {
        unsigned char octet = (unsigned char)user[i];
        if (octet < 0x20 || octet == 0x7f || octet == '/' || octet == ':')
            return false;
    }
    return all_zero(user + length, size - length);
}

static const char *judge(const struct reply *reply, int file, struct answer *answer)
{
    static const char malformed[] = "the agent's reply is malformed";
    bool ours = memcmp(reply->magic, "SSOR", sizeof reply->magic) == 0;
    if (!ours ||
        !all_zero(reply->zero, sizeof reply->zero) || !all_zero(reply->rest, sizeof reply->rest))
        return malformed;
    size_t length = (size_t)reply->length[0] << 24 | (size_t)reply->length[1] << 16 |
                    (size_t)reply->length[2] << 8 | reply->length[3];
    size_t most = reply->kind == PASSWORD ? PASSWORD_MAX : reply->kind == KERBEROS ? CACHE_MAX : 0;
    bool carries = most > 0;
    if (reply->kind > IDENTITY || length > most || carries != (length > 0) || carries != (file >= 0))
        return malformed;
    if (reply->kind != NONE && !is_name(reply->user, sizeof reply->user))
        return malformed;
    if (carries && !secret_read(&answer->secret, file, length))
        return "the agent's secret cannot be read";
    answer->kind = (enum kind)reply->kind;
    memcpy(answer->user, reply->user, sizeof answer->user);
    return NULL;
}

const char *agent_get(const char *path, uid_t owner, const struct subject *subject, struct answer *answer,
                      int *connection)
{
    int64_t deadline = now() + PATIENCE;
    int opened = -1, file = -1;
    struct reply reply;
    *answer = (struct answer){.kind = NONE};
    const char *problem = dial(path, owner, deadline, &opened);
    if (problem)
        return problem;
    if (!say(opened, GET, subject, deadline))
        problem = "the agent takes no request";
    if (!problem)
        problem = hear(opened, &reply, &file, deadline);
    if (!problem)
        problem = judge(&reply, file, answer);
    if (file >= 0)
        (void)close(file);
    if (problem || answer->kind == NONE)
        (void)close(opened);
    else
        *connection = opened;
    return problem;
}

const char *agent_ask(int connection, enum operation operation, const struct subject *subject)
{
    int64_t deadline = now() + PATIENCE;
    int file = -1;
    struct reply reply;
    struct answer answer = {.kind = NONE};
    if (!say(connection, operation, subject, deadline))
        return "the agent has taken its answer back";
    const char *problem = hear(connection, &reply, &file, deadline);
    if (!problem)
        problem = judge(&reply, file, &answer);
    if (file >= 0)
        (void)close(file);
    secret_wipe(&answer.secret);
    if (!problem && (answer.kind != IDENTITY || strcmp(answer.user, subject->user) != 0))
        problem = "the agent's answer is no yes";
    return problem;
}

void agent_close(int connection, const struct subject *subject)
{
    (void)say(connection, CLOSED, subject, now() + PATIENCE);
}
