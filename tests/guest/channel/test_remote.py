"""The child's halves that ask the acceptor: what its worker answers ends this session at most."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sso.errors import ConfigError, MechanismError
from sso.guest.channel import remote
from sso.guest.channel.remote import Acceptance
from sso.guest.packets import YES, Inbox, send
from sso.mech import Mechanism, Pair

BARE = Pair("X-BARE", "sasl", Mechanism, Mechanism, provides=("identity", "X-OTHER"))


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    child, acceptor = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with child, acceptor:
        yield child, acceptor


def answering(acceptor: socket.socket, *replies: bytes) -> threading.Thread:
    def answer() -> None:
        inbox = Inbox()
        for reply in replies:
            inbox.receive(acceptor)
            send(acceptor, reply)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return thread


def test_while_the_acceptor_is_silent_the_pulse_goes_on_and_a_late_reply_counts_for_nothing(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    child, acceptor = ends
    monkeypatch.setattr(remote, "BEAT_EVERY", 0.01)
    monkeypatch.setattr(remote, "REPLY_TIME", 0.05)
    beats: list[int] = []
    acceptance = Acceptance(child, {"X-BARE": BARE}, lambda: beats.append(1))
    with pytest.raises(MechanismError, match="does not answer"):
        acceptance.make("X-BARE")
    assert len(beats) == 5
    with pytest.raises(BrokenPipeError):
        acceptor.send(YES, socket.MSG_NOSIGNAL)
    with pytest.raises(MechanismError):
        acceptance.ask(b"S", b"token")


@pytest.mark.parametrize(("place", "type"), [(0, None), (1, "identity"), (2, "X-OTHER")])
def test_one_without_a_layer_brings_a_name_and_the_type_of_its_credential(
    place: int, type: str | None, ends: tuple[socket.socket, socket.socket]
) -> None:
    child, acceptor = ends
    thread = answering(acceptor, YES, YES + b"\1last", YES + bytes([place]) + b"alice")
    half = Acceptance(child, {"X-BARE": BARE}).make("X-BARE", in_tls=True)
    assert half.step(b"token") == b"last"
    thread.join()
    assert (half.complete, half.peer, half.layer) == (True, "alice", "none")
    assert (half.credential and half.credential.type) == type


@pytest.mark.parametrize("exported", [b"\3alice", b"\xffalice", b"\1\xff"])
def test_what_is_not_declared_is_no_answer(
    exported: bytes, ends: tuple[socket.socket, socket.socket]
) -> None:
    child, acceptor = ends
    answering(acceptor, YES, YES + b"\1", YES + exported)
    half = Acceptance(child, {"X-BARE": BARE}).make("X-BARE", in_tls=True)
    with pytest.raises(MechanismError, match="acceptor"):
        half.step(b"token")
    assert not half.complete


def test_one_that_is_not_allowed_is_not_asked_for(ends: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(ConfigError, match="not in the list"):
        Acceptance(ends[0], {}).make("X-BARE")


class Failing(Mechanism):
    layer, peer = "conf", "alice"

    def wrap(self, data: bytes) -> bytes:
        raise ZeroDivisionError("secret")

    def unwrap(self, data: bytes) -> Any:
        return "text"

    def dispose(self) -> None:
        raise SystemExit("secret")


def test_a_layer_that_fails_is_named(ends: tuple[socket.socket, socket.socket]) -> None:
    child, acceptor = ends
    thread = answering(acceptor, YES, YES + b"\1last", YES + b"\0layer")
    log: list[tuple[Any, ...]] = []
    pairs = {"X-BARE": BARE._replace(layers=("conf",), resume=lambda exported: Failing())}
    acceptance = Acceptance(child, pairs, note=lambda *words, **fields: log.append((*words, fields)))
    half = acceptance.make("X-BARE", in_tls=True)
    half.step(b"token")
    thread.join()
    with pytest.raises(MechanismError, match=r"^failed: X-BARE: ZeroDivisionError$"):
        half.wrap(b"data")
    with pytest.raises(MechanismError, match=r"^failed: X-BARE: it gave no bytes$"):
        half.unwrap(b"data")
    half.dispose()
    half.dispose()
    assert log == [("mechanism-failed", "SystemExit", {"mechanism": "X-BARE"})]


def resumed(exported: bytes) -> Mechanism:
    """What goes on with a layer, as the exported word tells it."""
    half = Mechanism()
    half.layer, half.peer = "conf", "alice"
    if exported == b"breaks":
        raise ZeroDivisionError("secret")
    if exported == b"ends":
        raise SystemExit(0)
    if exported == b"size":
        half.plain_max = 0
    if exported == b"text":
        half.plain_max = "1"  # type: ignore[assignment]  # as somebody may write it
    if exported == b"integrity":
        half.layer = "int"
    return half


@pytest.mark.parametrize(
    ("exported", "said"),
    [
        (b"good", ""),
        (b"breaks", "failed: ZeroDivisionError"),
        (b"ends", "failed: SystemExit"),
        (b"size", "layer: a layer that the mechanism does not declare"),
        (b"text", "failed: TypeError"),
        (b"integrity", "layer: a layer that the mechanism does not declare"),
    ],
)
def test_a_layer_that_cannot_go_on_is_a_refusal(
    exported: bytes, said: str, ends: tuple[socket.socket, socket.socket]
) -> None:
    child, acceptor = ends
    thread = answering(acceptor, YES, YES + b"\1last", YES + b"\0" + exported)
    layered = BARE._replace(layers=("conf",), resume=resumed)
    half = Acceptance(child, {"X-BARE": layered}).make("X-BARE", in_tls=True)
    if said:
        with pytest.raises(MechanismError) as caught:
            half.step(b"token")
        assert str(caught.value) == said and not half.complete
    else:
        assert half.step(b"token") == b"last" and (half.peer, half.layer) == ("alice", "conf")
    thread.join()
