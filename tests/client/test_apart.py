"""A half that is not ours, in its own process: whatever it does there, the client goes on and names it."""

import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sso.client import apart
from sso.client.apart import Apart
from sso.client.strangers import Guarded
from sso.errors import ConfigError, MechanismError, PolicyError
from sso.mech import TOKEN_MAX, Mechanism, Pair

HERE = os.getpid()


def hang() -> None:
    while True:
        signal.pause()


def leave_one_behind() -> None:
    """A process that holds all descriptors, while this one ends."""
    if os.fork():
        os._exit(0)
    signal.alarm(5)
    hang()


def go_on_twice() -> None:
    """A fork whose child forgets to end."""
    if os.fork():
        os.wait()


class Half(Mechanism):
    """Does something in one of its methods, which `at` names, and answers with what it was given."""

    def __init__(self, at: str = "", deed: Callable[[], object] = lambda: None) -> None:
        self._at, self._deed, self.own_name = at, deed, str(os.getpid())
        self._do("make")

    def bind(self, binding: bytes) -> None:
        self._do("bind")

    def step(self, token: bytes) -> bytes:
        self._do("step")
        self.complete, self.peer = True, "guest"
        return token[::-1]

    def wrap(self, data: bytes) -> bytes:
        self._do("wrap")
        return data

    def unwrap(self, data: bytes) -> bytes:
        self._do("unwrap")
        return data

    def dispose(self) -> None:
        self._do("dispose")

    def _do(self, at: str) -> None:
        assert os.getpid() != HERE
        if at == self._at:
            self._deed()


PAIR = Pair("X-ONE", "sasl", Half, Half)


def through(at: str = "", deed: Callable[[], object] = lambda: None, pair: Pair = PAIR) -> bytes:
    """Make a half and call each of its methods once; the last answer."""
    half = Apart("X-ONE", lambda: Guarded(pair, partial(Half, at, deed)))
    process = int(half.own_name)
    try:
        half.bind(b"binding")
        assert (process != HERE, half.complete, half.peer) == (True, False, "")
        assert half.step(b"token") == b"nekot"
        assert (half.complete, half.peer) == (True, "guest")
        half.wrap(b"data")
        return half.unwrap(b"data")
    finally:
        half.dispose()
        half.dispose()
        with pytest.raises(ChildProcessError):
            os.waitpid(process, os.WNOHANG)


def test_a_half_works_as_if_it_were_here() -> None:
    assert through() == b"data"


DEEDS: dict[str, tuple[Callable[[], object], str]] = {
    "hangs": (hang, "no answer within 0.1 s"),
    "ends": (partial(os._exit, 0), "it ended its process (0)"),
    "dies": (lambda: os.kill(os.getpid(), signal.SIGSEGV), "it ended its process (-11)"),
    "closes all": (lambda: os.closerange(3, 256), "it ended its process (1)"),
    "leaves one behind": (leave_one_behind, "it ended its process (0)"),
}


@pytest.mark.parametrize("at", ["make", "bind", "step", "wrap", "unwrap"])
@pytest.mark.parametrize("how", DEEDS)
def test_what_a_half_does_ends_its_own_process_with_one_line(
    how: str, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deed, words = DEEDS[how]
    monkeypatch.setattr(apart, "CALL_TIME", 0.1 if how == "hangs" else 60.0)
    with pytest.raises(MechanismError) as caught:
        through(at, deed)
    assert (caught.value.cause, str(caught.value)) == ("failed", f"failed: X-ONE: {words}")


def test_a_fork_in_a_half_answers_once() -> None:
    assert through("step", go_on_twice) == b"data"


def test_a_thread_in_a_half_does_not_keep_its_process() -> None:
    assert through("step", threading.Thread(target=hang).start) == b"data"


def test_a_hang_at_the_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "END_TIME", 0.1)
    assert through("dispose", hang) == b"data"


def test_the_half_is_disposed_of_when_the_client_is_through(tmp_path: Path) -> None:
    through("dispose", (tmp_path / "disposed").touch)
    assert (tmp_path / "disposed").exists()


@pytest.mark.parametrize(("asks", "left"), [(False, True), (True, False)])
def test_only_one_that_asks_a_person_has_no_deadline(asks: bool, left: bool, tmp_path: Path) -> None:
    def look() -> None:
        (tmp_path / str(signal.getitimer(signal.ITIMER_REAL)[0] > 0)).touch()

    through("step", look, PAIR._replace(asks=asks))
    assert [path.name for path in tmp_path.iterdir()] == [str(left)]


def test_an_alarm_of_its_own_does_not_outlive_a_call() -> None:
    def ignore() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0.0001)

    assert through("step", ignore) == b"data"


def test_who_started_us_may_block_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "CALL_TIME", 0.1)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        with pytest.raises(MechanismError, match=r"no answer within 0\.1 s"):
            through("step", hang)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_half_finds_no_descriptor_of_ours(tmp_path: Path) -> None:
    def look() -> None:
        (tmp_path / "found").write_text(" ".join(os.listdir("/proc/self/fd")))

    through("step", look)
    assert len((tmp_path / "found").read_text().split()) <= 3 + 1 + 1  # the socket, and the folder itself


ERRORS = [
    MechanismError("no-ticket", "none"),
    MechanismError("no-ticket"),
    PolicyError("needs-tls", "it needs TLS"),
    ConfigError("write this"),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_ours_comes_across(error: BaseException) -> None:
    def make() -> Mechanism:
        raise error

    with pytest.raises(type(error)) as caught:
        Apart("X-ONE", make)
    assert str(caught.value) == str(error)
    assert getattr(caught.value, "cause", "") == getattr(error, "cause", "")


def test_an_answer_that_is_longer_than_any_token_is_none() -> None:
    class Long(Half):
        def step(self, token: bytes) -> bytes:
            return bytes(TOKEN_MAX + 1)

    half = Apart("X-ONE", lambda: Guarded(PAIR, Long))
    with pytest.raises(MechanismError, match="too-long"):
        half.step(b"")
    half.dispose()


def test_a_message_that_is_longer_than_any_ends_it() -> None:
    class Long(Half):
        def step(self, token: bytes) -> bytes:
            return bytes(apart.MESSAGE_MAX)

    half = Apart("X-ONE", Long)
    with pytest.raises(MechanismError, match="failed: X-ONE: it ended its process"):
        half.step(b"")


def test_a_longest_token_goes_both_ways() -> None:
    half = Apart("X-ONE", Half)
    token = os.urandom(TOKEN_MAX)
    assert half.step(token) == token[::-1]
    half.dispose()


def test_who_interrupts_us_interrupts_its_dialog_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dialog gets the time to give the terminal its echo back."""

    def dialog() -> None:
        try:
            os.kill(HERE, signal.SIGINT)
            while True:  # and no pause, which the signal may just precede
                os.sched_yield()
        except KeyboardInterrupt:
            (tmp_path / "restored").touch()
            raise

    monkeypatch.setattr(apart, "END_TIME", 60.0)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as sso.client.main has it
    try:
        with pytest.raises(KeyboardInterrupt):
            through("step", dialog)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (tmp_path / "restored").exists()


def test_who_started_us_may_ignore_how_children_end() -> None:
    before: Any = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(MechanismError, match=r"it ended its process \(0\)"):
            through("make", partial(os._exit, 0))
    finally:
        signal.signal(signal.SIGCHLD, before)
