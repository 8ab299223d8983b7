"""Builds are made of the loaded denoiser and tried with the pipeline: with a stand-in for a library, and OpenVINO's."""

import errno
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from bot.models import IMAGE_TO_TEXT
from bot.ports import BuildProgress, BuildReport, BuildRequest
from inference.backends import builds
from inference.backends.builder_client import BuilderClient
from inference.backends.graph import RefusedOptions
from inference.backends.graph_inputs import UnsupportedModule
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.execution import build_trial, denoiser_build
from inference.diffusion.execution.build_trial import BuildTrial, with_rows
from inference.diffusion.loader import load_pipeline
from inference.ipc import messages
from inference.ipc.build_messages import MakeBuild
from inference.ipc.process import ChildProcess
from tests.backends_required import require_backend
from tests.fork_server.spawn import spawn_from
from tests.inference.diffusion.test_lora import save_lora
from tests.inference.support import make_model, make_task
from tests.inference.tiny import save_diffusion

pytestmark = [pytest.mark.filterwarnings("ignore")]
SMALL = {"width": 32, "height": 32, "steps": 2, "guidance_scale": 3.0, "min_size": 8}


class TorchGraphs:
    """A backend whose graphs are the wrapped torch modules. `error` is raised while it exports."""

    name = "openvino"
    error: Exception | None = None
    exported: ClassVar[dict[Path, torch.nn.Module]] = {}

    def check_options(self, *, precision, options):
        if precision == "float16":
            raise RefusedOptions("This backend computes float16 on no processor.")

    def export(self, wrapper, example, dynamic, folder, *, weights):
        (folder / "graph.xml").write_text("a graph")
        if TorchGraphs.error is not None:
            raise TorchGraphs.error
        if weights != "none":
            raise ValueError("OpenVINO builds have weights in float32, not in 8bit")
        TorchGraphs.exported[folder] = wrapper

    def open(self, folder, *, threads, precision, cache=None, options=None):
        wrapper = TorchGraphs.exported[folder]
        return SimpleNamespace(run=lambda inputs: (torch.no_grad()(wrapper)(*inputs),), close=lambda: None)


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(denoiser_build, "graph_backend", lambda _: TorchGraphs())
    monkeypatch.setattr(builds, "library_version", lambda _: "1.0")
    monkeypatch.setattr(build_trial, "_ROUNDS", 1)
    monkeypatch.setattr(build_trial, "PROMPTS", build_trial.PROMPTS[:2])
    monkeypatch.setattr(TorchGraphs, "error", None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_diffusion(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def free():
    event = threading.Event()
    event.set()
    return event


def ask(tmp_path, folder, *, model=None, **request):
    spec = model or make_model("tiny", repo=str(folder), **SMALL)
    return MakeBuild(
        request=BuildRequest(model=spec, **{"backend": "openvino"} | request),
        folder=str(tmp_path / "builds"),
        threads=1,
    )


def reason_of(answer):
    assert isinstance(answer, messages.PackedError)
    return vars(messages.unpack_error(answer))["detail"]


def test_a_build_is_tried_and_kept(stand_in, tmp_path, folder, free):
    progress: list[BuildProgress] = []
    report = denoiser_build.run_build(ask(tmp_path, folder), free, progress.append)

    assert isinstance(report, BuildReport)
    assert [speed.rows for speed in report.speeds] == [1, 2, 4, 8]
    assert all(speed.torch_s > 0 < speed.backend_s for speed in report.speeds)
    assert (report.levels, report.prompts, report.steps) == (0, 2, 2)
    assert [one.stage for one in progress[:2]] == ["exporting", "compiling"]
    assert progress[-1] == BuildProgress("trying", 8, 8)
    (build,) = builds.list_builds(tmp_path / "builds")
    assert (build.is_intact, build.report) == (True, report)


@pytest.mark.parametrize(
    ("dtype", "torch_dtype", "served"),
    [("auto", "", torch.float32), ("auto", "bfloat16", torch.bfloat16), ("bfloat16", "", torch.bfloat16)],
)
def test_its_passes_are_timed_beside_torchs_in_the_format_that_people_get(
    stand_in, tmp_path, folder, free, monkeypatch, dtype, torch_dtype, served
):
    formats: list[torch.dtype] = []

    def measure(trial, module, compiled):
        formats.extend([module.dtype, compiled.dtype])
        return []

    monkeypatch.setattr(BuildTrial, "measure_speeds", measure)
    model = make_model("tiny", repo=str(folder), dtype=dtype, **SMALL)
    denoiser_build.run_build(ask(tmp_path, folder, model=model, torch_dtype=torch_dtype), free, lambda _: None)

    assert formats == [served, torch.float32]


FAILURES = {
    "disk": (OSError(28, "No space left on device"), "the disk filled up while it was compiled"),
    "memory": (MemoryError(), "memory ran out while it was compiled"),
    "library": (RuntimeError("Check failed.\nsomewhere"), "its build failed (Check failed)"),
}


@pytest.mark.parametrize(("error", "reason"), FAILURES.values(), ids=FAILURES)
def test_a_failure_says_why_and_leaves_nothing(stand_in, tmp_path, folder, free, monkeypatch, error, reason):
    monkeypatch.setattr(TorchGraphs, "error", error)

    assert reason_of(denoiser_build.run_build(ask(tmp_path, folder), free, lambda _: None)) == reason
    assert [path for path in (tmp_path / "builds").iterdir() if path.is_dir()] == []


def test_a_folder_that_cannot_be_written_is_said_before_the_model_is_loaded(
    stand_in, tmp_path, folder, free, monkeypatch
):
    def refuse(path):
        raise OSError(errno.EROFS, "Read-only file system", str(path / ".unfinished-x"))

    monkeypatch.setattr(builds, "start_build", refuse)
    monkeypatch.setattr(denoiser_build, "load_pipeline", lambda *_: pytest.fail("the model was loaded"))

    reason = reason_of(denoiser_build.run_build(ask(tmp_path, folder), free, lambda _: None))
    assert reason == f"its build cannot be written to {tmp_path / 'builds'} (Read-only file system)"


def test_a_full_disk_is_noticed_before(stand_in, tmp_path, folder, free, monkeypatch):
    monkeypatch.setattr(denoiser_build.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))

    reason = reason_of(denoiser_build.run_build(ask(tmp_path, folder), free, lambda _: None))
    assert reason == "its build needs 0.5 GiB on the disk, 0.0 GiB are free"


def test_there_must_be_room_for_what_the_library_writes_beside_the_build(stand_in, tmp_path, folder, free, monkeypatch):
    monkeypatch.setattr(build_trial, "weights_mb", lambda _: 1024)
    monkeypatch.setattr(denoiser_build.shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * 2**30))

    reason = reason_of(denoiser_build.run_build(ask(tmp_path, folder), free, lambda _: None))
    assert reason == "its build needs 2.5 GiB on the disk, 2.0 GiB are free"


