"""OpenSSH as a peer: a private sshd on loopback that takes Kerberos and a delegated TGT."""

import os
import socket
import subprocess
import time
from collections.abc import Sequence

from sso.demo.programs import BedError, find_sshd
from sso.demo.realm import Realm
from sso.demo.sandbox import Sandbox

HOST = "localhost.test.example"


class Missing(Exception):
    """sshd cannot be had here; the message says why."""


def programs() -> tuple[str, dict[str, str]]:
    """The path of sshd and its environment. Raises Missing."""
    try:
        return find_sshd()
    except BedError as error:
        raise Missing(str(error)) from None


class Sshd:
    """sshd inside a sandbox, on a free loopback port, with alice as its user."""

    def __init__(self, sandbox: Sandbox, realm: Realm) -> None:
        self._sandbox, self._realm = sandbox, realm
        self._process: subprocess.Popen[bytes] | None = None
        self.tcp_port = 0
        self._by_pipes: list[str] = []

    def __enter__(self) -> "Sshd":
        program, extra = programs()
        self._sandbox.use_realm(self._realm)
        self._realm.principal(f"host/{HOST}", options=["+ok_as_delegate"])
        keytab = self._realm.keytab(self._realm.folder / "sshd.keytab", f"host/{HOST}")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.tcp_port = probe.getsockname()[1]
        key = self._sandbox.path("/etc/ssh/bench_key")
        key.parent.mkdir(exist_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        self._sandbox.write("/etc/ssh/bench_config", self._config())
        hosts = self._sandbox.path("/etc/hosts").read_text()
        self._sandbox.write("/etc/hosts", f"127.0.0.1 {HOST}\n{hosts}")
        env = self._sandbox.env | extra | {"KRB5_KTNAME": f"FILE:{keytab}"}
        words = [f"{name}={value}" for name, value in {**extra, "KRB5_KTNAME": f"FILE:{keytab}"}.items()]
        self._by_pipes = ["env", "-u", "KRB5CCNAME", *words, program, "-i", "-f", "/etc/ssh/bench_config"]
        command = self._sandbox.command([program, "-D", "-e", "-f", "/etc/ssh/bench_config"])
        self._process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
        self._wait()
        return self

    def _config(self) -> str:
        return (
            f"ListenAddress 127.0.0.1\nPort {self.tcp_port}\nHostKey /etc/ssh/bench_key\nPidFile none\n"
            "GSSAPIAuthentication yes\n"
            "GSSAPICleanupCredentials yes\nGSSAPIStrictAcceptorCheck no\nUsePAM no\n"
            "UseDNS no\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n"
        )

    def _wait(self) -> None:
        limit = time.monotonic() + 10
        while time.monotonic() < limit:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.tcp_port)) == 0:
                    return
            if self._process is not None and self._process.poll() is not None:
                raise Missing("sshd does not run here")
        raise Missing("sshd does not listen")

    def login(self, pipes: bool = False) -> Sequence[str]:
        """The command that delivers alice's TGT and opens no shell; its standard input must be at its end.

        With `pipes` ssh starts a sshd of its own; by TCP it waits twice 40 ms for a delayed acknowledgement.
        """
        options = {
            "GSSAPIAuthentication": "yes",
            "GSSAPIDelegateCredentials": "yes",
            "PreferredAuthentications": "gssapi-with-mic",
            "KexAlgorithms": "curve25519-sha256",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "BatchMode": "yes",
        }
        if pipes:
            options["ProxyCommand"] = " ".join(self._by_pipes)
        flags = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        argv = ["ssh", "-F", "none", *flags, "-p", str(self.tcp_port), "-s", f"alice@{HOST}", "sftp"]
        return self._sandbox.command(["env", f"KRB5CCNAME={self._realm.env['KRB5CCNAME']}", *argv])

    @property
    def env(self) -> dict[str, str]:
        return self._sandbox.env | {"HOME": os.environ.get("HOME", "/root")}

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(5)
