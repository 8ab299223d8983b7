"""Resolves a job's prompts: applies styles, expands wildcards, finds and checks LoRAs and textual inversions.

This happens when a job is accepted: the stored, moderated and displayed prompt is the one that is generated, and with
the seed it reproduces the image. The typed prompt is stored beside it under `asked`, for rerolls.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from bot.errors import InvalidOption
from bot.models import ModelSpec
from bot.options import MAX_LORA_WEIGHT, MAX_PROMPT, MAX_SEED, clean_text, find_nearest
from bot.ports import PromptAddon, TaskAddon
from bot.prompts.addon_names import find_spellings, fold_name
from bot.prompts.grammar import LoraTag, find_lora_tags, read_edits, task_prompts, without_tags
from bot.prompts.styles import StyleSettings, apply_negative_style, apply_style, fold_style
from bot.prompts.wildcards import WildcardFolder, WildcardReader, expand_wildcards, has_wildcards
from bot.runtime.text_worker import TextWorker

MAX_LORAS = 5
"""Per prompt."""
MAX_STEP_TEXTS = 32
"""Different texts that a prompt may have in the steps of an image; each is encoded."""
MAX_RESOLVED_PROMPT = 2 * MAX_PROMPT
"""Characters of a prompt with its style and expanded wildcards."""
MAX_STEP_CHARACTERS = 8 * MAX_RESOLVED_PROMPT
"""Of all different texts of a prompt in the steps of an image."""
MAX_REQUEST_DRAWS = 1024
"""Wildcards that are drawn for all prompts of a request."""
MAX_REQUEST_TEXT = 64 * MAX_PROMPT
"""Characters of all resolved prompts of a request."""
TYPED_OPTIONS = ("prompt", "negative_prompt", "style")


def original_prompt(options: Mapping[str, Any]) -> dict[str, Any]:
    """A job's options as they were typed, before styles and wildcards were applied."""
    typed: Mapping[str, Any] = options.get("asked") or {}
    return {name: value for name, value in options.items() if name not in ("asked", "prompts")} | dict(typed)


