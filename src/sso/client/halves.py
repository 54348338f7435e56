"""What the client takes from the mechanisms' initiating halves: whose ticket it is, and what is handed over.

`load` finds mechanisms by name. Each function raises the MechanismError of its half.
"""

from collections.abc import Callable, Mapping

from sso.credential import Credential
from sso.framing import wipe
from sso.mech import NO, Pair, Table

NO_SERVICE = "host/unknown"  # a service for a context that asks nobody

Load = Callable[[str], Pair]
Tables = Mapping[str, Table]  # [mechanism.NAME] of client.toml, by name
NO_TABLES: Tables = {}


def own_name(load: Load, spn: str, ccache: str | None) -> str:
    """The principal whose ticket the service `spn` would be shown, "" for any; the KDC is not asked."""
    probe = load("GSSAPI").initiate(spn=spn or NO_SERVICE, delegate=NO, ccache=ccache)
    probe.dispose()
    return probe.own_name


def ticket_blob(load: Load, spn: str, ccache: str | None) -> bytearray:
    """A KRB-CRED for that service (PROTOCOL.md section 9), a secret of the caller's."""
    return bytearray(load("kerberos").initiate(spn=spn, cache=ccache).step(b""))


def password_blob(load: Load, credential: Credential) -> bytearray:
    """The blob of a password credential, which stays as it is; a secret of the caller's."""
    copy = bytearray(credential.secret or b"")
    try:
        half = load("password").initiate(user=credential.principal, password=copy)
        return bytearray(half.step(b""))
    finally:
        wipe(copy)
