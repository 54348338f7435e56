"""Delegation: who gets the TGT, in which form, and that nobody else's is taken."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import gssapi
import pytest
from flows import ALICE, DELEG, SPN, Kerberos
from gss_halves import halves, joined
from sso_mechs import ccache, handed_over, krb5_memory

from sso.errors import MechanismError
from sso.mech import ALWAYS, AS_KDC_SAYS, NO


@pytest.mark.proves("S112", "S132", "S133")
@pytest.mark.parametrize(
    ("who", "spn", "keytab", "delegate", "goes"),
    [
        ("alice", SPN, "guest", NO, False),
        ("alice", SPN, "guest", AS_KDC_SAYS, False),
        ("alice", SPN, "guest", ALWAYS, True),
        ("alice", DELEG, "deleg", NO, False),
        ("alice", DELEG, "deleg", AS_KDC_SAYS, True),
        ("alice", DELEG, "deleg", ALWAYS, True),
        ("alice-here", DELEG, "deleg", AS_KDC_SAYS, False),
        ("alice-here", SPN, "guest", ALWAYS, False),
        ("stuck", DELEG, "deleg", AS_KDC_SAYS, False),
    ],
)
def test_who_gets_the_tgt(
    kerberos: Kerberos, who: str, spn: str, keytab: str, delegate: str, goes: bool
) -> None:
    client, guest = joined(kerberos, keytab=keytab, spn=spn, delegate=delegate, ccache=kerberos.cache(who))
    assert client.delegated is goes
    assert (guest.credential is not None) is goes
    if guest.credential is not None:
        (tgt,) = ccache.read(guest.credential.secret or b"")
        assert tgt.server == "krbtgt/TEST.EXAMPLE@TEST.EXAMPLE"
        assert tgt.client == guest.peer == guest.credential.principal
        assert abs(guest.credential.expires - tgt.end_time) < 5


class OldLibrary:
    """A libkrb5 before 1.20."""


def a_forwarded_ticket(kerberos: Kerberos) -> bytes:
    _, guest = joined(kerberos, keytab="deleg", spn=DELEG)
    assert guest.credential is not None
    return bytes(guest.credential.secret or b"")


def test_the_forwarded_ticket_touches_no_file(kerberos: Kerberos, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_file(credentials: Any) -> bytearray:
        raise AssertionError("a file")

    monkeypatch.setattr(krb5_memory, "_through_a_file", no_file)
    assert a_forwarded_ticket(kerberos)


def test_what_takes_it_over_is_loaded_before_the_acceptor_is_confined() -> None:
    """Here it is loaded already; in a process of its own it is as in the acceptor."""
    code = "import sys; from sso.mech import load; load('GSSAPI').prepare(); print(*sys.modules, sep=chr(10))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert {"sso_mechs.forwarded", "sso_mechs.handed_over"} <= set(said.splitlines())


def test_an_older_library_needs_a_file_and_leaves_none(
    kerberos: Kerberos, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(krb5_memory, "_library", OldLibrary)
    (tgt,) = ccache.read(a_forwarded_ticket(kerberos))
    assert tgt.client == ALICE
    assert list(tmp_path.iterdir()) == []


def test_the_same_bytes_with_and_without_a_file(kerberos: Kerberos) -> None:
    """Several entries: alice's cache with a TGT, a service ticket and the library's own notes."""
    store: Any = {"ccache": kerberos.cache("alice")}
    credentials = gssapi.Credentials(usage="initiate", store=store)
    through_a_file = krb5_memory._through_a_file(credentials)
    header = 4 + int.from_bytes(
        through_a_file[2:4], "big"
    )  # the library may note an offset of the clock there
    assert krb5_memory.octets_of(credentials)[4:] == through_a_file[header:]
    assert len(ccache.read(through_a_file)) > 1


@pytest.mark.parametrize("most", [0, 1, 2])
def test_entries_beyond_a_few_are_dropped(
    kerberos: Kerberos, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(krb5_memory, "ENTRIES_MAX", most)
    store: Any = {"ccache": kerberos.cache("alice")}
    credentials = gssapi.Credentials(usage="initiate", store=store)
    if most:
        assert len(ccache.read(krb5_memory.octets_of(credentials))) == most
        return
    with pytest.raises(MechanismError) as caught:
        krb5_memory.octets_of(credentials)
    assert caught.value.cause == "delegation"


@pytest.mark.parametrize(
    "function", ["krb5_init_context", "krb5_cc_resolve", "krb5_cc_start_seq_get", "krb5_marshal_credentials"]
)
def test_a_library_that_fails_signs_in_nobody(
    kerberos: Kerberos, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    class Failing:
        def __getattr__(self, name: str) -> Any:
            return (lambda *_: 1) if name == function else getattr(library, name)

    library = krb5_memory._library()
    client, guest = halves(kerberos, keytab="deleg", spn=DELEG)
    token = client.step(guest.step(client.step(guest.step(client.step(b"")))))
    monkeypatch.setattr(krb5_memory, "_library", Failing)
    with pytest.raises(MechanismError) as caught:
        guest.step(token)
    assert caught.value.cause == "delegation"
    assert (guest.complete, guest.credential) == (False, None)


def of_another_end(kerberos: Kerberos, path: Path, end_time: int) -> str:
    """A cache with the TGT of alice alone, which ends at another time."""
    tgt = ccache.ticket_granting(ccache.read(kerberos.caches["alice"].read_bytes()))
    path.write_bytes(ccache.write(tgt._replace(end_time=end_time)))
    return f"FILE:{path}"


@pytest.mark.parametrize("whose", ["mallory", "expired", "no folder"])
def test_a_forwarded_ticket_that_is_not_the_initiators(
    kerberos: Kerberos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """What a client forwards is its own claim: another's ticket, or one that breaks, signs in nobody."""
    client, guest = halves(kerberos)
    token = client.step(guest.step(client.step(b"")))
    token = client.step(guest.step(token))
    cache = kerberos.cache("mallory" if whose == "mallory" else "alice")
    if whose == "expired":
        cache = of_another_end(kerberos, tmp_path / "expired", 1_000_000_000)
    guest._forwarded = gssapi.Credentials(usage="initiate", store={"ccache": cache})
    if whose == "no folder":
        monkeypatch.setattr(tempfile, "tempdir", "/nonexistent/folder")
        monkeypatch.setattr(krb5_memory, "_library", OldLibrary)
    with pytest.raises(MechanismError) as caught:
        guest.step(token)
    assert caught.value.cause == ("ticket-expired" if whose == "expired" else "delegation")
    assert not guest.complete
    assert guest.credential is None


def test_every_ticket_of_a_forwarded_cache_is_looked_at(kerberos: Kerberos) -> None:
    """The first one names the cache's owner; what comes behind it may be another's, or none."""
    own, other = (
        ccache.ticket_granting(ccache.read(kerberos.caches[name].read_bytes())) for name in ("alice", "bob")
    )

    def cache(*tickets: ccache.Ticket) -> bytearray:
        head = ccache.write(tickets[0])[: -len(entry(tickets[0]))]
        return head + b"".join(map(entry, tickets))

    early = own._replace(end_time=own.end_time - 60)
    assert handed_over.check_cache(cache(own, early), ALICE) == early.end_time
    for tickets in ((own, other), (other, own), (other,)):
        with pytest.raises(MechanismError, match="another principal"):
            handed_over.check_cache(cache(*tickets), ALICE)
    with pytest.raises(MechanismError, match="lost"):
        handed_over.check_cache(cache(own)[: -len(entry(own))], ALICE)


def entry(ticket: ccache.Ticket) -> bytes:
    """One credential as it stands in a cache, behind the head and the default principal."""
    octets = bytes(ccache.write(ticket))
    return octets[4 + ccache._principal_size(bytearray(octets[4:])) :]
