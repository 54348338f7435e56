"""The exceptions of Console SSO; this module imports nothing.

    SSOError
      FramingError          bytes that are not a line of the protocol
      LocalProtocolError    our own caller broke the state table
      RemoteProtocolError   the peer broke the protocol
      MechanismError        a mechanism refused or failed
      PolicyError           local policy forbids the next step
      ConfigError           a wrong setting or argument, which a person can correct
      PortClosed            the port is gone or cannot be opened
        NoAgent             a process of the guest cannot reach the agent

Their messages never contain a secret or the peer's raw text.
"""


class SSOError(Exception):
    """Base class of all errors that this software raises on purpose."""


class FramingError(SSOError):
    """The bytes break the line grammar (PROTOCOL.md section 2).

    `reason` is one of "octet", "line", "secret", "base64", "credentials".
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LocalProtocolError(SSOError):
    """The caller tried to send a message that the state table does not allow now."""


class RemoteProtocolError(SSOError):
    """The peer broke the protocol; `code` is the error code for the answer."""

    def __init__(self, message: str, code: int = 406) -> None:
        super().__init__(message)
        self.code = code


class MechanismError(SSOError):
    """A mechanism failed; `cause` is a short stable word for exit codes and logs.

    `minor` is the mechanism's own status number if it has one (GSS-API minor status), else 0.
    `token` may still be sent to the peer, so that it learns of the failure.
    """

    def __init__(self, cause: str, detail: str = "", *, minor: int = 0, token: bytes = b"") -> None:
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause
        self.minor = minor
        self.token = token


class PolicyError(SSOError):
    """Local policy forbids the next step; `cause` is a short stable word."""

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(detail or cause)
        self.cause = cause


class ConfigError(SSOError):
    """A configuration value or an argument is wrong; the message says what to correct."""


class PortClosed(SSOError):
    """The port is gone, busy or cannot be opened."""


class NoAgent(PortClosed):
    """No process listens on the agent's socket, or the one that listens is not the agent."""
