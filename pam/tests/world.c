/*
 * The world around the module: every call that leaves it comes here first. See world.h.
 */
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* The fault */

long calls, fail_at;
int fail_errno;
const char *failed_call = "none";
bool inside, fail_short, known_name;

static bool fault(const char *name)
{
    if (!inside || ++calls != fail_at)
        return false;
    failed_call = name;
    errno = fail_errno;
    return true;
}

/* The agent: it lives in the wrapper of send() */

struct agent agent = {.altered = -1, .content = "a secret of no importance"};
char folder[64], socket_path[80];
uid_t user_id;

static int make_file(void)
{
    if (agent.trick == DEVICE)
        return open("/dev/zero", O_RDONLY | O_CLOEXEC);
    int file = memfd_create("secret", MFD_CLOEXEC);
    CHECK(file >= 0 && write(file, agent.content, strlen(agent.content)) > 0);
    return file;
}

/* Yes: as an identity, with the user. */
static void send_yes(int connection)
{
    unsigned char reply[320] = "SSOR\3\3";
    memcpy(reply + 12, "alice", 5);
    if (agent.altered >= 0 && agent.late)
        reply[agent.altered] = agent.change;
    CHECK(send(connection, reply, sizeof reply, MSG_NOSIGNAL) == (ssize_t)sizeof reply);
}

static void send_reply(int connection)
{
    unsigned char reply[321] = "SSOR\3";
    size_t length = agent.kind == 1 || agent.kind == 2 ? strlen(agent.content) : 0;
    reply[5] = (unsigned char)agent.kind;
    reply[10] = (unsigned char)(length >> 8);
    reply[11] = (unsigned char)length;
    if (agent.kind)
        memcpy(reply + 12, "alice", 5);
    if (agent.altered >= 0 && !agent.late)
        reply[agent.altered] = agent.change;
    int files[8], count = length ? 1 : 0;
    count = agent.trick == NO_FILE ? 0 : agent.trick == TWO_FILES ? 2 : agent.trick == MANY_FILES ? 8 : count;
    for (int i = 0; i < count; i++)
        files[i] = make_file();
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof files)];
    } control = {.head = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    size_t size = agent.trick == LONG_RECORD ? 321 : agent.trick == SHORT_RECORD ? 319 : 320;
    struct iovec data = {.iov_base = reply, .iov_len = size};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    if (count > 0) {
        control.head.cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(&control.head), files, (size_t)count * sizeof(int));
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
    }
    CHECK(sendmsg(connection, &message, MSG_NOSIGNAL) == (ssize_t)size);
    for (int i = 0; i < count; i++)
        (void)close(files[i]);
}

static void hear(int *connection)
{
    unsigned char request[800];
    while (*connection > 0 && recv(*connection, request, sizeof request, 0) == 704) {
        CHECK(memcmp(request, "SSOP\3", 5) == 0 && request[6] == 0 && request[7] == 0);
        size_t heard = strlen(agent.told);
        CHECK(request[5] >= 1 && request[5] <= 7 && heard + 1 < sizeof agent.told);
        agent.told[heard] = (char)('0' + request[5]);
        agent.told[heard + 1] = '\0';
        if ((request[5] == 1 && agent.trick == HANG_UP) || request[5] == agent.no) {
            (void)close(*connection);
            *connection = 0;
        } else if (request[5] == 1) {
            send_reply(*connection);
        } else if (request[5] != 4) {
            send_yes(*connection);
        }
    }
}

