"""The mechanism of examples/: built as a stranger would, installed beside ours, used in a session."""

import subprocess
import sys
from pathlib import Path

import pytest
from beds import Certificates

ROOT = Path(__file__).resolve().parents[2]
BUILD = ("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir")

# Runs in the fresh environment, on nothing but the two wheels: a whole session through TLS.
USE = """
import sys
from sso.mech import load, names
from sso.protocol.messages import StartSASL, StartTLS, Authenticate, Error
from sso.protocol.session import Session
from sso.protocol.state import Role

ca, certificate, key = sys.argv[1:]
assert names()["X-SHARED-SECRET"] == "sso_shared_secret:SHARED_SECRET"
assert "sso_shared_secret" not in sys.modules, "listed by name, not imported"
tls, pair = load("TLS"), load("X-SHARED-SECRET", ["TLS", "X-SHARED-SECRET"])
assert pair.provides == ("identity",)

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
                        guest.accept_layer(event, pair.accept(secret_of={"alice": b"open sesame"}.get))
    guest.start(); client.start(); settle()
    guest.send(Authenticate(("password",))); settle()
    client.send(Error(300))
    client.request_layer(StartTLS(), tls.initiate(name="guest.test.example", ca_file=ca)); settle()
    guest.send(Authenticate(("password",))); settle()
    client.send(Error(300))
    client.request_layer(StartSASL("X-SHARED-SECRET"), pair.initiate(user="alice", secret=secret)); settle()
    return guest.authenticated, seen

good, seen = login(b"open sesame")
assert good is not None and good.peer == "alice" and good.credential.type == "identity"
assert ("client", "LayerStarted") in seen
bad, seen = login(b"let me in")
assert bad is None
print("used")
"""


@pytest.mark.packaging
@pytest.mark.proves("S084")
def test_a_strangers_mechanism_is_installed_beside_ours_and_used(
    tmp_path: Path, certificates: Certificates
) -> None:
    for source in (ROOT, ROOT / "examples" / "shared-secret"):
        run(sys.executable, *BUILD, str(tmp_path), str(source))
    wheels = sorted(str(path) for path in tmp_path.glob("*.whl"))
    assert len(wheels) == 2
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    python = str(tmp_path / "venv" / "bin" / "python")
    run(python, "-m", "pip", "install", "--quiet", "--no-index", *wheels)
    guest = certificates.guest
    paths = (str(certificates.ca), str(guest.certificate), str(guest.key))
    assert run(python, "-I", "-c", USE, *paths, cwd=tmp_path).endswith("used\n")


def run(*argv: str, cwd: Path | None = None) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
