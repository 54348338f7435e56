"""Looking at a console, leaving it and coming back, with a connection that does as it is told."""

from collections.abc import Callable, Iterator

import pytest

from sso.console.console import Console, Wish
from sso.credential import Credential
from sso.daemon.reactor import Reactor
from sso.plug.plug import PlugInPoint, Start
from sso.viewer.intent import Intent
from sso.viewer.reach import Reach
from sso.viewer.settings import Plugin, Settings
from sso.viewer.viewing import Viewing

PORT = "spice.sso.0"


class Face:
    """Keeps what a person sees."""

    ask = None

    def __init__(self) -> None:
        self.seen: list[str] = []

    def line(self, text: str) -> None:
        self.seen.append(text)

    def connected(self) -> None:
        self.seen.append("<connected>")

    def ended(self, why: str, password: bool) -> None:
        self.seen.append(f"<ended {why} {password}>")


class Connection:
    """A connection that is there, and ends, when the test says so."""

    def __init__(
        self,
        console: Console,
        point: PlugInPoint,
        connected: Callable[[], None],
        ended: Callable[[str, bool], None],
    ) -> None:
        self.console, self.point, self.connected, self.ended = console, point, connected, ended
        self.opened = False

    def open(self) -> None:
        self.opened = True

    def close(self) -> None:
        self.ended("", False)


class Remote:
    def write(self, data: bytearray, sent: Callable[[], None]) -> None:
        sent()


@pytest.fixture
def loop() -> Iterator[Reactor]:
    loop = Reactor()
    yield loop
    loop.close()


def looked_at(
    loop: Reactor, console: Console, *starts: Start
) -> tuple[Viewing, Face, list[Connection], list[str]]:
    face = Face()
    made: list[Connection] = []
    steps: list[str] = []

    def connect(*given: object) -> Connection:
        made.append(Connection(*given))  # type: ignore[arg-type]
        return made[-1]

    intent = Intent(Reach(console), Settings(plugins=(Plugin(PORT, "cat"),)), typed="host/vm7.example.org")
    return Viewing(intent, starts, loop, connect, face, say=steps.append), face, made, steps


def test_it_is_left_and_looked_at_again(loop: Reactor) -> None:
    viewing, face, made, steps = looked_at(
        loop, Console("spice", host="h", port=1), Start(PORT, ("/bin/cat",))
    )
    viewing.open()
    viewing.open()  # it is open already
    assert len(made) == 1 and made[0].opened
    made[0].connected()
    plug = made[0].point.get(PORT)
    assert plug is not None
    plug.opened(Remote())
    assert viewing.busy
    made[0].ended("the connection to the console is lost", False)
    while viewing.busy:
        loop.turn()
    assert viewing.failed and face.seen == [
        "<connected>",
        "<ended the connection to the console is lost False>",
    ]
    viewing.open()
    assert len(made) == 2 and not viewing.failed
    viewing.end()
    assert face.seen[-1] == "<ended  False>"
    assert steps == [
        "connected to h",
        f"{PORT}: started",
        "the connection to the console is lost",
        f"{PORT}: exited 0",
        "left h",
    ]


def test_a_password_for_the_next_time(loop: Reactor) -> None:
    old, new = (Credential("password", "", bytearray(b"x")) for _ in range(2))
    viewing, _, made, _ = looked_at(loop, Console("spice", host="h", port=1, password=old))
    viewing.open()
    made[0].ended("the console's password is wrong or too old", True)
    viewing.use_password(new)
    assert old.secret is None
    viewing.open()
    assert made[1].console.password is new
    viewing.end()
    assert new.secret is None


def test_a_stream_is_opened_with_the_console_and_left_with_it(loop: Reactor, tmp_path: object) -> None:
    wish = Wish(stream=f"unix:{tmp_path}/nobody")
    viewing, face, made, _ = looked_at(
        loop, Console("vnc", host="h", port=5900, wish=wish), Start(PORT, ("/bin/cat",))
    )
    viewing.open()
    assert face.seen == []
    made[0].connected()
    assert face.seen[1:] == ["no stream for single sign-on: No such file or directory"]
    viewing.end()


def test_a_stream_without_a_plug_in_is_not_opened(loop: Reactor, tmp_path: object) -> None:
    viewing, face, made, _ = looked_at(
        loop, Console("vnc", host="h", port=5900, wish=Wish(stream=f"unix:{tmp_path}/nobody"))
    )
    viewing.open()
    made[0].connected()
    assert face.seen == ["<connected>"]


# A fault of our own


def test_a_fault_ends_the_console_once_and_it_can_be_opened_again(loop: Reactor) -> None:
    viewing, face, made, steps = looked_at(
        loop, Console("spice", host="h", port=1), Start(PORT, ("/bin/cat",))
    )
    viewing.open()
    made[0].connected()
    plug = made[0].point.get(PORT)
    assert plug is not None
    plug.opened(Remote())
    viewing.fail("a fault")
    viewing.fail("a fault that comes of the first one")
    assert face.seen == ["<connected>", "<ended a fault False>"] and viewing.failed
    while viewing.busy:
        loop.turn()
    assert steps[:3] == ["connected to h", f"{PORT}: started", "a fault"]
    viewing.open()
    assert len(made) == 2 and not viewing.failed
    viewing.end()
    assert face.seen[-1] == "<ended  False>"


def test_a_fault_before_there_is_a_connection_is_told_as_well(loop: Reactor) -> None:
    viewing, face, made, _ = looked_at(loop, Console("spice", host="h", port=1))

    def connect(*given: object) -> Connection:
        raise LookupError

    viewing._connect = connect
    with pytest.raises(LookupError):
        viewing.open()
    viewing.fail("a fault")
    assert face.seen == ["<ended a fault False>"] and made == []
