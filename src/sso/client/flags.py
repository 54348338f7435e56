"""The options of spice-client-sso as a table: the flag, what argparse is told of it, and its help."""

from typing import Any

from sso.policy import SASL_CONF, TLS, Source

SYSTEM_CONFIG = "/etc/console-sso/client.toml"
OWN_WORDS = (Source.TYPED, Source.CONFIGURED)
STRANGERS = (Source.FILE, Source.SIGNED)
VERBOSE = ("-v", "--verbose")
FLAG: dict[str, Any] = {"action": "store_true", "default": False}
SWITCH: dict[str, Any] = {"action": "store_true", "default": None}

# Every option: flag, its settings in argparse's words, what a person needs to know.
OPTIONS: tuple[tuple[str, dict[str, Any], str], ...] = (
    (
        "--port",
        {"default": "stdio", "metavar": "ADDRESS"},
        "stdio, fd:N, unix:PATH, tcp:HOST:PORT or a device (default: stdio, as a viewer spawns it)",
    ),
    (
        "--spn",
        {"metavar": "SPN"},
        "the guest's Kerberos service, such as host/vm.example.org"
        " (default: ask the guest, which is weak, and then ask you)",
    ),
    (
        "--asked-spn",
        {"metavar": "SPN"},
        "the guest's service as a connection file (not trusted) names it: --trust-any-spn, --offer-tgt,"
        " --send-ticket and --password then count only in a [[guest]] table that fits it (default: none)",
    ),
    (
        "--named",
        {"choices": (*OWN_WORDS, *STRANGERS), "metavar": "SOURCE"},
        "where the name of the service came from: typed, configured, file or signed; with the last two the"
        " rule of --asked-spn holds also without a name (default: typed; with --asked-spn: file)",
    ),
    (
        "--for",
        {"metavar": "PRINCIPAL"},
        "who may sign in: with a ticket of another principal, or without one, nothing at all is sent"
        " (default: anybody)",
    ),
    (
        "--allowed-spn",
        {"action": "append", "metavar": "PATTERN"},
        "the only services that the client talks to (default: host/* of your own realm)",
    ),
    (
        "--trust-any-spn",
        SWITCH,
        "believe the guest's own word for its service without asking you (default: off)",
    ),
    (
        "--offer-tgt",
        SWITCH,
        "forward the TGT even to a service that the KDC has not marked ok-as-delegate"
        " (default: off, the KDC decides)",
    ),
    (
        "--send-ticket",
        SWITCH,
        "send your ticket inside the protected connection if it could not be forwarded (default: off)",
    ),
    ("--password", SWITCH, "allow a password, through verified TLS only (default: off)"),
    ("--user", {"metavar": "NAME"}, "user name for the password (default: your own)"),
    (
        "--password-fd",
        {"type": int, "metavar": "N"},
        "read the password from this file descriptor (default: terminal or askpass)",
    ),
    (
        "--keyring",
        FLAG,
        "first look for the password in the desktop's keyring (default: off)",
    ),
    (
        "--tls-name",
        {"metavar": "NAME"},
        "the guest's name, a subjectAltName of its certificate; switches TLS on (default: none, no TLS)",
    ),
    ("--tls-ca", {"metavar": "FILE"}, "the CA of that certificate, PEM (default: the system's CAs)"),
    (
        "--tls-pin",
        {"action": "append", "metavar": "sha256:HEX"},
        "accept the guest with this public key (SPKI SHA-256), without a CA (default: none)",
    ),
    (
        "--only-pin",
        {"metavar": "sha256:HEX"},
        "accept only this one of the pins that the configuration has for this guest;"
        " a connection file can ask for that (default: all of them)",
    ),
    (
        "--require",
        {"choices": (TLS, SASL_CONF)},
        "the minimum protection (default: tls if a name or pin is given, else sasl-conf)",
    ),
    (
        "--stay",
        SWITCH,
        "stay on the port after signing in, and send the ticket again whenever it was renewed;"
        " when this program ends, you have left the console (default: off)",
    ),
    (
        "--status-fd",
        {"type": int, "metavar": "N"},
        "write a line for each state to this file descriptor: signing-in NAME, console-asks, signed-in,"
        " staying until=EPOCH, renewed until=EPOCH, not-renewed EXIT TEXT, failed EXIT TEXT (default: none)",
    ),
    (
        "--preview",
        FLAG,
        "use no port: write one state that says who would sign in with these options, and whether the ticket"
        " would be forwarded: preview no|policy|always PRINCIPAL (default: off)",
    ),
    ("--ccache", {"metavar": "NAME"}, "Kerberos credential cache (default: KRB5CCNAME or the system's)"),
    ("--config", {"metavar": "FILE"}, "read this file instead of the usual ones (default: see below)"),
    ("--no-config", FLAG, "read no file at all (default: off)"),
)
