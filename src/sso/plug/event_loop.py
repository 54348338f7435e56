"""The event loop that the plug-in point needs: descriptors and timers. sso.viewer.glib_loop has GLib's."""

import heapq
import itertools
import select
import time
from collections.abc import Callable
from typing import Protocol

Callback = Callable[[], None]


class Watch(Protocol):
    """One callback that waits for an event."""

    def cancel(self) -> None:
        """Stop waiting. Does nothing if the event is over, or cancelled already."""
        ...


class EventLoop(Protocol):
    """An event loop of one thread. It calls callbacks until they are cancelled; `after` calls once."""

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
    """An EventLoop on poll(2), for programs without their own loop; the clock is in seconds."""

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
        """Wait for the next event, at most `patience` seconds, and call what is due."""
        # Call only the watches of now: a callback may close a descriptor, and a new one may get its number.
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
        """Run until a condition is true."""
        while not done():
            self.turn()

    def _timeout(self, patience: float | None) -> int | None:
        """Return the milliseconds to wait, rounded up so that the timer is due after them."""
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
