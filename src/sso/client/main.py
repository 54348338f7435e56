"""`spice-client-sso`: one login over one port, spawned by a viewer or by hand."""

import sys

from sso.client.conversation import Conversation, Person
from sso.client.exits import Exit, Outcome
from sso.client.options import Options, complain, parse
from sso.client.prompts import Prompts
from sso.errors import ConfigError, PortClosed
from sso.loop import Pump
from sso.mech import load
from sso.port import open_port


def main(arguments: list[str] | None = None) -> int:
    """Run once and return the exit code of sso.client.exits; success is silent without --verbose."""
    verbose = 0
    try:
        options = parse(arguments)
        verbose = options.verbose
        outcome = sign_in(options)
    except ConfigError as error:
        outcome = Outcome(Exit.USAGE, str(error))
    except PortClosed as error:
        outcome = Outcome(Exit.LOST, str(error))
    except KeyboardInterrupt:
        outcome = Outcome(Exit.LOST, "interrupted")
    if outcome.exit is not Exit.SIGNED_IN or verbose:
        complain(outcome.line, outcome.hint)
    return int(outcome.exit)


def sign_in(options: Options) -> Outcome:
    """Open the port, hold the conversation, and say how it ended."""
    port = open_port(options.port)
    try:
        conversation = _conversation(options)
        Pump(port, conversation).run()
        return conversation.outcome or Outcome(Exit.LOST, "the connection ended in the middle")
    finally:
        port.close()


def _conversation(options: Options) -> Conversation:
    prompts = Prompts(
        user=options.user, spn=options.policy.spn, password_fd=options.password_fd, keyring=options.keyring
    )
    return Conversation(
        options.policy,
        load,
        person=Person(prompts.password, prompts.accept_spn),
        progress=complain if options.verbose else lambda text: None,
        ccache=options.ccache,
    )


if __name__ == "__main__":
    sys.exit(main())
