"""A ticket or a password on the client opens a real login in the guest: agent, PAM module, login, shell."""

import re
import sys
from pathlib import Path

import pytest
from beds import Certificates
from beds_guest import (
    SPN,
    MakeGuest,
    caches,
    count_failures,
    failures,
    has_ticket,
    nothing_happened,
    shell,
    sign_in,
)
from sso_mechs import ccache

from sso.client.exits import Exit
from sso.demo.realm import Realm

pytestmark = pytest.mark.e2e


@pytest.mark.proves("S001", "S002", "S038", "S041", "S050", "S058", "S074", "S075", "S082", "S099", "S100")
@pytest.mark.proves("S132", "S149")
def test_a_forwarded_ticket_opens_a_shell(realm: Realm, make_guest: MakeGuest) -> None:
    realm.kinit("alice", "-f")
    guest = make_guest()
    guest.screen.expect("login: ")
    run = sign_in(guest, realm, "--spn", SPN)
    assert (run.code, run.lines) == (Exit.SIGNED_IN, [])
    with shell(guest) as command:
        assert command("id -un") == "alice"
        has_ticket(guest, command)
    guest.screen.send("exit")
    guest.screen.expect("login: ")
    assert not caches(guest), "the ticket is removed with the session"


@pytest.mark.proves("S007", "S113", "S114")
def test_a_password_through_tls_opens_a_shell(
    realm: Realm, make_guest: MakeGuest, certificates: Certificates
) -> None:
    guest = make_guest('mechanisms = ["TLS", "password"]', tls=True)
    guest.screen.expect("login: ")
    options = (*certificates.options, "--password", "--user", "alice")
    run = sign_in(guest, realm, *options, stdin_secret=guest.sandbox.password("alice"))
    assert (run.code, run.lines) == (Exit.SIGNED_IN, [])
    with shell(guest) as command:
        assert command("id -un") == "alice"
    assert guest.sandbox.password("alice").encode() not in run.to_guest


def test_a_ticket_that_may_not_be_forwarded_signs_nobody_in(realm: Realm, make_guest: MakeGuest) -> None:
    realm.kinit("alice", "-f")
    guest = make_guest(spn="host/guest.test.example", keytab="guest")
    guest.screen.expect("login: ")
    run = sign_in(guest, realm, "--spn", "host/guest.test.example")
    assert run.code == Exit.TICKET_WANTED and nothing_happened(guest)


@pytest.mark.proves("S135")
def test_send_ticket_hands_it_over_and_signs_in(realm: Realm, make_guest: MakeGuest) -> None:
    realm.kinit("alice", "-f")
    guest = make_guest(spn="host/guest.test.example", keytab="guest")
    guest.screen.expect("login: ")
    run = sign_in(guest, realm, "--spn", "host/guest.test.example", "--send-ticket")
    assert run.code == Exit.SIGNED_IN
    with shell(guest) as command:
        assert command("id -un; kvno -q HTTP/web.test.example@TEST.EXAMPLE && echo good") == "alice\ngood"


def test_a_wrong_password_is_one_failure_and_the_screen_works_on(
    realm: Realm, make_guest: MakeGuest, certificates: Certificates
) -> None:
    guest = make_guest('mechanisms = ["TLS", "password"]', tls=True)
    count_failures(guest.sandbox)
    guest.screen.expect("login: ")
    options = (*certificates.options, "--password", "--user", "alice")
    run = sign_in(guest, realm, *options, stdin_secret="a-wrong-password")
    assert run.code == Exit.NOT_ACCEPTED and not caches(guest)
    guest.screen.expect(re.compile("Login incorrect"))
    again = sign_in(guest, realm, *options, stdin_secret="a-wrong-password")
    assert again.code in (Exit.TRY_LATER, Exit.NOT_ACCEPTED)
    assert guest.screen.transcript.count("Login incorrect") == 1, "the same wrong password is not tried again"
    assert failures(guest.sandbox, "alice") == 1
    guest.screen.send("alice")
    guest.screen.expect("Password: ")
    guest.screen.send(guest.sandbox.password("alice"))
    with shell(guest) as command:
        assert command("id -un") == "alice"


def test_a_mechanism_that_cannot_be_used_is_left_out_and_a_ticket_signs_in(
    realm: Realm, make_guest: MakeGuest
) -> None:
    realm.kinit("alice", "-f")
    guest = make_guest('mechanisms = ["GSSAPI", "X-NOBODY", "kerberos"]')
    guest.screen.expect("login: ")
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    with shell(guest) as command:
        assert command("id -un") == "alice"
    lines = [line for line in guest.log().splitlines() if "X-NOBODY" in line]
    assert sorted(line.split()[:2] for line in lines) == [
        ["sso-acceptor:", "mechanism-left-out"],
        ["sso-channel:", "mechanism-left-out"],
    ]


@pytest.mark.proves("S125")
def test_the_next_client_is_served_after_a_silent_one(realm: Realm, make_guest: MakeGuest) -> None:
    import socket

    realm.kinit("alice", "-f")
    guest = make_guest()
    guest.screen.expect("login: ")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(guest.port))
        assert silent.recv(100).startswith(b"\nSIGNATURE ")
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN


def test_typing_a_name_works_as_ever(make_guest: MakeGuest) -> None:
    guest = make_guest()
    guest.screen.expect("login: ")
    guest.screen.send("bob")
    guest.screen.expect("assword")
    guest.screen.send(guest.sandbox.password("bob"))
    with shell(guest) as command:
        assert command("id -un") == "bob"


def test_agetty_starts_our_login_screen(realm: Realm, make_guest: MakeGuest) -> None:
    """As the drop-in of a real getty@.service does: agetty keeps the terminal, sso-getty the login."""
    realm.kinit("alice", "-f")
    getty = str(Path(sys.executable).with_name("sso-getty"))
    guest = make_guest(
        screen=("/sbin/agetty", "--noclear", "--skip-login", "--login-program", getty, "-", "dumb")
    )
    guest.screen.expect("login: ")
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    with shell(guest) as command:
        assert command("id -un; klist -s && echo ticket") == "alice\nticket"


@pytest.mark.proves("S107", "S150")
def test_while_alice_is_in_a_new_ticket_refreshes_and_nobody_else_gets_in(
    realm: Realm, make_guest: MakeGuest
) -> None:
    realm.kinit("alice", "-f", "-l", "1h")
    guest = make_guest()
    guest.screen.expect("login: ")
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    (cache,) = caches(guest)
    first = ends(cache)
    realm.kinit("bob", "-f")
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.DENIED
    realm.kinit("alice", "-f", "-l", "8h")
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    assert caches(guest) == [cache] and ends(cache) > first
    assert cache.stat().st_uid == 4001 and cache.stat().st_mode & 0o777 == 0o600
    assert guest.log().count("login-opened") == 1 and "login-other-signed-in" in guest.log()
    with shell(guest) as command:
        assert command("id -un") == "alice"


def ends(cache: Path) -> int:
    """When the TGT in a cache ends."""
    return max(ticket.end_time for ticket in ccache.read(cache.read_bytes()))
