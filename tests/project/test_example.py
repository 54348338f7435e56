"""The mechanism of examples/: built as a stranger would, installed beside ours, and alice signs in by it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from beds import Certificates
from beds_guest import MakeGuest, nothing_happened, shell, sign_in
from beds_wheels import ROOT, build, python, run, whole

from sso.client.exits import Exit
from sso.demo.guest import ACCEPTOR_UID
from sso.demo.realm import Realm

# Runs in the fresh environment, on nothing but the two wheels: a whole session through TLS.
USE = """
import sys
from sso.mech import load, names
from sso.protocol.messages import StartSASL, StartTLS, Authenticate, Error
from sso.protocol.session import Session
from sso.protocol.state import Role

ca, certificate, key, secrets, right, wrong = sys.argv[1:]
assert names()["X-SHARED-SECRET"] == "sso_shared_secret:SHARED_SECRET"
assert "sso_shared_secret" not in sys.modules, "listed by name, not imported"
tls, pair = load("TLS"), load("X-SHARED-SECRET", ["TLS", "X-SHARED-SECRET"])
assert pair.provides == ("identity",) and pair.inside_only

def login(secret):
    client = Session(Role.CLIENT, attempt=bytes(16))
    guest = Session(Role.GUEST, mechanisms=["X-SHARED-SECRET"])
    seen = []
    def settle():
        moved = True
        while moved:
            moved = False
            for end, other in ((client, guest), (guest, client)):
                data = end.data_to_send()
                if data:
                    moved = True
                    other.receive_data(data)
                while (event := other.next_event()) is not None:
                    seen.append((other.role.value, type(event).__name__))
                    if isinstance(event, StartTLS):
                        guest.accept_layer(event, tls.accept(certificate=certificate, key=key))
                    if isinstance(event, StartSASL):
                        guest.accept_layer(event, pair.accept(secrets=secrets))
    guest.start(); client.start(); settle()
    guest.send(Authenticate(("password",))); settle()
    client.send(Error(300))
    client.request_layer(StartTLS(), tls.initiate(name="guest.test.example", ca_file=ca)); settle()
    guest.send(Authenticate(("password",))); settle()
    client.send(Error(300))
    half = pair.initiate(user="alice", secret_file=secret)
    client.request_layer(StartSASL("X-SHARED-SECRET"), half); settle()
    return guest.authenticated, seen

good, seen = login(right)
assert good is not None and good.peer == "alice" and good.credential.type == "identity"
assert ("client", "LayerStarted") in seen
bad, seen = login(wrong)
assert bad is None
print("used")
"""


SECRET = "open sesame"
CLIENT = """
mechanisms = ["X-SHARED-SECRET"]
tls-name = "guest.test.example"
tls-ca = "{ca}"

[mechanism.X-SHARED-SECRET]
user = "{user}"
secret_file = "{secret}"
"""
SECRETS = "/etc/console-sso/secrets"
ALLOWED = 'mechanisms = ["TLS", "X-SHARED-SECRET"]'
GUEST = f'mechanism.X-SHARED-SECRET = {{ secrets = "{SECRETS}", accept_identity = %s }}'


class Venvs(NamedTuple):
    """The environment of the client and that of the guest, each with wheels of its own."""

    client: Path
    guest: Path


@pytest.fixture(scope="module")
def venvs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venvs]:
    folder = tmp_path_factory.mktemp("example")
    wheels = build(folder / "wheels", ROOT, ROOT / "examples" / "shared-secret")
    found = Venvs(whole(folder / "client", *wheels), whole(folder / "guest", *wheels))
    yield found
    for venv in found:
        shutil.rmtree(venv)


def secret(folder: Path, text: str) -> Path:
    path = folder / text.replace(" ", "-")
    path.write_text(text + "\n")
    return path


@pytest.mark.packaging
@pytest.mark.proves("S084")
def test_a_strangers_mechanism_is_installed_beside_ours_and_used(
    tmp_path: Path, certificates: Certificates, venvs: Venvs
) -> None:
    guest = certificates.guest
    secrets = secret(tmp_path, f"alice:{SECRET}")
    paths = (certificates.ca, guest.certificate, guest.key, secrets)
    words = (*paths, secret(tmp_path, SECRET), secret(tmp_path, "let me in"))
    assert run(python(venvs.client), "-I", "-c", USE, *map(str, words), cwd=tmp_path).endswith("used\n")


@pytest.mark.e2e
@pytest.mark.packaging
@pytest.mark.parametrize(
    ("user", "shown", "identity", "code"),
    [
        ("alice", SECRET, True, Exit.SIGNED_IN),
        ("alice", "let me in", True, Exit.IDENTITY),
        ("root", SECRET, True, Exit.DENIED),
        ("alice", SECRET, False, Exit.TICKET_WANTED),
    ],
)
def test_alice_signs_in_by_it(
    user: str,
    shown: str,
    identity: bool,
    code: Exit,
    venvs: Venvs,
    realm: Realm,
    make_guest: MakeGuest,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    """Client and guest are what their wheels brought: neither finds the source tree, or the other's."""
    modules = "sso", "sso_mechs", "sso_shared_secret"
    ask = f"import {', '.join(modules)}; print({', '.join(f'{name}.__file__' for name in modules)})"
    for venv in venvs:
        where = run(python(venv), "-I", "-c", ask).split()
        assert len(where) == 3 and all(Path(file).is_relative_to(venv) for file in where)
    guest = make_guest(ALLOWED, GUEST % str(identity).lower(), tls=True, venv=venvs.guest)
    guest.sandbox.write(SECRETS, f"alice:{SECRET}\nroot:{SECRET}\n", 0o600)
    os.chown(guest.sandbox.path(SECRETS), ACCEPTOR_UID, ACCEPTOR_UID)
    guest.screen.expect("login: ")
    config = tmp_path / "client.toml"
    text = CLIENT.format(ca=certificates.ca, user=user, secret=secret(tmp_path, shown))
    config.write_text(text)
    run_ = sign_in(guest, realm, "--config", str(config), "--named", "typed", python=python(venvs.client))
    assert run_.code == code, (run_.lines, guest.log())
    if code is not Exit.SIGNED_IN:
        assert nothing_happened(guest)
        return
    assert run_.lines == []
    with shell(guest) as command:
        assert command("id -un") == "alice"
