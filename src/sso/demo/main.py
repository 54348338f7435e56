"""`sso demo`: shows on this machine how a ticket travels from a desktop to a guest and opens a login shell.

Nothing stays at the end: the KDC, the guest's processes and the private view of the machine are removed.
"""

import os
import re
import socket
import sys
import threading
import time
from argparse import ArgumentParser
from pathlib import Path

from sso.demo.client import run_client
from sso.demo.guest import Guest
from sso.demo.programs import BedError
from sso.demo.realm import Realm
from sso.demo.sandbox import Sandbox
from sso.demo.terminal import Terminal

GUEST = "vm.test.example"
SPN, WEB = f"host/{GUEST}", "HTTP/web.test.example"


class Show:
    """Prints the demo's numbered steps, and below each step what the parts do."""

    def __init__(self) -> None:
        self._step = 0
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def step(self, text: str) -> None:
        self._step += 1
        with self._lock:
            print(f"\n[{self._step}] {text}", flush=True)

    def line(self, text: str) -> None:
        with self._lock:
            print(f"    {text}", flush=True)

    def end(self) -> None:
        print(
            f"\nAll of it took {time.monotonic() - self._began:.1f} s; nothing is left running.", flush=True
        )


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return 0, or 1 after one line that says what is missing."""
    parser = ArgumentParser(prog="sso demo", description=__doc__)
    parser.add_argument(
        "--module", type=Path, help="the built PAM module (default: pam/pam_sso.so of this checkout)"
    )
    parser.add_argument("--no-login", action="store_true", help="stop at the stored ticket, as without root")
    parser.add_argument(
        "--console",
        choices=("text", "gnome"),
        help="open a window on a real virtual machine instead, with this login screen; needs root",
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        default=Path("build/demo"),
        help="folder for its pictures (default: build/demo)",
    )
    given = parser.parse_args(arguments)
    show = Show()
    try:
        with Realm() as realm:
            _furnish(realm, show)
            if given.console:
                from sso.demo.console import run as look

                look(realm, given.console, given.pictures / given.console, show.step, show.line)
            elif os.geteuid() == 0 and not given.no_login:
                _login(realm, show, given.module or _module())
            else:
                from sso.demo.ticket_only import run

                run(realm, show, SPN, WEB)
    except BedError as error:
        print(f"sso demo: {error}", file=sys.stderr)
        return 1
    show.end()
    return 0


def _furnish(realm: Realm, show: Show) -> None:
    show.step(
        f"A throw-away KDC runs on loopback for the realm {realm.name}; alice gets a ticket at the desktop."
    )
    realm.principal("alice", "alice-in-the-realm")
    realm.principal(SPN, options=["+ok_as_delegate"])
    realm.principal(WEB)
    realm.kinit("alice", "-f")
    for text in realm.run(["klist", "-f"]).stdout.splitlines():
        if text.strip():
            show.line(text.rstrip())


def _login(realm: Realm, show: Show, module: Path) -> None:
    with Sandbox() as sandbox:
        show.step(
            "The guest: a private view of this machine with a login screen, its PAM file with our lines."
        )
        sandbox.use_realm(realm)
        sandbox.use_pam_module(module)
        keytab = realm.keytab(realm.folder / "guest.keytab", SPN)
        with Guest(sandbox, spn=SPN, keytab=keytab) as guest:
            guest.screen.expect("login: ")
            show.line("login screen: " + guest.screen.transcript.strip().splitlines()[-1])
            try:
                _sign_in(realm, show, guest.port)
                _use(guest.screen, show)
            except BedError:
                sys.stderr.write(guest.log())
                raise
            guest.screen.expect("login: ")
        left = list(sandbox.path("/tmp").glob("krb5cc_*"))
        show.step("The session is closed: " + ("its ticket is gone." if not left else f"left over: {left}"))


def _sign_in(realm: Realm, show: Show, port: Path) -> None:
    show.step(f"spice-client-sso --spn {SPN} runs as the viewer would spawn it; this crosses the port:")
    guest = socket.socket(socket.AF_UNIX)
    guest.connect(str(port))
    if code := run_client(realm, SPN, guest, show.line):
        raise BedError(f"the client ended with exit code {code}")


def _use(screen: Terminal, show: Show) -> None:
    show.step("The login screen has opened alice's session. In alice's shell:")
    screen.expect("$ ")  # login would drop what is typed before the prompt
    seen = len(screen.transcript)
    for command in ("id", "klist -f", f"kvno {WEB}", "klist"):
        screen.send(f"{command}; echo done-$?")
        screen.expect(re.compile(r"done-0"))
    screen.send("exit")
    for text in screen.transcript[seen:].replace("\r", "").splitlines():
        if text.strip() and "done-0" not in text:
            show.line(text.replace("; echo done-$?", ""))


def _module() -> Path:
    module = Path(__file__).resolve().parents[3] / "pam" / "pam_sso.so"
    if not module.exists():
        raise BedError("the PAM module is not built: make -C pam")
    return module


if __name__ == "__main__":
    sys.exit(main())
