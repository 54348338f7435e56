"""Guessing at passwords through the real processes: it costs a pause, and no ticket waits for that."""

import pytest
from beds import Certificates
from beds_guest import SPN, MakeGuest, shell, sign_in

from sso.client.exits import Exit
from sso.demo.guest import Guest
from sso.demo.realm import Realm

pytestmark = pytest.mark.e2e
SETTINGS = 'mechanisms = ["TLS", "GSSAPI", "kerberos", "password"]'


def shows(guest: Guest, realm: Realm, certificates: Certificates, user: str, password: str) -> int:
    """One client with one password, and no ticket beside it: its exit code."""
    realm.ccache.unlink(missing_ok=True)
    trust = certificates.options
    return sign_in(guest, realm, *trust, "--password", "--user", user, stdin_secret=password).code


def test_a_visitor_who_guesses_is_told_later_right_or_wrong(
    realm: Realm, make_guest: MakeGuest, certificates: Certificates
) -> None:
    """Seen in an older version: while alice was in by password, the right guess was answered ok."""
    guest = make_guest(SETTINGS, 'disconnect = "nothing"', tls=True)
    guest.screen.expect("login: ")
    right = guest.sandbox.password("alice")
    for _ in range(2):  # the second visit of the user
        assert shows(guest, realm, certificates, "alice", right) == Exit.SIGNED_IN
    assert shows(guest, realm, certificates, "alice", "a-wrong-one") == Exit.NOT_ACCEPTED
    for password in (right, "a-wrong-one", right):
        assert shows(guest, realm, certificates, "alice", password) == Exit.TRY_LATER
    realm.kinit("alice", "-f")
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN, "a ticket does not wait"
    assert "a-wrong-one" not in guest.log() and right not in guest.log()


def test_a_wrong_password_of_somebody_else_keeps_no_ticket_waiting(
    realm: Realm, make_guest: MakeGuest, certificates: Certificates
) -> None:
    guest = make_guest(SETTINGS, tls=True)
    guest.screen.expect("login: ")
    for user in ("bob", "alice"):
        code = Exit.NOT_ACCEPTED if user == "bob" else Exit.TRY_LATER
        assert shows(guest, realm, certificates, user, "not-theirs") == code
    realm.kinit("alice", "-f")
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    with shell(guest) as command:
        assert command("id -un") == "alice"
