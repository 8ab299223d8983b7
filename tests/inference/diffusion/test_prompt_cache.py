"""Prompts as the text encoders of SD and SDXL read them, on tiny models with random weights."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoPipelineForText2Image, StableDiffusionPipeline
from safetensors.torch import save_file

from bot.errors import InvalidOption
from inference.diffusion.clip_encoding import AT_ONCE, Wish, encode, encode_all, reads_weights
from inference.diffusion.prompt_cache import PromptEncoder
from inference.ipc.process import ROOT
from tests.inference.families import save_klein, save_sdxl
from tests.inference.tiny import save_diffusion

LONG = "a fox on the red background , " * 5
ROOM = 14
"""Tokens that the tiny encoders take beside their two ends."""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    return load(save_diffusion(tmp_path_factory.mktemp("models") / "sd"))


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    return load(save_sdxl(tmp_path_factory.mktemp("models") / "sdxl"))


@pytest.fixture(params=["sd", "sdxl"])
def pipeline(request):
    return request.getfixturevalue(request.param)


def load(folder: Path):
    pipeline = AutoPipelineForText2Image.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def of(pipeline, prompt: str, negative: str = "", *, wants_negative: bool = True, **more):
    return encode(pipeline, prompt, negative, wants_negative=wants_negative, **more)


def test_plain_prompts_equal_the_pipelines_own_reading_bit_for_bit(pipeline):
    for prompt, negative in [("a fox", ""), ("", "a cat"), ("a red fox on the blue cat", "red , red"), ("Fuchs", "")]:
        for wants_negative in (True, False):
            said = of(pipeline, prompt, negative, wants_negative=wants_negative)

            for ours, theirs in zip(tensors(said), own(pipeline, prompt, negative, wants_negative), strict=True):
                assert (ours is None) == (theirs is None)
                assert ours is None or torch.equal(ours, theirs)


def tensors(said):
    return said.embeds, said.negative_embeds, said.pooled, said.negative_pooled


def own(pipeline, prompt: str, negative: str, wants_negative: bool):
    asked = {"prompt": prompt, "device": "cpu", "num_images_per_prompt": 1, "negative_prompt": negative or None}
    with torch.no_grad():
        found = pipeline.encode_prompt(**asked, do_classifier_free_guidance=wants_negative)
    embeds, negative_embeds, pooled, negative_pooled = (*found, None, None)[:4]
    if wants_negative:
        return embeds, negative_embeds, pooled, negative_pooled
    return embeds, None, pooled, None


def test_several_peoples_prompts_read_at_once_are_what_each_is_alone(pipeline):
    wishes = [
        Wish(prompt="a fox", negative="", wants_negative=True),
        Wish(prompt="a (red:1.4) fox", negative="a cat", wants_negative=True),
        Wish(prompt=LONG, negative="a cat", wants_negative=True),
        Wish(prompt="a fox", negative="", wants_negative=False),
        *(Wish(prompt=f"a fox {'on ' * n}", negative="red", wants_negative=n % 2 == 0) for n in range(AT_ONCE)),
    ]
    for wish, said in zip(wishes, encode_all(pipeline, wishes), strict=True):
        alone = of(pipeline, wish.prompt, wish.negative, wants_negative=wish.wants_negative)
        for together, one in zip(tensors(said), tensors(alone), strict=True):
            assert (together is None) == (one is None)
            assert one is None or torch.allclose(together, one, atol=1e-5)


def test_what_was_read_ahead_is_not_read_again(sd, monkeypatch):
    encoder, calls = PromptEncoder(sd), []
    encoder.prepare([Wish(prompt=words, negative="", wants_negative=True) for words in ("a fox", "a cat", "a fox")])
    monkeypatch.setattr(type(sd.text_encoder), "forward", lambda *args, **kwargs: calls.append(1))

    kept = encoder.conditioning("a cat", "", True)

    assert not calls
    assert encoder.size == 2 * kept.size


def test_the_shipped_starter_reads_plain_prompts_as_before():
    pipeline = StableDiffusionPipeline.from_pretrained(ROOT / "models" / "starter-image")
    prompt = "a red fox on a purple background"

    said = of(pipeline, prompt, "blue")

    embeds, negative_embeds, _, _ = own(pipeline, prompt, "blue", wants_negative=True)
    assert torch.equal(said.embeds, embeds)
    assert torch.equal(said.negative_embeds, negative_embeds)
    assert of(pipeline, f"{prompt} " * 10).length == 3 * 32


def test_a_prompt_beyond_the_encoders_length_is_read_to_its_end(pipeline):
    length = ROOM + 2
    words = LONG.split()
    first, last = " ".join(words[:ROOM]), " ".join(words[ROOM : 2 * ROOM])

    said = of(pipeline, f"{first} {last}", "a cat")

    assert said.length == 2 * length
    assert said.negative_embeds.shape == said.embeds.shape
    torch.testing.assert_close(said.embeds[:, :length], of(pipeline, first).embeds)
    torch.testing.assert_close(said.embeds[:, length:], of(pipeline, last).embeds)
    torch.testing.assert_close(said.negative_embeds[:, length:], of(pipeline, "").embeds)


def test_a_long_negative_prompt_lengthens_the_prompt_with_nothing(pipeline):
    said = of(pipeline, "a fox", LONG)

    torch.testing.assert_close(said.embeds[:, -16:], of(pipeline, "").embeds)
    assert said.negative_embeds.shape == said.embeds.shape


def test_a_break_begins_another_chunk(pipeline):
    said = of(pipeline, "a fox BREAK a cat")

    torch.testing.assert_close(said.embeds[:, 16:], of(pipeline, "a cat").embeds)


def test_the_pooled_output_is_the_first_chunks(sdxl):
    said = of(sdxl, "a fox BREAK a cat")

    torch.testing.assert_close(said.pooled, of(sdxl, "a fox").pooled)


def test_weights_move_a_token_away_from_saying_nothing(pipeline):
    plain, nothing = of(pipeline, "a fox on").embeds, of(pipeline, "").embeds

    said = of(pipeline, "a (fox:1.5) on").embeds

    expected = plain.clone()
    expected[:, 2] = nothing[:, 2] + 1.5 * (plain[:, 2] - nothing[:, 2])
    torch.testing.assert_close(said, expected)
    assert not torch.allclose(said, plain)


def test_a_weight_of_nothing_says_nothing_there(pipeline):
    said = of(pipeline, "a (fox:0)").embeds

    torch.testing.assert_close(said[:, 2], of(pipeline, "").embeds[:, 2])


def test_negative_prompts_have_weights_too(pipeline):
    plain, weighed = of(pipeline, "a fox", "red cat"), of(pipeline, "a fox", "(red:1.4) cat")

    torch.testing.assert_close(plain.embeds, weighed.embeds)
    assert not torch.allclose(plain.negative_embeds[:, 1], weighed.negative_embeds[:, 1])


def test_half_precision_stays_half_precision(sd):
    half = load_half(sd)

    assert of(half, "a (fox:1.2)").embeds.dtype == torch.bfloat16


def load_half(sd):
    parts = {name: part for name, part in sd.components.items() if part is not None}
    encoder = type(sd.text_encoder)(sd.text_encoder.config).to(torch.bfloat16)
    return StableDiffusionPipeline(
        **parts | {"text_encoder": encoder, "safety_checker": None, "feature_extractor": None},
        requires_safety_checker=False,
    )


def test_lora_tags_are_not_read_as_words(pipeline):
    assert torch.equal(of(pipeline, "a fox <lora:ink:0.8>").embeds, of(pipeline, "a fox").embeds)


def test_only_clip_encoders_beside_a_unet_are_read_here(pipeline, tmp_path):
    assert reads_weights(pipeline)
    assert not reads_weights(load(save_klein(tmp_path / "klein")))


# ---------------------------------------------------------------- textual inversions


def save_inversion(path: Path, count: int = 2, width: int = 16, seed: int = 1) -> Path:
    vectors = torch.randn((count, width), generator=torch.Generator().manual_seed(seed))
    save_file({"emb_params": vectors}, path)
    return path


def test_a_learned_word_is_read_as_its_vectors(sd, tmp_path):
    path = save_inversion(tmp_path / "cat-toy.safetensors", count=1)
    learned = sd.text_encoder.get_input_embeddings().weight[7].detach()
    save_file({"emb_params": learned[None].clone()}, path)
    encoder = PromptEncoder(sd)

    said = encoder.conditioning("a Cat-Toy on red", "", True, inversions={"cat-toy": str(path)})

    (word,) = sd.tokenizer.convert_ids_to_tokens([7])
    torch.testing.assert_close(said.embeds, of(sd, f"a {word} on red").embeds)


def test_a_learned_word_takes_as_many_tokens_as_it_has_vectors(sd, tmp_path):
    path = save_inversion(tmp_path / "toy.safetensors", count=3)
    encoder = PromptEncoder(sd)

    said = encoder.conditioning("toy fox", "", False, inversions={"toy": str(path)}).embeds
    other = encoder.conditioning("toy cat", "", False, inversions={"toy": str(path)}).embeds

    torch.testing.assert_close(said[:, :4], other[:, :4])
    assert not torch.allclose(said[:, 4], other[:, 4])


def test_a_learned_word_is_not_found_inside_others(sd, tmp_path):
    inversions = {"fox": str(save_inversion(tmp_path / "fox.safetensors"))}

    said = PromptEncoder(sd).conditioning("foxes", "", False, inversions=inversions)

    assert torch.equal(said.embeds, of(sd, "foxes", wants_negative=False).embeds)


def test_reading_a_learned_word_leaves_the_encoder_as_it_was(sdxl, tmp_path):
    path = save_inversion(tmp_path / "toy.safetensors")
    before = of(sdxl, "a toy fox")

    PromptEncoder(sdxl).conditioning("a toy fox", "", True, inversions={"toy": str(path)})

    assert torch.equal(of(sdxl, "a toy fox").embeds, before.embeds)


def test_vectors_of_another_width_are_no_vectors_here(sd, tmp_path):
    path = save_inversion(tmp_path / "toy.safetensors", width=24)

    said = PromptEncoder(sd).conditioning("a toy", "", False, inversions={"toy": str(path)})

    assert torch.equal(said.embeds, of(sd, "a toy", wants_negative=False).embeds)


def test_a_damaged_inversion_is_refused_with_a_sentence(sd, tmp_path):
    path = tmp_path / "toy.safetensors"
    path.write_bytes(b"no safetensors")

    with pytest.raises(InvalidOption) as refused:
        PromptEncoder(sd).conditioning("a toy", "", False, inversions={"toy": str(path)})

    assert (refused.value.problem, refused.value.value) == ("addition_broken", "toy")


# ---------------------------------------------------------------- remembering


def test_the_same_words_are_read_once(sd):
    encoder = PromptEncoder(sd)

    first = encoder.conditioning("a fox", "red", True)

    assert encoder.conditioning("a fox", "red", True) is first
    assert encoder.conditioning("a fox", "", True) is not first
    assert encoder.conditioning("a fox", "red", False) is not first


def test_what_is_remembered_has_a_limit_and_the_oldest_goes_first(sd):
    one = PromptEncoder(sd).conditioning("a fox", "", False)
    encoder = PromptEncoder(sd, limit_mb=2.5 * one.size / 2**20)

    first, second = (encoder.conditioning(prompt, "", False) for prompt in ("a fox", "a cat"))
    assert encoder.conditioning("a fox", "", False) is first
    encoder.conditioning("a red", "", False)

    assert encoder.size == 2 * one.size
    assert encoder.conditioning("a fox", "", False) is first
    assert encoder.conditioning("a cat", "", False) is not second
