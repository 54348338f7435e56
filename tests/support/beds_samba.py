"""A Samba AD domain as a Realm: Debian's packages, unpacked below build/, lie over /usr in a namespace."""

import json
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sso.demo.programs import BedError, find_program
from sso.demo.realm import Realm

ROOT = Path(__file__).resolve().parents[2] / "build/samba"  # scripts/setup unpacks it there
MAKE = Path(__file__).with_name("samba_domain.py")
OVER = 'mount -t overlay overlay -o lowerdir="$0/usr":/usr /usr; exec "$@"'
START_SECONDS = 60.0
MAKE_SECONDS = 240.0  # some ten on a machine that does nothing else


class SambaDomain(Realm):
    """A domain controller's KDC on loopback; needs root. Accounts are made with the domain (samba_domain.py).

    `machines` are the guests; the keys of each are in `keytab_of`. `kadmin` and what builds on it are MIT's.
    """

    def __init__(self, name: str, *, people: Mapping[str, Any], machines: Mapping[str, Any]) -> None:
        super().__init__(name)
        self._wanted = {"people": dict(people), "machines": dict(machines)}
        self._passwords = {name: person["password"] for name, person in people.items()}

    def open(self) -> None:
        """Make the domain, and start its KDC. Raises BedError."""
        self._folder = Path(tempfile.mkdtemp(prefix="sso-samba-"))
        try:
            self.folder.chmod(0o755)
            (self.folder / "rcache").mkdir(mode=0o700)
            self._database.mkdir(mode=0o700)
            self._reserve_port()
            self._write_config()
            wanted = json.dumps(self._wanted)
            argv = ["/usr/bin/python3", "-I", MAKE, self._database, self.name, wanted]
            self.run(self._inside(*map(str, argv)), timeout=MAKE_SECONDS)
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start the KDC, and nothing else of a domain controller. Raises BedError."""
        options = {
            "krb5 port": self.port,
            "kpasswd port": 0,
            "server services": "kdc",
            "pid directory": self._database,
            "interfaces": "lo",
            "bind interfaces only": "yes",
        }
        argv = self._inside(
            *(find_program("setpriv"), "--pdeathsig", "KILL"),
            *("samba", "--foreground", "--model=single", "--debug-stdout", "--debuglevel=3"),
            f"--configfile={self._database}/etc/smb.conf",
            *(f"--option={key}={value}" for key, value in options.items()),
        )
        with (self.folder / "kdc.log").open("w") as log:
            self._kdc = subprocess.Popen(
                argv, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        if not self._started():
            self.stop()
            raise BedError(f"samba does not start:\n{self.log()[-2000:]}")

    def keytab_of(self, machine: str) -> Path:
        """The keytab of a machine."""
        return self._database / f"{machine}.keytab"

    def _inside(self, *argv: str) -> list[str]:
        return [find_program("unshare"), "--mount", "sh", "-ec", OVER, str(ROOT), *argv]

    def _reserve_port(self) -> None:
        # Samba shares a port by SO_REUSEADDR, while nobody listens on the other socket.
        self._guard = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._guard.bind(("127.0.0.1", 0))
        self.port = self._guard.getsockname()[1]

    def _started(self) -> bool:
        # What samba says does not tell when it listens; the kernel refuses a connection until then.
        deadline = time.monotonic() + START_SECONDS
        while self._running().poll() is None and time.monotonic() < deadline:
            with socket.socket() as link:
                if link.connect_ex(("127.0.0.1", self.port)) == 0:
                    return True
            select.select([], [], [], 0.05)
        return False