@dataclass(frozen=True, kw_only=True)
class PromptResolver:
    """`list_addons` returns the installed LoRAs and textual inversions; it reads the disk."""

    styles: Mapping[str, StyleSettings] = field(default_factory=dict)
    wildcards: WildcardFolder = field(default_factory=WildcardFolder)
    list_addons: Callable[[], Sequence[PromptAddon]] = tuple
    worker: TextWorker = field(default_factory=TextWorker)

    # ------------------------------------------------------------ accepting a job

    async def resolve(self, options: Mapping[str, Any], model: ModelSpec, *, must_fit: bool = True) -> dict[str, Any]:
        """`resolve_all` for a request of one job."""
        return (await self.resolve_all([options], model, must_fit=must_fit))[0]

    async def resolve_all(
        self, each: Sequence[Mapping[str, Any]], model: ModelSpec, *, must_fit: bool = True, owner: str = ""
    ) -> list[dict[str, Any]]:
        """The options of a request's jobs, with resolved prompts: `prompt`, and `prompts` if each image has its own.

        `must_fit`: a LoRA that does not fit the model is refused, else left out. `owner`: who asks.

        Raises: InvalidOption, QueueFull.
        """
        steps = self._resolve_each(each, model, must_fit)
        return await self.worker.collect(steps, owner=owner, is_light=_is_light(each))

    def _resolve_each(
        self, each: Sequence[Mapping[str, Any]], model: ModelSpec, must_fit: bool
    ) -> Iterator[dict[str, Any]]:
        wildcards, addons = self.wildcards.open(), _InstalledAddons(self.list_addons)
        length = 0
        for number, options in enumerate(each):
            resolved = self._resolve_one(options, model, wildcards, addons, must_fit)
            length += _text_length(resolved)
            if wildcards.draws > MAX_REQUEST_DRAWS or length > MAX_REQUEST_TEXT:
                raise InvalidOption("prompt", "combinations", allowed=str(number))
            yield resolved

    def _resolve_one(
        self,
        options: Mapping[str, Any],
        model: ModelSpec,
        wildcards: WildcardReader,
        addons: "_InstalledAddons",
        must_fit: bool,
    ) -> dict[str, Any]:
        if "prompt" not in options:
            return dict(options)
        template, negative = self._apply_style(options, model)
        prompts = _draw_prompts(template, options, wildcards) if has_wildcards(template) else [template]
        if has_wildcards(negative):
            negative_lines = partial(wildcards.read_lines, option="negative_prompt")
            negative = expand_wildcards(negative, options["seed"], negative_lines, "negative_prompt")
        prompts = [_check_loras(one, model, addons, must_fit=must_fit) for one in prompts]
        _check_length(prompts, negative)
        _check_edits(prompts, negative, int(options.get("steps") or model.steps))
        typed = {name: options[name] for name in TYPED_OPTIONS if name in options}
        resolved: dict[str, Any] = {**options, "prompt": prompts[0]}
        if "negative_prompt" in options:
            resolved["negative_prompt"] = negative
        resolved.pop("style", None)
        if len(set(prompts)) > 1:
            resolved["prompts"] = prompts
        if any(resolved.get(name, "") != value for name, value in typed.items()):
            resolved["asked"] = typed
        return resolved

    def _apply_style(self, options: Mapping[str, Any], model: ModelSpec) -> tuple[str, str]:
        prompt, negative = str(options["prompt"]), str(options.get("negative_prompt") or "")
        name = str(options.get("style") or "")
        if not name:
            return prompt, negative
        style = self.find_style(name)
        if "negative_prompt" in options and model.takes_negative:
            negative = apply_negative_style(style, negative)
        return clean_text(apply_style(style, prompt)), clean_text(negative)

    def find_style(self, name: str) -> StyleSettings:
        """Raises: InvalidOption."""
        folded = fold_style(name)
        found = self.styles.get(folded)
        if found is None:
            near = find_nearest(folded, self.styles)
            problem, allowed = ("choice", ", ".join(self.styles)) if self.styles else ("no_styles", "")
            raise InvalidOption("style", problem, value=name, allowed=allowed, nearest=near[0] if near else "")
        return found

    # ------------------------------------------------------------ LoRAs and textual inversions

    async def addons_used(self, options: Mapping[str, Any], model: ModelSpec) -> tuple[TaskAddon, ...]:
        """The installed LoRAs and textual inversions that a job's prompts name.

        Raises: InvalidOption: a LoRA was removed since the job was accepted.
        """
        if "prompt" not in options:
            return ()
        prompts, negative = task_prompts(options), str(options.get("negative_prompt") or "")
        return await asyncio.to_thread(self._find_addons, prompts, negative, model)

    def _find_addons(self, prompts: Sequence[str], negative: str, model: ModelSpec) -> tuple[TaskAddon, ...]:
        tags = [tag for prompt in sorted(prompts) for tag in find_lora_tags(prompt)]
        addons = _InstalledAddons(self.list_addons)
        loras = addons.loras if tags else {}
        _check_lora_tags(tags, loras, model, limit=len(tags))
        named = {fold_name(tag.name) for tag in tags}
        text = " ".join([*map(without_tags, prompts), negative])
        inversions = [
            TaskAddon(word, one.kind, one.path)
            for one in addons.inversions
            if fits_model(one, model)
            for word in find_spellings(text, (one.name, *one.spellings))
        ]
        return (*(_as_task_addon(name, loras[name]) for name in sorted(named)), *inversions)


class _InstalledAddons:
    """The LoRAs, by their folded names, and textual inversions that one request may name; listed once."""

    def __init__(self, list_addons: Callable[[], Sequence[PromptAddon]]) -> None:
        self._list_addons = list_addons

    @cached_property
    def _all(self) -> Sequence[PromptAddon]:
        return self._list_addons()

    @cached_property
    def loras(self) -> Mapping[str, PromptAddon]:
        loras = [one for one in self._all if one.kind == "lora"]
        by_spelling = {fold_name(name): one for one in loras for name in one.spellings}
        return by_spelling | {fold_name(one.name): one for one in loras}

    @cached_property
    def inversions(self) -> Sequence[PromptAddon]:
        return [one for one in self._all if one.kind == "inversion"]


def _draw_prompts(template: str, options: Mapping[str, Any], wildcards: WildcardReader) -> list[str]:
    """One prompt per image; image k draws its wildcards with seed + k."""
    seed, count = int(options.get("seed", 0)), int(options.get("count", 1))
    seeds = [(seed + index) % (MAX_SEED + 1) for index in range(count)]
    prompts = [clean_text(expand_wildcards(template, one, wildcards.read_lines)) for one in seeds]
    if not all(prompts):
        raise InvalidOption("prompt", "empty")
    return prompts


