"""A system bus of a test's own: a real dbus-daemon with Debian's default policy, and others on it."""

import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from beds_agent import Clock, let_in
from jeepney import DBusAddress, HeaderFields, Message, MessageType, new_method_call, new_signal
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from sso.daemon.reactor import Reactor
from sso.demo.programs import find_program
from sso.guest.seat.bus import Bus, Match

TURNS = 400
PATIENCE = 10.0
STRANGER = pwd.getpwnam("nobody").pw_uid  # another user of the machine

# What system.conf of dbus says by default, and that we may do what root may.
CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <auth>EXTERNAL</auth>
  <listen>unix:path={socket}</listen>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
  </policy>
  <policy user="{uid}">
    <allow own="*"/>
    <allow send_type="method_call"/>
  </policy>
  {more}
</busconfig>
"""


class Daemon:
    """A dbus-daemon; `address` is the same over restarts."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self._socket = folder / "bus"
        self._config = folder / "bus.conf"
        self._config.write_text(CONFIG.format(socket=self._socket, uid=os.geteuid(), more=more))
        self._process: subprocess.Popen[str] | None = None
        self.address = f"unix:path={self._socket}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self._socket.unlink(missing_ok=True)
        argv = [find_program("dbus-daemon"), f"--config-file={self._config}", "--nofork", "--print-address=1"]
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it says that it may not raise its limits
            text=True,
        )
        assert self._process.stdout is not None and self._process.stdout.readline()

    def kill(self) -> None:
        """End it at once; may be called twice."""
        if self._process is not None and self._process.stdout is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def pause(self) -> None:
        """Stop the process; it does not run any more when this returns."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


class Somebody:
    """A program on the bus; with `uid` that of another user, for which we have to be root."""

    def __init__(self, address: str, uid: int | None = None) -> None:
        ours = os.geteuid()
        # The bus asks the kernel who we were when we connected.
        os.seteuid(ours if uid is None else uid)
        try:
            self.link: DBusConnection = open_dbus_connection(bus=address)
        finally:
            os.seteuid(ours)
        self.name: str = self.link.unique_name

    def ask(self, address: DBusAddress, member: str, signature: str = "", *body: Any) -> Any:
        """The reply to a call, of whatever kind."""
        message = new_method_call(address, member, signature or None, body)
        return self.link.send_and_get_reply(message, timeout=PATIENCE)

    def call(self, address: DBusAddress, member: str, signature: str = "", *body: Any) -> tuple[Any, ...]:
        """The body of the reply to a call."""
        reply = self.ask(address, member, signature, *body)
        assert reply.header.message_type is MessageType.method_return, reply.body
        answer: tuple[Any, ...] = reply.body
        return answer

    def own(self, name: str, flags: int = 0) -> int:
        return int(self.call(THE_BUS, "RequestName", "su", name, flags)[0])

    def release(self, name: str) -> None:
        self.call(THE_BUS, "ReleaseName", "s", name)

    def owner(self, name: str) -> str:
        return str(self.call(THE_BUS, "GetNameOwner", "s", name)[0])

    def signal(
        self, emitter: DBusAddress, member: str, to: str = "", signature: str = "", *body: Any
    ) -> None:
        """Send a signal to all programs, or to one unique name."""
        message = new_signal(emitter, member, signature or None, body)
        if to:
            message.header.fields[HeaderFields.destination] = to
        self.link.send(message)

    def octets(self, octets: bytes) -> None:
        """Anything."""
        self.link.sock.sendall(octets)

    def question(self) -> Any:
        """Wait for the next method call."""
        while (message := self.answer()).header.message_type is not MessageType.method_call:
            pass
        return message

    def answer(self, seconds: float = PATIENCE) -> Any:
        """The next message."""
        return self.link.receive(timeout=seconds)

    def sync(self) -> None:
        """Wait until everything sent before has passed the bus."""
        self.call(THE_BUS, "GetId")

    def close(self) -> None:
        self.link.close()


THE_BUS = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")


class Desk:
    """The agent's loop and its bus; the test turns the loop and moves the clock."""

    def __init__(self, address: str) -> None:
        self.clock = Clock()
        self.reactor = Reactor(self.clock)
        self.bus = Bus(self.reactor, address)

    def turn(self, until: Callable[[], Any] | None = None) -> None:
        """Run the loop until a condition is true; without one, until nothing is left to do."""
        for _ in range(TURNS):
            if until is None and not self._busy():
                return
            if until is not None and until():
                return
            self.reactor.turn(0.05)
        assert until is None, "it did not happen"

    def _busy(self) -> bool:
        """Whether the bus owes us an answer: all that others sent before is there when it comes."""
        answered: list[Any] = []
        if not self.bus.ready:
            self.reactor.turn(0.0)
            return False
        self.bus.call(THE_BUS, "GetId", done=answered.append)
        for _ in range(TURNS):
            self.reactor.turn(0.05)
            if answered:
                return False
        raise AssertionError("the bus is silent")

    def later(self, seconds: float) -> None:
        """Move the clock forward."""
        self.clock.now += seconds
        self.reactor.turn(0.0)

    def up(self) -> "Desk":
        self.bus.open()
        self.turn(lambda: self.bus.ready)
        return self

    def ask(self, address: DBusAddress, member: str, signature: str = "", *body: Any) -> list[Any]:
        """Where the answer will be."""
        answers: list[Any] = []
        self.bus.call(address, member, signature or None, body, answers.append)
        return answers

    def close(self) -> None:
        self.bus.close()
        self.reactor.close()


