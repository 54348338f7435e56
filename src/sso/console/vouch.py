"""Decides by one rule whether something vouches that this console shows that guest. No I/O. See SECURITY.md.

A sign-on needs console and guest vouched for together: by the user who typed both, by a table [[console]] of
viewer.toml that names both, by signatures that are trusted here, or by the user's yes. And a console counts
only if its connections are authenticated.
"""

import re
from collections.abc import Iterable, Sequence
from enum import Enum, IntEnum, StrEnum
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import NamedTuple

# A ticket of Proxmox' SPICE proxy instead of a host: time, machine, node, signature. Nothing may follow it:
# some resolvers look up `...:node1::x.evil.org`, and a certificate for *.evil.org fits that name.
_PVE_TICKET = re.compile(r"pvespiceproxy:[0-9a-fA-F]+:([0-9]+):([A-Za-z0-9._-]+)::[0-9a-fA-F]+")
_BRACKETS = re.compile(r"\[[^]]*\]")


class Proof(StrEnum):
    """What authenticates one connection, in words for the user."""

    LOCAL = "TLS, by the certificate authorities of this machine"
    SIGNED = "TLS, as a trusted key has signed"
    PROXY = "the certificate of the https proxy"
    SOCKET = "a socket of your own or of root"
    PLAIN = "nothing (plain TCP)"
    CLAIMED = "only what the file says itself"
    STRANGERS = "nothing (a socket that others may change)"


class Strength(IntEnum):
    """How well all connections together are authenticated: the weakest counts."""

    NOTHING = 0
    ALLOWED = 1  # plain TCP that a local table allows
    PROVEN = 2


class Leg(NamedTuple):
    """One connection, to the console or to its stream: host (or a socket's path), port, proxy, and proof.

    `host` is as given. `subject` is the certificate's, if that is checked instead of the host.
    """

    host: str
    port: int
    proxy: str
    proof: Proof
    subject: str = ""
    proxy_port: int = 0

    @property
    def stable(self) -> str:
        """The host without a one-time ticket, and whether only its proxy proves it; stable between runs."""
        where = place(self.host)
        rests = "by its https proxy" if self.proof is Proof.PROXY else ""
        host = where if where.startswith("/") else where.lower()
        return " ".join(filter(None, (host, machine(self.host), self.subject, rests)))


class ConsoleTable(NamedTuple):
    """A table [[console]] of the configuration: patterns of places and services that belong together.

    `services` are patterns of SPNs, tls/NAME, or sha256:HEX. `ca` is a file (or its text) and `subject` a
    pattern; both check TLS to these places. `plain`: plain TCP counts.
    """

    places: tuple[str, ...]
    services: tuple[str, ...] = ()
    ca: str = ""
    subject: str = ""
    plain: bool = False

    def fits(self, where: str) -> bool:
        """Whether a place (see `place`) fits one of the table's patterns."""
        return any(fits(where, pattern) for pattern in self.places)


def place(host: str) -> str:
    """Return what patterns of hosts are compared with: the host, or the node in a one-time ticket."""
    found = _PVE_TICKET.fullmatch(host)
    return found[2] if found else host


def machine(host: str) -> str:
    """Return the machine's number in a one-time ticket, or ""."""
    found = _PVE_TICKET.fullmatch(host)
    return f"machine {found[1]}" if found else ""


def places(legs: Iterable[Leg]) -> tuple[str, ...]:
    """Return every host, or path of a socket, that can see the data."""
    return tuple(where for leg in legs for where in (place(leg.host), leg.proxy) if where)


def fits(where: str, pattern: str) -> bool:
    """Whether a pattern fits a place: an exact path, or a host in upper or lower case.

    A pattern with a wildcard in its last label fits only IP addresses, and hosts without a dot: otherwise
    node* and 10.0.0.* would also fit node1.evil.org and 10.0.0.evil.org. `*` fits everything.
    """
    if where.startswith("/"):
        return fnmatchcase(where, pattern)
    is_open = says_something(pattern) and set("*?[") & set(pattern.rpartition(".")[2])
    outside = is_open and "." in where and not _is_number(where)
    return fnmatchcase(where.lower(), pattern.lower()) and not outside


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def says_something(pattern: str) -> bool:
    """Whether a pattern of places names something in particular: `*` does not."""
    return any(map(str.isalnum, _BRACKETS.sub("", pattern)))


