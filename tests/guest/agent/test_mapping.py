"""From a principal to a local user, with the real libkrb5 and real processes."""

import os
import pwd
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from beds_agent import Clock, account, let_in, open_fds

from sso.daemon.forked import Forked
from sso.daemon.reactor import Reactor
from sso.guest.agent import mapping
from sso.guest.agent.account import Rules
from sso.guest.agent.mapping import Mapped, Mapper
from sso.guest.agent.rules import Eligibility
from sso.guest.records import Kind, Who

# Made into a struct_passwd when it is asked for: one that lives until the interpreter ends makes CPython 3.11
# write "Exception ignored in tp_clear" (structseq.c reads its size from a type that is cleared by then).
ACCOUNTS = {
    "alice": (4001, "/bin/sh"),
    "bob": (4002, "/bin/sh"),
    "daemon": (1, "/bin/sh"),
    "root": (0, "/bin/sh"),
    "guest": (4005, "/usr/sbin/nologin"),
}
CONFIGURATION = """
[libdefaults]
  default_realm = TEST.EXAMPLE
  dns_lookup_realm = false
  dns_lookup_kdc = false
  k5login_directory = {folder}/k5login
[realms]
  TEST.EXAMPLE = {{
    auth_to_local = RULE:[1:$1@$0](alice@corp\\.example@TEST\\.EXAMPLE)s/.*/daemon/
    auth_to_local = RULE:[1:$1@$0](carol@OTHER\\.EXAMPLE)s/.*/daemon/
    auth_to_local = DEFAULT
  }}
"""


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor(time.monotonic)
    yield reactor
    reactor.close()


@pytest.fixture
def kerberos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    let_in(tmp_path)
    (tmp_path / "krb5.conf").write_text(CONFIGURATION.format(folder=tmp_path))
    (tmp_path / "k5login").mkdir()
    monkeypatch.setenv("KRB5_CONFIG", str(tmp_path / "krb5.conf"))
    return tmp_path


def lookup(name: str) -> pwd.struct_passwd:
    return account(name, *ACCOUNTS[name])


def ask(reactor: Reactor, principal: str, kind: Kind = Kind.KERBEROS, rules: Rules | None = None) -> Mapped:
    got: list[Mapped] = []
    who = Who("password" if kind is Kind.PASSWORD else "kerberos", principal)
    Mapper(reactor, rules or Rules(), passwd=lookup).ask(who, got.append)
    limit = time.monotonic() + 10
    while not got and time.monotonic() < limit:
        reactor.turn(0.5)
    return got[0]


@pytest.mark.parametrize(
    ("principal", "finding", "user"),
    [
        ("alice/admin@TEST.EXAMPLE", Eligibility.NO_USER, ""),
        (r"alice\@corp.example@TEST.EXAMPLE", Eligibility.SYSTEM, ""),
        (r"alice\@corp.exampleX@TEST.EXAMPLE", Eligibility.NO_USER, ""),
        (f"{'x' * 300}@TEST.EXAMPLE", Eligibility.NAME, ""),
        ("alice@OTHER.EXAMPLE", Eligibility.NO_USER, ""),
        ("mallory@TEST.EXAMPLE", Eligibility.NO_USER, ""),
        ("root@TEST.EXAMPLE", Eligibility.ROOT, ""),
        ("daemon@TEST.EXAMPLE", Eligibility.SYSTEM, ""),
        ("guest@TEST.EXAMPLE", Eligibility.NO_SHELL, ""),
        ("-f@TEST.EXAMPLE", Eligibility.NAME, ""),
        ("a@b@c", Eligibility.BROKEN, ""),
        ("", Eligibility.NAME, ""),
    ],
)
def test_a_principal_is_who_libkrb5_says(
    principal: str, finding: Eligibility, user: str, reactor: Reactor, kerberos: Path
) -> None:
    mapped = ask(reactor, principal)
    assert (mapped.finding, mapped.user) == (finding, user)
    assert mapped.uid == (lookup(user).pw_uid if user else 0)


# libkrb5 looks an account up itself, so a principal that is let in needs one of the machine.
DAEMON = Rules(min_uid=1)


@pytest.mark.e2e
def test_k5login_decides_who_is_let_in(reactor: Reactor, kerberos: Path) -> None:
    k5login = kerberos / "k5login" / "daemon"
    good = Mapped(Eligibility.GOOD, 1, "daemon", "FILE:/tmp/krb5cc_1")
    assert ask(reactor, "daemon@TEST.EXAMPLE", rules=DAEMON) == good
    k5login.write_text("somebody@TEST.EXAMPLE\n")
    os.chown(k5login, 1, 1)
    k5login.chmod(0o600)
    assert ask(reactor, "daemon@TEST.EXAMPLE", rules=DAEMON).finding is Eligibility.NOT_AUTHORISED
    assert ask(reactor, "carol@OTHER.EXAMPLE", rules=DAEMON).finding is Eligibility.NOT_AUTHORISED
    k5login.write_text("carol@OTHER.EXAMPLE\n")
    assert ask(reactor, "carol@OTHER.EXAMPLE", rules=DAEMON) == good
    assert ask(reactor, "daemon@TEST.EXAMPLE", rules=DAEMON).finding is Eligibility.NOT_AUTHORISED


