"""The gate: whoever joins, leaves and shares passes, each picture is what the plain pipeline alone makes of it."""

import functools
import json
import time
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting, LCMScheduler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.ports import Measured, TaskImage
from inference.checkpoints.resolve import folder_of
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.loader import load_pipeline
from inference.diffusion.pipeline_call import render
from inference.diffusion.samplers import SCHEDULERS, Samplers
from inference.engine.base import Failed, Made, Over
from tests.inference.families import save_sdxl
from tests.inference.support import make_model, make_task, png
from tests.inference.tiny import save_diffusion

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

SAMPLERS = ("ddim", "euler", "euler_a", "lcm", "dpmpp_2m")
"""Those that are promised; the others of the model are held at the same calls."""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


class Peer:
    """The engine, and beside it the plain pipelines of the same folder."""

    def __init__(self, folder, **model: Any) -> None:
        self.model = make_model("tiny", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), repo=str(folder), **model)
        self.engine = DiffusionEngine(self.model)
        self.engine.load("cpu")
        self._plain = load_pipeline(self.model, folder_of(self.model), "cpu")
        self._samplers = Samplers(self._plain.scheduler)
        self.alone = functools.cache(self._alone)

    @functools.cached_property
    def _pipelines(self) -> dict[str, Any]:
        kinds = {"init": AutoPipelineForImage2Image, "mask": AutoPipelineForInpainting}
        made = {kind: auto.from_pipe(self._plain) for kind, auto in kinds.items()}
        for pipeline in made.values():
            pipeline.set_progress_bar_config(disable=True)
        return {"text": self._plain, **made}

    def _alone(self, request: "Request") -> numpy.ndarray:
        pipeline = self._pipelines[request.kind]
        pipeline.scheduler = self._samplers.make(request.sampler)
        task = request.task(self.model)
        return render(pipeline, task, task.options["seed"], lambda *_: None)[0]


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    return Peer(with_lcm(save_diffusion(tmp_path_factory.mktemp("models") / "sd")))


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    return Peer(with_lcm(save_sdxl(tmp_path_factory.mktemp("models") / "sdxl")))


def with_lcm(folder: Path) -> Path:
    """With the scheduler that takes all the others in its place."""
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    LCMScheduler.from_config(config).save_pretrained(folder / "scheduler")
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace(config["_class_name"], "LCMScheduler"))
    return folder


class Request:
    """Equal to another that asks for the same."""

    def __init__(self, **fields: Any) -> None:
        self.fields: dict[str, Any] = {
            "kind": "text",
            "sampler": "ddim",
            "steps": 4,
            "guidance": 3.0,
            "seed": 1,
            "size": 32,
        }
        self.fields |= {"guidance": 3.0, "seed": 1, "size": 32, "words": "a fox", "negative": ""} | fields
        self.kind, self.sampler = self.fields["kind"], self.fields["sampler"]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Request) and self.fields == other.fields

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.fields.items())))

    def __repr__(self) -> str:
        return f"Request({self.fields})"

    def task(self, model, name: str = "job"):
        fields = self.fields
        size = fields["size"]
        images = {"text": (), "init": ("init",), "mask": ("init", "mask")}[self.kind]
        options = {
            "negative_prompt": fields["negative"], "seed": fields["seed"], "count": 1, "steps": fields["steps"],
            "guidance_scale": fields["guidance"], "width": size, "height": size, "sampler": self.sampler,
        }  # fmt: skip
        if images:
            options["strength"] = 0.6
        return make_task(
            fields["words"],
            id=name,
            share=name,
            model=model,
            options=options,
            task=IMAGE_TO_IMAGE if images else TEXT_TO_IMAGE,
            images=tuple(TaskImage(role, PICTURES[role]) for role in images),
        )


def painted(picture: Image.Image) -> Media:
    return Media(png(picture), "image/png")


HALF = Image.new("RGB", (32, 32), "black")
HALF.paste("white", (0, 0, 16, 32))
PICTURES = {"init": painted(Image.new("RGB", (40, 32), "teal")), "mask": painted(HALF)}


