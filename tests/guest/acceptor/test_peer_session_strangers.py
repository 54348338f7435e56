"""The acceptor's workers with mechanisms that are not ours: what they declare is enforced, and one that goes
wrong ends its own session."""

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from beds_acceptor import ATTEMPT, MakeBed, ask, hung_up, log_in
from beds_agent import has

from sso.credential import Credential
from sso.errors import MechanismError
from sso.guest import records
from sso.guest.acceptor import acceptor, peer_session
from sso.guest.packets import BIND, CREDENTIAL, EXPORT, JUDGE, MAKE, NO, PACKET_MAX, STEP, YES
from sso.guest.records import Kind
from sso.mech import Mechanism, Pair


class Odd(BaseException):
    """What no handler of Exception meets."""


def throw(error: BaseException) -> None:
    raise error


def ignore_the_deadline() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.pause()


# What its step does first, and whom it names.
DEEDS: dict[str, Callable[[], object]] = {
    "step": lambda: throw(ZeroDivisionError("secret")),
    "SystemExit": lambda: throw(SystemExit(0)),
    "KeyboardInterrupt": lambda: throw(KeyboardInterrupt("secret")),
    "odd": lambda: throw(Odd("secret")),
    "odd cause": lambda: throw(MechanismError(5)),  # type: ignore[arg-type]
    "ends": lambda: os._exit(0),
    "closes": lambda: os.closerange(3, 1024),
    "hangs": signal.pause,
    "is deaf": ignore_the_deadline,
}
PEERS: dict[str, Any] = {"long name": "p" * 600, "two lines": "alice\nroot", "nobody": None}


class Stranger(Mechanism):
    """Goes wrong as it is told; else it believes whom the first token names."""

    def __init__(self, how: str = "", layers: tuple[str, ...] = ()) -> None:
        self._how = how
        if how == "accept":
            raise ZeroDivisionError("secret")
        if how == "hangs in accept":
            signal.pause()
        if how == "ends in accept":
            raise SystemExit(0)
        if how == "has an alarm":
            signal.signal(signal.SIGALRM, signal.SIG_IGN)

    def bind(self, binding: bytes) -> None:
        if self._how in BINDS:
            raise BINDS[self._how]

    def step(self, token: bytes) -> Any:
        if self._how in DEEDS:
            DEEDS[self._how]()
        self.complete = True
        self.peer = PEERS.get(self._how, token.decode())
        if self._how == "layer":
            self.layer = "conf"
        if self._how == "other type":
            self.credential = Credential("kerberos", self.peer, bytearray(b"ticket"))
        elif self._how == "other name":
            self.credential = Credential("identity", "root")
        else:
            self.credential = Credential("identity", self.peer, bytearray(b"not for PAM"))
        if self._how == "fixed secret":
            self.credential.secret = b"secret"  # type: ignore[assignment]  # as somebody may write it
        if self._how == "no time":
            self.credential.expires = 1.5  # type: ignore[assignment]
        return {"megabyte": bytes(1024 * 1024), "text": "text", "number": 2**30}.get(self._how, b"")


def stranger(how: str = "", **changes: Any) -> Pair:
    pair = Pair("X-STRANGER", "sasl", Mechanism, partial(Stranger, how), provides=("identity",))
    return pair._replace(**changes)


BINDS = {"refuses": MechanismError("binding", "none is known"), "breaks": ZeroDivisionError("secret")}
MAKE_IT = MAKE + b"\1X-STRANGER"
# How it goes wrong in its step, what its child is told, and the acceptor's line.
WRONG = {
    "step": (b"", "mechanism-failed ZeroDivisionError mechanism=X-STRANGER session=1"),
    "SystemExit": (b"", "mechanism-failed SystemExit mechanism=X-STRANGER session=1"),
    "KeyboardInterrupt": (b"", "mechanism-failed KeyboardInterrupt mechanism=X-STRANGER session=1"),
    "odd": (b"", "mechanism-failed Odd mechanism=X-STRANGER session=1"),
    "ends": (b"", "worker-failed session=1"),
    "closes": (b"", "worker-failed session=1"),
    "odd cause": (b"", "mechanism-failed AttributeError mechanism=X-STRANGER session=1"),
    "hangs": (b"", "mechanism-late no answer within 2 s session=1"),
    "megabyte": (NO + b"too-long\0", ""),
    "text": (b"", "mechanism-failed TypeError mechanism=X-STRANGER session=1"),
    "number": (b"", "mechanism-failed TypeError mechanism=X-STRANGER session=1"),
    "long name": (NO + b"principal\0", ""),
    "two lines": (NO + b"principal\0", ""),
    "nobody": (NO + b"principal\0", ""),
    "fixed secret": (NO + b"credential\0", ""),
    "no time": (NO + b"credential\0", ""),
    "other type": (NO + b"credential\0", ""),
    "other name": (NO + b"credential\0", ""),
}


