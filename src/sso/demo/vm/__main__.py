"""`python -m sso.demo.vm`: build an image and its snapshot, or open a guest and type commands into it.

build small|desktop [--manager gdm3|lightdm|greetd] [--deb FILE ...]
shell small|desktop [--manager gdm3|lightdm|greetd] [--deb FILE ...]
"""

import argparse
import sys
from pathlib import Path

from ..programs import BedError
from .machine import Machine
from .qemu import CONSOLES
from .recipe import FLAVOURS


def main() -> int:
    """Run a command; 1 with one line on stderr when it fails."""
    parser = argparse.ArgumentParser(prog="python -m sso.demo.vm")
    parser.add_argument("action", choices=["build", "shell"])
    parser.add_argument("flavour", choices=FLAVOURS)
    parser.add_argument("--manager", default="", help="the display manager to start: gdm3, lightdm, greetd")
    parser.add_argument("--console", choices=CONSOLES, default="socket", help="what the SSO port is here")
    parser.add_argument("--deb", type=Path, action="append", default=[], help="a package to install")
    given = parser.parse_args()
    try:
        with Machine(given.flavour, debs=given.deb, manager=given.manager, console=given.console) as vm:
            if given.action == "shell":
                shell(vm)
    except BedError as error:
        print(f"vm: {error}", file=sys.stderr)
        return 1
    return 0


def shell(vm: Machine) -> None:
    """A prompt: each line is a command of its own, run as root in /root. It ends with the input."""
    print(f"SSO port: {vm.port}\nSPICE: {vm.spice}\nA line is a command of root's; end with Ctrl-D.")
    while True:
        try:
            command = input("guest# ")
        except (EOFError, KeyboardInterrupt):
            print()
            return
        result = vm.run(command, timeout=600)
        print(result.output, end="" if result.output.endswith("\n") or not result.output else "\n")
        if result.code:
            print(f"[exit code {result.code}]")


if __name__ == "__main__":
    sys.exit(main())
