"""python-gssapi without its ballast: enough for a login, all of it for whoever asks, in every version."""

import inspect
import json
import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import sso_mechs
from flows import DELEG, Kerberos
from sso_mechs.gssapi_raw import CODE_FLAGS, Unexecuted

import sso

DEBIAN = Path(__file__).resolve().parents[2] / "build/gssapi/usr/lib/python3/dist-packages"
INSTALLED = Path(str(sys.modules["gssapi"].__file__)).parents[1]
OURS = [Path(package.__path__[0]).parent for package in (sso, sso_mechs)]

LOGIN = """
import sys, types
from sso_mechs.kerberos import Acceptor, Initiator, GSSAPI
GSSAPI.prepare()
halves = client, guest = Initiator(spn=spn), Acceptor(spn=spn, keytab=keytab)
for half in halves:
    half.bind(b"binding")
token = b""
while not guest.complete:
    token = guest.step(client.step(token))
said = guest.unwrap(client.wrap(b"hello")).decode()
result = {
    "said": said,
    "peer": guest.peer,
    "forwarded": guest.credential is not None,
    "loaded": [name for name in sys.modules if name.startswith("gssapi")],
    "executed": [name for name in unexecuted if type(sys.modules.get(name)) is types.ModuleType],
}
"""
# Everything, as another mechanism in the process may want it.
ALL = """
import gssapi, gssapi.raw, inspect, json, types
public = lambda module: sorted(name for name in vars(module) if not name.startswith("_"))
enums = (gssapi.RequirementFlag, gssapi.NameType, gssapi.MechType, gssapi.AddressType)
members = [sorted(name for name in dir(one) if not name.startswith("_")) for one in enums]
gssapi.Credentials, gssapi.raw.acquire_cred, inspect.signature(json.dumps)
result = {"raw": public(gssapi.raw), "gssapi": public(gssapi), "utils": public(gssapi._utils)}
result["members"] = members
result["is one"] = gssapi.raw.RequirementFlag is gssapi.RequirementFlag
"""
REFUSE = """
import sys
class Refuse:
    once = True
    def find_spec(self, name, path=None, target=None):
        if name == "gssapi.raw.message" and self.once:
            self.once = False
            raise ImportError("another layout")
sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(params=["installed", "of Debian"])
def version(request: pytest.FixtureRequest) -> Path:
    """The folder with one version of python-gssapi."""
    if request.param == "installed":
        return INSTALLED
    debian = Path("/etc/debian_version").exists()
    assert DEBIAN.exists() or not debian, f"{DEBIAN} is missing: scripts/setup test brings it"
    if not any((DEBIAN / f"gssapi/raw/creds{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
        pytest.skip("Debian's version is made for another Python than this one, or this is no Debian")
    return DEBIAN


def run(version: Path, code: str, **words: Any) -> dict[str, Any]:
    """What `result` is after that code, in a process that finds this version of python-gssapi."""
    path = [str(folder) for folder in (version, *OURS, INSTALLED)]  # the last one for `decorator`
    words |= {"unexecuted": ["gssapi", "gssapi._utils", "gssapi.raw", "inspect"]}
    begin = f"import sys; sys.path += {path!r}\n" + "".join(f"{key} = {words[key]!r}\n" for key in words)
    end = "\nimport json; print(json.dumps(result))"
    argv = [sys.executable, "-I", "-S", "-c", begin + code + end]
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def login(version: Path, kerberos: Kerberos, before: str = "") -> dict[str, Any]:
    """A login with delegation; all that it has to bring about is checked."""
    found = run(version, before + LOGIN, spn=DELEG, keytab=str(kerberos.keytabs["deleg"]))
    assert (found["said"], found["peer"], found["forwarded"]) == ("hello", "alice@TEST.EXAMPLE", True)
    return found


def test_a_login_executes_none_of_the_packages(kerberos: Kerberos, version: Path) -> None:
    found = login(version, kerberos)
    assert found["executed"] == []
    assert {"gssapi.creds", "gssapi._win_config", "gssapi.raw.ext_s4u"}.isdisjoint(found["loaded"])


def test_who_asks_for_more_gets_what_an_import_gives(version: Path) -> None:
    plain = run(version, ALL)
    assert plain["is one"] and "dce_style" in plain["members"][0]
    assert run(version, "import sso_mechs.kerberos\n" + ALL) == plain
    assert run(version, "import sso_mechs.kerberos\nfrom gssapi import *\n" + ALL) == plain


def test_a_library_that_is_loaded_is_used_as_it_is(kerberos: Kerberos, version: Path) -> None:
    assert "gssapi.creds" in login(version, kerberos, "import gssapi\n")["loaded"]


def test_a_version_that_is_made_in_another_way_is_loaded_whole(kerberos: Kerberos, version: Path) -> None:
    found = login(version, kerberos, REFUSE)
    assert "gssapi.raw" in found["executed"] and "gssapi.raw.ext_s4u" in found["loaded"]


def test_the_constants_are_those_of_this_python() -> None:
    assert {name: getattr(inspect, name) for name in CODE_FLAGS} == CODE_FLAGS


def test_without_the_library_its_absence_is_the_error(tmp_path: Path) -> None:
    code = """
try:
    import sso_mechs.kerberos
    result = "loaded"
except ImportError as error:
    result = [error.name, "inspect" in sys.modules]
"""
    path = [str(folder) for folder in OURS]
    argv = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path += {path!r}\n{code}\nprint(result)"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.stdout == "['gssapi', False]\n", done.stderr


def test_what_breaks_when_it_is_executed_is_no_half_module(monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaks:
        def create_module(self, spec: Any) -> None:
            return None

        def exec_module(self, module: Any) -> None:
            module.half = True
            with pytest.raises(AttributeError, match="being executed"):
                module.other  # noqa: B018
            raise ImportError("a library is missing")

    module = Unexecuted("breaks")
    module.__spec__ = ModuleSpec("breaks", Breaks())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "breaks", module)
    with pytest.raises(ImportError, match="a library is missing"):
        module.anything  # noqa: B018
    assert "breaks" not in sys.modules
