"""A logind that is hostile, or of the future: nobody vanishes, and nothing breaks."""

from typing import Any

import pytest
from beds_dbus import Desk, Somebody
from beds_logind import look, seat
from hypothesis import given
from hypothesis import strategies as st
from jeepney import DBusAddress, new_method_return

from sso.daemon.reactor import Reactor
from sso.guest.seat.bus import Bus
from sso.guest.seat.logind import LOGIN1, ROOT, SESSIONS_MAX, Found, Seat

__all__ = ["seat"]

SESSION_1 = f"{ROOT}/session/1"

ODD: list[Any] = [
    ("u", 7),
    ("s", "x"),
    ("s", ""),
    ("b", True),
    ("i", -1),
    ("as", ["a", "b"]),
    ("ay", b"\x00\xff"),
    ("a{sv}", {}),
    ("(so)", ("1", "/")),
    ("(su)", ("1", 1)),
    ("(us)", (1, "x")),
    ("a(so)", [("1", SESSION_1)] * 3),
    ("a(ss)", [("1", "no path"), ("1", f"{ROOT}/session/../seat"), ("1", "/")]),
    ("a(so)", [("1", "/somewhere/else"), ("1", ROOT)]),
    ("a(sos)", [("1", SESSION_1, "more")]),
    ("v", ("s", "x")),
    ("()", ()),
]
GOOD_SEAT = {"ActiveSession": ("(so)", ("1", SESSION_1)), "Sessions": ("a(so)", [("1", SESSION_1)])}
GOOD_SESSION = {
    "Id": ("s", "1"),
    "Name": ("s", "alice"),
    "User": ("(uo)", (4001, f"{ROOT}/user/_4001")),
    "Type": ("s", "x11"),
    "Class": ("s", "user"),
    "State": ("s", "active"),
    "Active": ("b", True),
    "LockedHint": ("b", False),
    "Service": ("s", "gdm"),
    "TTY": ("s", "tty2"),
}


class OddBus(Bus):
    """Answers with what a test wants."""

    def __init__(self, reactor: Reactor, seat: Any, session: Any) -> None:
        super().__init__(reactor)
        self._answers = {f"{LOGIN1}.Seat": seat, f"{LOGIN1}.Session": session}

    def call(
        self, address: DBusAddress, member: str, signature: str | None = None, *arguments: Any, **more: Any
    ) -> None:
        body, done = arguments
        self._reactor.after(0.0, lambda: done(self._answers[body[0]]))


def odd_look(seat_body: Any, session_body: Any) -> Found:
    desk = Desk("unix:path=/nonexistent")
    bus = OddBus(desk.reactor, seat_body, session_body)
    found = look(desk, Seat(desk.reactor, bus, "tty1", "/nonexistent", "/nonexistent"))
    desk.close()
    return found


@pytest.mark.parametrize("name", GOOD_SEAT)
def test_a_seat_with_odd_properties(name: str) -> None:
    assert odd_look(({**GOOD_SEAT, name: GOOD_SEAT[name]},), (GOOD_SESSION,)).user is not None
    for odd in ODD:
        found = odd_look(({**GOOD_SEAT, name: odd},), (GOOD_SESSION,))
        assert found.user is None or found.user.user == "alice"
    left = {key: value for key, value in GOOD_SEAT.items() if key != name}
    assert odd_look((left,), (GOOD_SESSION,)) == Found(False)


@pytest.mark.parametrize("name", GOOD_SESSION)
def test_a_session_with_odd_properties(name: str) -> None:
    """Who cannot be told from nobody makes all uncertain; no user ever vanishes with certainty."""
    for odd in ODD:
        found = odd_look((GOOD_SEAT,), ({**GOOD_SESSION, name: odd},))
        assert found.user is not None
    left = {key: value for key, value in GOOD_SESSION.items() if key != name}
    assert odd_look((GOOD_SEAT,), (left,)).known is (name not in ("Id", "Name", "User"))


@pytest.mark.parametrize("body", [None, (), (1,), ("x",), ([],), ({},), ({"a": 1},), ({1: ("s", "x")}, 2)])
def test_answers_that_are_no_properties(body: Any) -> None:
    assert odd_look(body, (GOOD_SESSION,)) == Found(False)
    found = odd_look((GOOD_SEAT,), body)
    assert not found.known and found.user is not None and not found.user.belongs_to("alice", 4001)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from([*GOOD_SEAT, *GOOD_SESSION])


@given(
    st.dictionaries(NAMES, st.tuples(st.just("v"), VALUES)),
    st.dictionaries(NAMES, st.tuples(st.just("v"), VALUES)),
)
def test_any_answers(seat_odd: dict[str, Any], session_odd: dict[str, Any]) -> None:
    found = odd_look(({**GOOD_SEAT, **seat_odd},), ({**GOOD_SESSION, **session_odd},))
    assert len(found.users) <= SESSIONS_MAX


def test_odd_answers_over_the_bus(desk: Desk, somebody: Somebody, seat: Seat) -> None:
    """A real message with types of the future."""
    somebody.own(LOGIN1)
    desk.up()
    answers = [{"ActiveSession": ("a{sv}", {"x": ("t", 2**63)}), "Sessions": ("d", 0.5)}]
    looks: list[Found] = []
    seat.watch(lambda: looks.append(seat.found))
    somebody.link.send(new_method_return(somebody.question(), "a{sv}", (answers[0],)))
    desk.turn(lambda: looks)
    assert looks == [Found(False)] and desk.bus.ready
