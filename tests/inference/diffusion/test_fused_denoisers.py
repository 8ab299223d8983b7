"""LoRAs on a compiled denoiser: an often used set runs on a build of its own, others on torch, none is left out."""

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from bot.ports import BuildReport, BuildRequest, LoraSet, TaskAddon
from inference.backends import builds
from inference.backends.graph_inputs import graph_inputs_for
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.execution import build_trial, compiled_denoiser, denoiser_build, fused_denoisers
from inference.ipc.build_messages import MakeBuild
from tests.inference.diffusion.test_denoiser_build import SMALL
from tests.inference.diffusion.test_denoiser_execution import engine_of, levels, paint
from tests.inference.diffusion.test_lora import save_lora
from tests.inference.support import make_model, make_task
from tests.inference.tiny import save_diffusion

pytestmark = [pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"), pytest.mark.filterwarnings("ignore")]
OPTIONS = {"width": 32, "height": 32, "steps": 2, "guidance_scale": 3.0}


class WrappedGraphs:
    """A backend whose graphs are the wrapped torch modules, kept by the inode of their files: builds are renamed."""

    name = "openvino"

    def __init__(self) -> None:
        self.exported: dict[int, torch.nn.Module] = {}
        self.runs: list[str] = []

    def is_installed(self) -> bool:
        return True

    def check_options(self, **_: Any) -> None:
        pass

    def export(self, wrapper: Any, example: Any, dynamic: Any, folder: Path, *, weights: str) -> None:
        (folder / "graph").write_bytes(b"a graph")
        self.exported[(folder / "graph").stat().st_ino] = wrapper

    def open(self, folder: Path, **_: Any) -> Any:
        wrapper = self.exported[(folder / "graph").stat().st_ino]

        def run(inputs: Any) -> tuple[torch.Tensor]:
            self.runs.append(folder.name)
            with torch.no_grad():
                return (wrapper(*inputs),)

        return SimpleNamespace(run=run, close=lambda: self.runs.append("closed"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.set_num_threads(1)
    return save_diffusion(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def loras(folder, tmp_path_factory):
    pipeline, place = StableDiffusionPipeline.from_pretrained(folder), tmp_path_factory.mktemp("loras")
    return {name: save_lora(pipeline, place / f"{name}.safetensors", seed) for seed, name in enumerate(("ink", "film"))}


@pytest.fixture(scope="module")
def graphs(folder, loras, tmp_path_factory):
    """The backend, with the builds of the model: without LoRAs, with "ink", and with both."""
    backend, place = WrappedGraphs(), tmp_path_factory.mktemp("data") / "builds"
    ink, film = str(loras["ink"]), str(loras["film"])
    with pytest.MonkeyPatch.context() as patch:
        for module in (denoiser_build, compiled_denoiser):
            patch.setattr(module, "graph_backend", lambda _: backend)
        patch.setattr(builds, "library_version", lambda _: "1.0")
        patch.setattr(builds, "builds_dir", lambda: place)
        patch.setattr(build_trial, "_ROUNDS", 1)
        patch.setattr(build_trial, "ROWS", (1,))
        patch.setattr(build_trial, "PROMPTS", build_trial.PROMPTS[:2])
        for one in ((), ((ink, 0.5),), ((film, -0.3), (ink, 0.5))):
            make_build(folder, place, one)
        yield backend


def make_build(folder: Path, place: Path, loras: LoraSet) -> None:
    free = threading.Event()
    free.set()
    model = make_model("tiny", repo=str(folder), **SMALL)
    request = BuildRequest(model=model, backend="openvino", loras=loras)
    asked = MakeBuild(request=request, folder=str(place), threads=1)
    report = denoiser_build.run_build(asked, free, lambda _: None)
    assert isinstance(report, BuildReport)


@pytest.fixture(autouse=True)
def much_memory(monkeypatch):
    monkeypatch.setattr(fused_denoisers, "free_ram_mb", lambda: 10**6)


def job(loras: dict[str, Path], words: str, name: str = "") -> Any:
    addons = tuple(TaskAddon(one, "lora", str(path)) for one, path in loras.items())
    return make_task(f"a red fox {words}", id=name or words or "plain", options=OPTIONS, addons=addons)


def compiled_engine(folder: Path) -> DiffusionEngine:
    engine = engine_of(folder, backend="openvino")
    assert engine.capabilities["backend"] == "openvino"
    return engine


def test_a_fused_build_is_within_one_level_of_pefts_images(graphs, loras):
    made = {build.names[-1]: build for build in builds.list_builds(builds.builds_dir())}

    assert made.keys() == {"", "ink:0.5", "film:-0.3, ink:0.5"}
    assert [build.report.levels <= 1 for build in made.values() if build.report] == [True] * 3
    assert made["film:-0.3, ink:0.5"].loras == ((str(loras["film"]), -0.3), (str(loras["ink"]), 0.5))


def test_files_and_weights_of_its_loras_are_part_of_a_builds_key(graphs, folder, loras, tmp_path):
    model = make_model("tiny", repo=str(folder))
    requests = [
        BuildRequest(model=model, backend="openvino", loras=loras)
        for loras in ((), ((str(loras["ink"]), 0.5),), ((str(loras["ink"]), 0.6),), ((str(loras["film"]), 0.5),))
    ]
    keys = {builds.key_of(builds.key_parts(request, tmp_path)) for request in requests}

    assert len(keys) == len({request.names for request in requests}) == len(requests)


def test_a_set_with_a_build_runs_on_it_and_all_others_on_torch(graphs, folder, loras):
    plain, compiled = engine_of(folder), compiled_engine(folder)
    jobs = [job(loras, words) for words in ("", "<lora:ink:0.5>", "<lora:ink:0.9>", "<lora:ink:0.5><lora:film:1>")]
    graphs.runs.clear()

    images = [[paint(engine, one)[0] for one in jobs] for engine in (plain, compiled)]

    assert [levels(*pair) <= 1 for pair in zip(*images, strict=True)] == [True] * 4
    assert len(set(images[1])) == 4
    assert len(graphs.runs) == 2 * OPTIONS["steps"], "the first two ran on a graph each"
    assert len(set(graphs.runs)) == 2


def test_a_lora_that_is_replaced_while_its_build_serves_is_that_of_the_next_image(graphs, folder, loras):
    compiled, task = compiled_engine(folder), job(loras, "<lora:ink:0.5>")
    own, times = loras["ink"].read_bytes(), os.stat(loras["ink"])
    paint(compiled, task)
    loras["ink"].write_bytes(loras["film"].read_bytes())
    os.utime(loras["ink"], ns=(1, times.st_mtime_ns + 1))
    graphs.runs.clear()
    try:
        image = paint(compiled, task)[0]
        expected = paint(engine_of(folder), task)[0]
    finally:
        loras["ink"].write_bytes(own)
        os.utime(loras["ink"], ns=(times.st_atime_ns, times.st_mtime_ns))

    assert levels(image, expected) <= 1
    assert graphs.runs == ["closed"]


def test_images_with_and_without_the_set_run_together(graphs, folder, loras):
    plain, compiled = engine_of(folder), compiled_engine(folder)
    jobs = [job(loras, words, f"{number}") for number, words in enumerate(("<lora:ink:0.5>", "", "<lora:ink:0.5>"))]

    images = [paint(engine, *jobs) for engine in (plain, compiled)]

    assert [levels(*pair) <= 1 for pair in zip(*images, strict=True)] == [True] * 3


def test_a_build_that_is_closed_between_steps_leaves_its_images_to_torch_with_their_loras(graphs, folder, loras):
    task, compiled = job(loras, "<lora:ink:0.5>"), compiled_engine(folder)
    compiled.add_task(task)
    compiled.step()
    compiled._fused.close()
    graphs.runs.clear()
    images: list[bytes] = []
    while not images:
        images = [event.image.pixels for event in compiled.step() if hasattr(event, "image")]

    assert levels(images[0], paint(engine_of(folder), task)[0]) <= 1
    assert graphs.runs == []


@pytest.mark.parametrize("trouble", ["memory", "damaged"])
def test_without_memory_or_a_build_that_opens_torch_serves_the_set(graphs, folder, loras, monkeypatch, trouble):
    compiled, task = compiled_engine(folder), job(loras, "<lora:ink:0.5>")
    if trouble == "memory":
        monkeypatch.setattr(fused_denoisers, "free_ram_mb", lambda: 100)
    else:
        monkeypatch.setattr(graphs, "open", lambda *_, **__: 1 / 0)
    graphs.runs.clear()

    image = paint(compiled, task)[0]

    assert levels(image, paint(engine_of(folder), task)[0]) <= 1
    assert graphs.runs == []


# ---------------------------------------------------------------- which are open


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Denoisers whose builds exist for every set but "none", on a clock."""
    monkeypatch.setattr(fused_denoisers, "free_ram_mb", lambda: 10**6)
    looked_for: list[Any] = []

    def find(_model: Any, _precision: str, loras: Any) -> Path | None:
        looked_for.append(loras)
        return None if loras[0][0] == "none" else tmp_path

    monkeypatch.setattr(fused_denoisers, "find_build", find)
    monkeypatch.setattr(fused_denoisers, "open_graph", lambda *_: SimpleNamespace(close=lambda: None))
    base = SimpleNamespace(with_graph=lambda graph: graph, released_mb=0)
    clock = SimpleNamespace(now=0.0)
    found = compiled_denoiser.FoundDenoiser(make_model(), "float32")
    denoisers = fused_denoisers.FusedDenoisers(make_model(), found, base, lambda: clock.now)  # type: ignore[arg-type]
    return SimpleNamespace(denoisers=denoisers, clock=clock, looked_for=looked_for)


def named(name: str) -> tuple[tuple[str, float], ...]:
    return ((name, 1.0),)


def test_the_least_recently_used_build_is_closed_for_another(opened):
    for name in ("a", "b", "a", "c"):
        opened.denoisers.prepare(named(name), frozenset())

    assert [opened.denoisers.get(named(name)) is not None for name in "abc"] == [True, False, True]


def test_builds_in_use_stay_open(opened):
    in_use = frozenset({named("a"), named("b")})
    for name in ("a", "b", "c"):
        opened.denoisers.prepare(named(name), in_use)

    assert [opened.denoisers.get(named(name)) is not None for name in "abc"] == [True, True, False]


def test_a_set_without_a_build_is_looked_for_again_after_a_while(opened):
    for now in (0.0, 10.0, 31.0):
        opened.clock.now = now
        opened.denoisers.prepare(named("none"), frozenset())
    opened.denoisers.prepare((), frozenset())

    assert opened.looked_for == [named("none")] * 2


def test_a_build_that_cannot_be_opened_is_not_tried_again(opened, monkeypatch):
    monkeypatch.setattr(fused_denoisers, "open_graph", lambda *_: 1 / 0)
    for now in (0.0, 100.0):
        opened.clock.now = now
        opened.denoisers.prepare(named("a"), frozenset())

    assert opened.looked_for == [named("a")]
    assert opened.denoisers.get(named("a")) is None


def test_a_build_is_closed_when_a_file_of_its_set_was_replaced(opened, tmp_path):
    path = tmp_path / "ink.safetensors"
    path.write_bytes(b"one")
    loras = ((str(path), 1.0),)
    opened.denoisers.prepare(loras, frozenset())
    first = opened.denoisers.get(loras)
    os.utime(path, (1, 1))

    opened.denoisers.prepare(loras, frozenset())

    assert opened.denoisers.get(loras) is not first is not None
    assert opened.looked_for == [loras] * 2


def test_a_file_that_is_replaced_while_its_build_is_found_is_another_set(opened, tmp_path, monkeypatch):
    path = tmp_path / "ink.safetensors"
    path.write_bytes(b"one")
    loras = ((str(path), 1.0),)

    def find(*_: Any) -> Path:
        os.utime(path, (1, 1))
        return tmp_path

    monkeypatch.setattr(fused_denoisers, "find_build", find)
    opened.denoisers.prepare(loras, frozenset())
    first = opened.denoisers.get(loras)
    opened.denoisers.prepare(loras, frozenset())

    assert opened.denoisers.get(loras) is not first


def test_a_graph_with_loras_refuses_what_it_cannot_compute(folder):
    """Torch would compute it without them."""
    unet = StableDiffusionPipeline.from_pretrained(folder).unet
    rule = graph_inputs_for(unet)
    assert rule is not None
    base = compiled_denoiser.CompiledModule(unet, rule, SimpleNamespace(), backend="openvino")
    call = {"sample": torch.zeros(1, 4, 4, 4), "timestep": 1, "encoder_hidden_states": torch.zeros(1, 16, 16)}

    with pytest.raises(ValueError, match="LoRAs"):
        base.with_graph(SimpleNamespace())(**call, attention_mask=torch.ones(1, 16))
