"""Prompt encoding and its cache, with the text encoders of SD and SDXL, on tiny models with random weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from safetensors.torch import save_file

from bot.errors import InvalidOption
from bot.ports import TaskAddon
from inference.diffusion.clip_encoding import (
    CHUNKS_PER_CALL,
    PromptRequest,
    encode_batch,
    encode_prompt,
    max_clip_skip,
    supports_prompt_weights,
)
from inference.diffusion.lora import LoraManager
from inference.diffusion.prompt_cache import PromptConditioner, PromptEncoder
from inference.ipc.environment import ROOT
from tests.inference.families import save_klein, save_sdxl
from tests.inference.support import make_task
from tests.inference.tiny import save_diffusion

LONG = "a fox on the red background , " * 5
CHUNK_SIZE = 14
"""Tokens of the tiny encoders, without start and end token."""


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
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def encode(pipeline, prompt: str, negative_prompt: str = "", *, uses_guidance: bool = True, **options):
    return encode_prompt(pipeline, prompt, negative_prompt, uses_guidance=uses_guidance, **options)


def test_plain_prompts_give_the_pipelines_own_embeddings_bit_for_bit(pipeline):
    for prompt, negative in [("a fox", ""), ("", "a cat"), ("a red fox on the blue cat", "red , red"), ("Fuchs", "")]:
        for uses_guidance in (True, False):
            encoded = encode(pipeline, prompt, negative, uses_guidance=uses_guidance)

            for ours, theirs in zip(tensors(encoded), stock(pipeline, prompt, negative, uses_guidance), strict=True):
                assert (ours is None) == (theirs is None)
                assert ours is None or torch.equal(ours, theirs)


def tensors(encoded):
    return encoded.embeds, encoded.negative_embeds, encoded.pooled, encoded.negative_pooled


def stock(pipeline, prompt: str, negative: str, uses_guidance: bool):
    """The output of the pipeline's own `encode_prompt`."""
    arguments = {"prompt": prompt, "device": "cpu", "num_images_per_prompt": 1, "negative_prompt": negative or None}
    with torch.no_grad():
        output = pipeline.encode_prompt(**arguments, do_classifier_free_guidance=uses_guidance)
    embeds, negative_embeds, pooled, negative_pooled = (*output, None, None)[:4]
    if uses_guidance:
        return embeds, negative_embeds, pooled, negative_pooled
    return embeds, None, pooled, None


def test_a_batch_of_prompts_gives_the_embeddings_of_each_alone(pipeline):
    requests = [
        PromptRequest(prompt="a fox", negative_prompt="", uses_guidance=True),
        PromptRequest(prompt="a (red:1.4) fox", negative_prompt="a cat", uses_guidance=True),
        PromptRequest(prompt=LONG, negative_prompt="a cat", uses_guidance=True),
        PromptRequest(prompt="a fox", negative_prompt="", uses_guidance=False),
        *(
            PromptRequest(prompt=f"a fox {'on ' * n}", negative_prompt="red", uses_guidance=n % 2 == 0)
            for n in range(CHUNKS_PER_CALL)
        ),
    ]
    for request, encoded in zip(requests, encode_batch(pipeline, requests), strict=True):
        alone = encode(pipeline, request.prompt, request.negative_prompt, uses_guidance=request.uses_guidance)
        for batched, one in zip(tensors(encoded), tensors(alone), strict=True):
            assert (batched is None) == (one is None)
            assert one is None or torch.allclose(batched, one, atol=1e-5)


@pytest.fixture(scope="module")
def starter():
    """Its text encoder has three layers."""
    return StableDiffusionPipeline.from_pretrained(ROOT / "models" / "starter-image")


