"""Turns a request into jobs: checks it, chooses its model, fills in its options and prices it. Writes nothing."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bot.commands import Ask, Command, Grid, Imagine, Upscale, find_command
from bot.commands.control_maps import check_map_shapes
from bot.commands.defaults import SIZES, apply_defaults
from bot.commands.edit import adapt_to_model
from bot.commands.grid_axes import MAX_CELLS
from bot.commands.inpainting import note_repainting
from bot.commands.parts import parts_of
from bot.error_texts import format_note
from bot.errors import InvalidOption
from bot.jobs import Job, Origin, new_job_id
from bot.models import ModelRegistry, ModelSpec
from bot.options import MAX_SEED
from bot.ports import JobStore, MediaStore, NewJob, People, Person
from bot.ports.batches import NewBatch
from bot.prompts.combinations import expand_combinations
from bot.prompts.resolver import PromptResolver
from bot.queue.pricing import Rates, estimate_s, price
from bot.usecases.adapters import AdapterUseCases
from bot.usecases.grid_planning import GridPlanner
from bot.usecases.job_images import images_of_job, seen_from
from bot.usecases.mask_check import MaskCheck
from bot.usecases.moderation import Moderation
from bot.usecases.plugin_requests import ChangedRequest, PluginRequests
from bot.usecases.recalled import RecalledRequests
from bot.usecases.recipes import GIVEN
from bot.usecases.requests import Request
from bot.usecases.webhook_events import check_webhook


@dataclass(frozen=True)
class Plan:
    """`batch`: of a grid; jobs of a prompt's combinations have a batch without more."""

    jobs: list[NewJob]
    batch: NewBatch | None = None


@dataclass(kw_only=True)
class RequestPlanner:
    """`max_cells`: of a grid."""

    store: JobStore
    media: MediaStore
    people: People
    models: ModelRegistry
    rates: Rates
    moderation: Moderation
    prompt_resolver: PromptResolver
    recalled: RecalledRequests
    mask_check: MaskCheck | None = None
    adapters: AdapterUseCases | None = None
    webhooks: Collection[str] = ()
    plugins: PluginRequests | None = None

    max_cells: int = MAX_CELLS

    async def plan(self, person: Person, request: Request) -> Plan:
        """The jobs of the request. What a file of the person says about itself is fitted where it would be refused."""
        check_webhook(request, self.webhooks)
        if self.plugins is not None:
            request = await self.plugins.expand(person, request)
        if find_command(request.command) is Grid:
            return Plan(*await GridPlanner(self._plan_as_changed, self.max_cells).plan(person, request))
        try:
            return Plan(await self._plan_as_changed(person, request))
        except InvalidOption as refused:
            return Plan(await self._plan_as_changed(person, await self.recalled.fit(person, request, refused)))

    async def _plan_as_changed(self, person: Person, request: Request, seed: int | None = None) -> list[NewJob]:
        """As plugins change the request, unless what they made of it is refused and the request itself is not.

        `seed`: of what gives none; None: drawn at random.
        """
        if request.parent is not None and request.requires_own_parent:
            request = _with_pictures(request, await self.store.get_job(request.parent, person.id))
        if self.plugins is None:
            return await self._plan_as_asked(person, ChangedRequest(request), seed)
        changed = await self.plugins.accept(person, request)
        try:
            return await self._plan_as_asked(person, changed, seed)
        except InvalidOption:
            if not changed.is_changed:
                raise
        return await self._plan_as_asked(person, changed.as_typed(request), seed)

    async def _plan_as_asked(self, person: Person, changed: ChangedRequest, seed: int | None) -> list[NewJob]:
        command = changed.request.to_command()
        request = _note_changes(_remember_given(changed.request, changed.typed_of(command)), changed)
        pictures = [await self.media.get_image(image.id, person.id) for image in command.images]
        command = command.with_images(pictures)
        aspect = command.choose_aspect(pictures)
        if request.use_defaults:
            command = apply_defaults(command, await self._person_defaults(person, aspect), self.models, aspect)
        model = command.choose_model(self.models)
        asked, command = command, adapt_to_model(command.for_model(model), model)
        origin = note_repainting(_hide_what_is_made_of(request), asked, command, model)
        request = replace(request, origin=origin)
        seed = secrets.randbelow(MAX_SEED + 1) if seed is None else seed
        each = _expand_combinations(command)
        batch = new_job_id() if len(each) > 1 else None
        resolved = await self._resolve_options(person, each, model, seed, aspect)
        filled = list(zip(each, [changed.keep_typed(one, len(each)) for one in resolved], strict=True))
        for one, options in filled:
            check_map_shapes(one.images, pictures, model, options)
        await self.moderation.check_request(request.origin, model, filled)
        if self.mask_check is not None:
            await self.mask_check.check(person, command)
        return [self._new_job(person, request, one, model, options, batch) for one, options in filled]

    async def _resolve_options(
        self, person: Person, commands: Sequence[Command], model: ModelSpec, seed: int, aspect: float | None
    ) -> list[dict[str, Any]]:
        """All options of each with their values and the resolved prompts. An upscale repeats an earlier prompt,
        possibly of another model, so LoRAs that do not fit its model are left out."""
        options = [command.fill_options(model, seed, aspect) for command in commands]
        if self.adapters is not None and commands[0].name != Upscale.name:
            options = await self.adapters.fill_options(options, model, commands[0].values)
        must_fit = commands[0].name != Upscale.name
        return await self.prompt_resolver.resolve_all(options, model, must_fit=must_fit, owner=person.id)

    async def _person_defaults(self, person: Person, aspect: float | None) -> Mapping[str, Any]:
        """The person's default options; without a size if an input image gives the aspect ratio."""
        defaults = await self.people.get_settings(person.id)
        return {name: value for name, value in defaults.items() if name not in SIZES} if aspect else defaults

    def _new_job(
        self,
        person: Person,
        request: Request,
        command: Command,
        model: ModelSpec,
        options: dict[str, Any],
        batch: str | None,
    ) -> NewJob:
        parts = parts_of(command, options, self.models)
        return NewJob(
            id=new_job_id(),
            owner=person.id,
            origin=request.origin,
            command=command.name,
            options=options,
            images=command.images,
            task=command.task,
            model=model.name,
            cost=price(command, model, options, self.rates, parts),
            estimate_s=estimate_s(command, model, options, self.rates, parts),
            search_text=command.search_text,
            parent=request.parent,
            batch=batch,
            wants_delivery=request.wants_delivery,
        )


