"""Which key a service has at the KDC now, whatever ticket for it lies in the cache.

A ticket stays in the cache until it ends. When the service gets a new key meanwhile (a guest that is set up
anew, a keytab that is written anew), the ticket is of use to nobody any more.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gssapi import raw

from sso.errors import MechanismError
from sso_mechs import ccache

CACHE_MAX = 1024 * 1024  # octets of a cache with all its tickets


@contextmanager
def tgt_alone(credentials: Any) -> Iterator[str]:
    """The name of a cache with the TGT of these credentials and nothing else.

    It lies in a folder of our own (0700), which goes at the end, with whatever is got meanwhile. Raises
    GSSError, and MechanismError("no-ticket") where no TGT is.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "ccache")
        place: dict[bytes | str, bytes | str] = {b"ccache": b"FILE:" + path.encode()}
        raw.store_cred_into(place, credentials, usage="initiate", overwrite=True)
        with open(path, "r+b") as file:
            tickets = ccache.read(file.read(CACHE_MAX))
            own = next((t for t in tickets if t.server.startswith("krbtgt/")), None)
            if own is None:
                raise MechanismError("no-ticket", "the credential cache holds no TGT")
            file.seek(0)
            file.truncate()
            file.write(ccache.write(own))
        yield f"FILE:{path}"
