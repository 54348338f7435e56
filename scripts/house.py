"""`make house`: which room each module of ours is in, what a room may import, sizes and words.

Everything is read from the syntax tree; nothing is imported. Exit code 1 when something does not hold.
tests/project/test_layers.py asks the same questions one by one. The words are in words.py.
"""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import words
from sizes import ROOT, sources, too_large

SOURCES = {"sso": ROOT / "src", "sso_mechs": ROOT / "mechs"}
FLOORS = 9
CATCH_ALLS = {"base", "common", "helper", "helpers", "manager", "misc", "shared", "util", "utils"}

# The core in its order: a module imports only from those before it. A new module needs a place here.
CORE = (
    *("sso.printable", "sso.errors", "sso.settings", "sso.trusted", "sso.spn", "sso._framing"),
    *("sso._framing_py", "sso.framing", "sso.credential", "sso.mech", "sso.policy", "sso.ssh_agent"),
)
PROTOCOL = tuple(
    f"sso.protocol.{name}"
    for name in (
        *("messages", "state", "events", "transcript", "greeting", "layer", "reset", "wire", "exchange"),
        *("reading", "session"),
    )
)
BELOW_GUEST = ("sso", *CORE, "sso.daemon")
# A room, and what its modules may import besides one another: rooms, or single modules.
ROOMS: dict[str, tuple[str, ...]] = {
    "sso.protocol": CORE,
    "sso.ports": ("sso.errors", "sso.framing", "sso.protocol.events"),
    "sso.daemon": ("sso.printable", "sso.errors", "sso.trusted"),
    "sso.console": (
        *("sso.printable", "sso.errors", "sso.settings", "sso.spn", "sso.framing", "sso.credential"),
    ),
    "sso.plug": ("sso.printable", "sso.errors"),
    "sso.client": ("sso", *CORE, "sso.protocol", "sso.ports", "sso.doctor"),
    "sso.guest": BELOW_GUEST,
    "sso.guest.seat": (*BELOW_GUEST, "sso.guest"),
    "sso.guest.screens": (*BELOW_GUEST, "sso.guest", "sso.guest.seat"),
    "sso.guest.agent": (*BELOW_GUEST, "sso.guest", "sso.guest.seat", "sso.guest.screens.driver"),
    "sso.guest.channel": (*BELOW_GUEST, "sso.guest", "sso.protocol", "sso.ports"),
    "sso.guest.acceptor": (*BELOW_GUEST, "sso.guest"),
    "sso.guest.ssh_agent": (*BELOW_GUEST, "sso.guest", "sso.guest.seat", "sso.ports"),
    "sso.guest.pam_files": BELOW_GUEST,
    "sso.guest.checks": (
        *(*BELOW_GUEST, "sso.ports", "sso.doctor", "sso.guest", "sso.guest.seat", "sso.guest.screens"),
        *("sso.guest.agent", "sso.guest.acceptor", "sso.guest.pam_files"),
    ),
    "sso.viewer": ("sso", *CORE, "sso.console", "sso.plug", "sso.doctor"),
    "sso.demo": ("sso", *CORE, "sso.ports"),
    "sso_mechs": ("sso.mech", "sso.credential", "sso.errors"),
}
# Single modules that are a room for themselves, or import what their room does not.
ALSO: dict[str, tuple[str, ...]] = {
    "sso": (),
    "sso.doctor": ("sso.printable",),
    "sso.cli": ("sso",),
    "sso.guest.main": ("sso.guest.agent.agent", "sso.guest.channel.main", "sso.guest.acceptor.main"),
    "sso.demo.guest_half": ("sso.guest.channel.conversation",),  # a program of its own
    "sso.demo.sandbox": ("sso.guest.pam_files.pam_stack",),  # adds PAM's lines as the product does
}

