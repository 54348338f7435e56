"""`spice-client-sso`: one login over one port, spawned by a viewer or by hand (sso.client.start)."""

import signal
import sys
from contextlib import suppress

from sso.client.conversation import ClientConversation
from sso.client.exits import Exit, RunResult
from sso.client.options import Options, complain, parse
from sso.client.parties import Person
from sso.client.prompts import Prompts
from sso.client.status import Status
from sso.errors import ConfigError, MechanismError, PortClosed
from sso.mech import ALWAYS, NO, load
from sso.ports.port import Port, open_port, stdio_set_aside
from sso.ports.pump import Pump


def main(arguments: list[str] | None = None) -> int:
    """Run once and return the exit code of sso.client.exits; success is silent without --verbose."""
    # As Ctrl-C: the terminal gets its echo back, and shared descriptors their flags.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    verbose, status = 0, Status()
    try:
        options = parse(arguments)
        verbose, status = options.verbose, Status(options.status_fd)
        outcome = preview(options, status) if options.preview else sign_in(options, status)
    except ConfigError as error:
        outcome = RunResult(Exit.USAGE, str(error))
    except PortClosed as error:
        outcome = RunResult(Exit.LOST, str(error))
    except KeyboardInterrupt:
        outcome = RunResult(Exit.LOST, "interrupted")
    finally:
        signal.signal(signal.SIGTERM, before)
    if outcome.exit is not Exit.SIGNED_IN:
        status(f"failed {int(outcome.exit)} {outcome.line}")
    if outcome.exit is not Exit.SIGNED_IN or verbose:
        complain(outcome.line, outcome.hint)
    return int(outcome.exit)


def preview(options: Options, status: Status) -> RunResult:
    """Say as whom we would sign in, and how far the ticket would go along, without a port."""
    from sso.client.exits import by_cause
    from sso.client.halves import own_name

    policy = options.policy
    try:
        name = own_name(load, policy.spn, options.ccache)
    except MechanismError as error:
        return by_cause(error.cause, str(error))
    ticket = policy.delegation(source=policy.named, agreed=True) if policy.spn else NO
    if ticket != ALWAYS and policy.spn and policy.send_ticket:
        ticket = ALWAYS
    status(f"preview {ticket} {name}")
    return RunResult(Exit.SIGNED_IN, f"{name} would sign in")


def sign_in(options: Options, status: Status) -> RunResult:
    """Open the port, hold the conversation, and say how it ended."""
    port = open_port(options.port)
    try:
        with stdio_set_aside(options.port):
            return _converse(port, options, status)
    finally:
        port.close()


def _converse(port: Port, options: Options, status: Status) -> RunResult:
    def meanwhile() -> None:
        """Import what is needed next, while the guest works on our first line."""
        policy = options.policy
        for name in ["TLS"] * policy.wants_tls + ["GSSAPI"] * ("GSSAPI" in policy.mechanisms):
            with suppress(MechanismError):  # not installed: the error comes where it is needed
                load(name)

    if options.stay:
        import gc

        from sso.client import staying

        gc.enable()  # sso.client.start has switched it off
        return staying.run(port, _conversation(options, status), options, status, meanwhile)
    conversation = _conversation(options, status)
    Pump(port, conversation).run(meanwhile=meanwhile)
    outcome = conversation.outcome or RunResult(Exit.LOST, "the connection ended in the middle")
    if outcome.exit is Exit.SIGNED_IN:
        status("signed-in")
    return outcome


def _conversation(options: Options, status: Status) -> ClientConversation:
    prompts = Prompts(
        user=options.user,
        spn=options.policy.spn,
        password_fd=options.password_fd,
        keyring=options.keyring,
        console="" if options.port.partition(":")[0] in ("stdio", "fd") else options.port,
    )
    return ClientConversation(
        options.policy,
        load,
        person=Person(prompts.password, prompts.accept_spn, prompts.console),
        progress=options.progress,
        status=status,
        ccache=options.ccache,
        patient=options.stay,
        tables=options.tables,
    )


if __name__ == "__main__":
    sys.exit(main())
