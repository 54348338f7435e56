"""A desktop's configuration and the door of its plug-ins, with files as portals write them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import signed_files
from beds import Certificates

from sso.console.vouch import Question
from sso.daemon.reactor import Reactor
from sso.plug.plug import PlugEvent, Start
from sso.viewer import intent as intents
from sso.viewer.agreed import Agreed
from sso.viewer.main import _parser
from sso.viewer.settings import load
from sso.viewer.sign_on import SignOn

PORT, AGENT = "spice.sso.0", "spice.ssh-agent.0"
ALICE = signed_files.ALICE
SPN = "host/vm100.example.org"
PVE_SUBJECT = "OU=PVE Cluster Node,O=Proxmox Virtual Environment,CN=node1.example.org"
CA = "-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----\\n"
# As Proxmox VE 8 writes it (PVE/API2/Qemu.pm, spiceproxy), and the ticket's label in place of a host.
PVE = """[virt-viewer]
type=spice
proxy=http://10.0.0.11:3128
host=pvespiceproxy:{time}:{machine}:node1::{signature}
tls-port={port}
password=4f6e655f74696d655f7469636b6574
ca={ca}
host-subject={subject}
title=VM {machine} - desktop
delete-this-file=1
secure-attention=Ctrl+Alt+Ins
toggle-fullscreen=Shift+F11
release-cursor=Ctrl+Alt+R
[x-sso]
spn={spn}
"""
# As oVirt 4.5 writes it (ConsoleDescriptorGenerator.java).
OVIRT = """[virt-viewer]
type=spice
host=hypervisor3.example.org
port={port}
tls-port={tls}
password={password}
# Password is valid for 120 seconds.
delete-this-file=1
fullscreen=0
title=vm100:%d
toggle-fullscreen=shift+f11
release-cursor=shift+f12
secure-attention=ctrl+alt+end
enable-smartcard=0
enable-usb-autoshare=1
usb-filter=-1,-1,-1,-1,0
tls-ciphers=DEFAULT
host-subject=O=example.org,CN=hypervisor3.example.org
ca={ca}
secure-channels=main;inputs;cursor;playback;record;display;smartcard;usbredir
[ovirt]
host=engine.example.org:443
vm-guid=0c8a7d5e-31f4-4f0b-9d3a-6b1f2e4c5a70
sso-token=b3ZpcnQtdG9rZW4
admin=0
[x-sso]
spn={spn}
"""


def pve(time: str = "692b5f0a", machine: int = 100, subject: str = PVE_SUBJECT, spn: str = SPN) -> str:
    port, signature = 61000 + int(time[-1], 16), time * 5
    return PVE.format(
        time=time, machine=machine, signature=signature, port=port, ca=CA, subject=subject, spn=spn
    )


def ovirt(port: int = 5900, spn: str = SPN) -> str:
    return OVIRT.format(port=port, tls=port + 1, password=f"pw{port}", ca=CA, spn=spn)


class Bed:
    """A desktop's configuration, a plug-in that says of itself only as whom it would sign in, and windows."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        self.folder, self._ca = folder, certificates.ca
        (folder / "plug-ins").mkdir(mode=0o755)
        self.principal(ALICE)
        self.agreed = Agreed(str(folder / "agreed"))
        self.windows: list[Window] = []
        self.configure()

    def principal(self, name: str, says: str = "preview policy {}") -> None:
        """Set the owner of the ticket."""
        program = self.folder / "plug-ins" / "client"
        program.write_text(f'#!/bin/sh\necho "$*" >> {self.folder}/asked\necho "{says.format(name)}" >&3\n')
        program.chmod(0o755)

    def configure(self, *tables: str, agent: str = "*", parameters: str = '"--stay"', more: str = "") -> None:
        plugins = (
            f'folder = "{self.folder}/plug-ins"\n'
            f'[[plugin]]\nport = "{PORT}"\nrun = "client"\nparameters = [{parameters}]\n{more}\n'
            f'[[plugin]]\nport = "{AGENT}"\nrun = "client"\nconsoles = ["{agent}"]\n'
        )
        (self.folder / "viewer.toml").write_text("\n".join((plugins, *tables)))

    def console(self, places: str, services: str = "", subject: str = "", plain: bool = False) -> str:
        """A table [[console]]."""
        ca = "" if plain else f'ca = "{self._ca}"\n'
        named = f"services = [{services}]\n" if services else ""
        return (
            f"[[console]]\nplaces = [{places}]\n{ca}{named}"
            f'subject = "{subject}"\nplain = {str(plain).lower()}\n'
        )

    def open(self, what: str | bytes, *options: str, window: bool = True) -> "Window":
        """A viewer with a file (its text), or at an address."""
        where = what
        if not isinstance(what, str) or "://" not in what.partition("\n")[0]:
            where = str(self.folder / "console.vv")
            Path(where).write_bytes(what if isinstance(what, bytes) else what.encode())
        given = _parser().parse_args([*options, "--settings", f"{self.folder}/viewer.toml", str(where)])
        intent = intents.read(given, load(given.settings), clock=lambda: signed_files.NOW + 1.5)
        self.windows.append(Window(self, intent, given.spn or "", window))
        return self.windows[-1]


class Window:
    """What the door shows and asks when the guest opens the ports."""

    def __init__(self, bed: Bed, intent: intents.Intent, spn: str, window: bool) -> None:
        self.intent = intent
        self.shown: list[str] = []
        self.said: list[PlugEvent] = []
        self.questions: list[Question] = []
        self.started: dict[str, tuple[str, ...]] = {}
        self._answer: Callable[[bool], None] | None = None
        self._loop = Reactor()
        starts, self.notes = intents.chosen(intent, spn)
        self._starts = {start.port: start for start in starts}
        self.door = SignOn(
            intent,
            self._loop,
            self._ask if window else None,
            show=self.shown.append,
            say=self.said.append,
            restart=self.opened,
            agreed=bed.agreed,
        )
        self.opened(PORT)

    def opened(self, port: str) -> None:
        """Let the guest open a port."""
        start: Start | None = self._starts.get(port)
        if start is not None and (start := self.door.permit(start)) is not None:
            self.started[port] = start.argv[1:]

    def wait(self) -> "Window":
        """Wait until there is a result."""
        while not (self.started or self.shown or self.questions or self.said):
            self._loop.turn()
        return self

    def answer(self, yes: bool) -> None:
        assert self._answer is not None
        self._answer(yes)

    def _ask(self, question: Question, answered: Callable[[bool], None]) -> Callable[[], None]:
        self.questions.append(question)
        self._answer = answered
        return lambda: None


@pytest.fixture(name="bed")
def make_door(tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    """A bed with a configuration of its own; its windows are left at the end."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    bed = Bed(tmp_path, certificates)
    yield bed
    for window in bed.windows:
        window.door.left()
        window._loop.close()
