"""The child: one peer session, forked for it and gone with it; it holds no key of the host.

It parses what the peer sends, speaks TLS, and asks the acceptor for everything else.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sso.errors import MechanismError, PortClosed
from sso.guest.channel.conversation import Claim, GuestConversation
from sso.guest.channel.remote import BEAT_EVERY, Acceptance
from sso.guest.log import ending
from sso.mech import Mechanism, Pair
from sso.policy import GuestPolicy
from sso.ports.port import Port
from sso.ports.pump import Pump
from sso.protocol.messages import Code

# How the child ended, for the channel process.
DONE, ENDED, RESET, SILENT = 0, 10, 11, 12


class ChildConversation(GuestConversation):
    """The guest's conversation with a pulse: `beat` is called while it lives."""

    def __init__(
        self,
        policy: GuestPolicy,
        acceptance: Acceptance,
        tls: Callable[[], Mechanism],
        beat: Callable[[], None],
        **arguments: Any,
    ) -> None:
        self._acceptance, self._tls, self._beat = acceptance, tls, beat
        self._step_deadline: float | None = None
        self._next_beat = 0.0
        self.accepted = False
        super().__init__(policy, self._half, self._ask_acceptor, **arguments)

    @property
    def deadline(self) -> float | None:
        own = self._step_deadline
        return self._next_beat if own is None else min(own, self._next_beat)

    @deadline.setter
    def deadline(self, value: float | None) -> None:
        self._step_deadline = value

    def deadline_passed(self, now: float) -> None:
        if now >= self._next_beat:
            self._beat()
            self._next_beat = now + BEAT_EVERY
        if self._step_deadline is not None and now >= self._step_deadline:
            super().deadline_passed(now)

    def verdict(self, code: int, now: float) -> None:
        # A login that goes on at the console is the same client's: nothing of it is to be flushed away.
        self.accepted = code in (0, Code.CONSOLE_ASKS)
        super().verdict(code, now)

    def _half(self, name: str, **arguments: Any) -> Mechanism:
        return self._tls() if name == "TLS" else self._acceptance.make(name, **arguments)

    def _ask_acceptor(self, claim: Claim) -> None:
        try:
            self._acceptance.submit(claim)
        except MechanismError:
            self.verdict(Code.INTERNAL, self._now)

    def how_it_ended(self) -> int:
        if self.was_reset:
            return RESET
        if self.accepted:
            return DONE
        return ENDED if self.greeted else SILENT


def run(
    port: Port,
    acceptor: socket.socket,
    pulse: int,
    policy: GuestPolicy,
    pairs: Mapping[str, Pair],
    tls: Callable[[], Mechanism],
    info: Callable[[str], str | None],
    note: Callable[..., None],
    confined: Callable[[], None] = lambda: None,
) -> int:
    """Hold one conversation on the port and return how it ended, as an exit code.

    `confined` is called when the first words are written, before a byte of the peer is read.
    """
    beat = partial(_beat, pulse)
    acceptance = Acceptance(acceptor, pairs, beat, note)
    child = ChildConversation(policy, acceptance, tls, beat, info=info, note=note)
    pump = Pump(port, child)

    def verdict() -> None:
        code = acceptance.verdict()
        child.verdict(Code.INTERNAL if code is None else code, time.monotonic())

    try:
        pump.run({acceptance.fileno(): verdict}, confined)
    except PortClosed:
        return ENDED
    except MechanismError as error:  # a layer does not protect what is to be said
        note(ending(error.cause), str(error), cause=error.cause)
        return ENDED
    return child.how_it_ended()


def _beat(pulse: int) -> None:
    try:
        os.write(pulse, b".")
    except BlockingIOError:
        pass  # the pipe is full: the unread beats say the same
