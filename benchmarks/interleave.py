"""Times several peers at the same work in turns, so that a slow moment of the machine affects all.

The clock is this thread's processor time: other work on its core does not count.

A peer's row is then shown by pytest-benchmark as any other: `show` gives it the times one by one.
"""

import gc
import time
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

SPAN = 1e-3  # seconds of a peer's turn, at least one round of the work
BUDGET = 4.0  # seconds for a case
TURNS = (15, 100)  # at least, at most

Work = tuple[Callable[[bytes], object], Sequence[bytes]]


def interleave(work: dict[str, Work]) -> dict[str, list[float]]:
    """Seconds for one time through the chunks, for each peer, in each turn; the first goes last next time."""
    was = gc.isenabled()
    gc.disable()
    try:
        least = {name: min(_seconds(*one, 1) for _ in range(3)) for name, one in work.items()}
        rounds = {name: max(1, int(SPAN / max(seconds, 1e-8))) for name, seconds in least.items()}
        a_turn = sum(max(SPAN, seconds) for seconds in least.values())
        turns = min(max(int(BUDGET / a_turn), TURNS[0]), TURNS[1])
        times: dict[str, list[float]] = {name: [] for name in work}
        order = list(work)
        for _ in range(turns):
            for name in order:
                times[name].append(_seconds(*work[name], rounds[name]))
            order.append(order.pop(0))
        return times
    finally:
        if was:
            gc.enable()


def _seconds(read: Callable[[bytes], object], chunks: Sequence[bytes], rounds: int) -> float:
    if len(chunks) == 1:
        began = time.thread_time()
        for chunk in repeat(chunks[0], rounds):
            read(chunk)
        return (time.thread_time() - began) / rounds
    began = time.thread_time()
    for _ in repeat(None, rounds):
        for chunk in chunks:
            read(chunk)
    return (time.thread_time() - began) / rounds


def show(benchmark: Any, case: str, peer: str, unit: str, one: Callable[[], float], rounds: int = 1) -> None:
    """A row of what `one` gives, in that unit; seconds, if it is empty."""
    shown = 0.0

    def round() -> None:
        nonlocal shown
        shown += one()

    benchmark._timer = lambda: shown
    benchmark.group = case
    benchmark.extra_info.update(case=case, peer=peer, unit=unit)
    benchmark.pedantic(round, rounds=rounds)
