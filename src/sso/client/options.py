"""Options and configuration of spice-client-sso, and the policy that comes of them."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sso.client.flags import FLAG, OPTIONS, STRANGERS, SWITCH, SYSTEM_CONFIG, VERBOSE
from sso.client.halves import NO_TABLES, Tables
from sso.errors import ConfigError
from sso.mech import KEY_MAX, Table, table_value
from sso.policy import ORDER, SASL_CONF, TLS, ClientPolicy, Source
from sso.settings import Option, checked, own_config, read, take_tables

PIN_PREFIX = "sha256:"
_SWITCHES = ("trust-any-spn", "offer-tgt", "send-ticket", "password", "stay")
# Never granted to a guest named only by a .vv file, unless a [[guest]] table matches.
_GENEROUS = ("trust-any-spn", "offer-tgt", "send-ticket", "password", "mechanisms")
DIGITS_MAX = 9  # of a descriptor's number
_TEXTS = ("require", "tls-name", "tls-ca", "user")
_LISTS = ("tls-pin", "allowed-spn")
_FILE_LISTS = ("mechanisms",)  # of the files alone
_SETTINGS = {
    key: Option(kind)
    for kind, keys in ((bool, _SWITCHES), (str, _TEXTS), (tuple, (*_LISTS, *_FILE_LISTS)))
    for key in keys
}
GUESTS_MAX = 4096  # tables [[guest]] of a file


class Options(NamedTuple):
    """Everything a run needs: the port, the policy, where a password comes from, whether it stays."""

    port: str
    policy: ClientPolicy
    user: str
    password_fd: int | None
    keyring: bool
    ccache: str | None
    stay: bool
    status_fd: int | None
    verbose: int
    preview: bool = False
    tables: Tables = NO_TABLES  # [mechanism.NAME]

    @property
    def progress(self) -> Callable[[str], None]:
        """What reports each step to the user; says nothing without --verbose."""
        return complain if self.verbose else lambda text: None


def parse(arguments: list[str] | None = None) -> Options:
    """Read the command line and the configuration files.

    Raises ConfigError that names the option or the file and key to mend; wrong usage exits with 2.
    """
    words = sys.argv[1:] if arguments is None else arguments
    given = plain(words) or _by_argparse(words)
    settings = _settings(given)
    trusted = tuple(_pin(text, "--tls-pin") for text in settings.get("tls-pin", []))
    policy = ClientPolicy(
        require=str(settings.get("require", "")),
        tls_name=str(settings.get("tls-name", "")),
        tls_ca=str(settings.get("tls-ca", "")),
        tls_pins=_narrowed(trusted, given["only_pin"]),
        spn=given["spn"] or given["asked_spn"] or "",
        named=_source(given),
        only_for=given["for"] or "",
        spn_patterns=tuple(settings.get("allowed-spn", ClientPolicy().spn_patterns)),
        trust_any_spn=bool(settings.get("trust-any-spn", False)),
        offer_tgt=bool(settings.get("offer-tgt", False)),
        send_ticket=bool(settings.get("send-ticket", False)),
        password=bool(settings.get("password", False)),
        mechanisms=_order(settings.get("mechanisms", ORDER)),
    )
    _check(policy)
    fd = given["status_fd"]
    if fd is not None and (given["port"] == f"fd:{fd}" or (given["port"] == "stdio" and fd in (0, 1))):
        raise ConfigError(f"--status-fd {fd} is the port itself: open another one")
    return Options(
        port=given["port"],
        policy=policy,
        user=str(settings.get("user", "")),
        password_fd=given["password_fd"],
        keyring=given["keyring"],
        ccache=given["ccache"],
        stay=bool(settings.get("stay", False)),
        status_fd=given["status_fd"],
        verbose=given["verbose"],
        preview=given["preview"],
        tables=settings.get("mechanism", NO_TABLES),
    )


def _source(given: dict[str, Any]) -> Source:
    """Where the service's name came from; a file that names none is no less a stranger's than another."""
    if given["named"]:
        return Source(given["named"])
    return Source.TYPED if given["asked_spn"] is None else Source.FILE


def _order(names: Sequence[Any]) -> tuple[str, ...]:
    good = names and len(set(map(str, names))) == len(names)
    if not good or not all(isinstance(name, str) and 0 < len(name) <= KEY_MAX for name in names):
        raise ConfigError('mechanisms: write a list of names, each once, such as ["GSSAPI", "password"]')
    return tuple(names)


def _tables(path: str, given: object) -> dict[str, Table]:
    """The tables [mechanism.NAME] of one file: their shape; what the keys mean, the mechanism declares."""
    if not isinstance(given, dict) or not all(isinstance(table, dict) for table in given.values()):
        raise ConfigError(f"{path}: mechanism: write its settings below [mechanism.NAME]")
    try:
        return {
            name: {key: table_value(name, key, value) for key, value in table.items()}
            for name, table in given.items()
        }
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _check(policy: ClientPolicy) -> None:
    if policy.require not in ("", TLS, SASL_CONF):
        raise ConfigError(f"require: '{policy.require}' is not one of {TLS}, {SASL_CONF}")
    if policy.tls_ca and not policy.tls_name:
        raise ConfigError("--tls-ca alone accepts every guest that the CA ever signed: add --tls-name")
    if policy.required == TLS and not policy.wants_tls:
        raise ConfigError("--require tls needs --tls-name or --tls-pin: an unverified TLS protects nobody")
    if policy.password and not policy.wants_tls:
        raise ConfigError(
            "--password needs --tls-name or --tls-pin: a password goes only through verified TLS"
        )
    if policy.offer_tgt and policy.trust_any_spn:
        raise ConfigError(
            "--offer-tgt and --trust-any-spn together would give the TGT to any guest: choose one"
        )


def plain(words: Sequence[str]) -> dict[str, Any] | None:
    """Return what argparse would, if every option is written out and well-formed; else None.

    To load and fill argparse takes a tenth of a login; it is loaded only for what it alone can do.
    """
    table = {flag: settings for flag, settings, _ in OPTIONS}
    given: dict[str, Any] = {_name(flag): settings.get("default") for flag, settings in table.items()}
    given["verbose"] = 0
    rest = iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        if word in VERBOSE:
            given["verbose"] += 1
        elif flag not in table:
            return None
        elif table[flag] in (FLAG, SWITCH):
            if equals:
                return None
            given[_name(flag)] = True
        elif not _take(given, flag, table[flag], value if equals else next(rest, "")):
            return None
    return given


def _take(given: dict[str, Any], flag: str, settings: dict[str, Any], value: str) -> bool:
    """Take the value of one option; False for one that is argparse's to judge."""
    if value[:1] in ("", "-") or value not in settings.get("choices", (value,)):
        return False
    number = settings.get("type") is int
    if number and not (value.isascii() and value.isdigit() and len(value) <= DIGITS_MAX):
        return False
    name, found = _name(flag), int(value) if number else value
    given[name] = [*(given[name] or ()), found] if settings.get("action") == "append" else found
    return True


