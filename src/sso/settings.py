"""Settings in TOML files: where the user's own are, how one is read, and how a table of values is checked.

A table of Option says which keys there are and what each takes. Whatever is wrong is a ConfigError that
names the file, the key and what to write.
"""

import os
import stat
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sso.errors import ConfigError

SIZE_MAX = 1024 * 1024  # bytes of a file

Check = Callable[[Any], str]  # says what is wrong with a value, "" when it is right

VALUE_KINDS: dict[type, str] = {  # what an error says to write for each kind of value
    str: 'a text in quotes, such as "x"',
    bool: "true or false",
    int: "a whole number",
    tuple: 'a list of texts, such as ["x", "y"]',
}
NO_SUCH_KEY = "{key}: there is no such key; known are {known}"


class Option(NamedTuple):
    """What one key takes: a kind out of VALUE_KINDS, and a value in which `check` finds nothing wrong."""

    kind: type
    check: Check | None = None


def write(words: str, good: Callable[[Any], object]) -> Check:
    """A check that takes what `good` is true of, and else says what to write."""
    return lambda value: "" if good(value) else f"write {words}"


def checked(
    given: Mapping[str, Any], known: Mapping[str, Option], where: str = "", unknown: str = NO_SUCH_KEY
) -> dict[str, Any]:
    """The values of a table by key, with tuples for lists.

    Raises ConfigError, its text begins with `where`; `unknown` is what it says of a key that is not known.
    """
    values = {}
    for key, value in given.items():
        if key not in known:
            raise ConfigError(where + unknown.format(key=key, known=", ".join(sorted(known))))
        setting, found = known[key], _tuple(value)
        if type(found) is not setting.kind:  # not isinstance: true is no number here
            raise ConfigError(f"{where}{key}: write {VALUE_KINDS[setting.kind]}")
        if setting.check is not None and (wrong := setting.check(found)):
            raise ConfigError(f"{where}{key}: {wrong}")
        values[key] = found
    return values


def _tuple(value: object) -> object:
    """A list of texts as a tuple; anything else as it is, so that a list of something else has no kind."""
    return tuple(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else value


def take_tables(content: dict[str, Any], name: str, most: int) -> list[dict[str, Any]]:
    """Take the tables [[name]] out of a file's content; raises ConfigError for more than `most`."""
    found = content.pop(name, [])
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        raise ConfigError(f"{name}: write [[{name}]]")
    if len(found) > most:
        raise ConfigError(f"{name}: more than {most}")
    return found


def read(path: str, *, guarded: bool = False) -> dict[str, Any]:
    """What a TOML file says. When `guarded`, nobody but root and the caller may be able to change it.

    Raises FileNotFoundError, and ConfigError with the path for a file that cannot be read, that others may
    change, that is larger than SIZE_MAX, or that is no TOML.
    """
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            text = file.read(SIZE_MAX + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    foreign = found.st_uid not in (0, os.geteuid())
    if guarded and (foreign or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        raise ConfigError(f"{path}: others may change it: make it root's, mode 644")
    if len(text) > SIZE_MAX:
        raise ConfigError(f"{path}: it is larger than {SIZE_MAX} bytes")
    if _has_only_comments(text):
        return {}
    import tomllib

    try:
        return tomllib.loads(text.decode())
    except ValueError as error:
        raise ConfigError(f"{path}: it is no TOML: {error}") from None


def _has_only_comments(text: bytes) -> bool:
    """As the file that is installed has: to load a parser takes a while, and every login waits for it."""
    return all(line[:1] in (b"", b"#") for line in map(bytes.strip, text.splitlines()))


# The XDG Base Directory Specification


def own_config(name: str) -> str:
    """The path of the user's own file or folder of settings."""
    return _own("XDG_CONFIG_HOME", "~/.config", name)


def own_state(name: str) -> str:
    """The path of a file in which a program remembers something for the user."""
    return _own("XDG_STATE_HOME", "~/.local/state", name)


def _own(variable: str, usual: str, name: str) -> str:
    return f"{os.environ.get(variable) or os.path.expanduser(usual)}/console-sso/{name}"
