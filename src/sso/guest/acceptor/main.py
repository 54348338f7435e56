"""The acceptor process from its configuration: load, confine, serve."""

import os
import signal
import sys
from collections.abc import Callable

from sso.daemon import notify
from sso.daemon.confine import confine, owned_folder
from sso.daemon.syscalls import Fence
from sso.errors import ConfigError
from sso.guest.acceptor.acceptor import AcceptorProcess
from sso.guest.acceptor.digest_key import digest_key
from sso.guest.config import GuestConfig
from sso.guest.links import Join, joined
from sso.guest.log import note, open_as
from sso.mech import CONFIDENTIALITY, NO_LAYER, Mechanism, Pair, load

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
    for links in joined(join, config):
        pairs = pairs or _prepared(config)  # the others begin meanwhile: a peer is greeted without us
        confine(config.acceptor_user)  # for good, so that the next times change nothing
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
        key = key or digest_key(folder, note)
        notify.ready(f"accepting for {config.spn}" if config.spn else "accepting")
        halves = _make(config, pairs), _load(pairs)
        AcceptorProcess(links.agent, links.other, *halves, note, key=key, fence=fence).run()
    return 0


def _prepared(config: GuestConfig) -> dict[str, Pair]:
    """Every mechanism that is allowed, with what it imports late, for the workers to come."""
    pairs = {name: load(name, config.mechanisms) for name in config.mechanisms if name != "TLS"}
    for pair in pairs.values():
        if pair.prepare is not None:
            pair.prepare()
    return pairs


def _make(config: GuestConfig, pairs: dict[str, Pair]) -> Callable[[str, bool], Mechanism]:
    """The accepting halves of SASL mechanisms: GSSAPI has our keytab, others know their own keys."""

    def make(name: str, in_tls: bool) -> Mechanism:
        pair = _pair(pairs, name)
        if pair.kind != "sasl":
            raise ConfigError(f"{name} is no SASL mechanism")
        if name != "GSSAPI":
            return pair.accept()
        layers = (NO_LAYER, CONFIDENTIALITY) if in_tls else (CONFIDENTIALITY,)
        return pair.accept(spn=config.spn, keytab=config.keytab, layers=layers)

    return make


def _load(pairs: dict[str, Pair]) -> Callable[[str], Pair]:
    return lambda name: _pair(pairs, name)


def _pair(pairs: dict[str, Pair], name: str) -> Pair:
    if name not in pairs:
        raise ConfigError("the mechanism is not in the list of allowed mechanisms")
    return pairs[name]
