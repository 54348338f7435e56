"""A ticket or a password on the client opens a session of the real SDDM: agent, driver, sddm, PAM, session.

SDDM's X server is Xvfb; the real greeter shows a theme of ours on it, and a click there is a typed login.
"""

import os
import pwd
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from beds import Certificates
from beds_guest import MODULE, SPN, caches, count_failures, failures, sign_in

from sso.client.exits import Exit
from sso.demo.guest import PYTHON, Guest
from sso.demo.programs import find_program, run_program
from sso.demo.realm import Realm
from sso.demo.sandbox import Sandbox
from sso.demo.terminal import Terminal

pytestmark = pytest.mark.e2e

TIME = 60.0
LOOK = 0.02  # seconds; SDDM tells nobody when it has done something
CLICK = 150  # looks between two clicks
LOG = "/var/log/sddm.log"
CONNECTED = "Message received from greeter: Connect"
ASKED = "Message received from greeter: Login"
FAILED = "Authentication error: "
PASSWORD = ('mechanisms = ["TLS", "password"]',)
CONFIG = """[General]
InputMethod=
[Theme]
ThemeDir=/etc/sddm/themes
Current=click
[X11]
ServerPath=/etc/sddm/server
SessionDir=/etc/sddm/sessions
SessionCommand=/usr/bin/env
"""
# Xvfb has no virtual terminal.
SERVER = """#!/bin/sh
for word do
    shift
    case $word in vt*) ;; *) set -- "$@" "$word" ;; esac
done
exec Xvfb "$@" -screen 0 800x600x24
"""
# Left: bob's password; right: a wrong one.
THEME = """import QtQuick 2.0
MouseArea {
    acceptedButtons: Qt.LeftButton | Qt.RightButton
    onClicked: sddm.login("bob", mouse.button == Qt.LeftButton ? "PASSWORD" : "wrong", 0)
}
"""
# It lasts until somebody opens the gate. To SDDM a session that ends with 1 is a login that failed.
SESSION = """#!/bin/sh
(id -un; klist; kvno HTTP/web.test.example@TEST.EXAMPLE; xdotool getdisplaygeometry) >new 2>&1
mv new facts
read line <gate
exit 0
"""
HOLD = "#!/bin/sh\n[ -e /etc/sddm/open ] || read line </etc/sddm/gate || :\n"


class Screen:
    """A guest whose login screen is SDDM."""

    def __init__(self, guest: Guest) -> None:
        self.guest, self.sandbox = guest, guest.sandbox

    def until(self, happened: Callable[[], object], often: Callable[[], None] = lambda: None) -> None:
        """Poll until a condition outside this process is true."""
        limit = time.monotonic() + TIME
        life = os.pidfd_open(self.guest.screen.pid)
        try:
            for look in range(sys.maxsize):
                if happened():
                    return
                if look % CLICK == 0:
                    often()
                assert time.monotonic() < limit, f"it did not happen: {self.log()}{self.guest.log()}"
                assert not select.select([life], [], [], LOOK)[0], "nobody keeps sddm running"
        finally:
            os.close(life)

    def log(self) -> str:
        path = self.sandbox.path(LOG)
        return path.read_text() if path.exists() else ""

    def shows(self, text: str, times: int = 1) -> None:
        self.until(lambda: self.log().count(text) >= times)

    def running(self, program: str) -> dict[int, int]:
        """The programs of that name inside: uid by pid."""
        found = {}
        for pid, name in self.sandbox.inhabitants().items():
            if name == program and Path(f"/proc/{pid}").exists():
                found[pid] = Path(f"/proc/{pid}").stat().st_uid
        return found

    def click(self, button: int) -> None:
        """Press a mouse button on the greeter."""
        (path,) = self.sandbox.path("/tmp").glob("sddm-:*")
        (cookie,) = self.sandbox.path("/run/sddm").iterdir()
        env = {"DISPLAY": path.name.split("-")[1], "XAUTHORITY": f"/run/sddm/{cookie.name}"}
        self.sandbox.run([find_program("xdotool"), "click", str(button)], env=env, timeout=TIME)

    def session(self, user: str, often: Callable[[], None] = lambda: None) -> str:
        """What a user's session has found out about itself."""
        facts = self.sandbox.path(f"/home/{user}/facts")
        self.until(facts.exists, often)
        assert list(self.running("session").values()) == [pwd_uid(user)]
        text = facts.read_text()
        facts.unlink()
        assert text.startswith(f"{user}\n") and "800 600" in text
        return text

    def leave(self, user: str) -> None:
        """End a user's session; SDDM then begins anew."""
        before = self.log().count(CONNECTED)
        open_gate(self, f"/home/{user}/gate")
        self.shows(CONNECTED, before + 1)
        assert not self.running("session")


