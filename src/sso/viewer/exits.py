"""Exit codes of sso-viewer, and its error line on stderr."""

import sys

from sso.printable import escaped

LEFT, FAILED, USAGE, NO_GTK = 0, 1, 2, 3


def complain(text: str) -> None:
    """Print one line for the user on stderr."""
    print(f"sso-viewer: {escaped(text)}", file=sys.stderr, flush=True)
