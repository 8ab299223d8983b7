"""ControlNet's units, as sd-webui-controlnet's API has them, as control and reference images of a request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.sdapi.fields import SdFields
from adapters.sdapi.image_fields import decode_image
from bot.errors import InvalidOption
from bot.models import CONTROL_KINDS, REFERENCE_KINDS, ModelRegistry, ModelSpec

NONE = "none"
"""The module that leaves an image as it is: it is a map already."""
MODULES: Mapping[str, str] = {
    "canny": "canny",
    "lineart": "lineart",
    "scribble": "scribble",
    "depth": "depth",
    "openpose": "pose",
    "dw_openpose": "pose",
    "pose": "pose",
    "tile": "tile",
}
"""Kinds of control by how the names of modules and models begin, or what they contain."""
_REFERENCES = ("ip-adapter", "ip_adapter")
LISTED_MODULES = (NONE, "canny", "depth", "lineart", "openpose", "scribble", "tile_resample")
"""Names that clients know, one for each kind."""
LISTED_REFERENCE = "ip-adapter"
FITS = ("stretch", "crop", "fill")
_RESIZE_MODES: Mapping[str, str] = {
    "just resize": "stretch",
    "envelope (outer fit)": "fill",
    "resize and fill": "fill",
    "scale to fit (inner fit)": "crop",
    "inner fit (scale to fit)": "crop",
    "crop and resize": "crop",
}
_NO_EFFECT = (
    "low_vram", "lowvram", "processor_res", "pixel_perfect", "hr_option", "save_detected_map", "batch_images",
    "advanced_weighting", "inpaint_crop_input_image", "union_control_type",
)  # fmt: skip
"""What concerns memory and the size of maps, which are always made at the size of the picture."""


@dataclass(frozen=True, kw_only=True)
class ControlUnit:
    """`image`: None: that of the request. `fit`: see `fit_picture_to_size`."""

    role: str
    kind: str
    image: bytes | None
    weight: float
    start: float
    end: float
    is_ready: bool
    fit: str


def read_units(arguments: Sequence[Any], models: ModelRegistry, fields: SdFields) -> list[ControlUnit]:
    """Those that are enabled. Raises: InvalidOption."""
    units = []
    for number, values in enumerate(one for one in arguments if isinstance(one, dict)):
        unit = SdFields(values, prefix=f"ControlNet {number} ")
        if unit.flag("enabled", default=True) and not _is_empty(values):
            units.append(_read_unit(unit, models))
            unit.skip(
                *_NO_EFFECT, "batch_images", "advanced_weighting", "inpaint_crop_input_image", "union_control_type"
            )
            for name in unit.name_ignored():
                fields.note(name)
    return units


def _is_empty(values: Mapping[str, Any]) -> bool:
    """A unit as clients send it that use none."""
    names = [str(values.get(name) or NONE).casefold() for name in ("module", "model")]
    return names == [NONE, NONE] and not (values.get("image") or values.get("input_image"))


def _read_unit(unit: SdFields, models: ModelRegistry) -> ControlUnit:
    module, model = unit.text("module", NONE).strip(), unit.text("model").strip()
    role, kind = find_kind(module, model, models)
    start, end = unit.number_or("guidance_start", 0.0), unit.number_or("guidance_end", 1.0)
    _note_thresholds(unit)
    if unit.raw("control_mode") not in (None, 0, "Balanced"):
        unit.note(f"ControlNet control_mode {unit.raw('control_mode')}")
    is_reference = role == "reference"
    return ControlUnit(
        role=role,
        kind=kind,
        image=_read_image(unit),
        weight=unit.number_or("weight", 1.0),
        start=0.0 if is_reference else start,
        end=1.0 if is_reference else end,
        is_ready=not is_reference and module.casefold() in ("", NONE),
        fit=read_fit(unit.raw("resize_mode")),
    )


def _note_thresholds(unit: SdFields) -> None:
    """Maps have thresholds of their own."""
    for name, usual in (("threshold_a", (64, 100)), ("threshold_b", (64, 200))):
        value = unit.number(name)
        if value not in (None, -1, 0, *usual):
            unit.note(f"ControlNet {name} {value:g}")


def _read_image(unit: SdFields) -> bytes | None:
    """In one of the fields that versions of the extension know; the latest has an object with a mask."""
    value, old = unit.raw("image"), unit.raw("input_image")
    value = value or old
    mask = unit.raw("mask") or unit.raw("mask_image")
    if isinstance(value, dict):
        mask, value = mask or value.get("mask"), value.get("image")
    if mask:
        unit.note("ControlNet mask")
    return decode_image("ControlNet image", value) if value else None


def read_fit(value: Any) -> str:
    """AUTOMATIC1111's resize mode, by its number or name, as a `fit`; crop where it is unknown."""
    if isinstance(value, str):
        return _RESIZE_MODES.get(value.casefold().removeprefix("resizemode.").replace("_", " "), "crop")
    is_known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(FITS)
    return FITS[value] if is_known else "crop"


def find_kind(module: str, model: str, models: ModelRegistry) -> tuple[str, str]:
    """The role and kind of a unit. Raises: InvalidOption: there is none like it."""
    for name, listed in list_control_models(models).items():
        if model.casefold() == name.casefold() and listed[1] in _kinds_of_module(module):
            return listed
    for text in (module, model):
        folded = text.casefold()
        if any(part in folded for part in _REFERENCES):
            return "reference", next((kind for kind in REFERENCE_KINDS if kind in f"{module} {model}".casefold()), "")
        found = next((kind for part, kind in MODULES.items() if part in folded), "")
        if found:
            return "control", found
    known = ", ".join([*LISTED_MODULES, LISTED_REFERENCE])
    raise InvalidOption(
        "ControlNet module", "choice", value=(module if model in ("", "None") else model)[:60], allowed=known
    )


def _kinds_of_module(module: str) -> Sequence[str]:
    """Which kinds go with a module; all, if it names none."""
    found = [kind for part, kind in MODULES.items() if part in module.casefold()]
    return found or [*CONTROL_KINDS, *REFERENCE_KINDS]


def list_control_models(models: ModelRegistry) -> dict[str, tuple[str, str]]:
    """Role and kind of each control and reference that an installed model has weights for, by the name of its model."""
    found: dict[str, tuple[str, str]] = {}
    for spec in models.installed():
        for kind in (*CONTROL_KINDS, *REFERENCE_KINDS):
            if spec.control_source(kind) is not None:
                role = "control" if kind in CONTROL_KINDS else "reference"
                found.setdefault(control_model_name(spec, kind), (role, kind))
    return found


def control_model_name(spec: ModelSpec, kind: str) -> str:
    """The name of the file or repo and the kind, as the same weights may serve several."""
    source = spec.control_source(kind)
    assert source is not None
    stem = (source.file or source.repo).replace("\\", "/").rsplit("/", 1)[-1].partition(".")[0]
    return stem if kind in stem else f"{stem}_{kind}"
