"""What spice-client-sso says of its options: --help, --version, and what is wrong with a word.

Loaded only for that; see sso.client.options.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter

from sso import __version__
from sso.client.exits import MEANING
from sso.client.flags import OPTIONS, SYSTEM_CONFIG, VERBOSE


def parser() -> ArgumentParser:
    """The parser of every option; none may be shortened: a new one would change what an old word means."""
    table = "\n".join(f"  {int(code):3}  {text}" for code, text in MEANING.items())
    files = f"files: {SYSTEM_CONFIG}, ~/.config/console-sso/client.toml (keys as the options)"
    made = ArgumentParser(
        prog="spice-client-sso",
        allow_abbrev=False,
        formatter_class=RawDescriptionHelpFormatter,
        description="Sign in at the console of a virtual machine with what you are signed in with here.\n"
        "The viewer gives it the port as stdin and stdout. Nothing secret is ever an argument.",
        epilog=f"exit codes:\n{table}\n\n{files}",
    )
    for flag, settings, text in OPTIONS:
        made.add_argument(flag, help=text, **settings)
    made.add_argument(
        *VERBOSE, action="count", default=0, help="print each step on stderr (default: only the end)"
    )
    made.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return made
