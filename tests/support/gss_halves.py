"""The two halves of GSSAPI joined without a session, for tests of the mechanism alone."""

from typing import Any

from flows import SPN, Kerberos
from gssapi import raw
from sso_mechs.kerberos import Acceptor, Initiator

BINDING = b"sso/1:a transcript"


def halves(
    kerberos: Kerberos, keytab: str = "guest", spn: str = SPN, **arguments: Any
) -> tuple[Initiator, Acceptor]:
    offered = arguments.pop("layers", ("none", "int", "conf"))
    client = Initiator(spn=spn, **arguments)
    guest = Acceptor(**kerberos.guest(keytab, spn, layers=offered))
    for half in (client, guest):
        half.bind(BINDING)
    return client, guest


def exchange(
    client: Initiator, guest: Acceptor, tokens: list[bytes] | None = None
) -> tuple[Initiator, Acceptor]:
    token = b""
    for _ in range(4):
        token = client.step(token)
        if tokens is not None:
            tokens.append(token)
        token = guest.step(token)
        if guest.complete:
            return client, guest
    raise AssertionError("the exchange does not end")


def joined(kerberos: Kerberos, **arguments: Any) -> tuple[Initiator, Acceptor]:
    return exchange(*halves(kerberos, **arguments))


class Instead:
    """`raw` with one function of another kind."""

    def __init__(self, **functions: Any) -> None:
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(raw, name)
