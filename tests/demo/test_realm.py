"""sso.demo.realm: a throw-away MIT realm on loopback."""

import os
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from beds import KEYTABS, PEOPLE

from sso.demo.programs import BedError
from sso.demo.realm import Realm


def klist(realm: Realm, ccache: Path) -> str:
    return realm.run(["klist", "-f", "-c", ccache]).stdout


def flags(listing: str, server: str) -> str:
    """The ticket flags that klist -f shows for a server."""
    match = re.search(re.escape(server) + r"@\S+\s+(?:renew until .*, )?Flags: (\w+)", listing)
    assert match, listing
    return match.group(1)


def test_a_realm_comes_up_and_leaves_nothing() -> None:
    with Realm() as realm:
        realm.principals({**PEOPLE, "host/guest.test.example": None})
        realm.keytab(realm.folder / "guest.keytab", "host/guest.test.example")
        realm.kinit("alice")
        folder, port = realm.folder, realm.port
        socket.create_connection(("127.0.0.1", port), 1).close()
    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)
    realm.close()


@pytest.mark.parametrize("name", PEOPLE)
def test_people_get_forwardable_tickets(realm: Realm, tmp_path: Path, name: str) -> None:
    listing = klist(realm, realm.kinit(name, ccache=tmp_path / "cc"))
    assert f"Default principal: {name}@TEST.EXAMPLE" in listing
    assert "F" in flags(listing, "krbtgt/TEST.EXAMPLE")


def test_stuck_gets_no_forwardable_ticket(realm: Realm, tmp_path: Path) -> None:
    listing = klist(realm, realm.kinit("stuck", ccache=tmp_path / "cc"))
    assert "F" not in flags(listing, "krbtgt/TEST.EXAMPLE")


def test_brief_gets_five_seconds(realm: Realm, tmp_path: Path) -> None:
    times = re.findall(r"\d\d:\d\d:(\d\d)", klist(realm, realm.kinit("brief", ccache=tmp_path / "cc")))
    assert (int(times[1]) - int(times[0])) % 60 <= 5


@pytest.mark.parametrize(
    ("name", "delegates"), [("guest", False), ("deleg", True), ("other", False), ("http", False)]
)
def test_services_have_fitting_keytabs(
    realm: Realm, keytabs: dict[str, Path], tmp_path: Path, name: str, delegates: bool
) -> None:
    ccache = realm.kinit("alice", ccache=tmp_path / "cc")
    for spn in KEYTABS[name]:
        realm.run(["kvno", "-c", ccache, "-k", keytabs[name], spn])
        assert ("O" in flags(klist(realm, ccache), spn)) is delegates
    assert stat.S_IMODE(keytabs[name].stat().st_mode) == 0o600


def test_the_wrong_keytab_has_the_right_version_and_the_wrong_key(
    realm: Realm, keytabs: dict[str, Path], tmp_path: Path
) -> None:
    ccache = realm.kinit("alice", ccache=tmp_path / "cc")
    done = realm.run(["kvno", "-c", ccache, "-k", keytabs["other2"], *KEYTABS["other2"]], check=False)
    version = re.search(r"kvno = (\d+), keytab entry invalid", done.stderr + done.stdout)
    assert done.returncode and version
    assert f"   {version.group(1)} host/other2" in realm.run(["klist", "-k", keytabs["other2"]]).stdout


def test_tickets_are_aes_only(realm: Realm, tmp_path: Path) -> None:
    ccache = realm.kinit("alice", ccache=tmp_path / "cc")
    done = realm.run(["kvno", "-c", ccache, "-e", "arcfour-hmac", *KEYTABS["deleg"]], check=False)
    assert done.returncode
    kinds = re.findall(r"Etype \(skey, tkt\): (\S+), (\S+)", realm.run(["klist", "-e", "-c", ccache]).stdout)
    assert kinds and all(kind.startswith("aes") for pair in kinds for kind in pair)


