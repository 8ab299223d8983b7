"""The options of a picture that refers to one of an earlier job."""

from collections.abc import Mapping, Sequence
from typing import Any

from bot.commands import Imagine
from bot.commands.defaults import repeat_options
from bot.commands.imagine_options import DRAWING
from bot.commands.references import can_refer
from bot.jobs import ImageRef, Job
from bot.models import TEXT_TO_IMAGE, ModelRegistry

_OWN = frozenset({"prompt", "seed", "count", "best", "strength"})
"""What the new picture has of its own."""


def reference_options(
    job: Job, images: Sequence[ImageRef], given: Mapping[str, Any], models: ModelRegistry
) -> Mapping[str, Any]:
    """The given options, then those of the job that fit; its model too, if it can use the reference.

    Raises: InvalidOption.
    """
    own_model = models.get(job.model)
    left_out = _OWN if own_model is not None and can_refer(own_model, images, TEXT_TO_IMAGE) else _OWN | {"model"}
    names = {spec.name for spec in DRAWING} - left_out
    defaults = {name: value for name, value in job.options.items() if name in names}
    return repeat_options(Imagine, given, defaults, images, models)
