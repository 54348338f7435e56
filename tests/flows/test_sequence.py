"""The design page's own sequence, steps 1.1 to 10.4, with real GSSAPI and a real KDC."""

from dataclasses import replace
from typing import Any

import pytest
from beds import GUEST
from flows import ALICE, DELEG, SPN, Flow, Kerberos, password_of
from pair import Judge, Pair
from sso_mechs import ccache, krb_cred, krb_cred_codec

from sso.client.parties import Person
from sso.policy import ClientPolicy, GuestPolicy
from sso.protocol.state import Role
from sso.protocol.transcript import Transcript

C, G = "client", "guest"


class Listener(Transcript):
    """A transcript that also keeps its lines: what was said, inside and outside of every layer."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, list[str]]] = []

    def add_line(self, sender: Role, line: bytes) -> None:
        super().add_line(sender, line)
        self.lines.append((sender.value, line.decode().split()))


def heard(pair: Pair) -> list[tuple[str, str]]:
    """Run a pair and return direction and verb of each line; an error's code and all types come along."""
    listener = Listener()
    pair.client.session._transcript = listener
    pair.run()
    return [(sender, verb(words)) for sender, words in listener.lines]


def verb(words: list[str]) -> str:
    if words[0] == "error":
        return " ".join(words[:2])
    return " ".join(words[:2]) if words[0] in ("credentials", "startSASL", "info") else words[0]


@pytest.fixture
def page(kerberos: Kerberos) -> Flow:
    """The page's case: TLS wanted and not there, SASL there, the TGT not forwarded but allowed to pass."""
    return Flow(
        "the design page",
        ClientPolicy(spn=SPN, tls_name=GUEST, require="sasl-conf", send_ticket=True, password=True),
        GuestPolicy(tls=False, types=("kerberos", "password")),
        {"GSSAPI": kerberos.guest()},
        password_of(),
    )


THE_SEQUENCE = [
    (C, "SIGNATURE"),  # 1.2.1
    (G, "SIGNATURE"),  # 1.2.2
    (G, "authenticate"),  # 2
    (C, "error 300"),  # 3
    (C, "startTLS"),  # 4
    (G, "error 400"),  # 5
    (C, "startSASL GSSAPI"),  # 6
    (G, "ok"),  # 7
    (G, "ok"),  # 8: the outcome behind the tokens
    (G, "SIGNATURE"),  # 9
    (G, "authenticate"),  # 10.1
    (C, "ok"),  # 10.2
    (C, "credentials kerberos"),  # 10.3
    (G, "ok"),  # 10.4
]


@pytest.mark.proves(*(f"S{number}" for number in range(115, 130)), "S131", "S134", "S135")
def test_the_pages_sequence(page: Flow) -> None:
    pair = page.pair()
    assert heard(pair) == THE_SEQUENCE
    assert bytes(pair.to_client).startswith(b"\nSIGNATURE ")  # 1.1: the guest speaks as soon as it is there
    assert b"authenticate kerberos password\n" in pair.to_client
    assert b"error 300 delay\n" in pair.to_guest
    assert b"error 400 unsupported\n" in pair.to_client
    assert pair.exit == 0
    assert pair.judge.logins == [ALICE]
    (ticket,) = ccache.read(pair.judge.secrets[0])
    assert (ticket.client, ticket.server) == (ALICE, "krbtgt/TEST.EXAMPLE@TEST.EXAMPLE")


@pytest.mark.proves("S124", "S125")
def test_a_client_that_the_guest_did_not_notice_forces_a_reset(page: Flow) -> None:
    """1.2: the guest sits in the middle of an older session; the new client's SIGNATURE resets it."""
    old = page.pair(channel=True)
    old.guest.start(0.0)
    old.client.start(0.0)
    old.guest.receive_data(old.client.data_to_send(), 0.0)
    new = page.pair(channel=True)
    new.guest = old.guest
    new.client.start(0.0)
    new.settle()
    assert new.guests_used == 2  # the first is replaced by one that announces itself
    assert new.exit == 0
    assert new.judge.logins == [ALICE]


@pytest.mark.proves("S121", "S130")
@pytest.mark.parametrize(
    ("trust_any", "consents", "exit", "asked"),
    [(False, True, 0, [SPN]), (False, False, 17, [SPN]), (True, False, 0, [])],
)
def test_without_a_name_the_guest_is_asked_and_a_person_agrees(
    kerberos: Kerberos, trust_any: bool, consents: bool, exit: int, asked: list[str]
) -> None:
    """8.1: the guest's own word is weak, so a person acknowledges it unless all names are trusted."""
    questions: list[str] = []

    def accept(spn: str, principal: str) -> bool:
        questions.append(spn)
        return consents

    flow = Flow(
        "no name",
        ClientPolicy(trust_any_spn=trust_any, send_ticket=True),
        GuestPolicy(),
        {"GSSAPI": kerberos.guest()},
        Person(accept_spn=accept),
    )
    pair = flow.pair(info={"spn": SPN}.get)
    lines = heard(pair)
    assert lines[4:6] == [(C, "info spn"), (G, "ok")]
    assert ((C, "startSASL GSSAPI") in lines) == (exit == 0)
    assert (pair.exit, questions) == (exit, asked)


