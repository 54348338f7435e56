"""Turns errors of GSS-API and Kerberos into MechanismError: a cause of ours, the library's text as detail."""

from types import TracebackType
from typing import Any

from sso.errors import MechanismError
from sso.mech import SAID
from sso_mechs.gssapi_raw import raw

# Kerberos error numbers (krb5_err.et, relative to its base) and our words, which have exit codes.
_ERROR_BASE = 2529638912
_CAUSES = {
    7: "unknown-service",
    14: "weak-key",
    31: "wrong-key",
    32: "ticket-expired",
    33: "clock-skew",  # not yet valid: the clock of the side that reports it is behind
    34: "replay",
    35: "wrong-key",
    37: "clock-skew",
    38: "wrong-address",
    44: "wrong-key",
    45: "wrong-key",
    61: "too-long",
    141: "no-ticket",
    154: "unknown-realm",
    156: "kdc-unreachable",
    181: "no-keytab",
    195: "no-ticket",
    230: "wrong-key",
    236: "weak-key",
}


class gss_errors:  # lower case, because it is used in `with`
    """Context manager that turns GSSError into MechanismError; `otherwise` is the cause of unknown numbers.

    `said`: the error comes from the peer's KRB-ERROR (RFC 4120 section 5.9.1) and cannot be verified, so the
    cause begins with SAID.
    """

    __slots__ = ("_otherwise", "_said")

    def __init__(self, otherwise: str = "gssapi", said: bool = False) -> None:
        self._otherwise, self._said = otherwise, said

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None and isinstance(error, raw.GSSError):
            raise _failure(error, self._otherwise, SAID if self._said else "") from None


class expiry_as_skew:  # lower case, because it is used in `with`
    """Context manager that reports an expired ticket as clock-skew: a client sends only tickets that are
    valid by its own clock, so our clock is ahead."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, MechanismError) and error.cause == "ticket-expired":
            error.cause = "clock-skew"


def _failure(error: Any, otherwise: str, prefix: str) -> MechanismError:
    """Build a MechanismError from a GSSError: our word as the cause, the library's text as the detail."""
    minor = int(getattr(error, "min_code", 0) or 0)
    known = {
        raw.ExpiredCredentialsError: "ticket-expired",
        raw.MissingCredentialsError: "no-ticket",
        raw.BadChannelBindingsError: "binding",
        raw.DuplicateTokenError: "replay",
    }
    cause = _CAUSES.get(minor - _ERROR_BASE) or known.get(type(error), otherwise)
    detail = " ".join(str(error.get_all_statuses(minor, False)[0]).split()) if minor else type(error).__name__
    detail = "" if detail == "Success" else detail  # the library has no text for this number
    return MechanismError(prefix + cause, detail, minor=minor)
