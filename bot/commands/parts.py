"""The tasks of other models that a job needs beside its own, for its price. Pure.

`bot.queue.task_runner` runs them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.commands.base import Command
from bot.commands.best_of import best_of, count_finished, count_judged, require_judge
from bot.commands.control_maps import MAP_TASKS, choose_map_model, kinds_to_map
from bot.commands.detail_words import check_details, detail_units
from bot.commands.outpainting import Outpaint
from bot.commands.prompt_enhancing import MAX_ENHANCED_TOKENS, count_prompts, require_enhancer
from bot.commands.refine_tiles import MAX_CAPTIONED_TILES, REFINE, plan_refinement
from bot.commands.region_words import choose_segmenter
from bot.commands.upscale import Upscale, enlarging_model, enlarging_units
from bot.models import IMAGE_TASKS, IMAGE_TO_TEXT, ModelRegistry, ModelSpec


@dataclass(frozen=True, kw_only=True)
class Part:
    """`units`: see `Command.work_units`."""

    model: ModelSpec
    units: tuple[int, float, int]


def parts_of(command: Command, options: Mapping[str, Any], models: ModelRegistry) -> list[Part]:
    """Raises: NoModel: no installed model can do what an option or an image asks for; InvalidOption."""
    return [
        *_region_parts(command, options, models),
        *_map_parts(command, models),
        *_detail_parts(command, options, models),
        *_refine_parts(command, options, models),
        *_caption_parts(command, options, models),
        *_enhancing_parts(options, models),
        *_judging_parts(command, options, models),
    ]


def _region_parts(command: Command, options: Mapping[str, Any], models: ModelRegistry) -> list[Part]:
    """A pass of the model that finds the region by its words."""
    if command.task not in IMAGE_TASKS or not options.get("region"):
        return []
    return [Part(model=choose_segmenter(models, command.name), units=(1, 0.0, 1))]


def _refine_parts(command: Command, options: Mapping[str, Any], models: ModelRegistry) -> list[Part]:
    """The upscaling model that enlarges what is refined, and the captions of its tiles."""
    model = models.get(str(options.get("model")))
    if command.name != Upscale.name or options.get("method") != REFINE or model is None:
        return []
    upscaler, captioner = enlarging_model(models, model), captioning_model(models, model)
    enlarged = [] if upscaler is None else [Part(model=upscaler, units=enlarging_units(options))]
    plan = plan_refinement(options, model)
    count = len(plan.boxes) if plan is not None else 0
    if captioner is None or model.demo or not 0 < count <= MAX_CAPTIONED_TILES:
        return enlarged
    return [*enlarged, *[Part(model=captioner, units=(captioner.max_new_tokens, 0.0, 1))] * count]


def _caption_parts(command: Command, options: Mapping[str, Any], models: ModelRegistry) -> list[Part]:
    """What is painted around a picture is asked for by its caption, where there is no prompt."""
    model = models.get(str(options.get("model")))
    if not isinstance(command, Outpaint) or options.get("prompt") or model is None:
        return []
    captioner = captioning_model(models, model)
    return [Part(model=captioner, units=(captioner.max_new_tokens, 0.0, 1))] if captioner is not None else []


def _enhancing_parts(options: Mapping[str, Any], models: ModelRegistry) -> list[Part]:
    """A text for each different prompt."""
    if not options.get("enhance"):
        return []
    part = Part(model=require_enhancer(models), units=(MAX_ENHANCED_TOKENS, 0.0, 1))
    return [part] * count_prompts(options)


def captioning_model(models: ModelRegistry, maker: ModelSpec) -> ModelSpec | None:
    """The model that says what parts of a picture show; None: there is none. A demo only knows what demos draw."""
    model = models.default_for(IMAGE_TO_TEXT)
    return None if model is None or (model.demo and not maker.demo) else model


def _detail_parts(command: Command, options: Mapping[str, Any], models: ModelRegistry) -> list[Part]:
    """For each word and picture a pass of the model that finds it, and a detail of the model that makes the picture."""
    model = models.get(str(options.get("model")))
    words = len(check_details(options, model)) if model is not None else 0
    if model is None or not words:
        return []
    pictures = count_finished(options, int(options.get("steps", 1)))
    found = [Part(model=choose_segmenter(models, command.name), units=(1, 0.0, 1))] * (words * pictures)
    return [*found, Part(model=model, units=detail_units({**options, "count": pictures}, words))]


def _judging_parts(command: Command, options: Mapping[str, Any], models: ModelRegistry) -> list[Part]:
    """A pass for all pictures that are compared, each time."""
    maker = models.get(str(options.get("model")))
    if maker is None or not best_of(options):
        return []
    judge = require_judge(models, maker, command.images, command.name)
    judged = count_judged(options, int(options.get("steps", 1)))
    return [Part(model=judge, units=(pictures, 0.0, 1)) for pictures in judged]


def _map_parts(command: Command, models: ModelRegistry) -> list[Part]:
    """A pass of a model for each control image of which it makes the map."""
    kinds = [kind for kind in kinds_to_map(command.images) if kind in MAP_TASKS]
    return [Part(model=choose_map_model(kind, models, command.name), units=(1, 0.0, 1)) for kind in kinds]
