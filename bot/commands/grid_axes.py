"""The axes of a grid: what each changes, and the values that it takes. Pure.

An axis is `{"option": "steps", "values": [4, 8]}`, or as text `steps=4,8`. Beside options of `imagine` and `edit`, it
may be `prompt` (the first value is searched in the prompt, the others replace it), `lora:NAME` and `control:KIND`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bot.commands.input_images import WEIGHT, check_kind
from bot.errors import InvalidOption
from bot.i18n import N_
from bot.options import MAX_LINE, MAX_LORA_WEIGHT, OptionSpec, check_bytes, clean_excerpt, find_spec
from bot.problem_texts.grid_problems import AxisRefused

AXES = ("x", "y", "z")
MAX_CELLS = 100
PROMPT = "prompt"
LORA, CONTROL = "lora:", "control:"
_LORA_WEIGHT = OptionSpec(
    name="weight", kind=float, help=N_("How much it counts"), minimum=-MAX_LORA_WEIGHT, maximum=MAX_LORA_WEIGHT
)
_NOT_IN_LORAS, _MAX_LORA = frozenset("<>:"), 120
"""Their tags in prompts are <lora:NAME:WEIGHT>."""
_FORM = re.compile(r"([^=]*[^=\s])\s*=(.*)", re.DOTALL)
_NUMBER = r"[-+]?(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})"
"""Not longer than any option needs: sums of them are finite, and no text takes long to match."""
_RANGE = re.compile(
    rf"({_NUMBER})\s*-\s*({_NUMBER})(?:\s*:\s*({_NUMBER})|\s*\(\s*([-+]?{_NUMBER})\s*\)|\s*\[\s*(\d{{1,9}})\s*\])?"
)
"""`1-5`, `4-20:4`; also as AUTOMATIC1111 writes them: `4-20 (+4)`, `1-10 [5]`."""
_ITEM = re.compile(r"\s*(?:\"([^\"]*)\"|'([^']*)'|\u201c([^\u201d]*)\u201d)\s*(?:,|$)|([^,]*)(?:,|$)")
_CLOSE = 1e-9


@dataclass(frozen=True, kw_only=True)
class Axis:
    """`name`: x, y or z. `option`: an option's name, `lora:NAME` or `control:KIND`."""

    name: str
    option: str
    values: tuple[Any, ...]

    @property
    def title(self) -> str:
        """The option as people call it: `guidance` for `guidance_scale`."""
        return _TITLES.get(self.option, self.option)

    def label(self, index: int) -> str:
        """A value in words."""
        return format_value(self.values[index])

    def describe(self, index: int) -> str:
        """`x steps=4`."""
        return f"{self.name} {self.title}={self.label(index)}"


_TITLES = {"guidance_scale": "guidance", "negative_prompt": "negative"}


@dataclass(frozen=True, kw_only=True)
class AxisSpec(OptionSpec):
    """`axis_options`: what may be an axis."""

    axis_options: tuple[OptionSpec, ...] = ()

    def parse(self, value: Any, written: str) -> dict[str, Any] | str:
        """`{"option", "values"}` with every value in its own type. Raises: InvalidOption."""
        if value == "":
            return ""
        axis = read_axis(self.name, value, self.axis_options)
        return {"option": axis.option, "values": list(axis.values)}

    def describe(self) -> dict[str, Any]:
        names = [*(spec.name for spec in self.axis_options), f"{LORA}NAME", f"{CONTROL}KIND"]
        return {**super().describe(), "type": "axis", "axis_options": names}


