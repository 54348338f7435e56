"""Makes a credential of the TGT that a client has forwarded by delegation (PROTOCOL.md section 8.4)."""

import time
from typing import Any

from gssapi import raw

from sso.credential import Credential
from sso.errors import MechanismError
from sso_mechs.gss_errors import gss_errors
from sso_mechs.handed_over import check_cache
from sso_mechs.krb5_memory import octets_of
from sso_mechs.principal import Principal


def credential_of(credentials: Any, principal: str) -> Credential:
    """Return the TGT of these GSS-API credentials as the bytes of a FILE ccache.

    Raises MechanismError if it is not a valid TGT of that principal.
    """
    with gss_errors("delegation"):
        given: Any = raw.inquire_cred(credentials, name=True, lifetime=True, usage=False, mechs=False)
        if raw.display_name(given.name, name_type=False).name != principal.encode():
            raise MechanismError("delegation", "the forwarded ticket belongs to another principal")
        expires = int(time.time()) + (given.lifetime or 0)
        secret = octets_of(credentials)
    credential = Credential("kerberos", principal, secret, expires)
    try:
        check_cache(secret, Principal(principal).realm)
    except MechanismError:
        credential.wipe()
        raise
    return credential
