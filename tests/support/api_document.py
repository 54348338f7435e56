"""Reads docs/api.md and docs/login-screens.md, and the same out of the source.

That is each public name, with its signature and its members.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = "\n".join((ROOT / "docs" / name).read_text("utf-8") for name in ("api.md", "login-screens.md"))


def written() -> dict[str, list[str]]:
    """The lines of each block of signatures, by the module that the line above it names, and its name.

    A block is ```python with `class NAME(...)` and its members below it, or `def NAME(...) -> ...`.
    """
    found: dict[str, list[str]] = {}
    for module, block in re.findall(r"^From `([\w.]+)`[^\n]*\n+```python\n(.*?)^```", DOCUMENT, re.M | re.S):
        for line in filter(None, map(str.strip, block.splitlines())):
            if begun := re.match(r"(?:class|def) (\w+)", line):
                key = f"{module}.{begun[1]}"
                found[key] = []
            found[key].append(line)
    return found


def caps() -> list[tuple[str, str]]:
    """The rows of the table of caps: the whole name of each, and its value."""
    return re.findall(r"^\| `([\w.]+)` \| (\d+)[^|]*\|", DOCUMENT, re.M)


def links() -> list[str]:
    """What the pages link to in this repository, from their own folder."""
    return re.findall(r"\]\(([^):#]+)\)", DOCUMENT)


def plain(lines: list[str]) -> list[str]:
    """Without what is a matter of taste: blanks around `=`, and which quotes."""
    return [line.replace(" = ", "=").replace("'", '"') for line in lines]


def defined(module: str, name: str) -> list[str]:
    """The same lines, as the source has them; of the framer the Python twin."""
    module = module.replace("sso.framing", "sso._framing_py")
    path = ROOT / "src" / Path(*module.split("."))
    source = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return [f"def {name}({_arguments(node, 0)}) -> {_type(node.returns)}"]
        if isinstance(node, ast.ClassDef) and node.name == name:
            return [_head(node), *_members(node)]
    raise AssertionError(f"{module} has no {name}")


def _head(node: ast.ClassDef) -> str:
    made = [inner for inner in node.body if isinstance(inner, ast.FunctionDef) and inner.name == "__init__"]
    return f"class {node.name}" + (f"({_arguments(made[0])})" if made else "")


def _members(node: ast.ClassDef) -> Iterator[str]:
    """Public attributes and methods, in the order of the source; also what `__init__` sets."""
    for inner in node.body:
        if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
            yield from _attribute(inner.target.id, inner)
        elif isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            yield from _set_in(inner)
        elif isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
            if any(isinstance(one, ast.Name) and one.id == "property" for one in inner.decorator_list):
                yield f"{inner.name}: {_type(inner.returns)}"
            else:
                yield f"{inner.name}({_arguments(inner)}) -> {_type(inner.returns)}"


def _attribute(name: str, node: ast.AnnAssign) -> Iterator[str]:
    if not name.startswith("_"):
        yield f"{name}: {_type(node.annotation)}" + (f" = {ast.unparse(node.value)}" if node.value else "")


def _set_in(made: ast.FunctionDef) -> Iterator[str]:
    for node in made.body:
        for target in [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", []):
            for one in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(one, ast.Attribute) and not one.attr.startswith("_"):
                    kind = f": {_type(node.annotation)}" if isinstance(node, ast.AnnAssign) else ""
                    yield f"{one.attr}{kind}"


def _arguments(node: ast.FunctionDef, self_too: int = 1) -> str:
    node.args.args = node.args.args[self_too:]
    return ast.unparse(node.args)


def _type(node: ast.expr | None) -> str:
    return ast.unparse(node).strip("'") if node else "None"
