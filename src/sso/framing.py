"""Chooses between the compiled core and its Python twin; no other module does.

Both have the same names: `b64encode`, `b64decode`, `credentials_line`, `wipe`, `MessageFramer`. With
`SSO_PURE=1` in the environment the twin is used even if the compiled core is installed.
"""

from os import environ
from typing import TYPE_CHECKING

COMPILED = False
if TYPE_CHECKING:
    from sso._framing_py import MessageFramer, Words, b64decode, b64encode, credentials_line, wipe
else:
    try:
        if environ.get("SSO_PURE") == "1":
            raise ImportError
        from sso._framing import MessageFramer, b64decode, b64encode, credentials_line, wipe

        COMPILED = True
    except ImportError:
        from sso._framing_py import MessageFramer, b64decode, b64encode, credentials_line, wipe

    Words = tuple

__all__ = ["COMPILED", "MessageFramer", "Words", "b64decode", "b64encode", "credentials_line", "wipe"]
