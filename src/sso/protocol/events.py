"""What a Session reports beside the messages themselves."""

from typing import NamedTuple

from sso.mech import Mechanism
from sso.protocol.messages import Message


class LayerStarted(NamedTuple):
    """A mechanism is complete: its kind ("tls", "sasl"), its name, and the mechanism itself."""

    kind: str
    name: str
    mechanism: Mechanism


class LayerFailed(NamedTuple):
    """Guest: a SASL mechanism refused the client; the client was told a code, `cause` is for the log."""

    name: str
    cause: str
    detail: str


class Reset(NamedTuple):
    """The peer began anew; this session is over and a new one has to take its place."""


class Closed(NamedTuple):
    """The session is over; `cause` is a short stable word, `detail` is for the log and no peer's text."""

    cause: str
    detail: str = ""
    code: int = 0


Event = Message | LayerStarted | LayerFailed | Reset | Closed
