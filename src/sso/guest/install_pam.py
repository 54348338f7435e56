"""`sso install-pam`: put the PAM module into the system's folder and its lines into one service.

Where the lines stand in a service's file, here Debian's login, and why:

    auth     optional                       pam_sso.so early
    auth     optional                       pam_faildelay.so
    auth     requisite                      pam_nologin.so
    auth     optional                       pam_group.so         (repeated)
    auth     [success=done default=ignore]  pam_sso.so
    @include common-auth
    ...
    @include common-session
    session  optional                       pam_sso.so

* pam_nologin asks for the user's name although it asks for no password. So an early line stands before all
  others; it only names the user of a waiting credential, and never lets anybody in.
* The line that decides stands right before the first line that may ask for a secret. All checks before it
  (pam_nologin, pam_securetty, pam_succeed_if, pam_faildelay's delay) hold for everybody. A line that jumps
  counts as one that asks: nothing may come between a jump and its target.
* "done" ends the stack, also when the credentials are set. pam_group does its work only then, and Debian has
  it behind common-auth: it is repeated before our line. (What common-auth itself sets, pam_cap, is left out.)
* A password is handed on: "ignore" lets the file's own modules judge it, and they find no reason to ask.
* The session line is the last, so a session that other modules refuse is not reported as opened. KRB5CCNAME
  is set before, with the credentials, by the line that decides; the cache goes when the session is closed.
"""

import difflib
import fnmatch
import glob
import os
import subprocess
import sys
import sysconfig
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sso.errors import ConfigError
from sso.printable import escaped

MODULE = "pam_sso.so"
MARK = "# console-sso"
BACKUP = ".before-console-sso"

# Stacks that other services include, and services that are no login on the console.
_REFUSED = (
    "*-auth",
    "atd",
    "common-*",
    "cron",
    "other",
    "passwd",
    "polkit-1",
    "postlogin",
    "remote",
    "runuser*",
    "sshd",
    "su",
    "su-*",
    "sudo*",
    "system-*",
)
# Modules of the auth stack that never ask for a secret.
_SILENT = {
    "pam_access",
    "pam_echo",
    "pam_env",
    "pam_faildelay",
    "pam_faillock",
    "pam_group",
    "pam_issue",
    "pam_keyinit",
    "pam_listfile",
    "pam_nologin",
    "pam_securetty",
    "pam_shells",
    "pam_succeed_if",
    "pam_time",
    "pam_warn",
}
# What Debian's shared files hold; any other included file may hold lines of every type.
_INCLUDED = {
    "common-account": "account",
    "common-auth": "auth",
    "common-password": "password",
    "common-session": "session",
    "common-session-noninteractive": "session",
}


@dataclass(frozen=True)
class _Line:
    """One line of a service's file, with those that a backslash joins to it."""

    text: str

    @property
    def code(self) -> str:
        return " ".join(self.text.replace("\\\n", " ").partition("#")[0].split())

    def may_be(self, type: str) -> bool:
        word, _, rest = self.code.lower().partition(" ")
        if word == "@include":
            return _INCLUDED.get(rest, type) == type
        return word.removeprefix("-") == type

    @property
    def module(self) -> str:
        """The module's bare name; empty for an included file."""
        words = self.code.replace("]", "] ").partition("] ")[2].split() or self.code.split()[2:]
        return os.path.basename(words[0]).removesuffix(".so") if words else ""

    @property
    def service(self) -> str:
        """The other service that is included here whole, checks and all; "" for Debian's shared files."""
        word, _, name = self.code.partition(" ")
        return name if word.lower() == "@include" and name not in _INCLUDED else ""

    @property
    def asks(self) -> bool:
        """Whether this auth line may ask for a secret, or jumps over lines that do."""
        control = self.code.partition("[")[2].partition("]")[0]
        jumps = any(word.partition("=")[2].isdigit() for word in control.split())
        return jumps or self.module not in _SILENT


def add_lines(text: str, module: str = MODULE, arguments: str | Sequence[str] = ()) -> str:
    """Add our lines to the text of a service's file, in place of those that are there.

    `module` is a name in the system's PAM folder or an absolute path, `arguments` go to each line. Doing it
    twice changes nothing. A service without session lines gets none: ours alone would shadow the default.
    Raises ConfigError when nobody logs in by this service or an argument cannot stand in such a file.
    """
    words = [module, *(arguments.split() if isinstance(arguments, str) else arguments)]
    if any(not word or set(word) & set(" \t\n#[]\\") for word in words):
        raise ConfigError("a PAM argument must not hold blanks, brackets, # or a backslash")
    lines = list(_lines(remove_lines(text)))
    auth = [index for index, line in enumerate(lines) if line.may_be("auth")]
    if not auth:
        raise ConfigError("the service has no auth line: nobody logs in by it")
    decide = next((index for index in auth if lines[index].asks), auth[-1] + 1)
    if decide < len(lines) and (other := lines[decide].service):
        raise ConfigError(f"it takes its lines from {other}, where ours belong too: use --service {other}")
    sessions = [index for index, line in enumerate(lines) if line.may_be("session")]
    groups = [lines[index].code for index in auth if index >= decide and lines[index].module == "pam_group"]
    # From the last place to the first, so that the places stay right.
    if sessions:
        lines.insert(sessions[-1] + 1, _ours("session optional", *words))
    lines.insert(decide, _ours("auth [success=done default=ignore]", *words))
    lines[decide:decide] = map(_ours, groups)
    lines.insert(auth[0], _ours("auth optional", module, "early", *words[1:]))
    lines.insert(auth[0], _ours("# Console SSO (sso install-pam --remove takes these lines away)"))
    return "".join(line.text for line in lines)


