"""What may be wrong with a client (sso.doctor): its options, its ticket, the guest's service."""

import os
import shutil
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sso.client.exits import by_cause
from sso.client.flags import SYSTEM_CONFIG
from sso.client.options import Options, parse
from sso.client.prompts import askpass
from sso.doctor import (
    KRB5_CONF,
    Finding,
    Step,
    System,
    broken_includes,
    default_realm,
    include_findings,
    not_checked,
    ok,
    warning,
    wrong,
)
from sso.errors import ConfigError, MechanismError
from sso.mech import ALWAYS, NO, Mechanism, load
from sso.settings import own_config

SOON = 600  # seconds of a ticket's life that are worth a warning
INSTALL = "On Debian: apt install python3-gssapi (elsewhere: pip install 'console-sso[kerberos]')"
_NOBODY = "host/nobody.invalid"  # a name for a context that asks nobody


@dataclass(frozen=True)
class Client:
    """The client that is looked at, with the options as spice-client-sso would take them."""

    system: System
    options: Options
    ask_kdc: bool

    def initiate(self) -> Mechanism:
        """Kerberos' half, which forwards nothing; nobody is asked yet. Raises MechanismError."""
        spn = self.options.policy.spn or _NOBODY
        return load("GSSAPI").initiate(spn=spn, delegate=NO, ccache=self.options.ccache)


def add_options(parser: ArgumentParser) -> None:
    """The options of `sso doctor client`."""
    client = parser.add_argument_group(
        "of the client",
        "and every option of spice-client-sso, which is checked as that program would take it",
    )
    client.add_argument(
        "--ask-kdc",
        action="store_true",
        help="get the ticket for the service of --spn from the KDC (default: off, nobody is asked)",
    )


def steps(system: System, options: Namespace, rest: list[str]) -> Iterator[Step]:
    """Check the configuration first; where it is wrong, the other steps check the defaults."""
    try:
        parsed = parse(rest)
        files = ", ".join(_files()) or "no file, so the defaults hold"
        found = ok(f"{files}; at least {parsed.policy.required} is required")
    except ConfigError as error:
        parsed = parse(["--no-config"])
        found = wrong(str(error), "Write that option, or that key of the file, as it says")
    yield "configuration", lambda: [found]
    client = Client(system, parsed, options.ask_kdc)
    for name, check in (
        ("mechanisms", mechanisms),
        ("Kerberos file", kerberos_file),
        ("ticket", ticket),
        ("realm", realm),
        ("service", service),
        ("TLS", tls),
        ("password", password),
    ):
        yield name, partial(check, client)


def _files() -> list[str]:
    return [path for path in (SYSTEM_CONFIG, own_config("client.toml")) if os.path.exists(path)]


def mechanisms(client: Client) -> Iterator[Finding]:
    """What the options need is installed."""
    policy = client.options.policy
    wanted = ["GSSAPI"]
    wanted += ["TLS"] * policy.wants_tls + ["kerberos"] * policy.send_ticket + ["password"] * policy.password
    good = []
    for name in wanted:
        try:
            load(name)
            good.append(name)
        except MechanismError as error:
            # Without Kerberos a password may do.
            make = warning if name == "GSSAPI" and policy.password else wrong
            yield make(str(error), INSTALL)
    if good:
        yield ok(", ".join(good))


def ticket(client: Client) -> Iterator[Finding]:
    """There is a ticket, it lives on, and it may be forwarded."""
    try:
        ours = client.initiate()
    except MechanismError as error:
        yield _failed(client, error)
        return
    name, left = ours.own_name, ours.lifetime
    until = time.strftime("%H:%M on %Y-%m-%d", time.localtime(time.time() + left))
    if left < SOON:
        yield warning(f"{name}, only until {until}", "Run: kinit -R, or kinit")
    else:
        yield ok(f"{name}, until {until}")
    yield from _forwardable(client)