def format_value(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
    return str(value)


# ---------------------------------------------------------------- reading


def read_axis(name: str, value: Any, specs: Sequence[OptionSpec]) -> Axis:
    """From an object or a text; `name`: the axis. Raises: InvalidOption."""
    written, given = _split(name, value)
    option, spec = _find_option(name, written, specs)
    if isinstance(given, str):
        given = _split_values(name, given, is_number=spec.kind in (int, float))
    if not given:
        raise InvalidOption(name, "axis_values", value=written)
    if len(given) > MAX_CELLS:
        raise InvalidOption(name, "grid_cells", value=len(given), allowed=str(MAX_CELLS))
    values: list[Any] = []
    for one in given:
        parsed = _parse_value(name, written, spec, one)
        if any(parsed == other for other in values):
            raise InvalidOption(name, "axis_value_twice", value=format_value(parsed))
        values.append(parsed)
    return Axis(name=name, option=option, values=tuple(values))


def _split(name: str, value: Any) -> tuple[str, Any]:
    """The option as it is written, and its values as a text or a list."""
    if isinstance(value, str):
        check_bytes(name, value, MAX_LINE)
        found = _FORM.fullmatch(value.strip())
        if found is None:
            raise InvalidOption(name, "axis_form", value=value)
        return found[1], found[2]
    if not isinstance(value, Mapping) or set(value) != {"option", "values"} or not isinstance(value["option"], str):
        raise InvalidOption(name, "axis_object")
    values = value["values"]
    if not isinstance(values, str | list | tuple):
        raise InvalidOption(name, "axis_object")
    if isinstance(values, str):
        check_bytes(name, values, MAX_LINE)
    return value["option"].strip(), values


def _find_option(name: str, written: str, specs: Sequence[OptionSpec]) -> tuple[str, OptionSpec]:
    folded = written.casefold()
    lora = clean_excerpt(written[len(LORA) :], _MAX_LORA) if folded.startswith(LORA) else ""
    if lora and not set(lora) & _NOT_IN_LORAS:
        return LORA + lora, _LORA_WEIGHT
    if folded.startswith(CONTROL):
        try:
            return CONTROL + check_kind("control", folded[len(CONTROL) :].strip()), WEIGHT
        except InvalidOption as reason:
            raise AxisRefused(name, written, reason) from reason
    try:
        spec = find_spec(specs, written)
    except InvalidOption as reason:
        raise AxisRefused(name, written, reason) from reason
    return spec.name, replace(spec, is_required=False)


def _parse_value(name: str, written: str, spec: OptionSpec, value: Any) -> Any:
    try:
        return spec.parse(value, written)
    except InvalidOption as reason:
        is_shown = isinstance(value, str | int | float)
        place = f"{written}={format_value(value)}" if is_shown else written
        raise AxisRefused(name, place, reason) from reason


def _split_values(name: str, text: str, *, is_number: bool) -> list[str]:
    """The values of a comma list; quotes hold a value with commas together. Ranges are spelt out for numbers."""
    values: list[str] = []
    at = 0
    while at < len(text):
        item = _ITEM.match(text, at)
        assert item is not None  # it matches everything
        quoted = next((one for one in item.groups()[:3] if one is not None), None)
        plain = (item[4] or "").strip()
        if quoted is None and not plain:
            raise InvalidOption(name, "axis_empty", value=text)
        found = _RANGE.fullmatch(plain) if is_number and quoted is None else None
        values += [plain if quoted is None else quoted] if found is None else _spell_out(name, found)
        at = item.end()
    if text.rstrip().endswith(",") and not text.rstrip().endswith(('",', "',")):
        raise InvalidOption(name, "axis_empty", value=text)
    return values


def _spell_out(name: str, found: re.Match[str]) -> list[str]:
    """The numbers of a range."""
    first, last = float(found[1]), float(found[2])
    if found[5]:
        count = int(found[5])
        step = (last - first) / (count - 1) if count > 1 else 0.0
    else:
        step = abs(float(found[3] or found[4] or 1)) * (1 if last >= first else -1)
        count = int((last - first) / step + _CLOSE) + 1 if step else 0
    if not count:
        raise InvalidOption(name, "axis_form", value=found[0])
    if count > MAX_CELLS:
        raise InvalidOption(name, "grid_cells", value=count, allowed=str(MAX_CELLS))
    is_whole = all("." not in (part or "") for part in found.groups()) and not (found[5] and step % 1)
    numbers = [first + index * step for index in range(count)]
    return [str(round(number)) if is_whole else f"{number:.10g}" for number in numbers]


# ---------------------------------------------------------------- checking


def read_axes(values: Mapping[str, Any]) -> tuple[Axis, ...]:
    """The axes of a grid's parsed values, x first. Raises: InvalidOption: there is none, or two change the same."""
    axes = tuple(
        Axis(name=name, option=str(values[name]["option"]), values=tuple(values[name]["values"]))
        for name in AXES
        if values.get(name)
    )
    if not axes:
        raise InvalidOption(AXES[0], "missing")
    for index, axis in enumerate(axes):
        if any(axis.option.casefold() == other.option.casefold() for other in axes[:index]):
            raise InvalidOption(axis.name, "axis_twice", value=axis.title)
        if axis.option != PROMPT and values.get(axis.option) is not None:
            raise InvalidOption(axis.title, "axis_and_option", value=axis.name)
    return axes