def _with_pictures(request: Request, parent: Job) -> Request:
    """A question without pictures is about those of the job that it follows. The parent is named by its full id."""
    request = replace(request, parent=parent.id)
    if request.command != Ask.name or request.images:
        return request
    images = (replace(image, role=Ask.roles[0]) for image in images_of_job(parent))
    return replace(request, images=seen_from(request.origin, parent, tuple(images)))


def _note_changes(request: Request, changed: ChangedRequest) -> Request:
    """What plugins did is said with the result, in the person's language."""
    if not changed.notes:
        return request
    origin = request.origin
    notes = [*origin.extra.get("notes", ()), *(format_note(note, origin.locale) for note in changed.notes)]
    return replace(request, origin=replace(origin, extra={**origin.extra, "notes": notes}))


def _remember_given(request: Request, given: Mapping[str, Any]) -> Request:
    """With the options that the person gave, beside those that are filled in: `bot.usecases.recipes` repeats them.

    A follow-up in a chat repeats the options of an earlier job: which of them were given is not known.
    """
    if request.wants_delivery and request.parent is not None:
        return request
    origin = replace(request.origin, extra={**request.origin.extra, GIVEN: dict(given)})
    return replace(request, origin=origin)


def _hide_what_is_made_of(request: Request) -> Origin:
    """The request's origin; its result is hidden if one of its images is."""
    if not any(image.is_hidden for image in request.images):
        return request.origin
    return replace(request.origin, extra={**request.origin.extra, "spoiler": True})


def _expand_combinations(command: Command) -> list[Command]:
    if not isinstance(command, Imagine) or not command.values.get("prompt"):  # not all of them need one
        return [command]
    prompts = expand_combinations(command.values["prompt"])
    if not all(prompts):
        raise InvalidOption("prompt", "empty")
    return [replace(command, values={**command.values, "prompt": prompt}) for prompt in prompts]
