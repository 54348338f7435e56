"""`sso`: runs the commands that are not programs of their own; it imports only the one that is called."""

import sys
from argparse import REMAINDER, SUPPRESS, ArgumentParser, RawDescriptionHelpFormatter
from importlib import import_module

from sso import __version__

# command: its module, whose main(arguments) returns the exit code, and what `sso --help` says of it
COMMANDS = {
    "demo": ("sso.demo.main", "show how a ticket opens a login shell, all on this machine"),
    "install-pam": ("sso.guest.pam_files.install_pam", "add the PAM module to the services that you name"),
    "trust": ("sso.console.trust_main", "say whose signatures in connection files count here"),
    "inventory": ("sso.console.inventory_main", "sign, off-line, which guest a site's consoles show"),
    "doctor": ("sso.doctor", "check the guest or the client here, and say what to fix"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; 2 without a known command."""
    width = max(map(len, COMMANDS))
    parser = ArgumentParser(
        prog="sso",
        usage="sso [--help | --version] COMMAND [ARGUMENT ...]",
        description="Console SSO: single sign-on to the console of a virtual machine.",
        epilog="commands:\n"
        + "".join(f"  {name:{width}}  {text}\n" for name, (_, text) in COMMANDS.items())
        + "\n`sso COMMAND --help` shows the options of a command.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"console-sso {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, nargs="?", help=SUPPRESS)
    parser.add_argument("arguments", metavar="ARGUMENT", nargs=REMAINDER, help=SUPPRESS)
    given = parser.parse_args(arguments)
    if given.command is None:
        parser.error("which command? `sso --help` lists them")
    module = import_module(COMMANDS[given.command][0])
    status: int = module.main(given.arguments)
    return status


if __name__ == "__main__":
    sys.exit(main())
