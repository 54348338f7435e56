"""Mechanisms of others that go wrong, by entry points in an environment of their own.

A name says where and how: X-A-RAISE raises in the guest's `accept`. The places are A (accept), S (the guest's
step), G (its import), I (initiate), C (the client's step), J (its import), and for one that has a layer those
of Layer. Both halves are good elsewhere: the client says "alice", and the guest believes it.
"""

from pathlib import Path

from beds_wheels import beside_ours
from beds_wheels import site as site_of

from sso.mech import ENTRY_POINTS

SECRET = "Open-Sesame-4711"  # what no log and no line may show
HOSTILE = f'''
import os, signal, sys, threading
from functools import partial
from sso.credential import Credential
from sso.mech import Mechanism, Pair

SECRET = {SECRET!r}

class Odd(BaseException):
    pass

def throw(error):
    raise error

IN_CLIENT = any(argument.startswith("--named") for argument in sys.argv)

def hang():
    """Wait for the deadline of this process, which is shortened here, and is an error where there is none."""
    left, _ = signal.setitimer(signal.ITIMER_REAL, 1000)
    if not 0 < left <= (20 if IN_CLIENT else 4):
        raise RuntimeError("no deadline")
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    while True:
        signal.pause()

def pause():
    while True:
        signal.pause()

DEEDS = {{
    "RAISE": lambda: throw(ZeroDivisionError(SECRET)),
    "SYSEXIT": lambda: throw(SystemExit(0)),
    "ODD": lambda: throw(Odd(SECRET)),
    "INTR": lambda: throw(KeyboardInterrupt()),
    "HANG": hang,
    "EXIT": lambda: os._exit(0),
    "PAUSE": pause,
    "CLOSE": lambda: os.closerange(3, 1024),
    "THREAD": lambda: threading.Thread(target=signal.pause, daemon=True).start(),
    "SIGNAL": lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    "PRINT": lambda: [print("ok", flush=True), os.write(1, b"error 500 a\\n"), sys.stdin.read(), b""][-1],
    "MEGA": lambda: bytes(2**20),
    "NONE": lambda: None,
    "TEXT": lambda: "text",
    "NEXT": lambda: None,
}}

def do(where, name):
    at, how = name.split("-")[1:3]
    return DEEDS[how]() if at == where else b""

def has_layer(name):
    return name.split("-")[1] in ("W", "V", "D")

class Client(Mechanism):
    def __init__(self, name, layer="none"):
        self._name, self.own_name = name, "alice"
        do("I", name)

    def step(self, token):
        answer = do("C", self._name)
        self.complete, self.peer = True, "guest"
        self.layer = "conf" if has_layer(self._name) else "none"
        return answer if answer != b"" else b"alice"

    def wrap(self, data):
        return data

    def unwrap(self, data):
        return data

class Guest(Mechanism):
    def __init__(self, name, layers=()):
        self._name = name
        do("A", name)

    def step(self, token):
        answer = do("S", self._name)
        self.complete, self.peer = True, bytes(token).decode()
        self.credential = Credential("identity", self.peer)
        self.layer = "conf" if has_layer(self._name) else "none"
        return answer

    def export(self):
        return self.peer.encode()

class Layer(Mechanism):
    """The guest's layer in the child: W is its first `wrap`, V the second, D `dispose`."""

    layer = "conf"

    def __init__(self, name, exported):
        self._name, self.peer, self._wraps = name, exported.decode(), iter("WV")

    def wrap(self, data):
        return do(next(self._wraps, ""), self._name) or data

    def dispose(self):
        do("D", self._name)

class Made:
    """A half that is made of nothing, where the name says so."""
    def __init__(self, half, name):
        self._half, self._name = half, name

    def __call__(self, **settings):
        half = self._half(self._name, **settings)
        return None if self._name == ("X-I-NONE" if self._half is Client else "X-A-NONE") else half

def pair(name):
    do("J" if IN_CLIENT else "G", name)
    made = Pair(name, "sasl", Made(Client, name), Made(Guest, name), provides=("identity",))
    return made._replace(layers=("conf",), resume=partial(Layer, name)) if has_layer(name) else made
'''


def make_venv(folder: Path, *names: str) -> Path:
    """An environment that finds what this one does, and mechanisms of these names."""
    site = site_of(beside_ours(folder))
    (site / "hostile.py").write_text(HOSTILE)
    install(site, "strangers", {name: f"{module(name)}:PLUG" for name in names})
    for name in names:
        (site / f"{module(name)}.py").write_text(f"import hostile\nPLUG = hostile.pair({name!r})\n")
    return folder


def shorten(folder: Path, seconds: float) -> None:
    """Give the imports of all mechanisms in the guests of this environment so much time together."""
    lines = f"import sso.guest.mechanisms; sso.guest.mechanisms.TRY_ALL_SECONDS = {seconds}\n"
    (site_of(folder) / "shorten.pth").write_text(lines)  # behind project.pth, which finds ours


def install(site: Path, distribution: str, points: dict[str, str]) -> None:
    """Write what an installer writes of a distribution with these entry points."""
    info = site / f"{distribution}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
    lines = [f"[{ENTRY_POINTS}]", *(f"{name} = {where}" for name, where in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def module(name: str) -> str:
    return f"hostile_{name.lower().replace('-', '_')}"
