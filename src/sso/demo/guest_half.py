"""Runs only the guest's conversation, on stdin and stdout: stores the ticket, and signs nobody in."""

import os
import sys
import time

from sso.guest.channel.conversation import Claim, GuestConversation
from sso.mech import Mechanism, load
from sso.policy import GuestPolicy
from sso.ports.port import open_port
from sso.ports.pump import Pump


def main(spn: str, keytab: str, store: str) -> int:
    """Serve one client; return 0 if a ticket was stored."""
    conversation: GuestConversation

    def make(name: str, **arguments: object) -> Mechanism:
        arguments.pop("in_tls", None)
        own = {"spn": spn, "keytab": keytab} if name == "GSSAPI" else {}
        return load(name).accept(**own, **arguments)

    def submit(claim: Claim) -> None:
        if claim.credential is not None and claim.credential.secret is not None:
            fd = os.open(store, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(claim.credential.secret)
            claim.credential.wipe()
        conversation.verdict(0, time.monotonic())

    conversation = GuestConversation(GuestPolicy(), make, submit)
    port = open_port("stdio")
    Pump(port, conversation).run()
    port.close()
    return 0 if os.path.exists(store) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
