"""Reads viewer.toml: which programs may run at which port of which console, and what a file may ask for.

/etc/console-sso/viewer.toml is for everybody, ~/.config/console-sso/viewer.toml for one user;
docs/man/console-sso-viewer.toml.5 describes the keys. All programs come from one folder, which only the file
in /etc can name.
"""

import os
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

from sso import settings as files
from sso import trusted
from sso.console.console import PORT_NAME, Console, Wish
from sso.console.trust import KEYS_MAX, TrustedKey, trusted_key
from sso.console.vouch import ConsoleTable, fits
from sso.errors import ConfigError
from sso.plug.plug import Start
from sso.settings import Option, checked, own_config, take_tables, write

SYSTEM_CONFIG = "/etc/console-sso/viewer.toml"
FOLDER = "/usr/lib/console-sso/plugins"
PLUGINS_MAX = 64
PARAMETERS_MAX, PARAMETER_MAX = 64, 1024  # of a plug-in; characters of one
LINKS_MAX = 16  # followed on the way to a program
# What a connection file may ask for, and the option that passes each value on.
TAKES = {"spn": "--asked-spn", "pin": "--only-pin"}
OWN_SPN = "--spn"  # passes on what the user typed
NAMED = "--named"  # says that the rest comes from a file or a link, also when it names no service
CONSOLES_MAX = 256


class Plugin(NamedTuple):
    """The plug-in of one port: the program `run` below the folder, and its options.

    `states`: it writes its states to descriptor 3. `takes`: which keys of TAKES it gets from a file.
    `consoles`: shell patterns; one has to fit each host, or path, that the console leads to. `bent`: other
    users could have written the file, so that `consoles` vouches for no console.
    """

    port: str
    run: str
    parameters: tuple[str, ...] = ()
    states: bool = False
    takes: tuple[str, ...] = ()
    consoles: tuple[str, ...] = ("*",)
    enabled: bool = True
    bent: bool = False


DEFAULT = Plugin(
    "spice.sso.0", "spice-client-sso", ("--stay", "--status-fd=3"), states=True, takes=("spn", "pin")
)


class Settings(NamedTuple):
    """The configuration, with the defaults that count without a file. `notes` are lines for the user."""

    folder: str = FOLDER
    scaling: bool = True
    clipboard: bool = True
    plugins: tuple[Plugin, ...] = (DEFAULT,)
    tables: tuple[ConsoleTable, ...] = ()
    keys: tuple[TrustedKey, ...] = ()
    notes: tuple[str, ...] = ()


def load(path: str | None = None) -> Settings:
    """Read the usual files, or only the named one.

    Raises ConfigError with the file and the key to fix; a missing file is an error only if it was named.
    """
    if path is not None:
        return _with_file(Settings(), path, system=True, must_exist=True)
    settings = _with_file(Settings(), SYSTEM_CONFIG, system=True)
    return _with_file(settings, own_config("viewer.toml"), system=False)


def _with_file(settings: Settings, path: str, system: bool, must_exist: bool = False) -> Settings:
    try:
        content = files.read(path)
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(f"{path}: no such file") from None
        return settings
    try:
        if "folder" in content and not system:
            raise ConfigError(f"folder: only {SYSTEM_CONFIG} may name it")
        return _with_content(settings, content, _bent(path))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _bent(path: str) -> str:
    """Return "", or why the file vouches for no console: other users could have written it."""
    try:
        if os.stat(trusted.resolved(os.path.abspath(path))).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigError(f"{path}: others may change it")
    except (ConfigError, OSError) as error:
        return f"nothing in {path} vouches for a console: {getattr(error, 'strerror', None) or error}"
    return ""


