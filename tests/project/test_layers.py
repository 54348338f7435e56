"""The rooms of docs/architecture.md hold: imports point down, no I/O in the core, rooms stay apart.

The tables, and what `make house` prints, are in scripts/house.py; each rule is asked here one by one. It is
read from the syntax tree; nothing is imported.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import house
import pytest
import words
from house import IMPORTS, MODULES, foreign, ours, room
from sizes import ROOT, sources, too_large

# All that the core takes from the standard library. None of it opens, waits or tells the time.
PURE = {
    *("abc", "base64", "binascii", "collections", "collections.abc", "contextlib", "dataclasses", "enum"),
    *("fnmatch", "functools", "hashlib", "hmac", "itertools", "re", "struct", "types", "typing"),
    *("os.urandom", "secrets.token_bytes"),
}
# What single modules take besides, and why.
ALSO = {
    "sso._framing_py": {"ctypes"},  # to wipe
    "sso.framing": {"os.environ"},  # SSO_PURE
    "sso.settings": {"os", "stat", "tomllib"},  # the one module of the core that reads files
    "sso.protocol.transcript": {"_sha2.sha256", "_sha256.sha256"},  # hashlib would load OpenSSL
    "sso.mech": {"importlib.import_module", "importlib.metadata.entry_points"},
}
IO = {
    *("asyncio", "fcntl", "logging", "multiprocessing", "os", "pathlib", "select", "selectors", "shutil"),
    *("signal", "socket", "ssl", "subprocess", "tempfile", "termios", "threading", "time"),
}
# Decide what to say, and leave the saying to a pump; time is given to them.
CONVERSATIONS = ("sso.client.conversation", "sso.guest.channel.conversation")
# The programs sso trust and sso inventory, and the folders of trusted keys; all else of the room is pure.
CONSOLE_IO = ("trust_folder", "trust_main", "inventory_main", "connection_file", "key_file")
CORE = [name for name in MODULES if name in (*house.CORE, *house.PROTOCOL) and name != "sso.trusted"]


def test_every_module_has_its_place() -> None:
    assert house.homeless() == []


@pytest.mark.proves("S055", "S056")
@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down_and_rooms_stay_apart(name: str) -> None:
    assert house.wrong_imports(name) == set()


def test_nothing_comes_back_to_itself() -> None:
    """Late imports count."""
    assert house.circles(house.graph()) == []
    assert house.circles(house.arrows()) == []


def test_the_house_is_low() -> None:
    assert {one for one in house.arrows() if house.floor(one) > house.FLOORS} == set()


@pytest.mark.parametrize("process", house.REACH)
def test_a_process_reaches_its_own_rooms_only(process: str) -> None:
    assert house.out_of_reach(process) == set()


# What no line of a process may load, early or late, of other people's libraries.
FORBIDDEN = {
    "agent": {"ssl", "gssapi", "pyasn1", "asyncio", "cryptography"},
    "channel": {"gssapi", "pyasn1", "asyncio", "jeepney", "cryptography"},
    "acceptor": {"asyncio", "jeepney"},
    "sso-getty": {"ssl", "gssapi", "pyasn1", "asyncio", "jeepney", "dataclasses", "cryptography"},
    "sso-greetd": {"ssl", "gssapi", "pyasn1", "asyncio", "jeepney", "cryptography"},
    "sso-ssh-agent": {"ssl", "gssapi", "pyasn1", "asyncio", "cryptography"},
    "spice-client-sso": {"asyncio", "jeepney", "gi", "cryptography"},
    "sso-viewer": {"asyncio", "gssapi", "pyasn1"},
}


@pytest.mark.parametrize("process", house.REACH)
def test_a_process_loads_no_library_of_another(process: str) -> None:
    reached = house.reached(house.REACH[process][0]) & IMPORTS.keys()
    libraries = {target.split(".")[0] for name in reached for target in foreign(name)}
    assert libraries & FORBIDDEN[process] == set()


@pytest.mark.parametrize(
    ("process", "module"),
    [
        ("agent", "sso.guest.agent.agent"),
        ("channel", "sso.guest.channel.main"),
        ("acceptor", "sso.guest.acceptor.main"),
        ("sso-getty", "sso.guest.screens.getty_program"),
        ("sso-greetd", "sso.guest.screens.greetd_greeter"),
        ("sso-ssh-agent", "sso.guest.ssh_agent.main"),
        ("spice-client-sso", "sso.client.start"),
    ],
)
def test_the_syntax_tree_tells_what_python_loads(process: str, module: str) -> None:
    program = f"import sys, {module}; print(*(name for name in sys.modules if name.split('.')[0] == 'sso'))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    packages = {name for name, path in MODULES.items() if path.stem == "__init__"}
    found = set(loaded.stdout.split()) - packages - {"sso._framing", "sso._framing_py"}
    assert found and found <= house.reached(house.REACH[process][0])


def test_the_umbrella_command_imports_late() -> None:
    early = {entry.target for entry in IMPORTS["sso.cli"] if not entry.late}
    assert {found for target in early if (found := house.resolve(target))} <= {"sso"}


def test_the_product_does_not_import_the_demo() -> None:
    assert [n for n in MODULES if room(n) != "sso.demo" and "sso.demo" in map(room, ours(n))] == []


@pytest.mark.proves("S054")
@pytest.mark.parametrize("name", CORE)
def test_the_core_does_no_io(name: str) -> None:
    taken = foreign(name) - ALSO.get(name, set())
    assert {target for target in taken if not {target, target.rpartition(".")[0]} & PURE} == set()
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    opens = {"open"} if name == "sso.settings" else set()
    assert calls & {"open", "print", "input", "exec", "eval", "__import__"} == opens


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) == "sso.console"])
def test_what_counts_of_a_console_is_decided_without_io(name: str) -> None:
    """Nor with a clock: the time is given. Ed25519 comes late."""
    early = {entry.target.split(".")[0] for entry in IMPORTS[name] if not entry.late}
    assert early & {"cryptography", "_cffi_backend"} == set()
    if name.rpartition(".")[2] in CONSOLE_IO:
        return
    assert {target for target in foreign(name) if target.split(".")[0] in IO} == set()
    assert not re.search(r"\b(open|print|input|now|today)\(", MODULES[name].read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_does_no_io(name: str) -> None:
    # The wall clock is what `info time` is about.
    taken = {target for target in foreign(name) if target.split(".")[0] in IO}
    assert taken <= {"os.urandom", "time.time"}


@pytest.mark.proves("S084")
@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("sso_mechs")])
def test_our_mechanisms_know_no_more_than_a_strangers(name: str) -> None:
    public = {"sso.mech", "sso.credential", "sso.errors"}
    assert {found for found in ours(name) if not found.startswith("sso_mechs")} <= public


def test_blocking_pumps_only() -> None:
    """Client and guest have no event loop of asyncio: its import alone costs more than their start."""
    users = {name for name in MODULES if any(target.split(".")[0] == "asyncio" for target in foreign(name))}
    assert {name for name in users if room(name) not in ("sso.host", "sso.portal")} == set()


# Sizes and names


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    assert too_large(path) == []


@pytest.mark.parametrize("name", ["long.py", "long.c"])
def test_a_file_counts_whole(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(f'"""{399 * chr(10)}"""\n')
    assert too_large(path) == []
    path.write_text(f'"""{400 * chr(10)}"""\n')
    assert too_large(path) == [name]


def test_no_file_is_a_catch_all() -> None:
    assert house.catch_alls() == []


def test_no_word_is_left_that_has_a_better_one() -> None:
    assert words.old_names(MODULES) == []
    assert words.old_prose(house.texts(), ROOT) == []


def test_a_class_has_a_name_of_its_own() -> None:
    assert words.namesakes(MODULES) == {}


def test_tests_mirror_the_source() -> None:
    assert house.strangers() == []