def play(engine, tasks, joins, leaves) -> dict[str, numpy.ndarray]:
    """Task k joins after `joins[k]` passes and is cancelled after `leaves[k]`, if that is not None."""
    made: dict[str, numpy.ndarray] = {}
    open_ids: set[str] = set()
    passes = -1
    while open_ids or passes < max(joins):
        passes += 1
        for task, join, leave in zip(tasks, joins, leaves, strict=True):
            if join == passes:
                engine.admit(task)
                open_ids.add(task.id)
            if leave == passes and task.id in open_ids:
                engine.cancel(task.id)
                open_ids.discard(task.id)
        for event in engine.step() if open_ids else ():
            match event:
                case Failed():
                    raise event.error
                case Made(picture=raw):
                    pixels = numpy.frombuffer(raw.pixels, numpy.uint8)
                    made[event.task_id] = pixels.reshape(raw.height, raw.width, 3)
                case Over():
                    open_ids.discard(event.task_id)
    return made


def check(peer: Peer, requests, joins, leaves) -> None:
    tasks = [request.task(peer.model, str(number)) for number, request in enumerate(requests)]
    made = play(peer.engine, tasks, joins, leaves)
    for task, request, leave in zip(tasks, requests, leaves, strict=True):
        if leave is None:
            difference = made[task.id].astype(int) - peer.alone(request).astype(int)
            assert abs(difference).max() <= 1, request
    assert peer.engine.free_rows == peer.engine.form["rows"]
    assert len(made) == sum(leave is None or task.id in made for task, leave in zip(tasks, leaves, strict=True))


REQUESTS = st.builds(
    Request,
    kind=st.sampled_from(["text", "text", "init", "mask"]),
    sampler=st.sampled_from(SAMPLERS),
    steps=st.sampled_from([2, 3, 5]),
    guidance=st.sampled_from([1.0, 3.0, 7.5]),
    seed=st.sampled_from([1, 2]),
    size=st.sampled_from([32, 32, 48]),
    words=st.sampled_from(["a fox", "the red (cat:1.3) on blue", "a fox " * 12]),
    negative=st.sampled_from(["", "blue"]),
)
STREAMS = st.lists(st.tuples(REQUESTS, st.integers(0, 6), st.none() | st.integers(1, 8)), min_size=2, max_size=8)
QUICK = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(stream=STREAMS)
@QUICK
def test_each_picture_of_a_stream_is_what_stable_diffusion_alone_makes(sd, stream):
    requests, joins, leaves = zip(*stream, strict=True)

    check(sd, [in_words(request) for request in requests], joins, leaves)


def in_words(request: Request) -> Request:
    """Weights and long prompts are read by `prompting.py`, which has its own tests against `encode_prompt`."""
    plain: dict[Any, str] = {"the red (cat:1.3) on blue": "the red cat on blue", "a fox " * 12: "a cat"}
    return Request(**request.fields | {"words": plain.get(request.fields["words"], request.fields["words"])})


@given(stream=STREAMS)
@QUICK
def test_each_picture_of_a_stream_is_what_sdxl_alone_makes(sdxl, stream):
    requests, joins, leaves = zip(*stream, strict=True)

    check(sdxl, [in_words(request) for request in requests], joins, leaves)


def test_every_sampler_of_the_model_may_share_passes(sd):
    names = [name for name in sd.engine.form["samplers"] if name in SCHEDULERS]
    requests = [Request(sampler=name, seed=number) for number, name in enumerate(names)]

    check(sd, requests, [0] * len(names), [None] * len(names))


def passes_of(engine, tasks) -> list[int]:
    """How many rows each pass had."""
    seen: list[int] = []
    unet = engine._batch._denoiser
    handle = unet.register_forward_pre_hook(lambda _m, args, kwargs: seen.append(_rows(args, kwargs)), with_kwargs=True)
    try:
        play(engine, tasks, [0] * len(tasks), [None] * len(tasks))
    finally:
        handle.remove()
    return seen


def _rows(args, kwargs) -> int:
    return len(args[0] if args else kwargs["sample"])


@pytest.fixture
def eager(sd, monkeypatch):
    """An engine that has learned that sharing pays."""
    monkeypatch.setattr("inference.engine.cost_model.CostTable.cap", lambda _self, limit, _unit=1: limit)
    return sd.engine


