"""The public face: what `import sso` loads, what its names are, and docs/api.md, which says the same."""

import ast
import importlib
import inspect
import pydoc
import subprocess
import sys

import api_document
import pytest

import sso
from sso import errors

HOMES = [(module, name) for module, names in sso._HOMES.items() for name in names.split()]


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout


def test_import_sso_loads_nothing_more() -> None:
    """Neither of ours nor of the standard library."""
    program = "import sys; before = set(sys.modules); import sso; print(*set(sys.modules) - before)"
    assert run(program).split() == ["sso"]


NAMES = """
import sys
from importlib import import_module
import sso

for module, names in sso._HOMES.items():
    for name in names.split():
        import_module(module)
        before = set(sys.modules)
        assert getattr(sso, name) is getattr(sys.modules[module], name), name
        assert set(sys.modules) == before, name
        print(name)
"""


def test_a_name_is_what_it_says_and_loads_no_more_than_its_module() -> None:
    assert run(NAMES).split() == [name for _, name in HOMES] == sso.__all__


def test_every_error_is_in_the_face() -> None:
    classes = {name for name, found in vars(errors).items() if inspect.isclass(found)}
    assert classes == set(sso._HOMES["sso.errors"].split())


def test_a_type_checker_sees_the_same_names() -> None:
    """The block below TYPE_CHECKING, which is never run, imports each name from where it comes."""
    (block,) = [node for node in ast.parse(inspect.getsource(sso)).body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    named = [(node.module, alias.name, alias.asname) for node in imports for alias in node.names]
    assert sorted(named, key=str) == sorted(((module, name, name) for module, name in HOMES), key=str)


def test_there_is_nothing_else() -> None:
    with pytest.raises(AttributeError, match="module 'sso' has no attribute 'Secrets'"):
        sso.Secrets  # type: ignore[attr-defined]  # noqa: B018
    assert set(sso.__all__) <= set(dir(sso)) and len(set(sso.__all__)) == len(sso.__all__) == len(HOMES)


def test_help_says_what_it_is_and_names_all() -> None:
    text = run("import sso; help(sso)")
    assert "Console SSO: single sign-on to the console of a virtual machine." in text
    assert [name for name in sso.__all__ if name not in text] == []
    assert "one end of the talk" in text and pydoc.splitdoc(sso.__doc__ or "")[0] in text


def test_the_reference_has_every_name() -> None:
    names = {key.rpartition(".")[2] for key in api_document.written()}
    assert set(sso.__all__) - names == set()


@pytest.mark.parametrize("key", api_document.written())
def test_the_reference_says_what_the_code_does(key: str) -> None:
    module, _, name = key.rpartition(".")
    assert api_document.plain(api_document.written()[key]) == api_document.plain(
        api_document.defined(module, name)
    )
    assert hasattr(importlib.import_module(module), name), "it can be imported from there"


def test_the_reference_has_the_caps_of_the_code() -> None:
    caps = api_document.caps()
    assert len(caps) == 9
    for key, value in caps:
        module, _, name = key.rpartition(".")
        assert getattr(importlib.import_module(module), name) == int(value), key


def test_the_links_of_the_reference_lead_somewhere() -> None:
    assert [link for link in api_document.links() if not (api_document.ROOT / "docs" / link).exists()] == []
