"""`sso install-pam`: put the PAM module into the system's folder and its lines into one service.

pam_stack knows the lines and their places, pam_chain the checks that a sign-on would skip. Files are read as
Latin-1, so that every byte is valid.
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
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from sso.errors import ConfigError
from sso.guest.pam_files.pam_chain import Step, hides_ours, skipped_checks
from sso.guest.pam_files.pam_stack import MARK, MODULE, add_lines, lines, noted_skips, remove_lines
from sso.printable import escaped

BACKUP = ".before-console-sso"

# The services of login screens and of lock screens, by the names that their packages give them.
SCREENS = {
    *("login", "greetd", "lightdm", "sddm", "gdm-password", "gdm", "gdm3", "lxdm", "slim", "xdm", "wdm"),
    *("ly", "lemurs", "kde", "kscreensaver", "i3lock", "swaylock", "hyprlock", "gtklock", "waylock"),
    *("xscreensaver", "xsecurelock", "physlock", "vlock"),
    *("mate-screensaver", "cinnamon-screensaver", "xfce4-screensaver"),
}
# Stacks that other services include, and services that are never a login on the console.
_NEVER = (
    "*-auth",
    "atd",
    "common-*",
    "cron",
    "crond",
    "doas",
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
# Where a distribution may keep its own files, which an administrator's in /etc/pam.d go before.
_VENDOR = ("usr/lib/pam.d", "usr/etc/pam.d")


def install(options: Namespace) -> None:
    """Carry out the options of `main` completely or not at all. Raises ConfigError and OSError."""
    service = _service(options)
    old = _read(service)
    folder = pam_folder(options.root)
    with ExitStack() as undo:
        if options.remove:
            new = remove_lines(old)
        else:
            arguments = _arguments(options)
            add_lines(old, arguments=arguments)  # reports first what would be wrong with any lines
            skips = _accepted_skips(options.root, service, old, options.skip_checks)
            new = add_lines(old, arguments=arguments, skips=skips)
            _install_module(options, folder, undo)
        if new == old:
            print(f"{service}: nothing to change")
        elif options.dry_run:
            _show(service, old, new)
        else:
            if remove_lines(old) == old:
                _write(service.with_name(service.name + BACKUP), old, service, undo)
            _write(service, new, service)
            print(f"{service}: changed; the file as it was is {service.name}{BACKUP}")
        undo.pop_all()


def upgrade(root: Path, dry_run: bool = False) -> None:
    """Bring the lines that an older version of ours wrote up to date, in every service that has some.

    A service that no longer fits loses them: better no sign-on than one that cannot be withdrawn.
    If a sign-on skips checks, the lines of a working site stay; the checks are named each time.
    Raises OSError for a file that cannot be written, after writing all others.
    """
    unwritten: OSError | None = None
    for service, old in marked(root):
        try:
            noted = noted_skips(old)
            new = add_lines(old, *written(old), noted)
        except ConfigError as error:
            new, noted = remove_lines(old), ()
            print(
                escaped(f"{service}: our lines {'would be' if dry_run else 'are'} taken away: {error}"),
                file=sys.stderr,
            )
        else:
            _warn(root, service, old, noted)
        if new != old and dry_run:
            _show(service, old, new)
        elif new != old:
            try:
                _write(service, new, service)
            except OSError as error:
                unwritten = error
            else:
                print(f"{service}: our lines are up to date")
    if unwritten is not None:
        raise unwritten


def _show(service: Path, old: str, new: str) -> None:
    before, after = (text.encode("latin-1").decode(errors="replace").split("\n") for text in (old, new))
    for line in difflib.unified_diff(before, after, str(service), f"{service} (new)", lineterm=""):
        print(line)


def _warn(root: Path, service: Path, text: str, noted: Sequence[str]) -> None:
    """Warn of what `install` would refuse today, and say how the administrator can decide."""
    try:
        checks = [step for step in skips_of(root, service, text) if step.line.module not in noted]
    except ConfigError as error:
        print(escaped(f"{service}: {error}"), file=sys.stderr)
        return
    for step in checks:
        print(escaped(f"{service}: sign-on skips a check: {step}"), file=sys.stderr)
    if checks:
        names = " ".join(sorted({step.line.module for step in checks}))
        run = command(service.name, text)
        print(escaped(f"{service}: if that is meant, run {run} --skip-checks {names}"), file=sys.stderr)
        print(escaped(f"{service}: if not, run {run} --remove"), file=sys.stderr)


def skips_of(root: Path, service: Path, text: str) -> list[Step]:
    """Return the checks of a service that a sign-on would skip.

    Raises ConfigError where a session line hides ours, or PAM refuses everybody.
    """
    read = partial(_included, root)
    if hiding := hides_ours(text, service.name, read):
        raise ConfigError(
            f"{hiding} ends the session's lines before ours, so no session would be seen to open or close: "
            "write optional or required there"
        )
    return skipped_checks(text, service.name, read)


def _accepted_skips(root: Path, service: Path, text: str, named: Sequence[str]) -> list[str]:
    """Return the modules of the skipped checks. Raises ConfigError for one that the options do not name."""
    checks = skips_of(root, service, text)
    accepted = {*named, *noted_skips(text)}
    if left := [step for step in checks if step.line.module not in accepted]:
        names = " ".join(sorted({step.line.module for step in checks}))
        raise ConfigError(
            "a sign-on would skip what may refuse a login by hand: "
            + "; ".join(map(str, left))
            + ". Put such a line before the one that asks for the password, or accept it: "
            + f"--skip-checks {names}"
        )
    return sorted({step.line.module for step in checks})


def _included(root: Path, name: str) -> str:
    """Read a file that a service includes, from the folder that libpam uses, without our lines."""
    places = [name.lstrip("/")] if name.startswith("/") else [f"etc/pam.d/{name}", f"usr/lib/pam.d/{name}"]
    for place in places:
        if (root / place).is_file():
            return remove_lines(_read(root / place))
    raise ConfigError(f"a line includes {name}, which is not there: PAM lets nobody in")


def marked(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield the services with lines that we wrote, and their text; skip links, whose targets come anyway."""
    for path in sorted((root / "etc/pam.d").glob("*")):
        kept = path.name.endswith(BACKUP) or ".dpkg-" in path.name
        if not kept and path.is_file() and not path.is_symlink():
            text = _read(path)
            if text != remove_lines(text):
                yield path, text