def _name(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _by_argparse(words: Sequence[str]) -> dict[str, Any]:
    from sso.client.usage import parser

    return vars(parser().parse_args(words))


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """Configuration files first, the command line on top."""
    settings: dict[str, Any] = {}
    if given["spn"] and given["asked_spn"]:
        raise ConfigError("--spn and --asked-spn: give one of them")
    asked = _source(given) in STRANGERS
    if given["asked_spn"] is not None and not asked:
        raise ConfigError(f"--asked-spn and --named {given['named']}: a connection file's word is no other's")
    if not given["no_config"]:
        paths = [given["config"]] if given["config"] else [SYSTEM_CONFIG, own_config("client.toml")]
        for path in paths:
            spn = given["spn"] or given["asked_spn"] or ""
            settings.update(_read(path, spn, must_exist=bool(given["config"]), generous=not asked))
    for key in (*_SWITCHES, *_TEXTS, *_LISTS):
        value = given[_name(key)]
        if value is not None and not (asked and key in _GENEROUS):
            settings[key] = value
    return settings


def _read(path: str, spn: str, must_exist: bool, generous: bool) -> dict[str, Any]:
    """One TOML file: keys for every guest, and tables [[guest]] for those whose `spn` pattern fits.

    Without `generous` only those keys for every guest count that grant nothing.
    """
    try:
        content = read(path)
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(f"{path}: no such file") from None
        return {}
    try:
        guests = take_tables(content, "guest", GUESTS_MAX)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    tables = _tables(path, content.pop("mechanism", {}))
    settings = _known(path, content)
    if not generous:
        settings = {key: value for key, value in settings.items() if key not in _GENEROUS}
    from fnmatch import fnmatchcase

    for guest in guests:
        pattern = guest.pop("spn", None)
        if not isinstance(pattern, str):
            raise ConfigError(f'{path}: every [[guest]] needs spn = "PATTERN"')
        entry = _known(path, guest)
        if spn and fnmatchcase(spn, pattern):
            settings.update(entry)
    return settings | ({"mechanism": tables} if tables else {})


def _known(path: str, content: dict[str, Any]) -> dict[str, Any]:
    return checked(content, _SETTINGS, f"{path}: ", "unknown key '{key}'; known are {known}")


def _pin(text: Any, option: str) -> bytes:
    digits = str(text).removeprefix(PIN_PREFIX)
    try:
        pin = bytes.fromhex(digits)
    except ValueError:
        pin = b""
    if len(pin) != 32 or not str(text).startswith(PIN_PREFIX):
        raise ConfigError(f"{option} has to be sha256: and 64 hexadecimal digits (openssl: see the manual)")
    return pin


def _narrowed(pins: tuple[bytes, ...], only: str | None) -> tuple[bytes, ...]:
    """Return the pins that count: a stranger may choose among those trusted here, and never add one."""
    if only is None:
        return pins
    if _pin(only, "--only-pin") not in pins:
        raise ConfigError(
            "--only-pin: the configuration has no such tls-pin for this guest:"
            " add it to client.toml, if you trust where it comes from"
        )
    return (_pin(only, "--only-pin"),)


def complain(text: str, hint: str = "") -> None:
    """One line for a person on stderr: with the program's name, no capital, no period."""
    from sso.printable import escaped  # late: most runs have nothing to say

    print(f"spice-client-sso: {escaped(text)}", file=sys.stderr)
    if hint:
        print(f"spice-client-sso: hint: {escaped(hint)}", file=sys.stderr)
