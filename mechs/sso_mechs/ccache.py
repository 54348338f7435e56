"""The FILE credential cache, version 4 of its format (MIT krb5, "Credential cache file format")."""

import struct
from typing import NamedTuple

from sso.errors import MechanismError
from sso_mechs.principal import COMPONENTS_MAX, Principal

VERSION = 0x0504
DATA_MAX = 128 * 1024  # bytes of one field; some KDCs issue tickets larger than 64 KiB, which we cannot send
FILE_MAX = 1024 * 1024  # bytes of a cache file with all its tickets

# Version and size of what follows; type and number of components of a name; type of a key, an address or
# authorisation data; length of data, or number of addresses; four times, whether it is a user-to-user
# ticket, and its flags.
_HEAD, _NAME, _TYPE, _LENGTH, _TIMES = map(struct.Struct, (">HH", ">II", ">H", ">I", ">4IBI"))


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
    out = bytearray(_HEAD.pack(VERSION, 0))
    out += _principal(ticket.client) + _principal(ticket.client) + _principal(ticket.server)
    out += _TYPE.pack(ticket.key_type) + _data(ticket.key)
    out += _TIMES.pack(*times, 0, ticket.flags) + bytes(8)  # no addresses, no authorisation data
    return out + _data(ticket.ticket) + _data(b"")


def joined(entries: list[bytearray]) -> bytearray:
    """Join encoded credentials to a cache file and wipe them; the first client is the default principal."""
    head = _HEAD.pack(VERSION, 0) + entries[0][: _principal_size(entries[0])]
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
        version, head = reader.numbers(_HEAD)
        if version != VERSION:
            raise ValueError
        reader.take(head)
        reader.principal()
        tickets = []
        while reader.left:
            tickets.append(reader.ticket())
        return tickets
    except (ValueError, struct.error):
        raise MechanismError("no-ticket", "the credential cache cannot be read") from None


def ticket_granting(tickets: list[Ticket]) -> Ticket:
    """Return the TGT of the client's own realm. Raises MechanismError("no-ticket") when there is none."""
    for ticket in tickets:
        server = Principal(ticket.server)
        if server.is_own_tgt and server.realm == Principal(ticket.client).realm:
            return ticket
    raise MechanismError("no-ticket", "the credential cache holds no TGT")


def _data(octets: bytes | bytearray) -> bytes:
    return _LENGTH.pack(len(octets)) + bytes(octets)


def _principal(text: str) -> bytes:
    name = Principal(text)
    out = _NAME.pack(name.type, len(name.components)) + _data(name.realm.encode())
    return out + b"".join(_data(part.encode()) for part in name.components)


class _Reader:
    """Reads fields from the front, without a copy of the whole, which may be a secret.

    Raises struct.error or ValueError past the end or over a cap.
    """

    def __init__(self, octets: bytes | bytearray) -> None:
        self._octets, self._at = memoryview(octets), 0

    @property
    def left(self) -> int:
        return len(self._octets) - self._at

    def numbers(self, form: struct.Struct) -> tuple[int, ...]:
        found: tuple[int, ...] = form.unpack_from(self._octets, self._at)
        self._at += form.size
        return found

    def take(self, size: int) -> memoryview:
        if size > min(self.left, DATA_MAX):
            raise ValueError
        self._at += size
        return self._octets[self._at - size : self._at]

    def data(self) -> memoryview:
        return self.take(*self.numbers(_LENGTH))

    def principal(self) -> Principal:
        type, count = self.numbers(_NAME)
        if count > COMPONENTS_MAX:
            raise ValueError
        realm, *components = (str(self.data(), "utf-8") for _ in range(1 + count))
        return Principal.of(components, realm, type)

    def ticket(self) -> Ticket:
        client, server = self.principal(), self.principal()
        (key_type,) = self.numbers(_TYPE)
        key = bytearray(self.data())
        auth, start, end, renew, _, flags = self.numbers(_TIMES)
        for _ in range(2):  # skip addresses and authorisation data
            for _ in range(*self.numbers(_LENGTH)):
                self.numbers(_TYPE)
                self.data()
        ticket = bytes(self.data())
        self.data()
        return Ticket(client, server, key_type, key, auth, start, end, renew, flags, ticket)
