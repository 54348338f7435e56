"""Times a login from the accepted credential to the shell's first prompt, with greetd and with login.

Whole processes: agent, screen, PAM, shell. The clock runs from the agent's `login-asked` until the terminal
shows the shell's prompt. The peer is the same screen where a name is typed and PAM asks for nothing.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from beds_greetd import CONFIG, GREETER, greetd_toml, install_greeter
from beds_guest import MODULE, SPN

from sso.demo.guest import Guest
from sso.demo.programs import find_program
from sso.demo.realm import Realm
from sso.demo.sandbox import Sandbox

ROUNDS = 15
SCREENS = ("login", "greetd")
PERMIT = "auth required pam_permit.so\n"
TIME = 20.0  # seconds for a line of the agent to come


class Stopwatch:
    """A timer for pytest-benchmark that shows only what was measured inside of a round."""

    def __init__(self) -> None:
        self.shown = 0.0

    def __call__(self) -> float:
        return self.shown


class Log:
    """The agent's lines, each with the moment when it came."""

    def __init__(self) -> None:
        reader, self.writer = os.pipe()
        self.lines: list[tuple[float, str]] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._read, args=(reader,), daemon=True).start()

    def at(self, word: str, count: int = 1) -> float:
        """Wait for the `count`th line with that word, and return the time at which it came."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._with(word)) >= count, TIME), self.lines
            return self._with(word)[count - 1]

    def _with(self, word: str) -> list[float]:
        return [moment for moment, line in self.lines if word in line]

    def _read(self, reader: int) -> None:
        with os.fdopen(reader, errors="replace") as file:
            for line in file:
                with self._changed:
                    self.lines.append((time.perf_counter(), line))
                    self._changed.notify_all()


@contextmanager
def guest_with(screen: str, realm: Realm, keytab: Path) -> Iterator[tuple[Guest, Log]]:
    log = Log()
    with Sandbox() as sandbox:
        sandbox.use_realm(realm)
        sandbox.use_pam_module(MODULE)
        install_greeter(sandbox)
        sandbox.write(CONFIG, greetd_toml([GREETER]))
        greetd = (find_program("greetd"), "-c", CONFIG) if screen == "greetd" else ()
        settings = ['login = "greetd"'] if greetd else []
        guest = Guest(sandbox, spn=SPN, keytab=keytab, settings=settings, screen=greetd)
        guest._log.close()
        guest._log = os.fdopen(log.writer, "wb")
        with guest:
            yield guest, log


def prompt_after(guest: Guest) -> float:
    """Return when the shell's prompt is shown; then end the shell and wait for the login screen."""
    guest.screen.expect("$ ")
    moment = time.perf_counter()
    guest.screen.send("exit")
    guest.screen.expect("login: ")
    return moment


def run(benchmark: Any, screen: str, peer: str, watch: Stopwatch, one: Callable[[], float]) -> None:
    def round() -> None:
        watch.shown += one()

    benchmark._timer = watch
    benchmark.group = f"{screen}: credential accepted to shell"
    benchmark.extra_info.update(case=benchmark.group, peer=peer)
    benchmark.pedantic(round, rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.parametrize("screen", SCREENS)
def test_signed_in(benchmark: Any, realm: Realm, keytabs: dict[str, Path], screen: str) -> None:
    realm.kinit("alice", "-f")
    with guest_with(screen, realm, keytabs["deleg"]) as (guest, log):
        count = 0

        def one() -> float:
            nonlocal count
            count += 1
            log.at("screen-ready", count)
            client = deliver(guest, realm)
            asked = log.at("login-asked", count)
            shown = prompt_after(guest)
            assert client.wait() == 0
            log.at("session-over", count)
            return shown - asked

        guest.screen.expect("login: ")
        run(benchmark, screen, "console-sso", Stopwatch(), one)


def deliver(guest: Guest, realm: Realm) -> "subprocess.Popen[bytes]":
    """The real client, at the guest's port."""
    with socket.socket(socket.AF_UNIX) as port:
        port.connect(str(guest.port))
        argv = [sys.executable, "-I", "-m", "sso.client.main", "--no-config", "--spn", SPN]
        env = {"PATH": os.environ["PATH"], **realm.env}
        end = port.fileno()
        return subprocess.Popen(argv, stdin=end, stdout=end, stderr=subprocess.DEVNULL, env=env)


@pytest.mark.parametrize("screen", SCREENS)
def test_name_typed(benchmark: Any, realm: Realm, keytabs: dict[str, Path], screen: str) -> None:
    with guest_with(screen, realm, keytabs["deleg"]) as (guest, _):
        guest.stop()
        guest.sandbox.write("/etc/pam.d/common-auth", PERMIT)

        def one() -> float:
            typed = time.perf_counter()
            guest.screen.send("alice")
            return prompt_after(guest) - typed

        guest.screen.expect("login: ")
        run(benchmark, screen, "name typed, PAM asks nothing", Stopwatch(), one)
