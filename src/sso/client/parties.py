"""Who takes part in a login: the person who can be asked, the guest's service, the ticket that is shown."""

from collections.abc import Callable
from typing import NamedTuple

from sso.credential import Credential
from sso.policy import Source


class Person(NamedTuple):
    """How to ask the person at the desktop; each may block, and None means that nobody can be asked.

    `accept_spn` gets the guest's own word for its service and the user's principal. `console` is how that
    question names the console, "" where it cannot.
    """

    password: Callable[[], Credential | None] = lambda: None
    accept_spn: Callable[[str, str], bool] = lambda spn, principal: False
    console: str = ""


class Service(NamedTuple):
    """The guest's service, where its name came from, and whether a person said yes to console and ticket."""

    spn: str
    source: Source
    agreed: bool = False


class Shown(NamedTuple):
    """The ticket that a login shows: whose, for which service, and its end in seconds since the epoch."""

    principal: str
    service: Service
    until: float


NOBODY = Person()