/* Take what the module has sent. */
static void serve(void)
{
    int fresh = accept4(agent.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    for (int i = 0; i < CONNECTIONS; i++) {
        if (fresh >= 0 && agent.connections[i] == 0) {
            agent.connections[i] = fresh;
            fresh = -1;
        }
        hear(&agent.connections[i]);
    }
    CHECK(fresh < 0);
}

void open_agent(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, socket_path);
    agent.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(bind(agent.listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(agent.listener, 8) == 0);
}

void hang_up_agent(void)
{
    serve();
    for (int i = 0; i < CONNECTIONS; i++) {
        if (agent.connections[i] > 0)
            (void)close(agent.connections[i]);
        agent.connections[i] = 0;
    }
}

/* The wrappers */

int mappings;

#define WRAP(type, failure, name, parameters, ...)                                                          \
    type __real_##name parameters;                                                                          \
    type __wrap_##name parameters;                                                                          \
    type __wrap_##name parameters                                                                           \
    {                                                                                                       \
        return fault(#name) ? (failure) : __real_##name(__VA_ARGS__);                                       \
    }
/* With fail_short a transfer is cut to one byte instead: that is no failure, only slow. */
#define WRAP_DATA(name, parameters, short_call, ...)                                                        \
    ssize_t __real_##name parameters;                                                                       \
    ssize_t __wrap_##name parameters;                                                                       \
    ssize_t __wrap_##name parameters                                                                        \
    {                                                                                                       \
        if (fault(#name))                                                                                   \
            return fail_short ? short_call : -1;                                                            \
        return __real_##name(__VA_ARGS__);                                                                  \
    }

WRAP(void *, NULL, calloc, (size_t count, size_t size), count, size)
WRAP(int, -1, clock_gettime, (clockid_t clock, struct timespec *time), clock, time)
WRAP(int, -1, connect, (int fd, const struct sockaddr *address, socklen_t size), fd, address, size)
WRAP(int, -1, fchmod, (int fd, mode_t mode), fd, mode)
WRAP(int, -1, fstat, (int fd, struct stat *found), fd, found)
WRAP(int, -1, fstatat, (int fd, const char *path, struct stat *found, int flags), fd, path, found, flags)
WRAP(int, -1, getsockopt, (int fd, int level, int name, void *value, socklen_t *size), fd, level, name, value,
     size)
WRAP(int, -1, madvise, (void *at, size_t length, int advice), at, length, advice)
WRAP(int, -1, mlock, (const void *at, size_t length), at, length)
WRAP(int, -1, poll, (struct pollfd *set, nfds_t count, int wait), set, count, wait)
WRAP(int, -1, renameat, (int fd, const char *from, int to_fd, const char *to), fd, from, to_fd, to)
WRAP(int, __real_setfsgid((gid_t)-1), setfsgid, (gid_t gid), gid)
WRAP(int, __real_setfsuid((uid_t)-1), setfsuid, (uid_t uid), uid)
WRAP(int, -1, setsockopt, (int fd, int level, int name, const void *value, socklen_t size), fd, level, name,
     value, size)
WRAP(int, -1, socket, (int domain, int type, int protocol), domain, type, protocol)
WRAP(int, -1, unlinkat, (int fd, const char *path, int flags), fd, path, flags)
WRAP(ssize_t, -1, recvmsg, (int fd, struct msghdr *message, int flags), fd, message, flags)
WRAP_DATA(pread, (int fd, void *to, size_t size, off_t at), __real_pread(fd, to, 1, at), fd, to, size, at)
WRAP_DATA(write, (int fd, const void *from, size_t size), __real_write(fd, from, 1), fd, from, size)

ssize_t __real_getrandom(void *to, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *to, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *to, size_t size, unsigned flags)
{
    if (fault("getrandom"))
        return fail_short ? 1 : -1;
    return known_name ? (memset(to, 0, size), (ssize_t)size) : __real_getrandom(to, size, flags);
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    bool failing = fault("close");
    int done = __real_close(fd); /* a close that fails has closed all the same */
    return failing ? (errno = fail_errno, -1) : done;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    CHECK(!(flags & O_CREAT));
    return fault("open") ? -1 : __real_open(path, flags);
}

int __real_openat(int fd, const char *path, int flags, ...);
int __wrap_openat(int fd, const char *path, int flags, ...);
int __wrap_openat(int fd, const char *path, int flags, ...)
{
    CHECK((flags & (O_CREAT | O_EXCL | O_NOFOLLOW)) == (O_CREAT | O_EXCL | O_NOFOLLOW));
    CHECK(setfsuid((uid_t)-1) == (int)user_id);
    return fault("openat") ? -1 : __real_openat(fd, path, flags, 0600);
}

void *__real_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (fault("mmap"))
        return MAP_FAILED;
    mappings++;
    return __real_mmap(at, length, protection, flags, fd, offset);
}

int __real_munmap(void *at, size_t length);
int __wrap_munmap(void *at, size_t length);
int __wrap_munmap(void *at, size_t length)
{
    for (size_t i = 0; i < length; i++)
        CHECK(((char *)at)[i] == 0); /* wiped before it is given back */
    mappings--;
    return __real_munmap(at, length);
}

ssize_t __real_send(int fd, const void *from, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *from, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *from, size_t size, int flags)
{
    CHECK(flags & MSG_NOSIGNAL);
    if (fault("send"))
        return -1;
    ssize_t sent = __real_send(fd, from, size, flags);
    inside = false;
    serve();
    inside = true;
    return sent;
}

/* PAM */

int pam_get_item(const pam_handle_t *pamh, int type, const void **found)
{
    *found = type == PAM_USER      ? pamh->user
             : type == PAM_SERVICE ? "login"
             : type == PAM_TTY     ? "/dev/tty1"
             : type == PAM_RHOST   ? pamh->rhost
                                   : NULL;
    return fault("pam_get_item") ? PAM_BAD_ITEM : PAM_SUCCESS;
}

int pam_set_item(pam_handle_t *pamh, int type, const void *value)
{
    CHECK(type == PAM_USER || type == PAM_AUTHTOK);
    if (fault("pam_set_item"))
        return PAM_BUF_ERR;
    char **place = type == PAM_USER ? &pamh->user : &pamh->authtok;
    free(*place);
    *place = strdup(value);
    return PAM_SUCCESS;
}

int pam_set_data(pam_handle_t *pamh, const char *name, void *data,
                 void (*cleanup)(pam_handle_t *, void *, int))
{
    CHECK(strcmp(name, "console-sso") == 0 && !pamh->data);
    if (fault("pam_set_data"))
        return PAM_BUF_ERR;
    pamh->data = data;
    pamh->cleanup = cleanup;
    return PAM_SUCCESS;
}

int pam_get_data(const pam_handle_t *pamh, const char *name, const void **data)
{
    CHECK(strcmp(name, "console-sso") == 0);
    *data = pamh->data;
    return pamh->data ? PAM_SUCCESS : PAM_NO_MODULE_DATA;
}

int pam_putenv(pam_handle_t *pamh, const char *setting)
{
    if (fault("pam_putenv"))
        return PAM_BUF_ERR;
    CHECK(strncmp(setting, "KRB5CCNAME", 10) == 0 && strlen(setting) < sizeof pamh->setting);
    strcpy(pamh->setting, setting[10] ? setting : "");
    return PAM_SUCCESS;
}

int pam_prompt(pam_handle_t *pamh, int style, char **response, const char *format, ...)
{
    CHECK(style == PAM_PROMPT_ECHO_OFF && strcmp(format, "%s") == 0);
    *response = fault("pam_prompt") || !pamh->token ? NULL : strdup(pamh->token);
    return *response ? PAM_SUCCESS : PAM_CONV_ERR;
}

void pam_syslog(const pam_handle_t *pamh, int priority, const char *format, ...)
{
    char line[200];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    (void)pamh;
    CHECK((priority == 3 || priority == 5) && length > 0 && length < 80);
    CHECK(!strstr(line, "alice") && !strstr(line, agent.content) && !strstr(line, folder));
}

struct passwd *pam_modutil_getpwnam(pam_handle_t *pamh, const char *user)
{
    static struct passwd alice;
    (void)pamh;
    CHECK(strcmp(user, "alice") == 0);
    alice = (struct passwd){.pw_name = (char *)"alice", .pw_uid = user_id, .pw_gid = user_id};
    return fault("getpwnam") ? NULL : &alice;
}
