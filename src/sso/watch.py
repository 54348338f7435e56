"""Edges of a port, without reading it: somebody came, something is there, somebody went.

A virtio port without a client is readable and hung up for ever, so a level would burn a core; an edge
comes once a change (Linux drivers/char/virtio_console.c wakes the queue on each).
"""

import select
from collections.abc import Iterator
from contextlib import suppress

from sso.port import ListenPort, Port

EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
GONE = select.EPOLLHUP | select.EPOLLRDHUP | select.EPOLLERR
OPENED, DATA, CLOSED = "opened", "data", "closed"


class PortWatch:
    """Watches one port; `fileno` is readable when `events` has something to say."""

    def __init__(self, port: Port) -> None:
        self._epoll = select.epoll()
        self._fd = -1
        self.reopened(port)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def reopened(self, port: Port) -> None:
        """Watch the port's present descriptor; its state is told anew."""
        if self._fd >= 0:
            with suppress(OSError, ValueError):
                self._epoll.unregister(self._fd)
        self._port, self._fd, self._present = port, port.fileno(), False
        self._epoll.register(self._fd, EDGES)

    def rearm(self) -> None:
        """Tell what is there now once more, for what a child left unread."""
        self._epoll.modify(self._fd, EDGES)

    def events(self) -> Iterator[str]:
        """What changed since the last call: "opened", "data", "closed"."""
        for _, mask in self._epoll.poll(0):
            if isinstance(self._port, ListenPort) and not self._port.connected:
                if self._port.accept():
                    self.reopened(self._port)
                    self._present = True
                    yield OPENED
            elif mask & GONE:
                if self._present:
                    self._present = False
                    yield CLOSED
            elif not self._present:
                self._present = True
                yield OPENED
            elif mask & select.EPOLLIN:
                yield DATA

    def close(self) -> None:
        self._epoll.close()