@pytest.mark.parametrize("how", WRONG)
def test_a_strangers_mechanism_that_goes_wrong_ends_its_own_session(
    how: str, make_bed: MakeBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, line = WRONG[how]
    if how == "hangs":
        monkeypatch.setattr(peer_session, "ANSWER_TIME", 2.0)
        monkeypatch.setattr(acceptor, "ANSWER_TIME", 2.0)
    bed = make_bed("", lambda link: None, stranger(how))
    with bed.child(1) as child:
        assert ask(child, MAKE_IT) == YES
        child.send(STEP + b"alice")
        bed.turn(lambda: has(child))
        assert child.recv(PACKET_MAX).startswith(told)
        if told:
            child.send(JUDGE + ATTEMPT)  # there is nothing that it could claim
            bed.turn(lambda: has(child))
            assert hung_up(child)
    bed.idle()
    assert bed.lines == [line] * bool(line) and not has(bed.agent)
    log_in(bed, 2)


def test_a_defect_is_named_by_the_mechanism_and_not_by_what_its_child_said(make_bed: MakeBed) -> None:
    bed = make_bed("", lambda link: None, stranger("step"))
    with bed.child(1) as child:
        assert ask(child, MAKE_IT) == YES
        assert ask(child, CREDENTIAL + b"X-OTHER\0alice").startswith(NO + b"config\0")
        child.send(STEP + b"alice")
        bed.turn(lambda: has(child))
        assert hung_up(child)
    bed.idle()
    assert bed.lines == [WRONG["step"][1]]


@pytest.mark.parametrize(
    ("how", "changes", "why"),
    [
        ("accept", {}, b"ZeroDivisionError"),
        ("ends in accept", {}, b"SystemExit"),
        ("", {"accept": lambda: None}, b"what it makes is no Mechanism"),
    ],
)
def test_one_that_cannot_be_made_leaves_the_others_to_the_same_session(
    how: str, changes: dict[str, Any], why: bytes, make_bed: MakeBed
) -> None:
    bed = make_bed("", lambda link: None, stranger(how, **changes))
    with bed.child(1) as child:
        assert ask(child, MAKE_IT) == NO + b"failed\0failed: " + why
        assert ask(child, MAKE + b"\1X-OTHER").startswith(NO + b"config\0")
        assert ask(child, CREDENTIAL + b"password\0alice\0secret") == YES + b"alice"
    bed.idle()
    log_in(bed, 2)


@pytest.mark.parametrize(("how", "why"), [("refuses", b"binding\0"), ("breaks", b"failed\0failed: Zero")])
def test_one_that_cannot_be_bound_leaves_the_others_to_the_same_session(
    how: str, why: bytes, make_bed: MakeBed
) -> None:
    bed = make_bed("", lambda link: None, stranger(how), stranger()._replace(name="X-OTHER"))
    with bed.child(1) as child:
        assert ask(child, MAKE_IT) == YES
        assert ask(child, BIND + b"binding").startswith(NO + why)
        assert ask(child, MAKE + b"\1X-OTHER") == YES
        assert [ask(child, packet) for packet in (BIND + b"binding", STEP + b"alice")] == [YES, YES + b"\1"]
    bed.idle()
    assert bed.lines == []
    log_in(bed, 2)


def test_one_that_hangs_when_it_is_made_is_ended(make_bed: MakeBed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_session, "ANSWER_TIME", 2.0)
    bed = make_bed("", lambda link: None, stranger("hangs in accept"))
    with bed.child(1) as child:
        child.send(MAKE_IT)
        bed.turn(lambda: has(child))
        assert child.recv(9) == b""
    bed.idle()
    assert [line.split()[0] for line in bed.lines] == ["mechanism-late"]
    log_in(bed, 2)


def test_one_that_has_had_alarms_of_its_own_still_has_its_deadline(
    make_bed: MakeBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its alarms are reset before each packet; the step shows which handler there is."""
    bed = make_bed("", lambda link: None, stranger("has an alarm"))
    monkeypatch.setitem(DEEDS, "has an alarm", lambda: throw(Odd()) if alarm_is_deadly() else None)
    with bed.child(1) as child:
        assert ask(child, MAKE_IT) == YES
        child.send(STEP + b"alice")
        bed.turn(lambda: has(child))
        assert hung_up(child)
    bed.idle()
    assert bed.lines == ["mechanism-failed Odd mechanism=X-STRANGER session=1"]


def alarm_is_deadly() -> bool:
    return signal.getsignal(signal.SIGALRM) is signal.SIG_DFL and signal.getitimer(signal.ITIMER_REAL)[0] > 0


def test_one_that_ignores_its_deadline_is_killed_when_its_child_hangs_up(make_bed: MakeBed) -> None:
    bed = make_bed("", lambda link: None, stranger("is deaf"))
    with bed.child(1) as child:
        assert ask(child, MAKE_IT) == YES
        child.send(STEP + b"alice")
    bed.idle()
    log_in(bed, 2)


def test_one_without_a_layer_says_who_the_peer_is_and_no_more(make_bed: MakeBed) -> None:
    """Its names are its own, a secret that is not declared goes nowhere, and no Kerberos ticket follows."""
    bed = make_bed("", lambda link: None, stranger())
    with bed.child(1) as child:
        assert ask(child, MAKE + b"\0X-STRANGER").startswith(NO + b"config\0"), "outside TLS it is not made"
        assert [ask(child, packet) for packet in (MAKE_IT, STEP + b"alice", EXPORT)] == [
            YES,
            YES + b"\1",
            YES + b"\1alice",
        ]
        child.send(JUDGE + ATTEMPT)
        record, fds = bed.claim()
    assert (record.kind, record.who, record.mechanism, fds) == (
        Kind.IDENTITY,
        ("X-STRANGER", "alice"),
        "X-STRANGER",
        [],
    )
    with bed.child(2) as child:
        for packet in (MAKE_IT, STEP + b"alice@TEST.EXAMPLE"):
            ask(child, packet)
        child.send(CREDENTIAL + b"kerberos\0ticket")
        bed.turn(lambda: has(child))
        assert hung_up(child), "a ticket belongs to a name of Kerberos"


def test_a_layer_that_nothing_goes_on_with_is_not_exported(make_bed: MakeBed) -> None:
    bed = make_bed("", lambda link: None, stranger("layer", layers=("none", "conf")))
    with bed.child(1) as child:
        for packet in (MAKE_IT, STEP + b"alice"):
            assert ask(child, packet).startswith(YES)
        assert ask(child, EXPORT).startswith(NO + b"not-exportable\0")


@pytest.mark.parametrize(
    ("gives", "namespace", "kind"),
    [("ticket", "kerberos", Kind.KERBEROS), ("password", "", Kind.PASSWORD), ("identity", "", Kind.IDENTITY)],
)
def test_what_pam_gets_is_what_the_pair_declares(
    gives: str, namespace: str, kind: Kind, make_bed: MakeBed
) -> None:
    bed = make_bed("", lambda link: None, stranger(gives=gives, namespace=namespace))
    with bed.child(1) as child:
        for packet in (MAKE_IT, STEP + b"alice"):
            assert ask(child, packet).startswith(YES)
        child.send(JUDGE + ATTEMPT)
        record, fds = bed.claim()
        assert record.kind is kind and record.namespace == (namespace or "X-STRANGER")
        assert [os.pread(fd, 99, 0) for fd in fds] == [b"not for PAM"] * kind.files
        records.close_all(fds)


class Badge(Mechanism):
    """A credential type of a stranger's: the blob is the name, which nobody doubts here."""

    def __init__(self, *, principal: str = "") -> None:
        self._principal = principal

    def step(self, token: bytes) -> bytes:
        self.credential = Credential("X-BADGE", bytes(token).decode())
        self.complete = True
        return b""


def test_a_credential_type_of_a_strangers_stands_alone_or_follows_its_own_names(make_bed: MakeBed) -> None:
    badge = Pair("X-BADGE", "credential", Mechanism, Badge, provides=("X-BADGE",), alone=True)
    bed = make_bed("", lambda link: None, stranger(), badge)
    with bed.child(1) as child:
        assert ask(child, CREDENTIAL + b"X-BADGE\0alice") == YES + b"alice"
        child.send(JUDGE + ATTEMPT)
        record, _ = bed.claim()
        assert (record.kind, record.who) == (Kind.IDENTITY, ("X-BADGE", "alice"))
    after = badge._replace(alone=False, namespace="X-STRANGER")
    bed = make_bed("", lambda link: None, stranger(), after)
    for id, name, told in ((1, b"alice", YES + b"alice"), (2, b"root", NO + b"principal\0")):
        with bed.child(id) as child:
            for packet in (MAKE_IT, STEP + b"alice"):
                assert ask(child, packet).startswith(YES)
            assert ask(child, CREDENTIAL + b"X-BADGE\0" + name).startswith(told)
    with bed.child(3) as child:
        child.send(CREDENTIAL + b"X-BADGE\0alice")
        bed.turn(lambda: has(child))
        assert hung_up(child), "nobody was authenticated before"
