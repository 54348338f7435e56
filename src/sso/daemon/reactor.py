"""The agent's event loop: one callback per descriptor or timer; callbacks must not block."""

import heapq
import itertools
import os
import selectors
import signal
import time
from collections.abc import Callable

WAKES_MAX = 64  # bytes read at once; each signal writes one

Callback = Callable[[], None]


def boot_time() -> float:
    """Return the seconds since boot; this clock also runs during suspend, and no process can set it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Timer:
    """A callback at a later time; `cancel` does no harm after that time."""

    def __init__(self, at: float, callback: Callback) -> None:
        self.at = at
        self._callback: Callback | None = callback

    @property
    def cancelled(self) -> bool:
        return self._callback is None

    def cancel(self) -> None:
        self._callback = None

    def fire(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Reactor:
    """Runs callbacks for one selector and one heap of timers."""

    def __init__(self, clock: Callable[[], float] = boot_time) -> None:
        self.clock = clock
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._stopped = False
        self._wake: tuple[int, int] | None = None

    def heed_signals(self) -> None:
        """Let every handled signal end the wait, also a signal that comes just before the wait begins.

        Call this once, in the main thread (signal.set_wakeup_fd); a forked child must undo it.
        """
        self._wake = woken, waking = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(waking, warn_on_full_buffer=False)

        def heard() -> None:
            os.read(woken, WAKES_MAX)  # the Python handler has run already

        self.watch(woken, heard)

    def watch(self, fd: int, callback: Callback) -> None:
        """Run `callback` whenever `fd` is readable or hung up."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def forget(self, fd: int) -> None:
        """Stop watching `fd`; call this before you close it. Does nothing if it is not watched."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def after(self, seconds: float, callback: Callback) -> Timer:
        """Run `callback` once, `seconds` from now."""
        timer = Timer(self.clock() + seconds, callback)
        heapq.heappush(self._timers, (timer.at, next(self._order), timer))
        return timer

    def turn(self, patience: float | None = None) -> None:
        """Wait for the next event, at most `patience` seconds, and run the callbacks that are due."""
        left = self._left()
        if patience is not None:
            left = patience if left is None else min(left, patience)
        for key, _ in self._selector.select(left):
            # An earlier callback of this turn may have closed this descriptor.
            if self._selector.get_map().get(key.fd) is key:
                key.data()
        now = self.clock()
        while self._timers and (self._timers[0][0] <= now or self._timers[0][2].cancelled):
            heapq.heappop(self._timers)[2].fire()

    def run(self) -> None:
        """Run turns until `stop` is called."""
        while not self._stopped:
            self.turn()

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._timers.clear()
        if self._wake is not None:
            signal.set_wakeup_fd(-1)
            for end in self._wake:
                os.close(end)
            self._wake = None
        self._selector.close()

    def _left(self) -> float | None:
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return max(0.0, self._timers[0][0] - self.clock())
