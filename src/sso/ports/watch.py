"""Watches a port without reading it: a client came, data is there, a client left.

The watch is edge-triggered. A virtio port without a client is readable and hung up all the time, so a
level-triggered watch would keep a CPU busy; an edge comes once per change (Linux
drivers/char/virtio_console.c wakes the queue on each).
"""

import select

from sso.ports.port import ListenPort, Port

# EPOLLOUT is all that a device reports when a client has come and sent nothing yet.
EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
GONE = select.EPOLLHUP | select.EPOLLRDHUP | select.EPOLLERR
OPENED, DATA, CLOSED = "opened", "data", "closed"


class PortWatch:
    """Watches one port; `fileno` is readable when `events` has something to return.

    While a forked child reads the port, its data causes edges here too: ignore them. Call `rearm` when the
    child has ended, to learn of data that it left unread.
    """

    def __init__(self, port: Port) -> None:
        self._epoll = select.epoll()
        self.reopened(port, gone=True)

    def fileno(self) -> int:
        """Return the descriptor to poll; it changes after `reopened` and when a listening port accepts."""
        return self._epoll.fileno()

    def reopened(self, port: Port, gone: bool = False) -> None:
        """Watch the port's current descriptor and report its state again, with `gone` no hang-up."""
        # A new epoll: the old one would still report a descriptor that we closed and a child holds open.
        self._epoll.close()
        self._epoll = select.epoll()
        self._port, self._fd = port, port.fileno()
        self._present: bool | None = False if gone else None
        self._epoll.register(self._fd, EDGES)

    def rearm(self) -> None:
        """Report the current state once more, so that data a child left unread is noticed."""
        self._epoll.modify(self._fd, EDGES)

    def events(self) -> list[str]:
        """Return what changed since the last call ("opened", "data", "closed"), without waiting."""
        return [event for _, mask in self._epoll.poll(0) for event in self._changes(mask)]

    def _changes(self, mask: int) -> tuple[str, ...]:
        if isinstance(self._port, ListenPort) and not self._port.connected:
            if not self._port.accept():
                return ()
            self.reopened(self._port)
            self._present = True
            return (OPENED,)
        before, self._present = self._present, not mask & GONE
        if not self._present:
            return () if before is False else (CLOSED,)
        opened = () if before else (OPENED,)
        return (*opened, DATA) if mask & select.EPOLLIN else opened

    def close(self) -> None:
        self._epoll.close()
