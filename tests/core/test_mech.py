"""The registry: names without an import, what is missing, what is not allowed."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sso.credential import Credential
from sso.errors import ConfigError, MechanismError
from sso.mech import ENTRY_POINTS, OURS, Mechanism, Pair, load, names

ROGUE = """\
from pathlib import Path
Path({sentinel!r}).touch()
from sso.mech import Mechanism, Pair
ROGUE = Pair("ROGUE", "sasl", Mechanism, Mechanism)
NOPAIR = object()
"""
POINTS = f"""\
[{ENTRY_POINTS}]
ROGUE = rogue_mechanism:ROGUE
NOPAIR = rogue_mechanism:NOPAIR
OTHERNAME = rogue_mechanism:ROGUE
MISSING = rogue_mechanism:THERE_IS_NONE
BROKEN = a_module_that_is_not_there:X
GSSAPI = rogue_mechanism:ROGUE
"""


@pytest.fixture
def sentinel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a distribution whose module writes a file when it is imported."""
    site = tmp_path / "site"
    info = site / "rogue-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rogue\nVersion: 1\n")
    (info / "entry_points.txt").write_text(POINTS)
    touched = tmp_path / "imported"
    (site / "rogue_mechanism.py").write_text(ROGUE.format(sentinel=str(touched)))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "rogue_mechanism", raising=False)
    return touched


@pytest.mark.proves("S084")
def test_names_are_read_without_an_import(sentinel: Path) -> None:
    assert {"ROGUE", "GSSAPI", "TLS", "kerberos", "password"} <= set(names())
    assert not sentinel.exists()


@pytest.mark.parametrize("name", ["ROGUE", "NOPAIR", "OTHERNAME"])
def test_what_is_not_allowed_is_never_imported(sentinel: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="not in the list"):
        load(name, allowed=("GSSAPI", "TLS"))
    assert not sentinel.exists()


def test_what_is_allowed_is_imported(sentinel: Path) -> None:
    assert load("ROGUE", allowed=("ROGUE",)).kind == "sasl"
    assert sentinel.exists()


def test_nobody_takes_the_place_of_ours(sentinel: Path) -> None:
    assert load("GSSAPI").initiate.__module__ == "sso_mechs.kerberos"
    assert names()["GSSAPI"] == "sso_mechs.kerberos:GSSAPI"
    assert not sentinel.exists()


@pytest.mark.parametrize("name", ["NOPAIR", "OTHERNAME", "MISSING", "NOBODY"])
def test_what_is_no_pair_of_that_name(sentinel: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load(name)


def test_a_missing_library_is_named(sentinel: Path) -> None:
    with pytest.raises(MechanismError, match="a_module_that_is_not_there") as caught:
        load("BROKEN")
    assert caught.value.cause == "unavailable"


def test_what_two_distributions_have_is_not_chosen_between(sentinel: Path) -> None:
    info = sentinel.parent / "site" / "another-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: another\nVersion: 1\n")
    points = [f"[{ENTRY_POINTS}]", "ROGUE = another_module:ROGUE", "NOPAIR = rogue_mechanism:NOPAIR"]
    (info / "entry_points.txt").write_text("\n".join(points))
    with pytest.raises(ConfigError, match="ROGUE is installed by another and rogue: uninstall all but one"):
        load("ROGUE")
    assert not sentinel.exists()
    with pytest.raises(ConfigError, match="NOPAIR: rogue_mechanism:NOPAIR is not a Pair"):
        load("NOPAIR")  # both mean the same


class Fails(ModuleType):
    """A module that goes wrong where its attribute is read, as one does that is imported late."""

    def __getattr__(self, name: str) -> Any:
        raise self.error

    error: BaseException


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("secret"), SystemExit("secret"), GeneratorExit("secret")]
)
def test_what_a_module_says_stays_unsaid(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    module = Fails("fails")
    module.error = error
    monkeypatch.setitem(sys.modules, "fails", module)
    monkeypatch.setitem(OURS, "FAILS", "fails:FAILS")
    with pytest.raises(MechanismError, match=f"unavailable: FAILS: {type(error).__name__}$"):
        load("FAILS")


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("X-GOOD_1", {}, ""),
        ("x-good", {"kind": "credential"}, ""),
        ("X-Small", {}, "name a sasl by at most 20 of ABC"),
        ("X-" + "A" * 19, {}, "name a sasl"),
        ("X.DOT", {}, "name a sasl"),
        ("X@AT", {}, "name a sasl"),
        ("X-LARGE", {"kind": "credential"}, "name a credential by at most 32 of abc"),
        ("x_underscore", {"kind": "credential"}, "name a credential"),
        ("x" * 33, {"kind": "credential"}, "name a credential"),
        ("X-TLS", {"kind": "tls"}, "name a tls by at most 3 of TLS"),
        ("X-ONE", {"kind": "other"}, "its kind, layers or gives is a word that there is not"),
        ("X-ONE", {"layers": ("none", "other")}, "its kind, layers or gives"),
        ("X-ONE", {"layers": "none"}, "its kind, layers or gives"),
        ("X-ONE", {"provides": "identity"}, "its kind, layers or gives"),
        ("X-ONE", {"gives": "ticket"}, "a ticket belongs to a name of Kerberos"),
        ("X-ONE", {"namespace": "two\nlines"}, "its namespace is no name of at most 63 bytes"),
        ("X-ONE", {"namespace": "n" * 64}, "its namespace is no name"),
    ],
)
def test_a_pair_that_would_break_what_is_said_of_it_is_refused(
    name: str, changes: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wrong name in a SIGNATURE, or in `authenticate`, and no client would understand that guest."""
    module = ModuleType("stranger")
    module.PAIR = Pair(name, "sasl", Mechanism, Mechanism)._replace(**changes)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stranger", module)
    monkeypatch.setitem(OURS, name, "stranger:PAIR")
    if not why:
        assert load(name).name == name
        return
    with pytest.raises(ConfigError) as caught:
        load(name)
    assert why in str(caught.value)


@pytest.mark.parametrize(("name", "library"), [("GSSAPI", "gssapi"), ("kerberos", "pyasn1")])
def test_ours_without_their_library(name: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [m for m in sys.modules if m.split(".")[0] in (library, "sso_mechs")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MechanismError, match=library) as caught:
        load(name)
    assert caught.value.cause == "unavailable"


def test_loading_one_imports_nothing_else() -> None:
    """The spawned client's start-up: no entry-point scan, no library of another mechanism."""
    program = (
        "import sys; from sso.mech import load; load('password');"
        "print(sorted({'gssapi', 'ssl', 'pyasn1', 'importlib.metadata', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["TLS", "GSSAPI", "kerberos", "password"])
def test_ours_are_pairs_of_their_name(name: str) -> None:
    pair = load(name)
    assert isinstance(pair, Pair)
    assert pair.name == name
    assert pair.kind == {"TLS": "tls", "GSSAPI": "sasl"}.get(name, "credential")
    assert pair.confidential == (pair.kind == "credential")


def test_dispose_wipes_the_credential_and_may_be_said_twice() -> None:
    secret = bytearray(b"hunter2")
    mechanism = Mechanism()
    mechanism.credential = Credential("password", "alice", secret)
    mechanism.dispose()
    mechanism.dispose()
    assert secret == bytes(7)
    assert mechanism.credential.secret is None