@pytest.mark.parametrize("rule", ["disable = an2ln", "enable_only = k5login", "module = own:/nonexistent.so"])
def test_a_long_name_is_let_in_by_the_plain_rules_alone(kerberos: Path, rule: str) -> None:
    """libkrb5 does not compare it, so we do; but not where an administrator has taken that rule away."""
    name = "x" * 70
    principal = mapping._Kerberos(f"{name}@TEST.EXAMPLE")
    assert principal.user_ok(name, "/nonexistent")
    assert not principal.user_ok("y" * 70, "/nonexistent"), "an account that the look-up made of it"
    assert not mapping._Kerberos(f"{name}@OTHER.EXAMPLE").user_ok(name, "/nonexistent")
    config = CONFIGURATION.format(folder=kerberos) + f"[plugins]\n  localauth = {{\n    {rule}\n  }}\n"
    (kerberos / "krb5.conf").write_text(config)
    assert not mapping._Kerberos(f"{name}@TEST.EXAMPLE").user_ok(name, "/nonexistent")


def squatter(place: Path) -> None:
    place.write_text("of somebody else")
    os.chown(place, 4242, 4242)
    place.chmod(0o666)


def link(place: Path) -> None:
    own = place.with_name("own")
    own.write_text("the user's own")
    os.chown(own, 1, 1)
    place.symlink_to(own)


def read_only(place: Path) -> None:
    place.parent.chmod(0o755)


def own_file(place: Path) -> None:
    place.touch()
    os.chown(place, 1, 1)


def no_folder(place: Path) -> None:
    place.parent.rmdir()


@pytest.mark.e2e
@pytest.mark.parametrize("prefix", ["FILE:", ""])
@pytest.mark.parametrize(
    ("there", "usable"),
    [(squatter, False), (link, False), (Path.mkdir, False), (os.mkfifo, False), (read_only, False)]
    + [(own_file, True), (no_folder, True), (Path.exists, True)],
)
def test_what_lies_in_the_place_of_the_default_cache_locks_nobody_out(
    reactor: Reactor, kerberos: Path, there: Callable[[Path], object], usable: bool, prefix: str
) -> None:
    """Anybody may put a file into /tmp under the name that the user's cache will have."""
    place = kerberos / "tmp" / "krb5cc"
    place.parent.mkdir()
    place.parent.chmod(0o1777)
    name = f"{prefix}{place}"
    config = (kerberos / "krb5.conf").read_text()
    (kerberos / "krb5.conf").write_text(
        config.replace("[realms]", f"  default_ccache_name = {name}\n[realms]")
    )
    there(place)
    found = ask(reactor, "daemon@TEST.EXAMPLE", rules=DAEMON)
    assert (found.finding, found.store) == (Eligibility.GOOD, name if usable else "FILE")


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("owner", "mode", "usable"),
    [(1, 0o700, True), (4242, 0o777, False), (0, 0o755, False), (0, 0o1777, True)],
)
def test_a_folder_of_caches_is_the_users_own(
    reactor: Reactor, kerberos: Path, owner: int, mode: int, usable: bool
) -> None:
    name = f"DIR:{kerberos}/caches"
    config = (kerberos / "krb5.conf").read_text()
    (kerberos / "krb5.conf").write_text(
        config.replace("[realms]", f"  default_ccache_name = {name}\n[realms]")
    )
    assert ask(reactor, "daemon@TEST.EXAMPLE", rules=DAEMON).store == name, "not there yet"
    (kerberos / "caches").mkdir()
    os.chown(kerberos / "caches", owner, owner)
    (kerberos / "caches").chmod(mode)
    assert ask(reactor, "daemon@TEST.EXAMPLE", rules=DAEMON).store == (name if usable else "DIR")


