"""LoRAs by prompt, made in the test for a tiny Stable Diffusion with random weights."""

from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from bot.errors import InvalidOption
from bot.ports import TaskAddition
from inference.diffusion import lora as adapters_module
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.lora import Adapters, family_of, loras_of
from inference.diffusion.prompt_cache import PromptEncoder
from inference.engine.base import EngineEvent, Failed, Made, Over
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
    kept = tmp_path_factory.mktemp("loras")
    return {name: save_lora(pipeline, kept / f"{name}.safetensors", seed) for seed, name in enumerate(("ink", "film"))}


@pytest.fixture
def adapters(folder):
    return Adapters(StableDiffusionPipeline.from_pretrained(folder))


def save_lora(
    pipeline, path: Path, seed: int = 0, *, width: int = 0, parts: tuple[str, ...] = ("unet", "text_encoder")
):
    """A LoRA of rank 2 for the attention of both parts. `width`: of what it reads; 0: what fits."""
    chance = torch.Generator().manual_seed(seed)
    tensors = {}
    for part in ("unet", "text_encoder"):
        for name, module in getattr(pipeline, part).named_modules():
            if name.endswith((".to_k", ".to_v", ".q_proj", ".v_proj")):
                read, written = width or module.in_features, module.out_features
                tensors[f"{part}.{name}.lora_A.weight"] = torch.randn((2, read), generator=chance)
                tensors[f"{part}.{name}.lora_B.weight"] = torch.randn((written, 2), generator=chance)
    save_file(tensors, path)
    return path


def predicted(adapters: Adapters) -> torch.Tensor:
    """What the UNet says, seeing always the same."""
    chance = torch.Generator().manual_seed(0)
    latents, words = torch.randn((1, 4, 2, 2), generator=chance), torch.randn((1, 16, 16), generator=chance)
    with torch.no_grad():
        return adapters._pipeline.unet(latents, 10, words).sample


def test_a_lora_changes_what_is_computed_and_goes_without_a_trace(adapters, loras):
    plain = predicted(adapters)

    adapters.apply(((str(loras["ink"]), 0.8),))
    changed = predicted(adapters)
    adapters.apply(())

    assert not torch.allclose(changed, plain)
    assert torch.equal(predicted(adapters), plain)


def test_the_weight_says_how_much_and_comes_back_the_same(adapters, loras):
    ink = str(loras["ink"])
    made = []
    for weight in (0.5, 1.0, 0.5, -1.0):
        adapters.apply(((ink, weight),))
        made.append(predicted(adapters))

    assert torch.equal(made[0], made[2])
    assert not torch.allclose(made[0], made[1])
    assert not torch.allclose(made[1], made[3])


def test_several_loras_add_up_as_if_merged_into_the_weights(adapters, folder, loras):
    merged = StableDiffusionPipeline.from_pretrained(folder)
    for name, weight in (("ink", 0.5), ("film", -0.3)):
        merged.load_lora_weights(loras[name].parent, weight_name=loras[name].name, adapter_name=name)
        merged.fuse_lora(adapter_names=[name], lora_scale=weight)
        merged.unload_lora_weights()

    adapters.apply(((str(loras["ink"]), 0.5), (str(loras["film"]), -0.3)))

    torch.testing.assert_close(predicted(adapters), predicted(Adapters(merged)), atol=1e-4, rtol=1e-4)


def test_switching_happens_only_when_the_set_changes(adapters, loras, monkeypatch):
    adapters.apply(((str(loras["ink"]), 0.5),))
    monkeypatch.setattr(adapters._pipeline, "set_adapters", lambda *_: pytest.fail("switched"), raising=False)

    adapters.apply(((str(loras["ink"]), 0.5),))


def test_the_text_encoder_is_adapted_before_it_reads(adapters, loras):
    encoder = PromptEncoder(adapters._pipeline, adapters=adapters)
    plain = encoder.conditioning("a fox", "", False)

    adapted = encoder.conditioning("a fox", "", False, loras=((str(loras["ink"]), 1.0),))

    assert not torch.allclose(adapted.embeds, plain.embeds)
    assert encoder.conditioning("a fox", "", False) is plain
    assert torch.equal(PromptEncoder(adapters._pipeline, adapters=adapters).conditioning("a fox", "", False).embeds,
                       plain.embeds)  # fmt: skip


def test_a_lora_for_another_model_is_refused_and_leaves_no_trace(adapters, pipeline, loras, tmp_path):
    plain = predicted(adapters)
    adapters.apply(((str(loras["ink"]), 0.8),))
    inked = predicted(adapters)
    wrong = save_lora(pipeline, tmp_path / "wrong.safetensors", width=24)

    with pytest.raises(InvalidOption) as refused:
        adapters.apply(((str(wrong), 1.0),))

    assert (refused.value.problem, refused.value.value) == ("addition_broken", "wrong")
    adapters.apply(())
    assert torch.equal(predicted(adapters), plain)
    adapters.apply(((str(loras["ink"]), 0.8),))
    assert torch.equal(predicted(adapters), inked)


@pytest.mark.parametrize("content", [b"", b"no safetensors at all"])
def test_a_damaged_file_is_refused(adapters, tmp_path, content):
    (tmp_path / "bad.safetensors").write_bytes(content)

    with pytest.raises(InvalidOption):
        adapters.apply(((str(tmp_path / "bad.safetensors"), 1.0),))


