"""Builds with LoRAs are made for the sets that are used most, in the background, and only where that harms nobody."""

import asyncio
import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from bot.errors import ModelRefused
from bot.jobs import JobState, Media
from bot.memory.fit import MachineSpec
from bot.memory.fused_sets import MIN_IMAGES
from bot.models import TEXT_TO_IMAGE, ModelRegistry
from bot.ports import DeviceStatus, RowSpeed, TaskAddon
from bot.usecases.fused_builds import FusedBuilds
from tests.fakes import make_model
from tests.model_manager_fixture import FASTER, FakeBuilds

ENOUGH = int(MIN_IMAGES)
FOX = make_model(
    name="fox", tasks=(TEXT_TO_IMAGE,), repo="/models/fox", backend="openvino", components_mb={"unet": 100},
    capabilities={"backend": "openvino", "dtype": "float32"},
)  # fmt: skip
INK = "<lora:ink:0.5>"


class Resolver:
    """Every LoRA is installed."""

    folder = "/loras"

    async def addons_used(self, options: Any, model: Any) -> tuple[TaskAddon, ...]:
        return tuple(TaskAddon(name, "lora", f"{self.folder}/{name}.safetensors") for name in ("ink", "film", "wash"))


@pytest.fixture
def env() -> Any:
    env = SimpleNamespace(
        models=ModelRegistry({"fox": FOX}),
        builds=FakeBuilds(),
        free_mb=8000,
        work=None,
        now=0.0,
        running=0,
        device="cpu",
    )

    async def machine() -> MachineSpec:
        return MachineSpec(devices=(), ram_mb=8000, free_ram_mb=env.free_mb, disk_free_mb=10**6)

    env.pool = SimpleNamespace(
        device_statuses=lambda: [DeviceStatus(device=env.device, state="ready", running=env.running)]
    )
    env.manager, env.resolver = SimpleNamespace(status=lambda _: env.work), Resolver()
    env.fused = FusedBuilds(
        models=env.models, manager=env.manager, builds=env.builds, pool=env.pool, prompt_resolver=env.resolver,
        machine_spec=machine, sample_image=lambda: Media(b"picture", "image/png"), clock=lambda: env.now,
    )  # fmt: skip
    return env


async def use(env: Any, words: str = INK, images: int = ENOUGH, **job: Any) -> list[str]:
    """The sets whose builds were made by the end of the background work."""
    options = {"prompt": f"a fox {words}", "count": images}
    env.fused.observe(SimpleNamespace(**{"model": "fox", "state": JobState.DELIVERED, "options": options} | job))
    await asyncio.gather(*env.fused._tasks)
    return [request.names[-1] for request in env.builds.made]


def kept(env: Any) -> set[str]:
    return {names[-1] for names in env.builds.stored}


async def test_a_set_that_is_used_often_gets_a_build(env):
    assert await use(env, images=ENOUGH - 1) == []
    assert await use(env, images=1) == ["ink:0.5"]
    assert kept(env) == {"ink:0.5"}
    (request,) = env.builds.made
    assert (request.precision, request.backend, request.weights) == ("float32", "openvino", "none")
    assert request.loras == (("/loras/ink.safetensors", 0.5),)
    assert request.image is not None


async def test_weights_are_part_of_a_set(env):
    await use(env, "<lora:ink:0.5>", ENOUGH - 1)

    assert await use(env, "<lora:ink:0.6>", ENOUGH - 1) == []


@pytest.mark.parametrize(
    ("model", "job"),
    [
        ({"backend": "torch"}, {}),
        ({"capabilities": {"backend": "torch", "dtype": "float32"}}, {}),
        ({"capabilities": {}}, {}),
        ({}, {"state": JobState.FAILED}),
        ({}, {"state": JobState.CANCELLED}),
        ({}, {"options": {"prompt": "a fox", "count": 100}}),
        ({}, {"options": {"count": 100}}),
        ({}, {"model": "removed"}),
    ],
)
async def test_nothing_is_built_for_what_does_not_use_it(env, model, job):
    env.models.add_model(replace(FOX, **model))

    assert await use(env, **job) == []


