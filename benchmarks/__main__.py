"""`python -m benchmarks [NAME ...] [--quick]`: runs all or the named ones and writes benchmarks/results/NAME.json.

Benchmarks against other servers share them: they start once. `adapter_training`, `full_size` and `other_engines` only
run when they are named.
"""

import importlib
import inspect
import json
import logging
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from types import ModuleType
from typing import Any

import structlog

from benchmarks import report
from benchmarks.machine import ROOT, machine_facts

NAMES = (
    "accepts",
    "adapter_mix",
    "caption_burst",
    "chat_load",
    "claim_flat",
    "control_mix",
    "cpu_stack",
    "fairness",
    "first_picture",
    "grid",
    "help_time",
    "loop_lag",
    "meaning_search",
    "page",
    "png_out",
    "second_question",
    "two_model_mix",
    "whole_stack",
)
ARENA_NAMES = ("mixed_throughput", "short_job_tail", "first_preview", "slo_goodput")
"""Benchmarks with `measure(arena, quick)`, which share the peers."""
ON_REQUEST = ("adapter_training", "full_size", "image_adapter", "other_engines")


def main() -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so running servers are stopped
    quick = "--quick" in sys.argv
    wanted = [name.replace("-", "_") for name in sys.argv[1:] if name != "--quick"] or [*NAMES, *ARENA_NAMES]
    known = (*NAMES, *ARENA_NAMES, *ON_REQUEST)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        print(f"There is no benchmark {unknown[0]}. There are: {', '.join(known)}.", file=sys.stderr)
        return 2
    failures = [name for name in wanted if name not in ARENA_NAMES and not _run_one(name, quick)]
    failures += _run_in_arena([name for name in wanted if name in ARENA_NAMES], quick)
    report.write_report()
    return min(1, len(failures))


def _run_one(name: str, quick: bool) -> bool:
    """Whether it completed."""
    module = importlib.import_module(f"benchmarks.{name}")
    options = {"quick": quick} if "quick" in inspect.signature(module.run_benchmark).parameters else {}
    return _record_result(name, module, (module.run_benchmark(**options) for _ in range(1)), quick)


def _run_in_arena(names: Sequence[str], quick: bool) -> list[str]:
    """The names of those that failed."""
    if not names:
        return []
    from benchmarks import arena

    modules = [importlib.import_module(f"benchmarks.{name}") for name in names]
    pairs = zip(names, modules, strict=True)
    with closing(arena.measure_all([module.measure for module in modules], quick=quick)) as measured:
        return [name for name, module in pairs if not _record_result(name, module, measured, quick)]


def _record_result(name: str, module: ModuleType, measured: Iterator[dict[str, Any]], quick: bool) -> bool:
    print(f"{name} ...", file=sys.stderr, flush=True)
    started = time.monotonic()
    try:
        figures = next(measured)
    except StopIteration:
        print(f"{name}: did not run: another one with the same servers failed", flush=True)
        return False
    except Exception as error:  # the other benchmarks must still run
        print(f"{name}: did not run: {error!r}", flush=True)
        return False
    _write_record(name, figures, time.monotonic() - started, quick)
    print(f"{name}: {_summarize(module, figures)}", flush=True)
    return True


def _summarize(module: ModuleType, figures: dict[str, Any]) -> str:
    if hasattr(module, "summarize"):
        return str(module.summarize(figures))
    ratios = {key: value for key, value in figures.items() if "ratio" in key}
    return ", ".join(f"{key} {value}" for key, value in (ratios or figures).items())


def _write_record(name: str, figures: dict[str, Any], seconds: float, quick: bool) -> None:
    folder = ROOT / "benchmarks" / "results"
    folder.mkdir(exist_ok=True)
    record = {
        "name": name,
        "figures": figures,
        "seconds": round(seconds, 1),
        "quick": quick,
        "machine": machine_facts(),
    }
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    sys.exit(main())