# What each process may load at all, by its first modules: rooms and single modules.
REACH: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "agent": (
        ("sso.guest.agent.agent", *(f"sso.guest.screens.{name}" for name in ("getty", "greetd", "lightdm"))),
        (
            *("sso", "sso.printable", "sso.errors", "sso.settings", "sso.trusted", "sso.spn", "sso.daemon"),
            *(
                "sso.guest",
                "sso.guest.agent",
                "sso.guest.seat",
                "sso.guest.screens",
                "sso.mech",
                "sso.credential",
            ),
            *("sso.framing", "sso._framing", "sso._framing_py"),
        ),
    ),
    "channel": (
        ("sso.guest.channel.main",),
        (*BELOW_GUEST, "sso.protocol", "sso.ports", "sso.guest", "sso.guest.channel"),
    ),
    "acceptor": (
        ("sso.guest.acceptor.main", "sso_mechs"),
        (*BELOW_GUEST, "sso.guest", "sso.guest.acceptor", "sso_mechs"),
    ),
    "sso-getty": (
        ("sso.guest.screens.getty_program",),
        (
            *("sso", "sso.printable", "sso.errors", "sso.trusted", "sso.daemon.local", "sso.daemon.notify"),
            *("sso.guest.records", "sso.guest.fields", "sso.guest.screens.typed"),
            "sso.guest.screens.getty_program",
        ),
    ),
    "sso-greetd": (
        ("sso.guest.screens.greetd_greeter",),
        (
            *("sso", "sso.printable", "sso.errors", "sso.trusted", "sso.framing", "sso._framing"),
            *("sso._framing_py", "sso.daemon.local", "sso.daemon.notify", "sso.daemon.confine"),
            *("sso.guest.records", "sso.guest.fields", "sso.guest.screens.greetd_greeter"),
            *("sso.guest.screens.greetd_ipc", "sso.guest.screens.greeter_terminal"),
            *("sso.guest.screens.typed", "sso.guest.screens.ending"),
        ),
    ),
    "sso-ssh-agent": (
        ("sso.guest.ssh_agent.main",),
        ("sso", *CORE, "sso.daemon", "sso.ports", "sso.guest", "sso.guest.seat", "sso.guest.ssh_agent"),
    ),
    "spice-client-sso": (
        ("sso.client.start", "sso_mechs"),
        ("sso", *CORE, "sso.protocol", "sso.ports", "sso.client", "sso_mechs"),
    ),
    "sso-viewer": (
        ("sso.viewer.main",),
        ("sso", *CORE, "sso.console", "sso.plug", "sso.viewer"),
    ),
}

# Folders of tests that are not a room of the source: what spans rooms, the project itself, and the C sources.
NO_MIRROR = ("flows", "project", "support", "pam")

# Folders and files of text for people, beside the sources.
DOCUMENTS = ("*.md", "docs/*.md", "docs/man/*", "data/**/*", "debian/*", "examples/**/*.md", "scripts/*")
C_SOURCES = ("src/**/*.[ch]", "src/**/*.px?", "pam/**/*.[ch]", "tests/**/*.[ch]")


class Import(NamedTuple):
    """One name that a module imports: `target` is a full dotted name, `late` when inside a function."""

    target: str
    late: bool