def pwd_uid(user: str) -> int:
    return {"alice": 4001, "bob": 4002}[user]


def open_gate(screen: Screen, gate: str, for_ever: str = "") -> None:
    """Let a process go that waits at a pipe, once it is there, and later ones too if they look for a file."""
    opened: list[int] = []

    def there() -> bool:
        try:
            opened.append(os.open(screen.sandbox.path(gate), os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    screen.until(there)
    if for_ever:
        screen.sandbox.write(for_ever, "")
    os.close(opened[0])


def furnish(sandbox: Sandbox) -> None:
    """What SDDM needs; nothing of the machine's own configuration has a say."""
    shutil.rmtree(sandbox.path("/etc/sddm.conf.d"), ignore_errors=True)
    sandbox.write("/etc/sddm.conf", CONFIG)
    sandbox.write("/etc/environment", "QT_QUICK_BACKEND=software\n")
    for name, text in {"server": SERVER, "session": SESSION, "hold": HOLD}.items():
        sandbox.write(f"/etc/sddm/{name}", text, 0o755)
    sandbox.write("/etc/sddm/themes/click/Main.qml", THEME.replace("PASSWORD", sandbox.password("bob")))
    sandbox.write("/etc/sddm/sessions/test.desktop", "[Desktop Entry]\nName=Test\nExec=/etc/sddm/session\n")
    sandbox.path("/tmp/.X11-unix").mkdir()
    sandbox.path("/tmp/.X11-unix").chmod(0o1777)
    sandbox.path("/var/lib/sddm").mkdir(mode=0o750)
    sddm = pwd.getpwnam("sddm")
    os.chown(sandbox.path("/var/lib/sddm"), sddm.pw_uid, sddm.pw_gid)
    for gate, uid in {"/home/alice/gate": 4001, "/home/bob/gate": 4002, "/etc/sddm/gate": 0}.items():
        os.mkfifo(sandbox.path(gate), 0o600)
        os.chown(sandbox.path(gate), uid, uid)
    # SDDM would take the machine's own virtual terminals.
    sandbox.run([find_program("mount"), "--bind", "/dev/null", "/dev/tty0"])
    know_version(sandbox, r"\g<0>")


def know_version(sandbox: Sandbox, version: str) -> None:
    """Have dpkg know SDDM inside, with another version where one is given."""
    record = run_program([find_program("dpkg-query"), "--status", "sddm"], sandbox.env).stdout
    sandbox.write("/var/lib/dpkg/status", re.sub(r"(?m)(?<=^Version: ).*", version, record))


MakeScreen = Callable[..., Screen]


@pytest.fixture(name="make_screen")
def make_guest_with_sddm(
    realm: Realm, keytabs: dict[str, Path], certificates: Certificates
) -> Iterator[MakeScreen]:
    """A function that starts a guest with SDDM, and waits until its greeter is there."""
    sddm = find_program("sddm")
    with ExitStack() as stack:

        def make(
            settings: Sequence[str] = (), before: Callable[[Sandbox], None] = lambda sandbox: None
        ) -> Screen:
            sandbox = stack.enter_context(Sandbox())
            sandbox.use_realm(realm)
            sandbox.use_pam_module(MODULE, "sddm")
            for name in ("certificate", "key"):
                text = getattr(certificates.guest, name).read_text()
                sandbox.write(f"/etc/console-sso/{name}.pem", text, 0o600)
            furnish(sandbox)
            before(sandbox)
            lines = ['login = "sddm"', *settings]
            lines += [f'tls_{name} = "/etc/console-sso/{name}.pem"' for name in ("certificate", "key")]
            guest = Guest(sandbox, spn=SPN, keytab=keytabs["deleg"], settings=lines, screen=[sddm])
            screen = Screen(stack.enter_context(guest))
            screen.shows(CONNECTED)
            return screen

        yield make


def with_password(screen: Screen, realm: Realm, certificates: Certificates, user: str, password: str) -> int:
    options = (*certificates.options, "--password")
    return sign_in(screen.guest, realm, *options, "--user", user, stdin_secret=password).code


def test_a_forwarded_ticket_opens_a_session(realm: Realm, make_screen: MakeScreen) -> None:
    realm.kinit("alice", "-f")
    screen = make_screen()
    assert list(screen.running("sddm-greeter").values()) == [pwd.getpwnam("sddm").pw_uid]
    for visit in (1, 2):  # the second greeter has another socket
        run = sign_in(screen.guest, realm, "--spn", SPN)
        assert (run.code, run.lines) == (Exit.SIGNED_IN, [])
        facts = screen.session("alice")
        assert "Default principal: alice@TEST.EXAMPLE" in facts and "kvno = " in facts
        (cache,) = caches(screen.guest)
        assert cache.stat().st_uid == 4001 and cache.stat().st_mode & 0o777 == 0o600
        screen.until(lambda: not screen.running("sddm-greeter"))  # it would cover the session
        screen.leave("alice")
        assert not caches(screen.guest), "the ticket is removed with the session"
        log = screen.guest.log()
        assert log.count("login-opened") == log.count("session-over") == visit
    assert screen.log().count(ASKED) == 2 and FAILED not in screen.log()


# A socket of bob's in /tmp, where everybody may make one, which is always the newest.
DECOY = """
import os, socket
listener = socket.socket(socket.AF_UNIX)
listener.bind("/tmp/sddm-:9-AAAAAA")
os.utime("/tmp/sddm-:9-AAAAAA", (2**33, 2**33))
listener.listen()
print("listens", flush=True)
os.read(0, 1)
listener.setblocking(False)
listener.accept()
"""


def test_another_users_socket_in_tmp_does_not_hide_sddms(realm: Realm, make_screen: MakeScreen) -> None:
    realm.kinit("alice", "-f")
    screen = make_screen()
    with Terminal(screen.sandbox.command(["/usr/bin/python3", "-c", DECOY], user="bob")) as decoy:
        decoy.expect("listens")
        run = sign_in(screen.guest, realm, "--spn", SPN)
        assert (run.code, run.lines) == (Exit.SIGNED_IN, [])
        screen.session("alice")
        decoy.send("")
        decoy.expect("BlockingIOError")  # nobody has come to it
    screen.leave("alice")


def test_a_password_through_tls_opens_a_session(
    realm: Realm, make_screen: MakeScreen, certificates: Certificates
) -> None:
    screen = make_screen(PASSWORD, count_failures)
    right = screen.sandbox.password("alice")
    assert with_password(screen, realm, certificates, "alice", right) == Exit.SIGNED_IN
    screen.session("alice")
    assert not failures(screen.sandbox, "alice") and not caches(screen.guest)
    screen.leave("alice")


def test_a_wrong_password_is_one_failure_and_the_greeter_works_on(
    realm: Realm, make_screen: MakeScreen, certificates: Certificates
) -> None:
    screen = make_screen(PASSWORD, count_failures)
    greeter = screen.running("sddm-greeter")
    assert with_password(screen, realm, certificates, "alice", "a-wrong-one") == Exit.NOT_ACCEPTED
    screen.shows(FAILED)
    again = with_password(screen, realm, certificates, "alice", "a-wrong-one")
    assert again in (Exit.TRY_LATER, Exit.NOT_ACCEPTED)
    assert failures(screen.sandbox, "alice") == 1 and screen.log().count(ASKED) == 1
    assert screen.running("sddm-greeter") == greeter
    screen.session("bob", lambda: screen.click(1))
    assert failures(screen.sandbox, "alice") == 1 and screen.log().count(FAILED) == 1


@pytest.mark.parametrize("agent", [True, False])
def test_typing_works_as_ever(make_screen: MakeScreen, agent: bool) -> None:
    screen = make_screen()
    greeter = screen.running("sddm-greeter")
    if not agent:
        screen.guest.stop()
    assert ASKED not in screen.log()
    screen.until(lambda: FAILED in screen.log(), lambda: screen.click(3))
    assert screen.running("sddm-greeter") == greeter and not screen.running("session")
    assert "No credentials cache found" in screen.session("bob", lambda: screen.click(1))
    screen.leave("bob")
    assert len(screen.running("sddm-greeter")) == 1 and "login-" not in screen.guest.log()


def test_nobody_is_signed_in_when_the_client_has_left(realm: Realm, make_screen: MakeScreen) -> None:
    """A gate in PAM's stack holds the login before the credential is asked for."""
    realm.kinit("alice", "-f")

    def hold(sandbox: Sandbox) -> None:
        lines = sandbox.path("/etc/pam.d/sddm").read_text()
        sandbox.write("/etc/pam.d/sddm", f"auth required pam_exec.so quiet /etc/sddm/hold\n{lines}")

    screen = make_screen(before=hold)
    daemon, greeter = screen.running("sddm"), screen.running("sddm-greeter")
    client = start_client(screen, realm)
    screen.shows(ASKED)
    client.kill()
    client.wait()
    screen.until(lambda: "login-revoked" in screen.guest.log())
    open_gate(screen, "/etc/sddm/gate", for_ever="/etc/sddm/open")
    screen.shows(FAILED)
    assert screen.running("sddm-greeter") == greeter and not caches(screen.guest)
    assert "login-given" not in screen.guest.log()
    realm.kinit("bob", "-f")
    assert sign_in(screen.guest, realm, "--spn", SPN).code == Exit.SIGNED_IN
    screen.session("bob")
    assert screen.running("sddm") == daemon


def test_a_question_of_pams_ends_with_the_client(realm: Realm, make_screen: MakeScreen) -> None:
    """SDDM 0.19 cannot ask for a new password, and waits: its helper is ended, and the next one gets in."""
    realm.kinit("alice", "-f")
    screen = make_screen(["grant_seconds = 5"])
    screen.sandbox.run(["chage", "-d", "0", "alice"])
    assert sign_in(screen.guest, realm, "--spn", SPN).code == Exit.CONSOLE_ASKS
    screen.until(lambda: "login-revoked" in screen.guest.log())
    screen.until(lambda: not asking_for(screen, b"alice"))
    assert not screen.running("session") and not caches(screen.guest)
    realm.kinit("bob", "-f")
    screen.until(lambda: sign_in(screen.guest, realm, "--spn", SPN).code == Exit.SIGNED_IN)
    screen.session("bob")


def asking_for(screen: Screen, user: bytes) -> bool:
    """Whether a helper of SDDM runs for that user."""
    words = (Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in screen.running("sddm-helper"))
    return any(user in word for word in words)


def start_client(screen: Screen, realm: Realm) -> subprocess.Popen[bytes]:
    with socket.socket(socket.AF_UNIX) as port:
        port.connect(str(screen.guest.port))
        argv = [*PYTHON, "sso.client.main", "--no-config", "--spn", SPN]
        env = {"PATH": os.environ["PATH"], **realm.env}
        end = port.fileno()
        return subprocess.Popen(argv, stdin=end, stdout=end, stderr=subprocess.DEVNULL, env=env)


def test_an_unknown_version_is_left_alone(realm: Realm, make_screen: MakeScreen) -> None:
    realm.kinit("alice", "-f")
    screen = make_screen(["grant_seconds = 1"], lambda sandbox: know_version(sandbox, "0.20.0-1"))
    screen.until(lambda: "SDDM 0.20.0-1: only 0.19.x is known" in screen.guest.log())
    assert sign_in(screen.guest, realm, "--spn", SPN).code == Exit.NO_LOGIN_SCREEN
    assert ASKED not in screen.log() and len(screen.running("sddm-greeter")) == 1
