"""Programs that write their settings as a flat JSON object: Fooocus, Draw Things, SwarmUI, Civitai and Easy Diffusion.

They differ in the names of the settings, so each is a table from Easel's names to theirs.
"""

from collections.abc import Mapping
from typing import Any

from inference.images.readers.novelai import read_novelai
from inference.images.readers.values import GenerationMetadata, Names, first_of, parse_object, read_settings

_FOOOCUS: Names = {
    "prompt": ("prompt", "Prompt"),
    "negative_prompt": ("negative_prompt", "Negative Prompt", "Negative"),
    "steps": ("steps", "Steps"),
    "sampler": ("sampler", "Sampler", "sampler_name"),
    "guidance_scale": ("guidance_scale", "Guidance Scale", "cfg"),
    "seed": ("seed", "Seed"),
    "size": ("resolution", "Resolution"),
    "width": ("width",),
    "height": ("height",),
    "model": ("base_model", "Base Model", "base_model_name"),
    "schedule": ("scheduler", "Scheduler"),
    "loras": ("loras",),
    "clip_skip": ("clip_skip", "CLIP Skip"),
}
_DRAW_THINGS: Names = {
    "prompt": ("c",),
    "negative_prompt": ("uc",),
    "steps": ("steps",),
    "sampler": ("sampler",),
    "guidance_scale": ("scale",),
    "seed": ("seed",),
    "size": ("size",),
    "strength": ("strength",),
    "model": ("model",),
    "loras": ("lora",),
}
_SWARMUI: Names = {
    "prompt": ("prompt",),
    "negative_prompt": ("negativeprompt",),
    "steps": ("steps",),
    "sampler": ("sampler", "comfyuisampler"),
    "schedule": ("scheduler", "comfyuischeduler"),
    "variation_seed": ("variationseed",),
    "variation_strength": ("variationseedstrength",),
    "tiling": ("seamlesstileable",),
    "loras": ("loras",),
    "lora_weights": ("loraweights",),
    "guidance_scale": ("cfgscale",),
    "seed": ("seed",),
    "width": ("width",),
    "height": ("height",),
    "model": ("model",),
}
_CIVITAI: Names = {
    "prompt": ("prompt",),
    "negative_prompt": ("negativePrompt", "negative_prompt"),
    "steps": ("steps",),
    "sampler": ("sampler",),
    "guidance_scale": ("cfgScale", "cfg_scale"),
    "clip_skip": ("clipSkip", "clip_skip"),
    "seed": ("seed",),
    "width": ("width",),
    "height": ("height",),
}
_EASY_DIFFUSION: Names = {
    "prompt": ("prompt", "Prompt"),
    "negative_prompt": ("negative_prompt", "Negative Prompt"),
    "steps": ("num_inference_steps", "Steps"),
    "sampler": ("sampler_name", "Sampler"),
    "guidance_scale": ("guidance_scale", "Guidance Scale"),
    "seed": ("seed", "Seed"),
    "width": ("width", "Width"),
    "height": ("height", "Height"),
    "strength": ("prompt_strength", "Prompt Strength"),
    "model": ("use_stable_diffusion_model", "Stable Diffusion model"),
}


def read_json_settings(data: Mapping[str, Any]) -> GenerationMetadata | None:
    """The settings in a JSON object of any known program; None if no program is recognised."""
    civitai = parse_object(data.get("extraMetadata")) or data.get("extraMetadata")
    if isinstance(civitai, dict) and civitai.get("prompt"):
        return read_settings("civitai", civitai, _CIVITAI)
    swarm = data.get("sui_image_params")
    if isinstance(swarm, dict):
        return read_settings("swarmui", swarm, _SWARMUI)
    if isinstance(data.get("Comment"), str):  # NovelAI's chunks, as it writes them into EXIF and into the alpha channel
        return read_novelai(data)
    if isinstance(data.get("c"), str) and ("uc" in data or "sampler" in data):
        return _read_draw_things(data)
    if first_of(data, _FOOOCUS["prompt"]) is not None and first_of(data, _FOOOCUS["model"]) is not None:
        return read_settings("fooocus", data, _FOOOCUS)
    return read_easy_diffusion(data)


def read_easy_diffusion(data: Mapping[str, Any]) -> GenerationMetadata | None:
    """`data`: a JSON object, or the chunks of a PNG, each with one setting."""
    names = (*_EASY_DIFFUSION["model"], "num_inference_steps")
    is_its_own = first_of(data, names) is not None and isinstance(first_of(data, _EASY_DIFFUSION["prompt"]), str)
    return read_settings("easy_diffusion", data, _EASY_DIFFUSION) if is_its_own else None


def _read_draw_things(data: Mapping[str, Any]) -> GenerationMetadata:
    metadata = read_settings("draw_things", data, _DRAW_THINGS)
    if metadata["options"].get("strength") == 1:  # it is written without an image to start from as well
        del metadata["options"]["strength"]
    return metadata
