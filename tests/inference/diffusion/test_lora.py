"""LoRAs named in prompts, created in the test for a tiny Stable Diffusion with random weights."""

import copy
import os
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from bot.errors import InvalidOption
from bot.ports import TaskAddon
from inference.diffusion import lora
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.lora import LoraManager, base_model_family, requested_loras
from inference.diffusion.prompt_cache import PromptEncoder
from inference.engine.base import EngineEvent, ImageReady, TaskDone, TaskFailed
from tests.inference.support import make_model, make_task
from tests.inference.tiny import save_diffusion

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
OPTIONS = {"steps": 2, "guidance_scale": 3.0, "width": 16, "height": 16, "negative_prompt": "", "sampler": ""}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_diffusion(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def pipeline(folder):
    return StableDiffusionPipeline.from_pretrained(folder)


@pytest.fixture(scope="module")
def loras(pipeline, tmp_path_factory):
    loras_folder = tmp_path_factory.mktemp("loras")
    return {
        name: save_lora(pipeline, loras_folder / f"{name}.safetensors", seed)
        for seed, name in enumerate(("ink", "film"))
    }


@pytest.fixture
def manager(pipeline):
    return LoraManager(copy.deepcopy(pipeline))


def save_lora(pipeline, path: Path, seed: int = 0, *, in_features: int = 0):
    """A LoRA of rank 2 for the attention of UNet and text encoder. `in_features`: 0: the model's."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for component in ("unet", "text_encoder"):
        for name, module in getattr(pipeline, component).named_modules():
            if name.endswith((".to_k", ".to_v", ".q_proj", ".v_proj")):
                down, up = (2, in_features or module.in_features), (module.out_features, 2)
                tensors[f"{component}.{name}.lora_A.weight"] = torch.randn(down, generator=generator)
                tensors[f"{component}.{name}.lora_B.weight"] = torch.randn(up, generator=generator)
    save_file(tensors, path)
    return path


def predict_noise(manager: LoraManager) -> torch.Tensor:
    """The UNet's output for a fixed input."""
    generator = torch.Generator().manual_seed(0)
    latents, embeds = torch.randn((1, 4, 2, 2), generator=generator), torch.randn((1, 16, 16), generator=generator)
    with torch.no_grad():
        return manager._pipeline.unet(latents, 10, embeds).sample


def test_a_lora_changes_the_output_and_leaves_no_trace(manager, loras):
    plain = predict_noise(manager)

    manager.apply(((str(loras["ink"]), 0.8),))
    changed = predict_noise(manager)
    manager.apply(())

    assert not torch.allclose(changed, plain)
    assert torch.equal(predict_noise(manager), plain)


def test_the_weight_scales_the_lora_reproducibly(manager, loras):
    ink = str(loras["ink"])
    outputs = []
    for weight in (0.5, 1.0, 0.5, -1.0):
        manager.apply(((ink, weight),))
        outputs.append(predict_noise(manager))

    assert torch.equal(outputs[0], outputs[2])
    assert not torch.allclose(outputs[0], outputs[1])
    assert not torch.allclose(outputs[1], outputs[3])


def test_several_loras_together_equal_their_merge_into_the_weights(manager, pipeline, loras):
    merged = copy.deepcopy(pipeline)
    for name, weight in (("ink", 0.5), ("film", -0.3)):
        merged.load_lora_weights(loras[name].parent, weight_name=loras[name].name, adapter_name=name)
        merged.fuse_lora(adapter_names=[name], lora_scale=weight)
        merged.unload_lora_weights()

    manager.apply(((str(loras["ink"]), 0.5), (str(loras["film"]), -0.3)))

    torch.testing.assert_close(predict_noise(manager), predict_noise(LoraManager(merged)), atol=1e-4, rtol=1e-4)


def test_switching_happens_only_when_the_set_changes(manager, loras, monkeypatch):
    manager.apply(((str(loras["ink"]), 0.5),))
    monkeypatch.setattr(manager._pipeline, "set_adapters", lambda *_: pytest.fail("switched"), raising=False)

    manager.apply(((str(loras["ink"]), 0.5),))


def test_loras_also_apply_to_the_text_encoder(manager, loras):
    encoder = PromptEncoder(manager._pipeline, loras=manager)
    plain = encoder.encode_prompt("a fox", "", False)

    adapted = encoder.encode_prompt("a fox", "", False, loras=((str(loras["ink"]), 1.0),))

    assert not torch.allclose(adapted.embeds, plain.embeds)
    assert encoder.encode_prompt("a fox", "", False) is plain
    assert torch.equal(PromptEncoder(manager._pipeline, loras=manager).encode_prompt("a fox", "", False).embeds,
                       plain.embeds)  # fmt: skip


def replace_file(path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))


