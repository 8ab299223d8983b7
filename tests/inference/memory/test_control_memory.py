"""The weights of controls count in a model's memory plan, and are moved like its other components."""

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from bot.errors import OutOfMemory
from bot.memory.components import ComponentRole
from bot.memory.placement import Residency
from inference.diffusion import loader
from inference.diffusion.control import control_store
from inference.diffusion.control.control_store import ControlStore
from inference.memory.offload import OffloadHook, offloader_of
from inference.memory.planner import MemoryPlan, memory_needs
from tests.inference.memory.test_component_offload import group_offloaded, on_demand, plan_for
from tests.inference.support import make_model
from tests.inference.tiny import save_diffusion


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sd")
    save_diffusion(folder / "model")
    unet = UNet2DConditionModel.from_pretrained(folder / "model", subfolder="unet")
    torch.manual_seed(1)
    for kind, channels in {"canny": (8, 8, 8, 8), "depth": (8, 8, 8, 64)}.items():
        ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=channels).save_pretrained(folder / kind)
    controls = {kind: str(folder / kind) for kind in ("canny", "depth")} | {"pose": "models/none"}
    return make_model(repo=str(folder / "model"), dtype="float32", controls=controls)


def load(model, monkeypatch, plan: MemoryPlan):
    monkeypatch.setattr(loader, "choose_plan", lambda *_: plan)
    return loader.load_pipeline(model, loader.model_path(model), "cpu")


def call(module):
    with torch.no_grad():
        return module(torch.ones(1, 4, 4, 4), 1, torch.ones(1, 3, 16), torch.ones(1, 3, 32, 32), return_dict=False)[0]


def test_the_largest_control_counts_as_a_component(model):
    needs = memory_needs(model, loader.model_path(model), torch.float32, has_accelerator=True)
    [control] = [part for part in needs.components if part.role is ComponentRole.CONTROL]

    assert control.size_mb >= 1
    assert (
        memory_needs(make_model(repo=model.repo), loader.model_path(model), torch.float32, has_accelerator=True)
        != needs
    )


def model_offloaded(plan):
    return Residency.MODEL_OFFLOAD in plan.residencies


@pytest.mark.parametrize(
    ("is_wanted", "is_moved"), [(on_demand, False), (group_offloaded, False), (model_offloaded, True)]
)
def test_a_control_is_placed_as_planned_and_follows_the_fallbacks(model, monkeypatch, is_wanted, is_moved):
    plan = plan_for(model, loader.model_path(model), is_wanted)
    monkeypatch.setattr("diffusers.DiffusionPipeline.enable_model_cpu_offload", lambda *_, **__: None)
    monkeypatch.setattr("diffusers.DiffusionPipeline.remove_all_hooks", lambda *_: None)
    pipeline = load(model, monkeypatch, plan)
    store = ControlStore(model, pipeline, {})
    module = store.load("canny").module
    offloader = offloader_of(pipeline)
    expected = call(module)

    assert isinstance(getattr(module, "_hf_hook", None), OffloadHook) == is_moved
    while offloader.use_less_memory() is not None:
        assert all(torch.equal(one, other) for one, other in zip(call(module), expected, strict=True))
    store.close()
    assert not [name for name in offloader._components if name.startswith("control")]


def test_a_control_that_does_not_fit_in_ram_is_refused_before_it_is_loaded(model, monkeypatch):
    pipeline = load(model, monkeypatch, plan_for(model, loader.model_path(model), on_demand))
    store = ControlStore(model, pipeline, {})
    budget = control_store.free_memory_budget("cpu")
    monkeypatch.setattr(control_store, "free_memory_budget", lambda _device: type(budget)(kind="cpu", ram_mb=1))
    with pytest.raises(OutOfMemory):
        store.load("canny")
