"""Reads the user's TGT from a cache of any kind, and makes a cache that contains only that TGT.

A service ticket stays in the cache until it expires. If the service gets a new key before that (the guest or
its keytab was set up again), the ticket is useless; a cache without it makes the KDC issue a new one.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sso_mechs import ccache
from sso_mechs.ccache import Ticket
from sso_mechs.gssapi_raw import raw


@contextmanager
def alone(credentials: Any) -> Iterator[tuple[str, Ticket]]:
    """Yield the name of a cache that contains only the TGT of these credentials, and that TGT.

    The cache is in a folder of our own (0700), which is removed at the end with all later tickets. Raises
    GSSError, and MechanismError("no-ticket") if there is no TGT.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "ccache")
        place: dict[bytes | str, bytes | str] = {b"ccache": b"FILE:" + path.encode()}
        raw.store_cred_into(place, credentials, usage="initiate", overwrite=True)
        with open(path, "r+b") as file:
            ticket = ccache.ticket_granting(ccache.read(file.read(ccache.FILE_MAX)))
            file.seek(0)
            file.truncate()
            file.write(ccache.write(ticket))
        yield f"FILE:{path}", ticket
