"""The script "x/y/z plot" as a grid: its axes by their numbers or names, its sheets before its pictures.

Numbers above those in `_BY_NUMBER` mean different axes in different versions of AUTOMATIC1111: such an axis is named.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adapters.sdapi.answers import MadePicture, drawing_answer, read_pictures
from adapters.sdapi.call import SdCall
from adapters.sdapi.checkpoints import find_checkpoint
from adapters.sdapi.generation import Drawing
from adapters.sdapi.image_fields import encode_image
from adapters.sdapi.infotext import text_of_png
from bot.commands.grid import Grid
from bot.errors import InvalidOption
from bot.models import ModelRegistry
from bot.options import find_nearest
from bot.usecases import Request

NAME = "x/y/z plot"
_ALIASES = (NAME, "xyz plot", "xyz grid", "xyz_grid", "x/y/z grid")
_AXES = ("x", "y", "z")
_OPTIONS: Mapping[str, str] = {
    "seed": "seed",
    "var. seed": "variation_seed",
    "var. strength": "variation_strength",
    "variation seed": "variation_seed",
    "variation strength": "variation_strength",
    "steps": "steps",
    "cfg scale": "guidance_scale",
    "guidance scale": "guidance_scale",
    "image cfg scale": "image_guidance_scale",
    "prompt s/r": "prompt",
    "search and replace": "prompt",
    "sampler": "sampler",
    "schedule type": "schedule",
    "checkpoint name": "model",
    "model": "model",
    "clip skip": "clip_skip",
    "denoising": "strength",
    "denoising strength": "strength",
    "styles": "style",
    "width": "width",
    "height": "height",
    "hires upscale": "hires",
}
"""By the names of AUTOMATIC1111 and SD.Next; "Size" would be two options."""
_TITLES = (
    "Seed", "Var. seed", "Var. strength", "Steps", "CFG Scale", "Image CFG Scale", "Prompt S/R", "Sampler",
    "Schedule type", "Checkpoint name", "Clip skip", "Denoising", "Styles", "Width", "Height", "Hires upscale",
)  # fmt: skip
"""As AUTOMATIC1111 writes them, for errors."""
_SHARED = {1: "seed", 2: "var. seed", 3: "var. strength", 4: "steps"}
_BY_NUMBER: Mapping[bool, Mapping[int, str]] = {
    False: {**_SHARED, 6: "cfg scale", 7: "prompt s/r", 9: "sampler", 10: "checkpoint name", 11: "checkpoint name"},
    True: {**_SHARED, 5: "cfg scale", 6: "image cfg scale", 7: "prompt s/r", 9: "sampler", 10: "checkpoint name"},
}
"""By whether the request starts from an image. Versions differ in where "Checkpoint name" is, but in nothing else that
is here. Source: `scripts/xyz_grid.py`."""
_PARAMETER = re.compile(r"^\[[^\]]*\]\s*")
"""SD.Next writes a group before the names of axes."""
_UNSET = ("", "nothing", "none")


@dataclass(frozen=True, kw_only=True)
class Plot:
    """`axes`: by x, y and z, as `grid` has them. `with_pictures`: the answer has every picture beside the sheets."""

    axes: Mapping[str, Mapping[str, Any]]
    with_pictures: bool

    @property
    def changed(self) -> set[str]:
        """The options that differ from cell to cell."""
        return {str(axis["option"]) for axis in self.axes.values()}


def read_plot(call: SdCall, *, from_image: bool) -> Plot | None:
    """None: the request names no script. Raises: InvalidOption: there is none like it, or an axis is none of a grid."""
    name = call.fields.text("script_name").strip()
    if name.casefold() in ("", "none"):
        return None
    if name.casefold() not in _ALIASES:
        raise InvalidOption("script_name", "choice", value=name[:60], allowed=NAME)
    arguments = call.fields.items("script_args")
    models, axes = call.context.usecases.models, {}
    for number, axis in enumerate(_AXES):
        kind, values, chosen = [*arguments[3 * number : 3 * number + 3], None, None, None][:3]
        title = _axis_title(kind, from_image=from_image)
        if title:
            axes[axis] = {"option": _OPTIONS[title], "values": _read_values(title, chosen or values, models)}
    if not axes:
        raise InvalidOption("script_args", "body", allowed="it must name an axis and its values")
    if len(arguments) > 9 and arguments[9] is False:
        call.fields.note("draw_legend")
    return Plot(axes=axes, with_pictures=len(arguments) > 10 and bool(arguments[10]))


def _axis_title(kind: Any, *, from_image: bool) -> str:
    """The axis' name in lower case; "": none. Raises: InvalidOption."""
    if kind is None or kind == 0:
        return ""
    title = _BY_NUMBER[from_image].get(kind, "") if isinstance(kind, int) else str(kind)
    title = _PARAMETER.sub("", title[:60]).strip().casefold()
    if isinstance(kind, str) and title in _UNSET:
        return ""
    if title not in _OPTIONS:
        near = find_nearest(title, _TITLES) if isinstance(kind, str) else []
        raise InvalidOption(
            "script_args", "choice", value=str(kind)[:60], allowed=", ".join(_TITLES), nearest=near[0] if near else ""
        )
    return title


def _read_values(title: str, values: Any, models: ModelRegistry) -> str | Sequence[Any]:
    """Raises: InvalidOption."""
    if not isinstance(values, str | list) or not values:
        raise InvalidOption("script_args", "no_value")
    if _OPTIONS[title] != "model":
        return values
    titles = values.split(",") if isinstance(values, str) else [str(one) for one in values]
    return [find_checkpoint(models, one.strip(), "script_args").name for one in titles]


def as_plot(call: SdCall, drawing: Drawing, plot: Plot) -> Drawing:
    """The drawing as a grid, whose cells have one picture each."""
    if drawing.count > 1:
        call.fields.note("batch_size")
    options = {name: value for name, value in drawing.options.items() if name not in plot.changed or name == "prompt"}
    if "variation_seed" in plot.changed:
        options.setdefault("variation_strength", 0.5)
    return replace(drawing, command=Grid.name, options={**options, **plot.axes}, count=1, starts=drawing.starts[:1])


async def draw_plot(call: SdCall, request: Request, plot: Plot) -> dict[str, Any]:
    """Raises: like `SdCall.run`."""
    left_out = {"count", *(plot.changed & {"seed"})}
    kept = {name: value for name, value in request.options.items() if name not in left_out}
    jobs = await call.run([replace(request, options=kept)])
    batch = await call.context.usecases.grids.get_batch(call.caller.person.id, str(jobs[0].batch))
    pictures = await read_pictures(call, jobs)
    sheets = [await _read_sheet(call, pictures[0], sheet.image.id) for sheet in batch.sheets]
    shown = [*sheets, *(pictures if plot.with_pictures else [])]
    return drawing_answer(call, jobs, shown, sheets=len(sheets))


async def _read_sheet(call: SdCall, first: MadePicture, image_id: str) -> MadePicture:
    """A sheet has the settings of its first picture."""
    media = await call.context.usecases.media.convert(await call.read_image(image_id), "png")
    image = await call.context.usecases.media.get_image(call.caller.person, image_id)
    text = text_of_png(media.data) or first.infotext
    return replace(first, image=replace(image, number=first.image.number), data=encode_image(media.data), infotext=text)
