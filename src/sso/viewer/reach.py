"""Says how to reach a console and its stream, and what proves each connection; sso.console.vouch decides."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sso import trusted
from sso.console.console import SPICE, Console, place, proxy_place
from sso.console.vouch import ConsoleTable, Leg, Proof, anchor
from sso.console.vouch import place as node
from sso.errors import ConfigError


class Reach(NamedTuple):
    """A console with the CA that checks it.

    `by_table`, `stream_by_table`: a local table gave the CA of the console, or of its stream. `own_ca`: the
    user named the CA. `signed_ca`: a signature that counts names CA and subject.
    """

    console: Console
    by_table: bool = False
    stream_by_table: bool = False
    own_ca: bool = False
    signed_ca: bool = False
    notes: tuple[str, ...] = ()


def anchored(console: Console, tables: Sequence[ConsoleTable]) -> Reach:
    """Return the console with CA and subject from a local table, instead of those of the file.

    If no table has all of it, the console stays unchanged: it opens, but its connection proves nothing.
    """
    tables, notes = _readable(tables)
    # A table with a subject is for consoles: the certificate of a stream has to name the host.
    plain_tables = [table for table in tables if not table.subject]
    of_console = anchor(tables, node(console.host), console.host_subject) if has_tls(console) else None
    of_stream = anchor(plain_tables, console.stream_host, "") if _is_tls(console.wish.stream) else None
    ours = console._replace(stream_ca=of_stream[0].ca if of_stream else console.ca)
    if of_console:
        ours = ours._replace(ca=of_console[0].ca, host_subject=of_console[1])
    return Reach(ours, by_table=bool(of_console), stream_by_table=bool(of_stream), notes=notes)


def legs(reach: Reach) -> tuple[Leg, ...]:
    """Return the connections. The owner of a socket is checked on each call, since it may have changed."""
    streams = [_stream_leg(reach)] if reach.console.wish.stream else []
    return (_console_leg(reach), *streams)


def has_tls(console: Console) -> bool:
    """Whether the console's own connection is TLS."""
    return console.kind == SPICE and bool(console.tls_port)


def _is_tls(stream: str) -> bool:
    return stream.startswith("tls:")


def _console_leg(reach: Reach) -> Leg:
    console = reach.console
    if console.unix_path:
        return _socket(console.unix_path)
    subject = console.host_subject if has_tls(console) else ""
    # gtk-vnc never uses a proxy, even if the file names one.
    proxy = proxy_place(console.proxy) if console.kind == SPICE and console.proxy else ("", 0)
    own_word = Proof.PROXY if proxy[0] and console.proxy.startswith("https://") else Proof.CLAIMED
    proof: Proof
    if not has_tls(console):
        proof = own_word if own_word is Proof.PROXY else Proof.PLAIN
    elif reach.by_table or ((reach.own_ca or not console.ca) and not subject):
        proof = Proof.LOCAL
    else:
        proof = Proof.SIGNED if reach.signed_ca else own_word
    return Leg(console.host, console.tls_port or console.port, proxy[0], proof, subject, proxy[1])


def _stream_leg(reach: Reach) -> Leg:
    console = reach.console
    kind, _, rest = console.wish.stream.partition(":")
    if kind == "unix":
        return _socket(rest)
    if kind == "tcp":
        proof = Proof.PLAIN
    elif reach.stream_by_table or reach.own_ca or not console.stream_ca:
        proof = Proof.LOCAL
    else:
        # If a table replaced the console's CA, the stream still uses the file's CA: compare the two.
        signed = reach.signed_ca and (console.stream_ca or "").split() == console.ca.split()
        proof = Proof.SIGNED if signed else Proof.CLAIMED
    return Leg(*place(rest, "stream"), "", proof)


def _readable(tables: Sequence[ConsoleTable]) -> tuple[list[ConsoleTable], tuple[str, ...]]:
    """Return the tables with a CA, the PEM text in place of its path, and lines about unreadable ones."""
    found: list[ConsoleTable] = []
    notes: list[str] = []
    for table in tables:
        if table.ca:
            try:
                found.append(table._replace(ca=pem(table.ca)))
            except ConfigError as error:
                notes.append(f"[[console]] ca: {error}")
    return found, tuple(notes)


def pem(path: str) -> str:
    """Return the PEM text of a file; raises ConfigError if the file holds no certificate."""
    try:
        text = Path(path).read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or 'it is no PEM file'}") from None
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise ConfigError(f"{path}: it is no PEM file")
    return text


def _socket(path: str) -> Leg:
    return Leg(path, 0, "", Proof.SOCKET if is_own_socket(path) else Proof.STRANGERS)


def is_own_socket(path: str) -> bool:
    """Whether `path` is a socket of root or the caller that no other user could replace."""
    try:
        return stat.S_ISSOCK(os.stat(trusted.resolved(path)).st_mode)
    except (OSError, ConfigError):
        return False