def test_a_kdc_goes_down_and_comes_back_on_its_port(tmp_path: Path) -> None:
    with Realm() as realm:
        realm.principal("alice", "secret")
        port = realm.port
        realm.stop()
        with pytest.raises(BedError, match="Cannot contact any KDC"):
            realm.kinit("alice")
        realm.stop()
        realm.start()
        realm.start()
        assert realm.port == port
        realm.kinit("alice")
        assert "ISSUE" in realm.log()


def test_a_paused_kdc_answers_nobody_until_it_goes_on() -> None:
    with Realm() as realm:
        realm.principal("alice", "secret")
        realm.pause()
        with pytest.raises(BedError, match=r"did not end within 0\.2 s"):
            realm.run(["kinit", "alice"], stdin="secret\n", timeout=0.2)
        realm.resume()
        realm.kinit("alice")
        realm.pause()
    with pytest.raises(BedError, match="not running"):
        realm.pause()


def test_two_realms_do_not_hear_each_other(realm: Realm, other_realm: Realm, tmp_path: Path) -> None:
    assert realm.port != other_realm.port
    ccache = other_realm.kinit("alice", ccache=tmp_path / "cc")
    assert "alice@OTHER.EXAMPLE" in klist(other_realm, ccache)
    done = other_realm.run(["kvno", "-c", ccache, "-S", "host", "guest.test.example"], check=False)
    assert "krbtgt/TEST.EXAMPLE@OTHER.EXAMPLE not found" in done.stderr


def test_a_trusted_realm_gets_tickets(tmp_path: Path) -> None:
    with Realm() as here, Realm("OTHER.EXAMPLE") as there:
        here.principal("host/guest.test.example")
        there.principal("alice", "secret")
        here.know(there, trust=True)
        there.know(here)
        ccache = there.kinit("alice", ccache=tmp_path / "cc")
        keytab = here.keytab(here.folder / "keytab", "host/guest.test.example")
        there.run(["kvno", "-c", ccache, "-k", keytab, "-S", "host", "guest.test.example"])


def test_nothing_of_the_callers_environment_leaks_in(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5_TRACE", "/dev/stderr")
    monkeypatch.setenv("KRB5CCNAME", "FILE:/nowhere")
    names = {line.split("=")[0] for line in realm.run(["env"]).stdout.splitlines()}
    assert names == set(realm.env)


def test_the_replay_caches_have_the_folder_that_was_asked_for(tmp_path: Path) -> None:
    realm = Realm(rcache=tmp_path)
    assert realm.rcache == tmp_path
    with pytest.raises(BedError, match="not open"):
        _ = realm.folder


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    with pytest.raises(BedError, match=r"krb5kdc is not installed; on Debian: apt-get install krb5-kdc"):
        Realm().open()


def test_a_kdc_that_cannot_start_says_why() -> None:
    with Realm() as realm:
        realm.stop()
        (realm.folder / "database" / "stash").unlink()
        with pytest.raises(BedError, match=r"(?s)krb5kdc does not start:.*master key"):
            realm.start()


@pytest.mark.parametrize(
    ("name", "password", "words"),
    [("alice", "again", "already exists"), ("eve", 'a "quote', "may hold no quote")],
)
def test_a_principal_that_cannot_be_added_is_an_error(
    realm: Realm, name: str, password: str, words: str
) -> None:
    with pytest.raises(BedError, match=words):
        realm.principal(name, password)


def test_the_kdc_ends_with_a_killed_test_run(tmp_path: Path) -> None:
    script = (
        "from sso.demo.realm import Realm; realm = Realm(); realm.open();"
        "print(realm._kdc.pid, flush=True); input()"
    )
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as runner:
        assert runner.stdout is not None
        life = os.pidfd_open(int(runner.stdout.readline()))
        runner.send_signal(signal.SIGKILL)
        assert select.select([life], [], [], 3)[0]
        os.close(life)
