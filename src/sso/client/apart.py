"""A half that is not ours runs in a process of its own, so that whatever it does ends that process alone.

The process is forked when the half is needed, and has no descriptor but 0, 1, 2 and its end of a pair of
sockets. One message goes there a call, and one comes back: its length (4 bytes), a line of JSON, and bytes.
"""

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NoReturn

from sso.errors import ConfigError, MechanismError, PolicyError
from sso.mech import TEXT_MAX, Mechanism

CALL_TIME = 20.0  # seconds for an import and for each call, unless the mechanism asks a person
END_TIME = 1.0  # seconds for a process to end by itself: it disposes of the half
# Bytes of a message: a token of TOKEN_MAX, and three texts of TEXT_MAX letters of at most 12 bytes each.
MESSAGE_MAX = 512 * 1024
LENGTH_SIZE = 4
STATE = ("complete", "delegated", "layer", "peer", "plain_max", "own_name", "lifetime")
_TOLD = (MechanismError, PolicyError, ConfigError, KeyboardInterrupt)
_Message = tuple[object, bytes | bytearray]


class Apart(Mechanism):
    """Stands for the half that `make` gives in the forked process; `name` is the mechanism's.

    Raises what `make` and each call raise there: MechanismError, PolicyError, ConfigError and
    KeyboardInterrupt; MechanismError("failed") when the process ends, or gives no answer in time.
    """

    def __init__(self, name: str, make: Callable[[], Mechanism]) -> None:
        self._name, self._pid = name, 0
        self._asked = True  # a call, or its making, has no answer yet
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who started us may ignore how children end
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._pid = os.fork()
                if self._pid == 0:
                    _be_apart(theirs, make)
            self._life = os.pidfd_open(self._pid)
        except OSError as error:
            ours.close()
            if self._pid:
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
            raise MechanismError("failed", f"{name}: no process for it: {error.strerror}") from None
        self._link = ours
        try:
            self._take()
        except BaseException:
            self.dispose()
            raise

    def bind(self, binding: bytes) -> None:
        self._call("bind", binding)

    def step(self, token: bytes) -> bytes:
        return self._call("step", token)

    def wrap(self, data: bytes) -> bytes:
        return self._call("wrap", data)

    def unwrap(self, data: bytes) -> bytes:
        return self._call("unwrap", data)

    def dispose(self) -> None:
        """End the process, which disposes of the half before."""
        self._end()

    def _call(self, what: str, data: bytes) -> bytes:
        self._asked = True
        try:
            with suppress(OSError):  # it has ended, which shows in the answer
                _say(self._link, what, data)
            return self._take()
        except KeyboardInterrupt:
            self._end()
            raise

    def _take(self) -> bytes:
        """The answer to a call; takes over what the half says of itself now."""
        try:
            head, octets = _hear(self._link, self._life)
        except (EOFError, OSError, ValueError):
            self._asked = False
            raise MechanismError("failed", f"{self._name}: {_why(self._end())}") from None
        self._asked = False
        if isinstance(head, list):
            raise _error_of(*head)
        for name in STATE:
            setattr(self, name, head[name])
        return octets

    def _end(self) -> int:
        """Hang up, wait END_TIME at most, and return how the process has ended; 0 for the second call.

        A call that goes on is interrupted: a dialog gives the terminal its echo back.
        """
        if not self._pid:
            return 0
        pid, self._pid = self._pid, 0
        self._link.close()
        if self._asked:
            signal.pidfd_send_signal(self._life, signal.SIGTERM)
        poll = select.poll()
        poll.register(self._life, select.POLLIN)
        if not poll.poll(END_TIME * 1000):
            signal.pidfd_send_signal(self._life, signal.SIGKILL)
        os.close(self._life)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextmanager
def in_time(asks: bool = False) -> Iterator[None]:
    """Have the kernel end this process after CALL_TIME, in whatever library it hangs.

    One that `asks` a person has no deadline. What ran before may have had alarms of its own, and who started
    the client may have blocked them.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, 0.0 if asks else CALL_TIME)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def _why(status: int) -> str:
    late = status == -signal.SIGALRM
    return f"no answer within {CALL_TIME:g} s" if late else f"it ended its process ({status})"


def _be_apart(link: socket.socket, make: Callable[[], Mechanism]) -> NoReturn:
    """What the forked process does; whatever happens, it never returns into the client."""
    status = 1
    try:
        os.closerange(3, link.fileno())
        os.closerange(link.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        _serve(link, make)
        status = 0
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):  # there is none, or nobody reads it
                stream.flush()
        os._exit(status)


def _serve(link: socket.socket, make: Callable[[], Mechanism]) -> None:
    """Make the half, and answer each call until the client hangs up."""
    own = os.getpid()
    half, answer = _made(make)
    while os.getpid() == own:  # a child that the code has forked says nothing
        _say(link, *answer)
        if half is None:
            return
        try:
            what, data = _hear(link)
        except EOFError:
            half.dispose()
            return
        answer = _answer(half, partial(getattr(half, what), data))


def _made(make: Callable[[], Mechanism]) -> tuple[Mechanism | None, _Message]:
    try:
        half = make()
    except _TOLD as error:
        return None, (_told(error), b"")
    return half, _answer(half, bytes)


def _answer(half: Mechanism, call: Callable[[], bytes | bytearray | None]) -> _Message:
    try:
        octets = call()
        return {name: getattr(half, name) for name in STATE}, octets or b""
    except _TOLD as error:
        return _told(error), b""


def _told(error: BaseException) -> list[str]:
    """An error's kind, cause and words, for _error_of."""
    cause = error.cause if isinstance(error, MechanismError | PolicyError) else ""
    return [type(error).__name__, cause[:TEXT_MAX], str(error)[:TEXT_MAX]]


def _error_of(kind: str, cause: str, words: str) -> BaseException:
    if kind == PolicyError.__name__:
        return PolicyError(cause, words)
    if kind == ConfigError.__name__:
        return ConfigError(words)
    if kind == KeyboardInterrupt.__name__:
        return KeyboardInterrupt()
    detail = "" if words == cause else words.removeprefix(f"{cause}: ")
    return MechanismError(cause, detail)


def _say(link: socket.socket, head: object, octets: bytes | bytearray) -> None:
    line = json.dumps(head).encode() + b"\n"
    link.sendall((len(line) + len(octets)).to_bytes(LENGTH_SIZE, "big") + line + octets)


def _hear(link: socket.socket, life: int | None = None) -> tuple[Any, bytes]:
    """The next message. Raises EOFError when the other process hangs up or, with `life`, has ended.

    What that process has left behind may hold the other end. A message that is longer than any is an end too.
    """
    poll = select.poll()
    for watched in (link.fileno(),) if life is None else (link.fileno(), life):
        poll.register(watched, select.POLLIN)
    found, size = bytearray(), LENGTH_SIZE
    while len(found) < size:
        ready = {fd for fd, _ in poll.poll()}
        part = link.recv(size - len(found)) if link.fileno() in ready else b""
        found += part
        if len(found) == LENGTH_SIZE == size:
            size += int.from_bytes(found, "big")
        if not part or size > LENGTH_SIZE + MESSAGE_MAX:
            raise EOFError
    line, _, octets = bytes(found[LENGTH_SIZE:]).partition(b"\n")
    return json.loads(line), octets
