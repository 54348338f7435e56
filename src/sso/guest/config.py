"""guest.toml: every option of the guest, checked, as one frozen object (data/guest.toml is an example).

port             "virtio:spice.sso.0"   where the client's bytes come from: virtio:NAME, /dev/PATH,
                                        unix:/PATH, tcp:HOST:PORT, fd:N or stdio
mechanisms       ["TLS", "GSSAPI", "kerberos"]   what is loaded at all; add "password" to take it
spn              host/NAME              the one service name that Kerberos accepts; the default takes
                                        this machine's name, which needs a dot
keytab           "/etc/console-sso/acceptor.keytab"   the key of `spn`, readable by `acceptor_user`
tls_certificate  ""                     certificate and chain, PEM; "" = no TLS
tls_key          ""                     its key, PEM; "" = it is in the certificate's file
require_tls      false                  take nothing outside TLS, not even Kerberos' own layer
channel_user     "sso-agent"            who the process at the port becomes
acceptor_user    "sso-acceptor"         who the process with the keytab becomes; not the same
login            "auto"                 the login driver: getty, greetd, lightdm, gdm, sddm, another one's
                                        name, or "auto": what display-manager.service is, else getty
service          ""                     the PAM service of the login screen; "" = the driver's own
tty              "tty1"                 the terminal of a text login, without /dev/
login_cgroup     "/system.slice/"       below which cgroup login screens run, checked where systemd
                                        runs; "" = not checked
pam_socket       "/run/console-sso/pam.sock"     where the PAM module asks
getty_socket     "/run/console-sso/getty.sock"   where sso-getty waits for its word
greeter_socket   "/run/console-sso/greeter.sock"   where greetd's greeter waits for its word
greeter_user     "_greetd"              who runs that greeter
verdict_socket   "/run/console-sso/verdict.sock"   where lockers ask that run as the user
lockers          ["kde", "i3lock", ...] their PAM services
channel_socket   "/run/console-sso/channel.sock"    where the process at the port finds the agent
acceptor_socket  "/run/console-sso/acceptor.sock"   where the process with the keytab does
accept_identity  false                  sign in who was authenticated by GSSAPI and brought no ticket
min_uid          1000                   accounts below are never signed in; root never is
allowed_groups   []                     only members of one of these; [] = everybody
grant_seconds    30                     how long a login screen may take, 1 to 60 (a client waits 40)
disconnect       "lock"                 what happens when the client leaves: "lock", "nothing", or
                                        "log-off" (locked at once, ended after the grace)
grace_seconds    60                     how long a session is kept for its user to come back, 0 to 86400
park_tickets     false                  take the ticket away while the client is gone
ticket_store     "file"                 where the ticket lies: "file", one of the session's own, or
                                        "default", where krb5.conf says (FILE, DIR, KCM)
[mechanism.NAME]                        the settings of a mechanism that is not ours, as it declares them, and
                                        accept_identity, as above, for this one
"""

import re
import socket
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from sso import settings
from sso.errors import ConfigError
from sso.guest.fields import fits
from sso.mech import OURS, Table, table_value
from sso.settings import Check, Option, checked, write
from sso.spn import is_spn

GRANT_SECONDS_MAX = 60
GRACE_MAX = 86400
GROUP_SIZE = 256  # bytes of a group's name, and one more
OWN_FILE, DEFAULT = STORES = ("file", "default")
LOCK, NOTHING, LOG_OFF = ACTIONS = ("lock", "nothing", "log-off")
GSSAPI = "GSSAPI"
NO_TABLES: Mapping[str, Table] = MappingProxyType({})
MECHANISMS_MAX = 16  # the protocol names no more of either kind: a client would refuse the whole list
KEYS_MAX = 64  # of a table [mechanism.NAME]
PATH_MAX = 107  # bytes of a socket's path (unix(7))


