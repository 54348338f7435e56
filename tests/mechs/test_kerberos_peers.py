"""GSSAPI with the programs of others, token by token: the table of PROTOCOL.md section 8.5."""

import os
import re
import select
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from beds import GUEST
from flows import ALICE, SPN, Kerberos
from sso_mechs.kerberos import Acceptor, Initiator

from sso.errors import MechanismError
from sso.mech import NO

PATIENCE = 150.0  # seconds, for what has to come
BINDING = b"sso/1:a transcript"


class Program:
    """A program that writes and reads tokens in base64, a line each; `wanted` finds one in what it writes."""

    def __init__(self, argv: list[str], wanted: str, prefix: str, env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["stdbuf", "-oL", *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | env,
        )
        self._wanted, self._prefix, self._text = wanted, prefix, ""

    def token(self) -> bytes:
        """The next one that it writes."""
        return b64decode(self.until(self._wanted)[1])

    def until(self, pattern: str) -> re.Match[str]:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        while not (found := re.search(pattern, self._text)):
            assert select.select([fd], [], [], PATIENCE)[0], f"it does not say {pattern}: {self._text}"
            octets = os.read(fd, 65536)
            assert octets, f"it ended without {pattern}: {self._text}"
            self._text += octets.decode("ascii", "replace")
        self._text = self._text[found.end() :]
        return found

    def answer(self, token: bytes) -> None:
        self.say(self._prefix + b64encode(token).decode())

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def started(argv: list[str], wanted: str, prefix: str = "", **env: str) -> Iterator[Program]:
    peer = Program(argv, wanted, prefix, env)
    try:
        yield peer
    finally:
        peer.close()


def accepted(kerberos: Kerberos, peer: Program, first: bytes, *, bound: bool = False) -> Acceptor:
    """Our guest's half, after the exchange with a client that begins with this token."""
    guest = Acceptor(**kerberos.guest(layers=("none", "conf"), require_binding=bound))
    guest.bind(BINDING)
    token = first
    while True:
        answer = guest.step(token)
        if guest.complete:
            return guest
        peer.answer(answer)
        token = peer.token()


GSASL = ["gsasl", "--mechanism=GSSAPI", "--service=host", f"--hostname={GUEST}"]
GSASL_CLIENT = [*GSASL, "--client", "--authorization-id=", "--authentication-id=alice"], r"client:\n(.*)\n"


def test_the_client_of_gsasl_takes_no_layer_and_says_a_size(kerberos: Kerberos) -> None:
    with started(*GSASL_CLIENT) as peer:
        guest = accepted(kerberos, peer, peer.token())
        assert (guest.layer, guest.peer) == ("none", ALICE)


def test_who_binds_nothing_is_refused_by_default(kerberos: Kerberos) -> None:
    with started(*GSASL_CLIENT) as peer, pytest.raises(MechanismError, match="binding"):
        accepted(kerberos, peer, peer.token(), bound=True)


def test_the_server_of_gsasl_gives_no_layer(kerberos: Kerberos) -> None:
    argv, keytab = [*GSASL, "--server"], str(kerberos.keytabs["guest"])
    with started(argv, r"server:\n(.*)\n", KRB5_KTNAME=keytab) as peer:
        assert peer.token() == b""
        client = Initiator(spn=SPN, layer="none", delegate=NO)
        client.bind(BINDING)
        peer.answer(client.step(b""))
        peer.answer(client.step(peer.token()))
        peer.answer(client.step(peer.token()))
        assert client.complete and client.layer == "none"
        peer.until(ALICE)
        peer.say("y")
        peer.until("Enter base64")
        peer.say("")
        peer.until("Server authentication finished")


def test_the_client_of_cyrus_asks_for_no_replay_detection(kerberos: Kerberos) -> None:
    argv = ["sasl-sample-client", "-s", "host", "-n", GUEST, "-m", "GSSAPI"]
    with started(argv, r"C: (.*)\n", "S: ") as peer:
        peer.answer(b"GSSAPI")
        name, _, token = peer.token().partition(b"\0")
        assert name == b"GSSAPI"
        with pytest.raises(MechanismError, match="lacks a protection"):
            accepted(kerberos, peer, token)


JAAS = """com.sun.security.jgss.initiate {
    com.sun.security.auth.module.Krb5LoginModule required useTicketCache=true doNotPrompt=true
    ticketCache="%s";
};
"""


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "layer"), [("auth", "none"), ("auth-conf", "conf")])
def test_the_client_of_java(kerberos: Kerberos, tmp_path: Path, asked: str, layer: str) -> None:
    source = Path(__file__).parents[1] / "support" / "SaslPeer.java"
    login = tmp_path / "login.conf"
    login.write_text(JAAS % kerberos.caches["alice"], encoding="utf-8")
    options = [
        "-Djavax.security.auth.useSubjectCredsOnly=false",
        f"-Djava.security.auth.login.config={login}",
        f"-Djava.security.krb5.conf={os.environ['KRB5_CONFIG']}",
    ]
    with started(["java", *options, str(source), GUEST, asked], r"token: (.*)\n") as peer:
        guest = accepted(kerberos, peer, peer.token())
        assert (guest.layer, guest.peer) == (layer, ALICE)
        peer.until(f"layer: {asked}\n")
