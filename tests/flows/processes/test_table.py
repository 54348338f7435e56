"""Each way to fail, through the real processes: exit code, the client's line, the guest's word."""

from pathlib import Path

import pytest
from beds import Certificates
from beds_guest import SPN, MakeGuest, Run, nothing_happened, sign_in

from sso.client.exits import Exit
from sso.demo.guest import Guest
from sso.demo.realm import Realm

pytestmark = pytest.mark.e2e


def refused(guest: Guest, run: Run, code: Exit, word: str = "") -> None:
    """One line (and a hint at most), the guest's own word in its log, and the screen as before."""
    assert run.code == code, run.lines
    assert 1 <= len(run.lines) <= 2 and run.lines[0].startswith("spice-client-sso: ")
    assert word in guest.log()
    assert nothing_happened(guest)


def fresh(make_guest: MakeGuest, *settings: str, spn: str = SPN, keytab: str = "deleg") -> Guest:
    guest = make_guest(*settings, spn=spn, keytab=keytab)
    guest.screen.expect("login: ")
    return guest


def test_no_ticket(realm: Realm, make_guest: MakeGuest, tmp_path: Path) -> None:
    guest = fresh(make_guest)
    run = sign_in(guest, realm, "--spn", SPN, "--ccache", f"FILE:{tmp_path}/none")
    refused(guest, run, Exit.NO_TICKET)


def test_unknown_service(realm: Realm, make_guest: MakeGuest) -> None:
    realm.kinit("alice", "-f")
    guest = fresh(make_guest)
    refused(guest, sign_in(guest, realm, "--spn", "host/nowhere.test.example"), Exit.KDC)


def test_wrong_keytab(realm: Realm, make_guest: MakeGuest) -> None:
    realm.kinit("alice", "-f")
    spn = "host/other2.test.example"
    guest = fresh(make_guest, spn=spn, keytab="other2")
    refused(guest, sign_in(guest, realm, "--spn", spn), Exit.NOT_ACCEPTED, "not-authenticated")


def test_a_guest_with_a_key_for_another_name_gets_no_ap_req(realm: Realm, make_guest: MakeGuest) -> None:
    realm.kinit("alice", "-f")
    guest = fresh(make_guest, spn="imap/guest.test.example", keytab="guest")
    run = sign_in(guest, realm)  # no --spn: the guest is asked, and names what is not allowed
    refused(guest, run, Exit.NOT_ALLOWED)
    assert b"startSASL" not in run.to_guest


def test_not_forwardable(realm: Realm, make_guest: MakeGuest) -> None:
    realm.kinit("alice", "-F")
    guest = fresh(make_guest)
    refused(guest, sign_in(guest, realm, "--spn", SPN, "--offer-tgt"), Exit.TICKET_WANTED, "login-no-ticket")


def test_a_principal_without_an_account(realm: Realm, make_guest: MakeGuest) -> None:
    realm.kinit("alice/admin", "-f")
    guest = fresh(make_guest)
    refused(guest, sign_in(guest, realm, "--spn", SPN), Exit.DENIED, "login-unknown-user")
    realm.kinit("alice", "-f")


def test_an_account_that_is_not_allowed(realm: Realm, make_guest: MakeGuest) -> None:
    realm.kinit("bob", "-f")
    guest = fresh(make_guest, 'allowed_groups = ["alice"]')
    refused(guest, sign_in(guest, realm, "--spn", SPN), Exit.DENIED, "login-account-refused")
    realm.kinit("alice", "-f")


def test_a_password_is_not_taken_outside_tls(
    realm: Realm, make_guest: MakeGuest, certificates: Certificates
) -> None:
    guest = fresh(make_guest)
    options = (*certificates.options, "--password")
    run = sign_in(guest, realm, *options, stdin_secret="a-secret-that-stays")
    refused(guest, run, Exit.LAYER)
    assert b"a-secret" not in run.to_guest


def test_a_certificate_for_another_name(
    realm: Realm, make_guest: MakeGuest, certificates: Certificates
) -> None:
    guest = make_guest('mechanisms = ["TLS", "password"]', tls=True)
    guest.screen.expect("login: ")
    options = ("--tls-name", "elsewhere.test.example", "--tls-ca", str(certificates.ca), "--password")
    run = sign_in(guest, realm, *options, stdin_secret="a-secret-that-stays")
    refused(guest, run, Exit.IDENTITY)


def test_the_kdc_is_down(realm: Realm, make_guest: MakeGuest) -> None:
    realm.kinit("alice", "-f")
    guest = fresh(make_guest)
    realm.stop()
    try:
        refused(guest, sign_in(guest, realm, "--spn", SPN), Exit.KDC)
    finally:
        realm.start()
