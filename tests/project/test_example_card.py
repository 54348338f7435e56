"""The credential types of examples/card: installed as a stranger would, a card goes all the way to PAM."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from beds import Certificates
from beds_guest import MakeGuest, Run, nothing_happened, shell, sign_in
from beds_wheels import ROOT, beside_ours, build, python

from sso.client.exits import Exit
from sso.demo.guest import ACCEPTOR_UID, Guest
from sso.demo.realm import Realm

pytestmark = [pytest.mark.e2e, pytest.mark.packaging]
PIN = "open sesame"
CARDS = "/etc/console-sso/cards"
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

    def __init__(self, guest: Guest, realm: Realm, client: Path, type: str, password: str) -> None:
        self.guest, self._realm, self._client, self._type = guest, realm, client, type
        guest.sandbox.write(CARDS, f"4711:{PIN}:alice:{password}\n", 0o600)
        os.chown(guest.sandbox.path(CARDS), ACCEPTOR_UID, ACCEPTOR_UID)
        guest.screen.expect("login: ")

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
    make_guest: MakeGuest, realm: Realm, venvs: Venvs, type: str, identity: bool, password: str = ""
) -> Bed:
    table = f'mechanism.{type} = {{ cards = "{CARDS}", accept_identity = {str(identity).lower()} }}'
    guest = make_guest(f'mechanisms = ["TLS", "{type}"]', table, tls=True, venv=venvs.guest)
    return Bed(guest, realm, venvs.client, type, password or guest.sandbox.password("alice"))


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
