"""The states of a run for a program that has started it: one line each on a descriptor of its own.

`signing-in NAME`, then `signed-in` or `failed EXIT TEXT`. With --stay there are more: `console-asks` while
the login waits for an answer that is given there, and after `signed-in` `staying`, with
` until=EPOCH` if a ticket was handed over that may be renewed, then each time `renewed until=EPOCH`,
`signed-in` (the guest has begun anew), or `not-renewed EXIT TEXT`, after which it is tried again.
"""

import os
import select
from contextlib import suppress

from sso.errors import ConfigError


class Status:
    """Writes to a descriptor, if there is one. Never blocks on the reader and never fails because of it."""

    def __init__(self, fd: int | None = None) -> None:
        self._fd = fd
        if fd is not None:
            try:
                os.fstat(fd)
            except (OSError, OverflowError):
                raise ConfigError(f"--status-fd {fd}: no such open file descriptor") from None

    def __call__(self, line: str) -> None:
        if self._fd is None:
            return
        from sso.printable import one_line  # late: without a descriptor nobody needs it

        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        with suppress(OSError):
            if poll.poll(0):
                os.write(self._fd, one_line(line).encode() + b"\n")
