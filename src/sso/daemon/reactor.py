"""The event loop of our long-running programs: callbacks for descriptors and timers; they must not block."""

import heapq
import itertools
import os
import selectors
import signal
import time
from collections.abc import Callable
from contextlib import suppress

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


class DescriptorWatch:
    """One callback that waits for a descriptor; `cancel` may come twice, `over` is told once."""

    def __init__(
        self, fd: int, events: int, call: Callback, over: Callable[["DescriptorWatch"], None]
    ) -> None:
        self.fd, self.events, self._over = fd, events, over
        self._call: Callback | None = call

    def fire(self) -> None:
        if self._call is not None:
            self._call()

    def cancel(self) -> None:
        if self._call is not None:
            self._call = None
            self._over(self)


class Reactor:
    """Runs callbacks for one selector and one heap of timers, in one thread.

    It is also an EventLoop for sso.plug, which needs no more of it than `readable`, `writable` and `after`.
    """

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

        self.readable(woken, heard)

    def readable(self, fd: int, call: Callback) -> DescriptorWatch:
        """Call whenever `fd` is readable or hung up, until the watch is cancelled or `fd` forgotten."""
        return self._watch(fd, selectors.EVENT_READ, call)

    def writable(self, fd: int, call: Callback) -> DescriptorWatch:
        """Call whenever `fd` is writable or hung up, until the watch is cancelled or `fd` forgotten."""
        return self._watch(fd, selectors.EVENT_WRITE, call)

    def forget(self, fd: int) -> None:
        """Cancel what waits for `fd`; call this before you close it. Does nothing where nothing waits."""
        for watch in self._waiting(fd):
            watch.cancel()

    def after(self, seconds: float, call: Callback) -> Timer:
        """Call once, `seconds` from now."""
        timer = Timer(self.clock() + seconds, call)
        heapq.heappush(self._timers, (timer.at, next(self._order), timer))
        return timer

    def turn(self, patience: float | None = None) -> None:
        """Wait for the next event, at most `patience` seconds, and run the callbacks that are due."""
        left = self._left()
        if patience is not None:
            left = patience if left is None else min(left, patience)
        for key, events in self._selector.select(left):
            # A cancelled watch does nothing: an earlier callback of this turn may have closed its descriptor.
            for watch in key.data:
                if events & watch.events:
                    watch.fire()
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

    def _watch(self, fd: int, events: int, call: Callback) -> DescriptorWatch:
        watch = DescriptorWatch(fd, events, call, self._cancelled)
        self._wait_for(fd, (*self._waiting(fd), watch))
        return watch

    def _cancelled(self, watch: DescriptorWatch) -> None:
        others = tuple(other for other in self._waiting(watch.fd) if other is not watch)
        with suppress(KeyError, OSError):  # other code has closed the descriptor: nothing waits for it
            self._wait_for(watch.fd, others)

    def _waiting(self, fd: int) -> tuple[DescriptorWatch, ...]:
        key = self._selector.get_map().get(fd)
        return key.data if key is not None else ()

    def _wait_for(self, fd: int, watches: tuple[DescriptorWatch, ...]) -> None:
        """Let the selector report of `fd` what these watches wait for, and nothing else."""
        known, events = fd in self._selector.get_map(), 0
        for watch in watches:
            events |= watch.events
        if not watches:
            self._selector.unregister(fd)
        elif known:
            self._selector.modify(fd, events, watches)
        else:
            self._selector.register(fd, events, watches)

    def _left(self) -> float | None:
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return max(0.0, self._timers[0][0] - self.clock())