def stock_states(pipeline, prompt: str, skip: int):
    """What Stable Diffusion's pipeline takes for this `clip_skip`, where Transformers still has its `text_model`."""
    ids = pipeline.tokenizer(
        prompt, padding="max_length", max_length=32, truncation=True, return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        states = pipeline.text_encoder(ids, output_hidden_states=True).hidden_states[-(skip + 1)]
        return pipeline.text_encoder.final_layer_norm(states)


@pytest.mark.parametrize("skip", [1, 2])
def test_a_clip_skip_takes_the_states_of_an_earlier_layer_for_the_prompt_only(starter, skip):
    encoded = encode(starter, "a red fox", "a blue car", clip_skip=skip)
    plain = encode(starter, "a red fox", "a blue car")

    assert torch.equal(encoded.embeds, stock_states(starter, "a red fox", skip))
    assert torch.equal(encoded.negative_embeds, plain.negative_embeds)
    assert not torch.equal(encoded.embeds, plain.embeds)


def test_a_clip_skip_of_sdxl_is_counted_from_its_own_layer(sdxl):
    with torch.no_grad():
        stock = sdxl.encode_prompt("a fox", device="cpu", num_images_per_prompt=1, negative_prompt="a cat", clip_skip=1)

    for ours, theirs in zip(tensors(encode(sdxl, "a fox", "a cat", clip_skip=1)), stock, strict=True):
        assert torch.equal(ours, theirs)


def test_weights_and_long_prompts_work_with_a_clip_skip(starter):
    long = "a red fox on a purple background, " * 6
    weighted, plain = (encode(starter, prompt, "", clip_skip=1) for prompt in ("a (red:1.5) fox", "a red fox"))
    empty = stock_states(starter, "", 1)

    assert encode(starter, long, clip_skip=1).token_count > 32
    assert torch.allclose(weighted.embeds[0, 2], (empty + 1.5 * (plain.embeds - empty))[0, 2], atol=2e-3)
    assert torch.equal(weighted.embeds[0, 3], plain.embeds[0, 3])


def test_a_batch_keeps_prompts_with_different_clip_skips_apart(starter):
    requests = [
        PromptRequest(prompt=prompt, negative_prompt="a fox", uses_guidance=True, clip_skip=skip)
        for prompt, skip in (("a fox", 0), ("a fox", 1), ("a car", 2), ("a car", 1), ("a (red:1.3) car", 1))
    ]
    for request, encoded in zip(requests, encode_batch(starter, requests), strict=True):
        alone = encode(starter, request.prompt, "a fox", clip_skip=request.clip_skip)
        for batched, one in zip(tensors(encoded), tensors(alone), strict=True):
            assert one is None or torch.allclose(batched, one, atol=2e-3)


def test_the_cache_keeps_clip_skips_apart(starter):
    encoder = PromptEncoder(starter)
    encoded = [encoder.encode_prompt("a fox", "", True, clip_skip=skip) for skip in (0, 1, 0)]

    assert encoded[0] is encoded[2]
    assert not torch.equal(encoded[0].embeds, encoded[1].embeds)
    assert max_clip_skip(starter) == 2


def test_warmed_up_prompts_are_not_encoded_again(sd, monkeypatch):
    encoder, calls = PromptEncoder(sd), []
    encoder.warm_up(
        [PromptRequest(prompt=prompt, negative_prompt="", uses_guidance=True) for prompt in ("a fox", "a cat", "a fox")]
    )
    monkeypatch.setattr(type(sd.text_encoder), "forward", lambda *args, **kwargs: calls.append(1))

    cached = encoder.encode_prompt("a cat", "", True)

    assert not calls
    assert encoder.nbytes == 2 * cached.nbytes


def test_the_shipped_starter_encodes_plain_prompts_like_its_pipeline(starter):
    pipeline = starter
    prompt = "a red fox on a purple background"

    encoded = encode(pipeline, prompt, "blue")

    embeds, negative_embeds, _, _ = stock(pipeline, prompt, "blue", uses_guidance=True)
    assert torch.equal(encoded.embeds, embeds)
    assert torch.equal(encoded.negative_embeds, negative_embeds)
    assert encode(pipeline, f"{prompt} " * 10).token_count == 3 * 32


def test_a_prompt_beyond_the_encoders_length_is_encoded_to_its_end(pipeline):
    length = CHUNK_SIZE + 2
    tokens = LONG.split()
    first, last = " ".join(tokens[:CHUNK_SIZE]), " ".join(tokens[CHUNK_SIZE : 2 * CHUNK_SIZE])

    encoded = encode(pipeline, f"{first} {last}", "a cat")

    assert encoded.token_count == 2 * length
    assert encoded.negative_embeds.shape == encoded.embeds.shape
    torch.testing.assert_close(encoded.embeds[:, :length], encode(pipeline, first).embeds)
    torch.testing.assert_close(encoded.embeds[:, length:], encode(pipeline, last).embeds)
    torch.testing.assert_close(encoded.negative_embeds[:, length:], encode(pipeline, "").embeds)


def test_a_long_negative_prompt_pads_the_prompt_with_empty_chunks(pipeline):
    encoded = encode(pipeline, "a fox", LONG)

    torch.testing.assert_close(encoded.embeds[:, -16:], encode(pipeline, "").embeds)
    assert encoded.negative_embeds.shape == encoded.embeds.shape


def test_a_break_starts_a_new_chunk(pipeline):
    encoded = encode(pipeline, "a fox BREAK a cat")

    torch.testing.assert_close(encoded.embeds[:, 16:], encode(pipeline, "a cat").embeds)


def test_the_pooled_output_is_the_first_chunks(sdxl):
    encoded = encode(sdxl, "a fox BREAK a cat")

    torch.testing.assert_close(encoded.pooled, encode(sdxl, "a fox").pooled)


def test_weights_extrapolate_a_token_from_the_empty_encoding(pipeline):
    plain, empty = encode(pipeline, "a fox on").embeds, encode(pipeline, "").embeds

    encoded = encode(pipeline, "a (fox:1.5) on").embeds

    expected = plain.clone()
    expected[:, 2] = empty[:, 2] + 1.5 * (plain[:, 2] - empty[:, 2])
    torch.testing.assert_close(encoded, expected)
    assert not torch.allclose(encoded, plain)


def test_a_weight_of_zero_gives_the_empty_encoding(pipeline):
    encoded = encode(pipeline, "a (fox:0)").embeds

    torch.testing.assert_close(encoded[:, 2], encode(pipeline, "").embeds[:, 2])


def test_weights_also_apply_to_negative_prompts(pipeline):
    plain, weighted = encode(pipeline, "a fox", "red cat"), encode(pipeline, "a fox", "(red:1.4) cat")

    torch.testing.assert_close(plain.embeds, weighted.embeds)
    assert not torch.allclose(plain.negative_embeds[:, 1], weighted.negative_embeds[:, 1])


def test_half_precision_stays_half_precision(sd):
    half = load_half(sd)

    assert encode(half, "a (fox:1.2)").embeds.dtype == torch.bfloat16


def load_half(sd):
    parts = {name: part for name, part in sd.components.items() if part is not None}
    encoder = type(sd.text_encoder)(sd.text_encoder.config).to(torch.bfloat16)
    return StableDiffusionPipeline(
        **parts | {"text_encoder": encoder, "safety_checker": None, "feature_extractor": None},
        requires_safety_checker=False,
    )


def test_lora_tags_are_not_encoded_as_text(pipeline):
    assert torch.equal(encode(pipeline, "a fox <lora:ink:0.8>").embeds, encode(pipeline, "a fox").embeds)


def test_only_unet_pipelines_with_clip_encoders_are_supported(pipeline, tmp_path):
    assert supports_prompt_weights(pipeline)
    assert not supports_prompt_weights(load(save_klein(tmp_path / "klein")))


# ---------------------------------------------------------------- textual inversions


def save_inversion(path: Path, count: int = 2, width: int = 16, seed: int = 1) -> Path:
    vectors = torch.randn((count, width), generator=torch.Generator().manual_seed(seed))
    save_file({"emb_params": vectors}, path)
    return path


def test_a_trigger_word_is_encoded_as_its_vectors(sd, tmp_path):
    path = save_inversion(tmp_path / "cat-toy.safetensors", count=1)
    embedding = sd.text_encoder.get_input_embeddings().weight[7].detach()
    save_file({"emb_params": embedding[None].clone()}, path)
    encoder = PromptEncoder(sd)

    encoded = encoder.encode_prompt("a Cat-Toy on red", "", True, inversions={"cat-toy": str(path)})

    (word,) = sd.tokenizer.convert_ids_to_tokens([7])
    torch.testing.assert_close(encoded.embeds, encode(sd, f"a {word} on red").embeds)


def test_a_trigger_word_takes_as_many_tokens_as_it_has_vectors(sd, tmp_path):
    path = save_inversion(tmp_path / "toy.safetensors", count=3)
    encoder = PromptEncoder(sd)

    encoded = encoder.encode_prompt("toy fox", "", False, inversions={"toy": str(path)}).embeds
    other = encoder.encode_prompt("toy cat", "", False, inversions={"toy": str(path)}).embeds

    torch.testing.assert_close(encoded[:, :4], other[:, :4])
    assert not torch.allclose(encoded[:, 4], other[:, 4])


def test_a_trigger_word_is_not_matched_inside_other_words(sd, tmp_path):
    inversions = {"fox": str(save_inversion(tmp_path / "fox.safetensors"))}

    encoded = PromptEncoder(sd).encode_prompt("foxes", "", False, inversions=inversions)

    assert torch.equal(encoded.embeds, encode(sd, "foxes", uses_guidance=False).embeds)


def test_encoding_a_trigger_word_leaves_the_encoder_unchanged(sdxl, tmp_path):
    path = save_inversion(tmp_path / "toy.safetensors")
    before = encode(sdxl, "a toy fox")

    PromptEncoder(sdxl).encode_prompt("a toy fox", "", True, inversions={"toy": str(path)})

    assert torch.equal(encode(sdxl, "a toy fox").embeds, before.embeds)


def test_vectors_of_another_width_are_ignored(sd, tmp_path):
    path = save_inversion(tmp_path / "toy.safetensors", width=24)

    encoded = PromptEncoder(sd).encode_prompt("a toy", "", False, inversions={"toy": str(path)})

    assert torch.equal(encoded.embeds, encode(sd, "a toy", uses_guidance=False).embeds)


def test_a_damaged_inversion_is_refused(sd, tmp_path):
    path = tmp_path / "toy.safetensors"
    path.write_bytes(b"no safetensors")

    with pytest.raises(InvalidOption) as refused:
        PromptEncoder(sd).encode_prompt("a toy", "", False, inversions={"toy": str(path)})

    assert (refused.value.problem, refused.value.value) == ("addition_broken", "toy")


# ---------------------------------------------------------------- the cache


def test_equal_prompts_are_encoded_once(sd):
    encoder = PromptEncoder(sd)

    first = encoder.encode_prompt("a fox", "red", True)

    assert encoder.encode_prompt("a fox", "red", True) is first
    assert encoder.encode_prompt("a fox", "", True) is not first
    assert encoder.encode_prompt("a fox", "red", False) is not first


def test_the_cache_has_a_limit_and_evicts_the_least_recently_used_first(sd):
    one = PromptEncoder(sd).encode_prompt("a fox", "", False)
    encoder = PromptEncoder(sd, limit_mb=2.5 * one.nbytes / 2**20)

    first, second = (encoder.encode_prompt(prompt, "", False) for prompt in ("a fox", "a cat"))
    assert encoder.encode_prompt("a fox", "", False) is first
    encoder.encode_prompt("a red", "", False)

    assert encoder.nbytes == 2 * one.nbytes
    assert encoder.encode_prompt("a fox", "", False) is first
    assert encoder.encode_prompt("a cat", "", False) is not second


def test_words_that_a_lora_teaches_are_no_unknown_words(sd):
    conditioner = PromptConditioner(sd, LoraManager(sd))
    options: dict[str, Any] = {"prompt": "a red zorp, a knight <lora:zorp:0.8>"}

    with_lora = make_task(**{**options, "addons": (TaskAddon("zorp", "lora", "zorp.safetensors", ("a zorp",)),)})

    assert conditioner.prompt_notes(make_task(**options), is_demo=True)[0].endswith(": zorp, knight")
    assert conditioner.prompt_notes(with_lora, is_demo=True)[0].endswith(": knight")
