"""The script for one GPU, on the CPU with tiny models: what it checks, and that a part that fails costs only itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu, gpu_parts
from benchmarks.gpu import GpuRun, run_part
from benchmarks.one_gpu import GpuModel
from inference.diffusion.execution import denoiser_build


@pytest.fixture(autouse=True)
def without_machine_facts(monkeypatch):
    monkeypatch.setattr(gpu, "machine_facts", dict)


@pytest.fixture
def run(tmp_path):
    return GpuRun("cpu", True, tmp_path, tmp_path / "out")


def record(folder: Path) -> Any:
    return json.loads((folder / "gpu.json").read_text())["figures"]


def test_the_gate_compares_images_with_the_stock_pipelines(tmp_path):
    run = gpu.measure("cpu", True, tmp_path, names=("exactness, sd15, float32",))

    assert not run.not_run
    assert record(tmp_path)["levels"]["sd15, float32"] <= gpu_parts.EXACT_LEVELS


def test_a_failed_part_is_recorded_and_the_next_one_runs(run):
    def fail(_run: GpuRun) -> None:
        raise RuntimeError("out of memory")

    run_part(run, "first", 0, fail)
    run_part(run, "second", 0, lambda run: run.facts.update(answer=42))

    assert record(run.out)["not_run"] == {"first": "RuntimeError: out of memory"}
    assert record(run.out)["answer"] == 42
    assert "first: not run" in (run.out / "gpu.md").read_text()


def test_no_part_starts_without_time(run):
    run.budget_s = 10.0

    run_part(run, "long", 60, lambda _run: pytest.fail("it ran"))

    assert record(run.out)["not_run"] == {"long": "less than 60 s were left"}


def test_a_missing_library_is_said(run, monkeypatch):
    monkeypatch.setattr(gpu_parts, "has_provider", lambda _name: False)

    stacks = gpu_parts.stacks(run)

    assert stacks["Easel, TensorRT"] == "no ONNX Runtime with TensorrtExecutionProvider"
    assert stacks["Easel, uncompiled"] == {"compile": "off"}


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu", "--device", "cuda:7"])

    assert gpu.main() == 2
    assert "--dry-run uses the CPU" in capsys.readouterr().err


def test_a_build_is_tried_where_the_engine_computes(tmp_path, monkeypatch):
    """On the processor, the trial's images alone would take longer than the whole script may."""
    asked: list[Any] = []
    monkeypatch.setattr(denoiser_build, "make_build", lambda message, *_: asked.append(message.request))
    settings = {"backend": "onnx", "providers": ("cuda",)}
    gpu_parts.make_build(GpuModel("sd15", tmp_path, 512, "cuda:0", "float32"), settings)

    assert (asked[0].device, asked[0].model.providers) == ("cuda:0", ("cuda",))