def test_a_lora_that_is_replaced_while_it_is_active_is_loaded_anew(manager, loras, tmp_path):
    path = tmp_path / "ink.safetensors"
    path.write_bytes(loras["ink"].read_bytes())
    encoder, now = PromptEncoder(manager._pipeline, loras=manager), ((str(path), 0.8),)
    outputs = []
    for other in ("ink", "film"):
        replace_file(path, loras[other])
        manager.apply(now)
        outputs += [predict_noise(manager), encoder.encode_prompt("a fox", "", False, loras=now).embeds]

    manager.apply(((str(loras["film"]), 0.8),))
    assert torch.equal(outputs[2], predict_noise(manager))
    assert not torch.allclose(outputs[0], outputs[2])
    assert not torch.allclose(outputs[1], outputs[3])


def test_a_lora_that_is_deleted_still_serves_the_images_in_flight(manager, loras, tmp_path):
    path = tmp_path / "ink.safetensors"
    path.write_bytes(loras["ink"].read_bytes())
    manager.apply(((str(path), 0.8),))
    inked = predict_noise(manager)
    path.unlink()
    manager.apply(())

    manager.apply(((str(path), 0.8),))

    assert torch.equal(predict_noise(manager), inked)


def test_a_lora_for_another_model_is_refused_and_leaves_no_trace(manager, pipeline, loras, tmp_path):
    plain = predict_noise(manager)
    manager.apply(((str(loras["ink"]), 0.8),))
    inked = predict_noise(manager)
    wrong = save_lora(pipeline, tmp_path / "wrong.safetensors", in_features=24)

    with pytest.raises(InvalidOption) as refused:
        manager.apply(((str(wrong), 1.0),))

    assert (refused.value.problem, refused.value.value) == ("addition_broken", "wrong")
    manager.apply(())
    assert torch.equal(predict_noise(manager), plain)
    manager.apply(((str(loras["ink"]), 0.8),))
    assert torch.equal(predict_noise(manager), inked)


@pytest.mark.parametrize("content", [b"", b"no safetensors at all"])
def test_a_damaged_file_is_refused(manager, tmp_path, content):
    (tmp_path / "bad.safetensors").write_bytes(content)

    with pytest.raises(InvalidOption):
        manager.apply(((str(tmp_path / "bad.safetensors"), 1.0),))


def test_a_missing_file_is_refused(manager, tmp_path):
    with pytest.raises(InvalidOption):
        manager.apply(((str(tmp_path / "gone.safetensors"), 1.0),))


