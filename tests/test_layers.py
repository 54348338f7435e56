"""The layers of docs/architecture.md hold: imports point down, no I/O in the core, rooms stay apart.

Also the sizes and names of the house rules. All of it is read from the syntax tree; nothing is imported.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = {"sso": ROOT / "src", "sso_mechs": ROOT / "mechs"}

# The core in its order: a module imports only from those before it. A new module needs a place here.
CORE = (
    *("printable", "errors", "spn", "_framing", "_framing_py", "framing", "credential", "mech", "policy"),
    *("messages", "state"),
    *("events", "transcript", "greeting", "layer", "reset", "wire", "exchange", "session", "ssh_agent"),
)
PORTS = ("trusted", "port", "watch", "loop", "daemon", "doctor")  # the first I/O, and what daemons need
CONSOLE = ("console",)  # what a console is, and who vouches for it: for who writes it and who reads it
ROOMS = ("client", "guest", "host", "viewer", "portal", "demo")

# All that the core takes from the standard library. None of it opens, waits or tells the time.
PURE = {
    *("abc", "base64", "binascii", "collections", "collections.abc", "dataclasses", "enum", "fnmatch"),
    *("functools", "hashlib", "hmac", "itertools", "re", "struct", "types", "typing"),
    *("os.urandom", "secrets.token_bytes"),
}
# What single modules take besides, and why.
ALSO = {
    "sso._framing_py": {"ctypes"},  # to wipe
    "sso.framing": {"os.environ"},  # SSO_PURE
    "sso.protocol.transcript": {"_sha2.sha256", "_sha256.sha256"},  # hashlib would load OpenSSL
    "sso.mech": {"importlib.import_module", "importlib.metadata.entry_points"},
}
IO = {
    *("asyncio", "fcntl", "logging", "multiprocessing", "os", "pathlib", "select", "selectors", "shutil"),
    *("signal", "socket", "ssl", "subprocess", "tempfile", "termios", "threading", "time"),
}
# Decide what to say, and leave the saying to a pump; time is given to them.
CONVERSATIONS = ("sso.client.conversation", "sso.guest.channel.conversation")

FILE_LINES, FUNCTION_LINES = 400, 40
CATCH_ALLS = {"base", "common", "helper", "helpers", "manager", "misc", "shared", "util", "utils"}


class Import(NamedTuple):
    """One name that a module imports: `target` is a full dotted name, `late` when inside a function."""

    target: str
    late: bool


def modules() -> dict[str, Path]:
    """Every module of ours by dotted name."""
    found = {}
    for package, folder in SOURCES.items():
        for path in sorted((folder / package).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path) -> Iterator[Import]:
    """What a module imports; `from a import b` gives a.b, since b may be a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
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


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


MODULES = modules()
IMPORTS = {name: list(imports(name, path)) for name, path in MODULES.items()}


def resolve(target: str) -> str | None:
    """Our module that a target names, be it the module or something in it; None for a foreign one."""
    while target:
        if target in MODULES or target in ("sso._framing", "sso.framing"):
            return target
        target = target.rpartition(".")[0]
    return None


def ours(name: str) -> set[str]:
    """Our modules that one of our modules imports."""
    return {found for entry in IMPORTS[name] if (found := resolve(entry.target))}


def foreign(name: str) -> set[str]:
    """The other names that it imports."""
    return {entry.target for entry in IMPORTS[name] if not resolve(entry.target)}


def room(name: str) -> str:
    """The second word of a module's name: sso.client.main is in `client`."""
    return name.split(".")[1] if "." in name else ""


def core_modules() -> list[str]:
    return [name for name in MODULES if name.startswith("sso.") and room(name) in CORE]


def allowed(name: str) -> set[str]:
    """What a module of `sso` may import, by the second word."""
    order = (*CORE, *PORTS)
    place = room(name)
    if place in order:
        return set(order[: order.index(place)])
    if place in CONSOLE:
        return {"", *CORE, place}
    return {"", *order, place, *(CONSOLE if place in ("viewer", "portal", "demo") else ())}


def test_every_module_has_its_place() -> None:
    places = {*CORE, *PORTS, *CONSOLE, *ROOMS, "cli", ""}
    assert [name for name in MODULES if name.startswith("sso.") and room(name) not in places] == []


@pytest.mark.proves("S055", "S056")
@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("sso.") and name != "sso.cli"])
def test_imports_point_down_and_rooms_stay_apart(name: str) -> None:
    # guest_half is a program of its own; the test bed adds PAM lines as the product does.
    exceptions = {
        "sso.demo.guest_half": {"sso.guest.channel.conversation"},
        "sso.demo.sandbox": {"sso.guest.pam_files.pam_stack"},
    }
    wrong = {found for found in ours(name) if room(found) not in allowed(name)} - exceptions.get(name, set())
    assert wrong == set()


