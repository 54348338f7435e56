"""The one table of a run: each case, ours, the peers by ratio, the figure to reach and whether it is reached.

A ratio is our time over the peer's: below 1 we are faster.
"""

import textwrap
from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

from figures import FIGURES, VALUES, Figure, Value
from rows import Row, Rows, ours_of

HEAD = ("case", "ours", "best peer", "other rows", "figure to reach", "reached?")
WIDTHS = (32, 12, 28, 64, 40, 10)
YES, NO, ABSENT = "yes", "no", "no row"

# Rows that are no peers that do our job: our own, floors, and what does less.
NO_PEERS = ("compiled", "pure Python", "spice-client-sso", "floor:", "the wipe")
DOES_LESS = ("(line only)", "(no result)")


class Verdict(NamedTuple):
    """A figure to reach, what was measured for it, and yes, no or no row."""

    case: str
    figure: str
    shown: str
    reached: str


def verdicts(rows: Rows) -> list[Verdict]:
    return [_ratio(rows, figure) for figure in FIGURES] + [_value(rows, value) for value in VALUES]


def _ratio(rows: Rows, figure: Figure) -> Verdict:
    ours = rows.get(figure.case, {})
    peers = rows.get(figure.elsewhere or figure.case, {})
    text = f"at most {_short(figure.most)} of {figure.text}"
    name, best = ours_of(ours, figure.ours), figure.best(list(peers))
    if not name or not best:
        return Verdict(figure.case, text, "", ABSENT)
    ratio = ours[name].median / min(peers[peer].median for peer in best)
    return Verdict(figure.case, text, _short(ratio), YES if ratio <= figure.most else NO)


def _value(rows: Rows, value: Value) -> Verdict:
    text = f"at {'least' if value.least else 'most'} {value.limit:g} {value.unit}"
    peers = rows.get(value.case, {})
    name = ours_of(peers, value.ours)
    if not name:
        return Verdict(value.case, text, "", ABSENT)
    median = peers[name].median
    reached = median >= value.limit if value.least else median <= value.limit
    return Verdict(value.case, text, _short(median), YES if reached else NO)


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


class Line(NamedTuple):
    """A case in the table; `figures` are pairs: what to reach, and whether it is."""

    case: str
    ours: str
    best: str
    others: str
    figures: list[tuple[str, str]]


def lines(rows: Rows) -> Iterator[Line]:
    judged: dict[str, list[tuple[str, str]]] = {}
    for one in verdicts(rows):
        reached = f"{one.reached}: {one.shown}" if one.shown else one.reached
        judged.setdefault(one.case, []).append((one.figure, reached))
    for case in [*rows, *(case for case in judged if case not in rows)]:
        yield Line(case, *_peers(rows.get(case, {})), judged.get(case, []))


def _peers(peers: dict[str, Row]) -> tuple[str, str, str]:
    name = ours_of(peers)
    ordered = sorted((peer for peer in peers if peer != name), key=lambda peer: peers[peer].median)
    if not name:
        return "", "", "; ".join(f"{peer} {peers[peer]}" for peer in ordered)
    ours = peers[name]
    best = next((peer for peer in ordered if not _no_peer(peer)), "")
    shown = {peer: f"{peer} {row}{_ratio_to(ours, row)}" for peer, row in peers.items()}
    others = "; ".join(shown[peer] for peer in ordered if peer != best)
    return str(ours), shown.get(best, ""), others


def _ratio_to(ours: Row, row: Row) -> str:
    return f" ({_short(ours.median / row.median)})" if row.median > 0 else ""


def _no_peer(name: str) -> bool:
    return name.startswith(NO_PEERS) or any(mark in name for mark in DOES_LESS)


def as_text(rows: Rows) -> str:
    head = _beside([textwrap.wrap(cell, width) for cell, width in zip(HEAD, WIDTHS, strict=True)])
    rule = "-+-".join("-" * width for width in WIDTHS)
    return "\n".join([head, rule, *(_beside(_columns(line)) for line in lines(rows))])


def _columns(line: Line) -> list[list[str]]:
    cells = (line.case, line.ours, line.best, line.others)
    columns = [textwrap.wrap(cell, width) for cell, width in zip(cells, WIDTHS, strict=False)]
    figures: list[str] = []
    reached: list[str] = []
    for figure, said in line.figures:
        wrapped = textwrap.wrap(figure, WIDTHS[4])
        figures += wrapped
        reached += [said, *[""] * (len(wrapped) - 1)]
    return [*columns, figures, reached]


def _beside(columns: list[list[str]]) -> str:
    shown = []
    for cells in zip_longest(*columns, fillvalue=""):
        shown.append(
            " | ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()
        )
    return "\n".join(shown)


def as_markdown(rows: Rows) -> str:
    """The figures to reach alone: the whole table is for the terminal."""
    shown = ["| case | ours | best peer | figure to reach | reached? |", "|---|---|---|---|---|"]
    for line in lines(rows):
        cells = [line.case, line.ours, line.best]
        for figure in line.figures:
            shown.append("| " + " | ".join((*cells, *figure)) + " |")
            cells = ["", "", ""]
    return "\n".join(shown)


def listing(rows: Rows) -> str:
    """Every row with its median and the number of rounds."""
    shown = []
    for case, peers in rows.items():
        name = ours_of(peers)
        shown.append(f"\n{case}")
        for peer, row in sorted(peers.items(), key=lambda item: item[1].median):
            ratio = f"{row.median / peers[name].median:8.2f} x ours" if name else ""
            shown.append(f"  {row!s:>16}  n={row.rounds:<7} {ratio}  {peer}")
    return "\n".join(shown)
