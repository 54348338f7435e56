"""The state table, the same for both roles (PROTOCOL.md section 5).

TABLE holds every rule about who may send what and in which state. It does not depend on our own role, so the
same rows apply to both ends; a message without a row is an error. Three words in the table are not verbs:
DELAY is `error 300`, VALUE is `ok` with a value, and UNKNOWN is any verb that we do not know. BACK, as a next
state, means the state before the open request.
"""

from enum import Enum

from sso.errors import LocalProtocolError, RemoteProtocolError
from sso.protocol.messages import VERBS, Code, Error, Message, Ok


class Role(Enum):
    """The two ends: the client is the initiator, the guest the acceptor (words of SASL and GSS-API)."""

    CLIENT = "client"
    GUEST = "guest"

    # Enum's own __hash__ is a Python function; each line causes several look-ups in TABLE.
    __hash__ = object.__hash__

    @property
    def peer(self) -> "Role":
        return Role.GUEST if self is Role.CLIENT else Role.CLIENT


class State(Enum):
    """The states of a session; the value says what the session waits for."""

    SYNC = "a SIGNATURE that echoes the client's nonce"
    GREETED = "the guest's word behind its SIGNATURE"
    READY = "a request of the client"
    ASKED = "the client's answer to authenticate"
    DELAYED = "the delayed answer to authenticate, or another request of the client"
    OFFERED = "the credentials that the client said yes to"
    INFO = "the guest's answer to info"
    TLS_ASKED = "the guest's answer to startTLS"
    TLS = "octets of the TLS handshake"
    SASL_ASKED = "the guest's answer to startSASL"
    SASL = "frames of the SASL mechanism, or its outcome"
    SECURED = "the guest's SIGNATURE inside the new TLS layer"
    AUTHENTICATED = "the guest's SIGNATURE after SASL"
    CONCLUDING = "the guest's verdict, or its wish for a credential"
    DECIDING = "the guest's verdict on the credentials"
    REFUSED = "the guest's verdict without a credential"
    DONE = "nothing: the guest said ok to the login"
    ENDED = "nothing: the guest said no"
    CLOSED = "nothing: the session is over"

    __hash__ = object.__hash__


C, G = Role.CLIENT, Role.GUEST
DELAY, VALUE, UNKNOWN = "delay", "value", "unknown"
_DELAY = int(Code.DELAY)
BACK = None
S = State

TABLE: dict[State, dict[tuple[Role, str], State | None]] = {
    S.SYNC: {(C, "SIGNATURE"): S.SYNC, (G, "SIGNATURE"): S.GREETED},
    S.GREETED: {(G, "authenticate"): S.ASKED, (G, "ok"): S.READY, (G, "error"): S.ENDED},
    S.READY: {
        (C, "startTLS"): S.TLS_ASKED,
        (C, "startSASL"): S.SASL_ASKED,
        (C, "info"): S.INFO,
        (C, UNKNOWN): S.READY,
        (G, UNKNOWN): S.READY,
        (C, "error"): S.READY,
        (G, "error"): S.READY,
    },
    S.ASKED: {
        (C, "ok"): S.OFFERED,
        (C, DELAY): S.DELAYED,
        (C, "error"): S.REFUSED,
        (C, UNKNOWN): S.ASKED,
        (G, "error"): S.ASKED,
    },
    S.DELAYED: {
        (C, "startTLS"): S.TLS_ASKED,
        (C, "startSASL"): S.SASL_ASKED,
        (C, "info"): S.INFO,
        (C, "ok"): S.OFFERED,
        (C, DELAY): S.DELAYED,
        (C, "error"): S.REFUSED,
        (C, UNKNOWN): S.DELAYED,
        (G, "error"): S.DELAYED,
    },
    S.OFFERED: {
        (C, "credentials"): S.DECIDING,
        (C, "error"): S.REFUSED,
        (C, UNKNOWN): S.OFFERED,
        (G, "error"): S.OFFERED,
    },
    S.INFO: {(G, VALUE): BACK, (G, "error"): BACK},
    S.TLS_ASKED: {(G, "ok"): S.TLS, (G, "error"): BACK},
    S.TLS: {},
    S.SASL_ASKED: {(G, "ok"): S.SASL, (G, "error"): BACK},
    S.SASL: {(G, "ok"): S.AUTHENTICATED, (G, "error"): BACK},
    S.SECURED: {(G, "SIGNATURE"): S.GREETED},
    S.AUTHENTICATED: {(G, "SIGNATURE"): S.CONCLUDING},
    S.CONCLUDING: {(G, "ok"): S.DONE, (G, "error"): S.ENDED, (G, "authenticate"): S.ASKED},
    S.DECIDING: {(G, "ok"): S.DONE, (G, "error"): S.ENDED},
    S.REFUSED: {(G, "ok"): S.DONE, (G, "error"): S.ENDED},
    S.DONE: {},
    S.ENDED: {},
    S.CLOSED: {},
}
FINAL = frozenset({S.DONE, S.ENDED, S.CLOSED})
BINARY = frozenset({S.SYNC, S.TLS, S.SASL})  # states in which the bytes are not lines
LINELESS = BINARY | FINAL
LAYER_ASKED = frozenset({S.TLS_ASKED, S.SASL_ASKED})
_OPEN_REQUESTS = LAYER_ASKED | {S.INFO}


class StateMachine:
    """Applies TABLE to one session; it handles no bytes, layers or secrets."""

    __slots__ = ("_before", "state")

    def __init__(self) -> None:
        self.state = State.SYNC
        self._before = State.SYNC

    def allows(self, sender: Role, message: Message) -> bool:
        return (sender, word(message)) in TABLE[self.state]

    def sent(self, sender: Role, message: Message) -> None:
        """Apply a message that we send. Raises LocalProtocolError when the table has no such row."""
        if not self._move((sender, word(message))):
            raise LocalProtocolError(f"{word(message)} may not be sent in state {self.state.name}")

    def received(self, sender: Role, message: Message) -> None:
        """Apply a message that the peer sent. Raises RemoteProtocolError (406) when there is no such row."""
        if not self._move((sender, word(message))):
            raise RemoteProtocolError(f"unexpected {word(message)} in state {self.state.name}")

    def secured(self) -> None:
        """Note that the TLS handshake is complete, since no line marks its end."""
        self.state = State.SECURED

    def _move(self, step: tuple[Role, str]) -> bool:
        """Go to the next state of TABLE; False, without a change, when there is no row."""
        row = TABLE[self.state]
        if step not in row:
            return False
        following = row[step]
        if following in _OPEN_REQUESTS:
            self._before = self.state
        self.state = self._before if following is BACK else following
        return True


def word(message: Message) -> str:
    """Return the word for a message in TABLE."""
    if isinstance(message, Error) and message.code == _DELAY:
        return DELAY
    if isinstance(message, Ok) and message.value:
        return VALUE
    return VERBS[type(message)]