def service_says_something(pattern: str) -> bool:
    """Whether a pattern of services names something in particular: `host/*` does not."""
    kind, slash, rest = pattern.partition("/")
    return says_something(rest.partition("@")[0] if slash else kind)


def named(where: Sequence[str], patterns: Iterable[str]) -> bool:
    """Whether every place fits a pattern that names something in particular."""
    telling = [pattern for pattern in patterns if says_something(pattern)]
    return bool(where) and all(any(fits(one, pattern) for pattern in telling) for one in where)


def names_service(identity: Sequence[str], patterns: Iterable[str]) -> bool:
    """Whether every name fits a pattern for something in particular; a realm has to be in both or none."""
    telling = [pattern for pattern in patterns if service_says_something(pattern)]
    return bool(identity) and all(
        any(("@" in pattern) == ("@" in name) and fnmatchcase(name, pattern) for pattern in telling)
        for name in identity
    )


def by_table(tables: Iterable[ConsoleTable], legs: Sequence[Leg], identity: Sequence[str]) -> bool:
    """Whether one table names every place and the identity together."""
    where = places(legs)
    return any(named(where, table.places) and names_service(identity, table.services) for table in tables)


def the_one_service(tables: Iterable[ConsoleTable], legs: Sequence[Leg]) -> str:
    """Return the SPN of a console without one, if the tables that name it have exactly one, not a pattern."""
    where = places(legs)
    found = {
        service
        for table in tables
        if named(where, table.places)
        for service in (table.services if len(table.services) == 1 else ("*", "?"))
    }
    (service, *more) = found or ("*",)
    is_spn = "/" in service and not service.startswith("tls/") and not set("*?[") & set(service)
    return service if is_spn and not more else ""


def anchor(tables: Iterable[ConsoleTable], where: str, claimed: str) -> tuple[ConsoleTable, str] | None:
    """Return the first table whose CA checks TLS to a place, and the subject to check ("": the host's name).

    `claimed` is the subject that a file asks for: it may choose one that the table's pattern allows.
    """
    for table in tables:
        if table.ca and table.fits(where):
            literal = not set("*?[") & set(table.subject)
            if claimed and table.subject and fnmatchcase(claimed, table.subject):
                return table, claimed
            if not claimed and literal:
                return table, table.subject
    return None


_WORTH = {
    Proof.LOCAL: Strength.PROVEN,
    Proof.SIGNED: Strength.PROVEN,
    Proof.PROXY: Strength.PROVEN,
    Proof.SOCKET: Strength.PROVEN,
    Proof.PLAIN: Strength.NOTHING,
    Proof.CLAIMED: Strength.NOTHING,
    Proof.STRANGERS: Strength.NOTHING,
}


def strength(tables: Sequence[ConsoleTable], legs: Sequence[Leg]) -> Strength:
    """Return the strength of all connections together; plain TCP needs a local table with `plain`."""

    def worth(leg: Leg) -> Strength:
        plain = leg.proof is Proof.PLAIN and any(
            table.plain and named(places([leg]), table.places) for table in tables
        )
        return Strength.ALLOWED if plain else _WORTH[leg.proof]

    return min(map(worth, legs), default=Strength.NOTHING)


# The rule


class Ruling(Enum):
    """What to do with a plug-in whose port is open."""

    START = "start"
    ASK = "ask"
    REFUSE = "refuse"


class Facts(NamedTuple):
    """The input of the rule.

    `typed`: the user typed address and service together. `identity`: it is known which guest is meant; None
    for a plug-in that signs nobody in. `table`, `entry`, `opening`: this vouches for console and guest
    (`table` for a plug-in without identity: its own `consoles` name the console). `agreed`: the user said yes
    to exactly this question now; `remembered`: before.
    """

    typed: bool
    strength: Strength
    identity: bool | None
    table: bool
    entry: bool
    opening: bool
    agreed: bool
    remembered: bool