class GuestConfig(NamedTuple):
    """The options of guest.toml; this module's docstring says what each means."""

    port: str = "virtio:spice.sso.0"
    mechanisms: tuple[str, ...] = ("TLS", "GSSAPI", "kerberos")
    spn: str = ""
    keytab: str = "/etc/console-sso/acceptor.keytab"
    tls_certificate: str = ""
    tls_key: str = ""
    require_tls: bool = False
    channel_user: str = "sso-agent"
    acceptor_user: str = "sso-acceptor"
    login: str = "auto"
    service: str = ""
    tty: str = "tty1"
    login_cgroup: str = "/system.slice/"
    pam_socket: str = "/run/console-sso/pam.sock"
    getty_socket: str = "/run/console-sso/getty.sock"
    greeter_socket: str = "/run/console-sso/greeter.sock"
    greeter_user: str = "_greetd"
    verdict_socket: str = "/run/console-sso/verdict.sock"
    lockers: tuple[str, ...] = ("kde", "i3lock", "swaylock", "xscreensaver")
    channel_socket: str = "/run/console-sso/channel.sock"
    acceptor_socket: str = "/run/console-sso/acceptor.sock"
    accept_identity: bool = False
    min_uid: int = 1000
    allowed_groups: tuple[str, ...] = ()
    grant_seconds: int = 30
    disconnect: str = "lock"
    grace_seconds: int = 60
    park_tickets: bool = False
    ticket_store: str = "file"
    mechanism: Mapping[str, Table] = NO_TABLES

    def table(self, mechanism: str) -> Table:
        """The settings of [mechanism.NAME]; what its keys mean, the mechanism declares."""
        table = self.mechanism.get(mechanism, {})
        return {key: value for key, value in table.items() if key != "accept_identity"}

    def accepts_identity(self, mechanism: str) -> bool:
        """Whether somebody is signed in without a secret whom this mechanism has verified."""
        if mechanism == GSSAPI:
            return self.accept_identity
        return self.mechanism.get(mechanism, {}).get("accept_identity") is True


# What a value has to look like, and how that is said.

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}")
_NAME_OR_NONE = re.compile(f"({_NAME.pattern})?")
_STORE = re.compile("|".join(STORES))
_ACTION = re.compile("|".join(ACTIONS))
_PORT = re.compile(r"stdio|fd:\d+|unix:/.+|tcp:.+:\d+|virtio:[^/\s]+|/dev/.+")
_TTY = re.compile(r"[A-Za-z0-9:][A-Za-z0-9:._/-]{0,62}")


def _matches(pattern: re.Pattern[str], words: str) -> Check:
    return write(words, pattern.fullmatch)


def _is_path(value: str) -> bool:
    return value.startswith("/") and value.isprintable() and ".." not in value.split("/")


def _are_names(value: tuple[str, ...]) -> bool:
    return len(set(value)) == len(value) and all(map(_NAME.fullmatch, value))


def _are_groups(value: tuple[str, ...]) -> bool:
    """Names as directories have them: blanks, as in "domain users", but no separator of group(5)."""
    good = (
        name and name == name.strip() and fits(name, GROUP_SIZE) and not set(name) & set(":,")
        for name in value
    )
    return len(set(value)) == len(value) and all(good)


_SOCKET = write(
    f"an absolute path of at most {PATH_MAX} bytes",
    lambda value: _is_path(value) and len(value.encode()) <= PATH_MAX,
)
_FILE_OR_NONE = write('an absolute path, or ""', lambda value: not value or _is_path(value))
_USER = _matches(_NAME, "the name of a user")

_CHECKS: dict[str, Check] = {
    "port": _matches(_PORT, "virtio:NAME, /dev/PATH, unix:/PATH, tcp:HOST:PORT, fd:N or stdio"),
    "mechanisms": write(
        f"a list of names, each once, at least one and at most {MECHANISMS_MAX}",
        lambda value: 1 <= len(value) <= MECHANISMS_MAX and _are_names(value),
    ),
    "spn": write("service/host, such as host/guest.example.org", is_spn),
    "keytab": write("an absolute path", _is_path),
    "tls_certificate": _FILE_OR_NONE,
    "tls_key": _FILE_OR_NONE,
    "channel_user": _USER,
    "acceptor_user": _USER,
    "login": _matches(_NAME, "the name of a login driver, such as getty"),
    "service": _matches(_NAME_OR_NONE, 'the name of a PAM service, such as login, or ""'),
    "tty": _matches(_TTY, "a terminal without /dev/, such as tty1"),
    "login_cgroup": write(
        'a cgroup such as /system.slice/, or ""', lambda value: not value or _is_path(value)
    ),
    "pam_socket": _SOCKET,
    "getty_socket": _SOCKET,
    "greeter_socket": _SOCKET,
    "greeter_user": _USER,
    "verdict_socket": _SOCKET,
    "lockers": write("a list of names, each once", _are_names),
    "channel_socket": _SOCKET,
    "acceptor_socket": _SOCKET,
    "min_uid": write("a number from 1 on: root is never signed in", lambda value: 1 <= value < 2**32 - 1),
    "allowed_groups": write("a list of names of groups, each once", _are_groups),
    "disconnect": _matches(_ACTION, '"lock", "nothing" or "log-off"'),
    "ticket_store": _matches(_STORE, '"file" or "default"'),
    "grace_seconds": write(f"a number of seconds, 0 to {GRACE_MAX}", lambda value: 0 <= value <= GRACE_MAX),
    "grant_seconds": write(
        f"a number, 1 to {GRANT_SECONDS_MAX}", lambda value: 1 <= value <= GRANT_SECONDS_MAX
    ),
}
_SETTINGS = {
    key: Option(type(default), _CHECKS.get(key)) for key, default in GuestConfig._field_defaults.items()
}


