"""The settings that an image's file says about itself, as a request that is accepted here.

What is beyond the limits of the model is clamped, what it does not have is left out, and each change is told.
"""

import asyncio
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard

from bot.commands import COMMANDS
from bot.commands.base import Command
from bot.errors import InvalidOption, NoModel
from bot.i18n import N_, translator
from bot.jobs import ImageRef
from bot.models import ModelRegistry, ModelSpec
from bot.options import OptionSpec
from bot.ports import MediaStore, Person, PromptAddon
from bot.prompts.addon_names import fold_name
from bot.usecases.requests import Request

OTHER_MODEL = N_("The picture was made with {value}, which is not installed here: {model} is used instead.")
CLAMPED = N_("{option} is {value} in the picture's settings: here it becomes {used}.")
CUT = N_("{option} has {value} characters in the picture's settings: the first {used} are used.")
LEFT_OUT = N_("{option} is {value} in the picture's settings, which is not possible here: it is left out.")
NO_START = N_("The picture was made from another one, with strength {value}: without that one, it is left out.")
NO_CONTROL = N_("The picture was made with a control picture ({kind}): without that one, it is left out.")
NO_REFERENCE = N_("The picture was made with a reference picture ({kind}): without that one, it is left out.")
NO_LORA = N_("The picture's prompt uses the LoRA {value}, which is not installed here for {model}: it is left out.")
_MISSING: Mapping[str, str] = {"control": NO_CONTROL, "reference": NO_REFERENCE}
_LORA_TAG = re.compile(r"\s*<(?:lora|lyco):([^:<>]{1,120})(?::[^<>]{0,40})?>", re.IGNORECASE)
_WHOLE_WORDS = re.compile(r".+(?=[\s,])", re.DOTALL)
RECALL_PERIOD = timedelta(hours=24)
"""How long after its upload a file's settings may be repeated as they are: the search stays short."""
_MAX_SHOWN = 60
_MAX_REFUSALS = 40
_WEIGHTS_SUFFIX = re.compile(r"\.(safetensors|ckpt|gguf)$")


