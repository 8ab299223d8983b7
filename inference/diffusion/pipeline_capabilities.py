"""What a loaded pipeline supports, as its engine reports it."""

from pathlib import Path
from typing import Any

from bot.models import IMAGE_TO_IMAGE, ModelSpec
from inference.checkpoints.resolve import model_revision
from inference.diffusion.lora import base_model_family
from inference.diffusion.pipeline_call import supported_options
from inference.diffusion.prefix_caches import max_tasks
from inference.memory.offload import weights_capability

MAX_TASKS = 16
"""Tasks in flight at the same time; the cost model decides how many of their rows share a pass."""


def describe_pipeline(model: ModelSpec, folder: Path, pipeline: Any) -> dict[str, Any]:
    """A part of `Engine.capabilities`. `folder`: of the model."""
    return {
        "options": supported_options(pipeline, has_strength=IMAGE_TO_IMAGE in model.tasks),
        "revision": model_revision(model, folder),
        "family": base_model_family(pipeline),
        "rows": min(MAX_TASKS, max_tasks(pipeline)),
        **weights_capability(pipeline),
    }