def test_weights_that_the_backend_has_not_are_refused(stand_in, tmp_path, folder, free):
    answer = denoiser_build.run_build(ask(tmp_path, folder, weights="8bit"), free, lambda _: None)

    assert reason_of(answer) == "OpenVINO builds have weights in float32, not in 8bit"


def test_a_precision_that_the_backend_has_not_is_refused_before_the_model_is_loaded(
    stand_in, tmp_path, folder, free, monkeypatch
):
    monkeypatch.setattr(denoiser_build, "load_pipeline", lambda *_: pytest.fail("the model was loaded"))

    answer = denoiser_build.run_build(ask(tmp_path, folder, precision="float16"), free, lambda _: None)
    assert reason_of(answer) == "This backend computes float16 on no processor"


def unsupported(_module):
    raise UnsupportedModule("its UNet has conditions that have no compiled form: class_embed_type")


RULES = {
    "its denoiser, a UNet2DConditionModel, has no compiled form yet": lambda _module: None,
    "its UNet has conditions that have no compiled form: class_embed_type": unsupported,
}


@pytest.mark.parametrize(("reason", "rule"), RULES.items(), ids=["family", "module"])
def test_a_family_without_a_rule_stays_on_torch(stand_in, tmp_path, folder, free, monkeypatch, reason, rule):
    monkeypatch.setattr(denoiser_build, "graph_inputs_for", rule)

    assert reason_of(denoiser_build.run_build(ask(tmp_path, folder), free, lambda _: None)) == reason
    assert [path for path in (tmp_path / "builds").iterdir() if path.is_dir()] == []


