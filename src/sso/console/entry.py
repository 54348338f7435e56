"""The entry: which guest a site's consoles show (docs/connection-file.md section 2). Pure: no I/O."""

from typing import NamedTuple


class ShownAt(NamedTuple):
    """One console of a guest: `relay` without a ticket's label, or `ca` (sha256:HEX of its DER) and `subject`.

    `proxy` is the proxy's host, "" where there has to be none.
    """

    relay: str = ""
    ca: str = ""
    subject: str = ""
    proxy: str = ""


class GuestEntry(NamedTuple):
    """What a site has signed off-line about one guest.

    `guest` is its UUID; `spn` or `tls_name` is there, or both; `pins` are sha256:HEX of TLS keys; `openers`
    the public keys of portals that may sign openings for it; `until` is in seconds since 1970.
    """

    guest: str
    consoles: tuple[ShownAt, ...]
    spn: str
    tls_name: str
    pins: tuple[str, ...]
    openers: tuple[bytes, ...]
    until: int

    @property
    def services(self) -> tuple[str, ...]:
        """Its names as the patterns of a TrustedKey take them."""
        return tuple(filter(None, (self.spn, self.tls_name and f"tls/{self.tls_name}")))
