"""The channel process from its configuration: open the port, load TLS, confine, serve."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection
from contextlib import closing

from sso.daemon import notify
from sso.daemon.confine import confine, die_with_parent
from sso.daemon.syscalls import Fence
from sso.errors import ConfigError
from sso.guest import mechanisms
from sso.guest.channel import child
from sso.guest.channel.channel import Channel
from sso.guest.config import GuestConfig
from sso.guest.links import Join, joined
from sso.guest.log import note, open_as
from sso.mech import Mechanism, Pair, load
from sso.policy import GuestPolicy
from sso.ports.port import Port, open_port, stdio_set_aside
from sso.ports.watch import PortWatch


def run(config: GuestConfig, join: Join) -> int:
    """Serve until the other processes are gone for good; 0 then, and at SIGTERM. `join` finds them."""
    open_as("sso-channel")
    with closing(open_port(config.port, listen=True)) as port, stdio_set_aside(config.port):
        _serve(config, join, port)
    return 0


def _serve(config: GuestConfig, join: Join, port: Port) -> None:
    tls = _tls(config)
    # Everything that a child needs is imported before it is forked: it may not be able to read it later.
    pairs = mechanisms.ours(config) | mechanisms.others(config, note)

    fence, owner = Fence(), os.getpid()
    if fence.why_not:
        note("no-fence", fence.why_not)

    def serve(connection: socket.socket, pulse: int) -> int:
        die_with_parent(owner)
        said = _info(config), note, fence.close_behind
        return child.run(port, connection, pulse, _policy(config, pairs.values()), pairs, tls, *said)

    for before, links in enumerate(joined(join, config)):  # late: nobody waits for our imports
        confine(config.channel_user)  # for good, so that the next times change nothing
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
        if before:
            port.flush_input()  # what the client said to the session that was lost is for no other one
        notify.ready("at the port")
        with closing(PortWatch(port)) as watch:
            Channel(port, watch, links.agent, links.other, serve, note).run()


def _policy(config: GuestConfig, pairs: Collection[Pair]) -> GuestPolicy:
    sasl = [pair for pair in pairs if pair.kind == "sasl"]
    types = [pair for pair in pairs if pair.kind == "credential"]
    return GuestPolicy(
        tls=bool(config.tls_certificate),
        sasl=tuple(pair.name for pair in sasl),
        types=tuple(pair.name for pair in types),
        require_tls=config.require_tls,
        inside_tls=tuple(pair.name for pair in sasl if pair.inside_only),
        alone=tuple(pair.name for pair in types if pair.alone),
        followed=tuple(
            (pair.name, tuple(type.name for type in types if not type.alone and type.names == pair.names))
            for pair in sasl
        ),
    )


def _tls(config: GuestConfig) -> Callable[[], Mechanism]:
    """The guest's half of TLS; its key file is read now, as root, and never again."""
    if not config.tls_certificate:
        return lambda: Mechanism()
    pair = load("TLS", config.mechanisms)
    if pair.prepare is None:
        raise ConfigError("the installed TLS mechanism cannot be prepared")
    context = pair.prepare(config.tls_certificate, config.tls_key or None)
    return lambda: pair.accept(context=context)


def _info(config: GuestConfig) -> Callable[[str], str | None]:
    values: dict[str, Callable[[], str]] = {"spn": lambda: config.spn, "time": lambda: str(int(time.time()))}

    def info(attribute: str) -> str | None:
        value = values.get(attribute)
        return value() or None if value else None

    return info
