"""The table and the plot of what was measured: `python -m benchmarks.report` reads results/ and writes both there.

`results/README.md` has every comparison with its goal, the lost ones in bold; `results/ratios.svg` those with a goal.
"""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.figures import Row
from benchmarks.machine import ROOT

RESULTS = ROOT / "benchmarks" / "results"


def write(folder: Path = RESULTS) -> None:
    rows = read(folder)
    (folder / "README.md").write_text(table(rows), encoding="utf-8")
    (folder / "ratios.svg").write_text(plot(rows), encoding="utf-8")


def read(folder: Path) -> dict[str, list[Row]]:
    """The rows of each record that has some, by benchmark."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if rows := record["figures"].get("rows"):
            found[record["name"].replace("_", "-")] = [Row(**row) for row in rows]
    return found


def table(rows: dict[str, list[Row]]) -> str:
    lines = [
        "# What the engines' benchmarks measured",
        "",
        "Written by `make bench`; the records beside this file say on which machine. Ratios above 1 are in our favour;",
        "where we lose, or miss a goal, the line is bold.",
        "",
        "![Ratio of each comparison that has a goal, in goals](ratios.svg)",
        "",
        "| benchmark | what | ours | peer | | times better | goal |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, its in rows.items():
        lines += [_line(name, row) for row in its]
    return "\n".join(lines) + "\n"


def _line(name: str, row: Row) -> str:
    goal = "" if row.goal is None else f"{row.goal:g}: {'met' if row.is_met else 'missed'}"
    cells = (name, row.what, f"{row.ours:g}", row.peer_name, f"{row.peer:g}", f"{row.ratio:g}", goal)
    mark = "**" if row.is_lost or not row.is_met else ""
    return "| " + " | ".join(f"{mark}{cell}{mark}" if cell else "" for cell in cells) + " |"


def plot(rows: dict[str, list[Row]]) -> str:
    """One bar for each comparison with a goal: how much of the goal was reached."""
    pygal = _pygal()
    chart = pygal.HorizontalBar(
        title="Reached, in goals (1 is the goal)",
        style=pygal.style.CleanStyle,
        show_legend=False,
        js=[],
        print_values=True,
        disable_xml_declaration=True,
        height=640,
    )
    bars = [(f"{name}, {row.peer_name}", row) for name, its in rows.items() for row in its if row.goal]
    chart.x_labels = [label for label, _ in bars]
    chart.add("", [round(row.ratio / row.goal, 2) for _, row in bars if row.goal])
    return str(chart.render(is_unicode=True)) + "\n"


def _pygal() -> Any:
    """Without what it leaves behind: an import hook of a kind that Python no longer knows."""
    hooks = list(sys.meta_path)
    try:
        import pygal.style
    finally:
        sys.meta_path[:] = hooks
    return pygal


if __name__ == "__main__":
    write()
    print(RESULTS / "README.md", file=sys.stderr)
