"""Checks a ticket that a client sends, by delegation or by `credentials` (PROTOCOL.md sections 8.4 and 9.1).

Only the client vouches for the contents of a KRB-CRED, also inside an AP-REQ: no KDC has signed them.
"""

import time

from sso.errors import MechanismError
from sso_mechs import ccache
from sso_mechs.ccache import Ticket
from sso_mechs.enctypes import KEY_SIZES, name_of
from sso_mechs.principal import Principal

SKEW_MAX = 300  # seconds by which the KDC's clock may be ahead of ours (RFC 4120 section 5.2.3)


def check(ticket: Ticket, realm: str) -> None:
    """Raise MechanismError unless the ticket is a TGT of that realm, has an AES key, and is valid now."""
    now = time.time()
    server = Principal(ticket.server)
    if not server.is_own_tgt or server.realm != realm:
        raise MechanismError("kerberos", "the ticket is no TGT of the principal's own realm")
    if ticket.key_type not in KEY_SIZES:
        raise MechanismError(
            "weak-key", f"the session key of the user's ticket is {name_of(ticket.key_type)}"
        )
    if len(ticket.key) != KEY_SIZES[ticket.key_type]:
        raise MechanismError("kerberos", "the ticket's session key has a wrong length")
    if ticket.end_time <= now:
        raise MechanismError("ticket-expired", "the ticket has expired")
    if (ticket.start_time or ticket.auth_time) > now + SKEW_MAX:
        raise MechanismError("clock-skew", "the ticket begins in the future")


def check_cache(octets: bytearray, owner: str) -> int:
    """Check each ticket in a cache file in the same way, and that `owner` owns it.

    Returns when the first of them ends, in seconds since the epoch. Raises MechanismError.
    """
    tickets, realm = ccache.read(octets), Principal(owner).realm
    for ticket in tickets:
        if ticket.client != owner:
            raise MechanismError("delegation", "the forwarded ticket belongs to another principal")
        check(ticket, realm)
    if not tickets:
        raise MechanismError("delegation", "the forwarded ticket is lost")
    return min(ticket.end_time for ticket in tickets)
