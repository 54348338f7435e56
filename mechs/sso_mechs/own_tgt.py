"""The user's own TGT out of a cache of any kind: how long it is, and a cache in which it is alone.

A service's ticket stays in the cache until it ends. When the service gets a new key meanwhile (a guest that
is set up anew, a keytab that is written anew), the ticket is of use to nobody, and only a cache without it
shows that.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gssapi import raw

from sso_mechs import ccache
from sso_mechs.ccache import Ticket


@contextmanager
def alone(credentials: Any) -> Iterator[tuple[str, Ticket]]:
    """The name of a cache with the TGT of these credentials and nothing else, and that TGT.

    It lies in a folder of our own (0700), which goes at the end, with whatever is got meanwhile. Raises
    GSSError, and MechanismError("no-ticket") where no TGT is.
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