NOBODY_NAMED = "nothing names this guest's service: give it with --spn, or in a [[console]] of viewer.toml"
NOT_PROVEN = "nothing that counts proves which console this is"
NOT_NAMED = "viewer.toml does not name this console for this plug-in"
NOBODY_VOUCHES = "nobody vouches that this console shows that guest"


def rule(facts: Facts) -> tuple[Ruling, str]:
    """Return the decision, and the reason for the user. The first line that fits counts."""
    yes = facts.agreed or (facts.remembered and facts.strength is Strength.PROVEN)
    lines = (
        (facts.typed and facts.identity is not False, Ruling.START, ""),
        (facts.identity is False, Ruling.REFUSE, NOBODY_NAMED),
        (facts.strength is Strength.NOTHING, Ruling.REFUSE, NOT_PROVEN),
        (facts.table, Ruling.START, ""),
        (facts.identity is None, Ruling.REFUSE, NOT_NAMED),
        (facts.entry and facts.opening, Ruling.START, ""),
        (yes, Ruling.START, ""),
        (True, Ruling.ASK, NOBODY_VOUCHES),
    )
    return next((ruling, why) for fits, ruling, why in lines if fits)


# The yes


class Agreement(NamedTuple):
    """What the user agreed to, in the form that is remembered: no ports, no one-time names.

    With a signed entry, `guest` replaces console, proxy and stream.
    """

    guest: str
    console: str
    proxy: str
    stream: str
    service: str
    principal: str


def agreement(legs: Sequence[Leg], identity: Sequence[str], principal: str, guest: str = "") -> Agreement:
    """Return the agreement for these connections; `guest` is the UUID of an entry that counts."""
    service = " ".join(identity)
    if guest:
        return Agreement(guest, "", "", "", service, principal)
    console, *rest = legs
    stream = rest[0].stable if rest else ""
    return Agreement("", console.stable, console.proxy.lower(), stream, service, principal)


class Question(NamedTuple):
    """The question for the user: rows of a name and the real value."""

    rows: tuple[tuple[str, str], ...]
    remembered: bool


TICKET = {
    "no": "stays here",
    "policy": "goes along if the KDC lets this service have it",
    "always": "goes along",
}


def question(
    legs: Sequence[Leg], identity: Sequence[str], principal: str, ticket: str, worth: Strength
) -> Question:
    """Return the full question, with names as they are used on the network, and no text of a file.

    `ticket` is a key of TICKET.
    """
    rows = []
    for name, leg in zip(("Console", "Stream"), legs, strict=False):
        rows.append((name, _where(leg)))
        if leg.proxy:
            rows.append((f"{name}'s proxy", _with_port(shown(leg.proxy), leg.proxy_port)))
        if leg.subject:
            rows.append(("Certificate", shown(leg.subject)))
        rows.append(("Authenticated by", leg.proof.value))
    rows.append(("Service of the guest", shown(" and ".join(identity))))
    rows.append(("You sign in as", shown(principal)))
    rows.append(("Your ticket", TICKET[ticket]))
    return Question(tuple(rows), remembered=worth is Strength.PROVEN)


def _where(leg: Leg) -> str:
    host, number = shown(place(leg.host)), machine(leg.host)
    where = _with_port(host, leg.port)
    return f"{where} ({number}, as the file says)" if number else where


def _with_port(host: str, port: int) -> str:
    return f"{f'[{host}]' if ':' in host else host}:{port}" if port else host


def shown(text: str) -> str:
    """Return a name that looks like no other name: in punycode, or with escapes for non-ASCII characters."""
    if text.isascii():
        return text if text.isprintable() else ascii(text)[1:-1]
    try:
        return text.encode("idna").decode("ascii")
    except UnicodeError:
        return ascii(text)[1:-1]
