"""Duration of `python main.py imagine --help`, compared with a Python that does nothing."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 9
LIMIT_S = 0.7


def run_benchmark() -> dict[str, Any]:
    """Median durations of the processes, which run alternately so that load on the machine affects both; seconds."""
    easel, bare = [], []
    with tempfile.TemporaryDirectory() as data_dir:
        environ = {**os.environ, "EASEL_DATA_DIR": data_dir}
        for _ in range(ROUNDS):
            bare.append(_run_seconds([sys.executable, "-c", "pass"], environ))
            easel.append(_run_seconds([sys.executable, str(ROOT / "main.py"), "imagine", "--help"], environ))
    help_s, bare_s = statistics.median(easel), statistics.median(bare)
    return {
        "benchmark": "help_time",
        "help_s": round(help_s, 4),
        "bare_python_s": round(bare_s, 4),
        "ratio": round(help_s / bare_s, 2),
        "limit_s": LIMIT_S,
        "within_limit": help_s < LIMIT_S,
        "rounds": ROUNDS,
    }


def _run_seconds(command: list[str], environ: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    figures = run_benchmark()
    print(f"imagine --help: {figures['help_s']:.3f} s, {figures['ratio']:.1f} times a Python that does nothing")
