"""`sso-guest-agent`: the three processes of the guest, one by one (as units) or all in the foreground."""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sso import __version__
from sso.errors import NoAgent, PortClosed, SSOError
from sso.guest.config import GuestConfig, load
from sso.printable import escaped

if TYPE_CHECKING:
    import subprocess

    from sso.guest.links import Joined

CONFIG = "/etc/console-sso/guest.toml"
ROLES = ("agent", "channel", "acceptor")
NO_AGENT = 3  # an exit code
END_TIME = 3.0  # seconds for a process to end by itself


def main(arguments: list[str] | None = None) -> int:
    """Run one role and return its exit code: 0 ended, 1 failed, 2 wrong option or settings, 3 no agent."""
    given = _parser().parse_args(arguments)
    try:
        config = load(given.config)
        if given.role == "channel":
            from sso.guest.channel.main import run as run_channel

            return run_channel(config, lambda: _links(given, config.channel_socket))
        if given.role == "acceptor":
            from sso.guest.acceptor.main import run as run_acceptor

            return run_acceptor(config, lambda: _links(given, config.acceptor_socket))
        if given.role == "agent":
            return _agent(config)
        return _foreground(config, given.config)
    except PortClosed as error:
        print(f"sso-guest-agent: {escaped(str(error))}", file=sys.stderr)
        return NO_AGENT if isinstance(error, NoAgent) else 1
    except SSOError as error:
        print(f"sso-guest-agent: {escaped(str(error))}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sso-guest-agent",
        description="Accept tickets from the console's port and open the login screen with them.",
        epilog="exit codes: 0 ended by a signal, or should be started again; 1 a process failed; "
        "2 wrong option or configuration; 3 the process found no agent",
    )
    parser.add_argument("--config", default=CONFIG, help=f"configuration file (default: {CONFIG})")
    parser.add_argument(
        "--foreground", action="store_true", help="start all three processes here and log to stderr"
    )
    parser.add_argument("--role", choices=ROLES, help="run as one of the three processes, as the units do")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--agent", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--peer", type=int, help=argparse.SUPPRESS)
    return parser


def _links(given: argparse.Namespace, path: str) -> "Joined":
    """To the agent and to the other process: inherited (--foreground), else by the agent's socket."""
    from sso.guest.links import Joined, join

    if given.agent is None:
        return join(path)
    if given.agent < 0:
        sys.exit(0)  # the agent has gone, and its child with it
    agent, given.agent = given.agent, -1
    return Joined(socket.socket(fileno=agent), socket.socket(fileno=given.peer))


def _agent(config: GuestConfig) -> int:
    from sso.guest.agent.agent import run_agent

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    run_agent(config)
    return 0


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _foreground(config: GuestConfig, path: str) -> int:
    """Start channel and acceptor, be the agent, and end all three together."""
    from sso.guest.agent.agent import run_agent

    # The port's socket, where it is one, and the agent's own ones lie here.
    os.makedirs(os.path.dirname(config.pam_socket), mode=0o755, exist_ok=True)
    to_channel, channel_agent = _pair()
    to_acceptor, acceptor_agent = _pair()
    channel_acceptor, acceptor_channel = _pair()
    children = [
        _start("channel", path, channel_agent, channel_acceptor),
        _start("acceptor", path, acceptor_agent, acceptor_channel),
    ]
    for end in (channel_agent, acceptor_agent, channel_acceptor, acceptor_channel):
        end.close()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        run_agent(config, (to_channel, to_acceptor))
        return 1  # it ends by itself only when another process is gone
    except KeyboardInterrupt:
        return 0
    finally:
        _end(children)


def _start(role: str, path: str, agent: socket.socket, peer: socket.socket) -> "subprocess.Popen[bytes]":
    import subprocess

    fds: Sequence[int] = (agent.fileno(), peer.fileno())
    options = ["--config", path, "--role", role, "--agent", str(fds[0]), "--peer", str(fds[1])]
    argv = [sys.executable, "-I", "-m", "sso.guest.main", *options]
    return subprocess.Popen(argv, pass_fds=fds, stdin=subprocess.DEVNULL, env=_environment())


def _environment() -> dict[str, str]:
    """What the processes need to know of ours: where Kerberos' configuration is, and nothing else."""
    keep = ("PATH", "LANG", "LC_ALL", "KRB5_CONFIG", "KRB5RCACHEDIR", "KRB5_TRACE", "SSO_PURE")
    # Functions bound late leave register contents, pieces of a secret among them, on the stack.
    return {name: os.environ[name] for name in keep if name in os.environ} | {"LD_BIND_NOW": "1"}


def _end(children: "list[subprocess.Popen[bytes]]") -> None:
    import subprocess

    for process in children:
        process.terminate()
    for process in children:
        try:
            process.wait(END_TIME)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
