"""`python -m benchmarks [NAME ...]`: runs all or the named ones and writes benchmarks/results/NAME.json."""

import importlib
import json
import logging
import signal
import sys
import time
from types import ModuleType
from typing import Any

import structlog

from benchmarks.machine import ROOT, facts

NAMES = ("accepts", "chat_load", "claim_flat", "fairness", "first_picture", "loop_lag", "help_time")


def main() -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers under way are stopped, too
    wanted = sys.argv[1:] or NAMES
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        print(f"There is no benchmark {unknown[0]}. There are: {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    return max(_run(name) for name in wanted)


def _run(name: str) -> int:
    print(f"{name} ...", file=sys.stderr, flush=True)
    began = time.monotonic()
    try:
        module = importlib.import_module(f"benchmarks.{name}")
        figures = module.run()
    except Exception as error:  # one that cannot run here must not keep the others from it
        print(f"{name}: did not run: {error!r}", flush=True)
        return 1
    _write(name, figures, time.monotonic() - began)
    print(f"{name}: {_sentence(module, figures)}", flush=True)
    return 0


def _sentence(module: ModuleType, figures: dict[str, Any]) -> str:
    if hasattr(module, "sentence"):
        return str(module.sentence(figures))
    ratios = {key: value for key, value in figures.items() if "ratio" in key}
    return ", ".join(f"{key} {value}" for key, value in (ratios or figures).items())


def _write(name: str, figures: dict[str, Any], seconds: float) -> None:
    folder = ROOT / "benchmarks" / "results"
    folder.mkdir(exist_ok=True)
    record = {"name": name, "figures": figures, "seconds": round(seconds, 1), "machine": facts()}
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    sys.exit(main())
