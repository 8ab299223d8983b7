"""Compiled builds: made and tried while torch serves on, and used only if they are better and the owner agrees."""

import asyncio
import errno
import tomllib
from dataclasses import replace
from types import SimpleNamespace

import pytest

from bot.errors import InvalidOption, ModelRefused
from bot.jobs import Media
from bot.memory.fit import MachineSpec
from bot.model_install.owner_config import ModelConfigFile
from bot.models import IMAGE_TO_TEXT, TEXT_TO_IMAGE, ModelRegistry
from bot.ports import DeviceStatus, RowSpeed
from bot.queue.pricing import Rates
from bot.queue.progress import ProgressBus
from bot.usecases import ModelManager, ModelOptimizer
from tests.fakes import make_model
from tests.model_manager_fixture import FASTER, FakeBuilds, FakeHub

FOX = make_model(name="fox", title="Fox XL", tasks=(TEXT_TO_IMAGE,), repo="/models/fox")
SLOWER = replace(FASTER, speeds=(RowSpeed(1, 0.2, 0.1), RowSpeed(8, 1.0, 1.5)))


class IdlePool:
    def __init__(self):
        self.known, self.device, self.running, self.unloaded = {}, "cpu", 0, 0

    def set_models(self, models):
        self.known = {model.name: model for model in models}

    def device_statuses(self):
        return [DeviceStatus(device=self.device, state="ready", running=self.running)]

    async def unload_idle_models(self):
        self.unloaded += 1


@pytest.fixture
def env(tmp_path):
    env = SimpleNamespace(
        models=ModelRegistry({"fox": FOX, "preset": make_model(name="preset", enabled=False)}),
        builds=FakeBuilds(), pool=IdlePool(), free_mb=[8000], config=tmp_path / "config.toml",
        owner_config=ModelConfigFile(tmp_path, dict),
    )  # fmt: skip

    async def machine():
        free_mb = env.free_mb.pop(0) if len(env.free_mb) > 1 else env.free_mb[0]
        return MachineSpec(devices=(), ram_mb=8000, free_ram_mb=free_mb, disk_free_mb=10**6)

    env.manager = ModelManager(
        models=env.models, downloads=FakeHub(), pool=env.pool, owner_config=env.owner_config,
        measurements=SimpleNamespace(), store=SimpleNamespace(), rates=Rates(), progress_bus=ProgressBus(),
        sample_image=lambda: Media(b"", "image/png"), machine_spec=machine, wake=lambda _: None,
    )  # fmt: skip
    env.optimizer = ModelOptimizer(
        models=env.models, manager=env.manager, builds=env.builds, pool=env.pool, owner_config=env.owner_config,
        machine_spec=machine, sample_image=lambda: Media(b"picture", "image/png"),
    )  # fmt: skip
    return env


async def finished(env, **options):
    installation = await env.optimizer.optimize("fox", **options)
    if installation.task is not None:
        await installation.task
    return installation


def owners_table(env):
    return tomllib.loads(env.config.read_text())["models"]["fox"] if env.config.exists() else {}


async def test_a_build_is_made_and_tried_and_torch_serves_on(env):
    installation = await finished(env)

    assert installation.optimization.report == replace(FASTER, quantize="auto")
    assert not installation.optimization.is_applied
    assert env.models.get("fox").backend == "torch"
    assert owners_table(env) == {}


async def test_the_progress_is_that_of_an_installation_but_jobs_go_on(env):
    env.builds.go_on.clear()
    installation = await env.optimizer.optimize("fox")
    while installation.progress.stage != "trying":
        await env.manager.wait_for_change(installation)

    assert env.manager.status("fox") is installation
    assert (installation.progress.done, installation.progress.total) == (4, 20)
    assert [spec.name for spec in env.models.installed()] == ["fox"]
    env.builds.go_on.set()
    await installation.task


async def test_a_second_request_with_switch_uses_the_build(env):
    await finished(env)
    installation = await finished(env, switch=True)

    assert len(env.builds.made) == 1
    assert installation.optimization.is_applied
    assert env.models.get("fox").backend == "openvino"
    assert owners_table(env) == {"backend": "openvino"}
    assert env.pool.known["fox"].backend == "openvino"


async def test_the_way_back_restores_the_number_format(env):
    await finished(env, precision="bf16", switch=True)
    assert owners_table(env) == {"backend": "openvino", "dtype": "bfloat16"}

    installation = await finished(env, backend="torch")

    assert installation.optimization.is_applied
    assert owners_table(env) == {"backend": "torch", "dtype": "auto"}
    assert env.models.get("fox") == replace(FOX, backend="torch")


