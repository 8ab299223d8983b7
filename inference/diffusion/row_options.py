"""Options of single images: CFG rescale, clip skip, sigma schedules, variation seeds, seamless tiling.

Each image is a pipeline of its own, so images with different options still share passes; only tiling has its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bot.errors import InvalidOption
from bot.models import IMAGE_TO_IMAGE, ModelSpec
from bot.ports import Task
from inference.diffusion.hires import wants_hires
from inference.diffusion.loader import call_parameters
from inference.diffusion.pipeline_run import PipelineRun, PipelineRunner, RunExtension, sampler_name
from inference.diffusion.pipeline_variants import FROM_IMAGE
from inference.diffusion.prompt_cache import PromptConditioner, skipped_layers
from inference.diffusion.tiling import is_tileable
from inference.diffusion.variation import mix_variation

_VARIATION = ("variation_seed", "variation_strength")


class RowOptions(RunExtension):
    def __init__(self, model: ModelSpec, runner: PipelineRunner, conditioner: PromptConditioner) -> None:
        self._model = model
        self._runner = runner
        self._conditioner = conditioner

    def capabilities(self) -> Mapping[str, Any]:
        """`image_options`: of `row_options`, those that work where an image is started from too; `clip_skip`: its
        highest value."""
        own = self._supported(self._runner.pipelines[""])
        from_image = own
        if IMAGE_TO_IMAGE in self._model.tasks:
            is_unet = hasattr(self._runner.pipelines[""], "unet")  # the others take the same options everywhere
            from_image = self._supported(self._runner.variant(FROM_IMAGE)) if is_unet else own
            own, from_image = [*own, "hires"], [*from_image, "hires"]
        return {
            "row_options": own,
            "image_options": from_image,
            "schedules": self._runner.samplers.schedules,
            "clip_skip": self._conditioner.max_clip_skip + 1,
        }

    def check_task(self, task: Task) -> Sequence[str]:
        options = task.options
        self._runner.samplers.resolve_name(sampler_name(task), str(options.get("schedule", "")))
        supported = set(self._supported(self._runner.pipeline_for(task)))
        if wants_hires(task):
            if IMAGE_TO_IMAGE not in self._model.tasks:
                raise InvalidOption("hires", "model_lacks", value=self._model.name)
            supported &= set(self._supported(self._runner.variant(FROM_IMAGE)))
        for name in ("clip_skip", "tiling", "guidance_rescale", *_VARIATION):
            if options.get(name) and name not in supported and not _is_neutral(name, options[name]):
                raise InvalidOption(name, "model_lacks", value=self._model.name)
        highest = self._conditioner.max_clip_skip
        if skipped_layers(task) > highest:
            raise InvalidOption("clip_skip", "range", value=options["clip_skip"], allowed=f"1 to {highest + 1}")
        return ()

    def prepare(self, run: PipelineRun) -> None:
        rescale = float(run.task.options.get("guidance_rescale", 0))
        if rescale:
            run.arguments["guidance_rescale"] = rescale
        run.is_tiled = bool(run.task.options.get("tiling"))
        mix_variation(run)

    def _supported(self, pipeline: Any) -> list[str]:
        """Easel's names of the options of rows that a pipeline supports."""
        supported = {
            "guidance_rescale": "guidance_rescale" in call_parameters(pipeline),
            "clip_skip": self._conditioner.max_clip_skip > 0,
            "tiling": is_tileable(getattr(pipeline, "unet", None)),
            "schedule": any(self._runner.samplers.schedules.values()),
            **dict.fromkeys(_VARIATION, hasattr(pipeline, "prepare_latents")),
        }
        return [name for name, is_supported in supported.items() if is_supported]


def _is_neutral(name: str, value: Any) -> bool:
    """Whether the option changes nothing."""
    return name == "clip_skip" and value == 1
