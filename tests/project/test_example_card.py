"""The credential types of examples/card: installed as a stranger would, a card goes all the way to PAM."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from beds import Certificates
from beds_guest import MakeGuest, Run, has_ticket, nothing_happened, shell, sign_in
from beds_wheels import ROOT, beside_ours, build, python

from sso.client.exits import Exit
from sso.demo.guest import ACCEPTOR_UID, Guest
from sso.demo.realm import Realm

pytestmark = [pytest.mark.e2e, pytest.mark.packaging]
PIN = "open sesame"
CARDS = "/etc/console-sso/cards"
TICKET = "/etc/console-sso/ticket"
CLIENT = """
mechanisms = ["{type}"]
tls-name = "guest.test.example"
tls-ca = "{ca}"

[mechanism.{type}]
number = "4711"
pin_file = "{pin}"
"""


class Venvs(NamedTuple):
    """The environment of the client and that of the guest."""

    client: Path
    guest: Path


@pytest.fixture(scope="module")
def venvs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venvs]:
    folder = tmp_path_factory.mktemp("card")
    wheels = build(folder / "wheels", ROOT / "examples" / "card")
    found = Venvs(beside_ours(folder / "client", *wheels), beside_ours(folder / "guest", *wheels))
    yield found
    for venv in found:
        shutil.rmtree(venv)


class Bed:
    """A guest that allows one type, with alice's card, and a client that has it."""

    def __init__(
        self, guest: Guest, realm: Realm, client: Path, type: str, password: str, user: str = "alice"
    ) -> None:
        self.guest, self._realm, self._client, self._type = guest, realm, client, type
        guest.sandbox.write(CARDS, f"4711:{PIN}:{user}:{password}\n", 0o600)
        self.belongs_to_the_acceptor(CARDS)
        guest.screen.expect("login: ")

    def belongs_to_the_acceptor(self, path: str) -> None:
        os.chown(self.guest.sandbox.path(path), ACCEPTOR_UID, ACCEPTOR_UID)

    def sign_in(self, folder: Path, ca: Path, pin: str = PIN) -> Run:
        config, pin_file = folder / "client.toml", folder / "pin"
        pin_file.write_text(pin + "\n")
        config.write_text(CLIENT.format(type=self._type, ca=ca, pin=pin_file))
        options = "--config", str(config), "--named", "typed"
        run = sign_in(self.guest, self._realm, *options, python=python(self._client))
        everything = "\n".join([self.guest.log(), *run.lines]).encode() + run.to_guest + run.to_client
        assert PIN.encode() not in everything
        return run


def bed(
    make_guest: MakeGuest,
    realm: Realm,
    venvs: Venvs,
    type: str,
    identity: bool,
    password: str = "",
    user: str = "alice",
) -> Bed:
    table = f'mechanism.{type} = {{ cards = "{CARDS}", accept_identity = {str(identity).lower()} }}'
    guest = make_guest(f'mechanisms = ["TLS", "{type}"]', table, tls=True, venv=venvs.guest)
    return Bed(guest, realm, venvs.client, type, password or guest.sandbox.password("alice"), user)


@pytest.mark.parametrize(("type", "identity"), [("x-card", True), ("x-card-password", False)])
def test_a_card_signs_alice_in(
    type: str,
    identity: bool,
    make_guest: MakeGuest,
    realm: Realm,
    venvs: Venvs,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    here = bed(make_guest, realm, venvs, type, identity)
    run = here.sign_in(tmp_path, certificates.ca)
    assert (run.code, run.lines) == (Exit.SIGNED_IN, []), here.guest.log()
    with shell(here.guest) as command:
        assert command("id -un") == "alice"


@pytest.mark.parametrize(
    ("type", "identity", "pin", "password", "code"),
    [
        ("x-card", False, PIN, "", Exit.TICKET_WANTED),  # who only says who it is has to be accepted
        ("x-card", True, "another", "", Exit.NOT_ACCEPTED),
        ("x-card-password", True, "another", "", Exit.NOT_ACCEPTED),
        ("x-card-password", True, PIN, "not-the-password", Exit.NOT_ACCEPTED),  # PAM decides, not the card
    ],
)
def test_a_card_that_does_not_do_signs_nobody_in(
    type: str,
    identity: bool,
    pin: str,
    password: str,
    code: Exit,
    make_guest: MakeGuest,
    realm: Realm,
    venvs: Venvs,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    here = bed(make_guest, realm, venvs, type, identity, password)
    run = here.sign_in(tmp_path, certificates.ca, pin)
    assert run.code == code, (run.lines, here.guest.log())
    assert nothing_happened(here.guest)


def ticket_bed(make_guest: MakeGuest, realm: Realm, venvs: Venvs, user: str, cache: bytes) -> Bed:
    """A guest whose card belongs to a principal, with that cache; the client itself has no ticket."""
    here = bed(make_guest, realm, venvs, "x-card-ticket", False, TICKET, user)
    here.guest.sandbox.path(TICKET).write_bytes(cache)
    here.belongs_to_the_acceptor(TICKET)
    return here


def ticket_of_alice(realm: Realm, folder: Path) -> bytes:
    return realm.kinit("alice", "-f", ccache=folder / "ccache").read_bytes()


def test_the_ticket_of_a_card_is_the_cache_of_the_session(
    make_guest: MakeGuest, realm: Realm, venvs: Venvs, certificates: Certificates, tmp_path: Path
) -> None:
    here = ticket_bed(make_guest, realm, venvs, "alice@TEST.EXAMPLE", ticket_of_alice(realm, tmp_path))
    run = here.sign_in(tmp_path, certificates.ca)
    assert (run.code, run.lines) == (Exit.SIGNED_IN, []), here.guest.log()
    with shell(here.guest) as command:
        assert command("id -un") == "alice"
        has_ticket(here.guest, command)


@pytest.mark.parametrize(
    ("user", "pin", "empty", "code"),
    [
        ("alice@TEST.EXAMPLE", "another", False, Exit.NOT_ACCEPTED),
        ("alice@TEST.EXAMPLE", PIN, True, Exit.NOT_ACCEPTED),
        ("alice@ELSEWHERE.EXAMPLE", PIN, False, Exit.DENIED),  # a principal, and no login name
        ("root@TEST.EXAMPLE", PIN, False, Exit.DENIED),
    ],
)
def test_a_ticket_that_does_not_do_signs_nobody_in(
    user: str,
    pin: str,
    empty: bool,
    code: Exit,
    make_guest: MakeGuest,
    realm: Realm,
    venvs: Venvs,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    here = ticket_bed(make_guest, realm, venvs, user, b"" if empty else ticket_of_alice(realm, tmp_path))
    run = here.sign_in(tmp_path, certificates.ca, pin)
    assert run.code == code, (run.lines, here.guest.log())
    assert nothing_happened(here.guest)
