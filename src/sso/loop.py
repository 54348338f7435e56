"""The pump: one conversation over one port, in one blocking poll a turn."""

import select
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from sso.framing import wipe
from sso.port import Port

WRITE_MAX = 64 * 1024  # octets offered to the port at once
PENDING_MAX = 1024 * 1024  # octets waiting to be written, above which nothing more is read


class Conversation(Protocol):
    """What a Pump drives; see sso.client.conversation and sso.guest.conversation."""

    @property
    def finished(self) -> bool: ...
    @property
    def deadline(self) -> float | None: ...
    @property
    def asking(self) -> bool:
        """Whether its deadline is a question to a person, which has to wait until all is written."""
        ...

    def start(self, now: float) -> None: ...
    def receive_data(self, data: bytes, now: float) -> None: ...
    def data_to_send(self) -> bytes: ...
    def deadline_passed(self, now: float) -> None: ...


class Pump:
    """Moves octets between a port and a conversation until one of them ends."""

    def __init__(
        self, port: Port, conversation: Conversation, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._port, self._conversation, self._clock = port, conversation, clock
        self._pending = bytearray()

    def run(self, watch: Mapping[int, Callable[[], None]] | None = None) -> str:
        """Run to the end and say which: "finished" (and all was written) or "hang-up".

        `watch` names further descriptors and what to call when one is readable. Raises PortClosed when
        a write finds the port gone.
        """
        watched = watch or {}
        conversation = self._conversation
        conversation.start(self._clock())
        try:
            while True:
                self._write()
                if conversation.finished and not self._pending:
                    return "finished"
                if not self._turn(watched):
                    return "hang-up"
        finally:
            wipe(self._pending)

    def _turn(self, watched: Mapping[int, Callable[[], None]]) -> bool:
        """Wait for whatever comes next, and deal with it; False at a hang-up."""
        conversation = self._conversation
        ready = self._poll(watched)
        for fd in watched:
            if fd in ready and not conversation.finished:
                watched[fd]()
        if ready.get(self._port.fileno(), 0) & ~select.POLLOUT and not self._receive():
            return False
        deadline = conversation.deadline
        held = conversation.asking and bool(self._pending)
        if deadline is not None and not held and self._clock() >= deadline:
            conversation.deadline_passed(self._clock())
        return True

    def _receive(self) -> bool:
        data = self._port.read()
        if data is None:
            return True
        if not self._conversation.finished:
            self._conversation.receive_data(data, self._clock())
        return bool(data)

    def _poll(self, watched: Mapping[int, Callable[[], None]]) -> dict[int, int]:
        poll = select.poll()
        for fd in watched:
            poll.register(fd, select.POLLIN)
        if self._pending:
            poll.register(self._port.write_fileno(), select.POLLOUT)
        if len(self._pending) < PENDING_MAX:
            both = self._port.fileno() == self._port.write_fileno() and bool(self._pending)
            poll.register(self._port.fileno(), select.POLLIN | (select.POLLOUT if both else 0))
        deadline = self._conversation.deadline
        if deadline is None or (self._conversation.asking and self._pending):
            return dict(poll.poll())
        # Rounded up, so that a deadline has passed when the wait for it is over.
        return dict(poll.poll(max(0, int((deadline - self._clock()) * 1000) + 1)))

    def _write(self) -> None:
        data = self._conversation.data_to_send()
        if data:
            joined = self._pending + data
            wipe(self._pending)
            self._pending = joined
        if self._pending:
            with memoryview(self._pending) as view:
                taken = self._port.write(view[:WRITE_MAX])
                wipe(view[:taken])
            del self._pending[:taken]
