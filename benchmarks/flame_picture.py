"""A flame graph as SVG: each process a root, the width of a frame is its share of all samples."""

from collections import Counter
from html import escape
from typing import NamedTuple

Stacks = Counter[tuple[str, ...]]

WIDTH, ROW, LETTER, TOP = 1200, 17, 6.7, 44
LEAST = 1.5  # pixels: a narrower frame is left out
PROCESS, OURS, LIBRARY, IMPORT = "#1a6b4a", "#9fd0b8", "#b9c7d8", "#ecd6a4"
LEGEND = ((PROCESS, "process"), (OURS, "ours"), (LIBRARY, "libraries"), (IMPORT, "imports (module level)"))


class Box(NamedTuple):
    name: str
    depth: int
    left: float
    width: float
    count: int


def picture(stacks: Stacks, title: str) -> str:
    boxes = list(_boxes(stacks))
    height = TOP + (max(box.depth for box in boxes) + 1) * ROW + 10
    total = sum(stacks.values())
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="monospace" font-size="11">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n'
        f'<text x="4" y="16" font-size="13">{escape(title)}</text>\n'
    )
    return head + _legend() + "".join(_drawn(box, total) for box in boxes) + "</svg>\n"


def _boxes(stacks: Stacks) -> list[Box]:
    """Frames side by side below their callers, the largest first."""
    scale = (WIDTH - 8) / sum(stacks.values())
    boxes: list[Box] = []

    def place(below: Stacks, depth: int, left: float) -> None:
        totals: Counter[str] = Counter()
        for stack, count in below.items():
            if stack:
                totals[stack[0]] += count
        for name, count in totals.most_common():
            if count * scale >= LEAST:
                boxes.append(Box(name, depth, left, count * scale, count))
                inner: Stacks = Counter()
                for stack, samples in below.items():
                    if stack and stack[0] == name:
                        inner[stack[1:]] += samples
                place(inner, depth + 1, left)
            left += count * scale

    place(stacks, 0, 4.0)
    return boxes


def _drawn(box: Box, total: int) -> str:
    top = TOP + box.depth * ROW
    letters = int((box.width - 4) / LETTER)
    text = box.name if len(box.name) <= letters else box.name[: max(letters - 1, 0)] + "…"
    label = ""
    if letters >= 3:
        color = "white" if box.depth == 0 else "black"
        label = f'<text x="{box.left + 3:.1f}" y="{top + 12}" fill="{color}">{escape(text)}</text>'
    return (
        f'<g><title>{escape(box.name)}: {box.count / total:.1%}</title><rect x="{box.left:.1f}" y="{top}"'
        f' width="{box.width - 0.4:.1f}" height="{ROW - 1}" fill="{_color(box)}"/>{label}</g>\n'
    )


def _color(box: Box) -> str:
    if box.depth == 0:
        return PROCESS
    if box.name.startswith("<module>"):
        return IMPORT
    return OURS if "(sso" in box.name else LIBRARY


def _legend() -> str:
    shown, left = "", 4
    for color, text in LEGEND:
        shown += f'<rect x="{left}" y="24" width="12" height="12" fill="{color}"/>'
        shown += f'<text x="{left + 16}" y="34">{text}</text>\n'
        left += 40 + int(len(text) * LETTER)
    return shown
