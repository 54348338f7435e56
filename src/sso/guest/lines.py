"""Log lines of the unprivileged processes: a stable word first, no secret and no text of a peer."""

import sys
from collections.abc import Callable


def log_as(name: str) -> Callable[[str, str], None]:
    """A function that writes `name: id text` to standard error, where a service manager collects it."""

    def log(id: str, text: str) -> None:
        print(f"{name}: {id} {text}".rstrip(), file=sys.stderr, flush=True)

    return log
