"""Staying on the port after signing in: a renewed ticket follows in a session of its own.

PROTOCOL.md section 10.1. The cache is looked at once a minute instead of being watched: one look costs
a fraction of a millisecond and serves every kind of cache, while a watched /tmp would wake us for every
file of everybody.
"""

import time
from collections.abc import Callable
from math import inf

from sso.client.conversation import ClientConversation
from sso.client.exits import Exit, RunResult, by_cause
from sso.client.options import Options, complain
from sso.client.parties import Shown
from sso.errors import FramingError, MechanismError, RemoteProtocolError
from sso.mech import NO, Mechanism, load
from sso.ports.port import Port
from sso.ports.pump import Pump
from sso.protocol.wire import Wire

LOOK_EVERY = 60.0  # seconds between two looks at the cache, and at least between two renewals
PAUSE_MAX = 600.0  # seconds: the pause after a failure begins with a minute and doubles up to here
LATER = 5.0  # seconds by which a ticket has to end later: the library rounds

LEFT = RunResult(Exit.SIGNED_IN, "signed in, and the console was left")
LOST = RunResult(Exit.LOST, "the connection ended in the middle")


class Staying:
    """A conversation that goes on after its login, until the port is closed; a Pump drives it.

    `first` signs in, and `again` makes the one for each session after it; `ends` says when the ticket of
    that principal in the cache ends now, 0 for none; `say` tells a person a line and a hint, `status` a
    viewer a line. Nothing of a session is kept between two of them but what Shown has.
    """

    def __init__(
        self,
        first: ClientConversation,
        again: Callable[[Shown], ClientConversation],
        ends: Callable[[Shown], float],
        *,
        say: Callable[[str, str], None],
        status: Callable[[str], None],
    ) -> None:
        self.outcome: RunResult | None = None
        self.signed_in = False
        self._again, self._ends, self._say, self._status = again, ends, say, status
        self._talk: ClientConversation | None = first
        self._output = b""
        self._ear = Wire()  # for announcements between two sessions
        self._shown: Shown | None = None
        self._given = inf  # the end of the ticket that the guest has; for ever when none is to be renewed
        self._tried = 0.0  # the end of the ticket that was shown last, taken or not
        self._too_large = -inf  # the end of one that was too large: it is not shown again
        self._called = self._answering = False  # an announcement waits for its session, or is being answered
        self._pause, self._free_at = 0.0, 0.0
        self._look_at: float | None = None
        self._complained = False

    @property
    def finished(self) -> bool:
        return self.outcome is not None

    @property
    def deadline(self) -> float | None:
        return self._talk.deadline if self._talk else self._look_at

    @property
    def asking(self) -> bool:
        return self._talk is not None and self._talk.asking

    # Driven from outside

    def start(self, now: float) -> None:
        if self._talk is not None:
            self._talk.start(now)

    def receive_data(self, data: bytes, now: float) -> None:
        if self._talk is not None:
            self._talk.receive_data(data, now)
        if not data and self.signed_in:
            self.outcome = LEFT
        elif self._talk is not None:
            self._talked(now)
        else:
            self._listen(data, now)

    def data_to_send(self) -> bytes:
        if self._talk is not None:
            return self._talk.data_to_send()
        output, self._output = self._output, b""
        return output

    def deadline_passed(self, now: float) -> None:
        if self._talk is None:
            self._look(now)
            return
        self._talk.deadline_passed(now)
        self._talked(now)

    # A session ends

    def _talked(self, now: float) -> None:
        """Drop a session that is over, and all that it held."""
        talk = self._talk
        if talk is None or talk.outcome is None:
            return
        self._talk, self._ear = None, Wire()
        self._output = talk.data_to_send()
        good = talk.outcome.exit is Exit.SIGNED_IN
        if good and talk.session.authenticated is not None:
            self._shown = talk.shown
        if good and talk.handed_over and self._shown is not None:
            self._given = self._shown.until
        if self.signed_in:
            self._went_on(good, talk.outcome, now)
        elif good:
            self._stay(now)
        else:
            self.outcome = talk.outcome

    def _stay(self, now: float) -> None:
        self.signed_in = True
        self._status("signed-in")
        self._status("staying" if self._given == inf else f"staying until={self._given:.0f}")
        if self._shown is not None:
            self._tried = self._shown.until
            self._look_at = now + LOOK_EVERY

    def _went_on(self, good: bool, outcome: RunResult, now: float) -> None:
        """Pause after a renewal or an answer: twice as long after each failure."""
        if good:
            self._status("signed-in" if self._given == inf else f"renewed until={self._given:.0f}")
        else:
            self._called |= self._answering  # the guest that announced itself still waits
            self._status(f"not-renewed {int(outcome.exit)} {outcome.line}")
            if not self._complained:
                self._say(f"the ticket was not handed over again: {outcome.line}", outcome.hint)
        self._complained = not good
        if outcome.exit is Exit.TOO_LARGE:
            self._too_large = self._tried
        # An answer counts too, so that a guest that announces itself again and again does not keep us busy.
        if (good and not self._answering) or now >= self._free_at + PAUSE_MAX:
            self._pause = 0.0
        if not good or self._answering:
            self._pause = min(max(2 * self._pause, LOOK_EVERY), PAUSE_MAX)
        self._free_at, self._look_at = now + self._pause, now + LOOK_EVERY

    # Between two sessions

    def _listen(self, data: bytes, now: float) -> None:
        """Hear a guest that was started anew; nothing else that comes now has a meaning."""
        try:
            self._ear.count(data)
            heard = [found.signature for found in self._ear.signatures(data)]
        except (FramingError, RemoteProtocolError) as error:
            self.outcome = by_cause("protocol", str(error))
            return
        if self._shown is not None and any(one.role == "guest" and one.echo is None for one in heard):
            self._called = True
            self._look_at = min(self._look_at or inf, max(now, self._free_at))

    def _look(self, now: float) -> None:
        """Begin a session if there is a reason, a ticket for it, and no pause, or a ticket that is new."""
        shown, self._look_at = self._shown, now + LOOK_EVERY
        until = self._ends(shown) if shown is not None else 0.0
        wanted = until > self._given + LATER or (self._called and until > 0)
        wanted &= until > self._too_large + LATER
        if shown is None or not wanted or (now < self._free_at and until <= self._tried + LATER):
            return
        self._answering, self._called = self._called, False
        self._tried = until
        self._talk = self._again(shown)
        self._talk.start(now)


