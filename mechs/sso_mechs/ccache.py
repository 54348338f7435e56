"""The FILE credential cache, version 4 of its format (MIT krb5, "Credential cache file format")."""

import struct
from typing import NamedTuple

from sso.errors import MechanismError
from sso_mechs.principal import COMPONENTS_MAX, Principal

VERSION = 0x0504
DATA_MAX = 128 * 1024  # bytes of one field; some KDCs issue tickets larger than 64 KiB, which we cannot send
FILE_MAX = 1024 * 1024  # bytes of a cache file with all its tickets


class Ticket(NamedTuple):
    """One credential: names as Principal writes them, times in seconds since the epoch, `ticket` the DER."""

    client: str
    server: str
    key_type: int
    key: bytearray
    auth_time: int
    start_time: int
    end_time: int
    renew_till: int
    flags: int
    ticket: bytes

    def __repr__(self) -> str:
        return f"<Ticket {self.client} for {self.server}>"


def write(ticket: Ticket) -> bytearray:
    """Build a cache file with one credential; its client is the default principal."""
    times = (ticket.auth_time, ticket.start_time, ticket.end_time, ticket.renew_till)
    out = bytearray(struct.pack(">HH", VERSION, 0))
    out += _principal(ticket.client) + _principal(ticket.client) + _principal(ticket.server)
    out += struct.pack(">H", ticket.key_type) + _data(ticket.key)
    out += struct.pack(">4IBIII", *times, 0, ticket.flags, 0, 0)
    return out + _data(ticket.ticket) + _data(b"")


def joined(entries: list[bytearray]) -> bytearray:
    """Join encoded credentials to a cache file and wipe them; the first client is the default principal."""
    head = struct.pack(">HH", VERSION, 0) + entries[0][: _principal_size(entries[0])]
    whole = bytearray(len(head) + sum(map(len, entries)))
    whole[: len(head)] = head
    end = len(head)
    for entry in entries:
        whole[end : end + len(entry)] = entry
        end += len(entry)
        entry[:] = bytes(len(entry))
    return whole


def _principal_size(octets: bytearray) -> int:
    """Length in bytes of the principal at the front: type, number of components, realm and components."""
    end = 8
    for _ in range(1 + min(int.from_bytes(octets[4:8], "big"), COMPONENTS_MAX)):
        end += 4 + int.from_bytes(octets[end : end + 4], "big")
    return end


def read(cache: bytes | bytearray) -> list[Ticket]:
    """Parse every credential of a cache file. Raises MechanismError("no-ticket") when it is malformed."""
    try:
        reader = _Reader(cache)
        if reader.number(2) != VERSION:
            raise ValueError
        reader.take(reader.number(2))
        reader.principal()
        tickets = []
        while reader.left():
            tickets.append(reader.ticket())
        return tickets
    except (ValueError, UnicodeDecodeError):
        raise MechanismError("no-ticket", "the credential cache cannot be read") from None


def ticket_granting(tickets: list[Ticket]) -> Ticket:
    """Return the TGT of the client's own realm. Raises MechanismError("no-ticket") when there is none."""
    for ticket in tickets:
        server = Principal(ticket.server)
        if server.is_own_tgt and server.realm == Principal(ticket.client).realm:
            return ticket
    raise MechanismError("no-ticket", "the credential cache holds no TGT")


def _data(octets: bytes | bytearray) -> bytes:
    return struct.pack(">I", len(octets)) + bytes(octets)


def _principal(text: str) -> bytes:
    name = Principal(text)
    out = struct.pack(">II", name.type, len(name.components)) + _data(name.realm.encode())
    return out + b"".join(_data(part.encode()) for part in name.components)


class _Reader:
    """Reads fields from the front. Raises ValueError past the end or over a cap."""

    def __init__(self, octets: bytes | bytearray) -> None:
        self._octets, self._at = bytes(octets), 0

    def left(self) -> int:
        return len(self._octets) - self._at

    def take(self, size: int) -> bytes:
        if size > min(self.left(), DATA_MAX):
            raise ValueError
        self._at += size
        return self._octets[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def data(self) -> bytes:
        return self.take(self.number(4))

    def principal(self) -> Principal:
        type, count = self.number(4), self.number(4)
        if count > COMPONENTS_MAX:
            raise ValueError
        realm = self.data().decode()
        return Principal.of([self.data().decode() for _ in range(count)], realm, type)

    def ticket(self) -> Ticket:
        client, server = self.principal(), self.principal()
        key_type, key = self.number(2), bytearray(self.data())
        auth, start, end, renew = (self.number(4) for _ in range(4))
        self.number(1)
        flags = self.number(4)
        for _ in range(2):  # skip addresses and authorisation data
            for _ in range(self.number(4)):
                self.number(2)
                self.data()
        ticket = self.data()
        self.data()
        return Ticket(client, server, key_type, key, auth, start, end, renew, flags, ticket)