def _with_content(settings: Settings, content: dict[str, Any], bent: str) -> Settings:
    """Add a file's settings; if it is `bent`, ignore its tables that vouch, and add a note that says why."""
    tables = take_tables(content, "plugin", PLUGINS_MAX)
    consoles = tuple(map(_console, take_tables(content, "console", CONSOLES_MAX)))
    keys = tuple(map(_key, take_tables(content, "trust", KEYS_MAX)))
    values = checked(content, _KEYS)
    plugins = {plugin.port: plugin for plugin in settings.plugins}
    seen = set()
    for table in tables:
        given = checked(table, _PLUGIN_KEYS, "[[plugin]] ")
        port = given.get("port")
        if port is None:
            raise ConfigError('[[plugin]] port: it is missing; every one needs port = "NAME"')
        if port in seen:
            raise ConfigError(f"[[plugin]] port: there are two for {port}")
        seen.add(port)
        given["bent"] = bool(bent)
        if port not in plugins and "run" not in given:
            raise ConfigError(f"[[plugin]] run: it is missing for {port}")
        plugins[port] = plugins[port]._replace(**given) if port in plugins else Plugin(**given)
    if len(plugins) > PLUGINS_MAX:
        raise ConfigError(f"plugin: more than {PLUGINS_MAX}")
    settings = settings._replace(**values, plugins=tuple(plugins.values()))
    if bent and (tables or consoles or keys):
        return settings._replace(notes=(*settings.notes, bent))
    return settings._replace(tables=(*consoles, *settings.tables), keys=(*keys, *settings.keys))


def _console(table: dict[str, Any]) -> ConsoleTable:
    given = checked(table, _CONSOLE_KEYS, "[[console]] ")
    if not given.get("places"):
        raise ConfigError('[[console]] places: it is missing; every one needs places = ["PATTERN"]')
    if given.get("subject") and "ca" not in given:
        raise ConfigError("[[console]] subject: it needs a ca, which signed that certificate")
    return ConsoleTable(**given)


def _key(table: dict[str, Any]) -> TrustedKey:
    try:
        return trusted_key(table)
    except ConfigError as error:
        raise ConfigError(f"[[trust]] {error}") from None


# Values


def _wrong_texts(value: tuple[str, ...]) -> str:
    if len(value) > PARAMETERS_MAX:
        return f"more than {PARAMETERS_MAX}"
    if any(len(item) > PARAMETER_MAX or "\0" in item for item in value):
        return f"a text has at most {PARAMETER_MAX} characters, and no NUL"
    return ""


def _wrong_takes(value: tuple[str, ...]) -> str:
    return _wrong_texts(value) or ("" if set(value) <= TAKES.keys() else f"known are {', '.join(TAKES)}")


def _wrong_run(value: str) -> str:
    if "\0" in value or not {"", ".", ".."}.isdisjoint(value.split("/")):
        return f"{value!r} has to be a path below the folder, without . and .."
    return ""


_FLAG = Option(bool)
_TEXTS = Option(tuple, _wrong_texts)
_PATH = Option(str, write("an absolute path", lambda value: value.startswith("/") and "\0" not in value))
_TEXT = Option(
    str,
    write(
        "a text of printable characters", lambda value: value.isprintable() and len(value) <= PARAMETER_MAX
    ),
)
_KEYS = {"folder": _PATH, "scaling": _FLAG, "clipboard": _FLAG}
_PLUGIN_KEYS = {
    "port": Option(str, write(f"a port's name, such as {DEFAULT.port}", PORT_NAME.fullmatch)),
    "run": Option(str, _wrong_run),
    "parameters": _TEXTS,
    "states": _FLAG,
    "takes": Option(tuple, _wrong_takes),
    "consoles": _TEXTS,
    "enabled": _FLAG,
}
_CONSOLE_KEYS = {"places": _TEXTS, "services": _TEXTS, "ca": _PATH, "subject": _TEXT, "plain": _FLAG}


# The program


def executable(folder: str, run: str) -> str:
    """Return the path of a plug-in's program, with all links resolved.

    Raises ConfigError if it is not clearly a program of the folder: an absolute path, `..`, a link that leads
    out, no executable file, or if users other than root and the caller could change the program or a folder
    above it.
    """
    try:
        folder = trusted.resolved(folder)
        below = _resolved(folder, _parts(run))
        path = folder
        for part in below[:-1]:
            _check_owner(os.stat(path, follow_symlinks=False), path)
            path = f"{path}/{part}"
        _check_owner(os.stat(path, follow_symlinks=False), path)
        path = f"{path}/{below[-1]}"
        found = os.stat(path, follow_symlinks=False)
    except OSError as error:
        raise ConfigError(f"{folder}/{run}: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{path}: it is no regular file")
    _check_owner(found, path)
    if not os.access(path, os.X_OK):
        raise ConfigError(f"{path}: it is not executable")
    return path


def _parts(run: str) -> list[str]:
    if wrong := _wrong_run(run):
        raise ConfigError(f"run: {wrong}")
    return run.split("/")