def _check_loras(prompt: str, model: ModelSpec, addons: _InstalledAddons, *, must_fit: bool) -> str:
    """The prompt, with LoRAs that are all installed and fit the model; empty where the command needs none.

    Raises: InvalidOption.
    """
    tags = find_lora_tags(prompt)
    if not tags and (not prompt or without_tags(prompt)):
        return prompt
    try:
        _check_lora_tags(tags, addons.loras, model)
        if not without_tags(prompt):
            raise InvalidOption("prompt", "empty")
    except InvalidOption:
        if must_fit:
            raise
        return without_tags(prompt)
    return prompt


def _is_light(each: Sequence[Mapping[str, Any]]) -> bool:
    """It is one prompt, with nothing to read from the disk."""
    texts = [str(options.get(name) or "") for options in each for name in ("prompt", "negative_prompt")]
    needs_files = any(has_wildcards(text) or find_lora_tags(text) for text in texts)
    return len(each) == 1 and not each[0].get("style") and not needs_files


def _text_length(resolved: Mapping[str, Any]) -> int:
    prompts = resolved.get("prompts") or [resolved.get("prompt", "")]
    return sum(map(len, prompts)) + len(resolved.get("negative_prompt", ""))


def _check_lora_tags(
    tags: Sequence[LoraTag], installed: Mapping[str, PromptAddon], model: ModelSpec, *, limit: int = MAX_LORAS
) -> None:
    """Raises: InvalidOption."""
    fitting = ", ".join(dict.fromkeys(one.name for one in installed.values() if fits_model(one, model)))
    if len({fold_name(tag.name) for tag in tags}) > limit:
        raise InvalidOption("prompt", "loras", allowed=str(limit))
    for tag in tags:
        found = installed.get(fold_name(tag.name))
        if found is None:
            near = find_nearest(fold_name(tag.name), installed)
            problem = "lora" if fitting else "no_lora"
            raise InvalidOption("prompt", problem, value=tag.name, allowed=fitting, nearest=near[0] if near else "")
        if not fits_model(found, model):
            raise InvalidOption("prompt", "lora_fits" if fitting else "lora_fits_not", value=tag.name, allowed=fitting)
        if tag.weight is None or abs(tag.weight) > MAX_LORA_WEIGHT:
            allowed = f"-{MAX_LORA_WEIGHT:g} to {MAX_LORA_WEIGHT:g}"
            raise InvalidOption("prompt", "lora_weight", value=tag.name, allowed=allowed)


def _as_task_addon(name: str, lora: PromptAddon) -> TaskAddon:
    return TaskAddon(name, lora.kind, lora.path, lora.trigger_words)


def fits_model(addon: PromptAddon, model: ModelSpec) -> bool:
    """Whether it was made for the model's family, as far as is known; loading detects the others."""
    return not addon.family or "family" not in model.capabilities or addon.family == model.capabilities["family"]


def check_resolved(options: Mapping[str, Any], model: ModelSpec) -> None:
    """Of resolved prompts that were changed since. Raises: InvalidOption: one is too long, or has too many edits."""
    prompts, negative = task_prompts(options), str(options.get("negative_prompt") or "")
    _check_length(prompts, negative)
    _check_edits(prompts, negative, int(options.get("steps") or model.steps))


def _check_edits(prompts: Sequence[str], negative: str, steps: int) -> None:
    for option, text in [*(("prompt", prompt) for prompt in dict.fromkeys(prompts)), ("negative_prompt", negative)]:
        edits = read_edits(text)
        texts = set(edits.texts_by_step(steps))
        if edits.is_too_long or len(texts) > MAX_STEP_TEXTS:
            raise InvalidOption(option, "edits", allowed=str(MAX_STEP_TEXTS))
        length = sum(map(len, texts))
        if length > MAX_STEP_CHARACTERS:
            raise InvalidOption(option, "edits_long", value=length, allowed=str(MAX_STEP_CHARACTERS))


def _check_length(prompts: Sequence[str], negative: str) -> None:
    for option, text in [*(("prompt", prompt) for prompt in prompts), ("negative_prompt", negative)]:
        if len(text) > MAX_RESOLVED_PROMPT:
            raise InvalidOption(option, "long", value=len(text), allowed=str(MAX_RESOLVED_PROMPT))
