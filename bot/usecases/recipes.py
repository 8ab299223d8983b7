"""What it takes to repeat a job: its words as they were typed, its images, and the options that are not the defaults.

What its model's defaults give today is left out, so that repeating a job freezes none of them.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bot.commands import COMMANDS, Command
from bot.commands.edit import adapt_to_model
from bot.errors import MediaNotFound, UserError
from bot.i18n import N_, translator
from bot.jobs import ImageRef, Job, StoredImage
from bot.models import ModelRegistry
from bot.ports import JobStore, MediaStore, Person, PromptAddon
from bot.prompts.addon_names import fold_name
from bot.prompts.grammar import find_lora_tags
from bot.prompts.resolver import original_prompt
from bot.prompts.styles import fold_style
from bot.usecases.job_images import picture_at
from bot.usecases.recalled import fit_settings

GIVEN = "given"
"""Where the origin of a job keeps the options that were given for it."""
NO_IMAGE = N_("An image of this job ({role}) is deleted: choose another, or repeat the job without it.")
NO_STYLE = N_("The style {value} is no longer configured: it is left out.")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Attributes:
    words: the typed texts, with the style by its name.
    options: all that repeats the job, its seed included, and nothing that the defaults give.
    given: names of the options that were given; of a job that is older than this record, those that differ.
    defaults: the other options, with the values that the job had.
    images: with whether each is still there.
    seeds: that of each picture; None: the picture is deleted.
    notes: what cannot be repeated.
    """

    job: Job
    words: Mapping[str, Any]
    options: Mapping[str, Any]
    given: Sequence[str]
    defaults: Mapping[str, Any]
    images: Sequence[tuple[ImageRef, bool]]
    seeds: Sequence[int | None]
    notes: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class RecipeUseCases:
    """`list_addons` reads the disk."""

    store: JobStore
    media: MediaStore
    models: ModelRegistry
    list_addons: Callable[[], Sequence[PromptAddon]]
    styles: Sequence[str]

    async def read_recipe(self, person: Person, job_id: str, *, picture: int = 0, locale: str = "en") -> Recipe:
        """Of a job of the person's own, or of one of its pictures alone. Raises: JobNotFound."""
        job = await self.store.get_job(job_id, person.id)
        stored = [await self._find_image(image.id, person) for image in job.images]
        writer = _RecipeWriter(job, stored, picture, self.models, self.list_addons, self.styles, locale)
        return await asyncio.to_thread(writer.write)

    async def _find_image(self, media_id: str, person: Person) -> StoredImage | None:
        try:
            return await self.media.get_image(media_id, person.id)
        except MediaNotFound:
            return None


