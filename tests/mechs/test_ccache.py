"""The FILE ccache: we and MIT krb5 read each other's files, and broken files raise one error."""

import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from flows import ALICE, Kerberos
from hypothesis import given
from hypothesis import strategies as st
from sso_mechs import ccache
from sso_mechs.ccache import Ticket

from sso.errors import MechanismError

TGT = "krbtgt/TEST.EXAMPLE@TEST.EXAMPLE"
TICKET = Ticket(ALICE, TGT, 18, bytearray(range(32)), 1, 2, 3, 4, 0x40E10000, b"\x61\x03abc")

numbers = st.integers(0, 2**32 - 1)
names = st.text("abcXYZ.-", min_size=1, max_size=12)
principals = st.builds(
    lambda parts, realm: "/".join(parts) + "@" + realm, st.lists(names, min_size=1, max_size=3), names
)
tickets = st.builds(
    Ticket,
    principals,
    principals,
    st.integers(0, 65535),
    st.binary(max_size=32).map(bytearray),
    numbers,
    numbers,
    numbers,
    numbers,
    numbers,
    st.binary(max_size=300),
)


@given(tickets)
def test_what_is_written_is_read(ticket: Ticket) -> None:
    assert ccache.read(ccache.write(ticket)) == [ticket]


def test_mit_reads_what_we_write(kerberos: Kerberos, tmp_path: Path) -> None:
    tgt = next(t for t in ccache.read(kerberos.caches["alice"].read_bytes()) if t.server == TGT)
    path = tmp_path / "ours"
    path.write_bytes(ccache.write(tgt))
    listed = subprocess.run(
        ["klist", "-c", str(path)], env=kerberos.realm.env, capture_output=True, text=True, check=True
    ).stdout
    assert f"Default principal: {ALICE}" in listed
    assert TGT in listed
    kerberos.realm.run(["kvno", "-c", str(path), "imap/guest.test.example"])  # and the KDC takes it


def test_we_read_what_mit_writes(kerberos: Kerberos) -> None:
    found = ccache.read(kerberos.caches["bob"].read_bytes())
    tgt = next(ticket for ticket in found if ticket.server == TGT)
    assert tgt.client == "bob@TEST.EXAMPLE"
    assert (tgt.key_type, len(tgt.key)) == (18, 32)
    assert tgt.end_time > tgt.start_time >= tgt.auth_time > 0
    assert tgt.flags & 0x40000000  # forwardable
    assert tgt.ticket[:1] == b"\x61"  # APPLICATION 1
    assert any(ticket.server.startswith("krb5_ccache_conf_data/") for ticket in found)


@given(st.binary(max_size=200))
def test_noise_is_one_error(noise: bytes) -> None:
    for octets in (noise, b"\x05\x04" + noise, b"\x05\x04\0\0" + noise):
        with suppress(MechanismError):
            ccache.read(octets)


@pytest.mark.parametrize("size", range(len(ccache.write(TICKET))))
def test_a_cut_file_is_one_error(size: int) -> None:
    whole = ccache.write(TICKET)
    found: list[Ticket] = []
    with suppress(MechanismError):
        found = ccache.read(whole[:size])
    assert found == []  # at most the head is whole


@pytest.mark.parametrize(
    "octets", [b"", b"\x05\x03\0\0", b"\x05\x04\xff\xff", b"\x05\x04\0\0" + b"\0\0\0\1" + b"\xff" * 4]
)
def test_wrong_heads_and_lengths(octets: bytes) -> None:
    with pytest.raises(MechanismError):
        ccache.read(octets)


def test_a_key_shows_in_no_repr() -> None:
    secret = TICKET._replace(key=bytearray(b"canary-canary-canary"), ticket=b"canary-ticket")
    assert "canary" not in repr(secret) + str(secret) + f"{[secret]}"
