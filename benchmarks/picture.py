"""The plot of a run: how many times our time each peer takes, on a logarithmic axis."""

from pathlib import Path
from typing import Any

from rows import Row, Rows, ours_of

CASES = (
    "authenticate, one a read",
    "authenticate, 100 a read",
    "authenticate with types not known, one a read",
    "secret of 1K, whole",
    "secret of 16K, whole",
    "secret of 64K, in chunks of 4096",
)
LEFT_OUT = ("compiled", "pure Python", "floor: a call", "floor: memchr", "buffered", "hiredis (bytes)")
CLEAR = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
OURS, PEER, LESS, FLOOR = "#1a6b4a", "#7a93ac", "#c3cfda", "#d9c9a3"


def draw(rows: Rows, paths: list[Path]) -> None:
    """Draw the cases that the run has; the ending of a path decides the format."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "console-sso"
    matplotlib.rcParams["font.size"] = 9
    from matplotlib import pyplot

    cases = [case for case in CASES if ours_of(rows.get(case, {}))]
    if not cases:
        return
    figure, axes = pyplot.subplots((len(cases) + 1) // 2, 2, figsize=(12, 8.2), squeeze=False)
    for place, case in zip(axes.flat, cases, strict=False):
        _panel(place, case, rows[case])
    for place in list(axes.flat)[len(cases) :]:
        place.set_visible(False)
    figure.suptitle(
        "Time of each peer over ours, medians of one run (longer is slower; ours is 1)", fontsize=12
    )
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, dpi=110, metadata=metadata)
    pyplot.close(figure)


def _panel(place: Any, case: str, peers: dict[str, Row]) -> None:
    ours = ours_of(peers)
    names = [name for name in peers if name == ours or not name.startswith(LEFT_OUT)]
    names.sort(key=lambda name: peers[name].median, reverse=True)
    ratios = [peers[name].median / peers[ours].median for name in names]
    labels = ["Console SSO" if name == ours else name for name in names]
    start = min(0.1, min(ratios) / 2)
    bars = place.barh(labels, [ratio - start for ratio in ratios], left=start, height=0.72)
    for bar, name, ratio in zip(bars, names, ratios, strict=True):
        bar.set_color(_color(name, ours))
        text = f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
        place.text(
            ratio * 1.06, bar.get_y() + bar.get_height() / 2, text, va="center", fontsize=8, bbox=CLEAR
        )
    place.set_xscale("log")
    place.xaxis.set_major_formatter("{x:g}")
    place.set_xlim(start, max(ratios) * 2.2)
    place.axvline(1, color=OURS, linewidth=0.8)
    place.set_title(f"{case} (ours: {peers[ours]})", fontsize=10, loc="left")
    place.spines[["top", "right"]].set_visible(False)


def _color(name: str, ours: str) -> str:
    if name == ours:
        return OURS
    if name.startswith(("floor", "the wipe")):
        return FLOOR
    return LESS if "only)" in name or "(no result)" in name else PEER
