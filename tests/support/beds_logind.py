"""logind as a mock on a real bus: python-dbusmock's template in a process of its own.

The real one is in the tests with a virtual machine.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from beds_dbus import THE_BUS, Daemon, Desk, Somebody
from jeepney import DBusAddress

from sso.demo.programs import BedError
from sso.guest.seat.logind import LOGIN1, PROPERTIES, ROOT, Found, Seat

SYSTEM_PYTHON = "/usr/bin/python3"
MOCK = "org.freedesktop.DBus.Mock"


class LogindMock:
    """python-dbusmock's logind, and what is in it."""

    def __init__(
        self, daemon: Daemon, folder: Path, more: tuple[str, ...] = ("--template", "logind")
    ) -> None:
        self._log = folder / "logind.log"
        argv = [SYSTEM_PYTHON, "-m", "dbusmock", "--system", "--logfile", str(self._log), *more]
        env = {"DBUS_SYSTEM_BUS_ADDRESS": daemon.address, "PATH": "/usr/bin:/bin"}
        self._argv, self._env = argv, env
        self._client = Somebody(daemon.address)
        self.start()

    def start(self) -> None:
        """Start it; it is there when this returns."""
        self._process = subprocess.Popen(self._argv, env=self._env, stdin=subprocess.DEVNULL)
        rule = f"type='signal',sender='{THE_BUS.bus_name}',member='NameOwnerChanged',arg0='{LOGIN1}'"
        self._client.call(THE_BUS, "AddMatch", "s", rule)
        while not self._client.call(THE_BUS, "NameHasOwner", "s", LOGIN1)[0]:
            if self._process.poll() is not None:
                raise BedError(
                    "the mock of logind does not start; on Debian: apt-get install python3-dbusmock"
                )
            try:
                self._client.answer(0.2)
            except TimeoutError:
                continue

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        self._client.close()

    def seat(self, name: str = "seat0") -> None:
        self._mock(ROOT, "AddSeat", "s", name)

    def session(self, id: str, user: str, uid: int, seat: str = "seat0", **properties: Any) -> str:
        """A session of the seat, from here on the one in front."""
        (path,) = self._mock(ROOT, "AddSession", "ssusb", id, seat, uid, user, True)
        if properties:
            self.change(path, **properties)
        return str(path)

    def change(self, path: str, **properties: Any) -> None:
        """New properties, with the signal."""
        kinds = {str: "s", bool: "b", int: "u"}
        values = {name: (kinds[type(value)], value) for name, value in properties.items()}
        kind = "Session" if "/session/" in path else "Seat"
        self._mock(path, "UpdateProperties", "sa{sv}", f"{LOGIN1}.{kind}", values)

    def front(self, id: str, path: str) -> None:
        """Bring another session to the front."""
        self._seat("ActiveSession", ("(so)", (id, path)))

    def end(self, path: str) -> None:
        """Remove the session without telling the seat."""
        self._mock(ROOT, "RemoveObject", "s", path)

    def listed(self, *sessions: str) -> None:
        """Set the sessions of the seat, by their paths."""
        self._seat("Sessions", ("a(so)", [(path.rpartition("/")[2], path) for path in sessions]))

    def calls(self) -> list[str]:
        """Return the calls that the manager received, as member and arguments, without the test's own."""
        (calls,) = self._mock(ROOT, "GetCalls")
        said = []
        for _, member, arguments in calls:
            said.append(" ".join([member, *(str(value) for _, value in arguments)]))
        return said

    def manager_signal(self, member: str, id: str, path: str) -> None:
        body = [("s", id), ("o", path)]
        self._mock(ROOT, "EmitSignal", "sssav", f"{LOGIN1}.Manager", member, "so", body)

    def _seat(self, name: str, value: tuple[str, Any]) -> None:
        # The mock's own UpdateProperties takes no structures.
        address = DBusAddress(f"{ROOT}/seat/seat0", LOGIN1, PROPERTIES)
        self._client.call(address, "Set", "ssv", f"{LOGIN1}.Seat", name, value)

    def _mock(self, path: str, member: str, signature: str = "", *body: Any) -> tuple[Any, ...]:
        return self._client.call(DBusAddress(path, LOGIN1, MOCK), member, signature, *body)


@pytest.fixture
def logind(daemon: Daemon, tmp_path: Path) -> Iterator[LogindMock]:
    """logind with an empty seat0."""
    mock = LogindMock(daemon, tmp_path)
    mock.seat()
    yield mock
    mock.close()


@pytest.fixture
def seat(desk: Desk, tmp_path: Path) -> Seat:
    """The seat as the agent sees it; there is no utmp."""
    return Seat(desk.reactor, desk.bus, "tty1", str(tmp_path / "utmp"), str(tmp_path / "seats"))


def look(desk: Desk, seat: Seat) -> Found:
    """Look now and return the result."""
    found: list[Found] = []
    seat.look(found.append)
    desk.turn(lambda: found)
    return found[0]