def written(text: str) -> tuple[str, list[str]]:
    """Return module and arguments of our lines in a service's text. Raises ConfigError without such lines."""
    for line in lines(text):
        words = line.words
        if line.module == "pam_sso" and words[0] == "auth" and "early" not in words and MARK in line.text:
            return words[2], words[3:]
    raise ConfigError("our line that decides is not there")


def command(service: str, text: str) -> str:
    """Return the command that writes our lines again; it keeps those of a lock screen as such."""
    kept = (word.partition("=") for word in written(text)[1] if word.startswith(("socket=", "agent_uid=")))
    options = [f"--{key.replace('_', '-')} {value}" for key, _, value in kept]
    return " ".join((f"sso install-pam --service {service}", *options))


def _read(path: Path) -> str:
    return path.read_bytes().decode("latin-1")


def _write(path: Path, text: str, like: Path, undo: ExitStack | None = None) -> None:
    _replace(path, text.encode("latin-1"), like.stat(), undo)


def _install_module(options: Namespace, folder: Path, undo: ExitStack) -> None:
    """Put the module into the system's folder, unless a package did that and the options name no other."""
    if not options.module and not options.source and (folder / MODULE).is_file():
        print(f"{folder / MODULE}: is there")
        return
    with tempfile.TemporaryDirectory() as build:
        content = _module(options, Path(build))
    if not options.dry_run:
        _replace(folder / MODULE, content, None, undo)
    print(f"{folder / MODULE}: {'would be ' if options.dry_run else ''}installed")


def pam_folder(root: Path) -> Path:
    """Return the folder below `root` that holds the PAM modules: the one with pam_unix.so."""
    arch = sysconfig.get_config_var("MULTIARCH") or "*"
    for pattern in (f"lib/{arch}", f"usr/lib/{arch}", "usr/lib64", "lib64", "usr/lib", "lib", "lib/*"):
        for found in sorted(glob.glob(f"{pattern}/security/pam_unix.so", root_dir=root)):
            return (root / found).parent
    raise ConfigError(f"no PAM below {root}: pam_unix.so is in none of the known folders")