def test_at_most_max_loaded_loras_stay_loaded(manager, pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(lora, "MAX_LOADED", 2)
    for number in range(4):
        manager.apply(((str(save_lora(pipeline, tmp_path / f"l{number}.safetensors", number)), 1.0),))

    assert len(manager._pipeline.get_list_adapters()["unet"]) == 2


def test_unloading_all_leaves_the_plain_model(manager, loras):
    plain = predict_noise(manager)
    manager.apply(((str(loras["ink"]), 0.8),))

    manager.unload_all()

    assert torch.equal(predict_noise(manager), plain)
    assert not manager._pipeline.get_list_adapters()


def test_a_task_requests_the_loras_that_its_prompt_names_and_the_core_has_resolved(loras):
    ink, film = str(loras["ink"]), str(loras["film"])
    addons = (TaskAddon("ink", "lora", ink), TaskAddon("film", "lora", film))
    prompt = "a fox <lora:film:0.5> <lora:Ink> <lora:ink:-0.2> <lora:other:1>"

    assert requested_loras(make_task(prompt, addons=addons)) == tuple(sorted([(ink, 0.8), (film, 0.5)]))
    assert requested_loras(make_task("a fox", addons=addons)) == ()


def test_a_task_requests_a_lora_by_its_files_name(loras):
    addons = (TaskAddon("add-detail-v1-5", "lora", "/d"), TaskAddon("斗鱼", "lora", "/f"))
    prompt = "a fox <lora:Add_Detail v1.5:0.5> <lora:斗鱼:0.2>"

    assert requested_loras(make_task(prompt, addons=addons)) == (("/d", 0.5), ("/f", 0.2))


def test_an_unknown_family_has_no_name(pipeline):
    assert base_model_family(pipeline) == ""


# ---------------------------------------------------------------- through the engine


@pytest.fixture(scope="module")
def engine(folder):
    engine = DiffusionEngine(make_model("tiny", repo=str(folder)))
    engine.load_model("cpu")
    yield engine
    engine.unload_model()


def generate(engine: DiffusionEngine, prompt: str, **overrides) -> list[numpy.ndarray]:
    """One task's images, in their order."""
    (images,) = generate_batch(engine, (prompt, overrides)).values()
    return images


def generate_batch(engine: DiffusionEngine, *requests) -> dict[str, list[numpy.ndarray]]:
    """The images of each task, in their order, by task id."""
    tasks = [make_task(prompt, id=f"{number}", **overrides) for number, (prompt, overrides) in enumerate(requests)]
    for task in tasks:
        engine.add_task(replace(task, options=OPTIONS | dict(task.options)))
    events: list[EngineEvent] = []
    while sum(isinstance(event, TaskDone) for event in events) < len(tasks):
        events += engine.step()
        assert not [event for event in events if isinstance(event, TaskFailed)]
    ready = sorted((event for event in events if isinstance(event, ImageReady)), key=lambda event: event.image.index)
    images: dict[str, list[numpy.ndarray]] = {task.id: [] for task in tasks}
    for event in ready:
        images[event.task_id].append(numpy.frombuffer(event.image.pixels, numpy.uint8).astype(int))
    return images


def test_a_prompt_with_a_lora_changes_its_image_and_no_later_one(engine, loras):
    addons = (TaskAddon("ink", "lora", str(loras["ink"])),)
    (plain,) = generate(engine, "a fox")

    (inked,) = generate(engine, "a fox <lora:ink:1>", addons=addons)
    (again,) = generate(engine, "a fox")

    assert abs(inked - plain).max() > 3
    assert (again == plain).all()


def test_batched_tasks_only_get_their_own_loras(engine, loras):
    addons = tuple(TaskAddon(name, "lora", str(path)) for name, path in loras.items())
    overrides = {"addons": addons}
    requests = [(f"a fox {tag}", overrides) for tag in ("", "<lora:ink:1>", "", "<lora:film:-1>", "<lora:ink:1>")]

    alone = [generate(engine, prompt, **overrides)[0] for prompt, overrides in requests]
    batched = generate_batch(engine, *requests)

    for number, image in enumerate(alone):
        assert abs(batched[str(number)][0] - image).max() <= 1
    assert abs(alone[0] - alone[1]).max() > 3
    assert abs(alone[1] - alone[3]).max() > 3


def test_a_lora_that_does_not_fit_fails_its_own_task_and_no_other(engine, pipeline, tmp_path):
    wrong = save_lora(pipeline, tmp_path / "wrong.safetensors", in_features=24)
    bad = make_task("a fox <lora:wrong:1>", id="bad", addons=(TaskAddon("wrong", "lora", str(wrong)),))
    good = make_task("a fox", id="good")
    for task in (bad, good):
        engine.add_task(replace(task, options=OPTIONS | dict(task.options)))
    events: list[EngineEvent] = []
    while not any(isinstance(event, TaskDone) for event in events):
        events += engine.step()

    (failed,) = (event for event in events if isinstance(event, TaskFailed))
    assert failed.task_id == "bad"
    assert isinstance(failed.error, InvalidOption)
    assert failed.error.value == "wrong"


def test_each_image_is_generated_from_its_own_prompt(engine):
    images = generate(engine, "a fox", options={"count": 2, "prompts": ["a fox", "a cat"]})

    (alone,) = generate(engine, "a cat", options={"seed": 8})
    assert (images[1] == alone).all()


def test_the_next_image_has_the_lora_that_replaced_another(engine, loras, tmp_path):
    path = tmp_path / "ink.safetensors"
    addons = (TaskAddon("ink", "lora", str(path)),)
    images: list[numpy.ndarray] = []
    for other in ("ink", "film"):
        path.write_bytes(loras[other].read_bytes())
        os.utime(path, ns=(1, len(images) + 1))
        images += generate(engine, "a fox <lora:ink:1>", addons=addons)
    (film,) = generate(engine, "a fox <lora:film:1>", addons=(TaskAddon("film", "lora", str(loras["film"])),))

    assert (images[1] == film).all()
    assert abs(images[0] - images[1]).max() > 3
