"""A private KCM: sssd's daemon inside a sandbox, the collection of caches that Fedora and RHEL use."""

import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from sso.demo.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2] / "build/sssd"  # scripts/setup unpacks it there
LIBRARIES = ROOT / "usr/lib/x86_64-linux-gnu"
SOCKET = "/run/.heim_org.h5l.kcm-socket"  # where libkrb5 looks unless krb5.conf says kcm_socket
READY = "KCM Initialization complete"


class Kcm:
    """sssd_kcm in `sandbox`, for everybody inside; outside its socket is `socket`, and the caller is root."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    @property
    def socket(self) -> Path:
        return self._sandbox.path(SOCKET)

    def __enter__(self) -> Self:
        self._sandbox.write("/etc/sssd/sssd.conf", f"[kcm]\nsocket_path = {SOCKET}\n", 0o600)
        for folder in ("/var/lib/sss/db", "/var/lib/sss/secrets", "/var/log/sssd", "/run/sssd"):
            self._sandbox.path(folder).mkdir(parents=True, exist_ok=True)
        program = str(ROOT / "usr/libexec/sssd/sssd_kcm")
        paths = ":".join(str(LIBRARIES / folder) for folder in ("", "sssd", "samba"))
        more = {"LD_LIBRARY_PATH": paths, "LDB_MODULES_PATH": str(LIBRARIES / "samba/ldb")}
        self._process = subprocess.Popen(
            self._sandbox.command([program, "--uid", "0", "--gid", "0", "--logger=stderr", "-d", "6"]),
            env=self._sandbox.env | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        said = ""
        for line in self._process.stderr:
            said += line
            if READY in line:
                break
        assert READY in said, said
        self._rest = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._rest.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._rest.join()
        assert self._process.stderr is not None
        self._process.stderr.close()
