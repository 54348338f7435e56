"""A plug-in at a port of a guest, without a viewer: shows how another program uses sso.plug and a Stream.

    python3 plug_in_host.py unix:/run/vm7.sso -- spice-client-sso --spn host/vm7.example.org

The address is a socket of QEMU (-chardev socket). A viewer reaches the port in another way: it has an object
with `write` instead of the Stream here.
"""

import sys

from sso.daemon.reactor import Reactor
from sso.plug.plug import PlugEvent, PlugInPoint, Start
from sso.viewer.stream import Stream

PORT = "spice.sso.0"


def main(address: str, *argv: str) -> int:
    """Run the plug-in until it ends by itself; return its exit code."""
    loop, ended = Reactor(), []

    def say(event: PlugEvent) -> None:
        print(f"{event.port}: {event.kind} {event.text or event.code}", file=sys.stderr)
        if event.kind in ("exited", "failed"):
            ended.append(event)
            loop.stop()

    point = PlugInPoint([Start(PORT, argv)], loop, say)
    plug = point.get(PORT)
    assert plug is not None
    stream = Stream(address, plug, loop, trouble=lambda line: print(line, file=sys.stderr))
    stream.open()
    try:
        loop.run()
    finally:
        stream.close()
        point.kill()
    return ended[0].code if ended[0].kind == "exited" else 127


if __name__ == "__main__":
    address, _, *argv = sys.argv[1:]
    sys.exit(main(address, *argv))
