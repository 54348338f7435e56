"""Computes fingerprints of the CAs in a PEM text. Accepts only a form that all readers read alike."""

import re
from hashlib import sha256

from sso.errors import ConfigError, FramingError
from sso.framing import b64decode

FINGERPRINT = re.compile("sha256:[0-9a-f]{64}")
CAS_MAX = 16
# RFC 7468 section 3, as generators write it: lines of 64 characters, and nothing between two certificates.
_CERTIFICATE = re.compile(
    r"\s*-----BEGIN CERTIFICATE-----\r?\n"
    r"((?:[A-Za-z0-9+/]{64}\r?\n)*(?:[A-Za-z0-9+/=]{1,64}\r?\n))"
    r"-----END CERTIFICATE-----(?:\r?\n|\Z)\s*",
    re.ASCII,
)


def fingerprints(pem: str) -> tuple[str, ...]:
    """Return sha256:HEX of each certificate's DER; raises ConfigError if the text is no plain list of CAs."""
    found: list[str] = []
    at = 0
    while at < len(pem):
        block = _CERTIFICATE.match(pem, at)
        if not block or len(found) == CAS_MAX:
            raise ConfigError(
                "ca: it has to be certificates as PEM in lines of 64 characters, and nothing else"
            )
        at = block.end()
        try:
            der = b64decode("".join(block[1].split()).encode())
        except FramingError:
            raise ConfigError("ca: a certificate in it is no base64") from None
        found.append(f"sha256:{sha256(der).hexdigest()}")
    return tuple(found)
