"""Prompts that change between steps: each image equals a loop written out over the stock pipeline's components."""

import inspect
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import save_file

from bot.error_texts import EDITS_UNREAD, READ_AS_WORDS, TAGS_LEFT_OUT, WEIGHTS_CAPPED
from bot.jobs import Media
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.ports import TaskImage
from inference.diffusion.clip_encoding import encode_prompt
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.lora import LoraManager
from inference.diffusion.prompt_cache import PromptConditioner, PromptEncoder, StepPrompts
from inference.diffusion.samplers import Samplers
from inference.engine.base import TaskFailed
from tests.inference.families import save_sdxl
from tests.inference.support import make_model, make_task, png
from tests.inference.tiny import save_diffusion, save_editor

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
STEPS, SIZE = 4, 32
GUIDANCE = 7.5
CHANGING = {
    "edited": ("a [fox:cat:0.5] on red", ["a fox on red"] * 2 + ["a cat on red"] * 2),
    "at half": ("a [fox:cat:0.5]", ["a fox"] * 2 + ["a cat"] * 2),
    "at step": ("a [fox:cat:1]", ["a fox"] + ["a cat"] * 3),
    "added": ("a fox[: on blue:0.75]", ["a fox"] * 3 + ["a fox on blue"]),
    "removed": ("a fox[ on blue::0.25]", ["a fox on blue"] + ["a fox"] * 3),
    "alternating": ("a [fox|cat|red fox]", ["a fox", "a cat", "a red fox", "a fox"]),
    "nested": ("a [[fox|cat]:blue:3]", ["a fox", "a cat", "a fox", "a blue"]),
    "plain": ("a fox on blue", ["a fox on blue"] * STEPS),
}
"""Prompts, and the texts of their steps."""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


