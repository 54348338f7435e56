"""How long the files and functions of the project are; scripts/house.py asks.

A file counts whole, Python, Cython and C alike. A function of Python counts without its docstring.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "mechs", "pam", "tests", "benchmarks", "examples", "scripts")
KINDS = (".py", ".pyx", ".c", ".h")
FILE_LINES, FUNCTION_LINES = 400, 40


def sources() -> list[Path]:
    """Every source of the project; what Cython writes beside its own is none."""
    found = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.*")))
    return [path for path in found if path.suffix in KINDS and not _is_made(path)]


def _is_made(path: Path) -> bool:
    return "build" in path.parts or (path.suffix == ".c" and path.with_suffix(".pyx").exists())


def too_large(path: Path) -> list[str]:
    """Return the functions of a file, or the file, that are too long."""
    text = path.read_text(encoding="utf-8")
    large = [path.name] if len(text.splitlines()) > FILE_LINES else []
    for node in ast.walk(ast.parse(text)) if path.suffix == ".py" else ():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or 0) - node.lineno + 1 - _docstring_lines(node)
            large += [f"{path.name}: {node.name}"] if size > FUNCTION_LINES else []
    return large


def _docstring_lines(node: ast.AST) -> int:
    body = getattr(node, "body", None)
    if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
        return 0
    text = body[0].value
    if not isinstance(text, ast.Constant) or not isinstance(text.value, str):
        return 0
    return (text.end_lineno or text.lineno) - text.lineno + 1
