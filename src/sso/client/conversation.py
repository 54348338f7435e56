"""What the client says to a guest, without I/O: the order of layers, and who gets which credential."""

from collections.abc import Callable
from os import urandom
from time import time
from typing import Any

from sso.client import exits, halves
from sso.client.exits import Course, Exit, RunResult
from sso.client.halves import NO_TABLES, Load, Tables, own_name
from sso.client.parties import NOBODY, Person, Service, Shown
from sso.errors import ConfigError, MechanismError, PolicyError, SSOError
from sso.mech import OURS, Mechanism
from sso.policy import ClientPolicy, Source
from sso.protocol.events import Closed, LayerStarted, Reset
from sso.protocol.messages import (
    NONCE_SIZE,
    Authenticate,
    Code,
    Credentials,
    Error,
    Info,
    Message,
    Ok,
    Signature,
    StartSASL,
    StartTLS,
)
from sso.protocol.reading import DOUBT_TIME
from sso.protocol.session import Session
from sso.protocol.state import Role, State

REPEAT_AFTER = 1.0  # seconds until the SIGNATURE is said again
RESTARTS_MAX = 3


class ClientConversation(Course):
    """One login over one port; a Pump drives it, or a test.

    `load` finds mechanisms by name; `progress` is told what happens, in words for a person, and `status`
    who signs in, in words for a viewer. `service` is that of an earlier session: nobody is asked again.
    `tables` are the settings of mechanisms that are not ours.
    A `patient` one waits while the console asks something, and asks again what became of it.
    When `finished`, `outcome` says how it ended, `shown` with which ticket, and `handed_over` whether the
    guest has that ticket or a forwarded one now.
    """

    def __init__(
        self,
        policy: ClientPolicy,
        load: Load,
        *,
        person: Person = NOBODY,
        progress: Callable[[str], None] = lambda text: None,
        status: Callable[[str], None] = lambda text: None,
        random: Callable[[int], bytes] = urandom,
        ccache: str | None = None,
        service: Service | None = None,
        patient: bool = False,
        tables: Tables = NO_TABLES,
    ) -> None:
        self.policy = policy
        super().__init__(progress, status)
        self.shown: Shown | None = None
        self.handed_over = False
        self._load, self._person, self._random = load, person, random
        self._ccache = ccache
        self._attempt = random(NONCE_SIZE)
        self._restarts = 0
        if service is None and policy.spn:
            service = Service(policy.spn, policy.named)
        self._service = service
        self._patient, self._tables = patient, tables
        self._nothing: RunResult | None = None  # why the first of the list failed
        self._begin()

    def _begin(self) -> None:
        self.session = Session(Role.CLIENT, attempt=self._attempt, random=self._random)
        self._tls_tried = False
        self._untried = list(self.policy.mechanisms)
        self._later = None
        self._types: tuple[str, ...] = ()
        self._request: Message | None = None  # what the guest has not answered yet

    # Driven from outside

    def start(self, now: float) -> None:
        self._now = now
        self._attempt_step(self._check_person)
        if self.outcome is None:
            self.session.start()
            self.deadline = now + REPEAT_AFTER

    def _check_person(self) -> None:
        """Send nothing if the viewer or file that started us names another user."""
        wanted = self.policy.only_for
        spn = self._service.spn if self._service else ""
        if wanted and own_name(self._load, spn, self._ccache) != wanted:
            self._finish(exits.another_person(wanted))

    def receive_data(self, data: bytes, now: float) -> None:
        self._now = now
        if self._resting:
            if not data:
                self._finish(exits.by_code(Code.CONSOLE_ASKS))
            return
        before, in_doubt = self.session.state, self.session.in_doubt
        self.session.receive_data(data)
        self._work()
        if self._later is None and not self._resting and self.session.state not in (State.SYNC, before):
            self._wait()
        if self.session.in_doubt > in_doubt:
            self.deadline = now + DOUBT_TIME

    def data_to_send(self) -> bytes:
        return self.session.data_to_send()

    def deadline_passed(self, now: float) -> None:
        """Say SIGNATURE again, ask the person what was put off, or give up."""
        self._now = now
        if self._resting:
            self._resting = False
            self._begin()
            self.start(now)
        elif self.session.in_doubt:
            self.session.end_doubt()
            self._work()
        elif self._later is not None:
            later, self._later = self._later, None
            self._attempt_step(later)
            self._work()
            if self._later is None:
                self._wait()
        elif self.session.state is State.SYNC and self.session.repeat_signature():
            self.deadline = now + REPEAT_AFTER
        elif self.session.state is State.SYNC:
            self._finish(exits.NO_ANSWER)
        else:
            self._finish(RunResult(Exit.LOST, "the guest does not answer any more"))

    # Events

    def _work(self) -> None:
        while not (self.finished or self._resting) and (event := self.session.next_event()) is not None:
            if isinstance(event, Reset):
                self._restart()
            elif isinstance(event, Closed):
                self._closed(event)
            elif isinstance(event, LayerStarted):
                self._layer_started(event)
            else:
                self._attempt_step(lambda event=event: self._message(event))  # type: ignore[misc]

    def _attempt_step(self, step: Callable[[], None]) -> None:
        """A mechanism that fails on our side ends the run with its cause."""
        try:
            step()
        except ConfigError as error:
            self._finish(RunResult(Exit.USAGE, str(error)))
        except MechanismError as error:
            self._finish(exits.by_cause(error.cause, str(error)))

    def _restart(self) -> None:
        """The guest began anew: so do we, with the same attempt id, so that nobody is signed in twice."""
        self._restarts += 1
        old = exits.older_guest(self.session.unanswered)
        if old is not None or self._restarts > RESTARTS_MAX:
            self._finish(old or RunResult(Exit.LOST, "the guest began anew too often"))
            return
        self._progress("the guest began anew")
        self._begin()
        self.start(self._now)

    def _closed(self, event: Closed) -> None:
        if event.cause == "reset":
            return
        old = exits.older_guest(self.session.unanswered) if event.cause in ("hang-up", "protocol") else None
        self._finish(old or exits.by_cause(event.cause, event.detail))

    def _layer_started(self, event: LayerStarted) -> None:
        self._request, self._types = None, ()  # what was said outside of the layer is void
        self.handed_over = event.kind == "sasl" and event.mechanism.delegated
        who = event.mechanism.peer or "nobody known"
        self._progress(f"{event.name} stands with {who}, layer {event.mechanism.layer}")

    def _message(self, message: Message | Any) -> None:
        if isinstance(message, Signature):
            return
        request, self._request = self._request, None
        if isinstance(message, Authenticate):
            self._asked(message.types)
        elif isinstance(message, Error):
            self._refused(request, message.code)
        elif isinstance(message, Ok) and self.session.state is State.DONE:
            self._finish(RunResult(Exit.SIGNED_IN, "signed in"))
        elif isinstance(message, Ok):
            self._answered(request, message.value)

    def _asked(self, types: tuple[str, ...]) -> None:
        """The guest wants a credential: hand it over, put it off until a layer stands, or say no."""
        self._types = types
        if self.session.authenticated is not None:
            self._hand_over_ticket()
            return
        self.session.send(Error(Code.DELAY))
        self._next_step()

    def _answered(self, request: Message | None, value: str) -> None:
        """ok: nothing is asked in this greeting, or a value of `info` has come."""
        if request == Info("spn"):
            self._learn_spn(value)
        elif request == Info("time"):
            self._finish(exits.by_clock(value, time()))
        else:
            self._next_step()

    def _refused(self, request: Message | None, code: int) -> None:
        """error: only a refused TLS and a wrong clock leave something to do."""
        if self.session.over and code == Code.CONSOLE_ASKS and self._patient:
            self._rest()
        elif self.session.over:
            unnamed = self._service is not None and self._service.source is Source.GUEST
            self._finish(exits.by_code(code, unnamed=unnamed))
        elif isinstance(request, StartSASL) and code == Code.CLOCK_SKEW:
            self._progress("the clocks differ: asking the guest for its time")
            self._ask(Info("time"))
        elif isinstance(request, StartTLS) and code == Code.UNSUPPORTED:
            self._progress("the guest refuses TLS")
            self._without_tls()
        elif isinstance(request, StartSASL) and code == Code.UNSUPPORTED:
            what = "Kerberos ticket" if request.mechanism == "GSSAPI" else request.mechanism
            self._next(f"the guest takes no {what}", "it may lack its key: see its log")
        elif request == Info("spn") and code == Code.NO_VALUE:
            self._next("the guest does not say which service it is", "name it with --spn")
        else:
            self._finish(exits.by_code(code, ticket=request == StartSASL("GSSAPI")))

    def _ask(self, request: Info) -> None:
        self._request = request
        self.session.send(request)

    def _ask_for_layer(self, request: StartTLS | StartSASL, half: Mechanism) -> None:
        self._request = request
        self.session.request_layer(request, half)

    # Steps: TLS, then the mechanisms of the policy in their order, until one is started

    def _next_step(self) -> None:
        if self.policy.wants_tls and not self._tls_tried:
            self._tls_tried = True
            self._start_tls()
        elif self.policy.wants_tls and not self.session.layers:
            self._without_tls()
        else:
            self._go_on()

    def _start_tls(self) -> None:
        half = halves.tls_half(self._load, self.policy)
        self._progress("asking for TLS")
        self._ask_for_layer(StartTLS(), half)

    def _without_tls(self) -> None:
        if self.policy.goes_on_without_tls:
            self._go_on()
        else:
            self._finish(RunResult(Exit.LAYER, "the guest refuses TLS, which is required"))

    def _next(self, reason: str, hint: str = "", cause: SSOError | None = None) -> None:
        """Go on with the next of the list, and remember why this one failed."""
        if self._nothing is None:
            self._nothing = RunResult(Exit.NO_CREDENTIAL, f"nothing to sign in with: {reason}", hint)
            if isinstance(cause, MechanismError):
                self._nothing = exits.by_cause(cause.cause, str(cause))
        self._go_on()

    def _go_on(self) -> None:
        if not self._untried:
            self._finish(self._nothing or exits.NOTHING_LISTED)
            return
        name = self._untried.pop(0)
        if name == "GSSAPI":
            self._start_kerberos()
        elif name == "password":
            self._start_password()
        else:
            self._start_stranger(name)

    def _start_kerberos(self) -> None:
        if "GSSAPI" not in self.session.peer_mechanisms:
            self._next("the guest does not offer Kerberos")
            return
        service = self._service or Service("", Source.GUEST)
        try:
            half = halves.kerberos_half(self._load, self.policy, self.session, service, self._ccache)
        except MechanismError as error:
            self._next(str(error), cause=error)
            return
        if not service.spn:
            self._progress("asking the guest for its service name")
            self._ask(Info("spn"))
            return
        self._request_kerberos(service, half)

    def _request_kerberos(self, service: Service, half: Mechanism) -> None:
        spn, realm = service.spn, half.own_name.rpartition("@")[2]
        if self.policy.only_for not in ("", half.own_name):
            self._finish(exits.another_person(self.policy.only_for))
            return
        if not self.policy.may_use_spn(spn, realm, source=service.source):
            self._finish(exits.service_not_allowed(spn))
            return
        self.shown = Shown(half.own_name, service, time() + half.lifetime)
        self._say_who(half.own_name)
        self._progress(f"getting a ticket for {spn} as {half.own_name}")
        self._ask_for_layer(StartSASL("GSSAPI"), half)

    def _learn_spn(self, spn: str) -> None:
        """What a guest says of its own name is weak: policy first, then a person's yes."""
        principal = own_name(self._load, spn, self._ccache)
        # Not `principal`'s realm: of several tickets the guest is not to choose one by a realm of its choice.
        realm = own_name(self._load, "", self._ccache).rpartition("@")[2]
        if not self.policy.may_use_spn(spn, realm, source=Source.GUEST):
            self._finish(RunResult(Exit.NOT_ALLOWED, "the guest names a service that is not allowed"))
            return
        if self.policy.trust_any_spn:
            self._accept_spn(spn, agreed=False)
        else:
            self._ask_later(lambda: self._consent(spn, principal))

    def _accept_spn(self, spn: str, *, agreed: bool) -> None:
        self._service = Service(spn, Source.GUEST, agreed)
        self._start_kerberos()

    def _consent(self, spn: str, principal: str) -> None:
        if self._person.accept_spn(spn, principal):
            self._accept_spn(spn, agreed=bool(self._person.console))
            return
        self._finish(RunResult(Exit.NOT_ALLOWED, f"the service {spn} was not accepted", "name it with --spn"))

    def _hand_over_ticket(self) -> None:
        """After GSSAPI without a forwarded TGT: a KRB-CRED, where our side allows it (design step 10)."""
        if "kerberos" in self._types and self._may_send("kerberos"):
            spn = self._service.spn if self._service else ""
            secret = halves.ticket_blob(self._load, spn, self._ccache)
            self._progress("handing over the ticket")
            self._give("kerberos", secret)
            self.handed_over = True
        elif listed := [type for type in self._types if type not in OURS and self._may_send(type)]:
            from sso.client import strangers

            self._give(listed[0], strangers.blob_of(listed[0], self._load, self.session, self._tables))
        else:
            self.session.send(Error(Code.UNSUPPORTED))

    def _start_stranger(self, name: str) -> None:
        """A mechanism that is not ours: as far as guest and policy take it, with its table of client.toml."""
        from sso.client import strangers  # late: most logins need none

        known = self.policy, self.session, self._types, self._tables
        try:
            half = strangers.half(name, self._load, *known, source=self._source)
        except (PolicyError, MechanismError) as error:  # nothing was sent: the list says what is next
            self._next(str(error), cause=error)
            return
        self._say_who(half.own_name or name)
        self._progress(f"signing in by {name}")
        if name in self.session.peer_mechanisms:
            self._ask_for_layer(StartSASL(name), half)
        else:
            self._give(name, strangers.blob(half))

    def _give(self, type: str, secret: bytearray) -> None:
        self.session.send(Ok())
        self.session.send(Credentials(type, secret))

    def _start_password(self) -> None:
        if "password" not in self._types or not self._may_send("password"):
            self._next("no password is allowed here, or the guest takes none")
            return
        self._progress("a password is needed")
        self._ask_later(self._hand_over_password)

    def _hand_over_password(self) -> None:
        credential = self._password = self._password or self._person.password()
        if credential is None or credential.secret is None:
            self._finish(RunResult(Exit.NO_CREDENTIAL, "no password was given"))
            return
        self._say_who(credential.principal)
        self._give("password", halves.password_blob(self._load, credential))

    def _may_send(self, type: str) -> bool:
        return halves.may_send(self.policy, self.session, type, self._source)

    @property
    def _source(self) -> Source:
        return self._service.source if self._service else Source.GUEST

    def _say_who(self, name: str) -> None:
        if not self._told:
            self._status(f"signing-in {name}")
