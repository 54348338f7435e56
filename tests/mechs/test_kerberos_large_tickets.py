"""Tickets as large as Active Directory's, with the user's groups: what has to pass, what is refused."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from beds_acceptor import ATTEMPT, AcceptorBed
from flows import ALICE, DELEG, SPN, Kerberos
from grown_ticket import AD_SIZES, grow
from pair import Judge, Pair
from sso_mechs import ccache

from sso.client.exits import OLD_TOKEN_MAX, Exit
from sso.errors import MechanismError, RemoteProtocolError
from sso.guest import records
from sso.guest.channel.conversation import Claim
from sso.guest.channel.remote import Acceptance
from sso.guest.packets import MESSAGE_MAX, PACKET_MAX
from sso.guest.records import Authenticated, Outcome
from sso.mech import TOKEN_MAX, load
from sso.policy import ClientPolicy, GuestPolicy
from sso.protocol import exchange
from sso.protocol.layer import FrameReader

MakeCache = Callable[[int], str]
PAIRS = {"GSSAPI": load("GSSAPI")}


@pytest.fixture
def large(kerberos: Kerberos, tmp_path: Path) -> MakeCache:
    """A function that gives alice a TGT of so many bytes, and returns its cache."""

    def make(size: int) -> str:
        cache = kerberos.realm.kinit("alice", "-f", ccache=tmp_path / f"cc-{size}")
        return f"FILE:{grow(kerberos.realm, cache, size)}"

    return make


def delegating(kerberos: Kerberos, ccache: str, **rest: Any) -> Pair:
    mechanisms = {"GSSAPI": kerberos.guest("deleg", DELEG)}
    return Pair(ClientPolicy(spn=DELEG), GuestPolicy(), mechanisms=mechanisms, ccache=ccache, **rest)


@pytest.mark.parametrize("size", AD_SIZES)
def test_a_forwarded_ticket_arrives_whole(kerberos: Kerberos, large: MakeCache, size: int) -> None:
    pair = delegating(kerberos, large(size)).run()
    assert (pair.exit, pair.judge.principals) == (0, [ALICE])
    assert len(pair.to_guest) > 2 * size, "the service's ticket and the forwarded one"
    (ticket,) = ccache.read(pair.judge.secrets[0])
    assert len(ticket.ticket) >= size and len(pair.judge.secrets[0]) <= records.SECRET_MAX


@pytest.mark.parametrize("size", AD_SIZES)
def test_a_ticket_that_is_sent_arrives_whole(kerberos: Kerberos, large: MakeCache, size: int) -> None:
    policy = ClientPolicy(spn=SPN, send_ticket=True)
    mechanisms = {"GSSAPI": kerberos.guest()}
    pair = Pair(policy, GuestPolicy(), mechanisms=mechanisms, ccache=large(size)).run()
    assert (pair.exit, pair.judge.principals) == (0, [ALICE])
    assert len(ccache.read(pair.judge.secrets[0])[0].ticket) >= size


def test_the_ticket_itself_goes_where_it_cannot_be_forwarded(kerberos: Kerberos, tmp_path: Path) -> None:
    """Its cache holds a service's ticket of the same size, too."""
    cache = kerberos.realm.kinit("alice", "-F", ccache=tmp_path / "cc")
    name = f"FILE:{grow(kerberos.realm, cache, 48_000)}"
    mechanisms = {"GSSAPI": kerberos.guest()}
    for _ in range(2):
        policy = ClientPolicy(spn=SPN, send_ticket=True)
        pair = Pair(policy, GuestPolicy(), mechanisms=mechanisms, ccache=name).run()
        assert pair.exit == 0
    assert cache.stat().st_size > 96_000


# Too large


def test_a_ticket_that_is_too_large_to_be_forwarded_is_not_sent(kerberos: Kerberos, large: MakeCache) -> None:
    """RFC 4121 has 16 bits for the length of what is forwarded; the KDC makes even larger tickets."""
    pair = delegating(kerberos, large(66_000)).run()
    assert pair.exit == Exit.TOO_LARGE and b"startSASL" not in pair.to_guest
    assert pair.client.outcome is not None
    assert "(a ticket of 65998 bytes" in pair.client.outcome.line and "65507" in pair.client.outcome.line


def test_a_ticket_that_is_too_large_to_be_handed_over_is_not_sent(
    kerberos: Kerberos, large: MakeCache
) -> None:
    policy = ClientPolicy(spn=SPN, send_ticket=True)
    pair = Pair(policy, GuestPolicy(), mechanisms={"GSSAPI": kerberos.guest()}, ccache=large(66_000)).run()
    assert pair.exit == Exit.TOO_LARGE and pair.judge.claims == []
    assert pair.client.outcome is not None
    assert "a ticket of 66" in pair.client.outcome.line and "65536" in pair.client.outcome.line


