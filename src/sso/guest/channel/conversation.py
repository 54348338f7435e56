"""What the guest says to a client, without I/O and without a decision of its own.

It grants layers as the policy allows, collects who was authenticated and what was handed over, and
submits that to the acceptor and the agent; the code that comes back becomes `ok` or `error`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from sso.credential import Credential
from sso.errors import ConfigError, MechanismError
from sso.guest.log import ending
from sso.mech import Mechanism
from sso.policy import GuestPolicy
from sso.protocol.events import Closed, LayerFailed, LayerStarted, Reset
from sso.protocol.messages import (
    Authenticate,
    Code,
    Credentials,
    Error,
    Info,
    Ok,
    Signature,
    StartSASL,
    StartTLS,
)
from sso.protocol.reading import DOUBT_TIME
from sso.protocol.session import Session
from sso.protocol.state import Role, State

GREETING_TIME = 10.0  # seconds that a silent peer keeps a child busy
STEP_TIME = 10.0  # seconds for each step of the client
PERSON_TIME = 120.0  # seconds after `error 300`, when a person is asked
VERDICT_TIME = 40.0  # seconds for the agent: a grant lives 30 s


class Claim(NamedTuple):
    """What a session has shown: under which attempt, who, and with which credential (None: no ticket).

    For a password the principal is the user name that was typed; only PAM can prove it.
    """

    attempt: bytes
    principal: str
    credential: Credential | None


class GuestConversation:
    """One peer session of the guest; a Pump drives it, or a test.

    `make(name, **arguments)` gives the accepting half of a mechanism (the acceptor's stand-in in the
    running guest); `submit(claim)` is called once with what is to be decided, and `verdict` brings the
    answer later; `info(attribute)` gives a value or None; `note(id, detail, **fields)` takes what happened.
    """

    def __init__(
        self,
        policy: GuestPolicy,
        make: Callable[..., Mechanism],
        submit: Callable[[Claim], None],
        *,
        info: Callable[[str], str | None] = lambda attribute: None,
        note: Callable[..., None] = lambda id, detail="", **fields: None,
        **session: Any,
    ) -> None:
        self.session = Session(Role.GUEST, mechanisms=policy.sasl, **session)
        self.deadline: float | None = None
        self.finished = False
        self.was_reset = False
        self.asking = False  # no person is asked in the guest
        self.greeted = False
        self._policy, self._make, self._submit, self._info, self._note = policy, make, submit, info, note
        self._failed_sasl = False
        self._asked: tuple[str, ...] = ()
        self._judging = False
        self._now = 0.0

    # Driven from outside

    def start(self, now: float) -> None:
        self._now = now
        self.session.start()
        self.deadline = now + GREETING_TIME

    def receive_data(self, data: bytes, now: float) -> None:
        self._now = now
        session = self.session
        before, in_doubt = session.state, session.in_doubt
        session.receive_data(data)
        self._work()
        if not self.finished and session.state is not before:
            self._wait()
        if session.in_doubt > in_doubt:
            self.deadline = now + DOUBT_TIME

    def data_to_send(self) -> bytes:
        return self.session.data_to_send()

    def deadline_passed(self, now: float) -> None:
        self._now = now
        if self.session.in_doubt:
            self.session.end_doubt()
            self._work()
            return
        if self.session.state is State.SYNC:
            self._end("peer-silent", "no client spoke")
            return
        self._note("peer-late", state=self.session.state.name)
        if self._judging:
            self.verdict(Code.TOO_LATE, now)
        else:
            self._end("peer-late", "the session was ended")

    def verdict(self, code: int, now: float) -> None:
        """The answer to the claim: 0 is `ok`, anything else an error code."""
        self._now = now
        if self.finished or not self._judging:
            return
        self._judging = False
        self.session.send(Ok() if code == 0 else Error(code))
        self.session.close()
        self.finished = True

    # Events

    def _work(self) -> None:
        while not self.finished and (event := self.session.next_event()) is not None:
            self._event(event)

    def _event(self, event: Any) -> None:
        if isinstance(event, Closed):
            self._closed(event)
        elif isinstance(event, Reset):
            self.was_reset = True
        elif isinstance(event, Signature):
            self.greeted = True
            self._ask(self._policy.asked())
        elif isinstance(event, StartTLS):
            self._start_tls(event)
        elif isinstance(event, StartSASL):
            self._start_sasl(event)
        elif isinstance(event, LayerStarted):
            self._layer_started(event)
        elif isinstance(event, LayerFailed):
            self._failed_sasl = True
            self._note("not-authenticated", event.detail, mechanism=event.name)
        elif isinstance(event, Info):
            value = self._info(event.attribute)
            self.session.send(Error(Code.NO_VALUE) if value is None else Ok(value))
        elif isinstance(event, Credentials):
            self._credentials(event)
        elif isinstance(event, Error) and self.session.state is State.REFUSED:
            self._refused()

    def _closed(self, event: Closed) -> None:
        self.greeted |= event.code == Code.VERSION  # it is a client, if one of another version
        self._note(ending(event.cause), event.detail, cause=event.cause)
        self.finished = True

    def _start_tls(self, event: StartTLS) -> None:
        if not self._policy.may_start_tls():
            self.session.send(Error(Code.UNSUPPORTED))
            return
        self.session.accept_layer(event, self._make("TLS"))

    def _start_sasl(self, event: StartSASL) -> None:
        in_tls = self.session.tls is not None
        if self._failed_sasl:
            self.session.send(Error(Code.TRY_LATER))
            return
        if not self._policy.may_start_sasl(event.mechanism, in_tls):
            self.session.send(Error(Code.UNSUPPORTED))
            return
        try:
            self.session.accept_layer(event, self._make(event.mechanism, in_tls=in_tls))
        except (ConfigError, MechanismError) as error:
            self._note("mechanism-unavailable", str(error), mechanism=event.mechanism)
            self.session.send(Error(Code.UNSUPPORTED))

    def _layer_started(self, event: LayerStarted) -> None:
        if event.kind != "sasl":
            self._ask(self._policy.asked())
            return
        mechanism = event.mechanism
        self._note("authenticated", principal=mechanism.peer, mechanism=event.name)
        credential, mechanism.credential = mechanism.credential, None
        if not self._policy.may_sign_in(
            in_tls=self.session.tls is not None, confidential=self.session.confidential
        ):
            self._conclude(Code.LAYER_REQUIRED)
        elif credential is None and (types := self._policy.asked_after(event.name)):
            self._ask(types)
        else:
            self._decide(mechanism.peer, credential)

    def _ask(self, types: tuple[str, ...]) -> None:
        self._asked = types
        self.session.send(Authenticate(types) if types else Ok())

    def _credentials(self, event: Credentials) -> None:
        session, peer = self.session, self.session.authenticated
        authenticated = peer is not None and bool(peer.peer)
        allowed = self._policy.may_take(
            event.type,
            in_tls=session.tls is not None,
            authenticated=authenticated,
            confidential=session.confidential,
        )
        if not allowed or event.type not in self._asked:
            event.secret[:] = bytes(len(event.secret))
            self._conclude(Code.CREDENTIAL_REFUSED if session.confidential else Code.LAYER_REQUIRED)
            return
        arguments = (
            {"principal": peer.peer} if peer is not None and event.type not in self._policy.alone else {}
        )
        try:
            half = self._make(event.type, **arguments)
            half.step(event.secret)  # type: ignore[arg-type]  # a bytearray, so that it can be wiped
        except (ConfigError, MechanismError) as error:
            self._note("credential-refused", str(error), type=event.type)
            self._conclude(Code.CREDENTIAL_REFUSED)
            return
        finally:
            event.secret[:] = bytes(len(event.secret))
        credential, half.credential = half.credential, None
        self._decide(credential.principal if credential else half.peer, credential)

    def _refused(self) -> None:
        """The client has no credential to give: that is the end, unless SASL said who it is."""
        peer = self.session.authenticated
        if peer is None:
            self._conclude(Code.NOT_AUTHENTICATED if self._failed_sasl else Code.LAYER_REQUIRED)
        else:
            self._decide(peer.peer, None)

    def _decide(self, principal: str, credential: Credential | None) -> None:
        self._judging = True
        self._submit(Claim(self.session.attempt or bytes(16), principal, credential))

    def _conclude(self, code: int) -> None:
        self._judging = True
        self.verdict(code, self._now)

    # Time and end

    def _wait(self) -> None:
        state = self.session.state
        if self._judging:
            seconds = VERDICT_TIME
        else:
            seconds = PERSON_TIME if state is State.DELAYED else STEP_TIME
        self.deadline = self._now + seconds

    def _end(self, id: str, text: str) -> None:
        self._note(id, text)
        self.session.close()
        self.finished = True
