"""Makes a credential of the TGT that a client has forwarded by delegation (PROTOCOL.md section 8.4)."""

from typing import Any

from sso.credential import Credential
from sso.errors import MechanismError
from sso_mechs.gss_errors import gss_errors
from sso_mechs.handed_over import check_cache
from sso_mechs.krb5_memory import octets_of


def credential_of(credentials: Any, principal: str) -> Credential:
    """Return the TGT of these GSS-API credentials as the bytes of a FILE ccache.

    Raises MechanismError if it is not a valid TGT of that principal. Owner and end are read from these very
    bytes: to ask the library for them takes half as long as to get the ticket from it.
    """
    with gss_errors("delegation"):
        credential = Credential("kerberos", principal, octets_of(credentials))
    try:
        credential.expires = check_cache(credential.secret or bytearray(), principal)
    except MechanismError:
        credential.wipe()
        raise
    return credential
