"""Collections of caches (DIR, KEYRING, sssd's KCM): the service decides whose ticket is sent."""

import ctypes
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from beds_kcm import Kcm
from flows import ALICE, DELEG, SPN, Kerberos
from gss_halves import exchange, halves
from pair import Pair
from sso_mechs.collection import chosen
from sso_mechs.kerberos import Initiator
from sso_mechs.krb_cred import Initiator as TicketInitiator
from sso_mechs.krb_cred_codec import decode

from sso import doctor
from sso.client import staying
from sso.client.exits import Exit
from sso.client.parties import Person, Service, Shown
from sso.demo.realm import Realm
from sso.demo.sandbox import Sandbox
from sso.errors import MechanismError
from sso.policy import ClientPolicy, GuestPolicy, Source

BOB, ELSEWHERE = "bob@TEST.EXAMPLE", "alice@OTHER.EXAMPLE"
THERE = "host/guest.other.example@OTHER.EXAMPLE"


@pytest.fixture(params=["DIR", *(pytest.param(kind, marks=pytest.mark.e2e) for kind in ("KCM", "KEYRING"))])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Desktop:
    """The user's machine: one collection, which is the default, with tickets of two realms."""

    def __init__(self, realm: Realm, other: Realm, name: str, env: dict[str, str]) -> None:
        self.realm, self.other, self.name, self.env = realm, other, name, env
        for whose, user in ((realm, "alice"), (realm, "bob"), (other, "alice")):
            self.kinit(whose, user)
        self.prefer(ALICE)

    def kinit(self, realm: Realm, user: str, *options: str) -> None:
        name = f"{user}@{realm.name}"
        realm.run(["kinit", *options, name], stdin=realm.password(user) + "\n", env=self.env)

    def prefer(self, principal: str) -> None:
        """Make that principal's cache the primary one."""
        self.realm.run(["kswitch", "-p", principal], env=self.env)

    def rules(self, text: str) -> None:
        Path(self.env["HOME"], ".k5identity").write_text(text)

    def listed(self) -> dict[str, str]:
        """The principal of each cache, as klist tells."""
        said = self.realm.run(["klist", "-l"], env=self.env).stdout
        return {name: principal for principal, name in re.findall(r"(?m)^(\S+@\S+) +(\S+)", said)}


@pytest.fixture
def desktop(
    kind: str,
    kerberos: Kerberos,
    other_realm: Realm,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Desktop]:
    config = kerberos.realm.krb5_conf.read_text()
    config = config.replace(
        "[realms]\n", f"[realms]\n OTHER.EXAMPLE = {{\n kdc = 127.0.0.1:{other_realm.port}\n }}\n"
    )
    config += "    .other.example = OTHER.EXAMPLE\n"
    name = {"DIR": f"DIR:{tmp_path}/caches", "KEYRING": f"KEYRING:user:sso-{tmp_path.name}"}.get(kind, "KCM:")
    if kind == "KCM":
        kcm = request.getfixturevalue("kcm")
        config = config.replace("[libdefaults]\n", f"[libdefaults]\n kcm_socket = {kcm.socket}\n")
    (tmp_path / "krb5.conf").write_text(config)
    home = tmp_path / "home"
    home.mkdir()
    env = {"KRB5CCNAME": name, "KRB5_CONFIG": str(tmp_path / "krb5.conf"), "HOME": str(home)}
    for key, value in env.items():
        monkeypatch.setenv(key, value)
    found = Desktop(kerberos.realm, other_realm, name, env)
    yield found
    found.realm.run(["kdestroy", "-A"], env=env)


@pytest.fixture(scope="module")
def kcm() -> Iterator[Kcm]:
    with Sandbox() as sandbox, Kcm(sandbox) as kcm:
        yield kcm


def owner(spn: str, ccache: str | None = None, own: str = "") -> str:
    return Initiator(spn=spn, ccache=ccache, own=own).own_name


def test_the_services_realm_chooses(desktop: Desktop) -> None:
    for primary in (ALICE, ELSEWHERE, BOB):
        desktop.prefer(primary)
        assert owner(THERE) == ELSEWHERE
        assert owner(f"{SPN}@TEST.EXAMPLE").endswith("@TEST.EXAMPLE")
    desktop.prefer(BOB)
    assert owner(SPN) == owner(SPN, desktop.name) == BOB, "of two of a realm it is the primary"


