"""Two conversations joined in memory: every byte passes a tap, and the test moves the clock."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from sso.client.conversation import ClientConversation as ClientConversation
from sso.client.exits import RunResult
from sso.client.halves import NO_TABLES, Load, Tables
from sso.client.parties import Person
from sso.framing import b64encode
from sso.guest.channel.conversation import Claim, GuestConversation
from sso.mech import Mechanism, load
from sso.policy import ClientPolicy, GuestPolicy

WINDOW = 8  # bytes of a secret that count as a leak


class Judge:
    """Plays acceptor and agent: decides every claim by `code` (None: not yet).

    `logins` are the principals that were signed in; as in the agent, an attempt of a principal gets one
    outcome, however often it is claimed.
    """

    def __init__(self, code: int | None = 0) -> None:
        self.code = code
        self.claims: list[Claim] = []
        self.secrets: list[bytes] = []
        self.logins: list[str] = []
        self._outcomes: dict[tuple[bytes, str], int] = {}

    def __call__(self, claim: Claim) -> None:
        self.claims.append(claim)
        secret = claim.credential.secret if claim.credential else None
        self.secrets.append(bytes(secret or b""))

    @property
    def principals(self) -> list[str]:
        return [claim.principal for claim in self.claims]

    def outcome(self) -> int | None:
        """The code for the claim that came last."""
        if self.code is None or not self.claims:
            return None
        key = self.claims[-1].attempt, self.claims[-1].principal
        if key not in self._outcomes:
            self._outcomes[key] = self.code
            if self.code == 0:
                self.logins.append(key[1])
        return self._outcomes[key]


def accepting(
    given: dict[str, dict[str, Any]], name: str, in_tls: bool = False, **arguments: Any
) -> Mechanism:
    """The accepting half of a mechanism, with what was `given` for its name."""
    own = dict(given.get(name, {}))
    if name == "GSSAPI":
        own.setdefault("layers", ("none", "conf") if in_tls else ("conf",))
    return load(name).accept(**own, **arguments)


class Pair:
    """A client and a guest, and what crosses between them (`to_guest`, `to_client`: all bytes ever).

    `change(direction, data)` may alter bytes on the way; direction is "to_guest" or "to_client".
    `cut` is a direction and a number of bytes: behind them the line is dead, both ends are hung up.
    With `channel` a guest that was reset or ended is replaced by a fresh one that announces itself, and
    what lay unread is dropped, as the channel process does it.
    """

    def __init__(
        self,
        client: ClientPolicy,
        guest: GuestPolicy,
        *,
        mechanisms: dict[str, dict[str, Any]] | None = None,
        judge: Judge | None = None,
        person: Person | None = None,
        info: Callable[[str], str | None] = lambda attribute: None,
        change: Callable[[str, bytes], bytes] = lambda direction, data: data,
        ccache: str | None = None,
        chunk: int = 0,
        cut: tuple[str, int] | None = None,
        channel: bool = False,
        make: Callable[..., Mechanism] | None = None,
        load: Load = load,
        tables: Tables = NO_TABLES,
    ) -> None:
        self.judge = judge or Judge()
        self.log: list[tuple[str, str]] = []
        self.progress: list[str] = []
        self.to_guest, self.to_client = bytearray(), bytearray()
        self.change, self.chunk, self.now = change, chunk, 0.0
        self.guests_used = 0
        self._cut, self._channel = cut, channel
        self._arguments = mechanisms or {}
        self._make = make or partial(accepting, self._arguments)
        self.client = ClientConversation(
            client,
            load,
            person=person or Person(),
            progress=self.progress.append,
            ccache=ccache,
            tables=tables,
        )
        self._guest_policy, self._info = guest, info
        self.guest: Any = self.new_guest()

    def new_guest(self) -> GuestConversation:
        self.guests_used += 1
        log = (
            self.log
        )  # and not the pair: nothing in a guest leads back to it, so that it ends with its last use
        return GuestConversation(
            self._guest_policy,
            self._make,
            self.judge,
            info=self._info,
            note=lambda id, detail="", **fields: log.append((id, detail)),
        )

    def run(self, turns: int = 200) -> "Pair":
        """Start both ends and pass bytes until nothing moves any more."""
        self.guest.start(self.now)
        self.client.start(self.now)
        self.settle(turns)
        return self

    def run_out(self, limit: float = 600.0) -> "Pair":
        """Run, and let time pass to each deadline until the client is finished."""
        self.run()
        return self.go_on(limit)

    def go_on(self, limit: float = 600.0) -> "Pair":
        self.settle()
        while not self.client.finished and self.now < limit:
            ends = (end.deadline for end in (self.client, self.guest) if not end.finished)
            self.now = min((end for end in ends if end is not None), default=limit)
            if (
                not self.guest.finished
                and self.guest.deadline is not None
                and self.guest.deadline <= self.now
            ):
                self.guest.deadline_passed(self.now)
            self.settle()
        return self

    def settle(self, turns: int = 200) -> None:
        for _ in range(turns):
            moved = self._pass("to_guest", self.client.data_to_send(), self.guest)
            moved |= self._replace_guest()
            code = self.judge.outcome()
            if code is not None:
                self.guest.verdict(code, self.now)
            moved |= self._pass("to_client", self.guest.data_to_send(), self.client)
            if not moved and not self._client_asks():
                return

    def _replace_guest(self) -> bool:
        ended = self.guest.finished and not self.client.finished
        if not self._channel or not (ended or self.guest.was_reset) or self.guests_used > 20:
            return False
        self.to_client.extend(self.guest.data_to_send())
        self.guest = self.new_guest()
        self.guest.start(self.now)
        return True

    def _client_asks(self) -> bool:
        deadline = self.client.deadline
        if deadline is not None and deadline <= self.now and not self.client.finished:
            self.client.deadline_passed(self.now)
            return True
        return False

    def _pass(self, direction: str, data: bytes, target: Any) -> bool:
        if not data:
            return False
        data = self.change(direction, data)
        crossed: bytearray = getattr(self, direction)
        if self._cut is not None and self._cut[0] == direction:
            data, whole = data[: max(self._cut[1] - len(crossed), 0)], data
            if len(data) < len(whole):
                self._deliver(crossed, data, target)
                self.hang_up()
                return False
        self._deliver(crossed, data, target)
        return bool(data)

    def _deliver(self, crossed: bytearray, data: bytes, target: Any) -> None:
        crossed.extend(data)
        size = self.chunk or max(len(data), 1)
        for start in range(0, len(data), size):
            target.receive_data(data[start : start + size], self.now)

    def hang_up(self) -> None:
        """The port is gone for both ends; what the guest's judge was asked is still decided."""
        self._channel = False
        self.guest.receive_data(b"", self.now)
        self.client.receive_data(b"", self.now)
        self.judge.outcome()

    @property
    def exit(self) -> int | None:
        return None if self.client.outcome is None else int(self.client.outcome.exit)

    @property
    def log_ids(self) -> list[str]:
        return [id for id, _ in self.log]


def leaks(octets: bytes | bytearray, secrets: Iterable[bytes | bytearray]) -> list[bytes]:
    """Every window of WINDOW bytes of a secret, clear or in base64 at any alignment, found in `octets`."""
    seen = {bytes(octets[start : start + WINDOW]) for start in range(len(octets) - WINDOW + 1)}
    found = []
    for secret in secrets:
        # A first or last group of base64 mixes in foreign bits: the four characters at each end go.
        coded = [b64encode(bytes(shift) + secret)[4:-4] for shift in range(3)]
        for form in (bytes(secret), b64encode(secret), *coded):
            windows = (bytes(form[start : start + WINDOW]) for start in range(len(form) - WINDOW + 1))
            found += [window for window in windows if window in seen]
    return found


def said(pair: Pair) -> RunResult:
    """The end of the client's run; there is one."""
    assert pair.client.outcome is not None
    return pair.client.outcome