def test_a_model_without_images_stays_on_torch(stand_in, tmp_path, folder, free):
    seeing = make_model("look", tasks=(IMAGE_TO_TEXT,), repo=str(folder))

    reason = reason_of(denoiser_build.run_build(ask(tmp_path, folder, model=seeing), free, lambda _: None))
    assert reason == "it makes no images"


def test_loras_of_the_config_are_compiled_and_controls_change_nothing(stand_in, tmp_path, folder, free):
    """The pipeline has the LoRA fused into its weights before it is exported."""
    lora = tmp_path / "style.safetensors"
    save_lora(load_pipeline(make_model(repo=str(folder)), folder, "cpu"), lora)
    model = make_model("tiny", repo=str(folder), loras=(str(lora),), controls={"canny": "org/control"}, **SMALL)

    report = denoiser_build.run_build(ask(tmp_path, folder, model=model), free, lambda _: None)
    assert report.levels == 0


def test_rows_of_a_call_are_repeated():
    call = {
        "sample": torch.zeros(2, 4, 8, 8), "timestep": torch.tensor(3), "added_cond_kwargs": {"ids": torch.ones(2, 6)},
        "timestep_cond": None, "return_dict": False,
    }  # fmt: skip
    repeated = with_rows(call, 5)

    assert repeated["sample"].shape == (5, 4, 8, 8)
    assert repeated["added_cond_kwargs"]["ids"].shape == (5, 6)
    assert (repeated["timestep"].dim(), repeated["return_dict"], "timestep_cond" in repeated) == (0, False, False)


def test_passes_beside_a_job_are_not_counted(free):
    """A job that starts during a pass makes it slower; the pass is made again when it has ended."""
    calls: list[int] = []
    trial: Any = BuildTrial(ask(Path(), Path()).request, None, "unet", free, lambda _: None)

    def module():
        calls.append(1)
        if len(calls) == 1:
            free.clear()
            threading.Timer(0.05, free.set).start()

    trial._time_call(module, {})
    assert len(calls) == 2


@pytest.mark.process
async def test_on_openvino_from_the_request_to_an_image(tmp_path, folder, monkeypatch, forks):
    """In its own process; a worker finds the build where it was kept."""
    require_backend("openvino")
    address = forks.children["inference.worker"]
    monkeypatch.setattr(ChildProcess, "spawn", spawn_from({"inference.diffusion.execution.denoiser_builder": address}))
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    model = make_model("tiny", repo=str(folder), **SMALL)
    client = BuilderClient(tmp_path / builds.FOLDER, threads=1)
    request = BuildRequest(model=model, backend="openvino")
    events = [event async for event in client.make(request, is_paused=lambda: False)]

    report = events[-1]
    assert client.find(request) == report
    assert report.levels <= 1
    assert report.disk_mb >= 1
    engine = DiffusionEngine(replace(model, backend="openvino"))
    engine.load_model("cpu")
    assert engine.capabilities["backend"] == "openvino"
    engine.add_task(make_task(options={"width": 32, "height": 32}))
    assert engine.step()