@pytest.mark.parametrize(
    "named",
    [
        "host/guest.test.example@OTHER.EXAMPLE",
        "imap/guest.test.example",
        "krbtgt/TEST.EXAMPLE",
        "host",
        "host/",
    ]
    + ["host/a/b", "host/guest.test.example\\@OTHER.EXAMPLE@TEST.EXAMPLE", "host/-@", "nonsense", "alice"],
)
def test_a_name_that_a_guest_may_not_give_is_no_question(kerberos: Kerberos, named: str) -> None:
    asked: list[str] = []

    def accept(spn: str, principal: str) -> bool:
        asked.append(spn)
        return True

    pair = Pair(
        ClientPolicy(),
        GuestPolicy(),
        mechanisms={"GSSAPI": kerberos.guest()},
        person=Person(accept_spn=accept),
        info={"spn": named}.get,
    ).run()
    assert (pair.exit, asked, pair.judge.claims) == (17, [], [])
    assert b"startSASL" not in pair.to_guest


def test_a_reset_does_not_stand_for_a_persons_yes(kerberos: Kerberos) -> None:
    """The guest names itself and resets in one write: the client must still ask the user."""
    asked: list[str] = []

    def accept(spn: str, principal: str) -> bool:
        asked.append(spn)
        return False

    signature = b"\nSIGNATURE cSSO7f3Kq9ZtW2xB 1 1 guest AAAAAAAAAAAAAAAAAAAAAA== - GSSAPI\n"

    resets = [signature]

    def change(direction: str, data: bytes) -> bytes:
        return data + resets.pop() if b"\nok host" in data and resets else data

    pair = Pair(
        ClientPolicy(),
        GuestPolicy(),
        mechanisms={"GSSAPI": kerberos.guest()},
        person=Person(accept_spn=accept),
        info={"spn": SPN}.get,
        change=change,
        channel=True,
    ).run_out()
    assert "the guest began anew" in pair.progress
    assert asked == [SPN]  # in the second session, whose guest stayed; the first answer asked nobody
    assert b"startSASL" not in pair.to_guest
    assert pair.exit == 17


@pytest.mark.proves("S132", "S133")
@pytest.mark.parametrize(
    ("spn", "keytab", "changes", "who", "inside"),
    [
        (DELEG, "deleg", {}, "alice", True),  # 8.3: the KDC trusts the service
        (SPN, "guest", {"offer_tgt": True}, "alice", True),  # ... or the person's own side does
        (SPN, "guest", {}, "alice", False),  # neither: plain SASL
        (DELEG, "deleg", {}, "stuck", False),  # 8.4: the TGT cannot be forwarded
        (SPN, "guest", {"offer_tgt": True}, "stuck", False),
    ],
)
def test_a_forwardable_tgt_goes_inside_sasl(
    kerberos: Kerberos, spn: str, keytab: str, changes: dict[str, Any], who: str, inside: bool
) -> None:
    pair = Pair(
        ClientPolicy(spn=spn, **changes),
        GuestPolicy(),
        mechanisms={"GSSAPI": kerberos.guest(keytab, spn)},
        ccache=kerberos.cache(who),
        judge=Judge(0),
    )
    lines = heard(pair)
    assert bool(pair.judge.secrets[0]) == inside
    assert ((G, "authenticate") in lines[8:]) == (not inside)  # with a TGT inside nothing more is asked
    assert pair.judge.principals == [f"{who}@TEST.EXAMPLE"]


def test_the_blob_of_step_10_is_a_krb_cred_of_the_client(page: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    """10.3: what crosses inside the layer is a forwarded copy, not the client's own TGT."""
    blobs: list[bytes] = []
    step = krb_cred.Initiator.step

    def keep(self: krb_cred.Initiator, token: bytes) -> bytearray:
        blob = step(self, token)
        blobs.append(bytes(blob))
        return blob

    monkeypatch.setattr(krb_cred.Initiator, "step", keep)
    pair = replace(page).pair().run()
    ticket = krb_cred_codec.decode(blobs[0])
    assert ticket.flags & 0x20000000  # forwarded (RFC 4120 section 2.6)
    assert ccache.read(pair.judge.secrets[0])[0].key == ticket.key
