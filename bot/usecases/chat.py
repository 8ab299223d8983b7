"""Follow-ups from a chat's buttons and replies: rerolls, variations, questions about a job's image.

Anyone who can see a job's message may follow up on it. The new job is theirs and charged to their quota, and they
become owners of the images it needs without uploading them again. Only the job's owner may cancel or delete it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from bot.commands import COMMANDS, Ask, Edit, Imagine, Upscale, answer_lines, find_command
from bot.commands.ask import answering_model, images_per_question
from bot.commands.defaults import repeat_options
from bot.errors import ImageGone, InvalidOption, JobNotFound, NotCancellable, NotYours
from bot.jobs import ImageRef, Job, Media, Origin, StoredImage
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, VISUAL_QUESTION_ANSWERING, ModelRegistry
from bot.ports import JobStore, MediaStore, Outbox, Person, Privacy
from bot.prompts.resolver import original_prompt
from bot.usecases.follow_up_prompts import options_without, prompt_of_picture
from bot.usecases.image_sharing import ImageSharing, or_image_gone
from bot.usecases.job_images import image_at, images_of_job, images_with_authors, picture_at, seen_from
from bot.usecases.jobs import JobUseCases
from bot.usecases.reference_options import reference_options
from bot.usecases.refused_requests import refuse_blocked
from bot.usecases.requests import Request, Ticket
from bot.usecases.worded_images import FollowUpWords, replace_images

VARY_STRENGTH = 0.5
VARY_STRENGTHS = {"": VARY_STRENGTH, "subtle": 0.3, "strong": 0.75}
OF_ITS_OWN = ("seed", "count", "best", "strength")
"""Options of a job that what is made of one of its pictures does not repeat."""
T = TypeVar("T")


@dataclass(frozen=True)
class Original(Media):
    """The file of one of a job's pictures, as rendered."""

    image: StoredImage