def test_a_token_that_is_too_large_is_not_sent(kerberos: Kerberos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "TOKEN_MAX", 1000)
    pair = delegating(kerberos, kerberos.cache()).run()
    assert pair.exit == Exit.TOO_LARGE and b"startSASL" not in pair.to_guest
    assert pair.client.outcome is not None and "and 1000 are the most" in pair.client.outcome.line


def test_a_guest_that_says_too_long_is_asked_once(
    kerberos: Kerberos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "FrameReader", lambda most: FrameReader(1000))
    pair = delegating(kerberos, kerberos.cache()).run()
    assert pair.exit == Exit.TOO_LARGE and pair.to_client.endswith(b"error 413 too-long\n")
    assert pair.to_guest.count(b"startSASL") == 1


class OldReader(FrameReader):
    """As it was: 65535 bytes for a token too, and no word to a longer one."""

    def __init__(self, most: int) -> None:
        super().__init__(OLD_TOKEN_MAX)

    def next_frame(self) -> bytes | None:
        try:
            return super().next_frame()
        except RemoteProtocolError as error:
            raise RemoteProtocolError(str(error)) from None


@pytest.mark.parametrize("how", ["hangs up", "begins anew"])
def test_an_older_guest_is_told_by_its_silence(
    kerberos: Kerberos, large: MakeCache, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(exchange, "FrameReader", OldReader)
    pair = delegating(kerberos, large(33_000), channel=how == "begins anew").run()
    if how == "hangs up":
        assert pair.guest.finished and not pair.client.finished
        pair.hang_up()
    assert pair.exit == Exit.TOO_LARGE and pair.to_guest.count(b"startSASL") == 1, "and it is not tried again"
    assert pair.client.outcome is not None
    assert "without a word" in pair.client.outcome.line and "older guest" in pair.client.outcome.hint
    small = delegating(kerberos, large(31_000)).run()
    assert small.exit == 0, "an older guest takes that"


def test_a_guest_that_hangs_up_after_its_answer_is_no_older_one(kerberos: Kerberos, large: MakeCache) -> None:
    pair = delegating(kerberos, large(48_000), judge=Judge(None)).run()
    pair.hang_up()
    assert pair.exit == Exit.LOST


# Inside the guest


@pytest.fixture
def bed(kerberos: Kerberos) -> Iterator[AcceptorBed]:
    bed = AcceptorBed(kerberos.keytabs["deleg"])
    yield bed
    bed.close()


@pytest.mark.parametrize("size", AD_SIZES)
def test_a_worker_takes_it_and_the_agent_gets_it(
    kerberos: Kerberos, large: MakeCache, bed: AcceptorBed, size: int
) -> None:
    """A real worker behind real sockets; the child's stand-ins in a thread, as in a process of their own."""
    acceptance = Acceptance(bed.child(7), PAIRS)
    talk = partial(_sign_in, load("GSSAPI").initiate(spn=DELEG, ccache=large(size)), acceptance)
    thread = threading.Thread(target=talk)
    thread.start()
    record, (fd,) = bed.claim()
    thread.join()
    assert isinstance(record, Authenticated) and record.principal == ALICE
    secret = os.pread(fd, records.SECRET_MAX + 1, 0)
    os.close(fd)
    assert len(ccache.read(secret)[0].ticket) >= size
    records.send(bed.agent, Outcome(7, 0))
    acceptance._connection.close()


def _sign_in(client: Any, acceptance: Acceptance) -> None:
    guest = acceptance.make("GSSAPI")
    for half in (client, guest):
        half.bind(b"sso/1:test")
    token = client.step(b"")
    while not guest.complete:
        token = client.step(guest.step(token)) if not client.complete else guest.step(token)
    acceptance.submit(Claim(ATTEMPT, ALICE, None))


def test_the_longest_token_crosses_and_a_longer_one_ends_its_session(bed: AcceptorBed) -> None:
    """Whatever the system's buffers are: no packet is larger than PACKET_MAX."""
    child = bed.child(1)
    child.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PACKET_MAX)
    acceptance = Acceptance(child, PAIRS)
    guest = acceptance.make("GSSAPI")
    guest.bind(b"sso/1:test")
    with pytest.raises(MechanismError) as caught:
        guest.step(bytes(TOKEN_MAX))
    assert caught.value.cause == "gssapi", "the library has read it"
    with pytest.raises(MechanismError) as caught:
        guest.step(bytes(MESSAGE_MAX))
    assert caught.value.cause == "acceptor"
    child.close()
