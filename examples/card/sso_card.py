"""Three third-party credential types for Console SSO: the number of a card and its PIN, in one token.

    client  number NUL pin

Whoever reads the token has the card's secret, so it goes inside verified TLS alone. The guest knows the cards
from a file with a line number:pin:user:password for each. What PAM gets is what each type declares:

    x-card             nothing: the guest believes the card (accept_identity has to be on)
    x-card-password    the password of that line, as PAM_AUTHTOK: PAM decides as if the user had typed it
    x-card-ticket      a Kerberos ticket: the user is its principal, and the password is the path of a cache
"""

import hmac

from sso.credential import Credential
from sso.errors import MechanismError
from sso.mech import IDENTITY, KERBEROS, PASSWORD, TICKET, Mechanism, Pair, Setting

FILE_MAX = 65536  # bytes of a file with cards


class Shown(Mechanism):
    """The client's half: the number of the card, and the file that holds its PIN alone."""

    def __init__(self, *, number: str, pin_file: str) -> None:
        self._token = number.encode() + b"\0" + _read(pin_file).strip()

    def step(self, token: bytes) -> bytes:
        self.complete = True
        return self._token


class Checked(Mechanism):
    """The guest's half: `cards` is a file with a line number:pin:user:password for each card."""

    type = "x-card"

    def __init__(self, *, cards: str) -> None:
        lines = (line.split(b":", 3) for line in _read(cards).splitlines())
        self._cards = {words[0]: words[1:] for words in lines if len(words) == 4}

    def step(self, token: bytes) -> bytes:
        number, _, pin = bytes(token).partition(b"\0")
        known, user, password = self._cards.get(number, (b"", b"", b""))
        if not hmac.compare_digest(pin, known) or not user:
            raise MechanismError("card", "there is no such card, or its PIN is another one")
        self.peer, self.complete = user.decode("ascii", "replace"), True
        self.credential = Credential(self.type, self.peer, self._secret(password))
        return b""

    def _secret(self, password: bytes) -> bytearray | None:
        return None


class PasswordOfCard(Checked):
    """Hands PAM the password that belongs to the card."""

    type = "x-card-password"

    def _secret(self, password: bytes) -> bytearray | None:
        return bytearray(password)


class TicketOfCard(Checked):
    """Hands PAM the ticket of a cache of the kind FILE; a real one would get it from the KDC by the card."""

    type = "x-card-ticket"

    def _secret(self, password: bytes) -> bytearray | None:
        return bytearray(_read(password.decode("ascii", "replace")))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(FILE_MAX)
    except OSError as error:
        raise MechanismError("card", f"{path}: {error.strerror}") from None


CARD = Pair(
    "x-card",
    "credential",
    Shown,
    Checked,
    confidential=True,
    provides=("x-card",),
    initiates=(
        Setting("number", str, "the number of your card"),
        Setting("pin_file", str, "the path of a file that holds its PIN"),
    ),
    accepts=(Setting("cards", str, "the path of a file with a line number:pin:user:password for each card"),),
    gives=IDENTITY,
    alone=True,
)
CARD_PASSWORD = CARD._replace(
    name="x-card-password", accept=PasswordOfCard, provides=("x-card-password",), gives=PASSWORD
)
CARD_TICKET = CARD._replace(
    name="x-card-ticket", accept=TicketOfCard, provides=("x-card-ticket",), gives=TICKET, namespace=KERBEROS
)
