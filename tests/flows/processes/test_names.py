"""Names of real directories sign in at a real login: enterprise principals, blanks, and 255 bytes."""

import shlex

import pytest
from beds_guest import SPN, MakeGuest, shell, sign_in

from sso.client.exits import Exit
from sso.demo.realm import Realm
from sso.demo.sandbox import DemoAccount

pytestmark = pytest.mark.e2e
NAMES = {
    "a blank": "alice of sales",
    "fully qualified": f"{'alice-' * 5}@a-department.of-a-large-company.corp.example.org",
    "Cyrillic": "ж" * 100,
    "as long as LOGIN_NAME_MAX": "x" * 255,
}


def enter(realm: Realm, name: str) -> None:
    """A ticket of the principal that has the name as its only component."""
    quoted = name.replace("@", r"\@")
    if f"{name}@" not in realm.kadmin("listprincs").replace("\\@", "@"):
        realm.principal(f'"{quoted}"', "in-the-realm")
    realm.run(["kinit", "-f", quoted], stdin="in-the-realm\n")


@pytest.mark.parametrize("what", NAMES)
def test_it_signs_in(realm: Realm, make_guest: MakeGuest, what: str) -> None:
    name = NAMES[what]
    guest = make_guest()
    guest.sandbox.add_accounts(DemoAccount(name, 4031, "on-the-console"))
    enter(realm, name)
    guest.screen.expect("login: ")
    run = sign_in(guest, realm, "--spn", SPN)
    assert (run.code, run.lines) == (Exit.SIGNED_IN, []), guest.log()
    with shell(guest) as command:
        assert command(
            f'[ "$(id -un)" = {shlex.quote(name)} ] && echo this one; id -u; klist -s && echo ticket'
        ) == ("this one\n4031\nticket")


@pytest.mark.parametrize("folder", ["home", "k5login_directory"])
def test_a_long_names_k5login_has_the_last_word(realm: Realm, make_guest: MakeGuest, folder: str) -> None:
    name = "z" * 200
    guest = make_guest()
    guest.sandbox.add_accounts(DemoAccount(name, 4032, "on-the-console"))
    path = f"/home/{name}/.k5login"
    if folder == "k5login_directory":
        config = guest.sandbox.path("/etc/krb5.conf").read_text()
        more = "[libdefaults]\n k5login_directory = /etc/k5login"
        guest.sandbox.write("/etc/krb5.conf", config.replace("[libdefaults]", more))
        path = f"/etc/k5login/{name}"
    guest.sandbox.write(path, "somebody-else@TEST.EXAMPLE\n")
    enter(realm, name)
    guest.screen.expect("login: ")
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.DENIED
    assert "login-not-authorised" in guest.log()


def test_an_enterprise_name_signs_in_as_whom_the_rules_name(realm: Realm, make_guest: MakeGuest) -> None:
    guest = make_guest()
    config = guest.sandbox.path("/etc/krb5.conf").read_text()
    rule = r"auth_to_local = RULE:[1:$1](^carol@corp\.example$)s/.*/alice/"
    guest.sandbox.write("/etc/krb5.conf", config.replace("TEST.EXAMPLE = {", "TEST.EXAMPLE = {\n" + rule))
    guest.sandbox.write("/home/alice/.k5login", "carol\\@corp.example@TEST.EXAMPLE\n")
    enter(realm, "carol@corp.example")
    guest.screen.expect("login: ")
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    with shell(guest) as command:
        assert command("id -un") == "alice"
        assert r"Default principal: carol\@corp.example@TEST.EXAMPLE" in command("klist")


def test_a_name_that_cannot_be_used_is_no_unknown_one(realm: Realm, make_guest: MakeGuest) -> None:
    guest = make_guest()
    enter(realm, "y" * 256)
    guest.screen.expect("login: ")
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.DENIED
    assert "login-name-unusable" in guest.log() and "login-unknown-user" not in guest.log()
