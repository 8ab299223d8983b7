"""What a job's prompts come to: styles applied, wildcards drawn, LoRAs and learned words found and checked.

Done when a job is accepted, so that what is kept, judged and told is what is drawn; the text alone, with the seed,
makes the picture again. What was typed stays beside it under `asked`, for whoever wants another one.
"""

import asyncio
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bot.errors import InvalidOption
from bot.models import ModelSpec
from bot.options import MAX_PROMPT, MAX_SEED, clean_text
from bot.ports import Addition, TaskAddition
from bot.prompts.grammar import MAX_LORA_WEIGHT, LoraTag, lora_tags, prompt_of, without_loras
from bot.prompts.styles import StyleSettings, styled, styled_negative
from bot.prompts.wildcards import WildcardFolder, drawn, has_wildcards

MOST_LORAS = 5
"""In one prompt."""
LONGEST = 2 * MAX_PROMPT
"""Characters of a prompt with its style and what was drawn."""
TYPED = ("prompt", "negative_prompt", "style")


def as_asked(options: Mapping[str, Any]) -> dict[str, Any]:
    """A job's options as they were typed: what gives another style's or another draw's picture."""
    asked: Mapping[str, Any] = options.get("asked") or {}
    return {name: value for name, value in options.items() if name not in ("asked", "prompts")} | dict(asked)


@dataclass(frozen=True, kw_only=True)
class Wording:
    """`additions` lists what is kept beside the models; it reads the disk."""

    styles: Mapping[str, StyleSettings] = field(default_factory=dict)
    wildcards: WildcardFolder = field(default_factory=WildcardFolder)
    additions: Callable[[], Sequence[Addition]] = tuple

    # ------------------------------------------------------------ when a job is accepted

    async def settled(self, options: Mapping[str, Any], model: ModelSpec, *, must_fit: bool = True) -> dict[str, Any]:
        """The options with the prompts that are drawn: `prompt`, and `prompts` when each picture has its own.

        `must_fit`: a LoRA that the model cannot take is refused, else left out.

        Raises: InvalidOption.
        """
        if "prompt" not in options:
            return dict(options)
        template, negative = self._styled(options, model)
        prompts = await asyncio.to_thread(self._drawn, template, options) if has_wildcards(template) else [template]
        if has_wildcards(negative):
            negative = await asyncio.to_thread(
                drawn, negative, options["seed"], self._negative_lines, "negative_prompt"
            )
        prompts = [await self._with_loras_that_fit(one, model, must_fit=must_fit) for one in prompts]
        _check_length(prompts, negative)
        typed = {name: options[name] for name in TYPED if name in options}
        made: dict[str, Any] = {**options, "prompt": prompts[0]}
        if "negative_prompt" in options:
            made["negative_prompt"] = negative
        made.pop("style", None)
        if len(set(prompts)) > 1:
            made["prompts"] = prompts
        if any(made.get(name, "") != value for name, value in typed.items()):
            made["asked"] = typed
        return made

    def _styled(self, options: Mapping[str, Any], model: ModelSpec) -> tuple[str, str]:
        prompt, negative = str(options["prompt"]), str(options.get("negative_prompt") or "")
        name = str(options.get("style") or "")
        if not name:
            return prompt, negative
        style = self.style(name)
        if "negative_prompt" in options and model.takes_negative:
            negative = styled_negative(style, negative)
        return clean_text(styled(style, prompt)), clean_text(negative)

    def style(self, name: str) -> StyleSettings:
        """Raises: InvalidOption."""
        folded = re.sub(r"[\s_]+", "-", name.strip().casefold())
        found = self.styles.get(folded)
        if found is None:
            near = difflib.get_close_matches(folded, self.styles, 1)
            problem, allowed = ("choice", ", ".join(self.styles)) if self.styles else ("no_styles", "")
            raise InvalidOption("style", problem, value=name, allowed=allowed, nearest=near[0] if near else "")
        return found

    def _drawn(self, template: str, options: Mapping[str, Any]) -> list[str]:
        """One prompt for each picture: picture k draws with seed + k."""
        seed, count = int(options.get("seed", 0)), int(options.get("count", 1))
        seeds = [(seed + index) % (MAX_SEED + 1) for index in range(count)]
        prompts = [clean_text(drawn(template, one, self.wildcards.lines)) for one in seeds]
        if not all(prompts):
            raise InvalidOption("prompt", "empty")
        return prompts

    def _negative_lines(self, name: str) -> Sequence[str]:
        return self.wildcards.lines(name, "negative_prompt")

    # ------------------------------------------------------------ LoRAs and learned words

    async def _with_loras_that_fit(self, prompt: str, model: ModelSpec, *, must_fit: bool) -> str:
        """The prompt, every LoRA of which is kept here and may be taken by the model. Raises: InvalidOption."""
        tags = lora_tags(prompt)
        if not tags:
            return prompt
        try:
            _check_tags(tags, await asyncio.to_thread(self._kept, "lora"), model)
            if not without_loras(prompt):
                raise InvalidOption("prompt", "empty")
        except InvalidOption:
            if must_fit:
                raise
            return without_loras(prompt)
        return prompt

    def _kept(self, kind: str) -> dict[str, Addition]:
        return {one.name.casefold(): one for one in self.additions() if one.kind == kind}

    async def additions_of(self, options: Mapping[str, Any], model: ModelSpec) -> tuple[TaskAddition, ...]:
        """What the prompts of a job name of what is kept: its LoRAs, and the learned words among its words.

        Raises: InvalidOption: a LoRA was taken away since.
        """
        if "prompt" not in options:
            return ()
        prompts = {prompt_of(options, index) for index in range(int(options.get("count", 1)))}
        return await asyncio.to_thread(self._found, prompts, str(options.get("negative_prompt") or ""), model)

    def _found(self, prompts: set[str], negative: str, model: ModelSpec) -> tuple[TaskAddition, ...]:
        tags = [tag for prompt in sorted(prompts) for tag in lora_tags(prompt)]
        loras = self._kept("lora") if tags else {}
        _check_tags(tags, loras, model, most=len(tags))
        named = {tag.name.casefold() for tag in tags}
        text = " ".join([*map(without_loras, prompts), negative])
        learned = (one for one in self._kept("inversion").values() if _fits(one, model) and _says(text, one.name))
        return tuple(
            TaskAddition(one.name.casefold(), one.kind, one.path)
            for one in (*(loras[name] for name in sorted(named)), *learned)
        )