NOT_BETTER = {
    "slower with many rows": SLOWER,
    "hardly faster": replace(FASTER, speeds=(RowSpeed(1, 0.105, 0.1),)),
    "not what float32 promises": replace(FASTER, levels=2),
}


@pytest.mark.parametrize("report", NOT_BETTER.values(), ids=NOT_BETTER)
async def test_a_build_that_is_not_better_is_not_used(env, report):
    env.builds.report = report
    installation = await finished(env, switch=True)

    assert not installation.optimization.is_applied
    assert env.models.get("fox").backend == "torch"
    assert owners_table(env) == {}
    assert env.builds.stored == {}


async def test_weights_are_the_models_unless_asked_for(env):
    env.models.add_model(replace(FOX, quantize="8bit"))
    await finished(env, weights="auto")
    await finished(env, weights="none")

    assert [request.weights for request in env.builds.made] == ["8bit", "none"]


async def test_other_formats_promise_no_levels(env):
    env.builds.report = replace(FASTER, levels=7)

    assert (await finished(env, precision="bfloat16", switch=True)).optimization.is_applied


async def test_a_cancelled_build_leaves_torch(env):
    env.builds.go_on.clear()
    installation = await env.optimizer.optimize("fox", switch=True)
    await asyncio.sleep(0)
    await env.manager.wait_for_change(installation)
    await env.manager.cancel_install("fox")

    assert env.builds.stopped
    assert (installation.error, installation.is_finished) == ("Cancelled. Nothing was compiled.", True)
    assert env.models.get("fox").backend == "torch"


async def test_a_failed_build_says_why(env):
    env.builds.error = ModelRefused("fox", "build", detail="the disk filled up while it was compiled")
    installation = await finished(env, switch=True)

    assert installation.error == "fox stays on torch: the disk filled up while it was compiled."
    assert installation.is_finished


REFUSED = {
    "backend": ({"backend": "openvinoo"}, InvalidOption),
    "weights": ({"weights": "4bit"}, InvalidOption),
    "more than auto": ({"weights": "auto8bit"}, InvalidOption),
    "precision": ({"precision": "float8"}, InvalidOption),
}


@pytest.mark.parametrize(("options", "error"), REFUSED.values(), ids=REFUSED)
async def test_an_unknown_value_is_refused_before_anything_starts(env, options, error):
    with pytest.raises(error):
        await env.optimizer.optimize("fox", **options)
    assert env.builds.made == []


async def test_a_model_without_images_is_refused_before_others_make_room(env):
    env.models.add_model(make_model(name="look", tasks=(IMAGE_TO_TEXT,)))
    env.free_mb[:] = [0]

    assert (await refusal(env, "look")).detail == "it makes no images"
    assert env.pool.unloaded == 0


async def refusal(env, name="fox", **options):
    with pytest.raises(ModelRefused) as refused:
        await env.optimizer.optimize(name, **options)
    assert env.builds.made == []
    return refused.value


async def test_what_cannot_work_here_is_refused(env):
    assert (await refusal(env, "preset")).detail == "it is not installed"
    env.builds.installed = False
    assert (await refusal(env)).problem == "no_backend"
    env.pool.device = "cuda:0"
    assert "cuda:0" in (await refusal(env)).detail


async def test_idle_models_make_room_and_too_little_memory_is_said(env):
    env.models.add_model(replace(FOX, components_mb={"unet": 1000, "vae": 200}))
    env.free_mb[:] = [3000, 9000]
    await finished(env)
    assert env.pool.unloaded == 1

    env.builds = env.optimizer.builds = FakeBuilds()
    env.free_mb[:] = [3000]
    assert (await refusal(env)).detail == "compiling it needs about 8.2 GiB of memory, 2.9 GiB are free"


async def test_on_a_graphics_card_torch_is_tried_there_with_its_memory_free(env):
    env.pool.device = "cuda:0"
    await finished(env, backend="onnx")

    assert env.pool.unloaded == 1
    assert env.builds.made[0].device == "cuda:0"


SERVED = {
    "a trial has chosen it": ({"capabilities": {"dtype": "bfloat16"}}, "bfloat16"),
    "never loaded": ({}, ""),
    "the table says it": ({"dtype": "float32", "capabilities": {"dtype": "float32"}}, ""),
    "it runs on another build": ({"backend": "openvino", "capabilities": {"dtype": "bfloat16"}}, ""),
}


@pytest.mark.parametrize(("model", "dtype"), SERVED.values(), ids=SERVED)
async def test_a_build_is_compared_with_torch_in_the_number_format_that_people_get(env, model, dtype):
    env.models.add_model(replace(FOX, **model))
    await finished(env, precision="float16")

    assert env.builds.made[0].torch_dtype == dtype


