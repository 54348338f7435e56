"""The pump: runs one conversation over one port, with one blocking poll per turn."""

import select
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from sso.errors import PortClosed
from sso.framing import wipe
from sso.ports.port import READ_MAX, Port

WRITE_MAX = 64 * 1024  # bytes offered to the port at once
PENDING_MAX = 1024 * 1024  # unsent bytes from which on nothing more is read
LAST_WORDS_MAX = 1024 * 1024  # bytes still read from a peer that accepts no more
DRAIN_TIME = 10.0  # seconds for a peer to read the last output, when nothing else limits the wait
RETRY_TIME = 0.05  # seconds until the next try, when a port is reported writable but accepts nothing

Watch = Mapping[int, Callable[[], None]]


class Conversation(Protocol):
    """The interface that a Pump drives: sso.client.conversation and sso.guest.channel.conversation."""

    @property
    def finished(self) -> bool: ...
    @property
    def deadline(self) -> float | None: ...
    @property
    def asking(self) -> bool:
        """Whether the deadline is a question to the user; it has to wait until all output is written."""
        ...

    def start(self, now: float) -> None: ...
    def receive_data(self, data: bytes, now: float) -> None: ...
    def data_to_send(self) -> bytes: ...
    def deadline_passed(self, now: float) -> None: ...


class Pump:
    """Moves bytes between a port and a conversation until one of them ends."""

    def __init__(
        self, port: Port, conversation: Conversation, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._port, self._conversation, self._clock = port, conversation, clock
        self._pending = bytearray()  # wiped as it is sent; never resized, which could leave a copy
        self._sent = 0  # bytes of _pending that are sent
        self._writable = self._refused = False
        self._drain_by: float | None = None

    def run(self, watch: Watch | None = None, meanwhile: Callable[[], None] | None = None) -> str:
        """Run to the end; return "finished" (all output was written) or "hang-up".

        `watch` maps further descriptors to what to call when one is readable. `meanwhile` is called once,
        after the first output is written. A closed port counts as a hang-up, and so does a peer that does
        not read the last output within DRAIN_TIME.
        """
        conversation = self._conversation
        conversation.start(self._clock())
        try:
            while self._write():
                if conversation.finished and not self._unsent:
                    return "finished"
                if meanwhile is not None:
                    meanwhile()
                    meanwhile = None
                if not self._turn(watch or {}):
                    break
            if not conversation.finished:
                conversation.receive_data(b"", self._clock())
            return "hang-up"
        finally:
            wipe(self._pending)

    @property
    def _unsent(self) -> int:
        return len(self._pending) - self._sent

    @property
    def _held(self) -> bool:
        """Whether a question to the user waits until earlier output is written."""
        return self._conversation.asking and self._unsent > 0

    def _turn(self, watch: Watch) -> bool:
        """Poll once and handle what is ready; False at a hang-up."""
        conversation = self._conversation
        ready = self._wait(watch)
        for fd, call in watch.items():
            if fd in ready and not conversation.finished:
                call()
        if ready.get(self._port.fileno(), 0) & ~select.POLLOUT:
            data = self._port.read(READ_MAX)
            if data == b"":
                return False
            if data and not conversation.finished:
                conversation.receive_data(data, self._clock())
        if self._drain_by is not None and self._clock() >= self._drain_by:
            return False
        deadline = conversation.deadline
        if deadline is not None and not self._held and self._clock() >= deadline:
            conversation.deadline_passed(self._clock())
        return True

    def _wait(self, watch: Watch) -> dict[int, int]:
        wanted: dict[int, int] = {}
        if not self._conversation.finished:  # after the end _turn calls none of them
            wanted = dict.fromkeys(watch, select.POLLIN)
        if self._unsent and not self._refused:
            wanted[self._port.write_fileno()] = select.POLLOUT
        if self._unsent < PENDING_MAX:
            wanted[self._port.fileno()] = wanted.get(self._port.fileno(), 0) | select.POLLIN
        poll = select.poll()
        for fd, mask in wanted.items():
            poll.register(fd, mask)
        ready = dict(poll.poll(self._timeout()))
        self._writable = bool(ready.get(self._port.write_fileno(), 0) & select.POLLOUT)
        return ready

    def _timeout(self) -> int | None:
        """Milliseconds until the next deadline, rounded up so that it has passed when poll returns."""
        now, due = self._clock(), []
        if self._conversation.deadline is not None and not self._held:
            due.append(self._conversation.deadline)
        if self._unsent and (self._held or self._conversation.finished):
            if self._drain_by is None:
                self._drain_by = now + DRAIN_TIME
            due.append(self._drain_by)
        else:
            self._drain_by = None
        if self._refused:
            due.append(now + RETRY_TIME)
        return max(0, int((min(due) - now) * 1000) + 1) if due else None

    def _write(self) -> bool:
        """Write what the port accepts now; False when the port is gone."""
        data = self._conversation.data_to_send()
        if data:
            rest = memoryview(self._pending)[self._sent :]
            joined = bytearray().join((rest, data))
            wipe(self._pending)
            self._pending, self._sent = joined, 0
        if not self._unsent:
            return True
        part = memoryview(self._pending)[self._sent : self._sent + WRITE_MAX]
        try:
            taken = self._port.write(part)
        except PortClosed:
            self._hear_last_words()
            return False
        # poll is level-triggered: a port that is always writable but accepts nothing would make it spin.
        self._refused = self._writable and not taken
        wipe(part[:taken])
        self._sent += taken
        return True

    def _hear_last_words(self) -> None:
        """Read what the peer sent before it closed the port: it may say why."""
        for _ in range(LAST_WORDS_MAX // READ_MAX):
            data = self._port.read(READ_MAX)
            if not data or self._conversation.finished:
                return
            self._conversation.receive_data(data, self._clock())