async def test_of_too_many_builds_the_least_used_is_deleted(env):
    for words, images in ((INK, ENOUGH), ("<lora:film:1>", 2 * ENOUGH), ("<lora:wash:1>", 3 * ENOUGH)):
        await use(env, words, images)

    assert kept(env) == {"film:1.0", "wash:1.0"}


@pytest.mark.parametrize(
    "report",
    [replace(FASTER, levels=2), replace(FASTER, speeds=(RowSpeed(1, 0.1, 0.2),))],
    ids=["changes images", "slower"],
)
async def test_a_build_that_is_not_better_is_deleted_and_not_tried_again(env, report):
    env.builds.report = report

    assert await use(env) == ["ink:0.5"]
    assert kept(env) == set()
    assert await use(env) == ["ink:0.5"]


async def test_a_refused_build_is_not_tried_again(env):
    env.builds.error = ModelRefused("fox", "build", detail="the disk filled up while it was compiled")
    await use(env)
    env.builds.error = None

    assert await use(env) == ["ink:0.5"]
    assert kept(env) == set()


async def test_without_memory_it_waits_for_more(env):
    env.free_mb = 100
    assert await use(env) == []
    env.free_mb = 8000

    assert await use(env, images=1) == ["ink:0.5"]


async def test_on_a_graphics_card_nothing_is_built_beside_peoples_jobs(env):
    env.device = "cuda:0"

    assert await use(env) == []


async def test_beside_work_on_the_model_nothing_is_built(env):
    env.work = SimpleNamespace(is_finished=False)

    assert await use(env) == []


async def test_one_build_is_made_at_a_time_and_stops_with_the_server(env):
    env.builds.go_on.clear()
    for words in (INK, "<lora:film:1>"):
        options = {"prompt": words, "count": ENOUGH}
        env.fused.observe(SimpleNamespace(model="fox", state=JobState.RENDERED, options=options))
    async with asyncio.timeout(20):
        while not env.builds.made:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)
    env.running = 1

    assert len(env.builds.made) == 1
    assert env.builds.is_paused()
    await env.fused.close()
    assert len(env.builds.stopped) == 1
    assert kept(env) == set()


async def test_builds_of_earlier_weights_are_deleted(env, monkeypatch):
    await use(env)
    states = env.builds.list_states(())
    monkeypatch.setattr(env.builds, "list_states", lambda _: [replace(one, problem="weights") for one in states])

    await use(env, "<lora:film:1>", 1)

    assert kept(env) == set()


@pytest.mark.parametrize(
    "change",
    [
        {"backend": "onnx", "capabilities": {"backend": "onnx", "dtype": "float32"}},
        {"dtype": "bfloat16", "capabilities": {"backend": "openvino", "dtype": "bfloat16"}},
        {"quantize": "8bit"},
    ],
    ids=["backend", "precision", "weights"],
)
async def test_in_another_format_a_set_gets_another_build_and_the_old_one_is_deleted(env, change):
    await use(env)
    env.models.add_model(replace(FOX, **change))

    assert await use(env, images=1) == ["ink:0.5"] * 2
    (request,) = env.builds.made[1:]
    assert set(env.builds.stored) == {request.names}
    assert request.names != env.builds.made[0].names


async def test_a_replaced_lora_is_another_one(env, tmp_path):
    """Neither the use nor the failure of the old one says anything about it."""
    env.resolver.folder = str(tmp_path)
    (tmp_path / "ink.safetensors").write_bytes(b"old")
    env.builds.error = ModelRefused("fox", "build", detail="it changes images")
    await use(env)
    os.utime(tmp_path / "ink.safetensors", (1, 1))
    env.builds.error = None

    assert await use(env, images=ENOUGH - 1) == ["ink:0.5"]
    assert await use(env, images=1) == ["ink:0.5"] * 2
    assert kept(env) == {"ink:0.5"}


async def test_what_is_remembered_of_ever_new_weights_is_bounded(env, monkeypatch):
    monkeypatch.setattr("bot.memory.fused_sets.MAX_SETS", 5)
    monkeypatch.setattr("bot.usecases.fused_builds.MAX_SETS", 5)
    for number in range(30):
        await use(env, f"<lora:ink:0.{number + 1}>", 1)

    assert len(env.fused._sets["fox"]._uses) == 5
    assert len(env.fused._named) <= 10
