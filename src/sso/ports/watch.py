"""Edges of a port, without reading it: somebody came, something is there, somebody went.

A virtio port without a client is readable and hung up for ever, so a level would burn a core; an edge
comes once a change (Linux drivers/char/virtio_console.c wakes the queue on each).
"""

import select

from sso.ports.port import ListenPort, Port

# EPOLLOUT is what a device shows when somebody has come and sent nothing yet.
EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
GONE = select.EPOLLHUP | select.EPOLLRDHUP | select.EPOLLERR
OPENED, DATA, CLOSED = "opened", "data", "closed"


class PortWatch:
    """Watches one port; `fileno` is readable when `events` has something to say.

    A forked child may read the port meanwhile: what it takes comes as edges here too, to be ignored;
    `rearm` when it has ended tells what it left.
    """

    def __init__(self, port: Port) -> None:
        self._epoll = select.epoll()
        self.reopened(port, gone=True)

    def fileno(self) -> int:
        """What to wait for; another one after `reopened` and after a new client of a listening port."""
        return self._epoll.fileno()

    def reopened(self, port: Port, gone: bool = False) -> None:
        """Watch the port's present descriptor; its state is told anew, a hang-up too unless it is known."""
        # A new epoll: the old one would go on telling of a closed descriptor that a child still holds.
        self._epoll.close()
        self._epoll = select.epoll()
        self._port, self._fd = port, port.fileno()
        self._present: bool | None = False if gone else None
        self._epoll.register(self._fd, EDGES)

    def rearm(self) -> None:
        """Tell what is there now once more, for what a child left unread."""
        self._epoll.modify(self._fd, EDGES)

    def events(self) -> list[str]:
        """What changed since the last call: "opened", "data", "closed"; without waiting."""
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
