"""Who is at the desktop, and what was shown in that name."""

from collections.abc import Callable
from typing import NamedTuple

from sso.credential import Credential


class Person(NamedTuple):
    """How to ask the person at the desktop; each may block, and None means that nobody can be asked."""

    password: Callable[[], Credential | None] = lambda: None
    accept_spn: Callable[[str], bool] = lambda spn: False


class Shown(NamedTuple):
    """The ticket that a login shows: whose, for which service, and its end in seconds since the epoch."""

    principal: str
    spn: str
    until: float


NOBODY = Person()
