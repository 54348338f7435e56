"""Stripping: whatever a guest or somebody in between hides, refuses or garbles, no secret leaves in clear.

Every script runs against clients that would like to give all they have: a password, a TGT inside SASL, a
ticket by KRB-CRED. The tap sees every byte on its way to the guest.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest
from beds import GUEST, Certificates
from flows import DELEG, PASSWORD, SPN, Flow, Kerberos, password_of, tls_guest
from pair import Pair, leaks
from sso_mechs.tls import TLS

from sso.client.parties import Person
from sso.errors import MechanismError
from sso.mech import Mechanism
from sso.policy import ClientPolicy, GuestPolicy
from sso.protocol.messages import MAGIC

NONCE = b"AAAAAAAAAAAAAAAAAAAAAA=="
Answer = bytes | Callable[["Puppet", bytes], bytes]


class Puppet:
    """A guest that follows a script: `answers` maps the verb of a line to what is said to it.

    `greeting` is said behind its SIGNATURE; b"{}" in an answer stands for that SIGNATURE. A verb without
    an answer gets silence, bytes that are no line (TLS, SASL) get the answer for "".
    """

    finished = was_reset = False
    deadline = None

    def __init__(
        self,
        greeting: bytes = b"authenticate kerberos password\n",
        mechanisms: bytes = b"GSSAPI",
        versions: bytes = b"1 1",
        echo: bytes | None = None,
        **answers: Answer,
    ) -> None:
        self._greeting, self._answers = greeting, answers
        self._head = b"\nSIGNATURE " + MAGIC.encode() + b" " + versions + b" guest " + NONCE + b" %s "
        self._head += mechanisms
        self._echo, self._nonce = echo, b""
        self._output = b""

    def start(self, now: float) -> None:
        self._output += self._head % b"-" + b"\n"

    def signature(self) -> bytes:
        return self._head % (self._echo or self._nonce) + b"\n"

    def receive_data(self, data: bytes, now: float) -> None:
        for line in data.splitlines(keepends=True):
            words = line.split()
            verb = words[0].decode("ascii", "replace") if words and line.endswith(b"\n") else ""
            if verb == "SIGNATURE":
                fresh, self._nonce = self._nonce != words[5], words[5]
                self._output += self.signature() + self._greeting if fresh else b""
            else:
                answer = self._answers.get(verb, b"")
                self._output += answer(self, line) if callable(answer) else answer

    def data_to_send(self) -> bytes:
        output, self._output = self._output, b""
        return output

    def verdict(self, code: int, now: float) -> None:
        raise AssertionError("nobody is judged by a puppet")

    def deadline_passed(self, now: float) -> None:
        pass


def inside(puppet: Puppet, line: bytes) -> bytes:
    """Answer ok, and send the next greeting in the clear, as if there were a layer."""
    return b"ok\n" + puppet.signature() + b"authenticate password\n"


AUTHENTICATE = b"authenticate password\n"
NO = b"error 400 unsupported\n"
SCRIPTS: dict[str, dict[str, Any]] = {
    "no mechanism offered": {"mechanisms": b"-", "startTLS": NO},
    "only PLAIN offered": {"mechanisms": b"PLAIN", "startTLS": NO},
    "PLAIN besides": {"mechanisms": b"PLAIN,GSSAPI,EXTERNAL", "startTLS": NO, "startSASL": NO},
    "everything refused": {"startTLS": NO, "startSASL": NO},
    "refused as not authenticated": {"startTLS": b"error 402 x\n", "startSASL": b"error 402 x\n"},
    "refused as layer required": {"startTLS": b"error 401 x\n", "startSASL": b"error 401 x\n"},
    "delayed": {"startTLS": b"error 300 delay\n", "startSASL": b"error 300 delay\n"},
    "silent": {},
    "asks again and again": {"error": AUTHENTICATE * 5},
    "asks for a password only": {"greeting": AUTHENTICATE, "startTLS": NO, "startSASL": NO},
    "asks for an unknown type": {"greeting": b"authenticate oidc\n", "startTLS": NO, "startSASL": NO},
    "asks for nothing": {"greeting": b"ok\n", "startTLS": NO, "startSASL": NO},
    "already authenticated": {"greeting": b"ok\nok\n"},
    "ok to the delay": {"error": b"ok\n"},
    "ok and lines in the clear": {"startTLS": inside, "startSASL": inside},
    "ok, then authenticate": {"startTLS": b"ok\n", "startSASL": b"ok\n", "": AUTHENTICATE},
    "ok, then the outcome ok": {"startTLS": b"ok\n", "startSASL": b"ok\n", "": b"ok\n"},
    "ok, then a greeting": {
        "startTLS": b"ok\n",
        "startSASL": b"ok\n",
        "": lambda puppet, line: b"ok\n" + puppet.signature() + AUTHENTICATE,
    },
    "ok, then an abort": {"startTLS": b"ok\n", "startSASL": b"ok\n", "": b"\xff\xff\xff\xff"},
    "ok, then an empty frame": {"startTLS": b"ok\n", "startSASL": b"ok\n", "": b"\0\0\0\0"},
    "ok, then garbage": {"startTLS": b"ok\n", "startSASL": b"ok\n", "": b"\0\0\0\x08garbage!"},
    "ok, then silence": {"startTLS": b"ok\n", "startSASL": b"ok\n"},
    "ok twice": {"startTLS": b"ok\nok\n", "startSASL": b"ok\nok\n"},
    "an old version": {"versions": b"0 0"},
    "a later version": {"versions": b"2 9"},
    "a foreign echo": {"echo": NONCE},
    "the request sent back": {
        "startTLS": lambda puppet, line: line,
        "startSASL": lambda puppet, line: line,
        "": lambda puppet, line: line,
    },
    "an SPN of its own choice": {"info": b"ok host/evil.test.example\n", "startTLS": NO},
    "another user's wishes": {"error": b"credentials password eA==\n"},
}
HELLO = {"startTLS": b"ok\n"}


def eager(certificates: Certificates) -> dict[str, tuple[ClientPolicy, Person]]:
    """Clients that would give everything, each under another requirement."""
    everything = ClientPolicy(password=True, send_ticket=True, offer_tgt=True)
    tls = everything._replace(tls_name=GUEST, tls_ca=str(certificates.ca))
    return {
        "password, TLS": (tls, password_of()),
        "password, TLS wished": (tls._replace(require="sasl-conf"), password_of()),
        "Kerberos": (everything._replace(spn=SPN), password_of()),
        "Kerberos, TLS": (tls._replace(spn=DELEG), password_of()),
        "Kerberos, TLS wished": (tls._replace(spn=DELEG, require="sasl-conf"), password_of()),
        "any SPN": (everything._replace(trust_any_spn=True), password_of()),
    }


CLIENTS = [
    "password, TLS",
    "password, TLS wished",
    "Kerberos",
    "Kerberos, TLS",
    "Kerberos, TLS wished",
    "any SPN",
]


@pytest.fixture(params=CLIENTS)
def client(
    request: pytest.FixtureRequest, certificates: Certificates, kerberos: Kerberos
) -> tuple[ClientPolicy, Person]:
    return eager(certificates)[request.param]


def nothing_left(pair: Pair, kerberos: Kerberos) -> None:
    assert leaks(pair.to_guest, [PASSWORD, *kerberos.secrets()]) == []
    assert pair.client.finished
    assert pair.exit != 0
    assert pair.judge.claims == []


@pytest.mark.proves("S117", "S118", "S122", "S123")
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_scripted_guest_gets_nothing(
    client: tuple[ClientPolicy, Person], kerberos: Kerberos, script: str
) -> None:
    policy, person = client
    pair = Pair(policy, GuestPolicy(), person=person)
    pair.guest = Puppet(**SCRIPTS[script])
    pair.run_out()
    nothing_left(pair, kerberos)


def test_the_tap_would_see_a_secret() -> None:
    """The test of the tests: each form of a secret is found at each place."""
    from sso.framing import b64encode

    for before in range(4):
        for form in (PASSWORD, b64encode(PASSWORD), b64encode(b"x" * before + PASSWORD + b"tail")):
            assert leaks(b"-" * before + form + b"-", [PASSWORD])
    assert leaks(b"..." + PASSWORD[5:13] + b"...", [PASSWORD])
    assert not leaks(b"..." + PASSWORD[5:12] + b"...", [PASSWORD])


# TLS that is not the guest's


@pytest.mark.proves("S117")
@pytest.mark.parametrize("who", ["other_name", "expired", "other_issuer"])
def test_a_certificate_that_does_not_fit_gets_nothing(
    client: tuple[ClientPolicy, Person], kerberos: Kerberos, certificates: Certificates, who: str
) -> None:
    policy, person = client
    pair = Pair(
        policy,
        GuestPolicy(tls=True, sasl=(), types=("password",)),
        mechanisms={"TLS": tls_guest(certificates, who)},
        person=person,
    ).run_out()
    nothing_left(pair, kerberos)
    if policy.wants_tls:
        assert pair.exit == 5
        assert "certificate" in (pair.client.outcome.line if pair.client.outcome else "")


@pytest.mark.parametrize("what", ["TLS 1.2", "no ALPN", "another ALPN"])
def test_a_tls_of_another_kind_gets_nothing(
    certificates: Certificates, kerberos: Kerberos, what: str
) -> None:
    import ssl

    context, binding = tls_guest(certificates)["context"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(certificates.guest.certificate), str(certificates.guest.key))
    if what == "TLS 1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["sso/1"])
    elif what == "another ALPN":
        context.set_alpn_protocols(["http/1.1"])
    policy, person = eager(certificates)["password, TLS"]
    pair = Pair(
        policy,
        GuestPolicy(tls=True, types=("password",)),
        mechanisms={"TLS": {"context": (context, binding)}},
        person=person,
    ).run_out()
    nothing_left(pair, kerberos)
    assert pair.exit == 5


# A real guest, and somebody in between


def replacing(old: bytes, new: bytes, towards: str = "to_client") -> Callable[[str, bytes], bytes]:
    return lambda direction, data: data.replace(old, new) if direction == towards else data


CHANGES: dict[str, Callable[[str, bytes], bytes]] = {
    "version widened": replacing(b" 1 1 guest", b" 0 1 guest"),
    "version narrowed": replacing(b" 1 1 client", b" 1 2 client", "to_guest"),
    "mechanism added": replacing(b" GSSAPI\n", b" PLAIN,GSSAPI\n"),
    "type added": replacing(b"authenticate kerberos\n", b"authenticate kerberos oidc\n"),
    "type removed": replacing(b"authenticate kerberos password\n", b"authenticate kerberos\n"),
    "authenticate turned to ok": replacing(b"authenticate kerberos\n", b"ok\n"),
    "attempt replaced": lambda direction, data: re.sub(rb"attempt=\S+", b"attempt=" + NONCE, data),
    "attempt removed": lambda direction, data: re.sub(rb" attempt=\S+", b"", data),
    "delay removed": replacing(b"error 300 delay\n", b"", "to_guest"),
    "delay doubled": replacing(b"error 300 delay\n", b"error 300 delay\n" * 2, "to_guest"),
    "refusal put in": replacing(b"startTLS\n", b"startTLS\ninfo time\n", "to_guest"),
    "request changed": replacing(b"startTLS\n", b"startSASL GSSAPI\n", "to_guest"),
    "ok doubled": replacing(b"\nok\n", b"\nok\nok\n"),
    "ok removed": replacing(b"\nok\n", b"\n"),
    "an attribute added": replacing(b" GSSAPI\n", b" GSSAPI x=y\n"),
    "a word recoded": replacing(b"error 300 delay", b"error 300 wait", "to_guest"),
}


@pytest.mark.proves("S042", "S115", "S120")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["gss_flow", "tls_gss_flow", "tls_flow", "ticket_flow"])
def test_a_changed_word_ends_it(
    request: pytest.FixtureRequest, kerberos: Kerberos, name: str, change: str
) -> None:
    """Both ends saw the same lines, or no login: GSS binds them; inside TLS the guest confirms them."""
    flow: Flow = request.getfixturevalue(name)
    altered: list[bool] = []

    def alter(direction: str, data: bytes) -> bytes:
        after = CHANGES[change](direction, data)
        altered.append(after != data)
        return after

    pair = flow.pair(change=alter).run_out()
    if any(altered):
        nothing_left(pair, kerberos)
    else:
        assert pair.exit == 0  # a word that this flow does not say


def test_every_change_hits_at_least_one_flow(request: pytest.FixtureRequest) -> None:
    for name, change in CHANGES.items():
        hit = []
        for flow in ("gss_flow", "tls_gss_flow", "tls_flow"):
            pair = request.getfixturevalue(flow).pair().run()
            hit += [change("to_guest", bytes(pair.to_guest)) != pair.to_guest]
            hit += [change("to_client", bytes(pair.to_client)) != pair.to_client]
        assert any(hit), name


@pytest.mark.parametrize(("require", "exit"), [("", 4), ("tls", 4), ("sasl-conf", 0)])
def test_a_true_guest_without_tls_does_not_lower_what_is_required(
    tls_gss_flow: Flow, require: str, exit: int
) -> None:
    """It could take the ticket by SASL alone: only a client that requires no more than that goes on."""
    pair = tls_gss_flow.pair(
        client=tls_gss_flow.client._replace(require=require), guest=GuestPolicy()
    ).run_out()
    assert pair.exit == exit
    assert (b"startSASL" in pair.to_guest) == (exit == 0)


class Dropping(Mechanism):
    """TLS of the guest whose layer says nothing: a close_notify and a hang-up are no login."""

    def __init__(self, **arguments: Any) -> None:
        self._half = TLS.accept(**arguments)
        self.layer, self.binding = self._half.layer, self._half.binding

    def step(self, token: bytes) -> bytes | bytearray:
        answer = self._half.step(token)
        if self._half.complete:
            raise MechanismError("tls", "dropped", token=bytes(answer) + self._half.finish())
        return answer


def test_a_guest_that_closes_instead_of_confirming(tls_flow: Flow, kerberos: Kerberos) -> None:
    pair = tls_flow.pair(make=lambda name, **_: Dropping(**tls_flow.mechanisms["TLS"]))
    pair.run()
    pair.client.receive_data(b"", 0.0)
    nothing_left(pair, kerberos)
