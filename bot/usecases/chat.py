"""What the buttons and replies of a chat ask for: the same again, a variation, a question about a job's picture.

Whoever can see a message may go on from it. What comes of it is theirs and on their quota, and the pictures it needs
become theirs too, without being uploaded again. Only the person whose job it is may cancel or delete it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from bot.commands import COMMANDS, Imagine, Upscale, answer_lines, find_command
from bot.commands.defaults import again
from bot.errors import InvalidOption, JobNotFound, MediaNotFound, NotYours, PictureGone
from bot.jobs import BY_BOT, ImageRef, Job, Media, Origin
from bot.models import IMAGE_TO_IMAGE, Models
from bot.ports import JobStore, MediaStore, Outbox, Person, Privacy
from bot.prompts.grammar import prompt_of
from bot.prompts.resolver import as_asked
from bot.usecases.jobs import JobUseCases
from bot.usecases.requests import Request, Ticket

VARY_STRENGTH = 0.5
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ChatUseCases:
    """Every method that asks for a job takes the idempotency key of the event that it answers: the same event again
    gives the same jobs, whatever has become of the earlier job and its pictures meanwhile.

    They raise what `JobUseCases.submit` does, JobNotFound, and PictureGone.
    """

    jobs: JobUseCases
    store: JobStore
    media: MediaStore
    outbox: Outbox
    privacy: Privacy
    models: Models

    # ------------------------------------------------------------ going on from a job

    async def reroll(self, person: Person, origin: Origin, job_id: str, *, key: str | None = None) -> list[Ticket]:
        """The same options with a new seed, and so with other draws of its wildcards; for a failed job, another try."""

        def build(job: Job) -> Request:
            kind = find_command(job.command)
            needed = {spec.name for spec in kind.specs if spec.is_required}
            asked = as_asked(job.options)
            given = {name: value for name, value in asked.items() if name in needed}
            wishes = {name: value for name, value in asked.items() if name not in needed and name != "seed"}
            images = authored(job)
            options = again(kind, given, wishes, images, self.models)
            return self._request(origin, job, kind.name, options, images)

        return await self._go_on(person, job_id, key, build)

    async def vary(
        self, person: Person, origin: Origin, job_id: str, *, number: int = 0, key: str | None = None
    ) -> list[Ticket]:
        """Picture `number` (from 0) as the start of another, half way from it."""

        def build(job: Job) -> Request:
            if self.models.default_for(IMAGE_TO_IMAGE) is None:
                raise InvalidOption("model", "no_model", value="vary")
            images = (replace(_picture(job, number), role="init"),)
            given = {"prompt": _prompt(job, number), "strength": VARY_STRENGTH}
            options = again(Imagine, given, _without(job.options, "seed", "count", *given), images, self.models)
            return self._request(origin, job, Imagine.name, options, images)

        return await self._go_on(person, job_id, key, build)

    async def upscale(
        self, person: Person, origin: Origin, job_id: str, *, number: int = 0, key: str | None = None
    ) -> list[Ticket]:
        """Picture `number` at twice its size, refined by the model that made it if that takes the size."""

        def given(job: Job) -> Mapping[str, Any]:
            made = job.result.media[number : number + 1] if job.result else ()
            own = self.models.get(job.model)
            is_able = own is not None and Upscale(values={}).with_images(made).can_refine(own)
            return {"prompt": _prompt(job, number)} | ({"model": job.model} if made and is_able else {})

        return await self._about(person, origin, job_id, Upscale.name, given, number, key)

    async def ask(
        self,
        person: Person,
        origin: Origin,
        job_id: str,
        question: str,
        *,
        number: int = 0,
        key: str | None = None,
    ) -> list[Ticket]:
        """About the job's picture: the one it made, else the one that it was about itself."""
        return await self._about(person, origin, job_id, "ask", lambda _job: {"question": question}, number, key)

    async def edit(
        self,
        person: Person,
        origin: Origin,
        job_id: str,
        instruction: str,
        *,
        number: int = 0,
        key: str | None = None,
    ) -> list[Ticket]:
        """Change the job's picture as the instruction says. Raises: InvalidOption where no model here can."""
        return await self._about(person, origin, job_id, "edit", lambda _job: {"prompt": instruction}, number, key)

    async def pick(
        self, person: Person, origin: Origin, job_id: str, number: int, *, key: str | None = None
    ) -> list[Ticket]:
        """Imagine line `number` (from 1) of what `describe` answered."""

        def build(job: Job) -> Request:
            lines = answer_lines(job.command, job.result.text) if job.result else []
            if not 1 <= number <= len(lines):
                raise JobNotFound(job_id)
            return self._request(origin, job, Imagine.name, {"prompt": lines[number - 1]}, (), use_defaults=True)

        return await self._go_on(person, job_id, key, build)

    async def _about(
        self,
        person: Person,
        origin: Origin,
        job_id: str,
        command: str,
        given: Callable[[Job], Mapping[str, Any]],
        number: int,
        key: str | None,
    ) -> list[Ticket]:
        """A command about one picture of the job."""

        def build(job: Job) -> Request:
            kind = COMMANDS[command]
            images = (replace(_picture(job, number), role=kind.roles[0]),)
            return self._request(origin, job, command, given(job), images)

        return await self._go_on(person, job_id, key, build)

    async def _go_on(
        self, person: Person, job_id: str, key: str | None, build: Callable[[Job], Request]
    ) -> list[Ticket]:
        if key is not None and (seen := await self.jobs.replayed(key)) is not None:
            return seen
        request = build(await self.store.get(job_id, None))
        for image in request.images:
            await _or_gone(self.media.share(image.id, person.id))
        return await self.jobs.submit(person, request, key=key)

    def _request(
        self,
        origin: Origin,
        job: Job,
        command: str,
        options: Mapping[str, Any],
        images: tuple[ImageRef, ...],
        *,
        use_defaults: bool = False,
    ) -> Request:
        return Request(
            origin=origin,
            command=command,
            options=options,
            images=images,
            parent=job.id,
            wants_delivery=True,
            use_defaults=use_defaults,
        )

    # ------------------------------------------------------------ looking

    async def job(self, job_id: str) -> Job:
        """For whoever can see its message. Raises: JobNotFound."""
        return await self.store.get(job_id, None)

    async def of_message(self, platform: str, message_ref: str) -> Job | None:
        """The job that a message belongs to, however old."""
        return await self.outbox.job_of(platform, message_ref)

    async def note(self, job: Job, platform: str, message_ref: str) -> None:
        """Remember a further message of the job, so that replies to it are about it."""
        await self.outbox.note(job.id, platform, message_ref)

    async def messages_of(self, job_id: str, platform: str) -> list[str]:
        """Where all of the job's messages stand, originals included; none of a job that was deleted."""
        return await self.outbox.messages_of(job_id, platform)

    async def pictures_of(self, job: Job) -> tuple[ImageRef, ...]:
        """The pictures it made, else those it was about."""
        return pictures_of(job)

    async def pictures_for(self, person: Person, job_id: str) -> tuple[ImageRef, ...]:
        """The same, as the person's own: to go on with in a command of theirs. Raises: JobNotFound, PictureGone."""
        pictures = pictures_of(await self.store.get(job_id, None))
        for image in pictures:
            await _or_gone(self.media.share(image.id, person.id))
        return pictures

    async def original(self, person: Person, job_id: str) -> list[Media]:
        """The files as rendered, for whoever can see the message. Raises: PictureGone."""
        job = await self.store.get(job_id, None)
        made = job.result.media if job.result else ()
        files = [await _or_gone(self.media.read(one.id, None)) for one in made]
        if not files:
            raise PictureGone
        return files

    # ------------------------------------------------------------ one's own

    async def cancel(self, person: Person, job_id: str) -> Ticket:
        """Raises: JobNotFound, NotYours, NotCancellable."""
        job = await self.store.get(job_id, None)
        if job.owner != person.id:
            raise NotYours(job.id)
        return await self.jobs.cancel(person, job.id)

    async def delete(self, person: Person, job_id: str) -> Job:
        """Cancel it if it is open, and take it out of history and the kept pictures; the message is the adapter's.

        Returns the job as it was. Raises: JobNotFound, also when it is somebody else's.
        """
        job = await self.privacy.erase(job_id, person.id)
        self.jobs.gone([job])
        return job


def pictures_of(job: Job) -> tuple[ImageRef, ...]:
    if job.result and job.result.media:
        return tuple(ImageRef(picture.id, author=BY_BOT) for picture in job.result.media)
    return authored(job)


def authored(job: Job) -> tuple[ImageRef, ...]:
    """The pictures that the job was about, with who posted each: whoever goes on from it need not be that one."""
    return tuple(replace(image, author=image.author or job.origin.account_id) for image in job.images)


def _picture(job: Job, number: int) -> ImageRef:
    pictures = pictures_of(job)
    if not 0 <= number < len(pictures):
        raise PictureGone
    return pictures[number]


def _prompt(job: Job, number: int) -> str:
    return prompt_of(job.options, number) if "prompt" in job.options else ""


def _without(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}


async def _or_gone(getting: Awaitable[T]) -> T:
    try:
        return await getting
    except MediaNotFound as error:
        raise PictureGone from error
