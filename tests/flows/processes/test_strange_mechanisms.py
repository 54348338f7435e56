"""Mechanisms of others that go wrong in the real processes: one line says so, and everybody else signs in."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from beds import Certificates
from beds_guest import MakeGuest, Run, processes, shell, sign_in
from beds_ssh_agent import until
from beds_strangers import SECRET, make_venv, shorten

from sso.client.exits import Exit
from sso.demo.guest import Guest
from sso.demo.realm import Realm
from sso.demo.sandbox import ACCOUNTS

pytestmark = [pytest.mark.e2e]
SPN = "host/deleg.test.example"
DEMO_UIDS = {account.name: account.uid for account in ACCOUNTS}
CLIENT = 'mechanisms = ["{name}"]\ntls-name = "guest.test.example"\ntls-ca = "{ca}"\n'
MakeBed = Callable[..., "Bed"]


class Bed:
    """A guest that allows these mechanisms, and a client that lists one of them at a time."""

    def __init__(self, guest: Guest, realm: Realm, python: str, folder: Path, ca: Path) -> None:
        self.guest, self._realm, self._python, self._folder, self._ca = guest, realm, python, folder, ca
        guest.screen.expect("login: ")
        self._acceptors = processes(guest)["acceptor"]
        # Each becomes its own user when it has imported everything; nobody is served before.
        until(lambda: owners(guest) == {DEMO_UIDS["sso-agent"], DEMO_UIDS["sso-acceptor"]})

    def sign_in(self, name: str) -> Run:
        config = self._folder / "client.toml"
        config.write_text(CLIENT.format(name=name, ca=self._ca))
        options = "--config", str(config), "--named", "typed"
        run = sign_in(self.guest, self._realm, *options, python=self._python)
        assert SECRET not in "\n".join(run.lines)
        return run

    def lines(self, program: str, name: str) -> list[str]:
        """What a process of the guest has said of a mechanism."""
        found = (line.removeprefix(f"{program}: ") for line in self.log() if line.startswith(program))
        return [line for line in found if f"mechanism={name}" in line.split()]

    def log(self) -> list[str]:
        text = self.guest.log()
        assert SECRET not in text and "Traceback" not in text
        return text.splitlines()

    def end(self) -> None:
        """The acceptor is the one of the beginning, and a ticket signs alice in."""
        assert processes(self.guest)["acceptor"] == self._acceptors and len(self._acceptors) == 1
        self._realm.kinit("alice", "-f")
        run = sign_in(self.guest, self._realm, "--spn", SPN)
        assert run.code == Exit.SIGNED_IN, (run.lines, self.guest.log())
        with shell(self.guest) as command:
            assert command("id -un") == "alice"


def owners(guest: Guest) -> set[int]:
    """Whom the processes at the port and with the keytab belong to."""
    found = processes(guest)
    states = [Path(f"/proc/{pid}/status").read_text() for pid in found["channel"] + found["acceptor"]]
    return {int(re.findall(r"(?m)^Uid:\t(\d+)", state)[0]) for state in states}


@pytest.fixture
def make_bed(make_guest: MakeGuest, realm: Realm, certificates: Certificates, tmp_path: Path) -> MakeBed:
    def make(*names: str, seconds: float = 0.0) -> Bed:
        venv = make_venv(tmp_path / "venv", *names)
        if seconds:
            shorten(venv, seconds)
        allowed = ", ".join(f'"{name}"' for name in ("TLS", "GSSAPI", "kerberos", *names))
        tables = [f"mechanism.{name} = {{ accept_identity = true }}" for name in names]
        guest = make_guest(f"mechanisms = [{allowed}]", *tables, tls=True, venv=venv)
        return Bed(guest, realm, str(venv / "bin" / "python"), tmp_path, certificates.ca)

    return make


GONE = "acceptor: the acceptor is gone"
CHANGES = "it changes what its process has:"
IMPORTS = {
    "RAISE": "unavailable: X-G-RAISE: ZeroDivisionError",
    "SYSEXIT": "unavailable: X-G-SYSEXIT: SystemExit",
    "INTR": "KeyboardInterrupt",
    "EXIT": "it ended its process (0), or closed its descriptors",
    "CLOSE": "it ended its process (1), or closed its descriptors",
    "THREAD": f"{CHANGES} threads",
    "SIGNAL": f"{CHANGES} signals",
}


def test_what_goes_wrong_in_the_guests_import_is_left_out(make_bed: MakeBed) -> None:
    bed = make_bed(*(f"X-G-{how}" for how in IMPORTS), "X-G-PRINT")
    assert bed.sign_in("X-G-EXIT").code == Exit.NO_CREDENTIAL
    for how, why in IMPORTS.items():
        for program in ("sso-channel", "sso-acceptor"):
            (line,) = bed.lines(program, f"X-G-{how}")
            assert line.startswith("mechanism-left-out ") and why in line, line
    assert bed.lines("sso-acceptor", "X-G-PRINT") == []
    bed.end()


def test_many_that_hang_in_the_guests_import_are_left_out_in_time(make_bed: MakeBed) -> None:
    names = [f"X-G-PAUSE-{number}" for number in range(12)]
    bed = make_bed(*names, seconds=3.0)
    assert bed.sign_in(names[0]).code == Exit.NO_CREDENTIAL
    for name in names:
        for program in ("sso-channel", "sso-acceptor"):
            (line,) = bed.lines(program, name)
            assert line.startswith("mechanism-left-out ") and "it was not loaded within 0" in line, line
    bed.end()


# What becomes of the guest's `accept`, by the channel's line and that of the acceptor.
ACCEPTS = {
    "RAISE": ("failed: ZeroDivisionError", ""),
    "SYSEXIT": ("failed: SystemExit", ""),
    "ODD": ("failed: Odd", ""),
    "THREAD": ("failed: RuntimeError", ""),
    "NONE": ("failed: what it makes is no Mechanism", ""),
    "HANG": (GONE, "mechanism-late"),
    "EXIT": (GONE, "worker-failed"),
    "CLOSE": (GONE, "worker-failed"),
}


def test_what_goes_wrong_in_accept_leaves_the_client_a_code(make_bed: MakeBed) -> None:
    bed = make_bed(*(f"X-A-{how}" for how in ACCEPTS))
    for how, (why, word) in ACCEPTS.items():
        name, before = f"X-A-{how}", len(bed.log())
        run = bed.sign_in(name)
        assert (run.code, run.lines[0]) == (
            Exit.NO_CREDENTIAL,
            f"spice-client-sso: nothing to sign in with: the guest takes no {name}",
        )
        (line,) = bed.lines("sso-channel", name)
        assert line.startswith("mechanism-unavailable ") and why in line, line
        said = [line.split()[1] for line in bed.log()[before:] if line.startswith("sso-acceptor: ")]
        assert said == [word] * bool(word), how
    bed.end()


STEPS = {
    "RAISE": (GONE, "mechanism-failed ZeroDivisionError"),
    "SYSEXIT": (GONE, "mechanism-failed SystemExit"),
    "ODD": (GONE, "mechanism-failed Odd"),
    "THREAD": (GONE, "mechanism-failed RuntimeError"),
    "NONE": (GONE, "mechanism-failed TypeError"),
    "TEXT": (GONE, "mechanism-failed TypeError"),
    "MEGA": ("too-long: ", ""),
    "HANG": (GONE, "mechanism-late"),
    "EXIT": (GONE, "worker-failed"),
    "CLOSE": (GONE, "worker-failed"),
}


def test_what_goes_wrong_in_the_guests_step_is_a_refusal(make_bed: MakeBed) -> None:
    bed = make_bed(*(f"X-S-{how}" for how in STEPS))
    for how, (why, words) in STEPS.items():
        name, before = f"X-S-{how}", len(bed.log())
        run = bed.sign_in(name)
        assert run.code == Exit.NOT_ACCEPTED, (how, run.lines, bed.log())
        (line,) = bed.lines("sso-channel", name)
        assert line.startswith("not-authenticated ") and why in line, line
        said = [line for line in bed.log()[before:] if line.startswith("sso-acceptor: ")]
        assert len(said) == bool(words) and all(word in " ".join(said) for word in words.split()), (how, said)
        assert "mechanism-failed" not in words or f" mechanism={name} " in said[0]
    bed.end()


# What becomes of a layer of its own that fails in the child at the port.
LAYERS = {
    "W-RAISE": "session-failed cause=failed detail='failed: X-W-RAISE: ZeroDivisionError'",
    "W-TEXT": "session-failed cause=failed detail='failed: X-W-TEXT: it gave no bytes'",
    "V-SYSEXIT": "session-failed cause=failed detail='failed: X-V-SYSEXIT: SystemExit'",
    "D-RAISE": "mechanism-failed mechanism=X-D-RAISE detail=ZeroDivisionError",
}


def test_what_goes_wrong_in_a_layer_is_one_line_with_its_name(make_bed: MakeBed) -> None:
    """One in each session: the client tries again when the guest begins anew."""
    bed = make_bed(*(f"X-{what}" for what in LAYERS))
    for what, words in LAYERS.items():
        run = bed.sign_in(f"X-{what}")
        assert run.code == (Exit.SIGNED_IN if what == "D-RAISE" else Exit.LOST), (what, bed.log()[-12:])
        said = {line for line in bed.log() if f"X-{what}" in line and "failed" in line}
        assert said == {f"sso-channel: {words}"}
    assert "child-failed" not in bed.guest.log()
    with shell(bed.guest) as command:
        assert command("id -un") == "alice"


# How the client ends, and its line.
CLIENTS = {
    "J-RAISE": (Exit.MECHANISM, "a mechanism failed (X-J-RAISE: ZeroDivisionError)"),
    "J-SYSEXIT": (Exit.MECHANISM, "a mechanism failed (X-J-SYSEXIT: SystemExit)"),
    "I-RAISE": (Exit.MECHANISM, "a mechanism failed (X-I-RAISE: ZeroDivisionError)"),
    "I-ODD": (Exit.MECHANISM, "a mechanism failed (X-I-ODD: Odd)"),
    "I-NONE": (Exit.MECHANISM, "a mechanism failed (X-I-NONE: what it makes is no Mechanism)"),
    "I-INTR": (Exit.LOST, "interrupted"),
    "C-RAISE": (Exit.MECHANISM, "a mechanism failed (X-C-RAISE: ZeroDivisionError)"),
    "C-SYSEXIT": (Exit.MECHANISM, "a mechanism failed (X-C-SYSEXIT: SystemExit)"),
    "C-NONE": (Exit.MECHANISM, "a mechanism failed (X-C-NONE: it gave no bytes)"),
    "C-TEXT": (Exit.MECHANISM, "a mechanism failed (X-C-TEXT: it gave no bytes)"),
    "C-MEGA": (Exit.TOO_LARGE, "the ticket is too large ("),
    "C-CLOSE": (Exit.MECHANISM, "a mechanism failed (X-C-CLOSE: it ended its process (1))"),
    **{
        f"{where}-{how}": (Exit.MECHANISM, f"a mechanism failed (X-{where}-{how}: {why})")
        for where in "JIC"
        for how, why in (("HANG", "no answer within 20 s"), ("EXIT", "it ended its process (0)"))
    },
}


@pytest.mark.parametrize("whats", [list(CLIENTS)[:9], list(CLIENTS)[9:]], ids=["first", "last"])
def test_what_goes_wrong_at_the_client_is_one_line_and_a_code(whats: list[str], make_bed: MakeBed) -> None:
    bed = make_bed(*(f"X-{what}" for what in whats))  # guest.toml takes 16 at most
    for what in whats:
        code, words = CLIENTS[what]
        run = bed.sign_in(f"X-{what}")
        assert run.code == code, (what, run.lines)
        assert len(run.lines) in (1, 2) and run.lines[0].startswith(f"spice-client-sso: {words}"), run.lines
    bed.end()


def test_the_next_of_the_list_follows_one_that_hangs_in_its_import(make_bed: MakeBed) -> None:
    bed = make_bed("X-J-HANG", "X-J-NEXT")
    run = bed.sign_in('X-J-HANG", "X-J-NEXT')
    assert (run.code, run.lines) == (Exit.SIGNED_IN, []), bed.log()
    with shell(bed.guest) as command:
        assert command("id -un") == "alice"


def test_what_a_mechanism_prints_is_not_said_to_the_guest(make_bed: MakeBed) -> None:
    bed = make_bed("X-C-PRINT")
    run = bed.sign_in("X-C-PRINT")
    assert run.code == Exit.SIGNED_IN, (run.lines, bed.log())
    assert run.lines == ["ok", "error 500 a"]
    with shell(bed.guest) as command:
        assert command("id -un") == "alice"
