"""Two bare Sessions, one at each end, and a mechanism of one token."""

from sso.errors import MechanismError
from sso.mech import Mechanism
from sso.protocol.events import Closed, Event
from sso.protocol.messages import (
    Ok,
    Signature,
)
from sso.protocol.session import Session
from sso.protocol.state import Role

ATTEMPT = b"a" * 16


class Secretless(Mechanism):
    """One token each way and no layer; what SASL without a layer looks like."""

    def __init__(self, turns: int = 1, cause: str = "") -> None:
        self._left, self._cause = turns, cause
        self.bound, self.disposed = b"", False

    def bind(self, binding: bytes) -> None:
        self.bound = binding

    def step(self, token: bytes) -> bytes:
        if self._cause:
            raise MechanismError(self._cause)
        self.complete = self._left == 0
        self._left -= 1
        return b"token"

    def dispose(self) -> None:
        self.disposed = True


class Ends:
    """A client's and a guest's Session; `client` and `guest` events are collected as they come."""

    def __init__(self) -> None:
        self.client = Session(Role.CLIENT, attempt=ATTEMPT)
        self.guest = Session(Role.GUEST, mechanisms=("PLAINEST",))

    def greeted(self) -> "Ends":
        self.client.start()
        assert self.cross_to_guest() == [Signature("client", self.client._greeting._nonce, attempt=ATTEMPT)]
        assert [type(event) for event in self.cross_to_client()] == [Signature]
        return self

    def ready(self) -> "Ends":
        self.greeted().guest.send(Ok())
        assert self.cross_to_client() == [Ok()]
        return self

    def cross_to_guest(self) -> list[Event]:
        return feed(self.guest, self.client.data_to_send())

    def cross_to_client(self) -> list[Event]:
        return feed(self.client, self.guest.data_to_send())


def feed(session: Session, data: bytes) -> list[Event]:
    if data:
        session.receive_data(data)
    return list(iter(session.next_event, None))


def after_doubt(session: Session) -> list[Event]:
    """What comes when a refusal is put off no longer."""
    session.end_doubt()
    return list(iter(session.next_event, None))


def closed(events: list[Event]) -> Closed:
    assert isinstance(events[-1], Closed), events
    return events[-1]
