"""The mechanisms that guest.toml allows, with their settings: for channel, acceptor and `sso doctor guest`.

One that is not ours may do anything in its import: that is tried in a forked process first (import_trial).
One that fails there is left out, and the others are served.

All of it is done before privileges are dropped, since the user that a process becomes may not be able to read
what is imported. Whoever allows a mechanism trusts its code as this one (SECURITY.md).
"""

import time
from collections.abc import Callable
from functools import partial

from sso.daemon import notify
from sso.errors import ConfigError
from sso.guest.config import GSSAPI, GuestConfig
from sso.mech import CONFIDENTIALITY, NO_LAYER, OURS, Mechanism, Pair, load, settings_of

TRY_SECONDS = 10.0  # for the import of one mechanism, and what it prepares
TRY_ALL_SECONDS = 60.0  # for all of them, one after the other: a unit has room for few processes at once
SPN, KEYTAB = "spn", "keytab"


def ours(config: GuestConfig) -> dict[str, Pair]:
    """The allowed mechanisms that come with Console SSO, but TLS.

    Raises MechanismError for one without its library.
    """
    names = (name for name in config.mechanisms if name in OURS and name != "TLS")
    return {name: load(name, config.mechanisms) for name in names}


def others(config: GuestConfig, note: Callable[..., None], prepare: bool = False) -> dict[str, Pair]:
    """The allowed mechanisms that do not, without those that cannot be used, each of which is logged."""
    found = {}
    names = [name for name in config.mechanisms if name not in OURS]
    end = time.monotonic() + TRY_ALL_SECONDS
    for place, name in enumerate(names):
        from sso.guest.import_trial import tried  # late: few guests allow such a mechanism

        notify.alive()  # who waits for the agent has begun to say so
        seconds = share(end - time.monotonic(), len(names) - place)
        why = tried(partial(use, config, name, prepare), seconds)
        if why:
            note("mechanism-left-out", why, mechanism=name)
            continue
        try:
            found[name] = use(config, name, prepare)
        except (Exception, SystemExit) as error:  # once more what went well in the forked process
            note("mechanism-left-out", type(error).__name__, mechanism=name)
    return found


def share(left: float, number: int) -> float:
    """Seconds for the first of a number of mechanisms, so that no hang takes the time of those behind it."""
    return max(0.0, min(TRY_SECONDS, left / number))


def use(config: GuestConfig, name: str, prepare: bool = False) -> Pair:
    """One mechanism that is not ours; ConfigError or MechanismError say why it cannot be used."""
    pair = load(name, config.mechanisms)
    if pair.kind == "tls":
        raise ConfigError(f"mechanism {name}: the guest's TLS is ours")
    with_settings(config, pair)
    if prepare and pair.prepare is not None:
        pair.prepare()
    return pair


def with_settings(config: GuestConfig, pair: Pair) -> Pair:
    """The pair, whose `accept` has its settings now; ConfigError names the key and what to write."""
    table = {SPN: config.spn, KEYTAB: config.keytab} if pair.name == GSSAPI else config.table(pair.name)
    return pair._replace(accept=partial(pair.accept, **settings_of(pair.name, pair.accepts, table)))


def accepting(pair: Pair, in_tls: bool) -> Mechanism:
    """The accepting half of a SASL mechanism; ConfigError for one that may not run where it was asked."""
    if pair.kind != "sasl":
        raise ConfigError(f"{pair.name} is no SASL mechanism")
    if pair.inside_only and not in_tls:
        raise ConfigError(f"{pair.name} runs inside TLS only")
    if pair.layers == (NO_LAYER,):
        return pair.accept()
    wanted = (NO_LAYER, CONFIDENTIALITY) if in_tls else (CONFIDENTIALITY,)
    return pair.accept(layers=tuple(layer for layer in wanted if layer in pair.layers))
