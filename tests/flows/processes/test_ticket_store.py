"""ticket_store = "default": the ticket is where krb5.conf says, for cron jobs too, and no other is hurt."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from beds_guest import SPN, TIME, MakeGuest, caches, shell, sign_in
from beds_kcm import Kcm

from sso.client.exits import Exit
from sso.demo.guest import Guest
from sso.demo.realm import Realm

pytestmark = pytest.mark.e2e
DEFAULT = 'ticket_store = "default"'
KINDS = {"FILE": "FILE:/tmp/krb5cc_%{uid}", "DIR": "DIR:/run/user/%{uid}/krb5cc", "KCM": "KCM:"}
# What pam_systemd does, where there is no systemd: the folder is not there before the session is.
MAKE_FOLDER = """#!/bin/sh
[ "$PAM_TYPE" = open_session ] || exit 0
mkdir -p /run/user/4001 && chown 4001:4001 /run/user/4001 && chmod 700 /run/user/4001
"""

Start = Callable[..., Guest]


@pytest.fixture
def start(make_guest: MakeGuest, realm: Realm) -> Iterator[Start]:
    """A function that makes a guest whose krb5.conf names a default cache; `kcm` starts the daemon."""
    with ExitStack() as stack:

        def begin(name: str, *settings: str, kcm: bool = True) -> Guest:
            guest = make_guest(DEFAULT, *settings)
            sandbox = guest.sandbox
            config = realm.krb5_conf.read_text()
            more = f"[libdefaults]\n    default_ccache_name = {name}"
            sandbox.write("/etc/krb5.conf", config.replace("[libdefaults]", more))
            sandbox.write("/etc/console-sso/make-folder", MAKE_FOLDER, 0o755)
            session = sandbox.path("/etc/pam.d/common-session").read_text()
            line = "session required pam_exec.so /etc/console-sso/make-folder\n"
            sandbox.write("/etc/pam.d/common-session", session + line)
            if name == "KCM:" and kcm:
                stack.enter_context(Kcm(sandbox))
            guest.screen.expect("login: ")
            return guest

        yield begin


def heard(guest: Guest, message: str) -> None:
    """Wait until the agent has said that."""
    limit = time.monotonic() + TIME
    while f" {message} " not in guest.log():
        assert time.monotonic() < limit, guest.log()
        time.sleep(0.02)


def cron(guest: Guest, *argv: str, check: bool = True) -> str:
    """Run a program as alice, without a login, and return its output."""
    return guest.sandbox.run(list(argv), user="alice", check=check).stdout


def ends(guest: Guest) -> str:
    """When the ticket of the default cache ends."""
    found = re.search(r"\d\S+ \S+  (\S+ \S+)  krbtgt/", cron(guest, "klist"))
    return found[1] if found else ""


@pytest.mark.parametrize("kind", KINDS)
def test_cron_finds_the_ticket_and_loses_it_with_the_session(realm: Realm, start: Start, kind: str) -> None:
    realm.kinit("alice", "-f", "-l", "1h")
    guest = start(KINDS[kind])
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    with shell(guest) as command:
        assert command("echo ${KRB5CCNAME-none}; klist -s && echo ticket") == "none\nticket"
        assert f"Ticket cache: {kind}:" in cron(guest, "klist")
        assert "kvno = " in cron(guest, "kvno", "HTTP/web.test.example@TEST.EXAMPLE")
        before = ends(guest)
        realm.kinit("alice", "-f", "-l", "9h")
        assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
        assert ends(guest) > before > ""
    guest.screen.send("exit")
    guest.screen.expect("login: ")
    heard(guest, "ticket-removed")
    assert "krbtgt" not in cron(guest, "klist", check=False)
    if kind != "FILE":
        assert not caches(guest), "no file was made beside it"


@pytest.mark.parametrize("kind", ["DIR", "KCM"])
def test_other_caches_of_the_collection_stay_as_they_are(realm: Realm, start: Start, kind: str) -> None:
    realm.kinit("alice", "-f")
    guest = start(KINDS[kind])
    guest.sandbox.run(["/etc/console-sso/make-folder"], env={"PAM_TYPE": "open_session"})
    words = ["kinit", "-l", "2h", "bob"]
    guest.sandbox.run(words, user="alice", stdin=realm.password("bob") + "\n")
    before = cron(guest, "klist", "-A")
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    with shell(guest) as command:
        assert "Default principal: alice@TEST.EXAMPLE" in command("klist")
        assert cron(guest, "klist", "-l").count("@TEST.EXAMPLE") == 2
    guest.screen.send("exit")
    guest.screen.expect("login: ")
    heard(guest, "ticket-removed")
    assert cron(guest, "klist", "-A") == before
    assert "Default principal: bob@TEST.EXAMPLE" in cron(guest, "klist"), "and is the primary one again"


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_parked_while_the_client_is_gone(realm: Realm, start: Start, kind: str) -> None:
    realm.kinit("alice", "-f")
    guest = start(KINDS[kind], "park_tickets = true")
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    heard(guest, "ticket-parked")
    with shell(guest):
        assert "krbtgt" not in cron(guest, "klist", check=False)
        assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
        assert "ticket-refreshed" in guest.log()


def test_what_the_user_has_put_there_since_stays(realm: Realm, start: Start) -> None:
    realm.kinit("alice", "-f")
    guest = start(KINDS["FILE"])
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    with shell(guest):
        guest.sandbox.run(["kinit", "bob"], user="alice", stdin=realm.password("bob") + "\n")
        realm.kinit("alice", "-f", "-l", "20h")
        sign_in(guest, realm, "--spn", SPN)
        assert "ticket-not-refreshed" in guest.log()
    guest.screen.send("exit")
    guest.screen.expect("login: ")
    heard(guest, "ticket-not-removed")
    assert "Default principal: bob@TEST.EXAMPLE" in cron(guest, "klist")


def test_another_kind_falls_back_to_a_file(realm: Realm, start: Start) -> None:
    realm.kinit("alice", "-f")
    guest = start("KEYRING:persistent:%{uid}")
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    with shell(guest) as command:
        (cache,) = caches(guest)
        assert command("echo $KRB5CCNAME; klist -s && echo ticket") == f"FILE:/tmp/{cache.name}\nticket"
    assert "ticket-store-unknown" in guest.log() and "kind=KEYRING" in guest.log()


def squatted(guest: Guest) -> None:
    guest.sandbox.run(["sh", "-c", "umask 0; echo > /tmp/krb5cc_4001"], user="mallory")


def linked(guest: Guest) -> None:
    guest.sandbox.run(["ln", "-s", "/home/mallory/stolen", "/tmp/krb5cc_4001"], user="mallory")
    guest.sandbox.path("/home/mallory").chmod(0o777)


def no_daemon(guest: Guest) -> None:
    assert not guest.sandbox.path("/run/.heim_org.h5l.kcm-socket").exists()


@pytest.mark.parametrize("trouble", [squatted, linked])
def test_nobody_locks_a_user_out_by_putting_something_in_the_caches_place(
    realm: Realm, start: Start, trouble: Callable[[Guest], None]
) -> None:
    """The ticket is then in the session's own file, as for an unknown kind of cache."""
    realm.kinit("alice", "-f")
    guest = start(KINDS["FILE"])
    trouble(guest)
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    with shell(guest) as command:
        (cache,) = (path for path in caches(guest) if path.name != "krb5cc_4001")
        assert command("echo $KRB5CCNAME; klist -s && echo ticket") == f"FILE:/tmp/{cache.name}\nticket"
    assert "ticket-store-unknown" in guest.log() and "kind=FILE" in guest.log()
    found = [guest.sandbox.path(path) for path in ("/tmp/krb5cc_4001", "/home/mallory/stolen")]
    assert not [path for path in found if path.exists() and b"krbtgt" in path.read_bytes()]


def test_where_it_cannot_be_written_the_login_is_refused(realm: Realm, start: Start) -> None:
    realm.kinit("alice", "-f")
    guest = start(KINDS["KCM"], kcm=False)
    no_daemon(guest)
    assert sign_in(guest, realm, "--spn", SPN).code == Exit.DENIED
    assert "ticket-not-stored" in guest.log()
