"""A login screen on a terminal: it waits for a name, typed or from the agent, and becomes login(1).

What starts it on the terminal as root starts it again whenever it ends. It imports nothing of Console SSO,
and without an agent it is a login screen all the same.
"""

import os
import select
import socket
import sys
import termios

SOCKET = "/run/console-sso/socket-login.sock"
LOGIN = "/bin/login"
TAKEN = b"taken"
LINE_MAX, NAME_MAX = 4096, 255  # bytes: of a typed line, of a user's name
DIAL_EVERY = 1.0  # seconds between two looks for an agent


def dial(path: str) -> socket.socket | None:
    """A connection to the agent, which hears our terminal; or None. Only root can listen there."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        link.connect(path)
        link.send(os.ttyname(0).removeprefix("/dev/").encode())
    except OSError:
        link.close()
        return None
    return link


def hear(agent: socket.socket) -> str:
    """The name that the agent says; "" when it has hung up, or has taken its word back meanwhile."""
    try:
        name = agent.recv(NAME_MAX)
        agent.send(TAKEN)
    except OSError:
        return ""
    return name.decode(errors="replace")


def wait(path: str) -> str:
    """The name of the user to log in; "" for none, or at the terminal's end."""
    agent = dial(path)
    os.write(1, b"socket login: ")
    while True:
        links = [0] if agent is None else [0, agent]
        ready = select.select(links, [], [], DIAL_EVERY if agent is None else None)[0]
        if not ready:
            agent = dial(path)
        elif 0 in ready or agent is None:
            return os.read(0, LINE_MAX).strip().decode(errors="replace")
        elif name := hear(agent):
            termios.tcflush(0, termios.TCIFLUSH)  # what was typed so far belongs to nobody
            os.write(1, b"\n")
            return name
        else:
            agent.close()
            agent = None


def main() -> int:
    """Show the screen, and become login; 0 when a new screen is to take this one's place."""
    name = wait(SOCKET)
    if not name or name.startswith("-"):
        return 0
    keep = {key: os.environ[key] for key in ("TERM", "LANG") if key in os.environ}
    os.execve(LOGIN, [LOGIN, "-p", "--", name], keep)


if __name__ == "__main__":
    sys.exit(main())