@dataclass(frozen=True)
class RecalledSettings:
    options: Mapping[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class RecalledRequests:
    """Requests that repeat what an image of the person said about itself, as `POST /media` answered it."""

    media: MediaStore
    models: ModelRegistry
    list_addons: Callable[[], Sequence[PromptAddon]]

    async def fit(self, person: Person, request: Request, refused: InvalidOption) -> Request:
        """The refused request with settings that are possible here; the result's notes will tell what changed.

        Raises: `refused`: it repeats none of the person's images.
        """
        if request.line is not None or not request.options.get("prompt"):
            raise refused
        known = await self.media.list_parameters(person.id, datetime.now(UTC) - RECALL_PERIOD)
        repeated = next((parameters for parameters in known if _is_repeated(parameters, request)), None)
        if repeated is None:
            raise refused
        parameters = {**repeated, "command": request.command, "options": request.options, "left_out": {}}
        arguments = (parameters, self.models, self.list_addons, request.origin.locale, request.images)
        fitted = await asyncio.to_thread(fit_settings, *arguments)
        if fitted is None:
            raise refused
        origin = replace(request.origin, extra={**request.origin.extra, "notes": list(fitted.notes)})
        return replace(request, options=fitted.options, origin=origin)


def _is_repeated(parameters: Mapping[str, Any], request: Request) -> bool:
    """Whether the request has the prompt, and differs in no option that both have."""
    options = parameters.get("options") or {}
    same = request.command == parameters.get("command") and request.options["prompt"] == options.get("prompt")
    return same and all(request.options.get(name) in (None, value) for name, value in options.items())


def fit_settings(
    parameters: Mapping[str, Any],
    models: ModelRegistry,
    list_addons: Callable[[], Sequence[PromptAddon]] = list,
    locale: str = "en",
    images: Sequence[ImageRef] = (),
) -> RecalledSettings | None:
    """For a request with these images. `parameters`: as read from a file. None: no model can do what they say.

    `list_addons`: of the disk; called only for a prompt with LoRAs.
    """
    kind = COMMANDS.get(str(parameters.get("command")))
    if kind is None or kind.images_needed > len(images):
        return None
    settings = dict(parameters.get("options") or {})
    request = kind(values={}, images=tuple(images))
    model = models.default_for(request.task)
    if model is None:
        return None
    fitting = _Fitting(request, settings, model, models, list_addons, locale)
    fitting.note_absent_images(parameters.get("images") or ())
    return fitting.fit(parameters.get("left_out") or {})


@dataclass
class _Fitting:
    request: Command
    options: dict[str, Any]
    model: ModelSpec
    models: ModelRegistry
    list_addons: Callable[[], Sequence[PromptAddon]]
    locale: str
    notes: list[str] = field(default_factory=list)

    def fit(self, left_out: Mapping[str, Any]) -> RecalledSettings | None:
        for name, value in left_out.items():
            self._tell(LEFT_OUT, option=name, value=value)
        self._choose_model()
        needs_init = self.options.get("strength") is not None and not self.options.get("hires")
        if needs_init and not self.request.images_of("init"):
            self._tell(NO_START, value=self.options.pop("strength"))
        for spec in self.request.specs:
            if self.options.get(spec.name) is not None:
                self._fit_option(spec)
        self._fit_size()
        self._fit_loras()
        return self._leave_out_refused()

    def note_absent_images(self, used: Sequence[Mapping[str, Any]]) -> None:
        """`used`: the controls and references of the picture, whose files nobody has."""
        there = {(image.role, image.kind) for image in self.request.images}
        for role, kind in dict.fromkeys((str(one.get("role")), str(one.get("kind") or "")) for one in used):
            if (role, kind) not in there and role in _MISSING:
                self._tell(_MISSING[role], kind=kind or "image")

    def _tell(self, sentence: str, **values: object) -> None:
        shown = {name: str(value)[:_MAX_SHOWN] for name, value in values.items()}
        self.notes.append(translator(self.locale)(sentence).format(**shown))

    def _choose_model(self) -> None:
        wanted = str(self.options.pop("model", "") or "")
        able = [one for one in self.models if self.request.task in one.tasks]
        same = next(
            (one for one in able if _plain_name(wanted) in (_plain_name(one.name), _plain_name(one.title))), None
        )
        if wanted and same is not None:
            self.model = same
            self.options["model"] = same.name
        elif wanted:
            self._tell(OTHER_MODEL, value=wanted, model=self.model.display_name)

    def _fit_option(self, spec: OptionSpec) -> None:
        value = self.options[spec.name]
        if spec.kind is str and spec.maximum is not None and isinstance(value, str) and len(value) > spec.maximum:
            self.options[spec.name] = _cut(value, int(spec.maximum))
            self._tell(CUT, option=spec.name, value=len(value), used=len(self.options[spec.name]))
        elif spec.name == "seed" or not _is_number(value) or spec.name in ("width", "height"):
            return
        else:
            highest = self.model.max_steps if spec.name == "steps" else math.inf
            limits = (spec.minimum or 0, min(highest, math.inf if spec.maximum is None else spec.maximum))
            fitted = spec.kind(min(max(value, limits[0]), limits[1]))
            if fitted != value:
                self.options[spec.name] = fitted
                self._tell(CLAMPED, option=spec.name, value=value, used=fitted)

    def _fit_size(self) -> None:
        """The nearest size that the model supports, with nearly the same aspect."""
        sides = [side for name in ("width", "height") if _is_number(side := self.options.get(name)) and side >= 1]
        if len(sides) < 2:
            return
        width, height = sides
        fitted = list(nearest_size(self.model, width, height))
        if fitted != [width, height]:
            self.options |= {"width": fitted[0], "height": fitted[1]}
            self._tell(CLAMPED, option="size", value=f"{width}x{height}", used=f"{fitted[0]}x{fitted[1]}")

    def _fit_loras(self) -> None:
        """Without the tags of LoRAs that are not there for the model."""
        prompt = str(self.options.get("prompt", ""))
        if not _LORA_TAG.search(prompt):
            return
        family = self.model.capabilities.get("family")
        fitting = [one for one in self.list_addons() if one.kind == "lora" and family in (None, one.family or family)]
        known = {fold_name(name) for one in fitting for name in (one.name, *one.spellings)}

        def keep_known(tag: re.Match[str]) -> str:
            if fold_name(tag[1]) in known:
                return tag[0]
            self._tell(NO_LORA, value=tag[1], model=self.model.display_name)
            return ""

        self.options["prompt"] = _LORA_TAG.sub(keep_known, prompt)

    def _leave_out_refused(self) -> RecalledSettings | None:
        """What the command refuses is left out, until nothing is refused."""
        for _ in range(_MAX_REFUSALS):
            try:
                command = type(self.request).from_options(self.options, self.request.images)
                command.fill_options(self.model, 0)
            except NoModel:
                return None
            except InvalidOption as error:
                name = self._name_of(error.option)
                if name not in self.options:
                    return None
                self._tell(LEFT_OUT, option=name, value=self.options.pop(name))
                if name == "hires" and not self.request.images_of("init"):
                    self.options.pop("strength", None)  # of its second pass
            else:
                return RecalledSettings(self.options, tuple(self.notes))
        return None

    def _name_of(self, option: str) -> str:
        known = (spec.name for spec in self.request.specs if option in (spec.name, *spec.aliases))
        return next(known, option)


def nearest_size(model: ModelSpec, width: float, height: float) -> tuple[int, int]:
    """The nearest size that the model supports, with nearly the same aspect."""
    step = model.size_multiple
    lowest, highest = -(-model.min_size // step) * step, model.max_size // step * step
    scale = min(1.0, highest / max(width, height)) * max(1.0, lowest / min(width, height))
    fitted_width, fitted_height = (
        min(highest, max(lowest, round(side * scale / step) * step)) for side in (width, height)
    )
    return fitted_width, fitted_height


def _cut(text: str, length: int) -> str:
    """The beginning of a longer text, without half a word at its end where that is possible."""
    whole_words = _WHOLE_WORDS.match(text[: length + 1])
    return whole_words[0].rstrip(" ,") if whole_words else text[:length]


def _plain_name(name: str) -> str:
    """Without folders, the ending of a file and what programs spell differently."""
    name = _WEIGHTS_SUFFIX.sub("", re.split(r"[/\\]", name.casefold())[-1])
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
