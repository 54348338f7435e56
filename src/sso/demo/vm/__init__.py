"""Real guests for tests: Debian in QEMU, built here, started once, and restored from there in a second.

    with Machine("small") as vm:
        print(vm.run("uname -a").output)

Everything is kept below ~/.cache/console-sso/vm, or $CONSOLE_SSO_CACHE. Building needs root.
"""

from ..programs import BedError
from .machine import Machine

__all__ = ["BedError", "Machine"]
