"""`sso inventory`: signs off-line, on the administrator's machine, which guest a site's consoles show."""

import os
import stat
import sys
import tomllib
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

from sso.console import entry as entries
from sso.console import inventory
from sso.console.authority import fingerprints
from sso.console.ed25519 import PEM_SIZE, SEED_SIZE, NoLibrary, key_text, pem, public_of, seed_of
from sso.console.signing import entry_group
from sso.errors import ConfigError
from sso.framing import wipe
from sso.printable import escaped

_DONE, _FAILED = 0, 1
_TEXT_MAX = 64 * 1024 * 1024  # bytes of an inventory
_ENDING = ".entry"


def main(arguments: list[str] | None = None) -> int:
    """Run `sso inventory`: 0 done, 1 it could not be done, 2 wrong usage."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.what == "sign" and not (given.key and given.out):
        parser.error("to sign, say --key and --out, too")
    try:
        {"key": _make, "public": _show, "sign": _sign}[given.what](given)
        return _DONE
    except (ConfigError, NoLibrary) as error:
        print(f"sso inventory: {escaped(str(error))}", file=sys.stderr)
    except OSError as error:
        print(escaped(f"sso inventory: {error.filename or given.file}: {error.strerror}"), file=sys.stderr)
    return _FAILED


def _make(given: Namespace) -> None:
    seed = bytearray(SEED_SIZE)
    with open("/dev/urandom", "rb", buffering=0) as source:
        if source.readinto(seed) != SEED_SIZE:
            raise ConfigError("/dev/urandom: it gives too little")
    file = pem(seed)
    try:
        public = key_text(public_of(seed))
        fd = os.open(given.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb", buffering=0) as made:
            os.fchmod(fd, 0o600)
            if made.write(file) != len(file):
                os.unlink(given.file)
                raise ConfigError(f"{given.file}: there is no room for it")
            os.fsync(fd)
    finally:
        wipe(seed)
        wipe(file)
    print(public)


def _show(given: Namespace) -> None:
    seed = _seed(given.file)
    try:
        print(key_text(public_of(seed)))
    finally:
        wipe(seed)


def _sign(given: Namespace) -> None:
    found = _guests(given.file)
    seed = _seed(given.key)
    try:
        os.makedirs(given.out, exist_ok=True)
        for entry in found:
            path = os.path.join(given.out, entry.guest + _ENDING)
            _write(path, entry_group(entry, seed))
            print(f"{path}: {entry.spn or entry.tls_name}, until {entries.time_text(entry.until)}")
    finally:
        wipe(seed)


def _guests(path: str) -> list[entries.GuestEntry]:
    def authorities(name: str) -> tuple[str, ...]:
        beside = os.path.join(os.path.dirname(path), name)
        try:
            return fingerprints(_text(beside))
        except ConfigError as error:
            raise ConfigError(f"{beside}: {error}") from None

    try:
        return inventory.guests(tomllib.loads(_text(path)), authorities)
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None


def _text(path: str) -> str:
    with open(path, "rb") as file:
        text = file.read(_TEXT_MAX + 1)
    if len(text) > _TEXT_MAX:
        raise ConfigError("it is too large")
    return text.decode()


def _write(path: str, group: bytes) -> None:
    """Replace the file in one step, so that a portal never reads half of it."""
    draft = f"{path}.{os.getpid()}"
    try:
        with open(draft, "xb") as file:
            file.write(group)
        os.replace(draft, path)
    except OSError:
        if os.path.exists(draft):
            os.unlink(draft)
        raise


def _seed(path: str) -> bytearray:
    """Read a private key, which the caller wipes. Raises ConfigError if others could read the file."""
    file = bytearray(PEM_SIZE + 1)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError("it is no regular file")
            if found.st_uid not in (0, os.geteuid()) or stat.S_IMODE(found.st_mode) & 0o077:
                raise ConfigError("others may read this private key: make it yours, and `chmod 600` it")
            size = os.readv(fd, [file])
        finally:
            os.close(fd)
        return seed_of(memoryview(file)[:size])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    finally:
        wipe(file)


_EPILOG = """examples:
    sso inventory key site.key                 # makes a private key, prints the public key for `sso trust`
    sso inventory sign guests.toml --key site.key --out entries

For each guest it writes a file UUID.entry, which a portal appends to connection files without any change.
exit codes: 0 done; 1 it could not be done; 2 wrong usage"""


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="sso inventory",
        formatter_class=RawDescriptionHelpFormatter,
        description="Sign which guest a site's consoles show. Keep the private key on a machine that offers"
        " no service to others.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "what", choices=("key", "public", "sign"), help="make a private key, print its public key, or sign"
    )
    parser.add_argument("file", metavar="FILE", help="the private key's file, or the inventory (TOML)")
    parser.add_argument("--key", metavar="FILE", help="sign with this private key")
    parser.add_argument("--out", metavar="FOLDER", help="write the entries here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
