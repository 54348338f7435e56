"""A private view of this machine for real logins: its own /etc, /run, /home, /tmp, /var/log, /var/lib."""

import contextlib
import grp
import importlib
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import namespace
from .lifetime import AutoOpen
from .programs import SEARCH_PATH, BedError, find_program, run_program
from .realm import Realm

_READY_SECONDS = 10.0
_END_SECONDS = 5.0
_MAX_LINKS = 40

PAM_MODULE = "/etc/console-sso/pam_sso.so"


@dataclass(frozen=True)
class DemoAccount:
    """A user of the sandbox: with a password a person (home, shell), without one a daemon."""

    name: str
    uid: int
    password: str = field(default="", repr=False)

    @property
    def home(self) -> str:
        """The home folder."""
        return f"/home/{self.name}" if self.password else "/nonexistent"

    @property
    def shell(self) -> str:
        """The login shell."""
        return "/bin/sh" if self.password else "/usr/sbin/nologin"


ACCOUNTS = (
    DemoAccount("alice", 4001, "alice-on-the-console"),
    DemoAccount("bob", 4002, "bob-on-the-console"),
    DemoAccount("mallory", 4003, "mallory-on-the-console"),
    DemoAccount("sso-agent", 4010),
    DemoAccount("sso-acceptor", 4011),
    DemoAccount("sshd", 4012),
)


