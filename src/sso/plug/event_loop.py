"""What the plug-in point needs of a loop: descriptors, and time. GTK's is in glib_loop.py."""

import heapq
import itertools
import select
import time
from collections.abc import Callable
from typing import Protocol

Callback = Callable[[], None]


class Watch(Protocol):
    """Something that is waited for."""

    def cancel(self) -> None:
        """Wait for it no more; harmless when it is over, or cancelled already."""
        ...


class EventLoop(Protocol):
    """A loop of one thread. Callbacks come until they are cancelled, `after` once."""

    def readable(self, fd: int, call: Callback) -> Watch:
        """Call whenever `fd` is readable or hung up."""
        ...

    def writable(self, fd: int, call: Callback) -> Watch:
        """Call whenever `fd` is writable or hung up."""
        ...

    def after(self, seconds: float, call: Callback) -> Watch:
        """Call once, `seconds` from now."""
        ...


class PollLoop:
    """An EventLoop on poll(2), for programs that have no loop of their own; the clock is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._watches: list[_Descriptor] = []
        self._timers: list[tuple[float, int, _Timer]] = []
        self._order = itertools.count()

    def readable(self, fd: int, call: Callback) -> Watch:
        return self._watch(_Descriptor(fd, select.POLLIN, call))

    def writable(self, fd: int, call: Callback) -> Watch:
        return self._watch(_Descriptor(fd, select.POLLOUT, call))

    def after(self, seconds: float, call: Callback) -> Watch:
        timer = _Timer(call)
        heapq.heappush(self._timers, (self._clock() + seconds, next(self._order), timer))
        return timer

    def _watch(self, watch: "_Descriptor") -> "_Descriptor":
        self._watches.append(watch)
        return watch

    def turn(self, patience: float | None = None) -> None:
        """Wait for what comes next, at most `patience` seconds, and call what is due."""
        # Of this turn are those of now: a later one may have the number of a descriptor that was closed.
        watches = [watch for watch in self._watches if watch.call is not None]
        self._watches = list(watches)
        masks: dict[int, int] = {}
        for watch in watches:
            masks[watch.fd] = masks.get(watch.fd, 0) | watch.mask
        poll = select.poll()
        for fd, mask in masks.items():
            poll.register(fd, mask)
        ready = dict(poll.poll(self._timeout(patience)))
        for watch in watches:
            told = ready.get(watch.fd, 0) & (watch.mask | select.POLLHUP | select.POLLERR)
            if told and watch.call is not None:
                watch.call()
        now = self._clock()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2].fire()

    def run_until(self, done: Callable[[], bool]) -> None:
        """Turn until something is so."""
        while not done():
            self.turn()

    def _timeout(self, patience: float | None) -> int | None:
        """Milliseconds, rounded up so that what is waited for is due when they are over."""
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        waits = [] if patience is None else [patience]
        if self._timers:
            waits.append(self._timers[0][0] - self._clock())
        return max(0, int(min(waits) * 1000) + 1) if waits else None


class _Timer:
    def __init__(self, call: Callback) -> None:
        self.call: Callback | None = call

    def cancel(self) -> None:
        self.call = None

    def fire(self) -> None:
        call, self.call = self.call, None
        if call is not None:
            call()


class _Descriptor:
    def __init__(self, fd: int, mask: int, call: Callback) -> None:
        self.fd, self.mask = fd, mask
        self.call: Callback | None = call

    def cancel(self) -> None:
        self.call = None
