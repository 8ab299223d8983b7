"""Continuous batching changes no image: whatever joins, leaves and shares passes, each equals the stock pipeline's."""

import functools
import itertools
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy
import pytest
import torch
from diffusers import LCMScheduler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.ports import Measurement, TaskImage
from inference.checkpoints.resolve import model_path
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.loader import load_pipeline
from inference.diffusion.pipeline_call import generate
from inference.diffusion.samplers import SCHEDULERS, Samplers
from inference.diffusion.schedule_policy import MAX_WAIT_PASSES
from inference.engine.base import ImageReady, StepDone, TaskDone, TaskFailed
from tests.inference.families import save_sdxl
from tests.inference.support import make_model, make_task, png
from tests.inference.tiny import save_diffusion

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

SAMPLERS = ("ddim", "euler", "euler_a", "lcm", "dpmpp_2m")
"""Samplers of the property tests; the model's other samplers call the denoiser in the same way."""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


class Peer:
    """The engine, and the stock pipelines of the same folder to compare it with."""

    def __init__(self, folder, **model: Any) -> None:
        self.model = make_model("tiny", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), repo=str(folder), **model)
        self.engine = DiffusionEngine(self.model)
        self.engine.load_model("cpu")
        self._stock = load_pipeline(self.model, model_path(self.model), "cpu")
        self._samplers = Samplers(self._stock.scheduler)
        self.alone = functools.cache(self._alone)

    @functools.cached_property
    def _pipelines(self) -> dict[str, Any]:
        family = type(self._stock).__name__.removesuffix("Pipeline")
        variants = {
            kind: getattr(diffusers, f"{family}{name}Pipeline").from_pipe(self._stock)
            for kind, name in (("init", "Img2Img"), ("mask", "Inpaint"))
        }
        for pipeline in variants.values():
            pipeline.set_progress_bar_config(disable=True)
        return {"text": self._stock, **variants}

    def _alone(self, request: "Request") -> numpy.ndarray:
        pipeline = self._pipelines[request.kind]
        pipeline.scheduler = self._samplers.create_scheduler(request.sampler)
        task = request.task(self.model)
        return generate(pipeline, task, task.options["seed"], lambda *_: None)[0]


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    return Peer(with_lcm(save_diffusion(tmp_path_factory.mktemp("models") / "sd")))


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    return Peer(with_lcm(save_sdxl(tmp_path_factory.mktemp("models") / "sdxl")))


def with_lcm(folder: Path) -> Path:
    """Give the model the LCM scheduler, which all the other samplers can replace."""
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    LCMScheduler.from_config(config).save_pretrained(folder / "scheduler")
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace(config["_class_name"], "LCMScheduler"))
    return folder


class Request:
    """Compares equal by its fields."""

    def __init__(self, **fields: Any) -> None:
        self.fields: dict[str, Any] = {
            "kind": "text",
            "sampler": "ddim",
            "steps": 4,
            "guidance": 3.0,
            "seed": 1,
            "size": 32,
        }
        self.fields |= {"guidance": 3.0, "seed": 1, "size": 32, "prompt": "a fox", "negative": ""} | fields
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
            fields["prompt"],
            id=name,
            fairness_key=name,
            model=model,
            options=options,
            task=IMAGE_TO_IMAGE if images else TEXT_TO_IMAGE,
            images=tuple(TaskImage(role, IMAGES[role]) for role in images),
        )


def as_media(image: Image.Image) -> Media:
    return Media(png(image), "image/png")


HALF = Image.new("RGB", (32, 32), "black")
HALF.paste("white", (0, 0, 16, 32))
IMAGES = {"init": as_media(Image.new("RGB", (40, 32), "teal")), "mask": as_media(HALF)}


def run_stream(engine, tasks, joins, leaves) -> dict[str, numpy.ndarray]:
    """Task k joins after `joins[k]` passes and is cancelled after `leaves[k]`, if that is not None. By task id."""
    images: dict[str, numpy.ndarray] = {}
    open_ids: set[str] = set()
    passes = -1
    while open_ids or passes < max(joins):
        passes += 1
        for task, join, leave in zip(tasks, joins, leaves, strict=True):
            if join == passes:
                engine.add_task(task)
                open_ids.add(task.id)
            if leave == passes and task.id in open_ids:
                engine.cancel_task(task.id)
                open_ids.discard(task.id)
        for event in engine.step() if open_ids else ():
            match event:
                case TaskFailed():
                    raise event.error
                case ImageReady(image=raw):
                    pixels = numpy.frombuffer(raw.pixels, numpy.uint8)
                    images[event.task_id] = pixels.reshape(raw.height, raw.width, 3)
                case TaskDone():
                    open_ids.discard(event.task_id)
    return images


