"""Everything that is measured on one GPU, in under ten minutes: `python -m benchmarks.gpu`.

It needs an installed torch and nothing from the network: apart from the starter models, all weights are random, made
from configs. It checks that images of mixed streams equal the stock pipeline's, measures Easel with and without
torch.compile, ONNX Runtime and TensorRT against Diffusers behind a lock, and passes of compiled and uncompiled
denoisers. After each part it writes `gpu.json` and `gpu.md`, so a machine that goes away leaves what was measured.

`python -m benchmarks.gpu --device cpu --quick` runs the same code with tiny models, in under a minute.
"""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import figures
from benchmarks.compiled_builds import scratch_data_dir
from benchmarks.figures import Comparison
from benchmarks.machine import ROOT, machine_facts

BUDGET_S = 540.0
RESULTS = ROOT / "benchmarks" / "results"


@dataclass
class GpuRun:
    """Attributes:
    rows: comparisons with a lock.
    facts: other figures, by part.
    not_run: why, by part.
    """

    device: str
    is_quick: bool
    scratch: Path
    out: Path
    budget_s: float = BUDGET_S
    started: float = field(default_factory=time.monotonic)
    rows: list[Comparison] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def left_s(self) -> float:
        return self.budget_s - (time.monotonic() - self.started)

    @cached_property
    def machine(self) -> dict[str, Any]:
        return machine_facts() | device_facts(self.device)

    def write(self) -> None:
        record = {
            "name": "gpu",
            "figures": figures.record(
                self.rows, **self.facts, not_run=self.not_run, seconds=self.seconds, device=self.device
            ),
            "seconds": round(time.monotonic() - self.started, 1),
            "quick": self.is_quick,
            "machine": self.machine,
        }
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "gpu.json").write_text(json.dumps(record, indent=2, sort_keys=True, default=str) + "\n")
        (self.out / "gpu.md").write_text(self.summary() + "\n")

    def summary(self) -> str:
        lines = [
            f"# {device_facts(self.device).get('gpu') or self.device}",
            figures.summarize_rows({"rows": [vars(row) for row in self.rows]}),
        ]
        lines += [f"  {name}: {json.dumps(value, default=str)}" for name, value in self.facts.items()]
        lines += [f"  {name}: not run: {problem}" for name, problem in self.not_run.items()]
        return "\n".join(lines)


def device_facts(device: str) -> dict[str, Any]:
    import torch

    if not device.startswith("cuda"):
        return {"gpu": ""}
    properties = torch.cuda.get_device_properties(device)
    return {
        "gpu": properties.name,
        "gpu_mb": properties.total_memory // 2**20,
        "cuda": torch.version.cuda,
        "capability": f"{properties.major}.{properties.minor}",
    }


# ---------------------------------------------------------------- parts


Part = Callable[[GpuRun], None]


def parts(run: GpuRun) -> list[tuple[str, float, Part]]:
    """Name, the seconds that must be left for it to start, and the part: what matters most comes first."""
    from benchmarks import gpu_parts as steps

    sizes = {"starter": 128, "sd15": 64, "sdxl": 64} if run.is_quick else {"starter": 128, "sd15": 512, "sdxl": 1024}
    counts = {"starter": 2, "sd15": 3, "sdxl": 2} if run.is_quick else {"starter": 32, "sd15": 16, "sdxl": 6}

    def of(measure: Callable[..., None], name: str, dtype: str = "bfloat16", **settings: Any) -> Part:
        return partial(measure, name=name, size=sizes[name], dtype=dtype, **settings)

    streams = steps.compare_stacks
    return [
        ("exactness, starter, float32", 20, of(steps.check_images, "starter", "float32")),
        ("exactness, sd15, float32", 30, of(steps.check_images, "sd15", "float32")),
        ("exactness, sd15, bfloat16", 20, of(steps.check_images, "sd15")),
        ("exactness, answers", 20, steps.check_answers),
        ("streams, starter", 30, of(streams, "starter", count=counts["starter"], has_builds=not run.is_quick)),
        ("streams, sd15", 60, of(streams, "sd15", count=counts["sd15"])),
        ("passes, starter", 20, of(steps.time_passes, "starter")),
        ("passes, sd15", 30, of(steps.time_passes, "sd15")),
        ("captions", 60, steps.measure_captions),
        ("passes, sdxl", 60, of(steps.time_passes, "sdxl")),
        ("streams, sdxl", 90, of(streams, "sdxl", count=counts["sdxl"], has_builds=not run.is_quick)),
    ]


def run_part(run: GpuRun, name: str, needs_s: float, part: Part) -> None:
    started = time.monotonic()
    if run.left_s < needs_s:
        run.not_run[name] = f"less than {needs_s:.0f} s were left"
    else:
        print(f"{name} ... ({run.left_s:.0f} s left)", file=sys.stderr, flush=True)
        try:
            part(run)
        except Exception as error:  # the other parts must still run
            traceback.print_exc()
            run.not_run[name] = f"{type(error).__name__}: {str(error)[:300]}"
    run.seconds[name] = round(time.monotonic() - started, 1)
    run.write()


@contextmanager
def quick_compiler(is_quick: bool) -> Any:
    """Trace blocks without compiling C++, which alone would take longer than all the rest."""
    try:
        from inference.backends import regional_compile
    except ImportError:
        yield
        return
    before = regional_compile.COMPILER
    regional_compile.COMPILER = "aot_eager" if is_quick else before
    try:
        yield
    finally:
        regional_compile.COMPILER = before


def measure(device: str, is_quick: bool, out: Path, budget_s: float = BUDGET_S, names: Sequence[str] = ()) -> GpuRun:
    """`names`: beginnings of the parts to run; none: all."""
    import torch

    if device == "cpu":
        torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with TemporaryDirectory(prefix="easel-bench-") as scratch, scratch_data_dir(), quick_compiler(is_quick):
        run = GpuRun(device, is_quick, Path(scratch), out, budget_s)
        for name, needs_s, part in parts(run):
            if not names or name.startswith(tuple(names)):
                run_part(run, name, 0 if is_quick else needs_s, part)
        run.write()
    return run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--quick", action="store_true", help="tiny models")
    parser.add_argument("--dry-run", action="store_true", help="the same as --device cpu --quick")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds after which no part is started")
    parser.add_argument(
        "--out", type=Path, help="folder of gpu.json and gpu.md; results/ by default, except in --quick"
    )
    parser.add_argument("names", nargs="*", help="beginnings of the names of parts")
    options = parser.parse_args()
    device, is_quick = ("cpu", True) if options.dry_run else (options.device, options.quick)
    if problem := _device_problem(device):
        print(problem, file=sys.stderr)
        return 2
    with _results_folder(options.out, is_quick) as out:
        run = measure(device, is_quick, out, options.budget, options.names)
    print(run.summary())
    return 1 if any("Error" in problem for problem in run.not_run.values()) else 0


def _results_folder(out: Path | None, is_quick: bool) -> AbstractContextManager[Path]:
    from contextlib import nullcontext

    if out is None and is_quick:
        return _temporary_folder()
    return nullcontext(out or RESULTS)


@contextmanager
def _temporary_folder() -> Any:
    with TemporaryDirectory(prefix="easel-bench-") as folder:
        yield Path(folder)


def _device_problem(device: str) -> str:
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        return f"There is no {device}: this torch ({torch.__version__}) finds no GPU. --dry-run uses the CPU."
    return ""


if __name__ == "__main__":
    sys.exit(main())