@dataclass
class _RecipeWriter:
    job: Job
    stored: Sequence[StoredImage | None]
    picture: int
    models: ModelRegistry
    list_addons: Callable[[], Sequence[PromptAddon]]
    styles: Sequence[str]
    locale: str
    notes: list[str] = field(default_factory=list)

    def write(self) -> Recipe:
        kind = COMMANDS.get(self.job.command)
        typed, words, given = self._read_typed(kind)
        options = {**words, **given}
        if kind is not None:
            options |= self._find_changed(kind, options, typed)
            options = self._leave_out_impossible(kind, options)
        words = {name: value for name, value in words.items() if name in options}
        known = self._stated if self._stated is not None else options
        names = [name for name in typed if name in known or name in words]
        return Recipe(
            job=self.job,
            words=words,
            options=options | self._seed_of_picture(typed),
            given=[*names, *(name for name in known if name not in typed)],
            defaults={name: value for name, value in typed.items() if name not in names},
            images=[(image, one is not None) for image, one in zip(self.job.images, self.stored, strict=True)],
            seeds=self._seeds(typed),
            notes=self.notes,
        )

    @property
    def _stated(self) -> Mapping[str, Any] | None:
        """What the person gave; None: the job is older than this record, or repeats another."""
        stated = self.job.origin.extra.get(GIVEN)
        return stated if isinstance(stated, dict) else None

    def _read_typed(self, kind: type[Command] | None) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """The job's options before styles and wildcards; of these the words; and the other given ones."""
        specs = kind.specs if kind is not None else ()
        names = {spec.name for spec in specs}
        typed = {name: value for name, value in original_prompt(self.job.options).items() if value not in (None, "")}
        typed = {name: value for name, value in typed.items() if not names or name in names}
        texts = {"negative_prompt", "style", *(spec.name for spec in specs if spec.is_main)}
        stated = self._stated
        words = {name: typed[name] for name in typed if name in texts and (stated is None or name in stated)}
        if "style" in words:
            words["style"] = fold_style(str(words["style"]))
        others = {name: value for name, value in (stated or {}).items() if name in names - texts - {"seed"}}
        if self.picture:
            others = _without(others, "count", "best")
        return typed, words, others

    def _find_changed(
        self, kind: type[Command], options: Mapping[str, Any], typed: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What today's defaults do not give; all that is typed if that cannot be known."""
        try:
            filled = self._fill(kind, options)
            if typed.get("model") not in (None, filled["model"]):
                options = {**options, "model": typed["model"]}
                filled = self._fill(kind, options)
        except UserError:
            return {} if self._stated is not None else _without(typed, "seed", "asked")
        kept = {name: value for name, value in options.items() if name == "model"}
        skipped = {"seed", "prompt", "negative_prompt", "style", *(("count", "best") if self.picture else ())}
        names = (spec.name for spec in kind.specs if spec.name in typed and spec.name not in skipped)
        changed = {name: typed[name] for name in names if typed[name] != filled.get(name)}
        return kept | changed

    def _fill(self, kind: type[Command], options: Mapping[str, Any]) -> dict[str, Any]:
        """Every option as it would be filled in today. Raises: UserError."""
        command = kind.from_options(options, self.job.images, is_album=True)
        pictures = [one for one in self.stored if one is not None]
        aspect = None
        if len(pictures) == len(command.images):
            command = command.with_images(pictures)
            aspect = command.choose_aspect(pictures)
        model = command.choose_model(self.models)
        return adapt_to_model(command.for_model(model), model).fill_options(model, 0, aspect)

    # ------------------------------------------------------------ what is no longer possible

    def _leave_out_impossible(self, kind: type[Command], options: dict[str, Any]) -> dict[str, Any]:
        """Without what has gone since: images, a model, a style, LoRAs."""
        if options.keys() & {"width", "height"}:
            options = _without(options, "size", "aspect")
        style = str(options.get("style") or "")
        if style and style not in self.styles:
            self._tell(NO_STYLE, value=style)
            options = _without(options, "style")
        for image, one in zip(self.job.images, self.stored, strict=True):
            if one is None:
                self._tell(NO_IMAGE, role=image.role)
        left = self._images_left()
        if len(left) == len(self.job.images) and self._is_possible(kind, options):
            return options
        settings = {"command": kind.name, "options": options}
        fitted = fit_settings(settings, self.models, self.list_addons, self.locale, left)
        if fitted is None:
            return options
        self.notes += fitted.notes
        return dict(fitted.options)

    def _images_left(self) -> tuple[ImageRef, ...]:
        """A mask is none without what it masks."""
        left = [image for image, one in zip(self.job.images, self.stored, strict=True) if one is not None]
        has_picture = any(image.role != "mask" for image in left)
        return tuple(left) if has_picture else ()

    def _is_possible(self, kind: type[Command], options: Mapping[str, Any]) -> bool:
        try:
            self._fill(kind, options)
        except UserError:
            return False
        tags = find_lora_tags(str(options.get("prompt") or ""))
        if not tags:
            return True
        known = {fold_name(name) for one in self.list_addons() for name in (one.name, *one.spellings)}
        return all(fold_name(tag.name) in known for tag in tags)

    def _tell(self, sentence: str, **values: object) -> None:
        self.notes.append(translator(self.locale)(sentence).format(**values))

    # ------------------------------------------------------------ seeds

    def _seeds(self, typed: Mapping[str, Any]) -> list[int | None]:
        result, seed = self.job.result, typed.get("seed")
        if result is not None and result.media:
            numbers = range(1, result.places + 1)
            return [result.seed_of(number) if result.find_picture(number) else None for number in numbers]
        return [] if seed is None else [int(seed) + index for index in range(int(typed.get("count", 1)))]

    def _seed_of_picture(self, typed: Mapping[str, Any]) -> dict[str, Any]:
        seed = typed.get("seed")
        if self.picture and picture_at(self.job, self.picture) is not None and self.job.result is not None:
            seed = self.job.result.seed_of(self.picture)
        return {} if seed is None else {"seed": seed}


def _without(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}