class Sandbox(AutoOpen):
    """A mount namespace with a copy of /etc and empty /run, /tmp, /var/tmp, /var/log, /var/lib and /home.

    All of it lives in memory and is gone at the end. The rest of the machine (programs, libraries, the
    network, /dev, processes) is shared, so only trusted programs belong inside. The source tree and the
    Python that runs now stay visible, `keep` names more folders. Use it as a context manager, or call
    `open()` and `close()`. When this process is killed, everything inside is killed with it.
    """

    def __init__(self, *, accounts: Sequence[DemoAccount] = ACCOUNTS, keep: Sequence[Path] = ()) -> None:
        self._accounts = tuple(accounts)
        self._keep = tuple(keep)
        self._holder: subprocess.Popen[str] | None = None
        self._sweeper = 0

    def open(self) -> None:
        """Make the namespace and fill it.

        Raises BedError without root, without the right to make namespaces, or without a needed program.
        """
        if os.geteuid() != 0:
            raise BedError("a sandbox needs root: it makes a private mount namespace (use sudo)")
        find_program("nsenter")
        outer = os.readlink("/proc/self/ns/mnt")
        python = [sys.executable, "-I", "-S", namespace.__file__]
        self._holder = subprocess.Popen(
            [
                find_program("unshare"),
                "--mount",
                "--propagation",
                "private",
                "--",
                *python,
                outer,
                *self._kept(),
            ],
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            self._await_holder()
            self._furnish()
            self.add_accounts(*self._accounts)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Kill everything inside, wait for its end, and drop the namespace; may be called twice."""
        holding, self._holder = self._holder, None
        if holding is None:
            return
        # Send a signal, too, since a fork of ours may still hold the other end of the closed pipe. The
        # sweeper has the same stdout, so the end of that is the end of the sweep.
        holding.terminate()
        try:
            holding.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            holding.kill()
            holding.communicate()

    # How to use it

    @property
    def pid(self) -> int:
        """The process that keeps the namespace; raises BedError if the sandbox is not open."""
        if self._holder is None:
            raise BedError("the sandbox is not open")
        return self._holder.pid

    @property
    def env(self) -> dict[str, str]:
        """An environment for programs inside, without the caller's variables."""
        return {"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", "HOME": "/root"}

    def command(self, argv: Sequence[str], *, user: str = "") -> list[str]:
        """The argv that runs `argv` inside, in the folder /, as root or with all ids of `user`.

        It takes no new process: the program gets the pid that the caller started.
        """
        become = []
        if user:
            become = [find_program("setpriv"), f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]
        return [find_program("nsenter"), f"--target={self.pid}", "--mount", "--", *become, *argv]

    def run(
        self,
        argv: Sequence[str],
        *,
        user: str = "",
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        check: bool = True,
        timeout: float = 20.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside and return what it said; errors as in `programs.run_program`."""
        everything = self.env | dict(env or {})
        return run_program(
            self.command(argv, user=user), everything, stdin=stdin, check=check, timeout=timeout
        )

    def inhabitants(self) -> dict[int, str]:
        """The programs that run inside now: name by pid; what keeps the sandbox itself is left out."""
        pids = namespace.inhabitants(os.readlink(f"/proc/{self.pid}/ns/mnt"))
        found = {}
        for pid in set(pids) - {self.pid, self._sweeper}:
            with contextlib.suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
        return found

    def path(self, inside: str) -> Path:
        """How this process reaches the file `inside`, an absolute path, whether it exists or not.

        Links are followed here, one by one, as the inside sees them. The kernel would follow an absolute
        link such as /var/run -> /run out of the sandbox, into the machine's own folder.
        """
        root = Path(f"/proc/{self.pid}/root")
        done: list[str] = []
        todo = inside.split("/")[::-1]
        links = 0
        while todo:
            word = todo.pop()
            if word == "..":
                del done[-1:]
            elif word not in ("", "."):
                link = root.joinpath(*done, word)
                if not link.is_symlink():
                    done.append(word)
                    continue
                links += 1
                if links > _MAX_LINKS:
                    raise BedError(f"too many links: {inside}")
                target = os.readlink(link)
                if target.startswith("/"):
                    done.clear()
                todo.extend(target.split("/")[::-1])
        return root.joinpath(*done)

    # Filling it

    def add_accounts(self, *accounts: DemoAccount) -> None:
        """Add users with groups and home folders to the private files, or give existing ones new values."""
        hashes = iter(_hashed([account.password for account in accounts if account.password]))
        for account in accounts:
            secret = next(hashes) if account.password else "*"
            name, uid = account.name, account.uid
            self._set_line("/etc/passwd", name, f"{name}:x:{uid}:{uid}::{account.home}:{account.shell}")
            self._set_line("/etc/group", name, f"{name}:x:{uid}:")
            self._set_line("/etc/shadow", name, f"{name}:{secret}:19000:0:99999:7:::")
            if account.password:
                home = self.path(account.home)
                home.mkdir(mode=0o700, exist_ok=True)
                os.chown(home, uid, uid)

    def password(self, name: str) -> str:
        """The password of one of the accounts that the sandbox was made with."""
        return next(account.password for account in self._accounts if account.name == name)

    def use_realm(self, realm: Realm) -> None:
        """Make a realm the sandbox's own: its krb5.conf becomes the private /etc/krb5.conf."""
        self.write("/etc/krb5.conf", realm.krb5_conf.read_text())

    def use_pam_module(self, module: Path, service: str = "login", arguments: Sequence[str] = ()) -> None:
        """Copy the PAM module inside and add its lines to a service, as `sso install-pam` does it."""
        inside = self.path(PAM_MODULE)
        inside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(module, inside)
        inside.chmod(0o644)
        pam_stack = importlib.import_module("sso.guest.pam_files.pam_stack")
        lines = self.path(f"/etc/pam.d/{service}").read_text()
        self.write(f"/etc/pam.d/{service}", pam_stack.add_lines(lines, PAM_MODULE, arguments))

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        """Write a file inside, with its folders; what programs read meanwhile is the old or the new text."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.new")
        new.write_text(text)
        new.chmod(mode)
        new.rename(path)

    # Inside

    def _kept(self) -> list[str]:
        """The folders that must stay visible although a veil covers them."""
        source = Path(__file__).resolve().parents[3]
        wanted = {source, Path(sys.prefix), Path(sys.base_prefix), *(path.resolve() for path in self._keep)}
        return sorted(
            str(path) for path in wanted if any(path.is_relative_to(veil) for veil in namespace.VEILS)
        )

    def _await_holder(self) -> None:
        holding = self._holder
        assert holding is not None and holding.stdout is not None and holding.stderr is not None
        if select.select([holding.stdout], [], [], _READY_SECONDS)[0]:
            ready, _, sweeper = holding.stdout.readline().partition(" ")
            if ready == "ready":
                self._sweeper = int(sweeper)
                return
        holding.kill()
        said = holding.stderr.read().strip()
        raise BedError(f"no private mount namespace (a container needs CAP_SYS_ADMIN for it): {said}")

    def _furnish(self) -> None:
        # Only the private files name users: no directory service of the machine is asked.
        switch = self.path("/etc/nsswitch.conf")
        lines = switch.read_text().splitlines() if switch.exists() else []
        names = ("passwd:", "group:", "shadow:", "gshadow:")
        others = [line for line in lines if not line.startswith(names)]
        self.write("/etc/nsswitch.conf", "\n".join([*others, *(f"{name} files" for name in names)]) + "\n")
        self.write("/etc/motd", "")
        self.path("/etc/nologin").unlink(missing_ok=True)
        for folder, mode in {"/run/lock": 0o1777, "/run/user": 0o755, "/run/sshd": 0o755}.items():
            self.path(folder).mkdir()
            self.path(folder).chmod(mode)
        self.path("/var/lib/console-sso").mkdir()
        # login(1) and PAM write who came and went here, if the files exist.
        utmp = grp.getgrnam("utmp").gr_gid
        records = {
            "/run/utmp": 0o664,
            "/var/log/wtmp": 0o664,
            "/var/log/lastlog": 0o664,
            "/var/log/btmp": 0o660,
        }
        for record, mode in records.items():
            self.write(record, "", mode)
            os.chown(self.path(record), 0, utmp)

    def _set_line(self, file: str, name: str, line: str) -> None:
        """Replace the line that begins with `name:`, or add one."""
        path = self.path(file)
        lines = [old for old in path.read_text().splitlines() if not old.startswith(f"{name}:")]
        before = path.stat()
        self.write(file, "\n".join([*lines, line]) + "\n", before.st_mode & 0o777)
        os.chown(path, before.st_uid, before.st_gid)


def _hashed(passwords: Sequence[str]) -> list[str]:
    """SHA-512 crypt hashes for a shadow file."""
    if not passwords:
        return []
    argv = [find_program("openssl"), "passwd", "-6", "-stdin"]
    return run_program(argv, {"PATH": SEARCH_PATH}, stdin="\n".join(passwords) + "\n").stdout.split()