def test_requests_that_differ_in_everything_but_their_size_share_passes(sd, eager):
    different = [
        Request(steps=3, sampler="euler"),
        Request(steps=3, kind="init", guidance=7.5, seed=2),
        Request(steps=3, kind="mask", sampler="dpmpp_2m", words="a cat"),
        Request(steps=3, sampler="lcm", negative="blue"),
    ]

    passes = passes_of(eager, [request.task(sd.model, str(n)) for n, request in enumerate(different)])

    assert passes[0] == 8


def test_pictures_with_guidance_come_to_share_passes_of_themselves(sd):
    engine = DiffusionEngine(sd.model)
    engine.load("cpu")
    engine.know([Measured(device="cpu", model="", dtype="", shape="32x32", rows=2, what="pass", seconds=0.1)])

    passes = passes_of(engine, [Request(steps=3, seed=n).task(sd.model, str(n)) for n in range(3)])

    assert passes[0] == 4


def test_without_guidance_a_picture_is_one_row(sd, eager):
    passes = passes_of(
        eager, [Request(guidance=1.0).task(sd.model, "free"), Request(guidance=2.0).task(sd.model, "two")]
    )

    assert passes == [3, 3, 3, 3]


def test_other_sizes_step_apart(sd, eager):
    tasks = [Request(size=size, guidance=1.0, steps=2).task(sd.model, str(size)) for size in (32, 48)]

    assert passes_of(eager, tasks) == [1, 1, 1, 1]


def test_the_pictures_of_one_request_share_passes_too(sd, eager):
    task = Request(guidance=1.0).task(sd.model)

    four = make_task("a fox", model=sd.model, options=dict(task.options) | {"count": 4})

    assert passes_of(eager, [four]) == [4, 4, 4, 4]


def test_a_pass_that_runs_out_of_memory_is_made_again_with_fewer_rows(sd, eager, monkeypatch):
    unet = eager._batch._denoiser
    forward = unet.forward

    def cramped(sample, *args, **kwargs):
        if len(sample) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(sample, *args, **kwargs)

    monkeypatch.setattr(unet, "forward", cramped)
    monkeypatch.setattr(eager._batch, "limit", 0)
    requests = [Request(guidance=1.0, seed=seed) for seed in (1, 2, 3, 4)]

    check(sd, requests, [0] * 4, [None] * 4)

    assert eager._batch.limit == 2


def test_a_request_that_goes_wrong_takes_nobody_with_it(sd, eager, monkeypatch):
    def scheduler_fails(*_args, **_kwargs):
        raise RuntimeError("no")

    good = [Request(seed=seed).task(sd.model, str(seed)) for seed in (1, 2)]
    bad = Request(sampler="euler", seed=3).task(sd.model, "bad")
    monkeypatch.setattr("diffusers.EulerDiscreteScheduler.step", scheduler_fails)
    for task in (*good, bad):
        eager.admit(task)
    events: list[Any] = []
    while sum(isinstance(event, Over | Failed) for event in events) < 3:
        events += eager.step()

    assert [event.task_id for event in events if isinstance(event, Failed)] == ["bad"]
    assert sorted(event.task_id for event in events if isinstance(event, Over)) == ["1", "2"]


def test_a_picture_that_is_dropped_leaves_gradients_as_they_were(sd):
    sd.engine.admit(Request(steps=5).task(sd.model, "dropped"))
    sd.engine.step()
    sd.engine.cancel("dropped")

    assert torch.is_grad_enabled()


def test_device_time_is_split_among_those_who_share_a_pass(sd, eager):
    tasks = [Request(guidance=1.0).task(sd.model, "light"), Request(guidance=7.5, steps=8).task(sd.model, "heavy")]
    eager.used()

    play(eager, tasks, [0, 0], [None, None])
    used = eager.used()

    assert used["heavy"] > 1.5 * used["light"] > 0


def test_words_that_are_read_together_are_paid_by_those_who_brought_them(sd, eager, monkeypatch):
    prepare = type(eager._speaker).prepare

    def slowly(speaker, pictures):
        time.sleep(0.3)
        prepare(speaker, pictures)

    monkeypatch.setattr(type(eager._speaker), "prepare", slowly)
    eager.used()
    for name in ("one", "other"):
        eager.admit(Request(steps=1).task(sd.model, name))
    eager._begin_waiting()
    used = eager.used()
    eager.cancel("one")
    eager.cancel("other")

    assert used["one"] >= 0.15
    assert used["other"] >= 0.15