def _failed(client: Client, error: MechanismError) -> Finding:
    """What a mechanism's cause means, and what mends it; without a ticket a password may do."""
    outcome, spn = by_cause(error.cause, str(error)), client.options.policy.spn
    mends = {
        "no-ticket": "Run: kinit",
        "ticket-expired": "Run: kinit",
        "unavailable": INSTALL,
        "clock-skew": "Set this machine's clock: timedatectl set-ntp true",
        "kdc-unreachable": f"See to it that the KDC of {KRB5_CONF} can be reached",
        "unknown-service": f"Write the right --spn, or add it on the KDC: kadmin addprinc -randkey {spn}",
        "unknown-realm": f"Write the realm's KDC to {KRB5_CONF}, or the right --spn",
    }
    mend = mends.get(
        error.cause, outcome.hint or "Run it again with KRB5_TRACE=/dev/stderr, which tells more"
    )
    wanted = not client.options.policy.password
    return wrong(outcome.line, mend) if wanted else warning(outcome.line, mend)


def _forwardable(client: Client) -> Iterator[Finding]:
    tickets = flags(client)
    own = next((each for server, each in tickets.items() if server.startswith("krbtgt/")), None)
    if own is None:
        yield not_checked("whether it may be forwarded: klist does not tell (Debian: apt install krb5-user)")
    elif "F" in own:
        yield ok("the ticket may be forwarded")
    else:
        found = "the ticket may not be forwarded, so the guest gets none"
        mend = f"Run: kinit -f (or write forwardable = true below [libdefaults] in {KRB5_CONF})"
        alone = client.options.policy.send_ticket or client.options.policy.password
        yield warning(found, mend) if alone else wrong(found, mend)


def flags(client: Client) -> dict[str, str]:
    """The flags of each ticket in the cache by its service, as klist(1) writes them."""
    try:
        named = client.initiate().ccache  # of a collection the one for the service
    except MechanismError:
        named = client.options.ccache
    cache = ["-c", named] if named else []
    answer = client.system.ask(["klist", "-f", *cache])
    found: dict[str, str] = {}
    server = ""
    for line in answer.output.splitlines() if answer and not answer.code else ():
        if "Flags: " in line:
            found.setdefault(server, line.rpartition("Flags: ")[2].strip())
        elif line[:1].isdigit():
            server = line.split()[-1]
    return found


def kerberos_file(client: Client) -> Iterator[Finding]:
    """What krb5.conf includes is there: else libkrb5 reads nothing of it, and all the rest goes wrong."""
    files = os.environ.get("KRB5_CONFIG", KRB5_CONF).split(":")
    broken = [found for file in files for found in broken_includes(client.system, file)]
    yield from include_findings(broken, files[0])


def realm(client: Client) -> Iterator[Finding]:
    """The ticket's realm, and the one in which a service without a realm is looked for."""
    files = os.environ.get("KRB5_CONFIG", KRB5_CONF).split(":")
    default = next(filter(None, (default_realm(client.system, file) for file in files)), "")
    try:
        own = client.initiate().own_name.rpartition("@")[2]
    except MechanismError:
        own = ""
    if not default and "@" not in client.options.policy.spn:
        yield warning(
            f"{files[0]} has no default_realm",
            f"Write default_realm = {own or 'REALM'} below [libdefaults] there",
        )
    elif own and default and own != default:
        yield warning(
            f"the ticket is of {own}, and a service without a realm is looked for in {default}",
            "Give the realm with the service: --spn host/NAME@REALM",
        )
    else:
        yield ok(default or own)


def service(client: Client) -> Iterator[Finding]:
    """The guest's service: whether it may be talked to, and with --ask-kdc what the KDC says of it."""
    policy, spn = client.options.policy, client.options.policy.spn
    if not spn:
        yield not_checked("no --spn is given; without one the guest says its own name, and you are asked")
        return
    try:
        ours = client.initiate()
    except MechanismError:
        yield not_checked(f"{spn}: there is no ticket to ask with")
        return
    own_realm = ours.own_name.rpartition("@")[2]
    if not policy.may_use_spn(spn, own_realm, source=policy.named):
        patterns = ", ".join(policy.spn_patterns)
        yield wrong(f"{spn} is none of the allowed services ({patterns})", f'Add it: --allowed-spn "{spn}"')
    elif not client.ask_kdc:
        yield not_checked(f"whether the KDC knows {spn}: --ask-kdc asks it")
    else:
        yield from _asked(client, ours, spn)


