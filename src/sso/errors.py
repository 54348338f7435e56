"""The exceptions of Console SSO; imports nothing.

    SSOError
      FramingError          octets that are no line of the protocol
      LocalProtocolError    our own caller broke the state table
      RemoteProtocolError   the peer broke the protocol
      MechanismError        a mechanism refused or failed
      PolicyError           local policy forbids what was about to happen
      ConfigError           a configuration or an argument that a person can mend
      PortClosed            the port is gone or cannot be opened
        NoAgent             a process of the guest finds no agent
      LoginDenied           the guest refused the login, with an error code

No message of these carries a secret or raw text of a peer.
"""


class SSOError(Exception):
    """Root of all errors that this software raises on purpose."""


class FramingError(SSOError):
    """Octets that break the line grammar (PROTOCOL.md section 2).

    `reason` is one of "octet", "line", "secret", "base64", "credentials".
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LocalProtocolError(SSOError):
    """The local caller sent a message that the state table does not allow now."""


class RemoteProtocolError(SSOError):
    """The peer broke the protocol; `code` is the error code to answer with."""

    def __init__(self, message: str, code: int = 406) -> None:
        super().__init__(message)
        self.code = code


class MechanismError(SSOError):
    """A mechanism failed; `cause` is a short stable word for exit codes and logs.

    `minor` is the mechanism's own status number where it has one (GSS-API minor status), else 0.
    `token` is what the peer may still be sent so that it learns of the failure.
    """

    def __init__(self, cause: str, detail: str = "", *, minor: int = 0, token: bytes = b"") -> None:
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause
        self.minor = minor
        self.token = token


class PolicyError(SSOError):
    """Local policy says no; `cause` is a short stable word."""

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(detail or cause)
        self.cause = cause


class ConfigError(SSOError):
    """A configuration value or an argument is wrong; the message says what to mend."""


class PortClosed(SSOError):
    """The port is gone, busy or cannot be opened."""


class NoAgent(PortClosed):
    """Nobody listens for this process of the guest, or who does is no agent."""


class LoginDenied(SSOError):
    """The guest refused; `code` is the protocol's error code."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message or f"refused with code {code}")
        self.code = code