class Peer:
    """The engine, and the stock pipeline of the same folder."""

    def __init__(self, folder, *tasks: str) -> None:
        self.model = make_model("tiny", tasks=tasks, repo=str(folder), dtype="float32")
        self.engine = DiffusionEngine(self.model)
        self.engine.load_model("cpu")
        self.stock = DiffusionPipeline.from_pretrained(folder)
        self.samplers = Samplers(self.stock.scheduler)
        self.encode = cache(self._encode_step)

    def task(self, prompt: str, name: str, **options: Any):
        defaults = {"negative_prompt": "", "seed": 1, "count": 1, "steps": STEPS, "guidance_scale": GUIDANCE}
        size = {"width": SIZE, "height": SIZE, "sampler": ""}
        return make_task(prompt, id=name, fairness_key=name, model=self.model, options=defaults | size | options)

    def run(self, tasks) -> dict[str, torch.Tensor]:
        """All of them together: their last latents by name. Every denoiser call could share each pass."""
        for task in tasks:
            self.engine.add_task(task)
        sequences = {name: running.sequences[0] for name, running in self.engine._tasks.items()}
        while self.engine._tasks:
            assert not any(isinstance(event, TaskFailed) for event in self.engine.step())
            assert len({sequence.batch_key for sequence in self.engine._step_loop._sequences}) <= 1
        return {name: sequence.latents for name, sequence in sequences.items()}

    @torch.no_grad()
    def write_out(self, prompts, negatives, *, sampler="", guidance=GUIDANCE, seed=1) -> torch.Tensor:
        """The loop of one image with these prompts by step: its last latents."""
        stock, scheduler = self.stock, self.samplers.create_scheduler(sampler)
        scheduler.set_timesteps(STEPS)
        generator = torch.Generator().manual_seed(seed)
        cells = SIZE // stock.vae_scale_factor
        latents = torch.randn((1, 4, cells, cells), generator=generator) * scheduler.init_noise_sigma
        accepts_generator = "generator" in inspect.signature(scheduler.step).parameters
        extra = {"generator": generator} if accepts_generator else {}
        for number, timestep in enumerate(scheduler.timesteps):
            step = min(number // scheduler.order, STEPS - 1)
            embeds, conditions = self.encode(prompts[step], negatives[step], guidance > 1)
            rows = scheduler.scale_model_input(torch.cat([latents] * len(embeds)), timestep)
            noise = stock.unet(rows, timestep, encoder_hidden_states=embeds, added_cond_kwargs=conditions).sample
            if guidance > 1:
                negative, positive = noise.chunk(2)
                noise = negative + guidance * (positive - negative)
            latents = scheduler.step(noise, timestep, latents, **extra).prev_sample
        return latents

    def _encode_step(self, prompt: str, negative: str, uses_guidance: bool):
        """The pipeline's own encoding of one step, as rows of a denoiser call."""
        outputs = self.stock.encode_prompt(
            prompt=prompt, negative_prompt=negative, device="cpu", num_images_per_prompt=1,
            do_classifier_free_guidance=uses_guidance,
        )  # fmt: skip
        positive, other, pooled, other_pooled = (*outputs, None, None)[:4]
        embeds = torch.cat([other, positive]) if uses_guidance else positive
        if pooled is None:
            return embeds, None
        times = self.stock._get_add_time_ids((SIZE, SIZE), (0, 0), (SIZE, SIZE), embeds.dtype, pooled.shape[-1])
        texts = torch.cat([other_pooled, pooled]) if uses_guidance else pooled
        return embeds, {"text_embeds": texts, "time_ids": times.repeat(len(texts), 1)}


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    return Peer(save_diffusion(tmp_path_factory.mktemp("models") / "sd"), TEXT_TO_IMAGE, IMAGE_TO_IMAGE)


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    return Peer(save_sdxl(tmp_path_factory.mktemp("models") / "sdxl"), TEXT_TO_IMAGE)


def are_equal(latents, other) -> bool:
    return float((latents - other).abs().max()) <= 1e-5 * float(other.abs().max())


@pytest.mark.parametrize(
    ("family", "names"), [("sd", tuple(CHANGING)), ("sdxl", ("edited", "alternating", "plain"))], ids=["sd", "sdxl"]
)
def test_prompts_that_change_between_steps_equal_the_written_out_loop_beside_plain_ones(family, names, request):
    peer = request.getfixturevalue(family)
    seeds = {name: number for number, name in enumerate(names)}
    options = {"negative_prompt": "a [red:blue:0.5] cat"}
    negatives = ["a red cat"] * 2 + ["a blue cat"] * 2

    latents = peer.run([peer.task(CHANGING[name][0], name, seed=seeds[name], **options) for name in names])

    for name in names:
        assert are_equal(latents[name], peer.write_out(CHANGING[name][1], negatives, seed=seeds[name])), name
    other = peer.write_out(["a fox on red"] * 3 + ["a cat on red"], negatives, seed=seeds["edited"])
    assert not are_equal(latents["edited"], other)


@pytest.mark.parametrize("sampler", ["euler_a", "heun", "pndm"])
def test_a_step_is_a_persons_step_whatever_the_sampler_makes_of_it(sd, sampler):
    prompt, prompts = CHANGING["edited"]

    latents = sd.run([sd.task(prompt, "edited", sampler=sampler), sd.task("a fox", "plain", sampler=sampler)])

    assert are_equal(latents["edited"], sd.write_out(prompts, [""] * STEPS, sampler=sampler))


def test_from_an_image_steps_count_from_the_first_one_that_is_made(sd):
    photo = TaskImage("init", Media(png(Image.new("RGB", (SIZE, SIZE), "teal")), "image/png"))
    prompts = {"never": "a [fox:cat:2]", "fox": "a fox", "second": "a [fox:cat:1]"}
    tasks = [sd.task(prompt, name, strength=0.5) for name, prompt in prompts.items()]

    latents = sd.run([replace(task, task=IMAGE_TO_IMAGE, images=(photo,)) for task in tasks])

    assert are_equal(latents["never"], latents["fox"])
    assert not are_equal(latents["second"], latents["fox"])


def test_without_guidance_only_the_prompt_changes(sdxl):
    prompt, prompts = CHANGING["alternating"]

    latents = sdxl.run([sdxl.task(prompt, "one", guidance_scale=1.0, negative_prompt="[red|blue]")])

    assert are_equal(latents["one"], sdxl.write_out(prompts, [""] * STEPS, guidance=1.0))


def test_texts_of_different_lengths_share_one_length_and_equal_prompts_are_encoded_once(sdxl):
    long = "red " * 20
    prompts = StepPrompts.of(f"a fox[: {long}:0.5]", "a [cat|]", STEPS, uses_guidance=True)
    conditioner = PromptConditioner(sdxl.engine._pipelines[""], sdxl.engine._conditioner.loras)

    by_step = conditioner._encoder.encode_steps(prompts)

    assert {embeds.token_count for embeds in by_step} == {32}
    assert by_step[0].embeds is by_step[1].embeds
    assert by_step[0].negative_embeds is by_step[2].negative_embeds
    assert not torch.equal(by_step[0].pooled, by_step[2].pooled)
    assert by_step[1].negative_embeds.any(), "a negative prompt that is empty in one step is no absent one"


def test_an_inversion_may_be_a_choice(sd, tmp_path):
    path = tmp_path / "toy.safetensors"
    save_file({"emb_params": torch.randn((3, 16))}, path)
    encoder = PromptEncoder(sd.stock)
    prompts = StepPrompts.of("a [toy|cat]", "", 2, uses_guidance=True)

    by_step = encoder.encode_steps(prompts, inversions={"toy": str(path)})

    for embeds, prompt in zip(by_step, ("a toy", "a cat"), strict=True):
        alone = PromptEncoder(sd.stock).encode_prompt(prompt, "", True, inversions={"toy": str(path)})
        assert torch.equal(embeds.embeds, alone.embeds)


def test_an_edit_of_an_image_with_two_guidances_equals_the_stock_pipeline_with_swapped_embeddings(tmp_path):
    peer = Peer(save_editor(tmp_path / "editor"), IMAGE_TEXT_TO_IMAGE)
    image = Image.new("RGB", (SIZE, SIZE), "teal")
    photo = TaskImage("init", Media(png(image), "image/png"))
    task = peer.task("a [fox:cat:0.5]", "one", negative_prompt="[red|blue]")

    latents = peer.run([replace(task, command="edit", task=IMAGE_TEXT_TO_IMAGE, images=(photo,))])["one"]

    prompts = zip(CHANGING["at half"][1], ["red", "blue"] * 2, strict=True)
    by_step = [encode_prompt(peer.stock, prompt, negative, uses_guidance=True) for prompt, negative in prompts]

    def swap(_pipeline, step, _timestep, _tensors):
        embeds = by_step[min(step + 1, STEPS - 1)]
        return {"prompt_embeds": torch.cat([embeds.embeds, *[embeds.negative_embeds] * 2])}

    expected = peer.stock(
        **by_step[0].pipeline_arguments(), image=image, num_inference_steps=STEPS, guidance_scale=GUIDANCE,
        generator=torch.Generator().manual_seed(1), output_type="latent", callback_on_step_end=swap,
    ).images  # fmt: skip
    assert are_equal(latents, expected)


# ---------------------------------------------------------------- what is not read says so


@pytest.mark.parametrize(
    ("prompt", "negative", "notes"),
    [
        ("a [fox:cat:0.5] (red:-1)", "[red|blue]", []),
        ("a [fox:cat:0,5] AND (red:1,3)", "", [READ_AS_WORDS.format(words="[fox:cat:0,5], (red:1,3), AND")]),
        ("A FOX AND A CAT", "red and blue", []),
        ("a fox", "(red:9)", [READ_AS_WORDS.format(words="(red:9)")]),
        ("a <hypernet:ink:1> fox <lora::1>", "", [TAGS_LEFT_OUT.format(words="<hypernet:ink:1>, <lora::1>")]),
        ("a fox", "<lora:ink:1> red", [TAGS_LEFT_OUT.format(words="<lora:ink:1>")]),
        ("((a fox:4):4)", "", [WEIGHTS_CAPPED]),
    ],
)
def test_a_note_says_what_was_read_as_words(sd, prompt, negative, notes):
    task = sd.task(prompt, "job", negative_prompt=negative)

    assert list(sd.engine._conditioner.prompt_notes(task, is_demo=False)) == notes


def test_the_notes_are_about_the_prompts_of_all_images(sd):
    """With wildcards, each image has its own."""
    task = sd.task("a fox", "job", count=3, prompts=["a fox", "a <x:1> cat", "a (red:1,3) cat"])

    notes = sd.engine._conditioner.prompt_notes(task, is_demo=False)

    assert notes == (READ_AS_WORDS.format(words="(red:1,3)"), TAGS_LEFT_OUT.format(words="<x:1>"))


def test_a_family_without_prompt_editing_reads_all_choices_and_says_so():
    pipeline = SimpleNamespace()
    conditioner = PromptConditioner(pipeline, LoraManager(pipeline))
    task = make_task("a [fox:cat:0.5] on [red|blue]", options={"negative_prompt": "", "guidance_scale": 1.0})

    conditioning = conditioner.conditioning_for(task, 0)

    assert conditioning.arguments["prompt"] == "a fox cat on red blue"
    assert not conditioning.by_step
    assert conditioner.prompt_notes(task, is_demo=False) == (EDITS_UNREAD.format(words="[fox:cat:0.5], [red|blue]"),)
