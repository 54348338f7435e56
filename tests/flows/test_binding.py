"""Bindings and replays: an AP-REQ is good for one channel, once, and errors come where they happen."""

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import gssapi
import pytest
import sso_mechs
from beds import Certificates
from flows import DELEG, SPN, Flow, Kerberos, tls_guest
from gssapi import raw
from pair import Judge, Pair
from sso_mechs.kerberos import Acceptor, Initiator

from sso.errors import MechanismError
from sso.guest.channel.conversation import GuestConversation as GuestConversation
from sso.mech import Mechanism, load
from sso.policy import GuestPolicy
from sso.protocol.events import Event
from sso.protocol.messages import Error, StartSASL
from sso.protocol.session import Session
from sso.protocol.state import Role

HERE, THERE = b"tls-server-end-point:here", b"sso/1:there"


def initiator(spn: str = SPN, **arguments: Any) -> Initiator:
    return Initiator(spn=spn, **arguments)


def first_token(binding: bytes = HERE, **arguments: Any) -> bytes:
    half = initiator(**arguments)
    half.bind(binding)
    return half.step(b"")


@pytest.mark.parametrize(
    ("ours", "theirs", "cause"),
    [
        (HERE, HERE, None),
        (HERE, THERE, "binding"),
        (HERE[:-1], HERE, "binding"),
        (None, HERE, "binding"),
        (HERE, None, "binding"),
        (None, None, "binding"),
    ],
)
def test_the_binding_table(
    kerberos: Kerberos, ours: bytes | None, theirs: bytes | None, cause: str | None
) -> None:
    """MIT accepts an initiator that binds nothing: the flag in the context decides, and `none` is no."""
    client, guest = initiator(), Acceptor(**kerberos.guest())
    for half, binding in ((client, ours), (guest, theirs)):
        if binding is not None:
            half.bind(binding)
    token = client.step(b"")
    if cause is None:
        assert guest.step(token)
        return
    with pytest.raises(MechanismError) as caught:
        guest.step(token)
    assert caught.value.cause == cause
    assert not guest.complete
    assert guest.peer == ""


def test_unbound_peers_only_by_an_option_for_conformance_tests(kerberos: Kerberos) -> None:
    client, guest = initiator(), Acceptor(**kerberos.guest(require_binding=False))
    assert guest.step(client.step(b""))


# Replays


