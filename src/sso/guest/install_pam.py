"""`sso install-pam`: put the PAM module into the system's folder and its lines into one service.

Which lines, and where they stand: sso.guest.pam_stack. A file of octets is read as Latin-1, which any is.
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
from collections.abc import Iterator
from pathlib import Path

from sso.errors import ConfigError
from sso.guest.pam_stack import MARK, MODULE, add_lines, lines, remove_lines
from sso.printable import escaped

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


def install(options: Namespace) -> None:
    """Do what the options of `main` say; raises ConfigError before anything is written."""
    service = _service(options.root, options.service)
    old = _read(service)
    folder = pam_folder(options.root)
    if options.remove:
        new = remove_lines(old)
    else:
        new = add_lines(old, arguments=_arguments(options))
        _install_module(options, folder)
    if new == old:
        print(f"{service}: nothing to change")
    elif options.dry_run:
        before, after = (text.encode("latin-1").decode(errors="replace").split("\n") for text in (old, new))
        for line in difflib.unified_diff(before, after, str(service), f"{service} (new)", lineterm=""):
            print(line)
    else:
        if remove_lines(old) == old:
            _write(service.with_name(service.name + BACKUP), old, service)
        _write(service, new, service)
        print(f"{service}: changed; the file as it was is {service.name}{BACKUP}")


def upgrade(root: Path) -> None:
    """Bring the lines that an older version of ours wrote up to date, in every service that has some.

    A service that is none for us any more loses them: better no sign-on than one that cannot be taken back.
    """
    for service, old in marked(root):
        try:
            new = add_lines(old, *written(old))
        except ConfigError as error:
            new = remove_lines(old)
            print(escaped(f"{service}: our lines are taken away: {error}"), file=sys.stderr)
        if new != old:
            _write(service, new, service)
            print(f"{service}: our lines are up to date")


def marked(root: Path) -> Iterator[tuple[Path, str]]:
    """The services with lines that we wrote, and their text; links have their turn where they point to."""
    for path in sorted((root / "etc/pam.d").glob("*")):
        kept = path.name.endswith(BACKUP) or ".dpkg-" in path.name
        if not kept and path.is_file() and not path.is_symlink():
            text = _read(path)
            if text != remove_lines(text):
                yield path, text


def written(text: str) -> tuple[str, list[str]]:
    """The module and the arguments of our lines in a service's text; raises ConfigError without one."""
    for line in lines(text):
        words = line.words
        if line.module == "pam_sso" and words[0] == "auth" and "early" not in words and MARK in line.text:
            return words[2], words[3:]
    raise ConfigError("our line that decides is not there")


def _read(path: Path) -> str:
    return path.read_bytes().decode("latin-1")


def _write(path: Path, text: str, like: Path) -> None:
    _replace(path, text.encode("latin-1"), like.stat().st_mode & 0o777)


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
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--upgrade", action="store_true", help="bring the lines of an older version up to date")
    what.add_argument("--service", help="the PAM service of the login screen, such as login")
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
        upgrade(options.root) if options.upgrade else install(options)
    except ConfigError as error:
        print(f"sso install-pam: {escaped(str(error))}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"sso install-pam: {escaped(f'{error.filename}: {error.strerror}')}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
