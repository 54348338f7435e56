"""A console in memory whose client stays connected; the test controls the clock."""

import weakref
from typing import Any

from pair import Pair

from sso.client.conversation import ClientConversation
from sso.client.parties import Shown
from sso.client.staying import Staying, ends
from sso.mech import load
from sso.policy import ClientPolicy, GuestPolicy


class Console(Pair):
    """A pair whose client stays, and whose guest has a session for whoever speaks, as the channel has it.

    A session that failed is followed by an announcement, since the guest has opened the port anew.
    `sessions` are the times at which the client has begun one; `said` and `states` is what it told.
    """

    def __init__(
        self, policy: ClientPolicy, guest: GuestPolicy, *, ccache: str | None = None, **rest: Any
    ) -> None:
        super().__init__(policy, guest, ccache=ccache, **rest)
        self.sessions: list[float] = []
        self.said: list[str] = []
        self.states: list[str] = []
        self.made: list[weakref.ref[ClientConversation]] = [weakref.ref(self.client)]
        self._policy, self._ccache = policy, ccache
        status = self.states.append
        self.client._status = status
        self.client: Any = Staying(
            self.client,
            self._again,
            self.ends,
            say=lambda line, hint: self.said.append(line),
            status=status,
        )

    def ends(self, shown: Shown) -> float:
        return ends(shown, self._ccache)

    def _again(self, shown: Shown) -> ClientConversation:
        self.sessions.append(self.now)
        policy = self._policy._replace(password=False)
        talk = ClientConversation(policy, load, ccache=self._ccache, service=shown.service)
        self.made.append(weakref.ref(talk))
        return talk

    def _pass(self, direction: str, data: bytes, target: Any) -> bool:
        if direction == "to_guest" and data and self.guest.finished:
            self.announce()
        return super()._pass(direction, data, self.guest if direction == "to_guest" else target)

    def _replace_guest(self) -> bool:
        if self.guest.finished and self.judge.code != 0 and self.client.signed_in:
            self._pass("to_client", self.guest.data_to_send(), self.client)
            self.announce()
        return False

    def announce(self) -> "Console":
        """Restart the guest, which announces itself."""
        self.guest = self.new_guest()
        self.guest.start(self.now)
        return self

    def wait(self, seconds: float) -> "Console":
        """Move the clock to the next deadline, and then to the one after it."""
        end = self.now + seconds
        self.settle()
        while not self.client.finished:
            due = (one.deadline for one in (self.client, self.guest) if not one.finished)
            self.now = max(self.now, min((time for time in due if time is not None), default=end))
            if self.now >= end:
                break
            if not self.guest.finished and (self.guest.deadline or end) <= self.now:
                self.guest.deadline_passed(self.now)
            self.settle()
        self.now = end
        return self
