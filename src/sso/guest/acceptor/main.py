"""The acceptor process from its configuration: load, confine, serve."""

import os
import signal
import sys
from collections.abc import Callable

from sso.daemon import notify
from sso.daemon.confine import confine, owned_folder
from sso.daemon.syscalls import Fence
from sso.errors import ConfigError
from sso.guest import mechanisms
from sso.guest.acceptor.acceptor import AcceptorProcess
from sso.guest.acceptor.digest_key import digest_key
from sso.guest.config import GuestConfig
from sso.guest.links import Join, joined
from sso.guest.log import note, open_as
from sso.mech import Mechanism, Pair

STATE = "/var/lib/console-sso/acceptor"  # the replay cache and the digests' key: they outlive a restart


def run(config: GuestConfig, join: Join) -> int:
    """Serve until the other processes are gone for good; 0 then, and at SIGTERM. `join` finds them."""
    folder = owned_folder(STATE, config.acceptor_user)
    # Where libkrb5 remembers the AP-REQs it saw. A cache that this process cannot write, or that is
    # forgotten at a restart, would let a recorded login in again.
    os.environ["KRB5RCACHEDIR"] = folder
    pairs: dict[str, Pair] = {}
    key = b""
    open_as("sso-acceptor")
    fence = Fence(keeps_files=True)
    if fence.why_not:
        note("no-fence", fence.why_not)
    for before, links in enumerate(joined(join, config)):
        if not before:
            pairs = _prepared(config)  # as root, and the others begin meanwhile: a peer is greeted without us
        confine(config.acceptor_user)  # for good, so that the next times change nothing
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
        key = key or digest_key(folder, note)
        notify.ready(f"accepting for {config.spn}" if config.spn else "accepting")
        halves = _make(pairs), _load(pairs)
        AcceptorProcess(links.agent, links.other, *halves, note, key=key, fence=fence).run()
    return 0


def _prepared(config: GuestConfig) -> dict[str, Pair]:
    """Every mechanism that is allowed, with its settings and what it imports late, for workers to come."""
    pairs = mechanisms.ours(config)
    for pair in pairs.values():
        if pair.prepare is not None:
            pair.prepare()
    pairs |= mechanisms.others(config, note, prepare=True)
    return {name: mechanisms.with_settings(config, pair) for name, pair in pairs.items()}


def _make(pairs: dict[str, Pair]) -> Callable[[str, bool], Mechanism]:
    return lambda name, in_tls: mechanisms.accepting(_pair(pairs, name), in_tls)


def _load(pairs: dict[str, Pair]) -> Callable[[str], Pair]:
    return lambda name: _pair(pairs, name)


def _pair(pairs: dict[str, Pair], name: str) -> Pair:
    if name not in pairs:
        raise ConfigError("the mechanism is not in the list of allowed mechanisms, or cannot be used")
    return pairs[name]