def _check_tags(
    tags: Sequence[LoraTag], kept: Mapping[str, Addition], model: ModelSpec, *, most: int = MOST_LORAS
) -> None:
    """Raises: InvalidOption."""
    fitting = ", ".join(name for name, one in kept.items() if _fits(one, model))
    if len({tag.name.casefold() for tag in tags}) > most:
        raise InvalidOption("prompt", "loras", allowed=str(most))
    for tag in tags:
        found = kept.get(tag.name.casefold())
        if found is None:
            near = difflib.get_close_matches(tag.name.casefold(), kept, 1)
            problem = "lora" if fitting else "no_lora"
            raise InvalidOption("prompt", problem, value=tag.name, allowed=fitting, nearest=near[0] if near else "")
        if not _fits(found, model):
            raise InvalidOption("prompt", "lora_fits" if fitting else "lora_fits_not", value=tag.name, allowed=fitting)
        if tag.weight is None or abs(tag.weight) > MAX_LORA_WEIGHT:
            allowed = f"-{MAX_LORA_WEIGHT:g} to {MAX_LORA_WEIGHT:g}"
            raise InvalidOption("prompt", "lora_weight", value=tag.name, allowed=allowed)


def _fits(addition: Addition, model: ModelSpec) -> bool:
    """Whether it was made for the model's family, as far as is known: an unknown one shows when it is loaded."""
    return not addition.family or "family" not in model.form or addition.family == model.form["family"]


def _says(text: str, word: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text, re.IGNORECASE) is not None


def _check_length(prompts: Sequence[str], negative: str) -> None:
    for option, text in [*(("prompt", prompt) for prompt in prompts), ("negative_prompt", negative)]:
        if len(text) > LONGEST:
            raise InvalidOption(option, "long", value=len(text), allowed=str(LONGEST))
