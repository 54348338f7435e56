"""The kinds of login that this viewer answers at a VNC server, best first, and no others.

The server chooses what it offers. With ARD (30) and the MS logons it would get the user's name and password
encrypted with a key that the server itself chose; SASL without X.509 could ask for a Kerberos ticket. The
numbers are from RFB's registry (RFC 6143 section 7.1.2) and from VeNCrypt.
"""

from collections.abc import Iterable

NONE, VNC, VENCRYPT = 1, 2, 19
TYPES = (VENCRYPT, NONE, VNC)
# X.509 proves the server, so it may get a name and a password. Anonymous TLS proves nothing.
X509_NONE, X509_VNC, X509_PLAIN, X509_SASL = 260, 261, 262, 263
TLS_NONE, TLS_VNC = 257, 258
SUBTYPES = (X509_NONE, X509_VNC, X509_SASL, X509_PLAIN, TLS_NONE, TLS_VNC)

NAMES = {
    NONE: "none",
    VNC: "VncAuth",
    5: "RA2",
    6: "RA2ne",
    16: "Tight",
    17: "Ultra",
    18: "TLS",
    VENCRYPT: "VeNCrypt",
    20: "SASL",
    30: "ARD",
    113: "MSLogonII",
    0xFFFFFFFA: "MSLogon",
    256: "Plain",
    TLS_NONE: "TLSNone",
    TLS_VNC: "TLSVnc",
    259: "TLSPlain",
    X509_NONE: "X509None",
    X509_VNC: "X509Vnc",
    X509_PLAIN: "X509Plain",
    X509_SASL: "X509SASL",
    264: "TLSSASL",
}
_SHOWN_MAX = 8  # kinds in a line


def choose(offered: Iterable[int], answered: tuple[int, ...]) -> int | None:
    """Return the first kind of `answered` that the server offers; None if it offers none."""
    there = set(offered)
    return next((kind for kind in answered if kind in there), None)


def refusal(offered: Iterable[int]) -> str:
    """Return a line for the user about a server that offers no kind that we answer."""
    names = [f"{NAMES.get(kind, 'unknown')} ({kind})" for kind in offered]
    shown = ", ".join(names[:_SHOWN_MAX]) + (" and more" if len(names) > _SHOWN_MAX else "")
    return f"the console offers no login that is answered here, only {shown or 'none at all'}"
