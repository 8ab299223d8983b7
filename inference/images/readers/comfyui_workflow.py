"""ComfyUI's workflow, which is what its page shows, as the graph that it sends: some files have only the first.

A node's settings are a list there, whose names only the node's program knows. Here they are known of the built-in
nodes, and of others if the file names each.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_MAX_NODES = 2000
_LATENT, _SAMPLER = ("width", "height", "batch_size"), ("cfg", "sampler_name", "scheduler")
_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "CFGGuider": ("cfg",),
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeFlux": ("clip_l", "t5xxl", "guidance"),
    "CLIPTextEncodeSDXL": (
        "width",
        "height",
        "crop_w",
        "crop_h",
        "target_width",
        "target_height",
        "text_g",
        "text_l",
    ),
    "CheckpointLoader": ("config_name", "ckpt_name"),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "EmptyLatentImage": _LATENT,
    "EmptySD3LatentImage": _LATENT,
    "FluxGuidance": ("guidance",),
    "KSampler": ("seed", "steps", *_SAMPLER, "denoise"),
    "KSamplerAdvanced": ("add_noise", "noise_seed", "steps", *_SAMPLER),
    "KSamplerSelect": ("sampler_name",),
    "PrimitiveNode": ("value",),
    "RandomNoise": ("noise_seed",),
    "UNETLoader": ("unet_name",),
    "unCLIPCheckpointLoader": ("ckpt_name",),
}
_AFTER_A_SEED = ("fixed", "increment", "decrement", "randomize")
"""What the page does with a seed after each image: it stands in the list, early as a boolean, but is no setting."""
_MUTED, _BYPASSED = 2, 4


def graph_of(workflow: Mapping[str, Any]) -> dict[str, Any]:
    """Its nodes by id, each with `class_type` and `inputs`."""
    links = dict(_read_link(one) for one in _list(workflow.get("links")))
    nodes = [one for one in _list(workflow.get("nodes"))[:_MAX_NODES] if isinstance(one, dict)]
    return {str(one.get("id")): _read_node(one, links) for one in nodes if one.get("mode") != _MUTED}


def _read_link(link: object) -> tuple[str, list[Any]]:
    """Its id, then the node and the output that it comes from."""
    if isinstance(link, dict):
        link = [link.get("id"), link.get("origin_id"), link.get("origin_slot")]
    link = [*_list(link), None, None, None]
    return str(link[0]), [str(link[1]), link[2]]


def _read_node(node: Mapping[str, Any], links: Mapping[str, list[Any]]) -> dict[str, Any]:
    slots = [one for one in _list(node.get("inputs")) if isinstance(one, dict)]
    linked = {str(one.get("name")): links[key] for one in slots if (key := str(one.get("link"))) in links}
    if node.get("mode") == _BYPASSED:
        return {"class_type": "", "inputs": linked}
    return {"class_type": str(node.get("type")), "inputs": _settings(node, slots) | linked}


def _settings(node: Mapping[str, Any], slots: list[dict[str, Any]]) -> dict[str, Any]:
    values = node.get("widgets_values")
    if isinstance(values, dict):
        return values
    names = _SETTINGS.get(str(node.get("type")), ())
    if names:
        return _name_values(names, _list(values))[0]
    widgets = [str(one["widget"].get("name")) for one in slots if isinstance(one.get("widget"), dict)]
    settings, left = _name_values(widgets, _list(values))
    return {} if left or len(settings) < len(widgets) else settings


def _name_values(names: Sequence[str], values: Sequence[Any]) -> tuple[dict[str, Any], list[Any]]:
    """The values by name, and those that are left."""
    named: dict[str, Any] = {}
    left = list(values)
    for name in names:
        if not left:
            break
        named[name] = left.pop(0)
        if name.endswith("seed") and left and (isinstance(left[0], bool) or left[0] in _AFTER_A_SEED):
            del left[0]
    return named, left


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