def run(
    port: Port,
    first: ClientConversation,
    options: Options,
    status: Callable[[str], None],
    meanwhile: Callable[[], None],
) -> RunResult:
    """Sign in, stay until the port is closed or we are told to end, and say how it ended.

    Nobody is asked anything after the login, and no password leaves again; a ticket goes to the service
    of the login only.
    """

    def again(shown: Shown) -> ClientConversation:
        policy, service = options.policy._replace(password=False, mechanisms=("GSSAPI",)), shown.service
        ccache = cache_of(shown, options.ccache)
        return ClientConversation(policy, load, progress=options.progress, ccache=ccache, service=service)

    staying = Staying(first, again, lambda shown: ends(shown, options.ccache), say=complain, status=status)
    del first  # it is dropped with all that it holds as soon as it is over
    try:
        Pump(port, staying).run(meanwhile=meanwhile)
    except KeyboardInterrupt:
        if not staying.signed_in:
            raise
        staying.outcome = LEFT
    return staying.outcome or LOST


def ends(shown: Shown, ccache: str | None) -> float:
    """When the TGT of the same principal in the cache ends, in seconds since the epoch; 0 for none."""
    try:
        probe = _probe(shown, ccache)
    except MechanismError:
        return 0.0
    return time.time() + probe.lifetime if probe.own_name == shown.principal else 0.0


def cache_of(shown: Shown, ccache: str | None) -> str | None:
    """The cache of the same principal, which in a collection need not be the primary one any more."""
    try:
        return _probe(shown, ccache).ccache or None
    except MechanismError:
        return ccache


def _probe(shown: Shown, ccache: str | None) -> Mechanism:
    """Kerberos' half for that principal, which asks nobody. Raises MechanismError."""
    service = shown.service.spn
    probe = load("GSSAPI").initiate(spn=service, delegate=NO, ccache=ccache, own=shown.principal)
    probe.dispose()
    return probe
