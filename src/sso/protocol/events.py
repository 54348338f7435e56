"""Events that a Session returns in addition to messages."""

from typing import NamedTuple

from sso.mech import Mechanism
from sso.protocol.messages import Message


class LayerStarted(NamedTuple):
    """A mechanism is complete: its kind ("tls" or "sasl"), its name, and the Mechanism object."""

    kind: str
    name: str
    mechanism: Mechanism


class LayerFailed(NamedTuple):
    """Guest only: a SASL mechanism refused the client. The client got a code; `cause` is for the log."""

    name: str
    cause: str
    detail: str


class Reset(NamedTuple):
    """The peer started a new session: this one is over, and the caller must create a new Session."""


class Closed(NamedTuple):
    """The session is over. `cause` is a short stable word; `detail` is for the log, without a peer's text."""

    cause: str
    detail: str = ""
    code: int = 0


Event = Message | LayerStarted | LayerFailed | Reset | Closed
