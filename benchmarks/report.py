"""The table and the plot of the results: `python -m benchmarks.report` reads results/ and writes both there.

`results/README.md` has every comparison with its goal, the lost ones in bold; `results/ratios.svg` those with a goal.
"""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.figures import Comparison
from benchmarks.machine import ROOT

RESULTS = ROOT / "benchmarks" / "results"


def write_report(folder: Path = RESULTS) -> None:
    rows = read_results(folder)
    (folder / "README.md").write_text(render_table(rows), encoding="utf-8")
    (folder / "ratios.svg").write_text(render_plot(rows), encoding="utf-8")


def read_results(folder: Path) -> dict[str, list[Comparison]]:
    """The comparisons of each record that has any, by benchmark. Older records have one number of threads for all."""
    results = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        threads = record["figures"].get("threads")
        common = {"threads": threads} if isinstance(threads, int) else {}
        if rows := record["figures"].get("rows"):
            results[record["name"].replace("_", "-")] = [Comparison(**{**common, **row}) for row in rows]
    return results


def render_table(rows: dict[str, list[Comparison]]) -> str:
    lines = [
        "# Engine benchmark results",
        "",
        "Written by `make bench`; the records next to this file describe the machine. "
        "Ratios above 1 are in our favour; lines",
        "where we lose or miss a goal are bold. Every side computes with the same number of threads.",
        "",
        "![Each comparison that has a goal: ratio reached, as a fraction of the goal](ratios.svg)",
        "",
        "| benchmark | what | threads | ours | peer | | times better | goal |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, comparisons in rows.items():
        lines += [_render_line(name, row) for row in comparisons]
    return "\n".join(lines) + "\n"


def _render_line(name: str, row: Comparison) -> str:
    goal = "" if row.goal is None else f"{row.goal:g}: {'met' if row.is_goal_met else 'missed'}"
    threads = "" if row.threads is None else str(row.threads)
    cells = (name, row.what, threads, f"{row.ours:g}", row.peer_name, f"{row.peer:g}", f"{row.ratio:g}", goal)
    mark = "**" if row.is_lost or not row.is_goal_met else ""
    return "| " + " | ".join(f"{mark}{cell}{mark}" if cell else "" for cell in cells) + " |"


def render_plot(rows: dict[str, list[Comparison]]) -> str:
    """One bar for each comparison with a goal: the ratio reached, as a fraction of the goal."""
    pygal = _import_pygal()
    chart = pygal.HorizontalBar(
        title="Ratio reached, as a fraction of the goal",
        style=pygal.style.CleanStyle,
        show_legend=False,
        js=[],
        print_values=True,
        disable_xml_declaration=True,
        height=640,
    )
    bars = [
        (f"{name}, {row.peer_name}{_threads_label(row)}", row)
        for name, comparisons in rows.items()
        for row in comparisons
        if row.goal
    ]
    chart.x_labels = [label for label, _ in bars]
    chart.add("", [round(row.ratio / row.goal, 2) for _, row in bars if row.goal])
    return str(chart.render(is_unicode=True)) + "\n"


def _threads_label(row: Comparison) -> str:
    return "" if row.threads is None else f", threads: {row.threads}"


def _import_pygal() -> Any:
    """Import pygal, and remove the import hook it leaves behind, which current Pythons do not support."""
    try:
        import pygal.style
    finally:  # nothing else: importlib_metadata, which it imports, replaces the standard library's own finder
        sys.meta_path[:] = [hook for hook in sys.meta_path if not type(hook).__module__.startswith("pygal")]
    return pygal


if __name__ == "__main__":
    write_report()
    print(RESULTS / "README.md", file=sys.stderr)