def load(path: str) -> GuestConfig:
    """Read and check a file.

    Raises ConfigError with the file, the key and what to write, for a file that is missing, that somebody
    else than root (or us) may change, that is no TOML, or that has an unknown key or a wrong value.
    """
    try:
        given = settings.read(path, guarded=True)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: {error.strerror}; data/guest.toml is an example") from None
    try:
        return parse(given)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse(given: Mapping[str, Any], hostname: Callable[[], str] = socket.gethostname) -> GuestConfig:
    """Check a table; raises ConfigError with the key and what to write."""
    options = {key: value for key, value in given.items() if key != "mechanism"}  # which of them are allowed?
    values = checked(options, _SETTINGS, unknown="{key}: there is no such option; write one of {known}")
    if "spn" not in values and "GSSAPI" in values.get("mechanisms", GuestConfig().mechanisms):
        values["spn"] = _own_spn(hostname())
    config = _with_tables(GuestConfig(**values), given.get("mechanism", {}))
    _check_together(config)
    return config


def _with_tables(config: GuestConfig, given: object) -> GuestConfig:
    """Add the tables [mechanism.NAME]. Their shape alone is checked: nothing here imports a mechanism."""
    if not isinstance(given, dict) or not all(isinstance(table, dict) for table in given.values()):
        raise ConfigError("mechanism: write its settings below [mechanism.NAME]")
    tables: dict[str, Table] = {}
    for name, table in given.items():
        if name not in config.mechanisms:
            raise ConfigError(f"[mechanism.{name}]: write {name} in mechanisms too")
        if name in OURS:
            raise ConfigError(f"[mechanism.{name}]: write the options of {name} above all tables")
        if len(table) > KEYS_MAX:
            raise ConfigError(f"[mechanism.{name}]: write at most {KEYS_MAX} keys")
        tables[name] = {key: table_value(name, key, value) for key, value in table.items()}
        if not isinstance(tables[name].get("accept_identity", False), bool):
            raise ConfigError(f"[mechanism.{name}] accept_identity: write true or false")
    return config._replace(mechanism=tables)


def _own_spn(name: str) -> str:
    # A name without a dot is in no keytab, and asking DNS would let DNS choose.
    if "." not in name or not is_spn(f"host/{name}"):
        raise ConfigError("spn: write service/host of your keytab, such as host/guest.example.org")
    return f"host/{name.lower()}"


def _check_together(config: GuestConfig) -> None:
    tls = bool(config.tls_certificate) and "TLS" in config.mechanisms
    if config.tls_key and not config.tls_certificate:
        raise ConfigError("tls_certificate: write its path too: a key alone is no TLS")
    if config.require_tls and not tls:
        raise ConfigError('require_tls: write tls_certificate and "TLS" in mechanisms, or false')
    if "password" in config.mechanisms and not tls:
        raise ConfigError('mechanisms: write "TLS" beside "password", and tls_certificate')
    if config.channel_user == config.acceptor_user:
        raise ConfigError("acceptor_user: write another user than channel_user, who must not read the keytab")
    paths: dict[str, str] = {}
    for name in (field for field in GuestConfig._fields if field.endswith("_socket")):
        other = paths.setdefault(getattr(config, name), name)
        if other != name:
            raise ConfigError(f"{name}: write another path than that of {other}")
