"""What programs keep beside the prompt: LoRAs become tags, and what has no counterpart here is named, never dropped."""

import json

import pytest

from bot.models import ModelRegistry
from bot.samplers import find_missing_schedule
from bot.usecases.recalled import fit_settings
from inference.images.metadata_reader import parse_generation_metadata
from tests.fakes import make_model

A1111 = "a cat <lora:ink:0.5>\nSteps: 20, Sampler: {sampler}, CFG scale: 7, Seed: 42, Size: 512x768, Model: m{more}"
INVOKEAI = {
    "generation_mode": "sdxl_txt2img", "positive_prompt": "a cat", "negative_prompt": "dog", "width": 1024,
    "height": 768, "seed": 42, "cfg_scale": 5.5, "steps": 30, "scheduler": "dpmpp_2m_sde_k",
    "model": {"key": "f1", "hash": "blake3:aa", "name": "Juggernaut XL v9", "base": "sdxl", "type": "main"},
    "loras": [{"model": {"key": "aa", "name": "add-detail-xl", "base": "sdxl", "type": "lora"}, "weight": 0.75}],
    "vae": {"key": "bb", "name": "sdxl-vae-fp16-fix"}, "refiner_model": None, "app_version": "5.6.0",
}  # fmt: skip
INVOKEAI_3 = INVOKEAI | {"loras": [{"lora": {"model_name": "add-detail-xl", "base_model": "sdxl"}, "weight": 0.75}]}
COMFYUI = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 42, "steps": 20, "cfg": 8, "sampler_name": "dpmpp_2m",
          "scheduler": "karras", "denoise": 1, "model": ["11", 0], "positive": ["6", 0], "negative": ["7", 0],
          "latent_image": ["5", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5-pruned-emaonly.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["11", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "dog", "clip": ["11", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
    "10": {"class_type": "LoraLoader", "inputs": {"lora_name": "styles\\ink.safetensors", "strength_model": 0.8,
           "strength_clip": 1, "model": ["4", 0], "clip": ["4", 1]}},
    "11": {"class_type": "LoraLoaderModelOnly", "inputs": {"lora_name": "fur.safetensors", "strength_model": 1,
           "model": ["10", 0]}},
}  # fmt: skip
ODD_LORAS = [1, None, {}, {"model": {"name": "<x:y>"}, "weight": "9"}]
FOOOCUS = {"prompt": "a cat", "base_model": "m", "loras": [["sd_xl_offset.safetensors", 0.1, "hash"], ["None", 1.0]]}
SWARMUI = {"sui_image_params": {"prompt": "a cat", "seed": 42, "loras": ["dir/ink"], "loraweights": ["0.6"]}}
DRAW_THINGS = {"c": "a cat", "uc": "", "sampler": "Euler A", "lora": [{"file": "ink.ckpt", "weight": 0.3}]}


def read(texts):
    return parse_generation_metadata({name: one if isinstance(one, str) else json.dumps(one) for name, one in texts})


@pytest.mark.parametrize(
    ("chunk", "data", "tags"),
    [
        ("invokeai_metadata", INVOKEAI, "<lora:add-detail-xl:0.75>"),
        ("invokeai_metadata", INVOKEAI_3, "<lora:add-detail-xl:0.75>"),
        ("prompt", COMFYUI, "<lora:ink:0.8> <lora:fur:1>"),
        ("parameters", FOOOCUS, "<lora:sd_xl_offset:0.1>"),
        ("parameters", SWARMUI, "<lora:ink:0.6>"),
        ("parameters", DRAW_THINGS, "<lora:ink:0.3>"),
        ("invokeai_metadata", INVOKEAI | {"loras": ODD_LORAS}, "<lora:x y:1>"),
        ("invokeai_metadata", INVOKEAI | {"loras": "ink", "positive_prompt": "a cat"}, ""),
    ],
)  # fmt: skip
def test_loras_become_tags_of_the_prompt(chunk, data, tags):
    assert read([(chunk, data)])["options"]["prompt"] == f"a cat {tags}".strip()


def test_a_lora_that_the_prompt_names_is_not_named_twice():
    data = INVOKEAI | {"positive_prompt": "a cat <lora:Add-Detail-XL:0.5>"}

    assert read([("invokeai_metadata", data)])["options"]["prompt"] == "a cat <lora:Add-Detail-XL:0.5>"


def test_more_loras_than_a_prompt_may_have_are_named():
    loras = [{"model": {"name": f"l{number}"}, "weight": 1} for number in range(7)]

    metadata = read([("invokeai_metadata", INVOKEAI | {"loras": loras})])

    assert metadata["options"]["prompt"].count("<lora:") == 5
    assert metadata["left_out"]["LoRAs"] == "l5, l6"


@pytest.mark.parametrize(
    ("sampler", "more", "schedule", "left_out"),
    [
        ("DPM++ 2M", ", Schedule type: Karras", "karras", {}),
        ("DPM++ 2M Karras", "", "karras", {}),
        ("Euler a", ", Schedule type: Automatic", None, {}),
        ("Euler", ", Schedule type: Uniform", None, {}),
        ("Euler", ", Schedule type: Align Your Steps", None, {"schedule": "Align Your Steps"}),
        ("DPM++ 2M AYS", "", None, {"schedule": "ays"}),
        ("Euler", ", Schedule type: Turbo, VAE: a.pt", None, {"schedule": "Turbo", "VAE": "a.pt"}),
        ("Euler", ", Refiner: xl [1], ADetailer model: face.pt", None,
         {"Refiner": "xl [1]", "ADetailer model": "face.pt"}),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_named(sampler, more, schedule, left_out):
    metadata = read([("parameters", A1111.format(sampler=sampler, more=more))])

    assert metadata["options"].get("schedule") == schedule
    assert metadata.get("left_out", {}) == left_out


@pytest.mark.parametrize("name", ["normal", "simple", "sgm_uniform", "ddim_uniform", "beta", ""])
def test_schedules_of_comfyui_that_are_known_are_not_missing(name):
    assert not find_missing_schedule("euler", name)


def test_a_file_of_another_program_becomes_a_request_that_is_possible_here():
    small = make_model(min_size=64, max_size=256, width=128, height=128, samplers=("ddim", "dpmpp_2m_sde"))

    fitted = fit_settings(read([("invokeai_metadata", INVOKEAI)]), ModelRegistry({small.name: small}))

    assert fitted.options == {
        "prompt": "a cat", "negative_prompt": "dog", "steps": 30, "sampler": "dpmpp_2m_sde", "schedule": "karras",
        "guidance_scale": 5.5, "seed": 42, "width": 256, "height": 192,
    }  # fmt: skip
    said = " ".join(fitted.notes)
    for word in ("sdxl-vae-fp16-fix", "Juggernaut XL v9", "1024x768", "256x192", "add-detail-xl"):
        assert word in said
