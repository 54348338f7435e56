"""PAM without a login screen, in a forked process: may the account be used, is the password right.

One attempt, through ctypes, with the conversation that a screen would have (pam_start(3), pam_conv(3)).
"""

import ctypes
import os
from collections.abc import Callable

from sso.daemon.forked import Forked
from sso.daemon.reactor import Reactor
from sso.guest.agent.account import Checked
from sso.guest.pam_types import PamConversation, PamResponse, PamTalk
from sso.guest.records import PASSWORD_MAX

SECONDS = 15.0  # PAM delays the answer to a wrong password by some seconds
LIBPAM = "libpam.so.0"

# security/_pam_types.h
SUCCESS, CONV_ERR = 0, 19
PROMPT_ECHO_OFF, TEXT_INFO, ERROR_MSG = 1, 4, 3
TTY, SILENT, DISALLOW_NULL_AUTHTOK = 3, 0x8000, 0x0001

Done = Callable[[Checked], None]


class PamChecker:
    """The Checker of the running agent (sso.guest.agent.unlock)."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor

    def account(self, service: str, user: str, tty: str, done: Done) -> Forked:
        """Whether the account may be used now (pam_acct_mgmt): GOOD, REFUSED, or BROKEN."""
        return self._ask(lambda: _Login(service, user, tty).account(), done, [])

    def password(self, service: str, user: str, secret: int, done: Done) -> Forked:
        """One attempt with the password in the file `secret`, then the account: also WRONG.

        The descriptor stays the caller's, who may close it at once.
        """

        def work() -> Checked:
            login = _Login(service, user, "", _read(secret))
            found = login.password()
            return login.account() if found is Checked.GOOD else found

        return self._ask(work, done, [secret])

    def _ask(self, work: Callable[[], Checked], done: Done, keep: list[int]) -> Forked:
        known = {found.value.encode(): found for found in Checked}
        return Forked(
            self._reactor,
            lambda: work().value.encode(),
            lambda answer: done(known.get(answer, Checked.BROKEN)),
            SECONDS,
            keep=keep,
        )


def _read(secret: int) -> bytearray:
    octets = bytearray(PASSWORD_MAX + 1)
    del octets[os.preadv(secret, [octets], 0) :]
    if b"\0" in octets or len(octets) > PASSWORD_MAX:
        raise OSError("the password is not a text that PAM takes")
    return octets


class _Login:
    """One PAM handle of this process, which ends soon."""

    def __init__(self, service: str, user: str, tty: str, secret: bytearray | None = None) -> None:
        self._pam, self._libc = ctypes.CDLL(LIBPAM), ctypes.CDLL(None)
        self._libc.calloc.restype = ctypes.c_void_p
        self._libc.calloc.argtypes = (ctypes.c_size_t, ctypes.c_size_t)
        self._secret = secret
        self._handle = ctypes.c_void_p()
        self._conversation = PamConversation(PamTalk(self._talk), None)
        start = self._pam.pam_start(
            service.encode(), user.encode(), ctypes.byref(self._conversation), ctypes.byref(self._handle)
        )
        if start != SUCCESS or (tty and self._pam.pam_set_item(self._handle, TTY, tty.encode()) != SUCCESS):
            raise OSError(start, "PAM cannot be started")

    def password(self) -> Checked:
        code = self._pam.pam_authenticate(self._handle, SILENT | DISALLOW_NULL_AUTHTOK)
        if self._secret is not None:
            return Checked.REFUSED  # no module asked for the password: it is neither right nor wrong
        # Stacks name a failure as they like (behind pam_faillock it is PAM_PERM_DENIED), and it was counted.
        return Checked.GOOD if code == SUCCESS else Checked.WRONG

    def account(self) -> Checked:
        code = self._pam.pam_acct_mgmt(self._handle, SILENT | DISALLOW_NULL_AUTHTOK)
        return Checked.GOOD if code == SUCCESS else Checked.REFUSED

    def _talk(self, count: int, messages: "ctypes._Pointer", answers: "ctypes._Pointer", data: int) -> int:  # type: ignore[type-arg]
        """The first question without echo gets the password; any other question ends the attempt."""
        replies = self._libc.calloc(count, ctypes.sizeof(PamResponse))
        if not replies:
            return CONV_ERR
        for index in range(count):
            style = messages[index].contents.style
            if style == PROMPT_ECHO_OFF and self._secret is not None:
                reply = PamResponse.from_address(replies + index * ctypes.sizeof(PamResponse))
                reply.text = self._hand_over()
            elif style not in (TEXT_INFO, ERROR_MSG):
                return CONV_ERR  # what was allocated ends with the process
        answers[0] = replies
        return SUCCESS

    def _hand_over(self) -> int:
        """A copy of the password that libpam frees; ours is wiped."""
        assert self._secret is not None
        secret, self._secret = self._secret, None
        room: int = self._libc.calloc(len(secret) + 1, 1)
        ctypes.memmove(room, (ctypes.c_char * len(secret)).from_buffer(secret), len(secret))
        secret[:] = bytes(len(secret))
        return room
