"""Eight people's questions to three adapters and to none, in shared passes: against each adapter's questions in passes
of their own. Also what the adapters cost: against the same questions without any."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks import figures
from benchmarks.blip import compare_medians, make_request, model_label, open_engine, run_ours
from benchmarks.compute_threads import measure_each, unit_for, work_s
from benchmarks.figures import compare
from bot.model_install.adapter_folders import FOLDER
from bot.ports import Task, TaskAdapter
from bot.settings.places import DATA_DIR
from inference.vision.adapter_files import is_target

PEOPLE, ADAPTERS, RANK, TOKENS = 8, 3, 8, 12
QUESTION = "what is on the red background?"


def summarize(found: Mapping[str, Any]) -> str:
    by_threads = found.get("by_threads") or {"": found}
    costs = [f"  adapters cost {cost}: {what}" for one in by_threads.values() for what, cost in one["overhead"].items()]
    return "\n".join([figures.summarize_rows(found), *costs])


def run_benchmark(repeats: int = 3, quick: bool = False) -> dict[str, Any]:
    """On the starter, and on the shape of OPT-2.7B at a quarter of its depth (quick: a sixteenth, once)."""
    part, times = (1 / 16, 1) if quick else (1 / 4, repeats)
    return measure_each(lambda threads: _measure(part, repeats, times, threads))


def _measure(part: float, repeats: int, times: int, threads: int) -> dict[str, Any]:
    measured = [_row(0.0, repeats, threads), _row(part, times, threads)]
    rows = [row for row, _ in measured]
    overhead = {row.what: f"{100 * share:.0f} %" for row, share in measured}
    return figures.record(rows, people=PEOPLE, adapters=ADAPTERS, rank=RANK, overhead=overhead, repeats=times)


def _row(part: float, repeats: int, threads: int) -> tuple[figures.Comparison, float]:
    """With the share of time that the adapters cost."""
    with open_engine(part, threads) as engine, _random_adapters(engine) as adapters:
        plain = [make_request(number, QUESTION, TOKENS, photo=number) for number in range(PEOPLE)]
        chosen = (*adapters, None)
        mixed = [replace(task, adapter=chosen[number % len(chosen)]) for number, task in enumerate(plain)]
        run_ours(engine, mixed)  # warms up

        def timed(*groups: list[Task]) -> float:
            engine._image_encoder.cache.clear()
            return work_s(lambda: _run_groups(engine, groups), threads)

        def grouped() -> float:
            return timed(*([task for task in mixed if task.adapter == one] for one in chosen))

        together, apart = compare_medians(lambda: (timed(mixed), grouped()), repeats)
        with_any, without = compare_medians(lambda: (timed(mixed), timed(plain)), repeats)
    what = f"{model_label(part, 'float32')}: {PEOPLE} answers of {TOKENS} tokens by {ADAPTERS} adapters and none"
    row = compare(f"{what}, {unit_for(threads)}", together, apart, "one adapter after another")
    return row, with_any / without - 1


def _run_groups(engine: Any, groups: Sequence[list[Task]]) -> None:
    """One after another."""
    for tasks in groups:
        run_ours(engine, tasks)


@contextmanager
def _random_adapters(engine: Any) -> Iterator[list[TaskAdapter]]:
    """For every projection that an adapter may change, in a data directory of their own."""
    before = os.environ.get(DATA_DIR)
    layers = {name: one for name, one in engine._blip.named_modules() if isinstance(one, torch.nn.Linear)}
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        os.environ[DATA_DIR] = folder
        targets = {name: layer for name, layer in layers.items() if is_target(name)}
        try:
            yield [_save_adapter(Path(folder) / FOLDER / f"random-{n}", targets, seed=n) for n in range(ADAPTERS)]
        finally:
            os.environ.pop(DATA_DIR)
            if before is not None:
                os.environ[DATA_DIR] = before


def _save_adapter(folder: Path, targets: dict[str, Any], seed: int) -> TaskAdapter:
    random = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for name, layer in targets.items():
        down = torch.randn(RANK, layer.in_features, generator=random) * 0.01
        up = torch.randn(layer.out_features, RANK, generator=random) * 0.01
        tensors |= {f"base_model.model.{name}.lora_A.weight": down, f"base_model.model.{name}.lora_B.weight": up}
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": sorted(targets)}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    digest = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    return TaskAdapter(folder.name, digest)


if __name__ == "__main__":
    figures.run_cli(run_benchmark, summarize)