def test_the_umbrella_command_imports_late() -> None:
    early = {entry.target for entry in IMPORTS["sso.cli"] if not entry.late}
    assert {found for target in early if (found := resolve(target))} <= {"sso"}


def test_the_product_does_not_import_the_demo() -> None:
    assert [name for name in MODULES if room(name) != "demo" and "demo" in map(room, ours(name))] == []


@pytest.mark.proves("S054")
@pytest.mark.parametrize("name", core_modules())
def test_the_core_does_no_io(name: str) -> None:
    taken = foreign(name) - ALSO.get(name, set())
    assert {target for target in taken if not {target, target.rpartition(".")[0]} & PURE} == set()
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert calls & {"open", "print", "input", "exec", "eval", "__import__"} == set()


# The programs sso trust and sso inventory, and the folders of trusted keys; all else of the room is pure.
CONSOLE_IO = ("trust_folder", "trust_main", "inventory_main")


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) in CONSOLE])
def test_what_counts_of_a_console_is_decided_without_io(name: str) -> None:
    """Nor with a clock: the time is given. Errors and octets are all it needs of ours; Ed25519 comes late."""
    early = {entry.target.split(".")[0] for entry in IMPORTS[name] if not entry.late}
    assert early & {"cryptography", "_cffi_backend"} == set()
    assert {room(found) for found in ours(name)} <= {"", "printable", "errors", "spn", "framing", "console"}
    if name.rpartition(".")[2] in CONSOLE_IO:
        return
    assert {target for target in foreign(name) if target.split(".")[0] in IO} == set()
    assert not {found.rpartition(".")[2] for found in ours(name)} & set(CONSOLE_IO)
    assert not re.search(r"\b(open|print|input|now|today)\(", MODULES[name].read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(CONVERSATIONS & MODULES.keys()))
def test_a_conversation_does_no_io(name: str) -> None:
    # The wall clock is what `info time` is about.
    taken = {target for target in foreign(name) if target.split(".")[0] in IO}
    assert taken <= {"os.urandom", "time.time"}


@pytest.mark.proves("S084")
@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("sso_mechs")])
def test_our_mechanisms_know_no_more_than_a_strangers(name: str) -> None:
    public = {"sso.mech", "sso.credential", "sso.errors"}
    assert {found for found in ours(name) if not found.startswith("sso_mechs")} <= public


def test_the_guests_root_part_takes_no_foreign_parser() -> None:
    """The agent reads no octet of a peer: no TLS, GSS-API or session is in its reach, even indirectly."""
    reached, new = set[str](), {"sso.guest.agent.agent"} & MODULES.keys()
    while new:
        reached |= new
        new = {found for name in new for found in ours(name)} - reached
    libraries = {target.split(".")[0] for name in reached for target in foreign(name)}
    assert libraries & {"ssl", "gssapi", "pyasn1", "asyncio"} == set()
    assert {name for name in reached if "mechs" in name or room(name) in ("session", "wire")} == set()


def test_blocking_pumps_only() -> None:
    """Client and guest have no event loop of asyncio: its import alone costs more than their start."""
    users = {name for name in MODULES if any(target.split(".")[0] == "asyncio" for target in foreign(name))}
    assert {name for name in users if room(name) not in ("host", "portal")} == set()


# Sizes and names

FOLDERS = ("src", "mechs", "tests", "benchmarks", "examples", "scripts")
FILES = [
    path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py*"))
    if path.suffix in (".py", ".pyx")
]


def docstring_lines(node: ast.AST) -> int:
    """How many lines the docstring of a module, class or function takes."""
    body = getattr(node, "body", None)
    if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
        return 0
    text = body[0].value
    if not isinstance(text, ast.Constant) or not isinstance(text.value, str):
        return 0
    return (text.end_lineno or text.lineno) - text.lineno + 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    if path.suffix == ".pyx":  # not Python to ast
        assert lines <= FILE_LINES
        return
    nodes = list(ast.walk(ast.parse(text)))
    lines -= sum(map(docstring_lines, nodes))
    assert lines <= FILE_LINES
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    sizes = [
        (node.name, (node.end_lineno or 0) - node.lineno + 1 - docstring_lines(node)) for node in functions
    ]
    assert [(name, size) for name, size in sizes if size > FUNCTION_LINES] == []


def test_no_file_is_a_catch_all() -> None:
    assert [str(path.relative_to(ROOT)) for path in FILES if path.stem.strip("_") in CATCH_ALLS] == []