@dataclass(frozen=True, kw_only=True)
class ChatUseCases:
    """The methods that submit jobs accept the idempotency key of the event that they answer: a repeated event returns
    the same jobs, even if the earlier job and its images are gone.

    `picture` is the number of the job's picture that is meant, 0 the first. They raise like `JobUseCases.submit`, and
    JobNotFound and ImageGone.
    """

    jobs: JobUseCases
    store: JobStore
    media: MediaStore
    outbox: Outbox
    privacy: Privacy
    models: ModelRegistry

    # ------------------------------------------------------------ follow-ups

    async def reroll(self, person: Person, origin: Origin, job_id: str, *, key: str | None = None) -> list[Ticket]:
        """Repeat a job with a new seed, which also draws new wildcards; also retries a failed job."""

        async def build(job: Job) -> Request:
            kind = find_command(job.command)
            needed = {spec.name for spec in kind.specs if spec.is_required}
            original = original_prompt(job.options)
            given = {name: value for name, value in original.items() if name in needed}
            defaults = {name: value for name, value in original.items() if name not in needed and name != "seed"}
            images = images_with_authors(job)
            options = repeat_options(kind, given, defaults, images, self.models)
            return self._new_request(origin, job, kind.name, options, images)

        return await self._follow_up(person, job_id, key, build)

    async def remix(
        self,
        person: Person,
        origin: Origin,
        job_id: str,
        prompt: str,
        *,
        picture: int = 0,
        is_confirmed: bool = False,
        key: str | None = None,
    ) -> list[Ticket]:
        """Repeat a job with another prompt, which may have `--flags`; all else stays, the seed too: of a picture, that
        which makes it alone."""

        async def build(job: Job) -> Request:
            kind, original = find_command(job.command), original_prompt(job.options)
            last = str(original.get("prompt") or "")
            given, flagged = await FollowUpWords(kind, prompt, last).read(self.sharing, person, origin, job, picture)
            images = replace_images(images_with_authors(job), flagged)
            defaults = options_without(original, "prompt")
            if picture and job.result is not None:
                seed = job.result.seed_of(picture)
                defaults = options_without(defaults, "best")
                defaults |= {"count": 1} | ({} if seed is None else {"seed": seed})
            options = repeat_options(kind, given, defaults, images, self.models)
            request = self._new_request(origin, job, kind.name, options, images)
            return replace(request, is_confirmed=is_confirmed)

        return await self._follow_up(person, job_id, key, build)

    async def refer(
        self,
        person: Person,
        origin: Origin,
        job_id: str,
        kind: str,
        prompt: str,
        *,
        picture: int = 0,
        is_confirmed: bool = False,
        key: str | None = None,
    ) -> list[Ticket]:
        """Imagine a prompt, which may have `--flags`, with a picture as its reference; `kind`: "style" or "subject"."""

        async def build(job: Job) -> Request:
            image = replace(image_at(job, picture), role="reference", kind=kind)
            last = prompt_of_picture(job, picture)
            given, flagged = await FollowUpWords(Imagine, prompt, last).read(self.sharing, person, origin, job, picture)
            images = replace_images((image,), flagged)
            options = reference_options(job, images, given, self.models)
            return replace(self._new_request(origin, job, Imagine.name, options, images), is_confirmed=is_confirmed)

        return await self._follow_up(person, job_id, key, build)

    async def vary(
        self, person: Person, origin: Origin, job_id: str, *, picture: int = 0, how: str = "", key: str | None = None
    ) -> list[Ticket]:
        """Make a variation of a picture; `how`: one of `VARY_STRENGTHS`, the denoising strengths."""

        async def build(job: Job) -> Request:
            can_start = self.models.default_for(IMAGE_TO_IMAGE) is not None
            if not can_start and self.models.default_for(IMAGE_TEXT_TO_IMAGE) is None:
                raise InvalidOption("model", "no_model", value="vary")
            images = (replace(image_at(job, picture), role="init"),)
            strength = {"strength": VARY_STRENGTHS[how]} if can_start else {}  # else the picture is a reference
            given = {"prompt": prompt_of_picture(job, picture)} | strength
            options = repeat_options(
                Imagine, given, options_without(job.options, *OF_ITS_OWN, *given), images, self.models
            )
            return self._new_request(origin, job, Imagine.name, options, images)

        return await self._follow_up(person, job_id, key, build)

    async def upscale(
        self, person: Person, origin: Origin, job_id: str, *, picture: int = 0, key: str | None = None
    ) -> list[Ticket]:
        """Enlarge a picture to twice its size by the best that is there (`choose_for_picture`)."""

        async def build(job: Job) -> Request:
            measured = [one for one in [picture_at(job, picture)] if one is not None]
            upscale = Upscale(values={}).with_images(measured)
            model = upscale.choose_for_picture(self.models, self.models.get(job.model)) if measured else None
            given = {"prompt": prompt_of_picture(job, picture)} | ({"model": model.name} if model is not None else {})
            images = (replace(image_at(job, picture), role=Upscale.roles[0]),)
            return self._new_request(origin, job, Upscale.name, given, images)

        return await self._follow_up(person, job_id, key, build)

    async def outpaint(
        self,
        person: Person,
        origin: Origin,
        job_id: str,
        command: str,
        options: Mapping[str, Any],
        *,
        picture: int = 0,
        key: str | None = None,
    ) -> list[Ticket]:
        """Paint what is around a picture by `zoom`, `pan` or `square`, with the prompt and the options that made it.

        Of an edit, the prompt says what to change: its picture is captioned.
        """

        async def build(job: Job) -> Request:
            images = (replace(image_at(job, picture), role="init"),)
            prompt = "" if job.command == Edit.name else prompt_of_picture(job, picture)
            defaults = options_without(job.options, "prompt", *OF_ITS_OWN)
            given = {"prompt": prompt, **options}
            repeated = repeat_options(COMMANDS[command], given, defaults, images, self.models)
            return self._new_request(origin, job, command, repeated, images)

        return await self._follow_up(person, job_id, key, build)

    async def ask(
        self,
        person: Person,
        origin: Origin,
        job_id: str,
        question: str,
        *,
        picture: int = 0,
        key: str | None = None,
    ) -> list[Ticket]:
        """Ask about the job's images: its output, else its input; without a number about all that the model sees
        together. What was asked and answered about them before is the thread of the question."""

        async def build(job: Job) -> Request:
            model = answering_model(self.models, job.model if job.command == Ask.name else "")
            images = () if picture or model is None else images_of_job(job)[: images_per_question(model)]
            images = images if len(images) > 1 else (image_at(job, picture),)
            asked = tuple(replace(image, role=Ask.roles[0]) for image in images)
            options = {"question": question}
            if model is not None and model is not self.models.default_for(VISUAL_QUESTION_ANSWERING):
                options["model"] = model.name
            return self._new_request(origin, job, Ask.name, options, asked)

        return await self._follow_up(person, job_id, key, build)

    async def edit(
        self,
        person: Person,
        origin: Origin,
        job_id: str,
        instruction: str,
        *,
        region: str = "",
        picture: int = 0,
        key: str | None = None,
    ) -> list[Ticket]:
        """Edit the job's image by instruction, which may have `--flags`. `region`: words for the part that changes.

        Raises: InvalidOption: no model can.
        """

        async def build(job: Job) -> Request:
            given, flagged = await FollowUpWords(Edit, instruction).read(self.sharing, person, origin, job, picture)
            options = given | ({"region": region} if region else {})
            images = (replace(image_at(job, picture), role="init"), *flagged)
            return self._new_request(origin, job, Edit.name, options, images)

        return await self._follow_up(person, job_id, key, build)

    async def pick(
        self, person: Person, origin: Origin, job_id: str, number: int, *, key: str | None = None
    ) -> list[Ticket]:
        """Imagine line `number` (from 1) of what `describe` answered."""

        async def build(job: Job) -> Request:
            lines = answer_lines(job.command, job.result.text) if job.result else []
            if not 1 <= number <= len(lines):
                raise JobNotFound(job_id)
            return self._new_request(origin, job, Imagine.name, {"prompt": lines[number - 1]}, (), use_defaults=True)

        return await self._follow_up(person, job_id, key, build)

    async def _follow_up(
        self, person: Person, job_id: str, key: str | None, build: Callable[[Job], Awaitable[Request]]
    ) -> list[Ticket]:
        if key is not None and (replay := await self.jobs.find_replay(key)) is not None:
            return replay
        refuse_blocked(person)
        request = await build(await self.store.get_job(job_id, None))
        async with self.jobs.refused.recorded(person, request):
            await self.jobs.check_authors(request)
        for image in request.images:
            await or_image_gone(self.media.share(image.id, person.id, source=request.origin.platform))
        return await self.jobs.submit(person, request, key=key)

    def _new_request(
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
            images=seen_from(origin, job, images),
            parent=job.id,
            wants_delivery=True,
            use_defaults=use_defaults,
        )

    # ------------------------------------------------------------ jobs of a message

    async def get_job(self, job_id: str) -> Job:
        """Not restricted to its owner: for anyone who can see its message. Raises: JobNotFound."""
        return await self.store.get_job(job_id, None)

    async def prompt_of(self, job_id: str) -> str:
        """The prompt as it was typed, for people who can see the job's message. Raises: JobNotFound."""
        return str(original_prompt((await self.store.get_job(job_id, None)).options).get("prompt") or "")

    async def is_first_result(self, job: Job) -> bool:
        """No earlier job of the same chat or server has a result."""
        return not await self.store.has_earlier_result(job.id)

    async def job_of_message(self, platform: str, message_ref: str) -> Job | None:
        """The job that a message belongs to, however old."""
        return await self.outbox.find_job(platform, message_ref)

    async def picture_of_message(self, platform: str, message_ref: str) -> int:
        """The number of the picture that the message shows; 0: it shows the whole result, or belongs to no job."""
        return await self.outbox.find_picture(platform, message_ref)

    async def remember_message(self, job: Job, platform: str, message_ref: str, *, picture: int = 0) -> None:
        """Register a further message of the job, so that replies to it refer to the job, or to one of its pictures."""
        await self.outbox.remember_message(job.id, platform, message_ref, picture=picture)

    async def message_refs(self, job_id: str, platform: str, *, picture: int = 0) -> list[str]:
        """All messages of the job, including originals, or those that show only this picture; none if it was
        deleted."""
        return await self.outbox.message_refs(job_id, platform, picture=picture)

    async def retry_deliveries(self, platform: str, space_id: str) -> None:
        """The bot may write in the space again: what waited for that is sent now."""
        if await self.outbox.retry_space(platform, space_id):
            self.jobs.wake()

    async def images_of(self, job: Job) -> tuple[ImageRef, ...]:
        """Its output images, also if they are gone; of a job that makes none, its input images."""
        return images_of_job(job)

    async def require_image(self, job_id: str, picture: int) -> None:
        """Before a person is asked what to do with it. Raises: JobNotFound, ImageGone."""
        image_at(await self.store.get_job(job_id, None), picture)

    async def share_images(
        self, person: Person, job_id: str, origin: Origin | None = None, *, picture: int = 0
    ) -> tuple[ImageRef, ...]:
        """The same, or only one picture, for a request at `origin`, with the person made an owner of them.

        Raises: JobNotFound, ImageGone.
        """
        job = await self.store.get_job(job_id, None)
        images = (image_at(job, picture),) if picture else images_of_job(job)
        for image in images:
            await or_image_gone(self.media.share(image.id, person.id, source=(origin or job.origin).platform))
        return images if origin is None else seen_from(origin, job, images)

    @property
    def sharing(self) -> ImageSharing:
        return ImageSharing(self.store, self.media, self._check_authors)

    async def _check_authors(self, origin: Origin, images: Sequence[ImageRef]) -> None:
        await self.jobs.check_authors(Request(origin=origin, command=Imagine.name, images=tuple(images)))

    async def read_originals(self, person: Person, job_id: str, *, picture: int = 0) -> list[Original]:
        """The output files, or one of them, for anyone who can see the message. Raises: ImageGone."""
        job = await self.store.get_job(job_id, None)
        images = [one for one in (job.result.media if job.result else ()) if picture in (0, one.number)]
        files = [await or_image_gone(self.media.read_media(one.id, None)) for one in images]
        if not files:
            raise ImageGone
        return [Original(file.data, file.media_type, one) for file, one in zip(files, images, strict=True)]

    # ------------------------------------------------------------ own jobs

    async def cancel_job(self, person: Person, job_id: str) -> Ticket:
        """A job that has ended and whose message still offers this is delivered again, if its result was not sent.

        Raises: JobNotFound, NotYours, NotCancellable.
        """
        job = await self.store.get_job(job_id, None)
        if job.owner != person.id:
            raise NotYours(job.id)
        try:
            return await self.jobs.cancel_job(person, job.id)
        except NotCancellable:
            await self.outbox.deliver_again(job.id)
            raise

    async def delete_job(self, person: Person, job_id: str, *, platform: str = "") -> Job:
        """Cancel the job if it is open, and erase it with its images; the adapter of `platform` deletes its messages.

        Returns the job as it was. Raises: JobNotFound, also if it is somebody else's.
        """
        job = await self.privacy.erase_job(job_id, person.id, retracts=bool(platform), besides=platform)
        self.jobs.on_erased([job])
        self.jobs.wake()
        return job
