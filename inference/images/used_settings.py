"""What an image was made with beside its usual settings: in A1111's names, and as Easel's JSON.

A1111 and its extensions write these names: hires fix, variation seeds, clip skip, tiling and schedule type its own;
"CFG rescale" is SD.Next's, "ControlNet N" that of sd-webui-controlnet. No input image is named: it may be private.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bot.commands.refine_tiles import REFINE
from bot.ports import Task, TaskImage
from bot.samplers import SCHEDULE_TYPES

HIRES_UPSCALER = "Lanczos"
CONTROL = "ControlNet {number}"
_ADAPTER_MODULES: Mapping[str, str] = {"style": "ip-adapter-style", "subject": "ip-adapter"}
_USED_ROLES = ("control", "reference")


def row_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of these options, those that A1111's text has, in its order."""
    hires, variation = options.get("hires"), options.get("variation_strength")
    refined = options.get("method") == REFINE
    settings = {
        "Schedule type": SCHEDULE_TYPES.get(str(options.get("schedule"))),
        "Variation seed": options.get("variation_seed") if variation else None,
        "Variation seed strength": variation or None,
        "CFG rescale": options.get("guidance_rescale") or None,
        "Clip skip": options["clip_skip"] if options.get("clip_skip", 1) > 1 else None,
        "Inpaint area": "Only masked" if options.get("inpaint_area") == "masked" else None,
        "Tiling": True if options.get("tiling") else None,
        "Hires upscale": hires,
        "Hires steps": options.get("steps") if hires else None,
        "Hires upscaler": HIRES_UPSCALER if hires else None,
        "Postprocess upscale by": options.get("scale") if refined else None,
        "Postprocess upscaler": options.get("model") if refined else None,
    }
    return {name: value for name, value in settings.items() if value is not None}


def control_settings(task: Task) -> dict[str, str]:
    """A line for each control, and for each reference through an IP-Adapter, as sd-webui-controlnet writes them."""
    used = [image for image in task.images if image.role == "control"]
    if not task.model.takes_references:
        references = (image for image in task.images if image.role == "reference")
        adapter_kind = task.model.adapter_kind
        used += [replace(image, kind=kind) for image in references if (kind := adapter_kind(image.kind))]
    return {CONTROL.format(number=number): _control_line(task, image) for number, image in enumerate(used)}


def used_images(images: Sequence[TaskImage]) -> list[dict[str, Any]]:
    """The controls and references, without the pictures themselves."""
    return [
        {"role": image.role, "kind": image.kind, "weight": image.weight, "start": image.start, "end": image.end}
        for image in images
        if image.role in _USED_ROLES
    ]


def _control_line(task: Task, image: TaskImage) -> str:
    source = task.model.control_source(image.kind)
    model = (source.file or source.repo).replace("\\", "/").rsplit("/", 1)[-1].partition(".")[0] if source else "None"
    fields = {
        "Module": image.kind if image.role == "control" else _ADAPTER_MODULES.get(image.kind, "ip-adapter"),
        "Model": model,
        "Weight": image.weight,
        "Guidance Start": image.start,
        "Guidance End": image.end,
        "Control Mode": "Balanced",
    }
    return ", ".join(f"{name}: {value}" for name, value in fields.items())
