"""The program `spice-client-sso` as it is installed: sso.client.main in a process that lives for one login.

At the top only what every interpreter has loaded is imported: what is set here counts for all the rest.
"""

import gc
import os
import sys


def main(arguments: list[str] | None = None) -> None:
    """Run sso.client.main and end with its exit code, at once.

    What the interpreter would do at the end, module by module, is a sixth of a login, and the kernel does it
    for nothing. Secrets do not wait for it: they are wiped where they end. Whatever is no ordinary end
    (--help, an error of our own) takes the interpreter's way.
    """
    # One login makes no garbage to speak of, and the imports alone would have it searched again and again.
    gc.disable()
    try:
        from sso.client.main import main

        status = main(arguments)
    finally:
        gc.enable()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # there is none, or nobody reads it any more
            pass
    os._exit(status)


if __name__ == "__main__":
    main()