def _asked(client: Client, ours: Mechanism, spn: str) -> Iterator[Finding]:
    """The first token, which needs the service's ticket; it goes nowhere."""
    name = spn.partition("@")[0]
    try:
        ours.bind(b"")
        ours.step(b"")
        sent, newest = ours.key_version, ours.newest_key()
    except MechanismError as error:
        yield _failed(client, error)
        return
    finally:
        ours.dispose()
    if sent != newest:
        found = f"the ticket for {spn} is for its key number {sent}, and the KDC has number {newest} now"
        yield wrong(found, "Get a new ticket: kdestroy, then kinit")
        return
    yield ok(f"the KDC gives a ticket for {spn} (kvno {newest}), and takes this machine's clock")
    policy, tickets = client.options.policy, flags(client)
    marked = next((each for server, each in tickets.items() if server.partition("@")[0] == name), None)
    if policy.delegation(source=policy.named, agreed=False) == ALWAYS:
        yield ok("your ticket goes along, by --offer-tgt")
    elif marked is None:
        yield not_checked("whether the service is ok-as-delegate: klist does not tell")
    elif "O" in marked:
        yield ok("your ticket goes along: the service is ok-as-delegate")
    elif trust := _trust_without(tickets):
        yield wrong(
            f"the trust {trust} is not ok-as-delegate, so no service beyond it gets your ticket along",
            f"On the KDC that makes it: kadmin modprinc +ok_as_delegate {trust} (AD: trust it)",
        )
    elif policy.send_ticket or policy.password:
        yield warning("the service is not ok-as-delegate, so your ticket does not go along by itself")
    else:
        yield wrong(
            "the service is not ok-as-delegate: your ticket does not go along, and guests want one",
            f"On the KDC: kadmin modprinc +ok_as_delegate {name} (or --offer-tgt for a guest you trust)",
        )


def _trust_without(tickets: dict[str, str]) -> str:
    """The TGT for another realm that lacks the flag: MIT krb5 believes none of a service behind it."""
    for server, letters in tickets.items():
        name, _, realm = server.partition("@")
        if name.startswith("krbtgt/") and name != f"krbtgt/{realm}" and "O" not in letters:
            return server
    return ""


def tls(client: Client) -> Iterator[Finding]:
    """The CA's file, where one is given."""
    policy = client.options.policy
    if not policy.wants_tls:
        yield ok("not asked for: no --tls-name and no --tls-pin")
        return
    if not policy.tls_ca:
        who = f"{policy.tls_name}, by the system's CAs" if policy.tls_name else "by the pins alone"
        yield ok(who)
        return
    import ssl

    path = policy.tls_ca
    try:
        Path(path).read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        yield wrong(f"{path} holds no certificate in PEM", f"Write the CA's certificate as PEM to {path}")
    except OSError as error:
        yield wrong(f"{path}: {error.strerror}", "Write the right path as --tls-ca (tls-ca in client.toml)")
    else:
        yield ok(f"{policy.tls_name}, by {path}")


def password(client: Client) -> Iterator[Finding]:
    """Where a password would come from."""
    options = client.options
    if not options.policy.password:
        yield ok("not allowed, which is the default")
    elif options.keyring and shutil.which("secret-tool") is None:
        yield wrong(
            "--keyring needs secret-tool, which is not there", "On Debian: apt install libsecret-tools"
        )
    else:
        places = ["the keyring"] * options.keyring + ["the terminal", *askpass()]
        yield ok(f"from {' or '.join(places)}")
