"""Reads a table of docs/login-rules.md, and compares it with the code for every combination of facts."""

import ast
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

PAGE = (Path(__file__).parents[2] / "docs" / "login-rules.md").read_text(encoding="utf-8")
YES_NO: Mapping[str, Any] = {"no": False, "yes": True}


def words(values: Iterable[Enum]) -> dict[str, Any]:
    """The values of an Enum by the words that the page has for them."""
    return {str(one.value): one for one in values}


def text_of(section: int) -> str:
    """All that the page says in a section."""
    _, _, text = PAGE.partition(f"\n## {section}. ")
    assert text, f"no section {section}"
    return text.partition("\n## ")[0]


def states_after(section: int) -> dict[str, str]:
    """The state after each step, where the section says: after `step` (and `step`) it is `state`."""
    text = " ".join(text_of(section).lower().split())
    said = re.findall("after (`[^`]+`(?: and `[^`]+`)?) it is `([^`]+)`", text)
    return {step: state for steps, state in said for step in re.findall("`([^`]+)`", steps)}


def read(section: int, *says: str) -> list[dict[str, str]]:
    """The rows of that table of a section whose last columns are `says`."""
    head, found = list[str](), list[dict[str, str]]()
    for line in text_of(section).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            head = []
        elif not head:
            head = cells
        elif tuple(head[-len(says) :]) == says and set(line) - set("-|"):
            found.append(dict(zip(head, cells, strict=True)))
    assert found, f"section {section} has no table with {says}"
    return found


def faults(
    section: int, says: tuple[str, ...], facts: Mapping[str, Mapping[str, Any]], say: Callable[..., object]
) -> list[str]:
    """What is wrong with a table beside `say`, which gets one value of each fact, by its column.

    Each combination has a row and the code says the same, in the words of the last columns; no row is hidden
    by those before it; the table has the columns that the facts have.
    """
    rows = read(section, *says)
    columns = [column for column in rows[0] if column not in says]
    found = [] if set(columns) == set(facts) else [f"columns {columns}"]
    unused = list(range(len(rows)))
    for named in itertools.product(*(words.items() for words in facts.values())):
        case = {column: word for column, (word, _) in zip(facts, named, strict=True)}
        fits = (at for at, row in enumerate(rows) if all(_fits(row[one], case[one]) for one in columns))
        at = next(fits, -1)
        answer = say(*(value for _, value in named))
        said = answer if isinstance(answer, tuple) else (answer,)
        if at < 0 or tuple(rows[at][one] for one in says) != tuple(map(_word, said)):
            found.append(f"{case}: {said}, and row {rows[at] if at >= 0 else None}")
        elif at in unused:
            unused.remove(at)
    return found + [f"hidden: {rows[at]}" for at in unused]


def _fits(cell: str, word: str) -> bool:
    if cell.startswith("not ") and cell != word:
        return word != cell.removeprefix("not ")
    return not cell or word in cell.split("; ")


def _word(said: object) -> str:
    if isinstance(said, bool):
        return "yes" if said else "no"
    return str(said.value if isinstance(said, Enum) else said)


def imports(module: ModuleType) -> set[str]:
    """What a module imports, early or late."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    found = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    plain = [node.names for node in ast.walk(tree) if isinstance(node, ast.Import)]
    return found | {one.name for names in plain for one in names}
