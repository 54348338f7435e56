"""The errors of GSSAPI and Kerberos as ours: a word for the cause, the library's text as the detail."""

from types import TracebackType
from typing import Any

import gssapi

from sso.errors import MechanismError
from sso.mech import SAID

# Kerberos error numbers (krb5_err.et, counted from its base) to the words that exit codes use.
_ERROR_BASE = 2529638912
_CAUSES = {
    7: "unknown-service",
    14: "weak-key",
    31: "wrong-key",
    32: "ticket-expired",
    33: "clock-skew",  # not yet valid: whoever says so is behind
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


class gss_errors:  # a statement, and named like one
    """Every error of the library as ours; `otherwise` is the cause where its number says nothing.

    `said`: the peer has said so in a KRB-ERROR (RFC 4120 section 5.9.1), and nobody can tell whether that is
    true: the cause begins with SAID.
    """

    __slots__ = ("_otherwise", "_said")

    def __init__(self, otherwise: str = "gssapi", said: bool = False) -> None:
        self._otherwise, self._said = otherwise, said

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None and isinstance(error, gssapi.exceptions.GSSError):
            raise _failure(error, self._otherwise, SAID if self._said else "") from None


class expiry_as_skew:  # a statement, and named like one
    """A client sends no ticket that has expired by its own clock: then ours is ahead."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, MechanismError) and error.cause == "ticket-expired":
            error.cause = "clock-skew"


def _failure(error: Any, otherwise: str, prefix: str) -> MechanismError:
    """A GSS error as ours: a word for the cause, the library's text as the detail."""
    minor = int(getattr(error, "min_code", 0) or 0)
    known = {
        gssapi.exceptions.ExpiredCredentialsError: "ticket-expired",
        gssapi.exceptions.MissingCredentialsError: "no-ticket",
        gssapi.exceptions.BadChannelBindingsError: "binding",
        gssapi.exceptions.DuplicateTokenError: "replay",
    }
    cause = _CAUSES.get(minor - _ERROR_BASE) or known.get(type(error), otherwise)
    detail = " ".join(str(error.get_all_statuses(minor, False)[0]).split()) if minor else type(error).__name__
    detail = "" if detail == "Success" else detail  # a number that the library itself cannot name
    return MechanismError(prefix + cause, detail, minor=minor)
