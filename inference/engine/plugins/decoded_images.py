"""Lets plugins change finished images of any engine, before they are checked."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bot.plugins.worker_facts import ImageFacts
from inference.engine.plugins.plugin_host import PluginHost
from inference.engine.plugins.plugin_loading import PluginMistake
from inference.ipc.messages import RawImage

if TYPE_CHECKING:
    import numpy

AFTER_DECODE = "easel_after_decode"


def change_decoded(plugins: PluginHost, task_id: str, image: RawImage) -> RawImage:
    """The image as the plugins that apply to its task have changed it. Maps, masks and cutouts stay as they are."""
    facts = plugins.facts_of(task_id)
    is_picture = image.is_generated or bool(image.postprocess)
    if facts is None or facts.is_part or not is_picture or not plugins.has_hook(task_id, AFTER_DECODE):
        return image
    import numpy

    of_image = ImageFacts(task=facts, index=image.index, seed=image.seed)
    whole = numpy.frombuffer(image.pixels, numpy.uint8).reshape(image.height, image.width, -1)
    pixels, changed = plugins.change(
        task_id,
        AFTER_DECODE,
        whole[..., :3],
        _check,
        lambda value: {"image": of_image, "pixels": numpy.array(value)},
    )
    if not changed:
        return image
    with_alpha = numpy.concatenate([pixels, whole[..., 3:]], axis=2)
    return replace(image, pixels=with_alpha.tobytes())


def _check(pixels: "numpy.ndarray", returned: Any) -> "numpy.ndarray":
    import numpy

    if not isinstance(returned, numpy.ndarray):
        raise PluginMistake(f"{AFTER_DECODE} must return a numpy.ndarray or None, not {type(returned).__name__}.")
    if returned.dtype != numpy.uint8 or returned.shape != pixels.shape:
        raise PluginMistake(
            f"{AFTER_DECODE} returned {returned.dtype} {returned.shape}, but the image is uint8 {pixels.shape}."
        )
    return returned
