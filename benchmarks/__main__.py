"""`python -m benchmarks [NAME ...] [--quick]`: runs all or the named ones and writes benchmarks/results/NAME.json.

Those that compare with other servers share them: they are started once. `full_size` runs only when it is named.
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
from benchmarks.machine import ROOT, facts

NAMES = (
    "accepts",
    "caption_burst",
    "chat_load",
    "claim_flat",
    "fairness",
    "first_picture",
    "help_time",
    "loop_lag",
    "png_out",
    "second_question",
    "two_model_mix",
    "whole_stack",
)
SHARING = ("mixed_throughput", "short_job_tail", "first_preview", "slo_goodput")
"""They have `measure(arena, quick)`."""
SLOW = ("full_size",)


def main() -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers under way are stopped, too
    quick = "--quick" in sys.argv
    wanted = [name.replace("-", "_") for name in sys.argv[1:] if name != "--quick"] or [*NAMES, *SHARING]
    known = (*NAMES, *SHARING, *SLOW)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        print(f"There is no benchmark {unknown[0]}. There are: {', '.join(known)}.", file=sys.stderr)
        return 2
    failures = [name for name in wanted if name not in SHARING and not _run(name, quick)]
    failures += _run_sharing([name for name in wanted if name in SHARING], quick)
    report.write()
    return min(1, len(failures))


def _run(name: str, quick: bool) -> bool:
    """Whether it could be measured."""
    module = importlib.import_module(f"benchmarks.{name}")
    options = {"quick": quick} if "quick" in inspect.signature(module.run).parameters else {}
    return _noted(name, module, (module.run(**options) for _ in range(1)), quick)


def _run_sharing(names: Sequence[str], quick: bool) -> list[str]:
    """Those that could not be measured."""
    if not names:
        return []
    from benchmarks import arena

    modules = [importlib.import_module(f"benchmarks.{name}") for name in names]
    pairs = zip(names, modules, strict=True)
    with closing(arena.measure_all([module.measure for module in modules], quick=quick)) as measured:
        return [name for name, module in pairs if not _noted(name, module, measured, quick)]


def _noted(name: str, module: ModuleType, measured: Iterator[dict[str, Any]], quick: bool) -> bool:
    print(f"{name} ...", file=sys.stderr, flush=True)
    began = time.monotonic()
    try:
        figures = next(measured)
    except StopIteration:
        print(f"{name}: did not run: one that shares its servers failed", flush=True)
        return False
    except Exception as error:  # one that cannot run here must not keep the others from it
        print(f"{name}: did not run: {error!r}", flush=True)
        return False
    _write(name, figures, time.monotonic() - began, quick)
    print(f"{name}: {_sentence(module, figures)}", flush=True)
    return True


def _sentence(module: ModuleType, figures: dict[str, Any]) -> str:
    if hasattr(module, "sentence"):
        return str(module.sentence(figures))
    ratios = {key: value for key, value in figures.items() if "ratio" in key}
    return ", ".join(f"{key} {value}" for key, value in (ratios or figures).items())


def _write(name: str, figures: dict[str, Any], seconds: float, quick: bool) -> None:
    folder = ROOT / "benchmarks" / "results"
    folder.mkdir(exist_ok=True)
    record = {"name": name, "figures": figures, "seconds": round(seconds, 1), "quick": quick, "machine": facts()}
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    sys.exit(main())