def _resolved(folder: str, todo: list[str]) -> list[str]:
    """Return the parts below `folder` with all links resolved; no link may leave the folder at any step."""
    done: list[str] = []
    links = 0
    while todo:
        part, *todo = todo
        if part == "..":
            if not done:
                raise ConfigError(f"{folder}: a link in it leads out of it")
            done.pop()
        elif part not in ("", "."):
            done.append(part)
            path = "/".join((folder, *done))
            if os.path.islink(path):
                links += 1
                done.pop()
                target = os.readlink(path)
                if target.startswith("/"):
                    if not target.startswith(f"{folder}/"):
                        raise ConfigError(f"{path}: it is a link out of the folder")
                    target, done = target.removeprefix(f"{folder}/"), []
                todo = [*target.split("/"), *todo]
        if links > LINKS_MAX:
            raise ConfigError(f"{folder}: too many links")
    if not done:
        raise ConfigError(f"{folder}: it is no regular file")
    return done


def _check_owner(found: os.stat_result, path: str) -> None:
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"{path}: others may change it: make it root's, and writable by nobody else")


# What runs


def chosen(
    settings: Settings, console: Console, spn: str = "", *, named: str = ""
) -> tuple[tuple[Start, ...], tuple[str, ...]]:
    """Return the plug-ins for a console, and lines for the user about those left out. None may run yet.

    `spn` is the service that the user typed; it overrides the file's. Without it `named` says where the names
    come from: "file" or "signed". Raises ConfigError for a port that is not configured, and for a value of
    the file that contradicts the parameters.
    """
    wish = console.wish._replace(spn="") if spn else console.wish
    starts: list[Start] = []
    notes: list[str] = []
    known = {plugin.port for plugin in settings.plugins}
    if wish.port and wish.port not in known:
        raise ConfigError(f"the file is about the port {wish.port}, which has no plug-in in viewer.toml")
    untold = {name for name in TAKES if getattr(wish, name)}
    for plugin in settings.plugins:
        if not plugin.enabled or not _fits(plugin, console):
            continue
        told = dict(_told(plugin, wish))
        words = [f"{TAKES[name]}={value}" for name, value in told.items() if not _has(plugin, name, value)]
        if spn and "spn" in plugin.takes and not _has(plugin, "spn", spn):
            words.append(f"{OWN_SPN}={spn}")
        elif named and "spn" in plugin.takes:
            words.append(f"{NAMED}={named}")
        try:
            path = executable(settings.folder, plugin.run)
        except ConfigError as error:
            notes.append(f"no plug-in for {plugin.port}: {error}")
            continue
        starts.append(Start(plugin.port, (path, *plugin.parameters, *words), plugin.states))
        untold -= told.keys()
    notes += [f"the file names a {name}, and no plug-in of this console takes it" for name in sorted(untold)]
    unknown = [port for port in wish.plug_ins or () if port not in known]
    notes += [f"the file wants a plug-in for {port}, and there is none" for port in unknown]
    return tuple(starts), tuple(notes)


def _fits(plugin: Plugin, console: Console) -> bool:
    """Whether every place fits: a file that names a trusted host could also name an untrusted proxy."""
    if console.wish.plug_ins is not None and plugin.port not in console.wish.plug_ins:
        return False
    return all(any(fits(place, pattern) for pattern in plugin.consoles) for place in console.places)


def _told(plugin: Plugin, wish: Wish) -> Iterator[tuple[str, str]]:
    if wish.port in ("", plugin.port):
        for name in plugin.takes:
            if value := getattr(wish, name):
                yield name, value


def _has(plugin: Plugin, name: str, value: str) -> bool:
    """Whether the parameters have this value already; raises ConfigError if they have another one."""
    options, found = (TAKES[name], *([OWN_SPN] if name == "spn" else [])), None
    for at, word in enumerate(plugin.parameters):
        given, equals, local = word.partition("=")
        # argparse accepts abbreviations, and the last option counts: a file must not override --sp either.
        if len(given) > 2 and any(option.startswith(given) for option in options):
            found = local if equals else "".join(plugin.parameters[at + 1 : at + 2])
            if found != value:
                raise ConfigError(f"the file's {name} is not the one that {plugin.port} has in viewer.toml")
    return found is not None
