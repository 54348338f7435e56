"""Reads and changes the folders trust.d: one file NAME.toml for each trusted key; delete it to revoke.

/etc/console-sso/trust.d is for everybody, ~/.config/console-sso/trust.d for one user; both count.
"""

import contextlib
import json
import os
import stat
import tomllib

from sso.console.trust import KEY_NAME, KEYS_MAX, TrustedKey, trusted_key
from sso.errors import ConfigError
from sso.settings import own_config

SYSTEM = "/etc/console-sso/trust.d"
FILE_MAX = 64 * 1024  # bytes of a key's file
_ENDING = ".toml"


def own() -> str:
    """Return the folder of the user who runs this."""
    return own_config("trust.d")


def load(*folders: str) -> tuple[tuple[TrustedKey, ...], tuple[str, ...]]:
    """Return the keys of these folders (default: both), and lines for the user about files that do not count.

    A missing folder has no keys. A wrong file, and one that other users could change, does not count.
    """
    keys: list[TrustedKey] = []
    notes: list[str] = []
    for folder in folders or (SYSTEM, own()):
        try:
            _check_parents(folder)
            names = sorted(name for name in os.listdir(folder) if name.endswith(_ENDING))
            if len(names) > KEYS_MAX:
                raise ConfigError(f"more than {KEYS_MAX} keys, so none of them counts")
        except FileNotFoundError:
            continue
        except (OSError, ConfigError) as error:
            notes.append(f"{folder}: {getattr(error, 'strerror', None) or error}")
            continue
        for name in names:
            try:
                keys.append(_read(f"{folder}/{name}", name.removesuffix(_ENDING)))
            except ConfigError as error:
                notes.append(f"{folder}/{name}: this key is not trusted: {error}")
    return tuple(keys), tuple(notes)


def _read(path: str, name: str) -> TrustedKey:
    if not KEY_NAME.fullmatch(name):
        raise ConfigError("its name has to be letters, digits, and . _ -")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError("it is no regular file")
            _check_owner(found, path)
            text = file.read(FILE_MAX + 1)
        if len(text) > FILE_MAX:
            raise ConfigError(f"it has more than {FILE_MAX // 1024} KiB")
        return trusted_key(tomllib.loads(text.decode()), name)
    except OSError as error:
        raise ConfigError(error.strerror or "it cannot be read") from None
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _check_parents(folder: str) -> None:
    """Check every folder above: a user who may change one of them could add a key."""
    path = last = os.path.realpath(folder, strict=True)
    while True:
        found = os.stat(path)
        # In a sticky folder such as /tmp only the owner of a file (or of the folder) can rename it.
        _check_owner(found, path, may_write=path != last and bool(found.st_mode & stat.S_ISVTX))
        if path == "/":
            return
        path = os.path.dirname(path)


def _check_owner(found: os.stat_result, path: str, may_write: bool = False) -> None:
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not may_write
    if found.st_uid not in (0, os.geteuid()) or others_write:
        raise ConfigError(f"others may change {path}: make it yours, and writable by nobody else")


# Changes


def add(folder: str, key: TrustedKey) -> str:
    """Write a key's file and return its path; raises ConfigError if the name exists, and OSError."""
    old = os.umask(0o022)
    try:
        os.makedirs(folder, exist_ok=True)
    finally:
        os.umask(old)
    path, draft = f"{folder}/{key.name}{_ENDING}", f"{folder}/.{key.name}.{os.getpid()}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, 0o644)
            file.write(_toml(key))
        os.link(draft, path)
    except FileExistsError:
        raise ConfigError(f"{path}: there is a key of this name already: remove it first") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(draft)
    return path


def remove(folder: str, name: str) -> str:
    """Delete a key's file and return its path; raises ConfigError if there is none, and OSError."""
    path = f"{folder}/{name}{_ENDING}"
    try:
        if not KEY_NAME.fullmatch(name):
            raise FileNotFoundError
        os.unlink(path)
    except FileNotFoundError:
        raise ConfigError(f"{folder}: no key there has the name {name!a}") from None
    return path


def _toml(key: TrustedKey) -> str:
    # JSON strings are valid TOML strings, as long as JSON escapes no more than it has to.
    values = {"key": key.text, "signs": key.signs, "consoles": key.consoles, "services": key.services}
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())
