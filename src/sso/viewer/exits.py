"""How sso-viewer ends: its exit codes, and one line of stderr."""

import sys

from sso.printable import escaped

LEFT, FAILED, USAGE, NO_GTK = 0, 1, 2, 3


def complain(text: str) -> None:
    """Say one line to a person on stderr."""
    print(f"sso-viewer: {escaped(text)}", file=sys.stderr, flush=True)