@contextmanager
def silent_bus(path: Path) -> Iterator[socket.socket]:
    """A listening socket where a bus is expected."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        door.listen()
        yield door


MakeDaemon = Callable[..., Daemon]


@pytest.fixture
def make_daemon(tmp_path: Path) -> Iterator[MakeDaemon]:
    """A function that starts a bus; `more` goes to its configuration."""
    with ExitStack() as stack:

        def make(more: str = "") -> Daemon:
            daemon = Daemon(tmp_path, more)
            stack.callback(daemon.kill)
            daemon.start()
            let_in(tmp_path)
            return daemon

        yield make


@pytest.fixture
def daemon(make_daemon: MakeDaemon) -> Daemon:
    """A bus that is up."""
    return make_daemon()


@pytest.fixture
def desk(daemon: Daemon) -> Iterator[Desk]:
    """An agent's loop that is not on the bus yet."""
    desk = Desk(daemon.address)
    yield desk
    desk.close()


MakeSomebody = Callable[..., Somebody]


@pytest.fixture
def make_somebody(daemon: Daemon) -> Iterator[MakeSomebody]:
    """A function that brings another program on the bus, with `uid` that of another user."""
    with ExitStack() as stack:

        def make(uid: int | None = None) -> Somebody:
            somebody = Somebody(daemon.address, uid)
            stack.callback(somebody.close)
            return somebody

        yield make


@pytest.fixture
def somebody(make_somebody: MakeSomebody) -> Somebody:
    """Another program on the bus."""
    return make_somebody()


# A signal that a test waits for, and whose it is.
NAME = "org.example.Screen"
ITEM = DBusAddress("/org/example/screen/item", NAME, f"{NAME}.Item")
CHANGED = Match(NAME, f"{NAME}.Item", "Changed", "/org/example/screen")


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the agent logs about its bus."""
    said: list[str] = []
    monkeypatch.setattr("sso.guest.seat.bus.note", lambda id, **values: said.append(id))
    return said


@pytest.fixture
def hints(desk: Desk) -> list[str]:
    """Filled when the signal that we wait for comes, or its sender."""
    hints: list[str] = []
    desk.bus.match(CHANGED, lambda: hints.append("hint"))
    return hints


def asked(desk: Desk, somebody: Somebody) -> tuple[list[Any], Any]:
    """Return the list for the answer, and the call that the other program received."""
    answers = desk.ask(DBusAddress("/", somebody.name, "org.example.Ask"), "Ask")
    return answers, somebody.question()


def own_name(desk: Desk) -> str:
    """Our unique name, as the bus tells it."""
    desk.bus.own("org.example.Me")
    desk.turn(lambda: "org.example.Me" in desk.bus.owned)
    answers = desk.ask(THE_BUS, "GetNameOwner", "s", "org.example.Me")
    desk.turn(lambda: answers)
    return str(answers[0][0])


def unreadable(message: Message) -> bytes:
    """With a body that names a descriptor where there is none: the bus lets it pass."""
    octets: bytes = message.serialise(serial=99)
    assert octets.count(b"\x08\x01g\x00\x01u\x00") == 1
    return octets.replace(b"\x08\x01g\x00\x01u\x00", b"\x08\x01g\x00\x01h\x00")