def accept_in_another_process(kerberos: Kerberos, token: bytes, rcache: Path) -> str:
    """Return a new acceptor process's answer to a token: "taken" or the cause of its refusal."""
    program = (
        "import sys; from sso.errors import MechanismError; from sso_mechs.kerberos import Acceptor\n"
        "half = Acceptor(spn=sys.argv[1], keytab=sys.argv[2]); half.bind(bytes.fromhex(sys.argv[3]))\n"
        "try: half.step(bytes.fromhex(sys.stdin.read())); print('taken')\n"
        "except MechanismError as error: print(error.cause)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, SPN, str(kerberos.keytabs["guest"]), HERE.hex()],
        input=token.hex(),
        env={**os.environ, "KRB5RCACHEDIR": str(rcache), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_replay_in_the_same_process(kerberos: Kerberos) -> None:
    token = first_token()
    for attempt in range(3):
        guest = Acceptor(**kerberos.guest())
        guest.bind(HERE)
        if attempt == 0:
            assert guest.step(token)
        else:
            with pytest.raises(MechanismError) as caught:
                guest.step(token)
            assert caught.value.cause == "replay"
            assert not guest.complete


def test_a_replay_in_other_processes_and_after_a_restart(kerberos: Kerberos, tmp_path: Path) -> None:
    """Each process, also a restarted one, has only the folder of the replay cache."""
    token = first_token()
    said = [accept_in_another_process(kerberos, token, tmp_path) for _ in range(3)]
    assert said == ["taken", "replay", "replay"]
    guest = Acceptor(**kerberos.guest())
    guest.bind(HERE)
    assert guest.step(first_token())  # the realm's own cache knows nothing of it, and is not needed


def test_without_its_folder_the_protection_is_gone(kerberos: Kerberos, tmp_path: Path) -> None:
    """The reason to keep the folder: without the old replay cache this attack succeeds."""
    token = first_token()
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir(mode=0o700)
    assert [accept_in_another_process(kerberos, token, folder) for folder in folders] == ["taken", "taken"]


def test_a_replayed_session_signs_in_nobody(gss_flow: Flow) -> None:
    """All bytes of a good session once more: the guest's nonce is new, so the binding does not fit."""
    pair = gss_flow.pair().run()
    judge = Judge()
    again = gss_flow.pair(judge=judge)
    again.guest.start(0.0)
    again.guest.receive_data(bytes(pair.to_guest), 0.0)
    assert judge.claims == []


# Somebody in between


class Grab(Mechanism):
    """An evil guest's half of GSSAPI: keeps the AP-REQ and is done for."""

    def __init__(self, tokens: list[bytes]) -> None:
        self._tokens = tokens

    def step(self, token: bytes) -> bytes:
        self._tokens.append(token)
        raise MechanismError("grabbed")


class Canned(Mechanism):
    """The attacker's half against the real guest: sends a captured token."""

    def __init__(self, token: bytes) -> None:
        self._token = token

    def step(self, token: bytes) -> bytes:
        if token:
            raise MechanismError("no session key")
        return self._token


def relay(token: bytes, guest: GuestConversation) -> list[Event]:
    """Use another user's AP-REQ at a real guest; return the guest's last answer."""
    session = Session(Role.CLIENT, attempt=bytes(16))
    guest.start(0.0)
    session.start()
    events: list[Event] = []
    for _ in range(8):
        guest.receive_data(session.data_to_send() or b"\n", 0.0)
        answer = guest.data_to_send()
        if answer:
            session.receive_data(answer)
        events += iter(session.next_event, None)
        if session.state.name == "ASKED":
            session.send(Error(300))
            session.request_layer(StartSASL("GSSAPI"), Canned(token))
    return events


def grab(flow: Flow, mechanisms: dict[str, dict[str, Any]]) -> bytes:
    """The AP-REQ that a client gives to an evil guest."""
    tokens: list[bytes] = []

    def make(name: str, in_tls: bool = False, **arguments: Any) -> Mechanism:
        return Grab(tokens) if name == "GSSAPI" else load(name).accept(**mechanisms[name], **arguments)

    pair = flow.pair(make=make).run()
    assert pair.exit != 0
    (token,) = tokens
    return token


@pytest.fixture
def evil_tls(certificates: Certificates, tls_gss_flow: Flow) -> Flow:
    """The client takes the attacker's TLS for the guest's: its own pin, as after a stolen name."""
    client = tls_gss_flow.client._replace(tls_ca="", tls_name="", tls_pins=(certificates.other_issuer.pin,))
    return Flow("TLS ended in between", client, tls_gss_flow.guest)


@pytest.mark.parametrize("where", ["in TLS", "plain"])
@pytest.mark.parametrize("target", ["plain", "in TLS", "second guest"])
def test_a_relayed_ap_req_is_good_for_nobody(
    kerberos: Kerberos,
    certificates: Certificates,
    evil_tls: Flow,
    gss_flow: Flow,
    tls_gss_flow: Flow,
    where: str,
    target: str,
) -> None:
    """The attacker's guest gets an AP-REQ; a true guest with the same keytab refuses it."""
    flow = evil_tls if where == "in TLS" else gss_flow
    token = grab(flow, {"TLS": tls_guest(certificates, "other_issuer")})
    assert len(token) > 1000  # with the TGT inside, sealed to the service
    judge = Judge()
    policy = tls_gss_flow.guest if target == "in TLS" else GuestPolicy()
    true = Pair(gss_flow.client, policy, mechanisms=tls_gss_flow.mechanisms, judge=judge)
    events = relay(token, true.guest)
    assert judge.claims == []
    assert Error(402) in events
    assert "not-authenticated" in true.log_ids
    assert any("binding" in text.lower() for _, text in true.log)


def test_a_man_in_the_middle_of_the_whole_talk(gss_flow: Flow, kerberos: Kerberos) -> None:
    """The attacker relays every byte except the nonces, chosen anew for one side: nothing matches."""

    def change(direction: str, data: bytes) -> bytes:
        nonce = pair.guest.session._greeting.own().words()[5].encode()
        return data.replace(nonce, b"AAAAAAAAAAAAAAAAAAAAAA==") if direction == "to_client" else data

    pair = gss_flow.pair(change=change)
    pair.run_out()
    assert pair.judge.claims == []
    assert pair.exit != 0


@pytest.mark.parametrize(
    ("spn", "keytab", "exit"),
    [(SPN, "other", 8), (SPN, "http", 8), (DELEG, "guest", 8), (SPN, "other2", 8), (SPN, "guest", 0)],
)
def test_a_guest_with_another_key_gets_a_sealed_token_only(
    kerberos: Kerberos, spn: str, keytab: str, exit: int
) -> None:
    """The client asks its KDC for the name that it was given, so a wrong guest cannot open the AP-REQ."""
    flow = Flow("wrong key", gss_client(spn), GuestPolicy(), {"GSSAPI": kerberos.guest(keytab, None)})
    pair = flow.pair().run()
    assert pair.exit == exit
    assert bool(pair.judge.claims) == (exit == 0)


def gss_client(spn: str) -> Any:
    from sso.policy import ClientPolicy

    return ClientPolicy(spn=spn, offer_tgt=True)


def test_the_guests_keytab_holds_more_than_it_serves(kerberos: Kerberos) -> None:
    """A ticket for imap/ of the same host opens nothing at host/ though the key lies in the same keytab."""
    guest = Acceptor(**kerberos.guest("guest", SPN))
    guest.bind(HERE)
    with pytest.raises(MechanismError):
        guest.step(first_token(spn=SPN.replace("host/", "imap/")))


# How the library is used


@cache
def sources() -> dict[str, ast.Module]:
    folders = [Path(sso_mechs.__path__[0]), Path(sys.modules["sso.protocol.session"].__file__ or "").parent]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    return {path.name: ast.parse(path.read_text()) for path in files}


def test_a_security_context_is_only_made_by_the_functions_that_raise() -> None:
    """python-gssapi's classes defer the errors of a step; its functions do not, and are all that is used."""
    made = ("SecurityContext", "init_sec_context", "accept_sec_context", "import_sec_context")
    uses = [
        (name, ast.unparse(node))
        for name, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in made
    ]
    functions = ("accept_sec_context", "import_sec_context", "init_sec_context", "SecurityContext")
    assert sorted(set(uses)) == sorted(("kerberos.py", f"raw.{name}") for name in functions)
    assert raw.SecurityContext is not gssapi.SecurityContext
    assert not hasattr(raw.SecurityContext, "step")


def test_every_step_looks_whether_it_was_the_last() -> None:
    tree = sources()["kerberos.py"]
    steps = ("raw.init_sec_context", "raw.accept_sec_context")
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    looks = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "more_steps"]
    assert len([call for call in calls if ast.unparse(call.func) in steps]) == len(looks) == 2


def test_an_error_of_a_step_is_raised_by_the_step(kerberos: Kerberos) -> None:
    """The trap itself: the library's own class returns an error token for a replay and raises nothing."""
    token = first_token()

    def by_class(credentials: Any, binding: Any) -> None:
        gssapi.SecurityContext(creds=credentials, usage="accept", channel_bindings=binding).step(token)

    def by_function(credentials: Any, binding: Any) -> None:
        raw.accept_sec_context(token, acceptor_creds=credentials, channel_bindings=binding)

    outcomes: list[str] = []
    for accept in (by_function, by_class, by_function):
        name = gssapi.Name(SPN, gssapi.NameType.kerberos_principal)
        store: Any = {"keytab": str(kerberos.keytabs["guest"])}
        credentials = gssapi.Credentials(usage="accept", name=name, store=store)
        try:
            accept(credentials, raw.ChannelBindings(application_data=HERE))
            outcomes.append("returned")
        except gssapi.exceptions.GSSError:
            outcomes.append("raised")
    assert outcomes == ["returned", "returned", "raised"]