async def test_openvino_is_tried_on_the_processor_of_several_devices(env, monkeypatch):
    statuses = [DeviceStatus(device=device, state="ready") for device in ("cuda:0", "cpu")]
    monkeypatch.setattr(env.pool, "device_statuses", lambda: statuses)
    await finished(env)
    await finished(env, backend="onnx")

    assert [request.device for request in env.builds.made] == ["cpu", "cuda:0"]


async def test_a_build_waits_while_jobs_run(env):
    await finished(env)
    assert not env.builds.is_paused()
    env.pool.running = 1
    assert env.builds.is_paused()


async def test_one_build_of_a_model_at_a_time(env):
    env.builds.go_on.clear()
    await env.optimizer.optimize("fox")
    with pytest.raises(ModelRefused) as refused:
        await env.optimizer.optimize("fox")
    assert refused.value.problem == "compiling"
    await env.manager.close()


async def test_a_build_for_a_model_that_lacked_it_is_loaded_without_a_restart(env):
    """Its settings named the backend already, and torch served."""
    env.models.add_model(replace(FOX, backend="openvino"))
    env.pool.set_models(env.models.installed())
    before = env.pool.known["fox"]
    installation = await finished(env)

    assert installation.optimization.is_applied
    assert env.pool.known["fox"] != before
    assert owners_table(env) == {}


async def test_a_build_that_is_made_again_keeps_the_way_back(env):
    """After an update of the library, for example."""
    await finished(env, precision="bf16", switch=True)
    stale = dict(env.builds.stored)
    env.builds.find = lambda _: None
    await finished(env)

    assert env.builds.made[-1].model.dtype == "auto"
    assert env.builds.stored == stale
    await finished(env, backend="torch")
    assert owners_table(env) == {"backend": "torch", "dtype": "auto"}


@pytest.mark.parametrize("options", [{"switch": True}, {"backend": "torch"}], ids=["there", "back"])
async def test_a_file_that_cannot_be_changed_leaves_all_as_it_was(env, monkeypatch, options):
    await finished(env)
    if "backend" in options:
        await finished(env, switch=True)
    before = env.models.get("fox")

    def refuse(_self, _name, _table):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(ModelConfigFile, "set_model", refuse)
    with pytest.raises(ModelRefused):
        await env.optimizer.optimize("fox", **options)

    status = env.manager.status("fox")
    assert (status.error, status.is_finished) == ("Your config.toml cannot be changed: Permission denied.", True)
    assert env.models.get("fox") == before


async def test_a_model_that_is_removed_while_its_weights_are_read_is_not_compiled(env):
    def find(_request):
        env.models.remove_model("fox")

    env.builds.find = find
    with pytest.raises(ModelRefused) as refused:
        await env.optimizer.optimize("fox", switch=True)
    assert (refused.value.detail, env.builds.made) == ("it is not installed", [])


async def test_builds_of_a_model_that_is_being_compiled_are_not_deleted(env):
    env.builds.go_on.clear()
    await env.optimizer.optimize("fox")
    with pytest.raises(ModelRefused) as refused:
        await env.optimizer.remove_builds("fox")

    assert refused.value.problem == "compiling"
    await env.manager.close()


async def test_removed_builds_are_no_longer_offered(env):
    await finished(env)
    await env.optimizer.remove_builds("fox")

    assert env.manager.status("fox").optimization.report is None


async def test_builds_of_a_model_that_is_not_enabled_are_deleted(env):
    env.builds.stored["preset", "openvino", "float32", "none", ""] = FASTER

    assert await env.optimizer.remove_builds("preset") > 0
    assert env.manager.status("preset") is None


async def test_removed_builds_bring_back_torch(env):
    await finished(env, switch=True)

    assert await env.optimizer.remove_builds("fox") > 0
    assert env.models.get("fox").backend == "torch"
    assert await env.optimizer.list_builds() == []


async def test_the_way_back_restores_the_format_of_the_weights(env):
    await finished(env, weights="8bit", switch=True)
    assert owners_table(env) == {"backend": "openvino", "quantize": "8bit"}

    await finished(env, backend="torch")

    assert (env.models.get("fox").backend, env.models.get("fox").quantize) == ("torch", "auto")
    assert owners_table(env)["quantize"] == "auto"


@pytest.mark.parametrize("quantize", ["8bit", "fp8"])
async def test_a_build_in_plain_weights_ends_other_formats(env, quantize):
    env.models.add_model(replace(FOX, quantize=quantize))

    installation = await finished(env, weights="none", switch=True)

    assert installation.optimization.is_applied
    assert (env.models.get("fox").backend, env.models.get("fox").quantize) == ("openvino", "none")