def _service(options: Namespace) -> Path:
    """Return the file of the named service. Raises ConfigError if our lines must not be in it."""
    root, name = options.root, options.service
    if not options.remove and any(fnmatch.fnmatchcase(name, pattern) for pattern in _NEVER):
        raise ConfigError(f"{name} is no login screen or lock screen; name the service of one, such as login")
    if not name or not all(letter.isalnum() or letter in "-_" for letter in name):
        raise ConfigError("a PAM service has a plain name, such as login")
    path: Path = root / "etc/pam.d" / name
    if path.is_symlink():
        target = path.readlink()
        made = (
            "its configuration makes it (NixOS: security.pam.services)"
            if "nix" in str(path.resolve())
            else ""
        )
        raise ConfigError(f"{path} is a link to {target}: {made or 'name the service that it points to'}")
    if not path.is_file():
        for vendor in (root / folder / name for folder in _VENDOR):
            if vendor.is_file():
                raise ConfigError(f"{vendor} is the distribution's own: first run cp {vendor} {path}")
        raise ConfigError(f"{path} is not a file: there is no such PAM service")
    if name not in SCREENS and not options.unlisted_service and not options.remove:
        raise ConfigError(
            f"{name} is no login screen or lock screen that is known here; --unlisted-service says that it "
            "is one, and that whoever it lets in at this console may take what waits for its user"
        )
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
    """Return the module's bytes, from a built file or compiled from the source."""
    path: Path = options.module or build / MODULE
    if not options.module:
        source = options.source or Path(__file__).resolve().parents[4] / "pam"
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


def _replace(path: Path, content: bytes, like: os.stat_result | None, undo: ExitStack | None = None) -> None:
    """Replace a file atomically: a login at that moment reads the old file or the new one.

    It gets the owner, group and mode of `like`, else root's and 0644. `undo` restores the old file.
    """
    before = path.read_bytes() if undo and path.exists() else None
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            if os.geteuid() == 0:
                os.fchown(handle, like.st_uid if like else 0, like.st_gid if like else 0)
            os.fchmod(handle, like.st_mode & 0o7777 if like else 0o644)
            os.fsync(handle)
        os.rename(name, path)
    except BaseException:
        os.unlink(name)
        raise
    if undo and before is None:
        undo.callback(path.unlink)
    elif undo and before is not None:
        undo.callback(_replace, path, before, like)


def _options(arguments: list[str] | None) -> Namespace:
    parser = ArgumentParser(
        prog="sso install-pam",
        description="Let a login screen sign in users by the guest agent: add our lines to its PAM service.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--upgrade", action="store_true", help="update the lines of an older version")
    what.add_argument("--service", help="the PAM service of the login screen, such as login")
    parser.add_argument("--remove", action="store_true", help="remove our lines; the module stays")
    parser.add_argument("--root", type=Path, default=Path("/"), help="the system to change (default: /)")
    parser.add_argument("--module", type=Path, help="a built pam_sso.so (default: the one that is there)")
    parser.add_argument(
        "--source",
        type=Path,
        help="compile the module from this folder (default, if none is installed: pam/ of this checkout)",
    )
    parser.add_argument("--socket", help="the agent's socket (default: /run/console-sso/pam.sock)")
    parser.add_argument("--agent-uid", type=int, default=0, help="the uid the agent runs as (default: 0)")
    parser.add_argument(
        "--skip-checks",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="accept that these checks, such as pam_wheel, do not run at a sign-on",
    )
    parser.add_argument(
        "--unlisted-service",
        action="store_true",
        help="the service is a login screen or lock screen that this command does not know",
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    options = parser.parse_args(arguments)
    if options.upgrade and (options.remove or options.skip_checks):
        parser.error("--upgrade goes by what each file says: --remove and --skip-checks need a --service")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Install or remove, and return 0; 1 with one clear message when it cannot be done."""
    options = _options(arguments)
    try:
        upgrade(options.root, options.dry_run) if options.upgrade else install(options)
    except ConfigError as error:
        print(f"sso install-pam: {escaped(str(error))}", file=sys.stderr)
        return 1
    except OSError as error:
        where = error.filename2 or error.filename
        print(f"sso install-pam: {escaped(f'{where}: {error.strerror}')}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