def test_a_file_that_is_gone_is_refused(adapters, tmp_path):
    with pytest.raises(InvalidOption):
        adapters.apply(((str(tmp_path / "gone.safetensors"), 1.0),))


def test_only_so_many_stay_loaded(adapters, pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(adapters_module, "MOST_LOADED", 2)
    for number in range(4):
        adapters.apply(((str(save_lora(pipeline, tmp_path / f"l{number}.safetensors", number)), 1.0),))

    assert len(adapters._pipeline.get_list_adapters()["unet"]) == 2


def test_giving_them_back_leaves_the_plain_model(adapters, loras):
    plain = predicted(adapters)
    adapters.apply(((str(loras["ink"]), 0.8),))

    adapters.unload()

    assert torch.equal(predicted(adapters), plain)
    assert not adapters._pipeline.get_list_adapters()


def test_a_task_asks_for_what_its_prompt_names_and_the_core_found(loras):
    ink, film = str(loras["ink"]), str(loras["film"])
    additions = (TaskAddition("ink", "lora", ink), TaskAddition("film", "lora", film))
    prompt = "a fox <lora:film:0.5> <lora:Ink> <lora:ink:-0.2> <lora:other:1>"

    assert loras_of(make_task(prompt, additions=additions)) == tuple(sorted([(ink, 0.8), (film, 0.5)]))
    assert loras_of(make_task("a fox", additions=additions)) == ()


def test_an_unknown_family_is_said_to_be_unknown(pipeline):
    assert family_of(pipeline) == ""


# ---------------------------------------------------------------- through the engine


@pytest.fixture(scope="module")
def engine(folder):
    engine = DiffusionEngine(make_model("tiny", repo=str(folder)))
    engine.load("cpu")
    yield engine
    engine.unload()


def made(engine: DiffusionEngine, prompt: str, **overrides) -> list[numpy.ndarray]:
    """One task's pictures, in their order."""
    (pictures,) = made_together(engine, (prompt, overrides)).values()
    return pictures


def made_together(engine: DiffusionEngine, *asked) -> dict[str, list[numpy.ndarray]]:
    """By task, the pictures of each, in their order."""
    tasks = [make_task(prompt, id=f"{number}", **more) for number, (prompt, more) in enumerate(asked)]
    for task in tasks:
        engine.admit(replace(task, options=OPTIONS | dict(task.options)))
    events: list[EngineEvent] = []
    while sum(isinstance(event, Over) for event in events) < len(tasks):
        events += engine.step()
        assert not [event for event in events if isinstance(event, Failed)]
    pictures = sorted((event for event in events if isinstance(event, Made)), key=lambda event: event.picture.index)
    found: dict[str, list[numpy.ndarray]] = {task.id: [] for task in tasks}
    for event in pictures:
        found[event.task_id].append(numpy.frombuffer(event.picture.pixels, numpy.uint8).astype(int))
    return found


def test_a_prompt_with_a_lora_gives_another_picture_and_the_next_is_plain_again(engine, loras):
    additions = (TaskAddition("ink", "lora", str(loras["ink"])),)
    (plain,) = made(engine, "a fox")

    (inked,) = made(engine, "a fox <lora:ink:1>", additions=additions)
    (again,) = made(engine, "a fox")

    assert abs(inked - plain).max() > 3
    assert (again == plain).all()


def test_people_with_and_without_loras_do_not_get_each_others(engine, loras):
    additions = tuple(TaskAddition(name, "lora", str(path)) for name, path in loras.items())
    more = {"additions": additions}
    asked = [(f"a fox {tag}", more) for tag in ("", "<lora:ink:1>", "", "<lora:film:-1>", "<lora:ink:1>")]

    alone = [made(engine, prompt, **more)[0] for prompt, more in asked]
    together = made_together(engine, *asked)

    for number, picture in enumerate(alone):
        assert abs(together[str(number)][0] - picture).max() <= 1
    assert abs(alone[0] - alone[1]).max() > 3
    assert abs(alone[1] - alone[3]).max() > 3


def test_a_lora_that_does_not_fit_fails_its_own_task_and_no_other(engine, pipeline, tmp_path):
    wrong = save_lora(pipeline, tmp_path / "wrong.safetensors", width=24)
    bad = make_task("a fox <lora:wrong:1>", id="bad", additions=(TaskAddition("wrong", "lora", str(wrong)),))
    good = make_task("a fox", id="good")
    for task in (bad, good):
        engine.admit(replace(task, options=OPTIONS | dict(task.options)))
    events: list[EngineEvent] = []
    while not any(isinstance(event, Over) for event in events):
        events += engine.step()

    (failed,) = (event for event in events if isinstance(event, Failed))
    assert failed.task_id == "bad"
    assert isinstance(failed.error, InvalidOption)
    assert failed.error.value == "wrong"


def test_each_picture_is_made_from_its_own_prompt(engine):
    pictures = made(engine, "a fox", options={"count": 2, "prompts": ["a fox", "a cat"]})

    (alone,) = made(engine, "a cat", options={"seed": 8})
    assert (pictures[1] == alone).all()