@pytest.mark.parametrize(
    ("rule", "there"),
    [
        ("host=guest.test.example", ELSEWHERE),
        ("host=*.test.example service=host", ELSEWHERE),
        ("realm=TEST.EXAMPLE", ELSEWHERE),
        ("service=host", BOB),
    ],
)
def test_the_users_rules_choose(desktop: Desktop, rule: str, there: str) -> None:
    desktop.rules(f"{BOB} {rule}\n")
    assert (owner(SPN), owner(THERE)) == (BOB, there)


def test_the_guest_sees_who_was_chosen_and_gets_that_ones_ticket(
    kerberos: Kerberos, desktop: Desktop
) -> None:
    desktop.rules(f"{BOB} host=*.test.example\n")
    client, guest = exchange(*halves(kerberos, "deleg", DELEG))
    assert guest.peer == client.own_name == BOB and client.delegated
    assert guest.credential is not None and guest.credential.principal == BOB
    assert decode(bytes(TicketInitiator(spn=SPN).step(b""))).client == BOB


@pytest.mark.parametrize("policy", [ClientPolicy(), ClientPolicy(trust_any_spn=True)])
def test_a_guest_chooses_no_ticket_by_the_realm_that_it_names(
    kerberos: Kerberos, desktop: Desktop, policy: ClientPolicy
) -> None:
    mechanisms, info = {"GSSAPI": kerberos.guest("deleg", DELEG)}, {"spn": THERE}.get
    person = Person(accept_spn=lambda spn, principal: True)
    pair = Pair(policy, GuestPolicy(), mechanisms=mechanisms, person=person, info=info).run_out()
    assert pair.exit == Exit.NOT_ALLOWED and b"startSASL" not in pair.to_guest


def test_who_is_chosen_and_has_no_ticket_is_named(desktop: Desktop) -> None:
    desktop.rules("carol@TEST.EXAMPLE host=guest.test.example\n")
    with pytest.raises(
        MechanismError, match=r"carol@TEST\.EXAMPLE is chosen for .* by \.k5identity"
    ) as caught:
        owner(SPN)
    assert caught.value.cause == "no-ticket"
    assert owner(DELEG) == ALICE


def test_a_cache_that_is_named_itself_is_taken(desktop: Desktop) -> None:
    desktop.rules(f"{BOB} realm=TEST.EXAMPLE\n")
    for name, principal in desktop.listed().items():
        assert owner(SPN, name) == principal
    assert set(desktop.listed().values()) == {ALICE, BOB, ELSEWHERE}


def test_a_staying_client_keeps_to_whom_it_has_shown(desktop: Desktop) -> None:
    """Another ticket becomes the primary one; ours is renewed later, and is found."""
    shown = Shown(ALICE, Service(SPN, Source.TYPED), 0.0)
    before = staying.ends(shown, None)
    desktop.kinit(desktop.realm, "bob")
    desktop.rules(f"{BOB} host=guest.test.example\n")
    desktop.kinit(desktop.realm, "alice", "-l", "20h")
    desktop.prefer(BOB)
    assert owner(SPN) == BOB
    assert staying.ends(shown, None) > before + 3600
    assert owner(SPN, staying.cache_of(shown, None)) == ALICE
    desktop.realm.run(["kdestroy", "-p", ALICE], env=desktop.env)
    assert staying.ends(shown, None) == 0.0


def test_the_doctor_looks_at_the_chosen_one(desktop: Desktop, capsys: pytest.CaptureFixture[str]) -> None:
    desktop.kinit(desktop.realm, "bob", "-F")
    desktop.prefer(ALICE)
    desktop.rules(f"{BOB} host=guest.test.example\n")
    doctor.main(["client", "--spn", SPN])
    said = capsys.readouterr().out
    assert BOB in said and "may not be forwarded" in said
    doctor.main(["client", "--spn", DELEG])
    said = capsys.readouterr().out
    assert ALICE in said and "the ticket may be forwarded" in said


def test_an_empty_collection_has_no_ticket(desktop: Desktop) -> None:
    desktop.realm.run(["kdestroy", "-A"], env=desktop.env)
    with pytest.raises(MechanismError) as caught:
        owner(SPN)
    assert caught.value.cause == "no-ticket"


def test_a_file_asks_nobody(kerberos: Kerberos, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FILE cache costs a start nothing more: the library is not even asked."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name: sys.exit(f"{name} is loaded"))
    assert owner(SPN) == ALICE
    assert (
        chosen(SPN, kerberos.cache("bob")) == kerberos.cache("bob")
        and owner(SPN, kerberos.cache("bob")) == BOB
    )
