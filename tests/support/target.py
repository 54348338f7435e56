"""A guest that hostile input is thrown at."""

from collections.abc import Iterator
from typing import Any

from pair import Judge

from sso.guest.channel.conversation import GuestConversation as GuestConversation
from sso.policy import GuestPolicy
from sso.protocol.messages import MAGIC

SIGNATURE = b"\nSIGNATURE " + MAGIC.encode() + b" 1 1 client %s - -\n"


NONCE = b"AAAAAAAAAAAAAAAAAAAAAA=="


class Target:
    """A guest in some state, fed until it ends; what it says is thrown away, as a slow port would not."""

    def __init__(self, guest: GuestConversation, log: list[tuple[str, str]]) -> None:
        self.guest, self.log, self.taken, self.said = guest, log, 0, b""

    def feed(self, blocks: Iterator[bytes]) -> "Target":
        for block in blocks:
            if self.guest.finished:
                return self
            self.taken += len(block)
            self.guest.receive_data(block, 0.0)
        return self

    def end(self) -> tuple[str, bytes]:
        """The log id, and the last line that was said."""
        self.said += self.guest.data_to_send()
        return self.log[-1][0] if self.log else "", self.said.rsplit(b"\n", 2)[-2] if self.said else b""


def greeted(nonce: bytes = NONCE) -> Target:
    """A guest that has heard a SIGNATURE and asked for credentials."""
    target = fresh()
    target.guest.receive_data(SIGNATURE % nonce, 0.0)
    target.said = target.guest.data_to_send()
    return target


def fresh() -> Target:
    log: list[tuple[str, str]] = []
    guest = GuestConversation(
        GuestPolicy(types=("kerberos", "password")),
        no_mechanism,
        Judge(),
        note=lambda id, detail="", **fields: log.append((id, detail)),
    )
    guest.start(0.0)
    return Target(guest, log)


def no_mechanism(name: str, **arguments: Any) -> Any:
    raise AssertionError("nothing is begun")


def blocks(data: bytes, total: int) -> Iterator[bytes]:
    """`total` bytes of the same block again and again."""
    for _ in range(0, total, len(data)):
        yield data