def _modules() -> dict[str, Path]:
    """Every module of ours by dotted name."""
    found = {}
    for package, folder in SOURCES.items():
        for path in sorted((folder / package).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imports(name: str, path: Path) -> Iterator[Import]:
    """What a module imports; `from a import b` gives a.b, since b may be a module.

    The public face only names what it has for type checkers, and loads nothing of it.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if name == "sso":
        tree.body = [node for node in tree.body if not _is_for_type_checkers(node)]
    package = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
    late = {id(inner) for node in ast.walk(tree) if _is_function(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, id(node) in late)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                yield Import(".".join([*base, *filter(None, [node.module]), alias.name]), id(node) in late)


def _is_for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


MODULES = _modules()
IMPORTS = {name: list(_imports(name, path)) for name, path in MODULES.items()}


def resolve(target: str) -> str | None:
    """Our module that a target names, be it the module or something in it; None for a foreign one."""
    while target:
        if target in MODULES or target == "sso._framing":
            return target
        target = target.rpartition(".")[0]
    return None


def ours(name: str) -> set[str]:
    """Our modules that one of our modules imports, late ones too."""
    return {found for entry in IMPORTS.get(name, ()) if (found := resolve(entry.target))} - {name}


def foreign(name: str) -> set[str]:
    """The other names that it imports."""
    return {entry.target for entry in IMPORTS[name] if not resolve(entry.target)}


def room(name: str) -> str:
    """The room of a module: its package, or itself where it stands in `sso` alone."""
    path = MODULES.get(name)
    package = name if path is not None and path.stem == "__init__" else name.rpartition(".")[0]
    if package.startswith("sso.demo"):
        return "sso.demo"
    if name.startswith("sso._framing"):
        return "sso.framing"
    return name if package in ("sso", "") else package


def may_import(name: str) -> set[str]:
    """The modules that one may import, by the tables above."""
    for order in (CORE, PROTOCOL):
        if name in order:
            below = order[: order.index(name)]
            return {*below, *(CORE if order is PROTOCOL else ())}
    allowed = (room(name), *ROOMS.get(room(name), ()), *ALSO.get(name, ()))
    return {module for module in (*MODULES, "sso._framing") if module in allowed or room(module) in allowed}


def graph() -> dict[str, set[str]]:
    """Every module with those that it imports; late imports count."""
    return {name: ours(name) for name in MODULES}


def wrong_imports(name: str) -> set[str]:
    """Return what a module imports although its room must not."""
    return ours(name) - may_import(name)


def homeless() -> list[str]:
    """Modules that no table gives a place."""
    return [name for name in MODULES if not {name, room(name)} & {*CORE, *ROOMS, *ALSO}]


def reached(first: Iterable[str]) -> set[str]:
    """Everything of ours that is loaded with some modules, sooner or later."""
    new = {name for name in MODULES if name in first or room(name) in first}
    found = set[str]()
    while new:
        found |= new
        new = {inner for name in new for inner in ours(name)} - found
    return found


def out_of_reach(process: str) -> set[str]:
    """Return what a process of REACH would load although it must not."""
    first, allowed = REACH[process]
    return {name for name in reached(first) if name not in allowed and room(name) not in allowed}


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Find circles in a graph of modules or rooms."""
    waiting, found = dict(graph), list[list[str]]()
    while waiting:
        free = [name for name, needs in waiting.items() if not needs & waiting.keys()]
        if not free:
            found.append(sorted(_circle(waiting)))
            free = found[-1]
        for name in free:
            del waiting[name]
    return found


def _circle(waiting: dict[str, set[str]]) -> list[str]:
    path = [min(waiting)]
    while True:
        following = min(waiting[path[-1]] & waiting.keys())
        if following in path:
            return path[path.index(following) :]
        path.append(following)


def arrows() -> dict[str, set[str]]:
    """Which room imports which other; the programs of ALSO may look into each, and are left out."""
    found: dict[str, set[str]] = {room(name): set() for name in MODULES}
    for name in MODULES.keys() - ALSO.keys():
        found[room(name)] |= {room(other) for other in ours(name)} - {room(name)}
    return found


@cache
def floor(one: str) -> int:
    """Return a room's floor: the longest chain of imports from it; the graph must have no circles."""
    return 1 + max((floor(below) for below in arrows().get(one, ())), default=0)


def catch_alls() -> list[Path]:
    """Files whose name says nothing of what is in them."""
    return [path for path in sources() if path.stem.strip("_") in CATCH_ALLS]


def texts() -> list[Path]:
    """Every file with prose for people: sources and tests, in Python, Cython and C, and the documents."""
    found = {path for one in (*C_SOURCES, *DOCUMENTS) for path in ROOT.glob(one) if path.is_file()}
    return sorted(found.union(sources()))


def strangers() -> list[str]:
    """Tests beside the source's rooms that bear no module's name of their room."""
    folders = {
        "core": [name for name in MODULES if name in CORE or room(name) in ("sso.cli", "sso.doctor")],
        "mechs": [name for name in MODULES if name.startswith("sso_mechs")],
    }
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        folder = path.parent.relative_to(ROOT / "tests").as_posix()
        if folder.split("/")[0] in NO_MIRROR:
            continue
        inside = folders.get(folder) or [n for n in MODULES if room(n) == f"sso.{folder.replace('/', '.')}"]
        words = {name.rpartition(".")[2].strip("_") for name in inside}
        words |= {"arena", "base64", "face"} if folder == "core" else set()  # of the C core; sso/__init__
        said = path.stem.removeprefix("test_") + "_"
        if not any(said.startswith(f"{word}_") for word in words):
            found.append(path.relative_to(ROOT).as_posix())
    return found


def defects() -> list[str]:
    """Return one line for each rule that does not hold."""
    found = [f"{name} has no place in a room" for name in homeless()]
    found += [f"{name} must not import {wrong}" for name in MODULES for wrong in sorted(wrong_imports(name))]
    found += [f"a circle: {' -> '.join(circle)}" for circle in circles(graph())]
    found += [
        f"{process} must not reach {wrong}" for process in REACH for wrong in sorted(out_of_reach(process))
    ]
    found += [f"too large: {large}" for path in sources() for large in too_large(path)]
    found += [f"an old name: {name}" for name in words.old_names(MODULES)]
    found += [f"an old word: {word}" for word in words.old_prose(texts(), ROOT)]
    found += [f"one name, several classes: {word} in {at}" for word, at in words.namesakes(MODULES).items()]
    found += [f"a test without a module: {path}" for path in strangers()]
    found += [f"a catch-all: {path.name}" for path in catch_alls()]
    found += [f"a circle of rooms: {' -> '.join(circle)}" for circle in circles(arrows())]
    if not circles(arrows()):
        found += [f"{one} stands on floor {floor(one)}" for one in arrows() if floor(one) > FLOORS]
    return found


def main() -> int:
    """Print the figures, then the rules that do not hold."""
    found = arrows()
    for one in sorted(found):
        inside = sum(room(name) == one for name in MODULES)
        print(f"{one:20} {inside:3} modules  -> {', '.join(sorted(found[one]))}")
    print(f"{len(MODULES)} modules, {len(found)} rooms, {sum(map(len, found.values()))} arrows between rooms")
    if not circles(found):
        print(f"{max(map(floor, found))} floors (at most {FLOORS})")
    for process in REACH:
        print(f"{process:18} may load {len(reached(REACH[process][0])):3} modules of ours")
    wrong = defects()
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
