"""Questions to the person at the desktop: a password into a wipeable buffer, a yes to a service name.

A password comes, in this order, from a file descriptor, the keyring, the terminal, or an askpass
program when there is no terminal; never from an argument or the environment.
"""

import os

from sso.credential import Credential
from sso.errors import ConfigError

PASSWORD_MAX = 511  # as the guest's PAM takes it
TERMINAL = "/dev/tty"


class Prompts:
    """Where answers come from in this run."""

    def __init__(
        self,
        *,
        user: str = "",
        spn: str = "",
        password_fd: int | None = None,
        keyring: bool = False,
        console: str = "",
    ) -> None:
        self._user, self._spn, self.console = user, spn, console
        self._password_fd, self._keyring = password_fd, keyring

    def password(self) -> Credential | None:
        """The password as a credential, or None when nobody can be asked or nobody answers."""
        user = self._user or _own_name()
        if self._password_fd is not None:
            try:
                secret: bytearray | None = _read_line(self._password_fd)
            except OSError as error:
                raise ConfigError(f"--password-fd {self._password_fd}: {error.strerror}") from None
        else:
            secret = self._from_keyring(user) if self._keyring else None
            secret = secret or self._from_person(f"Password for {user} on the guest: ")
        return Credential("password", user, secret) if secret else None

    def accept_spn(self, spn: str, principal: str) -> bool:
        """Whether the person accepts the name that the guest gave of itself; no is the default.

        Only where the question can name the console may the ticket go along, and then it says so.
        """
        from sso.printable import escaped  # late: most guests were named before

        name = escaped(spn)  # the guest's own word: it may not write a question of its own
        where = f"at {self.console}" if self.console else "of this console"
        ticket = (
            "Your ticket goes along if the KDC lets that service have it."
            if self.console
            else "Your ticket does not go along."
        )
        question = (
            f"The guest {where} says that it is {name}, and nothing here proves that"
            " it is the one you mean.\n"
            f"Sign in there as {escaped(principal)}? {ticket} [y/N] "
        )
        answer = _ask_terminal(question, echo=True)
        if answer is None:
            answer = _run([*askpass(), question], {"SSH_ASKPASS_PROMPT": "confirm"}, confirm=True)
        return answer is not None and bytes(answer).strip().lower() in (b"y", b"yes")

    def _from_person(self, question: str) -> bytearray | None:
        answer = _ask_terminal(question, echo=False)
        return _run([*askpass(), question]) if answer is None else answer

    def _from_keyring(self, user: str) -> bytearray | None:
        return _run(["secret-tool", "lookup", "service", "console-sso", "user", user, "guest", self._spn])


def _own_name() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def _read_line(fd: int) -> bytearray:
    """Read one line byte by byte into a buffer of fixed size, so that nothing is left behind."""
    line = bytearray()
    while len(line) <= PASSWORD_MAX:
        octet = os.read(fd, 1)
        if octet in (b"", b"\n"):
            break
        line += octet
    return line


def _ask_terminal(question: str, echo: bool) -> bytearray | None:
    """Ask on the controlling terminal; None when there is none."""
    try:
        fd = os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    import termios

    before = termios.tcgetattr(fd)
    try:
        if not echo:
            silent = list(before)
            silent[3] &= ~termios.ECHO
            termios.tcsetattr(fd, termios.TCSAFLUSH, silent)
        os.write(fd, question.encode())
        return _read_line(fd)
    finally:
        termios.tcsetattr(fd, termios.TCSAFLUSH, before)
        if not echo:
            os.write(fd, b"\n")
        os.close(fd)


def askpass() -> list[str]:
    """The program that asks in a window, if the environment names one."""
    program = os.environ.get("SSO_ASKPASS") or os.environ.get("SSH_ASKPASS")
    return [program] if program else []


def _run(
    argv: list[str], environment: dict[str, str] | None = None, confirm: bool = False
) -> bytearray | None:
    """Run a program and read its one line of answer; for `confirm` its exit code is the answer."""
    import signal
    import subprocess

    if len(argv) < 2:
        return None
    # A signal that ended us inside Popen would leave a dialog that nobody knows: it waits until we know it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))

    def as_before() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            preexec_fn=as_before,
        )
    except (OSError, ValueError, subprocess.SubprocessError):  # also words that no argument can hold
        as_before()
        return None
    except BaseException:
        as_before()
        raise
    with process:
        try:
            as_before()
            answer = _read_line(process.stdout.fileno()) if process.stdout else bytearray()
        except BaseException:  # we are told to end: nobody waits for that answer any more
            process.terminate()
            raise
    if process.returncode != 0:
        return None
    return bytearray(b"yes") if confirm else answer