def remove_lines(text: str) -> str:
    """Take our lines out of the text of a service's file."""
    return "".join(line.text for line in _lines(text) if not line.text.rstrip().endswith(MARK))


def _ours(*words: str) -> _Line:
    return _Line(" ".join((*words, MARK)) + "\n")


def _lines(text: str) -> Iterator[_Line]:
    parts: list[str] = []
    for line in text.splitlines():
        parts.append(line + "\n")
        if not line.endswith("\\"):
            yield _Line("".join(parts))
            parts.clear()
    if parts:
        yield _Line("".join(parts))


def install(options: Namespace) -> None:
    """Do what the options of `main` say; raises ConfigError before anything is written."""
    service = _service(options.root, options.service)
    old = service.read_text()
    folder = pam_folder(options.root)
    if options.remove:
        new = remove_lines(old)
    else:
        new = add_lines(old, arguments=_arguments(options))
        _install_module(options, folder)
    if new == old:
        print(f"{service}: nothing to change")
    elif options.dry_run:
        names = (str(service), f"{service} (new)")
        sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), *names))
    else:
        mode = service.stat().st_mode & 0o777
        if remove_lines(old) == old:
            _replace(service.with_name(service.name + BACKUP), old.encode(), mode)
        _replace(service, new.encode(), mode)
        print(f"{service}: changed; the file as it was is {service.name}{BACKUP}")


def _install_module(options: Namespace, folder: Path) -> None:
    """Put the module into the system's folder, unless a package has done that and no other is named."""
    if not options.module and not options.source and (folder / MODULE).is_file():
        print(f"{folder / MODULE}: is there")
        return
    with tempfile.TemporaryDirectory() as build:
        content = _module(options, Path(build))
    if not options.dry_run:
        _replace(folder / MODULE, content, 0o644)
    print(f"{folder / MODULE}: {'would be ' if options.dry_run else ''}installed")


def pam_folder(root: Path) -> Path:
    """The folder of the system below `root` that holds the PAM modules, found by pam_unix.so."""
    arch = sysconfig.get_config_var("MULTIARCH") or "*"
    for pattern in (f"lib/{arch}", f"usr/lib/{arch}", "usr/lib64", "lib64", "usr/lib", "lib", "lib/*"):
        for found in sorted(glob.glob(f"{pattern}/security/pam_unix.so", root_dir=root)):
            return (root / found).parent
    raise ConfigError(f"no PAM below {root}: pam_unix.so is in none of the known folders")


def _service(root: Path, name: str) -> Path:
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in _REFUSED):
        raise ConfigError(f"{name} is no login screen or lock screen; name the service of one, such as login")
    if not name or not all(letter.isalnum() or letter in "-_" for letter in name):
        raise ConfigError("a PAM service has a plain name, such as login")
    path = root / "etc/pam.d" / name
    if path.is_symlink() or not path.is_file():
        raise ConfigError(f"{path} is not a file: there is no such PAM service")
    return path


def _arguments(options: Namespace) -> list[str]:
    arguments = []
    if options.socket:
        if not options.socket.startswith("/"):
            raise ConfigError("the socket's path must be absolute")
        arguments.append(f"socket={options.socket}")
    if options.agent_uid:
        arguments.append(f"agent_uid={options.agent_uid}")
    return arguments


def _module(options: Namespace, build: Path) -> bytes:
    """The module's octets: of a built one, or compiled from the source."""
    path: Path = options.module or build / MODULE
    if not options.module:
        source = options.source or Path(__file__).resolve().parents[3] / "pam"
        if not (source / "pam_sso.c").is_file():
            raise ConfigError(f"{source} does not hold the module's source; give --source or --module")
        try:
            command = ["make", "-s", "-C", str(source), f"BUILD={build}"]
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError:
            raise ConfigError(
                "make is not installed; on Debian: apt-get install make gcc libpam0g-dev"
            ) from None
        if done.returncode:
            raise ConfigError(
                f"the module cannot be built (make, gcc, libpam0g-dev?):\n{done.stderr.strip()}"
            )
    if not path.is_file() or (content := path.read_bytes())[:4] != b"\x7fELF":
        raise ConfigError(f"{path} is not a built module")
    return content


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file of root's all at once: whoever logs in meanwhile finds the old one or the new one."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(handle, mode)
            if os.geteuid() == 0:
                os.fchown(handle, 0, 0)
            os.fsync(handle)
        os.rename(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _options(arguments: list[str] | None) -> Namespace:
    parser = ArgumentParser(
        prog="sso install-pam",
        description="Let one login screen take its users from the guest agent, by PAM.",
    )
    parser.add_argument("--service", required=True, help="the PAM service of the login screen, such as login")
    parser.add_argument("--remove", action="store_true", help="take our lines away; the module stays")
    parser.add_argument("--root", type=Path, default=Path("/"), help="the system to change (default: /)")
    parser.add_argument("--module", type=Path, help="a built pam_sso.so (default: the one that is there)")
    parser.add_argument(
        "--source",
        type=Path,
        help="compile the module from this folder (default, where there is none: pam/ of this checkout)",
    )
    parser.add_argument("--socket", help="the agent's socket (default: /run/console-sso/pam.sock)")
    parser.add_argument("--agent-uid", type=int, default=0, help="the uid the agent runs as (default: 0)")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Install or remove, and return 0; 1 with one clear message when it cannot be done."""
    options = _options(arguments)
    try:
        install(options)
    except ConfigError as error:
        print(f"sso install-pam: {escaped(str(error))}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"sso install-pam: {escaped(f'{error.filename}: {error.strerror}')}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
