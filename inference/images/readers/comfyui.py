"""ComfyUI's graph of nodes: the first sampler on the way to the saved image, and what its inputs come from.

A node is known by its inputs rather than by its class, since thousands of custom classes imitate the built-in ones.
"""

import re
from typing import Any

from inference.images.readers.comfyui_graph import Graph, Node, is_link
from inference.images.readers.values import (
    GenerationMetadata,
    control_of,
    guidance_of,
    imagine_request,
    number_of,
    text_of,
)

_POSITIVE = ("positive", "conditioning", "cond1", "text_embeds")
_NEGATIVE = ("negative", "text_embeds")
_OUTPUTS = ("save", "preview", "output")
_PASSES_LATENT = ("latent_image", "latent", "samples", "latents", "pixels", "image")
_PASSES_MODEL = ("model", "model_opt", "unet", "guider")
_MODEL_NAMES = ("ckpt_name", "unet_name", "base_ckpt_name", "model_name", "checkpoint")
_MAX_SAMPLERS = 50
_BOTH = -1
"""The output of a node that passes both prompts on together."""


def read_comfyui(data: object) -> GenerationMetadata | None:
    """`data`: the JSON of the chunk `prompt`, or of a request to ComfyUI. None if it has no sampler."""
    sent = data.get("prompt") if isinstance(data, dict) else None
    graph = Graph(sent if isinstance(sent, dict) and "inputs" not in sent else data)
    sampler = _find_sampler(graph)
    if sampler is None:
        return None
    guider = graph.source_of(sampler.inputs.get("guider")) or sampler
    positive = _first_of(guider, _POSITIVE)
    sigmas = graph.source_of(sampler.inputs.get("sigmas")) or sampler
    strength = number_of(graph.value_of(sigmas, ("denoise",)), 0, 1)
    settings: dict[str, Any] = {
        "prompt": _prompt(graph, guider, positive, is_negative=False),
        "negative_prompt": _prompt(graph, guider, _first_of(guider, _NEGATIVE), is_negative=True),
        "steps": graph.value_of(sigmas, ("steps",), passes=("sigmas",)),
        "sampler": _sampler_name(graph, sampler),
        "schedule": graph.value_of(sigmas, ("scheduler",)),
        "guidance_scale": _guidance(graph, sampler, guider, positive),
        "seed": _seed(graph, sampler),
        "strength": None if strength == 1 else strength,
        "model": graph.search(
            guider.inputs.get("model") or sampler.inputs.get("model"), _MODEL_NAMES, passes=_PASSES_MODEL
        ),
    }
    return imagine_request("comfyui", settings | _size(graph, sampler) | _row_settings(graph, sampler, guider))


def _row_settings(graph: Graph, sampler: Node, guider: Node) -> dict[str, Any]:
    """Of nodes of one purpose each: CLIPSetLastLayer, RescaleCFG and those that apply ControlNets."""
    nodes = graph.upstream_of([sampler, guider])
    layers = [number_of(node.inputs.get("stop_at_clip_layer"), -50, -1) for node in nodes]
    layer = next((one for one in layers if one is not None), None)
    rescales = [node.inputs.get("multiplier") for node in nodes if node.kind == "RescaleCFG"]
    images = []
    for node in nodes:
        loader = graph.source_of(node.inputs.get("control_net"))
        if loader is None or "strength" not in node.inputs:
            continue
        names = (loader.inputs.get("control_net_name"), loader.inputs.get("type"))
        images.append(
            {
                **control_of(" ".join(name for name in names if isinstance(name, str))),
                "weight": node.inputs["strength"],
                "start": node.inputs.get("start_percent"),
                "end": node.inputs.get("end_percent"),
            }
        )
    return {
        "clip_skip": None if layer is None else -int(layer),
        "guidance_rescale": next(iter(rescales), None),
        "images": images,
        "loras": [
            [node.inputs["lora_name"], node.inputs.get("strength_model", 1)]
            for node in reversed(nodes)
            if isinstance(node.inputs.get("lora_name"), str) and "model" in node.inputs
        ],
    }


def _find_sampler(graph: Graph) -> Node | None:
    """The one that starts the image: upstream of a saved image, with no other sampler upstream of its latent."""
    outputs = [node for node in graph.nodes.values() if node.kind.casefold().startswith(_OUTPUTS)]
    reached = graph.upstream_of(outputs) if outputs else []
    samplers = [node for node in reached if _is_sampler(node)]
    samplers = samplers or [node for node in graph.nodes.values() if _is_sampler(node)]
    for sampler in samplers[:_MAX_SAMPLERS]:
        latent = graph.source_of(_first_of(sampler, _PASSES_LATENT))
        if latent is None or not any(_is_sampler(node) for node in graph.upstream_of([latent])):
            return sampler
    return samplers[0] if samplers else None


def _is_sampler(node: Node) -> bool:
    """Not the nodes that only name one, such as KSamplerSelect, nor those that repair faces in a finished image."""
    return "sampler" in node.kind.casefold() and any(name in node.inputs for name in (*_POSITIVE, "guider", "pipe"))


def _first_of(node: Node, names: tuple[str, ...]) -> Any:
    return next((node.inputs[name] for name in names if node.inputs.get(name) not in (None, "")), None)


def _prompt(graph: Graph, guider: Node, link: Any, *, is_negative: bool) -> str:
    """The text behind a conditioning; without one, that of a node which holds both prompts for a pipe of nodes."""
    if link is not None:
        link = [link[0], _BOTH] if "text_embeds" in guider.inputs and is_link(link) else link
        return graph.conditioning_text(link, is_negative=is_negative) if is_link(link) else text_of(link)
    role = "negative" if is_negative else "positive"
    if any(name in guider.inputs for name in _POSITIVE):
        return ""
    return next((one for node in graph.upstream_of([guider]) if isinstance(one := node.inputs.get(role), str)), "")


def _sampler_name(graph: Graph, sampler: Node) -> Any:
    selected = graph.source_of(sampler.inputs.get("sampler"))
    name = graph.value_of(selected or sampler, ("sampler_name", "sampler", "scheduler"))
    if isinstance(name, str) or selected is None:
        return name
    kind = selected.kind.removeprefix("Sampler")  # SamplerEulerAncestral, SamplerDPMPP_2M_SDE
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind)


def _seed(graph: Graph, sampler: Node) -> Any:
    noise = graph.source_of(sampler.inputs.get("noise")) or sampler
    return graph.value_of(noise, ("seed", "noise_seed"))


def _guidance(graph: Graph, sampler: Node, guider: Node, positive: Any) -> Any:
    cfg = graph.value_of(guider, ("cfg", "guidance"))
    cfg = graph.value_of(sampler, ("cfg",)) if cfg is None else cfg
    return guidance_of(cfg, graph.search(positive, ("guidance",), passes=("conditioning", "positive")))


def _size(graph: Graph, sampler: Node) -> dict[str, Any]:
    latent = _first_of(sampler, _PASSES_LATENT)
    names = ("width", "empty_latent_width", "resolution")
    node = graph.find(latent, names, passes=_PASSES_LATENT)
    if node is None:
        return {}
    return {
        "width": graph.value_of(node, ("width", "empty_latent_width")),
        "height": graph.value_of(node, ("height", "empty_latent_height")),
        "size": node.inputs.get("resolution"),
    }