@pytest.mark.e2e
def test_the_question_is_asked_with_the_users_ids(
    reactor: Reactor, kerberos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_daemon(self: object, user: str, home: str) -> bool:
        return os.getresuid() == (1, 1, 1) and os.getresgid() == (1, 1, 1) and 0 not in os.getgroups()

    monkeypatch.setattr(mapping._Kerberos, "user_ok", is_daemon)
    assert ask(reactor, "daemon@TEST.EXAMPLE", rules=DAEMON).finding is Eligibility.GOOD
    assert os.getuid() == 0


def test_a_password_names_its_user_without_kerberos(reactor: Reactor) -> None:
    assert ask(reactor, "alice", Kind.PASSWORD) == Mapped(Eligibility.GOOD, 4001, "alice")
    assert ask(reactor, "nobody-here", Kind.PASSWORD).finding is Eligibility.NO_USER
    assert ask(reactor, "root", Kind.PASSWORD).finding is Eligibility.ROOT
    assert ask(reactor, "-froot", Kind.PASSWORD).finding is Eligibility.NAME


def test_the_numbers_are_judged_again_here(reactor: Reactor) -> None:
    mapper = Mapper(reactor, Rules())
    assert mapper._judge(Mapped(Eligibility.GOOD, 0, "alice")).finding is Eligibility.ROOT
    assert mapper._judge(Mapped(Eligibility.GOOD, 999, "alice")).finding is Eligibility.SYSTEM
    assert mapper._judge(Mapped(Eligibility.GOOD, 1000, "alice")).finding is Eligibility.GOOD


def test_a_directory_service_that_hangs_blocks_nobody_and_is_killed() -> None:
    clock = Clock()
    reactor = Reactor(clock)
    before = open_fds()

    def hang(name: str) -> pwd.struct_passwd:
        signal.pause()
        raise AssertionError

    got: list[Mapped] = []
    forked = Mapper(reactor, Rules(), passwd=hang).ask(Who("password", "alice"), got.append)
    reactor.turn(0)
    clock.now += 4.9
    reactor.turn(0)
    assert got == []
    clock.now += 0.2
    reactor.turn(0)
    assert got == [Mapped(Eligibility.BROKEN)]
    reap(reactor, forked, before)
    reactor.close()


def reap(reactor: Reactor, forked: Forked, before: int) -> None:
    """The process is gone, and so is all that belonged to it."""
    limit = time.monotonic() + 10
    while forked._life >= 0 and time.monotonic() < limit:
        reactor.turn(0.5)
    with pytest.raises(ChildProcessError):
        os.waitpid(forked.pid, 0)
    assert open_fds() == before


# Forked work


def run(reactor: Reactor, work: Callable[[], bytes], keep: tuple[int, ...] = ()) -> bytes:
    got: list[bytes] = []
    Forked(reactor, work, got.append, 10.0, keep)
    while not got:
        reactor.turn(1.0)
    return got[0]


def test_a_worker_that_fails_has_no_answer(reactor: Reactor, capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> bytes:
        raise ValueError("canary")

    before = open_fds()
    assert run(reactor, fail) == b""
    assert run(reactor, lambda: os._exit(3)) == b""
    assert run(reactor, lambda: b"x" * 5000) == b"x" * 1024
    assert open_fds() == before and "canary" not in "".join(capfd.readouterr())


def test_a_worker_has_only_the_descriptors_that_it_needs(reactor: Reactor) -> None:
    kept, other = os.memfd_create("kept"), os.memfd_create("other")
    seen = run(reactor, lambda: " ".join(sorted(os.listdir("/proc/self/fd"), key=int)).encode(), (kept,))
    for fd in (kept, other):
        os.close(fd)
    numbers = set(map(int, seen.split()))
    assert {0, 1, 2, kept} < numbers and other not in numbers
    assert len(numbers) == 6, "standard ones, the kept one, the answer's pipe, the listed folder"


def test_a_cancelled_worker_is_silent_and_reaped(reactor: Reactor) -> None:
    before = open_fds()
    got: list[bytes] = []
    forked = Forked(reactor, lambda: signal.pause() or b"x", got.append, 10.0)  # type: ignore[func-returns-value]
    forked.cancel()
    forked.cancel()
    reap(reactor, forked, before)
    assert got == []


def test_a_process_that_holds_the_pipe_open_holds_nobody_up(reactor: Reactor) -> None:
    def leave_one_behind() -> bytes:
        if os.fork() == 0:
            time.sleep(0.3)
            os._exit(0)
        os._exit(0)

    assert run(reactor, leave_one_behind) == b""


def test_a_name_of_another_namespace_is_the_login_name_itself(reactor: Reactor) -> None:
    """No rule of Kerberos says whom it means, and whatever looks like a principal names nobody."""

    def found(namespace: str, principal: str) -> tuple[Eligibility, str]:
        got: list[Mapped] = []
        Mapper(reactor, Rules(), passwd=lookup).ask(Who(namespace, principal), got.append)
        while not got:
            reactor.turn(10)
        return got[0].finding, got[0].user

    assert found("X-OTHER", "alice") == (Eligibility.GOOD, "alice")
    assert found("X-OTHER", "alice@TEST.EXAMPLE")[0] is not Eligibility.GOOD
    assert found("X-OTHER", "root")[0] is not Eligibility.GOOD
    assert found("X-OTHER", "")[0] is not Eligibility.GOOD
