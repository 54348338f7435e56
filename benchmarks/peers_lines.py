"""The framing core's peers for small messages, each at its own wire and tuned for it.

A peer that only splits lines is marked so: it does less than we do. What else differs says
docs/performance.md.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from peers import OURS, STDLIB, Make, Read, library

hiredis, httptools, msgspec = map(library, ("hiredis", "httptools", "msgspec"))
receivebuffer = library("h11._receivebuffer")
threaded = library("serial.threaded")
basic = library("twisted.protocols.basic")

Words = tuple[str, ...]


class Peer(NamedTuple):
    """How it is made, how a message reads at its wire, and what it must give for one."""

    make: Make
    wire: Callable[[Words], bytes]
    result: Callable[[Words], Any]


def line(words: Words, end: bytes = b"\n") -> bytes:
    return " ".join(words).encode() + end


def crlf_line(words: Words) -> bytes:
    return line(words, b"\r\n")


def resp(words: Words) -> bytes:
    """An array of bulk strings, as Redis speaks."""
    strings = b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)
    return b"*%d\r\n%s" % (len(words), strings)


def http_request(words: Words) -> bytes:
    """A request without headers; the connection stays."""
    return b"GET %s HTTP/1.1\r\n\r\n" % http_target(words)


def http_target(words: Words) -> bytes:
    return b"/" + "/".join(words[1:]).encode()


def json_line(words: Words) -> bytes:
    octets: bytes = msgspec.json.encode(words)
    return octets + b"\n"


def by_hiredis(encoding: str | None) -> Read:
    reader = hiredis.Reader(encoding=encoding) if encoding else hiredis.Reader()
    feed, gets = reader.feed, reader.gets

    def read(chunk: bytes) -> list[Any]:
        feed(chunk)
        found = []
        while (message := gets()) is not False:
            found.append(message)
        return found

    return read


class Nothing:
    """A protocol for httptools without callbacks."""


class Targets:
    """A protocol for httptools that keeps the targets; the callback is a method of a list."""

    def __init__(self) -> None:
        self.found: list[bytes] = []
        self.on_url = self.found.append


def by_httptools() -> Read:
    targets = Targets()
    feed, found = httptools.HttpRequestParser(targets).feed_data, targets.found

    def read(chunk: bytes) -> list[bytes]:
        feed(chunk)
        all_of_them = found[:]
        found.clear()
        return all_of_them

    return read


def by_h11() -> Read:
    buffer = receivebuffer.ReceiveBuffer()
    next_line = buffer.maybe_extract_next_line

    def read(chunk: bytes) -> list[bytearray]:
        nonlocal buffer
        buffer += chunk
        found = []
        while (one := next_line()) is not None:
            found.append(one)
        return found

    return read


def by_pyserial() -> Read:
    reader = threaded.LineReader()
    reader.TERMINATOR = b"\n"
    take = reader.data_received

    def read(chunk: bytes) -> list[str]:
        found: list[str] = []
        reader.handle_line = found.append
        take(chunk)
        return found

    return read


class Connected:
    """All that a LineOnlyReceiver asks of its transport."""

    disconnecting = False


def by_twisted() -> Read:
    receiver = basic.LineOnlyReceiver()
    receiver.delimiter, receiver.transport = b"\n", Connected()
    take = receiver.dataReceived

    def read(chunk: bytes) -> list[bytes]:
        found: list[bytes] = []
        receiver.lineReceived = found.append
        take(chunk)
        return found

    return read


def by_asyncio() -> Read:
    """Its coroutine is stepped by hand: a line that is there needs no turn of the loop."""
    loop = asyncio.new_event_loop()
    reader = asyncio.StreamReader(loop=loop)
    loop.close()
    feed, next_line = reader.feed_data, reader.readuntil

    def read(chunk: bytes) -> list[Any]:
        feed(chunk)
        found = []
        for _ in range(chunk.count(b"\n")):
            try:
                next_line().send(None)
            except StopIteration as done:
                found.append(tuple(done.value[:-1].decode("ascii").split(" ")))
        return found

    return read


def _json(type: Any) -> Make:
    return lambda: msgspec.json.Decoder(type).decode_lines


def same(words: Words) -> Words:
    return words


def octets(words: Words) -> bytes:
    return line(words, b"")


PEERS = {name: Peer(make, line, same) for name, make in (OURS | STDLIB).items()}
PEERS["asyncio StreamReader + split"] = Peer(by_asyncio, line, same)
if msgspec:
    PEERS["msgspec (JSON lines)"] = Peer(_json(tuple[str, ...]), json_line, same)
    PEERS["msgspec (JSON lines, list)"] = Peer(_json(list[str]), json_line, list)
if hiredis:
    PEERS["hiredis"] = Peer(lambda: by_hiredis("utf-8"), resp, list)
    PEERS["hiredis (bytes)"] = Peer(lambda: by_hiredis(None), resp, lambda words: [w.encode() for w in words])
if httptools:
    PEERS["httptools"] = Peer(by_httptools, http_request, http_target)
if basic:
    PEERS["Twisted LineOnlyReceiver (line only)"] = Peer(by_twisted, line, octets)
if threaded:
    PEERS["pyserial LineReader (line only)"] = Peer(by_pyserial, line, " ".join)
if receivebuffer:
    PEERS["h11 receive buffer (line only)"] = Peer(by_h11, crlf_line, crlf_line)

# What gives no result: the least that a call costs, and a parser whose result nobody takes.
FLOORS = {"floor: a call": Peer(lambda: len, line, same)}
if httptools:
    FLOORS["httptools, no callbacks (no result)"] = Peer(
        lambda: httptools.HttpRequestParser(Nothing()).feed_data, http_request, same
    )