def check_stream(peer: Peer, requests, joins, leaves) -> None:
    tasks = [request.task(peer.model, str(number)) for number, request in enumerate(requests)]
    images = run_stream(peer.engine, tasks, joins, leaves)
    for task, request, leave in zip(tasks, requests, leaves, strict=True):
        if leave is None:
            difference = images[task.id].astype(int) - peer.alone(request).astype(int)
            assert abs(difference).max() <= 1, request
    assert peer.engine.free_slots == peer.engine.capabilities["rows"]
    assert len(images) == sum(leave is None or task.id in images for task, leave in zip(tasks, leaves, strict=True))


REQUESTS = [
    Request(
        kind=kind,
        sampler=sampler,
        steps=(2, 3, 5)[number % 3],
        guidance=(3.0, 7.5, 1.0)[number % 3],
        seed=1 + number % 2,
        size=(32, 32, 48)[number // 2 % 3],
        prompt=("a fox", "the red cat on blue", "a cat")[number // 3 % 3],
        negative=("", "blue")[number // 2 % 2],
    )
    for number, (kind, sampler) in enumerate(itertools.product(("text", "init", "mask"), SAMPLERS))
]
"""A fixed set, so that each reference image is generated once. Weights and long prompts are encoded by
`clip_encoding.py`, which is tested against `encode_prompt`."""
STREAMS = st.lists(
    st.tuples(st.sampled_from(REQUESTS), st.integers(0, 6), st.none() | st.integers(1, 8)), min_size=2, max_size=8
)
QUICK = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(stream=STREAMS)
@QUICK
def test_each_image_of_a_stream_equals_that_of_stable_diffusion_alone(sd, stream):
    requests, joins, leaves = zip(*stream, strict=True)

    check_stream(sd, requests, joins, leaves)


@given(stream=STREAMS)
@QUICK
def test_each_image_of_a_stream_equals_that_of_sdxl_alone(sdxl, stream):
    requests, joins, leaves = zip(*stream, strict=True)

    check_stream(sdxl, requests, joins, leaves)


def test_every_sampler_of_the_model_can_share_passes(sd):
    names = [name for name in sd.engine.capabilities["samplers"] if name in SCHEDULERS]
    requests = [Request(sampler=name, seed=number, steps=3) for number, name in enumerate(names)]

    check_stream(sd, requests, [0] * len(names), [None] * len(names))


def rows_of_passes(engine, tasks) -> list[int]:
    """Batch rows of each pass."""
    rows: list[int] = []
    unet = engine._step_loop.modules["unet"].module
    handle = unet.register_forward_pre_hook(lambda _m, args, kwargs: rows.append(_rows(args, kwargs)), with_kwargs=True)
    try:
        run_stream(engine, tasks, [0] * len(tasks), [None] * len(tasks))
    finally:
        handle.remove()
    return rows


def _rows(args, kwargs) -> int:
    return len(args[0] if args else kwargs["sample"])


@pytest.fixture
def eager(sd, monkeypatch):
    """An engine that batches all sequences that are waiting."""
    monkeypatch.setattr("inference.engine.cost_model.PassCostModel.best_size", lambda _self, limit, _unit=1: limit)
    return sd.engine


def test_requests_that_only_have_their_size_in_common_share_passes(sd, eager):
    different = [
        Request(steps=3, sampler="euler"),
        Request(steps=3, kind="init", guidance=7.5, seed=2),
        Request(steps=3, kind="mask", sampler="dpmpp_2m", prompt="a cat"),
        Request(steps=3, sampler="lcm", negative="blue"),
    ]

    passes = rows_of_passes(eager, [request.task(sd.model, str(n)) for n, request in enumerate(different)])

    assert passes[0] == 8


def test_guided_images_are_batched_by_the_cost_model_alone(sd):
    engine = DiffusionEngine(sd.model)
    engine.load_model("cpu")
    engine.load_costs(
        [Measurement(device="cpu", model="", dtype="", shape="32x32", batch_size=2, what="pass", seconds=0.1)]
    )

    passes = rows_of_passes(engine, [Request(steps=3, seed=n).task(sd.model, str(n)) for n in range(3)])

    assert passes[0] == 4


def test_a_newcomers_first_step_is_in_the_next_pass_beside_one_persons_many_images(sd, monkeypatch):
    monkeypatch.setattr("inference.engine.cost_model.PassCostModel.best_size", lambda _self, _limit, unit=1: 2 * unit)
    engine = sd.engine
    greedy = [replace(Request(steps=40, seed=n).task(sd.model, f"greedy {n}"), fairness_key="greedy") for n in range(9)]
    for task in greedy:
        engine.add_task(task)
    for _ in range(2 * MAX_WAIT_PASSES):
        engine.step()
    engine.add_task(Request(steps=40).task(sd.model, "newcomer"))
    stepped = {event.task_id for event in engine.step() if isinstance(event, StepDone)}
    for task in [*greedy, Request().task(sd.model, "newcomer")]:
        engine.cancel_task(task.id)

    assert "newcomer" in stepped


def test_without_guidance_an_image_is_one_row(sd, eager):
    passes = rows_of_passes(
        eager, [Request(guidance=1.0).task(sd.model, "free"), Request(guidance=2.0).task(sd.model, "two")]
    )

    assert passes == [3, 3, 3, 3]


def test_different_sizes_do_not_share_passes(sd, eager):
    tasks = [Request(size=size, guidance=1.0, steps=2).task(sd.model, str(size)) for size in (32, 48)]

    assert rows_of_passes(eager, tasks) == [1, 1, 1, 1]


def test_the_images_of_one_request_share_passes(sd, eager):
    task = Request(guidance=1.0).task(sd.model)

    four = make_task("a fox", model=sd.model, options=dict(task.options) | {"count": 4})

    assert rows_of_passes(eager, [four]) == [4, 4, 4, 4]


def test_a_pass_that_runs_out_of_memory_is_repeated_with_fewer_rows(sd, eager, monkeypatch):
    unet = eager._step_loop.modules["unet"].module
    forward = unet.forward

    def forward_two_rows(sample, *args, **kwargs):
        if len(sample) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(sample, *args, **kwargs)

    monkeypatch.setattr(unet, "forward", forward_two_rows)
    monkeypatch.setattr(eager._step_loop, "max_rows", 0)
    requests = [Request(guidance=1.0, seed=seed) for seed in (1, 2, 3, 4)]

    check_stream(sd, requests, [0] * 4, [None] * 4)

    assert eager._step_loop.max_rows == 2


def test_a_request_that_fails_does_not_affect_the_others_in_its_pass(sd, eager, monkeypatch):
    def scheduler_fails(*_args, **_kwargs):
        raise RuntimeError("no")

    good = [Request(seed=seed).task(sd.model, str(seed)) for seed in (1, 2)]
    bad = Request(sampler="euler", seed=3).task(sd.model, "bad")
    monkeypatch.setattr("diffusers.EulerDiscreteScheduler.step", scheduler_fails)
    for task in (*good, bad):
        eager.add_task(task)
    events: list[Any] = []
    while sum(isinstance(event, TaskDone | TaskFailed) for event in events) < 3:
        events += eager.step()

    assert [event.task_id for event in events if isinstance(event, TaskFailed)] == ["bad"]
    assert sorted(event.task_id for event in events if isinstance(event, TaskDone)) == ["1", "2"]


def test_cancelling_an_image_leaves_the_grad_mode_unchanged(sd):
    sd.engine.add_task(Request(steps=5).task(sd.model, "dropped"))
    sd.engine.step()
    sd.engine.cancel_task("dropped")

    assert torch.is_grad_enabled()


def test_device_time_of_a_pass_is_split_among_its_tasks(sd, eager):
    tasks = [Request(guidance=1.0).task(sd.model, "light"), Request(guidance=7.5, steps=8).task(sd.model, "heavy")]
    eager.take_usage()

    run_stream(eager, tasks, [0, 0], [None, None])
    usage = eager.take_usage()

    assert usage["heavy"] > 1.5 * usage["light"] > 0


def test_the_time_to_encode_prompts_in_one_batch_is_split_among_their_tasks(sd, eager, monkeypatch):
    warm_up = type(eager._conditioner).warm_up

    def slow_warm_up(conditioner, images):
        time.sleep(0.3)
        warm_up(conditioner, images)

    monkeypatch.setattr(type(eager._conditioner), "warm_up", slow_warm_up)
    eager.take_usage()
    for name in ("one", "other"):
        eager.add_task(Request(steps=1).task(sd.model, name))
    eager._start_new_sequences()
    usage = eager.take_usage()
    eager.cancel_task("one")
    eager.cancel_task("other")

    assert usage["one"] >= 0.15
    assert usage["other"] >= 0.15
