"""Where the time goes from the port that opens to the session that is open: a table and a flame graph.

    benchmarks/flame.py [--document]

Real processes as `make demo` runs them: the client, and the guest's agent, channel and acceptor with login on
a terminal; needs root. The parts are timed by what the processes say while nothing watches them; the flame
graph is of further logins, of processor time, sampled from outside. Written to build/bench; --document writes
the table into docs/performance.md and the picture into docs/pictures.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests")]

from beds_guest import SPN  # noqa: E402
from bench_greetd import Log, guest_with, prompt_after  # noqa: E402
from flame_picture import Stacks, picture  # noqa: E402
from owned import give_back  # noqa: E402

from sso.demo.guest import Guest  # noqa: E402
from sso.demo.realm import Realm  # noqa: E402

BUILD = HERE.parent / "build" / "bench"
DOCS = HERE.parent / "docs"
BEGIN, END = "<!-- written by benchmarks/flame.py --document -->\n", "<!-- end of the parts -->\n"
ROUNDS, SAMPLED = 20, 12
RATE = "1000"  # samples a second
PACE = 1.1  # seconds between two logins: the guest serves a burst of peers, then one a second
SPY = str(Path(sys.executable).with_name("py-spy"))
CLIENT = (sys.executable, "-I", "-m", "sso.client.start", "--no-config", "--spn", SPN)
BARE = (sys.executable, "-I", "-S", "-c", "pass")
NO_FRAME = "the interpreter's own start and end"
TOTAL = "port open to session open"


def main(arguments: list[str]) -> int:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--document", action="store_true")
    options = parser.parse_args(arguments)
    BUILD.mkdir(parents=True, exist_ok=True)
    with Realm() as realm:
        realm.principals({"alice": "alice-in-the-realm"})
        realm.principals({SPN: None}, ["+ok_as_delegate"])
        keytab = realm.keytab(realm.folder / "guest.keytab", SPN)
        realm.kinit("alice", "-f")
        with logins(realm, keytab) as login:
            timed = [login.timed() for _ in range(ROUNDS)]
        with logins(realm, keytab) as login:
            stacks = sampled(login)
    table = as_markdown({part: median(one[part] for one in timed) for part in timed[0]})
    print(table)
    svg = picture(stacks, f"Processor time of {SAMPLED} logins, {sum(stacks.values())} samples")
    paths = [
        BUILD / "login-flame.svg",
        *([DOCS / "pictures" / "login-flame.svg"] if options.document else []),
    ]
    for path in paths:
        path.write_text(svg)
        print(f"flame graph: {path}")
    if options.document:
        document(table)
    give_back(BUILD, *paths)
    return 0


class Logins:
    """Runs logins one after another at one guest; each ends with the shell's prompt and the session's end."""

    def __init__(self, guest: Guest, log: Log, realm: Realm) -> None:
        self.guest, self._log, self._realm = guest, log, realm
        self._count = 0
        guest.screen.expect("login: ")

    def timed(self) -> dict[str, float]:
        """The parts of one login in seconds."""
        states = Log()
        began, client = self._client([*CLIENT, "--status-fd", str(states.writer)], [states.writer])
        os.close(states.writer)
        ticket, signed_in = states.at("signing-in"), states.at("signed-in")
        asked, opened = (self._log.at(word, self._count) for word in ("login-asked", "login-opened"))
        prompt = self._end(client)
        return {
            "client: start, up to the ticket for the guest": ticket - began,
            "handshake, up to the guest's decision": asked - ticket,
            "PAM and login": opened - asked,
            TOTAL: opened - began,
            "session open to the client's `signed in`": signed_in - opened,
            "session open to the shell's prompt": prompt - opened,
        }

    def once(self, prefix: list[str]) -> None:
        """One login, the client started by that command."""
        _, client = self._client([*prefix, *CLIENT], [])
        self._end(client)

    def _client(self, argv: list[str], fds: list[int]) -> tuple[float, "subprocess.Popen[bytes]"]:
        self._count += 1
        self._log.at("screen-ready", self._count)
        time.sleep(PACE)
        argv = [*argv, "--port", f"unix:{self.guest.port}"]
        env = {"PATH": os.environ["PATH"], **self._realm.env}
        nothing = subprocess.DEVNULL
        began = time.perf_counter()
        client = subprocess.Popen(argv, stdin=nothing, stdout=nothing, stderr=nothing, env=env, pass_fds=fds)
        return began, client

    def _end(self, client: "subprocess.Popen[bytes]") -> float:
        prompt = prompt_after(self.guest)
        assert client.wait() == 0
        self._log.at("session-over", self._count)
        return prompt


@contextmanager
def logins(realm: Realm, keytab: Path) -> Iterator[Logins]:
    with guest_with("login", realm, keytab) as (guest, log):
        yield Logins(guest, log, realm)


def sampled(login: Logins) -> Stacks:
    """The stacks of the guest's processes and of each client while logins run."""
    output = BUILD / "guest.folded"
    record = [SPY, "record", "--format", "raw", "--rate", RATE, "--function", "--nonblocking"]
    watch = [*record, "--pid", str(login.guest.pid), "--subprocesses", "--output", str(output)]
    watcher = subprocess.Popen(watch, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1.0)  # by then it has found all three processes
    stacks: Stacks = Counter()
    for number in range(SAMPLED):
        own = BUILD / f"client-{number}.folded"
        login.once([*record, "--output", str(own), "--"])
        stacks += folded(own, "client")
    watcher.send_signal(signal.SIGINT)
    watcher.wait(60)
    return stacks + folded(output)


def folded(path: Path, process: str = "") -> Stacks:
    """A file of stacks and counts; its processes become one frame each, named by their part."""
    stacks: Stacks = Counter()
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        commands = [frame for frame in frames if frame.startswith("process ")]
        name = process or role(commands)
        inner = [frame or NO_FRAME for frame in frames[len(commands) :] if shown(frame)]
        stacks[name, *inner] += int(count)
    path.unlink()
    return stacks


def role(commands: list[str]) -> str:
    """Return the part to which a stack belongs, by the command lines from the agent down."""
    for name in ("channel", "acceptor"):
        if f"--role {name}" in commands[-1]:
            forked = sum(f"--role {name}" in command for command in commands) > 1
            return "child of the peer's session" if forked else name
    return "agent" if len(commands) == 1 else "child of the agent"


def shown(frame: str) -> bool:
    """The machinery of imports and of `python -m` is left out."""
    return "<frozen importlib" not in frame and "<frozen runpy>" not in frame


def as_markdown(parts: dict[str, float]) -> str:
    lines = ["| part | median | share |", "|---|---|---|"]
    for part, seconds in parts.items():
        share = f"{seconds / parts[TOTAL]:.0%}" if not part.startswith("session open") else ""
        lines.append(f"| {part} | {seconds * 1e3:.1f} ms | {share} |")
    lines.append(f"| for comparison: `python -I -S -c pass` | {alone(BARE) * 1e3:.1f} ms | |")
    lines.append(
        f"| for comparison: the client's `--version` | {alone((*CLIENT, '--version')) * 1e3:.1f} ms | |"
    )
    return "\n".join(lines)


def alone(command: tuple[str, ...]) -> float:
    """The median time of a process that does nothing but start."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - began)
    return median(times)


def document(table: str) -> None:
    path = DOCS / "performance.md"
    before, mark, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"{path} has not the marks")
    path.write_text(f"{before}{BEGIN}\n{table}\n\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
